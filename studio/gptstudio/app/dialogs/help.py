"""Every key, from the one table of them; those of the screen that is shown come first."""

from collections.abc import Sequence
from itertools import groupby

from textual.content import Content

from gptstudio.app.dialogs.reading import Reading
from gptstudio.app.keys import KEYS, Key, Scope, labels

#: Width of the keys' column, in cells.
_WIDTH = max(len(labels(key)) for key in KEYS) + 2


class Help(Reading):
    """The help.

    Args:
        scopes: Of the screen it is asked for on; their keys come first.
    """

    def __init__(self, scopes: Sequence[Scope] = ()) -> None:
        super().__init__("Keys", help_text(scopes))


def help_text(scopes: Sequence[Scope] = ()) -> Content:
    """The keys by group, a line each."""
    lines: list[Content] = []
    in_order = sorted(KEYS, key=lambda key: key.scope not in scopes)
    for group, keys in groupby(in_order, key=lambda key: key.group):
        if lines:
            lines.append(Content(""))
        lines.append(Content.styled(group, "bold"))
        lines += [_line(key) for key in keys]
    return Content("\n").join(lines)


def _line(key: Key) -> Content:
    return Content.assemble(("  " + labels(key).ljust(_WIDTH), "$text-accent"), key.description)
