"""The training loop of pretraining: batches in, optimiser steps out."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from gptcore import events
from gptcore.control import Command
from gptcore.settings import PretrainSettings
from gptengine.data.sampler import TokenLoader
from gptengine.generate import Sampling, generate
from gptengine.hf import save_model
from gptengine.model import GPT
from gptengine.tokenizer import BPETokenizer
from gptengine.train.device import Placement
from gptengine.train.duties import Duties, History, Recorder, StepDone
from gptengine.train.optimizer import GuardedOptimizer, build_optimizer, learning_rate
from gptengine.train.source import Batch, Source, evaluation_batches


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
        self._tokenizer = tokenizer
        self._settings = settings
        self._placement = placement
        self._source = source
        self._val_loader = val_loader
        self._total_steps = total_steps
        self._guarded = GuardedOptimizer(
            build_optimizer(model, settings), settings, scaler=placement.scaler()
        )
        model.gradient_checkpointing = settings.gradient_checkpointing
        self._loss = self._wrapped(model)
        self.duties = Duties(
            self,
            settings,
            placement,
            total_steps=total_steps,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )

    def run(self) -> History:
        """Train until the steps are done, early stopping or a stop command."""
        self.model.train()
        while self.duties.begin_step():
            self.duties.end_step(self._train_step(self.duties.state.step))
        return self.duties.finish()

    def _wrapped(self, model: GPT) -> nn.Module:
        loss: nn.Module = LossModule(model)
        if self._placement.compile:
            loss.compile()
        if self._placement.world_size > 1:
            devices = [self._placement.device] if self._placement.device.type == "cuda" else None
            loss = DistributedDataParallel(loss, device_ids=devices)
        return loss

    # One optimiser step

    def _train_step(self, step: int) -> StepDone:
        started = time.perf_counter()
        lr = learning_rate(step, self._total_steps, self._settings)
        loss, tokens = self._forward_backward(*self._source.batch(step))
        result = self._guarded.step(loss, lr)
        seconds = time.perf_counter() - started
        return StepDone(result.loss, result.grad_norm, result.applied, lr, tokens, seconds)

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
                self._guarded.backward(loss * share)
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

    # What is trained, for the duties between steps

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All of the model's, by name."""
        return dict(self.model.named_parameters())

    def optimizer(self) -> Optimizer:
        """The optimiser under the guard."""
        return self._guarded.optimizer

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training."""
        return self._guarded.scaler

    def flops_per_token(self) -> float:
        """Arithmetic of forward and backward over whole contexts."""
        return self.model.flops_per_token(self.model.config.context_length)

    def write_model(self, folder: Path) -> None:
        """A Hugging Face folder, with the tokenizer, so that it can be chatted with."""
        tokenizer = self._tokenizer
        save_model(
            self.model,
            folder,
            eos_id=tokenizer.eos_id if tokenizer else None,
            pad_id=tokenizer.pad_id if tokenizer else None,
        )
        if tokenizer:
            tokenizer.save(folder, model_max_length=self.model.config.context_length)

    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss on the held-out batches."""
        if self._val_loader is None:
            return None
        settings = self._settings
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
        return (total / tokens, tokens) if tokens else None

    def sample(self, step: int) -> events.Sample | None:
        """How the model goes on from the sample prompt."""
        if self._tokenizer is None:
            return None
        prompt = self._settings.sample_prompt
        sampling = Sampling(
            max_tokens=self._settings.sample_tokens,
            temperature=0.8,
            top_k=50,
            seed=self._settings.seed + step,
        )
        with self._placement.autocast():
            text = generate(self.model, self._tokenizer, prompt, sampling)
        return events.Sample(prompt=prompt, text=text)
