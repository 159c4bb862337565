"""Which curves the Monitor shows, and how a person has set them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from gptcore.text import steady
from gptstudio.app.state import State
from gptstudio.app.widgets.plot import Line
from gptstudio.app.widgets.plot_axes import Unit
from gptstudio.services.metrics import Axis, Metrics, StageMetrics
from gptstudio.text import human_count

#: Weights of the running mean that the keys go through; 0: none.
SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Newest steps that the keys go through, from all to few.
WINDOWS = (math.inf, 100_000.0, 30_000.0, 10_000.0, 3_000.0, 1_000.0, 300.0, 100.0, 30.0)


class Panel(NamedTuple):
    """One plot.

    Args:
        name: For the code.
        title: For people.
        metrics: What it shows, the first one first.
        may_be_log: Whether the logarithmic scale is for it.
        unit: What its values are counted in.
    """

    name: str
    title: str
    metrics: tuple[tuple[str, str], ...]
    may_be_log: bool = False
    unit: Unit = "number"


PANELS = (
    Panel("loss", "Loss", (("loss", "loss"), ("val_loss", "val")), may_be_log=True),
    Panel("lr", "Learning rate", (("lr", "lr"),)),
    Panel("grad_norm", "Gradient norm", (("grad_norm", "norm"),), may_be_log=True),
    Panel("speed", "Tokens per second", (("tokens_per_s", "tok/s"),)),
    Panel("memory", "Peak memory", (("memory", "peak"),), unit="bytes"),
)


@dataclass
class View:
    """How the curves are looked at.

    Attributes:
        log_scale: Whether the loss is logarithmic.
        axis: What lies along the plots.
        smoothing: Weight of the running mean.
        window: Newest steps that are shown.
        follow: Whether the plots go with the newest step.
    """

    log_scale: bool = False
    axis: Axis = "step"
    smoothing: float = 0.0
    window: float = math.inf
    follow: bool = True

    def words(self, run: str, overlay: str) -> str:
        """What is set, beside the name of the run."""
        words = [run]
        words += [f"over {overlay}"] if overlay else []
        words += [f"by {self.axis}"] if self.axis != "step" else []
        words += ["log"] if self.log_scale else []
        words += [f"smoothed {self.smoothing:g}"] if self.smoothing else []
        words += [f"last {human_count(self.window)} steps"] if self.window < math.inf else []
        words += [] if self.follow else ["held"]
        return "  ".join(word for word in words if word)


def panel_lines(state: State, panel: Panel, view: View) -> tuple[list[Line], str]:
    """The lines of a panel, and what is said where there are none."""
    if not state.chosen:
        return [], "No run yet.\n1 then s starts one."
    metrics = state.metrics.get(state.chosen)
    if metrics is None:
        return [], f"reading {steady(state.chosen)} ..."
    stage = trained_stage(metrics)
    if stage is None:
        return [], _why_empty(state)
    start = _start(stage, view)
    lines = [
        Line(label, stage.curve(metric, view.axis).since(start), "second" if number else "line")
        for number, (metric, label) in enumerate(panel.metrics)
        if number == 0 or stage.has(metric)
    ]
    behind = state.metrics.get(state.overlay)
    over = trained_stage(behind, stage.name) if behind else None
    if over is not None:
        metric, _ = panel.metrics[0]
        curve = over.curve(metric, view.axis).since(start)
        lines.append(Line(steady(state.overlay), curve, "overlay"))
    return lines, ""


def _why_empty(state: State) -> str:
    """Why a run has no curve."""
    run, status = steady(state.chosen), state.status
    if status is None:
        return f"{run} has no steps"
    if status.state == "queued":
        return f"{run} is queued\n{steady(status.message)}"
    if status.state == "done":
        return f"{run} is done without a step:\nits stages were up to date"
    at = f"\nin stage {steady(status.stage)}" if status.stage else ""
    return f"{run} has no steps yet{at}"


def loss_lines(state: State) -> tuple[list[Line], str]:
    """The loss of the chosen run, all of it."""
    return panel_lines(state, PANELS[0], View())


def trained_stage(metrics: Metrics, name: str = "") -> StageMetrics | None:
    """The stage of that name, else the newest that has steps."""
    trained = [stage for stage in metrics.stages.values() if "step" in stage.series]
    named = [stage for stage in trained if stage.name == name]
    return (named or trained or [None])[-1]  # type: ignore[list-item]


def _start(stage: StageMetrics, view: View) -> float:
    """Where the window begins on the chosen axis: at the newest steps, whatever the axis."""
    kept = len(stage.curve("loss", "step", last=view.window)) if view.window < math.inf else 0
    return stage.curve("loss", view.axis).x[-kept] if kept else -math.inf
