"""What a stage that learns from its own answers starts with: prompts, and a judge of answers."""

from collections.abc import Iterator
from contextlib import contextmanager

from gptcore.inputs import weights_of
from gptcore.rl_settings import RolloutSettings
from gptcore.settings import RowsDataSettings
from gptengine.finetune.bench import Bench
from gptengine.rl.judge import Judge
from gptengine.rl.learned_reward import load_reward_model
from gptengine.rl.prompts import PromptData, check_prompts, read_prompts, room_for_answer
from gptengine.rl.rewards import Scorer


def prompts_of_stage(bench: Bench, settings: RolloutSettings) -> PromptData:
    """The prompts of the stage's mix, encoded; what is left out of them is told.

    Args:
        bench: With the model and its data.
        settings: Of the training.

    Raises:
        UserError: Too many rows cannot be used.
    """
    context, plan = bench.context, bench.plan
    (name,) = context.stage.data
    mix: RowsDataSettings = getattr(context.profile.data, name)
    progress = context.progress("reading the prompts", "MB")
    total = sum(item.bytes for item in plan.data) / 1e6
    data = read_prompts(
        plan.files,
        weights_of(mix.weights, (item.file for item in plan.data)),
        bench.tokenizer,
        longest=bench.longest,
        room=room_for_answer(bench.longest, settings.max_tokens),
        held_out=mix.held_out,
        on_bytes=lambda done: progress(min(done / 1e6, total), total),
    )
    for message in check_prompts(data, mix, context.workspace.datasets, name):
        context.report.warn(message)
    if mix.held_out and not len(data.val):
        context.report.warn("no prompt is held out, they are so few: no evaluation")
    return data


@contextmanager
def judge_of_stage(bench: Bench, settings: RolloutSettings) -> Iterator[Judge]:
    """What answers are worth by the settings, with the reward model where the stage takes one.

    Raises:
        UserError: A reward is not known or may not be run, or the reward model is none of this
            model's.
    """
    context, parents = bench.context, bench.plan.parents
    learned = None
    if "reward" in parents:
        learned = load_reward_model(parents["reward"], bench.tokenizer, bench.placement)
    weights = settings.reward_weights
    if not any(weights.values()) and learned is not None:
        yield Judge(None, context.report.warn, learned, settings.reward_model_weight)
        return
    with Scorer(
        weights, workspace=context.workspace, timeout_s=settings.reward_timeout_s
    ) as scorer:
        yield Judge(scorer, context.report.warn, learned, settings.reward_model_weight)
