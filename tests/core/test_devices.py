"""GPUs as NVML tells of them: none, some, and in trouble."""

import sys

import pynvml
import pytest

from gptcore import devices
from gptcore.devices import Device, Nvml, list_devices, visible_devices
from tests.fake_nvml import GIB, FakeGpu, FakeNvml, refusal


def code(number: int) -> Exception:
    return refusal(number)


def test_a_gpu_is_read_in_bytes_per_cent_degrees_and_watts(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(monkeypatch, [FakeGpu(compute=[(10, GIB)])])
    assert list_devices() == [
        Device(
            index=0,
            name="NVIDIA H200",
            memory_total=140 * GIB,
            memory_used=88 * GIB,
            utilisation=97,
            temperature=64,
            power=612.0,
            power_limit=700.0,
            processes={10: GIB},
        )
    ]


def test_eight_gpus_looked_at_often_take_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(monkeypatch, [FakeGpu() for _ in range(8)])
    with Nvml() as nvml:
        for _ in range(5):
            assert [device.index for device in nvml.read()] == list(range(8))
        assert (fake.inits, fake.shutdowns) == (1, 0)
    assert fake.shutdowns == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (code(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND), "libnvidia-ml.so.1 was not found"),
        (code(pynvml.NVML_ERROR_DRIVER_NOT_LOADED), "not loaded"),
        (code(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH), "differ in version"),
        (code(pynvml.NVML_ERROR_NO_PERMISSION), "no permission"),
        (code(pynvml.NVML_ERROR_UNKNOWN), "NVML says"),
        (OSError("cannot map the library"), "cannot map the library"),
    ],
)
def test_without_a_session_the_reason_is_in_words(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeNvml(monkeypatch, [FakeGpu()])
    fake.init_fails = error
    with Nvml() as nvml:
        assert nvml.read() == []
        assert words in nvml.reason
        fake.init_fails = None
        assert len(nvml.read()) == 1
        assert nvml.reason == ""


def test_no_package_and_no_gpu_have_their_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(monkeypatch, [])
    with Nvml() as nvml:
        assert nvml.read() == []
        assert "sees none" in nvml.reason
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with Nvml() as nvml:
        assert nvml.read() == []
        assert "nvidia-ml-py" in nvml.reason


@pytest.mark.parametrize(
    "error",
    [
        refusal(),
        code(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND),
        ValueError("strange"),
        OSError("strange"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "strange"),
    ],
)
def test_every_query_may_fail_and_is_then_not_available(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = FakeGpu(error, error, error, error, error, error, error, error)
    FakeNvml(monkeypatch, [FakeGpu(), mute])
    first, second = list_devices()
    assert first.utilisation == 97
    assert second == Device(1, "GPU")


def test_a_query_that_one_gpu_refuses_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(monkeypatch, [FakeGpu(utilisation=refusal(), memory=(0, 0))])
    [device] = list_devices()
    assert device.utilisation is None
    assert (device.memory_total, device.memory_used) == (0, 0)
    assert device.temperature == 64
    assert device.problem == ""


def test_a_function_that_the_package_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(monkeypatch, [FakeGpu()])
    monkeypatch.delattr(pynvml, "nvmlDeviceGetEnforcedPowerLimit")
    [device] = list_devices()
    assert device.power_limit is None
    assert device.power == 612.0


def test_one_gpu_of_two_is_lost_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(devices.time, "monotonic", lambda: clock)
    fake = FakeNvml(monkeypatch, [FakeGpu(), FakeGpu()])
    with Nvml() as nvml:
        nvml.read()
        fake.gpus[1].lost = True
        for _ in range(3):
            good, lost = nvml.read()
            assert good.utilisation == 97
            assert "lost" in lost.problem
        assert fake.inits == 1, "not once a second while the others answer"
        clock += devices.REOPEN_S
        fake.gpus[1].lost = False
        assert nvml.read()[1].problem == ""
        assert fake.inits == 2


def test_a_session_that_fails_altogether_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(monkeypatch, [FakeGpu()])
    with Nvml() as nvml:
        nvml.read()
        fake.gpus[0].lost = True
        assert "lost" in nvml.read()[0].problem
        assert fake.shutdowns == 1
        fake.gpus[0].lost = False
        assert nvml.read()[0].problem == ""
        assert fake.inits == 2
        fake.count_fails = code(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        assert nvml.read() == []
        assert "not loaded" in nvml.reason
        fake.count_fails = None
        assert len(nvml.read()) == 1
        assert fake.inits == 3


def test_processes_of_both_kinds_with_and_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu(
        compute=[(1, GIB), (2, None), (3, GIB), (3, GIB)],  # 3 is on two MIG instances
        graphics=[(1, GIB), (4, 5)],
    )
    fake = FakeNvml(monkeypatch, [gpu])
    assert list_devices()[0].processes == {1: GIB, 2: None, 3: 2 * GIB, 4: 5}
    fake.gpus[0].graphics = refusal()
    assert set(list_devices()[0].processes or ()) == {1, 2, 3}
    fake.gpus[0].compute = refusal()
    assert list_devices()[0].processes is None


def test_visible_devices_are_in_cudas_order(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeNvml(monkeypatch, [FakeGpu() for _ in range(3)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0,7")
    assert [device.index for device in visible_devices()] == [2, 0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_devices() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert len(visible_devices()) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not list_devices(), reason="needs an NVIDIA GPU")
def test_a_real_gpu_says_what_can_be_true() -> None:
    with Nvml() as nvml:
        nvml.read()
        found = nvml.read()
        assert nvml.reason == ""
    for device in found:
        assert device.name
        if device.memory_total:
            assert 0 <= (device.memory_used or 0) <= device.memory_total
            assert device.memory_total > GIB
        assert 0 <= (device.utilisation or 0) <= 100
        assert -20 < (device.temperature or 20) < 130
        assert 0 <= (device.power or 0) < 3000
        assert device.problem == ""
