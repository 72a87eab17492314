# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
#            and ch03/01_main-chapter-code/ch03.ipynb
#            and ch04/01_main-chapter-code/ch04.ipynb
#            and ch05/02_alternative-weight-loading/weight-loading.ipynb
#            and ch05/01_main-chapter-code/ch05.ipynb
#            and ch06/01_main-chapter-code/ch06.ipynb
#            and ch07/01_main-chapter-code/ch07.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import base64
import contextlib
import copy
import itertools
import json
import math
import os
import re
import time
import timeit
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import safetensors.torch
import tiktoken
import torch
import torch.nn.functional as F
from safetensors import safe_open
from scratch_llm.fast import all_cores, attention
from scratch_llm.files import atomic
from scratch_llm.gpt2_files import GPT2, find_gpt2, gpt2_name
from scratch_llm.gpt2_vocabulary import bring_vocabulary
from scratch_llm.instructions import Entry, exact_match, token_f1
from scratch_llm.notes import NAMES
from scratch_llm.runs import find_model
from scratch_llm.text import text_pieces
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

# ---- ch02: text_data ----

END_OF_TEXT = "<|endoftext|>"

GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"     # English endings
    r"| ?\p{L}+| ?\p{N}+"          # letters, digits, with one space before
    r"| ?[^\s\p{L}\p{N}]+"         # anything else that is not space
    r"|\s+(?!\S)|\s+"              # space; its last goes to the next word
)


def gpt2_encoding() -> tiktoken.Encoding:
    """GPT-2's tokenizer, also where tiktoken's own download is blocked.

    ConnectionError, after seconds and not minutes, if there is no way.
    """
    bring_vocabulary()
    return tiktoken.get_encoding("gpt2")


class Tokenizer(Protocol):
    """What the course asks of a tokenizer; ids are 0 to n_vocab - 1."""

    n_vocab: int
    eot_token: int                                  # <|endoftext|>

    def encode(self, text: str, *,
               allowed_special: set[str]) -> list[int]: ...
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


def write_ranks(ranks: dict[bytes, int], path: str | Path) -> None:
    """Write tiktoken's format: per line a token in base64, and its rank."""
    Path(path).write_bytes(b"".join(
        base64.b64encode(token) + b" %d\n" % ranks[token]
        for token in sorted(ranks, key=ranks.get)))


def read_ranks(path: str | Path) -> dict[bytes, int]:
    """Read tiktoken's format; ValueError if the file is something else."""
    lines = Path(path).read_bytes().splitlines()
    try:
        return {base64.b64decode(token, validate=True): int(rank)
                for token, rank in map(bytes.split, lines)}
    except ValueError as why:
        raise ValueError(f"{path} is no file of ranks: {why}") from None


def load_encoding(path: str | Path) -> tiktoken.Encoding:
    """A saved vocabulary run by tiktoken; END_OF_TEXT follows the ranks."""
    ranks = read_ranks(path)
    return tiktoken.Encoding(
        Path(path).stem, pat_str=GPT2_PATTERN, mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)})


# ---- ch03: attention ----


def head_size(d_out: int, num_heads: int) -> int:
    """How many channels each head gets: D = d_out / num_heads.

    Raises ValueError if the channels do not divide evenly.
    """
    if num_heads < 1 or d_out % num_heads:
        raise ValueError(f"d_out={d_out} channels cannot be divided evenly "
                         f"among num_heads={num_heads}")
    return d_out // num_heads


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Make heads an axis of their own: (B, T, C) -> (B, H, T, D)."""
    B, T, C = x.shape
    D = head_size(C, num_heads)
    return x.view(B, T, num_heads, D).transpose(1, 2)   # (B, H, T, D)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads side by side again: (B, H, T, D) -> (B, T, C)."""
    return x.transpose(1, 2).flatten(2)                 # (B, T, C)


# ---- ch04: gpt ----

GPT_CONFIG_124M = {
    "vocab_size": 50257, "context_length": 1024,        # V, and the most T
    "emb_dim": 768, "n_heads": 12, "n_layers": 12,      # C, H, L
    "drop_rate": 0.1, "qkv_bias": False,
}


def require(condition: bool, message: str) -> None:
    """Raise ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def check_config(cfg: dict, **more: object) -> dict:
    """A copy of cfg; ValueError with key and value if it makes no model.

    more: what another architecture needs besides, each key with a type or
    with a test, as in check_config(cfg, n_groups=int, base=lambda b: b > 1).
    """
    known = GPT_CONFIG_124M.keys() | more
    missing = sorted(known - cfg.keys())
    unknown = sorted(cfg.keys() - known - {"tie_weights"})
    require(not missing and not unknown,
            f"config: missing {missing}, unknown {unknown}")
    for key in list(GPT_CONFIG_124M)[:5]:               # the sizes
        require(type(cfg[key]) is int and cfg[key] > 0,
                f"{key}={cfg[key]!r} is not a positive integer")
    C, H, rate = cfg["emb_dim"], cfg["n_heads"], cfg["drop_rate"]
    require(C % H == 0, f"emb_dim={C} cannot be shared by n_heads={H}")
    require(0 <= rate < 1, f"drop_rate={rate!r} is not in [0, 1)")
    for key, kind in {"qkv_bias": bool, "tie_weights": bool, **more}.items():
        value = cfg.get(key, False)                     # tie_weights may lack
        if isinstance(kind, type):
            good, kind = type(value) is kind, kind.__name__
        else:
            good, kind = kind(value), "value that works"
        require(good, f"{key}={value!r} is no {kind}")
    return dict(cfg)


class LayerNorm(nn.Module):
    """Give every token's numbers mean 0 and variance 1, then rescale them.

    (..., C) -> (..., C), each row on its own. Source: Ba et al. 2016, eq. 4.
    """

    def __init__(self, emb_dim: int):
        super().__init__()
        self.eps = 1e-5                                 # as in GPT-2
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.scale.shape, self.scale, self.shift,
                            self.eps)


class GELU(nn.Module):
    """A gate that opens smoothly, in GPT-2's form with tanh.

    Any shape. Source: Hendrycks and Gimpel 2016, section 2.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")


