# GENERATED from ch04/01_main-chapter-code/ch04.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import argparse
import math
import os
import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from previous_chapters import (
    gpt2_encoding,
    head_size,
    merge_heads,
    split_heads,
)
from torch import Tensor, nn

GPT_CONFIG_124M = {
    "vocab_size": 50257,      # V: different tokens
    "context_length": 1024,   # the longest text, in tokens
    "emb_dim": 768,           # C: numbers per token
    "n_heads": 12,            # H: attention heads per block
    "n_layers": 12,           # L: blocks
    "drop_rate": 0.1,         # share of numbers zeroed while training
    "qkv_bias": False,        # OpenAI's weights need True
}
CONFIG_SIZES = ("vocab_size", "context_length", "emb_dim", "n_heads",
                "n_layers")


def check_config(cfg: dict) -> dict:
    """A copy of cfg; ValueError with key and value if it makes no model.

    All seven keys of GPT_CONFIG_124M; tie_weights (True, False) may join.
    """
    missing = sorted(GPT_CONFIG_124M.keys() - cfg.keys())
    unknown = sorted(cfg.keys() - GPT_CONFIG_124M.keys() - {"tie_weights"})
    if missing or unknown:
        raise ValueError(f"config: missing {missing}, unknown {unknown}")
    for key in CONFIG_SIZES:
        if type(cfg[key]) is not int or cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]!r} is not a positive integer")
    if cfg["emb_dim"] % cfg["n_heads"]:
        raise ValueError(f"emb_dim={cfg['emb_dim']} cannot be shared evenly "
                         f"among n_heads={cfg['n_heads']}")
    if not 0 <= cfg["drop_rate"] < 1:
        raise ValueError(f"drop_rate={cfg['drop_rate']!r} is not in [0, 1)")
    for key in ("qkv_bias", "tie_weights"):
        if type(cfg.get(key, False)) is not bool:
            raise ValueError(f"{key}={cfg[key]!r} is not True or False")
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


