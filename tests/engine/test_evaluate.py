"""A model judged by conversations: what it answers, its loss, and where the report goes."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from gptcore.answers import Answer
from gptcore.errors import UserError
from gptcore.evaluation import TOOL_SCORES, Evaluation, read_evaluation
from gptcore.events import Progress, StageChange, Warn
from gptcore.lineage import Lineage, read_lineage, write_lineage
from gptcore.settings import EngineSettings, EvalSettings
from gptcore.workspace import Workspace
from gptengine.causal_lm import load_causal_lm
from gptengine.chat_tokenizer import control_ids, load_chat_tokenizer
from gptengine.evaluate.answering import Answerer
from gptengine.evaluate.loss import loss_on
from gptengine.evaluate.report import evaluate
from gptengine.stages.eval import ancestry
from gptengine.train.device import Placement, place
from tests.engine.tiny_models import (
    CONTEXT,
    KINDS,
    TALKS,
    examples_of,
    make_model,
    perform_stage,
    talk,
    write_talks,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cpu() -> Placement:
    return place(EngineSettings(device="cpu"))


# --- answers of a model --------------------------------------------------------------------------


def lively(folder: Path) -> Any:
    """The model with larger weights, so that what it writes hangs on what it reads."""
    model = load_causal_lm(folder, torch.float32).eval()
    tokenizer = load_chat_tokenizer(folder)
    torch.manual_seed(1)
    model.resize_token_embeddings(tokenizer.vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model


def answers(folder: Path, prompts: Sequence[list[int]], cpu: Placement, size: int) -> list[Answer]:
    answerer = Answerer(
        lively(folder),
        load_chat_tokenizer(folder),
        cpu,
        context=CONTEXT,
        batch_size=size,
        max_tokens=9,
    )
    return answerer.answer(prompts)


def prompts_for(folder: Path, *texts: str) -> list[list[int]]:
    tokenizer = load_chat_tokenizer(folder)
    opened = tokenizer.id_of("<|assistant|>")
    return [[*ids, opened] for ids in tokenizer.encode_batch(texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_answered_alike_in_any_company(
    folders: dict[str, Path], cpu: Placement, kind: str
) -> None:
    texts = ["Oslo", "the cat sat on the mat and", "What is a whale?" * 4, "x", "3 degrees in Oslo"]
    prompts = prompts_for(folders[kind], *texts)
    alone = answers(folders[kind], prompts, cpu, 1)
    assert answers(folders[kind], prompts, cpu, 3) == alone
    assert len({answer.content for answer in alone}) > 1  # or it says the same to everything


def test_a_prompt_that_fills_the_context_gets_no_answer(
    folders: dict[str, Path], cpu: Placement
) -> None:
    prompts = prompts_for(folders["gpt2"], "Oslo", "x " * 400, "the cat")
    assert len(prompts[1]) >= CONTEXT
    short, filled, other = answers(folders["gpt2"], prompts, cpu, 3)
    assert filled.problems == ("the prompt fills the context",)
    assert not filled.is_complete
    assert [short, other] == answers(folders["gpt2"], [prompts[0], prompts[2]], cpu, 3)


def test_a_long_prompt_does_not_shorten_the_answers_beside_it(
    folders: dict[str, Path], cpu: Placement
) -> None:
    prompts = prompts_for(folders["gpt2"], "Oslo", "x")
    prompts.append((prompts[1] * CONTEXT)[: CONTEXT - 2])
    alone = answers(folders["gpt2"], prompts, cpu, 1)
    assert answers(folders["gpt2"], prompts, cpu, 3)[:2] == alone[:2]


# --- loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_each_token_the_assistant_wrote(
    folders: dict[str, Path], cpu: Placement, kind: str
) -> None:
    model, tokenizer = lively(folders[kind]), load_chat_tokenizer(folders[kind])
    talks = [*TALKS, talk("\u00e9\u4e2d?", "na\u00efve \u4e2d\u6587 <|end|> <s>")]
    examples = examples_of(talks, tokenizer)
    nats, tokens, size = 0.0, 0, 0
    for at, conversation in enumerate(talks):
        ids, learned = examples[at]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor(ids[None].astype("int64"))).logits[0]
        told = logits.log_softmax(-1)
        for place_ in range(1, len(ids)):
            if learned[place_]:
                nats -= float(told[place_ - 1, int(ids[place_])])
                tokens += 1
        for message in conversation.messages:
            if message.role == "assistant":
                calls = [f"\n{c.name}({json.dumps(c.arguments)})\n" for c in message.calls]
                size += len((message.content + "".join(calls)).encode())
    control = frozenset(control_ids(tokenizer))
    done: list[int] = []
    found = loss_on(
        model, tokenizer, examples, cpu, batch_size=3, control=control, on_done=done.append
    )
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert (found.tokens, found.bytes) == (tokens, size)
    assert found.loss == pytest.approx(nats / tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-3)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert done == [3, 6, 7]
    other = loss_on(model, tokenizer, examples, cpu, batch_size=7, control=control)
    assert other.nats == pytest.approx(nats, rel=1e-5)


# --- the report ----------------------------------------------------------------------------------


def judge(folder: Path, cpu: Placement, *files: Path, **changes: Any) -> Evaluation:
    options = EvalSettings(**{"max_tokens": 8, **changes})
    return evaluate(folder, files, [], options, cpu, name="models/m")


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_what_cannot_be_used_is_counted(
    folders: dict[str, Path], tmp_path: Path, cpu: Placement, kind: str
) -> None:
    preference = {"prompt": "Which?", "chosen": "the cat", "rejected": "the dog"}
    too_long = talk("the cat " * 400, "yes")
    file = write_talks(tmp_path / "a.jsonl", [*TALKS, too_long], "{", preference, {"text": 1})
    if kind == "qwen2":  # a model that knows the control tokens, as one fine-tuned here does
        folder = tmp_path / "model"
        lively(folders[kind]).save_pretrained(folder)
        load_chat_tokenizer(folders[kind]).save(folder)
    else:
        folder = folders[kind]
    told = judge(folder, cpu, file)
    assert (told.conversations, told.unusable) == (len(TALKS), 3)
    assert told.tools["exact"].total == 1
    assert told.perplexity == pytest.approx(math.exp(told.loss or 0), rel=1e-6)
    assert told.transcripts[0].row == "a.jsonl:4"
    with pytest.raises(UserError, match="2 rows cannot be used") as nothing:
        judge(folder, cpu, write_talks(tmp_path / "b.jsonl", [], {"text": 1}, "{"))
    assert "gptstudio data check" in nothing.value.fix


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a model, and with conversations to judge it by."""
    made = Workspace(tmp_path / "ws")
    folder = make_model("gpt2", made.models / "m")
    training = {
        "parameters": 1234,
        "train_tokens": 10,
        "held_out_tokens": 2,
        "held_out_by": "document",
        "tokens": 10,
        "seconds": 1.0,
        "device": "cpu, fp32",
        "ended_by": "steps",
    }
    write_lineage(
        folder,
        Lineage("pretrain", "m", "tiny", "0" * 64, time.time(), training=training),
    )
    write_talks(made.datasets / "held-out.jsonl", TALKS)
    write_talks(made.datasets / "train.jsonl", TALKS[:1])
    return made


