"""The only writer of events: the supervisor has one, and so has the stage process."""

import time

from gptcore import events
from gptcore.journal import JournalWriter
from gptcore.workspace import RunPaths


class Report:
    """Appends typed records to the run's events file.

    Args:
        run: The run.
        stage: The stage that speaks; empty for the supervisor.
    """

    def __init__(self, run: RunPaths, stage: str = "") -> None:
        self._journal = JournalWriter(run.events)
        self._run = run.name
        self._stage = stage

    def write(self, payload: events.Payload, *, step: int | None = None, stage: str = "") -> None:
        """Append one record.

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

    def warn(self, message: str) -> None:
        """Append a warning, and print it for the log."""
        print(f"warning: {message}", flush=True)
        self.write(events.Warn(message))
