"""run_notebooks.py, nbval's patterns and conftest.py, on small notebooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import export
import nbformat
import pytest
import run_notebooks
from books import code, save
from nbval.plugin import IPyNbCell, get_sanitize_patterns, nocolors

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT / "shared"


def read(path: Path) -> list:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return book.cells


# ---- Executing and storing -----------------------------------------------

PLOT = """\
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()"""
FAIL = """\
def f():
    raise ValueError("no\\x1b[31m colour")

f()"""
ENVIRONMENT = """\
import os
names = ["TQDM_DISABLE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES",
         "HF_HUB_OFFLINE", "NO_COLOR", "PYTHONHASHSEED"]
[os.environ.get(name) for name in names]"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A notebook with everything in it, executed once."""
    path = tmp_path_factory.mktemp("a") / "b" / "a.ipynb"
    note = {"cell_type": "markdown", "source": "A note.", "id": "cell-0"}
    save(
        path,
        note | {"metadata": {"lines_to_next_cell": 2, "tags": ["t"]}},
        "",
        "print(1, flush=True)\nprint(2)",
        "import os\nos.path.basename(os.getcwd())",
        code(PLOT, metadata={"jupyter": {"source_hidden": True}}),
        code(FAIL, "raises-exception"),
        ENVIRONMENT,
    )
    assert run_notebooks.main([str(path)]) == 0
    return path


def test_outputs_are_stored_in_normal_form(stored):
    cells = read(stored)
    assert [c.get("execution_count") for c in cells] == [None, 1, 2, 3, 4, 5]
    assert cells[1].outputs == [
        {"output_type": "stream", "name": "stdout", "text": "1\n2\n"}
    ]
    assert cells[2].outputs[0].data == {"text/plain": "'b'"}
    assert sorted(cells[3].outputs[0].data) == ["image/png", "text/plain"]


def test_kernel_sees_the_environment_of_the_tests(stored):
    values = eval(read(stored)[5].outputs[0].data["text/plain"])
    assert values == ["1", "1", "", "1", "1", None]


def test_deliberate_error_is_stored_short_and_clean(stored):
    (error,) = read(stored)[4].outputs
    assert (error.ename, error.evalue) == ("ValueError", "no colour")
    trace = "\n".join(error.traceback)
    assert "----> 2 raise ValueError" in trace
    assert "\x1b" not in trace and len(trace.splitlines()) == 6


def test_metadata_is_dropped_but_for_tags_and_folding(stored):
    book = json.loads(stored.read_text(encoding="utf-8"))
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    cells = book["cells"]
    assert cells[0]["metadata"] == {"tags": ["t"]}
    assert cells[1]["metadata"] == {}
    assert cells[3]["metadata"] == {"jupyter": {"source_hidden": True}}


def test_a_second_run_changes_nothing(stored):
    before = stored.read_bytes()
    assert run_notebooks.check_stored(stored) == ""
    assert run_notebooks.main([str(stored)]) == 0
    assert stored.read_bytes() == before
    assert before.endswith(b"}\n") and b"\r" not in before


FAILING = {
    "writes to stderr: 'oh'": "import sys; sys.stderr.write('oh');",
    "ZeroDivisionError: division by zero": "1 / 0",
    "timed out": "import time\ntime.sleep(60)",
    "Kernel died": "import os\nos._exit(1)",
    "shows image/svg+xml": "from IPython.display import SVG\nSVG('<svg/>')",
}


def test_failure_names_the_cell_and_leaves_the_file(
    tmp_path, capsys, monkeypatch
):
    """And the notebooks after it are executed nevertheless."""
    monkeypatch.setattr(run_notebooks, "SECONDS", 3)
    paths = [
        save(tmp_path / f"{i}.ipynb", "1", source)
        for i, source in enumerate(FAILING.values())
    ]
    before = [path.read_bytes() for path in paths]
    good = save(tmp_path / "good.ipynb", "1")
    names = [str(path) for path in [*paths, good]]
    assert run_notebooks.main(names) == 1
    said = capsys.readouterr().err
    for path, message in zip(paths, FAILING, strict=True):
        assert f"{path}, cell 2: " in said and message in said
    assert before == [path.read_bytes() for path in paths]
    assert read(good)[0].execution_count == 1


def test_what_is_no_notebook_is_named(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "none.ipynb"):
        with pytest.raises(SystemExit) as end:
            run_notebooks.main([str(path)])
        assert end.value.code == 2 and str(path) in capsys.readouterr().err
    binary = tmp_path / "binary.ipynb"
    binary.write_bytes(b"\xff")
    assert run_notebooks.main([str(binary)]) == 1
    assert "binary.ipynb, no notebook" in capsys.readouterr().err
    assert "no notebook" in run_notebooks.check_stored(binary)


