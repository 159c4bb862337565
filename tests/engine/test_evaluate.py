"""A model judged by conversations: what is counted, and where the report goes."""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gptcore.answers import Answer, parse_answer
from gptcore.errors import UserError
from gptcore.evaluation import TOOL_SCORES, Evaluation, Share, read_evaluation
from gptcore.events import StageChange
from gptcore.formats.records import Conversation, Message, Tool, ToolCall
from gptcore.lineage import Lineage, write_lineage
from gptcore.settings import EngineSettings, EvalSettings
from gptcore.workspace import Workspace
from gptengine.causal_lm import load_causal_lm
from gptengine.chat_tokenizer import control_ids, load_chat_tokenizer
from gptengine.evaluate.answering import Answerer
from gptengine.evaluate.loss import loss_on
from gptengine.evaluate.report import evaluate
from gptengine.evaluate.tools import ToolScores, answers_rightly, prompts_of, score_tools
from gptengine.tokenizer import BPETokenizer
from gptengine.train.device import Placement, place
from tests.engine.tiny_models import (
    CONTEXT,
    KINDS,
    SENTENCES,
    TALKS,
    TOOL,
    examples_of,
    make_model,
    perform_stage,
    talk,
    tool_talk,
    write_talks,
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    made = BPETokenizer()
    made.train(SENTENCES, vocab_size=340)
    return made


@pytest.fixture(scope="module")
def cpu() -> Placement:
    return place(EngineSettings(device="cpu"))


# --- calls ---------------------------------------------------------------------------------------

NOW = Tool("now", "Tell the time.", {"type": "object", "properties": {}})
WHALE = {"topic": "whale"}


def called(name: str, arguments: dict[str, Any]) -> str:
    return f"<|function_call|>\n{name}({json.dumps(arguments)})\n<|/function_call|>"


def asked(*turns: Message) -> Conversation:
    return Conversation((Message("user", "Tell me."), *turns), (TOOL, NOW), "tools")


#: A call with its answer, another, one where nothing is to be called, and two calls at once.
JUDGED = [
    asked(
        Message("assistant", calls=(ToolCall("look_up", WHALE),)),
        Message("tool", "a mammal, 30 m long", name="look_up"),
        Message("assistant", "A whale is a mammal of 30 m."),
    ),
    asked(Message("assistant", "Let me see.", (ToolCall("look_up", {"topic": "a", "depth": 1}),))),
    asked(Message("assistant", "Hello!")),
    asked(
        Message("assistant", calls=tuple(ToolCall("look_up", {"topic": t}) for t in ("a", "b"))),
        Message("tool", "first", name="look_up"),
        Message("tool", "second", name="look_up"),
        Message("assistant", "It is first, then second."),
    ),
]
RIGHT = [
    called("look_up", WHALE),
    "Let me see." + called("look_up", {"depth": 1, "topic": "a"}),
    "Hi, how can I help?",
    called("look_up", {"topic": "a"}) + called("look_up", {"topic": "b"}),
]
RIGHT_ANSWERS = ["It is a mammal, and 30 m long.", "It is second and first."]


class StandIn:
    """Gives the answers it was told to give, as ids that are taken apart like a model's."""

    def __init__(self, tokenizer: BPETokenizer, *rounds: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._rounds = iter(rounds)
        self.prompts: list[list[str]] = []

    def answer(
        self, prompts: Sequence[Sequence[int]], on_done: Callable[[int], None]
    ) -> list[Answer]:
        self.prompts.append([self._tokenizer.decode(prompt) for prompt in prompts])
        written = next(self._rounds)
        assert len(written) == len(prompts)
        on_done(len(prompts))
        control = control_ids(self._tokenizer)
        return [
            parse_answer(
                self._tokenizer.encode(f"{text}<|end|>", allow_special=True),
                control,
                self._tokenizer.decode,
            )
            for text in written
        ]


def scored(
    tokenizer: BPETokenizer,
    first: Sequence[str] = RIGHT,
    second: Sequence[str] = RIGHT_ANSWERS,
) -> ToolScores:
    prompts = prompts_of([(f"f:{at + 1}", each) for at, each in enumerate(JUDGED)], 100)
    return score_tools(prompts, StandIn(tokenizer, first, second), tokenizer)  # type: ignore[arg-type]


def test_who_answers_rightly_gets_everything(tokenizer: BPETokenizer) -> None:
    scores = scored(tokenizer)
    assert scores.tools() == {
        "exact": Share(3, 3),
        "function": Share(3, 3),
        "json": Share(3, 3),
        "schema": Share(3, 3),
        "arguments": Share(3, 3),
        "no_call": Share(1, 1),
        "answer": Share(2, 2),
    }
    assert scores.tools().keys() == TOOL_SCORES.keys()
    assert scores.functions() == {
        "(none)": Share(1, 1),
        "look_up": Share(2, 2),
        "look_up, look_up": Share(1, 1),
    }
    assert all(not transcript.problems for transcript in scores.transcripts)
    first = scores.transcripts[0].text
    assert first.endswith("<|assistant|>It is a mammal, and 30 m long.<|end|>")
    assert "look_up: a mammal, 30 m long" in first


def test_the_true_results_are_fed_back(tokenizer: BPETokenizer) -> None:
    stand_in = StandIn(tokenizer, ["nonsense"] * 4, RIGHT_ANSWERS)
    told: list[tuple[int, int]] = []
    prompts = prompts_of([("f:1", each) for each in JUDGED], 100)
    score_tools(prompts, stand_in, tokenizer, lambda *done: told.append(done))  # type: ignore[arg-type]
    first, second = stand_in.prompts
    assert all(text.endswith("<|user|>Tell me.<|end|><|assistant|>") for text in first)
    assert all("Functions:\nlook_up(topic: string" in text for text in first)
    assert second[0].endswith(
        f"{called('look_up', WHALE)}<|end|><|function_result|>\n"
        "look_up: a mammal, 30 m long\n<|/function_result|><|assistant|>"
    )
    assert second[1].endswith("look_up: second\n<|/function_result|><|assistant|>")
    assert told[-1] == (6, 6)


#: Which prompt is answered otherwise, how, and which shares that must cost.
MISTAKES: dict[str, tuple[int, str, set[str]]] = {
    "other arguments": (0, called("look_up", {"topic": "cat"}), {"exact", "arguments"}),
    "more arguments": (
        0,
        called("look_up", {"topic": "whale", "depth": 2}),
        {"exact", "arguments"},
    ),
    "arguments of a wrong type": (
        0,
        called("look_up", {"topic": 3}),
        {"exact", "arguments", "schema"},
    ),
    "an argument that is not known": (
        0,
        called("look_up", {"topic": "whale", "a": 1}),
        {"exact", "arguments", "schema"},
    ),
    "another function": (0, called("now", {}), {"exact", "function"}),
    "an unknown function": (0, called("look", WHALE), {"exact", "function", "schema"}),
    "broken JSON": (
        0,
        '<|function_call|>\nlook_up({"topic": )\n<|/function_call|>',
        {"exact", "function", "json", "schema"},
    ),
    "a call without end": (
        0,
        '<|function_call|>\nlook_up({"topic": "whale"})',
        {"exact", "function", "json", "schema"},
    ),
    "a call beside a broken one": (
        0,
        called("look_up", WHALE) + "<|function_call|>now(<|/function_call|>",
        {"exact", "arguments", "json", "schema"},
    ),
    "a call spelled in words": (0, 'look_up({"topic": "whale"})', {"exact", "function"}),
    "no call": (0, "I do not know.", {"exact", "function"}),
    "nothing": (0, "", {"exact", "function"}),
    "a needless call": (2, called("now", {}), {"no_call"}),
    "a needless wrong call": (2, called("look_up", {}), {"no_call", "schema"}),
    "one of two calls": (3, called("look_up", {"topic": "a"}), {"exact", "function"}),
    "two calls the other way round": (
        3,
        called("look_up", {"topic": "b"}) + called("look_up", {"topic": "a"}),
        {"exact", "arguments"},
    ),
    "one call too many": (
        1,
        called("look_up", {"topic": "a", "depth": 1}) * 2,
        {"exact", "function"},
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_costs_what_it_is_about_and_nothing_else(
    tokenizer: BPETokenizer, mistake: str
) -> None:
    at, text, costs = MISTAKES[mistake]
    scores = scored(tokenizer, [*RIGHT[:at], text, *RIGHT[at + 1 :]])
    fallen = {name for name, share in scores.tools().items() if share.right < share.total}
    assert fallen == costs
    for name in fallen:
        assert scores.tools()[name].total - scores.tools()[name].right == 1
    [wrong] = [transcript for transcript in scores.transcripts if transcript.problems]
    assert wrong.row == f"f:{at + 1}"
    assert not scores.transcripts[0].problems


def test_true_is_not_one(tokenizer: BPETokenizer) -> None:
    text = called("look_up", {"topic": "a", "depth": True})
    tools = scored(tokenizer, [RIGHT[0], text, *RIGHT[2:]]).tools()
    assert (tools["exact"].right, tools["schema"].right) == (2, 2)


def test_a_wrong_answer_costs_the_answer_alone(tokenizer: BPETokenizer) -> None:
    scores = scored(tokenizer, second=["It is a fish.", RIGHT_ANSWERS[1]])
    fallen = {name for name, share in scores.tools().items() if share.right < share.total}
    assert fallen == {"answer"}
    assert scores.tools()["answer"] == Share(1, 2)


RESULTS = [Message("tool", "12.5 km, Oslo", name="f")]
WANTED = Message("assistant", "From Oslo it is 12.5 km.")


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("From Oslo it is 12.5 km.", True),
        ("OSLO is 12.5 km away!", True),
        ("Oslo: 12.5 km", True),
        ("It is 12.5 km.", False),
        ("Oslo is 12.51 km away", False),
        ("Oslo is 12 km and 5 m away", False),
        ("Oslo is 112.5 km away", False),
        ("", False),
    ],
)
def test_an_answer_says_what_was_found_out(said: str, right: bool) -> None:
    assert answers_rightly(Answer(said, (), (), True), WANTED, RESULTS) is right


def test_an_answer_is_whole_and_calls_nothing() -> None:
    words = WANTED.content
    assert not answers_rightly(Answer(words, (), (), False), WANTED, RESULTS)
    assert not answers_rightly(Answer(words, (ToolCall("f", {}),), (), True), WANTED, RESULTS)
    assert not answers_rightly(Answer(words, (), ("a call does not end",), True), WANTED, RESULTS)
    free = Message("assistant", "Done, all is well.")  # nothing in it is from the results
    assert answers_rightly(Answer("Done,  all is\nwell.", (), (), True), free, RESULTS)
    assert not answers_rightly(Answer("Done.", (), (), True), free, RESULTS)


def test_prompts_are_where_a_user_has_spoken_evenly_chosen() -> None:
    rows = [(f"f:{at}", tool_talk(f"t{at}", "fact", "answer")) for at in range(40)]
    assert [prompt.row for prompt in prompts_of(rows, 100)] == [row for row, _ in rows]
    few = [int(prompt.row[2:]) for prompt in prompts_of(rows, 4)]
    assert few == [0, 10, 20, 30]
    assert prompts_of([("f:1", each) for each in TALKS if not each.tools], 100) == []
    [prompt] = prompts_of(rows[:1], 100)
    assert prompt.turn == 1
    assert [message.content for message in prompt.results] == ["fact"]
    assert prompt.final is not None
    assert prompt.final.content == "answer"


# --- answers of a model --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: make_model(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def lively(folder: Path) -> Any:
    """The model with larger weights, so that what it writes hangs on what it reads."""
    model = load_causal_lm(folder, torch.float32).eval()
    tokenizer = load_chat_tokenizer(folder)
    torch.manual_seed(1)
    model.resize_token_embeddings(tokenizer.vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return model


def answers(folder: Path, prompts: Sequence[list[int]], cpu: Placement, size: int) -> list[Answer]:
    answerer = Answerer(
        lively(folder),
        load_chat_tokenizer(folder),
        cpu,
        context=CONTEXT,
        batch_size=size,
        max_tokens=9,
    )
    return answerer.answer(prompts)


def prompts_for(folder: Path, *texts: str) -> list[list[int]]:
    tokenizer = load_chat_tokenizer(folder)
    opened = tokenizer.id_of("<|assistant|>")
    return [[*ids, opened] for ids in tokenizer.encode_batch(texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_answered_alike_in_any_company(
    folders: dict[str, Path], cpu: Placement, kind: str
) -> None:
    texts = ["Oslo", "the cat sat on the mat and", "What is a whale?" * 4, "x", "3 degrees in Oslo"]
    prompts = prompts_for(folders[kind], *texts)
    alone = answers(folders[kind], prompts, cpu, 1)
    assert answers(folders[kind], prompts, cpu, 3) == alone
    assert len({answer.content for answer in alone}) > 1  # or it says the same to everything


def test_a_prompt_that_fills_the_context_gets_no_answer(
    folders: dict[str, Path], cpu: Placement
) -> None:
    prompts = prompts_for(folders["gpt2"], "Oslo", "x " * 400, "the cat")
    assert len(prompts[1]) >= CONTEXT
    short, filled, other = answers(folders["gpt2"], prompts, cpu, 3)
    assert filled.problems == ("the prompt fills the context",)
    assert not filled.is_complete
    assert [short, other] == answers(folders["gpt2"], [prompts[0], prompts[2]], cpu, 3)


def test_a_long_prompt_does_not_shorten_the_answers_beside_it(
    folders: dict[str, Path], cpu: Placement
) -> None:
    prompts = prompts_for(folders["gpt2"], "Oslo", "x")
    prompts.append((prompts[1] * CONTEXT)[: CONTEXT - 2])
    alone = answers(folders["gpt2"], prompts, cpu, 1)
    assert answers(folders["gpt2"], prompts, cpu, 3)[:2] == alone[:2]


# --- loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_each_token_the_assistant_wrote(
    folders: dict[str, Path], cpu: Placement, kind: str
) -> None:
    model, tokenizer = lively(folders[kind]), load_chat_tokenizer(folders[kind])
    talks = [*TALKS, talk("\u00e9\u4e2d?", "na\u00efve \u4e2d\u6587 <|end|> <s>")]
    examples = examples_of(talks, tokenizer)
    nats, tokens, size = 0.0, 0, 0
    for at, conversation in enumerate(talks):
        ids, learned = examples[at]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor(ids[None].astype("int64"))).logits[0]
        told = logits.log_softmax(-1)
        for place_ in range(1, len(ids)):
            if learned[place_]:
                nats -= float(told[place_ - 1, int(ids[place_])])
                tokens += 1
        for message in conversation.messages:
            if message.role == "assistant":
                calls = [f"\n{c.name}({json.dumps(c.arguments)})\n" for c in message.calls]
                size += len((message.content + "".join(calls)).encode())
    control = frozenset(control_ids(tokenizer))
    done: list[int] = []
    found = loss_on(
        model, tokenizer, examples, cpu, batch_size=3, control=control, on_done=done.append
    )
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert (found.tokens, found.bytes) == (tokens, size)
    assert found.loss == pytest.approx(nats / tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-3)
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert done == [3, 6, 7]
    other = loss_on(model, tokenizer, examples, cpu, batch_size=7, control=control)
    assert other.nats == pytest.approx(nats, rel=1e-5)


# --- the report ----------------------------------------------------------------------------------


def judge(folder: Path, cpu: Placement, *files: Path, **changes: Any) -> Evaluation:
    options = EvalSettings(**{"max_tokens": 8, **changes})
    return evaluate(folder, files, [], options, cpu, name="models/m")


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_what_cannot_be_used_is_counted(
    folders: dict[str, Path], tmp_path: Path, cpu: Placement, kind: str
) -> None:
    preference = {"prompt": "Which?", "chosen": "the cat", "rejected": "the dog"}
    too_long = talk("the cat " * 400, "yes")
    file = write_talks(tmp_path / "a.jsonl", [*TALKS, too_long], "{", preference, {"text": 1})
    if kind == "qwen2":  # a model that knows the control tokens, as one fine-tuned here does
        folder = tmp_path / "model"
        lively(folders[kind]).save_pretrained(folder)
        load_chat_tokenizer(folders[kind]).save(folder)
    else:
        folder = folders[kind]
    told = judge(folder, cpu, file)
    assert (told.conversations, told.unusable) == (len(TALKS), 3)
    assert told.tools["exact"].total == 1
    assert told.perplexity == pytest.approx(math.exp(told.loss or 0), rel=1e-6)
    assert told.transcripts[0].row == "a.jsonl:4"
    with pytest.raises(UserError, match="2 rows cannot be used") as nothing:
        judge(folder, cpu, write_talks(tmp_path / "b.jsonl", [], {"text": 1}, "{"))
    assert "gptstudio data check" in nothing.value.fix


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a model, and with conversations to judge it by."""
    made = Workspace(tmp_path / "ws")
    folder = make_model("gpt2", made.models / "m")
    training = {
        "parameters": 1234,
        "train_tokens": 10,
        "held_out_tokens": 2,
        "held_out_by": "document",
        "tokens": 10,
        "seconds": 1.0,
        "device": "cpu, fp32",
        "ended_by": "steps",
    }
    write_lineage(
        folder,
        Lineage("pretrain", "m", "tiny", "0" * 64, time.time(), training=training),
    )
    write_talks(made.datasets / "held-out.jsonl", TALKS)
    write_talks(made.datasets / "train.jsonl", TALKS[:1])
    return made


def evaluation_stage(workspace: Workspace, name: str) -> tuple[int, list[Any]]:
    pipeline = {"stages": ["pretrain", "eval"], "parent": "m"}
    content = {"pipeline": pipeline, "eval": {"max_tokens": 8}}
    return perform_stage(workspace, name, "eval", content)


def test_the_stage_puts_its_report_beside_the_model_and_into_its_card(
    workspace: Workspace,
) -> None:
    code, told = evaluation_stage(workspace, "first")
    assert code == 0
    folder = workspace.models / "m"
    report = read_evaluation(folder)
    assert report is not None
    assert report.model == "models/m"
    assert [item.file for item in report.data] == ["held-out.jsonl"]
    assert report.conversations == len(TALKS)
    card = (folder / "README.md").read_text()
    assert "## Evaluation" in card
    assert f"| perplexity | {report.perplexity:.4f} | {report.tokens:,} tokens |" in card
    share = report.tools["exact"]
    assert f"| {TOOL_SCORES['exact']} | {share.value:.1%} | {share.right}/{share.total} |" in card
    [end] = [payload for payload in told if isinstance(payload, StageChange) and payload.scores]
    assert end.scores["loss"] == report.loss
    assert sorted(path.name for path in workspace.models.iterdir()) == ["m"]
    code, told = evaluation_stage(workspace, "second")  # nothing has changed
    assert code == 0
    assert [payload.phase for payload in told if isinstance(payload, StageChange)] == ["skipped"]
    write_talks(workspace.datasets / "held-out.jsonl", TALKS[:4])
    code, told = evaluation_stage(workspace, "third")
    again = read_evaluation(folder)
    assert again is not None
    assert again.conversations == 4


# --- the command ---------------------------------------------------------------------------------


def command(workspace: Workspace, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "gptstudio.cli", "eval", *words],
        cwd=workspace.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_the_command_prints_the_report(workspace: Workspace) -> None:
    words = ("m", "--data", "datasets/held-out.jsonl", "--max-tokens", "4", "--device", "cpu")
    done = command(workspace, *words, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["conversations"] == len(TALKS)
    assert report["model"] == "models/m"
    assert report["loss"] > 0
    assert report["tools"]["exact"]["total"] == 1
    assert not (workspace.models / "m" / "evaluation.json").exists()


@pytest.mark.slow
def test_the_command_shows_the_report_that_there_is(workspace: Workspace) -> None:
    evaluation_stage(workspace, "r")
    stored = workspace.models / "m" / "evaluation.json"
    done = command(workspace, "m", "--json")
    assert (done.returncode, done.stdout) == (0, stored.read_text())
    table = command(workspace, "m").stdout
    assert f"models/m on {len(TALKS)} held-out conversations" in table
    assert f"{json.loads(done.stdout)['perplexity']:.4f}" in table
    assert "A transcript (held-out.jsonl:4)" in table


@pytest.mark.slow
def test_the_command_says_what_is_missing(workspace: Workspace) -> None:
    for words, said in (
        (("m", "--data", "none.jsonl"), ("there is no such file", "none.jsonl")),
        (("m",), ("has not been evaluated", "--data FILE")),
        (("nothing",), ("no model is called 'nothing'", "m")),
    ):
        done = command(workspace, *words, "--json")
        assert done.returncode == 2
        assert done.stdout == ""
        for part in said:
            assert part in done.stderr
        assert "Traceback" not in done.stderr
    broken = workspace.root / "broken.jsonl"
    broken.write_text("{\n")
    done = command(workspace, "m", "--data", str(broken), "--device", "cpu")
    assert done.returncode == 2
    assert "1 rows cannot be used" in done.stderr
