"""Compare models by their weights: norms, spectra, positions.

    python scripts/explore_pretrained_weights.py
    python scripts/explore_pretrained_weights.py storyteller fresh copying
    python scripts/explore_pretrained_weights.py runs/mine gpt2/124M --out f

Without names: the storyteller that ships with the course against a fresh
model of the same shape. `fresh` and `copying` are untrained models with the
first model's config; any other name is read as load_pytorch_weights.py does.
"""

import argparse
import sys
from pathlib import Path

import weight_figures as figures
import weights
from scratch_llm.cli import run_script
from scratch_llm.text import text_table
from weights import OpenedModel

DISTANCES = (1, 4, 16, 64)


def options(argv: list[str] | None) -> argparse.Namespace:
    p = weights.parser("explore_pretrained_weights.py", __doc__)
    p.add_argument(
        "models",
        nargs="*",
        default=["storyteller", "fresh"],
        metavar="MODEL",
        help="default: storyteller fresh",
    )
    p.add_argument("--out", metavar="FOLDER", help="figures go here")
    return p.parse_args(argv)


def open_all(names: list[str], size: str) -> list[OpenedModel]:
    """The models; the first one must be trained, it gives the config."""
    blank = ("fresh", "copying")
    if names[0] in blank:
        raise ValueError(
            f"{names[0]} takes its config from the first model: "
            "name another one before it"
        )
    if len(names) > (most := len(figures.LOOKS)):
        raise ValueError(f"{len(names)} models: compare at most {most}")
    found = [weights.open_model(names[0], size)]
    for name in names[1:]:
        one = (
            weights.untrained(name, found[0].model.cfg)
            if name in blank
            else weights.open_model(name, size)
        )
        one.tokenizer = one.tokenizer or (
            found[0].tokenizer if name in blank else None
        )
        found.append(one)
    return found


def layers_part(one: OpenedModel, prompt: str) -> str:
    """A line per layer: RMS of its weights, and how much it adds."""
    columns = {
        **weights.layer_norms(one.model),
        **{
            f"{name} adds": values
            for name, values in weights.added(
                one.model, one.ids(prompt)
            ).items()
        },
    }
    rows = [
        [str(i), *(f"{v:.3f}" for v in line)]
        for i, line in enumerate(zip(*columns.values(), strict=True))
    ]
    return text_table([["layer", *columns], *rows])


def embeddings_part(one: OpenedModel) -> str:
    """How many directions the embeddings use; how alike positions are."""
    lines = []
    for name in ("tok_emb", "pos_emb"):
        weight = getattr(one.model, name).weight
        rank = weights.effective_rank(weights.spectrum(weight))
        lines.append(
            f"{name}: {rank:.0f} of {min(weight.shape)} directions in use"
        )
    alike = weights.position_similarity(one.model)
    near = [
        f"{alike.diagonal(d).mean():+.2f} at distance {d}"
        for d in DISTANCES
        if d < len(alike)
    ]
    return "\n".join([*lines, f"positions alike: {', '.join(near)}"])


def describe(one: OpenedModel, prompt: str) -> str:
    """All that is printed about a model.

    RMS is the root of the mean square; "adds" is the RMS of what attention
    or feed-forward adds over the RMS of the stream that it adds to.
    """
    count = sum(row[2] for row in weights.parameter_rows(one.model))
    return "\n".join(
        [
            f"== {one.name}: {count:,} parameters",
            layers_part(one, prompt),
            embeddings_part(one),
        ]
    )


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        models = open_all(args.models, args.size)
        for one in models:
            print(describe(one, args.prompt), end="\n\n")
        if args.out:
            for path in figures.draw_all(models, Path(args.out)):
                print(f"drew {path}")
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        print(
            f"explore_pretrained_weights.py: error: {message}", file=sys.stderr
        )
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
