"""Prompts to be answered for a reward: which tasks are read from rows, and in which order."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from gptcore.conversation import plain, render
from gptcore.errors import UserError
from gptcore.formats.records import Conversation
from gptcore.settings import RowsDataSettings
from gptengine.chat_tokenizer import load_chat_tokenizer
from gptengine.finetune.data import read_chat_data
from gptengine.rl.prompts import PromptData, Prompts, check_prompts, read_prompts, room_for_answer
from tests.engine.tiny_models import TALKS, TOOL, talk, tool_talk, write_talks

SETTINGS = RowsDataSettings(max_bad=0.5)


class Reading:
    """Prompts read from rows."""

    def __init__(self, folders: dict[str, Path], tmp_path: Path) -> None:
        self.tokenizer = load_chat_tokenizer(folders["gpt2"])
        self.folder = tmp_path

    def read(
        self,
        talks: Sequence[Conversation],
        *more: object,
        longest: int = 1000,
        room: int = 100,
        held_out: float = 0.0,
        weight: int = 1,
    ) -> PromptData:
        self.file = write_talks(self.folder / "rows.jsonl", talks, *more)
        return read_prompts(
            [self.file],
            [weight],
            self.tokenizer,
            longest=longest,
            room=room,
            held_out=held_out,
        )


@pytest.fixture
def reading(folders: dict[str, Path], tmp_path: Path) -> Reading:
    return Reading(folders, tmp_path)


def test_a_tool_conversation_gives_prompts_of_two_kinds(reading: Reading) -> None:
    conversation = tool_talk("whale", "a mammal of the sea", "A whale is a mammal.")
    data = reading.read([conversation])
    to_call, to_say = data.train.tasks
    assert to_call.wanted == conversation.messages[1]
    assert to_call.final == conversation.messages[3]
    assert to_say.messages == conversation.messages[:3]
    assert to_say.wanted == conversation.messages[3]
    for task, ids in zip(data.train.tasks, data.train.ids, strict=True):
        shown = plain(render(task.messages, [TOOL], goes_on=True))
        assert reading.tokenizer.decode(ids) == shown
        assert shown.endswith("<|assistant|>")
        assert (task.tools, task.row) == ((TOOL,), "rows.jsonl:1")


def test_every_form_but_pairs_is_taken(reading: Reading) -> None:
    data = reading.read(
        [talk("the cat?", "the dog")],
        {"prompt": "the hat?", "answer": "the mat", "level": 3},
        {"instruction": "Name the cat.", "output": "the dog"},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    )
    said = [task.messages[-1].content for task in data.train.tasks]
    assert said == ["the cat?", "the hat?", "Name the cat."]
    assert data.train.tasks[1].wanted is None
    assert data.train.tasks[1].reference == {"answer": "the mat", "level": 3}
    assert (data.rows, data.bad, data.formless) == (3, 0, 1)


def test_what_leaves_no_room_or_asks_nothing_is_counted(reading: Reading) -> None:
    long = "the cat sat on the mat " * 20
    data = reading.read(
        [
            talk("the cat?", "the dog", long, "the mat"),  # its first place for an answer fits
            talk(long, "the dog"),
            talk("  ", "the hat"),
        ],
        "{",
        longest=160,
        room=60,
    )
    assert [task.messages[0].content for task in data.train.tasks] == ["the cat?"]
    assert all(len(ids) <= 100 for ids in data.train.ids)
    assert (data.rows, data.bad, data.too_long) == (4, 3, 1)
    too_long, empty, broken = data.problems
    assert "too long" in too_long.reason
    assert "100 leave room for an answer" in too_long.reason
    assert (too_long.row, empty.reason, empty.row) == (2, "the prompt is empty", 3)
    assert broken.row == 4
    with pytest.raises(UserError, match="3 of 4 rows") as said:
        check_prompts(data, SETTINGS, reading.folder, "ppo")
    assert "rows.jsonl row 2: the prompt is too long" in said.value.what
    assert "data.ppo.max_bad=0.76" in said.value.fix
    told = check_prompts(data, RowsDataSettings(max_bad=0.8), reading.folder, "ppo")
    assert "3 of 4 rows are left out" in told[0]
    assert told[1].startswith("1 prompts are left out")


def test_nothing_to_learn_from_says_why(reading: Reading) -> None:
    with pytest.raises(UserError, match="there is no prompt to learn from") as said:
        check_prompts(
            reading.read([], {"prompt": "a", "chosen": "b", "rejected": "c"}),
            SETTINGS,
            reading.folder,
            "rgpo",
        )
    assert said.value.fix == "name files with prompts or conversations in data.rgpo.include"
    data = reading.read(TALKS, held_out=1.0)
    with pytest.raises(UserError, match="are held out") as said:
        check_prompts(data, SETTINGS, reading.folder, "rgpo")
    assert said.value.fix == "lower data.rgpo.held_out"


def test_what_is_held_out_is_what_fine_tuning_holds_out(reading: Reading) -> None:
    talks = [talk(f"the cat {n}?", "the dog", "and?", "the hat") for n in range(60)]
    data = reading.read(talks, held_out=0.3, weight=2)
    tuned = read_chat_data([reading.file], [1], reading.tokenizer, longest=1000, held_out=0.3)
    held_out = {task.messages[0] for task in data.val.tasks}
    assert 5 < len(held_out) < 30
    assert held_out.isdisjoint(task.messages[0] for task in data.train.tasks)
    shown = [reading.tokenizer.decode(tuned.val[at][0]) for at in range(len(tuned.val))]
    assert sorted(message.content for message in held_out) == sorted(
        text.removeprefix("<|user|>").partition("<|end|>")[0] for text in shown
    )
    # each held-out conversation once, the others as often as their file counts; two tasks in each
    assert len(data.val) == 2 * len(held_out)
    assert len(data.train) == 2 * 2 * (60 - len(held_out))


def test_the_order_is_a_permutation_of_every_epoch(reading: Reading) -> None:
    prompts = Prompts()
    for number, each in enumerate(TALKS):
        prompts.append(reading.read([each]).train.tasks[0], [number])
    size = len(prompts)
    epochs = [[prompts.place(e * size + n, 7) for n in range(size)] for e in range(4)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert [prompts.place(n, 8) for n in range(size)] != epochs[0]
    assert prompts.place(2 * size + 1, 7) == epochs[2][1]
    assert [list(ids) for ids in prompts.ids] == [[n] for n in range(size)]
    assert prompts.num_tokens == size


def test_room_for_an_answer_never_takes_more_than_half_of_the_context() -> None:
    assert room_for_answer(1000, 128) == 128
    assert room_for_answer(200, 128) == 100
