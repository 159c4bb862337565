"""Facts looked up in a small table."""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from gptstudio.demo_data.base import Arguments, DemoTool
from gptstudio.demo_data.parts import Part, owned


@dataclass(frozen=True, slots=True)
class Group:
    """Things of which the same kinds of fact are known.

    Attributes:
        kinds: The kinds of fact.
        facts: For each thing its facts, in the order of `kinds`.
        unknown: Things of which nothing is known, for questions that find nothing.
    """

    kinds: tuple[str, ...]
    facts: Mapping[str, tuple[str, ...]]
    unknown: tuple[str, ...]

    def draw(self, rng: Random, part: Part, kind: str) -> Arguments:
        """A topic of that kind that `part` may ask for."""
        things = self.unknown if rng.random() < 0.06 else tuple(self.facts)
        thing = rng.choice(owned(things, self.kinds.index(kind), part))
        return {"topic": f"{kind} of {thing}"}


GROUPS = (
    Group(
        ("capital", "currency", "language", "continent"),
        {
            "Austria": ("Vienna", "euro", "German", "Europe"),
            "Brazil": ("Brasilia", "real", "Portuguese", "South America"),
            "Chile": ("Santiago", "peso", "Spanish", "South America"),
            "Cuba": ("Havana", "peso", "Spanish", "North America"),
            "Denmark": ("Copenhagen", "krone", "Danish", "Europe"),
            "Egypt": ("Cairo", "pound", "Arabic", "Africa"),
            "France": ("Paris", "euro", "French", "Europe"),
            "Ghana": ("Accra", "cedi", "English", "Africa"),
            "Greece": ("Athens", "euro", "Greek", "Europe"),
            "Hungary": ("Budapest", "forint", "Hungarian", "Europe"),
            "Iceland": ("Reykjavik", "krona", "Icelandic", "Europe"),
            "Iran": ("Tehran", "rial", "Persian", "Asia"),
            "Italy": ("Rome", "euro", "Italian", "Europe"),
            "Japan": ("Tokyo", "yen", "Japanese", "Asia"),
            "Jordan": ("Amman", "dinar", "Arabic", "Asia"),
            "Mexico": ("Mexico City", "peso", "Spanish", "North America"),
            "Mongolia": ("Ulaanbaatar", "tugrik", "Mongolian", "Asia"),
            "Nepal": ("Kathmandu", "rupee", "Nepali", "Asia"),
            "Norway": ("Oslo", "krone", "Norwegian", "Europe"),
            "Peru": ("Lima", "sol", "Spanish", "South America"),
            "Poland": ("Warsaw", "zloty", "Polish", "Europe"),
            "Portugal": ("Lisbon", "euro", "Portuguese", "Europe"),
            "Spain": ("Madrid", "euro", "Spanish", "Europe"),
            "Sweden": ("Stockholm", "krona", "Swedish", "Europe"),
            "Thailand": ("Bangkok", "baht", "Thai", "Asia"),
            "Vietnam": ("Hanoi", "dong", "Vietnamese", "Asia"),
        },
        ("Atlantis", "Avalon", "El Dorado", "Lilliput", "Oz", "Utopia"),
    ),
    Group(
        ("symbol", "atomic number"),
        {
            "carbon": ("C", "6"),
            "copper": ("Cu", "29"),
            "gold": ("Au", "79"),
            "helium": ("He", "2"),
            "iron": ("Fe", "26"),
            "lead": ("Pb", "82"),
            "neon": ("Ne", "10"),
            "nickel": ("Ni", "28"),
            "oxygen": ("O", "8"),
            "silver": ("Ag", "47"),
            "sodium": ("Na", "11"),
            "sulphur": ("S", "16"),
            "tin": ("Sn", "50"),
            "zinc": ("Zn", "30"),
        },
        ("moondust", "pixiedust", "starmetal", "unobtainium"),
    ),
    Group(
        ("author", "year"),
        {
            "Candide": ("Voltaire", "1759"),
            "Dracula": ("Bram Stoker", "1897"),
            "Emma": ("Jane Austen", "1815"),
            "Frankenstein": ("Mary Shelley", "1818"),
            "Ivanhoe": ("Walter Scott", "1819"),
            "Jane Eyre": ("Charlotte Bronte", "1847"),
            "Kim": ("Rudyard Kipling", "1901"),
            "Middlemarch": ("George Eliot", "1871"),
            "Moby Dick": ("Herman Melville", "1851"),
            "Treasure Island": ("Robert Louis Stevenson", "1883"),
            "Ulysses": ("James Joyce", "1922"),
            "Walden": ("Henry David Thoreau", "1854"),
        },
        ("Blue Door", "My Old Hat", "Nine Lamps", "Salt Road"),
    ),
)


class LookUp(DemoTool):
    """A fact from a small table."""

    name = "look_up"
    description = "Look up a fact."
    parameters: ClassVar[Mapping[str, str]] = {"topic": "string"}
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
    NOTHING = "not found"

    def draw(self, rng: Random, part: Part) -> Arguments:
        """A kind of fact and a thing."""
        group = rng.choices(GROUPS, (3, 1, 1))[0]
        return group.draw(rng, part, rng.choice(group.kinds))

    def draw_next(self, rng: Random, part: Part, before: Arguments) -> Arguments:
        """The same kind of fact about another thing."""
        kind, _ = _split(str(before["topic"]))
        group = next(group for group in GROUPS if kind in group.kinds)
        while (arguments := group.draw(rng, part, kind)) == before:
            pass
        return arguments

    def mistaken(self, rng: Random, arguments: Arguments) -> Arguments:
        """Another kind of fact about the thing, or another thing."""
        kind, thing = _split(str(arguments["topic"]))
        group = next(group for group in GROUPS if kind in group.kinds)
        if rng.random() < 0.5:
            return {
                "topic": f"{rng.choice([each for each in group.kinds if each != kind])} of {thing}"
            }
        return self.draw_next(rng, "train", arguments)

    def words(self, rng: Random, arguments: Arguments) -> dict[str, str]:
        """The topic, and the thing in it."""
        topic = str(arguments["topic"])
        return {"topic": topic, "thing": _split(topic)[1]}

    def answer(self, arguments: Arguments, result: str) -> str:
        """The fact, or that there is none."""
        if result == self.NOTHING:
            return f"The {arguments['topic']} was {result}."
        return super().answer(arguments, result)

    def run(self, arguments: Mapping[str, Any]) -> str:
        """The fact, or `NOTHING`."""
        kind, thing = _split(arguments["topic"])
        for group in GROUPS:
            if kind in group.kinds and thing in group.facts:
                return group.facts[thing][group.kinds.index(kind)]
        return self.NOTHING


def _split(topic: str) -> tuple[str, str]:
    kind, _, thing = topic.partition(" of ")
    return kind, thing
