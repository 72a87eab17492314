"""export.py on small courses built for the occasion."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

SHARED = Path(__file__).resolve().parent.parent
HEADER = """\
# GENERATED from {}
# Do not edit. Change the notebook and run: python shared/export.py
"""
CH02, CH03, CH04 = (
    f"ch0{n}/01_main-chapter-code/ch0{n}.ipynb" for n in (2, 3, 4)
)


@pytest.fixture(scope="module")
def export(load_module):
    return load_module(SHARED, "export")


def code(source: str, **more) -> dict:
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "execution_count": None,
        "outputs": [],
    } | more


def save(path: Path, *cells: dict | str) -> Path:
    """Write a notebook; a string is a code cell."""
    cells = [code(c) if isinstance(c, str) else dict(c) for c in cells]
    for i, cell in enumerate(cells):
        cell.setdefault("id", f"cell-{i}")
    book = {"cells": cells, "metadata": {}}
    book |= {"nbformat": 4, "nbformat_minor": 5}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(book), encoding="utf-8")
    return path


FIRST = "#| default_exp {}\n#| export\n"


@pytest.fixture
def course(tmp_path):
    """Two chapters that export, and one that has begun."""
    save(
        tmp_path / CH02,
        FIRST.format("text_data") + "import re, json\nimport numpy as np\n"
        "from collections.abc import Iterable, Iterator\n\n"
        'plt.style.use("x")\n',
        "#| export\n# The split.\nSPLIT = re.compile('a')  # tiny\n"
        "SIZE = 2\n\n\nLAST = SIZE\n# below\n",
        "print(SPLIT)",
        "#| export\ndef words(text: str) -> 'Iterator[str]':\n"
        "    # kept,   as it is\n    return iter(SPLIT.split(text))\n\n"
        "@np.vectorize\ndef twice(x):\n    return 2*x",
        "#| export\ndef main(argv=None):\n    print(json.dumps(argv))\n",
    )
    save(
        tmp_path / CH03,
        FIRST.format("attention") + "import torch\nfrom torch import nn\n"
        "from previous_chapters import SIZE, SPLIT, twice, words\n",
        "#| export\nclass Head(nn.Module):\n    size = SIZE",
        "#| export replaces=twice\ndef twice(x):\n    return x + x",
        "#| export replaces=Head\n"
        "class Head(nn.Module):\n    size = SIZE + 1\n",
    )
    save(tmp_path / CH04, "1 + 1")
    return tmp_path


def text(root: Path, name: str) -> str:
    return (root / name).read_bytes().decode("utf-8")


# ---- Modules -------------------------------------------------------------


def test_module_of_a_chapter(export, course):
    assert export.main(["--root", str(course)]) == 0
    made = text(course, "ch02/01_main-chapter-code/text_data.py")
    assert made == HEADER.format(CH02) + (
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


def test_a_root_that_is_no_folder_is_named(export, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        export.main(["--check", "--root", str(tmp_path / "none")])
    assert end.value.code == 2 and "none is not a folder" in (
        capsys.readouterr().err)


def test_module_imports_what_it_uses_of_previous_chapters(export, course):
    assert export.main(["--root", str(course)]) == 0
    made = text(course, "ch03/01_main-chapter-code/attention.py")
    assert made == HEADER.format(CH03) + (
        "\nfrom previous_chapters import SIZE\nfrom torch import nn\n\n\n"
        "def twice(x):\n    return x + x\n\n\n"
        "class Head(nn.Module):\n    size = SIZE + 1\n"
    )


def test_previous_chapters_holds_final_forms_in_order(export, course):
    assert export.main(["--root", str(course)]) == 0
    made = text(course, "ch04/01_main-chapter-code/previous_chapters.py")
    second = f"#            and {CH03}\n# Do not"
    assert made == HEADER.format(CH02).replace("# Do not", second) + (
        "\nimport re\nfrom collections.abc import Iterator\n\n"
        "from torch import nn\n\n"
        "# ---- ch02: text_data ----\n\n"
        "# The split.\nSPLIT = re.compile('a')  # tiny\n"
        "SIZE = 2\n\n\nLAST = SIZE\n# below\n\n\n"
        "def words(text: str) -> 'Iterator[str]':\n"
        "    # kept,   as it is\n    return iter(SPLIT.split(text))\n\n\n"
        "# ---- ch03: attention ----\n\n\n"
        "def twice(x):\n    return x + x\n\n\n"
        "class Head(nn.Module):\n    size = SIZE + 1\n"
    )
    earlier = text(course, "ch03/01_main-chapter-code/previous_chapters.py")
    assert "@np.vectorize\ndef twice(x):\n    return 2*x\n" in earlier
    assert "main" not in made.replace(CH02, "").replace(CH03, "")


def test_what_is_generated_is_what_is_expected(export, course):
    """Which files, and that a chapter without exports has no module."""
    assert export.main(["--root", str(course)]) == 0
    made = {p.relative_to(course).as_posix() for p in course.rglob("*.py")}
    assert made == {
        "ch02/01_main-chapter-code/text_data.py",
        "ch03/01_main-chapter-code/attention.py",
        "ch03/01_main-chapter-code/previous_chapters.py",
        "ch04/01_main-chapter-code/previous_chapters.py",
    }


def test_a_second_run_changes_nothing(export, course, capsys):
    export.main(["--root", str(course)])
    assert "wrote ch02" in capsys.readouterr().out
    before = {p: p.read_bytes() for p in course.rglob("*.*") if p.is_file()}
    assert export.main(["--root", str(course)]) == 0
    assert capsys.readouterr().out == ""
    assert before == {p: p.read_bytes() for p in before}
    assert not any(b"\r" in data for data in before.values())
    assert export.main(["--root", str(course), "--check"]) == 0


def test_future_import_comes_first_and_docstring_before_it(export, tmp_path):
    save(
        tmp_path / CH02,
        FIRST.format("text_data") + '"""What a chapter built."""\n'
        "from __future__ import annotations\n\nimport os",
        "#| export\nclass Tree:\n    def child(self) -> Tree:\n"
        "        return os.name",
    )
    assert export.main(["--root", str(tmp_path)]) == 0
    made = text(tmp_path, "ch02/01_main-chapter-code/text_data.py")
    assert made.startswith(
        HEADER.format(CH02) + '"""What a chapter built."""\n\n'
        "from __future__ import annotations\n\nimport os\n\n\nclass Tree"
    )
    compile(made, "made", "exec")


def test_generated_modules_can_be_imported(export, tmp_path):
    save(
        tmp_path / CH02,
        FIRST.format("a") + "import math",
        "#| export\nPI = 3\n\ndef half():\n    return math.pi / 2",
    )
    save(
        tmp_path / CH03,
        FIRST.format("b") + "from previous_chapters import half, PI",
        "#| export\ndef main(argv=None):\n    return int(half() * PI)",
    )
    assert export.main(["--root", str(tmp_path)]) == 0
    run = subprocess.run(
        [sys.executable, "b.py"], cwd=tmp_path / "ch03/01_main-chapter-code"
    )
    assert run.returncode == 4


# ---- Bonus notebooks -----------------------------------------------------

BONUS = "ch03/02_bonus_more/more.ipynb"
BONUS_FIRST = (
    FIRST.format("more") + "import os, sys\nimport torch.nn as nn\n"
    'sys.path.append("../01_main-chapter-code")\n'
    "from attention import Head, twice\n"
    "from previous_chapters import SIZE, words"
)
BONUS_CODE = """#| export
class Heads(Head):
    size = SIZE * 3


