"""What the two scripts here share: opening any model, and measuring it.

Every function takes a model and gives numbers back; the scripts print and
draw them.
"""
#| needs ch05/02_alternative-weight-loading

import math
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import previous_chapters as pc
import torch
from safetensors import SafetensorError, safe_open
from scratch_llm.cli import ShortParser
from scratch_llm.download import GPT2
from torch import Tensor, nn


def parser(prog: str, doc: str) -> ShortParser:
    """What the command lines of both scripts have in common."""
    p = ShortParser(prog=prog, description=doc.split("\n")[0])
    sizes = "124M (default), 355M, 774M or 1558M"
    p.add_argument("--size", default="124M", help=f"of a GPT-2 file: {sizes}")
    text = "a text to read (default 'One day,')"
    p.add_argument("--prompt", default="One day,", help=text)
    return p


def exit_code(run: Callable, p: ShortParser, argv: list[str] | None) -> int:
    """0, or 2 and one line on stderr if the input is at fault."""
    args = p.parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"{p.prog}: error: {message}", file=sys.stderr)
        return 2
    return 0


# ---- Opening -------------------------------------------------------------


@dataclass
class OpenedModel:
    """A model, its name, and the tokenizer that lies beside it, if any."""

    name: str
    model: nn.Module
    tokenizer: Any | None = None  # a tiktoken.Encoding
    prefix: str = ""  # what stood before each text in training

    def ids(self, text: str, length: int = 16) -> Tensor:
        """A text as ids (1, T); without a tokenizer the first few ids."""
        room = self.model.cfg["context_length"]
        ids = [*range(min(length, self.model.cfg["vocab_size"]))]
        if self.tokenizer is not None:
            ids = pc.encode_prompt(self.tokenizer, text)
        return torch.tensor([ids[:room]])


def open_model(name: str, size: str = "124M") -> OpenedModel:
    """Any model: by name, a run folder, or a file of six formats.

    size: of GPT-2, used for files that do not say what they hold.
    ValueError in one line if it cannot be read.
    """
    path = Path(name)
    if not path.exists() and (name == "storyteller" or name in GPT2):
        model, tokenizer = pc.from_pretrained(name, "cpu")
        spaced = getattr(tokenizer, "add_prefix_space", False)
        return OpenedModel(name, model, tokenizer, " " if spaced else "")
    file, found = file_in(path), None
    if file.suffix == ".safetensors" and has_config(file):
        found = pc.load_model(file), pc.read_header(file)["prefix"]
    elif file.is_file() and file.suffix in (".pt", ".pth", ".bin"):
        found = from_training(file)
    shown = path.name if path.is_dir() else path.stem
    if found is None:
        return OpenedModel(shown, pc.gpt2_model(size, file))
    model, prefix = found
    tokenizer = beside(file, model, prefix)
    return OpenedModel(shown, model.eval(), tokenizer, prefix)


def file_in(path: Path) -> Path:
    """The file to read: of a run its final model, or its last state.

    OpenAI's folder (with model.ckpt.index) stands for itself.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist: give a run folder, a file of weights "
            f"or OpenAI's folder, storyteller, or one of {', '.join(GPT2)}"
        )
    if path.is_file() or any(path.glob("*.ckpt.index")):
        return path
    for pattern in ("model.safetensors", "**/last.pt", "**/*.pt"):
        for file in sorted(path.glob(pattern)):
            return file
    raise ValueError(
        f"{path} holds no model.safetensors, no checkpoint and no "
        "model.ckpt.index"
    )


def has_config(path: Path) -> bool:
    """Whether save_model wrote this .safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return "config" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file "
            f"({' '.join(str(error).split())[:80]})"
        ) from None


