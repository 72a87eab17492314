"""Models side by side as three figures: norms, spectra, positions."""

from pathlib import Path

import matplotlib
import matplotlib.style
import weights
from matplotlib.figure import Figure
from scratch_llm.files import atomic
from scratch_llm.style import COLOURS
from weights import OpenedModel

# Colours without a meaning of their own, and a mark, for each model.
LOOKS = (("ink", "o"), ("extra", "s"), ("sky", "^"), ("masked", "v"))
PARTS = {
    "Attention": ("query", "key", "value", "output"),
    "Feed-forward": ("up", "down"),
}
EMBEDDINGS = {"tok_emb": "Token embeddings", "pos_emb": "Position embeddings"}


def draw_norms(models: list[OpenedModel]) -> Figure:
    """RMS of attention's and feed-forward's matrices by depth."""
    figure = Figure(figsize=(7.2, 3.2))
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (title, parts) in zip(axes, PARTS.items(), strict=True):
        for one, (colour, mark) in zip(models, LOOKS, strict=False):
            norms = weights.layer_norms(one.model)
            layers = zip(*(norms[part] for part in parts), strict=True)
            mean, look = [sum(v) / len(v) for v in layers], f"{mark}-"
            ax.plot(mean, look, color=COLOURS[colour], ms=4, label=one.name)
        ax.set(title=title, xlabel="layer", ylim=(0, None))
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("RMS of the weights")
    axes[1].legend()
    return figure


def draw_spectra(models: list[OpenedModel]) -> Figure:
    """Singular values of both embeddings, as shares of their sum."""
    figure = Figure(figsize=(7.2, 3.2))
    axes = figure.subplots(1, 2)
    for ax, (name, title) in zip(axes, EMBEDDINGS.items(), strict=True):
        for one, (colour, _) in zip(models, LOOKS, strict=False):
            shares = weights.spectrum(getattr(one.model, name).weight)
            x, y = range(1, len(shares) + 1), shares.clamp(min=1e-9).numpy()
            ax.loglog(x, y, color=COLOURS[colour], label=one.name)
        ax.set(title=title, xlabel="direction", ylim=(1e-4, 1))
    axes[0].set_ylabel("share of all singular values")
    axes[1].legend()
    return figure


def draw_positions(models: list[OpenedModel]) -> Figure:
    """Cosine similarity of each pair of positions, a square per model."""
    steps = matplotlib.colormaps["PuOr"].resampled(41)
    figure = Figure(figsize=(7.2, 2.6))
    axes = figure.subplots(1, len(models), squeeze=False)[0]
    how = {"vmin": -1, "vmax": 1, "interpolation": "nearest"}
    for ax, one in zip(axes, models, strict=True):
        alike = weights.position_similarity(one.model).numpy()
        image = ax.imshow(alike, cmap=steps, **how)
        ax.set(title=one.name, xlabel="position")
    axes[0].set_ylabel("position")
    figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    return figure


def draw_all(models: list[OpenedModel], folder: Path) -> list[Path]:
    """The three figures as PNG files in a folder; their paths."""
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for draw in (draw_norms, draw_spectra, draw_positions):
        paths.append(folder / f"{draw.__name__.removeprefix('draw_')}.png")
        with matplotlib.style.context("scratch_llm.scratch"):
            with atomic(paths[-1]) as temporary:
                draw(models).savefig(temporary, format="png")
    return paths
