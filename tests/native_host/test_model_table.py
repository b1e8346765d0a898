"""The table of loaded models and its models alone: their timers."""

import asyncio
from pathlib import Path

import pytest
from support import tiny_gguf

from backends.registry import row
from messages.errors import ErrorCode, HostError
from messages.options import LoadOptions
from native_host import managed_model
from native_host.catalog import Catalog
from native_host.config_load import LoadConfig
from native_host.managed_model import ManagedModel, ModelLimits
from native_host.model_source import ModelSource
from native_host.models import ModelTable
from native_host.performance import PerformanceTracker


def test_a_model_that_goes_after_each_use_does_not_keep_the_host_busy_while_it_loads_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As it does after a crash: its keep-alive of 0 is over at once, again and again."""
    looks = []
    expire = ModelTable._expire

    def note(table: ModelTable, model: ManagedModel) -> None:
        looks.append(model)
        expire(table, model)

    async def play() -> None:
        limits = ModelLimits(load_timeout_s=1, stop_timeout_s=1, count_timeout_s=1, queue_limit=1, cache_path=tmp_path)
        table = ModelTable(
            Catalog([]), limits, 900, 4, lambda _name, _fields: None, lambda: None, lambda: None, LoadConfig()
        )
        source = ModelSource("echo", Path("echo"), row("echo"), LoadOptions(keep_alive_s=0))
        model = ManagedModel(source, limits, PerformanceTracker())
        model.was_used = True
        table._models["echo"] = model
        table.release(model)
        for _ in range(100):
            await asyncio.sleep(0)
        await table.close()

    monkeypatch.setattr(ModelTable, "_expire", note)
    asyncio.run(play())
    assert len(looks) < 10


def test_a_load_does_not_wait_for_ever_for_the_end_of_another_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(managed_model, "ROOM_TIMEOUT_S", 0.05)

    async def play() -> None:
        limits = ModelLimits(load_timeout_s=20, stop_timeout_s=1, count_timeout_s=1, queue_limit=1, cache_path=tmp_path)
        source = ModelSource("echo", Path("echo"), row("echo"), LoadOptions())
        model = ManagedModel(source, limits, PerformanceTracker())
        other = asyncio.get_running_loop().create_task(asyncio.sleep(3600))
        model.start_loading(after=[other])
        assert (await model.wait_ready()).device == "cpu"
        assert other.cancel()
        await model.close()

    asyncio.run(play())


async def close_when_ready(table: ModelTable) -> None:
    for model in table.all():
        await model.wait_ready()
    await table.close()


def test_a_file_takes_no_name_from_a_loaded_echo(tmp_path: Path) -> None:
    path = tiny_gguf.write_tiny(tmp_path / "x.gguf")

    async def play() -> None:
        limits = ModelLimits(load_timeout_s=20, stop_timeout_s=1, count_timeout_s=1, queue_limit=1, cache_path=tmp_path)
        table = ModelTable(
            Catalog([tmp_path]), limits, 900, 4, lambda _name, _fields: None, lambda: None, lambda: None, LoadConfig()
        )
        echoes = [(await table.load(name, "echo", LoadOptions()))[0] for name in ("x.gguf", str(path))]
        for spelling in ("./x.gguf", f"{tmp_path}//x.gguf"):
            with pytest.raises(HostError) as refused:
                await table.load(spelling, "auto", LoadOptions())
            assert refused.value.code is ErrorCode.INVALID_REQUEST
        assert table.all() == echoes
        await close_when_ready(table)

    asyncio.run(play())


def test_a_file_called_echo_is_loaded_once_and_leaves_the_name_to_the_echo(tmp_path: Path) -> None:
    path = tiny_gguf.write_tiny(tmp_path / "echo")

    async def play() -> None:
        limits = ModelLimits(load_timeout_s=20, stop_timeout_s=1, count_timeout_s=1, queue_limit=1, cache_path=tmp_path)
        table = ModelTable(
            Catalog([tmp_path]), limits, 900, 4, lambda _name, _fields: None, lambda: None, lambda: None, LoadConfig()
        )
        model, is_new = await table.load("echo", "llamacpp", LoadOptions())
        assert (model.source.name, is_new) == (str(path), True)
        assert await table.load("echo", "llamacpp", LoadOptions()) == (model, False)
        assert not table.has_ready("echo")
        echo, is_new = await table.load("echo", "auto", LoadOptions())
        assert (echo.source.name, echo.source.row.name, is_new) == ("echo", "echo", True)
        assert table.find("echo") is echo
        await close_when_ready(table)

    asyncio.run(play())
