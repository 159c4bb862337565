"""Commands about data for fine-tuning: what it is, what is wrong with it, what is learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptstudio.commands.options import WorkspaceOption, complete_profile

if TYPE_CHECKING:
    from gptcore.formats.checks import Duplicates
    from gptstudio.services.data_report import FileReport
    from gptstudio.services.row_tokens import Fitting
    from gptstudio.services.token_choice import TokenChoice

EXIT_PROBLEMS = 1

app = typer.Typer(
    name="data",
    help="Look at data files: list, check, show, count and convert them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[PATH]...",
        help="Files and folders; without any, the workspace's datasets.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
ProfileOption = Annotated[
    str,
    typer.Option(
        "--profile",
        "-p",
        metavar="NAME|PATH",
        help="Whose tokenizer and context length; without it, the newest run's.",
        autocompletion=complete_profile,
        show_default=False,
    ),
]
TokenizerOption = Annotated[
    str,
    typer.Option(
        metavar="DIR|MODEL",
        help="Count tokens with this one; without it, the newest of the profile's pipeline.",
        show_default=False,
    ),
]
ContextOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Tokens that fit into the model; without it, as the profile says.",
        show_default=False,
    ),
]


@app.command("list")
def list_all(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PATH]",
            help="A file or folder; without it, the workspace's datasets.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """List data files and what they hold, as their first rows tell."""
    from gptcore.workspace import Workspace
    from gptstudio.data_view import listed_row, listing, several, to_json
    from gptstudio.services.data_files import find_files
    from gptstudio.services.data_report import look_at
    from gptstudio.text import fit

    paths = [path] if path else []
    found = find_files(paths, None if paths else Workspace.locate(workspace))
    listed = [look_at(file) for file in found.files]
    _warn_of(found.unlisted)
    if as_json:
        typer.echo(to_json({"files": [listed_row(each) for each in listed]}))
        return
    typer.echo(fit(listing(listed)) if listed else "no text and no data")
    if found.num_others:
        others = several(found.num_others, "other file")
        typer.echo(f"not looked at, being neither text nor data by name: {others}")


@app.command()
def check(
    paths: PathsArgument = None,
    as_json: JsonOption = False,
    most: Annotated[
        int, typer.Option(metavar="N", min=0, help="Problems to show of each file.")
    ] = 20,
    context: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="A row that does not fit into so many tokens is a problem, too.",
            show_default=False,
        ),
    ] = None,
    tokenizer: TokenizerOption = "",
    profile: ProfileOption = "",
    workspace: WorkspaceOption = None,
) -> None:
    """Read every row: what it is, or what is wrong with it. Exit status 1: there are problems."""
    from gptcore.formats.checks import Duplicates
    from gptcore.workspace import Workspace
    from gptstudio.data_view import to_json
    from gptstudio.progress_line import ProgressLine
    from gptstudio.services.data_files import data_files
    from gptstudio.services.data_report import check_file

    found = data_files(paths or [], None if paths else Workspace.locate(workspace))
    _warn_of(found.unlisted)
    fitting = _fitting(_tokens(workspace, profile, tokenizer, context)) if context else None
    duplicates = Duplicates()
    reports = []
    with ProgressLine(found.files) as progress:
        for file in found.files:
            report = check_file(file, duplicates, most, progress.of(file), fitting)
            reports.append(report)
            if not as_json:
                progress.clear()
                _print_report(report)
    names = ("rows", "good", "bad", "cut")
    sums = {name: sum(getattr(each, name) for each in reports) for name in names}
    if as_json:
        typer.echo(to_json({"files": reports, **sums}))
    else:
        _print_sums(reports, sums, duplicates)
    if found.unlisted or any(report.bad or not report.good for report in reports):
        raise typer.Exit(EXIT_PROBLEMS)


def _tokens(
    workspace: Path | None, profile: str, tokenizer: str, context: int | None
) -> "TokenChoice":
    from gptcore.workspace import Workspace
    from gptstudio.services.token_choice import choose_tokens

    return choose_tokens(Workspace.locate(workspace), profile, tokenizer, context)


def _fitting(tokens: "TokenChoice") -> "Fitting":
    """What holds rows against the context length.

    Raises:
        UserError: There is no tokenizer: what was asked for cannot be told.
    """
    from gptcore.errors import UserError
    from gptstudio.services.row_tokens import Fitting

    if tokens.encoder is None or tokens.context is None:
        raise UserError(f"tokens cannot be counted: {tokens.lacking}", where="--context")
    return Fitting(tokens.encoder, tokens.context)


def _print_report(report: "FileReport") -> None:
    import sys

    from gptstudio.data_view import check_lines

    for line in check_lines(report, sys.stdout):
        typer.echo(line)


def _print_sums(
    reports: "list[FileReport]", sums: dict[str, int], duplicates: "Duplicates"
) -> None:
    from gptstudio.data_view import several

    if len(reports) > 1:
        typer.echo(
            f"{len(reports):,} files, {several(sums['rows'], 'row')}: "
            f"{sums['good']:,} good, {sums['bad']:,} bad"
        )
    if duplicates.is_full:
        typer.echo("note: there are too many rows to remember; later duplicates are not found")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A data file.")],
    row: Annotated[int, typer.Option(metavar="N", min=1, help="Number of the row, from 1.")] = 1,
    raw: Annotated[bool, typer.Option("--raw", help="Only as it stands in the file.")] = False,
    as_tokens: Annotated[bool, typer.Option("--tokens", help="As tokens.")] = False,
    context: ContextOption = None,
    tokenizer: TokenizerOption = "",
    profile: ProfileOption = "",
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show a row: as it stands in the file, and what is learned, what is masked, what is cut."""
    import sys

    from gptcore.errors import UserError
    from gptstudio.data_row_view import row_for_programs, row_lines, token_view_lines
    from gptstudio.data_view import place, to_json
    from gptstudio.services.data_row import read_row
    from gptstudio.services.row_view import readable_json

    if raw and (as_json or as_tokens):
        raise UserError(
            f"--raw and {'--json' if as_json else '--tokens'} exclude each other", fix="choose one"
        )
    found = read_row(file, row)
    if raw:
        if found.is_json:
            typer.echo(readable_json(found.raw))
        if found.problem is not None:
            typer.echo(f"cannot be used: {place(found.problem)}", err=True)
    else:
        tokens = _tokens(workspace, profile, tokenizer, context)
        if as_json:
            made = row_for_programs(found, str(file), tokens, with_tokens=as_tokens)
            typer.echo(to_json(made))
        else:
            view = token_view_lines if as_tokens else row_lines
            typer.echo("\n".join(view(found, str(file), sys.stdout, tokens)))
    if found.problem is not None:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command()
