"""Write the files that are generated from the notebooks.

    python shared/export.py            write every generated file
    python shared/export.py --check    write nothing, show what differs

Code is written once, in the notebook that teaches it. A code cell whose first
line is `#| export` goes to the module that `#| default_exp gpt` in the first
code cell names; the module lies beside the notebook. Every folder whose
notebooks or scripts import `previous_chapters` gets a file of that name: a
leaf, which holds what they import and what that stands on, and nothing else.
It may come from the main notebooks of the chapters before; for a bonus also
from its own chapter's main notebook; and from each bonus that the folder
names, with `#| needs ch05/02_alternative-weight-loading` in a notebook's first
code cell or as a comment line of a script.

An exported cell holds imports, definitions and assignments. Of the main
notebooks each name has one owner; who redefines it says `#| export
replaces=NAME`. Two bonuses may use one name for two things.

From each exercise-solutions.ipynb comes exercises.ipynb, without what lies
between `### BEGIN SOLUTION` and `### END SOLUTION`.

Whatever breaks a rule is reported with its place and a remedy, and then
nothing is written. Cell numbers are those that Jupyter shows after Run All.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

if lacking := [
    n for n in ("nbformat", "ruff") if not importlib.util.find_spec(n)
]:
    sys.exit(f"{lacking[0]} is missing: pip install -r requirements-test.txt")

import nbformat

ROOT = Path(__file__).resolve().parent.parent
MAIN = "01_main-chapter-code"
LEAF = "previous_chapters"
MARK = "# GENERATED from"
HOW = "# Do not edit. Change the notebook and run: python shared/export.py"
MAIN_GUARD = [
    "",
    "",
    'if __name__ == "__main__":',
    "    raise SystemExit(main())",
]

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
BLOCK = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


# ---- Notebooks -----------------------------------------------------------


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook. Raises ValueError, with the path, if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # run_notebooks.py mends ids
            return nbformat.read(path, as_version=4)
    except Exception as error:  # whatever nbformat meets in a broken file
        reason = f"{path.as_posix()}: cannot be read as a notebook: {error}"
        raise ValueError(reason) from error


def make_notebook(cells: list[dict]) -> nbformat.NotebookNode:
    """A notebook that says of itself what every one of the course says."""
    kernel = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=about)


def dump_notebook(notebook: nbformat.NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def write_text(path: Path, text: str) -> None:
    """UTF-8 and line feeds, on every platform."""
    path.write_bytes(text.encode("utf-8"))


def kept_metadata(cell: dict) -> dict:
    """What stays of a cell's metadata: its tags, and that it is folded."""
    kept = {"tags": cell["metadata"].get("tags")}
    if cell["metadata"].get("jupyter", {}).get("source_hidden"):
        kept["jupyter"] = {"source_hidden": True}
    return {key: value for key, value in kept.items() if value}


@dataclass(frozen=True)
class Cell:
    """A code cell: its place, its text without `#|` lines, and those."""

    where: str
    number: int
    code: str
    directives: tuple[str, ...]


def read_cells(path: Path, root: Path) -> list[Cell]:
    """The code cells of a notebook, numbered from 1."""
    name, cells = path.relative_to(root).as_posix(), []
    for cell in read_notebook(path).cells:
        if cell.cell_type == "code":
            top = re.match(r"(#\|.*\n?)*", cell.source)[0]
            code = "\n" * top.count("\n") + cell.source[len(top) :]
            lines = tuple(line[2:].strip() for line in top.splitlines())
            number = len(cells) + 1
            where = f"{name}, cell {number}"
            cells.append(Cell(where, number, code, lines))
    return cells


# ---- What a notebook exports ---------------------------------------------


@dataclass(eq=False)
class Piece:
    """One definition or assignment of an exported cell, comments included."""

    home: Notebook
    where: str
    text: str
    gap: int  # blank lines before it in its cell
    names: list[str]
    is_block: bool
    replaces: list[str]
    free: set[str]  # the names that it uses and does not define
    replaced: list[Piece] = field(default_factory=list)


