"""A small town whose every story has a known probability.

The grammar of the stories is data, written once: words, variables,
openings, plots. It is compiled once, and two readers use it:

    story(seed)  makes a story, and knows its likelihood and its facts;
    parse(text)  reads any text: the same likelihood and the same facts if
                 it is a story of this world, otherwise the place and the
                 reason where it first leaves it.

Likelihoods are in nats: the sum of -log p over every choice made. A text
has exactly one derivation (see `ambiguities`), so the mean of `nll` over
many stories is the entropy of the world, the floor under every model's
loss.

The file reads from top to bottom: words; patterns; plots; compile; story;
parse; corpus; command line.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"

# ---------------------------------------------------------------- words ---
# A slot {colour} is filled by one of the words of the list "colour", each
# with the same probability. One word is one run of letters; all of them
# start with a consonant where a pattern puts "a" before them.

WORDS = {
    "girl": "Nora Mabel Clara Edith Hazel Greta Wanda Agnes Flora Hannah "
    "Lucy Ruth Sadie Polly Tilda Bess",
    "boy": "Tom Ned Oscar Hugo Walter Felix Otto Arthur Henry Jasper Leo "
    "Simon Victor Ralph Edgar George",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "time": "morning afternoon evening",
    "place": "market mill harbour bakery station bridge library farm school "
    "pond park church inn museum theatre orchard forge well beach "
    "lighthouse",
    "goal": "windmill fountain castle tower boathouse bandstand cinema "
    "quarry vineyard meadow canal dairy",
    "dry": "sunny clear warm bright mild fine dry calm",
    "wet": "rainy wet stormy soggy damp muddy dismal grim",
    "colour": "red blue green yellow white black brown grey pink purple "
    "golden silver",
    "thing": "kite ball hat scarf lantern bucket basket teapot drum purse "
    "ribbon whistle glove blanket cup bowl box flag pencil jug spoon marble "
    "bell cushion comb mug vase cap",
    "junk": "feather pebble snail cobweb bone cork nail leaf shell twig "
    "spider button",
    "bird": "pigeons sparrows gulls robins swallows crows finches magpies "
    "swans geese",
    "treat": "plums cherries walnuts pears biscuits chestnuts raisins "
    "toffees peaches figs grapes buns almonds apricots mints berries",
    "sad": "sad cross worried gloomy upset miserable nervous restless",
    "glad": "glad happy proud cheerful pleased merry content thankful "
    "relieved delighted",
    "sorry": "sorry disappointed grumpy wistful downcast glum",
    "manner": "quietly slowly kindly softly gently politely bravely calmly "
    "firmly gravely warmly brightly shyly carefully solemnly sweetly "
    "patiently briskly drily dreamily",
    "trait": "careful patient curious sensible stubborn forgetful cautious "
    "hopeful generous talkative thoughtful practical modest peaceful",
    "praise": "wonderful splendid marvellous superb perfect magnificent "
    "charming remarkable lovely beautiful",
    "size": "small big tiny huge heavy narrow",
    "role": "baker miller teacher doctor farmer tailor grocer sailor "
    "blacksmith gardener librarian cobbler mayor vicar carpenter potter",
    "snoop": "barber plumber nurse butcher painter judge",
    "spot": "hedge barrel gate wall cart crate fence trough shed pump bench "
    "bush",
    "nook": "stove cupboard sofa piano curtain wardrobe bookcase bed door "
    "mirror",
    "shelter": "barn stable cellar cottage chapel tent",
    "animal": "cat dog goat duck hen rabbit pony hedgehog mouse lamb kitten "
    "puppy parrot donkey pig tortoise",
    "plant": "bean pumpkin sunflower marrow poppy melon tomato turnip daisy "
    "cabbage",
    "gadget": "lamp clock radio bicycle kettle wagon fiddle toaster "
    "telescope trumpet",
    "fix": "string glue wire wax tape varnish leather rubber",
    "tool": "hammer saw rake spade ladder drill broom shovel",
    "game": "chess cards dominoes draughts charades skittles darts tag",
    "wrap": "striped spotted plain shiny crumpled flowery",
}

# The forms of a word: {hero.he} is "she" when the hero is Nora. Weekdays
# have {day.next}. A word stands for itself.

PRONOUNS = {
    "girl": {"he": "she", "his": "her", "him": "her"},
    "boy": {"he": "he", "his": "his", "him": "him"},
}

# A variable keeps its first word for the whole story. Its list has its own
# name, or is given here or in the slot itself ({weather:dry}); "except"
# takes a variable's own word out, "unlike" takes people with the other
# pronoun, so that "he" and "she" are never in doubt. {~manner} is a free
# pick that nobody has to remember.

VARIABLES = {
    "hero": ("person",),
    "friend": ("person", "unlike", "hero"),
    "mood": ("sad",),
}

# ------------------------------------------------------------- patterns ---
# A story is a sequence of beats; a beat is a list of patterns, each with a
# weight, of which one is told. A third entry "sky=wet" notes a fact. A beat
# that depends on a noted fact is given by `by`.


def by(fact: str, **beats: list) -> tuple:
    """A beat (or a table of plots) that depends on a fact noted earlier."""
    return fact, beats


OPENING = [
    [
        (3, "One day, {hero} went to the {place}."),
        (4, "One day, {hero} went to the {place} with a bag of {~treat}."),
        (3, "{hero} was a {~trait} soul who lived near the {place}."),
        (3, "Near the {place} lived {hero}, the most {~trait} soul in town."),
    ],
    [
        (4, "It was a {weather:dry} {day} {~time}.", "sky=dry"),
        (2, "That {day} was {weather:dry}, and the {~bird} sat in the sun.",
         "sky=dry"),
        (3, "It was a {weather:wet} {day} {~time}.", "sky=wet"),
        (1, "That {day} was {weather:wet}, and the {~bird} sat in the rain.",
         "sky=wet"),
    ],
]

THANKS = [
    (2, "{hero} gave {friend.him} a bag of {treat}."),
    (2, '"Thank you," said {hero} {~manner}, and gave {friend.him} a bag of '
        "{treat}."),
    (1, "For this {friend} got a bag of {treat}."),
]

THANKS_BACK = [
    (2, "{friend} gave {hero.him} a bag of {treat}."),
    (2, '"Thank you," said {friend} {~manner}, and gave {hero.him} a bag of '
        "{treat}."),
    (1, "For this {hero} got a bag of {treat}."),
]

GLAD_TODAY = by(
    "sky",
    dry=[
        (2, "{hero} walked home in the sun and felt {feeling:glad}."),
        (2, "So {hero} went home {feeling:glad}, with the sun on {hero.his} "
            "back."),
        (1, "In the end {hero} was {feeling:glad}, and told everyone "
            "in town why."),
    ],
    wet=[
        (2, "{hero} walked home in the rain and felt {feeling:glad}."),
        (2, "So {hero} went home {feeling:glad}, with rain in {hero.his} "
            "shoes."),
        (1, "In the end {hero} was {feeling:glad}, and told everyone "
            "in town why."),
    ],
)

SORRY_TODAY = by(
    "sky",
    dry=[
        (2, "{hero} walked home in the sun and felt {feeling:sorry}."),
        (2, "So {hero} went home {feeling:sorry}, and even the sun was no "
            "help."),
        (1, "In the end {hero} was {feeling:sorry}, and told nobody in "
            "town why."),
    ],
    wet=[
        (2, "{hero} walked home in the rain and felt {feeling:sorry}."),
        (2, "So {hero} went home {feeling:sorry}, with rain in {hero.his} "
            "shoes."),
        (1, "In the end {hero} was {feeling:sorry}, and told nobody in "
            "town why."),
    ],
)

GLAD_LATER = [
    (2, "{hero} was {feeling:glad} all week."),
    (1, "In the end {hero} was {feeling:glad}, and told everyone in "
        "town why."),
    (2, "That night {hero} went to bed {feeling:glad} and dreamed of "
        "{~bird}."),
]

SORRY_LATER = [
    (2, "{hero} was {feeling:sorry} all week."),
    (1, "In the end {hero} was {feeling:sorry}, and told nobody in town "
        "why."),
    (2, "That night {hero} went to bed {feeling:sorry} and dreamed of "
        "{~bird}."),
]

# ---------------------------------------------------------------- plots ---

LOST = [
    [
        (2, "{hero.He} reached for {hero.his} {colour} {thing}, and it was "
            "gone."),
        (2, "Somehow {hero.he} had lost {hero.his} {colour} {thing}."),
    ],
    [
        (2, "{hero.He} looked behind the {spot} and found only a {~junk}."),
        (2, "Behind the {spot} there was only a {~junk}."),
    ],
    [
        (2, "{hero.He} was {mood}, so {friend} came to help."),
        (2, "{friend} saw that {hero.he} was {mood} and came to help."),
    ],
    [
        (2, '"It is a {thing}," said {hero} {~manner}, "and it is '
            '{colour}."'),
        (2, '"What does it look like?" asked {friend}. "It is {colour}," '
            "said {hero} {~manner}."),
    ],
    [
        (2, "{friend} found the {colour} {thing} behind the {~nook}."),
        (2, "At last {friend} looked behind the {~nook}, and there was the "
            "{colour} {thing}."),
    ],
    THANKS,
    GLAD_TODAY,
]

FOUND = [
    [
        (2, "Behind the {spot} {hero.he} found a {colour} {thing}."),
        (2, "{hero.He} nearly fell over a {colour} {thing} near the {spot}."),
    ],
    [
        (2, '"Whose is this?" {hero.he} asked the {role}. "It must be '
            '{friend}\'s," said the {role} {~manner}.'),
        (2, "The {role} said {~manner} that it must belong to {friend}."),
    ],
    [
        (2, "On {day.next} {hero} took the {colour} {thing} to {friend}."),
        (2, "So {hero.he} took the {colour} {thing} to {friend} on "
            "{day.next}."),
    ],
    [
        (2, '"My {thing}!" cried {friend}. "I was so {mood} without it."'),
        (2, "{friend} had been {mood} without it, and now danced round the "
            "{~nook}."),
    ],
    THANKS_BACK,
    GLAD_LATER,
]

STORM = [
    [
        (2, "Then the wind rose, and {hero} ran into a {shelter}."),
        (2, "Thunder rolled over the roofs, and {hero} ran into a "
            "{shelter}."),
    ],
    [
        (2, "{friend} was there already, with a {colour} {thing}."),
        (2, "In the {shelter} sat {friend} with a {colour} {thing}."),
    ],
    [
        (2, '"Thunder makes me {mood}," said {hero} {~manner}.'),
        (2, "{hero} was {mood}, and said so {~manner}."),
    ],
    [
        (2, "So they played {game} until the rain stopped."),
        (2, "So they played {game} with the {~role} and ate {treat}."),
    ],
    [
        (2, "The roof leaked on the {colour} {thing}, and they both "
            "laughed."),
        (2, "When the roof leaked, {friend} put the {colour} {thing} under "
            "the hole."),
    ],
    GLAD_LATER,
]

GIFT = [
    [
        (2, "On {day.next} it would be {friend}'s birthday, and {hero} had "
            "no present."),
        (2, '"My birthday is on {day.next}," {friend} told {hero.him} '
            "{~manner}."),
    ],
    [
        (2, "{hero.He} bought a {colour} {thing} from the {role}."),
        (2, "The {role} sold {hero.him} a {colour} {thing}."),
    ],
    [
        (2, "{hero.He} wrapped it in {~wrap} paper and put it behind the "
            "{~nook}."),
        (2, "A {thing} is hard to wrap, but there was plenty of {~wrap} "
            "paper."),
    ],
    [
        (2, "Out of the paper came the {colour} {thing}."),
        (2, "In the paper was the {colour} {thing}."),
    ],
    [
        (2, '"How {~praise}!" said {friend} {~manner}.'),
        (2, '"I never had a {colour} one," said {friend} {~manner}.'),
    ],
    GLAD_LATER,
]

RACE = [
    [
        (2, '"I will race you to the {goal}," said {friend} {~manner}.'),
        (2, "{friend} said {~manner} that nobody could beat {friend.him} to "
            "the {goal}."),
    ],
    [
        (2, "The prize was a {colour} {thing}."),
        (2, "A {colour} {thing} was to be the prize."),
    ],
    [
        (2, "The {~role} counted to three, and off they went."),
        (2, "Off they ran, past a {~spot} and a {~animal}."),
    ],
    [
        (2, "{friend} jumped over a {~spot} and ran ahead."),
        (2, "{friend} found a short cut behind a {~spot}."),
    ],
    [
        (2, "So {friend} was first at the {goal} and got the {colour} "
            "{thing}."),
        (2, "So {friend} was first, and held up the {colour} {thing}."),
    ],
    [
        (2, '"It is yours," said {friend}, and gave {hero.him} the {thing}.',
         "ending=shared"),
        (2, '"Well run," said {hero} {~manner}.', "ending=lost"),
    ],
    by("ending", shared=GLAD_TODAY, lost=SORRY_TODAY),
]

SECRET = [
    [
        (2, '"Can you keep a secret?" asked {friend}. "There is a {colour} '
            '{thing} behind my {nook}."'),
        (2, "{friend} told {hero.him} a secret: there was a {colour} {thing} "
            "behind the {nook}."),
    ],
    [
        (2, '"It is a present for the {role}," said {friend} {~manner}.'),
        (2, "It was a present for the {role}, and had to be a surprise."),
    ],
    [
        (2, '"What did {friend} tell you?" asked the {snoop} {~manner}.'),
        (2, "Soon the {snoop} asked what {friend} had said."),
    ],
    [
        (2, '"Only that the {~bird} are back," said {hero} {~manner}.'),
        (2, "{hero} said {~manner} that the {~bird} were back."),
    ],
    [
        (2, "Not even a bag of {treat} could make {hero.him} say more."),
        (2, "No, not for a bag of {treat} would {hero.he} say more."),
    ],
    [
        (2, "On {day.next} the {role} got the {colour} {thing}."),
        (2, "So the {colour} {thing} was a surprise for the {role} on "
            "{day.next}."),
    ],
    GLAD_LATER,
]

REPAIR = [
    [
        (2, "{hero.He} dropped {hero.his} {colour} {gadget}, and it broke."),
        (2, "{hero.His} {colour} {gadget} was broken, and {hero.he} was "
            "{mood}."),
    ],
    [
        (2, '"Throw it away," said the {role} {~manner}.'),
        (2, "The {role} looked at it {~manner} and called it hopeless."),
    ],
    [
        (2, "But {friend} came by with some {fix} and a {~size} hammer."),
        (2, '"It needs some {fix}," said {friend} {~manner}.'),
    ],
    [
        (2, "They worked {~manner} until {day.next}."),
        (2, "It took until {day.next}, and all of the {fix}."),
    ],
    [
        (2, "Then the {colour} {gadget} was as good as new.", "ending=new"),
        (2, "Then the {colour} {gadget} worked again, though it was mostly "
            "{fix}.", "ending=patched"),
    ],
    GLAD_LATER,
]

PLANT = [
    [
        (2, "{friend} gave {hero.him} a {plant} seed and a {colour} pot."),
        (2, "{hero.He} got a {plant} seed from {friend} and put it in a "
            "{colour} pot."),
    ],
    [
        (2, '"It needs water every day," said {friend} {~manner}.'),
        (2, "{friend} said {~manner} that it needed water every day."),
    ],
    [
        (2, "{hero} never forgot, and sang to it {~manner}.",
         "ending=grew"),
        (2, "Every day {hero} {~manner} gave the {colour} pot some water.",
         "ending=grew"),
        (2, "But {hero} played {game} with the {~role} and forgot.",
         "ending=withered"),
        (2, "But the {colour} pot stood behind the {~nook}, and {hero} "
            "forgot.", "ending=withered"),
    ],
    by("ending",
       grew=[
           (2, "Soon the {plant} was as tall as the {~nook}."),
           (2, "Soon the {plant} reached over the {~spot}."),
       ],
       withered=[
           (2, "Soon there was only a {~junk} in the {colour} pot."),
           (2, "The {plant} never came up, but a {~junk} did."),
       ]),
    by("ending",
       grew=[
           (2, '"How {~praise}!" said {friend} {~manner}.'),
           (2, "{friend} came to look and called it {~praise}."),
       ],
       withered=[
           (2, '"Did it get water?" asked {friend}. "No," said {hero} '
               "{~manner}."),
           (2, "{friend} came to look and said nothing."),
       ]),
    by("ending", grew=GLAD_LATER, withered=SORRY_LATER),
]

PROMISE = [
    [
        (2, '"I will bring you a {colour} {thing} on {day.next}," {hero} '
            "told {friend}."),
        (2, "{hero.He} had promised {friend} a {colour} {thing} by "
            "{day.next}."),
    ],
    [
        (2, "At the {goal} there was only one {colour} {thing}."),
        (2, "{hero.He} found a {thing} at the {goal}, and it was {colour}."),
    ],
    [
        (2, "Then the {role} offered {hero.him} a bag of {treat} for it."),
        (2, '"I will give you a bag of {treat} for it," said the {role} '
            "{~manner}."),
    ],
    [
        (3, '"It is promised," said {hero} {~manner}.', "ending=kept"),
        (3, "But a promise is a promise, and {hero} said no.",
         "ending=kept"),
        (1, "{hero} looked at the bag and said yes.", "ending=broken"),
        (1, '"Done," said {hero}, and took the bag.', "ending=broken"),
    ],
    by("ending",
       kept=[
           (2, "On {day.next} {friend} got the {colour} {thing}."),
           (2, "So {friend} had the {colour} {thing} on {day.next}."),
       ],
       broken=[
           (2, "On {day.next} {friend} waited, but no {thing} came."),
           (2, "So {friend} had no {colour} {thing} on {day.next}."),
       ]),
    by("ending",
       kept=[
           (2, '"How {~praise}!" said {friend} {~manner}.'),
           (2, "{friend} called it {~praise}."),
       ],
       broken=[
           (2, '"You promised," said {friend} {~manner}.'),
           (2, "{friend} was {mood}, and said so {~manner}."),
       ]),
    by("ending", kept=GLAD_LATER, broken=SORRY_LATER),
]

HIDING = [
    [
        (2, "When {hero.he} came home, the {animal} was gone."),
        (2, "At home {hero.his} {animal} was nowhere to be seen."),
    ],
    [
        (2, "{hero.He} was {mood}, so {friend} came to help."),
        (2, "{friend} saw that {hero.he} was {mood} and came to help."),
    ],
    [
        (2, '"A {animal} likes {~treat}," said {friend} {~manner}.'),
        (2, '"Where would a {animal} go?" asked {friend} {~manner}.'),
    ],
    [
        (2, "Then they heard a {~size} sneeze behind the {~nook}."),
        (2, "Then something moved behind the {~nook}."),
    ],
    [
        (2, "There lay the {animal} on a {colour} blanket."),
        (2, "It was the {animal}, under a {colour} blanket."),
    ],
    GLAD_LATER,
]

BORROW = [
    [
        (2, "{friend} lent {hero.him} a {colour} {tool}."),
        (2, "{hero.He} borrowed a {colour} {tool} from {friend}."),
    ],
    [
        (2, '"I need it back on {day.next}," said {friend} {~manner}.'),
        (2, "{friend} needed it back on {day.next}."),
    ],
    [
        (2, "The {~role} wanted to have the {tool} next, but {hero} said no.",
         "ending=whole"),
        (2, "A {~animal} ran off with the {tool}, but {hero} ran faster.",
         "ending=whole"),
        (2, "Then {hero} dropped the {tool}, and it broke.",
         "ending=broken"),
        (2, "A {~animal} fell over the {tool} and broke it.",
         "ending=broken"),
    ],
    by("ending",
       whole=[
           (2, "On {day.next} {hero} took the {colour} {tool} to {friend}."),
           (2, "So {friend} had the {colour} {tool} back on {day.next}."),
       ],
       broken=[
           (2, "On {day.next} {hero} bought {friend} a new {colour} "
               "{tool}."),
           (2, "So {friend} got a new {colour} {tool} on {day.next}."),
       ]),
    by("ending",
       whole=[
           (2, '"You may have it again," said {friend} {~manner}.'),
           (2, "{friend} said {~manner} that it looked {~praise}."),
       ],
       broken=[
           (2, '"I liked the old one," said {friend} {~manner}.'),
           (2, "{friend} said {~manner} that the old one was better."),
       ]),
    by("ending", whole=GLAD_LATER, broken=SORRY_LATER),
]

LETTER = [
    [
        (2, "The postman brought {hero.him} a letter in a {colour} "
            "envelope."),
        (2, "{hero.He} got a letter in a {colour} envelope."),
    ],
    [
        (2, '"Come to the {goal} on {day.next}," it said. It was from '
            "{friend}."),
        (2, 'It was from {friend}, and it said: "Come to the {goal} on '
            '{day.next}."'),
    ],
    [
        (2, "On {day.next} {hero} put on a {~colour} hat and went to the "
            "{goal}."),
        (2, "So on {day.next} {hero.he} walked {~manner} to the {goal}."),
    ],
    [
        (2, "There stood {friend} with a {~size} {animal}."),
        (2, "{friend} was there already, with a {animal}."),
    ],
    [
        (2, '"It is a present for you," said {friend} {~manner}.'),
        (2, '"It needs a home," said {friend} {~manner}.'),
    ],
    [
        (2, "{hero} kept the {colour} envelope as well."),
        (2, "{hero.He} still has the {colour} envelope."),
    ],
    GLAD_LATER,
]

RESCUE = [
    [
        (2, "On top of a {~size} {~spot} sat the {role}'s {animal}."),
        (2, "The {role}'s {animal} was stuck on top of a {~size} {~spot}."),
    ],
    [
        (2, '"It will not come down," said the {role} {~manner}.'),
        (2, "The {role} stood under it and looked {mood}."),
    ],
    [
        (2, '"I have a {colour} ladder," said {friend} {~manner}.'),
        (2, "{friend} brought a {colour} ladder."),
    ],
    [
        (2, "{hero} went up while {friend} held the {colour} ladder."),
        (2, "Up the {colour} ladder went {hero} with a bag of {treat}."),
    ],
    [
        (2, '"How {~praise}!" said the {role}, when it was down.'),
        (2, "The {role} hugged {hero.him}, and then the {colour} ladder."),
    ],
    GLAD_TODAY,
]

# Which plots there are under which sky, and how often.

PLOTS = by(
    "sky",
    dry=[
        (4, "lost", LOST), (4, "found", FOUND), (4, "gift", GIFT),
        (5, "race", RACE), (4, "secret", SECRET), (4, "repair", REPAIR),
        (5, "plant", PLANT), (5, "promise", PROMISE),
        (4, "hiding", HIDING), (5, "borrow", BORROW),
        (4, "letter", LETTER), (4, "rescue", RESCUE),
    ],
    wet=[
        (4, "lost", LOST), (4, "found", FOUND), (9, "storm", STORM),
        (4, "gift", GIFT), (4, "race", RACE), (4, "secret", SECRET),
        (4, "repair", REPAIR), (5, "plant", PLANT),
        (5, "promise", PROMISE), (4, "hiding", HIDING),
        (5, "borrow", BORROW), (4, "letter", LETTER),
        (4, "rescue", RESCUE),
    ],
)


@dataclass(frozen=True)
class Grammar:
    """All data of a world; a small one serves as well as the town's."""

    words: dict[str, str]
    pronouns: dict[str, dict[str, str]]
    variables: dict[str, tuple]
    opening: list
    plots: tuple


