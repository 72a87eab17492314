"""Checkpoints that survive: written whole or not at all, read safely.

A run folder has checkpoints/step-00000500.pt and so on, best.pt, and last.pt
(the newest step under a second name). Each holds all that a run needs to go
on exactly.
"""

import contextlib
import errno
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpt_files as files
import torch

FORMAT = "scratch-llm checkpoint 1"
STABLE = "stable.pt"             # before the cool-down of --schedule wsd
NAME = re.compile(r"step-(\d{8,})\.pt")


class CheckpointError(ValueError):
    """A file that is not a whole checkpoint of this pipeline."""


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Disk:
    """A file that remembers why a write failed; torch does not tell."""

    def __init__(self, file: Any):
        self.file, self.error = file, None

    def write(self, piece: bytes) -> int:
        try:
            return self.file.write(piece)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def save(path: Path, state: dict) -> None:
    """Write a checkpoint atomically; OSError if the disk cannot hold it."""
    with files.atomic(path) as temporary, open(temporary, "wb") as file:
        disk = Disk(file)
        try:
            torch.save(state | {"format": FORMAT}, disk)
        except RuntimeError as error:
            raise disk.error or OSError(errno.EIO, str(error)) from None
        os.fsync(file.fileno())
    sync_folder(path.parent)


def alias(path: Path, name: str) -> None:
    """Give a file a second name, atomically: a link, else a copy."""
    with files.atomic(path.with_name(name)) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def load(path: Path) -> dict:
    """A checkpoint; CheckpointError says in one line what is wrong.

    Every byte is checked against the sums in the file; no code in it runs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if name := archive.testzip():
                raise ValueError(f"{name} has a wrong check sum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (RuntimeError, OSError, EOFError, ValueError, LookupError,
            zipfile.BadZipFile, zlib.error, struct.error,
            NotImplementedError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:80]
        raise CheckpointError(f"{path} is not a whole checkpoint "
                              f"({reason})") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by train_gpt.py")
    return state


def step_files(folder: Path) -> list[Path]:
    """Periodic checkpoints, the newest first."""
    found = [p for p in folder.glob("step-*.pt") if NAME.fullmatch(p.name)]
    return sorted(found, key=lambda p: int(NAME.fullmatch(p.name)[1]),
                  reverse=True)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep`; the untrained model stays."""
    old = [p for p in step_files(folder) if p.name != step_name(0)][keep:]
    for path in old:
        path.unlink(missing_ok=True)


def step_name(step: int) -> str:
    return f"step-{step:08d}.pt"


def candidates(run: Path) -> Iterator[Path]:
    """What a run can go on from: the file named, or the newest first."""
    if run.is_file():
        yield run
        return
    folder = run / "checkpoints"
    yield from step_files(folder)
    yield from (p for name in ("last.pt", "best.pt")
                if (p := folder / name).is_file())


def find(run: Path) -> tuple[Path, dict]:
    """The newest good checkpoint of a run.

    What is skipped is named on stderr; ValueError if none is left.
    """
    for path in candidates(run):
        try:
            return path, load(path)
        except CheckpointError as error:
            if run.is_file():
                raise
            print(f"train_gpt.py: warning: {error}: trying an older one",
                  file=sys.stderr)
    raise ValueError(f"{run} holds no checkpoint to go on from: name a run "
                     "folder of train_gpt.py, or one of its checkpoints")


def clear_future(folder: Path, step: int) -> None:
    """Put aside what a run wrote after the step that it goes on from.

    Else a later resume would take it for the newest.
    """
    for path in step_files(folder):
        if int(NAME.fullmatch(path.name)[1]) > step:
            os.replace(path, path.with_name(f"old-{path.name}"))
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


# ---- What is in one ------------------------------------------------------


def names_of(model: torch.nn.Module) -> dict[int, str]:
    """The name of each parameter; one that is shared has its first."""
    return {id(p): name for name, p in model.named_parameters()}


def optimizer_state(model: torch.nn.Module,
                    optimizer: torch.optim.Optimizer) -> dict:
    """What AdamW remembers of each parameter, by its name."""
    names = names_of(model)
    return {names[id(p)]: {key: whole(value) for key, value in kept.items()}
            for p, kept in optimizer.state.items()}


def whole(value: Any) -> Any:
    """A tensor on the CPU, put together if it is spread over processes."""
    if hasattr(value, "full_tensor"):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def like(value: Any, p: torch.Tensor, fused: bool) -> Any:
    """A value as the optimizer of this parameter wants it."""
    if not isinstance(value, torch.Tensor):
        return value
    if not value.dim():                                # its count of steps
        return value.to(p.device) if fused else value
    if hasattr(p, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor
        return distribute_tensor(value.to(p.device), p.device_mesh,
                                 p.placements)
    return value.to(p.device)


def load_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer,
                   state: dict) -> None:
    """The opposite of optimizer_state."""
    for name, p in model.named_parameters():
        if name in state:
            optimizer.state[p] = {
                key: like(value, p, bool(optimizer.defaults["fused"]))
                for key, value in state[name].items()}


def generator_states(device: torch.device) -> dict:
    """Torch's generators: of the CPU, and of the GPU if it is used."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: dict, device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
