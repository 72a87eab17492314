"""What must hold of the tools for data: nothing is missed, nothing lost."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import find_near_duplicates as dup
import pytest
import rephrase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scratch_llm.chat import Chat, ChatError
from scratch_llm.stub_chat import StubServer
from sklearn.feature_extraction.text import CountVectorizer

HERE = Path(__file__).resolve().parent
slowly = settings(  # a busy machine is no fault
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
DATA = HERE.parent / "01_main-chapter-code" / "instruction-data.json"


def entry(instruction="Say it.", input="", output="It.", **more) -> dict:
    about = {"instruction": instruction, "input": input, "output": output}
    return about | more


def write(path: Path, items: list) -> str:
    path.write_text(json.dumps(items), "utf-8")
    return str(path)


# ---- Near duplicates -----------------------------------------------------

SETS = st.lists(st.frozensets(st.sampled_from("abcdefgh")), max_size=12)


def each_with_each(sets, threshold, first=0):
    return [
        (a, b)
        for a, b in itertools.combinations(range(len(sets)), 2)
        if dup.jaccard(sets[a], sets[b]) >= threshold
        and not (first and (a < first) == (b < first))
        and (sets[a] or sets[b])
    ]


@slowly
@given(SETS, st.sampled_from([0.1, 0.3, 0.5, 2 / 3, 0.8, 1.0]), st.data())
def test_no_pair_is_missed_and_none_invented(sets, threshold, data):
    first = data.draw(st.integers(0, len(sets)))
    found = dup.similar_pairs(sets, threshold, first)
    right = each_with_each(sets, threshold, first)
    assert [(pair.a, pair.b) for pair in found] == right
    for pair in found:
        assert pair.similarity == dup.jaccard(sets[pair.a], sets[pair.b])


def test_the_similarities_are_those_of_scikit_learn():
    texts = [
        dup.text_of(item, dup.FIELDS)
        for item in json.loads(DATA.read_text("utf-8"))[:300]
    ]
    count = CountVectorizer(
        analyzer="char", ngram_range=(5, 5), binary=True,
        preprocessor=dup.normalise,
    ).fit_transform(texts)  # fmt: skip
    both = (count @ count.T).toarray()
    size = both.diagonal()
    similarity = both / (size[:, None] + size - both)
    found = dup.similar_pairs([dup.shingles(text) for text in texts], 0.3)
    pairs = {
        (a, b)
        for a, b in zip(*(similarity >= 0.3).nonzero(), strict=True)
        if a < b
    }
    assert {(pair.a, pair.b) for pair in found} == pairs and len(pairs) > 9
    for pair in found:
        assert pair.similarity == pytest.approx(similarity[pair.a, pair.b])


@slowly
@given(SETS, st.sampled_from([0.3, 0.6, 1.0]))
def test_what_is_left_has_no_repeats_and_what_goes_is_in_it(sets, threshold):
    pairs = dup.similar_pairs(sets, threshold)
    gone = dup.repeats(pairs)
    left = [one for i, one in enumerate(sets) if i not in gone]
    assert dup.similar_pairs(left, threshold) == []
    for i in gone:
        assert any(pair.b == i and pair.a not in gone for pair in pairs), (
            "it is like no earlier one that stays"
        )


def test_signs_letters_and_spaces_make_no_difference():
    a, b = "Who is it  about?", "who is it about"
    assert dup.shingles(a) == dup.shingles(b)
    assert dup.shingles("ab") == {"ab"} and dup.shingles("?!") == {""}
    assert dup.shingles("Grüße!") != dup.shingles("Gruss!")
    assert dup.jaccard(dup.shingles("Say it."), dup.shingles("Why?")) == 0


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(ValueError, match="threshold="):
        dup.similar_pairs([], threshold)


def test_a_file_is_cleaned_and_every_field_kept(tmp_path, capsys):
    items = [
        entry("Name the day.", "It was Monday in the old town.", "Monday."),
        entry("Name the day!", "It was  Monday in the old town", "Monday",
              family="day"),
        entry("Name the day.", "It was Monday in the cold town.", "Monday."),
        entry("Name the hero.", "Nora slept.", "Nora.", family="hero"),
    ]  # fmt: skip
    file, out = write(tmp_path / "a.json", items), tmp_path / "clean.json"
    pairs = tmp_path / "pairs.json"
    argv = [file, "--out", str(out), "--pairs", str(pairs)]
    assert dup.main([*argv, "--threshold", "0.8"]) == 0
    said = capsys.readouterr().out
    assert "3 pairs" in said and "1 of them the same" in said
    assert json.loads(out.read_text("utf-8")) == [items[0], items[3]]
    rows = json.loads(pairs.read_text("utf-8"))
    assert [row["first"] for row in rows] == ["entry 1", "entry 1", "entry 2"]
    assert rows[0]["similarity"] == 1
    assert dup.main([*argv, "--threshold", "1"]) == 0
    assert len(json.loads(out.read_text("utf-8"))) == 3
    assert dup.main([*argv, "--fields", "output"]) == 0
    assert json.loads(out.read_text("utf-8")) == [items[0], items[3]]


def test_what_stands_in_another_file_is_found(tmp_path, capsys):
    train = [entry("Name the day."), entry("Name the day.", "Monday.")]
    test = [entry("Name the hero."), entry("name the day")]
    files = [
        write(tmp_path / "test.json", test),
        "--against",
        write(tmp_path / "train.json", train),
    ]
    out = tmp_path / "clean.json"
    assert dup.main([*files, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 pairs" in said and "train.json, 1" in said and "entry 2" in said
    assert json.loads(out.read_text("utf-8")) == [test[0]]


def test_our_data_says_nothing_twice():
    items = json.loads(DATA.read_text("utf-8"))
    texts = [dup.text_of(item, dup.FIELDS) for item in items]
    pairs = dup.similar_pairs([dup.shingles(text) for text in texts], 0.85)
    for pair in pairs:  # other words for the same, within one part
        a, b = items[pair.a], items[pair.b]
        assert a["split"] == b["split"]
        assert a["instruction"] != b["instruction"]
    assert len(pairs) < 0.03 * len(items)


# ---- Other words ---------------------------------------------------------


@pytest.mark.parametrize(
    "old, new",
    [
        ("Name the day.", "name the day"),
        ("Please name the day.", "name the day"),
        ("Rewrite it in the past, please.", "rewrite it in the past"),
        ("Who is it about?", "ho is it about?"),
        ("Put \"not\" into it!", "put \"not\" into it"),
        ("Is IBM in it?", "s IBM in it?"),
    ],
)  # fmt: skip
def test_a_sentence_gets_another_frame(old, new):
    forms = {rephrase.by_rule(old, random.Random(i)) for i in range(60)}
    assert len(forms) == 4 and old not in forms
    for form in forms:
        assert new in form and "lease" not in form
        assert form[0].isupper() and form[-1] in ".?"
        assert not rephrase.facts(old) - {*form.split()} - rephrase.facts(form)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "Please",
        "The opposite of hot",
        "A letter is wrong. Put it right.",
        "Besides Ned, who has a name?",
        "Find the sentence after \"It was a calm Sunday.\"",
        "Name it?",
        "Who it is.",
        "Nennen Sie den Tag.",
    ],
)  # fmt: skip
def test_where_no_rule_is_sure_nothing_is_changed(text):
    assert rephrase.by_rule(text, random.Random(0)) is None


@slowly
@given(st.text())
def test_any_text_is_rephrased_or_left(text):
    new = rephrase.by_rule(text, random.Random(0))
    assert new is None or len(new) > len(text.strip()) - len("Please, ")


def test_a_rewriting_may_lose_no_fact():
    old = 'Say "yes" if Nora has 3 or 4.5 hats.'
    assert rephrase.facts(old) == {"yes", "Nora", "3", "4.5"}
    check = rephrase.check_rewrite
    assert check(old, 'If Nora has 3 or 4.5 hats, say "yes".') == ""
    assert "'Nora'" in check(old, 'Answer "yes" at 3 or 4.5 hats.')
    assert "'4.5'" in check(old, 'Answer "yes" if Nora has 3 hats.')
    assert "same" in check(old, old.upper())
    assert "empty" in check(old, "")
    assert "longer" in check(old, old * 10)


def test_old_entries_stay_and_new_ones_say_from_where(tmp_path, capsys):
    items = [
        entry("Name the day.", "It is Monday.", "Monday.", family="day"),
        entry("Opposite of hot", output="Cold."),
        entry("Name the day.", "It is Friday.", "Friday."),
    ]
    file, out = write(tmp_path / "a.json", items), tmp_path / "b.json"
    assert rephrase.main([file, "--out", str(out)]) == 0
    assert "2 of 3" in capsys.readouterr().out
    whole = json.loads(out.read_text("utf-8"))
    assert whole[:3] == items and len(whole) == 5
    for new, old in zip(whole[3:], (items[0], items[2]), strict=True):
        assert new["instruction"] != new["rephrased_from"]
        assert new["rephrased_from"] == old["instruction"]
        same = ("input", "output")
        assert [new[k] for k in same] == [old[k] for k in same]
    assert whole[3]["family"] == "day"
    before = out.read_bytes()
    assert rephrase.main([file, "--out", str(out)]) == 0
    assert out.read_bytes() == before
    assert rephrase.main([file, "--out", str(out), "--only-new"]) == 0
    assert json.loads(out.read_text("utf-8")) == whole[3:]


def test_most_of_our_instructions_are_rephrased():
    items = json.loads(DATA.read_text("utf-8"))
    new = rephrase.rephrase_all(items, rephrase.by_rule)
    assert len(new) > len(items) / 2
    keys = [(one["instruction"], one["input"]) for one in items + new]
    assert len(set(keys)) == len(keys)
    for one in new:
        old = one["rephrased_from"]
        assert rephrase.check_rewrite(old, one["instruction"]) == ""


def test_a_model_rewrites_and_is_checked(tmp_path, capsys):
    says = {
        "Name the day.": '"Which day is it?"',
        "Name 3 days.": "Name some days.",
        "Name the town.": "  ",
    }

    def answer(messages):
        asked = messages[0]["content"].split("<instruction>\n")[1]
        return says[asked.partition("\n")[0]]

    items = [entry(text) for text in says]
    file, out = write(tmp_path / "a.json", items), tmp_path / "b.json"
    with StubServer({"m": answer}) as server:
        argv = [file, "--out", str(out), "--ask", "--model", "m"]
        argv += ["--url", server.url, "--only-new"]
        for api in ("ollama", "openai"):
            assert rephrase.main([*argv, "--api", api]) == 0
            (new,) = json.loads(out.read_text("utf-8"))
            assert new["instruction"] == "Which day is it?"
    said = capsys.readouterr().out
    assert "lost '3'" in said and "it is empty" in said


def test_a_server_that_fails_is_given_up_and_nothing_is_written(tmp_path):
    items = [entry(f"Name day {i}.") for i in range(9)]
    file, out = write(tmp_path / "a.json", items), tmp_path / "b.json"
    argv = [file, "--out", str(out), "--ask", "--model", "m", "--tries", "1"]
    with StubServer({"m": str}, faults=["500"] * 9) as server:
        assert rephrase.main([*argv, "--url", server.url]) == 1
        assert len(server.asked) == rephrase.HOPELESS
        chat = Chat("m", server.url, tries=1)
        rewrite = rephrase.by_server(chat, lambda line: None)
        rng = random.Random(0)
        assert rewrite("Name it.", rng) is rewrite("Say it.", rng) is None
        with pytest.raises(ChatError):
            rewrite("Do it.", rng)
    assert rephrase.main([*argv, "--url", server.url]) == 3
    assert not out.exists()


# ---- Mistakes ------------------------------------------------------------


@pytest.mark.parametrize(
    "content, said",
    [
        (b"{", "not JSON"),
        (b"[]", "list of entries"),
        (b"\xff\xfe[", "not UTF-8"),
        (b'[{"instruction": "Say it."}]', "no 'output'"),
        (b'[{"instruction": 3, "output": "x"}]', "instruction is 3"),
        (None, "does not exist"),
    ],
)
@pytest.mark.parametrize("tool", [dup, rephrase])
def test_a_wrong_file_is_named_in_one_line(
    tool, content, said, tmp_path, capsys
):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert tool.main([str(path), "--out", str(tmp_path / "b.json")]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1 and "a.json" in line
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize(
    "argv", [["--threshold", "2"], ["--letters", "0"], ["--fields", "x"]]
)
def test_a_wrong_option_is_named_in_one_line(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        dup.main([str(DATA), *argv])
    line = capsys.readouterr().err
    assert stop.value.code == 2 and line.count("\n") == 1 and argv[0] in line


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
