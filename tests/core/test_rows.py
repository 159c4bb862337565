"""Rows of data files: every packing and layout, and files that are made to harm."""

import datetime
import gzip
import json
import os
import re
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptcore.formats import rows
from gptcore.formats.problems import Problem
from gptcore.formats.rows import Row, RowReader

VALUES = [{"a": 1, "b": "x\ny"}, {"a": None, "c": ["é", {"d": 2.5}]}, {"a": '🙂 " : }'}]
LINES = "\n".join(json.dumps(value) for value in VALUES)
LAYOUTS = {
    "one a line": LINES,
    "with blank lines": f"\n\n{LINES.replace(chr(10), chr(10) * 2)}\n\n",
    "with carriage returns": LINES.replace("\n", "\r\n"),
    "an array": json.dumps(VALUES),
    "an indented array": json.dumps(VALUES, indent=2, ensure_ascii=False),
    "one after the other": "\n".join(json.dumps(value, indent=1) for value in VALUES),
    "with a mark": "\ufeff" + LINES,
}
PACKINGS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd.compress}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.jsonl"


def read(path: Path) -> tuple[list[Row], list[Problem]]:
    found = list(RowReader(path))
    good = [each for each in found if isinstance(each, Row)]
    return good, [each for each in found if isinstance(each, Problem)]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_every_layout_and_packing_gives_the_same_rows(
    path: Path, layout: str, packing: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BLOCK", block)
    path.write_bytes(PACKINGS[packing](LAYOUTS[layout].encode()))
    good, bad = read(path)
    assert not bad
    assert [row.value for row in good] == VALUES
    assert [row.number for row in good] == [1, 2, 3]
    assert RowReader(path).bytes_read == 0


def test_parquet_gives_rows_without_lines(path: Path) -> None:
    table = pa.Table.from_pylist([{"a": number, "b": [{"c": "x"}]} for number in range(600)])
    pq.write_table(table, path, row_group_size=250)
    good, bad = read(path)
    assert not bad
    assert [row.value["a"] for row in good] == list(range(600))
    assert good[0].value["b"] == [{"c": "x"}]
    assert good[0].line is None


def test_parquet_holds_only_what_json_can(path: Path) -> None:
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    table = pa.Table.from_pylist([{"a": when, "b": float("nan"), "c": Decimal("1.5"), "d": b"x"}])
    pq.write_table(table, path)
    (row,), bad = read(path)
    assert not bad
    assert json.loads(json.dumps(row.value, allow_nan=False)) == row.value
    assert row.value["a"].startswith("2026-01-02")


def test_of_a_packed_file_that_is_cut_off_the_rest_is_read(path: Path) -> None:
    content = "".join(f'{{"a": {number}}}\n' for number in range(5000)).encode()
    for pack in (gzip.compress, zstd.compress):
        packed = pack(content)
        path.write_bytes(packed[: len(packed) * 9 // 10])
        good, bad = read(path)
        assert len(good) > 1000 or pack is zstd.compress
        assert [row.value["a"] for row in good] == list(range(len(good)))
        assert "any further" in bad[-1].reason
        assert bad[-1].row is None


def test_lines_are_those_of_the_file(path: Path) -> None:
    path.write_text('{"a": 1}\n\nnonsense\n{"a": 2}\n')
    good, bad = read(path)
    assert [(row.number, row.line) for row in good] == [(1, 1), (3, 4)]
    assert [(each.row, each.line) for each in bad] == [(2, 3)]
    path.write_text('[\n  {"a": 1},\n\n  {"a":\n 2},\n  {"a": NaN},\n {"a": 4}]')
    good, bad = read(path)
    assert [(row.number, row.line) for row in good] == [(1, 2), (2, 4), (4, 7)]
    assert [(each.row, each.line) for each in bad] == [(3, 6)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "cut short|truncated"),
        (b'{"a": NaN}', "not JSON"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": %s}' % (b"1" * 5000), "out of range"),
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"a": {"b" : 1, "b" : 2}}', "'b' twice"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "too deeply"),
        (b'{"a": "\x01"}', "not JSON"),
        (b"plain words", "not JSON"),
    ],
)
def test_a_bad_line_is_a_problem_and_its_neighbours_are_read(
    path: Path, line: bytes, reason: str
) -> None:
    path.write_bytes(b'{"before": 1}\n' + line + b'\n{"after": 1}\n')
    good, (problem,) = read(path)
    assert [row.value for row in good] == [{"before": 1}, {"after": 1}]
    assert (problem.line, problem.row) == (2, 2)

    assert re.search(reason, problem.reason)


@pytest.mark.parametrize(
    ("value", "reason", "goes_on"),
    [
        ('{"a": NaN}', "NaN", True),
        ('{"a": -Infinity}', "-Infinity", True),
        ('{"a": 1e999}', "1e999", True),
        ('{"a": %s}' % ("1" * 5000), "1111", True),
        ('{"a": 1, "a": 2}', "'a' twice", True),
        ('{"a": "\\ud800"}', "surrogate", True),
        ("[" * 100_000, "nested too deeply", False),
        ('{"a" 1}', "delimiter", False),
    ],
)
def test_a_bad_element_of_an_array(path: Path, value: str, reason: str, goes_on: bool) -> None:
    path.write_text('[{"before": 1},\n' + value + ',\n{"after": 1}]\n')
    good, bad = read(path)
    assert [row.value for row in good] == [{"before": 1}] + [{"after": 1}] * goes_on
    assert bad[0].line == 2
    assert reason in bad[0].reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"a": 1}, {"a"', "cannot be read"),
        (b'[{"a": 1},', "ends before the array does"),
        (bytes(range(256)) * 20, "binary"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        (gzip.compress(LINES.encode(), mtime=0)[:-9], "any further"),
        (zstd.compress(LINES.encode() * 99)[:-9], "any further"),
        (b"\x1f\x8b" + b"nonsense" * 9, "any further"),
        (b"PAR1" + b"nonsense" * 99, "broken Parquet"),
        (b'[{"a": 1},\n\xff\xfe]', "UTF-8"),
    ],
    ids=[
        "cut",
        "no-end",
        "binary",
        "utf-16",
        "gzip",
        "zstd",
        "not-gzip",
        "not-parquet",
        "not-utf-8",
    ],
)
def test_a_broken_file_is_a_problem(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    _, bad = read(path)
    assert reason in bad[-1].reason


def test_an_empty_file_has_no_rows(path: Path) -> None:
    for content in (b"", b"\n\n", b"[]", b" [\n]\n"):
        path.write_bytes(content)
        assert read(path) == ([], [])


def test_a_folder_a_pipe_and_nothing_are_errors_or_problems(path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
    path.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UserError, match="is not a file"):
        read(path)


def test_memory_stays_bounded(path: Path) -> None:
    long = b'{"a": "' + b"x" * (200 << 20) + b'"}'
    path.write_bytes(gzip.compress(b'{"b": 1}\n' + long + b'\n{"b": 2}\n', 1))
    tracemalloc.start()
    good, (problem,) = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [row.value for row in good] == [{"b": 1}, {"b": 2}]
    assert "longer than 16 MiB" in problem.reason
    assert problem.line == 2
    assert peak < 120 << 20


def test_a_bomb_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "GROWTH_COUNTS_FROM", 8 << 20)
    path.write_bytes(gzip.compress(b'{"a": 1}\n' + b"\n" * (64 << 20)))
    good, (problem,) = read(path)
    assert len(good) == 1
    assert "200 times its size" in problem.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4), st.booleans())
def test_what_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, object]], ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.json"
    try:
        text = json.dumps(values, ensure_ascii=ascii_only)
        text.encode()
    except UnicodeEncodeError:
        return
    path.write_text(text, encoding="utf-8")
    good, bad = read(path)
    assert len(good) + len(bad) == len(values)
    for problem in bad:  # integers beyond 64 bits and halves of characters are refused by some
        assert problem.reason
    assert [row.value for row in good] == [values[row.number - 1] for row in good]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\ \nabtrue0123.eE-u', max_size=80))
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for each in RowReader(path):
        assert isinstance(each, Row | Problem)