@dataclass(eq=False)
class Notebook:
    """A notebook that exports."""

    name: str
    folder: str
    module: str = ""
    doc: str = ""
    pieces: list[Piece] = field(default_factory=list)
    # What its import statements bind: names to (module, name, alias).
    imports: dict[str, set[tuple]] = field(default_factory=dict)
    exports: dict[str, Piece] = field(default_factory=dict)
    taken: dict[str, Piece] = field(default_factory=dict)  # from earlier ones

    def find(self, name: str) -> Piece | None:
        """Where in the course a name that its pieces use is defined."""
        return self.exports.get(name) or self.taken.get(name)


class Faults(list):
    """What is wrong, one line each, in the order of discovery."""

    def add(self, where: str, text: str) -> None:
        if f"{where}: {text}" not in self:
            self.append(f"{where}: {text}")


def obey(cell: Cell, book: Notebook, faults: Faults) -> list[str]:
    """Carry out a cell's `#|` lines; return the folders that it needs."""
    needs = []
    if re.search(r"^\s*#\|", cell.code, flags=re.MULTILINE):
        faults.add(cell.where, "move the #| lines to the top of the cell")
    for line in cell.directives:
        word, _, rest = line.partition(" ")
        replaces = re.fullmatch(r"(?:replaces\s*=([\w\s,]+))?", rest)
        if word == "needs" and rest:
            needs.append(rest.strip().rstrip("/"))
        elif word == "default_exp" and cell.number > 1:
            faults.add(cell.where, "move default_exp to the first code cell")
        elif word == "default_exp" and rest.isidentifier() and rest != LEAF:
            book.module = rest
        elif word == "export" and replaces and not book.module:
            faults.add(cell.where, "name the module first: #| default_exp X")
        elif word == "export" and replaces:
            names = re.findall(r"\w+", replaces[1] or "")
            take_cell(cell, names, book, faults)
        else:
            faults.add(
                cell.where,
                f"cannot read '#| {line}': write '#| export', '#| export "
                "replaces=NAME', '#| default_exp MODULE' or '#| needs FOLDER'",
            )
    return needs


def take_cell(
    cell: Cell, replaces: list[str], book: Notebook, faults: Faults
) -> None:
    """Add an exported cell's imports and pieces to its notebook."""
    start, lines, defined = 0, cell.code.splitlines(), set()
    body = parse(cell, faults)
    for node in body:
        above = getattr(node, "decorator_list", [])
        if min(n.lineno for n in [node, *above]) <= start:
            faults.add(cell.where, f"two statements in line {start}")
        end = len(lines) if node is body[-1] else node.end_lineno
        text = "\n".join(lines[start:end]).rstrip()
        start, gap = end, len(text) - len(text.lstrip("\n"))
        text = text.lstrip("\n")
        if isinstance(node, ast.Import | ast.ImportFrom):
            take_import(node, cell, book, faults)
        elif names := bound_names(node):
            defined |= set(names)
            kinds = [n for n in ast.walk(node) if isinstance(n, ast.Global)]
            free = {name for kind in kinds for name in kind.names}
            rest = names, isinstance(node, BLOCK), replaces, free
            book.pieces.append(Piece(book, cell.where, text, gap, *rest))
            if re.search(rf"^\s+(?:from|import) {LEAF}\b", text, re.M):
                faults.add(cell.where, f"import {LEAF} at the top")
        elif is_text(node) and not book.pieces:
            book.doc = text
        elif not is_lesson_only(node):
            line = ast.unparse(node).splitlines()[0][:50]
            faults.add(
                cell.where,
                f"'{line}' would run whenever the module is imported: "
                "export only imports, definitions and assignments to names, "
                "and move the rest to a cell without #| export",
            )
    for name in sorted(set(replaces) - defined):
        faults.add(cell.where, f"replaces={name}, but defines no {name}")


