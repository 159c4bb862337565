"""Supervised fine-tuning: TRL's SFTTrainer, under our guard, record, commands and checkpoints.

TRL computes; what is trained on when, at which rate, and what becomes of it, is said here as it is
in pretraining. Its own checkpoints, logs and resumption are switched off: a training goes on from
ours, by starting anew at a later step.

Import it after `gptengine.finetune.backends` has chosen: Unsloth must come before TRL.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerFast, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import SFTConfig, SFTTrainer

from gptcore.control import Command
from gptcore.settings import FinetuneSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.finetune.data import ChatBatches, Examples, collate, collate_packed, pack
from gptengine.finetune.tuned import Tuned
from gptengine.train.device import Placement
from gptengine.train.duties import Duties, History, Recorder, StepDone
from gptengine.train.optimizer import Guard, StepResult, learning_rate, set_rate


class Finetuning(Tuned):
    """One fine-tuning, from a state to its end.

    Args:
        trained: The model, adapters inside.
        tokenizer: For samples, and saved with checkpoints.
        settings: Of the training.
        placement: Device and precision.
        train: To learn from.
        val: Held out; may be empty.
        longest: Tokens of a sequence, for packing and samples.
        recorder: Told of every step, evaluation, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
        scratch: A folder that TRL may write to.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: FinetuneSettings,
        placement: Placement,
        *,
        train: Examples,
        val: Examples,
        longest: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
        scratch: Path,
    ) -> None:
        super().__init__(trained, tokenizer, settings, placement, longest=longest)
        self._settings = settings
        self._train = train
        self._val = val
        self._scratch = scratch
        lengths = train.lengths
        self._packs = pack(lengths.tolist(), longest) if settings.packing else []
        if settings.packing:
            lengths = np.array([lengths[group].sum() for group in self._packs])
        self._batches = ChatBatches(lengths, settings.batch_size, settings.seed)
        self.total_steps = settings.max_steps or settings.epochs * self._batches.steps_per_epoch
        self._checkpoint_dir = checkpoint_dir
        self._resumed_from: Path | None = None
        self._trainer: _Trainer | None = None
        self.duties = Duties(
            self,
            settings,
            placement,
            total_steps=self.total_steps,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )

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

    def _new_trainer(self) -> "_Trainer":
        settings, first = self._settings, self.duties.state.step
        count = len(self._packs) if settings.packing else len(self._train)
        trainer = _Trainer(
            plan=_Plan(self._batches, first, self.total_steps),
            guard=Guard(settings),
            rate=lambda: self._rate(self.duties.state.step),
            pad=pad_id(self._tokenizer),
            model=self._trained.net,
            args=self._arguments(self.total_steps - first),
            train_dataset=Dataset.from_dict({"number": list(range(count))}),
            data_collator=self._collate,
            processing_class=self._names_of_special_tokens(),
            # The rate is set at each step: TRL passes over a schedule's step where it skips one.
            optimizers=(self._optimizer, LambdaLR(self._optimizer, lambda step: 1.0)),
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(_Steps(trainer, self.duties, self._rate, self._resumed_from))
        if (scaler := trainer.accelerator.scaler) and self.duties.state.scaler:
            scaler.load_state_dict(self.duties.state.scaler)
        return trainer

    def _names_of_special_tokens(self) -> PreTrainedTokenizerFast:
        """The tokenizer as SFTTrainer wants one, though nothing is left to encode."""
        folder = self._scratch / "tokenizer"
        self._tokenizer.save(folder)
        return PreTrainedTokenizerFast.from_pretrained(folder)

    def _arguments(self, steps: int) -> SFTConfig:
        settings, precision = self._settings, self._placement.precision
        return SFTConfig(
            output_dir=str(self._scratch),
            max_steps=steps,
            per_device_train_batch_size=settings.micro_batch,
            gradient_accumulation_steps=settings.batch_size // settings.micro_batch,
            learning_rate=settings.lr,
            max_grad_norm=0.0,  # the guard clips
            seed=settings.seed,
            bf16=precision == "bf16",
            fp16=precision == "fp16",
            use_cpu=self._placement.device.type == "cpu",
            gradient_checkpointing=settings.gradient_checkpointing,
            loss_type="chunked_nll",  # logits of what carries loss alone, a few rows at a time
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            max_length=None,
            dataloader_pin_memory=False,
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )

    def _rate(self, step: int) -> float:
        return learning_rate(step, self.total_steps, self._settings)

    def _collate(self, rows: list[dict[str, int]]) -> dict[str, Tensor]:
        return self._batch(self._train, [row["number"] for row in rows], self._packs)

    def _batch(
        self, examples: Examples, numbers: list[int], packs: list[list[int]]
    ) -> dict[str, Tensor]:
        pad = pad_id(self._tokenizer)
        if packs:
            return collate_packed(examples, [packs[number] for number in numbers], pad)
        return collate(examples, numbers, pad)

    # What is trained, for the duties between steps

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training."""
        return self._trainer.accelerator.scaler if self._trainer else None

    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss of the assistant's words in held-out conversations, evenly chosen."""
        settings = self._settings
        count = min(len(self._val), settings.eval_batches * settings.micro_batch)
        total, tokens = 0.0, 0
        with self._evaluating():
            for at in range(0, count, settings.micro_batch):
                # Evenly from all of them, so that no file is judged by alone.
                places = range(at, min(at + settings.micro_batch, count))
                numbers = [place * len(self._val) // count for place in places]
                batch = self._batch(self._val, numbers, [])
                moved = {name: value.to(self._placement.device) for name, value in batch.items()}
                learned = int((batch["labels"][:, 1:] != -100).sum())
                total += float(self._trained.net(**moved).loss) * learned
                tokens += learned
        return (total / tokens, tokens) if tokens else None


class _Plan(Sampler[int]):
    """The examples of the steps to come, one after the other."""

    def __init__(self, batches: ChatBatches, first: int, total: int) -> None:
        self._batches = batches
        self._steps = range(first, total)

    def __iter__(self) -> Iterator[int]:
        for step in self._steps:
            yield from self._batches.step(step)

    def __len__(self) -> int:
        return len(self._steps) * len(self._batches.step(0))


class _Trainer(SFTTrainer):
    """SFTTrainer that sees the examples that are planned, and takes steps through the guard.

    Args:
        plan: Which examples, in order.
        guard: Before each step.
        rate: The learning rate of the step to come.
        pad: Id of the tokens that do not count.
        **options: SFTTrainer's.
    """

    def __init__(
        self,
        *,
        plan: _Plan,
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

    def take_result(self) -> tuple[StepResult, int]:
        """What became of the step that was just taken, and its tokens; then forget it."""
        result = self._result
        if result is None:  # the scaler of fp16 passed over a step whose gradients overflowed
            result = StepResult(float(self._loss), float("nan"), False)
            if not math.isfinite(result.loss):
                self._guard.count_bad(result)
        tokens = self._tokens
        self._loss, self._tokens, self._result = torch.zeros(()), 0, None
        return result, tokens


class _Steps(TrainerCallback):
    """Has the duties done between the steps."""

    def __init__(
        self,
        trainer: _Trainer,
        duties: Duties,
        rate: Callable[[int], float],
        resumed_from: Path | None,
    ) -> None:
        self._trainer = trainer
        self._duties = duties
        self._rate = rate
        self._resumed_from = resumed_from
        self._started = time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The random states come back as late as this: making the data loader draws from them."""
        if self._resumed_from is not None:
            self._duties.restore_random(self._resumed_from)
            self._resumed_from = None
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Record the step; stop where that is due."""
        result, tokens = self._trainer.take_result()
        done = StepDone(
            loss=result.loss,
            grad_norm=result.grad_norm,
            applied=result.applied,
            lr=self._rate(self._duties.state.step),
            tokens=tokens,
            seconds=time.perf_counter() - self._started,
        )
        if not (self._duties.end_step(done) and self._duties.begin_step()):
            control.should_training_stop = True
