"""Walks the lines of a file that a filter lets through, remembering what it has read.

Where a filter lets little through, a screen of lines may take the whole file to fill. So the walk
keeps which spans of the file it has read, with the lines that it found there, and reads no span
twice, in either direction; the last line, which may still grow, is never kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gptstudio.services.text_levels import Filter, Level, counts, levels_in
from gptstudio.services.text_lines import Mode
from gptstudio.services.text_source import FIRST_SLICE, LARGEST_SLICE, Slice, Source

#: Bytes of lines that are kept; beyond, the walk forgets and begins anew.
MEMORY = 8 << 20


class RawLine(NamedTuple):
    """A display line as it stands in the file.

    Attributes:
        offset: Of its first byte.
        end: Offset after its last byte.
        raw: Its bytes, the line feed included.
        level: What it is by its words.
        continued: Whether it is the next part of a line that was cut.
    """

    offset: int
    end: int
    raw: bytes
    level: Level
    continued: bool


class CancelledError(Exception):
    """The caller has lost interest."""


class Control(NamedTuple):
    """The caller's hold on a long read.

    Attributes:
        cancelled: Asked before every slice.
        on_progress: Told the share of the file that has been read, 0 to 1.
    """

    cancelled: Callable[[], bool]
    on_progress: Callable[[float], None]


@dataclass(slots=True)
class _Span:
    begin: int
    end: int
    lines: list[RawLine]


class Walk:
    """Walks one file.

    Args:
        mode: In data there are no levels.
    """

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._level: Filter = "all"
        self._spans: list[_Span] = []  # disjoint, not adjacent, ascending
        self._kept = 0

    def forget(self) -> None:
        """Drop what was read: the file is another one."""
        self._spans = []
        self._kept = 0

    def lines(
        self, source: Source, span: range, *, forwards: bool, level: Filter, control: Control
    ) -> Iterator[RawLine]:
        """The lines of a span that a filter lets through, from its start or from its end.

        Args:
            source: The file.
            span: From a start of a display line to another one, or to the file's size.
            forwards: Direction.
            level: The filter.
            control: Asked and told between slices.

        Raises:
            CancelledError: `control` said so.
        """
        if level != self._level:
            self.forget()
            self._level = level
        low, high, length, read = span.start, span.stop, FIRST_SLICE, 0
        while low < high:
            known = self._known(low if forwards else high - 1) if level != "all" else None
            if known is not None:
                lines = [line for line in known.lines if low <= line.offset < high]
                begin, end = max(low, known.begin), min(high, known.end)
            else:
                if control.cancelled():
                    raise CancelledError
                begin, end = self._unknown(low, high, forwards)
                part = source.part(begin, end, length, forwards=forwards)
                begin, end = part.begin, part.end
                lines = self._scan(part, source, level)
                length = min(2 * length, LARGEST_SLICE)
                read += end - begin
                control.on_progress(read / source.size)
            yield from lines if forwards else reversed(lines)
            low, high = (end, high) if forwards else (low, begin)

    def _scan(self, part: Slice, source: Source, level: Filter) -> list[RawLine]:
        levels = levels_in(part, source) if self._mode == "log" else {}
        lines = [
            RawLine(
                part.starts[index],
                part.line_end(index),
                part.raw(index),
                levels.get(index, ""),
                part.continues(part.starts[index]),
            )
            for index in (range(len(part.starts)) if level == "all" else levels)
            if counts(levels.get(index, ""), level)
        ]
        if level != "all":
            last = part.starts[-1] if part.end == source.size else part.end
            self._keep(_Span(part.begin, last, [line for line in lines if line.offset < last]))
        return lines

    def _known(self, offset: int) -> _Span | None:
        """The span that holds an offset."""
        return next((span for span in self._spans if span.begin <= offset < span.end), None)

    def _unknown(self, low: int, high: int, forwards: bool) -> tuple[int, int]:
        """The part of a range, from the end one comes from, up to the first known span."""
        inside = [span for span in self._spans if low < span.end and span.begin < high]
        if not inside:
            return low, high
        return (low, inside[0].begin) if forwards else (inside[-1].end, high)

    def _keep(self, new: _Span) -> None:
        """Remember a span, joined with those it touches."""
        if new.begin == new.end:
            return
        size = sum(len(line.raw) for line in new.lines)
        if self._kept + size > MEMORY:
            self.forget()
        self._kept += size
        joined = [span for span in self._spans if span.end == new.begin or span.begin == new.end]
        others = [span for span in self._spans if span not in joined]
        both = sorted([*joined, new], key=lambda span: span.begin)
        lines = [line for span in both for line in span.lines]
        others.append(_Span(both[0].begin, both[-1].end, lines))
        self._spans = sorted(others, key=lambda span: span.begin)
