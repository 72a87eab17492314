"""Files that are written whole or not at all, and text that is text."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path that becomes `path` only when all is written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.umask(mask := os.umask(0))
        temporary.chmod(0o666 & ~mask)  # some libraries let only us read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically, the same bytes on every platform."""
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def read_text(path: str | Path) -> str:
    """A UTF-8 text file; ValueError says what else it is."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: check the path") from None
    except (IsADirectoryError, PermissionError):
        raise ValueError(
            f"{path} cannot be read as a file: give a text file, not a folder"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{path} is binary (it holds zero bytes): give a text file"
        )
    if not text.strip():
        raise ValueError(f"{path} is empty: give a file with text in it")
    return text
