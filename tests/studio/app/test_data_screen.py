"""The Data screen by key: rows and their views, problems, statistics, the mix."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gptcore.profile import read_profile
from gptcore.workspace import Workspace
from gptstudio.app.screens.data import DataScreen
from gptstudio.app.studio import Studio
from gptstudio.app.widgets.dataset_tree import DatasetTreeView
from gptstudio.app.widgets.row_view import RowView
from tests.studio.app.frames import borders, cells, painted
from tests.studio.app.screens import StudioPilot, drive, shown, until
from tests.studio.tokenizers import make_tokenizer

PROFILE = """# mine
[pipeline]
stages = ["tokenizer", "pretrain", "finetune", "eval"]
[model]   # small
vocab_size = 300
context_length = 64
emb_dim = 32
n_heads = 2
n_layers = 2
"""
#: Lines of the preview are not broken.
WIDE = (220, 50)
HOSTILE = "[red]x[/] \x1b[31m\x9b2J\u202e\x00 <|end|>\ttab 日本"


def chat(question: str, answer: str = "An answer.") -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A profile that fine-tunes, a text, and rows of which two are bad."""
    workspace = Workspace(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/demo.toml").write_text(PROFILE)
    workspace.datasets.mkdir()
    (workspace.datasets / "a.txt").write_text("some text\n")
    rows = [*map(json.dumps, (chat("one"), chat("two"), chat(HOSTILE), chat("cat " * 90)))]
    rows += ['{"nothing": 1}', rows[1], json.dumps(chat("seven"))]
    (workspace.datasets / "rows.jsonl").write_text("\n".join(rows))
    return workspace


async def opened(studio: Studio, pilot: StudioPilot, name: str = "rows.jsonl") -> DataScreen:
    """The Data screen with the cursor on a file, once all files are counted."""
    studio.action_open("data")
    await until(pilot, lambda: isinstance(studio.screen, DataScreen) and studio.screen.is_whole)
    await until(pilot, lambda: studio.state.datasets and studio.state.profile)
    files = studio.state.datasets.files() if studio.state.datasets else ()
    known = [file for file in files if file.form != "ignored"]
    await until(pilot, lambda: len(studio.state.counts) == len(known))
    studio.screen.query_one(DatasetTreeView).choose(name)
    await pilot.pause()
    screen = studio.screen
    assert isinstance(screen, DataScreen)
    return screen


async def sees(studio: Studio, pilot: StudioPilot, *parts: str) -> None:
    await until(pilot, lambda: all(part in shown(studio) for part in parts))


def test_rows_are_gone_through_one_by_one(place: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await sees(studio, pilot, "row 1 of 7", "row 1 (line 1): conversation, written as messages")
        await sees(studio, pilot, "<|user|>one<|end|>", "+ An answer.<|end|>")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(studio.focused, RowView))
        await pilot.press("l")
        await sees(studio, pilot, "row 2 of 7", "<|user|>two<|end|>")
        await pilot.press("l", "l", "l", "l", "l", "l", "l")  # more than there are
        await sees(studio, pilot, "row 7 of 7", "<|user|>seven<|end|>")
        await pilot.press("h", "left")
        await sees(studio, pilot, "row 5 of 7", "! cannot be used: has no form", '"nothing": 1')
        await pilot.press("g")
        await sees(studio, pilot, "row 1 of 7")
        await pilot.press("h")
        await pilot.pause(0.1)
        assert "row 1 of 7" in shown(studio)
        await pilot.press("G")
        await sees(studio, pilot, "row 7 of 7")
        await pilot.press("r", "2", "enter")
        await sees(studio, pilot, "row 2 of 7")
        assert studio.current_mode == "data"
        await pilot.press("r", "9", "9", "enter")
        await sees(studio, pilot, "there is no row 99: the last is 7")
        assert "row 2 of 7" in shown(studio)
        await pilot.press("slash", *"SEVEN", "enter")
        await sees(studio, pilot, "row 7 of 7")

    drive(place, script, size=WIDE)


def test_t_shows_a_row_in_four_ways(place: Workspace) -> None:
    make_tokenizer(place)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await sees(studio, pilot, "tokens of demo-1", "learned; 64 fit")
        await pilot.press("t")
        await sees(studio, pilot, "row 1 of 7  tokens", "│.│<|end|>")
        await pilot.press("t")
        await sees(studio, pilot, "row 1 of 7  supervised only", "message 2")
        assert "<|user|>" not in shown(studio)
        await pilot.press("t")
        await sees(studio, pilot, "row 1 of 7  raw", '"role": "user"')
        await pilot.press("r", "4", "enter", "t")
        await sees(studio, pilot, "row 4 of 7  text", "left out: is longer than the context:")
        await sees(studio, pilot, "x <|user|>cat cat")  # marked, not only by colour
        (place.profiles / "demo.toml").write_text(PROFILE.replace("= 64", "= 640"))
        await sees(studio, pilot, "learned; 640 fit")

    drive(place, script, size=WIDE)


def test_without_a_tokenizer_it_says_so_and_goes_on(place: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await pilot.press("t")
        await sees(studio, pilot, "row 1 of 7  tokens", "has no tokenizer yet", "+ An answer.")

    drive(place, script, size=WIDE)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=str)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_hostile_rows_show_as_themselves(
    place: Workspace, size: tuple[int, int], ascii_only: bool
) -> None:
    make_tokenizer(place)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await pilot.press("enter", "r", "3", "enter")
        await sees(studio, pilot, "row 3 of 7", "[red]x[/]", "\\x1b[31m\\x9b2J\\u202e\\x00")
        assert "\\<|end|>" in shown(studio)
        for view in ("tokens", "supervised only", "raw", "text"):
            await pilot.press("t")
            await sees(studio, pilot, f"row 3 of 7  {view}")
            rows = painted(studio)
            assert not {"\x1b", "\x9b", "\u202e", "\x00", "\t"} & set("".join(rows))
            if not ascii_only:
                assert {cells(row) for row in rows} == {size[0]}
                frame = borders(rows[4])
                assert frame[-1] == (size[0] - 1, "│")

    drive(place, script, size=size, ascii_only=ascii_only)


def test_problems_are_listed_and_lead_to_their_rows(place: Workspace) -> None:
    (place.datasets / "deep").mkdir()
    (place.datasets / "deep/more.jsonl").write_text(json.dumps(chat("x")) + "\nnonsense\n")
    (place.datasets / "deep/odd.txt").write_bytes(b"fine\xff\xfe\n")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        screen = await opened(studio, pilot, "a.txt")
        await sees(studio, pilot, "rows.jsonl row 5  has no form", "rows.jsonl row 6  duplicate of")
        await sees(studio, pilot, "more.jsonl row 2  is not JSON")
        screen.query_one(DatasetTreeView).choose("deep")
        await pilot.press("h")  # folded: the way to the row opens it again
        screen.go_to(screen.panes[2])
        await pilot.press("g", "enter")
        await sees(studio, pilot, "row 2 of 2", "! cannot be used: is not JSON")
        assert isinstance(studio.focused, RowView)
        screen.go_to(screen.panes[2])
        await pilot.press("G", "enter")
        await sees(studio, pilot, "row 6 of 7", "! duplicate of row 2", "<|user|>two")
        (place.datasets / "rows.jsonl").write_text(json.dumps(chat("mended")))
        await sees(studio, pilot, "row 1 of 1", "<|user|>mended")
        await until(pilot, lambda: "duplicate of" not in shown(studio))

    drive(place, script, size=WIDE)


def test_statistics_are_counted_in_the_worker_and_can_be_left(place: Workspace) -> None:
    make_tokenizer(place)

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await pilot.press("i")
        await sees(studio, pilot, "Statistics of rows.jsonl", "7 rows in 1 file: 5 good, 2 bad")
        await sees(studio, pilot, "context of 64: 4 rows whole")
        await pilot.press("escape")
        await until(pilot, lambda: not studio.screen.is_modal)
        many = "\n".join(json.dumps(chat(f"{n}", "words " * 30)) for n in range(60_000))
        (place.datasets / "rows.jsonl").write_text(many)
        await sees(studio, pilot, "60.0k conversation")
        await pilot.press("i")
        await until(pilot, lambda: re.search(r"reading \.\.\. \d+%", shown(studio)))
        await pilot.press("escape", "r", *"60000", "enter")
        await sees(studio, pilot, "row 60,000 of 60,000")

    drive(place, script, size=WIDE)


def test_space_puts_files_out_of_the_mix_and_in_again(place: Workspace) -> None:
    path = place.profiles / "demo.toml"

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await sees(studio, pilot, "in the mix: tokenizer, finetune (not in data.eval.include)")
        assert re.search(r"● rows\.jsonl .*for tokenizer, finet", shown(studio))
        await pilot.press("space")
        await until(pilot, lambda: "○ rows.jsonl" in shown(studio))
        await sees(studio, pilot, "rows.jsonl is out of the mix of tokenizer, finetune")
        assert read_profile(path).data.finetune.exclude[-1] == "/rows.jsonl"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(studio.focused, RowView))
        await pilot.press("space")  # the same in every pane
        await until(pilot, lambda: "● rows.jsonl" in shown(studio))
        assert read_profile(path) == read_profile(path.with_name("before.toml")).model_copy(
            update={"name": "demo"}
        )
        assert path.read_text().startswith(PROFILE)

    path.with_name("before.toml").write_text(PROFILE)
    drive(place, script, size=WIDE)


