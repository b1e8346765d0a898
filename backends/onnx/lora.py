"""LoRA adapters in ONNX Runtime's format (`.onnx_adapter`), held against a graph before an engine runs it.

An adapter gives values to inputs of the graph that have some of their own (see `OnnxHeader.optional`), so a model must
have been exported for adapters. Above it: the loaders of both layouts.
"""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from backends.guards import require_memory
from backends.onnx.onnx_file import TensorType
from messages.errors import ErrorCode, HostError

_ELEMENT_NAMES = {1: " float32", 10: " float16", 16: " bfloat16"}
_HOW = "An adapter is made for one model and its export, by Olive for example (olive convert-adapters)"


def read_adapter(option: str | None, inputs: Mapping[str, TensorType]) -> Path | None:
    """The adapter that the option `lora` names, None without one; `inputs` are the graph's optional ones.

    Raises HostError `invalid_request` for a path that is not absolute, `model_not_found` if nothing is there,
    `model_invalid` if it is no adapter or one for another model, `out_of_memory`.
    """
    if option is None:
        return None
    path = _find(option)
    parameters = _read(path)
    if not inputs:
        _refuse(path, f"cannot be used: the model was exported without inputs for adapters. {_HOW}")
    strange = sorted(parameters.keys() - inputs.keys())
    if strange:
        _refuse(path, f"is an adapter for another model: this one has no input {strange[0]}. {_HOW}")
    for name, given in parameters.items():
        if not _fits(given, inputs[name]):
            _refuse(
                path, f"is an adapter for another model: {name} is {_told(given)}, not {_told(inputs[name])}. {_HOW}"
            )
    return path


def _find(option: str) -> Path:
    path = Path(os.path.expanduser(option))
    if not path.is_absolute():
        text = f"The path of a LoRA adapter must be absolute; {option!r} is not."
        raise HostError(ErrorCode.INVALID_REQUEST, text, fields=["options.lora: must be an absolute path"])
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        text = f"There is no LoRA adapter at {path}."
        raise HostError(ErrorCode.MODEL_NOT_FOUND, text, model_path=str(path)) from error
    except (OSError, ValueError) as error:
        _refuse(path, f"cannot be read ({error})", error)
    if not path.is_file():
        _refuse(path, "is not a file")
    return path


def _read(path: Path) -> dict[str, TensorType]:
    """Each parameter's type and shape."""
    require_memory(path, path.stat().st_size)
    runtime = importlib.import_module("onnxruntime")
    try:
        values = runtime.AdapterFormat.read_adapter(str(path)).get_parameters()
        parameters = {name: TensorType(value.element_type(), tuple(value.shape())) for name, value in values.items()}
    except (OSError, RuntimeError) as error:
        _refuse(path, f"is not a LoRA adapter in ONNX Runtime's format. {_HOW}", error)
    if not parameters:
        _refuse(path, "is an adapter without any weights. Get it again")
    return parameters


def _fits(given: TensorType, wanted: TensorType) -> bool:
    if given.element != wanted.element or len(given.shape) != len(wanted.shape):
        return False
    pairs = zip(given.shape, wanted.shape, strict=True)
    return all(size == limit for size, limit in pairs if isinstance(limit, int))


def _told(kind: TensorType) -> str:
    return " x ".join(map(str, kind.shape)) + _ELEMENT_NAMES.get(kind.element, "")


def _refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise HostError(ErrorCode.MODEL_INVALID, f"{path.name} {reason}.", model_path=str(path)) from cause
