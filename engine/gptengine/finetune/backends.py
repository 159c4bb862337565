"""The model that is fine-tuned: loaded, with adapters by Unsloth or by PEFT, and merged again."""

import importlib.util
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gptcore.errors import UserError
from gptcore.lineage import read_lineage
from gptcore.settings import FinetuneSettings, TuningSettings
from gptengine.causal_lm import fuse_gelu, load_causal_lm, load_judge, read_config
from gptengine.chat_tokenizer import ForeignTokenizer
from gptengine.tokenizer import BPETokenizer
from gptengine.train.device import Placement
from gptengine.trouble import is_out_of_memory


@dataclass(frozen=True, slots=True)
class Backend:
    """Which library puts the adapters in.

    Args:
        name: `unsloth`, `peft`, or `transformers` where all weights are trained.
        reason: Why, for people.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a model is trained to do.

    Args:
        load: Loads it from a folder: `load(folder, dtype, **options)`.
        peft_task: What PEFT calls it; with `SEQ_CLS` the new head is trained and saved along.
    """

    load: Callable[..., Any]
    peft_task: str


WRITING = Purpose(load_causal_lm, "CAUSAL_LM")
JUDGING = Purpose(load_judge, "SEQ_CLS")


@dataclass
class Trained:
    """A model ready to be trained.

    Attributes:
        net: What is called: a PEFT model, or the model itself where all weights are trained.
        backend: Which library put the adapters in.
        folder: Where the model came from.
        trains_embedding: Whether the token embedding is trained along with the adapters.
        details: For the record's start of the stage.
        purpose: What it is trained to do.
    """

    net: Any
    backend: Backend
    folder: Path
    trains_embedding: bool = False
    details: dict[str, Any] = field(default_factory=dict)
    purpose: Purpose = WRITING

    @property
    def has_adapters(self) -> bool:
        """Whether there is something to merge."""
        return self.backend.name != "transformers"

    @property
    def model(self) -> Any:
        """The model itself, adapters inside."""
        return self.net.get_base_model() if self.has_adapters else self.net

    def embeddings(self) -> list[Any]:
        """The layers that hold a row a token: the input's, and the output's where it has one."""
        layers = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        return [layer for layer in layers if layer is not None]

    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: p for name, p in self.net.named_parameters() if p.requires_grad}

    def save(self, folder: Path) -> None:
        """Write the adapter (with the embedding, where that is trained), or the whole model."""
        if self.has_adapters:
            self.net.save_pretrained(folder, save_embedding_layers=self.trains_embedding)
        else:
            self.net.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Take the weights that `save` wrote."""
        if self.has_adapters:
            from peft import set_peft_model_state_dict
            from safetensors.torch import load_file

            tensors = load_file(folder / "adapter_model.safetensors")
            set_peft_model_state_dict(self.net, tensors)
        else:
            self.net.load_state_dict(self.purpose.load(folder).state_dict())

    def merge(self) -> Any:
        """The whole model with the adapters in its weights; this one is used up."""
        if not self.has_adapters:
            return self.net
        if getattr(self.model, "is_quantized", False):
            return _merged_in_16_bits(self)
        return self.net.merge_and_unload()


def choose_backend(settings: TuningSettings, placement: Placement) -> Backend:
    """Unsloth where it can be used, else PEFT.

    Args:
        settings: Of the training.
        placement: Where it will be trained.

    Raises:
        UserError: Unsloth was asked for and cannot be used, or 4 bits were.
    """
    if settings.method == "full":
        return Backend("transformers", "all weights are trained: there are no adapters")
    if settings.method == "qlora":
        _check_quantization(settings, placement)
    if not isinstance(settings, FinetuneSettings):
        return Backend("peft", "Unsloth is for fine-tuning alone")
    if settings.backend == "peft":
        return Backend("peft", "as set")
    obstacle = _unsloth_obstacle(settings)
    if not obstacle:
        why = "as set" if settings.backend == "unsloth" else "it is installed"
        return Backend("unsloth", why)
    if settings.backend == "unsloth":
        raise UserError(
            f"Unsloth cannot be used: {obstacle}",
            where="finetune.backend = unsloth",
            fix="--set finetune.backend=peft, which needs nothing more",
        )
    return Backend("peft", obstacle)


def _unsloth_obstacle(settings: FinetuneSettings) -> str:
    """Why Unsloth cannot be used; empty: it can."""
    if importlib.util.find_spec("unsloth") is None:
        return "Unsloth is not installed"
    if settings.packing:
        return "Unsloth does not keep packed conversations apart"
    try:
        with redirect_stdout(StringIO()):  # its banner
            import unsloth  # noqa: F401
    except Exception as error:
        return f"Unsloth does not import: {type(error).__name__}: {error}".splitlines()[0]
    return ""


def _check_quantization(settings: TuningSettings, placement: Placement) -> None:
    lacks = ""
    if importlib.util.find_spec("bitsandbytes") is None:
        lacks = "bitsandbytes is not installed"
    elif placement.device.type != "cuda":
        lacks = "it needs a CUDA device"
    if lacks:
        raise UserError(
            f"the model cannot be held in 4 bits: {lacks}",
            where=f"{settings.table}.method = qlora",
            fix=f"--set {settings.table}.method=lora,"
            " or pip install bitsandbytes where there is a GPU",
        )


def prepare(
    folder: Path,
    tokenizer: BPETokenizer | ForeignTokenizer,
    settings: TuningSettings,
    placement: Placement,
    longest: int,
    purpose: Purpose = WRITING,
) -> Trained:
    """Load a model and make it ready to be trained further.

    Args:
        folder: A local Hugging Face folder with a causal LM.
        tokenizer: Its tokenizer; where it has more ids than the model, the model grows.
        settings: How to tune it.
        placement: Where.
        longest: Tokens of a sequence.
        purpose: What it is to learn; Unsloth is for fine-tuning alone.

    Raises:
        UserError: It cannot be loaded, or lacks the layers that `targets` names.
    """
    read_config(folder)  # what is no model is no fault of a backend
    backend = choose_backend(settings, placement)
    if backend.name != "unsloth":
        return _prepared(backend, folder, tokenizer, settings, placement, longest, purpose)
    try:
        return _prepared(backend, folder, tokenizer, settings, placement, longest, purpose)
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        said = f"Unsloth cannot take this model: {type(error).__name__}: {error}".splitlines()[0]
        if getattr(settings, "backend", "") == "unsloth":
            raise UserError(
                said, where=str(folder), fix="--set finetune.backend=peft, which takes more of them"
            ) from error
        instead = Backend("peft", said)
        return _prepared(instead, folder, tokenizer, settings, placement, longest, purpose)


def _prepared(
    backend: Backend,
    folder: Path,
    tokenizer: BPETokenizer | ForeignTokenizer,
    settings: TuningSettings,
    placement: Placement,
    longest: int,
    purpose: Purpose,
) -> Trained:
    torch.manual_seed(settings.seed)  # of rows for new tokens, and of a new head
    if backend.name == "unsloth":
        model = _load_with_unsloth(folder, settings, placement, longest)
    else:
        model = _load(folder, settings, placement, purpose)
    if tokenizer.vocab_size > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(tokenizer.vocab_size)
    if backend.name == "transformers":
        model.requires_grad_()
        return Trained(model, backend, folder, purpose=purpose)
    names = target_names(model)
    targets = list(settings.targets) or names
    unknown = sorted(set(targets) - set(names))
    if unknown:
        raise UserError(
            f"the model has no linear layers called {', '.join(unknown)}",
            where=f"{settings.table}.targets",
            fix=f"choose among {', '.join(names)}; or leave it empty for all of them",
        )
    net = _adapted(model, backend, targets, settings, purpose)
    trains_embedding = settings.train_embedding == "on" or (
        settings.train_embedding == "auto" and has_new_control_tokens(folder, tokenizer)
    )
    details = {"targets": ", ".join(targets)}
    trained = Trained(net, backend, folder, trains_embedding, details, purpose)
    if trains_embedding:
        # Not by PEFT's `modules_to_save`: for GPT-2 that leaves the tied head as it was.
        for layer in trained.embeddings():
            layer.weight.data = layer.weight.data.float()
            layer.weight.requires_grad_()
    return trained


def has_new_control_tokens(folder: Path, tokenizer: BPETokenizer | ForeignTokenizer) -> bool:
    """Whether the model has yet to learn what the control tokens mean."""
    if isinstance(tokenizer, ForeignTokenizer):
        return bool(tokenizer.added)
    lineage = read_lineage(folder)
    return lineage is None or lineage.stage == "pretrain"


def target_names(model: Any) -> list[str]:
    """The names of the linear layers in a model's blocks, as adapters are told of them."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = {
        name.rpartition(".")[2]: None
        for name, module in model.base_model.named_modules()  # without a head that judges
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    return list(found)


