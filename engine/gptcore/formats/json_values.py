"""One value of JSON as rows are read: strictly, with a reason in words where it is refused.

A name that stands twice in an object, a number that is none, and half a character are refused.
"""

import json
from typing import Any

import msgspec

from gptcore.formats.problems import RowError

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def decode(line: bytes) -> Any:
    """One row of JSON.

    Raises:
        RowError: It is none, or a name stands twice in one of its objects.
    """
    try:
        value = _decode(line)
    except RecursionError:
        raise RowError("is nested too deeply") from None
    except UnicodeDecodeError:
        raise RowError("is not UTF-8") from None
    except ValueError as error:
        if "\\u" in line.decode(errors="replace") and "truncated" in str(error):
            raise RowError("is cut short, or holds half a character (a lone surrogate)") from None
        raise RowError(f"is not JSON: {plain(error)}") from None
    # Names that stand twice are rare: looked for only where there are fewer once it is decoded.
    # (About: what looks like a name within a string is taken for one on both sides.)
    colons = line.count(b":")  # a single byte is found several times as fast as two
    if colons > (len(value) if type(value) is dict else 0) and colons > _encode(value).count(b":"):
        try:
            json.loads(line, object_pairs_hook=_unique)
        except RecursionError:
            raise RowError("is nested too deeply") from None
        except UnicodeError:
            raise RowError("is not UTF-8") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RowError(f"holds the name {twice[:40]!r} twice")
    return made


def _refuse(word: str) -> Any:
    raise RowError(f"holds {word:.20}, which is not a number here")


def _float(word: str) -> float:
    number = float(word)
    return number if abs(number) < float("inf") else _refuse(word)


def _int(word: str) -> int:
    return int(word) if len(word) < 400 else _refuse(word)


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_float, parse_int=_int
)
#: Finds the end of what the strict one refuses.
_LENIENT = json.JSONDecoder(parse_int=str, parse_float=str)


def next_value(text: str, at: int) -> tuple[Any, int] | None:
    """The value that begins there and where it ends; None: it is not all there, or broken.

    A value that may not be used comes as the `RowError` that says why.
    """
    try:
        value, end = _STRICT.raw_decode(text, at)
    except RowError as error:
        try:
            return error, _LENIENT.raw_decode(text, at)[1]
        except (ValueError, RecursionError):
            return None
    except (ValueError, RecursionError):
        return None
    if _has_half_characters(value, text, at, end):
        return RowError("holds half a character (a lone surrogate)"), end
    return value, end


def _has_half_characters(value: Any, text: str, at: int, end: int) -> bool:
    if text.find("\\ud", at, end) < 0 and text.find("\\uD", at, end) < 0:
        return False
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def why_broken(text: str, at: int) -> str:
    """Why no value begins there."""
    try:
        _LENIENT.raw_decode(text, at)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return plain(error)
    return "it ends too early"


def plain(error: Exception) -> str:
    """What a library says, short."""
    return str(error).removeprefix("JSON is malformed: ")[:200]


def is_row(line: bytes) -> bool:
    """Whether a line alone is an object."""
    try:
        return type(_decode(line)) is dict
    except (ValueError, RecursionError):
        return False
