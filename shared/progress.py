"""Show which exercises are solved, which are open, and what to do next.

    python shared/progress.py           a table here, and a page
    python shared/progress.py --open    the same, and the page in a browser

It reads what your notebooks hold on the disk and changes nothing in them, so
they may be open in JupyterLab: save first (Ctrl+S). Exercises are found in
every notebook that has `with exercise("2.1"):` in a cell. What the check
printed last counts; where it has not run, or the answer was run again after
it, the answer counts as not checked.
"""

from __future__ import annotations

import datetime
import html
import json
import re
import sys
import time
import webbrowser
from dataclasses import dataclass, field
from pathlib import Path

from scratch_llm.cli import ShortParser, run_script
from scratch_llm.exercises import next_open
from scratch_llm.files import write_text

ROOT = Path(__file__).resolve().parent.parent
MAIN = "01_main-chapter-code"
SOLUTIONS = "exercise-solutions.ipynb"
TRIES, PAUSE = 4, 0.25  # a notebook may be half written while we read

CHECK = re.compile(r"""^\s*with exercise\(["']([\d.]+)["']\)""", re.M)
STUB = re.compile(r"^\s*raise NotImplementedError\b", re.M)
HEADING = re.compile(
    r"^#+ Exercise (\d+\.\d+): (.+?)(?: \((★+)(?:, (\d+) min)?\))?\s*$", re.M
)
VERDICT = re.compile(
    r"^Exercise ([\d.]+): (?:(solved|open)$|not yet - (.*))", re.M | re.S
)
CORE = "Build your GPT"
DOTS = {"solved": "●", "not yet": "◐", "not checked": "◐", "open": "○"}


@dataclass
class Exercise:
    """One exercise and how it stands."""

    number: str
    title: str = ""
    stars: str = ""
    minutes: int = 0
    core: bool = False
    state: str = "open"  # a key of DOTS
    said: str = ""  # what the check says to a wrong answer

    @property
    def begun(self) -> bool:
        return self.state in ("not yet", "not checked")

    @property
    def name(self) -> str:
        title = f": {self.title}" if self.title else ""
        facts = [self.stars] * bool(self.stars)
        facts += [f"{self.minutes} min"] * bool(self.minutes)
        return f"Exercise {self.number}{title}" + (
            f" ({', '.join(facts)})" if facts else ""
        )


@dataclass
class Book:
    """A notebook with exercises, or what is wrong with it."""

    path: str
    title: str = ""
    exercises: list[Exercise] = field(default_factory=list)
    problem: str = ""

    @property
    def label(self) -> str:
        """ch02, or ch07/08_find-the-fault."""
        folder, _, file = self.path.rpartition("/")
        short = folder.removesuffix(f"/{MAIN}")
        return short if file == "exercises.ipynb" else f"{short}/{file}"

    @property
    def solved(self) -> int:
        return sum(one.state == "solved" for one in self.exercises)

    @property
    def minutes(self) -> int:
        """What is left, as the headings estimate it."""
        left = [one for one in self.exercises if one.state != "solved"]
        return sum(one.minutes for one in left)


# ---- Reading -------------------------------------------------------------


def joined(text: object) -> str:
    """Notebooks hold a text whole or as a list of lines."""
    return "".join(map(str, text)) if isinstance(text, list) else str(text)


def load(path: Path) -> list[dict]:
    """A notebook's cells. ValueError says in a line what is wrong.

    JupyterLab may be writing at this very moment: a broken file is read again.
    """
    for last in range(TRIES - 1, -1, -1):
        try:
            book = json.loads(path.read_bytes().decode("utf-8-sig"))
            break
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}") from None
        except ValueError as error:
            if not last:
                raise ValueError(f"is no notebook: {error}") from None
            time.sleep(PAUSE)
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list) or not all(
        isinstance(cell, dict) for cell in cells
    ):
        raise ValueError("is no notebook: it has no cells")
    return cells


def printed(cell: dict) -> dict[str, tuple[str, str]]:
    """What a check cell printed: of each number (state, message)."""
    text = "".join(
        joined(output.get("text", ""))
        for output in cell.get("outputs") or []
        if output.get("name") == "stdout"
    )
    found = {}
    for part in re.split(r"^(?=Exercise [\d.]+: )", text, flags=re.M):
        if match := VERDICT.match(part):
            said = " ".join((match[3] or "").split())
            found[match[1]] = match[2] or "not yet", said
    return found


def read_book(path: Path, root: Path) -> Book:
    """The exercises of a notebook and how they stand."""
    book = Book(path.relative_to(root).as_posix())
    try:
        cells = load(path)
    except ValueError as error:
        book.problem = str(error)
        return book
    known: dict[str, Exercise] = {}
    answers: list[dict] = []
    for cell in cells:
        source = joined(cell.get("source", ""))
        if cell.get("cell_type") == "markdown":
            title = re.search(r"^# (.+)", source, re.M)
            book.title = book.title or (title[1].strip() if title else "")
            for number, name, stars, minutes in HEADING.findall(source):
                name = name.removeprefix(f"{CORE}, ").strip()
                known[number] = Exercise(
                    number, name, stars, int(minutes or 0), CORE in source
                )
        elif cell.get("cell_type") == "code":
            answers.append(cell)
            numbers = CHECK.findall(source)
            for number in numbers:
                one = known.get(number, Exercise(number))
                judge(one, answers, printed(cell).get(number))
                book.exercises.append(one)
            if numbers:
                answers = []
    return book


