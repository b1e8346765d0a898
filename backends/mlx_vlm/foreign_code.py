"""Keeps a model's folder from running Python: mlx-vlm's processors trust it by default (0.7.10, `trust_remote_code`).

`checkpoint` refuses what says so openly. This is the second lock: the one function of Transformers (5.23) that fetches
and runs a module of a folder always fails, whoever calls it. Above it: `model`.
"""

import importlib
from typing import Any, NoReturn


def forbid_foreign_code() -> None:
    """Make Transformers unable to run a folder's code, in this process, for good."""
    modules: Any = importlib.import_module("transformers.dynamic_module_utils")
    modules.get_cached_module_file = _refuse
    modules.get_class_in_module = _refuse


def _refuse(*arguments: Any, **options: Any) -> NoReturn:
    raise ValueError("the folder wants to run Python of its own (auto_map), and the host runs no code of a model")
