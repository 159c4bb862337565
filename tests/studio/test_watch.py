"""Following a run whose record another thread writes."""

import io
import re
import threading
import time
from pathlib import Path

import pytest

from gptcore import events
from gptcore.control import FileLock
from gptcore.journal import JournalWriter
from gptcore.status import Status, write_status
from gptcore.workspace import RunPaths, Workspace
from gptstudio.display import LiveDisplay, PlainDisplay, amount_done, live_lines
from gptstudio.run_view import RunView
from gptstudio.summary import summarise
from gptstudio.watch import follow


class Recorder:
    """Writes the record of a run as its engine does."""

    def __init__(self, workspace: Workspace, name: str = "r") -> None:
        self.run = workspace.run(name)
        self.run.folder.mkdir(parents=True)
        self.lock = FileLock(self.run.lock)
        assert self.lock.acquire()
        self.journal = JournalWriter(self.run.events)
        self.status = Status(
            name, "running", stages=["tokenizer", "pretrain"], heartbeat=time.time()
        )
        self.save()

    def save(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self.status, name, value)
        write_status(self.run, self.status)

    def write(self, payload: events.Payload, step: int | None = None) -> None:
        stage = "pretrain"
        line = events.encode(payload, time=time.time(), run="r", stage=stage, step=step)
        self.journal.append(line)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


@pytest.fixture
def recorder(workspace: Workspace) -> Recorder:
    return Recorder(workspace)


