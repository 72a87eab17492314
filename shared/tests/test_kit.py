"""What lessons use and do not teach keeps its promises."""

import pytest
from matplotlib.colors import to_rgba
from matplotlib.pyplot import close
from scratch_llm.exercises import EXERCISES, exercise, exercise_report
from scratch_llm.style import COLOURS, draw_map


def answer():
    return {}["x"]


def test_exercise_reports_and_never_raises(capsys):
    """Neither an answer's own exception nor the check's is a verdict."""
    EXERCISES.clear()
    with exercise("1"):
        raise NotImplementedError
    with exercise("2"):
        raise AssertionError("too long")
    with exercise("3"):
        answer()
    with exercise("4"):
        "".join(None)
    with exercise("5"):
        pass
    exercise_report()
    one, two, three, four, *rest = capsys.readouterr().out.splitlines()
    assert one == "Exercise 1: open"
    assert two == "Exercise 2: not yet - too long"
    assert "not yet - your code stopped with KeyError: 'x' (line" in three
    assert "in answer" in three
    assert "not yet - the check stopped with TypeError" in four
    assert rest == ["Exercise 5: solved", "Solved: 5", "Open: 1, 2, 3, 4"]


@pytest.mark.parametrize(
    ("today", "n"),
    [("data", 3), ("attention", 1), ("gpt", 5), ("pretraining", 1),
     ("classification", 1), ("instructions", 1)],
)  # fmt: skip
def test_the_map_colours_today(today, n):
    figure = draw_map(today)
    blue = COLOURS["train"]
    boxes = figure.axes[0].patches
    assert sum(b.get_facecolor() == to_rgba(blue) for b in boxes) == n
    close(figure)


def test_the_map_knows_its_parts():
    with pytest.raises(ValueError, match="yesterday"):
        draw_map("yesterday")
