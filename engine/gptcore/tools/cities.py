"""Weather and time in any city: made up from the letters of its name, and always the same."""

from collections.abc import Mapping
from typing import Any
from zlib import crc32

from gptcore.tools.protocol import RunnableTool, object_schema

SKIES = ("sun", "clear sky", "clouds", "light rain", "heavy rain", "fog", "wind", "storms")


def _weather(arguments: Mapping[str, Any]) -> str:
    """Sky and degrees."""
    number = _number("weather", arguments["city"])
    return f"{SKIES[number % len(SKIES)]}, {number // len(SKIES) % 34 + 2} C"


def _time(arguments: Mapping[str, Any]) -> str:
    """Hours and minutes."""
    minutes = _number("clock", arguments["city"]) % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _number(*words: str) -> int:
    """A number that looks like chance and always is the same for the same words."""
    return crc32("|".join(words).casefold().encode("utf-8", "replace"))


WEATHER = RunnableTool(
    name="weather",
    description="Weather in a city.",
    parameters=object_schema({"city": "string"}),
    run=_weather,
    is_safe=True,
)
CLOCK = RunnableTool(
    name="clock",
    description="Time in a city.",
    parameters=object_schema({"city": "string"}),
    run=_time,
    is_safe=True,
)
