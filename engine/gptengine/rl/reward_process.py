"""The process that a function of the user's runs in, as the training holds it.

It gets a few variables of the environment, and none that could be a token or key; it ends with the
training, when it takes too long, and with `close`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptcore.errors import UserError
from gptcore.text import clean

#: What of the environment it gets.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
#: The training needs the cores and the devices; and a hash is to be the same in each run.
SET_VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONHASHSEED": "0",
}
#: Address space that it may have, in bytes.
MEMORY_BYTES = 4 << 30
#: Seconds that loading the file may take: what it imports may be large.
LOADING_S = 60.0
#: Seconds that it has to end by itself.
ENDING_S = 1.0
#: A reply is a number or a reason; what is longer is none.
_LONGEST_REPLY = 1 << 16

_CHILD = Path(__file__).with_name("reward_child.py")


class RewardFailure(Exception):  # noqa: N818 - the function's, not this module's
    """A function gave no value for a completion; why, in words."""


class Unusable(Exception):  # noqa: N818 - becomes a `UserError`
    """A function cannot be loaded; why, in words."""


class _Silent(Exception):  # noqa: N818 - becomes one of those above
    """The process has not answered; why, in words."""


class RewardProcess:
    """A function in a process that is started again where it was lost.

    Args:
        file: Where the function is; read once.
        function: Its name.
        root: The workspace: its current folder, from which it may import.
        timeout_s: Seconds that a call may take.
    """

    def __init__(self, file: Path, function: str, root: Path, timeout_s: float) -> None:
        self._load = {
            "path": str(file),
            "source": file.read_bytes().decode("latin-1"),  # Python finds out which it is
            "function": function,
            "root": str(root),
            "memory": MEMORY_BYTES,
        }
        self._root = root
        self._timeout_s = timeout_s
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and load the function.

        Raises:
            Unusable: That does not work.
            UserError: Python cannot be started.
        """
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        try:
            self._popen = subprocess.Popen(
                # -P and -s: only what is installed, and the workspace after it, can be imported.
                [sys.executable, "-P", "-s", "-B", str(_CHILD)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self._root,
                env=kept | SET_VARIABLES,
                start_new_session=True,  # ctrl+c is the training's; and it ends with its children
            )
        except OSError as error:
            raise UserError(
                f"no process can be started for rewards: {error.strerror or error}",
                where=sys.executable,
            ) from None
        try:
            reply = self._talk(self._load, LOADING_S)
        except _Silent as error:
            raise Unusable(f"its file {error} while it was loaded") from None
        if "error" in reply:
            self.close()
            raise Unusable(clean(str(reply["error"])))

    def ask(self, arguments: Mapping[str, Any]) -> float:
        """Call the function.

        Args:
            arguments: By name.

        Returns:
            What it gives, a finite number.

        Raises:
            RewardFailure: It gives none.
            Unusable: It was lost before, and cannot be loaded again.
        """
        if self._popen is None or self._popen.poll() is not None:
            self._kill()
            self.start()
        try:
            reply = self._talk(arguments, self._timeout_s)
        except _Silent as error:
            raise RewardFailure(f"it {error}") from None
        value = reply.get("value")
        if isinstance(value, float):
            return value
        raise RewardFailure(clean(str(reply.get("error"))))

    def close(self) -> None:
        """End it."""
        if self._popen is None:
            return
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            pass
        self._kill()

    def _talk(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """Send a line and wait for one; a process that gives none is ended."""
        assert self._popen is not None
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        until = time.monotonic() + timeout_s
        # What rows from other formats hold beside JSON's types, such as dates, becomes text.
        line = json.dumps(request, default=str).encode() + b"\n"
        try:
            _send(self._popen.stdin.fileno(), line, until)
            reply = json.loads(_receive(self._popen.stdout.fileno(), until))
            if not isinstance(reply, dict):
                raise ValueError
        except TimeoutError:
            self._kill()
            raise _Silent(f"took longer than {timeout_s:g} s") from None
        except EOFError:
            raise _Silent(_how_it_ended(self._kill())) from None
        except (ValueError, RecursionError):
            self._kill()
            raise _Silent("wrote into the pipe that its results come by") from None
        return reply

    def _kill(self) -> int:
        """End it and all that it has started; its exit status."""
        popen, self._popen = self._popen, None
        if popen is None:
            return 0
        try:
            popen.wait(0.1)  # where it is ending, how it does is to be known
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for stream in (popen.stdin, popen.stdout):
            if stream is not None:
                stream.close()
        return popen.wait()


def _send(descriptor: int, data: bytes, until: float) -> None:
    os.set_blocking(descriptor, False)  # one that does not read must not hold the training up
    while data:
        _wait(descriptor, select.POLLOUT, until)
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            raise EOFError from None


def _receive(descriptor: int, until: float) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        _wait(descriptor, select.POLLIN, until)
        data = os.read(descriptor, _LONGEST_REPLY)
        if not data:
            raise EOFError
        line += data
        if len(line) > _LONGEST_REPLY:
            raise ValueError
    return line


def _wait(descriptor: int, events: int, until: float) -> None:
    poll = select.poll()  # unlike `select` it takes descriptors beyond 1023
    poll.register(descriptor, events)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended its process, with status {status}"
    known = -status in set(signal.Signals)
    name = signal.Signals(-status).name if known else f"signal {-status}"
    return f"was ended by {name}"
