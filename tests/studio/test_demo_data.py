"""The demo's training data: its forms, its parts, its tools."""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptcore.formats.problems import Problem
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import ToolCall, tool_row
from gptcore.tools import SAFE_TOOLS, run_tool
from gptstudio.demo_data import (
    DEMO_TOOLS,
    MAX_TOKENS,
    DemoSizes,
    demo_files,
    rough_tokens,
    write_demo_data,
)

Row = dict[str, Any]
Files = dict[str, list[Row]]

KINDS = ("tools", "conversations", "instructions", "preferences")
ASKS_BACK = {tool.asks_back for tool in DEMO_TOOLS.values()}
SMALL = DemoSizes((60, 20), (20, 5), (20, 5), (30, 10), pages=8)
HANDBOOK = "handbook.txt"


@pytest.fixture(scope="module")
def files() -> Files:
    """The default files of rows, as read back from their lines."""
    return {
        name: [json.loads(line) for line in text.splitlines()]
        for name, text in demo_files().items()
        if name != HANDBOOK
    }


@pytest.fixture(scope="module")
def pages() -> list[str]:
    """The default handbook."""
    return demo_files()[HANDBOOK].split("<|endoftext|>\n")


def said_by_people(row: Row) -> list[str]:
    if "instruction" in row:
        return [f"{row['instruction']}\n{row['input']}"]
    messages = row.get("messages") or row["prompt"]
    return [message["content"] for message in messages if message["role"] == "user"]


def bare(text: str) -> str:
    """The text without capitals, spaces and punctuation, points in numbers aside."""
    return re.sub(r"\.(?![0-9])|[^a-z0-9.+*-]", "", text.lower())


def conversations(files: Files, part: str = "") -> Iterator[tuple[Row, list[Row]]]:
    """Each row that has tools, with its right messages in their order."""
    for kind in ("tools", "preferences"):
        for row in files[f"{kind}-train.jsonl"] * (part != "held-out"):
            yield row, row.get("messages") or [*row["prompt"], *row["chosen"]]
        for row in files[f"{kind}-held-out.jsonl"] * (part != "train"):
            yield row, row.get("messages") or [*row["prompt"], *row["chosen"]]


def calls(messages: list[Row]) -> Iterator[tuple[str, Row]]:
    for message in messages:
        for call in message.get("tool_calls", ()):
            yield call["function"]["name"], json.loads(call["function"]["arguments"])


def parts_of(files: Files, kind: str) -> tuple[list[Row], list[Row]]:
    return files[f"{kind}-train.jsonl"], files[f"{kind}-held-out.jsonl"]


# writing


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    paths = write_demo_data(tmp_path / "new" / "folder", seed=3, sizes=SMALL)
    rows = [f"{kind}-{part}.jsonl" for kind in KINDS for part in ("train", "held-out")]
    assert sorted(path.name for path in paths) == sorted([*rows, HANDBOOK])
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from gptstudio.demo_data import DemoSizes, write_demo_data\n"
        f"write_demo_data(Path(sys.argv[1]), seed=3, sizes={SMALL!r})\n"
    )
    again = tmp_path / "again"
    subprocess.run([sys.executable, "-c", script, str(again)], check=True)
    for path in paths:
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_another_seed_gives_other_rows() -> None:
    first, second = demo_files(seed=1, sizes=SMALL), demo_files(seed=2, sizes=SMALL)
    assert first.keys() == second.keys()
    assert all(first[name] != second[name] for name in first)


def test_files_are_replaced_and_may_be_empty(tmp_path: Path) -> None:
    write_demo_data(tmp_path, sizes=SMALL)
    nothing = DemoSizes((1, 0), (0, 0), (0, 0), (0, 0), pages=0)
    write_demo_data(tmp_path, sizes=nothing)
    lines = {path.name: len(path.read_text().splitlines()) for path in tmp_path.iterdir()}
    assert Counter(lines.values()) == {1: 1, 0: 8}
    assert lines["tools-train.jsonl"] == 1


def test_the_sizes_are_those_asked_for(files: Files, pages: list[str]) -> None:
    sizes = DemoSizes()
    assert len(pages) == sizes.pages
    for kind in KINDS:
        train, held_out = parts_of(files, kind)
        assert (len(train), len(held_out)) == getattr(sizes, kind)


