"""The command line of train_gpt.py, and what a resumed run may change."""

import argparse
import os
from math import inf

import gpt_options

NUMBERS = [  # beside those of gpt_options; of the same form
    ("steps", int, 1, inf, None, "optimizer steps (default 9000)"),
    ("epochs", float, 1e-9, 1e9, None, "times through the data (stories: "
     "2048 new ones each); --steps goes first"),
    ("cooldown", float, 0, 1, 0.2, "share of the steps that wsd decays"),
    ("checkpoint-every", int, 1, inf, 1000, "steps between checkpoints"),
    ("keep", int, 1, inf, 3, "how many of them stay"),
]
CHOICES = [  # name, choices, default, what it is
    ("tokenizer", ["own", "gpt2"], "own", "of stories and texts"),
    ("start", ["copying", "gpt2"], "copying",
     "how the weights start (section 5.5)"),
    ("schedule", ["cosine", "wsd"], "cosine",
     "wsd: warm-up, stable, decay; it can be prolonged"),
    ("precision", ["auto", "fp32", "bf16", "fp16"], "auto",
     "auto: what is faster here"),
    ("documents", ["cross", "inside"], "cross",
     "token files: may a window hold parts of several documents?"),
    ("parallel", ["none", "ddp", "fsdp"], "none",
     "how the processes of torchrun share the work"),
]
# These change what is written, not what is learned.
HARMLESS = {"out", "resume", "log", "checkpoint_every", "keep", "samples",
            "eval_every", "steps"}   # steps: see build.prolonged


WORDS = [  # name, default, what it is
    ("data", "stories", "stories (default), a UTF-8 .txt, or a token file "
     ".bin of prepare_data.py"),
    ("out", None, "the run's folder (default: runs/NAME-001)"),
    ("resume", None, "go on with a run, exactly: its folder or one of its "
     "checkpoints; its options need not be repeated"),
    ("start-from", None, "begin with the weights, the shape, the dropout "
     "and the tokenizer of a finished run: its folder, or storyteller"),
    ("device", None, "cpu, cuda or mps (default: the best)"),
    ("log", "csv", "csv, tensorboard, wandb: several with commas"),
]
FLAGS = [
    ("force-cpu", "train on the CPU"),
    ("checkpointing", "recompute activations: less memory, a third more "
     "work"),
    ("compile", "torch.compile the model and the loss"),
]


def parser() -> gpt_options.ShortParser:
    """The command line; processes is how many torchrun has started."""
    p = gpt_options.ShortParser(prog="train_gpt.py", allow_abbrev=False,
                                description="Pretrain a GPT: see README.md.")
    for name, default, text in WORDS:
        p.add_argument(f"--{name}", default=default, help=text,
                       metavar=name.upper())
    for name, text in FLAGS:
        p.add_argument(f"--{name}", action="store_true", help=text)
    for name, choices, default, text in CHOICES:
        p.add_argument(f"--{name}", choices=choices, default=default,
                       help=f"{text} (default {default})")
    gpt_options.add_numbers(p, *NUMBERS)
    p.set_defaults(processes=int(os.environ.get("WORLD_SIZE", 1)))
    return p


def changes(stored: dict, given: dict) -> list[str]:
    """The options that would change the result, with both values."""
    return [f"--{name.replace('_', '-')} (was {stored[name]}, now "
            f"{given[name]})" for name in stored
            if name not in HARMLESS and stored[name] != given.get(name)]


def check_resumed(stored: dict, args: argparse.Namespace) -> None:
    """ValueError, naming them, if options differ from those of the run."""
    if args.out is not None:
        raise ValueError("--resume goes on in the run's own folder: leave "
                         "--out away")
    if stored["processes"] != args.processes:
        n = stored["processes"]
        how = (f"with torchrun --nproc-per-node {n}" if n > 1
               else "without torchrun")
        raise ValueError(f"the run has processes: {n}, this is one of "
                         f"{args.processes}: resume it {how}")
    if different := changes(stored, vars(args)):
        raise ValueError("a resumed run keeps its options, but these "
                         f"differ: {', '.join(different)}")
