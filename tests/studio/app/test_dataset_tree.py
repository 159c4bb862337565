"""Files under `datasets/` as rows: whatever they are called, however many there are."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from gptcore.profile import Profile
from gptcore.workspace import Workspace
from gptstudio.app.widgets import dataset_tree
from gptstudio.app.widgets.dataset_text import Part, detail, file_row, folder_row, note_row
from gptstudio.app.widgets.dataset_tree import DatasetTreeView
from gptstudio.services.counting import CountProblem, Counts
from gptstudio.services.datasets import DatasetFile, DatasetFolder, DatasetTree, scan
from gptstudio.services.mixes import Taker

PROFILE = Profile()
COUNTS = Counts(6000, 12_345, 40, 6000)


class Show(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.chosen: list[str] = []

    def compose(self) -> ComposeResult:
        yield DatasetTreeView()

    def on_dataset_tree_view_chosen(self, message: DatasetTreeView.Chosen) -> None:
        self.chosen.append(message.path if message.entry else f"{message.path}?")

    @property
    def view(self) -> DatasetTreeView:
        return self.query_one(DatasetTreeView)

    def lines(self) -> list[str]:
        strips = self.screen._compositor.render_strips()
        lines = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
        return [line for line in lines if line]

    def line(self, part: str) -> str:
        [found] = [line for line in self.lines() if part in line]
        return found


def in_app(
    test: Callable[[Show, Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 30)
) -> None:
    async def use() -> None:
        app = Show()
        async with app.run_test(size=size) as pilot:
            await test(app, pilot)

    asyncio.run(use())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def put(place: Path, *names: str, text: str = "some text") -> None:
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(place: Path) -> DatasetTree:
    return scan(Workspace(place.parent), PROFILE)


def test_rows_say_what_is_learned_from_and_what_is_wrong(place: Path) -> None:
    put(place, "a.txt", "README.md", "sub/b.jsonl", "sub/c.png")
    (place / "broken.txt").symlink_to(place / "nowhere")

    async def use(app: Show, pilot: Pilot[None]) -> None:
        app.view.show(found(place))
        await pilot.pause()
        assert "5 files" in app.lines()[0]
        assert "● a.txt" in app.line("a.txt")
        assert "○ README.md" in app.line("README.md")
        assert "data.pretrain.exclude: README*" in app.line("README.md")
        assert "data: no stage of this pipeline" in app.line("b.jsonl")
        assert "! broken.txt" in app.line("broken.txt")
        assert "no such file" in app.line("broken.txt")
        app.view.count("a.txt", COUNTS)
        await pilot.pause()
        assert "12.3k lines  40 docs  ≈1.5k tokens" in app.line("a.txt")
        app.view.count("a.txt", Counts(9, 1, 1, 9, (CountProblem("2 NUL bytes", 7),)))
        await pilot.pause()
        assert "! a.txt" in app.line("a.txt")
        assert "2 NUL bytes" in app.line("a.txt")
        app.view.fail("a.txt", "it has ended the worker")
        await pilot.pause()
        assert "it has ended the worker" in app.line("a.txt")

    in_app(use)


def test_names_from_outside_are_neither_markup_nor_control(place: Path) -> None:
    put(place, "[red]x[b].txt", "\x1b[2J\u202e.txt", "日本語\n.txt")
    Path(os.fsdecode(os.fsencode(place) + b"/\xff.txt")).write_text("text")

    async def use(app: Show, pilot: Pilot[None]) -> None:
        app.view.show(found(place))
        for needle in ("", ".txt"):
            app.view.filter(needle)
            await pilot.pause()
            for name in ("[red]x[b].txt", "\\x1b[2J\\u202e.txt", "日本語\\n.txt", "\\xff.txt"):
                assert app.line(name)

    in_app(use)


def test_the_cursor_tells_where_it_is_and_stays_there(place: Path) -> None:
    put(place, "sub/b.txt", "sub/c.txt", "z.txt")

    async def use(app: Show, pilot: Pilot[None]) -> None:
        view = app.view
        view.show(found(place))
        await pilot.pause()
        view.choose("sub/c.txt")
        await pilot.pause()
        assert app.chosen[-1] == view.chosen == "sub/c.txt"
        before = len(app.chosen)
        put(place, "sub/a.txt")
        view.show(found(place))
        await pilot.pause()
        assert view.chosen == "sub/c.txt"
        assert len(app.chosen) == before, "it has not moved"
        put(place, "sub/c.txt", text="more text")
        view.show(found(place))
        (place / "sub/c.txt").unlink()
        view.show(found(place))
        await pilot.pause()
        assert view.chosen == "z.txt"
        assert view.detail()[:2] == ["z.txt", view.detail()[1]]

    in_app(use)


def test_folders_open_and_close_and_stay_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_tree, "FEW_FILES", 0)
    put(place, "a/b/c.txt", "a/d.txt", "e.txt")

    async def use(app: Show, pilot: Pilot[None]) -> None:
        view = app.view
        view.show(found(place))
        await pilot.pause()
        assert len(app.lines()) == 3
        view.choose("a")
        view.action_open()
        await pilot.pause()
        assert len(app.lines()) == 5
        view.action_open()
        assert view.chosen == "a/b"
        view.action_select()
        await pilot.pause()
        assert app.line("c.txt")
        view.show(found(place))
        await pilot.pause()
        assert app.line("c.txt")
        view.choose("a/b/c.txt")
        view.action_close()
        assert view.chosen == "a/b"
        view.action_close()
        await pilot.pause()
        assert len(app.lines()) == 5
        view.action_last()
        await pilot.pause()
        assert view.chosen == "e.txt"
        view.action_first()
        await pilot.pause()
        assert view.chosen == ""
        assert app.chosen[-2:] == ["e.txt", ""]

    in_app(use)


def test_a_filter_lists_what_fits_wherever_it_is(place: Path) -> None:
    put(place, "books/One.txt", "books/deep/two.txt", "three.txt")

    async def use(app: Show, pilot: Pilot[None]) -> None:
        view = app.view
        view.show(found(place))
        view.filter("OO")
        await pilot.pause()
        assert [line.split()[2] for line in app.lines()[1:]] == [
            "books/One.txt",
            "books/deep/two.txt",
        ]
        assert view.chosen == "books/One.txt"
        view.count("books/deep/two.txt", COUNTS)
        await pilot.pause()
        assert "40 docs" in app.line("two.txt")
        view.filter("[/]")
        await pilot.pause()
        assert "no file is called '[/]'" in app.lines()[1]
        view.filter("")
        await pilot.pause()
        assert app.line("three.txt")
        assert "40 docs" in app.line("two.txt")

    in_app(use)


def test_what_is_too_much_is_counted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_tree, "MAX_ROWS", 5)
    put(place, *[f"{number:02}.txt" for number in range(12)])

    async def use(app: Show, pilot: Pilot[None]) -> None:
        app.view.show(scan(Workspace(place.parent), PROFILE, max_entries=10))
        await pilot.pause()
        assert len(app.lines()) == 8
        assert "and 5 more; / narrows" in app.lines()[6]
        assert "left out: all but 10 entries" in app.lines()[7]
        app.view.action_last()
        await pilot.pause()
        assert app.chosen[-1] == "?", "a remark is no file"
        assert app.view.detail() == []
        app.view.show(found(place))
        app.view.filter("0")
        await pilot.pause()
        assert "and 6 more" in app.lines()[-1]
        app.view.filter("11")
        await pilot.pause()
        assert len(app.lines()) == 2

    in_app(use)


def test_nothing_there_says_what_helps(tmp_path: Path) -> None:
    async def use(app: Show, pilot: Pilot[None]) -> None:
        app.view.show(scan(Workspace(tmp_path), PROFILE))
        await pilot.pause()
        assert "does not exist" in app.lines()[1]
        assert "gptstudio init" in app.lines()[2]
        (tmp_path / "datasets").mkdir()
        app.view.show(scan(Workspace(tmp_path), PROFILE))
        await pilot.pause()
        assert "nothing in" in app.lines()[1]
        await pilot.press("down", "down", "down", "enter", "up")

    in_app(use, (120, 30))


def test_folders_without_end_do_no_harm(place: Path) -> None:
    deep = "/".join("d" * 500)
    os.makedirs(place / deep)  # noqa: PTH103
    put(place / deep, "x.txt")

    async def use(app: Show, pilot: Pilot[None]) -> None:
        app.view.show(found(place))
        await pilot.pause()
        app.view.action_last()
        await pilot.pause()
        app.view.filter("x.txt")
        await pilot.pause()
        assert "d/d/d" in app.lines()[1]

    in_app(use, (60, 20))


def test_twenty_thousand_files_hold_nothing_up(tmp_path: Path) -> None:
    taken = (Taker("pretrain", "pretrain"),)
    files = [DatasetFile(f"file-{n:05}.txt", 1, 1, "text", taken) for n in range(20_000)]
    root = DatasetFolder("", files=files, num_files=20_000, num_in_mix=20_000)
    tree = DatasetTree(tmp_path, {"": root}, tuple(files))

    async def use(app: Show, pilot: Pilot[None]) -> None:
        slow = {}

        def least(what: str, do: Callable[[int], object]) -> None:
            took = []
            for number in range(4):
                start = time.perf_counter()
                do(number)
                _ = app.view.last_line  # lays the rows out
                took.append(time.perf_counter() - start)
            slow[what] = min(took)

        least("show", lambda number: app.view.show(tree))
        least("filter", lambda number: app.view.filter(str(number)))
        app.view.filter("")
        some = files[:2000]  # as many as a worker sends in half a second
        least("count", lambda number: [app.view.count(file.path, COUNTS) for file in some])
        assert max(slow.values()) < 0.05, slow

    in_app(use)


# --- rows of any width ---------------------------------------------------------------------------

hostile = st.text(st.sampled_from("ab/[]日本\u0301\x1b\n\u202e\ud800\U0001f600"), max_size=30)
problems = st.lists(st.builds(CountProblem, hostile.map(ascii)), max_size=3).map(tuple)
forms = st.sampled_from([(), (("tools", 3),), (("preference", 7), ("prompt", 1))])
counts = st.none() | st.builds(
    Counts, *[st.integers(0, 2**40)] * 4, problems, *[st.integers(0, 2**40)] * 2, forms
)
takers = st.sampled_from(
    [(), (Taker("pretrain", "pretrain"),), (Taker("finetune", "finetune"), Taker("eval", "eval"))]
)
dataset_files = st.builds(
    DatasetFile, hostile, st.integers(0, 2**50), st.integers(0, 2**60),
    st.sampled_from(["text", "data", "ignored"]), takers, hostile, st.booleans(),
)  # fmt: skip
folders = st.builds(
    DatasetFolder, hostile, st.just([]), st.just([]), hostile, st.booleans(),
    *[st.integers(0, 2**50)] * 4,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    file=dataset_files,
    folder=folders,
    known=counts,
    failure=hostile,
    name=hostile,
    width=st.integers(0, 200),
    indent=st.integers(0, 100),
)
def test_no_row_is_wider_than_its_place(
    file: DatasetFile,
    folder: DatasetFolder,
    known: Counts | None,
    failure: str,
    name: str,
    width: int,
    indent: int,
) -> None:
    rows: list[list[Part]] = [
        file_row(file, known, failure, name=name, width=width, indent=indent, bytes_per_token=4.2),
        folder_row(folder, "▶ ", name=name, width=width, indent=indent, bytes_per_token=4.2),
        note_row(name, width=width, indent=indent),
    ]
    for row in rows:
        text = "".join(part for part, _ in row)
        assert cell_len(text) <= max(0, width - indent)
        assert text.isprintable()
    for entry in (file, folder):
        assert all(line.isprintable() for line in detail(entry, known, failure, 4.2))