def evaluation_stage(workspace: Workspace, name: str) -> tuple[int, list[Any]]:
    pipeline = {"stages": ["pretrain", "eval"], "parent": "m"}
    content = {"pipeline": pipeline, "eval": {"max_tokens": 8}}
    return perform_stage(workspace, name, "eval", content)


def test_the_stage_puts_its_report_beside_the_model_and_into_its_card(
    workspace: Workspace,
) -> None:
    code, told = evaluation_stage(workspace, "first")
    assert code == 0
    folder = workspace.models / "m"
    report = read_evaluation(folder)
    assert report is not None
    assert report.model == "models/m"
    assert [item.file for item in report.data] == ["held-out.jsonl"]
    assert report.conversations == len(TALKS)
    card = (folder / "README.md").read_text()
    assert "## Evaluation" in card
    assert f"| perplexity | {report.perplexity:.4f} | {report.tokens:,} tokens |" in card
    share = report.tools["exact"]
    assert f"| {TOOL_SCORES['exact']} | {share.value:.1%} | {share.right}/{share.total} |" in card
    [end] = [payload for payload in told if isinstance(payload, StageChange) and payload.scores]
    assert end.scores["loss"] == report.loss
    assert sorted(path.name for path in workspace.models.iterdir()) == ["m"]
    code, told = evaluation_stage(workspace, "second")  # nothing has changed
    assert code == 0
    assert [payload.phase for payload in told if isinstance(payload, StageChange)] == ["skipped"]
    write_talks(workspace.datasets / "held-out.jsonl", TALKS[:4])
    code, told = evaluation_stage(workspace, "third")
    again = read_evaluation(folder)
    assert again is not None
    assert again.conversations == 4


