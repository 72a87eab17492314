"""The town's question book: instructions whose right answer is known.

    entries(n, split, seed)   entries of instruction, input and output;
    pages(n, seed)            pages of the question book, to pretrain on;
    exact_match, token_f1     the verdict on an answer.

An entry is about a text of the story world (a story, a few sentences of
one, or some facts about people), or it is a small exercise in words. A third
of the families, and some phrasings of each, never stand in the pages: what a
model does with them it has learned to do, not learned by heart.

    python -m scratch_llm.instructions --out instruction-data.json
"""

from __future__ import annotations

import json
import random
import re
import string
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from scratch_llm import instruction_phrases as tables
from scratch_llm.cli import ShortParser, between
from scratch_llm.storyworld import WORLD, Story, story
from scratch_llm.town import PRONOUNS, WORDS

SPLITS = ("base", "train", "validation", "test")
UNSAID = "The text does not say."
LISTS = {name: sorted({*words.split()}) for name, words in WORDS.items()}
DAYS, NUMBERS = WORDS["day"].split(), tables.NUMBERS.split()
PEOPLE = LISTS["girl"] + LISTS["boy"]
MOODS = LISTS["glad"] + LISTS["sad"] + LISTS["sorry"]
LISTS["mood"] = MOODS
LISTS["weather"] = LISTS["dry"] + LISTS["wet"]
LISTS["number"] = NUMBERS
FILLERS = {word for words in LISTS.values() for word in words}


@dataclass(frozen=True)
class Entry:
    """An instruction, what it is about, and the one right answer.

    phrasing: the number of the phrasing in its family. held_out: whether
    that phrasing is one of those that no training part contains.
    """

    instruction: str
    input: str
    output: str
    family: str
    phrasing: int = 0
    held_out: bool = False


@dataclass(frozen=True)
class Text:
    """A text to ask about; facts of a story, or (person, phrase) told."""

    text: str
    sentences: tuple[str, ...]
    facts: dict[str, str]
    told: tuple[tuple[str, str], ...] = ()
    begins: bool = False
    ends: bool = False


PHRASES = {  # each with its mark: "*" held out, "+" not for the base
    family: [
        (line[2:], line[0]) if line[:2] in ("* ", "+ ") else (line, "")
        for line in text.strip().splitlines()
    ]
    for family, text in tables.PHRASINGS.items()
}
VERBS = [
    (*line.split("|")[0].split(), line.split("|")[1])
    for line in tables.VERBS.strip().splitlines()
]
AUXILIARIES = [
    line.split("|") for line in tables.AUXILIARIES.strip().splitlines()
]
ORDERS = tables.ORDERS.strip().splitlines()
PAIRS = [
    (pair.split(), kinds.split())
    for pair, kinds in (
        line.split("|") for line in tables.OPPOSITES.strip().splitlines()
    )
]
REASONS = {
    "glad": tables.GLAD_REASONS.strip().splitlines(),
    "sad": tables.SAD_REASONS.strip().splitlines(),
}

# --------------------------------------------------------------- reading ---
# How a program reads a text of the town.

SENTENCE = re.compile(r'(?:(?<=[.?!])|(?<=[.?!]")) (?=["A-Z])')
WORD = re.compile(r"[A-Za-z]+")
NAME = re.compile(rf"\b({'|'.join(PEOPLE)})\b")
WEEKDAY = re.compile(rf"\b({'|'.join(DAYS)})\b")
COLOURED = re.compile(rf"\b({'|'.join(LISTS['colour'])}) (?!one\b)(\w+)")
QUOTE = re.compile(r'"[^"]+"')
SPEECH = re.compile(
    r'"([^"]+?)([,.?!])" (?:(?:said|asked|cried) (the \w+|[A-Z]\w+)'
    r"|([A-Z]\w+) told)"
)
SLOT = re.compile(r"\{(\w+)\}")


def sentences(text: str) -> list[str]:
    """The sentences of a text; one in quotation marks may be a part."""
    return SENTENCE.split(text)


def names(text: str) -> list[str]:
    """The first names in a text, in the order in which they come."""
    return list(dict.fromkeys(NAME.findall(text)))


def _colours(text: str) -> dict[str, str]:
    """The things whose colour a text tells, each with its colour."""
    found: dict[str, set] = {}
    for colour, thing in COLOURED.findall(text):
        found.setdefault(thing, set()).add(colour)
    return {thing: min(c) for thing, c in found.items() if len(c) == 1}


