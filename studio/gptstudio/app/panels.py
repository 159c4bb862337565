"""The plots of the Monitor: what each shows, and which of them a stage has numbers for."""

from typing import NamedTuple

from gptstudio.app.widgets.plot_axes import Unit
from gptstudio.services.metric_events import HELD_OUT
from gptstudio.services.metric_events import REWARD as REWARD_SERIES
from gptstudio.services.metrics import StageMetrics


class Panel(NamedTuple):
    """One plot.

    Args:
        name: For the code.
        title: For people.
        metrics: What it shows, with a label each, the first one first.
        may_be_log: Whether the logarithmic scale is for it.
        unit: What its values are counted in.
        spread: The metric that says how far values lie about the first one; empty: none does.
        by_name: Whether it shows each reward by its name, in place of `metrics`.
    """

    name: str
    title: str
    metrics: tuple[tuple[str, str], ...]
    may_be_log: bool = False
    unit: Unit = "number"
    spread: str = ""
    by_name: bool = False


LOSS = Panel("loss", "Loss", (("loss", "loss"), ("val_loss", "val")), may_be_log=True)
#: Of every training.
PANELS = (
    LOSS,
    Panel("lr", "Learning rate", (("lr", "lr"),)),
    Panel("grad_norm", "Gradient norm", (("grad_norm", "norm"),), may_be_log=True),
    Panel("speed", "Tokens per second", (("tokens_per_s", "tok/s"),)),
    Panel("memory", "Peak memory", (("memory", "peak"),), unit="bytes"),
)
REWARD = Panel(
    "reward", "Reward", (("reward", "mean"), ("val_reward", "held-out")), spread="reward_std"
)
#: Of a training that learns from rewards or preferences; those without numbers are left out.
REWARD_PANELS = (
    REWARD,
    Panel("parts", "Rewards by name", (), by_name=True),
    Panel(
        "accuracy",
        "Preference accuracy",
        (("accuracy", "learned"), ("val_accuracy", "held-out")),
        unit="share",
    ),
    Panel("margin", "Margin", (("margin", "learned"), ("val_margin", "held-out"))),
    Panel("kl", "KL", (("kl", "nats an answer"),), may_be_log=True),
    Panel("length", "Length", (("length", "tokens an answer"),)),
    Panel("entropy", "Entropy", (("entropy", "nats a token"),)),
    Panel("clip_fraction", "Clip fraction", (("clip_fraction", "clipped"),), unit="share"),
    Panel("value_loss", "Value loss", (("value_loss", "loss"),), may_be_log=True),
    Panel("guidance", "Guidance", (("guidance", "weight"),)),
)


def offered(stage: StageMetrics | None) -> tuple[Panel, ...]:
    """The panels that are shown of a stage, the most telling first."""
    if stage is None or not any(kind in stage.series for kind in (REWARD_SERIES, HELD_OUT)):
        return PANELS
    return tuple(panel for panel in (*REWARD_PANELS, *PANELS) if _has_numbers(stage, panel))


def lead(stage: StageMetrics | None) -> Panel:
    """What is shown where there is room for one: the reward, where that is what is learned from."""
    return REWARD if stage is not None and stage.has("reward") else LOSS


def _has_numbers(stage: StageMetrics, panel: Panel) -> bool:
    if panel.by_name:
        return bool(stage.parts)
    return any(stage.has(metric) for metric, _ in panel.metrics)
