"""A learned reward model, ready to judge what a policy writes."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptcore.errors import UserError
from gptengine.causal_lm import context_length_of, load_judge, read_config
from gptengine.chat_tokenizer import (
    TOKENIZER_FILE,
    ChatTokenizer,
    load_chat_tokenizer,
    pad_id,
)
from gptengine.train.device import Placement


class RewardModel:
    """Gives sequences one number each, the higher the better.

    Args:
        net: A model with one output a sequence, by transformers.
        pad: Id that fills up; the last token that is another is the one judged at.
        placement: Where it computes.
        context: Tokens that it can see.
        batch_size: Sequences computed at once.
    """

    def __init__(
        self, net: Any, *, pad: int, placement: Placement, context: int, batch_size: int
    ) -> None:
        self.net = net.to(placement.device).eval()
        self.net.config.pad_token_id = pad
        self._pad = pad
        self._placement = placement
        self._context = context
        self._batch_size = batch_size

    def score(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """The rewards of sequences, whatever stands beside them in a batch.

        Args:
            ids: Of each, prompt and answer, rendered as for training: it ends as a turn does.

        Raises:
            UserError: One is longer than the model's context.
        """
        longest = max(map(len, ids), default=0)
        if longest > self._context:
            raise UserError(
                f"{longest} tokens are to be judged, but the reward model sees {self._context}",
                where="reward_model",
                fix="set a shorter context_length, or take a reward model with a longer context",
            )
        order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
        scores = [0.0] * len(ids)
        for at in range(0, len(order), self._batch_size):
            places = order[at : at + self._batch_size]
            batch = self._batch([ids[place] for place in places])
            with torch.no_grad(), self._placement.autocast():
                values = rewards_of(self.net, batch).tolist()
            for place, value in zip(places, values, strict=True):
                scores[place] = value
        return scores

    def _batch(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Padded at the right: `input_ids` and `attention_mask`, each (batch, time)."""
        input_ids = torch.full((len(rows), max(map(len, rows))), self._pad)
        mask = torch.zeros_like(input_ids)
        for at, row in enumerate(rows):
            input_ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = 1
        device = self._placement.device
        return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}


def rewards_of(net: Any, batch: dict[str, Tensor]) -> Tensor:
    """The rewards of a batch, float32 (batch,).

    Args:
        net: A model with one output a sequence.
        batch: `input_ids` and `attention_mask`, each (batch, time), padded at the right.
    """
    rewards: Tensor = net(**batch, use_cache=False).logits.squeeze(-1).float()
    return rewards


def load_reward_model(
    folder: Path, tokenizer: ChatTokenizer, placement: Placement, *, batch_size: int = 32
) -> RewardModel:
    """The reward model in a folder, for what a policy writes.

    Args:
        folder: As the stage `reward` makes it.
        tokenizer: Of the policy.
        placement: Where to compute.
        batch_size: Sequences computed at once.

    Raises:
        UserError: There is no reward model in it, or it reads tokens as others than the policy's.
    """
    config = read_config(folder)
    name = next(iter(config.architectures or ()), "nothing")
    if not name.endswith("ForSequenceClassification") or config.num_labels != 1:
        raise UserError(
            f"this is no reward model: its config.json names {name}",
            where=str(folder),
            fix="name what the stage reward has made",
        )
    own = load_chat_tokenizer(folder)
    if _vocabulary(own) != _vocabulary(tokenizer):
        raise UserError(
            "the reward model does not match: its tokenizer is another than the model's",
            where=str(folder),
            fix="train the reward model from the same model, by the stage reward",
        )
    net = load_judge(folder, torch.float32 if placement.precision == "fp32" else None)
    return RewardModel(
        net,
        pad=pad_id(own),
        placement=placement,
        context=context_length_of(folder),
        batch_size=batch_size,
    )


def _vocabulary(tokenizer: ChatTokenizer) -> Any:
    """All that decides which ids a text becomes, to be compared."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        saved = json.loads((Path(folder) / TOKENIZER_FILE).read_bytes())
    added = {token["content"]: token["id"] for token in saved["added_tokens"]}
    return saved["model"], saved["pre_tokenizer"], added
