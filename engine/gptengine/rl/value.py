"""The value model of PPO: what an answer is going to be worth, as seen from each of its tokens."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gptengine.train.device import Placement

_FILE = "model.safetensors"


class Value(nn.Module):
    """A copy of the model's blocks under a head of its own, trained as the model is.

    What is frozen in the model is not copied but shared: beside adapters the value model costs a
    second set of adapters and a row of weights, beside a model that is trained whole a second one.
    The head begins at 0, and so do its values.

    Args:
        model: A causal LM, adapters inside, before its first step.
        placement: Device and precision.
    """

    #: By this name TRL asks for what gives hidden states; `score` turns those into values.
    base_model_prefix = "backbone"

    def __init__(self, model: Any, placement: Placement) -> None:
        super().__init__()
        width = model.config.get_text_config().hidden_size
        self.backbone = _Backbone(twin(model.base_model), placement)
        self.score = _Head(width, 1, bias=False, device=placement.device)
        nn.init.zeros_(self.score.weight)

    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        """Write what is trained."""
        folder.mkdir()
        tensors = {name: p.detach().contiguous() for name, p in self.trained().items()}
        save_file(tensors, folder / _FILE)

    def load(self, folder: Path) -> None:
        """Take what `save` wrote."""
        tensors = load_file(folder / _FILE)
        with torch.no_grad():
            for name, parameter in self.trained().items():
                parameter.copy_(tensors[name])


def twin(module: nn.Module) -> Any:
    """A copy of a module that shares with it what is frozen, and copies what is trained."""
    shared = [p for p in module.parameters() if not p.requires_grad]
    return copy.deepcopy(module, {id(each): each for each in shared})


class _Backbone(nn.Module):
    """Gives hidden states in the precision of the training, the last ones alone."""

    def __init__(self, net: Any, placement: Placement) -> None:
        super().__init__()
        self.net = net
        self._placement = placement

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """The hidden states, (batch, time, width)."""
        inputs |= {"output_hidden_states": False, "use_cache": False}
        with self._placement.autocast():
            return SimpleNamespace(hidden_states=(self.net(**inputs).last_hidden_state,))


class _Head(nn.Linear):
    """A linear layer that computes in float32 whatever the precision."""

    def forward(self, input: Tensor) -> Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())
