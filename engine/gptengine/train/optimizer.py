"""The learning rate, the optimiser, and the guard between gradients and weights."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import AdamW, Optimizer

from gptcore.errors import UserError
from gptcore.settings import TrainingSettings


def learning_rate(step: int, total_steps: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine down to `min_lr` (Loshchilov and Hutter 2017).

    Args:
        step: From 0.
        total_steps: Steps of the whole training.
        settings: With `lr`, `min_lr`, `warmup_steps`.
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    span = max(1, total_steps - settings.warmup_steps)
    done = min(1.0, (step - settings.warmup_steps) / span)
    return settings.min_lr + 0.5 * (1 + math.cos(math.pi * done)) * (settings.lr - settings.min_lr)


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> AdamW:
    """Fused AdamW; weight decay on matrices alone, not on biases and norms."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return AdamW(
        [
            {
                "params": [p for p in parameters if p.dim() >= 2],
                "weight_decay": settings.weight_decay,
            },
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )


def set_rate(optimizer: Optimizer, lr: float) -> None:
    """Give each group of parameters the learning rate, times its `lr_scale` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one optimiser step.

    Args:
        loss: Mean over the batch; may be not finite.
        grad_norm: Before clipping; may be not finite.
        applied: Whether the weights changed.
    """

    loss: float
    grad_norm: float
    applied: bool


class Guard:
    """Between gradients and weights: a finite check, then clipping.

    Args:
        settings: With `grad_clip`, `bad_steps`, `max_bad_steps`.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._bad_steps = 0

    def admit(self, parameters: Iterable[Tensor], loss: Tensor, *, tolerant: bool) -> StepResult:
        """Clip the gradients, or take them away where they must not reach the weights.

        Args:
            parameters: Those with a gradient count.
            loss: Of the batch, a scalar.
            tolerant: Whether an infinite gradient is no fault of the data.

        Returns:
            With `applied` where the step may be taken.

        Raises:
            UserError: The loss or gradient is not finite, and no more steps may be left out.
        """
        parameters = [p for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        values = torch.stack((loss.detach().float(), norm.float())).tolist()  # one wait for the GPU
        result = StepResult(values[0], values[1], math.isfinite(sum(values)))
        if result.applied:
            self._bad_steps = 0
            if self._settings.grad_clip:
                nn.utils.clip_grads_with_norm_(parameters, self._settings.grad_clip, norm)
            return result
        for parameter in parameters:
            parameter.grad = None  # an optimiser passes over what has no gradient
        if not (tolerant and math.isfinite(result.loss)):
            self.count_bad(result)
        return result

    def count_bad(self, result: StepResult) -> None:
        """Count a step that was left out.

        Raises:
            UserError: No more may be.
        """
        self._bad_steps += 1
        skips, table = self._settings.bad_steps == "skip", self._settings.table
        if skips and self._bad_steps <= self._settings.max_bad_steps:
            return
        in_a_row = f" {self._bad_steps} times in a row" if skips else ""
        raise UserError(
            f"the loss or its gradient was not finite{in_a_row}"
            f" (loss {result.loss}, gradient norm {result.grad_norm})",
            where="the weights are as they were before",
            fix=f"resume with a lower {table}.lr, a longer {table}.warmup_steps,"
            " or engine.precision = bf16 or fp32",
        )


class GuardedOptimizer:
    """An optimiser with a `Guard` before it, and the loss scaler of fp16 training around both.

    Args:
        optimizer: The optimiser it guards.
        settings: The guard's.
        scaler: The loss scaler of fp16 training.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        settings: TrainingSettings,
        *,
        scaler: GradScaler | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.scaler = scaler
        self._guard = Guard(settings)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of `loss`, scaled where the precision asks for it."""
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, loss: Tensor, lr: float) -> StepResult:
        """Take one step, or leave it out, and clear the gradients.

        Args:
            loss: The loss of the batch, a scalar.
            lr: Learning rate of this step.

        Raises:
            UserError: The loss or gradient is not finite, and no more may be left out.
        """
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        # fp16 finds its loss scale by overflowing now and then: that is no fault of the data
        tolerant = self.scaler is not None and self.scaler.get_scale() > 1.0
        result = self._guard.admit(parameters, loss, tolerant=tolerant)
        if result.applied:
            set_rate(self.optimizer, lr)
            if self.scaler:
                self.scaler.step(self.optimizer)
            else:
                self.optimizer.step()
        if self.scaler:
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return result
