"""Folders that are cut off, wrong or dangerous: each is one clear error, and the engine never sees it."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.tiny_mlx import load, picture, run, user

from backends.base import LoadSpec
from backends.mlx_vlm.backend import MlxVlmBackend
from backends.mlx_vlm.checkpoint import read_checkpoint
from backends.mlx_vlm.describe import describe
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions

Damage = Callable[[Path], object]
WEIGHTS = "model.safetensors"
EVIL = "import pathlib; pathlib.Path(__file__).with_name('ran').write_text('')\nclass Tok: pass\n"


def set_in(name: str, **values: Any) -> Damage:
    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return damage


def without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def garbage(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes(b"\x00\xffnot a file" * 50)


def cut(name: str, size: int) -> Damage:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[:size])

    return damage


def weights(edit: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        edit(held)
        save_file(held, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def no_vision(held: dict[str, Any]) -> None:
    for name in [name for name in held if name.startswith("visual.")]:
        del held[name]


def newer_layout(folder: Path) -> None:
    """Write what is said of pictures into the processor's config, as Transformers 5 does."""
    file = folder / "preprocessor_config.json"
    set_in("processor_config.json", image_processor=json.loads(file.read_text()))(folder)
    file.unlink()


def each(*damages: Damage) -> Damage:
    def damage(folder: Path) -> None:
        for one in damages:
            one(folder)

    return damage


def header(text: bytes) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text)


def index(*names: str) -> Damage:
    content = json.dumps({"weight_map": {f"tensor{place}": name for place, name in enumerate(names)}})
    return lambda folder: (folder / f"{WEIGHTS}.index.json").write_text(content)


def evil_tokenizer(folder: Path) -> None:
    set_in("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tok", None]}, tokenizer_class="Tok")(folder)
    (folder / "evil.py").write_text(EVIL)


def evil_model(folder: Path) -> None:
    set_in("config.json", model_file="evil.py")(folder)
    (folder / "evil.py").write_text(EVIL)


def evil_processor(folder: Path) -> None:
    set_in("config.json", model_type="glm4v", auto_map={"AutoProcessor": "evil.Tok", "AutoConfig": "evil.Tok"})(folder)
    set_in("processor_config.json", auto_map={"AutoProcessor": "evil.Tok"}, processor_class="Tok")(folder)
    set_in("preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Tok"})(folder)
    (folder / "evil.py").write_text(EVIL)


