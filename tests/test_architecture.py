"""What holds the folders apart: imports go one way, engines are imported late, tables are complete."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.registry import BACKENDS
from messages.actions import ActionType
from messages.errors import ErrorCode
from native_host.handlers import HANDLERS
from native_host.runtime import source_root

ROOT = Path(source_root())
OURS = {"messages", "backends", "native_host", "installer", "benchmarks", "tools", "tests", "manifests"}
ALLOWED = {
    "messages": {"messages"},
    "backends": {"messages", "backends"},
    "native_host": {"messages", "backends", "native_host"},
    "native_host/cli": {"messages", "backends", "native_host", "installer", "manifests"},
    "native_host/http": {"messages", "backends", "native_host"},
    "installer": {"installer"},
}
ENGINES = {
    "llama_cpp",
    "onnxruntime",
    "onnxruntime_genai",
    "onnx",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "mlx",
    "mlx_vlm",
    "mediapipe",
    "litert_lm",
    "jinja2",
    "llguidance",
    "PIL",
}
PACKAGES_OF = {
    "messages": {"pydantic", "pydantic_core"},
    "backends": {"pydantic", "psutil"},
    "native_host": {"pydantic", "pydantic_settings", "platformdirs", "psutil"},
    "native_host/http": {"fastapi", "prometheus_client", "psutil", "pydantic", "sse_starlette", "starlette", "uvicorn"},
    "installer": set(),
}
OF_HTTP = {"fastapi", "prometheus_client", "sse_starlette", "starlette", "uvicorn", "httptools", "anyio"}
SHARED_BY_ENGINES = {
    "chat_template.py",
    "damage.py",
    "guidance.py",
    "logprobs.py",
    "picture_decoding.py",
    "pictures.py",
    "vocabulary.py",
}
WINDOWS_MODULES = {"winreg", "msvcrt"}
RELAY_MODULES_NOT_WANTED = {
    "json",
    "re",
    "pydantic",
    "asyncio",
    "subprocess",
    "socket",
    "threading",
    "typing",
    "logging",
}


def modules(folder: str) -> list[Path]:
    """The modules of a folder, without those of a folder in it that has a row of its own."""
    apart = [ROOT / name for name in ALLOWED if name.startswith(f"{folder}/")]
    found = sorted((ROOT / folder).rglob("*.py"))
    return [path for path in found if not any(path.is_relative_to(other) for other in apart)]


def imports(path: Path, top_only: bool) -> Iterator[str]:
    """Full names of the modules that a file imports, anywhere or only where importing the file runs it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in statements_at_import(tree) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def statements_at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from statements_at_import(child)


def modules_after(code: str, *flags: str) -> set[str]:
    """What a fresh interpreter has imported after `code`."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}; import json; print(json.dumps(sorted(BEFORE)))"
    script = script.replace("import json;", "BEFORE = set(sys.modules); import json;")
    done = subprocess.run(
        [sys.executable, *flags, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd="/"
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_between_our_folders_go_one_way(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder)
        for name in imports(path, top_only=False)
        if (top := name.split(".")[0]) in OURS and top not in ALLOWED[folder]
    ]
    assert wrong == []


def test_the_host_knows_backends_by_their_table_alone() -> None:
    known = {"registry", "formats"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("native_host")
        for name in imports(path, top_only=False)
        if name.startswith("backends.") and name.split(".")[1] not in known
    ]
    assert wrong == []


@pytest.mark.parametrize("folder", PACKAGES_OF)
def test_a_folder_imports_no_package_but_those_it_is_meant_to(folder: str) -> None:
    engine_packages = {row.target.split(":")[0].rpartition(".")[0] for row in BACKENDS if row.modules}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(folder)
        for name in imports(path, top_only=True)
        if name.split(".")[0] not in sys.stdlib_module_names | OURS | PACKAGES_OF[folder] | WINDOWS_MODULES
        and ".".join(path.relative_to(ROOT).parts[:2]) not in engine_packages
        and path.name not in SHARED_BY_ENGINES
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "module", ["native_host.daemon", "native_host.stdio", "backends.worker.control", "native_host.cli"]
)
def test_no_engine_is_imported_before_it_is_asked_for(module: str) -> None:
    assert modules_after(f"import {module}") & ENGINES == set()


def test_what_not_every_daemon_needs_does_not_hold_up_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TABAGENT_CONFIG_DIR", str(tmp_path))
    started = modules_after("from native_host import daemon; daemon.load_config()")
    assert started & {"psutil", "pydantic_settings", "argparse", "native_host.system_info"} == set()


@pytest.mark.parametrize("module", ["native_host.daemon", "native_host.stdio", "native_host.cli.lifecycle"])
def test_nothing_of_the_http_api_is_imported_before_it_is_asked_for(module: str) -> None:
    assert modules_after(f"import {module}") & OF_HTTP == set()


def test_the_relay_imports_next_to_nothing() -> None:
    bare = modules_after("pass", "-I", "-S", "-E")
    relay = modules_after("import native_host.relay", "-I", "-S", "-E") - bare
    assert relay & RELAY_MODULES_NOT_WANTED == set()
    os_itself = {"os", "os.path", "posixpath", "genericpath", "stat", "_stat", "_collections_abc"}
    assert relay - os_itself <= {"native_host", "native_host.relay", "native_host.runtime", "_socket"}


def test_the_relay_imports_nothing_that_takes_time_before_it_starts_the_daemon() -> None:
    loaded = modules_after("import native_host.relay_start", "-I", "-S", "-E")
    assert loaded & {"subprocess", "json", "native_host.relay_ahead"} == set()


def test_the_relays_slow_path_needs_the_standard_library_alone() -> None:
    loaded = modules_after("import native_host.relay_start, native_host.relay_ahead", "-I", "-S", "-E")
    assert {name for name in loaded if name.split(".")[0] in OURS} == {
        "native_host",
        "native_host.relay",
        "native_host.relay_ahead",
        "native_host.relay_start",
        "native_host.runtime",
    }


def test_reading_frames_costs_no_package() -> None:
    loaded = modules_after("import messages.frames", "-I", "-S", "-E")
    assert {name for name in loaded if name.split(".")[0] in OURS} == {"messages", "messages.frames"}


def test_there_is_a_handler_for_each_action() -> None:
    assert set(HANDLERS) == set(ActionType)


def test_every_error_code_is_raised_somewhere_or_reserved_by_the_protocol() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for folder in ALLOWED for path in modules(folder))
    protocol = (ROOT / "PROTOCOL.md").read_text(encoding="utf-8")
    for code in ErrorCode:
        used = f"ErrorCode.{code.name}" in source or f'"{code}"' in source.replace(f'{code.name} = "{code}"', "")
        assert used or f"| `{code}` | reserved" in protocol, code


def test_every_field_that_an_invalid_request_names_says_what_is_wrong_with_it() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for folder in ("messages", "backends", "native_host")
        for path in modules(folder)
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and call.args and ast.unparse(call.args[0]) == "ErrorCode.INVALID_REQUEST"
        for keyword in call.keywords
        if keyword.arg == "fields" and isinstance(keyword.value, ast.List)
        for field in keyword.value.elts
        if isinstance(field, ast.Constant) and ": " not in str(field.value)
    ]
    assert bare == []


def test_no_module_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ALLOWED
        for path in modules(folder)
    }
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_every_folder_says_at_its_top_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for folder in ALLOWED
        for path in modules(folder)
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
