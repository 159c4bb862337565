"""Which plots a run with rewards has, and what is drawn in them."""

import math
from pathlib import Path

import pytest

from gptcore import events
from gptcore.status import Status
from gptcore.workspace import Workspace
from gptstudio.app.curves_view import View, lead_lines, panel_lines, shown_stage
from gptstudio.app.panels import PANELS, REWARD, REWARD_PANELS, offered
from gptstudio.app.screens.base import StudioScreen
from gptstudio.app.state import State
from gptstudio.app.studio import Studio
from gptstudio.app.train_rows import run_rows
from gptstudio.app.widgets.plot_frame import Line, Look, Role, draw
from gptstudio.app.words import status_line
from gptstudio.services.curves import Curve
from gptstudio.services.metrics import MetricsReader
from tests.studio.app.records import NAMES, add_rewards, fix_machine, record
from tests.studio.app.screens import StudioPilot, drive, shown, until

PARTS = REWARD_PANELS[1]


def state_of(workspace: Workspace, stage: str, **fields: object) -> State:
    """A run that has got to `stage`, and one of the same kind to draw over it."""
    state = State(chosen="new")
    for name in ("new", "old"):
        run = record(workspace, name, steps=20)
        if stage != "pretrain":
            add_rewards(run, stage, steps=40, **fields)  # type: ignore[arg-type]
        reader = MetricsReader(run.events)
        reader.read()
        state.metrics[name] = reader.snapshot()
    return state


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("pretrain", "loss lr grad_norm speed memory"),
        (
            "ppo",
            "reward parts kl length entropy clip_fraction value_loss loss lr grad_norm speed",
        ),
        ("orpo", "accuracy margin loss lr grad_norm speed"),
        ("reward", "accuracy margin loss lr grad_norm speed"),
    ],
)
def test_only_panels_with_numbers_are_shown(tmp_path: Path, stage: str, names: str) -> None:
    state = state_of(Workspace(tmp_path), stage)
    assert [panel.name for panel in offered(shown_stage(state))] == names.split()
    assert lead_lines(state)[0].title == ("Reward" if stage == "ppo" else "Loss")


def test_the_reward_has_its_spread_its_held_out_part_and_another_run(tmp_path: Path) -> None:
    state = state_of(Workspace(tmp_path), "ppo")
    state.overlay = "old"
    lines, message = panel_lines(state, REWARD, View())
    assert message == ""
    assert [(line.name, line.colour_role) for line in lines] == [
        ("mean", "line"), ("held-out", "second"), ("std", "band"), ("old", "overlay")
    ]  # fmt: skip
    mean, _, band, _ = (line.curve for line in lines)
    assert band.x == mean.x
    assert band.low[0] == pytest.approx(mean.mean[0] - (0.3 - 0.2 * (1 - math.exp(-1 / 30))))
    assert all(a < b < c for a, b, c in zip(band.low, mean.mean, band.high, strict=True))


@pytest.mark.parametrize("axis", ["step", "time", "tokens"])
def test_each_reward_has_a_line_within_the_window(tmp_path: Path, axis: str) -> None:
    state = state_of(Workspace(tmp_path), "ppo")
    lines, _ = panel_lines(state, PARTS, View(axis=axis, window=30.0))  # type: ignore[arg-type]
    assert [line.name for line in lines] == list(NAMES)
    assert len({line.role for line in lines}) == len(NAMES)
    assert {len(line.curve) for line in lines} <= {30, 31}  # of the 40 steps


def test_what_is_held_out_alone_is_shown_too(tmp_path: Path) -> None:
    run = record(Workspace(tmp_path), "new", steps=20)
    with run.events.open("ab") as file:
        told = events.Reward(mean=0.3, held_out=True)
        file.write(events.encode(told, time=1.8e9, run="new", stage="rgpo", step=0) + b"\n")
    reader = MetricsReader(run.events)
    reader.read()
    state = State(chosen="new", metrics={"new": reader.snapshot()})
    assert [panel.name for panel in offered(shown_stage(state))] == ["reward"]


# How they are drawn