def stats(
    paths: PathsArgument = None,
    context: ContextOption = None,
    tokenizer: TokenizerOption = "",
    profile: ProfileOption = "",
    only_characters: Annotated[
        bool, typer.Option("--no-tokens", help="Count no tokens: that takes most of the time.")
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Count turns, tokens, calls and lengths, over all files together, and what would be cut."""
    from gptcore.workspace import Workspace
    from gptstudio.data_view import stats_lines, to_json
    from gptstudio.progress_line import ProgressLine
    from gptstudio.services.data_files import data_files
    from gptstudio.services.data_stats import StatsCounter

    found = data_files(paths or [], None if paths else Workspace.locate(workspace))
    _warn_of(found.unlisted)
    tokens = None if only_characters else _tokens(workspace, profile, tokenizer, context)
    counter = StatsCounter(tokens.encoder, tokens.context) if tokens else StatsCounter()
    with ProgressLine(found.files) as progress:
        for file in found.files:
            counter.read(file, progress.of(file))
    numbers = counter.result()
    if as_json:
        typer.echo(to_json(numbers))
    else:
        lacking = tokens.lacking if tokens is not None else ""
        typer.echo("\n".join(stats_lines(numbers, lacking)))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A data file in any form.")],
    target: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The file to write: .jsonl, also with .gz or .zst."),
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
) -> None:
    """Write the good rows of a file anew, in the normal form, as JSON Lines."""
    from gptcore.text import steady
    from gptstudio.data_view import counts, several
    from gptstudio.failures import say_warning
    from gptstudio.progress_line import ProgressLine
    from gptstudio.services.data_convert import convert as write_anew
    from gptstudio.services.data_files import find_files

    files = find_files([source]).files
    with ProgressLine(files) as progress:
        report = write_anew(source, target, force=force, on_bytes=progress.of(files[0]))
    typer.echo(f"{steady(str(target))}: {several(report.good, 'row')}: {counts(report.forms)}")
    if report.bad:
        say_warning(f"left out: {several(report.bad, 'row')}: {counts(report.reasons)}")


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where to; made where it is missing.")],
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = 0,
) -> None:
    """Make the demo's conversations, in which tools are called, to try things on."""
    from gptcore.errors import UserError
    from gptcore.text import steady
    from gptstudio.demo_data import FILE_NAMES, write_demo_data

    if there := next((name for name in FILE_NAMES if (folder / name).exists()), None):
        raise UserError(
            "there is such data already",
            where=str(folder / there),
            fix="name another folder, or remove the files",
        )
    typer.echo("\n".join(steady(str(path)) for path in write_demo_data(folder, seed=seed)))


def _warn_of(unlisted: list[str]) -> None:
    from gptstudio.failures import say_warning

    for problem in unlisted:
        say_warning(f"a folder cannot be looked into: {problem}")
