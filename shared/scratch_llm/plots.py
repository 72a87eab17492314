"""Figures and tables that several lessons draw of their losses."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt

from scratch_llm.style import COLOURS
from scratch_llm.text import text_table


def show_losses(losses: dict[str, Iterable[float]], *heads: str) -> None:
    """Print the numbers of each name in a line, with two digits."""
    rows = [(k, *(f"{x:.2f}" for x in some)) for k, some in losses.items()]
    print(text_table([heads, *rows]))


def smooth(losses: list[float], width: int = 10) -> list[float]:
    """Means over neighbouring steps, for curves that can be read."""
    return [
        statistics.fmean(losses[i : i + width])
        for i in range(len(losses) - width + 1)
    ]


def draw_lines(
    x: Iterable[float],
    curves: dict[str, Sequence],
    keys: Iterable[str],
    mark: str = "o-",
    levels: dict[str, float] | None = None,
    legend: dict | None = None,
    size: tuple[float, float] = (6.4, 3.2),
    **axes: Any,
) -> None:
    """One curve, or one for each seed, in the colour of each name.

    keys: of COLOURS. mark: as for plt.plot. levels: horizontal lines, each
    with a word. legend: its place. size: in inches. axes: as for Axes.set.
    """
    plt.gcf().set_size_inches(size)
    x = list(x)
    for (name, lines), key in zip(curves.items(), keys, strict=True):
        lines = lines if isinstance(lines[0], list) else [lines]
        for i, line in enumerate(lines):
            label = "_" * (i > 0) + name
            plt.plot(x, line, mark, color=COLOURS[key], label=label)
    beside = plt.gca().get_yaxis_transform()
    for word, level in (levels or {}).items():
        plt.axhline(level, ls=":", color=COLOURS["ink"], lw=1)
        plt.text(1.01, level, word, va="center", size=9, transform=beside)
    plt.gca().set(**axes)
    if len(curves) > 1:
        plt.legend(**legend or {})
    plt.show()


def draw_dots(
    values: dict[str, Iterable[float]],
    keys: str | Sequence[str] = "train",
    level: float | None = None,
    **axes: Any,
) -> None:
    """A line for each name with a dot for each of its values.

    keys: of COLOURS, one for all or one each. level: a dashed vertical
    line, the floor. axes: as for Axes.set.
    """
    plt.gcf().set_size_inches(6.4, 0.7 + 0.27 * len(values))
    if isinstance(keys, str):
        keys = [keys] * len(values)
    for (name, some), key in zip(values.items(), keys, strict=True):
        some = list(some)
        plt.plot(some, [name] * len(some), "o", ms=6, color=COLOURS[key])
    if level is not None:
        plt.axvline(level, ls="--", color=COLOURS["ink"], lw=1)
        above = plt.gca().get_xaxis_transform()
        plt.text(level, 1.02, "floor", ha="center", size=9, transform=above)
    plt.gca().set(ylim=(len(values) - 0.5, -0.5), **axes)
    plt.grid(axis="y")
    plt.show()


def draw_runs(
    runs: dict[str, list], every: int, floor: float | None = None, **axes: Any
) -> None:
    """A panel for each name: (training, validation) losses of each seed."""
    _, panels = plt.subplots(1, len(runs), sharey=True, figsize=(6.4, 2.8))
    for panel, (name, curves) in zip(panels, runs.items(), strict=True):
        for n, curve in enumerate(curves):
            steps = range(every, every * len(curve) + 1, every)
            pairs = zip(*curve, strict=True)
            for key, y in zip(("train", "validation"), pairs, strict=True):
                label = "_" * (n > 0) + key
                panel.plot(steps, y, color=COLOURS[key], label=label)
        if floor is not None:
            panel.axhline(
                floor, ls="--", color=COLOURS["ink"], lw=1, label="floor"
            )
        panel.set(title=name, xlabel="step", **axes)
    panels[0].set_ylabel("loss (nats per token)")
    panels[-1].legend(loc="lower left")
    plt.show()


def draw_grids(
    grids: dict[str, Any],
    ylabel: str,
    down: Sequence,
    xlabel: str,
    across: Sequence,
) -> None:
    """Shares from 0 to 1 in a grid for each name, as colours and numbers."""
    panels = plt.subplots(1, len(grids))[1]
    for ax, (name, grid) in zip(panels, grids.items(), strict=True):
        image = ax.imshow(grid, vmin=0, vmax=1)
        ax.set(title=name, xlabel=xlabel, ylabel=ylabel)
        ax.set_xticks(range(len(across)), across)
        ax.set_yticks(range(len(down)), down)
        for i, j in itertools.product(*map(range, grid.shape)):
            ink = "white" if grid[i, j] < 0.6 else COLOURS["ink"]
            cell = {"ha": "center", "va": "center", "color": ink}
            ax.text(j, i, f"{grid[i, j]:.2f}", **cell)
    plt.colorbar(image, ax=panels, shrink=0.8, label="both, from 0 to 1")
    plt.show()


def draw_guesses(guesses: dict[str, Any], decode: Callable) -> None:
    """The six likeliest tokens of each name's probabilities, (V,) each."""
    _, panels = plt.subplots(1, len(guesses), figsize=(6.4, 2.4), sharex=True)
    for panel, (name, p) in zip(panels, guesses.items(), strict=True):
        top = p.topk(6)
        tokens = [repr(decode([i])) for i in top.indices.tolist()]
        panel.barh(tokens, top.values.tolist(), color=COLOURS["sky"])
        panel.invert_yaxis()
        panel.set(title=name, xlabel="probability")
    plt.show()
