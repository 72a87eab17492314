"""The guides say what is true: of the lessons, of messages, of numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import export
import guides
import measure
import pytest
from provoke import NOT_HERE, PROVOKED, Chapters

ROOT = Path(__file__).resolve().parents[2]
GUIDES = {
    path.stem: path.read_text("utf-8")
    for path in sorted(guides.GUIDES.glob("*.md"))
}
LESSONS = sorted(ROOT.glob(f"ch[0-9][0-9]/{export.MAIN}/ch[0-9][0-9].ipynb"))
PLACES = guides.sections()


def test_what_is_generated_is_up_to_date():
    found = guides.update(check=True)
    assert not found, "\n".join(["", *found, "run python shared/guides.py"])


def test_a_guide_asks_for_what_is_not_there(tmp_path):
    lesson = "ch05/01_main-chapter-code/ch05.ipynb"
    guide = tmp_path / "guide.md"
    for text, words in (
        (f"<!-- code {lesson}: nothing -->\n<!-- end -->", "no 'nothing'"),
        ("<!-- code ch05/no.py: train -->\n<!-- end -->", "no ch05/no.py"),
        ("see [9.99]\n<!-- links -->", "9.99"),
        ("see [5.2]", "<!-- links -->"),
    ):
        guide.write_text(text, "utf-8")
        (fault,) = guides.update(check=True, folder=tmp_path)
        assert words in fault


def test_code_and_links_are_filled_in(tmp_path):
    guide = tmp_path / "guide.md"
    lesson = "ch05/01_main-chapter-code/ch05.ipynb"
    guide.write_text(
        f"See [5.2] and [exercise\n5.4].\n\n<!-- code {lesson}: sum_nll -->\n"
        "old\n<!-- end -->\n\n<!-- links -->\n",
        "utf-8",
    )
    assert guides.update(folder=tmp_path) == []
    text = guide.read_text("utf-8")
    assert "def sum_nll(" in text and "\nold\n" not in text
    assert "ch05.ipynb#5.2-From-logits-to-one-number\n" in text
    assert "[exercise 5.4]: " in text
    assert guides.update(check=True, folder=tmp_path) == []


# ---- Troubleshooting -----------------------------------------------------

ENTRY = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", flags=re.M | re.S)
SYMPTOM = re.compile(r"^```text\n(.*?)^```", flags=re.M | re.S)
ENTRIES = dict(ENTRY.findall(GUIDES["troubleshooting"]))


def test_every_entry_has_a_cause_a_test_and_a_fix():
    for title, body in ENTRIES.items():
        for part in ("**Cause:**", "**Test:**", "**Fix:**"):
            assert part in body, f"{title} has no {part}"


def test_every_entry_is_provoked_or_cannot_be():
    assert ENTRIES.keys() == PROVOKED.keys() | NOT_HERE.keys()
    assert not PROVOKED.keys() & NOT_HERE.keys()


@pytest.mark.parametrize("title", PROVOKED)
def test_the_message_is_the_one_that_appears(
    title, load_module, tmp_path, monkeypatch
):
    told = PROVOKED[title](Chapters(load_module), tmp_path, monkeypatch)
    told = " ".join(told.split())
    symptom = "".join(SYMPTOM.findall(ENTRIES[title]))
    for line in symptom.strip().splitlines():
        parts = [
            re.escape(part) for part in " ".join(line.split()).split("...")
        ]
        assert re.search(".*?".join(parts), told), (
            f"{line!r} is not in {told!r}"
        )
    assert symptom or told == "seen"


# ---- Glossary ------------------------------------------------------------

ROW = re.compile(r"^\| \*\*(.+?)\*\* \| (.+) \| (.+) \|$", flags=re.M)
TERMS = {term: where for term, _, where in ROW.findall(GUIDES["glossary"])}
BOLD = re.compile(r"\*\*(.+?)\*\*", flags=re.S)
NO_TERMS = {  # bold because they are stressed, or because they are headings
    "build your gpt",
    "classification",
    "each token votes",
    "feed-forward",
    "first",
    "flat",
    "last",
    "mean",
    "negative",
    "next token",
    "once",
    "positive",
    "random weights",
    "text and tokens",
    "three checks",
    "training",
    "where",
}


def cells_of(path: Path) -> list:
    return json.loads(path.read_text("utf-8"))["cells"]


def shown(cell: dict) -> str:
    """A cell's source and the texts that it put out."""
    parts = ["".join(cell["source"])]
    for output in cell.get("outputs", []):
        parts.append("".join(output.get("text", "")))
        parts.append("".join(output.get("data", {}).get("text/plain", "")))
        parts.append(str(output.get("evalue", "")))
    return "\n".join(parts)


