"""Fill in what the guides take from elsewhere, so that nobody types it.

    python shared/guides.py            write it
    python shared/guides.py --check    write nothing, say what differs

In a guide a comment says what stands below it:

    <!-- code ch05/01_main-chapter-code/ch05.ipynb: train, Schedule -->
        these definitions, as the lesson or the script has them
    <!-- hours -->
        how long the lessons and the exercises take, as they say themselves
    <!-- links -->
        where [5.2], [exercise 5.4] and [chapter 5] lead; it stands at the
        guide's end

The first two end at `<!-- end -->`. Whatever cannot be found is reported
with its place, and then nothing is written.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import export
from export import ROOT, read_notebook, write_text

GUIDES = ROOT / "shared" / "guides"
FENCED = re.compile(r"^(```|~~~).*?^\1[ \t]*$", flags=re.M | re.S)
HEADING = re.compile(r"^#{1,6} (.+?)\s*$", flags=re.M)
NUMBERED = re.compile(r"(\d+\.\d+) ")
EXERCISE = re.compile(r"Exercise (\d+\.\d+): .+\((★+)(?:, (\d+) min)?\)$")
TAKES = re.compile(r"about (one|two|three|four|five|six) hours")
HOURS = dict(one=1, two=2, three=3, four=4, five=5, six=6)
REFERENCE = re.compile(
    r"(?<![\]!\w])\[((?:exercise\s)?\d+\.\d+|chapter\s\d)\](?![(\[:])",
    flags=re.I,
)
FILLED = re.compile(
    r"<!-- (code|hours)([^>]*?) ?-->\n(.*?)<!-- end -->", flags=re.S
)
LINKS = re.compile(r"<!-- links -->.*", flags=re.S)


# ---- Headings, and how links name them -----------------------------------


def headings(path: Path) -> list[str]:
    """The headings of a notebook or a Markdown file, as one reads them."""
    texts = (
        [path.read_text("utf-8")]
        if path.suffix == ".md"
        else [
            cell.source
            for cell in read_notebook(path).cells
            if cell.cell_type == "markdown"
        ]
    )
    return [title for text in texts for title in headings_of(text)]


def headings_of(text: str) -> list[str]:
    """The headings of a Markdown text, without its marks."""
    return [
        re.sub(r"[*`]", "", title)
        for title in HEADING.findall(FENCED.sub("", text))
    ]


def anchor(title: str, of_notebook: bool) -> str:
    """What stands behind the # of a link to a heading."""
    if of_notebook:
        return title.replace(" ", "-")
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    """All that may stand behind the # of a link to this file."""
    return {anchor(title, path.suffix != ".md") for title in headings(path)}


def sections(root: Path = ROOT) -> dict[str, str]:
    """Where `5.2`, `exercise 5.4` and `chapter 5` lead: file, # heading."""
    found = {}
    for chapter in sorted(root.glob("ch[0-9][0-9]")):
        lesson = chapter / export.MAIN / f"{chapter.name}.ipynb"
        where = lesson.relative_to(root).as_posix()
        if lesson.exists():
            found[f"chapter {int(chapter.name[2:])}"] = where
        for title in headings(lesson) if lesson.exists() else []:
            if number := NUMBERED.match(title):
                found[number[1]] = f"{where}#{anchor(title, True)}"
        for notebook in sorted(chapter.glob("*/exercises.ipynb")):
            where = notebook.relative_to(root).as_posix()
            for title in headings(notebook):
                if number := EXERCISE.match(title):
                    found[f"exercise {number[1]}"] = where
    return found


# ---- Code ----------------------------------------------------------------


class Definition(NamedTuple):
    """A definition in a notebook or script, and the heading above it."""

    text: str
    is_block: bool
    exported: bool
    heading: str


def code_cells(path: Path) -> Iterator[tuple[str, bool, str]]:
    """Code, whether it is exported, and the last numbered heading."""
    if path.suffix == ".py":
        yield path.read_text("utf-8"), True, ""
        return
    heading = ""
    for cell in read_notebook(path).cells:
        if cell.cell_type == "markdown":
            for title in headings_of(cell.source):
                if re.match(r"\d|Appendix", title):
                    heading = title
        elif cell.cell_type == "code":
            code = re.sub(r"\A(#\|.*\n?)*", "", cell.source)
            yield code, cell.source.startswith("#| export"), heading


def definitions(path: Path) -> dict[str, Definition]:
    """All that a notebook or script defines; what is exported counts."""
    found: dict[str, Definition] = {}
    for code, exported, heading in code_cells(path):
        body: list[ast.stmt] = []
        with contextlib.suppress(SyntaxError):
            body = ast.parse(code).body
        for node in body:
            first = min(
                [node, *getattr(node, "decorator_list", [])],
                key=lambda part: part.lineno,
            )
            lines = code.splitlines()[first.lineno - 1 : node.end_lineno]
            new = Definition(
                "\n".join(lines),
                isinstance(node, export.BLOCK),
                exported,
                heading,
            )
            for name in export.bound_names(node):
                if name not in found or exported and not found[name].exported:
                    found[name] = new
    return found


