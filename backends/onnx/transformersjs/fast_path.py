"""The opt-in fast path: a Transformers.js folder run by ONNX Runtime GenAI, where that gives the same tokens.

genai's loop is C++ and costs less a token, but it knows a graph only by its `genai_config.json`, which such a folder
does not have. So one is written for it, for architectures whose graphs are alike (onnxruntime-genai,
`src/models/model_type.h`), and used only if its first greedy tokens equal those of the plain path. The comparison is
made once for a file, and remembered. A graph of primitive nodes is fused first, where it can be (`fused_graph`).
Above it: `decoder_loader`. Below it: genai's engine.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.engine import Model
from backends.onnx.interface import EngineError, Generator
from backends.onnx.transformersjs.folder import TransformersJsFolder, graph_bytes
from backends.onnx.transformersjs.graph import DecoderGraph

COMPARED_TOKENS = 32
"""Greedy tokens that must be equal."""

FUSION = 1
"""The version of what `fused_graph` writes; another one is compared with the plain path anew."""

GENAI_TYPES: Mapping[str, str] = {
    "llama": "llama",
    "mistral": "mistral",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "phi": "phi",
    "phi3": "phi3",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3_text",
    "granite": "granite",
    "olmo": "olmo",
    "smollm3": "smollm3",
}
"""`model_type` of config.json to genai's own word for it; the graphs of all of them are plain decoders."""

_INPUTS = frozenset({"input_ids", "attention_mask", "position_ids"})
_PAST = "past_key_values.%d.{kind}"
_PRESENT = "present.%d.{kind}"
_GRAPHS = "graphs"


class NotFusedError(EngineError):
    """The graph cannot be fused for this context, now or later."""


def obstacle(folder: TransformersJsFolder, graph: DecoderGraph) -> str | None:
    """Why a folder cannot take the fast path, as the end of a sentence; None if it can be tried."""
    if folder.config.model_type not in GENAI_TYPES:
        return f"{folder.config.model_type or 'this architecture'} is not one that it knows"
    others = sorted(graph.inputs.keys() - _INPUTS)
    if others:
        return f"the graph wants {', '.join(others)}"
    names = {name.replace("%d", str(layer)) for layer in range(len(graph.caches) // 2) for name in _names(_PAST)}
    if {cache.past for cache in graph.caches} != names:
        return "the graph's caches have other names"
    return None


def open_fast(
    library: GenaiLibrary,
    folder: TransformersJsFolder,
    graph: DecoderGraph,
    context: int,
    *,
    provider: str,
    threads: int | None,
    fused: bool = False,
) -> Model:
    """Load a graph into genai, for `context` tokens, its attention fused if that is asked for.

    Provider is genai's name of it, "" for the CPU. Raises NotFusedError, EngineError, that also where the system allows
    no symbolic link to the graph. What is written for genai is gone again when this returns.
    """
    with tempfile.TemporaryDirectory(prefix="tabagent-fast-path-") as place:
        scratch = Path(place)
        try:
            used = _fuse(folder, graph, context, scratch / _GRAPHS) if fused else _link(graph, scratch / _GRAPHS)
        except OSError as error:
            raise EngineError(f"the graph cannot be put beside a config for genai ({error.strerror})") from error
        config = make_config(folder, used, context)
        (scratch / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
        return Model(library, scratch, provider, threads)


def _link(graph: DecoderGraph, place: Path) -> DecoderGraph:
    """Lead to a graph's folder from `place`: its external data must stand beside it."""
    place.symlink_to(graph.file.parent, target_is_directory=True)
    return graph


def _fuse(folder: TransformersJsFolder, graph: DecoderGraph, context: int, place: Path) -> DecoderGraph:
    """Write the fused form of a graph into a new folder. Raises NotFusedError, EngineError, OSError."""
    try:
        from backends.onnx.transformersjs.attention_pattern import NotFusableError
        from backends.onnx.transformersjs.fused_graph import LARGEST_BYTES, write_fused
    except ModuleNotFoundError as missing:
        raise EngineError(f"the package {missing.name} is not installed") from missing
    heads = folder.config.num_attention_heads
    if heads is None or graph_bytes(graph.file) > LARGEST_BYTES:
        raise NotFusedError("it is too large to be fused, or its config does not tell the number of heads")
    place.mkdir()
    try:
        return write_fused(graph, heads, context, place / graph.file.name)
    except NotFusableError as reason:
        raise NotFusedError(f"its attention cannot be fused: {reason}") from reason


def make_config(folder: TransformersJsFolder, graph: DecoderGraph, context: int) -> dict[str, Any]:
    """The `genai_config.json` for a graph (keys of onnxruntime-genai 0.18, `src/config.cpp`)."""
    config, eos = folder.config, folder.require_eos()
    past, present = _names(_PAST), _names(_PRESENT)
    decoder = {
        "session_options": {"provider_options": []},
        "filename": f"{_GRAPHS}/{graph.file.name}",
        "head_size": config.head_size,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.num_attention_heads,
        "num_hidden_layers": len(graph.caches) // 2,
        "num_key_value_heads": config.num_key_value_heads or config.num_attention_heads,
        "inputs": {name: name for name in graph.inputs} | {"past_key_names": past[0], "past_value_names": past[1]},
        "outputs": {"logits": "logits", "present_key_names": present[0], "present_value_names": present[1]},
    }
    return {
        "model": {
            "type": GENAI_TYPES[config.model_type],
            "vocab_size": graph.vocab_size,
            "context_length": context,
            "eos_token_id": list(eos),
            "pad_token_id": eos[0],
            "bos_token_id": eos[0] if folder.bos_token is None else folder.bos_token,
            "decoder": decoder,
        },
        "search": {"do_sample": False, "num_beams": 1, "past_present_share_buffer": graph.shares_cache},
    }


def agree(make_plain: Callable[[], Generator], make_fast: Callable[[], Generator], prompt: Sequence[int]) -> bool:
    """True if both give the same greedy tokens after a prompt. Raises EngineError."""
    return _greedy(make_plain(), prompt) == _greedy(make_fast(), prompt)


def _greedy(generator: Generator, prompt: Sequence[int]) -> list[int]:
    try:
        generator.append(prompt)
        tokens = [int(generator.logits().argmax())]
        while len(tokens) < COMPARED_TOKENS:
            generator.append(tokens[-1:])
            tokens.append(int(generator.logits().argmax()))
    finally:
        generator.close()
    return tokens


def _names(pattern: str) -> tuple[str, str]:
    return pattern.format(kind="key"), pattern.format(kind="value")
