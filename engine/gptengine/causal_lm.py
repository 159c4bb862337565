"""Any causal LM in a local folder, by transformers: to write, or with a head that judges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from gptcore.errors import UserError


def load_causal_lm(folder: Path, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """The causal LM in a local folder, by transformers; nothing in it is executed.

    Args:
        folder: In Hugging Face layout, weights in safetensors.
        dtype: Of the weights; None: as stored.
        **options: For `from_pretrained`.

    Raises:
        UserError: It cannot be loaded.
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, folder, dtype, options)


def load_judge(folder: Path, dtype: torch.dtype | None = None, **options: Any) -> Any:
    """The model in a local folder with a head that gives a sequence one number, its reward.

    Args:
        folder: With a causal LM, whose head is left out for a new one; or with such a judge.
        dtype: Of the weights; None: as stored.
        **options: For `from_pretrained`.

    Raises:
        UserError: It cannot be loaded, or its architecture knows no such head.
    """
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    told = logging.get_verbosity()
    logging.set_verbosity_error()  # of the heads that are left out and new, at length
    try:
        options["num_labels"] = 1
        return _load(AutoModelForSequenceClassification, folder, dtype, options)
    finally:
        logging.set_verbosity(told)


def _load(kind: Any, folder: Path, dtype: torch.dtype | None, options: Mapping[str, Any]) -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = kind.from_pretrained(
            folder,
            dtype=dtype or "auto",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    except (ValueError, OSError, KeyError, SafetensorError) as error:
        said = str(error).strip().splitlines()
        raise UserError(
            f"the model cannot be loaded: {said[0] if said else type(error).__name__}",
            where=str(folder),
            fix="name a folder with config.json and model.safetensors of a causal LM",
        ) from error
    fuse_gelu(model)
    return model


def fuse_gelu(model: nn.Module) -> None:
    """Compute GPT-2's GELU in one kernel, not in eight; the config keeps its own name for it."""
    from transformers.activations import NewGELUActivation

    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))


def context_length_of(folder: Path) -> int:
    """Tokens that the model in `folder` can see.

    Raises:
        UserError: Its config.json cannot be read, or does not say.
    """
    config = read_config(folder)
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not length:
        raise UserError(
            "the model's config.json does not say how long its context is",
            where=str(folder),
            fix="set finetune.context_length",
        )
    return int(length)


def read_config(folder: Path) -> Any:
    """The config.json of a local model, as transformers reads it.

    Raises:
        UserError: It cannot be read.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        said = str(error).strip().splitlines()
        raise UserError(
            f"the model's config.json cannot be read: {said[0] if said else error!r}",
            where=str(folder),
            fix="name a folder with config.json and model.safetensors of a causal LM",
        ) from error
