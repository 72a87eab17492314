"""Token files: a text of any size as numbers on disk, never read whole.

FILE.npy is NumPy's own format: a vector of unsigned numbers of 2 or 4 bytes.
Each document starts with <|endoftext|>, and one more ends the file.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import previous_chapters as pc
import torch
from scratch_llm.files import atomic
from torch import Tensor
from torch.nn import functional as F

PIECE = 2**22  # tokens that are looked through at a time


class TokenFile:
    """A token file that is being written: `write` takes its documents.

    A context: afterwards the file is there, or not at all if anything failed.
    """

    def __init__(self, path: Path, tokenizer: pc.Tokenizer) -> None:
        self.path, self.tokenizer = path, tokenizer
        self.kind = "<u2" if tokenizer.n_vocab <= 2**16 else "<u4"
        self.n_documents = self.n_tokens = 0

    def __enter__(self) -> "TokenFile":
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path))
            self.file = stack.enter_context(open(temporary, "wb"))
            self.write_header()  # with room for more digits
            self.write_ids([self.tokenizer.eot_token])
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            self.file.seek(0)
            self.write_header()
            self.file.flush()
            os.fsync(self.file.fileno())
        self.stack.__exit__(*error)

    def write(self, piece: str | None) -> None:
        """Add a piece of a document, or None at the end of one."""
        if piece is None:
            self.n_documents += 1
            self.write_ids([self.tokenizer.eot_token])
        else:
            self.write_ids(self.tokenizer.encode_ordinary(piece))

    def write_ids(self, ids: list[int]) -> None:
        self.file.write(np.array(ids, self.kind))
        self.n_tokens += len(ids)

    def write_header(self) -> None:
        about = {"descr": self.kind, "fortran_order": False}
        about["shape"] = (self.n_tokens,)
        np.lib.format.write_array_header_1_0(self.file, about)


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


@dataclass
class Windows:
    """Inputs and targets (T,) that begin at given places of a token file.

    Inside: one holds what comes before the next <|endoftext|>, which is the
    last target; what is left of T is padding, not graded. So attention
    needs no mask: there is no other document to look at.
    """

    ids: np.ndarray
    T: int
    begins: Sequence
    inside: bool

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        begin = int(self.begins[i])
        chunk = self.ids[begin : begin + self.T + 1]
        ends = np.flatnonzero(chunk[1:] == self.ids[0])
        if self.inside and len(ends):
            chunk = chunk[: ends[0] + 2]
        ids = torch.from_numpy(chunk.astype(np.int64))
        rest = (0, self.T + 1 - len(ids))
        return F.pad(ids[:-1], rest), F.pad(ids[1:], rest, value=pc.IGNORE)


def begins_inside(ids: np.ndarray, T: int) -> np.ndarray:
    """Where windows begin if each document is cut for itself."""
    starts = document_starts(ids)
    parts = -(-np.diff(starts) // T)  # windows of each document
    first = np.cumsum(parts) - parts
    nth = np.arange(parts.sum()) - np.repeat(first, parts)
    return np.repeat(starts[:-1], parts) + nth * T


def open_windows(path: Path, context_length: int, documents: str) -> Windows:
    """The windows of a token file; ValueError if there are none.

    cross: one after another. Every target is graded, and attention sees
    what stands before, even if it is of another document.
    """
    ids, T = open_tokens(path), context_length
    inside = documents == "inside"
    begins = begins_inside(ids, T) if inside else range(0, len(ids) - T, T)
    if not len(begins):
        raise ValueError(
            f"{path} holds {len(ids)} tokens, not even one window of {T}: "
            "give a smaller --context-length or more text"
        )
    return Windows(ids, T, begins, inside)


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
