"""What protects a reader, held against every notebook and text file.

How long a lesson or a function is, and how it is told, is not the business
of this file. Cell numbers are those that Jupyter shows after Run All.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import export
import nbformat
import pytest
import run_notebooks

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [
    path.relative_to(ROOT).as_posix() for path in run_notebooks.all_notebooks()
]
PNG_BYTES = 50 * 1024
IGNORING = {"nbval-ignore-output", "nbval-skip"}

EXTERNAL_IMAGE = re.compile(
    r"!\[[^\]]*\]\(\s*<?https?:|<img\b[^>]*\bsrc\s*=\s*[\"']?(?:https?:|//)"
)
MACHINE_PATH = re.compile(
    r"(?<![\w.:-])/(?:home|Users|root|work)(?=[/\s\"'`),;]|$)"
    r"|\b[A-Za-z]:\\+Users\\|/ipykernel_\d",
    flags=re.MULTILINE,
)
PATH_EDIT = re.compile(r"\bsys\.path\b|noqa: ?E402")


# ---- Notebooks -----------------------------------------------------------


def lint(cells: list) -> list[str]:
    """All that is wrong with a notebook, one line each."""
    faults = [f"two cells have the id {i}" for i in doubles(cells)]
    code = [cell for cell in cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        faults.append(f"its counts are {counts}: run run_notebooks.py")
    number = 0
    for cell in cells:
        number += cell.cell_type == "code"
        faults += [f"cell {number}: {text}" for text in lint_any(cell)]
        if cell.cell_type == "code":
            faults += [f"cell {number}: {text}" for text in lint_code(cell)]
    return faults


def doubles(cells: list) -> set[str]:
    ids = [cell.get("id") for cell in cells]
    return {i for i in ids if ids.count(i) > 1}


def lint_any(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Nothing is loaded from elsewhere, nothing names one machine."""
    shown = [cell.source]
    for output in cell.get("outputs", []):
        shown += [output.get("text", ""), output.get("evalue", "")]
        shown += output.get("traceback", [])
        data = output.get("data", {})
        shown += [v for k, v in data.items() if k.startswith("text/")]
    if EXTERNAL_IMAGE.search("\n".join(shown)):
        yield "has an external image: draw it by code"
    if found := MACHINE_PATH.search("\n".join(shown)):
        yield f"'{found[0]}' is a path of one machine"


def lint_code(cell: nbformat.NotebookNode) -> Iterator[str]:
    """What fails is meant to, and what hides has a reason."""
    tags = set(cell.metadata.get("tags", []))
    kinds = [output.output_type for output in cell.outputs]
    if ("error" in kinds) != ("raises-exception" in tags):
        yield "an error and the tag raises-exception belong together"
    if PATH_EDIT.search(cell.source):
        yield "edits sys.path: import from previous_chapters or a package"
    comments = " ".join(re.findall(r"(?m)^\s*# (?!NBVAL_)(.*)", cell.source))
    ignored = tags & IGNORING or "# NBVAL_" in cell.source
    if ignored and not re.search(r"compar|output|differ", comments):
        yield "its output is not compared: say why in a comment"
    for output in cell.outputs:
        size = len(output.get("data", {}).get("image/png", "")) * 3 // 4
        if size > PNG_BYTES:
            most = PNG_BYTES // 1024
            yield f"a figure of {size / 1024:.0f} KB, more than {most}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_keeps_the_rules(name):
    faults = lint(export.read_notebook(ROOT / name).cells)
    assert not faults, "\n" + "\n".join(f"{name}, {text}" for text in faults)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_stored_in_the_normal_form(name):
    problem = run_notebooks.check_stored(ROOT / name)
    assert not problem, f"{problem}: run python shared/run_notebooks.py {name}"


