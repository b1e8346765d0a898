"""What the graphs of an encoder-decoder want and give: `EncoderDecoderGraphs`.

The names are those of Hugging Face's exports (optimum, `exporters/onnx/config.py`): the encoder gives
last_hidden_state; the decoder takes it as encoder_hidden_states, and its caches past_key_values.N.decoder.key and
past_key_values.N.encoder.key. The latter, of the encoder's states, are given by the decoder's first step alone.
Above it: `encoder_decoder`, `encoder_decoder_loader`. What does not fit is a HostError `model_invalid`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.huggingface.files import refuse
from backends.onnx.folder import read_onnx
from backends.onnx.onnx_file import OnnxHeader, TensorType
from backends.onnx.transformersjs.folder import ModelConfig, TransformersJsFolder
from backends.onnx.transformersjs.graph import ELEMENT_BYTES, Cache, read_cache, require_decoder

MERGED = "decoder_model_merged"
STATES = "last_hidden_state"

_ENCODER_INPUTS = frozenset({"input_ids", "attention_mask"})
_DECODER_INPUTS = frozenset(
    {"input_ids", "encoder_hidden_states", "encoder_attention_mask", "decoder_attention_mask", "use_cache_branch"}
)
_PAST = "past_key_values."
_OF_ENCODER = ".encoder."


@dataclass(frozen=True, slots=True)
class Graph:
    """One file: its inputs besides the caches, and the names of the caches among its inputs."""

    file: Path
    inputs: Mapping[str, TensorType]
    pasts: frozenset[str]


@dataclass(frozen=True, slots=True)
class EncoderDecoderGraphs:
    """The graphs, of which `first` and `later` are one file where the decoder is merged.

    own are the caches of the decoder's own tokens, crossed those of the encoder's states. states is the type of what
    the encoder gives.
    """

    encoder: Graph
    first: Graph
    later: Graph
    own: tuple[Cache, ...]
    crossed: tuple[Cache, ...]
    states: TensorType
    vocab_size: int

    @property
    def token_bytes(self) -> int:
        """Bytes that one token of prompt and one of answer take together in the caches."""
        return sum(cache.token_bytes for cache in (*self.own, *self.crossed))


def read_graphs(folder: TransformersJsFolder, dtype: str) -> EncoderDecoderGraphs:
    """Check that a folder's graphs of one dtype are those of the encoder-decoder that its config describes.

    Raises HostError `model_invalid` that names what is missing, unknown, or not as the config has it.
    """
    files = {stem: by_dtype[dtype] for stem, by_dtype in folder.graphs.items()}
    encoder, states = _encoder(files["encoder_model"])
    first_file = files.get(MERGED) or files["decoder_model"]
    later_file = files.get(MERGED) or files["decoder_with_past_model"]
    first, later = read_onnx(first_file), read_onnx(later_file)
    vocab_size, _ = [
        require_decoder(file, header, folder.config) for file, header in ((first_file, first), (later_file, later))
    ]
    own, crossed = _caches(later_file, first, later, folder.config.head_size)
    graphs = EncoderDecoderGraphs(
        encoder=encoder,
        first=_graph(first_file, first, _DECODER_INPUTS),
        later=_graph(later_file, later, _DECODER_INPUTS),
        own=own,
        crossed=crossed,
        states=states,
        vocab_size=vocab_size,
    )
    _check_decoder(graphs, first)
    _compare(graphs, folder.config)
    return graphs


def _encoder(file: Path) -> tuple[Graph, TensorType]:
    header = read_onnx(file)
    if "input_ids" not in header.inputs or STATES not in header.outputs:
        given = f"takes {', '.join(header.inputs)} and gives {', '.join(header.outputs)}"
        refuse(file, f"is not a text encoder, which takes input_ids and gives {STATES}: it {given}", damaged=False)
    return _graph(file, header, _ENCODER_INPUTS), header.outputs[STATES]


def _graph(file: Path, header: OnnxHeader, known: frozenset[str]) -> Graph:
    pasts = frozenset(name for name in header.inputs if name.startswith(_PAST))
    unknown = sorted(header.inputs.keys() - known - pasts)
    if unknown:
        refuse(file, f"wants inputs that this backend does not know: {', '.join(unknown)}", damaged=False)
    inputs = {name: value for name, value in header.inputs.items() if name not in pasts}
    return Graph(file, inputs, pasts)


def _caches(
    file: Path, first: OnnxHeader, later: OnnxHeader, head_size: int
) -> tuple[tuple[Cache, ...], tuple[Cache, ...]]:
    """The decoder's own caches, which both graphs give, and those of the encoder's states, which the first one does."""
    pasts = {name: value for name, value in later.inputs.items() if name.startswith(_PAST)}
    own = {name: value for name, value in pasts.items() if _OF_ENCODER not in name}
    if not own:
        refuse(file, "has no KV cache (no past_key_values inputs)", damaged=False)
    lost = [name for name in pasts if name.replace("past_key_values", "present") not in first.outputs]
    if lost:
        refuse(file, f"takes a KV cache that the first decoder does not give ({lost[0]})")
    crossed = {name: value for name, value in pasts.items() if name not in own}
    return (
        tuple(read_cache(file, name, value, later.outputs, head_size) for name, value in own.items()),
        tuple(read_cache(file, name, value, first.outputs, head_size) for name, value in crossed.items()),
    )


def _check_decoder(graphs: EncoderDecoderGraphs, first: OnnxHeader) -> None:
    """Whether the decoder can be fed from this encoder."""
    taken = graphs.first.inputs.get("encoder_hidden_states")
    if taken is None:
        reason = "is not the decoder of an encoder-decoder (no input encoder_hidden_states)"
        refuse(graphs.first.file, reason, damaged=False)
    if graphs.first.file == graphs.later.file and graphs.crossed and "use_cache_branch" not in graphs.first.inputs:
        reason = "has no input use_cache_branch, so it cannot begin without a cache"
        refuse(graphs.first.file, reason, damaged=False)
    if taken.element != graphs.states.element or taken.element not in ELEMENT_BYTES:
        types = f"{graphs.states.element} given, {taken.element} taken"
        refuse(graphs.first.file, f"takes the encoder's states in another element type ({types})")
    if _differ(taken.shape[-1:], graphs.states.shape[-1:]):
        refuse(graphs.first.file, "takes states of another width than the encoder gives: they are of different models")


def _compare(graphs: EncoderDecoderGraphs, config: ModelConfig) -> None:
    """Hold the graphs against the config: `model_invalid` where they disagree, since one of them is another model's."""
    cache = graphs.own[0]
    layers = len({cache.past.split(".")[1] for cache in graphs.own})
    wanted_layers = config.decoder_layers or config.num_decoder_layers or config.num_layers
    said = [
        ("vocab_size", config.vocab_size, graphs.vocab_size),
        ("decoder layers", wanted_layers, layers),
        ("d_model", config.d_model, graphs.states.shape[-1] if graphs.states.shape else None),
    ]
    if len(cache.shape) == 4:
        said.append(("decoder heads", config.decoder_attention_heads or config.num_heads, cache.shape[1]))
        said.append(("d_kv", config.d_kv, cache.shape[3]))
    for name, wanted, found in said:
        if wanted is not None and isinstance(found, int) and wanted != found:
            refuse(graphs.later.file, f"does not belong to config.json: {name} is {found} here and {wanted} there")


def _differ(left: tuple[int | str | None, ...], right: tuple[int | str | None, ...]) -> bool:
    """True if two fixed sizes are not the same."""
    return all(isinstance(size, int) for size in (*left, *right)) and left != right
