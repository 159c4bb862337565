"""A plot of lines in braille dots, redrawn where it changed and nowhere else."""

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.reactive import var
from textual.strip import Strip
from textual.widget import Widget

from gptstudio.app.widgets.plot_axes import Unit
from gptstudio.app.widgets.plot_canvas import Row
from gptstudio.app.widgets.plot_frame import Line, Look, Role, draw, newest_x
from gptstudio.services.curves import Axis

__all__ = ["Line", "Plot"]

#: Characters of one role, with the blanks that follow: those show no colour.
_RUN = re.compile(rb"([^\0])(?:\1|\0)*|\0+")


class Plot(Widget, can_focus=True):
    """Some lines, and perhaps an overlay, over steps, time or tokens.

    Args:
        title: Before the legend; outside text is fine.
        unit: What the values are counted in.
        ascii: Whether to do without characters beyond ASCII.
        name: Of the widget.
        id: Of the widget.
        classes: Of the widget.

    Attributes:
        title: Before the legend.
        unit: What the values are counted in.
        axis: What x is.
        log_scale: Whether y is logarithmic.
        smoothing: Weight of the running mean, 0 (none) to 1.
        last: Only so much of x, up to its end; None: everything.
        follow: Whether x ends at the newest point; otherwise where it did when this was unset.
        ascii: Whether to do without characters beyond ASCII.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "plot--line",
        "plot--second",
        "plot--overlay",
        "plot--raw",
        "plot--axis",
        "plot--label",
        "plot--title",
        "plot--message",
        "plot--band",
        *(f"plot--part_{number}" for number in range(8)),
    }
    DEFAULT_CSS = """
    Plot { height: 1fr; }
    Plot > .plot--line { color: $primary; }
    Plot > .plot--second { color: $accent; }
    Plot > .plot--overlay { color: $foreground 60%; }
    Plot > .plot--raw { color: $primary 50%; }
    Plot > .plot--axis { color: $foreground 40%; }
    Plot > .plot--label { color: $foreground 75%; }
    Plot > .plot--title { color: $foreground; text-style: bold; }
    Plot > .plot--message { color: $foreground 75%; }
    Plot > .plot--band { color: $primary 40%; }
    Plot > .plot--part_0, Plot > .plot--part_5 { color: $primary; }
    Plot > .plot--part_1, Plot > .plot--part_6 { color: $accent; }
    Plot > .plot--part_2, Plot > .plot--part_7 { color: $success; }
    Plot > .plot--part_3 { color: $error; }
    Plot > .plot--part_4 { color: $secondary; }
    """
    ALLOW_SELECT = False

    title: var[str] = var("")
    unit: var[Unit] = var[Unit]("number")
    axis: var[Axis] = var[Axis]("step")
    log_scale: var[bool] = var(False)
    smoothing: var[float] = var(0.0)
    last: var[float | None] = var[float | None](None)
    follow: var[bool] = var(True)
    ascii: var[bool] = var(False)

    def __init__(
        self,
        title: str = "",
        *,
        unit: Unit = "number",
        ascii: bool = False,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self.title, self.unit, self.ascii = title, unit, ascii
        self._lines: tuple[Line, ...] = ()
        self._message = ""
        self._end: float | None = None
        self._rows: list[Row] = []
        self._strips: dict[int, Strip] = {}

    def on_mount(self) -> None:
        """Redraw whenever a setting changes."""
        for name in ("title", "unit", "log_scale", "smoothing", "last", "ascii"):
            self.watch(self, name, self._redraw, init=False)
        for name in ("axis", "follow"):
            self.watch(self, name, self._settle_end, init=False)

    def show(self, lines: Sequence[Line], message: str = "") -> None:
        """Show these lines from now on.

        Args:
            lines: The first one has the best place where lines meet.
            message: Shown instead where there is nothing to draw; may have several lines.
        """
        self._lines, self._message = tuple(lines), message
        self._redraw()

    def render_line(self, y: int) -> Strip:
        """One row of the plot."""
        width = self.size.width
        if y not in self._strips:
            row = self._rows[y] if y < len(self._rows) else Row("", b"")
            self._strips[y] = self._strip(row)
        return self._strips[y].adjust_cell_length(width, self.rich_style)

    def notify_style_update(self) -> None:
        """Colours have changed."""
        self._strips.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        """The plot has another size."""
        self._redraw()

    def _settle_end(self) -> None:
        self._end = None if self.follow else newest_x(self._lines)
        self._redraw()

    def _redraw(self) -> None:
        """Draw, and have repainted what is not as it was."""
        width, height = self.size
        if not (width and height):
            return
        look = Look(
            self.title,
            self.unit,
            self.axis,
            self.log_scale,
            self.smoothing,
            self.last,
            self._end,
            self.ascii,
        )
        rows = draw(self._lines, look, self._message, width, height)
        before, self._rows = self._rows, rows
        if len(before) != len(rows):
            self._strips.clear()
            self.refresh()
            return
        changed = []
        for y, (old, new) in enumerate(zip(before, rows, strict=True)):
            if old != new:
                self._strips.pop(y, None)
                start, end = _changed(old, new, width)
                changed.append(Region(start, y, end - start, 1))
        if changed:
            self.refresh(*changed)

    def _strip(self, row: Row) -> Strip:
        segments = []
        for run in _RUN.finditer(row.roles):
            start, end = run.span()
            segments.append(Segment(row.text[start:end], self._style(row.roles[start])))
        return Strip(segments)

    def _style(self, role: int) -> Style:
        if not role:
            return self.rich_style
        return self.get_component_rich_style(f"plot--{Role(role).name.lower()}")


def _changed(old: Row, new: Row, width: int) -> tuple[int, int]:
    """The cells from the first to the last that differ; all where a character is not a cell."""
    if not len(old.text) == len(new.text) == width:
        return 0, width
    before = list(zip(old.text, old.roles, strict=True))
    after = list(zip(new.text, new.roles, strict=True))
    differ = [number for number in range(width) if before[number] != after[number]]
    return differ[0], differ[-1] + 1
