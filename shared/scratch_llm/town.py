"""The town of the story world: words, sentences and plots, as data.

`storyworld` compiles this grammar, tells its stories and judges texts by it.
The file reads from top to bottom: words; patterns; plots.
"""

from dataclasses import dataclass

# This is a table, not code: the formatter leaves it as it is.
# fmt: off


@dataclass(frozen=True)
class Grammar:
    """All data of a world; a small one serves as well as the town's."""

    words: dict[str, str]
    pronouns: dict[str, dict[str, str]]
    variables: dict[str, tuple]
    opening: list
    plots: tuple


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
# name, or is given here or in the slot itself ({weather:dry}). Of the friend
# it is also said whose pronoun is another, so that "he" and "she" are never
# in doubt. {~manner} is a free pick that nobody has to remember.

VARIABLES = {
    "hero": ("person",),
    "friend": ("person", "hero"),
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

TOWN = Grammar(WORDS, PRONOUNS, VARIABLES, OPENING, PLOTS)
