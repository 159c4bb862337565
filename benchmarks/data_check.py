"""How fast rows of data are read, recognised and checked, beside decoding their JSON alone.

    python benchmarks/data_check.py [--megabytes 20] [--rounds 3]

All ways run side by side in each round, on the same files; the table holds medians. The rows are
made on the spot: instructions of 860 bytes, conversations of 2 to 4 KB, calls of 800 bytes.
"""

import argparse
import json
import os
import platform
import random
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psutil

from gptcore.formats.reading import Read, RecordReader

Row = dict[str, Any]
#: MB/s that reading should reach for each kind of rows.
WANTED = 50
CITIES = ("Oslo", "São Paulo", "Zürich", "Kyoto", "Nairobi", "Lima", "Ottawa", "Łódź")


class Writer:
    """Writes rows of varied words, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        letters = string.ascii_lowercase
        self._words = [
            "".join(self._random.choices(letters, k=self._random.randint(2, 11)))
            for _ in range(20_000)
        ]

    def text(self, size: int) -> str:
        """Sentences and paragraphs of about `size` characters."""
        words = self._random.choices(self._words, k=max(1, size // 7))
        for at in range(0, len(words) - 1, 12):
            words[at] = words[at].capitalize()
            words[at + 1] += self._random.choice((",", ".\n\n", ': "é"', "."))
        return " ".join(words)

    def instruction(self) -> Row:
        return {"instruction": self.text(70), "input": "", "output": self.text(720)}

    def conversation(self) -> Row:
        turns: list[Row] = [{"role": "system", "content": self.text(100)}]
        for _ in range(4):
            turns.append({"role": "user", "content": self.text(self._random.randint(60, 250))})
            turns.append(
                {"role": "assistant", "content": self.text(self._random.randint(350, 650))}
            )
        return {"messages": turns}

    def call(self) -> Row:
        city = self._random.choice(CITIES)
        arguments = {"location": city, "days": self._random.randint(1, 14), "note": self.text(40)}
        function = {"name": "get_weather", "arguments": json.dumps(arguments)}
        turns: list[Row] = [
            {"role": "user", "content": self.text(60)},
            {"role": "assistant", "content": None, "tool_calls": [{"function": function}]},
            {"role": "tool", "name": "get_weather", "content": self.text(40)},
            {"role": "assistant", "content": self.text(90)},
        ]
        return {"tools": TOOLS, "messages": turns}


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather at a place",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string"},
                    "days": {"type": "integer", "minimum": 1},
                    "note": {"type": "string"},
                },
                "required": ["location"],
            },
        },
    }
]


def make_file(path: Path, make: Callable[[], Row], num_bytes: int) -> int:
    """Fill a file with rows; how many they are."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < num_bytes:
            file.writelines(json.dumps(make(), ensure_ascii=False) + "\n" for _ in range(100))
            count += 100
    return count


def decode_lines(path: Path, decode: Callable[[bytes], object]) -> int:
    with path.open("rb") as file:
        return sum(1 for line in file if decode(line) is not None)


def read_records(path: Path) -> int:
    return sum(isinstance(item, Read) for item in RecordReader(path))


def watched(path: Path) -> Iterator[int]:
    """Bytes that the process has, now and then while a file is read."""
    process = psutil.Process()
    yield process.memory_info().rss
    for number, _ in enumerate(RecordReader(path)):
        if number % 500 == 0:
            yield process.memory_info().rss


def timed(work: Callable[[], int], expected: int) -> float:
    start = time.perf_counter()
    count = work()
    seconds = time.perf_counter() - start
    if count != expected:
        raise SystemExit(f"{count} rows were read, not {expected}")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=20, help="size of each file (20)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds to take the median of (3)")
    options = parser.parse_args(arguments)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"msgspec {version('msgspec')}; files of {options.megabytes:g} MB\n"
    )
    writer = Writer(seed=1)
    kinds = {
        "instructions": writer.instruction,
        "conversations": writer.conversation,
        "calls": writer.call,
    }
    print(
        f"{'':14}{'bytes a row':>12}{'MB/s':>8}{'json.loads':>12}{'ratio':>8}"
        f"{'msgspec':>10}{'ratio':>8}{'grew by':>10}"
    )
    slowest = float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in kinds.items():
            path = Path(folder) / f"{name}.jsonl"
            count = make_file(path, make, int(options.megabytes * 1e6))
            megabytes = path.stat().st_size / 1e6
            memory = list(watched(path))
            ways: dict[str, Callable[[], int]] = {
                "reader": partial(read_records, path),
                "json": partial(decode_lines, path, json.loads),
                "msgspec": partial(decode_lines, path, msgspec.json.decode),
            }
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, work in ways.items():
                    seconds[way].append(timed(work, count))
            speed = {way: megabytes / statistics.median(each) for way, each in seconds.items()}
            slowest = min(slowest, speed["reader"])
            print(
                f"{name:14}{megabytes * 1e6 / count:12.0f}{speed['reader']:8.1f}"
                f"{speed['json']:12.1f}{speed['reader'] / speed['json']:7.2f}x"
                f"{speed['msgspec']:10.1f}{speed['reader'] / speed['msgspec']:7.2f}x"
                f"{(max(memory) - memory[0]) / 1e6:7.1f} MB"
            )
    print(f"\nthe slowest: {slowest:.1f} MB/s; wanted: {WANTED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
