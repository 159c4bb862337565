"""Proximal policy optimisation: it learns, keeps its bounds, and goes on as if nothing had been."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from gptcore import events
from gptcore.control import Command
from gptcore.errors import UserError
from gptcore.formats.records import Message
from gptcore.lineage import read_lineage
from gptcore.rl_settings import PpoSettings
from gptcore.settings import EngineSettings
from gptcore.workspace import Workspace
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.finetune.backends import prepare
from gptengine.rl.judge import Judge
from gptengine.rl.ppo import PPO
from gptengine.rl.prompts import PromptData, Prompts, read_prompts
from gptengine.rl.rewards import Scorer
from gptengine.rl.tasks import Completion, Task
from gptengine.rl.value import Value
from gptengine.train import checkpoint
from gptengine.train.device import place
from tests.engine.tiny_models import (
    CONTEXT,
    TALKS,
    Record,
    make_model,
    perform_stage,
    talk,
    write_talks,
)
from tests.engine.tuning import Requests, equal, script

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {
    "max_steps": 4,
    "lr": 5e-3,
    "min_lr": 5e-3,
    "warmup_steps": 0,
    "batch_size": 16,
    "micro_batch": 8,
    "inner_epochs": 2,
    "max_tokens": 6,
    "eval_interval": 0,
    "checkpoint_interval": 0,
    "sample_interval": 0,
    "sample_tokens": 4,
    "kl_coef": 0.01,
    "rank": 4,
    "alpha": 8,
}
QUESTIONS = [talk(f"the {word}?", "the cat") for word in ("cat", "dog", "hat", "mat", "sea")]


def letters(completion: Completion) -> float:
    """How many letters t there are in an answer, a token of six at the most."""
    return completion.last.content.count("t") / 6


class Practice:
    """One training with all that it needs."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        *,
        reward: Callable[[Completion], float | None] = letters,
        data: PromptData | None = None,
        requests: Requests = list,
        checkpoints: Path | None = None,
        precision: str = "fp32",
        **changes: Any,
    ) -> None:
        self.settings = PpoSettings(**{**QUICK, **changes})
        self.tokenizer = load_chat_tokenizer(folder)
        placement = place(EngineSettings(device="cpu", precision=precision))
        self.trained = prepare(folder, self.tokenizer, self.settings, placement, CONTEXT)
        self.record = Record()
        scorer = Scorer({"letters": 1.0}, functions={"letters": reward})
        self.training = PPO(
            self.trained,
            self.tokenizer,
            self.settings,
            placement,
            data=data or self.read(scratch / "rows.jsonl"),
            judge=Judge(scorer, pytest.fail),
            longest=CONTEXT,
            recorder=self.record,
            requests=requests,
            checkpoint_dir=checkpoints,
            scratch=scratch / "trl",
        )

    def read(self, file: Path) -> PromptData:
        write_talks(file, QUESTIONS)
        return read_prompts([file], [1], self.tokenizer, longest=CONTEXT, room=6)

    def run(self) -> Any:
        return self.training.run()

    def weights(self) -> dict[str, Tensor]:
        """Of the model and the value model."""
        return {name: p.detach().clone() for name, p in self.training.parameters().items()}

    def rewards(self) -> list[events.Reward]:
        return self.record.of(events.Reward)


# --- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "method"), [("gpt2", "full"), ("gpt2", "lora"), ("llama", "full")]
)
def test_the_reward_rises(folders: dict[str, Path], tmp_path: Path, kind: str, method: str) -> None:
    changes: dict[str, Any] = {
        "lr": 2e-2,
        "min_lr": 5e-3,
        "batch_size": 32,
        "micro_batch": 32,
        "max_steps": 14,
    }
    made = Practice(folders[kind], tmp_path, method=method, inner_epochs=4, kl_coef=0.0, **changes)
    made.run()
    rewards = [told.mean for told in made.rewards()]
    assert sum(rewards[-3:]) > 3 * sum(rewards[:3]) > 0  # type: ignore[arg-type]
    assert made.training.scores()["reward_before"] == rewards[0]
    assert made.training.scores()["reward"] == rewards[-1]


