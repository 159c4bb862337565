"""The tools that a model may call: what they answer, and that nothing upsets them."""

import math
import re
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gptcore.formats.checks import CallChecker
from gptcore.formats.problems import RowError
from gptcore.formats.records import Conversation, Message, ToolCall, arguments_text
from gptcore.tools import LONGEST_ARGUMENT, SAFE_TOOLS, run_tool

Row = dict[str, Any]

#: Characters of a result, whatever the call.
LONGEST_RESULT = 200
UNITS = ("km", "miles", "cm", "hours", "weeks", "kg", "ounces", "cups", "parsecs")


def run(name: str, arguments: Row) -> str:
    return run_tool(ToolCall(name, arguments))


# results


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("calculator", {"expression": "412 + 86"}, "498"),
        ("calculator", {"expression": "7*8"}, "56"),
        ("calculator", {"expression": "2 + 3 * 4"}, "14"),
        ("calculator", {"expression": "2 * 3 + 4"}, "10"),
        ("calculator", {"expression": "9 - 3 - 2"}, "4"),
        ("calculator", {"expression": "3 - 9"}, "-6"),
        ("weather", {"city": "Oslo"}, "storms, 35 C"),
        ("clock", {"city": "Oslo"}, "08:19"),
        ("convert", {"value": 12, "from": "km", "to": "miles"}, "7.5 miles"),
        ("convert", {"value": 2.5, "from": "hours", "to": "minutes"}, "150 minutes"),
        ("convert", {"value": 1, "from": "minutes", "to": "weeks"}, "0.000099 weeks"),
        ("convert", {"value": 0, "from": "kg", "to": "pounds"}, "0 pounds"),
        ("convert", {"value": -40, "from": "feet", "to": "inches"}, "-480 inches"),
        ("look_up", {"topic": "capital of Peru"}, "Lima"),
        ("look_up", {"topic": "atomic number of gold"}, "79"),
        ("look_up", {"topic": "capital of gold"}, "not found"),
        ("look_up", {"topic": "author of My Old Hat"}, "not found"),
        ("look_up", {"topic": "anything"}, "not found"),
    ],
)
def test_results(name: str, arguments: Row, result: str) -> None:
    assert run(name, arguments) == result


def test_weather_and_clock_know_any_city() -> None:
    for city in ("Oslo", "oslo", "Nowhere at all", "Zürich", "\ud800"):
        assert re.fullmatch(r"[a-z ]+, [0-9]+ C", run("weather", {"city": city}))
        assert re.fullmatch(r"[0-2][0-9]:[0-5][0-9]", run("clock", {"city": city}))
    assert len({run("clock", {"city": f"city {n}"}) for n in range(50)}) > 40


# what cannot be run


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("no_such_tool", {}, "no tool is called no_such_tool"),
        ("weather", {}, "city is missing"),
        ("weather", {"city": "Oslo", "day": "today"}, "weather takes no day"),
        ("weather", {"city": 5}, "city must be a string"),
        ("weather", {"city": None}, "city must be a string"),
        ("weather", {"city": ["Oslo"]}, "city must be a string"),
        ("weather", {"city": b"Oslo"}, "city must be a string"),
        ("convert", {"value": "5", "from": "km", "to": "miles"}, "value must be a number"),
        ("convert", {"value": True, "from": "km", "to": "miles"}, "value must be a number"),
        ("convert", {"value": math.nan, "from": "km", "to": "miles"}, "value must be a number"),
        ("convert", {"value": -math.inf, "from": "km", "to": "miles"}, "value must be a number"),
        ("convert", {"value": Decimal(5), "from": "km", "to": "miles"}, "value must be a number"),
        ("convert", {"value": 1e13, "from": "km", "to": "miles"}, "the value is too large"),
        ("convert", {"value": -1e-300, "from": "km", "to": "miles"}, "the value is too small"),
        (
            "convert",
            {"value": 5, "from": "km", "to": "kg"},
            "cannot convert between these units",
        ),
        ("calculator", {"expression": "__import__('os')"}, "cannot work that out"),
        ("calculator", {"expression": "2 ** 9"}, "cannot work that out"),
        ("calculator", {"expression": "9" * 50 + " + 1"}, "cannot work that out"),
        ("calculator", {"expression": "٣ + ٤"}, "cannot work that out"),
        ("calculator", {"expression": ""}, "cannot work that out"),
    ],
)
def test_what_cannot_be_run_is_said(name: str, arguments: Row, result: str) -> None:
    assert run(name, arguments) == f"error: {result}"


