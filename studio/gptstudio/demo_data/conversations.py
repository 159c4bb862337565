"""Conversations without tools: manners, small talk, words explained, things remembered."""

from collections.abc import Callable
from random import Random

from gptstudio.demo_data.base import Message, Row
from gptstudio.demo_data.messages import assistant, user
from gptstudio.demo_data.parts import Part, dress, listed, owned, part_of
from gptstudio.demo_data.talk import GOODBYES, GREETINGS, THANKS, say, small_talk
from gptstudio.demo_data.terms import TERMS, explanation, with_article

_NAMES = listed("""
Ada, Alan, Anna, Ben, Carl, Clara, Dora, Edith, Emil, Eva, Felix, Frida, Grace, Hugo, Ida, Iris,
Ivan, Jana, Karl, Lena, Leo, Lotte, Mara, Max, Mina, Nils, Nora, Olga, Otto, Paul, Rosa, Ruth,
Tom, Vera
""")
_THINGS = listed("""
bread, cheese, plums, rice, soup, tea, chess, snow, the sea, long walks, old maps, trains, cats,
dogs, horses, jazz, spring, mountains, novels
""")
_INTRODUCTIONS = (
    "my name is {name}.",
    "I am {name}.",
    "you can call me {name}.",
    "this is {name}.",
)
_LIKES = ("I like {thing}.", "I love {thing}.", "what I like best is {thing}.", "I enjoy {thing}.")
_ASK_NAME = (
    "and I like {thing}. What is my name?",
    "I like {thing}. Do you know my name?",
    "I love {thing}. Who am I?",
)
_ASK_LIKING = (
    "it is {name} again. What do I like?",
    "{name} asks: what do I like?",
    "what does {name} like?",
)
_EXPLAIN = (
    "what is {a_term}?",
    "explain the word {term}.",
    "what does {term} mean?",
    "tell me what {a_term} is.",
    "do you know what {a_term} is?",
    "can you explain {term}?",
    "I do not know the word {term}.",
    "{term}, what is that?",
)


def conversation_row(rng: Random, part: Part) -> Row:
    """One line of a conversations file: one to three things said, all owned by `part`."""
    messages: list[Message] = []
    if rng.random() < 0.25:
        messages += _pair(*say(rng, GREETINGS, part))
    kinds, weights = zip(*_KINDS, strict=True)
    for _ in range(rng.choice((1, 1, 2))):
        messages += rng.choices(kinds, weights)[0](rng, part)
    if rng.random() < 0.3:
        messages += _pair(*say(rng, rng.choice((THANKS, GOODBYES)), part))
    return {"messages": messages}


def explained(rng: Random, part: Part) -> tuple[str, str]:
    """A question what a word means, and the answer."""
    while True:
        term = rng.choice(tuple(TERMS))
        question = rng.choice(_EXPLAIN).format(term=term, a_term=with_article(term))
        if part_of(question) == part:
            return question, explanation(term)


def _pair(said: str, answer: str) -> list[Message]:
    return [user(said), assistant(answer)]


def _talk(rng: Random, part: Part) -> list[Message]:
    return _pair(*small_talk(rng, part))


def _explanation(rng: Random, part: Part) -> list[Message]:
    question, answer = explained(rng, part)
    return _pair(dress(rng, question), answer)


def _remembers_name(rng: Random, part: Part) -> list[Message]:
    """A name is told, and asked for."""
    name, thing = _name_and_thing(rng, part)
    first = rng.choice(_INTRODUCTIONS).format(name=name)
    then = rng.choice(_ASK_NAME).format(thing=thing)
    messages = _pair(dress(rng, first), f"Hello, {name}!")
    return messages + _pair(dress(rng, then, opener=False), f"Your name is {name}.")


def _remembers_liking(rng: Random, part: Part) -> list[Message]:
    """A liking is told, and asked for."""
    name, thing = _name_and_thing(rng, part)
    first = rng.choice(_LIKES).format(thing=thing)
    then = rng.choice(_ASK_LIKING).format(name=name)
    messages = _pair(dress(rng, f"I am {name}. {first}"), f"That is good to know, {name}.")
    return messages + _pair(dress(rng, then, opener=False), f"You like {thing}.")


def _name_and_thing(rng: Random, part: Part) -> tuple[str, str]:
    """A name and a thing that both belong to `part`."""
    return rng.choice(owned(_NAMES, 0, part)), rng.choice(owned(_THINGS, 0, part))


_KINDS: tuple[tuple[Callable[[Random, Part], list[Message]], int], ...] = (
    (_talk, 45),
    (_explanation, 30),
    (_remembers_name, 13),
    (_remembers_liking, 12),
)
