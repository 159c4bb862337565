"""Fine-tuning in process, on models of two layers: ours, and Llama's and Qwen2's shape."""

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from gptcore import events
from gptcore.control import Command, CommandName
from gptcore.errors import UserError
from gptcore.formats.records import Conversation
from gptcore.lineage import read_lineage
from gptcore.settings import EngineSettings, FinetuneSettings
from gptcore.workspace import Workspace
from gptengine.causal_lm import load_causal_lm
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.finetune.backends import Trained, prepare
from gptengine.finetune.data import Examples
from gptengine.finetune.trainer import Finetuning
from gptengine.hf import load_model
from gptengine.train import checkpoint
from gptengine.train.device import place
from gptengine.train.optimizer import learning_rate
from tests.engine.tiny_models import (
    CONTEXT,
    KINDS,
    TALKS,
    Record,
    examples_of,
    make_model,
    perform_stage,
    talk,
    write_talks,
)

QUICK = {
    "max_steps": 20,
    "lr": 1e-2,
    "min_lr": 1e-3,
    "warmup_steps": 0,
    "batch_size": 4,
    "micro_batch": 4,
    "eval_interval": 0,
    "checkpoint_interval": 0,
    "sample_interval": 0,
    "sample_tokens": 8,
    "rank": 4,
    "alpha": 8,
    "backend": "peft",
}
LINEAR = {
    "gpt2": "c_attn, c_proj, c_fc",
    "llama": "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
}
LINEAR["qwen2"] = LINEAR["llama"]

Requests = Callable[[], list[Command]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # models this small are the slower for more
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models as they are before fine-tuning, with dropout where that is in the name."""
    made = {kind: make_model(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    for kind in ("gpt2", "llama"):
        folder = tmp_path_factory.mktemp(f"{kind}-dropout")
        made[f"{kind} dropout"] = make_model(kind, folder, drop_rate=0.1)
    return made


class Tuning:
    """One fine-tuning with all that it needs."""

    def __init__(
        self,
        folder: Path,
        scratch: Path,
        *,
        talks: Sequence[Conversation] = TALKS,
        val: Sequence[Conversation] = (),
        requests: Requests = list,
        checkpoints: Path | None = None,
        precision: str = "fp32",
        **changes: Any,
    ) -> None:
        self.folder = folder
        self.settings = FinetuneSettings(**{**QUICK, **changes})
        self.tokenizer = load_chat_tokenizer(folder)
        self.placement = place(EngineSettings(device="cpu", precision=precision))
        self.trained: Trained = prepare(
            folder, self.tokenizer, self.settings, self.placement, CONTEXT
        )
        self.record = Record()
        self.examples: Examples = examples_of(talks, self.tokenizer)
        self.tuning = Finetuning(
            self.trained,
            self.tokenizer,
            self.settings,
            self.placement,
            train=self.examples,
            val=examples_of(val, self.tokenizer),
            longest=CONTEXT,
            recorder=self.record,
            requests=requests,
            checkpoint_dir=checkpoints,
            scratch=scratch,
        )

    def run(self) -> Any:
        return self.tuning.run()

    @property
    def model(self) -> Any:
        return self.trained.model

    def base_weights(self) -> dict[str, Tensor]:
        """The weights that the model came with, by the names they came with."""
        return {
            name.replace(".base_layer", ""): value.detach().clone()
            for name, value in self.model.state_dict().items()
            if "lora_" not in name
        }

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.trained.parameters().items()}

    def logits(self, model: Any = None) -> Tensor:
        return logits_of(model or self.trained.net, self.examples)


def logits_of(model: Any, examples: Examples) -> Tensor:
    model.eval()
    with torch.inference_mode():
        ids = torch.tensor(examples[3][0][None].astype("int64"))
        result: Tensor = model(input_ids=ids).logits
    return result


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """The names whose values are the same to the bit."""
    assert first.keys() == second.keys()
    return [name for name in first if torch.equal(first[name], second[name])]


# --- learning ------------------------------------------------------------------------------------


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


# --- between the steps ---------------------------------------------------------------------------


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


def script(*asked: tuple[int, CommandName]) -> Requests:
    """Commands by the number of the poll at which they come, from 0."""
    polls = iter(range(10_000))

    def requests() -> list[Command]:
        number = next(polls)
        return [Command(name, name, 0.0) for at, name in asked if at == number]

    return requests


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
    assert history.val_losses[-1] > history.best_val_loss
    assert len(history.steps) == history.val_losses.index(history.best_val_loss) + 4
    found = made.tuning.evaluate()
    assert found is not None
    assert found[0] == pytest.approx(history.best_val_loss, rel=1e-5)


# --- resuming ------------------------------------------------------------------------------------

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


# --- the stage -----------------------------------------------------------------------------------

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