def parse(cell: Cell, faults: Faults) -> list[ast.stmt]:
    """The statements of an exported cell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(cell.code, cell.where, "exec")
            return ast.parse(cell.code).body
    except SyntaxError as error:
        faults.add(
            cell.where,
            f"line {error.lineno}, {error.msg}: correct it, or move magics "
            "and shell lines to a cell without #| export",
        )
        return []


def bound_names(node: ast.stmt) -> list[str]:
    """The names that a definition or assignment binds; [] if it is none."""
    if isinstance(node, BLOCK):
        return [node.name]
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    parts = [part for target in targets for part in ast.walk(target)]
    if any(isinstance(n, ast.Attribute | ast.Subscript) for n in parts):
        return []
    return [part.id for part in parts if isinstance(part, ast.Name)]


def is_text(node: ast.stmt) -> bool:
    return ast.get_docstring(ast.Module([node], [])) is not None


def is_lesson_only(node: ast.stmt) -> bool:
    """Whether a statement prepares the lesson and is not for the module."""
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return is_call and ast.unparse(node.value.func) in LESSON_ONLY


def take_import(
    node: ast.Import | ast.ImportFrom,
    cell: Cell,
    book: Notebook,
    faults: Faults,
) -> None:
    """Note what an import statement binds."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            bound = alias.asname or alias.name.split(".")[0]
            entry = alias.name, None, alias.asname
            wrong = alias.name == LEAF
        else:
            bound = alias.asname or alias.name
            entry = node.module, alias.name, alias.asname
            wrong = node.level or alias.name == "*"
            wrong = wrong or (node.module == LEAF and alias.asname)
        if wrong:
            line = ast.unparse(node)
            faults.add(cell.where, f"'{line}': import each name, without 'as'")
        book.imports.setdefault(bound, set()).add(entry)


# ---- What a folder needs -------------------------------------------------


@dataclass
class Folder:
    """What a folder exports, and what it wants of the others."""

    books: list[Notebook] = field(default_factory=list)
    needs: dict[str, str] = field(default_factory=dict)  # folder: where
    wants: dict[str, str] = field(default_factory=dict)  # name: where

    @property
    def exports(self) -> dict[str, Piece]:
        return {k: p for book in self.books for k, p in book.exports.items()}


def imported_names(codes: Iterable[str]) -> set[str]:
    """What code, in any of its scopes, takes from previous_chapters."""
    nodes = [n for code in codes for n in ast.walk(parse_loosely(code))]
    names, aliases = set(), set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == LEAF:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found = [a for a in node.names if a.name == LEAF]
            aliases |= {alias.asname or LEAF for alias in found}
    for node in nodes:
        if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            if getattr(node.value, "id", None) in aliases:
                names.add(node.attr)
    return names


