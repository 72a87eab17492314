"""What must hold of the pipeline: exact steps, exact resume, whole files.

Each run here is tiny. What kills, fills a disk or needs several processes
happens in real child processes.
"""

from __future__ import annotations

import csv
import errno
import gzip
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import bench_gpu
import measure_costs
import numpy
import prepare_data
import previous_chapters as pc
import pytest
import torch
import train_gpt
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import (
    build,
    checkpoints,
    data,
    distributed,
    loggers,
    tokens,
    trainer,
)
from pipeline.options import check_resumed, parser
from pipeline.schedules import ShapedSchedule
from scratch_llm import storyworld, streams
from scratch_llm.cli import SEEDS, run_script
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
TINY = ["--layers", "1", "--width", "16", "--heads", "2", "--force-cpu",
        "--precision", "fp32", "--context-length", "32", "--samples", "2",
        "--batch-size", "4"]  # fmt: skip
STORIES = ["--layers", "1", "--width", "16", "--heads", "2", "--force-cpu",
           "--precision", "fp32", "--vocab-size", "500", "--samples", "2",
           "--eval-stories", "20", "--eval-every", "20"]  # fmt: skip
TIMES = ("seconds", "tokens_per_second", "mfu")
few = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def same_signals():
    kept = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """60 stories, and their token files."""
    folder = tmp_path_factory.mktemp("corpus")
    storyworld.write_corpus(storyworld.corpus(60), folder / "stories.txt")
    assert (
        prepare_data.main(
            [
                str(folder / "stories.txt"),
                "--out",
                str(folder / "tokens"),
                "--vocab-size",
                "400",
            ]
        )
        == 0
    )
    return folder


@pytest.fixture
def on_tokens(corpus):
    return ["--data", str(corpus / "tokens" / "train.npy")]


def built(*options, state=None):
    """A trainer and its options, without a run folder."""
    args = parser().parse_args([*TINY, *map(str, options)])
    return build.build(args, state), args


def rows(run: Path, skip: tuple = TIMES) -> list[dict]:
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return [
            {k: v for k, v in row.items() if k not in skip}
            for row in csv.DictReader(file)
        ]


def same(one: dict, two: dict) -> bool:
    """Whether all tensors and numbers of two checkpoints are equal."""
    if one.keys() != two.keys():
        return False
    for key, a in one.items():
        b = two[key]
        if key in ("seconds", "options", "param_groups"):
            continue
        equal = (
            same(a, b)
            if isinstance(a, dict)
            else torch.equal(a, b)
            if isinstance(a, torch.Tensor)
            else all(map(same, a, b))
            if key == "generators"
            else a == b
        )
        if not equal:
            return False
    return True


def tokenizer_of(corpus):
    return pc.load_encoding(corpus / "tokens" / "tokenizer.tiktoken")


def child(*arguments, **how) -> subprocess.CompletedProcess:
    env = dict(os.environ, OMP_NUM_THREADS="1", PYTHONUTF8="1")
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        **how,
    )


# ---- Resume is exact -----------------------------------------------------

