"""Turn text files of any size into token files for train_gpt.py.

    python src/prepare_data.py books/*.txt --out tokens
    python src/train_gpt.py --data tokens/train.bin

Texts are read piece by piece. <|endoftext|> in a text ends a document, and
so does the end of a file. Writes train.bin, validation.bin (whole
documents, drawn by the seed), their headers, and tokenizer.tiktoken.
"""

import argparse
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE),
                str(HERE.parents[1] / "01_main-chapter-code")]
import gpt_files as files  # noqa: E402
import gpt_options  # noqa: E402
import tokens  # noqa: E402

END_OF_TEXT = "<|endoftext|>"


def options(argv: list[str] | None) -> argparse.Namespace:
    p = gpt_options.ShortParser(prog="prepare_data.py",
                                description=__doc__.split("\n")[0])
    p.add_argument("texts", nargs="+", metavar="FILE", help="UTF-8 texts")
    p.add_argument("--out", required=True, metavar="FOLDER")
    p.add_argument("--tokenizer", default="own", help="own (default): "
                   "trained on the first megabytes; gpt2; or a .tiktoken "
                   "file of another run")
    p.add_argument("--vocab-size", type=gpt_options.between(257), default=2048,
                   help="tokens of our own tokenizer (default 2048)")
    p.add_argument("--learn-from", type=gpt_options.between(0.001, kind=float),
                   default=8.0, metavar="MB",
                   help="text that our tokenizer learns from (default 8)")
    p.add_argument("--validation", default=0.1,
                   type=gpt_options.between(0.0001, 0.9, float),
                   help="share of documents (default 0.1)")
    p.add_argument("--seed", type=gpt_options.between(0), default=123)
    return p.parse_args(argv)


def all_documents(paths: list[str]) -> Iterator[str | None]:
    """The documents of several files, in pieces, None after each."""
    for path in paths:
        yield from tokens.documents(tokens.read_pieces(Path(path)),
                                    END_OF_TEXT)


def beginning(paths: list[str], characters: float) -> Iterator[str]:
    """Pieces of the documents until so many characters were seen."""
    seen = 0
    for piece in filter(None, all_documents(paths)):
        yield piece
        if (seen := seen + len(piece)) >= characters:
            return


def pick_tokenizer(args: argparse.Namespace) -> Any:
    """The tokenizer that --tokenizer names; ValueError if there is none."""
    if args.tokenizer.endswith(".tiktoken"):
        if not Path(args.tokenizer).is_file():
            raise ValueError(f"{args.tokenizer} does not exist")
    elif args.tokenizer not in ("own", "gpt2"):
        raise ValueError(f"--tokenizer {args.tokenizer}: own, gpt2 or a "
                         ".tiktoken file")
    learn = beginning(args.texts, args.learn_from * 1e6)
    return files.pick_tokenizer(args.tokenizer, learn, args.vocab_size)


def require_two(paths: list[str]) -> None:
    """ValueError unless there is a document to hold out."""
    ends = (piece for piece in all_documents(paths) if piece is None)
    if len(list(itertools.islice(ends, 2))) < 2:
        raise ValueError("the texts are fewer than two documents, so none "
                         f"can be held out: put {END_OF_TEXT} between them, "
                         "or give several files")


def write_all(args: argparse.Namespace, folder: Path, tokenizer: Any
              ) -> list[dict]:
    """Write both token files; their headers.

    The first document is for training, the second held out, the others as
    the seed draws them: so neither file is empty.
    """
    draw, name = random.Random(args.seed), "tokenizer.tiktoken"
    chances = itertools.chain([1.0, 0.0], iter(draw.random, None))
    with (tokens.TokenWriter(folder / "train.bin", tokenizer, name) as train,
          tokens.TokenWriter(folder / "validation.bin", tokenizer, name
                             ) as held_out):
        to = None
        for piece in all_documents(args.texts):
            if to is None:
                to = held_out if next(chances) < args.validation else train
                to.new_document()
            if piece is None:
                to = None
            else:
                to.add(tokenizer.encode_ordinary(piece))
    files.save_tokenizer(folder / name, tokenizer)
    return [train.header, held_out.header]


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        require_two(args.texts)
        tokenizer = pick_tokenizer(args)
        folder = files.new_folder(args.out, "tokens")
        headers = write_all(args, folder, tokenizer)
    except (ValueError, OSError) as error:
        print(f"prepare_data.py: error: {error}", file=sys.stderr)
        return 2
    for name, header in zip(("train", "validation"), headers, strict=True):
        print(f"{folder / name}.bin: {header['documents']:,} documents, "
              f"{header['tokens']:,} tokens of {header['dtype']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(gpt_options.run_script(main))
