"""Stage `ppo`: a model learns from rewards for its own answers, by proximal policy optimisation."""

from pathlib import Path

from gptengine.context import StageContext
from gptengine.finetune.backends import Trained
from gptengine.finetune.bench import Bench, Training
from gptengine.plan import Plan
from gptengine.rl.inputs import judge_of_stage, prompts_of_stage
from gptengine.rl.ppo import PPO


def run(context: StageContext, plan: Plan) -> bool:
    """Train the model and publish it.

    Returns:
        Whether it came to its end; False where a stop command ended it.
    """
    settings = context.training(context.profile.ppo)
    bench = Bench(context, plan, settings)
    data = prompts_of_stage(bench, settings)
    with judge_of_stage(bench, settings) as judge:

        def make(trained: Trained, scratch: Path) -> Training:
            return PPO(
                trained,
                bench.tokenizer,
                settings,
                bench.placement,
                data=data,
                judge=judge,
                longest=bench.longest,
                recorder=context.report,
                requests=context.requests,
                checkpoint_dir=context.checkpoints,
                scratch=scratch,
            )

        return bench.tune(
            make,
            details={"prompts": len(data.train), "tokens": data.train.num_tokens},
            facts={
                "prompts": len(data.train),
                "held_out_prompts": len(data.val),
                "rows_left_out": data.bad,
            },
        )
