"""Finds a plain text in a file of any size, slice by slice.

What is searched is what `text_lines.visible` leaves of each display line, as bytes: in a log no
colour sequence hides a match, and none lies in a state of a progress bar that was drawn over. A
match may reach into the next part of a line that was cut, and belongs to the part it begins in.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from gptstudio.services.text_levels import Filter, counts, levels_in
from gptstudio.services.text_lines import NEAR, Mode, drop_colours, visible
from gptstudio.services.text_source import Slice, Source

#: Bytes of the longest pattern; a match may not reach further past a slice than its window does.
LONGEST_PATTERN = NEAR


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        offset: Start of the display line in which the match begins; None: there is none.
        wrapped: Whether the search went on from the other end of the file.
        cancelled: Whether it was given up.
        problem: Why the file could not be searched.
    """

    offset: int | None = None
    wrapped: bool = False
    cancelled: bool = False
    problem: str = ""


def ignores_case(pattern: str) -> bool:
    """Whether a pattern matches in any case: where it has no capital itself."""
    return pattern == pattern.lower()


def find(
    source: Source,
    pattern: str,
    start: int,
    *,
    forwards: bool,
    mode: Mode,
    level: Filter,
    cancelled: Callable[[], bool],
    on_progress: Callable[[float], None],
) -> Found:
    """The next line with `pattern` after the offset `start`, or before it; wraps around.

    See `TextFile.search`.
    """
    needle = _Needle(pattern)
    if not 0 < needle.length <= LONGEST_PATTERN or "\n" in pattern or "\r" in pattern:
        return Found(problem=f"a search is for one line of 1 to {LONGEST_PATTERN} bytes")
    place = source.start_after(start) if forwards else source.start_of(max(0, start))
    near, far = (place, source.size), (0, place)
    rounds = (near, far) if forwards else (far, near)
    done = 0
    for wrapped, (begin, end) in enumerate(rounds):
        for part in source.parts(begin, end, forwards=forwards):
            if cancelled():
                return Found(cancelled=True)
            lines: Iterable[int] = needle.lines_in(part, mode)
            if not forwards:
                lines = reversed(list(lines))
            if level != "all":
                lines = _let_through(list(lines), part, source, level)
            if (index := next(iter(lines), None)) is not None:
                return Found(part.starts[index], wrapped=bool(wrapped))
            done += part.end - part.begin
            on_progress(done / source.size)
    return Found()


def _let_through(lines: list[int], part: Slice, source: Source, level: Filter) -> list[int]:
    levels = levels_in(part, source) if lines else {}
    return [index for index in lines if counts(levels.get(index, ""), level)]


class _Needle:
    """A pattern, made ready for being looked for in bytes.

    Args:
        pattern: The text.
    """

    def __init__(self, pattern: str) -> None:
        self._bytes = pattern.encode("utf-8", "surrogatepass")
        self.length = len(self._bytes)
        self._lower = ignores_case(pattern)
        self._variants: re.Pattern[bytes] | None = None
        if self._lower and not pattern.isascii():  # bytes.lower() knows ASCII alone
            self._variants = re.compile(b"".join(map(_either_case, pattern)))

    def lines_in(self, part: Slice, mode: Mode) -> Iterator[int]:
        """Indices of the lines of a slice in which a match begins, ascending."""
        begin, end = part.begin - part.base, part.end - part.base
        whole = part.window[begin : end + self.length - 1]
        if mode == "data" or (b"\x1b" not in whole and b"\r" not in whole):
            yield from self._lines_of_plain(part, whole)
            return
        if self._find(whole, 0) < 0 and self._find(drop_colours(whole), 0) < 0:
            return  # what is shown is a part of these
        for index in range(len(part.starts)):
            if self._find(self._shown(part, index, mode), 0) >= 0:
                yield index

    def _lines_of_plain(self, part: Slice, whole: bytes) -> Iterator[int]:
        """The same, where what is shown of the slice is its bytes as they are."""
        if self._lower and self._variants is None:
            whole = whole.lower()
        at = self._find(whole, 0, lowered=True)
        while 0 <= at < part.end - part.begin:
            index = part.index_of(part.begin + at)
            yield index
            at = self._find(whole, part.line_end(index) - part.begin, lowered=True)

    def _shown(self, part: Slice, index: int, mode: Mode) -> bytes:
        """What is shown of a line, and as much of its next part as a match may reach into."""
        raw = part.raw(index)
        if raw.endswith((b"\n", b"\r")):
            return visible(raw, mode)
        next_part = part.line_end(index) - part.base
        reach = part.window[next_part : next_part + self.length - 1]
        return visible(raw, mode) + reach.partition(b"\n")[0]

    def _find(self, text: bytes, at: int, *, lowered: bool = False) -> int:
        if self._variants is not None:
            match = self._variants.search(text, at)
            return match.start() if match else -1
        return (text.lower() if self._lower and not lowered else text).find(self._bytes, at)


def _either_case(character: str) -> bytes:
    """A pattern for the UTF-8 of a character in lower or upper case."""
    forms = {character, character.lower(), character.upper()}
    parts = sorted(re.escape(form.encode("utf-8", "surrogatepass")) for form in forms)
    return b"(?:" + b"|".join(parts) + b")"
