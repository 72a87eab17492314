"""Which weights of GPT-2 there are, and where they lie once fetched."""

from pathlib import Path

# fmt: off
ROUTES = ("huggingface", "openai", "pytorch")
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
# fmt: on


class DownloadError(OSError):
    """A file cannot be had; the message is one line that says what to do."""


def gpt2_name(name: str) -> str:
    """The key of GPT2 for "gpt2-small (124M)"; any other name as it is."""
    return next((n for n in GPT2 if name == f"{n} ({GPT2[n][0]})"), name)


def gpt2_path(name: str, route: str = "huggingface") -> str:
    """What the loader takes, below the folder: a file, or OpenAI's folder.

    Raises ValueError for an unknown name or route.
    """
    if (name := gpt2_name(name)) not in GPT2 or route not in ROUTES:
        known = f"{', '.join(GPT2)} by {', '.join(ROUTES)}"
        raise ValueError(f"no weights {name!r} by route {route!r}: {known}")
    size = GPT2[name][0]
    ending = "pth" if route == "pytorch" else "safetensors"
    return size if route == "openai" else f"{name}-{size}.{ending}"


def find_gpt2(name: str, folder: str | Path = "gpt2") -> Path | None:
    """Weights of this name that lie in the folder, by whatever route."""
    for route in ROUTES:
        path = Path(folder, gpt2_path(name, route))
        if path.is_file() or (path / "model.ckpt.index").is_file():
            return path
    return None
