"""Odds ratio preference optimisation (Hong et al. 2024, https://arxiv.org/abs/2403.07691).

A pair's loss is the likelihood of its chosen answer, as in fine-tuning, and beside it how the odds
of the chosen answer compare to those of the rejected one. There is no reference model.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gptcore.control import Command
from gptcore.rl_settings import OrpoSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.finetune.data import IGNORED, ChatBatches, evenly_chosen
from gptengine.rl.likelihood import WrittenBatch, likelihood
from gptengine.rl.preferences import Pairs, accuracy_of, fared
from gptengine.rl.training import OwnTraining
from gptengine.train.device import Placement
from gptengine.train.duties import History, Recorder
from gptengine.train.optimizer import StepResult

#: The log-probability next to 0 whose odds are still told: above, they would be infinite.
_HIGHEST = -1e-6


def log1mexp(x: Tensor) -> Tensor:
    """The logarithm of 1 - exp(x), with no digits lost on either side (Maechler 2012).

    Args:
        x: Below 0, any shape.
    """
    near = x > -math.log(2)
    # What `where` does not take has a gradient too: both are kept away from their poles.
    by_expm1 = torch.log(-torch.expm1(torch.where(near, x, -1.0)))
    by_log1p = torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    return torch.where(near, by_expm1, by_log1p)


def log_odds(log_probs: Tensor) -> Tensor:
    """The logarithm of p / (1 - p) (equation 4).

    Args:
        log_probs: Mean log-probability of an answer's tokens, nats, at most 0; any shape.
    """
    log_probs = log_probs.clamp(max=_HIGHEST)
    return log_probs - log1mexp(log_probs)


def odds_ratio_losses(chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor]:
    """How the odds of the chosen answers compare to those of the rejected ones (equation 7).

    Args:
        chosen: (pairs,), mean log-probability of each chosen answer's tokens, nats.
        rejected: (pairs,), of each rejected answer's.

    Returns:
        The loss of each pair, -log sigmoid of its log odds ratio; and the log odds ratios; both
        (pairs,).
    """
    ratios = log_odds(chosen) - log_odds(rejected)
    return -F.logsigmoid(ratios), ratios


@dataclass(frozen=True, slots=True)
class Compared:
    """What a model makes of some pairs.

    Args:
        nll: Scalar, negative log-likelihood of all tokens that count, nats.
        losses: (pairs,), the odds ratio's.
        margins: (pairs,), the log odds ratios.
    """

    nll: Tensor
    losses: Tensor
    margins: Tensor


class ORPO(OwnTraining):
    """One preference optimisation, from a state to its end.

    The loss of a step is the negative log-likelihood, a mean over the tokens of all its chosen
    answers (with `prompt_loss` also of their prompts), plus `beta` times the mean over its pairs of
    the odds ratio's loss; whatever the micro-batch.

    Args:
        trained: The model, adapters inside.
        tokenizer: Its own.
        settings: Of the training.
        placement: Device and precision.
        train: To learn from.
        val: Held out; may be empty.
        longest: Tokens of a sequence.
        recorder: Told of every step, evaluation, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: OrpoSettings,
        placement: Placement,
        *,
        train: Pairs,
        val: Pairs,
        longest: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
    ) -> None:
        self._batches = ChatBatches(train.lengths, settings.batch_size, settings.seed)
        super().__init__(
            trained,
            tokenizer,
            settings,
            placement,
            longest=longest,
            total_steps=settings.max_steps or settings.epochs * self._batches.steps_per_epoch,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )
        self._settings = settings
        self._train = train
        self._val = val
        self._lengths = train.lengths
        self._before: Tensor | None = None

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of ours."""
        self._look_before()
        super().resume(checkpoint)

    def run(self) -> History:
        """Train until the steps are done, early stopping or a stop command."""
        self._look_before()
        return super().run()

    def step(self, number: int) -> tuple[StepResult, int]:
        """One optimiser step on the pairs of that number."""
        numbers = self._batches.step(number)
        margins: list[Tensor] = []
        result = self._update(self._losses(numbers, margins), number)
        self._recorder.write(fared(torch.cat(margins)), step=number + 1)
        return result, int(self._lengths[numbers].sum())

    def evaluate(self) -> tuple[float, int] | None:
        """Mean loss on held-out pairs, evenly chosen; what is preferred is recorded."""
        if not len(self._val):
            return None
        loss, tokens, margins = self._measure()
        self._recorder.write(fared(margins, held_out=True), step=self.duties.state.step)
        return loss, tokens

    def scores(self) -> dict[str, float | None]:
        """Held-out accuracy and margin, as they were and as they are now."""
        if self._before is None:
            return {}
        after = self._measure()[2]
        return {
            "held_out_accuracy_before": accuracy_of(self._before),
            "held_out_accuracy": accuracy_of(after),
            "held_out_margin_before": float(self._before.mean()),
            "held_out_margin": float(after.mean()),
        }

    def _look_before(self) -> None:
        """Measure the model as it came, which no checkpoint has."""
        if self._before is None and len(self._val):
            self._before = self._measure()[2]

    def _losses(self, numbers: list[int], margins: list[Tensor]) -> Iterator[Tensor]:
        """Scalars that add up to the loss of a step, by micro-batch; the margins are put by."""
        size, beta = self._settings.micro_batch, self._settings.beta
        tokens = self._num_counted(self._train, numbers)
        for at in range(0, len(numbers), size):
            with self._placement.autocast():
                compared = self._compare(self._train, numbers[at : at + size])
            margins.append(compared.margins.detach())
            yield compared.nll / tokens + beta * compared.losses.sum() / len(numbers)

    def _num_counted(self, pairs: Pairs, numbers: list[int]) -> int:
        """Tokens of some pairs whose likelihood counts."""
        sides = [pairs.chosen(number) for number in numbers]
        if self._settings.prompt_loss:
            return sum(len(ids) - 1 for ids, _ in sides)
        return sum(int(learned[1:].sum()) for _, learned in sides)

    def _compare(self, pairs: Pairs, numbers: list[int]) -> Compared:
        """One pass over both sides of some pairs."""
        batch = pairs.collate(numbers, pad_id(self._tokenizer))
        batch = {name: value.to(self._placement.device) for name, value in batch.items()}
        answers = batch["labels"] != IGNORED  # (2 x pairs, time)
        answers[:, 0] = False  # nothing stands before it that could tell it
        counted = answers.clone()
        if self._settings.prompt_loss:
            counted[: len(numbers), 1:] = batch["attention_mask"][: len(numbers), 1:].bool()
        written = WrittenBatch(batch["input_ids"], batch["attention_mask"], counted)
        log_probs, _ = likelihood(self._trained.net, written)  # (2 x pairs, time)
        means = (log_probs * answers).sum(1) / answers.sum(1)
        losses, margins = odds_ratio_losses(*means.chunk(2))
        return Compared(-log_probs[: len(numbers)].sum(), losses, margins)

    def _measure(self) -> tuple[float, int, Tensor]:
        """Held-out loss, the tokens that count in it, and the margins (pairs,)."""
        settings = self._settings
        nll, tokens = 0.0, 0
        losses, margins = [], []
        with self._evaluating():
            for numbers in evenly_chosen(
                len(self._val), settings.eval_batches, settings.micro_batch
            ):
                compared = self._compare(self._val, numbers)
                nll += float(compared.nll)
                tokens += self._num_counted(self._val, numbers)
                losses.append(compared.losses)
                margins.append(compared.margins)
        loss = nll / tokens + settings.beta * float(torch.cat(losses).mean())
        return loss, tokens, torch.cat(margins)
