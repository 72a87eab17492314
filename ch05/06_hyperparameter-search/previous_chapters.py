# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
#            and ch03/01_main-chapter-code/ch03.ipynb
#            and ch04/01_main-chapter-code/ch04.ipynb
#            and ch05/01_main-chapter-code/ch05.ipynb
#            and ch05/04_experiments/experiments.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import base64
import itertools
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import regex
import tiktoken
import torch
import torch.nn.functional as F
from scratch_llm.broken_text import as_text
from scratch_llm.fast import all_cores, attention
from torch import Tensor, nn

# ---- ch02: text_data ----

END_OF_TEXT = "<|endoftext|>"

GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"     # English endings
    r"| ?\p{L}+| ?\p{N}+"          # letters, digits, with one space before
    r"| ?[^\s\p{L}\p{N}]+"         # anything else that is not space
    r"|\s+(?!\S)|\s+"              # space; its last goes to the next word
)
SPLIT = regex.compile(GPT2_PATTERN)


def split_text(text: str | bytes) -> list[str]:
    """Cut text where GPT-2 does; joined, the pieces are the text again."""
    return SPLIT.findall(as_text(text))


def cut_special(text: str, allowed: set[str], refused: set[str]) -> list[str]:
    """Cut text at allowed special tokens, which are every second part."""
    if found := sorted(token for token in refused if token in text):
        raise ValueError(f"the text holds {found}: pass allowed_special, or "
                         "use encode_ordinary to take it letter by letter")
    if not allowed:
        return [text]
    longest_first = sorted(map(regex.escape, allowed), key=len, reverse=True)
    return regex.split("(" + "|".join(longest_first) + ")", text)


def checked(ranks: dict[bytes, int]) -> dict[bytes, int]:
    """The ranks themselves; ValueError if a byte or a rank is missing."""
    if lacking := [b for b in range(256) if bytes([b]) not in ranks]:
        raise ValueError(f"no token for the bytes {lacking}")
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError(f"{len(ranks)} ranks must be 0..{len(ranks) - 1}")
    return ranks


class Vocabulary:
    """Tokens (bytes) by rank, then the special tokens."""

    def __init__(self, ranks: dict[bytes, int],
                 special_tokens: Iterable[str] = (END_OF_TEXT,)):
        self.ranks = checked(ranks)
        self.special = {t: i for i, t in enumerate(special_tokens, len(ranks))}
        self.tokens = dict(enumerate(
            [*sorted(ranks, key=ranks.get), *map(str.encode, self.special)]))
        self.n_vocab = len(self.tokens)
        self.eot_token = self.special.get(END_OF_TEXT)
        self.ids_of = lru_cache(2**16)(partial(encode_piece, ranks=ranks))

    @classmethod
    def from_ranks(cls, *args: object, **options: object) -> "BPETokenizer":
        return cls(*args, **options)

    @classmethod
    def load(cls, path: str | Path, **options: object) -> "BPETokenizer":
        return cls(read_ranks(path), **options)

    def save(self, path: str | Path) -> None:
        write_ranks(self.ranks, path)


class BPETokenizer(Vocabulary):
    """Byte-pair encoding; GPT-2's, id by id, if given GPT-2's ranks."""

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        return [i for piece in split_text(text) for i in self.ids_of(piece)]

    def encode(self, text: str, allowed_special: set | str = ()) -> list[int]:
        special = self.special.keys()
        allowed = special if allowed_special == "all" else set(allowed_special)
        parts = cut_special(text, special & allowed, special - allowed)
        ids = []
        for number, part in enumerate(parts):
            if number % 2 == 0:
                ids += self.encode_ordinary(part)
            else:
                ids.append(self.special[part])
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return b"".join(self.tokens[int(i)] for i in ids)
        except KeyError as bad:
            raise ValueError(f"no id {bad} in 0..{self.n_vocab - 1}") from None

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        return self.decode_bytes(ids).decode("utf-8", errors)


class Tokenizer(Protocol):
    """What the course asks of a tokenizer; ids are 0 to n_vocab - 1."""

    n_vocab: int
    eot_token: int                                  # <|endoftext|>

    def encode(self, text: str, *,
               allowed_special: set[str]) -> list[int]: ...
    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


def pairs_of(piece: str) -> list[str]:
    """The neighbouring pairs of a piece, repetitions included."""
    return [piece[i:i + 2] for i in range(len(piece) - 1)]


class PairTable:
    """Each distinct piece once, chr(id) per token, and where pairs occur."""

    def __init__(self, texts: Iterable[str]):
        pieces = Counter(p for text in texts for p in split_text(text))
        self.times = list(pieces.values())    # how often each piece occurs
        self.pieces = [p.encode().decode("latin-1") for p in pieces]
        self.count: Counter = Counter()       # pair -> how often it occurs
        self.where = defaultdict(set)         # pair -> pieces that hold it
        for number in range(len(self.pieces)):
            self.add(number, +1)
        self.heap = [(-n, pair) for pair, n in self.count.items()]
        heapify(self.heap)

    def add(self, number: int, sign: int) -> None:
        for pair in pairs_of(self.pieces[number]):
            self.count[pair] += sign * self.times[number]
            self.where[pair].add(number)


