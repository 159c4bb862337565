"""Weather and time in a city."""

from random import Random

from gptcore.tools.cities import CLOCK, WEATHER
from gptstudio.demo_data.base import Arguments, DemoTool
from gptstudio.demo_data.parts import Part, listed, owned

CITIES = listed("""
Accra, Amman, Athens, Austin, Bangkok, Beijing, Belgrade, Bergen, Berlin, Bogota, Boston, Cairo,
Cape Town, Chicago, Colombo, Dakar, Dallas, Delhi, Denver, Dhaka, Dresden, Dublin, Durban, Geneva,
Hamburg, Hanoi, Havana, Helsinki, Jakarta, Krakow, Kyoto, Lagos, Lima, Lisbon, London, Madrid,
Manila, Miami, Milan, Munich, Nairobi, Naples, New York, Osaka, Oslo, Ottawa, Paris, Perth, Porto,
Prague, Quito, Riga, Rome, San Jose, Santiago, Seattle, Seoul, Sofia, Sydney, Tallinn, Tehran,
Tokyo, Toronto, Tunis, Turin, Vienna, Vilnius, Warsaw, Zagreb, Zurich
""")


class _CityTool(DemoTool):
    """A tool that is asked about a city."""

    tails = ("in {city}",)
    follow_ups = (
        "and in {city}?",
        "what about {city}?",
        "how about {city}?",
        "and {city}?",
        "and now {city}?",
        "the same for {city}?",
    )
    asks_back = "In which city?"
    replies = ("{city}", "in {city}", "{city}, please", "I mean {city}", "for {city}")
    #: The tool's place among those that are asked about a city.
    place: int

    def draw(self, rng: Random, part: Part) -> Arguments:
        """A city that `part` may ask this tool about."""
        return {"city": rng.choice(owned(CITIES, self.place, part))}


class Weather(_CityTool):
    """The weather in a city."""

    built_in = WEATHER
    purpose = "the weather"
    place = 0
    questions = (
        "what is the weather in {city}?",
        "what's the weather like in {city}?",
        "how is the weather in {city} today?",
        "how warm is it in {city}?",
        "is it raining in {city}?",
        "is it cold in {city} now?",
        "do I need a coat in {city}?",
        "does the sun shine in {city}?",
        "tell me the weather in {city}.",
        "I want to know the weather in {city}.",
        "weather in {city}?",
        "{city} weather?",
        "what weather does {city} have?",
        "I am going to {city}, will I need an umbrella?",
    )
    clauses = (
        "what is the weather in {city}",
        "how is the weather in {city}",
        "how warm is it in {city}",
        "is it raining in {city}",
    )
    vague = (
        "what is the weather like?",
        "is it raining?",
        "how is the weather today?",
        "tell me the weather.",
        "will I need a coat?",
    )
    statement = "The weather in {city}: {result}."


class Clock(_CityTool):
    """The time in a city."""

    built_in = CLOCK
    purpose = "the time"
    place = 1
    questions = (
        "what time is it in {city}?",
        "what's the time in {city}?",
        "what is the time in {city} now?",
        "do you have the time in {city}?",
        "tell me the time in {city}.",
        "can you tell me the time in {city}?",
        "is it late in {city}?",
        "is it morning in {city}?",
        "I would like to know the time in {city}.",
        "time in {city}?",
        "{city} time?",
        "what do the clocks say in {city}?",
        "I must call {city}, what time is it there?",
    )
    clauses = (
        "what time is it in {city}",
        "what is the time in {city}",
        "what's the time in {city}",
        "what hour is it in {city}",
    )
    vague = (
        "what time is it?",
        "tell me the time.",
        "can you look at the clock?",
        "do you have the time?",
        "what does the clock say?",
    )
    statement = "It is {result} in {city}."
