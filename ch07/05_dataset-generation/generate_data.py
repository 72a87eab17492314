"""Let a language model on your own machine write instruction data.

    ollama serve                      in another window, if it does not run
    ollama pull llama3.2
    python generate_data.py --entries 200 --out my-instructions.json

Each round shows the model a few tasks, most of them from the seed tasks, and
asks for new ones. What comes back is parsed, filtered, and compared with all
that is there already. Every reply is kept in OUT.replies.jsonl, so the same
command goes on after an interruption and asks nothing twice. Any server with
OpenAI's interface will do too: --api openai --url ADDRESS --model NAME.

Exit code 0: as many entries as you wanted; 1: fewer; 2: wrong input; 3: no
server there.
"""

import json
import random
import re
import signal
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scratch_llm.chat import (
    Chat,
    ChatError,
    Journal,
    NoServer,
    add_chat_options,
    fingerprint,
    open_chat,
)
from scratch_llm.cli import ShortParser, run_script, say
from scratch_llm.files import write_text
from scratch_llm.judging import FIELDS, read_entries
from tqdm import tqdm

NAME = "generate_data.py"
SEEDS = Path(__file__).resolve().parent / "seed-tasks.json"
PROMPT = """\
You write exercises for a pupil who learns to follow instructions. Here are \
{shown} examples, each a JSON object with an instruction, an input (often \
empty) and the right output:

{examples}

Write {wanted} new ones of the same form, one JSON object a line. Each must \
ask for something else than the examples do. Use simple words. Use an input \
where the instruction speaks of a text, and leave it empty where it does not. \
The output must be right, and short. Write nothing but the JSON objects."""
STERILE = 8  # so many rounds without a new entry, and we stop
REFUSALS = re.compile(
    r"as an ai\b|language model|i cannot|i can't|i'm sorry|i am sorry", re.I
)
UNSEEN = re.compile(r"\b(image|picture|photo|video|audio|link)s?\b", re.I)
NO_INPUT = re.compile(
    r"\b(this|the|these|following) (text|sentences?|story|list)\b", re.I
)
BLANK = re.compile(r"\s*(\.\.\.|…|<[^>]*>|\[[^\]]*\]|TODO|TBD)\s*")


# ---- Asking ----------------------------------------------------------------


def choose_examples(
    seeds: Sequence[dict], kept: Sequence[dict], rng: random.Random
) -> list[dict]:
    """Three seed tasks and one or two of the model's own, in mixed order."""
    own = rng.sample(list(kept), min(2, len(kept)))
    some = rng.sample(list(seeds), min(5 - len(own), len(seeds))) + own
    rng.shuffle(some)
    return some


def make_prompt(examples: Sequence[dict], wanted: int) -> str:
    """What the model is asked in one round."""
    lines = (
        json.dumps({name: one[name] for name in FIELDS}, ensure_ascii=False)
        for one in examples
    )
    return PROMPT.format(
        shown=len(examples), wanted=wanted, examples="\n".join(lines)
    )


# ---- Reading what comes back -----------------------------------------------


def parse_entries(reply: str) -> list[dict]:
    """All JSON objects in a reply, whatever stands around them.

    A list, a line each, in a code block, after "Sure, here they are": all the
    same. The last one may be cut off; it is left out.
    """
    reply = reply.rpartition("</think>")[2]
    decoder, found, at = json.JSONDecoder(strict=False), [], 0
    while (at := reply.find("{", at)) >= 0:
        try:
            one, at = decoder.raw_decode(reply, at)
            found.append(one)
        except (ValueError, RecursionError):
            at += 1
    return found


def clean(entry: dict) -> dict:
    """The three fields, as texts without blanks around them."""
    texts = {name: entry.get(name, "") for name in FIELDS}
    for name, text in texts.items():
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = f"{text:g}"  # models write numbers without quotes
        texts[name] = text.strip() if isinstance(text, str) else ""
    if texts["input"].lower() in ("none", "n/a", "(empty)", "empty"):
        texts["input"] = ""
    return texts


def fault_of(entry: dict) -> str:
    """Why an entry is useless, '' if it is not."""
    instruction, given, output = (entry[name] for name in FIELDS)
    if not instruction or not output:
        return "a field is missing"
    if not 3 <= len(instruction.split()) <= 60:
        return "the instruction is too short or too long"
    if len(output.split()) > 120:
        return "the output is too long"
    if any(BLANK.fullmatch(text) for text in (instruction, given, output)):
        return "a blank was left"
    if REFUSALS.search(output):
        return "the model refuses"
    if UNSEEN.search(instruction):
        return "it speaks of what is not there"
    if output in (instruction, given):
        return "the output is a copy"
    if not given and NO_INPUT.search(instruction):
        return "it speaks of what is not there"
    return ""


# ---- Comparing with what is there ------------------------------------------


def words_of(entry: dict) -> list[str]:
    """The words of an entry's task: instruction and input."""
    text = f"{entry['instruction']} {entry['input']}"
    return re.findall(r"\w+", text.lower())


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """F1 of the longest common subsequence of two lists of words, 0 to 1.

    Source: Lin 2004, ROUGE, section 3.
    """
    row = [0] * (len(b) + 1)
    for one in a:
        before = 0  # the value up and to the left
        for j, other in enumerate(b, 1):
            up = row[j]
            row[j] = before + 1 if one == other else max(up, row[j - 1])
            before = up
    return 2 * row[-1] / (len(a) + len(b)) if a or b else 1.0


