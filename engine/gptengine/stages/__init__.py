"""The stages, one file each: ``run(context, plan)`` makes the plan's output, or stops.

A new stage is one file here, one entry in `gptcore.stages` and one section in the profile.
"""

import sys
import traceback
from contextlib import suppress
from importlib import import_module

from gptcore import events
from gptcore.errors import EXIT_BAD_INPUT, UserError, disk_error
from gptengine.context import StageContext, StopRequested
from gptengine.plan import make_plan
from gptengine.trouble import is_out_of_memory, system_number

EXIT_FAILED = 1
EXIT_STOPPED = 3


def perform(context: StageContext) -> int:
    """Run one stage to its end, and put how it ended in the record.

    Returns:
        The exit status of the stage process.
    """
    try:
        return _perform(context)
    except StopRequested:
        if context.is_main:
            context.report.write(events.StageChange("stopped"))
        return EXIT_STOPPED
    except UserError as error:
        return _fail(context, events.Failure(error.what, error.where, error.fix, "input"))
    except Exception as error:
        where = getattr(error, "filename", None) or context.workspace.root
        if trouble := disk_error(system_number(error), str(where)):
            fix = f"{trouble.fix}, then gptstudio resume {context.run.name}"
            return _fail(context, events.Failure(trouble.what, trouble.where, fix, "input"))
        if is_out_of_memory(error):
            traceback.print_exc()
            first_line = str(error).strip().splitlines()[:1]
            what = "memory ran out: " + "".join(first_line)
            _fail(context, events.Failure(what, cause="memory"))
            return EXIT_FAILED
        raise


def _perform(context: StageContext) -> int:
    plan = make_plan(context)
    if context.is_main:
        for message in plan.warnings:
            context.report.warn(message)
    if plan.existing is not None:
        if context.is_main:
            output = context.workspace.relative(plan.existing)
            context.report.write(events.StageChange("skipped", "nothing has changed", output))
        return 0
    stage = import_module(f"gptengine.stages.{context.stage.name}")
    finished = stage.run(context, plan)
    return 0 if finished else EXIT_STOPPED


def _fail(context: StageContext, failure: events.Failure) -> int:
    with suppress(OSError):  # a full disk takes the log and the record; the exit status remains
        print(f"error: {failure.what}", file=sys.stderr, flush=True)
        context.report.write(failure)
    return EXIT_BAD_INPUT