SLOPE = Curve.of(range(20), [n / 20 for n in range(20)])
EIGHT = [
    Line(name, Curve.of(range(100), [k + n / 100 for n in range(100)]), "part", k)
    for k, name in enumerate(("right", "format", "brevity", "calls", "e", "f", "g", "h"))
]


def test_a_band_lies_behind_the_line() -> None:
    low, high = ([value + by for value in SLOPE.mean] for by in (-0.3, 0.3))
    band = Curve(SLOPE.x, Curve.of(SLOPE.x, low).low, Curve.of(SLOPE.x, high).high, SLOPE.mean)
    lines = [Line("mean", SLOPE), Line("std", band, "band")]
    rows = draw(lines, Look(), "", 40, 12)
    assert rows[0].text.strip() == "── mean 0.95  ░░ std 0.3"
    assert {Role.LINE, Role.BAND} <= {role for row in rows for role in row.roles}
    ascii_rows = draw(lines, Look(ascii=True), "", 40, 12)
    assert all(row.text.isascii() for row in ascii_rows)
    shaded = [row for row in ascii_rows[1:] if ":" in row.text]
    assert Role.BAND in {row.roles[row.text.index(":")] for row in shaded}
    alone = [row.text for row in draw(lines[:1], Look(), "", 40, 12)]
    assert [row.text for row in rows] != alone


@pytest.mark.parametrize("ascii_only", [False, True])
def test_eight_parts_are_told_apart_without_colour(ascii_only: bool) -> None:
    rows = draw(EIGHT, Look(ascii=ascii_only), "", 76, 18)
    marks = "ox*#@%&$" if ascii_only else "●○■□▲△◆◇"
    legend = "".join(row.text for row in rows if Role.AXIS not in row.roles)
    plot = [row for row in rows if Role.AXIS in row.roles]
    for line, mark in zip(EIGHT, marks, strict=True):
        assert f"{mark} {line.name}" in legend
        where = [row.roles[row.text.index(mark)] for row in plot if mark in row.text]
        assert line.role in where
    assert all(len(row.text) == 76 for row in rows)


@pytest.mark.parametrize("size", [(12, 4), (20, 6), (36, 8), (100, 30)])
def test_many_parts_fill_any_size(size: tuple[int, int]) -> None:
    rows = draw(EIGHT, Look(smoothing=0.9, log_scale=True), "", *size)
    assert [len(row.text) for row in rows] == [size[0]] * size[1]


# On the Monitor


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
def test_panels_come_with_the_rewards_and_go_with_the_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    fix_machine(monkeypatch)
    record(workspace, "plain", days=3)
    run = record(workspace, "new", "failed", steps=20, days=1)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.action_open("monitor")
        await pilot.pause()
        screen = studio.screen
        assert isinstance(screen, StudioScreen)
        await until(pilot, lambda: "loss 4" in shown(studio))
        assert screen.pane.name_of_pane == "Loss"
        add_rewards(run, "ppo", steps=40)
        await until(pilot, lambda: "mean 0.6" in shown(studio))
        assert screen.pane.name_of_pane == "Reward"  # who is at the first stays at the first
        await pilot.press("tab", "tab")
        assert screen.pane.name_of_pane == "KL"
        await until(pilot, lambda: "nats an answer" in shown(studio))
        assert studio.focused is screen.pane.target
        studio.choose_run("plain")
        await until(pilot, lambda: screen.pane.name_of_pane == "Loss")
        await until(pilot, lambda: studio.focused is screen.pane.target)
        assert [pane.name_of_pane for pane in screen.panes] == [
            *(panel.title for panel in PANELS), "GPU and host"
        ]  # fmt: skip

    drive(workspace, script, size=size)


# In a line


def test_the_status_line_and_the_list_say_what_matters() -> None:
    status = Status("r", "done", stage="ppo", loss=-0.01, reward=0.834)
    assert "reward 0.83" in status_line(status, 80).plain
    assert "loss" not in status_line(status, 80).plain
    assert "reward 0.83" in str(run_rows([status])[0].right)
    status = Status("r", "done", stage="orpo", loss=1.5, accuracy=0.91, val_loss=1.6)
    assert "loss 1.5000  accuracy 91%" in status_line(status, 80).plain
    status.val_accuracy = 0.88
    assert "accuracy 88%" in str(run_rows([status])[0].right)
