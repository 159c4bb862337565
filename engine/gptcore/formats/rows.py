"""Rows of JSON or Parquet files, plain or compressed, in bounded memory.

What the file is, is told from its first bytes: Parquet, gzip, zstd, then an array, objects one a
line, or objects one after the other. A row that cannot be read is a `Problem`; where it cannot be
told where the next row begins, the rest of the file is one.
"""

import codecs
import errno
import gzip
import stat
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from gptcore.errors import UserError
from gptcore.formats.json_values import decode, is_row, next_value, plain, why_broken
from gptcore.formats.problems import Problem, RowError

#: Longest row in bytes; conversations are far below, and memory grows by a few times as much.
LONGEST_ROW = 16 << 20
#: Bytes that are read at once.
BLOCK = 1 << 20
#: A compressed file that grows by more than this, and beyond so many bytes, is a trap.
MOST_GROWTH, GROWTH_COUNTS_FROM = 200, 1 << 30
#: A Parquet row group is read as a whole: not beyond this many bytes.
LARGEST_GROUP = 1 << 30
#: Rows of Parquet that are read at once.
_BATCH = 256

_TOO_LONG = f"is longer than {LONGEST_ROW >> 20} MiB"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Row(NamedTuple):
    """A row as it stands in the file.

    Args:
        number: From 1.
        line: From 1; None where lines do not count.
        value: Decoded JSON, mostly an object.
        size: Bytes that it took, about.
    """

    number: int
    line: int | None
    value: Any
    size: int


class Mark(NamedTuple):
    """A place in a file from which its rows can be read without those before.

    Args:
        row: Rows before it.
        line: Lines before it.
        place: Byte where a line begins; of Parquet the number of the row group.
    """

    row: int
    line: int
    place: int