@pytest.mark.parametrize("tool", SAFE_TOOLS.values(), ids=SAFE_TOOLS)
def test_a_text_may_have_so_many_characters_and_no_more(tool: Any) -> None:
    types = {name: each["type"] for name, each in tool.parameters["properties"].items()}
    values = {"string": "x" * LONGEST_ARGUMENT, "number": 1}
    arguments = {name: values[kind] for name, kind in types.items()}
    assert "too long" not in run(tool.name, arguments)
    for name in [name for name, kind in types.items() if kind == "string"]:
        result = run(tool.name, {**arguments, name: "x" * (LONGEST_ARGUMENT + 1)})
        assert result == f"error: {name} is too long"


def test_names_that_are_said_again_are_cut_and_made_harmless() -> None:
    for result in (run("x" * 10**6, {}), run("weather", {"city": "Oslo", "x" * 10**6: 1})):
        assert result.startswith("error: ")
        assert result.endswith("xx…")
        assert len(result) <= LONGEST_RESULT
    assert run("weather", {"\ud800\x1b[2J": 1}) == r"error: weather takes no \ud800\x1b[2J"
    longest = "x" * 128
    assert run(longest, {}) == f"error: no tool is called {longest}"


# anything at all

#: With halves of surrogate pairs, which Python's own JSON reader lets through.
strings = st.text(st.characters()) | st.sampled_from(["Oslo", "capital of Peru", "2 + 2", *UNITS])
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 5e-324, -0.0, 1e12])
scalars = st.none() | st.booleans() | numbers | strings
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


@st.composite
def calls(draw: st.DrawFn) -> ToolCall:
    """Calls of every tool: right ones, right ones but for one thing, and wild ones."""
    tool = draw(st.sampled_from(list(SAFE_TOOLS.values())))
    kinds = {"string": strings, "number": numbers}
    properties = tool.parameters["properties"].items()
    arguments: Row = {name: draw(kinds[schema["type"]]) for name, schema in properties}
    arguments |= draw(st.dictionaries(st.sampled_from(list(arguments)) | st.text(), values))
    for name in draw(st.sets(st.sampled_from(list(arguments)))):
        del arguments[name]
    return ToolCall(tool.name, arguments)


@settings(deadline=2000, max_examples=400)
@given(calls() | st.builds(ToolCall, st.text(), st.dictionaries(st.text(), values)))
@example(ToolCall("convert", {"value": 1e-12, "from": "minutes", "to": "weeks"}))
@example(ToolCall("convert", {"value": -1e12, "from": "km", "to": "cm"}))
@example(ToolCall("calculator", {"expression": "999999999 * 999999999 * 999999999"}))
def test_whatever_is_called_gives_a_short_text_that_is_always_the_same(call: ToolCall) -> None:
    result = run_tool(call)
    assert 0 < len(result) <= LONGEST_RESULT
    assert result.encode()
    assert result == run_tool(call)


def can_be_written(call: ToolCall) -> bool:
    """Whether the arguments may stand in a file, which half a surrogate pair may not."""
    return not re.search("[\ud800-\udfff]", arguments_text(call))


@settings(deadline=2000)
@given(calls().filter(can_be_written))
def test_what_breaks_the_schema_is_refused(call: ToolCall) -> None:
    """The checker of data and the tools agree on which calls are possible."""
    tool = SAFE_TOOLS[call.name]
    try:
        record = Conversation((Message("assistant", calls=(call,)),), (tool.record,))
        CallChecker().check(record)
    except RowError:
        assert run_tool(call).startswith("error: ")


@pytest.mark.parametrize(
    "huge",
    ["9" * 10**7, " " * 10**7, "1+" * 10**6, 10**10**6, [[]] * 10**6],
    ids=["digits", "spaces", "sum", "number", "list"],
)
def test_huge_arguments_are_refused_at_once(huge: Any) -> None:
    for tool in SAFE_TOOLS.values():
        arguments = dict.fromkeys(tool.parameters["properties"], huge)
        start = time.perf_counter()
        assert run(tool.name, arguments).startswith("error: ")
        assert run(tool.name, {str(number): huge for number in range(10)}).startswith("error: ")
        assert time.perf_counter() - start < 0.5


# what they are


def test_all_are_safe_and_go_by_their_names() -> None:
    assert list(SAFE_TOOLS) == ["calculator", "weather", "clock", "convert", "look_up"]
    for name, tool in SAFE_TOOLS.items():
        assert tool.name == name
        assert tool.is_safe
        assert tool.description


def test_a_schema_names_each_parameter_with_its_type() -> None:
    assert SAFE_TOOLS["convert"].parameters == {
        "type": "object",
        "properties": {
            "value": {"type": "number"},
            "from": {"type": "string"},
            "to": {"type": "string"},
        },
        "required": ["value", "from", "to"],
    }


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, gptcore.tools\n"
        "heavy = ('torch', 'numpy', 'pydantic', 'jsonschema_rs', 'pyarrow', 'gptstudio')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "[]\n"
