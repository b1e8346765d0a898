"""`tabagent-host stats`, run as a person runs it; and its table, held to 80 columns."""

import csv
import io
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from unicodedata import east_asian_width

import pytest
from support.host_home import HostHome
from support.stats_rows import row

from native_host.cli.sparkline import ASCII, BLOCKS, sparkline
from native_host.cli.stats import _report
from native_host.cli.stats_table import WIDTH, _end, render
from native_host.stats_database import Database
from native_host.stats_rows import GENERATION_COLUMNS, GenerationRecord
from native_host.stats_schema import SCHEMA_VERSION, open_to_read

PAGE_BYTES = 4096
TABLE_NAME, CHART_NAME = 24, 22


@pytest.fixture
def home() -> Iterator[HostHome]:
    with HostHome() as home:
        yield home


def write(home: HostHome, *records: GenerationRecord) -> None:
    with closing(Database(home.data_dir / "stats.sqlite3")) as database:
        database.insert(records)


def rendered(folder: Path, *records: GenerationRecord) -> list[str]:
    """The lines about these generations."""
    path = folder / "stats.sqlite3"
    with closing(Database(path)) as database:
        database.insert(records)
    with closing(open_to_read(path)) as connection:
        report = _report(connection)
    assert report is not None
    return list(render(report, BLOCKS))


def test_without_any_figures_it_says_so_and_what_to_do(home: HostHome) -> None:
    for _ in range(2):
        done = home.run("stats")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "There are no figures yet. Ask a model something first: tabagent-host chat\n"
        write(home)
    home.write_config("[stats]\nenabled = false\n")
    assert "stats.enabled = false" in home.run("stats").stdout


def test_what_was_generated_a_moment_ago_is_in_it(home: HostHome) -> None:
    home.run("chat", "--model", "echo", stdin="one two three")
    text = home.run("stats").stdout
    assert text.startswith("1 generation since ")
    assert "3 tokens read, 0 of them from the cache, 3 written" in text
    assert re.search(r"last: echo on ECHO, \d+ s ago: 3 tokens in, 3 out", text)
    home.run("stop")
    assert home.run("stats").stdout.splitlines()[:2] == text.splitlines()[:2]


def test_percentiles_are_told_for_each_backend_and_model(home: HostHome) -> None:
    write(
        home,
        *(replace(row(model="a", rate=float(rate)), time_to_first_token=float(rate) / 2) for rate in range(101)),
        *(row(backend="ONNX_CPU", model="b", rate=20_000.0) for _ in range(1200)),
    )
    lines = home.run("stats").stdout.splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines if len(line.split()) == len(("name", "count")) + 6}
    assert cells["ECHO"] == cells["a"] == ["101", "25.0", "47.5", "49.5", "50.0", "95.0", "99.0"]
    assert cells["b"] == ["1,200", "30.0", "30.0", "30.0", "20000", "20000", "20000"]
    assert max(map(len, lines)) <= WIDTH


def test_csv_goes_to_a_file_or_to_stdout(home: HostHome) -> None:
    write(home, row(model="a"), row(model="b"))
    file = home.folder / "out.csv"
    done = home.run("stats", "--csv", str(file))
    assert (done.returncode, done.stdout) == (0, f"Wrote 2 generations to {file}.\n")
    text = home.run("stats", "--csv", "-").stdout
    assert file.read_text(encoding="utf-8") == text
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert tuple(lines[0]) == GENERATION_COLUMNS
    assert [line["model"] for line in lines] == ["a", "b"]


def test_csv_that_cannot_be_written_or_has_nothing_to_tell_is_one_sentence(home: HostHome) -> None:
    empty = home.run("stats", "--csv", str(home.folder / "out.csv"))
    assert (empty.returncode, (home.folder / "out.csv").exists()) == (1, False)
    assert "no figures yet" in empty.stderr
    write(home, row())
    done = home.run("stats", "--csv", str(home.folder / "none" / "out.csv"))
    assert done.returncode == 1
    assert "Cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_corrupt_file_is_one_sentence_and_is_left_alone(home: HostHome) -> None:
    home.data_dir.mkdir()
    file = home.data_dir / "stats.sqlite3"
    file.write_bytes(b"this is no database, whatever its name says" * 100)
    content = file.read_bytes()
    done = home.run("stats")
    assert (done.returncode, file.read_bytes()) == (1, content)
    assert "tabagent-host doctor" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_another_shape_is_one_sentence_and_doctor_knows_of_a_newer_version(home: HostHome) -> None:
    home.data_dir.mkdir()
    with closing(sqlite3.connect(home.data_dir / "stats.sqlite3")) as connection:
        connection.execute("CREATE TABLE generations (id INTEGER PRIMARY KEY, moment REAL)")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    for arguments in (["stats"], ["stats", "--csv", "-"]):
        done = home.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "tabagent-host doctor" in done.stderr
    assert "a newer version of the host made it" in home.run("doctor").stdout