class SplitLinear(nn.Linear):
    """nn.Linear that uses every core when a single token is written.

    A matrix times one vector runs on one CPU core. Cut into 8 parts, it is
    a batch of 8 products, and a batch is shared among the cores.
    """

    def forward(self, x: Tensor) -> Tensor:
        if (torch.is_grad_enabled() or x.device.type != "cpu"
                or x.numel() > self.in_features or x.dtype != torch.float32
                or self.weight.numel() < 2**18):
            return super().forward(x)
        W, N = self.weight, self.out_features // 8 * 8
        parts = W[:N].view(8, -1, self.in_features)     # (8, N / 8, C)
        row = x.reshape(1, 1, -1).expand(8, 1, -1)      # (8, 1, C)
        y = torch.bmm(row, parts.mT).view(-1)           # (N,)
        if N < len(W):
            y = torch.cat([y, W[N:] @ x.reshape(-1)])
        y = y if self.bias is None else y + self.bias
        return y.view(*x.shape[:-1], -1)


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
            SplitLinear(C, 4 * C), GELU(), SplitLinear(4 * C, C))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class KVCache:
    """Keys and values of the tokens read so far, for every block.

    Two tensors (L, B, H, capacity, D), allocated once; length counts the
    positions filled. Raises ValueError when more is stored than fits.
    """

    def __init__(self, cfg: dict, batch_size: int = 1,
                 capacity: int | None = None, **device_and_dtype):
        H = cfg["n_heads"]
        shape = (cfg["n_layers"], batch_size, H,
                 capacity or cfg["context_length"], cfg["emb_dim"] // H)
        self.keys = torch.empty(shape, **device_and_dtype)
        self.values = torch.empty(shape, **device_and_dtype)
        self.length = 0

    def store(self, layer: int, k: Tensor, v: Tensor) -> tuple:
        start, end = self.length, self.length + k.shape[2]
        if end > self.keys.shape[3]:
            raise ValueError(f"{end} > capacity {self.keys.shape[3]}")
        self.keys[layer, :, :, start:end] = k           # (B, H, T, D)
        self.values[layer, :, :, start:end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]


def future_mask(T: int, S: int, like: Tensor) -> Tensor:
    """What to add to scores (T, S): 0 where reading is allowed, else -inf.

    The T readers are the last of the S positions.
    """
    full = torch.full((T, S), -torch.inf, dtype=like.dtype,
                      device=like.device)
    return full.triu(1 + S - T)


def plain_attend(q: Tensor, k: Tensor, v: Tensor,
                 dropout: float = 0.0) -> Tensor:
    """Causal attention in three steps: scores, weights, mixture.

    q (B, H, T, D), k and v (B, H, S, D), S >= T -> (B, H, T, D).
    """
    T, D = q.shape[-2:]
    mask = future_mask(T, k.shape[-2], q)               # (T, S)
    scores = torch.baddbmm(mask.expand(q.shape[0] * q.shape[1], -1, -1),
                           q.flatten(0, 1), k.flatten(0, 1).mT,
                           alpha=D**-0.5)               # (B * H, T, S)
    weights = F.dropout(scores.softmax(-1), dropout)
    return (weights @ v.flatten(0, 1)).view(q.shape)


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Causal attention by the quickest route; k, v may hold more past.

    q (B, H, T, D), k and v (B, H, S, D), S >= T -> (B, H, T, D).
    """
    T, S = q.shape[-2], k.shape[-2]
    if q.requires_grad and q.dtype == torch.bfloat16 and S <= 256:
        if q.device.type == "cpu":        # the library is slow just here
            return plain_attend(q, k, v, dropout)
    mask = future_mask(T, S, q) if 1 < T < S else None
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=1 < T == S)


class MultiHeadAttention(nn.Module):
    """Chapter 3's attention, which can now also read from a cache.

    (B, T, d_in) -> (B, T, d_out); layer says which part of cache is ours.
    """

    def __init__(self, d_in: int, d_out: int, context_length: int,
                 dropout: float, num_heads: int, qkv_bias: bool = False):
        super().__init__()
        self.head_size = head_size(d_out, num_heads)
        self.num_heads, self.context_length = num_heads, context_length
        self.dropout = nn.Dropout(dropout).p            # checks 0 <= p <= 1
        self.qkv = SplitLinear(d_in, 3 * d_out, bias=qkv_bias)
        self.out_proj = SplitLinear(d_out, d_out)

    def forward(self, x: Tensor, cache: KVCache | None = None,
                layer: int = 0) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads)    # (B, H, T, D)
                   for part in self.qkv(x).chunk(3, dim=-1))
        if cache is not None:
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


@torch.no_grad()
def init_weights(model: nn.Module) -> None:
    """Start as GPT-2 did: normal numbers, std 0.02, and biases 0.

    What adds to the shortcut starts smaller. Radford et al. 2019, 2.3.
    """
    if model.cfg.get("tie_weights"):
        model.out_head.weight = model.tok_emb.weight
    additions = 2 * model.cfg["n_layers"]
    for name, p in model.named_parameters():
        writes = name.endswith(("out_proj.weight", "layers.2.weight"))
        if p.ndim == 2:
            nn.init.normal_(p, std=0.02 / (additions**0.5 if writes else 1))
        elif name.endswith("bias"):
            p.zero_()


def embed(model: nn.Module, ids: Tensor, start: int = 0) -> Tensor:
    """Token rows plus position rows, ids (B, T) -> (B, T, C)."""
    places = model.pos_emb.weight[start:start + ids.shape[-1]]
    if ids.ndim != 2 or len(places) < ids.shape[1]:
        raise ValueError(f"ids {tuple(ids.shape)} from position {start} on: "
                         f"not (B, T) in {model.cfg['context_length']}")
    return model.drop_emb(model.tok_emb(ids) + places)


class GPTModel(nn.Module):
    """GPT-2: ids (B, T) -> logits (B, T, V) for each next token."""

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
        self.out_head = SplitLinear(C, V, bias=False)
        init_weights(self)

    def forward(self, ids: Tensor, cache: KVCache | None = None,
                last_only: bool = False) -> Tensor:
        x = embed(self, ids, cache.length if cache else 0)
        for layer, block in enumerate(self.trf_blocks):
            x = block(x, cache, layer)                  # (B, T, C)
        if cache:
            cache.length += ids.shape[1]
        return self.out_head(self.final_norm(x[:, -1:] if last_only else x))


GPT2_SIZES = {                # C, L, H
    "124M": (768, 12, 12),
    "355M": (1024, 24, 16),
    "774M": (1280, 36, 20),
    "1558M": (1600, 48, 25),
}


def gpt2_config(size: str, **changes) -> dict:
    """The config of one of GPT-2's four sizes, e.g. gpt2_config("355M").

    Raises ValueError for any other size.
    """
    if size not in GPT2_SIZES:
        raise ValueError(f"size {size!r} is not one of {list(GPT2_SIZES)}")
    C, L, H = GPT2_SIZES[size]
    return {**GPT_CONFIG_124M, "emb_dim": C, "n_layers": L, "n_heads": H,
            **changes}


def count_parameters(model: nn.Module) -> int:
    """How many numbers are learned; shared ones are counted once."""
    return sum(p.numel() for p in model.parameters())


def parameter_formula(cfg: dict) -> int:
    """The same number without a model: V C + P C + L (12 C^2 + ...) + 2 C.

    V tokens, P positions, C channels, L blocks.
    """
    V, P, C, L = (cfg[key] for key in ("vocab_size", "context_length",
                                       "emb_dim", "n_layers"))
    attention = 4 * C * C + C + (3 * C if cfg["qkv_bias"] else 0)
    feed_forward = 8 * C * C + 5 * C
    norms = 4 * C
    heads = 1 if cfg.get("tie_weights") else 2          # V C once or twice
    return heads * V * C + P * C + L * (attention + feed_forward
                                        + norms) + 2 * C


def next_token_probs(logits: Tensor, temperature: float = 1.0,
                     top_k: int | None = None,
                     top_p: float | None = None) -> Tensor:
    """Probabilities to draw from: temperature, then top-k, then top-p.

    (..., V) -> (..., V), rows sum to 1; temperature 0 puts all on the best.
    Raises ValueError. Source of top-p: Holtzman et al. 2020, section 3.1.
    """
    check_sampling(temperature, top_k, top_p)
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
        ranked = ranked.masked_fill(before >= top_p, 0)
        probs = torch.zeros_like(probs).scatter(-1, order, ranked)
    return probs / probs.sum(-1, keepdim=True)


def check_sampling(temperature: float, top_k: int | None,
                   top_p: float | None) -> None:
    """Raise ValueError unless these can steer a draw."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature={temperature} is not 0 or more")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} keeps no token")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} is not in (0, 1]")


