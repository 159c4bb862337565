"""Pairs that a tiny model can learn from, and one training on them in process."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from gptcore.control import Command
from gptcore.formats.records import Message, Preference, to_row
from gptcore.rl_settings import OrpoSettings, RewardModelSettings
from gptcore.settings import EngineSettings
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.finetune.backends import JUDGING, WRITING, Trained, prepare
from gptengine.finetune.data import Examples
from gptengine.rl.orpo import ORPO
from gptengine.rl.preferences import Pairs, encode_pair
from gptengine.rl.reward_model import RewardTraining
from gptengine.train.device import place
from tests.engine.tiny_models import CONTEXT, Record

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
}
KINDS_OF_TRAINING = ("orpo", "reward")
_WORDS = ("the cat", "the dog", "the hat", "rain", "3 degrees", "Oslo", "the mat", "a whale")


def pair(question: str, chosen: str, rejected: str) -> Preference:
    """A pair of answers to a question."""
    prompt = (Message("user", question),)
    return Preference(prompt, (Message("assistant", chosen),), (Message("assistant", rejected),))


def polite_pairs(count: int) -> list[Preference]:
    """Pairs whose better answer ends with thanks, the sides of like lengths and likelihood."""
    made = []
    for number in range(count):
        first, second = _WORDS[number % 8], _WORDS[(number // 8 + 1 + number) % 8]
        question = f"What of {first} and {second}, {number}?"
        made.append(pair(question, f"{first} sat on {second}", f"{second} ran off"))
    return made


PAIRS = polite_pairs(6)


def pairs_of(preferences: Sequence[Preference], tokenizer: Any) -> Pairs:
    """The pairs, encoded."""
    sides = Examples()
    for each in preferences:
        for side in encode_pair(each, tokenizer, CONTEXT).sequences:
            sides.append(side)
    return Pairs(sides)


def write_pairs(path: Path, preferences: Sequence[Preference], *more: Any) -> Path:
    """A JSONL file of pairs, and of other rows after them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(to_row(each)) for each in preferences]
    rows += [row if isinstance(row, str) else json.dumps(row) for row in more]
    path.write_text("\n".join(rows) + "\n")
    return path


class PairTuning:
    """One training on pairs, `orpo` or `reward`, with all that it needs."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        scratch: Path,
        *,
        train: Sequence[Preference] = PAIRS,
        val: Sequence[Preference] = (),
        requests: Callable[[], list[Command]] = list,
        checkpoints: Path | None = None,
        precision: str = "fp32",
        **changes: Any,
    ) -> None:
        values = {**QUICK, **changes}
        orpo = kind == "orpo"
        self.settings = OrpoSettings(**values) if orpo else RewardModelSettings(**values)
        self.tokenizer = load_chat_tokenizer(folder)
        self.placement = place(EngineSettings(device="cpu", precision=precision))
        self.trained: Trained = prepare(
            folder,
            self.tokenizer,
            self.settings,
            self.placement,
            CONTEXT,
            WRITING if orpo else JUDGING,
        )
        self.record = Record()
        self.train = pairs_of(train, self.tokenizer)
        options: dict[str, Any] = {
            "train": self.train,
            "val": pairs_of(val, self.tokenizer),
            "longest": CONTEXT,
            "recorder": self.record,
            "requests": requests,
            "checkpoint_dir": checkpoints,
        }
        self.tuning: Any = (
            ORPO(self.trained, self.tokenizer, self.settings, self.placement, **options)
            if orpo
            else RewardTraining(
                self.trained,
                self.tokenizer,
                self.settings,
                self.placement,
                scratch=scratch,
                **options,
            )
        )

    def run(self) -> Any:
        return self.tuning.run()

    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.trained.parameters().items()}
