"""The GPU's side: the GPT pipeline on torch.

The Python API is loaded on first use, so that ``python -m gptengine`` can set threads and
devices before torch starts::

    from gptengine import BPETokenizer, GPT, GPT_CONFIG, GPTTrainer
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptengine.generate import Sampling, generate, stream
    from gptengine.model import GPT, GPT_CONFIG
    from gptengine.tokenizer import BPETokenizer
    from gptengine.train.trainer import GPTTrainer

_HOME = {
    "BPETokenizer": "gptengine.tokenizer",
    "GPT": "gptengine.model",
    "GPT_CONFIG": "gptengine.model",
    "GPTTrainer": "gptengine.train.trainer",
    "Sampling": "gptengine.generate",
    "generate": "gptengine.generate",
    "stream": "gptengine.generate",
}

__all__ = ["GPT", "GPT_CONFIG", "BPETokenizer", "GPTTrainer", "Sampling", "generate", "stream"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gptengine' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
