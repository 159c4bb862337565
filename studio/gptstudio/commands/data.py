"""Commands about data for fine-tuning: what it is, what is wrong with it, what is learned."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptstudio.commands.options import WorkspaceOption

if TYPE_CHECKING:
    from gptcore.formats.checks import Duplicates
    from gptstudio.services.data_report import FileReport

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
    duplicates = Duplicates()
    reports = []
    with ProgressLine(found.files) as progress:
        for file in found.files:
            report = check_file(file, duplicates, most, progress.of(file))
            reports.append(report)
            if not as_json:
                progress.clear()
                _print_report(report)
    sums = {name: sum(getattr(each, name) for each in reports) for name in ("rows", "good", "bad")}
    if as_json:
        typer.echo(to_json({"files": reports, **sums}))
    else:
        _print_sums(reports, sums, duplicates)
    if found.unlisted or any(report.bad or not report.good for report in reports):
        raise typer.Exit(EXIT_PROBLEMS)


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
    as_json: JsonOption = False,
) -> None:
    """Show a row: as it stands in the file, and what of it is learned and what is masked."""
    import sys

    from gptcore.errors import UserError
    from gptstudio.data_row_view import readable_json, row_for_programs, row_lines
    from gptstudio.data_view import place, to_json
    from gptstudio.services.data_row import read_row

    if raw and as_json:
        raise UserError("--raw and --json exclude each other", fix="choose one")
    found = read_row(file, row)
    if as_json:
        typer.echo(to_json(row_for_programs(found, str(file))))
    elif raw:
        if found.is_json:
            typer.echo(readable_json(found.raw))
        if found.problem is not None:
            typer.echo(f"cannot be used: {place(found.problem)}", err=True)
    else:
        typer.echo("\n".join(row_lines(found, str(file), sys.stdout)))
    if found.problem is not None:
        raise typer.Exit(EXIT_PROBLEMS)


@app.command()
def stats(
    paths: PathsArgument = None, as_json: JsonOption = False, workspace: WorkspaceOption = None
) -> None:
    """Count turns, characters, calls and lengths, over all files together."""
    from gptcore.workspace import Workspace
    from gptstudio.data_view import stats_lines, to_json
    from gptstudio.progress_line import ProgressLine
    from gptstudio.services.data_files import data_files
    from gptstudio.services.data_stats import StatsCounter

    found = data_files(paths or [], None if paths else Workspace.locate(workspace))
    _warn_of(found.unlisted)
    counter = StatsCounter()
    with ProgressLine(found.files) as progress:
        for file in found.files:
            counter.read(file, progress.of(file))
    numbers = counter.result()
    typer.echo(to_json(numbers) if as_json else "\n".join(stats_lines(numbers)))


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
