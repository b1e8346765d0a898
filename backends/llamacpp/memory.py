"""What a GGUF model will take in memory, from its header alone, and whether that is there.

Above it: `describe` and `backend`. The figures are those that llama.cpp allocates: the weights, a KV cache of 16-bit
values for the whole context, and the compute buffer of one batch (llama-kv-cache.cpp, llama-context.cpp).
"""

from dataclasses import dataclass
from itertools import cycle, islice

from backends.llamacpp.header import Array, Header, Number, invalid_model, require_epsilons
from backends.llamacpp.projector import Projector
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from messages.wording import plural

DEFAULT_CONTEXT = 4096
"""Context of a model that was trained on more, in tokens, when the caller names none: a larger one costs memory."""

BATCH_TOKENS = 128
"""Prompt tokens that are decoded at once on a CPU. Larger batches report their progress later and can be cancelled less
often: the engine looks between operations, and each takes as long as its batch is large, and as its context is long."""

_EARLY_BATCH_TOKENS = 256
_EARLY_TOKENS = 512
_SMALL_BYTES = 1 << 30
_GPU_BATCH_TOKENS = 512
"""llama.cpp's own default."""

_CONTEXT_STEP = 256
_KV_VALUE_BYTES = 2
_FIXED_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that memory and time depend on, of all layers together where they add up.

    kv_values is the number of cached values a token, attention_values of those that one token is held against for each
    token before it: heads share cached values. heads are those of the layer that has most; of a model that is not
    causal, tokens also see what stands behind them.
    """

    trained_context: int
    width: int
    feed_forward: int
    vocabulary: int
    kv_values: int
    attention_values: int
    heads: int
    causal: bool


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many tokens of a prompt are decoded at once: up to `early` before position `until`, up to `late` from it."""

    early: int
    late: int
    until: int = _EARLY_TOKENS

    def at(self, position: int) -> int:
        """The most tokens of a batch that begins at a position."""
        return self.early if position < self.until else self.late


def choose_batches(file_bytes: int, on_gpu: bool) -> BatchSizes:
    """The batches for a model of a size, on a GPU or on the CPU.

    Of a small model on a CPU a prompt's beginning is read in larger batches, up to a tenth faster; of a large one a
    batch takes seconds, and more of them say more of how it goes.
    """
    if on_gpu:
        return BatchSizes(_GPU_BATCH_TOKENS, _GPU_BATCH_TOKENS)
    return BatchSizes(_EARLY_BATCH_TOKENS if file_bytes < _SMALL_BYTES else BATCH_TOKENS, BATCH_TOKENS)


def read_shape(header: Header) -> ModelShape:
    """Read a model's sizes; HostError `model_invalid` if they are missing, or if the file is no language model."""
    _require_language_model(header)
    require_epsilons(header)
    layers = _size(header, "block_count")
    width = _size(header, "embedding_length")
    heads = _sizes(header, "attention.head_count", layers, default=0)
    kv_heads = _sizes(header, "attention.head_count_kv", layers, default=max(heads))
    _require_shared_heads(header, heads, kv_heads)
    head_width = width // max(1, *heads)
    key_width = _size(header, "attention.key_length", head_width)
    value_width = _size(header, "attention.value_length", head_width)
    feed_forward = max(_sizes(header, "feed_forward_length", layers, default=4 * width))
    _require_held(header, layers, max(width, feed_forward, key_width, value_width, *kv_heads))
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    return ModelShape(
        trained_context=_size(header, "context_length"),
        width=width,
        feed_forward=feed_forward,
        vocabulary=tokens.length if isinstance(tokens, Array) else 0,
        kv_values=_total(kv_heads, layers) * (key_width + value_width),
        attention_values=_total(heads, layers) * (key_width + value_width),
        heads=max(heads),
        causal=header.metadata.get(f"{header.text('general.architecture')}.attention.causal") is not False,
    )


