"""Model files as onnx-community folders have them: a dtype's suffix, its quantization, and how they are written.

The suffixes are those that the host reads. Needs onnx, for 8-bit and bnb4 files onnxruntime.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnx import TensorProto

from backends.onnx.transformersjs.dtypes import SUFFIXES

__all__ = ["SUFFIXES", "folder_size", "quantize", "save_graph", "write_json"]

HALF_DTYPES = ("fp16", "q4f16")
FOUR_BIT_DTYPES = ("q4", "q4f16")


def quantize(model: onnx.ModelProto, dtype: str) -> onnx.ModelProto:
    """An fp32 model in int8, uint8, q8 or bnb4; the other dtypes are built as such and come back as they are."""
    quantizer = _QUANTIZERS.get(dtype)
    return model if quantizer is None else quantizer(model)


def _dynamic_8bit(weight_type: str) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    """Dynamic quantization with the options of Transformers.js' own script (`scripts/quantize.py`)."""

    def quantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # "DefaultTensorType": onnx infers no types behind onnxruntime's own nodes.
        options = {"EnableSubgraph": True, "MatMulConstBOnly": True, "DefaultTensorType": TensorProto.FLOAT}
        with TemporaryDirectory() as folder:
            file = Path(folder, "model.onnx")
            quantize_dynamic(model, file, weight_type=QuantType[weight_type], extra_options=options)
            return onnx.load(str(file))

    return quantize_weights


def _bnb4(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    quantizer = MatMulBnb4Quantizer(model, MatMulBnb4Quantizer.NF4, 64)
    quantizer.process()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


_QUANTIZERS: Mapping[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "int8": _dynamic_8bit("QInt8"),
    "uint8": _dynamic_8bit("QUInt8"),
    "q8": _dynamic_8bit("QInt8"),
    "bnb4": _bnb4,
}


def save_graph(model: onnx.ModelProto, path: Path, external_data: bool = False) -> None:
    """Write a model, with its weights in `<file>_data` if asked; what an earlier call left there goes."""
    data = path.with_name(f"{path.name}_data")
    data.unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=external_data, location=data.name)


def write_json(folder: Path, files: Mapping[str, Mapping[str, Any] | list[Any]]) -> None:
    """Write each mapping or list as a JSON file, in the given order."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def folder_size(folder: Path) -> str:
    """A folder's name and size, for a person."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{folder}: {size / 1e6:.1f} MB"