def parse_loosely(code: str) -> ast.Module:
    """A script or cell without magics; nothing of what is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(re.sub(r"(?m)^(\s*)[%!?].*", r"\1pass", code))
    except SyntaxError:
        return ast.Module([], [])


def home_of(script: Path, unit: Path) -> Path:
    """The folder whose previous_chapters.py a script finds.

    That is the topmost folder with scripts below the bonus folder; what lies
    in a package belongs to the folder that the package lies in.
    """
    for folder in reversed(script.parents):
        if unit in folder.parents and any(folder.glob("*.py")):
            if not (folder / "__init__.py").exists():
                return folder
    return unit


class Course:
    """All that the notebooks and scripts of a course say of each other."""

    def __init__(self, root: Path) -> None:
        self.root, self.faults = root, Faults()
        self.folders: dict[str, Folder] = defaultdict(Folder)
        for unit in sorted(root.glob("ch[0-9][0-9]/[0-9][0-9]_*")):
            for path in sorted(unit.rglob("*.ipynb")):
                if ".ipynb_checkpoints" not in path.parts:
                    self.read_notebook(path)
            for path in sorted(unit.rglob("*.py")):
                if "runs" not in path.parts and not is_generated(path):
                    self.read_script(path, unit)
        self.order = self.sort_folders()

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def read_notebook(self, path: Path) -> None:
        try:
            cells = read_cells(path, self.root)
        except ValueError as error:
            self.faults.append(
                str(error).replace(f"{self.root.as_posix()}/", "")
            )
            return
        folder = self.folders[self.name(path.parent)]
        book = Notebook(self.name(path), self.name(path.parent))
        for cell in cells:
            for need in obey(cell, book, self.faults):
                folder.needs.setdefault(need, cell.where)
        if book.module:
            self.check_module_name(book, path, folder)
            folder.books.append(book)
            chapter = path.parent.parent.name
            folder.books.sort(key=lambda b: Path(b.name).stem != chapter)
        for name in imported_names(cell.code for cell in cells):
            folder.wants.setdefault(name, book.name)

    def check_module_name(self, book, path: Path, folder: Folder) -> None:
        file = path.with_name(f"{book.module}.py")
        for other in folder.books:
            if other.module == book.module:
                self.faults.add(
                    book.name, f"{other.name} makes {file.name}, too"
                )
        if file.exists() and not is_generated(file):
            self.faults.add(
                book.name, f"{file.name} is written by hand: move it"
            )

    def read_script(self, path: Path, unit: Path) -> None:
        folder = self.folders[self.name(home_of(path, unit))]
        code, where = path.read_text(encoding="utf-8"), self.name(path)
        pattern = r"(?m)^#(?:\|| )needs:? (ch\d\d/\S+)$"
        for need in re.findall(pattern, code):
            folder.needs.setdefault(need.rstrip("/"), where)
        for name in imported_names([code]):
            folder.wants.setdefault(name, where)

    # ---- Which folder may take from which

    def sources(self, name: str) -> list[str]:
        """The folders from which a folder may import.

        A bonus stands on its chapter's main notebook, unless that needs it.
        """
        mains = [f for f in sorted(self.folders) if f.endswith(f"/{MAIN}")]
        own = f"{name.split('/')[0]}/{MAIN}"
        found = [main for main in mains if main < own]
        if name != own and own in mains and not self.reaches(own, name):
            found.append(own)
        return found + list(self.folders[name].needs)

    def reaches(self, start: str, goal: str) -> bool:
        """Whether a folder needs another, directly or through others."""
        reached = [start]
        for name in reached:
            needs = self.folders[name].needs if name in self.folders else []
            reached += [need for need in needs if need not in reached]
        return goal in reached

    def sort_folders(self) -> list[str]:
        """All folders, each after those from which it may import."""
        order: list[str] = []

        def visit(name: str, path: list[str]) -> None:
            if name in path:
                circle = " needs ".join([*path[path.index(name) :], name])
                self.faults.add("a circle", circle)
            elif name not in order:
                for source in self.sources(name):
                    visit(source, [*path, name])
                order.append(name)

        for name, folder in sorted(self.folders.items()):
            for need, where in list(folder.needs.items()):
                if need not in self.folders or not self.folders[need].books:
                    self.faults.add(where, f"{need} exports nothing")
                    del folder.needs[need]
        for name in sorted(self.folders):
            visit(name, [])
        return order

    def offers(self, name: str) -> dict[str, list[Piece]]:
        """What a folder may import, the pieces by name.

        A bonus that it needs comes before the main notebooks. Two bonuses
        with the same name are both listed.
        """
        needs = self.folders[name].needs
        found: dict[str, list[Piece]] = {}
        for source in self.sources(name):
            for key, piece in self.folders[source].exports.items():
                rivals = found.get(key, []) if source in needs else []
                rivals = [p for p in rivals if p.home.folder in needs]
                found[key] = [*rivals, piece]
        return found

    # ---- Names have one owner

    def settle(self, name: str) -> None:
        """Find the final form of what each notebook of a folder exports."""
        offered = {
            key: pieces[-1] for key, pieces in self.offers(name).items()
        }
        modules = dict.fromkeys(offered, LEAF)
        for book in self.folders[name].books:
            own = self.settle_book(book, offered)
            for key, entries in book.imports.items():
                if modules.get(key) in {module for module, _, _ in entries}:
                    book.taken[key] = offered[key]
            offered |= own
            modules |= dict.fromkeys(own, book.module)

    def settle_book(
        self, book: Notebook, offered: dict[str, Piece]
    ) -> dict[str, Piece]:
        own: dict[str, Piece] = {}
        for piece in book.pieces:
            for name in piece.names:
                before = own.get(name) or offered.get(name)
                if before and name not in piece.replaces:
                    self.faults.add(
                        piece.where,
                        f"{name} is already exported by {before.where}: write "
                        f"'#| export replaces={name}' or rename it",
                    )
                elif before:
                    piece.replaced.append(before)
                elif name in piece.replaces:
                    self.faults.add(piece.where, f"no {name} to replace")
                own[name] = piece
        for piece in book.pieces:
            gone = {name for name in piece.names if own[name] is not piece}
            if gone and gone < set(piece.names):
                text = f"{min(gone)} is replaced later: assign it by itself"
                self.faults.add(piece.where, text)
        book.pieces = [p for p in book.pieces if own[p.names[0]] is p]
        book.exports = {k: p for k, p in own.items() if k != "main"}
        return book.exports

    # ---- What a file holds

    def leaf(self, name: str) -> list[Piece]:
        """What the previous_chapters.py of a folder holds, in order."""
        offers, waiting = self.offers(name), []
        for wanted, where in sorted(self.folders[name].wants.items()):
            waiting += offers.get(wanted, [])
            if wanted not in offers:
                homes = [
                    p.home.folder for p in self.ranked() if wanted in p.names
                ]
                text = f"{LEAF} has no {wanted}: correct the import"
                if homes:
                    text += f", or write '#| needs {homes[0]}'"
                self.faults.add(where, text)
        sources = self.sources(name)
        newer = {
            old: piece
            for piece in self.ranked()
            if piece.home.folder in sources
            for old in piece.replaced
        }
        found: set[Piece] = set()
        while waiting:
            piece = waiting.pop()
            while piece in newer:
                piece = newer[piece]
            if piece not in found:
                found.add(piece)
                used = [piece.home.find(name) for name in piece.free]
                waiting += [other for other in used if other]
        return [piece for piece in self.ranked() if piece in found]

    def ranked(self) -> list[Piece]:
        """All pieces, in an order in which they can be executed."""
        books = [
            book for name in self.order for book in self.folders[name].books
        ]
        return [piece for book in books for piece in book.pieces]

    def draft(self, file: str, pieces: list[Piece], own: Notebook | None):
        """A module's lines, each with the piece that it belongs to.

        A leaf holds what its pieces take from earlier chapters, a notebook's
        own module imports it.
        """
        books = list(dict.fromkeys(piece.home for piece in pieces)) or [own]
        above = [MARK, *["#            and"] * (len(books) - 1)]
        rows = [(None, f"{a} {b.name}") for a, b in zip(above, books)]
        rows.append((None, HOW))
        rows += [(None, line) for line in own.doc.splitlines()] if own else []
        imports = self.imports(file, pieces, own)
        rows += [(None, line) for line in ["", *sorted(imports)] if imports]
        last: Piece | None = None
        for piece in pieces:
            if not own and (last is None or last.home is not piece.home):
                rows += [(None, "")] * (2 if last else 1)
                label = piece.home.name.split("/")[0]
                rows.append(
                    (None, f"# ---- {label}: {piece.home.module} ----")
                )
                last = None
            rows += [(None, "")] * blanks(last, piece, after_banner=not own)
            rows += [(piece, line) for line in piece.text.splitlines()]
            last = piece
        if any(piece.names == ["main"] for piece in pieces):
            rows += [(None, line) for line in MAIN_GUARD]
        return rows

    def imports(
        self, file: str, pieces: list[Piece], own: Notebook | None
    ) -> set[str]:
        """The import statements that a module needs, each of one name."""
        meanings: dict[str, dict[str, str]] = defaultdict(dict)
        for piece in pieces:
            for name in piece.names:
                meanings[name][piece.text] = piece.where
        lines, defined = set(), set(meanings)
        for book in dict.fromkeys(piece.home for piece in pieces):
            used = {n for p in pieces if p.home is book for n in p.free}
            used -= {n for n in book.taken if not own or n in defined}
            for name in sorted((used | {"annotations"}) & set(book.imports)):
                for module, member, alias in book.imports[name]:
                    line = f"from {module} " if member else ""
                    line += f"import {member or module}"
                    line += f" as {alias}" if alias else ""
                    meaning = line if member or alias else f"import {name}"
                    meanings[name][meaning] = f"'{line}' of {book.name}"
                    lines.add(line)
        for name, places in meanings.items():
            if len(places) > 1:
                both = " and ".join(list(places.values())[:2])
                self.faults.add(file, f"{name} would be two things, {both}")
        return lines

    def modules(self) -> dict[Path, str]:
        """The text of every generated module, by path."""
        books = [b for n in self.order for b in self.folders[n].books]
        pieces = [piece for book in books for piece in book.pieces]
        for i, _, name in ruff([p.text for p in pieces], "F821")[1]:
            pieces[i].free.add(name)
        for name in self.order:
            self.settle(name)
        drafts = {}
        for name in self.order:
            for book in self.folders[name].books:
                file = f"{name}/{book.module}.py"
                drafts[file] = self.draft(file, book.pieces, book)
            if pieces := self.leaf(name):
                file = f"{name}/{LEAF}.py"
                drafts[file] = self.draft(file, pieces, None)
        texts = ["\n".join(line for _, line in d) for d in drafts.values()]
        texts, found = ruff(texts, "I,F821", "--fix")
        for i, line, name in found:
            # Ruff moves import lines, so lines are counted from the end.
            rows = list(drafts.values())[i]
            piece = rows[line - 1 - len(texts[i].splitlines())][0]
            self.report(
                name, piece, {n for p, _ in rows if p for n in p.names}
            )
        return {self.root / f: t for f, t in zip(drafts, texts, strict=True)}

    def report(self, name: str, piece: Piece, defined: set[str]) -> None:
        """What to do about a name that is not there when it is needed."""
        text = "import it, export its definition, or pass it as an argument"
        if name in self.offers(piece.home.folder):
            text = f"write 'from {LEAF} import {name}'"
        if name in defined:
            text = "not yet, when the module is imported: move it up, or "
            text += "quote the annotation"
        self.faults.add(piece.where, f"{name} is not defined: {text}")


def blanks(above: Piece | None, piece: Piece, after_banner: bool) -> int:
    """How many blank lines stand before a piece."""
    if above is None:
        comment = piece.text.startswith("#") and not after_banner
        return 2 if piece.is_block and not comment else 1
    if above.is_block or piece.is_block:
        return 2
    return min(piece.gap, 2) if above.where == piece.where else 1


def ruff(
    texts: list[str], rules: str, *options: str
) -> tuple[list[str], list[tuple[int, int, str]]]:
    """Hand texts to ruff: the texts afterwards, and what it found.

    Each finding is the text's number, the line, and the undefined name.
    """
    with tempfile.TemporaryDirectory() as folder:
        for i, text in enumerate(texts):
            write_text(Path(folder, f"{i}.py"), text + "\n")
        command = [sys.executable, "-m", "ruff", "check", "--isolated"]
        command += ["--no-cache", "--ignore-noqa", "--target-version=py310"]
        command += ["--line-length=79", "--output-format=json"]
        command += [f"--select={rules}", *options, "."]
        run = subprocess.run(command, cwd=folder, capture_output=True)
        if run.returncode > 1:
            sys.exit(run.stderr.decode("utf-8"))
        found = [
            (
                int(Path(finding["filename"]).stem),
                finding["location"]["row"],
                re.findall(r"`(\w+)`", finding["message"])[0],
            )
            for finding in json.loads(run.stdout)
            if finding["code"] == "F821"
        ]
        files = [Path(folder, f"{i}.py") for i in range(len(texts))]
        return [file.read_bytes().decode("utf-8") for file in files], found


def is_generated(path: Path) -> bool:
    return path.read_bytes().startswith(MARK.encode())


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
            kept += [] if inside else [line]
            continue
        if inside == (marker["word"] == "BEGIN"):
            faults.add(cell.where, f"### {marker['word']} SOLUTION is alone")
        inside = marker["word"] == "BEGIN"
        if inside and is_code:
            kept.append(f"{marker['indent']}raise NotImplementedError")
    if inside:
        faults.add(cell.where, "### BEGIN SOLUTION is alone")
    return "\n".join(kept)


def check_cut(cell: Cell, cut: str, faults: Faults) -> None:
    """Run All must survive what is left of a cell."""
    try:
        if stops_at_once(ast.parse(cut)):
            text = "cut out, this solution stops Run All: put the markers "
            text += "into a function or into 'with exercise(...):'"
            faults.add(cell.where, text)
    except SyntaxError as error:
        text = "without its solution the cell is not valid Python, line "
        text += f"{error.lineno}: indent the markers like the code"
        faults.add(cell.where, text)


def stops_at_once(node: ast.AST) -> bool:
    """Whether a `raise` stands outside functions and `with` blocks."""
    shelter = ast.FunctionDef | ast.AsyncFunctionDef | ast.With
    return isinstance(node, ast.Raise) or any(
        stops_at_once(child)
        for child in ast.iter_child_nodes(node)
        if not isinstance(child, shelter)
    )


def make_exercises(solutions: Path, root: Path, faults: Faults) -> str:
    """The learner's notebook, with outputs kept where nothing changed."""
    target, stored = solutions.with_name("exercises.ipynb"), defaultdict(list)
    for cell in read_notebook(target).cells if target.exists() else []:
        stored[cell.source].append(cell)
    name, cells, number = solutions.relative_to(root).as_posix(), [], 0
    for cell in read_notebook(solutions).cells:
        is_code = cell.cell_type == "code"
        number += is_code
        place = Cell(f"{name}, cell {number}", number, cell.source, ())
        source = cut_solution(place, is_code, faults)
        if is_code and source != cell.source:
            check_cut(place, source, faults)
        if cell.source.strip() and not source.strip():
            continue
        cell.metadata = kept_metadata(cell)
        if is_code:
            old = (stored[source] or [{}]).pop(0)
            cell.execution_count = old.get("execution_count")
            cell.outputs = old.get("outputs", [])
        cell.source = source
        cells.append(cell)
    return dump_notebook(make_notebook(cells))