# --- the models that it came from ----------------------------------------------------------------


@pytest.fixture
def chain(workspace: Workspace) -> Workspace:
    """The same, and a second model that came from the first."""
    folder = make_model("gpt2", workspace.models / "n", seed=1)
    first = read_lineage(workspace.models / "m")
    assert first is not None
    parents = {"tokenizer": "models/m", "model": "models/m"}
    training = {
        **first.training,
        "conversations": 5,
        "held_out_conversations": 1,
        "rows_left_out": 0,
        "backend": "peft",
        "trained_parameters": 10,
    }
    write_lineage(
        folder,
        Lineage("finetune", "n", "tiny", "1" * 64, time.time(), parents, training=training),
    )
    return workspace


def judged(workspace: Workspace, name: str) -> Evaluation:
    found = read_evaluation(workspace.models / name)
    assert found is not None
    return found


def evaluate_second(workspace: Workspace, name: str, **settings: int) -> list[Any]:
    pipeline = {"stages": ["pretrain", "finetune", "eval"], "parent": "n"}
    content = {"pipeline": pipeline, "eval": {"max_tokens": 8, **settings}}
    code, told = perform_stage(workspace, name, "eval", content)
    assert code == 0
    return told


def who_answered(told: Sequence[Any]) -> set[str]:
    works = {payload.what for payload in told if isinstance(payload, Progress)}
    return {what.removesuffix(": answering") for what in works if what.endswith(": answering")}


def test_the_report_compares_the_stages_on_the_way(chain: Workspace) -> None:
    told = evaluate_second(chain, "first")
    assert who_answered(told) == {"m", "n"}
    before, after = judged(chain, "m"), judged(chain, "n")
    assert [(each.stage, each.model) for each in after.comparison] == [
        ("pretrain", "models/m"),
        ("finetune", "models/n"),
    ]
    first, second = after.comparison
    assert (first.loss, first.tools) == (before.loss, before.tools)
    assert (second.loss, second.tools) == (after.loss, after.tools)
    assert first.changes == {}
    assert second.changes["exact"].value == 0.0  # neither of them ever calls
    loss = second.changes["loss"]
    assert loss.value == pytest.approx((after.loss or 0) - (before.loss or 0), rel=1e-5)
    assert loss.low < loss.value < loss.high
    assert [each.model for each in before.comparison] == ["models/m"]
    details = after.details
    assert details is not None
    assert details.verdicts["exact"] == "0"
    assert sum(map(int, details.tokens.split())) == after.tokens
    nats = [float(number) for number in details.nats.split()]
    assert len(nats) == len(TALKS)
    assert sum(nats) / after.tokens == pytest.approx(after.loss, rel=1e-5)

    card = (chain.models / "n" / "README.md").read_text()
    assert "| measure | pretrain | finetune | change [95 % interval] |" in card
    assert f"| loss | {first.loss:.3f} | {second.loss:.3f} | " in card
    assert not (chain.models / "m" / "README.md").exists()


def test_a_parent_is_judged_again_only_where_that_would_differ(chain: Workspace) -> None:
    evaluate_second(chain, "first")
    before, after = judged(chain, "m"), judged(chain, "n")
    (chain.models / "n" / "evaluation.json").unlink()
    told = evaluate_second(chain, "second")
    assert who_answered(told) == {"n"}
    assert judged(chain, "m") == before
    assert judged(chain, "n").comparison == after.comparison
    assert who_answered(evaluate_second(chain, "settings", max_tokens=4)) == {"m", "n"}
    write_talks(chain.datasets / "held-out.jsonl", TALKS[:4])
    assert who_answered(evaluate_second(chain, "data", max_tokens=4)) == {"m", "n"}
    changed = make_model("gpt2", chain.root / "other", seed=2) / "model.safetensors"
    changed.replace(chain.models / "m" / "model.safetensors")
    (chain.models / "n" / "evaluation.json").unlink()
    assert who_answered(evaluate_second(chain, "weights", max_tokens=4)) == {"m", "n"}


def test_a_report_from_before_there_were_details_is_not_taken(chain: Workspace) -> None:
    evaluate_second(chain, "first")
    path = chain.models / "m" / "evaluation.json"
    old = json.loads(path.read_text())
    del old["details"], old["comparison"]
    path.write_text(json.dumps(old))
    assert judged(chain, "m").loss == old["loss"]  # it can be read
    (chain.models / "n" / "evaluation.json").unlink()
    assert who_answered(evaluate_second(chain, "second")) == {"m", "n"}
    assert len(judged(chain, "n").comparison) == 2


