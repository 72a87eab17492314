"""What the two scripts here share: opening any model, and measuring it.

Every function takes a GPTModel and gives numbers back; the scripts print
and draw them.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

HERE = Path(__file__).resolve().parent
CH05, SHARED = HERE.parents[1], HERE.parents[2] / "shared"
sys.path[:0] = [str(CH05 / "01_main-chapter-code"),
                str(CH05 / "02_alternative-weight-loading"),
                str(HERE.parent / "src")]
import gpt_files as files  # noqa: E402
from gpt_options import ShortParser, run_script  # noqa: E402, F401
from pretraining import start_copying  # noqa: E402
from previous_chapters import (  # noqa: E402
    GPTModel,
    load_encoding,
    parameter_formula,
)


def parser(prog: str, doc: str) -> ShortParser:
    """What the command lines of both scripts have in common."""
    p = ShortParser(prog=prog, description=doc.split("\n")[0])
    p.add_argument("--size", default="124M", help="of a GPT-2 file: 124M, "
                   "355M, 774M or 1558M (default 124M)")
    p.add_argument("--prompt", default="One day,", help="a text to read "
                   "(default 'One day,')")
    return p


# ---- Opening -------------------------------------------------------------


@dataclass
class Opened:
    """A model, its name, and the tokenizer that lies beside it, if any."""

    name: str
    model: GPTModel
    tokenizer: Any | None = None
    prefix: str = ""              # what stood before each text in training

    def ids(self, text: str, length: int = 16) -> Tensor:
        """A text as ids (1, T); without a tokenizer the first few ids."""
        if self.tokenizer is None:
            length = min(length, self.model.cfg["context_length"])
            return torch.arange(length)[None] % self.model.cfg["vocab_size"]
        ids = files.encode_prompt(self.tokenizer, self.prefix, text)
        return torch.tensor([ids[:self.model.cfg["context_length"]]])


def model_file(path: Path) -> Path:
    """The file to read: of a run folder its final model or its last state.

    OpenAI's folder (with model.ckpt.index) stands for itself.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a run folder, a file "
                         "of weights or OpenAI's folder")
    if path.is_file() or any(path.glob("*.ckpt.index")):
        return path
    found = [path / "model.safetensors",
             *sorted(path.glob("**/last.pt")), *sorted(path.glob("**/*.pt"))]
    for file in found:
        if file.is_file():
            return file
    raise ValueError(f"{path} holds no model.safetensors, no checkpoint and "
                     "no model.ckpt.index")


def has_config(path: Path) -> bool:
    """Whether gpt_files.save_model wrote this .safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return "config" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole safetensors file "
                         f"({' '.join(str(error).split())[:80]})") from None


def from_training(path: Path) -> tuple[GPTModel | None, str]:
    """Model and prefix of a training checkpoint; None if it is no such."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True,
                           mmap=True)
    except Exception as error:
        raise ValueError(f"{path} is not a whole PyTorch file "
                         f"({type(error).__name__})") from None
    if not isinstance(state, dict) or not {"model", "config"} <= state.keys():
        return None, ""
    model, tensors = GPTModel(state["config"]), dict(state["model"])
    tensors.setdefault("out_head.weight", tensors["tok_emb.weight"])
    model.load_state_dict(tensors)
    stories = state.get("options", {}).get("data") in (None, "stories")
    return model, " " if stories else ""


def beside(path: Path, vocab_size: int) -> Any | None:
    """The tokenizer next to a file of weights, if it fits the model."""
    for folder in (path.parent, path.parent.parent):
        for name in ("tokenizer.tiktoken", f"{path.stem}.tiktoken"):
            if (folder / name).is_file():
                found = load_encoding(folder / name)
                return found if found.n_vocab == vocab_size else None
    return None


def locate(name: str, size: str) -> tuple[Path, str]:
    """Where a model lies, and its size if it is one of GPT-2's by name."""
    if name == "storyteller":
        return files.STORYTELLER, size
    if name.startswith("gpt2-") and not Path(name).exists():
        import gpt_models
        path = gpt_models.find(name)
        return path, gpt_models.download.GPT2[name][0]
    return Path(name), size


