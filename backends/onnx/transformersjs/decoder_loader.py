"""Loads a decoder of a Transformers.js folder into a `TextModel`, on the plain path or on the fast one.

Above it: `loader`. Below it: `placement`, which chooses the device; `decoder` and `fast_path`, which run the graph.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from backends.base import LoadSpec, ProgressCallback
from backends.guards import require_memory
from backends.onnx.devices import Device, device_of_genai
from backends.onnx.folder import read_json
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
from backends.onnx.vocabulary import Vocabulary
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
        info = placed.info(self._context, Capabilities(json_schema=True))
        if running.note is not None:
            info = replace(info, notes=(*info.notes, running.note))
        return TextModel(
            info=info,
            encoder=self._encoder,
            vocabulary=Vocabulary(self._folder.path, self._description, running.graph.vocab_size, self._eos),
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
        if reason is not None:
            return _noted(self._start_plain(graph, choice), f"The plain path is used: {reason}.")
        if not self._verdict(graph, choice):
            return self._compare(graph, choice)
        try:
            return self._start_fast(graph, choice)
        except EngineError as error:
            return _noted(self._start_plain(graph, choice), f"The plain path is used: the fast path failed ({error}).")

    def _obstacle(self, graph: DecoderGraph, choice: Choice) -> str | None:
        """Why the fast path cannot be tried, or is known to fail; None if it is open."""
        if self._spec.options.lora is not None:
            return "the fast path takes no LoRA adapter"
        if choice.device.genai is None:
            return f"the fast path cannot use {choice.device.label}"
        reason = fast_path.obstacle(self._folder, graph)
        if reason is not None:
            return f"the fast path cannot take this model ({reason})"
        if self._verdict(graph, choice) is False:
            return "the fast path was found to give other tokens"
        return None

    def _compare(self, graph: DecoderGraph, choice: Choice) -> _Running:
        """Start both paths and keep the fast one if it gives the same tokens; remember the answer."""
        plain = self._start_plain(graph, choice)
        try:
            require_memory(self._folder.path, self._folder.needed_bytes(str(choice.dtype), self._context, 0))
            fast = self._start_fast(graph, choice)
        except (EngineError, HostError) as error:
            return _noted(plain, f"The plain path is used: the fast path could not be tried ({error}).")
        prompt = self._encoder.encode(_QUESTION).tokens
        same = fast_path.agree(plain.make, fast.make, prompt)
        self._verdicts.put(self._key(graph, choice), same)
        kept, spare = (fast, plain) if same else (plain, fast)
        spare.close()
        return kept if same else _noted(kept, "The plain path is used: the fast path gives other tokens.")

    def _verdict(self, graph: DecoderGraph, choice: Choice) -> bool | None:
        """What a comparison said before; None without one."""
        known = self._verdicts.get(self._key(graph, choice))
        return known if isinstance(known, bool) else None

    def _key(self, graph: DecoderGraph, choice: Choice) -> str:
        return weights_key([graph.file], choice.dtype, choice.device.name, self._library.version)

    def _start_plain(self, graph: DecoderGraph, choice: Choice) -> _Running:
        adapter = read_adapter(self._spec.options.lora, graph.adapted)
        session = Session(graph.file, choice.placement, choice.threads)
        if adapter is not None:
            session.activate(adapter)

        def make() -> OrtGenerator:
            return OrtGenerator(session, graph, self._context)

        cache = KvCache(make, rewindable=True, undoes=True)
        return self._tried(_Running(graph, session_device(session), make, cache, session.close))

    def _start_fast(self, graph: DecoderGraph, choice: Choice) -> _Running:
        provider = choice.device.genai or ""
        model: Model = fast_path.open_fast(
            self._library, self._folder, graph, self._context, provider=provider, threads=choice.threads
        )

        def make() -> Generator:
            return Generator(model, max_length=self._context, vocab_size=graph.vocab_size)

        cache = KvCache(make, rewindable=True, undoes=graph.shares_cache)
        note = "The fast path is used: it gives the same tokens as the plain one."
        return self._tried(_Running(graph, device_of_genai(model.device), make, cache, model.close, note))

    def _tried(self, running: _Running) -> _Running:
        """Run it once: what does not fit shows now."""
        running.cache.try_out(self._eos[0])
        return running


def _noted(running: _Running, note: str) -> _Running:
    return replace(running, note=note)
