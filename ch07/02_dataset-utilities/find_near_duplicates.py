"""Find entries that say almost the same, in any file of Alpaca's form.

    python find_near_duplicates.py data.json
    python find_near_duplicates.py data.json --out clean.json
    python find_near_duplicates.py test.json --against train.json

Two texts are as similar as the share of their pieces that both have (their
Jaccard similarity): 1 if they are equal, 0 if they share nothing. Every pair
that is similar enough is found, without comparing each with each.
"""

import argparse
import json
import math
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from previous_chapters import load_entries
from scratch_llm.cli import ShortParser, between, run_script
from scratch_llm.files import write_text

NAME = "find_near_duplicates.py"
FIELDS = ("instruction", "input", "output")


@dataclass(frozen=True, order=True)
class Pair:
    """Two similar texts, by their numbers; a stands before b."""

    a: int
    b: int
    similarity: float


def normalise(text: str) -> str:
    """Small letters; signs and white space are one space each."""
    return " ".join(re.findall(r"\w+", text.lower()))


def shingles(text: str, n: int = 5) -> frozenset[str]:
    """All pieces of n letters of a text; a shorter text is one piece.

    Source: Broder 1997, "On the resemblance and containment of documents".
    """
    text = normalise(text)
    return frozenset(text[i : i + n] for i in range(max(1, len(text) - n + 1)))


def jaccard(a: frozenset, b: frozenset) -> float:
    """The share of the pieces of two texts that both have."""
    return len(a & b) / len(a | b) if a or b else 1.0


def similar_pairs(
    sets: Sequence[frozenset], threshold: float, first: int = 0
) -> list[Pair]:
    """Every pair of sets with at least this Jaccard similarity, in order.

    first: only pairs of one of the first so many sets and one of the others;
    0: all pairs. ValueError if the threshold is not in (0, 1].

    Two sets of which the larger has n pieces must share at least threshold x
    n. So if each writes its pieces down with the rarest first, one of their
    first n - threshold x n + 1 is the same: only sets that share one of
    these are compared. Source: Chaudhuri et al. 2006, Bayardo et al. 2007.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold}: not in (0, 1]")
    times = Counter(piece for one in sets for piece in one)
    seen: dict[Any, list[int]] = defaultdict(list)  # piece: earlier sets
    pairs = []
    for b in sorted(range(len(sets)), key=lambda i: (len(sets[i]), i)):
        ranked = sorted(sets[b], key=lambda piece: (times[piece], piece))
        needed = math.ceil(threshold * len(ranked) - 1e-9)
        prefix = ranked[: len(ranked) - needed + 1]
        candidates = {a for piece in prefix for a in seen[piece]}
        for a in candidates:
            if first and (a < first) == (b < first):
                continue
            similarity = jaccard(sets[a], sets[b])
            if similarity >= threshold:
                pairs.append(Pair(min(a, b), max(a, b), similarity))
        for piece in prefix:
            seen[piece].append(b)
    return sorted(pairs)


def repeats(pairs: Sequence[Pair]) -> list[int]:
    """What may go: each that is similar to an earlier one that stays."""
    gone: set[int] = set()
    for pair in sorted(pairs, key=lambda pair: (pair.b, pair.a)):
        if pair.a not in gone:
            gone.add(pair.b)
    return sorted(gone)


# ---- Files ---------------------------------------------------------------


def read_items(path: str) -> list[dict]:
    """The entries of a file with all their fields; ValueError if wrong."""
    load_entries(path)  # says what is wrong, and where
    return json.loads(Path(path).read_text("utf-8-sig"))


def text_of(item: dict, fields: Sequence[str]) -> str:
    return "\n".join(item.get(name) or "" for name in fields)


def show_pairs(
    pairs: list[Pair], texts: list[str], names: list[str], most: int
) -> Iterator[str]:
    """The most similar pairs as lines: first those that are equal."""
    for pair in sorted(pairs, key=lambda pair: -pair.similarity)[:most]:
        same = normalise(texts[pair.a]) == normalise(texts[pair.b])
        yield "same" if same else f"{pair.similarity:.3f}"
        for i in (pair.a, pair.b):
            yield f"  {names[i]}: {' '.join(texts[i].split())[:120]}"


def find(args: argparse.Namespace) -> None:
    """Read, compare, report, and write what is asked for."""
    items = read_items(args.file)
    names = [f"entry {i}" for i in range(1, len(items) + 1)]
    others = read_items(args.against) if args.against else []
    names = [f"{args.against}, {i}" for i in range(1, len(others) + 1)] + names
    texts = [text_of(item, args.fields) for item in [*others, *items]]
    sets = [shingles(text, args.letters) for text in texts]
    pairs = similar_pairs(sets, args.threshold, len(others))
    equal = sum(
        normalise(texts[pair.a]) == normalise(texts[pair.b]) for pair in pairs
    )
    gone = {i - len(others) for i in repeats(pairs)}
    for line in show_pairs(pairs, texts, names, args.show):
        print(line)
    if len(pairs) > args.show:
        print(f"... and {len(pairs) - args.show:,} more (--show, --pairs)")
    where = f" and {args.against} ({len(others):,})" if others else ""
    print(
        f"{args.file} ({len(items):,} entries){where}: {len(pairs):,} pairs "
        f"with a similarity of {args.threshold:g} or more, {equal:,} of them "
        f"the same; without {len(gone):,} entries there would be none"
    )
    if args.pairs:
        rows = [
            {
                "similarity": round(pair.similarity, 4),
                "first": names[pair.a],
                "second": names[pair.b],
                "texts": [texts[pair.a], texts[pair.b]],
            }
            for pair in pairs
        ]
        write_json(args.pairs, rows)
        print(f"{args.pairs}: {len(rows):,} pairs")
    if args.out:
        kept = [one for i, one in enumerate(items) if i not in gone]
        write_json(args.out, kept)
        print(f"{args.out}: {len(kept):,} entries are left")


def write_json(path: str, data: list) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False)
    write_text(path, text.encode("utf-8", "replace").decode() + "\n")


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(
        prog=NAME,
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    p.add_argument("file", help="JSON list of entries")
    p.add_argument(
        "--against",
        metavar="FILE",
        help="find what of FILE stands in the first file: nothing else",
    )
    p.add_argument(
        "--fields",
        nargs="+",
        choices=FIELDS,
        default=list(FIELDS),
        help="what of an entry is compared (default: all three)",
    )
    p.add_argument(
        "--threshold",
        type=between(0.05, 1, float),
        default=0.85,
        help="least similarity of a pair (default 0.85)",
    )
    p.add_argument(
        "--letters",
        type=between(1),
        default=5,
        metavar="N",
        help="length of the pieces (default 5)",
    )
    p.add_argument(
        "--show",
        type=between(0),
        default=5,
        metavar="N",
        help="how many pairs are printed (default 5)",
    )
    p.add_argument("--pairs", metavar="FILE", help="write all pairs there")
    p.add_argument(
        "--out", metavar="FILE", help="write what is left without repeats"
    )
    return p.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        find(args)
    except (ValueError, OSError) as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
