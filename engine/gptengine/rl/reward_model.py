"""Training of a reward model: TRL's RewardTrainer computes, see `gptengine.finetune.trl_steps`.

The reward of a sequence is one number; of a pair the chosen side is to get the higher one, as
Bradley and Terry (1952) have it: the probability that it is preferred is the sigmoid of the margin
between the two rewards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from trl import RewardConfig, RewardTrainer

from gptcore import events
from gptcore.control import Command
from gptcore.conversation import PAD
from gptcore.rl_settings import RewardModelSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.finetune.data import ChatBatches, evenly_chosen
from gptengine.finetune.trl_steps import Measured, PlannedTrainer, TRLTraining
from gptengine.rl.learned_reward import rewards_of
from gptengine.rl.preferences import Pairs, accuracy_of, fared
from gptengine.train.device import Placement
from gptengine.train.duties import Recorder

#: Bins of the calibration error, of one width from a probability of a half to one.
BINS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the margins tell how sure a reward model may be.

    Args:
        error: Expected calibration error: by how much the probability that the model gives to the
            side it prefers differs from how often it is right, a mean over bins by their pairs.
        brier: Mean squared difference between the probability of the chosen side and 1.
    """

    error: float
    brier: float


def calibration(margins: Tensor) -> Calibration:
    """The calibration of a reward model on pairs.

    Args:
        margins: (pairs,), reward of the chosen side less that of the rejected one.
    """
    margins = margins.double()
    sure = margins.abs().sigmoid()  # of the preferred side, from a half to one
    right = (margins > 0).double()
    bins = ((sure - 0.5) * 2 * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=margins.device)
    gaps.index_add_(0, bins, sure - right)
    brier = (1 - margins.sigmoid()).square().mean()
    return Calibration(float(gaps.abs().sum() / len(margins)), float(brier))


class RewardTraining(TRLTraining):
    """One training of a reward model, from a state to its end.

    Args:
        trained: The model with a head that judges, adapters inside.
        tokenizer: Saved with checkpoints.
        settings: Of the training.
        placement: Device and precision.
        train: To learn from.
        val: Held out; may be empty.
        longest: Tokens of a sequence.
        recorder: Told of every step, evaluation and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
        scratch: A folder that TRL may write to.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: RewardModelSettings,
        placement: Placement,
        *,
        train: Pairs,
        val: Pairs,
        longest: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
        scratch: Path,
    ) -> None:
        super().__init__(
            trained,
            tokenizer,
            settings,
            placement,
            batches=ChatBatches(train.lengths, settings.batch_size, settings.seed),
            num_examples=len(train),
            longest=longest,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
            scratch=scratch,
        )
        self._settings = settings
        self._train = train
        self._val = val
        # The model judges at the last token that is another than this.
        trained.model.config.pad_token_id = pad_id(tokenizer)

    def make_trainer(self, arguments: dict[str, Any], options: dict[str, Any]) -> PlannedTrainer:
        """RewardTrainer."""
        options["processing_class"].pad_token = PAD  # it sets the model's by this one
        config = RewardConfig(
            **arguments,
            disable_dropout=False,  # the settings say how much there is
            center_rewards_coefficient=self._settings.centering or None,
        )
        return _Trainer(args=config, data_collator=self._collate, **options)

    def after_step(self, measured: Measured) -> None:
        """Record how the pairs of the step fared."""
        told = events.Reward(
            accuracy=fmean(measured["accuracy"]),
            margin=fmean(measured["margin"]),
            prompts=self._settings.batch_size,
        )
        self._recorder.write(told, step=self.duties.state.step + 1)

    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss on held-out pairs, evenly chosen, and their number; how they fare is told."""
        if not len(self._val):
            return None
        loss, margins = self._measure()
        self._recorder.write(fared(margins, held_out=True), step=self.duties.state.step)
        return loss, len(margins)

    def sample(self, step: int) -> None:
        """Nothing: it judges, it does not write."""

    def scores(self) -> dict[str, float | None]:
        """Accuracy, margin and calibration on held-out pairs."""
        if not len(self._val):
            return {}
        margins = self._measure()[1]
        calibrated = calibration(margins)
        return {
            "held_out_accuracy": accuracy_of(margins),
            "held_out_margin": float(margins.mean()),
            "calibration_error": calibrated.error,
            "brier": calibrated.brier,
        }

    def _measure(self) -> tuple[float, Tensor]:
        """Held-out loss, as in training, and the margins (pairs,)."""
        settings, pad = self._settings, pad_id(self._tokenizer)
        parts = []
        with self._evaluating():
            for numbers in evenly_chosen(
                len(self._val), settings.eval_batches, settings.micro_batch
            ):
                batch = self._val.collate(numbers, pad)
                del batch["labels"]
                moved = {name: value.to(self._placement.device) for name, value in batch.items()}
                parts.append(rewards_of(self._trained.net, moved).view(2, -1))
        chosen, rejected = torch.cat(parts, 1)
        losses = -F.logsigmoid(chosen - rejected)
        losses = losses + settings.centering * (chosen + rejected).square()
        return float(losses.mean()), chosen - rejected

    def _collate(self, rows: list[dict[str, int]]) -> dict[str, Tensor]:
        batch = self._train.collate([row["number"] for row in rows], pad_id(self._tokenizer))
        del batch["labels"]
        return batch


class _Trainer(PlannedTrainer, RewardTrainer):
    """RewardTrainer as it is planned and guarded."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # numbers of pairs, which are encoded already
