"""Make a run the storyteller, or the librarian, that ships with the course.

    python shared/publish.py runs/phase-2
    python shared/publish.py runs/librarian-001

Writes shared/checkpoints: the weights, the tokenizer, what was measured, and
the card, whose numbers all come from the run. Without a run it writes the
cards again. shared/tests/test_checkpoint.py measures what is claimed.
"""

import json
import shutil
import textwrap
from pathlib import Path

from scratch_llm import instructions, library
from scratch_llm.cli import ShortParser
from scratch_llm.files import write_text

TARGET = Path(__file__).resolve().parent / "checkpoints"
COPIED = {
    "model.safetensors": "storyteller.safetensors",
    "tokenizer.tiktoken": "storyteller.tiktoken",
}
RATIO, VALID = 1.02, 0.95  # what the course promises: at most, at least
READER_RATIO, MOST = 1.06, 0.5  # and of the librarian, who reads more
DROPPED = {"out", "resume", "log", "device", "tokenizer"}  # of one machine
BULKY = {"history", "broken", "before"}
SCRIPT = "ch05/03_pretraining-pipeline/src/train_gpt.py"
FIRST = ["out", "layers", "width", "heads"]  # a later phase has that shape
LATER = ["out", "init_from"]
SHOWN = "batch_size steps lr warmup weight_decay eval_every samples seed"

CARD = """# The storyteller

The model from which the later chapters start: a GPT of this course, trained
on [the story world](../README.md#the-story-world) by
[the pipeline of chapter 5](../../ch05/03_pretraining-pipeline/README.md).
It writes short stories about the people of one small town, and knows nothing
else.

| | |
| --- | --- |
| parameters | {parameters:,} |
| layers, width, heads | {n_layers}, {emb_dim}, {n_heads} |
| vocabulary | {vocab_size:,} |
| context | {context_length} tokens |
| tokens seen | {tokens_seen:,} |
| val loss | {val_loss:.4f} nats per token |
| floor | {floor:.4f} nats per token, the entropy of the world |
| val loss / floor | {ratio:.4f} |
| valid stories | {valid_stories:.3f} of {samples} sampled at temperature 1 |
| calibrated by | {calibrated_by:g} (section 5.12 of the lesson) |
| time | {seconds:.0f} s, in {precision} |
| made with | torch {torch} |

| file | what it is |
| --- | --- |
| `storyteller.safetensors` | the weights; its header has the configuration |
| `storyteller.tiktoken` | the vocabulary, in tiktoken's format |
| `metrics.json` | the run: settings, losses, speed |

Let it write, in the root of the course:

```sh
python ch05/01_main-chapter-code/gpt_generate.py --model storyteller --n 3
```

Train it again, in the root of the course. Small batches first, which learn
much from few tokens; then large ones, whose calm gradients clear away what is
improbable but not yet impossible. Another processor or another number of
threads rounds differently, so it makes another model that is as good.

```sh
{commands}
python shared/publish.py runs/phase-{runs}
```

**What it is not.** It has seen stories of one grammar and nothing else: no
facts, no other style, no other language. Names and events are made up by the
grammar. Text outside that world it meets with nonsense.

This card is written by `shared/publish.py`; the tests measure loss and
valid stories again, on stories that are new to the model.
"""

LIBRARIAN = """# The librarian

The model from which chapters 6 and 7 start. It has the tokenizer of
[the storyteller](README.md) and twice its layers, and it has read the whole
library of the town, not stories alone: chapter 5 explains
[what and why](../../ch05/07_librarian/README.md).

| | |
| --- | --- |
| parameters | {parameters:,} |
| layers, width, heads | {n_layers}, {emb_dim}, {n_heads} |
| vocabulary | {vocab_size:,} |
| context | {context_length} tokens |
| tokens seen | {tokens_seen:,} |
| val loss on stories | {val_loss:.4f} nats per token |
| floor | {floor:.4f} nats per token, the entropy of the world |
| val loss / floor | {ratio:.4f} |
| valid stories | {valid_stories:.3f} of {samples} begun with "One day," |
| feelings marked right | {marks_right:.3f} of 1000 notes in other shapes |
| time | {seconds:.0f} s, in {precision}, {threads} threads |
| made with | torch {torch} |

Three kinds of documents, with their shares of the batches:

- stories of the town ({story:.0%});
- the book of moods ({mood:.0%}): a short note about somebody, and a mark that
  says whether this person is glad or sorry. The notes have shapes that
  chapter 6 never uses: those of `scratch_llm/free_shapes.tsv` are divided
  between the two;
- pages of the question book ({page:.0%}): a text, and questions with answers,
  of {n_base} families of `scratch_llm.instructions`. The other {n_unseen}
  families ({unseen}), most phrasings of each, and the layout in which
  chapter 7 asks were kept from it.

Train it again, in the root of the course:

```sh
python ch05/07_librarian/train_librarian.py --out runs/librarian
python shared/publish.py runs/librarian
```
{history}

**What it is not.** It knows one small town. It has never followed an
instruction: asked something in the way of chapter 7, it goes on writing.

This card is written by `shared/publish.py`; the tests measure its numbers
again. `librarian.json` holds the run.
"""

