"""What is said of a run that has ended: where things are, what went wrong, what to do next."""

import os
import shlex
from pathlib import Path

from gptcore.errors import EXIT_BAD_INPUT
from gptcore.evaluation import read_evaluation
from gptcore.journal import last_lines
from gptcore.stages import STAGES
from gptcore.status import Status
from gptcore.text import clean
from gptcore.workspace import WORKSPACE_VARIABLE, RunPaths, Workspace
from gptstudio.changes import change_named
from gptstudio.evaluation_view import evaluation_lines, transcript_lines
from gptstudio.run_view import RunView, reward_facts, stage_title
from gptstudio.text import human_time

LOG_LINES = 8


def summarise(workspace: Workspace, run: RunPaths, status: Status, view: RunView) -> str:
    """Some lines about an ended run, harmless to print."""
    took = view.ended - view.began if view.began else 0.0
    after = f" after {human_time(took)}" if took >= 1 else ""
    name = clean(run.name)
    if status.state == "done":
        return "\n".join(_done(workspace, name, status, view, after))
    at = f" in {stage_title(status.stage)}" if status.stage else ""
    step = f", step {status.step}" if status.step else ""
    if status.total_steps and status.step:
        step += f" of {status.total_steps}"
    resume = f"  to go on:   {command(workspace, 'resume', run.name)}"
    if status.state == "stopped":
        return f"{name} was stopped{at}{step}{after}.\n{resume}"
    if status.state == "lost":
        lines = [
            f"{name} is lost{at}{step}.",
            "  why:        its processes ended without a word (killed, or a reboot?)",
            resume,
            f"  its log:    {clean(workspace.relative(run.log))}",
        ]
        return "\n".join([*lines, *log_tail(run)])
    return "\n".join(_failed(workspace, run, status, f"{name} failed{at}{step}{after}"))


def exit_code(status: Status) -> int:
    """The exit status of the command that followed the run to its end."""
    if status.state == "done":
        return 0
    if status.state == "stopped":
        return 3
    if status.state == "failed" and status.exit_code is not None:
        return status.exit_code
    bad_input = status.error is not None and status.error.cause == "input"
    return EXIT_BAD_INPUT if bad_input else 1


def log_tail(run: RunPaths, count: int = LOG_LINES) -> list[str]:
    """The last lines of the run's log, each behind a mark."""
    lines = last_lines(run.log, count)
    return [f"  | {clean(line.decode(errors='replace'))}" for line in lines]


def command(workspace: Workspace, *words: str) -> str:
    """A command of ours as the person would type it here."""
    line = ["gptstudio", *words]
    here = Path(os.environ.get(WORKSPACE_VARIABLE) or Path.cwd())
    if workspace.root != here.resolve():
        line += ["--workspace", str(workspace.root)]
    return clean(shlex.join(line))


def _done(workspace: Workspace, name: str, status: Status, view: RunView, after: str) -> list[str]:
    scores = reward_facts(view.reward, view.held_out)
    rewarded = view.reward is not None and view.reward.mean is not None
    loss = view.last.loss if view.last else status.loss
    scores += [
        f"{label} {value:.4f}"
        for label, value in (
            ("loss", None if rewarded else loss),
            ("validation loss", status.val_loss if view.val_loss is None else view.val_loss),
        )
        if value is not None
    ]
    lines = [f"{name} is done{after}" + (f": {', '.join(scores)}." if scores else ".")]
    outputs = list(dict.fromkeys(status.outputs.values()))  # an evaluation's is the model's
    models = [path for path in outputs if not _is_tokenizer(path)]
    for path in outputs:
        label = "model:" if path in models else "tokenizer:"
        lines.append(f"  {label:<11} {clean(path)}")
    made = status.outputs.items()
    aside = {path for stage, path in made if stage in STAGES and STAGES[stage].aside}
    writers = [path for path in models if path not in aside]  # a reward model only judges
    if writers:
        lines += _evaluation(workspace, writers[-1])
        model = Path(writers[-1]).name
        # shlex would quote with ' what people write with ", and the prompt is theirs to change
        generate = command(workspace, "generate", model, "--prompt")
        lines.append(f"  to try it:  {_before_workspace(generate, chr(34) + 'The ' + chr(34))}")
    elif status.outputs and not models:
        lines.append(f"  next:       {command(workspace, 'run', '--stage', 'pretrain')}")
    return lines


def _evaluation(workspace: Workspace, model: str) -> list[str]:
    evaluation = read_evaluation(workspace.root / model)
    if evaluation is None:
        return []
    transcript = transcript_lines(evaluation.transcripts)
    return ["", *evaluation_lines(evaluation), "", *transcript, ""]


def _failed(workspace: Workspace, run: RunPaths, status: Status, head: str) -> list[str]:
    error = status.error
    what = error.what if error else status.message or "nobody said why"
    lines = [f"{head}: {clean(what, lines=True)}"]
    if error and error.where:
        lines.append(f"  where:      {clean(error.where)}")
    if error and error.fix:
        lines.append(f"  to do:      {clean(error.fix)}")
        if change := change_named(error.fix):
            lines.append(f"  to change:  {command(workspace, 'resume', run.name, '--set', change)}")
    lines.append(f"  its log:    {clean(workspace.relative(run.log))}")
    lines += log_tail(run)
    lines.append(f"  then:       {command(workspace, 'resume', run.name)}")
    return lines


def _is_tokenizer(path: str) -> bool:
    return path.startswith("tokenizers/") or "/tokenizers/" in path


def _before_workspace(line: str, words: str) -> str:
    head, flag, root = line.partition(" --workspace ")
    return f"{head} {words}{flag}{root}"
