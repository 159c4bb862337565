"""Counts what is in a text file, in one pass and bounded memory, and says what is wrong with it."""

import codecs
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from gptcore.errors import UserError

CHUNK_BYTES = 1 << 18

#: Text is decoded in blocks of so many bytes: most of an English text is ASCII, which is checked
#: five times as fast as one odd character among a million makes the whole be decoded.
BLOCK_BYTES = 1 << 14

#: Share of NUL bytes at the start of a file above which it is taken for UTF-16 or binary.
NUL_SHARE = 0.2


class CountProblem(msgspec.Struct, frozen=True, gc=False):
    """Something in a file that somebody should know.

    Attributes:
        reason: What it is, in words, harmless.
        line: The first line it concerns, from 1; None when it is about the whole file.
        row: The row of data it is about, from 1; None where it is about none.
    """

    reason: str
    line: int | None = None
    row: int | None = None


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What is in a file: lines and documents of a text, rows of data.

    Attributes:
        bytes: Its size.
        lines: Lines, the last one with or without a line feed.
        documents: Pieces between separators that hold more than white space.
        characters: Code points; of data about, in bytes.
        problems: What is wrong, the gravest first.
        rows: Rows of data, good and bad.
        bad_rows: Those that cannot be used.
        forms: What the good ones are, and how many of each, the most first.
    """

    bytes: int
    lines: int
    documents: int
    characters: int
    problems: tuple[CountProblem, ...] = ()
    rows: int = 0
    bad_rows: int = 0
    forms: tuple[tuple[str, int], ...] = ()


class TextCounter:
    """Counts one file, a chunk at a time; can be left and gone on with.

    Args:
        path: The file.
        separator: What stands between documents; empty if the file is one document.

    Raises:
        UserError: It is no regular file.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, separator: str) -> None:
        # A pipe without a writer would block for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise UserError("it is not a file")
        #: Size, time of modification and inode when it was opened.
        self.stamp = (status.st_size, status.st_mtime_ns, status.st_ino)
        #: Bytes read so far.
        self.done = 0
        self._validity = _Validity()
        self._documents = _Documents(separator.encode())
        self._lines = 0
        self._nuls = 0
        self._first_nul: int | None = None
        self._last = b"\n"
        self._head = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def total(self) -> int:
        """Bytes to read in all."""
        return self.stamp[0]

    def step(self) -> bool:
        """Count one chunk; False once there is no more.

        Raises:
            OSError: The file cannot be read.
        """
        # Not beyond its size: a file that is being appended to might never end.
        chunk = self._file.read(min(CHUNK_BYTES, self.total - self.done))
        if not chunk:
            return False
        if not self.done:
            self._head = chunk[:4096]
        if 0 in chunk:
            nuls = chunk.count(0)
            if not self._nuls:
                self._first_nul = self._lines + chunk.count(b"\n", 0, chunk.index(0)) + 1
            self._nuls += nuls
        text = chunk if self.done else chunk.removeprefix(codecs.BOM_UTF8)
        self._validity.add(text, self.done + len(chunk) - len(text), self._lines)
        self._documents.add(text)
        self._lines += chunk.count(b"\n")
        self._last = chunk[-1:]
        self.done += len(chunk)
        return True

    def result(self) -> Counts:
        """What was counted, once `step` has said that there is no more."""
        self._validity.end(self.done, self._lines)
        documents = self._documents.end()
        return Counts(
            bytes=self.done,
            lines=self._lines + (self._last != b"\n"),
            documents=documents,
            characters=self._validity.characters,
            problems=tuple(self._problems(documents)),
        )

    def _problems(self, documents: int) -> list[CountProblem]:
        if not self.done:
            return [CountProblem("empty")]
        found = []
        utf16 = self._head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        if utf16 or self._head.count(0) > NUL_SHARE * len(self._head):
            kind = "UTF-16: iconv -f utf-16 -t utf-8 mends it" if utf16 else "binary, not text"
            found.append(CountProblem(f"looks like {kind}"))
        validity = self._validity
        if validity.invalid:
            count = f"{validity.invalid:,} byte{'s are' if validity.invalid > 1 else ' is'}"
            where = f"the first at byte {validity.first_invalid:,}"
            found.append(CountProblem(f"{count} not UTF-8, {where}", validity.first_line))
        if self._nuls:
            count = f"{self._nuls:,} NUL byte{'s' if self._nuls > 1 else ''}"
            found.append(CountProblem(count, self._first_nul))
        if not documents:
            found.append(CountProblem("holds nothing but white space"))
        return found


class _Validity:
    """Whether it is UTF-8, and how many characters; bytes that are not count as one or more."""

    def __init__(self) -> None:
        self.characters = 0
        self.invalid = 0
        self.first_invalid = 0
        self.first_line = 0
        self._rest = b""

    def add(self, chunk: bytes, at: int, lines: int, *, final: bool = False) -> None:
        """Take a chunk that begins at byte `at` of the file, with `lines` line feeds before it."""
        if chunk.isascii() and not self._rest:
            self.characters += len(chunk)
            return
        was_valid = not self.invalid
        for start in range(0, len(chunk) or 1, BLOCK_BYTES):
            self._add_block(chunk[start : start + BLOCK_BYTES], at + start, final=final)
        if was_valid and self.invalid:
            before = max(0, self.first_invalid - at)
            self.first_line = lines + chunk.count(b"\n", 0, before) + 1

    def _add_block(self, block: bytes, at: int, *, final: bool) -> None:
        text = self._rest + block
        at -= len(self._rest)
        self._rest = b""
        if text.isascii():
            self.characters += len(text)
            return
        try:
            decoded, used = codecs.utf_8_decode(text, "strict", final)
        except UnicodeDecodeError as error:
            if not self.invalid:
                self.first_invalid = at + error.start
            decoded, used = codecs.utf_8_decode(text, "replace", final)
            kept, _ = codecs.utf_8_decode(text, "ignore", final)
            self.invalid += used - len(kept.encode())
        self.characters += len(decoded)
        self._rest = text[used:]

    def end(self, size: int, lines: int) -> None:
        """There is no more: what is left of a character is none."""
        self.add(b"", size, lines, final=True)


class _Documents:
    """How many pieces between separators are more than white space, as `TextReader` has it."""

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        self._margin = max(3, len(separator) - 1)
        self._tail = b""  # it may be the start of a separator, or of a character
        self._has_ink = False
        self._count = 0

    def add(self, chunk: bytes) -> None:
        text = self._tail + chunk
        if self._separator:
            *ended, text = text.split(self._separator)
            for document in ended:
                self._end(document)
        cut = max(0, len(text) - self._margin)
        for _ in range(3):  # a character has so many bytes after its first at most
            if cut and text[cut] & 0xC0 == 0x80:
                cut -= 1
        self._has_ink = self._has_ink or not _is_blank(text[:cut])
        self._tail = text[cut:]

    def end(self) -> int:
        """There is no more; how many there were."""
        self._end(self._tail)
        self._tail = b""
        return self._count

    def _end(self, text: bytes) -> None:
        self._count += self._has_ink or not _is_blank(text)
        self._has_ink = False


def _is_blank(text: bytes) -> bool:
    rest = text.strip()
    if not rest or rest[0] <= 0x7F:
        return not rest
    # Most often the start tells; a character that is cut off there does not count.
    return not (rest[:64].decode(errors="ignore").strip() or rest.decode(errors="replace").strip())
