"""What a stage has changed: paired differences, and how far chance moves them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gptcore.evaluation import Details, Evaluation, Share
from gptengine.evaluate.comparison import change_of_share, changes_of_loss, scores_of


def places(right: Sequence[bool] | np.ndarray[Any, Any]) -> str:
    return "".join("01"[int(each)] for each in right)


def correlated(
    generator: np.random.Generator, count: int, *, before: float, after: float
) -> tuple[str, str]:
    """Verdicts of two models that stumble at the same prompts: one hardness decides for both."""
    hardness = generator.random(count)
    return places(hardness < before), places(hardness < after)


# --- shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.62), (0.85, 0.9), (0.4, 0.4)])
@pytest.mark.parametrize("is_correlated", [True, False])
def test_the_interval_of_a_share_covers_the_truth_19_times_of_20(
    before: float, after: float, is_correlated: bool
) -> None:
    generator = np.random.default_rng(7)
    repetitions, covered = 250, 0
    for repetition in range(repetitions):
        hardness = generator.random((2, 300))
        if is_correlated:  # a part of it is the prompt's own, a part chance
            hardness[1] = np.where(generator.random(300) < 0.7, hardness[0], hardness[1])
        change = change_of_share(
            places(hardness[0] < before), places(hardness[1] < after), seed=repetition
        )
        assert change is not None
        covered += change.low <= after - before <= change.high
    assert 0.92 <= covered / repetitions <= 0.98


def test_two_that_did_the_same_have_not_changed() -> None:
    verdicts = "1101-0" * 50
    change = change_of_share(verdicts, verdicts)
    assert change is not None
    assert (change.value, change.low, change.high, change.is_clear) == (0.0, 0.0, 0.0, False)


def test_pairs_tell_more_than_two_heaps() -> None:
    generator = np.random.default_rng(3)
    before, after = correlated(generator, 400, before=0.5, after=0.58)
    paired = change_of_share(before, after)
    shuffled = "".join(generator.permutation(list(after)))
    heaps = change_of_share(before, shuffled)
    assert paired is not None
    assert heaps is not None
    assert paired.value == pytest.approx(heaps.value)
    assert paired.high - paired.low < 0.6 * (heaps.high - heaps.low)
    assert paired.is_clear
    assert paired.low > 0


def test_the_interval_is_that_of_drawing_prompts_by_their_numbers() -> None:
    before, after = "110-0100-1" * 12, "11101-011-" * 12
    change = change_of_share(before, after)
    assert change is not None
    values = np.array([[{"1": 1.0, "0": 0.0, "-": np.nan}[c] for c in s] for s in (before, after)])
    shares = np.nanmean(values, axis=1)
    assert change.value == pytest.approx(shares[1] - shares[0])
    drawn = np.random.default_rng(1).integers(120, size=(20_000, 120))
    differences = np.nanmean(values[1][drawn], axis=1) - np.nanmean(values[0][drawn], axis=1)
    low, high = np.percentile(differences, [2.5, 97.5])
    assert change.low == pytest.approx(low, abs=0.006)
    assert change.high == pytest.approx(high, abs=0.006)


def test_nothing_counted_is_no_change() -> None:
    assert change_of_share("---", "101") is None
    assert change_of_share("101", "---") is None
    assert change_of_share("", "") is None
    lone = change_of_share("1" + "-" * 9, "0" + "-" * 9)  # most resamples count nothing
    assert lone is not None
    assert (lone.value, lone.low, lone.high) == (-1.0, -1.0, -1.0)


# --- loss ----------------------------------------------------------------------------------------


def test_the_interval_of_the_loss_covers_the_truth_19_times_of_20() -> None:
    generator = np.random.default_rng(11)
    repetitions, covered = 150, 0
    for repetition in range(repetitions):
        tokens = generator.integers(5, 60, size=80).astype(float)
        hard = generator.gamma(4.0, 0.5, size=80)  # nats a token, alike for both models
        before = tokens * (hard + generator.normal(0.5, 0.2, size=80))
        after = tokens * (hard + generator.normal(0.2, 0.2, size=80))
        change = changes_of_loss(before, after, tokens, seed=repetition)["loss"]
        covered += change.low <= -0.3 <= change.high
    assert 0.9 <= covered / repetitions <= 0.99
    order = generator.permutation(80)
    pairs = changes_of_loss(before / tokens, after / tokens, np.ones(80))["loss"]
    heaps = changes_of_loss(before / tokens, (after / tokens)[order], np.ones(80))["loss"]
    assert pairs.high - pairs.low < 0.5 * (heaps.high - heaps.low)


def test_the_loss_counts_by_tokens_and_perplexity_follows() -> None:
    before, after = np.array([2.0, 30.0]), np.array([1.0, 30.0])
    changes = changes_of_loss(before, after, np.array([1.0, 9.0]))
    assert changes["loss"].value == pytest.approx(-0.1)
    assert changes["perplexity"].value == pytest.approx(np.exp(3.1) - np.exp(3.2))
    assert changes["loss"].low == pytest.approx(-1.0)  # the first alone
    assert changes["loss"].high == 0.0  # the second alone
    assert changes_of_loss(before, after, np.zeros(2)) == {}


# --- two evaluations -----------------------------------------------------------------------------


def evaluated(verdicts: str, nats: str, *, held_out: str = "a", tokens: str = "4 4") -> Evaluation:
    return Evaluation(
        model="models/m",
        fingerprint="",
        made=0.0,
        data=[],
        loss=1.0,
        perplexity=2.7,
        bits_per_byte=0.5,
        tokens=8,
        conversations=2,
        tools={"exact": Share(verdicts.count("1"), len(verdicts))},
        details=Details(held_out, {"exact": verdicts}, nats, tokens),
    )


def test_a_stage_stands_beside_the_one_before() -> None:
    before = evaluated("0" * 40, "8 8")
    scores = scores_of("orpo", evaluated("1" * 30 + "0" * 10, "4 4"), before)
    assert (scores.stage, scores.model) == ("orpo", "models/m")
    assert scores.changes.keys() == {"exact", "loss", "perplexity"}
    assert scores.changes["exact"].value == 0.75
    assert scores.changes["exact"].is_clear
    assert scores.changes["loss"].value == -1.0
    assert scores.value("exact") == 0.75
    assert scores.value("loss") == 1.0
    assert scores.value("json") is None
    assert scores_of("pretrain", before, None).changes == {}


def test_what_was_not_judged_by_the_same_is_not_compared() -> None:
    before = evaluated("0000", "8 8")
    assert scores_of("ppo", evaluated("1111", "4 4", held_out="b"), before).changes == {}
    assert scores_of("ppo", evaluated("1111", "4 4", tokens="3 4"), before).changes.keys() == {
        "exact"
    }
