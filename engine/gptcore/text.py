"""Text from outside, made harmless for a terminal."""

import re
import unicodedata

#: Controls, C1 controls, surrogates, and the marks that reorder or break a line unseen.
_UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def clean(text: str, *, lines: bool = False) -> str:
    """`text` with control characters shown instead of obeyed.

    Args:
        text: Text of a file, a person, a model or the file system.
        lines: Whether line feeds stay; otherwise they are shown too.
    """
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    safe = _UNSAFE.sub(lambda match: _escape(match.group()), text)
    return safe if lines else safe.replace("\n", "\\n")


#: Characters that are not seen, or that terminals disagree about the width of.
_UNSEEN = re.compile(
    "[\u00ad\u115f\u1160\u180b-\u180f\u200b-\u200d\u2060-\u2064\u206a-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff]"
)
#: Marks beyond these on one character are not shown: a stack of them would leave its row.
MOST_MARKS = 4


def steady(text: str, *, lines: bool = False) -> str:
    """`clean`, and besides of a width that every terminal agrees on: for a screen in columns.

    Args:
        text: Text of a file, a person, a model or the file system.
        lines: Whether line feeds stay; otherwise they are shown too.
    """
    text = clean(text, lines=lines)
    if text.isascii():
        return text
    return show_unseen(cap_marks(text))


def show_unseen(text: str) -> str:
    """`text` with characters that are not seen shown by their numbers."""
    return _UNSEEN.sub(lambda match: _number(match.group()), text)


def cap_marks(text: str) -> str:
    """`text` with no more than `MOST_MARKS` combining marks on one character."""
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def _number(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else _number(character)
