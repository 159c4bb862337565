"""The curves of the chosen run, each in a plot of its own, and the machine it runs on."""

from collections.abc import Iterator

from textual.containers import Container
from textual.content import Content
from textual.widget import Widget

from gptcore.text import steady
from gptstudio.app.curves_view import SMOOTHING, WINDOWS, View, panel_lines, shown_stage
from gptstudio.app.feeds import Source
from gptstudio.app.keys import bindings
from gptstudio.app.panels import PANELS, REWARD_PANELS, Panel, offered
from gptstudio.app.screens.run import RunScreen
from gptstudio.app.widgets.hardware_strip import HardwarePanel
from gptstudio.app.widgets.pane import Pane
from gptstudio.app.widgets.plot import Plot
from gptstudio.app.widgets.rows import Row
from gptstudio.services.metric_events import MOST_PARTS
from gptstudio.services.metrics import AXES

#: Plots of half the width that fit without scrolling.
GRID = 6


class MonitorScreen(RunScreen):
    """Plots at the left, devices at the right."""

    MODE = "monitor"
    SOURCES = frozenset[Source](("metrics", "hardware"))
    SCOPES = (
        "monitor",
        "run",
    )
    BINDINGS = bindings(*SCOPES)

    def __init__(self) -> None:
        super().__init__()
        self._view = View()
        self._offered: tuple[Panel, ...] = ()

    def body(self) -> Iterator[Widget]:
        """A plot a panel, and the machine."""
        ascii_only = self.studio.ascii_only
        panels = (*REWARD_PANELS, *PANELS)
        self._plots = {panel: Plot(unit=panel.unit, ascii=ascii_only) for panel in panels}
        self._panes = {
            panel: Pane(plot, title=panel.title, target=plot, source="metrics", id=_id(panel))
            for panel, plot in self._plots.items()
        }
        self._machine = HardwarePanel(ascii=ascii_only, id="machine")
        machine = Pane(self._machine, title="GPU and host", target=self._machine, source="hardware")
        self._side = machine
        yield Container(*self._panes.values(), classes="column", id="plots")
        yield Container(machine, classes="column", id="side")

    def on_mount(self) -> None:
        """The panels of a run without rewards, until it is known."""
        self._offer(PANELS)

    def hear(self, source: Source) -> None:
        """Show what is new."""
        match source:
            case "metrics":
                self._draw()
            case "hardware":
                self._machine.show(self.studio.state.hardware)

    def _draw(self) -> None:
        state, view = self.studio.state, self._view
        stage = shown_stage(state)
        panels = offered(stage)
        if panels != self._offered:
            self._offer(panels)
        for panel in panels:
            plot = self._plots[panel]
            plot.log_scale = view.log_scale and panel.may_be_log
            plot.axis = view.axis
            plot.smoothing = view.smoothing
            plot.follow = view.follow
            lines, message = panel_lines(state, panel, view)
            plot.show(lines, message)
            if panel.by_name and stage is not None:
                self._panes[panel].say(f"first {MOST_PARTS}" if stage.has_more_parts else "")
        self.panes[0].say(view.words(steady(state.chosen), steady(state.overlay)))

    def _offer(self, panels: tuple[Panel, ...]) -> None:
        """Show these panels, the first one over the whole width."""
        self._offered = panels
        wide = {panels[0], *(panel for panel in panels if panel.by_name)}
        for panel, pane in self._panes.items():
            pane.set_class(panel in wide, "-broad")
            pane.say("")
        self.query_one("#plots").set_class(len(panels) + len(wide) > GRID, "-many")
        self.offer([*(self._panes[panel] for panel in panels), self._side])

    def action_toggle_log_scale(self) -> None:
        """Logarithmic loss, or linear."""
        self._view.log_scale = not self._view.log_scale
        self._draw()

    def action_next_axis(self) -> None:
        """Steps, time, tokens."""
        self._view.axis = AXES[(AXES.index(self._view.axis) + 1) % len(AXES)]
        self._draw()

    def action_smoother(self, by: int) -> None:
        """Smooth more, or less."""
        self._view.smoothing = _next(SMOOTHING, self._view.smoothing, by)
        self._draw()

    def action_window(self, by: int) -> None:
        """Show fewer of the newest steps, or more."""
        self._view.window = _next(WINDOWS, self._view.window, by)
        self._draw()

    def action_toggle_follow(self) -> None:
        """Go with the newest step, or stay where the plots end now."""
        self._view.follow = not self._view.follow
        self._draw()

    def action_reset(self) -> None:
        """Everything, unsmoothed and linear."""
        self._view = View()
        self._draw()

    def action_overlay(self) -> None:
        """Choose a run to draw behind this one; the same again takes it away."""
        from gptstudio.app.dialogs.pick import Pick

        state = self.studio.state
        others = [run for run in state.runs if run.run != state.chosen]
        rows = [Row(run.run, Content(steady(run.run)), run.run) for run in others]
        if state.overlay:
            rows.insert(0, Row("", Content("none"), "none"))

        def picked(name: str | None) -> None:
            if name is not None:
                state.overlay = name
                self.studio.show_metrics()
                self._draw()

        empty = "There is no other run."
        self.app.push_screen(Pick("Draw over it", rows, chosen=state.overlay, empty=empty), picked)


def _next(choices: tuple[float, ...], now: float, by: int) -> float:
    place = choices.index(now) + by
    return choices[max(0, min(place, len(choices) - 1))]


def _id(panel: Panel) -> str:
    return f"{panel.name.replace('_', '-')}-pane"
