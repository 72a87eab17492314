"""Pretrain a GPT so that it can be stopped, resumed and trusted.

    python src/train_gpt.py                     # stories, 9000 steps
    python src/train_gpt.py --epochs 5
    python src/train_gpt.py --data tokens/train.bin --context-length 1024
    python src/train_gpt.py --resume runs/storyteller-001
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch._dynamo.exc import TorchDynamoException
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE), str(ROOT / "ch05" / "01_main-chapter-code"),
                str(ROOT / "shared")]
import build  # noqa: E402
import checkpoints  # noqa: E402
import distributed  # noqa: E402
import gpt_files as files  # noqa: E402
import gpt_options  # noqa: E402
import loggers  # noqa: E402
import options  # noqa: E402
import trainer  # noqa: E402
from trainer import Keeper, Trainer  # noqa: E402


def stop_gently(t: Trainer) -> None:
    """Ctrl-C ends training after its step; a second one at once."""
    def handle(number: int, frame: object) -> None:
        if t.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        t.asked = True
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, handle)


def prepare(argv: list[str] | None) -> tuple:
    """Options, folder, trainer and state of a new or a resumed run."""
    parser = options.parser()
    args, state, folder = parser.parse_args(argv), None, None
    if args.resume is not None:
        def parse(stored: dict) -> argparse.Namespace:
            now = {"out": None, "processes": args.processes}
            parser.set_defaults(**stored | now)
            return parser.parse_args(argv)
        folder, state, args = build.resumed(args.resume, parse)
    loggers.check_names(args.log.split(","))
    t = build.build(args, state)
    if folder is None and t.processes.rank == 0:
        folder = files.new_folder(args.out, t.task.name)
    return args, folder or Path(), t, state


def open_run(folder: Path, t: Trainer, args: argparse.Namespace,
             state: dict | None) -> tuple:
    """Loggers and checkpoints; what a new run writes before step 1."""
    log, keeper = None, Keeper(folder / "checkpoints", t, vars(args),
                               args.checkpoint_every, args.keep)
    if t.processes.rank == 0:
        config = vars(args) | {"steps": t.plan.steps, "floor": t.task.floor}
        log = keeper.log = loggers.open_loggers(
            folder, args.log.split(","), config,
            None if state is None else t.step)
        keeper.folder.mkdir(exist_ok=True)
        checkpoints.clear_future(keeper.folder, t.step)
        files.save_tokenizer(folder / "tokenizer.tiktoken", t.task.tokenizer)
        files.say(files.opening_line(t.model, t.task, t.precision))
    if state is None:
        keeper.write(checkpoints.step_name(0))
    return log, keeper


def train(t: Trainer, args: argparse.Namespace, log: Any, keeper: Keeper
          ) -> None:
    """Train to the end, log each step, and keep checkpoints."""
    first = t.processes.rank == 0
    with tqdm(total=t.plan.steps, initial=t.step, unit="step",
              dynamic_ncols=True, disable=not first) as bar:
        for r in trainer.train(t, args.eval_every):
            if first:
                log.record(r)
                bar.set_postfix_str(f"loss {r['train']:.3f}", refresh=False)
                bar.update()
            keeper.after(r)
            if r["validation"] is not None:
                model = build.plain_model(t)       # every process calls it
                if first:
                    log.text(t.step, "sample", files.sample_line(
                        model, t.task, t.step).strip())


def run(folder: Path, t: Trainer, args: argparse.Namespace,
        state: dict | None) -> int:
    """Train and finish; the exit code."""
    stopped = ""
    log, keeper = open_run(folder, t, args, state)
    stop_gently(t)
    try:
        train(t, args, log, keeper)
        stopped = "interrupted" if t.step < t.plan.steps else ""
    except (KeyboardInterrupt, FloatingPointError) as error:
        stopped = str(error) or "interrupted"
    finally:
        if log is not None:
            log.close()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    return build.finish(folder, t, args, stopped)


def complain(what: object) -> None:
    """One line on stderr, of one process."""
    if distributed.is_first():
        print(f"train_gpt.py: error: {what}", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    code = 2                                       # nothing written yet
    try:
        args, folder, t, state = prepare(argv)
        code = 1
        return run(folder, t, args, state)
    except torch.OutOfMemoryError as error:
        complain(f"{str(error).splitlines()[0]} Try --batch-size smaller and "
                 "--accumulate larger by the same factor, or --checkpointing")
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
    raise SystemExit(gpt_options.run_script(main))
