"""Follows a run by its record alone: any number can watch, and none can hurt it."""

import errno
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Literal

from gptcore.control import send
from gptcore.errors import UserError
from gptcore.events import EventReader
from gptcore.status import LIVE, Status, observe
from gptcore.workspace import RunPaths, Workspace
from gptstudio.display import Display, make_display
from gptstudio.run_view import News, RunView
from gptstudio.summary import command, exit_code, summarise

#: Seconds between two looks at the record.
INTERVAL = 0.2
EXIT_INTERRUPTED = 130


class Signals:
    """Counts Ctrl-C, and notes a hang-up or termination, instead of dying of it."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.ended_by = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGINT: self._interrupted,
            signal.SIGHUP: self._ended,
            signal.SIGTERM: self._ended,
        }
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.interrupts += 1

    def _ended(self, number: int, frame: FrameType | None) -> None:
        self.ended_by = number


def follow(
    workspace: Workspace,
    run: RunPaths,
    *,
    since: int = 0,
    on_interrupt: Literal["stop", "detach"] = "detach",
    display: Display | None = None,
) -> int:
    """Show a run until it ends or the person leaves.

    Args:
        workspace: Where the run is.
        run: Its record.
        since: Byte of the events file up to which nothing is news.
        on_interrupt: What the first Ctrl-C does; the second always detaches.
        display: Where to show it; by default what suits standard output.

    Returns:
        The run's exit status: 0 done, 1 failed or lost, 2 bad input, 3 stopped; 130 after Ctrl-C.

    Raises:
        UserError: The record vanished.
    """
    view = RunView()
    with Signals() as signals:
        try:
            with display or make_display() as shown:
                status = _watch(run, view, since, shown, signals, on_interrupt == "stop")
            if signals.ended_by:
                return 128 + signals.ended_by
            if status.state in LIVE:
                again = command(workspace, "attach", run.name)
                print(f"detached; the run goes on: {again}", flush=True)
            else:
                print(summarise(workspace, run, status, view), flush=True)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return 128 + signal.SIGHUP  # the terminal is gone, and the signal yet to come
    return EXIT_INTERRUPTED if signals.interrupts else exit_code(status)


def _watch(
    run: RunPaths,
    view: RunView,
    since: int,
    display: Display,
    signals: Signals,
    may_stop: bool,
) -> Status:
    """Watch until the run has ended, or the person wants to go."""
    reader = EventReader(run.events)
    stopping = False
    while True:
        status = observe(run)  # before the events: an ended run has written its last one
        if status is None:
            raise UserError("the run's record is gone", where=str(run.folder))
        for news in view.follow(reader, since):
            display.news(news)
        leave = signals.ended_by or signals.interrupts > int(may_stop)
        if leave or status.state not in LIVE:
            return status
        if signals.interrupts and not stopping:
            stopping = True
            send(run, "stop")
            display.news(
                News(
                    "stopping: a checkpoint is written first;"
                    " press Ctrl-C again to leave it to itself",
                    "warning",
                )
            )
        display.update(view, status)
        time.sleep(INTERVAL)
