"""What the two scripts here share: opening any model, and measuring it.

Every function takes a model and gives numbers back; the scripts print and
draw them.
"""
#| needs ch05/02_alternative-weight-loading

import contextlib
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import previous_chapters as pc
import tiktoken
import torch
from safetensors import safe_open
from scratch_llm.cli import ShortParser
from torch import Tensor, nn
from torch.nn import functional as F


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
    tokenizer: tiktoken.Encoding | None = None
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
    path = file = Path(name)
    if not (path / "model.safetensors").exists():  # a run that was killed
        last = path / "checkpoints" / "last.pt"
        file = last if last.exists() else path
    if not file.is_file() and not any(file.glob("*.ckpt.index")):
        model, tokenizer = pc.from_pretrained(name, "cpu")
        spaced = getattr(tokenizer, "add_prefix_space", False)
        return OpenedModel(path.name, model, tokenizer, " " * spaced)
    try:
        found = read_own(file)
        model, prefix = found or (pc.gpt2_model(size, file), "")
    except ValueError:
        raise
    except Exception as error:  # each library has errors of its own
        raise ValueError(
            f"{file} is not a whole file of weights ({type(error).__name__})"
        ) from None
    tokenizer = beside(file, model, prefix) if found else None
    shown = path.stem if path.is_file() else path.name
    return OpenedModel(shown, model.eval(), tokenizer, prefix)


def read_own(file: Path) -> tuple[nn.Module, str] | None:
    """Model and prefix of a file of this course; None if it is no such."""
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as opened:
            if "config" not in (opened.metadata() or {}):
                return None
        return pc.load_model(file), pc.read_header(file)["prefix"]
    if file.suffix != ".pt":
        return None
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not {"model", "config", "options"} <= set(state):
        return None
    model = pc.GPTModel(state["config"])
    model.load_state_dict(state["model"])
    return model, " " if state["options"]["data"] == "stories" else ""


def beside(
    file: Path, model: nn.Module, prefix: str
) -> tiktoken.Encoding | None:
    """The tokenizer next to a file of weights, if it fits the model."""
    names = ("tokenizer.tiktoken", f"{file.stem}.tiktoken")
    for path in (folder / n for folder in file.parents[:2] for n in names):
        with contextlib.suppress(ValueError):
            return pc.load_tokenizer(path, model.cfg["vocab_size"], prefix)
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
        numbers = (p.mean(), p.std(unbiased=False), p.norm())
        sizes = (tuple(p.shape), p.numel())
        rows.append((name, *sizes, *(x.item() for x in numbers)))
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
    found = {"attention": [], "feed-forward": []}
    x = model.tok_emb(ids) + model.pos_emb.weight[: ids.shape[1]]  # (1, T, C)
    for block in model.trf_blocks:
        for name, part, norm in (
            ("attention", block.att, block.norm1),
            ("feed-forward", block.ff, block.norm2),
        ):
            more = part(norm(x))
            found[name].append(rms(more) / rms(x))
            x = x + more
    return found


def spectrum(weight: Tensor) -> Tensor:
    """Singular values of (N, C), the largest first, as min(N, C) shares."""
    values = torch.linalg.svdvals(weight.detach().float())
    return values / values.sum()


def effective_rank(shares: Tensor) -> float:
    """How many directions are in use: e to the entropy of the shares.

    Source: Roy and Vetterli 2007, definition 1.
    """
    return torch.special.entr(shares.double()).sum().exp().item()


def position_similarity(model: nn.Module, count: int = 256) -> Tensor:
    """Cosine of each pair of the first positions' embeddings, (P, P)."""
    rows = model.pos_emb.weight.detach()[:count].float()
    rows = F.normalize(rows, dim=1)
    return rows @ rows.T
