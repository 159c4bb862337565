"""Fine-tune the same model on the same data by PEFT and by Unsloth, and compare loss and speed.

    make test-unsloth
    .venv-unsloth/bin/python benchmarks/backends.py [--steps N] [--json]

A small GPT-2 is pretrained for some steps, then tuned by each backend in a process of its own, from
the same weights, with the same settings, through the command line, as a person would.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from gptcore import events
from gptcore.events import EventReader
from gptcore.workspace import Workspace
from gptstudio.demo_data import DemoSizes, write_demo_data

GPTSTUDIO = str(Path(sys.executable).with_name("gptstudio"))
PROFILE = """
[pipeline]
stages = ["tokenizer", "pretrain", "finetune"]
[engine]
device = "cpu"
[model]
vocab_size = 1024
context_length = 256
emb_dim = 128
n_heads = 4
n_layers = 4
[pretrain]
max_steps = 20
batch_size = 8
micro_batch = 8
[finetune]
batch_size = 16
micro_batch = 16
lr = 2e-3
min_lr = 2e-4
warmup_steps = 5
eval_interval = 0
sample_interval = 0
checkpoint_interval = 0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = compare(Path(folder), options.steps)
    print(json.dumps(measured) if options.json else table(measured))


def compare(folder: Path, steps: int) -> dict[str, dict]:
    sizes = DemoSizes((400, 20), (60, 10), (60, 10), (20, 5))
    write_demo_data(folder / "datasets", sizes=sizes)
    (folder / "datasets/topics.txt").write_text("\n".join(topics.values())[:200_000])
    profile = folder / "backends.toml"
    profile.write_text(PROFILE)
    run(folder, "base", "--stage", "tokenizer")
    run(folder, "base2", "--stage", "pretrain")
    measured = {}
    for backend in ("peft", "unsloth"):
        settings = [f"finetune.backend={backend}", f"finetune.max_steps={steps}"]
        words = [word for setting in settings for word in ("--set", setting)]
        run(folder, backend, "--stage", "finetune", *words)
        measured[backend] = read(Workspace(folder), backend)
    return measured


def run(folder: Path, name: str, *words: str) -> None:
    command = [GPTSTUDIO, "run", "--profile", "./backends.toml", "--name", name, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def read(workspace: Workspace, name: str) -> dict:
    losses, speeds, details, notes = [], [], {}, []
    for event in EventReader(workspace.run(name).events).read():
        match event.payload():
            case events.Step() as step:
                losses.append(step.loss)
                speeds.append(step.tokens_per_s)
            case events.StageChange(phase="start") as start:
                details = start.details
            case events.Note() as note:
                notes.append(note.message)
    return {
        "losses": losses,
        "tokens_per_s": statistics.median(speeds),
        "backend": details["backend"],
        "notes": notes,
    }


def table(measured: dict[str, dict]) -> str:
    peft, unsloth = measured["peft"], measured["unsloth"]
    lines = [*peft["notes"], *unsloth["notes"], "", "step      peft   unsloth   difference"]
    pairs = list(zip(peft["losses"], unsloth["losses"], strict=True))
    for number, (one, other) in enumerate(pairs, start=1):
        if number == 1 or number % 5 == 0:
            lines.append(f"{number:4}  {one:8.5f}  {other:8.5f}   {abs(one - other):.1e}")
    largest = max(abs(one - other) for one, other in pairs)
    ratio = unsloth["tokens_per_s"] / peft["tokens_per_s"]
    lines.append(f"largest difference {largest:.1e}; speed of unsloth over peft {ratio:.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
