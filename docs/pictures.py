"""Draws the README's pictures: the studio on a real run of the demo, exported by the app itself.

    make pictures

Trains the demo's tokenizer and model in a temporary folder, which takes some minutes, and writes
`docs/pictures/*.svg`.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from gptcore.status import LIVE
from gptcore.workspace import Workspace
from gptstudio.app.studio import Studio

PLACE = Path(__file__).parent / "pictures"
SIZE = (120, 36)
#: Steps of the run that the pictures show.
ENOUGH = 230


def main() -> None:
    """Make a workspace, use the studio on it, and keep what it shows."""
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "my-project"
        gptstudio = Path(sys.executable).with_name("gptstudio")
        subprocess.run([gptstudio, "init", root, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        asyncio.run(draw(Workspace(root.resolve())))


async def draw(workspace: Workspace) -> None:
    """Start the demo and walk through the screens."""
    studio = Studio(workspace)
    async with studio.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: studio.state.profile and studio.state.datasets)
        await pilot.press("s")
        await until(pilot, lambda: studio.screen.query("#sheet"))
        await pilot.pause(2.0)
        save(studio, "review")
        await pilot.press("s")
        await until(pilot, lambda: steps(studio) >= ENOUGH)
        save(studio, "train")
        for key, name in (("3", "monitor"), ("2", "data"), ("4", "logs")):
            await pilot.press(key)
            await pilot.pause(2.5)
            if name == "data":
                await pilot.press("j", "j", "j")
                await pilot.pause(1.5)
            save(studio, name)
        status = studio.state.status
        if status is not None and status.state in LIVE:
            studio.actions.kill(status.run)


async def until(pilot: Pilot[None], ask: Callable[[], object]) -> None:
    """Let the studio go on until `ask` says yes."""
    while not ask():
        await pilot.pause(0.2)


def steps(studio: Studio) -> int:
    """Optimiser steps of the run that is shown."""
    status = studio.state.status
    return status.step if status is not None and status.stage == "pretrain" else 0


def save(studio: Studio, name: str) -> None:
    """Write what is on the screen."""
    path = PLACE / f"{name}.svg"
    path.write_text(studio.export_screenshot(title="gptstudio", simplify=True))
    print(f"wrote {path.relative_to(Path.cwd())}", flush=True)


if __name__ == "__main__":
    main()
