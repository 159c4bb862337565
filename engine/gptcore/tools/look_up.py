"""Facts looked up in a small table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptcore.tools.protocol import RunnableTool, object_schema


@dataclass(frozen=True, slots=True)
class FactGroup:
    """Things of which the same kinds of fact are known.

    Attributes:
        kinds: The kinds of fact.
        facts: For each thing its facts, in the order of `kinds`.
    """

    kinds: tuple[str, ...]
    facts: Mapping[str, tuple[str, ...]]


GROUPS = (
    FactGroup(
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
    ),
    FactGroup(
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
    ),
    FactGroup(
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
    ),
)

#: The result where no fact is known.
NOT_FOUND = "not found"


def split_topic(topic: str) -> tuple[str, str]:
    """The kind of fact and the thing, as in "capital of Peru"; no thing where there is no "of"."""
    kind, _, thing = topic.partition(" of ")
    return kind, thing


def _look_up(arguments: Mapping[str, Any]) -> str:
    """The fact, or `NOT_FOUND`."""
    kind, thing = split_topic(arguments["topic"])
    for group in GROUPS:
        if kind in group.kinds and thing in group.facts:
            return group.facts[thing][group.kinds.index(kind)]
    return NOT_FOUND


LOOK_UP = RunnableTool(
    name="look_up",
    description="Look up a fact.",
    parameters=object_schema({"topic": "string"}),
    run=_look_up,
    is_safe=True,
)
