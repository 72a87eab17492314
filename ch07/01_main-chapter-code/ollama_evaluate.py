"""Let a language model on your own machine judge the answers of yours.

    ollama serve                      in another window, if it does not run
    ollama pull llama3.2
    python ollama_evaluate.py instruction-data-with-response.json

For each entry the judge reads the task, the right answer and the model's
answer, and gives 0 to 100 points. Every reply is written into a file at once.
Stopped half-way? The same command goes on where it was. Any other server with
OpenAI's interface will do as well: --api openai --url ADDRESS --model NAME.

Exit code 0: every entry was judged, though a judge may not have given points
to each; 1: some got no reply; 2: wrong input; 3: no server there.
"""

import re
import signal
import sys
from argparse import RawDescriptionHelpFormatter
from collections import defaultdict
from pathlib import Path
from statistics import median

from scratch_llm.chat import (
    Chat,
    ChatError,
    Journal,
    NoServer,
    add_chat_options,
    open_chat,
)
from scratch_llm.cli import ShortParser, between, run_script, say
from scratch_llm.judging import judge, key_of, mean_score, read_entries
from scratch_llm.text import text_table
from tqdm import tqdm

NAME = "ollama_evaluate.py"
HOPELESS = 3  # so many entries without a reply in a row, and we stop


def new_parser() -> ShortParser:
    parser = ShortParser(
        prog=NAME,
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        nargs="?",
        default="instruction-data-with-response.json",
        help="JSON list of entries (default %(default)s)",
    )
    parser.add_argument(
        "--field",
        default="model_response",
        help="which field of an entry is judged (default %(default)s)",
    )
    parser.add_argument(
        "--out", help="where replies go (default FILE.MODEL.jsonl)"
    )
    parser.add_argument(
        "--limit", type=between(1), metavar="N", help="only the first N"
    )
    add_chat_options(parser)
    return parser


def default_out(file: str, field: str, model: str) -> Path:
    """A file of its own for each input, field and judge, beside the input."""
    parts = [model] if field == "model_response" else [field, model]
    names = [re.sub(r"[^\w.-]+", "-", part) for part in parts]
    return Path(file).with_suffix("." + ".".join([*names, "jsonl"]))


def judge_all(
    chat: Chat, entries: list[dict], field: str, journal: Journal
) -> list[dict | None]:
    """A record for each entry, from the journal or the judge; None: failed.

    ChatError if so many fail in a row that it makes no sense to go on.
    """
    records, failed = [], 0
    for number, entry in enumerate(
        tqdm(entries, unit="entry", leave=False, disable=None), 1
    ):
        key = key_of(entry, entry[field])
        record = journal.get(key)
        if record is None:
            try:
                record = judge(chat, entry, entry[field])
                journal.append({"entry": number, **record})
                failed = 0
            except NoServer:
                raise
            except ChatError as error:
                failed += 1
                if failed == HOPELESS:
                    raise
                say(f"entry {number}: {error}")
        records.append(record)
    return records


def report(entries: list[dict], records: list[dict | None]) -> str:
    """How many points there were: in all, and for each family of tasks."""
    families = defaultdict(list)
    for entry, record in zip(entries, records, strict=True):
        if record:
            families[str(entry.get("family", ""))].append(record)
    judged = [record for record in records if record]
    scores = [r["score"] for r in judged if r["score"] is not None]
    lines = []
    if len(families) > 1:
        rows = [("family", "entries", "mean points")]
        for name, some in sorted(families.items()):
            mean = mean_score(some)
            shown = "none" if mean is None else f"{mean:.1f}"
            rows.append((name or "(none)", len(some), shown))
        lines += [text_table(rows), ""]
    line = f"{len(scores)} of {len(entries)} entries have points"
    if scores:
        line += f": mean {mean_score(judged):.1f}, median {median(scores):g}"
    lines.append(line)
    if unscored := len(judged) - len(scores):
        lines.append(
            f"without a clear number, hence without points: {unscored}"
        )
    if missing := len(records) - len(judged):
        lines.append(
            f"without a reply: {missing}; the same command asks again"
        )
    return "\n".join(lines)


def evaluate(args) -> int:
    """Ask what was not asked before, then report; the exit code."""
    everything = read_entries(args.file, args.field)
    entries = everything[: args.limit]
    chat = open_chat(args, say)
    out = args.out or default_out(args.file, args.field, args.model)
    about = {"model": chat.model, "api": chat.api, "seed": chat.seed}
    journal = Journal(out, about)
    known = [key_of(entry, entry[args.field]) for entry in everything]
    keys = set(known[: args.limit])
    kept = keys & set(journal.records)
    if kept:
        say(f"{out}: {len(kept)} of {len(keys)} questions were asked before")
    if other := len(set(journal.records) - set(known)):
        say(
            f"{out}: replies about other entries, or about some that have "
            f"changed: {other}; they do not count"
        )
    try:
        records = judge_all(chat, entries, args.field, journal)
    except (ChatError, ValueError, KeyboardInterrupt) as error:
        if written := len(keys & set(journal.records)):
            say(f"{written} of {len(keys)} entries are judged: {out}")
        if isinstance(error, KeyboardInterrupt):
            say("stopped: the same command goes on from here")
            return 130
        raise
    say(f"{report(entries, records)}\nreplies: {out}")
    return 0 if all(records) else 1


def main(argv: list[str] | None = None) -> int:
    args = new_parser().parse_args(argv)
    try:
        return evaluate(args)
    except (ChatError, ValueError, OSError) as error:
        print(f"{NAME}: error: {error}", file=sys.stderr)
        codes = {NoServer: 3, ChatError: 1}
        return codes.get(type(error), 2)


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    raise SystemExit(run_script(main))
