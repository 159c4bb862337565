"""Make the demo's model from several seeds, and print how well each calls tools.

    python benchmarks/demo.py [--seeds 1 2 3]

A seed decides the initial weights, the order of the data and the adapters. Each run is the whole
pipeline of the profile `demo` in a workspace of its own: ten minutes on two idle cores.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gptcore.evaluation import TOOL_SCORES, Evaluation, read_evaluation

GPTSTUDIO = str(Path(sys.executable).with_name("gptstudio"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    found: list[Evaluation] = []
    for seed in options.seeds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found.append(make(Path(folder), seed))
        print(f"seed {seed}: {time.monotonic() - started:.0f} s, {words(found[-1])}", flush=True)
    for name, what in TOOL_SCORES.items():
        shares = [value for each in found if (value := each.tools[name].value) is not None]
        spread = f"{min(shares):.1%} to {max(shares):.1%}"
        print(f"{what:38} median {statistics.median(shares):.1%}, {spread}")


def make(folder: Path, seed: int) -> Evaluation:
    call(folder, "init", ".", "--quiet")
    settings = (f"pretrain.seed={seed}", f"finetune.seed={seed}")
    words_ = [word for setting in settings for word in ("--set", setting)]
    call(folder, "run", "--profile", "demo", "--name", "demo", *words_)
    evaluation = read_evaluation(folder / "models/demo-finetune")
    assert evaluation is not None
    return evaluation


def call(folder: Path, *command: str) -> None:
    done = subprocess.run([GPTSTUDIO, *command], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def words(evaluation: Evaluation) -> str:
    shares = [f"{name} {share.value or 0:.1%}" for name, share in evaluation.tools.items()]
    return ", ".join(shares)


if __name__ == "__main__":
    main()
