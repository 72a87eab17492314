"""Where a run's numbers go: console, metrics.csv, TensorBoard, W&B.

    with open_loggers(folder, ["csv", "tensorboard"], config) as log:
        log.record(r)                            # once a step
        log.text(step, "samples", "One day ...")
        log.checkpoint(step, folder / "last.pt")

Console and CSV are always there; the other two are optional packages. What
breaks in the middle of a run is dropped with one warning: training goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm import tqdm

COLUMNS = ("step", "tokens", "seconds", "train", "validation", "rate",
           "norm", "graded", "tokens_per_second", "mfu", "bits_per_byte",
           "perplexity")
HEADER = ",".join(COLUMNS) + "\n"
CURVES = {  # what TensorBoard and W&B call a column
    "train": "loss/train", "validation": "loss/validation",
    "perplexity": "loss/perplexity", "bits_per_byte": "loss/bits_per_byte",
    "rate": "optimizer/rate", "norm": "optimizer/gradient_norm",
    "tokens_per_second": "speed/tokens_per_second", "mfu": "speed/mfu",
    "tokens": "progress/tokens", "seconds": "progress/seconds",
    "graded": "progress/graded", "step": "progress/step",
}
BACK_ENDS = ("console", "csv", "tensorboard", "wandb")
REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements-logging.txt"
PROJECT = "scratch-llm"
FLUSH_SECONDS = 20
QUIET = {  # W&B: say nothing, look at nothing but the run, wait 5 min at most
    "console": "off", "silent": True, "disable_git": True, "save_code": False,
    "x_disable_stats": True, "x_disable_machine_info": True,
    "x_save_requirements": False, "finish_timeout": 300.0,
}


# ---- Always there: the console and a CSV file ----------------------------


def console_line(r: dict, config: dict) -> str:
    """An evaluated step in one line; what is not known is left out."""
    steps, floor = config.get("steps"), config.get("floor")
    done = f"{r['step']:,}" + (f"/{steps:,}" if steps else "")
    parts = [f"train {r['train']:.3f}", f"validation {r['validation']:.3f}"]
    if floor:
        parts.append(f"{r['validation'] / floor:.3f} x floor")
    for key, form in (("perplexity", "perplexity {:.2f}"),
                      ("bits_per_byte", "{:.3f} bits/byte"),
                      ("rate", "rate {:.1e}"), ("norm", "norm {:.2f}"),
                      ("tokens_per_second", "{:,.0f} tokens/s"),
                      ("mfu", "{:.1%} of peak")):
        if r.get(key) is not None:
            parts.append(form.format(r[key]))
    return (f"step {done}, {r['tokens'] / 1e6:.2f}M tokens: "
            + ", ".join(parts))


def say(line: str) -> None:
    """Print a line above the progress bar, in what the console can show."""
    code = sys.stdout.encoding or "utf-8"
    tqdm.write(line.encode(code, "replace").decode(code))


class Console:
    """One short line per evaluation, sample and checkpoint."""

    def __init__(self, config: dict):
        self.config = config

    def record(self, r: dict) -> None:
        if r["validation"] is not None:
            say(console_line(r, self.config))

    def text(self, step: int, name: str, text: str) -> None:
        say(f"  {name}: {' '.join(text.split())[:160]}")

    def checkpoint(self, step: int, path: Path) -> None:
        say(f"  checkpoint: {Path(path).name}")

    def close(self) -> None:
        pass


def short(value: float | int | None) -> str:
    """A number for the CSV file: 9 digits give every float32 back."""
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def is_kept(line: bytes, step: int) -> bool:
    """Whether a line is a whole row of a step up to this one."""
    first = line.split(b",", 1)[0]
    return (line.endswith(b"\n") and line.count(b",") == len(COLUMNS) - 1
            and first.isdigit() and int(first) <= step)


def cut_rows(path: Path, step: int) -> None:
    """Drop the rows after a step, and the half row that a crash left.

    ValueError, and nothing changed, if the file is not a metrics.csv.
    """
    path.touch()
    with open(path, "r+b") as file:
        head = file.readline()
        if head not in (b"", HEADER.encode()):
            raise ValueError(f"{path} has other columns than this pipeline "
                             "writes: move it out of the run folder")
        keep = len(head)
        for line in file:
            if not is_kept(line, step):
                break
            keep += len(line)
        file.truncate(keep)
        if not head:
            file.write(HEADER.encode())


class Csv:
    """metrics.csv: one row a step, in the system's hands as soon as written.

    So a killed process loses no row. A resumed run first cuts off the rows
    after its checkpoint; then the file is as if never interrupted.
    """

    def __init__(self, path: Path, resumed_at: int | None):
        if resumed_at is None:
            path.write_bytes(HEADER.encode())
        else:
            cut_rows(path, resumed_at)
        self.file = open(path, "a", buffering=1, encoding="utf-8",
                         newline="")

    def record(self, r: dict) -> None:
        row = ",".join([short(r.get(name)) for name in COLUMNS])
        self.file.write(row + "\n")

    def text(self, step: int, name: str, text: str) -> None:
        pass

    def checkpoint(self, step: int, path: Path) -> None:
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


# ---- Optional: TensorBoard and Weights & Biases --------------------------


def curves(r: dict) -> dict[str, float]:
    """The known numbers of a step under the names that are shown."""
    return {name: float(r[key]) for key, name in CURVES.items()
            if r.get(key) is not None}


def config_block(config: dict) -> str:
    """A configuration as a code block of Markdown."""
    return f"```\n{json.dumps(config, indent=1, default=str)}\n```"


class TensorBoard:
    """An event file in FOLDER/tensorboard, one event a step.

    Steps after `resumed_at` in older event files are hidden from view.
    """

    def __init__(self, folder: Path, config: dict, resumed_at: int | None):
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import SummaryWriter
        quiet_threads()
        self.summary, self.flushed = Summary, time.monotonic()
        self.writer = SummaryWriter(
            folder / "tensorboard", flush_secs=10**9,   # we flush: see below
            purge_step=None if resumed_at is None else resumed_at + 1)
        if resumed_at is None:
            self.writer.add_text("config", config_block(config), 0)

    def record(self, r: dict) -> None:
        values = [self.summary.Value(tag=tag, simple_value=value)
                  for tag, value in curves(r).items()]
        self.writer.file_writer.add_summary(self.summary(value=values),
                                            r["step"])
        late = time.monotonic() - self.flushed > FLUSH_SECONDS
        if late or r["validation"] is not None:
            self.flush()

    def flush(self) -> None:
        """Here, not in the writer's thread, where an error is lost."""
        self.writer.flush()
        self.flushed = time.monotonic()

    def text(self, step: int, name: str, text: str) -> None:
        self.writer.add_text(name, text.replace("\n", "  \n"), step)

    def checkpoint(self, step: int, path: Path) -> None:
        self.writer.add_text("checkpoint", Path(path).name, step)
        self.flush()

    def close(self) -> None:
        self.writer.close()


