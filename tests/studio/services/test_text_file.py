"""The file viewer's service: lines by position, filters, search, and files that misbehave."""

import itertools
import os
import random
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.text import clean
from gptstudio.services import text_lines
from gptstudio.services.text_file import Line, Page, TextFile
from gptstudio.services.text_levels import REACH
from gptstudio.services.text_lines import CHUNK, LONGEST, Mode, visible
from gptstudio.services.text_source import FIRST_SLICE

_BITS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"a", b"word ", b"\x00", b"\xff", b"\x80", b"\x1b[31m"),
        *("é".encode(), "中".encode(), "🙂".encode()),
        *(b"ERROR x", b"  in", b"needle", b"Needle"),
    ]
)
#: Files of up to some 200 KB: pieces repeated, so that long lines and long runs of lines occur.
_FILES = st.lists(
    st.tuples(
        st.lists(_BITS | st.binary(max_size=12), min_size=1, max_size=6).map(b"".join),
        st.sampled_from([1, 1, 1, 2, 7, 300, 3000]),
    ),
    max_size=8,
).map(lambda pieces: b"".join(piece * count for piece, count in pieces)[:200_000])
_MODES = st.sampled_from(["log", "data"])


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def put(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def texts(page: Page) -> list[str]:
    return [line.text for line in page.lines]


def walk_down(file: TextFile, height: int = 50, **options: object) -> list[Line]:
    """All lines, page by page from the start."""
    page = file.page(0, height, **options)  # type: ignore[arg-type]
    lines = list(page.lines)
    while not page.at_end:
        page = file.page(lines[-1].offset, height, skip=1, **options)  # type: ignore[arg-type]
        lines += [line for line in page.lines if line.offset > lines[-1].offset]
    return lines


def walk_up(file: TextFile, height: int = 50, **options: object) -> list[Line]:
    """All lines, page by page from the end."""
    page = file.page(None, height, **options)  # type: ignore[arg-type]
    lines = list(page.lines)
    while not page.at_start:
        page = file.page(lines[0].offset, height, skip=-height, **options)  # type: ignore[arg-type]
        lines = [line for line in page.lines if line.offset < lines[0].offset] + lines
    return lines


@settings(max_examples=60, deadline=None)
@given(content=_FILES, mode=_MODES, height=st.integers(1, 400))
def test_lines_are_the_same_in_both_directions_and_cover_the_file(
    folder: Path, content: bytes, mode: Mode, height: int
) -> None:
    file = TextFile(put(folder, content), mode)
    lines = walk_down(file, max(height, len(content) // 2000))
    assert walk_up(file, max(height, len(content) // 2000)) == lines
    assert [line.offset for line in lines] == [0, *(line.end for line in lines)][: len(lines)]
    assert (lines[-1].end if lines else 0) == len(content)
    for line in lines:
        raw = content[line.offset : line.end]
        assert 0 < len(raw) <= LONGEST
        assert raw.endswith(b"\n") or b"\n" not in raw
        assert line.text == text_lines.show(raw, mode)
        assert line.text == clean(line.text)
    starts = {line.offset for line in lines}
    for whole in re.finditer(rb"[^\n]*\n|[^\n]+", content):
        if len(whole.group()) <= CHUNK:
            assert starts.isdisjoint(range(whole.start() + 1, whole.end()))


@pytest.mark.parametrize("before", [0, 1, 5000])
@pytest.mark.parametrize("length", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 3 * CHUNK])
def test_only_lines_longer_than_a_chunk_are_cut(folder: Path, before: int, length: int) -> None:
    content = b"." * before + b"\n" + b"x" * length + b"\n" + b"y\n" * 2 * CHUNK
    shown = texts(TextFile(put(folder, content), "data").page(0, 9))
    assert shown[0] == "." * before
    assert length > CHUNK or shown[1] == "x" * length
    assert "".join(shown[1:]).rstrip("y") == "x" * length
    assert "" not in shown[1:]


@settings(max_examples=60, deadline=None)
@given(content=_FILES, more=_FILES, seed=st.integers(0, 1 << 30))
def test_any_offset_leads_to_its_line_and_growth_moves_none(
    folder: Path, content: bytes, more: bytes, seed: int
) -> None:
    file = TextFile(put(folder, content), "data")
    starts = [line.offset for line in walk_down(file, 1000)]
    for _ in range(20 if content else 0):
        offset = random.Random(seed).randrange(len(content))
        (line,) = file.page(offset, 1).lines
        assert line.offset <= offset < line.end
        assert line.offset in starts
    grown = TextFile(put(folder, content + more, "grown"), "data")
    assert [line.offset for line in walk_down(grown, 1000)][: len(starts)] == starts


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(alphabet="aé中🙂\u0301 ", min_size=1, max_size=40),
    count=st.integers(1, 4000),
    head=st.integers(0, 5),
)
def test_a_long_line_is_cut_between_characters(
    folder: Path, text: str, count: int, head: int
) -> None:
    content = "x" * head + text * count
    lines = walk_down(TextFile(put(folder, content.encode()), "data"))
    assert "".join(line.text for line in lines) == content
    assert [line.continued for line in lines] == [False] + [True] * (len(lines) - 1)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 120),
    place=st.integers(0, 130),
    height=st.integers(1, 40),
    skip=st.integers(-60, 60),
)
def test_a_page_is_full_wherever_it_is_asked_for(
    folder: Path, count: int, place: int, height: int, skip: int
) -> None:
    numbers = [f"{number:04d}" for number in range(count)]
    file = TextFile(put(folder, "".join(f"{number}\n" for number in numbers).encode()))
    page = file.page(place * 5, height, skip=skip)
    first = max(0, min(min(place, count) + skip, count - height))
    assert texts(page) == numbers[first : first + height]
    assert page.at_start == (first == 0)
    assert page.at_end == (first + height >= count)
    assert texts(file.page(None, height)) == numbers[-height:]


def test_a_log_shows_what_a_terminal_would_be_left_with(folder: Path) -> None:
    raw = (
        b"  0%|   |\r 50%|#  |\r100%|###|\r\n\x1b[1;31mred\x1b[0m \x1b]0;title\x07 \x1b[2Jx\n\r\r\n"
    )
    log = TextFile(put(folder, raw), "log")
    assert texts(log.page(0, 9)) == ["100%|###|", r"red \x1b]0;title\x07 \x1b[2Jx", ""]
    shown = texts(TextFile(log.path, "data").page(0, 9))
    assert shown[0] == r"  0%|   |\x0d 50%|#  |\x0d100%|###|"
    assert shown[1] == r"\x1b[1;31mred\x1b[0m \x1b]0;title\x07 \x1b[2Jx"


def test_a_long_progress_bar_is_cut_between_its_states(folder: Path) -> None:
    states = [f"{step:6d} of 9999 |{'#' * (step % 50)}" for step in range(3000)]
    lines = walk_down(TextFile(put(folder, "\r".join(states).encode()), "log"))
    assert len(lines) > 3
    assert {line.text for line in lines} <= set(states)
    assert lines[-1].text == states[-1]


def test_unseen_characters_are_shown(folder: Path) -> None:
    content = "\ufeffa\u200bb 👍🏽 ❤\ufe0f 👨\u200d👩".encode()
    path = put(folder, content)
    data, log = TextFile(path, "data"), TextFile(path, "log")
    assert texts(data.page(0, 1)) == [r"\ufeffa\u200bb 👍\U0001f3fd ❤\ufe0f 👨\u200d👩"]
    assert texts(log.page(0, 1)) == [r"\ufeffa\u200bb 👍 ❤ 👨\u200d👩"]


_LOG = """\
step 1
path/file.py:3: UserWarning: careful
  warnings.warn("careful")
step 2
[rank0]: Traceback (most recent call last):
[rank0]:   File "x.py", line 1
[rank0]:     boom()
[rank0]: ValueError: no
step 3 val_error=0.1 errors: none, a mirror: no
\x1b[31mERROR\x1b[0m disk
  with detail

2024-01-01 WARN low
error: plain
"""


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("warnings", [1, 2, 4, 5, 6, 7, 9, 10, 12, 13]),
        ("errors", [4, 5, 6, 7, 9, 10, 13]),
    ],
)
def test_the_level_filter_keeps_what_belongs_together(
    folder: Path, level: str, expected: list[int]
) -> None:
    file = TextFile(put(folder, _LOG.encode()))
    kept = [text_lines.show(_LOG.encode().splitlines()[index], "log") for index in expected]
    for height in (1, 2, 3, 20):
        assert [line.text for line in walk_down(file, height, level=level)] == kept
        assert [line.text for line in walk_up(file, height, level=level)] == kept
    assert len(TextFile(file.path, "data").page(0, 99, level="errors").lines) == 14