TOWN = Grammar(WORDS, PRONOUNS, VARIABLES, OPENING, PLOTS)

# -------------------------------------------------------------- compile ---
# The grammar becomes a graph without conditions: what was noted on the way
# decides which patterns can follow, so it decides which node follows.
#
# node     (wheel, choices): the alternatives, and the same with each one
#          standing there `weight` times, so that one number picks one;
# choice   (cost, notes, parts, next node), cost in nats;
# part     a str (told as it is), (variable, form) for a word of the story
#          told again, or (variable, other, table) for a new word:
#          table[word of `other`, or None] is a `Pick`;
# entry    one word with its forms: {"": "Monday", "next": "Tuesday"}.

SLOT = re.compile(r"\{(~?)(\w+)(?::(\w+))?(?:\.(\w+))?\}")
TOKEN = re.compile(r"[A-Za-z]+|[^A-Za-z]")
WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class Pick:
    """A free choice between words, all equally likely; cost in nats."""

    entries: list[dict]
    cost: float
    by_word: dict[str, dict]
    label: str


@dataclass
class World:
    """A compiled grammar: the first node, all nodes, lists, vocabulary."""

    start: tuple | None = None
    nodes: list = field(default_factory=list)
    lists: dict[str, list[dict]] = field(default_factory=dict)
    variables: dict[str, tuple] = field(default_factory=dict)
    picks: dict[tuple, tuple] = field(default_factory=dict)
    homes: dict[str, dict] = field(default_factory=dict)
    memo: dict[tuple, tuple] = field(default_factory=dict)
    patterns: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


