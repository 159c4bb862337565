"""What is decided before Textual is imported: it reads its settings then, once."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

#: Over a connection every frame costs bytes: fewer of them, and nothing that slides.
OVER_SSH = {"TEXTUAL_FPS": "15", "TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}


def prepare_textual(environment: MutableMapping[str, str]) -> None:
    """Set what suits a slow connection, unless the person chose otherwise."""
    if any(environment.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        for name, value in OVER_SSH.items():
            environment.setdefault(name, value)
    # Nothing here slides anyway.
    environment.setdefault("TEXTUAL_ANIMATIONS", "none")


def wants_ascii(environment: Mapping[str, str]) -> bool:
    """Whether the locale says that the terminal does not take UTF-8, by POSIX's order of names."""
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    locale = next((value for name in names if (value := environment.get(name))), "C")
    return "utf-8" not in locale.lower() and "utf8" not in locale.lower()


def first_environment() -> dict[str, str]:
    """The environment this process was started with; Python sets LC_CTYPE in the C locale."""
    try:
        raw = Path("/proc/self/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    pairs = (entry.partition(b"=") for entry in raw.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
