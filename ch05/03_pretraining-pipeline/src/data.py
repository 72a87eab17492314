"""Where batches come from: stories, a text, or a token file of any size.

Every stream is a function of a seed and a position, the number of batches
before it. So a run that goes on at a position sees exactly what it would
have seen: the position is all that a checkpoint needs to hold.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpt_files as files
import pretraining as pt
import tokens
import torch
from previous_chapters import GPTDataset
from torch import Tensor

POOL = 2048                    # stories are told in lots of so many


def story_stream(world: Any, tokenizer: Any, batch_size: int, seed: int,
                 start: int = 0, pool: int = POOL) -> Iterator[pt.Batch]:
    """pt.story_batches from batch `start` on.

    Of the pools before that, only the order is drawn: no story is told.
    """
    skipped = start // math.ceil(pool / batch_size)
    untold = itertools.repeat([SimpleNamespace(text="")] * pool, skipped)

    def corpus(n: int, split: str, seed: int) -> list:
        return next(untold, None) or world.corpus(n, split, seed=seed)

    return itertools.islice(pt.story_batches(
        SimpleNamespace(corpus=corpus), tokenizer, batch_size, seed, pool),
        start, None)


def window_stream(windows: Sequence[tuple[Tensor, Tensor]], batch_size: int,
                  seed: int, start: int = 0) -> Iterator[pt.Batch]:
    """Endless batches of windows, each epoch in an order of its own.

    The order takes 4 bytes per window. Inputs and targets (B, T); the last
    batch of an epoch may be smaller.
    """
    per_epoch = math.ceil(len(windows) / batch_size)
    epoch, left = divmod(start, per_epoch)
    for e in itertools.count(epoch):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + e)
        order = torch.randperm(len(windows), generator=generator,
                               dtype=torch.int32)
        for chosen in order.split(batch_size)[left:]:
            inputs, targets = zip(*(windows[i] for i in chosen.tolist()),
                                  strict=True)
            yield torch.stack(inputs), torch.stack(targets)
        left = 0


@dataclass
class Source:
    """A task, and its stream from any position on."""

    task: pt.Task
    per_epoch: int             # batches

    windows: Sequence | None = None
    world: Any = None
    batch_size: int = 8
    seed: int = 123

    def start_at(self, position: int) -> None:
        """Let the task's batches go on after so many of them."""
        if self.world is not None:
            self.task.batches = story_stream(
                self.world, self.task.tokenizer, self.batch_size, self.seed,
                position)
        else:
            self.task.batches = window_stream(
                self.windows, self.batch_size, self.seed, position)


def story_source(tokenizer: str, vocab_size: int, batch_size: int,
                 context_length: int, seed: int, held_out: int) -> Source:
    """The story world; what is called an epoch here is POOL new stories."""
    from scratch_llm import storyworld
    task = files.story_task(storyworld, tokenizer, vocab_size, batch_size,
                            context_length, seed, held_out)
    return Source(task, math.ceil(POOL / batch_size), world=storyworld,
                  batch_size=batch_size, seed=seed)


def text_source(path: Path, tokenizer: str, vocab_size: int,
                batch_size: int, context_length: int, seed: int) -> Source:
    """A UTF-8 text: overlapping windows of it, the last tenth held out."""
    task = files.text_task(path, tokenizer, vocab_size, batch_size,
                           context_length, seed)
    ids = [task.tokenizer.eot_token,
           *task.tokenizer.encode_ordinary(files.read_text(path))]
    cut = len(ids) - max(context_length + 1, len(ids) // 10)
    windows = GPTDataset(ids[:cut], context_length, (context_length + 1) // 2)
    return Source(task, math.ceil(len(windows) / batch_size), windows,
                  batch_size=batch_size, seed=seed)


def token_source(path: Path, documents: str, batch_size: int,
                 context_length: int, seed: int) -> Source:
    """A token file, and the file validation.bin and tokenizer beside it."""
    header = tokens.read_header(path)
    tokens.check_ends(path)
    tokenizer = files.load_tokenizer(path.parent, header["vocab_size"],
                                     header["tokenizer"])
    held_out = path.with_name("validation.bin")
    if tokens.read_header(held_out)["vocab_size"] != header["vocab_size"]:
        raise ValueError(f"{held_out} is of another tokenizer than {path}")
    windows, rest = (tokens.open_windows(p, context_length, documents)
                     for p in (path, held_out))
    task = pt.Task(path.parent.resolve().name, tokenizer, iter(()),
                   tokens.validation_batches(rest, batch_size))
    return Source(task, math.ceil(len(windows) / batch_size), windows,
                  batch_size=batch_size, seed=seed)


def count_bytes(batches: list[pt.Batch], tokenizer: Any) -> int:
    """Bytes of text behind the graded targets; <|endoftext|> has none."""
    if not batches:
        return 0
    sizes = [0] * (tokenizer.n_vocab + 1)
    for rank in range(tokenizer.eot_token):
        sizes[rank] = len(tokenizer.decode_single_token_bytes(rank))
    table = torch.tensor(sizes)
    return sum(int(table[t[t != pt.IGNORE]].sum()) for _, t in batches)
