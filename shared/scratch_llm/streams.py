"""Texts of any size, read as they come: files, packed files, downloads.

    for name, file in texts("books.tar.gz"): ...
    for name, file in texts("https://..."): ...
    for name, file in texts("tinystories"): ...
    for piece in all_documents("tinystories", "<|endoftext|>"): ...
    text, whole = beginning("tinystories", megabytes=10)

Nothing is unpacked on the disk, and nothing is kept in memory. A download that
breaks off goes on where it was. What is wrong is told in one line: ValueError
for a file, DownloadError for an address.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import json
import lzma
import os
import re
import tarfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
import urllib3

from scratch_llm import download
from scratch_llm.files import read_text

Text = tuple[str, BinaryIO]  # a name, and the bytes behind it
PACKED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DAMAGED = (
    EOFError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zlib.error,
)
BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)
LINES = (".jsonl", ".json")  # of which each line is an object with a "text"
END_OF_TEXT = "<|endoftext|>"
SAFE = re.compile(r".*\S(?=[ \n])", re.DOTALL)  # up to where text may be cut
WAITS = (1, 4, 15)  # seconds before it asks again while nothing comes


class Download(io.RawIOBase):
    """The bytes behind an address, read as they come and never stored.

    When the connection breaks, the rest is asked for. patient: also when not
    even the beginning came. Raises DownloadError.
    """

    def __init__(self, url: str, patient: bool = False) -> None:
        self.url, self.patient = url, patient
        self.at, self.tries = 0, 0  # bytes read; questions without a byte
        self.size: int | None = None  # bytes in all, if the server says it
        self.version = ""  # what the server calls this state of the file
        self.answer: requests.Response | None = None
        self.connect()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Some bytes, 0 at the end."""
        while True:
            if self.answer is None:
                self.connect()
            try:
                data = self.answer.raw.read(len(buffer), decode_content=False)
                if not data and self.at < (self.size or 0):
                    raise ConnectionResetError
            except BROKEN as error:
                self.pause(error)
                continue
            self.tries = 0 if data else self.tries
            self.at += len(data)
            buffer[: len(data)] = data
            return len(data)

    def connect(self) -> None:
        """Ask for the file, or for the rest of it."""
        headers = {"Accept-Encoding": "identity"}
        if self.at:
            headers["Range"] = f"bytes={self.at}-"
        if self.version:
            headers["If-Range"] = self.version
        while self.answer is None:
            try:
                self.answer = requests.get(
                    self.url,
                    headers=headers,
                    stream=True,
                    timeout=download.TIMEOUT,
                )
                self.answer.raise_for_status()
                download.check_answer(self.answer)
            except (*BROKEN, ValueError) as error:
                self.pause(error)
        said = self.answer.headers
        if self.at:
            if not said.get("Content-Range", "").startswith(
                f"bytes {self.at}-"
            ):
                self.fail("dropped the connection and cannot send the rest")
            return
        tag, length = said.get("ETag", ""), said.get("Content-Length")
        self.version = "" if tag.startswith("W/") else tag
        self.size = int(length) if length else None

    def pause(self, error: Exception) -> None:
        """Wait before the next question; DownloadError if there is none."""
        if self.answer is not None:
            self.answer.close()
        if isinstance(error, urllib3.exceptions.ProtocolError):
            error = ConnectionResetError()
        response = getattr(error, "response", None)
        refused = response is not None and response.status_code < 500
        hopeless = refused or isinstance(error, ValueError)
        beginning = not (self.at or self.patient)
        if hopeless or beginning or self.tries == len(WAITS):
            self.fail(download.reason(error, self.url))
        self.answer = None
        time.sleep(WAITS[self.tries])
        self.tries += 1

    def fail(self, why: str) -> None:
        self.close()
        place = f" after {self.at:,} bytes" if self.at else ""
        url = re.sub(r"//[^/@\s]*@", "//", self.url)  # no passwords
        raise download.DownloadError(
            f"{url}: {why}{place}. Try again later, try another address "
            "(SCRATCH_LLM_MIRROR), or bring the file by other means and give "
            "its path"
        ) from None

    def close(self) -> None:
        if self.answer is not None:
            self.answer.close()
        super().close()


def addresses(source: str) -> list[str]:
    """The addresses that a source means; none if it is a file."""
    if source.startswith(("http://", "https://")):
        return [source]
    urls = list(download.CORPORA.get(source, ()))
    for mirror in os.environ.get("SCRATCH_LLM_MIRROR", "").split()[:1]:
        urls = [mirror.rstrip("/") + urlsplit(url).path for url in urls]
    return urls