def check_ids(ids: Tensor, vocab_size: int, max_new_tokens: int) -> None:
    """Raise ValueError unless ids (B, T) are tokens that can go on."""
    if ids.ndim != 2 or not ids.numel() or ids.is_floating_point():
        raise ValueError(f"ids {tuple(ids.shape)}, {ids.dtype}: not integers "
                         "(B, T) with at least one token")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise ValueError(f"ids from {low} to {high} are not all in a "
                         f"vocabulary of {vocab_size}")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens={max_new_tokens} is negative")


@torch.inference_mode()
def last_logits(model: nn.Module, ids: Tensor,
                cache: KVCache | None = None) -> Tensor:
    """Logits (B, V) after ids (B, T); with a cache, only news are read.

    At most context_length tokens are seen. When that window slides, every
    token gets another position, so the cache is filled anew.
    """
    room = model.pos_emb.num_embeddings
    window = ids[:, -room:]
    if cache is not None:
        if ids.shape[1] > room:
            cache.length = 0
        window = window[:, cache.length:]
    return model(window, cache, last_only=True)[:, -1]


def generate_tokens(
        model: nn.Module, ids: Tensor, max_new_tokens: int,
        temperature: float = 0.0, top_k: int | None = None,
        top_p: float | None = None, stop_id: int | None = None,
        use_cache: bool = True, generator: torch.Generator | None = None
        ) -> Iterator[Tensor]:
    """Write on from ids (B, T): an iterator over new tokens (B, 1).

    temperature 0 always takes the best token. A row that has written
    stop_id is filled with it; when all rows have, the writing ends.
    Raises ValueError. The model's mode, train or eval, is restored.
    """
    check_sampling(temperature, top_k, top_p)
    check_ids(ids, model.tok_emb.num_embeddings, max_new_tokens)
    cache = new_cache(model, ids, max_new_tokens) if use_cache else None

    def choose(logits: Tensor) -> Tensor:               # (B, V) -> (B, 1)
        if temperature == 0:
            return logits.argmax(-1, keepdim=True)
        probs = next_token_probs(logits, temperature, top_k, top_p)
        return torch.multinomial(probs, 1, generator=generator)

    return write_on(model, ids, max_new_tokens, choose, stop_id, cache)


