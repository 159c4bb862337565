"""The training loop through `GPTTrainer`, on tiny real models."""

import itertools
import math
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gptcore import events
from gptcore.control import Command
from gptcore.errors import UserError
from gptcore.settings import EngineSettings, PretrainSettings
from gptengine import GPT, GPT_CONFIG, BPETokenizer, GPTTrainer
from gptengine.data.sampler import text_loaders
from gptengine.hf import load_model
from gptengine.train import checkpoint
from gptengine.train.device import place
from gptengine.train.optimizer import GuardedOptimizer, learning_rate

SHAPE = {"vocab_size": 300, "context_length": 16, "emb_dim": 16, "n_heads": 2, "n_layers": 2}
TEXTS = ["the cat sat on the mat and the dog ran off with the hat. " * 3] * 30

T = TypeVar("T")


class Record:
    """Keeps what a training tells."""

    def __init__(self) -> None:
        self.payloads: list[tuple[int | None, events.Payload]] = []

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        self.payloads.append((step, payload))

    def of(self, kind: type[T]) -> list[T]:
        return [payload for _, payload in self.payloads if isinstance(payload, kind)]


def model(**changes: Any) -> GPT:
    torch.manual_seed(0)
    return GPT({**GPT_CONFIG, **SHAPE, **changes})


def batches(count: int = 8, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 20, (count, size, 17), generator=generator)
    return [(each[:, :-1], each[:, 1:]) for each in ids]


def weights(trained: GPT) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in trained.parameters()])


def train(config: dict[str, Any], gpt: GPT | None = None, **arguments: Any) -> tuple[GPT, Record]:
    gpt, record = gpt or model(), Record()
    GPTTrainer(gpt, None, config, recorder=record).train(batches(), **arguments)
    return gpt, record


def test_the_python_api_as_promised(tmp_path: Path) -> None:
    tokenizer = BPETokenizer()
    tokenizer.train(TEXTS, vocab_size=300)
    tokenizer.save(tmp_path / "my_tokenizer")
    tokenizer = BPETokenizer.load(tmp_path / "my_tokenizer")
    gpt = GPT({**GPT_CONFIG, **SHAPE, "vocab_size": tokenizer.vocab_size})
    train_loader, val_loader = text_loaders(TEXTS, tokenizer, 16, 8, held_out=0.2)
    history = GPTTrainer(
        gpt, tokenizer, {"lr": 1e-2, "warmup_steps": 5, "eval_interval": 20}
    ).train(train_loader, val_loader, epochs=10, save_dir=tmp_path / "models")
    assert history.losses[-1] < history.losses[0] / 2
    assert history.val_losses[-1] < history.val_losses[0]
    assert history.steps == list(range(1, 10 * len(train_loader) + 1))
    assert history.tokens == len(history.steps) * 8 * 16
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "models" / name).is_file()
    assert checkpoint.checkpoints(tmp_path / "models" / "checkpoints")


def test_any_sized_iterable_is_a_loader() -> None:
    loader = DataLoader([(x[0], y[0]) for x, y in batches(12)], batch_size=4)
    history = GPTTrainer(model(), None, {}, recorder=Record()).train(loader, epochs=2)
    assert history.steps == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UserError, match="no length"):
        GPTTrainer(model()).train(iter(batches()))
    with pytest.raises(UserError, match="empty"):
        GPTTrainer(model()).train([])


def test_accumulation_gives_the_same_step_as_the_whole_batch() -> None:
    whole, _ = train({"micro_batch": 4, "batch_size": 4, "max_steps": 5})
    parts, _ = train({"micro_batch": 1, "batch_size": 4, "max_steps": 5})
    uneven, _ = train({"micro_batch": 3, "batch_size": 6, "max_steps": 5})
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)
    assert torch.allclose(weights(whole), weights(uneven), atol=1e-6)
    assert not torch.equal(weights(whole), weights(model()))


def test_gradient_checkpointing_changes_nothing() -> None:
    plain, _ = train({"max_steps": 3})
    saving, _ = train({"max_steps": 3, "gradient_checkpointing": True})
    assert torch.equal(weights(plain), weights(saving))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_like_float32(precision: str) -> None:
    def losses(name: str) -> list[float]:
        placement = place(EngineSettings(device="cpu", precision=name))
        config = {"lr": 1e-2, "warmup_steps": 0, "max_steps": 24}
        trainer = GPTTrainer(model(), None, config, placement=placement, recorder=Record())
        return trainer.train(batches(2)).losses

    mixed, full = losses(precision), losses("fp32")
    assert mixed[-1] == pytest.approx(full[-1], abs=0.15)
    assert mixed[-1] < mixed[0] - 0.5


def test_warm_up_and_cosine() -> None:
    settings = PretrainSettings(lr=1.0, min_lr=0.1, warmup_steps=10)
    rates = [learning_rate(step, 110, settings) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55, abs=0.01)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_clipping_bounds_what_reaches_the_weights() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    guard = GuardedOptimizer(torch.optim.SGD([parameter], lr=1.0), PretrainSettings(grad_clip=0.5))
    loss = (parameter * 10).sum()
    guard.backward(loss)
    result = guard.step(loss, lr=1.0)
    assert result.grad_norm == pytest.approx(20.0)
    assert float(parameter.detach().norm()) == pytest.approx(0.5, abs=1e-4)


