"""What must hold of downloads, against a server that misbehaves.

The server runs in this process, on a free port; nothing leaves the machine.
It speaks enough of Hugging Face's protocol for huggingface_hub. Whatever goes
wrong: no half file under the final name, one clear line.
"""

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
from huggingface_hub import close_session, constants, file_download
from scratch_llm import download

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "ch05" / "01_main-chapter-code" / "gpt_download.py"
DATA = bytes(range(256)) * 2000  # 512,000 bytes
SHA256 = hashlib.sha256(DATA).hexdigest()
SIZES = {"small": "124M", "medium": "355M", "large": "774M", "xl": "1558M"}


class Handler(BaseHTTPRequestHandler):
    """Answers each path by the function that the test has put there."""

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        answer = self.server.answers.get(self.path, status(404))
        try:
            answer(self)
        except (ConnectionError, TimeoutError):
            pass  # the client has had enough

    do_HEAD = do_GET

    def send(self, data=DATA, code=200, size=512_000, **headers) -> None:
        self.send_response(code)
        if size is not None:
            self.send_header("Content-Length", str(size))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("SCRATCH_LLM_MIRROR", raising=False)
    monkeypatch.setattr(download, "TIMEOUT", (2, 0.5))
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.handle_error = True, lambda *_: None
    server.answers, server.asked, server.over = {}, [], threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DOWNLOAD_TIMEOUT": 0.5,
        "HF_HUB_CACHE": tmp_path / "cache",
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
    }.items():
        monkeypatch.setattr(constants, name, value)
    close_session()
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        close_session()
        server.over.set()
        server.shutdown()
        thread.join()


# ---- How a server can behave ---------------------------------------------


def sends(data: bytes = DATA, size: int | None = len(DATA), **headers: str):
    """Says one length, and sends what it likes."""
    return lambda h: h.send(data, size=size, **headers)


def status(code: int):
    return lambda h: h.send(b"", code, 0)


def stalls(after: int):
    """So many bytes, and then silence; 0: no answer at all."""

    def answer(h):
        if after:
            h.send(DATA[:after])
        h.server.over.wait(20)

    return answer


def hub(answer=None, digest: str = SHA256):
    """Hugging Face's: facts for HEAD, and for GET what `answer` does."""

    def both(h):
        if h.command == "GET" and answer:
            answer(h)
            return
        h.send(ETag=f'"{digest}"', X_Repo_Commit="0" * 40)

    return both


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


# ---- What works ----------------------------------------------------------

PLACE = "/me/it/resolve/main/file"
BOTH = pytest.mark.parametrize("on", ["hub", "web"])


def elsewhere(url: str) -> str:
    """The same server, but not what counts as Hugging Face."""
    return url.replace("127.0.0.1", "localhost")


def fetch(server, folder: Path, known: str | None = SHA256, on="hub") -> Path:
    """Bring DATA by huggingface_hub or by pooch alone."""
    url = server.url if on == "hub" else elsewhere(server.url)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(download, "SHA256", {"file": known})
        return download.fetch([url + PLACE], folder / "file")


@BOTH
@pytest.mark.parametrize("known", [SHA256, None])
def test_a_file_comes_whole_and_only_once(server, tmp_path, known, on, capfd):
    server.answers[PLACE] = hub()
    folder = tmp_path / "a" / "b"
    for _ in range(2):
        path = fetch(server, folder, known, on)
        assert path.read_bytes() == DATA and left(folder) == ["file"]
    assert server.asked.count(f"GET {PLACE}") == 1
    assert capfd.readouterr() == ("", "")
    if os.name != "nt":
        mask = os.umask(0)
        os.umask(mask)
        assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@BOTH
def test_a_damaged_file_is_fetched_again(server, tmp_path, on):
    (tmp_path / "file").write_bytes(DATA[:1000])
    with pytest.raises(download.DownloadError):
        fetch(server, tmp_path, on=on)
    assert (tmp_path / "file").read_bytes() == DATA[:1000], "until it is here"
    server.answers[PLACE] = hub()
    assert fetch(server, tmp_path, on=on).read_bytes() == DATA


def test_hugging_face_s_files_lie_elsewhere(server, tmp_path):
    """It answers with a redirect to a store that knows less."""
    server.answers |= {"/store": sends()}
    server.answers[PLACE] = lambda h: h.send(
        b"",
        302,
        0,
        Location=elsewhere(server.url) + "/store",
        X_Linked_ETag=f'"{SHA256}"',
        X_Linked_Size=str(len(DATA)),
        X_Repo_Commit="0" * 40,
    )
    assert fetch(server, tmp_path, None).read_bytes() == DATA


def test_a_data_set_on_hugging_face(server, tmp_path, monkeypatch):
    place = "/datasets/me/it/resolve/main/file"
    monkeypatch.setattr(download, "SHA256", {})
    server.answers[place] = hub()
    path = download.fetch([server.url + place], tmp_path / "file")
    assert path.read_bytes() == DATA and left(tmp_path) == ["file"]


