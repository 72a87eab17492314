"""How a run that learned to answer is told, scored in parts, and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from scratch_llm.class_report import percent
from scratch_llm.files import write_text
from scratch_llm.instructions import (
    UNSEEN_FAMILIES,
    Entry,
    exact_match,
    token_f1,
)
from scratch_llm.plots import smooth
from scratch_llm.runs import if_stopped
from scratch_llm.style import COLOURS
from scratch_llm.text import text_table

Score = Callable[[Sequence[Entry], Sequence[str]], dict]


def scores_in_parts(
    test: Sequence[Entry], said: Sequence[str], score: Score
) -> dict:
    """What metrics.json holds of the answers; shares are 0 to 1.

    score: from entries and answers to numbers by family. exact_match and
    token_f1 are those of all entries but the held-out phrasings; None where
    a part has no entries.
    """

    def part(chosen: Callable[[Entry], bool]) -> dict:
        pairs = [
            (entry, answer)
            for entry, answer in zip(test, said, strict=True)
            if chosen(entry)
        ]
        return score(*zip(*pairs, strict=True)) if pairs else {}

    def share(scores: dict, key: str = "exact_match") -> float | None:
        return scores["all"][key] if scores else None

    usual = part(lambda entry: not entry.held_out)
    held_out = part(lambda entry: entry.held_out)
    usual = usual or held_out  # a file may mark everything
    new = part(lambda e: e.family in UNSEEN_FAMILIES and not e.held_out)
    both = part(lambda e: e.family in UNSEEN_FAMILIES and e.held_out)
    families = {
        name: {
            **numbers,
            "exact_match_heldout_phrasings": held_out.get(name, {}).get(
                "exact_match"
            ),
            "unseen": name in UNSEEN_FAMILIES,
        }
        for name, numbers in usual.items()
        if name != "all"
    }
    return {
        "exact_match": share(usual),
        "exact_match_heldout_phrasings": share(held_out),
        "exact_match_unseen_families": share(new),
        "exact_match_unseen_families_heldout_phrasings": share(both),
        "token_f1": share(usual, "token_f1"),
        "token_f1_heldout_phrasings": share(held_out, "token_f1"),
        "test_entries": {
            "seen_phrasings": usual["all"]["n"],
            "heldout_phrasings": held_out["all"]["n"] if held_out else 0,
        },
        "families": families,
    }


def write_responses(
    path: Path, test: Sequence[Entry], said: Sequence[str]
) -> None:
    """The test with each model_response, as the judge's script reads it."""
    rows = []
    for entry, answer in zip(test, said, strict=True):
        row = {
            "instruction": entry.instruction,
            "input": entry.input,
            "output": entry.output,
            "model_response": answer,
            "exact_match": exact_match(answer, entry.output),
            "token_f1": round(token_f1(answer, entry.output), 4),
        }
        if entry.family:
            row |= {"family": entry.family, "held_out": entry.held_out}
        rows.append(row)
    write_json(path, rows)


def write_json(path: Path, value: object) -> None:
    """A JSON file; letters that are no letters are written by number."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    try:
        write_text(path, text)
    except UnicodeEncodeError:
        write_text(path, json.dumps(value, indent=1) + "\n")


def family_table(families: dict[str, dict]) -> str:
    """Right answers by family; a star where the base never read one."""
    rows = [("family", "entries", "exact", "held out", "F1")]
    for name, r in families.items():
        rows.append(
            (
                name + " *" * r["unseen"],
                f"{r['n']:,}",
                percent(r["exact_match"]),
                percent(r["exact_match_heldout_phrasings"]),
                f"{r['token_f1']:.2f}",
            )
        )
    return text_table(rows)


def result_table(metrics: dict) -> str:
    """The numbers of a run, each with the words that say what it is."""
    rows = [("right answers (exact match)", "share")]
    for key, name in (
        ("exact_match_base", "before finetuning"),
        ("exact_match", "after it"),
        ("exact_match_heldout_phrasings", "held-out phrasings"),
        ("exact_match_unseen_families", "families kept from the base (*)"),
    ):
        if metrics.get(key) is not None:
            rows.append((name, percent(metrics[key])))
    rows.append(("token F1 after it", percent(metrics["token_f1"])))
    return text_table(rows)


def closing_line(folder: Path, metrics: dict) -> str:
    """What came out of a run, where it lies, and how to use it."""
    done = f"{metrics['steps']:,} steps in {metrics['seconds']:.0f} s"
    start = if_stopped(metrics["stopped"])
    return (
        f"{start}{done}; all in {folder}\nTry it: python "
        f"gpt_instruction_finetuning.py --model {folder} "
        '--ask "Write the opposite of good."'
    )


# ---- Figures -------------------------------------------------------------


def draw_losses(
    losses: Sequence[float], history: Sequence[dict], best: int | None
) -> plt.Figure:
    """The loss of the steps, and of the validation part.

    history: records with step and validation (nats per answer token). best:
    the step whose weights are kept.
    """
    figure, ax = plt.subplots(figsize=(6.4, 3.2))
    width = max(1, len(losses) // 50)
    means = smooth(list(losses), width)
    steps = range(width, width + len(means))
    ax.plot(steps, means, color=COLOURS["train"], label="training", lw=1)
    x, y = ([h[key] for h in history] for key in ("step", "validation"))
    ax.plot(x, y, "o-", color=COLOURS["validation"], label="validation")
    ax.set(xlabel="step", ylabel="loss (nats per token of an answer)")
    ax.set_ylim(0, None)
    ax.legend()
    if best is not None:
        ax.axvline(best, ls=":", color=COLOURS["ink"], lw=1)
        above = ax.get_xaxis_transform()
        ax.text(best, 1.02, "kept", ha="center", size=9, transform=above)
    return figure


def draw_families(families: dict[str, dict]) -> plt.Figure:
    """Exact match of each family: a bar, and a dot for held-out phrasings.

    The best family stands at the top of the first column.
    """
    rows = sorted(families.items(), key=lambda row: -row[1]["exact_match"])
    half = max(8, -(-len(rows) // 2))
    columns = [some for some in (rows[:half], rows[half:]) if some]
    figure, panels = plt.subplots(
        1,
        len(columns),
        squeeze=False,
        sharex=True,
        figsize=(3.6 * len(columns), 0.9 + 0.2 * half),
    )
    known: dict = {}
    for ax, some in zip(panels[0], columns, strict=True):
        for unseen, colour, label in (
            (False, "train", "in the librarian's pages"),
            (True, "key", "new to the librarian"),
        ):
            chosen = [
                i for i, (_, r) in enumerate(some) if r["unseen"] == unseen
            ]
            values = [some[i][1]["exact_match"] for i in chosen]
            if chosen:
                bars = ax.barh(chosen, values, 0.7, color=COLOURS[colour])
                known[label] = bars
        x = [r["exact_match_heldout_phrasings"] for _, r in some]
        if any(value is not None for value in x):
            known["held-out phrasings"] = ax.plot(
                [float("nan") if v is None else v for v in x],
                range(len(x)),
                "D",
                color=COLOURS["ink"],
                ms=4,
            )[0]
        ax.set_yticks(range(len(some)), [name for name, _ in some])
        ax.set(xlim=(0, 1.03), ylim=(half - 0.4, -0.6), xticks=(0, 0.5, 1))
        ax.set_xlabel("exact match (share)")
    if len(known) > 1:
        figure.legend(
            known.values(), known, loc="outside upper center", ncols=len(known)
        )
    return figure
