"""One small fine-tuning in process, with all that it needs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptcore.control import Command, CommandName
from gptcore.formats.records import Conversation
from gptcore.settings import EngineSettings, FinetuneSettings
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.finetune.backends import Trained, prepare
from gptengine.finetune.data import Examples
from gptengine.finetune.trainer import Finetuning
from gptengine.train.device import place
from tests.engine.tiny_models import CONTEXT, TALKS, Record, examples_of

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

Requests = Callable[[], list[Command]]


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


def script(*asked: tuple[int, CommandName]) -> Requests:
    """Commands by the number of the poll at which they come, from 0."""
    polls = iter(range(10_000))

    def requests() -> list[Command]:
        number = next(polls)
        return [Command(name, name, 0.0) for at, name in asked if at == number]

    return requests
