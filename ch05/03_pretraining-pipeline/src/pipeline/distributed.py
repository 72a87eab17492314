"""One process or many: what differs between them is all in here."""

import contextlib
import os
import time
from dataclasses import dataclass

import previous_chapters as pc
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
)
from torch.distributed.fsdp import fully_shard

# Checkpoints hold whole tensors, however many processes share them.
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class Processes:
    """Who we are among the processes of a run, and how they share it."""

    rank: int = 0
    size: int = 1
    kind: str = "none"  # none, ddp, fsdp

    def share(self, batch: pc.Batch) -> pc.Batch:
        """Our rows of a batch; a row without targets if there are none."""
        inputs, targets = (t[self.rank :: self.size] for t in batch)
        if not len(inputs):
            inputs = batch[0][:1]
            targets = torch.full_like(inputs, pc.IGNORE)
        return inputs, targets

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes; changes value."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def gather(self, value: object) -> list:
        """A small object of each process, in every process."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as its processes train it; FSDP changes it in place."""
        if self.kind == "ddp":
            return nn.parallel.DistributedDataParallel(model)
        if self.kind == "fsdp":
            for block in getattr(model, "trf_blocks", ()):
                fully_shard(block)
            fully_shard(model)
        return model


def exchange(
    forward: nn.Module, now: bool
) -> contextlib.AbstractContextManager:
    """Within this, gradients are exchanged only if it is time."""
    if hasattr(forward, "set_requires_gradient_sync"):  # FSDP
        forward.set_requires_gradient_sync(now)
    if hasattr(forward, "no_sync") and not now:  # DDP
        return forward.no_sync()
    return contextlib.nullcontext()


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU, in the first process; every one must call."""
    return get_model_state_dict(model, options=WHOLE)


def is_first() -> bool:
    """Whether we are the process that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def start(kind: str, device: torch.device) -> Processes:
    """Join the other processes, if torchrun started us; ValueError."""
    launched = dist.is_torchelastic_launched()
    size = int(os.environ["WORLD_SIZE"]) if launched else 0
    if not size and kind != "none":
        raise ValueError(
            f"--parallel {kind} needs several processes: torchrun "
            f"--nproc-per-node 2 src/train_gpt.py --parallel {kind} ..."
        )
    if size > 1 and kind == "none":
        raise ValueError(
            f"torchrun started {size} processes: say how they share the "
            "work, --parallel ddp or fsdp"
        )
    if kind == "none":
        return Processes()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size(), kind)


def end() -> None:
    """Leave the other processes, if there are any.

    The pause lets gloo's thread free its last tensors. It needs Python's
    lock for that, and PyTorch holds the lock while it waits for the thread.
    """
    if dist.is_initialized():
        time.sleep(0.2)
        dist.destroy_process_group()
