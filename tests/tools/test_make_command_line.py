"""Each maker runs as a command, as its docstring says."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMANDS = {
    "make_genai tiny": ("genai_config.json", "model.onnx", "model.onnx.data"),
    "make_transformersjs tiny --dtypes q4 --external-data": ("onnx/model_q4.onnx", "onnx/model_q4.onnx_data"),
    "make_transformersjs tiny-gqa --dtypes fp32": ("onnx/model.onnx",),
    "make_transformersjs tiny-merged": ("onnx/decoder_model_merged.onnx", "onnx/decoder_model_merged_q4.onnx"),
    "make_mlx vision --script Hello there": ("config.json", "model.safetensors", "preprocessor_config.json"),
    "make_mmproj omni": ("tiny-vl.gguf", "mmproj-tiny-vl.gguf"),
    "make_mmproj square": ("tiny-vl.gguf", "mmproj-tiny-vl.gguf"),
    "make_mmproj tiles": ("tiny-vl.gguf", "mmproj-tiny-vl.gguf"),
    "make_t5 tiny": ("onnx/encoder_model.onnx", "onnx/decoder_model_merged_quantized.onnx"),
    "make_t5 tiny-split": ("onnx/decoder_model.onnx", "onnx/decoder_with_past_model.onnx"),
    "make_embedder cls": ("onnx/model_quantized.onnx", "1_Pooling/config.json"),
    "make_embedder plain": ("onnx/model.onnx", "tokenizer.json"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_maker_writes_its_files_and_prints_their_size_alone(command: str, tmp_path: Path) -> None:
    module, preset, *options = command.split()
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{module}", preset, str(tmp_path), *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}: ")
    for name in COMMANDS[command]:
        assert (tmp_path / name).stat().st_size > 0
