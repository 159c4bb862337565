"""Draw the rows of every file, see that the parts share no question, and write them."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random

from gptcore.workspace import write_atomic
from gptstudio.demo_data.base import Row
from gptstudio.demo_data.conversations import conversation_row
from gptstudio.demo_data.instructions import instruction_row
from gptstudio.demo_data.messages import questions
from gptstudio.demo_data.parts import Part, plain
from gptstudio.demo_data.preferences import preference_row
from gptstudio.demo_data.sizes import MAX_TOKENS, rough_tokens
from gptstudio.demo_data.tool_rows import tool_row


@dataclass(frozen=True, slots=True)
class DemoSizes:
    """How many rows to write: of each kind for training, and held out.

    Attributes:
        tools: Conversations in which tools are called.
        conversations: Conversations without tools.
        instructions: Tasks with their outputs.
        preferences: Prompts with a right and a wrong message.
    """

    tools: tuple[int, int] = (6000, 300)
    conversations: tuple[int, int] = (600, 60)
    instructions: tuple[int, int] = (600, 60)
    preferences: tuple[int, int] = (800, 100)


_DEFAULT = DemoSizes()
_DRAW: dict[str, Callable[[Random, Part], Row]] = {
    "tools": tool_row,
    "conversations": conversation_row,
    "instructions": instruction_row,
    "preferences": preference_row,
}

#: What `write_demo_data` writes.
FILE_NAMES = tuple(f"{kind}-{part}.jsonl" for kind in _DRAW for part in ("train", "held-out"))


def demo_files(*, seed: int = 0, sizes: DemoSizes = _DEFAULT) -> dict[str, str]:
    """The files' names and their whole text, without writing them.

    Args:
        seed: Where chance begins.
        sizes: How many rows of each kind.
    """
    held_out = {
        kind: _distinct(kind, Random(f"{seed} {kind} held-out"), getattr(sizes, kind)[1])
        for kind in _DRAW
    }
    taken = {plain(text) for rows in held_out.values() for row in rows for text in questions(row)}
    files = {}
    for kind in _DRAW:
        rng = Random(f"{seed} {kind} train")
        rows = [_free_row(kind, rng, "train", taken) for _ in range(getattr(sizes, kind)[0])]
        files[f"{kind}-train.jsonl"] = _lines(rows)
        files[f"{kind}-held-out.jsonl"] = _lines(held_out[kind])
    return files


def write_demo_data(
    folder: Path, *, seed: int = 0, sizes: DemoSizes = _DEFAULT, durable: bool = False
) -> list[Path]:
    """Write the demo's training data into `folder`, over files of the same names.

    Args:
        folder: Made where it is missing.
        seed: Where chance begins; the same seed gives the same files.
        sizes: How many rows of each kind.
        durable: Whether to wait until the disk has each file.

    Returns:
        The files written.

    Raises:
        OSError: They cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in demo_files(seed=seed, sizes=sizes).items():
        path = folder / name
        write_atomic(path, text, mode=0o644, durable=durable)
        paths.append(path)
    return paths


def _distinct(kind: str, rng: Random, count: int) -> list[Row]:
    """Held-out rows, of which no two ask the same."""
    rows: dict[tuple[str, ...], Row] = {}
    while len(rows) < count:
        row = _free_row(kind, rng, "held-out", ())
        rows.setdefault(tuple(plain(text) for text in questions(row)), row)
    return list(rows.values())


def _free_row(kind: str, rng: Random, part: Part, taken: Collection[str]) -> Row:
    """A row that is short enough and asks nothing that is taken.

    What can be asked is divided between the parts as it is drawn; short follow-ups, which name
    no tool ("And in Oslo?"), may still meet here.
    """
    while True:
        row = _DRAW[kind](rng, part)
        if rough_tokens(row) > MAX_TOKENS:
            continue
        if not any(plain(text) in taken for text in questions(row)):
            return row


def _lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