def without_outputs(text: str) -> str:
    """A notebook's text for comparison: no outputs, no counts."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return dump_notebook(notebook)


# ---- The whole course ----------------------------------------------------


def build(root: Path) -> tuple[dict[Path, str], Faults]:
    """Every generated file's text by path, and everything that is wrong."""
    course = Course(root)
    files = course.modules()
    for path in sorted(root.glob("ch*/*/exercise-solutions.ipynb")):
        try:
            text = make_exercises(path, root, course.faults)
            files[path.with_name("exercises.ipynb")] = text
        except ValueError as error:
            course.faults.append(str(error))
    return files, course.faults


def stale_files(root: Path, files: dict[Path, str]) -> list[Path]:
    """Modules that were generated once and that no notebook makes now."""
    found = sorted(root.glob("ch*/[0-9][0-9]_*/**/*.py"))
    return [p for p in found if p not in files and is_generated(p)]


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
    more = [f"... and {len(diff) - most} lines more"] * (len(diff) > most)
    return "\n".join(diff[:most] + more) or f"{name}: line ends must be LF"


def check(root: Path) -> list[str]:
    """What is wrong or differs; empty if all is well. Writes nothing."""
    files, faults = build(root)
    if faults:
        return faults
    found = [difference(path, files[path], root) for path in sorted(files)]
    found += [
        f"{path.relative_to(root).as_posix()}: no notebook makes it any more"
        for path in stale_files(root, files)
    ]
    return [text for text in found if text]


def write(root: Path) -> list[str]:
    """Write every generated file that changed; return what is wrong."""
    files, faults = build(root)
    for path, text in sorted(files.items()) if not faults else []:
        if not path.exists() or path.read_bytes() != text.encode("utf-8"):
            write_text(path, text)
            print("wrote", path.relative_to(root).as_posix())
    for path in stale_files(root, files) if not faults else []:
        path.unlink()
        print("removed", path.relative_to(root).as_posix())
    return faults


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
