"""Write the files that are generated from the notebooks.

    python shared/export.py            write every generated file
    python shared/export.py --check    write nothing, show what differs

A chapter's code is written once, in the notebook that teaches it. A code cell
whose first line is `#| export` goes to the chapter's module; `#| default_exp
gpt` in the first code cell names that module. From the main notebooks come

    chNN/01_main-chapter-code/<module>.py           what the chapter built
    chNN/01_main-chapter-code/previous_chapters.py  what it stands on

and from any other notebook of a chapter whose first code cell has a
default_exp its module, in the same folder. It stands on its chapter's main
notebook (`from pretraining import ...`) and on the chapters before, and later
chapters find it in previous_chapters.py, below the chapter's main part.
From each exercise-solutions.ipynb comes exercises.ipynb, without what lies
between `### BEGIN SOLUTION` and `### END SOLUTION`.

An exported cell holds imports, definitions and constants. Each name has one
owner: whoever redefines a name says `#| export replaces=NAME`. Whatever
breaks a rule is reported with notebook, cell and remedy, and then nothing is
written. Cell numbers are those that Jupyter shows after Run All: [1], [2], ...
"""

from __future__ import annotations

import argparse
import ast
import builtins
import difflib
import json
import re
import symtable
import sys
import textwrap
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE_FOLDER = "01_main-chapter-code"
WIDTH = 79
MARK = "# GENERATED from"
HOW = "# Do not edit. Change the notebook and run: python shared/export.py"
MAIN_GUARD = 'if __name__ == "__main__":\n    raise SystemExit(main())'
KNOWN = set(dir(builtins)) | {"__file__", "__name__", "__doc__"}

# A constant may be built by these functions and methods and by no others,
# because importing a module must not read files, draw numbers or train.
BUILDERS = set(
    """bool bytes chr dict enumerate float frozenset int len list max min
    object ord pow range reversed round set slice sorted str sum tuple zip
    Counter Decimal Fraction Lock MappingProxyType NamedTuple NewType
    OrderedDict ParamSpec Path TypeVar TypedDict WeakKeyDictionary cast
    compile count decode defaultdict deque device encode escape exp field
    format fromkeys get getLogger items join joinpath keys local log lower
    maketrans namedtuple partial replace resolve split splitlines sqrt strip
    translate upper values""".split()
)

# These calls prepare the lesson, usually in its import cell. They are no part
# of the module and are left out of it.
LESSON_ONLY = {
    "np.set_printoptions",
    "plt.rcParams.update",
    "plt.style.use",
    "sys.path.append",
    "sys.path.insert",
    "torch.set_printoptions",
    "warnings.filterwarnings",
}

