"""The training loop: steps, evaluations, samples, checkpoints, and commands between steps."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gptcore import events
from gptcore.control import Command
from gptcore.settings import PretrainSettings
from gptengine.data.sampler import TokenLoader
from gptengine.generate import Sampling, generate
from gptengine.model import GPT
from gptengine.tokenizer import BPETokenizer
from gptengine.train import checkpoint
from gptengine.train.checkpoint import TrainState
from gptengine.train.device import Placement
from gptengine.train.optimizer import GuardedOptimizer, build_optimizer, learning_rate
from gptengine.train.source import Batch, Source, evaluation_batches

#: Steps that the speed is the mean of.
SPEED_WINDOW = 20
PAUSE_POLL_S = 0.2


class Recorder(Protocol):
    """Takes what a training has to tell; `gptengine.report.Report` is one."""

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        """Take one record."""


@dataclass
class History:
    """What a training did.

    Attributes:
        steps: Numbers of the recorded steps.
        losses: Training loss at each, nats a token.
        eval_steps: Numbers of the steps after which there was an evaluation.
        val_losses: Loss on held-out data at each.
        train_loss: Of the last step, also where an earlier attempt took it.
        val_loss: Of the last evaluation, likewise.
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


class LossModule(nn.Module):
    """The model as a function from batch to loss, the form that DDP and torch.compile wrap."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, a scalar."""
        return self.model.loss(input_ids, targets)


