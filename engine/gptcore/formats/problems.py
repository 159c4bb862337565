"""What is wrong with data, said rather than raised: the good rest is used."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the data that could not be used.

    Args:
        file: The file or folder.
        line: Line in the file, from 1; None where lines do not count, or it is about all of it.
        reason: What is wrong with it; may hold text from the file.
        row: Row in the file, from 1; None when it is about the whole file.
        field: Where in the row, as in `messages[2].content`; empty: all of it.
    """

    file: Path
    line: int | None
    reason: str
    row: int | None = None
    field: str = ""


class RowError(ValueError):
    """A row that cannot be used.

    Args:
        reason: What is wrong with it.
        field: Where in the row; empty: all of it.
    """

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field

    def at(self, field: str) -> "RowError":
        """The same, seen from outside: `field` goes before its own."""
        inner = self.field if self.field.startswith("[") or not self.field else f".{self.field}"
        return RowError(self.reason, f"{field}{inner}")
