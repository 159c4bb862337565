import collections
import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptengine import generate as generate_module
from gptengine.generate import Sampling, draw, generate, stream_ids, stream_text
from gptengine.model import GPT


class ByteTokenizer:
    """256 bytes, the end of text, and one token of two bytes that split characters."""

    eos_id = 256

    def encode(self, text):
        return list(text.encode())

    def decode_bytes(self, ids):
        table = {256: b"<end>", 257: b"\xac\xe2"}
        return b"".join(table.get(token, bytes([token % 256])) for token in ids)


def _tiny(context=16, **changes):
    config = {
        "vocab_size": 258,
        "context_length": context,
        "emb_dim": 32,
        "n_heads": 4,
        "n_layers": 2,
        **changes,
    }
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


MODEL = _tiny()
TOKENIZER = ByteTokenizer()


def _counts(logits, sampling, draws=4000):
    generator = torch.Generator().manual_seed(9)
    seen = collections.Counter(int(draw(logits, sampling, generator)) for _ in range(draws))
    return {token: number / draws for token, number in seen.items()}


def test_greedy_equals_full_passes_without_a_cache():
    model, ids = _tiny(context=64), [1, 2, 3]
    expected = list(ids)
    with torch.no_grad():
        for _ in range(30):
            expected.append(int(model(torch.tensor([expected]))[0, -1].argmax()))
    assert list(stream_ids(model, ids, Sampling(30, temperature=0))) == expected[3:]


@pytest.mark.parametrize("context", [1, 2, 7, 16])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_window_slides_past_the_context(context, length):
    model, ids = _tiny(context=context), [(7 * i) % 250 for i in range(length)]
    # What the docstring promises, written out by full passes.
    window, expected = ids[-context:], []
    with torch.no_grad():
        for _ in range(50):
            expected.append(int(model(torch.tensor([window]))[0, -1].argmax()))
            full = len(window) == context
            window = [*window, expected[-1]]
            if full:
                window = window[-max(1, context // 2) :]
    assert list(stream_ids(model, ids, Sampling(50, temperature=0))) == expected


def test_one_pass_over_the_prompt_then_one_token_a_step(monkeypatch):
    sizes = []
    real = GPT.forward

    def watch(self, input_ids, *args, **kwargs):
        sizes.append(input_ids.shape[1])
        return real(self, input_ids, *args, **kwargs)

    monkeypatch.setattr(GPT, "forward", watch)
    list(stream_ids(MODEL, [1, 2, 3, 4], Sampling(max_tokens=8, seed=1)))
    assert sizes == [4, 1, 1, 1, 1, 1, 1, 1]


def test_draws_follow_the_probabilities():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    shares = _counts(logits, Sampling())
    assert shares[0] == pytest.approx(0.5, abs=0.04)
    assert shares[3] == pytest.approx(0.05, abs=0.02)
    sharper = _counts(logits, Sampling(temperature=0.5))
    assert sharper[0] == pytest.approx(0.25 / (0.25 + 0.09 + 0.0225 + 0.0025), abs=0.04)


def test_top_k_keeps_the_k_likeliest():
    logits = torch.tensor([0.05, 0.5, 0.15, 0.3]).log()
    shares = _counts(logits, Sampling(top_k=2))
    assert set(shares) == {1, 3}
    assert shares[1] == pytest.approx(0.5 / 0.8, abs=0.04)
    # Equals are not let in beyond k.
    assert len(_counts(torch.zeros(6), Sampling(top_k=2), 300)) == 2


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, {1}), (0.49, {1}), (0.51, {1, 3}), (0.79, {1, 3}), (0.81, {1, 2, 3})],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, kept):
    logits = torch.tensor([0.05, 0.5, 0.15, 0.3]).log()
    assert set(_counts(logits, Sampling(top_p=top_p), 1500)) == kept


def test_top_p_counts_among_top_k():
    logits = torch.tensor([0.05, 0.5, 0.15, 0.3]).log()
    # Of the two likeliest the first holds 0.625.
    assert set(_counts(logits, Sampling(top_k=2, top_p=0.6), 500)) == {1}
    assert set(_counts(logits, Sampling(top_k=99, top_p=0.6), 500)) == {1, 3}


@pytest.mark.parametrize("temperature", [1e-6, 1e-40])
def test_tiny_temperatures_are_greedy(temperature):
    logits = torch.tensor([1.0, 3.0, 2.0])
    assert _counts(logits, Sampling(temperature=temperature), 50) == {1: 1.0}


