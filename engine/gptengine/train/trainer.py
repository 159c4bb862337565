"""`GPTTrainer`: pretraining as a Python call, and what the `pretrain` stage runs."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from gptcore import events
from gptcore.control import Command
from gptcore.profile import check_profile
from gptcore.settings import PretrainSettings
from gptengine.data.sampler import TokenLoader
from gptengine.hf import load_model
from gptengine.log_lines import log_line
from gptengine.model import GPT
from gptengine.tokenizer import BPETokenizer
from gptengine.train import checkpoint
from gptengine.train.device import Placement, place
from gptengine.train.duties import History, Recorder
from gptengine.train.loop import TrainingLoop
from gptengine.train.source import Batch, as_source


class Printer:
    """Prints a line for what a training tells, a few steps apart."""

    def __init__(self, every: int = 10) -> None:
        self._every = every

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        """Print one record."""
        if isinstance(payload, events.Step) and (step or 0) % self._every:
            return
        if line := log_line(payload, step):
            print(line)


class GPTTrainer:
    """Trains a GPT on batches of token ids.

    Args:
        model: Trained in place; moved to the device.
        tokenizer: For samples, and saved with the model; may be left out.
        config: A `PretrainSettings`, or a mapping of some of its fields such as ``{"lr": 3e-4}``.
        placement: Device and precision; the best there is when left out.
        recorder: Told of every step; prints a line now and then when left out.
        requests: Asked between steps for commands (stop, pause, ...).
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: BPETokenizer | None = None,
        config: PretrainSettings | Mapping[str, Any] | None = None,
        *,
        placement: Placement | None = None,
        recorder: Recorder | None = None,
        requests: Callable[[], list[Command]] | None = None,
    ) -> None:
        if not isinstance(config, PretrainSettings):
            config = _settings(dict(config or {}))
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.placement = placement or place()
        self._recorder = recorder or Printer()
        self._requests = requests or (lambda: [])

    def train(
        self,
        train_loader: TokenLoader | Iterable[Batch],
        val_loader: TokenLoader | Iterable[Batch] | None = None,
        epochs: int | None = None,
        save_dir: str | Path | None = None,
        *,
        checkpoint_dir: Path | None = None,
        attempt: int = 1,
    ) -> History:
        """Train, and return what happened.

        Args:
            train_loader: A `TokenLoader`, or any sized iterable of `(input_ids, targets)`, each
                int64 (batch, time) with targets one ahead; a batch is an optimiser step, computed
                `config.micro_batch` sequences at a time.
            val_loader: Of the same kind; never trained on.
            epochs: Passes over the loader; the config's when left out.
            save_dir: Where the finished model goes, as a Hugging Face folder with its tokenizer;
                checkpoints go to `checkpoints/` in it.
            checkpoint_dir: Where checkpoints go instead; those of an earlier training are removed.
            attempt: How often this training has been started; above 1 it goes on from the newest
                sound checkpoint there.

        Raises:
            UserError: Settings or data do not fit, or the loss stays not finite.
        """
        settings = self.config
        if save_dir is not None and checkpoint_dir is None:
            checkpoint_dir = Path(save_dir) / "checkpoints"
        start = self._newest(checkpoint_dir) if attempt > 1 and checkpoint_dir else None
        if attempt == 1 and checkpoint_dir and self.placement.is_main:
            self._clear(checkpoint_dir)
        if start is not None:
            self.model.load_state_dict(load_model(start).state_dict())
        else:
            torch.manual_seed(settings.seed + self.placement.rank)
        self.model.to(self.placement.device)
        source = as_source(train_loader, self.placement.rank, self.placement.world_size)
        total_steps = settings.max_steps or (epochs or settings.epochs) * source.steps_per_epoch
        loop = TrainingLoop(
            self.model,
            self.tokenizer,
            settings,
            self.placement,
            source=source,
            val_loader=val_loader,
            total_steps=total_steps,
            recorder=self._recorder,
            requests=self._requests,
            checkpoint_dir=checkpoint_dir,
        )
        if start is not None:
            loop.duties.resume(start)
        self._tell_start(total_steps, loop.duties.state.step, attempt)
        history = loop.run()
        if history.ended_by == "early stopping" and checkpoint_dir is not None:
            self._go_back_to_best(checkpoint_dir, loop.duties.state.best_step, history)
        if save_dir is not None and self.placement.is_main and history.ended_by != "stop":
            Path(save_dir).mkdir(parents=True, exist_ok=True)
            loop.write_model(Path(save_dir))
        return history

    def _tell_start(self, total_steps: int, done: int, attempt: int) -> None:
        if not self.placement.is_main:
            return
        details = {
            "parameters": self.model.num_parameters(),
            "device": self.placement.describe(),
            "micro_batch": self.config.micro_batch,
        }
        start = events.StageChange("start", total_steps=total_steps, details=details)
        self._recorder.write(start, step=done)
        if attempt > 1:
            self._recorder.write(events.Resume(attempt, done), step=done)

    def _newest(self, folder: Path) -> Path | None:
        found, passed_over = checkpoint.newest_sound(folder)
        if self.placement.is_main:
            for message in passed_over:
                self._recorder.write(events.Warn(message))
        return found

    def _clear(self, folder: Path) -> None:
        if number := checkpoint.clear(folder):
            message = f"{number} checkpoints of an earlier training were removed from {folder}"
            self._recorder.write(events.Warn(message))

    def _go_back_to_best(self, folder: Path, best_step: int, history: History) -> None:
        best = folder / f"step-{best_step:08d}"
        if best.is_dir():
            self.model.load_state_dict(load_model(best).state_dict())
            history.val_loss = history.best_val_loss


def _settings(config: dict[str, Any]) -> PretrainSettings:
    """The settings of a few given fields; what goes with one of them follows it."""
    if "lr" in config and "min_lr" not in config and isinstance(config["lr"], float):
        config["min_lr"] = config["lr"] / 10
    if "micro_batch" in config:  # the loader says how large a batch is
        config.setdefault("batch_size", config["micro_batch"])
    return check_profile({"pretrain": config}, where="GPTTrainer's config").pretrain
