"""Proximal policy optimisation (Schulman et al. 2017): PPO, with TRL's loop inside.

Which prompts a step sees, answers, rewards, rates, bounds, record, commands and checkpoints are
ours, as in every other training; `trl_ppo` computes the rest. A step of the record is a round: some
answers are drawn, and learned from in a few passes.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from gptcore import events
from gptcore.control import Command
from gptcore.conversation import END_OF_TURN
from gptcore.rl_settings import PpoSettings
from gptengine.chat_tokenizer import ChatTokenizer, pad_id
from gptengine.finetune.backends import Trained
from gptengine.finetune.tuned import Tuned
from gptengine.rl.bounds import check_bounds
from gptengine.rl.judge import Judge
from gptengine.rl.policy import Policy
from gptengine.rl.ppo_rounds import Round, Rounds
from gptengine.rl.prompts import PromptData, room_for_answer
from gptengine.rl.reference import switch_dropout_off
from gptengine.rl.rollouts import derived_seed
from gptengine.rl.trl_ppo import Limits, Models, learn
from gptengine.rl.value import Value, twin
from gptengine.train.device import Placement
from gptengine.train.duties import Duties, History, Recorder, StepDone
from gptengine.train.optimizer import Guard, StepResult, learning_rate, set_rate

#: In a checkpoint: the value model, and how answers have fared so far.
VALUE = "value"
SCORES = "scores.json"


class PPO(Tuned):
    """One training by proximal policy optimisation.

    Args:
        trained: The model, adapters inside.
        tokenizer: Its own.
        settings: Of the training.
        placement: Device and precision.
        data: Prompts to learn from, and held-out ones.
        judge: Says what answers are worth.
        longest: Tokens that a sequence may have.
        recorder: Told of every step, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
        scratch: A folder that TRL may write to.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: PpoSettings,
        placement: Placement,
        *,
        data: PromptData,
        judge: Judge,
        longest: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
        scratch: Path,
    ) -> None:
        super().__init__(trained, tokenizer, settings, placement, longest=longest)
        self._settings = settings
        self._data = data
        self._recorder = recorder
        self._scratch = scratch
        self._scores: dict[str, float | None] = {}
        switch_dropout_off(trained.net)
        trained.model.config.use_cache = False
        self._value = Value(trained.model, placement)
        reference = twin(trained.net).eval().requires_grad_(False)
        self._models = Models(trained.net, reference, self._value, placement)
        self._add_value_to_optimizer()
        self._room = room_for_answer(longest, settings.max_tokens)
        policy = Policy(trained, tokenizer, placement, context=longest)
        self._source = Rounds(
            data.train, policy, judge, tokenizer, settings, placement, room=self._room
        )
        self._newest: Round | None = None
        self._started = 0.0
        rounds = max(1, len(data.train) // settings.batch_size)
        self.total_steps = settings.max_steps or settings.epochs * rounds
        self._scaler = placement.scaler()
        self._steps = _GuardedSteps(
            self._optimizer, settings, self._scaler, lambda: self.rate(self.duties.state.step)
        )
        if settings.gradient_checkpointing:
            for model in (trained.model, self._value.backbone.net):
                model.gradient_checkpointing_enable({"use_reentrant": False})
                model.enable_input_require_grads()  # frozen, the first block would pass none
        self.duties = Duties(
            self,
            settings,
            placement,
            total_steps=self.total_steps,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )

    def _add_value_to_optimizer(self) -> None:
        settings = self._settings
        scale = (settings.value_lr or settings.lr) / settings.lr
        parameters = list(self._value.trained().values())
        for is_matrix, decay in ((True, settings.weight_decay), (False, 0.0)):
            group = [p for p in parameters if (p.dim() >= 2) == is_matrix]
            if group:
                self._optimizer.add_param_group(
                    {"params": group, "weight_decay": decay, "lr_scale": scale}
                )

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of ours."""
        self._trained.load(checkpoint)
        self._value.load(checkpoint / VALUE)
        self._scores = json.loads((checkpoint / SCORES).read_bytes())
        self.duties.resume(checkpoint)

    def run(self) -> History:
        """Train until the steps are done or a stop command.

        Raises:
            UserError: The divergence or the entropy has left its bounds.
        """
        if self.duties.begin_step():
            if self.duties.state.step == 0:
                self.evaluate()
            limits = Limits(
                rounds=self.total_steps - self.duties.state.step,
                answer=self._room,
                pad=pad_id(self._tokenizer),
                end=self._tokenizer.id_of(END_OF_TURN),
            )
            learn(self, self._models, self._optimizer, self._settings, limits, self._scratch)
        return self.duties.finish()

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(step, self.total_steps, self._settings)

    # The course of the rounds

    def rounds(self) -> Iterator[Round]:
        """The rounds to come; what is drawn and shuffled depends on seed and number alone."""
        for number in range(self.duties.state.step, self.total_steps):
            self._started = time.perf_counter()
            seed = derived_seed(self._settings.seed, number)
            np.random.seed(seed % 2**32)  # TRL shuffles by it
            torch.manual_seed(seed)
            self._newest = self._source.draw(number)
            yield self._newest

    def check(self, current: Round) -> None:
        """Before anything is learned from a round.

        Raises:
            UserError: The divergence or the entropy has left its bounds.
        """
        check_bounds(current.told(), self._settings, lambda: self.duties.save("bounds"))

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a micro-batch."""
        self._steps.backward(loss)

    def end_round(self, current: Round, clip_fraction: float, value_loss: float) -> bool:
        """Record a round and do what is due; whether there is another one to take."""
        told, step = current.told(), self.duties.state.step
        told.clip_fraction, told.value_loss = clip_fraction, value_loss
        if (step + 1) % self._settings.log_interval == 0 or step + 1 == self.total_steps:
            self._recorder.write(told, step=step + 1)
        self._scores.setdefault("reward_before", told.mean)
        self._scores |= {"reward": told.mean, "kl": told.kl}
        result = self._steps.take_result()
        done = StepDone(
            loss=result.loss,
            grad_norm=result.grad_norm,
            applied=result.applied,
            lr=self.rate(step),
            tokens=current.num_tokens,
            seconds=time.perf_counter() - self._started,
        )
        return self.duties.end_step(done) and self.duties.begin_step()

    # What is trained, for the duties between steps

    def parameters(self) -> dict[str, nn.Parameter]:
        """The model's that are trained, and the value model's; by name."""
        value = {f"{VALUE}.{name}": p for name, p in self._value.trained().items()}
        return {**self._trained.parameters(), **value}

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training."""
        return self._scaler

    def write_model(self, folder: Path) -> None:
        """The model or its adapter, the tokenizer, the value model, and how answers have fared."""
        super().write_model(folder)
        self._value.save(folder / VALUE)
        (folder / SCORES).write_text(json.dumps(self._scores))

    def scores(self) -> dict[str, float | None]:
        """Rewards of the first and last answers drawn, the divergence; rewards held out."""
        return self._scores

    def evaluate(self) -> tuple[float, int] | None:
        """Record what the likeliest answers to held-out prompts are worth; a loss there is not."""
        if len(self._data.val):
            most = self._settings.eval_batches * self._settings.micro_batch
            told = self._source.evaluate(self._data.val, most)
            self._recorder.write(told, step=self.duties.state.step)
            self._scores.setdefault("held_out_reward_before", told.mean)
            self._scores["held_out_reward"] = told.mean
        return None

    def sample(self, step: int) -> events.Sample | None:
        """An answer to the sample prompt; one of the last round is recorded beside it."""
        if self._newest is not None:
            row = step % len(self._newest.tasks)
            self._recorder.write(self._newest.sample(row, self._tokenizer), step=step)
        return super().sample(step)


class _GuardedSteps:
    """Takes the optimiser steps of a round through the guard.

    Args:
        optimizer: Whoever steps it meets the guard.
        settings: The guard's.
        scaler: The loss scaler of fp16 training.
        rate: The learning rate of the round.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        settings: PpoSettings,
        scaler: GradScaler | None,
        rate: Callable[[], float],
    ) -> None:
        self._guard = Guard(settings)
        self._scaler = scaler
        self._rate = rate
        self._losses: list[Tensor] = []
        self._results: list[StepResult] = []
        optimizer.register_step_pre_hook(self._before_step)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradients of a micro-batch."""
        self._losses.append(loss.detach())
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        set_rate(optimizer, self._rate())
        if self._scaler:
            self._scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # fp16 finds its loss scale by overflowing now and then: that is no fault of the data
        tolerant = self._scaler is not None and self._scaler.get_scale() > 1.0
        loss = torch.stack(self._losses).sum()
        self._results.append(self._guard.admit(parameters, loss, tolerant=tolerant))
        if self._scaler:
            self._scaler.update()
        self._losses = []

    def take_result(self) -> StepResult:
        """What became of the steps of a round, on average; then forget it."""
        results, self._results = self._results, []
        return StepResult(
            loss=fmean(each.loss for each in results),
            grad_norm=fmean(each.grad_norm for each in results),
            applied=any(each.applied for each in results),
        )
