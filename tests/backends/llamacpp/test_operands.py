"""Which tensors of which types end the engine: held against a file's header, by name, extents and device.

Small models of llama, phi3, mamba, mamba2, lfm2, qwen2moe and gpt-oss, and projectors of gemma3 and qwen2vl_merger,
ended llama.cpp's process (0.3.36) with exactly those of their tensors in F16 that are refused.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest
from support.tiny_gguf import ENTRIES, Tensor, gguf, uint32

from backends.llamacpp.header import Header, read_header
from backends.llamacpp.operands import require_encoder_operands, require_operands
from messages.errors import HostError

LAYER = "blk.0."
HALF = 1


def of(folder: Path, *tensors: Tensor, further: int = 0, layers: int = 1) -> Header:
    """The header of a file with some tensors; `further` of its layers predict tokens further on."""
    entries = [*ENTRIES[:3], uint32("llama.block_count", layers), uint32("llama.nextn_predict_layers", further)]
    path = folder / "x.gguf"
    path.write_bytes(gguf(entries, tensors, data=bytes(4096)))
    return read_header(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("output_norm.weight", (32,)),
        ("token_embd_norm.weight", (32,)),
        ("token_types.weight", (32, 2)),
        ("attn_q_norm.weight", (8, 4)),
        ("ffn_gate_exps.bias", (32, 4)),
        ("ffn_gate_inp.bias", (4,)),
        ("exp_probs_b.bias", (4,)),
        ("ssm_conv1d.weight", (4, 32)),
        ("shortconv.conv.weight", (4, 32)),
        ("ssm_a", (16, 8)),
        ("ssm_a", (1, 8)),
        ("ssm_d", (32,)),
        ("ssm_dt.bias", (32,)),
        ("time_mix_first.weight", (8, 4)),
        ("time_mix_lerp_fused.weight", (32, 1, 1, 5)),
        ("attn_output.scale", (1,)),
    ],
)
def test_what_is_added_multiplied_or_scanned_is_refused_on_a_processor_alone(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    named = name if name.startswith(("output", "token")) else LAYER + name
    header = of(tmp_path, Tensor(named, shape, HALF))
    require_operands(header, on_processor=False)
    with pytest.raises(HostError, match=f"has '{named}' in ggml's type 1, and it is computed with in F32 alone"):
        require_operands(header, on_processor=True)
    require_operands(of(tmp_path, Tensor(named, shape)), on_processor=True)


@pytest.mark.parametrize(
    "name", ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight", "blk.0.attn_sinks.weight"]
)
def test_what_ggml_itself_wants_in_f32_is_refused_on_every_device(tmp_path: Path, name: str) -> None:
    header = of(tmp_path, Tensor(name, (8,), HALF))
    for on_processor in (True, False):
        with pytest.raises(HostError, match=name):
            require_operands(header, on_processor=on_processor)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("token_embd.weight", (32, 16)),
        ("position_embd.weight", (32, 16)),
        ("blk.0.attn_q.weight", (32, 32)),
        ("blk.0.ffn_gate_inp_shexp.weight", (32,)),
        ("blk.0.ssm_dt.weight", (4, 32)),
        ("blk.0.ssm_x.weight", (32, 16)),
        ("blk.0.shortconv.in_proj.weight", (32, 16)),
        ("cls.output.weight", (32, 1)),
    ],
)
def test_matrices_and_tables_that_are_looked_up_may_be_halves(
    tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    require_operands(of(tmp_path, Tensor(name, shape, HALF)), on_processor=True)


def test_a_norm_of_a_layer_that_does_not_run_may_be_of_any_type(tmp_path: Path) -> None:
    """Layers that predict tokens further on are in the file, and llama.cpp passes them over."""
    norms = [Tensor(f"blk.{layer}.attn_norm.weight", kind=kind, offset=128 * layer) for layer, kind in ((0, 0), (1, 1))]
    for further, refused in ((1, False), (0, True)):
        header = of(tmp_path, *norms, further=further, layers=2)
        with pytest.raises(HostError) if refused else nullcontext():
            require_operands(header, on_processor=True)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "refused"),
    [
        ("v.post_ln.weight", (32,), "gemma3", True),
        ("mm.soft_emb_norm.weight", (32,), "gemma3", True),
        ("v.blk.1.ln2.bias", (32,), "mlp", True),
        ("v.class_embd", (32, 1), "llama4", True),
        ("v.position_embd.weight", (32, 16), "gemma3", True),
        ("v.position_embd.weight", (32, 16), "mlp", False),
        ("v.patch_embd.weight", (2, 2, 3, 32), "gemma3", False),
        ("mm.0.weight", (32, 32), "mlp", False),
        ("a.conv1d.1.bias", (1, 32), "qwen2a", True),
        ("a.conv1d.1.weight", (3, 16, 8), "qwen2a", False),
        ("a.position_embd.weight", (32, 16), "qwen2a", True),
    ],
)
def test_a_projector_s_operands_are_norms_biases_and_positions_that_are_not_looked_up(
    tmp_path: Path, name: str, shape: tuple[int, ...], kind: str, refused: bool
) -> None:
    header = of(tmp_path, Tensor(name, shape, HALF))
    with pytest.raises(HostError, match=name) if refused else nullcontext():
        require_encoder_operands(header, {name[0]: kind})
