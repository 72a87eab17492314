"""Token files: a text of any size as numbers on disk, never read whole.

FILE.npy is NumPy's own format: a vector of unsigned numbers of 2 or 4 bytes.
Each document starts with <|endoftext|>, and one more ends the file.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import previous_chapters as pc
import torch
from scratch_llm.files import atomic
from torch import Tensor

PIECE = 2**22  # tokens that are looked through at a time


class TokenWriter:
    """Writes a token file document by document, whole or not at all."""

    def __init__(self, path: Path, tokenizer: pc.Tokenizer):
        self.path, self.eot = path, tokenizer.eot_token
        small = tokenizer.n_vocab <= 2**16
        self.dtype = np.dtype("<u2" if small else "<u4")
        self.tokens = self.documents = 0

    def __enter__(self) -> "TokenWriter":
        self.stack = contextlib.ExitStack()
        temporary = self.stack.enter_context(atomic(self.path))
        self.file = self.stack.enter_context(open(temporary, "wb"))
        self.write_header()
        return self

    def write_header(self) -> None:
        """How many numbers follow; NumPy leaves room for more digits."""
        kind = np.lib.format.dtype_to_descr(self.dtype)
        about = {"descr": kind, "fortran_order": False}
        about["shape"] = (self.tokens,)
        self.file.seek(0)
        np.lib.format.write_array_header_1_0(self.file, about)

    def add(self, ids: list[int]) -> None:
        """More tokens of the document that is being written."""
        self.file.write(np.array(ids, dtype=self.dtype))
        self.tokens += len(ids)

    def new_document(self) -> None:
        self.add([self.eot])
        self.documents += 1

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if kind is None:
            self.add([self.eot])
            self.write_header()
            self.file.flush()
            os.fsync(self.file.fileno())
        self.stack.__exit__(kind, *rest)

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.documents:,} documents, {self.tokens:,} "
            f"tokens of {8 * self.dtype.itemsize} bits"
        )


def open_tokens(path: Path) -> np.ndarray:
    """The tokens, mapped into memory but not read; the first ends a document.

    ValueError if the file is not whole, or ends with another token than it
    begins with.
    """
    try:
        ids = np.load(path, mmap_mode="r")
        good = ids.ndim == 1 and ids[0] == ids[-1]
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: check the path") from None
    except (OSError, ValueError, EOFError, IndexError):
        good = False
    if not good:
        raise ValueError(
            f"{path} is not a whole token file: write one with prepare_data.py"
        )
    return ids


def document_starts(ids: np.ndarray) -> np.ndarray:
    """Where each document starts, and the end of the last one."""
    found = [
        np.flatnonzero(ids[i : i + PIECE] == ids[0]) + i
        for i in range(0, len(ids), PIECE)
    ]
    return np.concatenate(found)


def padded(chunk: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (T,) of at most T + 1 tokens, padded ungraded."""
    ids = torch.from_numpy(chunk.astype(np.int64))
    inputs, targets = torch.zeros(2, length, dtype=torch.int64)
    targets.fill_(pc.IGNORE)
    inputs[: len(ids) - 1], targets[: len(ids) - 1] = ids[:-1], ids[1:]
    return inputs, targets


class CrossingWindows:
    """Windows of T tokens one after another, across documents.

    Every target is graded, and attention sees what stands before, even if
    it is another document: <|endoftext|> tells the model to forget it.
    """

    def __init__(self, ids: np.ndarray, context_length: int):
        self.ids, self.T = ids, context_length

    def __len__(self) -> int:
        return max(0, (len(self.ids) - 1) // self.T)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        start = i * self.T
        return padded(self.ids[start : start + self.T + 1], self.T)


class InsideWindows:
    """Windows that hold one document each, or a part of one.

    From its <|endoftext|> to the next, which is the last target; what is
    left of T is padding, not graded. So attention needs no mask: there is
    no other document to look at. 16 bytes of memory per document.
    """

    def __init__(self, ids: np.ndarray, context_length: int):
        self.ids, self.T = ids, context_length
        self.starts = document_starts(ids)
        sizes = np.diff(self.starts)  # targets of each
        self.ends = np.cumsum(-(-sizes // context_length))

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        d = int(np.searchsorted(self.ends, i, side="right"))
        part = i - (int(self.ends[d - 1]) if d else 0)
        start = int(self.starts[d]) + part * self.T
        end = min(start + self.T, int(self.starts[d + 1]))
        return padded(self.ids[start : end + 1], self.T)


def open_windows(
    path: Path, context_length: int, documents: str
) -> CrossingWindows | InsideWindows:
    """The windows of a token file; ValueError if there are none."""
    ids = open_tokens(path)
    kind = CrossingWindows if documents == "cross" else InsideWindows
    windows = kind(ids, context_length)
    if not len(windows):
        raise ValueError(
            f"{path} holds {len(ids)} tokens, not even one window of "
            f"{context_length}: give a smaller --context-length or more text"
        )
    return windows


def stack(rows: Iterable[tuple[Tensor, Tensor]]) -> pc.Batch:
    """Windows as a batch: inputs and targets, (B, T) each."""
    inputs, targets = zip(*rows, strict=True)
    return torch.stack(inputs), torch.stack(targets)


def validation_batches(
    windows: Sequence, batch_size: int, most: int = 256
) -> list[pc.Batch]:
    """At most so many windows, spread evenly over a file, in batches."""
    n = min(most, len(windows))
    rows = [windows[i * len(windows) // n] for i in range(n)]
    return [stack(rows[i : i + batch_size]) for i in range(0, n, batch_size)]


# ---- Text files, piece by piece ------------------------------------------


def read_pieces(path: Path, size: int = 2**20) -> Iterator[str]:
    """A UTF-8 text in pieces; ValueError says what else it is."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            while piece := file.read(size):
                if "\0" in piece:
                    raise ValueError(
                        f"{path} is binary (it holds zero bytes): give a "
                        "text file"
                    )
                yield piece
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason}): save it as UTF-8"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): give text files"
        ) from None


def safe_cut(text: str) -> int:
    """The last place where text may be cut: before a space after a word.

    No token reaches from a letter over a space, so both halves encode as
    the whole does. 0 if there is no such place.
    """
    for i in range(len(text) - 1, 0, -1):
        if text[i] in " \n" and not text[i - 1].isspace():
            return i
    return 0


def documents(pieces: Iterable[str], mark: str) -> Iterator[str | None]:
    """Pieces of documents, each document followed by None.

    Documents are what stands between marks, without the white space at
    their ends; empty ones are left out. A piece can be cut off safely.
    """
    held, inside = "", False
    for piece in pieces:
        *done, held = (held + piece).split(mark)
        for text in done:
            yield from closing(text, inside)
            inside = False
        held = held if inside else held.lstrip()
        # what could be the beginning of a mark, or trailing space, waits
        cut = safe_cut(held[: max(0, len(held) - len(mark) + 1)])
        if cut:
            yield held[:cut]
            held, inside = held[cut:], True
    yield from closing(held, inside)


def closing(text: str, inside: bool) -> Iterator[str | None]:
    """The rest of a document, and its end, if there is anything of it."""
    text = text.rstrip() if inside else text.strip()
    if text:
        yield text
    if text or inside:
        yield None
