"""Every key that works on this screen, from the one table of them."""

from itertools import groupby

from textual.content import Content

from gptstudio.app.dialogs.reading import Reading
from gptstudio.app.keys import KEYS, Key, label

#: Keys that every list, text and dialog has are told in one place each.
_WIDTH = 11


class Help(Reading):
    """The help."""

    def __init__(self) -> None:
        super().__init__("Keys", help_text())


def help_text() -> Content:
    """The keys by group, a line each."""
    lines: list[Content] = []
    for group, keys in groupby(KEYS, key=lambda key: key.group):
        if lines:
            lines.append(Content(""))
        lines.append(Content.styled(group, "bold"))
        lines += [_line(key) for key in keys]
    return Content("\n").join(lines)


def _line(key: Key) -> Content:
    return Content.assemble(("  " + label(key).ljust(_WIDTH), "$text-accent"), key.description)
