"""A graph of primitive nodes rewritten with GroupQueryAttention computes what it did; what would not is left alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from support.graph_decoder import GraphDecoder
from support.tiny_transformersjs import make_transformersjs

from backends.onnx.transformersjs.attention_pattern import NotFusableError
from backends.onnx.transformersjs.folder import read_folder
from backends.onnx.transformersjs.fused_graph import write_fused
from backends.onnx.transformersjs.graph import read_decoder_graph

CONTEXT = 512
PIECES = (7, 1, 1, 5, 1, 40, 1)
"""Tokens that are read at once."""


def fuse(folder: Path, dtype: str = "fp32", context: int = CONTEXT) -> Path:
    """Write the fused graph of a folder, and check that it says what it is."""
    whole, target = read_folder(folder), folder / "fused.onnx"
    graph = read_decoder_graph(whole.graphs["model"][dtype], whole.config)
    fused = write_fused(graph, whole.config.num_attention_heads or 0, context, target)
    assert fused.shares_cache
    read = {value.name for value in onnx.load(str(target)).graph.input}
    assert read == set(fused.inputs) | {cache.past for cache in graph.caches}
    return target


def operators(file: Path) -> list[str]:
    return [node.op_type for node in onnx.load(str(file)).graph.node]


def difference(graph: Path, fused: Path) -> float:
    """The largest difference of any logit over all `PIECES`, relative to the largest logit."""
    one, other, random = GraphDecoder(graph), GraphDecoder(fused), np.random.default_rng(0)
    one.reset()
    other.reset()
    worst = 0.0
    for length in PIECES:
        tokens = random.integers(3, 280, (1, length))
        expected = one.step(tokens)
        worst = max(worst, float(np.abs(other.step(tokens) - expected).max() / np.abs(expected).max()))
    return worst


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    """Change the fp32 graph of a folder."""
    file = folder / "onnx" / "model.onnx"
    model = onnx.load(str(file))
    change(model.graph)
    onnx.save(model, str(file))


def insert(graph: Any, *nodes: Any, before: Any) -> None:
    """Put nodes before another one."""
    place = list(graph.node).index(before)
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)


@pytest.mark.parametrize(
    ("dtype", "positions", "tolerance"),
    [("fp32", True, 1e-5), ("fp32", False, 1e-5), ("q4", True, 1e-4), ("fp16", True, 0.02), ("q8", True, 1e-4)],
)
def test_it_gives_the_same_logits_however_many_tokens_are_read_at_once(
    tmp_path: Path, dtype: str, positions: bool, tolerance: float
) -> None:
    folder = make_transformersjs(tmp_path / "model", dtypes=(dtype,), position_ids=positions, half_io=True)
    fused = fuse(folder, dtype)
    assert operators(fused).count("GroupQueryAttention") == 2
    assert not {"Softmax", "Expand", "Range"} & set(operators(fused))
    (graph,) = (folder / "onnx").glob("*.onnx")
    assert difference(graph, fused) < tolerance


def test_rotation_goes_into_the_attention_and_the_positions_are_no_input_any_more(tmp_path: Path) -> None:
    fused = fuse(make_transformersjs(tmp_path / "model"))
    assert not {"Cos", "Sin", "Neg"} & set(operators(fused))
    assert "position_ids" not in GraphDecoder(fused).inputs


def test_rotation_stays_outside_where_an_angle_depends_on_the_other_positions(tmp_path: Path) -> None:
    """An 8-bit file rounds its positions to 255 steps of the largest."""
    fused = fuse(make_transformersjs(tmp_path / "model", dtypes=("q8",)), "q8")
    assert {"Cos", "Sin"} <= set(operators(fused))
    assert "position_ids" in GraphDecoder(fused).inputs


def test_a_graph_with_external_data_becomes_one_file(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model", external_data=True, dtypes=("fp32",))
    fused = fuse(folder).rename(tmp_path / "fused.onnx")
    assert difference(folder / "onnx" / "model.onnx", fused) < 1e-5


def test_data_behind_a_symbolic_link_is_read(tmp_path: Path) -> None:
    """The cache of Hugging Face's hub has links alone."""
    folder = make_transformersjs(tmp_path / "model", external_data=True, dtypes=("fp32",))
    for file in list((folder / "onnx").iterdir()):
        file.rename(tmp_path / file.name)
        file.symlink_to(tmp_path / file.name)
    assert difference(tmp_path / "model.onnx", fuse(folder)) < 1e-5


