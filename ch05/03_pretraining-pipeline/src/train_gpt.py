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
TRY = (
    "Try --batch-size smaller and --accumulate larger by the same factor, or "
    "--checkpointing"
)


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
    args, state, folder = options.parse(argv), None, None
    if args.resume is not None:
        folder, state, args = build.resumed(argv, args.resume)
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
) -> CheckpointWriter:
    """Loggers and checkpoints; what a new run writes before step 1."""
    at = None if state is None else t.step
    writer = CheckpointWriter(
        folder / "checkpoints", t, vars(args), args.checkpoint_every, args.keep
    )
    if t.processes.rank == 0:
        config, names = vars(args) | {"floor": t.task.floor}, args.log
        writer.log = loggers.open_loggers(folder, names.split(","), config, at)
        writer.folder.mkdir(exist_ok=True)
        checkpoints.clear_future(writer.folder, t.step)
        pc.save_tokenizer(folder / "tokenizer.tiktoken", t.task.tokenizer)
        say(opening_line(t))
    if state is None:
        writer.write(checkpoints.step_name(0))
    return writer


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


def train(t: Trainer, every: int, writer: CheckpointWriter) -> None:
    """Train to the end, log each step, and keep checkpoints."""
    log, steps = writer.log, t.schedule.steps
    bar = tqdm(total=steps, initial=t.step, unit="step", disable=log is None)
    with bar:
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
    writer = open_run(folder, t, args, state)
    stop_gently(t)
    try:
        train(t, args.eval_every, writer)
        stopped = "interrupted" if t.step < t.schedule.steps else ""
    except (KeyboardInterrupt, FloatingPointError) as error:
        stopped = str(error) or "interrupted"
    finally:
        if writer.log is not None:
            writer.log.close()
    for name in SIGNALS:
        signal.signal(name, signal.default_int_handler)
    return build.finish(folder, t, args, stopped)


def main(argv: list[str] | None = None) -> int:
    code = 2  # nothing written yet
    try:
        args, folder, t, state = prepare(argv)
        code = 1
        return run(folder, t, args, state)
    except torch.OutOfMemoryError as error:
        code, said = 1, f"{str(error)[:120]} {TRY}"
    except TorchDynamoException as error:
        code, said = 1, f"leave --compile away: {str(error)[:200]}"
    except (ValueError, OSError, SafetensorError) as error:
        said = str(error)
    except KeyboardInterrupt:
        code, said = 130, "stopped"
    finally:
        distributed.end()
    if distributed.is_first():
        print(
            f"train_gpt.py: error: {' '.join(said.split())}", file=sys.stderr
        )
    return code


if __name__ == "__main__":
    raise SystemExit(run_script(main))
