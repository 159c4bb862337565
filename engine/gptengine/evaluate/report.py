"""One evaluation of one model: held-out data in, an `Evaluation` out."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from gptcore.encoding import encode_conversation
from gptcore.errors import UserError
from gptcore.evaluation import Details, Evaluation
from gptcore.formats.problems import Problem, RowError
from gptcore.formats.reading import RecordReader
from gptcore.formats.records import Conversation, to_row
from gptcore.lineage import DataFile
from gptcore.settings import EvalSettings
from gptengine.causal_lm import context_length_of, load_causal_lm
from gptengine.chat_tokenizer import ChatTokenizer, control_ids, load_chat_tokenizer
from gptengine.evaluate.answering import Answerer
from gptengine.evaluate.loss import LossOnText, loss_on
from gptengine.evaluate.tools import Prompt, ToolScores, prompts_of, score_tools
from gptengine.finetune.data import Examples
from gptengine.train.device import Placement

#: Told what is done, how much of it, and of how much.
Progress = Callable[[str, float, float], None]


def evaluate(
    folder: Path,
    files: Sequence[Path],
    data: Sequence[DataFile],
    settings: EvalSettings,
    placement: Placement,
    *,
    name: str,
    fingerprint: str = "",
    progress: Progress = lambda what, done, total: None,
) -> Evaluation:
    """Judge the model in `folder` by the conversations in `files`.

    Args:
        folder: A local causal LM with its tokenizer.
        files: Held-out data of any dialect.
        data: The same, for the report.
        settings: How many prompts, how long answers.
        placement: Where to compute.
        name: Of the model, for the report.
        fingerprint: For the report.
        progress: Told how far it is.

    Raises:
        UserError: The model cannot be loaded, or no conversation can be used.
    """
    tokenizer = load_chat_tokenizer(folder)
    context = context_length_of(folder)
    rows, examples, unusable = _read(files, tokenizer, context)
    if not rows:
        raise UserError(
            f"there is no conversation to judge by: {unusable:,} rows cannot be used",
            where=", ".join(map(str, files)),
            fix="gptstudio data check says what is wrong with them",
        )
    model = _load(folder, tokenizer, placement)
    told = loss_on(
        model,
        tokenizer,
        examples,
        placement,
        batch_size=settings.batch_size,
        control=frozenset(control_ids(tokenizer)),
        on_done=lambda done: progress("measuring the loss", done, len(examples)),
    )
    answerer = Answerer(
        model,
        tokenizer,
        placement,
        context=context,
        batch_size=settings.batch_size,
        max_tokens=settings.max_tokens,
    )
    prompts = prompts_of(rows, settings.max_prompts)
    scores = score_tools(
        prompts, answerer, tokenizer, lambda done, total: progress("answering", done, total)
    )
    return Evaluation(
        model=name,
        fingerprint=fingerprint,
        made=time.time(),
        data=list(data),
        loss=told.loss,
        perplexity=told.perplexity,
        bits_per_byte=told.bits_per_byte,
        tokens=told.tokens,
        conversations=len(rows),
        tools=scores.tools(),
        by_function=scores.functions(),
        unusable=unusable,
        transcripts=scores.transcripts,
        details=_details(rows, prompts, told, scores),
    )


def _load(folder: Path, tokenizer: ChatTokenizer, placement: Placement) -> Any:
    """The model, with a row for each id of its tokenizer."""
    model = load_causal_lm(folder, torch.float32 if placement.precision == "fp32" else None)
    if tokenizer.vocab_size > model.get_input_embeddings().weight.shape[0]:
        # A model from elsewhere, judged before any stage of ours has taught it control tokens.
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.resize_token_embeddings(tokenizer.vocab_size)
    return model.to(placement.device).eval()


def _details(
    rows: Sequence[tuple[str, Conversation]],
    prompts: Sequence[Prompt],
    told: LossOnText,
    scores: ToolScores,
) -> Details:
    digest = hashlib.sha256()
    judged_by = [
        *([to_row(record)] for _, record in rows),
        *([to_row(prompt.conversation), prompt.turn] for prompt in prompts),
    ]
    for item in judged_by:
        digest.update(json.dumps(item, sort_keys=True).encode())
    return Details(
        held_out=digest.hexdigest(),
        verdicts=scores.by_prompt(),
        nats=" ".join(f"{nats:.7g}" for nats, _ in told.each),
        tokens=" ".join(str(tokens) for _, tokens in told.each),
    )


def _read(
    files: Sequence[Path], tokenizer: ChatTokenizer, context: int
) -> tuple[list[tuple[str, Conversation]], Examples, int]:
    """The conversations that fit, as they are and encoded, and how many rows cannot be used."""
    rows: list[tuple[str, Conversation]] = []
    examples = Examples()
    unusable = 0
    for path in files:
        for item in RecordReader(path):
            if isinstance(item, Problem):
                unusable += 1
                continue
            if not isinstance(item.record, Conversation):
                continue
            record = item.record
            try:
                encoded = encode_conversation(record.messages, record.tools, tokenizer, context)
            except RowError:
                unusable += 1
                continue
            rows.append((f"{path.name}:{item.row}", record))
            examples.append(encoded)
    return rows, examples, unusable