def test_the_comparison_begins_where_a_model_is_still_there(chain: Workspace) -> None:
    shutil.rmtree(chain.models / "m")
    told = evaluate_second(chain, "gone")
    assert who_answered(told) == {"n"}
    assert [each.stage for each in judged(chain, "n").comparison] == ["finetune"]
    assert "Stage by stage" not in (chain.models / "n" / "README.md").read_text()
    assert not [payload for payload in told if isinstance(payload, Warn)]


def test_a_parent_that_cannot_be_judged_is_told_and_left_out(chain: Workspace) -> None:
    (chain.models / "m" / "config.json").write_text("{")
    told = evaluate_second(chain, "broken")
    [warning] = [payload.message for payload in told if isinstance(payload, Warn)]
    assert "models/m cannot be judged" in warning
    assert [each.stage for each in judged(chain, "n").comparison] == ["finetune"]


def test_a_model_from_elsewhere_is_the_base(workspace: Workspace) -> None:
    """It is judged as it was before any stage, its control tokens not yet learned."""
    make_model("qwen2", workspace.root / "qwen")
    folder = workspace.models / "n"
    lively(workspace.root / "qwen").save_pretrained(folder)
    load_chat_tokenizer(workspace.root / "qwen").save(folder)
    write_lineage(folder, Lineage("orpo", "n", "tiny", "1" * 64, time.time(), {"model": "qwen"}))
    assert ancestry(workspace, folder) == [("base", workspace.root / "qwen"), ("orpo", folder)]
    base = judge(
        workspace.root / "qwen",
        place(EngineSettings(device="cpu")),
        workspace.datasets / "held-out.jsonl",
    )
    assert base.tools["exact"].total == 1
    assert base.loss is not None


def test_a_lineage_in_a_circle_ends(chain: Workspace) -> None:
    folder = chain.models / "m"
    lineage = read_lineage(folder)
    assert lineage is not None
    parents = {"tokenizer": "models/n", "model": "models/n"}
    write_lineage(folder, msgspec.structs.replace(lineage, parents=parents))
    names = [path.name for _, path in ancestry(chain, chain.models / "n")]
    assert names == ["m", "n"]


# --- the command ---------------------------------------------------------------------------------


def command(workspace: Workspace, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gptstudio.cli", "eval", *words],
        cwd=workspace.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_command_prints_the_report(workspace: Workspace) -> None:
    words = ("m", "--data", "datasets/held-out.jsonl", "--max-tokens", "4", "--device", "cpu")
    done = command(workspace, *words, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["conversations"] == len(TALKS)
    assert report["model"] == "models/m"
    assert report["loss"] > 0
    assert report["tools"]["exact"]["total"] == 1
    assert not (workspace.models / "m" / "evaluation.json").exists()


@pytest.mark.slow
def test_the_command_shows_the_report_that_there_is(workspace: Workspace) -> None:
    evaluation_stage(workspace, "r")
    stored = workspace.models / "m" / "evaluation.json"
    done = command(workspace, "m", "--json")
    assert (done.returncode, done.stdout) == (0, stored.read_text())
    table = command(workspace, "m").stdout
    assert f"models/m on {len(TALKS)} held-out conversations" in table
    assert f"{json.loads(done.stdout)['perplexity']:.4f}" in table
    assert "A transcript (held-out.jsonl:4)" in table


@pytest.mark.slow
def test_the_command_says_what_is_missing(workspace: Workspace) -> None:
    for words, said in (
        (("m", "--data", "none.jsonl"), ("there is no such file", "none.jsonl")),
        (("m",), ("has not been evaluated", "--data FILE")),
        (("m", "--max-prompts", "3"), ("nothing to judge by", "--max-prompts", "--data FILE")),
        (("nothing",), ("no model is called 'nothing'", "m")),
    ):
        done = command(workspace, *words, "--json")
        assert done.returncode == 2
        assert done.stdout == ""
        for part in said:
            assert part in done.stderr
        assert "Traceback" not in done.stderr
    broken = workspace.root / "broken.jsonl"
    broken.write_text("{\n")
    done = command(workspace, "m", "--data", str(broken), "--device", "cpu")
    assert done.returncode == 2
    assert "1 rows cannot be used" in done.stderr
