"""Train a small GPT in minutes: the storyteller, or any UTF-8 text.

    python gpt_train.py                        # stories, about 5 minutes
    python gpt_train.py --data my-book.txt     # your own text
    python gpt_train.py --data python          # the English in every Python
    python gpt_train.py --data tinystories     # the beginning of a download

Writes model.safetensors, tokenizer.tiktoken, metrics.json, loss.png and
samples.txt into a run folder. Ctrl-C leaves a loadable checkpoint there.
"""

import argparse
import math
import signal
import sys
from pathlib import Path

import torch
from pretraining import (
    Schedule,
    Task,
    bits_per_byte,
    finish_run,
    new_model,
    pick_precision,
    sample_texts,
    save_model,
    save_tokenizer,
    story_task,
    text_task,
    train_task,
)
from previous_chapters import GPTModel, count_parameters, pick_device
from scratch_llm import storyworld
from scratch_llm.cli import TRAINING, ShortParser, run_script, say
from scratch_llm.corpora import python_english, settings_for
from scratch_llm.runs import new_folder, sample_line, status_line
from tqdm import tqdm

LENGTH = [  # name, type, lowest, highest, default, what it is
    ("steps", int, 1, math.inf, 9000, "optimizer steps"),
    ("epochs", float, 1e-9, 1e9, None, "most passes through a text"),
    ("max-minutes", float, 0.01, math.inf, 4.65, "fewer steps if need be"),
    ("megabytes", float, 0.001, 1e6, 10.0, "of a text, its beginning"),
]


def new_parser() -> ShortParser:
    p = ShortParser(prog="gpt_train.py", description=__doc__.split("\n")[0])
    p.add_argument(
        "--data",
        metavar="TEXT",
        help="a UTF-8 text or JSON lines: a file, also packed, an address, or "
        "a corpus (tinystories, openwebtext, c4); python: the English in "
        "every Python",
    )
    p.add_argument("--out", metavar="FOLDER", help="default: runs/NAME-001")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    p.add_argument("--tokenizer", choices=["own", "gpt2"], default="own")
    p.add_argument(
        "--init",
        choices=["copying", "gpt2"],
        default="copying",
        help="how the weights start (section 5.7)",
    )
    p.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16"],
        default="auto",
        help="auto: what is faster here",
    )
    p.add_numbers(LENGTH + TRAINING)
    return p


def read(args: argparse.Namespace) -> str | None:
    """The text that --data names, None for stories; ValueError, OSError."""
    if args.data in (None, "python"):
        return args.data and python_english()
    from scratch_llm import streams  # and with it all that downloads need

    text, whole = streams.beginning(args.data, args.megabytes)
    if not whole:
        say(
            f"{args.data}: its first {args.megabytes:g} megabytes. For more "
            "than fits into memory see 03_pretraining-pipeline"
        )
    return text


def prepare(
    args: argparse.Namespace, text: str | None
) -> tuple[Task, GPTModel, str]:
    """The task, a fresh model and the precision of a run."""
    device = pick_device("cpu" if args.force_cpu else args.device)
    names = "tokenizer vocab_size batch_size context_length seed".split()
    common = {name: getattr(args, name) for name in names}
    if text is None:
        task = story_task(storyworld, held_out=args.eval_stories, **common)
    else:
        task = text_task(text, Path(args.data).stem, **common)
        most = math.ceil(args.epochs * task.epoch / args.accumulate)
        args.steps = min(args.steps, most)
        args.warmup = min(args.warmup, args.steps // 5)
        args.eval_every = min(args.eval_every, args.steps // 8 + 1)
    names = "layers heads width context_length dropout init seed".split()
    shape = {name: getattr(args, name) for name in names}
    model = new_model(task.tokenizer.n_vocab, **shape)
    return task, model.to(device), pick_precision(device, args.precision)


def fit(schedule: Schedule, record: dict, args: argparse.Namespace) -> None:
    """Fewer steps where the machine is slow: the rate must still reach 0."""
    step, pace = record["step"], record["seconds"] / record["step"]
    fits = int(max(step + 1, min(args.steps, 60 * args.max_minutes / pace)))
    if step % 40 == 0 and abs(fits / schedule.steps - 1) > 0.04:
        if schedule.steps == args.steps:  # said once; the bar follows
            say(f"about {fits:,} steps fit into {args.max_minutes:g} minutes")
        schedule.steps = fits


def run(
    args: argparse.Namespace,
    folder: Path,
    task: Task,
    model: GPTModel,
    precision: str,
) -> int:
    """Train, keep the best weights and finish; the exit code."""
    schedule = Schedule(args.steps, args.lr, args.warmup)
    bar = tqdm(total=args.steps, unit="step", dynamic_ncols=True)
    history, stopped, best = [], "", math.inf
    save_tokenizer(folder / "tokenizer.tiktoken", task.tokenizer)
    try:
        for r in train_task(
            model,
            task,
            schedule,
            args.eval_every,
            args.weight_decay,
            accumulate=args.accumulate,
            clip=args.clip,
            precision=precision,
        ):
            history.append(r)
            fit(schedule, r, args)
            bar.total = schedule.steps
            bar.set_postfix_str(f"loss {r['train']:.3f}, lr {r['lr']:.1e}")
            bar.update()
            if r["validation"] is None:
                continue
            if r["validation"] < best:
                best = r["validation"]
                save_model(folder / "model.safetensors", model, task.prefix)
            line = status_line(r, schedule.steps, task.floor)
            if task.rivals:
                bits = bits_per_byte(r["validation"], task)
                line += f", {bits:.3f} bits per byte"
            say(line)
            length = args.context_length - 1
            text = sample_texts(
                model, task.tokenizer, 1, r["step"], max_new_tokens=length
            )[0]
            say(sample_line(text, task.parse))
    except (KeyboardInterrupt, FloatingPointError) as error:
        stopped = str(error) or "interrupted"
    bar.close()
    return finish_run(
        folder, model, task, history, precision, vars(args), stopped
    )


def opening_line(model: GPTModel, task: Task, precision: str) -> str:
    """What is about to be trained, on what, in one line."""
    device = next(model.parameters()).device
    goal = f", entropy floor {task.floor:.4f}" if task.floor else ""
    for name, bits in (task.rivals or {}).items():
        goal += f", {name} {bits:.3f} bits per byte"
    return (
        f"{task.name}: {count_parameters(model):,} parameters on {device} in "
        f"{precision} ({torch.get_num_threads()} threads), vocabulary "
        f"{task.tokenizer.n_vocab:,}{goal}"
    )


def main(argv: list[str] | None = None) -> int:
    parser, text, folder = new_parser(), None, None
    args = parser.parse_args(argv)
    try:
        if (text := read(args)) is not None:
            parser.set_defaults(**settings_for(len(text.encode())))
            args = parser.parse_args(argv)
        task, model, precision = prepare(args, text)
        folder = new_folder(args.out, task.name)
        say(opening_line(model, task, precision))
        return run(args, folder, task, model, precision)
    except (ValueError, OSError) as error:
        print(f"gpt_train.py: error: {error}", file=sys.stderr)
        return 1 if folder else 2
    except KeyboardInterrupt:
        print(
            f"stopped at once, {folder} may lack files"
            if folder
            else "stopped before training, nothing written",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    raise SystemExit(run_script(main))
