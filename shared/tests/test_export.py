"""export.py on small courses built for the occasion."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import export
import nbformat
import pytest
from books import code, save

CH02, CH03, CH04, CH05 = (
    f"ch0{n}/01_main-chapter-code/ch0{n}.ipynb" for n in (2, 3, 4, 5)
)
LEAF = "previous_chapters.py"
FIRST = "#| default_exp {}\n#| export\n"


@pytest.fixture
def course(tmp_path):
    """Two chapters that export, and one that has begun."""
    save(
        tmp_path / CH02,
        FIRST.format("text_data") + "import re, json\nimport numpy as np\n"
        "from collections.abc import Iterable, Iterator\n\n"
        'plt.style.use("x")\n',
        "+# The split.\nSPLIT = re.compile('a')  # tiny\n"
        "SIZE = 2\n\n\nLAST = SIZE\n# below\n",
        "print(SPLIT)",
        "+def words(text: str) -> 'Iterator[str]':\n"
        "    # kept,   as it is\n    return iter(SPLIT.split(text))\n\n"
        "@np.vectorize\ndef twice(x):\n    return 2*x",
        "+def main(argv=None):\n    print(json.dumps(argv))\n",
    )
    save(
        tmp_path / CH03,
        FIRST.format("attention") + "import torch\nfrom torch import nn\n"
        "from previous_chapters import SIZE, SPLIT, twice, words\n",
        "+class Head(nn.Module):\n    size = SIZE",
        "#| export replaces=twice\ndef twice(x):\n    return x + x",
        "#| export replaces=Head\n"
        "class Head(nn.Module):\n    size = SIZE + 1\n",
    )
    save(tmp_path / CH04, "from previous_chapters import Head, twice, words")
    return tmp_path


def write(root: Path, *more: str) -> int:
    return export.main([*more], root)


def text(root: Path, notebook: str, name: str) -> str:
    return (root / notebook).with_name(name).read_bytes().decode("utf-8")


# ---- Modules and leaves --------------------------------------------------


def test_module_of_a_chapter(course):
    assert write(course) == 0
    assert text(course, CH02, "text_data.py") == (
        f"# GENERATED from {CH02}\n{export.HOW}\n"
        "\nimport json\nimport re\n"
        "from collections.abc import Iterator\n\n"
        "import numpy as np\n\n"
        "# The split.\nSPLIT = re.compile('a')  # tiny\n"
        "SIZE = 2\n\n\nLAST = SIZE\n# below\n\n\n"
        "def words(text: str) -> 'Iterator[str]':\n"
        "    # kept,   as it is\n    return iter(SPLIT.split(text))\n\n\n"
        "@np.vectorize\ndef twice(x):\n    return 2*x\n\n\n"
        "def main(argv=None):\n    print(json.dumps(argv))\n\n\n"
        'if __name__ == "__main__":\n    raise SystemExit(main())\n'
    )


def test_module_imports_only_what_it_uses(course):
    assert write(course) == 0
    made = text(course, CH03, "attention.py").partition(export.HOW)[2]
    assert made == (
        "\n\nfrom previous_chapters import SIZE\nfrom torch import nn\n\n\n"
        "def twice(x):\n    return x + x\n\n\n"
        "class Head(nn.Module):\n    size = SIZE + 1\n"
    )


def test_leaf_holds_what_is_imported_and_what_that_stands_on(course):
    assert write(course) == 0
    assert text(course, CH04, LEAF) == (
        f"# GENERATED from {CH02}\n#            and {CH03}\n{export.HOW}\n"
        "\nimport re\nfrom collections.abc import Iterator\n\n"
        "from torch import nn\n\n"
        "# ---- ch02: text_data ----\n\n"
        "# The split.\nSPLIT = re.compile('a')  # tiny\nSIZE = 2\n\n\n"
        "def words(text: str) -> 'Iterator[str]':\n"
        "    # kept,   as it is\n    return iter(SPLIT.split(text))\n\n\n"
        "# ---- ch03: attention ----\n\n\n"
        "def twice(x):\n    return x + x\n\n\n"
        "class Head(nn.Module):\n    size = SIZE + 1\n"
    )
    assert "return 2*x" in text(course, CH03, LEAF)
    assert not (course / CH02).with_name(LEAF).exists()


def test_a_second_run_changes_nothing(course, capsys):
    write(course)
    capsys.readouterr()
    before = {p: p.read_bytes() for p in course.rglob("*.*") if p.is_file()}
    assert write(course) == write(course, "--check") == 0
    assert capsys.readouterr().out == ""
    assert before == {p: p.read_bytes() for p in before}
    assert not any(b"\r" in data for data in before.values())


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("import previous_chapters\nprevious_chapters.twice(1)", {"twice"}),
        ("import previous_chapters as pc\ndef f(): pc.SIZE = 3", {"SIZE"}),
        ("def f():\n    from previous_chapters import LAST as L", {"LAST"}),
        ("import numpy as pc\npc.twice", None),
    ],
)
def test_a_script_counts_with_all_its_ways_of_importing(course, script, names):
    folder = course / "ch04/02_bonus"
    folder.mkdir()
    (folder / "tests.py").write_text(script)
    assert write(course) == 0
    if names is None:
        assert not (folder / LEAF).exists()
        return
    made = {}
    exec((folder / LEAF).read_text(), made)
    assert names <= made.keys() and "words" not in made


def test_each_folder_of_scripts_has_its_leaf_and_a_package_has_none(course):
    unit = course / "ch04/02_bonus"
    for name, wanted in {
        "src/train.py": "SIZE",
        "src/pipeline/__init__.py": "SIZE",
        "src/pipeline/model.py": "Head",
        "scripts/show.py": "twice",
        "tests.py": "LAST",
    }.items():
        (unit / name).parent.mkdir(parents=True, exist_ok=True)
        (unit / name).write_text(
            f"from previous_chapters import {wanted}", encoding="utf-8"
        )
    assert write(course) == 0
    leaves = {
        p.parent: p.read_text(encoding="utf-8") for p in unit.rglob(LEAF)
    }
    assert leaves.keys() == {unit, unit / "src", unit / "scripts"}
    assert "class Head" in leaves[unit / "src"]
    assert "class Head" not in leaves[unit / "scripts"]


def test_generated_modules_run(course):
    save(
        course / CH04,
        FIRST.format("gpt") + '"""What it is."""\n'
        "from __future__ import annotations\n"
        "import os\nfrom previous_chapters import SIZE, LAST",
        "+class Tree:\n    def f(self) -> Tree:\n        return os.name\n\n"
        "def main(argv=None):\n    return SIZE + LAST",
    )
    assert write(course) == 0
    folder = (course / CH04).parent
    assert (
        subprocess.run([sys.executable, "gpt.py"], cwd=folder).returncode == 4
    )
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "-n"]
    command += [
        "--select=E,F,I,B,UP",
        "--line-length=79",
        "--exclude=*.ipynb",
        str(course),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# ---- Bonuses -------------------------------------------------------------

LLAMA, GEMMA = "ch03/02_llama/llama.ipynb", "ch03/03_gemma/gemma.ipynb"
NORM = "+class RMSNorm:\n    scale = {}\n\nclass {}:\n    norm = RMSNorm"


@pytest.fixture
def bonuses(course):
    """Two bonuses that use one name for two things, each in its own way."""
    save(course / LLAMA, FIRST.format("llama"), NORM.format(1, "Llama"))
    save(course / GEMMA, FIRST.format("gemma"), NORM.format(2, "Gemma"))
    return course


def need(root: Path, notebook: str, *lines: str, names: str) -> Path:
    first = "".join(f"#| needs {line}\n" for line in lines)
    path = root / notebook
    return save(path, first + f"from previous_chapters import {names}")


def test_two_bonuses_with_one_name_stay_apart(bonuses):
    need(bonuses, CH04, "ch03/02_llama", names="Llama, Head")
    need(bonuses, "ch04/02_x/x.ipynb", "ch03/03_gemma", names="RMSNorm")
    script = bonuses / "ch04/03_y/y.py"
    script.parent.mkdir()
    script.write_text(
        "#| needs ch03/03_gemma\nfrom previous_chapters import Gemma\n",
        encoding="utf-8",
    )
    assert write(bonuses) == write(bonuses, "--check") == 0
    main = text(bonuses, CH04, LEAF)
    assert "scale = 1" in main and "scale = 2" not in main
    assert main.index("# ---- ch03: attention") < main.index("# ---- ch03: ll")
    for other in ("ch04/02_x", "ch04/03_y"):
        made = (bonuses / other / LEAF).read_text(encoding="utf-8")
        assert "scale = 2" in made and "scale = 1" not in made


@pytest.mark.parametrize("names", ["Llama, Gemma", "RMSNorm"])
def test_one_leaf_cannot_hold_both(bonuses, capsys, names):
    need(bonuses, CH04, "ch03/02_llama", "ch03/03_gemma", names=names)
    assert write(bonuses) == 1
    (said,) = capsys.readouterr().out.splitlines()
    assert all(word in said for word in (CH04[:4], "RMSNorm", LLAMA, GEMMA))


def test_a_bonus_is_invisible_unless_it_is_needed(bonuses, capsys):
    need(bonuses, CH04, names="Llama")
    assert write(bonuses) == 1
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(CH04) and "#| needs ch03/02_llama" in said
    need(bonuses, CH04, "ch03/04_none", names="Head")
    assert write(bonuses) == 1
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(CH04) and "ch03/04_none" in said


def test_a_bonus_stands_on_its_own_chapter_s_main_notebook(bonuses):
    save(
        bonuses / LLAMA,
        FIRST.format("llama") + "from previous_chapters import Head",
        "#| export\nclass Llama(Head):\n    pass",
    )
    need(bonuses, CH04, "ch03/02_llama", names="Llama")
    assert write(bonuses) == 0
    assert "class Head" in text(bonuses, LLAMA, LEAF)
    assert "import Head" in text(bonuses, LLAMA, "llama.py")
    assert "class Head" in text(bonuses, CH04, LEAF)


def test_a_main_notebook_may_need_a_bonus_of_its_chapter(bonuses):
    """And whoever imports from it gets what that stands on."""
    save(
        bonuses / LLAMA,
        FIRST.format("llama") + "from previous_chapters import SIZE",
        "+def load():\n    return SIZE",
    )
    save(
        bonuses / CH03,
        "#| needs ch03/02_llama\n"
        + FIRST.format("attention")
        + "from previous_chapters import load",
        "+def train():\n    return load()",
    )
    need(bonuses, CH04, names="train")
    assert write(bonuses) == 0
    for notebook, name in (CH03, "SIZE"), (CH04, "SIZE"), (LLAMA, "SIZE"):
        assert f"{name} = 2" in text(bonuses, notebook, LEAF)
    made: dict = {}
    exec(text(bonuses, CH04, LEAF), made)
    assert made["train"]() == 2


def test_a_circle_is_reported_in_a_line(bonuses, capsys):
    for one, other in (LLAMA, "ch03/03_gemma"), (GEMMA, "ch03/02_llama"):
        save(
            bonuses / one, f"#| needs {other}\n" + FIRST.format("m"), "+X = 1"
        )
    assert write(bonuses) == 1
    said = capsys.readouterr().out.splitlines()[0]
    assert "ch03/02_llama needs ch03/03_gemma needs ch03/02_llama" in said


def test_a_bonus_replaces_for_those_who_need_it_only(bonuses):
    save(
        bonuses / LLAMA,
        FIRST.format("llama"),
        "#| export replaces=twice\ndef twice(x):\n    return 3 * x",
    )
    need(bonuses, "ch04/02_x/x.ipynb", "ch03/02_llama", names="twice")
    assert write(bonuses) == 0
    assert "return x + x" in text(bonuses, CH04, LEAF)
    made = (bonuses / "ch04/02_x" / LEAF).read_text(encoding="utf-8")
    assert "return 3 * x" in made and "return x + x" not in made


# ---- Chapter 1 looks ahead -----------------------------------------------


def test_chapter_1_looks_ahead_and_nothing_stands_on_it(course):
    ch01 = "ch01/01_main-chapter-code/ch01.ipynb"
    save(
        course / ch01,
        "#| needs ch03/01_main-chapter-code\nfrom later_chapters import Head",
    )
    script = course / "ch01/02_page/tests.py"
    script.parent.mkdir()
    script.write_text(
        "#| needs ch02/01_main-chapter-code\nfrom later_chapters import twice",
        encoding="utf-8",
    )
    before = export.build(course)[0]
    assert write(course) == write(course, "--check") == 0
    assert "class Head" in text(course, ch01, "later_chapters.py")
    assert "return 2*x" in script.with_name("later_chapters.py").read_text(
        "utf-8"
    )
    assert not any(p.name == LEAF for p in course.glob("ch01/*/*.py"))
    (course / ch01).unlink()
    without = export.build(course)[0]
    assert {p: t for p, t in before.items() if "ch01/01" not in str(p)} == (
        without
    )


# ---- Names and faults ----------------------------------------------------

UNDEFINED = [
    "def f(a=zork): return a",
    "def f(a: 'list[zork]'): pass",
    "class A:\n    zork = 1\n    def f(self): return zork",
    "X = zork  # noqa: F821",
]
DEFINED = [
    "def f():\n    import zork\n    return zork.x",
    "class A:\n    def f(self) -> 'A': return super().f(), __class__",
    "def f(): return g()\n\ndef g(): return f(), __file__",
    "def f(x: Literal['zork', 'a b']) -> 'Literal[\"zork\"]': pass",
    "ZORK = {}\n\ndef f():\n    global ZORK\n    ZORK = 1",
    'X = """zork\n  in\nlines"""\n\n\ndef f():\n\n    return X',
]


@pytest.mark.parametrize("source", UNDEFINED)
def test_undefined_name_is_found_in_every_scope(tmp_path, source):
    save(tmp_path / CH02, FIRST.format("m"), "+" + source)
    (fault,) = export.build(tmp_path)[1]
    assert fault.startswith(f"{CH02}, cell 2: zork is not defined")


@pytest.mark.parametrize("source", DEFINED)
def test_defined_name_is_no_fault(tmp_path, source):
    first = FIRST.format("m") + "from typing import Literal"
    save(tmp_path / CH02, first, "+" + source)
    assert export.build(tmp_path)[1] == []


M = "#| default_exp m"
FAULTS = [
    (["+X = 1"], "cell 1: name the module"),
    (["#| default_exp my-module"], "cell 1: cannot read"),
    (["#| default_exp m\n#| exprot"], "cell 1: cannot read '#| exprot'"),
    ([M, "x = 1\n#| export"], "cell 2: move its #| lines"),
    ([M, "+!ls"], "cell 2: line 2, invalid syntax"),
    ([M, "+print(1)"], "cell 2: 'print(1)' would run"),
    ([M, "+for i in range(3):\n    pass"], "cell 2: 'for i in range(3):' wou"),
    ([M, "+X = 1", "+X += 1"], "cell 3: 'X += 1' would run"),
    ([M, "+import os\nos.environ['X'] = '1'"], "cell 2: 'os.environ['X'] ="),
    ([M, "+from . import y"], "cell 2: 'from . import y'"),
    ([M, "+from os import *"], "cell 2: 'from os import *'"),
    ([M, "+import previous_chapters"], "cell 2: 'import previous_chapters'"),
    ([M, "+X = 1", "+X = 2"], "cell 3: X is already exported by"),
    ([M, "#| export replaces=X\nX = 2"], "cell 2: there is no X to replace"),
    ([M, "#| export replaces=X\nY = 2"], "cell 2: replaces=X, but defines"),
    ([M, "+Y = [X]", "+X = 1"], "cell 2: X is not defined"),
    ([M, "+def f() -> A: pass\n\nclass A: pass"], "cell 2: A is not defined"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "message"), FAULTS)
def test_fault_is_reported_with_its_cell(tmp_path, capsys, cells, message):
    save(tmp_path / CH02, *cells)
    assert write(tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert len([s for s in said if s.startswith(f"{CH02}, {message}")]) == 1
    assert all(line.startswith(CH02) for line in said), said
    assert list(tmp_path.rglob("*.py")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import math\nfrom torch import log\n"
        "from math import log\ndef f(): return log(1)",
        "from math import log\ndef log(): pass\ndef f(): return log",
    ],
)
def test_one_name_for_two_things(tmp_path, capsys, source):
    save(tmp_path / CH02, FIRST.format("m"), "+" + source)
    assert write(tmp_path) == 1
    assert "m.py: log would be two things" in capsys.readouterr().out


def test_an_earlier_chapter_s_name_is_not_taken_silently(course, capsys):
    save(course / CH04, FIRST.format("gpt"), "+def words(): pass")
    assert write(course) == 1
    said = capsys.readouterr().out
    assert f"{CH02}, cell 4" in said and "#| export replaces=words" in said
    save(course / CH04, FIRST.format("gpt"), "+def f(): return words")
    assert write(course) == 1
    said = capsys.readouterr().out
    assert "words is not defined: import it from previous_chapters" in said


def test_all_faults_are_reported_and_nothing_is_written(course, capsys):
    write(course)
    before = {p: p.read_bytes() for p in course.rglob("*.py")}
    save(course / CH02, FIRST.format("text_data"), "+X = zork", "+!ls")
    save(course / CH03, "1").write_text('{"cells": [', encoding="utf-8")
    for more in ([], ["--check"]):
        assert write(course, *more) == 1
        said = capsys.readouterr().out
        assert f"{CH02}, cell 2: zork" in said
        assert f"{CH02}, cell 3: line 2" in said
        assert f"{CH03}: " in said and "Traceback" not in said
    assert before == {p: p.read_bytes() for p in before}


def test_a_hand_written_file_is_not_overwritten(course, capsys):
    path = (course / CH02).with_name("text_data.py")
    path.write_text("x = 1\n", encoding="utf-8")
    assert write(course) == 1
    assert "text_data.py is written by hand" in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == "x = 1\n"


# ---- Drift ---------------------------------------------------------------


def test_check_shows_drift_and_writes_nothing(course, capsys):
    write(course)
    folder = (course / CH03).parent
    (folder / LEAF).unlink()
    module = (folder / "attention.py").read_bytes()
    changed = (course / CH02).with_name("text_data.py")
    changed.write_bytes(changed.read_bytes().replace(b"SIZE = 2", b"SIZE = 3"))
    (folder / "attention.py").write_bytes(module.replace(b"\n", b"\r\n"))
    (folder / "old_name.py").write_bytes(module)
    (folder / "by_hand.py").write_bytes(b"x = 1\n")
    before = {p: p.read_bytes() for p in course.rglob("*.py")}
    capsys.readouterr()
    assert write(course, "--check") == 1
    said = capsys.readouterr().out
    for name in (LEAF, "attention.py", "old_name.py", "text_data.py"):
        assert name in said
    assert "by_hand" not in said
    assert before == {p: p.read_bytes() for p in course.rglob("*.py")}
    assert write(course) == write(course, "--check") == 0
    assert not (folder / "old_name.py").exists()
    assert (folder / "by_hand.py").exists()


# ---- Exercises -----------------------------------------------------------

SOLUTIONS = "ch03/01_main-chapter-code/exercise-solutions.ipynb"
LEARNERS = "ch03/01_main-chapter-code/exercises.ipynb"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
SOLVED = f"""\
def half(x):
    if x == 0:
        {BEGIN}
        return 0
        {END}
    y = x
    {BEGIN}
    return y / 2
    {END}


