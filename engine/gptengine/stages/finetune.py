"""Stage `finetune`: a model learns to converse, and to call tools, from conversations."""

from pathlib import Path

from gptengine.context import StageContext
from gptengine.finetune.backends import Trained
from gptengine.finetune.bench import Bench, Training
from gptengine.finetune.data import read_chat_data
from gptengine.plan import Plan


def run(context: StageContext, plan: Plan) -> bool:
    """Fine-tune the model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    settings = context.training(context.profile.finetune)
    bench = Bench(context, plan, settings)
    data = bench.read(read_chat_data)

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
