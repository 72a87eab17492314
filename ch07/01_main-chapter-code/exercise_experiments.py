"""Which choices matter when a model learns to follow instructions?

    python exercise_experiments.py
    python exercise_experiments.py --only usual no-mask alpaca --seeds 3

Every variant starts from the same base, reads the same entries and differs
from "usual" in what its name says. results.json and results.md get a row
for each; what is there already is not run again, so that Ctrl-C loses one
variant at most.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gpt_instruction_finetuning import BASE, RATES, longest_answer
from instruction import (
    InstructionDataset,
    Message,
    add_lora,
    add_special_tokens,
    answers,
    conversations,
    finetune_instructions,
    from_pretrained,
    score,
)
from previous_chapters import GPTModel, count_trained
from scratch_llm.alpaca import Parts, town_parts
from scratch_llm.class_report import percent
from scratch_llm.cli import SEEDS, ShortParser, between, run_script, say
from scratch_llm.files import read_text, write_text
from scratch_llm.instruct_report import scores_in_parts, write_json
from scratch_llm.instructions import Entry

RATE = RATES["all"]
VARIANTS: dict[str, dict] = {
    "usual": {},  # a chat, all weights, answers only, power 0.5
    "no-mask": {"mask_prompt": False},
    "power-0": {"power": 0.0},
    "power-1": {"power": 1.0},
    "alpaca": {"template": "alpaca"},
    "input-first": {"template": "input-first"},
    "system": {"system": "Answer in a few words."},
    "conversations": {"template": "conversations"},
    "lora-4": {"rank": 4},
    "lora-32": {"rank": 32},
    "lr-third": {"lr": RATE / 3},
    "lr-triple": {"lr": RATE * 3},
    "batch-8": {"batch_size": 8},
    "batch-128": {"batch_size": 128},
    "half-twice": {"share": 0.5, "num_epochs": 2},
}
ABOUT = {
    "usual": "chat of one question, all weights, answers only",
    "no-mask": "the instruction is learned, too",
    "power-0": "every token counts alike",
    "power-1": "every answer counts alike",
    "alpaca": "Alpaca's form, no special tokens",
    "input-first": "Alpaca's form, the input before the instruction",
    "system": "a system text before each question",
    "conversations": "as many answers, several in a chat",
    "lora-4": "LoRA of rank 4 and the token table",
    "lora-32": "LoRA of rank 32 and the token table",
    "lr-third": "a third of the learning rate",
    "lr-triple": "three times the learning rate",
    "batch-8": "8 entries per step",
    "batch-128": "128 entries per step",
    "half-twice": "half of the entries, read twice",
}
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("items", int, 8, 10**7, 6000, "entries to train on"),
    ("test-items", int, 2, 10**6, 640, "entries of the test"),
    ("seed", int, 0, SEEDS, 123, "of the first run"),
]


def new_parser() -> ShortParser:
    p = ShortParser(
        prog="exercise_experiments.py", description=__doc__.split("\n")[0]
    )
    p.add_argument("--model", default=BASE, help=f"default {BASE}")
    p.add_argument("--weights", default="gpt2", metavar="FOLDER")
    p.add_argument("--out", default="experiments", metavar="FOLDER")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    p.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto"
    )
    p.add_argument(
        "--only",
        nargs="+",
        choices=VARIANTS,
        default=[*VARIANTS],
        metavar="NAME",
        help=f"some of {', '.join(VARIANTS)}",
    )
    p.add_argument(
        "--seeds", type=between(1), default=1, metavar="N", help="runs each"
    )
    p.add_numbers(NUMBERS)
    return p


def input_first(entries: Sequence[Entry]) -> list[Entry]:
    """The same questions, each after the text that it is about."""
    return [
        replace(
            one,
            instruction=f"{one.input}\n{one.instruction}".lstrip(),
            input="",
        )
        for one in entries
    ]


def run_variant(name: str, seed: int, args: argparse.Namespace) -> dict:
    """Finetune once and test; the row of results.json."""
    how = dict(VARIANTS[name])
    template, system = how.pop("template", ""), how.pop("system", "")
    rank, share = how.pop("rank", None), how.pop("share", 1)
    device = "cpu" if args.force_cpu else args.device
    model, tokenizer = from_pretrained(args.model, device, args.weights)
    if not isinstance(model, GPTModel):
        raise ValueError(f"{args.model} is no GPT: it cannot answer")
    if template not in ("alpaca", "input-first"):
        tokenizer = add_special_tokens(tokenizer, model, seed)
    parts = data_of(args, seed)
    train, validation, test = parts.train, parts.validation, parts.test
    if template == "input-first":
        train, validation, test = map(input_first, (train, validation, test))
    if template == "conversations":
        train = chats(args.items, seed)
    train = train[: max(1, round(share * len(train)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some are too long
        sets = [
            InstructionDataset(
                some, tokenizer, model.cfg["context_length"], system, "skip"
            )
            for some in (train, validation)
        ]
    if rank:
        add_lora(model, rank, 16.0 * rank)
        how = {"lr": RATES["lora"]} | how
    began = time.perf_counter()
    history = finetune_instructions(
        model,
        sets[0],
        validation=sets[1],
        precision=args.precision,
        seed=seed,
        **({"lr": RATE} | how),
    )
    seconds = time.perf_counter() - began
    most = longest_answer(sets[0])
    said = answers(model, tokenizer, test, max_new_tokens=most, system=system)
    found = scores_in_parts(test, said, score)
    kept = (
        "exact_match",
        "exact_match_heldout_phrasings",
        "exact_match_unseen_families",
        "token_f1",
    )
    return {
        "variant": name,
        "seed": seed,
        **{key: found[key] for key in kept},
        "validation_loss": history[-1]["validation"],
        "trained_parameters": count_trained(model),
        "tokens": history[-1]["tokens"],
        "seconds": round(seconds, 2),
        "setting": setting(args),
    }


def chats(n: int, seed: int) -> list[list[Message]]:
    """Conversations with n answers in all, or a few more."""
    some, count = [], 0
    for chat in conversations(n, "train", seed):
        if count >= n:
            break
        count += sum(one["role"] == "assistant" for one in chat)
        some.append(chat)
    return some


def data_of(args: argparse.Namespace, seed: int) -> Parts:
    """The entries of a seed: the same for every variant."""
    n_validation = min(160, args.items)
    return town_parts(args.items, n_validation, args.test_items, seed)


def setting(args: argparse.Namespace) -> dict:
    """What rows must share to stand in one table."""
    keys = ("model", "items", "test_items", "precision")
    return {key: getattr(args, key) for key in keys}


def result_table(rows: Sequence[dict]) -> str:
    """A line of Markdown for each variant: means over its seeds."""
    heads = (
        "variant | what is different | exact match | held-out phrasings | "
        "unseen families | token F1 | validation loss | trained | seconds"
    )
    columns = heads.count("|") + 1
    lines = [f"| {heads} |", "|" + " --- |" * 2 + " ---: |" * (columns - 2)]
    for name in dict.fromkeys(row["variant"] for row in rows):
        some = [row for row in rows if row["variant"] == name]

        def mean(key: str, some: list[dict] = some) -> float | None:
            known = [row[key] for row in some if row[key] is not None]
            return statistics.fmean(known) if known else None

        exact = [row["exact_match"] for row in some]
        spread = ""
        if len(some) > 1:
            spread = f" ± {100 * statistics.stdev(exact):.1f}"
        cells = (
            name,
            ABOUT[name],
            percent(mean("exact_match")) + spread,
            percent(mean("exact_match_heldout_phrasings")),
            percent(mean("exact_match_unseen_families")),
            percent(mean("token_f1")),
            f"{mean('validation_loss'):.3f}",
            f"{mean('trained_parameters'):,.0f}",
            f"{mean('seconds'):.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def read_rows(path: Path, args: argparse.Namespace) -> list[dict]:
    """What an earlier call left; ValueError if it was of another setting."""
    if not path.exists():
        return []
    try:
        rows = json.loads(read_text(path))
        settings = [row["setting"] for row in rows]
        known = {row["variant"] for row in rows} <= {*VARIANTS}
    except (json.JSONDecodeError, KeyError, TypeError):
        settings, known = [], False
    if not known:
        raise ValueError(f"{path} is not of this script: name another --out")
    if any(one != setting(args) for one in settings):
        raise ValueError(
            f"{path} was made with other options ({settings[0]}): give the "
            "same, or name another --out"
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    args = new_parser().parse_args(argv)
    folder = Path(args.out)
    path = folder / "results.json"
    try:
        rows = read_rows(path, args)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(args.seed, args.seed + args.seeds):
            for name in args.only:
                if (name, seed) in {(r["variant"], r["seed"]) for r in rows}:
                    continue
                say(f"{name}, seed {seed}: {ABOUT[name]}")
                rows.append(run_variant(name, seed, args))
                order = [*VARIANTS]
                rows.sort(key=lambda r: (order.index(r["variant"]), r["seed"]))
                write_json(path, rows)
                write_text(folder / "results.md", result_table(rows))
        say(f"\n{result_table(rows)}\nall in {folder}")
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"exercise_experiments.py: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, FloatingPointError) else 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