def last_run_id(folder: Path) -> str | None:
    """The id of the W&B run in a folder, so that a resumed run keeps it."""
    runs = sorted(folder.glob("wandb/*run-*-*"))    # [offline-]run-TIME-ID
    return runs[-1].name.split("run-", 1)[1].split("-", 1)[1] if runs else None


@contextlib.contextmanager
def no_terminal() -> Any:
    """Within this, nothing can ask the user for anything."""
    before, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = before


def start_wandb(folder: Path, config: dict, resumed: bool, run_id: str
                ) -> Any:
    """A W&B run whose files all lie in this folder; ValueError if it fails.

    Offline unless WANDB_MODE says otherwise.
    """
    import wandb
    mode = os.environ.get("WANDB_MODE") or "offline"
    os.environ.setdefault("WANDB_CACHE_DIR", str(folder))
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
    plain = json.loads(json.dumps(config, default=str))
    try:
        with no_terminal():
            return wandb.init(
                project=PROJECT, dir=folder, name=folder.name, id=run_id,
                mode=mode, config=plain, reinit="create_new",
                resume="allow" if resumed and mode == "online" else None,
                settings=wandb.Settings(**QUIET))
    except Exception as error:
        raise ValueError(f"W&B does not start with WANDB_MODE={mode}: "
                         f"{one_line(error)}") from None


