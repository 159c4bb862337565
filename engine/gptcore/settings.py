"""The tables of a profile: each setting with its unit, its bounds and its default.

``gptstudio profiles show`` prints the descriptions as comments.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class MixSettings(Section):
    """Which files feed a stage, among those of the kind it takes."""

    include: tuple[str, ...] = Field(
        ("**",), description="Globs of files under datasets/ that are used."
    )
    exclude: tuple[str, ...] = Field(
        ("README*", "*held-out*"), description="Globs of files under datasets/ that are left out."
    )


class WeightedMixSettings(MixSettings):
    """A mix that is learned from, some files more often than others."""

    weights: dict[str, Annotated[int, Field(ge=1, le=100)]] = Field(
        default_factory=dict,
        description="Glob = how many times an epoch goes through those files; others: once.",
    )


class PretrainDataSettings(WeightedMixSettings):
    """Which raw text is learned from."""

    separator: str = Field(
        "<|endoftext|>",
        min_length=1,
        description="Text that ends a document inside a file; the file's end always does.",
    )
    held_out: Share = Field(
        0.05, description="Share of the documents that is never trained on, only evaluated."
    )


class RowsDataSettings(WeightedMixSettings):
    """Which rows are learned from: instructions, conversations, tool calls; or preferences."""

    held_out: Share = Field(
        0.05, description="Share of the rows that is never trained on, only evaluated."
    )
    max_bad: float = Field(
        0.1, ge=0, le=1, description="Share of unusable rows beyond which the stage does not start."
    )


class EvalDataSettings(MixSettings):
    """Which conversations a model is judged by."""

    include: tuple[str, ...] = Field(
        ("*held-out*",), description="Globs of files under datasets/ that are used."
    )
    exclude: tuple[str, ...] = Field(
        ("README*",), description="Globs of files under datasets/ that are left out."
    )


class DataSettings(Section):
    """The mix: which files feed which stage."""

    pretrain: PretrainDataSettings = PretrainDataSettings()
    finetune: RowsDataSettings = RowsDataSettings()
    reward: RowsDataSettings = RowsDataSettings()
    ppo: RowsDataSettings = RowsDataSettings()
    orpo: RowsDataSettings = RowsDataSettings()
    rgpo: RowsDataSettings = RowsDataSettings()
    eval: EvalDataSettings = EvalDataSettings()


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


class TrainingSettings(Section):
    """What every training loop is told."""

    #: The table of the settings file, for messages.
    table: ClassVar[str]

    seed: int = Field(1337, ge=0, description="Of order of the data, dropout, new weights.")
    epochs: Positive = Field(1, description="Passes over the training data.")
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
    def _check_training(self) -> Self:
        if self.batch_size % self.micro_batch:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of micro_batch {self.micro_batch}"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


class PretrainSettings(TrainingSettings):
    """The training loop of pretraining; also what `GPTTrainer` takes as its config."""

    table: ClassVar[str] = "pretrain"


class TuningSettings(TrainingSettings):
    """How a model that there is already is trained further: by adapters, or whole."""

    lr: float = Field(2e-4, gt=0, le=1, description="Highest learning rate.")
    min_lr: float = Field(2e-5, ge=0, le=1, description="Learning rate at the end of the cosine.")
    warmup_steps: int = Field(20, ge=0, description="Steps of linear rise to lr.")
    weight_decay: float = Field(0.0, ge=0, le=10, description="AdamW's, on matrices only.")
    sample_prompt: str = Field("Hello!", description="What a sample answers, as a user's words.")
    sample_tokens: Positive = Field(96, description="Length of a sample, in tokens.")
    method: Literal["lora", "qlora", "full"] = Field(
        "lora",
        description="lora: low-rank adapters; qlora: the same on a model in 4 bits (bitsandbytes);"
        " full: all weights.",
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank of the adapters.")
    alpha: int = Field(32, ge=1, le=4096, description="Scale of the adapters, over rank.")
    dropout: Share = Field(0.0, description="Dropout before the adapters.")
    targets: tuple[str, ...] = Field(
        (),
        description="Names of the linear layers that get adapters; empty: the attention's and the"
        " MLP's, as the architecture calls them.",
    )
    train_embedding: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Train the token embedding along with the adapters; auto: where the control"
        " tokens are new to the model.",
    )
    embedding_lr: float = Field(
        0.0, ge=0, le=1, description="Highest learning rate of the embedding; 0: lr."
    )
    context_length: int = Field(
        0, ge=0, le=1_000_000, description="Longest conversation, in tokens; 0: the model's."
    )


class FinetuneSettings(TuningSettings):
    """Supervised fine-tuning on conversations; loss on the assistant's words only."""

    table: ClassVar[str] = "finetune"

    backend: Literal["auto", "unsloth", "peft"] = Field(
        "auto", description="auto: Unsloth where it is installed and knows the model, else PEFT."
    )
    packing: bool = Field(
        False,
        description="Put several conversations into a sequence, blind to one another; else each is"
        " one, batched with others of its length.",
    )


class EvalSettings(Section):
    """How a model is judged."""

    batch_size: Positive = Field(32, description="Conversations computed at once.")
    max_prompts: Positive = Field(400, description="Prompts that are answered, at most.")
    max_tokens: Positive = Field(128, description="Longest answer, in tokens.")
