"""GPT-2's weights and public data sets: fetched whole, or not at all.

Hugging Face's own library brings what lies there, pooch the rest. A file gets
its name only when its length and its checksum are right. What cannot be had
is told in one line, with the cause and what to do. Addresses in
SCRATCH_LLM_MIRROR, separated by spaces, stand in for the public ones.
"""

import argparse
import os
import re
import socket
import ssl
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
import huggingface_hub as hub
import pooch
import requests
from huggingface_hub import constants
from huggingface_hub.utils import logging

from scratch_llm.gpt2_files import (
    GPT2,
    ROUTES,
    DownloadError,
    find_gpt2,
    gpt2_name,
    gpt2_path,
)

__all__ = [
    "DownloadError",
    "GPT2",
    "ROUTES",
    "find_gpt2",
    "gpt2_name",
    "gpt2_path",
]

# fmt: off
PYTORCH = "rasbt/gpt2-from-scratch-pytorch"
OPENAI = ("https://openaipublic.blob.core.windows.net/gpt-2/models",
          "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2")
CHECKPOINT = ("checkpoint", "encoder.json", "hparams.json",
              "model.ckpt.data-00000-of-00001", "model.ckpt.index",
              "model.ckpt.meta", "vocab.bpe")
UCI = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
IMDB = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
HUB = "https://huggingface.co/datasets"
CORPORA = {  # to read as a stream, the files of each one after the other
    "tinystories": (
        f"{HUB}/roneneldan/TinyStories/resolve/main/"
        "TinyStoriesV2-GPT4-train.txt",),
    "openwebtext": tuple(
        f"{HUB}/Skylion007/openwebtext/resolve/main/subsets/"
        f"urlsf_subset{n:02d}.tar" for n in range(21)),
    "c4": tuple(
        f"{HUB}/allenai/c4/resolve/main/en/"
        f"c4-train.{n:05d}-of-01024.json.gz" for n in range(1024)),
}
DATA = {  # as they are published, still packed; of a corpus the first file
    "sms-spam": UCI, "imdb": IMDB,
    **{name: urls[0] for name, urls in CORPORA.items()},
}
SHA256 = {  # as published; of what is not here the server states the length
    "gpt2-small-124M.safetensors":
        "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707",
    "gpt2-xl-1558M.safetensors":
        "0f8b28eb05a8075f48b61b6f35332978c74fc7763fa9fb4051a1c30511736a6a",
    "checkpoint":
        "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb",
    "encoder.json":
        "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe":
        "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "124M/hparams.json":
        "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    "124M/model.ckpt.data-00000-of-00001":
        "2060c885360cc0cf41d7a6dbc4d24b5127aae20260c8b5ae521b5a6578407118",
    "sms+spam+collection.zip":
        "1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
    "aclImdb_v1.tar.gz":
        "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
}
REASONS = {  # the first of them that is among the errors behind a failure
    "cannot be reached through the proxy":
        (requests.exceptions.ProxyError, httpx.ProxyError),
    "shows a certificate that is not trusted here": ssl.SSLError,
    "has an unknown name: perhaps this machine is offline": socket.gaierror,
    "refuses the connection": ConnectionRefusedError,
    "did not answer in time": TimeoutError,
    "dropped the connection": (
        ConnectionResetError, httpx.RemoteProtocolError,
        requests.exceptions.ChunkedEncodingError),
}
# fmt: on
TIMEOUT = (10, 30)  # seconds without a connection, without a byte
TROUBLE = (OSError, ValueError, RuntimeError, httpx.HTTPError)


def gpt2_files(name: str, route: str = "huggingface") -> dict[str, list[str]]:
    """All that one of GPT-2's sizes needs: places below the folder, URLs."""
    path = gpt2_path(name, route)
    _, repo, revision = GPT2[gpt2_name(name)]
    if route == "openai":
        files = [f"{path}/{file}" for file in CHECKPOINT]
        return {file: [f"{base}/{file}" for base in OPENAI] for file in files}
    if route == "pytorch":
        return {path: [hub.hf_hub_url(PYTORCH, path)]}
    url = hub.hf_hub_url(repo, "model.safetensors", revision=revision)
    return {path: [url]}


def fetch_gpt2(
    name: str, folder: str | Path = "gpt2", route: str = "huggingface"
) -> Path:
    """Bring weights of GPT-2; where they lie. Raises as fetch does."""
    for file, urls in gpt2_files(name, route).items():
        fetch(urls, Path(folder, file))
    return Path(folder, gpt2_path(name, route))


def fetch_data(name: str, folder: str | Path = "data") -> Path:
    """Bring a public data set; where it lies. Raises as fetch does."""
    if name not in DATA:
        raise ValueError(f"no data set {name!r}: {', '.join(DATA)}")
    return fetch([DATA[name]], Path(folder, Path(DATA[name]).name))


