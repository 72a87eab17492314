"""Train a small GPT in minutes: the storyteller, or any UTF-8 text.

    python gpt_train.py                        # stories, about 5 minutes
    python gpt_train.py --data my-book.txt     # your own text

Writes model.safetensors, tokenizer.tiktoken, metrics.json, loss.png and
samples.txt into a run folder. Ctrl-C leaves a loadable checkpoint there.
"""

import argparse
import math
import signal
import sys
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "shared")]
import gpt_files as files  # noqa: E402
import gpt_options  # noqa: E402
import pretraining as pt  # noqa: E402
from previous_chapters import pick_device  # noqa: E402

LENGTH = [  # name, type, lowest, highest, default, what it is
    ("steps", int, 1, math.inf, 9000, "optimizer steps"),
    ("max-minutes", float, 0.01, math.inf, 4.65,
     "fewer steps on slow machines"),
]


def options(argv: list[str] | None) -> argparse.Namespace:
    p = gpt_options.ShortParser(prog="gpt_train.py",
                                description=__doc__.split("\n")[0])
    p.add_argument("--data", metavar="FILE", help="a UTF-8 text to train on")
    p.add_argument("--out", metavar="FOLDER", help="default: runs/NAME-001")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    p.add_argument("--tokenizer", choices=["own", "gpt2"], default="own")
    p.add_argument("--start", choices=["copying", "gpt2"], default="copying",
                   help="how the weights start (section 5.5)")
    p.add_argument("--precision", choices=["auto", "fp32", "bf16"],
                   default="auto", help="auto: what is faster here")
    gpt_options.add_numbers(p, *LENGTH)
    return p.parse_args(argv)


def prepare(args: argparse.Namespace) -> tuple:
    device = pick_device("cpu" if args.force_cpu else args.device)
    common = dict(tokenizer=args.tokenizer, vocab_size=args.vocab_size,
                  batch_size=args.batch_size, seed=args.seed,
                  context_length=args.context_length)
    if args.data is not None:
        task = files.text_task(args.data, **common)
    else:
        from scratch_llm import storyworld
        task = files.story_task(storyworld, **common,
                                held_out=args.eval_stories)
    model = gpt_options.new_model(args, task.tokenizer.n_vocab)
    return task, model.to(device), pt.pick_precision(device, args.precision)


def run(args, folder: Path, task, model, precision: str) -> int:
    plan = pt.Schedule(args.steps, args.rate, args.warmup)
    bar = tqdm(total=args.steps, unit="step", dynamic_ncols=True)
    history, stopped = [], ""
    files.save_tokenizer(folder / "tokenizer.tiktoken", task.tokenizer)
    try:
        for r in pt.train_task(
                model, task, plan, args.eval_every, args.max_minutes,
                args.weight_decay, accumulate=args.accumulate,
                clip=args.clip, precision=precision):
            history.append(r)
            if plan.steps != bar.total:
                files.say(f"{plan.steps:,} steps fit into the time")
                bar.total = plan.steps
            bar.set_postfix_str(f"loss {r['train']:.3f}, rate {r['rate']:.1e}")
            bar.update()
            if r["validation"] is not None:
                files.save_weights(folder, model, task)
                files.say(files.status_line(r, plan.steps, task.floor))
                files.say(files.sample_line(model, task, seed=r["step"]))
    except (KeyboardInterrupt, FloatingPointError) as error:
        stopped = str(error) or "interrupted"
    bar.close()
    return files.finish(folder, model, task, history, precision, vars(args),
                     stopped)


def main(argv: list[str] | None = None) -> int:
    args, folder = options(argv), None
    try:
        task, model, precision = prepare(args)
        folder = files.new_folder(args.out, task.name)
        files.say(files.opening_line(model, task, precision))
        return run(args, folder, task, model, precision)
    except (ValueError, OSError) as error:
        print(f"gpt_train.py: error: {error}", file=sys.stderr)
        return 1 if folder else 2
    except KeyboardInterrupt:
        print(f"stopped at once, {folder} may lack files" if folder else
              "stopped before training, nothing written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    raise SystemExit(gpt_options.run_script(main))
