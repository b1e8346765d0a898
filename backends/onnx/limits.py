"""How much both layouts take of context and memory. The engines are not imported."""

from messages.errors import ErrorCode, HostError

DEFAULT_CONTEXT = 4096
"""Tokens of context where the load does not say and the model could do more: a KV cache is often allocated whole."""

PIECE = 128
"""Tokens of a prompt that are read at once: 3 % slower than all at once (genai 0.18, 2 threads, int4), and progress
shows."""

WORKING_BYTES = 64 * 1024 * 1024
"""Memory that an engine takes beside weights, KV cache and logits."""


EMBEDDING_BATCH = 2048
"""Tokens of texts that an embedding model reads at once, their padding included, at most (or one text)."""

_USUAL_HEADS = 16


def attention_bytes(heads: int | None, length: int) -> int:
    """Bytes that attention without a KV cache takes for each token of a longest text: a row of scores in float32."""
    return 4 * (heads or _USUAL_HEADS) * max(EMBEDDING_BATCH, length)


def choose_context(wanted: int | None, largest: int | None) -> int:
    """Tokens of context to load with; largest is what the model was trained on, None if it does not say.

    Raises HostError `invalid_request` if more is wanted than there is.
    """
    if wanted is None:
        return min(largest or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    if largest is not None and wanted > largest:
        raise HostError(
            ErrorCode.INVALID_REQUEST,
            f"The model was trained on contexts of up to {largest} tokens; {wanted} is more than it can use.",
            fields=[f"options.context_length: must be <= {largest}"],
            trained_context=largest,
        )
    return wanted
