"""Asks the data worker: what is wanted in which order, what was answered, and who killed it."""

import select
import socket
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.workspace import Workspace
from gptstudio.services.data_answers import (
    Answer,
    Counted,
    Failure,
    Looking,
    Reading,
    RowSeen,
    RowWish,
    StagesFound,
    StatsSeen,
    StatsWish,
    Unseen,
)
from gptstudio.services.data_jobs import (
    ROW,
    STAGES,
    STATS,
    Job,
    Known,
    ProfileText,
    Text,
    Wanted,
    request_of,
)

if TYPE_CHECKING:  # what the process needs is imported when there is one
    from gptstudio.services import data_protocol as protocol
    from gptstudio.services.data_process import WorkerProcess
    from gptstudio.services.datasets import DatasetFile

#: A request at which the worker has died so often is not sent again.
MOST_DEATHS = 2
#: Seconds after which what failed, a file or the start of the worker, is tried again when asked.
RETRY_S = 60.0
#: Seconds after which a count gives way to what was asked for later.
PATIENCE_S = 0.3


class DataClient:
    """Counts files and looks at stages, in a process that is started when first needed.

    `count`, `count_all` and `stages` only note what is wanted and may be called from any thread;
    one other thread calls `wait` again and again. What was asked for last comes first.

    Args:
        workspace: Whose files.
        python: Interpreter of the worker.
    """

    def __init__(self, workspace: Workspace, python: str = sys.executable) -> None:
        self._workspace = workspace
        self._python = python
        self._lock = threading.Lock()
        self._wanted: OrderedDict[str, Job] = OrderedDict()  # the last one comes first
        self._later: OrderedDict[str, Text] = OrderedDict()  # the first one comes first
        self._running: Job | None = None
        self._known: dict[str, Known] = {}
        self._answers: deque[Answer] = deque()
        self._numbers = 0
        self._ids = 0
        self._process_lock = threading.Lock()
        self._process: WorkerProcess | None = None
        self._failed_starts = 0
        self._broken = ""
        self._broken_until = 0.0
        self._closed = False
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    # --- asking ----------------------------------------------------------------------------------

    def count(self, file: "DatasetFile", separator: str) -> Counted | Failure | None:
        """What is in a file if that is known; otherwise it is counted next.

        Args:
            file: As `datasets.scan` has found it.
            separator: What stands between documents.
        """
        with self._lock:
            text = Text(file, separator)
            if (known := self._look_up(text)) is None:
                self._want(self._job(text.key, text))
        self._wake()
        return known

    def count_all(self, files: "Iterable[DatasetFile]", separator: str) -> list[Counted | Failure]:
        """What is known of files; the rest is counted in this order when nothing else is wanted.

        What was asked for in this way before, and is not among these files, is forgotten.
        """
        known = []
        with self._lock:
            self._later.clear()
            running = self._running.what if self._running else None
            stays = not isinstance(running, Text)
            for file in files:
                text = Text(file, separator)
                stays = stays or text.is_same(running)
                if (answer := self._look_up(text)) is not None:
                    known.append(answer)
                elif text.key not in self._wanted and not text.is_same(running):
                    self._later[file.path] = text
            if self._running is not None and not stays:
                self._running.is_dropped = True
        self._wake()
        return known

    def stages(self, path: Path, text: str | None = None) -> None:
        """Ask how the stages of a profile stand; a later question takes the place of this one.

        Args:
            path: The profile's file.
            text: The profile as TOML, where it differs from the file.
        """
        with self._lock:
            self._want(self._job(STAGES, ProfileText(path, text)))
        self._wake()

    def row(self, wish: RowWish) -> None:
        """Ask for a row; a later question takes the place of this one, and counts give way."""
        self._ask(ROW, wish)

    def stats(self, wish: StatsWish) -> None:
        """Ask for the numbers about a file; a later question takes the place of this one."""
        self._ask(STATS, wish)

    def forget_row(self) -> None:
        """The row that was asked for is no longer wanted."""
        self._forget(ROW)

    def forget_stats(self) -> None:
        """The numbers that were asked for are no longer wanted."""
        self._forget(STATS)

    def _ask(self, key: str, wish: RowWish | StatsWish) -> None:
        with self._lock:
            self._want(self._job(key, wish))
        self._wake()

    def _forget(self, key: str) -> None:
        with self._lock:
            self._wanted.pop(key, None)
            if self._running is not None and self._running.key == key:
                self._running.is_dropped = True
        self._wake()

    def _look_up(self, text: Text) -> Counted | Failure | None:
        known = self._known.get(text.file.path)
        if known is None or not text.is_same(known.text) or time.monotonic() > known.until:
            return None
        return known.answer

    def _job(self, key: str, what: Wanted) -> Job:
        self._numbers += 1
        return Job(key, what, self._numbers)

    def _want(self, job: Job) -> None:
        """Put a job first; another one for the same thing gives way."""
        running = self._running
        if running is not None and running.key == job.key:
            if (
                isinstance(job.what, Text)
                and job.what.is_same(running.what)
                and not running.is_dropped
            ):
                running.number = job.number
                return
            running.is_dropped = True
        if isinstance(job.what, Text):
            self._later.pop(job.what.file.path, None)
        self._wanted[job.key] = job
        self._wanted.move_to_end(job.key)

    def _wake(self) -> None:
        try:
            self._waker.send(b"x")
        except OSError:
            pass  # so much is in there already that it will wake

    # --- waiting ---------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> Answer | None:
        """The next answer; None when there is none in time, or once the client is closed.

        Args:
            timeout: Seconds to wait; None: for ever.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed:
            self._feed()
            if self._answers:
                return self._answers.popleft()
            if not self._listen(deadline):
                return None
        return None

    def wait_for_some(self, timeout: float | None = None, gather: float = 0.1) -> list[Answer]:
        """The next answer and those that come soon after it: small files are counted by thousands.

        Args:
            timeout: Seconds to wait for the first; None: for ever.
            gather: Seconds to wait for others, once there is one.
        """
        first = self.wait(timeout)
        if first is None:
            return []
        answers, end = [first], time.monotonic() + gather
        while (rest := end - time.monotonic()) > 0 and (more := self.wait(rest)) is not None:
            answers.append(more)
        return answers

    def close(self) -> None:
        """End the worker; `wait` returns None from now on."""
        self._closed = True
        self._wake()
        with self._process_lock:
            process = self._process
        if process is not None:
            process.end()

    def _listen(self, deadline: float | None) -> bool:
        """Wait until something happens, and take it in; False where nothing does in time."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        process = self._process
        if process is not None:
            poll.register(process, select.POLLIN)
        rest = None if deadline is None else 1000 * max(0.0, deadline - time.monotonic())
        ready = [number for number, _ in poll.poll(rest)]
        if self._woken.fileno() in ready:
            try:
                self._woken.recv(1 << 16)
            except OSError:
                pass
        if process is not None and process.fileno() in ready:
            replies = process.receive()
            for reply in replies or ():
                self._take(reply)
            if replies is None:
                self._on_death(process)
        return bool(ready)

    def _feed(self) -> None:
        """Give the worker the next job, or take from it what has become less urgent."""
        with self._lock:
            if self._running is not None:
                self._cancel_if_due(self._running)
                return
            job = self._next()
            if job is None:
                return
            self._ids += 1
            job.id, job.sent_at, job.is_cancelled = self._ids, time.monotonic(), False
            self._running = job
        if self._has_process(job):
            self._send(request_of(job, self._workspace))

    def _next(self) -> Job | None:
        if self._wanted:
            return self._wanted.popitem()[1]
        if self._later:
            _, text = self._later.popitem(last=False)
            return Job(text.key, text, 0)
        return None

    def _cancel_if_due(self, running: Job) -> None:
        newest = next(reversed(self._wanted.values()), None)
        patience = 0.0 if newest is not None and newest.key == ROW else PATIENCE_S
        gives_way = (
            newest is not None
            and isinstance(running.what, Text)
            and newest.number > running.number
            and time.monotonic() - running.sent_at >= patience
        )
        if (running.is_dropped or gives_way) and not running.is_cancelled:
            from gptstudio.services.data_protocol import Cancel

            running.is_cancelled = True
            self._send(Cancel(running.id))

    def _has_process(self, job: Job) -> bool:
        """Start the worker where it does not run; False where it cannot: the job has failed."""
        if self._process is not None:
            return True
        if time.monotonic() < self._broken_until:
            self._fail(job, self._broken)
            return False
        from gptstudio.services.data_process import WorkerProcess

        try:
            with self._process_lock:
                if not self._closed:
                    self._process = WorkerProcess(self._python, self._workspace.root)
        except OSError as error:
            self._note_failed_start(f"{self._python}: {error.strerror or error}")
            self._fail(job, self._broken)
        return self._process is not None

    def _send(self, request: "protocol.Request") -> None:
        if self._process is not None:
            self._process.send(request)

    # --- taking answers --------------------------------------------------------------------------

    def _take(self, reply: "protocol.Reply") -> None:
        from gptstudio.services import data_protocol as protocol

        job = self._running
        if isinstance(reply, protocol.Ready):
            self._failed_starts = 0
        elif job is None or reply.id != job.id:
            pass  # it crossed with a cancellation
        elif isinstance(reply, protocol.Progress):
            if not job.is_dropped:
                self._answers.append(_progress(job, reply))
        elif isinstance(reply, protocol.Counted):
            if isinstance(job.what, Text):
                path = job.what.file.path
                self._finish(job, Counted(path, reply.counts), float("inf"))
        elif isinstance(reply, protocol.StagesFound):
            self._finish(job, StagesFound(reply.stages))
        elif isinstance(reply, protocol.RowFound):
            if isinstance(job.what, RowWish):
                self._finish(job, RowSeen(job.what, reply.row))
        elif isinstance(reply, protocol.StatsCounted):
            if isinstance(job.what, StatsWish):
                self._finish(job, StatsSeen(job.what, reply.lines))
        elif isinstance(reply, protocol.Failed):
            self._fail(job, reply.reason, RETRY_S)
        else:
            self._put_back(job)

    def _fail(self, job: Job, reason: str, keep_s: float = 0.0) -> None:
        what = job.what
        if isinstance(what, RowWish | StatsWish):
            self._finish(job, Unseen(what, reason))
        else:
            path = what.file.path if isinstance(what, Text) else None
            self._finish(job, Failure(path, reason), keep_s)

    def _finish(self, job: Job, answer: Answer, keep_s: float = 0.0) -> None:
        with self._lock:
            self._running = None
            if job.is_dropped:
                return
            if isinstance(job.what, Text) and isinstance(answer, Counted | Failure):
                until = time.monotonic() + keep_s
                self._known[job.what.file.path] = Known(job.what, answer, until)
            self._answers.append(answer)

    def _put_back(self, job: Job) -> None:
        """It was left or lost: it comes again when what is wanted now is done."""
        with self._lock:
            self._running = None
            if not job.is_dropped and job.key not in self._wanted:
                self._wanted[job.key] = job
                self._wanted.move_to_end(job.key, last=False)

    def _on_death(self, process: "WorkerProcess") -> None:
        with self._process_lock:
            self._process = None
        reason = process.bury()
        if not process.is_ready:
            self._note_failed_start(reason)
        job = self._running
        if job is None:
            return
        job.deaths += 1
        if job.deaths < MOST_DEATHS:
            self._put_back(job)
        elif process.is_ready:
            self._fail(job, f"reading it has ended the data worker: {reason}", float("inf"))
        else:
            self._fail(job, self._broken)

    def _note_failed_start(self, reason: str) -> None:
        self._failed_starts += 1
        self._broken = f"the data worker cannot be started: {reason}"
        if self._failed_starts >= MOST_DEATHS:
            self._broken_until = time.monotonic() + RETRY_S


def _progress(job: Job, reply: "protocol.Progress") -> Reading | Looking:
    if isinstance(job.what, RowWish | StatsWish):
        return Looking(job.what, reply.done, reply.total)
    path = job.what.file.path if isinstance(job.what, Text) else None
    return Reading(path, reply.done, reply.total)