def from_training(path: Path) -> tuple[nn.Module, str] | None:
    """Model and prefix of a training checkpoint; None if it is no such."""
    try:
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=True
        )
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole PyTorch file ({type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or not {"model", "config"} <= state.keys():
        return None
    model = pc.GPTModel(state["config"])
    model.load_state_dict(state["model"])
    stories = state.get("options", {}).get("data") == "stories"
    return model, " " if stories else ""


def beside(file: Path, model: nn.Module, prefix: str) -> Any | None:
    """The tokenizer next to a file of weights, if it fits the model."""
    for folder in (file.parent, file.parent.parent):
        for name in ("tokenizer.tiktoken", f"{file.stem}.tiktoken"):
            if (path := folder / name).is_file():
                try:
                    size = model.cfg["vocab_size"]
                    return pc.load_tokenizer(path, size, prefix)
                except ValueError:
                    return None
    return None


def untrained(init: str, like: OpenedModel, seed: int = 123) -> OpenedModel:
    """A model before its first step: `fresh`, or `copying` (ch05, 5.5)."""
    torch.manual_seed(seed)
    model = pc.GPTModel(like.model.cfg).eval()
    if init == "copying":
        pc.init_copying(model)
    return OpenedModel(init, model, like.tokenizer, like.prefix)


# ---- Measuring -----------------------------------------------------------


def parameter_rows(model: nn.Module) -> list[tuple]:
    """Name, shape, count, mean, standard deviation, norm of each tensor.

    A shared tensor is counted once. ValueError if the sum is not what the
    config's formula says, or a number is not finite.
    """
    rows = []
    for name, p in model.named_parameters():
        p = p.detach().float()
        if not p.isfinite().all():
            raise ValueError(f"{name} holds numbers that are not finite")
        rows.append(
            (
                name,
                tuple(p.shape),
                p.numel(),
                p.mean().item(),
                p.std(unbiased=False).item(),
                p.norm().item(),
            )
        )
    total, wanted = sum(r[2] for r in rows), pc.parameter_formula(model.cfg)
    if total != wanted:
        raise ValueError(
            f"{total:,} parameters, but the config's formula gives {wanted:,}"
        )
    return rows


def rms(x: Tensor) -> float:
    """The root of the mean square: a norm that size does not change."""
    return x.detach().float().square().mean().sqrt().item()


def layer_norms(model: nn.Module) -> dict[str, list[float]]:
    """RMS of each weight matrix, and of the norms' scales, by layer."""
    found = defaultdict(list)
    for block in model.trf_blocks:
        q, k, v = block.att.qkv.weight.chunk(3)  # (C, C) each
        parts = {"query": q, "key": k, "value": v}
        parts["output"] = block.att.out_proj.weight
        parts["up"] = block.ff.layers[0].weight
        parts["down"] = block.ff.layers[2].weight
        parts["norm1"] = block.norm1.scale
        parts["norm2"] = block.norm2.scale
        for name, part in parts.items():
            found[name].append(rms(part))
    return dict(found)


@torch.no_grad()
def added(model: nn.Module, ids: Tensor) -> dict[str, list[float]]:
    """How much attention and feed-forward add to the stream, by layer.

    ids (1, T). RMS of what is added / RMS of the stream before it.
    """
    found, hooks = {"attention": [], "feed-forward": []}, []
    stream = []  # RMS of what each norm reads

    def watch(part: nn.Module, norm: nn.Module, name: str) -> None:
        def before(norm: nn.Module, args: tuple) -> None:
            stream.append(rms(args[0]))

        def after(part: nn.Module, args: tuple, out: Tensor) -> None:
            found[name].append(rms(out) / stream[-1])

        hooks.append(norm.register_forward_pre_hook(before))
        hooks.append(part.register_forward_hook(after))

    for block in model.trf_blocks:
        watch(block.att, block.norm1, "attention")
        watch(block.ff, block.norm2, "feed-forward")
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


def position_similarity(model: nn.Module, count: int = 256) -> Tensor:
    """Cosine of each pair of the first positions' embeddings, (P, P)."""
    rows = model.pos_emb.weight.detach()[:count].float()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return rows @ rows.T
