"""A process that generates again and again does not grow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_transformersjs import make_transformersjs

REPOSITORY = Path(__file__).parents[3]
FIRST, GENERATIONS, LIMIT = 10, 200, 0.02
SCRIPT = """
import sys
from pathlib import Path
import psutil
from support.tiny_genai import load, request, run
from backends.base import CancelToken
from messages.options import RegexFormat

backend, process = load(Path(sys.argv[1]), threads=1), psutil.Process()
for number in range(int(sys.argv[2]) + int(sys.argv[3])):
    if number == int(sys.argv[2]):
        before = process.memory_info().rss
    match number % 4:
        case 0:
            run(backend, f"{number} Hello there", max_tokens=16)
        case 1:
            run(backend, [("user", f"{number} Hello")], max_tokens=16, temperature=0.8, seed=number)
        case 2:
            run(backend, f"{number} Hello there", RegexFormat(type="regex", regex="[a-z]{8}"), max_tokens=16)
        case 3:
            cancel = CancelToken()
            for place, _ in enumerate(backend.generate(request(f"{number} Hello"), cancel)):
                if place == number % 11:
                    cancel.cancel()
print(before, process.memory_info().rss)
"""


@pytest.mark.parametrize("layout", ["genai", "genai-growing", "tiny", "tiny-gqa", "tiny-merged"])
def test_many_generations_do_not_grow_the_process(
    layout: str, tiny_folder: Path, growing_folder: Path, tmp_path: Path
) -> None:
    given = {"genai": tiny_folder, "genai-growing": growing_folder}
    folder = given.get(layout) or make_transformersjs(tmp_path / layout, layout, dtypes=("fp32",))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(FIRST), str(GENERATIONS)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = map(int, done.stdout.split())
    assert after / before - 1 <= LIMIT
