"""Build the book: the whole course as pages, to read and search offline.

    pip install -r shared/book/requirements-book.txt
    python shared/build_book.py            into runs/book/html
    python shared/build_book.py --open     and open it in a browser

It executes nothing: a page shows what its notebook has stored. READMEs
introduce their folders, cells that are folded in JupyterLab are folded in
the book, and a file that a page links to gets a page of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import webbrowser
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from scratch_llm.cli import ShortParser, run_script
from scratch_llm.files import write_text

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "shared" / "book"
MAIN = "01_main-chapter-code"
LAST = ["exercises.ipynb", "exercise-solutions.ipynb"]
PARTS = {  # what stands after the chapters, if it is there
    "Guides": ["shared/guides/**/*.md"],
    "Behind the course": [
        "shared/README.md",
        "shared/checkpoints/*.md",
        "CONTRIBUTING.md",
        "AGENTS.md",
    ],
}
SHORT = {  # what the contents call these
    "exercises.ipynb": "Exercises",
    "exercise-solutions.ipynb": "Exercises, solved",
    "README.md": "The files",
    "shared/README.md": "What the chapters share",
}
PACKAGES = "sphinx myst_nb sphinx_book_theme latex2mathml ziamath".split()
PICTURES = {".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}
MOST = 200_000  # bytes of a file that gets a page

CODE_OR_LINK = re.compile(
    r"^(?P<fence>`{3,}|~{3,})[^\n]*\n.*?^(?P=fence)[ \t]*$"  # a code block
    r"|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"  # code in a line
    r"|(?P<text>!?\[(?:[^\[\]]|\[[^\[\]]*\])*\])"
    r"\((?P<target>(?:[^()\s]|\([^()\s]*\))+)\)",
    re.M | re.S,
)
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)


# ---- Which pages ----------------------------------------------------------


def is_hidden(path: Path) -> bool:
    """Caches, checkpoints of JupyterLab, runs."""
    return any(
        part.startswith(".") or part in ("runs", "wandb", "__pycache__")
        for part in path.parts
    )


def rank(path: Path) -> tuple:
    """README, the lesson, other notebooks, other texts, exercises last."""
    lesson = re.fullmatch(r"ch\d\d\.ipynb", path.name)
    first = ["README.md"].count(path.name) * 2 + bool(lesson)
    late = LAST.index(path.name) + 1 if path.name in LAST else 0
    return -first, late, path.suffix, path.name


def texts(folder: Path, root: Path) -> list[str]:
    """The pages of one folder, in the order of reading."""
    found = [*folder.glob("*.md"), *folder.glob("*.ipynb")]
    return [
        path.relative_to(root).as_posix() for path in sorted(found, key=rank)
    ]


def chapters(root: Path) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Of each chapter its page, and its further pages with theirs.

    The lesson and its company come first, then each bonus with its pages.
    """
    found = []
    for chapter in sorted(root.glob("ch[0-9][0-9]")):
        own = texts(chapter, root)
        if not own:
            continue
        pages = [(name, []) for name in own[1:]]
        folders = {
            path.parent
            for path in chapter.glob("*/**/*")
            if path.suffix in (".md", ".ipynb")
            and not is_hidden(path.relative_to(root))
        }
        for folder in sorted(folders):
            names = texts(folder, root)
            if folder.name == MAIN:  # its README is about files: last
                readme = [n for n in names if n.endswith("/README.md")]
                names = [n for n in names if n not in readme]
                pages += [(name, []) for name in names + readme]
            elif names[0].endswith(".md"):
                pages.append((names[0], names[1:]))
            else:
                pages += [(name, []) for name in names]
        found.append((own[0], pages))
    return found


def parts(root: Path) -> dict[str, list[str]]:
    """The pages after the chapters, under their captions."""
    found = {}
    for caption, patterns in PARTS.items():
        paths = [
            path
            for pattern in patterns
            for path in sorted(root.glob(pattern), key=rank)
        ]
        if paths:
            found[caption] = [p.relative_to(root).as_posix() for p in paths]
    return found


# ---- Text -----------------------------------------------------------------