def both(text):
    return os.name, [twice(word) for word in words(text)]


def main(argv=None):
    return both("a")"""


@pytest.fixture
def bonus(course):
    """Chapter 3 has another notebook that exports, and one that does not."""
    save(course / BONUS, BONUS_FIRST, "1 + 1", BONUS_CODE)
    save(course / "ch03/02_bonus_more/plain.ipynb", "print(1)")
    return course


def test_module_of_a_bonus_notebook(export, bonus):
    assert export.main(["--root", str(bonus)]) == 0
    assert text(bonus, "ch03/02_bonus_more/more.py") == HEADER.format(
        BONUS
    ) + (
        "\nimport os\n\nfrom attention import Head, twice\n"
        "from previous_chapters import SIZE, words\n\n\n"
        + BONUS_CODE.removeprefix("#| export\n")
        + '\n\n\nif __name__ == "__main__":\n'
        "    raise SystemExit(main())\n"
    )
    assert not (bonus / "ch03/02_bonus_more/previous_chapters.py").exists()
    assert not (bonus / "ch03/02_bonus_more/plain.py").exists()
    assert export.main(["--root", str(bonus), "--check"]) == 0


def test_later_chapters_hold_it_below_the_main_part(export, bonus):
    before = "ch03/01_main-chapter-code/previous_chapters.py"
    assert export.main(["--root", str(bonus)]) == 0
    made = text(bonus, "ch04/01_main-chapter-code/previous_chapters.py")
    parts = [line for line in made.splitlines() if "# ----" in line]
    assert parts == [
        "# ---- ch02: text_data ----",
        "# ---- ch03: attention ----",
        "# ---- ch03: more ----",
    ]
    assert f"and {CH03}\n#            and {BONUS}\n# Do not" in made
    assert "from attention" not in made and "def main" not in made
    assert "\n\nclass Heads(Head):\n    size = SIZE * 3\n" in made
    assert "Heads" not in text(bonus, before)
    compile(made, "made", "exec")


def test_a_bonus_notebook_may_replace(export, bonus):
    save(
        bonus / BONUS,
        FIRST.format("more") + "from attention import twice",
        "#| export replaces=twice\ndef twice(x):\n    return 3 * x",
    )
    assert export.main(["--root", str(bonus)]) == 0
    own = text(bonus, "ch03/02_bonus_more/more.py")
    main = text(bonus, "ch03/01_main-chapter-code/attention.py")
    made = text(bonus, "ch04/01_main-chapter-code/previous_chapters.py")
    assert "return 3 * x" in own and "from attention" not in own
    assert "return x + x" in main
    assert "return 3 * x" in made and "return x + x" not in made


BONUS_FAULTS = [
    ("+from attention import Head as H", "+def f(): return H",
     "cell 2: 'from attention import Head as H': import names of attention"),
    ("+import attention", "+def f(): return attention.Head",
     "cell 2: 'import attention': import names of attention without 'as'"),
    ("+from attention import Tail", "+def f(): return Tail",
     "cell 2: Tail does not come from attention: correct the import"),
    ("+from previous_chapters import twice", "+def f(): return twice",
     "cell 2: twice does not come from previous_chapters: write "
     "'from attention import twice'"),
    ("+from attention import words", "+def f(): return words",
     "cell 2: words does not come from attention: write "
     "'from previous_chapters import words'"),
    ("+from previous_chapters import zork", "+def f(): return zork",
     "cell 2: no earlier chapter exports zork: correct the import"),
    ("1", "+def f(): return Head",
     "cell 3: Head is not defined: write 'from attention import Head'"),
    ("1", "+class Head: pass",
     f"cell 3: Head is already exported by {CH03}, cell 4"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second", "message"), BONUS_FAULTS)
def test_fault_of_a_bonus_notebook(
    export, bonus, capsys, first, second, message
):
    cells = [c.replace("+", "#| export\n", 1) for c in (first, second)]
    save(bonus / BONUS, "#| default_exp more", *cells)
    assert export.main(["--root", str(bonus)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len([x for x in said if x.startswith(f"{BONUS}, {message}")]) == 1
    assert all(line.startswith(f"{BONUS}, cell ") for line in said), said
    assert list(bonus.rglob("*.py")) == []


@pytest.mark.parametrize("name", ["attention", "text_data"])
def test_two_modules_of_one_name(export, bonus, capsys, name):
    save(bonus / BONUS, FIRST.format(name), "#| export\nX = 1")
    assert export.main(["--root", str(bonus)]) == 1
    assert f"{BONUS}, cell 1: {name} is already the module of ch0" in (
        capsys.readouterr().out
    )


def test_a_bonus_module_without_its_notebook_is_removed(export, bonus):
    assert export.main(["--root", str(bonus)]) == 0
    (bonus / BONUS).unlink()
    assert export.main(["--root", str(bonus), "--check"]) == 1
    assert export.main(["--root", str(bonus)]) == 0
    assert not (bonus / "ch03/02_bonus_more/more.py").exists()


def test_neighbours_are_found_in_the_main_folder(load_module, bonus, export):
    """conftest.py: a bonus module's imports are those of its own chapter."""
    save(
        bonus / BONUS,
        FIRST.format("more") + "from previous_chapters import SIZE",
        "#| export\nTHREE = SIZE + 1",
    )
    assert export.main(["--root", str(bonus)]) == 0
    assert load_module(bonus / "ch03/02_bonus_more", "more").THREE == 3