class FeedForward(nn.Module):
    """Let every token think on its own: (B, T, C) -> 4C -> (B, T, C)."""

    def __init__(self, cfg: dict):
        super().__init__()
        C = cfg["emb_dim"]
        self.layers = nn.Sequential(
            nn.Linear(C, 4 * C), GELU(), nn.Linear(4 * C, C))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def init_like_gpt2(model: nn.Module, n_layers: int) -> None:
    """Draw start values as GPT-2 did; what adds to the stream is smaller.

    Source: Radford et al. 2019, section 2.3, and their published code.
    """
    smaller = 0.02 / (2 * n_layers)**0.5
    for name, p in model.named_parameters():
        if name.endswith(("out_proj.weight", "layers.2.weight")):
            nn.init.normal_(p, std=smaller)
        elif p.ndim == 2:
            nn.init.normal_(p, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(p)


GPT2_SIZES = {                # C, L, H
    "124M": (768, 12, 12),
    "355M": (1024, 24, 16),
    "774M": (1280, 36, 20),
    "1558M": (1600, 48, 25),
}


def gpt2_config(size: str, **changes: object) -> dict:
    """The config of one of GPT-2's sizes, e.g. gpt2_config("355M")."""
    require(size in GPT2_SIZES, f"no GPT-2 {size!r}: {list(GPT2_SIZES)}")
    C, L, H = GPT2_SIZES[size]
    return {**GPT_CONFIG_124M, "emb_dim": C, "n_layers": L, "n_heads": H,
            **changes}


def next_token_probs(logits: Tensor, temperature: float = 1.0,
                     top_k: int | None = None,
                     top_p: float | None = None) -> Tensor:
    """Probabilities to draw from: temperature, then top-k, then top-p.

    (..., V) -> (..., V), rows sum to 1; temperature 0 puts all on the best.
    Raises ValueError. Source of top-p: Holtzman et al. 2020, section 3.1.
    """
    require(0 <= temperature < math.inf, f"temperature={temperature} < 0")
    require(top_k is None or top_k >= 1, f"top_k={top_k} keeps no token")
    require(top_p is None or 0 < top_p <= 1, f"top_p={top_p}: not in (0, 1]")
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    logits = logits.float() / temperature
    if top_k is not None:
        kth = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probs = logits.softmax(-1)
    if top_p is not None and top_p < 1:
        ranked, order = probs.sort(descending=True)
        before = ranked.cumsum(-1) - ranked             # mass of the better
        probs = probs.scatter(-1, order, ranked * (before < top_p))
    return probs / probs.sum(-1, keepdim=True)


def choose_token(logits: Tensor, temperature: float = 0.0,
                 top_k: int | None = None, top_p: float | None = None,
                 generator: torch.Generator | None = None) -> Tensor:
    """The best token, or one drawn with the dials: (B, V) -> (B, 1)."""
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    probs = next_token_probs(logits, temperature, top_k, top_p)
    return probs.multinomial(1, generator=generator)


class KVCache:
    """Keys and values of the tokens read so far, for every block.

    Two tensors (L, B, H, capacity, D), allocated once; length counts the
    positions filled. Raises ValueError when more is stored than fits.
    kind: dtype and device, as for torch.empty.
    """

    def __init__(self, cfg: dict, batch_size: int = 1,
                 capacity: int | None = None, **kind: object):
        H = cfg["n_heads"]
        shape = (cfg["n_layers"], batch_size, H,
                 capacity or cfg["context_length"], cfg["emb_dim"] // H)
        self.keys = torch.empty(shape, **kind)
        self.values = torch.empty(shape, **kind)
        self.reset()

    def reset(self) -> None:
        """Forget everything; the memory is kept."""
        self.length = 0

    def store(self, layer: int, k: Tensor, v: Tensor) -> tuple:
        """Add new k, v (B, H, T, D); all that this layer has: (B, H, S, D)."""
        start, end = self.length, self.length + k.shape[2]
        require(end <= self.keys.shape[3],
                f"{end} tokens in a cache for {self.keys.shape[3]}")
        self.keys[layer, :, :, start:end] = k           # (B, H, T, D)
        self.values[layer, :, :, start:end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Causal attention; q are the last T of the S positions of k and v.

    q (B, H, T, D), k and v (B, H, S, D) -> (B, H, T, D).
    """
    T, S = q.shape[2], k.shape[2]
    mask = None
    if 1 < T < S:                                       # a past to read, too
        mask = q.new_full((T, S), -torch.inf).triu(1 + S - T)
    return attention(q, k, v, mask, dropout, is_causal=(T == S and T > 1))


class MultiHeadAttention(nn.Module):
    """Chapter 3's attention, which can now also read from a cache.

    (B, T, d_in) -> (B, T, d_out); layer says which part of cache is ours.
    """

    def __init__(self, d_in: int, d_out: int, context_length: int,
                 dropout: float, num_heads: int, qkv_bias: bool = False):
        super().__init__()
        require(d_out % num_heads == 0,
                f"d_out={d_out} cannot be shared by num_heads={num_heads}")
        self.num_heads, self.dropout = num_heads, dropout
        self.qkv = nn.Linear(d_in, 3 * d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)

    def forward(self, x: Tensor, cache: KVCache | None = None,
                layer: int = 0) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads)    # (B, H, T, D)
                   for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:                           # new
            k, v = cache.store(layer, k, v)             # (B, H, S, D)
        y = attend(q, k, v, self.dropout if self.training else 0.0)
        return self.out_proj(merge_heads(y))            # (B, T, C)


class TransformerBlock(nn.Module):
    """Read from others, then think: x + att(norm(x)), then x + ff(norm(x)).

    (B, T, C) -> (B, T, C). Source: Radford et al. 2019, section 2.3.
    """

    def __init__(self, cfg: dict):
        super().__init__()
        C = cfg["emb_dim"]
        self.att = MultiHeadAttention(
            C, C, cfg["context_length"], cfg["drop_rate"], cfg["n_heads"],
            cfg["qkv_bias"])
        self.ff = FeedForward(cfg)
        self.norm1 = LayerNorm(C)
        self.norm2 = LayerNorm(C)
        self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

    def forward(self, x: Tensor, cache: KVCache | None = None,
                layer: int = 0) -> Tensor:
        x = x + self.drop_shortcut(self.att(self.norm1(x), cache, layer))
        return x + self.drop_shortcut(self.ff(self.norm2(x)))


class GPTModel(nn.Module):
    """GPT-2: ids (B, T) -> logits (B, T, V) for each next token.

    Source: Radford et al. 2019, section 2.3. Whatever else has cfg, forward,
    new_cache and scale_logits can be trained and can write like it.
    """

    def __init__(self, cfg: dict):
        super().__init__()
        self.cfg = check_config(cfg)
        V, C, L = cfg["vocab_size"], cfg["emb_dim"], cfg["n_layers"]
        self.tok_emb = nn.Embedding(V, C)
        self.pos_emb = nn.Embedding(cfg["context_length"], C)
        self.drop_emb = nn.Dropout(cfg["drop_rate"])
        blocks = (TransformerBlock(cfg) for _ in range(L))
        self.trf_blocks = nn.ModuleList(blocks)
        self.final_norm = LayerNorm(C)
        self.out_head = nn.Linear(C, V, bias=False)
        if cfg.get("tie_weights"):
            self.out_head.weight = self.tok_emb.weight
        self.init_weights()

    def init_weights(self) -> None:
        """Start as GPT-2 did; what adds to the stream starts smaller."""
        init_like_gpt2(self, self.cfg["n_layers"])

    def forward(self, ids: Tensor, cache: KVCache | None = None,
                last_only: bool = False) -> Tensor:
        start = cache.length if cache is not None else 0        # new
        places = self.pos_emb.weight[start:start + ids.shape[-1]]
        require(ids.ndim == 2 and len(places) == ids.shape[1],
                f"ids {tuple(ids.shape)} from position {start} on: not (B, T)"
                f" within context_length={self.cfg['context_length']}")
        x = self.drop_emb(self.tok_emb(ids) + places)   # (B, T, C)
        for layer, block in enumerate(self.trf_blocks):
            x = block(x, cache, layer)                  # new: cache, layer
        if cache is not None:                           # new
            cache.length += ids.shape[1]
        if last_only:                                   # new
            x = x[:, -1:]                               # (B, 1, C)
        return self.out_head(self.final_norm(x))        # (B, T, V)

    def new_cache(self, batch_size: int = 1,
                  capacity: int | None = None) -> KVCache:
        """An empty cache where our weights are, for numbers like theirs."""
        W = self.pos_emb.weight
        return KVCache(self.cfg, batch_size, capacity,
                       device=W.device, dtype=W.dtype)

    @torch.no_grad()
    def scale_logits(self, factor: float) -> None:
        """Multiply all logits by factor, in place, for good.

        The last norm does it: the head may be the token table as well.
        """
        self.final_norm.scale.mul_(factor)
        self.final_norm.shift.mul_(factor)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """No dropout inside; afterwards the model's mode is what it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_request(model: nn.Module, ids: Tensor, max_new_tokens: int,
                  temperature: float = 0.0, top_k: int | None = None,
                  top_p: float | None = None) -> None:
    """ValueError if model cannot write on from ids like this."""
    V = model.cfg["vocab_size"]
    require(ids.ndim == 2 and ids.numel() and 0 <= ids.min() <= ids.max() < V,
            f"ids {tuple(ids.shape)}: not (B, T) numbers from 0 to {V - 1}")
    require(max_new_tokens >= 0, f"max_new_tokens={max_new_tokens}: not >= 0")
    next_token_probs(torch.ones(1), temperature, top_k, top_p)  # can it?


def generate_tokens(
        model: nn.Module, ids: Tensor, max_new_tokens: int,
        temperature: float = 0.0, top_k: int | None = None,
        top_p: float | None = None, stop_id: int | None = None,
        use_cache: bool = True, generator: torch.Generator | None = None
        ) -> Iterator[Tensor]:
    """Write on from ids (B, T): an iterator over new tokens (B, 1).

    A row that has written stop_id is filled with it; when all rows have,
    the writing ends. Raises ValueError. The model's mode is kept.
    """
    dials = temperature, top_k, top_p
    check_request(model, ids, max_new_tokens, *dials)
    most = model.cfg["context_length"]

    def write(ids: Tensor) -> Iterator[Tensor]:
        room = min(most, ids.shape[1] + max_new_tokens)
        cache = model.new_cache(len(ids), room) if use_cache else None
        done = torch.zeros_like(ids[:, :1], dtype=torch.bool)  # (B, 1)
        with eval_mode(model), all_cores(model):
            for _ in range(max_new_tokens):
                window = ids[:, -most:]
                if use_cache:
                    if cache.length == most:                # it is full
                        cache.reset()
                    window = window[:, cache.length:]       # what is new
                with torch.inference_mode():
                    logits = model(window, cache, last_only=True)[:, -1]
                new = choose_token(logits, *dials, generator)  # (B, 1)
                if stop_id is not None:
                    new = new.masked_fill(done, stop_id)
                    done = done | (new == stop_id)
                yield new
                if done.all():
                    break
                ids = torch.cat([ids, new], dim=1)          # (B, T + 1)

    return write(ids)


def generate(model: nn.Module, ids: Tensor, max_new_tokens: int,
             **how: object) -> Tensor:
    """All at once what generate_tokens streams: (B, T) -> (B, T + n).

    how: temperature and the rest, as for generate_tokens.
    """
    new = generate_tokens(model, ids, max_new_tokens, **how)
    return torch.cat([ids, *new], dim=1)


def pick_device(name: str | None = None) -> torch.device:
    """The device of this name, or of SCRATCH_LLM_DEVICE, or the best here.

    Raises ValueError if this machine does not have it.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    name = (name or os.environ.get("SCRATCH_LLM_DEVICE")
            or ("cuda" if cuda else "mps" if mps else "cpu"))
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"no device {name!r} on this machine") from error


# ---- ch05: gpt2_weights ----


def import_tensorflow() -> ModuleType:
    """TensorFlow, asked to be quiet; ValueError if it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow
    except ImportError:
        raise ValueError(
            "OpenAI's format is read with tensorflow, which is not installed: "
            "pip install -r ch05/02_alternative-weight-loading/"
            "requirements-tensorflow.txt, or take a .safetensors or .pth file"
        ) from None
    return tensorflow


OPENAI_NAMES = {"tok_emb.weight": "model/wte", "pos_emb.weight": "model/wpe",
                "final_norm.scale": "model/ln_f/g",
                "final_norm.shift": "model/ln_f/b"}
OPENAI_PARTS = {"norm1": "ln_1", "att.qkv": "attn/c_attn",
                "att.out_proj": "attn/c_proj", "norm2": "ln_2",
                "ff.layers.0": "mlp/c_fc", "ff.layers.2": "mlp/c_proj"}
OPENAI_KINDS = {"weight": "w", "bias": "b", "scale": "g", "shift": "b"}


def openai_name(ours: str) -> str:
    """What OpenAI's file calls one of our parameters."""
    if ours in OPENAI_NAMES:
        return OPENAI_NAMES[ours]
    inside = re.fullmatch(r"trf_blocks\.(\d+)\.(.+)\.(\w+)", ours)
    if inside is None:
        return ours                     # a head of its own: not in the file
    block, part, kind = inside.groups()
    return f"model/h{block}/{OPENAI_PARTS[part]}/{OPENAI_KINDS[kind]}"


def huggingface_name(ours: str) -> str:
    """What Hugging Face's files call one of our parameters."""
    name = openai_name(ours).removeprefix("model/")
    name = re.sub(r"^h(\d+)", r"h.\1", name).replace("/", ".")
    name = re.sub(r"\.[wg]$|(?<=^wte)$|(?<=^wpe)$", ".weight", name)
    return re.sub(r"\.b$", ".bias", name)


def shape_fault(name: str, expected: tuple, found: tuple) -> str:
    """What is wrong with a shape, in a line, or ''."""
    expected, found = tuple(expected), tuple(found)
    if expected == found:
        return ""
    hint = ", its transpose" if found == expected[::-1] else ""
    return f"{name}: the model expects {expected}, found {found}{hint}"


@torch.no_grad()
def copy_tensor(name: str, parameter: Tensor, tensor: Tensor) -> None:
    """Copy a tensor into a parameter, in place.

    Raises ValueError if the shapes differ, if the tensor holds no
    floating-point numbers, or if the parameter has no memory (meta).
    """
    if fault := shape_fault(name, parameter.shape, tensor.shape):
        raise ValueError(fault)
    if not tensor.is_floating_point():
        raise ValueError(f"{name}: {tensor.dtype} holds no weights")
    if parameter.is_meta:
        raise ValueError(f"{name} has no memory yet: see empty_model")
    parameter.copy_(tensor)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file: its shape, and how to read it."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    parts: tuple["StoredTensor", ...] = ()     # one below the other, if any

    def transposed(self) -> "StoredTensor":
        """(in, out) or (1, in, out) -> (out, in), once it is read."""
        shape = self.shape[1:] if self.shape[:-2] == (1,) else self.shape
        return StoredTensor(shape[::-1], lambda: self.read().reshape(shape).T)


def concatenate(parts: list[StoredTensor]) -> StoredTensor:
    """Tensors of one shape (n, ...), laid one below the other."""
    shapes = [part.shape for part in parts]
    if len(parts) == 1:
        return parts[0]
    if len(set(shapes)) > 1 or not shapes[0]:
        raise ValueError(f"parts of one layer have the shapes {shapes}")
    shape = (len(parts) * shapes[0][0], *shapes[0][1:])
    return StoredTensor(
        shape, lambda: torch.cat([part.read() for part in parts]),
        tuple(parts))


def find_faults(model: GPTModel, tensors: Mapping[str, StoredTensor]
                ) -> list[str]:
    """All that is missing, unused or of another shape, by name."""
    names = dict(model.named_parameters(remove_duplicate=False))
    once = [name for name, _ in model.named_parameters()]
    missing = [name for name in once if name not in tensors]
    unused = sorted(tensors.keys() - names.keys())
    faults = [f"{what}: {', '.join(found)}" for what, found in
              (("missing", missing), ("unused", unused)) if found]
    shapes = (shape_fault(name, p.shape, tensors[name].shape)
              for name, p in names.items() if name in tensors)
    return faults + [fault for fault in shapes if fault]


def show_tensors(model: GPTModel, tensors: Mapping[str, StoredTensor]) -> None:
    """Print expected against found, for every parameter."""
    print(f"{'parameter':34}{'expected':>14}{'found':>14}")
    for name, p in model.named_parameters():
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        print(f"{name:34}{tuple(p.shape)!s:>14}{found!s:>14}")


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Whatever a library says of a bad file becomes a ValueError."""
    try:
        yield
    except (ValueError, MemoryError):
        raise
    except Exception as error:     # each library has errors of its own
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            "this is no file of weights, or it was cut short "
            f"({type(error).__name__}: {reason})") from None


def copy_parts(name: str, p: nn.Parameter, tensor: StoredTensor | Tensor,
               filled: dict[int, str]) -> None:
    """Read one tensor into its parameter, part by part.

    filled: the name by which a parameter was filled, by its id. Raises
    ValueError if a second name of a parameter brings other numbers.
    """
    twin = filled.setdefault(id(p), name)
    parts = getattr(tensor, "parts", ()) or (tensor,)
    for place, part in zip(p.detach().chunk(len(parts)), parts, strict=True):
        with one_line_errors():
            read = part.read() if isinstance(part, StoredTensor) else part
        if twin == name:
            copy_tensor(name, place, read)
        elif not torch.equal(place, read):
            raise ValueError(f"{name} differs from {twin}: not a tied head")


def load_tensors(model: GPTModel, tensors: Mapping[str, StoredTensor | Tensor],
                 show: bool = False) -> GPTModel:
    """Fill every parameter of a model, the largest first, one at a time.

    tensors: by our names. show: print expected against found. Raises
    ValueError with all that does not fit. A tied head may be there twice.
    """
    if show:
        show_tensors(model, tensors)
    if faults := find_faults(model, tensors):
        raise ValueError("the weights do not fit. " + "; ".join(faults))
    filled: dict[int, str] = {}
    for name, p in sorted(model.named_parameters(remove_duplicate=False),
                          key=lambda pair: -pair[1].numel()):
        if name in tensors:              # a tied head may be stored once
            copy_parts(name, p, tensors[name], filled)
    return model


def separate_names(ours: str) -> list[str]:
    """The same where queries, keys and values are three layers."""
    if ".qkv." not in ours:
        return [ours]
    return [ours.replace("qkv", f"W_{part}")
            for part in ("query", "key", "value")]


BUFFERS = re.compile(      # causal masks that were saved with the weights
    r"h\.\d+\.attn\.(masked_)?bias|trf_blocks\.\d+\.att\.mask")
MATRIX = re.compile(r"trf_blocks\..+\.(qkv|out_proj|layers\.\d)\.weight")
LAYOUTS = {                # a name that gives it away, and our names there
    "model/wte": openai_name,
    "wte.weight": huggingface_name,
    "trf_blocks.0.att.W_query.weight": separate_names,
    "trf_blocks.0.att.qkv.weight": str,               # they are the same
}


def to_our_names(stored: Mapping[str, StoredTensor], ours: Iterable[str]
                 ) -> dict[str, StoredTensor]:
    """The tensors of a file under our names and in our layout."""
    rest = {}
    for name, tensor in stored.items():
        name = name.removeprefix("transformer.")
        if not BUFFERS.fullmatch(name):
            rest[name.replace("lm_head.", "out_head.")] = tensor
    layout = next((key for key in LAYOUTS if key in rest), None)
    if layout is None:
        raise ValueError("no GPT-2: its tensors are called "
                         f"{', '.join(sorted(rest)[:3]) or 'nothing'}")
    found = {}
    for name in ours:
        theirs = LAYOUTS[layout](name)
        parts = [theirs] if isinstance(theirs, str) else theirs
        if all(part in rest for part in parts):
            one = concatenate([rest.pop(part) for part in parts])
            turn = "wte" in layout and MATRIX.fullmatch(name)
            found[name] = one.transposed() if turn else one
    return found | rest


class FileReader:
    """Reads tensors of a file, which it opens anew after `limit` bytes.

    opener: opens the file and returns a function from name to tensor.
    """

    def __init__(self, opener: Callable[[], Callable[[str], Tensor]],
                 limit: float):
        self.opener, self.limit = opener, limit
        self.get, self.used = None, 0

    def read(self, name: str) -> Tensor:
        if self.get is None or self.used > self.limit:
            self.get = None                              # close it first
            self.get, self.used = self.opener(), 0
        tensor = self.get(name)
        self.used += tensor.nbytes
        return tensor


def open_openai(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of OpenAI's TensorFlow checkpoint, still in the file."""
    load_checkpoint = import_tensorflow().train.load_checkpoint
    prefix = str(Path(folder, "model.ckpt"))
    shapes = load_checkpoint(prefix).get_variable_to_shape_map()

    def opener() -> Callable[[str], Tensor]:
        reader = load_checkpoint(prefix)
        return lambda name: torch.from_numpy(reader.get_tensor(name))

    file = FileReader(opener, 0)             # opening it costs nothing
    return {name: StoredTensor(tuple(shape), partial(file.read, name))
            for name, shape in shapes.items()}


def open_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, still in the file."""
    with safe_open(path, framework="pt") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape())
                  for name in opened.keys()}
    file = FileReader(lambda: safe_open(path, framework="pt").get_tensor,
                      Path(path).stat().st_size / 25)
    return {name: StoredTensor(shape, partial(file.read, name))
            for name, shape in shapes.items()}


def open_pytorch(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a PyTorch state dict, still in the file."""
    new = zipfile.is_zipfile(path)
    load = partial(torch.load, path, map_location="cpu", weights_only=True,
                   mmap=new)
    state = load()
    if not (isinstance(state, dict) and state and all(
            isinstance(name, str) and isinstance(tensor, Tensor)
            for name, tensor in state.items())):
        raise ValueError("it holds no state dict, which is names and tensors")
    limit = Path(path).stat().st_size / 25 if new else float("inf")
    file = FileReader(lambda: load().__getitem__, limit)
    return {name: StoredTensor(tuple(tensor.shape), partial(file.read, name))
            for name, tensor in state.items()}


BLOCK_NUMBER = re.compile(r"(?:model/h|h\.|trf_blocks\.)(\d+)[./]")


def heads_in(folder: Path) -> dict[str, int]:
    """What hparams.json in OpenAI's folder says; nothing without it."""
    try:
        text = Path(folder, "hparams.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        return {"n_heads": json.loads(text)["n_head"]}
    except (ValueError, KeyError, TypeError):
        raise ValueError("its hparams.json does not tell n_head") from None


def sizes_in(tensors: Mapping[str, StoredTensor]) -> dict[str, int]:
    """What the shapes of a file say, by the keys of a config."""
    blocks = filter(None, map(BLOCK_NUMBER.match, tensors))
    found = {"n_layers": 1 + max((int(b[1]) for b in blocks), default=-1)}
    for name, key in (("tok_emb.weight", "vocab_size"),
                      ("pos_emb.weight", "context_length")):
        if name in tensors and len(tensors[name].shape) == 2:
            found[key], found["emb_dim"] = tensors[name].shape
    return found


def check_sizes(cfg: dict, found: dict[str, int]) -> None:
    """ValueError with what differs, and the size it would be."""
    differ = {key: n for key, n in found.items() if n != cfg[key]}
    if not differ:
        return
    fits = [f"; it looks like {size}" for size, (C, L, _) in
            GPT2_SIZES.items() if (found.get("emb_dim"), found["n_layers"])
            == (C, L) and (C, L) != (cfg["emb_dim"], cfg["n_layers"])]
    expected = {key: cfg[key] for key in differ}
    raise ValueError(f"this is another size: expected {expected}, found "
                     f"{differ}{''.join(fits)}")


def empty_model(cfg: dict) -> GPTModel:
    """A model whose parameters have memory, and no values yet."""
    with torch.device("meta"):
        model = GPTModel(cfg)
    model = model.to_empty(device="cpu")
    if cfg.get("tie_weights"):
        model.out_head.weight = model.tok_emb.weight
    return model.eval()


def open_weights(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file or folder, by the route that it needs."""
    path = Path(path)
    if not path.exists():
        raise ValueError("it does not exist: gpt_download.py fetches weights")
    with one_line_errors():
        if (path / "model.ckpt.index").is_file():
            return open_openai(path)
        if path.is_dir():
            held = sorted(child.name for child in path.iterdir())[:4]
            raise ValueError("a folder without model.ckpt.index; it holds "
                             f"{', '.join(held) or 'nothing'}: name a file")
        if path.suffix == ".safetensors":
            return open_safetensors(path)
        if path.suffix in (".pth", ".pt", ".bin"):
            return open_pytorch(path)
        raise ValueError("neither OpenAI's folder nor a file that ends in "
                         ".safetensors, .pth, .pt or .bin")


def load_gpt2(cfg: dict, path: str | Path, show: bool = False) -> GPTModel:
    """A model of this config with the weights at path, ready to write.

    Takes little more memory than the model. show: print expected against
    found. Raises ValueError with the path and all that is wrong.
    """
    try:
        stored, model = open_weights(Path(path)), empty_model(cfg)
        names = [n for n, _ in model.named_parameters()]
        tensors = to_our_names(stored, names)
        check_sizes(cfg, sizes_in(tensors) | heads_in(Path(path)))
        return load_tensors(model, tensors, show)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def gpt2_model(size: str, path: str | Path) -> GPTModel:
    """GPT-2 of a size, e.g. "124M", from a file or from OpenAI's folder."""
    return load_gpt2(gpt2_config(size, drop_rate=0.0, qkv_bias=True,
                                 tie_weights=True), path)


# ---- ch05: pretraining ----

IGNORE = -100                  # a target with this id is not graded
Batch = tuple[Tensor, Tensor]  # inputs and targets, (B, T) each


def sum_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Total surprise, the sum of -ln p(target); IGNORE adds nothing.

    logits (B, T, V), targets (B, T) -> scalar. Source: Shannon 1948, 6.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(),
                           ignore_index=IGNORE, reduction="sum")


def count_targets(batches: Iterable[Batch]) -> int:
    """How many targets of these batches are graded."""
    return sum(int((targets != IGNORE).sum()) for _, targets in batches)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which matrix products run in fp32 or bf16."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is fp32 or bf16, got {precision!r}")
    return torch.autocast(device.type, dtype=torch.bfloat16,
                          enabled=precision == "bf16")


def lr_at(step: int, steps: int, peak_lr: float, warmup: int) -> float:
    """The rate at a step (from 0): a straight rise, then half a cosine.

    Source: Loshchilov and Hutter 2017, eq. 5, without restarts.
    """
    if step < warmup:
        return peak_lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak_lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass
class Schedule:
    """How many steps, and the learning rate at each."""

    steps: int
    peak_lr: float
    warmup: int

    def __call__(self, step: int) -> float:
        return lr_at(step, self.steps, self.peak_lr, self.warmup)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay; biases, scales and shifts do not."""
    params = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p.dim() >= 2],
         "weight_decay": weight_decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, weight_decay: float = 0.1,
                   betas: tuple[float, float] = (0.9, 0.98)
                   ) -> torch.optim.AdamW:
    """AdamW with decoupled decay, in one fused kernel where there is one.

    The rate is set step by step. Source: Loshchilov and Hutter 2019, alg. 2.
    """
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(decay_groups(model, weight_decay), lr=0.0,
                             betas=betas, fused=fused)


def accumulate_gradients(model: nn.Module, batches: list[Batch],
                         precision: str = "fp32") -> tuple[float, int]:
    """Add to .grad what one large batch would add; loss and targets.

    The loss is the mean over all graded targets, in nats.
    """
    device = next(model.parameters()).device
    loss, n_targets = 0.0, count_targets(batches)
    for inputs, targets in batches:
        with autocast(device, precision):
            logits = model(inputs.to(device))
        part = sum_nll(logits, targets.to(device)) / n_targets
        part.backward()
        loss += part.item()
    return loss, n_targets


def train(model: nn.Module, optimizer: torch.optim.Optimizer,
          batches: Iterator[Batch], schedule: Schedule, accumulate: int = 1,
          clip: float = 1.0, precision: str = "fp32", start: int = 0,
          backward: Callable = accumulate_gradients) -> Iterator[dict]:
    """Train; yield a record per step: step, train (the loss), lr, ...

    grad_norm: before clipping; FloatingPointError if it is not finite.
    """
    step = start
    while step < schedule.steps:
        model.train()
        lr = schedule(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss, n_targets = backward(
            model, list(itertools.islice(batches, accumulate)), precision)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip))
        if not math.isfinite(loss + norm):
            raise FloatingPointError(f"step {step}: loss {loss}, norm {norm}")
        optimizer.step()
        step += 1
        yield {"step": step, "train": loss, "lr": lr, "grad_norm": norm,
               "n_targets": n_targets}


def matmul_speed(device: torch.device, dtype: torch.dtype,
                 size: int = 512) -> float:
    """The best rate of a square matrix product here, in FLOP/s."""
    a = torch.randn(size, size, device=device).to(dtype)
    times = timeit.repeat(lambda: (a @ a)[0, 0].item(),  # waits for the device
                          number=1, repeat=9)
    return 2 * size**3 / min(times)


def pick_precision(device: torch.device, wanted: str = "auto") -> str:
    """fp32 or bf16; auto takes bf16 where its products are much faster."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "fp32"
    if device.type == "mps":
        return "fp32"
    fp32, bf16 = (matmul_speed(device, dtype)
                  for dtype in (torch.float32, torch.bfloat16))
    return "bf16" if bf16 > 1.3 * fp32 else "fp32"


def save_model(path: str | Path, model: nn.Module, prefix: str = "") -> None:
    """Weights in one file, with config and prefix in its header.

    prefix: what stood before each text in training. A tied matrix is stored
    once; the file is written whole or not at all.
    """
    about = {"architecture": type(model).__name__, "prefix": prefix,
             "config": json.dumps(model.cfg)}
    with atomic(path) as temporary:
        safetensors.torch.save_model(model, str(temporary), about)


def read_header(path: str | Path) -> dict[str, str]:
    """What save_model wrote about a model; ValueError says what is wrong."""
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: train first")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole checkpoint of this course "
                         f"({error})") from None
    if "config" not in about:
        raise ValueError(f"{path} lacks 'config' in its header: it was not "
                         "written by save_model")
    return {"architecture": "GPTModel", "prefix": "", **about}


def load_model(path: str | Path, device: str | torch.device = "cpu",
               architecture: type = GPTModel) -> nn.Module:
    """A saved model, in eval mode; ValueError if it is not one of these."""
    about = read_header(path)
    if about["architecture"] != architecture.__name__:
        raise ValueError(f"{path} holds a {about['architecture']}, not a "
                         f"{architecture.__name__}: pass its class")
    try:
        model = architecture(json.loads(about["config"]))
        safetensors.torch.load_model(model, path)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a whole checkpoint of this course "
                         f"({reason})") from None
    return model.to(device).eval()