class TrainingLoop:
    """One training of one model, from a state to its end.

    Args:
        model: Trained in place; already on its device.
        tokenizer: For samples, and saved with checkpoints.
        settings: Of the loop.
        placement: Device, precision, rank.
        source: Training batches.
        val_loader: Held-out batches, or None.
        total_steps: When to end.
        recorder: Told of every step, evaluation, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: BPETokenizer | None,
        settings: PretrainSettings,
        placement: Placement,
        *,
        source: Source,
        val_loader: TokenLoader | Iterable[Batch] | None,
        total_steps: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
    ) -> None:
        self.model = model
        self.state = TrainState()
        self.history = History()
        self._tokenizer = tokenizer
        self._settings = settings
        self._placement = placement
        self._source = source
        self._val_loader = val_loader
        self._total_steps = total_steps
        self._recorder = recorder
        self._requests = requests
        self._checkpoint_dir = checkpoint_dir
        self._optimizer = GuardedOptimizer(
            build_optimizer(model, settings),
            grad_clip=settings.grad_clip,
            skip_bad=settings.bad_steps == "skip",
            max_bad_steps=settings.max_bad_steps,
            scaler=placement.scaler(),
        )
        model.gradient_checkpointing = settings.gradient_checkpointing
        self._loss = self._wrapped(model)
        self._step_seconds: deque[float] = deque(maxlen=SPEED_WINDOW)
        self._last_saved = -1

    def resume(self, path: Path) -> None:
        """Take optimiser, counters and random states from a checkpoint, not the weights."""
        self.state = checkpoint.load_training(
            path,
            model=self.model,
            optimizer=self._optimizer.optimizer,
            rank=self._placement.rank,
            device=self._placement.device,
        )
        if self._optimizer.scaler and self.state.scaler:
            self._optimizer.scaler.load_state_dict(self.state.scaler)
        self._last_saved = self.state.step

    def run(self) -> History:
        """Train until the steps are done, early stopping or a stop command."""
        self.model.train()
        while self.state.step < self._total_steps:
            if self._obey() == "stop":
                self.history.ended_by = "stop"
                self._save("stop")
                break
            self._train_step()
            step = self.state.step
            if self._is_due(self._settings.eval_interval):
                self._evaluate()
            if self._is_due(self._settings.sample_interval, at_end=False):
                self._sample()
            if self._is_due(self._settings.checkpoint_interval):
                self._save("end" if step == self._total_steps else "interval")
            if self._has_stalled():
                self.history.ended_by = "early stopping"
                break
        self.history.train_loss = self.state.train_loss
        self.history.val_loss = self.state.val_loss
        self.history.best_val_loss = self.state.best_val_loss
        self.history.tokens = self.state.tokens
        self.history.seconds = self.state.seconds
        return self.history

    def _wrapped(self, model: GPT) -> nn.Module:
        loss: nn.Module = LossModule(model)
        if self._placement.compile:
            loss.compile()
        if self._placement.world_size > 1:
            devices = [self._placement.device] if self._placement.device.type == "cuda" else None
            loss = DistributedDataParallel(loss, device_ids=devices)
        return loss

    def _is_due(self, interval: int, *, at_end: bool = True) -> bool:
        if self.state.step == self._total_steps and at_end:
            return True
        return interval > 0 and self.state.step % interval == 0

    def _has_stalled(self) -> bool:
        patience = self._settings.early_stopping
        return 0 < patience <= self.state.stale_evals

    # One optimiser step

    def _train_step(self) -> None:
        started = time.perf_counter()
        state, lr = self.state, learning_rate(self.state.step, self._total_steps, self._settings)
        loss, tokens = self._forward_backward(*self._source.batch(state.step))
        result = self._optimizer.step(loss, lr)
        seconds = time.perf_counter() - started
        state.step += 1
        state.tokens += tokens
        state.train_loss = result.loss if math.isfinite(result.loss) else state.train_loss
        state.seconds += seconds
        if len(self._step_seconds) == 1:
            self._step_seconds.clear()  # the first step of a process pays for warming up
        self._step_seconds.append(seconds)
        if state.step % self._settings.log_interval == 0 or state.step == self._total_steps:
            self._record_step(result.loss, result.grad_norm, result.applied, lr, tokens)

    def _forward_backward(self, input_ids: Tensor, targets: Tensor) -> tuple[Tensor, int]:
        """Gradients of the mean loss over this process's sequences (sequences, time)."""
        device, size = self._placement.device, self._settings.micro_batch
        parts = list(zip(input_ids.split(size), targets.split(size), strict=True))
        total = torch.zeros((), device=device)
        for number, (inputs, wanted) in enumerate(parts, start=1):
            last = number == len(parts)
            share = len(inputs) / len(input_ids)
            with self._gradient_sync(last):
                with self._placement.autocast():
                    loss = self._loss(inputs.to(device), wanted.to(device))
                self._optimizer.backward(loss * share)
            total += loss.detach().float() * share
        tokens = input_ids.numel() * self._placement.world_size
        if self._placement.world_size > 1:
            dist.all_reduce(total)
            total /= self._placement.world_size
        return total, tokens

    def _gradient_sync(self, last: bool) -> AbstractContextManager[object]:
        if isinstance(self._loss, DistributedDataParallel) and not last:
            return self._loss.no_sync()  # gradients travel once a step, with the last micro-batch
        return nullcontext()

    def _record_step(
        self, loss: float, grad_norm: float, applied: bool, lr: float, tokens: int
    ) -> None:
        state = self.state
        seconds = sum(self._step_seconds) / len(self._step_seconds)
        rate = tokens / seconds
        peak = self._placement.peak_flops()
        length = self.model.config.context_length
        mfu = None
        if peak:
            mfu = self.model.flops_per_token(length) * rate / (peak * self._placement.world_size)
        if math.isfinite(loss):
            self.history.steps.append(state.step)
            self.history.losses.append(loss)
        self._write(
            events.Step(
                loss=loss if math.isfinite(loss) else None,
                lr=lr,
                grad_norm=grad_norm if math.isfinite(grad_norm) else None,
                tokens=state.tokens,
                tokens_per_s=rate,
                mfu=mfu,
                memory=self._placement.peak_memory(),
                eta_s=(self._total_steps - state.step) * seconds,
                skipped=not applied,
            )
        )

    # Between steps

    def _evaluate(self) -> None:
        if self._val_loader is None:
            return
        settings, state = self._settings, self.state
        batches = evaluation_batches(self._val_loader, settings.micro_batch, settings.eval_batches)
        self.model.eval()
        total, tokens = 0.0, 0
        with torch.no_grad(), self._placement.autocast():
            for input_ids, targets in batches:
                loss = self.model.loss(
                    input_ids.to(self._placement.device), targets.to(self._placement.device)
                )
                total += float(loss) * targets.numel()
                tokens += targets.numel()
        self.model.train()
        if not tokens:
            return
        value = self._from_main(total / tokens)
        best = math.isfinite(value) and (state.best_val_loss is None or value < state.best_val_loss)
        state.val_loss = value if math.isfinite(value) else None
        state.stale_evals = 0 if best else state.stale_evals + 1
        if best:
            state.best_val_loss, state.best_step = value, state.step
        self.history.eval_steps.append(state.step)
        self.history.val_losses.append(value)
        self._write(events.Eval(val_loss=state.val_loss, tokens=tokens, best=best))
        if best and (settings.early_stopping or settings.checkpoint_interval):
            self._save("best")

    def _sample(self) -> str:
        prompt = self._settings.sample_prompt
        if self._tokenizer is None or not self._placement.is_main:
            return ""
        sampling = Sampling(
            max_tokens=self._settings.sample_tokens,
            temperature=0.8,
            top_k=50,
            seed=self._settings.seed + self.state.step,
        )
        with self._placement.autocast():
            text = generate(self.model, self._tokenizer, prompt, sampling)
        self._write(events.Sample(prompt=prompt, text=text))
        return text

    def _save(self, why: str) -> Path | None:
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
        if self._optimizer.scaler:
            self.state.scaler = self._optimizer.scaler.state_dict()
        path = checkpoint.save_checkpoint(
            self._checkpoint_dir,
            self.state,
            model=self.model,
            tokenizer=self._tokenizer,
            optimizer=self._optimizer.optimizer,
            random_states=randoms,
        )
        checkpoint.prune(
            self._checkpoint_dir,
            keep=self._settings.keep_checkpoints,
            best_step=self.state.best_step,
        )
        self._write(events.Checkpoint(path=_shown(path), why=why))
        return path

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
                    path = self._save("asked")
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
