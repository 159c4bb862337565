"""The screens by key: sizes, panes, filter, search, copy, palette, curves, data, profiles."""

import random
import re
import time
from collections.abc import Awaitable, Callable

import pytest
from textual.color import Color
from textual.theme import Theme
from textual.widgets import Input

from gptcore.digests import file_digest
from gptcore.lineage import DataFile, Lineage, write_lineage
from gptcore.workspace import Workspace
from gptstudio.app.environment import first_environment, prepare_textual, wants_ascii
from gptstudio.app.screens.base import SMALLEST, StudioScreen
from gptstudio.app.studio import Studio
from gptstudio.app.themes import DARK, LIGHT
from gptstudio.app.widgets.bars import SCREENS
from gptstudio.app.widgets.file_view import FileView
from gptstudio.app.widgets.rows import Rows
from tests.studio.app.frames import cells, colours, painted
from tests.studio.app.records import MEMORY_RAN_OUT, fix_machine, loss_at, record
from tests.studio.app.screens import StudioPilot, drive, shown, until

MODES = [mode for mode, _ in SCREENS]
LOG = [f"line {n}" + (" with a needle" if n in (50, 150, 250) else "") for n in range(300)]


@pytest.fixture(autouse=True)
def two_runs(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one failed; both have curves and logs of their own. The machine never changes."""
    fix_machine(monkeypatch)
    record(workspace, "old-1", height=8.0, days=5.1, log=LOG, profile="tiny")
    record(
        workspace, "new-2", "failed", steps=120, error=MEMORY_RAN_OUT, log=["news"], profile="tiny"
    )


def ours(studio: Studio) -> StudioScreen:
    screen = studio.screen
    assert isinstance(screen, StudioScreen)
    return screen


async def loaded(studio: Studio, pilot: StudioPilot) -> None:
    """Everything that Train shows is there."""
    state = studio.state
    await until(pilot, lambda: state.profile and state.datasets and state.hardware)
    await until(pilot, lambda: state.chosen in state.metrics)


async def open_mode(studio: Studio, pilot: StudioPilot, mode: str) -> StudioScreen:
    """The screen, once it stands."""
    studio.action_open(mode)
    await until(pilot, lambda: mode == ours(studio).MODE and ours(studio).is_mounted)
    await pilot.pause()
    return ours(studio)


async def focus_pane(studio: Studio, pilot: StudioPilot, name: str) -> None:
    """Tab to the pane of that name."""
    screen = ours(studio)
    for _ in screen.panes:
        if screen.pane.name_of_pane == name and studio.focused is screen.pane.target:
            return
        await pilot.press("tab")
    assert screen.pane.name_of_pane == name


# --- sizes ---------------------------------------------------------------------------------------


async def check_size(studio: Studio, pilot: StudioPilot, size: tuple[int, int]) -> None:
    """Each screen fills the terminal and no more, or says that it is too small."""
    width, height = size
    for mode in MODES:
        studio.action_open(mode)
        await pilot.pause()
        rows = painted(studio)
        assert [cells(row) for row in rows] == [width] * height, mode
        said = f"{width}x{height} is too"
        assert (said in shown(studio)) == (width < SMALLEST[0] or height < SMALLEST[1])


@pytest.mark.parametrize(
    "size", [(20, 5), (59, 16), (60, 15), (60, 16), (99, 30), (100, 30), (160, 50)], ids=str
)
def test_it_opens_in_any_size(workspace: Workspace, size: tuple[int, int]) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await check_size(studio, pilot, size)

    drive(workspace, script, size=size)


def test_it_is_resized_to_any_size(workspace: Workspace) -> None:
    generator = random.Random(0)
    sizes = [(generator.randint(20, 160), generator.randint(5, 50)) for _ in range(14)]

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        for size in [*sizes, (20, 5), (160, 50), (60, 16)]:
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: studio.screen.size == size)
            await check_size(studio, pilot, size)

    drive(workspace, script)


def test_below_the_least_size_it_says_so_and_quits(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        text = shown(studio)
        assert "59x15 is too small: 60x16 at least." in text
        assert "ctrl+q quits; runs go on." in text
        assert "Datasets" not in text
        await pilot.press("ctrl+q")
        await until(pilot, lambda: studio.return_code is not None)

    drive(workspace, script, size=(59, 15))


@pytest.mark.parametrize("name", ["Stages", "Runs", "Log"])
def test_resizing_keeps_the_focus(workspace: Workspace, name: str) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, name)
        focused = studio.focused
        for size in ((80, 24), (50, 10), (80, 24), (160, 50), (60, 16), (120, 40)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda size=size: studio.screen.size == size)
            await pilot.pause()
            assert studio.focused is focused or size == (50, 10), size
            assert ours(studio).pane.name_of_pane == name, size

    drive(workspace, script)


# --- panes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
def test_it_opens_on_the_newest_run_with_one_pane_in_use(
    workspace: Workspace, size: tuple[int, int]
) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await pilot.pause(0.2)
        pane = ours(studio).pane
        assert pane.name_of_pane == ("Loss" if size[0] < 100 else "Runs")
        assert studio.focused is pane.target
        assert studio.state.chosen == "new-2"
        assert any("\u2801" <= character <= "\u28ff" for character in shown(studio))

    drive(workspace, script, size=size)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
def test_tab_reaches_every_pane_of_every_screen(
    workspace: Workspace, size: tuple[int, int]
) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        for mode in MODES:
            screen = await open_mode(studio, pilot, mode)
            await pilot.pause()
            for key in ("tab", "shift+tab"):
                reached = []
                for _ in screen.panes:
                    await pilot.press(key)
                    await pilot.pause()
                    assert studio.focused is screen.pane.target, mode
                    assert f" {screen.pane.name_of_pane} " in shown(studio)
                    reached.append(screen.pane)
                assert set(reached) == set(screen.panes), mode

    drive(workspace, script, size=size)


@pytest.mark.parametrize("mode", MODES)
def test_z_shows_a_pane_alone_and_all_again(workspace: Workspace, mode: str) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        screen = await open_mode(studio, pilot, mode)
        for pane in screen.panes:
            for key in ("z", "escape"):
                await pilot.press("z")
                await pilot.pause()
                assert [each for each in screen.panes if each.display] == [screen.pane]
                assert screen.pane.size.width > 100
                await pilot.press(key)
                await pilot.pause()
                assert all(each.display for each in screen.panes)
                assert studio.current_mode == mode
            await pilot.press("tab")
            await pilot.pause()
            assert screen.pane is not pane or len(screen.panes) == 1

    drive(workspace, script)


@pytest.mark.parametrize("pane", ["Stages", "Datasets"])
def test_rows_use_the_width_there_is_where_one_pane_is_shown(
    workspace: Workspace, pane: str
) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await until(pilot, lambda: studio.state.stages)
        await focus_pane(studio, pilot, pane)
        wanted = {"Stages": ("profile tiny", "BPE tokenizer"), "Datasets": ("a_long_name.txt",)}
        for words in wanted[pane]:
            await until(pilot, lambda words=words: words in shown(studio), timeout=3)

    (workspace.datasets / "a_folder_with").mkdir()
    (workspace.datasets / "a_folder_with/a_long_name.txt").write_text("x")
    drive(workspace, script, size=(80, 24))


def test_the_list_of_panes_always_shows_the_one_that_is_shown(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        for mode in ("train", "monitor"):
            screen = await open_mode(studio, pilot, mode)
            for _ in screen.panes:
                await pilot.press("tab")
                await pilot.pause()
                assert f"[{screen.pane.name_of_pane}]" in shown(studio).splitlines()[1]

    drive(workspace, script, size=(80, 24))


def test_screens_by_number_and_by_bracket(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        for number, mode in enumerate(MODES, 1):
            await pilot.press(str(number))
            await until(pilot, lambda mode=mode: studio.current_mode == mode)
        for key, order in (("]", MODES), ("[", MODES[::-1][1:] + MODES[-1:])):
            for mode in order:
                await pilot.press(key)
                await until(pilot, lambda mode=mode: studio.current_mode == mode)
        await pilot.press("escape")
        await until(pilot, lambda: studio.current_mode == "train")

    drive(workspace, script)


# --- filter, search, copy ------------------------------------------------------------------------


def test_the_filter_narrows_a_list_and_escape_restores_it(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Runs")
        runs = studio.screen.query_one("#runs", Rows)
        assert runs.option_count == 2
        await pilot.press("slash", *"OLD")
        await until(pilot, lambda: runs.option_count == 1 and "/OLD" in shown(studio))
        await pilot.press("enter")  # into the narrowed list
        await until(pilot, lambda: studio.focused is runs)
        assert runs.chosen == "old-1"
        assert runs.option_count == 1
        await pilot.press("escape")
        await until(pilot, lambda: runs.option_count == 2)
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: "nothing here holds 'zzz'" in shown(studio))
        await pilot.press("escape")
        await until(pilot, lambda: runs.option_count == 2 and studio.focused is runs)
        assert not any(line.display for line in studio.screen.query(Input))

    drive(workspace, script)


def test_a_list_without_matches_survives_every_key(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Runs")
        await pilot.press("slash", *"zzz", "enter")
        await until(pilot, lambda: studio.focused is studio.screen.query_one("#runs"))
        await pilot.press("j", "k", "g", "G", "pagedown", "pageup", "y", "n", "enter")
        await pilot.pause()
        assert studio.current_mode == "train"
        assert "nothing here holds 'zzz'" in shown(studio)

    drive(workspace, script)


def test_the_filter_of_data_narrows_the_tree(workspace: Workspace) -> None:
    (workspace.datasets / "deep/er").mkdir(parents=True)
    (workspace.datasets / "deep/er/notes.md").write_text("x")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await open_mode(studio, pilot, "data")
        await until(pilot, lambda: "notes.md" in shown(studio) and "a.txt" in shown(studio))
        await pilot.press("slash", *"note")
        await until(pilot, lambda: "a.txt" not in shown(studio))
        assert "deep/er/notes.md" in shown(studio)
        await pilot.press("escape")
        await until(pilot, lambda: "a.txt" in shown(studio))

    drive(workspace, script)


def test_search_goes_from_match_to_match_in_logs(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Runs")
        await pilot.press("j")
        await until(pilot, lambda: studio.state.chosen == "old-1")
        await open_mode(studio, pilot, "logs")
        await until(pilot, lambda: "line 299" in shown(studio))
        await pilot.press("g")
        await until(pilot, lambda: "line 0" in shown(studio))
        await pilot.press("slash", *"needle", "enter")
        await until(pilot, lambda: "line 50 with a needle" in shown(studio))
        for key, line in (("n", 150), ("n", 250), ("N", 150), ("N", 50)):
            await pilot.press(key)
            await until(pilot, lambda line=line: f">line {line} with" in shown(studio))
        await pilot.press("y")
        await until(pilot, lambda: "copied: line 50 with a needle" in shown(studio))
        assert studio.clipboard == "line 50 with a needle"
        await pilot.press("slash", *"absent", "enter")
        await until(pilot, lambda: "'absent' not found" in shown(studio))

    drive(workspace, script)


@pytest.mark.parametrize(
    ("pane", "copied"), [("Runs", "new-2"), ("Datasets", "a.txt"), ("Stages", "tiny")]
)
def test_y_copies_what_the_cursor_is_on(workspace: Workspace, pane: str, copied: str) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, pane)
        await pilot.press("y")
        await until(pilot, lambda: studio.clipboard)
        assert studio.clipboard == copied
        await until(pilot, lambda: f"copied: {copied}" in shown(studio))

    drive(workspace, script)


def test_y_copies_a_path_from_the_tree_of_data(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await open_mode(studio, pilot, "data")
        await until(pilot, lambda: "a.txt" in shown(studio))
        await pilot.press("G", "y")
        await until(pilot, lambda: studio.clipboard == "a.txt", timeout=3)

    drive(workspace, script)


# --- palette, themes, plain terminals ------------------------------------------------------------


@pytest.mark.parametrize("key", ["colon", "ctrl+p"])
def test_the_palette_lists_commands_and_runs_one(workspace: Workspace, key: str) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await pilot.press(key)
        await until(pilot, lambda: "Go to Chat" in shown(studio))
        await pilot.press(*"monitor")
        await until(pilot, lambda: "Go to Chat" not in shown(studio))
        await until(pilot, lambda: "Go to Monitor" in shown(studio))
        await pilot.press("enter")
        await until(pilot, lambda: studio.current_mode == "monitor")

    drive(workspace, script)


def test_the_palette_does_what_a_key_of_the_focused_list_does(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Runs")
        runs = studio.screen.query_one("#runs", Rows)
        assert runs.chosen == "new-2"
        await pilot.press("colon")
        await until(pilot, lambda: "Go to Chat" in shown(studio))
        await pilot.press(*"last")
        await until(pilot, lambda: "Go to Chat" not in shown(studio))
        await until(pilot, lambda: "To the last line" in shown(studio))
        await pilot.press("enter")
        await until(pilot, lambda: runs.chosen == "old-1")

    drive(workspace, script)


def test_light_theme_from_the_palette_and_back(workspace: Workspace) -> None:
    async def turn(studio: Studio, pilot: StudioPilot, theme: str) -> None:
        await pilot.press("colon")
        await until(pilot, lambda: "Go to Chat" in shown(studio))
        await pilot.press(*"theme")
        await until(pilot, lambda: "Dark or light" in shown(studio))
        await pilot.press("enter")
        await until(pilot, lambda: studio.theme == theme)
        await until(pilot, lambda: studio.screen is ours(studio))

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        assert background(DARK) in colours(studio)
        await turn(studio, pilot, LIGHT.name)
        for mode in MODES:
            await open_mode(studio, pilot, mode)
            await pilot.pause()
            assert background(LIGHT) in colours(studio)
            assert background(DARK) not in colours(studio)
        studio.action_open("train")
        await turn(studio, pilot, DARK.name)
        await until(pilot, lambda: background(DARK) in colours(studio))

    drive(workspace, script)


def background(theme: Theme) -> tuple[int, int, int]:
    return Color.parse(theme.background or "").rgb


async def every_view(
    studio: Studio, pilot: StudioPilot, look: Callable[[str], Awaitable[None]]
) -> None:
    """Go through every screen and the dialogs that come without a run that lives."""
    await loaded(studio, pilot)
    for mode in MODES:
        await open_mode(studio, pilot, mode)
        await pilot.pause()
        await look(mode)
    await open_mode(studio, pilot, "train")
    for key in ("question_mark", "d", "R", "s", "colon"):
        await pilot.press(key)
        await until(pilot, lambda: studio.screen.is_modal)
        await pilot.pause()
        await look(key)
        await pilot.press("escape")
        await until(pilot, lambda: not studio.screen.is_modal)


def test_ascii_paints_nothing_else(workspace: Workspace) -> None:
    (workspace.datasets / "naïve 中文.txt").write_text("–")
    log = workspace.run("new-2").log
    log.write_text("█ 100 % ▏é 中\n")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        async def look(view: str) -> None:
            odd = {
                character for row in painted(studio) for character in row if ord(character) > 126
            }
            assert not odd, view
            assert shown(studio).isascii(), view

        await every_view(studio, pilot, look)

    drive(workspace, script, ascii_only=True)


def test_no_colour_is_grey_and_says_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        async def look(view: str) -> None:
            assert all(max(each) - min(each) <= 1 for each in colours(studio)), view

        await every_view(studio, pilot, look)
        assert "✗ new-2" in shown(studio)

    drive(workspace, script)


def test_over_ssh_fewer_frames_and_nothing_slides_unless_the_person_chose() -> None:
    local: dict[str, str] = {}
    prepare_textual(local)
    assert local == {"TEXTUAL_ANIMATIONS": "none"}
    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        remote = {name: "10.0.0.1 1 10.0.0.2 22"}
        prepare_textual(remote)
        del remote[name]
        assert remote == {
            "TEXTUAL_FPS": "15",
            "TEXTUAL_ANIMATIONS": "none",
            "TEXTUAL_SMOOTH_SCROLL": "0",
        }
    chosen = {"SSH_TTY": "/dev/pts/1", "TEXTUAL_FPS": "60", "TEXTUAL_ANIMATIONS": "full"}
    prepare_textual(chosen)
    assert (chosen["TEXTUAL_FPS"], chosen["TEXTUAL_ANIMATIONS"]) == ("60", "full")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, True),
        ({"LANG": "C"}, True),
        ({"LANG": "en_GB.UTF-8"}, False),
        ({"LANG": "en_GB.utf8"}, False),
        ({"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
    ],
)
def test_the_locale_decides_on_ascii(environment: dict[str, str], expected: bool) -> None:
    assert wants_ascii(environment) is expected


def test_the_environment_is_the_one_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_SINCE", "1")
    assert "SET_SINCE" not in first_environment()
    assert "PATH" in first_environment()


# --- curves --------------------------------------------------------------------------------------


def test_the_keys_of_monitor_change_what_is_shown(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await open_mode(studio, pilot, "monitor")
        await until(pilot, lambda: "loss 2.6" in shown(studio))
        plain = shown(studio)
        for keys, words in (
            (("L",), ["log"]),
            (("x",), ["by time", "log"]),
            (("x",), ["by tokens", "log"]),
            (("plus",), ["by tokens", "log", "smoothed 0.5"]),
            (("equals_sign",), ["smoothed 0.8"]),
            (("minus",), ["smoothed 0.5"]),
            (("full_stop",) * 8, ["last 30 steps"]),
            (("comma",), ["last 100 steps"]),
        ):
            before = shown(studio)
            await pilot.press(*keys)
            await until(pilot, lambda words=words: all(word in title(studio) for word in words))
            assert shown(studio).splitlines()[3:-2] != before.splitlines()[3:-2], keys
        await pilot.press("0")
        await until(pilot, lambda: "last" not in title(studio))
        await until(pilot, lambda: shown(studio).splitlines()[1:-2] == plain.splitlines()[1:-2])

    drive(workspace, script)


def title(studio: Studio) -> str:
    """The title of the first pane, and what stands beside it."""
    return str(ours(studio).panes[0].border_title)


def test_another_run_is_drawn_over_this_one(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await open_mode(studio, pilot, "monitor")
        await until(pilot, lambda: "loss 2.6" in shown(studio))
        await pilot.press("o")
        await until(pilot, lambda: "Draw over it" in shown(studio))
        assert "old-1" in shown(studio)
        await pilot.press("enter")
        await until(pilot, lambda: "over old-1" in title(studio))
        await until(pilot, lambda: "·· old-1 2." in shown(studio))
        await pilot.press("o")
        await until(pilot, lambda: "none" in shown(studio))
        await pilot.press("g", "enter")
        await until(pilot, lambda: "over old-1" not in shown(studio))

    drive(workspace, script)


def test_the_chosen_run_is_the_one_on_the_plot_and_in_the_log(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Runs")
        await until(pilot, lambda: "news" in shown(studio))
        for key, run, value, line in (
            ("j", "old-1", loss_at(200, 8.0), "line 299"),
            ("k", "new-2", loss_at(120), "news"),
        ):
            await pilot.press(key)
            await until(pilot, lambda run=run: studio.state.chosen == run)
            await until(pilot, lambda value=value: f"loss {value:.4g}" in shown(studio))
            await until(pilot, lambda line=line: line in shown(studio))
            assert run in shown(studio).splitlines()[-2]
        assert "new-2 failed" in shown(studio)

    drive(workspace, script)


def test_enter_on_a_run_opens_it_on_monitor(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Runs")
        await pilot.press("G", "enter")
        await until(pilot, lambda: studio.current_mode == "monitor")
        await until(pilot, lambda: "Loss  old-1" in shown(studio))

    drive(workspace, script)


def test_empty_logs_say_what_is_missing_and_what_helps(workspace: Workspace) -> None:
    workspace.logs.rename(workspace.root / "elsewhere")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await pilot.pause()
        await until(pilot, lambda: "The log of a run stands here." in shown(studio), timeout=3)

    drive(workspace, script)


def test_an_empty_logs_screen_says_which_key_helps(workspace: Workspace) -> None:
    workspace.logs.rename(workspace.root / "elsewhere")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await open_mode(studio, pilot, "logs")
        await until(pilot, lambda: "No run yet: its log will stand here." in shown(studio), 3)

    drive(workspace, script)


def test_the_status_line_names_a_key_that_works_where_it_stands(workspace: Workspace) -> None:
    workspace.logs.rename(workspace.root / "elsewhere")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        for mode in MODES:
            await open_mode(studio, pilot, mode)
            await pilot.pause()
            assert "no run yet; s on Train starts one" in shown(studio).splitlines()[-2]
            keys = {each.binding.key for each in studio.screen.active_bindings.values()}
            assert {"1"} <= keys
            assert "s" in keys or mode != "train"

    drive(workspace, script)


# --- data ----------------------------------------------------------------------------------------


def test_data_counts_files_and_shows_the_one_under_the_cursor(workspace: Workspace) -> None:
    (workspace.datasets / "b.txt").write_text("first of b\n[bold]second[/] of b\n")
    (workspace.datasets / "c.jsonl").write_text('{"a": 1}\n')

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await open_mode(studio, pilot, "data")
        await until(pilot, lambda: "20 lines" in shown(studio) and "2 lines" in shown(studio))
        await until(pilot, lambda: re.search(r"c\.jsonl .*1 bad", shown(studio)))
        await pilot.press("G", "k")
        await until(pilot, lambda: "[bold]second[/] of b" in shown(studio))
        assert "Preview  b.txt" in shown(studio)
        await pilot.press("k")
        await until(pilot, lambda: "some text to learn from" in shown(studio))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(studio.focused, FileView))
        (workspace.datasets / "d.txt").write_text("new\n")
        await until(pilot, lambda: "d.txt" in shown(studio))

    drive(workspace, script)


# --- profiles and stages -------------------------------------------------------------------------


def test_a_profile_is_picked_from_a_list_with_a_filter(workspace: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await focus_pane(studio, pilot, "Stages")
        await pilot.press("g", "enter")
        await until(pilot, lambda: "demo" in shown(studio) and "smoke" in shown(studio))
        await pilot.press("slash", *"smo", "enter", "enter")
        await until(pilot, lambda: studio.state.profile and studio.state.profile.name == "smoke")
        await until(pilot, lambda: "profile smoke" in shown(studio))

    drive(workspace, script)


def test_what_cannot_run_is_told_with_its_remedy_and_not_started(workspace: Workspace) -> None:
    (workspace.datasets / "a.txt").unlink()

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await loaded(studio, pilot)
        await pilot.press("s")
        await until(pilot, lambda: "to do" in shown(studio))
        assert "✗" in shown(studio)
        assert "enter start" not in shown(studio)
        await pilot.press("s", "enter")
        await pilot.pause(0.2)
        assert "to do" in shown(studio)  # it stands as it stood
        await pilot.press("escape")
        await until(pilot, lambda: not studio.screen.is_modal)

    drive(workspace, script)
    assert {path.name for path in workspace.logs.iterdir()} == {"old-1", "new-2"}


def test_a_broken_profile_is_said_in_the_stages_and_mended(workspace: Workspace) -> None:
    path = workspace.profiles / "tiny.toml"
    good = path.read_text()
    path.write_text(good.replace("n_layers = 2", "n_layers = [bold]"))

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "the profile is not TOML" in shown(studio))
        assert re.search(r"profile tiny +broken", shown(studio))
        await pilot.press("s")
        await until(pilot, lambda: "tiny.toml" in shown(studio))
        assert not studio.screen.is_modal
        path.write_text(good)
        await until(pilot, lambda: "the profile is not TOML" not in shown(studio))
        await until(pilot, lambda: "BPE tokenizer" in shown(studio))

    drive(workspace, script)


def test_a_stale_stage_says_why(workspace: Workspace) -> None:
    data = workspace.datasets / "a.txt"
    folder = workspace.tokenizers / "tiny-1"
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text("merges")
    before = DataFile("a.txt", data.stat().st_size, file_digest(data, workspace.cache))
    lineage = Lineage(
        stage="tokenizer",
        run="tiny-1",
        pipeline="tiny",
        fingerprint="of then",
        made=time.time(),
        data=[before],
        settings={},
    )
    write_lineage(folder, lineage)
    data.write_text("another text\n" * 30)
    (workspace.datasets / "[red]new.txt").write_text("more\n")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await until(pilot, lambda: "~ BPE tokenizer" in shown(studio))
        assert "1 file changed: a.txt" in shown(studio)
        assert "1 file new: [red]new.txt" in shown(studio)

    drive(workspace, script, size=(160, 50))