class Exploding(GPT):
    """Its loss is not finite at the given calls."""

    bad_calls: frozenset[int] = frozenset()
    calls = 0

    def loss(self, input_ids: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        loss = super().loss(input_ids, targets)
        return loss * math.nan if self.calls in self.bad_calls else loss


def exploding(*bad_calls: int) -> GPT:
    torch.manual_seed(0)
    gpt = Exploding({**GPT_CONFIG, **SHAPE})
    gpt.bad_calls = frozenset(bad_calls)
    return gpt


def test_a_bad_step_never_reaches_the_weights() -> None:
    gpt, record = train({"max_steps": 6}, exploding(2, 3))
    assert torch.isfinite(weights(gpt)).all()
    assert [step.skipped for step in record.of(events.Step)] == [False, True, True] + [False] * 3
    assert [step.loss is None for step in record.of(events.Step)] == [False, True, True] + [
        False
    ] * 3


def test_bad_steps_end_the_training_when_told_so() -> None:
    with pytest.raises(UserError, match="not finite"):
        train({"bad_steps": "stop"}, exploding(2))
    with pytest.raises(UserError, match="3 times in a row"):
        train({"max_bad_steps": 2}, exploding(*range(2, 9)))


def test_early_stopping_ends_with_the_best_weights(tmp_path: Path) -> None:
    config = {"lr": 3e-2, "warmup_steps": 0, "eval_interval": 1, "early_stopping": 3, "epochs": 50}
    gpt, record = model(), Record()
    held_out = batches(3, 4)[2:]
    trainer = GPTTrainer(gpt, None, config, recorder=record)
    history = trainer.train(batches(2), held_out, checkpoint_dir=tmp_path)
    assert history.ended_by == "early stopping"
    assert history.val_losses[-1] > (history.best_val_loss or 0)
    assert history.val_loss == history.best_val_loss
    inputs, targets = held_out[0]
    assert float(gpt.loss(inputs, targets).detach()) == pytest.approx(
        history.best_val_loss, rel=1e-4
    )


def test_checkpoints_keep_the_newest_and_the_best(tmp_path: Path) -> None:
    config = {"lr": 3e-2, "warmup_steps": 0, "eval_interval": 1, "max_steps": 40}
    config |= {"checkpoint_interval": 1, "keep_checkpoints": 2}
    gpt, record = model(), Record()
    trainer = GPTTrainer(gpt, None, config, recorder=record)
    trainer.train(batches(2), batches(3)[2:], checkpoint_dir=tmp_path)
    best = [step for step, payload in record.payloads if getattr(payload, "best", False)][-1]
    assert best is not None
    assert best < 39  # or there is nothing to see
    kept = [checkpoint.step_of(path) for path in checkpoint.checkpoints(tmp_path)]
    assert kept == [40, 39, best]
    assert all(checkpoint.defect(path) is None for path in checkpoint.checkpoints(tmp_path))


def test_a_second_training_takes_nothing_from_the_first(tmp_path: Path) -> None:
    config = {"checkpoint_interval": 2, "max_steps": 4, "lr": 1e-2}
    train(config, checkpoint_dir=tmp_path)
    first = checkpoint.checkpoints(tmp_path)[0]
    before = (first / "model.safetensors").read_bytes()
    gpt, record = train({**config, "lr": 3e-2}, checkpoint_dir=tmp_path)
    assert (first / "model.safetensors").read_bytes() != before
    assert "2 checkpoints of an earlier training" in record.of(events.Warn)[0].message
    assert torch.equal(weights(load_model(first)), weights(gpt))


@pytest.mark.parametrize("victim", ["model.safetensors", "trainer/state.json", "manifest.json"])
def test_any_flipped_bit_is_seen(tmp_path: Path, victim: str) -> None:
    train({"checkpoint_interval": 2, "max_steps": 4}, checkpoint_dir=tmp_path)
    newest, older = checkpoint.checkpoints(tmp_path)
    raw = bytearray((newest / victim).read_bytes())
    raw[len(raw) // 2] ^= 4
    (newest / victim).write_bytes(raw)
    found, passed_over = checkpoint.newest_sound(tmp_path)
    assert found == older
    assert len(passed_over) == 1
    assert newest.name in passed_over[0]


def trainer_loss(record: Record) -> float | None:
    return record.of(events.Step)[-1].loss


def test_resume_equals_no_interruption_bit_for_bit(tmp_path: Path) -> None:
    config = {"checkpoint_interval": 3, "max_steps": 8}
    alone = model(drop_rate=0.2)
    GPTTrainer(alone, None, config, recorder=Record()).train(batches())
    torch.manual_seed(99)
    stop_at_5 = iter([[]] * 5 + [[Command("1", "stop", 0.0)]])
    first = GPTTrainer(
        model(drop_rate=0.2), None, config, recorder=Record(), requests=lambda: next(stop_at_5)
    )
    assert first.train(batches(), checkpoint_dir=tmp_path).ended_by == "stop"
    torch.manual_seed(123)
    second, record = model(drop_rate=0.2), Record()
    torch.manual_seed(456)
    trainer = GPTTrainer(second, None, config, recorder=record)
    history = trainer.train(batches(), checkpoint_dir=tmp_path, attempt=2)
    assert history.steps == [6, 7, 8]
    assert record.of(events.Resume) == [events.Resume(2, 5)]
    assert torch.equal(weights(alone), weights(second))
    ended = GPTTrainer(model(drop_rate=0.2), None, config, recorder=Record())
    history = ended.train(batches(), checkpoint_dir=tmp_path, attempt=3)  # nothing is left to do
    assert (history.steps, history.train_loss) == ([], trainer_loss(record))


def test_what_goes_with_a_given_setting_follows_it() -> None:
    trainer = GPTTrainer(model(), None, {"lr": 5e-5, "micro_batch": 64})
    assert trainer.config.min_lr == pytest.approx(5e-6)
    assert trainer.config.batch_size == 64


def test_bad_config_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"did you mean pretrain\.lr"):
        GPTTrainer(model(), None, {"lrr": 1})
    with pytest.raises(UserError, match=r"pretrain\.lr"):
        GPTTrainer(model(), None, {"lr": "fast"})
