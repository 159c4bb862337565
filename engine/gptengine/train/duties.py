"""What there is to do between two optimiser steps, alike in every training.

Steps are put on record; evaluations, samples and checkpoints come when they are due, commands when
a person gives them. What is trained, and how, is a `Trainee`: our own loop's, or one of TRL's.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptcore import events
from gptcore.control import Command
from gptcore.settings import TrainingSettings
from gptengine.train import checkpoint
from gptengine.train.checkpoint import TrainState
from gptengine.train.device import Placement

#: Steps that the speed is the mean of.
SPEED_WINDOW = 20
PAUSE_POLL_S = 0.2


class Recorder(Protocol):
    """Takes what a training has to tell; `gptengine.report.Report` is one."""

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        """Take one record."""


class Trainee(Protocol):
    """What is trained."""

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """What the optimiser changes, by name."""

    def optimizer(self) -> Optimizer:
        """The optimiser."""

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training."""

    def write_model(self, folder: Path) -> None:
        """Put the model into a checkpoint, so that it can be loaded from there."""

    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss on held-out data, nats a token, and over how many; None: there is none."""

    def sample(self, step: int) -> events.Sample | None:
        """Something the model writes; None: it cannot."""

    def flops_per_token(self) -> float:
        """Arithmetic of a training step, for the MFU; 0: not known."""


@dataclass
class History:
    """What a training did.

    Attributes:
        steps: Numbers of the recorded steps.
        losses: Training loss at each, nats a token.
        eval_steps: Numbers of the steps after which there was an evaluation.
        val_losses: Loss on held-out data at each.
        train_loss: Of the last step, also where an earlier attempt took it.
        val_loss: Of the last evaluation, likewise; of the best, where the weights went back to it.
        best_val_loss: The lowest of all.
        tokens: Trained on, in all.
        seconds: Spent in steps.
        ended_by: `steps`, `early stopping` or `stop`.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    eval_steps: list[int] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    train_loss: float | None = None
    val_loss: float | None = None
    best_val_loss: float | None = None
    tokens: int = 0
    seconds: float = 0.0
    ended_by: str = "steps"

    def scores(self) -> dict[str, float | None]:
        """The losses, for the lineage."""
        return {
            "train_loss": self.train_loss,
            "val_loss": self.val_loss,
            "best_val_loss": self.best_val_loss,
        }

    def facts(self) -> dict[str, float | str]:
        """What it took, for the lineage."""
        return {
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "ended_by": self.ended_by,
        }


@dataclass(frozen=True, slots=True)
class StepDone:
    """What there is to tell of one optimiser step.

    Args:
        loss: Mean over the batch; may be not finite.
        grad_norm: Before clipping; may be not finite.
        applied: Whether the weights changed.
        lr: Learning rate.
        tokens: Trained on, by all processes.
        seconds: It took.
    """

    loss: float
    grad_norm: float
    applied: bool
    lr: float
    tokens: int
    seconds: float