def test_the_level_is_that_of_what_is_shown(folder: Path) -> None:
    page = TextFile(put(folder, b"ERROR a\rdone\ndone\rERROR b\r\n")).page(0, 2)
    assert [(line.text, line.level) for line in page.lines] == [("done", ""), ("ERROR b", "error")]


def test_a_line_may_become_an_error_as_it_grows(folder: Path) -> None:
    path = put(folder, b"ERROR\nhalf ")
    file = TextFile(path)
    assert texts(file.page(None, 5, level="errors")) == ["ERROR"]
    put(folder, b"ERROR\nhalf ERROR\n")
    assert texts(file.page(None, 5, level="errors")) == ["ERROR", "half ERROR"]
    put(folder, b"CRITICAL\n  more\n")
    assert texts(file.page(None, 5, level="errors")) == ["CRITICAL", "  more"]


@settings(max_examples=30, deadline=None)
@given(content=_FILES, size=st.integers(0, 3))
def test_levels_do_not_depend_on_where_reading_begins(
    folder: Path, content: bytes, size: int
) -> None:
    filler = b"plain line\n" * 30_000
    content = [b"", filler, b"ERROR\n" + b"  in\n" * 9000, b"x" * 90_000][size] + content
    file = TextFile(put(folder, content))
    expected = [line for line in walk_down(file, 5000) if line.level == "error"]
    assert walk_down(file, 700, level="errors") == expected
    assert walk_up(file, 700, level="errors") == expected
    for line in expected[:: max(1, len(expected) // 10)]:
        assert file.page(line.offset, 1, level="errors").lines == (line,)


def test_what_belongs_to_an_error_ends_within_reach(folder: Path) -> None:
    content = b"ERROR\n" + b"  indented\n" * (2 * REACH // 11)
    lines = walk_down(TextFile(put(folder, content)), 1000, level="errors")
    assert lines[-1].offset <= REACH < lines[-1].end


@pytest.mark.parametrize("level", ["all", "errors"])
def test_following_gives_the_last_lines_after_every_growth(folder: Path, level: str) -> None:
    generator = random.Random(1)
    path = put(folder, b"")
    file = TextFile(path)
    for _ in range(30):
        with path.open("ab") as log:
            for _ in range(generator.choice([0, 1, 5, 4000])):
                log.write(generator.choice([b"plain\n", b"ERROR a\n", b"  more\n", b"half "]))
        page = file.page(None, 7, level=level)  # type: ignore[arg-type]
        assert page == TextFile(path).page(None, 7, level=level)  # type: ignore[arg-type]
    assert page.generation == 0


def test_a_filter_does_not_read_the_file_again(folder: Path) -> None:
    path = put(folder, b"ERROR\n" + b"plain\n" * 1_000_000)
    file = TextFile(path)
    slices: list[float] = []
    file.page(None, 9, level="errors", on_progress=slices.append)
    first = len(slices)
    with path.open("ab") as log:
        log.write(b"plain\nERROR again\n")
    page = file.page(None, 9, level="errors", on_progress=slices.append)
    assert texts(page) == ["ERROR", "ERROR again"]
    for anchor, skip in [(None, 0), (0, 0), (page.lines[-1].offset, -1), (3_000_000, 0)]:
        page = file.page(anchor, 2, skip=skip, level="errors", on_progress=slices.append)
        assert texts(page) == ["ERROR", "ERROR again"]
    assert first > 10
    assert len(slices) <= first + 5  # each time the last line alone, which may have grown


def test_a_filter_can_be_called_off(folder: Path) -> None:
    file = TextFile(put(folder, b"plain\n" * 1_000_000))
    shares: list[float] = []
    page = file.page(
        0, 5, level="errors", cancelled=lambda: len(shares) > 2, on_progress=shares.append
    )
    assert page.cancelled
    assert page.lines == ()
    assert len(shares) == 3
    assert shares == sorted(shares)
    whole = file.page(0, 5, level="errors")
    assert (whole.lines, whole.at_start, whole.at_end) == ((), True, True)


def _naive(content: bytes, lines: list[Line], pattern: str, mode: Mode) -> list[int]:
    """Offsets of the lines in which a match begins."""
    needle = pattern.encode()
    hits = []
    for line in lines:
        raw = content[line.offset : line.end]
        shown = visible(raw, mode)
        ahead = b"" if raw.endswith((b"\n", b"\r")) else content[line.end :][: len(needle) - 1]
        text = shown + ahead.split(b"\n")[0]
        if pattern == pattern.lower():
            text, needle = text.lower(), needle.lower()
        if needle in text:
            hits.append(line.offset)
    return hits


@settings(max_examples=60, deadline=None)
@given(
    content=_FILES,
    mode=_MODES,
    pattern=st.sampled_from(["needle", "Needle", "aa", "é", "d w", "中é", "\x00", "31m"]),
    forwards=st.booleans(),
    seed=st.integers(0, 1 << 30),
)
def test_search_finds_what_a_naive_search_finds(
    folder: Path, content: bytes, mode: Mode, pattern: str, forwards: bool, seed: int
) -> None:
    file = TextFile(put(folder, content), mode)
    lines = walk_down(file, 2000)
    hits = _naive(content, lines, pattern, mode)
    starts = [line.offset for line in lines] or [0]
    for start in [-1, 0, len(content), *random.Random(seed).choices(starts, k=5)]:
        found = file.search(pattern, start, forwards=forwards)
        if forwards:
            ahead = [hit for hit in hits if hit > start]
            expected = (ahead or hits or [None])[0]
        else:
            ahead = [hit for hit in hits if hit < start]
            expected = (ahead or hits or [None])[-1]
        assert found.offset == expected
        assert found.wrapped == bool(hits and not ahead)


def test_search_crosses_slices_and_cuts(folder: Path) -> None:
    for length in (CHUNK, *(FIRST_SLICE * slices for slices in (1, 3, 7, 15))):
        for shift, colour in itertools.product(range(-6, 2), (b"", b"\x1b[m")):
            content = b"x" * (length + shift - len(colour)) + colour + b"needle" + b"y" * 3 * CHUNK
            file = TextFile(put(folder, content), "log")
            for start, forwards in ((-1, True), (len(content), False)):
                found = file.search("needle", start, forwards=forwards)
                (line,) = file.page(found.offset, 1).lines
                assert line.offset <= length + shift < line.end


def test_search_takes_capitals_at_their_word_in_any_alphabet(folder: Path) -> None:
    file = TextFile(put(folder, "Straße\nÉCOLE école\nШкола\n".encode()))
    assert file.search("école", -1).offset == len("Straße\n".encode())
    assert file.search("ÉCOLE", -1).offset == file.search("école", -1).offset
    assert file.search("ÉCole", -1).offset is None
    assert file.search("школа", -1).offset == len("Straße\nÉCOLE école\n".encode())
    assert file.search("a.c", -1).offset is None


def test_search_sees_what_is_shown(folder: Path) -> None:
    file = TextFile(put(folder, b"10%\r20%\n\x1b[31mOUT\x1b[0m of memory\n"), "log")
    assert file.search("10%", -1).offset is None
    assert file.search("20%", -1).offset == 0
    assert file.search("out of", -1).offset == 8
    assert TextFile(file.path, "data").search("10%", -1).offset == 0


def test_search_keeps_to_the_filter(folder: Path) -> None:
    content = b"memory\nERROR memory\nmemory\nERROR\n  memory\nmemory\n"
    file = TextFile(put(folder, content))
    assert file.search("memory", -1, level="errors").offset == 7
    assert file.search("memory", 7, level="errors").offset == 33
    assert file.search("memory", 33, level="errors") == file.search("ERROR memory", 33)
    assert file.search("memory", len(content), forwards=False, level="errors").offset == 33


@pytest.mark.parametrize("forwards", [True, False])
def test_search_can_be_called_off(folder: Path, forwards: bool) -> None:
    file = TextFile(put(folder, b"plain text\n" * 1_000_000))
    shares: list[float] = []
    found = file.search(
        "needle",
        5_000_000,
        forwards=forwards,
        cancelled=lambda: len(shares) > 3,
        on_progress=shares.append,
    )
    assert found.cancelled
    assert found.offset is None
    assert len(shares) == 4


def test_a_search_that_cannot_be_says_so(folder: Path) -> None:
    file = TextFile(put(folder, b"text\n"))
    for pattern in ("", "x" * 2000, "a\nb"):
        assert "one line" in file.search(pattern, -1).problem
    assert "no such file" in TextFile(folder / "none").search("x", -1).problem


def test_truncation_and_replacement_begin_a_generation(folder: Path) -> None:
    path = put(folder, b"one\ntwo\n", "changing")
    file = TextFile(path)
    assert file.page(None, 5).generation == 0
    put(folder, b"one\ntwo\nthree\n", "changing")
    assert file.page(None, 5).generation == 0
    path.write_bytes(b"one\n")
    page = file.page(10_000, 5)
    assert (page.generation, texts(page)) == (1, ["one"])
    path.write_bytes(b"other, and longer than before\n")
    assert file.look().generation == 2
    path.rename(folder / "rotated")
    assert "no such file" in file.look().problem
    assert file.page(None, 5).generation == 2
    put(folder, b"new\n", "changing")
    assert (file.page(None, 5).generation, file.look().problem) == (3, "")


def test_a_file_cut_short_while_it_is_read_still_gives_a_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(folder, b"line\n" * 50_000)
    real = os.pread

    def cutting(descriptor: int, count: int, offset: int) -> bytes:
        if path.stat().st_size > 50:
            os.truncate(path, 50)
        return real(descriptor, count, offset)

    file = TextFile(path)
    monkeypatch.setattr(os, "pread", cutting)
    assert texts(file.page(None, 3)) == ["line"] * 3


def test_no_file_is_an_answer(folder: Path) -> None:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    locked = put(folder, b"secret", "locked")
    locked.chmod(0)
    broken = folder / "loop"
    broken.symlink_to("loop")
    cases: list[tuple[Path, str]] = [
        (folder / "none", "no such file"),
        (folder, "a folder"),
        (fifo, "pipe"),
        (Path("/dev/null"), "device"),
        (broken, "cannot be read"),
        (folder / "locked" / "below", "cannot be read"),
        (Path("nul\0l"), "can have this name"),
        (Path("x" * 5000), "cannot be read"),
        (folder / "evil\x1b[2J\n[red]", "\\x1b[2J\\n[red]"),
    ]
    if os.geteuid() != 0:
        cases.append((locked, "Permission denied"))
    for path, why in cases:
        began = time.monotonic()
        page = TextFile(path).page(None, 5)
        assert time.monotonic() - began < 1  # a FIFO does not block
        assert why in page.problem
        assert page.problem == clean(page.problem)
        assert page.lines == ()
        assert why in TextFile(path).look().problem


def test_who_waits_at_a_fifo_is_left_waiting(folder: Path) -> None:
    fifo = folder / "awaited"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.open("wb").close(), daemon=True)
    writer.start()
    assert "pipe" in TextFile(fifo).page(None, 5).problem
    writer.join(0.2)
    assert writer.is_alive()
    fifo.open("rb").close()
    writer.join(10)
    assert not writer.is_alive()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"no end", ["no end"]),
        (b"a\n\nb\n", ["a", "", "b"]),
        (b"\x00\x00\n\x00", [r"\x00\x00", r"\x00"]),
        (b"crlf\r\nend\r\n", ["crlf", "end"]),
        (b"bad \xff\xed\xa0\x80 \xe4\xb8", [r"bad \xff\xed\xa0\x80 \xe4\xb8"]),
        ("\u202eabc\u2066".encode(), [r"\u202eabc\u2066"]),
        (b"[bold red]x[/]", ["[bold red]x[/]"]),
    ],
)
def test_any_content_gives_a_page(folder: Path, content: bytes, shown: list[str]) -> None:
    page = TextFile(put(folder, content), "data").page(None, 50)
    assert (texts(page), page.problem, page.at_start, page.at_end) == (shown, "", True, True)


def test_a_file_that_is_no_utf8_is_shown_and_named(folder: Path) -> None:
    for content, what in ("text\n".encode("utf-16"), "UTF-16"), (b"\x1f\x8b\x08rest", "gzip"):
        page = TextFile(put(folder, content), "data").page(0, 5)
        assert what in page.problem
        assert page.lines
