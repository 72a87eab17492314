"""Fetch GPT-2's weights and public data sets, whole or not at all.

    python gpt_download.py gpt2-small
    python gpt_download.py gpt2-medium --route openai --to weights

A file gets its name only when its size and its checksum are right. A
download that broke off goes on where it stopped. What cannot be had is told
in one line, with the cause and what to do. Addresses in SCRATCH_LLM_MIRROR,
separated by spaces, stand in for the public ones.
"""

import argparse
import base64
import hashlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pooch
import requests
import urllib3.exceptions as broken
from huggingface_hub import hf_hub_url
from tqdm import tqdm

pooch.get_logger().setLevel("ERROR")

# ---- What there is, and where --------------------------------------------

ROUTES = ("huggingface", "openai", "pytorch")
OPENAI = ("https://openaipublic.blob.core.windows.net/gpt-2/models",
          "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2")
PYTORCH = "rasbt/gpt2-from-scratch-pytorch"
GPT2 = {  # name: size, repository on Hugging Face, its revision
    "gpt2-small": ("124M", "openai-community/gpt2",
                   "607a30d783dfa663caf39e06633721c8d4cfcd7e"),
    "gpt2-medium": ("355M", "openai-community/gpt2-medium",
                    "6dcaa7a952f72f9298047fd5137cd6e4f05f41da"),
    "gpt2-large": ("774M", "openai-community/gpt2-large",
                   "32b71b12589c2f8d625668d2335a01cac3249519"),
    "gpt2-xl": ("1558M", "openai-community/gpt2-xl",
                "15ea56dee5df4983c59b2538573817e1667135e2"),
}
CHECKPOINT = ("checkpoint", "encoder.json", "hparams.json",
              "model.ckpt.data-00000-of-00001", "model.ckpt.index",
              "model.ckpt.meta", "vocab.bpe")
