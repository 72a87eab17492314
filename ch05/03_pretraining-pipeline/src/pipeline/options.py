"""The command line of train_gpt.py, and what a resumed run may change."""

import argparse
import os
from math import inf

from scratch_llm.cli import TRAINING, ShortParser

NUMBERS = [  # beside those of TRAINING; of the same form
    ("steps", int, 1, inf, None, "optimizer steps (default 9000)"),
    ("epochs", float, 1e-9, 1e9, None, "times through the data (stories: "
     "2048 new ones each); --steps goes first"),
    ("cooldown", float, 0, 1, 0.2, "share of the steps that wsd decays"),
    ("checkpoint-every", int, 1, inf, 1000, "steps between checkpoints"),
    ("keep", int, 1, inf, 3, "how many of them stay"),
]  # fmt: skip
CHOICES = [  # name, choices (the first is the default), what it is
    ("tokenizer", "own gpt2", "of stories and texts"),
    ("init", "copying gpt2", "how the weights start (section 5.7)"),
    ("schedule", "cosine wsd", "wsd: warm-up, stable, decay; can be longer"),
    ("precision", "auto fp32 bf16 fp16", "auto: what is faster here"),
    ("documents", "cross inside", "token files: may a window hold parts of "
     "several documents?"),
    ("parallel", "none ddp fsdp", "how processes of torchrun share the work"),
]  # fmt: skip
WORDS = [  # name, default, what it is
    ("data", "stories", "stories (default), a UTF-8 .txt, a token file .npy "
     "of prepare_data.py, or python: the English that every Python carries"),
    ("out", None, "the run's folder (default: runs/NAME-001)"),
    ("resume", None, "go on with a run, exactly: its folder or one of its "
     "checkpoints; its options need not be repeated"),
    ("init-from", None, "begin with the weights, the shape, the dropout and "
     "the tokenizer of a finished run: its folder, or storyteller"),
    ("device", None, "cpu, cuda or mps (default: the best)"),
    ("log", "csv", "csv, tensorboard, wandb: several with commas"),
]  # fmt: skip
FLAGS = [
    ("force-cpu", "train on the CPU"),
    ("checkpointing", "recompute activations: less memory, more work"),
    ("compile", "torch.compile the model and the loss"),
]
# These change what is written, not what is learned; steps: see build.
HARMLESS = set("out resume log checkpoint_every keep samples eval_every "
               "steps".split())  # fmt: skip


def parser() -> ShortParser:
    """The command line; processes is how many torchrun has started."""
    p = ShortParser(
        prog="train_gpt.py",
        allow_abbrev=False,
        description="Pretrain a GPT: see README.md.",
    )
    for name, default, text in WORDS:
        p.add_argument(
            f"--{name}", default=default, help=text, metavar=name.upper()
        )
    for name, text in FLAGS:
        p.add_argument(f"--{name}", action="store_true", help=text)
    for name, words, text in CHOICES:
        first, *_ = choices = words.split()
        text += f" (default {first})"
        p.add_argument(f"--{name}", choices=choices, default=first, help=text)
    p.add_numbers(NUMBERS + TRAINING)
    p.set_defaults(processes=int(os.environ.get("WORLD_SIZE", 1)))
    return p


def parse(
    argv: list[str] | None, stored: dict | None = None
) -> argparse.Namespace:
    """The options of a run, or those stored of one, changed by argv."""
    p = parser()
    now = {"out": None, "processes": p.get_default("processes")}
    p.set_defaults(**(stored or {}) | now)
    return p.parse_args(argv)


def check_resumed(stored: dict, args: argparse.Namespace) -> None:
    """ValueError, naming them, if options differ from those of the run."""
    if args.out is not None:
        raise ValueError(
            "--resume goes on in the run's own folder: leave --out away"
        )
    if stored["processes"] != args.processes:
        n = stored["processes"]
        raise ValueError(
            f"the run has processes: {n}, this is one of {args.processes}: "
            f"resume it with torchrun --nproc-per-node {n}"
        )
    if different := [
        f"--{name.replace('_', '-')} (was {was}, now {getattr(args, name)})"
        for name, was in stored.items()
        if name not in HARMLESS and was != getattr(args, name)
    ]:
        raise ValueError(
            "a resumed run keeps its options, but these differ: "
            + ", ".join(different)
        )
