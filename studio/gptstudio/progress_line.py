"""How far the reading of files is: a line on a terminal, where it takes long."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from gptcore.text import steady
from gptstudio.services.data_files import DataFile
from gptstudio.text import human_bytes, shorten

#: Seconds before it is shown, and between two times.
PATIENCE, INTERVAL = 1.0, 0.1


class ProgressLine:
    """Draws over itself; nothing of it is left at the end.

    Args:
        files: All that will be read.
        stream: Where to draw, if that is a terminal.
    """

    def __init__(self, files: Sequence[DataFile], stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_on = self._stream.isatty()
        self._total = sum(file.size for file in files)
        self._done = 0
        self._next = time.monotonic() + PATIENCE
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def of(self, file: DataFile) -> Callable[[int], None]:
        """What is to be told how many bytes of `file`, the next one, have been read."""
        before = self._done
        self._done += file.size

        def told(read: int) -> None:
            if self._is_on and time.monotonic() >= self._next:
                self._show(before + min(read, file.size), file.name)

        return told

    def clear(self) -> None:
        """Make room for other lines."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._is_shown = False

    def _show(self, done: int, name: str) -> None:
        share = done / self._total if self._total else 0.0
        amount = f"{human_bytes(done)} of {human_bytes(self._total)}"
        line = shorten(
            f"reading {share:4.0%}  {amount}  {steady(name)}",
            shutil.get_terminal_size().columns - 1,
        )
        print(f"\r{line}\x1b[K", end="", file=self._stream, flush=True)
        self._is_shown = True
        self._next = time.monotonic() + INTERVAL
