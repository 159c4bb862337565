"""torch.compile takes the training step whole: a break in the graph would cost a GPU its speed."""

import pytest
import torch

from gptengine import GPT
from gptengine.train.loop import LossModule

SHAPE = {"vocab_size": 300, "context_length": 32, "emb_dim": 32, "n_heads": 2, "n_layers": 1}


@pytest.mark.slow
def test_the_loss_compiles_without_a_graph_break() -> None:
    torch.manual_seed(0)
    model = GPT(SHAPE)
    ids = torch.randint(0, 300, (2, 33))

    def step(module: torch.nn.Module) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = module(ids[:, :-1], ids[:, 1:])
        loss.backward()
        return float(loss.detach()), model.wte.weight.grad.clone()

    plain_loss, plain_grad = step(LossModule(model))
    compiled = LossModule(model)
    compiled.compile(fullgraph=True)
    loss, grad = step(compiled)
    assert loss == pytest.approx(plain_loss, abs=1e-2)
    assert torch.allclose(grad, plain_grad, atol=0.02 * float(plain_grad.abs().max()))