def _entries(grammar: Grammar) -> dict[str, list[dict]]:
    """The word lists with the forms of their words."""
    lists = {
        name: [{"": word} for word in words.split()]
        for name, words in grammar.words.items()
    }
    people = []
    for name, forms in grammar.pronouns.items():
        for entry in lists[name]:
            entry.update(forms)
            entry.update({k.title(): v.title() for k, v in forms.items()})
            people.append(entry)
    lists["person"] = people
    days = lists.get("day", [])
    for today, tomorrow in zip(days, days[1:] + days[:1], strict=True):
        today["next"] = tomorrow[""]
    return lists


def _pick(entries: list[dict], label: str) -> Pick:
    by_word = {entry[""]: entry for entry in entries}
    if len(by_word) < len(entries):
        raise ValueError(f"the list {label!r} has a word twice")
    for word in by_word:
        if not WORD.fullmatch(word):
            raise ValueError(f"{word!r} in {label!r} is not one word")
    return Pick(entries, math.log(len(entries)), by_word, label)


def _new_word(
    world: World, name: str, domain: str | None, bound: set[str]
) -> tuple:
    """(other variable or None, table of picks) for a variable's draw."""
    label, *rule = world.variables.get(name, (domain or name,))
    how, other = rule or ("free", None)
    if label not in world.lists:
        raise ValueError(f"there is no list {label!r}")
    if other and other not in bound:
        raise ValueError(f"{name!r} is told before {other!r}")
    key = (label, how, other)
    if key not in world.picks:
        entries = world.lists[label]
        table = {None: _pick(entries, label)}
        if other:
            table = {
                one[""]: _pick(_allowed(entries, how, one), label)
                for one in entries
            }
        world.picks[key] = other, table
    return world.picks[key]


