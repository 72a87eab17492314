"""Tests of the tools that experiments.ipynb builds and exports."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import lab
import pytest
import torch
from previous_chapters import Schedule, evaluate
from scratch_llm import storyworld
from scratch_llm.plots import smooth

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def bench():
    return lab.prepare(storyworld.corner(words=3), train=120, held_out=30)


@pytest.fixture(scope="module")
def names(notebook_names):
    return notebook_names(HERE / "experiments.ipynb")


# ---- lab.py --------------------------------------------------------------


def test_floor_is_nats_per_graded_token(bench):
    stories = bench.world.corpus(30, "validation")
    tokens = sum(
        len(bench.tokenizer.encode_ordinary(f" {one.text}")) + 1
        for one in stories
    )
    assert math.isclose(bench.floor, sum(s.nll for s in stories) / tokens)
    assert sum(int((y >= 0).sum()) for _, y in bench.validation) == tokens


def test_a_given_tokenizer_is_used(bench):
    other = lab.prepare(storyworld.corner(words=3), bench.tokenizer, 5, 5)
    assert other.tokenizer is bench.tokenizer


def test_each_epoch_has_every_row_once_in_a_new_order(bench):
    stream = lab.endless(bench.rows, 8, seed=0)
    epochs = [
        [
            tuple(row.tolist())
            for x, _ in itertools.islice(stream, 15)
            for row in x
        ]
        for _ in range(2)
    ]
    wanted = sorted(tuple(row[:-1]) for row in bench.rows)
    for epoch in epochs:
        stripped = sorted(unpad(row) for row in epoch)
        assert stripped == wanted
    assert epochs[0] != epochs[1]
    again = next(lab.endless(bench.rows, 8, seed=0))[0]
    assert [tuple(row) for row in again.tolist()] == epochs[0][:8]


def unpad(row: tuple) -> tuple:
    """A row of inputs without the zeros behind it."""
    n = len(row)
    while row[n - 1] == 0:
        n -= 1
    return row[:n]


def small_run(bench, seed=0, steps=12, how=lab.learn, **more):
    """A tiny model, and what it learned."""
    model = lab.small_model(bench.tokenizer, seed, emb_dim=16)
    batches, schedule = (
        lab.endless(bench.rows, 8, seed),
        Schedule(steps, 0.01, 2),
    )
    return model, how(model, batches, schedule, **more)


def test_a_run_learns_and_its_seed_repeats_it(bench):
    losses = [small_run(bench, seed)[1] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    starts = [
        lab.small_model(bench.tokenizer, seed).tok_emb.weight
        for seed in (0, 0, 1)
    ]
    assert starts[0].equal(starts[1]) and not starts[0].equal(starts[2])
    assert len(losses[0]) == 12 and losses[0][-1] < losses[0][0] - 1


def test_watching_changes_nothing(bench):
    _, losses = small_run(bench, steps=4)
    model, watched = small_run(
        bench, steps=4, how=lab.watch, held=bench.validation, every=2
    )
    assert [train for train, _ in watched] == losses[1::2]
    assert watched[-1][1] == evaluate(model, bench.validation)


def test_windows_to_evaluate_on_share_no_token(names):
    ((x, y),) = names["cut_windows"](list(range(201)))
    assert x.flatten().tolist() == list(range(192))
    assert y.flatten().tolist() == list(range(1, 193))


def test_weight_decay_reaches_the_optimizer(bench):
    small, large = (
        small_run(bench, steps=5, weight_decay=decay)[0].tok_emb.weight.norm()
        for decay in (50.0, 0.0)
    )
    assert small < 0.7 * large


def test_smooth_takes_means_of_neighbours():
    assert smooth([1.0, 2.0, 3.0, 6.0], 2) == [1.5, 2.5, 4.5]


# ---- The notebook's tools ------------------------------------------------


def test_found_needs_every_seed_and_more_than_noise(names):
    found = names["found"]
    assert found([1.0, 1.1], [1.3, 1.4]) == "lower"
    assert found([1.3, 1.4], [1.0, 1.1]) == "higher"
    assert found([1.0, 1.1], [1.05, 1.12]) == "nothing found"
    assert found([0.5, 1.5], [1.4, 1.6]) == "unclear"


def test_sign_tells_three_runs_apart(names):
    sign, floor = names["sign"], 0.36
    assert sign(0.05, 2.5, floor).startswith("over")
    assert sign(2.5, 2.4, floor).startswith("under")
    assert sign(0.55, 0.57, floor).startswith("healthy")


@pytest.fixture
def data(bench):
    rows = bench.rows[:40]
    batch = (
        torch.tensor([[9, 5, 6, 7], [9, 5, 9, 0]]),
        torch.tensor([[5, 6, 7, 8], [5, 9, 6, -100]]),
    )
    batch[0][1, 2] = 9
    return dict(
        rows=rows,
        held=bench.rows[40:60],
        batch=batch,
        tokenizer=bench.tokenizer,
        context_length=128,
    )


def test_good_data_has_no_complaints(names, data):
    assert names["complaints"](**data) == []


@pytest.mark.parametrize(
    "part, spoil, said",
    [
        ("rows", lambda r, n: [*r, [r[0][0], n, r[0][0]]], "vocabulary"),
        ("rows", lambda r, n: [*r, [r[0][0], -1, r[0][0]]], "vocabulary"),
        ("rows", lambda r, n: [*r, r[0] + r[1] + r[2]], "longer"),
        ("rows", lambda r, n: [*r, r[0][:-1]], "end-of-text"),
        ("rows", lambda r, n: r + r[:20], "copies"),
        ("held", lambda r, n: r, "validation"),
        ("batch", lambda b, n: (b[0], b[0]), "one step on"),
        ("batch", lambda b, n: (b[0], b[1].roll(1, 1)), "one step on"),
    ],
)
def test_each_fault_is_named(names, data, part, spoil, said):
    changed = data | {part: spoil(data[part], data["tokenizer"].n_vocab)}
    if part == "held":
        changed["held"] = data["rows"][-3:]
    assert any(said in one for one in names["complaints"](**changed))


def test_targets_mostly_ungraded_are_named(names, data):
    mute = data["batch"][1].clone()
    mute[:, 1:] = -100
    said = names["complaints"](**data | {"batch": (data["batch"][0], mute)})
    assert said == ["more than half of the targets are not graded"]


def test_diagnosis_goes_from_cheap_to_dear(names):
    names = names | {"fresh": 6.8, "bench": SimpleNamespace(floor=0.36)}
    code = names["diagnose"].__code__
    diagnose = type(names["diagnose"])(code, names)
    well, stuck = [6.8] + [0.6] * 20, [6.8] + [3.6] * 20
    assert diagnose(well, [0.1]) == "nothing found"
    assert "start" in diagnose([12.0, *well], [0.1])
    assert "seen" in diagnose([6.8] + [0.0] * 20, [0.0])
    assert "steps" in diagnose(stuck, [5.0])
    assert "inputs" in diagnose(stuck, [0.1])


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
