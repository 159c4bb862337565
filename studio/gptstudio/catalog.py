"""Profiles by name: the workspace's own first, then the shipped ones."""

import difflib
from pathlib import Path

from gptcore.errors import UserError
from gptcore.workspace import Workspace
from gptstudio.resources import shipped


def list_profiles(workspace: Workspace) -> dict[str, Path]:
    """Name to file; a profile of the workspace hides a shipped one of its name."""
    found: dict[str, Path] = {}
    for folder in (shipped("profiles"), workspace.profiles):
        if folder.is_dir():
            found |= {path.stem: path for path in sorted(folder.glob("*.toml")) if path.is_file()}
    return dict(sorted(found.items()))


def find_profile(workspace: Workspace, name: str) -> Path:
    """The file of the profile called `name`, or at the path `name`.

    Raises:
        UserError: There is none; the message lists what there is, and the nearest name.
    """
    if "/" in name or name.endswith(".toml"):
        for path in (Path(name).expanduser(), workspace.profiles / name):
            if path.is_file():
                return path
        raise UserError(
            "the profile does not exist",
            where=name,
            fix="give the path of a TOML file, or a name from gptstudio profiles list",
        )
    profiles = list_profiles(workspace)
    if name in profiles:
        return profiles[name]
    near = difflib.get_close_matches(name, profiles, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(
        f"no profile is called {name!r}{hint}",
        where=f"there are: {', '.join(profiles) or 'none'}",
        fix=f"name one of these, or write {workspace.profiles / name}.toml",
    )
