"""Every model that can write, by its name: where it lies, how it is read.

Nothing here is a lesson. The storyteller ships with the course, runs are
made by gpt_train.py, GPT-2 is brought by gpt_download.py and read by the
loader of 02_alternative-weight-loading.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gpt_download as download
import gpt_files as files
import pretraining as pt
import torch
from previous_chapters import GPTModel, gpt2_encoding, pick_device

HERE = Path(__file__).resolve().parent
NAMES = f"storyteller, {', '.join(download.GPT2)}, or a run folder"


class Writer(NamedTuple):
    """A model, its tokenizer, and what stood before each text it learned."""

    model: GPTModel
    tokenizer: Any
    prefix: str = ""

    def stream(self, prompt: str, max_new_tokens: int = 256,
               stop: str | None = None, **how: Any) -> Iterator[str]:
        """What the model adds to a prompt, piece by piece, as it comes.

        Ends at <|endoftext|>, or before the text `stop`. how: as for
        files.stream_text (temperature, top_k, top_p, generator, seen).
        """
        pieces = files.stream_text(
            self.model, self.tokenizer,
            files.encode_prompt(self.tokenizer, self.prefix, prompt),
            max_new_tokens, **how)
        start = self.prefix and not prompt
        for piece in files.until(pieces, stop):
            yield piece.lstrip(" ") if start else piece
            start = False

    def generate(self, prompt: str, max_new_tokens: int = 256,
                 seed: int | None = None, **how: Any) -> str:
        """The prompt and what the model adds; a seed repeats it."""
        generator = new_generator(self.model, seed)
        return prompt + "".join(self.stream(
            prompt, max_new_tokens, generator=generator, **how))


def new_generator(model: GPTModel, seed: int | None) -> torch.Generator:
    """Chance for sampling on the model's device; None: another each time."""
    generator = torch.Generator(next(model.parameters()).device)
    if seed is None:
        generator.seed()
        return generator
    return generator.manual_seed(seed)


def from_pretrained(name: str, weights: str | Path = "gpt2",
                    device: str | None = None) -> Writer:
    """A model by its name, ready to write: storyteller, gpt2-small, a run.

    weights: the folder for GPT-2's files. Errors: those of find and load.
    """
    return load(name, find(name, weights), pick_device(device))


def find(name: str, weights: str | Path = "gpt2",
         fetch: bool = False) -> Path:
    """Where the weights of a model lie, by its name or run folder.

    weights: the folder for GPT-2's; fetch: download what is not there.
    ValueError says how to get it, OSError why it could not be fetched.
    """
    if name not in download.GPT2:
        run = Path(name).parent if Path(name).is_file() else Path(name)
        path = files.STORYTELLER if name == "storyteller" else (
            run / "model.safetensors")
        if not path.is_file():
            raise ValueError(f"no model {name}: {path} does not exist. Train "
                             f"one first, or name one of {NAMES}")
        return path
    path = download.find_gpt2(name, weights)
    if path is None and fetch:
        path = download.fetch_gpt2(name, weights)
    if path is None:
        to = "" if str(weights) == "gpt2" else f" --to {weights}"
        raise ValueError(f"{name} is not in {weights}: run python "
                         f"gpt_download.py {name}{to}, or gpt_generate.py "
                         "with --download")
    return path


def load(name: str, path: Path, device: torch.device) -> Writer:
    """A model that was found; ValueError if its files do not fit."""
    if name in download.GPT2:
        sys.path[:0] = [str(HERE), str(
            HERE.parent / "02_alternative-weight-loading")]
        from gpt2_weights import gpt2_model
        model = gpt2_model(download.GPT2[name][0], path)
        return Writer(model.to(device).eval(), gpt2_encoding())
    model = files.load_model(path, device)
    tokenizer = files.load_tokenizer(path.parent, model.cfg["vocab_size"],
                                     files.tokenizer_name(path))
    return Writer(model, tokenizer, files.read_prefix(path))


@torch.no_grad()
def surprise(writer: Writer, prompt: str) -> tuple[float, float]:
    """Perplexity per token, and bits per byte, of a prompt.

    What does not fit into the context is read in windows, each anew.
    """
    model, T = writer.model, writer.model.cfg["context_length"]
    ids = files.encode_prompt(writer.tokenizer, writer.prefix, prompt)
    ids = torch.tensor([ids], device=next(model.parameters()).device)
    inputs, targets = ids[:, :-1], ids[:, 1:]                  # (1, N) each
    nats = sum(pt.nats(model(x), y).item() for x, y in zip(
        inputs.split(T, 1), targets.split(T, 1), strict=True))
    size = len(prompt.encode("utf-8", "replace"))
    return math.exp(nats / targets.numel()), nats / math.log(2) / size
