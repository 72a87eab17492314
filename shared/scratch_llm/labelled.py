"""Texts with their classes, out of files of many kinds.

    read_labelled("reviews.csv")                  guesses the two columns
    read_labelled("mail.tsv", "body", "folder")   or is told their names
    read_labelled("data/sms+spam+collection.zip")
    read_labelled("data/aclImdb_v1.tar.gz")

What is wrong with a file is a ValueError of one line that says what to do;
what is read with a loss or a guess is a warning.
"""

from __future__ import annotations

import csv
import io
import random
import re
import tarfile
import warnings
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from scratch_llm.notes import NAMES, hand_written, notes

# fmt: off
TEXT_NAMES = (
    "text texts message messages sms sentence sentences review reviews "
    "comment comments tweet note notes body content document v2").split()
LABEL_NAMES = (
    "label labels class classes category categories sentiment target topic "
    "feeling emotion v1").split()
NUMBER = re.compile(r"-?\d+([.,]\d*)?")
QUOTED = re.compile(r'"((?:[^"]|"")*)"')
ALIASES = {"neg": "negative", "pos": "positive"}
# fmt: on
LEAST = 3  # different texts of each class: to train, to choose, to test


class Labelled(NamedTuple):
    """Texts, the number of each one's class, and what the classes are called.

    Classes that are numbers go by size, words by the alphabet.
    """

    texts: list[str]
    labels: list[int]
    names: tuple[str, ...]


@dataclass
class Words:
    """Texts and their labels as they stand in a file.

    splits: train or test for each text where the publisher has decided,
    else empty.
    """

    texts: list[str]
    labels: list[str]
    splits: list[str] = field(default_factory=list)

    def __getitem__(self, chosen: list[int]) -> Words:
        """Some of the texts, by their numbers."""
        columns = (self.texts, self.labels, self.splits)
        return Words(*([c[i] for i in chosen] if c else [] for c in columns))


# ---- Files ---------------------------------------------------------------


def read_labelled(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
    split: str | None = None,
) -> Labelled:
    """Read texts and labels from a CSV or TSV file, with a header or without.

    Also from SMS Spam Collection (a zip with one table in it) and IMDB's
    reviews (a tar, or a folder, with train/pos/0_9.txt and its kind), packed
    as they are published; split: train or test, to get that part alone.
    Columns go by name or by number, from 1. Rows without a text or a label
    are left out with a warning. ValueError if there is nothing to learn.
    """
    found = read_words(path, text_column, label_column)
    if split is not None:
        if split not in found.splits:
            raise ValueError(f"{path} has no part called {split!r}")
        n = len(found.texts)
        found = found[[i for i in range(n) if found.splits[i] == split]]
    names = class_names(found.labels)
    check_classes(found.labels, str(path))
    numbers = label_numbers(found.labels, names, str(path))
    return Labelled(found.texts, numbers, names)


def read_words(
    path: str | Path,
    text_column: str | None = None,
    label_column: str | None = None,
) -> Words:
    """What read_labelled reads, with labels as words, and nothing refused."""
    path = Path(path)
    if path.is_dir() or path.name.endswith((".tar.gz", ".tgz", ".tar")):
        found = read_folders(path)
    else:
        found = read_table(path, text_column, label_column)
    for column in ("text", "label"):
        cells = getattr(found, f"{column}s")
        full = [i for i, cell in enumerate(cells) if cell.strip()]
        if gone := len(cells) - len(full):
            tell(f"{path}: {gone} rows without a {column} are left out")
        found = found[full]
    if not found.texts:
        raise ValueError(f"{path} holds no text with a label")
    found.labels = whole_numbers(found.labels)
    return found