KNOWN = {  # as published: bytes, sha256. What is not here the server states.
    "gpt2-small-124M.safetensors": (548105171,
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707"),
    "gpt2-xl-1558M.safetensors": (None,
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a"),
    "checkpoint": (77,
        "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb"),
    "encoder.json": (1042301,
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    "vocab.bpe": (456318,
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
    "124M/hparams.json": (90,
        "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318"),
    "124M/model.ckpt.data-00000-of-00001": (497759232,
        "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118"),
    "124M/model.ckpt.index": (5215, None),
    "124M/model.ckpt.meta": (471155, None),
    "355M/hparams.json": (91, None),
    "355M/model.ckpt.data-00000-of-00001": (1419292672, None),
    "355M/model.ckpt.index": (10399, None),
    "355M/model.ckpt.meta": (926519, None),
}
UCI = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
IMDB = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"


class Source(NamedTuple):
    """A file to fetch: its place below the folder, and where it is."""

    path: str
    urls: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None


DATA = {  # public data sets, as they are published, still packed
    "sms-spam": Source("sms+spam+collection.zip", (UCI,), None,
        "1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3"),
    "imdb": Source("aclImdb_v1.tar.gz", (IMDB,), 84125825,
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"),
}


def gpt2_path(name: str, route: str = "huggingface") -> str:
    """What gpt2_model takes, below the folder: a file, or OpenAI's folder."""
    if name not in GPT2 or route not in ROUTES:
        raise ValueError(f"no weights {name!r} by route {route!r}: "
                         f"{', '.join(GPT2)} by {', '.join(ROUTES)}")
    size = GPT2[name][0]
    ending = "pth" if route == "pytorch" else "safetensors"
    return size if route == "openai" else f"{name}-{size}.{ending}"


def gpt2_files(name: str, route: str = "huggingface") -> list[Source]:
    """All that has to be fetched for one of GPT-2's sizes."""
    path, (size, repo, revision) = gpt2_path(name, route), GPT2[name]
    if route == "huggingface":
        urls = [hf_hub_url(repo, "model.safetensors", revision=revision)]
        found = {path: urls}
    elif route == "pytorch":
        found = {path: [hf_hub_url(PYTORCH, path)]}
    else:
        found = {f"{size}/{file}": [f"{base}/{size}/{file}"
                                    for base in OPENAI]
                 for file in CHECKPOINT}
    unknown = (None, None)
    return [Source(at, tuple(urls), *KNOWN.get(
        at, KNOWN.get(Path(at).name, unknown))) for at, urls in found.items()]


def mirrored(urls: tuple[str, ...]) -> list[str]:
    """The same path below each of SCRATCH_LLM_MIRROR, if that is set."""
    mirrors = os.environ.get("SCRATCH_LLM_MIRROR", "").split()
    if not mirrors:
        return list(urls)
    return [m.rstrip("/") + urlsplit(urls[0]).path for m in mirrors]


def find_gpt2(name: str, folder: str | Path = "gpt2") -> Path | None:
    """Weights of this name that lie in the folder, by whatever route."""
    for route in ROUTES:
        path = Path(folder, gpt2_path(name, route))
        if path.is_file() or (path / "model.ckpt.index").is_file():
            return path
    return None


# ---- One file from one address -------------------------------------------

SLOWEST = 1024      # bytes per second; what comes slower counts as stalled
STALE = 3600        # seconds; a part that old belongs to nobody any more


class DownloadError(OSError):
    """A file cannot be had; the message is one line that says what to do."""


class Refused(Exception):
    """This address will not do: the next one might."""


class Broken(Exception):
    """The transfer broke off: the same address might do better again."""


REASONS = (  # the first that is among the causes of a failed request
    (broken.ProxyError, "cannot be reached through the proxy"),
    (broken.SSLError, "shows a certificate that is not trusted here"),
    (broken.NameResolutionError, "has a name that is unknown here (DNS): "
     "perhaps this machine is offline"),
    (ConnectionRefusedError, "refuses the connection"),
    (broken.NewConnectionError, "cannot be reached from here"),
    (broken.ConnectTimeoutError, "gave no connection within {connect:g} s"),
    (broken.ReadTimeoutError, "sent nothing for {stall:g} s"),
    (broken.ProtocolError, "dropped the connection"),
)


def reason(error: BaseException, connect: float, stall: float) -> str:
    """The cause of a failed request in a few words."""
    causes: list[Any] = [error]
    for e in causes:
        inner = (getattr(e, "reason", None), *e.args, e.__context__)
        causes += [i for i in inner if isinstance(i, BaseException)
                   and not any(i is seen for seen in causes)]
    for kind, words in REASONS:
        if any(isinstance(e, kind) for e in causes):
            return words.format(connect=connect, stall=stall)
    return f"cannot be asked ({' '.join(str(error).split())[:80]})"


def shown(url: str) -> str:
    """An address without the password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def detour(url: str) -> str:
    """Which proxy stands between us and an address, if any does."""
    with suppress(ValueError):
        proxies = requests.utils.get_environ_proxies(url)
        if proxy := requests.utils.select_proxy(url, proxies):
            return f" (by way of the proxy {shown(proxy)})"
    return ""


def ask(url: str, connect: float, stall: float,
        **headers: str) -> requests.Response:
    """The server's answer, its body not read yet; Refused or Broken."""
    headers["Accept-Encoding"] = "identity"
    try:
        answer = requests.get(url, stream=True, timeout=(connect, stall),
                              headers=headers)
    except (requests.RequestException, broken.HTTPError,
            ValueError) as error:
        raise Refused(reason(error, connect, stall) + detour(url)) from None
    status = answer.status_code
    if status < 400:
        return answer
    answer.close()
    kind = Broken if status >= 500 or status in (408, 429) else Refused
    raise kind(f"answers {status} ({answer.reason})")


def stated_hash(answer: requests.Response) -> str | None:
    """The checksum in the headers of Hugging Face, Azure or Backblaze.

    As pooch writes it: algorithm, colon, hexadecimal digits.
    """
    for headers in (a.headers for a in [*answer.history, answer]):
        etag = headers.get("X-Linked-Etag", "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", etag):
            return f"sha256:{etag}"
        with suppress(ValueError):
            md5 = base64.b64decode(headers.get("Content-MD5", ""))
            if len(md5) == 16:
                return f"md5:{md5.hex()}"
        sha1 = headers.get("X-Bz-Content-Sha1", "")
        if re.fullmatch("[0-9a-f]{40}", sha1):
            return f"sha1:{sha1}"
    return None


def length(answer: requests.Response, published: int | None) -> int:
    """How many bytes the file has; Refused if the server has another."""
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise Refused("sends a web page instead of the file: does this "
                      "network ask for a login?")
    text = answer.headers.get("Content-Length", "")
    offered = int(text) if text.isdecimal() else None
    if published is None and offered is None:
        raise Refused("does not say how long the file is")
    if None not in (published, offered) and published != offered:
        raise Refused(f"offers {offered:,} bytes, but the published file "
                      f"has {published:,}")
    return offered if published is None else published


@dataclass
class Transfer:
    """What pooch calls to bring a file; it goes on where a line broke."""

    path: Path
    size: int | None
    sha256: str | None
    connect: float
    stall: float
    progress: bool
    reached: int = 0         # bytes that lie here after a break
    resumed: bool = False    # whether some of them came at another time

    def __call__(self, url: str, output_file: str, _: Any = None) -> None:
        with closing(ask(url, self.connect, self.stall)) as answer:
            total, check = length(answer, self.size), stated_hash(answer)
            tag = self.sha256 or mark(url, answer, total)
            part, free = claim(self.path, tag)
            try:
                fill(part, self, url, answer, total)
                if check and not self.sha256:
                    verify(part, check)
                os.replace(part, output_file)
            except Refused:
                part.unlink(missing_ok=True)
                raise
            finally:
                self.reached = leave(part, free if tag else None)


def fill(part: Path, wanted: Transfer, url: str, answer: requests.Response,
         total: int) -> None:
    """Write the body of an answer, after what stands in the part."""
    have = part.stat().st_size if part.exists() else 0
    have *= have < total
    need(part.parent, total - have)
    if have:
        answer, have = rest(answer, url, have, wanted.connect, wanted.stall)
    bar = tqdm(total=total, initial=have, unit="B", unit_scale=True,
               desc=wanted.path.name, leave=False,
               disable=None if wanted.progress else True)
    wanted.resumed = have > 0
    with closing(answer), bar, open(part, "ab" if have else "wb") as file:
        for data in pieces(answer, total - have, wanted.stall):
            file.write(data)
            bar.update(len(data))


def mark(url: str, answer: requests.Response, total: int) -> str:
    """What tells this very file from another one; empty if nothing does."""
    etag = answer.headers.get("ETag", "W/")
    known = stated_hash(answer) or ("" if etag.startswith("W/") else etag)
    text = f"{url} {known} {total}".encode()
    return hashlib.sha256(text).hexdigest() if known else ""


def claim(path: Path, tag: str) -> tuple[Path, Path]:
    """A part for this process alone, and its name when nobody owns it.

    It is begun already if an earlier process left one of the same file.
    """
    stem = f".{path.name}.{tag[:16]}"
    free = path.with_name(f"{stem}.part")
    mine = path.with_name(f"{stem}.{os.getpid()}.part")
    for old in [free, *path.parent.glob(f"{stem}.*.part")] * bool(tag):
        with suppress(OSError):
            if old == free or time.time() - old.stat().st_mtime > STALE:
                os.replace(old, mine)
                break
    return mine, free


def leave(part: Path, free: Path | None) -> int:
    """Give a part back for the next attempt; how many bytes it has."""
    have = part.stat().st_size if part.exists() else 0
    with suppress(OSError):
        if have and free is not None:
            os.replace(part, free)
        part.unlink(missing_ok=True)
    return have


def rest(answer: requests.Response, url: str, have: int, connect: float,
         stall: float) -> tuple[requests.Response, int]:
    """An answer that begins after `have` bytes, or after 0 if it must."""
    answer.close()
    etag = answer.headers.get("ETag", "W/")
    same = {} if etag.startswith("W/") else {"If-Range": etag}
    answer = ask(url, connect, stall, Range=f"bytes={have}-", **same)
    if answer.status_code != 206:
        return answer, 0
    place = answer.headers.get("Content-Range", "")
    if not place.startswith(f"bytes {have}-"):
        raise Refused("sends another part of the file than was asked for")
    return answer, have


def pieces(answer: requests.Response, expected: int,
           stall: float) -> Iterator[bytes]:
    """The body as it arrives; Broken if it stalls or ends too soon."""
    have, then, before = 0, time.monotonic(), 0
    while True:
        try:
            data = answer.raw.read1(1 << 16, decode_content=False)
        except (broken.HTTPError, OSError) as error:
            raise Broken(reason(error, stall, stall) + f" after {have:,} of "
                         f"{expected:,} bytes") from None
        if not data:
            break
        have += len(data)
        yield data
        now = time.monotonic()
        if now - then > stall:
            if have - before < SLOWEST * stall:
                raise Broken(f"sends less than {SLOWEST:,} bytes a second")
            then, before = now, have
    if have < expected:
        raise Broken(f"ended after {have:,} of {expected:,} bytes")
    if have > expected:
        raise Refused(f"sends more than the {expected:,} bytes there are")


def need(folder: Path, size: int) -> None:
    """DownloadError if the disk has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DownloadError(f"{folder} has room for {free:,} bytes, the "
                            f"download needs {size:,}: free some, or choose "
                            "another folder with --to")


def verify(path: Path, known: str) -> None:
    """Refused unless the file has this checksum (algorithm:digits)."""
    algorithm, _, digits = known.partition(":")
    if pooch.file_hash(str(path), algorithm) != digits:
        raise Refused(f"sends other bytes than its own {algorithm} says")


# ---- One file from many addresses ----------------------------------------


def insist(url: str, transfer: Transfer, attempts: int,
           pause: float) -> None:
    """Fetch from one address; ask again only where that can help.

    attempts: in a row without one more byte. Raises Refused.
    """
    known = f"sha256:{transfer.sha256}" if transfer.sha256 else None
    path, best, tries = transfer.path, 0, 0
    while True:
        try:
            pooch.retrieve(url, known, path.name, path.parent,
                           downloader=transfer)
            return
        except Broken as broke:
            why = str(broke)
        except ValueError:                    # pooch found another sha256
            why = "sends other bytes than the published ones (sha256)"
            if not transfer.resumed:
                raise Refused(why) from None
        tries = 1 if transfer.reached > best else tries + 1
        best = max(best, transfer.reached)
        if tries >= attempts:
            raise Refused(f"{why}, {attempts} times") from None
        time.sleep(pause * 2**tries)


def present(path: Path, size: int | None, sha256: str | None) -> bool:
    """Whether the file is there; DownloadError if it is another one."""
    if not path.exists():
        return False
    found = path.stat().st_size
    if size not in (None, found):
        what = f"has {found:,} bytes, the published file {size:,}"
    elif sha256 and pooch.file_hash(str(path)) != sha256:
        what = "is not the published file (its sha256 differs)"
    else:
        return True
    raise DownloadError(f"{path} {what}: move it away to fetch it again")


def fetch(urls: Iterable[str], path: str | Path, size: int | None = None,
          sha256: str | None = None, *, connect: float = 10.0,
          stall: float = 30.0, attempts: int = 3, pause: float = 1.0,
          progress: bool = True, advice: str = "") -> Path:
    """Bring a file from the first address that has it, whole or not at all.

    connect and stall: seconds without an answer, or without a byte. Raises
    DownloadError, whose one line names every address, its cause, the remedy.
    """
    path, causes = Path(path), []
    transfer = Transfer(path, size, sha256, connect, stall, progress)
    try:
        if present(path, size, sha256):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                insist(url, transfer, attempts, pause)
                return path
            except Refused as why:
                causes.append(f"{shown(url)} {why}")
    except OSError as error:
        raise in_one_line(error, path) from None
    raise DownloadError(f"{'; '.join(causes)}. {remedy(path, advice)}")


def remedy(path: Path, advice: str) -> str:
    """What to do when no address has helped."""
    return (f"Try {advice}another address (SCRATCH_LLM_MIRROR), or bring the "
            f"file by other means and put it here: {path}")


def in_one_line(error: OSError, path: Path) -> DownloadError:
    """A DownloadError as it is; of the disk's own errors, what to do."""
    if isinstance(error, DownloadError):
        return error
    return DownloadError(f"{path} cannot be written ({error.strerror}): free "
                         "some room, or choose another folder with --to")


def fetch_gpt2(name: str, folder: str | Path = "gpt2",
               route: str = "huggingface", **how: Any) -> Path:
    """Weights of GPT-2, and where gpt2_model finds them.

    name: gpt2-small, -medium, -large, -xl. how: as for fetch. Raises
    ValueError for an unknown name or route, else as fetch does.
    """
    others = " or ".join(f"--route {r}" for r in ROUTES if r != route)
    for file in gpt2_files(name, route):
        fetch(mirrored(file.urls), Path(folder, file.path), file.size,
              file.sha256, advice=f"{others}, ", **how)
    return Path(folder, gpt2_path(name, route))


def fetch_data(name: str, folder: str | Path = "data", **how: Any) -> Path:
    """A public data set as it is published; how: as for fetch."""
    if name not in DATA:
        raise ValueError(f"no data set {name!r}: {', '.join(DATA)}")
    file = DATA[name]
    return fetch(mirrored(file.urls), Path(folder, file.path), file.size,
                 file.sha256, **how)


# ---- The command line ----------------------------------------------------


def seconds(text: str) -> float:
    """An argparse type: a number above 0."""
    with suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"must be seconds > 0, got {text}")


def options(argv: list[str] | None) -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="gpt_download.py", description=__doc__.split("\n")[0])
    p.error = lambda message: p.exit(2, f"{p.prog}: error: {message}\n")
    p.add_argument("name", choices=[*GPT2, *DATA])
    p.add_argument("--route", choices=ROUTES,
                   help="whose files of GPT-2 (default huggingface)")
    p.add_argument("--to", metavar="FOLDER",
                   help="default: gpt2 for weights, data for data sets")
    p.add_argument("--timeout", type=seconds, default=30.0, metavar="SECONDS",
                   help="longest silence of a server (default 30)")
    args = p.parse_args(argv)
    if args.name in DATA and args.route:
        p.error(f"--route is for GPT-2, {args.name} has only one")
    return args


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    how = {"connect": min(10.0, args.timeout), "stall": args.timeout}
    try:
        if args.name in DATA:
            path = fetch_data(args.name, args.to or "data", **how)
        else:
            path = fetch_gpt2(args.name, args.to or "gpt2",
                              args.route or ROUTES[0], **how)
    except DownloadError as error:
        print(f"gpt_download.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"gpt_download.py: stopped before {args.name} was whole; the "
              "same command goes on from there", file=sys.stderr)
        return 130
    print(f"{args.name} is whole: {path}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(main())
