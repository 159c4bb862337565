"""Which workspaces the person trusts: code from others is never run.

What a workspace holds may come from anybody, and so the list is kept outside of all of them, in the
user's state folder (XDG Base Directory Specification).
"""

import json
import os
from pathlib import Path

from gptcore.errors import UserError
from gptcore.workspace import make_private_dir, write_atomic

#: What gives it, as it is typed.
TRUST_COMMAND = "gptstudio trust"


def trusted_file() -> Path:
    """Where it is written down.

    Raises:
        UserError: The user has no folder for it.
    """
    # A relative one is to be passed over, says the specification.
    state = Path(os.environ.get("XDG_STATE_HOME") or "")
    if not state.is_absolute():
        try:
            state = Path.home() / ".local" / "state"
        except RuntimeError:
            raise UserError(
                "there is no home folder to remember trust in",
                fix="set XDG_STATE_HOME to a folder of your own",
            ) from None
    return state / "gptstudio" / "trusted"


def trusted_workspaces() -> list[Path]:
    """All workspaces that are trusted, whether or not they are still there.

    None, where the list cannot be made sense of: who is in doubt does not trust.

    Raises:
        UserError: There is no folder for the list.
        OSError: The list is there and cannot be read.
    """
    try:
        names = json.loads(trusted_file().read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    return [Path(name) for name in names]


def is_trusted(root: Path) -> bool:
    """Whether code in a workspace may be run; a folder within a trusted one is not trusted.

    Args:
        root: Of the workspace; links to it are followed.
    """
    return root.resolve() in trusted_workspaces()


def trust(root: Path) -> bool:
    """Trust a workspace from now on.

    Args:
        root: Of the workspace; links to it are followed.

    Returns:
        Whether it was not trusted before.
    """
    known, real = trusted_workspaces(), root.resolve()
    if real in known:
        return False
    _write([*known, real])
    return True


def distrust(root: Path) -> bool:
    """No longer trust a workspace, which need not be there any more.

    Args:
        root: Of the workspace; links to it are followed.

    Returns:
        Whether it was trusted before.
    """
    known, real = trusted_workspaces(), root.resolve()
    if real not in known:
        return False
    _write([path for path in known if path != real])
    return True


def require_trust(root: Path, what: str) -> None:
    """See that code from a workspace may be run.

    Args:
        root: Of the workspace.
        what: The code, for people, as in `my_rewards.py`.

    Raises:
        UserError: It is not trusted.
    """
    if not is_trusted(root):
        raise UserError(
            f"{what} is code, and this workspace is not trusted",
            where=str(root),
            fix=f"look at what it does, then: {TRUST_COMMAND}",
        )


def _write(workspaces: list[Path]) -> None:
    file = trusted_file()
    file.parent.parent.mkdir(parents=True, exist_ok=True)
    make_private_dir(file.parent).chmod(0o700)
    write_atomic(file, json.dumps([str(path) for path in workspaces], indent=1) + "\n")
