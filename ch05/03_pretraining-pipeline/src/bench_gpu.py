"""Tokens per second of training GPT-2, and how far that is from the limit.

    python src/bench_gpu.py                       # 124M, context 1024
    python src/bench_gpu.py --pad-vocab 128       # 50,304 rows, not 50,257
    python src/bench_gpu.py --config tiny --force-cpu --no-compile

Prints a Markdown table. The limit is the best rate of a square matrix
product, measured in the same process.
"""

import argparse
import itertools
import math
import sys
import time

import previous_chapters as pc
import torch
from pipeline import build
from pipeline.trainer import Trainer
from scratch_llm.cli import ShortParser, run_script
from scratch_llm.runs import hardware

TINY = {"vocab_size": 300, "context_length": 32, "emb_dim": 32, "n_heads": 2,
        "n_layers": 2, "drop_rate": 0.0, "qkv_bias": False,
        "tie_weights": True}  # fmt: skip
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("batch-size", int, 1, math.inf, 16, "texts per step"),
    ("pad-vocab", int, 1, math.inf, 1, "rows of the vocabulary, rounded up "
     "to a multiple of this: matrix units like powers of 2"),
    ("steps", int, 1, math.inf, 30, "steps that are timed"),
]  # fmt: skip


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="bench_gpu.py", description=__doc__.split("\n")[0])
    for name, *choices in (
        ("config", *pc.GPT2_SIZES, "tiny"),
        ("precision", "bf16", "fp16", "fp32"),
    ):
        p.add_argument(f"--{name}", choices=choices, default=choices[0])
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    p.add_argument("--no-compile", action="store_true")
    p.add_numbers(NUMBERS)
    return p.parse_args(argv)


def model_config(args: argparse.Namespace) -> dict:
    """The shape of the model, its vocabulary rounded up as asked for."""
    cfg = TINY
    if args.config != "tiny":
        cfg = pc.gpt2_config(args.config, tie_weights=True, drop_rate=0.0)
    rows = math.ceil(cfg["vocab_size"] / args.pad_vocab) * args.pad_vocab
    return cfg | {"vocab_size": rows}


def tokens_per_second(
    cfg: dict, device: torch.device, precision: str, batch_size: int,
    steps: int, compiled: bool,
) -> float:  # fmt: skip
    """Of the pipeline's steps on random tokens, after three to warm up."""
    torch.manual_seed(123)
    ids = torch.randint(
        cfg["vocab_size"], (batch_size, cfg["context_length"] + 1)
    )
    batch = (ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    task = pc.Task("random", None, itertools.repeat(batch), [])
    model, schedule = pc.GPTModel(cfg).to(device), pc.Schedule(10**9, 1e-4, 9)
    t = Trainer(model, model, task, schedule, precision=precision)
    if compiled:
        t.compile()
    records = t.steps()
    list(itertools.islice(records, 3))
    began = time.perf_counter()  # a step waits for the device
    n_targets = sum(r["n_targets"] for r in itertools.islice(records, steps))
    return n_targets / (time.perf_counter() - began)


def measure(args: argparse.Namespace, device: torch.device) -> dict[str, str]:
    """The rows of the table."""
    cfg, compiled = model_config(args), not args.no_compile
    peak = build.matmul_peak(device, args.precision)
    fast = tokens_per_second(
        cfg, device, args.precision, args.batch_size, args.steps, compiled
    )
    peak = max(peak, build.matmul_peak(device, args.precision))
    work = fast * pc.flops_per_token(cfg, cfg["context_length"])
    rows = {
        "device": hardware(device),
        "parameters": f"{pc.parameter_formula(cfg):,}",
        "vocabulary": f"{cfg['vocab_size']:,}",
        "context, batch": f"{cfg['context_length']}, {args.batch_size}",
        "precision, compiled": f"{args.precision}, {compiled}",
        "tokens/s": f"{fast:,.0f}",
        "matmul peak, measured": f"{peak / 1e12:,.3g} TFLOP/s",
        "share of the matmul peak (MFU)": f"{work / peak:.1%}",
    }
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
        rows["peak memory"] = f"{memory / 2**30:,.2f} GiB"
    if device.type != "cpu":
        cpu = torch.device("cpu")
        slow = tokens_per_second(cfg, cpu, pc.pick_precision(cpu), 1, 2, False)
        rows["speed-up over this machine's CPU"] = f"x {fast / slow:,.0f}"
    return rows


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        device = build.pick_device(args)
        if device.type == "cpu" and not args.force_cpu:
            raise ValueError(
                "there is no GPU here; --force-cpu measures the CPU"
            )
    except ValueError as error:
        print(f"bench_gpu.py: error: {error}", file=sys.stderr)
        return 2
    print(f"| GPT-2 {args.config} | |\n| --- | --- |")
    for name, value in measure(args, device).items():
        print(f"| {name} | {value} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
