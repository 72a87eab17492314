# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import base64
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import regex
import tiktoken
import torch
from scratch_llm.broken_text import as_text
from scratch_llm.gpt2_vocabulary import bring_vocabulary
from torch.utils.data import DataLoader, Dataset

WORD = regex.compile(r"<\|\w+\|>|\w+(?:['’]\w+)*|[^\w\s]")

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"


class SimpleTokenizer:
    """A number for every word and punctuation mark of one text."""

    def __init__(self, vocab: dict[str, int]):
        self.vocab = vocab
        self.words = {i: word for word, i in vocab.items()}

    @classmethod
    def from_text(cls, text: str) -> "SimpleTokenizer":
        words = sorted(set(WORD.findall(text)) - {END_OF_TEXT, UNKNOWN})
        words += [END_OF_TEXT, UNKNOWN]
        return cls({word: i for i, word in enumerate(words)})

    def encode(self, text: str) -> list[int]:
        unknown = self.vocab[UNKNOWN]
        return [self.vocab.get(w, unknown) for w in WORD.findall(text)]

    def decode(self, ids: Iterable[int]) -> str:
        text = " ".join(self.words[int(i)] for i in ids)
        return regex.sub(r" ([.,:;?!)’”])", r"\1", text)


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


def gpt2_encoding() -> tiktoken.Encoding:
    """GPT-2's tokenizer, also where tiktoken's own download is blocked.

    ConnectionError, after seconds and not minutes, if there is no way.
    """
    bring_vocabulary()
    return tiktoken.get_encoding("gpt2")


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


class GPTDataset(Dataset):
    """Item i: T ids from i * stride on, and targets; each int64 (T,).

    targets: the ids one place later. ids: n token ids.
    ValueError if not even one window can be cut.
    """

    def __init__(self, ids: Sequence[int], context_length: int, stride: int):
        if context_length < 1 or stride < 1:
            raise ValueError(f"context_length={context_length} and stride="
                             f"{stride} must both be 1 or more")
        if len(ids) <= context_length:
            raise ValueError(f"{len(ids)} tokens are too few: a window of "
                             f"context_length={context_length} needs one more")
        self.ids = torch.as_tensor(ids)
        self.context_length = context_length
        self.starts = range(0, len(ids) - context_length, stride)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.starts[i]
        window = self.ids[start:start + self.context_length + 1].long()
        return window[:-1], window[1:]


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
