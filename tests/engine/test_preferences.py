"""Pairs to learn from: read, encoded, held out; and what goes on between steps that take them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gptcore import events
from gptcore.control import Command
from gptcore.errors import UserError
from gptcore.formats.records import Message, Preference, Tool, ToolCall
from gptcore.settings import RowsDataSettings
from gptcore.workspace import Workspace
from gptengine.finetune.data import RowsData, check_share
from gptengine.rl.preferences import Pairs, fared, read_pairs
from gptengine.tokenizer import BPETokenizer
from gptengine.train import checkpoint
from tests.engine.preference_tuning import (
    KINDS_OF_TRAINING,
    PairTuning,
    pair,
    polite_pairs,
    write_pairs,
)
from tests.engine.tiny_models import CONTEXT, SENTENCES, perform_stage, talk, write_talks
from tests.engine.tuning import equal

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(SENTENCES, vocab_size=340)
    return made


def read(tokenizer: BPETokenizer, *files: Path, **options: Any) -> RowsData:
    return read_pairs(files, [1] * len(files), tokenizer, **{"longest": CONTEXT, **options})


def learned_texts(data: RowsData, tokenizer: BPETokenizer) -> list[str]:
    sides = [data.train[at] for at in range(len(data.train))]
    return [tokenizer.decode(ids[learned].tolist()) for ids, learned in sides]


# --- reading -------------------------------------------------------------------------------------


def test_only_the_answers_carry_loss(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    tool = Tool("look_up", "Find.", {"type": "object", "properties": {"topic": {}}})
    call = Message("assistant", calls=(ToolCall("look_up", {"topic": "whale"}),))
    made = Preference(
        prompt=(
            Message("system", "Be kind."),
            Message("user", "Who?"),
            Message("assistant", "the cat"),
            Message("user", "A whale?"),
        ),
        chosen=(call, Message("tool", "a mammal", name="look_up"), Message("assistant", "Yes.")),
        rejected=(Message("assistant", "the dog"),),
        tools=(tool,),
    )
    data = read(tokenizer, write_pairs(tmp_path / "a.jsonl", [made]))
    assert (data.rows, data.bad, len(data.train)) == (1, 0, 2)
    assert learned_texts(data, tokenizer) == [
        '<|function_call|>\nlook_up({"topic": "whale"})\n<|/function_call|><|end|>Yes.<|end|>',
        "the dog<|end|>",
    ]
    chosen, rejected = (tokenizer.decode(data.train[at][0].tolist()) for at in (0, 1))
    prompt = (
        "<|system|>Be kind.\n\nFunctions:\nlook_up(topic?: any) Find.<|end|><|user|>Who?<|end|>"
        "<|assistant|>the cat<|end|><|user|>A whale?<|end|><|assistant|>"
    )
    assert chosen.startswith(prompt)
    assert rejected.startswith(prompt)


def test_what_cannot_be_compared_is_counted_with_file_and_row(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    long = "the cat sat " * 200
    rows = [
        pair("Which?", "the cat", "the dog"),
        pair("Long chosen?", long, "the dog"),
        pair("Long rejected?", "the cat", long),
    ]

    def talk_of(weight: int) -> list[dict[str, Any]]:
        first = {"role": "assistant", "content": "the mat", "weight": weight}
        again = {"role": "user", "content": "And?"}
        return [first, again, {"role": "assistant", "content": "the hat"}]

    unlearned = [{"role": "assistant", "content": "the mat", "weight": 0}]
    more = [
        {"prompt": "Same?", "chosen": "the cat", "rejected": "the cat"},
        {"prompt": "", "chosen": "the cat", "rejected": "the dog"},
        {"prompt": "Which?", "chosen": "the cat", "rejected": "the dog"},
        {"prompt": "Nothing?", "chosen": "the cat", "rejected": unlearned},
        {"prompt": "Alike?", "chosen": talk_of(1), "rejected": talk_of(0)},
        {"prompt": "No pair", "completion": "the cat"},
        "{",
    ]
    data = read(tokenizer, write_pairs(tmp_path / "a.jsonl", rows, *more))
    assert (data.rows, data.bad, data.formless) == (9, 8, 1)
    assert len(Pairs(data.train)) == 1
    told = {problem.row: f"{problem.field}: {problem.reason}" for problem in data.problems}
    assert told[2].startswith("chosen: is longer than the context: ")
    assert told[3].startswith("rejected: is longer than the context: ")
    assert told[4] == "rejected: is the same as chosen"
    assert told[5] == "prompt: is empty"
    assert "duplicate of row 1" in told[6]
    with pytest.raises(UserError, match="8 of 9 rows cannot be used") as refused:
        check_share(data, RowsDataSettings(), tmp_path, "orpo")
    assert "--set data.orpo.max_bad=" in refused.value.fix
    assert check_share(data, RowsDataSettings(max_bad=0.9), tmp_path, "orpo")


def test_a_pair_fits_to_the_token(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    file = write_pairs(tmp_path / "a.jsonl", [pair("Which?", "the cat", "the cat and the dog")])
    longest = int(read(tokenizer, file).train.lengths.max())
    assert read(tokenizer, file, longest=longest).bad == 0
    assert read(tokenizer, file, longest=longest - 1).bad == 1


def test_nothing_to_learn_from_is_refused_as_pairs(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    data = read(tokenizer, write_talks(tmp_path / "a.jsonl", [talk("a", "b")]))
    with pytest.raises(UserError, match="there is no pair to learn from"):
        check_share(data, RowsDataSettings(), tmp_path, "reward")
    held = read(tokenizer, write_pairs(tmp_path / "b.jsonl", polite_pairs(3)), held_out=0.999999)
    with pytest.raises(UserError, match="all 3 are held out") as refused:
        check_share(held, RowsDataSettings(), tmp_path, "reward")
    assert refused.value.fix == "lower data.reward.held_out"


def test_pairs_about_one_prompt_are_held_out_together(
    tokenizer: BPETokenizer, tmp_path: Path
) -> None:
    made = [pair(f"Which {n}?", f"the cat {m}", "the dog") for n in range(40) for m in range(3)]
    data = read(tokenizer, write_pairs(tmp_path / "a.jsonl", made), held_out=0.3)
    assert data.held_out * 2 == len(data.val)
    assert 0 < data.held_out < 120

    def prompts(sides: Any) -> list[str]:
        texts = [tokenizer.decode(sides[at][0].tolist()) for at in range(0, len(sides), 2)]
        return [text.partition("<|assistant|>")[0] for text in texts]

    held, kept = prompts(data.val), prompts(data.train)
    assert not set(held) & set(kept)
    assert all(held.count(prompt) == 3 for prompt in held)


def test_a_batch_holds_the_chosen_sides_first(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    made = [pair("Which?", "the cat", "the dog"), pair("Who?", "the hat", "the mat sat on")]
    pairs = Pairs(read(tokenizer, write_pairs(tmp_path / "a.jsonl", made)).train)
    batch = pairs.collate([1, 0], tokenizer.pad_id)
    texts = [
        tokenizer.decode(ids[mask.bool()].tolist()).rpartition("<|assistant|>")[2]
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    wanted = ["the hat", "the cat", "the mat sat on", "the dog"]
    assert texts == [f"{text}<|end|>" for text in wanted]
    sizes = batch["attention_mask"].sum(1)
    assert pairs.lengths.tolist() == [int(sizes[1] + sizes[3]), int(sizes[0] + sizes[2])]


def test_pairs_fare_by_their_margins() -> None:
    told = fared(torch.tensor([1.0, -0.5, 2.0, 0.0]), held_out=True)
    assert (told.accuracy, told.margin, told.held_out, told.prompts) == (0.5, 0.625, True, 4)


def test_the_tokenizer_learns_from_both_sides(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.datasets.mkdir()
    (workspace.datasets / "text.txt").write_text("the cat sat on the mat. " * 50)
    made = [pair(f"Which gnu {n}?", f"A zebracorn {n}", f"A quaggafly {n}") for n in range(200)]
    write_pairs(workspace.datasets / "pairs.jsonl", made)

    def learned(name: str, *stages: str) -> BPETokenizer:
        content = {"pipeline": {"stages": list(stages)}, "model": {"vocab_size": 420}}
        assert perform_stage(workspace, name, "tokenizer", content)[0] == 0
        return BPETokenizer.load(workspace.tokenizers / name)

    words = (" zebracorn", " quaggafly", " gnu")
    without = learned("without", "tokenizer", "pretrain")
    assert all(len(without.encode(word)) > 1 for word in words)
    both = learned("both", "tokenizer", "pretrain", "orpo")
    assert all(len(both.encode(word)) == 1 for word in words)
    assert len(both.encode("rejected")) > 1


# --- between the steps ---------------------------------------------------------------------------


RESUMED = {
    "lora": ("gpt2 dropout", {}),
    "full": ("gpt2 dropout", {"method": "full"}),
    "llama": ("llama dropout", {"batch_size": 4, "micro_batch": 2}),
}


@pytest.mark.parametrize("case", RESUMED)
@pytest.mark.parametrize("training", KINDS_OF_TRAINING)
def test_resume_equals_no_interruption_bit_for_bit(
    folders: dict[str, Path], tmp_path: Path, training: str, case: str
) -> None:
    kind, changes = RESUMED[case]
    options: dict[str, Any] = {
        "max_steps": 9,
        "lr": 3e-3,
        "dropout": 0.2,
        "val": polite_pairs(12)[8:],
        "eval_interval": 2,
        **changes,
    }

    def made(checkpoints: Path, **more: Any) -> PairTuning:
        return PairTuning(
            training, folders[kind], tmp_path, checkpoints=checkpoints, **{**options, **more}
        )

    alone = made(tmp_path / "alone")
    losses = alone.run().losses
    saved = tmp_path / "checkpoints"
    polls = iter(range(100))

    def stop() -> list[Command]:
        return [Command("stop", "stop", 0.0)] if next(polls) == 5 else []

    torch.manual_seed(99)
    first = made(saved, requests=stop)
    assert first.run().ended_by == "stop"
    torch.manual_seed(123)
    second = made(saved)
    newest, _ = checkpoint.newest_sound(saved)
    assert newest is not None
    assert checkpoint.step_of(newest) == 5
    torch.manual_seed(456)
    second.tuning.resume(newest)
    history = second.run()
    assert first.tuning.duties.history.losses + history.losses == losses
    assert len(equal(alone.weights(), second.weights())) == len(alone.weights())
    assert history.val_loss == alone.tuning.duties.state.val_loss
    assert history.tokens == alone.tuning.duties.state.tokens
    assert second.tuning.scores() == alone.tuning.scores()
    # dropout was at work, or the random states would not have been tried
    without = PairTuning(
        training, folders[kind.split()[0]], tmp_path, **{**options, "dropout": 0.0}
    )
    assert without.run().losses != losses


@pytest.mark.parametrize("training", KINDS_OF_TRAINING)
def test_every_step_tells_how_its_pairs_fared(
    folders: dict[str, Path], tmp_path: Path, training: str
) -> None:
    made = PairTuning(
        training,
        folders["llama"],
        tmp_path,
        val=polite_pairs(9)[6:],
        max_steps=4,
        eval_interval=2,
        micro_batch=2,
    )
    made.run()
    told = [(step, each) for step, each in made.record.payloads if isinstance(each, events.Reward)]
    assert [(step, each.held_out, each.prompts) for step, each in told] == [
        (1, False, 4),
        (2, False, 4),
        (2, True, 3),
        (3, False, 4),
        (4, False, 4),
        (4, True, 3),
    ]
    assert all(0 <= each.accuracy <= 1 for _, each in told)
    assert len(made.record.of(events.Step)) == 4
    assert len(made.record.of(events.Eval)) == 2


@pytest.mark.parametrize("training", KINDS_OF_TRAINING)
def test_a_bad_step_never_reaches_the_weights(
    folders: dict[str, Path], tmp_path: Path, training: str
) -> None:
    made = PairTuning(training, folders["gpt2"], tmp_path, max_steps=3)
    parameter = next(iter(made.trained.parameters().values()))
    steps = iter(range(1, 10))
    parameter.register_hook(lambda gradient: gradient * (torch.nan if next(steps) == 2 else 1))
    made.run()
    assert [step.skipped for step in made.record.of(events.Step)] == [False, True, False]
    assert all(value.isfinite().all() for value in made.weights().values())


@pytest.mark.parametrize("training", KINDS_OF_TRAINING)
def test_accumulation_gives_the_same_steps_as_the_whole_batch(
    folders: dict[str, Path], tmp_path: Path, training: str
) -> None:
    uneven = [
        pair(each.prompt[0].content, "rain " * n, "Oslo")
        for n, each in enumerate(polite_pairs(8), 1)
    ]
    whole, parts = (
        PairTuning(
            training,
            folders["gpt2"],
            tmp_path,
            train=uneven,
            max_steps=4,
            batch_size=8,
            micro_batch=size,
        )
        for size in (8, 2)
    )
    losses = whole.run().losses
    assert parts.run().losses == pytest.approx(losses, abs=1e-5)
    for name, value in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("training", KINDS_OF_TRAINING)
def test_bf16_and_checkpointed_activations_train_alike(
    folders: dict[str, Path], tmp_path: Path, training: str
) -> None:
    plain, saving, half = (
        PairTuning(training, folders["llama"], tmp_path, max_steps=4, lr=1e-3, min_lr=0, **more)
        for more in ({}, {"gradient_checkpointing": True}, {"precision": "bf16"})
    )
    losses = plain.run().losses
    assert saving.run().losses == pytest.approx(losses, abs=1e-6)
    assert half.run().losses == pytest.approx(losses, abs=0.05)
