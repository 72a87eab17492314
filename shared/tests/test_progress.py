"""How far a learner is, read from notebooks as a learner leaves them."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import progress
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "ch03/01_main-chapter-code"
STUB = "def f(x):\n    raise NotImplementedError"
DONE = "def f(x):\n    return x"


def note(text: str) -> dict:
    return {"cell_type": "markdown", "source": text, "metadata": {}}


def code(source: str, count: int | None = None, said: str = "") -> dict:
    """A code cell; sources and streams are stored as lists, as Jupyter does.

    said: what it printed, if anything.
    """
    stream = {"output_type": "stream", "name": "stdout"}
    stream["text"] = said.splitlines(keepends=True)
    return {
        "cell_type": "code",
        "source": source.splitlines(keepends=True),
        "execution_count": count,
        "outputs": [stream] if said else [],
        "metadata": {},
    }


def check(number: str) -> str:
    return f'with exercise("{number}"):\n    assert f(1) == 1, "one"'


def exercise(
    number: str, answer: str, said: str = "", counts: tuple = (1, 2)
) -> list[dict]:
    """The cells of one exercise; said: its verdict, '' for no output."""
    verdict = f"Exercise {number}: {said}\n" if said else ""
    return [
        note(f"## Exercise {number}: a title (★★, 20 min)\n\nWrite it."),
        code(answer, counts[0]),
        code(check(number), counts[1], verdict),
    ]


def write(root: Path, *cells: dict, folder: str = FOLDER) -> Path:
    """A course with one notebook of exercises."""
    path = root / folder / "exercises.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    book = {"cells": [note("# My exercises"), *cells], "nbformat": 4}
    path.write_text(json.dumps(book), encoding="utf-8")
    return path


def stands(root: Path) -> dict[str, str]:
    """Of each exercise of a course, how it stands."""
    books = progress.read_course(root)
    return {one.number: one.state for book in books for one in book.exercises}


@pytest.mark.parametrize(
    "answer, said, counts, state",
    [
        (DONE, "solved", (1, 2), "solved"),
        (STUB, "open", (1, 2), "open"),
        (STUB, "", (None, None), "open"),  # outputs cleared, nothing done
        (DONE, "", (None, None), "not checked"),
        (DONE, "not yet - one", (1, 2), "not yet"),
        (DONE, "open", (1, 2), "not checked"),  # written after the check
        (DONE, "solved", (7, 2), "not checked"),  # run again after it
        (DONE, "not yet - one", (7, 2), "not checked"),
    ],
)
def test_how_an_exercise_stands(tmp_path, answer, said, counts, state):
    write(tmp_path, *exercise("3.1", answer, said, counts))
    assert stands(tmp_path) == {"3.1": state}


def test_a_half_written_answer_is_open(tmp_path):
    cells = exercise("3.1", STUB, "open")
    cells.insert(1, code(DONE, 1))
    write(tmp_path, *cells)
    assert stands(tmp_path) == {"3.1": "open"}


def test_the_stub_of_one_exercise_says_nothing_of_the_next(tmp_path):
    write(tmp_path, *exercise("3.1", STUB, "open"), *exercise("3.2", DONE, ""))
    assert stands(tmp_path) == {"3.1": "open", "3.2": "not checked"}


def test_what_a_heading_says_is_read(tmp_path):
    write(tmp_path, *exercise("3.1", STUB))
    ((book,), one) = progress.read_course(tmp_path), None
    (one,) = book.exercises
    assert (book.title, book.label) == ("My exercises", "ch03")
    assert (one.title, one.stars, one.minutes) == ("a title", "★★", 20)
    assert book.minutes == 20 and one.name.endswith("(★★, 20 min)")


def test_the_message_of_a_check_is_shown_and_escaped(tmp_path, capsys):
    said = "not yet - 'a' < 'b' & <b>\n  is wrong\nExercise 3.2: solved"
    write(tmp_path, *exercise("3.1", DONE, said))
    assert progress.main([], tmp_path) == 0
    assert "Its check says: 'a' < 'b' & <b> is wrong\n" in (
        capsys.readouterr().out
    )
    page = (tmp_path / "runs/progress.html").read_text("utf-8")
    assert "&lt;b&gt; is wrong" in page and "<b> is wrong" not in page


@pytest.mark.parametrize(
    "states, wanted",
    [
        ("open open open", "3.1"),
        ("solved open open", "3.2"),
        ("open solved open", "3.3"),  # goes on where the learner is
        ("open open solved", "3.1"),
        ("open solved wrong", "3.3"),
        ("solved solved solved", None),
    ],
)
def test_what_comes_next(tmp_path, states, wanted):
    said = {"open": "open", "solved": "solved", "wrong": "not yet - no"}
    cells = []
    for i, state in enumerate(states.split(), start=1):
        answer = STUB if state == "open" else DONE
        cells += exercise(f"3.{i}", answer, said[state])
    write(tmp_path, *cells)
    found = progress.what_next(progress.read_course(tmp_path))
    assert (found and found[1].number) == wanted


@pytest.mark.parametrize(
    "content, problem",
    [
        (b'{"cells": [', "is no notebook: Expecting"),
        (b"\xff\xfe", "is no notebook: 'utf-8'"),
        (b"", "is no notebook: Expecting"),
        (b"[1]", "is no notebook: it has no cells"),
        (b'{"cells": 3}', "is no notebook: it has no cells"),
        (b'{"cells": [3]}', "is no notebook: it has no cells"),
    ],
)
def test_a_broken_notebook_is_one_line(
    tmp_path, capsys, monkeypatch, content, problem
):
    monkeypatch.setattr(progress, "PAUSE", 0)
    write(tmp_path, *exercise("3.1", DONE, "solved"))
    broken = tmp_path / "ch04" / "exercises.ipynb"
    broken.parent.mkdir()
    broken.write_bytes(content)
    assert progress.main([], tmp_path) == 1
    out, err = capsys.readouterr()
    assert "1 of 1 solved" in out
    assert err.count("\n") == 1
    assert err.startswith(f"ch04/exercises.ipynb {problem}")
    page = (tmp_path / "runs/progress.html").read_text("utf-8")
    assert problem.split(":")[0] in page


def test_a_notebook_that_is_being_written_is_read_again(tmp_path, monkeypatch):
    path = write(tmp_path, *exercise("3.1", DONE, "solved"))
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    monkeypatch.setattr(time, "sleep", lambda s: path.write_bytes(whole))
    assert stands(tmp_path) == {"3.1": "solved"}


def test_a_copy_counts_with_its_original(tmp_path):
    path = write(tmp_path, *exercise("3.1", DONE, "solved"))
    path.rename(path.with_name("exercises-mine.ipynb"))
    write(tmp_path, *exercise("3.1", STUB, "open"))
    assert stands(tmp_path) == {"3.1": "solved"}
    assert len(progress.read_course(tmp_path)) == 1


def test_others_are_left_out(tmp_path):
    solved = exercise("3.1", DONE, "solved")
    path = write(tmp_path, *solved)
    path.rename(path.with_name("exercise-solutions.ipynb"))
    write(tmp_path, *solved, folder=f"{FOLDER}/.ipynb_checkpoints")
    write(tmp_path, note("No exercise."), folder="ch02")
    assert stands(tmp_path) == {}


def test_nothing_is_changed_and_the_page_asks_the_network_for_nothing(
    tmp_path, capsys
):
    path = write(tmp_path, *exercise("3.1", DONE, "not yet - http://x"))
    before = path.read_bytes(), path.stat().st_mtime_ns
    target = tmp_path / "deep" / "page.html"
    assert progress.main(["--page", str(target)], tmp_path) == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert str(target) in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    page = target.read_text("utf-8")
    assert not re.search(r"<(script|link|img|iframe)\b|url\(|@import", page)
    assert re.findall(r'(?:src|href)="', page) == []


def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys):
    path = write(tmp_path, *exercise("3.1", DONE, "solved"))
    with pytest.raises(SystemExit) as stop:
        progress.main(["--page", str(path / "x.html")], tmp_path)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_exercise_of_the_course_is_found_with_its_heading(capsys):
    books = progress.read_course(ROOT)
    assert {b.path for b in books} >= {
        p.relative_to(ROOT).as_posix()
        for p in ROOT.glob("ch*/*/exercises.ipynb")
    }
    for book in books:
        if not book.path.endswith("/exercises.ipynb"):
            continue  # a quiz may head its cells as it likes
        assert not book.problem and book.title
        for one in book.exercises:
            assert one.title and one.stars and one.minutes, (book.path, one)
    assert sum(len(book.exercises) for book in books) >= 83


def test_the_command_of_the_readme(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "shared" / "progress.py"),
            "--page",
            str(tmp_path / "page.html"),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert " solved.  ● solved" in done.stdout
    assert (tmp_path / "page.html").is_file()
