"""One process or many: what differs between them is all in here."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pretraining as pt
import torch
import torch.distributed as dist
from checkpoints import whole
from torch import Tensor, nn


@dataclass
class Processes:
    """Who we are among the processes of a run, and how they share it."""

    rank: int = 0
    size: int = 1
    kind: str = "none"         # none, ddp, fsdp

    def share(self, batch: pt.Batch) -> pt.Batch:
        """Our rows of a batch; a row without targets if there are none."""
        if self.size == 1:
            return batch
        inputs, targets = (t[self.rank::self.size] for t in batch)
        if not len(inputs):
            inputs = batch[0][:1]
            targets = torch.full_like(inputs, pt.IGNORE)
        return inputs, targets

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes; changes value."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model as its processes train it; FSDP changes it in place."""
        if self.kind == "ddp":
            return nn.parallel.DistributedDataParallel(model)
        if self.kind == "fsdp":
            from torch.distributed.fsdp import fully_shard
            for block in model.trf_blocks:
                fully_shard(block)
            fully_shard(model)
        return model


def gather(value: object, processes: Processes) -> list:
    """A small object of each process, in every process."""
    values = [value] * processes.size
    if processes.size > 1:
        dist.all_gather_object(values, value)
    return values


@contextlib.contextmanager
def only_last(forward: nn.Module, last: bool) -> Iterator[None]:
    """Within this, gradients are exchanged only if it is the last batch."""
    if hasattr(forward, "no_sync") and not last:
        with forward.no_sync():
            yield
        return
    if hasattr(forward, "set_requires_gradient_sync"):
        forward.set_requires_gradient_sync(last)
    yield


def full_weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights on the CPU; every process of FSDP must call it."""
    return {name: whole(t) for name, t in model.state_dict().items()}


def under_torchrun() -> bool:
    return "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_first() -> bool:
    """Whether we are the process that speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def start(kind: str, device: torch.device) -> Processes:
    """Join the other processes, if torchrun started us; ValueError."""
    if not under_torchrun():
        if kind != "none":
            raise ValueError(f"--parallel {kind} needs several processes: "
                             "torchrun --nproc-per-node 2 src/train_gpt.py "
                             f"--parallel {kind} ...")
        return Processes()
    size = int(os.environ["WORLD_SIZE"])
    if kind == "none":
        if size > 1:
            raise ValueError(f"torchrun started {size} processes: say how "
                             "they share the work, --parallel ddp or fsdp")
        return Processes()
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Processes(dist.get_rank(), dist.get_world_size(), kind)


def end() -> None:
    """Leave the other processes, if there are any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
