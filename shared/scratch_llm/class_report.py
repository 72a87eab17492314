"""What a classifier's run is held against, and how it is told and drawn."""

from __future__ import annotations

import platform
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from scratch_llm.files import atomic
from scratch_llm.labelled import Part, Splits
from scratch_llm.pictures import shade_map
from scratch_llm.plots import smooth
from scratch_llm.runs import if_stopped
from scratch_llm.style import COLOURS
from scratch_llm.text import text_table

# ---- Counting words ------------------------------------------------------


def counting_baselines(
    splits: Splits, word_counter: Callable[[int], Any]
) -> dict[str, float | None]:
    """What the most frequent class and two word counters reach.

    word_counter: from the longest sequence of words to an unfitted pipeline.
    Shares of right answers on the test, and on the hard one if there is one.
    """
    train, found = splits.train, {}
    usual = max(set(train.labels), key=train.labels.count)
    rare = 2 if len(train) > 5000 else 1  # seen once: no help, much memory
    counters = {"baseline": word_counter(1), "ngram": word_counter(3)}
    for model in counters.values():
        model.set_params(countvectorizer__min_df=rare)
        model.fit(train.texts, train.labels)
    for prefix, part in (("", splits.test), ("hard_", splits.hard)):
        right = None
        if part is not None:
            right = part.labels.count(usual) / len(part)
        found[f"{prefix}majority_accuracy"] = right
        for name, model in counters.items():
            if part is not None:
                right = float(model.score(part.texts, part.labels))
            found[f"{prefix}{name}_accuracy"] = right
    return found