with exercise("3.1"):
    {BEGIN}
    answer = 4
    {END}
    assert answer == 4"""
UNSOLVED = """\
def half(x):
    if x == 0:
        raise NotImplementedError
    y = x
    raise NotImplementedError


with exercise("3.1"):
    raise NotImplementedError
    assert answer == 4"""


@pytest.fixture
def exercises(tmp_path):
    text = {"cell_type": "markdown", "metadata": {"tags": ["a"], "b": 1}}
    told = f"Ask.\n<!-- {BEGIN} -->\nTell.\n<!-- {END} -->"
    hidden = {"jupyter": {"source_hidden": True}}
    save(
        tmp_path / SOLUTIONS,
        text | {"source": told},
        code(SOLVED, id="solved-1", execution_count=1),
        text | {"source": f"{BEGIN}\nAll.\n{END}"},
        code("print(1)", metadata=hidden | {"collapsed": True}),
    )
    assert write(tmp_path) == 0
    return tmp_path


def test_exercises_are_cut_from_solutions(exercises):
    book = nbformat.read(exercises / LEARNERS, as_version=4)
    nbformat.validate(book)
    assert [(cell.id, cell.source) for cell in book.cells] == [
        ("cell-0", "Ask."),
        ("solved-1", UNSOLVED),
        ("cell-3", "print(1)"),
    ]
    assert [cell.metadata for cell in book.cells] == [
        {"tags": ["a"]},
        {},
        {"jupyter": {"source_hidden": True}},
    ]


def test_exercises_keep_outputs_of_cells_that_did_not_change(exercises):
    path = exercises / LEARNERS
    book = export.read_notebook(path)
    out = {"name": "stdout", "output_type": "stream", "text": "1\n2\n"}
    for number, cell in enumerate(book.cells[1:], start=1):
        cell.execution_count = number
        cell.outputs = [nbformat.from_dict(out)]
    export.write_text(path, export.dump_notebook(book.cells))
    stored = path.read_bytes()
    assert write(exercises, "--check") == write(exercises) == 0
    assert path.read_bytes() == stored

    solutions = exercises / SOLUTIONS
    changed = solutions.read_text(encoding="utf-8").replace("y = x", "y = -x")
    solutions.write_text(changed, encoding="utf-8")
    assert write(exercises, "--check") == 1
    assert write(exercises) == 0
    cells = export.read_notebook(path).cells
    assert (cells[1].execution_count, cells[1].outputs) == (None, [])
    assert (cells[2].execution_count, cells[2].outputs) == (2, [out])


@pytest.mark.parametrize(
    "source",
    [
        f"def f():\n    {BEGIN}\n    return 1",
        f"def f():\n    return 1\n    {END}",
    ],
)
def test_a_marker_without_its_fellow_is_reported(tmp_path, capsys, source):
    save(tmp_path / SOLUTIONS, "x = 0", source)
    assert write(tmp_path) == 1
    said = capsys.readouterr().out
    assert said.startswith(SOLUTIONS) and "def f()" in said
    assert not (tmp_path / LEARNERS).exists()
