"""The studio's own requirements against what is installed."""

import re
from importlib import metadata

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(;.*)?$")
_BOUND = re.compile(r"^\s*(>=|<)\s*([0-9.]+)\s*$")


def unmet_requirements(distribution: str = "gptstudio") -> list[str]:
    """What the installed distribution asks for and does not find, a phrase each.

    Only plain bounds (`>=`, `<`) are looked at, and no extras: those are the engine's.
    """
    try:
        asked = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return [f"{distribution} is not installed as a package"]
    unmet = []
    for requirement in asked:
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra" in (match[3] or ""):
            continue
        name, bounds = match[1], match[2].strip()
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            unmet.append(f"{name} is missing")
            continue
        if not satisfies(version, bounds):
            unmet.append(f"{name} is {version}, wanted {bounds}")
    return unmet


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version lies within bounds such as ``>=2.9,<3``."""
    own = _numbers(version)
    for bound in filter(None, bounds.split(",")):
        match = _BOUND.match(bound)
        if match is None:
            continue
        limit = _numbers(match[2])
        if (own < limit) if match[1] == ">=" else (own >= limit):
            return False
    return True


def _numbers(version: str) -> list[int]:
    numbers = [int(part) for part in re.findall(r"\d+", version.split("+")[0])]
    while numbers and numbers[-1] == 0:  # 9 is 9.0
        numbers.pop()
    return numbers
