"""Four judges that are no language models, each with a weakness of its own.

The notebook measures them before you read this; so do not read on.

Each is a rule of a few lines that compares words. It reads the prompt that a
real judge would get, and answers in words, as a real one would. Served by
`scratch_llm.stub_chat`, they stand where a model behind Ollama would stand.
Their weaknesses are planted, and much simpler than those of real judges; that
is why we know what a measurement ought to find.
"""

import re
import zlib
from collections.abc import Callable

from scratch_llm.stub_chat import between_marks

SMALL = set("a an the at in on of to and is was it i that".split())


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def share(reference: str, answer: str) -> float:
    """The share of the right answer's words that the answer has, 0 to 1.

    Small words do not count, unless there are no others.
    """
    wanted = set(words(reference))
    wanted = wanted - SMALL or wanted
    return len(wanted & set(words(answer))) / max(1, len(wanted))


def luck(text: str, most: int) -> int:
    """A number from 0 to `most` that looks random and depends on the text."""
    return zlib.crc32(text.encode()) % (most + 1)


# ---- The weaknesses --------------------------------------------------------


def careful(reference: str, answer: str) -> float:
    """It nods off now and then, and says the opposite."""
    found = share(reference, answer)
    return 94 * (1 - found if luck(reference + answer, 8) == 0 else found)


def generous(reference: str, answer: str) -> float:
    """Its points are all high."""
    return 70 + 24 * share(reference, answer)


def talkative(reference: str, answer: str) -> float:
    """It likes long answers."""
    length = min(1, len(words(answer)) / 30)
    return 50 * share(reference, answer) + 44 * length


def hasty(reference: str, answer: str) -> float:
    """It reads eight words, and of two answers prefers the first."""
    return 94 * share(reference, " ".join(answer.split()[:8]))


RULES: dict[str, Callable[[str, str], float]] = {
    rule.__name__: rule for rule in (careful, generous, talkative, hasty)
}
HEAD_START = {"hasty": 92}  # points for the answer that stands first


# ---- How they speak --------------------------------------------------------


def reply(name: str, messages: list[dict]) -> str:
    """What the judge of this name says to a prompt for one or two answers."""
    prompt, rule = messages[0]["content"], RULES[name]
    reference = between_marks(prompt, "reference")
    if "<first>" in prompt:
        first, second = (
            rule(reference, between_marks(prompt, mark))
            + luck(mark + prompt, 6)
            for mark in ("first", "second")
        )
        return "A" if first + HEAD_START.get(name, 0) >= second else "B"
    answer = between_marks(prompt, "answer")
    if name == "hasty" and luck(prompt, 19) == 0:
        return "That looks fine to me."  # it never gives a number for this
    points = round(rule(reference, answer)) + luck(prompt, 6)
    if len(messages) == 1 and luck(prompt, 3) == 0:
        return "The pupil has understood a part of it, I would say."
    styles = ("{}", "Score: {}", "**{}/100**", "I would give it {} points.")
    return styles[luck(answer, 3)].format(points)


def judge_named(name: str) -> Callable[[list[dict]], str]:
    return lambda messages: reply(name, messages)


JUDGES = {name: judge_named(name) for name in RULES}
