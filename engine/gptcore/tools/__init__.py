"""The tools that a model may call, and what they answer.

`SAFE_TOOLS` may be run without asking anybody: they work out their results from their arguments
and tables of their own, touch nothing outside, and answer the same call the same way for ever.
`run_tool(call)` answers a call of one, and says what is wrong with any other.
"""

from gptcore.tools.protocol import RunnableTool
from gptcore.tools.running import LONGEST_ARGUMENT, SAFE_TOOLS, run_tool

__all__ = ["LONGEST_ARGUMENT", "SAFE_TOOLS", "RunnableTool", "run_tool"]
