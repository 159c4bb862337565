"""The engine's processes: ``python -m gptengine stage|generate|eval|versions``.

Parses first, then sets what torch reads at its start (threads, the allocator), then imports.
"""

import argparse
import ctypes
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptcore.errors import EXIT_BAD_INPUT, UserError
from gptengine.trouble import is_out_of_memory

if TYPE_CHECKING:
    from gptcore.settings import EngineSettings

#: The libraries neither ask the network nor fill the log.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}
PR_SET_PDEATHSIG = 1
WORKER_LOCK_TIMEOUT_S = 1.0
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def main(arguments: list[str] | None = None) -> int:
    """Run one engine process; the result is its exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "stage":
            return _stage(options)
        if options.command == "generate":
            return _generate(options)
        if options.command == "eval":
            return _eval(options)
        return _versions()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return EXIT_BAD_INPUT
    except (MemoryError, RuntimeError) as error:
        if options.command == "stage" or not is_out_of_memory(error):
            raise
        print(
            f"error: memory ran out\n  to do: {options.command} with --device cpu", file=sys.stderr
        )
        return EXIT_BAD_INPUT
    except (KeyboardInterrupt, BrokenPipeError):
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - what is buffered has no reader
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gptengine", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    stage = commands.add_parser("stage", help="one stage of a run; started by the supervisor")
    stage.add_argument("stage")
    stage.add_argument("--workspace", type=Path, required=True)
    stage.add_argument("--name", required=True, help="of the run")
    stage.add_argument("--attempt", type=int, default=1)
    stage.add_argument("--parent", type=Path)
    stage.add_argument("--micro-batch", type=int, default=0)
    generate = commands.add_parser("generate", help="continue a prompt")
    generate.add_argument("model", type=Path)
    generate.add_argument("--prompt", required=True)
    generate.add_argument("--max-tokens", type=int, default=128)
    generate.add_argument("--temperature", type=float, default=0.8)
    generate.add_argument("--top-k", type=int, default=50)
    generate.add_argument("--top-p", type=float, default=1.0)
    generate.add_argument("--seed", type=int)
    generate.add_argument("--device", default="auto")
    generate.add_argument("--json", action="store_true")
    evaluate = commands.add_parser("eval", help="judge a model by held-out conversations")
    evaluate.add_argument("model", type=Path)
    evaluate.add_argument("--data", type=Path, action="append", required=True)
    evaluate.add_argument("--name", required=True, help="of the model, for the report")
    evaluate.add_argument("--max-prompts", type=int, default=400)
    evaluate.add_argument("--max-tokens", type=int, default=128)
    evaluate.add_argument("--batch-size", type=int, default=32)
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--output", type=Path, required=True, help="file for the report")
    commands.add_parser("versions", help="what the engine runs on, as JSON")
    return parser


def _stage(options: argparse.Namespace) -> int:
    from gptcore.control import worker_lock
    from gptcore.profile import read_profile
    from gptcore.stages import STAGES
    from gptcore.workspace import Workspace
    from gptengine.context import StageContext
    from gptengine.report import Report
    from gptengine.stages import perform

    workspace = Workspace.locate(options.workspace)
    run = workspace.run(options.name)
    profile = read_profile(run.profile)
    stage = STAGES[options.stage]
    prepare_process(profile.engine.threads, profile.engine.processes if stage.parallel else 1)
    if not stage.parallel:
        profile = profile.model_copy(update={"engine": see_one_device(profile.engine)})
    context = StageContext(
        workspace=workspace,
        run=run,
        profile=profile,
        stage=stage,
        report=Report(run, options.stage),
        attempt=options.attempt,
        parent=options.parent,
        micro_batch=options.micro_batch,
        is_main=int(os.environ.get("RANK", 0)) == 0,
    )
    context.obey_signals()
    if "RANK" not in os.environ:
        return perform(context)
    die_with_parent()
    with worker_lock(run, int(os.environ["RANK"])) as lock:
        lock.acquire(WORKER_LOCK_TIMEOUT_S)
        return perform(context)


def _generate(options: argparse.Namespace) -> int:
    prepare_process()
    from gptcore.profile import check_profile
    from gptcore.text import clean
    from gptengine.generate import Sampling, stream_text
    from gptengine.hf import load_model
    from gptengine.tokenizer import BPETokenizer
    from gptengine.train.device import place

    engine = check_profile({"engine": {"device": options.device}}, where="--device").engine
    placement = place(engine)
    tokenizer = BPETokenizer.load(options.model)
    model = load_model(options.model, device=str(placement.device))
    sampling = Sampling(
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
    )
    text = ""
    if not options.json:
        print(clean(options.prompt, lines=True), end="", flush=True)
    for piece in stream_text(model, tokenizer, options.prompt, sampling):
        text += piece
        if not options.json:
            print(clean(piece, lines=True), end="", flush=True)
    answer = {"model": str(options.model), "prompt": options.prompt, "text": text}
    print(json.dumps(answer) if options.json else "")
    return 0


def _eval(options: argparse.Namespace) -> int:
    prepare_process()
    from gptcore.evaluation import write_evaluation
    from gptcore.lineage import DataFile
    from gptcore.profile import check_profile
    from gptengine.evaluate.report import evaluate
    from gptengine.train.device import place

    own = {key: getattr(options, key) for key in ("max_prompts", "max_tokens", "batch_size")}
    profile = check_profile({"engine": {"device": options.device}, "eval": own}, where="gptstudio")

    def progress(what: str, done: float, total: float) -> None:
        if sys.stderr.isatty():
            print(f"\r{what} {done:.0f}/{total:.0f}\x1b[K", end="", file=sys.stderr, flush=True)

    evaluation = evaluate(
        options.model,
        options.data,
        [DataFile(str(path), path.stat().st_size, _sha256(path)) for path in options.data],
        profile.eval,
        place(profile.engine),
        name=options.name,
        progress=progress,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    write_evaluation(options.output, evaluation)
    return 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> int:
    import torch
    import transformers

    cuda = torch.cuda.is_available()
    versions = {
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda if cuda else None,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "transformers": transformers.__version__,
    }
    print(json.dumps(versions))
    return 0


def die_with_parent() -> None:
    """Have the kernel ask this process to stop when torchrun, which started it, is gone."""
    parent = os.getppid()
    try:
        ctypes.CDLL("libc.so.6").prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def see_one_device(engine: "EngineSettings") -> "EngineSettings":
    """Hide every GPU from this process but the one it computes on: TRL takes all that it sees.

    Returns:
        The settings, with the device as it is called from now on.
    """
    if engine.device == "cpu":
        return engine
    kind, _, number = engine.device.partition(":")
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = [str(index) for index in range(int(number or 0) + 1)]
    if names is not None:
        visible = names.split(",") if names else []
    if int(number or 0) >= len(visible):
        return engine  # there is no such device, as whoever asks for it will say
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(number or 0)]
    return engine.model_copy(update={"device": kind})


def prepare_process(threads: int = 0, processes: int = 1) -> None:
    """Set what torch reads at its start.

    Args:
        threads: CPU threads to compute with; 0: the cores there are, shared by `processes`.
        processes: How many engine processes compute on this machine together.
    """
    cores = len(os.sched_getaffinity(0))
    os.environ["OMP_NUM_THREADS"] = str(threads or max(1, cores // processes))
    os.environ |= QUIET
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    # A training step frees and asks for the same large blocks again and again. glibc would hand
    # each back to the kernel and fault it in anew; kept, a step on two cores is 10 to 15 % faster.
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    except (OSError, AttributeError):
        pass  # another libc: slower, nothing else


if __name__ == "__main__":
    raise SystemExit(main())
