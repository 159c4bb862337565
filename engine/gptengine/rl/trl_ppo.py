"""TRL's PPO loop, as far as it serves ours: the one file that knows it.

TRL computes advantages and losses. Answers and rewards are there before it asks for them; optimiser
steps and what comes between rounds are its caller's. Upstream has dropped PPO: whoever replaces it
writes `learn` anew.
"""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback

from gptcore.rl_settings import PpoSettings
from gptengine.rl.ppo_rounds import Round
from gptengine.rl.value import Value
from gptengine.train.device import Placement

#: TRL adds this to the temperature.
_TEMPERATURE_SHIFT = 1e-7


class Course(Protocol):
    """What a loop of rounds takes its answers from, and reports to."""

    def rounds(self) -> Iterable[Round]:
        """The rounds to come; each is drawn from the model as it is by then."""

    def check(self, current: Round) -> None:
        """A round has been measured, and nothing learned from it; what is raised ends the loop."""

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a micro-batch."""

    def end_round(self, current: Round, clip_fraction: float, value_loss: float) -> bool:
        """A round has been learned from; whether there is another one to take."""


@dataclass(frozen=True, slots=True)
class Models:
    """Those that take part.

    Args:
        net: The model in training, adapters inside.
        reference: It, as it was at the start.
        value: Its value model.
        placement: Device and precision of all.
    """

    net: Any
    reference: Any
    value: Value
    placement: Placement


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that the settings do not say.

    Args:
        rounds: To take.
        answer: Longest answer, in tokens.
        pad: Id that fills up.
        end: Id that ends a turn.
    """

    rounds: int
    answer: int
    pad: int
    end: int


def learn(
    course: Course,
    models: Models,
    optimizer: Optimizer,
    settings: PpoSettings,
    limits: Limits,
    scratch: Path,
) -> None:
    """Learn from rounds until they are over, or the course ends them.

    Args:
        course: Where answers come from, and what is told of them goes to.
        models: Trained, and compared with.
        optimizer: Of the model and its value model.
        settings: Of the training.
        limits: Of rounds and answers.
        scratch: A folder that TRL may write to.
    """
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # read when it is imported
    from trl.experimental.ppo import PPOTrainer

    feed = _Feed(course)
    placement, temperature = models.placement, settings.temperature + _TEMPERATURE_SHIFT
    metrics: dict[str, float] = {}
    calls = _Calls(metrics, course, feed, keep_mode=settings.gradient_checkpointing)
    trainer = PPOTrainer(
        args=_arguments(settings, limits, placement, scratch),
        # Nothing is left to encode, and this is all that TRL then asks of a tokenizer.
        processing_class=SimpleNamespace(pad_token_id=limits.pad, eos_token_id=limits.end),
        model=_Policy(models.net, placement, feed, temperature, limits.pad),
        ref_model=_Reference(models.reference, placement, feed, temperature, course),
        reward_model=_Rewards(feed),
        value_model=models.value,
        train_dataset=range(settings.batch_size),  # looked at by nothing but TRL's own loader
        data_collator=list,
        # The rate is set at each step.
        optimizers=(optimizer, LambdaLR(optimizer, lambda step: 1.0)),
        callbacks=[calls],
    )
    trainer.dataloader = feed
    trainer.log = metrics.update
    _take_over(trainer.accelerator, course, settings)
    with _old_objects_frozen(), suppress(_Ended):  # TRL's loop looks at no request to stop
        trainer.train()


@contextmanager
def _old_objects_frozen() -> Iterator[None]:
    """Spare the collector what was there before: TRL has it look at everything twice a round.

    With a small model that would take longer than the learning.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _take_over(accelerator: Any, course: Course, settings: PpoSettings) -> None:
    """Have the backward passes go to the course, and each mini-batch be an optimiser step.

    Left to TRL, the optimiser would step once a pass over the answers, however many mini-batches
    there are, and after each micro-batch of the last round that its loader knows of.
    """
    micro_batches = settings.batch_size // settings.mini_batches // settings.micro_batch
    accelerator.gradient_accumulation_steps = micro_batches
    accelerator.gradient_state.plugin_kwargs["sync_with_dataloader"] = False
    accelerator.backward = lambda loss: course.backward(loss / micro_batches)
    accelerator.print = lambda *_: None


def _arguments(settings: PpoSettings, limits: Limits, placement: Placement, scratch: Path) -> Any:
    from trl.experimental.ppo import PPOConfig

    return PPOConfig(
        output_dir=str(scratch),
        total_episodes=limits.rounds * settings.batch_size,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch,
        local_rollout_forward_batch_size=settings.micro_batch,
        num_mini_batches=settings.mini_batches,
        num_ppo_epochs=settings.inner_epochs,
        response_length=limits.answer,
        stop_token_id=limits.end,
        temperature=settings.temperature,
        missing_eos_penalty=None,  # whether an answer ends is for the rewards to judge
        kl_coef=settings.kl_coef,
        cliprange=settings.clip,
        cliprange_value=settings.value_clip,
        vf_coef=settings.value_coef,
        gamma=settings.gamma,
        lam=settings.lam,
        learning_rate=settings.lr,
        seed=settings.seed,
        bf16=False,  # each forward pass sets the precision, also where TRL does not
        fp16=False,
        use_cpu=placement.device.type == "cpu",
        gradient_checkpointing=False,
        num_sample_generations=0,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


class _Ended(Exception):  # noqa: N818 - not an error
    """The course has no further round."""


class _Feed:
    """The rounds as a data loader; remembers the one under way."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._current: Round | None = None

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for current in self._course.rounds():
            self._current = current
            yield {"input_ids": current.queries}

    @property
    def current(self) -> Round:
        """The round under way."""
        assert self._current is not None
        return self._current


