"""Open a model of any format, list its parameters and try it once.

    python scripts/load_pytorch_weights.py storyteller
    python scripts/load_pytorch_weights.py runs/storyteller-001
    python scripts/load_pytorch_weights.py gpt2/124M --size 124M
    python scripts/load_pytorch_weights.py model.pth --save model.safetensors

A model is a run folder, a .safetensors file (ours or Hugging Face's), a
PyTorch .pt, .pth or .bin file, OpenAI's folder, or the word storyteller.
"""

import argparse
import math
import sys
from pathlib import Path

import previous_chapters as pc
import torch
import weights
from scratch_llm.cli import run_script
from scratch_llm.text import text_table
from torch import nn
from weights import OpenedModel


def options(argv: list[str] | None) -> argparse.Namespace:
    p = weights.parser("load_pytorch_weights.py", __doc__)
    p.add_argument("model", help="run folder, file, or storyteller")
    p.add_argument(
        "--save",
        metavar="OUT.safetensors",
        help="write it in this course's own format",
    )
    return p.parse_args(argv)


def free_path(name: str) -> Path:
    """Where to save; ValueError if it cannot or must not be written."""
    path = Path(name)
    if path.suffix != ".safetensors":
        raise ValueError(f"--save {name}: the name must end in .safetensors")
    if path.exists():
        raise ValueError(f"--save {name} exists already: name another")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--save {name}: there is no such folder")
    return path


def parameter_table(model: nn.Module) -> str:
    """All parameters, and their sum, which the config's formula confirms."""
    rows = weights.parameter_rows(model)
    lines = [
        [
            name,
            "x".join(map(str, shape)),
            f"{count:,}",
            f"{mean:+.4f}",
            f"{std:.4f}",
            f"{norm:.2f}",
        ]
        for name, shape, count, mean, std, norm in rows
    ]
    if model.cfg.get("tie_weights"):
        lines.append(["out_head.weight", "is tok_emb.weight", "", "", "", ""])
    lines.append(
        ["total", "as the formula", f"{sum(r[2] for r in rows):,}", "", "", ""]
    )
    head = ["name", "shape", "count", "mean", "std", "norm"]
    return text_table([head, *lines])


@torch.no_grad()
def forward_lines(opened: OpenedModel, prompt: str) -> str:
    """One forward pass: shapes, certainty, and what would come next.

    ValueError if the logits are not finite.
    """
    ids = opened.ids(prompt)  # (1, T)
    logits = opened.model(ids)  # (1, T, V)
    if not logits.isfinite().all():
        raise ValueError(f"{opened.name}: the logits are not finite")
    p = logits[0, -1].softmax(-1)  # (V,)
    entropy = -(p * p.clamp(min=1e-30).log()).sum().item()
    lines = [
        f"ids {tuple(ids.shape)} -> logits {tuple(logits.shape)}; the "
        f"next token's entropy is {entropy:.2f} nats of at most "
        f"{math.log(len(p)):.2f}"
    ]
    best = p.topk(min(5, len(p)))
    decode = (
        str
        if opened.tokenizer is None
        else lambda i: repr(opened.tokenizer.decode([i]))
    )
    said = [
        f"{decode(i)} {share:.0%}"
        for share, i in zip(
            best.values.tolist(), best.indices.tolist(), strict=True
        )
    ]
    what = "token" if opened.tokenizer is None else f"after {prompt!r}"
    return "\n".join([*lines, f"likeliest {what}: {', '.join(said)}"])


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        out = free_path(args.save) if args.save else None
        opened = weights.open_model(args.model, args.size)
        print(parameter_table(opened.model))
        print(forward_lines(opened, args.prompt))
        if out is not None:
            pc.save_model(out, opened.model, opened.prefix)
            print(f"saved {out}")
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"load_pytorch_weights.py: error: {message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