def scale_before(graph: Any) -> None:
    """Scale queries and keys by the root each, and put zeros for NaN: so torch's exporter writes its attention."""
    root = numpy_helper.from_array(np.array(16**-0.25, dtype=np.float32), "root")
    graph.initializer.extend([root, numpy_helper.from_array(np.array(0, dtype=np.float32), "nothing")])
    for number, softmax in enumerate([node for node in graph.node if node.op_type == "Softmax"]):
        makers = {name: node for node in graph.node for name in node.output}
        readers = [node for node in graph.node if softmax.output[0] in node.input]
        scaled = next(makers[name] for name in makers[softmax.input[0]].input if makers[name].op_type == "Mul")
        product = makers[scaled.input[0]]
        for side, name in enumerate(product.input):
            insert(graph, helper.make_node("Mul", [name, "root"], [f"rooted.{number}.{side}"]), before=product)
            product.input[side] = f"rooted.{number}.{side}"
        del scaled.attribute[:], scaled.input[1:]
        scaled.op_type = "Identity"
        lacking = helper.make_node("IsNaN", [softmax.output[0]], [f"lacking.{number}"])
        whole = helper.make_node("Where", [f"lacking.{number}", "nothing", softmax.output[0]], [f"whole.{number}"])
        insert(graph, lacking, whole, before=readers[0])
        readers[0].input[0] = f"whole.{number}"


def test_a_scale_on_queries_and_keys_and_a_guard_against_nan_are_understood(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model", dtypes=("fp32",))
    edit(folder, scale_before)
    fused = fuse(folder)
    assert not {"Softmax", "IsNaN"} & set(operators(fused))
    assert difference(folder / "onnx" / "model.onnx", fused) < 1e-5


def see_only_last(graph: Any) -> None:
    """Let a token see no more than the 100 before it."""
    mask = next(node for node in graph.node if node.op_type == "And")
    causal = next(node for node in graph.node if node.op_type == "LessOrEqual")
    columns, rows = causal.input
    graph.initializer.append(numpy_helper.from_array(np.array(100), "window"))
    near = [
        helper.make_node("Sub", [rows, "window"], ["first"]),
        helper.make_node("Greater", [columns, "first"], ["near"]),
        helper.make_node("And", [causal.output[0], "near"], ["seen"]),
    ]
    insert(graph, *near, before=mask)
    mask.input[0] = "seen"


def add_a_slope(graph: Any) -> None:
    """Give near tokens more weight than far ones."""
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    masked = next(node for node in graph.node if softmax.input[0] in node.output)
    columns = next(node for node in graph.node if node.op_type == "Range").output[0]
    real = helper.make_node("Cast", [columns], ["slope"], to=onnx.TensorProto.FLOAT)
    insert(graph, real, helper.make_node("Add", [masked.input[1], "slope"], ["sloping"]), before=masked)
    masked.input[1] = "sloping"


def squash(graph: Any) -> None:
    """Hold the scores between -1 and 1."""
    masked = next(node for node in graph.node if node.op_type == "Add" and "Where" in node.input[1])
    insert(graph, helper.make_node("Tanh", [masked.input[0]], ["squashed"]), before=masked)
    masked.input[0] = "squashed"


def branch(graph: Any) -> None:
    """Put a node with branches at the end."""
    flag = numpy_helper.from_array(np.array(True), "flag")
    value = helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)
    made = helper.make_graph([helper.make_node("Identity", ["logits_1"], ["inner"])], "branch", [], [value])
    last = next(node for node in graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "logits_1"
    graph.initializer.append(flag)
    graph.node.append(helper.make_node("If", ["flag"], ["logits"], then_branch=made, else_branch=made))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (see_only_last, "not a causal one"),
        (add_a_slope, "not a causal one"),
        (squash, "no masked scores"),
        (branch, "branches"),
    ],
)
def test_other_kinds_of_attention_are_not_fused(tmp_path: Path, change: Callable[[Any], None], reason: str) -> None:
    folder = make_transformersjs(tmp_path / "model", dtypes=("fp32",))
    edit(folder, change)
    GraphDecoder(folder / "onnx" / "model.onnx")
    with pytest.raises(NotFusableError, match=reason):
        fuse(folder)


def test_a_window_that_is_wider_than_the_context_is_none(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model", dtypes=("fp32",))
    edit(folder, see_only_last)
    assert difference(folder / "onnx" / "model.onnx", fuse(folder, context=100)) < 1e-5


def test_a_graph_that_is_fused_already_is_not_fused_again(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model", attention="gqa", position_ids=False, dtypes=("fp32",))
    with pytest.raises(NotFusableError):
        fuse(folder)


def test_the_config_has_no_part_in_what_is_rotated_by(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model", dtypes=("fp32",))
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rope_theta": 1.0}))
    assert difference(folder / "onnx" / "model.onnx", fuse(folder)) < 1e-5
