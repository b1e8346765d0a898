"""A graph made for adapters says the same without one, and another thing with one."""

import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
from support.graph_decoder import GraphDecoder
from support.tiny_genai import make_tiny
from support.tiny_transformersjs import make_transformersjs

from tools.make_lora import adapt_graph, add_inputs, random_parameters, write_adapter

REPOSITORY = Path(__file__).parents[2]
TOKENS = [5, 7, 9, 11]


def test_the_command_changes_the_graph_and_writes_an_adapter(tmp_path: Path) -> None:
    graph, adapter = make_tiny(tmp_path / "model") / "model.onnx", tmp_path / "x.onnx_adapter"
    done = subprocess.run(
        [sys.executable, "-m", "tools.make_lora", str(graph), str(adapter), "--rank", "2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{adapter}: 15 matrices\n", "")
    parameters = onnxruntime.AdapterFormat.read_adapter(str(adapter)).get_parameters()
    assert parameters["lm_head.lora_A.weight"].shape() == [64, 2]
    assert sorted(path.name for path in graph.parent.glob("model.onnx*")) == ["model.onnx", "model.onnx.data"]


@pytest.mark.parametrize("dtype", ["fp32", "q4", "fp16"])
def test_without_an_adapter_the_graph_says_what_it_said_before(tmp_path: Path, dtype: str) -> None:
    folder = make_transformersjs(tmp_path / "model", dtypes=(dtype,), external_data=True)
    (graph,) = (folder / "onnx").glob("*.onnx")
    before = GraphDecoder(graph).greedy(TOKENS, 20)
    adapt_graph(graph)
    assert GraphDecoder(graph).greedy(TOKENS, 20) == before
    assert len(list((folder / "onnx").iterdir())) == 2


def test_an_adapter_is_the_same_each_time(tmp_path: Path) -> None:
    matrices = adapt_graph(make_tiny(tmp_path / "model") / "model.onnx")
    files = [tmp_path / name for name in ("one.onnx_adapter", "two.onnx_adapter")]
    for file in files:
        write_adapter(file, random_parameters(matrices))
    first, second = (onnxruntime.AdapterFormat.read_adapter(str(file)).get_parameters() for file in files)
    assert first.keys() == second.keys()
    assert all((first[name].numpy() == second[name].numpy()).all() for name in first)


def test_a_graph_without_stored_matrices_is_refused(tmp_path: Path) -> None:
    folder = make_transformersjs(tmp_path / "model", "tiny-merged", dtypes=("fp32",))
    model = onnx.load(str(folder / "onnx" / "decoder_model_merged.onnx"))
    with pytest.raises(ValueError, match="no product with a stored matrix"):
        add_inputs(model)
