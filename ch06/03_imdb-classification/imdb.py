"""Films' reviews, glad or sorry: IMDB prepared, counted, and read by a GPT.

    python imdb.py prepare --download      # or --archive aclImdb_v1.tar.gz
    python imdb.py baseline
    python imdb.py train --keep both

prepare writes train.tsv, validation.tsv and test.tsv; the other two read
them. All of it works for any archive of texts in train/CLASS and test/CLASS.
"""

import argparse
import bisect
import functools
import itertools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from previous_chapters import (
    Classifier,
    TextDataset,
    Tokenizer,
    add_lora,
    count_trained,
    fine_tune,
    from_pretrained,
    judge,
    merge_lora,
    save_classifier,
    train_only,
)
from scratch_llm.cli import SEEDS, ShortParser, run_script, say
from scratch_llm.files import atomic, write_text
from scratch_llm.gpt2_files import GPT2, DownloadError
from scratch_llm.labelled import (
    ALIASES,
    Part,
    load_splits,
    read_labelled,
    same_text,
)
from scratch_llm.runs import new_folder
from scratch_llm.text import text_table

PARTS = ("train", "validation", "test")
KEEP = ("start", "end", "both")
RATES = {"head": 1e-2, "block": 2e-3, "all": 1e-3, "lora": 3e-3}
LARGE = 512  # channels; from there on rates are a twentieth
Data = dict[str, Part]  # by the names in PARTS


# ---- Prepare -------------------------------------------------------------


def prepare(
    archive: str | Path, folder: str | Path, seed: int = 0
) -> tuple[Data, tuple[str, ...]]:
    """An archive's texts as three tables in a folder; they and the classes.

    Train and test stay as they are published; a tenth of train, drawn by the
    seed, is put aside for validation. The archive is read as a stream and
    never unpacked. ValueError says what is wrong with it.
    """
    splits = load_splits(archive, test_items=sys.maxsize, seed=seed)
    names = tuple(ALIASES.get(name, name) for name in splits.names)
    data = {name: getattr(splits, name) for name in PARTS}
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, part in data.items():
        write_table(Path(folder, f"{name}.tsv"), part, names)
    return data, names


def write_table(path: Path, part: Part, names: Sequence[str]) -> None:
    """A line for each text: its class, a tab, the text without line ends."""
    with atomic(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write("label\ttext\n")
            for text, label in zip(part.texts, part.labels, strict=True):
                file.write(f"{names[label]}\t{' '.join(text.split())}\n")


def load_data(folder: str | Path) -> tuple[Data, tuple[str, ...]]:
    """What prepare wrote, and the classes; ValueError if it did not."""
    data, found = {}, []
    for name in PARTS:
        path = Path(folder, f"{name}.tsv")
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist: run python imdb.py prepare first"
            )
        texts, labels, names = read_labelled(path, "text", "label")
        data[name] = Part(texts, labels)
        found.append(names)
    if len(set(found)) > 1:
        raise ValueError(
            f"{folder}: its tables have other classes: "
            f"{', '.join(map(str, found))}; run prepare again"
        )
    return data, found[0]


def overview(data: Data, names: Sequence[str]) -> str:
    """How many texts of each class, how long, how many twice, as a table."""
    rows = [("", "texts", *names, "words, median", "longest", "seen in train")]
    known = {same_text(text) for text in data["train"].texts}
    for name, part in data.items():
        counts = Counter(part.labels)
        words = sorted(len(text.split()) for text in part.texts)
        twice = sum(same_text(text) in known for text in part.texts)
        rows.append(
            (
                name,
                f"{len(part):,}",
                *(f"{counts[k]:,}" for k in range(len(names))),
                f"{words[len(words) // 2]:,}",
                f"{words[-1]:,}",
                "" if name == "train" else f"{twice:,}",
            )
        )
    return text_table(rows)


# ---- A baseline that counts ----------------------------------------------


