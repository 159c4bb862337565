"""Log-probabilities of what was written, with prompts shared and without."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gptengine.causal_lm import load_causal_lm
from gptengine.rl.likelihood import WrittenBatch, likelihood, shared_batch, shared_likelihood
from tests.engine.tiny_models import KINDS

PROMPTS = [[20, 21, 22], [20, 21, 22], [30, 31, 32, 33, 34], [20, 21, 22]]
AFTER = [[40, 41], [50], [60, 61, 62, 63], [70, 71, 72]]
WRITTEN = [[True, True], [True], [True, False, False, True], [True, True, True]]


def whole_batch() -> WrittenBatch:
    rows = [prompt + after for prompt, after in zip(PROMPTS, AFTER, strict=True)]
    shape = (len(rows), max(map(len, rows)))
    ids, mask = torch.ones(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    written = torch.zeros(shape, dtype=torch.bool)
    for at, row in enumerate(rows):
        ids[at, : len(row)], mask[at, : len(row)] = torch.tensor(row), 1
        written[at, len(PROMPTS[at]) : len(row)] = torch.tensor(WRITTEN[at])
    return WrittenBatch(ids, mask, written)


def in_order(values: Tensor, written: Tensor) -> Tensor:
    assert not values[~written].any()
    return values[written]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_that_of_the_softmax_and_the_same_with_shared_prompts(
    folders: dict[str, Path], kind: str
) -> None:
    model = load_causal_lm(folders[kind]).eval()
    whole = whole_batch()
    shared = shared_batch(PROMPTS, AFTER, WRITTEN, 1, torch.device("cpu"))
    for temperature in (1.0, 0.5):
        found, entropy = likelihood(model, whole, temperature)
        again, entropy_again = shared_likelihood(model, shared, temperature)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([PROMPTS[2] + AFTER[2]])).logits[0] / temperature
        probs = torch.log_softmax(logits, -1)
        assert float(found[2, 5].detach()) == pytest.approx(float(probs[4, 60]), abs=1e-5)
        assert float(found[2, 8].detach()) == pytest.approx(float(probs[7, 63]), abs=1e-5)
        spread = float(-(probs[4].exp() * probs[4]).sum())
        assert float(entropy[2, 5]) == pytest.approx(spread, abs=1e-4)
        for one, other in ((found, again), (entropy, entropy_again)):
            torch.testing.assert_close(
                in_order(one, whole.written),
                in_order(other, shared.written),
                atol=1e-5,
                rtol=1e-4,
            )
    gradients = []
    for values in (found, again):
        model.zero_grad()
        (values * values.detach().cos()).sum().backward(retain_graph=True)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