def relative(target: str, guide: Path) -> str:
    """A path from the root, as a link in a guide needs it."""
    file, mark, fragment = target.partition("#")
    path = os.path.relpath(ROOT / file, guide.parent)
    return Path(path).as_posix() + mark + fragment


def code_block(wanted: str, guide: Path) -> str:
    """What stands below `<!-- code FILE: names -->`."""
    file, _, names = wanted.strip().partition(": ")
    path = ROOT / file
    if not path.is_file():
        raise ValueError(f"there is no {file}")
    known, text, last = definitions(path), "", None
    for name in names.split(", "):
        if name not in known:
            raise ValueError(f"{file} defines no {name!r}")
        one = known[name]
        if last is not None:
            near = not (one.is_block or last.is_block)
            text += "\n" if near else "\n\n\n"
        text, last = text + one.text, one
    titles = list(dict.fromkeys(known[n].heading for n in names.split(", ")))
    links = [
        f"[{title}]({relative(f'{file}#{anchor(title, True)}', guide)})"
        for title in titles
        if title
    ] or [f"[{path.name}]({relative(file, guide)})"]
    return f"\n```python\n{text}\n```\n\nFrom {' and '.join(links)}.\n\n"


# ---- Hours ---------------------------------------------------------------


def hours_table(guide: Path) -> str:
    """What stands below `<!-- hours -->`."""
    rows = [
        "| chapter | the lesson says | exercises | their minutes |",
        "| --- | --- | ---: | ---: |",
    ]
    total = minutes_in_all = 0.0
    for chapter in sorted(ROOT.glob("ch[0-9][0-9]")):
        lesson = chapter / export.MAIN / f"{chapter.name}.ipynb"
        if not lesson.exists():
            continue
        cells = read_notebook(lesson).cells
        text = " ".join(
            c.source for c in cells[:40] if c.cell_type == "markdown"
        )
        takes = TAKES.search(" ".join(text.split()))
        total += HOURS[takes[1]] if takes else 0
        books = {p.parent: p for p in chapter.glob("*/exercises.ipynb")}
        for folder in sorted({lesson.parent, *books}):
            titles = headings(books[folder]) if folder in books else []
            found = [match for t in titles if (match := EXERCISE.match(t))]
            times = [float(match[3] or 0) for match in found]
            minutes_in_all += sum(times)
            main = folder == lesson.parent
            page = chapter / "README.md" if main else folder / "README.md"
            where = relative(page.relative_to(ROOT).as_posix(), guide)
            hours = f"{takes[1]} hours" if takes else "less than an hour"
            name = headings(lesson if main else page)[0]
            row = [f"[{name}]({where})", hours if main else ""]
            row += (
                [f"{len(times)}", f"{sum(times):.0f}"] if times else ["", ""]
            )
            rows.append(f"| {' | '.join(row)} |")
    rows.append(
        f"| together | {total:.0f} hours | | {minutes_in_all:.0f}, that is "
        f"{minutes_in_all / 60:.0f} hours |"
    )
    return "\n" + "\n".join(rows) + "\n\n"


# ---- Guides --------------------------------------------------------------


def numbers(key: str) -> list[int]:
    """The numbers in `exercise 5.14`, to sort by."""
    return [int(digits) for digits in re.findall(r"\d+", key)]


def fill(text: str, guide: Path, places: dict[str, str]) -> str:
    """A guide's text with all that is generated in it."""

    def block(match: re.Match) -> str:
        kind, wanted, _ = match.groups()
        made = (
            code_block(wanted, guide) if kind == "code" else hours_table(guide)
        )
        return f"<!-- {kind}{wanted} -->\n{made}<!-- end -->"

    text = FILLED.sub(block, text)
    prose = FENCED.sub("", LINKS.sub("", text))
    keys = sorted(
        {" ".join(key.lower().split()) for key in REFERENCE.findall(prose)},
        key=lambda key: (re.sub(r"\d.*", "", key), numbers(key)),
    )
    if missing := [key for key in keys if key not in places]:
        raise ValueError(f"no lesson has {', '.join(missing)}")
    if keys and not LINKS.search(text):
        raise ValueError("write <!-- links --> at the end")
    lines = [f"[{key}]: {relative(places[key], guide)}" for key in keys]
    return LINKS.sub(
        lambda _: "<!-- links -->\n\n" + "\n".join(lines) + "\n", text
    )


def update(check: bool = False, folder: Path = GUIDES) -> list[str]:
    """Write what changed, or only say so; return what is wrong."""
    places, found, texts = sections(), [], {}
    for guide in sorted(folder.glob("*.md")):
        old = guide.read_text("utf-8")
        try:
            new = fill(old, guide, places)
        except ValueError as error:
            found.append(f"{guide.name}: {error}")
            continue
        if new != old:
            texts[guide] = new
    if check:
        return found + [
            f"{guide.name}: not what the lessons say now" for guide in texts
        ]
    for guide, text in texts.items() if not found else ():
        write_text(guide, text)
        print("wrote", guide.name)
    return found


def main(argv: list[str] | None = None) -> int:
    """Bring the guides up to date, or say which are not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, say what differs"
    )
    args = parser.parse_args(argv)
    found = update(args.check)
    print(*found, sep="\n", end="\n" if found else "")
    if found and args.check:
        print("\nTo bring the guides up to date: python shared/guides.py")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
