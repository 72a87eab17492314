"""The colours with their fixed meaning, and the map of the course.

The one look of every figure is `plt.style.use("scratch_llm.scratch")`.
"""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

COLOURS = {
    "query": "#0072B2",
    "train": "#0072B2",
    "key": "#E69F00",
    "value": "#009E73",
    "validation": "#D55E00",
    "error": "#D55E00",
    "masked": "#999999",
    "extra": "#CC79A7",
    "sky": "#56B4E9",
    "ink": "#222222",
}
MAP_BOXES = (  # label, middle x, y, half width, height, when in colour
    ("text", 6, 31, 5, 5, "data"),
    ("tokens", 20, 31, 6, 5, "data"),
    ("embeddings", 38.5, 31, 9, 5, "data gpt"),
    ("", 61.5, 31, 11.5, 15.5, "never"),
    ("attention", 61.5, 38.3, 9.2, 5, "attention gpt"),
    ("feed-forward", 61.5, 23.7, 9.2, 5, "gpt"),
    ("output head", 85.5, 31, 9, 5, "gpt"),
    ("next token", 106, 31, 8, 5, "gpt"),
    ("pretraining", 38.5, 3, 10.5, 4.5, "pretraining"),
    ("classification", 61.5, 3, 10.5, 4.5, "classification"),
    ("instructions", 84.5, 3, 10.5, 4.5, "instructions"),
)
MAP_ARROWS = (
    (11, 31, 3, 0),
    (26, 31, 3.5, 0),
    (47.5, 31, 2.5, 0),
    (73, 31, 3.5, 0),
    (94.5, 31, 3.5, 0),
    (61.5, 33.3, 0, -4.6),
    (45, 7.5, 6, 8),
    (61.5, 7.5, 0, 8),
    (78, 7.5, -6, 8),
)
FOLDERS = {  # where a part is built
    "data": "ch02",
    "attention": "ch03",
    "gpt": "ch04",
    "pretraining": "ch05",
    "classification": "ch06",
    "instructions": "ch07",
}


def draw_map(today: str) -> plt.Figure:
    """Draw the whole model and what trains it, with today's part coloured.

    today: data, attention, gpt, pretraining, classification, instructions;
    or course: then each box says in which chapter's folder it is built.
    """
    if today not in FOLDERS and today != "course":
        raise ValueError(f"the map has no part called {today!r}")
    blue, grey = COLOURS["train"], COLOURS["masked"]
    figure, axes = plt.subplots(figsize=(6.4, 2.6))
    axes.set(xlim=(0, 114.5), ylim=(-2, 47))
    axes.axis("off")
    for x, y, dx, dy in MAP_ARROWS:
        axes.annotate(
            "",
            (x + dx, y + dy),
            (x, y),
            arrowprops={
                "arrowstyle": "-|>",
                "color": grey,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
    for label, x, y, half, tall, days in MAP_BOXES:
        fill, ink = (
            (blue, "white")
            if today in days.split()
            else ("white", COLOURS["ink"])
        )
        axes.add_patch(
            FancyBboxPatch(
                (x - half, y - tall),
                2 * half,
                2 * tall,
                fc=fill,
                ec=grey if fill == "white" else blue,
                boxstyle="round,pad=0,rounding_size=1.5",
                mutation_aspect=0.9,
            )
        )
        folder = FOLDERS.get(days.split()[0]) if today == "course" else None
        if folder:
            style = {"ha": "center", "va": "center_baseline", "fontsize": 8}
            axes.text(x, y - 1.9, folder, color=blue, weight="bold", **style)
        axes.text(
            x,
            y + 1.7 if folder else y,
            label,
            ha="center",
            va="center_baseline",
            color=ink,
            fontsize=8,
            linespacing=1.15,
        )
    return figure
