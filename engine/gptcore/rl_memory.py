"""How much memory learning from rewards and preferences will need, by arithmetic.

All start from what fine-tuning takes (`gptcore.finetune_memory`): `reward` and `orpo` with two
sequences a pair, as long as conversations are; `ppo` and `rgpo` with one an answer, of a prompt of
`USUAL_PROMPT` tokens and as many as may be written, `max_tokens` a turn.

To that they add, for a model of P parameters of which T are trained, a vocabulary of V, width D and
L blocks, with `h` bytes a number (2 in half precision, 4 in fp32):

| of         | bytes                | for                                                     |
|------------|----------------------|---------------------------------------------------------|
| `orpo`     | (h + 12) V an        | logits, the same in float32, their softmax and its      |
|            | answer's token       | gradient                                                |
| `rgpo`     | the same             | likewise                                                |
| `ppo`      | the same, any token  | likewise; TRL has them of prompts too                   |
| `rgpo`     | 4 P                  | the model as it was, unless adapters alone are trained  |
| `ppo`      | 4 T                  | the model as it was; the rest is shared                 |
| `ppo`      | 16 T                 | the value model, its gradients and AdamW's moments      |
| `ppo`      | as the model's       | what the value model's pass keeps                       |
| both       | 4 P                  | a mirror that writes fast, of a GPT-2 not in 4 bits     |
| both       | h P                  | a learned reward, taken to be as large                  |
| both       | 2 h L D a token      | keys and values of all answers, while they are drawn    |

Answers are drawn before anything is kept for a gradient: the larger of the two counts.
"""

from dataclasses import replace
from functools import partial

from gptcore.finetune_memory import (
    Shape,
    estimate_finetuning,
    is_half,
    num_trained,
    trains_embedding,
    usual_length,
)
from gptcore.memory import Estimate
from gptcore.rl_settings import OrpoSettings, PpoSettings, RgpoSettings, RolloutSettings
from gptcore.settings import FinetuneSettings, TuningSettings

#: Tokens of a long answer, where the data brings it.
USUAL_ANSWER = 512
#: Tokens of a long prompt, with the tools that may be called.
USUAL_PROMPT = 512


def estimate_tuning(
    shape: Shape,
    settings: TuningSettings,
    *,
    precision: str,
    on_gpu: bool,
    micro_batch: int = 0,
    learned_reward: bool = False,
) -> Estimate:
    """Peak memory of one step of any stage that trains a model further, on one device.

    Args:
        shape: Of the model.
        settings: Of the training; their type says which stage it is.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: half precision on a GPU alone.
        on_gpu: Whether the device is one.
        micro_batch: In place of the settings', after memory ran out; 0: theirs.
        learned_reward: Whether a reward model judges the answers.
    """
    size = micro_batch or settings.micro_batch
    number = 2 if is_half(precision, on_gpu) else 4
    estimate = partial(estimate_finetuning, shape, precision=precision, on_gpu=on_gpu)
    if isinstance(settings, FinetuneSettings):
        return estimate(settings, micro_batch=size)
    a_token = (number + 12) * shape.vocab_size
    if isinstance(settings, RolloutSettings):
        longest = settings.max_tokens * _turns(settings)
        length = min(usual_length(shape, settings), USUAL_PROMPT + longest)
        settings = settings.model_copy(update={"context_length": length})
        base = estimate(settings, micro_batch=size)
        base = _with_others(base, shape, settings, number, learned_reward=learned_reward)
        counted = length if isinstance(settings, PpoSettings) else min(length, longest)
        learning = max(base.temporaries, size * counted * a_token)
        drawing = settings.batch_size * _of_an_answer(shape, length, number)
        return replace(base, temporaries=max(learning, drawing - base.activations))
    base = estimate(settings, micro_batch=2 * size)
    if isinstance(settings, OrpoSettings):
        answers = 2 * size * min(usual_length(shape, settings), USUAL_ANSWER)
        base = replace(base, temporaries=max(base.temporaries, answers * a_token))
    return base


def _turns(settings: RolloutSettings) -> int:
    return settings.max_turns if isinstance(settings, RgpoSettings) else 1


def _with_others(
    base: Estimate, shape: Shape, settings: RolloutSettings, number: int, *, learned_reward: bool
) -> Estimate:
    """The estimate with the models beside the one that is trained."""
    whole, trained = shape.parameters, num_trained(shape, settings)
    weights = base.weights
    if shape.kind == "gpt2" and settings.method != "qlora":
        weights += 4 * whole
    if learned_reward:
        weights += number * whole
    if isinstance(settings, PpoSettings):
        return replace(
            base,
            weights=weights + 2 * 4 * trained,
            gradients=2 * base.gradients,
            optimizer=2 * base.optimizer,
            activations=2 * base.activations,
        )
    if settings.method == "full" or trains_embedding(settings):
        weights += 4 * whole
    return replace(base, weights=weights)


def _of_an_answer(shape: Shape, length: int, number: int) -> int:
    """Keys and values of one answer while it is drawn, and the logits of its next token."""
    return 2 * number * shape.layers * shape.width * length + 4 * shape.vocab_size
