"""What the workspace holds, and what to do next: `gptstudio` without a command."""

from gptcore.lineage import results
from gptcore.status import LIVE, Status, list_runs
from gptcore.text import clean
from gptcore.workspace import Workspace
from gptstudio.catalog import list_profiles
from gptstudio.runs_table import runs_table
from gptstudio.summary import command
from gptstudio.text import columns, fit

SHOWN = 6


def overview(workspace: Workspace) -> str:
    """The workspace in a screenful of lines, harmless to print."""
    runs = list_runs(workspace)
    models = results(workspace.models)
    lines = [f"gptstudio workspace {clean(str(workspace.root))}", ""]
    profiles = ", ".join(map(clean, list_profiles(workspace))) or "none"
    lines += [f"profiles  {profiles}", ""]
    lines += ["runs", runs_table(runs[:SHOWN], indent="  ") if runs else "  none yet"]
    lines += _more(len(runs), "gptstudio runs")
    lines += ["", "models"]
    rows = [
        (path.name, f"from run {model.run}", _scores(model.scores))
        for path, model in models[:SHOWN]
    ]
    lines += [columns(rows, indent="  ") if rows else "  none yet"]
    lines += _more(len(models), "ls models")
    # What to type next is never cut.
    return fit("\n".join(lines)) + f"\n\nnext: {_next(workspace, runs, bool(models))}"


def _next(workspace: Workspace, runs: list[Status], has_models: bool) -> str:
    if not workspace.datasets.is_dir():
        return command(workspace, "init", ".")
    live = next((run for run in runs if run.state in LIVE), None)
    if live is not None:
        return command(workspace, "attach", live.run)
    if runs and runs[0].state in ("stopped", "lost"):
        return command(workspace, "resume", runs[0].run)
    if has_models:
        return command(workspace, "generate", "latest", "--prompt", "The import statement")
    return command(workspace, "run", "--profile", "demo")


def _scores(scores: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if value is not None)


def _more(count: int, how: str) -> list[str]:
    return [f"  and {count - SHOWN} more: {how}"] if count > SHOWN else []