def _listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence: "Nora, Tom and Leo"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _answer(text: str) -> str:
    return _capital(text) + "."


def _he(name: str, form: str = "he") -> str:
    kind = "girl" if name in LISTS["girl"] else "boy"
    return PRONOUNS[kind][form]


# ----------------------------------------------------------------- texts ---


def _fill(pattern: str, rng: random.Random, **known: str) -> str:
    """Fill each slot with a word of its list, or a known one."""
    return SLOT.sub(
        lambda m: known.get(m[1]) or rng.choice(LISTS[m[1]]), pattern
    )


def _person(rng: random.Random, *others: str) -> str:
    while (name := rng.choice(PEOPLE)) in others:
        pass
    return name


def _story(rng: random.Random, split: str) -> Story:
    """A story that stands in no other split, and in no corpus."""
    return story(2**50 + 4 * rng.randrange(2**40) + SPLITS.index(split))


def write_text(rng: random.Random, split: str) -> Text:
    """A story of a split, one to four sentences of it, or some facts."""
    kind = rng.random()
    if kind < 0.25:
        return _facts_text(rng)
    told = _story(rng, split)
    lines = sentences(told.text)
    start, end = 0, len(lines)
    if kind < 0.7:
        size = rng.choice((1, 2, 2, 3, 3, 4))
        last = end - size
        start = rng.choice((0, 0, last, rng.randrange(last + 1)))
        end = start + size
    some = lines[start:end]
    begins, ends = start == 0, end == len(lines)
    return Text(" ".join(some), (*some,), told.facts, (), begins, ends)


def _facts_text(rng: random.Random) -> Text:
    """Two to four sentences, each about another person."""
    shapes = (
        "has a {colour} {thing}",
        "is at the {place}",
        "likes {treat}",
        "is {mood}",
    )
    shape = rng.choice(shapes)
    told: dict[str, str] = {}
    taken: set[str] = set()
    size = rng.choice((2, 2, 3, 3, 4))
    while len(told) < size:
        if rng.random() < 0.4:
            shape = rng.choice(shapes)
        pattern = shape
        if rng.random() < 0.25:
            _, _, past, rest = rng.choice(VERBS)
            pattern = f"{past} {rest}"
        phrase = _fill(pattern, rng)
        fresh = FILLERS.intersection(WORD.findall(phrase))
        if not taken & fresh:  # no word twice: each answer is one person
            told[_person(rng, *told)] = phrase
            taken |= fresh
    some = tuple(f"{name} {phrase}." for name, phrase in told.items())
    return Text(" ".join(some), some, {}, (*told.items(),))


# ------------------------------------------------- questions about a text ---
# Each gives (slots of the phrasing, answer), or None where it cannot be
# asked of the text.

Asked = tuple[dict[str, str], str] | None


def _hero(text: Text, rng: random.Random) -> Asked:
    return ({}, text.facts["hero"] + ".") if text.begins else None


def _friend(text: Text, rng: random.Random) -> Asked:
    people = names(text.text)
    if not text.begins or len(people) != 2:
        return None
    return {"hero": people[0]}, people[1] + "."


def _place(text: Text, rng: random.Random) -> Asked:
    if not text.begins:
        return None
    word = "near" if "near the" in text.sentences[0].lower() else "at"
    place = f"{word} the {text.facts['place']}"
    return {"hero": text.facts["hero"]}, _answer(place)


def _day(text: Text, rng: random.Random) -> Asked:
    if not text.begins or len(text.sentences) < 2:
        return None
    return {}, text.facts["day"] + "."


def _weather(text: Text, rng: random.Random) -> Asked:
    if not text.begins or len(text.sentences) < 2:
        return None
    return {}, _answer(text.facts["weather"])


def _colour(text: Text, rng: random.Random) -> Asked:
    found = _colours(text.text)
    if not found:
        return None
    thing = rng.choice([*found])
    return {"thing": thing}, _answer(found[thing])


def _thing(text: Text, rng: random.Random) -> Asked:
    found = _colours(text.text)
    if not found or len(set(found.values())) < len(found):
        return None
    thing = rng.choice([*found])
    return {"colour": found[thing]}, f"The {thing}."


def _feeling(text: Text, rng: random.Random) -> Asked:
    if not text.ends:
        return None
    return {"hero": text.facts["hero"]}, _answer(text.facts["feeling"])


def _first(text: Text, rng: random.Random) -> Asked:
    return ({}, text.sentences[0]) if len(text.sentences) > 1 else None