def save_tokenizer(path: str | Path, tokenizer: tiktoken.Encoding) -> None:
    """The ranks of a tokenizer in tiktoken's own file format."""
    ranks = {tokenizer.decode_single_token_bytes(rank): rank
             for rank in range(tokenizer.eot_token)}
    with atomic(path) as temporary:
        write_ranks(ranks, temporary)


def load_tokenizer(path: str | Path, vocab_size: int, prefix: str = ""
                   ) -> tiktoken.Encoding:
    """A saved tokenizer; ValueError if it does not fit the model.

    prefix: if it is a space, prompts get one too (see encode_prompt).
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: a run folder holds "
                         "model.safetensors and tokenizer.tiktoken")
    try:
        tokenizer = load_encoding(path)
        size = tokenizer.n_vocab
    except Exception as error:
        raise ValueError(f"{path} is not a tokenizer file "
                         f"({type(error).__name__})") from None
    if size != vocab_size:
        raise ValueError(f"{path} has {size} tokens, the model "
                         f"{vocab_size}: they are not of one run")
    tokenizer.add_prefix_space = prefix == " "
    return tokenizer


# ---- ch06: classification ----


class LengthBatches:
    """Numbers of items, in batches of similar length: little is padding.

    With a seed each pass has other batches, in another order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int,
                 seed: int | None = None):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.lengths, self.batch_size = lengths, batch_size
        self.generator = seed if seed is None else (
            torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        lengths = torch.tensor(self.lengths, dtype=torch.float)
        if self.generator:                     # ties are broken by chance
            lengths += torch.rand(len(lengths), generator=self.generator)
        batches = lengths.argsort(stable=True).split(self.batch_size)
        order = range(len(batches))
        if self.generator:
            order = torch.randperm(len(batches), generator=self.generator)
        for i in order:
            yield batches[i].tolist()


def read_states(gpt: GPTModel, ids: Tensor) -> Tensor:
    """What a GPT has made of each token, before its last matrix.

    ids (B, T) -> states (B, T, C).
    """
    T, context_length = ids.shape[1], gpt.cfg["context_length"]
    if T > context_length:
        raise ValueError(f"{T} tokens do not fit into a context of "
                         f"{context_length}")
    x = gpt.drop_emb(gpt.tok_emb(ids) + gpt.pos_emb.weight[:T])
    for block in gpt.trf_blocks:
        x = block(x)
    return gpt.final_norm(x)


POOLS = ("first", "last", "mean")


def pool_states(states: Tensor, lengths: Tensor, how: str = "last") -> Tensor:
    """One state for each text: (B, T, C), lengths (B,) -> (B, C).

    how: first, last (the last real token), or mean (of all real tokens).
    """
    B, T, _ = states.shape
    if how == "first":
        return states[:, 0]
    if how == "last":
        return states[torch.arange(B), lengths - 1]
    if how != "mean":
        raise ValueError(f"how={how!r}: not {', '.join(POOLS)}")
    real = torch.arange(T, device=states.device) < lengths[:, None]  # (B, T)
    return (states * real[..., None]).sum(1) / lengths[:, None]


class Classifier(nn.Module):
    """A GPT with a head of K classes: ids (B, T), lengths (B,) -> (B, K)."""

    def __init__(self, gpt: GPTModel, names: Sequence[str] = NAMES,
                 pool: str = "last"):
        super().__init__()
        if len(set(names)) < 2:
            raise ValueError(f"classes {list(names)}: at least two are needed")
        if pool not in POOLS:
            raise ValueError(f"pool={pool!r}: not {', '.join(POOLS)}")
        self.gpt, self.names, self.pool = gpt, tuple(names), pool
        self.cfg = {**gpt.cfg, "names": list(names), "pool": pool}
        self.head = nn.Linear(gpt.cfg["emb_dim"], len(names))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        states = read_states(self.gpt, ids)                        # (B, T, C)
        return self.head(pool_states(states, lengths, self.pool))  # (B, K)


class LoRALinear(nn.Module):
    """A frozen layer and a small detour: W x + alpha/rank B (A x).

    (..., d_in) -> (..., d_out); A (rank, d_in), and B (d_out, rank), which
    starts at zero. Source: Hu et al. 2021, section 4.1.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float):
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank={rank}: at least 1")
        self.linear, self.scaling = linear.requires_grad_(False), alpha / rank
        W = linear.weight
        self.A = nn.Parameter(W.new_empty(rank, linear.in_features))
        self.B = nn.Parameter(W.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A new plain layer that computes the same."""
        plain = copy.deepcopy(self.linear)
        plain.weight += self.scaling * (self.B @ self.A)
        return plain


def new_classifier(cfg: dict) -> Classifier:
    """A classifier with fresh weights, from the config in a file's header."""
    about = dict(cfg)
    names, pool = about.pop("names"), about.pop("pool")
    return Classifier(GPTModel(about), names, pool)


def load_classifier(path: str | Path, device: str | torch.device = "cpu"
                    ) -> Classifier:
    """A saved classifier, in eval mode; ValueError if it is not whole."""
    about = read_header(path)
    try:
        model = new_classifier(json.loads(about["config"]))
        safetensors.torch.load_model(model, path)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a whole classifier of this course "
                         f"({reason})") from None
    return model.to(device).eval()