def choose_context(shape: ModelShape, options: LoadOptions) -> int:
    """The context to load with, in tokens: the one asked for, else the trained one up to `DEFAULT_CONTEXT`."""
    return options.context_length or min(shape.trained_context, DEFAULT_CONTEXT)


def cells_of(context: int) -> int:
    """The cells that the engine's cache has for a context of so many tokens, and that it looks at of so many."""
    return -(-context // _CONTEXT_STEP) * _CONTEXT_STEP


def needed_bytes(header: Header, shape: ModelShape, context: int, projector: Projector | None = None) -> int:
    """The memory that a model and its projector take with a context of so many tokens.

    The scores of attention in plain products are not in it: they are kept where there is room for them.
    """
    cells = cells_of(context)
    kv_cache = cells * shape.kv_values * _KV_VALUE_BYTES
    activations = 4 * (4 * shape.width + 2 * shape.feed_forward)
    compute = choose_batches(header.file_bytes, on_gpu=False).early * (activations + 2 * cells) + 4 * shape.vocabulary
    pictures = projector.needed_bytes(context) if projector else 0
    return header.tensor_bytes + kv_cache + compute + pictures + _FIXED_BYTES


def require_trained_context(shape: ModelShape, context: int) -> None:
    """Raise HostError `invalid_request` for a context beyond the trained one: the model writes nonsense there."""
    if context > shape.trained_context:
        raise HostError(
            ErrorCode.INVALID_REQUEST,
            f"The model was trained on contexts of up to {shape.trained_context} tokens;"
            f" {context} is more than it can use.",
            fields=[f"options.context_length: must be <= {shape.trained_context}"],
            trained_context=shape.trained_context,
        )


def _require_language_model(header: Header) -> None:
    kind = header.text("general.type") or "model"
    if kind != "model" or header.text("general.architecture") == "clip":
        kind = "projector for pictures" if kind == "model" else kind
        raise invalid_model(header.path, f"is not a language model ({kind})")
    if not header.text("general.architecture"):
        raise invalid_model(header.path, "does not say which architecture it has")


def _require_shared_heads(header: Header, heads: tuple[int, ...], kv_heads: tuple[int, ...]) -> None:
    """The engine ends its process over heads that cannot be shared out among those of the KV cache."""
    count = max(len(heads), len(kv_heads))  # one size, or one for each layer
    pairs = zip(islice(cycle(heads), count), islice(cycle(kv_heads), count), strict=True)
    if any(kv and own % kv for own, kv in pairs):
        raise invalid_model(header.path, "has attention heads that are no multiple of those of its KV cache")


def _require_held(header: Header, layers: int, largest: int) -> None:
    """Refuse sizes that the weights cannot have, of a bit a value at least: memory for them would be called missing."""
    tensors = len(header.tensors)
    if layers > tensors:
        raise invalid_model(header.path, f"announces {layers} layers, and has {tensors} {plural(tensors, 'tensor')}")
    if largest > 8 * header.tensor_bytes:
        reason = f"announces a size of {largest} in its header, and has weights of {header.tensor_bytes} bytes"
        raise invalid_model(header.path, reason)


def _size(header: Header, name: str, default: int | None = None) -> int:
    value = header.metadata.get(f"{header.text('general.architecture')}.{name}", default)
    if not isinstance(value, int) or value < 0 or (default is None and value == 0):
        raise invalid_model(header.path, f"has no usable {name} in its header")
    return value


def _sizes(header: Header, name: str, layers: int, default: int) -> tuple[int, ...]:
    """One size for all layers, or one for each."""
    value = header.metadata.get(f"{header.text('general.architecture')}.{name}", default)
    values: tuple[Number, ...] = value.values if isinstance(value, Array) else ()
    if isinstance(value, int):
        values = (value,)
    if len(values) not in (1, layers) or not all(isinstance(size, int) and size >= 0 for size in values):
        raise invalid_model(header.path, f"has no usable {name} in its header")
    return tuple(int(size) for size in values)


def _total(sizes: tuple[int, ...], layers: int) -> int:
    return sum(sizes) if len(sizes) == layers else sizes[0] * layers
