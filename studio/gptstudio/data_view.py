"""Reports about data as text: harmless to print, whatever the data holds."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from gptcore.text import steady
from gptstudio.services.data_report import FileReport, Listed, Noted
from gptstudio.services.data_stats import Bucket, Stats, TokenStats
from gptstudio.text import columns, human_bytes, human_count, paint

#: Kinds of reasons and functions that are shown; the rest are counted.
MOST_SHOWN = 12
#: Characters of the longest bar.
BAR = 40


def to_json(value: Any) -> str:
    """A report for programs, in ASCII."""
    return json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=2)


def counts(numbers: Mapping[str, int], *, most: int = MOST_SHOWN) -> str:
    """Names with their numbers, the largest first."""
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    words = [f"{number:,} {steady(name)}" for name, number in ordered[:most]]
    if len(ordered) > most:
        words.append(
            f"{sum(number for _, number in ordered[most:]):,} of {len(ordered) - most} more"
        )
    return ", ".join(words)


def several(number: int, thing: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def shares(numbers: Mapping[str, int]) -> str:
    """Names, where there are several with their shares."""
    total = sum(numbers.values())
    ordered = sorted(numbers.items(), key=lambda item: -item[1])
    if len(ordered) == 1:
        return ordered[0][0]
    # Rounded down: nothing seems to be all where it is not.
    parts = [(name, number * 100 // total) for name, number in ordered]
    return ", ".join(f"{name} {percent or '<1'}%" for name, percent in parts)


def listing(files: Sequence[Listed]) -> str:
    """Files with what was recognised, a line each."""
    rows = [("file", "form", "dialect", "size", "")]
    for listed in files:
        first = listed.first
        if listed.file.kind == "text":
            form = "text"
        else:
            form = shares(first.forms) if first.good else "none" if first.rows else "empty"
        note = _note(listed)
        size = human_bytes(listed.file.size)
        rows.append((steady(listed.file.name), form, shares(first.dialects or {"": 1}), size, note))
    return columns(rows)


def _note(listed: Listed) -> str:
    first = listed.first
    if not first.bad:
        return ""
    problem = first.problems[0]
    if problem.row is None:
        return place(problem)
    seen = f"{first.rows} rows" if listed.is_whole else f"the first {first.rows} rows"
    return f"{first.bad} of {seen} bad: {place(problem)}"


def listed_row(listed: Listed) -> dict[str, Any]:
    """A file of the listing for programs."""
    first = listed.first
    return {
        "path": listed.file.name,
        "kind": listed.file.kind,
        "size": listed.file.size,
        "rows": first.rows,
        "is_whole": listed.is_whole,
        "bad": first.bad,
        "forms": first.forms,
        "dialects": first.dialects,
        "problems": first.problems,
    }


def check_lines(report: FileReport, stream: TextIO) -> list[str]:
    """What was found in a file: a line for it, then its problems."""
    name = steady(report.path)
    if not report.rows:
        return [f"{name}: {paint('holds no rows', 'yellow', stream)}"]
    lines = [f"{name}: {report.good:,} of {several(report.rows, 'row')} good"]
    if report.good:
        lines[0] += f": {counts(report.forms)}; written as {counts(report.dialects)}"
    if report.cut:
        lines.append(f"  {several(report.cut, 'row')} cut to fit: turns at their end are left out")
    lines += [f"  {place(problem, name)}" for problem in report.problems]
    if report.problems_left_out:
        lines.append(f"  and {report.problems_left_out:,} more")
    if len(report.reasons) < report.bad:
        lines.append(f"  why: {counts(report.reasons)}")
    return lines


def place(problem: Noted, name: str = "") -> str:
    """A problem in a line: where, and why."""
    if problem.line is not None:
        where = f"{name}:{problem.line}" if name else f"line {problem.line}"
    elif problem.row is not None:
        where = f"{name} row {problem.row}".strip()
    else:
        where = name
    words = (where, steady(problem.field), steady(problem.reason))
    return ": ".join(word for word in words if word)


def stats_lines(stats: Stats, lacking: str = "") -> list[str]:
    """The numbers, a subject after the other.

    Args:
        stats: The numbers.
        lacking: Why there are none in tokens, where that was wanted.
    """
    limit = "" if stats.is_complete else ", as far as they were remembered"
    lines = [
        f"{several(stats.rows, 'row')} in {several(stats.files, 'file')}: "
        f"{stats.good:,} good, {stats.bad:,} bad",
        f"duplicates: {stats.duplicates:,}{limit}",
    ]
    if stats.bad:
        lines.append(f"why bad: {counts(stats.reasons)}")
    if not stats.good:
        return lines
    lines += [
        f"forms: {counts(stats.forms)}",
        f"written as: {counts(stats.dialects)}",
        "",
        _turns_table(stats),
        "",
        f"answers that are not learned: {stats.masked_answers:,}",
        f"rows whose last turn is not learned: {stats.no_answer_last:,}",
        f"rows with tools: {stats.with_tools:,}, {stats.tools_unused:,} of them without a call",
    ]
    if stats.calls:
        lines.append(f"calls: {counts(stats.calls)}")
    total = sum(stats.characters.values())
    lines += [
        "",
        f"characters a row: {stats.shortest:,} to {stats.longest:,}, "
        f"{total / stats.good:,.0f} on average",
    ]
    if stats.in_tokens is None:
        lines += histogram(stats.lengths)
        return [*lines, "", f"not counted in tokens: {steady(lacking)}"] if lacking else lines
    return [*lines, *_token_lines(stats.in_tokens, stats.good)]


def _token_lines(found: TokenStats, rows: int) -> list[str]:
    total = sum(found.tokens.values())
    lines = [
        f"tokens a row: {found.shortest:,} to {found.longest:,}, {total / rows:,.0f} on average"
        f" ({steady(found.tokenizer)})",
        *histogram(found.lengths),
        "",
        f"tokens: {total:,}, {found.learned:,} of them learned",
    ]
    if found.context is not None:
        whole = rows - found.cut - found.left_out
        lines.append(
            f"context of {found.context:,}: {several(whole, 'row')} whole,"
            f" {found.cut:,} cut at the end, {found.left_out:,} left out"
        )
    return lines


def _turns_table(stats: Stats) -> str:
    tokens = stats.in_tokens.tokens if stats.in_tokens else {}
    rows = [("role", "turns", "characters", "a turn", *(["tokens"] if tokens else []))]
    for role in dict.fromkeys((*stats.turns, *tokens)):
        turns, size = stats.turns.get(role, 0), stats.characters.get(role, 0)
        row = (role, f"{turns:,}", f"{size:,}", human_count(size / max(1, turns)))
        rows.append((*row, f"{tokens.get(role, 0):,}") if tokens else row)
    return columns(rows)


def histogram(buckets: Sequence[Bucket]) -> list[str]:
    """A bar for each bucket."""
    if not buckets:
        return []
    most = max(bucket.rows for bucket in buckets)
    names = [f"{bucket.least:,}-{bucket.most:,}" for bucket in buckets]
    width = max(map(len, names))
    numbers = max(len(f"{bucket.rows:,}") for bucket in buckets)
    bars = ["#" * -(-BAR * bucket.rows // most) for bucket in buckets]  # rounded up
    return [
        f"  {name:>{width}}  {bucket.rows:>{numbers},}  {bar}".rstrip()
        for name, bucket, bar in zip(names, buckets, bars, strict=True)
    ]
