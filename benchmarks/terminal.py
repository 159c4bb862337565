"""A program in a pseudo-terminal, with the time at which each byte came from it."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

#: With it every start would compile what changed since the installation, as no person's does.
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


class Terminal:
    """Starts a program and reads all it says, in a thread, so that times are those of arrival.

    Args:
        words: The program and its arguments.
        cwd: Where it runs.
        size: Columns and rows.
    """

    def __init__(self, words: list[str], *, cwd: Path, size: tuple[int, int]) -> None:
        self._pieces: list[tuple[float, bytes]] = []
        self._came = threading.Condition()
        self.received = 0
        self.began = time.perf_counter()
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            for name in ("NO_COLOR", "TMUX", "SSH_CONNECTION", "LC_ALL", NO_BYTECODE):
                os.environ.pop(name, None)
            os.environ.update(TERM="xterm-256color", LANG="C.UTF-8", COLORTERM="truecolor")
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            os.execv(words[0], words)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def send(self, text: str) -> float:
        """Type; the time at which it was."""
        with self._came:
            self._pieces.clear()
        now = time.perf_counter()
        os.write(self._descriptor, text.encode())
        return now

    def wait_for(self, *needles: bytes, since: float = 0.0, timeout: float = 15.0) -> float:
        """The time at which one of `needles` came, among what was said since `since`.

        Raises:
            TimeoutError: None did.
        """
        deadline = time.perf_counter() + timeout
        said = b""
        seen = 0
        with self._came:
            while True:
                for when, piece in self._pieces[seen:]:
                    seen += 1
                    if when < since:
                        continue
                    said = said[-200:] + piece
                    if any(needle in said for needle in needles):
                        return when
                if not self._came.wait(max(0.0, deadline - time.perf_counter())):
                    raise TimeoutError(f"no {needles[0]!r} in {timeout} s; last: {said[-300:]!r}")

    def _read(self) -> None:
        while True:
            select.select([self._descriptor], [], [])
            try:
                piece = os.read(self._descriptor, 1 << 16)
            except OSError:  # the program has ended
                return
            with self._came:
                self._pieces.append((time.perf_counter(), piece))
                self.received += len(piece)
                self._came.notify_all()
