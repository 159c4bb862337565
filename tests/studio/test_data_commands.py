"""The data commands through their front door, on files as people have them, and worse."""

import gzip
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from gptcore.formats.problems import Problem
from gptcore.formats.reading import RecordReader
from gptcore.workspace import Workspace

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

HOSTILE = "wizard\x1b[31m\x9b2J\u202e\u200b[bold red]\nsecond"
TOOLS = [{"name": "get_weather", "parameters": {"properties": {"place": {"type": "string"}}}}]


def asks(question: str, answer: str = "words") -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer}


def calls(place: str, *, says: str = "It is <|end|> cold.") -> dict[str, Any]:
    call = {"function": {"name": "get_weather", "arguments": json.dumps({"place": place})}}
    return {
        "tools": TOOLS,
        "messages": [
            {"role": "user", "content": f"Is it cold in {place}?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "name": "get_weather", "content": "3"},
            {"role": "assistant", "content": says},
        ],
    }


MIXED = [
    asks("one"),
    calls("Oslo"),
    {"conversations": [{"from": "human", "value": HOSTILE}, {"from": "gpt", "value": HOSTILE}]},
    {"messages": [{"role": HOSTILE, "content": "x"}]},
    asks("one"),
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}]},
]
PAIRS = [
    {"prompt": "2+2?", "answer": "4", "level": [1, {"a": None}]},
    {"prompt": "why?", "chosen": "because", "rejected": "no"},
]


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """`datasets/` with good and bad rows in several packings."""
    place = workspace.datasets
    lines = [json.dumps(row) for row in MIXED]
    (place / "mixed.jsonl").write_text("\n".join([*lines[:2], "", "{nonsense", *lines[2:]]))
    (place / "deep").mkdir()
    packed = zstd.compress("\n".join(json.dumps(row) for row in PAIRS).encode())
    (place / "deep/pairs.ndjson.zst").write_bytes(packed)
    (place / "deep/calls.json.gz").write_bytes(gzip.compress(json.dumps([calls("Rome")]).encode()))
    table = pa.Table.from_pylist([{"prompt": "p", "completion": end} for end in ("a", " ")])
    pq.write_table(table, place / "table.parquet")
    (place / "round").symlink_to(".")
    (place / "again.jsonl").symlink_to("mixed.jsonl")
    name = os.fsencode(place) + b"/od\xffd\x1b[31m.jsonl"
    Path(os.fsdecode(name)).write_text(json.dumps(asks("two")))
    (place / "other.csv").write_text("a,b\n")
    return place


def is_harmless(text: str) -> bool:
    return not set(text) & set("\x1b\x9b\u202e\u200b\x07\r")


def records(path: Path) -> list[Any]:
    found = [item for item in RecordReader(path) if not isinstance(item, Problem)]
    # An instruction is a conversation once it is in the normal form.
    return [
        (item.record.tools, getattr(item.record, "reference", None), turns(item.record))
        for item in found
    ]


def turns(record: Any) -> list[Any]:
    names = ("messages", "prompt", "chosen", "rejected")
    return [getattr(record, name) for name in names if hasattr(record, name)]


def test_list_recognises_what_lies_there(cli: Cli, folder: Path) -> None:
    result = cli("data", "list")
    assert result.returncode == 0, result.stderr
    assert is_harmless(result.stdout)
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    shown = {line[0]: line[1] for line in lines}
    assert shown["datasets/a.txt"].startswith("text ")
    assert "instruction 33%, tools 33%, conversation 33%" in shown["datasets/mixed.jsonl"]
    assert "4 of 7 rows bad: line 4: is not JSON" in shown["datasets/mixed.jsonl"]
    assert "prompt 50%, preference 50%" in shown["datasets/deep/pairs.ndjson.zst"]
    assert shown["datasets/od\\xffd\\x1b[31m.jsonl"].startswith("instruction  ")
    assert "datasets/again.jsonl" not in shown  # it is mixed.jsonl
    assert "1 other file" in result.stdout
    one = json.loads(cli("data", "list", str(folder / "table.parquet"), "--json").stdout)
    assert [(file["forms"], file["rows"], file["is_whole"]) for file in one["files"]] == [
        ({"conversation": 1}, 2, True)
    ]