def _last(text: Text, rng: random.Random) -> Asked:
    return ({}, text.sentences[-1]) if len(text.sentences) > 1 else None


def _after(text: Text, rng: random.Random, step: int = 1) -> Asked:
    pairs = list(zip(text.sentences, text.sentences[1:], strict=False))
    cues = [pair[::step] for pair in pairs]
    cues = [
        (cue, answer)
        for cue, answer in cues
        if '"' not in cue and text.text.count(cue) == 1
    ]
    if len(text.sentences) < 3 or not cues:
        return None
    cue, answer = rng.choice(cues)
    return {"cue": cue}, answer


def _before(text: Text, rng: random.Random) -> Asked:
    return _after(text, rng, -1)


def _quote(text: Text, rng: random.Random) -> Asked:
    """Only where every word said has a named speaker."""
    spoken = SPEECH.findall(text.text)
    if not spoken or len(spoken) < len(QUOTE.findall(text.text)):
        return None
    speakers = Counter(who or teller for _, _, who, teller in spoken)
    once = [
        (who or teller, words + (mark if mark in "?!" else "."))
        for words, mark, who, teller in spoken
        if speakers[who or teller] == 1
    ]
    if not once:
        return None
    speaker, words = rng.choice(once)
    return {"speaker": speaker, "Speaker": _capital(speaker)}, words


def _names(text: Text, rng: random.Random) -> Asked:
    found = names(text.text)
    return ({}, _listed(found) + ".") if found else None


def _count(text: Text, rng: random.Random) -> Asked:
    size = len(text.sentences)
    if size > 5 or '"' in text.text:
        return None
    return {}, _answer(NUMBERS[size - 1])


KINDS = {  # what a text may speak of, and how one asks for it
    "girl": "{}",
    "boy": "{}",
    "day": "{}",
    "place": "the {}",
    "thing": "a {}",
    "animal": "a {}",
    "role": "the {}",
}


def _mention(text: Text, rng: random.Random) -> Asked:
    here = {*WORD.findall(text.text)}
    kinds = [kind for kind in KINDS if here.intersection(LISTS[kind])]
    if not kinds:
        return None
    kind = rng.choice(kinds)
    yes = rng.random() < 0.5
    words = [w for w in LISTS[kind] if (w in here) == yes]
    word = rng.choice(words)
    return {"what": KINDS[kind].format(word)}, "Yes." if yes else "No."


def _unsaid(text: Text, rng: random.Random) -> Asked:
    """A question that the text may leave open: in half of the entries."""
    here, told = {*WORD.findall(text.text)}, dict(text.told)
    answer = None
    if told and rng.random() < 0.7:
        who = rng.choice([*told, _person(rng, *told)])
        phrase = told.get(who, "")
        if phrase and not phrase.startswith(("has ", "is ", "likes ")):
            return None
        verb, question = rng.choice(
            (
                ("has a ", "What does {} have?"),
                ("is at ", "Where is {}?"),
                ("likes ", "What does {} like?"),
                ("is ", "How does {} feel?"),
            )
        )
        question = question.format(who)
        if phrase.startswith(verb) and (verb != "is " or "at" not in here):
            answer = _answer(phrase[len(verb.rstrip("a ")) :].strip())
        if verb == "is ":
            mood = phrase.removeprefix("is ")
            answer = _answer(mood) if mood in MOODS else None
    else:
        kind = rng.choice(("colour", "place", "weather", "feeling"))
        if kind == "colour":
            known = _colours(text.text)
            thing = rng.choice([*known] or LISTS["thing"])
            if rng.random() < 0.5:
                thing = rng.choice(LISTS["thing"])
            question = f"What colour is the {thing}?"
            if thing in known:
                answer = _answer(known[thing])
            elif thing in here:
                return None
        else:
            lists = {
                "place": LISTS["place"] + LISTS["goal"],
                "weather": "rain sun wind Thunder".split() + LISTS["weather"],
                "feeling": MOODS,
            }
            who = text.facts.get("hero") or rng.choice(PEOPLE)
            question = {
                "place": f"Where is {who} at the beginning?",
                "weather": "What is the weather like?",
                "feeling": f"How does {who} feel in the end?",
            }[kind]
            ask = {"place": _place, "weather": _weather, "feeling": _feeling}
            asked = ask[kind](text, rng)
            if asked:
                answer = asked[1]
            elif here.intersection(lists[kind]):
                return None
    if (answer is None) != (rng.random() < 0.5):
        return None
    lower = question[0].lower() + question[1:]
    return {"question": question, "lower": lower}, answer or UNSAID


