"""Which devices there are, under which names: by ONNX Runtime's own lists of providers, since no build has them all."""

import onnxruntime
import pytest

from backends.onnx import devices, plugins
from backends.onnx.devices import CPU, DEVICES, device_of, device_of_genai, find_devices, named_device
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType

NOT_OFFERED = {
    *("DnnlExecutionProvider", "ACLExecutionProvider", "XnnpackExecutionProvider"),  # the CPU, by other libraries
    *("JsExecutionProvider", "WebNNExecutionProvider", "NnapiExecutionProvider"),  # in a browser, on Android
    *("VitisAIExecutionProvider", "RknpuExecutionProvider", "VSINPUExecutionProvider", "CANNExecutionProvider"),
    "AzureExecutionProvider",  # somebody else's machine
}


@pytest.fixture
def every_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build with all that ONNX Runtime knows, and what it knew before: 1.32 has no TensorRT for RTX any more."""
    offered = {device.provider for device in DEVICES}
    known = [*onnxruntime.get_all_providers(), *sorted(offered - set(onnxruntime.get_all_providers()))]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)


def test_every_provider_of_the_runtime_is_offered_or_left_out_knowingly() -> None:
    assert set(onnxruntime.get_all_providers()) <= {device.provider for device in DEVICES} | NOT_OFFERED


def test_names_are_given_once() -> None:
    for names in ([one.name for one in DEVICES], [one.provider for one in DEVICES], [one.label for one in DEVICES]):
        assert len(set(names)) == len(DEVICES)


@pytest.mark.usefixtures("every_provider")
def test_a_build_with_everything_has_every_device_the_cpu_first() -> None:
    assert find_devices() == DEVICES
    assert find_devices()[0] == CPU


def test_this_build_has_what_it_names_and_no_device_on_somebody_elses_machine() -> None:
    assert "AzureExecutionProvider" in onnxruntime.get_available_providers()
    assert [device.provider for device in find_devices()] == [
        name for name in onnxruntime.get_available_providers() if name != "AzureExecutionProvider"
    ]


@pytest.mark.parametrize(
    ("name", "backend_type"),
    [
        ("cpu", BackendType.ONNX_CPU),
        ("cuda", BackendType.ONNX_CUDA),
        ("tensorrt", BackendType.ONNX_CUDA),
        ("tensorrt-rtx", BackendType.ONNX_CUDA),
        ("directml", BackendType.ONNX_DIRECTML),
        ("npu", BackendType.ONNX_NPU),
        ("openvino", BackendType.ONNX_OPENVINO),
        ("coreml", BackendType.ONNX_COREML),
        ("migraphx", BackendType.ONNX_ROCM),
        ("webgpu", BackendType.ONNX_WEBGPU),
    ],
)
def test_each_device_has_its_backend_type(name: str, backend_type: BackendType) -> None:
    assert named_device(name, DEVICES).backend_type is backend_type


@pytest.mark.usefixtures("every_provider")
def test_a_plug_in_for_a_provider_that_the_build_has_is_not_listed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "providers", lambda: ("CUDAExecutionProvider",))
    assert find_devices() == DEVICES


def test_a_plug_in_is_a_device_under_its_own_name_or_under_the_one_that_it_has_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plugins, "providers", lambda: ("MetalExecutionProvider", "CUDAExecutionProvider"))
    _, metal, cuda = find_devices()
    assert (metal.name, metal.label, metal.backend_type) == ("metal", "Metal", BackendType.ONNX_PLUGIN)
    assert (cuda.name, cuda.backend_type, cuda.memory) == ("cuda", BackendType.ONNX_CUDA, "cuda")
    assert metal.placement.plugin
    assert cuda.placement.plugin
    assert [device.name for device in find_devices(with_plugins=False)] == ["cpu"]


def test_a_device_that_there_is_not_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(HostError) as caught:
        named_device("cuda", find_devices())
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert caught.value.message == "The installed ONNX Runtime has no device 'cuda'; it has: cpu."
    assert caught.value.details["fields"] == ["options.device: must be one of auto, cpu"]


@pytest.mark.parametrize("device", [one for one in DEVICES if one.genai], ids=lambda one: one.name)
def test_genais_own_words_for_a_device_are_understood_in_any_case(device: devices.Device) -> None:
    assert device.genai is not None
    for word in (device.genai, device.genai.upper(), device.reported, device.reported.lower()):
        assert device_of_genai(word) == device


@pytest.mark.parametrize("word", ["cpu", "CPU"])
def test_genais_cpu_is_the_cpu(word: str) -> None:
    assert device_of_genai(word) == CPU


def test_a_device_that_only_genai_knows_is_told_by_its_own_name() -> None:
    assert (device_of_genai("RyzenAI").name, device_of_genai("RyzenAI").backend_type) == (
        "ryzenai",
        BackendType.ONNX_PLUGIN,
    )


@pytest.mark.parametrize("device", DEVICES, ids=lambda one: one.name)
def test_a_session_tells_its_device_by_its_provider(device: devices.Device) -> None:
    assert device_of(device.provider) == device


def test_what_the_environment_names_is_read_and_what_is_no_library_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugins.VARIABLE, " a=/x/liba.so; b = /y/with space=1.so ;c=relative.so;;d;=/z.so")
    assert [str(plugin) for plugin in plugins.named_plugins()] == ["a=/x/liba.so", "b=/y/with space=1.so"]
    assert [record.getMessage().split("'")[1] for record in caplog.records] == ["c=relative.so", "d", "=/z.so"]


def test_a_plug_in_that_cannot_be_registered_is_logged_and_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugins.VARIABLE, "ghost=/nowhere/libghost.so")
    assert plugins.providers() == ()
    assert find_devices() == (CPU,)
    assert "/nowhere/libghost.so" in caplog.text


def test_cudas_libraries_are_looked_for_before_devices_are_listed_but_not_for_the_cpu_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: calls.append("preload"))
    monkeypatch.setattr(plugins, "registered_plugins", lambda: calls.append("register"))
    find_devices(with_plugins=False)
    assert calls == []
    find_devices()
    assert calls == ["preload", "register"]