# forms


def check_messages(messages: list[Row], tools: list[Row]) -> None:
    waiting: list[str] = []
    for message in messages:
        assert isinstance(message["content"], str)
        keys = message.keys() - {"role", "content"}
        if message["role"] == "tool":
            assert keys == {"name"}
            assert message["name"] == waiting.pop(0)
            continue
        assert not waiting
        assert message["role"] in ("system", "user", "assistant")
        assert keys <= ({"tool_calls"} if message["role"] == "assistant" else set())
        assert bool(message["content"]) != bool(keys)
        for call in message.get("tool_calls", ()):
            assert call.keys() == {"function"}
            assert call["function"].keys() == {"name", "arguments"}
            waiting.append(call["function"]["name"])
            check_arguments(call["function"], tools)


def check_arguments(function: dict[str, str], tools: list[Row]) -> None:
    (schema,) = (
        tool["function"]["parameters"]
        for tool in tools
        if tool["function"]["name"] == function["name"]
    )
    arguments = json.loads(function["arguments"])
    assert function["arguments"] == json.dumps(arguments)
    assert list(arguments) == list(schema["properties"]) == schema["required"]
    for name, value in arguments.items():
        kind = schema["properties"][name]["type"]
        assert type(value) in {"string": (str,), "number": (int, float)}[kind]


def check_tools(tools: list[Row]) -> None:
    assert 1 <= len(tools) <= 3
    names = [tool["function"]["name"] for tool in tools]
    assert len(set(names)) == len(names)
    for tool in tools:
        assert tool == DEMO_TOOLS[tool["function"]["name"]].schema()
        assert tool.keys() == {"type", "function"}
        assert tool["type"] == "function"
        assert tool["function"].keys() == {"name", "description", "parameters"}
        assert tool["function"]["parameters"]["type"] == "object"


def test_instructions_have_their_form(files: Files) -> None:
    for row in [each for part in parts_of(files, "instructions") for each in part]:
        assert list(row) == ["instruction", "input", "output"]
        assert all(isinstance(value, str) for value in row.values())
        assert row["instruction"]
        assert row["output"]


def test_conversations_have_their_form(files: Files) -> None:
    for row in [each for part in parts_of(files, "conversations") for each in part]:
        assert list(row) == ["messages"]
        check_messages(row["messages"], [])
        roles = [message["role"] for message in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)


def test_tool_rows_have_their_form_and_end_with_an_answer(files: Files) -> None:
    for row in [each for part in parts_of(files, "tools") for each in part]:
        assert list(row) == ["tools", "messages"]
        check_tools(row["tools"])
        check_messages(row["messages"], row["tools"])
        assert row["messages"][-1]["role"] == "assistant"
        assert row["messages"][-1]["content"]


def test_preferences_have_their_form(files: Files) -> None:
    everything = [tool.schema() for tool in DEMO_TOOLS.values()]
    for row in [each for part in parts_of(files, "preferences") for each in part]:
        assert list(row) == ["tools", "prompt", "chosen", "rejected"]
        check_tools(row["tools"])
        check_messages([*row["prompt"], *row["chosen"]], row["tools"])
        check_messages([*row["prompt"], *row["rejected"]], everything)
        assert row["prompt"][-1]["role"] in ("user", "tool")
        for side in ("chosen", "rejected"):
            assert [message["role"] for message in row[side]] == ["assistant"]
        assert row["chosen"] != row["rejected"]


def test_no_row_is_too_long(files: Files) -> None:
    for rows in files.values():
        assert max(map(rough_tokens, rows)) <= MAX_TOKENS
        assert max(len(json.dumps(row)) for row in rows) < 2500


# parts


def test_no_text_of_a_person_stands_in_both_parts(files: Files) -> None:
    texts: dict[str, set[str]] = {"train": set(), "held-out": set()}
    for name, rows in files.items():
        part = "train" if name.endswith("-train.jsonl") else "held-out"
        texts[part].update(bare(text) for row in rows for text in said_by_people(row))
    assert len(texts["held-out"]) > 400
    assert not texts["train"] & texts["held-out"]