def judge(
    one: Exercise, cells: list[dict], verdict: tuple[str, str] | None
) -> None:
    """Set how an exercise stands, from its cells and its check's verdict.

    cells: the code cells since the check before; the last one is the check.
    """
    *answers, check = cells
    begun = bool(answers) and not any(
        STUB.search(joined(cell.get("source", ""))) for cell in answers
    )
    counts = [cell.get("execution_count") or 0 for cell in answers]
    newer = max(counts, default=0) > (check.get("execution_count") or 0)
    if verdict is None or verdict[0] == "open":
        one.state = "not checked" if begun else "open"
    elif newer:
        one.state = "not checked"
    else:
        one.state, one.said = verdict


def read_course(root: Path) -> list[Book]:
    """Every notebook with exercises, in the order of the chapters."""
    books = []
    for path in sorted(root.glob("ch[0-9][0-9]/**/*.ipynb")):
        inside = path.relative_to(root).parts
        if path.name == SOLUTIONS or any(p.startswith(".") for p in inside):
            continue
        book = read_book(path, root)
        if book.exercises or (book.problem and "exercise" in path.name):
            books.append(book)
    return fold_copies(books)


def fold_copies(books: list[Book]) -> list[Book]:
    """A copy beside exercises.ipynb counts there: the better state does."""
    order = list(DOTS)  # the best first
    first = {book.label: book for book in books}
    kept = []
    for book in books:
        original = first.get(book.label.rpartition("/")[0])
        its = (
            {one.number: one for one in original.exercises} if original else {}
        )
        if not its or {one.number for one in book.exercises} - its.keys():
            kept.append(book)
            continue
        for one in book.exercises:
            mine = its[one.number]
            if order.index(one.state) < order.index(mine.state):
                mine.state, mine.said = one.state, one.said
    return kept


def what_next(books: list[Book]) -> tuple[Book, Exercise] | None:
    """First what is begun, then what follows the last that is solved."""
    row = [(book, one) for book in books for one in book.exercises]
    for pair in row:
        if pair[1].begun:
            return pair
    place = next_open([one.state == "solved" for _, one in row])
    return None if place is None else row[place]


# ---- Showing -------------------------------------------------------------


def duration(minutes: int) -> str:
    """75 -> 1 h 15 min."""
    hours, rest = divmod(minutes, 60)
    parts = [f"{hours} h"] * bool(hours) + [f"{rest} min"] * bool(rest)
    return " ".join(parts)


def lesson(book: Book, root: Path) -> str:
    """The lesson beside a notebook of exercises, '' if there is none."""
    chapter, folder = book.path.split("/")[0], (root / book.path).parent
    path = folder / f"{chapter}.ipynb"
    return path.relative_to(root).as_posix() if path.exists() else ""


def advice(books: list[Book], root: Path) -> list[str]:
    """What to do next, in a few lines."""
    if not any(book.exercises for book in books):
        return ["No exercises found."]
    found = what_next(books)
    if not found:
        return ["Everything is solved. Compare with exercise-solutions.ipynb."]
    book, one = found
    lines = [f"Next: {one.name}", f"in {book.path}"]
    if one.state == "not yet":
        lines.append(f"Its check says: {one.said}")
    elif one.state == "not checked":
        lines.append("Your answer is not checked yet: run its check and save.")
    elif not book.solved and (first := lesson(book, root)):
        lines.append(f"The lesson to it is {first}")
    return lines


def table(books: list[Book]) -> list[str]:
    """A line for each notebook, and one for all."""
    wide = max([len(book.label) for book in books] or [0])
    dots = max([len(book.exercises) for book in books] or [0])
    lines = []
    for book in books:
        if book.problem:
            lines.append(f"{book.label:<{wide}}  {book.problem}")
            continue
        marks = "".join(DOTS[one.state] for one in book.exercises)
        count = f"{book.solved:>2} of {len(book.exercises):>2}"
        left = duration(book.minutes)
        left = f"  {left} left" if left else ""
        lines.append(f"{book.label:<{wide}}  {marks:<{dots}}  {count}{left}")
    solved = sum(book.solved for book in books)
    total = sum(len(book.exercises) for book in books)
    return [
        *lines,
        "",
        f"{solved} of {total} solved.  ● solved  ◐ begun  ○ open",
    ]


STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd;
  --card: #f6f8fa; --page: #fff; --good: #009E73; --begun: #D55E00;
  --link: #0072B2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #a5a5a5;
  --line: #3a3f45; --card: #22272d; --page: #171a1e; --good: #35c99b;
  --begun: #ff9052; --link: #62b7ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 46rem; padding: 1.5rem 1rem 4rem;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif;
  color: var(--ink); background: var(--page); }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 0 0 .4rem; }
