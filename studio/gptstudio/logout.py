"""Whether logind kills what a person started when they log out.

With ``KillUserProcesses=yes`` everything in a session's scope is killed, tmux and detached runs
too, lingering or not. What survives is what runs under the person's own service manager, as
``systemd-run --user --scope`` puts it, and that manager outlives the logout only if it lingers.
See logind.conf(5) and systemd-run(1).
"""

import getpass
import os
import re
from pathlib import Path

_FOLDERS = ("usr/lib/systemd", "run/systemd", "etc/systemd")  # the later ones win
# The shipped file lists the defaults behind a hash, without a space.
_SETTING = re.compile(r"^\s*(#?)(KillUserProcesses|KillOnlyUsers|KillExcludeUsers)\s*=(.*)$", re.M)

ENABLE_LINGER = "loginctl enable-linger"
OWN_SCOPE = "systemd-run --user --scope gptstudio"


def check_logout(root: Path = Path("/"), user: str = "") -> tuple[str, str]:
    """What happens to runs at logout, and what to do about it; nothing to do: empty.

    Args:
        root: Of the file system.
        user: The person; empty: who runs this.
    """
    if not (root / "run/systemd/system").is_dir():
        return "no systemd: runs outlive the logout", ""
    user = user or _user()
    if not kills_processes(root, user):
        return "runs outlive the logout", ""
    lingers = (root / "var/lib/systemd/linger" / user).exists()
    if lingers and _in_user_manager(root):
        return "this session lies in a lingering scope: runs outlive the logout", ""
    first = "" if lingers else f"{ENABLE_LINGER}; "
    return (
        "logind kills runs at logout (KillUserProcesses=yes)",
        f"{first}then start with {OWN_SCOPE} instead of gptstudio",
    )


def kills_processes(root: Path, user: str) -> bool:
    """Whether logind kills this person's processes at logout, by its configuration files."""
    active: dict[str, str] = {}
    compiled: dict[str, str] = {}
    for path in _files(root):
        for hash_mark, name, value in _SETTING.findall(_read(path)):
            (compiled if hash_mark else active)[name] = value.strip()
    settings = {"KillExcludeUsers": "root"} | compiled | active
    if settings.get("KillUserProcesses", "no").lower() not in ("1", "yes", "y", "true", "t", "on"):
        return False
    if user in settings["KillExcludeUsers"].split():
        return False
    only = settings.get("KillOnlyUsers", "").split()
    return not only or user in only


def _files(root: Path) -> list[Path]:
    files = [root / folder / "logind.conf" for folder in _FOLDERS]
    dropins: dict[str, Path] = {}  # one of the same name in a later folder replaces the earlier
    for folder in _FOLDERS:
        found = sorted((root / folder / "logind.conf.d").glob("*.conf"))
        dropins |= {path.name: path for path in found}
    return files + [dropins[name] for name in sorted(dropins)]


def _in_user_manager(root: Path) -> bool:
    return "/user@" in _read(root / f"proc/{os.getpid()}/cgroup")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without an account, as in containers
        return str(os.getuid())
