"""How the cost of training grows with model, context and data.

    python src/measure_costs.py

Measures steps of small models side by side, compares the times with the
formula, and extrapolates with it to models that nobody trains at home.
"""

import argparse
import statistics
import time

import previous_chapters as pc
import torch
from scratch_llm.cli import ShortParser, between, run_script

FORMULA = "6 (12 L C² + V C + L T C) operations per token"
CHANGES = [  # what is changed, and how
    ("nothing", {}),
    ("twice the layers", {"n_layers": 2}),
    ("four times the layers", {"n_layers": 4}),
    ("twice the width", {"emb_dim": 2}),
    ("four times the context", {"context_length": 4}),
    ("twice the tokens per step", {"rows": 2}),
]
TARGETS = [("124M", 300e9), ("355M", 300e9), ("774M", 300e9), ("1558M", 300e9)]


def base(tiny: bool) -> dict:
    """The model that is changed; rows of text per step with it."""
    return {
        "vocab_size": 512,
        "context_length": 32 if tiny else 128,
        "emb_dim": 32 if tiny else 192,
        "n_heads": 4,
        "n_layers": 2,
        "drop_rate": 0.0,
        "qkv_bias": False,
        "tie_weights": True,
        "rows": 4 if tiny else 8,
    }


def changed(cfg: dict, factors: dict) -> dict:
    return cfg | {key: cfg[key] * by for key, by in factors.items()}


class Step:
    """One training step of a model on tokens drawn at random."""

    def __init__(self, cfg: dict):
        cfg, self.rows = dict(cfg), cfg["rows"]
        del cfg["rows"]
        torch.manual_seed(0)
        self.cfg, self.model = cfg, pc.GPTModel(cfg)
        self.optimizer = pc.make_optimizer(self.model)
        shape = (self.rows, cfg["context_length"])
        self.ids = torch.randint(cfg["vocab_size"], shape)
        self.tokens = self.ids.numel()

    def seconds(self) -> float:
        began = time.perf_counter()
        self.optimizer.zero_grad()
        pc.batch_loss(self.model, self.ids, self.ids).backward()
        self.optimizer.step()
        return time.perf_counter() - began

    def work(self) -> float:
        """Operations of a step, by the formula."""
        length = self.cfg["context_length"]
        return self.tokens * pc.flops_per_token(self.cfg, length)


def measure(steps: list[Step], rounds: int) -> list[float]:
    """Median seconds of each, taken in turn, so that all share the noise."""
    times = [[step.seconds() for step in steps] for _ in range(rounds + 1)]
    return [
        statistics.median(column) for column in zip(*times[1:], strict=True)
    ]


def measured_table(cfg: dict, rounds: int) -> tuple[str, float]:
    """Cost of a step as ratios to the base, and the FLOP/s of the base."""
    steps = [Step(changed(cfg, factors)) for _, factors in CHANGES]
    times = measure(steps, rounds)
    lines = [
        "| change | formula: work | measured: time |",
        "| --- | ---: | ---: |",
    ]
    for (name, _), step, seconds in zip(CHANGES, steps, times, strict=True):
        lines.append(
            f"| {name} | x {step.work() / steps[0].work():.2f} | "
            f"x {seconds / times[0]:.2f} |"
        )
    return "\n".join(lines), steps[0].work() / times[0]


def paper_table(speed: float) -> str:
    """GPT-2's sizes on 300 billion tokens: by formula, never run here."""
    lines = [
        "| model | parameters | operations | on this machine | on 8 "
        "GPUs at 400 TFLOP/s each |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for size, tokens in TARGETS:
        cfg = pc.gpt2_config(size, tie_weights=True)
        work = tokens * pc.flops_per_token(cfg, cfg["context_length"])
        years = work / speed / 86_400 / 365
        lines.append(
            f"| {size} | {pc.parameter_formula(cfg) / 1e6:,.0f} M | "
            f"{work:.1e} | {years:,.0f} years | "
            f"{work / (8 * 400e12) / 86_400:.1f} days |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    p = ShortParser(
        prog="measure_costs.py", description=__doc__.split("\n")[0]
    )
    p.add_argument(
        "--rounds",
        type=between(1),
        default=15,
        help="steps of each model (default 15)",
    )
    p.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    args = p.parse_args(argv)
    table, speed = measured_table(
        base(args.tiny), 2 if args.tiny else args.rounds
    )
    print(
        f"The formula: {FORMULA}\n(L layers, C width, T context, V "
        f"vocabulary; forward 2, backward 4)\n\n{table}\n\nThe cost of a "
        "run is this times its tokens. On paper, 300 billion tokens:\n\n"
        f"{paper_table(speed)}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
