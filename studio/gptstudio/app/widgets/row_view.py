"""A row of data on the screen: as text, as tokens, as it stands in its file.

The first cell of a line says what becomes of it: `+` is learned, `x` is cut off by the context.
"""

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from gptcore.text import steady
from gptstudio.app.keys import bindings
from gptstudio.app.widgets.row_text import Part, wrapped

if TYPE_CHECKING:
    from gptstudio.services.data_protocol import RowPreview

#: Cells before the text: the mark and a space.
GUTTER = 2
CUT = "... and so on: gptstudio data show has all of it"


class RowView(Widget, can_focus=True):
    """Shows a row and asks for others; reading them is not its own.

    Args:
        id: In the screen.
    """

    BINDINGS = bindings("rows")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "rowview--title",
        "rowview--problem",
        "rowview--learned",
        "rowview--masked",
        "rowview--control",
        "rowview--cut",
    }
    DEFAULT_CSS = """
    RowView {
        height: 1fr;
        .rowview--title { color: $text-muted; }
        .rowview--problem { color: $text-error; }
        .rowview--learned { color: $text-success; text-style: bold; }
        .rowview--masked { color: $foreground; }
        .rowview--control { color: $text-accent; }
        .rowview--cut { color: $text-error; text-style: strike; }
    }
    """
    ALLOW_SELECT = False

    class Wanted(Message):
        """Another row is wanted.

        Args:
            row: Its number, from 1; 0: the last.
        """

        def __init__(self, row: int) -> None:
            super().__init__()
            self.row = row

    class Stepped(Message):
        """A row beside the one that is shown, or is about to be, is wanted.

        Args:
            by: How many rows further on.
        """

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    class WantedWords(Message):
        """The next row with these words is wanted.

        Args:
            words: What it holds.
            forwards: The way.
        """

        def __init__(self, words: str, *, forwards: bool) -> None:
            super().__init__()
            self.words = words
            self.forwards = forwards

    class Left(Message):
        """What is being read is no longer wanted."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        #: The row that is shown; None: none is yet.
        self.shown: RowPreview | None = None
        #: Whether another one is being looked for.
        self.searching = False
        self._words = ""
        self._problem = ""
        self._said = ""
        self._lines: list[tuple[str, list[Part]]] = []
        self._top = 0

    def show(self, row: "RowPreview", problem: str = "", *, stay: bool = False) -> None:
        """Show a row.

        Args:
            row: The row.
            problem: What else is known to be wrong with it; harmless.
            stay: Whether it is the same row seen otherwise: then it stays where it was scrolled to.
        """
        self.shown, self._problem, self._said = row, problem, ""
        self._top = self._top if stay else 0
        self.searching = False
        self._lay_out()

    def say(self, text: str) -> None:
        """Show a sentence instead of a row."""
        self.shown, self._said, self._top = None, text, 0
        self.searching = False
        self._lay_out()

    def copyable(self) -> str:
        """The row as it is seen."""
        lines = self.shown.lines if self.shown else ()
        return "\n".join("".join(text for text, _ in line.parts) for line in lines)

    # Searching, as the filter's line has it

    def search(self, words: str) -> None:
        """Go to the next row that holds `words`."""
        self._words = words
        self._search(forwards=True)

    def cancel_search(self) -> None:
        """Stay with the row that is shown."""
        self.searching = False
        self.post_message(self.Left())

    def action_next_match(self) -> None:
        """To the next row that holds the words."""
        self._search(forwards=True)

    def action_previous_match(self) -> None:
        """To the one before."""
        self._search(forwards=False)

    def _search(self, *, forwards: bool) -> None:
        if self._words:
            self.searching = True
            self.post_message(self.WantedWords(self._words, forwards=forwards))

    # Actions

    def action_next_row(self, by: int) -> None:
        """To a row beside this one."""
        self.post_message(self.Stepped(by))

    def action_first_row(self) -> None:
        """To the first row of the file."""
        self.post_message(self.Wanted(1))

    def action_last_row(self) -> None:
        """To the last row of the file."""
        self.post_message(self.Wanted(0))

    def action_line_down(self) -> None:
        """One line down."""
        self._move_to(self._top + 1)

    def action_line_up(self) -> None:
        """One line up."""
        self._move_to(self._top - 1)

    def action_page_down(self) -> None:
        """A page down, but for a line."""
        self._move_to(self._top + max(1, self.size.height - 1))

    def action_page_up(self) -> None:
        """A page up, but for a line."""
        self._move_to(self._top - max(1, self.size.height - 1))

    def action_top(self) -> None:
        """To the beginning of the row."""
        self._move_to(0)

    def action_bottom(self) -> None:
        """To the end of the row."""
        self._move_to(len(self._lines))

    def _move_to(self, top: int) -> None:
        top = max(0, min(top, len(self._lines) - self.size.height))
        if top != self._top:
            self._top = top
            self.refresh()

    # Drawing

    def on_resize(self) -> None:
        """Another width, other lines."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.size.width - GUTTER
        if width < GUTTER:
            return
        lines = [("", part) for part in self._heading()]
        if self.shown is not None:
            lines += [(line.mark, line.parts) for line in self.shown.lines]
            if not self.shown.is_whole:
                lines.append(("", ((CUT, "title"),)))
        self._lines = [(mark, row) for mark, parts in lines for row in wrapped(parts, width)]
        self._top = max(0, min(self._top, len(self._lines) - self.size.height))
        self.refresh()

    def _heading(self) -> list[tuple[Part, ...]]:
        """What is said over the row, or in place of it."""
        row = self.shown
        if row is None:
            return [((line, "title"),) for line in steady(self._said, lines=True).split("\n")]
        line = f" (line {row.line:,})" if row.line is not None else ""
        what = f": {row.what}" if row.what else ""
        lines: list[tuple[Part, ...]] = [((f"row {row.row:,}{line}{what}", "title"),)]
        if row.in_tokens:
            lines.append(((row.in_tokens, "problem" if row.is_odd else "title"),))
        if self._problem:
            lines.append(((f"! {self._problem}", "problem"),))
        return [*lines, ()]

    def render_line(self, y: int) -> Strip:
        """A line of the row."""
        style = self.visual_style.rich_style
        at = self._top + y
        if at >= len(self._lines):
            return Strip.blank(self.size.width, style)
        mark, parts = self._lines[at]
        gutter = self._style(mark and {"+": "learned", "x": "cut"}.get(mark, "masked"))
        # A struck mark could not be read.
        segments = [Segment(f"{mark:1} ", style + gutter + Style(strike=False))]
        segments += [Segment(text, style + self._style(paint)) for text, paint in parts]
        return Strip(segments).adjust_cell_length(self.size.width, style)

    def _style(self, paint: str) -> Style:
        if paint in ("", "plain"):
            return Style()
        name = "control" if paint == "learned control" else paint
        style = self.get_component_rich_style(f"rowview--{name}", partial=True)
        return style + Style(bold=True) if paint == "learned control" else style
