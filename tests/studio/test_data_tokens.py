"""Data in tokens through the commands: shown, counted, held against a context length."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptcore.encoding import encode_conversation
from gptcore.formats.problems import Problem
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import Conversation
from gptcore.workspace import Workspace
from gptengine.tokenizer import BPETokenizer
from gptstudio.services.token_encoder import TokenEncoder
from tests.studio.test_data_commands import asks, calls, is_harmless
from tests.studio.tokenizers import make_tokenizer

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

LONG = {
    "messages": [
        {"role": "user", "content": "Is it cold?"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": "words and more words " * 20},
        {"role": "assistant", "content": "words " * 30},
    ]
}
HOSTILE = "\x1b[31m\t[bold] \u202e日本 <|end|> \x00\r"
ROWS = [asks("one"), calls("Oslo"), LONG, asks("words " * 150), asks(HOSTILE, HOSTILE)]


@pytest.fixture
def file(workspace: Workspace) -> Path:
    path = workspace.datasets / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS))
    return path


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """Of the demo pipeline's tokenizer."""
    return make_tokenizer(workspace)


def told(result: "subprocess.CompletedProcess[str]") -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_ids_and_marks_are_those_that_training_takes(cli: Cli, file: Path, folder: Path) -> None:
    records = [item for item in RecordReader(file) if not isinstance(item, Problem)]
    engine = BPETokenizer.load(folder)
    for number, item in enumerate(records, 1):
        assert isinstance(item.record, Conversation)
        shown = told(cli("data", "show", str(file), "--row", str(number), "--tokens", "--json"))
        tokens = shown["parts"][0]["tokens"]
        wanted = encode_conversation(item.record.messages, item.record.tools, engine)
        assert [token["id"] for token in tokens] == wanted.ids
        if not shown["fit"]["problem"] and not shown["fit"]["num_cut"]:
            assert [token["state"] == "learned" for token in tokens] == wanted.learned
            assert shown["fit"]["learned"] == sum(wanted.learned)
        assert shown["fit"]["tokens"] == len(wanted.ids)
        assert (shown["tokenizer"], shown["context"]) == ("demo-1", 256)


def test_the_studios_encoder_is_the_engines(folder: Path) -> None:
    engine, studio = BPETokenizer.load(folder), TokenEncoder(folder)
    texts = [HOSTILE, "", "half \ud800", "It is cold in Oslo.", "<|user|><|end|>", "🙂" * 3]
    assert studio.encode_batch(texts) == engine.encode_batch(texts)
    ids = engine.encode("caté 日本")
    assert "".join(map(studio.text_of, ids)).replace("\\x", "%") == _with_bytes("caté 日本", ids)
    assert studio.text_of(studio.id_of("<|user|>")) == "<|user|>"
    assert studio.text_of(10**6)  # beyond the vocabulary


def _with_bytes(text: str, ids: list[int]) -> str:
    """Characters whose bytes lie in several tokens are shown as bytes: so few merges have none."""
    return "".join(
        letter if letter.isascii() else "".join(f"%{byte:02x}" for byte in letter.encode())
        for letter in text
    )


def test_what_a_context_cuts_is_marked_without_colours(cli: Cli, file: Path, folder: Path) -> None:
    words = ("data", "show", str(file), "--row", "3", "--context", "115")
    shown = cli(*words, "--tokens").stdout.splitlines()
    marks = [line[:1] for line in shown[4:]]
    assert "x <|user|>" in "".join(shown[4:]).replace("│", "")
    assert marks == sorted(marks, key=" +x".index)  # masked, learned, then cut
    assert "the last 2 messages cut to fit 115" in shown[1]
    text = cli(*words).stdout
    assert "<|assistant|>«It is.<|end|>»" in text
    assert "[-<|user|>words and more" in text
    made = told(cli(*words, "--json"))
    assert made["fit"]["num_cut"] == 2
    assert made["fit"]["problem"] == ""
    assert "tokens" not in made["parts"][0]
    left_out = cli("data", "show", str(file), "--row", "4", "--context", "115").stdout
    assert "left out: is longer than the context:" in left_out


def test_a_token_view_is_harmless_and_shows_every_character(
    cli: Cli, file: Path, folder: Path
) -> None:
    result = cli("data", "show", str(file), "--row", "5", "--tokens")
    assert result.returncode == 0, result.stderr
    assert is_harmless(result.stdout)
    assert not set(result.stdout) & set("\x00\t")
    joined = result.stdout.replace("│", "")
    for seen in ("\\x1b[31m\\t[bold]", "\\xe2\\x80\\xae", "\\xe6\\x97\\xa5", "\\x00\\r"):
        assert seen in joined
    # Spelled in the text it is no control token, and is not one token either.
    assert joined.count("<|end|>") == 2 + 2
    assert result.stdout.count("<|end|>") == 2


