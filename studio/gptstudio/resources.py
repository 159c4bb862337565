"""What ships with the studio: starter data and profiles, in a wheel and in a checkout."""

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).parent


def shipped(kind: Literal["profiles", "datasets"]) -> Path:
    """The folder of what ships of that kind; it may be missing from a broken installation."""
    packed = _PACKAGE / "shipped" / kind
    return packed if packed.is_dir() else _PACKAGE.parents[1] / kind