def _load(folder: Path, settings: TuningSettings, placement: Placement, purpose: Purpose) -> Any:
    if settings.method == "qlora":
        from peft import prepare_model_for_kbit_training
        from transformers import BitsAndBytesConfig

        half = torch.bfloat16 if placement.precision == "bf16" else torch.float16
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=half,
        )
        model = purpose.load(
            folder, quantization_config=quantization, device_map={"": placement.device}
        )
        return prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=settings.gradient_checkpointing
        )
    # What is trained needs float32; what is frozen stays as it is stored where that is computed.
    whole = settings.method == "full" or placement.precision == "fp32"
    return purpose.load(folder, torch.float32 if whole else None)


def _adapted(
    model: Any, backend: Backend, targets: list[str], settings: TuningSettings, purpose: Purpose
) -> Any:
    if backend.name == "unsloth":
        from unsloth import FastLanguageModel

        # It seeds torch with `random_state` just before it makes the adapters, as is done below.
        return FastLanguageModel.get_peft_model(
            model,
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=targets,
            bias="none",
            use_gradient_checkpointing=settings.gradient_checkpointing,
            random_state=settings.seed,
        )
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=purpose.peft_task,
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        bias="none",
        fan_in_fan_out=model.config.model_type == "gpt2",
    )
    torch.manual_seed(settings.seed)
    net = get_peft_model(model, config)
    for parameter in net.parameters():
        if parameter.requires_grad:  # a new head has the precision of the weights at first
            parameter.data = parameter.data.float()
    return net


def _load_with_unsloth(
    folder: Path, settings: TuningSettings, placement: Placement, longest: int
) -> Any:
    from unsloth import FastLanguageModel

    with redirect_stdout(StringIO()):  # its banner
        model, _ = FastLanguageModel.from_pretrained(
            str(folder),
            max_seq_length=longest,
            dtype=torch.float32 if placement.precision == "fp32" else None,
            load_in_4bit=settings.method == "qlora",
            use_gradient_checkpointing=settings.gradient_checkpointing,
            local_files_only=True,
        )
    fuse_gelu(model)
    return model


def _merged_in_16_bits(trained: Trained) -> Any:
    """The adapters merged into the weights as they were before they were held in 4 bits."""
    import tempfile

    from peft import PeftModel

    with tempfile.TemporaryDirectory() as folder:
        trained.save(Path(folder))
        base = trained.purpose.load(trained.folder, torch.bfloat16)
        rows = trained.model.get_input_embeddings().weight.shape[0]
        if rows > base.get_input_embeddings().weight.shape[0]:
            base.resize_token_embeddings(rows)
        return PeftModel.from_pretrained(base, folder).merge_and_unload()
