"""Where one will talk to the model."""

from collections.abc import Iterator

from textual.widget import Widget
from textual.widgets import Static

from gptstudio.app.screens.base import StudioScreen
from gptstudio.app.widgets.pane import Pane

TO_COME = (
    "Talking to a model, tool calls included, comes here;"
    " until then: gptstudio generate latest --prompt TEXT"
)


class ChatScreen(StudioScreen):
    """One line of what is to come."""

    MODE = "chat"

    def body(self) -> Iterator[Widget]:
        """The line."""
        line = Static(TO_COME, markup=False)
        line.can_focus = True
        yield Pane(line, title="Chat", target=line)
