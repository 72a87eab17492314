"""What must hold of chapter 5: the loss, a step, a run, its files, scripts.

Properties first, then the two scripts as a user meets them (files, error
lines, Ctrl-C), then proof that each exercise's check rejects wrong answers.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, repeat
from pathlib import Path
from types import SimpleNamespace

import gpt_generate
import gpt_train
import pretraining as pt
import previous_chapters
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scratch_llm import runs
from scratch_llm import storyworld as world
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
MAINS = {"gpt_train": gpt_train.main, "gpt_generate": gpt_generate.main}
few = settings(max_examples=30, deadline=None, derandomize=True)
CFG = {
    "vocab_size": 60,
    "context_length": 16,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": False,
    "tie_weights": True,
}
TINY = [
    "--layers",
    "1",
    "--width",
    "16",
    "--heads",
    "2",
    "--vocab-size",
    "900",
    "--force-cpu",
]


@pytest.fixture(scope="module")
def tokenizer():
    return pt.own_tokenizer((s.text for s in world.corpus(300)), 900)


def new_model(seed: int = 0, **changes):
    torch.manual_seed(seed)
    return pt.GPTModel(CFG | changes)


def random_rows(seed: int, n: int = 5) -> list[list[int]]:
    g = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, 13, (n,), generator=g).tolist()
    return [torch.randint(60, (k,), generator=g).tolist() for k in sizes]


def gradients(model) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


# ---- Loss and batches ----------------------------------------------------


@few
@given(seed=st.integers(0, 999))
def test_ignored_targets_add_nothing(seed):
    torch.manual_seed(seed)
    logits, targets = torch.randn(3, 7, 11), torch.randint(11, (3, 7))
    targets[torch.rand(3, 7) < 0.4] = pt.IGNORE
    log_p, by_hand = logits.log_softmax(-1), 0.0
    for b in range(3):
        for t in range(7):
            if targets[b, t] != pt.IGNORE:
                by_hand -= log_p[b, t, targets[b, t]].item()
    assert_close(
        pt.sum_nll(logits, targets).item(), by_hand, atol=1e-4, rtol=0
    )


@few
@given(seed=st.integers(0, 999), size=st.integers(1, 6))
def test_buckets_keep_every_row(seed, size):
    rows = random_rows(seed, 11)
    g = torch.Generator().manual_seed(seed)
    found = []
    for inputs, targets in pt.bucket_batches(rows, size, g):
        assert len(inputs) <= size
        for x, y in zip(inputs.tolist(), targets.tolist(), strict=True):
            n = sum(t != pt.IGNORE for t in y)
            assert x[1:n] == y[: n - 1], "targets are the inputs, one later"
            found.append(tuple(x[:1] + y[:n]))
    assert Counter(found) == Counter(map(tuple, rows))


def test_a_fresh_model_is_at_ln_v():
    batch = pt.pad_batch(random_rows(1, 40))
    assert abs(pt.batch_loss(new_model(), *batch).item() - math.log(60)) < 0.05


@few
@given(seed=st.integers(0, 999), size=st.integers(1, 5))
def test_evaluation_does_not_depend_on_the_batches(seed, size):
    model, rows = new_model(drop_rate=0.3), random_rows(seed, 7)
    total = sum(
        pt.sum_nll(model.eval()(x), y).item()
        for x, y in (pt.pad_batch([row]) for row in rows)
    )
    by_hand = total / sum(len(row) - 1 for row in rows)
    model.train()
    loss = pt.evaluate(model, pt.bucket_batches(rows, size))
    assert_close(loss, by_hand, atol=1e-5, rtol=0)
    assert model.training, "the mode is restored"
    assert pt.evaluate(model.eval(), pt.bucket_batches(rows, 2)) and (
        not model.training
    )


def test_nothing_to_grade_is_an_error():
    x = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="no target"):
        pt.evaluate(new_model(), [(x, x.fill_(pt.IGNORE).clamp_(0) - 100)])


# ---- One step ------------------------------------------------------------


@few
@given(seed=st.integers(0, 999), cut=st.integers(1, 4))
def test_accumulated_gradients_equal_those_of_the_whole(seed, cut):
    model, rows = new_model(), random_rows(seed)
    loss, graded = pt.accumulate_gradients(model, [pt.pad_batch(rows)])
    whole = gradients(model).clone()
    model.zero_grad()
    parts = [pt.pad_batch(rows[:cut]), pt.pad_batch(rows[cut:])]
    again, same = pt.accumulate_gradients(model, parts)
    assert_close(gradients(model), whole, atol=1e-6, rtol=1e-4)
    assert graded == same == sum(len(row) - 1 for row in rows)
    assert_close(loss, again, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_groups_hold_each_parameter_once(tied):
    model = new_model(tie_weights=tied)
    decayed, spared = pt.decay_groups(model, 0.1)
    ids = [id(p) for g in (decayed, spared) for p in g["params"]]
    assert Counter(ids) == Counter(id(p) for p in model.parameters())
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() == 1 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_decay_is_decoupled():
    model = new_model()
    optimizer = pt.make_optimizer(model, weight_decay=0.5)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    optimizer.step()
    for name, p in model.named_parameters():
        shrunk = 0.95 if p.dim() >= 2 else 1.0
        assert_close(p.detach(), before[name] * shrunk)


@few
@given(steps=st.integers(2, 400), warmup=st.integers(0, 60))
def test_the_rate_rises_then_falls_to_zero(steps, warmup):
    rates = [pt.lr_at(s, steps, 2.0, warmup) for s in range(steps)]
    up, down = rates[:warmup], rates[warmup:]
    assert all(0 < r <= 2.0 for r in rates)
    assert up == sorted(up) and down == sorted(down, reverse=True)
    if warmup < steps:
        assert down[0] == 2.0
        assert pt.lr_at(steps, steps, 2.0, warmup) < 1e-12
    if warmup:
        assert math.isclose(rates[0], 2.0 / warmup)


def test_evaluations_come_on_time_and_at_the_end():
    batch = pt.pad_batch(random_rows(3))
    task = pt.Task("one", None, repeat(batch), [batch])
    records = list(
        pt.train_task(new_model(), task, pt.Schedule(7, 1e-3, 2), 3)
    )
    assert [r["validation"] is not None for r in records] == [
        False,
        False,
        True,
        False,
        False,
        True,
        True,
    ]
    assert records[-1]["tokens"] == sum(r["n_targets"] for r in records)


def test_precision():
    cpu = torch.device("cpu")
    assert pt.pick_precision(cpu, "fp32") == "fp32"
    assert pt.pick_precision(cpu) in ("fp32", "bf16")
    with pytest.raises(ValueError, match="fp16"):
        pt.autocast(cpu, "fp16")
    batch = pt.pad_batch(random_rows(3))
    fp32, bf16 = (
        pt.evaluate(new_model(), [batch], p) for p in ("fp32", "bf16")
    )
    assert fp32 != bf16 and abs(fp32 - bf16) < 0.05


# ---- The run -------------------------------------------------------------


def test_one_batch_is_learned_by_heart():
    model, batch = new_model(), pt.pad_batch(random_rows(5, 3))
    records = list(
        pt.train(
            model,
            pt.make_optimizer(model, 0.0),
            repeat(batch),
            pt.Schedule(150, 1e-2, 10),
        )
    )
    assert records[-1]["train"] < 0.25 * records[0]["train"]
    assert [r["step"] for r in records] == list(range(1, 151))
    assert all(r["n_targets"] == pt.count_targets([batch]) for r in records)


def test_the_same_seed_repeats_a_run(tokenizer):
    def losses(seed):
        model = new_model(
            seed, vocab_size=tokenizer.n_vocab, context_length=256
        )
        stream = pt.story_batches(world, tokenizer, 4, seed, pool=48)
        return [
            r["train"]
            for r in pt.train(
                model,
                pt.make_optimizer(model),
                stream,
                pt.Schedule(4, 1e-2, 1),
            )
        ]

    assert losses(1) == losses(1) != losses(2)


def test_not_a_number_stops_before_the_weights_change():
    model, batch = new_model(), pt.pad_batch(random_rows(6))
    with torch.no_grad():
        model.trf_blocks[1].att.qkv.weight[0, 0] = torch.nan
    before = model.tok_emb.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="step 0"):
        next(
            pt.train(
                model,
                pt.make_optimizer(model),
                repeat(batch),
                pt.Schedule(3, 1e-2, 0),
            )
        )
    assert_close(model.tok_emb.weight.detach(), before)


def test_the_copying_start_is_the_identity_with_noise():
    model = new_model()
    pt.init_copying(model)
    for block in model.trf_blocks:
        v, out = block.att.qkv.weight[32:], block.att.out_proj.weight
        assert (v - torch.eye(16)).abs().max() < 0.15
        assert (out - torch.eye(16) / 2).abs().max() < 0.15
    assert model.out_head.weight is model.tok_emb.weight
    p = model.pos_emb.weight
    assert_close(p[:, ::2] ** 2 + p[:, 1::2] ** 2, torch.full((16, 8), 0.01))


def test_flops_follow_from_the_matrices():
    model = new_model(tie_weights=False)
    matrices = sum(
        p.numel()
        for n, p in model.named_parameters()
        if p.dim() == 2 and "emb" not in n
    )
    assert pt.flops_per_token(CFG, 0) == 6 * matrices
    assert pt.flops_per_token(CFG, 10) - 6 * matrices == 6 * 2 * 10 * 16


# ---- Stories and their floor ---------------------------------------------


def test_the_floor_is_the_mean_surprise_of_held_out_stories():
    task = pt.story_task(world, vocab_size=600, held_out=30, seed=0)
    stories = world.corpus(30, "validation")
    assert math.isclose(
        task.floor * pt.count_targets(task.validation),
        sum(s.nll for s in stories),
    )
    told = {
        task.tokenizer.decode(
            [i for i in y if i not in (pt.IGNORE, task.tokenizer.eot_token)]
        )[1:]
        for _, targets in task.validation
        for y in targets.tolist()
    }
    assert told == {s.text for s in stories}


def test_no_story_comes_twice_or_from_the_held_out_ones(tokenizer):
    stream = pt.story_batches(world, tokenizer, 4, seed=0, pool=48)
    seen = Counter(
        tokenizer.decode(row)
        for inputs, _ in islice(stream, 60)
        for row in inputs.tolist()
    )
    assert sum(seen.values()) == 240 and max(seen.values()) == 1
    held_out = {s.text for s in world.corpus(200, "validation")}
    texts = {t.split("<|endoftext|>")[1].strip(" !\x00") for t in seen}
    assert not texts & held_out


def test_the_judge_counts():
    good = world.story(3).text
    valid, reasons = pt.judge_texts([good, good[:40], "No."], world.parse)
    assert math.isclose(valid, 1 / 3) and sum(reasons.values()) == 2
    marked = runs.marked_samples([good, "No."], world.parse)
    assert "sample 1: valid" in marked and "sample 2: breaks at" in marked


def test_samples_need_no_cache_and_repeat(tokenizer):
    model = new_model(vocab_size=tokenizer.n_vocab, context_length=32)
    one, two, other = (
        pt.sample_texts(
            model, tokenizer, 3, seed, use_cache=c, max_new_tokens=31
        )
        for seed, c in ((1, True), (1, False), (2, True))
    )
    assert one == two != other


def test_streamed_equals_sampled(tokenizer):
    model = new_model(vocab_size=tokenizer.n_vocab, context_length=32)
    pieces = pt.stream_text(model, tokenizer, "", 31, temperature=0.0)
    at_once = pt.sample_texts(
        model, tokenizer, 1, temperature=0.0, max_new_tokens=31
    )[0]
    assert "".join(pieces).removeprefix(" ") == at_once


def test_a_prompt_is_read_as_in_training(tokenizer):
    for prefix, read in ((" ", " One day,"), ("", "One day, ")):
        tokenizer.add_prefix_space = prefix == " "
        eot, *ids = pt.encode_prompt(tokenizer, "One day, ")
        assert eot == tokenizer.eot_token and tokenizer.decode(ids) == read
    del tokenizer.add_prefix_space


@few
@given(seed=st.integers(0, 99), flat=st.sampled_from([0.84, 1.0, 1.16]))
def test_calibration_finds_how_sure_a_model_should_be(seed, flat):
    model = new_model(seed).eval()
    with torch.no_grad():
        model.final_norm.scale.mul_(30)
        inputs = torch.randint(60, (400, 16))
        probs = model(inputs).softmax(-1).flatten(0, 1)
        targets = probs.multinomial(1).view(400, 16)  # the model is right
        targets[:, 0] = pt.IGNORE
        model.final_norm.scale.mul_(flat)  # and now too sure
    batches, dial = [(inputs, targets)], [0.76, 0.84, 0.92, 1, 1.08, 1.16]
    losses = pt.calibrate(model, batches, dial)
    assert abs(min(losses, key=losses.get) - flat) < 0.1
    assert_close(
        pt.evaluate(model, batches), min(losses.values()), rtol=1e-5, atol=0
    )


def test_diversity():
    assert pt.diversity(["a b c", "d e f"]) == 1.0
    assert pt.diversity(["a b c"] * 5) == 0.2
    assert pt.diversity(["", "a b"]) == 0.0


# ---- Files ---------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_comes_back(tmp_path, tied):
    model = new_model(tie_weights=tied, qkv_bias=True).eval()
    pt.save_model(tmp_path / "m.safetensors", model)
    back = pt.load_model(tmp_path / "m.safetensors")
    ids = torch.randint(60, (2, 9))
    assert torch.equal(back(ids), model(ids)) and back.cfg == model.cfg
    assert (back.out_head.weight is back.tok_emb.weight) == tied
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_a_checkpoint(tmp_path):
    pt.save_model(tmp_path / "m.safetensors", new_model())
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_broken_checkpoints_are_named(tmp_path):
    whole, foreign = tmp_path / "whole", tmp_path / "foreign"
    pt.save_model(whole, new_model())
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-50])
    (tmp_path / "text").write_text("not weights at all", encoding="utf-8")
    save_file({"w": torch.ones(2)}, foreign)
    for name, why in (
        ("cut", "not a whole"),
        ("text", "not a whole"),
        ("foreign", "not written by"),
        ("none", "not exist"),
    ):
        with pytest.raises(ValueError, match=why) as error:
            pt.load_model(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


class Bigram(torch.nn.Module):
    """Another architecture: the next token depends on the last one only."""

    def __init__(self, cfg: dict):
        super().__init__()
        self.cfg = dict(cfg)
        self.table = torch.nn.Embedding(cfg["vocab_size"], cfg["vocab_size"])

    def forward(self, ids, cache=None, last_only=False):
        if cache is not None:
            cache.length += ids.shape[1]
        return self.table(ids[:, -1:] if last_only else ids)

    def new_cache(self, batch_size=1, capacity=None):
        cache = SimpleNamespace(length=0)
        cache.reset = lambda: setattr(cache, "length", 0)
        return cache

    def scale_logits(self, factor):
        self.table.weight.data.mul_(factor)


def test_another_architecture_trains_saves_and_writes(tokenizer, tmp_path):
    torch.manual_seed(0)
    model = Bigram(
        {
            "vocab_size": tokenizer.n_vocab,
            "context_length": 256,
            "n_layers": 1,
            "emb_dim": 8,
        }
    )
    stream = pt.story_batches(world, tokenizer, 4, 0, pool=48)
    batch = next(stream)
    task = pt.Task("bigrams", tokenizer, stream, [batch], 0.5, world.parse)
    history = list(pt.train_task(model, task, pt.Schedule(60, 0.1, 0)))
    assert history[-1]["train"] < history[0]["train"] - 2
    assert (
        pt.finish_run(
            tmp_path, model, task, history, "fp32", {"seed": 1, "samples": 2}
        )
        == 0
    )
    pt.save_tokenizer(tmp_path / "tokenizer.tiktoken", tokenizer)
    back, its = pt.from_pretrained(tmp_path, "cpu", architecture=Bigram)
    assert torch.equal(back.table.weight, model.table.weight)
    assert pt.generate_text(back, its, "One day,", 9, seed=1).startswith("One")
    with pytest.raises(ValueError, match="holds a Bigram, not a GPTModel"):
        pt.from_pretrained(tmp_path)


def test_the_tokenizer_file_is_in_tiktokens_format(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.tiktoken"
    pt.save_tokenizer(path, tokenizer)
    back = pt.load_tokenizer(path, tokenizer.n_vocab)
    text = "Nora went to the mill. é 🦊"
    assert back.encode_ordinary(text) == tokenizer.encode_ordinary(text)
    with pytest.raises(ValueError, match="not of one run"):
        pt.load_tokenizer(path, 7)
    path.write_text("no tokenizer", encoding="utf-8")
    with pytest.raises(ValueError, match="not a tokenizer file"):
        pt.load_tokenizer(path, 7)


def test_a_text_is_cut_without_overlap():
    text = " ".join(map(str, range(4000)))
    task = pt.text_task(text, "Büch", vocab_size=300, context_length=32)
    assert (task.name, task.floor, task.parse) == ("Büch", None, None)
    targets = task.validation[-1][1][-1]
    last = task.tokenizer.decode(targets[targets != pt.IGNORE].tolist())
    assert "39" in last
    inputs, targets = next(task.batches)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    seen = [
        task.tokenizer.decode(x.tolist())
        for inputs, _ in islice(task.batches, task.epoch)
        for x in inputs
    ]
    assert any(" 3300" in text for text in seen)
    assert not any(" 3900" in text for text in seen)
    with pytest.raises(ValueError, match="shorter than the context"):
        pt.text_task("Ein kurzer Text.")


@few
@given(seed=st.integers(0, 999), n=st.integers(60, 200))
def test_an_epoch_reads_each_window_once(seed, n):
    stream = pt.window_batches(list(range(n)), 16, 3, seed)
    for one, two in zip(
        islice(stream, 9),
        pt.window_batches(list(range(n)), 16, 3, seed),
        strict=False,
    ):
        assert all(map(torch.equal, one, two))
        assert torch.equal(one[0] + 1, one[1])
    first = islice(pt.window_batches(list(range(n)), 16, 99, seed), 1)
    ((inputs, _),) = first
    starts = sorted(inputs[:, 0].tolist())
    assert starts == list(range(starts[0], starts[0] + 16 * len(starts), 16))


@few
@given(n=st.integers(34, 400), size=st.integers(1, 5))
def test_overlapping_windows_grade_each_target_once(n, size):
    batches = pt.overlapping_batches(list(range(n)), 32, size)
    graded = [y[y != pt.IGNORE].tolist() for _, y in batches]
    assert sorted(sum(graded, [])) == list(range(1, n))
    for (inputs, _), targets in zip(batches, graded, strict=True):
        assert inputs.shape[1] <= 32 and targets


def test_bits_per_byte_are_those_of_the_text():
    text = "Die Möwe flog über den Fluß. " * 60
    task = pt.text_task(text, vocab_size=257, context_length=32)
    assert pt.bits_per_byte(math.log(2), task) == pytest.approx(1)


# ---- The scripts ---------------------------------------------------------


def script(name: str, *args, cwd: Path, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, HERE / name, *map(str, args)],
        cwd=cwd,
        encoding="utf-8",
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        **more,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder in which gpt_train.py has run for a few steps."""
    cwd = tmp_path_factory.mktemp("cwd")
    done = script(
        "gpt_train.py",
        *TINY,
        "--steps",
        4,
        "--eval-every",
        2,
        "--eval-stories",
        12,
        "--samples",
        3,
        "--accumulate",
        2,
        "--seed",
        5,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(
        cwd=cwd, out=done.stdout, folder=cwd / "runs" / "storyteller-001"
    )


def test_a_run_leaves_every_file_and_key(run):
    assert {p.name for p in run.folder.iterdir()} == {
        "model.safetensors",
        "tokenizer.tiktoken",
        "metrics.json",
        "loss.png",
        "samples.txt",
    }
    m = json.loads((run.folder / "metrics.json").read_text("utf-8"))
    assert {
        "val_loss",
        "floor",
        "ratio",
        "tokens_seen",
        "tokens_per_second",
        "seconds",
        "parameters",
        "config",
        "seed",
        "valid_stories",
        "precision",
        "device",
        "peak_gflops",
        "utilisation",
        "history",
        "torch",
        "interrupted",
        "options",
        "calibrated_by",
    } <= m.keys()
    assert m["seed"] == 5 and m["steps"] == 4 and not m["interrupted"]
    assert m["device"] == "cpu" and m["valid_stories"] == 0.0
    assert math.isclose(m["ratio"], m["val_loss"] / m["floor"])
    assert m["history"]["tokens"][-1] == m["tokens_seen"]
    assert [v is not None for v in m["history"]["validation"]] == [
        False,
        True,
        False,
        True,
    ]
    assert (run.folder / "loss.png").read_bytes()[1:4] == b"PNG"
    samples = (run.folder / "samples.txt").read_text("utf-8")
    assert samples.count("breaks at character") == 3
    assert "runs" in run.out and "x floor" in run.out


def test_a_run_can_be_loaded_and_judged_again(run):
    model = pt.load_model(run.folder / "model.safetensors")
    m = json.loads((run.folder / "metrics.json").read_text("utf-8"))
    task = pt.story_task(world, vocab_size=900, held_out=12, seed=5)
    assert_close(
        pt.evaluate(model, task.validation), m["val_loss"], atol=1e-5, rtol=0
    )
    assert_close(task.floor, m["floor"])
    assert sum(p.numel() for p in model.parameters()) == m["parameters"]


def test_generate_streams_the_newest_run(run):
    one = script(
        "gpt_generate.py",
        "--prompt",
        "One day,",
        "--seed",
        3,
        "--max-new-tokens",
        9,
        cwd=run.cwd,
    )
    assert one.returncode == 0, one.stderr
    assert one.stdout.startswith("One day,") and len(one.stdout) > 12


def test_generate_repeats_itself_only_when_asked(run, capsys):
    def said(*more):
        how = ["--checkpoint", str(run.folder), "--max-new-tokens", "9"]
        assert MAINS["gpt_generate"]([*how, *more]) == 0
        return capsys.readouterr().out

    seed = ["--seed", "3"]
    one = said(*seed)
    assert one == said(*seed) != said("--seed", "4")
    assert said() != said(), "without a seed each text is another"
    assert said("--n", "2", "--top-k", "5", "--top-p", "0.9").count("---") == 2
    stop = one.strip()[3:6]
    assert said(*seed, "--stop", stop) == one.split(stop)[0] + "\n"
    file = run.folder / "model.safetensors"
    assert said(*seed, "--checkpoint", str(file)) == one


def test_text_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "Die Möwe flog über den Fluß. " * 200
    Path("mine.txt").write_text(text, "utf-8")
    assert (
        MAINS["gpt_train"](
            [
                *TINY,
                "--data",
                "mine.txt",
                "--steps",
                "2",
                "--samples",
                "2",
                "--context-length",
                "16",
            ]
        )
        == 0
    )
    folder = tmp_path / "runs" / "mine-001"
    m = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert m["floor"] is m["ratio"] is m["valid_stories"] is None
    assert m["val_loss"] > 0
    assert "sample 2" in (folder / "samples.txt").read_text("utf-8")
    how = ["--checkpoint", str(folder), "--max-new-tokens", "1", "--seed"]
    capsys.readouterr()
    for prompt in ("Die Möwe", " flog ", ""):
        assert MAINS["gpt_generate"]([*how, "1", "--prompt", prompt]) == 0
        assert capsys.readouterr().out.startswith(prompt)


def test_the_beginning_of_a_corpus_is_enough(tmp_path, monkeypatch, capsys):
    """From a server of our own; nothing of it but the text is kept."""
    for name in ("http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    web = tmp_path / "datasets/roneneldan/TinyStories/resolve/main"
    web.mkdir(parents=True)
    stories = "The gull flew over the river. <|endoftext|>\n" * 900
    (web / "TinyStoriesV2-GPT4-train.txt").write_text(stories, "utf-8")
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("SCRATCH_LLM_MIRROR", url)
        options = ["--data", "tinystories", "--megabytes", "0.01"]
        options += ["--steps", "2", "--samples", "2", "--context-length", "16"]
        assert MAINS["gpt_train"]([*TINY, *options]) == 0
        server.shutdown()
        thread.join()
    assert "tinystories: its first 0.01 megabytes" in capsys.readouterr().out
    run = tmp_path / "runs" / "tinystories-001"
    assert (run / "model.safetensors").is_file()
    assert "endoftext" not in (run / "samples.txt").read_text("utf-8")


@pytest.mark.parametrize(
    "name, args, said",
    [
        ("gpt_train", ["--steps", "-5"], "got -5"),
        ("gpt_train", ["--steps", "many"], "got many"),
        ("gpt_train", ["--dropout", "1.5"], "<= 0.99, got 1.5"),
        ("gpt_train", ["--lr", "nan"], "got nan"),
        ("gpt_train", ["--rate", "1e-3"], "--rate is now called --lr"),
        ("gpt_train", ["--start=gpt2"], "--start is now called --init"),
        ("gpt_train", ["--vocab-size", "20"], "number >= 257, got 20"),
        ("gpt_train", ["--width", "33", "--heads", "2"], "33"),
        ("gpt_train", ["--context-length", "20"], "larger"),
        ("gpt_train", ["--device", "toaster"], "toaster"),
        ("gpt_train", ["--data", "none.txt"], "none.txt does not exist"),
        ("gpt_train", ["--data", "."], "not a folder"),
        ("gpt_train", ["--data", "empty.txt"], "is empty"),
        ("gpt_train", ["--data", "binary.txt"], "not UTF-8"),
        ("gpt_train", ["--data", "short.txt"], "shorter than the context"),
        ("gpt_train", ["--out", "full"], "exists already"),
        ("gpt_train", ["--tokenizer", "none"], "none"),
        ("gpt_train", ["--nonsense"], "--nonsense"),
        ("gpt_generate", ["--model", "none"], "Train one first"),
        ("gpt_generate", ["--checkpoint", "none"], "does not exist"),
        ("gpt_generate", ["--checkpoint", "full"], "does not exist"),
        ("gpt_generate", ["--temperature", "-1"], "got -1"),
        ("gpt_generate", ["--top-p", "0"], "got 0"),
        ("gpt_generate", ["--n", "0"], "got 0"),
    ],
)
def test_one_clear_line_and_nothing_written(
    tmp_path, monkeypatch, capsys, name, args, said
):
    monkeypatch.chdir(tmp_path)
    for file, data in {
        "empty.txt": b"",
        "binary.txt": b"\x89PNG\xff",
        "short.txt": b"Too short.",
    }.items():
        Path(file).write_bytes(data)
    Path("full").mkdir()
    Path("full", "thing").touch()
    before = sorted(tmp_path.rglob("*"))
    try:
        code = MAINS[name](args)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err.strip()
    assert code == 2 and said in error
    assert error.count("\n") == 0 and error.startswith(f"{name}.py: error")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_a_checkpoint_that_loads(tmp_path, which):
    process = subprocess.Popen(
        [
            sys.executable,
            HERE / "gpt_train.py",
            *TINY,
            "--out",
            "run",
            "--eval-stories",
            "8",
            "--steps",
            "100000",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert "parameters" in process.stdout.readline()
    time.sleep(1.5)
    process.send_signal(which)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "all in run" in said
    model = pt.load_model(tmp_path / "run" / "model.safetensors")
    assert all(p.isfinite().all() for p in model.parameters())
    m = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert m["interrupted"] and m["valid_stories"] is None


SHORT_RUN = [
    "--layers",
    "1",
    "--width",
    "16",
    "--heads",
    "2",
    "--data",
    "mine.txt",
    "--force-cpu",
    "--precision",
    "fp32",
    "--samples",
    "2",
    "--context-length",
    "16",
    "--out",
    "run",
]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a text, in which we are."""
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("Die Möwe flog über den Fluß. " * 200, "utf-8")
    return tmp_path


def test_training_needs_no_console_with_umlauts(mine):
    done = subprocess.run(
        [sys.executable, HERE / "gpt_train.py", *SHORT_RUN, "--steps", "2"],
        capture_output=True,
        timeout=120,
        env=os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert b"all in run" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes differ on Windows")
def test_training_needs_no_reader(mine):
    process = subprocess.Popen(
        [
            sys.executable,
            HERE / "gpt_train.py",
            *SHORT_RUN,
            "--steps",
            "4",
            "--eval-every",
            "1",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert "parameters" in process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0 and "Broken" not in said
    assert (mine / "run" / "metrics.json").is_file()


@pytest.mark.parametrize(
    "error, code, said",
    [
        (KeyboardInterrupt(), 130, "stopped at once, run may lack files"),
        (PermissionError(13, "Permission denied", "run"), 1, "denied: 'run'"),
    ],
)
def test_what_breaks_off_the_end_is_one_line(
    mine, monkeypatch, capsys, error, code, said
):
    def broken(*_):
        raise error

    monkeypatch.setattr(pt, "record_run", broken)
    assert MAINS["gpt_train"]([*SHORT_RUN, "--steps", "1"]) == code
    assert said in capsys.readouterr().err.splitlines()[-1]
    pt.load_model("run/model.safetensors")


def test_a_breakdown_keeps_the_best_weights(tmp_path, capsys):
    task = pt.text_task(
        "Die Möwe flog. " * 99, vocab_size=300, context_length=16
    )
    model, path = new_model(), tmp_path / "model.safetensors"
    options = {"seed": 1, "samples": 2}
    pt.save_model(path, new_model(5))  # the best so far
    history = [
        {
            "step": 1,
            "tokens": 9,
            "seconds": 1.0,
            "train": 4.0,
            "validation": 4.0,
            "lr": 1,
            "grad_norm": 1,
            "n_targets": 9,
        }
    ]
    assert (
        pt.finish_run(
            tmp_path,
            model,
            task,
            history,
            "fp32",
            options,
            "step 3: loss nan, norm nan",
        )
        == 1
    )
    assert "nan), try a lower --lr" in capsys.readouterr().out
    best = pt.load_model(path).tok_emb.weight
    assert torch.equal(best, new_model(5).tok_emb.weight)
    path.unlink()
    assert (
        pt.finish_run(
            tmp_path, model, task, [], "fp32", options, "interrupted"
        )
        == 130
    )
    pt.load_model(path)


def test_fewer_steps_on_a_slow_machine():
    schedule = pt.Schedule(9000, 1e-3, 10)
    args = SimpleNamespace(steps=9000, max_minutes=1.0)
    gpt_train.fit(schedule, {"step": 40, "seconds": 1.0}, args)
    assert schedule.steps == 2400
    gpt_train.fit(schedule, {"step": 80, "seconds": 1.0}, args)
    assert schedule.steps == 4800, "a slow start is forgiven"
    gpt_train.fit(schedule, {"step": 120, "seconds": 90.0}, args)
    assert schedule.steps == 121


# ---- gpt_generate.py: one command line for every model -------------------

SHORT = ["--max-new-tokens", "12"]
RUN_CFG = {
    "vocab_size": 257,
    "context_length": 32,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 1,
    "drop_rate": 0.0,
    "qkv_bias": False,
    "tie_weights": True,
}


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """said(*args): exit code, stdout and stderr, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH_LLM_DEVICE", "cpu")

    def call(*args: object):
        try:
            code = gpt_generate.main([*SHORT, *map(str, args)])
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def new_run(tmp_path):
    """A run folder with an untrained model of bytes."""

    def make(name: str, seed: int = 0, prefix: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        torch.manual_seed(seed)
        model = pt.GPTModel(RUN_CFG)
        for p in model.parameters():  # has opinions
            torch.nn.init.normal_(p, std=0.6)
        pt.save_model(folder / "model.safetensors", model, prefix)
        pt.write_ranks(
            {bytes([i]): i for i in range(256)}, folder / "tokenizer.tiktoken"
        )
        return folder

    return make


@pytest.fixture(scope="module")
def oracle():
    """A GPT-2 of transformers, tiny but for its vocabulary."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    config = GPT2Config(n_embd=8, n_layer=2, n_head=2, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def gpt2(oracle, tmp_path, monkeypatch):
    """gpt2/ with the oracle's weights as gpt2-small, and its loader."""
    monkeypatch.setitem(previous_chapters.GPT2_SIZES, "124M", (8, 2, 2))
    path = tmp_path / "gpt2" / "gpt2-small-124M.safetensors"
    path.parent.mkdir()
    save_file(
        {
            name: t.contiguous()
            for name, t in oracle.transformer.state_dict().items()
        },
        path,
    )
    return path


# ---- Which model writes --------------------------------------------------


def test_without_a_run_the_storyteller_writes(said):
    code, out, err = said("--prompt", "One day,", "--seed", 1)
    assert code == 0 and out.startswith("One day, ") and len(out) > 20
    assert err == "model: storyteller (--model names another)\n"
    assert said(
        "--prompt", "One day,", "--seed", 1, "--model", "storyteller"
    ) == (0, out, "")


def test_the_newest_run_comes_first(said, new_run):
    old, new = new_run("runs/a", 1), new_run("runs/b", 2)
    os.utime(old / "model.safetensors", (1, 1))
    code, out, err = said("--seed", 1)
    assert (
        code == 0
        and err == f"model: {Path('runs', 'b')} (--model names another)\n"
    )
    for way in ("--model", "--checkpoint"):
        assert said("--seed", 1, way, new) == (0, out, "")
        assert said("--seed", 1, way, new / "model.safetensors")[1] == out
        assert said("--seed", 1, way, old)[1] != out


def test_a_checkpoint_is_a_folder_whatever_its_name(said, new_run):
    for name in ("storyteller", "gpt2-small"):
        assert said("--checkpoint", name)[0] == 2
        new_run(name)
        assert (
            said("--checkpoint", name, "--seed", 1)[1]
            == said("--checkpoint", f"./{name}", "--seed", 1)[1]
        )


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_gpt2_writes_what_transformers_writes(said, gpt2, oracle, kind):
    if kind == "pth":
        torch.save(oracle.transformer.state_dict(), gpt2.with_suffix(".pth"))
        gpt2.unlink()
    tokenizer = previous_chapters.gpt2_encoding()
    ids = tokenizer.encode_ordinary("The sea")
    there = oracle.generate(
        torch.tensor([[tokenizer.eot_token, *ids]]),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=0,
    )[0, 1:].tolist()
    code, out, err = said(
        "--model", "gpt2-small", "--temperature", 0, "--prompt", "The sea"
    )
    assert (code, err) == (0, "")
    there = [i for i in there if i != tokenizer.eot_token]
    assert out == tokenizer.decode(there) + "\n"


def test_weights_may_lie_elsewhere(said, gpt2):
    how = ["--model", "gpt2-small", "--seed", 5]
    here = said(*how)
    gpt2.parent.rename(gpt2.parent.with_name("elsewhere"))
    assert said(*how)[0] == 2
    assert said(*how, "--weights", "elsewhere") == here


def test_nothing_is_downloaded_unasked(said, gpt2, monkeypatch):
    asked, data = [], gpt2.read_bytes()

    def fetch(name, folder):
        asked.append((name, folder))
        gpt2.write_bytes(data)
        return gpt2

    monkeypatch.setattr("scratch_llm.download.fetch_gpt2", fetch)
    assert said("--model", "gpt2-small", "--download")[0] == 0
    gpt2.unlink()
    assert said("--model", "gpt2-small")[0] == 2 and asked == []
    assert said("--model", "gpt2-small", "--download")[0] == 0
    assert asked == [("gpt2-small", "gpt2")]


# ---- How it writes -------------------------------------------------------


@pytest.mark.parametrize("model", ["storyteller", "gpt2-small", "run"])
def test_a_seed_and_greed_determine_the_text(said, gpt2, new_run, model):
    name = new_run("run") if model == "run" else model
    how = ["--model", name, "--prompt", "One"]
    one = said(*how, "--seed", 1)
    assert one == said(*how, "--seed", 1) and one[0] == 0
    assert len({said(*how, "--seed", seed)[1] for seed in range(4)}) > 1
    greedy = said(*how, "--temperature", 0)
    for dial in (
        ["--temperature", 0, "--seed", 4],
        ["--top-k", 1],
        ["--top-p", 1e-9],
        ["--temperature", 0.001, "--top-k", 3, "--top-p", 0.5],
    ):
        assert said(*how, *dial) == greedy


def test_stop_and_n(said):
    how = ["--model", "storyteller", "--seed", 1, "--prompt", "One day,"]
    _, out, _ = said(*how)
    word = out.split()[4]
    assert said(*how, "--stop", word)[1] == out.split(word)[0] + "\n"
    _, three, _ = said(*how, "--n", 3)
    assert three.startswith(f"--- 1\n{out}--- 2\nOne day,")
    assert three.count("One day,") == 3


def test_characters_are_never_cut(said, new_run, monkeypatch):
    """Bytes of characters come one by one; what is shown is whole."""
    folder, written = new_run("run"), list("é鸟😀".encode()) + [0xFF, 0x61]
    monkeypatch.setattr(
        pt,
        "generate_tokens",
        lambda *_, **__: (torch.tensor([[i]]) for i in written),
    )
    shown = []
    monkeypatch.setattr("builtins.print", lambda *a, **_: shown.extend(a))
    assert said("--model", folder, "--prompt", "ß")[0] == 0
    assert shown == ["ß", "é", "鸟", "😀", "\ufffd", "a"]


def generate_script(
    *args: object, **how: object
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(HERE / "gpt_generate.py"), *map(str, args)],
        capture_output=True,
        timeout=100,
        **how,
    )


def test_a_console_without_unicode(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = generate_script(
        *SHORT,
        "--prompt",
        "Die Möwe 鸟\udcff",
        cwd=tmp_path,
        env=os.environ | plain,
    )  # a byte of no text
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8").startswith("Die Möwe 鸟?")


@pytest.mark.skipif(os.name == "nt", reason="pipes differ on Windows")
def test_a_reader_that_leaves(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            HERE / "gpt_generate.py",
            "--model",
            "storyteller",
            "--n",
            "1000",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "--- 1\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    process.stderr.close()


# ---- Surprise and comparison ---------------------------------------------


def test_perplexity_is_that_of_transformers(gpt2, oracle):
    prompt = "The gull flew over the mühle, and so on. " * 3
    perplexity, bits = gpt_generate.surprise(
        *pt.from_pretrained("gpt2-small", "cpu", gpt2.parent), prompt
    )
    ids = [50256, *previous_chapters.gpt2_encoding().encode_ordinary(prompt)]
    inputs = torch.tensor([ids])
    with torch.no_grad():
        loss = oracle(inputs, labels=inputs).loss.item()
    assert_close(perplexity, math.exp(loss), rtol=1e-4, atol=0)
    size = len(prompt.encode())
    assert_close(
        bits, loss * (len(ids) - 1) / size / math.log(2), rtol=1e-4, atol=0
    )


def test_a_prompt_longer_than_the_context(new_run):
    model, tokenizer = pt.from_pretrained(new_run("run"), "cpu")
    prompt = "abc" * 30  # 90 of 32 tokens
    ids = pt.encode_prompt(tokenizer, prompt)
    nll = 0.0
    with torch.no_grad():
        for i, y in enumerate(ids[1:]):
            x = torch.tensor([ids[i - i % 32 : i + 1]])
            nll -= model(x)[0, -1].log_softmax(-1)[y].item()
    perplexity, bits = gpt_generate.surprise(model, tokenizer, prompt)
    assert_close(perplexity, math.exp(nll / 90), rtol=1e-4, atol=0)
    assert_close(bits, nll / math.log(2) / 90, rtol=1e-4, atol=0)


def test_bits_do_not_depend_on_the_tokenizer(new_run):
    """A uniform guess costs log2(257) bits a token: here a token a byte."""
    model, tokenizer = pt.from_pretrained(new_run("run"), "cpu")
    with torch.no_grad():
        for p in model.final_norm.parameters():
            p.zero_()
    assert_close(
        gpt_generate.surprise(model, tokenizer, "é!"),
        (257.0, math.log2(257)),
        rtol=1e-5,
        atol=0,
    )
    assert_close(
        gpt_generate.surprise(model, Doubled(tokenizer), "abcd"),
        (257.0, math.log2(257) / 2),
        rtol=1e-5,
        atol=0,
    )


class Doubled:
    """A tokenizer whose tokens are two bytes each, of which it knows one."""

    def __init__(self, inner):
        self.inner, self.eot_token = inner, inner.eot_token

    def encode_ordinary(self, text: str) -> list[int]:
        return self.inner.encode_ordinary(text)[::2]


def test_compare_shows_what_each_alone_writes(said, gpt2, new_run, oracle):
    run = new_run("runs/mine")
    names = ["storyteller", str(run), "gpt2-small"]
    how = ["--prompt", "One day,", "--seed", 2]
    code, out, err = said("--compare", *names, *how)
    assert (code, err) == (0, "")
    texts, table = out.split("\nPerplexity")
    alone = "".join(
        f"=== {name}\n{said('--model', name, *how)[1]}" for name in names
    )
    assert texts == alone
    head, *rows = table.splitlines()[1:]
    assert head.split() == [
        "model",
        "parameters",
        "perplexity",
        "bits/byte",
        "tokens/s",
    ]
    assert len({len(row) for row in (head, *rows)}) == 1, "columns line up"
    cells = [row.split() for row in rows]
    assert [cell[0] for cell in cells] == names
    count = sum(p.numel() for p in oracle.parameters())
    assert int(cells[2][1].replace(",", "")) == count
    story = pt.from_pretrained("storyteller", "cpu")
    assert float(cells[0][3]) == pytest.approx(
        gpt_generate.surprise(*story, "One day,")[1], abs=5e-4
    )
    assert float(cells[0][3]) < min(float(c[3]) for c in cells[1:])
    assert all(float(cell[4]) > 0 for cell in cells)


@pytest.mark.parametrize(
    "args, said_so",
    [
        (["--model", "gpt4"], "no model gpt4"),
        (["--model", "gpt2-xl"], "with python gpt_download.py gpt2-xl"),
        (["--model", "gpt2-xl", "--weights", "w"], "gpt2-xl is not in w: "),
        (["--compare", "storyteller"], "give --prompt"),
        (["--compare", "storyteller", "--prompt", "  "], "give --prompt"),
        (
            ["--compare", "gpt2-medium", "storyteller", "--prompt", "x"],
            "gpt2-medium is not in gpt2",
        ),
        (["--compare", "--prompt", "x"], "expected at least one"),
        (["--compare", "storyteller", "--model", "x"], "not allowed with"),
        (["--checkpoint", "x", "--model", "x"], "not allowed with"),
        (["--model", "broken"], "not a whole checkpoint"),
        (["--model", "gpt2-medium", "--weights", "bad"], "bad"),
        (["--model", "storyteller", "--device", "toaster"], "toaster"),
    ],
)
def test_one_line_of_an_error(said, tmp_path, args, said_so):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nothing")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "gpt2-medium-355M.safetensors").write_bytes(b"x")
    code, out, err = said(*args)
    assert code == 2 and out == "" and said_so in err
    assert err.startswith("gpt_generate.py: error: ") and err.count("\n") == 1


def test_a_model_that_broke_down_is_one_line(said, new_run):
    folder = new_run("run")
    model = pt.load_model(folder / "model.safetensors")
    model.final_norm.scale.data.fill_(float("nan"))
    pt.save_model(folder / "model.safetensors", model)
    for how in ("--model", "--compare"):
        code, _, err = said(how, str(folder), "--prompt", "One")
        assert code == 1 and err.count("\n") == 1
        assert "error: the model cannot write" in err
    code, _, err = said("--model", str(folder), "--seed", "9" * 30)
    assert code == 2 and "--seed: must be a whole number" in err


def test_a_download_that_fails_is_told_in_one_line(said, monkeypatch):
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    code, out, err = said("--model", "gpt2-small", "--download")
    assert code == 1 and out == "" and err.count("\n") == 1
    assert "http://127.0.0.1:9/openai-community/gpt2/" in err


def test_the_readme_s_program_writes(tmp_path):
    """The Python of the README, in a process of its own, from this folder."""
    (code,) = re.findall(
        r"^```python\n(.*?)^```",
        (HERE / "README.md").read_text("utf-8"),
        re.M | re.S,
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=HERE,
        text=True,
        capture_output=True,
        timeout=120,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    cfg, story = done.stdout.split("\n", 1)
    assert "'n_layers': 2" in cfg and story.startswith("One day,")


def test_a_model_repeats_itself_with_a_seed_only(new_run):
    both = pt.from_pretrained(new_run("run"), "cpu")
    texts = [
        pt.generate_text(*both, "ab", 20, temperature=9.0, seed=s)
        for s in (3, 3, 4)
    ]
    assert texts[0] == texts[1] != texts[2]
    free = {
        pt.generate_text(*both, "ab", 20, temperature=9.0) for _ in range(3)
    }
    assert len(free) == 3
    with pytest.raises(ValueError, match="no model nowhere"):
        pt.from_pretrained("nowhere")


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