# ---- Imports -------------------------------------------------------------

MODULES = """os sys re math json collections collections.abc functools torch
torch.nn torch.nn.functional torch.utils.data numpy tiktoken matplotlib
matplotlib.pyplot previous_chapters tqdm part2 part10 Zeta _private""".split()
MEMBERS = """A a B2 B10 CONST Const const GPT_CONFIG GPTModel x1 x2 x10 _hidden
deque Tensor no_grad a_very_long_name_for_a_member another_long_name""".split()


def random_imports(export, rng: random.Random) -> list:
    entries = set()
    for _ in range(rng.randint(1, 14)):
        module = rng.choice(MODULES)
        name = rng.choice([None, *MEMBERS]) if module != "Zeta" else None
        alias = rng.choice([None, None, None, "F", "np", "zz"])
        entries.add(export.Import(module, name, alias))
    return sorted(entries, key=str)


@pytest.mark.skipif(not shutil.which("ruff"), reason="ruff is not installed")
def test_imports_are_sorted_as_ruff_sorts_them(export, tmp_path):
    rng = random.Random(0)
    for i in range(100):
        imports = export.write_imports(random_imports(export, rng))
        module = f"# A header.\n\n{imports}\n\n\ndef f():\n    pass\n"
        (tmp_path / f"m{i}.py").write_text(module, encoding="utf-8")
    command = [
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--diff",
        "--select=I,E501",
        "--line-length=79",
    ]
    run = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.skipif(not shutil.which("ruff"), reason="ruff is not installed")
