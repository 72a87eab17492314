"""Tests of the variations and of the script that runs them."""

import json
from pathlib import Path

import additional_experiments as script
import pytest
import torch
import variations as v
from previous_chapters import (
    GPTModel,
    lora_parameters,
    read_states,
)
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
CFG = {
    "vocab_size": 50,
    "context_length": 32,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": False,
    "tie_weights": True,
}


def small_gpt(**changes):
    torch.manual_seed(0)
    return GPTModel({**CFG, **changes}).eval()


@pytest.fixture(scope="module")
def bench():
    return v.prepare_bench(60, 40)


# ---- Reading both ways ---------------------------------------------------


def test_both_ways_reads_the_future_and_no_pad():
    gpt, lengths = small_gpt(), torch.tensor([6])
    ids = torch.randint(50, (1, 6))
    states = v.read_both_ways(gpt, ids, lengths)
    other = ids.clone()
    other[0, -1] = (other[0, -1] + 1) % 50
    moved = (v.read_both_ways(gpt, other, lengths) - states)[0, 0]
    assert moved.abs().max() > 1e-4
    for pads in (torch.zeros(1, 5), torch.full((1, 5), 7)):
        padded = torch.cat([ids, pads.long()], dim=1)
        read = v.read_both_ways(gpt, padded, lengths)[:, :6]
        assert_close(read, states, atol=1e-5, rtol=0)


def test_in_one_layer_the_last_token_reads_the_same_either_way():
    gpt, ids = small_gpt(n_layers=1), torch.randint(50, (3, 8))
    both = v.read_both_ways(gpt, ids, torch.tensor([8, 8, 8]))
    assert_close(both[:, -1], read_states(gpt, ids)[:, -1])
    assert (both[:, 0] - read_states(gpt, ids)[:, 0]).abs().max() > 1e-4


@pytest.mark.parametrize("name", [n for n in v.VARIATIONS if n != "pool-pad"])
def test_the_class_does_not_depend_on_batch_mates(bench, name):
    model = v.build(bench, v.BASE | v.VARIATIONS[name], 0).eval()
    V = bench.gpt.cfg["vocab_size"]
    rows = [torch.randint(V, (n,)) for n in (5, 11, 8)]
    lengths = torch.tensor([len(row) for row in rows])
    batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    with torch.no_grad():
        together = model(batch, lengths)
        alone = [model(row[None], torch.tensor([len(row)])) for row in rows]
    assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_a_pad_that_is_read_moves_the_class(bench):
    setting = v.BASE | v.VARIATIONS["pool-pad"]
    V = bench.gpt.cfg["vocab_size"]
    ids, lengths = torch.randint(V, (1, 9)), torch.tensor([9])
    with torch.no_grad():
        narrow, wide = (
            v.build(bench, setting, 0, width).eval()(ids, lengths)
            for width in (9, 20)
        )
    assert (narrow - wide).abs().max() > 1e-4


# ---- The variations ------------------------------------------------------


def test_each_variation_changes_something_that_exists():
    for name, changed in v.VARIATIONS.items():
        assert set(changed) <= set(v.BASE), name
        assert (v.BASE | changed == v.BASE) == (name == "base"), name


def test_what_is_trained_is_counted_right(bench):
    C = bench.gpt.cfg["emb_dim"]
    head = 2 * C + 2

    def trained(name):
        model = v.build(bench, v.BASE | v.VARIATIONS[name], 0)
        return v.count_trained(model)

    assert trained("head") == head
    for rank in (1, 4, 16, 64):
        lora = lora_parameters(bench.gpt.cfg, rank)
        assert trained(f"lora-{rank}") == head + lora
    few = lora_parameters(bench.gpt.cfg, 16, v.ATTENTION)
    assert trained("lora-attention") == head + few
    tokens = bench.gpt.tok_emb.weight.numel()
    assert trained("base") - trained("frozen-tokens") == tokens


def test_a_random_start_has_the_same_head_and_other_weights(bench):
    base, fresh = (
        v.build(bench, v.BASE | v.VARIATIONS[name], 3)
        for name in ("base", "random")
    )
    assert base.head.weight.equal(fresh.head.weight)
    assert base.gpt.pos_emb.weight.equal(bench.gpt.pos_emb.weight)
    assert not base.gpt.pos_emb.weight.equal(fresh.gpt.pos_emb.weight)