class _Calls(TrainerCallback):
    """Tells the course when a round is over.

    Args:
        metrics: What TRL has logged last.
        course: The course.
        feed: Its rounds.
        keep_mode: Leave the models in training mode, which gradient checkpointing needs.
    """

    def __init__(
        self, metrics: dict[str, float], course: Course, feed: _Feed, *, keep_mode: bool
    ) -> None:
        self._metrics = metrics
        self._course = course
        self._feed = feed
        self._keep_mode = keep_mode

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Leave training mode: dropout that is no module of its own would remain."""
        if not self._keep_mode:
            model.eval()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A round is over."""
        clipped, value_loss = (
            self._metrics[name] for name in ("policy/clipfrac_avg", "loss/value_avg")
        )
        if not self._course.end_round(self._feed.current, clipped, value_loss):
            raise _Ended


# --- stand-ins for what TRL calls ----------------------------------------------------------------


class _Precise(nn.Module):
    """A causal LM computed in the precision of the training, with logits in float32.

    Args:
        net: The causal LM.
        placement: Device and precision.
        feed: The rounds.
        temperature: That divides the logits.
    """

    def __init__(self, net: Any, placement: Placement, feed: _Feed, temperature: float) -> None:
        super().__init__()
        self.net = net
        self._placement = placement
        self._feed = feed
        self._temperature = temperature

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """Logits, (batch, time, vocab); of hidden states, which TRL asks for, it makes no use."""
        inputs |= {"output_hidden_states": False, "use_cache": False}
        with self._placement.autocast():
            return SimpleNamespace(logits=self.net(**inputs).logits.float())

    def _of_answers(self, logits: Tensor) -> Tensor:
        """The logits that the tokens of answers were drawn from, (batch, answer, vocab)."""
        width = self._feed.current.queries.shape[1]
        return logits[:, width - 1 : -1] / self._temperature


class _Policy(_Precise):
    """The model in training; what it is to generate is there already."""

    is_gradient_checkpointing = False  # else TRL would switch it off and on, with other options

    def __init__(
        self, net: Any, placement: Placement, feed: _Feed, temperature: float, pad: int
    ) -> None:
        super().__init__(net, placement, feed, temperature)
        self.config = net.config
        self.generation_config = SimpleNamespace()  # TRL writes to it; the model's own stays
        self._pad = pad

    def generate(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        """The next answers of the round, and the logits of their tokens.

        These are computed over the whole sequence, just as they will be when it is learned from,
        so that the probability ratio begins at 1 in any precision.
        """
        from trl.experimental.ppo.ppo_trainer import forward

        current = self._feed.current
        rows = current.take("policy", len(input_ids))
        responses = current.responses[rows]
        sequences = torch.cat((current.queries[rows], responses), 1)
        logits = self._of_answers(forward(self, sequences, self._pad).logits)
        current.note_policy(rows, logits)
        return SimpleNamespace(sequences=sequences, scores=logits.unbind(1))


class _Reference(_Precise):
    """The model as it was at the start; with its answer a round is measured."""

    def __init__(
        self, net: Any, placement: Placement, feed: _Feed, temperature: float, course: Course
    ) -> None:
        super().__init__(net, placement, feed, temperature)
        self._course = course

    def forward(self, **inputs: Any) -> SimpleNamespace:
        """Logits, likewise."""
        output = super().forward(**inputs)
        current = self._feed.current
        rows = current.take("reference", len(output.logits))
        current.note_reference(rows, self._of_answers(output.logits))
        if current.is_measured:
            self._course.check(current)
        return output


class _Rewards(nn.Module):
    """The rewards of the round, in the form of a reward model."""

    base_model_prefix = "backbone"

    def __init__(self, feed: _Feed) -> None:
        super().__init__()
        self.backbone = _RewardsOfRows(feed)
        self.score = nn.Identity()


class _RewardsOfRows(nn.Module):
    """Knows rows by their place in the round, and compares their ids to be sure of it."""

    def __init__(self, feed: _Feed) -> None:
        super().__init__()
        self._feed = feed

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SimpleNamespace:
        """The reward of each sequence at all of its positions, (batch, time, 1)."""
        current = self._feed.current
        rows = current.take("rewards", len(input_ids))
        asked = [ids[mask].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        if asked != current.sequences(rows):
            raise RuntimeError("TRL asks for the rewards of other rows than it was given")
        rewards = current.rewards[rows][:, None, None]
        return SimpleNamespace(hidden_states=(rewards.expand(*input_ids.shape, 1),))
