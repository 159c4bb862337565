"""The settings of a pipeline: TOML in, frozen and checked objects out.

Every field says what it is, in which unit and within which bounds; ``gptstudio profiles show``
prints those sentences as comments. pydantic reports all mistakes at once, and this module turns
them into one message with file, key and nearest name.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gptcore.errors import UserError
from gptcore.stages import StageName

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]

#: Attention heads a layer may have.
MAX_HEADS = 1024


class Section(BaseModel):
    """A table of the settings file: frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PipelineSettings(Section):
    """Which stages there are, and which of them this run performs."""

    stages: tuple[StageName, ...] = Field(
        ("tokenizer", "pretrain"), min_length=1, description="Stages of the pipeline, in order."
    )
    only: StageName | None = Field(
        None, description="Perform this stage alone (`--stage`); absent: all of them."
    )
    parent: str | None = Field(
        None,
        description="Model or tokenizer that the first performed stage starts from (`--from`);"
        " absent: what the stage before it made.",
    )

    @model_validator(mode="after")
    def _check(self) -> "PipelineSettings":
        if len(set(self.stages)) != len(self.stages):
            raise ValueError("a stage is listed twice")
        if self.only is not None and self.only not in self.stages:
            raise ValueError(
                f"stage {self.only!r} is not in pipeline.stages ({', '.join(self.stages)})"
            )
        if self.parent is not None and self.performed[0] == "tokenizer":
            raise ValueError(
                f"parent {self.parent!r}: the stage tokenizer starts from text alone;"
                " name a later one with --stage"
            )
        return self

    @property
    def performed(self) -> tuple[StageName, ...]:
        """The stages of this run, in order."""
        return self.stages if self.only is None else (self.only,)


class PretrainDataSettings(Section):
    """Which raw text is learned from."""

    include: tuple[str, ...] = Field(
        ("**",), description="Globs of files under datasets/ that are used."
    )
    exclude: tuple[str, ...] = Field(
        ("README*",), description="Globs of files under datasets/ that are left out."
    )
    weights: dict[str, Annotated[int, Field(ge=1, le=100)]] = Field(
        default_factory=dict,
        description="Glob = how many times an epoch goes through those files; others: once.",
    )
    separator: str = Field(
        "<|endoftext|>",
        min_length=1,
        description="Text that ends a document inside a file; the file's end always does.",
    )
    held_out: Share = Field(
        0.05, description="Share of the documents that is never trained on, only evaluated."
    )


class DataSettings(Section):
    """The mix: which files feed which stage."""

    pretrain: PretrainDataSettings = PretrainDataSettings()


class EngineSettings(Section):
    """Where and how the stages run."""

    python: str = Field("", description="Interpreter of the engine; empty: the studio's own.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda|cuda:\d+)$",
        description="auto (a CUDA device if there is one), cpu, cuda, or cuda:N.",
    )
    processes: int = Field(
        1, ge=1, le=64, description="Data-parallel processes, one a device (torchrun)."
    )
    threads: int = Field(
        0, ge=0, le=1024, description="CPU threads a process computes with; 0: one a core."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Of matrix products; auto: bf16 where the GPU has it, fp32 on a CPU."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile; auto: on a GPU, where it pays."
    )


class TokenizerSettings(Section):
    """Training of the byte-level BPE. Its size is model.vocab_size."""

    max_train_mb: Positive = Field(
        256,
        description="Text to learn merges from, in MB, taken evenly from every file;"
        " less where its words hardly repeat, so that learning stays within 1 GB of memory.",
    )


