"""What a decoder's graph wants and gives, by its real inputs and outputs: `DecoderGraph`.

The names are those of Hugging Face's exports (optimum, `exporters/onnx/config.py`; Transformers.js, `src/models.js`):
input_ids, attention_mask, position_ids, past_key_values.N.key ... in, logits, present.N.key ... out. Above it:
`decoder`, `loader`. Everything that does not fit is a HostError `model_invalid`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.huggingface.files import refuse
from backends.onnx.folder import read_onnx
from backends.onnx.onnx_file import OnnxHeader, TensorType
from backends.onnx.transformersjs.folder import ModelConfig

ELEMENT_BYTES = {1: 4, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
"""Bytes an element of the tensors that we feed and read, by the numbers of `TensorProto.DataType`."""

SHARED_OPERATOR = "GroupQueryAttention"
"""The attention that writes into the cache it is given."""

PLAIN_INPUTS = frozenset(
    {"input_ids", "attention_mask", "position_ids", "use_cache_branch", "num_logits_to_keep", "logits_to_keep"}
)
"""Inputs that `decoder` can fill beside the caches."""

LOGITS_COUNTS = ("num_logits_to_keep", "logits_to_keep")

_PAST = ("past_key_values", "past")
_TIME_NAMES = ("past", "seq", "length", "time")


@dataclass(frozen=True, slots=True)
class Cache:
    """One part of the KV cache: the input it comes in by, the output it leaves by, and how it is shaped.

    axis is the one of time; shape has 1 for the batch and 0 for the time; element is one of `TensorProto.DataType`.
    """

    past: str
    present: str
    shape: tuple[int, ...]
    axis: int
    element: int

    def shape_of(self, length: int) -> list[int]:
        """The shape with room for `length` tokens."""
        return [length if place == self.axis else size for place, size in enumerate(self.shape)]

    @property
    def token_bytes(self) -> int:
        """Bytes that one token takes."""
        size = ELEMENT_BYTES[self.element]
        for place, length in enumerate(self.shape):
            size *= 1 if place == self.axis else length
        return size


@dataclass(frozen=True, slots=True)
class DecoderGraph:
    """A decoder's inputs besides the caches, its caches, and the vocabulary's size.

    shares_cache tells that the graph writes into the cache that it is given; adapted are the inputs that a LoRA adapter
    may fill.
    """

    file: Path
    inputs: Mapping[str, TensorType]
    caches: tuple[Cache, ...]
    logits_element: int
    vocab_size: int
    shares_cache: bool
    adapted: Mapping[str, TensorType]

    @property
    def token_bytes(self) -> int:
        """Bytes that one token takes in the KV cache."""
        return sum(cache.token_bytes for cache in self.caches)


def read_decoder_graph(file: Path, config: ModelConfig) -> DecoderGraph:
    """Check that a graph is the decoder that a config describes, and find its parts.

    Raises HostError `model_invalid` that names what is missing, unknown, or not as the config has it.
    """
    header = read_onnx(file)
    vocab_size = require_decoder(file, header, config)
    pasts = {name: value for name, value in header.inputs.items() if name.startswith(_PAST)}
    if not pasts:
        reason = "has no KV cache (no past_key_values inputs); take the export with past, or decoder_model_merged"
        refuse(file, reason, damaged=False)
    unknown = sorted(header.inputs.keys() - PLAIN_INPUTS - pasts.keys())
    if unknown:
        refuse(file, f"wants inputs that this backend does not know: {', '.join(unknown)}", damaged=False)
    logits = header.outputs["logits"]
    graph = DecoderGraph(
        file=file,
        inputs={name: value for name, value in header.inputs.items() if name in PLAIN_INPUTS},
        caches=tuple(read_cache(file, name, value, header.outputs, config.head_size) for name, value in pasts.items()),
        logits_element=logits.element,
        vocab_size=vocab_size,
        shares_cache=SHARED_OPERATOR in header.operators,
        adapted=header.optional,
    )
    _compare(graph, config)
    return graph


def require_decoder(file: Path, header: OnnxHeader, config: ModelConfig) -> int:
    """The size of the vocabulary that a graph gives logits of; the config's where the graph leaves it open.

    Raises HostError `model_invalid` for a graph that is not a decoder.
    """
    if "input_ids" not in header.inputs or "logits" not in header.outputs:
        given = f"takes {', '.join(header.inputs)} and gives {', '.join(header.outputs)}"
        refuse(file, f"is not a text decoder, which takes input_ids and gives logits: it {given}", damaged=False)
    logits = header.outputs["logits"]
    vocab_size = logits.shape[-1] if logits.shape and isinstance(logits.shape[-1], int) else config.vocab_size
    if len(logits.shape) != 3 or vocab_size is None or logits.element not in ELEMENT_BYTES:
        told = " x ".join(map(str, logits.shape))
        refuse(
            file, f"is not a text decoder, which has logits for each token of a text: its own are {told}", damaged=False
        )
    return vocab_size


def _compare(graph: DecoderGraph, config: ModelConfig) -> None:
    """Hold a graph against the config: `model_invalid` where they disagree, since one of them is another model's."""
    layers = len({cache.past.split(".")[1] for cache in graph.caches if "." in cache.past})
    said = [
        ("vocab_size", config.vocab_size, graph.vocab_size),
        ("num_hidden_layers", config.num_hidden_layers, layers),
    ]
    shapes = {cache.shape for cache in graph.caches if len(cache.shape) == 4}
    if len(shapes) == 1:
        said.append(("num_key_value_heads", config.num_key_value_heads, next(iter(shapes))[1]))
    for name, wanted, found in said:
        if wanted is not None and wanted != found:
            refuse(graph.file, f"does not belong to config.json: it has {found} where {name} says {wanted}")


def read_cache(file: Path, past: str, value: TensorType, outputs: Mapping[str, TensorType], head_size: int) -> Cache:
    """The cache that comes in by the input `past`; HostError `model_invalid` if `outputs` do not give it."""
    present = next((name for name in _present_names(past) if name in outputs), None)
    if present is None:
        refuse(file, f"takes {past} and gives no output for it back")
    if value.element not in ELEMENT_BYTES:
        reason = f"has a KV cache of element type {value.element}, which this backend cannot feed"
        refuse(file, reason, damaged=False)
    axis = time_axis(value)
    if axis is None:
        refuse(file, f"has a KV cache of a fixed length ({past} {list(value.shape)})", damaged=False)
    shape = tuple(0 if place == axis else _size(place, size, head_size) for place, size in enumerate(value.shape))
    return Cache(past, present, shape, axis, value.element)


def _present_names(past: str) -> tuple[str, ...]:
    return past.replace("past_key_values", "present"), past.replace("past", "present", 1)


def time_axis(value: TensorType) -> int | None:
    """The axis of time: an open one that is not the batch, the one whose name speaks of it first."""
    open_axes = [place for place, size in enumerate(value.shape) if place > 0 and not isinstance(size, int)]
    named = [place for place in open_axes if any(word in str(value.shape[place]) for word in _TIME_NAMES)]
    return next(iter(named or open_axes), None)


def _size(place: int, size: int | str | None, head_size: int) -> int:
    if place == 0:
        return 1
    return size if isinstance(size, int) else head_size
