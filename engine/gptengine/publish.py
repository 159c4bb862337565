"""The result of a stage: a folder that appears complete, or not at all."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gptcore import events
from gptcore.lineage import Lineage, write_lineage
from gptcore.stages import settings_that_matter
from gptcore.workspace import new_dir
from gptengine.card import write_card
from gptengine.context import StageContext
from gptengine.plan import Plan
from gptengine.versions import versions


def publish(
    context: StageContext,
    plan: Plan,
    write: Callable[[Path], None],
    *,
    scores: Mapping[str, float | None],
    training: Mapping[str, Any],
) -> None:
    """Write the result, with its lineage and, for a model, its card; and record the stage's end.

    Args:
        context: Of the stage.
        plan: Its inputs, and where the result goes.
        write: Puts weights, tokenizer and the like into the folder that it is given.
        scores: What was measured.
        training: How it was trained.
    """
    scores = dict(scores)
    lineage = Lineage(
        stage=context.stage.name,
        run=context.run.name,
        pipeline=context.profile.name,
        fingerprint=plan.fingerprint,
        made=time.time(),
        parents={kind: context.workspace.relative(path) for kind, path in plan.parents.items()},
        data=plan.data,
        settings=settings_that_matter(context.stage, context.profile),
        scores=scores,
        versions=versions(),
        training=dict(training),
    )
    with new_dir(plan.output) as folder:
        write(folder)
        write_lineage(folder, lineage)
        if context.stage.makes == "models":
            write_card(folder, plan.output.name)
    output = context.workspace.relative(plan.output)
    context.report.write(events.StageChange("end", output=output, scores=scores))