def test_it_learns_to_end_its_answers(folders: dict[str, Path], tmp_path: Path) -> None:
    made = Practice(
        folders["gpt2"],
        tmp_path,
        reward=lambda completion: float(completion.last.is_complete),
        method="full",
        lr=1e-2,
        min_lr=5e-3,
        batch_size=64,
        micro_batch=64,
        inner_epochs=4,
        max_steps=20,
        max_tokens=12,
        kl_coef=0.0,
    )
    made.run()
    rewards, lengths = zip(*((told.mean, told.length) for told in made.rewards()), strict=True)
    assert sum(rewards[-3:]) > 2.4 > 5 * sum(rewards[:3]) / 3
    assert lengths[-1] < 6 < 9 < lengths[0]


@pytest.mark.parametrize(
    ("kind", "method", "precision"),
    [
        ("gpt2 dropout", "lora", "fp32"),
        ("llama dropout", "full", "fp32"),
        ("llama dropout", "lora", "bf16"),
        ("gpt2", "full", "fp16"),
    ],
)
def test_ratio_and_divergence_begin_at_nothing(
    folders: dict[str, Path], tmp_path: Path, kind: str, method: str, precision: str
) -> None:
    # One pass over one batch: the ratio cannot have moved.
    once: dict[str, Any] = {"inner_epochs": 1, "clip": 1e-5}
    made = Practice(folders[kind], tmp_path, method=method, precision=precision, **once)
    made.run()
    told = made.rewards()
    assert told[0].kl == 0
    assert told[-1].kl != 0
    assert [each.clip_fraction for each in told] == [0] * 4
    assert all(0 < each.entropy < math.log(made.tokenizer.vocab_size) for each in told)  # type: ignore[operator]
    moving = Practice(folders[kind], tmp_path, method=method, precision=precision, clip=1e-5)
    moving.run()
    assert moving.rewards()[0].clip_fraction > 0.3  # type: ignore[operator]


def test_answers_are_judged_once_and_by_their_own_task(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    judged: list[Completion] = []

    def by_row(completion: Completion) -> float:
        judged.append(completion)
        return float(completion.task.row.removeprefix("row "))

    ids = Practice(folders["gpt2"], tmp_path).read(tmp_path / "rows.jsonl").train.ids[0]
    prompts = Prompts()
    for row in range(8):  # one question, and a row for each right answer to it
        prompts.append(Task((Message("user", "the cat?"),), row=f"row {row}"), ids)
    made = Practice(folders["gpt2"], tmp_path, reward=by_row, data=PromptData(prompts), max_steps=2)
    made.run()
    assert len(judged) == 2 * 16
    drawn = [prompts.place(number, made.settings.seed) for number in range(32)]
    assert [completion.task for completion in judged] == [prompts.tasks[at] for at in drawn]
    assert [told.mean for told in made.rewards()] == [3.5, 3.5]
    assert all(len(completion.answers) == 1 for completion in judged)
    assert all(1 <= completion.num_tokens <= 6 for completion in judged)
    lengths = [completion.num_tokens for completion in judged]
    assert [told.length for told in made.rewards()] == [
        sum(lengths[:16]) / 16,
        sum(lengths[16:]) / 16,
    ]


def test_a_round_takes_its_optimiser_steps_at_its_rate(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made = Practice(
        folders["gpt2"],
        tmp_path,
        method="full",
        batch_size=16,
        micro_batch=4,
        mini_batches=2,
        inner_epochs=3,
        warmup_steps=4,
        value_lr=1e-2,
    )
    rates: list[tuple[float, float]] = []
    optimizer = made.training.optimizer()
    optimizer.register_step_post_hook(
        lambda *_: rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[-1]["lr"]))
    )
    made.run()
    assert len(rates) == 4 * 3 * 2
    told = [step.lr for step in made.record.of(events.Step)]
    assert told == [5e-3 * n / 4 for n in (1, 2, 3, 4)]
    assert [policy for policy, _ in rates] == [rate for rate in told for _ in range(6)]
    assert all(value == pytest.approx(2 * policy) for policy, value in rates)


