"""Reward functions of the user's own: what they are told, and what becomes of those that fail."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gptcore.answers import Answer
from gptcore.errors import UserError
from gptcore.formats.records import Message, Prompt, ToolCall
from gptcore.trust import distrust, trust
from gptcore.workspace import Workspace
from gptengine.rl.rewards import Scored, Scorer
from gptengine.rl.tasks import Completion, Task, tasks_of
from gptengine.rl.user_rewards import FEWEST_CALLS
from tests.engine.tiny_models import TOOL, tool_talk

Make = Callable[..., Scorer]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    root = tmp_path / "ws"
    root.mkdir()
    trust(root)
    return Workspace(root)


@pytest.fixture
def make(workspace: Workspace) -> Iterator[Make]:
    """Makes scorers by one function of a file."""
    made: list[Scorer] = []

    def scorer(code: str, name: str = "f", *, timeout_s: float = 5.0, **weights: float) -> Scorer:
        (workspace.root / "my.py").write_text(code)
        weights = {f"my.py:{name}": 1.0} | weights
        made.append(Scorer(weights, workspace=workspace, timeout_s=timeout_s))
        return made[-1]

    yield scorer
    for each in made:
        each.close()


def completion(words: str = "Hello!", row: str = "rows.jsonl:7", **reference: Any) -> Completion:
    [task] = tasks_of(Prompt((Message("user", "Tell me."),), (TOOL,), reference), row)
    return Completion(task, (Answer(words, (), (), True),))


def score(scorer: Scorer, *words: str) -> list[Scored]:
    """Score completions of these words, from row 1 on."""
    return scorer.score([completion(each, f"rows.jsonl:{at + 1}") for at, each in enumerate(words)])


def body(*lines: str) -> str:
    """A function of that body."""
    return "def f(prompt, completion, tool_calls, reference):\n" + "".join(
        f"    {line}\n" for line in lines
    )


#: Finds the pipe that results come by, as no honest function would.
WRITABLE_PIPES = """
def fifos():
    import fcntl, os
    for each in map(int, os.listdir("/proc/self/fd")):
        try:
            if os.readlink(f"/proc/self/fd/{each}").startswith("pipe:"):
                if fcntl.fcntl(each, fcntl.F_GETFL) & os.O_WRONLY:
                    yield each
        except OSError:
            pass
