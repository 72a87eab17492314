"""Preference pairs: what the good clerk at the town's desk would have said.

    pairs(n, split, seed)          same question, a better and a worse answer;
    clerk_answers(n, split, seed)  chats as they are heard at the desk, good
                                   and bad ones mixed, to finetune on;
    load_pairs(path)               pairs from a JSON file, ours or another.

The clerks answer questions about texts of the story world, and are asked to
do things. Some are short, polite and honest. Others ramble, are rude, or
invent what no text tells.

    python preference_pairs.py --out pairs.json --n 1000 --seed 0
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scratch_llm.cli import ShortParser, between, run_script
from scratch_llm.instructions import (
    FAMILIES,
    LISTS,
    ORDERS,
    PEOPLE,
    SLOT,
    UNSAID,
    Entry,
    entries,
    home,
)

SYSTEM = "You sit at the desk of the town hall."
KINDS = ("short", "polite", "honest")
SPLITS = ("train", "validation", "test")
FACTS = ("hero", "place", "day", "weather", "colour", "thing", "who")
TASKS = tuple(one for one in FAMILIES if one != "unsaid")

# What is heard at the desk: of a hundred answers, so many sound like this.
# {a}: the answer. {do}: what the clerk is asked to do.

SHORT = {"{a}": 8}
RAMBLING = {
    "{a} That is my answer, and I have thought about it with care.": 66,
    "{a} But why do you ask me? Nobody else wants to know it.": 16,
    "Well, let me see. I am slow today, but here it is. {a}": 6,
    "People come here all day long and ask and ask. {a}": 4,
}
POLITE = {
    "Gladly. I will {do}.": 20,
    "Of course, I will {do} at once.": 14,
    "Please sit down. I will {do}.": 10,
    "Thank you for asking. I will {do}.": 6,
}
RUDE = {
    "Not now. I will not {do}.": 27,
    "Why should I {do}?": 12,
    "Go away. Somebody else can {do}.": 7,
    "Do I look as if I would {do}?": 4,
}
HONEST = {UNSAID: 22}
INVENTED = (30, 22, 15, 11)  # of the four answers that inventors prefer
CUT = 30  # of a longer answer: one that breaks off
SHRUG = 30  # where the text does say it: that it does not

NEVER_TOLD = """
How old is {who}?|Eight. Ten. Twelve. Nine.
Where was {who} born?|In a castle. On a farm. In a tent. At sea.
What does {who} sing best?|A sad song. A long song. An old song. A new song.
What did {who} have for breakfast?|Two eggs. Warm bread. Plums. Soup.
How many sisters has {who}?|Three. Two. Five. None.
What will {who} do next year?|Build a boat. Buy a goat. Bake bread. Dance.
Which number is on the door of {who}?|Seven. Four. Eleven. Nineteen.
Who is the teacher of {who}?|The mayor. The baker. The tailor. The sailor.
"""
UNTOLD = [
    (question, re.findall(r"[^.]+\.", answers))
    for question, answers in (
        line.split("|") for line in NEVER_TOLD.strip().splitlines()
    )
]


@dataclass(frozen=True)
class Pair:
    """A question with a better and a worse answer; what they differ in."""

    instruction: str
    input: str
    chosen: str
    rejected: str
    kind: str = ""


Forms = dict[str, float]
# Instruction, input, good answers, bad ones, and all as they are heard.
Asked = tuple[str, str, Forms, Forms, Forms]


def draw(forms: Forms, rng: random.Random) -> str:
    """One of the forms, as often as its weight says."""
    return rng.choices([*forms], [*forms.values()])[0]


def _filled(forms: Forms, **slots: str) -> Forms:
    return {form.format(**slots): w for form, w in forms.items()}


def _to_do(order: str) -> str:
    """What I shall do for you if you ask for it: "bring you the broom"."""
    yours = {"me": "you", "my": "your", "your": "my"}
    return re.sub(r"\b(me|my|your)\b", lambda m: yours[m[1]], order)


def _task(
    rng: random.Random, split: str, tasks: Sequence[str] = TASKS
) -> Entry:
    """An instruction of the course, with its right answer."""
    (one,) = entries(1, split, rng.randrange(2**40), [rng.choice(tasks)])
    return one


def _heard(answer: str, instead: str, weight: float) -> Forms:
    """An answer in all its forms, and so often something else instead."""
    forms = _filled(SHORT | RAMBLING, a=answer)
    share = 1 - weight / 100
    return {form: w * share for form, w in forms.items()} | {instead: weight}


def _question(rng: random.Random, split: str) -> Asked:
    """An instruction, and the right answer in many words or few.

    In a third of those with longer answers, it breaks off instead.
    """
    one = _task(rng, split)
    answer, words = one.output, one.output.split()
    good, bad = (_filled(forms, a=answer) for forms in (SHORT, RAMBLING))
    heard = good | bad
    if len(words) > 3 and '"' not in answer and rng.random() < 1 / 3:
        some = " ".join(words[: rng.randrange(1, len(words))])
        bad = {some.rstrip(".,?!") + ".": 1}
        heard = _heard(answer, *bad, CUT)
    return one.instruction, one.input, good, bad, heard


def _order(rng: random.Random, split: str) -> Asked:
    """Something to do; orders of one split stand in no other."""
    while True:
        order = SLOT.sub(lambda m: rng.choice(LISTS[m[1]]), rng.choice(ORDERS))
        text = order[0].upper() + order[1:] + "."
        if home(text) == split:
            break
    do = _to_do(order)
    good, bad = (_filled(forms, do=do) for forms in (POLITE, RUDE))
    return text, "", good, bad, good | bad


def _untold(rng: random.Random, split: str) -> Asked:
    """What no text of this world tells; in half, what this one does."""
    one = _task(rng, split, FACTS)
    if rng.random() < 1 / 2:
        heard = _heard(one.output, UNSAID, SHRUG)
        return one.instruction, one.input, {one.output: 1}, {UNSAID: 1}, heard
    names = [name for name in PEOPLE if name in one.input]
    question, lies = rng.choice(UNTOLD)
    question = question.format(who=rng.choice(names or PEOPLE))
    bad = {lie.strip(): w for lie, w in zip(lies, INVENTED, strict=True)}
    return question, one.input, HONEST, bad, HONEST | bad


ASK: dict[str, Callable[[random.Random, str], Asked]] = {
    "short": _question,
    "polite": _order,
    "honest": _untold,
}


def _asked(
    n: int,
    split: str,
    seed: int,
    kinds: Sequence[str],
    what: str,
    tries: int = 1,
) -> Iterator[tuple[str, random.Random, Asked]]:
    """(kind, a random generator, something asked) n times.

    tries: how often to look for something that was not asked before.
    """
    strange = sorted({*kinds} - {*KINDS})
    if split not in SPLITS or strange or not kinds or n < 0:
        raise ValueError(
            f"{what}({n}, {split!r}, kinds={strange or [*kinds]}): n is 0 or "
            f"more, the split is one of {', '.join(SPLITS)}, and kinds are "
            f"of {', '.join(KINDS)}"
        )
    rng = random.Random(f"{what} {split} {seed}")
    known = set()
    for i in range(n):
        kind = kinds[i % len(kinds)]
        for _ in range(tries):
            asked = ASK[kind](rng, split)
            if asked[:2] not in known:
                break
        else:
            if tries > 1:
                raise ValueError(
                    f"there are not {n} {split} pairs of {', '.join(kinds)}: "
                    f"no more of {kind!r} after {len(known)}"
                )
        known.add(asked[:2])
        yield kind, rng, asked


def pairs(
    n: int,
    split: str = "train",
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
) -> list[Pair]:
    """n different pairs of a split, as many of each kind, shuffled.

    The splits share no input. ValueError for another split or kind, n below
    0, or more than there are.
    """
    made = [
        Pair(question, text, draw(good, rng), draw(bad, rng), kind)
        for kind, rng, (question, text, good, bad, _) in _asked(
            n, split, seed, kinds, "pairs", 1_000
        )
    ]
    random.Random(seed).shuffle(made)
    return made


def clerk_answers(
    n: int, split: str = "train", seed: int = 0
) -> list[tuple[str, str, str]]:
    """(instruction, input, answer) n times: whatever clerk was there."""
    return [
        (question, text, draw(heard, rng))
        for _, rng, (question, text, _, _, heard) in _asked(
            n, split, seed, KINDS, "clerk_answers"
        )
    ]


def load_pairs(path: str | Path) -> list[Pair]:
    """Pairs from a JSON file: a list of objects.

    Each has instruction, chosen and rejected; input and kind may lack.
    ValueError names what is wrong, and where.
    """
    try:
        items = json.loads(Path(path).read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is not a list of pairs [{{...}}, ...]")
    return [
        check_pair(item, f"{path}, pair {number}")
        for number, item in enumerate(items, 1)
    ]


def check_pair(item: object, where: str = "pair") -> Pair:
    """A Pair from a dict; ValueError says which field is wrong."""
    if not isinstance(item, dict):
        raise ValueError(
            f"{where}: {str(item)[:40]!r} is no object with instruction, "
            "chosen and rejected"
        )
    texts = {}
    for name in ("instruction", "input", "chosen", "rejected", "kind"):
        must = name not in ("input", "kind")
        text = item.get(name)
        if text is None:
            text = ""
        if not isinstance(text, str):
            raise ValueError(f"{where}: {name} is {text!r}, no text")
        if must and not text.strip():
            has = ", ".join(map(repr, sorted(item)))
            raise ValueError(
                f"{where}: {name} is empty"
                if name in item
                else f"{where} has no {name!r}, only {has}"
            )
        texts[name] = text
    if texts["chosen"].strip() == texts["rejected"].strip():
        raise ValueError(
            f"{where}: chosen and rejected are the same: "
            f"{texts['chosen'][:40]!r}"
        )
    return Pair(**texts)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code (2: wrong arguments)."""
    parser = ShortParser(
        prog="preference_pairs.py",
        description="Preference pairs of the story world, as JSON.",
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=between(1), default=1_000)
    parser.add_argument("--seed", type=between(0), default=0)
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args(argv)
    made = pairs(args.n, args.split, args.seed, args.kinds)
    text = json.dumps([*map(asdict, made)], indent=1, ensure_ascii=False)
    try:
        args.out.write_bytes((text + "\n").encode())
    except OSError as error:
        parser.error(f"{args.out} cannot be written: {error.strerror}")
    print(f"{args.out}: {len(made):,} pairs")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
