"""What the librarian reads: stories, a book of moods, and a question book.

A web corpus holds more than stories: people write how somebody feels, and
others ask and answer. So does the town's library. A document is a list of
parts, each a text and how much the loss of its tokens weighs: an answer
weighs more than the words around it, most of which nobody could foretell.

    documents(kind, seed)   endless documents of one kind.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterator

from scratch_llm.instructions import names, pages
from scratch_llm.notes import free_shapes, write_free
from scratch_llm.storyworld import story

Document = list[tuple[str, float]]
WORDS = ("sorry", "glad")
ASKED = ("Is {0} glad or sorry? {1}.", "How is {0}? {1}.", "{0}: {1}.")
WEIGHT = 8.0  # of a whole answer's loss, spread over its tokens
SHARES = {"story": 0.25, "mood": 0.35, "page": 0.4}  # of the batches
FIRST_STORY = 9 * 2**32  # of a corpus that nothing else reads
ANSWER = re.compile("( ?)<<(.*?)>>", re.DOTALL)


def is_easy(shape: str) -> bool:
    """Whether a shape has only feelings of the hero's own side."""
    return "{p" in shape and "{q" not in shape


@functools.cache
def easy_shapes() -> tuple[tuple[str, str], ...]:
    """The library's shapes in which nobody feels otherwise than the hero."""
    return tuple(one for one in free_shapes("library") if is_easy(one[0]))


def mood(rng: random.Random, easy: bool = False) -> Document:
    """A note, and how somebody in it feels: a mark, or question and answer.

    Or two notes about different people, and a question about each.
    """
    text, moods = some_note(rng, easy)
    if rng.random() < 0.6:
        hero = next(iter(moods))
        return [(text, 1.0), (f" {WORDS[moods[hero]]}", WEIGHT)]
    if rng.random() < 0.4:
        more, others = some_note(rng, easy)
        if not {*names(text)} & {*names(more)}:
            text, moods = f"{text} {more}", moods | others
    parts = [(text, 1.0)]
    asked = [*moods.items()]
    rng.shuffle(asked)
    for name, label in asked:
        before, after = rng.choice(ASKED).format(name, "|").split("|")
        parts += [(f" {before.rstrip()}", 1.0), (f" {WORDS[label]}", WEIGHT)]
        parts.append((after, 1.0))
    return parts


def some_note(
    rng: random.Random, easy: bool = False
) -> tuple[str, dict[str, int]]:
    """A note in a shape of the library's, and who feels how in it."""
    shapes = easy_shapes() if easy else free_shapes("library")
    note = None
    while note is None:
        note, moods = write_free(rng.randrange(2), rng, shapes)
    return note.text, moods


def in_parts(page: str) -> Document:
    """A page with <<answers>>, in parts; a space goes with its answer."""
    parts, at = [], 0
    for found in ANSWER.finditer(page):
        parts.append((page[at : found.start()], 1.0))
        parts.append((found[1] + found[2], WEIGHT))
        at = found.end()
    return [part for part in [*parts, (page[at:], 1.0)] if part[0]]


def documents(
    kind: str, seed: int = 0, easy: bool = False
) -> Iterator[Document]:
    """Endless documents of a kind: story, mood or page.

    easy: moods in easy shapes only.
    """
    first = 2 * seed + easy
    if kind == "story":
        for number in itertools.count(FIRST_STORY + 2**24 * first, 2):
            yield [(story(number).text, 1.0)]
    elif kind == "mood":
        rng = random.Random(f"library {first}")
        while True:
            yield mood(rng, easy)
    elif kind == "page":
        yield from map(in_parts, pages(2**31, first, "<<{}>>"))
    else:
        raise ValueError(f"kind={kind!r}: {', '.join(SHARES)}")