HISTORY = """
These weights go on from another run, of {before:,} tokens.
"""


def command(options: dict, phase: int) -> str:
    """What starts a run, as it is typed; each phase from the one before."""
    options = options | {
        "out": f"runs/phase-{phase}",
        "init_from": f"runs/phase-{phase - 1}",
    }
    names = (FIRST if phase == 1 else LATER) + SHOWN.split()
    words = " ".join(
        f"--{name.replace('_', '-')}~{options[name]}"
        for name in names
        if options.get(name) is not None
    )
    lines = textwrap.wrap(words, 73, break_on_hyphens=False)
    return " \\\n    ".join([f"python {SCRIPT}", *lines]).replace("~", " ")


def card(metrics: dict) -> str:
    """The card of a finished run, from its metrics."""
    runs = [*metrics.get("before", []), metrics]
    commands = [command(run["options"], n) for n, run in enumerate(runs, 1)]
    facts = metrics["options"] | metrics["config"] | metrics
    for key in ("tokens_seen", "seconds"):
        facts[key] = sum(run[key] for run in runs)
    return CARD.format(**facts, runs=len(runs), commands="\n".join(commands))


def read_metrics(folder: Path) -> dict:
    """metrics.json of a finished run; ValueError if it is something else."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{folder} is not a finished run") from None
    if metrics.get("valid_stories") is None:
        raise ValueError(f"{folder} was stopped or tells no stories")
    for run in [*metrics.get("before", []), metrics]:
        for name in DROPPED:
            run["options"].pop(name, None)
    return metrics


def earlier(metrics: dict, root: Path, shipped: Path) -> list[dict]:
    """What stands on record of the runs before a run, the first one first.

    A run may have begun with the storyteller that ships: `shipped`, which
    still is what it was then, or is this very run, published before.
    """
    name = metrics["options"].get("init_from")
    if "before" in metrics or not name:
        return metrics.get("before", [])
    first = read_metrics(shipped if name == "storyteller" else root / name)
    if name == "storyteller" and first["history"] == metrics["history"]:
        return first["before"]
    kept = {key: first[key] for key in first if key not in BULKY}
    return [*earlier(first, root, shipped), kept]


def publish(run: Path, target: Path = TARGET) -> None:
    """Copy what ships from a run; ValueError if it should not."""
    metrics = read_metrics(run)
    ratio, valid = metrics["ratio"], metrics["valid_stories"]
    if ratio > RATIO or valid < VALID:
        raise ValueError(
            f"{run} has {ratio:.3f} x the floor and {valid:.1%} valid "
            f"stories; the course promises at most {RATIO} and at least "
            f"{VALID:.0%}"
        )
    metrics["before"] = earlier(metrics, run.resolve().parents[1], target)
    target.mkdir(exist_ok=True)
    for name, goal in COPIED.items():
        shutil.copyfile(run / name, target / goal)
    write_text(target / "metrics.json", json.dumps(metrics, indent=1) + "\n")


def librarian_card(metrics: dict) -> str:
    """The card of the librarian, from its metrics."""
    facts = metrics["options"] | metrics["config"] | metrics | library.SHARES
    before = metrics.get("tokens_before")
    history = HISTORY.format(before=before) if before else ""
    return LIBRARIAN.format(
        **facts,
        history=history,
        n_base=len(instructions.BASE_FAMILIES),
        n_unseen=len(instructions.UNSEEN_FAMILIES),
        unseen=", ".join(instructions.UNSEEN_FAMILIES),
    )


def publish_librarian(run: Path, metrics: dict, target: Path = TARGET) -> None:
    """Copy what ships of the librarian; ValueError if it should not."""
    if metrics["ratio"] > READER_RATIO or metrics["valid_stories"] < MOST:
        raise ValueError(
            f"{run} has {metrics['ratio']:.3f} x the floor and "
            f"{metrics['valid_stories']:.1%} valid stories: at most "
            f"{READER_RATIO} and at least {MOST:.0%} are promised"
        )
    weights = target / "librarian.safetensors"
    shutil.copyfile(run / "model.safetensors", weights)
    text = json.dumps(metrics, indent=1) + "\n"
    write_text(target / "librarian.json", text)


def main(argv: list[str] | None = None) -> int:
    """Ship a run, if one is named, and write the cards."""
    parser = ShortParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "run", nargs="?", type=Path, help="a finished run of train_gpt.py"
    )
    run = parser.parse_args(argv).run
    try:
        if run is not None:
            metrics = read_metrics(run)
            if "marks_right" in metrics:
                publish_librarian(run, metrics)
            else:
                publish(run)
        write_text(TARGET / "README.md", card(read_metrics(TARGET)))
        about = json.loads((TARGET / "librarian.json").read_text("utf-8"))
        write_text(TARGET / "librarian.md", librarian_card(about))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"git diff {TARGET} shows what has changed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
