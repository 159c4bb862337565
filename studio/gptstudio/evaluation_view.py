"""How a model did, as a table and a transcript for people: harmless to print."""

from collections.abc import Sequence

from gptcore.evaluation import (
    MEASURES,
    TOOL_SCORES,
    Evaluation,
    StageScores,
    Transcript,
    change_words,
    measure_words,
)
from gptcore.text import clean
from gptstudio.text import columns, shorten

#: Cells that the table of stages may take: those of a dialog.
WIDTH = 70
#: Stages that it shows, the last ones.
MOST_STAGES = 5
#: Cells of a stage's name, where there is room.
NAME_WIDTH = 12
#: Cells of a measure.
VALUE_WIDTH = 6
#: Cells of a stage's name and what is between columns, from the roomiest to the tightest.
LAYOUTS = ((NAME_WIDTH, "  "), (NAME_WIDTH, " "), (VALUE_WIDTH, " "))

_SHORT_NAMES = {
    "exact": "exact call",
    "function": "function",
    "json": "readable",
    "schema": "schema",
    "arguments": "arguments",
    "no_call": "no call",
    "answer": "answer",
}


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
    measures = len(rows)
    for name, share in evaluation.by_function.items():
        if share.value is not None:
            rows.append(
                (f"  {clean(name)}", f"{share.value:.1%}", f"{share.right:,} of {share.total:,}")
            )
    head = f"{clean(evaluation.model)} on {evaluation.conversations:,} held-out conversations"
    if evaluation.unusable:
        head += f" ({evaluation.unusable:,} more rows cannot be used)"
    table = columns(rows, indent="  ").splitlines()
    if len(evaluation.comparison) < 2:
        return [head, *table]
    by_function = table[measures:]
    lines = [head, *table[:measures], "", *comparison_lines(evaluation.comparison)]
    return [*lines, "", *by_function] if by_function else lines


def comparison_lines(stages: Sequence[StageScores]) -> list[str]:
    """The table of what each stage has made of the one before, the last change with its interval.

    Args:
        stages: Two at least, the first one first; of many, the last ones are shown.
    """
    shown = stages[-MOST_STAGES:]
    before, last = (shorten(clean(stage.stage), NAME_WIDTH) for stage in shown[-2:])
    lines = [f"Stage by stage, on the same prompts; change: {last} against {before}"]
    for name_width, gap in LAYOUTS:
        table = _stage_table(shown, name_width, gap)
        if max(map(len, table)) <= WIDTH:
            break
    lines += table
    lines.append("  change of shares in points of 100; *: the interval leaves out 0")
    if more := len(stages) - len(shown):
        lines.append(f"  {more} more before these: see --json")
    return lines


def _stage_table(stages: Sequence[StageScores], name_width: int, gap: str) -> list[str]:
    """A column for each stage, right-aligned, and one for the last change."""
    measures = [name for name in MEASURES if any(stage.value(name) is not None for stage in stages)]
    label_width = max(map(len, [*_SHORT_NAMES.values(), *measures]))
    heads = [clean(stage.stage)[:name_width].rjust(VALUE_WIDTH) for stage in stages]
    changes = stages[-1].changes
    lines = [["".ljust(label_width), *heads, "change, 95 % interval"]]
    for name in measures:
        cells = [
            measure_words(name, stage.value(name)).rjust(len(head))
            for stage, head in zip(stages, heads, strict=True)
        ]
        change = change_words(name, changes[name]) if name in changes else ""
        lines.append([_SHORT_NAMES.get(name, name).ljust(label_width), *cells, change])
    return [f"  {gap.join(line)}".rstrip() for line in lines]


def transcript_lines(transcripts: Sequence[Transcript]) -> list[str]:
    """The first transcript, as the model read and wrote it; nothing where there is none."""
    if not transcripts:
        return []
    first = transcripts[0]
    lines = [f"A transcript ({clean(first.row)}):"]
    lines += [f"  {line}" for line in clean(first.text, lines=True).splitlines()]
    lines += [f"  wrong: {clean(problem)}" for problem in first.problems]
    return lines
