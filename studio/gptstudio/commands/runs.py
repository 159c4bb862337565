"""Commands about runs: start, watch, list, and what a live one can be told."""

from typing import TYPE_CHECKING, Annotated

import typer

from gptstudio.commands.options import (
    DetachOption,
    RunArgument,
    WorkspaceOption,
    complete_profile,
    complete_run,
    complete_stage,
    events_size,
)

if TYPE_CHECKING:
    from gptcore.control import CommandName
    from gptcore.profile import Profile
    from gptcore.status import Status
    from gptcore.workspace import RunPaths, Workspace

NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Do not wait a few seconds for the answer.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def run(
    profile: Annotated[
        str,
        typer.Option(
            "--profile",
            "-p",
            metavar="NAME|PATH",
            help="Settings to train with.",
            autocompletion=complete_profile,
        ),
    ] = "demo",
    stage: Annotated[
        str,
        typer.Option(
            metavar="STAGE",
            help="Perform one stage: tokenizer, pretrain; all: those of the profile.",
            autocompletion=complete_stage,
            show_default="as the profile says",
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="section.key=value",
            help="Change a setting of the profile; may be given several times.",
            show_default=False,
        ),
    ] = None,
    parent: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="NAME|PATH",
            help="Tokenizer or model that the first stage starts from.",
            show_default="what the stage before made",
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(help="Name of the run.", show_default="PROFILE-1, -2, ...")
    ] = "",
    detach: DetachOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Train: start a run and watch it. Ctrl-C stops it; a lost connection does not."""
    from gptcore.text import clean
    from gptcore.workspace import Workspace
    from gptstudio.failures import say_warning
    from gptstudio.launcher import start_run
    from gptstudio.summary import command

    place = Workspace.locate(workspace)
    resolved = resolve_profile(place, profile, settings or [], stage, parent)
    started = start_run(place, resolved, name, warn=say_warning)
    stages = ", ".join(resolved.pipeline.performed)
    typer.echo(f"run {started.name}: {stages}, with profile {clean(resolved.name)}")
    if detach:
        typer.echo(f"  log:    {clean(str(started.log))}")
        typer.echo(f"  watch:  {command(place, 'attach', started.name)}")
        return
    _follow(place, started)


def resolve_profile(
    workspace: "Workspace", name: str, settings: list[str], stage: str, parent: str
) -> "Profile":
    """The profile with what the command line changes.

    Raises:
        UserError: There is no such profile or stage, or a setting is wrong.
    """
    from gptcore.profile import check_profile, read_profile
    from gptstudio.catalog import find_profile

    found = read_profile(find_profile(workspace, name), settings)
    if not (stage or parent):
        return found
    pipeline = found.pipeline.model_dump()
    if stage:
        check_stage(stage)
        pipeline["only"] = None if stage == "all" else stage
    if parent:
        pipeline["parent"] = parent
    where = "--stage" if stage else "--from"
    return check_profile({**found.model_dump(), "pipeline": pipeline}, where=where)


def check_stage(stage: str) -> None:
    """Refuse a stage that does not exist.

    Raises:
        UserError: It does not; the message lists those that do.
    """
    import difflib

    from gptcore.errors import UserError
    from gptcore.stages import STAGE_NAMES

    choices = ["all", *STAGE_NAMES]
    if stage in choices:
        return
    near = difflib.get_close_matches(stage, choices, n=1)
    raise UserError(
        f"no stage is called {stage!r}" + (f"; did you mean {near[0]}?" if near else ""),
        where="--stage",
        fix=f"one of: {', '.join(choices)}",
    )


def attach(name: RunArgument = "", workspace: WorkspaceOption = None) -> None:
    """Watch a run. Ctrl-C leaves it running; an ended one is summed up."""
    from gptcore.workspace import Workspace
    from gptstudio.watch import follow

    place = Workspace.locate(workspace)
    paths, _ = _find(place, name)
    raise typer.Exit(follow(place, paths, since=events_size(paths)))


def runs(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the runs, the newest first."""
    from gptcore.status import list_runs
    from gptcore.workspace import Workspace
    from gptstudio.runs_table import runs_table
    from gptstudio.summary import command
    from gptstudio.text import fit

    place = Workspace.locate(workspace)
    found = list_runs(place)
    if as_json:
        import msgspec

        # With the defaults too: a program should not have to know them.
        rows = [{name: getattr(run, name) for name in run.__struct_fields__} for run in found]
        typer.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif found:
        typer.echo(fit(runs_table(found)))
    else:
        typer.echo(f"no runs yet in {place.logs}")
        typer.echo(f"start one: {command(place, 'run', '--profile', 'demo')}")


