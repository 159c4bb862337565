"""The table of what each stage has made of the one before."""

from collections.abc import Sequence

import msgspec
import pytest

from gptcore.evaluation import (
    MEASURES,
    TOOL_SCORES,
    Change,
    Evaluation,
    Share,
    StageScores,
)
from gptstudio.evaluation_view import evaluation_lines

CHANGES = {name: Change(0.125, 0.101, 0.149, True) for name in TOOL_SCORES}
CHANGES |= {
    "loss": Change(-0.043, -0.12, 0.034, False),
    "perplexity": Change(-123.456, -130.04, -110.0, True),
}


def stage(name: str, right: int, loss: float, changes: dict[str, Change]) -> StageScores:
    tools = {score: Share(right, 200) for score in TOOL_SCORES}
    return StageScores(name, f"models/{name}", loss, 164.02, 0.5, tools, changes)


def evaluation(names: Sequence[str]) -> Evaluation:
    stages = [stage(names[0], 0, 5.1, {})]
    stages += [stage(name, 20 * at, 0.25, CHANGES) for at, name in enumerate(names[1:], 1)]
    last = stages[-1]
    return Evaluation(
        model=last.model,
        fingerprint="",
        made=0.0,
        data=[],
        loss=last.loss,
        perplexity=last.perplexity,
        bits_per_byte=0.5,
        tokens=1000,
        conversations=200,
        tools=last.tools,
        by_function={"clock": Share(3, 4)},
        comparison=stages,
    )


def test_stages_are_columns_and_the_last_change_has_its_interval() -> None:
    lines = evaluation_lines(evaluation(["pretrain", "finetune", "ppo"]))
    start = lines.index("Stage by stage, on the same prompts; change: ppo against finetune")
    head, exact, *_ = lines[start + 1 :]
    assert head.split()[:3] == ["pretrain", "finetune", "ppo"]
    assert exact == "  exact call      0.0%     10.0%   20.0%  +12.5 [10.1, 14.9]*"
    [loss] = [line for line in lines if line.split()[:1] == ["loss"]]
    assert loss.split(maxsplit=4) == ["loss", "5.100", "0.250", "0.250", "-0.043 [-0.120, 0.034]"]
    [perplexity] = [line for line in lines if "-123.5 [-130.0, -110.0]*" in line]
    assert perplexity.split()[:2] == ["perplexity", "164.0"]
    assert lines[-1].split() == ["clock", "75.0%", "3", "of", "4"]
    assert sum("clock" in line for line in lines) == 1


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_it_fits_eighty_columns(count: int) -> None:
    names = ["pretrain", "finetune", "ppo", "orpo", "rgpo", "pretrain"][:count]
    wide = Change(-1.0, -1.0, -1.0, True)
    judged = evaluation(names)
    stages = [
        msgspec.structs.replace(each, changes=dict.fromkeys(MEASURES, wide))
        for each in judged.comparison
    ]
    lines = evaluation_lines(msgspec.structs.replace(judged, comparison=stages))
    assert max(map(len, lines)) <= 80
    assert max(map(len, evaluation_lines(judged))) <= 72  # what a dialog has
    assert ("  1 more before these: see --json" in lines) is (count > 5)


def test_values_of_any_size_keep_their_columns() -> None:
    judged = evaluation(["pretrain", "finetune"])
    first, last = judged.comparison
    stages = [
        msgspec.structs.replace(first, loss=650.25, perplexity=1e282, tools={}),
        msgspec.structs.replace(last, loss=None, perplexity=None, changes={}),
    ]
    lines = evaluation_lines(msgspec.structs.replace(judged, comparison=stages))
    shown = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert shown["loss"] == ["650.2", "-"]
    assert shown["perplexity"] == ["1e+282", "-"]
    assert shown["exact"] == ["call", "-", "10.0%"]


def test_names_from_files_are_harmless() -> None:
    lines = evaluation_lines(evaluation(["pre\x1b[31mtrain", "fine\ntune" * 9]))
    assert "\x1b" not in "".join(lines)
    assert all("\n" not in line for line in lines)
    start = next(at for at, line in enumerate(lines) if line.startswith("Stage by stage"))
    assert max(map(len, lines[start:])) <= 80


def test_one_stage_alone_is_not_compared() -> None:
    judged = evaluation(["pretrain", "ppo"])
    alone = msgspec.structs.replace(judged, comparison=judged.comparison[1:])
    assert not any("Stage by stage" in line for line in evaluation_lines(alone))