def _allowed(entries: list[dict], how: str, one: dict) -> list[dict]:
    """The entries that are left when `one` is the other variable's."""
    if how == "except":
        return [entry for entry in entries if entry is not one]
    return [entry for entry in entries if entry["he"] != one["he"]]


def _parts(world: World, pattern: str, bound: set[str]) -> list:
    """Compile a pattern; `bound` gains the variables that it draws."""
    parts, at = [], 0
    for slot in SLOT.finditer(pattern):
        parts += [pattern[at : slot.start()], _slot(world, slot, bound)]
        at = slot.end()
    parts.append(pattern[at:])
    return _check_edges([part for part in parts if part], pattern)


def _slot(world: World, slot: re.Match, bound: set[str]) -> tuple:
    """Compile a slot: a word told again, or a new one."""
    free, name, domain, form = slot.groups()
    if name in bound and not free:
        entries = world.homes[name].values()
        if domain or any((form or "") not in entry for entry in entries):
            raise ValueError(f"{slot[0]} has no such form: {slot.string}")
        return name, form or ""
    if form:
        raise ValueError(f"{slot[0]} comes too early: {slot.string}")
    other, table = _new_word(world, name, domain, bound)
    if free:
        return "", other, table
    bound.add(name)
    for pick in table.values():
        world.homes.setdefault(name, {}).update(pick.by_word)
    return name, other, table


