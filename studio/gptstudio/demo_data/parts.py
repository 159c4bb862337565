"""Which part a question belongs to, and how wordings become a person's words."""

import re
from collections.abc import Sequence
from random import Random
from typing import Literal
from zlib import crc32

Part = Literal["train", "held-out"]

#: One in so many of the things that can be asked for is held out.
_HELD_OUT_SHARE = 7
#: Of so many wordings without a value the last is held out.
_WORDINGS = 5

_OPENERS = ("hi, ", "hello, ", "hey, ", "ok, ", "one question: ", "well, ", "so, ", "now, ")


def part_of(what: str) -> Part:
    """The part that owns what is asked, by a checksum: the same for every seed."""
    return "held-out" if crc32(what.encode()) % _HELD_OUT_SHARE == 0 else "train"


def owned(things: Sequence[str], kind: int, part: Part) -> list[str]:
    """Those of `things` about which `part` may ask the question number `kind`.

    Of each thing at most one kind of question is held out, so that it is met in training by
    another. Kinds count from 0 and stay below seven.
    """
    return [
        thing
        for place, thing in enumerate(things)
        if (place % _HELD_OUT_SHARE == kind) == (part == "held-out")
    ]


def wordings(texts: Sequence[str], part: Part) -> Sequence[str]:
    """Those of at least five wordings that belong to `part`: every fifth is held out."""
    first = _WORDINGS - 1
    if part == "held-out":
        return texts[first::_WORDINGS]
    return [text for place, text in enumerate(texts) if place % _WORDINGS != first]


def plain(text: str) -> str:
    """A text without capitals and punctuation: what two questions are compared by."""
    return " ".join(re.findall(r"[\w.]*\w|[+*-]", text.casefold()))


def listed(text: str) -> tuple[str, ...]:
    """What stands in a text, separated by commas and line ends."""
    return tuple(re.split(r",\s+", text.strip()))


def capital(text: str) -> str:
    """The text with a capital at the front."""
    return text[:1].upper() + text[1:]


def dress(rng: Random, text: str, *, opener: bool = True) -> str:
    """Make a wording a person's own: with an opener or none, a capital or none, polite or not.

    Args:
        rng: Where chance comes from.
        text: The wording, its first letter small.
        opener: Whether it may begin with a greeting or the like.
    """
    if opener and rng.random() < 0.2:
        text = rng.choice(_OPENERS) + text
    if rng.random() < 0.85:
        text = capital(text)
    ending = rng.random()
    if ending < 0.12:
        return text.rstrip("?.!")
    if text.endswith("?") and ending < 0.24:
        return f"{text[:-1]}, please?" if opener else text
    return text
