"""One of TRL's trainers, under our guard, record, commands and checkpoints.

TRL computes; what is trained on when, at which rate, and what becomes of it, is said here as it is
in pretraining. Its own checkpoints, logs and resumption are switched off: a training goes on from
ours, by starting anew at a later step.

Import it after `gptengine.finetune.backends` has chosen: Unsloth must come before TRL.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerFast, Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from gptcore.control import Command
from gptcore.settings import TuningSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.finetune.data import ChatBatches
from gptengine.finetune.tuned import Tuned
from gptengine.train.device import Placement
from gptengine.train.duties import Duties, History, Recorder, StepDone
from gptengine.train.optimizer import Guard, StepResult, learning_rate, set_rate

#: What TRL has measured of the micro-batches of a step, by its own names.
Measured = Mapping[str, Sequence[float]]


class TRLTraining(Tuned, ABC):
    """One training by one of TRL's trainers, from a state to its end; which one, its heirs say.

    Args:
        trained: The model, adapters inside.
        tokenizer: For samples, and saved with checkpoints.
        settings: Of the training.
        placement: Device and precision.
        batches: Which examples each step sees.
        num_examples: Of how many.
        longest: Tokens of a sequence.
        recorder: Told of every step, evaluation, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
        scratch: A folder that TRL may write to.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: TuningSettings,
        placement: Placement,
        *,
        batches: ChatBatches,
        num_examples: int,
        longest: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
        scratch: Path,
    ) -> None:
        super().__init__(trained, tokenizer, settings, placement, longest=longest)
        self.total_steps = settings.max_steps or settings.epochs * batches.steps_per_epoch
        self._batches = batches
        self._num_examples = num_examples
        self._recorder = recorder
        self._checkpoint_dir = checkpoint_dir
        self._scratch = scratch
        self._resumed_from: Path | None = None
        self._trainer: PlannedTrainer | None = None
        self.duties = Duties(
            self,
            settings,
            placement,
            total_steps=self.total_steps,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )

    @abstractmethod
    def make_trainer(self, arguments: dict[str, Any], options: dict[str, Any]) -> "PlannedTrainer":
        """The trainer.

        Args:
            arguments: For its config.
            options: For itself, besides `args` and `data_collator`; of the examples it is given
                their numbers, as `number`.
        """

    @abstractmethod
    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss on held-out data, and over how many tokens or pairs; None: there is none."""

    def after_step(self, measured: Measured) -> None:
        """Told of each step what TRL has measured, before the step is recorded."""

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of ours."""
        self._trained.load(checkpoint)
        self.duties.resume(checkpoint, restore_random=False)
        self._resumed_from = checkpoint

    def run(self) -> History:
        """Train until the steps are done, early stopping or a stop command."""
        if self.duties.begin_step():
            self._trainer = self._new_trainer()
            self._trainer.train()
        history = self.duties.finish()
        self.go_back_to_best(self._checkpoint_dir, self.duties.state.best_step, history)
        return history

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training."""
        return self._trainer.accelerator.scaler if self._trainer else None

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(step, self.total_steps, self._tuning)

    def _new_trainer(self) -> "PlannedTrainer":
        first = self.duties.state.step
        options = {
            "plan": Plan(self._batches, first, self.total_steps),
            "guard": Guard(self._tuning),
            "rate": lambda: self.rate(self.duties.state.step),
            "pad": pad_id(self._tokenizer),
            "model": self._trained.net,
            "train_dataset": Dataset.from_dict({"number": list(range(self._num_examples))}),
            "processing_class": self._names_of_special_tokens(),
            # The rate is set at each step: TRL passes over a schedule's step where it skips one.
            "optimizers": (self._optimizer, LambdaLR(self._optimizer, lambda step: 1.0)),
        }
        trainer = self.make_trainer(self._arguments(self.total_steps - first), options)
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(_Steps(trainer, self, self._resumed_from))
        if (scaler := trainer.accelerator.scaler) and self.duties.state.scaler:
            scaler.load_state_dict(self.duties.state.scaler)
        return trainer

    def _names_of_special_tokens(self) -> PreTrainedTokenizerFast:
        """The tokenizer as TRL wants one, though nothing is left to encode."""
        folder = self._scratch / "tokenizer"
        self._tokenizer.save(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder)

    def _arguments(self, steps: int) -> dict[str, Any]:
        settings, precision = self._tuning, self._placement.precision
        return {
            "output_dir": str(self._scratch),
            "max_steps": steps,
            "per_device_train_batch_size": settings.micro_batch,
            "gradient_accumulation_steps": settings.batch_size // settings.micro_batch,
            "learning_rate": settings.lr,
            "max_grad_norm": 0.0,  # the guard clips
            "seed": settings.seed,
            "bf16": precision == "bf16",
            "fp16": precision == "fp16",
            "use_cpu": self._placement.device.type == "cpu",
            "gradient_checkpointing": settings.gradient_checkpointing,
            "remove_unused_columns": False,
            "max_length": None,
            "dataloader_pin_memory": False,
            "save_strategy": "no",
            "eval_strategy": "no",
            "logging_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
        }


class Plan(Sampler[int]):
    """The examples of the steps to come, one after the other."""

    def __init__(self, batches: ChatBatches, first: int, total: int) -> None:
        self._batches = batches
        self._steps = range(first, total)

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            yield from self._batches.step(step)

    def __len__(self) -> int:
        return len(self._steps) * len(self._batches.step(0))


class PlannedTrainer(Trainer):
    """Sees the examples that are planned, and takes steps through the guard.

    It goes before one of TRL's trainers among the bases of a class.

    Args:
        plan: Which examples, in order.
        guard: Before each step.
        rate: The learning rate of the step to come.
        pad: Id of the tokens that do not count.
        **options: TRL's.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        guard: Guard,
        rate: Callable[[], float],
        pad: int,
        **options: Any,
    ) -> None:
        self._plan = plan
        self._rate = rate
        self._pad = pad
        self._guard = guard
        self._loss = torch.zeros(())
        self._tokens = 0
        self._result: StepResult | None = None
        super().__init__(**options)
        self.optimizer.register_step_pre_hook(self._before_step)

    def _get_train_sampler(self, *_: Any, **__: Any) -> Sampler[int]:
        return self._plan

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *args: Any) -> Tensor:
        """As TRL's, with the loss and the tokens of the step added up."""
        self._tokens += int((inputs["input_ids"] != self._pad).sum())
        loss: Tensor = super().training_step(model, inputs, *args)
        self._loss = self._loss.to(loss.device) + loss.detach()
        return loss

    def log(self, *_: Any, **__: Any) -> None:
        """Nothing: the record has it."""

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        set_rate(optimizer, self._rate())
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._result = self._guard.admit(parameters, self._loss, tolerant=False)

    def take_result(self) -> tuple[StepResult, int, Measured]:
        """What became of the step that was just taken, its tokens and what TRL measured of it.

        It then is forgotten.
        """
        result = self._result
        if result is None:  # the scaler of fp16 passed over a step whose gradients overflowed
            result = StepResult(float(self._loss), float("nan"), False)
            if not math.isfinite(result.loss):
                self._guard.count_bad(result)
        tokens, measured = self._tokens, dict(self._metrics["train"])
        self._loss, self._tokens, self._result = torch.zeros(()), 0, None
        self._metrics["train"].clear()  # TRL does so when it logs
        return result, tokens, measured


class _Steps(TrainerCallback):
    """Has the duties done between the steps."""

    def __init__(
        self, trainer: PlannedTrainer, training: TRLTraining, resumed_from: Path | None
    ) -> None:
        self._trainer = trainer
        self._training = training
        self._resumed_from = resumed_from
        self._started = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The random states come back as late as this: making the data loader draws from them."""
        if self._resumed_from is not None:
            self._training.duties.restore_random(self._resumed_from)
            self._resumed_from = None
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the step; stop where that is due."""
        duties = self._training.duties
        result, tokens, measured = self._trainer.take_result()
        done = StepDone(
            loss=result.loss,
            grad_norm=result.grad_norm,
            applied=result.applied,
            lr=self._training.rate(duties.state.step),
            tokens=tokens,
            seconds=time.perf_counter() - self._started,
        )
        self._training.after_step(measured)
        if not (duties.end_step(done) and duties.begin_step()):
            control.should_training_stop = True