def test_generated_modules_are_clean_for_ruff(export, course):
    export.main(["--root", str(course)])
    command = [
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select=E,F,I,B,UP",
        "--line-length=79",
        "--output-format=concise",
    ]
    files = [str(p) for p in course.rglob("*.py")]
    run = subprocess.run([*command, *files], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


# ---- Names in every scope ------------------------------------------------

UNDEFINED = [
    "def f(): return zork",
    "def f(a=zork): return a",
    "@zork\ndef f(): pass",
    "def f() -> zork: pass",
    "def f(a: 'list[zork]'): pass",
    "def f():\n    x: 'zork' = 1\n    return x",
    "class A(zork): pass",
    "class A(metaclass=zork): pass",
    "class A:\n    x = zork",
    "class A:\n    x: int = 1\n    def f(self): return zork",
    "class A:\n    zork = 1\n    def f(self): return zork",
    "def f():\n    def g():\n        return zork\n    return g",
    "def f(): return lambda x: zork(x)",
    "def f(): return [zork for x in range(3)]",
    "def f(): return [x for x in zork]",
    "def f(): return [x for x in range(3) if zork]",
    "def f(): return f'{zork}'",
    "def f():\n    with zork as g: return g",
    "def f():\n    try: pass\n    except zork: pass",
    "def f(x):\n    match x:\n        case zork(): pass",
    "def f():\n    zork.y = 1",
    "def f():\n    del zork[0]",
    "def f():\n    global zork\n    zork = 1",
    "def g():\n    zork = 1\n    return zork\n\ndef f(): return zork",
    "X = zork",
    "X: zork = 1",
    "X = [y for y in zork]",
    "async def f(): await zork()",
]
DEFINED = [
    "def f(zork): return zork",
    "def f(*zork, **more): return zork, more",
    "def f():\n    zork = 1\n    return lambda: zork",
    "def f():\n    import zork\n    return zork.x",
    "def f(): return [zork for zork in range(3)], {i: j for i, j in []}",
    "def f():\n    for zork in range(3): print(zork)",
    "def f():\n    with open('x') as zork: return zork",
    "def f():\n    try: pass\n    except ValueError as zork: print(zork)",
    "def f(x):\n    if (zork := x): return zork",
    "def f(x):\n    match x:\n        case [zork, *rest]: return zork, rest",
    "def f():\n    def zork(): return zork\n    return zork",
    "def f():\n    zork = 1\n    def g():\n        nonlocal zork\n"
    "        zork = 2\n    return g",
    "class A:\n    zork = 1\n    y = zork",
    "class A:\n    def f(self): return super().f(), __class__",
    "class A:\n    name = __qualname__\n    def f(self) -> 'A': return A",
    "def f(): return g()\n\ndef g(): return f()",
    "def f(): return __file__, __name__, len, ValueError, NotImplemented",
    "def f(x: Literal['zork', 'a b']) -> 'Literal[\"zork\"]': pass",
    "ZORK = {}\n\ndef f():\n    global ZORK\n    ZORK = 1",
    "A, B = 1, 2\nC = [A for _ in range(B)]",
    "class A:\n    y = [zork for zork in range(3)]",
    "X = {k: [zork for zork in v] for k, v in {}.items()}",
    'X = """zork\n  in\nlines"""\n\n\ndef f():\n\n    return X',
]


@pytest.mark.parametrize("source", UNDEFINED)
def test_undefined_name_is_found_in_every_scope(export, tmp_path, source):
    first = FIRST.format("m") + "from typing import Literal"
    save(tmp_path / CH02, first, "#| export\n" + source)
    _, faults = export.build(tmp_path)
    assert faults == [
        f"{CH02}, cell 2: zork is not defined: import it, "
        "export its definition, or pass it as an argument"
    ]


@pytest.mark.parametrize("source", DEFINED)
def test_defined_name_is_no_fault(export, tmp_path, source):
    first = FIRST.format("m") + "from typing import Literal"
    save(tmp_path / CH02, first, "#| export\n" + source)
    assert export.build(tmp_path)[1] == []


# ---- Faults --------------------------------------------------------------

FAULTS = [
    (["#| export\nX = 1"], "cell 1: exported before any '#| default_exp"),
    (["1", "#| default_exp m"], "cell 2: default_exp belongs into the first"),
    (["#| default_exp m", "2", "#| default_exp n"], "cell 3: a second"),
    (["#| default_exp my-module"], "'my-module' cannot name a module"),
    (["#| default_exp m\n#| exprot"], "cannot read '#| exprot'"),
    (["#| default_exp m\n#| export replace=X"], "'#| export replace=X'"),
    (["#| default_exp m", "x = 1\n#| export"], "cell 2: a #| line below"),
    (["#| default_exp m", "%%time\n#| export\nX = 1"], "cell 2: a #| line"),
    (["+%matplotlib inline"], "'%matplotlib inline' is a magic or shell"),
    (["+!ls"], "'!ls' is a magic or shell line: move it to a cell without"),
    (["+X = !ls"], "'X = !ls' is a magic"),
    (["+X = %pwd"], "'X = %pwd' is a magic"),
    (["+?print"], "'?print' is a magic"),
    (["+print?"], "'print?' is a magic"),
    (["+def f(:\n    pass"], "cell 2: syntax error in line 2, 'def f(:'"),
    (["+return 1"], "syntax error in line 2, 'return 1': 'return' outside"),
    (["+X = 1; Y = 2"], "cell 2: line 2 holds two statements"),
    (["+print(1)"], "cell 2: 'print(1)' would run whenever the module is"),
    (["+for i in range(3):\n    pass"], "'for i in range(3):' would run"),
    (["+if True:\n    X = 1"], "'if True:' would run"),
    (["+assert True"], "'assert True' would run"),
    (["+X = open('x').read()"], "\"X = open('x').read()\"".strip('"')),
    (["+X = [print(1)]"], "'X = [print(1)]' would run"),
    (["+import os", "+os.environ['X'] = '1'"], "cell 3: 'os.environ"),
    (["+X = 1", "+X += 1"], "cell 3: 'X += 1' would run"),
    (["+from . import y"], "'from . import y': name the module in full"),
    (["+from os import *"], "'from os import *': name the module in full"),
    (["+from previous_chapters import f as g"], "without 'as'"),
    (["+import previous_chapters as p", "+def f(): return p.x"],
     "cell 2: 'import previous_chapters': import names"),
    (["+from previous_chapters import f", "+def g(): return f"],
     "cell 2: no earlier chapter exports f"),
    (["+X = 1", "+X = 2"], f"cell 3: X is already exported by {CH02}, cell 2: "
     "write '#| export replaces=X' or rename it"),
    (["+def f(): pass\n\nclass f: pass"], "cell 2: f is already exported"),
    (["#| default_exp m", "#| export replaces=X\nX = 2"],
     "cell 2: replaces=X, but no earlier cell exports X"),
    (["+X = 1", "#| export replaces=X\nY = 2"],
     "cell 3: replaces=X, but the cell does not define X"),
    (["+A, B = 1, 2", "#| export replaces=A\nA = 3"],
     "cell 2: A is replaced later, the rest of its statement is not"),
    (["+from math import log", "+from torch import log", "+def f(): log(1)"],
     "cell 3: log is imported from torch here and from math elsewhere"),
    (["+from math import log", "+def log(): pass\n\ndef f(): return log"],
     "cell 3: log is also imported from math"),
    (["+def f(): return g", "def g(): pass"],
     "cell 2: g is not defined: cell 3 defines it: write '#| export' there"),
    (["+Y = [X]", "+X = 1"], f"cell 2: X is needed when the module is "
     f"imported, but is only defined in {CH02}, cell 3"),
    (["+class A:\n    def f(self) -> A: pass"], "cell 2: A is needed when"),
    (["+class A(B): pass", "+class B: pass"], "cell 2: B is needed when"),
    (["+def f(x=Y): pass", "+Y = 1"], "cell 2: Y is needed when"),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "message"), FAULTS)
