"""Where a model is put: the best device that takes it, what is told of that, and what is an error."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnxruntime
import pytest
from support.tiny_transformersjs import make_transformersjs

from backends.base import LoadSpec, ModelInfo
from backends.onnx.backend import OnnxBackend
from backends.onnx.devices import CPU, DEVICES, Device, device_of, named_device
from backends.onnx.interface import EngineError
from backends.onnx.placement import Choice, Placed, Plan, place
from backends.onnx.session import Session
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, Capabilities
from messages.options import LoadOptions

ALL = [device.name for device in DEVICES]
AUTOMATIC = ["cuda", "migraphx", "directml", "openvino", "webgpu"]


@dataclass
class Machine:
    """A machine on which some devices work, and what was tried on it."""

    working: Sequence[str] = ("cpu",)
    says: str | None = None
    tried: list[Choice] = field(default_factory=list)
    stopped: int = 0

    def start(self, choice: Choice) -> Device:
        """The "model" is the device that it runs on."""
        self.tried.append(choice)
        if choice.device.name not in self.working:
            raise EngineError("no driver for it.")
        return choice.device if self.says is None else named_device(self.says, DEVICES)

    def stop(self, model: Device) -> None:
        """Count."""
        self.stopped += 1

    def place(
        self,
        device: str | None,
        dtypes: Sequence[str] | None = None,
        providers: tuple[str, ...] | None = None,
        **options: object,
    ) -> Placed[Device]:
        """Place a model here."""
        plan = Plan(
            graphs=lambda dtype: [],
            weights_bytes=lambda dtype: 10,
            needed_bytes=lambda dtype: 10,
            start=self.start,
            stop=self.stop,
            device=lambda model: model,
            dtypes=dtypes,
            providers=providers,
        )
        asked = LoadOptions.model_validate({"device": device, **options})
        return place(LoadSpec(Path("/model"), asked), plan, lambda *report: None)

    @property
    def names(self) -> list[str]:
        """The devices that were tried."""
        return [choice.device.name for choice in self.tried]


@pytest.fixture
def every_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [device.provider for device in DEVICES]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)


@pytest.mark.usefixtures("every_provider")
@pytest.mark.parametrize("device", ["auto", None])
def test_the_first_accelerator_that_works_is_taken_and_the_failures_are_told(device: str | None) -> None:
    machine = Machine(working=("directml", "cpu"))
    placed = machine.place(device)
    assert machine.names == ["cuda", "migraphx", "directml"]
    assert placed.choice.device.name == "directml"
    assert placed.notes == (
        "CUDA could not be used (no driver for it) and MIGraphX could not be used (no driver for it);"
        " the model runs on DirectML.",
    )


@pytest.mark.usefixtures("every_provider")
def test_where_no_accelerator_works_the_cpu_does_and_it_is_told() -> None:
    machine = Machine()
    placed = machine.place("auto")
    assert machine.names == [*AUTOMATIC, "cpu"]
    assert placed.info(10, Capabilities()).backend_type is BackendType.ONNX_CPU
    (note,) = placed.notes
    assert note.startswith("CUDA could not be used (no driver for it)")
    assert note.endswith("; the model runs on the CPU.")


def test_auto_on_a_build_without_accelerators_tells_so() -> None:
    placed = Machine().place("auto")
    assert placed.notes == ("The installed ONNX Runtime has no accelerator for this model; it runs on the CPU.",)


def test_nothing_is_told_where_nothing_was_asked_and_nothing_failed() -> None:
    assert Machine().place(None).notes == ()
    assert Machine().place("cpu").notes == ()


@pytest.mark.usefixtures("every_provider")
def test_the_best_device_that_works_at_once_needs_no_note() -> None:
    assert Machine(working=ALL).place("auto").notes == ()


@pytest.mark.usefixtures("every_provider")
@pytest.mark.parametrize("name", ALL)
def test_a_device_that_is_asked_for_is_the_only_one_tried(name: str) -> None:
    machine = Machine(working=ALL)
    assert machine.place(name).choice.device.name == name
    assert machine.names == [name]


@pytest.mark.usefixtures("every_provider")
@pytest.mark.parametrize("name", [name for name in ALL if name != "cpu"])
def test_a_device_that_is_asked_for_and_does_not_work_is_an_error_that_names_the_others(name: str) -> None:
    machine = Machine()
    with pytest.raises(HostError) as caught:
        machine.place(name)
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    label = named_device(name, DEVICES).label
    assert caught.value.message.startswith(f"The model cannot run on {label} (no driver for it); it has: cpu, ")
    assert f" {name}," not in caught.value.message
    assert machine.names == [name]


def test_a_device_that_the_build_has_not_is_never_tried() -> None:
    machine = Machine(working=ALL)
    with pytest.raises(HostError, match="has no device 'cuda'; it has: cpu"):
        machine.place("cuda")
    assert machine.tried == []


def test_what_the_cpu_does_not_take_is_the_models_fault() -> None:
    for device in ("cpu", "auto", None):
        with pytest.raises(EngineError):
            Machine(working=()).place(device)


@pytest.mark.usefixtures("every_provider")
def test_a_device_that_the_engine_left_for_the_cpu_does_not_count_as_had() -> None:
    machine = Machine(working=ALL, says="cpu")
    with pytest.raises(HostError, match="the engine took the CPU instead"):
        machine.place("cuda")
    assert machine.stopped == 1
    placed = machine.place("auto")
    assert placed.choice.device == CPU
    assert placed.notes[0].startswith("CUDA could not be used (the engine took the CPU instead)")


@pytest.mark.usefixtures("every_provider")
def test_the_weights_are_chosen_for_the_device_that_is_tried_and_again_after_a_fall_back() -> None:
    machine = Machine()
    placed = machine.place("auto", dtypes=("fp32", "fp16", "q4"))
    assert [choice.dtype for choice in machine.tried] == ["fp16"] * len(AUTOMATIC) + ["q4"]
    assert placed.info(10, Capabilities()).dtype == "q4"
    assert placed.notes[-1] == "Of the folder's weights (fp16, fp32, q4) q4 was taken."


@pytest.mark.parametrize(("dtype", "dtypes"), [("fp32", ("fp32", "q4")), (None, ("q4",))])
def test_the_weights_are_not_told_where_they_were_asked_for_or_there_was_no_choice(
    dtype: str | None, dtypes: Sequence[str]
) -> None:
    assert Machine().place(None, dtypes=dtypes, dtype=dtype).notes == ()


@pytest.mark.usefixtures("every_provider")
def test_what_a_folder_asks_for_is_tried_alone_and_with_its_own_options() -> None:
    machine = Machine(working=ALL)
    placed = machine.place(None, providers=("cuda",))
    assert [(choice.device.name, choice.as_folder_says) for choice in machine.tried] == [("cuda", True)]
    assert placed.notes == ()
    assert Machine(working=ALL).place("cuda", providers=("cuda",)).choice.as_folder_says
    assert not Machine(working=ALL).place("openvino", providers=("cuda",)).choice.as_folder_says


def test_a_folder_that_asks_for_what_cannot_be_had_runs_on_the_cpu_and_it_is_told() -> None:
    placed = Machine().place(None, providers=("cuda",))
    assert placed.choice.device == CPU
    assert not placed.choice.as_folder_says
    assert placed.notes == ("CUDA could not be used (no driver for it); the model runs on the CPU.",)


@pytest.mark.usefixtures("every_provider")
def test_a_folder_without_a_wish_was_made_for_the_cpu() -> None:
    machine = Machine(working=ALL)
    assert machine.place(None, providers=()).choice.device == CPU
    assert machine.names == ["cpu"]


def test_a_folder_whose_engine_says_another_device_is_told_as_the_engine_says() -> None:
    placed = Machine(working=ALL, says="cpu").place(None, providers=("qnn",))
    assert placed.info(10, Capabilities()).backend_type is BackendType.ONNX_CPU
    assert placed.notes == ("The folder asks for QNN; the engine says that the model is on the CPU.",)


def test_threads_are_the_physical_cores_on_the_cpu_and_the_engines_choice_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backends.onnx.placement.physical_cores", lambda: 6)
    assert Machine().place(None).choice.threads == 6
    assert Machine().place(None, threads=3).choice.threads == 3
    known = [device.provider for device in DEVICES]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    assert Machine(working=ALL).place("cuda").choice.threads is None


@pytest.mark.usefixtures("every_provider")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_real_model_falls_back_from_providers_that_the_runtime_only_names(tmp_path: Path) -> None:
    """The list is a full build's and the runtime is not: what a machine without drivers is like."""
    messages: list[str] = []
    info = load(make_transformersjs(tmp_path), "auto", messages)
    assert (info.backend_type, info.device, info.dtype) == (BackendType.ONNX_CPU, "cpu", "q4")
    assert info.notes[0].startswith("CUDA could not be used (CUDAExecutionProvider does not take this model)")
    assert info.notes[0] in messages[-1]


