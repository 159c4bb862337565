"""The cockpit: data, stages and runs at the left; curves, log and devices of the chosen run."""

from collections.abc import Iterator

from textual import on
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList

from gptcore.stages import STAGES
from gptcore.status import LIVE
from gptcore.text import clean
from gptstudio.app.curves_view import loss_lines
from gptstudio.app.feeds import Source
from gptstudio.app.keys import bindings
from gptstudio.app.screens.run import RunScreen
from gptstudio.app.screens.starting import StartsRuns
from gptstudio.app.train_rows import dataset_rows, run_rows, stage_rows
from gptstudio.app.widgets.file_view import FileView
from gptstudio.app.widgets.hardware_strip import HardwareStrip
from gptstudio.app.widgets.pane import Pane
from gptstudio.app.widgets.plot import Plot
from gptstudio.app.widgets.rows import Rows

#: Seconds that the cursor rests on a run before its curves are read.
SETTLE = 0.15


class TrainScreen(StartsRuns, RunScreen):
    """The first screen."""

    MODE = "train"
    SOURCES = frozenset[Source](("metrics", "hardware", "datasets", "profile", "worker"))
    BINDINGS = bindings("train", "run")

    def __init__(self) -> None:
        super().__init__()
        self._opened = False

    def body(self) -> Iterator[Widget]:
        """Lists at the left, the chosen run at the right."""
        runs, stages, datasets = Rows(id="runs"), Rows(id="stages"), Rows(id="datasets")
        self._runs, self._stages, self._datasets = runs, stages, datasets
        self._plot = Plot(ascii=self.studio.ascii_only, id="loss")
        self._plot.can_focus = True
        self._log = FileView(id="log")
        self._hardware = HardwareStrip(ascii=self.studio.ascii_only, id="hardware")
        self._hardware.can_focus = True
        yield Container(
            Pane(datasets, title="Datasets", target=datasets, source="datasets", id="data-pane"),
            Pane(stages, title="Stages", target=stages, source="profile", id="stages-pane"),
            Pane(runs, title="Runs", target=runs, source="runs", id="runs-pane"),
            classes="column",
            id="lists",
        )
        yield Container(
            Pane(
                self._hardware,
                title="GPU and host",
                target=self._hardware,
                source="hardware",
                id="hardware-pane",
            ),
            Pane(self._plot, title="Loss", target=self._plot, source="metrics", id="loss-pane"),
            Pane(self._log, title="Log", target=self._log, id="log-pane"),
            classes="column",
            id="watch",
        )

    def hear(self, source: Source) -> None:
        """Show what is new."""
        state = self.studio.state
        match source:
            case "runs":
                self._show_runs()
            case "metrics":
                self._show_curves()
            case "hardware":
                self._hardware.show(state.hardware)
            case "datasets":
                empty = (
                    f"No datasets/ in {self.studio.workspace.root}.\ngptstudio init . makes one."
                )
                self._datasets.show(dataset_rows(state.datasets, self._width), empty)
            case "profile":
                self._show_stages()
            case "worker":
                self._show_stages()

    def first_pane(self) -> Pane:
        """The run on the plot; where there is none yet, the stages that would make one."""
        if not self.studio.state.chosen:
            return self.query_one("#stages-pane", Pane)
        return self.query_one("#loss-pane" if self.alone else "#runs-pane", Pane)

    @property
    def _width(self) -> int:
        return max(20, self._runs.size.width)

    def _show_runs(self) -> None:
        state = self.studio.state
        if not state.heard_runs:
            return
        if not self._opened:
            self._opened = True
            self.go_to(self.first_pane())
        empty = f"No run yet in {self.studio.workspace.logs}.\ns starts one."
        chosen = self._runs.chosen
        self._runs.show(run_rows(state.runs, self._width), empty)
        if state.chosen and not state.pinned and chosen != state.chosen:
            self._runs.choose(state.chosen)
        live = sum(run.state in LIVE for run in state.runs)
        self.query_one("#runs-pane", Pane).say(f"{live} live" if live else "")
        log = self.studio.workspace.run(state.chosen).log if state.chosen else None
        if log != self._log.path:
            self._log.show(log, follow=True, mode="log", empty="The log of a run stands here.")
        self._show_stages()
        self._show_curves()

    def _show_curves(self) -> None:
        lines, message = loss_lines(self.studio.state)
        self.query_one("#loss-pane", Pane).say(self.studio.state.chosen)
        self._plot.show(lines, message)

    def _show_stages(self) -> None:
        state = self.studio.state
        self._stages.show(stage_rows(state, self._width), "reading the profile ...")

    @on(OptionList.OptionHighlighted, "#runs")
    def _settle_on_run(self, event: OptionList.OptionHighlighted) -> None:
        name = event.option.id or ""
        if self._runs.has_focus and name != self.studio.state.chosen:
            self.set_timer(SETTLE, lambda: self._choose(name))

    def _choose(self, name: str) -> None:
        if self._runs.chosen == name:
            self.studio.choose_run(name)

    @on(OptionList.OptionSelected, "#runs")
    def _open_run(self, event: OptionList.OptionSelected) -> None:
        self.studio.choose_run(event.option.id or "")
        self.studio.action_open("monitor")

    @on(OptionList.OptionSelected, "#datasets")
    def _open_data(self) -> None:
        self.studio.action_open("data")

    @on(OptionList.OptionSelected, "#stages")
    def _stage_chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option.id == "profile":
            self.pick_profile()
        elif event.option.id in STAGES:
            self.start(event.option.id)

    def action_start(self) -> None:
        """Look at what the whole pipeline of the profile would take, then start it."""
        self.start("")

    def action_differences(self) -> None:
        """What the profile changes from the defaults."""
        from gptstudio.app.dialogs.reading import Reading

        card = self.studio.state.profile
        if card is not None:
            said = "\n".join([card.size, "", *card.changes]) if card.changes else "nothing"
            self.app.push_screen(Reading(f"{clean(card.name)} differs in", Content(said)))
