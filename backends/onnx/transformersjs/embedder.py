"""Turns texts into vectors with an encoder's graph; satisfies `backends.onnx.model.EmbeddingModel`.

Texts go through the graph in batches of similar length, the longest first. Above it: `backends.onnx.backend`, and
`embedder_loader`, which makes it. Below it: `session`, and Hugging Face's `tokenizers`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.base import Embeddings, ModelInfo
from backends.onnx.limits import EMBEDDING_BATCH
from backends.onnx.session import ELEMENT_TYPES, Session
from backends.onnx.transformersjs.embedder_graph import EmbedderGraph
from backends.onnx.transformersjs.sentence import Pooling
from backends.onnx.transformersjs.text_tokens import TextReader
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError

BATCH_ROWS = 32
"""Texts that go through the graph at once, at most."""

TRIAL_TOKENS = 64
"""Tokens of the text that a model is tried with, and timed."""

_DIGITS = 9
"""Digits behind the largest value's point that are told: float32 has no more, and they are half of JSON's size."""

_SMALLEST_NORM = 1e-12
"""Shorter vectors are left as they are (PyTorch, `torch.nn.functional.normalize`)."""

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int64]


class TextEncoder:
    """A graph that reads tokens, and what is made of its states. limit is in tokens of a text.

    pooling is not used where the graph gives finished vectors.
    """

    def __init__(
        self, session: Session, graph: EmbedderGraph, reader: TextReader, pooling: Pooling, limit: int
    ) -> None:
        self.session = session
        self.limit = min(limit, graph.length or limit)
        self.is_finished = graph.is_finished
        self._graph = graph
        self._reader = reader
        self._pooling = pooling
        reader.require_room(self.limit)

    def vectors(self, texts: Sequence[list[int]]) -> Floats:
        """Vectors `(texts, dimensions)` of texts' tokens, not normalised. Raises EngineError, HostError."""
        found: dict[int, Floats] = {}
        for places in plan_batches(list(map(len, texts)), self._batch_rows(), EMBEDDING_BATCH):
            found.update(zip(places, self._run([texts[place] for place in places]), strict=True))
        vectors = np.stack([found[place] for place in range(len(texts))])
        if not np.isfinite(vectors).all():
            text = "The model gives values that are not finite numbers; load it with another dtype, such as fp32."
            raise HostError(ErrorCode.MODEL_INVALID, text, model_path=str(self._graph.file))
        return vectors

    def try_out(self) -> None:
        """Read one text of some length, so that a graph that does not fit shows while it is loaded.

        Raises EngineError, HostError.
        """
        self.vectors([self._reader.tokens_of_length(min(self.limit, TRIAL_TOKENS))])

    def close(self) -> None:
        """Free the graph."""
        self.session.close()

    def _batch_rows(self) -> int:
        """Texts of a batch, at most.

        Each text is alone, with no padding, where the graph itself picks the last token and the tokenizer would pad on
        the left: whether it picks by place or by the mask cannot be seen.
        """
        alone = self.is_finished and self._reader.pads_left
        return 1 if alone else min(BATCH_ROWS, self._graph.rows or BATCH_ROWS)

    def _run(self, batch: Sequence[list[int]]) -> Floats:
        """Vectors `(texts, dimensions)` of one batch."""
        shape = (self._graph.rows or len(batch), self._graph.length or max(map(len, batch)))
        tokens, mask = self._reader.pad(batch, shape)
        (output,) = self.session.run_arrays(self._feeds(tokens, mask), [self._graph.output])
        states = output[: len(batch)].astype(np.float32)
        return states if self.is_finished else pool(states, mask[: len(batch)], self._pooling)

    def _feeds(self, tokens: Mask, mask: Mask) -> dict[str, npt.NDArray[Any]]:
        """The graph's inputs; tokens and mask are `(rows, length)`."""
        feeds = {
            "input_ids": tokens,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(tokens),
            "position_ids": np.maximum(np.cumsum(mask, axis=1) - 1, 0),
        }
        plain = {name: feeds[name].astype(ELEMENT_TYPES[value.element]) for name, value in self._graph.inputs.items()}
        pasts = {
            name: np.zeros((len(tokens), *shape[1:]), ELEMENT_TYPES[value.element])
            for name, (value, shape) in self._graph.pasts.items()
        }
        return plain | pasts


class Embedder:
    """One loaded embedding model."""

    def __init__(self, info: ModelInfo, encoder: TextEncoder, reader: TextReader, normalize: bool) -> None:
        self._info = info
        self._encoder = encoder
        self._reader = reader
        self._normalize = normalize

    @property
    def info(self) -> ModelInfo:
        """What was loaded."""
        return self._info

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """One vector a text. Raises EngineError, HostError `invalid_request` for a text without any token."""
        read = self._reader.read(texts, self._encoder.limit)
        _refuse_empty(read.tokens)
        vectors = self._encoder.vectors(read.tokens)
        if self._normalize if normalize is None else normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _SMALLEST_NORM)
        return Embeddings(
            vectors=_shorten(vectors),
            dimensions=vectors.shape[1],
            input_tokens=sum(map(len, read.tokens)),
            truncated=read.truncated,
        )

    def count_tokens(self, prompt: PromptInput) -> int:
        """Tokens of a text, the tokenizer's own start and end included, before anything is cut off."""
        if prompt.prompt is None:
            text = "An embedding model has no conversations; send the text as prompt."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["messages"])
        return self._reader.count(prompt.prompt)

    def close(self) -> None:
        """Free it."""
        self._encoder.close()


def plan_batches(lengths: Sequence[int], rows: int, tokens: int) -> Iterator[list[int]]:
    """Places of texts that go together: the longest first, at most `rows` and `tokens` with the padding, or one."""
    batch: list[int] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batch and (len(batch) == rows or (len(batch) + 1) * longest > tokens):
            yield batch
            batch = []
        longest = longest if batch else lengths[place]
        batch.append(place)
    if batch:
        yield batch


def pool(states: Floats, mask: Mask, pooling: Pooling) -> Floats:
    """Vectors `(rows, dimensions)` of states `(rows, length, dimensions)`; padding may stand on either side."""
    if pooling is Pooling.MEAN:
        weights = mask.astype(np.float32) / mask.sum(axis=1, keepdims=True)
        mean: Floats = np.einsum("rt,rtd->rd", weights, states)
        return mean
    places = mask.argmax(axis=1) if pooling is Pooling.CLS else mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    chosen: Floats = states[np.arange(len(states)), places]
    return chosen


def _refuse_empty(texts: Sequence[list[int]]) -> None:
    places = [place for place, tokens in enumerate(texts) if not tokens]
    if places:
        raise HostError(
            ErrorCode.INVALID_REQUEST,
            "There is a text without any token in it, so it has no vector; leave it out.",
            fields=[f"input[{place}]: has no tokens" for place in places[:20]],
        )


def _shorten(vectors: Floats) -> list[list[float]]:
    """Plain numbers with as many digits as float32 has."""
    largest = float(np.abs(vectors).max(initial=1e-30)) or 1e-30
    rounded = vectors.astype(np.float64).round(_DIGITS - int(np.ceil(np.log10(largest))))
    plain: list[list[float]] = rounded.tolist()
    return plain
