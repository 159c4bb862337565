"""Writing: our decoder beside `generate` of transformers, with the same weights.

    .venv/bin/python benchmarks/decode.py [--sizes 0.95M 92M] [--batches 16 1] [--rounds 5]

The models are drawn at random, saved by `gptengine.hf` and loaded by transformers as it comes. Both
sides write from the same prompts in one process and take turns, so that both meet the same noise;
nothing ends a text early. The prompts of a batch differ in length, from an eighth to a quarter of
the context, so there is padding. Figures are medians of the rounds, with the quartiles; ratios are
of the medians. The process has the allocator setting of our engine, which serves both sides.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gptengine.__main__ import prepare_process

prepare_process()

import torch
from transformers import AutoModelForCausalLM

from gptengine.decoding import Decoder
from gptengine.generate import Sampling, stream_ids
from gptengine.hf import save_model
from gptengine.model import GPT

SHAPES = {  # layers, heads, width, context, vocabulary
    "0.95M": (4, 4, 128, 256, 1024),
    "92M": (12, 12, 768, 512, 8192),
}
#: Tokens that a row writes in a turn, by size and by whether there is a batch.
NEW = {("0.95M", True): 128, ("0.95M", False): 128, ("92M", True): 16, ("92M", False): 48}
#: The prompt that the time to the first token is taken with, and the context that holds it.
LONG_PROMPT, LONG_CONTEXT = 1000, 1024

Turns = dict[str, Callable[[], list[list[int]]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--batches", nargs="*", type=int, default=[16, 1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: one a core")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for size in options.sizes:
        for batch in options.batches:
            write(size, batch, options.rounds)
        begin(size, options.rounds)


def write(size: str, batch: int, rounds: int) -> None:
    """Tokens per second of a batch, at its likeliest and drawn."""
    context, tokens = SHAPES[size][3], NEW[size, batch > 1]
    ours, theirs = models(size, context)
    prompts = prompts_of(size, batch, context // 4)
    print(f"\n{size}, batch {batch}, {torch.get_num_threads()} threads: tokens per second")
    for name, temperature in (("greedy", 0.0), ("sampling", 1.0)):
        turns: Turns = {
            "transformers": partial(generate, theirs, prompts, tokens, temperature),
            "gptstudio": partial(decode, ours, prompts, tokens, temperature),
        }
        if batch == 1:
            turns["gptstudio, streamed"] = partial(stream, ours, prompts, tokens, temperature)
        compare(name, turns, rounds, batch * tokens)
    pairs = zip(decode(ours, prompts, tokens, 0), generate(theirs, prompts, tokens, 0), strict=True)
    print(f"likeliest tokens alike in {sum(a == b for a, b in pairs)} of {batch} rows")


def begin(size: str, rounds: int) -> None:
    """How soon the first token is there after a long prompt."""
    ours, theirs = models(size, LONG_CONTEXT)
    prompts = prompts_of(size, 1, LONG_PROMPT)
    print(f"\n{size}, first tokens per second, each after a prompt of {LONG_PROMPT:,}")
    turns: Turns = {
        "transformers": partial(generate, theirs, prompts, 1, 0),
        "gptstudio": partial(decode, ours, prompts, 1, 0),
        "gptstudio, streamed": partial(stream, ours, prompts, 1, 0),
    }
    compare("greedy", turns, rounds, 1)


def models(size: str, context: int) -> tuple[GPT, Any]:
    """The same weights on both sides."""
    layers, heads, width, _, vocabulary = SHAPES[size]
    ours = GPT(
        {
            "vocab_size": vocabulary,
            "context_length": context,
            "emb_dim": width,
            "n_heads": heads,
            "n_layers": layers,
        },
        generator=torch.Generator().manual_seed(0),
    ).eval()
    with tempfile.TemporaryDirectory() as folder:
        save_model(ours, Path(folder), eos_id=0, pad_id=1)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return ours, theirs


def prompts_of(size: str, batch: int, longest: int) -> list[list[int]]:
    """From half as long as the longest to the longest."""
    generator = torch.Generator().manual_seed(1)
    lengths = [longest - row * (longest // 2) // batch for row in range(batch)]
    vocabulary = SHAPES[size][4]
    return [torch.randint(2, vocabulary, (n,), generator=generator).tolist() for n in lengths]


def generate(
    model: Any, prompts: list[list[int]], tokens: int, temperature: float
) -> list[list[int]]:
    width = max(map(len, prompts))
    ids = torch.tensor([[1] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    how = {"do_sample": False}
    if temperature:
        how = {"do_sample": True, "temperature": temperature, "top_k": 0}
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=tokens,
        eos_token_id=None,
        pad_token_id=1,
        **how,
    )
    rows: list[list[int]] = written[:, width:].tolist()
    return rows


def decode(
    model: GPT, prompts: list[list[int]], tokens: int, temperature: float
) -> list[list[int]]:
    decoder = Decoder(model, context=model.config.context_length)
    written = decoder.write(prompts, Sampling(tokens, temperature=temperature, seed=0))
    return [each.ids for each in written]


def stream(
    model: GPT, prompts: list[list[int]], tokens: int, temperature: float
) -> list[list[int]]:
    sampling = Sampling(tokens, temperature=temperature, seed=0)
    return [list(stream_ids(model, prompt, sampling)) for prompt in prompts]


def compare(name: str, turns: Turns, rounds: int, tokens: int) -> None:
    """Take turns, and print what each did a second."""
    rates: dict[str, list[float]] = {each: [] for each in turns}
    for turn in turns.values():
        turn()
    for _ in range(rounds):
        for each, turn in turns.items():
            started = time.perf_counter()
            written = turn()
            rates[each].append(tokens / (time.perf_counter() - started))
            assert sum(map(len, written)) == tokens
    peer = statistics.median(rates["transformers"])
    print(f"{name:24} {'median':>9} {'quartiles':>19} {'to transformers':>16}")
    for each, values in rates.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  {each:22} {middle:9,.1f} {low:9,.1f}-{high:9,.1f} {middle / peer:15.2f}x")


if __name__ == "__main__":
    main()
