"""One of a list, with a filter."""

from collections.abc import Sequence

from textual import on
from textual.widget import Widget
from textual.widgets import Input, OptionList

from gptstudio.app.dialogs.base import Dialog
from gptstudio.app.keys import bindings
from gptstudio.app.widgets.rows import Row, Rows


class _PickRows(Rows):
    DEFAULT_CSS = "_PickRows { height: auto; max-height: 16; }"


class Pick(Dialog[str]):
    """Answers with the id of the row that was chosen.

    Args:
        title: What is chosen.
        rows: What there is.
        chosen: Where the cursor begins.
        empty: What is said where there is nothing.
    """

    BINDINGS = bindings("filter")

    def __init__(
        self, title: str, rows: Sequence[Row], *, chosen: str = "", empty: str = "nothing"
    ) -> None:
        super().__init__(title, "enter choose   / filter   esc cancel")
        self._rows = rows
        self._chosen = chosen
        self._empty = empty

    def content(self) -> list[Widget]:
        """The rows over the filter's line."""
        line = Input(placeholder="filter", compact=True)
        line.display = False
        return [_PickRows(empty=self._empty), line]

    def on_mount(self) -> None:
        """The cursor begins on what is chosen now."""
        rows = self.query_one(_PickRows)
        rows.show(self._rows)
        rows.choose(self._chosen)
        rows.focus()

    def action_filter(self) -> None:
        """Type what the row must hold."""
        line = self.query_one(Input)
        line.display = True
        line.focus()

    @on(Input.Changed)
    def _narrow(self, event: Input.Changed) -> None:
        self.query_one(_PickRows).filter(event.value)

    @on(Input.Submitted)
    def _pick_first(self) -> None:
        if chosen := self.query_one(_PickRows).chosen:
            self.dismiss(chosen)

    @on(OptionList.OptionSelected)
    def _picked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
