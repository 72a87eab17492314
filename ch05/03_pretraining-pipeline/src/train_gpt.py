"""Pretrain a GPT so that it can be stopped, resumed and trusted.

python src/train_gpt.py                     # stories, 9000 steps
python src/train_gpt.py --epochs 5
python src/train_gpt.py --data tokens/train.npy --context-length 1024
python src/train_gpt.py --resume runs/storyteller-001
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

import previous_chapters as pc
import torch
from pipeline import build, checkpoints, distributed, loggers, options, trainer
from pipeline.checkpoints import CheckpointWriter
from pipeline.trainer import Trainer
from safetensors import SafetensorError
from scratch_llm.cli import run_script, say
from scratch_llm.runs import new_folder, sample_line
from torch._dynamo.exc import TorchDynamoException
from tqdm import tqdm

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stop_gently(t: Trainer) -> None:
    """Ctrl-C ends training after its step; a second one at once."""

    def handle(number: int, frame: object) -> None:
        if t.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        t.asked = True

    for name in SIGNALS:
        signal.signal(name, handle)


def prepare(argv: list[str] | None) -> tuple:
    """Options, folder, trainer and state of a new or a resumed run."""
    parser = options.parser()
    args, state, folder = parser.parse_args(argv), None, None
    if args.resume is not None:
        now = {"out": None, "processes": args.processes}

        def parse(stored: dict) -> argparse.Namespace:
            parser.set_defaults(**stored | now)
            return parser.parse_args(argv)

        folder, state, args = build.resumed(args.resume, parse)
    loggers.check_names(args.log.split(","))
    t = build.build(args, state)
    if folder is None and t.processes.rank == 0:
        folder = new_folder(args.out, t.task.name)
    return args, folder or Path(), t, state


def opening_line(t: Trainer) -> str:
    """What is about to be trained, on what, in one line."""
    floor = f", entropy floor {t.task.floor:.4f}" if t.task.floor else ""
    return (
        f"{t.task.name}: {pc.count_parameters(t.model):,} parameters on "
        f"{t.device} in {t.precision} ({torch.get_num_threads()} threads), "
        f"vocabulary {t.task.tokenizer.n_vocab:,}{floor}"
    )


def open_run(
    folder: Path, t: Trainer, args: argparse.Namespace, state: dict | None
) -> tuple:
    """Loggers and checkpoints; what a new run writes before step 1."""
    log, writer = (
        None,
        CheckpointWriter(
            folder / "checkpoints",
            t,
            vars(args),
            args.checkpoint_every,
            args.keep,
        ),
    )
    if t.processes.rank == 0:
        config = vars(args) | {"floor": t.task.floor}
        log = writer.log = loggers.open_loggers(
            folder,
            args.log.split(","),
            config,
            None if state is None else t.step,
        )
        writer.folder.mkdir(exist_ok=True)
        checkpoints.clear_future(writer.folder, t.step)
        pc.save_tokenizer(folder / "tokenizer.tiktoken", t.task.tokenizer)
        say(opening_line(t))
    if state is None:
        writer.write(checkpoints.step_name(0))
    return log, writer


def sample(t: Trainer) -> str:
    """What the model writes now; every process calls it, the first writes."""
    model = build.plain_model(t)
    if t.processes.rank:
        return ""
    room = model.cfg["context_length"] - 1
    text, *_ = pc.sample_texts(
        model, t.task.tokenizer, 1, t.step, max_new_tokens=room
    )
    return sample_line(text, t.task.parse).strip()


def train(t: Trainer, every: int, log: Any, writer: CheckpointWriter) -> None:
    """Train to the end, log each step, and keep checkpoints."""
    with tqdm(
        total=t.schedule.steps,
        initial=t.step,
        unit="step",
        dynamic_ncols=True,
        disable=log is None,
    ) as bar:
        for r in trainer.train(t, every):
            if log is not None:
                log.record(r)
                bar.set_postfix_str(f"loss {r['train']:.3f}", refresh=False)
                bar.update()
            writer.after(r)
            if r["validation"] is not None:
                text = sample(t)
                if log is not None:
                    log.text(t.step, "sample", text)


def run(
    folder: Path, t: Trainer, args: argparse.Namespace, state: dict | None
) -> int:
    """Train and finish; the exit code."""
    stopped = ""
    log, writer = open_run(folder, t, args, state)
    stop_gently(t)
    try:
        train(t, args.eval_every, log, writer)
        stopped = "interrupted" if t.step < t.schedule.steps else ""
    except (KeyboardInterrupt, FloatingPointError) as error:
        stopped = str(error) or "interrupted"
    finally:
        if log is not None:
            log.close()
    for name in SIGNALS:
        signal.signal(name, signal.default_int_handler)
    return build.finish(folder, t, args, stopped)


def complain(what: object) -> None:
    """One line on stderr, of one process."""
    if distributed.is_first():
        print(f"train_gpt.py: error: {what}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    code = 2  # nothing written yet
    try:
        args, folder, t, state = prepare(argv)
        code = 1
        return run(folder, t, args, state)
    except torch.OutOfMemoryError as error:
        complain(
            f"{str(error).splitlines()[0]} Try --batch-size smaller and "
            "--accumulate larger by the same factor, or --checkpointing"
        )
        return 1
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:200]
        complain(f"torch.compile failed, so leave --compile away ({reason})")
        return 1
    except (ValueError, OSError, SafetensorError) as error:
        complain(error)
        return code
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    finally:
        distributed.end()


if __name__ == "__main__":
    raise SystemExit(run_script(main))