p { margin: .4rem 0; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--line);
  border-left: .3rem solid var(--link); border-radius: .4rem;
  padding: .9rem 1.1rem; margin: 1.2rem 0 1.6rem; }
.soft, small { color: var(--soft); }
code { font: .9em ui-monospace, Consolas, Menlo, monospace; }
.bar { height: .5rem; border-radius: .25rem; background: var(--line);
  overflow: hidden; display: flex; }
.bar i { display: block; background: var(--good); }
.bar i + i { background: var(--begun); }
details { border-top: 1px solid var(--line); padding: .7rem 0; }
summary { cursor: pointer; }
summary b { margin-right: .6rem; }
summary .bar { margin: .4rem 0 0; }
ul { list-style: none; margin: .6rem 0 0; padding: 0; }
li { padding: .3rem 0 .3rem 1.6rem; text-indent: -1.6rem; }
li > * { text-indent: 0; }
li .dot { display: inline-block; width: 1.6rem; color: var(--soft); }
li.solved .dot { color: var(--good); }
li.begun .dot, .said { color: var(--begun); }
.said { display: block; overflow-wrap: anywhere; }
"""


def bar(exercises: list[Exercise]) -> str:
    """Solved, then begun, as shares of a bar."""
    n = max(len(exercises), 1)
    done = sum(one.state == "solved" for one in exercises) / n
    begun = sum(one.begun for one in exercises) / n
    return (
        f'<span class="bar" aria-hidden="true"><i style="width:{done:.1%}">'
        f'</i><i style="width:{begun:.1%}"></i></span>'
    )


def item(one: Exercise) -> str:
    """One exercise as a line of the page."""
    kind = "begun" if one.begun else one.state
    facts = [one.stars, f"{one.minutes} min" if one.minutes else ""]
    facts += [CORE if one.core else "", one.state]
    small = " · ".join(html.escape(fact) for fact in facts if fact)
    said = html.escape(one.said)
    return (
        f'<li class="{kind}"><span class="dot" aria-hidden="true">'
        f"{DOTS[one.state]}</span>{one.number} {html.escape(one.title)} "
        f"<small>{small}</small>"
        + (f'<span class="said">{said}</span>' if said else "")
        + "</li>"
    )


def section(book: Book, is_open: bool) -> str:
    """One notebook as a part of the page."""
    title = html.escape(book.title or book.label)
    if book.problem:
        problem = html.escape(f"{book.path} {book.problem}")
        return f"<details open><summary><b>{problem}</b></summary></details>"
    count = f"{book.solved} of {len(book.exercises)}"
    if left := duration(book.minutes):
        count += f", about {left} left"
    items = "\n".join(item(one) for one in book.exercises)
    return (
        f"<details{' open' if is_open else ''}><summary><b>{title}</b>"
        f"<small>{count}</small>{bar(book.exercises)}</summary>\n"
        f"<p><code>{html.escape(book.path)}</code></p>\n"
        f"<ul>\n{items}\n</ul></details>"
    )


def page(books: list[Book], root: Path, now: datetime.datetime) -> str:
    """The page: one HTML text that asks the network for nothing."""
    every = [one for book in books for one in book.exercises]
    solved = sum(book.solved for book in books)
    first, *rest = map(html.escape, advice(books, root))
    found = what_next(books)
    parts = [section(book, bool(found) and book is found[0]) for book in books]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>',
            '<meta charset="utf-8">',
            '<meta name="viewport" '
            'content="width=device-width, initial-scale=1">',
            f"<title>{solved} of {len(every)} solved: Scratch LLM</title>",
            f"<style>{STYLE}</style>\n</head>\n<body>",
            "<h1>How far you are</h1>",
            f"<p>{solved} of {len(every)} exercises are solved.</p>",
            bar(every),
            f'<div class="card"><h2>{first}</h2>',
            *(f"<p>{line}</p>" for line in rest),
            "</div>",
            *parts,
            f'<p class="soft"><small>From the notebooks as they were saved, '
            f"{now:%Y-%m-%d %H:%M}. Save yours, and make this page anew with "
            "<code>python shared/progress.py</code></small></p>",
            "</body>\n</html>\n",
        ]
    )


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Print the table and write the page."""
    parser = ShortParser(
        prog="progress.py", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="where the page is written (default runs/progress.html)",
    )
    parser.add_argument(
        "--open", action="store_true", help="open the page in a browser"
    )
    args = parser.parse_args(argv)
    books = read_course(root)
    print(*table(books), "", *advice(books, root), sep="\n")
    target = (args.page or root / "runs" / "progress.html").resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page(books, root, datetime.datetime.now()))
    except OSError as error:
        parser.error(f"{target} cannot be written: {error.strerror}")
    print(f"\nThe page: {target}")
    if args.open and not webbrowser.open(target.as_uri()):
        print("No browser answers here: open that file yourself.")
    broken = [book for book in books if book.problem]
    for book in broken:
        print(f"{book.path} {book.problem}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
