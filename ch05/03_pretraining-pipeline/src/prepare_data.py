"""Turn text files of any size into token files for train_gpt.py.

    python src/prepare_data.py books/*.txt --out tokens
    python src/train_gpt.py --data tokens/train.npy

Texts are read piece by piece. <|endoftext|> in a text ends a document, and
so does the end of a file. Writes train.npy, validation.npy (whole
documents, drawn by the seed), and tokenizer.tiktoken.
"""

import argparse
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import previous_chapters as pc
import tiktoken
from pipeline import tokens
from scratch_llm.cli import ShortParser, run_script
from scratch_llm.runs import new_folder

END_OF_TEXT = "<|endoftext|>"
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("vocab-size", int, 257, 2**32, 2048, "tokens of our own tokenizer"),
    ("learn-from", float, 0.001, 1e6, 8.0, "megabytes that it learns from"),
    ("validation", float, 0.0001, 0.9, 0.1, "share of documents held out"),
    ("seed", int, 0, 10**12, 123, "draws the documents held out"),
]


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="prepare_data.py", description=__doc__.split("\n")[0])
    p.add_argument("texts", nargs="+", metavar="FILE", help="UTF-8 texts")
    p.add_argument("--out", required=True, metavar="FOLDER")
    p.add_argument(
        "--tokenizer",
        default="own",
        help="own (default): trained on the first megabytes; gpt2; or a "
        ".tiktoken file of another run",
    )
    p.add_numbers(NUMBERS)
    return p.parse_args(argv)


def all_documents(paths: list[str]) -> Iterator[str | None]:
    """The documents of several files, in pieces, None after each."""
    for path in paths:
        yield from tokens.documents(
            tokens.read_pieces(Path(path)), END_OF_TEXT
        )


def beginning(paths: list[str], characters: float) -> Iterator[str]:
    """Pieces of the documents until so many characters were seen."""
    for piece in filter(None, all_documents(paths)):
        yield piece
        characters -= len(piece)
        if characters <= 0:
            return


def chosen(args: argparse.Namespace, held_out: bool) -> Iterator[str | None]:
    """The documents to train on, or those held out.

    The first document is for training, the second held out, the others as
    the seed draws them: so neither file is empty.
    """
    draw = random.Random(args.seed)
    chances = itertools.chain([1.0, 0.0], iter(draw.random, None))
    chance = next(chances)
    for piece in all_documents(args.texts):
        if (chance < args.validation) == held_out:
            yield piece
        if piece is None:
            chance = next(chances)


def write_all(
    args: argparse.Namespace, folder: Path, tokenizer: tiktoken.Encoding
) -> None:
    """Write both token files, and a line about each."""
    for name, held_out in (("validation.npy", True), ("train.npy", False)):
        n_documents, n_tokens = tokens.write_tokens(
            folder / name, tokenizer, chosen(args, held_out)
        )
        if not n_documents:
            (folder / name).unlink()
            raise ValueError(
                "the texts are fewer than two documents, so none can be held "
                f"out: put {END_OF_TEXT} between them, or give several files"
            )
        print(f"{name}: {n_documents:,} documents, {n_tokens:,} tokens")
    pc.save_tokenizer(folder / "tokenizer.tiktoken", tokenizer)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        learn = beginning(args.texts, args.learn_from * 1e6)
        tokenizer = pc.pick_tokenizer(args.tokenizer, learn, args.vocab_size)
        folder = new_folder(args.out, "tokens")
        write_all(args, folder, tokenizer)
    except (ValueError, OSError) as error:
        print(f"prepare_data.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