STDERR = {"output_type": "stream", "name": "stderr", "text": "oh"}


@pytest.mark.parametrize(
    "change",
    [
        {"execution_count": 3},
        {"metadata": {"collapsed": True}},
        {"outputs": [STDERR]},
    ],
)
def test_check_sees_what_is_not_in_normal_form(tmp_path, change):
    path = tmp_path / "a.ipynb"
    good = code("1", id="a", execution_count=1)
    for cell, is_wrong in (good, False), (good | change, True):
        text = export.dump_notebook([nbformat.from_dict(cell)])
        export.write_text(path, text)
        assert bool(run_notebooks.check_stored(path)) == is_wrong


# ---- What nbval overlooks, and what it does not --------------------------


def same_for_nbval(stored: dict, new: dict) -> bool:
    """What nbval says of two outputs, with our patterns."""
    text = (SHARED / "nbval.cfg").read_text(encoding="utf-8")
    cell = IPyNbCell.__new__(IPyNbCell)
    cell.parent = SimpleNamespace(
        sanitize_patterns=dict(get_sanitize_patterns(text)),
        skip_compare=("metadata", "traceback", "output_type", "name"),
    )
    cell.colors = nocolors
    cell.format_output_compare = lambda *args: None
    outputs = [nbformat.from_dict(stored)], [nbformat.from_dict(new)]
    return cell.compare_outputs(*outputs)


def printed(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": text}


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("took 3.2 s", "took 12 s"),
        ("12,345 tokens/s", "9.5 tokens/s"),
        ("read at 1.2 MB/s", "read at 98 MB/s"),
        ("51.2 GFLOP/s, 9 % of peak", "7 GFLOP/s, 91.5 % of peak"),
        ("9.1% of peak", "12.5% of peak"),
        ("one step: 3 ms (5)", "one step: 1,034.25 ms (5)"),
        ("<f at 0x7f0012abcd34>", "<f at 0x55e0a1b2c3d4>"),
    ],
)
def test_nbval_overlooks_times_and_speeds(stored, new):
    assert same_for_nbval(printed(stored), printed(new))


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        ("loss 2.34", "loss 2.35"),
        ("12,345 tokens", "12,346 tokens"),
        ("took 3 steps", "took 4 steps"),
        ("3.2 s", "3.3 s"),
        ("below 0.5: True", "below 0.5: False"),
        ("epoch 1 took 3.2 s", "epoch 2 took 3.2 s"),
        ("loss 2.34, took 3.2 s", "loss 2.35, took 3.2 s"),
        ("took 3.2 s", "took 3.2 ms"),
        ("12 tokens/s", "12 tokens/step"),
        ("1\n", "1\n\n"),
    ],
)
def test_nbval_sees_everything_else(stored, new):
    assert same_for_nbval(printed(stored), printed(stored))
    assert not same_for_nbval(printed(stored), printed(new))


def test_nbval_sees_another_message_of_a_deliberate_error():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no"}
    error["traceback"] = ["a"]
    assert same_for_nbval(error, error | {"traceback": ["b"]})
    assert not same_for_nbval(error, error | {"evalue": "stride -1"})
    assert not same_for_nbval(error, error | {"ename": "TypeError"})


# ---- pytest as readers run it --------------------------------------------