# --- the value model -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_value_model_shares_what_is_frozen_and_nothing_else(
    folders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    made = Practice(folders["gpt2"], tmp_path, method=method)
    value = Value(made.trained.model, place(EngineSettings(device="cpu")))
    there = {p.data_ptr() for p in made.trained.net.parameters()}
    frozen = {p.data_ptr() for p in made.trained.net.parameters() if not p.requires_grad}
    assert {p.data_ptr() for p in value.parameters()} & there <= frozen
    assert bool(frozen) == (method == "lora")
    own = [p for p in value.parameters() if p.data_ptr() not in there]
    assert {id(p) for p in own} == {id(p) for p in value.trained().values()}
    before = made.weights()
    made.run()
    unchanged = equal(before, made.weights())
    assert not [name for name in unchanged if name.startswith("value.score")]
    assert len(unchanged) < len(before) / 4
    assert made.rewards()[-1].value_loss > 0  # type: ignore[operator]


# --- what comes between the rounds ---------------------------------------------------------------


def explode(made: Practice, *passes: int) -> None:
    """Have one gradient not a number in some of the backward passes, counted from 1."""
    counted = itertools.count(1)
    parameter: Any = next(iter(made.trained.parameters().values()))
    parameter.register_hook(lambda value: value * (math.nan if next(counted) in passes else 1))


def test_a_bad_step_never_reaches_the_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []

    def requests() -> list[Command]:
        seen.append(made.weights())
        return []

    once: dict[str, Any] = {"inner_epochs": 1, "micro_batch": 16, "max_steps": 5}
    made = Practice(folders["gpt2"], tmp_path, requests=requests, **once)
    explode(made, 2, 3)
    made.run()
    skipped = [step.skipped for step in made.record.of(events.Step)]
    assert skipped == [False, True, True, False, False]
    weights = [*seen, made.weights()]
    unchanged = [len(equal(a, b)) == len(a) for a, b in itertools.pairwise(weights)]
    assert unchanged == skipped
    made = Practice(folders["gpt2"], tmp_path, bad_steps="stop", **once)
    explode(made, 1)
    with pytest.raises(UserError, match="not finite") as said:
        made.run()
    assert "ppo.lr" in said.value.fix


def test_commands_are_obeyed_and_change_no_number(folders: dict[str, Path], tmp_path: Path) -> None:
    asked = script((1, "checkpoint"), (2, "sample"), (3, "pause"), (4, "resume"), (5, "stop"))
    saved = tmp_path / "checkpoints"
    made = Practice(folders["gpt2"], tmp_path, requests=asked, checkpoints=saved, max_steps=9)
    history = made.run()
    assert history.ended_by == "stop"
    assert history.steps == [1, 2, 3, 4]
    assert [answer.outcome for answer in made.record.of(events.Answer)] == ["done"] * 5
    assert [c.why for c in made.record.of(events.Checkpoint)] == ["asked", "stop"]
    assert [path.name[-2:] for path in checkpoint.checkpoints(saved)] == ["04", "01"]
    assert all(checkpoint.defect(path) is None for path in checkpoint.checkpoints(saved))
    drawn, answered = made.record.of(events.Sample)
    assert drawn.prompt.startswith("<|user|>the ")
    assert drawn.text.splitlines()[-1].startswith("[reward ")
    assert "letters" in drawn.text
    assert answered.prompt == "<|user|>Hello!<|end|><|assistant|>"
    alone = Practice(folders["gpt2"], tmp_path, max_steps=9)
    assert alone.run().losses[:4] == history.losses