"""


def told(scorer: Scorer) -> list[str]:
    return [str(problem) for problem in scorer.take_problems()]


# --- what it is told, and gives ----------------------------------------------------------------


def test_a_function_gets_prompt_completion_calls_and_reference(make: Make, tmp_path: Path) -> None:
    scorer = make(
        "import json\n"
        + body(
            "with open('seen', 'a') as file:",
            "    print(json.dumps([prompt, completion, tool_calls, reference]), file=file)",
            "return 1",
        )
    )
    call = ToolCall("look_up", {"topic": "whale", "depth": 2})
    first, second = tasks_of(tool_talk("whale", "a mammal", "It is a mammal."))
    result = Message("tool", "a fish", name="look_up")
    ran = Completion(
        first,
        (Answer("Let me see.", (call,), (), True), Answer("A fish.", (), (), True)),
        ((result,),),
    )
    scorer.score([ran, Completion(second, (Answer("A “fish”\n", (), (), True),))])
    scorer.score([completion("Hello!", limit=3, answer="mine")])
    seen = [json.loads(line) for line in (tmp_path / "ws/seen").read_text().splitlines()]
    wanted = {"name": "look_up", "arguments": {"topic": "whale"}}
    assert seen[0] == [
        [{"role": "user", "content": "What is a whale?"}],
        "A fish.",
        [{"name": "look_up", "arguments": {"topic": "whale", "depth": 2}}],
        {"answer": "It is a mammal.", "tool_calls": [wanted]},
    ]
    prompt, words, calls, reference = seen[1]
    assert [message["role"] for message in prompt] == ["user", "assistant", "tool"]
    assert prompt[1]["tool_calls"][0]["function"]["arguments"] == '{"topic": "whale"}'
    assert (words, calls) == ("A “fish”\n", [])
    assert reference == {"answer": "It is a mammal.", "tool_calls": []}
    assert seen[2][3] == {"limit": 3, "answer": "mine"}


@pytest.mark.parametrize(
    ("returned", "value"),
    [("0.5", 0.5), ("-3", -3), ("True", 1), ("len(completion)", 2), ("1e300", 1e300)],
)
def test_any_finite_number_is_a_reward(make: Make, returned: str, value: float) -> None:
    scorer = make(body(f"return {returned}"))
    assert score(scorer, "ab") == [Scored(value, {"my.py:f": value})]
    assert told(scorer) == []


def test_it_stands_beside_the_others(make: Make) -> None:
    scorer = make(body("return -len(completion) / 4"), format=3.0)
    [scored] = score(scorer, "ab")
    assert scored.parts == {"my.py:f": -0.5, "format": 1}
    assert scored.total == pytest.approx((-0.5 + 3) / 4)


def test_one_process_serves_all_calls(make: Make) -> None:
    scorer = make("import os\nseen = []\n" + body("seen.append(0)", "return len(seen)"))
    assert [each.total for each in score(scorer, *"abc")] == [1, 2, 3]


def test_several_functions_and_files_do_not_meet(workspace: Workspace) -> None:
    (workspace.root / "sub").mkdir()
    (workspace.root / "sub/helper.py").write_text("VALUE = 3\n")
    (workspace.root / "datasets").mkdir()
    (workspace.root / "json.py").write_text("raise RuntimeError('shadowed')\n")
    (workspace.root / "sub/my.py").write_bytes(
        b"# -*- coding: latin-1 -*-\nfrom sub.helper import VALUE\nimport json\n"
        + b"NAME = '\xe9'\n"
        + b"def f(*anything): return VALUE\n"
        + b"class C:\n    def __call__(self, a, b, c, d, e=0): return ord(NAME)\n"
        + b"g = C()\n"
    )
    with Scorer({"sub/my.py:f": 1, "sub/my.py:g": 0}, workspace=workspace) as scorer:
        [scored] = score(scorer, "x")
    assert scored == Scored(3, {"sub/my.py:f": 3, "sub/my.py:g": 0xE9})
    assert not list(workspace.root.rglob("__pycache__"))


def test_long_texts_pass(make: Make) -> None:
    scorer = make(body("return len(completion)"))
    assert score(scorer, "é" * 3_000_000, "a")[0].total == 3_000_000


def test_what_it_prints_disturbs_nothing_and_is_bounded(
    make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    scorer = make(
        "import os, subprocess, sys\nprint('loaded')\n"
        + body(
            "print('{\"value\": 9}')",
            "print('error', file=sys.stderr)",
            "os.write(1, b'{\"value\": 9}\\n')",
            "subprocess.run(['echo', '{\"value\": 9}'])",
            "try: input()",
            "except EOFError: pass",
            "print('x' * 10_000_000)",
            "return 1",
        )
    )
    assert [each.total for each in score(scorer, "a", "b")] == [1, 1]
    shown = capfd.readouterr().err
    assert shown.startswith('loaded\n{"value": 9}\nerror\nxxx')
    assert len(shown) == 1 << 16


# --- what it may not do ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("return float('nan')", "returned nan"),
        ("return float('inf')", "returned inf"),
        ("return 10 ** 400", "raised OverflowError: int too large to convert to float"),
        ("return '1.0'", "returned str, not a number"),
        ("return None", "returned NoneType, not a number"),
        ("return 'x' * 50_000_000", "returned str, not a number"),
        ("return 1 / 0", "raised ZeroDivisionError: division by zero (line 3)"),
        ("raise KeyError('a' * 10_000_000)", "raised KeyError: 'aaaa"),
        ("import sys; sys.exit('enough')", "raised SystemExit: enough (line 3)"),
        ("raise ValueError('\\x1b[2J')", "raised ValueError: \\x1b[2J (line 3)"),
        ("import os; os._exit(3)", "it ended its process, with status 3"),
        ("import os; os.kill(os.getpid(), 11)", "it was ended by SIGSEGV"),
        ("import os; os.closerange(0, 99); return 1", "it ended its process, with status 0"),
        ("import os; [os.write(d, b'x\\n') for d in fifos()]", "it wrote into the pipe"),
        ("bytearray(5 << 30)", "raised MemoryError"),
        ("return f(prompt, completion, tool_calls, reference)", "raised RecursionError"),
    ],
)
def test_what_fails_gives_nothing_and_is_told_with_its_row(
    make: Make, line: str, reason: str
) -> None:
    scorer = make(body("if completion != 'bad': return 1.0", line) + WRITABLE_PIPES, format=1.0)
    good, bad, after = score(scorer, "good", "bad", "good")
    assert bad == Scored(1, {"format": 1})
    assert good == after == Scored(1, {"my.py:f": 1, "format": 1})
    [message] = told(scorer)
    assert message.startswith(f"reward my.py:f gives nothing at rows.jsonl:2: {reason}")
    assert len(message) < 500
    assert told(scorer) == []


@pytest.mark.parametrize(
    "line",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import signal, os; os.kill(os.getpid(), signal.SIGSTOP)",
        "import subprocess; subprocess.run(['sleep', '61.75'])",
    ],
)
def test_what_hangs_is_ended_with_all_it_has_started(make: Make, line: str) -> None:
    scorer = make(body("if completion != 'bad': return 1.0", line), timeout_s=0.5)
    before = time.monotonic()
    good, bad, after = score(scorer, "good", "bad", "good")
    assert time.monotonic() - before < 10
    assert (good.total, bad.parts, after.total) == (1, {}, 1)
    assert told(scorer) == [
        "reward my.py:f gives nothing at rows.jsonl:2: it took longer than 0.5 s"
    ]
    scorer.close()
    assert not children()
    assert not [each for each in psutil.process_iter() if "61.75" in told_by(each)]


def told_by(process: psutil.Process) -> list[str]:
    """Its command line; nothing, where it has ended meanwhile or is another's."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def children() -> list[psutil.Process]:
    return [
        each for each in psutil.Process().children() if "reward_child" in " ".join(each.cmdline())
    ]


