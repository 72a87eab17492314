"""Train a small GPT in minutes: the storyteller, or any UTF-8 text.

    python gpt_train.py                        # stories, about 5 minutes
    python gpt_train.py --data my-book.txt     # your own text

Writes model.safetensors, tokenizer.tiktoken, metrics.json, loss.png and
samples.txt into a run folder. Ctrl-C leaves a loadable checkpoint there.
"""
import argparse
import json
import signal
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "shared")]
import pretraining as pt  # noqa: E402
from previous_chapters import (  # noqa: E402
    GPTModel,
    OneLineParser,
    pick_device,
)


def options(argv: list[str] | None) -> argparse.Namespace:
    whole, real = pt.between, lambda lo, hi=1e9: pt.between(lo, hi, float)
    p = OneLineParser(description=__doc__.split("\n")[0])
    for flag, kind, default, text in [
            ("--data", str, None, "train on this UTF-8 text file instead"),
            ("--vocab-size", whole(257), 1024, "tokens of our own tokenizer"),
            ("--context-length", whole(2), 256, "longest text in tokens"),
            ("--layers", whole(1), 4, "transformer blocks"),
            ("--heads", whole(1), 6, "attention heads"),
            ("--width", whole(1), 192, "channels of the embedding"),
            ("--dropout", real(0, 0.99), 0.0, "dropout rate"),
            ("--steps", whole(1), 2400, "optimizer steps"),
            ("--max-minutes", real(0.01), 4.8, "fewer steps if they do not "
             "fit into this time"),
            ("--batch-size", whole(1), 24, "texts per batch"),
            ("--accumulate", whole(1), 1, "batches per step"),
            ("--rate", real(0), 3e-3, "peak learning rate"),
            ("--warmup", whole(0), 100, "steps until the peak"),
            ("--weight-decay", real(0), 0.1, "for matrices only"),
            ("--clip", real(1e-6), 1.0, "largest gradient norm"),
            ("--eval-every", whole(1), 200, "steps between evaluations"),
            ("--eval-stories", whole(1), 500, "held-out stories"),
            ("--samples", whole(1), 200, "texts to sample and judge"),
            ("--seed", whole(0), 123, "of weights, stories and samples"),
            ("--device", str, None, "cpu, cuda, mps (default: the best)"),
            ("--out", str, None, "run folder (default: runs/NAME-001, ...)")]:
        p.add_argument(flag, type=kind, default=default,
                       help=f"{text} (default {default})"
                       if default is not None else text)
    p.add_argument("--tokenizer", choices=["own", "gpt2"], default="own")
    p.add_argument("--precision", choices=["auto", "fp32", "bf16"],
                   default="auto")
    p.add_argument("--force-cpu", action="store_true")
    return p.parse_args(argv)


def open_task(args: argparse.Namespace) -> pt.Task:
    common = dict(tokenizer=args.tokenizer, vocab_size=args.vocab_size,
                  batch_size=args.batch_size, seed=args.seed,
                  context_length=args.context_length)
    if args.data is not None:
        return pt.text_task(args.data, **common)
    import storyworld
    return pt.story_task(storyworld, held_out=args.eval_stories, **common)


def make_model(args: argparse.Namespace, task: pt.Task) -> GPTModel:
    torch.manual_seed(args.seed)
    return GPTModel({
        "vocab_size": task.tokenizer.n_vocab, "emb_dim": args.width,
        "context_length": args.context_length, "n_heads": args.heads,
        "n_layers": args.layers, "drop_rate": args.dropout,
        "qkv_bias": False, "tie_weights": True})


def run(args, folder: Path, task: pt.Task, model: GPTModel,
        precision: str) -> int:
    history, interrupted = [], False
    pt.save_tokenizer(folder / "tokenizer.tiktoken", task.tokenizer)
    plan = pt.Schedule(args.steps, args.rate, args.warmup)
    bar = tqdm(total=args.steps, unit="step", dynamic_ncols=True)
    try:
        for r in pt.train_task(
                model, task, plan, every=args.eval_every, say=bar.write,
                minutes=args.max_minutes, accumulate=args.accumulate,
                weight_decay=args.weight_decay, clip=args.clip,
                precision=precision):
            history.append(r)
            bar.total = plan.steps
            bar.set_postfix(loss=f"{r['train']:.3f}", rate=f"{r['rate']:.1e}",
                            refresh=False)
            bar.update()
            if r["validation"] is not None:
                pt.save_model(folder / "model.safetensors", model)
                bar.write(pt.sample_line(model, task, seed=r["step"]))
    except KeyboardInterrupt:
        interrupted = True
    except FloatingPointError as error:
        bar.write(f"stopped: {error}; try a lower --rate", file=sys.stderr)
        interrupted = True
    bar.close()
    pt.save_model(folder / "model.safetensors", model)
    metrics = pt.run_metrics(model, task, history, precision, args.seed)
    metrics |= {"interrupted": interrupted, "options": vars(args)}
    if not interrupted:
        pt.judge_run(folder, model, task, metrics, args.samples)
    pt.save_metrics(folder, metrics, history)
    print(pt.closing_line(folder, metrics))
    return 130 if interrupted else 0


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        device = pick_device("cpu" if args.force_cpu else args.device)
        precision = pt.pick_precision(device, args.precision)
        task = open_task(args)
        model = make_model(args, task).to(device)
        folder = pt.new_folder(args.out, task.name)
    except (ValueError, OSError) as error:
        print(f"gpt_train.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped before training: nothing written", file=sys.stderr)
        return 130
    print(pt.opening_line(model, task, precision), flush=True)
    return run(args, folder, task, model, precision)


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    raise SystemExit(main())