class ModelSettings(Section):
    """Shape of the GPT. The defaults are the reference size, 124M parameters."""

    vocab_size: int = Field(
        50257, ge=266, le=1_000_000, description="Tokens aimed at; the data may give fewer."
    )
    context_length: int = Field(2000, ge=8, le=1_000_000, description="Tokens a model can see.")
    emb_dim: int = Field(768, gt=0, le=65_536, description="Width of the residual stream.")
    n_heads: int = Field(12, gt=0, le=MAX_HEADS, description="Attention heads a layer.")
    n_layers: int = Field(12, gt=0, le=1024, description="Transformer blocks.")
    drop_rate: Share = Field(0.0, description="Dropout probability.")
    qkv_bias: bool = Field(False, description="Whether query, key and value have a bias.")

    @model_validator(mode="after")
    def _check(self) -> "ModelSettings":
        if self.emb_dim % self.n_heads:
            nearest = _nearest_divisor(self.emb_dim, self.n_heads, MAX_HEADS)
            raise ValueError(
                f"emb_dim {self.emb_dim} is not a multiple of n_heads {self.n_heads};"
                f" the nearest that fits is n_heads = {nearest}"
            )
        return self


def _nearest_divisor(number: int, wanted: int, most: int) -> int:
    """The divisor of `number`, up to `most`, nearest to `wanted`; of two the smaller."""
    wanted = min(wanted, number)
    return next(
        divisor
        for distance in range(wanted)  # 1 divides everything
        for divisor in (wanted - distance, wanted + distance)
        if divisor <= most and number % divisor == 0
    )


class PretrainSettings(Section):
    """The training loop of pretraining; also what `GPTTrainer` takes as its config."""

    seed: int = Field(1337, ge=0, description="Of initial weights, order of the data, dropout.")
    epochs: Positive = Field(1, description="Passes over the training tokens.")
    max_steps: int = Field(0, ge=0, description="Optimiser steps; 0: what the epochs give.")
    batch_size: Positive = Field(32, description="Sequences an optimiser step sees, in all.")
    micro_batch: Positive = Field(
        8, description="Sequences a device computes at once; the rest is gradient accumulation."
    )
    lr: float = Field(6e-4, gt=0, le=1, description="Highest learning rate.")
    min_lr: float = Field(6e-5, ge=0, le=1, description="Learning rate at the end of the cosine.")
    warmup_steps: int = Field(100, ge=0, description="Steps of linear rise to lr.")
    weight_decay: float = Field(0.1, ge=0, le=10, description="AdamW's, on matrices only.")
    beta1: Share = Field(0.9, description="AdamW's first moment decay.")
    beta2: Share = Field(0.95, description="AdamW's second moment decay.")
    grad_clip: float = Field(1.0, ge=0, description="Largest gradient norm; 0: no clipping.")
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice to keep fewer in memory."
    )
    bad_steps: Literal["skip", "stop"] = Field(
        "skip", description="What a NaN or infinite loss or gradient leads to."
    )
    max_bad_steps: Positive = Field(20, description="Skipped steps in a row that end the run.")
    log_interval: Positive = Field(1, description="Steps between two records of the loss.")
    eval_interval: int = Field(100, ge=0, description="Steps between evaluations; 0: at the end.")
    eval_batches: Positive = Field(16, description="Micro-batches an evaluation looks at, at most.")
    early_stopping: int = Field(
        0, ge=0, description="Evaluations without a better validation loss that end it; 0: never."
    )
    checkpoint_interval: int = Field(
        500, ge=0, description="Steps between checkpoints; 0: at the end only."
    )
    keep_checkpoints: Positive = Field(3, description="Newest checkpoints kept, besides the best.")
    sample_interval: int = Field(200, ge=0, description="Steps between samples; 0: none.")
    sample_prompt: str = Field("The ", description="What a sample goes on from.")
    sample_tokens: Positive = Field(48, description="Length of a sample, in tokens.")

    @model_validator(mode="after")
    def _check(self) -> "PretrainSettings":
        if self.batch_size % self.micro_batch:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch {self.micro_batch}"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


