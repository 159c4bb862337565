"""Fine-tuning in process, on models of two layers: ours, and Llama's and Qwen2's shape."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from gptcore import events
from gptcore.errors import UserError
from gptcore.settings import FinetuneSettings
from gptengine.causal_lm import load_causal_lm
from gptengine.hf import load_model
from gptengine.train.optimizer import learning_rate
from tests.engine.tiny_models import (
    CONTEXT,
    KINDS,
    TALKS,
)
from tests.engine.tuning import Tuning, equal

pytestmark = pytest.mark.usefixtures("one_thread")

LINEAR = {
    "gpt2": "c_attn, c_proj, c_fc",
    "llama": "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
}
LINEAR["qwen2"] = LINEAR["llama"]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_the_saved_model_is_the_trained_one(
    folders: dict[str, Path], tmp_path: Path, kind: str, method: str
) -> None:
    made = Tuning(folders[kind], tmp_path, val=TALKS, method=method)
    before = made.tuning.evaluate()
    history = made.run()
    assert before is not None
    assert history.losses[0] == pytest.approx(before[0], abs=0.3)
    assert history.val_loss < before[0] - 1
    assert min(history.losses[-5:]) < history.losses[0] - 1
    assert history.steps == list(range(1, 21))
    assert history.ended_by == "steps"
    told = made.logits()
    made.trained.save(tmp_path / "saved")
    made.trained.merge().save_pretrained(tmp_path / "whole")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole")
    torch.testing.assert_close(made.logits(whole), told, atol=1e-4, rtol=1e-4)
    if method == "lora":
        base = AutoModelForCausalLM.from_pretrained(folders[kind], dtype=torch.float32)
        base.resize_token_embeddings(made.tokenizer.vocab_size)
        adapted = PeftModel.from_pretrained(base, tmp_path / "saved")
        torch.testing.assert_close(made.logits(adapted), told, atol=1e-4, rtol=1e-4)
    if kind == "gpt2":  # and here, without transformers
        ids = torch.tensor(made.examples[3][0][None].astype("int64"))
        with torch.inference_mode():
            ours = load_model(tmp_path / "whole")(ids)
        torch.testing.assert_close(ours, told, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_leave_the_weights_as_they_were(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    made = Tuning(folders[kind], tmp_path, train_embedding="off", max_steps=3)
    before, adapters = made.base_weights(), made.weights()
    assert all("lora_" in name for name in adapters)
    made.run()
    assert len(equal(before, made.base_weights())) == len(before)
    assert not equal(adapters, made.weights())
    stored = load_causal_lm(folders[kind], torch.float32).state_dict()
    for name, value in stored.items():
        rows = value.shape[0] if value.dim() else None
        assert torch.equal(made.base_weights()[name][:rows], value), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedding_is_trained_along_and_stays_one(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    made = Tuning(folders[kind], tmp_path, max_steps=3)
    assert made.trained.trains_embedding  # the control tokens are new to the model
    is_tied = kind != "llama"
    before = made.base_weights()

    def check(model: Any) -> None:
        table, head = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        assert (table is head) == is_tied
        assert torch.equal(table, head) == is_tied

    check(made.model)
    made.run()
    check(made.model)
    changed = before.keys() - set(equal(before, made.base_weights()))
    layers = (made.model.get_input_embeddings(), made.model.get_output_embeddings())
    of_embedding = {
        name
        for name, value in made.model.state_dict(keep_vars=True).items()
        if any(value is layer.weight for layer in layers)
    }
    assert changed == of_embedding
    merged = made.trained.merge()
    check(merged)
    merged.save_pretrained(tmp_path / "whole")
    check(AutoModelForCausalLM.from_pretrained(tmp_path / "whole"))


def test_the_embedding_has_a_rate_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    def change(**changes: Any) -> float:
        made = Tuning(folders["gpt2"], tmp_path, max_steps=4, **changes)
        layer = made.model.get_input_embeddings()
        before = layer.weight.detach().clone()
        made.run()
        return float((layer.weight.detach() - before).abs().max())

    assert change(embedding_lr=1e-5) < 0.01 * change()


def test_the_rates_on_record_are_those_of_the_schedule(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made = Tuning(folders["gpt2"], tmp_path, max_steps=6, warmup_steps=3)
    used: list[float] = []
    made.tuning.optimizer().register_step_post_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )
    made.run()
    wanted = [learning_rate(step, 6, made.settings) for step in range(6)]
    assert [step.lr for step in made.record.of(events.Step)] == pytest.approx(wanted)
    assert used == pytest.approx(wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_packing_gives_the_loss_of_the_conversations_alone(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    talks = TALKS[:3] + TALKS[4:]  # together they fit into one sequence
    made = Tuning(
        folders[kind], tmp_path, talks=talks, val=talks, packing=True, batch_size=1, micro_batch=1
    )
    assert made.examples.num_tokens <= CONTEXT
    assert FinetuneSettings().eval_batches >= len(talks)
    before = made.tuning.evaluate()
    history = made.run()
    assert before is not None
    assert history.losses[0] == pytest.approx(before[0], abs=1e-5)
    assert history.val_loss < before[0] - 1


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_accumulation_gives_the_same_steps_as_the_whole_batch(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    whole, parts = (
        Tuning(folders[kind], tmp_path, max_steps=5, batch_size=8, micro_batch=size)
        for size in (8, 2)
    )
    losses = whole.run().losses
    assert parts.run().losses == pytest.approx(losses, abs=1e-5)
    for name, value in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_gradient_checkpointing_changes_nothing(
    folders: dict[str, Path], tmp_path: Path, method: str
) -> None:
    plain, saving = (
        Tuning(
            folders["llama"],
            tmp_path,
            max_steps=4,
            method=method,
            train_embedding="off",
            gradient_checkpointing=saves,
        )
        for saves in (False, True)
    )
    assert plain.run().losses == pytest.approx(saving.run().losses, abs=1e-6)
    for name, value in plain.weights().items():
        torch.testing.assert_close(saving.weights()[name], value, atol=1e-5, rtol=1e-4)


def test_bf16_trains_like_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    full, mixed = (
        Tuning(folders["gpt2"], tmp_path, val=TALKS, precision=name) for name in ("fp32", "bf16")
    )
    assert mixed.run().val_loss == pytest.approx(full.run().val_loss, abs=0.15)


def test_gradients_are_clipped_once_and_told_as_they_were(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def first_norm(clip: float) -> tuple[float, float]:
        made = Tuning(folders["llama"], tmp_path, max_steps=1, grad_clip=clip)
        reached: list[Tensor] = []

        def look(*_: Any) -> None:  # after the guard, which was there before
            gradients = [p.grad for p in made.trained.parameters().values() if p.grad is not None]
            reached.append(torch.nn.utils.get_total_norm(gradients))

        made.tuning.optimizer().register_step_post_hook(look)
        made.run()
        [step] = made.record.of(events.Step)
        return step.grad_norm, float(reached[0])

    told, reached = first_norm(0.0)
    assert told == pytest.approx(reached, rel=1e-5)
    assert told > 0.5  # or something has clipped it before
    assert first_norm(told / 10) == pytest.approx((told, told / 10), rel=1e-3)


# --- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_targets_are_the_linear_layers_of_the_blocks(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    made = Tuning(folders[kind], tmp_path, train_embedding="off")
    assert made.trained.details == {"targets": LINEAR[kind]}
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in made.trained.parameters()}
    assert adapted == set(LINEAR[kind].split(", "))
    first = LINEAR[kind].split(", ")[0]
    one = Tuning(folders[kind], tmp_path, targets=(first,), train_embedding="off")
    assert all(f".{first}.lora_" in name for name in one.trained.parameters())
    with pytest.raises(UserError, match="no linear layers called lm_head, nothing_like_it") as said:
        Tuning(folders[kind], tmp_path, targets=(first, "nothing_like_it", "lm_head"))
    assert LINEAR[kind] in said.value.fix


def test_four_bits_need_a_gpu(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be held in 4 bits") as said:
        Tuning(folders["gpt2"], tmp_path, method="qlora")
    assert "qlora" in said.value.where
    assert "finetune.method=lora" in said.value.fix


@pytest.mark.skipif(importlib.util.find_spec("unsloth") is not None, reason="Unsloth is installed")
def test_without_unsloth_peft_is_taken_and_says_why(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="Unsloth is not installed") as said:
        Tuning(folders["llama"], tmp_path, backend="unsloth")
    assert "finetune.backend=peft" in said.value.fix
    chosen = Tuning(folders["llama"], tmp_path, backend="auto").trained.backend
    assert (chosen.name, chosen.reason) == ("peft", "Unsloth is not installed")
    assert Tuning(folders["llama"], tmp_path).trained.backend.reason == "as set"
    full = Tuning(folders["llama"], tmp_path, backend="auto", method="full").trained
    assert full.backend.name == "transformers"
    assert not full.has_adapters
