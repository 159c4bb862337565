"""Conversations in which tools are called, or rightly not."""

from collections.abc import Callable, Sequence
from random import Random

from gptstudio.demo_data.base import Call, DemoTool, Message, Row
from gptstudio.demo_data.messages import assistant, calling, told, user
from gptstudio.demo_data.parts import Part, capital, dress
from gptstudio.demo_data.talk import GREETINGS, THANKS, say, small_talk
from gptstudio.demo_data.tools import DEMO_TOOLS

TOOLS = tuple(DEMO_TOOLS.values())
#: How often each is called in training: more often where there is more to copy.
_SHARES = {"calculator": 5, "weather": 3, "clock": 3, "convert": 6, "look_up": 4}

_SYSTEM = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "Use the tools where they help.",
    "You answer short questions.",
)
_JOINTS = (", and ", " and ", "? And ", "? Also, ", ", then ")
_NO_TOOL = (
    "I have no tool for {purpose}.",
    "Sorry, I have no tool for {purpose}.",
    "I cannot do that: I have no tool for {purpose}.",
)


def tool_row(rng: Random, part: Part) -> Row:
    """One line of a tools file: tools offered, and a conversation that `part` owns."""
    kinds, weights = zip(*_KINDS, strict=True)
    messages, needed, missing = rng.choices(kinds, weights)[0](rng, part)
    if rng.random() < 0.2:
        messages.insert(0, {"role": "system", "content": rng.choice(_SYSTEM)})
    return {"tools": offer(rng, needed, missing), "messages": messages}


def offer(rng: Random, needed: Sequence[DemoTool], missing: Sequence[DemoTool] = ()) -> list[Row]:
    """The schemas of one to three tools in any order: all that are needed, none that is missing."""
    tools = list(dict.fromkeys(needed))
    others = [tool for tool in TOOLS if tool not in tools and tool not in missing]
    more = rng.choice((1, 2, 2, 3, 3)) - len(tools)
    tools += rng.sample(others, max(more, 0 if tools else 1))
    rng.shuffle(tools)
    return [tool.schema() for tool in tools]


def draw_call(rng: Random, part: Part) -> Call:
    """A call of any tool that `part` owns."""
    shares = [_SHARES[tool.name] if part == "train" else 1 for tool in TOOLS]
    [tool] = rng.choices(TOOLS, shares)
    return Call(tool, tool.draw(rng, part))


def next_call(rng: Random, part: Part, before: Call) -> Call:
    """A call of the same tool that a follow-up can ask for."""
    return Call(before.tool, before.tool.draw_next(rng, part, before.arguments))


def ask_both(rng: Random, part: Part) -> tuple[str, Call, Call]:
    """A question that calls for two calls at once, and these."""
    first = draw_call(rng, part)
    question = first.tool.fill(rng, first.tool.clauses, first.arguments)
    if rng.random() < 0.4:
        second = next_call(rng, part, first)
        tail = second.tool.fill(rng, second.tool.tails, second.arguments)
        return dress(rng, f"{question} and {tail}?"), first, second
    while (second := draw_call(rng, part)).tool is first.tool:
        pass
    other = second.tool.fill(rng, second.tool.clauses, second.arguments)
    return dress(rng, f"{question}{rng.choice(_JOINTS)}{other}?"), first, second


def no_tool(rng: Random, tool: DemoTool) -> str:
    """An answer where the right tool is not among those offered."""
    return rng.choice(_NO_TOOL).format(purpose=tool.purpose)


def exchange(question: str, *calls: Call) -> list[Message]:
    """A question, its calls, what the tools say, and the answer."""
    answers = " ".join(call.answer for call in calls)
    return [user(question), calling(*calls), *map(told, calls), assistant(answers)]


#: Messages, the tools that they need, and those that must not be offered.
_Talk = tuple[list[Message], list[DemoTool], list[DemoTool]]


def _one_call(rng: Random, part: Part) -> _Talk:
    call = draw_call(rng, part)
    question = call.tool.question(rng, call.arguments)
    return exchange(question, call), [call.tool], []


def _two_calls(rng: Random, part: Part) -> _Talk:
    question, first, second = ask_both(rng, part)
    return exchange(question, first, second), [first.tool, second.tool], []


def _follow_up(rng: Random, part: Part) -> _Talk:
    """The same again with another value, once or twice."""
    call = draw_call(rng, part)
    messages = exchange(call.tool.question(rng, call.arguments), call)
    for _ in range(rng.choice((1, 1, 1, 2))):
        call = next_call(rng, part, call)
        again = call.tool.fill(rng, call.tool.follow_ups, call.arguments)
        messages += exchange(dress(rng, again, opener=False), call)
    return messages, [call.tool], []


def _another_question(rng: Random, part: Part) -> _Talk:
    """Two questions for different tools, one after the other."""
    first = draw_call(rng, part)
    while (second := draw_call(rng, part)).tool is first.tool:
        pass
    messages = exchange(first.tool.question(rng, first.arguments), first)
    messages += exchange(second.tool.question(rng, second.arguments), second)
    return messages, [first.tool, second.tool], []


def _asked_back(rng: Random, part: Part) -> _Talk:
    """A question without its value; the assistant asks, and calls once it knows."""
    call = draw_call(rng, part)
    reply = call.tool.fill(rng, call.tool.replies, call.arguments)
    messages = [user(call.tool.vague_question(rng, part)), assistant(call.tool.asks_back)]
    messages += exchange(capital(reply) if rng.random() < 0.5 else reply, call)
    return messages, [call.tool], []


def _with_manners(rng: Random, part: Part) -> _Talk:
    """A call with a greeting before it, or thanks after it."""
    messages, needed, missing = _one_call(rng, part)
    greets = rng.random() < 0.5
    said, answer = say(rng, GREETINGS if greets else THANKS, part)
    manners = [user(said), assistant(answer)]
    return (manners + messages if greets else messages + manners), needed, missing


def _not_offered(rng: Random, part: Part) -> _Talk:
    """A question for a tool that is not there."""
    call = draw_call(rng, part)
    question = call.tool.question(rng, call.arguments)
    return [user(question), assistant(no_tool(rng, call.tool))], [], [call.tool]


def _nothing_to_call(rng: Random, part: Part) -> _Talk:
    """Small talk, with tools at hand."""
    said, answer = small_talk(rng, part)
    return [user(said), assistant(answer)], [], []


_KINDS: tuple[tuple[Callable[[Random, Part], _Talk], int], ...] = (
    (_one_call, 31),
    (_two_calls, 19),
    (_follow_up, 11),
    (_another_question, 6),
    (_asked_back, 6),
    (_with_manners, 4),
    (_not_offered, 16),
    (_nothing_to_call, 8),
)