@pytest.mark.usefixtures("every_provider")
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_real_genai_folder_falls_back_too(tiny_folder: Path) -> None:
    info = load(tiny_folder, "auto", [])
    assert (info.backend_type, info.device) == (BackendType.ONNX_CPU, "cpu")
    assert info.notes[0].startswith("CUDA could not be used (")
    assert "MIGraphX" not in info.notes[0]


@pytest.mark.parametrize("layout", ["genai", "transformersjs"])
def test_a_real_model_that_is_to_run_on_cuda_is_refused_here(layout: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tiny_folder if layout == "genai" else make_transformersjs(tmp_path)
    with pytest.raises(HostError) as caught:
        load(folder, "cuda", [])
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert "it has: cpu" in caught.value.message


def test_a_provider_that_comes_as_a_plug_in_is_given_to_the_session_by_its_devices(tmp_path: Path) -> None:
    """The CPU's own provider has a plug-in's kind of device, so the way can be gone without a plug-in."""
    folder = make_transformersjs(tmp_path)
    device = device_of("CPUExecutionProvider")
    session = Session(folder / "onnx" / "model_q4.onnx", replace(device.placement, plugin=True), 1)
    assert session.raw.get_providers() == ["CPUExecutionProvider"]
    session.close()


def load(folder: Path, device: str, messages: list[str]) -> ModelInfo:
    backend = OnnxBackend()
    try:
        return backend.load(
            LoadSpec(folder, LoadOptions(device=device)), lambda phase, share, text: messages.append(text)
        )
    finally:
        backend.close()
