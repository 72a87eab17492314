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


def draw_norms(models: list[OpenedModel]) -> Figure:
    """RMS of attention's and feed-forward's matrices by depth."""
    figure = Figure(figsize=(7.2, 3.2))
    axes = figure.subplots(1, 2, sharey=True)
    for one, (colour, mark) in zip(models, LOOKS, strict=False):
        norms = weights.layer_norms(one.model)
        for ax, parts in zip(
            axes,
            (("query", "key", "value", "output"), ("up", "down")),
            strict=True,
        ):
            mean = [
                sum(v) / len(v)
                for v in zip(*(norms[part] for part in parts), strict=True)
            ]
            ax.plot(
                mean, f"{mark}-", color=COLOURS[colour], ms=4, label=one.name
            )
    for ax, title in zip(axes, ("Attention", "Feed-forward"), strict=True):
        ax.set(title=title, xlabel="layer", ylim=(0, None))
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("RMS of the weights")
    axes[1].legend()
    return figure


def draw_spectra(models: list[OpenedModel]) -> Figure:
    """Singular values of both embeddings, as shares of their sum."""
    figure = Figure(figsize=(7.2, 3.2))
    axes = figure.subplots(1, 2)
    for ax, name, title in zip(
        axes,
        ("tok_emb", "pos_emb"),
        ("Token embeddings", "Position embeddings"),
        strict=True,
    ):
        for one, (colour, _) in zip(models, LOOKS, strict=False):
            shares = weights.spectrum(getattr(one.model, name).weight)
            ax.plot(
                range(1, len(shares) + 1),
                shares.clamp(min=1e-9).numpy(),
                color=COLOURS[colour],
                label=one.name,
            )
        ax.set(
            title=title,
            xlabel="direction",
            xscale="log",
            yscale="log",
            ylim=(1e-4, 1),
        )
    axes[0].set_ylabel("share of all singular values")
    axes[1].legend()
    return figure


def draw_positions(models: list[OpenedModel]) -> Figure:
    """Cosine similarity of each pair of positions, a square per model."""
    steps = matplotlib.colormaps["PuOr"].resampled(41)
    figure = Figure(figsize=(7.2, 2.6))
    axes = figure.subplots(1, len(models), squeeze=False)[0]
    for ax, one in zip(axes, models, strict=True):
        alike = weights.position_similarity(one.model).numpy()
        image = ax.imshow(
            alike, vmin=-1, vmax=1, cmap=steps, interpolation="nearest"
        )
        ax.set(title=one.name, xlabel="position")
    axes[0].set_ylabel("position")
    figure.colorbar(image, ax=axes, label="cosine", shrink=0.8)
    return figure


def draw_all(models: list[OpenedModel], folder: Path) -> list[Path]:
    """The three figures as PNG files in a folder; their paths."""
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    style = "scratch_llm.scratch"
    for name, draw in (
        ("norms", draw_norms),
        ("spectra", draw_spectra),
        ("positions", draw_positions),
    ):
        paths.append(folder / f"{name}.png")
        with matplotlib.style.context(style):
            with atomic(paths[-1]) as temporary:
                draw(models).savefig(temporary, format="png")
    return paths
