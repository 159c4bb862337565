"""Read text files for pretraining as documents, in bounded memory.

A document is a file, or a piece between separators in it. Long documents come in several pieces,
cut where the pre-tokenizer (the Qwen2 pattern, see `gptengine.tokenizer`) has a boundary whatever
stands around it, so that encoding piece by piece gives the ids of the whole.
"""

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptcore.errors import UserError

#: How much text a piece holds at most, where a safe place to cut it can be found.
PIECE_BYTES = 4 << 20

#: A document with no safe place to cut in this many pieces' worth of bytes is cut anyway.
MAX_STRETCH = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A document, or a part of one.

    Args:
        text: Valid UTF-8, not empty.
        ends_document: Whether the document ends with this piece.
    """

    text: bytes
    ends_document: bool


# One character that is surely no white space in any version of Unicode; some that are none are
# missing (a few blocks share their first bytes with white space), which costs a place to cut.
_INK = (
    rb"(?:[!-~]|[\xc3-\xdf][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{3}"
    rb"|(?:[\xe0\xe4-\xef][\x80-\xbf]|\xe1[\x9b-\x9f\xa1-\xbf]|\xe2[\x82-\xbf]|\xe3[\x81-\xbf])"
    rb"[\x80-\xbf])"
)
# The greedy start finds the last place in the range at the speed of a backward search for one byte.
# Whatever stands around, no token of the pre-tokenizer crosses from a newline into ink,
_AFTER_NEWLINE = re.compile(rb"(?s:.*)\n(?=" + _INK + rb")")
# ... nor from a letter or digit into white space,
_AFTER_WORD = re.compile(rb"(?s:.*)[0-9A-Za-z](?=[ \t\r\n])")
# ... nor from any ink into a space (punctuation does take the newlines behind it).
_BEFORE_SPACE = re.compile(
    rb"(?s:.*) (?:(?<=[!-~] )|(?<=[\xc3-\xdf][\x80-\xbf] )|(?<=[\xe0\xe4-\xef][\x80-\xbf]{2} )"
    rb"|(?<=\xe3[\x81-\xbf][\x80-\xbf] )|(?<=[\xf0-\xf4][\x80-\xbf]{3} ))"
)


class TextReader:
    """Reads one file as pieces of documents; memory stays at a few pieces whatever the file.

    Bytes that are not UTF-8 become U+FFFD, a byte-order mark at the start is dropped, line ends
    stay as they are. Documents of nothing but white space are left out, unless one is longer than
    `MAX_STRETCH` pieces. Iterating again reads again.

    Args:
        path: The file.
        separator: What stands between documents; empty if the file is one document.
        piece_bytes: Size at which documents are cut, in bytes; a piece can be up to `MAX_STRETCH`
            times as long.
    """

    def __init__(self, path: Path, separator: str, piece_bytes: int = PIECE_BYTES) -> None:
        self.path = path
        #: How many bytes were not UTF-8, so far.
        self.invalid_bytes = 0
        #: How much of the file has been read, so far.
        self.bytes_read = 0
        self._separator = separator.encode()
        self._piece_bytes = max(1, piece_bytes)
        self._blank = True

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces in order.

        Raises:
            UserError: The file cannot be opened.
        """
        self._blank = True
        margin = max(0, len(self._separator) - 1)
        text = b""
        for chunk in self._valid_chunks():
            searched = max(0, len(text) - margin)
            text = text + chunk if text else chunk
            if self._separator and text.find(self._separator, searched) >= 0:
                *documents, text = text.split(self._separator)
                for document in documents:
                    yield from self._last_pieces(document)
            at = 0
            # The margin may turn out to be the start of a separator: nothing is cut in it.
            while len(text) - at > self._piece_bytes and (
                cut := self._find_cut(text, at, len(text) - margin)
            ):
                yield self._piece(text[at:cut], False)
                at = cut
            if at:
                text = text[at:]
        yield from self._last_pieces(text)

    def _valid_chunks(self) -> Iterator[bytes]:
        """The file as valid UTF-8, in chunks that break at characters."""
        self.invalid_bytes = 0
        self.bytes_read = 0
        try:
            file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise UserError(
                f"a text file cannot be read: {error.strerror}",
                where=str(self.path),
                fix="make it readable, or leave it out with data.exclude",
            ) from error
        with file:
            # Not beyond its size: a file that is being appended to might never end.
            size = os.fstat(file.fileno()).st_size
            rest = b""
            first = True
            while True:
                raw = file.read(min(self._piece_bytes, size - self.bytes_read))
                self.bytes_read += len(raw)
                valid, rest = self._repair(rest + raw if rest else raw, final=not raw)
                if first and valid:
                    valid = valid.removeprefix(codecs.BOM_UTF8)
                    first = False
                if valid:
                    yield valid
                if not raw:
                    return

    def _repair(self, raw: bytes, *, final: bool) -> tuple[bytes, bytes]:
        """Valid UTF-8, and the start of a character that the next read may complete."""
        if raw.isascii():
            return raw, b""
        try:
            _, used = codecs.utf_8_decode(raw, "strict", final)
        except UnicodeDecodeError:
            text, used = codecs.utf_8_decode(raw, "replace", final)
            kept, _ = codecs.utf_8_decode(raw, "ignore", final)
            self.invalid_bytes += used - len(kept.encode())
            return text.encode(), raw[used:]
        return raw[:used], raw[used:]

    def _last_pieces(self, text: bytes) -> Iterator[Piece]:
        """The rest of a document that ends with `text`."""
        at = 0
        while len(text) - at > self._piece_bytes and (cut := self._find_cut(text, at, len(text))):
            yield self._piece(text[at:cut], False)
            at = cut
        rest = text[at:] if at else text
        if not (self._blank and _is_blank(rest)):
            yield self._piece(rest, True)
        self._blank = True

    def _piece(self, text: bytes, ends_document: bool) -> Piece:
        self._blank = False
        return Piece(text, ends_document)

    def _find_cut(self, text: bytes, start: int, known: int) -> int:
        """Where the piece that begins at `start` shall end; 0 if that needs more text.

        Args:
            text: What there is of the document.
            start: Where the piece begins.
            known: Up to where `text` surely belongs to the document.
        """
        low = start
        for stretch in range(1, MAX_STRETCH + 1):
            end = start + stretch * self._piece_bytes
            window_end = min(end, known)
            if found := _AFTER_NEWLINE.match(text, low, window_end):
                return found.end()
            if place := _last_word_end(text, max(low, start + 1), window_end):
                return place
            if end >= known:
                return 0
            # Step back so far that a character and what stands around it is seen whole.
            low = max(start, end - 8)
        while text[end] & 0xC0 == 0x80:
            end -= 1
        return end


def _last_word_end(text: bytes, start: int, end: int) -> int:
    """The last safe place before white space, 0 if none."""
    # Most often it is near the end; without any white space no expression need be tried.
    near = max(start, end - 4096)
    for low in (near, start) if near > start else (start,):
        spaced = text.find(b" ", low, end) >= 0
        if (spaced or text.find(b"\n", low, end) >= 0) and (
            found := _AFTER_WORD.match(text, low, end)
        ):
            return found.end()
        if spaced and (found := _BEFORE_SPACE.match(text, low, end)):
            return found.end() - 1
    return 0


def _is_blank(text: bytes) -> bool:
    """Whether there is nothing but white space."""
    rest = text.strip()
    return not rest or (rest[0] > 0x7F and not rest.decode().strip())