def tell(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def check_classes(labels: Sequence[str], where: str) -> None:
    """ValueError unless these labels can be learned."""
    names = class_names(labels)
    if len(names) == 1:
        raise ValueError(
            f"{where}: all {len(labels)} texts have the label {names[0]!r}: "
            "at least two classes are needed"
        )
    if len(names) > max(10, len(labels) / 2):
        raise ValueError(
            f"{where}: {len(names)} different labels for {len(labels)} texts, "
            f"such as {shorten(names[0])!r}: name the right column with "
            "--label-column"
        )


def shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def whole_numbers(labels: list[str]) -> list[str]:
    """Labels such as 1.0, if all are of this kind, as 1."""
    number = re.compile(r"-?\d+(\.0*)?")
    if all(number.fullmatch(label) for label in labels):
        return [label.split(".")[0] for label in labels]
    return labels


def read_table(
    path: Path, text_column: str | None, label_column: str | None
) -> Words:
    """The two columns of a table, as they stand."""
    rows = parse_rows(decode(read_bytes(path), path), path)
    header = rows.pop(0) if has_header(rows, text_column, label_column) else []
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    width = Counter(map(len, rows)).most_common(1)[0][0]
    names = [name.strip() for name in header or map(str, range(1, width + 1))]
    rows = even_rows(rows, len(names), path)
    unnamed = [j for j, name in enumerate(names) if not name]
    if any(row[j].strip() for row in rows for j in unnamed):
        tell(f"{path}: {len(unnamed)} columns without a name are left out")
    text, label = pick_columns(names, rows, text_column, label_column, path)
    return Words(
        [row[text] for row in rows], [row[label].strip() for row in rows]
    )


def read_bytes(path: Path) -> bytes:
    """A file's bytes, or those of the one table in a zip."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if data[:2] != b"PK":
        return data
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        found = [
            name
            for name in archive.namelist()
            if not name.endswith("/")
            and not re.search(
                r"readme|license|__MACOSX|\.DS_Store", name, re.I
            )
        ]
        if any(name.startswith(("xl/", "word/")) for name in found):
            raise ValueError(
                f"{path} is a workbook or a document: save it as CSV"
            )
        if len(found) != 1:
            raise ValueError(
                f"{path} holds {len(found)} files ({', '.join(found[:5])}): "
                "unpack it and name the one to read"
            )
        return archive.read(found[0])
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"{path} is not a whole zip file ({error}): fetch it again"
        ) from None


def decode(data: bytes, path: Path) -> str:
    """Bytes as text: Unicode, or else as Western Windows writes it."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if not text.strip():
            raise ValueError(f"{path} is empty: give a file with rows in it")
        if encoding in ("cp1252", "latin-1"):
            tell(f"{path} is not UTF-8: read as {encoding}")
        return text
    raise ValueError(f"{path} is not a text file: give a CSV or a TSV file")


def parse_rows(text: str, path: Path) -> list[list[str]]:
    """The rows of a table, cut where most of them have equally many cells.

    Between commas a quote begins a quoted text. Between tabs it is a letter
    like any other, if the lines are even that way.
    """
    ways = {",": (True, False), ";": (True, False), "\t": (False, True)}
    if path.suffix.lower() != ".csv":
        ways = dict(reversed(ways.items()))
    best, most = [], 0.0
    for sign, quotings in ways.items():
        for quoted in quotings:
            rows, even = cut_rows(text, sign, quoted)
            if even > most:
                best, most = rows, even
    if not best:
        raise ValueError(
            f"{path} has no two columns: give a table of texts and labels, "
            "separated by commas, semicolons or tabs"
        )
    return best


def cut_rows(
    text: str, sign: str, quoted: bool
) -> tuple[list[list[str]], float]:
    """Rows, and which share has as many cells as most; 0 for one column.

    quoted: quotes must be as a spreadsheet writes them, else there are no
    rows. If not, they stay, unless every cell keeps to them after all.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=sign,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=quoted,
    )
    try:
        rows = [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error:
        return [], 0.0
    width, count = Counter(map(len, rows)).most_common(1)[0]
    if width == 1:
        return [], 0.0
    cells = [cell for row in rows for cell in row if '"' in cell]
    if not quoted and all(QUOTED.fullmatch(cell) for cell in cells):
        rows = [[unquote(cell) for cell in row] for row in rows]
    return rows, count / len(rows)


def unquote(cell: str) -> str:
    """A cell without the quotes around it; doubled ones inside are one."""
    quoted = QUOTED.fullmatch(cell)
    return quoted[1].replace('""', '"') if quoted else cell


def has_header(
    rows: list[list[str]], text_column: str | None, label_column: str | None
) -> bool:
    """Whether the first row names the columns.

    It does if it holds a name that is usual or asked for, a word above a
    column of numbers, or something that never comes again in a column of few
    values.
    """
    first, rest = [cell.strip() for cell in rows[0]], rows[1:]
    asked = [name for name in (text_column, label_column) if name]
    if any(not name.isdigit() for name in asked):
        return True
    usual = {*TEXT_NAMES, *LABEL_NAMES}
    for j, cell in enumerate(first):
        below = Counter(row[j].strip() for row in rest if j < len(row))
        if cell in below or NUMBER.fullmatch(cell):
            continue
        if below and all(NUMBER.fullmatch(value) for value in below):
            return True
        if cell.lower() in usual or 0 < len(below) <= len(rest) / 3:
            return True
    return False


def even_rows(
    rows: list[list[str]], width: int, path: Path
) -> list[list[str]]:
    """All rows with this many cells; ValueError if one has more."""
    for n, row in enumerate(rows, 1):
        if any(cell.strip() for cell in row[width:]):
            raise ValueError(
                f"{path}: row {n} has {len(row)} cells and not {width}: "
                f"{shorten(' | '.join(row))!r}; put texts that hold the "
                "separator into quotes"
            )
    return [(row + [""] * width)[:width] for row in rows]


def pick_columns(
    names: list[str],
    rows: list[list[str]],
    text_column: str | None,
    label_column: str | None,
    path: Path,
) -> tuple[int, int]:
    """The numbers, from 0, of the column of texts and that of labels."""
    shown = ", ".join(name for name in names if name)

    def find(wanted: str | None, usual: list[str]) -> int | None:
        if wanted is None:
            known = [j for j, n in enumerate(names) if n.lower() in usual]
            return known[0] if len(known) == 1 else None
        for same in (str, str.lower):
            found = [j for j, n in enumerate(names) if same(n) == same(wanted)]
            if len(found) == 1:
                return found[0]
        if wanted.isdigit() and 1 <= int(wanted) <= len(names):
            return int(wanted) - 1
        raise ValueError(
            f"{path} has no column {wanted!r}"
            + (" of its own" if found else "")
            + f"; its columns: {shown}"
        )

    text = find(text_column, TEXT_NAMES)
    label = find(label_column, LABEL_NAMES)
    filled = [
        j
        for j, name in enumerate(names)
        if name and any(row[j].strip() for row in rows)
    ]
    if len(filled) == 2 and {text, label} - {None} <= set(filled):
        if text is None and label is None:
            text = longer_column(rows, filled)
        if text is not None and label is None:
            label = next(j for j in filled if j != text)
        elif label is not None and text is None:
            text = next(j for j in filled if j != label)
    if text is None or label is None:
        what = "texts" if text is None else "labels"
        option = "--text-column" if text is None else "--label-column"
        raise ValueError(
            f"{path}: it is not clear which column holds the {what}: name it "
            f"with {option}; the columns: {shown}"
        )
    if text == label:
        raise ValueError(
            f"{path}: texts and labels cannot both be in the column "
            f"{names[text]!r}; its columns: {shown}"
        )
    return text, label


def longer_column(rows: list[list[str]], pair: list[int]) -> int | None:
    """Which of two columns is that of texts; None if that is not safe."""
    columns = {j: [row[j].strip() for row in rows] for j in pair}
    label, text = sorted(pair, key=lambda j: len(set(columns[j])))
    few, many = len(set(columns[label])), len(set(columns[text]))
    lengths = {j: sum(map(len, columns[j])) for j in pair}
    clear = few < many and few <= len(rows) / 2
    return text if clear and lengths[label] < lengths[text] else None


def read_folders(path: Path) -> Words:
    """Texts in folders: train/pos/0_9.txt is of class pos, for training.

    Folders called unsup (without a class) are passed over; line breaks in
    HTML become spaces.
    """
    place = re.compile(r"(?:^|/)(train|test)/([^/]+)/[^/]+\.txt$")
    found, broken = Words([], [], []), 0
    try:
        for name, data in members(path):
            match = place.search(name)
            if match and match[2] != "unsup":
                try:
                    text = data.decode("utf-8")
                except UnicodeDecodeError:
                    text, broken = data.decode("latin-1"), broken + 1
                found.texts.append(re.sub(r"(<br\s*/?>\s*)+", " ", text))
                found.labels.append(match[2])
                found.splits.append(match[1])
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: check the path") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole archive ({error}): fetch it again"
        ) from None
    if broken:
        tell(f"{path}: {broken} texts are not UTF-8: read as latin-1")
    if not found.texts:
        raise ValueError(
            f"{path} holds no texts in folders such as train/pos: give a CSV "
            "or a TSV file"
        )
    return found


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every text file of a folder or a tar, by name."""
    if path.is_dir():
        for file in sorted(path.rglob("*.txt")):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".txt"):
                yield member.name, archive.extractfile(member).read()


