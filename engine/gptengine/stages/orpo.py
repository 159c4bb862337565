"""Stage `orpo`: a model learns from pairs which of two answers is the better one."""

from pathlib import Path

from gptengine.context import StageContext
from gptengine.finetune.backends import Trained
from gptengine.finetune.bench import Bench, Training
from gptengine.plan import Plan
from gptengine.rl.orpo import ORPO
from gptengine.rl.preferences import Pairs, read_pairs


def run(context: StageContext, plan: Plan) -> bool:
    """Tune the model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    settings = context.training(context.profile.orpo)
    bench = Bench(context, plan, settings)
    data = bench.read(read_pairs)
    train, val = Pairs(data.train), Pairs(data.val)

    def make(trained: Trained, scratch: Path) -> Training:
        return ORPO(
            trained,
            bench.tokenizer,
            settings,
            bench.placement,
            train=train,
            val=val,
            longest=bench.longest,
            recorder=context.report,
            requests=context.requests,
            checkpoint_dir=context.checkpoints,
        )

    return bench.tune(
        make,
        details={
            "pairs": len(train),
            "tokens": train.num_tokens,
            "supervised tokens": train.num_learned,
        },
        facts={
            "pairs": len(train),
            "held_out_pairs": len(val),
            "rows_left_out": data.bad,
        },
    )
