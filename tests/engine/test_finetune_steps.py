"""What happens between the steps of a fine-tuning, and that it goes on as if nothing had."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from gptcore import events
from gptcore.control import Command
from gptcore.errors import UserError
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.train import checkpoint
from tests.engine.tiny_models import CONTEXT, TALKS, talk
from tests.engine.tuning import Tuning, equal, script

pytestmark = pytest.mark.usefixtures("one_thread")


class Snapshots:
    """Keeps the weights before every step."""

    def __init__(self) -> None:
        self.made: Tuning | None = None
        self.weights: list[dict[str, Tensor]] = []

    def __call__(self) -> list[Command]:
        assert self.made is not None
        self.weights.append(self.made.weights())
        return []


def exploding(made: Tuning, *bad_steps: int) -> None:
    """Have one gradient not a number in some of the steps, counted from 1."""
    steps = iter(range(1, 100))
    parameter = next(iter(made.trained.parameters().values()))
    parameter.register_hook(
        lambda gradient: gradient * (math.nan if next(steps) in bad_steps else 1)
    )


def test_a_bad_step_never_reaches_the_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    seen = Snapshots()
    made = seen.made = Tuning(folders["gpt2"], tmp_path, max_steps=6, requests=seen)
    exploding(made, 3, 4)
    history = made.run()
    skipped = [step.skipped for step in made.record.of(events.Step)]
    assert skipped == [False, False, True, True, False, False]
    assert made.record.of(events.Step)[2].grad_norm is None
    weights = [*seen.weights, made.weights()]
    unchanged = [len(equal(a, b)) == len(a) for a, b in itertools.pairwise(weights)]
    assert unchanged == skipped
    assert all(value.isfinite().all() for value in made.weights().values())
    assert history.steps == [1, 2, 3, 4, 5, 6]


def test_bad_steps_end_the_training_when_told_so(folders: dict[str, Path], tmp_path: Path) -> None:
    made = Tuning(folders["gpt2"], tmp_path, bad_steps="stop")
    exploding(made, 2)
    with pytest.raises(UserError, match="not finite") as said:
        made.run()
    assert "finetune.lr" in said.value.fix
    assert all(value.isfinite().all() for value in made.weights().values())
    made = Tuning(folders["gpt2"], tmp_path, max_bad_steps=2)
    exploding(made, 2, 4, 5, 6)
    with pytest.raises(UserError, match="3 times in a row"):
        made.run()


def test_commands_are_obeyed_between_the_steps(folders: dict[str, Path], tmp_path: Path) -> None:
    # A pause takes polls, but no steps: those at 5 and 6 come before the sixth step.
    asked = script((2, "checkpoint"), (4, "sample"), (5, "pause"), (6, "resume"), (9, "stop"))
    saved = tmp_path / "checkpoints"
    made = Tuning(folders["llama"], tmp_path, requests=asked, checkpoints=saved)
    history = made.run()
    assert history.ended_by == "stop"
    assert history.steps == [1, 2, 3, 4, 5, 6, 7, 8]
    answers = [(a.command, a.outcome) for a in made.record.of(events.Answer)]
    assert answers == [
        ("checkpoint", "done"),
        ("sample", "done"),
        ("pause", "done"),
        ("resume", "done"),
        ("stop", "done"),
    ]
    assert [c.why for c in made.record.of(events.Checkpoint)] == ["asked", "stop"]
    assert [path.name for path in checkpoint.checkpoints(saved)] == [
        "step-00000008",
        "step-00000002",
    ]
    assert all(checkpoint.defect(path) is None for path in checkpoint.checkpoints(saved))
    [sample] = made.record.of(events.Sample)
    assert sample.prompt == "<|user|>Hello!<|end|><|assistant|>"
    assert sample.text
    states = [change.state for change in made.record.of(events.RunChange)]
    assert states == ["paused", "running"]


def test_a_sample_ends_where_the_context_does(folders: dict[str, Path], tmp_path: Path) -> None:
    for prompt, is_long in (("the cat " * 20, False), ("the cat " * 400, True)):
        options = {"max_steps": 1, "sample_prompt": prompt, "sample_tokens": 10 * CONTEXT}
        made = Tuning(folders["gpt2"], tmp_path, sample_interval=1, **options)
        made.run()
        [sample] = made.record.of(events.Sample)
        assert (sample.text == "") == is_long
        written = len(made.tokenizer.encode(sample.prompt + sample.text))
        assert written > CONTEXT / 2


def test_commands_change_no_number(folders: dict[str, Path], tmp_path: Path) -> None:
    asked = script((2, "checkpoint"), (3, "sample"), (4, "sample"))
    folder = folders["gpt2 dropout"]
    alone = Tuning(folder, tmp_path, max_steps=8, dropout=0.2)
    disturbed = Tuning(
        folder,
        tmp_path,
        max_steps=8,
        dropout=0.2,
        requests=asked,
        checkpoints=tmp_path / "checkpoints",
        sample_interval=2,
        eval_interval=3,
        val=TALKS,
    )
    assert alone.run().losses == disturbed.run().losses
    assert len(equal(alone.weights(), disturbed.weights())) == len(alone.weights())


def test_a_checkpoint_is_a_model_that_can_answer(folders: dict[str, Path], tmp_path: Path) -> None:
    made = Tuning(folders["gpt2"], tmp_path, checkpoints=tmp_path / "c", method="full")
    made.run()
    [saved] = checkpoint.checkpoints(tmp_path / "c")
    model = AutoModelForCausalLM.from_pretrained(saved)
    torch.testing.assert_close(made.logits(model), made.logits())
    assert load_chat_tokenizer(saved).vocab_size == made.tokenizer.vocab_size


@pytest.mark.parametrize("method", ["lora", "full"])
def test_early_stopping_ends_with_the_best_weights(
    folders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    made = Tuning(
        folders["gpt2"],
        tmp_path,
        val=[talk("Who sat on the mat?", "the weather in Oslo: look_up 1 2 3 topic")],
        talks=TALKS[:2],
        checkpoints=tmp_path / "checkpoints",
        method=method,
        lr=3e-2,
        min_lr=3e-2,
        max_steps=200,
        eval_interval=1,
        early_stopping=3,
    )
    history = made.run()
    assert history.ended_by == "early stopping"
    assert history.best_val_loss == min(history.val_losses)
    assert history.val_losses[-1] > history.best_val_loss == history.val_loss
    assert len(history.steps) == history.val_losses.index(history.best_val_loss) + 4
    found = made.tuning.evaluate()
    assert found is not None
    assert found[0] == pytest.approx(history.best_val_loss, rel=1e-5)


RESUMED = {
    "lora": ("gpt2 dropout", {}),
    "untied": ("llama dropout", {"batch_size": 4, "micro_batch": 2}),
    "packed": ("llama dropout", {"packing": True, "batch_size": 2, "micro_batch": 2}),
    "full": ("gpt2 dropout", {"method": "full"}),
    "checkpointing": ("gpt2 dropout", {"gradient_checkpointing": True}),
}


@pytest.mark.parametrize("case", RESUMED)
def test_resume_equals_no_interruption_bit_for_bit(
    folders: dict[str, Path], tmp_path: Path, case: str
) -> None:
    kind, changes = RESUMED[case]
    options: dict[str, Any] = {"max_steps": 9, "dropout": 0.2, "val": TALKS, "eval_interval": 2}
    options |= changes
    alone = Tuning(folders[kind], tmp_path, checkpoints=tmp_path / "alone", **options)
    losses = alone.run().losses
    saved = tmp_path / "checkpoints"
    torch.manual_seed(99)
    first = Tuning(
        folders[kind], tmp_path, checkpoints=saved, requests=script((5, "stop")), **options
    )
    assert first.run().ended_by == "stop"
    torch.manual_seed(123)
    second = Tuning(folders[kind], tmp_path, checkpoints=saved, **options)
    newest, passed_over = checkpoint.newest_sound(saved)
    assert newest is not None
    assert (checkpoint.step_of(newest), passed_over) == (5, [])
    torch.manual_seed(456)
    second.tuning.resume(newest)
    history = second.run()
    assert history.steps == [6, 7, 8, 9]
    assert first.tuning.duties.history.losses + history.losses == losses
    assert len(equal(alone.weights(), second.weights())) == len(alone.weights())
    assert history.val_loss == alone.tuning.duties.state.val_loss
    assert history.tokens == alone.tuning.duties.state.tokens
    # dropout was at work, or the random states would not have been tried
    without = Tuning(folders[kind.split()[0]], tmp_path, **{**options, "dropout": 0.0})
    assert without.run().losses != losses
    # and when all is done, nothing more is
    third = Tuning(folders[kind], tmp_path, checkpoints=saved, **options)
    third.tuning.resume(checkpoint.checkpoints(saved)[0])
    assert third.run().steps == []
    assert len(equal(alone.weights(), third.weights())) == len(alone.weights())
