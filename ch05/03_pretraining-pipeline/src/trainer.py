"""The training loop: a step on all processes, records, checkpoints."""

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import checkpoints
import pretraining as pt
import torch
from data import count_bytes
from distributed import Processes, full_weights, gather, only_last
from schedules import Plan
from torch import nn
from torch.utils.checkpoint import checkpoint

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16,
          "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """pt.autocast, with fp16 as a third precision."""
    if precision != "fp16":
        return pt.autocast(device, precision)
    return torch.autocast(device.type, dtype=torch.float16)


def recompute_blocks(model: nn.Module) -> None:
    """Keep only what enters each block, and compute the rest again.

    Less memory for a third more work. Source: Chen et al. 2016, section 3.
    """
    for block in model.trf_blocks:
        block.forward = functools.partial(checkpoint, block.forward,
                                          use_reentrant=False)


@dataclass
class Trainer:
    """A model in training: all that a checkpoint holds."""

    model: nn.Module           # its weights
    forward: nn.Module         # the same, perhaps compiled or spread
    optimizer: torch.optim.Optimizer
    task: pt.Task
    plan: Plan
    processes: Processes = field(default_factory=Processes)
    precision: str = "fp32"
    accumulate: int = 1
    clip: float = 1.0
    peak: float | None = None  # FLOP/s of a matrix product here
    nats: Callable = pt.nats   # the same, perhaps compiled
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float = math.inf
    asked: bool = False        # to stop: by a signal, in this process
    stopping: bool = False     # all processes agreed to

    def __post_init__(self):
        self.device = next(self.model.parameters()).device
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision == "fp16")
        size = count_bytes(self.task.validation, self.task.tokenizer)
        graded = pt.count_graded(self.task.validation)
        self.to_bits = graded / (math.log(2) * max(1, size))


def train(t: Trainer, every: int) -> Iterator[dict]:
    """Train to the end of the plan; a record per step, as loggers want it.

    Validates every so many steps and at the end. If a process is asked to
    stop, all end after the same step.
    """
    while t.step < t.plan.steps and not t.stopping:
        began = time.perf_counter()
        t.forward.train()
        batches = list(islice(t.task.batches, t.accumulate))
        record = take_step(t, batches)
        t.step += 1
        t.tokens += record["graded"]
        record |= {"step": t.step, "tokens": t.tokens}
        record |= speeds(t, record["graded"], time.perf_counter() - began,
                         max(inputs.shape[1] for inputs, _ in batches))
        record |= judge(t, t.step % every == 0 or t.step == t.plan.steps)
        t.seconds += time.perf_counter() - began
        yield record | {"seconds": t.seconds}


def speeds(t: Trainer, graded: int, seconds: float, length: int) -> dict:
    """Tokens per second, and the share of the matmul peak, of a step."""
    speed = graded / seconds
    work = speed * pt.flops_per_token(t.model.cfg, length)
    return {"tokens_per_second": speed,
            "mfu": work / t.peak if t.peak else None}


def judge(t: Trainer, now: bool) -> dict:
    """Validation loss, perplexity and bits per byte, if it is time."""
    if not now:
        return dict.fromkeys(("validation", "perplexity", "bits_per_byte"))
    loss = evaluate(t)
    return {"validation": loss, "perplexity": math.exp(min(loss, 700)),
            "bits_per_byte": loss * t.to_bits}


def take_step(t: Trainer, batches: list[pt.Batch]) -> dict:
    """One optimizer step on the mean over all graded targets.

    Of all batches and all processes: sums are divided by one count, so
    unequal padding changes nothing. norm: of the gradient before clipping.
    FloatingPointError if something is not finite.
    """
    for group in t.optimizer.param_groups:
        group["lr"] = t.plan(t.step)
    t.optimizer.zero_grad()
    loss, graded = accumulate(t, batches)
    t.scaler.unscale_(t.optimizer)
    norm = nn.utils.clip_grad_norm_(t.model.parameters(), t.clip)
    norm = float(checkpoints.whole(norm))
    if not math.isfinite(loss) or (
            not math.isfinite(norm) and t.precision != "fp16"):
        raise FloatingPointError(
            f"step {t.step}: loss {loss}, norm {norm}")
    t.scaler.step(t.optimizer)         # skips a step that overflowed in fp16
    t.scaler.update()
    return {"train": loss, "rate": t.plan(t.step), "norm": norm,
            "graded": graded}


def accumulate(t: Trainer, batches: list[pt.Batch]) -> tuple[float, int]:
    """Add up the gradients of all batches; loss in nats, and targets."""
    graded, loss = pt.count_graded(batches), torch.zeros((), device=t.device)
    for i, batch in enumerate(batches, 1):
        inputs, targets = t.processes.share(batch)
        with only_last(t.forward, i == len(batches)):
            with autocast(t.device, t.precision):
                logits = t.forward(inputs.to(t.device))
            part = t.nats(logits, targets.to(t.device)) / graded
            # DDP and FSDP take the mean over processes; we need the sum
            t.scaler.scale(part * t.processes.size).backward()
        loss += part.detach()
    asked = torch.tensor(float(t.asked), device=t.device)
    loss, asked = t.processes.total(torch.stack([loss, asked])).tolist()
    t.stopping = asked > 0             # all processes end after one step
    return loss, graded


@torch.no_grad()
def evaluate(t: Trainer) -> float:
    """Nats per graded target; the processes share the rows.

    One that has no row to grade reads others, as often, for nothing.
    """
    precision = "fp32" if t.precision == "fp16" else t.precision
    mine = [t.processes.share(batch) for batch in t.task.validation]
    graded = pt.count_graded(mine)
    rows = mine if graded else [(x[:1], y[:1]) for x, y in t.task.validation]
    model = t.forward if t.processes.size > 1 else t.model
    loss = torch.tensor(pt.evaluate(model, rows, precision) * graded,
                        dtype=torch.float64)
    total = t.processes.total(loss.to(t.device)).item()
    return total / pt.count_graded(t.task.validation)


# ---- Checkpoints ---------------------------------------------------------


def snapshot(t: Trainer, options: dict) -> dict:
    """All that this run needs to go on exactly; every process calls it."""
    return {
        "step": t.step, "tokens": t.tokens, "seconds": t.seconds,
        "best": t.best, "position": t.step * t.accumulate,
        "options": dict(options), "config": t.model.cfg,
        "plan": vars(t.plan), "scaler": t.scaler.state_dict(),
        "model": full_weights(t.model),
        "optimizer": checkpoints.optimizer_state(t.model, t.optimizer),
        "generators": gather(checkpoints.generator_states(t.device),
                             t.processes),
    }


def restore(t: Trainer, state: dict) -> None:
    """Put a snapshot back; ValueError if it is of another model."""
    try:
        load_weights(t.model, state["model"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"the checkpoint is of another model "
                         f"({reason})") from None
    checkpoints.load_optimizer(t.model, t.optimizer, state["optimizer"])
    if state["scaler"]:
        t.scaler.load_state_dict(state["scaler"])
    t.step, t.tokens = state["step"], state["tokens"]
    t.seconds, t.best = state["seconds"], state["best"]
    states = state["generators"]
    checkpoints.set_generators(
        states[t.processes.rank % len(states)], t.device)


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict) -> None:
    """Weights into a model, spread over processes or not."""
    mine = dict(model.named_parameters())
    if any(hasattr(p, "full_tensor") for p in mine.values()):
        for name, p in mine.items():
            p.copy_(checkpoints.like(weights[name], p, False))
    else:
        model.load_state_dict(weights)


@dataclass
class Keeper:
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
        paths = [self.folder / name for name in names]
        for path in paths if self.trainer.processes.rank == 0 else ():
            try:
                checkpoints.save(path, state)
            except OSError as error:
                raise OSError(f"{path} cannot be written: {error.strerror}. "
                              f"{self.good}") from None
            if checkpoints.NAME.fullmatch(path.name):
                self.good = (f"{path} is whole: make room, then go on with "
                             f"--resume {self.folder.parent}")
                checkpoints.prune(self.folder, self.keep)
                checkpoints.alias(path, "last.pt")
            if self.log is not None:
                self.log.checkpoint(state["step"], path)

    def after(self, record: dict) -> None:
        """Whatever is due after this step."""
        t, names = self.trainer, []
        if (record["validation"] or math.inf) < t.best:
            t.best = record["validation"]
            names.append("best.pt")
        if t.step % self.every == 0 or t.step == t.plan.steps or t.stopping:
            names.append(checkpoints.step_name(t.step))
        if t.plan.shape == "wsd" and t.step == t.plan.stable_end:
            names.append(checkpoints.STABLE)
        if names:
            self.write(*names)
