"""Stage `pretrain`: a GPT learns to continue raw text."""

import time
from pathlib import Path

import torch.distributed as dist

from gptcore import events
from gptcore.errors import UserError
from gptcore.inputs import weights_of
from gptcore.workspace import write_atomic
from gptengine.context import StageContext
from gptengine.data.sampler import TokenLoader
from gptengine.data.shards import Corpus, prepare_corpus
from gptengine.hf import load_model, save_model
from gptengine.model import GPT, GPTConfig
from gptengine.plan import Plan
from gptengine.publish import publish
from gptengine.tokenizer import BPETokenizer
from gptengine.train.device import place
from gptengine.train.trainer import GPTTrainer

#: Between two looks of the processes that wait for the tokenized corpus.
MARK_POLL_S = 0.2


def run(context: StageContext, plan: Plan) -> bool:
    """Train the model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    profile = context.profile
    tokenizer = BPETokenizer.load(plan.parents["tokenizer"])
    settings = context.training(profile.pretrain)
    corpus = tokenize(context, plan, tokenizer)
    placement = place(profile.engine)
    model = build_model(context, plan, tokenizer)
    length = model.config.context_length
    weighted = corpus.train.repeated(
        weights_of(profile.data.pretrain.weights, (item.file for item in plan.data))
    )
    train_loader = TokenLoader(weighted, length, settings.batch_size, settings.seed)
    val_loader = None
    if len(corpus.val) > length:
        val_loader = TokenLoader(corpus.val, length, settings.micro_batch, settings.seed)
    elif placement.is_main and profile.data.pretrain.held_out:
        context.report.warn(
            f"the held-out text is only {len(corpus.val):,} tokens, shorter than"
            f" model.context_length {length}: no evaluation"
        )
    trainer = GPTTrainer(
        model,
        tokenizer,
        settings,
        placement=placement,
        recorder=context.report,
        requests=context.requests,
    )
    history = trainer.train(
        train_loader, val_loader, checkpoint_dir=context.checkpoints, attempt=context.attempt
    )
    stopped = history.ended_by == "stop"
    if placement.is_main:
        if stopped:
            context.report.write(events.StageChange("stopped"))
        else:
            publish(
                context,
                plan,
                lambda folder: write_model(folder, model, tokenizer),
                scores=history.scores(),
                training={
                    **history.facts(),
                    "parameters": model.num_parameters(),
                    "device": placement.describe(),
                    "train_tokens": len(corpus.train),
                    "held_out_tokens": len(corpus.val),
                    "held_out_by": corpus.held_out_by,
                },
            )
    if placement.world_size > 1:
        dist.destroy_process_group()
    return not stopped


def tokenize(context: StageContext, plan: Plan, tokenizer: BPETokenizer) -> Corpus:
    """The corpus as token shards.

    One process makes them; others look for its mark, and not in a barrier, whose patience ends
    before a large corpus does.
    """
    mix, several = context.profile.data.pretrain, context.profile.engine.processes > 1
    mark, attempt = context.run.folder / "tokenized", str(context.attempt)
    while not context.is_main and not (mark.exists() and mark.read_text() == attempt):
        context.check()
        time.sleep(MARK_POLL_S)
    progress = context.progress("tokenizing", "MB")
    corpus = prepare_corpus(
        plan.files,
        tokenizer,
        context.workspace.cache,
        separator=mix.separator,
        held_out=mix.held_out,
        on_progress=lambda done, total: progress(done / 1e6, total / 1e6),
    )
    if context.is_main:
        for message in corpus.warnings:
            context.report.warn(message)
        if several:
            write_atomic(mark, attempt)
    return corpus


def build_model(context: StageContext, plan: Plan, tokenizer: BPETokenizer) -> GPT:
    """A new model of the profile's shape, or the one that `--from` named."""
    import torch

    if "model" in plan.parents:
        model = load_model(plan.parents["model"])
        if model.config.vocab_size < tokenizer.vocab_size:
            raise UserError(
                f"the model knows {model.config.vocab_size} tokens, its tokenizer"
                f" {tokenizer.vocab_size}",
                where=str(plan.parents["model"]),
                fix="name another model with --from",
            )
        return model
    shape = context.profile.model.model_dump()
    torch.manual_seed(context.profile.pretrain.seed)
    return GPT(GPTConfig.from_dict({**shape, "vocab_size": tokenizer.vocab_size}))


def write_model(folder: Path, model: GPT, tokenizer: BPETokenizer) -> None:
    """Weights and tokenizer, as transformers reads them."""
    save_model(model, folder, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
    tokenizer.save(folder, model_max_length=model.config.context_length)
