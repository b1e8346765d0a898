"""Runs an encoder-decoder: the encoder once over a prompt, then the decoder token by token: `EncoderDecoder`.

The decoder's first step gives the keys and values of the encoder's states; they stay bound as inputs for the whole
answer. (The other branch of a merged decoder gives dummies for them: optimum, `merge_decoders`.) Its own caches are
what one step gave and the next one takes. Nothing is copied between steps, and no cache is written to once it is
there: so the caches of the first step are still good when the same prompt comes again.
Above it: `backends.onnx.backend`, `encoder_decoder_loader`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.base import CancelToken, Prefill
from backends.damage import WORTHLESS, is_damaged
from backends.onnx.interface import EngineError, Logits
from backends.onnx.interrupt import Interrupt
from backends.onnx.session import ELEMENT_TYPES, Session
from backends.onnx.transformersjs.encoder_decoder_graph import STATES, EncoderDecoderGraphs, Graph
from backends.onnx.transformersjs.graph import Cache
from backends.onnx.transformersjs.target_tokens import TargetTokens


@dataclass(frozen=True, slots=True)
class Sessions:
    """The loaded graphs; first and later are one session where the decoder is merged."""

    encoder: Session
    first: Session
    later: Session

    def distinct(self) -> list[Session]:
        """Each once."""
        return [self.encoder, self.first, *([self.later] if self.later is not self.first else [])]

    def close(self) -> None:
        """Free the graphs."""
        for session in self.distinct():
            session.close()


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of the decoder gave: its own caches, how many tokens are in them, and the next token's logits."""

    own: Sequence[Any]
    length: int
    logits: Logits


@dataclass(frozen=True, slots=True)
class Source:
    """A prompt that was read: the step that begins every answer to it, and a binding to which all else is bound."""

    tokens: list[int]
    begun: Step
    binding: Any
    bound: Sequence[Any]
    """Tensors that the binding points to and that live as long as it."""