def test_fault_is_reported_with_cell_and_remedy(
    export, tmp_path, capsys, cells, message
):
    if cells[0].startswith("+"):
        cells = ["#| default_exp m", *cells]
    cells = ["#| export\n" + c[1:] if c[0] == "+" else c for c in cells]
    save(tmp_path / CH02, *cells)
    assert export.main(["--root", str(tmp_path)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if message in line]) == 1, said
    assert all(line.startswith(f"{CH02}, cell ") for line in said)
    assert list(tmp_path.rglob("*.py")) == []


def test_all_faults_are_reported_and_nothing_is_written(
    export, course, capsys
):
    export.main(["--root", str(course)])
    before = {p: p.read_bytes() for p in course.rglob("*.py")}
    save(
        course / CH02,
        FIRST.format("text_data"),
        "#| export\nX = zork",
        "#| export\n!ls",
    )
    save(course / CH03, FIRST.format("attention"), "#| export\nx = print()")
    capsys.readouterr()
    for more in ([], ["--check"]):
        assert export.main(["--root", str(course), *more]) == 1
        said = capsys.readouterr().out
        assert f"{CH02}, cell 2: zork" in said
        assert f"{CH02}, cell 3: '!ls'" in said
        assert f"{CH03}, cell 2: 'x = print()'" in said
    assert before == {p: p.read_bytes() for p in before}