# ---- Other files ---------------------------------------------------------


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
    if "\0" in text:
        return []
    faults = ["has line ends of Windows: store LF"] * ("\r\n" in text)
    for number, line in enumerate(text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            place = f"line {number}: '{found[0]}'"
            faults.append(f"{place} is a path of one machine")
    return faults


def test_text_files_keep_the_rules():
    faults = []
    for path in text_files(ROOT):
        name = path.relative_to(ROOT).as_posix()
        data = path.read_bytes()
        faults += [f"{name}: {fault}" for fault in lint_text(data)]
        ours = name.startswith("ch") or name.startswith("shared/scratch_llm")
        if path.suffix == ".py" and ours and PATH_EDIT.search(data.decode()):
            faults.append(f"{name}: edits sys.path, or has noqa: E402")
    assert not faults, "\n" + "\n".join(faults)


def test_generated_files_are_up_to_date():
    found = export.update(ROOT, check=True)
    assert not found, "\n".join(["", *found, "run python shared/export.py"])


EXPORTED = [
    str(path)
    for path in sorted(ROOT.glob("ch*/*/*.py"))
    if export.is_generated(path)
    and path.stem not in (export.LEAF, export.AHEAD)
]
DOCUMENTED = "--select=D101,D103,ANN001,ANN002,ANN003,ANN201"


@pytest.mark.parametrize(
    "command",
    [
        ["check", "."],
        ["format", "--check", "."],
        ["check", "--isolated", DOCUMENTED, *EXPORTED],
    ],
    ids=["check", "format", "docstrings-and-type-hints"],
)
def test_ruff_is_content(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--output-format=concise"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- The lint catches each fault -----------------------------------------


def note(source: str, **more) -> dict:
    new = nbformat.v4.new_markdown_cell(source)
    new.update(more)
    return new


def code(source: str, *outputs: dict, tags: tuple = (), count: int = 1):
    cell = nbformat.v4.new_code_cell(source)
    cell.outputs = [nbformat.from_dict(output) for output in outputs]
    cell.metadata.tags = list(tags)
    cell.execution_count = count
    return cell


def stream(words: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": words}


def figure(size: int) -> dict:
    png = "A" * (size * 4 // 3)
    return {"output_type": "display_data", "data": {"image/png": png}}


ERROR = {"output_type": "error", "ename": "E", "evalue": "no", "traceback": []}
HOME, MAC, WINDOWS = "/" + "home", "/" + "Users", "C:" + "\\Users\\"
PATH = "sys." + "path"

FAULTY = [
    ("its counts are [7]", code("x", count=7)),
    ("its counts are [None]", code("x", count=None)),
    ("raises-exception", code("1 / 0", ERROR)),
    ("raises-exception", code("1 / 1", tags=("raises-exception",))),
    ("not compared", code("x", tags=("nbval-ignore-output",))),
    ("not compared", code("# my x\nx", tags=("nbval-skip",))),
    ("not compared", code("# NBVAL_IGNORE_OUTPUT\nx")),
    ("external", note("![a](https://example.org/a.png)")),
    ("external", note('<img alt="a" src="//x.org/a.png">')),
    ("external", code("x", stream("<img src='http://x.org/a'>"))),
    ("figure", code("plot()", figure(PNG_BYTES + 1024))),
    ("one machine", note(f"Look into `{HOME}/course`.")),
    ("one machine", code("x", stream(f"read {HOME}/a.txt"))),
    ("one machine", code(f"open('{MAC}/ada')")),
    ("one machine", note(f"See {WINDOWS}ada.")),
    (PATH, code(f"import sys\n{PATH}.append('..')")),
]


@pytest.mark.parametrize(("message", "cell"), FAULTY)
def test_lint_catches(message, cell):
    (fault,) = lint([cell])
    assert message in fault


def test_lint_catches_equal_ids():
    assert len(lint([note("a", id="same"), note("b", id="same")])) == 1


def test_lint_lets_a_clean_notebook_pass():
    reason = "# Output not compared: it holds the time.\nnow()"
    cells = [
        note("[A link](https://example.org/home/ada), home/ada, ~/work."),
        code("x = 1\n" * 50, stream("1"), figure(PNG_BYTES)),
        code("1 / 0", ERROR, tags=("raises-exception",), count=2),
        code(reason, tags=("nbval-ignore-output",), count=3),
    ]
    assert lint(cells) == []


@pytest.mark.parametrize(
    "data",
    [
        b"a\r\nb\n",
        f"one\ncd {HOME}/ada\n".encode(),
        ("x = '/" + "work/lab'").encode(),
        ("ls /" + "root").encode(),
    ],
)
def test_lint_catches_in_text(data):
    assert len(lint_text(data)) == 1
    assert lint_text(b"\x89PNG\0\r\n") == lint_text(b"\0/\r\n") == []


def test_lint_skips_what_is_not_ours(tmp_path):
    ours = [".ci/run", "a.md"]
    others = [".git/x", ".venv/x", "env/x", "env/pyvenv.cfg", "runs/x"]
    for name in [*ours, *others, "ch02/__pycache__/x"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    found = [p.relative_to(tmp_path).as_posix() for p in text_files(tmp_path)]
    assert found == ours
