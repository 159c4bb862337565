"""Opens the studio on a terminal."""

import gc
import os

from gptcore.workspace import Workspace
from gptstudio.app.environment import first_environment, prepare_textual, wants_ascii


def open_studio(workspace: Workspace, *, readonly: bool, ascii_only: bool | None) -> int:
    """Run the studio until the person leaves; runs go on.

    Args:
        workspace: What it shows.
        readonly: Whether it only looks on.
        ascii_only: Whether to draw with ASCII alone; None: as the locale says.

    Returns:
        The exit status.
    """
    prepare_textual(os.environ)
    gc.disable()  # while a thousand modules come, there is nothing to collect
    from gptstudio.app.studio import Studio

    if ascii_only is None:
        ascii_only = wants_ascii(first_environment())
    studio = Studio(workspace, readonly=readonly, ascii_only=ascii_only)
    studio.run()
    return studio.return_code or 0
