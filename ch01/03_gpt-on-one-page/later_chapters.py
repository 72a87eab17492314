# GENERATED from ch03/01_main-chapter-code/ch03.ipynb
#            and ch04/01_main-chapter-code/ch04.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import torch
import torch.nn.functional as F
from scratch_llm.fast import attention
from torch import Tensor, nn

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
