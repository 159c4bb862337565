"""Training throughput: ours beside a plain transformers loop and a nanoGPT-style one.

    .venv/bin/python benchmarks/train_throughput.py

Every candidate runs in a process of its own, as its users would run it, and takes turns with the
others, a few steps at a time, so that all meet the same noise. A step is forward, backward,
clipping to norm 1 and AdamW, in float32 on a CPU. The peers appear twice: as they come, and with
the allocator setting that our engine makes (see `prepare_process`). Figures are tokens per second,
the median of the rounds, with the quartiles; ratios are of the medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

SHAPES = {  # layers, heads, width, context, batch, vocabulary
    "0.95M": (4, 4, 128, 256, 32, 1024),
    "3.5M": (6, 6, 192, 256, 16, 4096),
    "92M": (12, 12, 768, 512, 1, 8192),
}
CANDIDATES = (
    "gptstudio",
    "nanoGPT-style",
    "transformers",
    "nanoGPT-style, our allocator",
    "transformers, our allocator",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn")
    parser.add_argument("--worker", nargs=2, metavar=("CANDIDATE", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(*options.worker)
        return
    for size in options.sizes:
        report(size, measure(size, options.rounds, options.seconds))


def measure(size: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Tokens per second of each candidate in each round."""
    workers = {}
    for name in CANDIDATES:
        workers[name] = subprocess.Popen(
            [sys.executable, __file__, "--worker", name, size],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        ask(workers[name], 1.0)  # warm up, one after the other
    rates: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(rounds):
        for name, worker in workers.items():
            rates[name].append(ask(worker, seconds))
    for worker in workers.values():
        worker.communicate()
    return rates


def ask(worker: subprocess.Popen[str], seconds: float) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{seconds}\n")
    worker.stdin.flush()
    return float(json.loads(worker.stdout.readline()))


def report(size: str, rates: dict[str, list[float]]) -> None:
    ours = statistics.median(rates["gptstudio"])
    print(f"\n{size}: layers, heads, width, context, batch, vocabulary = {SHAPES[size]}")
    print(f"{'':30} {'tokens/s':>9} {'quartiles':>17} {'gptstudio is':>13}")
    for name, values in rates.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name:30} {middle:9,.0f} {low:8,.0f}-{high:8,.0f} {ours / middle:12.2f}x")


def serve(candidate: str, size: str) -> None:
    """Train for as many seconds as each line on stdin says; answer with tokens per second."""
    name, _, tuned = candidate.partition(", ")
    if name == "gptstudio" or tuned:
        from gptengine.__main__ import prepare_process

        prepare_process()
    import torch

    layers, heads, width, context, batch, vocabulary = SHAPES[size]
    torch.manual_seed(0)
    makers: dict[str, Callable[..., Callable[[torch.Tensor, torch.Tensor], None]]] = {
        "gptstudio": our_step,
        "nanoGPT-style": nano_step,
        "transformers": transformers_step,
    }
    step = makers[name](layers, heads, width, context, vocabulary)
    ids = torch.randint(0, vocabulary, (batch, context + 1))
    for line in sys.stdin:
        steps, started = 0, time.perf_counter()
        while time.perf_counter() - started < float(line):
            step(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
            steps += 1
        print(json.dumps(steps * batch * context / (time.perf_counter() - started)), flush=True)


def our_step(layers: int, heads: int, width: int, context: int, vocabulary: int):
    from gptcore.settings import PretrainSettings
    from gptengine import GPT
    from gptengine.train.optimizer import GuardedOptimizer, build_optimizer

    model = GPT(
        {
            "vocab_size": vocabulary,
            "context_length": context,
            "emb_dim": width,
            "n_heads": heads,
            "n_layers": layers,
        }
    )
    guard = GuardedOptimizer(build_optimizer(model, PretrainSettings()), PretrainSettings())

    def step(inputs, targets) -> None:
        loss = model.loss(inputs, targets)
        guard.backward(loss)
        guard.step(loss, 6e-4)

    return step


def transformers_step(layers: int, heads: int, width: int, context: int, vocabulary: int):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=context,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).train()
    return plain_step(model, lambda inputs, targets: cross_entropy(model(inputs).logits, targets))


def nano_step(layers: int, heads: int, width: int, context: int, vocabulary: int):
    """The habits of nanoGPT: one product for q, k, v, SDPA, the exact GELU, whole logits."""
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.gelu = nn.GELU()

        def forward(self, x):
            size, time_steps, _ = x.shape
            parts = self.attend(self.norm1(x)).split(width, dim=2)
            q, k, v = (p.view(size, time_steps, heads, -1).transpose(1, 2) for p in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.project(y.transpose(1, 2).contiguous().view(size, time_steps, width))
            return x + self.narrow(self.gelu(self.widen(self.norm2(x))))

    class Nano(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
            self.tokens.weight = self.head.weight
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=0.02)

        def forward(self, ids):
            x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    model = Nano()
    return plain_step(model, lambda inputs, targets: cross_entropy(model(inputs), targets))


def cross_entropy(logits, targets):
    from torch.nn import functional as F

    return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def plain_step(model, loss_of):
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)

    def step(inputs, targets) -> None:
        loss = loss_of(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
