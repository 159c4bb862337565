"""Training data for the demo, made from a seed: short talks in which five tools are called.

`write_demo_data(folder)` writes eight files of JSON Lines, `<kind>-<part>.jsonl`. The kinds are
`tools` (conversations with tool calls), `conversations`, `instructions` and `preferences`, the
parts `train` and `held-out`. A ninth file, `handbook.txt`, is raw text for pretraining: the same
words, questions and calls on pages, nothing of it held out. What answers the calls is
`gptcore.tools`. Weather and times are made up, but the same for ever; sums, units and facts are
right. The same seed gives the same bytes under the same Python.

What the two parts share, and what they do not:

- No text of a user stands in both, in any file, whatever its capitals and punctuation. For
  instructions that is the instruction with its input. The handbook belongs to training.
- No row stands twice in a file.
- No right call stands in both: no sum, its numbers in whatever order; no value between the same
  two units, whichever way; no city with the same tool; no topic to look up. What is held out is
  the same for every seed: sums and values by a checksum, cities and topics by their place in a
  table.
- Talk that carries no value (greetings, questions without their object) has wordings of its own
  in each part.
- Words are shared: each city, unit, kind of fact and thing of the held-out part is met in
  training, with another tool, value or kind of fact. So are the forms of the tool questions.
  What is new is the question, not the language.
"""

from gptstudio.demo_data.sizes import MAX_TOKENS, rough_tokens
from gptstudio.demo_data.tools import DEMO_TOOLS
from gptstudio.demo_data.writer import FILE_NAMES, DemoSizes, demo_files, write_demo_data

__all__ = [
    "DEMO_TOOLS",
    "FILE_NAMES",
    "MAX_TOKENS",
    "DemoSizes",
    "demo_files",
    "rough_tokens",
    "write_demo_data",
]
