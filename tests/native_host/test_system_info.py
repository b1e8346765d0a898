"""What machine this is: the real one, and graphics cards as the system's own tools and files tell of them."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from messages.system import AcceleratorKind
from native_host import commands
from native_host.accelerators import find_accelerators, linux_gpus, linux_npus, nvidia_gpus
from native_host.system_info import read_disk, read_system_info

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the tool")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def put_tool(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put an nvidia-smi on the path that prints what the real one does."""
    write(folder / "nvidia-smi", f"#!/bin/sh\n{script}")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_this_machine_is_described(tmp_path: Path) -> None:
    info = read_system_info(tmp_path / "not" / "there" / "yet")
    assert info.memory.total_bytes == psutil.virtual_memory().total
    assert info.cpu.threads == psutil.cpu_count()
    assert info.disk.free_bytes is not None
    assert info.python_version == ".".join(str(part) for part in sys.version_info[:3])
    assert info.os
    assert info.os_version


@posix_only
def test_nvidia_cards_come_with_their_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tool(tmp_path, monkeypatch, "echo 'NVIDIA H200, 143771, 143161'; echo 'NVIDIA GB10, [N/A], [N/A]'")
    problems: list[str] = []
    first, second = nvidia_gpus(problems)
    assert (first.name, first.memory_bytes) == ("NVIDIA H200", 143771 * 1024 * 1024)
    assert (second.name, second.memory_bytes) == ("NVIDIA GB10", None)
    assert problems == []


@posix_only
def test_a_tool_that_fails_is_a_problem_and_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tool(tmp_path, monkeypatch, "echo 'Driver/library version mismatch' >&2; exit 18")
    problems: list[str] = []
    assert list(nvidia_gpus(problems)) == []
    assert problems == ["nvidia-smi failed: Driver/library version mismatch"]


@posix_only
def test_a_tool_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tool(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(commands, "TIMEOUT_S", 0.2)
    problems: list[str] = []
    assert list(nvidia_gpus(problems)) == []
    assert "did not answer" in problems[0]


def test_cards_of_the_kernel_come_with_vendor_and_memory(tmp_path: Path) -> None:
    amd = tmp_path / "card0" / "device"
    write(amd / "vendor", "0x1002")
    write(amd / "device", "0x744c")
    write(amd / "mem_info_vram_total", "1000")
    write(amd / "mem_info_vram_used", "400")
    write(tmp_path / "card0-HDMI-A-1" / "device" / "vendor", "0x1002")
    write(tmp_path / "card1" / "device" / "vendor", "0x8086")
    write(tmp_path / "card2" / "device" / "vendor", "0x1234")
    write(tmp_path / "card3" / "device" / "vendor", "0x10de")
    names = [(card.name, card.memory_bytes, card.free_memory_bytes) for card in linux_gpus(tmp_path, with_nvidia=False)]
    assert names == [("AMD GPU 0x744c", 1000, 600), ("Intel GPU", None, None)]
    assert [card.vendor for card in linux_gpus(tmp_path, with_nvidia=True)] == ["AMD", "Intel", "NVIDIA"]


def test_npus_are_named_after_their_driver(tmp_path: Path) -> None:
    write(tmp_path / "accel0" / "device" / "uevent", "DRIVER=intel_vpu\nPCI_CLASS=120000")
    write(tmp_path / "accel1" / "device" / "uevent", "DRIVER=something_new")
    found = list(linux_npus(tmp_path))
    assert [npu.name for npu in found] == ["Intel NPU", "NPU accel1"]
    assert {npu.kind for npu in found} == {AcceleratorKind.NPU}


def test_a_machine_without_cards_has_none_and_no_problems(tmp_path: Path) -> None:
    assert list(linux_gpus(tmp_path / "drm", with_nvidia=True)) == []
    assert list(linux_npus(tmp_path / "accel")) == []


def test_looking_for_cards_here_does_not_raise() -> None:
    assert isinstance(find_accelerators([]), list)


def test_the_disk_of_a_folder_below_a_file_is_still_known(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert read_disk(tmp_path / "file" / "data", []).free_bytes is not None