def test_one_that_dies_between_calls_is_started_again(make: Make) -> None:
    scorer = make(body("return 1"))
    score(scorer, "a")
    [child] = children()
    child.kill()
    child.wait()
    assert score(scorer, "b")[0].total == 1
    assert told(scorer) == []


def test_the_environment_is_scrubbed(
    make: Make, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "PYTHONPATH")
    for name in secrets:
        monkeypatch.setenv(name, "/secret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    scorer = make(
        "import json, os, sys\n"
        + body(
            "first = open('/proc/self/environ').read()",
            "with open('seen', 'w') as file:",
            "    json.dump([dict(os.environ), os.getcwd(), sys.path, first], file)",
            "return 1",
        )
    )
    score(scorer, "a")
    environment, folder, path, first = json.loads((workspace.root / "seen").read_text())
    assert "/secret" not in first
    assert not set(secrets) & environment.keys()
    assert environment["LANG"] == "C.UTF-8"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert folder == str(workspace.root)
    assert path[-1] == str(workspace.root)  # behind all that is installed


def test_it_ends_with_the_training_however_that_ends(workspace: Workspace) -> None:
    (workspace.root / "my.py").write_text(body("while True: pass"))
    code = (
        "import sys\nfrom pathlib import Path\nfrom gptcore.workspace import Workspace\n"
        "from gptengine.rl.user_rewards import UserReward\n"
        "from gptengine.rl.tasks import Completion, Task\n"
        "from gptcore.answers import Answer\n"
        "reward = UserReward('my.py:f', Workspace(Path(sys.argv[1])), timeout_s=100)\n"
        "print('ready', flush=True)\n"
        "reward(Completion(Task(()), (Answer('', (), (), True),)))\n"
    )
    training = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace.root)], stdout=subprocess.PIPE
    )
    assert training.stdout is not None
    try:
        assert training.stdout.readline() == b"ready\n"
        time.sleep(0.3)  # it is at work
        [child] = psutil.Process(training.pid).children()
    finally:
        training.kill()
        training.wait()
        training.stdout.close()
    child.wait(5)


# --- how failures are told ---------------------------------------------------------------------


def test_the_first_few_are_named_and_then_they_are_counted(make: Make) -> None:
    scorer = make(body("return 1 if completion == 'good' else None"))
    named, counted = [], []
    for _ in range(30):
        score(scorer, "bad", "good", "good")
        for problem in scorer.take_problems():
            (named if problem.failed <= 3 else counted).append(problem)
    assert [problem.row for problem in named] == ["rows.jsonl:1"] * 3
    assert [(problem.failed, problem.asked) for problem in counted] == [(10, 28), (20, 58)]
    assert str(counted[0]) == (
        "reward my.py:f has given nothing 10 times of 28; the last at rows.jsonl:1:"
        " returned NoneType, not a number"
    )


