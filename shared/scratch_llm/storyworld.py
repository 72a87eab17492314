"""A small town whose every story has a known probability.

The grammar of the stories is data (`town`). It is compiled once, and two
readers use it:

    story(seed)  makes a story, and knows its likelihood and its facts;
    parse(text)  reads any text: the same likelihood and the same facts if
                 it is a story of this world, otherwise the place and the
                 reason where it first leaves it.

Likelihoods are in nats: the sum of -log p over every choice made. A text
has exactly one derivation, so the mean of `nll` over many stories is the
entropy of the world, the floor under every model's loss.

The file reads from top to bottom: compile; story; parse; corpus; command
line.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from scratch_llm.cli import ShortParser, between
from scratch_llm.town import TOWN, WORDS, Grammar

END_OF_TEXT = "<|endoftext|>"

# -------------------------------------------------------------- compile ---
# The grammar becomes a graph without conditions: what was noted on the way
# decides which patterns can follow, so it decides which node follows.
#
# node     (wheel, choices): the alternatives, and the same with each one
#          standing there `weight` times, so that one number picks one;
# choice   (cost, notes, parts, next node), cost in nats;
# part     a str (told as it is), (variable, form) for a word of the story
#          told again, or (variable, other, table) for a new word:
#          table[word of `other`, or None] is a `Pick`;
# entry    one word with its forms: {"": "Monday", "next": "Tuesday"}.

SLOT = re.compile(r"\{(~?)(\w+)(?::(\w+))?(?:\.(\w+))?\}")
TOKEN = re.compile(r"[A-Za-z]+|[^A-Za-z]")
WORD = re.compile(r"[A-Za-z]+")


class Pick:
    """A free choice between words, all equally likely; cost in nats."""

    def __init__(self, entries: list[dict], label: str) -> None:
        self.entries, self.label = entries, label
        self.by_word = {entry[""]: entry for entry in entries}
        self.cost = math.log(len(entries))
        if len(self.by_word) < len(entries):
            raise ValueError(f"the list {label!r} has a word twice")
        for word in self.by_word:
            if not WORD.fullmatch(word):
                raise ValueError(f"{word!r} in {label!r} is not one word")


@dataclass
class World:
    """A compiled grammar, with a corpus and a judge of its own."""

    variables: dict[str, tuple]
    lists: dict[str, list[dict]]
    start: tuple | None = None
    nodes: list = field(default_factory=list)
    homes: dict[str, dict] = field(default_factory=dict)
    words: set[str] = field(default_factory=set)
    memo: dict[tuple, tuple] = field(default_factory=dict)

    def corpus(
        self, n: int, split: str = "train", seed: int = 0
    ) -> list[Story]:
        """n stories of a split, as `corpus` makes them of the town."""
        return [story(one, self) for one in corpus_seeds(n, split, seed)]

    def parse(self, text: str) -> Parse:
        """Judge a text, as `parse` does for the town."""
        return parse(text, self)


def compile_grammar(grammar: Grammar) -> World:
    """Compile a grammar; ValueError names a slot or list that is wrong."""
    lists = {
        name: [{"": word} for word in words.split()]
        for name, words in grammar.words.items()
    }
    lists["person"] = []
    for name, forms in grammar.pronouns.items():
        capitals = {k.title(): v.title() for k, v in forms.items()}
        for entry in lists[name]:
            entry.update(forms | capitals)
        lists["person"] += lists[name]
    days = lists.get("day", [])
    for today, tomorrow in zip(days, days[1:] + days[:1], strict=True):
        today["next"] = tomorrow[""]
    world = World(grammar.variables, lists)
    beats = [*grammar.opening, grammar.plots]
    world.start = _node(world, beats, frozenset(), frozenset(), "")
    return world


def _node(
    world: World, beats: list, bound: frozenset, notes: frozenset, gap: str
) -> tuple | None:
    """The node for the beats still to be told (None after the last).

    bound: the variables that have a word. gap: what stands before a
    sentence.
    """
    if not beats:
        return None
    key = (tuple(map(id, beats)), bound, notes)
    if key in world.memo:
        return world.memo[key]
    choices, rest = beats[0], beats[1:]
    while isinstance(choices, tuple):
        fact, table = choices
        choices = table[dict(notes)[fact]]
    total = sum(choice[0] for choice in choices)
    wheel, told = [], []
    for weight, text, *said in choices:
        parts, follow, known = [], rest, set(bound)
        if said and isinstance(said[0], list):  # a plot
            follow, said = said[0], [f"plot={text}"]
        else:
            parts = _parts(world, gap + text, known)
        noted = sorted(tuple(note.split("=")) for note in said)
        target = _node(world, follow, frozenset(known), notes | {*noted}, " ")
        entries = tuple((name, {"": value}) for name, value in noted)
        told.append((math.log(total / weight), entries, tuple(parts), target))
        wheel += [told[-1]] * weight
    node = world.memo[key] = tuple(wheel), tuple(told)
    world.nodes.append(node)
    return node


def _parts(world: World, pattern: str, bound: set[str]) -> list:
    """Compile a pattern; `bound` gains the variables that it draws."""
    parts, at = [], 0
    for slot in SLOT.finditer(pattern):
        parts += [pattern[at : slot.start()], _slot(world, slot, bound)]
        at = slot.end()
    parts = [part for part in (*parts, pattern[at:]) if part]
    world.words.update(*(WORD.findall(p) for p in parts if isinstance(p, str)))
    for left, right in zip(parts, parts[1:], strict=False):
        ends = ((left, -1), (right, 0))
        touch = [one[i] for one, i in ends if isinstance(one, str)]
        if not touch or any(sign.isalpha() for sign in touch):
            raise ValueError(f"a slot touches a letter or slot: {pattern}")
    return parts


def _slot(world: World, slot: re.Match, bound: set[str]) -> tuple:
    """Compile a slot: a word told again, or a new one."""
    free, name, domain, form = slot.groups("")
    if name in bound and not free:
        entries = world.homes[name].values()
        if domain or any(form not in entry for entry in entries):
            raise ValueError(f"{slot[0]} has no such form: {slot.string}")
        world.words.update(entry[form] for entry in entries)
        return name, form
    if form:
        raise ValueError(f"{slot[0]} comes too early: {slot.string}")
    label, *unlike = world.variables.get(name, (domain or name,))
    other = unlike[0] if unlike else None
    if label not in world.lists:
        raise ValueError(f"there is no list {label!r}")
    if other and other not in bound:
        raise ValueError(f"{name!r} is told before {other!r}")
    table = _picks(world, label, other)
    found = {k: v for pick in table.values() for k, v in pick.by_word.items()}
    world.words.update(found)
    if not free:
        bound.add(name)
        world.homes.setdefault(name, {}).update(found)
    return "" if free else name, other, table


def _picks(world: World, label: str, other: str | None) -> dict:
    """The picks of a new word, by the word of the other variable, if any."""
    key = label, other
    if key not in world.memo:
        left = {None: world.lists[label]}
        if other:
            left = {
                one[""]: [e for e in left[None] if e["he"] != one["he"]]
                for one in left[None]
            }
        world.memo[key] = {w: Pick(left[w], label) for w in left}
    return world.memo[key]


WORLD = compile_grammar(TOWN)


def corner(
    words: int = 6, plots: Iterable[str] = ("race", "secret"), **changed: str
) -> World:
    """A corner of the town: few plots, the first few words of each kind.

    changed: other words for a kind, as in colour="crimson teal".
    ValueError if the town has no such kind or plot.
    """
    fact, tables = TOWN.plots
    plots = set(plots)
    known = {plot[1] for table in tables.values() for plot in table}
    strange = sorted(changed.keys() - WORDS) + sorted(plots - known)
    if strange or words < 2 or not plots:
        raise ValueError(f"words={words}, unknown kinds or plots {strange}")
    kept = {
        sky: [plot for plot in table if plot[1] in plots]
        for sky, table in tables.items()
    }
    few = {kind: " ".join(w.split()[:words]) for kind, w in WORDS.items()}
    return compile_grammar(
        replace(TOWN, plots=(fact, kept), words=few | changed)
    )


# ---------------------------------------------------------------- story ---


@dataclass(frozen=True)
class Story:
    """A story, its negative log-likelihood in nats, and its facts."""

    text: str
    nll: float
    facts: dict[str, str]


def tell(chance: Callable[[], float], world: World = WORLD) -> Story:
    """Tell a story; `chance` gives numbers in [0, 1), one per choice."""
    node, said, state, nll = world.start, [], {}, 0.0
    while node is not None:
        wheel, _ = node
        cost, notes, parts, node = wheel[int(chance() * len(wheel))]
        nll += cost
        state.update(notes)
        for part in parts:
            if part.__class__ is str:
                said.append(part)
            elif len(part) == 2:
                said.append(state[part[0]][part[1]])
            else:
                name, other, table = part
                pick = table[other and state[other][""]]
                entry = pick.entries[int(chance() * len(pick.entries))]
                nll += pick.cost
                said.append(entry[""])
                if name:
                    state[name] = entry
    return Story("".join(said), nll, _facts(state))


def _facts(state: dict[str, dict]) -> dict[str, str]:
    """The facts that a reader can be asked: one word per name."""
    facts = {name: entry[""] for name, entry in state.items()}
    if "he" in state.get("hero", ()):
        facts["pronoun"] = state["hero"]["he"]
    if "next" in state.get("day", ()):
        facts["next_day"] = state["day"]["next"]
    return facts


def story(seed: int, world: World = WORLD) -> Story:
    """The story of a seed, the same on every platform.

    Raises ValueError for a negative seed, which would tell the story of
    the positive one.
    """
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, not {seed}")
    return tell(random.Random(seed).random, world)


# ---------------------------------------------------------------- parse ---


@dataclass(frozen=True)
class Parse:
    """What the judge says of a text.

    ok: whether the whole text is one story of the world. Then nll (nats)
    and facts are those of the story. Otherwise nll is infinite, facts are
    what was established up to `position` (a character of the text), `kind`
    is one of KINDS and `reason` says it in words. derivations: how many
    ways there are to tell this text, 1 for every story of the town.
    """

    ok: bool
    nll: float
    facts: dict[str, str]
    position: int
    kind: str = ""
    reason: str = ""
    derivations: int = 0


KINDS = (
    "unknown word",
    "broken sentence",
    "changed fact",
    "wrong pronoun",
    "wrong person",
    "stranger",
    "unfinished",
    "after the end",
)


def parse(text: str, world: World = WORLD) -> Parse:
    """Judge a text: a story of this world, or where and why not.

    Returns a `Parse`; its nll is that of `story`, in nats. Never fails on
    a str, whatever stands in it.
    """
    # Follow every derivation that fits. Each ends with the text, or fails
    # at (place, part or None after a story's end, state).
    open_ends, complete, failures = [(world.start, 0, {}, 0.0)], [], []
    while open_ends:
        node, at, state, nll = open_ends.pop()
        if node is not None:
            for cost, notes, parts, target in node[1]:
                end, part, now, total = _fit(
                    parts, text, at, state, nll + cost
                )
                if part is None:
                    now = {**now, **dict(notes)}
                    open_ends.append((target, end, now, total))
                else:
                    failures.append((end, part, now))
        elif at == len(text):
            complete.append((nll, state))
        else:
            failures.append((at, None, state))
    if not complete:
        return _explain(text, failures, world)
    nll, state = complete[0]
    if len(complete) > 1:  # not in this town
        nll = -math.log(sum(math.exp(-one) for one, _ in complete))
    return Parse(True, nll, _facts(state), len(text), "", "", len(complete))


def _fit(parts: tuple, text: str, at: int, state: dict, nll: float) -> tuple:
    """Read parts at a place: (place, part that fails or None, state, nll)."""
    for part in parts:
        if part.__class__ is str:
            if not text.startswith(part, at):
                return at, part, state, nll
            at += len(part)
            continue
        word = _token(text, at)
        if len(part) == 2:
            if word != state[part[0]][part[1]]:
                return at, part, state, nll
        else:
            name, other, table = part
            pick = table[other and state[other][""]]
            if word not in pick.by_word:
                return at, part, state, nll
            nll += pick.cost
            if name:
                state = {**state, name: pick.by_word[word]}
        at += len(word)
    return at, None, state, nll


# Why a text is no story: of all failures, the furthest say it.


class Break(NamedTuple):
    """Where a derivation fails, at which part, and what could stand there."""

    place: int
    part: str | tuple | None  # None after a story's end
    state: dict
    words: Iterable[str]
    label: str  # a name for the words


def _explain(text: str, failures: list, world: World) -> Parse:
    """The place where a text leaves the world, and the reason."""
    breaks = [_break(text, *failure) for failure in failures]
    place = max(one.place for one in breaks)
    breaks = [one for one in breaks if one.place == place]
    kind, reason = _reason(text, place, breaks, world)
    facts = _facts(breaks[0].state)
    return Parse(False, math.inf, facts, place, kind, reason)


def _break(text: str, at: int, part: str | tuple | None, state: dict) -> Break:
    """The very word at which a text leaves the part that stands `at`."""
    words, label = [], ""
    if isinstance(part, str):
        tokens = iter(TOKEN.findall(part))
        while (token := next(tokens)) == _token(text, at):
            at += len(token)
        words, label = [token], _quote(token)
    elif part and len(part) == 2:
        word = state[part[0]][part[1]]
        words, label = [word], _quote(word)
    elif part:
        _, other, table = part
        pick = table[other and state[other][""]]
        article = "another" if other else "a"
        words, label = pick.by_word, f"{article} {pick.label}"
    return Break(at, part, state, words, label)


def _reason(
    text: str, place: int, breaks: list[Break], world: World
) -> tuple[str, str]:
    """(kind, reason) of a break, from what was wanted at its place."""
    word = _token(text, place)
    if any(one.part is None for one in breaks):
        return "after the end", "the story was over, but the text goes on"
    labels = list(dict.fromkeys(one.label for one in breaks))
    wanted = " or ".join(labels[:4] + ["..."] * (len(labels) > 4))
    words = {each for one in breaks for each in one.words} - {word}
    if place + len(word) == len(text):
        if any(each.startswith(word) for each in words):
            return "unfinished", f"the text stops; expected {wanted}"
    if WORD.match(word) and word not in world.words:
        return "unknown word", f"{_quote(word)} is not a word of this world"
    for one in breaks:
        if isinstance(one.part, tuple) and len(one.part) == 2:
            kind, reason = _contradiction(word, one.part, one.state, world)
            if kind:
                return kind, reason
    reason = f"expected {wanted}, found {_quote(word)}"
    start = max(text.rfind(sign, 0, place) for sign in ".?!") + 1
    sentence = re.compile(r"[^.?!]*").match(text, start)[0].strip(' "')
    if len(sentence) > 1 and sentence in text[:start]:
        reason = f"this sentence was told before; {reason}"
    return "broken sentence", reason


def _token(text: str, at: int) -> str:
    """The word or the sign at a place of a text, "" at its end."""
    found = TOKEN.match(text, at)
    return found[0] if found else ""


def _quote(token: str) -> str:
    """A token in quotation marks, fit for one line of a message."""
    names = {" ": "a space", '"': "a quotation mark", "\n": "a line break"}
    shown = token if len(token) <= 24 else token[:21] + "..."
    return names.get(token, f'"{ascii(shown)[1:-1]}"')


def _contradiction(
    word: str, part: tuple, state: dict, world: World
) -> tuple[str, str]:
    """(kind, reason) if a known word contradicts the story, else empty."""
    name, form = part
    entry, home = state[name], world.homes[name]
    told = entry[""]
    if form == "next" and word in home:
        return "changed fact", f"after {told} comes {entry[form]}, not {word}"
    if form and "he" in entry and word in {e[form] for e in home.values()}:
        return "wrong pronoun", (
            f'{told} is "{entry["he"]}", so "{entry[form]}", not "{word}"'
        )
    if form or word not in home:
        return "", ""
    if "he" not in entry:
        return "changed fact", f"the {name} was {told}, now {word}"
    if any(word == other[""] for other in state.values()):
        return "wrong person", f"this is about {told}, not {word}"
    return "stranger", f"{word} was never in this story"


# --------------------------------------------------------------- corpus ---

SPLITS = ("train", "validation")


def corpus_seeds(n: int, split: str = "train", seed: int = 0) -> range:
    """The story seeds of a corpus: training even, validation odd.

    `seed` numbers whole corpora: corpus k has the story seeds from
    k * 2**32 on, so no two corpora and no two splits share a seed.
    Raises ValueError for another split, or n or seed out of range.
    """
    if split not in SPLITS:
        raise ValueError(f"split is one of {SPLITS}, not {split!r}")
    if not 0 <= n <= 2**31:
        raise ValueError(f"n is between 0 and 2**31, not {n}")
    if seed < 0:
        raise ValueError(f"seed is 0 or more, not {seed}")
    first = seed * 2**32 + SPLITS.index(split)
    return range(first, first + 2 * n, 2)


def corpus(n: int, split: str = "train", seed: int = 0) -> list[Story]:
    """n stories of a split, "train" or "validation" (see corpus_seeds)."""
    return WORLD.corpus(n, split, seed)


def write_corpus(stories: list[Story], path: Path) -> int:
    """Write stories to a file, one per line; returns the characters.

    A line with the end-of-text sign follows each story. UTF-8, "\n" as
    line end on every platform.
    """
    text = "".join(f"{one.text}\n{END_OF_TEXT}\n" for one in stories)
    path.write_bytes(text.encode("utf-8"))
    return len(text)


def split_stories(text: str) -> list[str]:
    """The stories of a corpus file's text, without the lines between."""
    parts = [part.strip("\r\n") for part in text.split(END_OF_TEXT)]
    return [part for part in parts if part]


