"""Make a run of the pipeline the storyteller that ships with the course.

    python shared/publish.py runs/phase-2

Writes shared/checkpoints: the weights, the tokenizer, metrics.json and the
card, README.md, whose numbers all come from the run. Without a run it writes
the card again. shared/tests/test_checkpoint.py measures what is claimed.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

SHARED = Path(__file__).resolve().parent
TARGET = SHARED / "checkpoints"
COPIED = {"model.safetensors": "storyteller.safetensors",
          "tokenizer.tiktoken": "storyteller.tiktoken"}
PROMISED = {"ratio": 1.02, "valid_stories": 0.95}  # at most, at least
DROPPED = ("out", "resume", "log", "device", "tokenizer")  # of one machine
SCRIPT = "ch05/03_pretraining-pipeline/src/train_gpt.py"
SHOWN = ("layers", "width", "heads", "batch_size", "steps",
         "rate", "warmup", "weight_decay", "eval_every", "samples", "seed")

CARD = """# The storyteller

The model from which the later chapters start: a GPT of this course, trained
on [the story world](../README.md#the-story-world) by
[the pipeline of chapter 5](../../ch05/03_pretraining-pipeline/README.md).
It writes short stories about the people of one small town, and knows nothing
else.

| | |
| --- | --- |
| parameters | {parameters:,} |
| layers, width, heads | {layers}, {width}, {heads} |
| vocabulary | {vocab_size:,} |
| context | {context_length} tokens |
| tokens seen | {tokens_seen:,} |
| val loss | {val_loss:.4f} nats per token |
| floor | {floor:.4f} nats per token, the entropy of the world |
| val loss / floor | {ratio:.4f} |
| valid stories | {valid_stories:.3f} of {samples} sampled at temperature 1 |
| calibrated by | {calibrated_by:g} (section 5.7 of the lesson) |
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


def command(options: dict, phase: int) -> str:
    """What starts a run, as it is typed; each phase from the one before."""
    names = [n for n in SHOWN if options.get(n) is not None]
    if options.get("start_from"):
        names = [n for n in names if n not in ("layers", "width", "heads")]
    words = [f"--out runs/phase-{phase}"]
    if options.get("start_from"):
        words.append(f"--start-from runs/phase-{phase - 1}")
    words += [f"--{n.replace('_', '-')} {options[n]}" for n in names]
    return (f"python {SCRIPT} \\\n    {' '.join(words[:5])} \\\n    "
            f"{' '.join(words[5:])}")


def card(metrics: dict) -> str:
    """The card of a finished run, from its metrics."""
    options, config = metrics["options"], metrics["config"]
    runs = [*metrics.get("before", []), metrics]
    total = {key: sum(run[key] for run in runs)
             for key in ("tokens_seen", "seconds")}
    return CARD.format(**config | metrics | total | {
        "layers": config["n_layers"], "width": config["emb_dim"],
        "heads": config["n_heads"], "samples": options["samples"],
        "runs": len(runs),
        "commands": "\n".join(command(run["options"], n)
                              for n, run in enumerate(runs, 1))})


def earlier(options: dict, root: Path) -> list[dict]:
    """What stands on record of the run that this one started from."""
    if not options.get("start_from"):
        return []
    first = read_metrics(root / options["start_from"])
    kept = {key: first[key] for key in ("options", "tokens_seen", "seconds",
                                        "val_loss", "valid_stories",
                                        "threads")}
    return [*earlier(first["options"], root), kept]


def read_metrics(folder: Path) -> dict:
    """metrics.json of a finished run; ValueError if it is something else."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is not a finished run "
                         f"({type(error).__name__})") from None
    if metrics.get("valid_stories") is None:
        raise ValueError(f"{folder} was stopped or tells no stories")
    return metrics


def check(run: Path, metrics: dict) -> None:
    """ValueError if a run is not as good as the course promises."""
    ratio, valid = (metrics[key] for key in PROMISED)
    if ratio > PROMISED["ratio"] or valid < PROMISED["valid_stories"]:
        raise ValueError(
            f"{run} has {ratio:.3f} x the floor and {valid:.1%} valid "
            f"stories; the course promises at most {PROMISED['ratio']} and "
            f"at least {PROMISED['valid_stories']:.0%}. --force ships it all "
            "the same")


def publish(run: Path, target: Path = TARGET, force: bool = False) -> None:
    """Copy what ships from a run; ValueError if it should not."""
    metrics = read_metrics(run)
    if not force:
        check(run, metrics)
    metrics["before"] = earlier(metrics["options"], run.resolve().parents[1])
    missing = [name for name in COPIED if not (run / name).is_file()]
    if missing:
        raise ValueError(f"{run} lacks {', '.join(missing)}")
    target.mkdir(exist_ok=True)
    for options in (m["options"] for m in [*metrics["before"], metrics]):
        for name in DROPPED:
            options.pop(name, None)
    for name, goal in COPIED.items():
        shutil.copyfile(run / name, target / goal)
    (target / "metrics.json").write_text(
        json.dumps(metrics, indent=1) + "\n", "utf-8", newline="\n")


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("run", nargs="?", help="a finished run of train_gpt.py")
    p.add_argument("--force", action="store_true",
                   help="ship a run that is worse than promised")
    args = p.parse_args(argv)
    try:
        if args.run is not None:
            publish(Path(args.run), force=args.force)
            print(f"{TARGET} now holds {args.run}; git checkout "
                  "shared/checkpoints brings back what was there")
        text = card(read_metrics(TARGET))
    except (ValueError, OSError) as error:
        print(f"publish.py: error: {error}", file=sys.stderr)
        return 2
    (TARGET / "README.md").write_text(text, "utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
