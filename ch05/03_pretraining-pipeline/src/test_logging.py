"""What must hold of a run's logs and of its report.

The files are read back by the programs that own their formats: TensorBoard's
EventAccumulator, and W&B's reader of its own .wandb files.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from pipeline import loggers, report
from report import main as report_main

HERE = Path(__file__).resolve().parent
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
LOGGED = ("train", "lr", "grad_norm", "tokens_per_second", "mfu", "tokens",
          "seconds", "n_targets", "step")  # fmt: skip
CONFIG = {"steps": 3000, "floor": 0.5}
RARE = ("validation", "perplexity", "bits_per_byte")


def record(step: int, shift: float = 0.0) -> dict:
    """A step as the trainer tells it; every tenth one is an evaluation."""
    known = step % 10 == 0
    loss = 8 / (step + 1) + 0.5 + shift
    return {
        "step": step,
        "tokens": 601 * step,
        "seconds": step / 37,
        "train": loss,
        "validation": loss + 0.01 if known else None,
        "lr": 1.7e-3 / step,
        "grad_norm": 1 / 3 + 1 / step,
        "n_targets": 601,
        "tokens_per_second": 26_000.5,
        "mfu": 0.23,
        "bits_per_byte": loss / 5 if known else None,
        "perplexity": math.exp(loss) if known else None,
    }


CHILD = f"""
import math, sys
from pipeline.loggers import open_loggers, run_id_of
CONFIG = {CONFIG}
{inspect.getsource(record)}
"""


def surroundings() -> dict[str, str]:
    """The environment, without W&B's; modules beside this file are found."""
    keep = {k: v for k, v in os.environ.items() if "WANDB" not in k}
    paths = [str(HERE), keep.get("PYTHONPATH", "")]
    return keep | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def child(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess:
    """Run code that may use open_loggers and record, its home in folder."""
    (folder / "home").mkdir(exist_ok=True)
    homes = {
        name: str(folder / "home")
        for name in ("HOME", "USERPROFILE", "LOCALAPPDATA")
    }
    return subprocess.run(
        [sys.executable, "-c", CHILD + code],
        cwd=folder,
        env=surroundings() | homes | env,
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
    )


# ---- CSV and console -----------------------------------------------------


def write_csv(folder: Path, steps: range, **how) -> bytes:
    with closing(loggers.open_loggers(folder, [], CONFIG, **how)) as log:
        for step in steps:
            log.record(record(step))
    return (folder / "metrics.csv").read_bytes()


def test_csv_holds_each_number_of_each_step(tmp_path):
    head, *rows = write_csv(tmp_path, range(1, 31)).decode().splitlines()
    assert head.split(",") == list(record(1)) and len(rows) == 30
    for step, row in enumerate(rows, 1):
        told = record(step)
        for name, text in zip(told, row.split(","), strict=True):
            if told[name] is None:
                assert text == ""
            else:
                assert math.isclose(float(text), told[name], rel_tol=1e-8)


@pytest.mark.parametrize(
    "rest", [b"", b"29,17429,0.7", b"29,17429,0.7\n", b"\n", b"\0\0\0"]
)
def test_a_resumed_csv_is_as_if_never_interrupted(tmp_path, rest):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    whole = write_csv(folders[0], range(1, 41))
    write_csv(folders[1], range(1, 29))
    with open(folders[1] / "metrics.csv", "ab") as file:
        file.write(rest)  # what a crash left behind
    assert write_csv(folders[1], range(21, 41), start=20) == whole


def test_a_half_row_is_not_glued_to_the_next(tmp_path):
    whole = write_csv(tmp_path, range(1, 21))
    path = tmp_path / "metrics.csv"
    path.write_bytes(whole[:-3])  # row 20, cut in its last field
    rest = write_csv(tmp_path, range(21, 23), start=20)
    steps = [line.split(b",")[0] for line in rest.splitlines()[1:]]
    assert steps == [b"%d" % n for n in [*range(1, 20), 21, 22]]


def test_a_killed_process_loses_no_row(tmp_path):
    log = loggers.open_loggers(tmp_path, ["csv"], CONFIG)
    for step in (1, 2, 3):
        log.record(record(step))
        rows = (
            (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines()
        )
        assert rows[-1].startswith(f"{step},") and len(rows) == step + 1
    log.close()


def test_a_foreign_csv_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss\n1,2.0\n", encoding="utf-8")
    with pytest.raises(ValueError, match="other columns"):
        loggers.open_loggers(tmp_path, [], CONFIG, start=1)
    assert path.read_text(encoding="utf-8") == "epoch,loss\n1,2.0\n"


def test_a_step_costs_next_to_nothing(tmp_path):
    told, best = [record(step) for step in range(1, 10)], math.inf
    with closing(loggers.open_loggers(tmp_path, ["csv"], CONFIG)) as log:
        for _ in range(40):
            began = time.perf_counter()
            for r in told:
                log.record(r)
            best = min(best, (time.perf_counter() - began) / len(told))
    assert best < 50e-6, f"{best * 1e6:.0f} microseconds a step"


def test_console_says_one_line_per_evaluation(tmp_path, capsys):
    with closing(loggers.open_loggers(tmp_path, ["console"], CONFIG)) as log:
        for step in range(1, 31):
            log.record(record(step))
        log.text(30, "sample", "One day,\n Ned " + "went on " * 90)
        log.checkpoint(30, tmp_path / "last.pt")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(len(line) < 200 for line in lines)
    assert lines[0].startswith(
        "step 10/3,000, 0.01M tokens: training "
        "1.227, validation 1.237, 2.475 x floor"
    )
    for part in (
        "perplexity 3.41",
        "0.245 bits/byte",
        "lr 1.7e-04",
        "gradient 0.43",
        "26,000 tokens/s",
        "23.0% of peak",
    ):
        assert part in lines[0]
    assert "sample: One day, Ned went" in lines[3] and "last.pt" in lines[4]


# ---- TensorBoard and W&B, read back --------------------------------------

RUN = """
from pathlib import Path
run, ids = Path("run"), []
run.mkdir()
names = ["csv", "tensorboard", "wandb"]
config = CONFIG | {"options": {"out": run, "lr": 1.7e-3}}
log = open_loggers(run, names, config)
for step in range(1, 29):
    log.record(record(step, shift=0.25 if step > 20 else 0))
log.close()
ids.append(run_id_of(run))
log = open_loggers(run, names, config, start=20)
for step in range(21, 41):
    log.record(record(step))
log.text(40, "samples", "One day, Ned\\nwent home.")
log.checkpoint(40, run / "last.pt")
log.close()
ids.append(run_id_of(run))
print(ids)
print("tensorflow" in sys.modules)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was interrupted at step 28, and went on from step 20."""
    folder = tmp_path_factory.mktemp("logged")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = child(
            RUN,
            folder,
            WANDB_BASE_URL=url,
            HTTPS_PROXY=url,
            HTTP_PROXY=url,
            ALL_PROXY=url,
        )
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()  # nobody has called
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout.splitlines()


def test_only_our_own_lines_and_only_the_run_folder(run):
    folder, lines = run
    assert len(lines) == 2 + 2 + 2 + 2 and lines[-1] == "False", lines
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert not [
        p
        for p in files
        if p.parts[-2] == "home" or "home" in p.relative_to(folder).parts
    ]
    assert {p.relative_to(folder).parts[0] for p in files} == {"run"}
    one, two = json.loads(lines[-2].replace("'", '"'))
    assert one == two, "a resumed run keeps its W&B id"


@pytest.fixture(scope="module")
def events(run):
    loggers.check_names(["tensorboard"])
    from tensorboard.backend.event_processing import event_accumulator as ea

    found = ea.EventAccumulator(
        str(run[0] / "run" / "tensorboard"), {ea.SCALARS: 0, ea.TENSORS: 0}
    )
    return found.Reload()


@pytest.mark.parametrize("key", LOGGED + RARE)
def test_tensorboard_reads_back_what_was_told(events, key):
    read = events.Scalars(loggers.CURVES[key])
    told = {step: record(step)[key] for step in range(1, 41)}
    told = {step: value for step, value in told.items() if value is not None}
    assert [e.step for e in read] == list(told), "each step once, in order"
    for event in read:
        assert math.isclose(event.value, told[event.step], rel_tol=1e-6)


def test_tensorboard_holds_texts_and_config(events):
    def text(tag):
        (event,) = events.Tensors(f"{tag}/text_summary")
        return event.step, event.tensor_proto.string_val[0].decode()

    assert text("samples") == (40, "One day, Ned  \nwent home.")
    assert text("checkpoint") == (40, "last.pt")
    step, config = text("config")
    assert step == 0 and json.loads(config.strip("`\n"))["floor"] == 0.5


def read_wandb(path: Path) -> list:
    """All records of a .wandb file, by W&B's own reader."""
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    store, found = DataStore(), []
    store.open_for_scan(str(path))
    while (data := store.scan_data()) is not None:
        found.append(Record())
        found[-1].ParseFromString(data)
    return found


def items(some: list) -> dict:
    return {
        i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in some
    }


@pytest.fixture(scope="module")
def parts(run):
    """The two parts of the W&B run, before and after the interruption."""
    files = sorted(
        (run[0] / "run" / "wandb").glob("offline-run-*/*.wandb"),
        key=lambda path: path.stat().st_mtime,
    )
    assert len(files) == 2
    return [read_wandb(path) for path in files]


@pytest.mark.parametrize("part, first, last", [(0, 1, 28), (1, 21, 40)])
def test_wandb_reads_back_what_was_told(parts, part, first, last):
    rows = [
        items(r.history.item) for r in parts[part] if r.HasField("history")
    ]
    rows = [row for row in rows if "loss/train" in row]
    assert len(rows) == last + 1 - first
    for step, row in enumerate(rows, first):
        told = record(step, 0.25 if part == 0 and step > 20 else 0.0)
        assert {
            key: row.get(name) for key, name in loggers.CURVES.items()
        } == told  # exactly


def test_wandb_holds_texts_config_and_one_id(run, parts):
    one, two = (
        next(r.run for r in part if r.HasField("run")) for part in parts
    )
    assert one.run_id == two.run_id in run[1][-2]
    config = items(one.config.update)
    assert config["floor"] == 0.5 and config["options"]["lr"] == 1.7e-3
    told = {}
    for r in parts[1]:
        if r.HasField("history"):
            told |= items(r.history.item)
        if r.HasField("summary"):
            told |= items(r.summary.update)
    assert told["checkpoint"] == "last.pt" and told["checkpoint_step"] == 40
    (table,) = run[0].glob("run/wandb/offline-*/files/media/table/*.json")
    assert (
        told["samples.path"] == table.relative_to(table.parents[2]).as_posix()
    )
    assert json.loads(table.read_text("utf-8"))["data"] == [
        [40, "One day, Ned\nwent home."]
    ]


# ---- When something is wrong ---------------------------------------------


@pytest.mark.parametrize(
    "name, hidden",
    [
        ("wandb", ["wandb", "wandb.sdk"]),
        ("tensorboard", ["tensorboard", "torch.utils.tensorboard"]),
    ],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, hidden):
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError) as error:
        loggers.open_loggers(tmp_path, ["csv", name], CONFIG)
    said = str(error.value)
    assert f"--log {name} needs" in said and "\n" not in said
    path = said.split("pip install -r ")[1]
    assert Path(path) == HERE.parent / "requirements-logging.txt"
    assert Path(path).is_file() and not list(tmp_path.iterdir())


def test_an_unknown_back_end_is_named(tmp_path):
    with pytest.raises(ValueError, match="telegraph.*choose from console"):
        loggers.open_loggers(tmp_path, ["csv", "telegraph"], CONFIG)
    assert not list(tmp_path.iterdir())


def test_the_required_versions_are_those_tested():
    text = (HERE.parent / "requirements-logging.txt").read_text("utf-8")
    pins = re.findall(r"^([\w-]+)==(\S+)$", text, re.M)
    assert {name for name, _ in pins} == {"tensorboard", "wandb"}
    for name, version in pins:
        assert importlib.metadata.version(name) == version


def test_a_broken_back_end_is_dropped_with_one_warning(tmp_path, capsys):
    class Broken(loggers.Sink):
        closed = 0

        def record(self, r):
            raise OSError(28, "No space left on device")

        def close(self):
            self.closed += 1
            raise OSError(28, "still none")

    broken = Broken()
    with closing(loggers.open_loggers(tmp_path, [], CONFIG)) as log:
        log.sinks = {"broken": broken, **log.sinks}
        for step in (1, 2, 3):
            log.record(record(step))
    assert capsys.readouterr().err.count("\n") == 1 and broken.closed == 1
    rows = (tmp_path / "metrics.csv").read_text("utf-8").splitlines()
    assert len(rows) == 4


BREAK = """
import os, resource, signal, subprocess, time
from pathlib import Path
log = open_loggers(Path("."), ["tensorboard", "wandb"], CONFIG)
core = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"],
                      capture_output=True, text=True).stdout.split()
os.kill(int(core[0]), signal.SIGKILL)
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
time.sleep(0.3)
for step in range(1, 400):
    log.record(record(step))
log.checkpoint(399, Path("last.pt"))
log.close()
print("trained to the end")
"""


@posix
def test_a_full_disk_and_a_crash_do_not_stop_the_run(tmp_path):
    done = child(BREAK, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("last.pt\ntrained to the end\n")
    told = re.findall("logging to ([a-z]+) failed, the run goes", done.stderr)
    assert sorted(told) == ["csv", "tensorboard", "wandb"], done.stderr


# ---- A whole run of the pipeline -----------------------------------------


def test_a_run_of_the_pipeline_logs_the_same_everywhere(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            HERE / "train_gpt.py",
            "--layers",
            "1",
            "--width",
            "16",
            "--heads",
            "2",
            "--vocab-size",
            "900",
            "--force-cpu",
            "--precision",
            "fp32",
            "--steps",
            "6",
            "--eval-every",
            "3",
            "--eval-stories",
            "8",
            "--samples",
            "2",
            "--out",
            "run",
            "--log",
            "csv,tensorboard,wandb",
        ],
        cwd=tmp_path,
        timeout=300,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    compare_logs(run)
    assert sum("validation" in line for line in done.stdout.splitlines()) >= 2
    text = (run / "report.md").read_text("utf-8")
    assert "Finished." in text and "sample 2: breaks" in text
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert metrics["hardware"] in text
    assert "logical cores" in metrics["hardware"]
    png = (run / "report.png").read_bytes()
    assert png[1:4] == b"PNG"


def compare_logs(run: Path) -> None:
    """The training loss is the same in all three places."""
    head, *rows = (
        (run / "metrics.csv").read_text(encoding="utf-8").splitlines()
    )
    rows = [
        dict(zip(head.split(","), row.split(","), strict=True)) for row in rows
    ]
    assert [row["step"] for row in rows] == list("123456")
    train = [pytest.approx(float(row["train"]), rel=1e-6) for row in rows]
    (path,) = run.glob("wandb/offline-*/*.wandb")
    told = [
        items(r.history.item)
        for r in read_wandb(path)
        if r.HasField("history")
    ]
    assert [t["loss/train"] for t in told if "loss/train" in t] == train
    from tensorboard.backend.event_processing import event_accumulator as ea

    events = ea.EventAccumulator(str(run / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("loss/train")] == train


# ---- The report ----------------------------------------------------------

METRICS = {
    "val_loss": 0.7,
    "floor": 0.5,
    "ratio": 1.4,
    "tokens_seen": 24_040,
    "tokens_per_second": 22_222.0,
    "seconds": 1.08,
    "steps": 40,
    "parameters": 2_065_664,
    "seed": 123,
    "valid_stories": 0.935,
    "config": {"vocab_size": 900, "n_layers": 2},
    "options": {"lr": 1.7e-3, "out": "of/somebody", "data": None},
    "device": "cpu",
    "threads": 2,
    "hardware": "two abaci",
    "torch": "2.13",
    "interrupted": False,
    "stopped": "",
    "calibrated_by": 0.9399999976158142,
    "bits_per_byte": 0.1374,
}
SAMPLES = (
    "--- sample 1: valid\nOne day, Ned went home.\n\n--- sample 2: "
    "breaks at character 4: reason\nTwo\n--- lines\n"
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "my-run"
    path.mkdir()
    write_csv(path, range(1, 41))
    (path / "samples.txt").write_text(SAMPLES, "utf-8")
    return path


def written(folder: Path, metrics: dict) -> list[Path]:
    """The report of a run with these metrics."""
    (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    return report.write_report(folder)


def test_a_report_says_what_came_out(folder):
    paths = written(folder, METRICS)
    assert paths == [folder / "report.md", folder / "report.png"]
    text = paths[0].read_text("utf-8")
    for part in (
        "# my-run",
        "Finished.",
        "2,065,664",
        "| seed | 123 |",
        "0.7000 nats",
        "| 0.5000 |",
        "| 1.4000 |",
        "| 93.5% |",
        "24,040",
        "| 0.94 |",
        "--- sample 1: valid\nOne day, Ned went home.",
        "Two\n--- lines",
        "two abaci",
        "| threads | 2 |",
        '"n_layers": 2',
        '"lr": 0.0017',
        f"{math.exp(0.7):.3f}",
        "report.png",
        "| bits per byte | 0.1374 |",
    ):
        assert part in text, part
    assert "somebody" not in text
    png = paths[1].read_bytes()
    assert png[1:4] == b"PNG"


def test_the_curves_are_the_numbers_of_the_run(folder):
    columns = report.read_columns(folder, {})
    figure = report.draw(columns, METRICS)
    loss, *others = figure.axes
    train, validation, floor = loss.lines
    assert list(train.get_ydata()) == [
        pytest.approx(record(s)["train"]) for s in range(1, 41)
    ]
    assert list(validation.get_xdata()) == [
        pytest.approx(s * 601e-6) for s in (10, 20, 30, 40)
    ]
    assert set(floor.get_ydata()) == {0.5} and loss.get_yscale() == "log"
    for ax, key in zip(
        others, ("lr", "grad_norm", "tokens_per_second"), strict=True
    ):
        assert list(ax.lines[0].get_ydata()) == [
            pytest.approx(record(s)[key]) for s in range(1, 41)
        ]
    assert len(report.draw(columns, {}).axes[0].lines) == 2  # no floor


def test_an_interrupted_text_run_has_a_report_too(folder):
    with open(folder / "metrics.csv", "ab") as file:
        file.write(b"41,24641,1.1")  # killed while writing
    (folder / "samples.txt").unlink()
    text = report.write_report(folder)[0].read_text("utf-8")
    assert "Not finished" in text and "floor" not in text
    assert "| steps | 40 |" in text and "none was written" in text
    assert f"{record(40)['validation']:.4f} nats" in text
    stopped = METRICS | {
        "stopped": "interrupted",
        "floor": None,
        "valid_stories": None,
        "ratio": None,
    }
    text = written(folder, stopped)[0].read_text("utf-8")
    assert "**Stopped**: interrupted." in text and "floor" not in text


def test_a_run_of_gpt_train_has_a_report_too(tmp_path):
    history = {
        "step": [1, 2],
        "tokens": [9, 20],
        "seconds": [0.5, 1.0],
        "train": [7.0, 6.0],
        "validation": [None, 6.5],
        "lr": [1e-3, 2e-3],
        "grad_norm": [3.0, 2.0],
        "n_targets": [9, 11],
    }
    metrics = METRICS | {"history": history}
    written(tmp_path, metrics)
    columns = report.read_columns(tmp_path, metrics)
    assert columns["tokens_per_second"] == [18.0, 20.0]


@pytest.mark.parametrize("csv", [None, "", "step,tokens\n"])
def test_nothing_logged_is_one_line(tmp_path, capsys, csv):
    if csv is not None:
        (tmp_path / "metrics.csv").write_text(csv, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    assert report_main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nothing to report" in error
    assert sorted(tmp_path.iterdir()) == before


def test_report_from_the_command_line(folder, capsys):
    (folder / "metrics.json").write_text(json.dumps(METRICS), "utf-8")
    assert report_main([str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [str(folder / "report.md"), str(folder / "report.png")]


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
