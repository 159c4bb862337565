"""A list of rows under names, with a filter; the base of every list in the studio."""

from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from gptcore.text import steady
from gptstudio.app.keys import bindings


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        id: Unique in the list, and lasting.
        content: What is shown at the left; it gives way where there is little room.
        text: What the filter looks in, and what is copied.
        right: What is shown at the right.
        disabled: Whether the cursor passes over it.
    """

    id: str
    content: Content
    text: str
    right: Content | None = None
    disabled: bool = False


class Rows(OptionList, inherit_bindings=False):
    """A list whose rows are shown again and again; the cursor stays on the same row.

    Args:
        empty: What is said when there are none: what is missing, where, the key that helps.
        id: In the screen.
    """

    BINDINGS = bindings("moving", "list")
    DEFAULT_CSS = """
    Rows {
        border: none; padding: 0; height: 1fr; background: transparent;
        text-wrap: nowrap; text-overflow: ellipsis; scrollbar-gutter: stable;
        &:focus { border: none; }
        & > .option-list--option { padding: 0; }
        & > .option-list--option-disabled { color: $text-muted; text-style: none; }
        & > .option-list--option-highlighted { text-style: none; }
    }
    """

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._rows: tuple[Row, ...] = ()
        self._shown: tuple[Row, ...] = ()
        self._empty = empty
        self.needle = ""

    def show(self, rows: Sequence[Row], empty: str | None = None) -> None:
        """Replace the rows; nothing is drawn where nothing changed."""
        if empty is not None:
            self._empty = empty
        self._rows = tuple(rows)
        self._update()

    def filter(self, needle: str) -> None:
        """Show the rows whose text holds `needle`, in any case."""
        self.needle = needle
        self._update()

    def choose(self, row_id: str) -> None:
        """Put the cursor on a row, where there is one of that name."""
        ids = [row.id for row in self._shown]
        if row_id in ids:
            self.highlighted = ids.index(row_id)

    @property
    def chosen(self) -> str:
        """The row that the cursor is on; empty: none."""
        row = self._row()
        return row.id if row else ""

    def copyable(self) -> str:
        """What `copy` takes: the text of the row under the cursor."""
        row = self._row()
        return row.text if row else ""

    def on_resize(self) -> None:
        """Lay the rows out anew."""
        for index, row in enumerate(self._shown):
            self.replace_option_prompt_at_index(index, self._laid_out(row))

    def _laid_out(self, row: Row) -> Content:
        width = self.scrollable_content_region.width
        return spread(row.content, row.right, width) if width and row.right else row.content

    def _row(self) -> Row | None:
        if self.highlighted is None or self.highlighted >= len(self._shown):
            return None
        return self._shown[self.highlighted]

    def _update(self) -> None:
        needle = self.needle.casefold()
        rows = tuple(row for row in self._rows if needle in row.text.casefold())
        if not rows:
            said = f"nothing here holds {steady(self.needle)!r}" if self._rows else self._empty
            rows = tuple(
                Row(f" {number}", Content(line), "", disabled=True)
                for number, line in enumerate(said.splitlines())
            )
        if [row.id for row in rows] == [row.id for row in self._shown]:
            for index, (before, now) in enumerate(zip(self._shown, rows, strict=True)):
                if (before.content, before.right) != (now.content, now.right):
                    self.replace_option_prompt_at_index(index, self._laid_out(now))
            self._shown = rows
            return
        kept = self.chosen
        self._shown = rows
        self.set_options(Option(self._laid_out(row), row.id, row.disabled) for row in rows)
        self.choose(kept)
        if self.highlighted is None and any(not row.disabled for row in rows):
            self.action_first()


def spread(left: Content, right: Content, width: int) -> Content:
    """`left` at the left and `right` at the right of `width` cells; the left one gives way."""
    room = width - right.cell_length - 1
    if room < 4:
        return left.truncate(max(1, width), ellipsis=True)
    return Content.assemble(left.truncate(room, ellipsis=True, pad=True), " ", right)
