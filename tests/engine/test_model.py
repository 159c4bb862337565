import math

import pytest
import torch
from torch.nn import functional as F

from gptcore.errors import UserError
from gptengine import loss as loss_module
from gptengine.model import GPT, GPT_CONFIG, GPTConfig, KVCache

TINY = {
    "vocab_size": 61,
    "context_length": 24,
    "emb_dim": 32,
    "n_heads": 4,
    "n_layers": 3,
    "drop_rate": 0.0,
    "qkv_bias": False,
}


def _tiny(seed=0, **changes):
    return GPT({**TINY, **changes}, generator=torch.Generator().manual_seed(seed))


def _ids(batch=2, time=20, seed=1):
    return torch.randint(0, 61, (batch, time), generator=torch.Generator().manual_seed(seed))


def test_reference_has_124_million_parameters():
    with torch.device("meta"):
        model = GPT({**GPT_CONFIG, "context_length": 1024, "qkv_bias": True})
    assert model.num_parameters() == 124_439_808
    with torch.device("meta"):
        deeper = GPT({**GPT_CONFIG, "n_layers": 24})
    assert len(deeper.h) == 24


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"emb_dim": 33}, "emb_dim"),
        ({"n_layers": 0}, "n_layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"context_length": True}, "context_length"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"drop_rate": math.nan}, "drop_rate"),
        ({"qkv_bias": 1}, "qkv_bias"),
    ],
)
def test_bad_settings_are_named(change, field):
    with pytest.raises(UserError) as error:
        GPTConfig.from_dict({**TINY, **change})
    assert field in error.value.where
    assert error.value.fix


def test_unknown_setting_offers_the_nearest():
    with pytest.raises(UserError) as error:
        GPTConfig.from_dict({"n_layer": 3})
    assert "n_layers" in error.value.fix


def test_config_round_trip():
    config = GPTConfig.from_dict(TINY)
    assert GPTConfig.from_dict(config.to_dict()) == config
    assert GPTConfig.from_dict({}).to_dict() == GPT_CONFIG


def test_future_tokens_do_not_matter():
    model, ids = _tiny(), _ids()
    changed = ids.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % 61
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


@pytest.mark.parametrize("steps", [[20], [1] * 20, [5, 1, 7, 1, 6]])
def test_cached_logits_equal_the_full_pass(steps):
    model, ids = _tiny(), _ids()
    cache, parts, start = KVCache(model.config), [], 0
    with torch.no_grad():
        full = model(ids)
        for step in steps:
            parts.append(model(ids[:, start : start + step], cache))
            start += step
    torch.testing.assert_close(torch.cat(parts, 1), full, rtol=1e-5, atol=1e-6)
    assert cache.length == 20


def test_last_only_is_the_last():
    model, ids = _tiny(), _ids()
    with torch.no_grad():
        torch.testing.assert_close(model(ids, last_only=True), model(ids)[:, -1:])


def test_no_room_past_the_context():
    model = _tiny()
    with pytest.raises(ValueError, match="room for 24"):
        model(_ids(time=25))
    cache = KVCache(model.config, capacity=8)
    model(_ids(time=8), cache)
    with pytest.raises(ValueError, match="room for 8"):
        model(_ids(time=1), cache)


@pytest.mark.parametrize("onednn", [True, False])
def test_loss_and_gradients_equal_those_through_logits(onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(loss_module, "_onednn_linear", None)
    model, ids = _tiny(qkv_bias=True), _ids()
    targets = ids.roll(-1, 1)
    targets[0, :7] = -100
    loss = model.loss(ids, targets)
    ours = torch.autograd.grad(loss, list(model.parameters()))
    # The reference keeps to torch's own layers.
    monkeypatch.setattr(loss_module, "_onednn_linear", None)
    reference = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
    theirs = torch.autograd.grad(reference, list(model.parameters()))
    torch.testing.assert_close(loss, reference)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("drop_rate", [0.0, 0.2])
def test_gradient_checkpointing_gives_identical_gradients(drop_rate):
    model, ids = _tiny(drop_rate=drop_rate), _ids()
    results = []
    for model.gradient_checkpointing in (False, True):
        model.zero_grad()
        torch.manual_seed(5)
        model.loss(ids, ids.roll(-1, 1)).backward()
        results.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(plain, again) for plain, again in zip(*results, strict=True))


def test_dropout_only_in_training():
    model, ids = _tiny(drop_rate=0.5), _ids()
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))


def test_initial_weights():
    model = GPT({**TINY, "vocab_size": 4096, "emb_dim": 128, "n_layers": 4})
    assert model.wte.weight.std().item() == pytest.approx(0.02, rel=0.02)
    residual = 0.02 / math.sqrt(8)
    for block in model.h:
        assert block.attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.attn.c_proj.weight.std().item() == pytest.approx(residual, rel=0.05)
        assert block.mlp.c_proj.weight.std().item() == pytest.approx(residual, rel=0.05)
        assert not block.mlp.c_fc.bias.any()
        assert not block.attn.c_proj.bias.any()
    ids = torch.randint(0, 4096, (4, 24))
    assert model.loss(ids, ids.roll(-1, 1)).item() == pytest.approx(math.log(4096), abs=0.1)


def test_a_generator_decides_the_weights_and_leaves_the_global_state():
    state = torch.get_rng_state()
    first, second, third = _tiny(seed=1), _tiny(seed=1), _tiny(seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.h[2].mlp.c_fc.weight, second.h[2].mlp.c_fc.weight)
    assert not torch.equal(first.wte.weight, third.wte.weight)


def test_learns_a_repeated_sequence():
    model, ids = _tiny(), _ids(batch=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3


def test_trains_under_bfloat16_autocast():
    model, ids = _tiny(), _ids()
    exact = model.loss(ids, ids.roll(-1, 1)).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(ids, ids.roll(-1, 1))
    loss.backward()
    assert loss.item() == pytest.approx(exact, rel=1e-2)
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())


def test_flops_follow_palm():
    model = _tiny()
    weights = model.num_parameters() - 24 * 32
    assert model.flops_per_token(16) == 6 * weights + 12 * 3 * 32 * 16
    assert model.flops_per_token() == model.flops_per_token(24)
