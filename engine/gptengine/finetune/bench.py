"""What every stage has in common that trains a model further: from a folder to a folder."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gptcore import events
from gptcore.errors import UserError
from gptcore.inputs import weights_of
from gptcore.settings import RowsDataSettings, TuningSettings
from gptengine.causal_lm import context_length_of
from gptengine.chat_tokenizer import ChatTokenizer, generation_settings, load_chat_tokenizer
from gptengine.context import StageContext
from gptengine.finetune.backends import WRITING, Purpose, Trained, prepare
from gptengine.finetune.data import RowsData, check_share
from gptengine.plan import Plan
from gptengine.publish import publish
from gptengine.train import checkpoint
from gptengine.train.device import place
from gptengine.train.duties import Duties, History

#: The adapter, in the folder of the finished model.
ADAPTER = "adapter"


class Training(Protocol):
    """A training that can go on from a checkpoint."""

    duties: Duties
    total_steps: int

    def resume(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of ours."""

    def run(self) -> History:
        """Train until the steps are done, or something ends it."""

    def scores(self) -> dict[str, float | None]:
        """What is measured of the finished model beside its losses, for the lineage."""


class Reader(Protocol):
    """Reads and encodes the rows of a mix."""

    def __call__(
        self,
        files: Sequence[Path],
        weights: Sequence[int],
        tokenizer: ChatTokenizer,
        *,
        longest: int,
        held_out: float,
        on_bytes: Callable[[int], None],
    ) -> RowsData:
        """As `gptengine.finetune.data.read_chat_data`."""


class Bench:
    """The model of a stage, and all that it takes to train it further.

    Args:
        context: Of the stage.
        plan: Its inputs.
        settings: Of the training, with the micro-batch that memory allowed.

    Attributes:
        folder: Where the model comes from.
        tokenizer: Its tokenizer, with our control tokens.
        longest: Tokens of the longest conversation.
        placement: Device and precision.

    Raises:
        UserError: The model has no tokenizer, or cannot see as much as the settings ask for.
    """

    def __init__(self, context: StageContext, plan: Plan, settings: TuningSettings) -> None:
        self.context = context
        self.plan = plan
        self.settings = settings
        self.folder = plan.parents["model"]
        self.tokenizer = load_chat_tokenizer(self.folder)
        self.longest = self._longest()
        self.placement = place(context.profile.engine)

    def _longest(self) -> int:
        most, asked = context_length_of(self.folder), self.settings.context_length
        if asked > most:
            key = f"{self.settings.table}.context_length"
            raise UserError(
                f"{key} is {asked}, but the model sees {most}",
                where=str(self.folder),
                fix=f"--set {key}={most}, or 0 for the model's own",
            )
        return asked or most

    def read(self, read: Reader) -> RowsData:
        """The rows of the stage's mix, encoded; what is left out of them is told.

        Raises:
            UserError: Too many rows cannot be used.
        """
        context, plan = self.context, self.plan
        (name,) = context.stage.data
        mix: RowsDataSettings = getattr(context.profile.data, name)
        total = sum(item.bytes for item in plan.data) / 1e6
        progress = context.progress("reading the rows", "MB")
        data = read(
            plan.files,
            weights_of(mix.weights, (item.file for item in plan.data)),
            self.tokenizer,
            longest=self.longest,
            held_out=mix.held_out,
            on_bytes=lambda done: progress(min(done / 1e6, total), total),
        )
        for message in check_share(data, mix, context.workspace.datasets, name):
            context.report.warn(message)
        if mix.held_out and not data.held_out:
            context.report.warn(f"no {data.noun} is held out, they are so few: no evaluation")
        return data

    def tune(
        self,
        make: Callable[[Trained, Path], Training],
        *,
        details: Mapping[str, Any],
        facts: Mapping[str, Any],
        purpose: Purpose = WRITING,
    ) -> bool:
        """Load the model, train it from the start or the newest sound checkpoint, publish it.

        Args:
            make: Makes the training of a model, with a scratch folder.
            details: For the record's start of the stage.
            facts: For the lineage.
            purpose: What the model is to learn.

        Returns:
            Whether it came to its end; False where a stop command ended it.
        """
        context = self.context
        trained = prepare(
            self.folder, self.tokenizer, self.settings, self.placement, self.longest, purpose
        )
        self._tell_backend(trained)
        scratch = context.run.folder / "trl"
        shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that was killed
        training = make(trained, scratch)
        self._resume(training)
        self._tell_start(trained, training, details)
        history = training.run()
        shutil.rmtree(scratch, ignore_errors=True)
        if history.ended_by == "stop":
            context.report.write(events.StageChange("stopped"))
            return False
        scores = {**history.scores(), **training.scores()}
        publish(
            context,
            self.plan,
            lambda folder: self._write_model(folder, trained),
            scores=scores,
            training={
                **history.facts(),
                "parameters": sum(p.numel() for p in trained.model.parameters()),
                "trained_parameters": sum(p.numel() for p in trained.parameters().values()),
                "backend": trained.backend.name,
                "embedding_trained": trained.trains_embedding,
                "device": self.placement.describe(),
                **facts,
            },
        )
        return True

    def _tell_backend(self, trained: Trained) -> None:
        """Say which library is at work, and what is trained."""
        backend = trained.backend
        said = f"adapters by {backend.name}: {backend.reason}"
        if not trained.has_adapters:
            said = backend.reason
        if trained.trains_embedding:
            said += "; the token embedding is trained along, as the control tokens are new to it"
        self.context.report.write(events.Note(said))

    def _resume(self, training: Training) -> None:
        if self.context.attempt == 1:
            return
        newest, passed_over = checkpoint.newest_sound(self.context.checkpoints)
        for message in passed_over:
            self.context.report.warn(message)
        if newest is not None:
            training.resume(newest)

    def _tell_start(self, trained: Trained, training: Training, details: Mapping[str, Any]) -> None:
        report, done = self.context.report, training.duties.state.step
        told = {
            "backend": trained.backend.name,
            "trained parameters": sum(p.numel() for p in trained.parameters().values()),
            **details,
            "device": self.placement.describe(),
            "micro_batch": self.settings.micro_batch,
            **trained.details,
        }
        start = events.StageChange("start", total_steps=training.total_steps, details=told)
        report.write(start, step=done)
        if self.context.attempt > 1:
            report.write(events.Resume(self.context.attempt, done), step=done)

    def _write_model(self, folder: Path, trained: Trained) -> None:
        """Merged weights, the adapter beside them, and the tokenizer; `trained` is used up."""
        if trained.has_adapters:
            trained.save(folder / ADAPTER)
        merged = trained.merge()
        if merged.can_generate():
            for name, value in generation_settings(self.tokenizer).items():
                setattr(merged.generation_config, name, value)
        merged.config.use_cache = True  # training switches it off
        merged.save_pretrained(folder)
        self.tokenizer.save(folder, model_max_length=self.longest)
