"""Commands that set up and look around."""

from pathlib import Path
from typing import Annotated

import typer

from gptstudio.commands.options import WorkspaceOption, complete_profile

EXIT_UNWELL = 1


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The workspace to make, or to complete.")
    ],
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing when there was nothing to make.")
    ] = False,
) -> None:
    """Make a workspace with data to start from. Files that are there stay as they are."""
    from gptcore.text import clean
    from gptstudio.starter import make_workspace

    made = make_workspace(folder)
    if quiet and not (made.files or made.folders):
        return
    kept = f", {made.kept} already there" if made.kept else ""
    typer.echo(f"workspace {clean(str(folder.resolve()))}: {len(made.files)} files made{kept}")
    for name in made.files:
        typer.echo(f"  {clean(name)}")
    for note in made.notes:
        typer.echo(f"  note: {note}")
    import shlex

    go = "" if folder.resolve() == Path.cwd() else f"cd {clean(shlex.quote(str(folder)))} && "
    typer.echo(f"next: {go}gptstudio run --profile demo")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    profile: Annotated[
        str,
        typer.Option(
            metavar="NAME|PATH",
            help="Look at the engine interpreter of this profile.",
            autocompletion=complete_profile,
            show_default="the studio's own interpreter",
        ),
    ] = "",
    workspace: WorkspaceOption = None,
) -> None:
    """Look for what would spoil a run. Engine, GPU, memory, disk, terminal, logout."""
    import dataclasses
    import json
    import sys

    from gptcore.text import clean
    from gptcore.workspace import Workspace
    from gptstudio.doctor import examine, worst
    from gptstudio.text import paint

    place = Workspace.locate(workspace)
    python = ""
    if profile:
        from gptcore.profile import read_profile
        from gptstudio.catalog import find_profile

        python = read_profile(find_profile(place, profile)).engine.python
    checks = []
    for check in examine(place, python):
        checks.append(check)
        if as_json:
            continue
        colour = {"ok": "green", "warn": "yellow", "fail": "red"}[check.level]
        level = paint(f"{check.level:<4}", colour, sys.stdout)
        print(f"{level}  {check.name:<9}  {clean(check.detail)}", flush=True)
        if check.fix:
            print(f"{'':6}{'':9}  -> {clean(check.fix)}", flush=True)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    if worst(checks) == "fail":
        raise typer.Exit(EXIT_UNWELL)
