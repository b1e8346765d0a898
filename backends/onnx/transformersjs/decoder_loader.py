"""Loads a decoder of a Transformers.js folder into a `TextModel`, on the plain path or on the fast one.

Above it: `loader`. Below it: `placement`, which chooses the device; `decoder` and `fast_path`, which run the graph.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from backends.base import LoadSpec, ProgressCallback
from backends.guards import require_memory
from backends.huggingface.files import read_json
from backends.huggingface.vocabulary import Vocabulary, with_template
from backends.onnx.devices import Device, device_of_genai
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.engine import Generator, Model
from backends.onnx.interface import EngineError
from backends.onnx.interface import Generator as AnyGenerator
from backends.onnx.kv_cache import KvCache
from backends.onnx.lora import read_adapter
from backends.onnx.model import TextModel
from backends.onnx.placement import Choice, Plan, place, session_device
from backends.onnx.prompt import PromptEncoder
from backends.onnx.remembered import Remembered, weights_key
from backends.onnx.session import Session
from backends.onnx.transformersjs import fast_path
from backends.onnx.transformersjs.decoder import OrtGenerator
from backends.onnx.transformersjs.folder import TransformersJsFolder
from backends.onnx.transformersjs.graph import DecoderGraph, read_decoder_graph
from backends.onnx.transformersjs.tokenizer import JsonTokenizer
from messages.content import Message, PromptInput
from messages.errors import HostError
from messages.facts import Capabilities

_QUESTION = PromptInput(messages=(Message(role="user", content="Tell me in a few words what you can do."),))
"""What both paths are asked when they are compared."""


def load_decoder(
    library: GenaiLibrary, folder: TransformersJsFolder, spec: LoadSpec, progress: ProgressCallback
) -> TextModel:
    """Load a decoder-only model. Raises what `load_transformersjs` raises."""
    return _DecoderLoader(library, folder, spec).load(progress)


@dataclass(frozen=True, slots=True)
class _Running:
    """A started graph. note says which path it took, where that was a question."""

    graph: DecoderGraph
    device: Device
    make: Callable[[], AnyGenerator]
    cache: KvCache
    release: Callable[[], None]
    note: str | None = None

    def close(self) -> None:
        """Free it, the cache first."""
        self.cache.clear()
        self.release()


class _DecoderLoader:
    """One load."""

    def __init__(self, library: GenaiLibrary, folder: TransformersJsFolder, spec: LoadSpec) -> None:
        file = folder.path / "tokenizer.json"
        self._library = library
        self._folder = folder
        self._spec = spec
        self._context = folder.context_for(spec.options.context_length)
        self._eos = folder.require_eos()
        self._description = read_json(file)
        self._encoder = PromptEncoder(folder.path, self._description, JsonTokenizer(file), folder.bos_token)
        self._verdicts = Remembered(spec.cache_path, "onnx-fast-path")

    def load(self, progress: ProgressCallback) -> TextModel:
        """Place the graph, and put everything around it."""
        placed = place(self._spec, self._plan(), progress)
        running = placed.model
        progress("tokenizer", 0.8, "Reading the tokenizer.")
        info = placed.info(self._context, Capabilities(json_schema=True, logprobs=True))
        if running.note is not None:
            info = replace(info, notes=(*info.notes, running.note))
        vocabulary = Vocabulary(self._folder.path, self._description, running.graph.vocab_size, self._eos)
        return TextModel(
            info=with_template(info, self._encoder.template, vocabulary),
            encoder=self._encoder,
            vocabulary=vocabulary,
            cache=running.cache,
            eos_tokens=frozenset(self._eos),
            context=self._context,
            release=running.release,
        )

    def _plan(self) -> Plan[_Running]:
        folder, context = self._folder, self._context
        return Plan(
            graphs=lambda dtype: folder.files(str(dtype)),
            weights_bytes=lambda dtype: folder.weights_bytes(str(dtype)),
            needed_bytes=lambda dtype: folder.needed_bytes(str(dtype), context, self._graph(dtype).token_bytes),
            start=self._start,
            step=lambda running: running.cache.try_out(self._eos[0]),
            stop=_Running.close,
            device=lambda running: running.device,
            dtypes=folder.dtypes,
        )

    def _graph(self, dtype: str | None) -> DecoderGraph:
        return read_decoder_graph(self._folder.graphs[self._folder.decoder][str(dtype)], self._folder.config)

    def _start(self, choice: Choice) -> _Running:
        """Start a graph on the path that is wanted and possible. Raises EngineError."""
        graph = self._graph(choice.dtype)
        if not self._spec.options.fast_path:
            return self._start_plain(graph, choice)
        reason = self._obstacle(graph, choice)
        forms = () if reason is not None else (False,) if graph.shares_cache else (True, False)
        for fused in forms:
            fast = self._try_fast(graph, choice, fused)
            if isinstance(fast, _Running):
                return fast
            reason = f"the fast path {fast}"
        return replace(self._start_plain(graph, choice), note=f"The plain path is used: {reason}.")

    def _obstacle(self, graph: DecoderGraph, choice: Choice) -> str | None:
        """Why the fast path cannot be tried; None if it is open."""
        if self._spec.options.lora is not None:
            return "the fast path takes no LoRA adapter"
        if choice.device.genai is None:
            return f"the fast path cannot use {choice.device.label}"
        reason = fast_path.obstacle(self._folder, graph)
        return reason if reason is None else f"the fast path cannot take this model ({reason})"

    def _try_fast(self, graph: DecoderGraph, choice: Choice, fused: bool) -> _Running | str:
        """Start the fast path if it gives the plain one's tokens; else why it is not used, as the end of a sentence."""
        verdict = self._verdict(graph, choice, fused)
        if verdict is False:
            return "was found to give other tokens"
        try:
            self._require_memory(choice, compared=verdict is None, fused=fused)
            return self._start_fast(graph, choice, fused) if verdict else self._compare(graph, choice, fused)
        except fast_path.NotFusedError as error:
            self._verdicts.put(self._key(graph, choice, fused), False)
            return f"could not be tried ({error})"
        except (EngineError, HostError) as error:
            return f"{'failed' if verdict else 'could not be tried'} ({error})"

    def _require_memory(self, choice: Choice, *, compared: bool, fused: bool) -> None:
        """HostError `out_of_memory` unless there is room for what the fast path needs while it loads."""
        dtype = str(choice.dtype)
        if compared:
            require_memory(self._folder.path, 2 * self._folder.needed_bytes(dtype, self._context, 0))
        elif fused:
            require_memory(self._folder.path, 3 * self._folder.weights_bytes(dtype))

    def _compare(self, graph: DecoderGraph, choice: Choice, fused: bool) -> _Running | str:
        """Start both paths and keep the fast one if it gives the same tokens; remember the answer. Raises EngineError.

        The plain one starts first, so that no graph is fused that the runtime does not take.
        """
        with closing(self._start_plain(graph, choice)) as plain, ExitStack() as stack:
            fast = stack.enter_context(closing(self._start_fast(graph, choice, fused)))
            same = fast_path.agree(plain.make, fast.make, self._encoder.encode(_QUESTION).tokens)
            self._verdicts.put(self._key(graph, choice, fused), same)
            if not same:
                return "gives other tokens"
            stack.pop_all()
            return fast

    def _verdict(self, graph: DecoderGraph, choice: Choice, fused: bool) -> bool | None:
        """What a comparison said before; None without one."""
        known = self._verdicts.get(self._key(graph, choice, fused))
        return known if isinstance(known, bool) else None

    def _key(self, graph: DecoderGraph, choice: Choice, fused: bool) -> str:
        form = f"fused {fast_path.FUSION} for {self._context} tokens" if fused else "as it is"
        return weights_key([graph.file], choice.dtype, choice.device.name, self._library.version, form)

    def _start_plain(self, graph: DecoderGraph, choice: Choice) -> _Running:
        adapter = read_adapter(self._spec.options.lora, graph.adapted)
        session = Session(graph.file, choice.placement, choice.threads)
        if adapter is not None:
            session.activate(adapter)

        def make() -> OrtGenerator:
            return OrtGenerator(session, graph, self._context)

        cache = KvCache(make, rewindable=True, undoes=True)
        return self._tried(_Running(graph, session_device(session), make, cache, session.close))

    def _start_fast(self, graph: DecoderGraph, choice: Choice, fused: bool) -> _Running:
        model: Model = fast_path.open_fast(
            self._library,
            self._folder,
            graph,
            self._context,
            provider=choice.device.genai or "",
            threads=choice.threads,
            fused=fused,
        )

        def make() -> Generator:
            return Generator(model, max_length=self._context, vocab_size=graph.vocab_size)

        cache = KvCache(make, rewindable=True, undoes=fused or graph.shares_cache)
        note = "The fast path is used: it gives the same tokens as the plain one."
        return self._tried(_Running(graph, device_of_genai(model.device), make, cache, model.close, note))

    def _tried(self, running: _Running) -> _Running:
        """Run it once: what does not fit shows now."""
        running.cache.try_out(self._eos[0])
        return running
