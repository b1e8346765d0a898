"""What ONNX Runtime says of a failure, in words for a person who has a model and not the runtime's source.

Above it: `session` and `genai.capi`, which raise EngineError. Texts are those of onnxruntime 1.31.
"""

import importlib
import re

_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    r"|Load model from .+? failed: ?"
    r"|/\S*onnxruntime\S*/\S+:\d+ .+?\)(?: const)? (?=[A-Z\[])"
)
"""The error's number, the path (which is told anyway), and the place in the runtime's source."""

_OPSET = re.compile(r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)", re.DOTALL)
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_OPERATOR = re.compile(r"No Op registered for (\S+) with domain_version of (\d+)")


def plain(message: str) -> str:
    """A failure's message without the runtime's own noise, on one line; too new a model in words of ours."""
    if found := _OPSET.search(message):
        return _too_new(f"opset {found[1]} of {found[2]}", found[3])
    if found := _IR_VERSION.search(message):
        return _too_new(f"ONNX's IR version {found[1]}", found[2])
    if found := _OPERATOR.search(message):
        return f"the graph has an operator {found[1]}, which {_runtime()} does not know in opset {found[2]}"
    return " ".join(_NOISE.sub("", message).split())


def _too_new(needed: str, known: str) -> str:
    return (
        f"the graph is too new: it needs {needed}, and {_runtime()} knows up to {known}."
        " Update the host, or take an older export of the model"
    )


def _runtime() -> str:
    return f"ONNX Runtime {importlib.import_module('onnxruntime').__version__}"