def test_check_counts_rows_and_says_where_and_why(cli: Cli, folder: Path) -> None:
    result = cli("data", "check")
    assert result.returncode == 1
    assert result.stderr == ""
    assert is_harmless(result.stdout)
    for line in (
        "datasets/mixed.jsonl: 3 of 7 rows good: "
        "1 instruction, 1 tools, 1 conversation; written as 1 Alpaca, 1 messages, 1 ShareGPT",
        "  datasets/mixed.jsonl:7: duplicate of row 1",
        "  datasets/mixed.jsonl:8: messages[1].content: is an empty answer",
        "  datasets/table.parquet row 2: completion[0].content: is an empty answer",
        "5 files, 13 rows: 8 good, 5 bad",
    ):
        assert line in result.stdout.splitlines()
    assert "mixed.jsonl:6: messages[0].role: unknown role 'wizard\\x1b[31m" in result.stdout
    told = json.loads(cli("data", "check", "--json", "--most", "2").stdout)
    files = {file["path"]: file for file in told["files"]}
    mixed = files["datasets/mixed.jsonl"]
    assert (mixed["rows"], mixed["good"], mixed["bad"]) == (7, 3, 4)
    assert [(each["line"], each["row"]) for each in mixed["problems"]] == [(4, 3), (6, 5)]
    assert mixed["problems_left_out"] == 2
    assert sum(mixed["reasons"].values()) == 4
    assert (told["rows"], told["good"], told["bad"]) == (13, 8, 5)


def test_check_finds_rows_that_stand_in_two_files(cli: Cli, workspace: Workspace) -> None:
    for name in ("a", "b"):
        (workspace.datasets / f"{name}.jsonl").write_text(json.dumps(asks("one")))
        assert cli("data", "check", f"datasets/{name}.jsonl").returncode == 0
    both = cli("data", "check", "datasets/a.jsonl", "datasets/b.jsonl")
    assert both.returncode == 1
    assert "datasets/b.jsonl:1: duplicate of row 1 of datasets/a.jsonl" in both.stdout
    assert cli("data", "check", "datasets/a.jsonl", "datasets/a.jsonl").returncode == 0
    (workspace.datasets / "b.jsonl").write_text("\n")
    assert cli("data", "check").returncode == 1  # a file without rows


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("check", "nowhere.jsonl"), "there is no such file or folder"),
        (("check", "datasets/a.txt"), "it is text for pretraining"),
        (("check", "profiles"), "there is no data file"),
        (("list", "nowhere"), "there is no such file or folder"),
        (("show", "datasets/mixed.jsonl", "--row", "8"), "there is no row 8: 7 are all there are"),
        (("show", "datasets/deep"), "it is not a file"),
        (("show", "datasets/mixed.jsonl", "--raw", "--json"), "exclude each other"),
        (("convert", "datasets/mixed.jsonl", "datasets/again.jsonl", "--force"), "into itself"),
        (("convert", "datasets/mixed.jsonl", "new.csv"), "the name does not say so"),
        (("convert", "datasets/mixed.jsonl", "no/new.jsonl"), "there is no such folder"),
        (("convert", "profiles/tiny.toml", "new.jsonl"), "no row of it can be used"),
    ],
)
def test_bad_use_changes_nothing(
    cli: Cli, workspace: Workspace, folder: Path, words: tuple[str, ...], part: str
) -> None:
    before = sorted(workspace.root.rglob("*"))
    result = cli("data", *words)
    assert result.returncode == 2, result.stdout
    assert part in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert sorted(workspace.root.rglob("*")) == before


def test_show_tells_what_is_learned_from_what_is_masked(cli: Cli, folder: Path) -> None:
    path = str(folder / "mixed.jsonl")
    result = cli("data", "show", path, "--row", "2")
    assert result.returncode == 0, result.stderr
    for line in (
        "<|user|>Is it cold in Oslo?<|end|>",
        "<|assistant|>«<|function_call|>",
        'get_weather({"place": "Oslo"})',
        "<|/function_call|><|end|>»",
        "get_weather: 3",
        "<|assistant|>«It is \\<|end|> cold.<|end|>»",  # spelled in the text: no control token
    ):
        assert line in result.stdout.splitlines()
    raw = cli("data", "show", path, "--row", "4", "--raw")
    assert raw.returncode == 0
    assert is_harmless(raw.stdout)
    assert json.loads(raw.stdout) == MIXED[2]
    shown = cli("data", "show", path, "--row", "4")
    assert is_harmless(shown.stdout)
    assert "«wizard\\x1b[31m\\x9b2J\\u202e\\u200b[bold red]\nsecond<|end|>»" in shown.stdout
    told = json.loads(cli("data", "show", path, "--row", "2", "--json").stdout)
    assert (told["form"], told["dialect"], told["line"]) == ("tools", "messages", 2)
    spans = told["parts"][0]["spans"]
    learned = "".join(span["text"] for span in spans if span["is_learned"])
    assert learned.endswith("<|/function_call|><|end|>It is <|end|> cold.<|end|>")
    pair = cli("data", "show", str(folder / "deep/pairs.ndjson.zst"), "--row", "2").stdout
    assert "--- chosen\n<|assistant|>«because<|end|>»\n" in pair


