"""Text as it is shown: piece by piece, up to a stop, in tables."""

import codecs
import itertools
from collections.abc import Callable, Iterable, Iterator


def text_pieces(ids: Iterable[int], token_bytes: Callable) -> Iterator[str]:
    """Ids as text, piece by piece, never half a character.

    token_bytes: from an id to its bytes.
    """
    reader = codecs.getincrementaldecoder("utf-8")("replace")
    for i in ids:
        if piece := reader.decode(token_bytes(i)):
            yield piece
    if rest := reader.decode(b"", final=True):
        yield rest


def until(pieces: Iterable[str], stop: str | None) -> Iterator[str]:
    """Pass pieces of text on, and end before `stop` appears in them."""
    if not stop:
        yield from pieces
        return
    held = ""  # might be the beginning of stop
    for piece in pieces:
        text, found, _ = (held + piece).partition(stop)
        sure = len(text)
        if not found:
            lengths = range(len(stop))
            sure -= max(n for n in lengths if text.endswith(stop[:n]))
        if text[:sure]:
            yield text[:sure]
        if found:
            return
        held = text[sure:]
    if held:
        yield held


def text_table(rows: Iterable[Iterable]) -> str:
    """Rows as lines, the first column to the left, the others right."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = itertools.zip_longest(*cells, fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    lines = (
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)
