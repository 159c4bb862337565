"""Text from outside that is made to harm: nowhere obeyed, nowhere breaking a frame."""

import os
import shutil
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from textual.containers import Vertical
from textual.geometry import Region
from textual.widget import Widget

from gptcore import events
from gptcore.control import take
from gptcore.journal import JournalWriter
from gptcore.workspace import RunPaths, Workspace
from gptstudio.app.dialogs.base import Dialog
from gptstudio.app.screens.base import StudioScreen
from gptstudio.app.studio import Studio
from gptstudio.app.widgets.bars import SCREENS
from gptstudio.app.widgets.pane import Pane
from tests.studio.app.frames import cells, painted
from tests.studio.app.records import add_rewards, alive, fix_machine, record
from tests.studio.app.screens import StudioPilot, drive, shown, until

MODES = [mode for mode, _ in SCREENS]
SIZES = ((80, 24), (120, 40))
HOSTILE = {
    "markup": "[bold red]x[/]",
    "link": "[@click=app.quit]x[/]",
    "torn markup": "[/nope] [[ \\[ [",
    "ansi": "\x1b[31mred\x1b[2J\x1b[H",
    "osc 52": "\x1b]52;c;ZXZpbA==\x07",
    "osc 8": "\x1b]8;;http:x\x1b\\x\x1b]8;;\x1b\\",
    "osc 0": "\x1b]0;owned\x07",
    "c1": "\x9b31m\x9d0;x\x9c",
    "bidi": "a\u202eb\u2066c\u2069\u200fd",
    "wide": "中文テスト🙂" * 4,
    "stack": "e" + "\u0301" * 100,
    "marks first": "\u0301\u0301abc",
    "joined": "👩\u200d👩\u200d👧 a\u200db\u200bc\ufeff",
    "variations": "❤\ufe0f☎\ufe0f👍🏽",
    "flags": "🇩🇪🇫🇷🇩",
    "newlines": "a\nb\r\nc\td\x0b\x0c",
    "separators": "a\u2028b\u2029c\x85d",
    "long": "word " * 40,
}
#: What no file's name can hold, or no JSON.
BYTES = {"nul": "a\0b", "not utf-8": "a\udcff\udc80b", "huge": "x" * 3000, "tall": "a\n" * 50}

by_size = pytest.mark.parametrize("size", SIZES, ids=str)


@pytest.fixture(autouse=True)
def the_same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_machine(monkeypatch)


def check(studio: Studio, what: str, *, is_framed: bool = True) -> None:
    """No control character anywhere, no link, and every frame where it should be."""
    width, height = studio.size
    rows = painted(studio)
    assert len(rows) == height
    for text in (*rows, *shown(studio).splitlines()):
        odd = [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or is_bidi(c)]
        assert not odd, f"{what}: {odd!r} in {text!r}"
        assert_low(text, what)
    for row in rows:
        assert cells(row) == width, f"{what}: {cells(row)} cells instead of {width} in {row!r}"
    for region in frames(studio) if is_framed else ():
        assert_frame(rows, region, what)
    for strip in studio.screen._compositor.render_strips():
        for segment in strip:
            assert "quit" not in str(segment.style and segment.style.meta), what


def is_bidi(character: str) -> bool:
    return character in "\u061c\u200e\u200f" or 0x202A <= ord(character) <= 0x202E


def assert_low(text: str, what: str) -> None:
    """A stack of marks must not grow over the rows above: some suffice for any script."""
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        assert marks <= 8, f"{what}: a stack of marks in {text!r:.80}"


def frames(studio: Studio) -> list[Region]:
    """Where the frames of the panes, or of the dialog, stand."""
    screen = studio.screen
    if isinstance(screen, Dialog):
        return [screen.query_one(Vertical).region]
    if isinstance(screen, StudioScreen):
        whole = [pane for pane in screen.query(Pane) if pane.display and is_whole(pane)]
        return [pane.region for pane in whole if pane.region]
    return []


def is_whole(pane: Pane) -> bool:
    """Whether it is not scrolled out of sight, be it in part."""
    assert isinstance(pane.parent, Widget)
    return pane.parent.region.contains_region(pane.region)


