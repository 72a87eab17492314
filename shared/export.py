"""Write the files that are generated from the notebooks.

    python shared/export.py            write every generated file
    python shared/export.py --check    write nothing, say what differs

Code is written once, in the notebook that teaches it. A code cell whose first
line is `#| export` goes to the module that `#| default_exp gpt` in the first
code cell names. It lies beside the notebook; a folder has one. The cell holds
imports, definitions and assignments.

Every folder whose notebooks or scripts import `previous_chapters` gets a file
of that name: a leaf, with what they import, what that stands on, and nothing
else. It comes from the main notebooks of the chapters before; for a bonus
also from its own chapter's main notebook; and from other bonuses if `#| needs
ch05/02_alternative-weight-loading` says so, in a notebook's first code cell or
as a comment line of a script. Among main notebooks each name has one owner,
and who redefines it says `#| export replaces=NAME`. Two bonuses may use one
name for two things. Chapter 1 has no chapter before it. It shows what the
reader will build, so its leaf is called `later_chapters`, and `#| needs
ch05/01_main-chapter-code` says where to look ahead.

From each exercise-solutions.ipynb comes exercises.ipynb, without what lies
between `### BEGIN SOLUTION` and `### END SOLUTION`.

Whatever breaks a rule is reported with its place and a remedy, and then
nothing is written. Cell numbers are those that Jupyter shows after Run All.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from scratch_llm.files import write_text

try:
    import nbformat
    from ruff import find_ruff_bin
except ImportError as error:
    sys.exit(f"{error.name} is missing: pip install -r requirements-test.txt")

ROOT = Path(__file__).resolve().parent.parent
MAIN = "01_main-chapter-code"
LEAF = "previous_chapters"
AHEAD = "later_chapters"  # what the leaf is called in chapter 1
MARK = "# GENERATED from"
HOW = "# Do not edit. Change the notebook and run: python shared/export.py"
MAIN_GUARD = '\n\nif __name__ == "__main__":\n    raise SystemExit(main())'
BLOCK = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# These calls prepare the lesson, usually in its import cell. They are no part
# of the module and are left out of it.
LESSON_ONLY = {
    "np.set_printoptions",
    "plt.rcParams.update",
    "plt.style.use",
    "torch.set_printoptions",
    "warnings.filterwarnings",
}


# ---- Notebooks -----------------------------------------------------------


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook. Raises ValueError, with the reason, if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old ones that lack ids
            return nbformat.read(path, as_version=4)
    except Exception as error:  # whatever nbformat meets in a broken file
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"no notebook can be read: {reason}") from error


def dump_notebook(cells: list[nbformat.NotebookNode]) -> str:
    """The text of a notebook's file; all say the same of themselves."""
    kernel = {"display_name": "Python 3", "language": "python"}
    about = {
        "kernelspec": kernel | {"name": "python3"},
        "language_info": {"name": "python"},
    }
    book = nbformat.v4.new_notebook(cells=cells, metadata=about)
    return nbformat.writes(book) + "\n"


def kept_metadata(cell: nbformat.NotebookNode) -> dict:
    """What stays of a cell's metadata: its tags, and that it is folded."""
    kept = {"tags": cell.metadata.get("tags")}
    if cell.metadata.get("jupyter", {}).get("source_hidden"):
        kept["jupyter"] = {"source_hidden": True}
    return {key: value for key, value in kept.items() if value}


@dataclass
class Cell:
    """A code cell: its place, its text without `#|` lines, and those."""

    where: str
    code: str
    directives: list[str]


def read_cells(path: Path, root: Path) -> list[Cell]:
    """The code cells of a notebook, numbered from 1."""
    cells: list[Cell] = []
    for cell in read_notebook(path).cells:
        if cell.cell_type == "code":
            top = re.match(r"(#\|.*\n?)*", cell.source)[0]
            code = "\n" * top.count("\n") + cell.source[len(top) :]
            name = path.relative_to(root).as_posix()
            where = f"{name}, cell {len(cells) + 1}"
            lines = [line[2:].strip() for line in top.splitlines()]
            cells.append(Cell(where, code, lines))
    return cells


def imported_names(codes: Iterable[str], leaf: str) -> set[str]:
    """What code, in any of its scopes, takes from the leaf.

    Lines with magics are passed over, and so are cells that are no Python.
    """
    nodes, names, aliases = [], set(), set()
    for code in codes:
        with contextlib.suppress(SyntaxError):
            tree = ast.parse(re.sub(r"(?m)^(\s*)[%!?].*", r"\1pass", code))
            nodes += ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == leaf:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found = [alias for alias in node.names if alias.name == leaf]
            aliases |= {alias.asname or leaf for alias in found}
    for node in nodes:
        if isinstance(node, ast.Attribute) and not node.attr.startswith("__"):
            if getattr(node.value, "id", None) in aliases:
                names.add(node.attr)
    return names


