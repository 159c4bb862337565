"""GPUs and host in lines of a given width; knows no widget."""

import textwrap
from collections.abc import Callable, Sequence

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from gptcore.devices import Device
from gptcore.text import steady
from gptstudio.app.words import Part, fitted
from gptstudio.services.hardware import Gpu, GpuProcess, Hardware, Host
from gptstudio.text import human_bytes

GIB = 2**30

#: Cells of a bar with its ends.
BAR_LEAST, BAR_MOST = 8, 26
#: Cells of a GPU's name, a user's, a run's in a table.
NAME_MOST, OWNER_MOST, RUN_MOST = 18, 12, 24

#: Columns of a GPU's line, in order, and what goes first where they do not fit.
COLUMNS = ("label", "name", "bar", "memory", "use", "temperature", "power")
DROPPED = ("name", "power", "temperature", "bar", "memory", "use")

MUTED = "$muted"
READING = "looking at the hardware ..."


def strip_lines(hardware: Hardware | None, width: int, *, ascii: bool = False) -> list[Content]:
    """A line for each GPU, or why there is none, and one for the host.

    Args:
        hardware: What was found; None: nothing yet.
        width: Cells; no line is wider.
        ascii: Whether bars are drawn in ASCII.
    """
    if hardware is None:
        return [_cut(Content.styled(READING, MUTED), width)]
    lines = _gpu_table([gpu.device for gpu in hardware.gpus], width, ascii)
    lines = lines or [_cut(Content.styled(_no_gpu(hardware), MUTED), width)]
    return [*lines, _host_line(hardware.host, width)]


def panel_lines(hardware: Hardware | None, width: int, *, ascii: bool = False) -> list[Content]:
    """A block of lines for each GPU, with its processes, then one for the host.

    Args:
        hardware: What was found; None: nothing yet.
        width: Cells; no line is wider.
        ascii: Whether bars are drawn in ASCII.
    """
    if hardware is None:
        return [_cut(Content.styled(READING, MUTED), width)]
    lines = [line for gpu in hardware.gpus for line in (*_block(gpu, width, ascii), Content(""))]
    if not hardware.gpus:
        said = textwrap.wrap(_no_gpu(hardware), max(8, width))
        lines = [*(Content.styled(line, MUTED) for line in said), Content("")]
    return [_cut(line, width) for line in (*lines, *_host_block(hardware.host, width, ascii))]


def short_name(name: str) -> str:
    """The marketing name without the maker's, harmless."""
    words = [word for word in steady(name).split() if word not in ("NVIDIA", "GeForce")]
    return " ".join(words) or "GPU"


def bar(share: float | None, width: int, *, ascii: bool = False) -> str:
    """`share`, from 0 to 1, as a bar of `width` cells with its ends; blank where unknown."""
    room = max(0, width - 2)
    left, right = ("[", "]") if ascii else ("▕", "▏")
    if share is None:
        return f"{left}{' ' * room}{right}"
    full = round(room * min(1.0, max(0.0, share)))
    fill, rest = ("#", ".") if ascii else ("█", "░")
    return f"{left}{fill * full}{rest * (room - full)}{right}"


# --- one line a GPU ------------------------------------------------------------------------------


def _gpu_table(devices: Sequence[Device], width: int, ascii: bool) -> list[Content]:
    cells = [_gpu_cells(device) for device in devices if not device.problem]
    widths = {key: max((len(each[key]) for each in cells), default=0) for key in COLUMNS}
    widths["name"] = min(NAME_MOST, max((cell_len(each["name"]) for each in cells), default=0))
    kept = [key for key in COLUMNS if key == "bar" or widths[key]]
    widths["bar"] = BAR_LEAST
    for key in DROPPED:
        if _table_width(kept, widths) <= width:
            break
        kept = [each for each in kept if each != key]
    if "bar" in kept:
        widths["bar"] = min(BAR_MOST, BAR_LEAST + width - _table_width(kept, widths))
    lines = []
    readable = iter(cells)
    for device in devices:
        if device.problem:
            line = Content.styled(
                f"GPU{device.index} unreadable: {steady(device.problem)}", "$error"
            )
        else:
            line = _gpu_line(device, next(readable), kept, widths, ascii)
        lines.append(_cut(line, width))
    return lines


def _table_width(kept: Sequence[str], widths: dict[str, int]) -> int:
    return sum(widths[key] for key in kept) + 2 * (len(kept) - 1)


def _gpu_cells(device: Device) -> dict[str, str]:
    return {
        "label": f"GPU{device.index}",
        "name": short_name(device.name),
        "bar": "",
        "memory": _of(device.memory_used, device.memory_total),
        "use": _number(device.utilisation, "%"),
        "temperature": _number(device.temperature, "°C"),
        "power": _power(device),
    }


def _gpu_line(
    device: Device, cells: dict[str, str], kept: Sequence[str], widths: dict[str, int], ascii: bool
) -> Content:
    parts: list[Content] = []
    for key in kept:
        if key == "bar":
            drawn = bar(_share(device.memory_used, device.memory_total), widths[key], ascii=ascii)
            parts.append(Content.styled(drawn, "$primary"))
        elif key in ("label", "name"):
            text = set_cell_size(cells[key], widths[key])
            parts.append(Content.styled(text, "bold" if key == "label" else MUTED))
        else:
            parts.append(Content(cells[key].rjust(widths[key])))
    return Content("  ").join(parts)


# --- one block a GPU -----------------------------------------------------------------------------