def assert_frame(rows: list[str], region: Region, what: str) -> None:
    for y in range(region.y, region.bottom):
        top, bottom = y == region.y, y == region.bottom - 1
        left, right = "╭╮" if top else "╰╯" if bottom else "││"
        for x, wanted in ((region.x, left), (region.right - 1, right)):
            found = character_at(rows[y], x)
            assert found == wanted, f"{what}: {found!r} for {wanted!r} in row {y}: {rows[y]!r}"


def character_at(row: str, column: int) -> str:
    at = 0
    for character in row:
        size = cells(character)
        if at == column and size:
            return character
        at += size
    return ""


async def look_everywhere(studio: Studio, pilot: StudioPilot, what: str) -> None:
    """Every screen, and the panes that are hidden where one is shown at a time."""
    for mode in MODES:
        studio.action_open(mode)
        await pilot.pause()
        screen = studio.screen
        assert isinstance(screen, StudioScreen)
        for _ in screen.panes if screen.alone else range(1):
            await pilot.press("tab")
            await pilot.pause(0.02)
            check(studio, f"{what} on {mode}")
    studio.action_open("train")
    await pilot.pause()
    assert studio.is_running
    assert studio.clipboard == ""


@by_size
def test_names_of_files_and_folders(workspace: Workspace, size: tuple[int, int]) -> None:
    for what, text in (HOSTILE | {"not utf-8": BYTES["not utf-8"]}).items():
        name = os.fsdecode(os.fsencode(text.replace("/", "|"))[:200].decode(errors="ignore"))
        (workspace.datasets / f"{name}.txt").write_text("some text\n")
        if what in ("markup", "ansi", "newlines", "joined", "variations"):
            (workspace.datasets / f"{name}.d").mkdir()
            (workspace.datasets / f"{name}.d/in.md").write_text("some text\n")
    names = len(list(workspace.datasets.rglob("*")))

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: studio.state.datasets and studio.state.profile)
        await look_everywhere(studio, pilot, "names")
        studio.action_open("data")
        await pilot.pause()
        for _ in range(names):
            check(studio, "names in the tree")
            await pilot.press("j")
            await pilot.pause(0.15)  # the file under the cursor is read
        studio.action_open("train")
        await pilot.pause()
        datasets = studio.screen.query_one("#datasets")
        datasets.focus()
        await pilot.pause()
        await pilot.press("y")
        await until(pilot, lambda: studio.clipboard)

    drive(workspace, script, size=size)


@by_size
def test_what_is_in_a_file_of_data_and_in_a_log(
    workspace: Workspace, size: tuple[int, int]
) -> None:
    lines = "\n".join([*HOSTILE.values(), *BYTES.values()])
    raw = lines.encode("utf-8", "surrogateescape") + bytes(range(256))
    run = record(workspace, "r-1")
    run.log.write_bytes(raw)
    (workspace.datasets / "a.txt").write_bytes(raw)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "r-1" in studio.state.metrics)
        await look_everywhere(studio, pilot, "content")
        for mode in ("logs", "data"):
            studio.action_open(mode)
            await pilot.pause()
            keys = ("j", "tab") if mode == "data" else ("g",)
            await pilot.press(*keys)
            await pilot.pause(0.3)
            for key in ("w", "g", "l", "pagedown", "pagedown", "w", "G", "pageup"):
                await pilot.press(key)
                await pilot.pause(0.05)
                check(studio, f"content, {key} on {mode}")

    drive(workspace, script, size=size)


def hostile_run(workspace: Workspace, number: int, text: str) -> RunPaths:
    """A run whose every field but its name is that text."""
    failure = events.Failure(text, text, text, text)
    return record(
        workspace,
        f"r-{number}",
        "failed",
        days=number + 1,
        steps=40,
        stage=text,
        stages=[text],
        message=text,
        device=text,
        outputs={text: text},
        error=failure,
    )


