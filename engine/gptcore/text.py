"""Text from outside, made harmless for a terminal."""

import re

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


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