BAD: dict[str, tuple[Damage, str]] = {
    "no config": (without("config.json"), "config.json is missing"),
    "a config that is garbage": (garbage("config.json"), "config.json cannot be read"),
    "a config that is a list": (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
    "no model type": (set_in("config.json", model_type=None), "model_type"),
    "more layers than weights": (set_in("config.json", num_hidden_layers=2**62), "num_hidden_layers"),
    "more layers that look than weights": (
        lambda folder: _set_in_vision(folder, depth=2**62),
        "says depth 4611686018427387904",
    ),
    "no weights": (without(WEIGHTS), "model.safetensors is missing"),
    "weights cut off": (cut(WEIGHTS, -1000), "model.safetensors is cut off"),
    "weights cut off in their header": (cut(WEIGHTS, 100), "header is longer than the file"),
    "weights that are empty": (cut(WEIGHTS, 0), "cut off before its header"),
    "weights that are garbage": (garbage(WEIGHTS), "not a whole safetensors file"),
    "a header that is no JSON": (header(b"{not json"), "its header cannot be read"),
    "a header that is a list": (header(b"[]"), "not a JSON object"),
    "a tensor without a place": (header(b'{"a": {"dtype": "F32"}}'), "where a tensor is"),
    "no vision weights": (weights(no_vision), "the weights of that part are missing"),
    "no vision weights in the newer layout": (each(weights(no_vision), newer_layout), "that part are missing"),
    "a preprocessor of other patches": (set_in("preprocessor_config.json", patch_size=16), "patch_size 16"),
    "a preprocessor that merges otherwise": (set_in("preprocessor_config.json", merge_size=1), "merge_size 1"),
    "a preprocessor with no room": (set_in("preprocessor_config.json", min_pixels=0, max_pixels=0), "min_pixels 0"),
    "the same in the newer layout": (
        each(set_in("preprocessor_config.json", merge_size=1), newer_layout),
        "processor_config.json says merge_size 1",
    ),
    "a shard that is not there": (index(WEIGHTS, "model-2.safetensors"), "model-2.safetensors is missing"),
    "a shard elsewhere": (index("../../secret.safetensors"), "outside the folder"),
    "an index of nothing": (index(), "does not say which file"),
    "no tokenizer": (without("tokenizer.json"), "tokenizer.json is missing"),
    "a tokenizer that is garbage": (garbage("tokenizer.json"), "tokenizer.json cannot be read"),
    "a generation config that is garbage": (garbage("generation_config.json"), "generation_config.json cannot be read"),
    "an end token out of range": (set_in("generation_config.json", eos_token_id=9999), "the end token 9999"),
    "a model that is code": (evil_model, "the host runs no code of a model"),
    "a tokenizer that is code": (evil_tokenizer, "the host runs no code of a model"),
}

_TEMPLATE = {"type": "TemplateProcessing", "special_tokens": {}}

BAD_IN_THE_ENGINE: dict[str, tuple[Damage, str]] = {
    "a model type that nobody knows": (set_in("config.json", model_type="foo_bar"), "foo_bar not supported"),
    "a config without a width": (lambda folder: _drop(folder, "hidden_size"), "hidden_size"),
    "a tensor missing": (weights(lambda held: held.pop("model.norm.weight")), "norm.weight"),
    "a tensor of another shape": (weights(lambda held: held.update({"model.norm.weight": np.zeros(3, "f")})), "shape"),
    "a tensor too many": (weights(lambda held: held.update({"model.foo.weight": np.zeros(3, "f")})), "foo"),
    "weights that are no numbers": (weights(lambda held: held["model.norm.weight"].fill(np.nan)), "no number"),
    "weights that are zeros": (weights(lambda held: held["model.norm.weight"].fill(0)), "no token above another"),
    "a processor that is code": (evil_processor, ""),
    "a setting that Transformers refuses": (set_in("config.json", pad_token_id=[[]]), "pad_token_id"),
    "a tokenizer of an odd shape": (set_in("tokenizer.json", post_processor={"type": "?"}), "PostProcessorWrapper"),
    "a token for pictures that cannot be": (set_in("config.json", image_token_id=2**62), ""),
    "a tokenizer that cannot count": (set_in("tokenizer_config.json", model_max_length="many"), ""),
    "a tokenizer that makes no tokens": (
        set_in("tokenizer.json", post_processor={**_TEMPLATE, "single": [], "pair": []}),
        "makes no tokens",
    ),
}


def _set_in_vision(folder: Path, **values: Any) -> None:
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    set_in("config.json", vision_config={**vision, **values})(folder)


def _drop(folder: Path, key: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config[key]
    (folder / "config.json").write_text(json.dumps(config))


def refused(folder: Path, whole: Path, damage: Damage) -> HostError:
    """What a load of the damaged folder says."""
    shutil.copytree(whole, folder)
    damage(folder)
    with pytest.raises(HostError) as caught:
        load(folder)
    assert not (folder / "ran").exists()
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert caught.value.details["model_path"] == str(folder)
    return caught.value


@pytest.mark.parametrize("case", BAD)
def test_a_bad_folder_is_told_before_the_engine_sees_it(tmp_path: Path, vision_folder: Path, case: str) -> None:
    damage, reason = BAD[case]
    assert reason in refused(tmp_path / "model", vision_folder, damage).message
    with pytest.raises(HostError) as caught:
        describe(tmp_path / "model", LoadOptions())
    assert reason in caught.value.message


@pytest.mark.parametrize("case", BAD_IN_THE_ENGINE)
def test_what_only_the_engine_finds_is_one_sentence_too(tmp_path: Path, vision_folder: Path, case: str) -> None:
    damage, reason = BAD_IN_THE_ENGINE[case]
    message = refused(tmp_path / "model", vision_folder, damage).message
    assert message.startswith(f"mlx-vlm cannot load {tmp_path / 'model'}: ")
    assert reason in message
    assert "\n" not in message


def test_a_folder_whose_part_for_pictures_was_taken_out_is_one_for_text(tmp_path: Path, vision_folder: Path) -> None:
    folder = shutil.copytree(vision_folder, tmp_path / "model")
    each(weights(no_vision), without("preprocessor_config.json"))(folder)
    backend = MlxVlmBackend()
    info = backend.load(LoadSpec(folder, LoadOptions()), lambda phase, progress, message: None)
    assert info.capabilities.image is False
    with pytest.raises(HostError) as caught:
        run(backend, [user("Hi", picture())])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert run(backend, [user("Hi")], max_tokens=2).end.output_tokens == 2


def test_a_folder_that_does_not_say_how_pictures_are_scaled_has_a_note(tmp_path: Path, vision_folder: Path) -> None:
    for damage, notes in ((without("preprocessor_config.json"), 1), (newer_layout, 0)):
        folder = shutil.copytree(vision_folder, tmp_path / damage.__name__)
        damage(folder)
        info = MlxVlmBackend().load(LoadSpec(folder, LoadOptions()), lambda phase, progress, message: None)
        assert (info.capabilities.image, len(info.notes)) == (True, notes)


def test_a_sharded_folder_is_read_by_its_index(tmp_path: Path, text_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(text_folder, folder)
    held = load_file(folder / WEIGHTS)
    names = sorted(held)
    for place, half in enumerate((names[:5], names[5:])):
        save_file({name: held[name] for name in half}, folder / f"part-{place}.safetensors")
    places = {name: f"part-{int(name not in names[:5])}.safetensors" for name in names}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / WEIGHTS).unlink()
    load(folder).close()


def test_a_folder_says_what_it_needs(vision_folder: Path) -> None:
    checkpoint = read_checkpoint(vision_folder)
    assert checkpoint.token_bytes == 2 * 2 * 2 * 16 * 4
    assert checkpoint.needed_bytes(100) - checkpoint.needed_bytes(0) == 100 * checkpoint.token_bytes
    description = describe(vision_folder, LoadOptions(context_length=128))
    assert (description.context_length, description.size_bytes) == (4096, checkpoint.weights_bytes)
    with pytest.raises(HostError) as caught:
        describe(vision_folder, LoadOptions(context_length=5000))
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, text_folder: Path
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", type("Memory", (), {"available": 1000}))
    with pytest.raises(HostError) as caught:
        load(text_folder)
    assert caught.value.code is ErrorCode.OUT_OF_MEMORY


@pytest.mark.parametrize("device", ["metal", "cuda", "gpu", "npu"])
def test_a_device_that_is_not_here_is_refused_by_name(text_folder: Path, device: str) -> None:
    with pytest.raises(HostError) as caught:
        load(text_folder, device=device)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert "cpu" in caught.value.message
