"""Facts looked up in a small table."""

from dataclasses import dataclass
from random import Random

from gptcore.tools.look_up import GROUPS, LOOK_UP, NOT_FOUND, FactGroup, split_topic
from gptstudio.demo_data.base import Arguments, DemoTool
from gptstudio.demo_data.parts import Part, owned


@dataclass(frozen=True, slots=True)
class Subject:
    """What questions of the same kinds are about.

    Attributes:
        known: Things of which there are facts, and the kinds of these.
        unknown: Things of which nothing is known, for questions that find nothing.
    """

    known: FactGroup
    unknown: tuple[str, ...]

    def draw(self, rng: Random, part: Part, kind: str) -> Arguments:
        """A topic of that kind that `part` may ask for."""
        things = self.unknown if rng.random() < 0.06 else tuple(self.known.facts)
        thing = rng.choice(owned(things, self.known.kinds.index(kind), part))
        return {"topic": f"{kind} of {thing}"}


#: Each group of the table, with things of which it knows nothing.
SUBJECTS = tuple(
    Subject(group, unknown)
    for group, unknown in zip(
        GROUPS,
        (
            ("Atlantis", "Avalon", "El Dorado", "Lilliput", "Oz", "Utopia"),
            ("moondust", "pixiedust", "starmetal", "unobtainium"),
            ("Blue Door", "My Old Hat", "Nine Lamps", "Salt Road"),
        ),
        strict=True,
    )
)


class LookUp(DemoTool):
    """A fact from a small table."""

    built_in = LOOK_UP
    purpose = "looking things up"
    questions = (
        "what is the {topic}?",
        "what's the {topic}?",
        "tell me the {topic}.",
        "look up the {topic}.",
        "can you look up the {topic}?",
        "do you know the {topic}?",
        "find the {topic}.",
        "I want to know the {topic}.",
        "can you find out the {topic}?",
        "please give me the {topic}.",
        "could you tell me the {topic}?",
        "I forgot the {topic}.",
        "the {topic}?",
    )
    clauses = ("what is the {topic}", "what's the {topic}", "can you look up the {topic}")
    tails = ("of {thing}",)
    follow_ups = (
        "and of {thing}?",
        "and that of {thing}?",
        "what about {thing}?",
        "and for {thing}?",
        "the same for {thing}?",
    )
    vague = (
        "can you look something up?",
        "I want to know a fact.",
        "will you find something out for me?",
        "look something up for me.",
        "I have a question about a fact.",
    )
    asks_back = "What shall I look up?"
    replies = ("the {topic}", "the {topic}, please", "look up the {topic}")
    statement = "The {topic} is {result}."

    def draw(self, rng: Random, part: Part) -> Arguments:
        """A kind of fact and a thing."""
        subject = rng.choices(SUBJECTS, (3, 1, 1))[0]
        return subject.draw(rng, part, rng.choice(subject.known.kinds))

    def draw_next(self, rng: Random, part: Part, before: Arguments) -> Arguments:
        """The same kind of fact about another thing."""
        kind, _ = split_topic(str(before["topic"]))
        subject = _subject(kind)
        while (arguments := subject.draw(rng, part, kind)) == before:
            pass
        return arguments

    def mistaken(self, rng: Random, arguments: Arguments) -> Arguments:
        """Another kind of fact about the thing, or another thing."""
        kind, thing = split_topic(str(arguments["topic"]))
        if rng.random() < 0.5:
            others = [each for each in _subject(kind).known.kinds if each != kind]
            return {"topic": f"{rng.choice(others)} of {thing}"}
        return self.draw_next(rng, "train", arguments)

    def words(self, rng: Random, arguments: Arguments) -> dict[str, str]:
        """The topic, and the thing in it."""
        topic = str(arguments["topic"])
        return {"topic": topic, "thing": split_topic(topic)[1]}

    def answer(self, arguments: Arguments, result: str) -> str:
        """The fact, or that there is none."""
        if result == NOT_FOUND:
            return f"The {arguments['topic']} was {result}."
        return super().answer(arguments, result)


def _subject(kind: str) -> Subject:
    """The subject with that kind of fact."""
    return next(subject for subject in SUBJECTS if kind in subject.known.kinds)
