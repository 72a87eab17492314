"""Drawings of mechanisms: tokens, tables of numbers, boxes and arrows.

Lessons call these from collapsed cells. Colours are names from COLOURS, with
their fixed meaning, or anything that matplotlib takes for a colour.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import (
    Colormap,
    LinearSegmentedColormap,
    Normalize,
    to_rgb,
)
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from scratch_llm.style import COLOURS

SOFT = ("#CFE4F2", "#FBE7C0", "#CDEBE0", "#F5DCCB", "#F0DCE8")
HIDDEN = "#E4E4E4"  # the fill of a masked cell
FAINT = "#666666"  # the number in it
LETTER = 0.083  # inches that a letter of a token takes


def colour_of(name: str | None, default: str = "white") -> str:
    """A colour from its name in COLOURS, or as it is."""
    return COLOURS.get(name, name) if name else default


def shade_map(name: str | None) -> Colormap:
    """White to the named colour; without a name vermilion, white, blue."""
    ends = (
        ("white", colour_of(name))
        if name
        else (COLOURS["error"], "white", COLOURS["query"])
    )
    return LinearSegmentedColormap.from_list("shades", ends)


def ink_on(fill: object) -> str:
    """Black or white, whichever can be read on this colour."""
    red, green, blue = to_rgb(fill)
    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
    return "white" if dark else COLOURS["ink"]


def visible(token: str) -> str:
    """A token with its spaces and line breaks made visible."""
    for sign, shown in ((" ", "·"), ("\n", "⏎"), ("\t", "⇥")):
        token = token.replace(sign, shown)
    return token


def canvas(width: float = 6.4, height: float = 3.2) -> Axes:
    """Empty axes for a diagram, measured in inches from the lower left."""
    _, ax = plt.subplots(figsize=(width, height))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def draw_box(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    width: float = 1.0,
    height: float = 0.35,
    colour: str | None = None,
    size: float = 9,
) -> None:
    """A rounded box with its middle at x, y and text inside."""
    fill = colour_of(colour)
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            fc=fill,
            ec=COLOURS["masked"] if fill == "white" else fill,
            boxstyle="round,pad=0,rounding_size=0.05",
        )
    )
    ax.text(
        x,
        y,
        text,
        ha="center",
        va="center_baseline" if "\n" not in text else "center",
        color=ink_on(fill),
        fontsize=size,
    )


def letters_of(word: str, note: str = "") -> float:
    """The room that a token's box takes, in letters, with a note under it."""
    return max(len(word), 0.8 * len(note)) + 0.9


def draw_row(
    ax: Axes,
    x: float,
    y: float,
    tokens: Sequence[str],
    colours: Sequence[str | None] | None = None,
    below: Sequence[object] | None = None,
    width: float | None = None,
) -> list[float]:
    """Tokens as boxes in a line on a canvas; returns the x of their middles.

    x: the left end; y: the middle. colours: one for each, None is white; soft
    alternating ones by default. below: something short under each. width: of
    every box in inches; by default each is as wide as its text.
    """
    words = [visible(token) for token in tokens]
    notes = [""] * len(words) if below is None else [str(n) for n in below]
    middles = []
    for i, (word, note) in enumerate(zip(words, notes, strict=True)):
        span = width or letters_of(word, note) * LETTER
        fill = colour_of(colours[i]) if colours else SOFT[i % len(SOFT)]
        ax.add_patch(
            FancyBboxPatch(
                (x + 0.01, y - 0.13),
                span - 0.02,
                0.26,
                fc=fill,
                ec="#BBBBBB",
                lw=0.6,
                boxstyle="round,pad=0,rounding_size=0.04",
            )
        )
        middles.append(x + span / 2)
        style = {"ha": "center", "va": "center_baseline"}
        mono = {"family": "DejaVu Sans Mono", "color": ink_on(fill)}
        ax.text(middles[-1], y, word, fontsize=9, **style, **mono)
        if note:
            grey = {"fontsize": 8, "color": "#555555"}
            ax.text(middles[-1], y - 0.22, note, **style, **grey)
        x += span
    return middles


def draw_arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    colour: str = "masked",
    bend: float = 0.0,
    size: float = 8,
    line: str = "-",
) -> None:
    """An arrow from start to end, its text beside the middle of it."""
    style = {
        "arrowstyle": "-|>",
        "color": colour_of(colour),
        "linestyle": line,
        "shrinkA": 0,
        "shrinkB": 0,
        "connectionstyle": f"arc3,rad={bend}",
    }
    ax.annotate("", end, start, arrowprops=style)
    if text:
        upright = abs(end[1] - start[1]) > abs(end[0] - start[0])
        ax.annotate(
            text,
            ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2),
            (5, 0) if upright else (0, 4),
            textcoords="offset points",
            ha="left" if upright else "center",
            va="center" if upright else "bottom",
            color=COLOURS["ink"],
            fontsize=size,
        )