def test_the_next_address_helps(server, tmp_path, monkeypatch):
    monkeypatch.setitem(download.SHA256, "file", SHA256)
    page = sends(b"<p>login", 8, Content_Type="text/html; x")
    server.answers |= {"/wrong": sends(DATA[::-1]), "/page": page}
    server.answers |= {"/file": sends()}
    places = ("/gone", "/wrong", "/page", "/file")
    urls = [elsewhere(server.url) + place for place in places]
    path = download.fetch(urls, tmp_path / "file")
    assert path.read_bytes() == DATA and left(tmp_path) == ["file"]


# ---- What goes wrong -----------------------------------------------------

CASES = [  # what the server does, what the line says, for which library
    (status(404), "answers 404", "hub web"),
    (status(503), "answers 503", "hub web"),
    (stalls(0), "did not answer in time", "hub web"),
    (hub(stalls(1000)), "did not answer in time", "hub web"),
    (hub(sends(b"")), "dropped the connection", "hub web"),
    (hub(sends(DATA[::-1])), "sends other bytes", "hub"),
    (hub(sends(DATA[::-1])), "does not match the known hash", "web"),
    (hub(sends(DATA[::-1]), '"git"'), "does not match the known hash", "hub"),
    (sends(size=None), "how long the file is", "web"),
    (sends(Content_Type="text/html; x"), "sends a web page", "web"),
    (sends(ETag='"a"'), "missing the 'X-Repo-Commit' header", "hub"),
]


@pytest.mark.parametrize(
    "answer, said, on", [(a, s, on) for a, s, w in CASES for on in w.split()]
)
def test_no_half_file_and_one_clear_line(server, tmp_path, answer, said, on):
    server.answers[PLACE] = answer
    began = time.monotonic()
    with pytest.raises(download.DownloadError) as caught:
        fetch(server, tmp_path, on=on)
    line = str(caught.value)
    assert said in line and "\n" not in line
    assert PLACE in line and "SCRATCH_LLM_MIRROR" in line
    assert line.endswith(f"put it here: {tmp_path / 'file'}")
    assert left(tmp_path) == [] and time.monotonic() - began < 10


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


NOWHERE = {
    "http://127.0.0.1:PORT": "refuses the connection",
    "http://me:secret@127.0.0.1:PORT": "refuses the connection",
    "http://name.invalid": "perhaps this machine is offline",
    "no-address": "no-address",
}


@BOTH
@pytest.mark.parametrize("url", NOWHERE)
def test_urls_that_lead_nowhere(server, tmp_path, monkeypatch, url, on):
    known = socket.getaddrinfo

    def look_up(name, *more, **how):
        if name == "name.invalid":  # no question to the network
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return known(name, *more, **how)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    said, url = NOWHERE[url], url.replace("PORT", str(free_port()))
    if on == "hub":
        monkeypatch.setattr(constants, "ENDPOINT", url)
    with pytest.raises(download.DownloadError) as caught:
        download.fetch([url + PLACE], tmp_path / "file")
    line = str(caught.value)
    assert said in line and "\n" not in line and "secret" not in line
    assert url.split("@")[-1] in line and left(tmp_path) == []


@BOTH
@pytest.mark.parametrize("answers", [True, False])
def test_a_proxy_that_swallows_all(server, tmp_path, monkeypatch, answers, on):
    """It takes the connection and says nothing, or is not there at all."""
    url = "https://example.org"
    if on == "hub":
        monkeypatch.setattr(constants, "ENDPOINT", url)
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        if answers:
            hole.listen()
        proxy = f"127.0.0.1:{hole.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", f"http://me:secret@{proxy}")
        with pytest.raises(download.DownloadError) as caught:
            download.fetch([url + PLACE], tmp_path / "file")
    line = str(caught.value)
    assert f"by way of the proxy http://{proxy})" in line
    assert "\n" not in line and "secret" not in line and left(tmp_path) == []


