"""What is left of a fault in the studio itself: a sentence for the person, the rest in a file."""

import tempfile
import traceback
from pathlib import Path


def crash_report(error: BaseException, folder: Path) -> str:
    """Write down where a fault happened; what to tell the person, harmless.

    Args:
        error: What nobody has caught.
        folder: Where to leave the file; where that cannot be written, the system's own will do.
    """
    text = "".join(traceback.format_exception(error))
    place = ""
    for candidate in (folder, Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix="gptstudio-crash-", suffix=".txt", dir=candidate, delete=False
            ) as file:
                file.write(text)
        except OSError:
            continue
        place = file.name
        break
    where = f"\n  where it happened: {place}" if place else f"\n{text}"
    return (
        f"the studio has a fault and had to close: {type(error).__name__}: {error}{where}"
        "\n  runs are not touched by it; gptstudio opens again"
    )
