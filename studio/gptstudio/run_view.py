"""A run as its events tell it: the latest numbers, and the news worth a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from gptcore import events
from gptcore.events import Event, EventReader
from gptcore.stages import STAGES
from gptcore.status import LIVE
from gptcore.text import clean
from gptstudio.text import human_bytes, human_count, human_time, quote_lines


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened.

    Args:
        text: What, harmless to print; may have several lines.
        kind: `minor` is not shown where a live display has it anyway.
    """

    text: str
    kind: Literal["minor", "plain", "good", "warning"] = "plain"


@dataclass
class RunView:
    """The latest numbers of a run; `follow` brings them up to date.

    Attributes:
        stage: The one at work, or the last one.
        step: Optimiser steps done in it.
        total_steps: Of it, in all; 0: not known, or it has no steps.
        progress: Of work without steps.
        last: The latest step.
        val_loss: Of the latest evaluation.
        reward: How the latest answers or pairs fared that were learned from.
        held_out: The latest that were not.
        began: Wall time of the latest start of the run.
        ended: Wall time of the latest event.
    """

    stage: str = ""
    step: int = 0
    total_steps: int = 0
    progress: events.Progress | None = None
    last: events.Step | None = None
    val_loss: float | None = None
    reward: events.Reward | None = None
    held_out: events.Reward | None = None
    began: float = 0.0
    ended: float = 0.0
    _attempt: int = field(default=0, repr=False)
    _warned: str = field(default="", repr=False)

    def follow(self, reader: EventReader, since: int = 0) -> Iterator[News]:
        """Take in what the reader has; yield the news that lie behind byte `since`."""
        latest: Event | None = None  # a million steps need not all be decoded: the last one counts
        for event in reader.read():
            if event.kind == "step":
                latest = event
                continue
            if latest is not None and event.kind != "reward":  # it comes with each of them
                self._take(latest)
                latest = None
            news = self._take(event)
            if news is not None and reader.offset > since:
                yield news
        if latest is not None:
            self._take(latest)

    def _take(self, event: Event) -> News | None:
        payload = event.payload()
        self.ended = event.time
        match payload:
            case events.Step():
                self.last, self.progress = payload, None
                self.step = self.step if event.step is None else event.step
            case events.Progress():
                self.progress = payload
            case events.StageChange():
                return self._stage_changed(event, payload)
            case events.RunChange():
                return self._run_changed(event, payload)
            case events.Resume():
                self.step = payload.step if event.step is None else event.step
                return News(f"goes on from step {self.step}")
            case events.Eval():
                self.val_loss = payload.val_loss
                best = " (best so far)" if payload.best else ""
                text = f"{_at(event)}validation loss {_loss(payload.val_loss)}{best}"
                return News(text, "minor")
            case events.Reward():
                return self._rewarded(event, payload)
            case events.Sample():
                return News(f"{_at(event)}sample\n{quote_lines(payload.prompt + payload.text)}")
            case events.Checkpoint():
                why = f" ({clean(payload.why)})" if payload.why else ""
                return News(f"{_at(event)}checkpoint {clean(payload.path)}{why}")
            case events.Note():
                return News(clean(payload.message))
            case events.Warn():
                self._warned = payload.message
                return News(f"warning: {clean(payload.message)}", "warning")
            case events.Answer() if payload.command != "sample" or payload.outcome != "done":
                return News(answer_text(payload))
            case _:  # a sample was shown, a failure is in the summary, an unknown kind is passed
                pass
        return None

    def _rewarded(self, event: Event, reward: events.Reward) -> News | None:
        if not reward.held_out:
            self.reward = reward
            return None
        self.held_out = reward
        facts = reward_facts(reward)
        return News(f"{_at(event)}held out: {', '.join(facts)}", "minor") if facts else None

    def _stage_changed(self, event: Event, change: events.StageChange) -> News:
        title = stage_title(event.stage)
        self.progress = None
        said = f": {clean(change.message)}" if change.message else ""
        if change.phase == "skipped":
            return News(f"{title} skipped{said}")
        if change.phase == "stopped":
            return News(f"{title} stopped{said}")
        if change.phase == "start":
            self.stage, self.step, self.total_steps = event.stage, 0, change.total_steps
            self.last = self.val_loss = self.reward = self.held_out = None
            return News(f"{title} started{said}{_listed(change.details)}")
        scores = {name: value for name, value in change.scores.items() if value is not None}
        output = f" -> {clean(change.output)}" if change.output else ""
        return News(f"{title} ended{said}{_listed(scores)}{output}", "good")

    def _run_changed(self, event: Event, change: events.RunChange) -> News | None:
        if change.state == "starting" and change.attempt != self._attempt:
            self._attempt, self.began = change.attempt, event.time
        if change.state not in LIVE or (change.message and change.message == self._warned):
            return None  # the end is summed up; what was a warning already is known
        said = f": {clean(change.message)}" if change.message else ""
        batch = f" (micro-batch {change.micro_batch})" if change.micro_batch else ""
        if not (said or batch) and change.state not in ("paused", "stopping", "queued"):
            return None  # starting and running show in what follows
        return News(f"{clean(change.state)}{said}{batch}", "warning" if batch else "plain")

    def numbers(self) -> list[str]:
        """The latest numbers, the most telling first, each with its name or unit."""
        step = self.last
        facts = reward_facts(self.reward, self.held_out)
        if step is None:
            return facts
        if step.skipped:
            facts.insert(0, "not finite, step skipped")
        elif self.reward is None or self.reward.mean is None:  # of answers, the loss says little
            facts.append(f"loss {_loss(step.loss)}")
        if self.val_loss is not None:
            facts.append(f"val {_loss(self.val_loss)}")
        if step.tokens_per_s:
            facts.append(f"{human_count(step.tokens_per_s)} tok/s")
        if step.mfu is not None:
            facts.append(f"MFU {step.mfu:.0%}")
        if step.memory:
            facts.append(human_bytes(step.memory))
        facts.append(f"lr {step.lr:.1e}")
        return facts

    def left(self) -> str:
        """How long the stage will go on, where that is known."""
        if self.last is None or self.last.eta_s is None:
            return ""
        return f"{human_time(self.last.eta_s)} left"


