"""Stage `eval`: how good the model is, on conversations that it has not learned from."""

import os

import msgspec

from gptcore import events
from gptcore.errors import UserError
from gptcore.evaluation import FILE_NAME, write_evaluation
from gptcore.stages import settings_that_matter
from gptengine.card import write_card
from gptengine.context import Progress, StageContext
from gptengine.evaluate.report import evaluate
from gptengine.plan import Plan
from gptengine.train.device import place


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
    context.report.write(events.StageChange("start", details={"files": len(plan.files)}))
    tellers: dict[str, Progress] = {}

    def progress(what: str, done: float, total: float) -> None:
        if what not in tellers:
            tellers[what] = context.progress(what, "conversations")
        tellers[what](done, total)

    evaluation = evaluate(
        folder,
        plan.files,
        plan.data,
        context.profile.eval,
        place(context.profile.engine),
        name=context.workspace.relative(folder),
        fingerprint=plan.fingerprint,
        progress=progress,
    )
    settings = settings_that_matter(context.stage, context.profile)
    evaluation = msgspec.structs.replace(evaluation, settings=settings)
    write_evaluation(folder / FILE_NAME, evaluation)
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