def _who(text: Text, rng: random.Random) -> Asked:
    if not text.told:
        return None
    name, phrase = rng.choice(text.told)
    has = re.fullmatch(r"has a (\w+) (\w+)", phrase)
    if has and rng.random() < 0.7:
        phrase = f"has the {has[2]}"
    return {"fact": phrase}, name + "."


ASK: dict[str, Callable[[Text, random.Random], Asked]] = {
    "hero": _hero,
    "friend": _friend,
    "place": _place,
    "day": _day,
    "weather": _weather,
    "colour": _colour,
    "thing": _thing,
    "feeling": _feeling,
    "first": _first,
    "last": _last,
    "after": _after,
    "before": _before,
    "quote": _quote,
    "names": _names,
    "count": _count,
    "mention": _mention,
    "unsaid": _unsaid,
    "who": _who,
}

# ------------------------------------------------------------- exercises ---
# Each gives (slots of the phrasing, input, answer).

Made = tuple[dict[str, str], str, str] | None


def _ending(rng: random.Random, split: str) -> Made:
    """The right end beside one with another name, sky or feeling."""
    told = _story(rng, split)
    *body, right = sentences(told.text)
    hero, feeling = told.facts["hero"], told.facts["feeling"]
    kind = rng.choice(("name", "sky", "feeling"))
    if kind == "name":
        sex = "girl" if _he(hero) == "she" else "boy"
        wrong = right.replace(hero, rng.choice(LISTS[sex]))
    elif kind == "sky":
        sun = "with the sun on {} back".format(_he(hero, "his"))
        rain = "with rain in {} shoes".format(_he(hero, "his"))
        wrong = right
        for a, b in (("in the sun", "in the rain"), (sun, rain)):
            if a in right or b in right:
                wrong = right.replace(*((a, b) if a in right else (b, a)))
        if feeling not in LISTS["glad"]:
            return None
    else:
        glad = feeling in LISTS["glad"]
        other = rng.choice(LISTS["sorry" if glad else "glad"])
        wrong = right.replace(f" {feeling}", f" {other}")
        swap = ("everyone", "nobody") if glad else ("nobody", "everyone")
        wrong = wrong.replace(*swap)
        if "with the sun" in right or "even the sun" in right:
            return None
    if wrong == right:
        return None
    if kind != "feeling" and rng.random() < 0.7:
        body = body[: rng.choice((2, 3))]
    ends = [right, wrong]
    rng.shuffle(ends)
    text = f"{' '.join(body)}\n1. {ends[0]}\n2. {ends[1]}"
    return {}, text, right


def _why(rng: random.Random, split: str) -> Made:
    first = _person(rng)
    people = [first, _person(rng, first)][: rng.choice((1, 2, 2))]
    lines, asked = [], []
    for name in people:
        if rng.random() < 0.3:
            he = _he(name)
            other = "boy" if he == "she" else "girl"
            friend = rng.choice([w for w in LISTS[other] if w not in people])
            mood = rng.choice(LISTS["sad"])
            event = f"{friend} came to help {name}"
            lines.append(f"{name} was {mood}, so {friend} came to help.")
            question = f"did {friend} come to help {name}"
            answer = f"Because {name} was {mood}."
        else:
            side = rng.choice(("glad", "sad"))
            mood = rng.choice(LISTS[side])
            reason = _fill(
                rng.choice(REASONS[side]),
                rng,
                he=_he(name),
                his=_he(name, "his"),
                him=_he(name, "him"),
            )
            lines.append(f"{name} was {mood} because {reason}.")
            event, question = f"{name} was {mood}", f"was {name} {mood}"
            answer = f"Because {reason}."
        asked.append((event, question, answer))
    event, question, answer = rng.choice(asked)
    return {"why": question, "event": event}, " ".join(lines), answer


