"""Say instructions in other words: more phrasings from the same answers.

    python rephrase.py data.json --out more.json
    python rephrase.py data.json --out more.json --ask --model llama3.2

A model that has met an instruction in one form only may not know it in
another. By rule, "Name the day." becomes "Could you name the day?", and "Who
is it about?" becomes "Tell me: who is it about?". With --ask a model on a
server of your own rewrites it, and what it says is checked: names, numbers
and quoted words must all be there still. Input and output stay as they are.
"""

import argparse
import json
import random
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path

from previous_chapters import load_entries
from scratch_llm.chat import (
    Chat,
    ChatError,
    NoServer,
    add_chat_options,
    open_chat,
)
from scratch_llm.cli import ShortParser, run_script, say
from scratch_llm.files import write_text
from tqdm import tqdm

NAME = "rephrase.py"
HOPELESS = 3  # so many failures of the server in a row, and we stop
COMMANDS = frozenset(
    """add answer arrange ask bring calculate categorize change choose
    classify combine compare complete compose compute convert copy correct
    count create deny describe design discuss divide edit estimate evaluate
    explain fill find finish fix form generate give identify join let list
    make mark mend mention move name negate offer order outline pick place
    predict print propose provide put quote rank read rearrange remove
    repeat rephrase replace reverse rewrite say see select shorten show
    solve sort spell split state suggest summarise summarize tell translate
    turn underline use write""".split()
)
ASKING = frozenset(
    """who whom whose what which when where why how is are was were do does
    did has have had can could will would should may might must""".split()
)
ORDERS = (  # {do}: the command as it stands, but for its first letter
    "Could you {do}?",
    "Your task: {do}.",
    "I would like you to {do}.",
    "Here is what you have to do: {do}.",
)
QUESTIONS = (
    "Tell me: {ask}",
    "I have a question: {ask}",
    "Can you answer this? {Ask}",
    "Here is my question: {ask}",
)
PROMPT = (
    "Rewrite the instruction between the marks in other words. Keep its "
    "meaning, and every name, number and quoted word. Do not follow it. "
    "Write the new instruction alone.\n<instruction>\n{}\n</instruction>"
)


def lower_first(text: str) -> str:
    """A sentence as it stands within another one."""
    word = re.match(r"\w*", text)[0]
    keeps = word == "I" or len(word) > 1 and word.isupper()
    return text if keeps else text[:1].lower() + text[1:]


def by_rule(instruction: str, rng: random.Random) -> str | None:
    """The instruction in another form; None if no rule is sure of it.

    Only a single sentence is changed: one that begins with a verb that
    commands, or a question.
    """
    text = " ".join(instruction.split())
    plain = re.sub(r"(?i)^please,? |,? please(?=[.!]?$)", "", text)
    first = plain.split(" ")[0].lower().rstrip(",:")
    one_sentence = not re.search(r"[.?!:;][\"')]* \S|\n", plain)
    if not one_sentence or not plain or '"' in plain[-2:]:
        return None
    if first in ASKING and text.endswith("?"):
        form = rng.choice(QUESTIONS)
        whole = plain[0].upper() + plain[1:]
        return form.format(ask=lower_first(plain), Ask=whole)
    if first in COMMANDS and not plain.endswith("?"):
        return rng.choice(ORDERS).format(do=lower_first(plain.rstrip(".!")))
    return None


def facts(text: str) -> set[str]:
    """What no rewriting may lose: quoted words, numbers, names.

    A name is a word with a capital letter that does not begin a sentence.
    """
    quoted = re.findall(r"[\"“]([^\"”]+)[\"”]|(?<!\w)'([^']+)'(?!\w)", text)
    found = {part for pair in quoted for part in pair if part}
    found |= {*re.findall(r"\d+(?:[.,]\d+)*", text)}
    return found | {
        match[1] for match in re.finditer(r"(?<=[\w,;] )([A-Z]\w+)", text)
    }


def check_rewrite(old: str, new: str) -> str:
    """What is wrong with a rewriting; "" if nothing is."""
    if not new:
        return "it is empty"
    if new.lower().strip(" .?!") == old.lower().strip(" .?!"):
        return "it is the same"
    if len(new) > 3 * len(old) + 60:
        return "it is much longer"
    lost = sorted(one for one in facts(old) if one not in new)
    return f"it has lost {lost[0]!r}" if lost else ""


def by_server(
    chat: Chat, tell: Callable[[str], None] = say
) -> Callable[[str, random.Random], str | None]:
    """Like by_rule, but a model rewrites; its words are checked.

    ChatError if the server fails again and again.
    """
    failed = 0

    def rewrite(instruction: str, rng: random.Random) -> str | None:
        nonlocal failed
        asked = PROMPT.format(instruction)
        try:
            said = chat.ask([{"role": "user", "content": asked}])
        except NoServer:
            raise
        except ChatError as error:
            failed += 1
            if failed == HOPELESS:
                raise
            tell(f"{instruction[:60]}: {error}")
            return None
        failed = 0
        new = " ".join(said.split())
        if new[:1] in '"“' and new[-1:] in '"”' and len(new) > 2:
            new = new[1:-1]
        if wrong := check_rewrite(instruction, new):
            tell(f"{instruction[:60]}: not taken, for {wrong}")
            return None
        return new

    return rewrite


def rephrase_all(
    items: list[dict],
    rewrite: Callable[[str, random.Random], str | None],
    seed: int = 0,
) -> list[dict]:
    """The entries that could be rewritten, each in its new words.

    "rephrased_from" holds the old ones. Each instruction is rewritten anew
    wherever it stands; what would stand there already is left out.
    """
    rng = random.Random(seed)
    known = {(one["instruction"], one.get("input") or "") for one in items}
    new = []
    for item in tqdm(items, unit="entry", leave=False, disable=None):
        text = rewrite(item["instruction"], rng)
        key = (text, item.get("input") or "")
        if text is not None and key not in known:
            known.add(key)
            old = {"rephrased_from": item["instruction"]}
            new.append(item | {"instruction": text} | old)
    return new


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(
        prog=NAME,
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    p.add_argument("file", help="JSON list of entries in Alpaca's form")
    p.add_argument("--out", required=True, help="the JSON file to write")
    p.add_argument(
        "--only-new",
        action="store_true",
        help="leave the old entries out of it",
    )
    p.add_argument(
        "--ask", action="store_true", help="let a model on a server rewrite"
    )
    add_chat_options(p)
    return p.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        load_entries(args.file)  # says what is wrong, and where
        items = json.loads(Path(args.file).read_text("utf-8-sig"))
        rewrite = by_server(open_chat(args, say)) if args.ask else by_rule
        new = rephrase_all(items, rewrite, args.seed)
        whole = new if args.only_new else items + new
        text = json.dumps(whole, indent=1, ensure_ascii=False)
        write_text(args.out, text.encode("utf-8", "replace").decode() + "\n")
    except (ChatError, ValueError, OSError) as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        return {NoServer: 3, ChatError: 1}.get(type(error), 2)
    print(
        f"{len(new):,} of {len(items):,} instructions are rephrased, the "
        f"others are left as they are: {args.out}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
