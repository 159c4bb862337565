"""Commands about models."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptstudio.commands.options import WorkspaceOption, complete_model

if TYPE_CHECKING:
    from gptcore.workspace import Workspace

EXIT_INTERRUPTED = 130


def check_device(device: str) -> str:
    """`device`, if it is one; empty: the engine's choice.

    Raises:
        typer.BadParameter: It is none.
    """
    if device and not re.fullmatch(r"auto|cpu|cuda|cuda:[0-9]+", device):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda, cuda:N")
    return device


ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="latest, the name of a model or run, or a folder.",
        autocompletion=complete_model,
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N",
        callback=check_device,
        help="Where to compute; cpu leaves a GPU to the run that holds it.",
        show_default="auto; cpu while a run holds a GPU",
    ),
]


def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to go on from; -: read it.")],
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 200,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="0: always the likeliest token.")
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option(min=0, help="Choose among so many likeliest tokens; 0: all.")
    ] = 50,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Choose among tokens of this joint share.")
    ] = 1.0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="The same gives the same text.", show_default="another each time"),
    ] = None,
    device: DeviceOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Let a model go on from a prompt."""
    from gptcore.errors import UserError
    from gptcore.lineage import find_model
    from gptcore.workspace import Workspace
    from gptstudio.launcher import find_engine_python

    place = Workspace.locate(workspace)
    folder = find_model(place, model)
    text = sys.stdin.read() if prompt == "-" else prompt
    if "\0" in text:
        raise UserError("the prompt holds a NUL character", where="--prompt", fix="leave it out")
    python = find_engine_python(place, engine_python_of(place, folder))
    words = [python, "-m", "gptengine", "generate", str(folder.resolve()), f"--prompt={text}"]
    words += ["--max-tokens", str(max_tokens), "--temperature", str(temperature)]
    words += ["--top-k", str(top_k), "--top-p", str(top_p)]
    if seed is not None:
        words += ["--seed", str(seed)]
    device = device or ("cpu" if gpu_is_held(place) else "auto")
    words += ["--device", device]
    if as_json:
        words.append("--json")
    raise typer.Exit(run_child(words))


def evaluate(
    model: ModelArgument,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Held-out conversations, of any dialect; absent: the report there is.",
            show_default=False,
        ),
    ] = None,
    max_prompts: Annotated[
        int | None,
        typer.Option(min=1, help="Most prompts that are answered.", show_default="400"),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.", show_default="128")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Conversations computed at once.", show_default="32"),
    ] = None,
    device: DeviceOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Judge a model by held-out conversations: loss, and how well it calls tools."""
    import tempfile

    from gptcore.errors import UserError
    from gptcore.evaluation import FILE_NAME, read_evaluation
    from gptcore.lineage import find_model
    from gptcore.workspace import Workspace
    from gptstudio.evaluation_view import evaluation_lines, transcript_lines
    from gptstudio.launcher import find_engine_python

    place = Workspace.locate(workspace)
    folder = find_model(place, model)
    options = {
        "--max-prompts": max_prompts,
        "--max-tokens": max_tokens,
        "--batch-size": batch_size,
        "--device": device or None,
    }
    how = {name: str(value) for name, value in options.items() if value is not None}
    if how and not data:
        raise UserError(
            "that says how to judge, and there is nothing to judge by",
            where=", ".join(how),
            fix="name held-out conversations with --data FILE",
        )
    how.setdefault("--device", "cpu" if gpu_is_held(place) else "auto")
    for path in data or []:
        if not path.is_file():
            raise UserError("there is no such file", where=str(path), fix="name a data file")
    with tempfile.TemporaryDirectory() as scratch:
        where = folder
        if data:
            where = Path(scratch)
            python = find_engine_python(place, engine_python_of(place, folder))
            words = [python, "-m", "gptengine", "eval", str(folder.resolve())]
            words += ["--name", place.relative(folder), "--output", str(where / FILE_NAME)]
            words += [word for path in data for word in ("--data", str(path.resolve()))]
            words += [word for option in how.items() for word in option]
            if code := run_child(words):
                raise typer.Exit(code)
        evaluation = read_evaluation(where)
        if evaluation is None:
            raise UserError(
                "the model has not been evaluated",
                where=str(folder),
                fix="name held-out conversations with --data FILE, or run --stage eval",
            )
        if as_json:
            print((where / FILE_NAME).read_text(encoding="utf-8"), end="")
            return
    print("\n".join([*evaluation_lines(evaluation), "", *transcript_lines(evaluation.transcripts)]))


def gpu_is_held(workspace: "Workspace") -> bool:
    """Whether a run of this workspace computes on a GPU: no word written may cost it its memory."""
    from gptcore.status import LIVE, list_runs

    return any(run.state in LIVE and "cuda" in run.device for run in list_runs(workspace))


def engine_python_of(workspace: "Workspace", folder: Path) -> str:
    """The setting `engine.python` of the run that made the model; empty where nobody knows."""
    import tomllib

    from gptcore.lineage import read_lineage

    lineage = read_lineage(folder)
    if lineage is None:
        return ""
    try:
        text = workspace.run(lineage.run).profile.read_text(encoding="utf-8")
        setting = tomllib.loads(text).get("engine", {}).get("python", "")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""  # the record was deleted; models outlive it
    return setting if isinstance(setting, str) else ""


def run_child(words: list[str]) -> int:
    """Run a program on this terminal; its exit status, 130 after Ctrl-C."""
    import subprocess

    from gptstudio.launcher import engine_environment

    child = subprocess.Popen(words, env=engine_environment())
    interrupted = False
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:  # the terminal sent it to the child too, which now ends
            if interrupted:
                child.kill()
            interrupted = True
        else:
            if interrupted:
                return EXIT_INTERRUPTED
            return code if code >= 0 else 128 - code
