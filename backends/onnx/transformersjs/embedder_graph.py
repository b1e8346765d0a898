"""What an embedding model's graph wants and gives, by its real inputs and outputs: `EmbedderGraph`.

Above it: `embedder`. Everything that does not fit is a HostError `model_invalid`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.huggingface.files import refuse
from backends.onnx.folder import read_onnx
from backends.onnx.onnx_file import TensorType
from backends.onnx.transformersjs.folder import ModelConfig
from backends.onnx.transformersjs.graph import ELEMENT_BYTES, time_axis

FINISHED = "sentence_embedding"
"""The output that has a vector for each text; the others have one for each token."""

_OUTPUTS = (FINISHED, "last_hidden_state", "token_embeddings")
_REQUIRED = ("input_ids", "attention_mask")
_PLAIN = frozenset({*_REQUIRED, "token_type_ids", "position_ids"})
_PASTS = ("past_key_values", "past")


@dataclass(frozen=True, slots=True)
class EmbedderGraph:
    """A graph's inputs, the output that is read, and the sizes that it is fixed to (texts, tokens of each), if it is.

    pasts are caches of a decoder, with 0 for the batch and for the time: they are given empty.
    """

    file: Path
    inputs: Mapping[str, TensorType]
    pasts: Mapping[str, tuple[TensorType, tuple[int, ...]]]
    output: str
    rows: int | None
    length: int | None

    @property
    def is_finished(self) -> bool:
        """True if it gives vectors of texts, which need no pooling."""
        return self.output == FINISHED


def read_embedder_graph(file: Path, config: ModelConfig) -> EmbedderGraph:
    """Find a graph's parts. Raises HostError `model_invalid` that names what is missing or unknown."""
    header = read_onnx(file)
    missing = [name for name in _REQUIRED if name not in header.inputs]
    if missing:
        refuse(file, f"is not a text embedding model: it takes no {' and no '.join(missing)}")
    pasts = {name: value for name, value in header.inputs.items() if name.startswith(_PASTS)}
    unknown = sorted(header.inputs.keys() - _PLAIN - pasts.keys())
    if unknown:
        refuse(file, f"wants inputs that this backend does not know: {', '.join(unknown)}")
    odd = sorted(name for name, value in header.inputs.items() if value.element not in ELEMENT_BYTES)
    if odd:
        refuse(file, f"wants inputs of a type that this backend cannot feed: {', '.join(odd)}")
    rows, length = (size if isinstance(size, int) else None for size in _table(file, header.inputs["input_ids"]))
    return EmbedderGraph(
        file=file,
        inputs={name: value for name, value in header.inputs.items() if name in _PLAIN},
        pasts={name: (value, _empty_shape(value, config.head_size)) for name, value in pasts.items()},
        output=next(name for name in _OUTPUTS if name in header.outputs),
        rows=rows,
        length=length,
    )


def _table(file: Path, tokens: TensorType) -> tuple[int | str | None, int | str | None]:
    if len(tokens.shape) != 2:
        refuse(file, f"is not a text embedding model: its input_ids have the shape {list(tokens.shape)}")
    return tokens.shape[0], tokens.shape[1]


def _empty_shape(past: TensorType, head_size: int) -> tuple[int, ...]:
    empty = {0, time_axis(past)}
    sizes = enumerate(past.shape)
    return tuple(0 if place in empty else size if isinstance(size, int) else head_size for place, size in sizes)