def _check_edges(parts: list, pattern: str) -> list:
    """A slot is a whole word: no letter and no slot may touch it."""
    for left, right in zip(parts, parts[1:], strict=False):
        ends = ((left, -1), (right, 0))
        touch = [one[i] for one, i in ends if isinstance(one, str)]
        if not touch or any(sign.isalpha() for sign in touch):
            raise ValueError(f"a slot touches a letter or slot: {pattern}")
    return parts


def _resolve(beat: list | tuple, notes: frozenset) -> list:
    """The patterns that a beat has after these notes."""
    while isinstance(beat, tuple):
        fact, table = beat
        beat = table[dict(notes)[fact]]
    return beat


def _alternative(
    world: World, choice: tuple, beats: list, bound: frozenset,
    notes: frozenset, first: bool,
) -> tuple:
    """Compile one choice of a beat: (notes, parts, next node)."""
    if isinstance(choice[-1], list):                   # a plot
        said = {("plot", choice[1])}
        parts, beats = [], choice[2]
    else:
        said = {tuple(n.split("=")) for n in choice[2:]}
        known = set(bound)
        text = choice[1] if first else " " + choice[1]
        parts = _parts(world, text, known)
        bound = frozenset(known)
        world.patterns.add(choice[1])
    target = _node(world, beats, bound, notes | said, False)
    entries = tuple((name, {"": value}) for name, value in sorted(said))
    return entries, tuple(parts), target


