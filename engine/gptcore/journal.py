"""An append-only file of lines, written by several processes and read while it grows.

A line is appended in one write on an ``O_APPEND`` descriptor, so lines of different processes
never mix. A last line without its newline is 'not yet' to a reader. A writer that finds one at
its start closes it with a newline, after which it is a broken line, which readers pass over.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20


class JournalWriter:
    """Appends lines to a journal.

    Args:
        path: The file; made, readable by its owner alone, where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, line: bytes) -> None:
        """Append one line (without its newline).

        Raises:
            OSError: The disk is full, or the like; what was written of the line is closed by the
                next append.
        """
        raw = (b"\n" if self._torn else b"") + line + b"\n"
        self._torn = True  # until the write is known to be whole
        if os.write(self._descriptor, raw) != len(raw):
            raise OSError(errno.ENOSPC, "a line was cut short: the disk is full")
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class JournalReader:
    """Reads whole lines from a journal that may still grow.

    Args:
        path: The file; it may not exist yet.
        offset: Byte to start at, the start of a line.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self.offset = offset

    def read(self) -> Iterator[bytes]:
        """The whole lines that came since the last call, without newlines, oldest first."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.offset)
            rest = b""
            while chunk := file.read(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self.offset += len(line) + 1
                    if line:
                        yield line


#: Bytes from the end of a file beyond which its last lines are not looked for.
LOOK_BACK = 1 << 18


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last `count` whole lines of a file of any size, oldest first.

    No further back than `LOOK_BACK` bytes: a line may be as long as the file.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return []
    with file:
        position = end = file.seek(0, os.SEEK_END)
        tail = b""
        while position > 0 and tail.count(b"\n") <= count and end - position < LOOK_BACK:
            step = min(1 << 16, position)
            position -= step
            file.seek(position)
            tail = file.read(step) + tail
    lines = tail.split(b"\n")[:-1]  # after the last newline: nothing, or a line not yet whole
    if position > 0:
        lines = lines[1:]
    return lines[-count:]
