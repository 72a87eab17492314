"""The book, built from the stored notebooks as anybody builds it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import build_book
import pytest

for needed in build_book.PACKAGES:
    pytest.importorskip(needed, reason="Sphinx 9 asks for Python 3.11")

# What the theme will have to change for a later Sphinx is not our business.
pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [
    path
    for path in sorted(ROOT.glob("ch*/**/*.ipynb"))
    if ".ipynb_checkpoints" not in path.parts
]
LOADS = {  # what a browser fetches by itself
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
LINKED = {"stylesheet", "preload", "prefetch", "icon", "shortcut icon"}
LINKED |= {"modulepreload", "preconnect", "dns-prefetch", "manifest"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link"}
VOID |= {"meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """A page's links, ids, what it loads, its text, and how it nests."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.styles: list[str] = []
        self.ids: set[str] = set()
        self.tags: Counter = Counter()
        self.images: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags[tag] += 1
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADS and LOADS[tag] in found:
            self.loads.append(found[LOADS[tag]])
        if tag == "link" and found.get("rel", "").lower() in LINKED:
            self.loads.append(found["href"])
        if tag == "img":
            self.images.append((found["src"], found.get("alt", "")))
        if "style" in found:
            self.styles.append(found["style"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID or tag not in self.open:
            return
        while (last := self.open.pop()) != tag:
            self.crossed += [f"{last} is closed by {tag}"] * (
                "details" in (last, tag)
            )

    def handle_data(self, data: str) -> None:
        inside = self.open[-1:] or [""]
        if inside[0] == "style":
            self.styles.append(data)
        elif inside[0] != "script" and not {"pre", "code"} & set(self.open):
            self.words.append(data)


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> tuple[Path, dict[str, Page], list[str]]:
    """The folder, its pages by name, and what was warned of."""
    folder = tmp_path_factory.mktemp("book")
    warnings = build_book.build(folder)
    html = folder / "html"
    pages = {
        path.relative_to(html).as_posix(): Page(path)
        for path in html.rglob("*.html")
        if "_static" not in path.parts  # the theme's own patterns
    }
    return html, pages, warnings


def stored(kind: str) -> dict[str, list]:
    """Of each notebook its cells of a kind."""
    return {
        path.relative_to(ROOT).as_posix(): [
            cell
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if cell["cell_type"] == kind
        ]
        for path in NOTEBOOKS
    }


def html_of(name: str) -> str:
    return re.sub(r"\.(?:md|ipynb)$", ".html", name)


def test_it_builds_without_a_warning(book):
    assert book[2] == []


def test_every_notebook_and_readme_has_a_page_in_the_contents(book):
    html, pages, _ = book
    names = [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS]
    names += [
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("ch*/README.md")
    ]
    listed = {
        os.path.normpath(unquote(link.split("#")[0]))
        for link in pages["index.html"].links
    }
    for name in names:
        assert html_of(name) in pages, name
        assert html_of(name) in listed, f"{name} is not in the contents"


def test_every_link_leads_to_a_page_and_a_place(book):
    html, pages, _ = book
    wrong = []
    for name, page in pages.items():
        for link in set(page.links):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, fragment = link.partition("#")
            goal = os.path.normpath(
                os.path.join(os.path.dirname(name), unquote(path))
                if path
                else name
            ).replace(os.sep, "/")
            if not (html / goal).is_file():
                wrong.append(f"{name}: {link} leads nowhere")
            elif fragment and goal in pages:
                if unquote(fragment) not in pages[goal].ids:
                    wrong.append(f"{name}: {link}: no such place")
    assert not wrong, "\n".join(sorted(wrong))


def test_every_figure_is_there_and_says_what_it_shows(book):
    html, pages, _ = book
    for name, cells in stored("code").items():
        figures = sum(
            "image/png" in output.get("data", {})
            for cell in cells
            for output in cell["outputs"]
        )
        page = pages[html_of(name)]
        images = [
            (src, alt) for src, alt in page.images if "/_images/" in f"/{src}"
        ]
        assert len(images) == figures, name
        for src, alt in images:
            path = html / os.path.dirname(name) / src
            assert path.is_file(), f"{name}: {src}"
            assert len(alt) > 20 and "_images" not in alt, f"{name}: {alt!r}"


def test_no_page_asks_the_network(book):
    html, pages, _ = book
    wrong = [
        f"{name}: {load}"
        for name, page in pages.items()
        for load in page.loads
        if re.match(r"(?:[a-z]+:)?//", load)
    ]
    styles = [
        (name, style) for name, page in pages.items() for style in page.styles
    ]
    styles += [
        (path.name, path.read_text(encoding="utf-8"))
        for path in html.rglob("*.css")
    ]
    for name, style in styles:
        style = re.sub(r"/\*.*?\*/", "", style, flags=re.S)
        found = re.findall(
            r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", style
        )
        wrong += [f"{name}: {load}" for load in found]
    assert not wrong, "\n".join(wrong)


def test_what_the_pages_load_is_there(book):
    html, pages, _ = book
    wrong = [
        f"{name}: {load}"
        for name, page in pages.items()
        for load in set(page.loads)
        if not load.startswith("data:")
        and not (
            html / os.path.dirname(name) / unquote(load.split("?")[0])
        ).is_file()
    ]
    assert not wrong, "\n".join(wrong)


def test_hints_and_answers_are_folded_and_hold_rendered_text(book):
    for name, cells in stored("markdown").items():
        text = "\n".join("".join(cell["source"]) for cell in cells)
        text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        page = book[1][html_of(name)]
        folded = len(re.findall("<summary>", text))
        assert page.tags["summary"] >= folded, name
        assert page.crossed == [], f"{name}: {page.crossed}"
        assert not re.search(r"</?(?:details|summary)>", page.text), name


def test_folded_cells_are_folded(book):
    for name, cells in stored("code").items():
        wanted = sum(
            bool(cell["metadata"].get("jupyter", {}).get("source_hidden"))
            for cell in cells
        )
        page = (book[0] / html_of(name)).read_text(encoding="utf-8")
        assert page.count("tag_hide-input") == wanted, name
        assert "#| export" not in page, f"{name}: shows a note to our tools"


def test_formulas_are_mathematics_without_a_script(book):
    seen = 0
    for name, cells in stored("markdown").items():
        text = "\n".join("".join(cell["source"]) for cell in cells)
        text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        formulas = len(re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", text, re.S))
        page = book[1][html_of(name)]
        assert page.tags["math"] >= formulas, name
        assert not re.search(r"\$|\\[a-z]{2,}", page.text), name
        seen += formulas
    assert seen > 100
    font = book[0] / "_static" / "STIXTwoMath-Regular.ttf"
    assert font.stat().st_size > 100_000


def test_the_search_knows_the_words_of_the_course(book):
    index = (book[0] / "searchindex.js").read_text(encoding="utf-8")
    for word in ("causal", "storytel", "perplex", "logit"):
        assert f'"{word}' in index or f"{word}:" in index, word


# ---- How the source is made -----------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> build_book.Source:
    """A course with a chapter, a bonus and a script."""
    root = tmp_path_factory.mktemp("course")
    for name, text in {
        "README.md": "# Course\n\n## The folder\n",
        "ch02/README.md": "# Chapter 2\n",
        "ch02/01_main-chapter-code/README.md": "# Files\n",
        "ch02/01_main-chapter-code/ch02.ipynb": '{"cells": []}',
        "ch02/01_main-chapter-code/more.ipynb": '{"cells": []}',
        "ch02/01_main-chapter-code/exercises.ipynb": '{"cells": []}',
        "ch02/01_main-chapter-code/text_data.py": "x = 1\n",
        "ch02/02_bonus/README.md": "# Bonus\n",
        "ch02/02_bonus/bonus.ipynb": '{"cells": []}',
        "ch02/02_bonus/picture.svg": "<svg/>",
        "ch02/02_bonus/runs/note.md": "# No page\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return build_book.Source(root, root / "runs")


MAIN = "ch02/01_main-chapter-code"


def test_pages_stand_in_the_order_of_reading(source):
    ((first, pages),) = source.chapters
    assert first == "ch02/README.md"
    assert pages == [
        (f"{MAIN}/ch02.ipynb", []),
        (f"{MAIN}/more.ipynb", []),
        (f"{MAIN}/exercises.ipynb", []),
        (f"{MAIN}/README.md", []),
        ("ch02/02_bonus/README.md", ["ch02/02_bonus/bonus.ipynb"]),
    ]


@pytest.mark.parametrize(
    "text, bent",
    [
        ("[a](#1-One,-two?)", "[a](#1-One,-two?)"),
        ("[a](https://x.org/y)", "[a](https://x.org/y)"),
        ("[a](../02_bonus)", "[a](../02_bonus/README.md)"),
        ("[a](../../README.md)", "[a](../../index.md)"),
        (
            "[a](../../README.md#the-folder)",
            "[a](../../index.md#The-folder)",
        ),
        ("[`t`](text_data.py)", "[`t`](text_data.py.md)"),
        ("[a [b]](ch02.ipynb#x)", "[a [b]](ch02.ipynb#x)"),
        ("[gone](../nowhere.md)", "gone"),
        ("![x](../02_bonus/picture.svg)", "![x](../02_bonus/picture.svg)"),
        ("`[a](../02_bonus)`", "`[a](../02_bonus)`"),
        ("```\n[a](../02_bonus)\n```", "```\n[a](../02_bonus)\n```"),
    ],
)
def test_links_are_bent_to_the_pages_of_the_book(source, text, bent):
    assert source.bend(text, f"{MAIN}/ch02.ipynb") == bent


def test_a_picture_travels_with_its_page(source):
    source.bend("![x](picture.svg)", "ch02/02_bonus/README.md")
    assert (source.target / "ch02/02_bonus/picture.svg").is_file()


def test_a_missing_package_is_one_line(tmp_path):
    code = (
        "import sys, build_book\nsys.modules['sphinx'] = None\n"
        f"build_book.main(['--out', {str(tmp_path)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "shared",
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "requirements-book" in done.stderr