def test_held_out_prompts_are_answered_but_not_learned_from(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made = Practice(folders["gpt2"], tmp_path, method="full")
    data = made.read(tmp_path / "rows.jsonl")
    asked: list[str] = []

    def reward(completion: Completion) -> float:
        asked.append(completion.task.messages[0].content)
        return letters(completion)

    val = Prompts(data.train.tasks[:2], data.train.ids[:2])
    train = Prompts(data.train.tasks[2:], data.train.ids[2:])
    held_out = PromptData(train, val)
    made = Practice(
        folders["gpt2"], tmp_path, method="full", reward=reward, data=held_out, eval_interval=2
    )
    made.run()
    told = [(step, p) for step, p in made.record.payloads if isinstance(p, events.Reward)]
    assert [step for step, each in told if each.held_out] == [0, 2, 4]
    assert [step for step, each in told if not each.held_out] == [1, 2, 3, 4]
    assert {each.prompts for _, each in told if each.held_out} == {2}
    assert asked.count("the cat?") == asked.count("the dog?") == 3
    scores = made.training.scores()
    assert scores["held_out_reward_before"] == told[0][1].mean
    assert scores["held_out_reward"] == told[-1][1].mean
    undisturbed = Practice(
        folders["gpt2"], tmp_path, method="full", data=PromptData(train, Prompts())
    )
    assert undisturbed.run().losses == made.training.duties.history.losses


@pytest.mark.parametrize(
    ("bound", "match", "fix"),
    [({"max_kl": 0.2}, "nats an answer", "ppo.lr"), ({"min_entropy": 5.7}, "entropy", "ppo.lr")],
)
def test_beyond_its_bounds_it_ends_with_a_checkpoint_of_what_was_measured(
    folders: dict[str, Path], tmp_path: Path, bound: dict[str, Any], match: str, fix: str
) -> None:
    saved = tmp_path / "checkpoints"
    made = Practice(
        folders["gpt2"], tmp_path, method="full", checkpoints=saved, max_steps=40, **bound
    )
    with pytest.raises(UserError, match=match) as said:
        made.run()
    assert fix in said.value.fix
    done = made.training.duties.state.step
    assert 0 < done < 40
    assert len(made.rewards()) == done
    [left] = checkpoint.checkpoints(saved)
    assert checkpoint.step_of(left) == done
    again = Practice(folders["gpt2"], tmp_path, method="full", max_steps=40)
    again.training.resume(left)
    assert len(equal(again.weights(), made.weights())) == len(made.weights())


# --- resuming ------------------------------------------------------------------------------------

RESUMED: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("gpt2 dropout", {"mini_batches": 2, "dropout": 0.1}),
    "full": ("llama dropout", {"method": "full"}),
    "checkpointing": ("gpt2 dropout", {"gradient_checkpointing": True, "train_embedding": "off"}),
    "fp16": ("gpt2", {"method": "full", "precision": "fp16"}),
}


@pytest.mark.parametrize("case", RESUMED)
def test_resume_equals_no_interruption_bit_for_bit(
    folders: dict[str, Path], tmp_path: Path, case: str
) -> None:
    kind, options = RESUMED[case]
    options = {"max_steps": 6, "eval_interval": 2, **options}
    alone = Practice(folders[kind], tmp_path, **options)
    losses = alone.run().losses
    saved = tmp_path / "checkpoints"
    torch.manual_seed(99)
    first = Practice(
        folders[kind], tmp_path, checkpoints=saved, requests=script((3, "stop")), **options
    )
    assert first.run().ended_by == "stop"
    torch.manual_seed(123)
    second = Practice(folders[kind], tmp_path, checkpoints=saved, **options)
    newest, passed_over = checkpoint.newest_sound(saved)
    assert newest is not None
    assert (checkpoint.step_of(newest), passed_over) == (3, [])
    torch.manual_seed(456)
    second.training.resume(newest)
    assert len(equal(first.weights(), second.weights())) == len(first.weights())
    history = second.run()
    assert history.steps == [4, 5, 6]
    assert first.training.duties.history.losses + history.losses == losses
    assert first.rewards() + second.rewards() == alone.rewards()
    assert len(equal(alone.weights(), second.weights())) == len(alone.weights())
    assert second.training.scores() == alone.training.scores()
    # and when all is done, nothing more is
    third = Practice(folders[kind], tmp_path, checkpoints=saved, **options)
    third.training.resume(checkpoint.checkpoints(saved)[0])
    assert third.run().steps == []
    assert len(equal(alone.weights(), third.weights())) == len(alone.weights())


