"""Stage `finetune`: a model learns to converse, and to call tools, from conversations."""

import shutil
from pathlib import Path

from gptcore import events
from gptcore.errors import UserError
from gptcore.inputs import weights_of
from gptcore.settings import FinetuneSettings
from gptengine.causal_lm import context_length_of
from gptengine.chat_tokenizer import (
    ForeignTokenizer,
    generation_settings,
    load_chat_tokenizer,
)
from gptengine.context import StageContext
from gptengine.finetune.backends import Trained, prepare
from gptengine.finetune.data import ChatData, check_share, read_chat_data
from gptengine.plan import Plan
from gptengine.publish import publish
from gptengine.tokenizer import BPETokenizer
from gptengine.train import checkpoint
from gptengine.train.device import Placement, place
from gptengine.train.duties import History

#: The adapter, in the folder of the finished model.
ADAPTER = "adapter"


def run(context: StageContext, plan: Plan) -> bool:
    """Fine-tune the model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    folder = plan.parents["model"]
    settings = context.training(context.profile.finetune)
    tokenizer = load_chat_tokenizer(folder)
    longest = longest_of(settings, folder)
    data = read(context, plan, tokenizer, longest)
    placement = place(context.profile.engine)
    trained = prepare(folder, tokenizer, settings, placement, longest)
    tell_backend(context, trained)
    scratch = context.run.folder / "trl"
    shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that was killed
    history = train(context, trained, tokenizer, data, placement, longest, scratch)
    shutil.rmtree(scratch, ignore_errors=True)
    stopped = history.ended_by == "stop"
    if stopped:
        context.report.write(events.StageChange("stopped"))
    else:
        publish(
            context,
            plan,
            lambda folder: write_model(folder, trained, tokenizer, longest),
            scores=history.scores(),
            training={
                **history.facts(),
                "parameters": sum(p.numel() for p in trained.model.parameters()),
                "trained_parameters": sum(p.numel() for p in trained.parameters().values()),
                "backend": trained.backend.name,
                "embedding_trained": trained.trains_embedding,
                "device": placement.describe(),
                "conversations": len(data.train),
                "held_out_conversations": len(data.val),
                "rows_left_out": data.bad,
            },
        )
    return not stopped


def longest_of(settings: FinetuneSettings, folder: Path) -> int:
    """Tokens of the longest conversation.

    Raises:
        UserError: The model cannot see so many.
    """
    most = context_length_of(folder)
    if settings.context_length > most:
        raise UserError(
            f"finetune.context_length is {settings.context_length}, but the model sees {most}",
            where=str(folder),
            fix=f"--set finetune.context_length={most}, or 0 for the model's own",
        )
    return settings.context_length or most


def read(
    context: StageContext,
    plan: Plan,
    tokenizer: BPETokenizer | ForeignTokenizer,
    longest: int,
) -> ChatData:
    """The conversations, encoded; what is left out of them is told.

    Raises:
        UserError: Too many rows cannot be used.
    """
    mix = context.profile.data.finetune
    progress = context.progress("reading the conversations", "MB")
    total = sum(item.bytes for item in plan.data) / 1e6
    data = read_chat_data(
        plan.files,
        weights_of(mix.weights, (item.file for item in plan.data)),
        tokenizer,
        longest=longest,
        held_out=mix.held_out,
        on_bytes=lambda done: progress(min(done / 1e6, total), total),
    )
    for message in check_share(data, mix, context.workspace.datasets):
        context.report.warn(message)
    if mix.held_out and not len(data.val):
        context.report.warn("no conversation is held out, they are so few: no evaluation")
    return data


def tell_backend(context: StageContext, trained: Trained) -> None:
    """Say which library is at work, and what is trained."""
    backend = trained.backend
    said = f"fine-tuning by {backend.name}: {backend.reason}"
    if trained.trains_embedding:
        said += "; the token embedding is trained along, as the control tokens are new to the model"
    context.report.write(events.Note(said))


def train(
    context: StageContext,
    trained: Trained,
    tokenizer: BPETokenizer | ForeignTokenizer,
    data: ChatData,
    placement: Placement,
    longest: int,
    scratch: Path,
) -> History:
    """Train from the start, or from the newest sound checkpoint."""
    from gptengine.finetune.trainer import Finetuning  # after the backend: Unsloth precedes TRL

    settings = context.training(context.profile.finetune)
    tuning = Finetuning(
        trained,
        tokenizer,
        settings,
        placement,
        train=data.train,
        val=data.val,
        longest=longest,
        recorder=context.report,
        requests=context.requests,
        checkpoint_dir=context.checkpoints,
        scratch=scratch,
    )
    if context.attempt > 1:
        newest, passed_over = checkpoint.newest_sound(context.checkpoints)
        for message in passed_over:
            context.report.warn(message)
        if newest is not None:
            tuning.resume(newest)
    details = {
        "backend": trained.backend.name,
        "trained parameters": sum(p.numel() for p in trained.parameters().values()),
        "conversations": len(data.train),
        "tokens": data.train.num_tokens,
        "supervised tokens": data.train.num_learned,
        "device": placement.describe(),
        "micro_batch": settings.micro_batch,
        **trained.details,
    }
    done = tuning.duties.state.step
    start = events.StageChange("start", total_steps=tuning.total_steps, details=details)
    context.report.write(start, step=done)
    if context.attempt > 1:
        context.report.write(events.Resume(context.attempt, done), step=done)
    return tuning.run()


def write_model(
    folder: Path, trained: Trained, tokenizer: BPETokenizer | ForeignTokenizer, longest: int
) -> None:
    """Merged weights, the adapter beside them, and the tokenizer; `trained` is used up."""
    if trained.has_adapters:
        trained.save(folder / ADAPTER)
    merged = trained.merge()
    for name, value in generation_settings(tokenizer).items():
        setattr(merged.generation_config, name, value)
    merged.config.use_cache = True  # training switches it off
    merged.save_pretrained(folder)
    tokenizer.save(folder, model_max_length=longest)