# ---- What folders export and import --------------------------------------


@dataclass(eq=False)
class Piece:
    """One definition or assignment of an exported cell, comments included."""

    home: Folder
    where: str
    text: str
    gap: int  # blank lines before it in its cell
    names: list[str]
    is_block: bool
    replaces: list[str]
    free: set[str] = field(default_factory=set)  # used, defined elsewhere
    replaced: list[Piece] = field(default_factory=list)


@dataclass(eq=False)
class Folder:
    """What the notebooks and scripts of a folder give and take."""

    name: str
    notebook: str = ""  # the one that exports
    module: str = ""
    doc: str = ""
    pieces: list[Piece] = field(default_factory=list)
    exports: dict[str, Piece] = field(default_factory=dict)
    # What import statements of exported cells bind: the names that come from
    # previous_chapters with their pieces, the other names with statements.
    taken: dict[str, Piece | None] = field(default_factory=dict)
    imports: dict[str, set[str]] = field(default_factory=dict)
    # What it needs of others, folders and names, with the place that says so.
    needs: dict[str, str] = field(default_factory=dict)
    wants: dict[str, str] = field(default_factory=dict)

    @property
    def chapter(self) -> str:
        return self.name.split("/")[0]

    @property
    def leaf(self) -> str:
        return AHEAD if self.chapter == "ch01" else LEAF


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


def is_lesson_only(node: ast.stmt) -> bool:
    """Whether a statement prepares the lesson and is not for the module."""
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return is_call and ast.unparse(node.value.func) in LESSON_ONLY


def is_generated(path: Path) -> bool:
    return path.read_bytes().startswith(MARK.encode())


def home_of(script: Path) -> Path:
    """The folder whose previous_chapters.py a script or package finds."""
    folder = script.parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


