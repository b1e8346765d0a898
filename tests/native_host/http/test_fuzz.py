"""Schemathesis sends what the OpenAPI document allows and what it does not: no 500, no answer that is not in it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.http_host import HttpHost, is_healthy

FUZZ_TIMEOUT_S = 150.0
CONFIG = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 501, 502, 503, 504, 507]\n'
"""The 5xx that a host says on purpose: an engine that is not there, too little memory, too much to do."""

OPTIONS = {
    "--checks": "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    "--phases": "examples,coverage,fuzzing",
    "--max-examples": "15",
    "--seed": "1",
    "--request-timeout": "20",
    "--exclude-path": "/api/v1/backends",
}
"""Backends are left out because each question tries every engine, for seconds."""


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token", config="[models]\nmax_loaded = 2\n") as made, made.client() as client:
        options = {"tokens_per_second": 100_000}
        client.post("/api/v1/load", json={"model": "echo", "options": options}).raise_for_status()
        yield made


@pytest.mark.slow
def test_nothing_is_answered_with_a_server_error_or_with_what_is_not_in_the_document(
    host: HttpHost, tmp_path: Path
) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    program = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        f"{host.url}/openapi.json",
    ]
    done = subprocess.run(
        [*program, "--no-color", *(word for option in OPTIONS.items() for word in option)],
        capture_output=True,
        text=True,
        timeout=FUZZ_TIMEOUT_S,
        check=False,
        cwd=tmp_path,
        env={**host.env, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert is_healthy(host.url)
    assert "Traceback" not in host.log