# What every notebook of the course says about itself.
FORM = {
    "metadata": {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}

# All that can be wrong, and what to do about it.
MESSAGES = {
    "above": "{name} is needed when the module is imported, but is only "
    "defined in {where}: move it up, or quote the annotation",
    "begin": "### {word} SOLUTION without ### {other} SOLUTION: add it",
    "default_exp": "'{name}' cannot name a module: write "
    "'#| default_exp gpt', say",
    "directive": "cannot read '#| {line}': write '#| export', "
    "'#| export replaces=NAME' or '#| default_exp MODULE'",
    "elsewhere": "{name} does not come from {module}: {remedy}",
    "first": "default_exp belongs into the first code cell",
    "flat": "'{line}': import names of {module} without 'as', because later "
    "chapters see one flat module",
    "import": "'{line}': name the module in full and each name you import",
    "magic": "'{line}' is a magic or shell line: move it to a cell without "
    "#| export",
    "module": "exported before any '#| default_exp MODULE': put that line "
    "into the first code cell",
    "nothing": "replaces={name}, but no earlier cell exports {name}: delete "
    "it from the directive",
    "one line": "line {line} holds two statements: give each its own line",
    "partly": "{names} is replaced later, the rest of its statement is not: "
    "give each name a statement of its own",
    "place": "a #| line below other lines has no effect: move it to the top "
    "of the cell",
    "previous": "no earlier chapter exports {name}: correct the import",
    "replaces": "replaces={name}, but the cell does not define {name}: "
    "correct the directive",
    "run all": "cut out, this solution stops Run All: put the markers into "
    "a function or into 'with exercise(...):'",
    "runs": "'{line}' would run whenever the module is imported, and an "
    "exported cell holds only imports, definitions and constants: move it "
    "to a cell without #| export",
    "second": "a second default_exp: a notebook has one module",
    "syntax": "syntax error in line {number}, '{line}': {error}",
    "taken": "{name} is already exported by {where}: write '#| export "
    "replaces={name}' or rename it",
    "twin": "{name} is already the module of {where}: choose another name",
    "two things": "{name} is imported from {module} here and from {other} "
    "elsewhere: write 'as' with another name",
    "shadow": "{name} is also imported from {module}: rename one of the two",
    "undefined": "{name} is not defined: {remedy}",
    "without": "without its solution the cell is not valid Python, line "
    "{number}: indent the markers like the code between them",
}


# ---- Notebooks -----------------------------------------------------------


class NotANotebook(ValueError):
    """A file that cannot be read as a notebook: its path and the reason."""


def read_notebook(path: Path) -> dict:
    """A notebook as a dict, every text joined to one string.

    Raises NotANotebook if the file cannot be read as one.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        return join_lines(notebook)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{path.as_posix()}: cannot be read as a notebook: {error}"
        raise NotANotebook(reason) from error


def join_lines(notebook: dict) -> dict:
    """Notebook files split texts into lists of lines; here they are whole."""
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = "".join(output["text"])
            for kind, value in output.get("data", {}).items():
                if kind.startswith(("text/", "image/")):
                    output["data"][kind] = "".join(value)
    return notebook


def dump_notebook(notebook: dict) -> str:
    """The text of a notebook file, in the form that nbformat writes."""
    notebook = json.loads(json.dumps(notebook))
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = output["text"].splitlines(keepends=True)
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output["data"][kind] = value.splitlines(keepends=True)
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
    return text + "\n"


def write_text(path: Path, text: str) -> None:
    """UTF-8 and line feeds, on every platform."""
    path.write_bytes(text.encode("utf-8"))


@dataclass(frozen=True)
class Cell:
    """A code cell: where it stands, and its text without directives."""

    notebook: str
    number: int
    code: str
    directives: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return f"{self.notebook}, cell {self.number}"


class Faults(list):
    """What is wrong, one line each, in the order of discovery."""

    def add(self, cell: Cell, key: str, **values: object) -> None:
        line = f"{cell.where}: {MESSAGES[key].format(**values)}"
        if line not in self:
            self.append(line)


def read_cells(path: Path, root: Path) -> list[Cell]:
    """The code cells of a notebook, numbered from 1."""
    name = path.relative_to(root).as_posix()
    sources = [
        cell["source"]
        for cell in read_notebook(path)["cells"]
        if cell["cell_type"] == "code"
    ]
    return [
        Cell(name, number, *split_directives(source))
        for number, source in enumerate(sources, start=1)
    ]


def split_directives(source: str) -> tuple[str, tuple[str, ...]]:
    """The code, its leading `#|` lines made blank, and the directives."""
    lines, directives = source.splitlines(), []
    for i, line in enumerate(lines):
        if not line.startswith("#|"):
            break
        directives.append(line[2:].strip())
        lines[i] = ""
    return "\n".join(lines), tuple(directives)


# ---- From cells to pieces ------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported name: `import module` or `from module import name`."""

    module: str
    name: str | None = None
    alias: str | None = None

    @property
    def bound(self) -> str:
        """The name under which the code knows it."""
        return self.alias or self.name or self.module.split(".")[0]

    @property
    def conflict_key(self) -> tuple:
        """Equal for imports that may share their bound name."""
        if self.name is None and self.alias is None:
            return (self.bound,)
        return (self.module, self.name)


@dataclass
class Piece:
    """One top-level statement of an exported cell, comments included."""

    cell: Cell
    node: ast.stmt
    text: str
    gap: int  # blank lines before it in its cell
    replaces: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names it defines."""
        if isinstance(self.node, ast.Assign | ast.AnnAssign):
            return assigned_names(self.node)
        return [self.node.name] if hasattr(self.node, "name") else []

    @cached_property
    def uses(self) -> set[str]:
        """The names that it, in any scope, takes from its module."""
        code = ast.unparse(self.node)
        return global_names(code) | quoted_names(self.node)

    def needs_at_import(self, lazy_annotations: bool) -> set[str]:
        """The names that must exist before the statement is run."""
        visitor = ImportTime(lazy_annotations)
        visitor.visit(self.node)
        return visitor.names & (self.uses | set(self.names))

    @property
    def is_block(self) -> bool:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return isinstance(self.node, kinds)


@dataclass
class Chapter:
    """What one notebook of a chapter, usually its main one, exports."""

    label: str
    notebook: str
    folder: Path
    main: Chapter | None = None  # what a bonus notebook stands on
    module: str = ""
    doc: str = ""
    cells: list[Cell] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    imports: dict[Import, Cell] = field(default_factory=dict)

    @property
    def flat(self) -> set[str]:
        """The generated modules from which it imports."""
        own = {self.main.module} - {""} if self.main else set()
        return {"previous_chapters"} | own

    def used_imports(self) -> dict[Import, Cell]:
        """Without those that only the lesson needs."""
        return keep_used(self.imports, self.pieces)


def assigned_names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """Names on the left-hand side, `A = B = 1` and `A, B = 1, 2` included."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = []
    for target in targets:
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        names += [part.id for part in parts if isinstance(part, ast.Name)]
    return names


def dotted(node: ast.AST) -> str:
    """`plt.style.use` for the expression of that name, else ''."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and dotted(node.value):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def is_constant(node: ast.stmt) -> bool:
    """Whether a statement assigns a plain value to plain names."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    for target in targets:
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        if not all(isinstance(part, ast.Name) for part in parts):
            return False
    return all(is_plain(part) for part in ast.walk(node.value))


def is_plain(node: ast.AST) -> bool:
    """Whether evaluating this part of a constant changes nothing."""
    if isinstance(node, ast.Await | ast.Yield | ast.YieldFrom | ast.NamedExpr):
        return False
    if not isinstance(node, ast.Call):
        return True
    called = getattr(node.func, "attr", getattr(node.func, "id", ""))
    return called in BUILDERS


def is_definition(node: ast.stmt) -> bool:
    """Whether a statement defines a function, a class or a constant."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return isinstance(node, kinds) or is_constant(node)


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def is_lesson_only(node: ast.stmt) -> bool:
    """Whether a statement prepares the lesson and is not for the module."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and dotted(node.value.func) in LESSON_ONLY
    )