class RowReader:
    """Reads the rows of one file; iterating again reads again.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        #: How much of the file has been read, so far; of a compressed one, as it lies on the disk.
        self.bytes_read = 0
        #: One a block or row group that was read; none in an array, or where it is compressed.
        self.marks: list[Mark] = []
        self._number = 0
        self._file: BufferedIOBase | None = None

    def __iter__(self) -> Iterator[Row | Problem]:
        """Yield rows, and problems where they cannot be read, in order.

        Raises:
            UserError: The file cannot be opened.
        """
        return self.rows_from(None)

    def rows_from(self, mark: Mark | None) -> Iterator[Row | Problem]:
        """The same, from a mark of this file on, as long as it has not changed.

        Raises:
            UserError: The file cannot be opened.
        """
        self.bytes_read = 0
        self._number = mark.row if mark else 0
        self._file = _open(self.path)
        with self._file:
            try:
                yield from self._rows(self._file, mark)
            except (OSError, EOFError) as error:
                yield self._problem(f"cannot be read any further: {error}")
            except UnicodeDecodeError as error:
                yield self._problem(f"is not UTF-8 from here on: {error.reason}")

    def _rows(self, file: BufferedIOBase, mark: Mark | None) -> Iterator[Row | Problem]:
        start = file.read(4)
        file.seek(0)
        if start == _PARQUET:
            yield from self._parquet(mark.place if mark else 0)
            return
        is_packed = start[:2] == _GZIP or start == _ZSTD
        if mark is not None:
            file.seek(mark.place)
        blocks = self._blocks(_opened(file, start), is_packed=is_packed)
        first = next(blocks, b"")
        if mark is not None:
            yield from self._lines(first, blocks, mark.line)
            return
        if first.startswith(_UTF16):
            yield self._problem("is UTF-16: save it as UTF-8")
            return
        if first.startswith(_PARQUET):
            yield self._problem("is Parquet inside another compression: unpack it")
            return
        first = first.removeprefix(codecs.BOM_UTF8)
        if b"\0" in first[:4096]:
            yield self._problem("is binary, not JSON")
            return
        while not first.strip() and (more := next(blocks, b"")):
            first = more
        if first.lstrip()[:1] == b"[" and not is_row(first.partition(b"\n")[0]):
            yield from self._values(_text(first, blocks), in_array=True)
        elif is_row(first.partition(b"\n")[0]) or not first.lstrip().startswith(b"{"):
            yield from self._lines(first, blocks, 0 if not is_packed else None)
        else:
            yield from self._values(_text(first, blocks), in_array=False)

    def _blocks(self, opened: BufferedIOBase, *, is_packed: bool) -> Iterator[bytes]:
        unpacked = 0
        while block := _read(opened, is_packed=is_packed):
            unpacked += len(block)
            self.bytes_read = self._file.tell() if self._file else 0
            if (
                is_packed
                and unpacked > GROWTH_COUNTS_FROM
                and unpacked > MOST_GROWTH * self.bytes_read
            ):
                raise OSError(f"it unpacks to more than {MOST_GROWTH} times its size")
            yield block

    def _problem(self, reason: str, line: int | None = None, row: int | None = None) -> Problem:
        return Problem(self.path, line, reason, row)

    def _row(self, number: int, line: bytes) -> Row | Problem:
        """The row in a line, or why it cannot be read."""
        self._number += 1
        try:
            return Row(self._number, number, decode(line), len(line))
        except RowError as error:
            return Problem(self.path, number, error.reason, self._number, error.field)

    # One a line

    def _lines(
        self, block: bytes, blocks: Iterator[bytes], before: int | None
    ) -> Iterator[Row | Problem]:
        """Rows from a block on; `before`: lines before it, None where no marks can be made."""
        number, rest, is_skipping = before or 0, b"", False
        while block:
            if before is not None and not is_skipping:
                self._mark(number, self.bytes_read - len(block) - len(rest))
            *lines, block = (rest + block).split(b"\n") if rest else block.split(b"\n")
            for line in lines:
                number += 1
                if is_skipping:
                    is_skipping = False
                    yield self._too_long(number)
                elif line and not line.isspace():
                    yield self._row(number, line)
            rest = block
            if len(rest) > LONGEST_ROW:
                rest, is_skipping = b"", True
            block = next(blocks, b"")
        if is_skipping:
            yield self._too_long(number + 1)
        elif rest and not rest.isspace():
            yield self._row(number + 1, rest)

    def _mark(self, line: int, place: int) -> None:
        if not self.marks or place > self.marks[-1].place:
            self.marks.append(Mark(self._number, line, place))

    def _too_long(self, line: int) -> Problem:
        self._number += 1
        return self._problem(_TOO_LONG, line, self._number)

    # An array, or one after the other

    def _values(self, texts: Iterator[str], *, in_array: bool) -> Iterator[Row | Problem]:
        text, at, line = next(texts, ""), 0, 1
        if in_array:
            at = text.index("[") + 1
            line += text.count("\n", 0, at)
        between = ", \t\r\n" if in_array else " \t\r\n"
        while True:
            begin, at = at, _skip(text, at, between)
            line += text.count("\n", begin, at)
            if at == len(text):
                text, at = next(texts, ""), 0
                if text:
                    continue
                if in_array:
                    yield self._problem("ends before the array does", line)
                return
            if in_array and text[at] == "]":
                return
            found = next_value(text, at)
            while found is None and len(text) - at <= LONGEST_ROW:
                # It doubles: what is read again and again stays in proportion to what is new.
                more = _at_least(texts, len(text) - at)
                if not more:
                    break
                text, at = text[at:] + more, 0
                found = next_value(text, at)
            self._number += 1
            if found is None:
                why = why_broken(text, at) if len(text) - at <= LONGEST_ROW else _TOO_LONG
                reason = f"is not JSON, and the rest cannot be read: {why}"
                yield self._problem(reason, line, self._number)
                return
            value, end = found
            if isinstance(value, RowError):
                yield self._problem(value.reason, line, self._number)
            else:
                yield Row(self._number, line, value, end - at)
            line += text.count("\n", at, end)
            at = end

    # Parquet

    def _parquet(self, first: int) -> Iterator[Row | Problem]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise UserError(
                "reading Parquet needs pyarrow",
                where=str(self.path),
                fix="pip install pyarrow, or convert the file to JSON Lines",
            ) from error
        try:
            with ParquetFile(self.path) as file:
                count = file.metadata.num_row_groups
                for group in range(count):
                    if file.metadata.row_group(group).total_byte_size > LARGEST_GROUP:
                        yield self._problem(f"has a row group of over {LARGEST_GROUP >> 30} GiB")
                        return
                for group in range(first, count):
                    self._mark(0, group)
                    for batch in file.iter_batches(_BATCH, row_groups=[group]):
                        size = batch.nbytes // max(1, len(batch))
                        for value in batch.to_pylist():
                            self._number += 1
                            yield self._plain_row(value, size)
                    self.bytes_read = self.path.stat().st_size * (group + 1) // count
        except (ArrowException, ValueError, OverflowError) as error:
            yield self._problem(f"is broken Parquet: {str(error)[:200]}")

    def _plain_row(self, value: Any, size: int) -> Row | Problem:
        """A row of Parquet with JSON's types alone: times as text, what is no number as null."""
        try:
            return Row(self._number, None, _decode(_encode(value)), size)
        except (TypeError, ValueError, RecursionError) as error:
            return self._problem(f"holds what JSON cannot: {plain(error)}", row=self._number)


def _open(path: Path) -> BufferedIOBase:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is not a file")  # opening a pipe would wait for ever
        return path.open("rb")
    except OSError as error:
        raise UserError(
            f"a data file cannot be read: {error.strerror}",
            where=str(path),
            fix="make it readable, or leave it out with data.<stage>.exclude",
        ) from error


def _at_least(texts: Iterator[str], size: int) -> str:
    """More text, so much if there is."""
    pieces: list[str] = []
    while size > 0 and (piece := next(texts, "")):
        pieces.append(piece)
        size -= len(piece)
    return "".join(pieces)


def _skip(text: str, at: int, characters: str) -> int:
    while at < len(text) and text[at] in characters:
        at += 1
    return at


def _text(first: bytes, blocks: Iterator[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    yield decoder.decode(first)
    for block in blocks:
        yield decoder.decode(block)
    decoder.decode(b"", final=True)


def _opened(file: BufferedIOBase, start: bytes) -> BufferedIOBase:
    if start[:2] == _GZIP:
        return gzip.GzipFile(fileobj=file)
    if start == _ZSTD:
        from backports.zstd import ZstdFile

        return ZstdFile(file)
    return file


def _read(opened: BufferedIOBase, *, is_packed: bool) -> bytes:
    try:
        # `read` would lose what came before the place where a packed file is broken.
        return opened.read1(BLOCK) if is_packed else opened.read(BLOCK)
    except Exception as error:
        if is_packed:  # each library has errors of its own for what is broken
            raise OSError(f"it is not packed right: {error}") from error
        raise
