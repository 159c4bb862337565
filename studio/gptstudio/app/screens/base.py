"""What every screen of the studio has: tabs, panes of which one may be alone, filter, status."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, ClassVar, Protocol, cast, runtime_checkable

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import DescendantFocus, Resize
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from gptcore.text import steady
from gptstudio.app.feeds import Source
from gptstudio.app.keys import Scope, bindings, hints
from gptstudio.app.widgets.bars import HintBar, PaneBar, StatusBar, TabBar
from gptstudio.app.widgets.error_bar import ErrorBar
from gptstudio.app.widgets.pane import Pane

if TYPE_CHECKING:
    from textual.widgets import Input

    from gptstudio.app.studio import Studio
    from gptstudio.app.widgets.file_messages import Found, NotFound
    from gptstudio.app.widgets.file_view import FileView

#: Columns from which on several panes stand beside each other.
WIDE = 100
#: What a screen needs at least, in cells.
SMALLEST = (60, 16)


@runtime_checkable
class Filtered(Protocol):
    """A widget whose rows narrow as one types."""

    needle: str

    def filter(self, needle: str) -> None:
        """Show what holds `needle`."""


@runtime_checkable
class Searched(Protocol):
    """A widget that goes from match to match."""

    @property
    def searching(self) -> bool:
        """Whether a search is under way."""

    def search(self, words: str) -> None:
        """Go to the next match of `words`."""

    def cancel_search(self) -> None:
        """Give up the search that is under way."""

    def action_next_match(self) -> None:
        """Go to the next match."""

    def action_previous_match(self) -> None:
        """Go to the match before."""


@runtime_checkable
class Copyable(Protocol):
    """A widget that has something to copy."""

    def copyable(self) -> str:
        """What the cursor is on."""


class StudioScreen(Screen[None], inherit_bindings=False):
    """A screen of the studio; subclasses compose their panes in `body`."""

    MODE: ClassVar[str] = ""
    #: Of its keys, besides those that every screen has.
    SCOPES: ClassVar[tuple[Scope, ...]] = ()
    #: What it shows; its feeds rest while it is hidden. The runs are asked for always.
    SOURCES: ClassVar[frozenset[Source]] = frozenset()
    AUTO_FOCUS = ""
    VERTICAL_BREAKPOINTS = [(0, "-short"), (24, "-tall")]  # noqa: RUF012 - as in Textual
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012 - as in Textual
    BINDINGS = bindings("screen")

    def __init__(self) -> None:
        super().__init__()
        self._current = 0
        self._zoomed = False

    @property
    def studio(self) -> "Studio":
        """The app."""
        return cast("Studio", self.app)

    def compose(self) -> ComposeResult:
        """Tabs, panes, filter, error, status, hints."""
        studio = self.studio
        place = steady(str(studio.workspace.root))
        yield TabBar(self.MODE, place, readonly=studio.readonly)
        yield PaneBar(markup=False)
        with Container(id="body"):
            yield from self.body()
        yield ErrorBar()
        yield StatusBar(readonly=studio.readonly)
        yield HintBar(hints(*self.SCOPES, "everywhere"))
        yield Static("", id="too-small", markup=False)

    def body(self) -> Iterator[Widget]:
        """The panes of this screen, perhaps in containers."""
        raise NotImplementedError

    def hear(self, source: Source) -> None:
        """Show what a source has said; the app's state holds it."""

    def on_mount(self) -> None:
        """The first pane has the focus."""
        self.go_to(self.panes[0])
        self.hear_all()

    def on_screen_resume(self) -> None:
        """Catch up with what was said while it was hidden."""
        for view in self._views:
            view.resume()
        self.hear_all()

    def on_screen_suspend(self) -> None:
        """Nobody looks: no file is watched."""
        if not self.is_current:
            for view in self._views:
                view.pause()

    @property
    def is_whole(self) -> bool:
        """Whether its parts are there: not before it is mounted, nor while the app goes down."""
        return self.is_mounted and self.is_attached and bool(self.query(HintBar))

    def hear_all(self) -> None:
        """Show the state as it is."""
        if self.is_whole:
            self.hear_runs()
            for source in self.SOURCES:
                self.hear(source)

    def hear_runs(self) -> None:
        """Show how the chosen run stands: status line and error bar."""
        status = self.studio.state.status
        stale, _ = self.studio.staleness("runs")
        self.query_one(StatusBar).show(status, stale)
        words = self.studio.state.last_words.get(status.run, []) if status else []
        may_resume = "run" in self.SCOPES and not self.studio.readonly
        self.query_one(ErrorBar).show(status, words, may_resume=may_resume)
        self.query_one(HintBar).show(status, readonly=self.studio.readonly)
        self.hear("runs")

    @property
    def _views(self) -> "list[FileView]":
        return [cast("FileView", view) for view in self.query("FileView")]

    def mark_stale(self) -> None:
        """Mark the panes whose source has fallen silent."""
        for pane in self.panes:
            if pane.source is not None:
                pane.mark_stale(*self.studio.staleness(pane.source))

    # Panes

    @property
    def panes(self) -> list[Pane]:
        """The panes that there are, in the order in which tab goes through them."""
        return [pane for pane in self.query(Pane) if pane.offered]

    @property
    def pane(self) -> Pane:
        """The pane that is in use."""
        return self.panes[self._current]

    @property
    def alone(self) -> bool:
        """Whether one pane is shown at a time."""
        return self._zoomed or self.size.width < WIDE

    def go_to(self, pane: Pane) -> None:
        """Put the focus into a pane; it comes to the front where they are shown one at a time."""
        self._current = self.panes.index(pane)
        self._arrange()
        # At once: a focus that comes later would bring its own pane back to the front.
        self.set_focus(pane.target if pane.target.focusable else None)

    def offer(self, wanted: Collection[Pane]) -> None:
        """Show these panes and no others; who is at the first one stays at the first."""
        before, at_first = self.pane, self._current == 0
        for pane in self.query(Pane):
            pane.offered = pane in wanted
        now = self.panes[0] if at_first or not before.offered else before
        if self.focused in (None, before.target):
            self.go_to(now)
        else:  # a filter is being typed
            self._current = self.panes.index(now)
            self._arrange()

    def action_next_pane(self, by: int) -> None:
        """Go round the panes."""
        panes = self.panes
        self.go_to(panes[(self._current + by) % len(panes)])

    def action_zoom(self) -> None:
        """Show the current pane alone, or all again."""
        self._zoomed = not self._zoomed
        self._arrange()

    def on_resize(self, event: Resize) -> None:
        """Fewer columns, fewer panes; below the least, a message."""
        width, height = event.size
        too_small = width < SMALLEST[0] or height < SMALLEST[1]
        self.set_class(too_small, "-too-small")
        if too_small:
            needed = f"{SMALLEST[0]}x{SMALLEST[1]}"
            said = f"{width}x{height} is too small: {needed} at least.\nctrl+q quits; runs go on."
            self.query_one("#too-small", Static).update(said)
        self._arrange()
        if self.focused is None and not too_small and self.is_whole:
            self.go_to(self.pane)  # what is not seen loses the focus

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """The pane that holds the focus is the current one."""
        for number, pane in enumerate(self.panes):
            inside = pane.display and event.widget in pane.walk_children(Widget)
            if inside and number != self._current:
                self._current = number
                self._arrange()

    def _arrange(self) -> None:
        panes, alone = self.panes, self.alone
        self.set_class(alone, "-alone")
        for pane in self.query(Pane):
            pane.display = pane.offered and (not alone or pane is panes[self._current])
        for column in self.query(".column"):
            column.display = any(pane.display for pane in column.query(Pane))
        bar = self.query_one(PaneBar)
        bar.set_class(alone and len(panes) > 1, "-there")
        if alone:
            bar.show([pane.name_of_pane for pane in panes], self._current)

    # Filter, search, copy

    def action_filter(self) -> None:
        """Type what to look for in the current pane."""
        from textual.widgets import Input

        target = self.pane.target
        if not isinstance(target, Filtered | Searched):
            self.studio.say("there is nothing to filter here")
            return
        self._close_filter()
        what = "filter" if isinstance(target, Filtered) else "search"
        value = target.needle if isinstance(target, Filtered) else ""
        line = Input(value, id="filter", placeholder=what, compact=True, select_on_focus=False)
        self.mount(line, before=self.query_one(StatusBar))
        self.set_focus(line)  # at once: what was typed ahead is not for the screen

    def on_input_changed(self, event: "Input.Changed") -> None:
        """Narrow the list as one types."""
        target = self.pane.target
        if isinstance(target, Filtered):
            target.filter(event.value)
            self._say_filter(target)

    def on_input_submitted(self, event: "Input.Submitted") -> None:
        """Go back to the list, or to the first match."""
        target = self.pane.target
        self._close_filter()
        if isinstance(target, Searched) and event.value:
            target.search(event.value)

    def _close_filter(self) -> bool:
        """Take the line away and give the pane its focus back; whether there was one."""
        lines = self.query("#filter")
        lines.remove()
        if lines:
            self.set_focus(self.pane.target)
            self.filter_closed()
        return bool(lines)

    def filter_closed(self) -> None:
        """The pane has the focus again."""

    def action_next_match(self, by: int) -> None:
        """Go on to the next match, or back to the one before."""
        target = self.pane.target
        if isinstance(target, Searched):
            target.action_next_match() if by > 0 else target.action_previous_match()

    def on_file_view_found(self, event: "Found") -> None:
        """Say where the match is, if that may surprise."""
        if event.wrapped:
            self.studio.say("the search went on from the other end")

    def on_file_view_not_found(self, event: "NotFound") -> None:
        """Say that a search came to nothing, or was given up."""
        if event.cancelled:
            self.studio.say("search cancelled")
        else:
            self.studio.say(f"{event.words!r} not found {event.reason}".rstrip(), "warning")

    def action_copy(self) -> None:
        """Copy through the terminal (OSC 52), from any machine to the person's own."""
        target = self.pane.target
        text = target.copyable() if isinstance(target, Copyable) else ""
        if text:
            self.app.copy_to_clipboard(text)
            self.studio.say(f"copied: {text[:60]}")

    def action_back(self) -> None:
        """Leave the filter, then the zoom, then the screen."""
        target = self.pane.target
        was_typing = self._close_filter()
        if was_typing or (isinstance(target, Filtered) and target.needle):
            if isinstance(target, Filtered):
                target.filter("")
                self._say_filter(target)
        elif isinstance(target, Searched) and target.searching:
            target.cancel_search()
        elif self._zoomed:
            self.action_zoom()
        else:
            self.leave()

    def leave(self) -> None:
        """There is nothing else to leave but the screen."""
        if self.MODE != "train":
            self.studio.action_open("train")

    def _say_filter(self, target: Filtered) -> None:
        self.pane.say(f"/{target.needle}" if target.needle else "")
