"""Compare models by their weights: norms, spectra, positions.

    python scripts/explore_pretrained_weights.py
    python scripts/explore_pretrained_weights.py storyteller fresh copying
    python scripts/explore_pretrained_weights.py runs/mine gpt2/124M --out f

Without names: the storyteller that ships with the course against a fresh
model of the same shape. `fresh` and `copying` are untrained models with the
first model's config; any other name is read as load_pytorch_weights.py does.
"""

import argparse
from pathlib import Path

import weight_figures as figures
import weights
from scratch_llm.cli import run_script
from scratch_llm.text import text_table
from weights import OpenedModel


def parser() -> argparse.ArgumentParser:
    p = weights.parser("explore_pretrained_weights.py", __doc__)
    p.add_argument("models", nargs="*", default=["storyteller", "fresh"])
    p.add_argument("--out", metavar="FOLDER", help="figures go here")
    return p


def open_all(names: list[str], size: str) -> list[OpenedModel]:
    """The models; the first one must be trained, it gives the config."""
    blank = ("fresh", "copying")
    if names[0] in blank:
        raise ValueError(
            f"{names[0]} takes its config from the first model: name another "
            "one before it"
        )
    if len(names) > (most := len(figures.LOOKS)):
        raise ValueError(f"{len(names)} models: compare at most {most}")
    found = [weights.open_model(names[0], size)]
    for name in names[1:]:
        if name in blank:
            found.append(weights.untrained(name, found[0]))
        else:
            found.append(weights.open_model(name, size))
    return found


def layers_part(one: OpenedModel, prompt: str) -> str:
    """A line per layer: RMS of its weights, and how much it adds."""
    columns = weights.layer_norms(one.model)
    for name, values in weights.added(one.model, one.ids(prompt)).items():
        columns[f"{name} adds"] = values
    rows = [["layer", *columns]]
    for i, line in enumerate(zip(*columns.values(), strict=True)):
        rows.append([i, *(f"{value:.3f}" for value in line)])
    return text_table(rows)


def embeddings_part(one: OpenedModel) -> str:
    """How many directions the embeddings use; how alike positions are."""
    lines = []
    for name in ("tok_emb", "pos_emb"):
        weight = getattr(one.model, name).weight
        rank = weights.effective_rank(weights.spectrum(weight))
        whole = min(weight.shape)
        lines.append(f"{name}: {rank:.0f} of {whole} directions in use")
    alike = weights.position_similarity(one.model)
    near = ", ".join(
        f"{alike.diagonal(distance).mean():+.2f} at distance {distance}"
        for distance in (1, 4, 16, 64)
        if distance < len(alike)
    )
    return "\n".join([*lines, f"positions alike: {near}"])


def run(args: argparse.Namespace) -> None:
    """Print what is found, and draw it.

    RMS is the root of the mean square; "adds" is the RMS of what attention
    or feed-forward adds over the RMS of the stream that it adds to.
    """
    models = open_all(args.models, args.size)
    for one in models:
        count = sum(row[2] for row in weights.parameter_rows(one.model))
        print(f"== {one.name}: {count:,} parameters")
        print(layers_part(one, args.prompt))
        print(embeddings_part(one), end="\n\n")
    if args.out:
        for path in figures.draw_all(models, Path(args.out)):
            print(f"drew {path}")


def main(argv: list[str] | None = None) -> int:
    return weights.exit_code(run, parser(), argv)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