def _node(
    world: World, beats: list, bound: frozenset, notes: frozenset,
    first: bool,
) -> tuple | None:
    """The node for the beats still to be told (None after the last)."""
    if not beats:
        return None
    key = (tuple(map(id, beats)), bound, notes)
    if key in world.memo:
        return world.memo[key]
    choices = _resolve(beats[0], notes)
    total = sum(choice[0] for choice in choices)
    wheel, told = [], []
    for choice in choices:
        cost = math.log(total / choice[0])
        told.append((cost, *_alternative(
            world, choice, beats[1:], bound, notes, first
        )))
        wheel.extend([told[-1]] * choice[0])
    node = world.memo[key] = tuple(wheel), tuple(told)
    world.nodes.append(node)
    return node


def compile_grammar(grammar: Grammar) -> World:
    """Compile a grammar; ValueError names a slot or list that is wrong."""
    world = World(lists=_entries(grammar), variables=grammar.variables)
    beats = [*grammar.opening, grammar.plots]
    world.start = _node(world, beats, frozenset(), frozenset(), True)
    for node in world.nodes:
        for _, _, parts, _ in node[1]:
            for part in parts:
                for tokens, _ in _tokens(part, world):
                    world.words |= {t for t in tokens if t.isalpha()}
    return world


def _tokens(part: str | tuple, world: World) -> list[tuple]:
    """(words that can stand there, variable) for each token of a part."""
    if isinstance(part, str):
        return [({token}, "") for token in TOKEN.findall(part)]
    if len(part) == 3:
        picks = part[2].values()
        return [({word for pick in picks for word in pick.by_word}, part[0])]
    name, form = part
    words = {entry[form] for entry in world.homes[name].values()}
    return [(words, "" if form else name)]


def _beginnings(alternative: tuple, world: World) -> Iterator[list]:
    """The token sets of an alternative; of a plot, of its first beat's."""
    _, _, parts, target = alternative
    if parts:
        yield [tokens for part in parts for tokens in _tokens(part, world)]
        return
    for one in target[1]:
        yield from _beginnings(one, world)


def _apart(one: list, two: list, world: World) -> bool:
    """Whether two token sequences must differ somewhere.

    They do where their words have nothing in common, or where they name
    two variables that are never equal, as hero and friend.
    """
    never = {(n, v[-1]) for n, v in world.variables.items() if len(v) == 3}
    return any(
        a.isdisjoint(b) or (m, n) in never or (n, m) in never
        for (a, m), (b, n) in zip(one, two, strict=False)
    )


def _show(tokens: list) -> str:
    """Token sets as a line of text, for the report of an ambiguity."""
    return "".join(min(words) for words, _ in tokens).strip()


def ambiguities(world: World) -> list[str]:
    """Pairs of alternatives that one text might both fit; must be empty.

    Every part fills a fixed number of tokens, so two alternatives of a
    node line up token by token. If they must differ at some token, no text
    fits both. If that holds for each pair at each node, every text has at
    most one derivation: at each node at most one alternative fits, and the
    word that stands in the text makes each pick unique.
    """
    found = []
    for node in world.nodes:
        seen = [
            (i, tokens)
            for i, one in enumerate(node[1])
            for tokens in _beginnings(one, world)
        ]
        for k, (i, one) in enumerate(seen):
            for j, two in seen[:k]:
                if i != j and not _apart(one, two, world):
                    found.append(f"{_show(one)} / {_show(two)}")
    return found


WORLD = compile_grammar(TOWN)

# ---------------------------------------------------------------- story ---


@dataclass(frozen=True)
class Story:
    """A story, its negative log-likelihood in nats, and its facts."""

    text: str
    nll: float
    facts: dict[str, str]


def tell(chance: Callable[[], float], world: World = WORLD) -> Story:
    """Tell a story; `chance` gives numbers in [0, 1), one per choice."""
    node, said, state, nll = world.start, [], {}, 0.0
    while node is not None:
        wheel, _ = node
        cost, notes, parts, node = wheel[int(chance() * len(wheel))]
        nll += cost
        for name, value in notes:
            state[name] = value
        for part in parts:
            if part.__class__ is str:
                said.append(part)
            elif len(part) == 2:
                said.append(state[part[0]][part[1]])
            else:
                name, other, table = part
                pick = table[other and state[other][""]]
                entry = pick.entries[int(chance() * len(pick.entries))]
                nll += pick.cost
                said.append(entry[""])
                if name:
                    state[name] = entry
    return Story("".join(said), nll, _facts(state))


def _facts(state: dict[str, dict]) -> dict[str, str]:
    """The facts that a reader can be asked: one word per name."""
    facts = {name: entry[""] for name, entry in state.items()}
    if "he" in state.get("hero", ()):
        facts["pronoun"] = state["hero"]["he"]
    if "next" in state.get("day", ()):
        facts["next_day"] = state["day"]["next"]
    return facts


def story(seed: int, world: World = WORLD) -> Story:
    """The story of a seed, the same on every platform.

    Returns text, nll in nats, facts. Raises ValueError for a negative
    seed and TypeError for one that is not an integer.
    """
    if not isinstance(seed, int):
        raise TypeError(f"a seed is an integer, not {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, not {seed}")
    return tell(random.Random(seed).random, world)


# ---------------------------------------------------------------- parse ---


@dataclass(frozen=True)
class Parse:
    """What the judge says of a text.

    ok: whether the whole text is one story of the world. Then nll (nats)
    and facts are those of the story. Otherwise nll is infinite, facts are
    what was established up to `position` (a character of the text), `kind`
    is one of KINDS and `reason` says it in words. derivations: how many
    ways there are to tell this text, 1 for every story of the town.
    """

    ok: bool
    nll: float
    facts: dict[str, str]
    position: int
    kind: str = ""
    reason: str = ""
    derivations: int = 0


KINDS = (
    "unknown word", "broken sentence", "changed fact", "wrong pronoun",
    "wrong person", "stranger", "unfinished", "after the end",
)


def parse(text: str, world: World = WORLD) -> Parse:
    """Judge a text: a story of this world, or where and why not.

    Returns a `Parse`; its nll is that of `story`, in nats. Never fails on
    a str, whatever stands in it.
    """
    complete, failures = _readings(text, world)
    if not complete:
        return _explain(text, failures, world)
    nll, state = complete[0]
    if len(complete) > 1:                              # not in this town
        nll = -math.log(sum(math.exp(-one) for one, _ in complete))
    return Parse(True, nll, _facts(state), len(text), "", "", len(complete))


