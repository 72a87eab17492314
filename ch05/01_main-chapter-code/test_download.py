"""What must hold of gpt_download.py, against a server that misbehaves.

The server runs in this process, on a free port; nothing leaves the machine.
Whatever goes wrong: no half file under the final name, one clear line.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
DATA = bytes(range(256)) * 2000                       # 512,000 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = {"connect": 5.0, "stall": 1.0, "pause": 0.01}


class Handler(BaseHTTPRequestHandler):
    """Answers each path by the function that the test has put there."""

    protocol_version = "HTTP/1.0"       # the end of the body ends all

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        self.server.conditions.append(self.headers.get("If-Range"))
        answer = self.server.answers.get(self.path, status(404))
        try:
            answer(self)
        except (ConnectionError, TimeoutError):
            pass                        # the client has had enough

    def head(self, code: int = 200, size: int | None = len(DATA),
             **headers: str) -> None:
        self.send_response(code)
        if size is not None:
            self.send_header("Content-Length", str(size))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.asked, self.conditions = {}, [], []
        self.over = threading.Event()

    def handle_error(self, *_: object) -> None:
        pass

    def url(self, path: str = "/file") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SCRATCH_LLM_MIRROR", raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def download(load_module):
    return load_module(HERE, "gpt_download")


# ---- How a server can behave ---------------------------------------------


def whole(data: bytes = DATA, ranges: bool = True, **headers: str):
    """All of it, or the rest that was asked for."""
    def answer(h):
        asked = h.headers.get("Range")
        if not (asked and ranges):
            h.head(200, len(data), **headers)
            h.wfile.write(data)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-"))
        h.head(206, len(data) - begin, **headers,
               Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}")
        h.wfile.write(data[begin:])
    return answer


def status(code: int):
    return lambda h: h.send_error(code)


def offers(size: int | None, sent: bytes = DATA, **headers: str):
    """Says one length and sends what it likes."""
    def answer(h):
        h.head(200, size, **headers)
        h.wfile.write(sent)
    return answer


def stalls(after: int, **headers: str):
    def answer(h):
        h.head(**headers)
        h.wfile.write(DATA[:after])
        h.server.over.wait(20)
    return answer


def trickles(h) -> None:
    h.head()
    while not h.server.over.wait(0.05):
        h.wfile.write(b"x")


def says_nothing(h) -> None:
    h.server.over.wait(20)


def first(*answers):
    """One behaviour after the other; the last one stays."""
    left = list(answers)
    return lambda h: (left.pop(0) if len(left) > 1 else left[0])(h)


def broken(part: int, etag: str = '"a"', ranges: bool = True):
    """Drops the line after so many bytes, of the rest too."""
    def answer(h):
        asked = h.headers.get("Range") if ranges else None
        begin = int(asked[6:-1]) if asked else 0
        place = {"Content_Range": f"bytes {begin}-/x"} if asked else {}
        h.head(206 if asked else 200, len(DATA) - begin, ETag=etag, **place)
        h.wfile.write(DATA[begin:begin + part])
    return answer


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


# ---- What works ----------------------------------------------------------


def test_a_file_comes_whole_and_only_once(download, server, tmp_path):
    server.answers["/file"] = whole()
    path = tmp_path / "a" / "b" / "file"
    for _ in range(2):
        got = download.fetch([server.url()], path, len(DATA), SHA256, **QUICK)
        assert got == path and path.read_bytes() == DATA
    assert server.asked == [("/file", None)], "what is there is not fetched"
    assert left(path.parent) == ["file"]
    if os.name != "nt":
        mask = os.umask(0)
        os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("known", [{}, {"size": len(DATA)},
                                   {"sha256": SHA256}])
def test_less_may_be_known_of_it(download, server, tmp_path, known):
    server.answers["/file"] = whole()
    path = download.fetch([server.url()], tmp_path / "file", **known, **QUICK)
    assert path.read_bytes() == DATA


def test_the_next_address_helps(download, server, tmp_path):
    server.answers |= {"/gone": status(404), "/wrong": whole(DATA[::-1]),
                       "/page": offers(8, b"<p>login",
                                       Content_Type="text/html"),
                       "/file": whole()}
    urls = [server.url(p) for p in ("/gone", "/wrong", "/page", "/file")]
    path = download.fetch(urls, tmp_path / "file", len(DATA), SHA256, **QUICK)
    assert path.read_bytes() == DATA and left(tmp_path) == ["file"]


@pytest.mark.parametrize("answer", [
    first(status(500), status(503), whole()),
    first(status(429), whole()), first(stalls(1000), whole()),
    first(broken(1000), whole())])
def test_a_passing_fault_is_survived(download, server, tmp_path, answer):
    server.answers["/file"] = answer
    path = download.fetch([server.url()], tmp_path / "file", len(DATA),
                          SHA256, **QUICK)
    assert path.read_bytes() == DATA and left(tmp_path) == ["file"]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_broken_line_is_continued_however_often(download, server, tmp_path,
                                                  sha256):
    server.answers["/file"] = broken(60_000)
    path = download.fetch([server.url()], tmp_path / "file", None, sha256,
                          attempts=2, **QUICK)
    assert path.read_bytes() == DATA and left(tmp_path) == ["file"]
    begins = [int(r[6:-1]) for _, r in server.asked if r]
    assert begins == list(range(60_000, len(DATA), 60_000))


def test_the_next_run_continues(download, server, tmp_path):
    server.answers["/file"] = first(broken(200_000), whole(ETag='"a"'))
    with pytest.raises(download.DownloadError):
        download.fetch([server.url()], tmp_path / "file", attempts=1, **QUICK)
    assert not (tmp_path / "file").exists() and len(left(tmp_path)) == 1
    download.fetch([server.url()], tmp_path / "file", **QUICK)
    assert (tmp_path / "file").read_bytes() == DATA
    assert server.asked[-1] == ("/file", "bytes=200000-")
    assert server.conditions == [None, None, '"a"'], "unless it changed"
    assert left(tmp_path) == ["file"]


def test_parts_of_another_version_are_not_mixed(download, server, tmp_path):
    old, new = DATA[::-1], DATA
    server.answers["/file"] = first(
        offers(len(old), old[:200_000], ETag='"old"'), whole(new, ETag='"b"'))
    with pytest.raises(download.DownloadError):
        download.fetch([server.url()], tmp_path / "file", attempts=1, **QUICK)
    download.fetch([server.url()], tmp_path / "file", **QUICK)
    assert (tmp_path / "file").read_bytes() == new


def test_a_server_that_cannot_continue_begins_anew(download, server, tmp_path):
    server.answers["/file"] = first(broken(200_000), whole(ranges=False))
    download.fetch([server.url()], tmp_path / "file", None, SHA256, **QUICK)
    assert (tmp_path / "file").read_bytes() == DATA


def test_the_wrong_rest_is_not_taken(download, server, tmp_path):
    def wrong(h):
        h.head(206, 100, Content_Range=f"bytes 0-99/{len(DATA)}")
        h.wfile.write(DATA[:100])
    server.answers["/file"] = first(broken(200_000), whole(), wrong)
    with pytest.raises(download.DownloadError, match="another part"):
        download.fetch([server.url()], tmp_path / "file", None, SHA256,
                       **QUICK)
    assert not (tmp_path / "file").exists()


def test_a_spoilt_part_is_given_up(download, server, tmp_path):
    part = tmp_path / f".file.{SHA256[:16]}.part"
    part.write_bytes(b"spoilt" * 1000)
    server.answers["/file"] = whole()
    download.fetch([server.url()], tmp_path / "file", None, SHA256, **QUICK)
    assert (tmp_path / "file").read_bytes() == DATA
    assert left(tmp_path) == ["file"]


def test_only_one_process_takes_a_part(download, tmp_path):
    path = tmp_path / "file"
    free = tmp_path / ".file.0123456789abcdef.part"
    other = tmp_path / ".file.0123456789abcdef.1.part"
    free.write_bytes(b"mine")
    other.write_bytes(b"somebody's")
    mine, _ = download.claim(path, "0123456789abcdef" * 4)
    assert mine.read_bytes() == b"mine" and other.exists()
    mine.unlink()
    assert not download.claim(path, "0123456789abcdef")[0].exists()
    os.utime(other, (0, 0))                       # its owner was killed
    mine, _ = download.claim(path, "0123456789abcdef")
    assert mine.read_bytes() == b"somebody's"


# ---- What goes wrong -----------------------------------------------------

FAILURES = {
    "answers 404 (Not Found)": status(404),
    "answers 403": status(403),
    "answers 500 (Internal Server Error), 3 times": status(500),
    "offers 1,000 bytes, but the published file has 512,000":
        offers(1000, DATA[:1000]),
    "offers 512,001 bytes, but the published": offers(len(DATA) + 1),
    "dropped the connection after 300,000 of 512,000 bytes, 3 times":
        offers(len(DATA), DATA[:300_000]),
    "ended after 300,000 of 512,000 bytes": offers(None, DATA[:300_000]),
    "sends more than the 512,000 bytes": offers(None, DATA + b"x"),
    "sends other bytes than the published ones (sha256)":
        offers(len(DATA), DATA[::-1]),
    "sends other bytes than its own md5 says": offers(
        len(DATA), Content_MD5=base64.b64encode(b"0" * 16).decode()),
    "sends other bytes than its own sha256 says":
        offers(len(DATA), X_Linked_Etag=f'"{"0" * 64}"'),
    "sends other bytes than its own sha1 says":
        offers(len(DATA), X_Bz_Content_Sha1="0" * 40),
    "sent nothing for 1 s after 1,000 of": stalls(1000),
    "sends less than 1,024 bytes a second": trickles,
    "sent nothing for 1 s. ": says_nothing,
    "sends a web page": offers(len(DATA), Content_Type="text/html; x"),
}


@pytest.mark.parametrize("said", FAILURES)
def test_no_half_file_and_one_clear_line(download, server, tmp_path, said):
    server.answers["/file"] = FAILURES[said]
    sha256 = None if "its own" in said else SHA256
    began = time.monotonic()
    with pytest.raises(download.DownloadError) as caught:
        download.fetch([server.url()], tmp_path / "file", len(DATA), sha256,
                       **QUICK)
    line = str(caught.value)
    assert f"{server.url()} {said}" in line and "\n" not in line
    assert "SCRATCH_LLM_MIRROR" in line and "put it here" in line
    assert str(tmp_path / "file") in line
    assert all(name.endswith(".part") for name in left(tmp_path))
    kept = bool(left(tmp_path))
    assert kept == bool(re.search("dropped|ended|nothing .* after|less", said))
    assert time.monotonic() - began < 20


def test_a_redirect_s_checksum_counts(download, server, tmp_path):
    def redirect(digest):
        return lambda h: h.head(302, 0, Location="/there",
                                X_Linked_Etag=f'"{digest}"')
    server.answers |= {"/there": whole(), "/file": redirect(SHA256),
                       "/wrong": redirect("0" * 64)}
    with pytest.raises(download.DownloadError, match="its own sha256"):
        download.fetch([server.url("/wrong")], tmp_path / "file", **QUICK)
    assert left(tmp_path) == []
    download.fetch([server.url()], tmp_path / "file", **QUICK)
    assert left(tmp_path) == ["file"]


def test_a_file_of_unknown_length_is_refused(download, server, tmp_path):
    server.answers["/file"] = offers(None)
    with pytest.raises(download.DownloadError, match="how long"):
        download.fetch([server.url()], tmp_path / "file", **QUICK)
    assert left(tmp_path) == []


def refused_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.parametrize("url, said", [
    ("http://127.0.0.1:PORT/x", "refuses the connection"),
    ("http://name.invalid/x", "has a name that is unknown here (DNS)"),
    ("http://me:secret@127.0.0.1:PORT/x", "refuses"),
    ("no-address", "cannot be asked"), ("http://[/x", "cannot be asked")])
def test_addresses_that_lead_nowhere(download, server, tmp_path, monkeypatch,
                                     url, said):
    known = socket.getaddrinfo

    def look_up(name, *more, **how):
        if name == "name.invalid":                # no question to the network
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return known(name, *more, **how)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = url.replace("PORT", str(refused_port()))
    with pytest.raises(download.DownloadError) as caught:
        download.fetch([url], tmp_path / "file", **QUICK)
    line = str(caught.value)
    assert said in line and "\n" not in line and "secret" not in line
    assert url.split("@")[-1] in line and left(tmp_path) == []


def test_every_address_is_named(download, server, tmp_path):
    urls = [server.url("/a"), f"http://127.0.0.1:{refused_port()}/b"]
    server.answers["/a"] = status(502)
    with pytest.raises(download.DownloadError) as caught:
        download.fetch(urls, tmp_path / "file", **QUICK)
    assert re.search(f"{urls[0]} answers 502.*; {urls[1]} refuses",
                     str(caught.value))


@pytest.mark.parametrize("answers", [True, False])
def test_a_proxy_that_swallows_everything(download, server, tmp_path,
                                          monkeypatch, answers):
    """It takes the connection and says nothing, or is not there at all."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        if answers:
            hole.listen()
        proxy = f"http://127.0.0.1:{hole.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        for url in ("http://example.org/x", "https://example.org/x"):
            began = time.monotonic()
            with pytest.raises(download.DownloadError) as caught:
                download.fetch([url], tmp_path / "file", **QUICK)
            said = str(caught.value)
            assert f"by way of the proxy {proxy})" in said and "\n" not in said
            assert time.monotonic() - began < 10
    assert left(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's backlog")
def test_an_address_that_never_connects(download, server, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        address, waiting = s.getsockname(), []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        with pytest.raises(download.DownloadError, match="no connection"):
            download.fetch([f"http://127.0.0.1:{address[1]}/x"],
                           tmp_path / "file", connect=0.3, stall=0.3)
        for each in waiting:
            each.close()


# ---- The disk ------------------------------------------------------------


def test_no_room_is_seen_before_anything_is_written(download, server,
                                                    tmp_path, monkeypatch):
    server.answers["/file"] = whole()
    monkeypatch.setattr(download.shutil, "disk_usage",
                        lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(download.DownloadError, match="room for 1,000 bytes"):
        download.fetch([server.url()], tmp_path / "file", **QUICK)
    assert left(tmp_path) == []


LIMITED = """
import resource, sys
sys.path.insert(0, {here!r})
import gpt_download
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    gpt_download.fetch([{url!r}], "file", stall=2)
except gpt_download.DownloadError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_disk_that_fills_up_on_the_way(server, tmp_path):
    server.answers["/file"] = whole(ETag='"a"')
    code = LIMITED.format(here=str(HERE), url=server.url())
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.count("\n") == 1
    assert "file cannot be written (" in done.stdout
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses(download, server, tmp_path, monkeypatch, number):
    def no(*_, **__):
        raise OSError(number, os.strerror(number))
    server.answers["/file"] = whole()
    for owner, name in ((Path, "mkdir"), (download.os, "replace")):
        with monkeypatch.context() as m:
            m.setattr(owner, name, no)
            with pytest.raises(download.DownloadError) as caught:
                download.fetch([server.url()], tmp_path / "a" / "file",
                               **QUICK)
        assert os.strerror(number) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "file" not in left(tmp_path / "a")


def test_a_folder_that_is_a_file(download, server, tmp_path):
    (tmp_path / "a").write_text("a file")
    with pytest.raises(download.DownloadError, match="cannot be written"):
        download.fetch([server.url()], tmp_path / "a" / "file", **QUICK)


@pytest.mark.parametrize("data, said", [(b"short", "has 5 bytes"),
                                        (DATA[::-1], "sha256 differs")])
def test_what_lies_there_is_never_thrown_away(download, server, tmp_path,
                                              data, said):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(download.DownloadError, match=f"{said}.*move it away"):
        download.fetch([server.url()], path, len(DATA), SHA256, **QUICK)
    assert path.read_bytes() == data and server.asked == []


# ---- GPT-2, by every route -----------------------------------------------


def test_the_table_knows_every_file(download):
    sizes = {name: size for name, (size, *_) in download.GPT2.items()}
    assert sizes == {"gpt2-small": "124M", "gpt2-medium": "355M",
                     "gpt2-large": "774M", "gpt2-xl": "1558M"}
    for name, size in sizes.items():
        for route in download.ROUTES:
            found = download.gpt2_files(name, route)
            assert len(found) == (7 if route == "openai" else 1)
            for file in found:
                assert all(url.startswith("https://") for url in file.urls)
                assert size in file.path
                assert file.sha256 is None or len(file.sha256) == 64
    places = {file.path for name in sizes for route in download.ROUTES
              for file in download.gpt2_files(name, route)}
    plain = {Path(place).name for place in places}
    assert set(download.KNOWN) <= places | plain, "a name with a slip"
    small = download.gpt2_files("gpt2-small")[0]
    assert small.urls == (
        "https://huggingface.co/openai-community/gpt2/resolve/"
        "607a30d783dfa663caf39e06633721c8d4cfcd7e/model.safetensors",)
    assert download.gpt2_files("gpt2-xl", "openai")[3].urls[0] == (
        "https://openaipublic.blob.core.windows.net/gpt-2/models/1558M/"
        "model.ckpt.data-00000-of-00001")


def test_hashes_of_files_whose_text_is_known(download):
    """Two of OpenAI's files can be written down, so their hashes too."""
    texts = {"checkpoint": 'model_checkpoint_path: "model.ckpt"\n'
             'all_model_checkpoint_paths: "model.ckpt"\n',
             "124M/hparams.json": '{\n  "n_vocab": 50257,\n  "n_ctx": 1024,'
             '\n  "n_embd": 768,\n  "n_head": 12,\n  "n_layer": 12\n}\n'}
    for name, text in texts.items():
        data = text.encode()
        assert download.KNOWN[name] == (
            len(data), hashlib.sha256(data).hexdigest())


def mirror(download, server, monkeypatch, name: str, route: str) -> None:
    """Serve every file of a route as DATA, none of it known beforehand."""
    monkeypatch.setattr(download, "KNOWN", {})
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", server.url("/mirror/"))
    for file in download.gpt2_files(name, route):
        path = download.urlsplit(file.urls[0]).path
        server.answers[f"/mirror{path}"] = whole()


@pytest.mark.parametrize("route", ["openai", "huggingface", "pytorch"])
def test_weights_from_a_mirror(download, server, tmp_path, monkeypatch,
                               route):
    mirror(download, server, monkeypatch, "gpt2-medium", route)
    assert download.find_gpt2("gpt2-medium", tmp_path) is None
    path = download.fetch_gpt2("gpt2-medium", tmp_path, route, **QUICK)
    assert download.find_gpt2("gpt2-medium", tmp_path) == path
    assert download.find_gpt2("gpt2-small", tmp_path) is None
    here = path.iterdir() if route == "openai" else [path]
    found = sorted(p.name for p in here)
    assert found == {"openai": sorted(download.CHECKPOINT),
                     "huggingface": ["gpt2-medium-355M.safetensors"],
                     "pytorch": ["gpt2-medium-355M.pth"]}[route]
    assert all(p.read_bytes() == DATA for p in tmp_path.rglob("*.*")
               if p.is_file())


def test_a_data_set_from_a_mirror(download, server, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", f"{server.url('/none')} "
                       f"{server.url('')}")
    server.answers["/static/public/228/sms+spam+collection.zip"] = whole()
    file = download.DATA["sms-spam"]._replace(sha256=SHA256)
    monkeypatch.setitem(download.DATA, "sms-spam", file)
    path = download.fetch_data("sms-spam", tmp_path, **QUICK)
    assert path.read_bytes() == DATA
    with pytest.raises(ValueError, match="no data set 'mnist'.*imdb"):
        download.fetch_data("mnist", tmp_path)


def test_unknown_names(download, tmp_path):
    for bad in (("gpt3", "openai"), ("gpt2-small", "torrent")):
        with pytest.raises(ValueError, match="no weights"):
            download.fetch_gpt2(bad[0], tmp_path, bad[1])


# ---- The command ---------------------------------------------------------


def run(*args: object, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(HERE / "gpt_download.py"), *map(str, args)],
        cwd=cwd, capture_output=True, text=True, timeout=60,
        env=os.environ | env)


def test_the_command_says_one_line_and_leaves_with_1(server, tmp_path):
    done = run("gpt2-medium", "--timeout", "1", cwd=tmp_path,
               SCRATCH_LLM_MIRROR=server.url(""))
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("gpt_download.py: error: http://127.0.0.1:")
    assert "answers 404" in done.stderr and done.stderr.count("\n") == 1
    assert "Try --route openai or --route pytorch" in done.stderr
    assert str(Path("gpt2", "gpt2-medium-355M.safetensors")) in done.stderr
    assert left(tmp_path / "gpt2") == []


def test_the_command_brings_a_file(download, server, tmp_path, monkeypatch,
                                   capsys):
    mirror(download, server, monkeypatch, "gpt2-large", "pytorch")
    assert download.main(["gpt2-large", "--route", "pytorch", "--to",
                          str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    path = tmp_path / "gpt2-large-774M.pth"
    assert out == f"gpt2-large is whole: {path}\n" and err == ""
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("args, said", [
    ([], "required"), (["gpt4"], "'gpt4'"), (["imdb", "--route", "openai"],
                                             "has only one"),
    (["gpt2-small", "--route", "x"], "'x'"),
    (["gpt2-small", "--timeout", "0"], "got 0"),
    (["gpt2-small", "--timeout", "soon"], "got soon")])
def test_bad_arguments(download, tmp_path, monkeypatch, capsys, args, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        download.main(args)
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error
    assert error.startswith("gpt_download.py: error") and left(tmp_path) == []
    assert error.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
def test_ctrl_c_keeps_what_has_come(download, server, tmp_path):
    url = download.gpt2_files("gpt2-medium")[0].urls[0]
    path = download.urlsplit(url).path
    server.answers[path] = stalls(100_000, ETag='"a"')
    process = subprocess.Popen(
        [sys.executable, HERE / "gpt_download.py", "gpt2-medium"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env=os.environ | {"SCRATCH_LLM_MIRROR": server.url("")})
    until = time.monotonic() + 30
    while not sum(p.stat().st_size for p in tmp_path.glob("gpt2/.*.part")):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and out == ""
    assert err.count("\n") == 1 and "goes on from there" in err
    (part,) = (tmp_path / "gpt2").iterdir()
    have = part.stat().st_size
    assert part.suffix == ".part" and 0 < have <= 100_000
    server.answers[path] = whole(ETag='"a"')
    done = run("gpt2-medium", cwd=tmp_path, SCRATCH_LLM_MIRROR=server.url(""))
    assert done.returncode == 0, done.stderr
    assert server.asked[-1][1] == f"bytes={have}-"
    assert left(tmp_path / "gpt2") == ["gpt2-medium-355M.safetensors"]


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