def texts_by_section() -> dict[str, str]:
    """`5.2` and `chapter 5`: all that stands and is put out there."""
    found: dict[str, str] = {}
    for lesson in LESSONS:
        chapter = key = f"chapter {int(lesson.stem[2:])}"
        for cell in cells_of(lesson):
            words = cell["cell_type"] == "markdown"
            for part in re.split(
                r"(?m)^(?=#+ )" if words else r"\A(?!)", shown(cell)
            ):
                for title in guides.headings_of(part) if words else ():
                    number = guides.NUMBERED.match(title)
                    key = number[1] if number else key
                part = " ".join(part.split())
                found[key] = f"{found.get(key, '')} {part}"
                found[chapter] = f"{found.get(chapter, '')} {part}"
    return found


SECTIONS = texts_by_section()


def bold_terms(lesson: Path) -> set[str]:
    """What a lesson introduces: short, bold, and not the start of a line."""
    found = set()
    for cell in cells_of(lesson):
        text = "".join(cell["source"])
        for bold in BOLD.findall(guides.FENCED.sub("", text)):
            term = " ".join(bold.split())
            short = len(term.split()) < 4 and not re.search(r"[.:?!]$", term)
            if short and not re.match(r"Exercise|Predict|Check|\d", term):
                found.add(term.lower())
    return found - NO_TERMS


def short(term: str) -> str:
    """A term without its ending, so that one and many are the same."""
    return re.sub(r"i?[esy]+$", "", re.sub(r"[^\w -]", "", term.lower()))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_the_glossary_has_what_the_lesson_introduces(lesson):
    known = {short(term) for term in TERMS}
    missing = [t for t in sorted(bold_terms(lesson)) if short(t) not in known]
    assert not missing, f"into glossary.md, or NO_TERMS above: {missing}"


@pytest.mark.parametrize("term", TERMS)
def test_a_term_occurs_where_the_glossary_says(term):
    for key in guides.REFERENCE.findall(TERMS[term]):
        assert short(term) in SECTIONS[key].lower(), f"{term} is not in {key}"


# ---- Questions, numbers, code --------------------------------------------


def test_there_are_sixty_questions_each_with_a_place_to_look():
    text = guides.LINKS.sub("", GUIDES["interview-questions"])
    questions = re.split(r"^\*\*(\d+)\.\*\* (★+) ", text, flags=re.M)[1:]
    numbers, stars, bodies = (questions[i::3] for i in range(3))
    assert [*map(int, numbers)] == [*range(1, len(numbers) + 1)]
    assert len(numbers) >= 60
    for number, body in zip(numbers, bodies, strict=True):
        answer = body.split("</summary>")[1]
        linked = guides.REFERENCE.search(answer) or INLINE.search(answer)
        assert linked, f"question {number}: no link"
    for part in text.split("\n## ")[1:]:
        some = [len(s) for s in re.findall(r"^\*\*\d+\.\*\* (★+)", part, re.M)]
        assert some == sorted(some), "from easy to hard"


NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?: ?%)?")
INLINE = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PROSE = [
    "checklist",
    "experiments",
    "interview-questions",
    "notes-by-topic",
    "pitfalls",
    "pretrained-weights",
    "training-pipeline",
]


def numbers_in(text: str) -> set[str]:
    """The numbers that somebody must have measured or counted."""
    found = set()
    for number in NUMBER.findall(text):
        value = number.replace(",", "").replace(" ", "")
        year = re.fullmatch(r"(19|20)\d\d", number)
        large = value.isdigit() and int(value) >= 100
        if not year and (large or not value.isdigit()):
            found.add(value)
    return found


