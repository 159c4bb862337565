"""How well a model calls tools: held-out prompts, its answers, and what is right about them."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gptcore.answers import Answer
from gptcore.conversation import plain, render
from gptcore.encoding import encode_spans
from gptcore.evaluation import Share, Transcript
from gptcore.formats.records import Conversation, Message
from gptengine.chat_tokenizer import ChatTokenizer
from gptengine.evaluate.answering import Answerer
from gptengine.evaluate.judging import answers_rightly, fault, same_calls

#: How many transcripts a report keeps.
KEPT_TRANSCRIPTS = 6


@dataclass(frozen=True, slots=True)
class Prompt:
    """A place in a conversation where the assistant may call.

    Args:
        conversation: The whole.
        turn: Number of the assistant's message that would be right.
        row: Where it is from, as `file:row`.
    """

    conversation: Conversation
    turn: int
    row: str

    @property
    def wanted(self) -> Message:
        """What would be right."""
        return self.conversation.messages[self.turn]

    @property
    def results(self) -> tuple[Message, ...]:
        """The results of the right calls."""
        after = self.conversation.messages[self.turn + 1 :]
        count = next((n for n, message in enumerate(after) if message.role != "tool"), len(after))
        return after[:count]

    @property
    def final(self) -> Message | None:
        """The right answer once the results are known, where it is on record."""
        after = self.turn + 1 + len(self.results)
        messages = self.conversation.messages
        if not self.results or after >= len(messages) or messages[after].calls:
            return None
        return messages[after]


@dataclass
class ToolScores:
    """What was counted.

    Attributes:
        verdicts: For each prompt, by the names of `gptcore.evaluation.TOOL_SCORES` that count
            there: whether it was right.
        by_function: By the function that was right: exactly right, and of how many.
        transcripts: A few, those with a right call and a right answer first.
    """

    verdicts: list[dict[str, bool]] = field(default_factory=list)
    by_function: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    transcripts: list[Transcript] = field(default_factory=list)

    def count(self, name: str, right: bool) -> None:
        """Count the newest prompt."""
        self.verdicts[-1][name] = right

    def tools(self) -> dict[str, Share]:
        """The shares by name."""
        return {
            name: Share(places.count("1"), len(places) - places.count("-"))
            for name, places in self.by_prompt().items()
        }

    def by_prompt(self) -> dict[str, str]:
        """The verdicts by name, as in `gptcore.evaluation.Details`."""
        names = dict.fromkeys(name for verdict in self.verdicts for name in verdict)
        character = {True: "1", False: "0", None: "-"}
        return {
            name: "".join(character[verdict.get(name)] for verdict in self.verdicts)
            for name in names
        }

    def functions(self) -> dict[str, Share]:
        """The share of exactly right calls by function."""
        return {
            name: Share(sum(right), len(right)) for name, right in sorted(self.by_function.items())
        }


def prompts_of(rows: Iterable[tuple[str, Conversation]], most: int) -> list[Prompt]:
    """Every place where a user has spoken and tools may be called, evenly chosen if too many.

    Args:
        rows: Conversations, and where each is from.
        most: How many prompts.
    """
    found = [
        Prompt(conversation, turn, row)
        for row, conversation in rows
        if conversation.tools
        for turn, message in enumerate(conversation.messages)
        if message.role == "assistant" and turn and conversation.messages[turn - 1].role == "user"
    ]
    if len(found) <= most:
        return found
    return [found[at * len(found) // most] for at in range(most)]


def score_tools(
    prompts: Sequence[Prompt],
    answerer: Answerer,
    tokenizer: ChatTokenizer,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> ToolScores:
    """Let a model answer, feed the true results back, and count what is right.

    Args:
        prompts: Where it answers.
        answerer: Of the model.
        tokenizer: Of the model.
        on_done: Told how many answers there are, and how many there will be.
    """
    finals = [prompt for prompt in prompts if prompt.final is not None]
    total = len(prompts) + len(finals)
    first = [encoded(p.conversation, p.turn, tokenizer) for p in prompts]
    answers = answerer.answer(first, lambda done: on_done(done, total))
    second = [encoded(p.conversation, p.turn + 1 + len(p.results), tokenizer) for p in finals]
    spoken = answerer.answer(second, lambda done: on_done(len(prompts) + done, total))
    final_of = {id(p): answer for p, answer in zip(finals, spoken, strict=True)}
    scores = ToolScores()
    kept: list[tuple[int, Transcript]] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        final = final_of.get(id(prompt))
        scores.verdicts.append({})
        problems = list(_count(scores, prompt, answer, final))
        rank = 2 * bool(problems) + (final is None)
        kept.append((rank, _transcript(prompt, answer, final, problems)))
    kept.sort(key=lambda item: item[0])
    half = KEPT_TRANSCRIPTS // 2
    chosen = kept[:half] + [item for item in kept[half:] if item[1].problems][:half]
    scores.transcripts = [transcript for _, transcript in chosen]
    return scores


def encoded(conversation: Conversation, upto: int, tokenizer: ChatTokenizer) -> list[int]:
    """The ids of a conversation before message `upto`, opened for the assistant's turn."""
    spans = render(conversation.messages[:upto], conversation.tools, goes_on=True)
    return [index for piece in encode_spans(spans, tokenizer) for index in piece]


def _count(
    scores: ToolScores, prompt: Prompt, answer: Answer, final: Answer | None
) -> Iterator[str]:
    """Count one prompt; yields what was wrong."""
    wanted = prompt.wanted.calls
    exact = same_calls(answer.calls, wanted) and not answer.problems and answer.is_complete
    scores.by_function[", ".join(call.name for call in wanted) or "(none)"].append(exact)
    yield from answer.problems
    if answer.calls or answer.problems:
        scores.count("json", not answer.problems)
        faults = [said for call in answer.calls if (said := fault(call, prompt.conversation.tools))]
        scores.count("schema", not faults and not answer.problems)
        yield from faults
    if not wanted:
        scores.count("no_call", exact)
        if answer.calls:
            yield "it called, and nothing was to be called"
        elif not answer.is_complete:
            yield "its answer does not end"
        return
    scores.count("exact", exact)
    named = [call.name for call in answer.calls] == [call.name for call in wanted]
    scores.count("function", named)
    if named:
        scores.count("arguments", exact)
    if not exact:
        yield "wanted " + "; ".join(f"{call.name}({json.dumps(call.arguments)})" for call in wanted)
    if final is not None and prompt.final is not None:
        right = answers_rightly(final, prompt.final, prompt.results)
        scores.count("answer", right)
        if not right:
            yield f"wanted the answer: {prompt.final.content}"


def _transcript(
    prompt: Prompt, answer: Answer, final: Answer | None, problems: list[str]
) -> Transcript:
    """The conversation with the model's own words in it."""
    messages = list(prompt.conversation.messages[: prompt.turn])
    messages.append(Message("assistant", answer.content, answer.calls))
    if final is not None and same_calls(answer.calls, prompt.wanted.calls):
        messages += [*prompt.results, Message("assistant", final.content, final.calls)]
    return Transcript(plain(render(messages, prompt.conversation.tools)), problems, prompt.row)
