"""The batched decoder: each row writes what it would write alone."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gptcore.errors import UserError
from gptengine.decoding import Decoder, Written
from gptengine.decoding.decoder import uniforms
from gptengine.generate import Sampling, choose, stream_ids
from gptengine.model import GPT, KVCache

pytestmark = pytest.mark.usefixtures("one_thread")

VOCAB, CONTEXT = 61, 32
KINDS = ("ours", "gpt2", "llama", "qwen2", "qwen2 sliding", "peft")
PROMPTS = [[5], [7, 8, 9, 10, 11, 12, 13], [3, 4, 3, 4], [60] * 20, [5], [1, 2, 3, 4, 5, 6, 7]]
GREEDY = Sampling(12, temperature=0)
WILD = Sampling(12, temperature=0.9)


def make(kind: str) -> nn.Module:
    """A tiny model whose weights are large enough that what it writes hangs on what it reads."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
    }
    if kind == "ours":
        model: nn.Module = GPT(
            {
                "vocab_size": VOCAB,
                "context_length": CONTEXT,
                "emb_dim": 32,
                "n_heads": 4,
                "n_layers": 2,
            }
        )
    elif kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCAB, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4)
        )
    elif kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**shape))
    elif kind == "qwen2 sliding":
        sliding = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
        model = Qwen2ForCausalLM(Qwen2Config(**shape, **sliding))
    else:
        model = LlamaForCausalLM(LlamaConfig(**shape))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    if kind == "peft":
        lora: Any = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        model = get_peft_model(model, lora)
    return model.eval()


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    return {kind: make(kind) for kind in KINDS}


def logits_of(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """After the last of the ids, by one full pass."""
    with torch.no_grad():
        given = torch.tensor([ids])
        told = model(given) if isinstance(model, GPT) else model(input_ids=given).logits
    logits: torch.Tensor = told[0, -1].double()
    return logits


def assert_alike(one: Written, other: Written) -> None:
    assert one.ids == other.ids
    assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert one.is_complete == other.is_complete


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_row_writes_alike_alone_and_in_any_company(
    models: dict[str, nn.Module], kind: str, temperature: float
) -> None:
    sampling = Sampling(CONTEXT, temperature=temperature)
    seeds = [11, 12, 13, 14, 15, 16]
    stops: list[int] = []
    if temperature:
        # Ids that stop some rows early and others never.
        free = Decoder(models[kind], context=CONTEXT).write(PROMPTS, sampling, seeds)
        ids = Counter(each.ids[2 * n] for n, each in enumerate(free))
        stops = [id_ for id_, _ in ids.most_common(2)]
    decoder = Decoder(models[kind], context=CONTEXT, stop_ids=stops)
    together = decoder.write(PROMPTS, sampling, seeds)
    assert len({len(each.ids) for each in together}) > 2
    for prompt, seed, row in zip(PROMPTS, seeds, together, strict=True):
        assert_alike(decoder.write([prompt], sampling, [seed])[0], row)
    backwards = decoder.write(PROMPTS[::-1], sampling, seeds[::-1])
    for one, other in zip(together, backwards[::-1], strict=True):
        assert_alike(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_writes_the_likeliest_by_full_passes(
    models: dict[str, nn.Module], kind: str
) -> None:
    written = Decoder(models[kind], context=CONTEXT).write(PROMPTS, GREEDY)
    for prompt, row in zip(PROMPTS, written, strict=True):
        ids, told = list(prompt), []
        for _ in range(12):
            logits = logits_of(models[kind], ids)
            ids.append(int(logits.argmax()))
            told.append(float(logits.log_softmax(-1)[ids[-1]]))
        assert row.ids == ids[len(prompt) :]
        assert row.logprobs == pytest.approx(told, abs=1e-4)
        assert not row.is_complete


def test_a_wide_model_writes_the_likeliest_too() -> None:
    """From some width on, steps take another product."""
    shape = {"vocab_size": VOCAB, "context_length": CONTEXT, "emb_dim": 512, "n_heads": 4}
    model = GPT({**shape, "n_layers": 1}, generator=torch.Generator().manual_seed(0)).eval()
    for row, prompt in zip(
        Decoder(model, context=CONTEXT).write(PROMPTS, GREEDY), PROMPTS, strict=True
    ):
        for at, (token, told) in enumerate(zip(row.ids, row.logprobs, strict=True)):
            logprobs = logits_of(model, [*prompt, *row.ids[:at]]).log_softmax(-1)
            assert token == int(logprobs.argmax())
            assert told == pytest.approx(float(logprobs[token]), abs=1e-4)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(12, temperature=0.7),
        Sampling(12, temperature=1.5, top_k=5),
        Sampling(12, top_p=0.6),
        Sampling(12, temperature=2.0, top_k=9, top_p=0.5),
    ],
)
@pytest.mark.parametrize("kind", ["ours", "llama"])
def test_logprobs_are_of_the_distribution_drawn_from(
    models: dict[str, nn.Module], kind: str, sampling: Sampling
) -> None:
    written = Decoder(models[kind], context=CONTEXT).write(PROMPTS, sampling, [3] * len(PROMPTS))
    for prompt, row in zip(PROMPTS, written, strict=True):
        for at, (token, told) in enumerate(zip(row.ids, row.logprobs, strict=True)):
            logits = logits_of(models[kind], [*prompt, *row.ids[:at]]) / sampling.temperature
            order = logits.argsort(descending=True)[: sampling.top_k or VOCAB]
            probs = logits[order].softmax(-1)
            probs = probs[probs.cumsum(-1) - probs < sampling.top_p]
            place = order.tolist().index(token)
            assert told == pytest.approx(math.log(probs[place] / probs.sum()), abs=1e-4)


