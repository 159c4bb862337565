"""The learning rate, the optimiser, and the guard between gradients and weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import AdamW, Optimizer

from gptcore.errors import UserError
from gptcore.settings import PretrainSettings


def learning_rate(step: int, total_steps: int, settings: PretrainSettings) -> float:
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


def build_optimizer(model: nn.Module, settings: PretrainSettings) -> AdamW:
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


class GuardedOptimizer:
    """Lets only finite gradients reach the weights: a finite check, then clipping, then the step.

    Args:
        optimizer: The optimiser it guards.
        grad_clip: Largest gradient norm; 0: no clipping.
        skip_bad: Whether a step that is not finite is left out, rather than ending the training.
        max_bad_steps: How many may be left out in a row.
        scaler: The loss scaler of fp16 training.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        grad_clip: float = 0.0,
        skip_bad: bool = True,
        max_bad_steps: int = 20,
        scaler: GradScaler | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.scaler = scaler
        self._grad_clip = grad_clip
        self._skip_bad = skip_bad
        self._max_bad_steps = max_bad_steps
        self._bad_steps = 0

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
        parameters = [p for p in parameters if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        values = torch.stack((loss.detach().float(), norm.float())).tolist()  # one wait for the GPU
        result = StepResult(values[0], values[1], math.isfinite(sum(values)))
        if result.applied:
            self._bad_steps = 0
            if self._grad_clip:
                nn.utils.clip_grads_with_norm_(parameters, self._grad_clip, norm)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            if self.scaler:
                self.scaler.step(self.optimizer)
            else:
                self.optimizer.step()
        if self.scaler:
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if not result.applied and not self._is_scale_search(result):
            self._count_bad(result)
        return result

    def _is_scale_search(self, result: StepResult) -> bool:
        # fp16 finds its loss scale by overflowing now and then: that is no fault of the data
        return (
            self.scaler is not None
            and math.isfinite(result.loss)
            and self.scaler.get_scale() >= 1.0
        )

    def _count_bad(self, result: StepResult) -> None:
        self._bad_steps += 1
        if self._skip_bad and self._bad_steps <= self._max_bad_steps:
            return
        in_a_row = f" {self._bad_steps} times in a row" if self._skip_bad else ""
        raise UserError(
            f"the loss or its gradient was not finite{in_a_row}"
            f" (loss {result.loss}, gradient norm {result.grad_norm})",
            where="the weights are as they were before",
            fix="resume with a lower pretrain.lr, a longer pretrain.warmup_steps,"
            " or engine.precision = bf16 or fp32",
        )