def github_anchor(heading: str) -> str:
    """The anchor that a code host gives to a heading of a README."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def jupyter_anchor(heading: str) -> str:
    """The anchor that JupyterLab gives to a heading; lessons use these."""
    return heading.replace(" ", "-")


class Source:
    """The book's source: copies of the course's texts, links bent to fit."""

    def __init__(self, root: Path, target: Path) -> None:
        self.root, self.target = root, target
        self.chapters, self.parts = chapters(root), parts(root)
        self.pages = {"README.md"}
        for first, pages in self.chapters:
            self.pages |= {first, *(name for name, _ in pages)}
            self.pages |= {name for _, more in pages for name in more}
        for names in self.parts.values():
            self.pages |= set(names)
        self.files: set[str] = set()  # get a page because one links to them

    def write(self) -> None:
        """Write every page of the source."""
        for name in sorted(self.pages):
            goal = self.target / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith(".ipynb"):
                text = json.dumps(self.notebook(name), indent=1)
            else:
                text = (self.root / name).read_text(encoding="utf-8")
                text = self.bend(text, name)
            write_text(goal, text + self.toctree(name))
        (self.target / "README.md").replace(self.target / "index.md")
        for name in sorted(self.files):
            goal = self.target / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / name, goal)
            write_text(goal.with_name(f"{goal.name}.md"), file_page(name))

    def toctree(self, name: str) -> str:
        """The table of contents that a page carries, '' if none."""
        if name == "README.md":
            firsts = [first for first, _ in self.chapters]
            trees = {"Chapters": firsts, **self.parts}
            return "".join(
                self.tree(name, names, caption)
                for caption, names in trees.items()
            )
        for first, pages in self.chapters:
            if name == first:
                return self.tree(name, [page for page, _ in pages])
            for page, more in pages:
                if name == page and more:
                    return self.tree(name, more)
        return ""

    def tree(self, parent: str, names: list[str], caption: str = "") -> str:
        """A hidden table of contents, in the language of MyST."""
        lines = ["", "", "```{toctree}", ":hidden:"]
        lines += [f":caption: {caption}"] * bool(caption)
        for name in names:
            goal = os.path.relpath(name, Path(parent).parent)
            goal = goal.replace(os.sep, "/")
            short = self.short_title(name, parent)
            lines.append(f"{short} <{goal}>" if short else goal)
        return "\n".join([*lines, "```", ""])

    def short_title(self, name: str, parent: str) -> str:
        """What the contents call a page below its parent; '': its title."""
        folder, _, file = name.rpartition("/")
        if folder.endswith(f"/{MAIN}") and file in SHORT:
            return SHORT[file]
        if file == f"{name.split('/')[0]}.ipynb":
            return "The lesson"
        if parent != "README.md" and self.title(name) == self.title(parent):
            return "The notebook"
        return SHORT.get(name, "")

    def title(self, name: str) -> str:
        """The first heading of a page."""
        text = (self.root / name).read_text(encoding="utf-8")
        if name.endswith(".ipynb"):
            cells = json.loads(text)["cells"]
            notes = [c for c in cells if c["cell_type"] == "markdown"]
            text = "\n".join("".join(cell["source"]) for cell in notes)
        found = HEADING.search(text)
        return found[1] if found else ""

    def notebook(self, name: str) -> dict:
        """A notebook for the book: folded cells, no notes to our tools."""
        book = json.loads((self.root / name).read_text(encoding="utf-8"))
        cells, told, solved = [], "", name.endswith(LAST[1])
        for cell in book["cells"]:
            source = "".join(cell["source"])
            folded = cell["metadata"].pop("jupyter", {}).get("source_hidden")
            cell["metadata"] = {"tags": ["hide-input"]} if folded else {}
            if cell["cell_type"] == "markdown":
                source, told = self.bend(source, name), source
                if solved:
                    source = re.sub(r"^# .+", r"\g<0> (solved)", source)
                    solved = False
            else:
                source = re.sub(r"\A(?:#\|.*\n?)+", "", source)
                alt = {"image": {"alt": alternative(told)}}
                cell["metadata"]["mystnb"] = alt
            cell["source"] = source
            if source.strip():
                cells.append(cell)
        return book | {"cells": cells}

    def bend(self, text: str, name: str) -> str:
        """A text whose links lead to pages of the book."""

        def new_link(match: re.Match) -> str:
            if not match["target"]:
                return match[0]
            target = self.link(match["target"], name)
            if target is None:
                return match["text"][1:-1]
            return f"{match['text']}({target})"

        return CODE_OR_LINK.sub(new_link, text)

    def link(self, target: str, name: str) -> str | None:
        """Where a link of a page leads in the book; None: it leads out."""
        if re.match(r"[a-z]+:", target):
            return target
        path, _, fragment = target.partition("#")
        here = self.root / name
        file = Path(os.path.normpath(here.parent / path)) if path else here
        if file.is_dir():
            file = file / "README.md"
        if not file.is_file() or not file.is_relative_to(self.root):
            return None
        goal = file.relative_to(self.root).as_posix()
        if file.suffix in PICTURES:
            copy = self.target / goal
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            return target
        if goal not in self.pages:
            if file.stat().st_size > MOST or is_hidden(Path(goal)):
                return None
            self.files.add(goal)
            goal, fragment = f"{goal}.md", ""
        elif fragment and goal.endswith(".md"):
            text = file.read_text(encoding="utf-8")
            for heading in HEADING.findall(text):
                if github_anchor(heading) == fragment:
                    fragment = jupyter_anchor(heading)
                    break
        goal = "index.md" if goal == "README.md" else goal
        short = "" if not path else os.path.relpath(goal, Path(name).parent)
        short = short.replace(os.sep, "/")
        return f"{short}#{fragment}" if fragment else short


def file_page(name: str) -> str:
    """A page that shows a file."""
    file = name.rpartition("/")[2]
    language = {".py": "python", ".json": "json"}.get(Path(file).suffix)
    return (
        f"---\norphan: true\n---\n# `{file}`\n\n`{name}`\n\n"
        f"```{{literalinclude}} {file}\n:language: {language or 'text'}\n```\n"
    )


def alternative(told: str) -> str:
    """What a picture shows: the sentences before it, without their marks."""
    paragraphs = [p for p in told.split("\n\n") if p.strip()]
    text = paragraphs[-1] if paragraphs else ""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^>]*>|[*`$#]", "", text)
    return " ".join(text.split()) or "A figure; the text tells of it."


# ---- Building -------------------------------------------------------------


def build(target: Path, root: Path = ROOT) -> list[str]:
    """Build the book into target/html; return what Sphinx warns of."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    source, doctrees = target / ".source", target / ".doctrees"
    for folder in (source, doctrees, target / "html"):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    Source(root, source).write()
    warnings = Lines()
    with docutils_namespace():
        app = Sphinx(
            srcdir=source,
            confdir=BOOK,
            outdir=target / "html",
            doctreedir=doctrees,
            buildername="html",
            status=None,
            warning=warnings,
        )
        app.build()
    return list(warnings.lines())


class Lines:
    """A stream that keeps what Sphinx writes."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def lines(self) -> Iterator[str]:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", self.text)
        yield from (line for line in plain.splitlines() if line.strip())


def main(argv: list[str] | None = None) -> int:
    """Build the book, and say where it is."""
    parser = ShortParser(
        prog="build_book.py", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "runs" / "book",
        metavar="FOLDER",
        help="where it is built (default runs/book)",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the book in a browser"
    )
    args = parser.parse_args(argv)
    if missing := [name for name in PACKAGES if not find_spec(name)]:
        needs = "pip install -r shared/book/requirements-book.txt"
        parser.error(f"{missing[0]} is missing: {needs} (Python 3.11 on)")
    try:
        warnings = build(args.out.resolve())
    except OSError as error:
        parser.error(f"{args.out} cannot be written: {error.strerror}")
    print(*warnings, sep="\n", end="\n" if warnings else "", file=sys.stderr)
    page = args.out.resolve() / "html" / "index.html"
    print(f"The book: {page}")
    if args.open and not webbrowser.open(page.as_uri()):
        print("No browser answers here: open that file yourself.")
    return 1 if warnings else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