def lines_of(tokens: Sequence[str], sizes: list[int], width: int) -> list:
    """The numbers of the tokens on each line of at most width letters."""
    lines, used = [[]], 0
    for i, (token, size) in enumerate(zip(tokens, sizes, strict=True)):
        if lines[-1] and used + size > width:
            lines, used = [*lines, []], 0
        lines[-1].append(i)
        used += size
        if token.endswith("\n"):
            lines, used = [*lines, []], 0
    return [line for line in lines if line]


def draw_tokens(
    tokens: Sequence[str],
    below: Sequence[object] | None = None,
    shades: Sequence[float] | None = None,
    colours: Sequence[str | None] | None = None,
    ax: Axes | None = None,
    width: int = 72,
    title: str = "",
    bar: str = "",
    high: float | None = None,
) -> Axes:
    """Tokens as boxes in reading order, width letters to a line.

    below: something short under each token, such as its id. shades: a number
    for each, drawn white (0) to vermilion (high, or the largest) with a
    colour bar named bar. colours: a colour for each; None is white. Spaces
    are drawn as dots.
    """
    words = [visible(token) for token in tokens]
    under = [str(value) for value in below] if below is not None else []
    notes = under or [""] * len(words)
    sizes = list(map(letters_of, words, notes))
    lines = lines_of(tokens, sizes, width)
    tall = 0.52 if under else 0.36  # inches a line takes
    if ax is None:
        wide = width * LETTER
        height = tall * len(lines) + (0.42 if title else 0.14)
        figure, ax = plt.subplots(figsize=(wide, height))
    scale, paint = Normalize(0, high), shade_map("error")
    if shades is not None:
        scale.vmax = high or max(shades)
        fills = [paint(scale(value)) for value in shades]
    elif colours is not None:
        fills = [colour_of(colour) for colour in colours]
    else:
        fills = [SOFT[i % len(SOFT)] for i in range(len(words))]
    for number, line in enumerate(lines):
        draw_row(
            ax,
            0.0,
            -number * tall,
            [tokens[i] for i in line],
            [fills[i] for i in line],
            [notes[i] for i in line],
        )
    ax.set(xlim=(0, width * LETTER), ylim=(tall * (0.5 - len(lines)), 0.22))
    ax.set_aspect("equal")
    ax.axis("off")
    if title:
        ax.set_title(title)
    if shades is not None:
        add_bar(ax, scale, paint, bar)
    return ax


def add_bar(ax: Axes, scale: Normalize, paint: Colormap, name: str) -> None:
    """The colour bar that says what a shade means."""
    ax.figure.colorbar(
        ScalarMappable(scale, paint),
        ax=ax,
        label=name,
        pad=0.02,
        fraction=0.05,
    ).outline.set_visible(False)


def draw_table(
    ax: Axes,
    numbers: Tensor,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    title: str = "",
    fmt: str = ".2f",
    colour: str | None = None,
    low: float | None = None,
    high: float | None = None,
    masked: Tensor | None = None,
    size: float = 9,
) -> None:
    """A matrix (R, C) as coloured cells with the numbers in them.

    colour: white at low (0) to this colour at high (the largest number);
    without one, vermilion at -high, white at 0, blue at high. Cells that are
    true in masked, and minus infinity, are grey.
    """
    numbers = torch.atleast_2d(torch.as_tensor(numbers).detach().cpu())
    grey = torch.zeros_like(numbers, dtype=torch.bool)
    if masked is not None:
        grey |= torch.atleast_2d(masked)
    values = numbers.double()
    finite = values[values.isfinite()]
    largest = finite.abs().max().item() if finite.numel() else 1.0
    high = high if high is not None else largest or 1.0
    low = low if low is not None else 0.0 if colour else -high
    scale, paint = Normalize(low, high, clip=True), shade_map(colour)
    n_rows, n_columns = values.shape
    for r in range(n_rows):
        for c in range(n_columns):
            value = values[r, c].item()
            endless = value == -torch.inf
            lost = grey[r, c] or endless
            fill = HIDDEN if lost else paint(scale(value))
            ax.add_patch(
                plt.Rectangle(
                    (c - 0.5, r - 0.5), 1, 1, fc=fill, ec="white", lw=1.2
                )
            )
            text = "-∞" if endless else format(value, fmt)
            text = text if text.strip("-0.") else text.removeprefix("-")
            ax.text(
                c,
                r,
                text,
                ha="center",
                va="center_baseline",
                fontsize=size + 3 if endless else size,
                color=FAINT if lost else ink_on(fill),
            )
    ax.set(xlim=(-0.5, n_columns - 0.5), ylim=(n_rows - 0.5, -0.5))
    ax.set_xticks(range(n_columns), columns or [""] * n_columns)
    ax.set_yticks(range(n_rows), rows or [""] * n_rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title)


