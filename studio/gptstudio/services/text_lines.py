"""Where the display lines of a file begin, and what of their bytes is shown.

A display line ends after a line feed. A longer line is cut, so that no display line exceeds
`LONGEST` bytes, whatever the file holds. Cuts are at offsets of the file, not of the line: a
multiple of `CHUNK` cuts where the `CHUNK` bytes before it hold no line feed and it is none itself.
The cut lies behind the last carriage return of the `NEAR` bytes before the multiple (the end of
one state of a progress bar), else at the start of the UTF-8 character that spans it.

So no line of up to `CHUNK` bytes is ever cut; whether an offset starts a display line is told by
the bytes close to it alone, the same read forwards and backwards, in the middle of a line of
100 MB too; and what is appended to a file moves no line that is there.
"""

import re
from typing import Literal

from gptcore.text import clean, show_unseen

CHUNK = 8 << 10
LONGEST = 2 * CHUNK
#: Bytes past the end of a range that `line_starts` must see to tell the cuts in it.
NEAR = 1 << 10

#: `log`: as a terminal would be left with it. `data`: every byte is shown.
Mode = Literal["log", "data"]

_LINE_FEED = ord("\n")
#: What follows ESC [ in a colour sequence (SGR).
_COLOUR = re.compile(rb"[0-9;:]{0,64}m")
#: Unseen characters that only vary the look of the one before.
_VARIATIONS = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")


def line_starts(window: bytes, base: int, low: int, high: int, size: int) -> list[int]:
    """The offsets in ``[low, high)`` at which a display line starts, ascending.

    Args:
        window: Bytes of the file from `base` on: from `CHUNK` before `low` (or the file's start)
            to `NEAR` after `high` (or the file's end).
        base: Offset of the window.
        low: First offset asked about.
        high: First offset not asked about, at most `size`.
        size: Bytes of the file.
    """
    starts = [0] if low == 0 < high else []
    feed = window.find(b"\n", max(low - 1, 0) - base, high - 1 - base)
    while feed >= 0:
        starts.append(base + feed + 1)
        feed = window.find(b"\n", feed + 1, high - 1 - base)
    first = max(CHUNK, -(-low // CHUNK) * CHUNK)
    cuts = [
        cut
        for multiple in range(first, min(high + NEAR, size), CHUNK)
        if low <= (cut := _cut(window, multiple - base) + base) < high
    ]
    return sorted(starts + cuts) if cuts else starts


def _cut(window: bytes, multiple: int) -> int:
    """Where in the window a multiple of `CHUNK` cuts the line it lies in; negative: nowhere."""
    if window[multiple] == _LINE_FEED or window.find(b"\n", multiple - CHUNK, multiple) >= 0:
        return -1 << 62
    redrawn = window.rfind(b"\r", multiple - NEAR, multiple)
    if redrawn >= 0:
        return redrawn + 1
    boundary = (at for at in range(multiple, multiple - 4, -1) if window[at] & 0xC0 != 0x80)
    return next(boundary, multiple)


def drop_colours(raw: bytes, filler: bytes = b"") -> bytes:
    """Bytes without their colour sequences (SGR), or with `filler` for every byte of one."""
    if b"\x1b[" not in raw:
        return raw
    first, *rest = raw.split(b"\x1b[")
    parts = [first]
    for part in rest:
        if colour := _COLOUR.match(part):
            parts += (filler * (2 + colour.end()), part[colour.end() :])
        else:
            parts += (b"\x1b[", part)
    return b"".join(parts)


def visible(raw: bytes, mode: Mode) -> bytes:
    """The bytes of a display line that are shown, without its line end.

    In a log that is without colour sequences (SGR), and of a line that was redrawn after carriage
    returns only the last state that is not empty.
    """
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if mode == "data":
        return raw
    raw = drop_colours(raw)
    if b"\r" in raw:
        raw = next(filter(None, reversed(raw.split(b"\r"))), b"")
    return raw


def show(raw: bytes, mode: Mode) -> str:
    r"""A display line as harmless text: no control characters, and no width in dispute.

    Bytes that are not UTF-8 become `\xNN`, controls and unseen characters their escapes; in a
    log, marks that only vary the look of the character before them are left out.
    """
    seen = visible(raw, mode).replace(b"\x00", b"\\x00")  # as `clean` does, where there are many
    text = clean(seen.decode("utf-8", "surrogateescape"))
    if text.isascii():
        return text
    if mode == "log":
        text = _VARIATIONS.sub("", text)
    return show_unseen(text)