# --- the stage -----------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a model, and conversations to take prompts from."""
    made = Workspace(tmp_path / "ws")
    make_model("gpt2", made.models / "m")
    write_talks(made.datasets / "talks.jsonl", [*QUESTIONS, *TALKS], {"prompt": "the sea?"})
    return made


def performed(workspace: Workspace, name: str, **changes: Any) -> tuple[int, list[Any]]:
    content = {
        "pipeline": {"stages": ["pretrain", "finetune", "ppo"], "parent": "m"},
        "ppo": {**QUICK, "max_steps": 2, **changes},
        "data": {"ppo": {"held_out": 0.2}},
    }
    return perform_stage(workspace, name, "ppo", content)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_stage_publishes_a_model_with_its_rewards(workspace: Workspace, method: str) -> None:
    code, told = performed(workspace, "r", method=method)
    assert code == 0, told
    folder = workspace.models / "r-ppo"
    model = AutoModelForCausalLM.from_pretrained(folder)
    start = AutoModelForCausalLM.from_pretrained(workspace.models / "m")
    weights, before = model.state_dict(), start.state_dict()
    assert not torch.equal(weights["transformer.wte.weight"], before["transformer.wte.weight"])
    assert model.generation_config.eos_token_id == [5, 0]
    assert (folder / "adapter").is_dir() == (method == "lora")
    assert not (folder / "value").exists()
    told_rewards = [p for p in told if isinstance(p, events.Reward) and not p.held_out]
    assert len(told_rewards) == 2
    assert set(told_rewards[0].parts) <= set(PpoSettings().rewards)
    assert {"function", "format", "consistent"} <= {
        name for each in told_rewards for name in each.parts
    }
    lineage = read_lineage(folder)
    assert lineage is not None
    assert lineage.scores["reward_before"] == told_rewards[0].mean
    assert lineage.scores["reward"] == told_rewards[1].mean
    assert lineage.scores["kl"] == told_rewards[1].kl
    assert "held_out_reward" in lineage.scores
    facts = lineage.training
    assert facts["prompts"] + facts["held_out_prompts"] == len(QUESTIONS) + 8 + 1
    code, told = performed(workspace, "again", method=method)
    assert [p.phase for p in told if isinstance(p, events.StageChange)] == ["skipped"]


def test_a_learned_reward_is_weighed_in(workspace: Workspace) -> None:
    pairs = [
        {"prompt": f"the cat {n}?", "chosen": "the hat", "rejected": "the mat"} for n in range(8)
    ]
    write_talks(workspace.datasets / "pairs.jsonl", [], *pairs)
    content = {
        "pipeline": {"stages": ["pretrain", "reward"], "parent": "m"},
        "reward": {"max_steps": 2, "batch_size": 4, "micro_batch": 4, "sample_interval": 0},
    }
    code, told = perform_stage(workspace, "judge", "reward", content)
    assert code == 0, told
    options = {"reward_model": "judge-reward", "rewards": {"format": 1.0}}
    code, told = performed(workspace, "r", reward_model_weight=-2.0, **options)
    assert code == 0, told
    rewards = [p for p in told if isinstance(p, events.Reward)]
    assert len(rewards) > 2
    for each in rewards:
        assert each.parts.keys() == {"format", "reward_model"}
        assert each.mean == pytest.approx(each.parts["format"] - 2 * each.parts["reward_model"])


def test_the_stage_says_which_reward_there_is_not(workspace: Workspace) -> None:
    code, told = performed(workspace, "r", rewards={"funktion": 1.0})
    assert code == 2
    [failure] = [p for p in told if isinstance(p, events.Failure)]
    assert "did you mean function?" in failure.what
