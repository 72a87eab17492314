"""From options to a trainer, and from a trainer to a finished run."""

import argparse
import csv
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import data
import distributed
import gpt_files as files
import gpt_options
import options
import pretraining as pt
import report
import torch
from previous_chapters import GPTModel, load_encoding, pick_device
from schedules import Plan
from trainer import DTYPES, Trainer, recompute_blocks, restore

HISTORY = ("step", "train", "rate", "norm", "graded", "tokens", "seconds",
           "validation")


def pick_source(args: argparse.Namespace) -> data.Source:
    """The data that --data names; ValueError if there are none."""
    common = dict(batch_size=args.batch_size, seed=args.seed,
                  context_length=args.context_length)
    if args.data.endswith(".bin"):
        source = data.token_source(Path(args.data), args.documents, **common)
        check_tokenizer(args, source.task.tokenizer)
        return source
    common |= dict(tokenizer=args.tokenizer, vocab_size=args.vocab_size)
    if args.data == "stories":
        return data.story_source(held_out=args.eval_stories, **common)
    return data.text_source(args.data, **common)


def check_tokenizer(args: argparse.Namespace, found: Any) -> None:
    """ValueError if tokens are not those of the model of --start-from."""
    if args.start_from is None:
        return
    names = (load_encoding(args.tokenizer), found)
    one, two = ([t.decode_single_token_bytes(i) for i in range(t.eot_token)]
                for t in names)
    if one != two:
        raise ValueError(
            f"--data {args.data} holds tokens of another tokenizer than "
            f"--start-from {args.start_from}: write it again with "
            f"prepare_data.py --tokenizer {args.tokenizer}")


def pick_plan(args: argparse.Namespace, per_epoch: int) -> Plan:
    """The schedule; steps from the epochs if only those are given."""
    steps = args.steps
    if steps is None and args.epochs is not None:
        steps = math.ceil(args.epochs * per_epoch / args.accumulate)
    return Plan(steps or 9000, args.rate, args.warmup, args.schedule,
                args.cooldown)


def adopt(args: argparse.Namespace) -> GPTModel | None:
    """The model of --start-from; the options take over its shape."""
    if args.start_from is None:
        return None
    path = (files.STORYTELLER if args.start_from == "storyteller"
            else Path(args.start_from, "model.safetensors"))
    tokens = path.with_name(files.tokenizer_name(path))
    model = files.load_model(path)
    cfg = model.cfg
    files.load_tokenizer(path.parent, cfg["vocab_size"], tokens.name)
    args.tokenizer = str(tokens)
    args.layers, args.heads = cfg["n_layers"], cfg["n_heads"]
    args.width, args.context_length = cfg["emb_dim"], cfg["context_length"]
    args.dropout = cfg["drop_rate"]
    return model


def pick_device_here(args: argparse.Namespace) -> torch.device:
    """The device; of several GPUs the one of our place in this machine."""
    device = pick_device("cpu" if args.force_cpu else args.device)
    if device.type == "cuda" and distributed.under_torchrun():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    return device


def pick_precision(device: torch.device, args: argparse.Namespace) -> str:
    """As pt.pick_precision, with fp16; ValueError where it cannot be."""
    if args.precision == "fp16" and device.type == "mps":
        raise ValueError("--precision fp16 needs cuda or cpu, not mps")
    if args.precision == "fp16" and args.parallel == "fsdp":
        raise ValueError("--precision fp16 cannot be scaled over --parallel "
                         "fsdp: take bf16, or ddp")
    return pt.pick_precision(device, args.precision)


def matmul_peak(device: torch.device, precision: str) -> float:
    """The measured peak of a matrix product here, in FLOP/s."""
    size = 8192 if device.type == "cuda" else 512
    return pt.matmul_speed(device, DTYPES[precision], size)


def compile_all(t: Trainer) -> None:
    """Let torch.compile fuse the model, and the loss with its gradient."""
    t.forward, t.nats = torch.compile(t.forward), torch.compile(t.nats)


def build(args: argparse.Namespace, state: dict | None = None) -> Trainer:
    """All that training needs; a resumed run continues from a state."""
    device = pick_device_here(args)
    processes = distributed.start(args.parallel, device)
    model, source = adopt(args), pick_source(args)
    model = model or gpt_options.new_model(args,
                                           source.task.tokenizer.n_vocab)
    model = model.to(device).train()
    args.precision = pick_precision(device, args)
    plan = pick_plan(args, source.per_epoch)
    args.steps = plan.steps
    if args.checkpointing:
        recompute_blocks(model)
    t = Trainer(model, processes.wrap(model), None, source.task, plan,
                processes, args.precision, args.accumulate, args.clip,
                matmul_peak(device, args.precision))
    t.optimizer = pt.make_optimizer(model, args.weight_decay)
    if args.compile:
        compile_all(t)
    if args.dropout and processes.rank:     # not the same zeros everywhere
        torch.manual_seed(args.seed + 7919 * processes.rank)
    if state is not None:
        restore(t, state)
    source.start_at(t.step * t.accumulate)
    return t


def resumed(resume: str, parse: Callable) -> tuple[Path, dict, Any]:
    """Folder, state and options of the run that --resume names.

    parse: options of a run to its options changed by the command line.
    ValueError if that changes the result of steps already made.
    """
    path, state = checkpoints.find(Path(resume))
    args = parse(state["options"])
    options.check_resumed(state["options"], args)
    if args.steps != state["options"]["steps"]:
        path, state = prolonged(path, state, args.steps)
    folder = path.parents[1]
    if distributed.is_first():
        print(f"going on from {path}, step {state['step']:,}",
              file=sys.stderr)
    return folder, state, args


def prolonged(path: Path, state: dict, steps: int) -> tuple[Path, dict]:
    """A state whose steps were made at the rates of the longer plan too.

    ValueError if there is none.
    """
    old = Plan(**state["plan"])
    if old.shape == "wsd" and steps < old.steps:
        raise ValueError(f"--steps {steps} is less than the {old.steps} of "
                         "the run, which can only be prolonged")
    if old.shape != "wsd":
        raise ValueError(
            f"--steps {steps} instead of {old.steps} would change the rates "
            "of steps already made: the cosine is stretched over all steps. "
            "Only a run with --schedule wsd can be prolonged")
    if state["step"] <= old.stable_end:
        return path, state
    path = path.with_name(checkpoints.STABLE if old.stable_end
                          else checkpoints.step_name(0))
    return path, checkpoints.load(path)


# ---- The end of a run ----------------------------------------------------


def plain_model(t: Trainer) -> GPTModel:
    """The trained model in this process alone; every process calls it."""
    weights = distributed.full_weights(t.model)
    if t.processes.kind != "fsdp":
        return t.model
    model = GPTModel(t.model.cfg)
    model.load_state_dict(weights)
    return model


def read_history(path: Path) -> list[dict]:
    """The rows of metrics.csv as records of pt.train_task."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = {"step", "graded", "tokens"}
    return [{k: (int(row[k]) if k in whole else float(row[k]))
             if row[k] else None for k in HISTORY} for row in rows]


def finish(folder: Path, t: Trainer, args: argparse.Namespace,
           stopped: str = "") -> int:
    """Export, judge and report on a run; the exit code."""
    model = plain_model(t)
    if t.processes.rank:
        return 0
    history = read_history(folder / "metrics.csv")
    code = files.finish(folder, model, t.task, history, t.precision,
                        vars(args), stopped)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    if history:
        report.write_report(folder, metrics)
    return code