# ---- Classes and splits --------------------------------------------------


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The different labels: numbers by size, words by the alphabet."""
    names = set(labels)
    numbers = all(re.fullmatch(r"-?\d+", name) for name in names)
    return tuple(sorted(names, key=int if numbers else None))


def label_numbers(
    labels: Sequence[str], names: Sequence[str], where: str = "the labels"
) -> list[int]:
    """The number of each label among the names; ValueError if it is none.

    Capitals do not matter, neg and pos are short for negative and positive,
    and where the names are words, their numbers (from 0) do as well.
    """
    known = {name: i for i, name in enumerate(names)}
    loose = {name.lower(): i for name, i in known.items()}
    if not any(name.lstrip("-").isdigit() for name in names):
        loose = {str(i): i for i in range(len(names))} | loose
    for short, long in ALIASES.items():
        for one, other in ((short, long), (long, short)):
            if other in loose:
                loose.setdefault(one, loose[other])
    found = [known.get(s, loose.get(s.lower())) for s in labels]
    if None in found:
        raise ValueError(
            f"{where}: the label {shorten(labels[found.index(None)])!r} is "
            f"none of {', '.join(names)}"
        )
    return found


def same_text(text: str) -> str:
    """What near duplicates have in common: their letters."""
    return re.sub(r"[\W\d_]+", "", text.lower()) or text.strip()


def split_items(
    texts: Sequence[str],
    labels: Sequence,
    shares: Sequence[float] = (0.7, 0.1, 0.2),
    seed: int = 0,
    where: str = "the data",
) -> list[list[int]]:
    """Numbers of items, dealt out at random by these shares.

    Of each class every part gets its share, and one text at least. Texts that
    differ in capitals, digits, spaces and signs only stay together, so that
    nothing is tested that was trained on.
    """
    together = defaultdict(list)
    for i, text in enumerate(texts):
        together[same_text(text)].append(i)
    classes = defaultdict(list)
    for group in together.values():
        classes[labels[group[0]]].append(group)
    parts: list[list[int]] = [[] for _ in shares]
    rng = random.Random(f"{seed}")
    for label in sorted(classes):
        groups = classes[label]
        if len(groups) < max(LEAST, len(shares)):
            raise ValueError(
                f"{where}: class {label} has {len(groups)} different texts, "
                f"at least {max(LEAST, len(shares))} are needed"
            )
        rng.shuffle(groups)
        start = 0
        for n, share in enumerate(shares):
            left = len(shares) - n - 1  # one each for those that follow
            size = max(1, round(share * len(groups)))
            end = min(start + size, len(groups) - left)
            end = end if left else len(groups)
            parts[n] += [i for group in groups[start:end] for i in group]
            start = end
    for part in parts:
        rng.shuffle(part)
    return parts


# ---- A task --------------------------------------------------------------


@dataclass
class Part:
    """Texts, the numbers of their classes, and of which kind each is."""

    texts: list[str]
    labels: list[int]
    kinds: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)


@dataclass
class Splits:
    """A task of classes, split before anybody looks.

    hard: a second test, of other making, or None.
    """

    name: str
    names: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    hard: Part | None = None


PUBLIC = {"sms": "sms-spam", "imdb": "imdb"}


def load_splits(
    data: str | Path = "notes",
    items: int | None = None,
    test_items: int = 2000,
    hard: str | Path | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    folder: str | Path = "data",
    download: bool = False,
) -> Splits:
    """notes, sms, imdb, or a file of texts and labels, ready to learn.

    items, test_items: how many at most to train on and to test on (notes are
    made to measure, 150,000 by default). hard: a file with a second test; the
    notes have one written by hand. Other data is split 7 : 1 : 2 unless its
    publisher has. folder, download: where public data sets lie, and whether
    to fetch what is not there.
    """
    if data == "notes":
        splits = note_splits(items or 150_000, test_items, seed)
    else:
        path = public_file(data, folder, download) if data in PUBLIC else data
        found = read_words(path, text_column, label_column)
        splits = file_splits(found, path, items, test_items, seed)
    if hard is not None:
        found = read_test(hard, text_column, label_column)
        labels = label_numbers(found.labels, splits.names, str(hard))
        splits.hard = Part(found.texts, labels)
        known = {same_text(text) for text in splits.train.texts}
        if seen := sum(same_text(text) in known for text in found.texts):
            tell(f"{hard}: {seen} texts are among those trained on")
    return splits


def note_splits(items: int, test_items: int, seed: int) -> Splits:
    """The town's notes, and those written by hand as the second test."""
    chosen = (
        notes(items, "train", seed),
        notes(min(1000, items), "validation"),
        notes(test_items, "test"),
        hand_written(),
    )
    parts = [
        Part(
            [note.text for note in some],
            [note.label for note in some],
            [note.kind for note in some],
        )
        for some in chosen
    ]
    return Splits("notes", NAMES, *parts)


