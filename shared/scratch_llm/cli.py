"""Command lines: numbers in bounds, errors in a line, training's options."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tqdm import tqdm

SEEDS = 10**12  # numbers made of a seed must fit into 64 bits

TRAINING = [  # name, type, lowest, highest, default, what it is
    ("vocab-size", int, 257, math.inf, 2048, "tokens of our own tokenizer"),
    ("context-length", int, 2, math.inf, 256, "longest text in tokens"),
    ("layers", int, 1, math.inf, 2, "transformer blocks"),
    ("heads", int, 1, math.inf, 4, "attention heads"),
    ("width", int, 1, math.inf, 256, "channels of the embedding"),
    ("dropout", float, 0, 0.99, 0.0, "share of numbers zeroed"),
    ("batch-size", int, 1, math.inf, 8, "texts per batch"),
    ("accumulate", int, 1, math.inf, 1, "batches per step"),
    ("lr", float, 0, math.inf, 1.7e-3, "highest learning rate"),
    ("warmup", int, 0, math.inf, 100, "steps until the highest rate"),
    ("weight-decay", float, 0, math.inf, 0.01, "of matrices"),
    ("clip", float, 1e-9, math.inf, 1.0, "longest gradient"),
    ("eval-every", int, 1, math.inf, 1000, "steps between evaluations"),
    ("eval-stories", int, 1, math.inf, 500, "held-out stories"),
    ("samples", int, 1, math.inf, 200, "texts to sample at the end"),
    ("seed", int, 0, SEEDS, 123, "of weights, data and samples"),
]
RENAMED = {
    "--rate": "--lr",
    "--start": "--init",
    "--start-from": "--init-from",
}


class ShortParser(argparse.ArgumentParser):
    """Says what is wrong in one line and leaves with exit code 2."""

    def error(self, message: str) -> None:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            word = unknown.split()[0].split("=")[0]
            if near := get_close_matches(word, self._option_string_actions):
                message += f"; did you mean {near[0]}?"
        self.exit(2, f"{self.prog}: error: {message}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        for word in sys.argv[1:] if args is None else args:
            old = word.split("=")[0]
            known = self._option_string_actions
            if old not in known and RENAMED.get(old) in known:
                self.error(f"{old} is now called {RENAMED[old]}")
        return super().parse_known_args(args, namespace)

    def add_numbers(self, rows: list[tuple]) -> None:
        """Options with bounds, from rows like those of TRAINING."""
        for name, kind, low, high, default, text in rows:
            note = "" if default is None else f" (default {default})"
            self.add_argument(
                f"--{name}",
                type=between(low, high, kind),
                default=default,
                metavar="N",
                help=f"{text}{note}",
            )


def between(
    low: float, high: float = math.inf, kind: type = int
) -> Callable[[str], Any]:
    """An argparse type: a number of this kind from low to high."""
    name = "a whole number" if kind is int else "a number"
    upper = "" if high == math.inf else f" and <= {high:g}"

    def convert(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            raise argparse.ArgumentTypeError(
                f"must be {name} >= {low:g}{upper}, got {text}"
            )
        return value

    return convert


def run_script(main: Callable[[], int]) -> int:
    """The exit code of main; Ctrl-C and full memory are told in one line.

    Letters that the console cannot show are no error.
    """
    name = Path(sys.argv[0]).name
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    try:
        return main()
    except KeyboardInterrupt:
        print(f"{name}: stopped", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError) as error:
        if not any(s in str(error) for s in ("out of memory", "allocate")):
            raise
        print(
            f"{name}: error: not enough memory: take a smaller model, "
            "context or batch",
            file=sys.stderr,
        )
        return 1


def say(line: str) -> None:
    """Print a line above a progress bar, as long as somebody reads it."""
    try:
        tqdm.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()


def nobody_reads() -> None:
    """Whoever read our output has gone: let the rest of it go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