def test_one_that_mostly_fails_ends_the_training(make: Make) -> None:
    scorer = make(body("raise ValueError('no')"))
    score(scorer, *["x"] * (FEWEST_CALLS - 1))
    with pytest.raises(UserError, match="nothing for 20 of the last 20") as caught:
        score(scorer, "x")
    assert caught.value.where == "rewards: my.py:f"
    assert "rows.jsonl:1: raised ValueError: no (line 2)" in caught.value.what


def test_one_that_fails_at_half_goes_on_until_it_fails_at_more(make: Make) -> None:
    scorer = make(body("return None if completion == 'bad' else 1"))
    score(scorer, *["good", "bad"] * 100)
    with pytest.raises(UserError, match="51 of the last 100"):
        score(scorer, *["bad"] * 3)


# --- what cannot be used -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("def f(:\n", r"is not Python: .* \(line 1\)"),
        ("\nimport no_such_module\n", r"No module named 'no_such_module' \(line 2\)"),
        ("raise SystemExit\n", r"raised SystemExit \(line 1\)"),
        ("import os\nos._exit(0)\n", "ended its process, with status 0 while it was loaded"),
        ("def g(*a): pass\ndef h(*a): pass", "no function f in it; there are g, h"),
        ("", "no function f in it\n"),
        ("f = 3\n", "f is no function in it"),
        ("def f(prompt): return 1\n", "f does not take prompt, completion, tool_calls, reference"),
    ],
)
def test_a_function_that_cannot_be_loaded_is_refused_at_once(
    make: Make, code: str, what: str
) -> None:
    with pytest.raises(UserError, match=what) as caught:
        make(code)
    assert caught.value.where == "rewards: my.py:f"
    assert not children()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("no.py:f", "there is no file no.py"),
        ("sub.py:f", "there is no file sub.py"),
        ("../outside.py:f", "is not in the workspace"),
        ("link.py:f", "is not in the workspace"),
        ("folder/outside.py:f", "is not in the workspace"),
        ("my.py:", "nothing is no name of a function"),
        ("my.py:f()", r"f\(\) is no name"),
        ("my.py", "there is no reward my.py"),
    ],
)
def test_a_file_that_is_not_the_workspaces_own_is_refused(
    workspace: Workspace, tmp_path: Path, name: str, what: str
) -> None:
    (tmp_path / "outside.py").write_text(body("return 1"))
    (workspace.root / "my.py").write_text(body("return 1"))
    (workspace.root / "link.py").symlink_to(tmp_path / "outside.py")
    (workspace.root / "folder").symlink_to(tmp_path)
    (workspace.root / "sub.py").mkdir()
    with pytest.raises(UserError, match=what):
        Scorer({name: 1.0}, workspace=workspace)
    with pytest.raises(UserError, match="is not in the workspace"):
        Scorer({f"{tmp_path / 'outside.py'}:f": 1.0}, workspace=workspace)


def test_nothing_is_run_in_a_workspace_that_is_not_trusted(
    make: Make, workspace: Workspace
) -> None:
    distrust(workspace.root)
    with pytest.raises(UserError, match=r"my\.py is code, and this workspace is not") as caught:
        make("open('ran', 'w')\n" + body("return 1"))
    assert "gptstudio trust" in caught.value.fix
    assert not (workspace.root / "ran").exists()


def test_where_one_is_refused_the_others_are_ended(workspace: Workspace) -> None:
    (workspace.root / "my.py").write_text(body("return 1"))
    with pytest.raises(UserError, match=r"no file no\.py"):
        Scorer({"my.py:f": 1.0, "no.py:f": 1.0}, workspace=workspace)
    assert not children()


def test_a_file_that_changes_in_the_course_changes_nothing(
    make: Make, workspace: Workspace
) -> None:
    scorer = make(body("import os", "if completion == 'die': os._exit(0)", "return 1"))
    (workspace.root / "my.py").write_text("broken(")
    assert [each.parts for each in score(scorer, "a", "die", "b")] == [
        {"my.py:f": 1},
        {},
        {"my.py:f": 1},
    ]


def test_a_record_may_lack_a_row(make: Make) -> None:
    scorer = make(body("return None"))
    scorer.score([Completion(Task((Message("user", "x"),)), (Answer("y", (), (), True),))])
    assert told(scorer) == ["reward my.py:f gives nothing: returned NoneType, not a number"]
