"""The stage `finetune`: from files to a model folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from gptcore import events
from gptcore.lineage import read_lineage
from gptcore.workspace import Workspace
from tests.engine.tiny_models import (
    CONTEXT,
    KINDS,
    TALKS,
    make_model,
    perform_stage,
    talk,
    write_talks,
)
from tests.engine.tuning import QUICK

PREPARED = {
    "pipeline": {"stages": ["pretrain", "finetune"], "parent": "m"},
    "finetune": {**QUICK, "max_steps": 4},
    "data": {"finetune": {"held_out": 0.1}},
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with conversations to learn from."""
    made = Workspace(tmp_path / "ws")
    many = [talk(f"the cat {n}?", f"the dog {n} and the hat") for n in range(40)]
    write_talks(made.datasets / "talks.jsonl", [*many, *TALKS])
    write_talks(made.datasets / "held-out.jsonl", [talk("not", "this")])
    return made


def tuned(
    workspace: Workspace, name: str, kind: str = "gpt2", **changes: Any
) -> tuple[int, list[Any]]:
    if not (workspace.models / "m").exists():
        make_model(kind, workspace.models / "m")
    content = {**PREPARED, "finetune": {**PREPARED["finetune"], **changes}}
    return perform_stage(workspace, name, "finetune", content)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_stage_publishes_a_model_for_plain_transformers(
    workspace: Workspace, kind: str, method: str
) -> None:
    code, told = tuned(workspace, "r", kind, method=method, packing=kind == "llama")
    assert code == 0
    folder = workspace.models / "r-finetune"
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.model_max_length == CONTEXT
    endings = tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id)
    assert endings == ["<|end|>", "<|endoftext|>"]
    asked = [{"role": "user", "content": "the cat 3?"}]
    inputs = tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        written = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert written.shape[1] > inputs["input_ids"].shape[1]
    assert (folder / "adapter").is_dir() == (method == "lora")
    if method == "lora":
        base = AutoModelForCausalLM.from_pretrained(workspace.models / "m")
        base.resize_token_embeddings(len(tokenizer))
        adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()
        with torch.inference_mode():
            torch.testing.assert_close(
                adapted(**inputs).logits, model(**inputs).logits, atol=1e-4, rtol=1e-4
            )
    [note] = [payload.message for payload in told if isinstance(payload, events.Note)]
    assert ("the token embedding is trained along" in note) == (method == "lora")
    lineage = read_lineage(folder)
    assert lineage is not None
    assert [item.file for item in lineage.data] == ["talks.jsonl"]
    counts = lineage.training
    assert counts["conversations"] + counts["held_out_conversations"] == 40 + len(TALKS)
    assert counts["held_out_conversations"] > 0
    assert "## Scores" in (folder / "README.md").read_text()
    code, told = tuned(workspace, "again", kind, method=method, packing=kind == "llama")
    assert [p.phase for p in told if isinstance(p, events.StageChange)] == ["skipped"]


def test_too_many_bad_rows_end_the_stage_before_it_trains(workspace: Workspace) -> None:
    write_talks(workspace.datasets / "bad.jsonl", [talk("a", "b")], *["{"] * 20)
    code, told = tuned(workspace, "r")
    assert code == 2
    [failure] = [payload for payload in told if isinstance(payload, events.Failure)]
    assert "20 of 67 rows cannot be used" in failure.what
    assert "bad.jsonl row 2" in failure.what
    assert "data.finetune.max_bad" in failure.fix
    assert not (workspace.models / "r-finetune").exists()


def test_a_context_longer_than_the_models_is_refused(workspace: Workspace) -> None:
    write_talks(workspace.datasets / "long.jsonl", [talk("the cat?", "the dog " * 300)] * 1)
    code, told = tuned(workspace, "r", context_length=2000, max_steps=20)
    assert code == 2
    [failure] = [payload for payload in told if isinstance(payload, events.Failure)]
    assert "finetune.context_length" in str(failure)