# ---- Names: which are used, which are needed at import -------------------


def global_names(code: str) -> set[str]:
    """Names that the code, in any of its scopes, takes from its module.

    The code is looked at as the body of a function, since from Python 3.12
    on the variables of a module's own comprehensions look like globals.
    """
    body = textwrap.indent(code, " ")
    scopes = [symtable.symtable(f"def body():\n{body}", "<cell>", "exec")]
    names: set[str] = set()
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        if scope.get_type() != "module":
            found = (s for s in scope.get_symbols() if s.is_global())
            names |= {symbol.get_name() for symbol in found}
    return names - {"__class__", "__module__", "__qualname__"}


def quoted_names(node: ast.AST) -> set[str]:
    """Names in annotations that are written as strings."""
    found: set[str] = set()
    for part in ast.walk(node):
        for name in ("annotation", "returns"):
            annotation = getattr(part, name, None)
            if annotation is not None:
                found |= names_in_quotes(annotation)
    return found


def names_in_quotes(annotation: ast.AST) -> set[str]:
    """Names inside the string parts of one annotation."""
    if isinstance(annotation, ast.Subscript):
        if dotted(annotation.value).split(".")[-1] == "Literal":
            return set()
    if isinstance(annotation, ast.Constant):
        if not isinstance(annotation.value, str):
            return set()
        try:
            return global_names(annotation.value)
        except SyntaxError:
            return set()
    found: set[str] = set()
    for child in ast.iter_child_nodes(annotation):
        found |= names_in_quotes(child)
    return found


class ImportTime(ast.NodeVisitor):
    """Collects the names that a statement reads when it is executed.

    The body of a function waits until it is called; decorators, default
    values, base classes, class bodies and (usually) annotations do not.
    """

    def __init__(self, lazy_annotations: bool) -> None:
        self.names: set[str] = set()
        self.lazy_annotations = lazy_annotations

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.names.add(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for part in [*node.decorator_list, node.args, node.returns]:
            if part is node.returns and self.lazy_annotations:
                continue
            if part is not None:
                self.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None and not self.lazy_annotations:
            self.visit(node.annotation)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if not self.lazy_annotations:
            self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)


# ---- Reading one chapter -------------------------------------------------


def find_notebooks(root: Path) -> list[Path]:
    """The main notebooks of the chapters that exist, in order."""
    found = sorted(root.glob(f"ch*/{CODE_FOLDER}/ch*.ipynb"))
    return [
        path
        for path in found
        if re.fullmatch(r"ch\d\d", path.stem)
        and path.stem == path.parent.parent.name
    ]


def find_bonus(main: Path) -> list[Path]:
    """The other notebooks of a chapter that name a module, in order."""
    found = sorted(main.parent.parent.glob("[0-9][0-9]_*/*.ipynb"))
    return [path for path in found if path != main and names_module(path)]


def names_module(path: Path) -> bool:
    """Whether a notebook's first code cell has a `#| default_exp`."""
    first = read_cells(path, path.parent)[:1]
    lines = [line for cell in first for line in cell.directives]
    return any(line.startswith("default_exp") for line in lines)


def read_chapters(root: Path, faults: Faults) -> list[Chapter]:
    """What the notebooks export: each chapter's main one, then its others."""
    chapters = []
    for path in find_notebooks(root):
        main = read_chapter(path, root, faults)
        chapters.append(main)
        for bonus in find_bonus(path):
            chapters.append(read_chapter(bonus, root, faults, main))
    return chapters


