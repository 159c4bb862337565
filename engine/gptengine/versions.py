"""Versions of the libraries at work, for the lineage."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "gptstudio",
    "torch",
    "tokenizers",
    "gigatoken",
    "transformers",
    "safetensors",
    "peft",
    "trl",
    "unsloth",
)


def versions() -> dict[str, str]:
    """Name to version of Python and of the engine's libraries, those that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
