"""The commands and the options of ``gptstudio``; what a command needs is imported when it runs."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gptstudio.commands import data, models, profiles, runs, setup, trust
from gptstudio.commands.options import WorkspaceOption
from gptstudio.failures import failures_for_people


class StudioGroup(TyperGroup):
    """The commands in the order in which they were added, their errors said to people."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with failures_for_people():
            return super().invoke(ctx)


app = typer.Typer(
    cls=StudioGroup,
    rich_markup_mode=None,  # plain help: nothing typed is taken for markup, and it comes sooner
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: gptstudio init DIR, cd DIR, gptstudio run. "
    "A run goes on when the terminal is closed.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from gptstudio import __version__

        typer.echo(f"gptstudio {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    workspace: WorkspaceOption = None,
    readonly: Annotated[
        bool,
        typer.Option("--readonly", help="Open the studio to look on: it does nothing to runs."),
    ] = False,
    ascii_only: Annotated[
        bool | None,
        typer.Option(
            "--ascii/--unicode",
            help="Draw with ASCII alone, or not.",
            show_default="as the locale says",
        ),
    ] = None,
) -> None:
    """Train GPT models in a terminal; without a command, open the studio.

    Where input or output is no terminal, what the workspace holds is printed instead.
    """
    if context.invoked_subcommand is None:
        from gptcore.workspace import Workspace
        from gptstudio.cli import open_or_print

        place = Workspace.locate(workspace)
        raise typer.Exit(open_or_print(place, readonly=readonly, ascii_only=ascii_only))
        return
    if readonly or ascii_only is not None:
        from gptcore.errors import UserError

        raise UserError(
            "--readonly, --ascii and --unicode are for the studio, not for a command",
            where=f"gptstudio {context.invoked_subcommand}",
            fix="leave them out; gptstudio --readonly opens the studio to look on",
        )
    if workspace is not None:
        context.default_map = _defaults(workspace)


def _defaults(workspace: Path) -> dict[str, Any]:
    """The workspace given before the command, for whichever command follows."""
    own = {"workspace": str(workspace)}
    names = [
        info.name or getattr(info.callback, "__name__", "") for info in app.registered_commands
    ]
    groups = {
        "profiles": dict.fromkeys(("list", "show", "check"), own),
        "data": dict.fromkeys(("list", "check", "stats"), own),
    }
    return dict.fromkeys(names, own) | groups


for _command in (
    runs.run,
    runs.attach,
    runs.runs,
    runs.stop,
    runs.kill,
    runs.pause,
    runs.resume,
    runs.checkpoint,
    runs.sample,
    models.generate,
    setup.init,
    setup.doctor,
    trust.trust,
):
    app.command()(_command)
app.command("eval")(models.evaluate)
app.add_typer(profiles.app)
app.add_typer(data.app)