def test_silent_redefinition_of_an_earlier_chapter(export, course, capsys):
    save(course / CH04, FIRST.format("gpt"), "#| export\ndef words(): pass")
    assert export.main(["--root", str(course)]) == 1
    said = capsys.readouterr().out.strip()
    assert said == (
        f"{CH04}, cell 2: words is already exported by {CH02}, "
        "cell 4: write '#| export replaces=words' or rename it"
    )


def test_forgotten_import_from_previous_chapters(export, course, capsys):
    save(
        course / CH04,
        FIRST.format("gpt"),
        "#| export\ndef f(): return words, main",
    )
    assert export.main(["--root", str(course)]) == 1
    said = capsys.readouterr().out
    assert "write 'from previous_chapters import words'" in said
    assert "main is not defined: previous_chapters.py has no main" in said


def test_replacement_that_stands_too_late_for_an_earlier_chapter(
    export, course, capsys
):
    """ch02's LAST needs SIZE at import; ch04 would move SIZE below it."""
    save(
        course / CH04, FIRST.format("gpt"), "#| export replaces=SIZE\nSIZE = 9"
    )
    ch05 = "ch05/01_main-chapter-code/ch05.ipynb"
    save(course / ch05, "1")
    assert export.main(["--root", str(course)]) == 1
    said = capsys.readouterr().out
    assert f"{CH02}, cell 2: SIZE is needed when the module" in said
    assert f"{CH04}, cell 2: move it up" in said