def test_no_row_stands_twice(files: Files) -> None:
    """Nor does an instruction say what a conversation says."""
    met: Counter[str] = Counter()
    for rows in files.values():
        for row in rows:
            if "instruction" in row:
                text = f"{row['instruction']} {row['input']}".strip()
                pairs = [("user", text), ("assistant", row["output"])]
                messages = [{"role": role, "content": content} for role, content in pairs]
                row = {"messages": messages}
            met[json.dumps(row)] += 1
    assert set(met.values()) == {1}


@pytest.mark.parametrize("seed", [0, 7])
def test_the_reader_finds_nothing_wrong(tmp_path: Path, seed: int) -> None:
    for path in write_demo_data(tmp_path, seed=seed):
        if path.suffix == ".jsonl":
            wrong = [each for each in RecordReader(path) if isinstance(each, Problem)]
            assert not wrong


def test_the_handbook_holds_nothing_that_is_held_out(files: Files, pages: list[str]) -> None:
    lines = {bare(line) for page in pages for line in page.splitlines()}
    for kind in KINDS:
        _, rows = parts_of(files, kind)
        assert not lines & {bare(text) for row in rows for text in said_by_people(row)}
    held_out = {
        f"{name}({json.dumps(arguments)})"
        for _, messages in conversations(files, "held-out")
        for name, arguments in calls(messages)
    }
    assert len(held_out) > 200
    assert not held_out & {line for page in pages for line in page.splitlines()}


def test_the_handbooks_weather_is_another_every_day_and_answers_say_it(pages: list[str]) -> None:
    asked = re.compile(
        r'weather\(\{"city": "([^"]+)"\}\)\nweather: (.+)\nThe weather in \1: (.+)\.'
    )
    found = [match.groups() for page in pages for match in asked.finditer(page)]
    assert len(found) > 500
    assert all(result == said for _, result, said in found)
    assert len({result for city, result, _ in found if city == found[0][0]}) > 3


def test_a_list_of_the_handbook_is_said_again_in_json(pages: list[str]) -> None:
    lists = [each.split("\n") for each in pages[0].strip().split("\n\n")]
    assert all(", ".join(json.loads(again)) == words for words, again in lists)


def test_held_out_questions_differ(files: Files) -> None:
    for kind in KINDS:
        _, rows = parts_of(files, kind)
        assert len({"|".join(map(bare, said_by_people(row))) for row in rows}) == len(rows)


def asked(files: Files, part: str) -> dict[str, set[str]]:
    """What calls ask for: sums and conversions whichever way round, cities, topics."""
    found: dict[str, set[str]] = defaultdict(set)
    for _, messages in conversations(files, part):
        for name, arguments in calls(messages):
            words = " ".join(map(str, arguments.values()))
            turnable = name in ("calculator", "convert")
            found[name].add(" ".join(sorted(words.split())) if turnable else words)
    return found


def test_no_call_is_asked_for_in_both_parts(files: Files) -> None:
    train, held_out = asked(files, "train"), asked(files, "held-out")
    for name in DEMO_TOOLS:
        assert len(held_out[name]) >= 10
        assert not train[name] & held_out[name]


def test_the_words_of_held_out_calls_are_met_in_training(files: Files) -> None:
    train, held_out = asked(files, "train"), asked(files, "held-out")
    assert held_out["weather"] <= train["clock"]
    assert held_out["clock"] <= train["weather"]
    for place in (0, 2):  # kinds of fact, things
        known = {topic.partition(" of ")[place] for topic in train["look_up"]}
        assert {topic.partition(" of ")[place] for topic in held_out["look_up"]} <= known


# tools


def test_the_demos_tools_are_those_that_can_be_run() -> None:
    schemas = {name: tool.schema() for name, tool in DEMO_TOOLS.items()}
    assert schemas == {name: tool_row(tool.record) for name, tool in SAFE_TOOLS.items()}


def test_recorded_results_are_what_the_tools_say(files: Files) -> None:
    results = 0
    for _, messages in conversations(files):
        made: list[tuple[str, Row]] = []
        for message in messages:
            made.extend(calls([message]))
            if message["role"] == "tool":
                name, arguments = made.pop(0)
                assert message["content"] == run_tool(ToolCall(name, arguments))
                assert not message["content"].startswith("error")
                results += 1
    assert results > 6000


