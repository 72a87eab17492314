"""Short notes about the people of the town, glad or sorry by what is meant.

    notes(n, split, seed)   generated notes: train, validation or test;
    hand_written()          notes written by hand, in other sentences.

A note is about its hero, the first person whom it names. Its label is 1
(positive) if the hero is glad when all that it tells has happened, and 0
(negative) if the hero is sad or sorry. The grammar is data (`note_shapes`).
"""

from __future__ import annotations

import functools
import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scratch_llm.note_shapes import (
    EVENTS,
    IF,
    MEANINGS,
    OUTCOMES,
    PARTS,
    SHARES,
)
from scratch_llm.town import PRONOUNS, WORDS

NAMES = ("negative", "positive")
FREE = "free"
CONDITIONS = 0.12  # the share of free notes in which something depends
SPLITS = ("train", "validation", "test")
LISTS = {name: words.split() for name, words in WORDS.items()}
WORDS_OF = {name: sorted({*words}) for name, words in LISTS.items()}
WORDS_OF["weather"] = sorted({*LISTS["dry"], *LISTS["wet"]})
FEELINGS = (LISTS["sorry"] + LISTS["sad"], LISTS["glad"])  # by label
PEOPLE = {*LISTS["girl"], *LISTS["boy"]}
MOODS = {*FEELINGS[0], *FEELINGS[1]}
KEPT = "thing place day colour animal plant tool treat gadget game".split()
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
START = re.compile(r'(^|[.?!:] "?|^")([a-z])')


@dataclass(frozen=True)
class Note:
    """A text, its label, and which way its meaning is carried."""

    text: str
    label: int
    kind: str


def unfold(text: str, rng: random.Random) -> str:
    """Replace each <part> and each [choice|of|some] by one alternative."""
    while True:
        new = re.sub(r"<(\w+)>", lambda m: rng.choice(PARTS[m[1]]), text)
        new = CHOICE.sub(lambda m: rng.choice(m[1].split("|")), new)
        if new == text:
            return text
        text = new


def cast(label: int, rng: random.Random) -> dict[str, str]:
    """Who and what a note is about: the words of its first slots."""
    her, him = rng.sample(["girl", "boy"], 2)
    words = {"H": rng.choice(LISTS[her]), "F": rng.choice(LISTS[him])}
    for form in ("he", "his", "him"):
        words[f"h_{form}"] = PRONOUNS[her][form]
        words[f"f_{form}"] = PRONOUNS[him][form]
    words["R"], words["S"] = rng.sample(LISTS["role"] + LISTS["snoop"], 2)
    words["p"] = rng.choice(FEELINGS[label])
    words["q"] = rng.choice(FEELINGS[1 - label])
    return words


def fill(
    parts: Sequence[str],
    words: dict[str, str],
    rng: random.Random,
    kept: Sequence[str] = ("thing", "place"),
) -> str:
    """Parts with words in their slots; a kept one is the same each time."""

    def word_for(match: re.Match) -> str:
        name = match[1]
        if name in words:
            return words[name]
        word = rng.choice(WORDS_OF[name])
        if name in kept:
            words[name] = word
        return word

    text = " ".join(SLOT.sub(word_for, unfold(part, rng)) for part in parts)
    text = " ".join(text.split())
    return START.sub(lambda m: m[1] + m[2].upper(), text)


def write(label: int, kind: str, rng: random.Random) -> Note | None:
    """One try at a note; None if it would be unclear who is meant."""
    if kind == FREE:
        return write_free(label, rng)[0]
    words = cast(label, rng)
    shape, same = rng.choice(MEANINGS[kind]), SHARES[kind][1]
    if rng.random() < same:  # the other one feels the same
        words["q"] = other_word(words["p"], rng)
    opened, around = rng.random() < 0.4, kind != "condition"
    parts = [
        "<open>" if opened or not around else "",
        "<mid>" if around and rng.random() < 0.1 else "",
        shape,
        "<tail>" if around and (not opened or rng.random() < 0.2) else "",
    ]
    text = fill(parts, words, rng)
    return Note(text, label, kind) if clear(text, words) else None


def other_word(feeling: str, rng: random.Random) -> str:
    """Another word of the same side."""
    side = FEELINGS[feeling in FEELINGS[1]]
    return rng.choice([word for word in side if word != feeling])


@functools.cache
def free_shapes(half: str = "notes") -> tuple[tuple[str, str], ...]:
    """Shapes that were written one by one, and the friend's feeling in them.

    Each shape belongs to one half: "notes" are written from the one, and
    the "library", which a base model reads, from the other. The friend
    feels "p" as the hero does, or "q", or "" if the text does not say.
    """
    path = Path(__file__).with_name("free_shapes.tsv")
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines())
    side = ("library", "notes").index(half)
    return tuple(
        (shape, friend)
        for shape, friend in rows
        if zlib.crc32(shape.encode()) % 2 == side
    )


