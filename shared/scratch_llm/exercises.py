"""The helper behind every exercise: a cell reports how it stands.

    with exercise("3.2"):
        check(my_answer)

"Run All" always finishes: an exercise that nobody has begun is open.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from traceback import walk_tb

EXERCISES: dict[str, bool] = {}  # number -> solved
HINTS = {  # what most often stands behind an error in a learner's code
    IndexError: "; did a list get shorter while you walked over it?",
}


@contextmanager
def exercise(number: str) -> Iterator[None]:
    """Run an exercise's checks and print how it stands; never raises."""
    EXERCISES[number], verdict = False, "open"
    try:
        yield
        EXERCISES[number], verdict = True, "solved"
    except Exception as why:
        if not isinstance(why, NotImplementedError) or str(why):
            verdict = f"not yet - {explain(why)}"
    print(f"Exercise {number}: {verdict}")


def explain(why: Exception) -> str:
    """A check's verdict, or which code stopped before there was one."""
    if isinstance(why, AssertionError) and str(why):
        return str(why)
    told = f"{type(why).__name__}: {why}".removesuffix(": ")
    _, (check, _), *calls = walk_tb(why.__traceback__)
    for frame, line in reversed(calls):
        in_a_cell = frame.f_globals is check.f_globals
        if in_a_cell and frame.f_code not in check.f_code.co_consts:
            where = f"line {line}, in {frame.f_code.co_name}"
            hint = HINTS.get(type(why), "")
            return f"your code stopped with {told} ({where}){hint}"
    return (
        f"the check stopped with {told}: has your cell run, and does it "
        "return what it should?"
    )


def next_open(solved: Sequence[bool]) -> int | None:
    """The place of the exercise to do next, None if all are solved.

    The first one behind the last that is solved, else the first one left.
    """
    last = max((i for i, done in enumerate(solved) if done), default=-1)
    places = [*range(last + 1, len(solved)), *range(last + 1)]
    return next((i for i in places if not solved[i]), None)


def exercise_report() -> None:
    """Print how far you are, and which exercise comes next."""
    numbers = sorted(
        EXERCISES, key=lambda number: [int(n) for n in number.split(".")]
    )
    solved = [EXERCISES[number] for number in numbers]
    place = next_open(solved)
    bar = "".join("●" if EXERCISES[number] else "○" for number in numbers)
    print(f"{bar}  {sum(solved)} of {len(numbers)} solved")
    if place is not None:
        print(f"next: Exercise {numbers[place]}")