def _subject(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(PEOPLE)
    return "The " + rng.choice(LISTS["role"])


def _sentence(rng: random.Random, form: str = "past") -> tuple[str, ...]:
    """(subject, verb, base form, past, rest) of a plain sentence."""
    base, third, past, rest = rng.choice(VERBS)
    who = _subject(rng)
    roles = [role for role in LISTS["role"] if role not in who]
    rest = _fill(rest, rng, role=rng.choice(roles))
    verb = past if form == "past" else third
    return who, verb, base, past, rest


def _tense(rng: random.Random, split: str) -> Made:
    if rng.random() < 0.2:
        who = _subject(rng)
        rest = _fill(rng.choice(("at the {place}", "{mood}")), rng)
        return {}, f"{who} is {rest}.", f"{who} was {rest}."
    who, verb, _, past, rest = _sentence(rng, "third")
    return {}, f"{who} {verb} {rest}.", f"{who} {past} {rest}."


def _polite(rng: random.Random, split: str) -> Made:
    order = _fill(rng.choice(ORDERS), rng)
    return {}, _answer(order), f"Could you please {order}?"


def _helped(rng: random.Random) -> tuple[str, str, str]:
    """(subject, auxiliary, rest)."""
    who = _subject(rng)
    verb, rest = rng.choice(AUXILIARIES)
    roles = [role for role in LISTS["role"] if role not in who]
    return who, verb, _fill(rest, rng, role=rng.choice(roles))


def _negate(rng: random.Random, split: str) -> Made:
    if rng.random() < 0.5:
        who, verb, rest = _helped(rng)
        no = "cannot" if verb == "can" else f"{verb} not"
        return {}, f"{who} {verb} {rest}.", f"{who} {no} {rest}."
    form = rng.choice(("past", "third"))
    who, verb, base, _, rest = _sentence(rng, form)
    do = "did" if form == "past" else "does"
    return {}, f"{who} {verb} {rest}.", f"{who} {do} not {base} {rest}."


def _question(rng: random.Random, split: str) -> Made:
    if rng.random() < 0.7:
        who, verb, rest = _helped(rng)
        text, first = f"{who} {verb} {rest}.", _capital(verb)
    else:
        who, verb, base, _, rest = _sentence(rng)
        text, first, rest = f"{who} {verb} {rest}.", "Did", f"{base} {rest}"
    who = who.replace("The ", "the ")
    return {}, text, f"{first} {who} {rest}?"


def _opposite(rng: random.Random, split: str) -> Made:
    pair, kinds = rng.choice(PAIRS)
    word, other = rng.sample(pair, 2)
    noun = rng.choice(LISTS[rng.choice(kinds)])
    shape = rng.choice(
        (
            f"The {noun} was {{word}}.",
            f"The {noun} is very {{word}}.",
            f"{{who}} said that the {noun} was {{word}}.",
            f"{{who}} thought that the {noun} was too {{word}}.",
            f"It was a very {{word}} {noun}.",
            f"{{who}} told the {{role}} about the {{word}} {noun}.",
        )
    )
    who, role = rng.choice(PEOPLE), rng.choice(LISTS["role"])
    if role == noun:
        return None
    text = shape.format(word=word, who=who, role=role)
    answer = shape.format(word=other, who=who, role=role)
    return {"word": word}, text, answer


def _spelling(rng: random.Random, split: str) -> Made:
    """One word of five or more letters: two swapped, one lost, or doubled."""
    who, verb, _, _, rest = _sentence(rng)
    right = f"{who} {verb} {rest}."
    long = [w for w in WORD.findall(right) if len(w) > 4 and w.islower()]
    if not long:
        return None
    word = rng.choice(long)
    at = rng.randrange(1, len(word) - 1)
    a, b = word[at], word[at + 1]
    wrong = rng.choice((b + a, a, a + a + b))
    wrong = word[:at] + wrong + word[at + 2 :]
    if wrong == word or wrong in WORLD.words:
        return None
    return {}, re.sub(rf"\b{word}\b", wrong, right), right


def _rename(rng: random.Random, split: str) -> Made:
    who, verb, _, _, rest = _sentence(rng)
    old = rng.choice(PEOPLE)
    lines = [f"{old} {verb} {rest}."]
    if rng.random() < 0.6:
        _, verb, _, _, rest = _sentence(rng)
        other = rng.choice((old, _person(rng, old)))
        lines.append(f"{other} {verb} {rest}.")
    rng.shuffle(lines)
    text = " ".join(lines)
    sex = "girl" if _he(old) == "she" else "boy"
    new = rng.choice([w for w in LISTS[sex] if w not in text])
    answer = re.sub(rf"\b{old}\b", new, text)
    return {"old": old, "new": new}, text, answer


def _join(rng: random.Random, split: str) -> Made:
    if rng.random() < 0.5:
        verb, kind = rng.choice(
            (
                ("has", "a {colour} {thing}"),
                ("bought", "a {thing}"),
                ("found", "a {colour} {thing}"),
                ("saw", "a {animal}"),
                ("likes", "{treat}"),
                ("needs", "a {tool}"),
            )
        )
        who = rng.choice(PEOPLE)
        one, two = _fill(kind, rng), _fill(kind, rng)
        if one == two:
            return None
        text = f"{who} {verb} {one}. {who} {verb} {two}."
        return {}, text, f"{who} {verb} {one} and {two}."
    _, verb, _, _, rest = _sentence(rng)
    one = rng.choice(PEOPLE)
    two = _person(rng, one)
    text = f"{one} {verb} {rest}. {two} {verb} {rest}."
    return {}, text, f"{one} and {two} {verb} {rest}."


def _order(rng: random.Random, split: str) -> Made:
    what, words = rng.choice((("days", DAYS), ("numbers", NUMBERS)))
    some = rng.sample(words, rng.choice((3, 3, 4, 5)))
    right = sorted(some, key=words.index)
    if some == right:
        return None
    return {"what": what}, ", ".join(some), _answer(", ".join(right))


DEEDS = (
    ("go", "went", "to the {place}"),
    ("come", "came", "to the {place}"),
    ("buy", "bought", "a {thing}"),
    ("find", "found", "a {thing}"),
    ("lose", "lost", "the {colour} {thing}"),
    ("mend", "mended", "the {gadget}"),
    ("play", "played", "{game}"),
    ("write", "wrote", "to the {role}"),
    ("see", "saw", "a {animal}"),
    ("borrow", "borrowed", "a {tool}"),
)
LATER = {
    "the next day": 1,
    "the day after": 1,
    "a day later": 1,
    "two days later": 2,
    "on the same day": 0,
    "the day before": -1,
}


def _when(rng: random.Random, split: str) -> Made:
    one = rng.choice(PEOPLE)
    two, day = _person(rng, one), rng.choice(DAYS)
    later = rng.choice([*LATER])
    (go, went, there), (come, came, here) = rng.sample(DEEDS, 2)
    there, here = _fill(there, rng), _fill(here, rng)
    text = f"{one} {went} {there} on {day}. {two} {came} {here} {later}."
    if rng.random() < 0.3:
        who, did, past = one, f"{go} {there}", f"{went} {there}"
    else:
        who, did, past = two, f"{come} {here}", f"{came} {here}"
        day = DAYS[(DAYS.index(day) + LATER[later]) % 7]
    return {"who": who, "did": did, "did_past": past}, text, day + "."


def _series(rng: random.Random, split: str) -> Made:
    kind = rng.choice(("cycle", "cycle", "days", "numbers"))
    if kind == "days":
        start, size = rng.randrange(7), rng.choice((3, 4, 5))
        step = rng.choice((1, 1, -1, 2))
        row = [DAYS[(start + step * i) % 7] for i in range(size + 1)]
    elif kind == "numbers":
        step, size = rng.choice((1, 1, 2, 2, 3, -1, -2)), rng.choice((3, 4))
        start = rng.randrange(20)
        if not 0 <= start + step * size < 20:
            return None
        row = [NUMBERS[start + step * i] for i in range(size + 1)]
    else:
        words = LISTS[rng.choice(("colour", "thing", "animal", "treat"))]
        shapes = "ababa ababab abcabca abcabcab aabaab aabaaba abbabba"
        some = dict(zip("abc", rng.sample(words, 3), strict=True))
        row = [some[s] for s in rng.choice(shapes.split())]
    *row, last = row
    return {}, ", ".join(row) + ", ...", _answer(last)


GROUPS = ("animal", "treat", "colour", "tool", "day", "role", "game", "bird")


def _odd(rng: random.Random, split: str) -> Made:
    many, few = rng.sample((*GROUPS, "girl", "number", "glad"), 2)
    if {many, few} == {"animal", "bird"}:
        return None
    odd = rng.choice(LISTS[few])
    row = [odd, *rng.sample(LISTS[many], 3)]
    rng.shuffle(row)
    return {}, ", ".join(row), _answer(odd)


MAKE: dict[str, Callable[[random.Random, str], Made]] = {
    "ending": _ending,
    "why": _why,
    "tense": _tense,
    "polite": _polite,
    "negate": _negate,
    "question": _question,
    "opposite": _opposite,
    "spelling": _spelling,
    "rename": _rename,
    "join": _join,
    "order": _order,
    "when": _when,
    "series": _series,
    "odd": _odd,
}

# --------------------------------------------------------------- entries ---

FAMILIES = tuple(PHRASES)
UNSEEN_FAMILIES = (
    "friend",
    "day",
    "last",
    "before",
    "quote",
    "who",
    "polite",
    "question",
    "join",
    "odd",
)
BASE_FAMILIES = tuple(one for one in FAMILIES if one not in UNSEEN_FAMILIES)


def home(text: str) -> str:
    """The split of an input: by its checksum, so no two splits share one."""
    number = zlib.crc32(text.encode()) % 10
    return {6: "train", 7: "train", 8: "validation", 9: "test"}.get(
        number, "base"
    )


def _phrase(
    family: str, slots: dict, rng: random.Random, held_out: bool, base: bool
) -> tuple[str, int]:
    phrases = PHRASES[family]
    marks = ("*",) if held_out else ("",) if base else ("", "+")
    numbers = [i for i, (_, mark) in enumerate(phrases) if mark in marks]
    number = rng.choice(numbers)
    return phrases[number][0].format_map(slots), number


def ask(
    family: str,
    text: Text,
    rng: random.Random,
    held_out: bool = False,
    base: bool = False,
) -> Entry | None:
    """A question of a family about a text, None if it has none.

    held_out: in a phrasing that no training part has. base: in one that the
    pages of the base may have.
    """
    asked = ASK[family](text, rng)
    if asked is None:
        return None
    slots, answer = asked
    question, number = _phrase(family, slots, rng, held_out, base)
    return Entry(question, text.text, answer, family, number, held_out)


def write(
    family: str, split: str, rng: random.Random, held_out: bool = False
) -> Entry | None:
    """One try at an entry; None if the text does not suit."""
    if family in ASK:
        text = write_text(rng, split)
        if home(text.text) != split:
            return None
        return ask(family, text, rng, held_out, split == "base")
    made = MAKE[family](rng, split)
    if made is None or home(made[1]) != split:
        return None
    slots, text, answer = made
    question, number = _phrase(family, slots, rng, held_out, split == "base")
    return Entry(question, text, answer, family, number, held_out)


def entries(
    n: int,
    split: str = "train",
    seed: int = 0,
    families: Sequence[str] = FAMILIES,
    held_out: bool = False,
) -> list[Entry]:
    """n different entries of a split, as many of each family.

    The splits share no input. "base" is for pretraining: only families of
    BASE_FAMILIES, and phrasings that are not held out. held_out: ask in
    the held-out phrasings, and only in them. ValueError for another split
    or family, n below 0, or held-out phrasings for the base.
    """
    strange = sorted({*families} - {*FAMILIES})
    if split not in SPLITS or n < 0 or strange or not families:
        raise ValueError(f"entries({n}, {split!r}, families={strange})")
    if split == "base":
        if held_out:
            raise ValueError("held-out phrasings are not for the base")
        families = [one for one in families if one in BASE_FAMILIES]
    rng = random.Random(f"{split} {seed}")
    found: dict[tuple[str, str], Entry] = {}
    for i in range(n):
        family = families[i % len(families)]
        for _ in range(10_000):
            entry = write(family, split, rng, held_out)
            if entry and (entry.instruction, entry.input) not in found:
                found[entry.instruction, entry.input] = entry
                break
        else:
            raise ValueError(f"no more entries of the family {family!r}")
    made = list(found.values())
    rng.shuffle(made)
    return made


# --------------------------------------------------------------- verdict ---


def normalise(text: str) -> str:
    """Small letters, without punctuation and articles, as in SQuAD.

    "The mill!" is "mill", and "At the mill." is "at mill": another answer.
    """
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(w for w in kept.split() if w not in ("a", "an", "the"))


def exact_match(answer: str, output: str) -> bool:
    """Whether an answer is the right one, once both are normalised."""
    return normalise(answer) == normalise(output)


def token_f1(answer: str, output: str) -> float:
    """F1 of the words of an answer against those of the right one.

    Source: Rajpurkar et al. 2016, SQuAD, section 6.1 (arXiv:1606.05250).
    """
    said, right = normalise(answer).split(), normalise(output).split()
    both = sum((Counter(said) & Counter(right)).values())
    if not said or not right:
        return float(said == right)
    return 2 * both / (len(said) + len(right))


# ----------------------------------------------------------------- pages ---

LAYOUTS = (  # of a question and its answer
    "Question: {q}\nAnswer: {a}",
    "{q}\n{a}",
    "Teacher: {q}\nPupil: {a}",
    "{q} {a}",
    "Q. {q}\nA. {a}",
    "- {q}\n- {a}",
    "{q} - {a}",
)
EXERCISES = (  # of an instruction, its input and its answer
    "{q}\n{i}\n{a}",
    "Exercise: {q}\n{i}\nAnswer: {a}",
    "Teacher: {q} {i}\nPupil: {a}",
    "{i}\n{q}\n{a}",
    "{q} {i}\n{a}",
    "Given: {i}\nQuestion: {q}\nAnswer: {a}",
    "{q}\n{i} -> {a}",
)
PIECE = re.compile(r"\w+|[^\w\s]|\n")
LONGEST = 206  # of a page, as _length counts: at most 240 tokens


def _length(text: str) -> int:
    """About as many tokens as the storyteller makes of a text."""
    return 2 + sum(
        1 if one in WORLD.words or len(one) < 3 else 1 + len(one) / 3
        for one in PIECE.findall(text)
    )


def page(some: Sequence[Entry], rng: random.Random, wrap: str = "{}") -> str:
    """A page of the question book with as many entries as it can hold.

    Entries that follow each other and have one input share its text.
    Layouts vary from page to page; none is the one of finetuning. wrap:
    what to put around each answer.
    """
    ask_, exercise = rng.choice(LAYOUTS), rng.choice(EXERCISES)
    gap = rng.choice(("\n", "\n\n"))
    done: list[str] = []
    length = 0
    for text, group in groupby(some, key=lambda entry: entry.input):
        same = list(group)
        layout, blocks = exercise, []
        if len(same) > 1:
            layout, blocks = ask_, [text]
        for one in same:
            answer = wrap.format(one.output)
            block = layout.format(q=one.instruction, i=text, a=answer)
            length += _length(block)
            if done and length + sum(map(_length, blocks)) > LONGEST:
                length -= _length(block)
                continue
            length += sum(map(_length, blocks))
            done += [*blocks, block]
            blocks = []
    return gap.join(done)


def pages(n: int, seed: int = 0, wrap: str = "{}") -> Iterator[str]:
    """n pages for the base: texts with questions, and pages of exercises."""
    rng = random.Random(f"pages {seed}")
    about = [one for one in BASE_FAMILIES if one in ASK]
    small = [one for one in BASE_FAMILIES if one in MAKE]
    for _ in range(n):
        some: list[Entry] = []
        if rng.random() < 0.6:
            while len(some) < 2:
                text = write_text(rng, "base")
                if home(text.text) == "base":
                    asked = rng.sample(about, len(about))
                    made = [ask(one, text, rng, base=True) for one in asked]
                    some = [one for one in made if one][: rng.randint(3, 6)]
        else:
            families = rng.sample(small, rng.choice((1, 2, 3, 5)))
            while len(some) < 6:
                entry = write(rng.choice(families), "base", rng)
                some += [entry] if entry else []
        yield page(some, rng, wrap)


# --------------------------------------------------------- command line ---

SIZES = {"train": 35, "validation": 5, "test": 10}  # entries of a family


def instruction_data(seed: int = 0) -> list[dict]:
    """The data of the course, in Alpaca's form: 1,600 entries.

    Each has instruction, input and output, and for our own scoring family,
    split and held_out (whether the phrasing never stands in the training
    part, which is so for half of the test).
    """
    data = []
    for split, size in SIZES.items():
        parts = {False: size} if split != "test" else {False: 5, True: 5}
        for held_out, each in parts.items():
            for one in entries(
                each * len(FAMILIES), split, seed, FAMILIES, held_out
            ):
                row = {"instruction": one.instruction, "input": one.input}
                row |= {"output": one.output, "family": one.family}
                data.append(row | {"split": split, "held_out": held_out})
    return data


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code (2: wrong arguments)."""
    parser = ShortParser(
        prog="instructions.py",
        description="Instructions whose right answer is known.",
    )
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--seed", type=between(0), default=0)
    parser.add_argument(
        "--pages", type=between(1), metavar="N", help="print N pages instead"
    )
    args = parser.parse_args(argv)
    if not args.out and not args.pages:
        parser.error("give --out FILE or --pages N")
    for one in pages(args.pages or 0, args.seed):
        print(one, end="\n\n-----\n\n")
    if args.out:
        data = instruction_data(args.seed)
        lines = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
        try:
            args.out.write_bytes(lines.encode())
        except OSError as error:
            parser.error(str(error))
        print(f"{args.out}: {len(data):,} entries")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
