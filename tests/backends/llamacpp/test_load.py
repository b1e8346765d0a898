"""Loading: what fits, what does not, on which device, and what is told on the way."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.generations import Make, ask, user
from support.tiny_gguf import gguf, write_tiny

from backends.base import LoadSpec
from backends.guards import require_memory
from backends.llamacpp import engine
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.describe import describe
from backends.llamacpp.devices import Gpu, place
from backends.llamacpp.header import read_header
from backends.llamacpp.memory import choose_batches, needed_bytes, read_shape
from backends.llamacpp.probe import probe
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType
from messages.options import LoadOptions
from tools.make_gguf import PRESETS, SPECIALS

CUDA = Gpu("CUDA0", 1, BackendType.LLAMA_CPP_CUDA, 8 * 10**9)


def _refusal(path: Path, **options: object) -> HostError:
    backend = LlamaCppBackend()
    with pytest.raises(HostError) as caught:
        backend.load(LoadSpec(path, LoadOptions(**options)), lambda *_: None)  # type: ignore[arg-type]
    backend.close()
    return caught.value


def test_a_loaded_model_says_what_it_is(tiny: Path) -> None:
    backend = LlamaCppBackend()
    info = backend.load(LoadSpec(tiny, LoadOptions()), lambda *_: None)
    assert info.backend_type is BackendType.LLAMA_CPP_CPU
    assert info.device == "cpu"
    assert info.context_length == 2048
    assert info.size_bytes == tiny.stat().st_size
    assert info.capabilities.json_schema
    backend.close()


def test_progress_rises_from_nothing_to_all(tiny: Path) -> None:
    seen: list[tuple[str, float | None, str]] = []
    backend = LlamaCppBackend()
    backend.load(LoadSpec(tiny, LoadOptions()), lambda *step: seen.append(step))
    backend.close()
    values = [value for _, value, _ in seen if value is not None]
    assert values == sorted(values)
    assert values[-1] == 1.0
    assert all(message.endswith(".") for _, _, message in seen)


def test_progress_is_told_at_most_ten_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(place / 1000 for place in range(2000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    seen: list[float | None] = []
    report = engine._rate_limited(lambda _, value, __: seen.append(value))
    assert all(report(place / 1000, None) for place in range(1001))
    assert len(seen) == 11
    assert seen[-1] == 1.0


def test_a_long_trained_context_is_loaded_up_to_the_default(make: Make, tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "long.gguf", context=100_000)
    assert describe(path, LoadOptions()).context_length == 100_000
    backend = LlamaCppBackend()
    assert backend.load(LoadSpec(path, LoadOptions()), lambda *_: None).context_length == 4096
    backend.close()


def test_heads_that_would_end_the_engine_are_refused_before_it_sees_them(tmp_path: Path) -> None:
    error = _refusal(write_tiny(tmp_path / "heads.gguf", kv_heads=3))
    assert error.code is ErrorCode.MODEL_INVALID
    assert "multiple" in error.message


@pytest.mark.parametrize(
    ("halves", "changes"),
    [
        (r"output_norm\.weight", {}),
        (r"blk\.1\.attn_norm\.weight", {}),
        (r"blk\.0\.ffn_norm\.weight", {}),
        (r"blk\.0\.attn_k_norm\.weight", {"architecture": "gemma3"}),
        (r"blk\.0\.post_ffw_norm\.weight", {"architecture": "gemma3"}),
        (r"blk\.1\.attn_v\.bias", {"biased": True}),
        (r"rope_freqs\.weight", {"turned": True}),
    ],
)
def test_operands_that_a_processor_cannot_compute_with_are_refused_before_the_engine_sees_them(
    halves: str, changes: dict[str, object], tmp_path: Path
) -> None:
    error = _refusal(write_tiny(tmp_path / "halves.gguf", halves=halves, **changes))
    assert error.code is ErrorCode.MODEL_INVALID
    assert "and it is computed with in F32 alone" in error.message
    assert halves.replace("\\", "") in error.message


@pytest.mark.parametrize(
    "changes", [{"halves": r".*(embd|output|_[qkv]|gate|up|down)\.weight"}, {"biased": True}, {"turned": True}]
)
def test_matrices_may_be_halves_and_operands_may_be_there(
    make: Make, changes: dict[str, object], tiny: Path, tmp_path: Path
) -> None:
    texts = [ask(make(path), "Hello", max_tokens=3).text for path in (tiny, write_tiny(tmp_path / "x.gguf", **changes))]
    assert texts[0] == texts[1]


def test_a_context_that_does_not_fit_is_refused_before_the_engine_sees_it(tmp_path: Path) -> None:
    error = _refusal(write_tiny(tmp_path / "long.gguf", context=2**24, layers=32), context_length=2**24)
    assert error.code is ErrorCode.OUT_OF_MEMORY
    needed, free = error.details["needed_bytes"], error.details["free_bytes"]
    assert isinstance(needed, int)
    assert isinstance(free, int)
    assert needed > free > 0


def test_a_context_beyond_the_trained_one_is_refused(tiny: Path) -> None:
    error = _refusal(tiny, context_length=2049)
    assert error.code is ErrorCode.INVALID_REQUEST
    assert error.details["trained_context"] == 2048


def test_a_context_beyond_the_trained_one_is_no_lack_of_memory(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "wide.gguf", width=256, layers=8, heads=8, kv_heads=8)
    error = _refusal(path, context_length=2**24)
    assert error.code is ErrorCode.INVALID_REQUEST
    with pytest.raises(HostError) as described:
        describe(path, LoadOptions(context_length=2**24))
    assert described.value.message == error.message


def test_needed_memory_is_what_the_engine_allocates(tmp_path: Path) -> None:
    header = read_header(write_tiny(tmp_path / "model.gguf", layers=4, kv_heads=4, context=8192))
    shape = read_shape(header)
    kv_cache = 8192 * 4 * 64 * 2 * 2
    small, large = needed_bytes(header, shape, 256), needed_bytes(header, shape, 8192)
    assert shape.kv_values == 4 * 64 * 2
    assert kv_cache * 0.9 < large - small < kv_cache * 1.5
    assert small > header.tensor_bytes


@pytest.mark.parametrize(
    ("file_bytes", "on_gpu", "sizes"),
    [
        (2**20, False, (256, 256, 128, 128)),  # at the beginning a small model's prompt is read in larger batches
        (2**30, False, (128, 128, 128, 128)),  # a batch of a large one takes seconds
        (2**20, True, (512, 512, 512, 512)),
        (2**40, True, (512, 512, 512, 512)),
    ],
)
def test_batches_are_as_large_as_the_model_and_the_device_let_them(
    file_bytes: int, on_gpu: bool, sizes: tuple[int, ...]
) -> None:
    batches = choose_batches(file_bytes, on_gpu)
    assert tuple(batches.at(position) for position in (0, 511, 512, 100_000)) == sizes


def test_memory_that_is_just_enough_is_enough(tiny: Path) -> None:
    header = read_header(tiny)
    require_memory(header.path, 10**9, 10**9 + 2**28)
    with pytest.raises(HostError) as caught:
        require_memory(header.path, 10**9, 10**9 + 2**28 - 1)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"parallel": 2}, ErrorCode.UNSUPPORTED_OPTION),
        ({"device": "tpu9"}, ErrorCode.UNSUPPORTED_OPTION),
        ({"device": "cpu", "gpu_layers": 5}, ErrorCode.UNSUPPORTED_OPTION),
    ],
)
def test_an_option_that_cannot_be_honoured_is_refused(tiny: Path, options: dict[str, object], code: ErrorCode) -> None:
    assert _refusal(tiny, **options).code is code


@pytest.mark.parametrize(
    "options", [{"device": "CPU"}, {"device": "auto"}, {"gpu_layers": 0}, {"parallel": 1}, {"threads": 2}]
)
def test_options_that_mean_the_cpu_here_are_honoured(make: Make, options: dict[str, object]) -> None:
    assert ask(make(**options), "hello", max_tokens=1).end.output_tokens == 1


def test_a_model_goes_where_its_options_say() -> None:
    other = replace(CUDA, name="CUDA1")
    gpus = (CUDA, other)
    assert place(LoadOptions(), gpus).gpus == gpus
    assert place(LoadOptions(), gpus).gpu_layers == -1
    assert place(LoadOptions(device="auto"), gpus) == place(LoadOptions(), gpus)
    assert place(LoadOptions(), ()).backend_type is BackendType.LLAMA_CPP_CPU
    assert place(LoadOptions(device="cuda1", gpu_layers=3), gpus).gpus == (other,)
    assert place(LoadOptions(device="cpu"), gpus).gpus == ()
    assert place(LoadOptions(gpu_layers=0), gpus).backend_type is BackendType.LLAMA_CPP_CPU
    assert place(LoadOptions(gpu_layers=-1), ()).gpus == ()
    with pytest.raises(HostError) as caught:
        place(LoadOptions(device="cuda7"), gpus)
    assert "cpu, CUDA0, CUDA1" in caught.value.message


def test_a_header_that_is_whole_but_no_model_is_an_invalid_model(tmp_path: Path) -> None:
    path = tmp_path / "hollow.gguf"
    path.write_bytes(gguf())
    error = _refusal(path)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "llama.cpp" in error.message


@pytest.mark.parametrize("filling", [b"\x00", b"\xff"], ids=["zeros", "no numbers"])
def test_weights_that_were_overwritten_are_told_at_the_load(tmp_path: Path, filling: bytes) -> None:
    path = write_tiny(tmp_path / "model.gguf")
    weights = read_header(path).tensor_bytes
    path.write_bytes(path.read_bytes()[:-weights] + filling * weights)
    error = _refusal(path)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "its weights are damaged" in error.message


def test_a_first_token_of_zeros_is_no_damage(make: Make, tmp_path: Path) -> None:
    """As of a model whose padding, an embedding of zeros, is also how its texts begin."""
    path = write_tiny(tmp_path / "model.gguf")
    begin = path.stat().st_size - read_header(path).tensor_bytes
    row = 4 * PRESETS["tiny"].width
    data = path.read_bytes()
    path.write_bytes(data[:begin] + bytes(row) + data[begin + row :])
    backend = make(path)
    assert backend.get_state().kv_tokens == 0
    assert ask(backend, [user("hello")]).end.output_tokens == 16


def test_a_vocabulary_that_ends_the_engine_is_refused_at_the_load_and_listed(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model.gguf", specials=(*SPECIALS, SPECIALS[0]))
    error = _refusal(path)
    assert error.code is ErrorCode.MODEL_INVALID
    assert "a token twice" in error.message
    assert describe(path, LoadOptions()).context_length


def test_empty_tokens_do_not_hinder_a_load(make: Make, tmp_path: Path) -> None:
    backend = make(write_tiny(tmp_path / "model.gguf", specials=(*SPECIALS, "", "")))
    assert ask(backend, [user("hello")]).end.output_tokens == 16


def test_a_broken_chat_template_is_an_invalid_model(tmp_path: Path) -> None:
    error = _refusal(write_tiny(tmp_path / "model.gguf", template="{% if %}"))
    assert error.code is ErrorCode.MODEL_INVALID
    assert "template" in error.message


def test_a_model_without_a_template_gets_chatml(make: Make, tiny: Path, tmp_path: Path) -> None:
    bare = make(write_tiny(tmp_path / "bare.gguf", template=None))
    messages = PromptInput(messages=(user("hello"),))
    assert bare.count_tokens(messages) == make(tiny).count_tokens(messages)


def test_a_backend_with_no_model_says_so() -> None:
    backend = LlamaCppBackend()
    assert backend.get_state().kv_tokens == 0
    with pytest.raises(HostError) as caught:
        backend.count_tokens(PromptInput(prompt="x"))
    assert caught.value.code is ErrorCode.MODEL_NOT_LOADED
    backend.close()


def test_the_probe_names_the_cpu() -> None:
    assert "cpu" in probe().devices
    assert probe().version[0].isdigit()


def test_describing_a_model_does_not_import_the_engine(tiny: Path) -> None:
    code = (
        "import sys, pathlib; from messages.options import LoadOptions\n"
        "from backends.llamacpp.describe import describe\n"
        f"describe(pathlib.Path({str(tiny)!r}), LoadOptions())\n"
        "sys.exit('llama_cpp' in sys.modules)"
    )
    root = Path(engine.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)