@pytest.mark.parametrize("name", PROSE)
def test_a_number_stands_where_its_link_leads(name):
    guide = guides.GUIDES / f"{name}.md"
    text = guides.FENCED.sub("", guides.LINKS.sub("", GUIDES[name]))
    text = guides.FILLED.sub("", text)
    for part in re.split(
        r"(?m)^(?=\*\*\d)" if "<details>" in text else r"\n\s*\n", text
    ):
        keys = [" ".join(k.split()) for k in guides.REFERENCE.findall(part)]
        there = "".join(SECTIONS.get(key, "") for key in keys)
        for target in INLINE.findall(part):
            file = (guide.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file():
                there += file.read_text("utf-8")
            elif file.suffix == ".ipynb":
                there += "\n".join(map(shown, cells_of(file)))
        bare = re.sub(r"`[^`]*`", "", INLINE.sub("", part))
        bare = guides.REFERENCE.sub("", bare)
        there = there.replace(",", "").replace(" %", "%")
        missing = [n for n in numbers_in(bare) if n not in there]
        assert not missing, f"{missing} is nowhere behind the links of: {part}"


PYTHON = re.compile(
    r"<!-- run: (\S+) -->\s*```python\n(.*?)^```", flags=re.M | re.S
)
BLOCKS = [
    pytest.param(folder, code, id=f"{name} {n}")
    for name, text in GUIDES.items()
    for n, (folder, code) in enumerate(PYTHON.findall(text), start=1)
]


@pytest.mark.parametrize("folder, code", BLOCKS)
def test_python_in_a_guide_runs(folder, code):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and done.stdout, done.stderr


def test_all_python_in_guides_is_generated_or_run():
    for name, text in GUIDES.items():
        rest = PYTHON.sub("", guides.FILLED.sub("", text))
        assert "```python" not in rest, f"{name}: <!-- run: FOLDER --> lacks"


# ---- Measured ------------------------------------------------------------


def test_what_is_measured_is_in_form():
    taken = json.loads(measure.DATA.read_text("utf-8"))
    assert len(taken) >= 3
    assert measure.faults(taken, measure.PAGE.read_text("utf-8")) == []


def test_measuring_notices_a_bad_form():
    taken = json.loads(measure.DATA.read_text("utf-8"))
    name, one = next(iter(taken.items()))
    text = measure.page(taken)
    for change in (
        {"machine": ""},
        {"command": "python other.py"},
        {"numbers": {"loss": "low"}},
    ):
        assert measure.faults(taken | {name: one | change}, text)
    assert measure.faults(taken | {"new": one}, text)
    assert measure.faults({name: {"day": "today"}}, text)
    assert measure.faults(taken, text + "more")


def test_a_measured_number_is_read(tmp_path):
    (tmp_path / "metrics.json").write_text(
        json.dumps(
            {
                "history": {"step": [1, 2], "train": [4.7, 0.6]},
                "steps": 2,
                "val_loss": 0.6,
                "floor": 0.5,
                "config": {"vocab_size": 100},
                "tokens_seen": 1000,
                "seconds": 10.0,
                "ratio": 1.2,
                "valid_stories": 0.9,
            }
        ),
        "utf-8",
    )
    found = measure.of_training("", tmp_path)
    assert found["the loss has fallen from ln V by"] == "87%"
    assert found["valid stories"] == "90%"
    table = "hello\n\nmodel  parameters  tokens/s\na      2,000       17\n"
    assert measure.of_comparison(table, tmp_path) == {
        "a: parameters": "2,000",
        "a: tokens/s": "17",
    }
    table = "| GPT-2 | |\n| --- | --- |\n| device | x |\n| tokens/s | 7 |\n"
    assert measure.of_table(table, tmp_path) == {"tokens/s": "7"}


# ---- A tutor's manners ---------------------------------------------------


def test_agents_are_told_to_tutor():
    text = (ROOT / "AGENTS.md").read_text("utf-8")
    for words in (
        "exercise-solutions.ipynb",
        "Never write the body",
        "predicted",
        "check's message",
        "one at a time",
        "export.py --check",
    ):
        assert words in text
