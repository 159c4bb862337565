"""ORPO: its loss beside the paper's and TRL's, what it learns, and the stage."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import GradientState
from datasets import Dataset
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from gptcore import events
from gptcore.lineage import read_lineage
from gptcore.workspace import Workspace
from gptengine.causal_lm import load_causal_lm
from gptengine.chat_tokenizer import pad_id
from gptengine.rl.orpo import log1mexp, log_odds, odds_ratio_losses
from tests.engine.preference_tuning import QUICK, PairTuning, pair, polite_pairs, write_pairs
from tests.engine.tiny_models import KINDS, make_model, perform_stage

pytestmark = pytest.mark.usefixtures("one_thread")

#: Of unlike lengths, in one batch.
UNEVEN = [
    pair(f"What of {'Oslo and ' * n}rain?", "the cat sat " * (n + 1), "rain " * (4 - n))
    for n in range(4)
]


# --- the loss ------------------------------------------------------------------------------------


def test_log1mexp_keeps_its_digits_on_both_sides() -> None:
    small = torch.tensor([-1e-6, -1e-3, -0.1, -0.6931, -0.6932, -1.0, -20.0, -80.0])
    exact = torch.log(-torch.expm1(small.double()))
    torch.testing.assert_close(log1mexp(small).double(), exact, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("log_prob", [0.0, -1e-12, -1e-5, -0.7, -90.0, -1000.0])
def test_odds_and_their_gradients_are_finite(log_prob: float) -> None:
    at = torch.tensor([log_prob], requires_grad=True)
    odds = log_odds(at)
    odds.sum().backward()
    assert at.grad is not None
    assert bool(odds.isfinite() & at.grad.isfinite())


def test_the_odds_ratio_is_that_of_the_paper() -> None:
    chosen, rejected = torch.tensor([0.8, 0.3]), torch.tensor([0.5, 0.6])
    losses, ratios = odds_ratio_losses(chosen.log(), rejected.log())
    wanted = [(0.8 / 0.2) / (0.5 / 0.5), (0.3 / 0.7) / (0.6 / 0.4)]
    assert ratios.exp().tolist() == pytest.approx(wanted, rel=1e-5)
    assert losses.tolist() == pytest.approx([math.log1p(1 / each) for each in wanted], rel=1e-5)


class FirstStep:
    """The first step of a training: its loss, and the gradients before it."""

    def __init__(self, made: PairTuning) -> None:
        self.gradients: dict[str, Tensor] = {}
        named = made.trained.parameters()

        def look(*_: Any) -> None:
            self.gradients = {n: p.grad.clone() for n, p in named.items() if p.grad is not None}

        made.tuning.optimizer().register_step_pre_hook(look)
        made.run()
        self.loss = made.record.of(events.Step)[0].loss


def first_step(folder: Path, scratch: Path, **changes: Any) -> tuple[PairTuning, FirstStep]:
    options = {"train": UNEVEN, "method": "full", "max_steps": 1, "grad_clip": 0.0, **changes}
    made = PairTuning("orpo", folder, scratch, **options)
    return made, FirstStep(made)


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_prompts_loss_it_is_trls_to_the_gradients(
    folders: dict[str, Path], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    # What a loader of an earlier test left would cut the metrics short that TRL gathers.
    monkeypatch.setattr(GradientState, "_shared_state", {})
    made, ours = first_step(folders[kind], tmp_path / "a", prompt_loss=True, beta=0.3)
    made.tokenizer.save(tmp_path / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tmp_path / "tokenizer")
    tokenizer.pad_token = "<|pad|>"
    tokenizer.bos_token = tokenizer.eos_token = "<|endoftext|>"
    model = load_causal_lm(folders[kind], torch.float32)
    model.resize_token_embeddings(made.tokenizer.vocab_size)
    fresh = PairTuning("orpo", folders[kind], tmp_path, method="full").trained.net
    model.load_state_dict(fresh.state_dict())  # rows of new tokens are drawn
    trainer = ORPOTrainer(
        model=model,
        args=ORPOConfig(
            output_dir=str(tmp_path / "trl"),
            beta=0.3,
            max_length=256,
            use_cpu=True,
            report_to=[],
        ),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=tokenizer,
    )
    pad = pad_id(made.tokenizer)
    both = made.train.collate(range(len(UNEVEN)), pad)
    batch = {
        f"{side}_{name}": value
        for at, side in enumerate(("chosen", "rejected"))
        for name, value in ((name, each.chunk(2)[at]) for name, each in both.items())
    }
    loss, measured = trainer.get_batch_loss_metrics(model, batch)
    loss.backward()
    assert ours.loss == pytest.approx(loss.item(), abs=1e-5)
    told = made.record.of(events.Reward)[0]
    assert told.margin == pytest.approx(measured["log_odds_chosen"], abs=1e-5)
    assert told.accuracy == pytest.approx(measured["rewards/accuracies"])
    theirs = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert theirs.keys() == ours.gradients.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours.gradients[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_odds_it_is_fine_tuning_on_the_chosen_answers(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    made, ours = first_step(folders[kind], tmp_path, beta=0.0)
    net = PairTuning("orpo", folders[kind], tmp_path, method="full").trained.net
    batch = made.train.collate(range(len(UNEVEN)), pad_id(made.tokenizer))
    chosen = {name: value.chunk(2)[0] for name, value in batch.items()}
    assert ours.loss == pytest.approx(net(**chosen).loss.item(), abs=1e-5)
    _, with_prompts = first_step(folders[kind], tmp_path, beta=0.0, prompt_loss=True)
    labels = torch.where(chosen["attention_mask"] == 1, chosen["input_ids"], -100)
    whole = net(**{**chosen, "labels": labels}).loss
    assert with_prompts.loss == pytest.approx(whole.item(), abs=1e-5)
    assert abs(with_prompts.loss - ours.loss) > 1e-3


def test_the_weight_of_the_odds_counts(folders: dict[str, Path], tmp_path: Path) -> None:
    loss = [first_step(folders["gpt2"], tmp_path, beta=beta)[1].loss for beta in (0.0, 1.0, 2.0)]
    assert loss[2] - loss[1] == pytest.approx(loss[1] - loss[0], abs=1e-5)
    assert loss[1] - loss[0] > 0.1


# --- what it learns ------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lora", "full"])
def test_it_learns_which_answer_is_the_better_one(
    folders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    pairs = mixed_pairs(64)
    made = PairTuning(
        "orpo",
        folders["llama"],
        tmp_path,
        train=pairs[:48],
        val=pairs[48:],
        method=method,
        beta=1.0,
        batch_size=8,
        micro_batch=8,
        max_steps=40,
        eval_interval=10,
    )
    before = made.tuning.evaluate()
    history = made.run()
    scores = made.tuning.scores()
    assert before is not None
    assert 0.2 <= scores["held_out_accuracy_before"] <= 0.8
    assert scores["held_out_accuracy"] >= 0.9
    assert scores["held_out_margin"] > scores["held_out_margin_before"] + 0.5
    assert history.val_loss < before[0] - 1
    held = [told for told in made.record.of(events.Reward) if told.held_out]
    assert held[0].accuracy == scores["held_out_accuracy_before"]
    assert held[-1].accuracy == scores["held_out_accuracy"]
    assert held[-1].margin == pytest.approx(scores["held_out_margin"])


def mixed_pairs(count: int) -> list[Any]:
    """Pairs of which a model that heeds no question tells half: by turns each side is better."""
    words = ("the cat", "the dog", "the hat", "Oslo")
    made = []
    for number in range(count):
        one = words[number // 2 % 4]
        long, short = f"{one} {one} {one} {one}", f"rain on {one}"
        asked = "Long" if number % 2 else "Short"
        better, worse = (long, short) if number % 2 else (short, long)
        made.append(pair(f"{asked} {one}, {number}?", better, worse))
    return made


# --- the stage -----------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with pairs to learn from."""
    made = Workspace(tmp_path / "ws")
    write_pairs(made.datasets / "pairs.jsonl", polite_pairs(60), "{")
    return made


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_stage_publishes_a_model_for_plain_transformers(
    workspace: Workspace, kind: str, method: str
) -> None:
    make_model(kind, workspace.models / "m")
    content = {
        "pipeline": {"stages": ["pretrain", "orpo"], "parent": "m"},
        "orpo": {**QUICK, "max_steps": 4, "method": method},
        "data": {"orpo": {"held_out": 0.2}},
    }
    code, told = perform_stage(workspace, "r", "orpo", content)
    assert code == 0
    folder = workspace.models / "r-orpo"
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    asked = [{"role": "user", "content": "What of rain?"}]
    inputs = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        written = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > inputs["input_ids"].shape[1]
    if method == "lora":
        base = AutoModelForCausalLM.from_pretrained(workspace.models / "m")
        base.resize_token_embeddings(len(tokenizer))
        adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()
        with torch.inference_mode():
            torch.testing.assert_close(
                adapted(**inputs).logits, model(**inputs).logits, atol=1e-4, rtol=1e-4
            )
    lineage = read_lineage(folder)
    assert lineage is not None
    facts = lineage.training
    assert facts["pairs"] + facts["held_out_pairs"] == 60
    assert facts["held_out_pairs"] > 0
    assert facts["rows_left_out"] == 1
    [end] = [p for p in told if isinstance(p, events.StageChange) and p.phase == "end"]
    assert end.scores == lineage.scores
    for name in ("val_loss", "held_out_accuracy_before", "held_out_accuracy"):
        assert lineage.scores[name] is not None
    assert any("1 of 61 rows are left out" in p.message for p in told if isinstance(p, events.Warn))
    card = (folder / "README.md").read_text()
    assert "AutoModelForCausalLM" in card
    assert f"{facts['pairs']} pairs to train on, {facts['held_out_pairs']} held out, 1 rows" in card
    assert "tuned from `models/m` to prefer the better answers" in card
    assert "| held_out_accuracy_before |" in card
    code, told = perform_stage(workspace, "again", "orpo", content)
    assert [p.phase for p in told if isinstance(p, events.StageChange)] == ["skipped"]


def test_too_many_bad_pairs_end_the_stage_before_it_trains(workspace: Workspace) -> None:
    make_model("gpt2", workspace.models / "m")
    write_pairs(workspace.datasets / "bad.jsonl", [pair("a", "b", "c")], *["{"] * 30)
    content = {
        "pipeline": {"stages": ["pretrain", "orpo"], "parent": "m"},
        "orpo": {**QUICK, "max_steps": 1},
    }
    code, told = perform_stage(workspace, "r", "orpo", content)
    assert code == 2
    [failure] = [payload for payload in told if isinstance(payload, events.Failure)]
    assert "31 of 92 rows cannot be used" in failure.what
    assert "data.orpo.max_bad" in failure.fix
    assert not (workspace.models / "r-orpo").exists()
