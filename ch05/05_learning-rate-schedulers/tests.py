"""Tests of the shapes in schedulers.ipynb."""

from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def names(notebook_names):
    return notebook_names(HERE / "schedulers.ipynb")


def library(make, steps: int) -> list[float]:
    """The rates of one of PyTorch's schedulers, from a rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = make(optimizer), []
    for step in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return rates


ORACLES = {
    "constant": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1.0),
    "linear": lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, 100),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 100),
    "step": lambda o: lr_scheduler.LambdaLR(
        o, lambda step: [1.0, 1.0, 0.3, 0.1][step // 25]
    ),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=100),
}


@pytest.mark.parametrize("shape", ORACLES)
def test_shapes_equal_the_library_s(names, shape):
    ours = [names["factor"](shape, step, 100, 0) for step in range(100)]
    assert ours == pytest.approx(library(ORACLES[shape], 100), abs=1e-6)


@pytest.mark.parametrize(
    "shape",
    [
        "constant",
        "step",
        "linear",
        "cosine",
        "stable, decay",
        "inverse root",
        "one-cycle",
    ],
)
@pytest.mark.parametrize("steps", [40, 160, 1000])
def test_every_shape_rises_to_one_and_never_rises_again(names, shape, steps):
    heights = [
        names["factor"](shape, step, steps, 16) for step in range(steps)
    ]
    top = heights.index(max(heights))
    assert max(heights) == pytest.approx(1, abs=0.05) and min(heights) > 0
    assert heights[:top] == sorted(heights[:top])
    assert heights[top:] == sorted(heights[top:], reverse=True)
    if shape != "one-cycle":
        assert heights[15] == 1 and heights[0] == pytest.approx(1 / 16)


def test_stable_decay_keeps_its_peak_for_three_quarters(names):
    heights = [
        names["factor"]("stable, decay", step, 216, 16) for step in range(216)
    ]
    assert heights[16:166] == [1.0] * 150
    assert heights[191] == pytest.approx(0.5)


def test_inverse_root_halves_when_steps_are_four_times_the_warm_up(names):
    assert names["factor"]("inverse root", 63, 1000, 16) == 0.5
    assert names["factor"]("inverse root", 255, 1000, 16) == 0.25


def test_an_unknown_shape_is_an_error(names):
    with pytest.raises(KeyError, match="sawtooth"):
        names["factor"]("sawtooth", 20, 100, 16)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