def count_words(
    data: Data, rates: Sequence[float] = (0.3, 1, 3, 10), most: int = 2
) -> tuple[Any, dict[float, float]]:
    """Logistic regression on TF-IDF; and validation accuracy by rate.

    Counted are words and up to `most` words in a row; a word weighs less the
    more texts it is in. The rate, the C of scikit-learn, is the one that is
    best on the validation set.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, validation = data["train"], data["validation"]
    counter = TfidfVectorizer(
        ngram_range=(1, most),
        sublinear_tf=True,
        min_df=2 if len(train) > 5000 else 1,
        dtype=np.float32,
    )
    counted = counter.fit_transform(train.texts)
    held_out = counter.transform(validation.texts)
    models = {
        rate: LogisticRegression(C=rate, max_iter=1000).fit(
            counted, train.labels
        )
        for rate in rates
    }
    scores = {
        rate: float(model.score(held_out, validation.labels))
        for rate, model in models.items()
    }
    best = max(scores, key=scores.get)
    return make_pipeline(counter, models[best]), scores


def heaviest(model: Any, n: int = 8) -> tuple[list[str], list[str]]:
    """The words that speak loudest against, and for, the last class."""
    names = model[0].get_feature_names_out()
    order = model[1].coef_[-1].argsort()
    low, high = order[:n], order[::-1][:n]
    return [str(names[i]) for i in low], [str(names[i]) for i in high]


# ---- Reading -------------------------------------------------------------


def shorten(text: str, tokenizer: Tokenizer, most: int, keep: str) -> str:
    """A text of `most` tokens, at most: its start, its end, or both.

    Both are of the same length, with ... between them. A longer first (or
    last) word stays whole. Source: Sun et al. 2019, section 5.3.1.
    """
    if keep not in KEEP:
        raise ValueError(f"keep={keep!r}: not {', '.join(KEEP)}")

    def first(words: list[str], most: int) -> list[str]:
        sizes = (count_tokens(tokenizer, word) for word in words)
        n = bisect.bisect_right(list(itertools.accumulate(sizes)), most)
        return words[:n]

    words = text.split()
    if len(first(words, most)) == len(words):
        kept = words
    elif keep == "start":
        kept = first(words, most) or words[:1]
    elif keep == "end":
        kept = first(words[::-1], most)[::-1] or words[-1:]
    else:
        room = most - count_tokens(tokenizer, "...")
        start = first(words, room - room // 2)
        end = first(words[::-1], room // 2)[::-1]
        kept = [*start, "...", *end]
    return " ".join(kept)


@functools.lru_cache(maxsize=200_000)
def count_tokens(tokenizer: Tokenizer, word: str) -> int:
    """The tokens of a word after a space: no token reaches across one."""
    return len(tokenizer.encode_ordinary(f" {word}"))


def encode_part(
    part: Part,
    model: Classifier,
    tokenizer: Tokenizer,
    prefix: str,
    length: int,
    keep: str,
) -> TextDataset:
    """Texts as ids, at most `length` tokens each, <|endoftext|> included."""
    texts = [shorten(text, tokenizer, length - 1, keep) for text in part.texts]
    return TextDataset(
        texts, part.labels, tokenizer, length, model.names, prefix
    )


def train(args: argparse.Namespace, folder: Path) -> dict:
    """Finetune a model on the tables; what it has reached, and how."""
    data, names = load_data(args.data)
    base, tokenizer = from_pretrained(
        args.model, args.device, args.weights, args.download
    )
    prefix = " " if getattr(tokenizer, "add_prefix_space", False) else ""
    gpt = getattr(base, "gpt", base)
    most = gpt.cfg["context_length"]
    length = args.context_length or min(256, most)
    if length > most:
        raise ValueError(
            f"--context-length {length} is more than the {most} tokens that "
            "the model reads"
        )
    torch.manual_seed(args.seed)
    model = Classifier(gpt, names, args.pooling)
    if args.layers == "lora":
        add_lora(model, args.rank, 2 * args.rank)
    else:
        train_only(model, args.layers)
    model.to(next(base.parameters()).device)
    sets = {}
    for name, part in data.items():
        n = args.items if name == "train" else args.test_items
        part = Part(part.texts[:n], part.labels[:n])
        sets[name] = encode_part(
            part, model, tokenizer, prefix, length, args.keep
        )
    lr = args.lr or RATES[args.layers] * (
        1 if gpt.cfg["emb_dim"] < LARGE else 0.05
    )
    say(
        f"{args.model}: {count_trained(model):,} numbers are trained on "
        f"{len(sets['train']):,} texts of up to {length} tokens"
    )
    trained, began = count_trained(model), time.perf_counter()
    history = fine_tune(
        model,
        sets["train"],
        args.epochs,
        sets["validation"],
        lr,
        args.batch_size,
        seed=args.seed,
    )
    seconds = time.perf_counter() - began
    result = judge(model, sets["test"])
    merge_lora(model)
    save_classifier(folder, model, tokenizer, prefix)
    return {
        "test_accuracy": result["accuracy"],
        "test_loss": result["validation"],
        "validation_accuracy": history[-1]["accuracy"],
        "trained_parameters": trained,
        "seconds": seconds,
        "texts": {name: len(part) for name, part in sets.items()},
        "names": list(names),
        "lr": lr,
        "options": vars(args),
        "history": history,
    }


# ---- The command line ----------------------------------------------------


NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("items", int, 2, math.inf, None, "texts to train on, at most"),
    ("test-items", int, 2, math.inf, None, "texts to test on, at most"),
    ("context-length", int, 8, math.inf, None, "tokens read of a text"),
    ("epochs", int, 1, 10**6, 3, "passes through the texts"),
    ("batch-size", int, 1, math.inf, 32, "texts per step"),
    ("lr", float, 1e-9, math.inf, None, "highest learning rate"),
    ("rank", int, 1, math.inf, 16, "of LoRA"),
]


def new_parser() -> ShortParser:
    p = ShortParser(prog="imdb.py", description=__doc__.split("\n")[0])
    p.add_argument("command", choices=RUN, help="in this order")
    p.add_argument(
        "--data",
        default="data/imdb",
        metavar="FOLDER",
        help="where the three tables lie (default data/imdb)",
    )
    p.add_numbers([("seed", int, 0, SEEDS, 0, "of split, head and order")])
    p.add_argument(
        "--download", action="store_true", help="fetch the archive, or GPT-2"
    )
    g = p.add_argument_group("prepare")
    g.add_argument("--archive", metavar="FILE", help="one that you have")
    g.add_argument(
        "--to",
        default="data",
        metavar="FOLDER",
        help="where the archive lies, or is fetched to (default data)",
    )
    g = p.add_argument_group("train")
    g.add_argument(
        "--model",
        default="storyteller",
        help=f"storyteller (default), {', '.join(GPT2)}, or a run's folder",
    )
    g.add_argument(
        "--weights", default="gpt2", help="where GPT-2's weights lie"
    )
    g.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    g.add_argument("--out", metavar="FOLDER", help="default: runs/imdb-001")
    g.add_argument(
        "--keep", choices=KEEP, default="start", help="of a text too long"
    )
    g.add_argument(
        "--layers", choices=RATES, default="all", help="what is trained"
    )
    g.add_argument(
        "--pooling", choices=("last", "mean", "first"), default="last"
    )
    p.add_numbers(NUMBERS)
    return p


def run_prepare(args: argparse.Namespace) -> None:
    from scratch_llm.download import DATA, fetch_data

    archive = args.archive or Path(args.to, Path(DATA["imdb"]).name)
    if args.download:
        archive = fetch_data("imdb", args.to)
    elif not Path(archive).exists():
        raise ValueError(
            f"{archive} does not exist: give --archive, or fetch it with "
            "--download"
        )
    print(overview(*prepare(archive, args.data, args.seed)))
    print(f"written: {', '.join(f'{name}.tsv' for name in PARTS)} in "
          f"{args.data}")  # fmt: skip


def run_baseline(args: argparse.Namespace) -> None:
    data, names = load_data(args.data)
    model, scores = count_words(data)
    test = data["test"]
    right = float(model.score(test.texts, test.labels))
    for rate, score in scores.items():
        print(f"C {rate:g}: {score:.1%} of the validation set right")
    low, high = heaviest(model)
    print(f"speak for {names[-1]}: {', '.join(high)}")
    print(f"speak against it: {', '.join(low)}")
    print(f"test: {right:.1%} right")
    numbers = {"baseline_accuracy": right, "validation": scores}
    write_text(Path(args.data, "baseline.json"), json.dumps(numbers, indent=1))


def run_train(args: argparse.Namespace) -> None:
    load_data(args.data)  # complain before a folder is made
    folder = new_folder(args.out, "imdb")
    metrics = train(args, folder)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=1))
    print(f"test: {metrics['test_accuracy']:.1%} right after "
          f"{metrics['seconds']:.0f} s; all in {folder}")  # fmt: skip


RUN = {"prepare": run_prepare, "baseline": run_baseline, "train": run_train}


def main(argv: list[str] | None = None) -> int:
    args = new_parser().parse_args(argv)
    try:
        RUN[args.command](args)
    except (DownloadError, FloatingPointError) as error:
        print(f"imdb.py: error: {error}", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"imdb.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
