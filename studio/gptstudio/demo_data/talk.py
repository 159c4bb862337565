"""Small talk: what people say that calls for no tool, and what is said to it."""

from dataclasses import dataclass
from random import Random

from gptstudio.demo_data.cities import CITIES
from gptstudio.demo_data.parts import Part, dress, part_of, wordings


@dataclass(frozen=True, slots=True)
class Topic:
    """Ways to say one thing, five or more, and ways to answer it."""

    says: tuple[str, ...]
    answers: tuple[str, ...]


GREETINGS = Topic(
    (
        "hello!",
        "hi!",
        "good morning.",
        "hi there.",
        "hey!",
        "hello there.",
        "good evening.",
        "good day!",
        "nice to meet you.",
        "hello, old friend.",
    ),
    ("Hello! What can I do for you?", "Hello! How can I help?"),
)
THANKS = Topic(
    (
        "thanks!",
        "thank you.",
        "thanks a lot.",
        "great, thank you.",
        "many thanks!",
        "thank you very much.",
        "that helps, thanks.",
        "perfect, thanks!",
        "good, that is all.",
        "wonderful, thank you!",
    ),
    ("You are welcome.", "You are welcome!", "Gladly."),
)
GOODBYES = Topic(
    (
        "goodbye!",
        "bye!",
        "see you.",
        "good night.",
        "see you tomorrow.",
        "bye for now.",
        "I have to go.",
        "until next time!",
        "that is all for today.",
        "farewell!",
    ),
    ("Goodbye!", "Goodbye, and take care."),
)
TOPICS = (
    GREETINGS,
    THANKS,
    GOODBYES,
    Topic(
        (
            "how are you?",
            "how do you do?",
            "are you well?",
            "how is it going?",
            "how are things?",
            "are you fine today?",
        ),
        ("I am well, thank you.", "All is well here, thank you."),
    ),
    Topic(
        (
            "who are you?",
            "what are you?",
            "are you a person?",
            "are you a program?",
            "tell me about yourself.",
            "what kind of thing are you?",
        ),
        ("I am a small language model.",),
    ),
    Topic(
        (
            "what can you do?",
            "how can you help me?",
            "what are you good at?",
            "what shall I ask you?",
            "what are you for?",
            "what do you know?",
        ),
        ("I answer short questions, with tools where I have them.",),
    ),
    Topic(
        (
            "tell me a joke.",
            "do you know a joke?",
            "make me laugh.",
            "say something funny.",
            "I want to hear a joke.",
            "a joke, if you can.",
        ),
        ("Why did the loss go down? It had a gradient.", "A byte met a bit. It was a bit much."),
    ),
    Topic(
        (
            "I am tired.",
            "I slept badly.",
            "I need some rest.",
            "I am so sleepy.",
            "I could not sleep.",
            "it was a long day.",
        ),
        ("Then rest a little.", "A short sleep may help."),
    ),
    Topic(
        (
            "I am bored.",
            "I have nothing to do.",
            "what shall I do today?",
            "the day is so long.",
            "I do not know what to do.",
            "give me something to do.",
        ),
        ("Read a book, or take a walk.", "You could call a friend."),
    ),
    Topic(
        (
            "I am sad.",
            "it is a bad day.",
            "I feel low.",
            "nothing goes right.",
            "I feel alone.",
            "I am not happy.",
        ),
        ("I am sorry to hear that.", "I am sorry. Do you want to tell me more?"),
    ),
    Topic(
        (
            "I am happy!",
            "what a fine day!",
            "I feel great.",
            "all went well today.",
            "I passed my test!",
            "I got the job!",
        ),
        ("I am glad to hear that!", "That is good news!"),
    ),
    Topic(
        (
            "you are wrong.",
            "that is not right.",
            "I do not believe you.",
            "are you sure?",
            "you made a mistake.",
            "can I trust you?",
        ),
        ("I may be wrong. Please check it.", "I make mistakes. Please check what I say."),
    ),
    Topic(
        (
            "you are good.",
            "well done!",
            "I like you.",
            "you are clever.",
            "good work!",
            "you help me a lot.",
        ),
        ("That is kind of you.", "Thank you!"),
    ),
    Topic(
        (
            "write me a poem.",
            "can you write a poem?",
            "a short poem, please.",
            "do you write poems?",
            "make a verse for me.",
            "say something in verse.",
        ),
        ("The sea is wide, the night is deep, the wind has sung the waves to sleep.",),
    ),
    Topic(
        (
            "tell me a story.",
            "do you know a story?",
            "I want to hear a story.",
            "a short story, please.",
            "begin a story.",
            "make up a story.",
        ),
        ("A lamp stood by the sea. Each night it lit the way home for one small boat.",),
    ),
    Topic(
        (
            "send a mail for me.",
            "call my mother.",
            "book a table for two.",
            "play some music.",
            "buy me a ticket.",
            "open the door.",
            "turn on the light.",
            "order a pizza.",
            "write to my boss.",
            "set an alarm.",
        ),
        ("I have no tool for that.", "Sorry, I have no tool for that."),
    ),
)
#: Remarks that name what the tools are about, and still call for none.
REMARKS = (
    ("I live in {city}.", "That is a good place to live."),
    ("my sister lives in {city}.", "Then you can visit her there."),
    ("I was born in {city}.", "Then you must know it well."),
    ("I like {city}.", "Many people like {city}."),
    ("next week I fly to {city}.", "Have a good journey!"),
    ("I have never been to {city}.", "Perhaps one day you will go."),
    ("I am {number} years old.", "That is a good age."),
    ("my house has number {number}.", "I will keep it to myself."),
    ("I have {number} books.", "That is a fine collection."),
    ("I ran {number} km.", "Well done!"),
    ("my bag weighs {number} kg.", "That sounds heavy."),
    ("my train leaves in {number} minutes.", "Then you had better go."),
    ("I counted {number} birds.", "You have good eyes."),
)


def say(rng: Random, topic: Topic, part: Part) -> tuple[str, str]:
    """A saying of the topic that `part` owns, and an answer."""
    said = dress(rng, rng.choice(wordings(topic.says, part)), opener=False)
    return said, rng.choice(topic.answers)


def small_talk(rng: Random, part: Part) -> tuple[str, str]:
    """A saying that calls for no tool, and an answer."""
    if rng.random() < 0.65:
        return say(rng, rng.choice(TOPICS), part)
    template, answer = rng.choice(REMARKS)
    while True:
        words = {"city": rng.choice(CITIES), "number": rng.randint(2, 99)}
        said = template.format_map(words)
        if part_of(said) == part:
            return dress(rng, said), answer.format_map(words)