def read_chapter(
    path: Path, root: Path, faults: Faults, main: Chapter | None = None
) -> Chapter:
    """What a chapter's main notebook, or another that has one, exports."""
    chapter = Chapter(
        label=main.label if main else path.stem,
        notebook=path.relative_to(root).as_posix(),
        folder=path.parent,
        main=main,
        cells=read_cells(path, root),
    )
    for cell in chapter.cells:
        check_place(cell, faults)
        for directive in cell.directives:
            obey(directive, cell, chapter, faults)
    return chapter


def check_place(cell: Cell, faults: Faults) -> None:
    """A directive below the first lines would be silently without effect."""
    if re.search(r"^\s*#\|", cell.code, flags=re.MULTILINE):
        faults.add(cell, "place")


def obey(directive: str, cell: Cell, chapter: Chapter, faults: Faults) -> None:
    """Carry out one `#|` line."""
    name = re.fullmatch(r"default_exp\s+(\S+)", directive)
    export = re.fullmatch(r"export(?:\s+replaces\s*=([\w\s,]+))?", directive)
    if name:
        name_module(name[1], cell, chapter, faults)
    elif export:
        if not chapter.module:
            faults.add(cell, "module")
        replaces = re.findall(r"\w+", export[1] or "")
        take_cell(cell, frozenset(replaces), chapter, faults)
    else:
        faults.add(cell, "directive", line=directive)


def name_module(
    name: str, cell: Cell, chapter: Chapter, faults: Faults
) -> None:
    """`#| default_exp NAME`: once, and in the first code cell."""
    if not name.isidentifier() or name == "previous_chapters":
        faults.add(cell, "default_exp", name=name)
    if chapter.module:
        faults.add(cell, "second")
    elif cell.number != 1:
        faults.add(cell, "first")
    chapter.module = chapter.module or name


def take_cell(
    cell: Cell, replaces: frozenset[str], chapter: Chapter, faults: Faults
) -> None:
    """Add an exported cell's imports and pieces to its chapter."""
    before = len(chapter.pieces)
    for piece in split_cell(cell, replaces, faults):
        take_statement(piece, chapter, faults)
    pieces = chapter.pieces[before:]
    defined = {name for piece in pieces for name in piece.names}
    for name in sorted(replaces - defined):
        faults.add(cell, "replaces", name=name)


def split_cell(
    cell: Cell, replaces: frozenset[str], faults: Faults
) -> Iterator[Piece]:
    """The statements of a cell, each with the comments above it.

    Comments below the last one belong to it.
    """
    tree = parse(cell, faults)
    body = tree.body if tree else []
    start, lines = 0, cell.code.splitlines()
    for node in body:
        if first_line(node) - 1 < start:
            faults.add(cell, "one line", line=start)
        end = len(lines) if node is body[-1] else node.end_lineno
        text = "\n".join(lines[start:end]).rstrip()
        gap = len(text) - len(text.lstrip("\n"))
        start = end
        yield Piece(cell, node, text.lstrip("\n"), gap, replaces)


def parse(cell: Cell, faults: Faults) -> ast.Module | None:
    """The cell's syntax tree, or a fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(cell.code)
            compile(tree, "<cell>", "exec")
            return tree
    except SyntaxError as error:
        lines, number = cell.code.splitlines(), error.lineno or 1
        line = lines[min(number, len(lines)) - 1].strip()
        if re.match(r"[%!?]|[\w, ]+=\s*[%!]|.*\?$", line):
            faults.add(cell, "magic", line=line)
        else:
            faults.add(
                cell, "syntax", number=number, line=line, error=error.msg
            )
        return None


def first_line(node: ast.stmt) -> int:
    """The line where a statement starts, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def take_statement(piece: Piece, chapter: Chapter, faults: Faults) -> None:
    """Sort one statement: import, definition, docstring, or fault."""
    node, cell = piece.node, piece.cell
    if is_import(node):
        for entry in read_import(piece, chapter.flat, faults):
            chapter.imports.setdefault(entry, cell)
    elif is_text(node):
        if cell.number == 1 and not chapter.pieces and not chapter.doc:
            chapter.doc = piece.text
        else:
            chapter.pieces.append(piece)
    elif is_definition(node):
        chapter.pieces.append(piece)
    elif not is_lesson_only(node):
        line = ast.unparse(node).splitlines()[0][:50]
        faults.add(cell, "runs", line=line)


def read_import(
    piece: Piece, flat: set[str], faults: Faults
) -> Iterator[Import]:
    """The names that an import statement binds."""
    node, line = piece.node, ast.unparse(piece.node)
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, None, alias.asname)
        return
    for alias in node.names:
        if node.level or alias.name == "*":
            faults.add(piece.cell, "import", line=line)
        elif node.module in flat and alias.asname:
            faults.add(piece.cell, "flat", line=line, module=node.module)
        else:
            yield Import(node.module, alias.name, alias.asname)


