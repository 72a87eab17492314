"""Where a run's numbers go: console, metrics.csv, TensorBoard, W&B.

    log = open_loggers(folder, ["csv", "tensorboard"], config)
    log.record(r)                            # once a step
    log.text(step, "samples", "One day ...")
    log.checkpoint(step, folder / "last.pt")
    log.close()

Console and CSV are always there; the other two are optional packages. What
breaks in the middle of a run is dropped with one warning: training goes on.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

from scratch_llm.cli import say
from scratch_llm.files import atomic
from scratch_llm.runs import status_line
from tqdm import tqdm

CURVES = {  # the columns, and what TensorBoard and W&B call them
    "step": "progress/step",
    "tokens": "progress/tokens",
    "seconds": "progress/seconds",
    "train": "loss/train",
    "validation": "loss/validation",
    "lr": "optimizer/lr",
    "grad_norm": "optimizer/grad_norm",
    "n_targets": "progress/n_targets",
    "tokens_per_second": "speed/tokens_per_second",
    "mfu": "speed/mfu",
    "bits_per_byte": "loss/bits_per_byte",
    "perplexity": "loss/perplexity",
}
HEADER = (",".join(CURVES) + "\n").encode()
DETAILS = {  # what the console says of an evaluated step, where it is known
    "grad_norm": "gradient {:.2f}",
    "perplexity": "perplexity {:.2f}",
    "bits_per_byte": "{:.3f} bits/byte",
    "tokens_per_second": "{:,.0f} tokens/s",
    "mfu": "{:.1%} of peak",
}
BACK_ENDS = {  # and what they need
    "console": "tqdm",
    "csv": "csv",
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb.sdk",
}
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements-logging.txt"
PROJECT = "scratch-llm"
QUIET = {  # W&B: say nothing, look at nothing but the run, wait 5 min at most
    "console": "off",
    "silent": True,
    "disable_git": True,
    "save_code": False,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
    "finish_timeout": 300.0,
}


class Sink:
    """One place that is told of steps, texts and checkpoints."""

    def record(self, r: dict) -> None: ...
    def text(self, step: int, name: str, text: str) -> None: ...
    def checkpoint(self, step: int, path: Path) -> None: ...
    def close(self) -> None: ...


# ---- Always there: the console and a CSV file ----------------------------


class Console(Sink):
    """One short line per evaluation, sample and checkpoint."""

    def __init__(self, config: dict):
        self.steps, self.floor = config["steps"], config["floor"]

    def record(self, r: dict) -> None:
        if r["validation"] is not None:
            details = [
                form.format(r[key])
                for key, form in DETAILS.items()
                if r[key] is not None
            ]
            line = status_line(r, self.steps, self.floor)
            say(", ".join([line, *details]))

    def text(self, step: int, name: str, text: str) -> None:
        say(f"  {name}: {' '.join(text.split())[:160]}")

    def checkpoint(self, step: int, path: Path) -> None:
        say(f"  checkpoint: {path.name}")


def rows_until(path: Path, step: int) -> list[bytes]:
    """The whole rows of metrics.csv up to a step; ValueError if foreign."""
    header, *rows = path.read_bytes().splitlines(keepends=True)
    if header != HEADER:
        raise ValueError(
            f"{path} has other columns than this version of the pipeline "
            "writes: move it out of the run folder"
        )
    commas = HEADER.count(b",")
    whole = [r for r in rows if r.endswith(b"\n") and r.count(b",") == commas]
    return [row for row in whole if int(row.split(b",")[0]) <= step]


class Csv(Sink):
    """metrics.csv: one row a step, in the system's hands as soon as written.

    So a killed process loses no row. A resumed run first cuts off the rows
    after its checkpoint; then the file is as if never interrupted.
    """

    def __init__(self, path: Path, start: int | None):
        rows = [] if start is None else rows_until(path, start)
        with atomic(path) as temporary:
            temporary.write_bytes(b"".join([HEADER, *rows]))
        self.file = open(path, "a", buffering=1, encoding="utf-8", newline="")

    def record(self, r: dict) -> None:
        values = ("" if r[name] is None else r[name] for name in CURVES)
        cells = (f"{v:.9g}" if type(v) is float else f"{v}" for v in values)
        self.file.write(",".join(cells) + "\n")  # 9 digits: all of a float32

    def checkpoint(self, step: int, path: Path) -> None:
        os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()


# ---- Optional: TensorBoard and Weights & Biases --------------------------


def curves(r: dict) -> dict[str, float]:
    """The known numbers of a step under the names that are shown."""
    return {
        name: float(r[key])
        for key, name in CURVES.items()
        if r[key] is not None
    }


class TensorBoard(Sink):
    """An event file in FOLDER/tensorboard, one event a step.

    Steps after `start` in older event files are hidden from view.
    """

    def __init__(self, folder: Path, config: dict, start: int | None):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(
            folder / "tensorboard",
            flush_secs=20,
            purge_step=None if start is None else start + 1,
        )
        if start is None:
            block = json.dumps(config, indent=1, default=str)
            self.writer.add_text("config", f"```\n{block}\n```", 0)

    def record(self, r: dict) -> None:
        for tag, value in curves(r).items():
            self.writer.add_scalar(tag, value, r["step"])

    def text(self, step: int, name: str, text: str) -> None:
        self.writer.add_text(name, text.replace("\n", "  \n"), step)

    def checkpoint(self, step: int, path: Path) -> None:
        self.writer.add_text("checkpoint", path.name, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


def run_id_of(folder: Path) -> str:
    """The id of the W&B run in a folder, so that a resumed run keeps it."""
    runs = sorted(folder.glob("wandb/*run-*-*"))  # [offline-]run-TIME-ID[-2]
    if not runs:
        return uuid.uuid4().hex[:8]
    return runs[-1].name.split("run-", 1)[1].split("-")[1]


class Wandb(Sink):
    """A Weights & Biases run under FOLDER/wandb, of which all files lie there.

    Offline unless WANDB_MODE says otherwise; ValueError if it fails. The
    x-axis is `progress/step`, since a resumed run repeats some steps.
    """

    def __init__(self, folder: Path, config: dict, start: int | None):
        import wandb

        folder = folder.resolve()
        mode = os.environ.get("WANDB_MODE") or "offline"
        os.environ.setdefault("WANDB_CACHE_DIR", str(folder))
        os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
        again = start is not None and mode == "online"
        self.wandb = wandb
        try:
            self.run = wandb.init(
                project=PROJECT,
                dir=folder,
                name=folder.name,
                id=run_id_of(folder),
                mode=mode,
                config=json.loads(json.dumps(config, default=str)),
                reinit="create_new",
                resume="allow" if again else None,
                settings=wandb.Settings(**QUIET),
            )
        except Exception as error:
            raise ValueError(
                f"W&B does not start with WANDB_MODE={mode}: {one_line(error)}"
            ) from None
        self.run.define_metric("progress/step")
        self.run.define_metric("*", step_metric="progress/step")

    def record(self, r: dict) -> None:
        self.run.log(curves(r))

    def text(self, step: int, name: str, text: str) -> None:
        table = self.wandb.Table(columns=["step", "text"], data=[[step, text]])
        self.run.log({"progress/step": float(step), name: table})

    def checkpoint(self, step: int, path: Path) -> None:
        self.run.summary["checkpoint"] = path.name
        self.run.summary["checkpoint_step"] = step

    def close(self) -> None:
        try:
            self.run.finish()
        finally:
            self.wandb.teardown()  # or it tries again when Python ends


# ---- All of them ---------------------------------------------------------


def one_line(error: BaseException) -> str:
    """An exception in one line, with its kind if it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class Loggers(Sink):
    """Tells every back end; one that fails is dropped with one warning."""

    def __init__(self, sinks: dict[str, Sink]):
        self.sinks = sinks

    def tell(self, method: str, *what: Any) -> None:
        for name, sink in list(self.sinks.items()):
            try:
                getattr(sink, method)(*what)
            except Exception as error:
                del self.sinks[name]
                with contextlib.suppress(Exception):
                    sink.close()
                line = f"warning: logging to {name} failed, the run goes on "
                line += f"without it: {one_line(error)}"
                tqdm.write(line, file=sys.stderr)

    def record(self, r: dict) -> None:
        """A step: a dict with the keys of CURVES, None where not known."""
        self.tell("record", r)

    def text(self, step: int, name: str, text: str) -> None:
        self.tell("text", step, name, text)

    def checkpoint(self, step: int, path: Path) -> None:
        self.tell("checkpoint", step, path)

    def close(self) -> None:
        self.tell("close")


