"""Which settings of an ended run may change before it goes on, and how they do."""

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gptcore.errors import UserError
from gptcore.workspace import RunPaths, write_atomic

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: Settings, or whole tables, that make a run what it is: its data, its shape, its order of samples.
FIXED = (
    "name",
    "pipeline",
    "data",
    "tokenizer",
    "model",
    "pretrain.seed",
    "pretrain.batch_size",
)

#: Seconds to wait for the lock: a reader that asks whether it is held holds it for an instant.
LOCK_TIMEOUT = 2.0

_NAMED = re.compile(r"\b((?:pretrain|engine)\.[a-z][a-z0-9_]*)(?:\s*=\s*([\w.:+-]*\w))?")


def may_change(key: str) -> bool:
    """Whether the setting `key`, dotted, may change when a run goes on."""
    return not any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED)


def change_named(text: str) -> str:
    """The first setting that a remedy names and that may change, as ``--set`` takes it."""
    for match in _NAMED.finditer(text):
        key, value = match.groups()
        if may_change(key):
            return f"{key}={value or '...'}"
    return ""


def settings_changed(run: RunPaths, settings: Sequence[str]) -> "tuple[Profile, set[str]]":
    """The profile that a run would go on with, and the dotted keys that differ.

    Args:
        run: An ended run; nothing is written.
        settings: Changes of the form ``section.key=value``.

    Raises:
        UserError: A setting is wrong, or belongs to what the run is.
    """
    from gptcore.profile import differences, read_profile

    before = read_profile(run.profile)
    after = read_profile(run.profile, settings)
    changed = {*differences(after, before), *differences(before, after)}
    if refused := sorted(key for key in changed if not may_change(key)):
        line = ["gptstudio", "run", "--profile", str(run.profile)]
        line += [word for setting in settings for word in ("--set", setting)]
        raise UserError(
            f"{', '.join(refused)} cannot change in a run that has begun",
            where=f"--set, for run {run.name}",
            fix=f"start another: {shlex.join(line)}",
        )
    return after, changed


def change_settings(run: RunPaths, profile: "Profile", *, micro_batch: int) -> None:
    """Make `profile` the one that an ended run goes on with.

    Args:
        run: The run.
        profile: Its settings, checked.
        micro_batch: The one that it goes on with after memory ran out; 0: the profile's.

    Raises:
        UserError: Somebody else has started it meanwhile.
        OSError: It cannot be written.
    """
    from gptcore.control import FileLock
    from gptcore.profile import write_profile
    from gptcore.status import read_status, write_status

    lock = FileLock(run.lock)
    if not lock.acquire(LOCK_TIMEOUT):
        raise UserError(
            f"run {run.name} has been started meanwhile",
            where=str(run.folder),
            fix=f"gptstudio attach {run.name}",
        )
    with lock:  # so the status has no other writer
        write_atomic(run.profile, write_profile(profile))
        status = read_status(run)
        if status is not None and status.micro_batch != micro_batch:
            status.micro_batch = micro_batch
            write_status(run, status)
