"""What must hold of chapter 5: the loss, a step, a run, its files, scripts.

Properties first, then the two scripts as a user meets them (files, error
lines, Ctrl-C).
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import islice, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[1] / "shared"
few = settings(max_examples=30, deadline=None, derandomize=True)
CFG = {"vocab_size": 60, "context_length": 16, "emb_dim": 16, "n_heads": 2,
       "n_layers": 2, "drop_rate": 0.0, "qkv_bias": False,
       "tie_weights": True}
TINY = ["--layers", "1", "--width", "16", "--heads", "2", "--vocab-size",
        "900", "--force-cpu"]


@pytest.fixture(scope="module")
def pt(load_module):
    return load_module(HERE, "pretraining")


@pytest.fixture(scope="module")
def files(load_module):
    return load_module(HERE, "gpt_files")


@pytest.fixture(scope="module")
def tokenizer(pt, world):
    return pt.own_tokenizer((s.text for s in world.corpus(300)), 900)


def new_model(pt, seed: int = 0, **changes):
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
def test_ignored_targets_add_nothing(pt, seed):
    torch.manual_seed(seed)
    logits, targets = torch.randn(3, 7, 11), torch.randint(11, (3, 7))
    targets[torch.rand(3, 7) < 0.4] = pt.IGNORE
    log_p, by_hand = logits.log_softmax(-1), 0.0
    for b in range(3):
        for t in range(7):
            if targets[b, t] != pt.IGNORE:
                by_hand -= log_p[b, t, targets[b, t]].item()
    assert_close(pt.nats(logits, targets).item(), by_hand, atol=1e-4, rtol=0)


@few
@given(seed=st.integers(0, 999), size=st.integers(1, 6))
def test_buckets_keep_every_row(pt, seed, size):
    rows = random_rows(seed, 11)
    g = torch.Generator().manual_seed(seed)
    found = []
    for inputs, targets in pt.bucket_batches(rows, size, g):
        assert len(inputs) <= size
        for x, y in zip(inputs.tolist(), targets.tolist(), strict=True):
            n = sum(t != pt.IGNORE for t in y)
            assert x[1:n] == y[:n - 1], "targets are the inputs, one later"
            found.append(tuple(x[:1] + y[:n]))
    assert Counter(found) == Counter(map(tuple, rows))


def test_a_fresh_model_is_at_ln_v(pt):
    batch = pt.pad_batch(random_rows(1, 40))
    assert abs(pt.batch_loss(new_model(pt), *batch).item()
               - math.log(60)) < 0.05


@few
@given(seed=st.integers(0, 999), size=st.integers(1, 5))
def test_evaluation_does_not_depend_on_the_batches(pt, seed, size):
    model, rows = new_model(pt, drop_rate=0.3), random_rows(seed, 7)
    total = sum(pt.nats(model.eval()(x), y).item()
                for x, y in (pt.pad_batch([row]) for row in rows))
    by_hand = total / sum(len(row) - 1 for row in rows)
    model.train()
    loss = pt.evaluate(model, pt.bucket_batches(rows, size))
    assert_close(loss, by_hand, atol=1e-5, rtol=0)
    assert model.training, "the mode is restored"
    assert pt.evaluate(model.eval(), pt.bucket_batches(rows, 2)) and (
        not model.training)


def test_nothing_to_grade_is_an_error(pt):
    x = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="no target"):
        pt.evaluate(new_model(pt), [(x, x.fill_(pt.IGNORE).clamp_(0) - 100)])


# ---- One step ------------------------------------------------------------


@few
@given(seed=st.integers(0, 999), cut=st.integers(1, 4))
def test_accumulated_gradients_equal_those_of_the_whole(pt, seed, cut):
    model, rows = new_model(pt), random_rows(seed)
    loss, graded = pt.accumulate_gradients(model, [pt.pad_batch(rows)])
    whole = gradients(model).clone()
    model.zero_grad()
    parts = [pt.pad_batch(rows[:cut]), pt.pad_batch(rows[cut:])]
    again, same = pt.accumulate_gradients(model, parts)
    assert_close(gradients(model), whole, atol=1e-6, rtol=1e-4)
    assert graded == same == sum(len(row) - 1 for row in rows)
    assert_close(loss, again, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_groups_hold_each_parameter_once(pt, tied):
    model = new_model(pt, tie_weights=tied)
    decayed, spared = pt.decay_groups(model, 0.1)
    ids = [id(p) for g in (decayed, spared) for p in g["params"]]
    assert Counter(ids) == Counter(id(p) for p in model.parameters())
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert all(p.dim() == 1 for p in spared["params"])
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_decay_is_decoupled(pt):
    model = new_model(pt)
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
def test_the_rate_rises_then_falls_to_zero(pt, steps, warmup):
    rates = [pt.learning_rate(s, steps, 2.0, warmup) for s in range(steps)]
    up, down = rates[:warmup], rates[warmup:]
    assert all(0 < r <= 2.0 for r in rates)
    assert up == sorted(up) and down == sorted(down, reverse=True)
    if warmup < steps:
        assert down[0] == 2.0
        assert pt.learning_rate(steps, steps, 2.0, warmup) < 1e-12
    if warmup:
        assert math.isclose(rates[0], 2.0 / warmup)


def test_a_plan_fits_into_the_time(pt):
    model, batch = new_model(pt), pt.pad_batch(random_rows(3))
    plan = pt.Schedule(100_000, 1e-3, 10)
    task = pt.Task("one", None, repeat(batch), [batch])
    records = list(pt.train_task(model, task, plan, 1000, minutes=0.03))
    assert 40 < plan.steps == len(records) < 100_000
    assert records[-1]["rate"] < 1e-4 and records[-1]["seconds"] < 4
    assert records[-1]["validation"] is not None


def test_precision(pt):
    cpu = torch.device("cpu")
    assert pt.pick_precision(cpu, "fp32") == "fp32"
    assert pt.pick_precision(cpu) in ("fp32", "bf16")
    with pytest.raises(ValueError, match="fp16"):
        pt.autocast(cpu, "fp16")
    batch = pt.pad_batch(random_rows(3))
    fp32, bf16 = (pt.evaluate(new_model(pt), [batch], p)
                  for p in ("fp32", "bf16"))
    assert fp32 != bf16 and abs(fp32 - bf16) < 0.05


# ---- The run -------------------------------------------------------------


def test_one_batch_is_learned_by_heart(pt):
    model, batch = new_model(pt), pt.pad_batch(random_rows(5, 3))
    records = list(pt.train(model, pt.make_optimizer(model, 0.0),
                            repeat(batch), pt.Schedule(150, 1e-2, 10)))
    assert records[-1]["train"] < 0.25 * records[0]["train"]
    assert [r["step"] for r in records] == list(range(1, 151))
    assert all(r["graded"] == pt.count_graded([batch]) for r in records)


def test_the_same_seed_repeats_a_run(pt, world, tokenizer):
    def losses(seed):
        model = new_model(pt, seed, vocab_size=tokenizer.n_vocab,
                          context_length=256)
        stream = pt.story_batches(world, tokenizer, 4, seed, pool=48)
        return [r["train"] for r in pt.train(
            model, pt.make_optimizer(model), stream, pt.Schedule(4, 1e-2, 1))]
    assert losses(1) == losses(1) != losses(2)


def test_not_a_number_stops_before_the_weights_change(pt):
    model, batch = new_model(pt), pt.pad_batch(random_rows(6))
    with torch.no_grad():
        model.trf_blocks[1].att.qkv.weight[0, 0] = torch.nan
    before = model.tok_emb.weight.detach().clone()
    with pytest.raises(FloatingPointError, match="step 0"):
        next(pt.train(model, pt.make_optimizer(model), repeat(batch),
                      pt.Schedule(3, 1e-2, 0)))
    assert_close(model.tok_emb.weight.detach(), before)


def test_the_copying_start_is_the_identity_with_noise(pt):
    model = new_model(pt)
    pt.start_copying(model)
    for block in model.trf_blocks:
        v, out = block.att.qkv.weight[32:], block.att.out_proj.weight
        assert (v - torch.eye(16)).abs().max() < 0.15
        assert (out - torch.eye(16) / 2).abs().max() < 0.15
    assert model.out_head.weight is model.tok_emb.weight
    p = model.pos_emb.weight
    assert_close(p[:, ::2]**2 + p[:, 1::2]**2, torch.full((16, 8), 0.01))


def test_flops_follow_from_the_matrices(pt):
    model = new_model(pt, tie_weights=False)
    matrices = sum(p.numel() for n, p in model.named_parameters()
                   if p.dim() == 2 and "emb" not in n)
    assert pt.flops_per_token(CFG, 0) == 6 * matrices
    assert pt.flops_per_token(CFG, 10) - 6 * matrices == 6 * 2 * 10 * 16


# ---- Stories and their floor ---------------------------------------------


def test_the_floor_is_the_mean_surprise_of_held_out_stories(files, pt,
                                                            world):
    task = files.story_task(world, vocab_size=600, held_out=30, seed=0)
    stories = world.corpus(30, "validation")
    assert math.isclose(task.floor * pt.count_graded(task.validation),
                        sum(s.nll for s in stories))
    told = {task.tokenizer.decode(
        [i for i in y if i not in (pt.IGNORE, task.tokenizer.eot_token)])[1:]
        for _, targets in task.validation for y in targets.tolist()}
    assert told == {s.text for s in stories}


def test_no_story_comes_twice_or_from_the_held_out_ones(pt, world, tokenizer):
    stream = pt.story_batches(world, tokenizer, 4, seed=0, pool=48)
    seen = Counter(tokenizer.decode(row) for inputs, _ in islice(stream, 60)
                   for row in inputs.tolist())
    assert sum(seen.values()) == 240 and max(seen.values()) == 1
    held_out = {s.text for s in world.corpus(200, "validation")}
    texts = {t.split("<|endoftext|>")[1].strip(" !\x00") for t in seen}
    assert not texts & held_out


def test_the_judge_counts(files, pt, world):
    good = world.story(3).text
    valid, reasons = pt.judge_texts([good, good[:40], "No."], world.parse)
    assert math.isclose(valid, 1 / 3) and sum(reasons.values()) == 2
    marked = files.marked_samples([good, "No."], world.parse)
    assert "sample 1: valid" in marked and "sample 2: breaks at" in marked


def test_samples_need_no_cache_and_repeat(pt, tokenizer):
    model = new_model(pt, vocab_size=tokenizer.n_vocab, context_length=32)
    one, two, other = (pt.sample_texts(model, tokenizer, 3, seed,
                                       use_cache=c, max_new_tokens=31)
                       for seed, c in ((1, True), (1, False), (2, True)))
    assert one == two != other


def test_streamed_equals_sampled(files, pt, tokenizer):
    model = new_model(pt, vocab_size=tokenizer.n_vocab, context_length=32)
    pieces = files.stream_text(model, tokenizer, [tokenizer.eot_token], 31,
                               temperature=0.0)
    at_once = pt.sample_texts(model, tokenizer, 1, temperature=0.0,
                              max_new_tokens=31)[0]
    assert "".join(pieces).removeprefix(" ") == at_once


@few
@given(text=st.text(max_size=30))
def test_no_piece_is_half_a_character(files, tokenizer, text):
    ids = tokenizer.encode_ordinary(text)
    pieces = list(files.text_pieces(ids, tokenizer))
    assert "".join(pieces) == text
    assert "\ufffd" in text or not any("\ufffd" in p for p in pieces)


@few
@given(text=st.text("abc", max_size=20), stop=st.text("abc", max_size=3),
       cuts=st.lists(st.integers(0, 20), max_size=6))
def test_writing_ends_before_the_stop(files, pt, text, stop, cuts):
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    pieces = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    goal = text.split(stop)[0] if stop else text
    assert "".join(files.until(pieces, stop)) == goal


@few
@given(seed=st.integers(0, 99), flat=st.sampled_from([0.84, 1.0, 1.16]))
def test_calibration_finds_how_sure_a_model_should_be(pt, seed, flat):
    model = new_model(pt, seed).eval()
    with torch.no_grad():
        model.final_norm.scale.mul_(30)
        inputs = torch.randint(60, (400, 16))
        probs = model(inputs).softmax(-1).flatten(0, 1)
        targets = probs.multinomial(1).view(400, 16)     # the model is right
        targets[:, 0] = pt.IGNORE
        model.final_norm.scale.mul_(flat)                # and now too sure
    batches, dial = [(inputs, targets)], [0.76, 0.84, 0.92, 1, 1.08, 1.16]
    losses = pt.calibrate(model, batches, dial)
    assert abs(min(losses, key=losses.get) - flat) < 0.1
    assert_close(pt.evaluate(model, batches), min(losses.values()),
                 rtol=1e-5, atol=0)


def test_a_run_is_calibrated_on_what_it_has_not_seen(files, pt, world):
    task = files.story_task(world, vocab_size=900, held_out=12)
    model, metrics = new_model(pt, vocab_size=task.tokenizer.n_vocab,
                               context_length=256), {"seconds": 1.0}
    files.calibrate_run(model, task, metrics)
    assert 0.8 <= metrics["calibrated_by"] <= 1.2 and metrics["seconds"] > 1
    task.floor = None
    files.calibrate_run(model, task, metrics := {"seconds": 1.0})
    assert metrics == {"seconds": 1.0}


def test_diversity(pt):
    assert pt.diversity(["a b c", "d e f"]) == 1.0
    assert pt.diversity(["a b c"] * 5) == 0.2
    assert pt.diversity(["", "a b"]) == 0.0


# ---- Files ---------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_a_checkpoint_comes_back(files, pt, tmp_path, tied):
    model = new_model(pt, tie_weights=tied, qkv_bias=True).eval()
    files.save_model(tmp_path / "m.safetensors", model)
    back = files.load_model(tmp_path / "m.safetensors")
    ids = torch.randint(60, (2, 9))
    assert torch.equal(back(ids), model(ids)) and back.cfg == model.cfg
    assert (back.out_head.weight is back.tok_emb.weight) == tied
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_others_may_read_a_checkpoint(files, pt, tmp_path):
    files.save_model(tmp_path / "m.safetensors", new_model(pt))
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@few
@given(n=st.integers(0, 60), at=st.integers(0, 60))
def test_a_long_history_is_thinned_out(files, n, at):
    history = [{"step": i, "validation": 0.5 if i == at else None}
               for i in range(1, n + 1)]
    kept = files.columns(history, most=10).get("step", [])
    assert len(kept) <= 13 and kept[-1:] == [n] * bool(n)
    assert at in kept or not 1 <= at <= n


def test_a_failed_write_leaves_the_old_file(files, pt, tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_broken_checkpoints_are_named(files, pt, tmp_path):
    from safetensors.torch import save_file
    whole, foreign = tmp_path / "whole", tmp_path / "foreign"
    files.save_model(whole, new_model(pt))
    (tmp_path / "cut").write_bytes(whole.read_bytes()[:-50])
    (tmp_path / "text").write_text("not weights at all")
    save_file({"w": torch.ones(2)}, foreign)
    for name, why in (("cut", "not a whole"), ("text", "not a whole"),
                      ("foreign", "not written by"), ("none", "not exist")):
        with pytest.raises(ValueError, match=why) as error:
            files.load_model(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
        assert "\n" not in str(error.value)


def test_the_tokenizer_file_is_in_tiktokens_format(files, tokenizer,
                                                   tmp_path):
    files.save_tokenizer(tmp_path / "tokenizer.tiktoken", tokenizer)
    back = files.load_tokenizer(tmp_path, tokenizer.n_vocab)
    text = "Nora went to the mill. é 🦊"
    assert back.encode_ordinary(text) == tokenizer.encode_ordinary(text)
    with pytest.raises(ValueError, match="not of one run"):
        files.load_tokenizer(tmp_path, 7)


@pytest.mark.parametrize("data, why", [
    (None, "does not exist"), (b"", "is empty"), (b" \n\t ", "is empty"),
    (b"\xff\xfe\x80", "not UTF-8"), (b"text\0text", "binary"),
    (b"Ein kurzer Text.", "shorter than the context")])
def test_texts_that_cannot_be_used(files, pt, tmp_path, data, why):
    path = tmp_path / "data.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=why):
        files.text_task(path)
    with pytest.raises(ValueError, match="not a folder|as a file"):
        files.text_task(tmp_path)


def test_a_text_is_split_without_overlap(files, pt, tmp_path):
    path = tmp_path / "Büch.txt"
    path.write_text("\ufeff" + " ".join(map(str, range(4000))), "utf-8")
    task = files.text_task(path, vocab_size=300, context_length=32)
    assert (task.name, task.floor, task.parse) == ("Büch", None, None)
    last = task.tokenizer.decode(task.validation[-1][1][-1].tolist())
    assert "39" in last
    inputs, targets = next(task.batches)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


# ---- The scripts ---------------------------------------------------------


@pytest.fixture(scope="module")
def mains(load_module):
    return {name: load_module(HERE, name).main
            for name in ("gpt_train", "gpt_generate")}


def script(name: str, *args, cwd: Path, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, HERE / name, *map(str, args)], cwd=cwd,
        encoding="utf-8", capture_output=True, timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"}, **more)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder in which gpt_train.py has run for a few steps."""
    cwd = tmp_path_factory.mktemp("cwd")
    done = script("gpt_train.py", *TINY, "--steps", 4, "--eval-every", 2,
                  "--eval-stories", 12, "--samples", 3, "--accumulate", 2,
                  "--seed", 5, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(cwd=cwd, out=done.stdout,
                           folder=cwd / "runs" / "storyteller-001")


def test_a_run_leaves_every_file_and_key(run):
    assert {p.name for p in run.folder.iterdir()} == {
        "model.safetensors", "tokenizer.tiktoken", "metrics.json",
        "loss.png", "samples.txt"}
    m = json.loads((run.folder / "metrics.json").read_text("utf-8"))
    assert {"val_loss", "floor", "ratio", "tokens_seen", "tokens_per_second",
            "seconds", "parameters", "config", "seed", "valid_stories",
            "precision", "device", "peak_gflops", "utilisation", "history",
            "torch", "interrupted", "options", "calibrated_by"} <= m.keys()
    assert m["seed"] == 5 and m["steps"] == 4 and not m["interrupted"]
    assert m["device"] == "cpu" and m["valid_stories"] == 0.0
    assert math.isclose(m["ratio"], m["val_loss"] / m["floor"])
    assert m["history"]["tokens"][-1] == m["tokens_seen"]
    assert [v is not None for v in m["history"]["validation"]] == [
        False, True, False, True]
    assert (run.folder / "loss.png").read_bytes()[1:4] == b"PNG"
    samples = (run.folder / "samples.txt").read_text("utf-8")
    assert samples.count("breaks at character") == 3
    assert "runs" in run.out and "x floor" in run.out


def test_a_run_can_be_loaded_and_judged_again(files, pt, world, run):
    model = files.load_model(run.folder / "model.safetensors")
    m = json.loads((run.folder / "metrics.json").read_text("utf-8"))
    task = files.story_task(world, vocab_size=900, held_out=12, seed=5)
    assert_close(pt.evaluate(model, task.validation), m["val_loss"],
                 atol=1e-5, rtol=0)
    assert_close(task.floor, m["floor"])
    assert sum(p.numel() for p in model.parameters()) == m["parameters"]


def test_generate_streams_the_newest_run(run):
    one = script("gpt_generate.py", "--prompt", "One day,", "--seed", 3,
                 "--max-new-tokens", 9, cwd=run.cwd)
    assert one.returncode == 0, one.stderr
    assert one.stdout.startswith("One day,") and len(one.stdout) > 12


def test_generate_repeats_itself_only_when_asked(mains, run, capsys):
    def said(*more):
        how = ["--checkpoint", str(run.folder), "--max-new-tokens", "9"]
        assert mains["gpt_generate"]([*how, *more]) == 0
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


def test_text_of_ones_own(mains, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "Die Möwe flog über den Fluß. " * 200
    Path("mine.txt").write_text(text, "utf-8")
    assert mains["gpt_train"]([
        *TINY, "--data", "mine.txt", "--steps", "2", "--samples", "2",
        "--context-length", "16"]) == 0
    folder = tmp_path / "runs" / "mine-001"
    m = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert m["floor"] is m["ratio"] is m["valid_stories"] is None
    assert m["val_loss"] > 0
    assert "sample 2" in (folder / "samples.txt").read_text("utf-8")
    how = ["--checkpoint", str(folder), "--max-new-tokens", "1", "--seed"]
    capsys.readouterr()
    for prompt in ("Die Möwe", " flog ", ""):
        assert mains["gpt_generate"]([*how, "1", "--prompt", prompt]) == 0
        assert capsys.readouterr().out.startswith(prompt)


def test_a_prompt_is_read_as_in_training(files, mains, run, monkeypatch):
    seen = []
    monkeypatch.setattr(files, "stream_text",
                        lambda m, t, ids, *a, **k: seen.append(ids) or [])
    how = ["--checkpoint", str(run.folder), "--prompt", "One day, "]
    for prefix in (" ", ""):
        monkeypatch.setattr(files, "read_prefix", lambda _, p=prefix: p)
        assert mains["gpt_generate"](how) == 0
    stories = files.load_tokenizer(run.folder, files.load_model(
        run.folder / "model.safetensors").cfg["vocab_size"])
    assert stories.decode(seen[0][1:]) == " One day,"
    assert stories.decode(seen[1][1:]) == "One day, "

@pytest.mark.parametrize("name, args, said", [
    ("gpt_train", ["--steps", "-5"], "got -5"),
    ("gpt_train", ["--steps", "many"], "got many"),
    ("gpt_train", ["--dropout", "1.5"], "<= 0.99, got 1.5"),
    ("gpt_train", ["--rate", "nan"], "got nan"),
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
    ("gpt_generate", ["--n", "0"], "got 0")])
def test_one_clear_line_and_nothing_written(mains, tmp_path, monkeypatch,
                                            capsys, name, args, said):
    monkeypatch.chdir(tmp_path)
    for file, data in {"empty.txt": b"", "binary.txt": b"\x89PNG\xff",
                       "short.txt": b"Too short."}.items():
        Path(file).write_bytes(data)
    Path("full").mkdir()
    Path("full", "thing").touch()
    before = sorted(tmp_path.rglob("*"))
    try:
        code = mains[name](args)
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err.strip()
    assert code == 2 and said in error
    assert error.count("\n") == 0 and error.startswith(f"{name}.py: error")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_a_checkpoint_that_loads(files, pt, tmp_path, which):
    process = subprocess.Popen(
        [sys.executable, HERE / "gpt_train.py", *TINY, "--out", "run",
         "--eval-stories", "8", "--steps", "100000"], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert "parameters" in process.stdout.readline()
    time.sleep(1.5)
    process.send_signal(which)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "all in run" in said
    model = files.load_model(tmp_path / "run" / "model.safetensors")
    assert all(p.isfinite().all() for p in model.parameters())
    m = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert m["interrupted"] and m["valid_stories"] is None


SHORT_RUN = ["--layers", "1", "--width", "16", "--heads", "2", "--data",
             "mine.txt", "--force-cpu", "--precision", "fp32", "--samples",
             "2", "--context-length", "16", "--out", "run"]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a text, in which we are."""
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("Die Möwe flog über den Fluß. " * 200,
                                "utf-8")
    return tmp_path


def test_training_needs_no_console_with_umlauts(mine):
    done = subprocess.run(
        [sys.executable, HERE / "gpt_train.py", *SHORT_RUN, "--steps", "2"],
        capture_output=True, timeout=120,
        env=os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert b"all in run" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="pipes differ on Windows")
def test_training_needs_no_reader(mine):
    process = subprocess.Popen(
        [sys.executable, HERE / "gpt_train.py", *SHORT_RUN, "--steps", "4",
         "--eval-every", "1"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8")
    assert "parameters" in process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0 and "Broken" not in said
    assert (mine / "run" / "metrics.json").is_file()


@pytest.mark.parametrize("error, code, said", [
    (KeyboardInterrupt(), 130, "stopped at once, run may lack files"),
    (PermissionError(13, "Permission denied", "run"), 1, "denied: 'run'")])
def test_what_breaks_off_the_end_is_one_line(mains, files, mine, monkeypatch,
                                             capsys, error, code, said):
    def broken(*_):
        raise error
    monkeypatch.setattr(files, "save_metrics", broken)
    assert mains["gpt_train"]([*SHORT_RUN, "--steps", "1"]) == code
    assert said in capsys.readouterr().err.splitlines()[-1]
    files.load_model("run/model.safetensors")


def test_a_breakdown_keeps_the_last_evaluated_weights(files, pt, mine,
                                                      capsys):
    task = files.text_task("mine.txt", vocab_size=300, context_length=16)
    model = new_model(pt, vocab_size=task.tokenizer.n_vocab)
    options, path = {"seed": 1, "samples": 2}, Path("model.safetensors")
    path.write_bytes(b"good")
    assert files.finish(Path(), model, task, [], "fp32", options,
                        "step 3: loss nan, norm nan") == 1
    assert path.read_bytes() == b"good"
    assert "nan), try a lower --rate" in capsys.readouterr().out
    assert files.finish(Path(), model, task, [], "fp32", options,
                        "interrupted") == 130
    files.load_model(path)


def test_two_runs_never_share_a_folder(files, mine, monkeypatch):
    mkdir = Path.mkdir

    def both(self, *args, **more):     # another process is quicker, once
        if self.name == "mine-001" and not self.exists():
            mkdir(self, parents=True)
        mkdir(self, *args, **more)
    monkeypatch.setattr(Path, "mkdir", both)
    assert files.new_folder(None, "mine") == Path("runs", "mine-002")
    assert files.new_folder(None, "mine") == Path("runs", "mine-003")
    with pytest.raises(ValueError, match="name another folder with --out"):
        files.new_folder("mine.txt/run", "mine")


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
