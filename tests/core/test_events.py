"""The typed records between engine and studio."""

from pathlib import Path

from gptcore import events
from gptcore.events import EventReader, decode, drop_superseded, encode
from gptcore.journal import JournalWriter


def line(payload: events.Payload, step: int | None = None, stage: str = "pretrain") -> bytes:
    return encode(payload, time=1.0, run="r", stage=stage, step=step)


def test_every_kind_survives_the_way() -> None:
    payloads: list[events.Payload] = [
        events.RunChange("running", 2, "why", 4),
        events.StageChange("end", output="models/x", scores={"val_loss": 1.5}),
        events.Resume(2, 7),
        events.Progress("tokenizing", 1.0, 2.0, "MB"),
        events.Step(loss=1.0, lr=1e-3, grad_norm=None, tokens=5, skipped=True),
        events.Eval(val_loss=2.0, best=True),
        events.Reward(mean=0.5, std=0.1, parts={"function": 0.9}, kl=2.0, prompts=8),
        events.Sample("p", "t\x1b[2J"),
        events.Checkpoint("checkpoints/r/pretrain/step-00000001", "asked"),
        events.Warn("w"),
        events.Note("n"),
        events.Failure("what", "where", "fix", "memory"),
        events.Answer("id", "stop", "done"),
    ]
    assert {type(payload) for payload in payloads} == set(events.KINDS.values())
    for payload in payloads:
        event = decode(line(payload, step=3))
        assert event is not None
        assert event.payload() == payload
        assert (event.run, event.stage, event.step) == ("r", "pretrain", 3)


def test_unknown_kinds_and_fields_are_tolerated() -> None:
    event = decode(b'{"kind":"hologram","time":1,"run":"r","data":{"x":1},"v":9,"new":[]}')
    assert event is not None
    assert event.payload() is None
    step = decode(b'{"kind":"warning","time":1,"run":"r","data":{"message":"m","level":3}}')
    assert step is not None
    assert step.payload() == events.Warn("m")


def test_broken_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "e"
    writer = JournalWriter(path)
    for raw in (b'{"kind":"st', b"\xff\xfe", b"[]", line(events.Warn("kept")), b"null"):
        writer.append(raw)
    assert [event.payload() for event in EventReader(path).read()] == [events.Warn("kept")]


def test_resume_undoes_later_steps_of_its_stage_only() -> None:
    def step(number: int, stage: str = "pretrain") -> bytes:
        return line(events.Step(float(number), 1e-3, 1.0, number), number, stage)

    raw = [step(9, "tokenizer"), step(1), step(2), step(3), line(events.Resume(2, 1), 1), step(2)]
    kept = drop_superseded(event for each in raw if (event := decode(each)))
    assert [(event.stage, event.step) for event in kept if event.kind == "step"] == [
        ("tokenizer", 9),
        ("pretrain", 1),
        ("pretrain", 2),
    ]


def test_resume_undoes_whatever_belongs_to_a_later_step() -> None:
    def all_of(step: int) -> list[bytes]:
        payloads = (events.Eval(1.0), events.Reward(mean=0.5), events.Sample("a", "b"))
        return [line(payload, step, "ppo") for payload in payloads]

    raw = [*all_of(1), *all_of(2), line(events.Warn("kept"), 2, "ppo")]
    raw.append(line(events.Resume(2, 1), 1, "ppo"))
    kept = drop_superseded(event for each in raw if (event := decode(each)))
    steps = [(event.kind, event.step) for event in kept]
    assert steps == [
        ("eval", 1), ("reward", 1), ("sample", 1), ("warning", 2), ("resume", 1)
    ]  # fmt: skip