# ---- Numbers of a run ----------------------------------------------------


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of these packages."""
    found = {"python": platform.python_version()}
    return found | {name: version(name) for name in packages}


def by_kind(part: Part, said: Sequence[int]) -> dict[str, float]:
    """The share of right answers of each kind of text."""
    right: dict[str, list[bool]] = {}
    for kind, label, answer in zip(
        part.kinds, part.labels, said, strict=False
    ):
        right.setdefault(kind, []).append(label == answer)
    return {kind: sum(r) / len(r) for kind, r in sorted(right.items())}


def errors_text(
    title: str, part: Part, names: Sequence[str], probs: torch.Tensor
) -> str:
    """The misread texts of a part, the surest first; probs (N, K)."""
    sure, said = probs.max(1)
    wrong = [
        (p, i)
        for i, p in enumerate(sure.tolist())
        if said[i] != part.labels[i]
    ]
    lines = [f"=== {title}: {len(wrong)} of {len(part)} misread\n"]
    for p, i in sorted(wrong, reverse=True):
        kind = f" ({part.kinds[i]})" if part.kinds else ""
        lines.append(
            f"--- {i + 1}{kind}: {names[part.labels[i]]}, read as "
            f"{names[said[i]]} with {p:.2f}\n{part.texts[i].strip()}\n"
        )
    return "\n".join(lines)


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def result_table(metrics: dict) -> str:
    """Right answers of the model and of those it is held against."""
    hard = metrics["hard_test_accuracy"] is not None
    rows = [("right answers", "test", *["hard test"] * hard)]
    for key, name in (
        ("majority_accuracy", "always the commonest class"),
        ("baseline_accuracy", "counting words"),
        ("ngram_accuracy", "counting one to three words"),
        ("test_accuracy", "this model"),
    ):
        keys = (key, f"hard_{key}")[: 1 + hard]
        rows.append((name, *(percent(metrics[key]) for key in keys)))
    return text_table(rows)


def class_scores(
    names: Sequence[str], scores: torch.Tensor, confusion: torch.Tensor
) -> list[dict]:
    """Name, number of texts, precision, recall and F1 of every class.

    scores (K, 3), confusion (K, K), its rows are what texts are.
    """
    rows = zip(names, scores.tolist(), confusion.sum(1).tolist(), strict=True)
    return [
        {"name": n, "texts": k, "precision": p, "recall": r, "f1": f1}
        for n, (p, r, f1), k in rows
    ]


def class_table(metrics: dict) -> str:
    """Precision, recall and F1 of every class on the test."""
    rows = [("class", "texts", "precision", "recall", "F1")]
    for c in metrics["classes"]:
        numbers = (c["precision"], c["recall"], c["f1"])
        some = (f"{x:.3f}" for x in numbers)
        rows.append((c["name"], f"{c['texts']:,}", *some))
    return text_table(rows)


# ---- Figures -------------------------------------------------------------


def save_figure(path: Path, draw: Callable[[], plt.Figure]) -> None:
    """Draw in the house style and save, whole or not at all."""
    with plt.style.context("scratch_llm.scratch"):
        figure = draw()
        with atomic(path) as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def draw_training(
    losses: Sequence[float],
    history: Sequence[dict],
    best: int | None,
    counted: dict[str, float],
) -> plt.Figure:
    """Loss of the steps, and loss and accuracy after each epoch.

    history: records with step, validation (loss) and accuracy. best: the
    step whose weights are kept. counted: what counting_baselines returns.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.8))
    width = max(1, len(losses) // 50)
    means = smooth(list(losses), width)
    steps = range(width, width + len(means))
    left.plot(steps, means, color=COLOURS["train"], label="training", lw=1)
    x = [h["step"] for h in history]
    for ax, key in ((left, "validation"), (right, "accuracy")):
        y = [h[key] for h in history]
        ax.plot(x, y, "o-", color=COLOURS["validation"], label="validation")
    left.set(xlabel="step", ylabel="loss (nats per text)", ylim=(0, None))
    left.legend()
    last, beside = max([*x, len(losses)]), right.get_yaxis_transform()
    for key, word in (("baseline", "words"), ("ngram", "1-3 words")):
        if (level := counted.get(f"{key}_accuracy")) is not None:
            right.axhline(level, ls=":", color=COLOURS["masked"], lw=1.2)
            right.text(
                1.01, level, word, va="center", size=9, transform=beside
            )
    right.set(xlabel="step", ylabel="right answers (share)")
    right.set(xlim=(0, 1.05 * last), ylim=(None, 1.01))
    if best is not None:
        right.axvline(best, ls=":", color=COLOURS["ink"], lw=1)
        above = right.get_xaxis_transform()
        right.text(best, 1.02, "kept", ha="center", size=9, transform=above)
    return figure


def draw_confusion(
    tables: dict[str, Sequence[Sequence[int]]], names: Sequence[str]
) -> plt.Figure:
    """How often each class was called what, in a panel for each table."""
    K = len(names)
    short = [name if len(name) <= 14 else name[:13] + "…" for name in names]
    size = min(5.5, 1.6 + 0.45 * K)
    figure, panels = plt.subplots(
        1,
        len(tables),
        squeeze=False,
        figsize=(size * len(tables) + 1.0, size),
    )
    for ax, (title, table) in zip(panels[0], tables.items(), strict=True):
        counts = torch.tensor(table)
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        image = ax.imshow(
            shares.tolist(), vmin=0, vmax=1, cmap=shade_map("train")
        )
        ax.set(title=title, xlabel="read as", ylabel="is")
        turn = 45 if K > 3 else 0
        ax.set_xticks(
            range(K), short, rotation=turn, ha="right" if turn else "center"
        )
        ax.set_yticks(range(K), short)
        ax.grid(False)
        for i in range(K if K <= 12 else 0):
            for j in range(K):
                ink = "white" if shares[i, j] > 0.5 else COLOURS["ink"]
                style = {"ha": "center", "va": "center", "color": ink}
                ax.text(j, i, f"{counts[i, j]}", size=9, **style)
    bar = figure.colorbar(image, ax=list(panels[0]), shrink=0.8)
    bar.set_label("share of the row")
    return figure


# ---- Telling -------------------------------------------------------------


@contextmanager
def told(say: Callable[[str], None], most: int = 3) -> Iterator[None]:
    """Warnings inside are said afterwards, a line each; many of a kind once.

    Two are of a kind if they differ in numbers only.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    kinds: dict[str, list[str]] = {}
    for one in caught:
        text = str(one.message)
        bare = re.sub(r"\d+", "#", text)
        kinds.setdefault(bare, []).append(text)
    for texts in kinds.values():
        more = len(texts) - 1
        say(f"note: {texts[0]}" + (f" (and {more:,} more)" if more else ""))


def closing_line(folder: Path, metrics: dict) -> str:
    """What came out of a run, where it lies, and how to use it."""
    parts = [f"{metrics['steps']:,} steps in {metrics['seconds']:.0f} s"]
    if metrics["best_epoch"] is not None:
        right = percent(metrics["validation_accuracy"])
        parts.append(f"best epoch {metrics['best_epoch']:.2g} ({right})")
    start = if_stopped(metrics["stopped"])
    return (
        f"{start}{', '.join(parts)}; all in {folder}\nTry it: python "
        f'gpt_class_finetune.py --model {folder} --classify "a text"'
    )
