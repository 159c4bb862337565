"""Lines that a row of data is shown in; no more than what the interface must know of them."""

from typing import Literal

import msgspec

#: What of a row is shown: rendered, as tokens, what is learned alone, as it stands in the file.
View = Literal["text", "tokens", "supervised", "raw"]
#: How a part of a line is painted.
Paint = Literal[
    "plain", "title", "problem", "learned", "masked", "cut", "control", "learned control"
]


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line, harmless.

    Attributes:
        parts: Text and its paint.
        mark: What becomes of it; empty: it is no part of what the model sees.
    """

    parts: tuple[tuple[str, Paint], ...]
    mark: str = ""
