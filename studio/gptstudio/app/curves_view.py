"""What the Monitor draws of a run's curves, and how a person has set them."""

import math
from array import array
from dataclasses import dataclass

from gptcore.text import steady
from gptstudio.app.panels import Panel, lead
from gptstudio.app.state import State
from gptstudio.app.widgets.plot import Line
from gptstudio.services.curves import Curve
from gptstudio.services.metric_events import HELD_OUT, REWARD, STEP, part_metric
from gptstudio.services.metrics import Axis, Metrics, StageMetrics
from gptstudio.text import human_count

#: Weights of the running mean that the keys go through; 0: none.
SMOOTHING = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Newest steps that the keys go through, from all to few.
WINDOWS = (math.inf, 100_000.0, 30_000.0, 10_000.0, 3_000.0, 1_000.0, 300.0, 100.0, 30.0)


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
    if panel.by_name:
        return _parts(stage, view, start), ""
    lines = [
        Line(label, stage.curve(metric, view.axis).since(start), "second" if number else "line")
        for number, (metric, label) in enumerate(panel.metrics)
        if number == 0 or stage.has(metric)
    ]
    if panel.spread and stage.has(panel.spread):
        spread = stage.curve(panel.spread, view.axis).since(start)
        lines.append(Line("std", _band(lines[0].curve, spread), "band"))
    behind = state.metrics.get(state.overlay)
    over = trained_stage(behind, stage.name) if behind else None
    if over is not None:
        metric, _ = panel.metrics[0]
        curve = over.curve(metric, view.axis).since(start)
        lines.append(Line(steady(state.overlay), curve, "overlay"))
    return lines, ""


def _parts(stage: StageMetrics, view: View, start: float) -> list[Line]:
    """A line a reward, by its name."""
    return [
        Line(name, stage.curve(part_metric(number), view.axis).since(start), "part", number)
        for number, name in enumerate(stage.parts)
    ]


def _band(curve: Curve, spread: Curve) -> Curve:
    """What lies within a spread of a curve that was measured with it."""
    pairs = list(zip(curve.mean, spread.mean, strict=True))
    low = array("d", [mean - abs(size) for mean, size in pairs])
    high = array("d", [mean + abs(size) for mean, size in pairs])
    middle = array("d", [mean + 0 * size for mean, size in pairs])  # where one is a gap, so is it
    return Curve(curve.x, low, high, middle)


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


def lead_lines(state: State) -> tuple[Panel, list[Line], str]:
    """The panel that matters most of the chosen run, and all of its lines."""
    panel = lead(shown_stage(state))
    return panel, *panel_lines(state, panel, View())


def shown_stage(state: State) -> StageMetrics | None:
    """The stage whose curves are shown; None: there is none yet."""
    metrics = state.metrics.get(state.chosen)
    return trained_stage(metrics) if metrics else None


def trained_stage(metrics: Metrics, name: str = "") -> StageMetrics | None:
    """The stage of that name, else the newest that has steps or rewards."""
    kinds = {STEP, REWARD, HELD_OUT}
    trained = [stage for stage in metrics.stages.values() if kinds & stage.series.keys()]
    named = [stage for stage in trained if stage.name == name]
    return (named or trained or [None])[-1]  # type: ignore[list-item]


def _start(stage: StageMetrics, view: View) -> float:
    """Where the window begins on the chosen axis: at the newest steps, whatever the axis."""
    kept = len(stage.curve("loss", "step", last=view.window)) if view.window < math.inf else 0
    return stage.curve("loss", view.axis).x[-kept] if kept else -math.inf
