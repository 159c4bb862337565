"""Hardware in lines that always fit, and in the widgets that show them."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult

from gptcore.devices import Device
from gptstudio.app.widgets.hardware_strip import HardwarePanel, HardwareStrip
from gptstudio.app.widgets.hardware_text import bar, panel_lines, strip_lines
from gptstudio.services.hardware import Gpu, GpuProcess, Hardware, Host

GIB = 2**30

H200 = Device(0, "NVIDIA H200", 140 * GIB, 88 * GIB, 97, 64, 612.0, {}, 700.0)
OURS = GpuProcess(11, "alice", "python -m gptengine stage pretrain", 80 * GIB, "demo-12")
OTHER = GpuProcess(12, "bob", "python x.py", None, None)
HOST = Host(43.0, 16, (1.2, 3.0, 4.0), 12 * GIB, 64 * GIB, 0, 0, 1300 * GIB, 2000 * GIB)


def one_gpu(device: Device = H200, *processes: GpuProcess) -> Hardware:
    return Hardware((Gpu(device, processes),), "", HOST, 0.0)


def plain(lines: list[Any]) -> list[str]:
    return [line.plain for line in lines]


def strip(hardware: Hardware | None, width: int, *, ascii: bool = False) -> list[str]:
    return plain(strip_lines(hardware, width, ascii=ascii))


def test_a_line_says_it_all_where_there_is_room() -> None:
    gpu, host = strip(one_gpu(), 100)
    for part in ("GPU0", "H200", "█", "88.0/140 GiB", "97 %", "64 °C", "612/700 W"):
        assert part in gpu
    assert host == "CPU 43 %  RAM 12.0/64 GiB  disk 1.3 TiB free  load 1.2"


def test_the_least_important_goes_first() -> None:
    parts = ["H200", "612/700 W", "64 °C", "█", "88.0/140 GiB"]
    seen = []
    for width in range(100, 15, -1):
        line = strip(one_gpu(), width)[0]
        assert "GPU0" in line
        assert "97 %" in line
        seen.append([part for part in parts if part in line])
    assert all(found == parts[len(parts) - len(found) :] for found in seen)
    assert {len(found) for found in seen} == set(range(6))


def test_columns_of_several_gpus_stand_below_each_other() -> None:
    other = Device(1, "NVIDIA A100-SXM4-80GB", 80 * GIB, 0, 5, 30, 60.0, {}, 400.0)
    hardware = Hardware((Gpu(H200, ()), Gpu(other, ())), "", HOST, 0.0)
    first, second, _ = strip(hardware, 90)
    assert first.index("%") == second.index("%")
    assert len(first) == len(second)


def test_what_nvml_will_not_say_is_na_and_a_lost_gpu_says_why() -> None:
    mute = strip(one_gpu(Device(0, "GPU")), 80)[0]
    assert mute.count("N/A") == 4
    zero = strip(one_gpu(Device(0, "GPU", 0, 0)), 80)[0]
    assert "0/0 GiB" in zero
    lost = strip(one_gpu(Device(3, "unreadable GPU", problem="it is lost")), 80)[0]
    assert lost == "GPU3 unreadable: it is lost"


def test_without_a_gpu_the_reason_and_the_host_stay() -> None:
    hardware = Hardware((), "the NVIDIA driver is not loaded", Host(), 0.0)
    expected = ["no NVIDIA GPU: the NVIDIA driver is not loaded"]
    assert strip(hardware, 80) == [*expected, "CPU N/A %  RAM N/A GiB  disk N/A"]
    assert plain(panel_lines(hardware, 80))[0] == expected[0]
    assert len(strip(None, 80)) == 1


def test_the_panel_marks_our_processes_and_names_their_run() -> None:
    lines = plain(panel_lines(one_gpu(H200, OURS, OTHER), 100))
    [ours] = [line for line in lines if "alice" in line]
    [other] = [line for line in lines if "bob" in line]
    assert ours.lstrip().startswith("▸")
    assert "demo-12" in ours
    assert "80.0 GiB" in ours
    assert other.lstrip().startswith("N/A")
    assert not any("swap" in line for line in lines), "there is none"


def test_bars() -> None:
    assert bar(0.5, 10) == "▕████░░░░▏"
    assert bar(0.5, 10, ascii=True) == "[####....]"
    assert bar(7.0, 10, ascii=True) == "[########]"
    assert bar(None, 6, ascii=True) == "[    ]"


# --- whatever comes, it fits ---------------------------------------------------------------------

hostile = st.text(st.sampled_from("ab[/bold]$日本́\x1b\n\t\u202e\ud800💥"), max_size=30)
sizes = st.none() | st.integers(0, 2**45)
percents = st.none() | st.integers(0, 300)
watts = st.none() | st.floats(0, 5000)
processes = st.builds(
    GpuProcess, st.integers(1, 2**22), st.none() | hostile, st.none() | hostile, sizes,
    st.none() | hostile,
)  # fmt: skip
devices = st.builds(
    Device, st.integers(0, 15), hostile, sizes, sizes, percents, percents, watts,
    st.none(), watts, st.just("") | hostile,
)  # fmt: skip
hosts = st.builds(
    Host, st.none() | st.floats(0, 100), st.none() | st.integers(1, 512),
    st.none() | st.tuples(*[st.floats(0, 999)] * 3), sizes, sizes, sizes, sizes, sizes, sizes,
    st.booleans(),
)  # fmt: skip
machines = st.builds(
    Hardware,
    st.lists(
        st.builds(Gpu, devices, st.none() | st.lists(processes, max_size=3).map(tuple)), max_size=8
    ).map(tuple),
    hostile,
    hosts,
    st.just(0.0),
)


@settings(max_examples=300, deadline=None)
@given(hardware=machines, width=st.integers(16, 200), ascii=st.booleans())
def test_no_line_is_ever_wider_than_given(hardware: Hardware, width: int, ascii: bool) -> None:
    for make in (strip_lines, panel_lines):
        for line in make(hardware, width, ascii=ascii):
            assert cell_len(line.plain) <= width
            assert line.plain.isprintable()


# --- in an app -----------------------------------------------------------------------------------


class Show(App[None]):
    def __init__(self, widget: Any) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> ComposeResult:
        yield self.widget


def screen_text(app: App[None]) -> str:
    height = app.size.height
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines[:height])


def test_the_strip_is_as_high_as_it_has_lines_and_follows_the_width() -> None:
    async def use() -> None:
        app = Show(HardwareStrip())
        async with app.run_test(size=(80, 24)) as pilot:
            app.widget.show(None)
            await pilot.pause()
            assert app.widget.size.height == 1
            app.widget.show(Hardware((Gpu(H200, ()),) * 3, "", HOST, 0.0))
            await pilot.pause()
            assert app.widget.size.height == 4
            assert "612/700 W" in screen_text(app)
            await pilot.resize_terminal(40, 24)
            await pilot.pause()
            assert "612/700 W" not in screen_text(app)
            assert "97 %" in screen_text(app)

    asyncio.run(use())


def test_the_same_text_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def use() -> None:
        app = Show(HardwareStrip())
        async with app.run_test(size=(80, 24)) as pilot:
            app.widget.show(one_gpu())
            await pilot.pause()
            drawn: list[object] = []
            monkeypatch.setattr(app.widget, "refresh", lambda *a, **k: drawn.append(1))
            app.widget.show(Hardware((Gpu(H200, ()),), "", HOST, 5.0))
            assert drawn == []
            app.widget.show(one_gpu(Device(0, "NVIDIA H200", utilisation=3)))
            assert drawn == [1]

    asyncio.run(use())


def test_a_panel_of_eight_gpus_scrolls() -> None:
    async def use() -> None:
        app = Show(HardwarePanel(ascii=True))
        async with app.run_test(size=(60, 20)) as pilot:
            gpus = tuple(Gpu(Device(n, "NVIDIA H200"), (OURS, OTHER)) for n in range(8))
            app.widget.show(Hardware(gpus, "", HOST, 0.0))
            await pilot.pause()
            assert "GPU0" in screen_text(app)
            assert app.widget.max_scroll_y > 20
            app.widget.scroll_end(animate=False, immediate=True)
            await pilot.pause()
            text = screen_text(app)
            assert "Host" in text
            assert "GPU0" not in text

    asyncio.run(use())


def test_names_from_outside_are_no_markup() -> None:
    async def use() -> None:
        app = Show(HardwarePanel())
        async with app.run_test(size=(100, 24)) as pilot:
            evil = GpuProcess(1, "[red]", "[/nope] [link=x]y \x1b[2J", None, "[b]")
            app.widget.show(one_gpu(H200, evil))
            await pilot.pause()
            text = screen_text(app)
            assert "[red]" in text
            assert "[/nope] [link=x]y \\x1b[2J" in text

    asyncio.run(use())
