"""The weights files that a folder in Transformers.js' layout may have: what they are called, and which suits a device.

Names and suffixes are those of Transformers.js 3 (`src/utils/dtypes.js`).
"""

from collections.abc import Collection

from backends.onnx.devices import Device
from messages.errors import ErrorCode, HostError
from messages.options import DTYPE_SPELLINGS

SUFFIXES = {
    "fp32": "",
    "fp16": "_fp16",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "int8": "_int8",
    "uint8": "_uint8",
    "q8": "_quantized",
    "bnb4": "_bnb4",
}
"""dtype to what stands behind the file's stem: `model_q4.onnx`."""

_ON_CPU = ("q4", "q8", "int8", "uint8", "fp32", "bnb4", "q4f16", "fp16")
_ON_ACCELERATOR = ("q4f16", "fp16", "q4", "fp32", "bnb4", "q8", "int8", "uint8")
"""Best first. A CPU computes in float32 and int8: half precision is converted back and forth there. An accelerator
computes in float16, and few of its kernels take int8."""


def choose_dtype(wanted: str | None, available: Collection[str], device: Device) -> str:
    """The dtype to load: the wanted one, else the best one for a device.

    Raises HostError `unsupported_option` if the folder has no file of the wanted one, `model_invalid` if there is none.
    """
    if not available:
        text = "No dtype has a file for each of the model's graphs. Get the model's folder again, complete."
        raise HostError(ErrorCode.MODEL_INVALID, text)
    if wanted is None or wanted == "auto":
        order = _ON_CPU if device.name == "cpu" else _ON_ACCELERATOR
        return next(name for name in order if name in available)
    name = DTYPE_SPELLINGS.get(wanted, wanted)
    if name not in available:
        known = ", ".join(sorted(available))
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The model's folder has no {wanted} weights; it has: {known}.",
            fields=[f"options.dtype: must be one of {known}"],
        )
    return name
