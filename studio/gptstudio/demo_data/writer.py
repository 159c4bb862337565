"""Draw the rows of every file, see that the parts share no question, and write them."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random

from gptcore.conversation import END_OF_TEXT
from gptcore.workspace import write_atomic
from gptstudio.demo_data.base import Row
from gptstudio.demo_data.conversations import conversation_row
from gptstudio.demo_data.handbook import PAGE_ROWS, conversation_page, list_page
from gptstudio.demo_data.instructions import instruction_row
from gptstudio.demo_data.messages import assistant, questions, user
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
        pages: Pages of the handbook.
    """

    tools: tuple[int, int] = (12000, 300)
    conversations: tuple[int, int] = (600, 60)
    instructions: tuple[int, int] = (600, 60)
    preferences: tuple[int, int] = (800, 100)
    pages: int = 6000


_DEFAULT = DemoSizes()
_DRAW: dict[str, Callable[[Random, Part], Row]] = {
    "tools": tool_row,
    "conversations": conversation_row,
    "instructions": instruction_row,
    "preferences": preference_row,
}

_HANDBOOK = "handbook.txt"
_PAGE_BREAK = f"{END_OF_TEXT}\n"
#: Of so many pages of the handbook one is of lists.
_LISTS_EVERY = 4

#: What `write_demo_data` writes.
FILE_NAMES = (
    *(f"{kind}-{part}.jsonl" for kind in _DRAW for part in ("train", "held-out")),
    _HANDBOOK,
)


def demo_files(*, seed: int = 0, sizes: DemoSizes = _DEFAULT) -> dict[str, str]:
    """The files' names and their whole text, without writing them.

    Args:
        seed: Where chance begins.
        sizes: How many rows of each kind.
    """
    met: set[str] = set()
    held_out = {
        kind: _distinct(kind, Random(f"{seed} {kind} held-out"), getattr(sizes, kind)[1], met)
        for kind in _DRAW
    }
    taken = {plain(text) for rows in held_out.values() for row in rows for text in questions(row)}
    files = {}
    for kind in _DRAW:
        rng = Random(f"{seed} {kind} train")
        lines: list[str] = []
        while len(lines) < getattr(sizes, kind)[0]:
            row = _free_row(kind, rng, "train", taken)
            if _is_new(row, met):
                lines.append(_line(row))
        files[f"{kind}-train.jsonl"] = "".join(lines)
        files[f"{kind}-held-out.jsonl"] = "".join(map(_line, held_out[kind]))
    rng = Random(f"{seed} handbook")
    files[_HANDBOOK] = _PAGE_BREAK.join(_page(rng, number, taken) for number in range(sizes.pages))
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


def _distinct(kind: str, rng: Random, count: int, met: set[str]) -> list[Row]:
    """Held-out rows, of which no two ask the same; what is in `met` is passed over."""
    rows: dict[tuple[str, ...], Row] = {}
    while len(rows) < count:
        row = _free_row(kind, rng, "held-out", ())
        asked = tuple(plain(text) for text in questions(row))
        if asked not in rows and _is_new(row, met):
            rows[asked] = row
    return list(rows.values())


def _is_new(row: Row, met: set[str]) -> bool:
    """Whether no row in `met` says the same; it is put there.

    An instruction says what a conversation of two messages says.
    """
    if "instruction" in row:
        row = {"messages": [*map(user, questions(row)), assistant(row["output"])]}
    line = _line(row)
    is_new = line not in met
    met.add(line)
    return is_new


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


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _page(rng: Random, number: int, taken: Collection[str]) -> str:
    """A page of the handbook, with its line end."""
    if number % _LISTS_EVERY == 0:
        return list_page(rng) + "\n"
    rows = [_free_row("tools", rng, "train", taken) for _ in range(PAGE_ROWS)]
    return conversation_page(rng, rows) + "\n"
