"""Tests of lab.py and of the tools that experiments.ipynb builds."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def lab(load_module):
    return load_module(HERE, "lab")


@pytest.fixture(scope="module")
def bench(lab):
    return lab.prepare(lab.corner(words=3), train=120, held_out=30)


@pytest.fixture(scope="module")
def names(notebook_names):
    return notebook_names(HERE / "experiments.ipynb")


# ---- lab.py --------------------------------------------------------------


def test_a_corner_is_a_world_whose_stories_it_accepts(lab):
    world = lab.corner(words=3, colour="crimson teal")
    stories = world.corpus(40)
    assert all(world.parse(one.text).ok for one in stories)
    assert all(math.isclose(world.parse(one.text).nll, one.nll)
               for one in stories)
    text = " ".join(one.text for one in stories)
    assert "crimson" in text and "teal" in text and "yellow" not in text
    assert not lab.corner(words=3).parse(stories[0].text).ok


def test_splits_share_no_story_seed(lab):
    world = lab.corner()
    train = {one.text for one in world.corpus(50)}
    assert not train & {one.text for one in world.corpus(50, "validation")}


@pytest.mark.parametrize("wrong", [
    {"words": 1}, {"plots": ("race", "opera")}, {"colours": "red blue"}])
def test_a_corner_that_cannot_be_is_refused(lab, wrong):
    with pytest.raises(ValueError, match="unknown kinds or plots"):
        lab.corner(**wrong)


def test_floor_is_nats_per_graded_token(lab, bench):
    stories = bench.world.corpus(30, "validation")
    tokens = sum(len(bench.tokenizer.encode_ordinary(f" {one.text}")) + 1
                 for one in stories)
    assert math.isclose(bench.floor, sum(s.nll for s in stories) / tokens)
    assert sum(int((y >= 0).sum()) for _, y in bench.validation) == tokens


def test_a_given_tokenizer_is_used(lab, bench):
    other = lab.prepare(lab.corner(words=3), bench.tokenizer, 5, 5)
    assert other.tokenizer is bench.tokenizer


def test_each_epoch_has_every_row_once_in_a_new_order(lab, bench):
    stream = lab.endless(bench.rows, 8, seed=0)
    epochs = [[tuple(row.tolist()) for x, _ in itertools.islice(stream, 15)
               for row in x] for _ in range(2)]
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


def test_a_run_learns_and_its_seed_repeats_it(lab, bench):
    pt = lab.pt
    losses = []
    for seed in (0, 0, 1):
        model = lab.small_model(bench.tokenizer, seed, emb_dim=16)
        losses.append(lab.learn(model, lab.endless(bench.rows, 8, seed),
                                pt.Schedule(12, 0.01, 2)))
    assert losses[0] == losses[1] != losses[2]
    starts = [lab.small_model(bench.tokenizer, seed).tok_emb.weight
              for seed in (0, 0, 1)]
    assert starts[0].equal(starts[1]) and not starts[0].equal(starts[2])
    assert len(losses[0]) == 12 and losses[0][-1] < losses[0][0] - 1


def test_watching_changes_nothing(lab, bench):
    losses = []
    for how in (lab.learn, lab.watch):
        model = lab.small_model(bench.tokenizer, 0, emb_dim=16)
        more = {"held": bench.validation, "every": 2} if how == lab.watch \
            else {}
        losses.append(how(model, lab.endless(bench.rows, 8, 0),
                          lab.pt.Schedule(4, 0.01, 2), **more))
    assert [train for train, _ in losses[1]] == losses[0][1::2]
    assert losses[1][-1][1] == lab.pt.evaluate(model, bench.validation)


def test_windows_to_evaluate_on_share_no_token(lab):
    (x, y), = lab.cut_windows(list(range(201)))
    assert x.flatten().tolist() == list(range(192))
    assert y.flatten().tolist() == list(range(1, 193))
    (x, _), = lab.cut_windows(list(range(201)), 100)
    assert x.shape == (2, 100)


def test_a_claim_is_printed_and_must_hold(lab, capsys):
    lab.claim("one is less than two", 1 < 2)
    assert capsys.readouterr().out == "one is less than two: True\n"
    with pytest.raises(AssertionError, match="not so here: two is less"):
        lab.claim("two is less than one", 2 < 1)


def test_weight_decay_reaches_the_optimizer(lab, bench):
    plan = lab.pt.Schedule(3, 0.01, 0)
    norms = []
    for decay in (0.0, 50.0):
        model = lab.small_model(bench.tokenizer, 0, emb_dim=16)
        lab.learn(model, lab.endless(bench.rows, 8, 0), plan, decay)
        norms.append(model.tok_emb.weight.norm().item())
    assert norms[1] < 0.7 * norms[0]


def test_smooth_noise_and_table(lab):
    assert lab.smooth([1.0, 2.0, 3.0, 6.0], 2) == [1.5, 2.5, 4.5]
    assert lab.noise([1.0, 3.0]) == (2.0, math.sqrt(2))
    with pytest.raises(ValueError, match=r"\[1.0\]"):
        lab.noise([1.0])
    assert lab.table([("a", 10), ("long", 5)], ("name", "n")) == (
        "name   n\na     10\nlong   5")


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
    batch = (torch.tensor([[9, 5, 6, 7], [9, 5, 9, 0]]),
             torch.tensor([[5, 6, 7, 8], [5, 9, 6, -100]]))
    batch[0][1, 2] = 9
    return dict(rows=rows, held=bench.rows[40:60], batch=batch,
                tokenizer=bench.tokenizer, context_length=128)


def test_good_data_has_no_complaints(names, data):
    assert names["complaints"](**data) == []


@pytest.mark.parametrize("part, spoil, said", [
    ("rows", lambda r, n: [*r, [r[0][0], n, r[0][0]]], "vocabulary"),
    ("rows", lambda r, n: [*r, [r[0][0], -1, r[0][0]]], "vocabulary"),
    ("rows", lambda r, n: [*r, r[0] + r[1] + r[2]], "longer"),
    ("rows", lambda r, n: [*r, r[0][:-1]], "end-of-text"),
    ("rows", lambda r, n: r + r[:20], "copies"),
    ("held", lambda r, n: r, "held-out"),
    ("batch", lambda b, n: (b[0], b[0]), "one step on"),
    ("batch", lambda b, n: (b[0], b[1].roll(1, 1)), "one step on"),
])
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
