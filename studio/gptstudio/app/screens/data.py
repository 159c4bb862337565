"""The files under `datasets/` beside what is in them, and what is wrong with it."""

from collections.abc import Iterator

from textual import on
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static, Tree

from gptcore.errors import UserError
from gptstudio.app.feeds import Source
from gptstudio.app.jobs import Done, Job
from gptstudio.app.keys import bindings
from gptstudio.app.screens.base import StudioScreen
from gptstudio.app.screens.data_rows import RowsOfFile
from gptstudio.app.widgets.bars import StatusBar
from gptstudio.app.widgets.dataset_tree import DatasetTreeView
from gptstudio.app.widgets.file_view import FileView
from gptstudio.app.widgets.pane import Pane
from gptstudio.app.widgets.problem_rows import NO_PROBLEMS, place_of, problem_rows
from gptstudio.app.widgets.row_view import RowView
from gptstudio.app.widgets.rows import Rows
from gptstudio.services.counting import CountProblem, Counts
from gptstudio.services.data_answers import Answer, Counted, Failure
from gptstudio.services.datasets import DatasetFile, DatasetTree

#: Seconds that the cursor rests on a file before it is read.
SETTLE = 0.1


class _TextView(FileView, inherit_bindings=False):
    """A text; `space` is the screen's here."""

    BINDINGS = bindings("viewer")