def test_what_sqlite_says_of_a_damaged_page_is_one_line(home: HostHome) -> None:
    write(home, *(row() for _ in range(1000)))
    file = home.data_dir / "stats.sqlite3"
    content = bytearray(file.read_bytes())
    content[2 * PAGE_BYTES : 3 * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    file.write_bytes(content)
    done = home.run("stats")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "*** in database main *** " in done.stderr
    assert "tabagent-host doctor" in done.stderr


@pytest.mark.parametrize("folder", ["/home/somebody/models/", "C:\\Users\\somebody\\models\\"])
def test_models_that_were_loaded_by_path_are_told_apart(tmp_path: Path, folder: str) -> None:
    files = ("qwen.gguf", "gemma-3-1b-q4.gguf", "Qwen2.5-0.5B-Instruct-Q4_K_M.gguf", "Qwen2.5-7B-Instruct-Q4_K_M.gguf")
    lines = rendered(tmp_path, *(row(model=folder + file) for file in files))
    charts = [line[:CHART_NAME] for line in lines if "40.0 to 40.0" in line]
    rows = [
        line[:TABLE_NAME]
        for line in lines
        if line[TABLE_NAME:].split() == ["1", *["30.0"] * 3, *["40.0"] * 3] and line[0] == " "
    ]
    separator = folder[-1]
    assert {name.strip() for name in rows} == {
        f"...y{separator}models{separator}qwen.gguf",
        "...gemma-3-1b-q4.gguf",
        "Qwen2.5-0.5...-Q4_K_M",
        "Qwen2.5-7B-...-Q4_K_M",
    }
    assert len({name.strip() for name in charts}) == len(files)
    assert all(name.startswith("  ") and name.endswith(" ") for name in rows + charts)


def test_a_line_break_in_a_name_stays_out_of_the_table(tmp_path: Path) -> None:
    lines = rendered(tmp_path, row(model="a\nb"), row(model="a\tb\x1b[2J"))
    assert not any("\n" in line or "\t" in line or "\x1b" in line for line in lines)
    assert sum(line.startswith(r"  a\nb ") for line in lines) == 2
    assert any(line.startswith("last: a\\tb") for line in lines)


def test_long_names_and_unknown_figures_fit_into_80_columns(tmp_path: Path) -> None:
    unknown = replace(row(rate=None), time_to_first_token=None, total_time=None, output_tokens=None)
    long = row(backend="MEDIAPIPE_GPU", model="m" * 200, age_s=1e7)
    lines = rendered(tmp_path, long, replace(unknown, model="\x1b]0;x"))
    assert max(map(len, lines)) <= WIDTH
    assert "\x1b" not in "".join(lines)
    assert any("not known" in line for line in lines)


def test_characters_of_two_cells_stay_in_their_column(tmp_path: Path) -> None:
    names = ["模型" * 20, "ab模型.gguf", "plain.gguf", "/模型/" + "長い名前" * 3 + ".gguf"]
    lines = rendered(tmp_path, *(replace(row(), model=name) for name in names))
    cells = [sum(2 if east_asian_width(one) in "WF" else 1 for one in line) for line in lines]
    table = [at for at, line in enumerate(lines) if re.search(r"  1( +[\d.]+){6}$", line)]
    assert len(table) == len(names)
    assert {cells[at] for at in table} == {WIDTH}


def test_what_fits_of_a_name_is_its_whole_end() -> None:
    for text, cells, end in (
        ("abc", 2, "bc"),
        ("a模型", 3, "型"),
        ("ae\u0301", 1, "e\u0301"),
        ("ab", 2, "ab"),
        ("模", 1, ""),
    ):
        assert _end(text, cells) == end


def test_the_sparkline_shows_each_part_of_time_in_its_place(tmp_path: Path) -> None:
    now = time.time()
    points = ((4000, 10.0), (1950, 20.0), (1, 30.0))
    lines = rendered(tmp_path, *(replace(row(rate=rate), time=now - age) for age, rate in points))
    (line,) = [line for line in lines if "10.0 to 30.0" in line]
    chart = line[22:62]
    assert (chart[0], chart[20], chart[39]) == ("▁", "▅", "█")
    assert set(chart[1:20] + chart[21:39]) == {" "}


def test_a_sparkline_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([1.0, None, 8.0, 4.5], BLOCKS) == "▁ █▅"
    assert sparkline([3.0, 3.0], ASCII) == "++"
    assert sparkline([None, None], ASCII) == "  "
    assert sparkline([], ASCII) == ""


def test_a_terminal_without_blocks_gets_ascii(home: HostHome) -> None:
    write(home, row(rate=10.0, age_s=100), row(rate=20.0))
    home.env["PYTHONIOENCODING"] = "ascii"
    done = home.run("stats")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "10.0 to 20.0" in done.stdout
