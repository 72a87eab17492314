"""Tests of the librarian's training: what it reads, and what it must not."""

import itertools
import json
import re

import previous_chapters as pc
import pytest
import train_librarian as lib
from scratch_llm import instructions, library
from scratch_llm.notes import FREE, free_shapes, notes
from scratch_llm.storyworld import corpus, parse

SHELVES = {
    kind: [*itertools.islice(library.documents(kind, 3), 1000)]
    for kind in library.SHARES
}
DOCUMENTS = [one for shelf in SHELVES.values() for one in shelf]


@pytest.fixture(scope="module")
def tokenizer():
    return pc.from_pretrained("storyteller", "cpu")[1]


def whole(document: library.Document) -> str:
    return "".join(text for text, _ in document)


def test_each_shelf_holds_what_it_says():
    assert all(parse(whole(one)).ok for one in SHELVES["story"])
    for document in SHELVES["mood"]:
        marks = {text.strip() for text, weight in document if weight > 1}
        assert marks and marks <= {*library.WORDS}
    answers = {text for d in SHELVES["page"] for text, w in d if w > 1}
    assert len(answers) > 300
    with pytest.raises(ValueError, match="'poem'"):
        next(library.documents("poem"))


def test_the_same_seed_gives_the_same_documents():
    for kind, shelf in SHELVES.items():
        again, other = (
            [*itertools.islice(library.documents(kind, seed), 50)]
            for seed in (3, 4)
        )
        assert again == shelf[:50] != other


def test_the_halves_of_the_free_shapes_are_apart():
    mine, theirs = free_shapes("library"), free_shapes("notes")
    assert not {s for s, _ in mine} & {s for s, _ in theirs}
    assert min(len(mine), len(theirs)) > 2000


def test_no_note_of_chapter_6_is_in_the_library():
    read = {text for d in DOCUMENTS for text, _ in d}
    for split in ("validation", "test"):
        assert not read & {note.text for note in notes(1000, split)}
    assert not read & {n.text for n in notes(1000, "train", kinds=[FREE])}


def test_no_phrasing_of_chapter_7_that_is_held_out():
    """Nor one of a family that the base must not know."""
    text = "\n".join(map(whole, DOCUMENTS))
    for family, phrases in instructions.PHRASES.items():
        unseen = family in instructions.UNSEEN_FAMILIES
        for phrase, mark in phrases:
            open_end = "{fact}" in phrase  # "Who {fact}?" is like others
            if (unseen or mark) and not open_end:
                parts = map(re.escape, re.split(r"\{\w+\}", phrase))
                assert not re.search(r"[\w ]+?".join(parts), text), phrase
    assert "### Instruction" not in text


def test_the_weight_of_an_answer_is_shared(tokenizer):
    document = [("What is it?", 1.0), (" The golden lamp.", 8.0)]
    ids, weights = zip(*lib.encode(document, tokenizer), strict=True)
    assert ids[0] == ids[-1] == tokenizer.eot_token
    text = tokenizer.decode([*ids[1:-1]])
    assert text == " What is it? The golden lamp."
    answer = [w for w in weights if w > 1]
    assert len({*answer}) == 1 and answer[0] == 8 / len(answer) ** 0.5


@pytest.mark.parametrize("kind", library.SHARES)
def test_a_row_is_one_document_and_padding_weighs_nothing(tokenizer, kind):
    batches = lib.rows_of(kind, tokenizer, 0, False, 1024)
    for inputs, targets, weights in itertools.islice(batches, 5):
        assert inputs.shape == targets.shape == weights.shape
        assert inputs.numel() < 1024 or len(inputs) == 1
        assert inputs.shape[1] <= lib.T
        assert inputs[:, 0].eq(tokenizer.eot_token).all()
        assert inputs[:, 1:].equal(targets[:, :-1])
        graded = (weights > 0).sum(1)
        for row, n in zip(targets.tolist(), graded.tolist(), strict=True):
            assert set(row[n:]) <= {0}
            assert row[n - 1] == tokenizer.eot_token or n == lib.T


def test_stories_use_little_of_the_vocabulary(tokenizer):
    """The README's figures: why the storyteller is hard to teach."""
    used = {
        i
        for one in corpus(4000)
        for i in tokenizer.encode_ordinary(" " + one.text)
    }
    assert abs(len(used) - 638) < 15 and tokenizer.n_vocab == 1647
    more = {
        i
        for d in DOCUMENTS
        for text, _ in d
        for i in tokenizer.encode_ordinary(text)
    }
    assert len(more) > 1.5 * len(used)


def test_a_run_from_end_to_end(tmp_path, capsys):
    options = "--steps 4 --size 512 --eval-every 2 --samples 2 --texts 9"
    out = tmp_path / "run"
    argv = [*options.split(), "--layers", "2", "--out", str(out)]
    assert lib.main(argv) == 0
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert 0 < metrics["tokens_seen"] < 4 * 2 * 512
    assert 0 <= metrics["marks_right"] <= 1 < metrics["ratio"]
    model, _ = pc.from_pretrained(out, "cpu")
    assert pc.count_parameters(model) == metrics["parameters"]
    size = (out / "model.safetensors").stat().st_size
    assert size < 2.1 * metrics["parameters"]  # fp16
    capsys.readouterr()
    assert lib.main(argv) == 2
    told = capsys.readouterr().err
    assert "exists already" in told and told.count("\n") == 1
