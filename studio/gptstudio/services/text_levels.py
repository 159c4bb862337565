"""Which lines of a log are warnings and errors, told from words.

A line counts where it has one of the words. An indented line, or the rest of a line that was cut,
belongs to the closest line before it that is neither, at most `REACH` bytes back: so a traceback
stays whole (its last line has the word `Error` or `Exception` of its own), and the source line that
Python prints under a warning stays with it. A worker's prefix (`[rank0]: `) is no part of the
indentation.
"""

import re
from typing import Literal

from gptstudio.services.text_lines import drop_colours, visible
from gptstudio.services.text_source import Slice, Source

#: What a line is; empty: neither.
Level = Literal["", "warning", "error"]
#: Which lines are shown. `warnings` includes the errors.
Filter = Literal["all", "warnings", "errors"]

REACH = 64 << 10

#: What makes a line an error or a warning, by a part of it in lower case that is quick to find. A
#: pattern is tried where its part begins.
_WORDS: tuple[tuple[bytes, Level, re.Pattern[bytes]], ...] = (
    (b"error", "error", re.compile(rb"Error\b|(?<!\w)(?:ERROR\b|(?i:error):)")),
    (b"exception", "error", re.compile(rb"Exception\b")),
    (b"traceback", "error", re.compile(rb"(?<!\w)Traceback\b")),
    (b"critical", "error", re.compile(rb"(?<!\w)(?:CRITICAL\b|(?i:critical):)")),
    (b"fatal", "error", re.compile(rb"(?<!\w)(?:FATAL\b|(?i:fatal):)")),
    (b"interrupt", "error", re.compile(rb"(?<=Keyboard)Interrupt\b")),
    (b"warn", "warning", re.compile(rb"Warning\b|(?<!\w)(?:WARN(?:ING)?\b|(?i:warning):)")),
)
_INDENTED = re.compile(rb"(?:\[rank\d+\]: )?[ \t]")

_RANK: dict[Level, int] = {"": 0, "warning": 1, "error": 2}
_NEEDED: dict[Filter, int] = {"all": 0, "warnings": 1, "errors": 2}


def counts(level: Level, wanted: Filter) -> bool:
    """Whether a line of that level is shown under a filter."""
    return _RANK[level] >= _NEEDED[wanted]


def levels_in(part: Slice, source: Source) -> dict[int, Level]:
    """The levels of a slice's lines, by index ascending; lines that have none are left out."""
    own = _own_levels(part)
    found: dict[int, Level] = {}
    head, inherited = _head_before(part, source)
    if not own and not inherited:
        return found
    index = 0
    for worded in [*sorted(own), len(part.starts)]:
        while index < worded:  # lines without a word, as long as they may inherit
            if not inherited or not _belongs(part, part.starts[index]):
                inherited = ""
                break
            if part.starts[index] - head <= REACH:
                found[index] = inherited
            index += 1
        if worded == len(part.starts):
            break
        level = own[worded]
        if not _belongs(part, part.starts[worded]):
            head, inherited = part.starts[worded], level
        elif inherited and part.starts[worded] - head <= REACH:
            level = max(level, inherited, key=_RANK.__getitem__)
        found[worded] = level
        index = worded + 1
    return found


def _own_levels(part: Slice) -> dict[int, Level]:
    """The levels of lines by their own words, by index in any order."""
    begin, end = part.begin - part.base, part.end - part.base
    text = drop_colours(part.window, b" ")
    lower = text.lower()
    found: dict[int, Level] = {}
    for word, level, pattern in _WORDS:
        at = lower.find(word, begin, end)
        while at >= 0:
            after = at + len(word)
            if pattern.match(text, at):
                index = part.index_of(part.base + at)
                if found.get(index) != "error" and _is_shown(part.raw(index), word, pattern):
                    found[index] = level
                after = part.line_end(index) - part.base
            at = lower.find(word, after, end)
    return found


def _is_shown(raw: bytes, word: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Whether a line in which a word was found still has it when states drawn over are gone."""
    if b"\r" not in raw.removesuffix(b"\r\n"):
        return True
    text = visible(drop_colours(raw, b" "), "log")
    hits = re.finditer(re.escape(word), text.lower())
    return any(pattern.match(text, hit.start()) for hit in hits)


def _head_before(part: Slice, source: Source) -> tuple[int, Level]:
    """Offset and level of the line before a slice that the slice's first lines may belong to."""
    if part.begin == 0 or not _belongs(part, part.begin):
        return 0, ""
    before = source.slice(source.start_of(max(0, part.begin - REACH - 1)), part.begin)
    for index in reversed(range(len(before.starts))):
        if not _belongs(before, before.starts[index]):
            return before.starts[index], _own_levels(before).get(index, "")
    return 0, ""


def _belongs(part: Slice, start: int) -> bool:
    if part.continues(start):
        return True
    return _INDENTED.match(part.window, start - part.base) is not None
