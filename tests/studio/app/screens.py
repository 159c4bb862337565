"""The studio driven without a terminal, and what it shows as text."""

import asyncio
import html
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from textual.pilot import Pilot

from gptcore.workspace import Workspace
from gptstudio.app.studio import Studio

T = TypeVar("T")
StudioPilot = Pilot[None]

#: Width of a cell in an exported picture.
_CELL = 12.2
_TEXT = re.compile(
    r'<text class="[^"]*" x="([\d.]+)" y="[\d.]+" textLength="[\d.]+"'
    r' clip-path="url\(#[^)]*line-(\d+)\)">([^<]*)</text>'
)


def drive(
    workspace: Workspace,
    script: Callable[[Studio, StudioPilot], Awaitable[T]],
    *,
    size: tuple[int, int] = (120, 40),
    readonly: bool = False,
    ascii_only: bool = False,
) -> T:
    """Open the studio on `workspace` and let `script` use it; what the script returns."""

    async def run() -> T:
        studio = Studio(workspace, readonly=readonly, ascii_only=ascii_only)
        async with studio.run_test(size=size, notifications=True) as pilot:
            await until(pilot, lambda: studio.state.heard_runs)
            return await script(studio, pilot)

    return asyncio.run(run())


async def until(pilot: StudioPilot, ask: Callable[[], object], timeout: float = 15.0) -> None:
    """Let the studio go on until `ask` says yes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not ask():
        if loop.time() > deadline:
            raise AssertionError(f"nothing came of it in {timeout} s\n{shown(pilot.app)}")
        await pilot.pause(0.02)


def shown(app: "Studio | object") -> str:
    """The screen as text, from the picture that the app itself exports."""
    assert isinstance(app, Studio)
    width, height = app.size
    rows = [[" "] * width for _ in range(height)]
    for x, row, text in _TEXT.findall(app.export_screenshot()):
        column = round(float(x) / _CELL)
        for character in html.unescape(text).replace("\xa0", " "):
            if column < width:
                rows[int(row)][column] = character
            column += 1
    return "\n".join("".join(row).rstrip() for row in rows)
