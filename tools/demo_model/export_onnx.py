"""Writes the checkpoint as an int4 genai folder: `python -m tools.demo_model.export_onnx --checkpoint HF --out FOLDER`.

onnxruntime-genai's own model builder does the work; afterwards the folder is checked and cleaned: no path of the
machine that built it may stay in any file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx

# int8 activations (accuracy level 4) are the fast path on a processor; the embedding stays float32.
BUILDER_OPTIONS = ("accuracy_level=4", "block_size=32", "shared_embeddings=false", "hf_token=false")
KEPT = (
    "genai_config.json",
    "model.onnx",
    "model.onnx.data",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


class ExportError(RuntimeError):
    """The builder's output is not what the host ships."""


def build(checkpoint: Path, out: Path) -> None:
    """Run the model builder and keep the files that an engine reads."""
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "built"
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(built)]
        command += ["-p", "int4", "-e", "cpu", "-c", str(Path(scratch) / "cache"), "--extra_options", *BUILDER_OPTIONS]
        subprocess.run(command, check=True)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        for name in KEPT:
            shutil.copyfile(built / name, out / name)
    strip_graph(out / "model.onnx")
    check_config(out / "genai_config.json")
    refuse_paths(out, checkpoint)


def strip_graph(path: Path) -> None:
    """Drop names and notes that the builder leaves in the graph; weights stay in their own file."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.metadata_props[:]
    model.doc_string = ""
    onnx.save(model, path)


def check_config(path: Path) -> None:
    """Hold the settings that the backend relies on."""
    config = json.loads(path.read_text("utf-8"))
    if config["search"]["past_present_share_buffer"] is not True:
        raise ExportError("past_present_share_buffer must be true: append after a stop is off by one without it")
    config["search"].update(do_sample=False, top_k=1, temperature=1.0)
    path.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def refuse_paths(out: Path, checkpoint: Path) -> None:
    """Refuse a folder whose files name a place on this machine."""
    places = {str(Path.home()), str(checkpoint.resolve()), tempfile.gettempdir(), str(Path.cwd())} - {"/"}
    for file in sorted(out.iterdir()):
        content = file.read_bytes()
        found = [place for place in places if place.encode() + b"/" in content]
        if found:
            raise ExportError(f"{file.name} holds the path {found[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    build(arguments.checkpoint, arguments.out)
    print(f"{arguments.out}: {sum(file.stat().st_size for file in arguments.out.iterdir())} bytes")


if __name__ == "__main__":
    main()
