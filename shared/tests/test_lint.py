"""The rules of the house, held against every notebook and text file.

Each rule is a function that yields what is wrong, with the cell and the
remedy. The second half of this file proves that each rule catches its fault.
Cell numbers are those that Jupyter shows after Run All: [1], [2], ...
"""

from __future__ import annotations

import ast
import base64
import copy
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT / "shared"
NOTEBOOKS = [
    path.relative_to(ROOT).as_posix()
    for path in sorted(ROOT.glob("ch*/**/*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
]
CELLS, RATIO, MEDIAN = (45, 90), (1.2, 1.8), 8  # of a lesson
CELL_LINES, FUNCTION_LINES, CLASS_LINES, WIDTH = 25, 25, 40, 79
PNG_BYTES = 40 * 1024
IGNORING = {"nbval-ignore-output", "nbval-skip"}

EXTERNAL_IMAGE = re.compile(
    r"!\[[^\]]*\]\(\s*<?https?:|<img\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:|//)"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.:-])/(?:home|Users|root|work)(?=[/\s\"'`),;]|$)"
    r"|\b[A-Za-z]:\\+Users\\|/ipykernel_\d",
    flags=re.MULTILINE,
)


# ---- Notebooks -----------------------------------------------------------


def code_cells(notebook: dict) -> list[tuple[int, dict]]:
    """The code cells with their numbers, from 1."""
    cells = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    return list(enumerate(cells, start=1))


def tags(cell: dict) -> set[str]:
    return set(cell["metadata"].get("tags", []))


def shown_text(cell: dict) -> str:
    """Everything that a cell shows as text."""
    parts = []
    for output in cell.get("outputs", []):
        parts += [output.get("text", ""), output.get("evalue", "")]
        parts += output.get("traceback", [])
        data = output.get("data", {})
        parts += [v for k, v in data.items() if k.startswith("text/")]
    return "\n".join(parts)


def executed(notebook: dict) -> Iterator[str]:
    """nbval passes a cell without a count unseen."""
    for number, cell in code_cells(notebook):
        if cell["execution_count"] != number:
            yield (
                f"cell {number}: its count is {cell['execution_count']}: run "
                "python shared/run_notebooks.py NOTEBOOK"
            )
            return  # and so, most likely, are the others


def quiet(notebook: dict) -> Iterator[str]:
    """No stderr; errors are meant, and what is meant happens."""
    for number, cell in code_cells(notebook):
        kinds = [output["output_type"] for output in cell["outputs"]]
        if any(out.get("name") == "stderr" for out in cell["outputs"]):
            yield f"cell {number}: writes to stderr: remove the cause"
        if "error" in kinds and "raises-exception" not in tags(cell):
            yield (
                f"cell {number}: fails: repair it, or tag a deliberate "
                "error raises-exception"
            )
        if "raises-exception" in tags(cell) and "error" not in kinds:
            yield (
                f"cell {number}: is tagged raises-exception but does not "
                "fail: drop the tag, or make it fail"
            )


def short_cells(notebook: dict) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        lines = len(cell["source"].splitlines())
        if lines > CELL_LINES:
            yield (
                f"cell {number}: has {lines} lines, more than {CELL_LINES}: "
                "split it"
            )


def narrow_lines(notebook: dict) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for line in cell["source"].splitlines():
            if len(line) > WIDTH:
                yield (
                    f"cell {number}: '{line[:30]}...' has {len(line)} "
                    f"characters, more than {WIDTH}: break it"
                )


def reasons(notebook: dict) -> Iterator[str]:
    """Whoever hides an output from the tests says why, in the cell."""
    for number, cell in code_cells(notebook):
        lines = [line.strip() for line in cell["source"].splitlines()]
        ignored = tags(cell) & IGNORING
        ignored |= {line for line in lines if line.startswith("# NBVAL_")}
        comments = [line for line in lines if re.match(r"# (?!NBVAL_)", line)]
        if ignored and not re.search(r"compar|output", " ".join(comments)):
            yield (
                f"cell {number}: {min(ignored)} without a reason: add a "
                "comment line, '# Output not compared: ...'"
            )


def own_images(notebook: dict) -> Iterator[str]:
    """Figures are drawn by code; nothing is loaded from elsewhere."""
    number = 0
    for cell in notebook["cells"]:
        number += cell["cell_type"] == "code"
        if EXTERNAL_IMAGE.search(cell["source"] + shown_text(cell)):
            where = "" if cell["cell_type"] == "code" else "text after "
            yield f"{where}cell {number}: external image: draw it by code"


def small_images(notebook: dict) -> Iterator[str]:
    for number, cell in code_cells(notebook):
        for output in cell["outputs"]:
            png = output.get("data", {}).get("image/png", "")
            size = len(base64.b64decode(png))
            if size > PNG_BYTES:
                yield (
                    f"cell {number}: a figure of {size / 1024:.0f} KB, more "
                    "than 40: fewer points, a smaller figure or lower dpi"
                )


def no_machine_paths(notebook: dict) -> Iterator[str]:
    number = 0
    for cell in notebook["cells"]:
        number += cell["cell_type"] == "code"
        found = MACHINE_PATH.search(cell["source"] + "\n" + shown_text(cell))
        if found:
            yield (
                f"cell {number}: '{found[0]}' is a path of one machine: use "
                "a relative path, print only a file's name"
            )


def unique_ids(notebook: dict) -> Iterator[str]:
    seen: set[str] = set()
    for cell in notebook["cells"]:
        if cell.get("id") in seen or not cell.get("id"):
            first = cell["source"][:30]
            yield (
                f"the cell '{first}' has the id {cell.get('id')!r}, as has "
                "another: run python shared/run_notebooks.py NOTEBOOK"
            )
        seen.add(cell.get("id"))


def lesson_shape(notebook: dict) -> Iterator[str]:
    """A lesson's length, its rhythm, and its usual cell."""
    total = len(notebook["cells"])
    if not CELLS[0] <= total <= CELLS[1]:
        yield f"has {total} cells: a lesson has {CELLS[0]}-{CELLS[1]}"
    code = [cell["source"] for _, cell in code_cells(notebook)]
    text = sum(cell["cell_type"] == "markdown" for cell in notebook["cells"])
    ratio = text / max(len(code), 1)
    if not RATIO[0] <= ratio <= RATIO[1]:
        yield (
            f"has {text} text cells to {len(code)} code cells, {ratio:.2f}: "
            f"keep it within {RATIO[0]}-{RATIO[1]}"
        )
    median = statistics.median(len(c.splitlines()) for c in code or [""])
    if median > MEDIAN:
        yield f"the median code cell has {median} lines: at most {MEDIAN}"


RULES = [
    executed,
    quiet,
    short_cells,
    narrow_lines,
    reasons,
    own_images,
    small_images,
    no_machine_paths,
    unique_ids,
]
# A lesson is a chapter's main notebook or any notebook of a bonus folder; not
# the exercises and the short versions beside a main notebook, nor chapter 1,
# which has no code.
LESSON = (
    r"ch0[2-9]/01_main-chapter-code/ch\d\d\.ipynb"
    r"|ch\d\d/(?!01_)\d\d_[^/]+/[^/]+\.ipynb"
)


def lint(name: str, notebook: dict) -> list[str]:
    """All that is wrong with a notebook, one line each."""
    rules = [*RULES, lesson_shape] if re.fullmatch(LESSON, name) else RULES
    return [f"{name}, {text}" for rule in rules for text in rule(notebook)]


# ---- Python files --------------------------------------------------------


def long_definitions(tree: ast.Module) -> Iterator[str]:
    """Functions and classes that do not fit on a screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            lines = node.end_lineno - node.lineno + 1
            is_class = isinstance(node, ast.ClassDef)
            limit = CLASS_LINES if is_class else FUNCTION_LINES
            if lines > limit:
                yield f"{node.name} has {lines} lines, more than {limit}"


def bare_signatures(tree: ast.Module) -> Iterator[str]:
    """Public functions and methods without type hints."""
    for outer in tree.body:
        inner = outer.body if isinstance(outer, ast.ClassDef) else [outer]
        for node in inner:
            if isinstance(node, ast.FunctionDef) and is_public(outer, node):
                yield from bare_parameters(node)


def is_public(*nodes: ast.stmt) -> bool:
    """Whether nothing on the way is named _like_this; __init__ may be."""
    return not any(re.match(r"_(?!_)", node.name) for node in nodes)


def bare_parameters(node: ast.FunctionDef) -> Iterator[str]:
    a = node.args
    extra = [arg for arg in (a.vararg, a.kwarg) if arg is not None]
    for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs, *extra]:
        if arg.annotation is None and arg.arg not in ("self", "cls"):
            yield f"{node.name}: its parameter {arg.arg} has no type hint"
    if node.returns is None and not node.name.startswith("__"):
        yield f"{node.name}: its result has no type hint"


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes without a docstring."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            if node.name != "main" and ast.get_docstring(node) is None:
                yield f"{node.name} has no docstring"


def lint_python(text: str, generated: bool) -> list[str]:
    """What is wrong with a module or script."""
    tree = ast.parse(text)
    rules = [long_definitions]
    if generated:
        rules += [bare_signatures, undocumented]
    return [fault for rule in rules for fault in rule(tree)]


# ---- Text files ----------------------------------------------------------


def text_files(root: Path) -> Iterator[Path]:
    """The course's own files: no caches, environments, runs, large data."""
    for path in sorted(root.iterdir()):
        hidden = path.name.startswith(".") and path.name not in (
            ".ci",
            ".github",
            ".gitattributes",
            ".gitignore",
        )
        if hidden or path.name in ("__pycache__", "runs", "wandb"):
            continue
        if path.is_dir() and not (path / "pyvenv.cfg").exists():
            yield from text_files(path)
        elif path.is_file() and path.stat().st_size < 2_000_000:
            yield path


def lint_text(data: bytes) -> list[str]:
    """What is wrong with the bytes of a file; nothing if it is no text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return []
    faults = []
    if "\0" in text:
        return []
    if "\r\n" in text:
        faults.append("has line ends of Windows: store LF")
    for number, line in enumerate(text.splitlines(), start=1):
        found = MACHINE_PATH.search(line)
        if found:
            faults.append(
                f"line {number}: '{found[0]}' is a path of one machine"
            )
    return faults


# ---- The course is clean -------------------------------------------------


@pytest.fixture(scope="module")
def export(load_module):
    return load_module(SHARED, "export")


@pytest.fixture(scope="module")
def run_notebooks(load_module):
    return load_module(SHARED, "run_notebooks")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_keeps_the_rules(name, export):
    faults = lint(name, export.read_notebook(ROOT / name))
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_stored_in_the_normal_form(name, run_notebooks):
    problem = run_notebooks.check_stored(ROOT / name)
    assert not problem, (
        f"{name}, {problem}: run python shared/run_notebooks.py {name}"
    )


def test_generated_files_are_up_to_date(export):
    found = export.check(ROOT)
    assert not found, (
        "\n" + "\n".join(found) + "\nrun python shared/export.py"
    )


def test_python_files_keep_the_rules():
    faults = []
    for path in text_files(ROOT):
        is_test = path.name == "tests.py" or path.name.startswith("test_")
        is_copy = path.name == "previous_chapters.py"
        if path.suffix == ".py" and not is_test and not is_copy:
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(ROOT).as_posix()
            found = lint_python(text, text.startswith("# GENERATED"))
            faults += [f"{name}: {fault}" for fault in found]
    assert not faults, "\n" + "\n".join(faults)


def test_text_files_keep_the_rules():
    faults = []
    for path in text_files(ROOT):
        name = path.relative_to(ROOT).as_posix()
        faults += [f"{name}: {f}" for f in lint_text(path.read_bytes())]
    assert not faults, "\n" + "\n".join(faults)


# ---- The lint catches each fault -----------------------------------------


def text(source: str = "Some words.", **more) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source} | more


def code(source: str = "x = 1", *outputs: dict, tags: tuple = ()) -> dict:
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": source,
        "outputs": list(outputs),
    }


def book(*cells: dict) -> dict:
    """A notebook of these cells, executed and with ids."""
    number, cells = 0, [copy.deepcopy(cell) for cell in cells]
    for position, cell in enumerate(cells):
        cell.setdefault("id", f"cell-{position}")
        if cell["cell_type"] == "code":
            number += 1
            cell.setdefault("execution_count", number)
    return {"cells": cells}


def stream(words: str, name: str = "stdout") -> dict:
    return {"output_type": "stream", "name": name, "text": words}


def figure(size: int) -> dict:
    png = base64.b64encode(bytes(size)).decode()
    return {"output_type": "display_data", "data": {"image/png": png}}


SHORT = "ch02/01_main-chapter-code/short-version.ipynb"  # may be any shape
ERROR = {"output_type": "error", "ename": "E", "evalue": "no", "traceback": []}
HOME, MAC, WINDOWS = "/" + "home", "/" + "Users", "C:" + "\\Users\\"

FAULTY = {
    "its count is 7": code() | {"execution_count": 7},
    "its count is None": code() | {"execution_count": None},
    "writes to stderr": code("x", stream("oh", "stderr")),
    "fails: repair": code("1 / 0", ERROR),
    "but does not fail": code("1 / 1", tags=("raises-exception",)),
    "has 26 lines": code("x = 1\n" * 26),
    "has 80 characters": code("x" * 80),
    "nbval-ignore-output without a": code(tags=("nbval-ignore-output",)),
    "nbval-skip without a reason": code("# my x\nx", tags=("nbval-skip",)),
    "# NBVAL_IGNORE_OUTPUT without": code("# NBVAL_IGNORE_OUTPUT\nx"),
    "text after cell 0: external": text("![a](https://example.org/a.png)"),
    "after cell 0: external image": text('<img alt="a" src="//x.org/a.png">'),
    "1: external image": code("x", stream("<img src='http://x.org/a'>")),
    "a figure of 41 KB": code("plot()", figure(41 * 1024)),
    f"cell 0: '{HOME}' is a path": text(f"Look into `{HOME}/course`."),
    f"cell 1: '{HOME}' is a path": code("x", stream(f"read {HOME}/a.txt")),
    f"'{MAC}' is a path": code(f"open('{MAC}/ada')"),
    f"'{WINDOWS}' is a path": text(f"See {WINDOWS}ada."),
    "the id 'same'": [text(id="same"), text(id="same")],
}


@pytest.mark.parametrize("message", FAULTY)
def test_lint_catches(message):
    cells = FAULTY[message]
    notebook = book(*cells) if isinstance(cells, list) else book(cells)
    (fault,) = lint(SHORT, notebook)
    assert fault.startswith(f"{SHORT}, ")
    assert message in fault


def test_lint_lets_a_clean_notebook_pass():
    notebook = book(
        text("[A link](https://example.org/home/ada), home/ada, ~/work."),
        code("x = 1\n" * 25, stream("1"), figure(40 * 1024)),
        code("1 / 0", ERROR, tags=("raises-exception",)),
        code(
            "# Output not compared: it holds the time.\nnow()",
            tags=("nbval-ignore-output",),
        ),
        code("y" * 79),
    )
    assert lint(SHORT, notebook) == []


def lesson(texts: int, codes: int, lines: int = 8) -> dict:
    return book(*[text()] * texts, *[code("x = 1\n" * lines)] * codes)


@pytest.mark.parametrize(
    ("notebook", "message"),
    [
        (lesson(26, 18), "has 44 cells"),
        (lesson(54, 37), "has 91 cells"),
        (lesson(27, 23), "27 text cells to 23 code cells, 1.17"),
        (lesson(37, 20), "37 text cells to 20 code cells, 1.85"),
        (lesson(30, 20, 9), "median code cell has 9"),
    ],
)
@pytest.mark.parametrize(
    "name",
    ["ch03/01_main-chapter-code/ch03.ipynb", "ch03/02_bonus_x/x.ipynb"],
)
def test_lint_catches_a_misshapen_lesson(name, notebook, message):
    (fault,) = lint(name, notebook)
    assert message in fault
    assert lint(name, lesson(30, 20)) == []
    for exempt in (SHORT, "ch03/01_main-chapter-code/exercises.ipynb"):
        assert lint(exempt, notebook) == []


BODY = "    x = 1\n"
LONG = {
    "f has 26 lines, more than 25": "def f():\n" + BODY * 25,
    "A has 41 lines, more than 40": "class A:\n" + BODY * 40,
    "g: its parameter x has no": "def g(x) -> int:\n    '''Doc.'''",
    "g: its result has no type": "def g(x: int):\n    '''Doc.'''",
    "n: its parameter z has no": "class A:\n    '''Doc.'''\n"
    "    def n(self, *z) -> int:\n        return 1",
    "g has no docstring": "def g(x: int) -> int:\n    return x",
}


@pytest.mark.parametrize("message", LONG)
def test_lint_catches_in_python(message):
    faults = lint_python(LONG[message], "lines" not in message)
    assert len(faults) == 1 and message in faults[0]


def test_lint_lets_clean_python_pass():
    source = (
        "class A:\n    '''Doc.'''\n\n"
        "    def __init__(self, x: int):\n        self.x = x\n\n"
        "def _helper(x):\n    return x\n\n"
        "def f(x: int) -> int:\n    '''Doc.'''\n" + BODY * 23
    )
    assert lint_python(source, generated=True) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\r\nb\n", "line ends of Windows"),
        (f"one\ncd {HOME}/ada\n".encode(), f"line 2: '{HOME}'"),
        (("x = '/" + "work/lab'").encode(), "line 1: '/" + "work'"),
        (("ls /" + "root").encode(), "line 1: '/" + "root'"),
    ],
)
def test_lint_catches_in_text(data, message):
    (fault,) = lint_text(data)
    assert message in fault


def test_lint_skips_what_is_not_ours(tmp_path):
    ours = [".ci/run", "a.md"]
    others = [".git/x", ".venv/x", "env/x", "env/pyvenv.cfg", "runs/x"]
    for name in [*ours, *others, "ch02/__pycache__/x"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = [p.relative_to(tmp_path).as_posix() for p in text_files(tmp_path)]
    assert found == ours
    assert lint_text(b"\x89PNG\0\r\n") == lint_text(b"\0/\r\n") == []
