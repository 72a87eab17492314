"""A run on one page: report.md and report.png in its folder.

Curves come from metrics.csv (or from the history in metrics.json, which
gpt_train.py writes), texts from samples.txt. What a run does not have, such
as a floor, a judge or an end, is left out.
"""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scratch_llm.files import atomic, write_text
from scratch_llm.style import COLOURS

NEEDED = {"tokens", "seconds", "train", "validation", "lr", "grad_norm"}
Columns = dict[str, list[float]]  # nan where nothing was measured


# ---- Reading a run -------------------------------------------------------


def read_metrics(path: Path) -> dict:
    """metrics.json, empty if there is none; ValueError if it is damaged."""
    try:
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): move it away, the report needs "
            "only metrics.csv"
        ) from None
    return found


def read_columns(folder: Path, metrics: dict) -> Columns:
    """What was logged at each step, a list per column, nan for nothing.

    A last row that a crash cut short is left out. ValueError without any.
    """
    path, lists = folder / "metrics.csv", metrics.get("history", {})
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as file:
            names, *rows = [*csv.reader(file)] or [[]]
        rows = [row for row in rows if len(row) == len(names)]
        lists = dict(zip(names, zip(*rows, strict=True), strict=False))
    try:
        columns = {
            name: [math.nan if v in ("", None) else float(v) for v in values]
            for name, values in lists.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not columns.get("step"):
        raise ValueError(f"{path} holds no step: nothing to report")
    if missing := sorted(NEEDED - columns.keys()):
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: it is of an earlier version"
        )
    if "tokens_per_second" not in columns:
        columns["tokens_per_second"] = [
            n / s if s else math.nan
            for n, s in zip(columns["tokens"], columns["seconds"], strict=True)
        ]
    return columns


def known(columns: Columns, name: str) -> tuple[list[float], list[float]]:
    """Millions of tokens and values, where the value was measured."""
    pairs = zip(columns["tokens"], columns.get(name, []), strict=False)
    pairs = [(x / 1e6, y) for x, y in pairs if math.isfinite(y)]
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
    found = {
        "steps": int(columns["step"][-1]),
        "tokens_seen": int(columns["tokens"][-1]),
        "seconds": columns["seconds"][-1],
    }
    logged = {"val_loss": "validation", "bits_per_byte": "bits_per_byte"}
    for key, name in logged.items():
        if values := known(columns, name)[1]:
            found[key] = values[-1]
    found |= {k: v for k, v in metrics.items() if v is not None}
    if "val_loss" in found:
        found["perplexity"] = math.exp(min(found["val_loss"], 700))
    return found


def status(metrics: dict) -> str:
    """Whether the run came to its end."""
    if metrics.get("stopped") or metrics.get("interrupted"):
        return f"**Stopped**: {metrics.get('stopped') or 'interrupted'}."
    if "parameters" not in metrics:
        return "**Not finished**: the run has no final metrics yet."
    return "Finished."


def settings(metrics: dict) -> str:
    """Configuration of the model and options of the run, a line each."""
    parts = []
    for name, key in (("Model", "config"), ("Options", "options")):
        given = (metrics.get(key) or {}).items()
        told = {k: v for k, v in given if v is not None and k != "out"}
        pairs = ", ".join(f"`{k}` {v}" for k, v in told.items())
        parts += [f"{name}: {pairs}."] if pairs else []
    return "\n\n".join(["## Configuration", *parts]) if parts else ""


def samples_part(folder: Path, count: int = 3) -> str:
    """The first samples of a run as quotations; empty without any."""
    path = folder / "samples.txt"
    text = path.read_text("utf-8") if path.is_file() else ""
    heads = re.split(r"^--- (sample \d+.*)$", text, flags=re.MULTILINE)[1:]
    quoted = []
    for head, body in list(zip(heads[::2], heads[1::2], strict=True))[:count]:
        lines = body.strip().splitlines()
        quoted += [f"*{head}*", "\n".join(f"> {x}".rstrip() for x in lines)]
    return "\n\n".join(["## Samples", *quoted]) if quoted else ""


def page(folder: Path, columns: Columns, metrics: dict) -> str:
    """The whole report.md."""
    found = facts(columns, metrics)
    machine = [metrics.get("hardware", "a machine that is not recorded")]
    for key, name in (("threads", "threads:"), ("torch", "torch")):
        if key in found:
            machine.append(f"{name} {found[key]}")
    table = ["| | |", "| --- | --- |"]
    for key, label, form in ROWS:
        if key in found:
            table.append(f"| {label} | {form.format(found[key])} |")
    parts = [
        f"# {folder.resolve().name}",
        status(metrics),
        "![Loss, learning rate, gradient norm and speed over the tokens "
        "seen](report.png)",
        "## Result",
        "\n".join(table),
        samples_part(folder),
        "## Machine",
        f"Trained on: {'; '.join(machine)}.",
        settings(metrics),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_report(folder: Path, metrics: dict) -> list[Path]:
    """Write report.md and report.png into a run folder; their paths.

    metrics: as in metrics.json; may be empty. ValueError if no step was
    logged, and then nothing is written.
    """
    columns = read_columns(folder, metrics)
    paths = [folder / "report.md", folder / "report.png"]
    with matplotlib.style.context("scratch_llm.scratch"):
        figure = draw(columns, metrics)
        with atomic(paths[1]) as temporary:
            figure.savefig(temporary, format="png")
    write_text(paths[0], page(folder, columns, metrics))
    return paths