def test_plain_output_and_summary(
    workspace: Workspace, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    def train() -> None:
        recorder.write(events.RunChange("starting"))
        recorder.write(events.StageChange("start", total_steps=40))
        for step in range(1, 41):
            recorder.write(events.Step(4 - step / 20, 1e-3, 1.0, step, 12_345.0, eta_s=75.0), step)
            if step == 20:
                time.sleep(0.5)
                recorder.write(events.Eval(3.5), step)
                recorder.write(events.Checkpoint("checkpoints/r/step-20", "asked"), step)
        recorder.write(events.StageChange("end", output="models/r", scores={"val_loss": 3.5}))
        recorder.save(state="done", exit_code=0, stage="pretrain", outputs={"pretrain": "models/r"})
        recorder.lock.release()

    thread = threading.Thread(target=train)
    thread.start()
    assert follow(workspace, recorder.run, display=PlainDisplay(interval=0.0)) == 0
    thread.join()
    out = capsys.readouterr().out
    assert "step 20/40  50%  loss 3.0000" in out
    assert "12.3k tok/s" in out
    assert "1 min 15 s left" in out
    assert "step 20: checkpoint checkpoints/r/step-20 (asked)" in out
    assert "r is done: loss 2.0000, validation loss 3.5000." in out
    assert 'gptstudio generate r --prompt "The "' in out


def test_torn_lines_and_unknown_kinds_are_passed_over(recorder: Recorder) -> None:
    recorder.write(events.Warn("one"))
    with recorder.run.events.open("ab") as file:
        file.write(b'{"kind":"step","time"\n{"kind":"novel","time":1,"run":"r","data":[1]}\n')
        file.write(b'{"kind":"stage","time":1,"run":"r","data":{"phase":"novel"}}\n')
    recorder.write(events.Warn("two"))
    news = list(RunView().follow(events.EventReader(recorder.run.events)))
    assert [each.text for each in news] == ["warning: one", "warning: two"]


def test_a_note_is_news(recorder: Recorder) -> None:
    recorder.write(events.Note("fine-tuning by peft: \x1b[31mas set"))
    (news,) = RunView().follow(events.EventReader(recorder.run.events))
    assert news.text.startswith("fine-tuning by peft: ")
    assert "\x1b" not in news.text


def test_what_is_counted_has_no_decimals(recorder: Recorder) -> None:
    view = RunView()
    for done, total, shown in (
        (32, 60, "32/60"),
        (3.25, 7.5, "3.25/7.50"),
        (12.5, 60, "12.5/60.0"),
    ):
        recorder.write(events.Progress("reading", done, total, "of them"))
        list(view.follow(events.EventReader(recorder.run.events)))
        assert amount_done(view)[0] == f"reading  {shown} of them"


def test_what_lies_before_is_not_news_but_counts(recorder: Recorder) -> None:
    recorder.write(events.StageChange("start", total_steps=9))
    recorder.write(events.Step(1.5, 1e-3, 1.0, 1), 7)
    recorder.write(events.Warn("old"))
    since = recorder.run.events.stat().st_size
    recorder.write(events.Warn("new"))
    view = RunView()
    news = list(view.follow(events.EventReader(recorder.run.events), since))
    assert [each.text for each in news] == ["warning: new"]
    assert (view.step, view.total_steps) == (7, 9)


def numbers(recorder: Recorder) -> list[str]:
    view = RunView()
    list(view.follow(events.EventReader(recorder.run.events)))
    return view.numbers()


def test_rewards_matter_more_than_the_loss(recorder: Recorder) -> None:
    recorder.write(events.Reward(mean=0.834, std=0.2, kl=1.21), 1)
    recorder.write(events.Step(-0.01, 1e-4, 1.0, 1), 1)
    assert numbers(recorder) == ["reward 0.83", "KL 1.21", "lr 1.0e-04"]
    recorder.write(events.Reward(mean=0.9, held_out=True), 1)
    recorder.write(events.Step(None, 1e-4, None, 1, skipped=True), 2)
    assert numbers(recorder)[:2] == ["not finite, step skipped", "reward 0.83"]
    assert "held-out reward 0.90" in numbers(recorder)


def test_preferences_are_told_beside_the_loss(recorder: Recorder) -> None:
    recorder.write(events.Reward(accuracy=0.914, margin=0.3), 1)
    recorder.write(events.Step(0.5, 1e-4, 1.0, 1), 1)
    recorder.write(events.Reward(accuracy=0.75, held_out=True), 1)
    assert numbers(recorder)[:3] == ["accuracy 91%", "held-out accuracy 75%", "loss 0.5000"]
    view = RunView()
    (news,) = view.follow(events.EventReader(recorder.run.events))
    assert (news.text, news.kind) == ("step 1: held out: accuracy 75%", "minor")


def test_another_stage_has_rewards_of_its_own(recorder: Recorder) -> None:
    recorder.write(events.Reward(mean=0.8), 9)
    recorder.write(events.StageChange("start", total_steps=9))
    recorder.write(events.Step(1.5, 1e-3, 1.0, 1), 1)
    assert numbers(recorder) == ["loss 1.5000", "lr 1.0e-03"]


def test_a_reward_model_is_not_one_to_talk_to(workspace: Workspace, recorder: Recorder) -> None:
    outputs = {"finetune": "models/talks", "reward": "models/judges"}
    recorder.save(state="done", exit_code=0, outputs=outputs)
    said = summarise(workspace, recorder.run, recorder.status, RunView())
    assert "models/judges" in said
    assert "gptstudio generate talks" in said
    recorder.save(outputs={"reward": "models/judges"})
    assert "to try it" not in summarise(workspace, recorder.run, recorder.status, RunView())


def test_resume_goes_back(recorder: Recorder) -> None:
    recorder.write(events.Step(1.5, 1e-3, 1.0, 1), 7)
    recorder.write(events.Resume(2, 5), 5)
    view = RunView()
    assert [each.text for each in view.follow(events.EventReader(recorder.run.events))] == [
        "goes on from step 5"
    ]
    assert view.step == 5


def test_a_run_whose_lock_is_free_is_lost(
    workspace: Workspace, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.lock.release()
    recorder.run.log.write_text("one\ntwo \x1b[1m[bold]\n")
    assert follow(workspace, recorder.run, display=PlainDisplay()) == 1
    out = capsys.readouterr().out
    assert "r is lost" in out
    assert "gptstudio resume r" in out
    assert "  | two \\x1b[1m[bold]\n" in out


@pytest.mark.parametrize(("cause", "code"), [("crash", 1), ("memory", 1), ("input", 2)])
def test_exit_status_of_a_failure(
    workspace: Workspace, recorder: Recorder, cause: str, code: int
) -> None:
    recorder.save(state="failed", error=events.Failure("it broke", "here", "mend it", cause))
    assert follow(workspace, recorder.run, display=PlainDisplay()) == code


def test_commands_name_a_workspace_that_is_elsewhere(
    workspace: Workspace,
    recorder: Recorder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir("/")
    recorder.save(state="stopped", exit_code=3)
    assert follow(workspace, recorder.run, display=PlainDisplay()) == 3
    assert f"gptstudio resume r --workspace {workspace.root}" in capsys.readouterr().out


def hostile_view(run: RunPaths) -> tuple[RunView, Status]:
    view = RunView(stage="pretrain", step=123456, total_steps=1000000)
    view.last = events.Step(2.34567, 6e-4, 1.0, 99, 123456.0, 0.31, 12 << 30, 360000.0)
    view.val_loss = 2.5
    status = Status("n" * 60 + "[red]\x1b[2J", "running", ["pretrain"], "pretrain", device="cuda:0")
    status.heartbeat = time.time()
    return view, status


@pytest.mark.parametrize("width", [40, 80, 200])
def test_live_lines_hold_the_width(recorder: Recorder, width: int) -> None:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, markup=False, force_terminal=False)
    console.print(live_lines(*hostile_view(recorder.run)))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert all(len(line) <= width for line in lines)
    assert "\x1b" not in "".join(lines)
    if width == 80:
        assert "step 123456/1000000  12%  4 d 4 h left" in lines[1]
        assert lines[2].startswith("loss 2.3457  val 2.5000  123k tok/s  MFU 31%  12.0 GiB")


def test_live_display_shows_markup_and_escapes_as_text(recorder: Recorder) -> None:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    view = RunView()
    recorder.write(events.Sample("The ", "[bold]cat[/] :smile: \x1b]0;owned\x07"), 3)
    recorder.write(events.Warn("[link=x]y"))
    with LiveDisplay(console) as display:
        for news in view.follow(events.EventReader(recorder.run.events)):
            display.news(news)
        display.update(view, recorder.status)
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "  | The [bold]cat[/] :smile: \\x1b]0;owned\\x07" in text
    assert "warning: [link=x]y" in text
    assert "\x1b]" not in text
