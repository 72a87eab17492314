"""Token files: a text of any size as numbers on disk, never read whole.

FILE.bin holds one unsigned number of 2 or 4 bytes per token, lowest byte
first. Each document starts with <|endoftext|>, and one more ends the file.
FILE.json beside it says how to read it.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpt_files as files
import numpy as np
import pretraining as pt
import torch
from torch import Tensor

FORMAT = "scratch-llm tokens 1"
PIECE = 2**22                  # tokens that are looked through at a time
KEYS = {"format": str, "dtype": str, "tokens": int, "documents": int,
        "vocab_size": int, "eot": int, "tokenizer": str}


def header_path(path: Path) -> Path:
    return path.with_suffix(".json")


class TokenWriter:
    """Writes FILE.bin document by document, and FILE.json at the end."""

    def __init__(self, path: Path, tokenizer: Any, tokenizer_name: str):
        self.path, self.eot = path, tokenizer.eot_token
        small = tokenizer.n_vocab <= 2**16
        self.header = {
            "format": FORMAT, "dtype": "uint16" if small else "uint32",
            "tokens": 0, "documents": 0, "vocab_size": tokenizer.n_vocab,
            "eot": self.eot, "tokenizer": tokenizer_name}
        self.kind = np.dtype(self.header["dtype"]).newbyteorder("<")

    def __enter__(self) -> "TokenWriter":
        self.stack = contextlib.ExitStack()
        temporary = self.stack.enter_context(files.atomic(self.path))
        self.file = open(temporary, "wb")
        return self

    def add(self, ids: list[int]) -> None:
        """More tokens of the document that is being written."""
        self.file.write(np.array(ids, dtype=self.kind).tobytes())
        self.header["tokens"] += len(ids)

    def new_document(self) -> None:
        self.add([self.eot])
        self.header["documents"] += 1

    def __exit__(self, kind: type | None, *rest: object) -> None:
        if kind is None:
            self.add([self.eot])
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()
        self.stack.__exit__(kind, *rest)
        if kind is None:
            files.write_text(header_path(self.path),
                             json.dumps(self.header, indent=1))


def read_header(path: Path) -> dict:
    """The header of a token file; ValueError if the two do not fit."""
    beside = header_path(path)
    try:
        header = json.loads(files.read_text(beside))
        good = header["format"] == FORMAT and all(
            type(header[key]) is kind for key, kind in KEYS.items()
            ) and header["dtype"] in ("uint16", "uint32")
    except (json.JSONDecodeError, KeyError, TypeError):
        good = False
    if not good:
        raise ValueError(f"{beside} is not the header of a token file: "
                         "write one with prepare_data.py")
    if not path.is_file():
        raise ValueError(f"{path} does not exist: check the path")
    wanted = header["tokens"] * np.dtype(header["dtype"]).itemsize
    if path.stat().st_size != wanted:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, its "
                         f"header says {wanted}: write it again")
    return header


def open_tokens(path: Path) -> tuple[np.ndarray, dict]:
    """The tokens, mapped into memory but not read, and the header."""
    header = read_header(path)
    kind = np.dtype(header["dtype"]).newbyteorder("<")
    return np.memmap(path, dtype=kind, mode="r"), header


def check_ends(path: Path) -> None:
    """ValueError unless both ends of a file are those of a document."""
    tokens, header = open_tokens(path)
    if not tokens[0] == tokens[-1] == header["eot"]:
        raise ValueError(f"{path} does not begin and end with the token "
                         f"{header['eot']} (<|endoftext|>), so it is not the "
                         "file of its header: write it again")


def document_starts(tokens: np.ndarray, eot: int) -> np.ndarray:
    """Where each document starts, and the end of the last one."""
    found = [np.flatnonzero(tokens[i:i + PIECE] == eot) + i
             for i in range(0, len(tokens), PIECE)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def as_batch_rows(chunk: np.ndarray, length: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (T,) of at most T + 1 tokens, padded ungraded."""
    ids = torch.from_numpy(chunk.astype(np.int64))
    inputs, targets = torch.zeros(2, length, dtype=torch.int64)
    targets.fill_(pt.IGNORE)
    inputs[:len(ids) - 1], targets[:len(ids) - 1] = ids[:-1], ids[1:]
    return inputs, targets


class CrossingWindows:
    """Windows of T tokens one after another, across documents.

    Every target is graded, and attention sees what stands before, even if
    it is another document: <|endoftext|> tells the model to forget it.
    """

    def __init__(self, tokens: np.ndarray, context_length: int):
        self.tokens, self.T = tokens, context_length

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - 1) // self.T)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        start = i * self.T
        return as_batch_rows(self.tokens[start:start + self.T + 1], self.T)


class InsideWindows:
    """Windows that hold one document each, or a part of one.

    From its <|endoftext|> to the next, which is the last target; what is
    left of T is padding, not graded. So attention needs no mask: there is
    no other document to look at. 16 bytes of memory per document.
    """

    def __init__(self, tokens: np.ndarray, context_length: int, eot: int):
        self.tokens, self.T = tokens, context_length
        self.starts = document_starts(tokens, eot)
        sizes = np.diff(self.starts)                   # targets of each
        self.ends = np.cumsum(-(-sizes // context_length))

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        d = int(np.searchsorted(self.ends, i, side="right"))
        part = i - (int(self.ends[d - 1]) if d else 0)
        start = int(self.starts[d]) + part * self.T
        end = min(start + self.T, int(self.starts[d + 1]))
        return as_batch_rows(self.tokens[start:end + 1], self.T)


def open_windows(path: Path, context_length: int, documents: str) -> Any:
    """The windows of a token file; ValueError if there are none."""
    tokens, header = open_tokens(path)
    windows = (CrossingWindows(tokens, context_length)
               if documents == "cross" else
               InsideWindows(tokens, context_length, header["eot"]))
    if not len(windows):
        raise ValueError(f"{path} holds {len(tokens)} tokens, not even one "
                         f"window of {context_length}: give a smaller "
                         "--context-length or more text")
    return windows


def validation_batches(windows: Any, batch_size: int, most: int = 256
                       ) -> list[pt.Batch]:
    """At most so many windows, spread evenly over a file, in batches."""
    n = min(most, len(windows))
    rows = [windows[i * len(windows) // n] for i in range(n)]
    return [tuple(map(torch.stack, zip(*rows[i:i + batch_size],
                                       strict=True)))
            for i in range(0, n, batch_size)]


# ---- Text files, piece by piece ------------------------------------------


def read_pieces(path: Path, size: int = 2**20) -> Iterator[str]:
    """A UTF-8 text in pieces; ValueError says what else it is."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            while piece := file.read(size):
                if "\0" in piece:
                    raise ValueError(f"{path} is binary (it holds zero "
                                     "bytes): give a text file")
                yield piece
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: check the path") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason}): save "
                         "it as UTF-8") from None
    except (IsADirectoryError, PermissionError):
        raise ValueError(f"{path} cannot be read as a file: give text "
                         "files, not a folder") from None


def safe_cut(text: str) -> int:
    """The last place where text may be cut: before a space after a word.

    No token reaches from a letter over a space, so both halves encode as
    the whole does. 0 if there is no such place.
    """
    for i in range(len(text) - 1, 0, -1):
        if text[i] in " \n" and not text[i - 1].isspace():
            return i
    return 0


def documents(pieces: Iterator[str], mark: str) -> Iterator[str | None]:
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
        cut = safe_cut(held[:max(0, len(held) - len(mark) + 1)])
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
