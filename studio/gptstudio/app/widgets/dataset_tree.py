"""The files under `datasets/` as a tree, for any number of them."""

from rich.style import Style
from rich.text import Text
from textual.message import Message
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from gptstudio.app.keys import bindings
from gptstudio.app.widgets.dataset_text import (
    Paint,
    Part,
    detail,
    empty_notes,
    file_row,
    folder_row,
    forms_of,
    note_row,
)
from gptstudio.services.counting import Counts
from gptstudio.services.datasets import DatasetFile, DatasetFolder, DatasetTree

#: How many rows a folder shows, and a filter; the rest is counted.
MAX_ROWS = 500
#: Folders below this depth are not opened: no name would be left to see.
MAX_DEPTH = 30
#: With so few files every folder is open from the start.
FEW_FILES = 30

#: What a row stands for; text: a remark.
Entry = DatasetFile | DatasetFolder | str


class DatasetTreeView(Tree[Entry], inherit_bindings=False):
    """Folders and files with size and content; counts are filled in as they come.

    Rows are made when their folder is opened, and never more than `MAX_ROWS` in one folder.

    Args:
        id: In the screen.
        classes: CSS classes.
    """

    BINDINGS = bindings("moving", "tree")
    COMPONENT_CLASSES = {  # noqa: RUF012 - as in the base class
        "dataset-tree--muted",
        "dataset-tree--in",
        "dataset-tree--problem",
    }
    DEFAULT_CSS = """
    DatasetTreeView {
        background: transparent;
        overflow-x: hidden;
        & > .dataset-tree--muted { color: $text-muted; }
        & > .dataset-tree--in { color: $text-success; }
        & > .dataset-tree--problem { color: $text-error; }
    }
    """

    class Chosen(Message):
        """The cursor has come to another row.

        Args:
            path: Of the file or folder under `datasets/`; of the folder it is in for a remark.
            entry: The file or folder; None for a remark.
        """

        def __init__(self, path: str, entry: DatasetFile | DatasetFolder | None) -> None:
            super().__init__()
            self.path = path
            self.entry = entry

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(Text(""), data="", id=id, classes=classes)
        self.guide_depth = 2
        self._tree: DatasetTree | None = None
        self.needle = ""
        self._counts: dict[str, Counts] = {}
        self._failures: dict[str, str] = {}
        self._bytes_per_token = 4.0
        self._open: set[str] = {""}
        self._rows: dict[str, TreeNode[Entry]] = {}
        self._folded: list[str] | None = None
        self._chosen: tuple[str, DatasetFile | DatasetFolder | None] | None = None

    # --- what is shown ---------------------------------------------------------------------------

    def show(self, tree: DatasetTree, bytes_per_token: float = 4.0) -> None:
        """Show a tree; open folders stay open, the cursor stays on its file.

        Args:
            tree: What was found.
            bytes_per_token: To guess tokens by.
        """
        if self._tree is None and tree.root.num_files <= FEW_FILES:
            self._open = set(tree.folders)
        self._folded = None
        self._tree = tree
        self._bytes_per_token = bytes_per_token
        self._make()

    def count(self, path: str, counts: Counts) -> None:
        """Fill in what is in a file."""
        self._counts[path] = counts
        self._failures.pop(path, None)
        self._redraw(path)

    def fail(self, path: str, reason: str) -> None:
        """Mark a file that cannot be counted."""
        self._failures[path] = reason
        self._redraw(path)

    def filter(self, text: str) -> None:
        """Show the files alone whose path holds `text`, in any case; empty: the tree again."""
        if text != self.needle:
            self.needle = text
            self._make()

    def detail(self) -> list[str]:
        """Everything that is known of what the cursor is on, a line each, harmless."""
        path, entry = self._at_cursor()
        if entry is None:
            return []
        counts, failure = self._counts.get(path), self._failures.get(path, "")
        refusals = []
        if self._tree is not None and isinstance(entry, DatasetFile) and entry.form != "ignored":
            refusals = self._tree.mixes.refusals(path, entry.form, forms_of(counts))
        return detail(entry, counts, failure, self._bytes_per_token, refusals)

    @property
    def chosen_file(self) -> DatasetFile | None:
        """The file that the cursor is on, as it was found last."""
        entry = self._at_cursor()[1]
        return entry if isinstance(entry, DatasetFile) else None

    @property
    def chosen(self) -> str:
        """Path of what the cursor is on; empty: the folder itself, or nothing."""
        return self._at_cursor()[0]

    def choose(self, path: str) -> None:
        """Put the cursor on a file or folder; the folders that it is in are opened."""
        if not self._is_seen(path):
            self._open |= {path[:at] for at, letter in enumerate(path) if letter == "/"}
            self.needle = ""
            self._make()
        self._put_cursor(path)

    def _put_cursor(self, path: str) -> None:
        node = self._rows.get(path)
        if node is not None:
            _ = self.last_line  # rows have their numbers once they have been laid out
            self.move_cursor(node)

    def _is_seen(self, path: str) -> bool:
        """Whether it has a row, and no folder around it is closed."""
        node = self._rows.get(path)
        above = node.parent if node is not None else None
        while above is not None and above.is_expanded:
            above = above.parent
        return node is not None and above is None

    def copyable(self) -> str:
        """Path of what the cursor is on."""
        return self.chosen

    # --- keys ------------------------------------------------------------------------------------

    def action_first(self) -> None:
        """To the first row."""
        self.action_scroll_home()

    def action_last(self) -> None:
        """To the last row."""
        self.action_scroll_end()

    def action_select(self) -> None:
        """Open or close the folder; tell that the file was chosen."""
        self.action_select_cursor()

    def action_open(self) -> None:
        """Open the folder, or go into it."""
        node = self.cursor_node
        if node is None or not node.allow_expand:
            return
        if not node.is_expanded:
            node.expand()
        elif node.children:
            self.move_cursor(node.children[0])

    def action_close(self) -> None:
        """Close the folder, or go to the one that this is in."""
        node = self.cursor_node
        if node is not None and node.allow_expand and node.is_expanded and not node.is_root:
            node.collapse()
        elif node is not None and node.parent is not None:
            self.move_cursor(node.parent)

    # --- rows ------------------------------------------------------------------------------------

    def _make(self) -> None:
        """Make the rows anew."""
        tree, kept, line = self._tree, self.chosen, self.cursor_line
        if tree is None:
            return
        self.reset(Text("datasets/"), tree.root)
        self._rows = {"": self.root}
        self.root.expand()
        if self.needle:
            self._add_matches(tree)
        elif tree.problem or not tree.root.num_files:
            for note in empty_notes(tree):
                self.root.add_leaf(Text(""), note)
        if not self.needle:
            self._fill(self.root)
        if tree.left_out:
            self.root.add_leaf(Text(""), f"left out: {tree.left_out}")
        if kept in self._rows and (kept or not self.needle):
            self._put_cursor(kept)
        else:
            self.move_cursor_to_line(min(max(line, 1), self.last_line))
        self._tell()

    def _add_matches(self, tree: DatasetTree) -> None:
        if self._folded is None:
            self._folded = [file.path.casefold() for file in tree.files()]
        needle = self.needle.casefold()
        found = [number for number, path in enumerate(self._folded) if needle in path]
        for file in map(tree.files().__getitem__, found[:MAX_ROWS]):
            self._rows[file.path] = self.root.add_leaf(Text(""), file)
        if not found:
            self.root.add_leaf(Text(""), f"no file is called {self.needle!r}")
        self._add_more(self.root, len(found))

    def _fill(self, node: TreeNode[Entry]) -> None:
        """Give an open folder its rows; those of open folders in it, too."""
        folder, tree = node.data, self._tree
        if tree is None or not isinstance(folder, DatasetFolder):
            return
        for path in folder.folders[:MAX_ROWS]:
            inner = tree.folders[path]
            can_open = not inner.reason and path.count("/") < MAX_DEPTH
            row = node.add(Text(""), inner, allow_expand=can_open)
            self._rows[path] = row
            if can_open and path in self._open:
                row.expand()
                self._fill(row)
        left = MAX_ROWS - min(MAX_ROWS, len(folder.folders))
        for file in folder.files[:left]:
            self._rows[file.path] = node.add_leaf(Text(""), file)
        self._add_more(node, len(folder.folders) + len(folder.files))

    def _add_more(self, node: TreeNode[Entry], total: int) -> None:
        if total > MAX_ROWS:
            node.add_leaf(Text(""), f"... and {total - MAX_ROWS:,} more; / narrows them down")

    def _redraw(self, path: str) -> None:
        node = self._rows.get(path)
        if node is not None and 0 <= node.line - self.scroll_offset.y < self.size.height:
            node.refresh()

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[Entry]) -> None:
        """Make the rows of a folder that was opened."""
        event.stop()
        node = event.node
        if isinstance(node.data, DatasetFolder):
            self._open.add(node.data.path)
            if not node.children and self._rows.get(node.data.path) is node:
                self._fill(node)

    def on_tree_node_collapsed(self, event: Tree.NodeCollapsed[Entry]) -> None:
        """Remember it."""
        event.stop()
        if isinstance(event.node.data, DatasetFolder):
            self._open.discard(event.node.data.path)

    def on_tree_node_highlighted(self, event: Tree.NodeHighlighted[Entry]) -> None:
        """Tell what the cursor is on."""
        event.stop()
        self._tell()

    def _tell(self) -> None:
        """Post what the cursor is on, if that is another than before."""
        chosen = self._at_cursor()
        if chosen != self._chosen and self._tree is not None:
            self._chosen = chosen
            self.post_message(self.Chosen(*chosen))

    def _at_cursor(self) -> tuple[str, DatasetFile | DatasetFolder | None]:
        """Path of the row, and its entry where it is no remark."""
        node = self.cursor_node
        entry = node.data if node is not None else None
        if isinstance(entry, DatasetFile | DatasetFolder):
            return entry.path, entry
        parent = node.parent.data if node is not None and node.parent is not None else None
        return parent.path if isinstance(parent, DatasetFolder) else "", None

    # --- drawing ---------------------------------------------------------------------------------

    def render_label(self, node: TreeNode[Entry], base_style: Style, style: Style) -> Text:
        """A row that takes the width there is and no more."""
        depth, above = 0, node.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        text = Text(no_wrap=True, end="")
        for part, paint in self._parts(node, depth * self.guide_depth):
            text.append(part, base_style + self._style(paint))
        text.stylize(style)
        return text

    def get_label_width(self, node: TreeNode[Entry]) -> int:
        """Rows never make the tree wider than it is: there is nothing to scroll to."""
        return 1

    def _parts(self, node: TreeNode[Entry], indent: int) -> list[Part]:
        entry, width = node.data, self.size.width
        if entry is None or isinstance(entry, str):
            return note_row(entry or "", width=width, indent=indent)
        if isinstance(entry, DatasetFolder):
            icon = self.ICON_NODE_EXPANDED if node.is_expanded else self.ICON_NODE
            return folder_row(
                entry,
                icon if node.allow_expand else "  ",
                name=f"{entry.name or 'datasets'}/",
                width=width,
                indent=indent,
                bytes_per_token=self._bytes_per_token,
            )
        return file_row(
            entry,
            self._counts.get(entry.path),
            self._failures.get(entry.path, ""),
            name=entry.path if self.needle else entry.name,
            width=width,
            indent=indent,
            bytes_per_token=self._bytes_per_token,
        )

    def _style(self, paint: Paint) -> Style:
        if paint in ("plain", "bold"):
            return Style(bold=paint == "bold")
        return self.get_component_rich_style(f"dataset-tree--{paint}", partial=True)
