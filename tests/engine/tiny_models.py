"""Models of two layers that are made on the spot, ours and others', and what they learn from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from gptcore import events
from gptcore.conversation import SPECIAL_TOKENS
from gptcore.encoding import TextEncoder, encode_conversation
from gptcore.events import EventReader
from gptcore.formats.records import Conversation, Message, Tool, ToolCall, to_row
from gptcore.profile import check_profile, write_profile
from gptcore.stages import STAGES, StageName
from gptcore.workspace import Workspace, make_private_dir
from gptengine.context import StageContext
from gptengine.finetune.data import Examples
from gptengine.hf import save_model
from gptengine.model import GPT, GPT_CONFIG
from gptengine.report import Report
from gptengine.stages import perform
from gptengine.tokenizer import BPETokenizer

KINDS = ("gpt2", "llama", "qwen2")
#: Special tokens that come with the models from elsewhere; the first begins, the last ends a text.
OWN_TOKENS = {
    "llama": ("<s>", "<unk>", "<|eot_id|>", "</s>"),
    "qwen2": ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
}
CONTEXT = 256
SENTENCES = [
    "the cat sat on the mat and the dog ran off with the hat",
    "What is the weather in Oslo? It is 3 degrees and rain.",
    'look_up({"topic": "whale"}) gives a mammal of the sea. Functions: topic: string',
] * 20

TOOL = Tool(
    "look_up",
    "Find a fact.",
    {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "depth": {"type": "integer"}},
        "required": ["topic"],
        "additionalProperties": False,
    },
)


def talk(*words: str) -> Conversation:
    """A conversation whose user and assistant take turns."""
    roles = ("user", "assistant")
    turns = [Message(roles[at % 2], word) for at, word in enumerate(words)]  # type: ignore[arg-type]
    return Conversation(tuple(turns))


def tool_talk(topic: str, fact: str, answer: str) -> Conversation:
    """A question, the call that is right, its result and the right answer."""
    messages = (
        Message("user", f"What is a {topic}?"),
        Message("assistant", calls=(ToolCall("look_up", {"topic": topic}),)),
        Message("tool", fact, name="look_up"),
        Message("assistant", answer),
    )
    return Conversation(messages, (TOOL,), "tools")


TALKS = [
    talk("Who sat on the mat?", "the cat"),
    talk("Who ran off?", "the dog ran off with the hat and the mat"),
    talk("the weather?", "It is rain.", "Sure?", "It is rain in Oslo and the cat sat on the mat."),
    tool_talk("whale", "a mammal of the sea", "A whale is a mammal."),
    talk("Oslo", "3 degrees"),
    talk("And the hat", "the dog ran off with it"),
]


def make_tokenizer(kind: str, folder: Path) -> Any:
    """A byte-level BPE as it comes with a model from elsewhere, with tokens of its own."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=list(OWN_TOKENS[kind]),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES, trainer)
    return save_tokenizer(made, kind, folder)


def save_tokenizer(made: Tokenizer, kind: str, folder: Path) -> Any:
    """As transformers writes it."""
    own = OWN_TOKENS[kind]
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=own[0],
        eos_token=own[-1],
        additional_special_tokens=list(own[1:-1]),
    )
    wrapped.save_pretrained(folder)
    return wrapped


def make_model(kind: str, folder: Path, *, drop_rate: float = 0.0, seed: int = 0) -> Path:
    """A model folder with a tokenizer, weights as they are before any training."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    if kind == "gpt2":
        tokenizer = BPETokenizer()
        tokenizer.train(SENTENCES, vocab_size=340)
        tokenizer.save(folder)
        shape = {"context_length": CONTEXT, "emb_dim": 32, "n_heads": 2, "n_layers": 2}
        shape |= {"vocab_size": tokenizer.vocab_size}
        model = GPT({**GPT_CONFIG, **shape, "drop_rate": drop_rate})
        save_model(model, folder, eos_id=tokenizer.eos_id, pad_id=tokenizer.pad_id)
        return folder
    tokenizer = make_tokenizer(kind, folder)
    options: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "attention_dropout": drop_rate,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": kind == "qwen2",
    }
    made = (
        LlamaForCausalLM(LlamaConfig(**options))
        if kind == "llama"
        else Qwen2ForCausalLM(Qwen2Config(**options))
    )
    made.save_pretrained(folder)
    return folder


def examples_of(talks: Sequence[Conversation], tokenizer: TextEncoder) -> Examples:
    """The conversations, encoded."""
    examples = Examples()
    for each in talks:
        examples.append(encode_conversation(each.messages, each.tools, tokenizer))
    return examples


def write_talks(path: Path, talks: Sequence[Conversation], *more: Any) -> Path:
    """A JSONL file of conversations, and of other rows after them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(to_row(each)) for each in talks]
    rows += [row if isinstance(row, str) else json.dumps(row) for row in more]
    path.write_text("\n".join(rows) + "\n")
    return path


def control_ids_in(ids: Sequence[int], tokenizer: TextEncoder, kind: str) -> list[int]:
    """The ids that stand for special tokens, of ours or of the model's own."""
    special = {*SPECIAL_TOKENS, *OWN_TOKENS.get(kind, ())}
    known = {tokenizer.id_of(token) for token in special}
    return [index for index in ids if index in known]


def perform_stage(
    workspace: Workspace, name: str, stage: StageName, content: Mapping[str, Any]
) -> tuple[int, list[Any]]:
    """A stage in this process, as a run of that name: its exit status, and what it told."""
    pipeline = {"only": stage, **content.get("pipeline", {})}
    engine = {"device": "cpu", "compile": "off"}
    profile = check_profile(
        {"name": "tiny", "engine": engine, **content, "pipeline": pipeline}, where="test"
    )
    run = workspace.run(name)
    make_private_dir(run.folder)
    run.profile.write_text(write_profile(profile))
    report = Report(run, stage)
    code = perform(StageContext(workspace, run, profile, STAGES[stage], report, 1))
    return code, [event.payload() for event in EventReader(run.events).read()]


class Record:
    """Keeps what a training tells."""

    def __init__(self) -> None:
        self.payloads: list[tuple[int | None, events.Payload]] = []

    def write(self, payload: events.Payload, *, step: int | None = None) -> None:
        """Take one record."""
        self.payloads.append((step, payload))

    def of(self, kind: type[Any]) -> list[Any]:
        """The payloads of a kind."""
        return [payload for _, payload in self.payloads if isinstance(payload, kind)]