class Course:
    """All folders, and what is wrong with them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[str] = []
        self.folders: dict[str, Folder] = {}
        for unit in sorted(root.glob("ch[0-9][0-9]/[0-9][0-9]_*")):
            for path in sorted(unit.rglob("*.ipynb")):
                if ".ipynb_checkpoints" not in path.parts:
                    self.read_notebook(path)
            for path in sorted(unit.rglob("*.py")):
                if "runs" not in path.parts and not is_generated(path):
                    self.read_script(path)

    def fault(self, where: str, text: str) -> None:
        if f"{where}: {text}" not in self.faults:
            self.faults.append(f"{where}: {text}")

    def folder(self, path: Path) -> Folder:
        name = path.relative_to(self.root).as_posix()
        return self.folders.setdefault(name, Folder(name))

    def read_script(self, path: Path) -> None:
        where = path.relative_to(self.root).as_posix()
        code, folder = path.read_text("utf-8"), self.folder(home_of(path))
        needs = re.findall(r"(?m)^#\| needs (\S+?)/?$", code)
        folder.needs |= dict.fromkeys(needs, where)
        folder.wants |= dict.fromkeys(
            imported_names([code], folder.leaf), where
        )

    def read_notebook(self, path: Path) -> None:
        folder = self.folder(path.parent)
        where = path.relative_to(self.root).as_posix()
        try:
            cells = read_cells(path, self.root)
        except ValueError as error:
            return self.fault(where, str(error))
        for cell in cells:
            if re.search(r"^\s*#\|", cell.code, flags=re.MULTILINE):
                self.fault(cell.where, "move its #| lines to the top")
            for line in cell.directives:
                self.obey(line, cell, folder)
        names = imported_names((cell.code for cell in cells), folder.leaf)
        folder.wants |= dict.fromkeys(names, where)

    def obey(self, line: str, cell: Cell, folder: Folder) -> None:
        """Carry out one `#|` line."""
        word, _, rest = line.partition(" ")
        replaces = re.fullmatch(r"(?:replaces\s*=([\w\s,]+))?", rest)
        notebook = cell.where.rsplit(", cell ")[0]
        if word == "needs" and rest:
            folder.needs[rest.rstrip("/")] = cell.where
        elif (
            word == "default_exp"
            and rest.isidentifier()
            and rest != folder.leaf
        ):
            file = self.root / folder.name / f"{rest}.py"
            if folder.module:
                text = f"{folder.notebook} exports already, and a folder has"
                self.fault(cell.where, f"{text} one module")
            elif file.exists() and not is_generated(file):
                self.fault(cell.where, f"{rest}.py is written by hand")
            folder.notebook, folder.module = notebook, rest
        elif word == "export" and replaces and folder.notebook == notebook:
            names = re.findall(r"\w+", replaces[1] or "")
            self.take_cell(cell, names, folder)
        elif word == "export" and replaces:
            text = "name the module first, with '#| default_exp MODULE'"
            self.fault(cell.where, text)
        else:
            text = "write '#| export', '#| export replaces=NAME', "
            text += "'#| default_exp MODULE' or '#| needs FOLDER'"
            self.fault(cell.where, f"cannot read '#| {line}': {text}")

    def take_cell(self, cell: Cell, replaces: list, folder: Folder) -> None:
        """Add an exported cell's imports and pieces to its folder."""
        try:
            body = ast.parse(cell.code).body
        except SyntaxError as error:
            text = f"line {error.lineno}, {error.msg}: correct it; magics and "
            text += "shell lines belong into a cell without #| export"
            return self.fault(cell.where, text)
        start, lines, defined = 0, cell.code.splitlines(), set()
        for node in body:
            end = len(lines) if node is body[-1] else node.end_lineno
            text = "\n".join(lines[start:end]).rstrip()
            start, gap = end, len(text) - len(text.lstrip("\n"))
            text, names = text.lstrip("\n"), bound_names(node)
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.take_import(node, cell, folder)
            elif names:
                defined |= set(names)
                how = names, isinstance(node, BLOCK), replaces
                folder.pieces.append(
                    Piece(folder, cell.where, text, gap, *how)
                )
            elif ast.get_docstring(ast.Module([node], [])) and not defined:
                folder.doc = text
            elif not is_lesson_only(node):
                line = ast.unparse(node).splitlines()[0][:50]
                text = f"'{line}' would run whenever the module is imported: "
                text += "export imports, definitions and assignments to "
                text += "names, and move the rest to a cell of its own"
                self.fault(cell.where, text)
        for name in sorted(set(replaces) - defined):
            self.fault(cell.where, f"replaces={name}, but defines no {name}")

    def take_import(
        self, node: ast.Import | ast.ImportFrom, cell: Cell, folder: Folder
    ) -> None:
        """Note what an import statement binds, a statement for each name."""
        module = getattr(node, "module", None)
        for alias in node.names:
            name, line = alias.name, ast.unparse(ast.Import([alias]))
            flat = alias.asname if module == LEAF else name == LEAF
            if flat or name == "*" or getattr(node, "level", 0):
                text = "import each name in full, and without 'as'"
                self.fault(cell.where, f"'{ast.unparse(node)}': {text}")
            elif module == LEAF:
                folder.taken[name] = None
            else:
                bound = alias.asname or name.split(".")[0]
                line = f"from {module} {line}" if module else line
                folder.imports.setdefault(bound, set()).add(line)

    # ---- Which folder may import from which

    def sources(self, folder: Folder) -> list[Folder]:
        """The folders from which a folder may import.

        A bonus stands on its chapter's main notebook, unless that needs it.
        """
        mains = [
            f
            for f in self.folders.values()
            if f.name.endswith(MAIN) and f.module
        ]
        return [
            main
            for main in sorted(mains, key=lambda f: f.name)
            if main.chapter < folder.chapter
            or (main.chapter == folder.chapter and main is not folder)
            and folder not in self.needed(main)
        ] + [self.folders[need] for need in folder.needs]

    def needed(self, folder: Folder) -> list[Folder]:
        """The bonuses that a folder needs, directly or through others."""
        found = [folder]
        for each in found:
            needs = [self.folders[name] for name in each.needs]
            found += [need for need in needs if need not in found]
        return found[1:]

    def sort(self) -> list[Folder]:
        """All folders, each after those from which it may import."""
        for folder in self.folders.values():
            for name, where in list(folder.needs.items()):
                if name not in self.folders or not self.folders[name].module:
                    self.fault(where, f"needs {name}, which exports nothing")
                    del folder.needs[name]
        graph = {f: self.sources(f) for f in self.folders.values()}
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            circle = [folder.name for folder in reversed(error.args[1])]
            self.fault(" needs ".join(circle), "a circle: remove one of these")
            return []

    def offers(self, folder: Folder) -> dict[str, Piece]:
        """What a folder may import; a bonus it needs wins over a chapter."""
        sources = self.sources(folder)
        return {n: p for f in sources for n, p in f.exports.items()}

    def settle(self, folder: Folder) -> None:
        """Find the final form of all that a folder exports."""
        offers, own = self.offers(folder), {}
        for piece in folder.pieces:
            for name in piece.names:
                before = own.get(name) or offers.get(name)
                if before and name not in piece.replaces:
                    text = f"{name} is already exported by {before.where}: "
                    text += f"write '#| export replaces={name}' or rename it"
                    self.fault(piece.where, text)
                elif before:
                    piece.replaced.append(before)
                elif name in piece.replaces:
                    self.fault(piece.where, f"there is no {name} to replace")
                own[name] = piece
        kept = set(own.values())
        folder.pieces = [piece for piece in folder.pieces if piece in kept]
        folder.exports = {k: p for k, p in own.items() if k != "main"}
        for name in folder.taken:
            folder.taken[name] = offers.get(name)

    # ---- What a file holds

    def leaf(self, folder: Folder, ranked: list[Piece]) -> list[Piece]:
        """What a folder's previous_chapters.py holds, in order."""
        offers, waiting = self.offers(folder), []
        for name, where in sorted(folder.wants.items()):
            needs = [self.folders[need].exports for need in folder.needs]
            rivals = [exports[name] for exports in needs if name in exports]
            if name in offers:
                waiting += rivals or [offers[name]]
            else:
                homes = [p.home.name for p in ranked if name in p.names]
                text = f"{folder.leaf} has no {name}: correct the import"
                text += f", or write '#| needs {homes[0]}'" if homes else ""
                self.fault(where, text)
        near = [p for p in ranked if p.home in self.sources(folder)]
        newer = {old: piece for piece in near for old in piece.replaced}
        found: set[Piece] = set()
        while waiting:
            piece = waiting.pop()
            while piece in newer:
                piece = newer[piece]
            if piece not in found:
                found.add(piece)
                for name in piece.free:
                    source = piece.home.exports.get(name)
                    source = source or piece.home.taken.get(name)
                    waiting += [source] if source else []
        return [piece for piece in ranked if piece in found]

    def imports(self, file: str, pieces: list[Piece]) -> list[str]:
        """The import statements that a file needs, each of one name."""
        meanings: dict[str, dict[str, str]] = defaultdict(dict)
        for piece in pieces:
            for name in piece.names:
                meanings[name][piece.text] = piece.where
        defined, lines = set(meanings), set()
        for piece in pieces:
            used, home = piece.free | {"annotations"}, piece.home
            for name in used & set(home.taken) - defined:
                lines.add(f"from {LEAF} import {name}")
            for name in used & set(home.imports):
                for line in home.imports[name]:
                    short = line.startswith("import") and " as " not in line
                    meaning = f"import {name}" if short else line
                    meanings[name][meaning] = f"'{line}' in {home.notebook}"
                    lines.add(line)
        for name, places in meanings.items():
            if len(places) > 1:
                text = " and ".join(list(places.values())[:2])
                self.fault(file, f"{name} would be two things, {text}")
        return sorted(lines)

    def draft(self, file: str, pieces: list[Piece], folder: Folder) -> str:
        """A file's text, before ruff sorts its imports."""
        is_leaf = file.endswith((f"{LEAF}.py", f"{AHEAD}.py"))
        homes = dict.fromkeys([p.home for p in pieces]) or [folder]
        notebooks = "\n#            and ".join(f.notebook for f in homes)
        lines = [f"{MARK} {notebooks}", HOW]
        lines += [] if is_leaf else folder.doc.splitlines()
        lines += ["", *self.imports(file, pieces)]
        last: Piece | None = None
        for piece in pieces:
            if is_leaf and (last is None or last.home is not piece.home):
                title = f"{piece.home.chapter}: {piece.home.module}"
                lines += [""] * (2 if last else 1) + [f"# ---- {title} ----"]
                last = None
            gap = piece.gap if last and last.where == piece.where else 1
            if gap > 2 or piece.is_block or (last and last.is_block):
                gap = 2
            lines += [""] * gap + [piece.text]
            last = piece
        if any("main" in piece.names for piece in pieces):
            lines.append(MAIN_GUARD)
        return "\n".join(lines) + "\n"

    def modules(self) -> dict[Path, str]:
        """The text of every module and leaf, by path."""
        order = self.sort()
        pieces = [piece for folder in order for piece in folder.pieces]
        for i, name in ruff([piece.text for piece in pieces], "F821")[1]:
            pieces[i].free.add(name)
        contents: dict[str, list[Piece]] = {}
        for folder in order:
            self.settle(folder)
            if folder.module:
                contents[f"{folder.name}/{folder.module}.py"] = folder.pieces
        ranked = [piece for folder in order for piece in folder.pieces]
        for folder in order:
            if found := self.leaf(folder, ranked):
                contents[f"{folder.name}/{folder.leaf}.py"] = found
        texts, undefined = ruff(
            [
                self.draft(file, pieces, self.folders[file.rpartition("/")[0]])
                for file, pieces in contents.items()
            ],
            "I,F821",
            "--fix",
        )
        for i, name in undefined:
            users = [p for p in list(contents.values())[i] if name in p.free]
            text = f"import it from {LEAF} or a package, or export its "
            text += "definition further up"
            self.fault(users[0].where, f"{name} is not defined: {text}")
        files = [self.root / file for file in contents]
        return dict(zip(files, texts, strict=True))


