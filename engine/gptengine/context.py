"""What a stage is given: where it is, its settings, its parents, and the way to be heard."""

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gptcore import control, events
from gptcore.control import Command
from gptcore.profile import Profile
from gptcore.settings import TrainingSettings
from gptcore.stages import Stage
from gptcore.workspace import RunPaths, Workspace
from gptengine.report import Report

POLL_S = 0.1

Training = TypeVar("Training", bound=TrainingSettings)


class StopRequested(Exception):  # noqa: N818 - not an error
    """A stop command, met by work that has no steps and so nothing to save."""


@dataclass
class StageContext:
    """The surroundings of one stage process.

    Args:
        workspace: The person's.
        run: The run it belongs to.
        profile: The settings, frozen at the run's start.
        stage: The stage.
        report: Its voice in the record.
        attempt: How often the run has been started.
        parent: What the stage before it in this run made, or what `--from` named.
        micro_batch: In place of the profile's, after memory ran out; 0: the profile's.
        is_main: Whether this process, of several that train together, reads and answers commands.
    """

    workspace: Workspace
    run: RunPaths
    profile: Profile
    stage: Stage
    report: Report
    attempt: int
    parent: Path | None = None
    micro_batch: int = 0
    is_main: bool = True
    _signalled: bool = field(default=False, init=False)
    _last_poll: float = field(default=0.0, init=False)

    @property
    def checkpoints(self) -> Path:
        """Where this stage's checkpoints go."""
        return self.workspace.checkpoints(self.run.name, self.stage.name)

    def training(self, settings: Training) -> Training:
        """The settings of a training, with the micro-batch that memory allowed."""
        if not self.micro_batch:
            return settings
        return settings.model_copy(update={"micro_batch": self.micro_batch})

    def obey_signals(self) -> None:
        """Treat SIGTERM and SIGINT as a stop command."""

        def on_signal(number: int, frame: object) -> None:
            self._signalled = True

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)

    def requests(self) -> list[Command]:
        """The commands that have come; asks the disk ten times a second at most."""
        if self._signalled:
            self._signalled = False
            return [Command("signal", "stop", time.time())]
        now = time.monotonic()
        if not self.is_main or now - self._last_poll < POLL_S:
            return []
        self._last_poll = now
        return control.take(self.run)

    def check(self) -> None:
        """Between two pieces of work without steps: obey stop and pause, refuse the rest.

        Raises:
            StopRequested: A stop command came.
        """
        paused = False
        while True:
            for command in self.requests():
                outcome, message = "done", ""
                if command.name == "pause":
                    paused = True
                elif command.name == "resume":
                    outcome, message = ("done", "") if paused else ("refused", "not paused")
                    paused = False
                elif command.name != "stop":
                    outcome, message = "refused", f"{self.stage.title}: nothing is trained yet"
                self.report.write(
                    events.Answer(command.id, command.name, outcome, message)  # type: ignore[arg-type]
                )
                if command.name == "stop":
                    raise StopRequested
                if command.name in ("pause", "resume") and outcome == "done":
                    self.report.write(events.RunChange("paused" if paused else "running"))
            if not paused:
                return
            time.sleep(POLL_S)

    def progress(self, what: str, unit: str) -> "Progress":
        """A reporter of work without steps that obeys commands too."""
        return Progress(self, what, unit)


class Progress:
    """Tells how far a piece of work is, twice a second at most.

    Args:
        context: Of the stage.
        what: The work, for people.
        unit: Of the numbers.
    """

    INTERVAL_S = 0.5

    def __init__(self, context: StageContext, what: str, unit: str) -> None:
        self._context = context
        self._what = what
        self._unit = unit
        self._last = 0.0

    def __call__(self, done: float, total: float) -> None:
        """Note the progress, and look for commands.

        Raises:
            StopRequested: A stop command came.
        """
        self._context.check()
        now = time.monotonic()
        if not self._context.is_main:
            return
        if now - self._last >= self.INTERVAL_S or done >= total:
            self._last = now
            self._context.report.write(events.Progress(self._what, done, total, self._unit))