def _readings(text: str, world: World) -> tuple[list, list]:
    """Follow every derivation that fits the text.

    Returns those that end with it, as (nll, state), and where the others
    fail, as (place, part or None after a story's end, state).
    """
    open_ends, complete, failures = [(world.start, 0, {}, 0.0)], [], []
    while open_ends:
        node, at, state, nll = open_ends.pop()
        if node is None and at == len(text):
            complete.append((nll, state))
            continue
        if node is None:
            failures.append((at, None, state))
            continue
        for cost, notes, parts, target in node[1]:
            end, part, now, total = _fit(parts, text, at, state, nll + cost)
            if part is None:
                now = {**now, **dict(notes)}
                open_ends.append((target, end, now, total))
            else:
                failures.append((end, part, now))
    return complete, failures


def _fit(
    parts: tuple, text: str, at: int, state: dict, nll: float
) -> tuple:
    """Read parts at a place: (place, part that fails or None, state, nll)."""
    for part in parts:
        if part.__class__ is str:
            if not text.startswith(part, at):
                return at, part, state, nll
            at += len(part)
            continue
        found = WORD.match(text, at)
        word = found[0] if found else ""
        if len(part) == 2:
            if word != state[part[0]][part[1]]:
                return at, part, state, nll
        else:
            name, other, table = part
            pick = table[other and state[other][""]]
            if word not in pick.by_word:
                return at, part, state, nll
            nll += pick.cost
            if name:
                state = {**state, name: pick.by_word[word]}
        at += len(word)
    return at, None, state, nll


def _letter(sign: str) -> bool:
    return sign.isascii() and sign.isalpha()


def _departure(text: str, at: int, part: str | tuple) -> tuple[int, str]:
    """The place where a text leaves a part, and the token wanted there.

    Of a slot the token is empty: its words are many, or the story's own.
    """
    if not isinstance(part, str):
        return at, ""
    same = 0
    while text[at + same : at + same + 1] == part[same]:
        same += 1
    if _letter(part[same]) or _letter(text[at + same : at + same + 1]):
        while same and _letter(part[same - 1]):            # back to the
            same -= 1                                      # word's start
    return at + same, TOKEN.match(part, same)[0]


def _explain(text: str, failures: list, world: World) -> Parse:
    """Of all failures the furthest say where and why the story breaks."""
    places = [
        (*_departure(text, at, part), part, state)
        for at, part, state in failures
    ]
    place = max(p[0] for p in places)
    furthest = [p[1:] for p in places if p[0] == place]
    state = furthest[0][2]
    found = WORD.match(text, place)
    word = found[0] if found else text[place : place + 1]
    kind, reason = _reason(text, place, word, furthest, world)
    return Parse(False, math.inf, _facts(state), place, kind, reason)


def _reason(
    text: str, place: int, word: str, furthest: list, world: World
) -> tuple[str, str]:
    """(kind, reason) of a break, from what was wanted at its place."""
    if any(part is None for _, part, _ in furthest):
        return "after the end", "the story was over, but the text goes on"
    wants = _wants(furthest)
    if _cut(text, place, word, furthest):
        return "unfinished", f"the text stops; expected {_any_of(wants)}"
    if _letter(word[0]) and word not in world.words:
        return "unknown word", f"{_quote(word)} is not a word of this world"
    for _, part, state in furthest:
        if isinstance(part, tuple) and len(part) == 2:
            kind, reason = _contradiction(word, part, state, world)
            if kind:
                return kind, reason
    reason = f"expected {_any_of(wants)}, found {_quote(word)}"
    start = max(text.rfind(sign, 0, place) for sign in ".?!") + 1
    sentence = re.compile(r"[^.?!]*").match(text, start)[0].strip(' "')
    if len(sentence) > 1 and sentence in text[:start]:
        reason = f"this sentence was told before; {reason}"
    return "broken sentence", reason


def _words(part: str | tuple, wanted: str, state: dict) -> list[str]:
    """All words that a failed part would have taken at its place."""
    if isinstance(part, str):
        return [wanted]
    if len(part) == 2:
        return [state[part[0]][part[1]]]
    _, other, table = part
    return list(table[other and state[other][""]].by_word)


def _cut(text: str, place: int, word: str, furthest: list) -> bool:
    """Whether the text simply stops here, perhaps within a word."""
    if place + len(word) < len(text):
        return False
    return any(
        one != word and one.startswith(word)
        for wanted, part, state in furthest
        for one in _words(part, wanted, state)
    )


def _wants(furthest: list) -> list[str]:
    """What could have stood at the break, in words, each once."""
    wants = {}
    for wanted, part, state in furthest:
        if isinstance(part, tuple) and len(part) == 3:
            _, other, table = part
            label = table[other and state[other][""]].label
            wants[f"{'another' if other else 'a'} {label}"] = None
        else:
            wants[_quote(*_words(part, wanted, state))] = None
    return list(wants)


def _quote(token: str) -> str:
    """A token in quotation marks, fit for one line of a message."""
    names = {" ": "a space", '"': "a quotation mark", "\n": "a line break"}
    shown = token if len(token) <= 24 else token[:21] + "..."
    return names.get(token, f'"{ascii(shown)[1:-1]}"')


def _any_of(wants: list[str], most: int = 4) -> str:
    """'"So" or a name', at most a few of them."""
    shown = wants[:most]
    if len(wants) > most:
        shown.append("...")
    return " or ".join(shown)


def _contradiction(
    word: str, part: tuple, state: dict, world: World
) -> tuple[str, str]:
    """(kind, reason) if a known word contradicts the story, else empty."""
    name, form = part
    entry, home = state[name], world.homes[name]
    if form == "next" and word in home:
        return "changed fact", (
            f"after {entry['']} comes {entry[form]}, not {word}"
        )
    if "he" in entry and form:
        forms = {one[form] for one in home.values()}
        if word in forms:
            return "wrong pronoun", (
                f'{entry[""]} is "{entry["he"]}", so "{entry[form]}", not '
                f'"{word}"'
            )
    if form or word not in home:
        return "", ""
    if "he" not in entry:
        return "changed fact", f"the {name} was {entry['']}, now {word}"
    if any(word == other[""] for other in state.values()):
        return "wrong person", f"this is about {entry['']}, not {word}"
    return "stranger", f"{word} was never in this story"


