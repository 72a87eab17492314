"""Each exercise accepts its own solution and tells wrong answers why.

The wrong answers of a chapter stand in wrong_answers/chNN.py, as a learner
would type them: what takes the place of `raise NotImplementedError`, or the
whole definition. The line before an answer names its exercise, its fault,
and words that the check's message must have:

    # 3.1 multiplied: must sharpen
    return (scores * temperature).softmax(-1)

An exception is no verdict: where an answer stops with one, its name must be
among the words.
"""

import json
import re
from collections import Counter
from pathlib import Path
from textwrap import indent

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(ROOT.glob("ch*/*/exercise-solutions.ipynb"))
TITLE = re.compile(r"^# (\d+\.\d+) (.+?): (.+)$\n", re.M)
BEGIN = re.compile(r"^( *)### BEGIN SOLUTION", re.M)


def stubs(notebook: Path) -> dict[str, tuple[str, str]]:
    """Of each exercise: what stands above the answer, and its indent."""
    found, stub = {}, ("", "")
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        for begin in BEGIN.finditer(source):
            stub = source[: begin.start()], begin[1]
        for number in re.findall(r'with exercise\("([\d.]+)"\)', source):
            found[number] = stub
    return found


STUBS = {notebook: stubs(notebook) for notebook in NOTEBOOKS}


def wrong_answers(notebook: Path) -> list:
    """(notebook, number, words, code) of each wrong answer of a chapter."""
    chapter = notebook.relative_to(ROOT).parts[0]
    path = Path(__file__).parent / "wrong_answers" / f"{chapter}.py"
    text = path.read_text("utf-8") if path.exists() else ""
    _, *parts = TITLE.split(text)
    answers = []
    for number, fault, words, code in zip(*[iter(parts)] * 4, strict=True):
        if number not in STUBS[notebook]:
            continue  # of another notebook of the chapter
        if not re.match(r"def |class |@", code):
            head, spaces = STUBS[notebook][number]
            code = head + indent(code, spaces)
        values = notebook, number, words, code
        answers.append(pytest.param(*values, id=f"{number} {fault}"))
    return answers


WRONG = [one for notebook in NOTEBOOKS for one in wrong_answers(notebook)]


@pytest.mark.parametrize("notebook, number, words, code", WRONG)
def test_a_wrong_answer_is_told_why(
    check_exercise, notebook, number, words, code
):
    said = check_exercise(notebook, number, code)
    assert f"Exercise {number}: not yet - " in said
    assert words in said
    stopped = re.search(r"stopped with (\w+)", said)
    assert not stopped or stopped[1] in words, said


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.parts[-3])
def test_every_exercise_has_three_wrong_answers(notebook):
    counts = Counter(p.values[1] for p in WRONG if p.values[0] == notebook)
    few = [number for number in STUBS[notebook] if counts[number] < 3]
    assert not few, f"wrong_answers/: fewer than three for {few}"
    assert counts.keys() == STUBS[notebook].keys()


def test_every_wrong_answer_belongs_to_one_exercise():
    for path in Path(__file__).parent.glob("wrong_answers/ch*.py"):
        chapter = [n for n in NOTEBOOKS if n.parts[-3] == path.stem]
        numbers = Counter(n for one in chapter for n in STUBS[one])
        assert set(numbers.values()) <= {1}, f"{path.stem}: a number twice"
        answers = {
            match[1] for match in TITLE.finditer(path.read_text("utf-8"))
        }
        assert answers == numbers.keys()


SOLVED = re.compile(r"### BEGIN SOLUTION[^\n]*\n(.*?)### END SOLUTION", re.S)


def sources(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda n: n.parts[-3])
def test_the_learner_s_file_holds_no_solution(notebook):
    """No whole solution, and no line of one that is not given as well."""
    learner = "\n".join(sources(notebook.with_name("exercises.ipynb")))
    solved = "\n".join(sources(notebook))
    assert "SOLUTION" not in learner
    given = {line.strip() for line in SOLVED.sub("", solved).splitlines()}
    shown = {line.strip() for line in learner.splitlines()}
    for solution in SOLVED.findall(solved):
        assert " ".join(solution.split()) not in " ".join(learner.split())
        lines = {line.strip() for line in solution.splitlines()}
        told = (lines & shown) - given
        assert not told, f"exercises.ipynb tells {told}"
