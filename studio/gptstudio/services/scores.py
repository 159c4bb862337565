"""How the models did: the evaluation that goes with a run, or the newest there is."""

from collections.abc import Iterable

from gptcore.evaluation import Evaluation, read_evaluation
from gptcore.lineage import results
from gptcore.workspace import Workspace


def evaluation_of(workspace: Workspace, outputs: Iterable[str]) -> Evaluation | None:
    """The evaluation of what a run made, the last one first; else the newest of all; may block.

    Args:
        workspace: Where the models are.
        outputs: Paths in it.
    """
    for output in reversed(list(outputs)):
        if (found := read_evaluation(workspace.root / output)) is not None:
            return found
    found_all = (read_evaluation(path) for path, _ in results(workspace.models))
    return max((each for each in found_all if each), key=lambda each: each.made, default=None)