# ---- Imports: pruned, sorted, written ------------------------------------


def keep_used(
    imports: dict[Import, Cell], pieces: Iterable[Piece]
) -> dict[Import, Cell]:
    """The imports that the pieces use."""
    used = set().union(*(piece.uses for piece in pieces))
    return {
        entry: cell
        for entry, cell in imports.items()
        if entry.bound in used or entry.module == "__future__"
    }


def natural(text: str) -> list:
    """A sort key that puts part2 before part10."""
    parts = re.split(r"(\d+)", text)
    return [int(p) if p.isdigit() else p for p in parts]


def module_key(name: str) -> tuple:
    return natural(name.lower()), natural(name)


def member_key(name: str) -> tuple:
    """Constants, then classes, then the rest, as isort sorts members."""
    rank = 2
    if len(name) > 1 and name.isupper():
        rank = 0
    elif name[:1].isupper():
        rank = 1
    return rank, natural(name.lower()), natural(name)


def section(module: str) -> int:
    """0 for __future__, 1 for the standard library, 2 for the rest."""
    top = module.split(".")[0]
    if top == "__future__":
        return 0
    return 1 if top in sys.stdlib_module_names else 2


def write_imports(imports: Iterable[Import]) -> str:
    """Import statements, sorted as ruff sorts them, '' if there are none."""
    sections: dict[int, list[Import]] = defaultdict(list)
    for entry in imports:
        sections[section(entry.module)].append(entry)
    return "\n\n".join(
        "\n".join([*plain_lines(entries), *from_lines(entries)])
        for _, entries in sorted(sections.items())
    )


def plain_lines(imports: list[Import]) -> list[str]:
    """`import a` and `import a as b`."""
    plain = [entry for entry in imports if entry.name is None]
    plain.sort(key=lambda e: (*module_key(e.module), e.alias or ""))
    return [f"import {e.module}{as_alias(e)}" for e in plain]


def from_lines(imports: list[Import]) -> list[str]:
    """`from a import b, c`; a name with an alias has its own line."""
    groups: dict[tuple, list[Import]] = defaultdict(list)
    for entry in imports:
        if entry.name is not None:
            alone = (entry.name, entry.alias) if entry.alias else ()
            groups[entry.module, alone].append(entry)
    rows = []
    for (module, _), entries in groups.items():
        entries.sort(key=lambda e: member_key(e.name))
        names = [f"{e.name}{as_alias(e)}" for e in entries]
        first = member_key(entries[0].name), entries[0].alias or ""
        rows.append(((module_key(module), first), wrap_import(module, names)))
    return [text for _, text in sorted(rows)]


def as_alias(entry: Import) -> str:
    return f" as {entry.alias}" if entry.alias else ""


def wrap_import(module: str, names: list[str]) -> str:
    """One line if it fits, else one name per line."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return line
    rows = "".join(f"    {name},\n" for name in names)
    return f"from {module} import (\n{rows})"


# ---- Names have one owner ------------------------------------------------


def settle_owners(
    chapter: Chapter, earlier: dict[str, Piece], faults: Faults
) -> None:
    """Leave only final forms in the chapter; report silent redefinitions."""
    own: dict[str, Piece] = {}
    for piece in chapter.pieces:
        for name in piece.names:
            before = own.get(name) or earlier.get(name)
            if before is not None and name not in piece.replaces:
                where = before.cell.where
                faults.add(piece.cell, "taken", name=name, where=where)
            if before is None and name in piece.replaces:
                faults.add(piece.cell, "nothing", name=name)
            own[name] = piece
    chapter.pieces = without(chapter.pieces, own, faults)


def without(
    pieces: list[Piece], final: dict[str, Piece], faults: Faults
) -> list[Piece]:
    """The pieces that no other piece in `final` replaces."""
    kept = []
    for piece in pieces:
        gone = [n for n in piece.names if final.get(n, piece) is not piece]
        if not gone:
            kept.append(piece)
        elif len(gone) < len(piece.names):
            faults.add(piece.cell, "partly", names=", ".join(gone))
    return kept


# ---- Checking a module ---------------------------------------------------


@dataclass
class Module:
    """A generated module before it is written."""

    parts: list[tuple[Chapter, list[Piece]]]
    imports: dict[Import, Cell]
    available: dict[str, set[str]]  # what other generated modules offer

    @property
    def pieces(self) -> list[Piece]:
        return [piece for _, pieces in self.parts for piece in pieces]

    @property
    def owners(self) -> dict[str, int]:
        """The place of each name's definition among the pieces."""
        return {n: i for i, p in enumerate(self.pieces) for n in p.names}


def check_module(module: Module, faults: Faults) -> None:
    """Report what would fail, at import or later."""
    check_imports(module, faults)
    check_names(module, faults)
    check_order(module, faults)