def test_show_says_why_a_row_cannot_be_used(cli: Cli, folder: Path) -> None:
    path = str(folder / "mixed.jsonl")
    broken = cli("data", "show", path, "--row", "3")
    assert broken.returncode == 1
    assert "cannot be used: is not JSON" in broken.stdout
    unknown = cli("data", "show", path, "--row", "5")
    assert unknown.returncode == 1
    assert is_harmless(unknown.stdout)
    assert "cannot be used: messages[0].role: unknown role 'wizard\\x1b[31m" in unknown.stdout
    told = json.loads(cli("data", "show", path, "--row", "6", "--json").stdout)
    assert told["problem"]["reason"] == "duplicate of row 1"
    assert told["raw"] == asks("one")


@pytest.mark.parametrize("plain", [False, True])
def test_show_has_colours_on_a_terminal_alone(folder: Path, plain: bool) -> None:
    words = [sys.executable, "-m", "gptstudio.cli", "data", "show", str(folder / "mixed.jsonl")]
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm"} | ({"NO_COLOR": "1"} if plain else {})
    with subprocess.Popen(words, stdout=theirs, env=env, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        shown = b""
        while block := _read(ours):
            shown += block
    os.close(ours)
    assert process.returncode == 0
    if plain:
        assert b"\x1b" not in shown
        assert "«words<|end|>»".encode() in shown
    else:
        assert b"\x1b[1;32mwords\x1b[0m\x1b[1;36m<|end|>\x1b[0m" in shown
        assert b"\x1b[36m<|user|>\x1b[0m\x1b[2mone\x1b[0m" in shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""


def test_stats_count_turns_and_calls(cli: Cli, folder: Path) -> None:
    result = cli("data", "stats")
    assert result.returncode == 0, result.stderr
    assert is_harmless(result.stdout)
    told = json.loads(cli("data", "stats", str(folder), "--json").stdout)
    assert (told["files"], told["rows"], told["good"], told["bad"]) == (5, 13, 8, 5)
    assert told["duplicates"] == 1
    assert told["turns"] == {"user": 8, "assistant": 10, "tool": 2}
    assert told["calls"] == {"get_weather": 2}
    assert (told["with_tools"], told["tools_unused"], told["masked_answers"]) == (2, 0, 0)
    assert sum(bucket["rows"] for bucket in told["lengths"]) == 8
    assert told["lengths"][0]["least"] <= told["shortest"] <= told["lengths"][0]["most"]
    assert told["shortest"] == 2  # "p" and "a"


@pytest.mark.parametrize(
    ("name", "suffix", "num_bad"),
    [
        ("mixed.jsonl", "jsonl", 4),
        ("deep/pairs.ndjson.zst", "jsonl.gz", 0),
        ("table.parquet", "ndjson.zst", 1),
    ],
)
def test_what_is_converted_says_the_same(
    cli: Cli, folder: Path, name: str, suffix: str, num_bad: int
) -> None:
    source, made = folder / name, folder / f"made.{suffix}"
    result = cli("data", "convert", str(source), str(made))
    assert result.returncode == 0, result.stderr
    assert (f"left out: {num_bad} row" in result.stderr) == bool(num_bad)
    assert records(made) == records(source) != []
    assert cli("data", "check", str(made)).returncode == 0
    assert not list(folder.glob(".*"))
    kept = made.read_bytes()
    refused = cli("data", "convert", str(source), str(made))
    assert refused.returncode == 2
    assert "the file is there already" in refused.stderr
    assert made.read_bytes() == kept


def test_make_writes_the_demos_conversations_once(cli: Cli, tmp_path: Path) -> None:
    made = cli("data", "make", str(tmp_path / "demo"), "--seed", "3")
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == 9
    assert cli("data", "check", str(tmp_path / "demo/tools-held-out.jsonl")).returncode == 0
    again = cli("data", "make", str(tmp_path / "demo"))
    assert again.returncode == 2
    assert "already" in again.stderr
