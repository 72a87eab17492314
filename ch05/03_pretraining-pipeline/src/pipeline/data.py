"""Where batches come from: stories, a text, or a token file of any size.

Every stream is a function of a seed and a position, the number of batches
before it. So a run that goes on at a position sees exactly what it would
have seen: the position is all that a checkpoint needs to hold.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import previous_chapters as pc
import torch
from scratch_llm import corpora, storyworld
from scratch_llm.files import read_text
from torch import Tensor

from pipeline import tokens

POOL = 2048  # stories are told in lots of so many


def story_stream(
    world: Any,
    tokenizer: pc.Tokenizer,
    batch_size: int,
    seed: int,
    start: int = 0,
    pool: int = POOL,
) -> Iterator[pc.Batch]:
    """pc.story_batches from batch `start` on.

    Of the pools before that, only the order is drawn: no story is told.
    """
    skipped = start // math.ceil(pool / batch_size)
    untold = itertools.repeat([SimpleNamespace(text="")] * pool, skipped)

    def corpus(n: int, split: str, seed: int) -> list:
        return next(untold, None) or world.corpus(n, split, seed=seed)

    cut = SimpleNamespace(corpus=corpus)
    told = pc.story_batches(cut, tokenizer, batch_size, seed, pool)
    return islice(told, start, None)


def window_stream(
    windows: Sequence[tuple[Tensor, Tensor]],
    batch_size: int,
    seed: int,
    start: int = 0,
) -> Iterator[pc.Batch]:
    """Endless batches of windows, each epoch in an order of its own.

    The order takes 4 bytes per window. Inputs and targets (B, T); the last
    batch of an epoch may be smaller.
    """
    per_epoch = math.ceil(len(windows) / batch_size)
    epoch, left = divmod(start, per_epoch)
    for e in itertools.count(epoch):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + e)
        order = torch.randperm(
            len(windows), generator=generator, dtype=torch.int32
        )
        for chosen in order.split(batch_size)[left:]:
            yield tokens.stack(windows[i] for i in chosen.tolist())
        left = 0


@dataclass
class DataSource:
    """A task, and its batches from any position on."""

    task: pc.Task
    per_epoch: int  # batches
    stream: Callable[[int], Iterator[pc.Batch]]


def open_data(args: argparse.Namespace) -> DataSource:
    """The data that --data names; ValueError if there are none."""
    if args.data.endswith(".npy"):
        return token_source(Path(args.data), args)
    names = "tokenizer vocab_size batch_size context_length seed".split()
    common = {name: getattr(args, name) for name in names}
    if args.data == "stories":
        return story_source(args, common)
    if args.data == "python":
        task = pc.text_task(corpora.python_english(), "python", **common)
    else:
        text, name = read_text(args.data), Path(args.data).stem
        task = pc.text_task(text, name, **common)
    # to cut windows that nobody reads takes next to no time
    return DataSource(
        task, task.epoch, lambda start: islice(task.batches, start, None)
    )


def story_source(args: argparse.Namespace, common: dict) -> DataSource:
    """The story world; what is called an epoch here is POOL new stories."""
    task = pc.story_task(storyworld, held_out=args.eval_stories, **common)
    size = args.batch_size
    stream = partial(story_stream, storyworld, task.tokenizer, size, args.seed)
    return DataSource(task, math.ceil(POOL / size), stream)


def token_source(path: Path, args: argparse.Namespace) -> DataSource:
    """A token file, with validation.npy and the tokenizer beside it."""
    held_out = path.with_name("validation.npy")
    windows, rest = (
        tokens.open_windows(p, args.context_length, args.documents)
        for p in (path, held_out)
    )
    eot = int(windows.ids[0])
    tokenizer = pc.load_tokenizer(
        path.with_name("tokenizer.tiktoken"), eot + 1
    )
    if rest.ids[0] != eot:
        raise ValueError(f"{held_out} is of another tokenizer than {path}")
    validation = tokens.validation_batches(rest, args.batch_size)
    name = path.resolve().parent.name
    task = pc.Task(name, tokenizer, iter(()), validation)
    size = args.batch_size
    stream = partial(window_stream, windows, size, args.seed)
    return DataSource(task, math.ceil(len(windows) / size), stream)
