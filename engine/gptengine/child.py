"""A stage process, as its supervisor starts it."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from gptcore.profile import Profile
from gptcore.stages import STAGES
from gptcore.workspace import RunPaths, Workspace

PR_SET_PDEATHSIG = 1


def start_stage(
    workspace: Workspace,
    run: RunPaths,
    profile: Profile,
    stage: str,
    *,
    attempt: int,
    parent: str,
    micro_batch: int,
    lock: int,
) -> subprocess.Popen[bytes]:
    """Start one stage in a process of its own; under torchrun where there are several devices.

    Args:
        workspace: Its current folder.
        run: The run.
        profile: For the number of processes.
        stage: Which stage.
        attempt: How often the run has been started.
        parent: What the stage before it made, a path in the workspace; may be empty.
        micro_batch: In place of the profile's; 0: the profile's.
        lock: Descriptor of the run's lock, to be held by the stage too.
    """
    command = [sys.executable, "-m"]
    if profile.engine.processes > 1 and STAGES[stage].parallel:
        command += ["torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={profile.engine.processes}", "-m"]
    command += ["gptengine", "stage", stage, "--workspace", str(workspace.root)]
    command += ["--name", run.name, "--attempt", str(attempt), "--micro-batch", str(micro_batch)]
    if parent:
        command += ["--parent", str(workspace.root / parent)]
    environment = os.environ | {
        "PYTHONSAFEPATH": "1",  # the workspace's datasets/ must not shadow a package
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        command,
        cwd=workspace.root,
        env=environment,
        stdin=subprocess.DEVNULL,
        pass_fds=(lock,),
        preexec_fn=_dies_with(os.getpid()),
    )


def _dies_with(supervisor: int) -> Callable[[], None]:
    """Has the kernel stop the child gracefully when its supervisor dies."""
    libc = ctypes.CDLL(None)

    def before_exec() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:
            os._exit(1)

    return before_exec


def kernel_oom_kills() -> int:
    """How many processes this machine's kernel has killed for memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
