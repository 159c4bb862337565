"""A profile as the studio shows it: its stages, what it changes, its size, or what is wrong."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.errors import UserError
from gptcore.workspace import Workspace
from gptstudio.catalog import find_profile, list_profiles
from gptstudio.services.datasets import bytes_per_token
from gptstudio.services.runs import profile_name

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: What a workspace starts with when no run says otherwise.
FIRST_CHOICE = "demo"


@dataclass(frozen=True)
class ProfileCard:
    """A profile.

    Args:
        name: As in the catalogue.
        path: Its file.
        profile: The settings; None where they cannot be read.
        changes: What differs from the defaults, a line each, harmless.
        bytes_per_token: To guess tokens by.
        error: What is wrong with it.
        catalogue: Every profile there is, by name.
    """

    name: str
    path: Path | None = None
    profile: "Profile | None" = None
    changes: tuple[str, ...] = ()
    bytes_per_token: float = 4.0
    error: UserError | None = None
    catalogue: dict[str, Path] = field(default_factory=dict)


def read_card(workspace: Workspace, name: str) -> ProfileCard:
    """The profile called `name`; what is wrong with it is in the card."""
    from gptcore.profile import read_profile
    from gptstudio.profile_text import describe_changes

    path = None
    try:
        path = find_profile(workspace, name)
        profile = read_profile(path)
    except UserError as error:
        return ProfileCard(name, path, error=error, catalogue=list_profiles(workspace))
    return ProfileCard(
        name,
        path,
        profile,
        tuple(describe_changes(profile)),
        bytes_per_token(workspace, profile),
        catalogue=list_profiles(workspace),
    )


class ProfileWatch:
    """Reads the chosen profile again whenever its file has changed, or something was made.

    A new tokenizer tells better how many tokens a file holds.

    Args:
        workspace: Where to look for it.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._name = ""
        self._seen: tuple[object, ...] | None = None

    def choose(self, name: str) -> None:
        """Watch the profile of that name from now on; empty: the likeliest."""
        self._name = name

    def read(self) -> ProfileCard | None:
        """The card, where it is another than at the last call."""
        name = self._name = self._name or likeliest(self._workspace)
        profiles = list_profiles(self._workspace)
        seen = (name, _stamp(profiles.get(name)), tuple(profiles), _stamp(self._workspace.models))
        if seen == self._seen:
            return None
        card = read_card(self._workspace, name)
        self._seen = seen
        return card


def likeliest(workspace: Workspace) -> str:
    """The profile of the newest run where there still is one of that name, else the demo."""
    names = list_profiles(workspace)
    frozen = workspace.logs.glob("*/profile.toml")
    for path in sorted(frozen, key=lambda path: path.stat().st_mtime, reverse=True)[:1]:
        if (name := profile_name(path)) in names:
            return name
    return FIRST_CHOICE if FIRST_CHOICE in names else next(iter(names), FIRST_CHOICE)


def _stamp(path: Path | None) -> tuple[str, int, int, int] | None:
    """What a file or folder looks like now; None: it is not there."""
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return found and (str(path), found.st_mtime_ns, found.st_size, found.st_ino)
