"""TRL's RLOO on the model, prompts and rewards of `benchmarks/rl.py`, for a number of tokens.

    python benchmarks/rl_peer.py --seed 1 --tokens 150000 --output models/rloo-1-rloo

Run in the workspace that `benchmarks/rl.py` makes. Settings are those of the profile's `rgpo`, as
far as RLOO has them; its answers are single turns. It ends when it has generated so many tokens.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import RLOOConfig, RLOOTrainer

from gptcore.answers import parse_answer
from gptcore.conversation import END_OF_TURN, PAD, plain, render
from gptcore.profile import read_profile
from gptengine.causal_lm import load_causal_lm
from gptengine.chat_tokenizer import control_ids, load_chat_tokenizer
from gptengine.rl.prompts import read_prompts
from gptengine.rl.rewards import Scorer
from gptengine.rl.tasks import Completion

BASE = Path("models/base-finetune")
FILES = [Path("datasets/demo/tools-train.jsonl")]


class Stop(TrainerCallback):
    """Ends the training when enough tokens were generated."""

    def __init__(self, most: int) -> None:
        self.most, self.generated = most, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the count."""
        control.should_training_stop = self.generated >= self.most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    settings = read_profile(Path("profiles/demo.toml")).rgpo
    tokenizer = load_chat_tokenizer(BASE)
    longest = settings.context_length or 256
    room = settings.max_tokens
    prompts = read_prompts(FILES, [1], tokenizer, longest=longest, room=room).train
    control, stop, scorer = control_ids(tokenizer), Stop(options.tokens), Scorer(settings.rewards)

    def reward(number: Sequence[int], completion_ids: Sequence[list[int]], **_: Any) -> list[float]:
        stop.generated += sum(map(len, completion_ids))
        answers = [parse_answer(ids, control, tokenizer.decode) for ids in completion_ids]
        pairs = zip(number, answers, completion_ids, strict=True)
        made = [Completion(prompts.tasks[n], (a,), num_tokens=len(ids)) for n, a, ids in pairs]
        return [scored.total for scored in scorer.score(made)]

    rows = [
        {"number": number, "prompt": plain(render(task.messages, task.tools, goes_on=True))}
        for number, task in enumerate(prompts.tasks)
    ]
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer.save(Path(scratch) / "tokenizer")
        names = PreTrainedTokenizerFast.from_pretrained(Path(scratch) / "tokenizer")
        names.eos_token, names.pad_token = END_OF_TURN, PAD
        trainer = RLOOTrainer(
            model=load_causal_lm(BASE),
            reward_funcs=reward,
            args=RLOOConfig(
                output_dir=scratch,
                max_steps=settings.max_steps,
                per_device_train_batch_size=settings.batch_size,
                num_generations=settings.group_size,
                max_completion_length=settings.max_tokens,
                temperature=settings.temperature,
                beta=settings.kl_coef,
                learning_rate=settings.lr,
                lr_scheduler_type="cosine",
                warmup_steps=settings.warmup_steps,
                max_grad_norm=settings.grad_clip,
                seed=options.seed,
                use_cpu=True,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=names,
            peft_config=LoraConfig(
                task_type="CAUSAL_LM",
                r=settings.rank,
                lora_alpha=settings.alpha,
                target_modules=["c_attn", "c_proj", "c_fc"],
                fan_in_fan_out=True,
            ),
            callbacks=[stop],
        )
        trainer.train()
        trainer.model.merge_and_unload().save_pretrained(options.output)
    tokenizer.save(options.output, model_max_length=longest)
    print(f"{options.output}: {stop.generated:,} tokens in {trainer.state.global_step} steps")


if __name__ == "__main__":
    main()
