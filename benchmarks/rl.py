"""What reinforcement learning adds to a model that is fine-tuned only part of the way.

    python benchmarks/rl.py [--workspace DIR] [--seeds 1 2 3] [--methods ppo rgpo orpo rloo]

Makes the demo's model with a fifth of its fine-tuning, then trains it on by each method from each
seed, and judges all of them by the same held-out prompts: the share of exactly right calls before
and after, with the paired bootstrap's 95 % interval of the difference. ORPO is judged by how often
it finds the better of two held-out answers the likelier. RLOO is TRL's, with as many generated
tokens as RGPO drew. Some 40 minutes on two idle cores; with `--workspace` what is there is kept.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gptcore.evaluation import Evaluation, change_words, read_evaluation
from gptcore.events import EventReader, Reward
from gptcore.lineage import read_lineage
from gptengine.evaluate.comparison import change_of_share
from gptstudio.demo_data import DemoSizes, write_demo_data

GPTSTUDIO = str(Path(sys.executable).with_name("gptstudio"))
BASE_STEPS = 550
#: More held-out rows than the demo has: small differences are to be told from chance.
SIZES = DemoSizes(tools=(12000, 900), preferences=(4000, 400))
HELD_OUT = "datasets/demo/tools-held-out.jsonl"
PROMPTS = 1200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="made where it is not there; kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", default=["ppo", "rgpo", "orpo", "rloo"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.workspace or Path(scratch)
        make_base(folder)
        base = judged(folder, "base-finetune")
        print(f"base: {shares(base)}", flush=True)
        for method in options.methods:
            for seed in options.seeds:
                run(folder, method, seed, base)


def make_base(folder: Path) -> None:
    """The workspace, its data and the model to start from, where they are not there."""
    if (folder / "models/base-finetune").is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    call(folder, "init", ".", "--quiet")
    write_demo_data(folder / "datasets/demo", sizes=SIZES)
    steps = ("--set", f"finetune.max_steps={BASE_STEPS}")
    stages = ("--set", 'pipeline.stages=["tokenizer","pretrain","finetune"]')
    call(folder, "run", "--profile", "demo", "--name", "base", *steps, *stages)


def run(folder: Path, method: str, seed: int, base: Evaluation) -> None:
    """Train by a method from a seed, and say what came of it."""
    name = f"{method}-{seed}"
    model = f"{name}-{method}"
    if not (folder / "models" / model).is_dir():
        if method == "rloo":
            peer = Path(__file__).with_name("rl_peer.py")
            tokens = generated(folder, f"rgpo-{seed}", "rgpo")
            words = [sys.executable, str(peer), "--seed", str(seed), "--tokens", str(tokens)]
            subprocess.run([*words, "--output", f"models/{model}"], cwd=folder, check=True)
        else:
            stages = f'pipeline.stages=["tokenizer","pretrain","finetune","{method}"]'
            words = ["--stage", method, "--from", "base-finetune", "--set", stages]
            words += ["--set", f"{method}.seed={seed}", "--name", name]
            call(folder, "run", "--profile", "demo", *words)
    after = judged(folder, model)
    print(f"{name}: {took(folder, name, method)}{shares(after)}")
    if method == "orpo":
        print(f"    {preferences(folder, name)}", flush=True)
        return
    assert base.details is not None
    assert after.details is not None
    for measure in ("exact", "no_call"):
        change = change_of_share(base.details.verdicts[measure], after.details.verdicts[measure])
        if change is not None:
            print(f"    {measure} {change_words(measure, change)}", flush=True)


def judged(folder: Path, model: str) -> Evaluation:
    """The evaluation of a model on the held-out prompts, made where it is not there."""
    path = folder / "scores" / model
    if read_evaluation(path) is None:
        path.mkdir(parents=True, exist_ok=True)
        words = ("--data", HELD_OUT, "--max-prompts", str(PROMPTS), "--max-tokens", "64", "--json")
        (path / "evaluation.json").write_text(call(folder, "eval", model, *words))
    found = read_evaluation(path)
    assert found is not None
    return found


def took(folder: Path, name: str, method: str) -> str:
    """Seconds of training, and how the rewards went on the way."""
    lineage = read_lineage(folder / "models" / f"{name}-{method}")
    if lineage is None:
        return ""
    rewards = [
        r.mean for r in events(folder, name, Reward) if not r.held_out and r.mean is not None
    ]
    went = ""
    if rewards:
        size = max(1, len(rewards) // 10)
        first, last = statistics.fmean(rewards[:size]), statistics.fmean(rewards[-size:])
        went = f", reward {first:.3f} to {last:.3f}"
    return f"{lineage.training['seconds']:.0f} s{went}; "


def generated(folder: Path, name: str, method: str) -> int:
    """Tokens that a run by rollouts drew."""
    told = [r for r in events(folder, name, Reward) if not r.held_out]
    lineage = read_lineage(folder / "models" / f"{name}-{method}")
    assert lineage is not None
    return round(sum((r.length or 0) for r in told) * lineage.settings[f"{method}.batch_size"])


def preferences(folder: Path, name: str) -> str:
    """Held-out accuracy before and after a training on pairs."""
    looks = [r.accuracy for r in events(folder, name, Reward) if r.held_out]
    return f"held-out preference accuracy {looks[0]:.1%} to {looks[-1]:.1%}"


def events(folder: Path, name: str, kind: type) -> list:
    path = folder / "logs" / name / "events.jsonl"
    return [p for event in EventReader(path).read() if isinstance(p := event.payload(), kind)]


def shares(evaluation: Evaluation) -> str:
    """The shares of right answers."""
    told = (f"{name} {share.value or 0:.1%}" for name, share in evaluation.tools.items())
    return ", ".join(told)


def call(folder: Path, *command: str) -> str:
    """Run a command in the workspace; what it printed."""
    done = subprocess.run([GPTSTUDIO, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s in all")
