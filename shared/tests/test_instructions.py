"""Tests of the question book: splits apart, one right answer, known pages."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import tiktoken
from scratch_llm.instructions import (
    BASE_FAMILIES,
    DAYS,
    FAMILIES,
    NUMBERS,
    PEOPLE,
    PHRASES,
    SPLITS,
    UNSAID,
    UNSEEN_FAMILIES,
    Entry,
    entries,
    exact_match,
    home,
    instruction_data,
    main,
    normalise,
    pages,
    sentences,
    token_f1,
)
from scratch_llm.storyworld import parse
from scratch_llm.town import WORDS
from tiktoken.load import load_tiktoken_bpe

SHARED = Path(__file__).parents[1]
DATA = instruction_data()
MADE = {
    split: entries(960, split, 1, FAMILIES)
    for split in ("train", "validation", "test")
} | {"base": entries(2200, "base", 1)}
EVERY = [entry for made in MADE.values() for entry in made]
COLOURS, MOODS = (
    {word for kind in kinds for word in WORDS[kind].split()}
    for kinds in (["colour"], ["glad", "sad", "sorry"])
)


def of(family: str) -> list[Entry]:
    return [entry for entry in EVERY if entry.family == family]


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)


def bare(output: str) -> str:
    """An answer as it may stand in the text."""
    return output[0].lower() + output[1:].rstrip(".")


# ---------------------------------------------------------------- splits ---


def test_there_are_enough_families_and_phrasings():
    assert len(FAMILIES) >= 18
    assert len(UNSEEN_FAMILIES) in range(len(FAMILIES) // 3 - 1, 12)
    assert {*UNSEEN_FAMILIES} <= {*FAMILIES}
    for family, phrases in PHRASES.items():
        marks = Counter(mark for _, mark in phrases)
        assert marks["*"] >= 3 and marks[""] >= 8, family
        assert len({normalise(text) for text, _ in phrases}) == len(phrases)


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_seed_makes_the_same_entries(split):
    assert entries(64, split, 3) == entries(64, split, 3)
    assert entries(64, split, 3) != entries(64, split, 4)


@pytest.mark.parametrize("split", SPLITS)
def test_families_are_balanced_and_entries_unique(split):
    made = entries(300, split, 5)
    counts = Counter(entry.family for entry in made)
    assert max(counts.values()) - min(counts.values()) <= 1
    known = BASE_FAMILIES if split == "base" else FAMILIES
    assert {*counts} == {*known}
    assert len({(e.instruction, e.input) for e in made}) == 300


def test_splits_share_no_input():
    inputs = {
        split: {(entry.family, normalise(entry.input)) for entry in made}
        for split, made in MADE.items()
    }
    for one in SPLITS:
        assert all(home(entry.input) == one for entry in MADE[one])
        for other in SPLITS[: SPLITS.index(one)]:
            assert not inputs[one] & inputs[other]


def shingles(text: str) -> set:
    found = words(text.lower())
    return {tuple(found[i : i + 4]) for i in range(len(found) - 3)}


def test_no_text_of_the_test_stands_in_another_part_a_little_changed():
    parts = {
        split: {row["input"] for row in DATA if row["split"] == split}
        for split in ("train", "validation", "test")
    }
    train = [shingles(text) for text in parts["train"]]
    long = [text for text in parts["test"] if len(words(text)) >= 25]
    assert len(long) > 50
    for text in long:
        mine = shingles(text)
        for theirs in train:
            if len(theirs) > 20:
                assert len(mine & theirs) < 0.6 * len(mine | theirs), text


def test_held_out_phrasings_are_in_no_training_part():
    for split in ("base", "train"):
        assert not any(entry.held_out for entry in MADE[split])
    for entry in MADE["base"]:
        assert PHRASES[entry.family][entry.phrasing][1] == ""
    held = entries(320, "test", 2, held_out=True)
    assert all(entry.held_out for entry in held)
    for entry in EVERY + held:
        text, mark = PHRASES[entry.family][entry.phrasing]
        assert (mark == "*") == entry.held_out
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(text))
        assert re.fullmatch(pattern, entry.instruction)


def test_a_wrong_request_is_named():
    with pytest.raises(ValueError, match="'tests'"):
        entries(3, "tests")
    with pytest.raises(ValueError, match="riddle"):
        entries(3, "train", families=["riddle"])
    with pytest.raises(ValueError, match="held-out"):
        entries(3, "base", held_out=True)


# --------------------------------------------------- one right answer -----
# Each answer is found again from instruction and input alone.


@pytest.mark.parametrize(
    ("family", "fact"),
    [("hero", "hero"), ("friend", "friend"), ("day", "day")]
    + [(one, one) for one in ("weather", "feeling", "colour")],
)
def test_facts_of_stories_are_those_that_the_judge_reads(family, fact):
    seen = 0
    for entry in of(family):
        verdict = parse(entry.input)
        if verdict.ok and "envelope" not in entry.input:
            seen += 1
            assert exact_match(entry.output, verdict.facts[fact]), entry
    assert seen > 5


@pytest.mark.parametrize(
    ("family", "kinds"),
    [("hero", {*PEOPLE}), ("friend", {*PEOPLE}), ("who", {*PEOPLE})]
    + [("day", {*DAYS}), ("colour", COLOURS), ("feeling", MOODS)],
)
def test_answers_are_words_of_their_kind_in_the_text(family, kinds):
    for entry in of(family):
        found = words(entry.output)
        assert {*found, *(w.lower() for w in found)} & kinds, entry
        assert bare(entry.output) in entry.input.lower(), entry


def test_places_stand_where_the_answer_says():
    for entry in of("place"):
        near, place = entry.output[:-1].rsplit(" ", 1)
        first = sentences(entry.input)[0]
        other = {"Near the": "ear the", "At the": "went to the"}[near]
        assert f"{other} {place}" in first, entry


def test_colour_and_thing_stand_together():
    for entry in of("thing"):
        thing = bare(entry.output).removeprefix("the ")
        colours = COLOURS.intersection(words(entry.instruction))
        assert any(f"{c} {thing}" in entry.input for c in colours), entry
        other = re.findall(rf"{[*colours][0]} (\w+)", entry.input)
        assert {*other} - {"one"} == {thing}, entry


def test_sentences_are_copied_from_their_place():
    for family, at in (("first", 0), ("last", -1)):
        for entry in of(family):
            text = entry.input
            assert text.startswith(entry.output) or at, entry
            assert text.endswith(entry.output) or not at, entry
            assert re.search(r'[.?!]"?$', entry.output)
    for family in ("after", "before"):
        for entry in of(family):
            cue = re.search(r'"(.+[.?!])"', entry.instruction)[1]
            pair = [cue, entry.output]
            if family == "before":
                pair.reverse()
            assert entry.input.count(" ".join(pair)) == 1, entry
            assert entry.input.count(cue) == 1


def test_words_said_stand_in_quotation_marks_once():
    for entry in of("quote"):
        said = re.findall(r'"([^"]+)"', entry.input)
        found = [w for w in said if w[:-1] == entry.output[:-1]]
        assert len(found) == 1, entry


def test_names_are_all_and_in_order():
    for entry in of("names"):
        found = [w for w in words(entry.input) if w in PEOPLE]
        expected = [*dict.fromkeys(found)]
        assert [w for w in words(entry.output) if w != "and"] == expected


def test_counts():
    for entry in of("count"):
        assert '"' not in entry.input
        count = len(re.findall(r"[.?!]", entry.input))
        assert NUMBERS.index(bare(entry.output)) == count - 1, entry


def test_yes_or_no_is_right_and_even():
    answers = Counter()
    for entry in of("mention"):
        here = {*words(entry.input)}
        known = {*PEOPLE, *DAYS}
        for kind in ("place", "thing", "animal", "role"):
            known.update(WORDS[kind].split())
        asked = [w for w in words(entry.instruction) if w in known]
        assert len(asked) == 1, entry
        assert entry.output == ("Yes." if asked[0] in here else "No."), entry
        answers[entry.output] += 1
    assert min(answers.values()) > 0.35 * sum(answers.values())


def test_what_the_text_does_not_say_is_half():
    made = entries(400, "train", 3, ["unsaid"])
    share = sum(entry.output == UNSAID for entry in made) / len(made)
    assert 0.4 < share < 0.6
    for entry in made:
        text, question = entry.input, entry.instruction.lower()
        if entry.output != UNSAID:
            said = bare(entry.output).replace("at the", "the")
            assert said in text.lower(), entry
        elif "colour" in question:
            thing = re.search(r"colour is the (\w+)", question)[1]
            assert not re.search(rf"\b{thing}\b", text), entry
        elif "weather" in question:
            assert not re.search(r"\bIt was a|\bThat \w+day|\brain\b", text)
        elif "in the end" in question:
            assert not MOODS.intersection(words(text)), entry
        elif "at the beginning" in question:
            assert not re.search(r"One day|[Nn]ear the", text), entry
        else:
            who = next(w for w in words(entry.instruction) if w in PEOPLE)
            verb = {"have": " has", "like": " likes", "is": " is at"}
            asked = [verb[w] for w in words(question) if w in verb]
            assert who + (asked or [" is"])[0] not in text or (
                not asked and f"{who} is at" in text
            ), entry


def test_the_judge_finds_the_right_ending():
    seen = 0
    for entry in of("ending"):
        body, *ends = entry.input.split("\n")
        ends = [end[3:] for end in ends]
        assert entry.output in ends and ends[0] != ends[1]
        stories = [end for end in ends if parse(f"{body} {end}").ok]
        if len(sentences(body)) > 4:
            seen += 1
            assert stories == [entry.output], entry
        else:
            hero = next(w for w in words(body) if w in PEOPLE)
            assert hero in entry.output, entry
    assert seen > 5


def test_reasons_follow_their_person():
    for entry in of("why"):
        reason = entry.output.removeprefix("Because ")[:-1]
        people = [w for w in words(entry.instruction) if w in PEOPLE]
        line = [s for s in sentences(entry.input) if reason in s]
        assert any(p in s for p in people for s in line), entry


def test_rewriting_changes_what_it_should():
    for entry in of("tense"):
        old, new = words(entry.input), words(entry.output)
        changed = [a for a, b in zip(old, new, strict=True) if a != b]
        assert len(changed) == 1, entry
    for entry in of("polite"):
        order = entry.input[0].lower() + entry.input[1:-1]
        assert entry.output == f"Could you please {order}?"
    for entry in of("negate"):
        assert " not " in entry.output or "cannot" in entry.output, entry
        assert "not" not in words(entry.input)
    for entry in of("question"):
        assert entry.output.endswith("?")
        first = entry.output.split()[0].lower()
        same = Counter(words(entry.input.lower()))
        asked = Counter(words(entry.output.lower()))
        if first == "did":
            assert sum((asked - same).values()) in (1, 2), entry
        else:
            assert same == asked, entry
    for entry in of("opposite"):
        old, new = words(entry.input), words(entry.output)
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert len(pairs) == 1, entry
        if '"' in entry.instruction:
            assert f'"{pairs[0][0]}"' in entry.instruction
    for entry in of("rename"):
        named = [w for w in words(entry.instruction) if w in PEOPLE]
        new, old = sorted(named, key=lambda w: w in words(entry.input))
        text = re.sub(rf"\b{old}\b", new, entry.input)
        assert text == entry.output and new not in entry.input, entry
    for entry in of("join"):
        one, two = sentences(entry.input)
        assert {*words(entry.output)} == {*words(one), *words(two), "and"}


def test_one_word_was_misspelt():
    for entry in of("spelling"):
        old, new = words(entry.input), words(entry.output)
        pairs = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert len(pairs) == 1, entry
        wrong, right = pairs[0]
        assert abs(len(wrong) - len(right)) <= 1 and len(right) > 4


def test_lists_are_in_order_and_go_on():
    for entry in of("order"):
        row = DAYS if entry.output[:-1].endswith("day") else NUMBERS
        found = words(entry.output[0].lower() + entry.output[1:])
        found = words(entry.output) if row is DAYS else found
        assert found == sorted(words(entry.input), key=row.index), entry
    for entry in of("series"):
        row = words(entry.input)
        answer = bare(entry.output) if row[0].islower() else entry.output[:-1]
        if row[0] in DAYS or row[0] in NUMBERS:
            home_ = DAYS if row[0] in DAYS else NUMBERS
            at = [home_.index(w) for w in (*row, answer)]
            size = 7 if row[0] in DAYS else 100
            steps = {(b - a) % size for a, b in zip(at, at[1:], strict=False)}
            assert len(steps) == 1, entry
        else:
            every = {2, 3} if len({*row}) == 2 else {3}
            fits = {
                row[-n]
                for n in every
                if all(a == b for a, b in zip(row, row[n:], strict=False))
            }
            assert fits == {answer}, entry


def test_days_are_counted():
    steps = {"next day": 1, "day after": 1, "a day later": 1, "two days": 2}
    steps |= {"same day": 0, "day before": -1}
    for entry in of("when"):
        first, second = sentences(entry.input)
        day = next(w for w in words(first) if w in DAYS)
        who = next(w for w in words(entry.instruction) if w in PEOPLE)
        step = next(n for text, n in steps.items() if text in second)
        step = 0 if who in first else step
        expected = DAYS[(DAYS.index(day) + step) % 7]
        assert entry.output == expected + ".", entry


def test_one_word_is_of_another_kind():
    kinds = [{*text.split()} for text in WORDS.values()] + [{*NUMBERS}]
    for entry in of("odd"):
        row = words(entry.input)
        odd = [w for w in row if w.lower() == bare(entry.output).lower()]
        rest = {*row} - {*odd}
        same = [kind for kind in kinds if rest <= kind]
        assert len(odd) == 1 and len(rest) == 3, entry
        assert same and not any(odd[0] in kind for kind in same), entry


# ------------------------------------------------ verdict, pages, file -----


def test_verdicts_are_those_of_squad():
    assert exact_match(" the MILL! ", "Mill.")
    assert not exact_match("Near the mill.", "At the mill.")
    assert not exact_match("", "Yes.")
    assert token_f1("the red ball", "The ball.") == pytest.approx(2 / 3)
    assert token_f1("", "Yes.") == 0 and token_f1("Yes", "Yes.") == 1


def test_a_page_fits_and_is_no_finetuning_prompt():
    path = SHARED / "checkpoints" / "storyteller.tiktoken"
    ranks = load_tiktoken_bpe(str(path))
    pattern = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tokenizer = tiktoken.Encoding(
        "pages", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
    )
    made = list(pages(400, 2))
    assert made == list(pages(400, 2)) and len({*made}) == 400
    for text in made:
        assert len(tokenizer.encode_ordinary(text)) <= 240, text
        assert not re.search(r"###|Instruction|Response|<\|", text)


def test_pages_ask_nothing_that_is_kept_out():
    unseen = {
        text
        for family, phrases in PHRASES.items()
        for text, mark in phrases
        if (mark or family in UNSEEN_FAMILIES) and "{" not in text
    }
    seen = {
        text
        for family in BASE_FAMILIES
        for text, mark in PHRASES[family]
        if not mark
    }
    assert not unseen & seen
    text = "\n".join(pages(500, 4))
    assert not [phrase for phrase in unseen if phrase in text]


def test_the_file_is_in_alpacas_form(tmp_path):
    path = tmp_path / "instruction-data.json"
    assert main(["--out", str(path)]) == 0
    data = json.loads(path.read_text("utf-8"))
    assert data == DATA and len(data) >= 1100
    assert all(row["output"] and row["instruction"] for row in data)
    pairs = {
        split: {(r["input"], r["output"]) for r in data if r["split"] == split}
        for split in ("train", "validation", "test")
    }
    assert not pairs["train"] & pairs["test"]
    assert not pairs["train"] & pairs["validation"]
    held = [row for row in data if row["held_out"]]
    assert held and {row["split"] for row in held} == {"test"}
    assert Counter(row["family"] for row in data).keys() == {*FAMILIES}
