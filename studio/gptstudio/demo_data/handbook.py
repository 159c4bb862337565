"""The handbook: raw text for pretraining, in which the tools' words are met and said again.

Pretraining on it does for a small model what years of the web do for a large one: it has seen the
names and the numbers, it has copied them from one line to the next, and it knows what a call looks
like, before the conversations teach it when to call. All of it belongs to the training part.
"""

import json
from random import Random

from gptcore.tools.cities import SKIES
from gptstudio.demo_data.base import Row
from gptstudio.demo_data.tool_rows import draw_call

#: Conversations on a page of them.
PAGE_ROWS = 5
#: Lists on a page of them, and what a list may have.
_PAGE_LISTS = 6
_LIST_ITEMS = (3, 4, 5, 6)


def conversation_page(rng: Random, rows: list[Row]) -> str:
    """Conversations written down without saying who speaks: questions, calls, results, answers.

    Weather and times are those of other days, so that an answer is read off its result.
    """
    return "\n\n".join("\n".join(_lines(rng, row)) for row in rows)


def _lines(rng: Random, row: Row) -> list[str]:
    lines: list[str] = []
    others: dict[str, str] = {}
    for message in row["messages"]:
        if message["role"] == "system":
            continue
        words = message["content"]
        if message["role"] == "tool":
            others[words] = _another_day(rng, message["name"]) or words
            lines.append(f"{message['name']}: {others[words]}")
            continue
        if message["role"] == "assistant":
            for result, other in others.items():
                words = words.replace(result, other)
            others = {}
        if words:
            lines.append(words)
        for call in message.get("tool_calls", ()):
            lines.append(f"{call['function']['name']}({call['function']['arguments']})")
    return lines


def _another_day(rng: Random, tool: str) -> str:
    """A result of a tool that says something else every day; empty for others."""
    if tool == "weather":
        return f"{rng.choice(SKIES)}, {rng.randint(2, 35)} C"
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}" if tool == "clock" else ""


def list_page(rng: Random) -> str:
    """Lists of what the tools are asked about, each in words and again in JSON."""
    lists = []
    for _ in range(_PAGE_LISTS):
        items = [_item(rng) for _ in range(rng.choice(_LIST_ITEMS))]
        lists.append(f"{', '.join(map(str, items))}\n{json.dumps(items)}")
    return "\n\n".join(lists)


def _item(rng: Random) -> str:
    """A city, a topic, a sum, or a value with its unit."""
    arguments = draw_call(rng, "train").arguments
    if "value" in arguments:
        return "{value} {from}".format_map(arguments)
    return str(next(iter(arguments.values())))
