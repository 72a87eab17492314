"""Settings and fixtures for every test of the course.

`pytest` in the root runs all notebooks with their outputs compared (nbval),
every chapter's tests.py and the tests in shared/. With pytest-xdist installed
two processes share the files. Everything works without it too, for one
notebook (`pytest ch03/01_main-chapter-code/ch03.ipynb`), and from a chapter's
folder (`python -m pytest tests.py -v`, `python tests.py`).

The fixtures `notebook_names` and `check_exercise` are for the chapters' tests;
each says below what it does.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import io
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import export
import pytest
import run_notebooks

ROOT = Path(__file__).resolve().parent
SHARED = ROOT / "shared"

# What each file took when it was last recorded, by
#     pytest --record-seconds
# Two processes finish sooner when neither is left with a long file at the
# end, so the longest are handed out first.
RECORDED = SHARED / "tests" / "seconds.json"


# ---- Each folder is a world of its own ------------------------------------

WORLDS: dict[Path, dict[str, ModuleType]] = {}
here: Path | None = None


def enter(folder: Path) -> None:
    """Let plain imports mean the modules of this folder, as for a script.

    Every chapter has a `previous_chapters`. So when pytest goes from one
    folder to another, the modules of the first are put aside, and those of
    the second, if it was entered before, come back.
    """
    global here
    if folder == here:
        return
    loaded = list(sys.modules.items())
    mine = {name: module for name, module in loaded if of_a_chapter(module)}
    for name in mine:
        del sys.modules[name]
    if here is not None:
        WORLDS[here] = mine
        sys.path.remove(str(here))
    sys.modules.update(WORLDS.get(folder, {}))
    sys.path.insert(0, str(folder))
    here = folder


def of_a_chapter(module: ModuleType) -> bool:
    """Whether a module lies in one of the folders chNN; loads none."""
    file = getattr(module, "__dict__", {}).get("__file__") or ""
    return file.startswith(f"{ROOT}{os.sep}ch")


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Be in another folder for a while, as its notebooks are."""
    before, where, path = here, os.getcwd(), sys.path[:]
    enter(folder)
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(where)
        if before is not None:
            enter(before)
        sys.path[:] = path


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    if isinstance(collector, pytest.File):
        enter(collector.path.parent)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    enter(item.path.parent)


# ---- How pytest runs -----------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Two processes share whole folders, if pytest-xdist is installed."""
    option, start = config.option, config.invocation_params.dir
    # nbval would look for its patterns in the current directory.
    option.nbval_sanitize_with = str(SHARED / "nbval.cfg")
    chosen = getattr(option, "numprocesses", 0) is not None
    alone = option.collectonly or option.usepdb or option.capture == "no"
    if chosen or alone or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if all((start / name).is_dir() for name in config.args):
        option.numprocesses, option.dist = 2, "loadfile"
        option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart() -> None:
    """What kernels and xdist's workers inherit; figures go nowhere."""
    run_notebooks.set_environment()
    import matplotlib  # with NumPy, which must see that environment

    matplotlib.use("Agg")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-seconds",
        action="store_true",
        help=f"store what each file took in {RECORDED.name}",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that two processes finish together."""
    seconds = json.loads(RECORDED.read_text("utf-8"))
    items.sort(key=lambda item: -seconds.get(item.nodeid.split("::")[0], 30))


SECONDS: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up each file's time, kernels' starts included."""
    SECONDS[report.nodeid.split("::")[0]] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seconds that each file took, the longest first."""
    terminalreporter.section("seconds per file")
    for name, seconds in sorted(SECONDS.items(), key=lambda pair: -pair[1]):
        terminalreporter.write_line(f"{seconds:8.1f} s  {name}")
    if terminalreporter.config.option.record_seconds:
        old = json.loads(RECORDED.read_text("utf-8"))
        new = old | {name: round(took) for name, took in SECONDS.items()}
        kept = {name: new[name] for name in new if (ROOT / name).exists()}
        text = json.dumps(kept, indent=1, sort_keys=True)
        export.write_text(RECORDED, text + "\n")


# ---- Fixtures ------------------------------------------------------------


@pytest.fixture(scope="session")
def load_module() -> Callable[[Path, str], ModuleType]:
    """`load_module(folder, name)`: the module folder/name.py."""

    def load(folder: Path, name: str) -> ModuleType:
        with inside(folder):
            return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def notebook_names() -> Callable[[Path], dict]:
    """`notebook_names(path)`: what a notebook defines, by name.

    Imports, functions, classes and constants of all its cells are executed
    in order, nothing else is: no training, no printing, no figures. What
    cannot be defined so, because it needs the result of another cell, is
    absent. The same path returns the same dict: do not change it.
    """
    return define_all


@pytest.fixture(scope="session")
def check_exercise() -> Callable[[Path, str, str], str]:
    """`check_exercise(path, number, wrong)`: what the check cell prints.

    `path` is a notebook with solutions. Executed are the definitions of the
    notebook up to the exercise, all cells since the check before it, `wrong`
    right after the learner's cell, and the cell that holds `with
    exercise("3.3")`. Its check must accept the notebook's own solution in
    the same way, so that one that rejects everything is no good check.
    """

    def check(path: Path, number: str, wrong: str) -> str:
        said = run_exercise(path, number, "")
        assert "solved" in said, f"its own solution is not accepted: {said}"
        return run_exercise(path, number, wrong)

    return check


@functools.cache
def define_all(path: Path) -> dict:
    """All that a notebook defines."""
    notebook = Notebook(path)
    with inside(path.parent):
        for source in notebook.sources:
            notebook.define(source)
    return notebook.names


@functools.cache
def run_exercise(path: Path, number: str, wrong: str) -> str:
    """Run one exercise of a notebook; return what its check cell prints."""
    notebook = Notebook(path)
    sources = notebook.sources
    checks = [i for i, text in enumerate(sources) if "with exercise(" in text]
    last = next(i for i in checks if f'exercise("{number}")' in sources[i])
    first = max([i + 1 for i in checks if i < last], default=0)
    places = range(first, last)
    learners = max(i for i in places if "### BEGIN SOLUTION" in sources[i])
    with inside(path.parent):
        for source in sources[:first]:
            notebook.define(source)
        for i in places:
            notebook.execute(sources[i])
            if i == learners:
                notebook.execute(wrong)
        return notebook.execute(sources[last])


class Notebook:
    """A notebook's code cells, run in this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        cells = export.read_cells(path, path.parent)
        self.sources = [cell.code for cell in cells]
        module = ModuleType(f"notebook_{len(sys.modules)}")
        sys.modules[module.__name__] = module  # dataclasses look there
        self.names = module.__dict__

    def define(self, source: str) -> None:
        """Execute the imports, definitions and constants of a cell."""
        for node in parse(source).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.execute(ast.unparse(node))
            elif is_definition(node):
                with contextlib.suppress(NameError):
                    self.execute(ast.unparse(node))

    def execute(self, source: str) -> str:
        """Execute a cell without magics; return what it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            tree = parse(source)
            exec(compile(tree, self.path.name, "exec"), self.names)
        return printed.getvalue()


def parse(source: str) -> ast.Module:
    """A cell's syntax tree; an empty one if it is no plain Python."""
    try:
        return ast.parse(source)
    except SyntaxError:
        return ast.Module([], [])


def is_definition(node: ast.stmt) -> bool:
    """A function, a class, or a constant that no work is needed for."""
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    cheap = {ast.unparse(call.func) for call in calls} <= {"dict", "range"}
    is_block = isinstance(node, export.BLOCK)
    return bool(export.bound_names(node)) and (is_block or cheap)
