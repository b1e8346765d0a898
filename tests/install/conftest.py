from pathlib import Path

import pytest
from support.install_machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """An empty machine with a home of its own."""
    return Machine(tmp_path)


@pytest.fixture
def prepared(machine: Machine) -> Machine:
    """A machine on which pip has done its part."""
    machine.prepare()
    return machine