def test_check_takes_what_is_too_long_for_a_problem(cli: Cli, file: Path, folder: Path) -> None:
    assert cli("data", "check", str(file)).returncode == 0
    result = cli("data", "check", str(file), "--context", "115")
    assert result.returncode == 1
    assert f"{file}:4: is longer than the context: " in result.stdout
    assert "1 row cut to fit" in result.stdout
    made = json.loads(cli("data", "check", str(file), "--context", "115", "--json").stdout)
    assert (made["good"], made["bad"], made["cut"]) == (4, 1, 1)
    [problem] = made["files"][0]["problems"]
    assert (problem["row"], problem["line"]) == (4, 4)
    assert problem["reason"].endswith("tokens, and 115 fit")


def test_check_refuses_to_guess_without_a_tokenizer(cli: Cli, file: Path) -> None:
    result = cli("data", "check", str(file), "--context", "115")
    assert result.returncode == 2
    assert "the pipeline demo has no tokenizer yet" in result.stderr
    assert "Traceback" not in result.stderr


def test_stats_count_tokens_by_role_and_what_would_be_cut(
    cli: Cli, file: Path, folder: Path
) -> None:
    made = told(cli("data", "stats", str(file), "--context", "115", "--json"))["in_tokens"]
    rows = range(1, len(ROWS) + 1)
    fits = [
        told(cli("data", "show", str(file), "--row", str(n), "--context", "115", "--json"))["fit"]
        for n in rows
    ]
    assert sum(made["tokens"].values()) == sum(fit["tokens"] for fit in fits)
    assert made["learned"] == sum(fit["learned"] for fit in fits)
    assert set(made["tokens"]) == {"system", "user", "assistant", "tool"}
    assert (made["cut"], made["left_out"], made["context"]) == (1, 1, 115)
    assert (made["shortest"], made["longest"]) == (
        min(fit["tokens"] for fit in fits),
        max(fit["tokens"] for fit in fits),
    )
    assert sum(bucket["rows"] for bucket in made["lengths"]) == len(ROWS)
    text = cli("data", "stats", str(file), "--context", "115").stdout
    assert "context of 115: 3 rows whole, 1 cut at the end, 1 left out" in text
    assert "tokens a row: " in text
    assert told(cli("data", "stats", str(file), "--no-tokens", "--json"))["in_tokens"] is None


def test_pairs_and_prompts_must_fit_as_they_are(cli: Cli, workspace: Workspace) -> None:
    make_tokenizer(workspace)
    rows = [
        {"prompt": "why?", "chosen": "because", "rejected": "no " * 40},
        {"prompt": "2+2?", "answer": "4"},
    ]
    path = workspace.datasets / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    pair = told(cli("data", "show", str(path), "--tokens", "--json", "--context", "40"))
    sizes = [len(part["tokens"]) for part in pair["parts"]]
    assert pair["fit"]["tokens"] == sizes[0] + sizes[2] > 40
    assert pair["fit"]["problem"].startswith("is longer than the context")
    words = ("data", "show", str(path), "--row", "2", "--json", "--context")
    size = told(cli(*words, "40"))["fit"]["tokens"]
    assert told(cli(*words, str(size)))["fit"]["problem"]  # no room for an answer
    assert not told(cli(*words, str(size + 1)))["fit"]["problem"]


def test_the_newest_tokenizer_of_the_profile_counts(
    cli: Cli, workspace: Workspace, file: Path, folder: Path
) -> None:
    make_tokenizer(workspace, "demo", "demo-2", made=2.0)
    make_tokenizer(workspace, "tiny", "tiny-1", made=3.0)
    words = ("data", "show", str(file), "--json")
    assert told(cli(*words))["tokenizer"] == "demo-2"
    tiny = told(cli(*words, "--profile", "tiny"))
    assert (tiny["tokenizer"], tiny["context"]) == ("tiny-1", 64)
    assert told(cli(*words, "--tokenizer", "demo-1"))["tokenizer"] == "demo-1"
    assert told(cli(*words, "--tokenizer", str(folder)))["tokenizer"] == "demo-1"
    missing = cli(*words, "--tokenizer", "nothing")
    assert missing.returncode == 2
    assert "no model or tokenizer is called 'nothing'" in missing.stderr
    (folder / "tokenizer.json").write_text("{")
    broken = cli(*words, "--tokenizer", "demo-1")
    assert broken.returncode == 2
    assert "the tokenizer cannot be read" in broken.stderr


def test_without_a_tokenizer_it_says_so_in_a_line_and_goes_on(cli: Cli, file: Path) -> None:
    wanted = "not counted in tokens: the pipeline demo has no tokenizer yet; gptstudio run"
    for words in (("show", str(file)), ("show", str(file), "--tokens"), ("stats", str(file))):
        result = cli("data", *words)
        assert result.returncode == 0, result.stderr
        assert wanted in result.stdout
    assert "characters a row" in result.stdout
    assert told(cli("data", "show", str(file), "--json"))["fit"] is None


def test_without_the_library_it_says_so_in_a_line_and_goes_on(
    workspace: Workspace, file: Path, folder: Path
) -> None:
    script = (
        "import sys; sys.modules['tokenizers'] = None\n"
        f"sys.argv = ['gptstudio', 'data', 'stats', {str(file)!r}]\n"
        "from gptstudio.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=workspace.root,
        env=os.environ | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "which is not installed; pip install 'gptstudio[engine]'" in result.stdout
