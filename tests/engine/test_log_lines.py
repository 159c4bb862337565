import msgspec
import pytest

from gptcore import events
from gptcore.workspace import Workspace, make_private_dir
from gptengine.log_lines import log_line
from gptengine.report import Report


def test_a_log_says_what_the_record_says(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = workspace.run("r")
    make_private_dir(run.folder)
    report = Report(run, "pretrain")
    report.write(events.StageChange("start"))
    for step in range(1, 50):
        report.write(events.Step(3.25, 1e-3, 1.0, step * 512, 6543.2), step=step)
        report.write(events.Reward(mean=0.5, kl=1.0), step=step)
    report.write(events.Reward(accuracy=0.9, margin=2.0, held_out=True), step=49)
    report.write(events.Eval(2.5, best=True), step=49)
    report.warn("low on disk")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("] ")[2] for line in lines] == [
        "pretrain  stage start",
        "pretrain  step 1  loss 3.2500  lr 1.00e-03  6,543 tokens/s",  # a line a second, not a step
        "pretrain  step 1  reward 0.500  KL 1.00",
        "pretrain  step 49  held-out  accuracy 90.0%  margin 2.000",
        "pretrain  step 49  validation loss 2.5000 (best so far)",
        "pretrain  warning: low on disk",
    ]
    assert run.events.read_bytes().count(b"\n") == 102


HOSTILE = "\x1b[2J\x1b]0;owned\x07 [red]\u202eevil\x00\nsecond line"


@pytest.mark.parametrize("payload", events.KINDS.values(), ids=events.KINDS)
def test_no_record_can_do_anything_to_a_terminal(payload: type[events.Payload]) -> None:
    filled: dict[str, object] = {}
    for field in msgspec.structs.fields(payload):
        if field.type is str:
            filled[field.name] = HOSTILE
        elif field.required:
            filled[field.name] = {"phase": "start", "outcome": "done"}.get(field.name, 1.0)
    line = log_line(payload(**filled), 7)
    assert all(character.isprintable() for character in line)
    assert "\u202e" not in line
