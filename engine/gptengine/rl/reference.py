"""The model as it was before the training, to measure how far the training has led from it."""

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from gptengine.finetune.backends import Trained
from gptengine.rl.likelihood import SharedBatch, shared_likelihood
from gptengine.train.device import Placement


class Reference:
    """The frozen start of a training.

    Where adapters alone are trained it is the model with its adapters switched off, and takes no
    memory; otherwise it is a copy.

    Args:
        trained: Before its first step, or a checkpoint, is loaded.
        placement: Device and precision.
    """

    def __init__(self, trained: Trained, placement: Placement) -> None:
        self._trained = trained
        self._placement = placement
        self._copy: nn.Module | None = None
        if not trained.has_adapters or trained.trains_embedding:
            self._copy = copy.deepcopy(trained.model).eval().requires_grad_(False)

    def likelihood(self, batch: SharedBatch, temperature: float) -> Tensor:
        """Its log-probability of each written token, (batch, time), nats; 0 elsewhere."""
        net = self._trained.net
        switched_off = nullcontext() if self._copy is not None else net.disable_adapter()
        with torch.no_grad(), switched_off, self._placement.autocast():
            return shared_likelihood(self._copy or net, batch, temperature)[0]


def switch_dropout_off(net: nn.Module) -> None:
    """Dropout would make the probability ratio differ from 1 before anything is learned."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):  # Llama's, among others
            setattr(module, "attention_dropout", 0.0)  # noqa: B010 - no attribute of nn.Module
