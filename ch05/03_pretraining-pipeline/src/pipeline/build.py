"""From options to a trainer, and from a trainer to a finished run."""

import argparse
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import previous_chapters as pc
import torch
import torch.distributed as dist
from scratch_llm.runs import find_model
from torch import nn

from pipeline import checkpoints, data, distributed, options, report
from pipeline.schedules import ShapedSchedule
from pipeline.trainer import DTYPES, Trainer, recompute_blocks

SHAPE = {  # options, and their keys in a model's config
    "layers": "n_layers",
    "heads": "n_heads",
    "width": "emb_dim",
    "context_length": "context_length",
    "dropout": "drop_rate",
}


def pick_schedule(args: argparse.Namespace, per_epoch: int) -> ShapedSchedule:
    """The schedule; steps from the epochs if only those are given."""
    steps = args.steps
    if steps is None and args.epochs is not None:
        steps = math.ceil(args.epochs * per_epoch / args.accumulate)
    return ShapedSchedule(
        steps or 9000, args.lr, args.warmup, args.schedule, args.cooldown
    )


def new_model(args: argparse.Namespace, vocab_size: int) -> nn.Module:
    """The chapter's model, of the shape that the options say."""
    shape = {option: getattr(args, option) for option in SHAPE}
    return pc.new_model(vocab_size, **shape, init=args.init, seed=args.seed)


def adopt(args: argparse.Namespace) -> nn.Module:
    """The model of --init-from; the options take over its shape."""
    path, vocabulary = find_model(args.init_from)
    model = pc.load_model(path)
    pc.load_tokenizer(vocabulary, model.cfg["vocab_size"])
    args.tokenizer = str(vocabulary)
    for option, key in SHAPE.items():
        setattr(args, option, model.cfg[key])
    return model


def check_tokenizer(args: argparse.Namespace) -> None:
    """ValueError if tokens are not those of the model of --init-from."""
    beside = Path(args.data).with_name("tokenizer.tiktoken")
    if beside.read_bytes() != Path(args.tokenizer).read_bytes():
        raise ValueError(
            f"--data {args.data} holds tokens of another tokenizer than "
            f"--init-from {args.init_from}: write it again with "
            f"prepare_data.py --tokenizer {args.tokenizer}"
        )


def pick_device(args: argparse.Namespace) -> torch.device:
    """The device; of several GPUs the one of our place in this machine."""
    device = pc.pick_device("cpu" if args.force_cpu else args.device)
    if device.type == "cuda" and dist.is_torchelastic_launched():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def pick_precision(device: torch.device, args: argparse.Namespace) -> str:
    """As pc.pick_precision; ValueError where fp16 cannot be scaled."""
    if args.precision == "fp16" and args.parallel == "fsdp":
        raise ValueError(
            "--precision fp16 cannot be scaled over --parallel fsdp: take "
            "bf16, or ddp"
        )
    return pc.pick_precision(device, args.precision)


def matmul_peak(device: torch.device, precision: str) -> float:
    """The measured peak of a matrix product here, in FLOP/s."""
    size = 8192 if device.type == "cuda" else 512
    return pc.matmul_speed(device, DTYPES[precision], size)


def build(
    args: argparse.Namespace,
    state: dict | None = None,
    new_model: Callable[[argparse.Namespace, int], nn.Module] = new_model,
) -> Trainer:
    """All that training needs; a resumed run continues from a state.

    new_model: from options and a size of the vocabulary to a fresh model,
    of any architecture that keeps the methods of the chapter's.
    """
    device = pick_device(args)
    processes = distributed.start(args.parallel, device)
    model = adopt(args) if args.init_from else None
    at = 0 if state is None else state["step"]
    task = data.open_data(args, at * args.accumulate)
    if args.init_from and args.data.endswith(".npy"):
        check_tokenizer(args)
    if model is None:
        model = new_model(args, task.tokenizer.n_vocab)
    model = model.to(device).train()
    args.precision = pick_precision(device, args)
    schedule = pick_schedule(args, task.epoch)
    args.steps = schedule.steps
    if args.checkpointing:
        recompute_blocks(model)
    t = Trainer(
        model,
        processes.wrap(model),
        task,
        schedule,
        args.weight_decay,
        processes,
        args.precision,
        args.accumulate,
        args.clip,
        matmul_peak(device, args.precision),
    )
    if args.compile:
        t.compile()
    if args.dropout and processes.rank:  # not the same zeros everywhere
        torch.manual_seed(args.seed + 7919 * processes.rank)
    if state is not None:
        checkpoints.restore(t, state)
    return t


def resumed(
    argv: list[str] | None, resume: str
) -> tuple[Path, dict, argparse.Namespace]:
    """Folder, state and options of the run that --resume names.

    ValueError if argv changes the result of steps already made.
    """
    path, state = checkpoints.find(resume)
    stored = state["options"]
    args = options.parse(argv, stored)
    options.check_resumed(stored, args)
    if args.steps != stored["steps"]:
        path, state = prolonged(path, state, args.steps)
    if distributed.is_first():
        print(f"going on from {path}, step {state['step']:,}", file=sys.stderr)
    return path.parents[1], state, args


def prolonged(path: Path, state: dict, steps: int) -> tuple[Path, dict]:
    """A state whose steps were made at the rates of more steps too.

    ValueError if there is none.
    """
    old = ShapedSchedule(**state["schedule"])
    if old.shape != "wsd" or steps < old.steps:
        raise ValueError(
            f"--steps {steps} instead of {old.steps} would change the rates "
            "of steps already made: only a run with --schedule wsd is free "
            "of its end, and it can only be prolonged"
        )
    if state["step"] <= old.stable_end:
        return path, state
    name = checkpoints.STABLE if old.stable_end else checkpoints.step_name(0)
    path = path.with_name(name)
    return path, checkpoints.load(path)


# ---- The end of a run ----------------------------------------------------


def plain_model(t: Trainer) -> nn.Module:
    """The trained model in the first process alone; every one must call."""
    if t.processes.kind != "fsdp":
        return t.model
    weights = distributed.full_weights(t.model)
    # FSDP puts a class of its own before the model's
    architecture = type(t.model).__mro__[2]
    model = architecture(t.model.cfg)
    if t.processes.rank == 0:
        model.load_state_dict(weights)
    return model


def finish(
    folder: Path, t: Trainer, args: argparse.Namespace, stopped: str = ""
) -> int:
    """Export, judge and report on a run; the exit code.

    Of a text, and of a run that broke down, the best weights are kept.
    """
    model, best = plain_model(t), folder / "checkpoints" / "best.pt"
    if t.processes.rank:
        return 0
    broken = stopped not in ("", "interrupted")
    if (t.task.floor is None or broken) and best.is_file():
        model.load_state_dict(checkpoints.load(best)["model"])
        pc.save_model(folder / "model.safetensors", model, t.task.prefix)
    history = report.read_log(folder / "metrics.csv")
    code = pc.finish_run(
        folder, model, t.task, history, t.precision, vars(args), stopped
    )
    if history:
        report.write_report(folder)
    return code
