"""Instruction data out of JSON files: read, checked, split.

    read_items("my-data.json")      a list of objects, or one a line (.jsonl)
    load_parts("my-data.json", check_entry, split_entries)

What is wrong with a file is a ValueError of one line that says what to do.
An entry that cannot be used is left out, kept with the reason, and told.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scratch_llm.files import read_text
from scratch_llm.instructions import FAMILIES, Entry, entries, normalise

PARTS = ("train", "validation", "test")


@dataclass
class Parts:
    """Entries to learn from, to choose by and to be tested on.

    left_out: what cannot be used, each {"entry": its number, "why": ...,
    "item": as it stands in the file}.
    """

    train: list[Entry]
    validation: list[Entry]
    test: list[Entry]
    name: str
    left_out: list[dict] = field(default_factory=list)

    def sizes(self) -> dict[str, int]:
        return {part: len(getattr(self, part)) for part in PARTS}


def town_parts(n: int, n_validation: int, n_test: int, seed: int) -> Parts:
    """Entries about the town; half of the test has held-out phrasings."""
    unseen = n_test // 2
    test = entries(n_test - unseen, "test", seed)
    test += entries(unseen, "test", seed, held_out=True)
    return Parts(
        entries(n, "train", seed),
        entries(n_validation, "validation", seed),
        test,
        "town",
    )


def read_items(path: str | Path) -> list[Any]:
    """The list in a JSON file, or the lines of a .jsonl; ValueError if none.

    A file whose name does not end in .jsonl but that has an object a line
    is read as well.
    """
    text = read_text(path)
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        items = _lines(text)
        if items is None:
            raise ValueError(
                f"{path} is not JSON: line {error.lineno}, column "
                f"{error.colno}: {error.msg}"
            ) from None
    except RecursionError:
        raise ValueError(f"{path}: too many brackets in each other") from None
    if isinstance(items, dict) and str(path).endswith(".jsonl"):
        items = [items]
    if not isinstance(items, list) or not items:
        raise ValueError(
            f"{path} is no list of entries: it must be [{{...}}, ...], each "
            "with instruction, input and output"
        )
    return items


def _lines(text: str) -> list[Any] | None:
    """An object from each line, None if they are not all objects."""
    try:
        items = [json.loads(line) for line in text.splitlines() if line]
    except (json.JSONDecodeError, RecursionError):
        return None
    return items if all(isinstance(item, dict) for item in items) else None


def load_parts(
    path: str | Path,
    check: Callable[[Any, str], Entry],
    split: Callable[[Sequence[Entry]], Sequence[list[Entry]]],
) -> Parts:
    """A file's entries, in the parts that it names itself, or split.

    check: from an item, and where it stands, to an Entry, or ValueError.
    split: from entries to the three parts. The file decides if every entry
    has "split": train, validation or test. What the test asks is never
    learned. ValueError if a part is empty.
    """
    items, good, left_out = read_items(path), [], []
    for number, item in enumerate(items, 1):
        try:
            good.append((item, check(item, f"{path}, entry {number}")))
        except (ValueError, TypeError) as error:
            why = str(error)
            left_out.append({"entry": number, "why": why, "item": item})
    if not good:
        raise ValueError(f"no entry can be used: {left_out[0]['why']}")
    if left_out:
        warnings.warn(
            f"{len(left_out)} of {len(items)} entries cannot be used and are "
            f"left out: {left_out[0]['why']}",
            stacklevel=2,
        )
    marks = [str(item.get("split")) for item, _ in good]
    if set(marks) == set(PARTS):
        parts: dict[str, list[Entry]] = {part: [] for part in PARTS}
        for mark, (_, entry) in zip(marks, good, strict=True):
            parts[mark].append(entry)
    else:
        some = split([entry for _, entry in good])
        parts = dict(zip(PARTS, some, strict=True))
        if gone := len(good) - sum(map(len, some)):
            warnings.warn(
                f"{path}: entries that repeat another are read once: {gone}",
                stacklevel=2,
            )
    _drop_shared(parts)
    for part in PARTS:
        if not parts[part]:
            raise ValueError(
                f"{path}: {len(good)} entries leave none for the {part} "
                "part: give more, at least 20 that differ"
            )
    stem = re.sub(r"[^\w-]+", "-", Path(path).stem).strip("-") or "data"
    return Parts(**parts, name=stem, left_out=left_out)


def _key(entry: Entry) -> tuple[str, str]:
    return normalise(entry.instruction), normalise(entry.input)


def _drop_shared(parts: dict[str, list[Entry]]) -> None:
    """What the test asks may not be learned, whatever the file says."""
    asked = {_key(entry) for entry in parts["test"]}
    for part in ("train", "validation"):
        kept = [one for one in parts[part] if _key(one) not in asked]
        if gone := len(parts[part]) - len(kept):
            warnings.warn(
                f"entries of the {part} part that stand in the test as well, "
                f"and are not learned: {gone}",
                stacklevel=3,
            )
        parts[part] = kept


def known_families(some: Sequence[Entry]) -> bool:
    """Whether all entries are of families of the town's question book."""
    return all(entry.family in FAMILIES for entry in some)
