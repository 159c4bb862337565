"""The frame of a training whose steps are our own: ORPO's and RGPO's."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from gptcore.control import Command
from gptcore.settings import TuningSettings
from gptengine.chat_tokenizer import ChatTokenizer
from gptengine.finetune.backends import Trained
from gptengine.finetune.tuned import Tuned
from gptengine.train.device import Placement
from gptengine.train.duties import Duties, History, Recorder, StepDone
from gptengine.train.optimizer import GuardedOptimizer, StepResult, learning_rate


class OwnTraining(Tuned, ABC):
    """One training, from a state to its end; what a step learns is for its heirs to say.

    What a step sees is a pure function of the seed and the step's number, so that a training goes
    on from a checkpoint as if nothing had happened.

    Args:
        trained: The model, adapters inside.
        tokenizer: Its own.
        settings: Of the training.
        placement: Device and precision.
        longest: Tokens of a sequence.
        total_steps: When to end.
        recorder: Told of every step, evaluation, sample and checkpoint.
        requests: Asked between steps for commands.
        checkpoint_dir: Where checkpoints go; None: nowhere.
    """

    def __init__(
        self,
        trained: Trained,
        tokenizer: ChatTokenizer,
        settings: TuningSettings,
        placement: Placement,
        *,
        longest: int,
        total_steps: int,
        recorder: Recorder,
        requests: Callable[[], list[Command]],
        checkpoint_dir: Path | None,
    ) -> None:
        super().__init__(trained, tokenizer, settings, placement, longest=longest)
        self.total_steps = total_steps
        self._recorder = recorder
        self._checkpoint_dir = checkpoint_dir
        self._guarded = GuardedOptimizer(self._optimizer, settings, scaler=placement.scaler())
        if settings.gradient_checkpointing:
            trained.model.gradient_checkpointing_enable({"use_reentrant": False})
            trained.model.enable_input_require_grads()  # frozen, the first block would pass none
        self.duties = Duties(
            self,
            settings,
            placement,
            total_steps=total_steps,
            recorder=recorder,
            requests=requests,
            checkpoint_dir=checkpoint_dir,
        )

    @abstractmethod
    def step(self, number: int) -> tuple[StepResult, int]:
        """Take one step.

        Args:
            number: Of the step, from 0.

        Returns:
            What became of it, and the tokens it was trained on.
        """

    def evaluate(self) -> tuple[float, int] | None:
        """There is no loss on held-out data."""
        return None

    def scaler(self) -> GradScaler | None:
        """The loss scaler of fp16 training."""
        return self._guarded.scaler

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of ours."""
        self._trained.load(checkpoint)
        self.duties.resume(checkpoint)

    def run(self) -> History:
        """Train until the steps are done, early stopping or a stop command."""
        self._trained.net.train()
        state = self.duties.state
        while self.duties.begin_step():
            started, rate = time.perf_counter(), self.rate(state.step)
            result, tokens = self.step(state.step)
            seconds = time.perf_counter() - started
            self.duties.end_step(
                StepDone(result.loss, result.grad_norm, result.applied, rate, tokens, seconds)
            )
        history = self.duties.finish()
        self.go_back_to_best(self._checkpoint_dir, state.best_step, history)
        return history

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return learning_rate(step, self.total_steps, self._tuning)

    def _update(self, losses: Iterable[Tensor], number: int) -> StepResult:
        """One optimiser step.

        Args:
            losses: Of the micro-batches, scalars that add up to the loss of the step; each is made
                only when the gradient of the one before is done.
            number: Of the step, for its learning rate.
        """
        total: Tensor | None = None
        for loss in losses:
            self._guarded.backward(loss)
            total = loss.detach() if total is None else total + loss.detach()
        if total is None:
            raise ValueError("a step needs at least one micro-batch")
        return self._guarded.step(total, self.rate(number))
