"""A text file of any size on the screen: a run's log as it grows, or data of any content."""

from pathlib import Path
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.geometry import Region
from textual.message import Message
from textual.reactive import var
from textual.strip import Strip
from textual.widget import Widget

from gptcore.text import steady
from gptstudio.app.keys import bindings
from gptstudio.app.widgets import file_messages
from gptstudio.app.widgets.file_drawing import differing, draw, in_rows, instead_of, where
from gptstudio.app.widgets.file_reader import Failure, FileReader, Reading, Report, Searched
from gptstudio.app.widgets.file_rows import Row
from gptstudio.app.widgets.file_viewport import Jump, Move, Screenful, Step, Wish
from gptstudio.services.text_levels import Filter
from gptstudio.services.text_lines import Mode

_LEVELS: tuple[Filter, ...] = ("all", "warnings", "errors")


class FileView(Widget, can_focus=True):
    """Shows a file; every read is another thread's.

    The first cell of a row says what it is: `>` the line that a search has found, `!` an error,
    `*` a warning, `+` the next part of a line too long for one.

    Args:
        interval: Seconds between two looks at the file.
        id: In the screen.
        classes: For the style sheet.

    Attributes:
        following: Whether the view stays at the end as the file grows.
        wrapping: Whether long lines are wrapped.
        level: Which lines of a log are shown.
        position: Where the view is, as in `34 % of 2.0 GiB, byte 730144440  following`.
        problem: What is wrong with the file; empty: nothing.
        busy: The long read under way and how far it is; empty: none.
    """

    BINDINGS = bindings("viewer", "pager")
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "fileview--match",
        "fileview--warning",
        "fileview--error",
        "fileview--message",
    }
    DEFAULT_CSS = """
    FileView {
        height: 1fr;
        .fileview--match { text-style: reverse; }
        .fileview--warning { color: $text-warning; }
        .fileview--error { color: $text-error; }
        .fileview--message { color: $text-muted; }
    }
    """
    ALLOW_SELECT = False

    following: var[bool] = var(True, init=False)
    wrapping: var[bool] = var(False, init=False)
    level: var[Filter] = var("all", init=False)
    position: var[str] = var("", init=False)
    problem: var[str] = var("", init=False)
    busy: var[str] = var("", init=False)

    Changed = file_messages.Changed
    Found = file_messages.Found
    NotFound = file_messages.NotFound

    class _Reported(Message):
        """From the reader's thread."""

        def __init__(self, report: Report) -> None:
            super().__init__()
            self.report = report

    def __init__(
        self, *, interval: float = 0.25, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self.path: Path | None = None
        self._mode: Mode = "log"
        self._empty = ""
        self._number = 0
        self._left = 0
        self._words = ""
        self._searching = False
        self._search_number = 0
        self._follows_again = False  # where the search comes to nothing
        self._rows: tuple[Row, ...] = ()
        self._screenful: Screenful | None = None
        self._told: tuple[object, ...] = ()
        self._reader = FileReader(self._hear, interval)

    def show(
        self, path: Path | None, *, follow: bool = True, mode: Mode = "log", empty: str = ""
    ) -> None:
        """Show a file from now on.

        Args:
            path: The file; it need not exist yet. None: none.
            follow: Begin at its end and stay there; otherwise begin at its beginning.
            mode: `log`, as a terminal would be left with it; `data`, every byte.
            empty: What is said where there is no file.
        """
        self.path = path
        self._mode = mode
        self._empty = empty
        self._number += 1
        self._left = 0
        self._words = ""
        self._searching = self._follows_again = False
        self._screenful = None
        self.problem = self.busy = ""
        self._replace(())
        self.set_reactive(FileView.following, follow)
        self._ask()

    def pause(self) -> None:
        """Rest while nobody looks: the file is not looked at."""
        self._reader.rest(True)

    def resume(self) -> None:
        """Look at the file again, at once."""
        self._reader.rest(False)

    def copyable(self) -> str:
        """The line that a search has found, where it is seen; else all the lines that are."""
        lines = {row.line.offset: row.line.text for row in self._rows}
        found = [row.line.text for row in self._rows if row.marked]
        return found[0] if found else "\n".join(lines.values())

    def search(self, words: str) -> None:
        """Go to the next line that shows `words`, from the first line seen on; none: forget them.

        `Found` or `NotFound` tells what came of it; `n` and `N` go on from there. Words without a
        capital match in any case.
        """
        self.cancel_search()
        self._words = words
        if words:
            self._begin_search(forwards=True, afresh=True)
        else:
            self._ask()

    @property
    def searching(self) -> bool:
        """Whether a search is under way."""
        return self._searching

    def cancel_search(self) -> None:
        """Give up the search that is under way."""
        if self._searching:
            self._reader.cancel_search()
            self._end_search()
            self.post_message(self.NotFound(self, self._words, cancelled=True))

    # Actions

    def action_line_up(self) -> None:
        """A row up; follows no more."""
        self._step(-1)

    def action_line_down(self) -> None:
        """A row down."""
        self._step(1)

    def action_page_up(self) -> None:
        """A page up, but for a row; follows no more."""
        self._step(-max(1, self.size.height - 1))

    def action_page_down(self) -> None:
        """A page down, but for a row."""
        self._step(max(1, self.size.height - 1))

    def action_top(self) -> None:
        """To the beginning; follows no more."""
        self.following = False
        self._ask(Jump(0))

    def action_bottom(self) -> None:
        """To the end; a log is followed from there."""
        self.following = self._mode == "log"
        self._ask(Jump(None))

    def action_left(self) -> None:
        """Half a width to the left."""
        self._shift(-max(1, self.size.width // 2))

    def action_right(self) -> None:
        """Half a width to the right, where there is more."""
        if any(row.cut for row in self._rows):
            self._shift(max(1, self.size.width // 2))

    def action_toggle_follow(self) -> None:
        """Stay at the end as the file grows, or where one is."""
        self.following = not self.following

    def action_toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self.wrapping = not self.wrapping

    def action_cycle_level(self) -> None:
        """All lines, warnings and errors, errors; of a log."""
        if self._mode == "log":
            self.level = _LEVELS[(_LEVELS.index(self.level) + 1) % len(_LEVELS)]

    def action_next_match(self) -> None:
        """To the next line that shows the words."""
        self._begin_search(forwards=True, afresh=False)

    def action_previous_match(self) -> None:
        """To the one before."""
        self._begin_search(forwards=False, afresh=False)

    def _step(self, rows: int) -> None:
        if rows < 0:
            self.following = False
        if not self.following:
            self._ask(Step(rows))

    def _shift(self, cells: int) -> None:
        if not self.wrapping:
            self._left = max(0, self._left + cells)
            self._ask()

    def _begin_search(self, *, forwards: bool, afresh: bool) -> None:
        if not self._words:
            return
        self._searching = True
        self._search_number += 1
        self._follows_again |= self.following
        self.following = False
        wish = self._wish()
        if wish is None:
            self._end_search()
            self.post_message(self.NotFound(self, self._words, reason="nothing is shown"))
        else:
            self._reader.search(wish, self._search_number, forwards=forwards, afresh=afresh)

    def _end_search(self, *, found: bool = False) -> None:
        """Take up what was left for the search, unless there is something to look at."""
        self._searching = False
        self.busy = ""
        if self._follows_again and not found:
            self.following = True
        self._follows_again = False
        self._tell()

    # What the reader wants to know, and what it says

    def on_mount(self) -> None:
        """Ask for what is to be seen."""
        self._ask()

    def on_resize(self) -> None:
        """Ask for as much as there is room for."""
        self._ask()

    def watch_virtual_size(self) -> None:
        """Likewise: what is mounted late is not always told of its first size."""
        self._ask()

    def on_unmount(self) -> None:
        """The reader is of no use to anyone else."""
        self._reader.end()

    def watch_following(self) -> None:
        """Go to the end, or stay."""
        self._ask()

    def watch_wrapping(self) -> None:
        """Lay the lines out anew."""
        self._left = 0
        self._ask()

    def watch_level(self) -> None:
        """Read other lines."""
        self._ask()

    def _ask(self, move: Move | None = None) -> None:
        wish = self._wish()
        if wish is not None or self.path is None:
            self._reader.want(wish, move)
        self._tell()

    def _wish(self) -> Wish | None:
        """What the reader is to read; None: there is no file, or no room."""
        width, height = self.size
        if self.path is None or not width or not height:
            return None
        return Wish(
            self.path,
            self._number,
            self._mode,
            width - self._gutter,
            height,
            0 if self.wrapping else self._left,
            self.wrapping,
            self.level,
            self.following,
            self._words,
        )

    def _hear(self, report: Report) -> None:
        """Hand a report over to the view's thread, also while the app is going down."""
        try:
            self.post_message(self._Reported(report))
        except RuntimeError:  # the loop is closed
            self._reader.end()

    @on(_Reported)
    def _take(self, message: _Reported) -> None:
        message.stop()
        match message.report:
            case Screenful() as screen if screen.wish.number == self._number:
                self._screenful = screen
                self.problem = screen.page.problem
                self.busy = self.busy if self._searching else ""
                self._replace(screen.rows)
                self._tell()
            case Reading(number=self._number, what=what, share=share):
                self.busy = f"looking for {steady(what)}: {share:.0%}"
                self._tell()
            case Searched(number=number) as searched if number == self._search_number:
                self._take_searched(searched)
            case Failure(error=error):
                self.problem = f"a fault in the viewer: {steady(repr(error))}"
                self._end_search(found=True)

    def _take_searched(self, searched: Searched) -> None:
        if not self._searching:
            return
        found = searched.offset is not None
        self._end_search(found=found)
        if not found:
            self.post_message(self.NotFound(self, self._words, reason=searched.problem))
            return
        room = self.size.width - self._gutter
        last = searched.column + len(self._words)
        if not self.wrapping and not self._left <= searched.column <= last <= self._left + room:
            self._left = 0 if last <= room else max(0, searched.column - room // 2)
            self._ask()
        self.post_message(self.Found(self, self._words, searched.wrapped))

    def _tell(self) -> None:
        """Say so where one of the attributes changed."""
        self.position = where(self._screenful, following=self.following)
        state = (
            self.path,
            self.position,
            self.problem,
            self.busy,
            self.following,
            self.wrapping,
            self.level,
        )
        if state != self._told:
            self._told = state
            self.post_message(self.Changed(self))

    # Drawing

    @property
    def _gutter(self) -> int:
        return 1 if self.size.width > 1 else 0

    def _replace(self, rows: tuple[Row, ...]) -> None:
        """Show other rows; only those that look different are drawn."""
        before, self._rows = self._rows, rows
        if not before or not rows:
            self.refresh()
            return
        changed = differing(before, rows)
        if changed:
            self.refresh(*(Region(0, y, self.size.width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """A row of the file, or of what is said where there is none."""
        style = self.visual_style.rich_style
        segments: list[Segment] = []
        if y < len(self._rows):
            row = self._rows[y]
            drawn = style + self._part(row.line.level) if row.line.level else style
            segments = draw(row, drawn, self._part("match"), gutter=self._gutter > 0)
        elif not self._rows and y < len(message := self._message()):
            segments = [Segment(message[y], style + self._part("message"))]
        return Strip(segments).adjust_cell_length(self.size.width, style)

    def _part(self, name: str) -> Style:
        return self.get_component_rich_style(f"fileview--{name}", partial=True)

    def _message(self) -> list[str]:
        """What is said instead of the file, in rows."""
        if self.path is None:
            return in_rows(self._empty, self.size.width)
        if self._screenful is None:
            return []
        said = self.problem or instead_of(self._screenful)
        return in_rows(said, self.size.width)
