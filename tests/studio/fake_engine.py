"""A stand-in for the engine: keeps the run record as the supervisor does, trains nothing.

Started as `fake_engine.py -m gptengine... ARGUMENTS`; the variable FAKE_ENGINE says what happens.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from gptcore import events
from gptcore.control import FileLock, take
from gptcore.journal import JournalWriter
from gptcore.status import Status, read_status, write_status
from gptcore.workspace import RunPaths, Workspace

STEPS = 20


class Engine:
    def __init__(self, run: RunPaths) -> None:
        self.run = run
        self.lock = FileLock(run.lock)
        assert self.lock.acquire(1)
        before = read_status(run)
        self.journal = JournalWriter(run.events)
        self.status = Status(
            run=run.name,
            state="starting",
            stages=["tokenizer", "pretrain"],
            attempt=before.attempt + 1 if before else 1,
            started=before.started if before else time.time(),
            heartbeat=time.time(),
            supervisor_pid=os.getpid(),
            micro_batch=before.micro_batch if before else 0,
            device="cpu",
        )
        write_status(run, self.status)
        self.write(events.RunChange("starting", attempt=self.status.attempt))

    def write(self, payload: events.Payload, step: int | None = None, stage: str = "") -> None:
        line = events.encode(payload, time=time.time(), run=self.run.name, stage=stage, step=step)
        self.journal.append(line)

    def change(self, **fields: object) -> None:
        for name, value in fields.items():
            setattr(self.status, name, value)
        self.status.heartbeat = time.time()
        write_status(self.run, self.status)

    def end(self, state: str, code: int, **fields: object) -> int:
        self.write(events.RunChange(state, attempt=self.status.attempt))
        self.change(state=state, exit_code=code, **fields)
        return code

    def supervise(self, mode: str) -> int:
        self.change(state="running", stage="tokenizer")
        self.write(events.StageChange("start"), stage="tokenizer")
        self.write(events.Progress("merging", 50, 100, "merges"), stage="tokenizer")
        self.write(events.StageChange("end", output="tokenizers/t"), stage="tokenizer")
        if mode == "fail":
            failure = events.Failure("memory ran out", "pretrain", "--set pretrain.micro_batch=1")
            print("RuntimeError: \x1b[31mout of memory", flush=True)
            return self.end("failed", 1, stage="pretrain", error=failure)
        self.change(stage="pretrain", total_steps=STEPS)
        start = events.StageChange("start", total_steps=STEPS, details={"parameters": 1234567})
        self.write(start, stage="pretrain")
        step = 0
        while step < STEPS:
            for command in take(self.run):
                outcome = "refused" if command.name == "pause" and mode == "refuse" else "done"
                self.write(events.Answer(command.id, command.name, outcome, f"at step {step}"))
                if command.name == "stop":
                    return self.end("stopped", 3, step=step)
            step += mode not in ("wait", "refuse")
            self.write(events.Step(3.0 - step / 20, 1e-3, 1.0, step * 512, 900.0), step, "pretrain")
            self.change(step=step, loss=3.0 - step / 20)
            if mode == "die" and step == 5:
                os._exit(9)
            time.sleep(0.03)
        self.write(events.Eval(2.25, best=True), step, "pretrain")
        self.write(events.Sample("The ", "[bold]cat\x1b[2J\x1b]0;owned\x07"), step, "pretrain")
        self.write(events.Checkpoint("checkpoints/x/pretrain/step-20", "end"), step, "pretrain")
        self.write(events.Warn("low on [red]disk"), step, "pretrain")
        outputs = {"tokenizer": "tokenizers/t", "pretrain": "models/m"}
        self.write(events.StageChange("end", output="models/m"), stage="pretrain")
        if mode in ("rewards", "preferences"):
            outputs |= self.learn_from_rewards("rgpo" if mode == "rewards" else "orpo")
        return self.end("done", 0, val_loss=2.25, outputs=outputs)

    def learn_from_rewards(self, stage: str) -> dict[str, str]:
        self.change(stage=stage, stages=[*self.status.stages, stage], total_steps=STEPS)
        self.write(events.StageChange("start", total_steps=STEPS), stage=stage)
        for step in range(1, STEPS + 1):
            told = events.Reward(accuracy=0.91, margin=0.4)
            if stage == "rgpo":
                told = events.Reward(mean=step / 25, std=0.1, parts={"[b]\x1b[2J": 0.5}, kl=1.2)
            self.write(told, step, stage)
            self.write(events.Step(0.1, 1e-3, 1.0, step * 512, 900.0), step, stage)
            self.change(step=step, loss=0.1, reward=told.mean, accuracy=told.accuracy)
            time.sleep(0.03)
        if stage == "orpo":
            self.write(events.Reward(accuracy=0.88, held_out=True), STEPS, stage)
        self.write(events.Sample("Hello!", "[bold]a call\x1b[2J"), STEPS, stage)
        self.write(events.StageChange("end", output=f"models/m-{stage}"), stage=stage)
        return {stage: f"models/m-{stage}"}


def main(arguments: list[str]) -> int:
    mode = os.environ.get("FAKE_ENGINE", "done")
    module, *rest = arguments[1:]
    if module == "gptengine.supervise":
        if mode in ("hang", "deaf", "late"):
            if mode != "hang":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("still importing", flush=True)
            time.sleep(6 if mode == "late" else 60)
        if mode == "silent":
            print("Traceback (most recent call last):\nImportError: no [red]torch here")
            return 1
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert os.getsid(0) == os.getpid()
        _, root, _, name = rest
        return Engine(Workspace(Path(root)).run(name)).supervise(mode)
    if rest[0] == "versions":
        print(json.dumps({"torch": "9.9", "cuda": None, "device": "cpu"}))
    else:
        print(json.dumps(rest))
        return 7 if mode == "fail" else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
