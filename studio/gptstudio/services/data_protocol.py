"""What studio and data worker say to each other: one JSON object a line.

Paths travel as the bytes that the file system has, for they need not be UTF-8.
"""

import msgspec

from gptstudio.services.counting import Counts
from gptstudio.services.row_lines import Line, View
from gptstudio.services.stage_states import StageState


class CountFile(msgspec.Struct, frozen=True, tag="count"):
    """Count what is in a file.

    Attributes:
        id: Of the request; each answer carries it.
        path: The file.
        separator: What stands between documents of a text.
        is_data: Whether it holds rows of data rather than text.
    """

    id: int
    path: bytes
    separator: str
    is_data: bool = False


class FindStages(msgspec.Struct, frozen=True, tag="stages"):
    """Find out how the stages of a profile stand.

    Attributes:
        id: Of the request; each answer carries it.
        path: The profile's file; read where there is no `text`, and for its name.
        text: The profile as TOML.
    """

    id: int
    path: bytes
    text: str | None = None


class ReadRow(msgspec.Struct, frozen=True, tag="row"):
    """Show a row of a data file.

    Attributes:
        id: Of the request; each answer carries it.
        path: The file.
        row: Its number, from 1; 0: the last.
        view: What of it.
        pipeline: Name of the profile whose tokenizer counts.
        context: Tokens that fit; None: nobody says how many.
        words: Show the next row that holds these instead; empty: the row itself.
        forwards: Whether the next one is looked for behind `row`, or before it.
    """

    id: int
    path: bytes
    row: int
    view: View
    pipeline: str
    context: int | None = None
    words: str = ""
    forwards: bool = True


class CountStats(msgspec.Struct, frozen=True, tag="stats"):
    """Count what there is to be known about the rows of a file.

    Attributes:
        id: Of the request; each answer carries it.
        path: The file.
        name: What it is called.
        pipeline: Name of the profile whose tokenizer counts.
        context: Tokens that fit; None: nobody says how many.
    """

    id: int
    path: bytes
    name: str
    pipeline: str
    context: int | None = None


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Leave the request `id` if it is at work; it is answered by `Cancelled`, or was answered."""

    id: int


Request = CountFile | FindStages | ReadRow | CountStats | Cancel


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker has started."""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How many bytes have been read, of how many."""

    id: int
    done: int
    total: int


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """A file has been counted."""

    id: int
    counts: Counts


class StagesFound(msgspec.Struct, frozen=True, tag="stages"):
    """How the stages stand."""

    id: int
    stages: tuple[StageState, ...]


class RowPreview(msgspec.Struct, frozen=True, gc=False):
    """A row as it is shown; all of it harmless.

    Attributes:
        row: Its number, from 1.
        line: Its line, from 1; None where lines do not count.
        what: Its form and how it was written; empty where it cannot be used.
        in_tokens: How many tokens it has and how they fit, or why that is not known.
        is_odd: Whether it does not fit as it is.
        lines: What is seen.
        is_whole: Whether those are all: what is very long is sent in part.
    """

    row: int
    line: int | None
    what: str
    in_tokens: str
    is_odd: bool
    lines: tuple[Line, ...]
    is_whole: bool


class RowFound(msgspec.Struct, frozen=True, tag="row"):
    """A row has been read."""

    id: int
    row: RowPreview


class StatsCounted(msgspec.Struct, frozen=True, tag="stats"):
    """The numbers about a file, in lines."""

    id: int
    lines: tuple[str, ...]


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """The request was left."""

    id: int


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The request cannot be answered; why, in words."""

    id: int
    reason: str


Reply = Ready | Progress | Counted | StagesFound | RowFound | StatsCounted | Cancelled | Failed


def encode(message: Request | Reply) -> bytes:
    """The message as a line."""
    return msgspec.json.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """The request in a line; raises msgspec.DecodeError."""
    request: Request = msgspec.json.decode(line, type=Request)
    return request


def decode_reply(line: bytes) -> Reply:
    """The reply in a line; raises msgspec.DecodeError."""
    reply: Reply = msgspec.json.decode(line, type=Reply)
    return reply