def test_few_positive_notes_weigh_as_much_as_many_negative(bench):
    few = v.rarer(bench.train, 0.1)
    labels = [note.label for note in few]
    whole = [note.label for note in bench.train]
    assert labels.count(0) == whole.count(0)
    assert labels.count(1) == round(0.1 * whole.count(1))
    low, high = v.class_weights(labels)
    assert low * labels.count(0) == pytest.approx(high * labels.count(1))


def test_a_run_is_repeated_by_its_seed(bench):
    one, two = (v.run_variation("head", bench, 5, "fp32") for _ in range(2))
    for key in ("accuracy", "recall", "loss", "trained"):
        assert one[key] == two[key], key


# ---- The script ----------------------------------------------------------


@pytest.fixture
def quick(monkeypatch, bench):
    """The script on a prepared bench; what it has run is counted."""
    ran = []

    def run(name, bench, seed, precision):
        ran.append((name, seed))
        return {
            "name": name,
            "seed": seed,
            "accuracy": 0.5,
            "cpu_seconds": 1.0,
            "trained": 514,
        }

    monkeypatch.setattr(script, "prepare_bench", lambda *sizes: bench)
    monkeypatch.setattr(script, "run_variation", run)
    return ran


def call(out, *words):
    return script.main([*words, "--out", str(out), "--seeds", "2"])


def test_what_is_done_is_not_run_again(quick, tmp_path, capsys):
    out = tmp_path / "r.json"
    assert call(out, "--only", "head", "base") == 0
    assert quick == [("base", 0), ("head", 0), ("base", 1), ("head", 1)]
    assert call(out, "--only", "head", "block") == 0
    assert quick[4:] == [("block", 0), ("block", 1)]
    saved = json.loads(out.read_text("utf-8"))
    names = [row["name"] for row in saved["rows"]]
    assert names == ["base", "base", "head", "head", "block", "block"]
    assert saved["machine"] and saved["versions"]["torch"]
    assert "514" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_done(quick, tmp_path, capsys, monkeypatch):
    out, run = tmp_path / "r.json", script.run_variation

    def interrupted(name, *rest):
        if name == "block":
            raise KeyboardInterrupt
        return run(name, *rest)

    monkeypatch.setattr(script, "run_variation", interrupted)
    assert call(out, "--only", "head", "block") == 130
    assert len(json.loads(out.read_text("utf-8"))["rows"]) == 1
    assert "goes on" in capsys.readouterr().err
    monkeypatch.setattr(script, "run_variation", run)
    assert call(out, "--only", "head", "block") == 0
    assert quick.count(("head", 0)) == 1


def test_a_run_that_breaks_is_told_and_the_others_go_on(
    quick, tmp_path, capsys, monkeypatch
):
    run = script.run_variation

    def broken(name, *rest):
        if name == "head":
            raise FloatingPointError("step 3: loss nan")
        return run(name, *rest)

    monkeypatch.setattr(script, "run_variation", broken)
    assert call(tmp_path / "r.json", "--only", "head", "block") == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "head, seed 0: step 3" in said[0]


def failure(capsys, out, *words):
    """The one line that a call ends with, whose exit code is 2."""
    assert call(out, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_each_error_is_one_line(quick, tmp_path, capsys):
    out = tmp_path / "r.json"
    assert "--only hed" in failure(capsys, out, "--only", "hed")
    missing = tmp_path / "no" / "r.json"
    assert "no" in failure(capsys, missing, "--only", "head")
    call(out, "--only", "head")
    capsys.readouterr()
    line = failure(capsys, out, "--only", "head", "--items", "999")
    assert "999" in line and "--out" in line
    for text in ("[]", "{", '{"rows": []}'):
        out.write_text(text, "utf-8")
        line = failure(capsys, out, "--only", "head")
        assert "no file of results" in line
        assert out.read_text("utf-8") == text


def test_a_number_out_of_bounds_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        call(tmp_path / "r.json", "--items", "3")
    assert left.value.code == 2
    assert "must be a whole number >= 200" in capsys.readouterr().err


# ---- The stored results --------------------------------------------------


def test_the_stored_table_is_whole_and_of_these_settings():
    stored = json.loads((HERE / "results.json").read_text("utf-8"))
    assert {row["name"] for row in stored["rows"]} == set(v.VARIATIONS)
    runs = [(row["name"], row["seed"]) for row in stored["rows"]]
    assert len(set(runs)) == len(runs)
    args = script.new_parser().parse_args([])
    assert stored["settings"] == script.settings(args)
    assert stored["command"] and stored["machine"] and stored["versions"]
    for row in stored["rows"]:
        low, high = sorted(row["recall"])
        assert low <= row["accuracy"] <= high, row
        assert row["seconds"] > 0 and row["trained"] > 0


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