@by_size
def test_fields_of_a_status(workspace: Workspace, size: tuple[int, int]) -> None:
    texts = list((HOSTILE | {"nul": BYTES["nul"], "huge": BYTES["huge"]}).items())
    for number, (_, text) in enumerate(texts):
        hostile_run(workspace, number, text)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        for number, (what, _) in enumerate(texts):
            studio.choose_run(f"r-{number}")
            await until(pilot, lambda number=number: f"r-{number}" in studio.state.metrics)
            await pilot.pause()
            check(studio, what)
            await pilot.press("R")
            await until(pilot, lambda: studio.screen.is_modal)
            await pilot.pause()
            check(studio, f"{what}, resume")
            await pilot.press("escape")
            await pilot.pause()
        await look_everywhere(studio, pilot, "fields of a status")

    drive(workspace, script, size=size)


@by_size
def test_names_of_runs(workspace: Workspace, size: tuple[int, int]) -> None:
    names = [text.replace("/", "|") for text in HOSTILE.values()]
    names = [name.encode()[:200].decode(errors="ignore") for name in names]
    for number, name in enumerate(names):
        record(workspace, name, days=number + 1, steps=40)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        for name in names:
            studio.choose_run(name)
            await until(pilot, lambda name=name: name in studio.state.metrics)
            await pilot.pause()
            check(studio, f"run {name!r}")
        for mode in ("monitor", "logs", "train"):
            studio.action_open(mode)
            await pilot.pause()
            for name in names:
                studio.choose_run(name)
                await pilot.pause(0.05)
                check(studio, f"run {name!r} on {mode}")
        studio.action_open("monitor")
        await pilot.pause()
        await pilot.press("o")
        await until(pilot, lambda: studio.screen.is_modal)
        for _ in names:
            await pilot.press("j")
            check(studio, "the list of runs to draw over")
        await pilot.press("enter")
        await until(pilot, lambda: studio.state.overlay)
        await pilot.pause(0.1)
        check(studio, "a run drawn over another")

    drive(workspace, script, size=size)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "a\0b", "", "a/b", "nobody"], ids=ascii)
def test_a_status_that_names_another_run_than_its_folder(workspace: Workspace, name: str) -> None:
    record(workspace, "r-1", days=3)
    record(workspace, "r-2", days=1, run=name)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await pilot.pause(0.3)
        await look_everywhere(studio, pilot, f"a status that says it is of {name!r}")
        assert "root:" not in shown(studio)
        studio.choose_run("r-1")
        await until(pilot, lambda: "r-1" in studio.state.metrics)

    drive(workspace, script)


def test_a_run_whose_record_was_copied_does_not_take_the_studio_down(workspace: Workspace) -> None:
    run = record(workspace, "r-1")
    shutil.copytree(run.folder, workspace.logs / "r-1-kept")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: studio.state.chosen in studio.state.metrics)
        assert {each.run for each in studio.state.runs} == {"r-1", "r-1-kept"}
        await look_everywhere(studio, pilot, "a copied record")
        record(workspace, "r-1", "failed")
        await until(pilot, lambda: any(each.state == "failed" for each in studio.state.runs))
        await look_everywhere(studio, pilot, "a copied record")

    drive(workspace, script)


@by_size
def test_the_description_of_a_profile(workspace: Workspace, size: tuple[int, int]) -> None:
    good = (workspace.profiles / "tiny.toml").read_text().partition("\n")[2]
    for number, text in enumerate(HOSTILE.values()):
        escaped = "".join(f"\\U{ord(character):08x}" for character in text)
        written = f'description = "{escaped}"\n{good}'
        (workspace.profiles / f"p{number:02}.toml").write_text(written)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        for number, what in enumerate(HOSTILE):
            name = f"p{number:02}"
            studio.sources.show_profile(name)
            await until(pilot, lambda name=name: is_read(studio, name))
            for key in ("s", "d"):
                await pilot.press(key)
                await until(pilot, lambda: studio.screen.is_modal)
                await until(pilot, lambda: "looking at data" not in shown(studio))
                await pilot.pause()
                check(studio, f"{what}, {key}")
                await pilot.press("escape")
                await until(pilot, lambda: not studio.screen.is_modal)

    drive(workspace, script, size=size)