def fetch(urls: list[str], path: Path) -> Path:
    """Bring a file from the first URL that has it, unless it is there.

    One with another checksum is replaced, once the new one is whole. Raises
    DownloadError, whose line names every URL, its cause, and the remedy.
    """
    pooch.get_logger().setLevel("ERROR")
    logging.set_verbosity_error()
    known = SHA256.get(path.name, SHA256.get("/".join(path.parts[-2:])))
    mirrors = os.environ.get("SCRATCH_LLM_MIRROR", "").split()
    at = urlsplit(urls[0]).path
    causes = []
    for url in [m.rstrip("/") + at for m in mirrors] or urls:
        on_hub = url.startswith(constants.ENDPOINT + "/") and not mirrors
        bring = from_hub if on_hub else from_web
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(url, known, path.name, path.parent, None, bring)
            return path
        except TROUBLE as error:
            if getattr(error, "errno", 0) or type(error) is PermissionError:
                raise DownloadError(
                    f"{path} cannot be written ({error}): free some room, or "
                    "choose another folder with --to"
                ) from None
            causes.append(f"{url}: {reason(error, url)}")
    line = (
        f"{'; '.join(causes)}. Try another --route, another address "
        "(SCRATCH_LLM_MIRROR), or bring the file by other means and put it "
        f"here: {path}"
    )
    raise DownloadError(re.sub(r"//[^/@\s]*@", "//", line))  # no passwords


def from_hub(url: str, output: str, _: object) -> None:
    """What pooch calls to bring a file from Hugging Face.

    The first question fails at once where hf_hub_download would try for
    minutes, and its answer tells the checksum.
    """
    stated = hub.get_hf_file_metadata(url, timeout=TIMEOUT[0]).etag or ""
    place = url.removeprefix(constants.ENDPOINT + "/")
    repo, revision, file = re.split("/resolve/([^/]+)/", place)
    kind = "dataset" if repo.startswith("datasets/") else None
    with TemporaryDirectory(dir=Path(output).parent, prefix=".") as folder:
        new = hub.hf_hub_download(
            repo.removeprefix("datasets/"),
            file,
            revision=revision,
            repo_type=kind,
            local_dir=folder,
        )
        if len(stated) == 64 and pooch.file_hash(new) != stated:
            raise ValueError("sends other bytes than its own sha256 says")
        os.replace(new, output)


def from_web(url: str, output: str, _: object) -> None:
    """What pooch calls to bring a file from anywhere else."""
    Path(output).unlink()  # so that it is made anew, for others to read
    pooch.HTTPDownloader(
        sys.stderr.isatty(),
        chunk_size=1 << 16,
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": check_answer},
    )(url, output, None)


def check_answer(answer: requests.Response, **_: object) -> None:
    """ValueError for what cannot be told from a whole file."""
    if answer.status_code != 200:
        return
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise ValueError("sends a web page: does this network want a login?")
    known = ("Content-Length", "Transfer-Encoding")
    if not any(name in answer.headers for name in known):
        raise ValueError("does not say how long the file is")


def reason(error: BaseException, url: str) -> str:
    """Why a request failed, in a few words."""
    if (answer := getattr(error, "response", None)) is not None:
        return f"answers {answer.status_code}"
    chain = [error]
    while inner := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(inner)
    for words, kind in REASONS.items():
        if any(isinstance(e, kind) for e in chain):
            proxies = requests.utils.get_environ_proxies(url)
            proxy = requests.utils.select_proxy(url, proxies)
            return f"{words} (by way of the proxy {proxy})" if proxy else words
    return " ".join(str(error).split()).rstrip(".")


def main(argv: list[str] | None = None) -> int:
    """The command line of gpt_download.py; returns its exit code."""
    p = argparse.ArgumentParser("gpt_download.py", description=__doc__)
    p.error = lambda message: p.exit(2, f"{p.prog}: error: {message}\n")
    p.add_argument("name", type=gpt2_name, choices=[*GPT2, *DATA])
    p.add_argument("--route", choices=ROUTES, help="whose files of GPT-2")
    p.add_argument("--to", metavar="FOLDER", help="default: gpt2, or data")
    args = p.parse_args(argv)
    if args.name in DATA and args.route:
        p.error(f"--route is for GPT-2, {args.name} has only one")
    try:
        if args.name in DATA:
            path = fetch_data(args.name, args.to or "data")
        else:
            route = args.route or ROUTES[0]
            path = fetch_gpt2(args.name, args.to or "gpt2", route)
    except DownloadError as error:
        print(f"{p.prog}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        stopped = f"stopped before {args.name} was whole: run it again"
        print(f"{p.prog}: {stopped}", file=sys.stderr)
        return 130
    print(f"{args.name} is whole: {path}")
    return 0
