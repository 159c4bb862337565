"""How a model did, as a table and a transcript for people: harmless to print."""

from collections.abc import Sequence

from gptcore.evaluation import TOOL_SCORES, Evaluation, Transcript
from gptcore.text import clean
from gptstudio.text import columns


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """The table: what was measured, and of how many."""
    rows: list[tuple[str, ...]] = [
        (what, f"{value:.4f}", f"{evaluation.tokens:,} tokens")
        for what, value in (
            ("loss, nats a token", evaluation.loss),
            ("perplexity", evaluation.perplexity),
            ("bits per byte", evaluation.bits_per_byte),
        )
        if value is not None
    ]
    for name, words in TOOL_SCORES.items():
        share = evaluation.tools.get(name)
        if share is not None and share.value is not None:
            rows.append((words, f"{share.value:.1%}", f"{share.right:,} of {share.total:,}"))
    for name, share in evaluation.by_function.items():
        if share.value is not None:
            rows.append(
                (f"  {clean(name)}", f"{share.value:.1%}", f"{share.right:,} of {share.total:,}")
            )
    head = f"{clean(evaluation.model)} on {evaluation.conversations:,} held-out conversations"
    if evaluation.unusable:
        head += f" ({evaluation.unusable:,} more rows cannot be used)"
    return [head, columns(rows, indent="  ")]


def transcript_lines(transcripts: Sequence[Transcript]) -> list[str]:
    """The first transcript, as the model read and wrote it; nothing where there is none."""
    if not transcripts:
        return []
    first = transcripts[0]
    lines = [f"A transcript ({clean(first.row)}):"]
    lines += [f"  {line}" for line in clean(first.text, lines=True).splitlines()]
    lines += [f"  wrong: {clean(problem)}" for problem in first.problems]
    return lines
