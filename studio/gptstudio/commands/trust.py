"""The command that says whose code may be run."""

from pathlib import Path
from typing import Annotated

import typer

from gptstudio.commands.options import WorkspaceOption


def trust(
    remove: Annotated[bool, typer.Option("--remove", help="Take it back.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Print which are trusted.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Let trainings run Python code from a workspace, such as reward functions of your own."""
    from gptcore import trust as trusted
    from gptcore.errors import UserError
    from gptcore.text import clean
    from gptcore.workspace import Workspace

    if show and remove:
        raise UserError("--list and --remove do not go together", fix="leave one of them out")
    if show:
        _print_all(trusted.trusted_workspaces())
        return
    if remove:
        # One that has been deleted can be taken back too.
        root = workspace.resolve() if workspace else Workspace.locate().root
        was = trusted.distrust(root)
        typer.echo(f"{'no longer' if was else 'was not'} trusted: {clean(str(root))}")
        return
    root = Workspace.locate(workspace).root
    new = trusted.trust(root)
    typer.echo(f"{'trusted' if new else 'already trusted'}: {clean(str(root))}")
    typer.echo("  Its Python code may now be run when a training asks for it, with your rights,")
    typer.echo("  in a process of its own without the tokens and keys of your environment.")
    typer.echo("  To take it back: gptstudio trust --remove")


def _print_all(workspaces: list[Path]) -> None:
    from gptcore.text import clean

    if not workspaces:
        typer.echo("no workspace is trusted")
    for path in workspaces:
        gone = "" if path.is_dir() else "  (not there)"
        typer.echo(f"{clean(str(path))}{gone}")