class Profile(Section):
    """All settings of one pipeline."""

    name: str = Field(
        "unnamed", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Name of the pipeline."
    )
    description: str = Field("", description="What the profile is for, in a sentence.")
    pipeline: PipelineSettings = PipelineSettings()
    data: DataSettings = DataSettings()
    engine: EngineSettings = EngineSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: ModelSettings = ModelSettings()
    pretrain: PretrainSettings = PretrainSettings()

    @model_validator(mode="after")
    def _check(self) -> "Profile":
        if ":" in self.engine.device and self.engine.processes > 1:
            raise ValueError(
                f"engine.device {self.engine.device} is one GPU, and engine.processes"
                f" {self.engine.processes} want one each; set engine.device = cuda, or"
                " engine.processes = 1"
            )
        share = self.pretrain.micro_batch * self.engine.processes
        if self.pretrain.batch_size % share:
            raise ValueError(
                f"pretrain.batch_size {self.pretrain.batch_size} is not a multiple of"
                f" pretrain.micro_batch {self.pretrain.micro_batch} x engine.processes"
                f" {self.engine.processes}"
            )
        return self


def read_profile(path: Path, overrides: Iterable[str] = ()) -> Profile:
    """Read, override and check a profile.

    Args:
        path: A TOML file; the profile is called after it where it does not say a name.
        overrides: Settings of the form ``section.key=value``, the value in TOML.

    Raises:
        UserError: The file cannot be read, or one or more settings are wrong; all are listed.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("the profile does not exist", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the profile cannot be read: {error}", where=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the profile is not TOML: {error}", where=str(path)) from error
    data.setdefault("name", path.stem)
    for override in overrides:
        _apply(data, override)
    return check_profile(data, where=str(path))


def check_profile(data: Mapping[str, Any], *, where: str) -> Profile:
    """Turn plain settings into a profile.

    Raises:
        UserError: One or more settings are wrong; all are listed.
    """
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        mistakes = [_explain(mistake) for mistake in error.errors()]
        what = mistakes[0] if len(mistakes) == 1 else "\n".join(["wrong settings:", *mistakes])
        raise UserError(
            what, where=where, fix="gptstudio profiles show lists every setting, its unit, bounds"
        ) from None


def write_profile(profile: Profile) -> str:
    """The profile as TOML, every setting spelled out."""
    return tomli_w.dumps(profile.model_dump(mode="json", exclude_none=True))


def differences(profile: Profile, other: Profile | None = None) -> dict[str, tuple[Any, Any]]:
    """Settings of `profile` that differ from `other` (from the defaults): key to (other, own)."""
    own = flatten(profile.model_dump(mode="json"))
    base = flatten((other or Profile()).model_dump(mode="json"))
    return {key: (base.get(key), own[key]) for key in own if base.get(key) != own[key]}


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def field_names(model: type[BaseModel] = Profile, prefix: str = "") -> list[str]:
    """Dotted keys of every table and setting."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += [prefix + name, *field_names(field.annotation, f"{prefix}{name}.")]
        else:
            names.append(prefix + name)
    return names


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    key, raw = key.strip(), raw.strip()
    if not equals or not key:
        raise UserError(
            f"{override!r} is not of the form section.key=value",
            where="--set",
            fix="for example --set pretrain.lr=3e-4",
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word: text needs no quotes on the command line
    *tables, name = key.split(".")
    table: Any = data
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UserError(_unknown(key), where="--set")
    table[name] = value


def _explain(mistake: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        return _unknown(key)
    if mistake["type"] == "value_error":  # raised by the checks above, which name their settings
        message = str(mistake["ctx"]["error"])
        return f"[{key}] {message}" if key else message
    message = mistake["msg"].replace("Input should be", "must be")
    return f"{key} = {mistake['input']!r}: {message}"


def _unknown(key: str) -> str:
    names = field_names()
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not near:  # the right name in the wrong table, or a slip in it
        tails = {name.rsplit(".", 1)[-1]: name for name in names}
        near = difflib.get_close_matches(key.rsplit(".", 1)[-1], tails, n=1, cutoff=0.7)
        near = [tails[tail] for tail in near]
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown setting {key}{hint}"
