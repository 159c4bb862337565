"""What a stage has changed: two evaluations by the same prompts, held against each other in pairs.

Intervals are percentile intervals of the paired bootstrap (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993, chapters 13 and 16): prompts are drawn with replacement, each with what
both models made of it, so that how hard a prompt is weighs on neither side. They say how far
other prompts of the kind would move the difference; not how far another seed of the training
would. Of a handful of prompts they are too narrow.
"""

import numpy as np
import numpy.typing as npt

from gptcore.evaluation import TOOL_SCORES, Change, Details, Evaluation, StageScores

#: How often the prompts are drawn anew.
RESAMPLES = 10_000
#: Of the intervals.
LEVEL = 0.95
#: Draws at once; bounds the memory.
CHUNK = 1 << 22

#: Beyond it the exponential is no number.
_HIGHEST_LOSS = 700.0

_Floats = npt.NDArray[np.float64]


def scores_of(stage: str, evaluation: Evaluation, before: Evaluation | None) -> StageScores:
    """The scores of one stage beside those of the one before.

    Args:
        stage: That made the judged model.
        evaluation: Of it.
        before: Of the model that the stage started from; None: there is none.
    """
    old, new = before.details if before else None, evaluation.details
    changes: dict[str, Change] = {}
    if old is not None and new is not None and old.held_out == new.held_out:
        changes = _changes(old, new)
    return StageScores(
        stage=stage,
        model=evaluation.model,
        loss=evaluation.loss,
        perplexity=evaluation.perplexity,
        bits_per_byte=evaluation.bits_per_byte,
        tools=evaluation.tools,
        changes=changes,
    )


def _changes(before: Details, after: Details) -> dict[str, Change]:
    found: dict[str, Change] = {}
    for name in TOOL_SCORES:
        if name in before.verdicts and name in after.verdicts:
            change = change_of_share(before.verdicts[name], after.verdicts[name])
            if change is not None:
                found[name] = change
    if before.tokens == after.tokens:  # else the tokenizers differ, and so does what a nat is of
        tokens = np.array(after.tokens.split(), np.float64)
        old, new = (np.array(each.nats.split(), np.float64) for each in (before, after))
        found |= changes_of_loss(old, new, tokens)
    return found


def change_of_share(before: str, after: str, seed: int = 0) -> Change | None:
    """The difference of two shares of right prompts.

    Args:
        before: A character a prompt, see `gptcore.evaluation.Details`.
        after: The same prompts, of the later model.
        seed: Of the draws.

    Returns:
        None where one of them counts no prompt.
    """
    # Which pair of verdicts a drawn prompt has is all that counts of it: 9 kinds, whose numbers
    # in a resample are multinomial.
    kinds = [first + second for first in "10-" for second in "10-"]
    pairs = [first + second for first, second in zip(before, after, strict=True)]
    numbers = np.array([pairs.count(kind) for kind in kinds])
    if not _counted(numbers, kinds, 0).any() or not _counted(numbers, kinds, 1).any():
        return None
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(len(pairs), numbers / len(pairs), size=RESAMPLES)
    return _change(_share_difference(numbers, kinds), _share_difference(drawn, kinds))


def _counted(numbers: npt.NDArray[np.int64], kinds: list[str], side: int) -> npt.NDArray[np.int64]:
    """How many prompts count on one side, of numbers by kind in the last axis."""
    counts: npt.NDArray[np.int64] = numbers @ np.array([kind[side] != "-" for kind in kinds])
    return counts


def _share_difference(numbers: npt.NDArray[np.int64], kinds: list[str]) -> _Floats:
    """Share of the right ones after, less that before; NaN where nothing counts."""
    shares = []
    for side in (0, 1):
        right = numbers @ np.array([kind[side] == "1" for kind in kinds])
        total = _counted(numbers, kinds, side)
        shares.append(np.where(total, right / np.maximum(total, 1), np.nan))
    return np.asarray(shares[1] - shares[0])


def changes_of_loss(
    before: _Floats, after: _Floats, tokens: _Floats, seed: int = 0
) -> dict[str, Change]:
    """The differences of loss and perplexity; none where no token counts.

    Args:
        before: Nats of each conversation.
        after: Of the same ones, by the later model.
        tokens: How many tokens counted in each.
        seed: Of the draws.
    """
    if not tokens.sum():
        return {}
    columns = np.stack([before, after, tokens])  # (3, conversations)
    count = tokens.size
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK // count)
    sums = [
        columns[:, generator.integers(count, size=(size, count), dtype=np.int32)].sum(axis=2)
        for size in (min(rows, RESAMPLES - at) for at in range(0, RESAMPLES, rows))
    ]
    drawn = np.concatenate([columns.sum(axis=1)[:, None], *sums], axis=1)  # (3, 1 + resamples)
    with np.errstate(invalid="ignore"):  # a resample may hold no token
        losses = drawn[:2] / drawn[2]
    perplexities = np.exp(np.minimum(losses, _HIGHEST_LOSS))
    return {
        name: _change(difference[0], difference[1:])
        for name, values in (("loss", losses), ("perplexity", perplexities))
        for difference in [values[1] - values[0]]
    }


def _change(value: _Floats, resampled: _Floats) -> Change:
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail]).tolist()
    return Change(float(value), low, high, low > 0 or high < 0)