def resume(
    name: RunArgument = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            "-s",
            metavar="section.key=value",
            help="Change a setting before it goes on, not one of its data or shape;"
            " may be given several times.",
            show_default=False,
        ),
    ] = None,
    detach: DetachOption = False,
    no_wait: NoWaitOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Go on with a run that has not finished. It may be paused, stopped, failed or lost."""
    from gptcore.workspace import Workspace
    from gptstudio.failures import say_warning
    from gptstudio.launcher import restart_run
    from gptstudio.summary import command

    place = Workspace.locate(workspace)
    paths, status = _find(place, name)
    if status.state == "paused" and not settings:
        _tell("resume", name, workspace, no_wait)
        return
    since = events_size(paths)
    restart_run(place, paths, status, settings or [], warn=say_warning)
    typer.echo(f"run {paths.name} goes on")
    if detach:
        typer.echo(f"  watch:  {command(place, 'attach', paths.name)}")
        return
    _follow(place, paths, since)


def stop(
    name: RunArgument = "", no_wait: NoWaitOption = False, workspace: WorkspaceOption = None
) -> None:
    """Write a checkpoint, then end the run. gptstudio resume goes on from there."""
    _tell("stop", name, workspace, no_wait)


def kill(
    name: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Name of the run.", autocompletion=complete_run),
    ],
    workspace: WorkspaceOption = None,
) -> None:
    """End the processes of a run at once, where stop is not answered any more.

    Steps since the last checkpoint are lost; gptstudio resume goes on from there.
    """
    from gptcore.workspace import Workspace
    from gptstudio.services.killing import kill_run

    place = Workspace.locate(workspace)
    paths, status = _find(place, name)
    kill_run(paths, status)
    typer.echo(f"{paths.name}: its processes were killed; gptstudio resume {paths.name} goes on")


def pause(
    name: RunArgument = "", no_wait: NoWaitOption = False, workspace: WorkspaceOption = None
) -> None:
    """Hold the run between two steps; it keeps its memory."""
    _tell("pause", name, workspace, no_wait)


def checkpoint(
    name: RunArgument = "", no_wait: NoWaitOption = False, workspace: WorkspaceOption = None
) -> None:
    """Write a checkpoint now."""
    _tell("checkpoint", name, workspace, no_wait)


def sample(
    name: RunArgument = "", no_wait: NoWaitOption = False, workspace: WorkspaceOption = None
) -> None:
    """Let the model write a few words now. Those who watch the run see them."""
    _tell("sample", name, workspace, no_wait)


def _tell(name: "CommandName", run: str, workspace: WorkspaceOption, no_wait: bool) -> None:
    from gptcore.workspace import Workspace
    from gptstudio.asking import ask
    from gptstudio.run_view import answer_text

    place = Workspace.locate(workspace)
    paths, status = _find(place, run)
    answer = ask(paths, status, name, timeout=0.0 if no_wait else 5.0)
    if answer is not None:
        typer.echo(f"{paths.name}: {answer_text(answer)}")
    elif no_wait:
        typer.echo(f"{paths.name}: {name} sent")
    else:
        typer.echo(f"{paths.name}: {name} sent; not answered yet, it is taken between two steps")


def _find(workspace: "Workspace", name: str) -> "tuple[RunPaths, Status]":
    """The run that was named, or the newest; one that was never started is refused as such."""
    from gptcore.status import find_run
    from gptstudio.launcher import check_started

    if name and "/" not in name and name not in (".", ".."):
        check_started(workspace.run(name))
    return find_run(workspace, name)


def _follow(workspace: "Workspace", paths: "RunPaths", since: int = 0) -> None:
    from gptstudio.watch import follow

    raise typer.Exit(follow(workspace, paths, since=since, on_interrupt="stop"))
