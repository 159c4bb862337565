"""Rows by their numbers: the same ones as forward reading gives, whatever way one goes to them."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcore.formats import rows as rows_module
from gptcore.formats.rows import RowReader
from gptstudio.services.row_access import MOST_KEPT, RowAccess

NUM_ROWS = 700


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BLOCK", 500)


def nobody(done: int, total: int) -> None:
    pass


def values() -> Iterator[dict[str, Any]]:
    return ({"n": n, "text": "x" * (n % 40)} for n in range(1, NUM_ROWS + 1))


def lines() -> str:
    made = [json.dumps(row) for row in values()]
    made[40] = "{broken"
    made.insert(100, "")  # passed over, and counts as a line
    return "\n".join(made)


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text(lines())
    elif kind == "bom.jsonl":
        path.write_text("\ufeff" + lines())
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines().encode()))
    elif kind == "json":
        path.write_text(json.dumps(list(values())))
    else:
        pq.write_table(pa.Table.from_pylist(list(values())), path, row_group_size=64)
    return path


KINDS = ["jsonl", "bom.jsonl", "jsonl.gz", "json", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(numbers=st.lists(st.integers(0, NUM_ROWS + 3), min_size=1, max_size=8))
def test_any_row_is_the_one_that_reading_gives(
    tmp_path: Path, kind: str, numbers: list[int]
) -> None:
    path = write(tmp_path, kind)
    wanted = list(RowReader(path))
    assert len(wanted) == NUM_ROWS
    access = RowAccess(path)
    for number in numbers:
        found = access.find(number, nobody)
        if number > NUM_ROWS:
            assert found is None
            assert access.count == NUM_ROWS
        else:
            assert found == wanted[number - 1]  # and 0 is the last


@pytest.mark.parametrize(("kind", "again"), [("jsonl", False), ("parquet", False), ("json", True)])
def test_what_was_passed_is_found_without_reading_it_all(
    tmp_path: Path, kind: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, kind)
    access = RowAccess(path)
    access.find(0, nobody)
    read: list[int] = []
    monkeypatch.setattr(access, "_keep", lambda row: read.append(1))
    assert access.find(300, nobody) is not None
    assert (len(read) == 300) == again
    assert again or len(read) < 100


def test_marks_of_somebody_who_has_read_the_file_are_used(tmp_path: Path) -> None:
    path = write(tmp_path, "jsonl")
    reader = RowReader(path)
    wanted = list(reader)
    access = RowAccess(path)
    access.learn(reader.marks)
    assert len(reader.marks) > 20
    assert access.find(650, nobody) == wanted[649]
    assert access.find(0, nobody) == wanted[-1]
    assert access.find(3, nobody) == wanted[2]


def test_no_more_rows_are_kept_than_so_many(tmp_path: Path) -> None:
    access = RowAccess(write(tmp_path, "json"))
    access.find(0, nobody)
    assert len(access._recent) == MOST_KEPT
    access.find(NUM_ROWS - 3, nobody)
    access.find(NUM_ROWS - 3, nobody)
    assert access._recent_bytes == sum(row.size for row in access._recent.values())  # type: ignore[union-attr]


class Left(Exception):  # noqa: N818 - not an error
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_was_left_goes_on_where_it_stood(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    wanted = list(RowReader(path))
    access = RowAccess(path)
    told: list[int] = []

    def leave(done: int, total: int) -> None:
        told.append(done)
        assert total == path.stat().st_size
        raise Left

    with pytest.raises(Left):
        access.find(600, leave)
    assert told
    for number in (10, 256, 257, 600):
        assert access.find(number, nobody) == wanted[number - 1]


@pytest.mark.parametrize(
    ("number", "forwards", "found"),
    [(0, True, 7), (7, True, 507), (507, True, 7), (507, False, 7), (7, False, 507), (9, False, 7)],
)
def test_words_are_found_both_ways_and_round_the_end(
    tmp_path: Path, number: int, forwards: bool, found: int
) -> None:
    made = [{"text": "Wörter" if n in (7, 507) else "none"} for n in range(1, 601)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, made)))
    look: Callable[..., int | None] = RowAccess(path).search
    assert look("wörTER", number, nobody, forwards=forwards) == found
    assert look("nowhere", number, nobody, forwards=forwards) is None