def most_frequent(table: PairTable, min_count: int) -> str | None:
    """The pair with the highest count; of equals, the smallest ids."""
    while table.heap:
        promised, pair = heappop(table.heap)
        n = table.count[pair]
        if min_count <= n == -promised:
            return pair
        if min_count <= n < -promised:        # fallen since: back in line
            heappush(table.heap, (-n, pair))
    return None


def merge_everywhere(table: PairTable, pair: str, token: str) -> None:
    """Write token for pair where it occurs; repair counts and places."""
    fresh = set()
    for number in table.where[pair]:
        table.add(number, -1)
        table.pieces[number] = table.pieces[number].replace(pair, token)
        table.add(number, +1)
        fresh.update(pairs_of(table.pieces[number]))
    del table.where[pair]
    for new in fresh:
        if token in new:
            heappush(table.heap, (-table.count[new], new))


def train_bpe(text: str | Iterable[str], vocab_size: int, min_count: int = 2,
              special_tokens: Sequence[str] = (END_OF_TEXT,)) -> BPETokenizer:
    """Learn vocab_size tokens, bytes and special tokens included.

    text: one or many. Stops early, with a smaller n_vocab, when no pair
    occurs min_count times. Source: Sennrich 2016, algorithm 1, on bytes.
    """
    size = vocab_size - len(special_tokens)
    if size < 256:
        raise ValueError(f"vocab_size={vocab_size} has no room for 256 bytes "
                         f"and the special tokens {list(special_tokens)}")
    cut = "|".join(map(regex.escape, special_tokens)) or "(?!)"
    texts = [text] if isinstance(text, str) else text
    table = PairTable(part for t in texts for part in regex.split(cut, t))
    tokens = [bytes([value]) for value in range(256)]
    ranks = {token: i for i, token in enumerate(tokens)}
    while len(tokens) < size and (pair := most_frequent(table, min_count)):
        token = tokens[ord(pair[0])] + tokens[ord(pair[1])]
        if token not in ranks:
            ranks[token] = len(tokens)
            tokens.append(token)
        merge_everywhere(table, pair, chr(ranks[token]))
    return BPETokenizer(ranks, special_tokens)


NEVER, LONG = 1 << 60, 100         # no such rank; bytes of a long piece


