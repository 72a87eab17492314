"""Train a classifier in many variations, and make a table of them.

    python additional_experiments.py --out mine.json        # all, 3 seeds
    python additional_experiments.py --only base head --out mine.json
    python additional_experiments.py --list                 # their names

Each run is written to the file as soon as it is done. What stands there is
not run again, so the same command goes on after Ctrl-C.
"""

import argparse
import json
import platform
import signal
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from previous_chapters import pick_device, pick_precision
from scratch_llm.cli import ShortParser, run_script, say
from scratch_llm.files import write_text
from scratch_llm.runs import hardware
from scratch_llm.text import text_table
from variations import BASE, VARIATIONS, prepare_bench, run_variation

NAME = "additional_experiments.py"
TITLES = "variation", "runs", "accuracy", "from", "to", "CPU s", "trained"
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("seeds", int, 1, 1000, 3, "runs of each variation"),
    ("items", int, 200, 10**6, 8000, "notes to train on"),
    ("test", int, 40, 10**6, 1000, "notes to test on"),
]


def new_parser() -> ShortParser:
    p = ShortParser(prog=NAME, description=__doc__.split("\n")[0])
    p.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="these variations (default: all)",
    )
    p.add_argument("--list", action="store_true", help="name them, and leave")
    p.add_argument("--out", default="results.json", metavar="FILE")
    p.add_numbers(NUMBERS)
    return p


def changes(name: str) -> str:
    """What a variation changes, in words."""
    pairs = (
        (key, f"{value:.2g}" if key == "lr" else value)
        for key, value in VARIATIONS[name].items()
    )
    return ", ".join(f"{key} {value}" for key, value in pairs) or "nothing"


def chosen(only: list[str] | None) -> list[str]:
    """The variations to run, in the order of the table; ValueError."""
    for name in only or ():
        if name not in VARIATIONS:
            raise ValueError(
                f"--only {name}: no such variation. There are "
                f"{', '.join(VARIATIONS)}"
            )
    return [name for name in VARIATIONS if not only or name in only]


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What all runs of one file have in common."""
    base = {k: list(v) if isinstance(v, tuple) else v for k, v in BASE.items()}
    return {"items": args.items, "test": args.test, "base": base}


def read_results(path: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The file of an earlier call, or None; ValueError if it does not fit."""
    try:
        results = json.loads(path.read_text("utf-8"))
        done = {(row["name"], row["seed"]) for row in results["rows"]}
        found = results["settings"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{path} is no file of results: name another with --out"
        ) from None
    for key in wanted:
        if found.get(key) != wanted[key]:
            raise ValueError(
                f"the {len(done)} runs in {path} have {key} "
                f"{found.get(key)}, not {wanted[key]}: name another file "
                "with --out"
            )
    return results


def start(args: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Results of an earlier call, or new ones that can be written here."""
    wanted = settings(args)
    if results := read_results(path, wanted):
        return results
    if not path.parent.is_dir():
        raise ValueError(
            f"--out {path}: there is no folder {path.parent}: make it first"
        )
    words = sys.argv[1:] if sys.argv[0].endswith(NAME) else []
    device = pick_device()
    results = {
        "command": " ".join(["python", NAME, *words]),
        "machine": hardware(device),
        "precision": pick_precision(device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "settings": wanted,
        "rows": [],
    }
    save(path, results)
    return results


def save(path: Path, results: dict[str, Any]) -> None:
    """Write the results, a run on each line, in the order of the table."""
    order = list(VARIATIONS)
    rows = sorted(
        results["rows"],
        key=lambda row: (
            order.index(row["name"]) if row["name"] in order else len(order),
            row["seed"],
        ),
    )
    head = json.dumps({**results, "rows": []}, indent=1)
    lines = ",\n  ".join(map(json.dumps, rows))
    text = head.replace('"rows": []', f'"rows": [\n  {lines}\n ]')
    write_text(path, f"{text}\n")


def run_all(names: list[str], args: argparse.Namespace, path: Path) -> int:
    """Run what is missing, a seed of every variation first; how many failed.

    The file is read again after each run, so two calls that divide the
    variations between them (--only) may share it.
    """
    results = start(args, path)
    have = {(row["name"], row["seed"]) for row in results["rows"]}
    todo = [
        (name, seed)
        for seed in range(args.seeds)
        for name in names
        if (name, seed) not in have
    ]
    say(f"{len(todo)} of {len(names) * args.seeds} runs to do")
    bench = prepare_bench(args.items, args.test) if todo else None
    failed = 0
    for n, (name, seed) in enumerate(todo, 1):
        try:
            row = run_variation(name, bench, seed, results["precision"])
        except FloatingPointError as error:
            print(f"{NAME}: {name}, seed {seed}: {error}", file=sys.stderr)
            failed += 1
            continue
        results = read_results(path, results["settings"]) or results
        results["rows"].append(row)
        save(path, results)
        say(
            f"{n}/{len(todo)} {name}, seed {seed}: accuracy "
            f"{row['accuracy']:.3f} after {row['cpu_seconds']:.0f} CPU s"
        )
    return failed


def table(rows: list[dict], names: list[str]) -> str:
    """Accuracy with its lowest and highest value, seconds, parameters."""
    lines = [TITLES]
    for name in names:
        if some := [row for row in rows if row["name"] == name]:
            right = [row["accuracy"] for row in some]
            cpu = fmean(row["cpu_seconds"] for row in some)
            numbers = (fmean(right), min(right), max(right))
            shown = (f"{x:.3f}" for x in numbers)
            trained = f"{some[0]['trained']:,}"
            lines.append((name, len(some), *shown, f"{cpu:.0f}", trained))
    return text_table(lines)


def main(argv: list[str] | None = None) -> int:
    args = new_parser().parse_args(argv)
    path, failed = Path(args.out), 0
    try:
        names = chosen(args.only)
        if args.list:
            print(text_table((name, changes(name)) for name in names))
            return 0
        failed = run_all(names, args, path)
    except (ValueError, OSError) as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"{NAME}: stopped; {path} keeps what is done, and the same "
            "command goes on",
            file=sys.stderr,
        )
        return 130
    print(table(json.loads(path.read_text("utf-8"))["rows"], names))
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise SystemExit(run_script(main))
