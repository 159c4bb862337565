"""Commands about profiles."""

from typing import Annotated

import typer

from gptstudio.commands.options import ProfileArgument, WorkspaceOption, complete_profile

app = typer.Typer(
    name="profiles",
    help="List, show and check settings files.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_all(workspace: WorkspaceOption = None) -> None:
    """List the profiles: those of the workspace, and those that ship with the studio."""
    from gptcore.errors import UserError
    from gptcore.memory import num_parameters
    from gptcore.profile import read_profile
    from gptcore.workspace import Workspace
    from gptstudio.catalog import list_profiles
    from gptstudio.text import columns, fit, human_count

    place = Workspace.locate(workspace)
    rows = [("profile", "from", "size", "what for")]
    for name, path in list_profiles(place).items():
        origin = "workspace" if path.parent == place.profiles else "shipped"
        try:
            profile = read_profile(path)
        except UserError as error:
            rows.append((name, origin, "", f"BROKEN: {str(error).splitlines()[0]}"))
        else:
            size = human_count(num_parameters(profile.model))
            rows.append((name, origin, size, profile.description))
    typer.echo(fit(columns(rows)) if len(rows) > 1 else "no profiles; gptstudio init . brings some")


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[PROFILE]",
            help="Name or path of a profile; without it, the defaults.",
            autocompletion=complete_profile,
            show_default=False,
        ),
    ] = "",
    workspace: WorkspaceOption = None,
) -> None:
    """Print every setting as TOML: its meaning, bounds, value, and whether it was changed."""
    from gptcore.profile import Profile, read_profile
    from gptcore.workspace import Workspace
    from gptstudio.catalog import find_profile
    from gptstudio.profile_text import document

    if not name:
        typer.echo(document(Profile()), nl=False)
        return
    place = Workspace.locate(workspace)
    typer.echo(document(read_profile(find_profile(place, name))), nl=False)


@app.command()
def check(name: ProfileArgument, workspace: WorkspaceOption = None) -> None:
    """Check a profile: all mistakes, or what differs from the defaults and the memory it takes."""
    from gptcore.profile import read_profile
    from gptcore.text import clean
    from gptcore.workspace import Workspace
    from gptstudio.catalog import find_profile
    from gptstudio.profile_text import describe_changes, describe_size

    path = find_profile(Workspace.locate(workspace), name)
    profile = read_profile(path)
    typer.echo(f"ok: {clean(str(path))}")
    if size := describe_size(profile):
        typer.echo(size)
    changes = describe_changes(profile)
    typer.echo("differs from the defaults:" if changes else "all settings have their defaults")
    for change in changes:
        typer.echo(f"  {change}")