def ruff(
    texts: list[str], rules: str, *options: str
) -> tuple[list[str], list[tuple[int, str]]]:
    """Hand texts to ruff; return them, and the undefined names it found.

    Of each it says the text's number and the name.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{i}.py") for i in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            write_text(file, text)
        command = [find_ruff_bin(), "check", "--isolated", "--no-cache"]
        command += ["--ignore-noqa", "--target-version=py310"]
        command += ["--line-length=79", "--output-format=json"]
        command += [f"--select={rules}", *options, "."]
        run = subprocess.run(command, cwd=folder, capture_output=True)
        if run.returncode > 1:
            sys.exit(run.stderr.decode("utf-8"))
        found = []
        for entry in json.loads(run.stdout):
            if name := re.search(r"Undefined name `(\w+)`", entry["message"]):
                found.append((int(Path(entry["filename"]).stem), name[1]))
        return [file.read_bytes().decode("utf-8") for file in files], found


# ---- Exercises -----------------------------------------------------------

MARKER = r"(?:<!-- )?### {} SOLUTION(?: -->)?"
BEGIN, END = MARKER.format("BEGIN"), MARKER.format("END")
SOLUTION = re.compile(rf"(\n?[ \t]*){BEGIN}\n.*?\n[ \t]*{END}", re.DOTALL)


def make_exercises(solutions: Path) -> str:
    """The learner's notebook, with outputs kept where nothing changed."""
    target, stored = solutions.with_name("exercises.ipynb"), defaultdict(list)
    for cell in read_notebook(target).cells if target.exists() else []:
        stored[cell.source].append(cell)
    cells = []
    for cell in read_notebook(solutions).cells:
        is_code, solved = cell.cell_type == "code", cell.source
        stub = r"\1raise NotImplementedError" if is_code else ""
        cell.source = SOLUTION.sub(stub, solved)
        if re.search(f"{BEGIN}|{END}", cell.source):
            text = f"BEGIN and END SOLUTION do not pair in {solved[:50]!r}"
            raise ValueError(text)
        cell.metadata = kept_metadata(cell)
        if is_code:
            old = (stored[cell.source] or [{}]).pop(0)
            cell.execution_count = old.get("execution_count")
            cell.outputs = old.get("outputs", [])
        if cell.source.strip() or not solved.strip():
            cells.append(cell)
    return dump_notebook(cells)