def condition(rng: random.Random) -> str:
    """A free shape: what will be felt if something happens; did it?

    If not, the hero feels the opposite of what was said.
    """
    one = rng.choice(EVENTS)
    tense, sentence = rng.choice(IF).split("|")
    so, _, outcome = rng.choice(OUTCOMES).rpartition("|")
    subject, stem, now, past = one.split("|")
    said = tense == "unless" or rng.random() < 0.6
    came = rng.random() < 0.5
    if so:  # the outcome says whether it was as said
        came = said if so == "yes" else not said

    def clause(verb: str, yes: bool) -> str:
        if yes:
            return f"{subject} {verb}"
        if stem.startswith("be "):
            be, _, rest = verb.partition(" ")
            return f"{subject} {be} not {rest}"
        does = "did" if verb == past else "do" if now == stem else "does"
        return f"{subject} {does} not {stem}"

    met = (came == said) != (tense == "unless")
    told = clause(past if tense == "past" else now, said)
    words = {"c": told, "w": "{p}" if met else "{q}"}
    words |= {"v": "{q}" if met else "{p}", "o": clause(past, came)}
    shape = f"{sentence} {outcome}"
    return re.sub("<([cwvo])>", lambda m: words[m[1]], shape)


def write_free(
    label: int,
    rng: random.Random,
    shapes: Sequence[tuple[str, str]] | None = None,
) -> tuple[Note | None, dict[str, int]]:
    """A note in a free shape, and who is glad (1) or sorry (0) in it."""
    shape, friend = rng.choice(shapes or free_shapes())
    if shapes is None and rng.random() < CONDITIONS:
        shape, friend = condition(rng), ""
    words = cast(label, rng)
    words["p2"] = other_word(words["p"], rng)
    words["q2"] = other_word(words["q"], rng)
    text = fill([shape], words, rng, KEPT)
    if not clear(text, words):
        return None, {}
    moods = {words["H"]: label}
    if friend:
        moods[words["F"]] = label if friend == "p" else 1 - label
    return Note(text, label, FREE), moods


def clear(text: str, words: dict[str, str]) -> bool:
    """The hero is named first, and a pronoun only after its name."""
    hero, friend = text.find(words["H"]), text.find(words["F"])
    if hero < 0 or 0 <= friend < hero:
        return False
    for who, name in (("h", hero), ("f", friend)):
        forms = "|".join(words[f"{who}_{f}"] for f in ("he", "his", "him"))
        pronoun = re.search(rf"\b({forms})\b", text, re.I)
        if pronoun and not 0 <= name < pronoun.start():
            return False
    return True


def notes(
    n: int,
    split: str = "train",
    seed: int = 0,
    kinds: Sequence[str] | None = None,
) -> list[Note]:
    """n generated notes, half of them positive; no two are the same.

    The splits share no text, and no pair of a hero and the first feeling
    that is named. kinds: which to write; all of them, if None, but FREE
    ones, whose shapes nobody sorted, only to train on. ValueError for
    another split, or n below 0.
    """
    if split not in SPLITS or n < 0:
        raise ValueError(f"notes({n}, {split!r}): n from 0 on, {SPLITS}")
    rng = random.Random(f"{split} {seed}")
    if kinds is None:
        kinds = [k for k in SHARES if k != FREE or split == "train"]
    weights = [SHARES[kind][0] for kind in kinds]
    found: dict[str, Note] = {}
    while len(found) < n:
        kind = rng.choices(kinds, weights)[0]
        note = write(len(found) % 2, kind, rng)
        if note and note.text not in found and home(note.text) == split:
            found[note.text] = note
    made = list(found.values())
    rng.shuffle(made)
    return made


def home(text: str) -> str:
    """The split of a text: by its hero and the first feeling it names."""
    found = re.findall(r"[A-Za-z]+", text)
    hero = next(word for word in found if word in PEOPLE)
    feeling = next(word for word in found if word.lower() in MOODS)
    number = zlib.crc32(f"{hero} {feeling.lower()}".encode()) % 10
    return {8: "validation", 9: "test"}.get(number, "train")


@functools.cache
def hand_written(which: str = "notes") -> tuple[Note, ...]:
    """Notes written by hand, in the town's words and in their own shapes.

    which: "notes" are short and plain, "rich" ones are longer and have wit.
    """
    path = Path(__file__).with_name(f"hand_written_{which}.tsv")
    if not path.is_file():
        raise ValueError(f"no hand-written {which!r}: notes or rich")
    rows = (line.split("\t") for line in path.read_text("utf-8").splitlines())
    return tuple(Note(text, int(label), kind) for label, kind, text in rows)
