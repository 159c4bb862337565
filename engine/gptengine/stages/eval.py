"""Stage `eval`: how good the model is, on conversations that it has not learned from.

The models that it came from are judged by the same conversations, so that the report shows what
each stage has made of the one before.
"""

import os
from pathlib import Path

import msgspec

from gptcore import events
from gptcore.errors import UserError
from gptcore.evaluation import BASE, FILE_NAME, Evaluation, read_evaluation, write_evaluation
from gptcore.inputs import parent_digests, stage_inputs
from gptcore.lineage import read_lineage
from gptcore.stages import fingerprint, settings_that_matter
from gptcore.workspace import Workspace
from gptengine.card import write_card
from gptengine.context import Progress, StageContext
from gptengine.evaluate.comparison import scores_of
from gptengine.evaluate.report import evaluate
from gptengine.plan import Plan
from gptengine.train.device import Placement, place


def run(context: StageContext, plan: Plan) -> bool:
    """Judge the model, and put the report beside it and into its card.

    Returns:
        True: this stage has no steps to stop between, it ends or raises.
    """
    folder = plan.output
    if not os.access(folder, os.W_OK):
        raise UserError(
            "the report cannot be put beside the model",
            where=str(folder),
            fix="gptstudio eval MODEL --data FILE prints one and writes nothing",
        )
    chain = ancestry(context.workspace, folder)
    context.report.write(
        events.StageChange("start", details={"files": len(plan.files), "models": len(chain)})
    )
    evaluation = _Judge(context, plan).judge_all(chain)
    if (folder / "gptstudio.json").is_file():
        write_card(folder, folder.name)
    scores: dict[str, float | None] = {
        "loss": evaluation.loss,
        "bits_per_byte": evaluation.bits_per_byte,
    }
    scores |= {name: share.value for name, share in evaluation.tools.items()}
    output = context.workspace.relative(folder)
    context.report.write(events.StageChange("end", output=output, scores=scores))
    return True


def ancestry(workspace: Workspace, folder: Path) -> list[tuple[str, Path]]:
    """A model and those that it came from, the first one first, each with the stage that made it.

    It begins where a model is no longer there, or where it came from elsewhere.

    Args:
        workspace: What the parents' paths are relative to.
        folder: Of the model.
    """
    chain: list[tuple[str, Path]] = []
    path: Path | None = folder
    while path is not None and (path / "config.json").is_file():
        if any(path.samefile(known) for _, known in chain):
            break  # a lineage that somebody wrote by hand
        lineage = read_lineage(path)
        chain.append((lineage.stage if lineage else BASE, path))
        parent = lineage.parents.get("model") if lineage else None
        path = workspace.root / parent if parent else None
    return chain[::-1]


class _Judge:
    """Judges the models of one chain by the same files, with the same settings."""

    def __init__(self, context: StageContext, plan: Plan) -> None:
        self._context = context
        self._plan = plan
        self._settings = settings_that_matter(context.stage, context.profile)

    def judge_all(self, chain: list[tuple[str, Path]]) -> Evaluation:
        """The evaluation of the last one, with the comparison of all; each beside its model."""
        placement = place(self._context.profile.engine)
        before: Evaluation | None = None
        for stage, folder in chain[:-1]:
            try:
                before = self._parent(stage, folder, before, placement)
            except UserError as error:
                before = None
                name = self._context.workspace.relative(folder)
                self._context.report.warn(
                    f"{name} cannot be judged, so the comparison begins after it: {error.what}"
                )
        stage, folder = chain[-1]
        evaluation = self._judged(stage, folder, self._plan.fingerprint, before, placement)
        write_evaluation(folder / FILE_NAME, evaluation)
        return evaluation

    def _parent(
        self, stage: str, folder: Path, before: Evaluation | None, placement: Placement
    ) -> Evaluation:
        """The evaluation of a model that others came from: the one it has, if that would be it."""
        context = self._context
        digests = parent_digests(context.workspace, {"tokenizer": folder, "model": folder})
        inputs = stage_inputs(self._plan.data, digests)
        wanted = fingerprint(context.stage, context.profile, inputs)
        there = read_evaluation(folder)
        if there is not None and there.fingerprint == wanted and there.details is not None:
            name = context.workspace.relative(folder)
            context.report.write(events.Note(f"the evaluation of {name} is up to date"))
            return self._compared(stage, there, before)
        evaluation = self._judged(stage, folder, wanted, before, placement)
        if os.access(folder, os.W_OK):
            write_evaluation(folder / FILE_NAME, evaluation)
        return evaluation

    def _judged(
        self,
        stage: str,
        folder: Path,
        digest: str,
        before: Evaluation | None,
        placement: Placement,
    ) -> Evaluation:
        tellers: dict[str, Progress] = {}

        def progress(what: str, done: float, total: float) -> None:
            if what not in tellers:
                words = f"{folder.name}: {what}"
                tellers[what] = self._context.progress(words, "conversations")
            tellers[what](done, total)

        evaluation = evaluate(
            folder,
            self._plan.files,
            self._plan.data,
            self._context.profile.eval,
            placement,
            name=self._context.workspace.relative(folder),
            fingerprint=digest,
            progress=progress,
        )
        evaluation = msgspec.structs.replace(evaluation, settings=self._settings)
        return self._compared(stage, evaluation, before)

    def _compared(
        self, stage: str, evaluation: Evaluation, before: Evaluation | None
    ) -> Evaluation:
        """With the stages that led to it, itself the last."""
        stages = [*(before.comparison if before else []), scores_of(stage, evaluation, before)]
        return msgspec.structs.replace(evaluation, comparison=stages)