def public_file(name: str, folder: str | Path, download: bool) -> Path:
    """Where a public data set lies; ValueError if it does not."""
    from scratch_llm.download import DATA, fetch_data

    name = PUBLIC[name]
    path = Path(folder, Path(DATA[name]).name)
    if download:
        return fetch_data(name, folder)
    if not path.is_file():
        raise ValueError(
            f"{name} is not in {folder}: fetch it with python "
            f"gpt_download.py {name}, or by --download"
        )
    return path


def read_test(path: str | Path, *columns: str | None) -> Words:
    """A second test; its columns may have names of their own."""
    try:
        return read_words(path, *columns)
    except ValueError:
        if any(columns):
            with suppress(ValueError):
                return read_words(path)
        raise


def file_splits(
    found: Words,
    path: str | Path,
    items: int | None,
    test_items: int,
    seed: int,
) -> Splits:
    """What a file holds, split; ValueError if that is too little."""
    where, everything = str(path), range(len(found.texts))
    check_classes(found.labels, where)
    if found.splits:
        outer = [i for i in everything if found.splits[i] == "train"]
        tests = [i for i in everything if found.splits[i] == "test"]
        random.Random(f"{seed}").shuffle(tests)
        part = found[outer]
        inner = split_items(part.texts, part.labels, (0.9, 0.1), seed, where)
        chosen = [[outer[i] for i in some] for some in inner] + [tests]
    else:
        shares = (0.7, 0.1, 0.2)
        chosen = split_items(found.texts, found.labels, shares, seed, where)
    names = class_names(found.labels)
    numbers = label_numbers(found.labels, names, where)
    parts = []
    limits = (items, test_items, test_items)
    for indices, most in zip(chosen, limits, strict=True):
        indices = indices[:most]
        parts.append(
            Part(
                [found.texts[i] for i in indices],
                [numbers[i] for i in indices],
            )
        )
    if lacking := set(range(len(names))) - set(parts[0].labels):
        raise ValueError(
            f"{where}: among {len(parts[0])} items to train on there is none "
            f"of class {names[min(lacking)]}: take more --items"
        )
    return Splits(Path(path).name.split(".")[0], names, *parts)