def test_a_broken_notebook_file_is_named(export, tmp_path, capsys):
    save(tmp_path / CH02, "1").write_text('{"cells": [', encoding="utf-8")
    assert export.main(["--root", str(tmp_path)]) == 1
    assert f"{CH02}: cannot be read as a notebook" in capsys.readouterr().out


# ---- Drift ---------------------------------------------------------------


def test_check_shows_drift_and_writes_nothing(export, course, capsys):
    export.main(["--root", str(course)])
    path = course / "ch02/01_main-chapter-code/text_data.py"
    path.write_bytes(path.read_bytes().replace(b"SIZE = 2", b"SIZE = 3"))
    changed = path.read_bytes()
    capsys.readouterr()
    assert export.main(["--root", str(course), "--check"]) == 1
    said = capsys.readouterr().out
    assert "-SIZE = 3\n+SIZE = 2\n" in said
    assert "--- ch02/01_main-chapter-code/text_data.py" in said
    assert "python shared/export.py" in said
    assert path.read_bytes() == changed
    assert export.main(["--root", str(course)]) == 0
    assert export.main(["--root", str(course), "--check"]) == 0


def test_check_sees_missing_stale_and_foreign_line_ends(
    export, course, capsys
):
    export.main(["--root", str(course)])
    folder = course / "ch03/01_main-chapter-code"
    (folder / "previous_chapters.py").unlink()
    module = (folder / "attention.py").read_bytes()
    (folder / "attention.py").write_bytes(module.replace(b"\n", b"\r\n"))
    (folder / "old_name.py").write_bytes(module)
    (folder / "by_hand.py").write_bytes(b"x = 1\n")
    capsys.readouterr()
    assert export.main(["--root", str(course), "--check"]) == 1
    said = capsys.readouterr().out
    assert "previous_chapters.py: missing" in said
    assert "attention.py: line endings differ" in said
    assert "old_name.py: no notebook generates it any more" in said
    assert "by_hand" not in said
    assert export.main(["--root", str(course)]) == 0
    assert not (folder / "old_name.py").exists()
    assert (folder / "by_hand.py").exists()
    assert export.main(["--root", str(course), "--check"]) == 0


def test_command_line(course):
    command = [sys.executable, str(SHARED / "export.py"), "--root"]
    for more, status in (["--check"], 1), ([], 0), (["--check"], 0):
        run = subprocess.run(
            [*command, str(course), *more], capture_output=True, text=True
        )
        assert (run.returncode, run.stderr) == (status, "")


# ---- Exercises -----------------------------------------------------------

SOLUTIONS = "ch03/01_main-chapter-code/exercise-solutions.ipynb"
LEARNERS = "ch03/01_main-chapter-code/exercises.ipynb"
SOLVED = """\
def half(x):
    '''Half of x.'''
    if x == 0:
        ### BEGIN SOLUTION
        return 0
        ### END SOLUTION
    y = x
    ### BEGIN SOLUTION
    return y / 2
    ### END SOLUTION


with exercise("3.1"):
    ### BEGIN SOLUTION
    answer = 4
    ### END SOLUTION
    assert answer == 4"""
UNSOLVED = """\
def half(x):
    '''Half of x.'''
    if x == 0:
        raise NotImplementedError
    y = x
    raise NotImplementedError


with exercise("3.1"):
    raise NotImplementedError
    assert answer == 4"""


def save_solutions(root: Path) -> Path:
    text = {"cell_type": "markdown", "metadata": {"tags": ["a"], "b": 1}}
    return save(
        root / SOLUTIONS,
        text
        | {
            "source": "### Exercise\nAsk.\n<!-- ### BEGIN SOLUTION -->\n"
            "Tell.\n<!-- ### END SOLUTION -->"
        },
        code(SOLVED, id="solved-1", execution_count=1),
        text | {"source": "### BEGIN SOLUTION\nAll.\n### END SOLUTION"},
        code("print(1)", metadata={"tags": ["t"], "jupyter": {}}),
    )


def sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def test_exercises_are_cut_from_solutions(export, tmp_path):
    save_solutions(tmp_path)
    assert export.main(["--root", str(tmp_path)]) == 0
    book = nbformat.read(tmp_path / LEARNERS, as_version=4)
    nbformat.validate(book)
    assert [cell.source for cell in book.cells] == [
        "### Exercise\nAsk.",
        UNSOLVED,
        "print(1)",
    ]
    assert [cell.id for cell in book.cells] == ["cell-0", "solved-1", "cell-3"]
    assert [cell.metadata for cell in book.cells] == [
        {"tags": ["a"]},
        {},
        {"tags": ["t"]},
    ]
    assert export.main(["--root", str(tmp_path), "--check"]) == 0


def test_exercises_keep_outputs_of_cells_that_did_not_change(export, tmp_path):
    save_solutions(tmp_path)
    export.main(["--root", str(tmp_path)])
    path = tmp_path / LEARNERS
    book = export.read_notebook(path)
    out = {"name": "stdout", "output_type": "stream", "text": "1\n2\n"}
    for number, cell in enumerate(book["cells"][1:], start=1):
        cell |= {"execution_count": number, "outputs": [out]}
    export.write_text(path, export.dump_notebook(book))
    stored = path.read_bytes()
    assert export.main(["--root", str(tmp_path), "--check"]) == 0
    assert export.main(["--root", str(tmp_path)]) == 0
    assert path.read_bytes() == stored

    solutions = tmp_path / SOLUTIONS
    changed = solutions.read_text(encoding="utf-8").replace("y = x", "y = -x")
    solutions.write_text(changed, encoding="utf-8")
    assert export.main(["--root", str(tmp_path), "--check"]) == 1
    assert export.main(["--root", str(tmp_path)]) == 0
    cells = export.read_notebook(path)["cells"]
    assert (cells[1]["execution_count"], cells[1]["outputs"]) == (None, [])
    assert (cells[2]["execution_count"], cells[2]["outputs"]) == (2, [out])


def test_an_edited_exercises_notebook_is_drift(export, tmp_path, capsys):
    save_solutions(tmp_path)
    export.main(["--root", str(tmp_path)])
    path = tmp_path / LEARNERS
    edited = path.read_text(encoding="utf-8").replace("Half of", "Twice")
    path.write_text(edited, encoding="utf-8")
    assert export.main(["--root", str(tmp_path), "--check"]) == 1
    assert "Twice" in capsys.readouterr().out


BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            f"def f():\n    {BEGIN}\n    return 1",
            "### BEGIN SOLUTION without ### END SOLUTION: add it",
        ),
        (
            f"def f():\n    return 1\n    {END}",
            "### END SOLUTION without ### BEGIN SOLUTION: add it",
        ),
        (
            f"def f():\n    {BEGIN}\n    {BEGIN}\n    return 1\n    {END}",
            "### BEGIN SOLUTION without ### END SOLUTION: add it",
        ),
        (
            f"def f():\n{BEGIN}\n    return 1\n{END}",
            "without its solution the cell is not valid Python, line 2",
        ),
        (f"{BEGIN}\nx = 1\n{END}", "cut out, this solution stops Run All"),
        (f"class A:\n    {BEGIN}\n    x = 1\n    {END}", "stops Run All"),
        (f"for i in [1]:\n    {BEGIN}\n    x = 1\n    {END}", "stops Run"),
    ],
)
def test_marker_fault_is_reported(export, tmp_path, capsys, source, message):
    save(tmp_path / SOLUTIONS, "x = 0", source)
    assert export.main(["--root", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"{SOLUTIONS}, cell 2: ") and message in said
    assert not (tmp_path / LEARNERS).exists()


def test_notebooks_are_written_as_nbformat_writes_them(export, tmp_path):
    data = {"text/plain": "a\nb", "image/png": "aaaa", "text/html": "<p>\nü"}
    shown = {"output_type": "display_data", "data": data, "metadata": {}}
    printed = {"output_type": "stream", "name": "stdout", "text": "é\n1\n"}
    path = save(
        tmp_path / "a.ipynb",
        "",
        "x = 1\ny = 'ü'\n",
        code("f()", outputs=[shown, printed], execution_count=3),
    )
    made = export.dump_notebook(export.read_notebook(path))
    assert made == nbformat.writes(nbformat.read(path, as_version=4)) + "\n"
    path.write_text(made, encoding="utf-8")
    assert export.dump_notebook(export.read_notebook(path)) == made
