"""Instructions: small tasks on words, with an input or without."""

from collections.abc import Callable
from random import Random

from gptstudio.demo_data.base import Row
from gptstudio.demo_data.conversations import explained
from gptstudio.demo_data.parts import Part, dress, listed, part_of

_WORDS = listed("""
apple, bell, bird, boat, book, bread, cloud, coin, cup, door, drum, fish, flower, fox, garden,
glass, hat, hill, horse, house, key, lake, lamp, leaf, letter, milk, moon, nut, paper, pear,
pen, plate, rain, ring, road, rope, rose, salt, sand, shoe, snow, song, spoon, star, stone, sun,
table, tea, train, tree, wall, watch, wheel, wind, wood
""")
_OPPOSITES = listed("""
big small, hot cold, old new, long short, high low, open closed, light dark, fast slow, full
empty, wet dry, early late, near far, rich poor, loud quiet, hard soft, day night, first last,
left right, up down, good bad
""")
_SENTENCES = (
    "There is a {word} in this picture.",
    "My {word} is not here.",
    "She gave me a {word}.",
    "I can see the {word} from here.",
)

#: An instruction, its input, and the output.
_Task = tuple[str, str, str]


def instruction_row(rng: Random, part: Part) -> Row:
    """One line of an instructions file that `part` owns."""
    while True:
        instruction, given, output = rng.choice(_TASKS)(rng, part)
        if part_of(f"{instruction} {given}") == part:
            return {"instruction": instruction, "input": given, "output": output}


def _words(rng: Random) -> list[str]:
    return rng.sample(_WORDS, rng.randint(3, 5))


def _one_of(rng: Random, *ways: str) -> str:
    return rng.choice(ways)


def _first(rng: Random, part: Part) -> _Task:
    words = _words(rng)
    way = _one_of(rng, "Which word comes first?", "Give me the first word.", "Name the first word.")
    return way, ", ".join(words), words[0]


def _last(rng: Random, part: Part) -> _Task:
    words = _words(rng)
    way = _one_of(rng, "Which word comes last?", "Give me the last word.", "Name the last word.")
    return way, ", ".join(words), words[-1]


def _list(rng: Random, part: Part) -> _Task:
    words = _words(rng)
    way = _one_of(rng, "Make a list of these.", "Write this as a list.", "Put each on a line.")
    return way, ", ".join(words), "\n".join(f"- {word}" for word in words)


def _count(rng: Random, part: Part) -> _Task:
    words = _words(rng)
    way = _one_of(rng, "How many words are these?", "Count the words.", "How many are there?")
    return way, " ".join(words), str(len(words))


def _repeat(rng: Random, part: Part) -> _Task:
    words = " ".join(rng.sample(_WORDS, rng.randint(1, 3)))
    way = _one_of(rng, "Repeat: {}", "Say this again: {}", "Please repeat this: {}")
    return way.format(words), "", words


def _join(rng: Random, part: Part) -> _Task:
    first, second = rng.sample(_WORDS, 2)
    way = _one_of(rng, "Join the two words with 'and'.", "Put 'and' between the words.")
    return way, f"{first}, {second}", f"{first} and {second}"


def _opposite(rng: Random, part: Part) -> _Task:
    pair = rng.choice(_OPPOSITES).split()
    word, opposite = pair if rng.random() < 0.5 else pair[::-1]
    if rng.random() < 0.5:
        way = _one_of(rng, "What is the opposite?", "Give me the opposite.", "Say the opposite.")
        return way, word, opposite
    way = _one_of(rng, "What is the opposite of {}?", "Name the opposite of {}.", "Not {}, but?")
    return way.format(word), "", opposite


def _sentence(rng: Random, part: Part) -> _Task:
    word = rng.choice(_WORDS)
    way = _one_of(rng, "Use {} in a sentence.", "Write a sentence with {}.", "Make a phrase: {}.")
    return way.format(word), "", rng.choice(_SENTENCES).format(word=word)


def _explain(rng: Random, part: Part) -> _Task:
    question, answer = explained(rng, part)
    return dress(rng, question, opener=False), "", answer


_TASKS: tuple[Callable[[Random, Part], _Task], ...] = (
    _first,
    _last,
    _list,
    _count,
    _repeat,
    _join,
    _opposite,
    _sentence,
    _explain,
)
