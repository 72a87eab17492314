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
from pathlib import Path

import previous_chapters as pc
import torch
import weights
from scratch_llm.cli import run_script
from scratch_llm.text import text_table
from torch import nn
from weights import OpenedModel


def parser() -> argparse.ArgumentParser:
    p = weights.parser("load_pytorch_weights.py", __doc__)
    p.add_argument("model", help="run folder, file, or storyteller")
    text = "write it as .safetensors in this course's own format"
    p.add_argument("--save", metavar="OUT", type=Path, help=text)
    return p


def check_free(path: Path) -> None:
    """ValueError if a file must not or cannot be written there."""
    if path.exists() or not path.absolute().parent.is_dir():
        raise ValueError(f"--save {path}: name a new file in a folder")
    if path.suffix != ".safetensors":
        raise ValueError(f"--save {path}: the name must end in .safetensors")


def parameter_table(model: nn.Module) -> str:
    """All parameters, and their sum, which the config's formula confirms."""
    lines, total = [["name", "shape", "count", "mean", "std", "norm"]], 0
    for name, shape, count, mean, std, norm in weights.parameter_rows(model):
        sizes, total = "x".join(map(str, shape)), total + count
        numbers = (f"{count:,}", f"{mean:+.4f}", f"{std:.4f}", f"{norm:.2f}")
        lines.append([name, sizes, *numbers])
    if model.cfg.get("tie_weights"):
        lines.append(["out_head.weight", "is tok_emb.weight"])
    lines.append(["total", "as the formula", f"{total:,}"])
    return text_table(lines)


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
    entropy = torch.special.entr(p).sum().item()
    likeliest, what = p.argsort(descending=True)[:5].tolist(), "token"
    said = [f"{i} {p[i]:.0%}" for i in likeliest]
    if opened.tokenizer is not None:
        read, what = opened.tokenizer.decode, f"after {prompt!r}"
        said = [f"{read([i])!r} {p[i]:.0%}" for i in likeliest]
    return (
        f"ids {tuple(ids.shape)} -> logits {tuple(logits.shape)}; the next "
        f"token's entropy is {entropy:.2f} nats of at most "
        f"{math.log(len(p)):.2f}\nlikeliest {what}: {', '.join(said)}"
    )


def run(args: argparse.Namespace) -> None:
    if args.save is not None:
        check_free(args.save)
    opened = weights.open_model(args.model, args.size)
    print(parameter_table(opened.model))
    print(forward_lines(opened, args.prompt))
    if args.save is not None:
        pc.save_model(args.save, opened.model, opened.prefix)
        print(f"saved {args.save}")


def main(argv: list[str] | None = None) -> int:
    return weights.exit_code(run, parser(), argv)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