TESTS = """\
from pathlib import Path

import data
import pytest


def test_own_neighbour():
    assert data.NAME == Path(__file__).parent.parent.name


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with two chapters, our conftest.py and our settings."""
    root = tmp_path_factory.mktemp("course")
    for name in (
        "conftest.py",
        "pyproject.toml",
        "shared/nbval.cfg",
        "shared/tests/seconds.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    for chapter in ("ch02", "ch03"):
        folder = root / chapter / "01_main-chapter-code"
        folder.mkdir(parents=True)
        (folder / "tests.py").write_text(TESTS, encoding="utf-8")
        (folder / "data.py").write_text(
            "from previous_chapters import NAME", encoding="utf-8"
        )
        (folder / "previous_chapters.py").write_text(
            f"NAME = '{chapter}'\n", encoding="utf-8"
        )
    notebook = root / "ch02/01_main-chapter-code/ch02.ipynb"
    fail = code("raise ValueError('no')", "raises-exception")
    save(notebook, "print('took 3.2 s')", "print(1 < 2)", fail, "print(17)")
    assert run_notebooks.main([str(notebook)]) == 0
    return root


def run(folder: Path, *command: str) -> subprocess.CompletedProcess:
    """Run a command as a reader would, outside of this pytest."""
    outer = ("PYTEST_", "PYTHONPATH", "COV_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(outer)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(SHARED)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_whole_course_passes_and_times_are_recorded(course):
    """With two processes if pytest-xdist is installed."""
    done = run(course, "-m", "pytest", "--record-seconds")
    assert done.returncode == 0, done.stdout
    seconds = json.loads(
        (course / "shared/tests/seconds.json").read_text(encoding="utf-8")
    )
    assert set(seconds) == {
        "ch02/01_main-chapter-code/ch02.ipynb",
        "ch02/01_main-chapter-code/tests.py",
        "ch03/01_main-chapter-code/tests.py",
    }
    assert "6 passed" in done.stdout
    assert "seconds per file" in done.stdout
    assert " s  ch02/01_main-chapter-code/ch02.ipynb" in done.stdout


def test_changed_results_fail_alone(course):
    """One notebook, no second process, three cells that changed."""
    path = course / "ch02/01_main-chapter-code/ch02.ipynb"
    good = path.read_text(encoding="utf-8")
    bad = good.replace('"True', '"False').replace('"17', '"71')
    bad = bad.replace('"evalue": "no"', '"evalue": "nope"')
    bad = bad.replace("took 3.2 s\\n", "took 9 s\\n", 1)
    path.write_text(bad, encoding="utf-8")
    try:
        name = "ch02/01_main-chapter-code/ch02.ipynb"
        done = run(course, "-m", "pytest", "--nbval", name)
    finally:
        path.write_text(good, encoding="utf-8")
    assert "3 failed, 1 passed" in done.stdout, done.stdout
    for number in (1, 2, 3):
        assert f"FAILED {name}::Cell {number}" in done.stdout


def test_chapters_tests_run_from_their_folder(course):
    done = run(course / "ch03/01_main-chapter-code", "tests.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


# ---- The fixtures for the chapters' tests --------------------------------

EXERCISE = """\
from contextlib import contextmanager

@contextmanager
def exercise(number):
    try:
        yield
        print(f"Exercise {number}: solved")
    except Exception as error:
        print(f"Exercise {number}: not yet - {error}")
"""


@pytest.fixture
def exercises(tmp_path):
    (tmp_path / "helper.py").write_text(EXERCISE, encoding="utf-8")
    (tmp_path / "limit.txt").write_text("3", encoding="utf-8")
    return save(
        tmp_path / "exercise-solutions.ipynb",
        "%matplotlib inline",
        "from pathlib import Path\nfrom helper import exercise\nSIZE = 4\n"
        "print('not when defining')",
        "def half(x):\n    ### BEGIN SOLUTION\n    return x / 2\n"
        "    ### END SOLUTION",
        'with exercise("1.1"):\n    assert half(2) == 1, "half of 2 is 1"',
        "limit = Path('limit.txt')\n"
        "top = int(limit.read_text())\nlater = len(str(top))",
        "def capped(x):\n    ### BEGIN SOLUTION\n    return min(x, top)\n"
        "    ### END SOLUTION",
        "seen = [capped(x) for x in range(SIZE)]",
        'with exercise("1.2"):\n    assert capped(9) == 3, "9 is too much"\n'
        "    assert seen == [0, 1, 2, 3], seen",
        "def broken(x):\n    ### BEGIN SOLUTION\n    return 1\n"
        "    ### END SOLUTION",
        'with exercise("1.3"):\n    assert broken(1) == 2, "never"',
    )


def test_notebook_names_are_definitions_only(
    exercises, notebook_names, capsys
):
    names = notebook_names(exercises)
    assert names["half"](3) == 1.5
    assert names["SIZE"] == 4
    assert not {"top", "later", "seen"} & set(names)
    assert notebook_names(exercises) is names
    assert capsys.readouterr().out == ""


def test_check_exercise_tells_right_from_wrong(exercises, check_exercise):
    where, path = os.getcwd(), sys.path[:]
    said = check_exercise(exercises, "1.2", "def capped(x): return x")
    assert said == "Exercise 1.2: not yet - 9 is too much\n"
    said = check_exercise(exercises, "1.2", "def capped(x): return 3")
    assert said == "Exercise 1.2: not yet - [3, 3, 3, 3]\n"
    said = check_exercise(exercises, "1.1", "def half(x): return x // 2")
    assert said == "Exercise 1.1: solved\n"
    assert (os.getcwd(), sys.path) == (where, path)


def test_check_exercise_proves_the_check_first(exercises, check_exercise):
    with pytest.raises(AssertionError, match="own solution is not accepted"):
        check_exercise(exercises, "1.3", "def broken(x): return 2")