KILLED = """
import os, signal, sys
import train_gpt
from pipeline.loggers import Loggers
at, record = int(sys.argv[1]), Loggers.record
def killing(self, r):
    record(self, r)
    if r["step"] == at:
        os.kill(os.getpid(), signal.SIGKILL)
Loggers.record = killing
train_gpt.main(sys.argv[2:])
"""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    run = tmp_path_factory.mktemp("straight") / "run"
    done = child(
        HERE / "train_gpt.py",
        *STORIES,
        "--steps",
        40,
        "--checkpoint-every",
        10,
        "--dropout",
        0.1,
        "--out",
        run,
    )
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_kill_and_resume_is_exact(straight, tmp_path):
    run = tmp_path / "run"
    done = child(
        "-c",
        KILLED,
        25,
        *STORIES,
        "--steps",
        40,
        "--dropout",
        0.1,
        "--checkpoint-every",
        10,
        "--out",
        run,
        cwd=HERE,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(rows(run)) == 25 and not (run / "metrics.json").exists()
    done = child(HERE / "train_gpt.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert "step-00000020.pt, step 20" in done.stderr
    assert rows(run) == rows(straight) and len(rows(run)) == 40
    one, two = (
        checkpoints.load(r / "checkpoints" / "last.pt")
        for r in (straight, run)
    )
    assert one["step"] == 40 and same(one, two)
    one, two = (
        pc.load_model(r / "model.safetensors").state_dict()
        for r in (straight, run)
    )
    assert same(dict(one), dict(two))


def test_a_run_folder_is_whole(straight):
    metrics = json.loads((straight / "metrics.json").read_text("utf-8"))
    for key in (
        "val_loss",
        "floor",
        "ratio",
        "tokens_seen",
        "seconds",
        "tokens_per_second",
        "parameters",
        "config",
        "seed",
        "valid_stories",
        "calibrated_by",
        "history",
        "options",
    ):
        assert metrics[key] is not None, key
    model, tokenizer = pc.from_pretrained(straight, "cpu")
    assert tokenizer.add_prefix_space
    assert tokenizer.n_vocab == model.cfg["vocab_size"]
    assert {"report.md", "report.png", "samples.txt", "loss.png"} <= {
        p.name for p in straight.iterdir()
    }
    kept = sorted(p.name for p in (straight / "checkpoints").iterdir())
    assert kept == [
        "best.pt",
        "last.pt",
        "step-00000000.pt",
        "step-00000020.pt",
        "step-00000030.pt",
        "step-00000040.pt",
    ]


def test_the_untrained_model_is_kept(straight):
    state = checkpoints.load(straight / "checkpoints" / "step-00000000.pt")
    args = parser().parse_args([*STORIES, "--dropout", "0.1"])
    fresh = build.new_model(args, state["config"]["vocab_size"])
    assert state["step"] == 0 and not state["optimizer"]
    assert same(state["model"], dict(fresh.state_dict()))


def test_it_trains_as_the_short_version_does(straight):
    """The same batches, rates and steps as pt.train, without dropout."""
    t, args = built(
        "--data",
        "stories",
        "--context-length",
        256,
        "--vocab-size",
        500,
        "--steps",
        6,
        "--eval-stories",
        5,
    )
    model = build.new_model(args, t.task.tokenizer.n_vocab)
    records = pc.train(
        model,
        pc.make_optimizer(model, args.weight_decay),
        pc.story_batches(storyworld, t.task.tokenizer, 4, 123),
        pc.Schedule(6, args.lr, args.warmup),
    )
    for theirs, ours in zip(records, trainer.train(t, 100), strict=True):
        assert {k: ours[k] for k in theirs} == theirs
    assert same(dict(t.model.state_dict()), dict(model.state_dict()))


def test_ctrl_c_stops_after_the_step(on_tokens, tmp_path, monkeypatch, capsys):
    run, record = tmp_path / "run", loggers.Loggers.record

    def pressed(self, r):  # it ends after the step that follows
        record(self, r)
        if r["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    options = [*TINY, *on_tokens, "--steps", "6", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(loggers.Loggers, "record", pressed)
        assert train_gpt.main([*options, str(run)]) == 130
    assert checkpoints.load(run / "checkpoints/last.pt")["step"] == 3
    assert (run / "model.safetensors").is_file()
    assert train_gpt.main(["--resume", str(run)]) == 0
    assert train_gpt.main([*options, str(tmp_path / "straight")]) == 0
    assert rows(run) == rows(tmp_path / "straight")
    assert "stopped (interrupted)" in capsys.readouterr().out


# ---- What a resumed run refuses ------------------------------------------


@pytest.fixture(scope="module")
def short_run(corpus, tmp_path_factory):
    run = tmp_path_factory.mktemp("short") / "run"
    assert (
        train_gpt.main(
            [
                *TINY,
                "--data",
                str(corpus / "tokens/train.npy"),
                "--steps",
                "4",
                "--checkpoint-every",
                "2",
                "--out",
                str(run),
            ]
        )
        == 0
    )
    return run


@pytest.mark.parametrize(
    "options, said",
    [
        (["--lr", "0.5"], "--lr (was 0.0017, now 0.5)"),
        (["--width", "32", "--seed", "7"], "--width (was 16, now 32), --seed"),
        (["--steps", "9"], "--schedule wsd"),
        (["--steps", "3"], "--steps 3 instead of 4"),
        (["--epochs", "9"], "--epochs (was None, now 9.0)"),
        (["--out", "elsewhere"], "leave --out away"),
    ],
)
def test_changed_options_are_named(short_run, options, said, capsys):
    before = {p: p.stat().st_mtime_ns for p in short_run.rglob("*")}
    assert train_gpt.main(["--resume", str(short_run), *options]) == 2
    error = capsys.readouterr().err.splitlines()
    assert said in error[-1] and "Traceback" not in "".join(error)
    assert before == {p: p.stat().st_mtime_ns for p in short_run.rglob("*")}


@pytest.mark.parametrize(
    "option, value",
    [("--seed", "99999999999999999999"), ("--epochs", "1e308")],
)
def test_numbers_too_large_are_named(
    on_tokens, tmp_path, capsys, option, value
):
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        train_gpt.main([*TINY, *on_tokens, option, value, "--out", str(run)])
    error = capsys.readouterr().err
    assert end.value.code == 2 and f"{option}: must be" in error
    assert error.count("\n") == 1 and not run.exists()


def test_the_largest_seed_trains(on_tokens):
    t, args = built(*on_tokens, "--seed", SEEDS, "--steps", 2)
    assert len(list(trainer.train(t, 100))) == 2


def test_an_unknown_logger_is_named_before_anything_is_written(
    on_tokens, tmp_path, capsys
):
    run = tmp_path / "run"
    assert (
        train_gpt.main(
            [*TINY, *on_tokens, "--log", "csv,paper", "--out", str(run)]
        )
        == 2
    )
    assert "--log paper: choose from" in capsys.readouterr().err
    assert not run.exists()


def test_a_run_can_start_from_another(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert train_gpt.main([*STORIES, "--steps", "3", "--out", str(one)]) == 0
    assert (
        train_gpt.main(
            [
                *STORIES,
                "--init-from",
                str(one),
                "--width",
                "24",
                "--seed",
                "7",
                "--steps",
                "1",
                "--out",
                str(two),
            ]
        )
        == 0
    )
    first, second = (
        checkpoints.load(run / "checkpoints" / name)["model"]
        for run, name in ((one, "last.pt"), (two, "step-00000000.pt"))
    )
    assert first.keys() == second.keys()
    norms = [name for name in first if "final_norm" in name]
    assert all(
        torch.equal(first[name], second[name])
        for name in first
        if name not in norms
    )  # calibrated
    a, b = (run / "tokenizer.tiktoken" for run in (one, two))
    assert a.read_bytes() == b.read_bytes()
    assert train_gpt.main(["--init-from", str(tmp_path / "none")]) == 2


def test_a_run_can_start_from_the_storyteller():
    args = parser().parse_args(["--init-from", "storyteller"])
    model = build.adopt(args)
    assert (args.width, args.layers) == (256, 2)
    tokenizer = pc.pick_tokenizer(args.tokenizer, [], 300)
    assert tokenizer.n_vocab == model.cfg["vocab_size"]


@pytest.mark.parametrize("was, now", [(1, 2), (2, 1)])
def test_as_many_processes_resume(was, now):
    args = parser().parse_args([])
    stored = vars(args) | {"processes": was}
    args.processes = now
    with pytest.raises(ValueError, match=f"torchrun --nproc-per-node {was}"):
        check_resumed(stored, args)


def test_a_run_starts_only_from_one_of_its_tokenizer(
    on_tokens, corpus, tmp_path, capsys
):
    run, out, text = (tmp_path / name for name in ("run", "out", "x.txt"))
    stories = (corpus / "stories.txt").read_text("utf-8")
    text.write_text(stories.swapcase(), "utf-8")
    options = [
        *TINY,
        "--vocab-size",
        "400",
        "--dropout",
        "0.25",
        "--steps",
        "1",
    ]
    assert (
        train_gpt.main([*options, "--data", str(text), "--out", str(run)]) == 0
    )
    capsys.readouterr()
    assert (
        train_gpt.main(
            [*options, *on_tokens, "--init-from", str(run), "--out", str(out)]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert "another tokenizer" in error and error.count("\n") == 1
    remedy = error.split("prepare_data.py ")[1].split()
    assert (
        prepare_data.main(
            [str(corpus / "stories.txt"), "--out", str(out), *remedy]
        )
        == 0
    )
    t, args = built("--init-from", run, "--data", out / "train.npy")
    assert args.dropout == t.model.cfg["drop_rate"] == 0.25


def test_a_wsd_run_that_always_decays(on_tokens, tmp_path, capsys):
    options = [
        *TINY,
        *on_tokens,
        "--schedule",
        "wsd",
        "--warmup",
        "0",
        "--cooldown",
        "1",
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    assert train_gpt.main([*options, "--steps", "3", "--out", str(one)]) == 0
    assert train_gpt.main(["--resume", str(one), "--steps", "2"]) == 2
    assert "can only be prolonged" in capsys.readouterr().err
    assert train_gpt.main(["--resume", str(one), "--steps", "5"]) == 0
    assert train_gpt.main([*options, "--steps", "5", "--out", str(two)]) == 0
    assert rows(one) == rows(two)


def test_a_wsd_run_can_be_prolonged(on_tokens, tmp_path):
    options = [*TINY, *on_tokens, "--schedule", "wsd", "--warmup", "2"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert train_gpt.main([*options, "--steps", "10", "--out", str(one)]) == 0
    assert train_gpt.main(["--resume", str(one), "--steps", "20"]) == 0
    assert train_gpt.main([*options, "--steps", "20", "--out", str(two)]) == 0
    a, b = (checkpoints.load(r / "checkpoints/last.pt") for r in (one, two))
    assert a["step"] == 20 and same(a["model"], b["model"])
    assert same(a["optimizer"], b["optimizer"])
    assert [r["train"] for r in rows(one)] == [r["train"] for r in rows(two)]


def test_a_checkpoint_is_named_from_inside_its_folder(
    short_run, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    shutil.copytree(short_run, run)
    for here, name in (("checkpoints", "last.pt"), (".", ".")):
        monkeypatch.chdir(run / here)
        assert train_gpt.main(["--resume", name]) == 0
    assert str(run / "checkpoints" / "last.pt") in capsys.readouterr().err
    assert rows(run) == rows(short_run)


def test_a_checkpoint_away_from_its_run_is_refused(
    short_run, tmp_path, capsys
):
    kept = tmp_path / "x" / "deep" / "checkpoints" / "keep.pt"
    kept.parent.mkdir(parents=True)
    for path in (kept, kept.parents[1] / "keep.pt"):
        shutil.copy(short_run / "checkpoints" / "last.pt", path)
        before = sorted(tmp_path.rglob("*"))
        assert train_gpt.main(["--resume", str(path)]) == 2
        error = capsys.readouterr().err
        assert "does not lie in" in error and error.count("\n") == 1
        assert sorted(tmp_path.rglob("*")) == before


def test_old_names_of_options_are_told(capsys):
    for old, new in (("--rate=1", "--lr"), ("--start-from", "--init-from")):
        with pytest.raises(SystemExit) as end:
            train_gpt.main([old])
        error = capsys.readouterr().err
        assert end.value.code == 2 and error.count("\n") == 1 and new in error


# ---- Any text, any architecture ------------------------------------------


def test_the_best_weights_of_a_text_are_kept(tmp_path, monkeypatch):
    """What is held out reads backwards: learning makes it less likely."""
    texts = [s.text + "\n" for s in storyworld.corpus(60)]
    monkeypatch.setattr(
        data.corpora,
        "python_english",
        lambda: "".join(texts[:50]) + "".join(texts[50:])[::-1],
        raising=False,
    )
    run = tmp_path / "run"
    assert train_gpt.main(
        [*TINY, "--data", "python", "--vocab-size", "400", "--lr", "0.03",
         "--warmup", "0", "--steps", "90", "--eval-every", "10", "--out",
         str(run)]) == 0  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    logged = {
        float(row["validation"]): int(row["step"])
        for row in rows(run)
        if row["validation"]
    }
    assert metrics["best_step"] == logged[min(logged)] < 90
    best = checkpoints.load(run / "checkpoints" / "best.pt")
    assert best["step"] == metrics["best_step"]
    model, _ = pc.from_pretrained(run, "cpu")
    assert same(best["model"], dict(model.state_dict()))
    assert metrics["xz_bits_per_byte"] > 0
    assert metrics["bits_per_byte"] == pytest.approx(
        min(float(r["bits_per_byte"]) for r in rows(run) if r["validation"])
    )


class Bigram(torch.nn.Module):
    """The least that can be trained and can write: a table of pairs."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.table = torch.nn.Embedding(cfg["vocab_size"], cfg["vocab_size"])

    def forward(self, ids, cache=None, last_only=False):
        if cache is not None:
            cache.length += ids.shape[1]
        return self.table(ids[:, -1:] if last_only else ids)

    def new_cache(self, batch_size=1, capacity=None):
        cache = SimpleNamespace(length=0, capacity=capacity)
        cache.reset = lambda: setattr(cache, "length", 0)
        return cache

    def scale_logits(self, factor):
        self.table.weight.data.mul_(factor)


def test_another_architecture_trains_resumes_and_is_exported(tmp_path):
    def bigram(args, vocab_size):
        torch.manual_seed(args.seed)
        return Bigram(
            {
                "vocab_size": vocab_size,
                "context_length": args.context_length,
                "emb_dim": vocab_size,
                "n_layers": 1,
            }
        )

    args = parser().parse_args(
        [*STORIES, "--steps", "20", "--warmup", "0", "--lr", "0.05",
         "--checkpoint-every", "10", "--checkpointing"])  # fmt: skip
    whole, first = (build.build(args, new_model=bigram) for _ in range(2))
    records = list(trainer.train(whole, 10))
    assert records[-1]["train"] < records[0]["train"] - 0.3

    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    writer = checkpoints.CheckpointWriter(
        folder / "checkpoints", first, vars(args), 10, 3
    )
    config = vars(args) | {"floor": 1}
    with closing(loggers.open_loggers(folder, [], config)) as log:
        for r in itertools.islice(trainer.train(first, 10), 10):
            log.record(r)
            writer.after(r)
    _, state = checkpoints.find(folder)
    second = build.build(args, state, bigram)
    with closing(loggers.open_loggers(folder, [], config, 10)) as log:
        for r in trainer.train(second, 10):
            log.record(r)
    assert same(
        dict(whole.model.state_dict()), dict(second.model.state_dict())
    )
    assert [float(r["train"]) for r in rows(folder)] == pytest.approx(
        [r["train"] for r in records]
    )

    assert build.finish(folder, second, args) == 0
    pc.save_tokenizer(folder / "tokenizer.tiktoken", second.task.tokenizer)
    model, tokenizer = pc.from_pretrained(folder, "cpu", architecture=Bigram)
    told = pc.generate_text(model, tokenizer, "One day,", 9, seed=1)
    assert told.startswith("One day,")


# ---- Broken files --------------------------------------------------------


def copied(run: Path, to: Path) -> Path:
    """The checkpoints of a run, as files of their own."""
    folder = to / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for path in (run / "checkpoints").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return to / "run"


def test_a_truncated_checkpoint_is_named_and_passed_over(
    short_run, tmp_path, capsys
):
    run = copied(short_run, tmp_path)
    newest = run / "checkpoints" / "step-00000004.pt"
    newest.write_bytes(newest.read_bytes()[:-1000])
    path, state = checkpoints.find(run)
    assert path.name == "step-00000002.pt" and state["step"] == 2
    said = capsys.readouterr().err
    assert str(newest) in said and said.count("\n") == 1


def test_any_flipped_byte_is_found(short_run, tmp_path):
    whole = (short_run / "checkpoints" / "last.pt").read_bytes()
    good = checkpoints.load(short_run / "checkpoints" / "last.pt")
    found, path = 0, tmp_path / "x.pt"
    for at in range(0, len(whole), len(whole) // 60):
        path.write_bytes(
            whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
        )
        try:
            assert same(checkpoints.load(path), good)  # only padding
        except ValueError:
            found += 1
    assert found >= 40


class Attack:
    """Unpickled without care, it writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("content", ["empty", "text", "zip", "torch", "code"])
def test_a_foreign_file_is_one_clear_line(tmp_path, content, capsys):
    marker = tmp_path / "attacked"
    path = tmp_path / "checkpoints" / "step-00000001.pt"
    path.parent.mkdir()
    (tmp_path / "metrics.csv").touch()
    if content == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    elif content == "torch":
        torch.save({"model": {}}, path)
    elif content == "code":
        torch.save({"run": Attack(marker)}, path)
    else:
        path.write_bytes(b"" if content == "empty" else b"hello " * 99)
    for named in (path, tmp_path):
        assert train_gpt.main(["--resume", str(named)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert any(str(path) in line for line in lines)
        assert "error" in lines[-1] and len(lines) <= 2
    assert not marker.exists()


def test_a_full_disk_leaves_the_last_good_one(
    on_tokens, tmp_path, monkeypatch, capsys
):
    run, save = tmp_path / "run", torch.save

    def full(state, file):
        if state["step"] == 4:
            file.write(b"the beginning")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(state, file)

    monkeypatch.setattr(torch, "save", full)
    assert train_gpt.main(
        [*TINY, *on_tokens, "--steps", "6", "--out", str(run),
         "--checkpoint-every", "2"]) == 1  # fmt: skip
    last = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in last and "--resume" in last
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert names == ["last.pt", "step-00000000.pt", "step-00000002.pt"]
    monkeypatch.undo()
    assert checkpoints.find(run)[1]["step"] == 2
    assert train_gpt.main(["--resume", str(run)]) == 0


LIMITED = """
import resource, sys
import train_gpt
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(train_gpt.main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no RLIMIT_FSIZE")
def test_a_file_that_cannot_grow_stops_the_run(on_tokens, tmp_path, short_run):
    """A real limit: the untrained model fits, optimizer states do not."""
    sizes = {
        p.name: p.stat().st_size for p in (short_run / "checkpoints").iterdir()
    }
    limit = sizes["step-00000000.pt"] + 2000
    assert limit < sizes["last.pt"]
    run = tmp_path / "run"
    done = child(
        "-c",
        LIMITED,
        limit,
        *TINY,
        *on_tokens,
        "--steps",
        4,
        "--checkpoint-every",
        2,
        "--out",
        run,
        cwd=HERE,
    )
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "step-00000002.pt cannot be written" in last
    assert [
        p.name for p in (run / "checkpoints").glob("*") if p.suffix == ".pt"
    ].count("last.pt") == 1
    assert checkpoints.find(run)[1]["step"] == 0


# ---- A step --------------------------------------------------------------


def test_accumulation_equals_one_large_batch(on_tokens):
    """Rows of very different length: the mean is over targets, not rows."""
    rows_ = [list(range(1, n)) for n in (3, 30, 9, 17, 4, 25, 12)]
    results = []
    for cuts in ([7], [1, 3, 3], [2] * 3 + [1]):
        t, _ = built(*on_tokens, "--accumulate", len(cuts), "--clip", 0.01)
        parts = iter(rows_)
        t.task.batches = iter(
            [pc.pad_batch(list(itertools.islice(parts, n))) for n in cuts]
        )
        r = next(t.steps())
        grads = torch.cat([p.grad.flatten() for p in t.model.parameters()])
        results.append((r["train"], r["grad_norm"], grads))
        assert r["n_targets"] == sum(map(len, rows_)) - len(rows_)
        assert_close(grads.norm(), torch.tensor(0.01), rtol=1e-4, atol=0)
    for other in results[1:]:
        assert_close(other, results[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_nearly_the_same(on_tokens, precision):
    losses, norms = {}, {}
    for name in ("fp32", precision):
        t, _ = built(
            *on_tokens, "--precision", name, "--steps", 8, "--warmup", 1
        )
        records = list(trainer.train(t, 100))
        losses[name] = [r["train"] for r in records]
        norms[name] = [r["grad_norm"] for r in records]
        assert t.optimizer.scaler.is_enabled() == (name == "fp16")
        assert all(p.dtype == torch.float32 for p in t.model.parameters())
    assert losses[precision] != losses["fp32"]
    assert_close(losses[precision], losses["fp32"], atol=0.02, rtol=0)
    assert_close(norms[precision], norms["fp32"], atol=0, rtol=0.05)


def test_fp16_skips_a_step_that_overflows(on_tokens):
    t, _ = built(*on_tokens, "--precision", "fp16", "--steps", 3)
    t.optimizer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = dict(t.model.state_dict())
    before = {name: value.clone() for name, value in before.items()}
    first = next(trainer.train(t, 100))
    assert first["grad_norm"] == 0
    assert t.optimizer.scaler.get_scale() < 2**40
    assert same(before, dict(t.model.state_dict()))


def test_what_is_not_finite_stops_the_run(on_tokens):
    t, _ = built(*on_tokens, "--steps", 3)
    with torch.no_grad():
        t.model.final_norm.scale[0] = math.nan
    with pytest.raises(FloatingPointError, match="step 0"):
        next(trainer.train(t, 100))


def test_recomputing_changes_nothing(on_tokens):
    plain, again = (
        built(
            *on_tokens, "--layers", 2, "--dropout", 0.3, "--steps", 3, *more
        )[0]
        for more in ((), ("--checkpointing",))
    )
    for t in (plain, again):
        torch.manual_seed(5)
        list(trainer.train(t, 100))
    assert same(dict(plain.model.state_dict()), dict(again.model.state_dict()))


def test_recomputing_keeps_less(on_tokens):
    kept = []
    for more in ((), ("--checkpointing",)):
        t, _ = built(*on_tokens, "--layers", 4, *more)
        sizes = []

        def note(x, sizes=sizes):
            sizes.append(x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            t.model(next(t.task.batches)[0]).sum()
        kept.append(sum(sizes))
    assert kept[1] < 0.5 * kept[0]


def test_compiled_it_learns_the_same(on_tokens, monkeypatch):
    """Traced and differentiated ahead of time; no C++ compiler needed."""
    losses, compile_ = [], torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda what: compile_(what, backend="aot_eager")
    )
    for more in ((), ("--compile",)):
        t, _ = built(*on_tokens, "--steps", 3, "--warmup", 1, *more)
        losses.append([r["train"] for r in trainer.train(t, 100)])
        assert (t.forward is not t.model) == bool(more)
    assert_close(losses[1], losses[0], atol=1e-5, rtol=0)


def test_errors_of_the_machine_are_one_line(
    on_tokens, tmp_path, monkeypatch, capsys
):
    for error, said in (
        (torch.OutOfMemoryError("CUDA out of memory."), "--checkpointing"),
        (train_gpt.TorchDynamoException("no g++"), "leave --compile away"),
    ):

        def fail(*what, error=error):
            raise error

        monkeypatch.setattr(trainer.Trainer, "backward", fail)
        out = tmp_path / type(error).__name__
        assert train_gpt.main([*TINY, *on_tokens, "--out", str(out)]) == 1
        assert said in capsys.readouterr().err.splitlines()[-1]


# ---- Schedules -----------------------------------------------------------


@few
@given(
    steps=st.integers(1, 300),
    warmup=st.integers(0, 50),
    cooldown=st.floats(0, 1),
    more=st.integers(0, 300),
)
def test_a_longer_wsd_plan_begins_as_the_shorter(
    steps, warmup, cooldown, more
):
    short, long = (
        ShapedSchedule(n, 0.5, warmup, "wsd", cooldown)
        for n in (steps, steps + more)
    )
    rates = [short(i) for i in range(steps)]
    end = short.stable_end
    assert rates[:end] == [long(i) for i in range(end)]
    assert all(0 < rate <= 0.5 for rate in rates)
    assert all(rate == 0.5 for rate in rates[warmup:end])
    assert rates[end:] == sorted(rates[end:], reverse=True)
    if end > warmup:
        assert abs(steps - end - cooldown * steps) <= 0.5
    if warmup <= end < steps:
        assert_close(rates[-1], 0.5 / (steps - end))


def test_the_cosine_is_the_chapters():
    plan = ShapedSchedule(50, 0.1, 10)
    assert [plan(i) for i in range(50)] == [
        pc.lr_at(i, 50, 0.1, 10) for i in range(50)
    ]


# ---- Data ----------------------------------------------------------------


@few
@given(n=st.integers(1, 40), size=st.integers(1, 9), start=st.integers(0, 90))
def test_windows_come_once_an_epoch_and_go_on_anywhere(n, size, start):
    windows = [(torch.tensor([i]), torch.tensor([-i])) for i in range(n)]
    per_epoch = math.ceil(n / size)
    batches = list(
        itertools.islice(
            data.window_stream(windows, size, 1), start + 2 * per_epoch
        )
    )
    for e in range(2):
        epoch = batches[e * per_epoch : (e + 1) * per_epoch]
        assert sorted(
            torch.cat([x for x, _ in epoch]).flatten().tolist()
        ) == list(range(n))
    rest = data.window_stream(windows, size, 1, start)
    for (a, _), (b, _) in zip(batches[start:], rest, strict=False):
        assert torch.equal(a, b)


TEXTS = st.lists(st.text("ab'1 \n\té", max_size=30), min_size=1, max_size=5)


@settings(few, max_examples=100)
@given(texts=TEXTS, size=st.integers(1, 20))
def test_a_text_in_pieces_encodes_as_the_whole(corpus, texts, size):
    mark = streams.END_OF_TEXT
    whole = mark.join(texts)
    pieces = (whole[i : i + size] for i in range(0, len(whole), size))
    encode = tokenizer_of(corpus).encode_ordinary
    have = [[]]
    for piece in streams.documents(pieces, mark):
        have += [[]] if piece is None else []
        have[-1] += [] if piece is None else encode(piece)
    assert have.pop() == []
    assert have == [encode(t.strip()) for t in texts if t.strip()]


def test_token_files_hold_every_document_once(corpus):
    tokenizer, seen = tokenizer_of(corpus), []
    for name in ("train.npy", "validation.npy"):
        ids = tokens.open_tokens(corpus / "tokens" / name)
        assert ids.dtype == "<u2" and ids[0] == tokenizer.eot_token
        starts = tokens.document_starts(ids)
        assert starts[0] == 0 and starts[-1] == len(ids) - 1
        seen += [
            tokenizer.decode(ids[a + 1 : b].tolist())
            for a, b in itertools.pairwise(starts)
        ]
    assert sorted(seen) == sorted(s.text for s in storyworld.corpus(60))


@pytest.mark.parametrize("length", [5, 32, 500])
def test_a_window_inside_holds_one_document(corpus, length):
    path = corpus / "tokens" / "train.npy"
    ids = tokens.open_tokens(path)
    windows = tokens.open_windows(path, length, "inside")
    graded = []
    for inputs, targets in (windows[i] for i in range(len(windows))):
        asked = targets != pc.IGNORE
        assert asked.any() and int(ids[0]) not in inputs[asked][1:]
        graded += targets[asked].tolist()
    assert graded == ids[1:].tolist()


def test_windows_across_documents_hold_every_token(corpus):
    path = corpus / "tokens" / "train.npy"
    ids = tokens.open_tokens(path)
    windows = tokens.open_windows(path, 32, "cross")
    graded = torch.cat([windows[i][1] for i in range(len(windows))])
    assert graded.tolist() == ids[1 : len(graded) + 1].tolist()
    assert len(ids) - 1 - len(graded) < 32


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is read from /proc"
)
def test_a_token_file_is_never_read_whole(tmp_path):
    """Two billion tokens on a disk that stores none of the zeros."""
    path, n = tmp_path / "train.npy", 2**31
    numpy.lib.format.open_memmap(path, "w+", "<u2", (n,))

    def memory() -> int:
        statm = Path("/proc/self/statm").read_text("ascii")
        return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = memory()
    windows = tokens.open_windows(path, 1024, "cross")
    assert len(windows) == (n - 1) // 1024
    for i in range(0, len(windows), len(windows) // 50):
        assert windows[i][0].shape == (1024,)
    assert memory() - before < 50e6


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda f: (f / "train.npy").write_bytes(b"12"), "not a whole token"),
        (
            lambda f: (f / "train.npy").write_bytes(
                (f / "train.npy").read_bytes()[:-9]
            ),
            "not a whole token",
        ),
        (
            lambda f: numpy.save(f / "train.npy", numpy.zeros(9, int)),
            "are not of one run",
        ),
        (
            lambda f: numpy.save(f / "validation.npy", numpy.zeros(99, int)),
            "of another tokenizer",
        ),
        (
            lambda f: numpy.save(f / "train.npy", numpy.arange(9)),
            "not a whole token",
        ),
        (lambda f: (f / "validation.npy").unlink(), "does not exist"),
        (lambda f: (f / "tokenizer.tiktoken").unlink(), "does not exist"),
    ],
)
def test_a_token_file_that_does_not_fit_is_named(
    corpus, tmp_path, change, said, capsys
):
    folder = tmp_path / "tokens"
    shutil.copytree(corpus / "tokens", folder)
    change(folder)
    out = tmp_path / "run"
    assert (
        train_gpt.main(
            [
                *TINY,
                "--context-length",
                "8",
                "--data",
                str(folder / "train.npy"),
                "--out",
                str(out),
            ]
        )
        == 2
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0] and not out.exists()


@pytest.mark.parametrize(
    "content, said",
    [
        (b"one text", "fewer than two documents"),
        (b"", "fewer than two"),
        (b"a\0b", "zero bytes"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_prepare_data_names_what_it_cannot_read(
    tmp_path, content, said, capsys
):
    (tmp_path / "a.txt").write_bytes(content)
    out = tmp_path / "out"
    assert prepare_data.main([str(tmp_path / "a.txt"), "--out", str(out)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not out.exists() or not any(out.iterdir())


def test_prepare_data_can_be_called_again_when_it_failed(
    corpus, tmp_path, capsys
):
    (tmp_path / "late.txt").write_bytes(b"\xff")
    options = [
        str(corpus / "stories.txt"),
        "--learn-from",
        "0.01",
        "--out",
        str(tmp_path / "out"),
    ]
    assert (
        prepare_data.main(
            [
                str(corpus / "stories.txt"),
                str(tmp_path / "late.txt"),
                *options[1:],
            ]
        )
        == 2
    )
    assert "not UTF-8" in capsys.readouterr().err
    assert prepare_data.main(options) == 0


def held_in(folder: Path) -> list[bytes]:
    return [
        (folder / name).read_bytes()
        for name in ("train.npy", "validation.npy", "tokenizer.tiktoken")
    ]


def jsonl(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"text": t}).encode() + b"\n" for t in texts)


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A folder, and its address on a server of our own."""
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    serve = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", ["text", "gz", "JSON lines", "packed lines"])
def test_a_download_becomes_the_same_tokens(corpus, web, how):
    """Nothing of it is stored but tokens."""
    folder, url = web
    plain = (corpus / "stories.txt").read_bytes()
    lines = jsonl([s.text for s in storyworld.corpus(60)])
    name, content = {
        "text": ("a.txt", plain),
        "gz": ("a.txt.gz", gzip.compress(plain)),
        "JSON lines": ("a.jsonl", lines),
        "packed lines": ("a.json.gz", gzip.compress(lines)),
    }[how]
    (folder / name).write_bytes(content)
    out = folder.parent / "out"
    options = ["--out", str(out), "--vocab-size", "400"]
    assert prepare_data.main([f"{url}/{name}", *options]) == 0
    assert held_in(out) == held_in(corpus / "tokens")
    assert len(list(out.iterdir())) == 3


def test_texts_are_read_once(corpus, tmp_path, monkeypatch):
    """So a download is not asked for again, and a pipe will do."""
    asked, texts = [], streams.texts

    def counted(source):
        asked.append(source)
        return texts(source)

    monkeypatch.setattr(streams, "texts", counted)
    source, out = str(corpus / "stories.txt"), str(tmp_path / "out")
    options = ["--learn-from", "0.002", "--out", out]
    assert prepare_data.main([source, source, *options]) == 0
    assert asked == [source] * 2


def test_megabytes_are_enough_and_documents_stay_whole(
    corpus, tmp_path, capsys
):
    out, source = tmp_path / "out", str(corpus / "stories.txt")
    options = ["--megabytes", "0.004", "--out", str(out)]
    assert prepare_data.main([source, *options]) == 0
    tokenizer, seen = pc.load_encoding(out / "tokenizer.tiktoken"), []
    for name in ("train.npy", "validation.npy"):
        ids = tokens.open_tokens(out / name)
        for a, b in itertools.pairwise(tokens.document_starts(ids)):
            seen.append(tokenizer.decode(ids[a + 1 : b].tolist()))
    texts = [s.text for s in storyworld.corpus(60)][: len(seen)]
    assert sorted(seen) == sorted(texts)
    assert 4000 <= sum(map(len, seen)) < 4000 + max(map(len, texts))


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.jsonl", b'{"text": "a"}\n{"no": 1}\n', "line 2 is not a JSON"),
        ("a.jsonl", b"[1, 2]\n", "line 1 is not a JSON"),
        ("a.jsonl", b'{"text": 5}', "line 1 is not a JSON"),
        ("a.txt.gz", gzip.compress(b"much text" * 900)[:50], "is damaged"),
        (None, b"", "answers 404"),
    ],
)
def test_a_text_that_cannot_be_read_leaves_nothing(
    web, name, content, said, capsys
):
    folder, url = web
    if name:
        (folder / name).write_bytes(content)
    out = folder.parent / "out"
    options = ["--out", str(out), "--tokenizer", "own"]
    assert prepare_data.main([f"{url}/{name}", *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.parametrize("source", ["tinystories", "https://x.invalid/a.gz"])
def test_a_download_becomes_a_token_file_first(source, tmp_path, capsys):
    run = tmp_path / "run"
    assert train_gpt.main([*TINY, "--data", source, "--out", str(run)]) == 2
    error = capsys.readouterr().err
    assert f"prepare_data.py {source} --out tokens" in error
    assert error.count("\n") == 1 and not run.exists()


def test_ctrl_c_ends_a_script_in_one_line(capsys):
    def pressed() -> int:
        raise KeyboardInterrupt

    assert run_script(pressed) == 130
    assert capsys.readouterr().err.endswith(": stopped\n")


def test_full_memory_ends_a_script_in_one_line(capsys):
    def full(text):
        raise RuntimeError(text)

    can_t = "DefaultCPUAllocator: can't allocate memory: you tried"
    assert run_script(lambda: full(can_t)) == 1
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run_script(lambda: full("a fault of ours"))
    assert "not enough memory: take a smaller" in capsys.readouterr().err


@pytest.mark.parametrize("documents", ["cross", "inside"])
def test_epochs_are_times_through_the_data(on_tokens, documents):
    t, args = built(*on_tokens, "--documents", documents, "--epochs", 2)
    n = len(tokens.open_windows(Path(on_tokens[1]), 32, documents))
    assert t.schedule.steps == 2 * math.ceil(n / 4) == args.steps


# ---- More than one process -----------------------------------------------

SHARED_RUN = [
    *TINY,
    "--layers",
    "2",
    "--batch-size",
    "5",
    "--accumulate",
    "2",
    "--steps",
    "4",
    "--eval-every",
    "2",
    "--documents",
    "inside",
    "--warmup",
    "2",
    "--checkpoint-every",
    "2",
]


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    run = tmp_path_factory.mktemp("alone") / "run"
    assert (
        train_gpt.main(
            [
                *SHARED_RUN,
                "--data",
                str(corpus / "tokens/train.npy"),
                "--out",
                str(run),
            ]
        )
        == 0
    )
    return run


def torchrun(*options) -> str:
    """Two processes, on a port that is free; what they print."""
    done = child(
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        2,
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
        HERE / "train_gpt.py",
        *options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_alike(one: Path, two: Path) -> None:
    """The same curves to 1e-5, and the same weights and averages."""
    assert len(rows(one)) == len(rows(two)) == 4
    for key in ("train", "validation", "grad_norm", "tokens"):
        a, b = (
            [float(r[key]) for r in rows(run) if r[key]] for run in (one, two)
        )
        assert_close(b, a, atol=1e-5, rtol=0)
    a, b = (
        checkpoints.load(run / "checkpoints/last.pt") for run in (one, two)
    )
    assert_close(b["model"], a["model"], atol=1e-4, rtol=0)
    one, two = (state["optimizer"]["state"] for state in (a, b))
    assert_close(two, one, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
@pytest.mark.skipif(
    os.name == "nt" or not torch.distributed.is_available(),
    reason="torchrun's rendezvous is not built here",
)
def test_two_processes_train_as_one(alone, on_tokens, tmp_path, kind):
    """Odd batches: one process has more rows and more targets."""
    run = tmp_path / "run"
    said = torchrun(*SHARED_RUN, *on_tokens, "--parallel", kind, "--out", run)
    check_alike(alone, run)
    assert said.count("validation loss") == 1
    folder = run / "checkpoints"
    assert len(checkpoints.load(folder / "last.pt")["generators"]) == 2
    if kind == "fsdp":  # and it goes on from full state dicts
        for name in ("step-00000004.pt", "last.pt", "best.pt"):
            (folder / name).unlink()
        torchrun("--resume", run)
        check_alike(alone, run)


def test_several_processes_need_torchrun(on_tokens, capsys):
    assert train_gpt.main([*TINY, *on_tokens, "--parallel", "ddp"]) == 2
    assert "torchrun" in capsys.readouterr().err


def test_shares_are_a_partition():
    batch = (torch.arange(10).view(5, 2), torch.arange(10, 20).view(5, 2))
    for size in (1, 2, 3, 7):
        parts = [
            distributed.Processes(rank, size).share(batch)
            for rank in range(size)
        ]
        assert all(len(x) for x, _ in parts)
        graded = torch.cat([y.flatten() for _, y in parts])
        graded = graded[graded != pc.IGNORE]
        assert sorted(graded.tolist()) == list(range(10, 20))


# ---- The small scripts ---------------------------------------------------


def test_costs_are_measured(capsys, monkeypatch):
    tiny = {"context_length": 32, "emb_dim": 32}
    monkeypatch.setattr(measure_costs, "BASE", measure_costs.BASE | tiny)
    assert measure_costs.main(["--rounds", "2"]) == 0
    table = capsys.readouterr().out
    assert table.count("\n| ") >= 6 and "formula" in table


def test_the_benchmark_runs_without_a_gpu(capsys):
    assert (
        bench_gpu.main(
            [
                "--config",
                "tiny",
                "--steps",
                "2",
                "--force-cpu",
                "--no-compile",
                "--pad-vocab",
                "128",
            ]
        )
        == 0
    )
    table = capsys.readouterr().out
    for word in ("tokens/s", "matmul peak", "| 384 |"):
        assert word in table
    assert "speed-up" not in table and "| 0.00" not in table
    args = bench_gpu.options(["--pad-vocab", "128"])
    assert bench_gpu.model_config(args)["vocab_size"] == 50_304


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
