"""Who is on which GPU, and how the machine is; each thing may be unknown alone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gptcore.devices import list_devices
from gptstudio.services.cgroups import memory_limit
from gptstudio.services.hardware import HardwareMonitor
from tests.fake_nvml import GIB, FakeGpu, FakeNvml, refusal

#: A process id that no kernel gives out.
NOBODY = 2**31 - 5


@pytest.fixture
def monitor(tmp_path: Path) -> HardwareMonitor:
    return HardwareMonitor(tmp_path)


def test_a_machine_without_gpu_shows_its_host_and_says_so(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeNvml(monkeypatch, [])
    hardware = monitor.read()
    assert hardware.gpus == ()
    assert hardware.no_gpu
    host = hardware.host
    assert host.memory_total is not None
    assert host.memory_used is not None
    assert 0 < host.memory_used < host.memory_total
    assert host.disk_free is not None
    assert host.disk_total is not None
    assert 0 <= host.disk_free <= host.disk_total
    assert host.cores == os.cpu_count()


def test_cpu_is_of_the_time_between_two_looks(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = psutil.cpu_times()
    zero = type(times)(*[0.0] * len(times))
    looks = iter([zero, zero._replace(user=3.0, idle=1.0), zero._replace(user=3.0, idle=5.0)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(looks))
    assert [monitor.read().host.cpu for _ in range(3)] == [None, 75.0, 0.0]


def test_each_part_of_the_host_may_fail_alone(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError("no /proc here")

    for name in ("cpu_times", "virtual_memory"):
        monkeypatch.setattr(psutil, name, fail)
    monkeypatch.setattr(os, "getloadavg", fail)
    monkeypatch.setattr("gptstudio.services.hardware.memory_limit", fail)
    host = monitor.read().host
    assert (host.cpu, host.memory_total, host.load) == (None, None, None)
    assert host.disk_free is not None
    monkeypatch.setattr("shutil.disk_usage", fail)
    monkeypatch.setattr(psutil, "swap_memory", fail)
    host = monitor.read().host
    assert (host.disk_free, host.swap_total) == (None, None)


@pytest.fixture
def grandchild() -> Iterator[tuple[int, int]]:
    """A process that one of ours has started: ids of both."""
    code = (
        "import subprocess, sys\n"
        "code = 'import time; time.sleep(60)'\n"
        "inner = subprocess.Popen([sys.executable, '-c', code, 'worker'])\n"
        "print(inner.pid, flush=True)\n"
        "try:\n    sys.stdin.read()\nfinally:\n    inner.kill()\n    inner.wait()\n"
    )
    outer = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert outer.stdin is not None
    assert outer.stdout is not None
    yield outer.pid, int(outer.stdout.readline())
    outer.stdin.close()
    outer.wait()


def test_processes_have_owner_command_and_the_run_they_belong_to(
    monitor: HardwareMonitor, grandchild: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, inner = grandchild
    shared = [(inner, GIB), (os.getpid(), 3 * GIB), (NOBODY, None)]
    FakeNvml(monkeypatch, [FakeGpu(compute=shared), FakeGpu(compute=refusal(), graphics=refusal())])
    first, second = monitor.read({outer: "demo-1"}).gpus
    assert second.processes is None
    assert first.processes is not None
    assert [each.pid for each in first.processes] == [os.getpid(), inner, NOBODY]
    mine, ours, gone = first.processes
    assert ours.owner == mine.owner == psutil.Process().username()
    assert ours.command is not None
    assert ours.command.startswith(Path(sys.executable).name)
    assert ours.command.endswith("worker")
    assert (ours.run, mine.run) == ("demo-1", None)
    assert (gone.owner, gone.command, gone.bytes, gone.run) == (None, None, None, None)
    assert monitor.read({NOBODY: "demo-2"}).gpus[0].processes[2].run == "demo-2"  # type: ignore[index]


def test_a_process_is_asked_once_and_again_when_its_id_is_another(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeNvml(monkeypatch, [FakeGpu(compute=[(os.getpid(), 1)])])
    asked = []
    cmdline = psutil.Process.cmdline
    monkeypatch.setattr(
        psutil.Process, "cmdline", lambda process: asked.append(1) or cmdline(process)
    )
    for _ in range(3):
        monitor.read()
    assert len(asked) == 1
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: 5.0)
    monitor.read()
    assert len(asked) == 2


def test_what_the_system_denies_is_unknown(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    FakeNvml(monkeypatch, [FakeGpu(compute=[(os.getpid(), 1)])])
    monkeypatch.setattr(psutil.Process, "cmdline", deny)
    monkeypatch.setattr(psutil.Process, "parents", deny)
    [process] = monitor.read({os.getpid(): "demo-1"}).gpus[0].processes or ()
    assert process.command is None
    assert process.owner is not None
    assert process.run == "demo-1"
    monkeypatch.setattr(psutil.Process, "create_time", deny)
    [process] = monitor.read().gpus[0].processes or ()
    assert (process.owner, process.bytes) == (None, 1)


# --- memory limits of containers -----------------------------------------------------------------


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_lowest_limit_of_version_2_holds(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user.slice/job\n")
    root = tmp_path / "cg"
    group(root / "user.slice/job", memory__max="max", memory__current=10)
    group(root / "user.slice", memory__max=5000, memory__current=1500)
    (root / "user.slice/memory.stat").write_text("anon 1000\ninactive_file 400\n")
    found = memory_limit(root, own)
    assert found is not None
    assert (found.limit, found.used) == (5000, 1100)
    own.write_text("0::/../../elsewhere\n")  # seen from inside another namespace
    assert memory_limit(root, own) is None


def test_version_1_inside_a_container_is_read_at_the_root(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:cpu:/docker/1a\n4:hugetlb,memory:/docker/1a\n0::/\n")
    root = tmp_path / "cg"
    files = {"memory__limit_in_bytes": 7000, "memory__usage_in_bytes": 900}
    group(root / "memory", **files)
    found = memory_limit(root, own)
    assert found is not None
    assert (found.limit, found.used) == (7000, 900)
    assert memory_limit(root, tmp_path / "nowhere") is None


def test_a_limit_below_the_machines_memory_is_the_total(
    monitor: HardwareMonitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.write_text("0::/\n")
    group(tmp_path, memory__max=4 * GIB, memory__current=GIB)
    monkeypatch.setattr(
        "gptstudio.services.hardware.memory_limit", lambda: memory_limit(tmp_path, own)
    )
    host = monitor.read().host
    assert (host.memory_used, host.memory_total, host.memory_is_limited) == (GIB, 4 * GIB, True)
    group(tmp_path, memory__max=2**60)
    host = monitor.read().host
    assert host.memory_total == psutil.virtual_memory().total
    assert not host.memory_is_limited


def test_a_look_at_eight_gpus_is_cheap(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd = [(psutil.Process().ppid(), 1), (os.getpid(), 2)]
    fake = FakeNvml(monkeypatch, [FakeGpu(compute=crowd) for _ in range(8)])
    monitor.read()
    took = []
    for _ in range(10):
        start = time.perf_counter()
        monitor.read()
        took.append(time.perf_counter() - start)
    assert fake.inits == 1
    assert min(took) < 0.05


@pytest.mark.gpu
@pytest.mark.skipif(not list_devices(), reason="needs an NVIDIA GPU")
def test_a_real_gpu_is_shown(monitor: HardwareMonitor) -> None:
    hardware = monitor.read()
    assert hardware.gpus
    assert hardware.no_gpu == ""
    assert any(gpu.device.memory_total for gpu in hardware.gpus)
