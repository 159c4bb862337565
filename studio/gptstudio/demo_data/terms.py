"""Words that the demo can explain, in a sentence each."""

from gptstudio.demo_data.parts import capital

TERMS = {
    "anchor": "a heavy iron hook that holds a ship in its place",
    "atlas": "a book of maps",
    "bakery": "a place where bread is made and sold",
    "bridge": "a way over water or over a road",
    "byte": "a group of eight bits",
    "calendar": "a table of the days of a year",
    "candle": "a stick of wax that gives light",
    "compass": "a tool whose needle points north",
    "desert": "a wide land with hardly any rain",
    "dictionary": "a book that explains words",
    "echo": "a sound that comes back from a wall",
    "file": "a piece of data with a name",
    "forest": "a large piece of land full of trees",
    "glacier": "a river of ice that moves slowly",
    "gradient": "the direction in which something rises most",
    "harbour": "a place where ships are safe",
    "island": "land with water on all sides",
    "kernel": "the part of a system that is always there",
    "ladder": "two long poles with steps between them",
    "lighthouse": "a tower whose light guides ships",
    "loss": "a number that says how wrong a model is",
    "map": "a picture of the land from above",
    "meadow": "a field of grass and flowers",
    "mirror": "a glass in which you see yourself",
    "model": "a small picture of how something works",
    "museum": "a house where old things are shown",
    "needle": "a thin piece of metal used for sewing",
    "novel": "a long story in a book",
    "oven": "a hot box in which bread is made",
    "pilot": "a person who flies a plane",
    "planet": "a large ball that goes around a star",
    "poem": "a text in verses",
    "recipe": "a list of steps for making a meal",
    "river": "water that flows to the sea",
    "server": "a computer that works for others",
    "shadow": "a dark place where the light does not come",
    "ship": "a large boat for the sea",
    "storm": "very strong wind, often with rain",
    "tent": "a house of cloth",
    "token": "a piece of text with a number",
    "tunnel": "a way through a mountain or under the ground",
    "valley": "the low land between two hills",
    "village": "a few houses, smaller than a town",
    "volcano": "a mountain that throws out fire",
    "window": "a hole in a wall with glass in it",
}


def explanation(term: str) -> str:
    """The term in a sentence."""
    return f"{capital(with_article(term))} is {TERMS[term]}."


def with_article(term: str) -> str:
    """The term with "a" or "an"."""
    return f"{'an' if term[0] in 'aeiou' else 'a'} {term}"
