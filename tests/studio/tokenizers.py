"""Tokenizers that were trained in a workspace, small ones."""

from pathlib import Path

from gptcore.lineage import Lineage, write_lineage
from gptcore.workspace import Workspace
from gptengine.tokenizer import BPETokenizer

TEXT = "the cat sat on a mat and it is cold in Oslo, is it not? words and more words\n" * 20


def make_tokenizer(
    workspace: Workspace, pipeline: str = "demo", name: str = "demo-1", made: float = 1.0
) -> Path:
    """One of 320 tokens, as the stage would have left it."""
    tokenizer = BPETokenizer()
    tokenizer.train([TEXT], vocab_size=320)
    folder = workspace.tokenizers / name
    tokenizer.save(folder)
    lineage = Lineage(stage="tokenizer", run=name, pipeline=pipeline, fingerprint="", made=made)
    write_lineage(folder, lineage)
    return folder
