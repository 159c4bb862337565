"""The stateless sampler and the loader on top of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.errors import UserError
from gptengine import BPETokenizer
from gptengine.data.sampler import TokenLoader, block_of, text_loaders
from gptengine.data.streams import TokenFiles, TokenStream


def stream_of(num_tokens: int) -> TokenStream:
    tokens = np.arange(num_tokens, dtype=np.uint16)
    one = np.array([0])
    return TokenStream(TokenFiles([tokens]), one, one, np.array([num_tokens]))


@settings(max_examples=150, deadline=None)
@given(num_blocks=st.integers(1, 400), seed=st.integers(-5, 2**70), epoch=st.integers(0, 10**9))
def test_every_epoch_is_a_permutation(num_blocks: int, seed: int, epoch: int) -> None:
    first = epoch * num_blocks
    blocks = [block_of(n, num_blocks, seed) for n in range(first, first + num_blocks)]
    assert sorted(blocks) == list(range(num_blocks))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def epoch(number: int, seed: int) -> list[int]:
        return [block_of(number * 50 + n, 50, seed) for n in range(50)]

    orders = [tuple(epoch(number, seed)) for number in range(20) for seed in range(20)]
    assert len(set(orders)) == 400
    assert epoch(3, 7) == epoch(3, 7)


@pytest.mark.parametrize("num_blocks", [2, 3, 5, 16, 37])
def test_each_block_is_as_likely_at_each_place(num_blocks: int) -> None:
    rounds = 2000
    counts = np.zeros((num_blocks, num_blocks))
    for epoch in range(rounds):
        for place in range(num_blocks):
            counts[place, block_of(epoch * num_blocks + place, num_blocks, 1)] += 1
        if num_blocks > 16 and epoch == 400:
            rounds = 401
            break
    expected = rounds / num_blocks
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (num_blocks - 1) ** 2
    assert abs(chi_square - freedom) < 6 * np.sqrt(2 * freedom)


def test_large_corpora_are_as_quick() -> None:
    assert len({block_of(n, 10**12, 0) for n in range(1000)}) == 1000


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="blocks"):
        block_of(-1, 5, 0)
    with pytest.raises(ValueError, match="blocks"):
        block_of(0, 0, 0)


def test_samples_are_blocks_with_targets_one_further_on() -> None:
    loader = TokenLoader(stream_of(101), context_length=10, batch_size=3, seed=4)
    assert loader.num_blocks == 10
    ids, targets = loader.samples([0, 5, 13])
    assert ids.dtype == targets.dtype == torch.int64
    assert ids.shape == targets.shape == (3, 10)
    assert torch.equal(targets, ids + 1)
    assert ids[:, 0].tolist() == [10 * block_of(n, 10, 4) for n in (0, 5, 13)]


def test_the_last_block_needs_its_last_target() -> None:
    assert TokenLoader(stream_of(100), 10, 1).num_blocks == 9


def test_iterating_gives_epoch_after_epoch_of_whole_batches() -> None:
    loader = TokenLoader(stream_of(101), context_length=10, batch_size=3, seed=4)
    assert len(loader) == 3
    first, second = list(loader), list(loader)
    assert [ids.shape for ids, _ in first] == [(3, 10)] * 3
    assert torch.equal(first[1][0], loader.samples([3, 4, 5])[0])
    assert torch.equal(second[0][0], loader.samples([10, 11, 12])[0])
    starts = torch.cat([ids[:, 0] for ids, _ in first]).tolist()
    assert len(set(starts)) == 9


def test_a_batch_larger_than_the_corpus_is_still_a_batch() -> None:
    loader = TokenLoader(stream_of(21), context_length=10, batch_size=5)
    ((ids, _),) = list(loader)
    assert len(loader) == 1
    assert ids.shape == (5, 10)


def test_too_little_text_says_the_numbers_and_the_setting() -> None:
    with pytest.raises(UserError) as error:
        TokenLoader(stream_of(10), context_length=10, batch_size=1)
    assert "10 tokens" in error.value.what
    assert "11" in error.value.what
    assert "model.context_length" in error.value.fix


def test_text_loaders_hold_out_documents(tmp_path: Path) -> None:
    texts = [f"Document {number} tells of {number * 7}. " * 5 for number in range(60)]
    file = tmp_path / "more.txt"
    file.write_text("<|endoftext|>".join(f"File text {number}. " * 5 for number in range(60)))
    tokenizer = BPETokenizer()
    tokenizer.train(texts, vocab_size=300)
    train, val = text_loaders([*texts, file], tokenizer, 8, 2, held_out=0.2, seed=3)
    trained = tokenizer.decode(train.stream.read(0, len(train.stream)).tolist())
    held = tokenizer.decode(val.stream.read(0, len(val.stream)).tolist())
    documents = {each for each in (trained + held).split("<|endoftext|>") if each}
    assert documents == {*texts, *file.read_text().split("<|endoftext|>")}
    assert not set(trained.split("<|endoftext|>")) & set(held.split("<|endoftext|>")) - {""}
    assert 5 <= held.count("<|endoftext|>") <= 50


def test_text_loaders_find_a_block_to_hold_out_in_little_text() -> None:
    tokenizer = BPETokenizer()
    text = "a small text for a small model. " * 10
    tokenizer.train([text], vocab_size=270)
    train, val = text_loaders(text, tokenizer, context_length=32, batch_size=2, held_out=0.01)
    assert val.num_blocks == 1
    assert len(train.stream) + len(val.stream) == len(tokenizer.encode(text)) + 1
    with pytest.raises(UserError):
        text_loaders("tiny", tokenizer, context_length=32, batch_size=2)