def new_cache(model: nn.Module, ids: Tensor, more: int) -> KVCache:
    """A cache just large enough for ids (B, T) and what will follow."""
    room, weight = model.pos_emb.num_embeddings, model.tok_emb.weight
    return KVCache(model.cfg, len(ids), min(room, ids.shape[1] + more),
                   device=weight.device, dtype=weight.dtype)


def write_on(model, ids, max_new_tokens, choose, stop_id, cache):
    """The loop behind generate_tokens: read, choose, append, repeat."""
    was_training = model.training
    model.eval()                                        # no dropout
    done = torch.zeros_like(ids[:, :1], dtype=torch.bool)
    try:
        for _ in range(max_new_tokens):
            new = choose(last_logits(model, ids, cache))
            if stop_id is not None:
                new = new.masked_fill(done, stop_id)
                done |= new == stop_id
            yield new
            if stop_id is not None and done.all():
                return
            ids = torch.cat([ids, new], dim=1)
    finally:
        model.train(was_training)


def generate(
        model: nn.Module, ids: Tensor, max_new_tokens: int,
        temperature: float = 0.0, top_k: int | None = None,
        top_p: float | None = None, stop_id: int | None = None,
        use_cache: bool = True, generator: torch.Generator | None = None
        ) -> Tensor:
    """All at once what generate_tokens streams: (B, T) -> (B, T + n)."""
    steps = generate_tokens(model, ids, max_new_tokens, temperature, top_k,
                            top_p, stop_id, use_cache, generator)
    return torch.cat([ids, *steps], dim=1)


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


class ByteCodec:
    """The smallest tokenizer: a token is a byte of UTF-8."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode("utf-8", errors="replace")


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line and leaves with exit code 2."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message}\n")


TINY_CONFIG = {**GPT_CONFIG_124M, "vocab_size": 256, "context_length": 128,
               "emb_dim": 64, "n_heads": 4, "n_layers": 2}


def read_options(argv: list[str] | None) -> argparse.Namespace:
    """The command line of gpt.py."""
    parser = OneLineParser(
        prog="gpt.py", description="Build a GPT that has learned nothing "
        "yet, count its parameters and let it write.")
    add = parser.add_argument
    add("--prompt", default="Hello, I am", help="text to go on from")
    add("--config", default="tiny", help="tiny (bytes) or a size of GPT-2",
        choices=["tiny", *(size.lower() for size in GPT2_SIZES)])
    add("--max-new-tokens", type=int, default=20, metavar="N")
    add("--temperature", type=float, default=0.0, help="0 is greedy")
    add("--top-k", type=int, metavar="K", help="keep the K best tokens")
    add("--top-p", type=float, metavar="P", help="keep this much mass")
    add("--seed", type=int, default=0, help="of weights and draws")
    add("--device", help="cpu, cuda or mps (default: the best here)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run gpt.py: 0 if all went well, else 2 after one line that says why."""
    o = read_options(argv)
    cfg, codec = TINY_CONFIG, ByteCodec()
    try:
        if o.config != "tiny":
            cfg = gpt2_config(o.config.upper(), qkv_bias=True,
                              tie_weights=True)
            codec = gpt2_encoding()
        device = pick_device(o.device)
        torch.manual_seed(o.seed)
        model = GPTModel(cfg).to(device)
        ids = torch.tensor([codec.encode(o.prompt)], device=device)
        ids = generate(model, ids, o.max_new_tokens, o.temperature,
                       o.top_k, o.top_p)
    except (ValueError, OSError) as error:
        print(f"gpt.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{count_parameters(model):,} parameters on {device}")
    print(codec.decode(ids[0].tolist()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