def open_model(name: str, size: str = "124M") -> Opened:
    """Any model: ours, a training checkpoint, or GPT-2 in three formats.

    size: of GPT-2, used for files that do not say what they hold.
    ValueError in one line if it cannot be read.
    """
    path, size = locate(name, size)
    file, model, prefix = model_file(path), None, ""
    shown = path.name if path.is_dir() else path.stem
    if file.suffix == ".safetensors" and has_config(file):
        model, prefix = files.load_model(file), files.read_prefix(file)
    elif file.is_file() and file.suffix in (".pt", ".pth", ".bin"):
        model, prefix = from_training(file)
    if model is None:
        from gpt2_weights import gpt2_model
        return Opened(shown, gpt2_model(size, file))
    tokenizer = beside(file, model.cfg["vocab_size"])
    return Opened(shown, model.eval(), tokenizer, prefix)


def untrained(start: str, cfg: dict, seed: int = 123) -> Opened:
    """A model before its first step: `fresh`, or `copying` (ch05, 5.5)."""
    torch.manual_seed(seed)
    model = GPTModel(cfg).eval()
    return Opened(start, start_copying(model) if start == "copying"
                  else model)


# ---- Measuring -----------------------------------------------------------


def parameter_rows(model: GPTModel) -> list[tuple]:
    """Name, shape, count, mean, standard deviation, norm of each tensor.

    A shared tensor is counted once. ValueError if the sum is not what the
    config's formula says, or a number is not finite.
    """
    rows = []
    for name, p in model.named_parameters():
        p = p.detach().float()
        if not p.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
        rows.append((name, tuple(p.shape), p.numel(), p.mean().item(),
                     p.std(unbiased=False).item(), p.norm().item()))
    total, wanted = sum(r[2] for r in rows), parameter_formula(model.cfg)
    if total != wanted:
        raise ValueError(f"{total:,} parameters, but the config's formula "
                         f"gives {wanted:,}")
    return rows


def rms(x: Tensor) -> float:
    """The root of the mean square: a norm that size does not change."""
    return x.detach().float().square().mean().sqrt().item()


def layer_norms(model: GPTModel) -> dict[str, list[float]]:
    """RMS of each weight matrix, and of the norms' scales, by layer."""
    found: dict[str, list[float]] = {}
    for block in model.trf_blocks:
        q, k, v = block.att.qkv.weight.chunk(3)             # (C, C) each
        up, down = block.ff.layers[0].weight, block.ff.layers[2].weight
        for name, part in (("query", q), ("key", k), ("value", v),
                           ("output", block.att.out_proj.weight),
                           ("up", up), ("down", down),
                           ("norm1", block.norm1.scale),
                           ("norm2", block.norm2.scale)):
            found.setdefault(name, []).append(rms(part))
    return found


@torch.no_grad()
def added(model: GPTModel, ids: Tensor) -> dict[str, list[float]]:
    """How much attention and feed-forward add to the stream, by layer.

    ids (1, T). RMS of what is added / RMS of the stream before it.
    """
    found: dict[str, list[float]] = {"attention": [], "feed-forward": []}

    def watch(part: Any, norm: Any, name: str) -> list:
        stream: list[float] = []
        return [norm.register_forward_pre_hook(
                    lambda _, args: stream.append(rms(args[0]))),
                part.register_forward_hook(
                    lambda m, args, out: found[name].append(
                        rms(out) / stream[-1]))]
    hooks = []
    for block in model.trf_blocks:
        hooks += watch(block.att, block.norm1, "attention")
        hooks += watch(block.ff, block.norm2, "feed-forward")
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def spectrum(weight: Tensor) -> Tensor:
    """Singular values of (N, C), the largest first, as min(N, C) shares.

    By way of the (C, C) products: 50,257 rows cost little. They sum to 1.
    """
    w = weight.detach().double()
    w = w if w.shape[0] >= w.shape[1] else w.T
    values = torch.linalg.eigvalsh(w.T @ w).clamp(min=0).sqrt().flip(0)
    return (values / values.sum()).float()


def effective_rank(shares: Tensor) -> float:
    """How many directions are in use: e to the entropy of the shares.

    Source: Roy and Vetterli 2007, definition 1.
    """
    p = shares[shares > 0].double()
    return math.exp(-(p * p.log()).sum().item())


def position_similarity(model: GPTModel, count: int = 256) -> Tensor:
    """Cosine of each pair of the first positions' embeddings, (P, P)."""
    rows = model.pos_emb.weight.detach()[:count].float()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return rows @ rows.T
