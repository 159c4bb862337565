"""GPUs and host: a few lines for the cockpit, and a panel with every process."""

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from gptstudio.app.keys import bindings
from gptstudio.app.widgets.hardware_text import panel_lines, strip_lines
from gptstudio.services.hardware import Hardware


class _HardwareLines(Widget):
    """Lines made for the width there is; drawn again only when their text has changed."""

    DEFAULT_CSS = "_HardwareLines { width: 1fr; height: auto; text-wrap: nowrap; }"

    def __init__(
        self, *, ascii: bool = False, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._ascii = ascii
        self._hardware: Hardware | None = None
        self._width = 0
        self._lines: list[Content] = []

    def show(self, hardware: Hardware | None) -> None:
        """Show one look at the machine; None: there was none yet."""
        self._hardware = hardware
        if not self._width:
            return  # never drawn yet
        lines = self._make(self._width)
        if _plain(lines) == _plain(self._lines):
            return
        other_height = len(lines) != len(self._lines)
        self._lines = lines
        self.refresh(layout=other_height)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many as there are lines in `width` cells."""
        return len(self._make(width)) if width else 0

    def render(self) -> Content:
        """The lines."""
        self._width = self.content_size.width
        self._lines = self._make(self._width)
        return Content("\n").join(self._lines)

    def _make(self, width: int) -> list[Content]:
        raise NotImplementedError


class HardwareStrip(_HardwareLines):
    """A line for each GPU and one for the host.

    Args:
        ascii: Whether bars are drawn in ASCII.
        id: In the screen.
        classes: CSS classes.
    """

    def _make(self, width: int) -> list[Content]:
        return strip_lines(self._hardware, width, ascii=self._ascii)


class _PanelBody(_HardwareLines):
    def _make(self, width: int) -> list[Content]:
        return panel_lines(self._hardware, width, ascii=self._ascii)


class HardwarePanel(VerticalScroll, inherit_bindings=False):
    """A block for each GPU with its processes, then the host; scrolls where it is too long.

    Args:
        ascii: Whether bars are drawn in ASCII.
        id: In the screen.
        classes: CSS classes.
    """

    BINDINGS = bindings("reading")

    def __init__(
        self, *, ascii: bool = False, id: str | None = None, classes: str | None = None
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._body = _PanelBody(ascii=ascii)

    def compose(self) -> ComposeResult:
        """The lines."""
        yield self._body

    def show(self, hardware: Hardware | None) -> None:
        """Show one look at the machine; None: there was none yet."""
        self._body.show(hardware)


def _plain(lines: Sequence[Content]) -> list[str]:
    return [line.plain for line in lines]
