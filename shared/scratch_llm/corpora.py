"""Real English without a download, how to learn it, and its yardstick.

Every Python carries two megabytes of English: the language reference that
`help()` shows, and the docstrings and comments of the standard library. It is
read where it lies and never stored here. No one knows its entropy floor, so
what a model has learned of it is told in bits per byte, beside xz and gzip.
"""

import ast
import gzip
import itertools
import lzma
import random
import sysconfig
import tokenize
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

# Tests, tables, and what some systems leave out or install separately.
LEFT_OUT = {
    "test", "tests", "encodings", "pydoc_data", "ensurepip", "distutils",
    "idlelib", "lib2to3", "tkinter", "turtledemo", "site-packages",
    "dist-packages",
}  # fmt: skip
DEFINED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Blocks of whole sentences in comments: line number, and text."""
    lines = enumerate(map(str.strip, source.split("\n")), 1)
    for hashes, block in itertools.groupby(
        lines, lambda line: line[1].startswith("#")
    ):
        numbers, rows = zip(*block, strict=True)
        text = "\n".join(row.lstrip("#").removeprefix(" ") for row in rows)
        text = text.strip()
        if hashes and text[:1].isupper() and text.endswith((".", "!", "?")):
            yield numbers[0], text


def english_in(path: Path) -> str:
    """The docstrings and comments of a source file, in its order.

    It is parsed, never imported. SyntaxError or ValueError if it is not
    Python.
    """
    with tokenize.open(path) as file:
        source = file.read()
    with warnings.catch_warnings(record=True):
        tree = ast.parse(source)
    found = list(comments(source))
    for node in ast.walk(tree):
        if isinstance(node, DEFINED) and (text := ast.get_docstring(node)):
            found.append((node.body[0].lineno, text))
    return "\n\n".join(text for _, text in sorted(found))


def documents() -> list[str]:
    """One text a topic of `help()`, then one a module, by name.

    ValueError if this Python came without its help topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ValueError(
            "this Python has no pydoc_data.topics, the texts of help(): "
            "name a text file of your own"
        ) from None
    texts = [topics[name] for name in sorted(topics)]
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if LEFT_OUT.isdisjoint(path.relative_to(library).parts):
            try:
                texts.append(english_in(path))
            except (SyntaxError, ValueError, OSError):
                pass  # made to be broken, or not ours to read
    return texts


def python_english() -> str:
    """The English that every Python carries, about 2 million characters.

    No paragraph comes twice. Documents are shuffled, always the same way:
    so the last tenth holds whole documents about everything, and is fair
    to hold out. The same on every run of one Python.
    """
    texts, seen, kept = documents(), set(), []
    random.Random(0).shuffle(texts)
    for paragraph in "\n\n".join(texts).split("\n\n"):
        key = paragraph.strip()
        if key and key not in seen:
            kept.append(paragraph.strip("\n").rstrip())
        seen.add(key)
    return "\n\n".join(kept) + "\n"


def settings_for(n_bytes: int) -> dict[str, float]:
    """How to train 2 layers of 256 channels on a text of this length.

    Keys: lr, weight_decay, dropout, and epochs, the most passes over the
    text. A short text is read often, and then a model learns it by heart:
    dropout hinders that, and costs some of the speed. With the settings of
    the story world, of which no story is told twice, the loss on held-out
    text is best early and then rises; with these it is best at the end.
    """
    short = n_bytes < 1_500_000
    return {
        "lr": 3e-3,
        "weight_decay": 0.5,
        "dropout": 0.1 if short else 0.0,
        "epochs": 20 if short else 12,
    }


def compressed_bits_per_byte(train: bytes, held_out: bytes) -> dict:
    """Bits per held-out byte of xz -9e and gzip -9, given `train` as well.

    What the files grow by when held_out is added: {"xz": ..., "gzip": ...}.
    xz looks back 64 MiB, gzip 32 KiB. ValueError if nothing is held out.
    """
    if not held_out:
        raise ValueError("held_out is empty: there is nothing to compress")
    train = train[-(1 << 26) :]

    def growth(compress: Callable[..., bytes], **how: int) -> float:
        more = len(compress(train + held_out, **how))
        return 8 * (more - len(compress(train, **how))) / len(held_out)

    return {
        "xz": growth(lzma.compress, preset=9 | lzma.PRESET_EXTREME),
        "gzip": growth(gzip.compress, compresslevel=9),
    }
