"""The tools of the demo: what they answer."""

import re
from typing import Any

import pytest

from gptstudio.demo_data import run_demo_tool

Row = dict[str, Any]


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("calculator", {"expression": "412 + 86"}, "498"),
        ("calculator", {"expression": "7*8"}, "56"),
        ("calculator", {"expression": "2 + 3 * 4"}, "14"),
        ("calculator", {"expression": "2 * 3 + 4"}, "10"),
        ("calculator", {"expression": "9 - 3 - 2"}, "4"),
        ("calculator", {"expression": "3 - 9"}, "-6"),
        ("convert", {"value": 12, "from": "km", "to": "miles"}, "7.5 miles"),
        ("convert", {"value": 2.5, "from": "hours", "to": "minutes"}, "150 minutes"),
        ("convert", {"value": 1, "from": "minutes", "to": "weeks"}, "0.000099 weeks"),
        ("convert", {"value": 0, "from": "kg", "to": "pounds"}, "0 pounds"),
        ("look_up", {"topic": "capital of Peru"}, "Lima"),
        ("look_up", {"topic": "atomic number of gold"}, "79"),
        ("look_up", {"topic": "capital of gold"}, "not found"),
        ("look_up", {"topic": "author of My Old Hat"}, "not found"),
        ("look_up", {"topic": "anything"}, "not found"),
    ],
)
def test_results(name: str, arguments: Row, result: str) -> None:
    assert run_demo_tool(name, arguments) == result


@pytest.mark.parametrize(
    ("name", "arguments", "word"),
    [
        ("no_such_tool", {}, "no_such_tool"),
        ("weather", {}, "city is missing"),
        ("weather", {"city": "Oslo", "day": "today"}, "day"),
        ("weather", {"city": 5}, "must be a string"),
        ("convert", {"value": "5", "from": "km", "to": "miles"}, "must be a number"),
        ("convert", {"value": True, "from": "km", "to": "miles"}, "must be a number"),
        ("convert", {"value": float("nan"), "from": "km", "to": "miles"}, "must be a number"),
        ("convert", {"value": 10**400, "from": "km", "to": "miles"}, "too large"),
        ("convert", {"value": 5, "from": "km", "to": "kg"}, "cannot convert"),
        ("calculator", {"expression": "__import__('os')"}, "cannot"),
        ("calculator", {"expression": "2 ** 9"}, "cannot"),
        ("calculator", {"expression": "9" * 50 + " + 1"}, "cannot"),
        ("calculator", {"expression": ""}, "cannot"),
    ],
)
def test_what_cannot_be_run_is_said(name: str, arguments: Row, word: str) -> None:
    result = run_demo_tool(name, arguments)
    assert result.startswith("error: ")
    assert word in result


def test_weather_and_clock_know_any_city() -> None:
    for city in ("Oslo", "oslo", "Nowhere at all", "Zürich", "\ud800"):
        assert re.fullmatch(r"[a-z ]+, [0-9]+ C", run_demo_tool("weather", {"city": city}))
        assert re.fullmatch(r"[0-2][0-9]:[0-5][0-9]", run_demo_tool("clock", {"city": city}))
    assert len({run_demo_tool("clock", {"city": f"city {n}"}) for n in range(50)}) > 40


# variety