class Duties:
    """One training, from a state to its end, as far as it is not the steps themselves.

    Args:
        trainee: What is trained.
        settings: When what is due.
        placement: Device and rank.
        total_steps: When to end.
        recorder: Told of every step, evaluation, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
    """

    def __init__(
        self,
        trainee: Trainee,
        settings: TrainingSettings,
        placement: Placement,
        *,
        total_steps: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
    ) -> None:
        self.state = TrainState()
        self.history = History()
        self._trainee = trainee
        self._settings = settings
        self._placement = placement
        self._total_steps = total_steps
        self._recorder = recorder
        self._requests = requests
        self._checkpoint_dir = checkpoint_dir
        self._step_seconds: deque[float] = deque(maxlen=SPEED_WINDOW)
        self._last_saved = -1

    def resume(self, path: Path, *, restore_random: bool = True) -> None:
        """Take optimiser, counters and random states from a checkpoint, not the weights."""
        self.state = checkpoint.load_training(
            path,
            parameters=self._trainee.parameters(),
            optimizer=self._trainee.optimizer(),
            device=self._placement.device,
        )
        if restore_random:
            self.restore_random(path)
        if (scaler := self._trainee.scaler()) and self.state.scaler:
            scaler.load_state_dict(self.state.scaler)
        self._last_saved = self.state.step

    def restore_random(self, path: Path) -> None:
        """Put the generators of this process back as they were at a checkpoint."""
        checkpoint.load_random_state(path, self._placement.rank, self._placement.device)

    def begin_step(self) -> bool:
        """Obey commands; whether there is a step to take."""
        if self.state.step >= self._total_steps or self.history.ended_by != "steps":
            return False
        if self._obey() == "stop":
            self.history.ended_by = "stop"
            self.save("stop")
            return False
        return True

    def end_step(self, done: StepDone) -> bool:
        """Record a step and do what is due; whether there is another one to take."""
        state, settings = self.state, self._settings
        state.step += 1
        state.tokens += done.tokens
        state.train_loss = done.loss if math.isfinite(done.loss) else state.train_loss
        state.seconds += done.seconds
        if len(self._step_seconds) == 1:
            self._step_seconds.clear()  # the first step of a process pays for warming up
        self._step_seconds.append(done.seconds)
        if state.step % settings.log_interval == 0 or state.step == self._total_steps:
            self._record(done)
        if self._is_due(settings.eval_interval):
            self._evaluate()
        if self._is_due(settings.sample_interval, at_end=False):
            self._sample()
        if self._is_due(settings.checkpoint_interval):
            self.save("end" if state.step == self._total_steps else "interval")
        if 0 < settings.early_stopping <= state.stale_evals:
            self.history.ended_by = "early stopping"
            return False
        return state.step < self._total_steps

    def finish(self) -> History:
        """What the training did, all attempts together."""
        history, state = self.history, self.state
        history.train_loss, history.val_loss = state.train_loss, state.val_loss
        history.best_val_loss = state.best_val_loss
        history.tokens, history.seconds = state.tokens, state.seconds
        return history

    def _is_due(self, interval: int, *, at_end: bool = True) -> bool:
        if self.state.step == self._total_steps and at_end:
            return True
        return interval > 0 and self.state.step % interval == 0

    def _record(self, done: StepDone) -> None:
        state = self.state
        seconds = sum(self._step_seconds) / len(self._step_seconds)
        rate = done.tokens / seconds
        peak, flops = self._placement.peak_flops(), self._trainee.flops_per_token()
        mfu = flops * rate / (peak * self._placement.world_size) if peak and flops else None
        if math.isfinite(done.loss):
            self.history.steps.append(state.step)
            self.history.losses.append(done.loss)
        self._write(
            events.Step(
                loss=done.loss if math.isfinite(done.loss) else None,
                lr=done.lr,
                grad_norm=done.grad_norm if math.isfinite(done.grad_norm) else None,
                tokens=state.tokens,
                tokens_per_s=rate,
                mfu=mfu,
                memory=self._placement.peak_memory(),
                eta_s=(self._total_steps - state.step) * seconds,
                skipped=not done.applied,
            )
        )

    def _evaluate(self) -> None:
        measured = self._trainee.evaluate()
        if measured is None:
            return
        settings, state = self._settings, self.state
        value = self._from_main(measured[0])
        best = math.isfinite(value) and (state.best_val_loss is None or value < state.best_val_loss)
        state.val_loss = value if math.isfinite(value) else None
        state.stale_evals = 0 if best else state.stale_evals + 1
        if best:
            state.best_val_loss, state.best_step = value, state.step
        self.history.eval_steps.append(state.step)
        self.history.val_losses.append(value)
        self._write(events.Eval(val_loss=state.val_loss, tokens=measured[1], best=best))
        if best and (settings.early_stopping or settings.checkpoint_interval):
            self.save("best")

    def _sample(self) -> str:
        sample = self._trainee.sample(self.state.step) if self._placement.is_main else None
        if sample is None:
            return ""
        self._write(sample)
        return sample.text

    def save(self, why: str) -> Path | None:
        """Publish a checkpoint of the present state, if it has none yet."""
        if self._checkpoint_dir is None or self._last_saved == self.state.step:
            return None
        randoms = [checkpoint.random_state(self._placement.device)]
        if self._placement.world_size > 1:
            gathered: list[checkpoint.RandomState] = [randoms[0]] * self._placement.world_size
            dist.all_gather_object(gathered, randoms[0])
            randoms = gathered
        self._last_saved = self.state.step
        if not self._placement.is_main:
            return None
        if scaler := self._trainee.scaler():
            self.state.scaler = scaler.state_dict()
        path = checkpoint.save_checkpoint(
            self._checkpoint_dir,
            self.state,
            write_model=self._trainee.write_model,
            parameters=self._trainee.parameters(),
            optimizer=self._trainee.optimizer(),
            random_states=randoms,
        )
        checkpoint.prune(
            self._checkpoint_dir,
            keep=self._settings.keep_checkpoints,
            best_step=self.state.best_step,
        )
        self._write(events.Checkpoint(path=_shown(path), why=why))
        return path

    # Commands

    def _obey(self) -> str:
        """Carry out the commands that have come; `stop` where one of them says so."""
        paused = False
        while True:
            for command in self._agreed_requests():
                outcome, message = "done", ""
                if command.name == "stop":
                    self._answer(command, "done", f"stopping after step {self.state.step}")
                    return "stop"
                if command.name == "pause":
                    outcome, message = ("refused", "already paused") if paused else ("done", "")
                    paused = True
                elif command.name == "resume":
                    outcome, message = ("done", "") if paused else ("refused", "not paused")
                    paused = False
                elif command.name == "sample":
                    message = self._sample()
                elif command.name == "checkpoint":
                    path = self.save("asked")
                    message = _shown(path) if path else f"step {self.state.step} has one already"
                self._answer(command, outcome, message)
                if command.name in ("pause", "resume") and outcome == "done":
                    self._write(events.RunChange("paused" if paused else "running"))
            if not paused:
                return ""
            time.sleep(PAUSE_POLL_S)

    def _agreed_requests(self) -> list[Command]:
        """The commands, the same ones in every process."""
        if self._placement.world_size == 1:
            return self._requests()
        agreed = [self._requests() if self._placement.is_main else []]
        dist.broadcast_object_list(agreed)
        return agreed[0]

    def _from_main(self, value: float) -> float:
        """The main process's value, so that all decide alike."""
        if self._placement.world_size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self._placement.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def _answer(self, command: Command, outcome: str, message: str) -> None:
        self._write(events.Answer(command.id, command.name, outcome, message))  # type: ignore[arg-type]

    def _write(self, payload: events.Payload) -> None:
        if self._placement.is_main:
            self._recorder.write(payload, step=self.state.step)


def _shown(path: Path) -> str:
    """`path` from the current folder, which for a stage is the workspace."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
