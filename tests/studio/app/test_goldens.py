"""Whole screens as text, to be read as pictures: `goldens/SITUATION-SCREEN-WIDTHxHEIGHT.txt`.

After a change that was meant: UPDATE_GOLDENS=1 pytest tests/studio/app/test_goldens.py, then read
the difference in version control.
"""

import difflib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pynvml
import pytest

from gptcore.workspace import Workspace
from gptstudio.app.studio import Studio
from gptstudio.app.widgets.dataset_tree import DatasetTreeView
from gptstudio.app.widgets.row_view import RowView
from tests.fake_nvml import FakeGpu, FakeNvml, refusal
from tests.studio.app.records import (
    DAY,
    MEMORY_RAN_OUT,
    add_rewards,
    alive,
    fix_machine,
    record,
    rewarded,
)
from tests.studio.app.screens import StudioPilot, drive, shown, until
from tests.studio.tokenizers import make_tokenizer

GOLDENS = Path(__file__).parent / "goldens"
SMALL, LARGE = (80, 24), (120, 40)
SIZES = (SMALL, LARGE)

#: What differs from one call to the next, each replaced by as many characters.
MASKS = (
    (re.compile(r"/tmp/gpt-\w{0,8}"), "/tmp/gpt-workspace"),  # the folder of this test
    (re.compile(r"(?<=changed )\d{4}-\d\d-\d\d \d\d:\d\d"), "2026-01-01 12:00"),
    (re.compile(r"(?<=♥ )\d+(?= s)"), "0"),
)


def masked(text: str) -> str:
    for pattern, instead in MASKS:
        text = pattern.sub(lambda found, to=instead: to[: len(found.group())], text)
    return text


