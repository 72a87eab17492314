"""What the experiments share: a small world, a small model, one run, figures.

Three notebooks stand on this file: experiments.ipynb beside it,
../05_learning-rate-schedulers and ../06_hyperparameter-search. It holds no
lesson: worlds, models and the training loop are those of ch05.ipynb, only
smaller, so that a run takes a second or two.
"""

import itertools
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor

CHAPTER = Path(__file__).resolve().parents[1] / "01_main-chapter-code"
sys.path.append(str(CHAPTER))
import gpt_files as files  # noqa: E402
import pretraining as pt  # noqa: E402
from previous_chapters import GPTModel, create_dataloader  # noqa: E402
from scratch_llm import storyworld  # noqa: E402
from scratch_llm.style import COLOURS  # noqa: E402

SMALL = {
    "context_length": 128, "emb_dim": 64, "n_heads": 2, "n_layers": 1,
    "drop_rate": 0.0, "qkv_bias": False, "tie_weights": True,
}


@dataclass
class World:
    """A grammar with a corpus and a judge, like storyworld itself."""

    grammar: storyworld.Grammar

    def __post_init__(self) -> None:
        self.compiled = storyworld.compile_grammar(self.grammar)

    def corpus(self, n: int, split: str = "train", seed: int = 0) -> list:
        """n stories of a split, from seeds that no other split uses."""
        return [storyworld.story(number, self.compiled) for number in
                storyworld.corpus_seeds(n, split, seed)]

    def parse(self, text: str) -> storyworld.Parse:
        """Whether a text is a story of this world, and if not, why."""
        return storyworld.parse(text, self.compiled)


def corner(words: int = 6, plots: Iterable[str] = ("race", "secret"),
           **changed: str) -> World:
    """A corner of the town: few plots, few words of each kind.

    changed: other words for a kind, as in colour="crimson teal".
    ValueError if the town has no such kind or plot.
    """
    fact, tables = storyworld.TOWN.plots
    known = {plot[1] for table in tables.values() for plot in table}
    strange = sorted({*changed} - {*storyworld.TOWN.words})
    strange += sorted({*plots} - known)
    if strange or words < 2:
        raise ValueError(f"words={words}, unknown kinds or plots {strange}")
    kept = {sky: [plot for plot in table if plot[1] in plots]
            for sky, table in tables.items()}
    few = {kind: " ".join(text.split()[:words])
           for kind, text in storyworld.TOWN.words.items()}
    return World(replace(storyworld.TOWN, plots=(fact, kept),
                         words=few | changed))


@dataclass
class Bench:
    """A world made ready: tokens, training rows, held-out batches, floor."""

    world: Any
    tokenizer: Any
    rows: list[list[int]]
    validation: list[pt.Batch]
    floor: float                # nats per token


def prepare(world: Any, tokenizer: Any = None, train: int = 3000,
            held_out: int = 200, vocab_size: int = 900) -> Bench:
    """Stories of a world as rows and batches, with the floor of the latter.

    Without a tokenizer, one is trained on the training stories.
    """
    texts = [one.text for one in world.corpus(train)]
    tokenizer = tokenizer or pt.own_tokenizer(texts, vocab_size)
    stories = world.corpus(held_out, "validation")
    rows = pt.story_rows([one.text for one in stories], tokenizer)
    validation = pt.bucket_batches(rows, 50)
    floor = sum(one.nll for one in stories) / pt.count_graded(validation)
    return Bench(world, tokenizer, pt.story_rows(texts, tokenizer),
                 validation, floor)


def small_model(tokenizer: Any, seed: int, **changes: Any) -> GPTModel:
    """A small GPT that starts by copying; changes: of the configuration."""
    torch.manual_seed(seed)
    cfg = {"vocab_size": tokenizer.n_vocab, **SMALL, **changes}
    return pt.start_copying(GPTModel(cfg))


def endless(rows: list[list[int]], batch_size: int, seed: int
            ) -> Iterator[pt.Batch]:
    """Batches of rows, shuffled anew in each epoch, of similar length."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for i in range(0, len(rows), 12 * batch_size):
            part = [rows[j] for j in order[i:i + 12 * batch_size]]
            yield from pt.bucket_batches(part, batch_size, generator)


def cut_windows(ids: list[int], length: int = 64) -> list[pt.Batch]:
    """A text cut without overlap, in order, to evaluate on."""
    return list(create_dataloader(ids, batch_size=32, context_length=length,
                                  stride=length, shuffle=False,
                                  drop_last=False))


def learn(model: GPTModel, batches: Iterator[pt.Batch], plan: Callable,
          weight_decay: float = 0.01, **how: Any) -> list[float]:
    """Train by a plan (plan.steps, plan(step) is the rate); the losses.

    The loss of a step is in nats per graded target. how: as for pt.train.
    """
    optimizer = pt.make_optimizer(model, weight_decay)
    return [record["train"] for record in
            pt.train(model, optimizer, batches, plan, **how)]


def watch(model: GPTModel, batches: Iterator[pt.Batch], plan: Callable,
          held: list[pt.Batch], every: int = 20) -> list[tuple[float, float]]:
    """Train like learn; (training, held-out) loss every so many steps."""
    optimizer = pt.make_optimizer(model, 0.01)
    return [(record["train"], pt.evaluate(model, held))
            for record in pt.train(model, optimizer, batches, plan)
            if record["step"] % every == 0]


def claim(what: str, holds: Any) -> None:
    """Print a finding and that it holds; AssertionError if it does not."""
    print(f"{what}: {bool(holds)}")
    if not holds:
        raise AssertionError(f"not so here: {what}")


def smooth(losses: list[float], width: int = 10) -> list[float]:
    """Means over neighbouring steps, for curves that can be read."""
    return [statistics.fmean(losses[i:i + width])
            for i in range(len(losses) - width + 1)]


def noise(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard deviation of what several seeds gave."""
    values = list(values)
    if len(values) < 2:
        raise ValueError(f"noise needs two seeds or more, got {values}")
    return statistics.fmean(values), statistics.stdev(values)


