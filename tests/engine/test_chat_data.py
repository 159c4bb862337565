"""Conversations to learn from: read, checked, held out, put into batches and packed."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcore.encoding import EncodedConversation
from gptcore.errors import UserError
from gptcore.formats.records import Conversation
from gptcore.settings import RowsDataSettings
from gptcore.workspace import Workspace
from gptengine.causal_lm import load_causal_lm
from gptengine.chat_tokenizer import load_chat_tokenizer, pad_id
from gptengine.finetune.data import (
    IGNORED,
    SORTED_BATCHES,
    ChatBatches,
    Examples,
    RowsData,
    check_share,
    collate,
    collate_packed,
    pack,
    read_chat_data,
)
from gptengine.tokenizer import BPETokenizer
from tests.engine.tiny_models import (
    CONTEXT,
    KINDS,
    SENTENCES,
    TALKS,
    examples_of,
    make_model,
    perform_stage,
    talk,
    tool_talk,
    write_talks,
)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(SENTENCES, vocab_size=340)
    return made


def texts_of(examples: Examples, tokenizer: BPETokenizer) -> list[str]:
    return [tokenizer.decode(examples[at][0].tolist()) for at in range(len(examples))]


# --- examples ------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.booleans()), max_size=9)))
def test_what_goes_into_examples_comes_out(rows: list[list[tuple[int, bool]]]) -> None:
    examples = Examples()
    for row in rows:
        examples.append(EncodedConversation([i for i, _ in row], [counts for _, counts in row]))
    assert len(examples) == len(rows)
    assert examples.lengths.tolist() == [len(row) for row in rows]
    assert examples.num_tokens == sum(map(len, rows))
    assert examples.num_learned == sum(counts for row in rows for _, counts in row)
    for at, row in enumerate(rows):
        ids, learned = examples[at]
        assert list(zip(ids.tolist(), learned.tolist(), strict=True)) == row
        assert examples.length_of(at) == len(row)


# --- batches -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=80), st.integers(1, 9), st.integers(0, 9))
def test_a_batch_hangs_on_nothing_but_seed_and_step(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    def batches() -> ChatBatches:
        return ChatBatches(np.array(lengths), batch_size, seed)

    in_order, at_once = batches(), batches()
    steps = [in_order.step(number) for number in range(40)]
    assert [at_once.step(number) for number in reversed(range(40))] == steps[::-1]
    for step in steps:
        assert len(step) == batch_size
        sizes = [lengths[index] for index in step]
        assert sizes == sorted(sizes, reverse=True)


def test_the_seed_decides_about_the_order() -> None:
    lengths = np.arange(1, 401)
    first, second = (ChatBatches(lengths, 5, seed) for seed in (1, 2))
    assert [first.step(n) for n in range(20)] != [second.step(n) for n in range(20)]
    # and epochs differ from one another
    assert [first.step(n) for n in range(80)] != [first.step(n) for n in range(80, 160)]


def test_every_epoch_of_whole_groups_is_a_permutation() -> None:
    batch_size, groups = 4, 3
    count = batch_size * SORTED_BATCHES * groups
    batches = ChatBatches(np.arange(count) % 37, batch_size, 5)
    assert batches.steps_per_epoch == SORTED_BATCHES * groups
    for epoch in range(3):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        seen = [index for number in steps for index in batches.step(number)]
        assert sorted(seen) == list(range(count))


@pytest.mark.parametrize("count", [6, 100, 1000])
def test_every_epoch_is_a_permutation_whatever_the_number(count: int) -> None:
    batch_size = 4
    batches = ChatBatches(np.random.default_rng(1).integers(9, 200, count), batch_size, 5)
    for epoch in range(3):
        steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
        seen = Counter(index for number in steps for index in batches.step(number))
        assert max(seen.values()) == 1
        assert count - len(seen) < batch_size  # the rest that fills no batch


def test_no_batch_holds_an_example_twice() -> None:
    batches = ChatBatches(np.arange(40), 8, 5)
    assert all(len(set(batches.step(number))) == 8 for number in range(50))


def test_a_batch_wastes_little_on_padding() -> None:
    lengths = np.random.default_rng(0).integers(10, 1000, 2048)
    batches = ChatBatches(lengths, 8, 0)
    steps = [batches.step(number) for number in range(batches.steps_per_epoch)]
    width = sum(8 * lengths[step].max() for step in steps)
    assert width < 1.1 * lengths.sum()
    # and the longest do not come first: lengths alternate
    means = [float(lengths[step].mean()) for step in steps]
    turns = sum(a < b for a, b in itertools.pairwise(means))
    assert 0.3 < turns / len(means) < 0.7


def test_collate_marks_padding_and_what_carries_loss() -> None:
    examples = Examples()
    examples.append(EncodedConversation([7, 8, 9], [False, True, True]))
    examples.append(EncodedConversation([5], [True]))
    examples.append(EncodedConversation([6, 1], [False, True]))
    batch = collate(examples, [1, 0], 1)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[5, 1, 1], [7, 8, 9]],
        "attention_mask": [[1, 0, 0], [1, 1, 1]],
        "labels": [[5, IGNORED, IGNORED], [IGNORED, 8, 9]],
    }
    alone = collate(examples, [2], 1)  # what is spelled like padding is none
    assert alone["labels"].tolist() == [[IGNORED, 1]]
    assert alone["attention_mask"].tolist() == [[1, 1]]
    assert all(value.dtype == torch.int64 for value in batch.values())


# --- packing -------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 60).flatmap(
        lambda most: st.tuples(st.just(most), st.lists(st.integers(1, most), max_size=60))
    )
)
def test_packing_holds_every_example_once_and_none_too_many(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    groups = pack(lengths, capacity)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    sizes = [sum(lengths[index] for index in group) for group in groups]
    assert all(0 < size <= capacity for size in sizes)
    # no two groups would fit together, as the best fit leaves none of them
    assert len(sizes) < 2 or sum(sorted(sizes)[:2]) > capacity


def test_packing_is_tight() -> None:
    lengths = np.random.default_rng(3).integers(20, 300, 2000).tolist()
    assert len(pack(lengths, 512)) <= 1.02 * math.ceil(sum(lengths) / 512)


def test_packed_positions_begin_again_and_no_first_token_carries_loss() -> None:
    examples = Examples()
    examples.append(EncodedConversation([7, 8, 9], [True, False, True]))
    examples.append(EncodedConversation([5, 6], [True, True]))
    batch = collate_packed(examples, [[0, 1], [1]], 1)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[7, 8, 9, 5, 6], [5, 6, 1, 1, 1]],
        "position_ids": [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]],
        "labels": [[IGNORED, IGNORED, 9, IGNORED, 6], [IGNORED, 6] + [IGNORED] * 3],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_packed_conversations_are_blind_to_one_another(tmp_path: Path, kind: str) -> None:
    folder = make_model(kind, tmp_path)
    tokenizer = load_chat_tokenizer(folder)
    model = load_causal_lm(folder, torch.float32).eval()
    model.resize_token_embeddings(tokenizer.vocab_size)
    with torch.no_grad():  # or a fresh model tells little of its context
        for parameter in model.parameters():
            parameter.mul_(3.0)
    examples = examples_of(TALKS, tokenizer)
    groups = [[3, 0], [2, 1, 4], [5]]
    batch = collate_packed(examples, groups, pad_id(tokenizer))
    assert set(batch) == {"input_ids", "position_ids", "labels"}
    with torch.inference_mode():
        packed = model(**batch, use_cache=False)  # as in training
        nats, count = 0.0, 0
        for row, group in enumerate(groups):
            at = 0
            for index in group:
                alone = collate(examples, [index], pad_id(tokenizer))
                length = examples.length_of(index)
                logits = packed.logits[row, at : at + length]
                single = model(**alone)
                torch.testing.assert_close(logits, single.logits[0], atol=1e-5, rtol=1e-4)
                assert batch["labels"][row, at] == IGNORED
                own = batch["labels"][row, at + 1 : at + length]
                assert torch.equal(own, alone["labels"][0, 1:])
                learned = int((alone["labels"][:, 1:] != IGNORED).sum())
                nats, count = nats + float(single.loss) * learned, count + learned
                at += length
            assert (batch["labels"][row, at:] == IGNORED).all()
    assert float(packed.loss) == pytest.approx(nats / count, abs=1e-5)


# --- reading -------------------------------------------------------------------------------------

PREFERENCE = {"prompt": "Which?", "chosen": "the cat", "rejected": "the dog"}
BROKEN = '{"messages": [{"role": "user", '
WRONG = {"messages": [{"role": "user", "content": "Nobody answers"}]}


def read(
    tokenizer: BPETokenizer, *files: Path, weights: Sequence[int] = (), **options: Any
) -> RowsData:
    given_weights = weights or [1] * len(files)
    return read_chat_data(files, given_weights, tokenizer, **{"longest": CONTEXT, **options})


def test_what_cannot_be_used_is_counted_with_file_and_row(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    first = write_talks(tmp_path / "a.jsonl", TALKS[:2], BROKEN, WRONG)
    again = write_talks(tmp_path / "b.jsonl", [TALKS[2], TALKS[0]], PREFERENCE)
    data = read(tokenizer, first, again)
    assert (data.rows, data.bad, data.formless) == (6, 3, 1)
    assert len(data.train) == 3
    named = [(problem.file.name, problem.row) for problem in data.problems]
    assert named == [("a.jsonl", 3), ("a.jsonl", 4), ("b.jsonl", 2)]
    assert "duplicate of row 1 of a.jsonl" in data.problems[2].reason


def test_a_weight_repeats_what_is_learned_not_what_is_held_out(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    many = [talk(f"the hat {number}?", f"the mat {number}") for number in range(60)]
    often = write_talks(tmp_path / "often.jsonl", many[:30])
    once = write_talks(tmp_path / "once.jsonl", many[30:])
    data = read(tokenizer, often, once, weights=[3, 1], held_out=0.3)
    counts = Counter(texts_of(data.train, tokenizer))
    held = Counter(texts_of(data.val, tokenizer))
    assert set(held.values()) == {1}
    assert not set(held) & set(counts)
    assert len(counts) + len(held) == 60
    from_often = {text for text in counts if any(f"hat {n}?" in text for n in range(30))}
    assert {counts[text] for text in from_often} == {3}
    assert {counts[text] for text in counts.keys() - from_often} == {1}


def test_what_is_held_out_hangs_on_its_content_alone(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    many = [talk(f"the hat {number}?", f"the mat {number}") for number in range(200)]
    whole = read(tokenizer, write_talks(tmp_path / "a.jsonl", many), held_out=0.2)
    held = set(texts_of(whole.val, tokenizer))
    assert 20 <= len(held) <= 60
    turned = [
        write_talks(tmp_path / "b.jsonl", many[:120:-1]),
        write_talks(tmp_path / "c.jsonl", many[:90]),
    ]
    other = read(tokenizer, *turned, held_out=0.2)
    there = set(texts_of(other.val, tokenizer)) | set(texts_of(other.train, tokenizer))
    assert set(texts_of(other.val, tokenizer)) == held & there
    more = read(tokenizer, tmp_path / "a.jsonl", held_out=0.4)
    assert held < set(texts_of(more.val, tokenizer))  # a larger share only adds
    none = read(tokenizer, tmp_path / "a.jsonl", held_out=0.0)
    assert (len(none.val), len(none.train)) == (0, 200)


def test_what_is_too_long_loses_whole_turns_and_is_told(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    file = write_talks(tmp_path / "a.jsonl", TALKS)
    whole = read(tokenizer, file)
    assert whole.shortened == 0
    assert check_share(whole, RowsDataSettings(), tmp_path, "finetune") == []
    size = examples_of([TALKS[2]], tokenizer).length_of(0)
    settings = RowsDataSettings(max_bad=0.9)
    data = read(tokenizer, file, longest=size - 1)
    assert data.shortened == 1
    [cut] = [text for text in texts_of(data.train, tokenizer) if "weather" in text]
    assert cut == "<|user|>the weather?<|end|><|assistant|>It is rain.<|end|>"
    assert any(
        "lost turns at their end" in line
        for line in check_share(data, settings, tmp_path, "finetune")
    )
    least = examples_of([TALKS[0]], tokenizer).length_of(0)
    short = read(tokenizer, file, longest=least)
    assert short.bad > 0
    assert "longer than the context" in short.problems[0].reason


def test_too_many_bad_rows_are_refused_by_name(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    file = write_talks(tmp_path / "a.jsonl", TALKS, BROKEN, WRONG)
    data = read(tokenizer, file)
    with pytest.raises(UserError, match="2 of 8 rows cannot be used") as refused:
        check_share(data, RowsDataSettings(max_bad=0.2), tmp_path, "finetune")
    assert "a.jsonl row 7" in refused.value.what
    assert "a.jsonl row 8" in refused.value.what
    assert refused.value.where == str(tmp_path)
    assert "data check" in refused.value.fix
    allowed = refused.value.fix.rpartition("--set data.finetune.max_bad=")[2]
    [said] = check_share(data, RowsDataSettings(max_bad=float(allowed)), tmp_path, "finetune")
    assert "2 of 8 rows are left out, such as a.jsonl row 7" in said


def test_many_problems_are_told_by_their_first(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    wrong = [{"messages": [{"role": "user", "content": f"Nobody {n}"}]} for n in range(30)]
    data = read(tokenizer, write_talks(tmp_path / "a.jsonl", TALKS, *wrong))
    with pytest.raises(UserError, match="30 of 36 rows") as refused:
        check_share(data, RowsDataSettings(), tmp_path, "finetune")
    assert 2 <= len(refused.value.what.splitlines()) <= 10


def test_nothing_to_learn_from_is_refused(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    preferences = read(tokenizer, write_talks(tmp_path / "a.jsonl", [], PREFERENCE))
    assert (preferences.rows, preferences.formless) == (0, 1)
    with pytest.raises(UserError, match="no conversation to learn from"):
        check_share(preferences, RowsDataSettings(), tmp_path, "finetune")


def test_where_all_is_held_out_the_remedy_says_so(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    data = read(tokenizer, write_talks(tmp_path / "a.jsonl", TALKS), held_out=0.999999)
    assert (len(data.train), data.bad) == (0, 0)
    with pytest.raises(UserError) as refused:
        check_share(data, RowsDataSettings(held_out=0.999999), tmp_path, "finetune")
    assert "held_out" in refused.value.fix


def test_progress_goes_over_all_files(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    files = [write_talks(tmp_path / f"{n}.jsonl", TALKS[n : n + 2]) for n in (0, 2)]
    told: list[int] = []
    read(tokenizer, *files, on_bytes=told.append)
    assert told == sorted(told)
    assert told[-1] == sum(path.stat().st_size for path in files)


def test_calls_are_learned_and_results_are_not(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    talks: list[Conversation] = [tool_talk("whale", "a mammal", "It is a mammal.")]
    data = read(tokenizer, write_talks(tmp_path / "a.jsonl", talks))
    ids, learned = data.train[0]
    assert tokenizer.decode(ids[learned].tolist()) == (
        '<|function_call|>\nlook_up({"topic": "whale"})\n<|/function_call|><|end|>'
        "It is a mammal.<|end|>"
    )


# --- the tokenizer learns from them too ----------------------------------------------------------


def trained_by_stage(workspace: Workspace, name: str, *stages: str) -> BPETokenizer:
    """What the stage `tokenizer` of a pipeline with these stages makes."""
    content = {"pipeline": {"stages": list(stages)}, "model": {"vocab_size": 420}}
    assert perform_stage(workspace, name, "tokenizer", content)[0] == 0
    return BPETokenizer.load(workspace.tokenizers / name)


def test_the_tokenizer_learns_the_words_of_conversations_not_their_wrapping(
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    workspace.datasets.mkdir()
    (workspace.datasets / "text.txt").write_text("the cat sat on the mat. " * 50)
    talks = [talk(f"Which zebracorn {n}?", f"A quaggafly {n}!") for n in range(200)]
    talks += [tool_talk(f"gnuworm {n}", "a wormgnu", "It is a wormgnu.") for n in range(80)]
    write_talks(workspace.datasets / "talks.jsonl", talks)
    preference = {"prompt": "Which?", "chosen": "an elkmouse", "rejected": "an elkmouse or two"}
    rows = [{**preference, "prompt": f"Which {n}?"} for n in range(200)]
    write_talks(workspace.datasets / "preferences.jsonl", [], *rows)

    def is_known(tokenizer: BPETokenizer, word: str) -> bool:
        return len(tokenizer.encode(word)) == 1

    text_alone = trained_by_stage(workspace, "text", "tokenizer", "pretrain")
    assert is_known(text_alone, " mat")
    assert not is_known(text_alone, " zebracorn")
    both = trained_by_stage(workspace, "both", "tokenizer", "pretrain", "finetune")
    assert both.vocab_size > text_alone.vocab_size
    for word in (" mat", " zebracorn", " quaggafly", "gnuworm", " wormgnu", "look", "topic"):
        assert is_known(both, word), word
    for word in ("messages", "content", "assistant", "user", "role", " elkmouse", '"role":'):
        assert not is_known(both, word), word
    names = {both.decode([index]) for index in range(10, both.vocab_size)}
    assert not any("<|" in name or "|>" in name for name in names)
