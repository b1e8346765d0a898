"""Opening the door: the port that is taken, the configuration that will not do, and the daemon that goes on without."""

import errno
import json
import shlex
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from support.browsers.waiting import wait_until
from support.host_home import HostHome
from support.host_process import BrowserHost
from support.http_host import HttpHost, free_port, is_healthy

from native_host import runtime
from native_host.config_sections import HttpConfig
from native_host.http import listening
from native_host.http.listening import DoorError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_port_that_is_taken_is_said_with_its_holder_and_what_to_do(taken: int) -> None:
    with HostHome() as home:
        done = home.run("serve", "--http", str(taken))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"Port {taken} is taken by ")
    assert "(pid " in last
    assert "serve --http" in last


def test_extensions_are_served_though_the_configured_port_is_taken(taken: int) -> None:
    with BrowserHost(f"[http]\nenabled = true\nport = {taken}\n") as host:
        assert host.one_shot({"action": "ping"})["status"] == "success"
        wait_until("the log's line", lambda: f"no HTTP API: Port {taken} is taken" in host.log)
        assert host.one_shot({"action": "ping"})["status"] == "success"


def test_the_configuration_opens_the_door_of_a_daemon_that_an_extension_started() -> None:
    port = free_port()
    with BrowserHost(f"[http]\nenabled = true\nport = {port}\n[daemon]\nidle_exit_s = 0.2\n") as host:
        host.one_shot({"action": "ping"})
        wait_until("the HTTP API", lambda: is_healthy(f"http://127.0.0.1:{port}"))
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/health", trust_env=False).json()["pid"] == host.daemon_pid


def test_without_a_token_it_is_not_offered_to_other_computers() -> None:
    with HostHome() as home:
        home.write_config('[http]\nhost = "0.0.0.0"\n')
        done = home.run("serve", "--http", str(free_port()), "--no-token")
    assert done.returncode == 2
    assert "http.token must be true" in done.stderr


def test_a_packages_absence_is_told_with_the_command_that_installs_it() -> None:
    with HostHome() as home:
        shadow = home.folder / "shadow"
        shadow.mkdir()
        (shadow / "uvicorn.py").write_text("raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')\n")
        home.env["PYTHONPATH"] = str(shadow)
        done = home.run("serve", "--http", str(free_port()))
    assert done.returncode == 2
    assert "not installed (uvicorn)" in done.stderr
    assert "-m pip install fastapi uvicorn httptools" in done.stderr


def test_a_flood_is_survived_where_the_system_allows_few_open_files() -> None:
    with HostHome() as home:
        port = free_port()
        serve = shlex.join(home.command("serve", "--http", str(port), "--no-token"))
        command = ["/bin/sh", "-c", f"ulimit -Hn 100; ulimit -n 100; exec {serve}"]
        daemon = subprocess.Popen(command, env=home.env, cwd=runtime.source_root(), stderr=subprocess.DEVNULL)
        try:
            wait_until("the HTTP API", lambda: is_healthy(f"http://127.0.0.1:{port}"), 30)
            opened = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(120)]
            wait_until("a refusal", lambda: opened[-1].recv(12) == b"HTTP/1.1 503")
            for one in opened:
                one.close()
            wait_until("room again", lambda: is_healthy(f"http://127.0.0.1:{port}"))
        finally:
            daemon.terminate()
            daemon.wait(20)


def test_serve_makes_a_daemon_that_runs_open_its_door() -> None:
    port = free_port()
    with BrowserHost("[daemon]\nidle_exit_s = 0.2\n[models]\nkeep_alive_s = inf\n") as host:
        host.one_shot({"action": "load", "model": "echo"})
        pid = host.one_shot({"action": "ping"})["pid"]
        done = host.home.run("serve", "--http", str(port), "--no-token")
        assert done.returncode == 0
        assert f"(pid {pid}); its HTTP API is at http://127.0.0.1:{port} now, without a token." in done.stdout
        health = httpx.get(f"http://127.0.0.1:{port}/api/v1/health", trust_env=False).json()
        assert (health["pid"], health["token_required"], health["model_loaded"]) == (pid, False, "echo")
        again = host.home.run("serve", "--http", str(port), "--no-token")
        assert (again.returncode, f"http://127.0.0.1:{port} already" in again.stdout) == (0, True)
        other = host.home.run("serve", "--http", str(free_port()), "--no-token")
        assert other.returncode != 0
        assert f"its HTTP API is at http://127.0.0.1:{port}, without a token. To change that" in other.stderr
        assert host.one_shot({"action": "ping"})["http_url"] == f"http://127.0.0.1:{port}"


