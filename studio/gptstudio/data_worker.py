"""Reads data for the studio in a process of its own, so that nothing heavy holds its interface up.

The studio starts it as ``python -m gptstudio.data_worker``, writes requests to its standard input
and reads replies from its standard output (`gptstudio.services.data_protocol`). It does one thing
at a time, and ends when its input does: it never outlives the studio.
"""

import os
import queue
import signal
import threading
import time
import traceback
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gptcore.errors import UserError
from gptcore.text import clean
from gptcore.workspace import Workspace
from gptstudio.services import data_protocol as protocol
from gptstudio.services.counting import TextCounter
from gptstudio.services.record_counting import RecordCounter

if TYPE_CHECKING:  # what shows rows is imported when there is one to show
    from gptstudio.services.row_previews import RowPreviews

#: Seconds between two messages of progress.
PROGRESS_S = 0.3
#: Added to the process's niceness: the run and the interface go first.
NICENESS = 10
#: Counts that were left are kept, so that they go on where they stood; so many at most.
KEPT_COUNTERS = 4


Counter = TextCounter | RecordCounter


class Left(Exception):  # noqa: N818 - not an error
    """The request at work was cancelled."""


class Worker:
    """Answers requests, one after the other.

    Args:
        output: Descriptor that replies are written to.
        workspace: The studio's.
    """

    def __init__(self, output: int, workspace: Workspace) -> None:
        self._output = output
        self._write_lock = threading.Lock()
        self._workspace = workspace
        self._requests: queue.SimpleQueue[protocol.Request] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._counters: OrderedDict[tuple[bytes, str], Counter] = OrderedDict()
        self._told = 0.0

    def read_requests(self, stream: int) -> None:
        """Take requests until the input ends, then end the process; runs in a thread."""
        with os.fdopen(stream, "rb") as lines:
            for line in lines:
                try:
                    request = protocol.decode_request(line)
                except msgspec.DecodeError as error:
                    self._say(protocol.Failed(0, f"not a request: {error}"))
                    continue
                if isinstance(request, protocol.Cancel):
                    self._cancelled.add(request.id)
                else:
                    self._requests.put(request)
        os._exit(0)  # whatever is at work: nobody waits for it

    def run(self) -> None:
        """Answer requests for ever."""
        self._say(protocol.Ready())
        while True:
            request = self._requests.get()
            self._told = time.monotonic()
            self._say(self._answer(request))
            self._cancelled.discard(request.id)

    def _answer(self, request: protocol.Request) -> protocol.Reply:
        try:
            if isinstance(request, protocol.CountFile):
                return self._count(request)
            if isinstance(request, protocol.FindStages):
                return self._stages(request)
            if isinstance(request, protocol.ReadRow | protocol.CountStats):
                return self._rows(request)
            return protocol.Cancelled(request.id)
        except Left:
            return protocol.Cancelled(request.id)
        except UserError as error:
            reason = error.what
        except OSError as error:
            reason = f"cannot be read: {error.strerror or error}"
        except MemoryError:
            reason = "there is not enough memory to read it"
        except Exception as error:  # across the pipe there are only answers
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error}"
        return protocol.Failed(request.id, clean(reason))

    def _count(self, request: protocol.CountFile) -> protocol.Reply:
        key = (request.path, request.separator)
        counter = self._resumed(key) or _counter(request)
        try:
            while counter.step():
                self._check(request.id, counter.done, counter.total)
        except Left:
            self._keep(key, counter)
            raise
        except BaseException:
            counter.close()
            raise
        counter.close()
        if isinstance(counter, RecordCounter):
            path = Path(os.fsdecode(request.path))
            self._previews.learn(path, counter.stamp, counter.marks)
        return protocol.Counted(request.id, counter.result())

    def _resumed(self, key: tuple[bytes, str]) -> Counter | None:
        """The count of that file that was left, unless the file has changed since."""
        counter = self._counters.pop(key, None)
        if counter is None:
            return None
        status = Path(os.fsdecode(key[0])).stat()
        if counter.stamp == (status.st_size, status.st_mtime_ns, status.st_ino):
            return counter
        counter.close()
        return None

    def _keep(self, key: tuple[bytes, str], counter: Counter) -> None:
        self._counters[key] = counter
        if len(self._counters) > KEPT_COUNTERS:
            self._counters.popitem(last=False)[1].close()

    def _rows(self, request: protocol.ReadRow | protocol.CountStats) -> protocol.Reply:
        def on_bytes(done: int, total: int) -> None:
            self._check(request.id, done, total)

        path = Path(os.fsdecode(request.path))
        if isinstance(request, protocol.CountStats):
            lines = self._previews.stats(request, path, on_bytes)
            return protocol.StatsCounted(request.id, lines)
        return protocol.RowFound(request.id, self._previews.read(request, path, on_bytes))

    @cached_property
    def _previews(self) -> "RowPreviews":
        from gptstudio.services.row_previews import RowPreviews

        # Rows are small: threads would cost more than they gain, on cores that others need.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return RowPreviews(self._workspace)

    def _stages(self, request: protocol.FindStages) -> protocol.Reply:
        import tomllib

        from gptcore.profile import check_profile, read_profile
        from gptstudio.services.stage_states import stage_states

        path = Path(os.fsdecode(request.path))
        if request.text is None:
            profile = read_profile(path)
        else:
            try:
                settings = tomllib.loads(request.text)
            except tomllib.TOMLDecodeError as error:
                raise UserError(f"the profile is not TOML: {error}") from None
            profile = check_profile({"name": path.stem, **settings}, where=str(path))
        states = stage_states(
            self._workspace, profile, lambda done, total: self._check(request.id, done, total)
        )
        return protocol.StagesFound(request.id, states)

    def _check(self, request_id: int, done: int, total: int) -> None:
        """Between two pieces of work: leave if that is wanted, else tell how far it is."""
        if request_id in self._cancelled:
            raise Left
        now = time.monotonic()
        if now - self._told >= PROGRESS_S:
            self._told = now
            self._say(protocol.Progress(request_id, done, total))

    def _say(self, reply: protocol.Reply) -> None:
        line = protocol.encode(reply)
        with self._write_lock:
            while line:
                try:
                    line = line[os.write(self._output, line) :]
                except OSError:  # the studio has gone
                    os._exit(0)


def _counter(request: protocol.CountFile) -> Counter:
    path = Path(os.fsdecode(request.path))
    return RecordCounter(path) if request.is_data else TextCounter(path, request.separator)


def main() -> None:
    """Serve the studio that has started this process, in the workspace that is its folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c in the terminal is not meant for it
    try:
        os.nice(NICENESS)
    except OSError:
        pass
    # Whatever else prints must not be taken for a reply.
    output = os.dup(1)
    os.dup2(2, 1)
    requests = os.dup(0)
    worker = Worker(output, Workspace(Path.cwd()))
    threading.Thread(target=worker.read_requests, args=(requests,), daemon=True).start()
    worker.run()


if __name__ == "__main__":
    main()
