"""The runs of a workspace, looked at again and again: what has ended is not read twice."""

import os
from typing import NamedTuple

from gptcore.control import is_alive
from gptcore.status import LIVE, Status, observe
from gptcore.workspace import Workspace


class _Seen(NamedTuple):
    """A status and what its file looked like then."""

    stamp: tuple[int, int, int]
    status: Status


class RunBook:
    """Reads the status of every run; cheap to ask each second, with hundreds of runs too.

    Args:
        workspace: Whose runs.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._seen: dict[str, _Seen] = {}

    def read(self) -> list[Status]:
        """Every run as it is now, the newest first.

        Raises:
            OSError: The folder of the records cannot be read.
        """
        try:
            names = [entry.name for entry in os.scandir(self._workspace.logs) if entry.is_dir()]
        except FileNotFoundError:
            names = []
        self._seen = {name: seen for name in names if (seen := self._look(name)) is not None}
        runs = [seen.status for seen in self._seen.values()]
        return sorted(runs, key=lambda status: status.started, reverse=True)

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
        return None if status is None else _Seen(stamp, status)


def choose_run(runs: list[Status]) -> str:
    """The run a person most likely wants to see: the newest that lives, else the newest."""
    live = next((run.run for run in runs if run.state in LIVE), "")
    return live or (runs[0].run if runs else "")
