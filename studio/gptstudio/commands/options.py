"""Options that several commands share, and what the shell may complete them with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from gptcore.errors import UserError
from gptcore.workspace import RunPaths, Workspace


def _workspace() -> Workspace | None:
    try:
        return Workspace.locate()
    except (UserError, OSError):  # completion has nobody to tell
        return None


def _starting_with(start: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(start) and name.isprintable()]


def complete_run(incomplete: str) -> list[str]:
    """Names of runs, the newest first."""
    from gptcore.status import list_runs

    workspace = _workspace()
    runs = list_runs(workspace) if workspace else []
    return _starting_with(incomplete, (run.run for run in runs))


def complete_profile(incomplete: str) -> list[str]:
    """Names of profiles."""
    from gptstudio.catalog import list_profiles

    workspace = _workspace()
    return _starting_with(incomplete, list_profiles(workspace) if workspace else ())


def complete_model(incomplete: str) -> list[str]:
    """Names of models, the newest first."""
    from gptcore.lineage import results

    workspace = _workspace()
    found = results(workspace.models) if workspace else []
    return _starting_with(incomplete, ["latest", *(path.name for path, _ in found)])


def complete_stage(incomplete: str) -> list[str]:
    """Names of stages."""
    from gptcore.stages import STAGE_NAMES

    return _starting_with(incomplete, ["all", *STAGE_NAMES])


WorkspaceOption = Annotated[
    Path | None,
    typer.Option(
        "--workspace",
        "-w",
        help="Folder of datasets, profiles, runs and models; else $GPTSTUDIO_WORKSPACE, else here.",
        show_default=False,
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="[RUN]",
        help="Name of the run; without it, the newest live one, else the newest.",
        autocompletion=complete_run,
        show_default=False,
    ),
]
ProfileArgument = Annotated[
    str,
    typer.Argument(
        metavar="PROFILE",
        help="Name or path of a profile.",
        autocompletion=complete_profile,
        show_default=False,
    ),
]
DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Start it and return at once, without watching.")
]


def events_size(run: RunPaths) -> int:
    """Bytes of events a run has written so far."""
    try:
        return run.events.stat().st_size
    except FileNotFoundError:
        return 0
