"""What the studio hears from `gptstudio.services.data_client`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gptstudio.services.counting import Counts
    from gptstudio.services.data_protocol import RowPreview
    from gptstudio.services.row_lines import View
    from gptstudio.services.stage_states import StageState


class Counted(msgspec.Struct, frozen=True, gc=False):
    """What is in a file; there may be tens of thousands that the garbage collector need not see.

    Attributes:
        path: Under `datasets/`.
        counts: Of the file as it was found.
    """

    path: str
    counts: "Counts"


@dataclass(frozen=True, slots=True)
class StagesFound:
    """How the stages of the profile asked about last stand."""

    stages: "tuple[StageState, ...]"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a long answer is.

    Args:
        path: Of the file that is counted, under `datasets/`; None: the stages are looked at.
        done: Bytes read.
        total: Bytes to read.
    """

    path: str | None
    done: int
    total: int


class Failure(msgspec.Struct, frozen=True, gc=False):
    """There is no answer.

    Attributes:
        path: Of the file that was to be counted, under `datasets/`; None: the stages.
        reason: Why, in words, harmless.
    """

    path: str | None
    reason: str


class RowWish(msgspec.Struct, frozen=True, gc=False):
    """A row that somebody wants to see.

    Attributes:
        path: Of its file, under `datasets/`.
        row: Its number, from 1; 0: the last.
        view: What of it.
        pipeline: Name of the profile whose tokenizer counts.
        context: Tokens that fit; None: nobody says how many.
        words: Show the next row that holds these instead; empty: the row itself.
        forwards: Whether the next one is looked for behind `row`, or before it.
    """

    path: str
    row: int
    view: "View"
    pipeline: str = ""
    context: int | None = None
    words: str = ""
    forwards: bool = True


class StatsWish(msgspec.Struct, frozen=True, gc=False):
    """A file whose numbers somebody wants to see.

    Attributes:
        path: Of the file, under `datasets/`.
        pipeline: Name of the profile whose tokenizer counts.
        context: Tokens that fit; None: nobody says how many.
    """

    path: str
    pipeline: str = ""
    context: int | None = None


class RowSeen(msgspec.Struct, frozen=True, gc=False):
    """A row as it is shown."""

    wish: RowWish
    row: "RowPreview"


class StatsSeen(msgspec.Struct, frozen=True, gc=False):
    """The numbers about a file, in lines."""

    wish: StatsWish
    lines: tuple[str, ...]


class Looking(msgspec.Struct, frozen=True, gc=False):
    """How far a row or the numbers about a file are, in bytes."""

    wish: RowWish | StatsWish
    done: int
    total: int


class Unseen(msgspec.Struct, frozen=True, gc=False):
    """A row or the numbers about a file cannot be had; why, in words, harmless."""

    wish: RowWish | StatsWish
    reason: str


Answer = Counted | StagesFound | Reading | Failure | RowSeen | StatsSeen | Looking | Unseen