@by_size
def test_names_of_profiles_and_broken_ones(workspace: Workspace, size: tuple[int, int]) -> None:
    good = (workspace.profiles / "tiny.toml").read_text().partition("\n")[2]
    for text in HOSTILE.values():
        name = text.replace("/", "|").encode()[:150].decode(errors="ignore")
        (workspace.profiles / f"{name}.toml").write_text(good)
    broken = "n_layers = [\x1b[31m\u202e[bold]"
    (workspace.profiles / "broken.toml").write_text(good.replace("n_layers = 2", broken))

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        for path in sorted(workspace.profiles.glob("*.toml")):
            studio.sources.show_profile(path.stem)
            await until(pilot, lambda path=path: is_read(studio, path.stem))
            await pilot.pause()
            check(studio, f"profile {path.stem!r}")
        studio.screen.query_one("#stages").focus()
        await pilot.pause()
        await pilot.press("g", "enter")
        await until(pilot, lambda: studio.screen.is_modal)
        for _ in range(12):
            await pilot.press("j")
            check(studio, "the list of profiles")

    drive(workspace, script, size=size)


def is_read(studio: Studio, profile: str) -> bool:
    return studio.state.profile is not None and studio.state.profile.name == profile


@by_size
@pytest.mark.parametrize("what", ["markup", "link", "ansi", "bidi", "joined", "stack", "newlines"])
def test_the_path_of_the_workspace(workspace: Workspace, what: str, size: tuple[int, int]) -> None:
    root = workspace.root.parent / HOSTILE[what].replace("/", "|")
    workspace.root.rename(root)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: studio.state.datasets and studio.state.profile)
        await look_everywhere(studio, pilot, what)
        shutil.rmtree(root / "datasets")
        await until(
            pilot, lambda: studio.state.datasets and studio.state.datasets.problem, timeout=20
        )
        await look_everywhere(studio, pilot, what)

    drive(Workspace(Path(root)), script, size=size)
    root.rename(workspace.root)


@by_size
def test_names_of_rewards(workspace: Workspace, size: tuple[int, int]) -> None:
    names = [*HOSTILE.values(), BYTES["nul"], BYTES["huge"], *map(str, range(200))]
    for number, at in enumerate(range(0, 24, 8)):
        run = record(workspace, f"r-{number}", "failed", days=number + 1)
        add_rewards(run, "rgpo", steps=40, names=names[at:])

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.action_open("monitor")
        for number in range(3):
            studio.choose_run(f"r-{number}")
            await until(pilot, lambda number=number: f"r-{number}" in studio.state.metrics)
            await pilot.pause(0.1)
            screen = studio.screen
            assert isinstance(screen, StudioScreen)
            by_name = next(pane for pane in screen.panes if pane.id == "parts-pane")
            screen.go_to(by_name)
            await pilot.pause(0.1)
            assert "first 8" in str(by_name.border_title)
            check(studio, f"rewards from {number * 8}")
        await look_everywhere(studio, pilot, "names of rewards")

    drive(workspace, script, size=size)


@contextmanager
def answering(run: RunPaths, message: str) -> Iterator[None]:
    """A run that answers every command with the same words."""
    ended = threading.Event()

    def answer() -> None:
        journal = JournalWriter(run.events)
        while not ended.wait(0.02):
            for command in take(run):
                said = events.Answer(command.id, command.name, "done", message)
                journal.append(events.encode(said, time=1.7e9, run=run.name))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with alive(run):
        yield
    ended.set()
    thread.join()


@by_size
def test_answers_of_a_run(workspace: Workspace, size: tuple[int, int]) -> None:
    run = record(workspace, "r-1", "running", steps=40)
    said = " ".join(text for what, text in HOSTILE.items() if what != "long")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: studio.state.status and studio.state.status.state == "running")
        await pilot.press("m")
        await until(pilot, lambda: "[bold red]x[/]" in shown(studio))
        await pilot.pause()
        check(studio, "an answer", is_framed=False)  # a toast lies over the frames

    with answering(run, said):
        drive(workspace, script, size=size)


def test_words_that_are_looked_for(workspace: Workspace) -> None:
    record(workspace, "r-1")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "r-1" in studio.state.metrics)
        for mode in ("train", "data", "logs"):
            studio.action_open(mode)
            await pilot.pause()
            await pilot.press("slash", *"[bold]x[/] [", "enter")
            await pilot.pause(0.3)
            check(studio, f"words on {mode}")
            await pilot.press("escape")

    drive(workspace, script)
