"""What all tests need: a process in which Ctrl-C means what it means at a terminal."""

import signal


def pytest_configure() -> None:
    """Heed SIGINT, which a shell ignores in what it starts in the background, and children of ours would too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