class EncoderDecoder:
    """A prompt in the encoder and an answer in the decoder; satisfies `backends.onnx.model.TokenCache`."""

    def __init__(self, graphs: EncoderDecoderGraphs, sessions: Sessions, target: TargetTokens) -> None:
        self._graphs = graphs
        self._sessions = sessions
        self._start = target.start
        self._barred = list(target.barred)
        self._source: Source | None = None
        self._step: Step | None = None

    def __len__(self) -> int:
        """Tokens of prompt and answer in the caches."""
        source, step = self._source, self._step
        return len(source.tokens) + step.length if source and step else 0

    def prefill(self, prompt: Sequence[int], cancel: CancelToken) -> Iterator[Prefill]:
        """Read a prompt whole, unless it is the one that was read last; a cancel ends it at once.

        Raises EngineError.
        """
        total, tokens = len(prompt), list(prompt)
        if self._source is not None and self._source.tokens == tokens:
            self._step = self._source.begun
            yield Prefill(done=total, total=total, cached=total)
            return
        self.clear()
        interrupt = Interrupt(self)
        cancel.on_cancel(interrupt.fire)
        yield Prefill(done=0, total=total, cached=0)
        if not cancel.cancelled and self._read(tokens, interrupt):
            yield Prefill(done=total, total=total, cached=0)

    def append(self, token: int) -> None:
        """Run the decoder over one token. Raises EngineError; everything is then thrown away."""
        try:
            self._step = self._later_step(token)
        except EngineError:
            self.clear()
            raise

    def logits(self) -> Logits:
        """Scores of the next token; those of barred tokens are -inf."""
        _, step = self._require()
        scores = step.logits.copy()
        scores[self._barred] = -np.inf
        return scores

    def clear(self) -> None:
        """Throw everything away."""
        self._source = self._step = None

    def try_out(self, token: int) -> None:
        """Run every graph once and forget it: parts that do not fit each other, or are damaged, show it here.

        Raises EngineError.
        """
        if is_damaged(self._score, token):
            raise EngineError(WORTHLESS)

    def terminate(self) -> None:
        """End the running step with an error; from any thread."""
        for session in self._sessions.distinct():
            session.terminate()

    def resume(self) -> None:
        """Take a `terminate` back."""
        for session in self._sessions.distinct():
            session.resume()

    def _score(self, token: int) -> Logits:
        """The scores after a token that is both prompt and answer, barred tokens' too; it is then forgotten."""
        self._begin([token])
        self.append(token)
        _, step = self._require()
        self.clear()
        return step.logits

    def _read(self, tokens: list[int], interrupt: Interrupt) -> bool:
        """Run the encoder and the decoder's first step; False if a cancel cut it short."""
        try:
            interrupt.run(partial(self._begin, tokens))
        except EngineError:
            self.clear()
            if not interrupt.fired:
                raise
            return False
        return True

    def _begin(self, tokens: list[int]) -> None:
        known = self._encode(tokens)
        begun, crossed = self._first_step(known)
        known |= {cache.past: value for cache, value in zip(self._graphs.crossed, crossed, strict=True)}
        binding = self._sessions.later.binding()
        bound = self._bind_known(self._sessions.later, binding, self._graphs.later, known, past=True)
        self._source, self._step = Source(tokens, begun, binding, bound), begun

    def _encode(self, tokens: list[int]) -> dict[str, Any]:
        """What the decoder gets of a prompt, by the names of its inputs."""
        graph, session = self._graphs.encoder, self._sessions.encoder
        arrays = {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, len(tokens)))}
        feeds = {name: _array(arrays[name], value.element) for name, value in graph.inputs.items()}
        binding = session.binding()
        with session.failures():
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array)
            binding.bind_output(STATES, session.output_memory)
        session.run(binding)
        (states,) = binding.get_outputs()
        return {"encoder_hidden_states": session.kept(states), "encoder_attention_mask": arrays["attention_mask"]}

    def _first_step(self, known: Mapping[str, Any]) -> tuple[Step, list[Any]]:
        """Begin an answer; also the keys and values of the encoder's states."""
        graph, session = self._graphs.first, self._sessions.first
        binding = session.binding()
        bound = self._bind_known(session, binding, graph, known, past=False)
        empty = [
            (cache.past, _empty(session, cache))
            for cache in (*self._graphs.own, *self._graphs.crossed)
            if cache.past in graph.pasts
        ]
        with session.failures():
            for name, value in empty:
                binding.bind_ortvalue_input(name, value)
            for cache in (*self._graphs.own, *self._graphs.crossed):
                binding.bind_output(cache.present, session.output_memory)
        outputs = self._run(session, binding, graph, self._start, 0)
        del bound
        own, kept = len(self._graphs.own), [session.kept(value) for value in outputs[:-1]]
        return Step(kept[:own], len(self._start), _last(outputs[-1])), kept[own:]

    def _later_step(self, token: int) -> Step:
        source, step = self._require()
        session, total = self._sessions.later, step.length + 1
        grown = [session.empty(cache.shape_of(total), ELEMENT_TYPES[cache.element]) for cache in self._graphs.own]
        with session.failures():
            for cache, value, longer in zip(self._graphs.own, step.own, grown, strict=True):
                source.binding.bind_ortvalue_input(cache.past, value)
                source.binding.bind_ortvalue_output(cache.present, longer)
        outputs = self._run(session, source.binding, self._graphs.later, [token], step.length)
        return Step(outputs[:-1], step.length + 1, _last(outputs[-1]))

    def _run(self, session: Session, binding: Any, graph: Graph, tokens: Sequence[int], length: int) -> list[Any]:
        """Run a decoder over tokens behind `length` others; its outputs as they were bound, and the logits last."""
        arrays = {"input_ids": np.array([tokens]), "decoder_attention_mask": np.ones((1, length + len(tokens)))}
        feeds = {
            name: _array(array, graph.inputs[name].element) for name, array in arrays.items() if name in graph.inputs
        }
        with session.failures():
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array)
            binding.bind_output("logits", "cpu")
        session.run(binding)
        outputs: list[Any] = binding.get_outputs()
        return outputs

    def _bind_known(
        self, session: Session, binding: Any, graph: Graph, known: Mapping[str, Any], *, past: bool
    ) -> list[Any]:
        """Bind what stays the same for a whole answer; the tensors, which must live as long as the binding."""
        branch = {"use_cache_branch": np.array([past])}
        wanted = {
            name: value for name, value in {**known, **branch}.items() if name in graph.inputs.keys() | graph.pasts
        }
        arrays = {
            name: _array(value, graph.inputs[name].element)
            for name, value in wanted.items()
            if isinstance(value, np.ndarray)
        }
        tensors = {name: value for name, value in wanted.items() if name not in arrays}
        with session.failures():
            for name, array in arrays.items():
                binding.bind_cpu_input(name, array)
            for name, tensor in tensors.items():
                binding.bind_ortvalue_input(name, tensor)
        return [*arrays.values(), *tensors.values()]

    def _require(self) -> tuple[Source, Step]:
        if self._source is None or self._step is None:
            raise EngineError("no prompt was read")
        return self._source, self._step


def _array(array: npt.NDArray[Any], element: int) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, dtype=ELEMENT_TYPES[element])


def _empty(session: Session, cache: Cache) -> Any:
    return session.value(np.zeros(cache.shape_of(0), dtype=ELEMENT_TYPES[cache.element]))


def _last(logits: Any) -> Logits:
    """The last token's of `(1, n, vocab_size)`."""
    return np.array(logits.numpy()[0, -1], dtype=np.float32)