def table(rows: Iterable[Iterable], heads: Iterable[str]) -> str:
    """Rows as lines with columns in line, the first column to the left."""
    return files.text_table([heads, *rows])


# ---- Figures -------------------------------------------------------------


def draw_lines(x: Iterable[float], curves: dict[str, list],
               keys: Iterable[str], mark: str = "o-",
               levels: dict[str, float] | None = None,
               legend: dict | None = None,
               size: tuple[float, float] = (6.4, 3.2), **axes: Any) -> None:
    """One curve, or one for each seed, in the colour of each name.

    keys: of COLOURS. mark: as for plt.plot. levels: horizontal lines, each
    with a word. legend: its place. size: in inches. axes: as for Axes.set.
    """
    plt.gcf().set_size_inches(size)
    x = list(x)
    for (name, lines), key in zip(curves.items(), keys, strict=True):
        lines = lines if isinstance(lines[0], list) else [lines]
        for i, line in enumerate(lines):
            plt.plot(x, line, mark, color=COLOURS[key],
                     label="_" * (i > 0) + name)
    for word, level in (levels or {}).items():
        plt.axhline(level, ls=":", color=COLOURS["ink"], lw=1)
        plt.text(1.01, level, word, va="center", fontsize=8,
                 transform=plt.gca().get_yaxis_transform())
    plt.gca().set(**axes)
    if len(curves) > 1:
        plt.legend(**legend or {})
    plt.show()


def draw_watched(runs: dict[str, list], every: int,
                 floor: float | None = None, **axes: Any) -> None:
    """A panel for each name: what `watch` gave, one curve for each seed."""
    _, panels = plt.subplots(1, len(runs), sharey=True, figsize=(6.4, 2.8))
    for panel, (name, curves) in zip(panels, runs.items(), strict=True):
        for curve, (i, key) in itertools.product(
                curves, enumerate(("train", "validation"))):
            panel.plot(range(every, every * len(curve) + 1, every),
                       [pair[i] for pair in curve], color=COLOURS[key],
                       label="_" * (curve is not curves[0]) + key)
        if floor is not None:
            panel.axhline(floor, ls="--", color=COLOURS["ink"], lw=1)
        panel.set(title=name, xlabel="step", **axes)
    panels[0].set_ylabel("loss (nats per token)")
    panels[-1].legend(loc="lower left")
    plt.show()


def draw_bars(losses: dict[str, list[float]], xlabel: str,
              keys: Sequence[str] = ("sky",), floor: float | None = None,
              **axes: Any) -> None:
    """A bar for the mean of each name's losses, a dot for each of them."""
    plt.figure(figsize=(6.4, 2.2))
    plt.barh(list(losses), [statistics.fmean(some) for some in
                            losses.values()], color=[COLOURS[k] for k in keys])
    for name, some in losses.items():
        plt.plot(some, [name] * len(some), "k.", ms=5)
    if floor is not None:
        plt.axvline(floor, ls="--", color=COLOURS["ink"], lw=1)
    plt.gca().set(xlabel=xlabel, **axes)
    plt.show()


def draw_grids(grids: dict[str, Tensor], ylabel: str, down: Sequence,
               xlabel: str, across: Sequence) -> None:
    """Shares from 0 to 1 in a grid for each name, as colours and numbers."""
    for ax, (name, grid) in zip(plt.subplots(1, len(grids))[1],
                                grids.items(), strict=True):
        ax.imshow(grid, vmin=0, vmax=1)
        ax.set(title=name, xlabel=xlabel, ylabel=ylabel,
               xticks=range(len(across)), xticklabels=across,
               yticks=range(len(down)), yticklabels=down)
        for i, j in itertools.product(*map(range, grid.shape)):
            ax.text(j, i, f"{grid[i, j]:.2f}", ha="center", va="center",
                    color="white" if grid[i, j] < 0.6 else COLOURS["ink"])
    plt.show()


def draw_guesses(guesses: dict[str, Tensor], tokenizer: Any) -> None:
    """The six likeliest tokens of each name's probabilities, (V,) each."""
    _, panels = plt.subplots(1, len(guesses), figsize=(6.4, 2.4))
    for panel, (name, p) in zip(panels, guesses.items(), strict=True):
        top = p.topk(6)
        panel.barh([repr(tokenizer.decode([i])) for i in top.indices.tolist()],
                   top.values.tolist(), color=COLOURS["sky"])
        panel.invert_yaxis()
        panel.set(title=name, xlabel="probability")
    plt.show()
