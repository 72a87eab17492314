"""Checkpoints that survive: written whole or not at all, read safely.

A run folder has checkpoints/step-00000500.pt and so on, best.pt, and last.pt
(the newest step under a second name). Each holds all that a run needs to go
on exactly.
"""

import math
import os
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from scratch_llm.files import atomic
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from pipeline.distributed import WHOLE, full_weights
from pipeline.trainer import Trainer

FORMAT = "scratch-llm checkpoint 3"
STABLE = "stable.pt"  # before the cool-down of --schedule wsd


# ---- Files ---------------------------------------------------------------


def save(path: Path, state: dict) -> None:
    """Write a checkpoint atomically; OSError or RuntimeError if it fails."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        torch.save(state | {"format": FORMAT}, file)
        os.fsync(file.fileno())


def alias(path: Path, name: str) -> None:
    """Give a file a second name, atomically: a link, else a copy."""
    with atomic(path.with_name(name)) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)


def load(path: Path) -> dict:
    """A checkpoint; ValueError says in one line what is wrong.

    Every byte is checked against the sums in the file; no code in it runs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if name := archive.testzip():
                raise ValueError(f"{name} has a wrong check sum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:80]
        raise ValueError(
            f"{path} is not a whole checkpoint ({reason})"
        ) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(
            f"{path} was not written by this version of train_gpt.py"
        )
    return state


def step_name(step: int) -> str:
    return f"step-{step:08d}.pt"


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def step_files(folder: Path) -> list[Path]:
    """Periodic checkpoints, the newest first."""
    return sorted(folder.glob("step-*.pt"), reverse=True)


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep`; the untrained model stays."""
    for path in step_files(folder)[keep:]:
        if step_of(path):
            path.unlink()


def clear_future(folder: Path, step: int) -> None:
    """Put aside what a run wrote after the step that it goes on from.

    Else a later resume would take it for the newest.
    """
    for path in step_files(folder):
        if step_of(path) > step:
            os.replace(path, path.with_name(f"old-{path.name}"))
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def find(name: str | Path) -> tuple[Path, dict]:
    """The newest good checkpoint of a run, or the one named; its path.

    What is skipped is named on stderr; ValueError if none is left, or if
    the file named does not lie in a run.
    """
    path = Path(os.path.abspath(name))
    if path.is_file():
        in_run = (path.parents[1] / "metrics.csv").is_file()
        if path.parent.name != "checkpoints" or not in_run:
            raise ValueError(
                f"{path} does not lie in the folder checkpoints of a run, "
                "so there is no run to go on with: name a run's folder"
            )
        return path, load(path)
    for found in step_files(path / "checkpoints"):
        try:
            return found, load(found)
        except ValueError as error:
            line = f"train_gpt.py: warning: {error}: trying an older one"
            print(line, file=sys.stderr)
    raise ValueError(
        f"{name} holds no checkpoint to go on from: name a run folder of "
        "train_gpt.py, or one of its checkpoints"
    )


# ---- What is in one ------------------------------------------------------


def snapshot(t: Trainer, options: dict) -> dict:
    """All that this run needs to go on exactly; every process calls it."""
    return {
        "step": t.step,
        "tokens": t.tokens,
        "seconds": t.seconds,
        "best": t.best,
        "options": dict(options),
        "config": t.model.cfg,
        "schedule": vars(t.schedule),
        "scaler": t.optimizer.scaler.state_dict(),
        "model": full_weights(t.model),
        "optimizer": optimizer_state(t),
        "generators": t.processes.gather(generator_states(t.device)),
    }


def restore(t: Trainer, state: dict) -> None:
    """Put a snapshot back; ValueError if it is of another model."""
    try:
        set_model_state_dict(t.model, state["model"], options=WHOLE)
        if state["optimizer"]:
            set_optimizer_state_dict(
                t.model, t.optimizer.adamw, state["optimizer"], options=WHOLE
            )
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"the checkpoint is of another model ({reason})"
        ) from None
    t.optimizer.scaler.load_state_dict(state["scaler"])
    for name in ("step", "tokens", "seconds", "best"):
        setattr(t, name, state[name])
    states = state["generators"][t.processes.rank]
    torch.set_rng_state(states["cpu"])
    if t.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], t.device)


def generator_states(device: torch.device) -> dict:
    """Torch's generators: of the CPU, and of the GPU if it is used."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def optimizer_state(t: Trainer) -> dict:
    """What AdamW remembers; empty before its first step.

    Asked earlier, PyTorch would take a step to have something to tell.
    """
    adamw = t.optimizer.adamw
    if not adamw.state:
        return {}
    return get_optimizer_state_dict(t.model, adamw, options=WHOLE)


# ---- When one is written -------------------------------------------------


@dataclass
class CheckpointWriter:
    """Writes the checkpoints of a run, from the first process only."""

    folder: Path
    trainer: Trainer
    options: dict
    every: int
    keep: int
    log: Any = None
    good: str = "No checkpoint is there yet"

    def write(self, *names: str) -> None:
        """A checkpoint now, under each of these names; OSError."""
        state = snapshot(self.trainer, self.options)
        if self.trainer.processes.rank:
            return
        for path in (self.folder / name for name in names):
            try:
                save(path, state)
            except (OSError, RuntimeError) as error:
                raise OSError(
                    f"{path} cannot be written, the disk may be full "
                    f"({str(error)[:80]}). {self.good}"
                ) from None
            if path.name.startswith("step-"):
                self.good = (
                    f"{path} is whole: make room, then go on with --resume "
                    f"{self.folder.parent}"
                )
                prune(self.folder, self.keep)
                alias(path, "last.pt")
            if self.log is not None:
                self.log.checkpoint(state["step"], path)

    def after(self, record: dict) -> None:
        """Whatever is due after this step."""
        t, names = self.trainer, []
        if (record["validation"] or math.inf) < t.best:
            t.best = record["validation"]
            names.append("best.pt")
        last = t.step == t.schedule.steps or t.stopping
        if t.step % self.every == 0 or last:
            names.append(step_name(t.step))
        if t.schedule.shape == "wsd" and t.step == t.schedule.stable_end:
            names.append(STABLE)
        if names:
            self.write(*names)
