"""A run on one page: report.md and report.png in its folder.

Curves come from metrics.csv (or from the history in metrics.json, which
gpt_train.py writes), texts from samples.txt. What a run does not have, such
as a floor, a judge or an end, is left out.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scratch_llm.files import atomic, write_text
from scratch_llm.style import COLOURS

Columns = dict[str, list]  # None where nothing was measured


# ---- Reading a run -------------------------------------------------------


def read_log(path: Path) -> list[dict]:
    """The rows of metrics.csv, None where nothing was measured.

    A last row that a crash cut short is left out.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if None not in r.values()]
    return [
        {name: json.loads(text) if text else None for name, text in r.items()}
        for r in rows
    ]


def read_columns(folder: Path, metrics: dict) -> Columns:
    """What was logged, a list per column; ValueError if nothing was."""
    path, columns = folder / "metrics.csv", metrics.get("history", {})
    if path.is_file():
        rows = read_log(path)
        columns = {name: [r[name] for r in rows] for name in (rows or [{}])[0]}
    if not columns:
        raise ValueError(f"{path} holds no step: nothing to report")
    if "tokens_per_second" not in columns:
        pairs = zip(columns["tokens"], columns["seconds"], strict=True)
        columns["tokens_per_second"] = [n / s for n, s in pairs]
    return columns


def known(columns: Columns, name: str) -> tuple[list[float], list[float]]:
    """Millions of tokens and values, where the value was measured."""
    pairs = zip(columns["tokens"], columns.get(name, []), strict=False)
    pairs = [(x / 1e6, y) for x, y in pairs if y is not None]
    return [x for x, _ in pairs], [y for _, y in pairs]


# ---- The picture ---------------------------------------------------------


def draw(columns: Columns, metrics: dict) -> Figure:
    """Four curves over the tokens seen: loss, rate, gradient, speed."""
    figure = Figure(figsize=(7.2, 5.2))
    below = ["lr", "grad_norm", "tokens_per_second"]
    axes = figure.subplot_mosaic([["loss"] * 3, below], height_ratios=[1.6, 1])
    colours = ("ink", "extra", "value")
    titles = ("Learning rate", "Gradient norm", "Tokens per second")
    for name, title, colour in zip(below, titles, colours, strict=True):
        axes[name].plot(*known(columns, name), color=COLOURS[colour], lw=1)
        axes[name].set(title=title)
    for name in ("lr", "tokens_per_second"):
        axes[name].set_ylim(0)
    loss = axes["loss"]
    for name, mark in (("train", "-"), ("validation", "o-")):
        x, y = known(columns, name)
        loss.plot(x, y, mark, ms=3, lw=1, color=COLOURS[name], label=name)
    if floor := metrics.get("floor"):
        loss.axhline(floor, ls="--", color=COLOURS["ink"], label="floor")
    loss.set(title="Loss", ylabel="nats per token", yscale="log")
    loss.yaxis.set(
        minor_locator=LogLocator(subs=(2, 3, 5)), minor_formatter="{x:g}"
    )
    loss.legend()
    for ax in axes.values():
        ax.set_xlabel("tokens seen (millions)")
    return figure


# ---- The page ------------------------------------------------------------


ROWS = (  # key of metrics, label, how it is written
    ("parameters", "parameters", "{:,}"),
    ("device", "device", "{}"),
    ("hardware", "machine", "{}"),
    ("threads", "threads", "{}"),
    ("torch", "torch", "{}"),
    ("precision", "precision", "{}"),
    ("seed", "seed", "{}"),
    ("steps", "steps", "{:,}"),
    ("tokens_seen", "tokens seen", "{:,}"),
    ("seconds", "time", "{:,.0f} s"),
    ("tokens_per_second", "speed", "{:,.0f} tokens/s"),
    ("utilisation", "share of the measured matmul peak", "{:.1%}"),
    ("val_loss", "validation loss", "{:.4f} nats per token"),
    ("best_step", "step of these weights, the best", "{:,}"),
    ("perplexity", "perplexity", "{:.3f}"),
    ("bits_per_byte", "bits per byte", "{:.4f}"),
    ("xz_bits_per_byte", "bits per byte of xz", "{:.4f}"),
    ("gzip_bits_per_byte", "bits per byte of gzip", "{:.4f}"),
    ("floor", "entropy floor, the lowest possible loss", "{:.4f}"),
    ("ratio", "validation loss / floor", "{:.4f}"),
    ("valid_stories", "sampled stories that are wholly valid", "{:.1%}"),
    ("calibrated_by", "calibrated by (1 is: nothing to do)", "{:g}"),
)


def facts(columns: Columns, metrics: dict) -> dict:
    """Metrics, completed from the log where a run did not get that far."""
    logged = {
        "steps": "step",
        "tokens_seen": "tokens",
        "seconds": "seconds",
        "val_loss": "validation",
        "bits_per_byte": "bits_per_byte",
    }
    found = {
        key: values[-1]
        for key, name in logged.items()
        if (values := known(columns, name)[1])
    }
    found |= {k: v for k, v in metrics.items() if v is not None}
    if "val_loss" in found:
        found["perplexity"] = math.exp(min(found["val_loss"], 700))
    return found


def status(metrics: dict) -> str:
    """Whether the run came to its end."""
    if not metrics:
        return "**Not finished**: the run has no final metrics yet."
    why = metrics["stopped"]
    return f"**Stopped**: {why}." if why else "Finished."


def settings(metrics: dict) -> str:
    """Configuration and options, but for where the run lies."""
    told = {key: dict(metrics.get(key, {})) for key in ("config", "options")}
    told["options"].pop("out", None)
    return f"```json\n{json.dumps(told, indent=1)}\n```"


def first_samples(folder: Path, n: int = 3) -> str:
    """The first samples of a run, each with its verdict."""
    path = folder / "samples.txt"
    text = path.read_text("utf-8") if path.is_file() else "none was written"
    shown = text.split("\n--- sample ")[:n]
    return "```text\n" + "\n--- sample ".join(shown).strip() + "\n```"


def page(folder: Path, columns: Columns, metrics: dict) -> str:
    """The whole report.md."""
    found = facts(columns, metrics)
    table = [
        f"| {label} | {form.format(found[key])} |"
        for key, label, form in ROWS
        if key in found
    ]
    parts = [
        f"# {folder.resolve().name}",
        status(metrics),
        "![Loss, learning rate, gradient norm and speed over the tokens "
        "seen](report.png)",
        "## Result",
        "\n".join(["| | |", "| --- | --- |", *table]),
        "## Samples",
        first_samples(folder),
        "## Configuration",
        settings(metrics),
    ]
    return "\n\n".join(parts) + "\n"


def write_report(folder: Path) -> list[Path]:
    """Write report.md and report.png into a run folder; their paths.

    ValueError if no step was logged, and then nothing is written.
    """
    path, metrics = folder / "metrics.json", {}
    if path.is_file():
        metrics = json.loads(path.read_text("utf-8"))
    columns = read_columns(folder, metrics)
    paths = [folder / "report.md", folder / "report.png"]
    with matplotlib.style.context("scratch_llm.scratch"):
        figure = draw(columns, metrics)
        with atomic(paths[1]) as temporary:
            figure.savefig(temporary, format="png")
    write_text(paths[0], page(folder, columns, metrics))
    return paths
