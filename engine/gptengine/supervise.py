"""The supervisor: one process a run, free of torch, from the queue to the last stage.

``python -m gptengine.supervise --workspace DIR --run NAME``, started detached. It holds the run's
lock, alone writes ``status.json``, waits in the queue, starts each stage as a child, relaunches it
with half the micro-batch where memory ran out, and says why a run failed and what to do. What it
knows of a stage it reads from the record, like everyone else.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from gptcore import control, events
from gptcore.errors import EXIT_BAD_INPUT, UserError, disk_error
from gptcore.events import EventReader, Failure
from gptcore.journal import last_lines
from gptcore.profile import Profile, read_profile
from gptcore.settings import TrainingSettings, TuningSettings
from gptcore.stages import STAGES
from gptcore.status import Status, read_status, write_status
from gptcore.workspace import RunPaths, Workspace, replace_link, write_atomic
from gptengine.child import kernel_oom_kills, start_stage
from gptengine.queue import Ticket, devices_for
from gptengine.report import Report

POLL_S = 0.1
HEARTBEAT_S = 1.0
QUEUE_POLL_S = 0.5
#: A reader that asks whether the lock is held holds it for an instant.
LOCK_TIMEOUT_S = 2.0
#: What the processes under a torchrun that was killed may take to save and end.
WORKERS_END_S = 120.0
RESERVED_BYTES = 1 << 16

EXIT_CODES = {"done": 0, "failed": 1, "stopped": 3}


class Supervisor:
    """Brings one run from its present state to an end.

    Args:
        workspace: The person's.
        run: The run; its lock is held.
        lock: The lock, to hand on to the stages.
    """

    def __init__(self, workspace: Workspace, run: RunPaths, lock: control.FileLock) -> None:
        self._workspace = workspace
        self._run = run
        self._lock = lock
        before = read_status(run)
        if before is not None and before.state == "done":
            raise UserError(
                f"the run {run.name} is finished",
                where=str(run.folder),
                fix="start a new one with gptstudio run",
            )
        lived = before is not None or run.events.exists()
        self._status = before or Status(
            run.name, "starting", attempt=int(lived), started=time.time()
        )
        self._status.attempt += 1
        self._status.started = self._status.started or time.time()
        self._status.supervisor_pid, self._status.stage_pid = os.getpid(), 0
        self._status.device = ""  # claimed anew
        self._status.error = self._status.exit_code = None
        self._status.message = ""
        self._report = Report(run)
        self._events = EventReader(run.events, run.events.stat().st_size)
        self._outcome: events.StageChange | Failure | None = None
        self._stop_asked = False
        self._last_beat = 0.0

    def run(self) -> int:
        """Perform the stages; the result is the exit status."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        try:
            self._refuse_commands("given before the run was started again")
            profile = read_profile(self._run.profile)
            self._status.stages = list(profile.pipeline.performed)
            self._set_state("starting")
            self._await_workers()
            self._reserve()
            replace_link(self._workspace.logs / "training.log", self._run.log)
            state = self._perform(profile)
        except UserError as error:
            self._status.error = Failure(error.what, error.where, error.fix, "input")
            state = "failed"
        except OSError as error:
            trouble = disk_error(error.errno, str(error.filename or self._run.folder))
            trouble = trouble or UserError(str(error), where=str(self._run.folder))
            fix = f"{trouble.fix or 'mend that'}, then gptstudio resume {self._run.name}"
            self._status.error = Failure(trouble.what, trouble.where, fix, "input")
            state = "failed"
        return self._end(state)

    def _perform(self, profile: Profile) -> str:
        if not self._wait_for_device(profile):
            return "stopped"
        parent = ""
        for stage in profile.pipeline.performed:
            made = self._status.outputs.get(stage, "")
            if not (made and (self._workspace.root / made).is_dir()):
                state = self._perform_stage(profile, stage, parent)
                if state != "done":
                    return state
                made = self._status.outputs[stage]
            parent = parent if STAGES[stage].aside else made
        return "done"

    # The queue

    def _wait_for_device(self, profile: Profile) -> bool:
        """Whether the devices were claimed; False where a stop command came first."""
        devices = devices_for(profile.engine)
        ticket = Ticket(self._workspace, self._run, devices)

        def claim() -> None:
            self._status.device = " ".join(devices)
            self._status.message = ""
            self._status.state = "starting"
            self._beat(now=True)

        try:
            while reason := ticket.try_claim(profile, self._status.micro_batch, claim):
                if self._status.message != reason:
                    self._status.message = reason
                    self._set_state("queued", f"waiting: {reason}")
                deadline = time.monotonic() + QUEUE_POLL_S
                while time.monotonic() < deadline:
                    if self._takes_stop("the run waits in the queue"):
                        return False
                    self._beat()
                    time.sleep(POLL_S)
        finally:
            ticket.give_up()
        return True

    # One stage

    def _perform_stage(self, profile: Profile, stage: str, parent: str) -> str:
        """Start the stage, again with half the micro-batch where memory runs out."""
        if self._status.stage != stage:  # it was another one's that had to be halved
            self._status.stage, self._status.micro_batch = stage, 0
        while True:
            if self._takes_stop("no stage is at work"):
                return "stopped"
            outcome = self._watch(profile, stage, parent)
            if isinstance(outcome, Failure):
                if outcome.cause == "memory" and self._halve_micro_batch(profile, outcome):
                    continue
                self._status.error = outcome
                return "failed"
            if outcome.phase == "stopped":
                return "stopped"
            self._status.outputs[stage] = outcome.output
            return "done"

    def _watch(self, profile: Profile, stage: str, parent: str) -> events.StageChange | Failure:
        """One process of the stage, from its start to its end."""
        status = self._status
        status.step = status.total_steps = 0
        status.loss = status.val_loss = status.eta_s = None
        status.reward = status.accuracy = status.val_accuracy = None
        self._outcome = None
        kills = kernel_oom_kills()
        child = start_stage(
            self._workspace,
            self._run,
            profile,
            stage,
            attempt=status.attempt,
            parent=parent,
            micro_batch=status.micro_batch,
            lock=self._lock.descriptor,
        )
        status.stage_pid = child.pid
        self._set_state("running")
        while child.poll() is None:
            if self._stop_asked:
                self._stop_asked = False
                control.send(self._run, "stop")
            self._follow_events()
            if any(command.name == "stop" for command in control.pending(self._run)):
                status.state = "stopping"
            self._beat()
            time.sleep(POLL_S)
        self._await_workers()
        self._follow_events()
        status.stage_pid = 0
        return self._outcome or self._explain_death(child, stage, kernel_oom_kills() > kills)

    def _await_workers(self) -> None:
        """Wait for processes that outlive their torchrun: they save, and end by themselves.

        Raises:
            UserError: They do not.
        """
        deadline = time.monotonic() + WORKERS_END_S
        while any(control.is_locked(path) for path in control.worker_locks(self._run)):
            if time.monotonic() > deadline:
                raise UserError(
                    f"processes of the run {self._run.name} do not end",
                    where=str(self._run.folder),
                    fix="end them (ps x | grep gptengine), then resume the run",
                )
            self._beat()
            time.sleep(POLL_S)

    def _follow_events(self) -> None:
        """Bring the status up to date with what the stage has put on record."""
        status = self._status
        for event in self._events.read():
            match event.payload():
                case events.Step() as step:
                    status.step = event.step or 0
                    status.loss, status.tokens_per_s = step.loss, step.tokens_per_s
                    status.eta_s, status.memory = step.eta_s, step.memory
                    status.speeds[status.stage] = step.tokens_per_s
                case events.Eval() as evaluation:
                    status.val_loss = evaluation.val_loss
                case events.Reward(held_out=True) as reward:
                    status.val_accuracy = reward.accuracy
                case events.Reward() as reward:
                    status.reward, status.accuracy = reward.mean, reward.accuracy
                case events.StageChange(phase="start") as start:
                    status.step, status.total_steps = event.step or 0, start.total_steps
                case events.StageChange() | Failure() as outcome:
                    self._outcome = outcome
                case events.RunChange(state="paused" | "running" as state) if event.stage:
                    status.state = state
                case events.Answer(command="stop", outcome="done"):
                    status.state = "stopping"
                case events.Warn() as warning:
                    status.message = warning.message

    def _explain_death(
        self, child: subprocess.Popen[bytes], stage: str, kernel_killed: bool
    ) -> Failure:
        """Why a stage ended without a word in the record."""
        log = self._workspace.relative(self._run.log)
        resume = f"gptstudio resume {self._run.name}"
        code = child.returncode
        if code == -signal.SIGKILL and kernel_killed:
            return Failure(
                f"the kernel killed the stage {stage}: main memory ran out",
                log,
                f"lower {stage}.micro_batch or data sizes, or free memory, then {resume}",
            )
        if code < 0:
            name = signal.Signals(-code).name
            return Failure(f"the stage {stage} was killed by {name}", log, resume)
        lines = [line.decode(errors="replace").strip() for line in last_lines(self._run.log, 20)]
        # Lines of ours begin with the time; what a crash leaves does not.
        foreign = (line for line in reversed(lines) if line and not line.startswith("["))
        last = next(foreign, f"exit status {code}")
        if code == EXIT_BAD_INPUT:  # it could not write its error into the record
            what = last.removeprefix("error: ")
            if shutil.disk_usage(self._run.folder).free < RESERVED_BYTES:
                what = "the disk is full"
            return Failure(what, log, f"mend that, then {resume}", "input")
        return Failure(f"the stage {stage} crashed: {last}", log, f"read the log, then {resume}")

    def _halve_micro_batch(self, profile: Profile, failure: Failure) -> bool:
        """Whether there is a smaller micro-batch to try; if not, say which settings to change."""
        status, stage = self._status, self._status.stage
        settings = getattr(profile, stage, None)
        if not isinstance(settings, TrainingSettings):
            key = {"tokenizer": "tokenizer.max_train_mb"}.get(stage, f"{stage}.batch_size")
            failure.fix = f"lower {key}, or free memory"
            return False
        size = status.micro_batch or settings.micro_batch
        if size == 1:
            failure.what += f", at {stage}.micro_batch = 1"
            failure.fix = smaller(profile, settings)
            return False
        batch = settings.batch_size
        status.micro_batch = next(n for n in range(size // 2, 0, -1) if batch % n == 0)
        status.attempt += 1
        message = (
            f"memory ran out at {stage}.micro_batch = {size}: going on from the last checkpoint"
            f" with {status.micro_batch} and more accumulation, the same batch"
        )
        self._tell(events.Warn(message))
        status.message = message
        self._tell(
            events.RunChange("running", status.attempt, message, micro_batch=status.micro_batch)
        )
        return True

    # Commands while no stage takes them

    def _on_signal(self, number: int, frame: object) -> None:
        self._stop_asked = True

    def _takes_stop(self, reason: str) -> bool:
        """Take the commands that have come; whether one of them, or a signal, said stop."""
        stop = self._stop_asked
        for command in control.take(self._run):
            if command.name == "stop":
                stop = True
                self._tell(events.Answer(command.id, command.name, "done"))
            else:
                self._tell(events.Answer(command.id, command.name, "refused", reason))
        return stop

    def _refuse_commands(self, reason: str) -> None:
        for command in control.take(self._run):
            self._tell(events.Answer(command.id, command.name, "refused", reason))

    # The status

    def _set_state(self, state: str, message: str = "") -> None:
        self._status.state = state  # type: ignore[assignment]
        self._tell(events.RunChange(state, self._status.attempt, message))
        self._beat(now=True)

    def _tell(self, payload: events.Payload) -> None:
        """Put it on record; a disk that is full must not cost the run its supervisor."""
        try:
            self._report.write(payload)
        except OSError as error:
            print(f"the record could not be written: {error}", file=sys.stderr, flush=True)

    def _beat(self, *, now: bool = False) -> None:
        if not now and time.time() - self._last_beat < HEARTBEAT_S:
            return
        self._last_beat = self._status.heartbeat = time.time()
        try:
            write_status(self._run, self._status)
        except OSError as error:
            print(f"the status could not be written: {error}", file=sys.stderr, flush=True)

    def _reserve(self) -> None:
        """Keep a little of the disk, so that how the run ended can be written when it is full."""
        write_atomic(self._reserved, bytes(RESERVED_BYTES))

    @property
    def _reserved(self) -> Path:
        return self._run.folder / ".reserved"

    def _end(self, state: str) -> int:
        status = self._status
        self._reserved.unlink(missing_ok=True)
        self._refuse_commands("the run has ended")
        code = EXIT_CODES[state]
        if status.error is not None and status.error.cause == "input":
            code = EXIT_BAD_INPUT
        status.exit_code, status.eta_s = code, None
        self._set_state(state, status.error.what if status.error else "")
        return code


def smaller(profile: Profile, settings: TrainingSettings) -> str:
    """What to change where not even one sequence at a time fits."""
    table, key = settings.table, "model.context_length"
    length, other = profile.model.context_length, "fewer model.n_layers"
    if isinstance(settings, TuningSettings):
        key, length = f"{table}.context_length", settings.context_length
        lighter = {"full": f"{table}.method = lora", "lora": f"{table}.method = qlora"}
        other = lighter.get(settings.method, "a smaller model")
    first = "" if settings.gradient_checkpointing else f"{table}.gradient_checkpointing = true, "
    lower = f"{key} = {length // 2} in place of {length}" if length else f"{key} below the model's"
    return f"set {first}{lower}, or {other}"


def main() -> int:
    """Supervise the run named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m gptengine.supervise", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--run", required=True)
    options = parser.parse_args()
    os.umask(0o077)
    try:
        workspace = Workspace.locate(options.workspace)
        run = workspace.run(options.run)
        lock = control.FileLock(run.lock)
        if not lock.acquire(LOCK_TIMEOUT_S):
            raise UserError(
                f"the run {run.name} has a supervisor already",
                where=str(run.lock),
                fix=f"gptstudio attach {run.name}",
            )
        return Supervisor(workspace, run, lock).run()
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT


if __name__ == "__main__":
    raise SystemExit(main())
