"""Data files: found, recognised, checked and read as typed records, in bounded memory.

`files` finds them, `text` reads documents for pretraining, `rows` reads rows of JSON or Parquet,
`dialects` recognises what a row is, `checks` says what is wrong with it, `reading` puts these
together. Nothing in a file is trusted: it is read as data, and what cannot be used becomes a
`Problem`.
"""

from gptcore.formats.files import (
    TEXT_SUFFIXES,
    UNTEXTUAL_NAME,
    any_glob,
    find_files,
    is_text_name,
)
from gptcore.formats.problems import Problem
from gptcore.formats.text import Piece, TextReader

__all__ = [
    "TEXT_SUFFIXES",
    "UNTEXTUAL_NAME",
    "Piece",
    "Problem",
    "TextReader",
    "any_glob",
    "find_files",
    "is_text_name",
]
