"""A regular file at one moment, read in slices of whole display lines from any place."""

import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType

from gptcore.text import clean
from gptstudio.services.text_lines import CHUNK, LONGEST, NEAR, line_starts

FIRST_SLICE = 64 << 10
#: Short enough that work on one slice never holds up another thread for long.
LARGEST_SLICE = 512 << 10
#: Bytes of the file's beginning that tell it from another one of the same name.
HEAD = 256


class UnreadableError(Exception):
    """The file cannot be read; the message says why and which."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(f"{why}: {clean(str(path))}")


class ShrunkError(Exception):
    """The file became shorter while it was read."""


class Slice:
    """Whole display lines ``[begin, end)`` of a file.

    Args:
        window: The bytes from `base` on: the slice, up to `CHUNK` + `NEAR` before it, and up to
            `NEAR` after it.
        base: Offset of the window.
        begin: Offset of the first line.
        end: Offset after the last line.
        size: Bytes of the file.
    """

    def __init__(self, window: bytes, base: int, begin: int, end: int, size: int) -> None:
        self.window = window
        self.base = base
        self.begin = begin
        self.end = end
        self._size = size

    @cached_property
    def starts(self) -> list[int]:
        """Offsets of the lines."""
        return line_starts(self.window, self.base, self.begin, self.end, self._size)

    def line_end(self, index: int) -> int:
        """Offset after the line of that index."""
        return self.starts[index + 1] if index + 1 < len(self.starts) else self.end

    def index_of(self, offset: int) -> int:
        """Index of the line that holds a byte."""
        return bisect_right(self.starts, offset) - 1

    def raw(self, index: int) -> bytes:
        """The bytes of a line, its line feed included."""
        return self.window[self.starts[index] - self.base : self.line_end(index) - self.base]

    def continues(self, start: int) -> bool:
        """Whether a line that starts there is the next part of one that was cut."""
        return start > 0 and self.window[start - 1 - self.base] != ord("\n")


class Source:
    """An open file with the size it had when it was opened; a context manager.

    Attributes:
        size: Bytes.
        head: The first bytes, at most `HEAD`.
        identity: Device and inode.

    Args:
        path: The file.

    Raises:
        UnreadableError: It is missing, or no regular file, or may not be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _require_file(path.stat(), path)  # a FIFO is not even opened
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._descriptor = os.open(path, flags)
        except FileNotFoundError:
            raise UnreadableError("there is no such file", path) from None
        except OSError as error:
            raise UnreadableError(_reason(error), path) from None
        except ValueError:  # a null character, or a surrogate
            raise UnreadableError("no file can have this name", path) from None
        try:
            status = os.fstat(self._descriptor)
            _require_file(status, path)
            self.size = status.st_size
            self.identity = (status.st_dev, status.st_ino)
            self.head = self._pread(min(HEAD, self.size), 0)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    def slice(self, begin: int, end: int) -> Slice:
        """The lines from the start `begin` to the start `end`."""
        base, window = self._window(begin, end)
        return Slice(window, base, begin, end, self.size)

    def start_of(self, offset: int) -> int:
        """Start of the display line that holds a byte; the size for an offset at the end."""
        if offset >= self.size:
            return self.size
        base, window = self._window(low := max(0, offset + 1 - LONGEST), offset + 1)
        return line_starts(window, base, low, offset + 1, self.size)[-1]

    def start_after(self, offset: int) -> int:
        """The first start of a display line that is greater than `offset`; else the size."""
        low = max(0, offset + 1)
        if low >= self.size:
            return self.size
        base, window = self._window(low, high := min(self.size, low + LONGEST))
        return next(iter(line_starts(window, base, low, high, self.size)), high)

    def part(self, begin: int, end: int, length: int, *, forwards: bool) -> Slice:
        """About `length` bytes of whole lines, from one end of the range between two starts."""
        if end - begin <= length:
            return self.slice(begin, end)
        if forwards:
            return self.slice(begin, self.start_of(begin + length))
        return self.slice(self.start_of(end - length), end)

    def parts(self, begin: int, end: int, *, forwards: bool) -> Iterator[Slice]:
        """The lines between two starts, in slices that grow, the last slice first if backwards."""
        length = FIRST_SLICE
        while begin < end:
            part = self.part(begin, end, length, forwards=forwards)
            yield part
            begin, end = (part.end, end) if forwards else (begin, part.begin)
            length = min(2 * length, LARGEST_SLICE)

    def _window(self, low: int, high: int) -> tuple[int, bytes]:
        base = max(0, low - CHUNK - NEAR)
        return base, self._pread(min(high + NEAR, self.size) - base, base)

    def _pread(self, count: int, offset: int) -> bytes:
        parts: list[bytes] = []
        try:
            while count > 0 and (part := os.pread(self._descriptor, count, offset)):
                parts.append(part)
                count -= len(part)
                offset += len(part)
        except OSError as error:
            raise UnreadableError(_reason(error), self._path) from None
        if count > 0:
            raise ShrunkError
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _require_file(status: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("this is a folder, not a file", path)
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("this is a device, socket or pipe, not a file", path)


def _reason(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"