# --------------------------------------------------------------- corpus ---

SPLITS = ("train", "validation")


def corpus_seeds(n: int, split: str = "train", seed: int = 0) -> range:
    """The story seeds of a corpus: training even, validation odd.

    `seed` numbers whole corpora: corpus k has the story seeds from
    k * 2**32 on, so no two corpora and no two splits share a seed.
    Raises ValueError for another split, or n or seed out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split is one of {SPLITS}, not {split!r}")
    if not 0 <= n <= 2**31:
        raise ValueError(f"n is between 0 and 2**31, not {n}")
    if seed < 0:
        raise ValueError(f"seed is 0 or more, not {seed}")
    first = seed * 2**32 + SPLITS.index(split)
    return range(first, first + 2 * n, 2)


def corpus(n: int, split: str = "train", seed: int = 0) -> list[Story]:
    """n stories of a split, "train" or "validation" (see corpus_seeds)."""
    return [story(one) for one in corpus_seeds(n, split, seed)]


def write_corpus(stories: list[Story], path: Path) -> int:
    """Write stories to a file, one per line; returns the characters.

    A line with the end-of-text sign follows each story. UTF-8, "\n" as
    line end on every platform.
    """
    text = "".join(f"{one.text}\n{END_OF_TEXT}\n" for one in stories)
    path.write_bytes(text.encode("utf-8"))
    return len(text)


def split_stories(text: str) -> list[str]:
    """The stories of a corpus file's text, without the lines between."""
    parts = [part.strip("\r\n") for part in text.split(END_OF_TEXT)]
    return [part for part in parts if part]


def statistics(world: World = WORLD) -> dict[str, int]:
    """How many plots, patterns and content words the world has.

    Content words are the different words, capitals ignored, less the
    function words listed in FUNCTION_WORDS.
    """
    plots = {
        value[""]
        for node in world.nodes
        for _, notes, _, _ in node[1]
        for name, value in notes
        if name == "plot"
    }
    words = {word.lower() for word in world.words}
    return {
        "plots": len(plots),
        "patterns": len(world.patterns),
        "content_words": len(words - set(FUNCTION_WORDS.split())),
        "words": len(words),
    }


FUNCTION_WORDS = """
a about again ahead all always an and another any as at away back be because
been behind below better both but by can come could did do down either even
ever every everybody everyone except few for from had has have he her here
him his how i if in instead into is it its itself just least let like look
made make me more most mostly my near nearly neither never next no nobody
none not nothing now of off on once one only or other out over past plenty
rather round said same say she so some somehow something soon such than that
the their them then there they this though three to too two under until up
us very was way went were what when where which while who whole whose why
will with without would yes you your t s
"""

# --------------------------------------------------------- command line ---


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="storyworld.py",
        description="Stories of one small town, with known likelihood.",
    )
    parser.error = _refuse
    add = parser.add_argument
    add("--stories", type=int, metavar="N", help="write N training stories")
    add("--validation", type=int, metavar="N",
        help="validation stories (default: a tenth of --stories, at least 1)")
    add("--out", type=Path, metavar="DIR", help="folder for train.txt and "
        "validation.txt (with --stories)")
    add("--seed", type=int, default=0, help="number of the corpus")
    add("--show", type=int, metavar="N", help="print N stories")
    add("--check", type=Path, metavar="FILE", help="judge a text file; "
        "stories stand between lines " + END_OF_TEXT)
    return parser.parse_args(argv)


def _refuse(message: str) -> None:
    """One line and exit code 2, as for every wrong argument."""
    print(f"storyworld.py: {message}", file=sys.stderr)
    raise SystemExit(2)


def _write(arguments: argparse.Namespace) -> None:
    """Write both splits and print what they hold."""
    n = arguments.stories
    sizes = (n, max(1, n // 10))
    if arguments.validation is not None:
        sizes = (n, arguments.validation)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split, size in zip(SPLITS, sizes, strict=True):
        stories = corpus(size, split, arguments.seed)
        path = arguments.out / f"{split}.txt"
        characters = write_corpus(stories, path)
        nats = sum(one.nll for one in stories) / len(stories)
        print(f"{path}: {size:,} stories, {characters:,} characters, "
              f"{nats:.2f} nats per story")


def _check(path: Path) -> int:
    """Judge every story of a file; returns 0 if all are of the world."""
    texts = split_stories(path.read_bytes().decode("utf-8", "replace"))
    valid = 0
    for number, text in enumerate(texts, 1):
        verdict = parse(text)
        valid += verdict.ok
        if not verdict.ok:
            print(f"story {number}, character {verdict.position}: "
                  f"{verdict.kind}: {verdict.reason}")
    print(f"{valid} of {len(texts)} stories are stories of this world")
    return 0 if texts and valid == len(texts) else 1


def _run(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask; ValueError and OSError say what is wrong."""
    jobs = (arguments.stories, arguments.show, arguments.check)
    if all(job is None for job in jobs):
        raise ValueError("give --stories N --out DIR, --show N or --check "
                         "FILE (--help says more)")
    if (arguments.stories is None) != (arguments.out is None):
        raise ValueError("--stories and --out belong together")
    for job in (arguments.stories, arguments.show, arguments.validation):
        if job is not None and job < 1:
            raise ValueError(f"a number of stories is 1 or more, not {job}")
    if arguments.stories is not None:
        _write(arguments)
    if arguments.show is not None:
        for one in corpus(arguments.show, "train", arguments.seed):
            print(one.text, end="\n\n")
    return 0 if arguments.check is None else _check(arguments.check)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code (2: wrong arguments)."""
    arguments = _arguments(argv)
    try:
        return _run(arguments)
    except (ValueError, OSError) as error:
        message = str(error).splitlines()[0]
        print(f"storyworld.py: {message}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
