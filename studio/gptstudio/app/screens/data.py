"""The files under `datasets/` beside what is in them."""

from collections.abc import Iterator

from textual import on
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static, Tree

from gptstudio.app.feeds import Source
from gptstudio.app.keys import bindings
from gptstudio.app.screens.base import StudioScreen
from gptstudio.app.widgets.dataset_tree import DatasetTreeView
from gptstudio.app.widgets.file_view import FileView
from gptstudio.app.widgets.pane import Pane
from gptstudio.services.data_answers import Answer, Counted, Failure
from gptstudio.services.datasets import DatasetFile, DatasetTree

#: Seconds that the cursor rests on a file before it is read.
SETTLE = 0.1


class DataScreen(StudioScreen):
    """A tree, what is known of the file under the cursor, and its text."""

    MODE = "data"
    SOURCES = frozenset[Source](("datasets", "profile", "worker"))
    SCOPES = ("data",)
    BINDINGS = bindings(*SCOPES)

    def body(self) -> Iterator[Widget]:
        """Files at the left, the file under the cursor at the right."""
        self._tree = DatasetTreeView(id="tree")
        self._view = FileView(id="preview")
        self._detail = Static("", id="detail", markup=False)
        self._view.wrapping = True
        tree = Pane(self._tree, title="Datasets", target=self._tree, source="datasets")
        self._preview_pane = Pane(self._detail, self._view, title="Preview", target=self._view)
        yield Container(tree, classes="column", id="files")
        yield Container(self._preview_pane, classes="column", id="content")

    def hear_all(self) -> None:
        """Fill in what was counted while it was hidden."""
        super().hear_all()
        for path, counts in self.studio.state.counts.items():
            self._tree.count(path, counts)
        for path, reason in self.studio.state.uncounted.items():
            self._tree.fail(path, reason)

    def hear(self, source: Source) -> None:
        """Show what is new."""
        state = self.studio.state
        match source:
            case "datasets" if state.datasets is not None:
                card = state.profile
                self._tree.show(state.datasets, card.bytes_per_token if card else 4.0)
                self._count(state.datasets)
                self._show_detail()
            case "worker":
                for answer in state.answers:
                    self._take(answer)
                self._show_detail()

    def _count(self, tree: DatasetTree) -> None:
        """Have text and data counted, what is in the mix first."""
        card = self.studio.state.profile
        separator = card.profile.data.pretrain.separator if card and card.profile else ""
        readable = [file for file in tree.files() if file.form != "ignored" and not file.is_problem]
        readable.sort(key=lambda file: not file.in_mix)
        for answer in self.studio.sources.data.count_all(readable, separator):
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        match answer:
            case Counted():
                self._tree.count(answer.path, answer.counts)
            case Failure(path=str(path)):
                self._tree.fail(path, answer.reason)

    def _show_detail(self) -> None:
        self._detail.update(Content("\n").join(Content(line) for line in self._tree.detail()))

    @on(DatasetTreeView.Chosen)
    def _settle(self, event: DatasetTreeView.Chosen) -> None:
        self._show_detail()
        self.set_timer(SETTLE, lambda: self._preview(event.path, event.entry))

    def _preview(self, path: str, entry: object) -> None:
        if path != self._tree.chosen:
            return  # the cursor has gone on
        shown = isinstance(entry, DatasetFile) and entry.form != "ignored"
        place = self.studio.workspace.datasets / path if shown else None
        self._preview_pane.say(path)
        if place != self._view.path:
            self._view.show(place, follow=False, mode="data", empty="No file is chosen.")

    @on(Tree.NodeSelected)
    def _read(self) -> None:
        if self._view.path is not None:
            self.go_to(self._preview_pane)

    def leave(self) -> None:
        """From the file to the tree, where one is shown at a time; then the screen."""
        if self.alone and self.pane is self._preview_pane:
            self.go_to(self.panes[0])
        else:
            super().leave()

    def action_toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        self._view.action_toggle_wrap()
