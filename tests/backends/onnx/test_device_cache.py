"""The KV cache of a device, which stays where the device has it: tried with the CPU's provider in a plug-in's place."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.tiny_transformersjs import make_transformersjs

from backends.onnx.devices import CPU, device_of
from backends.onnx.session import Session
from backends.onnx.transformersjs.decoder import AlternatingStore, GrowingStore, OrtGenerator, make_store
from backends.onnx.transformersjs.folder import read_folder
from backends.onnx.transformersjs.graph import DecoderGraph, read_decoder_graph

PROMPT = [40, 41, 42, 60, 61, 45, 46]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> DecoderGraph:
    folder = read_folder(make_transformersjs(tmp_path_factory.mktemp("models") / "tiny"))
    return read_decoder_graph(folder.graphs[folder.decoder]["fp32"], folder.config)


def greedy(generator: OrtGenerator, prompt: Sequence[int], count: int = 24) -> list[int]:
    generator.append(prompt)
    tokens = [int(generator.logits().argmax())]
    while len(tokens) < count:
        generator.append(tokens[-1:])
        tokens.append(int(generator.logits().argmax()))
    return tokens


def on_device(graph: DecoderGraph) -> Session:
    return Session(graph.file, replace(device_of(CPU.provider).placement, plugin=True), 1)


def test_a_device_s_cache_grows_where_it_is_and_gives_the_same_tokens(graph: DecoderGraph) -> None:
    device, cpu = on_device(graph), Session(graph.file, CPU.placement, 1)
    assert device.keeps_on_device
    assert isinstance(make_store(device, graph, 128), GrowingStore)
    assert isinstance(make_store(cpu, graph, 128), AlternatingStore)
    assert greedy(OrtGenerator(device, graph, 128), PROMPT) == greedy(OrtGenerator(cpu, graph, 128), PROMPT)


def test_a_rewind_on_a_device_is_exact(graph: DecoderGraph) -> None:
    session = on_device(graph)
    fresh = greedy(OrtGenerator(session, graph, 128), [*PROMPT[:4], 70, 71])
    rewound = OrtGenerator(session, graph, 128)
    greedy(rewound, PROMPT)
    rewound.rewind(4)
    assert greedy(rewound, [70, 71]) == fresh


def test_memory_that_cannot_be_had_is_the_cpu_s(graph: DecoderGraph) -> None:
    session = Session(graph.file, replace(CPU.placement, memory="gpu", vendor=0x1002), 1)
    assert not session.keeps_on_device
    store = make_store(session, graph, 128)
    assert isinstance(store, AlternatingStore)
