"""Looks at the machine, the terminal and the installation for what would spoil a run."""

import json
import locale
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gptcore.devices import visible_devices
from gptcore.workspace import Workspace
from gptstudio.launcher import engine_environment, find_engine_python
from gptstudio.logout import check_logout
from gptstudio.requirements import unmet_requirements
from gptstudio.text import human_bytes

GIB = 2**30
#: The first import of torch from a slow disk takes its time.
ENGINE_TIMEOUT = 180.0

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found about one thing.

    Args:
        name: What was looked at.
        level: How it is.
        detail: What was found.
        fix: What to do about it.
    """

    name: str
    level: Level
    detail: str
    fix: str = ""


def examine(workspace: Workspace, engine_python: str = "") -> Iterator[Check]:
    """All checks, in order; the one of the engine takes seconds."""
    yield check_python()
    yield from check_engine(workspace, engine_python)
    yield check_ram()
    yield check_disk(workspace)
    yield check_workspace(workspace)
    yield check_locale()
    yield check_terminal()
    yield check_session()
    detail, fix = check_logout()
    yield Check("logout", "warn" if fix else "ok", detail, fix)
    yield check_packages()


def check_python() -> Check:
    """The studio's own interpreter."""
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("python", "ok", version)
    return Check("python", "warn", f"{version} is untried", "use Python 3.11, 3.12 or 3.13")


def check_engine(workspace: Workspace, engine_python: str = "") -> Iterator[Check]:
    """The engine's interpreter, its libraries, and the GPUs."""
    python = find_engine_python(workspace, engine_python)
    versions, problem = engine_versions(python, workspace)
    if versions is None:
        yield Check(
            "engine",
            "fail",
            f"{python}: {problem}",
            "install the engine there: pip install 'gptstudio[engine]'",
        )
    else:
        facts = ", ".join(f"{name} {value}" for name, value in versions.items() if value)
        yield Check("engine", "ok", f"{python}: {facts}")
    yield from check_gpus(bool(versions and versions.get("cuda")), versions is not None)


def engine_versions(python: str, workspace: Workspace) -> tuple[dict[str, object] | None, str]:
    """What the engine says of its libraries; else None, and why."""
    try:
        answer = subprocess.run(
            [python, "-m", "gptengine", "versions"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ENGINE_TIMEOUT,
            cwd=workspace.root,
            env=engine_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer in {ENGINE_TIMEOUT:.0f} s"
    except OSError as error:
        return None, error.strerror or str(error)
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        return None, said[-1] if said else f"exit status {answer.returncode}"
    try:
        versions = json.loads(answer.stdout)
    except ValueError:
        return None, "its answer cannot be read"
    return (versions, "") if isinstance(versions, dict) else (None, "its answer is not an object")


def check_gpus(engine_has_cuda: bool, engine_answers: bool) -> Iterator[Check]:
    """Each GPU: 8 GiB are the least, 16 and more are recommended."""
    devices = visible_devices()
    if not devices:
        yield Check(
            "gpu",
            "warn",
            "no NVIDIA GPU can be seen: runs compute on the CPU",
            "the profile demo is made for that; if there is a GPU, see nvidia-smi",
        )
    for index, device in enumerate(devices):
        total, used = device.memory_total, device.memory_used
        memory = human_bytes(total) if total else "memory unknown"
        free = f", {human_bytes(total - used)} free" if total and used is not None else ""
        detail = f"cuda:{index} {device.name}, {memory}{free}"
        if total and total < 7.5 * GIB:
            fix = "8 GiB are the least for gpt2-small: use a smaller model"
            yield Check("gpu", "warn", detail, fix)
        else:
            yield Check("gpu", "ok", detail)
    if devices and engine_answers and not engine_has_cuda:
        yield Check(
            "gpu",
            "warn",
            "the engine's torch was built without CUDA and will not use the GPU",
            "install a CUDA build of torch into the engine's environment",
        )


def check_ram() -> Check:
    """Memory of the host: 16 GB are recommended."""
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{human_bytes(memory.total)}, {human_bytes(memory.available)} available"
    if memory.total < 14.5 * GIB:  # what a machine sold with 16 GB reports is a little less
        return Check("ram", "warn", detail, "16 GB are recommended; small profiles need far less")
    return Check("ram", "ok", detail)


def check_disk(workspace: Workspace) -> Check:
    """Space for checkpoints; one of gpt2-small takes 1.5 GB, and several are kept."""
    free = shutil.disk_usage(workspace.root).free
    detail = f"{human_bytes(free)} free in {workspace.root}"
    if free < GIB:
        return Check("disk", "fail", detail, "make room, or use another --workspace")
    if free < 10 * GIB:
        fix = "checkpoints of gpt2-small take 6 GB: make room, or set pretrain.keep_checkpoints=1"
        return Check("disk", "warn", detail, fix)
    return Check("disk", "ok", detail)


def check_workspace(workspace: Workspace) -> Check:
    """Whether runs can be written there, and whether there is data."""
    root = str(workspace.root)
    if not os.access(workspace.root, os.W_OK | os.X_OK):
        fix = "choose another --workspace, or change its owner or mode"
        return Check("workspace", "fail", f"{root} cannot be written to", fix)
    if not workspace.datasets.is_dir():
        return Check("workspace", "warn", f"{root} has no datasets/", "gptstudio init .")
    return Check("workspace", "ok", root)


def check_locale() -> Check:
    """Whether text beyond ASCII can be shown."""
    encoding = locale.getpreferredencoding(False)
    if encoding.upper().replace("-", "") == "UTF8":
        return Check("locale", "ok", encoding)
    return Check("locale", "warn", f"{encoding}, not UTF-8", "export LANG=C.UTF-8")


def check_terminal() -> Check:
    """Its kind and size."""
    kind = os.environ.get("TERM", "")
    size = shutil.get_terminal_size()
    detail = f"{kind or 'no TERM'}, {size.columns}x{size.lines}"
    if not sys.stdout.isatty():
        return Check("terminal", "ok", "output does not go to a terminal")
    if kind in ("", "dumb", "unknown"):
        return Check("terminal", "warn", detail, "export TERM=xterm-256color")
    if size.columns < 80 or size.lines < 24:
        return Check("terminal", "warn", detail, "80x24 or more is comfortable")
    return Check("terminal", "ok", detail)


def check_session() -> Check:
    """How the person is connected; runs need neither tmux nor the connection."""
    remote = bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
    inside = "tmux" if os.environ.get("TMUX") else "screen" if os.environ.get("STY") else ""
    place = "over SSH" if remote else "local"
    detail = f"{place}, in {inside}" if inside else f"{place}, no tmux (runs do not need it)"
    return Check("session", "ok", detail)


def check_packages() -> Check:
    """The studio's packages against what the distribution asks for."""
    unmet = unmet_requirements()
    if unmet:
        fix = "pip install --upgrade gptstudio"
        return Check("packages", "fail", "; ".join(unmet), fix)
    return Check("packages", "ok", "as required")


def worst(checks: Sequence[Check]) -> Level:
    """The worst level among the checks."""
    levels: tuple[Level, ...] = ("fail", "warn")
    return next((level for level in levels if any(c.level == level for c in checks)), "ok")