class Wandb:
    """A Weights & Biases run under FOLDER/wandb.

    The x-axis is `progress/step`, since a resumed run repeats some steps.
    """

    def __init__(self, folder: Path, config: dict, resumed_at: int | None,
                 run_id: str):
        import wandb
        self.wandb = wandb
        self.run = start_wandb(folder.resolve(), config,
                               resumed_at is not None, run_id)
        self.run.define_metric("progress/step")
        self.run.define_metric("*", step_metric="progress/step")

    def record(self, r: dict) -> None:
        self.run.log(curves(r))

    def text(self, step: int, name: str, text: str) -> None:
        table = self.wandb.Table(columns=["step", "text"], 
                                 data=[[step, text]])
        self.run.log({"progress/step": float(step), name: table})

    def checkpoint(self, step: int, path: Path) -> None:
        self.run.summary.update({"checkpoint": Path(path).name,
                                 "checkpoint_step": step})

    def close(self) -> None:
        self.run.finish()

    def abandon(self) -> None:
        self.wandb.teardown()     # or it tries again when Python ends


# ---- All of them ---------------------------------------------------------


def one_line(error: BaseException) -> str:
    """An exception in one line, with its kind if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def give_up(name: str, sink: Any, error: Exception) -> None:
    """Close a back end that failed as well as it can be, and say so."""
    with contextlib.suppress(Exception):
        getattr(sink, "abandon", sink.close)()
    tqdm.write(f"warning: logging to {name} failed, the run goes on without "
               f"it: {one_line(error)}", file=sys.stderr)


class Loggers:
    """Tells every back end; one that fails is dropped with one warning.

    `run_id` is the W&B run's (None without W&B): hand it to open_loggers
    when the run is resumed.
    """

    def __init__(self, sinks: dict[str, Any], run_id: str | None):
        self.sinks, self.run_id = sinks, run_id

    def record(self, r: dict) -> None:
        """A step: a dict with the keys of COLUMNS, None where not known."""
        self._tell("record", r)

    def text(self, step: int, name: str, text: str) -> None:
        """A sample, or several, under a name."""
        self._tell("text", step, name, text)

    def checkpoint(self, step: int, path: Path) -> None:
        """Note that a checkpoint was written."""
        self._tell("checkpoint", step, path)

    def close(self) -> None:
        """Write out what is left; a second call does nothing."""
        self._tell("close")
        self.sinks = {}

    def _tell(self, method: str, *what: Any) -> None:
        for name, sink in list(self.sinks.items()):
            try:
                getattr(sink, method)(*what)
            except Exception as error:
                del self.sinks[name]
                give_up(name, sink, error)

    def __enter__(self) -> Loggers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def quiet_threads() -> None:
    """TensorBoard's thread hands its error over to us; not printed too."""
    before = threading.excepthook

    def hook(what: threading.ExceptHookArgs) -> None:
        if type(what.thread).__name__ != "_AsyncWriterThread":
            before(what)
    threading.excepthook = hook


def check_names(names: list[str]) -> None:
    """Import what these back ends need; call it before a folder is made.

    ValueError names an unknown back end, or says how to get a package.
    """
    if unknown := sorted(set(names) - set(BACK_ENDS)):
        raise ValueError(f"--log {','.join(unknown)}: choose from "
                         f"{', '.join(BACK_ENDS)}")
    # TensorBoard imports all of TensorFlow if it is there, only to write
    # files; this name tells it not to.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    modules = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb.sdk"}
    for name in modules.keys() & set(names):
        try:
            importlib.import_module(modules[name])
        except Exception as error:
            raise ValueError(
                f"--log {name} needs packages that are not here "
                f"({one_line(error)}): pip install -r {REQUIREMENTS}"
            ) from None


def open_loggers(folder: Path, names: list[str], config: dict,
                 resumed_at: int | None = None, run_id: str | None = None
                 ) -> Loggers:
    """All back ends of a run; console and csv need not be named.

    config is logged; its `steps` and `floor` (nats per token), if there,
    appear on the console. resumed_at: the step a resumed run goes on from.
    ValueError if a name is unknown, a package missing, a file foreign.
    """
    folder = Path(folder)
    check_names(names)
    run_id = run_id or last_run_id(folder) or uuid.uuid4().hex[:8]
    sinks: dict[str, Any] = {}
    if "wandb" in names:
        sinks["wandb"] = Wandb(folder, config, resumed_at, run_id)
    if "tensorboard" in names:
        sinks["tensorboard"] = TensorBoard(folder, config, resumed_at)
    sinks["csv"] = Csv(folder / "metrics.csv", resumed_at)
    sinks["console"] = Console(config)
    return Loggers(sinks, run_id if "wandb" in names else None)
