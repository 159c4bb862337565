"""Rows and numbers as the data worker tells them, through its client."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gptcore.workspace import Workspace
from gptstudio.services.data_answers import (
    Answer,
    Counted,
    Looking,
    RowSeen,
    RowWish,
    StatsSeen,
    StatsWish,
    Unseen,
)
from gptstudio.services.data_client import DataClient
from gptstudio.services.datasets import scan
from gptstudio.services.row_previews import MOST_CHARACTERS
from tests.studio.tokenizers import make_tokenizer

HOSTILE = "a\x1b[31m[bold]\u202e\x00<|end|>b"
CHAT = {
    "messages": [
        {"role": "user", "content": HOSTILE},
        {"role": "assistant", "content": "It is cold."},
    ]
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "datasets").mkdir()
    return Workspace(tmp_path)


@pytest.fixture
def client(workspace: Workspace) -> Iterator[DataClient]:
    made = DataClient(workspace)
    yield made
    made.close()


def put(workspace: Workspace, *rows: Any, name: str = "rows.jsonl") -> None:
    (workspace.datasets / name).write_text("\n".join(map(json.dumps, rows)))


def wait_for(client: DataClient, fits: Callable[[Answer], bool], timeout: float = 30) -> Answer:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = client.wait(timeout=1)
        if answer is not None and fits(answer):
            return answer
    raise AssertionError("no such answer came")


def seen(client: DataClient, wish: RowWish) -> RowSeen:
    client.row(wish)
    answer = wait_for(client, lambda it: isinstance(it, RowSeen | Unseen) and it.wish == wish)
    assert isinstance(answer, RowSeen), answer
    return answer


def text_of(answer: RowSeen) -> list[str]:
    return [
        f"{line.mark or '-'}{''.join(text for text, _ in line.parts)}" for line in answer.row.lines
    ]


def test_a_row_is_seen_in_four_ways(workspace: Workspace, client: DataClient) -> None:
    make_tokenizer(workspace)
    put(workspace, CHAT, CHAT | {"extra": 1})
    shown = seen(client, RowWish("rows.jsonl", 1, "text", "demo", 200))
    harmless = "a\\x1b[31m[bold]\\u202e\\x00\\<|end|>b"
    assert text_of(shown) == [
        f" <|user|>{harmless}<|end|>",
        " <|assistant|>",
        "+It is cold.<|end|>",
    ]
    assert (shown.row.row, shown.row.line) == (1, 1)
    assert shown.row.what == "conversation, written as messages"
    assert shown.row.in_tokens.endswith("learned; 200 fit")
    only = text_of(seen(client, RowWish("rows.jsonl", 1, "supervised", "demo", 200)))
    assert only == ["-message 2", "+It is cold.<|end|>"]
    tokens = text_of(seen(client, RowWish("rows.jsonl", 1, "tokens", "demo", 200)))
    assert [line.replace("│", "") for line in tokens][-1] == "+It is cold.<|end|>"
    assert "│" in tokens[-1]
    raw = text_of(seen(client, RowWish("rows.jsonl", 1, "raw", "demo", 200)))
    assert json.loads("".join(line[1:] for line in raw)) == CHAT
    assert all(line.isprintable() for line in (*tokens, *raw, *only))
    cut = seen(client, RowWish("rows.jsonl", 1, "text", "demo", 10))
    assert cut.row.is_odd
    assert "left out: is longer than the context" in cut.row.in_tokens
    assert {line[0] for line in text_of(cut)} == {"x"}


def test_what_cannot_be_used_says_why(workspace: Workspace, client: DataClient) -> None:
    (workspace.datasets / "rows.jsonl").write_text('{"messages": []}\nnonsense\n')
    first = text_of(seen(client, RowWish("rows.jsonl", 1, "text")))
    assert first[0] == "-! cannot be used: messages: holds no message"
    assert '-  "messages": []' in first
    second = text_of(seen(client, RowWish("rows.jsonl", 2, "tokens")))
    assert second[0].startswith("-! cannot be used: is not JSON")
    for row, reason in ((3, "there is no row 3: the last is 2"), (99, "there is no row 99")):
        client.row(RowWish("rows.jsonl", row, "text"))
        answer = wait_for(client, lambda it: isinstance(it, Unseen))
        assert isinstance(answer, Unseen)
        assert reason in answer.reason
    assert seen(client, RowWish("rows.jsonl", 0, "text")).row.row == 2
    (workspace.datasets / "empty.jsonl").write_text("")
    client.row(RowWish("empty.jsonl", 0, "text"))
    answer = wait_for(client, lambda it: isinstance(it, Unseen))
    assert "holds no rows" in str(answer)


def test_without_a_tokenizer_tokens_are_text_and_it_says_why(
    workspace: Workspace, client: DataClient
) -> None:
    put(workspace, CHAT)
    shown = seen(client, RowWish("rows.jsonl", 1, "tokens", "demo", 200))
    assert "the pipeline demo has no tokenizer yet" in shown.row.in_tokens
    assert text_of(shown)[-1] == "+It is cold.<|end|>"
    make_tokenizer(workspace)
    assert "│" in text_of(seen(client, RowWish("rows.jsonl", 1, "tokens", "demo", 200)))[-1]


def test_a_file_that_has_changed_is_read_anew(workspace: Workspace, client: DataClient) -> None:
    put(workspace, {"prompt": "a", "completion": "before"})
    assert "+before<|end|>" in text_of(seen(client, RowWish("rows.jsonl", 1, "text")))
    put(workspace, {"prompt": "a", "completion": "and after"})
    assert "+and after<|end|>" in text_of(seen(client, RowWish("rows.jsonl", 1, "text")))


def test_a_very_long_row_is_sent_in_part(workspace: Workspace, client: DataClient) -> None:
    make_tokenizer(workspace)
    put(workspace, {"prompt": "a", "completion": "word " * 600_000})
    shown = seen(client, RowWish("rows.jsonl", 1, "text", "demo", 100))
    assert not shown.row.is_whole
    assert sum(map(len, text_of(shown))) < MOST_CHARACTERS + 100
    assert "too long to be counted in tokens here" in shown.row.in_tokens


def test_words_lead_to_a_row(workspace: Workspace, client: DataClient) -> None:
    put(workspace, *({"prompt": f"q{n}", "completion": "x"} for n in range(30)))
    assert seen(client, RowWish("rows.jsonl", 3, "text", words="Q17")).row.row == 18
    client.row(RowWish("rows.jsonl", 3, "text", words="\x1b"))
    answer = wait_for(client, lambda it: isinstance(it, Unseen))
    assert isinstance(answer, Unseen)
    assert answer.reason == "no row holds '\\x1b'"


def test_a_row_does_not_wait_for_counts_and_these_go_on(
    workspace: Workspace, client: DataClient
) -> None:
    line = json.dumps({"prompt": "a" * 60, "completion": "b"})
    with (workspace.datasets / "big.jsonl").open("w") as file:
        for n in range(150_000):
            file.write(line.replace("a" * 8, f"{n:08}", 1) + "\n")
    put(workspace, CHAT)
    files = {file.path: file for file in scan(workspace, None).files()}
    client.count_all([files["big.jsonl"]], "")
    wait_for(client, lambda it: not isinstance(it, Counted))  # it is at it
    asked = time.monotonic()
    assert seen(client, RowWish("rows.jsonl", 1, "text")).row.row == 1
    assert time.monotonic() - asked < 10
    # It may have been told already, where the worker was faster than the question.
    counted = client.count(files["big.jsonl"], "") or wait_for(
        client, lambda it: isinstance(it, Counted), timeout=90
    )
    assert isinstance(counted, Counted)
    assert counted.counts.rows == 150_000
    asked = time.monotonic()
    assert seen(client, RowWish("big.jsonl", 149_000, "text")).row.row == 149_000
    assert time.monotonic() - asked < 5  # counting has left marks


def test_statistics_are_counted_told_and_left(workspace: Workspace, client: DataClient) -> None:
    make_tokenizer(workspace)
    put(workspace, CHAT, {"prompt": "a", "completion": "b"}, {"nothing": 1})
    client.stats(StatsWish("rows.jsonl", "demo", 64))
    answer = wait_for(client, lambda it: isinstance(it, StatsSeen))
    assert isinstance(answer, StatsSeen)
    assert answer.lines[0] == "3 rows in 1 file: 2 good, 1 bad"
    assert any("context of 64: 2 rows whole" in line for line in answer.lines)
    put(workspace, *({"prompt": f"{n}", "completion": "word " * 20} for n in range(60_000)))
    client.stats(StatsWish("rows.jsonl", "demo", 64))
    looking = wait_for(client, lambda it: isinstance(it, Looking))
    assert isinstance(looking, Looking)
    assert 0 <= looking.done <= looking.total
    client.forget_stats()
    asked = time.monotonic()
    assert seen(client, RowWish("rows.jsonl", 2, "text")).row.row == 2
    assert time.monotonic() - asked < 10
