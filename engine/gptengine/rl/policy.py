"""The model in training as something that writes: fast, and with the weights of this moment."""

from typing import Any

from peft.tuners.lora import LoraLayer
from torch import Tensor

from gptengine.chat_tokenizer import ChatTokenizer
from gptengine.decoding import Decoder, chat_decoder
from gptengine.finetune.backends import Trained
from gptengine.hf import copy_weights, gpt_of_shape
from gptengine.train.device import Placement


class Policy:
    """Makes decoders of a model in training.

    A GPT-2 is mirrored in our own `GPT`, adapters merged in, which writes several times as fast as
    transformers' module; other models write themselves.

    Args:
        trained: The model, adapters inside.
        tokenizer: Its own.
        placement: Device and precision.
        context: Tokens that it can see.
    """

    def __init__(
        self, trained: Trained, tokenizer: ChatTokenizer, placement: Placement, *, context: int
    ) -> None:
        self._trained = trained
        self._mirror = None
        if not getattr(trained.model, "is_quantized", False):
            self._mirror = gpt_of_shape(trained.model.config.to_dict())
        if self._mirror is not None:
            self._mirror.requires_grad_(False).eval().to(placement.device)
        model = self._mirror if self._mirror is not None else trained.net
        self._decoder = chat_decoder(model, tokenizer, context=context)

    def decoder(self) -> Decoder:
        """One of the weights as they are now."""
        if self._mirror is not None:
            copy_weights(self._mirror, merged_weights(self._trained.model))
        return self._decoder


def merged_weights(model: Any) -> dict[str, Tensor]:
    """The weights by the names they came with, those of LoRA adapters added to them.

    Args:
        model: The causal LM, adapters inside; it is left as it is.
    """
    weights = {
        name.replace(".base_layer.", "."): value.detach()
        for name, value in model.named_parameters()
        if ".lora_" not in name
    }
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            for adapter in module.active_adapters:
                delta = module.get_delta_weight(adapter).detach()
                weights[f"{name}.weight"] = weights[f"{name}.weight"] + delta
    return weights
