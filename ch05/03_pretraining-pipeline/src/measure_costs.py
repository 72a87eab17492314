"""How the cost of training grows with model, context and data.

    python src/measure_costs.py

Measures steps of small models side by side, compares the times with the
formula, and extrapolates with it to models that nobody trains at home.
"""

import statistics
import time

import previous_chapters as pc
import torch
from scratch_llm.cli import ShortParser, between, run_script

FORMULA = "6 (12 L C² + V C + L T C) operations per token"
SIZES = ("n_layers", "emb_dim", "context_length")
CHANGES = [  # what is changed, and how
    ("nothing", {}),
    ("twice the layers", {"n_layers": 2}),
    ("four times the layers", {"n_layers": 4}),
    ("twice the width", {"emb_dim": 2}),
    ("four times the context", {"context_length": 4}),
    ("twice the tokens per step", {"rows": 2}),
]
BASE = {"vocab_size": 512, "context_length": 128, "emb_dim": 192,
        "n_heads": 4, "n_layers": 2, "drop_rate": 0.0, "qkv_bias": False,
        "tie_weights": True}  # fmt: skip


class Step:
    """One training step of a model on tokens drawn at random."""

    def __init__(self, cfg: dict, rows: int):
        torch.manual_seed(0)
        self.model, T = pc.GPTModel(cfg), cfg["context_length"]
        self.optimizer = pc.make_optimizer(self.model)
        self.ids = torch.randint(cfg["vocab_size"], (rows, T))
        self.work = self.ids.numel() * pc.flops_per_token(cfg, T)

    def seconds(self) -> float:
        began = time.perf_counter()
        self.optimizer.zero_grad()
        pc.accumulate_gradients(self.model, [(self.ids, self.ids)])
        self.optimizer.step()
        return time.perf_counter() - began


def measured_table(rounds: int, rows: int = 8) -> tuple[str, float]:
    """Cost of a step as ratios to the base, and the FLOP/s of the base.

    Medians; the models take turns, so that all share the noise.
    """
    steps = []
    for _, by in CHANGES:
        changed = {key: BASE[key] * by.get(key, 1) for key in SIZES}
        steps.append(Step(BASE | changed, rows * by.get("rows", 1)))
    times = [[step.seconds() for step in steps] for _ in range(rounds + 1)]
    medians = [statistics.median(t) for t in zip(*times[1:], strict=True)]
    lines = [
        "| change | formula: work | measured: time |",
        "| --- | ---: | ---: |",
    ]
    for (name, _), step, seconds in zip(CHANGES, steps, medians, strict=True):
        work, time = step.work / steps[0].work, seconds / medians[0]
        lines.append(f"| {name} | x {work:.2f} | x {time:.2f} |")
    return "\n".join(lines), steps[0].work / medians[0]


def paper_table(speed: float, tokens: float = 300e9) -> str:
    """GPT-2's sizes on so many tokens: by formula, never run here."""
    lines = [
        "| model | parameters | operations | on this machine | on 8 GPUs at "
        "400 TFLOP/s each |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for size in pc.GPT2_SIZES:
        cfg = pc.gpt2_config(size, tie_weights=True)
        work = tokens * pc.flops_per_token(cfg, cfg["context_length"])
        lines.append(
            f"| {size} | {pc.parameter_formula(cfg) / 1e6:,.0f} M | "
            f"{work:.1e} | {work / speed / 86_400 / 365:,.0f} years | "
            f"{work / (8 * 400e12) / 86_400:.1f} days |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    p = ShortParser(
        prog="measure_costs.py", description=__doc__.split("\n")[0]
    )
    note = "steps of each model (default 15)"
    p.add_argument("--rounds", type=between(1), default=15, help=note)
    table, speed = measured_table(p.parse_args(argv).rounds)
    print(
        f"The formula: {FORMULA}\n(L layers, C width, T context, V "
        f"vocabulary; forward 2, backward 4)\n\n{table}\n\nThe cost of a "
        "run is this times its tokens. On paper, 300 billion tokens:\n\n"
        f"{paper_table(speed)}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
