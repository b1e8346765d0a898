"""The runtime folder: taken by one daemon at a time, given back whole, refused where it is not safe."""

import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from native_host import runtime
from native_host.listener import AlreadyRunning, Listener, ListenError, peer_is_this_user, peer_uid


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tabagent-") as made:
        yield Path(made) / "run"


def test_it_makes_a_folder_a_secret_and_a_socket_for_this_user_alone(folder: Path) -> None:
    listener = Listener(folder)
    listening = listener.open()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / runtime.SECRET).read_text() == listener.secret
    assert stat.S_IMODE((folder / runtime.SECRET).stat().st_mode) == 0o600
    assert json.loads((folder / runtime.DAEMON_FACTS).read_text())["pid"] == os.getpid()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / runtime.SOCKET))
        accepted, _ = listening.accept()
        assert peer_is_this_user(accepted)
        assert peer_uid(accepted) == os.getuid()
        accepted.close()
    listener.stop_listening()


def test_each_daemon_has_a_secret_of_its_own(folder: Path) -> None:
    secrets = set()
    for _ in range(2):
        listener = Listener(folder)
        listener.open()
        secrets.add(listener.secret)
        listener.stop_listening()
    assert len(secrets) == 2


def test_a_second_one_is_told_that_there_is_one(folder: Path) -> None:
    first = Listener(folder)
    first.open()
    with pytest.raises(AlreadyRunning, match="Another daemon is running"):
        Listener(folder).open()
    first.stop_listening()
    second = Listener(folder)
    second.open()
    second.stop_listening()


def test_what_was_given_back_is_gone_and_giving_it_back_again_changes_nothing(folder: Path) -> None:
    first = Listener(folder)
    first.open()
    first.stop_listening()
    assert sorted(path.name for path in folder.iterdir()) == [runtime.DAEMON_LOCK, runtime.SECRET]
    second = Listener(folder)
    second.open()
    first.stop_listening()
    assert (folder / runtime.SOCKET).exists()
    second.stop_listening()


def test_a_folder_that_is_a_link_or_a_file_is_refused(folder: Path) -> None:
    (folder.parent / "real").mkdir()
    folder.symlink_to(folder.parent / "real")
    with pytest.raises(ListenError, match="does not belong to this user"):
        Listener(folder).open()
    folder.unlink()
    folder.write_text("")
    with pytest.raises(ListenError, match="cannot be used"):
        Listener(folder).open()


def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a folder of another user")
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(ListenError, match="does not belong to this user"):
        Listener(folder).open()


def test_a_path_too_long_for_a_socket_is_refused_with_the_way_out(folder: Path) -> None:
    with pytest.raises(ListenError, match=rf"longer than.*{runtime.RUNTIME_DIR_VARIABLE}"):
        Listener(folder / ("x" * 100)).open()


def test_a_listener_that_could_not_open_leaves_the_place_free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / runtime.SOCKET).mkdir()
    with pytest.raises(ListenError):
        Listener(folder).open()
    (folder / runtime.SOCKET).rmdir()
    listener = Listener(folder)
    listener.open()
    listener.stop_listening()


def test_on_tcp_the_facts_have_the_port(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(runtime.TRANSPORT_VARIABLE, "tcp")
    listener = Listener(folder)
    listening = listener.open()
    facts = json.loads((folder / runtime.DAEMON_FACTS).read_text())
    assert listening.getsockname() == ("127.0.0.1", facts["port"])
    with socket.create_connection(("127.0.0.1", facts["port"])) as client:
        assert peer_is_this_user(client)
    listener.stop_listening()
