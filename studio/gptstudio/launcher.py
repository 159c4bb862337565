"""Starts runs: checks what can be known before, makes the record, starts the supervisor.

No terminal here: the command line and the screen both use it.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.errors import UserError
from gptcore.status import LIVE, Status, observe
from gptcore.workspace import RunPaths, Workspace, make_private_dir, write_atomic
from gptstudio.names import check_run_name
from gptstudio.preflight import preflight

if TYPE_CHECKING:
    from gptcore.profile import Profile

#: Seconds a supervisor may take to say that it is there: it imports little, but disks can be slow.
START_TIMEOUT = 60.0
#: Seconds that a start which failed or was interrupted waits for its supervisor to end.
STOP_TIMEOUT = 10.0
LOG_LINES = 15


def create_run(workspace: Workspace, profile: "Profile", name: str = "") -> RunPaths:
    """Make the record of a new run: its folder and its frozen profile.

    Args:
        workspace: Where.
        profile: The settings, as resolved.
        name: Of the run; empty: the profile's name and the first free number.

    Raises:
        UserError: The name cannot be used, or is taken.
        OSError: The folder cannot be written.
    """
    from gptcore.profile import write_profile

    if name:
        check_run_name(name)
    made_logs = not workspace.logs.exists()
    make_private_dir(workspace.logs)
    try:
        run = _make_folder(workspace, name or profile.name, numbered=not name)
        try:
            write_atomic(run.profile, write_profile(profile))
        except OSError:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
    except (UserError, OSError):
        if made_logs:
            _remove_if_empty(workspace.logs)
        raise
    return run


def launch(workspace: Workspace, run: RunPaths, engine_python: str) -> "subprocess.Popen[bytes]":
    """Start the supervisor of a run, detached from this terminal and its session.

    Args:
        workspace: Where the run is.
        run: Its record, with `profile.toml` in it.
        engine_python: The setting `engine.python`.

    Raises:
        UserError: There is no such interpreter.
        OSError: The log cannot be written.
    """
    python = find_engine_python(workspace, engine_python)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    log = os.open(run.log, flags, 0o600)
    try:
        return subprocess.Popen(
            [
                python,
                *("-m", "gptengine.supervise"),
                *("--workspace", str(workspace.root), "--run", run.name),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            env=engine_environment(),
            start_new_session=True,
        )
    finally:
        os.close(log)


def wait_until_started(
    run: RunPaths,
    process: "subprocess.Popen[bytes]",
    before: Status | None,
    *,
    log_offset: int = 0,
    timeout: float,
) -> Status:
    """Wait for the first word of a supervisor.

    Args:
        run: The run that was launched.
        process: Its supervisor.
        before: Its status before the launch.
        log_offset: Size of the log before the launch.
        timeout: Seconds to wait.

    Raises:
        UserError: The supervisor ended, or stayed silent; with the last lines of its log.
    """
    attempt = before.attempt if before else 0
    deadline = time.monotonic() + timeout
    while True:
        ended = process.poll() is not None  # before the status: its last word is then in there
        status = observe(run)
        if status is not None and (
            status.supervisor_pid == process.pid or status.attempt > attempt
        ):
            return status
        if ended:
            raise UserError(
                "the run could not be started:\n" + _log_since(run.log, log_offset),
                where=str(run.log),
                fix="gptstudio doctor looks at the engine's installation",
            )
        if time.monotonic() >= deadline:
            raise UserError(
                f"the run was started, but gave no sign of life in {timeout:.0f} s:\n"
                + _log_since(run.log, log_offset),
                where=str(run.log),
                fix="gptstudio doctor looks at the engine's installation; then try again",
            )
        time.sleep(0.03)


def start_run(
    workspace: Workspace,
    profile: "Profile",
    name: str = "",
    *,
    warn: Callable[[str], None] = lambda text: None,
) -> RunPaths:
    """Check, make and start a new run; on an error nothing is left behind but what still lives.

    Args:
        workspace: Where.
        profile: The settings, as resolved.
        name: Of the run; empty: the profile's name and the first free number.
        warn: Is told, before the start, what the run will go without.

    Raises:
        UserError: It cannot be started.
        OSError: The workspace cannot be written.
    """
    if name:
        check_run_name(name)
    warnings = preflight(workspace, profile)
    find_engine_python(workspace, profile.engine.python)
    made_logs = not workspace.logs.exists()
    run = create_run(workspace, profile, name)
    for text in warnings:
        warn(text)
    process: subprocess.Popen[bytes] | None = None
    try:
        process = launch(workspace, run, profile.engine.python)
        _wait_or_stop(run, process, None)
    except (UserError, OSError, KeyboardInterrupt) as error:
        gone = process is None or process.poll() is not None
        started = observe(run) is not None  # at last; then it is a run like any other
        if gone and not started:
            shutil.rmtree(run.folder, ignore_errors=True)
            if made_logs:
                _remove_if_empty(workspace.logs)
            if isinstance(error, UserError) and error.where == str(run.log):
                error.where = f"run {run.name}; its folder was removed again"
        elif gone and isinstance(error, UserError):
            error.fix = f"how it ended after all: gptstudio attach {run.name}"
        raise
    return run


def restart_run(
    workspace: Workspace,
    run: RunPaths,
    status: Status,
    settings: Sequence[str] = (),
    *,
    warn: Callable[[str], None] = lambda text: None,
) -> None:
    """Start an ended run again; it goes on from its last checkpoint.

    Args:
        workspace: Where.
        run: The run.
        status: As observed.
        settings: Changes of the form ``section.key=value``, see `gptstudio.changes`.
        warn: Is told, before the start, what the run will go without.

    Raises:
        UserError: It has finished, still lives, a setting cannot change, or it cannot be started.
    """
    from gptstudio.changes import change_settings, settings_changed

    if status.state == "done":
        raise UserError(
            f"run {run.name} has finished; there is nothing to resume",
            where=str(run.folder),
            fix="start another with gptstudio run",
        )
    if status.state in LIVE:
        raise UserError(
            f"run {run.name} is {status.state}",
            where=str(run.folder),
            fix=f"gptstudio stop {run.name}, then resume it with --set"
            if settings
            else f"gptstudio attach {run.name}",
        )
    profile, changed = settings_changed(run, settings)
    micro_batch = 0 if "pretrain.micro_batch" in changed else status.micro_batch
    warnings = preflight(workspace, profile, micro_batch=micro_batch)
    find_engine_python(workspace, profile.engine.python)
    for text in warnings:
        warn(text)
    if settings:
        change_settings(run, profile, micro_batch=micro_batch)
    offset = run.log.stat().st_size if run.log.exists() else 0
    process = launch(workspace, run, profile.engine.python)
    _wait_or_stop(run, process, status, log_offset=offset)


def _wait_or_stop(
    run: RunPaths,
    process: "subprocess.Popen[bytes]",
    before: Status | None,
    log_offset: int = 0,
) -> None:
    try:
        wait_until_started(run, process, before, log_offset=log_offset, timeout=START_TIMEOUT)
    except (UserError, KeyboardInterrupt) as error:
        # Not by a command file, which could be taken for one of an earlier attempt.
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            if isinstance(error, UserError):
                error.fix = (
                    f"its supervisor, process {process.pid}, does not end: see what holds it up;"
                    f" the record stays in {run.folder}"
                )
        raise


def find_engine_python(workspace: Workspace, setting: str) -> str:
    """The interpreter that the setting `engine.python` means.

    Raises:
        UserError: There is no such program.
    """
    if not setting:
        return sys.executable
    given = Path(setting).expanduser()
    named = str(workspace.root / given) if "/" in setting else setting
    if found := shutil.which(named):
        return found
    raise UserError(
        f"the engine's interpreter {setting!r} does not exist or cannot be run",
        where="engine.python",
        fix="name a Python that has gptstudio[engine], or leave it empty for the studio's own",
    )


def engine_environment() -> dict[str, str]:
    """The environment of the engine's processes.

    The working folder holds `datasets/`, which must not hide the library of that name.
    """
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def _make_folder(workspace: Workspace, name: str, *, numbered: bool) -> RunPaths:
    number = 1
    while True:
        run = workspace.run(f"{name}-{number}" if numbered else name)
        left = _left_behind(workspace, run.name, checkpoints_only=not numbered)
        if left and not numbered and not run.folder.exists():
            raise UserError(
                f"there are checkpoints of an earlier run called {name}, whose record is gone",
                where=str(left),
                fix="choose another --name, or remove that folder",
            )
        try:
            if not left:
                run.folder.mkdir(mode=0o700)
                return run
        except FileExistsError:
            pass
        if not numbered:
            check_started(run)
            raise UserError(
                f"there is already a run called {name}",
                where=str(run.folder),
                fix=f"choose another --name, or go on with it: gptstudio resume {name}",
            )
        number += 1


def check_started(run: RunPaths) -> None:
    """Refuse a run that has a folder, but that no supervisor has ever taken up.

    Raises:
        UserError: It is one.
    """
    if run.folder.is_dir() and observe(run) is None:
        raise UserError(
            f"the run {run.name} was never started: its folder has no status",
            where=str(run.folder),
            fix="unless it is being started just now, remove the folder; or choose another --name",
        )


def _left_behind(workspace: Workspace, name: str, *, checkpoints_only: bool) -> Path | None:
    """What there is of a run called `name` besides its record, which may have been removed."""
    places = [workspace.root / "checkpoints" / name]
    if not checkpoints_only:
        places += [workspace.tokenizers / name, *workspace.models.glob(f"{name}-*")]
    return next((path for path in places if path.exists()), None)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _log_since(log: Path, offset: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(offset, log.stat().st_size - (1 << 16)))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"its log cannot be read: {error}"
    lines = text.strip().splitlines()
    return "\n".join(f"  | {line}" for line in lines[-LOG_LINES:]) or "  | (its log is empty)"
