"""What the data worker may be wanted to do, as its client notes it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gptcore.workspace import Workspace
from gptstudio.services.data_answers import Counted, Failure, RowWish, StatsWish

if TYPE_CHECKING:
    from gptstudio.services import data_protocol as protocol
    from gptstudio.services.datasets import DatasetFile

#: Keys of what is wanted once at a time; counts have the path of their file behind a slash.
STAGES, ROW, STATS = "stages", "row", "stats"


class Text(msgspec.Struct, frozen=True, gc=False):
    """A file to count, as it was found, and the separator of its documents."""

    file: "DatasetFile"
    separator: str

    @property
    def key(self) -> str:
        """Of its job."""
        return f"/{self.file.path}"

    def is_same(self, other: object) -> bool:
        """Whether both are the same content of the same file, cut in the same way."""
        if not isinstance(other, Text) or self.separator != other.separator:
            return False
        then, now = self.file, other.file
        return (then.path, then.size, then.mtime_ns) == (now.path, now.size, now.mtime_ns)


class ProfileText(msgspec.Struct, frozen=True, gc=False):
    """A profile's file whose stages are looked at, and its TOML where that differs."""

    path: Path
    text: str | None


Wanted = Text | ProfileText | RowWish | StatsWish


class Known(msgspec.Struct, frozen=True, gc=False):
    """An answer, of which text, and until when it holds."""

    text: Text
    answer: Counted | Failure
    until: float


@dataclass(slots=True)
class Job:
    """One thing that is wanted; the later one of two with the same key counts.

    Args:
        key: What it is about.
        what: What is counted, looked at or read.
        number: Rises with every wish; 0: when nothing else is wanted.
    """

    key: str
    what: Wanted
    number: int
    id: int = 0
    sent_at: float = 0.0
    deaths: int = 0
    is_cancelled: bool = False
    is_dropped: bool = False


def request_of(job: Job, workspace: Workspace) -> "protocol.Request":
    """A job as the worker is asked for it."""
    from gptstudio.services.data_protocol import CountFile, CountStats, FindStages, ReadRow

    what = job.what
    if isinstance(what, ProfileText):
        return FindStages(job.id, os.fsencode(what.path), what.text)
    if isinstance(what, Text):
        path = os.fsencode(workspace.datasets / what.file.path)
        return CountFile(job.id, path, what.separator, what.file.form == "data")
    path = os.fsencode(workspace.datasets / what.path)
    if isinstance(what, StatsWish):
        return CountStats(job.id, path, what.path, what.pipeline, what.context)
    return ReadRow(
        job.id,
        path,
        what.row,
        what.view,
        what.pipeline,
        what.context,
        what.words,
        what.forwards,
    )
