"""Stage `reward`: a reward model learns from pairs to tell the better answer."""

from pathlib import Path

from gptengine.context import StageContext
from gptengine.finetune.backends import JUDGING, Trained
from gptengine.finetune.bench import Bench, Training
from gptengine.plan import Plan
from gptengine.rl.preferences import Pairs, read_pairs


def run(context: StageContext, plan: Plan) -> bool:
    """Train the reward model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    settings = context.training(context.profile.reward)
    bench = Bench(context, plan, settings)
    data = bench.read(read_pairs)
    train, val = Pairs(data.train), Pairs(data.val)

    def make(trained: Trained, scratch: Path) -> Training:
        from gptengine.rl.reward_model import RewardTraining  # TRL takes seconds to import

        return RewardTraining(
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
            scratch=scratch,
        )

    return bench.tune(
        make,
        details={"pairs": len(train), "tokens": train.num_tokens},
        facts={
            "pairs": len(train),
            "held_out_pairs": len(val),
            "rows_left_out": data.bad,
        },
        purpose=JUDGING,
    )
