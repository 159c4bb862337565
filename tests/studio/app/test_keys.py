"""The contract of the key table: whatever is added to it, this holds."""

import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

from gptcore.status import State
from gptcore.workspace import Workspace
from gptstudio.app.keys import KEYS, bindings, hints, keys_of, label, labels
from gptstudio.app.screens.base import StudioScreen
from gptstudio.app.studio import Studio
from gptstudio.app.widgets.bars import SCREENS
from tests.studio.app.records import record
from tests.studio.app.screens import StudioPilot, drive, shown, until

#: Other bytes to a terminal, or a multiplexer's own.
SWALLOWED = {"ctrl+h", "ctrl+i", "ctrl+m", "ctrl+left_square_bracket", "ctrl+a", "ctrl+b", "ctrl+j"}
MODES = [mode for mode, _ in SCREENS]


def test_every_key_has_an_id_of_its_own_a_group_and_a_sentence() -> None:
    assert max(Counter(key.id for key in KEYS).values()) == 1
    for key in KEYS:
        assert key.title
        assert key.group
        assert key.description[0].isupper()
        assert not key.description.endswith(".")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.id)
def test_no_key_is_one_that_terminals_or_multiplexers_swallow(key: object) -> None:
    for name in getattr(key, "keys").split(","):  # noqa: B009 - parametrised as an object
        assert name not in SWALLOWED
        assert not name.startswith(("alt+", "meta+", "super+"))


def _chain(node: DOMNode) -> list[DOMNode]:
    return [each for each in node.ancestors_with_self if isinstance(each, DOMNode)]


def _bound(node: DOMNode) -> list[Binding]:
    return [binding for found in node._bindings.key_to_bindings.values() for binding in found]


@pytest.mark.parametrize("mode", MODES)
def test_along_a_focus_chain_no_key_stands_twice(workspace: Workspace, mode: str) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.action_open(mode)
        await pilot.pause()
        known = {key.id for key in KEYS}
        for pane in studio.screen.query("Pane"):
            inside = [each for each in pane.query("*") if each.can_focus]
            for target in {pane.target, *inside}:
                bound = [binding for node in _chain(target) for binding in _bound(node)]
                assert {binding.id for binding in bound} <= known
                twice = [key for key, count in Counter(b.key for b in bound).items() if count > 1]
                assert not twice, f"{mode}, {pane.id}, {target.id}: {twice}"

    drive(workspace, script)


@pytest.mark.parametrize("mode", MODES)
def test_every_action_of_a_screen_exists_and_the_footer_has_six_hints_at_most(
    workspace: Workspace, mode: str
) -> None:
    record(workspace, "r-1", "stopped")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.action_open(mode)
        await pilot.pause()
        screen = studio.screen
        assert isinstance(screen, StudioScreen)
        await until(pilot, lambda: studio.state.status)
        named = hints(*screen.SCOPES, "everywhere")
        for state in get_args(State):
            assert 1 <= len([key for key in named if not key.states or state in key.states]) <= 6
        line = shown(studio).splitlines()[-1]
        for key in named:
            said = f"{label(key)} {key.title}" in line
            assert said == (not key.states or "stopped" in key.states)
        for active in screen.active_bindings.values():
            name = active.binding.action.partition("(")[0].rpartition(".")[2]
            assert any(hasattr(node, f"action_{name}") for node in (active.node, screen, studio))

    drive(workspace, script)


def test_the_help_names_every_key(workspace: Workspace) -> None:
    from gptstudio.app.dialogs.help import help_text

    text = help_text().plain
    for key in KEYS:
        assert re.search(rf"^  {re.escape(labels(key))} +{re.escape(key.description)}$", text, re.M)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await pilot.press("question_mark")
        await pilot.pause()
        assert "Go to Train" in shown(studio)
        await pilot.press("escape")
        await pilot.pause()
        assert "Go to Train" not in shown(studio)

    drive(workspace, script)


def test_keys_come_from_nowhere_else() -> None:
    app = Path(__file__).parents[3] / "studio/gptstudio/app"
    for file in app.rglob("*.py"):
        if file.name != "keys.py":
            assert "Binding(" not in file.read_text(), file


def test_bindings_of_scopes_keep_the_hints_in_order() -> None:
    places = [key.hint for key in hints("run", "train")]
    assert places == sorted(places)
    assert places[0] == 1
    assert {b.id for b in bindings("train") if isinstance(b, Binding)} == {
        key.id for key in keys_of("train")
    }
    assert {key.id for key in keys_of("train")} >= {"train.start", "train.edit"}