def test_offline_mode_is_obeyed(server, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(download.DownloadError, match="HF_HUB_OFFLINE"):
        fetch(server, tmp_path)


# ---- The disk ------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses(server, tmp_path, monkeypatch, number, on):
    def no(*_, **__):
        raise OSError(number, os.strerror(number))

    server.answers[PLACE] = hub()
    places = ((Path, "mkdir"), (download.pooch.core.shutil, "move"))
    for owner, name in places:
        with monkeypatch.context() as m:
            m.setattr(owner, name, no)
            with pytest.raises(download.DownloadError) as caught:
                fetch(server, tmp_path / "a", on=on)
        line = str(caught.value)
        assert os.strerror(number) in line and "--to" in line
        assert "\n" not in line and left(tmp_path / "a") == []


# ---- GPT-2 and data sets, from a mirror ----------------------------------


def test_names():
    for short, size in SIZES.items():
        name, long = f"gpt2-{short}", f"gpt2-{short} ({size})"
        assert download.gpt2_name(long) == name
        for route in download.ROUTES:
            path = download.gpt2_path(long, route)
            assert path == download.gpt2_path(name, route) and size in path
    for bad in (("gpt3", "openai"), ("gpt2-small", "torrent")):
        with pytest.raises(ValueError, match="no weights"):
            download.gpt2_path(*bad)
    with pytest.raises(ValueError, match="no data set 'mnist'.*imdb"):
        download.fetch_data("mnist")


def test_every_checksum_belongs_to_a_file():
    files = {url.rsplit("/", 1)[1] for url in download.DATA.values()}
    for name in download.GPT2:
        for route in download.ROUTES:
            files |= {*download.gpt2_files(name, route)}
    files |= {Path(file).name for file in files}
    assert set(download.SHA256) <= files, "a name with a slip"
    text = b'{\n  "n_vocab": 50257,\n  "n_ctx": 1024,\n  "n_embd": 768,\n'
    text += b'  "n_head": 12,\n  "n_layer": 12\n}\n'
    digest = hashlib.sha256(text).hexdigest()
    assert download.SHA256["124M/hparams.json"] == digest


MIRRORED = {
    "openai": [f"355M/{file}" for file in download.CHECKPOINT],
    "huggingface": ["gpt2-medium-355M.safetensors"],
    "pytorch": ["gpt2-medium-355M.pth"],
}


@pytest.mark.parametrize("route", MIRRORED)
def test_weights_from_a_plain_server(server, tmp_path, monkeypatch, route):
    """A mirror is any server with the same paths, and need not be a hub."""
    monkeypatch.setattr(download, "SHA256", {})
    for urls in download.gpt2_files("gpt2-medium", route).values():
        path = download.urlsplit(urls[0]).path
        server.answers[f"/mirror{path}"] = sends()
    mirrors = f"{server.url}/none {server.url}/mirror/"
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", mirrors)
    assert download.find_gpt2("gpt2-medium", tmp_path) is None
    path = download.fetch_gpt2("gpt2-medium (355M)", tmp_path, route)
    assert download.find_gpt2("gpt2-medium (355M)", tmp_path) == path
    assert download.find_gpt2("gpt2-small", tmp_path) is None
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert {*files} == {tmp_path / file for file in MIRRORED[route]}
    assert all(file.read_bytes() == DATA for file in files)


# ---- The command ---------------------------------------------------------


def test_the_command_by_way_of_hugging_face_s_own_setting(server, tmp_path):
    def run(name: str) -> subprocess.CompletedProcess:
        home = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home")}
        return subprocess.run(
            [sys.executable, SCRIPT, name, "--to", "w"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"HF_HUB_OFFLINE": "0"} | home,
            encoding="utf-8",
        )

    revision = download.GPT2["gpt2-medium"][2]
    place = f"/openai-community/gpt2-medium/resolve/{revision}"
    server.answers[f"{place}/model.safetensors"] = hub()
    done, path = run("gpt2-medium"), Path("w", "gpt2-medium-355M.safetensors")
    assert done.stdout == f"gpt2-medium is whole: {path}\n", done.stderr
    assert done.returncode == 0 and done.stderr == ""
    assert (tmp_path / path).read_bytes() == DATA
    done = run("gpt2-large")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch("gpt_download.py: error: .*404.*\n", done.stderr)
    assert left(tmp_path / "w") == [path.name]


def test_the_command_brings_a_data_set(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", server.url)
    monkeypatch.setattr(download, "SHA256", {})
    server.answers["/static/public/228/sms+spam+collection.zip"] = sends()
    assert download.main(["sms-spam", "--to", str(tmp_path / "d")]) == 0
    path = tmp_path / "d" / "sms+spam+collection.zip"
    assert capsys.readouterr() == (f"sms-spam is whole: {path}\n", "")
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("args", ["", "gpt4", "imdb --route openai", "imdb x"])
def test_bad_arguments(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        download.main(args.split())
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert left(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
@BOTH
def test_ctrl_c(server, tmp_path, monkeypatch, capsys, on):
    def interrupt(h):
        h.send(DATA[:100_000])
        os.kill(os.getpid(), signal.SIGINT)
        h.server.over.wait(20)

    url = server.url if on == "hub" else elsewhere(server.url)
    monkeypatch.setitem(download.DATA, "imdb", url + PLACE)
    server.answers[PLACE] = hub(interrupt)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    code = download.main(["imdb", "--to", str(tmp_path / "d")])
    signal.signal(signal.SIGINT, before)
    out, err = capsys.readouterr()
    assert code == 130 and out == "" and err.count("\n") == 1
    assert left(tmp_path / "d") == []