def nearest(words: Sequence[str], others: Sequence[Sequence[str]]) -> float:
    """How near the nearest of the others is, from 0 to 1."""
    return max((rouge_l(words, other) for other in others), default=0.0)


# ---- A run -----------------------------------------------------------------


class Harvest:
    """The entries that were kept, and why the others were not."""

    def __init__(self, seeds: Sequence[dict], limit: float) -> None:
        self.seeds, self.limit, self.kept = list(seeds), limit, []
        self.words = [words_of(one) for one in seeds]
        self.refused: Counter[str] = Counter()

    def take(self, reply: str) -> int:
        """Sift one reply of the model; how many of its entries are kept."""
        before, found = len(self.kept), parse_entries(reply)
        self.refused["the reply holds no entry"] += not found
        for entry in map(clean, found):
            words, fault = words_of(entry), fault_of(entry)
            if not fault and nearest(words, self.words) > self.limit:
                fault = "it is too much like another"
            if fault:
                self.refused[fault] += 1
            else:
                self.kept.append(entry)
                self.words.append(words)
        return len(self.kept) - before


def rounds(
    chat: Chat, harvest: Harvest, journal: Journal, batch: int
) -> Iterator[int]:
    """Ask, sift, ask again; yields how many entries each round has brought.

    What is asked depends on the seed and on the replies before, so a second
    run asks the same questions, and finds their replies in the journal.
    """
    number = 0
    while True:
        rng = random.Random(f"{chat.seed} {number}")
        examples = choose_examples(harvest.seeds, harvest.kept, rng)
        messages = [{"role": "user", "content": make_prompt(examples, batch)}]
        seed = (chat.seed + number) % 2**31
        record = journal.get(key := fingerprint(messages, seed))
        if record is None:
            reply = chat.ask(messages, seed=seed)
            record = {"key": key, "round": number, "reply": reply}
            journal.append(record)
        yield harvest.take(record["reply"])
        number += 1


def generate(args: Namespace) -> int:
    """Make entries until there are enough; the exit code."""
    seeds = read_entries(args.seeds, "")
    chat = open_chat(args, say, temperature=args.temperature)
    harvest = Harvest(seeds, args.similarity)
    about = {"model": chat.model, "api": chat.api, "seed": chat.seed}
    about |= {"temperature": chat.temperature, "batch": args.batch}
    about |= {"similarity": args.similarity, "seeds": fingerprint(seeds)}
    out = Path(args.out)
    if out.resolve() == Path(args.seeds).resolve():
        raise ValueError(f"{out} holds the seed tasks: write elsewhere")
    journal = Journal(out.with_suffix(".replies.jsonl"), about)
    if journal.records:
        say(f"{journal.path}: {len(journal.records)} replies are there")
    sterile, stopped = 0, None
    bar = tqdm(total=args.entries, unit="entry", leave=False, disable=None)
    try:
        for new in rounds(chat, harvest, journal, args.batch):
            bar.update(new)
            sterile = 0 if new else sterile + 1
            if len(harvest.kept) >= args.entries or sterile == STERILE:
                break
    except (ChatError, KeyboardInterrupt) as error:
        stopped = error
    bar.close()
    entries = harvest.kept[: args.entries]
    if entries:
        text = json.dumps(entries, indent=1, ensure_ascii=False)
        write_text(out, text.encode("utf-8", "replace").decode() + "\n")
        say(report(harvest, entries, out))
    if isinstance(stopped, KeyboardInterrupt):
        say("stopped: the same command goes on from here")
        return 130
    if stopped:
        raise stopped
    if sterile == STERILE:
        raise ChatError(
            f"{STERILE} rounds brought nothing new ({most(harvest.refused)}): "
            "take more seed tasks, a larger model, or a higher --temperature"
        )
    return 0


def most(refused: Counter[str]) -> str:
    """Why most of the entries were refused."""
    return max(refused, key=refused.get, default="no reply")


def report(harvest: Harvest, entries: list, out: Path) -> str:
    """How many entries there are, and what was left out."""
    lines = [f"{len(entries)} entries: {out}"]
    lines += [
        f"{n:6} left out: {fault}"
        for fault, n in harvest.refused.most_common()
        if n
    ]
    return "\n".join(lines)


# ---- The command line ------------------------------------------------------


def new_parser() -> ShortParser:
    parser = ShortParser(
        prog=NAME,
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", default="my-instructions.json", help="(default %(default)s)"
    )
    parser.add_argument(
        "--seeds", default=SEEDS, help="JSON list of tasks to begin with"
    )
    parser.add_numbers(
        [
            ("entries", int, 1, 10**6, 100, "how many you want"),
            ("batch", int, 1, 50, 5, "entries asked for in a round"),
            ("similarity", float, 0, 1, 0.7, "ROUGE-L of near duplicates"),
            ("temperature", float, 0, 2, 0.8, "how freely the model writes"),
        ]
    )
    add_chat_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    args: Any = new_parser().parse_args(argv)
    try:
        return generate(args)
    except (ChatError, ValueError, OSError) as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        return {NoServer: 3, ChatError: 1}.get(type(error), 2)


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    raise SystemExit(run_script(main))
