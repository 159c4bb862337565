"""The only writer of events: the supervisor has one, and so has the stage process."""

import contextlib
import time

from gptcore import events
from gptcore.journal import JournalWriter
from gptcore.workspace import RunPaths
from gptengine.log_lines import log_line

#: Seconds between two lines of the log about the loss; the events have every step.
STEP_LINE_INTERVAL = 1.0


class Report:
    """Appends typed records to the run's events file, and prints them as lines for its log.

    Args:
        run: The run.
        stage: The stage that speaks; empty for the supervisor.
    """

    def __init__(self, run: RunPaths, stage: str = "") -> None:
        self._journal = JournalWriter(run.events)
        self._run = run.name
        self._stage = stage
        self._next_line: dict[type, float] = {}

    def write(self, payload: events.Payload, *, step: int | None = None, stage: str = "") -> None:
        """Append one record, and say it in the log.

        Args:
            payload: Any of the types in `gptcore.events`.
            step: Optimiser steps done, where the record belongs to one.
            stage: The stage it is about, where that is not the speaker's own.
        """
        self._journal.append(
            events.encode(
                payload, time=time.time(), run=self._run, stage=stage or self._stage, step=step
            )
        )

        self._print(payload, step, stage or self._stage)

    def warn(self, message: str) -> None:
        """Append a warning."""
        self.write(events.Warn(message))

    def _print(self, payload: events.Payload, step: int | None, stage: str) -> None:
        if isinstance(payload, events.Step | events.Reward) and not is_held_out(payload):
            if time.monotonic() < self._next_line.get(type(payload), 0.0):
                return
            self._next_line[type(payload)] = time.monotonic() + STEP_LINE_INTERVAL
        if line := log_line(payload, step):
            with contextlib.suppress(OSError):  # a full disk, of which the record tells
                where = f"{stage}  " if stage else ""
                print(f"[{time.strftime('%H:%M:%S')}] {where}{line}", flush=True)


def is_held_out(payload: events.Step | events.Reward) -> bool:
    """Whether it is about data that is not learned from, and so comes but now and then."""
    return isinstance(payload, events.Reward) and payload.held_out
