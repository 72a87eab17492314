"""A run on one page: report.md and report.png in its folder.

    python src/report.py runs/storyteller-001      # write them again

Curves come from metrics.csv (or from the history in metrics.json, which
gpt_train.py writes), texts from samples.txt. What a run does not have, such
as a floor, a judge or an end, is left out.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.append(str(ROOT / "ch05" / "01_main-chapter-code"))
from gpt_files import atomic, write_text  # noqa: E402
from gpt_options import ShortParser, run_script  # noqa: E402
from scratch_llm.style import COLOURS  # noqa: E402

POINTS = 300                   # of a curve: more cannot be told apart
Columns = dict[str, list[float]]  # nan where nothing was measured


# ---- Reading a run -------------------------------------------------------


def read_columns(folder: Path, metrics: dict) -> Columns:
    """What was logged at each step, a list per column, nan for nothing.

    A last row that a crash cut short is left out. ValueError without any.
    """
    path = folder / "metrics.csv"
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as file:
            names, *rows = [*csv.reader(file)] or [[]]
        rows = [row for row in rows if len(row) == len(names)]
        lists = dict(zip(names, zip(*rows, strict=True), strict=False))
    else:
        lists = metrics.get("history", {})
    try:
        columns = {name: [math.nan if v in ("", None) else float(v)
                          for v in vs] for name, vs in lists.items()}
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not columns.get("step"):
        raise ValueError(f"{path} holds no step: nothing to report")
    return columns


def read_metrics(path: Path) -> dict:
    """metrics.json, empty if there is none; ValueError if it is damaged."""
    try:
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): move it away, the "
                         "report needs only metrics.csv") from None


def known(columns: Columns, name: str) -> tuple[list[float], list[float]]:
    """Millions of tokens and values, where the value was measured."""
    pairs = [(x / 1e6, y) for x, y in zip(
        columns["tokens"], columns.get(name, []), strict=False)
        if math.isfinite(y)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def speeds(columns: Columns) -> Columns:
    """With tokens_per_second, worked out where a run did not log it."""
    if "tokens_per_second" in columns:
        return columns
    speed = [t / s if s else math.nan for t, s in zip(
        columns["tokens"], columns["seconds"], strict=True)]
    return columns | {"tokens_per_second": speed}


# ---- The picture ---------------------------------------------------------


def blocks(values: list[float]) -> list[list[float]]:
    """At most POINTS pieces of equal length, one after another."""
    size = max(1, math.ceil(len(values) / POINTS))
    return [values[i:i + size] for i in range(0, len(values), size)]


def draw_curve(ax: Axes, columns: Columns, name: str, colour: str,
               **line: Any) -> None:
    """The mean of each block of steps, and its range as a pale band."""
    x, y = (blocks(v) for v in known(columns, name))
    at = [sum(b) / len(b) for b in x]
    ax.fill_between(at, [min(b) for b in y], [max(b) for b in y],
                    color=colour, alpha=0.2, lw=0)
    ax.plot(at, [sum(b) / len(b) for b in y], color=colour, lw=1.2, **line)


def stretch(ax: Axes) -> None:
    """A log scale with plain numbers, if the values span a factor of 3."""
    low, high = ax.dataLim.intervaly
    if low > 0 and high > 3 * low:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_major_formatter("{x:g}")


def draw_loss(ax: Axes, columns: Columns, metrics: dict) -> None:
    """Training and validation loss, and the floor where it is known."""
    draw_curve(ax, columns, "train", COLOURS["train"], label="training")
    x, y = known(columns, "validation")
    ax.plot(x, y, "o-", ms=3, lw=1, color=COLOURS["validation"],
            label="validation")
    if floor := metrics.get("floor"):
        ax.axhline(floor, ls="--", lw=1, color=COLOURS["ink"],
                   label="entropy floor")
    ax.set(title="Loss", ylabel="nats per token")
    ax.legend()


def draw(columns: Columns, metrics: dict) -> Figure:
    """Four curves over the tokens seen: loss, rate, gradient, speed."""
    figure = Figure(figsize=(7.2, 5.2))
    axes = figure.subplot_mosaic([["loss"] * 3, ["rate", "norm", "speed"]],
                                 height_ratios=[1.6, 1])
    draw_loss(axes["loss"], columns, metrics)
    for name, key, title, colour in (
            ("rate", "rate", "Learning rate", "ink"),
            ("norm", "norm", "Gradient norm", "extra"),
            ("speed", "tokens_per_second", "Tokens per second", "value")):
        draw_curve(axes[name], columns, key, COLOURS[colour])
        axes[name].set(title=title)
    for name in ("loss", "norm"):
        stretch(axes[name])
    for name in ("rate", "speed"):
        axes[name].set_ylim(0)
    axes["rate"].yaxis.set_major_formatter("{x:.2g}")
    axes["speed"].yaxis.set_major_formatter("{x:,.0f}")
    for ax in axes.values():
        ax.set_xlabel("tokens seen (millions)")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """A PNG written atomically, small since it has at most 255 colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB").quantize(
        255, Image.Quantize.MAXCOVERAGE)
    with atomic(path) as temporary:
        image.save(temporary, format="png", optimize=True)