@pytest.fixture
def place() -> Iterator[Workspace]:
    """A workspace whose path has always the same length."""
    root = Path(tempfile.mkdtemp(prefix="gpt-", dir="/tmp"))
    yield Workspace(root)
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def fixed_machine(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A host that never changes, and one GPU; a test may give it others."""
    return fix_machine(monkeypatch)


def fill(workspace: Workspace) -> None:
    """Data and a profile of its own, which hides the shipped one of that name."""
    notes = workspace.datasets / "notes"
    notes.mkdir(parents=True)
    (workspace.datasets / "book.txt").write_text("The cat sat on the mat.\n" * 400)
    chats = [f'{{"prompt": "What is {n}?", "completion": "A number."}}\n' for n in range(7)]
    (workspace.datasets / "chats.jsonl").write_text("".join([*chats, '{"messages": []}\n']))
    (notes / "ideas.md").write_text("# Ideas\n\nA cat that writes.\n" * 50)
    (notes / "broken.txt").write_bytes(b"fine\n" + b"\xff\xfe odd\n" * 3)
    workspace.profiles.mkdir()
    (workspace.profiles / "demo.toml").write_text(
        'description = "A tiny one."\n[engine]\ndevice = "cpu"\n[pretrain]\nmax_steps = 200\n'
        "[model]\nvocab_size = 300\ncontext_length = 64\nemb_dim = 32\nn_heads = 2\nn_layers = 2\n"
    )


async def settled(studio: Studio, pilot: StudioPilot) -> str:
    """The screen once every source has spoken and nothing changes any more."""
    state = studio.state
    await until(pilot, lambda: state.profile and state.datasets and state.hardware)
    card, tree = state.profile, state.datasets
    assert card is not None
    assert tree is not None
    if card.profile is not None:
        await until(pilot, lambda: len(state.stages) == len(card.profile.pipeline.stages))
    await until(pilot, lambda: not state.chosen or state.chosen in state.metrics)
    if studio.current_mode == "data":
        texts = [file for file in tree.files() if file.form != "ignored"]
        await until(pilot, lambda: len(state.counts) + len(state.uncounted) == len(texts))
    seen: list[str] = []
    while len(seen) < 4 or len(set(seen[-4:])) > 1:
        await pilot.pause(0.06)
        seen.append(masked(shown(studio)))
        assert len(seen) < 200, "the screen never comes to rest"
    return seen[-1]


def compare(name: str, text: str) -> str:
    """What differs from the golden of that name; empty: nothing."""
    path = GOLDENS / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    golden = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = difflib.unified_diff(
        golden.splitlines(), text.splitlines(), f"{name} as it was", f"{name} now", lineterm="", n=1
    )
    return "\n".join(lines)


def check(
    workspace: Workspace,
    situation: str,
    size: tuple[int, int],
    *modes: str,
    keys: tuple[str, ...] = (),
) -> None:
    """Open the screens one after the other and hold each against its golden."""

    async def script(studio: Studio, pilot: StudioPilot) -> list[str]:
        differences = []
        await settled(studio, pilot)  # what it says once is said to the first screen
        for mode in modes:
            studio.action_open(mode)
            await pilot.pause()
            await pilot.press(*keys)
            name = f"{situation}-{mode}-{size[0]}x{size[1]}"
            differences.append(compare(name, await settled(studio, pilot)))
        return differences

    differences = [each for each in drive(workspace, script, size=size) if each]
    assert not differences, "\n\n" + "\n\n".join(differences) + "\n\n(UPDATE_GOLDENS=1 takes them)"


@pytest.mark.parametrize(
    ("size", "modes"),
    [(SMALL, ("train", "data", "monitor", "logs", "chat")), (LARGE, ("train", "data"))],
    ids=str,
)
def test_an_empty_workspace(place: Workspace, size: tuple[int, int], modes: tuple[str]) -> None:
    # Not even datasets/: what is missing, where it was looked for, and what helps.
    check(place, "empty", size, *modes)


@pytest.mark.parametrize(
    ("size", "modes"),
    [
        (SMALL, ("train", "data", "monitor", "logs")),
        (LARGE, ("train", "data", "monitor", "logs", "chat")),
    ],
    ids=str,
)
def test_a_finished_run(place: Workspace, size: tuple[int, int], modes: tuple[str]) -> None:
    fill(place)
    outputs = {"tokenizer": "tokenizers/demo-1", "pretrain": "models/demo-1-pretrain"}
    record(place, "demo-1", outputs=outputs, exit_code=0)
    check(place, "finished", size, *modes)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rows_of_data(place: Workspace, size: tuple[int, int]) -> None:
    fill(place)
    profile = place.profiles / "demo.toml"
    stages = '[pipeline]\nstages = ["tokenizer", "pretrain", "finetune", "eval"]\n'
    profile.write_text(profile.read_text() + stages)
    make_tokenizer(place)
    long = {"prompt": "Tell me. ", "completion": "word " * 60}
    with (place.datasets / "chats.jsonl").open("a") as file:
        file.write(json.dumps(long) + "\n")

    async def script(studio: Studio, pilot: StudioPilot) -> list[str]:
        await settled(studio, pilot)
        studio.action_open("data")
        await settled(studio, pilot)
        studio.screen.query_one(DatasetTreeView).choose("chats.jsonl")
        differences = []
        for name, keys in (("text", ()), ("tokens", ("t",)), ("cut", ("r", "9", "enter"))):
            await pilot.press("enter", *keys)
            row = 9 if name == "cut" else 1
            await until(pilot, lambda at=row: _row_of(studio) == at)
            text = await settled(studio, pilot)
            differences.append(compare(f"rows-{name}-{size[0]}x{size[1]}", text))
        return differences

    differences = [each for each in drive(place, script, size=size) if each]
    assert not differences, "\n\n" + "\n\n".join(differences)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_failed_run(place: Workspace, size: tuple[int, int]) -> None:
    fill(place)
    record(place, "demo-1", days=5.1)
    record(place, "demo-2", "failed", steps=120, error=MEMORY_RAN_OUT, exit_code=1)
    check(place, "failed", size, "train")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_lost_run(place: Workspace, size: tuple[int, int]) -> None:
    fill(place)
    record(
        place, "demo-1", "running", steps=70, heartbeat=time.time() - 2.1 * DAY
    )  # says that it runs, and holds no lock
    check(place, "lost", size, "train")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_live_run(place: Workspace, size: tuple[int, int]) -> None:
    fill(place)
    run = record(place, "demo-1", "running", steps=70, heartbeat=time.time() + DAY)
    with alive(run):
        check(place, "live", size, "train")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_run_that_learns_from_rewards(place: Workspace, size: tuple[int, int]) -> None:
    fill(place)
    stages = ["tokenizer", "pretrain", "ppo"]
    fields: dict[str, Any] = {"stage": "ppo", "reward": rewarded(70).mean, "val_loss": None}
    fields |= {"stages": stages, "heartbeat": time.time() + DAY}
    run = record(place, "demo-1", "running", steps=70, **fields)
    add_rewards(run, "ppo")
    with alive(run):
        check(place, "rewards", size, "train", "monitor")
        check(place, "rewards-by-name", size, "monitor", keys=("tab",))
        check(place, "rewards-end", size, "monitor", keys=("shift+tab",) * 4)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_run_that_learned_from_preferences(place: Workspace, size: tuple[int, int]) -> None:
    fill(place)
    fields: dict[str, Any] = {"stage": "orpo", "accuracy": 0.86, "val_accuracy": 0.86}
    run = record(place, "demo-1", stages=["orpo"], steps=70, **fields)
    add_rewards(run, "orpo")
    check(place, "preferences", size, "train", "monitor")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_without_a_gpu(place: Workspace, size: tuple[int, int], fixed_machine: FakeNvml) -> None:
    fixed_machine.init_fails = refusal(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    fill(place)
    record(place, "demo-1")
    to_the_machine = ("shift+tab",) if size == SMALL else ()
    check(place, "no-gpu", size, "monitor", keys=to_the_machine)


@pytest.mark.parametrize(
    ("size", "mode"), [(SMALL, "train"), (LARGE, "train"), (LARGE, "monitor")], ids=str
)
def test_eight_devices(
    place: Workspace, size: tuple[int, int], mode: str, fixed_machine: FakeNvml
) -> None:
    fixed_machine.gpus[:] = [FakeGpu(utilisation=10 * n, temperature=30 + n) for n in range(8)]
    fixed_machine.gpus[3] = FakeGpu(lost=True)
    mute = refusal()
    fixed_machine.gpus[5] = FakeGpu("NVIDIA A100-SXM4-80GB", mute, mute, mute, mute, mute, mute)
    fill(place)
    record(place, "demo-1")
    check(place, "eight", size, mode)


def _row_of(studio: Studio) -> int:
    shown_row = studio.screen.query_one(RowView).shown
    return shown_row.row if shown_row else 0


def test_a_golden_that_differs_is_told_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.GOLDENS", tmp_path)
    monkeypatch.setenv("UPDATE_GOLDENS", "1")
    assert compare("x", "a\nb\nc") == ""
    monkeypatch.delenv("UPDATE_GOLDENS")
    assert compare("x", "a\nb\nc") == ""
    assert "-b\n+B" in compare("x", "a\nB\nc")
    assert "+a" in compare("never written", "a")


def test_masks_keep_the_width() -> None:
    text = "in /tmp/gpt-a1b2c3d4/logs, changed 1999-12-31 23:59, ♥ 7 s"
    assert len(masked(text)) == len(text)
    assert masked(text) == "in /tmp/gpt-workspac/logs, changed 2026-01-01 12:00, ♥ 0 s"
    assert masked("/tmp/gpt-a1b…") == "/tmp/gpt-wor…"