def check_imports(module: Module, faults: Faults) -> None:
    """One name must not stand for two things."""
    bound: dict[str, Import] = {}
    pieces, owners = module.pieces, module.owners
    for entry, cell in module.imports.items():
        name, source = entry.bound, entry.module
        other = bound.setdefault(name, entry)
        if other.conflict_key != entry.conflict_key:
            where = {"module": source, "other": other.module}
            faults.add(cell, "two things", name=name, **where)
        if name in owners:
            owner = pieces[owners[name]].cell
            faults.add(owner, "shadow", name=name, module=source)
        if source in module.available:
            check_own_import(entry, cell, module.available, faults)


def check_own_import(
    entry: Import, cell: Cell, available: dict[str, set[str]], faults: Faults
) -> None:
    """An import from a generated module must find its name there."""
    name, source = entry.name, entry.module
    homes = [home for home, names in available.items() if name in names]
    if name is None:
        faults.add(cell, "flat", line=f"import {source}", module=source)
    elif not homes and source == "previous_chapters":
        faults.add(cell, "previous", name=name)
    elif source not in homes:
        remedy = "correct the import"
        if homes:
            remedy = f"write 'from {homes[0]} import {name}'"
        faults.add(cell, "elsewhere", name=name, module=source, remedy=remedy)


def check_names(module: Module, faults: Faults) -> None:
    """Every name that is used must come from somewhere."""
    known = KNOWN | {entry.bound for entry in module.imports}
    known |= set(module.owners)
    for chapter, pieces in module.parts:
        for piece in pieces:
            for name in sorted(piece.uses - known):
                remedy = find_remedy(name, chapter, module.available)
                faults.add(piece.cell, "undefined", name=name, remedy=remedy)


def find_remedy(
    name: str, chapter: Chapter, available: dict[str, set[str]]
) -> str:
    """How to make an undefined name known."""
    if name == "main":
        return "previous_chapters.py has no main, so only main may use it"
    for source, names in available.items():
        if name in names:
            return f"write 'from {source} import {name}'"
    for cell in chapter.cells:
        if name in defined_names(cell):
            return f"cell {cell.number} defines it: write '#| export' there"
    return "import it, export its definition, or pass it as an argument"


def defined_names(cell: Cell) -> set[str]:
    """What a cell, exported or not, defines or assigns at its top level."""
    try:
        table = symtable.symtable(cell.code, "<cell>", "exec")
    except SyntaxError:
        return set()
    return {s.get_name() for s in table.get_symbols() if s.is_assigned()}


def check_order(module: Module, faults: Faults) -> None:
    """What is needed at import must stand above."""
    lazy = any(entry.name == "annotations" for entry in module.imports)
    pieces, owners = module.pieces, module.owners
    for i, piece in enumerate(pieces):
        for name in sorted(piece.needs_at_import(lazy)):
            if owners.get(name, -1) >= i:
                where = pieces[owners[name]].cell.where
                faults.add(piece.cell, "above", name=name, where=where)


# ---- Writing a module ----------------------------------------------------


def write_module(
    header: str, module: Module, doc: str = "", banners: bool = False
) -> str:
    """The text of a module: header, imports, pieces, two blank lines apart."""
    blocks = [header + (f"\n{doc}" if doc else "")]
    imports = write_imports(module.imports)
    if imports:
        blocks.append("\n\n" + imports)
    above: Piece | None = None
    for chapter, pieces in module.parts:
        if banners and pieces:
            blocks.append("\n\n\n" if above else "\n\n")
            blocks.append(f"# ---- {chapter.label}: {chapter.module} ----")
            above = None
        for piece in pieces:
            after_banner = banners and above is None
            blocks.append("\n" * (blanks(above, piece, after_banner) + 1))
            blocks.append(piece.text)
            above = piece
    names = [name for piece in module.pieces for name in piece.names]
    if "main" in names:
        blocks.append(f"\n\n\n{MAIN_GUARD}")
    return "".join(blocks) + "\n"


def blanks(above: Piece | None, piece: Piece, after_banner: bool) -> int:
    """How many blank lines stand before a piece."""
    if above is None:
        starts_with_comment = piece.text.startswith("#") and not after_banner
        return 2 if piece.is_block and not starts_with_comment else 1
    if above.is_block or piece.is_block:
        return 2
    return min(piece.gap, 2) if above.cell is piece.cell else 1


def own_module(chapter: Chapter, earlier: dict[str, Piece]) -> Module:
    """What the chapter's own module holds."""
    names = {name for piece in chapter.pieces for name in piece.names}
    imports = {
        entry: cell
        for entry, cell in chapter.used_imports().items()
        if entry.module not in chapter.flat or entry.name not in names
    }
    parts = [(chapter, chapter.pieces)]
    return Module(parts, imports, offered_names(chapter, earlier))