def answer_text(answer: events.Answer) -> str:
    """What became of a command."""
    command, said = clean(answer.command), clean(answer.message)
    if "\n" in answer.message:
        said = "\n" + quote_lines(answer.message)
    if answer.outcome == "refused":
        return f"{command} refused: {said or 'nobody said why'}"
    return f"{command}: {said}".replace(": \n", ":\n") if said else f"{command}: done"


def reward_facts(reward: events.Reward | None, held_out: events.Reward | None = None) -> list[str]:
    """What matters of rewards and preferences, the most telling first.

    Args:
        reward: Of what is learned from; None: there is none yet.
        held_out: Of what is not.
    """
    facts = []
    if reward is not None and reward.mean is not None:
        facts.append(f"reward {reward.mean:.2f}")
    if reward is not None and reward.kl is not None:
        facts.append(f"KL {reward.kl:.2f}")
    if reward is not None and reward.accuracy is not None:
        facts.append(f"accuracy {reward.accuracy:.0%}")
    if held_out is not None and held_out.mean is not None:
        facts.append(f"held-out reward {held_out.mean:.2f}")
    if held_out is not None and held_out.accuracy is not None:
        facts.append(f"held-out accuracy {held_out.accuracy:.0%}")
    return facts


def stage_title(stage: str) -> str:
    """The name of a stage for people, also of one that this version does not know."""
    known = STAGES.get(stage)
    return known.title if known else clean(stage) or "stage"


def _at(event: Event) -> str:
    return "" if event.step is None else f"step {event.step}: "


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _listed(facts: dict[str, object] | dict[str, float]) -> str:
    parts = [f"{clean(name).replace('_', ' ')} {_value(value)}" for name, value in facts.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Iterable):
        return clean(", ".join(map(str, value)))
    return clean(str(value))