def test_diverged_model_is_reported():
    with pytest.raises(UserError, match="diverged"):
        draw(torch.tensor([1.0, math.nan]), Sampling(), torch.Generator())


def test_same_seed_same_text_and_global_state_untouched():
    state = torch.get_rng_state()
    texts = [generate(MODEL, TOKENIZER, "ab", max_tokens=20, seed=seed) for seed in (3, 3, 4)]
    free = [generate(MODEL, TOKENIZER, "ab", max_tokens=20) for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert texts[0] == texts[1] != texts[2]
    assert free[0] != free[1]


def test_modes_between_tokens_are_the_callers():
    model = _tiny(drop_rate=0.5)
    model.train()
    pieces = stream_ids(model, [1], Sampling(max_tokens=3, seed=0))
    next(pieces)
    assert model.training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    model.loss(torch.tensor([[1, 2]]), torch.tensor([[2, 3]])).backward()
    list(pieces)
    assert model.training
    dropless = list(stream_ids(model.eval(), [1], Sampling(max_tokens=9, temperature=0)))
    assert list(stream_ids(model.train(), [1], Sampling(max_tokens=9, temperature=0))) == dropless
    with torch.inference_mode():
        assert list(stream_ids(model, [1], Sampling(max_tokens=9, temperature=0))) == dropless


class _Script:
    """Stands in for the draw: the given ids in turn."""

    def __init__(self, ids):
        self.ids = iter(ids)

    def __call__(self, logits, sampling, generator):
        return torch.tensor(next(self.ids))


def test_stops_at_the_end_of_text_by_default(monkeypatch):
    script = [104, 105, 256, 33, 33]
    fields = {"max_tokens": 5}
    monkeypatch.setattr(generate_module, "draw", _Script(script))
    assert generate(MODEL, TOKENIZER, "a", **fields) == "hi"
    monkeypatch.setattr(generate_module, "draw", _Script(script))
    assert generate(MODEL, TOKENIZER, "a", stop_ids=(), **fields) == "hi<end>!!"
    monkeypatch.setattr(generate_module, "draw", _Script(script))
    assert generate(MODEL, TOKENIZER, "a", Sampling(5, stop_ids=(105,))) == "h"
    assert generate(MODEL, TOKENIZER, "a", max_tokens=0) == ""


def test_empty_prompt_begins_a_text():
    fields = {"max_tokens": 12, "temperature": 0, "stop_ids": ()}
    ids = list(stream_ids(MODEL, [256], Sampling(**fields)))
    expected = TOKENIZER.decode_bytes(ids).decode(errors="replace")
    assert generate(MODEL, TOKENIZER, "", **fields) == expected
    with pytest.raises(ValueError, match="empty"):
        next(stream_ids(MODEL, [], Sampling()))


def test_foreign_ids_are_reported():
    with pytest.raises(UserError, match="outside the model's vocabulary"):
        next(stream_ids(MODEL, [1, 258], Sampling()))


_CHARACTERS = st.text().map(lambda text: list(text.encode()))
_ANYTHING = st.lists(st.integers(0, 257).filter(lambda token: token != 256), max_size=40)


@settings(max_examples=60, deadline=None)
@given(ids=_CHARACTERS | _ANYTHING)
def test_joined_pieces_are_the_text(ids):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate_module, "draw", _Script(ids))
        pieces = list(stream_text(MODEL, TOKENIZER, "x", Sampling(max_tokens=len(ids))))
    whole = TOKENIZER.decode_bytes(ids).decode("utf-8", "replace")
    assert "".join(pieces) == whole
    assert all(pieces)


def test_no_half_characters(monkeypatch):
    monkeypatch.setattr(generate_module, "draw", _Script("é€😀".encode()))
    assert list(stream_text(MODEL, TOKENIZER, "x", Sampling(max_tokens=9))) == ["é", "€", "😀"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", -1),
        ("temperature", -0.1),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("seed", "a"),
    ],
)
def test_bad_settings_are_named(field, value):
    with pytest.raises(UserError) as error:
        Sampling(**{field: value})
    assert field in error.value.where
    assert field in error.value.fix


def test_streams_lazily():
    assert inspect.isgenerator(stream_text(MODEL, TOKENIZER, "x", Sampling()))