def check_names(names: list[str]) -> None:
    """Import what these back ends need; call it before a folder is made.

    ValueError names an unknown back end, or says how to get a package.
    """
    if unknown := sorted(set(names) - set(BACK_ENDS)):
        raise ValueError(
            f"--log {','.join(unknown)}: choose from {', '.join(BACK_ENDS)}"
        )
    # TensorBoard imports all of TensorFlow if it is there, only to write
    # files; this name tells it not to.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    for name in names:
        try:
            importlib.import_module(BACK_ENDS[name])
        except Exception as error:
            raise ValueError(
                f"--log {name} needs packages that are not here "
                f"({one_line(error)}): pip install -r {REQUIREMENTS}"
            ) from None


def open_loggers(
    folder: Path, names: list[str], config: dict, start: int | None = None
) -> Loggers:
    """All back ends of a run; console and csv need not be named.

    config is logged; its `steps` and `floor` (nats per token, or None)
    appear on the console. start: of a resumed run, the step it goes on from.
    ValueError if a name is unknown, a package missing, a file foreign.
    """
    check_names(names)
    sinks: dict[str, Sink] = {}
    for name, sink in (("wandb", Wandb), ("tensorboard", TensorBoard)):
        if name in names:
            sinks[name] = sink(folder, config, start)
    sinks["csv"] = Csv(folder / "metrics.csv", start)
    sinks["console"] = Console(config)
    return Loggers(sinks)
