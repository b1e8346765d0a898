"""`serve`, `status` and `stop`: the daemon's life."""

import time
from urllib.parse import urlsplit

import psutil

from messages.actions import ActionType
from messages.errors import HostError
from messages.facts import ModelState
from messages.job_replies import JobList
from messages.replies import HttpOpened, Pong, State
from messages.wording import plural
from native_host.cli.arguments import ANY_PORT
from native_host.cli.running import DaemonFacts, ask_to_leave, daemon_process, is_alive, is_listening, read_facts
from native_host.cli.terminal import CliError, duration, size
from native_host.client import HostClient, HostGone
from native_host.config import ConfigError, Paths, load_config
from native_host.config_sections import HttpConfig
from native_host.http.token import read_or_make_token
from native_host.one_line import one_line
from native_host.runtime import VERSION

NOT_RUNNING = 3
_STOP_TIMEOUT_S = 15.0
_FORCE_AFTER_S = 6.0
_POLL_S = 0.05


def serve(*, http_port: int | None, no_token: bool) -> int:
    """Run the daemon in the foreground; with `http_port` it offers the HTTP API there, or fails.

    A daemon that runs already is made to offer it, and goes on by itself.
    """
    from native_host.daemon import main

    if no_token and http_port is None:
        raise CliError("--no-token is about the HTTP API; it needs --http.")
    if is_listening():
        if http_port is None:
            raise CliError(f"A daemon runs already{_pid_of(read_facts())}. Stop it first: tabagent-host stop")
        return _open_http(None if http_port == ANY_PORT else http_port, no_token)
    return main(to_stderr=True, http=None if http_port is None else _http_config(http_port, no_token))


def _open_http(port: int | None, no_token: bool) -> int:
    """Have the daemon that runs offer the HTTP API, and say where it is.

    CliError if it is offered already and not as wanted: elsewhere, without a token, or with one despite `no_token`.
    """
    wants_token = _http_config(ANY_PORT if port is None else port, no_token).token
    try:
        with HostClient() as client:
            door = client.call(ActionType.OPEN_HTTP, HttpOpened, timeout=30, port=port, token=wants_token)
    except (HostGone, HostError, TimeoutError) as error:
        raise CliError(str(error)) from error
    how = "with the token of `tabagent-host token`" if door.wants_token else "without a token"
    runs = f"A daemon runs already{_pid_of(read_facts())}"
    is_elsewhere = port not in (None, urlsplit(door.http_url).port)
    is_too_open, is_too_closed = wants_token and not door.wants_token, no_token and door.wants_token
    if not door.opened and (is_elsewhere or is_too_open or is_too_closed):
        where = f"its HTTP API is at {door.http_url}, {how}"
        raise CliError(f"{runs}, and {where}. To change that, stop it first (tabagent-host stop), then try again.")
    now = "now" if door.opened else "already"
    print(f"{runs}; its HTTP API is at {door.http_url} {now}, {how}. It goes on until: tabagent-host stop")
    return 0


def token() -> int:
    """Print the HTTP API's token, made if there is none yet."""
    folder = Paths.from_environment().data_dir
    try:
        print(read_or_make_token(folder))
    except OSError as error:
        raise CliError(f"The token cannot be kept in {folder}: {error.strerror}. Make it writable.") from error
    return 0


def status() -> int:
    """Print how the daemon stands; starts none."""
    if not is_listening():
        print("The daemon is not running. It starts by itself when an extension or `tabagent-host chat` needs it.")
        return NOT_RUNNING
    facts = read_facts()
    try:
        with HostClient() as client:
            state = client.call(ActionType.GET_STATE, State, timeout=10)
            jobs = client.call(ActionType.LIST_JOBS, JobList, timeout=10)
            http_url = client.call(ActionType.PING, Pong, timeout=10).http_url
    except (HostGone, HostError, TimeoutError) as error:
        raise CliError(f"The daemon{_pid_of(facts)} does not answer as it should: {error}") from error
    _print_daemon(facts)
    _print_row("http", http_url or "off; tabagent-host serve --http switches it on")
    for model in state.models:
        _print_row("model", _describe_model(model))
    if not state.models:
        _print_row("model", "none loaded")
    for job in jobs.jobs:
        what = f"{job.tokens} {plural(job.tokens, 'token')}" if job.action == ActionType.GENERATE else job.action
        _print_row("job", f"{job.job_id} {job.state}, {what}, {job.model or 'no model'} (from this terminal)")
    return 0


def stop(*, force: bool) -> int:
    """Ask the daemon to leave and wait until it has."""
    facts = read_facts()
    process = daemon_process(facts)
    if process is None:
        if is_listening():
            raise CliError("A daemon answers, but its process is not known. Run `tabagent-host doctor`.")
        print("The daemon is not running; nothing to stop.")
        return 0
    _end(process, force=force)
    return 0


def _end(process: psutil.Process, *, force: bool) -> None:
    try:
        ask_to_leave(process)
        if _gone_within(process, _FORCE_AFTER_S if force else _STOP_TIMEOUT_S):
            print(f"Stopped the daemon (pid {process.pid}). An extension that is open may start it again.")
            return
        if not force:
            raise CliError(f"The daemon (pid {process.pid}) does not leave. Kill it with: tabagent-host stop --force")
        process.kill()
        if not _gone_within(process, _STOP_TIMEOUT_S):
            raise CliError(f"The daemon (pid {process.pid}) cannot be killed; the system may be waiting for a disk.")
        print(f"Killed the daemon (pid {process.pid}), which did not leave by itself.")
    except psutil.AccessDenied as error:
        raise CliError(f"The daemon (pid {process.pid}) is another user's; stop it as that user.") from error
    except psutil.NoSuchProcess:
        print("The daemon has just left by itself.")


def _gone_within(process: psutil.Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _http_config(port: int, no_token: bool) -> HttpConfig:
    try:
        configured = load_config().http
    except ConfigError as error:
        raise CliError(error.message, exit_code=2) from error
    wanted = {"enabled": True, "port": configured.port if port == ANY_PORT else port}
    return configured.model_copy(update={**wanted, **({"token": False} if no_token else {})})


def _pid_of(facts: DaemonFacts | None) -> str:
    return f" (pid {facts.pid})" if facts else ""


def _print_daemon(facts: DaemonFacts | None) -> None:
    if facts is None:
        _print_row("daemon", "running")
        return
    up = "" if facts.started is None else f", up {duration(time.time() - facts.started)}"
    other = "" if facts.version == VERSION else f" (installed is {VERSION}: restart it with `tabagent-host stop`)"
    _print_row("daemon", f"running, pid {facts.pid}, version {facts.version}{other}{up}")


def _print_row(name: str, text: str) -> None:
    print(f"{name:<8}{one_line(text)}")


def _describe_model(model: ModelState) -> str:
    parts = [f"{model.model}: {model.state}", str(model.backend_type or model.backend)]
    if model.resident_bytes is not None:
        parts.append(f"{size(model.resident_bytes)} of memory")
    if (rate := model.performance.current.tokens_per_second) is not None:
        parts.append(f"{rate:.1f} tokens/s")
    if model.expires_at is not None:
        parts.append(f"unloaded in {duration(model.expires_at - time.time())} if unused")
    return ", ".join(parts)
