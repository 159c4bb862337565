"""Fine-tuning as a run: from text to a model that is judged, killed and resumed on the way."""

import json
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from gptcore import events
from gptcore.evaluation import read_evaluation
from gptcore.lineage import read_lineage
from gptcore.status import observe
from gptcore.workspace import RunPaths, Workspace
from tests.conftest import Runs, events_of, wait_for, write_corpus
from tests.engine.tiny_models import TALKS, talk, tool_talk, write_talks

pytestmark = pytest.mark.slow

#: Long enough to be killed in, with dropout so that random states count too.
SETTINGS = (
    'pipeline.stages=["tokenizer", "pretrain", "finetune", "eval"]',
    "engine.threads=1",
    "model.context_length=160",
    "model.drop_rate=0.1",
    "pretrain.max_steps=10",
    "finetune.max_steps=80",
    "finetune.batch_size=4",
    "finetune.micro_batch=2",
    "finetune.dropout=0.1",
    "finetune.lr=3e-3",
    "finetune.checkpoint_interval=15",
    "finetune.eval_interval=20",
    "finetune.sample_interval=50",
    "finetune.sample_tokens=8",
    "data.finetune.held_out=0.1",
    "eval.max_tokens=8",
)


def fill(workspace: Workspace) -> None:
    """Text, conversations to learn from, and others to be judged by."""
    write_corpus(workspace.datasets)
    many = [talk(f"the cat {n}?", f"the dog {n} and the hat") for n in range(40)]
    many += [tool_talk(f"cat {n}", f"a dog {n}", f"A dog {n}.") for n in range(20)]
    write_talks(workspace.datasets / "talks.jsonl", many)
    write_talks(workspace.datasets / "held-out.jsonl", TALKS)


def of_stage(run: RunPaths, kind: type[Any], stage: str = "finetune") -> list[tuple[int, Any]]:
    """What a stage has put on record, with the steps."""
    return [
        (event.step or 0, payload)
        for event in events_of(run)
        if event.stage == stage and isinstance(payload := event.payload(), kind)
    ]


def losses(run: RunPaths) -> dict[int, float]:
    return {step: payload.loss for step, payload in of_stage(run, events.Step)}


def reach(run: RunPaths, step: int) -> None:
    wait_for(lambda: max(losses(run), default=0) >= step, 120, run)


def tensors(workspace: Workspace, run: RunPaths) -> dict[str, bytes]:
    folder = workspace.models / f"{run.name}-finetune"
    names = ("model.safetensors", "adapter/adapter_model.safetensors", "tokenizer.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_killed_while_fine_tuning_and_resumed_is_the_same(
    runs: Runs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, record_property: Any
) -> None:
    seed = random.randrange(10_000)
    record_property("seed", seed)
    generator = random.Random(seed)
    # In the same workspace the second run would be skipped, as nothing has changed.
    other = Runs(Workspace(tmp_path_factory.mktemp("other")))
    fill(other.workspace)
    try:
        assert other.to_the_end("r", *SETTINGS).state == "done"
    finally:
        other.clean_up()
    for name in ("datasets", "tokenizers", "models/r-pretrain"):
        shutil.copytree(other.workspace.root / name, tmp_path / name, dirs_exist_ok=True)

    run = runs.create("r", *SETTINGS)
    supervisor = runs.supervise(run)
    reach(run, generator.randrange(2, 60))
    status = observe(run)
    assert status is not None
    assert status.stage == "finetune"
    os.kill(status.stage_pid, signal.SIGKILL)
    status = runs.finish(run)
    assert status.state == "failed"
    assert status.error is not None
    assert "gptstudio resume r" in status.error.fix
    supervisor.wait()
    assert 0 < max(losses(run)) < 80
    runs.supervise(run)
    assert runs.finish(run).state == "done", f"seed {seed}"
    alone = other.workspace.run("r")
    assert losses(run) == losses(alone), f"seed {seed}"
    assert sorted(losses(run)) == list(range(1, 81))
    assert tensors(runs.workspace, run) == tensors(other.workspace, alone), f"seed {seed}"
    for kind in (events.Eval, events.Sample):
        assert of_stage(run, kind) == of_stage(alone, kind)
        assert of_stage(run, kind)
    assert losses(run)[80] < losses(run)[1] - 1

    folder = runs.workspace.models / "r-finetune"
    judged, before = (
        read_evaluation(each.models / "r-finetune") for each in (runs.workspace, other.workspace)
    )
    assert judged is not None
    assert before is not None
    assert judged.loss == before.loss
    assert judged.tools == before.tools
    assert judged.conversations == len(TALKS)
    lineage = read_lineage(folder)
    assert lineage is not None
    assert lineage.parents["model"] == "models/r-pretrain"
    assert [item.file for item in lineage.data] == ["talks.jsonl"]
    assert lineage.training["conversations"] + lineage.training["held_out_conversations"] == 60
    assert lineage.training["ended_by"] == "steps"
    card = (folder / "README.md").read_text()
    assert "fine-tuned from `models/r-pretrain`" in card
    assert "## Evaluation" in card
    generation = json.loads((folder / "generation_config.json").read_text())
    assert AutoTokenizer.from_pretrained(folder).decode(generation["eos_token_id"][0]) == "<|end|>"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "README.md",
        "adapter",
        "chat_template.jinja",
        "config.json",
        "evaluation.json",
        "generation_config.json",
        "gptstudio.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
