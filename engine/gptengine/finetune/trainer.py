"""Supervised fine-tuning: TRL's SFTTrainer computes, see `gptengine.finetune.trl_steps`.

Import it after `gptengine.finetune.backends` has chosen: Unsloth must come before TRL.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from trl import SFTConfig, SFTTrainer

from gptcore.control import Command
from gptcore.settings import FinetuneSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.finetune.data import (
    ChatBatches,
    Examples,
    collate,
    collate_packed,
    evenly_chosen,
    pack,
)
from gptengine.finetune.trl_steps import PlannedTrainer, TRLTraining
from gptengine.train.device import Placement
from gptengine.train.duties import Recorder


class Finetuning(TRLTraining):
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
        lengths = train.lengths
        packs = pack(lengths.tolist(), longest) if settings.packing else []
        if settings.packing:
            lengths = np.array([lengths[group].sum() for group in packs])
        super().__init__(
            trained,
            tokenizer,
            settings,
            placement,
            batches=ChatBatches(lengths, settings.batch_size, settings.seed),
            num_examples=len(lengths),
            longest=longest,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
            scratch=scratch,
        )
        self._train = train
        self._val = val
        self._packs = packs

    def make_trainer(self, arguments: dict[str, Any], options: dict[str, Any]) -> PlannedTrainer:
        """SFTTrainer."""
        config = SFTConfig(
            **arguments,
            loss_type="chunked_nll",  # logits of what carries loss alone, a few rows at a time
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        return _Trainer(args=config, data_collator=self._collate, **options)

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

    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss of the assistant's words in held-out conversations, evenly chosen."""
        settings = self._tuning
        total, tokens = 0.0, 0
        with self._evaluating():
            for numbers in evenly_chosen(
                len(self._val), settings.eval_batches, settings.micro_batch
            ):
                batch = self._batch(self._val, numbers, [])
                moved = {name: value.to(self._placement.device) for name, value in batch.items()}
                learned = int((batch["labels"][:, 1:] != -100).sum())
                total += float(self._trained.net(**moved).loss) * learned
                tokens += learned
        return (total / tokens, tokens) if tokens else None


class _Trainer(PlannedTrainer, SFTTrainer):
    """SFTTrainer as it is planned and guarded."""
