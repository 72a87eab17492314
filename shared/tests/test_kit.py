"""What lessons use and do not teach keeps its promises."""

import pytest
from matplotlib.colors import to_rgba
from matplotlib.pyplot import close
from scratch_llm.exercises import EXERCISES, exercise, exercise_report
from scratch_llm.style import COLOURS, draw_map


def test_exercise_reports_and_never_raises(capsys):
    answers = {"1": NotImplementedError(), "2": AssertionError("too long"),
               "3": KeyError("x"), "4": None}  # fmt: skip
    EXERCISES.clear()
    for number, answer in answers.items():
        with exercise(number):
            if answer is not None:
                raise answer
    exercise_report()
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 1: open",
        "Exercise 2: not yet - too long",
        "Exercise 3: not yet - KeyError: 'x'",
        "Exercise 4: solved",
        "Solved: 4",
        "Open: 1, 2, 3",
    ]


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
