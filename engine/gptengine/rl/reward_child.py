"""Runs a function of the user's: a script for `gptengine.rl.reward_process`.

It gets JSON lines on its standard input, first what to load, then arguments; and answers each with
a line on what was its standard output, `{"value": 0.5}` or `{"error": "why"}`. It imports nothing
but the standard library, since its workspace's owner pays for its start again and again.
"""

import ctypes
import inspect
import io
import json
import math
import numbers
import os
import resource
import signal
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1
#: What a function prints is shown up to so many bytes.
MOST_PRINTED = 1 << 16
LONGEST_REASON = 300

PARAMETERS = ("prompt", "completion", "tool_calls", "reference")


class Unusable(Exception):  # noqa: N818 - said to the other side
    """The function cannot be loaded."""


class Capped(io.RawIOBase):
    """Passes on what is written up to `MOST_PRINTED` bytes, and drops the rest.

    Args:
        descriptor: Where to.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._left = MOST_PRINTED

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Pass on what is still allowed."""
        piece = bytes(data)
        shown = piece[: self._left]
        self._left -= len(shown)
        try:
            os.write(self._descriptor, shown)
        except OSError:  # nobody reads it: no reason for the function to fail
            pass
        return len(piece)


def main() -> None:
    """Load the function, then answer until the input ends."""
    die_with_parent()
    requests, replies = take_pipes()
    order = json.loads(requests.readline())
    path = order["path"]
    try:
        limit(order["memory"])
        function = load(**{name: order[name] for name in ("path", "source", "function", "root")})
    except BaseException as error:  # whatever it is, SystemExit too: the other side tells
        say(replies, {"error": reason_of(error, path)})
        return
    say(replies, {})
    for line in requests:
        arguments = json.loads(line)
        try:
            reply = judge(function(*(arguments[name] for name in PARAMETERS)))
        except BaseException as error:  # as above
            reply = {"error": reason_of(error, path)}
        say(replies, reply)


def die_with_parent() -> None:
    """End with the training, however that ends; and leave its ctrl+c to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def take_pipes() -> tuple[Any, int]:
    """The pipes to the training, out of reach of `print` and `input`."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.dup(1)
    errors = os.dup(2)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    raw: Any = Capped(errors)  # without a buffer, as of `python -u`: what is killed has spoken
    sys.stdout = sys.stderr = io.TextIOWrapper(raw, errors="backslashreplace", write_through=True)
    return requests, replies


def limit(memory: int) -> None:
    """Bound what the process may take.

    Args:
        memory: Address space, in bytes.
    """
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most != resource.RLIM_INFINITY:
        memory = min(memory, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def load(path: str, source: str, function: str, root: str) -> Callable[..., Any]:
    """Run a file's text as a module, and find the function in it."""
    sys.path.append(root)  # behind what is installed: datasets/ must not shadow a package
    text = source.encode("latin-1")
    name = "workspace_" + os.path.basename(path).removesuffix(".py")  # noqa: PTH119 - cheaper
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    exec(compile(text, path, "exec"), vars(module))
    found = getattr(module, function, None)
    if found is None:
        names = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        there = f"; there are {', '.join(names)}" if names else ""
        raise Unusable(f"there is no function {function} in it{there}")
    if not callable(found):
        raise Unusable(f"{function} is no function in it")
    try:
        inspect.signature(found).bind(*PARAMETERS)
    except TypeError:
        raise Unusable(f"{function} does not take {', '.join(PARAMETERS)}") from None
    except ValueError:  # one that does not say what it takes
        pass
    return found


def judge(value: Any) -> dict[str, Any]:
    """What a function has returned, if it is a finite number."""
    if not isinstance(value, numbers.Real):
        return {"error": f"returned {type(value).__name__:.60}, not a number"}
    number = float(value)
    if not math.isfinite(number):
        return {"error": f"returned {number}"}
    return {"value": number}


def reason_of(error: BaseException, path: str) -> str:
    """An exception in a few words, with its line in the user's file."""
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"is not Python: {error.msg} (line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == path), None)
    at = f" (line {line})" if line else ""
    try:
        text = str(error)
    except Exception:  # its own code, too
        text = ""
    said = f": {text[:LONGEST_REASON]}" if text else ""
    return f"raised {type(error).__name__}{said}{at}"


def say(replies: int, reply: dict[str, Any]) -> None:
    """Write a line; where nobody takes it, there is nothing left to do."""
    line = json.dumps(reply).encode() + b"\n"
    try:
        os.write(replies, line)  # shorter than what a pipe takes in one piece
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
