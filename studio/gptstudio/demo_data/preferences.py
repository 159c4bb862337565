"""Preferences: the right next message of the assistant, and a plausible mistake."""

from collections.abc import Callable
from random import Random

from gptstudio.demo_data.base import Arguments, Call, DemoTool, Row
from gptstudio.demo_data.cities import CITIES
from gptstudio.demo_data.messages import assistant, calling, told, user
from gptstudio.demo_data.parts import Part, dress
from gptstudio.demo_data.talk import small_talk
from gptstudio.demo_data.tool_rows import (
    ask_both,
    draw_call,
    exchange,
    next_call,
    no_tool,
    offer,
)
from gptstudio.demo_data.tools import DEMO_TOOLS

_SHRUGS = (
    "I do not know.",
    "I cannot tell you that.",
    "Sorry, I have no idea.",
    "Please look it up.",
)


def preference_row(rng: Random, part: Part) -> Row:
    """One line of a preferences file."""
    mistakes, weights = zip(*_MISTAKES, strict=True)
    row: Row = rng.choices(mistakes, weights)[0](rng, part)
    return row


def _row(tools: list[Row], prompt: list[Row], chosen: Row, rejected: Row) -> Row:
    return {"tools": tools, "prompt": prompt, "chosen": [chosen], "rejected": [rejected]}


def _wrong_function(rng: Random, part: Part) -> Row:
    """Another of the tools at hand is called with what was asked about."""
    call = draw_call(rng, part)
    wrong = _misplaced(rng, call)
    prompt = [user(call.tool.question(rng, call.arguments))]
    return _row(offer(rng, [call.tool, wrong.tool]), prompt, calling(call), calling(wrong))


def _misplaced(rng: Random, call: Call) -> Call:
    """What was asked about, given to a tool that takes one text and is not meant."""
    if call.tool.name == "convert":
        about = "{value} {from}".format_map(call.arguments)
    else:
        about = str(next(iter(call.arguments.values()))).rpartition(" of ")[2]
    takers = {"weather": ("clock", "look_up"), "clock": ("weather", "look_up")}
    takers |= {"look_up": ("weather", "clock"), "convert": ("calculator", "look_up")}
    tool = DEMO_TOOLS[rng.choice(takers.get(call.tool.name, ("look_up",)))]
    arguments: Arguments = {next(iter(tool.built_in.parameters["properties"])): about}
    return Call(tool, arguments)


def _wrong_argument(rng: Random, part: Part) -> Row:
    """The right tool, and not what was asked about."""
    call = draw_call(rng, part)
    prompt = [user(call.tool.question(rng, call.arguments))]
    return _row(offer(rng, [call.tool]), prompt, calling(call), calling(_mistaken(rng, call)))


def _mistaken(rng: Random, call: Call) -> Call:
    return Call(call.tool, call.tool.mistaken(rng, call.arguments))


def _stale_argument(rng: Random, part: Part) -> Row:
    """In a follow-up the first call is made once more."""
    first = draw_call(rng, part)
    second = next_call(rng, part, first)
    prompt = exchange(first.tool.question(rng, first.arguments), first)
    again = second.tool.fill(rng, second.tool.follow_ups, second.arguments)
    prompt.append(user(dress(rng, again, opener=False)))
    return _row(offer(rng, [first.tool]), prompt, calling(second), calling(first))


def _one_of_two(rng: Random, part: Part) -> Row:
    """Two things were asked, and one is called for."""
    question, first, second = ask_both(rng, part)
    tools = offer(rng, [first.tool, second.tool])
    half = calling(rng.choice((first, second)))
    return _row(tools, [user(question)], calling(first, second), half)


def _needless_call(rng: Random, part: Part) -> Row:
    """Small talk is taken for a question."""
    said, answer = small_talk(rng, part)
    needless = draw_call(rng, "train")
    for city in CITIES:
        if city in said:
            needless = Call(DEMO_TOOLS[rng.choice(("weather", "clock"))], {"city": city})
    return _row(offer(rng, [needless.tool]), [user(said)], assistant(answer), calling(needless))


def _call_of_nothing(rng: Random, part: Part) -> Row:
    """The right tool is not offered, and another is called in its place."""
    call = draw_call(rng, part)
    wrong = _misplaced(rng, call)
    prompt = [user(call.tool.question(rng, call.arguments))]
    chosen = assistant(no_tool(rng, call.tool))
    return _row(offer(rng, [wrong.tool], [call.tool]), prompt, chosen, calling(wrong))


def _no_call(rng: Random, part: Part) -> Row:
    """The answer is guessed, or refused, where a tool would know it."""
    call = draw_call(rng, part)
    prompt = [user(call.tool.question(rng, call.arguments))]
    instead = _guess(rng, call) if rng.random() < 0.6 else _refusal(rng, call.tool)
    return _row(offer(rng, [call.tool]), prompt, calling(call), assistant(instead))


def _refusal(rng: Random, tool: DemoTool) -> str:
    return no_tool(rng, tool) if rng.random() < 0.5 else rng.choice(_SHRUGS)


def _guess(rng: Random, call: Call) -> str:
    """An answer to the call with another result."""
    while (result := _mistaken(rng, call).result) == call.result:
        pass
    return call.tool.answer(call.arguments, result)


def _ignored_result(rng: Random, part: Part) -> Row:
    """The tool has answered, and the assistant says something else."""
    call = draw_call(rng, part)
    prompt = [user(call.tool.question(rng, call.arguments)), calling(call), told(call)]
    instead = _guess(rng, call) if rng.random() < 0.7 else rng.choice(_SHRUGS)
    return _row(offer(rng, [call.tool]), prompt, assistant(call.answer), assistant(instead))


_MISTAKES: tuple[tuple[Callable[[Random, Part], Row], int], ...] = (
    (_wrong_function, 20),
    (_wrong_argument, 22),
    (_stale_argument, 6),
    (_one_of_two, 8),
    (_needless_call, 10),
    (_call_of_nothing, 8),
    (_no_call, 12),
    (_ignored_result, 14),
)
