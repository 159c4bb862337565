"""Reward-guided policy optimisation: the closed form, groups, tools, bounds and resuming."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from gptcore import events
from gptcore.conversation import SPECIAL_TOKENS
from gptcore.errors import UserError
from gptcore.formats.records import Message
from gptcore.rl_settings import RgpoSettings
from gptcore.settings import EngineSettings
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.finetune.backends import Backend, Trained, prepare
from gptengine.rl.prompts import PromptData, Prompts
from gptengine.rl.rewards import Scored
from gptengine.rl.rgpo import RGPO, best_of_groups, clipped_losses, leave_one_out
from gptengine.rl.tasks import Completion, Task
from gptengine.train import checkpoint
from gptengine.train.device import place
from tests.engine.tiny_models import CONTEXT, Record
from tests.engine.tuning import Requests, equal, script

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = place(EngineSettings(device="cpu"))
QUIET: dict[str, Any] = {"eval_interval": 0, "checkpoint_interval": 0, "sample_interval": 0}

#: The smallest tokenizer that there can be: the control tokens, and six letters.
LETTERS = "abcdef"


class Letters:
    """A tokenizer of letters."""

    vocab_size = len(SPECIAL_TOKENS) + len(LETTERS)

    def id_of(self, token: str) -> int:
        return SPECIAL_TOKENS.index(token)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[len(SPECIAL_TOKENS) + LETTERS.index(letter) for letter in text] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join((*SPECIAL_TOKENS, *LETTERS)[index] for index in ids)

    def save(self, folder: Path, model_max_length: int | None = None) -> None:
        """Nothing: no checkpoint of it is read again."""


class ByIds:
    """Judges the ids alone."""

    def __init__(self, worth: Any) -> None:
        self._worth = worth

    def score(self, completions: Sequence[Completion], ids: Sequence[Sequence[int]]) -> list[Any]:
        return [
            Scored(value, {"worth": value})
            for completion, row in zip(completions, ids, strict=True)
            if (value := float(self._worth(row[len(row) - completion.num_tokens :]))) is not None
        ]


# --- the closed form -----------------------------------------------------------------------------


def letters_model(seed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    shape = {"n_positions": 8, "n_embd": 16, "n_layer": 1, "n_head": 2, "initializer_range": 0.4}
    still = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=Letters.vocab_size, **shape, **still, **ends))


@pytest.mark.parametrize(("beta", "inner_epochs"), [(0.5, 1), (0.2, 2)])
def test_without_guidance_it_ends_at_the_closed_form(beta: float, inner_epochs: int) -> None:
    model = letters_model(seed=inner_epochs)
    worth = torch.linspace(0, 1, Letters.vocab_size)[torch.randperm(Letters.vocab_size)]
    prompt = [3, 10, 5, 4]

    def distribution() -> Tensor:
        with torch.no_grad():
            return torch.softmax(model(torch.tensor([prompt])).logits[0, -1], -1)

    reference = distribution()
    wanted = reference * torch.exp(worth / beta)
    wanted /= wanted.sum()
    settings = RgpoSettings(
        method="full",
        lr=1e-2,
        min_lr=1e-4,
        warmup_steps=0,
        max_steps=150,
        batch_size=64,
        micro_batch=64,
        group_size=64,
        max_tokens=1,
        max_turns=1,
        inner_epochs=inner_epochs,
        kl_coef=beta,
        guidance=0.0,
        max_kl=0.0,
        **QUIET,
    )
    training = RGPO(
        Trained(model, Backend("transformers", ""), Path()),
        Letters(),
        settings,
        CPU,
        data=PromptData(Prompts([Task((Message("user", "a"),))], [prompt])),
        judge=ByIds(lambda ids: worth[ids[0]]),  # type: ignore[arg-type]
        longest=8,
        recorder=Record(),
        requests=list,
        checkpoint_dir=None,
    )
    training.run()
    assert float((reference - wanted).abs().sum()) / 2 > 0.1  # or there is nothing to see
    assert float((distribution() - wanted).abs().sum()) / 2 < 0.02


def test_leave_one_out() -> None:
    found = leave_one_out(torch.tensor([1.0, 2.0, 6.0, 0.0, 0.0, 3.0]), 3)
    assert found.tolist() == [-3.0, -1.5, 4.5, -1.5, -1.5, 3.0]


def test_the_best_of_a_group_guides_where_it_beats_the_mean_by_enough() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.2, 0.0, 0.1, 1.0, 1.0, 0.0, 0.5, 0.5, 0.5])
    marks = best_of_groups(rewards, 3, 0.2)
    assert marks.nonzero().flatten().tolist() == [0, 6]


def test_clipping_takes_the_gradient_beyond_the_bounds_and_only_there() -> None:
    new = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.1], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])
    losses, clipped = clipped_losses(new, torch.zeros(5), advantage, 0.2)
    assert clipped.tolist() == [True, False, False, True, False]
    losses.sum().backward()
    assert new.grad is not None
    assert [bool(value) for value in new.grad] == [False, True, True, False, True]
    assert losses[0].item() == pytest.approx(-1.2)


# --- a training ----------------------------------------------------------------------------------


class Tuning:
    """A training on two prompts, with a reward that looks at the ids alone."""

    def __init__(
        self,
        folder: Path,
        *,
        worth: Any = lambda ids: ids.count(60) / len(ids),
        requests: Requests = list,
        checkpoints: Path | None = None,
        **changes: Any,
    ) -> None:
        given: dict[str, Any] = {
            "max_steps": 8,
            "batch_size": 16,
            "micro_batch": 8,
            "group_size": 8,
            "max_tokens": 6,
            "lr": 1e-2,
            "min_lr": 1e-3,
            "warmup_steps": 0,
            "kl_coef": 0.01,
            "rank": 4,
            **QUIET,
        }
        self.settings = RgpoSettings(**{**given, **changes})
        tokenizer = load_chat_tokenizer(folder)
        self.trained = prepare(folder, tokenizer, self.settings, CPU, CONTEXT)
        words = ("Who sat on the mat?", "the weather in Oslo")
        tasks = [Task((Message("user", word),), row=word) for word in words]
        ids = [
            [tokenizer.id_of("<|user|>"), *text, tokenizer.id_of("<|assistant|>")]
            for text in tokenizer.encode_batch(words)
        ]
        self.record = Record()
        self.training = RGPO(
            self.trained,
            tokenizer,
            self.settings,
            CPU,
            data=PromptData(Prompts(tasks, ids), Prompts(tasks[:1], ids[:1])),
            judge=ByIds(worth),  # type: ignore[arg-type]
            longest=CONTEXT,
            recorder=self.record,
            requests=requests,
            checkpoint_dir=checkpoints,
        )

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.trained.parameters().items()}

    @property
    def rewards(self) -> list[Any]:
        return [told for told in self.record.of(events.Reward) if not told.held_out]


@pytest.mark.parametrize("kind", ["gpt2 dropout", "llama dropout"])
def test_at_first_the_ratio_is_one(folders: dict[str, Path], kind: str) -> None:
    made = Tuning(folders[kind], max_steps=1, clip=1e-4, inner_epochs=1, dropout=0.2)
    made.training.run()
    assert (made.rewards[0].clip_fraction, made.rewards[0].kl) == (0, pytest.approx(0, abs=1e-4))


@pytest.mark.parametrize(
    ("kind", "method"), [("gpt2", "lora"), ("gpt2", "full"), ("llama", "lora")]
)
def test_the_reward_rises(folders: dict[str, Path], kind: str, method: str) -> None:
    made = Tuning(folders[kind], method=method, max_steps=20, lr=2e-2, train_embedding="on")
    made.training.run()
    means = [told.mean for told in made.rewards]
    assert sum(means[-3:]) / 3 > sum(means[:3]) / 3 + 0.2
    first, last = made.rewards[0], made.rewards[-1]
    assert first.kl == pytest.approx(0, abs=1e-3)  # nothing is learned yet
    assert last.kl > 0.1
    assert last.entropy < first.entropy
    assert first.parts["worth"] == pytest.approx(first.mean)
    assert (first.length, first.prompts) == (pytest.approx(6, abs=1), 2)


def test_held_out_prompts_are_answered_at_the_likeliest_before_and_after(
    folders: dict[str, Path],
) -> None:
    made = Tuning(folders["gpt2"], max_steps=20, lr=2e-2, train_embedding="on")
    made.training.run()
    looks = [told for told in made.record.of(events.Reward) if told.held_out]
    assert [told.prompts for told in looks] == [1, 1]
    assert looks[-1].mean > looks[0].mean
    assert made.training.scores() == {"held_out_reward": looks[-1].mean}


def test_guidance_decays_and_pulls_at_the_best(folders: dict[str, Path]) -> None:
    made = Tuning(folders["gpt2"], guidance=1.0, guidance_share=0.5)
    made.training.run()
    assert [told.guidance for told in made.rewards] == [1.0, 0.75, 0.5, 0.25, 0, 0, 0, 0]
    plain = Tuning(folders["gpt2"], guidance=0.0)
    plain.training.run()
    assert len(equal(made.weights(), plain.weights())) < len(plain.weights())


def test_micro_batches_give_the_same_steps_as_the_whole(folders: dict[str, Path]) -> None:
    # The first steps of Adam make as much of a gradient's rounding as of the gradient.
    slow = {"lr": 1e-4, "min_lr": 1e-5, "max_steps": 3}
    ways = [Tuning(folders["gpt2"], micro_batch=size, **slow) for size in (16, 4)]
    losses = [way.training.run().losses for way in ways]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    for first, second in zip(*(way.rewards for way in ways), strict=True):
        assert first.mean == pytest.approx(second.mean)
        assert first.kl == pytest.approx(second.kl, abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_resume_equals_no_interruption_bit_for_bit(
    folders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    folder = folders["gpt2 dropout"]
    alone = Tuning(folder, method=method)
    losses = alone.training.run().losses
    saved = tmp_path / "checkpoints"
    first = Tuning(folder, method=method, checkpoints=saved, requests=script((5, "stop")))
    assert first.training.run().ended_by == "stop"
    second = Tuning(folder, method=method, checkpoints=saved)
    newest, passed_over = checkpoint.newest_sound(saved)
    assert newest is not None
    assert (checkpoint.step_of(newest), passed_over) == (5, [])
    second.training.resume(newest)
    assert first.training.duties.history.losses + second.training.run().losses == losses
    assert len(equal(alone.weights(), second.weights())) == len(alone.weights())
    assert second.rewards[-1] == alone.rewards[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"max_kl": 0.01}, "max_kl"), ({"min_entropy": 100.0}, "min_entropy")],
)
def test_it_ends_where_it_leaves_its_bounds(
    folders: dict[str, Path], tmp_path: Path, changes: dict[str, float], said: str
) -> None:
    made = Tuning(folders["gpt2"], checkpoints=tmp_path, max_steps=30, lr=5e-2, **changes)
    with pytest.raises(UserError, match=said) as caught:
        made.training.run()
    assert "rgpo.lr = 0.05" in caught.value.fix
    assert checkpoint.newest_sound(tmp_path)[0] is not None or said == "min_entropy"


def test_a_sample_is_an_answer_with_its_reward(folders: dict[str, Path]) -> None:
    made = Tuning(folders["gpt2"], max_steps=2, sample_interval=1)
    made.training.run()
    shown = made.record.of(events.Sample)
    assert len(shown) == 2
    assert shown[-1].prompt.startswith("<|user|>")
    assert "[reward 0" in shown[-1].text


def test_a_reward_that_is_no_number_never_reaches_the_weights(folders: dict[str, Path]) -> None:
    made = Tuning(folders["gpt2"], worth=lambda ids: float("nan"), max_bad_steps=2)
    before = made.weights()
    with pytest.raises(UserError, match="not finite"):
        made.training.run()
    assert len(equal(before, made.weights())) == len(before)
    assert {(told.mean, told.std, len(told.parts)) for told in made.rewards} == {(None, None, 0)}
