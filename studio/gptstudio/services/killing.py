"""Ends the processes of a run at once, where it does not answer any more."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gptcore.control import FileLock, is_alive
from gptcore.errors import UserError
from gptcore.status import LIVE, Status, read_status, write_status
from gptcore.workspace import RunPaths

if TYPE_CHECKING:
    import psutil

#: Seconds that the kernel may take to end what was killed: a device's memory is given back first.
KILL_TIMEOUT = 10.0
#: Seconds to wait for the lock: a reader that asks whether it is held holds it for an instant.
LOCK_TIMEOUT = 2.0


def kill_run(run: RunPaths, status: Status, *, timeout: float = KILL_TIMEOUT) -> None:
    """Kill the supervisor of a run and what it started; the run can be resumed afterwards.

    Its last checkpoint stays; the steps since are lost.

    Args:
        run: The run.
        status: As observed.
        timeout: Seconds to wait for the end.

    Raises:
        UserError: It does not live, is another user's, or does not end.
    """
    if status.state not in LIVE:
        raise UserError(
            f"run {run.name} is not running, it is {status.state}", where=str(run.folder)
        )
    doomed = list(_processes(run, (status.supervisor_pid, status.stage_pid)))
    if not doomed:
        raise UserError(
            f"the processes of run {run.name} cannot be seen from here",
            where=str(run.folder),
            fix="it may run on another machine or in another container: kill it there",
        )
    _kill(run, doomed)
    deadline = time.monotonic() + timeout
    while is_alive(run):
        if time.monotonic() >= deadline:
            raise UserError(
                f"the processes of run {run.name} were killed, but have not ended",
                where=f"processes {', '.join(str(process.pid) for process in doomed)}",
                fix="one may hang in the driver or on a disk: see ps and dmesg",
            )
        time.sleep(0.02)
    _record(run)


def _record(run: RunPaths) -> None:
    """Put down that a person has ended it: it is not lost."""
    lock = FileLock(run.lock)
    if not lock.acquire(LOCK_TIMEOUT):
        return  # somebody has started it again
    with lock:  # so the status has no other writer
        status = read_status(run)
        if status is not None:
            status.state, status.message = "stopped", "it was killed"
            status.eta_s = None
            write_status(run, status)


def _kill(run: RunPaths, doomed: "Iterable[psutil.Process]") -> None:
    import psutil

    for process in doomed:  # the supervisor first: it must not start another
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
        except psutil.AccessDenied:
            raise UserError(
                f"run {run.name} belongs to another user", where=f"process {process.pid}"
            ) from None


def _processes(run: RunPaths, pids: Iterable[int]) -> "Iterator[psutil.Process]":
    """The processes of the run with these numbers, each before its descendants."""
    import psutil

    for pid in pids:
        try:
            process = psutil.Process(pid) if pid > 0 else None
            # The number may be another program's by now.
            if process is not None and _is_of(run, process.cmdline()):
                yield process
                yield from process.children(recursive=True)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _is_of(run: RunPaths, words: list[str]) -> bool:
    engine = any(word.startswith("gptengine") for word in words)
    return engine and run.name in words
