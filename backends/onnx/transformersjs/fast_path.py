"""The opt-in fast path: a Transformers.js folder run by ONNX Runtime GenAI, where that gives the same tokens.

genai's loop is C++ and costs less a token, but it knows a graph only by its `genai_config.json`, which such a folder
does not have. So one is written for it, for architectures whose graphs are alike (onnxruntime-genai,
`src/models/model_type.h`), and used only if its first greedy tokens equal those of the plain path. The comparison is
made once for a file, and remembered.
Above it: `loader`. Below it: genai's engine.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.engine import Model
from backends.onnx.interface import EngineError, Generator
from backends.onnx.transformersjs.folder import TransformersJsFolder
from backends.onnx.transformersjs.graph import DecoderGraph

COMPARED_TOKENS = 32
"""Greedy tokens that must be equal."""

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
) -> Model:
    """Load a graph into genai, for `context` tokens.

    Provider is genai's name of it, "" for the CPU. Raises EngineError, also where the system allows no symbolic link to
    the graph.
    """
    with tempfile.TemporaryDirectory(prefix="tabagent-fast-path-") as place:
        scratch = Path(place)
        config = make_config(folder, graph, context)
        (scratch / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
        try:
            (scratch / _GRAPHS).symlink_to(graph.file.parent, target_is_directory=True)
        except OSError as error:
            raise EngineError(f"a link to the model's folder cannot be made ({error.strerror})") from error
        return Model(library, scratch, provider, threads)


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
