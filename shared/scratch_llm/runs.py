"""Run folders: where they are made, and what is written into them."""

import contextlib
import itertools
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scratch_llm.files import write_text
from scratch_llm.gpt2_files import GPT2

CHECKPOINTS = Path(__file__).resolve().parents[1] / "checkpoints"
SHIPPED = ("storyteller", "librarian")


def find_model(name: str | Path) -> tuple[Path, Path]:
    """Weights and vocabulary of a model that ships, or of a run's folder.

    ValueError if there are none.
    """
    if str(name) in SHIPPED:
        weights = CHECKPOINTS / f"{name}.safetensors"
        return weights, CHECKPOINTS / "storyteller.tiktoken"
    run = Path(name).parent if Path(name).is_file() else Path(name)
    path = run / "model.safetensors"
    if not path.is_file():
        raise ValueError(
            f"no model {name}: {path} does not exist. Train one first, or "
            f"name one of {', '.join(SHIPPED)}, {', '.join(GPT2)}, or a run "
            "folder"
        )
    return path, run / "tokenizer.tiktoken"


def new_folder(out: str | None, name: str) -> Path:
    """The folder of a run, made: never one that holds something.

    Without `out` it is runs/name-001, or the next free number, which no
    other process gets. ValueError if it cannot be made.
    """
    folder = Path("runs" if out is None else out)
    try:
        if out is not None and folder.exists() and any(folder.iterdir()):
            raise ValueError(f"--out {out} exists already: name another")
        folder.mkdir(parents=True, exist_ok=True)
        for n in itertools.count(1) if out is None else ():
            with contextlib.suppress(FileExistsError):
                numbered = folder / f"{name}-{n:03d}"
                numbered.mkdir()
                return numbered
    except OSError as error:
        raise ValueError(
            f"{error.filename} cannot be made ({error.strerror}): name "
            "another folder with --out"
        ) from None
    return folder


def newest_run(folder: str | Path = "runs") -> Path:
    """The run whose weights were written last; ValueError without any."""
    files = sorted(
        Path(folder).glob("*/model.safetensors"),
        key=lambda path: path.stat().st_mtime,
    )
    if not files:
        raise ValueError(
            f"no run in {folder}: train first with gpt_train.py, or name a "
            "run by --checkpoint"
        )
    return files[-1].parent


def hardware(device: torch.device) -> str:
    """What this runs on; no name of a user or computer is told."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        named = (line for line in lines if line.startswith("model name"))
        processor = next(named).split(":", 1)[1].strip()
    parts = [
        f"{processor}, {os.cpu_count()} logical cores",
        f"{platform.system()}, Python {platform.python_version()}",
    ]
    if device.type == "cuda":
        parts.insert(0, torch.cuda.get_device_name(device))
    return "; ".join(parts)


def columns(history: list[dict], most: int = 1000) -> dict[str, list]:
    """Records as one list per key, rounded: small enough for a file.

    Of a long run about `most` steps are kept, and every evaluated one.
    """
    every = -(-len(history) // most)
    kept = [
        record
        for n, record in enumerate(history, 1)
        if n % every == 0 or record["validation"] or n == len(history)
    ]

    def short(value: Any) -> Any:
        return float(f"{value:.5g}") if isinstance(value, float) else value

    keys = history[0] if history else {}
    return {key: [short(record[key]) for record in kept] for key in keys}


def save_metrics(folder: Path, metrics: dict, history: list[dict]) -> None:
    """metrics.json of a run, with its history."""
    everything = metrics | {"history": columns(history)}
    write_text(folder / "metrics.json", json.dumps(everything, indent=1))


def marked_samples(texts: list[str], parse: Callable | None = None) -> str:
    """Numbered samples; with a judge each is valid, or breaks somewhere."""
    parts = []
    for i, text in enumerate(texts, 1):
        mark = ""
        if parse is not None:
            v = parse(text)
            broken = f": breaks at character {v.position}: {v.reason}"
            mark = ": valid" if v.ok else broken
        parts.append(f"--- sample {i}{mark}\n{text}\n")
    return "\n".join(parts)


def status_line(record: dict, steps: int, floor: float | None) -> str:
    """One line about an evaluated step."""
    ratio = f", {record['validation'] / floor:.3f} x floor" if floor else ""
    return (
        f"step {record['step']:,}/{steps:,}, "
        f"{record['tokens'] / 1e6:.2f}M tokens: training "
        f"{record['train']:.3f}, validation {record['validation']:.3f}"
        f"{ratio}, lr {record['lr']:.1e}"
    )


def sample_line(text: str, parse: Callable | None = None) -> str:
    """A sample on one line, as it is shown while training."""
    mark = ""
    if parse is not None:
        verdict = parse(text)
        mark = "valid: " if verdict.ok else f"broken ({verdict.reason}): "
    return f"  {mark}{' '.join(text.split())[:160]}"


def if_stopped(why: str | None) -> str:
    """How a closing line begins if a run was stopped, and what to do then."""
    if not why:
        return ""
    advice = "the checkpoint can be used"
    if why != "interrupted":
        advice = "try a lower --lr"
    return f"stopped ({why}), {advice}: "


def closing_line(folder: Path, metrics: dict) -> str:
    """What came out of a run, and where it lies."""
    parts = [
        f"{metrics['tokens_seen']:,} tokens in {metrics['seconds']:.0f} s"
    ]
    if metrics["val_loss"] is not None:
        parts.append(f"validation loss {metrics['val_loss']:.4f}")
    if metrics["ratio"] is not None:
        parts.append(f"{metrics['ratio']:.3f} x the floor")
    elif metrics.get("bits_per_byte") is not None:
        parts.append(f"{metrics['bits_per_byte']:.3f} bits per byte")
        for name in ("xz", "gzip"):
            if rival := metrics.get(f"{name}_bits_per_byte"):
                parts.append(f"{name} {rival:.3f}")
    if metrics.get("valid_stories") is not None:
        parts.append(f"{metrics['valid_stories']:.0%} of the samples valid")
    start = if_stopped(metrics["stopped"])
    return f"{start}{', '.join(parts)}; all in {folder}"
