"""The stage `rgpo`: from files to a model folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from gptcore import events
from gptcore.lineage import read_lineage
from gptcore.trust import trust
from gptcore.workspace import Workspace
from tests.engine.tiny_models import TALKS, make_model, perform_stage, talk, write_talks

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK: dict[str, Any] = {
    "max_steps": 2,
    "batch_size": 8,
    "micro_batch": 8,
    "group_size": 4,
    "max_tokens": 8,
    "rank": 4,
    "eval_interval": 0,
    "checkpoint_interval": 0,
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with conversations to answer, and a model."""
    made = Workspace(tmp_path / "ws")
    many = [talk(f"the cat {n}?", f"the dog {n} and the hat") for n in range(20)]
    write_talks(made.datasets / "talks.jsonl", [*many, *TALKS])
    make_model("gpt2", made.models / "m")
    return made


def tuned(workspace: Workspace, name: str, **changes: Any) -> tuple[int, list[Any]]:
    content = {
        "pipeline": {"stages": ["finetune", "rgpo"], "parent": "m"},
        "rgpo": {**QUICK, **changes},
        "data": {"rgpo": {"held_out": 0.2}},
    }
    return perform_stage(workspace, name, "rgpo", content)


def test_the_stage_publishes_a_model_for_plain_transformers(workspace: Workspace) -> None:
    code, told = tuned(workspace, "r")
    assert code == 0
    rewards = [payload for payload in told if isinstance(payload, events.Reward)]
    assert [reward.held_out for reward in rewards] == [True, False, False, True]
    folder = workspace.models / "r-rgpo"
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all()
    lineage = read_lineage(folder)
    assert lineage is not None
    assert lineage.scores["held_out_reward"] == rewards[-1].mean
    assert lineage.training["prompts"] + lineage.training["held_out_prompts"] == 28
    assert "own answers" in (folder / "README.md").read_text()


def test_a_reward_of_the_users_own_wants_trust(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (workspace.root / "mine.py").write_text(
        "def short(prompt, completion, tool_calls, reference):\n    return -len(completion) / 100\n"
    )
    code, told = tuned(workspace, "r", rewards={}, functions=("mine.py:short",))
    assert code == 2
    [failure] = [payload for payload in told if isinstance(payload, events.Failure)]
    assert "gptstudio trust" in failure.fix
    trust(workspace.root)
    code, told = tuned(workspace, "s", rewards={}, functions=("mine.py:short",))
    assert code == 0
    [first, *_] = [payload for payload in told if isinstance(payload, events.Reward)]
    assert first.parts.keys() == {"mine.py:short"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rewards": {"brevity": 1.0}}, "there is no reward brevity"),
        ({"reward_model": "nothing"}, "no reward model is called 'nothing'"),
        ({"context_length": 4000}, "rgpo.context_length"),
    ],
)
def test_what_cannot_be_is_said(workspace: Workspace, changes: dict[str, Any], said: str) -> None:
    code, told = tuned(workspace, "r", **changes)
    assert code == 2
    [failure] = [payload for payload in told if isinstance(payload, events.Failure)]
    assert said in f"{failure.what} {failure.where}"
