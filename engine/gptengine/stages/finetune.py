"""Stage `finetune`: a model learns to converse, and to call tools, from conversations."""

from pathlib import Path

from gptcore.inputs import weights_of
from gptengine.context import StageContext
from gptengine.finetune.backends import Trained
from gptengine.finetune.bench import Bench, Training
from gptengine.finetune.data import ChatData, check_share, read_chat_data
from gptengine.plan import Plan


def run(context: StageContext, plan: Plan) -> bool:
    """Fine-tune the model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    settings = context.training(context.profile.finetune)
    bench = Bench(context, plan, settings)
    data = read(bench)

    def make(trained: Trained, scratch: Path) -> Training:
        from gptengine.finetune.trainer import Finetuning  # after Unsloth, which precedes TRL

        return Finetuning(
            trained,
            bench.tokenizer,
            settings,
            bench.placement,
            train=data.train,
            val=data.val,
            longest=bench.longest,
            recorder=context.report,
            requests=context.requests,
            checkpoint_dir=context.checkpoints,
            scratch=scratch,
        )

    return bench.tune(
        make,
        details={
            "conversations": len(data.train),
            "tokens": data.train.num_tokens,
            "supervised tokens": data.train.num_learned,
        },
        facts={
            "conversations": len(data.train),
            "held_out_conversations": len(data.val),
            "rows_left_out": data.bad,
        },
    )


def read(bench: Bench) -> ChatData:
    """The conversations, encoded; what is left out of them is told.

    Raises:
        UserError: Too many rows cannot be used.
    """
    context, plan = bench.context, bench.plan
    mix = context.profile.data.finetune
    progress = context.progress("reading the conversations", "MB")
    total = sum(item.bytes for item in plan.data) / 1e6
    data = read_chat_data(
        plan.files,
        weights_of(mix.weights, (item.file for item in plan.data)),
        bench.tokenizer,
        longest=bench.longest,
        held_out=mix.held_out,
        on_bytes=lambda done: progress(min(done / 1e6, total), total),
    )
    for message in check_share(data, mix, context.workspace.datasets):
        context.report.warn(message)
    if mix.held_out and not len(data.val):
        context.report.warn("no conversation is held out, they are so few: no evaluation")
    return data