# ---- The whole course ----------------------------------------------------


def build(root: Path) -> tuple[dict[Path, str], list[str]]:
    """Every generated file's text by path, and everything that is wrong."""
    course = Course(root)
    files = course.modules()
    for path in sorted(root.glob("ch*/*/exercise-solutions.ipynb")):
        try:
            files[path.with_name("exercises.ipynb")] = make_exercises(path)
        except ValueError as error:
            course.fault(path.relative_to(root).as_posix(), str(error))
    return dict(sorted(files.items())), course.faults


def update(root: Path, check: bool = False) -> list[str]:
    """Write what changed, or only say so; return what is wrong."""
    files, found = build(root)
    if found:
        return found
    generated = filter(is_generated, root.glob("ch*/[0-9][0-9]_*/**/*.py"))
    for path in sorted({*files, *generated}):
        name, text = path.relative_to(root).as_posix(), files.get(path)
        old = path.read_bytes() if path.exists() else None
        if text is None and check:
            found.append(f"{name}: no notebook makes it now")
        elif text is None:
            path.unlink()
            print("removed", name)
        elif old != text.encode("utf-8") and check:
            found.append(f"{name}: not what the notebooks say now")
        elif old != text.encode("utf-8"):
            write_text(path, text)
            print("wrote", name)
    return found


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Bring generated files up to date, or say which are not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, say what differs"
    )
    args = parser.parse_args(argv)
    found = update(root, args.check)
    print(*found, sep="\n", end="\n" if found else "")
    if found and args.check:
        print("\nTo bring generated files up to date: python shared/export.py")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