def offered_names(
    chapter: Chapter, earlier: dict[str, Piece]
) -> dict[str, set[str]]:
    """The names that a chapter may import, by generated module."""
    found: dict[str, set[str]] = {source: set() for source in chapter.flat}
    for name, piece in earlier.items():
        home = piece.cell.notebook
        if chapter.main and home == chapter.main.notebook:
            found[chapter.main.module].add(name)
        elif not home.startswith(f"{chapter.label}/"):
            found["previous_chapters"].add(name)
    return found


def merged_module(chapters: list[Chapter]) -> Module:
    """What previous_chapters.py holds: all of these chapters but `main`."""
    parts, imports = [], {}
    for chapter in chapters:
        pieces = [p for p in chapter.pieces if p.names != ["main"]]
        parts.append((chapter, pieces))
        for entry, cell in keep_used(chapter.imports, pieces).items():
            if entry.module not in chapter.flat:
                imports.setdefault(entry, cell)
    return Module(parts, imports, {})


def header_of(notebooks: list[str]) -> str:
    """The lines that every generated module starts with."""
    names = notebooks or ["no notebook yet"]
    lines = [f"{MARK} {names[0]}"]
    lines += [f"#{'and'.rjust(len(MARK) - 1)} {name}" for name in names[1:]]
    return "\n".join([*lines, HOW])


def build_modules(root: Path, faults: Faults) -> dict[Path, str]:
    """The text of every generated module, by path."""
    files: dict[Path, str] = {}
    final: dict[str, Piece] = {}
    done: list[Chapter] = []
    for chapter in read_chapters(root, faults):
        if chapter.main is None and chapter.label >= "ch03":
            merged = merged_module(done)
            check_module(merged, faults)
            header = header_of([before.notebook for before in done])
            target = chapter.folder / "previous_chapters.py"
            files[target] = write_module(header, merged, banners=True)
        if chapter.module:
            check_twins(chapter, done, faults)
            settle_owners(chapter, final, faults)
            module = own_module(chapter, final)
            check_module(module, faults)
            header = header_of([chapter.notebook])
            target = chapter.folder / f"{chapter.module}.py"
            files[target] = write_module(header, module, chapter.doc)
            add_chapter(chapter, done, final, faults)
    return files


def check_twins(chapter: Chapter, done: list[Chapter], faults: Faults) -> None:
    """Scripts find modules by their plain names, so each has its own."""
    for before in done:
        if before.module == chapter.module:
            place = {"name": chapter.module, "where": before.notebook}
            faults.add(chapter.cells[0], "twin", **place)


def add_chapter(
    chapter: Chapter,
    done: list[Chapter],
    final: dict[str, Piece],
    faults: Faults,
) -> None:
    """What the chapter replaces is gone for those that follow."""
    own = {name: p for p in chapter.pieces for name in p.names}
    own.pop("main", None)
    final.update(own)
    for before in done:
        before.pieces = without(before.pieces, own, faults)
    done.append(chapter)


# ---- Exercises -----------------------------------------------------------

MARKER = re.compile(
    r"(?P<indent>\s*)(?:<!-- )?### (?P<word>BEGIN|END) SOLUTION(?: -->)?\s*"
)


def cut_solution(cell: Cell, is_code: bool, faults: Faults) -> str:
    """The text without what lies between the markers.

    In code, `raise NotImplementedError` stands where the solution stood.
    """
    kept: list[str] = []
    inside = False
    for line in cell.code.split("\n"):
        marker = MARKER.fullmatch(line)
        if marker is None:
            if not inside:
                kept.append(line)
            continue
        if inside == (marker["word"] == "BEGIN"):
            other = "END" if inside else "BEGIN"
            faults.add(cell, "begin", word=marker["word"], other=other)
        inside = marker["word"] == "BEGIN"
        if inside and is_code:
            kept.append(f"{marker['indent']}raise NotImplementedError")
    if inside:
        faults.add(cell, "begin", word="BEGIN", other="END")
    return "\n".join(kept)


def check_cut(cell: Cell, cut: str, faults: Faults) -> None:
    """Run All must survive what is left of a cell."""
    try:
        if stops_at_once(ast.parse(cut)):
            faults.add(cell, "run all")
    except SyntaxError as error:
        faults.add(cell, "without", number=error.lineno)


def stops_at_once(node: ast.AST) -> bool:
    """Whether a `raise` stands outside functions and `with` blocks."""
    shelter = (ast.FunctionDef, ast.AsyncFunctionDef, ast.With)
    return isinstance(node, ast.Raise) or any(
        stops_at_once(child)
        for child in ast.iter_child_nodes(node)
        if not isinstance(child, shelter)
    )


