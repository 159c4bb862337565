"""The cockpit: data, stages and runs at the left; curves, log and devices of the chosen run."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Container
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import OptionList

from gptcore.stages import STAGES
from gptcore.status import LIVE
from gptcore.text import steady
from gptstudio.app.feeds import Source
from gptstudio.app.jobs import Job
from gptstudio.app.keys import bindings
from gptstudio.app.screens.run import RunScreen
from gptstudio.app.screens.starting import StartsRuns
from gptstudio.app.train_rows import dataset_rows, run_rows, stage_rows
from gptstudio.app.widgets.pane import Pane
from gptstudio.app.widgets.rows import Rows

if TYPE_CHECKING:
    from gptcore.evaluation import Evaluation

#: Seconds that the cursor rests on a run before its curves are read.
SETTLE = 0.15


class TrainScreen(StartsRuns, RunScreen):
    """The first screen."""

    MODE = "train"
    SOURCES = frozenset[Source](("metrics", "hardware", "datasets", "profile", "worker"))
    SCOPES = (
        "train",
        "run",
    )
    BINDINGS = bindings(*SCOPES)

    def __init__(self) -> None:
        super().__init__()
        self._opened = self._is_filled = False
        self._shown_run = ""
        self._log_path: Path | None = Path()  # none that there is

    def body(self) -> Iterator[Widget]:
        """Lists at the left, the chosen run at the right."""
        runs, stages, datasets = Rows(id="runs"), Rows(id="stages"), Rows(id="datasets")
        self._runs, self._stages, self._datasets = runs, stages, datasets
        yield Container(
            Pane(datasets, title="Datasets", target=datasets, source="datasets", id="data-pane"),
            Pane(stages, title="Stages", target=stages, source="profile", id="stages-pane"),
            Pane(runs, title="Runs", target=runs, source="runs", id="runs-pane"),
            classes="column",
            id="lists",
        )
        yield Container(
            Pane(title="GPU and host", source="hardware", id="hardware-pane"),
            Pane(title="Loss", source="metrics", id="loss-pane"),
            Pane(title="Log", id="log-pane"),
            classes="column",
            id="watch",
        )

    def _fill(self) -> None:
        """Make what shows the run; the lists are there to be used while that is going on."""
        if not self.is_whole:
            return
        from gptstudio.app.widgets.file_view import FileView
        from gptstudio.app.widgets.hardware_strip import HardwareStrip
        from gptstudio.app.widgets.plot import Plot

        ascii_only = self.studio.ascii_only
        self._plot, self._log = Plot(ascii=ascii_only), FileView()
        self._hardware = HardwareStrip(ascii=ascii_only)
        self._hardware.can_focus = True
        self.query_one("#hardware-pane", Pane).fill(self._hardware)
        self.query_one("#loss-pane", Pane).fill(self._plot)
        self.query_one("#log-pane", Pane).fill(self._log)
        self._is_filled = True
        self.go_to(self.pane)
        self.hear_all()

    def hear(self, source: Source) -> None:
        """Show what is new."""
        state = self.studio.state
        match source:
            case "runs":
                self._show_runs()
            case "metrics" if self._is_filled:
                self._show_curves()
            case "hardware" if self._is_filled:
                self._hardware.show(state.hardware)
            case "datasets":
                empty = (
                    f"No datasets/ in {self.studio.workspace.root}.\ngptstudio init . makes one."
                )
                self._datasets.show(dataset_rows(state.datasets), empty)
            case "profile":
                self._show_stages()
            case "worker":
                self._show_stages()

    def watch_run(self) -> None:
        """Where one pane is shown at a time, that is the curve."""
        if self.alone:
            self.go_to(self.query_one("#loss-pane", Pane))

    def first_pane(self) -> Pane:
        """The run on the plot; where there is none yet, the stages that would make one."""
        if not self.studio.state.chosen:
            return self.query_one("#stages-pane", Pane)
        return self.query_one("#loss-pane" if self.alone else "#runs-pane", Pane)

    def _show_runs(self) -> None:
        state = self.studio.state
        if not state.heard_runs:
            return
        if not self._opened:
            self._opened = True
            self.go_to(self.first_pane())
            self.call_after_refresh(self._fill)
        empty = f"No run yet in {self.studio.workspace.logs}.\ns starts one."
        self._runs.show(run_rows(state.runs), empty)
        if self._shown_run != state.chosen:  # not at each look: the cursor is the person's
            self._shown_run = state.chosen
            self._runs.choose(state.chosen)
        live = sum(run.state in LIVE for run in state.runs)
        if not self._runs.needle:  # what it is narrowed to says more
            self.query_one("#runs-pane", Pane).say(f"{live} live" if live else "")
        self._show_stages()
        if self._is_filled:
            self._show_log()
            self._show_curves()

    def _show_log(self) -> None:
        chosen = self.studio.state.chosen
        log = self.studio.workspace.run(chosen).log if chosen else None
        if log != self._log_path:
            self._log_path = log
            self._log.show(log, follow=True, mode="log", empty="The log of a run stands here.")

    def _show_curves(self) -> None:
        from gptstudio.app.curves_view import lead_lines

        panel, lines, message = lead_lines(self.studio.state)
        pane = self.query_one("#loss-pane", Pane)
        pane.say(self.studio.state.chosen)
        if pane.name_of_pane != panel.title:
            pane.rename(panel.title)
            self._arrange()  # its name stands above it, too
        self._plot.show(lines, message)

    def _show_stages(self) -> None:
        state = self.studio.state
        self._stages.show(stage_rows(state), "reading the profile ...")

    @on(OptionList.OptionHighlighted, "#runs")
    def _settle_on_run(self, event: OptionList.OptionHighlighted) -> None:
        name = event.option.id or ""
        if self._runs.has_focus and name != self.studio.state.chosen:
            self.set_timer(SETTLE, lambda: self._choose(name))

    def _choose(self, name: str) -> None:
        if self._runs.chosen == name and name:
            self._shown_run = name
            self.studio.choose_run(name)

    def filter_closed(self) -> None:
        """What the cursor is on now is what the keys are about."""
        if self.pane.target is self._runs:
            self._choose(self._runs.chosen)

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
            known = self.studio.state.stages.get(event.option.id)
            if STAGES[event.option.id].report and known and known.condition == "up to date":
                self.action_scores()
            else:
                self.start(event.option.id)

    def action_start(self) -> None:
        """Look at what the whole pipeline of the profile would take, then start it."""
        self.start("")

    class Scored(Message):
        """An evaluation was looked for.

        Args:
            evaluation: What was found.
        """

        def __init__(self, evaluation: "Evaluation | None") -> None:
            super().__init__()
            self.evaluation = evaluation

    def action_scores(self) -> None:
        """How the chosen run's model did on held-out data; else the newest model's."""
        from gptstudio.services.scores import evaluation_of

        status, workspace = self.studio.state.status, self.studio.workspace
        outputs = list(status.outputs.values()) if status else []

        def look() -> TrainScreen.Scored:
            return self.Scored(evaluation_of(workspace, outputs))

        Job("the scores", look, self.post_message)

    def on_train_screen_scored(self, message: Scored) -> None:
        """Show the table, and a transcript under it."""
        from gptstudio.app.dialogs.reading import Reading
        from gptstudio.evaluation_view import evaluation_lines, transcript_lines

        if message.evaluation is None:
            self.studio.say("no model has been evaluated yet; the stage eval does it")
            return
        lines = evaluation_lines(message.evaluation)
        lines += ["", *transcript_lines(message.evaluation.transcripts)]
        said = steady("\n".join(lines), lines=True)
        self.app.push_screen(Reading("On held-out data", Content(said)))

    def action_differences(self) -> None:
        """What the profile changes from the defaults."""
        from gptstudio.app.dialogs.reading import Reading

        card = self.studio.state.profile
        if card is None:
            return
        if card.error is not None:
            self.studio.say(str(card.error), "error")
            return
        said = "\n".join(map(steady, card.changes)) or "nothing"
        title = f"{steady(card.name)} differs from the defaults in"
        self.app.push_screen(Reading(title, Content(said)))