def test_answers_say_the_results_again(files: Files) -> None:
    for _, messages in conversations(files):
        results: list[str] = []
        for message in messages:
            if message["role"] == "tool":
                results.append(message["content"])
            elif results and message["role"] == "assistant":
                assert all(result in message["content"] for result in results)
                results = []


def test_arguments_are_said_by_the_person(files: Files) -> None:
    """Nothing has to be worked out: each word of an argument was said, or is the sign for it."""
    for _, messages in conversations(files):
        said = ""
        for message in messages:
            if message["role"] == "user":
                said += " " + message["content"]
            for _, arguments in calls([message]):
                for word in " ".join(map(str, arguments.values())).split():
                    spoken = {"+": "plus", "-": "minus", "*": "times"}.get(word, word)
                    assert word in said or spoken in said or word == "of"  # "And of Chile?"


def test_the_mix_of_tool_rows(files: Files) -> None:
    for rows in parts_of(files, "tools"):
        shares: Counter[str] = Counter()
        for row in rows:
            made = [len(message.get("tool_calls", ())) for message in row["messages"]]
            turns = len(said_by_people(row))
            shares["two at once"] += max(made) == 2
            shares["several turns"] += turns > 1
            shares["calls in several turns"] += sum(map(bool, made)) > 1
            shares["no call"] += not any(made)
            shares["refused"] += "have no tool" in row["messages"][-1]["content"]
            shares["asked back"] += any(
                message["content"] in ASKS_BACK for message in row["messages"]
            )
        share = {name: count / len(rows) for name, count in shares.items()}
        assert 0.14 < share["two at once"] < 0.25
        assert 0.20 < share["several turns"] < 0.36
        assert 0.12 < share["calls in several turns"] < 0.26
        assert 0.16 < share["no call"] < 0.30
        assert 0.10 < share["refused"] < 0.21
        assert 0.02 < share["asked back"] < 0.10


def test_every_tool_is_called_about_equally_often(files: Files) -> None:
    counts = Counter(
        name for row in files["tools-train.jsonl"] for name, _ in calls(row["messages"])
    )
    assert counts.keys() == DEMO_TOOLS.keys()
    assert min(counts.values()) > 0.15 * counts.total()


def test_questions_are_asked_in_many_ways(files: Files) -> None:
    ways: dict[str, set[str]] = defaultdict(set)
    texts: set[str] = set()
    rows = files["tools-train.jsonl"]
    for row in rows:
        texts.add("|".join(said_by_people(row)))
        made = list(calls(row["messages"]))
        if len(made) == 1 and len(said_by_people(row)) == 1:
            (name, arguments), (text,) = made[0], said_by_people(row)
            for value in arguments.values():
                for word in str(value).split():
                    text = text.replace(word, "_")
            ways[name].add(bare(text))
    assert all(len(ways[name]) >= 40 for name in DEMO_TOOLS)
    assert len(texts) > 0.8 * len(rows)


def test_what_was_rejected(files: Files) -> None:
    """Mistakes of every sort, among them each that a reward must tell from the right call."""
    sorts: Counter[str] = Counter()
    for row in files["preferences-train.jsonl"]:
        right, wrong = list(calls(row["chosen"])), list(calls(row["rejected"]))
        if row["prompt"][-1]["role"] == "tool":
            sorts["result ignored"] += 1
            result = row["prompt"][-1]["content"]
            assert result in row["chosen"][0]["content"]
        elif right and not wrong:
            sorts["no call"] += 1
        elif wrong and not right:
            sorts["needless call"] += 1
        elif len(right) > len(wrong):
            sorts["one of two"] += 1
        elif right[0][0] != wrong[0][0]:
            sorts["wrong function"] += 1
        else:
            sorts["wrong argument"] += 1
            assert right[0][1] != wrong[0][1]
    assert sorts.keys() == {
        "result ignored",
        "no call",
        "needless call",
        "one of two",
        "wrong function",
        "wrong argument",
    }
    assert min(sorts.values()) > 0.05 * sorts.total()


def test_nothing_heavy_is_imported() -> None:
    script = (
        "import sys, gptstudio.demo_data\n"
        "print([name for name in ('torch', 'numpy', 'textual', 'pydantic') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout == "[]\n"
