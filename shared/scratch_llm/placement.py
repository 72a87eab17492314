"""A placement quiz: tiny questions, and a sentence that says where to start.

    with question(4, 4) as check:       # question 4 is about section 4
        mine = ...
        check(mine, x.sum(dim=0).shape)

`Run All` always finishes: a question whose answer is still `...` is open.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

ANSWERS: dict[int, bool | None] = {}  # question -> right; None: open
ABOUT: dict[int, tuple[int, ...]] = {}  # question -> its sections
STORY = range(14, 18)  # sections that put everything together


def plain(value: object) -> object:
    """Tensors, shapes and tuples as lists and numbers, to be compared."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def same(mine: object, right: object) -> bool:
    """Whether an answer is right; decimals may be off by one hundredth."""
    mine, right = plain(mine), plain(right)
    if isinstance(right, list):
        return (
            isinstance(mine, list)
            and len(mine) == len(right)
            and all(map(same, mine, right))
        )
    numbers = (int, float)
    if isinstance(mine, numbers) and isinstance(right, numbers):
        both_whole = isinstance(mine, int) and isinstance(right, int)
        return math.isclose(mine, right, abs_tol=0 if both_whole else 0.011)
    return type(mine) is type(right) and mine == right


@contextmanager
def question(number: int, *sections: int) -> Iterator[Callable]:
    """Judge one answer and print how it stands; never raises."""
    ABOUT[number], ANSWERS[number] = sections, None

    def check(mine: object, right: object) -> None:
        if mine is not ...:
            ANSWERS[number] = same(mine, right)

    where = f"{spell('section', sections)} {{}} it"
    try:
        yield check
    except Exception as why:
        ANSWERS[number] = False
        first, *_ = f"{type(why).__name__}: {why}".splitlines()
        print(f"Your line stopped with {first}")
    verb = "shows" if len(sections) == 1 else "show"
    told = {
        None: "open",
        True: "right",
        False: "not yet, " + where.format(verb),
    }
    print(f"Question {number}: {told[ANSWERS[number]]}")


def spell(noun: str, numbers: tuple[int, ...] | list[int]) -> str:
    """Numbers as one says them: section 3; sections 3, 7 and 9 to 11."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = []
    for run in runs:
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run)
    *some, last = parts
    said = f"{', '.join(some)} and {last}" if some else last
    return f"{noun}{'s' * (len(numbers) > 1)} {said}"


def where_to_start() -> None:
    """Print the sentence that says which sections to read."""
    known = [number for number, right in ANSWERS.items() if right]
    todo = {s for number in ABOUT.keys() - set(known) for s in ABOUT[number]}
    if set(ANSWERS.values()) <= {None}:
        print("Nothing is answered yet. You may as well start with section 1.")
        return
    print(f"{len(known)} of {len(ABOUT)} right.", end=" ")
    if not todo:
        print(
            "You know what the course takes for granted: go on to chapter 2. "
            "For pleasure read sections 14 to 17, in which a model learns to "
            "invent names."
        )
    elif len(known) < len(ABOUT) / 2:
        print(
            f"Start with section {min(todo)} and read on from there; what "
            "you know already will go quickly."
        )
    else:
        story = set(STORY) - todo
        more = f"; for pleasure, {spell('section', [*story])}" if story else ""
        print(f"Read {spell('section', [*todo])}{more}.")
