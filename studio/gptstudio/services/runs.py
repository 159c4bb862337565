"""The runs of a workspace, looked at again and again: what has ended is not read twice."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gptcore.control import is_alive
from gptcore.journal import last_lines
from gptcore.status import LIVE, Status, observe
from gptcore.workspace import RunPaths, Workspace

#: Lines of the log that tell of a failure, and how far back they are looked for.
TELLING_LINES = 3
_LOOK_BACK = 40


@dataclass(frozen=True, slots=True)
class Runs:
    """Every run at one moment.

    Args:
        all: The newest first.
        profiles: Name of the profile that each was started with, by run.
        last_words: What the processes of failed and lost runs printed last, by run; raw.
    """

    all: list[Status] = field(default_factory=list)
    profiles: dict[str, str] = field(default_factory=dict)
    last_words: dict[str, list[str]] = field(default_factory=dict)


class _Seen(NamedTuple):
    """A status and what its file looked like then."""

    stamp: tuple[int, int, int]
    status: Status
    profile: str
    last_words: list[str]


class RunBook:
    """Reads the status of every run; cheap to ask each second, with hundreds of runs too.

    Args:
        workspace: Whose runs.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._seen: dict[str, _Seen] = {}

    def read(self) -> Runs:
        """Every run as it is now.

        Raises:
            OSError: The folder of the records cannot be read.
        """
        try:
            names = [entry.name for entry in os.scandir(self._workspace.logs) if entry.is_dir()]
        except FileNotFoundError:
            names = []
        self._seen = {name: seen for name in names if (seen := self._look(name)) is not None}
        runs = [seen.status for seen in self._seen.values()]
        runs.sort(key=lambda status: status.started, reverse=True)
        profiles = {name: seen.profile for name, seen in self._seen.items()}
        words = {name: seen.last_words for name, seen in self._seen.items() if seen.last_words}
        return Runs(runs, profiles, words)

    def _look(self, name: str) -> _Seen | None:
        run = self._workspace.run(name)
        try:
            found = run.status.stat()
        except OSError:
            return None
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        before = self._seen.get(name)
        if before is not None and before.stamp == stamp:
            # A lost run may turn out to live after all: its orphaned stage can be the last to know.
            settled = before.status.state not in (*LIVE, "lost")
            if settled or (before.status.state in LIVE and is_alive(run)):
                return before
        status = observe(run)
        if status is None:
            return None
        words = _last_words(run) if status.state in ("failed", "lost") else []
        profile = before.profile if before else ""
        return _Seen(stamp, status, profile or profile_name(run.profile), words)


def _last_words(run: RunPaths) -> list[str]:
    """The end of what others than our own report have printed; those lines begin with the time."""
    try:
        lines = [line.decode(errors="replace") for line in last_lines(run.log, _LOOK_BACK)]
    except OSError:
        return []
    foreign = [line for line in lines if line.strip() and not line.startswith("[")]
    return foreign[-TELLING_LINES:]


def profile_name(path: Path) -> str:
    """The name in a profile's file; empty where it cannot be read."""
    import tomllib

    try:
        name = tomllib.loads(path.read_text(encoding="utf-8")).get("name", "")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""
    return name if isinstance(name, str) else ""


def choose_run(runs: list[Status]) -> str:
    """The run a person most likely wants to see: the newest that lives, else the newest."""
    live = next((run.run for run in runs if run.state in LIVE), "")
    return live or (runs[0].run if runs else "")
