"""Turn texts of any size into token files for train_gpt.py.

    python src/prepare_data.py books/*.txt --out tokens
    python src/prepare_data.py tinystories --megabytes 500 --out tokens
    python src/train_gpt.py --data tokens/train.npy

Texts are read once, piece by piece: files, packed or not, and downloads, of
which nothing but the tokens is stored. <|endoftext|> in a text ends a
document, and so does the end of a file or of a line of JSON. Writes
train.npy, validation.npy (whole documents, drawn by the seed), and
tokenizer.tiktoken.
"""

import argparse
import itertools
import math
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import previous_chapters as pc
import tiktoken
from pipeline import tokens
from scratch_llm import streams
from scratch_llm.cli import ShortParser, run_script
from scratch_llm.download import CORPORA
from scratch_llm.runs import new_folder
from tqdm import tqdm

NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("vocab-size", int, 257, 2**32, 2048, "tokens of our own tokenizer"),
    ("learn-from", float, 0.001, 1e6, 8.0, "megabytes that it learns from"),
    ("megabytes", float, 0.001, 1e12, None, "stop after so much text"),
    ("validation", float, 0.0001, 0.9, 0.1, "share of documents held out"),
    ("seed", int, 0, 10**12, 123, "draws the documents held out"),
]
Pieces = Iterator[str | None]  # of documents, None at the end of each


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="prepare_data.py", description=__doc__.split("\n")[0])
    p.add_argument(
        "texts",
        nargs="+",
        metavar="TEXT",
        help="UTF-8 text or JSON lines: a file, also packed (.gz, .bz2, .xz, "
        f".tar), an address, or one of {', '.join(CORPORA)}",
    )
    p.add_argument("--out", required=True, metavar="FOLDER")
    p.add_argument(
        "--tokenizer",
        default="own",
        help="own (default): trained on the first megabytes; gpt2; or a "
        ".tiktoken file of another run",
    )
    p.add_numbers(NUMBERS)
    return p.parse_args(argv)


def read_all(args: argparse.Namespace) -> Pieces:
    """The documents of all texts, as far as --megabytes goes."""
    left = (args.megabytes or math.inf) * 1e6
    with tqdm(unit="B", unit_scale=True, desc="text") as bar:
        for source in args.texts:
            for piece in streams.all_documents(source, streams.END_OF_TEXT):
                yield piece
                left -= len(piece or "")
                bar.update(len(piece or ""))
                if piece is None and left <= 0:
                    return


def beginning(pieces: Pieces, characters: float) -> list[str | None]:
    """The first pieces, until so many characters were seen."""
    first = []
    for piece in pieces:
        first.append(piece)
        characters -= len(piece or "")
        if characters <= 0:
            break
    return first


def write_all(
    args: argparse.Namespace,
    folder: Path,
    tokenizer: tiktoken.Encoding,
    pieces: Iterable[str | None],
) -> None:
    """Write both token files, and a line about each.

    The first document is for training, the second held out, the others as
    the seed draws them: so neither file is empty.
    """
    draw = random.Random(args.seed)
    chances = itertools.chain([1.0, 0.0], iter(draw.random, None))
    with (
        tokens.TokenFile(folder / "validation.npy", tokenizer) as held_out,
        tokens.TokenFile(folder / "train.npy", tokenizer) as train,
    ):
        chance = next(chances)
        for piece in pieces:
            file = held_out if chance < args.validation else train
            file.write(piece)
            if piece is None:
                chance = next(chances)
        if not held_out.n_documents:
            raise ValueError(
                "the texts are fewer than two documents, so none can be held "
                f"out: put {streams.END_OF_TEXT} between them, or give "
                "several files"
            )
    for file in (held_out, train):
        print(
            f"{file.path.name}: {file.n_documents:,} documents, "
            f"{file.n_tokens:,} tokens"
        )
    pc.save_tokenizer(folder / "tokenizer.tiktoken", tokenizer)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        pieces, first = read_all(args), []
        if args.tokenizer == "own":
            first = beginning(pieces, args.learn_from * 1e6)
        tokenizer = pc.pick_tokenizer(
            args.tokenizer, filter(None, first), args.vocab_size
        )
        folder = new_folder(args.out, "tokens")
        write_all(args, folder, tokenizer, itertools.chain(first, pieces))
    except (ValueError, OSError) as error:
        print(f"prepare_data.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