def test_a_daemon_that_runs_wants_its_token_unless_told_otherwise() -> None:
    with BrowserHost() as host:
        host.one_shot({"action": "ping"})
        port = free_port()
        assert "with the token of `tabagent-host token`" in host.home.run("serve", "--http", str(port)).stdout
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/stats", trust_env=False).status_code == 401
        refused = host.home.run("serve", "--http", str(port), "--no-token")
        assert refused.returncode != 0
        assert "stop it first" in refused.stderr


def test_a_token_that_is_wanted_and_that_the_daemon_does_not_ask_for_is_a_failure_with_what_to_do() -> None:
    with HttpHost("--no-token") as host:
        for arguments in ((), (str(host.http_port),)):
            refused = host.home.run("serve", "--http", *arguments)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert f"its HTTP API is at {host.url}, without a token. To change that" in refused.stderr
            assert "(tabagent-host stop), then try again" in refused.stderr
        host.home.write_config("[http]\ntoken = false\n")
        assert host.home.run("serve", "--http").returncode == 0


def test_a_daemon_that_runs_says_that_the_port_is_taken_and_goes_on(taken: int) -> None:
    with BrowserHost() as host:
        host.one_shot({"action": "ping"})
        done = host.home.run("serve", "--http", str(taken))
        assert done.returncode != 0
        assert f"Port {taken} is taken by " in done.stderr
        assert host.one_shot({"action": "ping"})["http_url"] is None


def test_localhost_is_reached_by_both_of_its_addresses() -> None:
    with HttpHost("--no-token") as host:
        for name in ("127.0.0.1", "[::1]", "localhost"):
            address = f"http://{name}:{host.http_port}/api/v1/health"
            assert httpx.get(address, trust_env=False).status_code == 200, name


def test_the_other_address_of_localhost_taken_is_said_too() -> None:
    with socket.socket(socket.AF_INET6) as holder, HostHome() as home:
        holder.bind(("::1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        done = home.run("serve", "--http", str(taken))
    assert done.returncode == 2
    assert f"Port {taken} is taken on ::1 by " in done.stderr


def families(config: HttpConfig) -> list[socket.AddressFamily]:
    opened = listening.open_sockets(config)
    found = [socket.AddressFamily(one.family) for one in opened]
    assert len({one.getsockname()[1] for one in opened}) == 1
    for one in opened:
        one.close()
    return found


def test_one_address_that_is_asked_for_is_the_only_one() -> None:
    assert families(HttpConfig(host="127.0.0.1", port=0)) == [socket.AF_INET, socket.AF_INET6]
    assert families(HttpConfig(host="127.0.0.2", port=0)) == [socket.AF_INET]
    assert families(HttpConfig(host="::1", port=0)) == [socket.AF_INET6]


def test_where_there_is_no_ipv6_the_other_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutIpv6(socket.socket):
        """A socket of a system that has no address ::1."""

        def bind(self, address: Any, /) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    assert families(HttpConfig(port=0)) == [socket.AF_INET]
    with pytest.raises(DoorError, match="::1"):
        listening.open_sockets(HttpConfig(host="::1", port=0))


def test_status_says_where_it_is() -> None:
    with HttpHost("--no-token") as host:
        assert host.url in host.home.run("status").stdout


def test_no_token_without_http_and_a_port_that_is_none_are_refused() -> None:
    with HostHome() as home:
        assert "--http" in home.run("serve", "--no-token").stderr
        assert "is not a port" in home.run("serve", "--http", "70000").stderr


def test_the_daemon_leaves_with_its_door_when_told_to() -> None:
    with HttpHost("--no-token") as host:
        done = host.home.run("stop")
        assert done.returncode == 0
        assert host.serving.wait(20) == 0
        wait_until("the port's end", lambda: _refused(host.http_port))


def test_a_stop_of_the_daemon_is_no_end_of_an_answer() -> None:
    asked = {"model": "echo", "messages": [{"role": "user", "content": "w " * 1000}]}
    with HttpHost("--no-token") as host, host.port() as port, host.client() as client:
        port.call("load", model="echo", options={"tokens_per_second": 20})
        with client.stream("POST", "/v1/chat/completions", json={**asked, "stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(httpx.post, f"{host.url}/v1/chat/completions", json=asked, trust_env=False)
                wait_until("the second one", lambda: len(client.get("/api/v1/overview").json()["jobs"]) == 2)
                host.stop_daemon()
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "cancelled"
        assert (waiting.result().status_code, waiting.result().json()["error"]["code"]) == (409, "cancelled")


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