def test_a_stop_ends_its_row_and_is_kept(models: dict[str, nn.Module]) -> None:
    free = Decoder(models["ours"], context=CONTEXT).write(PROMPTS, WILD, range(6))
    stop = free[0].ids[4]
    first = free[0].ids.index(stop)
    for decoder, sampling in (
        (Decoder(models["ours"], context=CONTEXT, stop_ids=[stop]), WILD),
        (
            Decoder(models["ours"], context=CONTEXT, stop_ids=[VOCAB + 5]),
            Sampling(12, temperature=0.9, stop_ids=(stop,)),
        ),
    ):
        stopped = decoder.write(PROMPTS, sampling, range(6))
        assert stopped[0].ids == free[0].ids[: first + 1]
        assert stopped[0].is_complete
        for row, whole in zip(stopped, free, strict=True):
            assert row.ids == whole.ids[: len(row.ids)]
            assert len(row.ids) == len(row.logprobs)
            assert row.is_complete == (row.ids[-1] == stop)
            assert row.is_complete or len(row.ids) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_context_ends_a_row_and_not_those_beside_it(
    models: dict[str, nn.Module], kind: str
) -> None:
    prompts = [[1] * CONTEXT, [2, 3] * (CONTEXT // 2 - 1), [4], [5] * (CONTEXT + 9), [6] * 24]
    decoder = Decoder(models[kind], context=CONTEXT)
    written = decoder.write(prompts, Sampling(999, temperature=0))
    assert [len(row.ids) for row in written] == [0, 2, CONTEXT - 1, 0, 8]
    assert not any(row.is_complete for row in written)
    for prompt, row in zip(prompts, written, strict=True):
        assert_alike(decoder.write([prompt], Sampling(999, temperature=0))[0], row)


def test_nothing_to_write(models: dict[str, nn.Module]) -> None:
    decoder = Decoder(models["ours"], context=CONTEXT)
    assert decoder.write([], GREEDY) == []
    assert decoder.write([[1], [2]], Sampling(0)) == [Written([], [], False)] * 2


def test_bad_prompts_and_seeds(models: dict[str, nn.Module]) -> None:
    for kind in ("ours", "llama"):
        decoder = Decoder(models[kind], context=CONTEXT)
        with pytest.raises(ValueError, match="empty"):
            decoder.write([[1], []], GREEDY)
        with pytest.raises(ValueError, match="1 seeds for 2 prompts"):
            decoder.write([[1], [2]], WILD, [3])
        with pytest.raises(UserError, match="outside the model's vocabulary of 61"):
            decoder.write([[1], [61]], GREEDY)


@pytest.mark.parametrize("sampling", [GREEDY, WILD, Sampling(12, top_k=4, top_p=0.9)])
@pytest.mark.parametrize("kind", ["ours", "llama"])
def test_a_diverged_model_is_reported(kind: str, sampling: Sampling) -> None:
    model: Any = make(kind)
    with torch.no_grad():
        (model.wte if kind == "ours" else model.lm_head).weight[7].fill_(math.nan)
    with pytest.raises(UserError, match="diverged"):
        Decoder(model, context=CONTEXT).write(PROMPTS, sampling)


def test_seeds(models: dict[str, nn.Module]) -> None:
    decoder = Decoder(models["ours"], context=CONTEXT)
    prompts = [[5, 6]] * 4
    by_rows = decoder.write(prompts, WILD, [4, 5, 6, 4])
    assert by_rows[0] == by_rows[3]
    assert len({tuple(row.ids) for row in by_rows}) == 3
    counted = decoder.write(prompts, Sampling(12, temperature=0.9, seed=4))
    assert counted[:3] == by_rows[:3]
    # All 64 bits count, and each number there is.
    far = decoder.write(prompts, WILD, [4 + 2**32, 4 + 2**63, -1, 2**64 - 1])
    assert len({tuple(row.ids) for row in [by_rows[0], *far]}) == 4
    assert decoder.write(prompts, WILD) != decoder.write(prompts, WILD)


def test_uniforms() -> None:
    many = uniforms(range(64), 500)
    assert many.shape == (500, 64)
    assert float(many.min()) >= 0
    assert float(many.max()) < 1
    assert torch.equal(many[:20, 7:9], uniforms([7, 8], 20))
    shares = torch.histc(many.float().flatten(), 16, 0, 1) / many.numel()
    assert shares.tolist() == pytest.approx([1 / 16] * 16, abs=0.006)
    assert torch.corrcoef(many.T).fill_diagonal_(0).abs().max() < 0.25
    assert torch.corrcoef(many[:16]).fill_diagonal_(0).abs().max() < 0.6


def test_draws_of_a_batch_follow_the_probabilities() -> None:
    probs = torch.tensor([[0.5, 0.3, 0.0, 0.2], [0.1, 0.0, 0.9, 0.0]])
    rows = probs.log().repeat_interleave(4000, 0)
    drawn = choose(rows, Sampling(), uniforms(range(8000), 1)[0])
    for ids, wanted in zip(drawn.ids.view(2, -1), probs, strict=True):
        shares = ids.bincount(minlength=4) / 4000
        assert shares.tolist() == pytest.approx(wanted.tolist(), abs=0.03)
        assert not shares[wanted == 0].any()
    edges = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert choose(probs[:1].log().expand(3, -1), Sampling(), edges).ids.tolist() == [0, 1, 3]
    assert choose(probs[1:].log().expand(3, -1), Sampling(), edges).ids.tolist() == [0, 2, 2]


def test_leaves_random_state_modes_and_gradients(models: dict[str, nn.Module]) -> None:
    state = torch.get_rng_state()
    for kind in ("ours", "llama", "peft"):
        model: Any = make(kind)
        torch.set_rng_state(state)
        decoder = Decoder(model, context=CONTEXT)
        calm = decoder.write(PROMPTS, WILD, range(6))
        model.train()
        frozen = next(iter(model.children())).eval()
        assert decoder.write(PROMPTS, WILD, range(6)) == calm
        assert torch.equal(state, torch.get_rng_state())
        assert model.training
        assert not frozen.training
        assert all(parameter.grad is None for parameter in model.parameters())
        given = torch.tensor([[1, 2, 3]])
        told = model(given) if kind == "ours" else model(input_ids=given).logits
        told.sum().backward()
        with torch.inference_mode():
            assert decoder.write(PROMPTS, WILD, range(6)) == calm


@pytest.mark.parametrize("kind", ["ours", "llama"])
def test_a_training_under_the_same_autocast_goes_on(kind: str) -> None:
    model: Any = make(kind)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        Decoder(model, context=CONTEXT).write(PROMPTS, WILD)
        given = torch.tensor([[1, 2, 3]])
        told = model(given) if kind == "ours" else model(input_ids=given).logits
    told.float().square().sum().backward()
    unused = {"wpe.weight"}
    for name, parameter in model.named_parameters():
        assert name in unused or parameter.grad.abs().sum() > 0, name


def test_dropout_does_not_reach_what_is_written() -> None:
    made = make("ours")
    model = GPT({**made.config.to_dict(), "drop_rate": 0.5})  # type: ignore[union-attr]
    model.load_state_dict(made.state_dict())
    plain = Decoder(made, context=CONTEXT).write(PROMPTS, GREEDY)
    assert Decoder(model.train(), context=CONTEXT).write(PROMPTS, GREEDY) == plain


@pytest.mark.parametrize("kind", ["ours", "llama"])
def test_lower_precision(models: dict[str, nn.Module], kind: str) -> None:
    exact = Decoder(models[kind], context=CONTEXT).write(PROMPTS, Sampling(1, temperature=0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = Decoder(models[kind], context=CONTEXT).write(PROMPTS, GREEDY)
    half = Decoder(make(kind).to(torch.bfloat16), context=CONTEXT).write(PROMPTS, GREEDY)
    for rows in (cast, half):
        assert [len(row.ids) for row in rows] == [12] * len(PROMPTS)
        near = [row.logprobs[0] for row in rows]
        assert near == pytest.approx([row.logprobs[0] for row in exact], abs=0.2)


def test_the_same_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("ours")
    shapes = []
    real = GPT.forward

    def watch(self: GPT, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        shapes.append(tuple(input_ids.shape))
        return real(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(GPT, "forward", watch)
    prompts = [[1, 2, 3], [4, 5], [1, 2, 3], [1, 2, 3]]
    Decoder(model, context=CONTEXT).write(prompts, Sampling(3, temperature=0))
    assert shapes == [(2, 3), (4, 1), (4, 1)]


def test_rows_that_have_ended_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("ours")
    sizes = []
    real = GPT.forward

    def watch(self: GPT, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        sizes.append(len(input_ids))
        return real(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(GPT, "forward", watch)
    prompts = [[1] * (CONTEXT - 2), [2] * (CONTEXT - 2), [3] * (CONTEXT - 4), [4]]
    Decoder(model, context=CONTEXT).write(prompts, Sampling(9, temperature=0))
    assert sizes == [4, 4, 2, 2, 1, 1, 1, 1, 1]


def test_streaming_and_decoding_agree(models: dict[str, nn.Module]) -> None:
    model: Any = models["ours"]
    written = Decoder(model, context=CONTEXT).write(PROMPTS, GREEDY)
    for prompt, row in zip(PROMPTS, written, strict=True):
        assert list(stream_ids(model, prompt, GREEDY)) == row.ids


@pytest.mark.parametrize("steps", [[4, 1, 1, 1, 3, 1, 1], [2, 7, 1, 1, 1]])
def test_a_padded_cache_gives_the_logits_of_each_row_alone(steps: list[int]) -> None:
    model: Any = make("ours")
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, VOCAB, (3, 12), generator=generator)
    padding = torch.tensor([0, 3, 1])
    cache, parts, start = KVCache(model.config, 12, padding), [], 0
    with torch.no_grad():
        for step in steps:
            parts.append(model(ids[:, start : start + step], cache))
            start += step
        for row, pad in enumerate(padding.tolist()):
            alone = model(ids[row : row + 1, pad:])[0]
            torch.testing.assert_close(torch.cat(parts, 1)[row, pad:], alone, rtol=1e-4, atol=1e-5)


def test_a_step_with_gradients_equals_one_without() -> None:
    model: Any = make("ours")
    ids = torch.tensor([[1, 2, 3, 4]])
    results = []
    for grad in (True, False):
        cache = KVCache(model.config)
        with torch.set_grad_enabled(grad):
            model(ids[:, :3], cache)
            results.append(model(ids[:, 3:], cache))
    assert results[0].requires_grad
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
