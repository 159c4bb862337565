"""Every key of the studio, once: dispatch, footer, help and palette all come from this table.

A `Key` belongs to a scope; a screen or widget takes the bindings of its scopes with `bindings`.
Those of a screen, of what has the focus in it and of the app make up one chain, along which no key
stands twice.
"""

from dataclasses import dataclass, replace
from typing import Literal

from textual.binding import Binding, BindingType

Scope = Literal[
    "everywhere",
    "screen",
    "run",
    "train",
    "data",
    "monitor",
    "logs",
    "moving",
    "list",
    "tree",
    "viewer",
    "pager",
    "rows",
    "dialog",
    "answer",
    "review",
    "filter",
    "reader",
    "reading",
]


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that keys do.

    Args:
        id: Unique and lasting: what a settings file names to choose other keys.
        keys: Textual's names of the keys, separated by commas.
        action: The method `action_...` that it calls, with arguments if any.
        title: A word or two for the footer.
        description: For the help and the palette.
        hint: Place in the footer, from 1; 0: not there.
        states: Those of the run in which the footer names it; none: always.
        changes: Whether it does something to runs, which `--readonly` refuses.
        priority: Whether it works in a text field and under a dialog too.
        group: The heading of the help that it stands under.
        scope: Where it works.
    """

    id: str
    keys: str
    action: str
    title: str
    description: str
    hint: int = 0
    states: tuple[str, ...] = ()
    changes: bool = False
    priority: bool = False
    group: str = ""
    scope: Scope = "everywhere"


def _group(title: str, scope: Scope, *keys: Key) -> tuple[Key, ...]:
    return tuple(replace(key, group=title, scope=scope) for key in keys)


KEYS: tuple[Key, ...] = (
    *_group(
        "Screens",
        "everywhere",
        Key("screen.train", "1", "open('train')", "Train", "Go to Train"),
        Key("screen.data", "2", "open('data')", "Data", "Go to Data"),
        Key("screen.monitor", "3", "open('monitor')", "Monitor", "Go to Monitor"),
        Key("screen.logs", "4", "open('logs')", "Logs", "Go to Logs"),
        Key("screen.chat", "5", "open('chat')", "Chat", "Go to Chat"),
        Key(
            "screen.before", "left_square_bracket", "turn(-1)", "Before", "Go to the screen before"
        ),
        Key("screen.next", "right_square_bracket", "turn(1)", "Next", "Go to the next screen"),
    ),
    *_group(
        "Studio",
        "everywhere",
        Key("help", "question_mark", "help", "Help", "Show every key", hint=9),
        Key(
            "help.always",
            "f1",
            "help",
            "Help",
            "Show every key, from a text field too",
            priority=True,
        ),
        Key("palette", "colon", "command_palette", "Commands", "Find a command by its name"),
        Key(
            "palette.always",
            "ctrl+p",
            "command_palette",
            "Commands",
            "Find a command, from a text field too",
            priority=True,
        ),
        Key("quit", "ctrl+q", "quit", "Quit", "Leave the studio; runs go on", priority=True),
        Key("quit.hint", "ctrl+c", "say_how_to_quit", "Quit?", "Say how to leave"),
    ),
    *_group(
        "Panes",
        "screen",
        Key("pane.next", "tab", "next_pane(1)", "Pane", "Go to the next pane"),
        Key("pane.before", "shift+tab", "next_pane(-1)", "Pane before", "Go to the pane before"),
        Key("pane.zoom", "z", "zoom", "Zoom", "Show this pane alone, or all again"),
        Key("filter", "slash", "filter", "Filter", "Filter a list, search a text"),
        Key("filter.next", "n", "next_match(1)", "Next", "Go to the next match"),
        Key("filter.before", "N", "next_match(-1)", "Match before", "Go to the match before"),
        Key("copy", "y", "copy", "Copy", "Copy what the cursor is on"),
        Key("back", "escape", "back", "Back", "Leave the filter, the zoom, or the screen"),
    ),
    *_group(
        "The run",
        "run",
        Key(
            "run.pause",
            "p",
            "pause",
            "Pause",
            "Pause the run, or let it go on",
            hint=2,
            states=("running", "paused"),
            changes=True,
        ),
        Key(
            "run.checkpoint",
            "c",
            "checkpoint",
            "Checkpoint",
            "Write a checkpoint now",
            hint=3,
            states=("running",),
            changes=True,
        ),
        Key(
            "run.sample",
            "m",
            "sample",
            "Sample",
            "Let the model write a few words now",
            changes=True,
        ),
        Key(
            "run.resume",
            "R",
            "resume",
            "Resume",
            "Go on with a run that has ended early",
            hint=2,
            states=("stopped", "failed", "lost"),
            changes=True,
        ),
        Key(
            "run.stop",
            "S",
            "stop",
            "Stop",
            "Write a checkpoint, then end the run",
            hint=4,
            states=("queued", "starting", "running", "paused"),
            changes=True,
        ),
        Key(
            "run.kill",
            "K",
            "kill",
            "Kill",
            "End the run's processes at once",
            hint=5,
            states=("stopping",),
            changes=True,
        ),
    ),
    *_group(
        "Train",
        "train",
        Key(
            "train.start",
            "s",
            "start",
            "Start",
            "Look at what a run would take, then start it",
            hint=1,
            changes=True,
        ),
        Key("train.edit", "e", "edit_profile", "Edit", "Edit the profile in $EDITOR", changes=True),
        Key(
            "train.differences",
            "d",
            "differences",
            "Differences",
            "What the profile changes from the defaults",
        ),
        Key("train.scores", "v", "scores", "Scores", "How the model did on held-out data"),
    ),
    *_group(
        "Monitor",
        "monitor",
        Key(
            "monitor.log",
            "L",
            "toggle_log_scale",
            "Log scale",
            "Logarithmic or linear loss",
            hint=5,
        ),
        Key(
            "monitor.axis",
            "x",
            "next_axis",
            "Axis",
            "Steps, time or tokens along the plots",
            hint=6,
        ),
        Key(
            "monitor.smoother",
            "plus,equals_sign",
            "smoother(1)",
            "Smoother",
            "Smooth the curves more",
        ),
        Key("monitor.rougher", "minus", "smoother(-1)", "Rougher", "Smooth the curves less"),
        Key(
            "monitor.narrower",
            "full_stop",
            "window(1)",
            "Narrower",
            "Show fewer of the newest steps",
        ),
        Key("monitor.wider", "comma", "window(-1)", "Wider", "Show more steps"),
        Key("monitor.reset", "0", "reset", "Reset", "Show everything, unsmoothed and linear"),
        Key("monitor.follow", "f", "toggle_follow", "Follow", "Go with the newest step, or stay"),
        Key("monitor.overlay", "o", "overlay", "Overlay", "Draw another run over this one"),
    ),
    *_group(
        "Logs",
        "logs",
        Key(
            "logs.follow",
            "f",
            "toggle_follow",
            "Follow",
            "Stay at the end as the file grows",
            hint=5,
        ),
        Key("logs.wrap", "w", "toggle_wrap", "Wrap", "Wrap long lines, or cut them", hint=6),
        Key("logs.level", "v", "cycle_level", "Level", "All lines, warnings, errors"),
    ),
    *_group(
        "Data",
        "data",
        Key(
            "data.mix",
            "space",
            "toggle_mix",
            "Mix",
            "Put the file into the mix of its stages, or out",
            hint=1,
            changes=True,
        ),
        Key(
            "data.view",
            "t",
            "next_view",
            "View",
            "A row as text, tokens, what is supervised, or raw",
            hint=2,
        ),
        Key("data.row", "r", "go_to_row", "Row", "Go to a row by its number", hint=3),
        Key(
            "data.statistics",
            "i",
            "statistics",
            "Statistics",
            "Count turns, tokens and lengths in the file",
            hint=4,
        ),
        Key("data.wrap", "w", "toggle_wrap", "Wrap", "Wrap long lines, or cut them", hint=5),
    ),
    *_group(
        "Moving",
        "moving",
        Key("moving.down", "j,down", "cursor_down", "Down", "One line down"),
        Key("moving.up", "k,up", "cursor_up", "Up", "One line up"),
        Key("moving.first", "g,home", "first", "First", "To the first line"),
        Key("moving.last", "G,end", "last", "Last", "To the last line"),
        Key("moving.page_down", "pagedown,ctrl+f", "page_down", "Page down", "A page down"),
        Key("moving.page_up", "pageup", "page_up", "Page up", "A page up"),
        Key("moving.select", "enter", "select", "Choose", "Choose what the cursor is on"),
    ),
    *_group(
        "Moving in a list",
        "list",
        Key("list.left", "h,left", "screen.next_pane(-1)", "Pane before", "To the pane before"),
        Key("list.right", "l,right", "screen.next_pane(1)", "Next pane", "To the next pane"),
    ),
    *_group(
        "Moving in a tree",
        "tree",
        Key("tree.close", "h,left", "close", "Close", "Close the folder, or go up to it"),
        Key("tree.open", "l,right", "open", "Open", "Open the folder"),
    ),
    *_group(
        "Moving in a text",
        "viewer",
        Key("viewer.down", "j,down", "line_down", "Down", "One line down"),
        Key("viewer.up", "k,up", "line_up", "Up", "One line up"),
        Key("viewer.left", "h,left", "left", "Left", "To the left"),
        Key("viewer.right", "l,right", "right", "Right", "To the right"),
        Key("viewer.top", "g,home", "top", "Top", "To the beginning"),
        Key("viewer.bottom", "G,end", "bottom", "End", "To the end"),
        Key("viewer.page_down", "pagedown,ctrl+d", "page_down", "Page down", "A page down"),
        Key("viewer.page_up", "pageup,ctrl+u", "page_up", "Page up", "A page up"),
    ),
    *_group(
        "Moving in a text",
        "pager",
        Key("pager.page_down", "space", "page_down", "Page down", "A page down, but in Data"),
    ),
    *_group(
        "Moving in rows of data",
        "rows",
        Key("rows.next", "l,right", "next_row(1)", "Next row", "To the next row"),
        Key("rows.before", "h,left", "next_row(-1)", "Row before", "To the row before"),
        Key("rows.first", "g", "first_row", "First row", "To the first row of the file"),
        Key("rows.last", "G", "last_row", "Last row", "To the last row of the file"),
        Key("rows.down", "j,down", "line_down", "Down", "One line down in the row"),
        Key("rows.up", "k,up", "line_up", "Up", "One line up in the row"),
        Key("rows.top", "home", "top", "Top", "To the beginning of the row"),
        Key("rows.bottom", "end", "bottom", "End", "To the end of the row"),
        Key("rows.page_down", "pagedown,ctrl+d", "page_down", "Page down", "A page down"),
        Key("rows.page_up", "pageup,ctrl+u", "page_up", "Page up", "A page up"),
    ),
    *_group(
        "Dialogs",
        "dialog",
        Key("dialog.close", "escape", "close", "Cancel", "Close without doing anything", hint=2),
    ),
    *_group(
        "Dialogs",
        "answer",
        Key("answer.yes", "y", "yes", "Yes", "Do it", hint=1),
        Key("answer.no", "n,enter", "close", "No", "Do nothing", hint=2),
    ),
    *_group(
        "Dialogs",
        "review",
        Key("review.start", "s,enter", "start", "Start", "Start the run that is shown"),
    ),
    *_group(
        "Dialogs",
        "filter",
        Key("pick.filter", "slash", "filter", "Filter", "Type what a row must hold"),
    ),
    *_group(
        "Dialogs",
        "reader",
        Key("reader.close", "q,enter,question_mark", "close", "Close", "Close the text"),
    ),
    *_group(
        "Dialogs",
        "reading",
        Key("reading.down", "j,down", "scroll_down", "Down", "One line down"),
        Key("reading.up", "k,up", "scroll_up", "Up", "One line up"),
        Key("reading.first", "g,home", "scroll_home", "Top", "To the beginning"),
        Key("reading.last", "G,end", "scroll_end", "End", "To the end"),
        Key("reading.page_down", "pagedown,space", "page_down", "Page down", "A page down"),
        Key("reading.page_up", "pageup", "page_up", "Page up", "A page up"),
    ),
)

#: How keys are written whose names are not what is on them.
_WRITTEN = {
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "question_mark": "?",
    "colon": ":",
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "comma": ",",
    "full_stop": ".",
    "escape": "esc",
    "f1": "F1",
    "pagedown": "PgDn",
    "pageup": "PgUp",
}


def keys_of(*scopes: Scope) -> tuple[Key, ...]:
    """The keys of these scopes, in the order of the table."""
    return tuple(key for key in KEYS if key.scope in scopes)


def bindings(*scopes: Scope) -> list[BindingType]:
    """What a widget, screen or app with these scopes puts into its `BINDINGS`."""
    return [
        Binding(
            key.keys,
            key.action,
            key.title,
            show=False,
            key_display=label(key),
            priority=key.priority,
            tooltip=key.description,
            id=key.id,
        )
        for key in keys_of(*scopes)
    ]


def hints(*scopes: Scope) -> tuple[Key, ...]:
    """The keys of these scopes that the footer names, in its order."""
    return tuple(sorted((key for key in keys_of(*scopes) if key.hint), key=lambda key: key.hint))


def label(key: Key) -> str:
    """The first of its keys as people write it."""
    return labels(key).partition(" ")[0]


def labels(key: Key) -> str:
    """All of its keys as people write them."""
    return " ".join(_WRITTEN.get(name, name) for name in key.keys.split(","))
