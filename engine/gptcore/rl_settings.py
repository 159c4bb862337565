"""The tables of a profile for learning from rewards and preferences."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from gptcore.settings import Positive, Share, TuningSettings

Weight = Annotated[float, Field(ge=-100, le=100)]


class PairSettings(TuningSettings):
    """Learning from pairs of a better and a worse answer."""

    batch_size: Positive = Field(32, description="Pairs an optimiser step sees, in all.")
    micro_batch: Positive = Field(
        8, description="Pairs a device computes at once; the rest is gradient accumulation."
    )
    eval_batches: Positive = Field(
        32, description="Micro-batches of held-out pairs an evaluation looks at, at most."
    )
    context_length: int = Field(
        0, ge=0, le=1_000_000, description="Longest prompt with answer, in tokens; 0: the model's."
    )


class OrpoSettings(PairSettings):
    """Odds ratio preference optimisation (Hong et al. 2024), on pairs; no reference model."""

    table: ClassVar[str] = "orpo"

    lr: float = Field(5e-5, gt=0, le=1, description="Highest learning rate.")
    min_lr: float = Field(5e-6, ge=0, le=1, description="Learning rate at the end of the cosine.")
    beta: float = Field(
        0.1, ge=0, le=100, description="Weight of the odds ratio beside the likelihood of chosen."
    )
    prompt_loss: bool = Field(
        False,
        description="Count the prompt's tokens in that likelihood too, as TRL does; else the"
        " answer's alone, as Hong et al. do.",
    )


class RewardModelSettings(PairSettings):
    """A reward model, learned from pairs (Bradley and Terry 1952)."""

    table: ClassVar[str] = "reward"

    lr: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    min_lr: float = Field(1e-5, ge=0, le=1, description="Learning rate at the end of the cosine.")
    centering: float = Field(
        0.01,
        ge=0,
        le=10,
        description="Weight of a term that keeps the rewards of a pair about zero; 0: none.",
    )


class RolloutSettings(TuningSettings):
    """What learning from the model's own answers is told: how they are drawn and rewarded."""

    lr: float = Field(1e-4, gt=0, le=1, description="Highest learning rate.")
    min_lr: float = Field(1e-5, ge=0, le=1, description="Learning rate at the end of the cosine.")
    warmup_steps: int = Field(5, ge=0, description="Steps of linear rise to lr.")
    max_steps: int = Field(
        200, ge=0, description="Rounds of drawing and learning; 0: what the epochs give."
    )
    batch_size: Positive = Field(64, description="Answers that are drawn for a step, in all.")
    micro_batch: Positive = Field(16, description="Answers whose gradient is computed at once.")
    eval_interval: int = Field(50, ge=0, description="Steps between evaluations; 0: at the end.")
    checkpoint_interval: int = Field(
        100, ge=0, description="Steps between checkpoints; 0: at the end only."
    )
    sample_interval: int = Field(10, ge=0, description="Steps between samples; 0: none.")
    temperature: float = Field(1.0, gt=0, le=10, description="Of the draw.")
    max_tokens: Positive = Field(128, description="Longest answer, in tokens.")
    inner_epochs: Positive = Field(2, description="Passes over the answers of a step.")
    clip: float = Field(
        0.2, gt=0, le=1, description="How far the probability ratio counts from 1 (Schulman 2017)."
    )
    kl_coef: float = Field(
        0.05, ge=0, le=10, description="Weight of the divergence from the model it started from."
    )
    max_kl: float = Field(
        50.0,
        ge=0,
        description="Divergence, nats an answer, beyond which the training ends; 0: no bound.",
    )
    min_entropy: float = Field(
        0.0, ge=0, description="Entropy, nats a token, below which the training ends; 0: no bound."
    )
    rewards: dict[str, Weight] = Field(
        default_factory=lambda: {
            "function": 1.0,
            "well_formed": 0.5,
            "arguments": 1.0,
            "no_needless_call": 1.0,
            "consistent": 1.0,
            "format": 0.5,
        },
        description="Reward = its weight; gptstudio's own by name, others as file.py:function.",
    )
    functions: tuple[str, ...] = Field(
        (),
        description="Rewards of your own, as my_rewards.py:brevity; weight 1 where rewards has"
        " none. They run in a workspace that is trusted (gptstudio trust).",
    )
    reward_timeout_s: float = Field(
        5.0, gt=0, le=3600, description="Seconds that a call of such a function may take."
    )
    reward_model: str = Field(
        "auto",
        description="A learned reward beside these: a name in models/, none, or auto: that of the"
        " stage reward, where the pipeline has one.",
    )
    reward_model_weight: Weight = Field(1.0, description="Its weight.")

    @model_validator(mode="after")
    def _check_rollouts(self) -> Self:
        if self.early_stopping:
            raise ValueError(
                "early_stopping watches a validation loss, and learning from rewards has none;"
                " max_kl and min_entropy end it"
            )
        return self

    @property
    def reward_weights(self) -> dict[str, float]:
        """Weight by reward, functions of the user's own included."""
        return dict.fromkeys(self.functions, 1.0) | self.rewards


class PpoSettings(RolloutSettings):
    """Proximal policy optimisation (Schulman et al. 2017), through TRL."""

    table: ClassVar[str] = "ppo"

    inner_epochs: Positive = Field(4, description="Passes over the answers of a step.")
    mini_batches: Positive = Field(1, description="Optimiser steps of one pass.")
    value_lr: float = Field(
        0.0, ge=0, le=1, description="Highest learning rate of the value model; 0: lr."
    )
    value_coef: float = Field(0.1, ge=0, le=100, description="Weight of the value model's loss.")
    value_clip: float = Field(0.2, gt=0, le=100, description="How far a value may move in a step.")
    gamma: float = Field(1.0, gt=0, le=1, description="Discount a token.")
    lam: float = Field(
        0.95, ge=0, le=1, description="Of generalised advantage estimation (Schulman 2016)."
    )

    @model_validator(mode="after")
    def _check_mini_batches(self) -> Self:
        if self.batch_size % (self.mini_batches * self.micro_batch):
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of mini_batches"
                f" {self.mini_batches} x micro_batch {self.micro_batch}"
            )
        return self


class RgpoSettings(RolloutSettings):
    """Reward-guided policy optimisation: groups of answers, tools run for real."""

    table: ClassVar[str] = "rgpo"

    group_size: int = Field(8, ge=2, le=1024, description="Answers drawn to each prompt, K.")
    max_turns: int = Field(
        3, ge=1, le=64, description="Turns of one answer: calls are run, and it goes on from them."
    )
    guidance: float = Field(
        0.1, ge=0, le=10, description="Weight of the likelihood of a group's best answer, gamma."
    )
    guidance_margin: float = Field(
        0.1, ge=0, description="By how much the best must beat its group's mean, delta."
    )
    guidance_share: Share = Field(
        0.5, description="Share of the steps over which the guidance decays to nothing."
    )

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        if self.gradient_checkpointing:
            raise ValueError(
                "gradient_checkpointing has no place here: the answers of a group go on from what"
                " is kept of their prompt; lower micro_batch instead"
            )
        if self.batch_size % self.group_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of group_size {self.group_size}"
            )
        return self
