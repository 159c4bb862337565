"""Reward-guided policy optimisation: groups of answers, judged against one another.

Maximises E[r] - beta * KL(pi || pi_ref) for the rewards r that are configured. To each prompt K
answers are drawn, tools run for real. The shaped reward of an answer is r - beta * log(pi_old /
pi_ref); its advantage is that minus the mean of the other K - 1 (leave-one-out: Kool et al. 2019,
Ahmadian et al. 2024). The loss is the clipped probability ratio (Schulman et al. 2017), a token
each, over all tokens that the model wrote. Guidance adds gamma times the negative log-likelihood of
a group's best answer, where that beats the group's mean by more than delta; gamma decays to 0, and
with it at 0 the fixed point is pi_ref * exp(r / beta) / Z.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from gptcore import events
from gptcore.control import Command
from gptcore.rl_settings import RgpoSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.rl.bounds import check_bounds
from gptengine.rl.judge import Judge, summary
from gptengine.rl.likelihood import SharedBatch, shared_batch, shared_likelihood
from gptengine.rl.policy import Policy
from gptengine.rl.prompts import PromptData, Prompts
from gptengine.rl.reference import Reference, switch_dropout_off
from gptengine.rl.rewards import Scored
from gptengine.rl.rollouts import Roller, Rollout, derived_seed
from gptengine.rl.training import OwnTraining
from gptengine.train.device import Placement
from gptengine.train.duties import History, Recorder
from gptengine.train.optimizer import StepResult


@dataclass(frozen=True, slots=True)
class Part:
    """A micro-batch of a round.

    Attributes:
        batch: The sequences.
        old: Log-probability of each written token as it was drawn, (batch, time).
        advantage: Of each sequence, (batch,).
        guided: Whether a sequence is its group's best, and by enough; (batch,).
    """

    batch: SharedBatch
    old: Tensor
    advantage: Tensor
    guided: Tensor


@dataclass(slots=True)
class Pass:
    """What is seen in one pass over the answers of a step.

    Attributes:
        clipped: Share of the tokens whose ratio was clipped.
        entropy: Of the draw, nats a token.
    """

    clipped: float = 0.0
    entropy: float = 0.0


class RGPO(OwnTraining):
    """One training by reward-guided policy optimisation.

    Args:
        trained: The model, adapters inside.
        tokenizer: Its own.
        settings: Of the training.
        placement: Device and precision.
        data: Prompts to learn from, and held-out ones.
        judge: Says what answers are worth.
        longest: Tokens that a sequence may have.
        recorder: Told of every step, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: RgpoSettings,
        placement: Placement,
        *,
        data: PromptData,
        judge: Judge,
        longest: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
    ) -> None:
        num_groups = settings.batch_size // settings.group_size
        epoch = max(1, len(data.train) // num_groups)
        super().__init__(
            trained,
            tokenizer,
            settings,
            placement,
            longest=longest,
            total_steps=settings.max_steps or settings.epochs * epoch,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )
        self._settings = settings
        self._num_groups = num_groups
        self._data = data
        self._judge = judge
        switch_dropout_off(trained.net)
        self._reference = Reference(trained, placement)
        self._policy = Policy(trained, tokenizer, placement, context=longest)
        self._shown: events.Sample | None = None
        self._held_out: dict[str, float | None] = {}

    def step(self, number: int) -> tuple[StepResult, int]:
        """Draw answers, judge them, and learn from them in a few passes."""
        settings = self._settings
        rollouts = self._draw(number)
        scored = self._scored(rollouts)
        parts, told = self._weigh(rollouts, scored)
        told.guidance = self._guidance(number)
        passes = [Pass() for _ in range(settings.inner_epochs)]
        for each in passes:
            result = self._update(self._losses(parts, told.guidance, each), number)
        told.entropy = passes[0].entropy
        told.clip_fraction = fmean(each.clipped for each in passes)
        self._recorder.write(told, step=number + 1)
        self._shown = self._as_sample(rollouts[0], scored[0])
        check_bounds(told, settings, lambda: self.duties.save("bounds"))
        return result, sum(len(rollout.ids) for rollout in rollouts)

    def sample(self, step: int) -> events.Sample | None:
        """An answer of the last step, with its reward; before it, one to the sample prompt."""
        return self._shown or super().sample(step)

    def run(self) -> History:
        """Train until the steps are done or a stop command; what it starts from is judged first."""
        if self.duties.state.step == 0:
            self.evaluate()
        return super().run()

    def evaluate(self) -> tuple[float, int] | None:
        """Record what the likeliest answers to held-out prompts are worth; a loss there is not."""
        val, settings = self._data.val, self._settings
        count = min(len(val), settings.eval_batches * settings.micro_batch)
        if not count:
            return None
        chosen = [at * len(val) // count for at in range(count)]  # evenly from all of them
        rollouts = self._roll(val, chosen, [0] * count, temperature=0.0)
        told = summary(self._scored(rollouts))
        told.held_out, told.prompts = True, count
        told.length = sum(sum(rollout.written) for rollout in rollouts) / count
        self._recorder.write(told, step=self.duties.state.step)
        self._held_out = {"held_out_reward": told.mean}
        return None

    def scores(self) -> dict[str, float | None]:
        """What the likeliest answers to held-out prompts were worth at the last look."""
        return self._held_out

    def _guidance(self, number: int) -> float:
        """Gamma at a step."""
        steps = self._settings.guidance_share * self.total_steps
        return self._settings.guidance * max(0.0, 1 - number / steps) if steps else 0.0

    # Drawing and judging

    def _draw(self, number: int) -> list[Rollout]:
        """The answers of a step, those to one prompt side by side."""
        settings, prompts = self._settings, self._data.train
        places = range(number * self._num_groups, (number + 1) * self._num_groups)
        chosen = [prompts.place(place, settings.seed) for place in places]
        rows = [index for index in chosen for _ in range(settings.group_size)]
        seeds = [derived_seed(settings.seed, number, row) for row in range(len(rows))]
        return self._roll(prompts, rows, seeds, temperature=settings.temperature)

    def _roll(
        self, prompts: Prompts, rows: Sequence[int], seeds: Sequence[int], *, temperature: float
    ) -> list[Rollout]:
        roller = Roller(
            self._policy.decoder(),
            self._tokenizer,
            context=self._longest,
            max_tokens=self._settings.max_tokens,
            max_turns=self._settings.max_turns,
            temperature=temperature,
        )
        with self._placement.autocast():
            return roller.roll(
                [prompts.tasks[row] for row in rows], [prompts.ids[row] for row in rows], seeds
            )

    def _scored(self, rollouts: Sequence[Rollout]) -> list[Scored]:
        return self._judge.score(
            [rollout.completion for rollout in rollouts], [rollout.ids for rollout in rollouts]
        )

    def _weigh(
        self, rollouts: Sequence[Rollout], scored: Sequence[Scored]
    ) -> tuple[list[Part], events.Reward]:
        """Advantages, and what they are counted from; with what there is to tell of the step."""
        settings, size = self._settings, self._settings.micro_batch
        cut = [range(at, min(at + size, len(rollouts))) for at in range(0, len(rollouts), size)]
        batches = [self._batch(rollouts[places.start : places.stop]) for places in cut]
        drift = torch.zeros(len(rollouts), device=self._placement.device)
        for places, (batch, old) in zip(cut, batches, strict=True):
            before = self._reference.likelihood(batch, settings.temperature)
            drift[list(places)] = (old - before).sum(1)
        rewards = torch.tensor([each.total for each in scored], device=drift.device)
        advantage = leave_one_out(rewards - settings.kl_coef * drift, settings.group_size)
        guided = best_of_groups(rewards, settings.group_size, settings.guidance_margin)
        parts = [
            Part(batch, old, advantage[list(places)], guided[list(places)])
            for places, (batch, old) in zip(cut, batches, strict=True)
        ]
        told = summary(scored)
        told.kl = float(drift.mean())
        told.length = sum(sum(rollout.written) for rollout in rollouts) / len(rollouts)
        told.prompts = self._num_groups
        return parts, told

    def _batch(self, rollouts: Sequence[Rollout]) -> tuple[SharedBatch, Tensor]:
        """Rollouts, and the log-probabilities that they were drawn with, (batch, time)."""
        device = self._placement.device
        batch = shared_batch(
            [rollout.ids[: rollout.num_prompt] for rollout in rollouts],
            [rollout.ids[rollout.num_prompt :] for rollout in rollouts],
            [rollout.written[rollout.num_prompt :] for rollout in rollouts],
            pad_id(self._tokenizer),
            device,
        )
        old = torch.zeros(batch.ids.shape)
        for row, rollout in enumerate(rollouts):
            drawn = rollout.logprobs[rollout.num_prompt :]
            old[row, : len(drawn)] = torch.tensor(drawn)
        return batch, old.to(device)

    # Learning

    def _losses(self, parts: Sequence[Part], guidance: float, found: Pass) -> Iterator[Tensor]:
        """The losses of the micro-batches, which add up to that of the step.

        Args:
            parts: The micro-batches.
            guidance: Gamma.
            found: What is seen on the way is added up here.
        """
        tokens = sum(int(part.batch.written.sum()) for part in parts)
        guided = sum(int(part.batch.written[part.guided].sum()) for part in parts)
        for part in parts:
            with self._placement.autocast():
                new, entropy = shared_likelihood(
                    self._trained.net, part.batch, self._settings.temperature
                )
            losses, is_clipped = clipped_losses(
                new, part.old, part.advantage[:, None], self._settings.clip
            )
            written = part.batch.written
            loss = losses[written].sum() / tokens
            if guidance and guided:
                loss = loss - guidance * new[part.guided].sum() / guided
            found.clipped += float(is_clipped[written].sum()) / tokens
            found.entropy += float(entropy.sum()) / tokens
            yield loss

    def _as_sample(self, rollout: Rollout, scored: Scored) -> events.Sample:
        length = rollout.written.index(True)
        text = self._tokenizer.decode(rollout.ids[length:])
        parts = ", ".join(f"{name} {value:.2g}" for name, value in scored.parts.items())
        return events.Sample(
            prompt=self._tokenizer.decode(rollout.ids[:length]),
            text=f"{text}\n[reward {scored.total:.2f}: {parts}]",
        )


def leave_one_out(rewards: Tensor, group_size: int) -> Tensor:
    """Each reward minus the mean of the others of its group.

    Args:
        rewards: (groups * group_size,), those of one group side by side.
        group_size: At least 2.

    Returns:
        The same shape.
    """
    groups = rewards.view(-1, group_size)
    others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()


def best_of_groups(rewards: Tensor, group_size: int, margin: float) -> Tensor:
    """Which answers guide: the best of each group, where it beats the group's mean by enough.

    Args:
        rewards: (groups * group_size,), those of one group side by side.
        group_size: At least 2.
        margin: By how much more than this; of several that are best the first guides.

    Returns:
        The same shape, bool.
    """
    groups = rewards.view(-1, group_size)
    best, at = groups.max(1)
    marks = torch.zeros_like(groups, dtype=torch.bool)
    marks[torch.arange(len(groups), device=at.device), at] = best > groups.mean(1) + margin
    return marks.flatten()


def clipped_losses(
    new: Tensor, old: Tensor, advantage: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped objective, a token each (Schulman et al. 2017, equation 7), to be minimised.

    Args:
        new: Log-probabilities as they are, (batch, time).
        old: As they were when the tokens were drawn, likewise.
        advantage: Of each token, or (batch, 1).
        clip: How far the ratio counts from 1.

    Returns:
        The losses, and where clipping took the gradient away; (batch, time).
    """
    ratio = (new - old).exp()
    whole = -advantage * ratio
    bounded = -advantage * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(whole, bounded), (bounded > whole).detach()
