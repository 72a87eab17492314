"""What must hold of texts that are read as they come.

The server runs in this process, on a free port; nothing leaves the machine.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scratch_llm import download, streams

DATA = os.urandom(300_000) * 3  # more than the buffers hold
TEXT = "A pond, a mill and an inn. \n" * 2000


class Handler(BaseHTTPRequestHandler):
    """Sends the file of the server, as badly as the test wants."""

    def do_GET(self) -> None:
        server = self.server
        first = int(
            re.findall(r"\d+", self.headers.get("Range", "bytes=0-"))[0]
        )
        server.asked.append(first)
        status, headers, cut = server.answer(self, first)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(server.data[first if status == 206 else 0 : cut])
        except ConnectionError:
            pass  # the client has had enough

    def log_message(self, *_: object) -> None:
        pass


def well(handler, first):
    """A server that can send parts."""
    size = len(handler.server.data)
    headers = {"Content-Length": str(size - first), "ETag": '"one"'}
    if first:
        headers["Content-Range"] = f"bytes {first}-{size - 1}/{size}"
    return 206 if first else 200, headers, None


def drops(after: int):
    """One that breaks each connection after so many bytes."""

    def answer(handler, first):
        return *well(handler, first)[:2], first + after

    return answer


def parts_unknown(handler, first):
    """One that breaks, and then begins again."""
    return *well(handler, 0)[:2], 200_000 if not first else None


def fails(status: int, **headers: str):
    said = {"Content-Length": "0"} | headers
    return lambda handler, first: (status, said, 0)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SCRATCH_LLM_MIRROR", raising=False)
    monkeypatch.setattr(download, "TIMEOUT", (2, 0.5))
    monkeypatch.setattr(streams, "WAITS", (0, 0, 0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.handle_error = True, lambda *_: None
    server.data, server.answer, server.asked = DATA, well, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def memory():
    """`memory()`: what this process occupies, in bytes."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("memory is read from /proc")
    page = os.sysconf("SC_PAGE_SIZE")
    return lambda: int(statm.read_text("ascii").split()[1]) * page


def read(source: object) -> dict[str, bytes]:
    """All texts of a source, by their names without folders."""
    found = {}
    for name, file in streams.texts(source):
        with streams.whole(name):
            found[Path(name).name] = file.read()
    return found


# ---- Downloads -------------------------------------------------------------


def test_a_download_is_its_bytes(server):
    assert read(f"{server.url}/some/file.bin") == {"file.bin": DATA}
    assert server.asked == [0]


def test_the_beginning_is_read_before_the_end_is_sent(server):
    over = threading.Event()

    def slowly(handler, first):
        status, headers, _ = well(handler, first)
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(DATA[:600_000])
        over.wait(10)
        raise ConnectionError

    server.answer = slowly
    for _, file in streams.texts(f"{server.url}/file"):
        assert file.read(500_000) == DATA[:500_000]
        break
    over.set()


@pytest.mark.parametrize("after", [400_000, 100_000, 31])
def test_a_broken_download_goes_on_where_it_was(server, after):
    server.answer = drops(after)
    server.data = DATA[: 20 * after]
    assert read(f"{server.url}/file") == {"file": server.data}
    assert server.asked == sorted(set(server.asked))
    assert len(server.asked) >= len(server.data) // after


def test_a_server_that_falls_silent_is_asked_again(server):
    silent = threading.Event()

    def stalls(handler, first):
        if not first:
            handler.send_response(200)
            for name, value in well(handler, 0)[1].items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(DATA[:300_000])
            silent.wait(10)
            raise ConnectionError
        return well(handler, first)

    server.answer = stalls
    assert read(f"{server.url}/file") == {"file": DATA}
    assert len(server.asked) == 2
    silent.set()


