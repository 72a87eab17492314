"""Token files: a text of any size as numbers on disk, never read whole.

FILE.npy is NumPy's own format: a vector of unsigned numbers of 2 or 4 bytes.
Each document starts with <|endoftext|>, and one more ends the file.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import previous_chapters as pc
import torch
from scratch_llm.files import atomic
from torch import Tensor
from torch.nn import functional as F

PIECE = 2**22  # tokens that are looked through at a time
SAFE = re.compile(r".*\S(?=[ \n])", re.DOTALL)  # up to where text may be cut


def write_tokens(
    path: Path, tokenizer: pc.Tokenizer, pieces: Iterable[str | None]
) -> tuple[int, int]:
    """A token file, whole or not at all; how many documents and tokens.

    pieces: of documents, None at the end of each.
    """
    kind = "<u2" if tokenizer.n_vocab <= 2**16 else "<u4"
    about = {"descr": kind, "fortran_order": False, "shape": (0,)}
    eot, n_documents = [tokenizer.eot_token], 0
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, about)
        header = file.tell()
        file.write(np.array(eot, kind))
        for piece in pieces:
            n_documents += piece is None
            ids = eot if piece is None else tokenizer.encode_ordinary(piece)
            file.write(np.array(ids, kind))
        n_tokens = (file.tell() - header) // np.dtype(kind).itemsize
        file.seek(0)  # NumPy has left room for more digits
        about["shape"] = (n_tokens,)
        np.lib.format.write_array_header_1_0(file, about)
        file.flush()
        os.fsync(file.fileno())
    return n_documents, n_tokens


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


def documents(pieces: Iterable[str], mark: str) -> Iterator[str | None]:
    """Pieces of documents, each document followed by None.

    Documents are what stands between marks, without the white space at
    their ends; empty ones are left out. A piece ends before a space after a
    word: no token reaches over it, so pieces encode as the whole does.
    """
    held, inside = "", False
    for piece in pieces:
        *done, held = (held + piece).split(mark)
        for text in done:
            yield from closing(text, inside)
            inside = False
        held = held if inside else held.lstrip()
        # what could be the beginning of a mark, or trailing space, waits
        if safe := SAFE.match(held[: max(0, len(held) - len(mark) + 1)]):
            yield safe[0]
            held, inside = held[safe.end() :], True
    yield from closing(held, inside)


def closing(text: str, inside: bool) -> Iterator[str | None]:
    """The rest of a document, and its end, if there is anything of it."""
    text = text.rstrip() if inside else text.strip()
    if text:
        yield text
    if text or inside:
        yield None
