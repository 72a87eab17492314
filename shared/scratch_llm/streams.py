"""Texts of any size, read as they come: files, packed files, downloads.

    for name, file in texts("books.tar.gz"): ...
    for name, file in texts("https://..."): ...
    for name, file in texts("tinystories"): ...

Nothing is unpacked on the disk, and nothing is kept in memory. A download that
breaks off goes on where it was. What is wrong is told in one line: ValueError
for a file, DownloadError for an address.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import re
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import urlsplit

import requests
import urllib3

from scratch_llm import download

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
