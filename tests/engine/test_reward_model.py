"""The reward model: its training, its calibration, the stage, and judging with what it makes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from gptcore import events
from gptcore.errors import UserError
from gptcore.lineage import read_lineage
from gptcore.settings import EngineSettings
from gptcore.workspace import Workspace
from gptengine.causal_lm import load_judge
from gptengine.chat_tokenizer import load_chat_tokenizer, pad_id
from gptengine.rl.learned_reward import RewardModel, load_reward_model
from gptengine.rl.reward_model import BINS, calibration
from gptengine.tokenizer import BPETokenizer
from gptengine.train.device import place
from tests.engine.preference_tuning import (
    PAIRS,
    QUICK,
    PairTuning,
    pairs_of,
    polite_pairs,
    write_pairs,
)
from tests.engine.tiny_models import CONTEXT, KINDS, SENTENCES, make_model, perform_stage

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = place(EngineSettings(device="cpu"))


# --- calibration ---------------------------------------------------------------------------------


def test_margins_that_tell_the_truth_are_calibrated() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(40_000, generator=generator) * 2
    # which side was chosen is drawn with the probability that the margin says
    chosen = torch.rand(true.shape, generator=generator) < true.sigmoid()
    margins = torch.where(chosen, true, -true)
    told = calibration(margins)
    assert told.error < 0.02
    assert told.brier == pytest.approx(
        float((true.sigmoid() * (1 - true.sigmoid())).mean()), abs=0.01
    )
    assert calibration(margins * 5).error > 0.1
    assert calibration(margins / 5).error > 0.1
    assert calibration(margins * 5).brier > told.brier < calibration(margins / 5).brier


def test_calibration_of_a_few_pairs_by_hand() -> None:
    sure = torch.tensor(0.9).logit()
    told = calibration(torch.stack([sure, sure, sure, -sure]))
    assert told.error == pytest.approx(0.9 - 0.75, abs=1e-6)
    assert told.brier == pytest.approx((3 * 0.01 + 0.81) / 4, abs=1e-6)
    apart = torch.tensor([0.55, 0.95]).logit()  # in two bins: errors do not cancel out
    told = calibration(torch.stack([apart[0], -apart[1]]))
    assert told.error == pytest.approx((0.45 + 0.95) / 2, abs=1e-6)
    assert calibration(torch.tensor([1e4])).error == pytest.approx(0.0)
    assert BINS == 10


# --- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_the_saved_model_is_the_trained_one(
    folders: dict[str, Path], tmp_path: Path, kind: str, method: str
) -> None:
    pairs = polite_pairs(48)
    made = PairTuning(
        "reward", folders[kind], tmp_path, train=pairs[:32], val=pairs[32:], method=method
    )
    start = made.tuning.evaluate()
    history = made.run()
    assert start is not None
    assert start[0] == pytest.approx(0.69, abs=0.15)
    scores = made.tuning.scores()
    assert scores["held_out_accuracy"] >= 0.9
    assert history.val_loss < 0.4
    assert history.losses[-1] < history.losses[0] - 0.3
    batch = made.train.collate([0, 1, 2], pad_id(made.tokenizer))
    del batch["labels"]
    with torch.no_grad():
        told = made.trained.net.eval()(**batch).logits
        made.trained.save(tmp_path / "saved")
        made.trained.merge().save_pretrained(tmp_path / "whole")
        whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
        torch.testing.assert_close(whole(**batch).logits, told, atol=1e-4, rtol=1e-4)
        if method == "lora":
            base = load_judge(folders[kind], torch.float32)
            base.resize_token_embeddings(made.tokenizer.vocab_size)
            base.config.pad_token_id = pad_id(made.tokenizer)
            adapted = PeftModel.from_pretrained(base, tmp_path / "saved")
            torch.testing.assert_close(adapted(**batch).logits, told, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_and_head_are_all_that_is_trained(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    made = PairTuning("reward", folders[kind], tmp_path, max_steps=3, train_embedding="off")
    names = made.weights().keys()
    assert {name.split(".lora_")[0] for name in names if "lora_" in name}
    [head] = [name for name in names if "lora_" not in name]
    assert ".score." in head
    before = {n: v.clone() for n, v in made.trained.model.state_dict().items()}
    made.run()
    after = made.trained.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all("lora_" in name or name.startswith("score.modules_to_save") for name in changed)
    assert any(name.startswith("score.") for name in changed)
    with_table = PairTuning("reward", folders[kind], tmp_path, max_steps=3)
    table = with_table.trained.model.get_input_embeddings().weight
    first = table.detach().clone()
    with_table.run()
    assert not torch.equal(first, table)


@pytest.mark.parametrize("centering", [0.0, 0.5])
def test_the_loss_is_that_of_bradley_and_terry(
    folders: dict[str, Path], tmp_path: Path, centering: float
) -> None:
    options = {"centering": centering, "method": "full", "max_steps": 1, "batch_size": 6}
    made = PairTuning("reward", folders["qwen2"], tmp_path, val=PAIRS, micro_batch=6, **options)
    batch = made.train.collate(range(6), pad_id(made.tokenizer))
    del batch["labels"]
    with torch.no_grad():
        made.trained.net.score.weight.mul_(20)
        chosen, rejected = made.trained.net(**batch).logits.view(2, -1)
    wanted = -F.logsigmoid(chosen - rejected) + centering * (chosen + rejected) ** 2
    held_out = made.tuning.evaluate()
    history = made.run()
    assert history.losses == pytest.approx([float(wanted.mean())], abs=1e-5)
    assert held_out == (pytest.approx(float(wanted.mean()), abs=1e-5), 6)
    told = made.record.of(events.Reward)[1]
    assert told.margin == pytest.approx(float((chosen - rejected).mean()), abs=1e-5)
    assert told.accuracy == pytest.approx(float((chosen > rejected).float().mean()))


def test_a_sample_is_refused_without_harm(folders: dict[str, Path], tmp_path: Path) -> None:
    made = PairTuning("reward", folders["gpt2"], tmp_path, max_steps=2, sample_interval=1)
    made.run()
    assert made.record.of(events.Sample) == []


# --- the stage -----------------------------------------------------------------------------------


def content_of(**changes: Any) -> dict[str, Any]:
    return {
        "pipeline": {"stages": ["pretrain", "reward"], "parent": "m"},
        "reward": {**QUICK, **changes},
        "data": {"reward": {"held_out": 0.2}},
    }


def performed(folder: Path, kind: str, **changes: Any) -> tuple[Workspace, Path, list[Any]]:
    """A workspace in which the stage has made a reward model."""
    workspace = Workspace(folder)
    write_pairs(workspace.datasets / "pairs.jsonl", polite_pairs(60))
    make_model(kind, workspace.models / "m")
    code, told = perform_stage(workspace, "r", "reward", content_of(**changes))
    assert code == 0
    return workspace, workspace.models / "r-reward", told


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_stage_publishes_a_judge_for_plain_transformers(
    tmp_path: Path, kind: str, method: str
) -> None:
    workspace, folder, told = performed(tmp_path, kind, method=method)
    config = json.loads((folder / "config.json").read_text())
    [name] = config["architectures"]
    assert name.endswith("ForSequenceClassification")
    assert not (folder / "generation_config.json").exists()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert config["pad_token_id"] == tokenizer.convert_tokens_to_ids("<|pad|>")
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, output_loading_info=True
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.config.num_labels == 1
    lineage = read_lineage(folder)
    assert lineage is not None
    assert lineage.stage == "reward"
    facts, scores = lineage.training, lineage.scores
    assert facts["pairs"] + facts["held_out_pairs"] == 60
    assert scores.keys() >= {"val_loss", "held_out_accuracy", "calibration_error", "brier"}
    assert scores["held_out_accuracy"] >= 0.8
    [end] = [p for p in told if isinstance(p, events.StageChange) and p.phase == "end"]
    assert end.scores == scores
    card = (folder / "README.md").read_text()
    assert "judges and does not write" in card
    assert "pipeline_tag: text-classification" in card
    assert "AutoModelForSequenceClassification" in card
    assert "| calibration_error |" in card
    # and what it says of answers is what training said of them
    judge = load_reward_model(folder, load_chat_tokenizer(folder), CPU, batch_size=7)
    own = load_chat_tokenizer(folder)
    sides = [each for pair in polite_pairs(20) for each in sides_of(pair, own)]
    judged = judge.score(sides)
    with torch.no_grad():
        alone = [float(model(input_ids=torch.tensor([ids])).logits) for ids in sides]
    assert judged == pytest.approx(alone, abs=1e-4)
    right = sum(a > b for a, b in zip(judged[::2], judged[1::2], strict=True))
    assert right >= 16
    _, told = perform_stage(workspace, "again", "reward", content_of(method=method))
    assert [p.phase for p in told if isinstance(p, events.StageChange)] == ["skipped"]


def sides_of(pair: Any, tokenizer: Any) -> list[list[int]]:
    pairs = pairs_of([pair], tokenizer)
    batch = pairs.collate([0], pad_id(tokenizer))
    return [
        ids[mask.bool()].tolist()
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


# --- judging -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return performed(tmp_path_factory.mktemp("judge"), "gpt2", max_steps=2)[1]


def test_what_stands_beside_a_sequence_changes_nothing(judge_folder: Path) -> None:
    judge = load_reward_model(judge_folder, load_chat_tokenizer(judge_folder), CPU, batch_size=2)
    rows = [list(range(10, 10 + n)) for n in (30, 2, 9, 1, 17)]
    together = judge.score(rows)
    assert together == pytest.approx([judge.score([row])[0] for row in rows], abs=1e-5)
    assert len(set(together)) == 5
    assert judge.score([]) == []


def test_a_judge_that_does_not_match_is_refused(
    judge_folder: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="does not match") as refused:
        load_reward_model(judge_folder, load_chat_tokenizer(folders["llama"]), CPU)
    assert refused.value.where == str(judge_folder)
    other = BPETokenizer()  # of the same size, with other merges
    other.train([text[::-1] for text in SENTENCES], 340)
    assert other.vocab_size == load_chat_tokenizer(judge_folder).vocab_size
    with pytest.raises(UserError, match="does not match"):
        load_reward_model(judge_folder, other, CPU)
    assert isinstance(
        load_reward_model(judge_folder, load_chat_tokenizer(folders["gpt2"]), CPU), RewardModel
    )


def test_a_model_that_writes_is_no_judge(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="no reward model") as refused:
        load_reward_model(folders["gpt2"], load_chat_tokenizer(folders["gpt2"]), CPU)
    assert "GPT2LMHeadModel" in refused.value.what


def test_more_than_the_judge_sees_is_refused(judge_folder: Path) -> None:
    judge = load_reward_model(judge_folder, load_chat_tokenizer(judge_folder), CPU)
    assert len(judge.score([[20] * CONTEXT])) == 1
    with pytest.raises(UserError, match="the reward model sees"):
        judge.score([[20], [20] * (CONTEXT + 1)])


def test_the_head_that_writes_is_not_in_a_judge(judge_folder: Path) -> None:
    _, loading = AutoModelForCausalLM.from_pretrained(judge_folder, output_loading_info=True)
    assert "score.weight" in loading["unexpected_keys"]
