"""The file viewer on a screen: follow, moving, search, filter, and files that misbehave."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.pilot import Pilot

from gptcore.text import clean
from gptstudio.app.widgets.file_rows import crop, lay_out, tidy, wrap
from gptstudio.app.widgets.file_view import FileView
from gptstudio.services.text_file import Line


class _View(FileView):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "line_up"),
        Binding("j", "line_down"),
        Binding("b", "page_up"),
        Binding("space", "page_down"),
        Binding("g", "top"),
        Binding("G", "bottom"),
        Binding("h", "left"),
        Binding("l", "right"),
        Binding("f", "toggle_follow"),
        Binding("w", "toggle_wrap"),
        Binding("v", "cycle_level"),
        Binding("n", "next_match"),
        Binding("N", "previous_match"),
    ]


class _Viewer(App[None]):
    CSS = "FileView { height: 100%; }"

    def __init__(self, interval: float = 0.02) -> None:
        super().__init__()
        self.view = _View(interval=interval)
        self.heard: list[object] = []
        self.painted: list[int] = []

    def compose(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        self.view.focus()

    def on_file_view_found(self, message: FileView.Found) -> None:
        self.heard.append(message)

    def on_file_view_not_found(self, message: FileView.NotFound) -> None:
        self.heard.append(message)

    def on_file_view_changed(self, message: FileView.Changed) -> None:
        assert "fault" not in self.view.problem

    @property
    def rows(self) -> list[str]:
        """What is on the screen, checked for what no row may do."""
        width, height = self.view.size
        strips = [self.view.render_line(y) for y in range(height)]
        for strip in strips:
            assert strip.cell_length == width == cell_len(strip.text)
            assert strip.text == clean(strip.text)
            assert len(strip.text) <= 5 * width  # no stacks
            assert not strip.text or cell_len(strip.text[0])
            assert all(segment.text and not segment.control for segment in strip)
            assert all(not (segment.style and segment.style.meta) for segment in strip)
        return [strip.text.rstrip() for strip in strips]


Script = Callable[[_Viewer, Pilot[None]], Awaitable[None]]


def drive(script: Script, *, size: tuple[int, int] = (20, 5), interval: float = 0.02) -> None:
    async def run() -> None:
        app = _Viewer(interval)
        async with app.run_test(size=size) as pilot:
            await script(app, pilot)

    asyncio.run(run())


async def until(app: _Viewer, pilot: Pilot[None], ask: Callable[[], object]) -> None:
    """Wait until `ask` says yes."""
    for _ in range(1000):
        if ask():
            return
        await pilot.pause(0.01)
    raise AssertionError("\n".join([*app.rows, app.view.position, app.view.problem]))


async def shows(app: _Viewer, pilot: Pilot[None], rows: list[str]) -> None:
    """Wait until the screen has these rows, and blank ones below."""
    rows = rows + [""] * (app.view.size.height - len(rows))
    try:
        await until(app, pilot, lambda: app.rows == rows)
    except AssertionError:
        assert app.rows == rows
        raise


def reversed_text(app: _Viewer, y: int) -> str:
    """What of a row is highlighted."""
    strip = app.view.render_line(y)
    return "".join(segment.text for segment in strip if segment.style and segment.style.reverse)


def lines(first: int, last: int, mark: str = " ") -> list[str]:
    return [f"{mark}line {number}" for number in range(first, last + 1)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "training.log"
    path.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_a_log_is_followed_until_one_scrolls_up(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log)
        await shows(app, pilot, lines(96, 100))
        assert app.view.position == "100 % of 792 B, byte 751  following"
        append(log, "line 101\nline")
        await shows(app, pilot, [*lines(98, 101), " line"])
        append(log, " 102\n")
        await shows(app, pilot, lines(98, 102))
        await pilot.press("k")
        await shows(app, pilot, lines(97, 101))
        assert not app.view.following
        append(log, "line 103\n")
        await until(app, pilot, lambda: app.view.position.startswith("97 % of 819 B"))
        assert app.rows == lines(97, 101)
        await pilot.press("G")
        await shows(app, pilot, lines(99, 103))
        append(log, "line 104\n")
        await shows(app, pilot, lines(100, 104))
        await pilot.press("f")
        append(log, "line 105\n")
        await pilot.pause(0.2)
        assert app.rows == lines(100, 104)

    drive(script)


def test_every_move(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log, follow=False)
        await shows(app, pilot, lines(1, 5))
        for keys, first in [
            (["k"], 1),
            (["j"], 2),
            (["j"] * 4, 6),
            (["k", "k"], 4),
            (["space"], 8),
            (["b"], 4),
            (["G"], 96),
            (["k", "j"], 96),
            (["b"], 92),
            (["g"], 1),
        ]:
            await pilot.press(*keys)
            await shows(app, pilot, lines(first, first + 4))
        for _ in range(10):
            app.view.action_line_down()
        app.view.action_line_up()
        await shows(app, pilot, lines(10, 14))

    drive(script)


def test_wrapped_rows_are_walked_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "wide"
    path.write_text("first\n" + "中文字" * 7 + "\nlast\n")

    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(path, follow=False, mode="data")
        await shows(app, pilot, [" first", " 中文字中"])
        await pilot.press("w")
        await shows(app, pilot, [" first", " 中文字中"])
        seen = []
        for _ in range(7):
            await pilot.press("j")
            await pilot.pause(0.03)
            seen.append(app.rows)
        wide = ["中文字中", "文字中文", "字中文字", "中文字中", "文字中文", "字"]
        rows = [" first", *(f" {row}" for row in wide), " last"]
        assert seen == [rows[min(top, 6) : min(top, 6) + 2] for top in range(1, 8)]
        await pilot.press("k")
        await shows(app, pilot, rows[5:7])
        await pilot.press("w")
        await shows(app, pilot, [" 中文字中", " last"])
        await pilot.press("l")
        await shows(app, pilot, ["  中文字中", ""])
        await pilot.press("h")
        await shows(app, pilot, [" 中文字中", " last"])

    drive(script, size=(10, 2))


def test_a_line_taller_than_the_screen_is_followed_and_left(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("".join(f"{number:04d}" for number in range(9000)))

    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(path)
        app.view.wrapping = True
        await shows(app, pilot, [" 89968997", " 89988999"])
        await pilot.press("k")
        await shows(app, pilot, [" 89948995", " 89968997"])
        await pilot.press("g")
        await shows(app, pilot, [" 00000001", " 00020003"])

    drive(script, size=(9, 2))


def test_truncated_replaced_gone_and_back(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log, follow=False)
        await pilot.press("space", "space")
        await shows(app, pilot, lines(9, 13))
        log.write_text("".join(f"other {number}\n" for number in range(1, 91)))
        await shows(app, pilot, [f" other {number}" for number in range(1, 6)])
        await pilot.press("space")
        log.write_text("short\n")
        await shows(app, pilot, [" short"])
        log.unlink()
        await until(app, pilot, lambda: "no such file" in app.view.problem)
        assert app.rows[0] == "there is no such fil"
        assert app.view.position == ""
        log.write_text("again\n")
        await shows(app, pilot, [" again"])
        assert app.view.problem == ""
        log.unlink()
        os.mkfifo(log)
        await until(app, pilot, lambda: "pipe" in app.view.problem)
        log.unlink()
        log.mkdir()
        await until(app, pilot, lambda: "folder" in app.view.problem)

    drive(script)


def test_what_is_said_where_there_is_nothing(tmp_path: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(None, empty="no run yet\n[red]press s\x1b[2J")
        await shows(app, pilot, ["no run yet", r"[red]press s\x1b[2J"])
        empty = tmp_path / "e"
        empty.write_text("")
        app.view.show(empty, empty="no run yet")
        await until(app, pilot, lambda: app.rows[0].startswith("the file is empty"))
        append(empty, "fine\n")
        await shows(app, pilot, [" fine"])
        await pilot.press("v")
        await shows(app, pilot, ["the file has no warnings"])
        assert "warnings only" in app.view.position

    drive(script, size=(30, 5))


def test_search_goes_to_matches_and_around(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        async def result(kind: type[object]) -> object:
            await until(app, pilot, lambda: app.heard)
            message = app.heard.pop()
            assert isinstance(message, kind)
            return message

        app.view.show(log, follow=False)
        await shows(app, pilot, lines(1, 5))
        app.view.search("LINE 5")
        await result(FileView.NotFound)
        app.view.search("line 5")
        await result(FileView.Found)
        await shows(app, pilot, [*lines(1, 4), ">line 5"])
        for _ in range(2):
            await pilot.press("n")
            await result(FileView.Found)
        await shows(app, pilot, [*lines(49, 50), ">line 51", *lines(52, 53)])
        assert reversed_text(app, 2) == "line 5"
        for _ in range(2):
            await pilot.press("N")
            await result(FileView.Found)
        await shows(app, pilot, [" line 4", ">line 5", *lines(6, 8)])
        await pilot.press("N")
        message = await result(FileView.Found)
        assert isinstance(message, FileView.Found)
        assert (message.words, message.wrapped) == ("line 5", True)
        await shows(app, pilot, [" line 58", ">line 59", *lines(60, 62)])
        app.view.search("")
        await shows(app, pilot, lines(58, 62, " "))

    drive(script)


def test_next_pressed_three_times_goes_three_matches_on(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log, follow=False)
        await shows(app, pilot, lines(1, 5))
        app.view.search("0")
        for _ in range(3):
            app.view.action_next_match()
        await until(app, pilot, lambda: ">line 40" in app.rows)
        app.view.action_previous_match()
        app.view.action_previous_match()
        await until(app, pilot, lambda: ">line 20" in app.rows)

    drive(script)


def test_a_search_that_finds_nothing_goes_on_following(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log)
        await shows(app, pilot, lines(96, 100))
        app.view.search("nowhere")
        await until(app, pilot, lambda: app.heard)
        assert isinstance(app.heard[0], FileView.NotFound)
        assert app.view.following
        app.view.search("line 98")
        await until(app, pilot, lambda: len(app.heard) == 2)
        append(log, "line 101\n")
        await pilot.pause(0.1)
        assert app.rows == [*lines(96, 97), ">line 98", *lines(99, 100)]
        assert not app.view.following

    drive(script)


def test_a_match_far_to_the_right_comes_into_view(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text("a\n" + "中" * 500 + "needle" + "x" * 500 + "\n")

    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(path, follow=False, mode="data")
        await shows(app, pilot, [" a", " " + "中" * 9])
        app.view.search("needle")
        await until(app, pilot, lambda: "needle" in app.rows[1])
        assert app.rows[1].startswith(">")

    drive(script)


def test_a_long_search_can_be_given_up_and_moved_about_in(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"line\n" * 100)
    os.truncate(path, 16 << 30)  # of which the disk holds next to nothing

    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(path, follow=False)
        await until(app, pilot, lambda: app.view.position)
        app.view.search("nowhere")
        await until(app, pilot, lambda: "looking for nowhere" in app.view.busy)
        await pilot.press("j")
        await until(app, pilot, lambda: "byte 5" in app.view.position)
        assert app.view.busy
        app.view.cancel_search()
        await until(app, pilot, lambda: app.heard)
        (message,) = app.heard
        assert isinstance(message, FileView.NotFound)
        assert message.cancelled
        assert app.view.busy == ""

    drive(script)


def test_the_level_filter(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("plain\n" * 50 + "a WARNING\n" + "plain\n" * 50 + "ERROR b\n  c\n")

    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(path)
        await shows(app, pilot, [" plain", " plain", " plain", "!ERROR b", "!  c"])
        await pilot.press("v")
        await shows(app, pilot, ["*a WARNING", "!ERROR b", "!  c"])
        assert "warnings only" in app.view.position
        append(path, "Traceback (most recent call last):\n")
        rows = ["!ERROR b", "!  c", "!Traceback (most rec"]
        await shows(app, pilot, ["*a WARNING", *rows])
        await pilot.press("v")
        await shows(app, pilot, rows)
        await pilot.press("v")
        await shows(app, pilot, [" plain", " plain", *rows])

    drive(script)


def test_resizing_reads_as_much_as_there_is_room_for(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log)
        await shows(app, pilot, lines(96, 100))
        for width, height in [(30, 9), (7, 3), (1, 1), (1, 5), (8, 1), (20, 120), (20, 5)]:
            await pilot.resize_terminal(width, height)
            shown = max(1, 101 - height)
            rows = [row[:width].rstrip() for row in lines(shown, 100)]
            if width == 1:
                rows = ["l"] * len(rows)
            await shows(app, pilot, rows)

    drive(script)


def test_only_rows_that_changed_are_drawn(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        append(log, "a\na\na\na\nhalf")
        app.view.show(log)
        await shows(app, pilot, [" a"] * 4 + [" half"])
        drawn: list[int] = []
        real = app.view.render_line
        monkeypatch.setattr(app.view, "render_line", lambda y: drawn.append(y) or real(y))
        append(log, " whole")
        await until(app, pilot, lambda: drawn)
        assert drawn == [4]
        drawn.clear()
        append(log, "\na")
        await until(app, pilot, lambda: drawn)
        assert drawn == [3, 4]
        await pilot.pause(0.1)
        assert drawn == [3, 4]

    drive(script)


def test_a_view_that_rests_does_not_look(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log)
        await shows(app, pilot, lines(96, 100))
        app.view.pause()
        append(log, "line 101\n")
        await pilot.pause(0.2)
        assert app.rows == lines(96, 100)
        app.view.resume()
        await shows(app, pilot, lines(97, 101))

    drive(script)


def test_the_thread_ends_with_the_view(log: Path) -> None:
    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(log)
        await shows(app, pilot, lines(96, 100))
        assert "file-view" in [thread.name for thread in threading.enumerate()]
        await app.view.remove()
        for _ in range(200):
            if "file-view" not in [thread.name for thread in threading.enumerate()]:
                return
            await pilot.pause(0.01)
        raise AssertionError("the thread lives on")

    drive(script)


_HOSTILE = [
    "[bold red]x[/] [@click=app.quit]y[/]",
    "\x1b[31mred\x1b[0m \x1b[2J\x1b[H \x9b31m",
    "\x1b]8;;http://evil\x07link\x1b]8;;\x07 \x1b]52;c;aGk=\x07 \x1b]0;title\x07",
    "\u202eabc\u2066def\u061c\u200e",
    "中文 🙂🙂 👍🏽 👨\u200d👩\u200d👧 ❤\ufe0f 🇫🇷 \uffa0\u3164",
    "\u0301\u0301a" + "\u0301\u0488" * 500 + "b\u0301",
    "\u1160" * 300 + "ᄀ" + "\u1161" * 300,
    "\x00\x01\x7f\x85\u2028\u2029\ufeff\U000e0041",
    "\r\r 50%\r100%",
    "x" * 40_000,
    "中\u0301" * 9000,
    "\t\ttabs\t",
]


@pytest.mark.parametrize("mode", ["log", "data"])
@pytest.mark.parametrize("size", [(31, 40), (2, 3), (1, 1)])
def test_hostile_text_changes_nothing_but_its_row(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    path = tmp_path / "evil\x1b[31m[red]"
    path.write_bytes("\n".join(_HOSTILE).encode() + b"\n\xff\xfe\xed\xa0\x80 lone\n\xc3")

    async def script(app: _Viewer, pilot: Pilot[None]) -> None:
        app.view.show(path, follow=False, mode=mode)  # type: ignore[arg-type]
        for wrapping in (False, True):
            app.view.wrapping = wrapping
            app.view.search("a")
            await until(app, pilot, lambda: app.heard)
            app.heard.clear()
            await pilot.press("g")
            for key in ["space", "l", "j", "space", "k", "G", "b", "h"]:
                assert len(app.rows) == size[1]
                await pilot.press(key)
                await pilot.pause(0.02)
        if size[0] > 2:
            app.view.wrapping = False
            app.view.search("red]")
            await until(app, pilot, lambda: app.rows[0].startswith(">[bold red]x[/] [@click=app."))
        path.unlink()
        await until(app, pilot, lambda: app.view.problem)
        assert len(app.rows) == size[1]

    drive(script, size=size)


_ODD = st.text(alphabet="ab 中🙂\u0301\u0488\u1161\u200b", max_size=40) | st.text(max_size=40)


@settings(max_examples=300, deadline=None)
@given(text=_ODD, width=st.integers(1, 9), left=st.integers(0, 30))
def test_rows_are_as_wide_as_they_may_be(text: str, width: int, left: int) -> None:
    text = clean(text)
    tidied = tidy(text)
    assert not tidied or cell_len(tidied[0])
    begins = wrap(tidied, width)
    pieces = [tidied[a:b] for a, b in zip(begins, [*begins[1:], None], strict=True)]
    assert "".join(pieces) == tidied
    assert all(cell_len(piece) <= max(2, width) for piece in pieces)
    assert all(cell_len(piece) > 0 for piece in pieces if tidied)
    begin, end, blank = crop(tidied, left, width)
    assert blank + cell_len(tidied[begin:end]) <= width
    for wrapping in (False, True):
        line = Line(0, 1, text)
        for row in lay_out(line, 9, left=left, wrapping=wrapping, words="a", marked=False):
            assert cell_len(row.text) <= 9
            for first, last in row.matches:
                assert row.text[first:last][0] in "aA"


def test_a_match_is_highlighted_across_rows() -> None:
    line = Line(0, 1, "xxxNeedle\u0301x中needle")
    rows = lay_out(line, 5, left=0, wrapping=True, words="needle", marked=False)
    found = [row.text[a:b] for row in rows for a, b in row.matches]
    assert found == ["Ne", "edle\u0301", "nee", "dle"]
    (row,) = lay_out(line, 5, left=4, wrapping=False, words="needle", marked=False)
    assert [row.text[a:b] for a, b in row.matches] == ["eedle\u0301"]
    (row,) = lay_out(line, 6, left=11, wrapping=False, words="needle", marked=False)
    assert (row.text, row.matches) == (" needl", ((1, 6),))