# --------------------------------------------------------- command line ---


def _write(folder: Path, n: int, seed: int) -> None:
    """Write n training stories, a tenth as many held out; say what is in."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in zip(SPLITS, (n, max(1, n // 10)), strict=True):
        stories = corpus(size, split, seed)
        path = folder / f"{split}.txt"
        characters = write_corpus(stories, path)
        nats = sum(one.nll for one in stories) / size
        print(
            f"{path}: {size:,} stories, {characters:,} characters, "
            f"{nats:.2f} nats per story"
        )


def _check(path: Path) -> int:
    """Judge every story of a file; returns 0 if all are of the world."""
    texts = split_stories(path.read_bytes().decode("utf-8", "replace"))
    verdicts = [parse(text) for text in texts]
    for number, one in enumerate(verdicts, 1):
        if not one.ok:
            where = f"story {number}, character {one.position}"
            print(f"{where}: {one.kind}: {one.reason}")
    valid = sum(one.ok for one in verdicts)
    print(f"{valid} of {len(texts)} stories are stories of this world")
    return 0 if texts and valid == len(texts) else 1


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code (2: wrong arguments)."""
    parser = ShortParser(
        prog="storyworld.py",
        description="Stories of one small town, with known likelihood.",
    )
    add, some = parser.add_argument, {"type": between(1), "metavar": "N"}
    add("--show", help="print N stories", **some)
    add("--stories", help="write N stories, and a tenth held out", **some)
    add("--out", type=Path, help="the folder for --stories")
    add("--seed", type=between(0), default=0, help="number of the corpus")
    add(
        "--check",
        type=Path,
        metavar="FILE",
        help=f"judge a text file; stories stand between lines {END_OF_TEXT}",
    )
    args = parser.parse_args(argv)
    if not (args.stories or args.out or args.show or args.check):
        parser.error("give --stories N --out DIR, --show N or --check FILE")
    if (args.stories is None) != (args.out is None):
        parser.error("--stories and --out belong together")
    try:
        if args.stories:
            _write(args.out, args.stories, args.seed)
        for one in corpus(args.show or 0, "train", args.seed):
            print(one.text, end="\n\n")
        return _check(args.check) if args.check else 0
    except OSError as error:
        parser.error(str(error))


if __name__ == "__main__":
    raise SystemExit(main())
