"""A model that is trained further, as the duties between the steps see it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import AdamW, Optimizer

from gptcore import events
from gptcore.conversation import plain, render
from gptcore.encoding import encode_spans
from gptcore.formats.records import Message
from gptcore.settings import TuningSettings
from gptengine.chat_tokenizer import ChatTokenizer
from gptengine.decoding import chat_decoder
from gptengine.finetune.backends import Trained
from gptengine.generate import Sampling
from gptengine.train.device import Placement
from gptengine.train.duties import History


class Tuned:
    """The part of a `gptengine.train.duties.Trainee` that is alike wherever a model is tuned.

    Args:
        trained: The model, adapters inside.
        tokenizer: For samples, and saved with checkpoints.
        settings: Of the training.
        placement: Device and precision.
        longest: Tokens of a sequence.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: TuningSettings,
        placement: Placement,
        *,
        longest: int,
    ) -> None:
        self._trained = trained
        self._tokenizer = tokenizer
        self._tuning = settings
        self._placement = placement
        self._longest = longest
        if not getattr(trained.model, "is_quantized", False):
            trained.net.to(placement.device)
        # A fused step would take the scaled gradients of fp16, and the guard would see those.
        self._optimizer = build_optimizer(trained, settings, fused=placement.precision != "fp16")

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The adapters', and the embedding where it is trained along; by name."""
        return self._trained.parameters()

    def optimizer(self) -> Optimizer:
        """The optimiser."""
        return self._optimizer

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training; none here."""
        return None

    def flops_per_token(self) -> float:
        """Not known: it depends on the architecture, and on what is frozen."""
        return 0.0

    def scores(self) -> dict[str, float | None]:
        """What is measured of the finished model beside its losses, for the lineage."""
        return {}

    def write_model(self, folder: Path) -> None:
        """The adapter, or the whole model where all weights are trained; with the tokenizer."""
        self._trained.save(folder)
        self._tokenizer.save(folder)

    def sample(self, step: int) -> events.Sample | None:
        """How the model answers the sample prompt, at its likeliest."""
        prompt = (Message("user", self._tuning.sample_prompt),)
        spans = render(prompt, goes_on=True)
        ids = [index for piece in encode_spans(spans, self._tokenizer) for index in piece]
        with self._evaluating():
            decoder = chat_decoder(self._trained.net, self._tokenizer, context=self._longest)
            likeliest = Sampling(self._tuning.sample_tokens, temperature=0)
            (written,) = decoder.write([ids], likeliest)
        return events.Sample(prompt=plain(spans), text=self._tokenizer.decode(written.ids))

    def go_back_to_best(self, checkpoints: Path | None, best_step: int, history: History) -> None:
        """After early stopping: take the weights with the lowest validation loss again."""
        if history.ended_by != "early stopping" or checkpoints is None:
            return
        best = checkpoints / f"step-{best_step:08d}"
        if best.is_dir():
            self._trained.load(best)
            history.val_loss = history.best_val_loss

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        net = self._trained.net
        training = net.training
        net.eval()
        try:
            with torch.no_grad(), self._placement.autocast():
                yield
        finally:
            net.train(training)


def build_optimizer(trained: Trained, settings: TuningSettings, *, fused: bool) -> AdamW:
    """AdamW; the embedding at a rate of its own, weight decay on the rest's matrices."""
    embeddings: set[int] = set()
    if trained.trains_embedding:
        embeddings = {id(layer.weight) for layer in trained.embeddings()}
    parameters = list(trained.parameters().values())
    rest = [p for p in parameters if id(p) not in embeddings]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
        {
            "params": [p for p in parameters if id(p) in embeddings],
            "weight_decay": 0.0,
            "lr_scale": (settings.embedding_lr or settings.lr) / settings.lr,
        },
    ]
    return AdamW(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        fused=fused,
    )
