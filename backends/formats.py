"""Tells what a path holds by its first bytes or its layout, never by its name. Standard library only."""

from pathlib import Path

GGUF_MAGIC = b"GGUF"


def is_gguf(path: Path) -> bool:
    """True for a file that begins with GGUF's magic (gguf specification, "File structure")."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC


def is_genai_folder(path: Path) -> bool:
    """True for a folder in onnxruntime-genai's layout: it has a `genai_config.json`."""
    return path.is_dir() and (path / "genai_config.json").is_file()


def never(path: Path) -> bool:
    """For a backend that reads no files."""
    return False