@pytest.mark.parametrize(
    "answer, said",
    [
        (fails(404), "answers 404"),
        (fails(503), "answers 503"),
        (fails(200, **{"Content-Type": "text/html"}), "web page"),
        (parts_unknown, "cannot send the rest after 200,000 bytes"),
        (drops(0), "dropped the connection"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(server, answer, said):
    server.answer = answer
    url = f"{server.url}/file"
    with pytest.raises(download.DownloadError) as caught:
        read(url)
    line = str(caught.value)
    assert said in line and "\n" not in line
    assert line.startswith(url) and line.endswith("give its path")


def test_a_file_that_changed_meanwhile_is_not_patched_together(server):
    def changed(handler, first):
        asked = handler.headers.get("If-Range")
        assert asked == ('"one"' if first else None)
        return drops(200_000)(handler, 0)

    server.answer = changed
    with pytest.raises(download.DownloadError, match="cannot send the rest"):
        read(f"{server.url}/file")


def test_passwords_are_not_told(server):
    server.answer = fails(404)
    url = server.url.replace("//", "//me:secret@")
    with pytest.raises(download.DownloadError) as caught:
        read(f"{url}/file")
    assert "secret" not in str(caught.value)


def test_all_files_of_a_corpus_come_in_order(server, monkeypatch):
    names = ["one.txt", "two.txt"]
    urls = tuple(f"https://name.invalid/a/{name}" for name in names)
    monkeypatch.setitem(download.CORPORA, "small", urls)
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", server.url)
    assert list(read("small")) == names


def test_later_files_of_a_corpus_are_worth_waiting_for(server, monkeypatch):
    monkeypatch.setitem(
        download.CORPORA, "small", ("http://x/a", "http://x/b")
    )
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", server.url)
    refused = iter([False, True, True, False])
    server.answer = lambda handler, first: (
        fails(503) if next(refused) else well
    )(handler, first)
    assert read("small") == {"a": DATA, "b": DATA}


def test_every_corpus_has_an_address():
    assert {"tinystories", "openwebtext"} <= download.CORPORA.keys()
    for name, urls in download.CORPORA.items():
        assert download.DATA[name] == urls[0]
        assert len(set(urls)) == len(urls)
        assert all(url.startswith("https://") for url in urls)


def test_a_large_download_takes_no_memory(server, memory):
    """200 megabytes pass by."""

    def endless(handler, first):
        handler.send_response(200)
        handler.send_header("Content-Length", str(200 * 10**6))
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(server.block)
        raise ConnectionError

    server.answer, server.block = endless, bytes(10**6)
    before, largest, n = memory(), 0, 0
    for _, file in streams.texts(f"{server.url}/file"):
        while piece := file.read(2**20):
            n += len(piece)
            largest = max(largest, memory())
    assert n == 200 * 10**6
    assert largest - before < 30e6


# ---- What is packed --------------------------------------------------------


def tar(**files: bytes) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            one = tarfile.TarInfo(f"folder/{name.replace('__', '.')}")
            one.size = len(data)
            archive.addfile(one, io.BytesIO(data))
    return memory.getvalue()


PLAIN = TEXT.encode()
ARCHIVE = tar(a__txt=PLAIN, b__txt=b"short", c__txt=b"")
LIKE_OPENWEBTEXT = tar(
    s0_data__xz=lzma.compress(tar(x__txt=b"one", y__txt=PLAIN)),
    s1_data__xz=lzma.compress(tar(z__txt=b"three")),
)
PACKED = {
    "a.txt": (PLAIN, {"a.txt": PLAIN}),
    "a.txt.gz": (gzip.compress(PLAIN), {"a.txt": PLAIN}),
    "a.jsonl.bz2": (bz2.compress(PLAIN), {"a.jsonl": PLAIN}),
    "a.xz": (lzma.compress(PLAIN), {"a": PLAIN}),
    "b.tar": (
        ARCHIVE,
        {"a.txt": PLAIN, "b.txt": b"short", "c.txt": b""},
    ),
    "b.tar.gz": (
        gzip.compress(ARCHIVE),
        {"a.txt": PLAIN, "b.txt": b"short", "c.txt": b""},
    ),
    "subset.tar": (
        LIKE_OPENWEBTEXT,
        {"x.txt": b"one", "y.txt": PLAIN, "z.txt": b"three"},
    ),
    "empty.txt": (b"", {"empty.txt": b""}),
}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("where", ["on the disk", "on a server"])
def test_what_is_packed_is_unpacked(server, tmp_path, name, where):
    server.data, inside = PACKED[name]
    server.answer = drops(1 + len(server.data) // 3)
    source = f"{server.url}/{name}"
    if where == "on the disk":
        source = tmp_path / name
        source.write_bytes(server.data)
    assert read(source) == inside


@pytest.mark.parametrize(
    "name, size",
    [
        ("a.txt.gz", 100),
        ("a.jsonl.bz2", 100),
        ("a.xz", 100),
        ("b.tar", 2000),
        ("subset.tar", 1100),
        ("subset.tar", 1200),
    ],
)
def test_what_is_damaged_is_named(tmp_path, name, size):
    path = tmp_path / name
    path.write_bytes(PACKED[name][0][:size])
    with pytest.raises(ValueError, match="is damaged") as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_what_only_looks_packed_is_named(tmp_path, ending):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(PLAIN)
    with pytest.raises(ValueError, match="is damaged"):
        read(path)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="does not exist.*tinystories"):
        read(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="give a text file"):
        read(tmp_path)


# ---- The beginning of a text ------------------------------------------------


def lines_of(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": t}).encode() + b"\n" for t in texts)


@pytest.mark.parametrize(
    "name, content, text",
    [
        ("a.txt", "Ein  Müller.\r\n\nZwei.\n".encode(), None),
        ("a.txt.gz", gzip.compress(b"One.\nTwo.\n"), "One.\nTwo."),
        ("a.jsonl", lines_of("One.", "Two."), "One.\n\nTwo."),
        ("a.json.xz", lzma.compress(lines_of("One.")), "One."),
        ("a.tar", tar(a__txt=b"One.", b__txt=b"Two."), "One.\n\nTwo."),
        ("a.gz", gzip.compress(b"A <|endoftext|>\nB"), "A\n\nB"),
    ],
)
def test_a_short_text_is_whole(tmp_path, name, content, text):
    path = tmp_path / name
    path.write_bytes(content)
    plain = content.decode() if text is None else text
    assert streams.beginning(path, 1) == (plain, True)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.jsonl"])
def test_of_a_long_text_the_beginning_is_read(server, tmp_path, name):
    words = "A pond, a mill and an inn. " * 2000
    server.data = {
        "a.txt": words.encode(),
        "a.txt.gz": gzip.compress(words.encode()),
        "a.jsonl": lines_of(*[words[:540].strip()] * 100),
    }[name]
    path = tmp_path / name
    path.write_bytes(server.data)
    text, whole = streams.beginning(path, 0.02)
    assert not whole and 19_900 < len(text) <= 20_000
    assert words.startswith(text.replace("\n\n", " "))
    assert streams.beginning(f"{server.url}/{name}", 0.02) == (text, False)


def test_a_corpus_is_known_by_its_name(server, monkeypatch):
    server.data = PLAIN
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", server.url)
    text, whole = streams.beginning("tinystories", 0.001)
    assert not whole and TEXT.startswith(text) and len(text) > 990


def test_of_ten_gigabytes_one_megabyte_is_read(server, tmp_path, memory):
    """A file of that size on the disk, and a download without an end."""
    block = b"a pond and a mill, " * 50_000
    path = tmp_path / "large.txt"
    with open(path, "wb") as file:
        for _ in range(4):
            file.write(block)
        file.truncate(10**10)  # zeros, which nobody stores

    def endless(handler, first):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**10))
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(block)
        raise ConnectionError

    server.answer = endless
    before = memory()
    for source in (path, f"{server.url}/large.txt"):
        text, whole = streams.beginning(source, 1)
        assert not whole and 999_000 < len(text) <= 10**6
    assert memory() - before < 50e6


@pytest.mark.parametrize("content", [b"", b" \n\n", b"<|endoftext|>\n" * 9])
def test_an_empty_text_is_named(tmp_path, content):
    for name in ("a.txt", "a.txt.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content) if "gz" in name else content)
        if content[:1] == b"<" and name == "a.txt":
            continue  # taken as it is, these are letters
        with pytest.raises(ValueError, match="is empty"):
            streams.beginning(path, 1)