class DataScreen(StudioScreen):
    """A tree, what is known of the file under the cursor and its content, and every problem."""

    MODE = "data"
    SOURCES = frozenset[Source](("datasets", "profile", "worker"))
    SCOPES = ("data",)
    BINDINGS = bindings(*SCOPES)

    def body(self) -> Iterator[Widget]:
        """Files at the left with problems under them, the file under the cursor at the right."""
        self._tree = DatasetTreeView(id="tree")
        self._view = _TextView(id="preview")
        self._row_view = RowView(id="row")
        self._detail = Static("", id="detail", markup=False)
        self._problems = Rows(empty=NO_PROBLEMS, id="problems")
        self._troubled: dict[str, tuple[CountProblem, ...]] = {}
        self._listed: dict[str, tuple[CountProblem, ...]] | None = None
        self._mixing: Job | None = None
        self._view.wrapping = True
        self._row_view.display = False
        tree = Pane(self._tree, title="Datasets", target=self._tree, source="datasets")
        self._preview_pane = Pane(
            self._detail, self._view, self._row_view, title="Preview", target=self._view
        )
        self._rows = RowsOfFile(self.studio, self._row_view, self._preview_pane)
        problems = Pane(self._problems, title="Problems", target=self._problems, id="problems-pane")
        self._order = [tree, self._preview_pane, problems]
        yield Container(tree, problems, classes="column", id="files")
        yield Container(self._preview_pane, classes="column", id="content")

    @property
    def panes(self) -> list[Pane]:
        """The preview comes next to the tree, wherever it stands."""
        return [pane for pane in self._order if pane.is_attached]

    # What the sources say

    def hear_all(self) -> None:
        """Fill in what was counted while it was hidden."""
        super().hear_all()
        for path, counts in self.studio.state.counts.items():
            self._take_counts(path, counts)
        for path, reason in self.studio.state.uncounted.items():
            if path not in self.studio.state.counts:
                self._take(Failure(path, reason))
        if self.is_whole:
            self._list_problems()
            self._rows.resume()

    def hear(self, source: Source) -> None:
        """Show what is new."""
        state = self.studio.state
        match source:
            case "datasets" if state.datasets is not None:
                card = state.profile
                self._tree.show(state.datasets, card.bytes_per_token if card else 4.0)
                self._count(state.datasets)
                self._forget_problems(state.datasets)
                self._list_problems()
                self._show_detail()
                self._rows.refresh_file(self._tree.chosen_file)
            case "profile":
                self._rows.refresh_profile()
            case "worker":
                for answer in state.answers:
                    self._take(answer)
                self._list_problems()
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
                self._take_counts(answer.path, answer.counts)
            case Failure(path=str(path)):
                self._tree.fail(path, answer.reason)
                self._troubled[path] = (CountProblem(answer.reason),)
            case _:
                self._rows.take(answer)

    def _take_counts(self, path: str, counts: Counts) -> None:
        self._tree.count(path, counts)
        self._troubled.pop(path, None)
        if counts.problems:
            self._troubled[path] = counts.problems
        if (file := self._tree.chosen_file) is not None and file.path == path:
            self._rows.know(counts)

    def _forget_problems(self, tree: DatasetTree) -> None:
        """Those of files that are gone, or that no stage would take by their name."""
        there = {file.path for file in tree.files() if file.in_mix or file.form == "data"}
        self._troubled = {path: it for path, it in self._troubled.items() if path in there}

    def _list_problems(self) -> None:
        if self._troubled != self._listed:
            self._listed = dict(self._troubled)
            self._problems.show(problem_rows(self._troubled))

    # The file under the cursor

    def _show_detail(self) -> None:
        self._detail.update(Content("\n").join(Content(line) for line in self._tree.detail()))

    @on(DatasetTreeView.Chosen)
    def _settle(self, event: DatasetTreeView.Chosen) -> None:
        self._show_detail()
        self.set_timer(SETTLE, lambda: self._preview(event.path, event.entry))

    def _preview(self, path: str, entry: object) -> None:
        if path != self._tree.chosen:
            return  # the cursor has gone on
        file = entry if isinstance(entry, DatasetFile) and entry.form != "ignored" else None
        is_data = file is not None and file.form == "data"
        place = self.studio.workspace.datasets / path if file and not is_data else None
        self._turn_to(self._row_view if is_data else self._view)
        if not is_data:
            self._preview_pane.say(path)
        if place != self._view.path:
            self._view.show(place, follow=False, mode="data", empty="No file is chosen.")
        self._rows.open(file if is_data else None, self.studio.state.counts.get(path))

    def _open_chosen(self) -> None:
        """Open the file under the cursor at once: a key that was pressed is about it."""
        file = self._tree.chosen_file
        if file is not None:
            self._preview(file.path, file)

    def _turn_to(self, view: FileView | RowView) -> None:
        """Show this one of the two in the preview."""
        other = self._view if view is self._row_view else self._row_view
        had_focus = other.has_focus
        view.display, other.display = True, False
        self._preview_pane.target = view
        if had_focus:
            self.set_focus(view)

    @on(RowView.Wanted)
    def _want_row(self, event: RowView.Wanted) -> None:
        self._rows.go_to(event.row)

    @on(RowView.Stepped)
    def _step(self, event: RowView.Stepped) -> None:
        self._rows.step(event.by)

    @on(RowView.WantedWords)
    def _want_words(self, event: RowView.WantedWords) -> None:
        self._rows.search(event.words, forwards=event.forwards)

    @on(RowView.Left)
    def _leave_row(self) -> None:
        self._rows.leave()

    @on(Tree.NodeSelected)
    def _read(self) -> None:
        self._open_chosen()
        file = self._tree.chosen_file
        if file is not None and file.form != "ignored":
            self.go_to(self._preview_pane)

    @on(OptionList.OptionSelected, "#problems")
    def _go_to_problem(self) -> None:
        """Show the row that a problem is about."""
        if not self._problems.chosen:
            return
        path, number = place_of(self._problems.chosen)
        found = self._troubled.get(path, ())
        self._tree.choose(path)
        file = self._tree.chosen_file
        if file is None or file.path != path:
            self.studio.say(f"{path} has no row in the tree; / narrows it down", "warning")
            return
        self._preview(path, file)
        if number < len(found) and (row := found[number].row):
            self._rows.go_to(row)
        self.go_to(self._preview_pane)

    def leave(self) -> None:
        """From the file to the tree, where one is shown at a time; then the screen."""
        if self.alone and self.pane is not self.panes[0]:
            self.go_to(self.panes[0])
        else:
            super().leave()

    # Keys

    def action_toggle_wrap(self) -> None:
        """Wrap long lines, or cut them."""
        if self._view.display:
            self._view.action_toggle_wrap()
        else:
            self.studio.say("rows are wrapped always")

    def action_next_view(self) -> None:
        """The row as text, as tokens, what is supervised of it, as it stands in the file."""
        self._open_chosen()
        self._rows.next_view()

    def action_go_to_row(self) -> None:
        """Type the number of a row."""
        self._open_chosen()
        if not self._rows.has_rows:
            return
        self.go_to(self._preview_pane)
        self._close_filter()
        line = Input(id="filter", classes="-row", placeholder="row", type="integer", compact=True)
        self.mount(line, before=self.query_one(StatusBar))
        self.set_focus(line)  # at once: what was typed ahead is not for the screen

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the row whose number was typed; other lines are every screen's."""
        if not event.input.has_class("-row"):
            return
        event.prevent_default()
        self._close_filter()
        if event.value.isdecimal() and int(event.value):
            self._rows.go_to(int(event.value))
        elif event.value:
            self.studio.say("rows have numbers from 1 on")

    def action_statistics(self) -> None:
        """Count what there is to be known about the file."""
        self._open_chosen()
        self._rows.show_statistics()

    def action_toggle_mix(self) -> None:
        """Put the file into the mix of the stages that take it, or out."""
        file, card, actions = self._tree.chosen_file, self.studio.state.profile, self.studio.actions
        if file is None:
            self.studio.say("put the cursor on a file: folders go by the profile's globs")
            return
        try:
            actions.allow("to change the mix")
            if file.form == "ignored":
                raise UserError(f"no stage can take it: {file.reason}", where=file.path)
            if card is None or card.path is None:
                raise UserError("the profile is still being read")
        except UserError as error:
            self.studio.say(str(error), "warning")
            return
        if self._mixing is not None and self._mixing.is_running:
            return
        path, sources = card.path, self.studio.sources
        counts = self.studio.state.counts.get(file.path)
        forms = [form for form, _ in counts.forms] if counts else []

        def toggle() -> Done:
            try:
                return Done(actions.toggle_mix(path, file.path, file.form, forms))
            finally:
                sources.wake("profile")

        self._mixing = Job("the mix", toggle, self.studio.post)