def test_a_shipped_profile_is_copied_before_it_is_changed(place: Workspace) -> None:
    (place.profiles / "demo.toml").unlink()

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot, "a.txt")
        await pilot.press("space")
        await sees(studio, pilot, "came with")
        await until(pilot, lambda: "○ a.txt" in shown(studio))

    drive(place, script, size=WIDE)
    assert read_profile(place.profiles / "demo.toml").data.pretrain.exclude[-1] == "/a.txt"


def test_looking_on_changes_no_mix(place: Workspace) -> None:
    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot)
        await pilot.press("space")
        await sees(studio, pilot, "to change the mix is refused: this studio only looks on")

    drive(place, script, size=WIDE, readonly=True)
    assert (place.profiles / "demo.toml").read_text() == PROFILE


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("README.md", "left out by data.pretrain.exclude: README*"),
        ("picture.png", "no stage can take it"),
        ("", "put the cursor on a file"),
    ],
)
def test_what_cannot_be_put_into_a_mix_says_why(place: Workspace, name: str, part: str) -> None:
    (place.datasets / "README.md").write_text("words")
    (place.datasets / "picture.png").write_text("words")

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        await opened(studio, pilot, name)
        await pilot.press("space")
        await sees(studio, pilot, part)

    drive(place, script, size=WIDE)
    assert (place.profiles / "demo.toml").read_text() == PROFILE


def test_a_long_search_for_a_row_tells_how_far_it_is_and_is_left_with_esc(
    place: Workspace,
) -> None:
    import gzip

    many = "\n".join(json.dumps(chat(f"{n}", "words " * 400)) for n in range(150_000))
    (place.datasets / "many.jsonl.gz").write_bytes(gzip.compress(many.encode(), 1))
    (place.datasets / "rows.jsonl").unlink()

    async def script(studio: Studio, pilot: StudioPilot) -> None:
        studio.action_open("data")
        await until(pilot, lambda: studio.state.datasets)
        await until(pilot, lambda: isinstance(studio.screen, DataScreen))
        studio.screen.query_one(DatasetTreeView).choose("many.jsonl.gz")
        await pilot.press("enter")
        await sees(studio, pilot, "row 1 (line 1)")
        await pilot.press("G")
        await until(pilot, lambda: re.search(r"reading \d+%, esc leaves it", shown(studio)))
        await pilot.press("escape")
        await until(pilot, lambda: "esc leaves it" not in shown(studio))
        await pilot.press("l")
        await sees(studio, pilot, "row 2 (line 2)")

    drive(place, script, size=WIDE)
