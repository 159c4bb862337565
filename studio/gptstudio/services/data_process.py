"""The data worker's process, as the studio holds it."""

import os
import signal
import subprocess
from pathlib import Path

import msgspec

from gptcore.text import clean
from gptstudio.services import data_protocol as protocol

#: Seconds that the worker has to end.
END_S = 1.0
#: How much of what it said last is looked at when it has died.
LAST_WORDS_BYTES = 4096


class WorkerProcess:
    """A running data worker; it ends with this process, whose end closes its input.

    Args:
        python: Its interpreter.
        root: The workspace, which will be its current folder.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, python: str, root: Path) -> None:
        self._errors = os.fdopen(os.memfd_create("data-worker-errors"), "rb")
        try:
            self._popen = subprocess.Popen(
                [python, "-m", "gptstudio.data_worker"],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=root,
                # The workspace's folders, such as datasets/, must not pass for packages.
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        except OSError:
            self._errors.close()
            raise
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._input, self._output = self._popen.stdin, self._popen.stdout
        self._rest = b""
        #: Whether it has ever said a word.
        self.is_ready = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def fileno(self) -> int:
        """The descriptor to wait on for what it says."""
        return self._output.fileno()

    def send(self, request: protocol.Request) -> None:
        """Ask it; where it has died, `receive` will tell."""
        try:
            self._input.write(protocol.encode(request))
        except OSError:
            pass

    def receive(self) -> list[protocol.Reply] | None:
        """What it has said, waiting where it has not said anything; None: it has ended."""
        data = self._output.read(1 << 16)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        replies = []
        for line in lines:
            try:
                reply = protocol.decode_reply(line)
            except msgspec.DecodeError:
                continue  # not of this version; what it was about never gets an answer
            self.is_ready = True
            replies.append(reply)
        return replies

    def bury(self) -> str:
        """Let go of one that has ended; how it did, in words, harmless."""
        try:
            code = self._popen.wait(END_S)
        except subprocess.TimeoutExpired:  # it has closed its output, whatever it does now
            self._popen.kill()
            code = self._popen.wait()
        words = self._last_words()
        for stream in (self._input, self._output, self._errors):
            stream.close()
        if code < 0:
            known = -code in set(signal.Signals)
            return f"{signal.Signals(-code).name if known else f'signal {-code}'} ended it"
        return words or f"it ended with status {code}"

    def end(self) -> None:
        """End it, from any thread."""
        self._popen.terminate()
        try:
            self._popen.wait(END_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()

    def _last_words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - LAST_WORDS_BYTES))
        lines = self._errors.read().decode(errors="replace").splitlines()
        return next((clean(line.strip()) for line in reversed(lines) if line.strip()), "")
