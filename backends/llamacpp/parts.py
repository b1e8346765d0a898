"""Models that come in several files (`name-00001-of-00003.gguf`): every part is checked, and their sizes added."""

import re
from dataclasses import replace
from pathlib import Path

from backends.llamacpp.header import Header, invalid_model, read_header

_FIRST_PART = re.compile(r"^(?P<stem>.+)-00001-of-(?P<count>\d{5})\.gguf$")
"""llama.cpp finds the other parts by this pattern (`llama_split_path`)."""


def read_model_header(path: Path, *, distinct_tokens: bool = False) -> Header:
    """Read the header of a model in one file or, given the first part, in several.

    If asked, no token may be twice in its vocabulary, see `read_header`.

    Raises HostError `model_not_found` for a part that is not there, `model_invalid` for a bad one.
    """
    header = read_header(path, distinct_tokens=distinct_tokens)
    count = header.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return header
    parts = [header, *(read_header(part) for part in _other_parts(header, count))]
    return replace(
        header,
        file_bytes=sum(part.file_bytes for part in parts),
        tensor_bytes=sum(part.tensor_bytes for part in parts),
        tensors={name: shape for part in parts for name, shape in part.tensors.items()},
        tensor_types={name: kind for part in parts for name, kind in part.tensor_types.items()},
    )


def _other_parts(header: Header, count: int) -> list[Path]:
    match = _FIRST_PART.match(header.path.name)
    if match is None or int(match["count"]) != count or header.metadata.get("split.no") != 0:
        raise invalid_model(header.path, f"is one of {count} parts of a model, and not named 00001-of-{count:05}")
    names = (f"{match['stem']}-{number:05}-of-{count:05}.gguf" for number in range(2, count + 1))
    return [header.path.with_name(name) for name in names]
