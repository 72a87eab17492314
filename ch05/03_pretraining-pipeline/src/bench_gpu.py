"""Tokens per second of training GPT-2, and how far that is from the limit.

    python src/bench_gpu.py                       # 124M, context 1024
    python src/bench_gpu.py --config tiny --force-cpu --no-compile

Prints a Markdown table. The limit is the best rate of a square matrix
product, measured in the same process just before.
"""

import argparse
import math
import sys
import time
from itertools import repeat
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE), str(ROOT / "ch05" / "01_main-chapter-code")]
import build  # noqa: E402
import gpt_options  # noqa: E402
import pretraining as pt  # noqa: E402
import trainer  # noqa: E402
from previous_chapters import (  # noqa: E402
    GPT2_SIZES,
    GPTModel,
    count_parameters,
    gpt2_config,
)
from schedules import Plan  # noqa: E402

TINY = {"vocab_size": 300, "context_length": 32, "emb_dim": 32, "n_heads": 2,
        "n_layers": 2, "drop_rate": 0.0, "qkv_bias": False,
        "tie_weights": True}


def options(argv: list[str] | None) -> argparse.Namespace:
    p = gpt_options.ShortParser(prog="bench_gpu.py",
                                description=__doc__.split("\n")[0])
    p.add_argument("--config", choices=[*GPT2_SIZES, "tiny"], default="124M")
    p.add_argument("--precision", choices=["bf16", "fp16", "fp32"],
                   default="bf16")
    for name, default, text in (
            ("batch-size", 16, "texts per batch"),
            ("accumulate", 1, "batches per step"),
            ("steps", 30, "steps that are timed"),
            ("cpu-steps", 2, "steps of one text on the CPU")):
        p.add_argument(f"--{name}", type=gpt_options.between(1),
                       default=default, help=f"{text} (default {default})")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    p.add_argument("--no-compile", action="store_true",
                   help="without torch.compile")
    return p.parse_args(argv)


def new_trainer(cfg: dict, device: torch.device, precision: str,
                batch_size: int, accumulate: int, compiled: bool
                ) -> trainer.Trainer:
    """A trainer on one batch of random tokens, again and again."""
    torch.manual_seed(123)
    model = GPTModel(cfg).to(device)
    ids = torch.randint(cfg["vocab_size"],
                        (batch_size, cfg["context_length"] + 1))
    batch = (ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    task = pt.Task("random", None, repeat(batch), [])
    t = trainer.Trainer(model, model, pt.make_optimizer(model), task,
                        Plan(10**9, 1e-4, 10), precision=precision,
                        accumulate=accumulate)
    if compiled:
        build.compile_all(t)
    return t


def tokens_per_second(t: trainer.Trainer, steps: int) -> float:
    """Of whole steps, after three that compile and warm up."""
    batches = [next(t.task.batches)] * t.accumulate
    for _ in range(3):
        trainer.take_step(t, batches)
    began = time.perf_counter()          # take_step waits for the device
    tokens = sum(trainer.take_step(t, batches)["graded"]
                 for _ in range(steps))
    return tokens / (time.perf_counter() - began)


def peak_memory(device: torch.device) -> float:
    """Bytes: of the GPU, or of this process; nan where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:                  # Windows
        return math.nan
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1 if sys.platform == "darwin" else 1024)


def in_flops(speed: float) -> str:
    """A speed in FLOP/s, in a unit that leaves digits before the point."""
    return (f"{speed / 1e12:,.2f} TFLOP/s" if speed >= 1e12
            else f"{speed / 1e9:,.1f} GFLOP/s")


def device_name(device: torch.device) -> str:
    return (torch.cuda.get_device_name(device) if device.type == "cuda"
            else f"{device.type} ({torch.get_num_threads()} threads)")


def compare(args: argparse.Namespace, device: torch.device) -> list[tuple]:
    """The rows of the table: what was measured, and its value."""
    cfg = TINY if args.config == "tiny" else gpt2_config(
        args.config, tie_weights=True, drop_rate=0.0)
    peak = build.matmul_peak(device, args.precision)
    t = new_trainer(cfg, device, args.precision, args.batch_size,
                    args.accumulate, not args.no_compile)
    fast = tokens_per_second(t, args.steps)
    peak = max(peak, build.matmul_peak(device, args.precision))
    work = fast * pt.flops_per_token(cfg, cfg["context_length"])
    return [
        ("device", device_name(device)),
        ("parameters", f"{count_parameters(t.model):,}"),
        ("context, batch", f"{cfg['context_length']}, {args.batch_size} x "
         f"{args.accumulate}"),
        ("precision, compiled", f"{args.precision}, {not args.no_compile}"),
        ("tokens/s", f"{fast:,.0f}"),
        ("matmul peak, measured", in_flops(peak)),
        ("share of the matmul peak (MFU)", f"{work / peak:.1%}"),
        ("peak memory", f"{peak_memory(device) / 2**30:,.2f} GiB"),
        *over_the_cpu(cfg, device, fast, args.cpu_steps)]


def over_the_cpu(cfg: dict, device: torch.device, fast: float, steps: int
                 ) -> list[tuple]:
    """The row that compares with this machine's CPU, if it is not that."""
    if device.type == "cpu":
        return []
    cpu = torch.device("cpu")
    slow = tokens_per_second(new_trainer(
        cfg, cpu, pt.pick_precision(cpu), 1, 1, False), steps)
    return [("speed-up over this machine's CPU", f"x {fast / slow:,.1f}")]


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        device = build.pick_device_here(args)
    except ValueError as error:
        print(f"bench_gpu.py: error: {error}", file=sys.stderr)
        return 2
    if device.type == "cpu" and not args.force_cpu:
        print("bench_gpu.py: error: there is no GPU here; --force-cpu "
              "measures the CPU", file=sys.stderr)
        return 2
    print(f"| GPT-2 {args.config} | |\n| --- | --- |")
    for name, value in compare(args, device):
        print(f"| {name} | {value} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(gpt_options.run_script(main))
