"""Starts runs: checks what can be known before, makes the record, starts the supervisor.

No terminal here: the command line and the screen both use it.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
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
#: Seconds that a Ctrl-C during the start waits for the end.
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
    timeout: float = START_TIMEOUT,
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
                f"the run was started, but gave no sign of life in {timeout:.0f} s",
                where=str(run.log),
                fix=f"look at the log, then: gptstudio attach {run.name}",
            )
        time.sleep(0.03)


def start_run(workspace: Workspace, profile: "Profile", name: str = "") -> RunPaths:
    """Check, make and start a new run; on an error nothing is left behind.

    Raises:
        UserError: It cannot be started.
        OSError: The workspace cannot be written.
    """
    if name:
        check_run_name(name)
    preflight(workspace, profile)
    find_engine_python(workspace, profile.engine.python)
    made_logs = not workspace.logs.exists()
    run = create_run(workspace, profile, name)
    try:
        process = launch(workspace, run, profile.engine.python)
        _wait_or_stop(run, process, None)
    except (UserError, OSError, KeyboardInterrupt):
        if observe(run) is None:  # nobody but us knows of it
            shutil.rmtree(run.folder, ignore_errors=True)
            if made_logs:
                _remove_if_empty(workspace.logs)
        raise
    return run


def restart_run(workspace: Workspace, run: RunPaths, status: Status) -> None:
    """Start an ended run again; it goes on from its last checkpoint.

    Raises:
        UserError: It has finished, still lives, or cannot be started.
    """
    from gptcore.profile import read_profile

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
            fix=f"gptstudio attach {run.name}",
        )
    profile = read_profile(run.profile)
    preflight(workspace, profile, micro_batch=status.micro_batch)
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
        wait_until_started(run, process, before, log_offset=log_offset)
    except KeyboardInterrupt:  # a command file could be taken for one of an earlier attempt
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
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
        try:
            run.folder.mkdir(mode=0o700)
        except FileExistsError:
            if not numbered:
                raise UserError(
                    f"there is already a run called {name}",
                    where=str(run.folder),
                    fix=f"choose another --name, or go on with it: gptstudio resume {name}",
                ) from None
            number += 1
        else:
            return run


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