def build_exercises(
    solutions: Path, target: Path, root: Path, faults: Faults
) -> dict:
    """The learner's notebook, with outputs kept where nothing changed."""
    name = solutions.relative_to(root).as_posix()
    cells, number = [], 0
    outputs = stored_outputs(target)
    for cell in read_notebook(solutions)["cells"]:
        is_code = cell["cell_type"] == "code"
        number += is_code
        place = Cell(name, number, cell["source"])
        source = cut_solution(place, is_code, faults)
        if is_code and source != place.code:
            check_cut(place, source, faults)
        if source.strip() or not place.code.strip():
            cells.append(learners_cell(cell, source, outputs))
    return FORM | {"cells": cells}


def learners_cell(cell: dict, source: str, outputs: dict) -> dict:
    """A cell of exercises.ipynb: the same id and tags as in the solutions."""
    tags = cell["metadata"].get("tags")
    new = {
        "cell_type": cell["cell_type"],
        "id": cell.get("id", ""),
        "metadata": {"tags": tags} if tags else {},
        "source": source,
    }
    if new["cell_type"] == "code":
        kept = outputs.get(source) or [(None, [])]
        new["execution_count"], new["outputs"] = kept.pop(0)
    return new


def stored_outputs(path: Path) -> dict[str, list]:
    """Counts and outputs of an existing notebook, by source."""
    found: dict[str, list] = defaultdict(list)
    if path.exists():
        for cell in read_notebook(path)["cells"]:
            if cell["cell_type"] == "code":
                pair = (cell["execution_count"], cell["outputs"])
                found[cell["source"]].append(pair)
    return found


def without_outputs(text: str) -> str:
    """A notebook's text for comparison: no outputs, no counts."""
    try:
        notebook = json.loads(text)
    except ValueError:
        return text
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return dump_notebook(notebook)


# ---- The whole course ----------------------------------------------------


def build(root: Path) -> tuple[dict[Path, str], Faults]:
    """Every generated file's text by path, and everything that is wrong."""
    faults = Faults()
    files: dict[Path, str] = {}
    try:
        files |= build_modules(root, faults)
        for solutions in sorted(root.glob("ch*/*/exercise-solutions.ipynb")):
            target = solutions.with_name("exercises.ipynb")
            notebook = build_exercises(solutions, target, root, faults)
            files[target] = dump_notebook(notebook)
    except NotANotebook as error:
        faults.append(str(error).replace(f"{root.as_posix()}/", ""))
    return files, faults


def find_stale(root: Path, files: dict[Path, str]) -> list[Path]:
    """Modules that were generated once and that no notebook makes now."""
    found = sorted(root.glob("ch*/[0-9][0-9]_*/*.py"))
    return [
        path
        for path in found
        if path not in files and path.read_bytes().startswith(MARK.encode())
    ]


def difference(path: Path, text: str, root: Path, most: int = 20) -> str:
    """A short unified diff from the file to what it should be, or ''."""
    name = path.relative_to(root).as_posix()
    if not path.exists():
        return f"{name}: missing"
    old = path.read_bytes().decode("utf-8")
    if path.suffix == ".ipynb":
        old, text = without_outputs(old), without_outputs(text)
    if old == text:
        return ""
    names = {"fromfile": name, "tofile": "what the notebooks say"}
    lines = old.splitlines(), text.splitlines()
    diff = list(difflib.unified_diff(*lines, **names, n=1, lineterm=""))
    if not diff:
        return f"{name}: line endings differ, and should be LF"
    more = [f"... and {len(diff) - most} lines more"]
    return "\n".join(diff[:most] + more * (len(diff) > most))


def check(root: Path) -> list[str]:
    """What is wrong or differs; empty if all is well. Writes nothing."""
    files, faults = build(root)
    if faults:
        return faults
    found = [difference(path, files[path], root) for path in sorted(files)]
    for path in find_stale(root, files):
        name = path.relative_to(root).as_posix()
        found.append(f"{name}: no notebook generates it any more")
    return [text for text in found if text]


def write(root: Path) -> list[str]:
    """Write every generated file that changed; return what is wrong."""
    files, faults = build(root)
    if faults:
        return faults
    for path, text in sorted(files.items()):
        if not path.exists() or path.read_bytes() != text.encode("utf-8"):
            write_text(path, text)
            print("wrote", path.relative_to(root).as_posix())
    for path in find_stale(root, files):
        path.unlink()
        print("removed", path.relative_to(root).as_posix())
    return []


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Write the files that are generated from the notebooks."
    )
    add = parser.add_argument
    add("--check", action="store_true", help="write nothing, show differences")
    add("--root", type=Path, default=ROOT, help="the course's folder")
    args = parser.parse_args(argv)
    if not args.root.is_dir():
        parser.error(f"--root {args.root} is not a folder: check the path")
    root = args.root.resolve()
    found = check(root) if args.check else write(root)
    for text in found:
        print(text)
    if found and args.check:
        print("\nTo bring generated files up to date: python shared/export.py")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