# ---- ch07: instruction ----


def format_prompt(entry: Entry) -> str:
    """An instruction in Alpaca's form, up to where the answer begins.

    Source: Taori et al. 2023; without its first sentence.
    """
    text = f"### Instruction:\n{entry.instruction}\n\n"
    if entry.input:
        text += f"### Input:\n{entry.input}\n\n"
    return text + "### Response:\n"


ROLES = ("system", "user", "assistant")
CHAT_TOKENS = (*(f"<|{role}|>" for role in ROLES), "<|end|>")


def has_chat(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has the special tokens of a chat."""
    return set(CHAT_TOKENS) <= tokenizer.special_tokens_set


def chat_tokenizer(tokenizer: tiktoken.Encoding) -> tiktoken.Encoding:
    """The same tokenizer with CHAT_TOKENS behind its last token."""
    if has_chat(tokenizer):
        return tokenizer
    new = {name: tokenizer.n_vocab + i for i, name in enumerate(CHAT_TOKENS)}
    larger = tiktoken.Encoding(
        f"{tokenizer.name}-chat", pat_str=tokenizer._pat_str,
        mergeable_ranks=tokenizer._mergeable_ranks,
        special_tokens=tokenizer._special_tokens | new)
    # Our own note: does a text begin with a space?
    larger.add_prefix_space = getattr(tokenizer, "add_prefix_space", False)
    return larger


Message = dict[str, str]  # {"role": one of ROLES, "content": a text}


def check_messages(messages: Sequence[Message]) -> None:
    """ValueError unless they are a chat: system or not, user, assistant ..."""
    if not messages:
        raise ValueError("a chat needs at least one message")
    for number, message in enumerate(messages, 1):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            raise ValueError(f"message {number}: role {role!r} is none of "
                             f"{', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise ValueError(f"message {number} ({role}): content is no text")
    said = [message["role"] for message in messages]
    if said[0] == "system":
        said = said[1:]
    if not said or said != [ROLES[1 + i % 2] for i in range(len(said))]:
        raise ValueError("a chat is one system text at most, then user and "
                         "assistant in turn, not "
                         f"{', '.join(m['role'] for m in messages)}")


def encode_content(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text as ids; what looks like a special token in it stays text.

    Where texts began with a space in pretraining, so does this one.
    """
    space = " " if getattr(tokenizer, "add_prefix_space", False) else ""
    return tokenizer.encode_ordinary(space + text.strip())


def encode_chat(tokenizer: Tokenizer, messages: Sequence[Message]
                ) -> list[int]:
    """A chat as ids, up to where the assistant begins to speak.

    <|endoftext|>, and for each message the token of its role, its text and
    <|end|>; last <|assistant|>, unless the assistant has spoken last.
    """
    check_messages(messages)
    special = tokenizer.encode_single_token
    ids = [tokenizer.eot_token]
    for message in messages:
        words = encode_content(tokenizer, message["content"])
        ids += [special(f"<|{message['role']}|>"), *words, special("<|end|>")]
    if messages[-1]["role"] != "assistant":
        ids.append(special("<|assistant|>"))
    return ids


def to_messages(entry: Entry, system: str = "", answer: bool = True
                ) -> list[Message]:
    """An entry as a chat: the user gives the input, then the instruction."""
    asked = "\n".join(filter(None, (entry.input, entry.instruction)))
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": asked})
    if answer:
        messages.append({"role": "assistant", "content": entry.output})
    return messages


def stop_token(tokenizer: Tokenizer) -> int:
    """What ends an answer: <|end|> in a chat, else <|endoftext|>."""
    return (tokenizer.encode_single_token("<|end|>") if has_chat(tokenizer)
            else tokenizer.eot_token)


def encode_prompt_of(tokenizer: Tokenizer, entry: Entry, system: str = ""
                     ) -> list[int]:
    """What the model reads before it answers: a chat, else Alpaca's form."""
    if has_chat(tokenizer):
        return encode_chat(tokenizer, to_messages(entry, system, False))
    return [tokenizer.eot_token,
            *encode_content(tokenizer, format_prompt(entry)),
            *tokenizer.encode_ordinary("\n")]


LIKE = {"<|system|>": "\n", "<|user|>": "\n", "<|assistant|>": ":",
        "<|end|>": "\n"}  # what has done a similar job


@torch.no_grad()
def grow_vocabulary(model: GPTModel, like: Sequence[int], seed: int = 0
                    ) -> None:
    """Give a model more tokens, in place: each starts like an old one.

    like: the ids of those. The new rows differ a little from them.
    """
    generator = torch.Generator().manual_seed(seed)

    def longer(table: Tensor) -> nn.Parameter:    # (V, C) -> (V + n, C)
        noise = torch.randn(len(like), table.shape[1], generator=generator)
        rows = table[list(like)] + 0.1 * table.std() * noise.to(table)
        return nn.Parameter(torch.cat([table, rows]))

    model.tok_emb.weight = longer(model.tok_emb.weight)
    model.out_head.weight = (model.tok_emb.weight
                             if model.cfg.get("tie_weights")
                             else longer(model.out_head.weight))
    V = len(model.tok_emb.weight)
    # What the layers and the config say of their size must stay true.
    model.tok_emb.num_embeddings = model.out_head.out_features = V
    model.cfg["vocab_size"] = V


def add_special_tokens(tokenizer: tiktoken.Encoding, model: GPTModel,
                       seed: int = 0) -> tiktoken.Encoding:
    """A tokenizer with CHAT_TOKENS; the model gets rows for them, in place.

    What has them already stays as it is. ValueError if the two do not fit.
    """
    larger = chat_tokenizer(tokenizer)
    V = model.cfg["vocab_size"]
    if V not in (tokenizer.n_vocab, larger.n_vocab):
        raise ValueError(f"the model has {V} tokens, the tokenizer "
                         f"{tokenizer.n_vocab}: they are not of one run")
    if V < larger.n_vocab:
        grow_vocabulary(model, [tokenizer.encode_ordinary(LIKE[name])[-1]
                                for name in CHAT_TOKENS], seed)
    return larger


class Row(NamedTuple):
    """Ids of an example, and for each whether it is to be learned."""

    ids: list[int]
    graded: list[bool]


def entry_row(tokenizer: Tokenizer, entry: Entry, system: str = "") -> Row:
    """An entry as ids; the answer and the stop token are to be learned.

    Prompt and answer are encoded apart: no token spans the two.
    """
    prompt = encode_prompt_of(tokenizer, entry, system)
    words = encode_content(tokenizer, entry.output)
    return Row([*prompt, *words, stop_token(tokenizer)],
               [False] * len(prompt) + [True] * (len(words) + 1))


class InstructionDataset(Dataset):
    """Entries (or whole chats) as rows: item i is a Row.

    too_long: what happens to a row of more than context_length tokens:
    "error", "skip" (with a warning), or "cut" (its end is lost).
    """

    def __init__(self, entries: Sequence[Entry | list[Message]],
                 tokenizer: Tokenizer, context_length: int = 256,
                 system: str = "", too_long: str = "error"):
        if too_long not in ("error", "skip", "cut"):
            raise ValueError(f"too_long={too_long!r}: not error, skip or cut")
        self.entries, self.rows, skipped = [], [], 0
        for number, entry in enumerate(entries, 1):
            row = (entry_row(tokenizer, entry, system)
                   if isinstance(entry, Entry) else chat_row(tokenizer, entry))
            size = len(row.ids)
            if size > context_length and too_long == "error":
                raise ValueError(
                    f"entry {number} has {size} tokens, {sum(row.graded)} of "
                    f"them its answer; there is room for {context_length}")
            row = Row(*(part[:context_length] for part in row))
            if size > context_length and too_long == "skip" or not any(
                    row.graded):
                skipped += 1
            else:
                self.entries.append(entry)
                self.rows.append(row)
        if skipped:
            warnings.warn(f"{skipped} of {len(entries)} entries are left out:"
                          f" they do not fit into {context_length} tokens",
                          stacklevel=2)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Row:
        return self.rows[i]


def collate(rows: Sequence[Row], pad_id: int = 0, ignore_index: int = IGNORE,
            max_length: int | None = None, mask_prompt: bool = True
            ) -> tuple[Tensor, Tensor]:
    """Rows as a batch: inputs and targets (B, T), T = longest row - 1.

    The targets are the inputs one place on; padding, and what is not to be
    learned, is ignore_index. mask_prompt=False: the prompt is learned, too.
    max_length: the most T; of longer rows the end is lost.
    """
    if not rows:
        raise ValueError("no rows: a batch needs at least one")
    T = max(len(row.ids) for row in rows) - 1
    T = T if max_length is None else min(T, max_length)
    inputs = torch.full((len(rows), T), pad_id)
    targets = torch.full((len(rows), T), ignore_index)
    for i, row in enumerate(rows):
        ids, graded = torch.tensor(row.ids), torch.tensor(row.graded)
        n = min(T, len(ids) - 1)
        inputs[i, :n] = ids[:n]
        targets[i, :n] = ids[1:n + 1]
        if mask_prompt:
            targets[i, :n][~graded[1:n + 1]] = ignore_index
    return inputs, targets


def answer_weights(targets: Tensor, power: float = 0.5) -> Tensor:
    """How much each target counts: n^-power in an answer of n tokens.

    targets (B, T) -> (B, T). An answer is a run of graded targets. power 0:
    all tokens count alike; 1: all answers do. The rest weighs 0.
    """
    graded = targets != IGNORE                                     # (B, T)
    before = F.pad(graded, (1, 0))[:, :-1]
    # Where an answer begins; the sum so far is its number, from 1.
    number = (graded & ~before).flatten().cumsum(0)                # (B T,)
    # How many tokens the answer of that number has.
    n = torch.bincount(number[graded.flatten()], minlength=1)[number]
    weights = n.clamp(min=1).float().pow(-power).view_as(targets)
    return weights * graded


def answer_loss(model: GPTModel, inputs: Tensor, targets: Tensor,
                power: float = 0.5) -> Tensor:
    """masked_loss, with logits only where a target is graded: the same."""
    graded = targets != IGNORE                                     # (B, T)
    if not graded.any():
        raise ValueError("no target is graded: the loss would be 0 / 0")
    logits = model.out_head(read_states(model, inputs)[graded])    # (N, V)
    nll = F.cross_entropy(logits.float(), targets[graded], reduction="none")
    weights = answer_weights(targets, power)[graded]
    return (weights * nll).sum() / weights.sum()


def instruction_batches(dataset: InstructionDataset, batch_size: int = 32,
                        seed: int | None = None, **how: Any) -> DataLoader:
    """Batches of rows of similar length; how: as for collate.

    With a seed each epoch has other batches, in another order.
    """
    lengths = [len(row.ids) for row in dataset.rows]
    return DataLoader(dataset, collate_fn=lambda rows: collate(rows, **how),
                      batch_sampler=LengthBatches(lengths, batch_size, seed))


def chat_row(tokenizer: Tokenizer, messages: Sequence[Message]) -> Row:
    """A chat as ids; the assistant's words and <|end|> are to be learned."""
    check_messages(messages)
    special = tokenizer.encode_single_token
    ids, graded = [tokenizer.eot_token], [False]
    for message in messages:
        role = message["role"]
        words = encode_content(tokenizer, message["content"])
        ids += [special(f"<|{role}|>"), *words, special("<|end|>")]
        graded += [False, *[role == "assistant"] * (len(words) + 1)]
    return Row(ids, graded)


@torch.no_grad()
def evaluate_answers(model: GPTModel, dataset: InstructionDataset,
                     precision: str = "fp32", batch_size: int = 64) -> float:
    """Nats per token of the answers, without dropout."""
    device, total, n = next(model.parameters()).device, 0.0, 0
    with eval_mode(model), autocast(device, precision):
        for inputs, targets in instruction_batches(dataset, batch_size):
            here = int((targets != IGNORE).sum())
            loss = answer_loss(model, inputs.to(device), targets.to(device),
                               power=0.0)
            total, n = total + loss.item() * here, n + here
    return total / n


def finetune_instructions(
        model: GPTModel, dataset: InstructionDataset, num_epochs: float = 1,
        lr: float = 1e-3, batch_size: int = 32,
        validation: InstructionDataset | None = None, power: float = 0.5,
        weight_decay: float = 0.0, warmup: int = 30, clip: float = 1.0,
        precision: str = "auto", seed: int = 0, progress: bool = True,
        every: int | None = None, watch: Callable[[dict], None] | None = None,
        **how: Any) -> list[dict]:
    """Train what may change to answer; a record every so many steps.

    epoch, step, train (mean loss since the last record), validation (nats
    per answer token, None without a set), tokens read, seconds. watch: is
    called with each record. how: as for collate. FloatingPointError if the
    loss is not finite.
    """
    if not len(dataset):
        raise ValueError("nothing to learn from: the dataset is empty")
    device = next(model.parameters()).device
    precision = pick_precision(device, precision)
    loader = instruction_batches(dataset, batch_size, seed, **how)
    schedule = Schedule(max(1, round(num_epochs * len(loader))), lr, warmup)
    tokens = 0

    def backward(model: GPTModel, batches: list, precision: str
                 ) -> tuple[float, int]:
        nonlocal tokens
        (inputs, targets), = batches
        with autocast(device, precision):
            loss = answer_loss(model, inputs.to(device), targets.to(device),
                               power)
        loss.backward()
        tokens += inputs.numel()
        return loss.item(), int((targets != IGNORE).sum())

    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    every = every or len(loader)
    history, losses, began = [], [], time.perf_counter()
    bar = tqdm(total=schedule.steps, unit="step",
               disable=None if progress else True)
    for r in train(model, make_optimizer(model, weight_decay), batches,
                   schedule, clip=clip, precision=precision,
                   backward=backward):
        losses.append(r["train"])
        bar.update()
        if r["step"] % every == 0 or r["step"] == schedule.steps:
            history.append({
                "epoch": r["step"] / len(loader), "step": r["step"],
                "train": sum(losses) / len(losses), "tokens": tokens,
                "seconds": time.perf_counter() - began,
                "validation": None if validation is None else
                evaluate_answers(model, validation, precision)})
            losses = []
            if watch:
                watch(history[-1])
    bar.close()
    model.eval()
    return history


def room_for(model: GPTModel, prompt: Sequence[int], wanted: int) -> int:
    """How many tokens an answer may have; ValueError if there is no room."""
    most = model.cfg["context_length"]
    if len(prompt) >= most:
        raise ValueError(f"a prompt of {len(prompt)} tokens leaves no room "
                         f"for an answer: the context has {most}")
    return min(wanted, most - len(prompt))


def stream_answer(model: GPTModel, tokenizer: Tokenizer,
                  prompt: Sequence[int], max_new_tokens: int = 100,
                  **how: Any) -> Iterator[str]:
    """What follows the ids of a prompt, piece by piece, to the stop token."""
    device, stop = next(model.parameters()).device, stop_token(tokenizer)
    ids = torch.tensor([list(prompt)], device=device)              # (1, T)
    room = room_for(model, prompt, max_new_tokens)
    new = (step.item() for step in generate_tokens(model, ids, room,
                                                   stop_id=stop, **how))

    def pieces() -> Iterator[str]:
        words = itertools.takewhile(
            lambda i: i not in (stop, tokenizer.eot_token), new)
        some = text_pieces(words, tokenizer.decode_single_token_bytes)
        yield next(some, "").lstrip(" ")
        yield from some

    return pieces()


def answer(model: GPTModel, tokenizer: Tokenizer, instruction: str,
           input: str = "", max_new_tokens: int = 100, system: str = "",
           **how: Any) -> str:
    """The answer to one instruction: greedy, unless how says otherwise."""
    prompt = encode_prompt_of(tokenizer, Entry(instruction, input, "", ""),
                              system)
    return "".join(stream_answer(model, tokenizer, prompt, max_new_tokens,
                                 **how)).strip()


def answers(model: GPTModel, tokenizer: Tokenizer, entries: Sequence[Entry],
            batch_size: int = 64, max_new_tokens: int = 100,
            progress: bool = False, system: str = "",
            encode: Callable[[Tokenizer, Entry], list[int]] | None = None,
            stop: int | None = None) -> list[str]:
    """The greedy answers to many entries, in their order.

    Prompts of equal length are answered together. A prompt that leaves no
    room for an answer is answered by "". encode: how a prompt is made, if
    not by encode_prompt_of; stop: which token ends an answer.
    """
    device, most = next(model.parameters()).device, model.cfg["context_length"]
    stop = stop_token(tokenizer) if stop is None else stop
    prompts = [encode(tokenizer, one) if encode else
               encode_prompt_of(tokenizer, one, system) for one in entries]
    groups = defaultdict(list)
    for i, prompt in enumerate(prompts):
        if len(prompt) < most:
            groups[len(prompt)].append(i)
    said = [""] * len(entries)
    bar = tqdm(total=len(entries), unit="entry",
               disable=None if progress else True)
    for length in sorted(groups):
        for start in range(0, len(groups[length]), batch_size):
            some = groups[length][start:start + batch_size]
            ids = torch.tensor([prompts[i] for i in some], device=device)
            new = generate(model, ids, min(max_new_tokens, most - length),
                           stop_id=stop)[:, length:]
            for i, row in zip(some, new.tolist(), strict=True):
                row = itertools.takewhile(
                    lambda t: t not in (stop, tokenizer.eot_token), row)
                said[i] = tokenizer.decode([*row]).strip()
            bar.update(len(some))
    bar.close()
    return said


def score(entries: Sequence[Entry], answers: Sequence[str]
          ) -> dict[str, dict[str, float]]:
    """n, exact_match and token_f1 of each family, and of "all" entries."""
    verdicts = defaultdict(list)
    for entry, said in zip(entries, answers, strict=True):
        verdict = (float(exact_match(said, entry.output)),
                   token_f1(said, entry.output))
        # Each entry counts twice: for its family, and for all.
        for name in {entry.family or "other", "all"}:
            verdicts[name].append(verdict)
    return {name: {"n": len(some),
                   "exact_match": sum(exact for exact, _ in some) / len(some),
                   "token_f1": sum(f1 for _, f1 in some) / len(some)}
            for name, some in sorted(verdicts.items(), key=lambda pair: (
                pair[0] == "all", pair[0]))}


def save_instruct(folder: str | Path, model: GPTModel,
                  tokenizer: tiktoken.Encoding) -> None:
    """All that from_pretrained needs, into a folder; LoRA is merged before.

    The file of the tokenizer holds no special tokens: the size of the
    model's vocabulary says whether they belong to it.
    """
    if any(isinstance(layer, LoRALinear) for layer in model.modules()):
        raise ValueError("merge LoRA before saving: merge_lora(model)")
    Path(folder).mkdir(parents=True, exist_ok=True)
    prefix = " " if getattr(tokenizer, "add_prefix_space", False) else ""
    save_model(Path(folder, "model.safetensors"), model, prefix)
    save_tokenizer(Path(folder, "tokenizer.tiktoken"), tokenizer)


def from_pretrained(name: str | Path, device: str | None = None,
                    weights: str | Path = "gpt2", download: bool = False,
                    architecture: type = GPTModel
                    ) -> tuple[nn.Module, tiktoken.Encoding]:
    """A model and its tokenizer, by name: what chapter 6's opens, and more.

    name: a model of the course, "gpt2-small (124M)" and its sisters, or the
    folder of a run: of a GPT, of a finetuned Classifier, or of a model that
    follows instructions, whose tokenizer then has CHAT_TOKENS. weights:
    where GPT-2's files lie; download: fetch what is not there. ValueError
    says what is missing, OSError why it cannot be had.
    """
    place, short = pick_device(device), gpt2_name(str(name))
    if short in GPT2:
        path = find_gpt2(short, weights)
        if path is None and download:
            from scratch_llm.download import fetch_gpt2
            path = fetch_gpt2(short, weights)
        if path is None:
            raise ValueError(f"{short} is not in {weights}: fetch it with "
                             f"python gpt_download.py {short}, or by "
                             "download=True")
        return gpt2_model(GPT2[short][0], path).to(place), gpt2_encoding()
    path, vocabulary = find_model(name)
    about = read_header(path)
    if about["architecture"] == "Classifier":
        model = load_classifier(path, place)
    else:
        model = load_model(path, place, architecture)
    V = model.cfg["vocab_size"]
    try:
        return model, load_tokenizer(vocabulary, V, about["prefix"])
    except ValueError as error:                                # new
        try:
            plain = load_tokenizer(vocabulary, V - len(CHAT_TOKENS),
                                   about["prefix"])
        except ValueError:
            raise error from None
        return model, chat_tokenizer(plain)