def texts(source: str | Path) -> Iterator[Text]:
    """The texts of a file, an address or a corpus, one after the other.

    What is packed (.gz, .bz2, .xz, .tar, and these in each other) is unpacked
    on the way. Read each text, in `whole`, before you ask for the next.
    """
    urls = addresses(str(source))
    for i, url in enumerate(urls):
        with io.BufferedReader(Download(url, i > 0), 2**18) as file:
            yield from unpacked(urlsplit(url).path, file)
    if not urls:
        with opened(source) as file:
            yield from unpacked(str(source), file)


def opened(path: str | Path) -> BinaryIO:
    """A file; ValueError says why it cannot be read."""
    try:
        return open(path, "rb")
    except FileNotFoundError:
        known = ", ".join(download.CORPORA)
        raise ValueError(
            f"{path} does not exist: give a file, an address or one of {known}"
        ) from None
    except (IsADirectoryError, PermissionError):
        raise ValueError(
            f"{path} cannot be read as a file: give a text file, not a folder"
        ) from None


@contextlib.contextmanager
def whole(name: str) -> Iterator[None]:
    """Inside, read a text; ValueError if it is damaged where it is packed."""
    try:
        yield
    except (*DAMAGED, OSError) as error:
        ours = isinstance(error, download.DownloadError)
        if ours or getattr(error, "errno", None):  # not what it was told
            raise
        why = " ".join(str(error).split())
        raise ValueError(
            f"{name} is damaged ({why}): fetch it again"
        ) from None


def unpacked(name: str, file: BinaryIO) -> Iterator[Text]:
    """A text, or all those that are packed in it."""
    ending = PurePosixPath(name).suffix
    with whole(name):
        if ending in PACKED:
            with PACKED[ending](file) as inside:
                yield from unpacked(name.removesuffix(ending), inside)
        elif file.peek(512)[257:262] == b"ustar":
            with tarfile.open(fileobj=file, mode="r|") as archive:
                for one in archive:
                    if one.isfile():
                        inside = archive.extractfile(one)
                        yield from unpacked(one.name, inside)
        else:
            yield name, file


# ---- Documents, piece by piece --------------------------------------------


def all_documents(source: str | Path, mark: str) -> Iterator[str | None]:
    """The documents of a source in pieces, None at the end of each.

    source: a file of any size, packed or not, an address, or the name of a
    corpus. Of JSON lines, each "text" is one.
    """
    for name, file in texts(source):
        with whole(name):
            if name.endswith(LINES):
                for text in json_texts(file, name):
                    yield from documents([text], mark)
            else:
                yield from documents(read_pieces(file, name), mark)


def json_texts(file: BinaryIO, name: str) -> Iterator[str]:
    """The "text" of each line, which is a JSON object, or ValueError."""
    for number, line in enumerate(file, 1):
        try:
            text = json.loads(line)["text"] if line.strip() else ""
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str):
            raise ValueError(
                f'{name}, line {number} is not a JSON object with a "text": '
                "give JSON lines, or plain text"
            )
        yield text


def read_pieces(file: BinaryIO, name: str, size: int = 2**20) -> Iterator[str]:
    """A UTF-8 text in pieces; ValueError says what else it is."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        while data := file.read(size):
            if b"\0" in data:
                raise ValueError(
                    f"{name} is binary (it holds zero bytes): give a text file"
                )
            yield decoder.decode(data)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} is not UTF-8 text ({error.reason}): save it as UTF-8"
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


def beginning(source: str | Path, megabytes: float) -> tuple[str, bool]:
    """The first megabytes of a source as one text, and whether it is all.

    No more than that is read. Documents are parted by an empty line. A plain
    text file that is not longer is taken as it is. ValueError if it is empty.
    """
    path = Path(source)
    plain = not addresses(str(source)) and path.is_file()
    if plain and not {*path.suffixes} & {*PACKED, *LINES, ".tar", ".tgz"}:
        if path.stat().st_size <= megabytes * 1e6:
            return read_text(path), True
    parts, length, most = [], 0, int(megabytes * 1e6)
    for piece in all_documents(source, END_OF_TEXT):
        parts.append("\n\n" if piece is None else piece)
        length += len(parts[-1])
        if length > most + 2:
            break
    text = "".join(parts).rstrip()
    if not text:
        raise ValueError(f"{source} is empty: give a text with words in it")
    if len(text) <= most:
        return text, True
    return text[:most].rpartition(" ")[0] or text[:most], False
