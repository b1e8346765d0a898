"""What a loaded model consists of, whichever runtime it runs in.

Made by the loaders, used by `backends.onnx.backend`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from backends.base import CancelToken, Embeddings, ModelInfo, Prefill
from backends.guards import OVERFLOW_REMEDY, require_room
from backends.huggingface.vocabulary import Vocabulary
from backends.onnx.interface import Logits
from backends.onnx.prompt import EncodedPrompt
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError


class PromptReader(Protocol):
    """Prompts into tokens."""

    def encode(self, prompt: PromptInput) -> EncodedPrompt:
        """Tokens of a prompt. Raises HostError `invalid_request`, `unsupported_option`, `model_invalid`."""

    def forget(self) -> None:
        """A generation begins: what the last one remembered holds no longer."""

    def remember(self, text: str, tokens: list[int]) -> None:
        """A generation has ended with exactly this text and these tokens, the prompt's included."""


class TokenCache(Protocol):
    """A model and the tokens that it has read."""

    def __len__(self) -> int:
        """Tokens in the KV cache."""

    def prefill(self, prompt: Sequence[int], cancel: CancelToken) -> Iterator[Prefill]:
        """Bring a prompt into the model, and tell how far it is; ends early if cancelled. Raises EngineError."""

    def append(self, token: int) -> None:
        """Add one token. Raises EngineError."""

    def logits(self) -> Logits:
        """Scores of the next token."""

    def clear(self) -> None:
        """Throw everything away."""


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model that generates text.

    context is in tokens; prompt and answer share it, unless the answer has a room of its own (an encoder-decoder's).
    """

    info: ModelInfo
    encoder: PromptReader
    vocabulary: Vocabulary
    cache: TokenCache
    eos_tokens: frozenset[int]
    context: int
    release: Callable[[], None]
    answer_room: int | None = None

    def room_after(self, prompt_tokens: int) -> int:
        """Tokens that an answer to a prompt may have; HostError `context_overflow` if the prompt is too long."""
        if self.answer_room is None:
            require_room(prompt_tokens, self.context)
            return self.context - prompt_tokens
        if prompt_tokens > self.context:
            raise HostError(
                ErrorCode.CONTEXT_OVERFLOW,
                f"The prompt has {prompt_tokens} tokens and the model reads {self.context}. {OVERFLOW_REMEDY}",
                prompt_tokens=prompt_tokens,
                context_length=self.context,
                most_prompt_tokens=self.context,
            )
        return self.answer_room

    def followed(self, prompt: Sequence[int]) -> Sequence[int]:
        """The tokens that an answer goes on from: none where the prompt is another text, read by an encoder."""
        return prompt if self.answer_room is None else ()

    def close(self) -> None:
        """Free it, the cache before the model."""
        self.cache.clear()
        self.release()


class EmbeddingModel(Protocol):
    """A model that turns texts into vectors."""

    @property
    def info(self) -> ModelInfo:
        """What was loaded."""

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """One vector a text; see `Backend.embed`. Raises EngineError, HostError."""

    def count_tokens(self, prompt: PromptInput) -> int:
        """Tokens of a text, the tokenizer's own start and end included, before anything is cut off."""

    def close(self) -> None:
        """Free it."""
