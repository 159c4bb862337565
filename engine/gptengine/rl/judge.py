"""What answers are worth in a training: the scorer's rewards, and a learned one beside them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Protocol

from gptcore import events
from gptengine.rl.rewards import Scored, Scorer
from gptengine.rl.tasks import Completion

#: What a learned reward is called among the parts.
LEARNED = "reward_model"


class LearnedReward(Protocol):
    """A reward model."""

    def score(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """A number for each sequence of prompt and answer."""


@dataclass
class Judge:
    """Rewards answers.

    Args:
        scorer: Of the rules; None: the reward model alone counts.
        warn: Told of rewards that failed, a line each.
        learned: A reward model, beside them.
        learned_weight: What its number is multiplied with before it is added.
    """

    scorer: Scorer | None
    warn: Callable[[str], None]
    learned: LearnedReward | None = None
    learned_weight: float = 1.0

    def score(
        self, completions: Sequence[Completion], ids: Sequence[Sequence[int]]
    ) -> list[Scored]:
        """Score completions.

        Args:
            completions: As rules see them.
            ids: Prompt and answer of each, as a reward model sees them.
        """
        scored = [Scored(0.0)] * len(completions)
        if self.scorer is not None:
            scored = self.scorer.score(completions)
            for problem in self.scorer.take_problems():
                self.warn(str(problem))
        if self.learned is None:
            return scored
        return [
            replace(
                each,
                total=each.total + self.learned_weight * value,
                parts={**each.parts, LEARNED: value},
            )
            for each, value in zip(scored, self.learned.score(ids), strict=True)
        ]


def summary(scored: Sequence[Scored]) -> events.Reward:
    """Mean and spread of what was scored, for the record; none where a reward is not finite."""
    totals = [each.total for each in scored]
    found: dict[str, list[float]] = {}
    for each in scored:
        for name, value in each.parts.items():
            found.setdefault(name, []).append(value)
    parts = {name: mean for name in found if math.isfinite(mean := fmean(found[name]))}
    if not all(map(math.isfinite, totals)):
        return events.Reward(parts=parts)
    return events.Reward(mean=fmean(totals), std=pstdev(totals), parts=parts)
