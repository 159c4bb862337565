"""The console script: ``gptstudio`` alone opens the studio, with words behind it a command."""

import contextlib
import io
import os
import sys
from pathlib import Path

from gptcore.errors import UserError
from gptcore.workspace import Workspace


def main() -> None:
    """Run what the command line asks for."""
    # Started with a closed output, as `>&-` does, Python has none at all.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - open until the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - open until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 is no error
            stream.reconfigure(errors="backslashreplace")
    if len(sys.argv) == 1 and on_a_terminal() and (place := _workspace()):
        sys.exit(open_or_print(place))  # most often, and so without the commands' library
    from gptstudio.command_line import app

    try:
        app(prog_name="gptstudio")
    finally:
        with contextlib.suppress(ValueError):  # closed
            try:
                sys.stdout.flush()
            except OSError:  # a pipe or a terminal that is gone
                from gptstudio.failures import drop_output

                drop_output()


def open_or_print(
    workspace: Workspace, *, readonly: bool = False, ascii_only: bool | None = None
) -> int:
    """Open the studio; where there is no terminal, print what the workspace holds.

    Args:
        workspace: Which one.
        readonly: Whether the studio only looks on.
        ascii_only: Whether it draws with ASCII alone; None: as the locale says.

    Returns:
        The exit status.
    """
    if on_a_terminal():
        from gptstudio.app.launch import open_studio

        return open_studio(workspace, readonly=readonly, ascii_only=ascii_only)
    from gptstudio.overview import overview

    print(overview(workspace))
    return 0


def on_a_terminal() -> bool:
    """Whether there is a terminal that a screen can be drawn on."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _workspace() -> Workspace | None:
    """The workspace here; None where there is none, which the command says in full."""
    try:
        return Workspace.locate()
    except (UserError, OSError):
        return None


if __name__ == "__main__":
    main()
