"""The chapter's training loop, with its steps shared among processes.

`pc.train` is the loop. What it calls for the gradients is Trainer.backward:
the chapter's accumulate_gradients, but for rows that several processes
share, for fp16, and for a compiled model and loss.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import previous_chapters as pc
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.distributed import Processes, exchange

DTYPES = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def recompute_blocks(model: nn.Module) -> None:
    """Keep only what enters each block, and compute the rest again.

    Less memory for a third more work. Source: Chen et al. 2016, section 3.
    """
    for block in getattr(model, "trf_blocks", ()):
        block.forward = functools.partial(
            checkpoint, block.forward, use_reentrant=False
        )


class ScaledAdamW:
    """AdamW whose steps are skipped where the gradient overflowed in fp16.

    With a scaler that is switched off it is AdamW.
    """

    def __init__(self, adamw: torch.optim.AdamW, scaler: torch.amp.GradScaler):
        self.adamw, self.scaler = adamw, scaler

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adamw, name)

    def unscale(self) -> None:
        """True gradients again; none at all if one of them overflowed."""
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.adamw)
            params = [p for g in self.param_groups for p in g["params"]]
            grads = [p.grad for p in params if p.grad is not None]
            if not nn.utils.get_total_norm(grads).isfinite():
                self.zero_grad()

    def step(self) -> None:
        self.scaler.step(self.adamw)
        self.scaler.update()


@dataclass
class Trainer:
    """A model in training: all that a checkpoint holds."""

    model: nn.Module  # its weights
    forward: nn.Module  # the same, perhaps compiled or spread
    task: pc.Task
    schedule: pc.Schedule
    weight_decay: float = 0.1
    processes: Processes = field(default_factory=Processes)
    precision: str = "fp32"
    accumulate: int = 1
    clip: float = 1.0
    peak: float = math.inf  # FLOP/s of a matrix product here
    sum_nll: Callable = pc.sum_nll  # the same, perhaps compiled
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float = math.inf
    length: int = 0  # of the longest row of the last step
    asked: bool = False  # to stop: by a signal, in this process
    stopping: bool = False  # all processes agreed to

    def __post_init__(self):
        self.device = next(self.model.parameters()).device
        fp16, kind = self.precision == "fp16", self.device.type
        self.optimizer = ScaledAdamW(
            pc.make_optimizer(self.model, self.weight_decay),
            torch.amp.GradScaler(kind, enabled=fp16),
        )

    def compile(self) -> None:
        """Let torch.compile fuse the model, and the loss with its gradient."""
        self.forward = torch.compile(self.forward)
        self.sum_nll = torch.compile(self.sum_nll)

    def backward(
        self, model: nn.Module, batches: list[pc.Batch], precision: str
    ) -> tuple[float, int]:
        """Gradients of the mean over all graded targets; loss and targets.

        Of all batches and all processes: sums are divided by one count, so
        unequal padding changes nothing.
        """
        n_targets, size = pc.count_targets(batches), self.processes.size
        loss, device = torch.zeros((), device=self.device), self.device
        cast = torch.autocast(
            device.type, DTYPES[precision], enabled=precision != "fp32"
        )
        for i, batch in enumerate(batches, 1):
            inputs, targets = self.processes.share(batch)
            with exchange(model, i == len(batches)):
                with cast:
                    logits = model(inputs.to(device))
                part = self.sum_nll(logits, targets.to(device)) / n_targets
                # DDP and FSDP take the mean over processes; we need the sum
                self.optimizer.scaler.scale(part * size).backward()
            loss += part.detach()
        self.optimizer.unscale()
        self.length = max(inputs.shape[1] for inputs, _ in batches)
        asked = torch.tensor(float(self.asked), device=self.device)
        loss, asked = self.processes.total(torch.stack([loss, asked])).tolist()
        self.stopping = asked > 0  # all processes end after one step
        return loss, n_targets

    def steps(self) -> Iterator[dict]:
        """The chapter's loop, from the present step on."""
        what = (self.forward, self.optimizer, self.task.batches, self.schedule)
        how = (self.accumulate, self.clip, self.precision, self.step)
        return pc.train(*what, *how, self.backward)


def train(t: Trainer, every: int) -> Iterator[dict]:
    """Train to the end of the schedule; the chapter's records, and more.

    Validates every so many steps and at the end. If a process is asked to
    stop, all end after the same step. grad_norm is 0 in a step that fp16
    skipped.
    """
    began = time.perf_counter()
    for r in t.steps():
        t.step, t.tokens = r["step"], t.tokens + r["n_targets"]
        speed = r["n_targets"] / (time.perf_counter() - began)
        work = speed * pc.flops_per_token(t.model.cfg, t.length)
        r |= {"tokens_per_second": speed, "mfu": work / t.peak}
        r |= validate(t, t.step % every == 0 or t.step == t.schedule.steps)
        t.seconds += time.perf_counter() - began
        yield r | {"tokens": t.tokens, "seconds": t.seconds}
        if t.stopping:
            return
        began = time.perf_counter()


def validate(t: Trainer, now: bool) -> dict:
    """Validation loss, perplexity and bits per byte, if it is time.

    Each process computes all of it; what the first one found counts, so
    that all agree on which checkpoint is the best.
    """
    if not now:
        return dict.fromkeys(("validation", "perplexity", "bits_per_byte"))
    precision = "fp32" if t.precision == "fp16" else t.precision
    found = pc.evaluate(t.model, t.task.validation, precision)
    loss, *_ = t.processes.gather(found)
    return {
        "validation": loss,
        "perplexity": math.exp(min(loss, 700)),
        "bits_per_byte": pc.bits_per_byte(loss, t.task),
    }