def draw_attention(
    ax: Axes,
    weights: Tensor,
    tokens: Sequence[str],
    title: str = "",
    top: float = 1.0,
    bar: bool = True,
    mark: tuple[int, int] | None = None,
) -> None:
    """An attention map: one row per reader, one column per token read.

    weights (T, T); 0 to top is white to dark blue, with a colour bar unless
    bar is false; exactly 0 is grey. mark: (row, column) of a cell to frame.
    """
    shown = weights.detach().cpu().float()  # (T, T)
    shown = shown.masked_fill(shown == 0, torch.nan).numpy()
    paint = plt.get_cmap("Blues").with_extremes(bad=HIDDEN)
    scale = Normalize(0, top)
    ax.imshow(shown, norm=scale, cmap=paint)
    words = [visible(token) for token in tokens]
    ax.set_xticks(range(len(words)), words, rotation=90)
    ax.set_yticks(range(len(words)), words)
    ax.tick_params(length=0)
    ax.set_title(title)
    ax.set_xlabel("key: what is read", color=COLOURS["key"])
    ax.set_ylabel("query: who reads", color=COLOURS["query"])
    if mark:
        ax.add_patch(
            plt.Rectangle(
                (mark[1] - 0.5, mark[0] - 0.5),
                1,
                1,
                fill=False,
                ec=COLOURS["error"],
                lw=1.8,
            )
        )
    if bar:
        add_bar(ax, scale, paint, "attention weight")


def draw_shades(
    words: Sequence,
    reads: Sequence[Tensor],
    names: Sequence[str],
    bar: str,
) -> None:
    """Lines of words, each word shaded by how much is read from it.

    words: one list of strings for all lines, or a list for each line. reads:
    for each line a tensor (T,) of numbers from 0 to 1, drawn white to
    vermilion. names: what stands left of the lines; bar: name of the scale.
    """
    lines = words if isinstance(words[0], list) else [words] * len(reads)
    width = max(sum(len(word) + 0.9 for word in line) for line in lines)
    paint = shade_map("error")
    size = (LETTER * width + 2.0, 0.2 + 0.45 * len(reads))
    figure, axes = plt.subplots(len(reads), 1, squeeze=False, figsize=size)
    for ax, line, read, name in zip(
        axes[:, 0], lines, reads, names, strict=True
    ):
        fills = [paint(weight) for weight in read.tolist()]
        draw_tokens(line, ax=ax, width=width, colours=fills)
        ax.text(-0.1, 0, name, ha="right", va="center_baseline", fontsize=8)
    figure.colorbar(
        ScalarMappable(Normalize(0, 1), paint),
        ax=axes,
        ticks=[0, 0.5, 1],
        label=bar,
        fraction=0.04,
        aspect=12,
    )


def draw_influence(
    texts: Sequence[Sequence[tuple[str, float]]],
    titles: Sequence[str],
    bar: str,
    high: float = 1.0,
    width: int = 92,
) -> None:
    """Texts below each other, each word shaded by a number with a sign.

    texts: words with their numbers, drawn vermilion (-high), white (0), blue
    (high). titles: one above each text. bar: the name of the scale.
    """
    paint, scale = shade_map(None), Normalize(-high, high, clip=True)
    lines = [
        len(lines_of(words, list(map(letters_of, words)), width))
        for words in ([word for word, _ in text] for text in texts)
    ]
    tall = [0.36 * n + 0.3 for n in lines]
    figure, axes = plt.subplots(
        len(texts),
        1,
        squeeze=False,
        figsize=(width * LETTER + 1.0, max(1.3, sum(tall) + 0.1)),
        height_ratios=tall,
    )
    for ax, text, title in zip(axes[:, 0], texts, titles, strict=True):
        fills = [paint(scale(number)) for _, number in text]
        draw_tokens(
            [word for word, _ in text], ax=ax, width=width, colours=fills
        )
        for box in ax.patches:
            box.set(lw=0, antialiased=False, boxstyle="square,pad=0")
        ax.set_title(title, fontsize=9, fontweight="normal", pad=3)
    figure.colorbar(
        ScalarMappable(scale, paint),
        ax=axes,
        ticks=[-high, 0, high],
        label=bar,
        fraction=0.04,
        aspect=16,
    ).outline.set_visible(False)