def merge_short(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """The ids of a piece. Token k is piece[cuts[k]:cuts[k + 1]]."""
    cuts = list(range(len(piece) + 1))
    score = [ranks.get(piece[i:i + 2], NEVER) for i in cuts[:-2]]
    while score and (lowest := min(score)) < NEVER:
        k = score.index(lowest)
        del score[k], cuts[k + 1]
        for j in (k - 1, k):
            if 0 <= j < len(score):
                score[j] = ranks.get(piece[cuts[j]:cuts[j + 2]], NEVER)
    return [ranks[piece[i:j]] for i, j in pairwise(cuts)]


def encode_piece(piece: str, ranks: dict[bytes, int]) -> list[int]:
    """The ids of one piece, by the method that suits its length."""
    data = piece.encode("utf-8", "surrogateescape")
    if data in ranks:
        return [ranks[data]]
    return (merge_short if len(data) < LONG else merge_long)(data, ranks)


def merge_long(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """The ids that merge_short gives, in n log n steps.

    after[i]: where the token that starts at i ends; 0 if none starts there.
    """
    n = len(piece)
    before, after = list(range(-1, n)), list(range(1, n + 2))
    heap = [(ranks[piece[i:i + 2]], i, i + 2) for i in range(n - 1)
            if piece[i:i + 2] in ranks]
    heapify(heap)
    while heap:
        _, i, end = heappop(heap)
        middle = after[i]
        if not middle or after[middle] != end:
            continue                          # one of the two has changed
        after[i], after[middle], before[end] = end, 0, i
        for j in (before[i], i):
            if j >= 0 and after[j] < n:
                stop = after[after[j]]
                rank = ranks.get(piece[j:stop])
                if rank is not None:
                    heappush(heap, (rank, j, stop))
    return [ranks[piece[i:after[i]]] for i in range(n) if after[i]]


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


@torch.no_grad()
def evaluate(model: nn.Module, batches: list[Batch],
             precision: str = "fp32") -> float:
    """Nats per graded target, without dropout; the mode is restored."""
    device, total = next(model.parameters()).device, 0.0
    if not (n_targets := count_targets(batches)):
        raise ValueError("nothing to evaluate: no target is graded")
    with eval_mode(model):
        for inputs, targets in batches:
            with autocast(device, precision):
                logits = model(inputs.to(device))
            total += sum_nll(logits, targets.to(device)).item()
    return total / n_targets


def own_tokenizer(texts: Iterable[str], vocab_size: int
                  ) -> tiktoken.Encoding:
    """Our BPE trained on texts, saved, and run by tiktoken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.tiktoken")
        train_bpe(texts, vocab_size).save(path)
        return load_encoding(path)


def story_rows(texts: Iterable[str], tokenizer: Tokenizer) -> list[list[int]]:
    """One row of ids per whole text, with <|endoftext|> at both ends.

    A space goes before each text, so that its first word is the same token
    as everywhere else.
    """
    eot, encode = tokenizer.eot_token, tokenizer.encode_ordinary
    return [[eot, *encode(f" {text}"), eot] for text in texts]


def pad_batch(rows: list[list[int]], pad_id: int = 0) -> Batch:
    """Rows of unequal length as one batch; padding is never graded.

    Returns inputs and targets (B, T), T = longest row - 1.
    """
    T = max(map(len, rows)) - 1
    inputs = torch.full((len(rows), T), pad_id)
    targets = torch.full((len(rows), T), IGNORE)
    for i, row in enumerate(rows):
        ids = torch.tensor(row)
        inputs[i, :len(row) - 1] = ids[:-1]
        targets[i, :len(row) - 1] = ids[1:]
    return inputs, targets


def bucket_batches(rows: list[list[int]], batch_size: int,
                   generator: torch.Generator | None = None) -> list[Batch]:
    """Batches of rows of similar length, so that little is padding.

    With a generator the batches come in random order. Rows are sorted by
    length, so the smallest batch holds the longest rows.
    """
    rows = sorted(rows, key=len)
    batches = [pad_batch(rows[i:i + batch_size])
               for i in range(0, len(rows), batch_size)]
    if generator is None:
        return batches
    order = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in order]


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


def sinusoids(T: int, C: int) -> Tensor:
    """Waves of many lengths, (T, C). Source: Vaswani et al. 2017, 3.5."""
    waves = T ** (-torch.arange(0, C, 2) / C)              # radians/token
    angles = torch.arange(T)[:, None] * waves              # (T, C / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :C]


@torch.no_grad()
def init_copying(model: GPTModel, std: float = 0.1) -> GPTModel:
    """Let attention pass on what it reads, from the first step on."""
    C, L = model.cfg["emb_dim"], model.cfg["n_layers"]
    nn.init.normal_(model.tok_emb.weight, std=std)
    model.pos_emb.weight.copy_(std * sinusoids(*model.pos_emb.weight.shape))
    for block in model.trf_blocks:
        up, down = block.ff.layers[0].weight, block.ff.layers[2].weight
        nn.init.normal_(up, std=C**-0.5)
        nn.init.normal_(down, std=(8 * C * L)**-0.5)
        qkv, out = block.att.qkv.weight, block.att.out_proj.weight
        nn.init.normal_(qkv, std=C**-0.5)
        for part, size in ((qkv[2 * C:], 1.0), (out, 0.5)):
            nn.init.normal_(part, std=0.02).diagonal().add_(size)
    return model


# ---- ch05: lab ----


@dataclass
class Bench:
    """A world made ready: tokens, training rows, validation batches, floor."""

    world: Any
    tokenizer: Tokenizer
    rows: list[list[int]]
    validation: list[Batch]
    floor: float                # nats per token


def prepare(world: Any, tokenizer: Tokenizer | None = None, train: int = 3000,
            held_out: int = 200, vocab_size: int = 900) -> Bench:
    """Stories of a world as rows and batches, with the floor of the latter.

    Without a tokenizer, one is trained on the training stories.
    """
    texts = [one.text for one in world.corpus(train)]
    tokenizer = tokenizer or own_tokenizer(texts, vocab_size)
    stories = world.corpus(held_out, "validation")
    rows = story_rows([one.text for one in stories], tokenizer)
    validation = bucket_batches(rows, 50)
    floor = sum(one.nll for one in stories) / count_targets(validation)
    return Bench(world, tokenizer, story_rows(texts, tokenizer),
                 validation, floor)


SMALL = {
    "context_length": 128, "emb_dim": 64, "n_heads": 2, "n_layers": 1,
    "drop_rate": 0.0, "qkv_bias": False, "tie_weights": True,
}


def small_model(tokenizer: Tokenizer, seed: int, **changes: Any) -> GPTModel:
    """A small GPT that starts by copying; changes: of the configuration."""
    torch.manual_seed(seed)
    cfg = {"vocab_size": tokenizer.n_vocab, **SMALL, **changes}
    return init_copying(GPTModel(cfg))


def endless(rows: list[list[int]], batch_size: int, seed: int
            ) -> Iterator[Batch]:
    """Batches of rows, shuffled anew in each epoch, of similar length."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for i in range(0, len(rows), 12 * batch_size):
            part = [rows[j] for j in order[i:i + 12 * batch_size]]
            yield from bucket_batches(part, batch_size, generator)


def learn(model: GPTModel, batches: Iterator[Batch], schedule: Callable,
          weight_decay: float = 0.01) -> list[float]:
    """Train; the loss of each step in nats per graded target.

    schedule: has `steps`, and schedule(step) is the learning rate.
    """
    optimizer = make_optimizer(model, weight_decay)
    return [record["train"] for record in
            train(model, optimizer, batches, schedule)]