# ---- The page ------------------------------------------------------------


def machine(metrics: dict) -> str:
    """What the run was made on, as far as its metrics tell."""
    parts = [metrics.get("hardware", "a machine that is not recorded")]
    parts += [f"{name} {metrics[key]}" for key, name in (
        ("threads", "threads:"), ("torch", "torch")) if metrics.get(key)]
    return "; ".join(parts)


ROWS = (  # key of metrics, label, how it is written
    ("parameters", "parameters", "{:,}"), ("device", "device", "{}"),
    ("precision", "precision", "{}"), ("seed", "seed", "{}"),
    ("steps", "steps", "{:,}"), ("tokens_seen", "tokens seen", "{:,}"),
    ("seconds", "time", "{:,.0f} s"),
    ("tokens_per_second", "speed", "{:,.0f} tokens/s"),
    ("utilisation", "share of the measured matmul peak", "{:.1%}"),
    ("val_loss", "validation loss", "{:.4f} nats per token"),
    ("perplexity", "perplexity", "{:.3f}"),
    ("bits_per_byte", "bits per byte", "{:.4f}"),
    ("floor", "entropy floor, the lowest possible loss", "{:.4f}"),
    ("ratio", "validation loss / floor", "{:.4f}"),
    ("valid_stories", "sampled stories that are wholly valid", "{:.1%}"),
    ("calibrated_by", "calibrated by (1 is: nothing to do)", "{:g}"),
)


def facts(columns: Columns, metrics: dict) -> dict:
    """Metrics, completed from the log where a run did not get that far."""
    found = {k: v for k, v in metrics.items() if v is not None}
    ends = {"steps": int(columns["step"][-1]),
            "tokens_seen": int(columns["tokens"][-1]),
            "seconds": columns["seconds"][-1]}
    for key, name in (("val_loss", "validation"), ("perplexity",) * 2,
                      ("bits_per_byte",) * 2):
        if values := known(columns, name)[1]:
            ends[key] = values[-1]
    if "val_loss" in found:         # of the end, and after calibration
        ends["perplexity"] = math.exp(found["val_loss"])
        if "bits_per_byte" in ends:
            ends["bits_per_byte"] *= found["val_loss"] / ends["val_loss"]
    return ends | found


def status(metrics: dict) -> str:
    """Whether the run came to its end."""
    if metrics.get("stopped") or metrics.get("interrupted"):
        return f"**Stopped**: {metrics.get('stopped') or 'interrupted'}."
    if "parameters" not in metrics:
        return "**Not finished**: the run has no final metrics yet."
    return "Finished."


def table(rows: list[tuple[str, str]]) -> str:
    """A Markdown table of two columns."""
    lines = [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(["| | |", "| --- | --- |", *lines])


def settings(metrics: dict) -> str:
    """Configuration of the model and options of the run, a line each."""
    lines = []
    for name, key in (("Model", "config"), ("Options", "options")):
        pairs = [f"`{k}` {v}" for k, v in (metrics.get(key) or {}).items()
                 if v is not None and k != "out"]
        if pairs:
            lines.append(f"{name}: {', '.join(pairs)}.")
    return "\n\n".join(["## Configuration", *lines]) if lines else ""


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
    known_facts = facts(columns, metrics)
    rows = [(label, form.format(known_facts[key]))
            for key, label, form in ROWS if key in known_facts]
    parts = [f"# {folder.resolve().name}", status(metrics),
             "![Loss, learning rate, gradient norm and speed over the tokens "
             "seen](report.png)", "## Result", table(rows),
             samples_part(folder), "## Machine",
             f"Trained on: {machine(metrics)}.",
             settings(metrics)]
    return "\n\n".join(filter(None, parts)) + "\n"


def write_report(folder: Path, metrics: dict) -> list[Path]:
    """Write report.md and report.png into a run folder; their paths.

    metrics: as in metrics.json; may be empty. ValueError if no step was
    logged, and then nothing is written.
    """
    folder = Path(folder)
    columns = speeds(read_columns(folder, metrics))
    paths = [folder / "report.md", folder / "report.png"]
    with matplotlib.style.context("scratch_llm.scratch"):
        figure = draw(columns, metrics)
        save_figure(figure, paths[1])
    write_text(paths[0], page(folder, columns, metrics))
    return paths


def main(argv: list[str] | None = None) -> int:
    p = ShortParser(prog="report.py", description=__doc__.split("\n")[0])
    p.add_argument("run", help="a run folder")
    folder = Path(p.parse_args(argv).run)
    try:
        written = write_report(folder, read_metrics(folder / "metrics.json"))
    except (ValueError, OSError) as error:
        print(f"report.py: error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