def _block(gpu: Gpu, width: int, ascii: bool) -> list[Content]:
    device = gpu.device
    head = Content.assemble((f"GPU{device.index}", "bold"), "  ", steady(device.name))
    if device.problem:
        return [head, Content.styled(f"  unreadable: {steady(device.problem)}", "$text-error")]
    use = None if device.utilisation is None else device.utilisation / 100
    memory = _share(device.memory_used, device.memory_total)
    rest = (_number(device.temperature, "°C"), _power(device))
    return [
        head,
        _measure("use", use, _number(device.utilisation, "%"), width, ascii),
        _measure("memory", memory, _of(device.memory_used, device.memory_total), width, ascii),
        Content("  " + "  ".join(rest)),
        *_process_table(gpu.processes, ascii),
    ]


def _measure(name: str, share: float | None, said: str, width: int, ascii: bool) -> Content:
    room = width - 10 - 2 - len(said)
    drawn = "" if room < BAR_LEAST else bar(share, min(BAR_MOST, room), ascii=ascii) + "  "
    return Content.assemble((f"  {name:<6}  ", MUTED), (drawn, "$primary"), said)


def _process_table(processes: Sequence[GpuProcess] | None, ascii: bool) -> list[Content]:
    if processes is None:
        return [Content.styled("  processes N/A", MUTED)]
    if not processes:
        return [Content.styled("  no processes", MUTED)]
    sizes = _column(processes, lambda each: _size(each.bytes), 12, right=True)
    owners = _column(processes, lambda each: each.owner or "?", OWNER_MOST)
    runs = _column(processes, lambda each: each.run or "", RUN_MOST)
    mark = "> " if ascii else "▸ "
    return [
        Content.assemble(
            "  ",
            (mark if process.run else "  ", "bold $text-success"),
            f"{size}  ",
            (f"{owner}  ", MUTED),
            (f"{run}  " if run else "", "bold $text-success"),
            steady(process.command or "?") + f" ({process.pid})",
        )
        for process, size, owner, run in zip(processes, sizes, owners, runs, strict=True)
    ]


def _column(
    processes: Sequence[GpuProcess],
    text: Callable[[GpuProcess], str],
    most: int,
    *,
    right: bool = False,
) -> list[str]:
    texts = [steady(text(process)) for process in processes]
    width = min(most, max(map(cell_len, texts)))
    return [each.rjust(width) if right else set_cell_size(each, width) for each in texts]


# --- the host ------------------------------------------------------------------------------------


def _host_line(host: Host, width: int) -> Content:
    parts: list[Part] = [
        (0, Content.assemble(("CPU ", MUTED), _number(host.cpu, "%"))),
        (1, Content.assemble(("RAM ", MUTED), _of(host.memory_used, host.memory_total))),
        (2, Content.assemble(("disk ", MUTED), _free(host))),
    ]
    if host.load is not None:
        parts.append((3, Content.assemble(("load ", MUTED), f"{host.load[0]:.1f}")))
    return _cut(fitted(parts, width), width)


def _host_block(host: Host, width: int, ascii: bool) -> list[Content]:
    cores = f"of {host.cores} cores" if host.cores else ""
    load = "load " + (" ".join(f"{each:.1f}" for each in host.load) if host.load else "N/A")
    cpu = None if host.cpu is None else host.cpu / 100
    memory = _share(host.memory_used, host.memory_total)
    disk = None
    if host.disk_free is not None and host.disk_total:
        disk = 1 - host.disk_free / host.disk_total
    memory_said = _of(host.memory_used, host.memory_total)
    limited = " (the container's limit)" if host.memory_is_limited else ""
    lines = [
        Content.styled("Host", "bold"),
        _measure("CPU", cpu, f"{_number(host.cpu, '%')} {cores}".rstrip(), width, ascii),
        _measure("RAM", memory, memory_said + limited, width, ascii),
        _measure("disk", disk, _free(host), width, ascii),
    ]
    if host.swap_total:
        swap = _share(host.swap_used, host.swap_total)
        lines.insert(3, _measure("swap", swap, _of(host.swap_used, host.swap_total), width, ascii))
    return [*lines, Content.styled(f"  {load}", MUTED)]


def _no_gpu(hardware: Hardware) -> str:
    return f"no NVIDIA GPU: {steady(hardware.no_gpu) or 'nobody says why'}"


# --- numbers -------------------------------------------------------------------------------------


def _number(value: float | None, unit: str) -> str:
    return f"N/A {unit}" if value is None else f"{value:.0f} {unit}"


def _share(used: int | None, total: int | None) -> float | None:
    return used / total if used is not None and total else None


def _of(used: int | None, total: int | None) -> str:
    """Used of total, in GiB."""
    if used is None and total is None:
        return "N/A GiB"
    return f"{_gib(used)}/{_gib(total).removesuffix('.0')} GiB"


def _gib(size: int | None) -> str:
    if size is None:
        return "N/A"
    value = size / GIB
    return f"{value:.0f}" if value >= 99.5 or not size else f"{value:.1f}"


def _power(device: Device) -> str:
    limit = "" if device.power_limit is None else f"/{device.power_limit:.0f}"
    return "N/A W" if device.power is None else f"{device.power:.0f}{limit} W"


def _size(size: int | None) -> str:
    return "N/A" if size is None else human_bytes(size)


def _free(host: Host) -> str:
    return "N/A" if host.disk_free is None else f"{human_bytes(host.disk_free)} free"


def _cut(line: Content, width: int) -> Content:
    return line.truncate(max(0, width), ellipsis=True)
