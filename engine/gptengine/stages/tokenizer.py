"""Stage `tokenizer`: byte-level BPE learned from texts and rendered rows."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from gptcore import events
from gptcore.conversation import Span, render
from gptcore.formats import Problem, TextReader
from gptcore.formats.files import kind_of_name
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import Conversation, Preference, Prompt, Record
from gptengine.context import Progress, StageContext
from gptengine.plan import Plan
from gptengine.publish import publish
from gptengine.report import Report
from gptengine.tokenizer import BPETokenizer

#: Text is taken in pieces of this many bytes, evenly from every file.
PIECE_BYTES = 1 << 18

#: What the counted words may take: some 800,000 distinct ones, whose merges then take 1 GB.
WORDS_BYTES = 80 << 20


def run(context: StageContext, plan: Plan) -> bool:
    """Train the tokenizer and publish it.

    Returns:
        True: this stage has no steps to stop between, it ends or raises.
    """
    profile, report = context.profile, context.report
    report.write(events.StageChange("start", details={"files": len(plan.files)}))
    started = time.monotonic()
    budget = profile.tokenizer.max_train_mb * 1_000_000
    progress = context.progress("learning the tokenizer", "MB")
    tokenizer = BPETokenizer()
    texts = sample_texts(plan.files, profile.data.pretrain.separator, budget, progress)
    tokenizer.train(within_memory(texts, report), vocab_size=profile.model.vocab_size)
    context.check()
    if tokenizer.vocab_size < profile.model.vocab_size:
        report.warn(
            f"the data gave {tokenizer.vocab_size:,} of the {profile.model.vocab_size:,} tokens"
            " of model.vocab_size; the model takes what there are"
        )
    publish(
        context,
        plan,
        tokenizer.save,
        scores={"vocab_size": tokenizer.vocab_size},
        training={"seconds": round(time.monotonic() - started, 1)},
    )
    return True


def sample_texts(
    files: list[Path], separator: str, budget: int, progress: Progress
) -> Iterator[str]:
    """Pieces of every file, evenly spread, of about `budget` bytes in all."""
    total = sum(path.stat().st_size for path in files)
    share = min(1.0, budget / max(1, total))
    seen = 0
    for path in files:
        read = text_of_file if kind_of_name(path.name) == "text" else text_of_rows
        for number, (text, size) in enumerate(read(path, separator)):
            seen += size
            if number == 0 or int((number + 1) * share) > int(number * share):
                yield text
            progress(min(seen, total) / 1e6, total / 1e6)


def text_of_file(path: Path, separator: str) -> Iterator[tuple[str, int]]:
    """The pieces of a text file, and the bytes of each."""
    for piece in TextReader(path, separator, PIECE_BYTES):
        yield piece.text.decode(), len(piece.text)


def text_of_rows(path: Path, separator: str) -> Iterator[tuple[str, int]]:
    """The conversations and pairs of a data file as they are rendered, and the bytes of each."""
    for item in RecordReader(path):
        if isinstance(item, Problem) or not (spans := _spans_of(item.record)):
            continue
        yield "\n".join(span.text for span in spans if not span.is_control), item.size


def _spans_of(record: Record) -> list[Span]:
    """A record as it is rendered; of a pair both sides, after the prompt that they share."""
    match record:
        case Conversation():
            return render(record.messages, record.tools)
        case Preference():
            prompt = render(record.prompt, record.tools)
            return [*prompt, *render(record.chosen), *render(record.rejected)]
        case Prompt():
            return render(record.messages, record.tools)


def within_memory(texts: Iterator[str], report: Report) -> Iterator[str]:
    """The texts, until the words counted in them have taken `WORDS_BYTES`.

    Text whose words hardly repeat, such as dumps of identifiers, takes many times its size.
    """
    process, seen = psutil.Process(), 0
    before = process.memory_info().rss
    for text in texts:
        yield text
        seen += len(text)
        if process.memory_info().rss - before > WORDS_BYTES:
            report.warn(
                f"the merges are learned from the first {seen / 1e6:,.0f} MB: the words of this"
                " text hardly repeat, and counting them took all the memory there is for it"
            )
            return
