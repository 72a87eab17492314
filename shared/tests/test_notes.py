"""Tests of the notes: balanced, apart, in the town's words, and not easy."""

import re
from collections import Counter

import pytest
from scratch_llm.notes import NAMES, SPLITS, hand_written, notes
from scratch_llm.storyworld import corpus
from scratch_llm.town import WORDS
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

TRAIN = notes(6000, "train", 1)
TEST = notes(1000, "test", 1)
HAND = [*hand_written(), *hand_written("rich")]
PEOPLE = set((WORDS["girl"] + " " + WORDS["boy"]).split())


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def shingles(text: str, n: int = 3) -> set:
    found = words(text)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def most_alike(texts: list[str], others: list[str]) -> float:
    """The highest Jaccard overlap of three-word sequences between two."""
    homes: dict[tuple, list[int]] = {}
    theirs = [shingles(text) for text in others]
    for i, found in enumerate(theirs):
        for shingle in found:
            homes.setdefault(shingle, []).append(i)
    best = 0.0
    for text in texts:
        mine = shingles(text)
        shared = Counter(i for s in mine for i in homes.get(s, ()))
        for i, both in shared.items():
            union = len(mine) + len(theirs[i]) - both
            best = max(best, both / union)
    return best


def test_the_same_seed_writes_the_same_notes():
    assert notes(50, "test", 3) == notes(50, "test", 3)
    assert notes(50, "test", 3) != notes(50, "test", 4)


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_notes_are_positive(split):
    labels = Counter(note.label for note in notes(400, split, 2))
    assert labels == {0: 200, 1: 200}


def test_a_wrong_split_is_named():
    with pytest.raises(ValueError, match="'tests'"):
        notes(3, "tests")


def test_no_near_duplicates_across_splits():
    train = [note.text for note in TRAIN]
    assert not set(train) & {note.text for note in TEST}
    assert most_alike([note.text for note in TEST], train) < 0.8
    assert most_alike([note.text for note in HAND], train) < 0.8


def test_the_hero_is_the_first_person_named():
    for note in [*TRAIN[:2000], *HAND]:
        named = [w for w in re.findall(r"[A-Za-z]+", note.text) if w in PEOPLE]
        assert named, note.text


def test_notes_are_clean_lines():
    for note in [*TRAIN, *HAND]:
        assert re.fullmatch(r"[A-Za-z',.?!:;\" ]+", note.text), note.text
        assert note.text == " ".join(note.text.split())
        assert note.label in range(len(NAMES))
        assert 3 <= len(note.text.split()) <= 80, note.text


def test_hand_written_notes_are_many_balanced_and_in_the_notes_words():
    assert len({n.text for n in HAND}) == len(HAND)
    for which in ("notes", "rich"):
        found = hand_written(which)
        assert len(found) >= 200
        assert sum(n.label for n in found) == len(found) / 2
    known = {w for n in notes(20_000, "train", 5) for w in words(n.text)}
    known |= {w.lower() for ws in WORDS.values() for w in ws.split()}
    new = {w for n in HAND for w in words(n.text)} - known
    new -= {w for s in corpus(3000) for w in words(s.text)}
    assert len(new) <= 8, sorted(new)


@pytest.mark.parametrize(("longest", "limit"), [(1, 0.60), (3, 0.80)])
def test_counting_words_is_not_enough(longest, limit):
    counts = make_pipeline(
        CountVectorizer(ngram_range=(1, longest), min_df=2),
        LogisticRegression(max_iter=1000),
    )
    counts.fit([n.text for n in TRAIN], [n.label for n in TRAIN])
    reached = counts.score([n.text for n in TEST], [n.label for n in TEST])
    assert 0.4 < reached <= limit
