"""Where batches come from: stories, a text, or a token file of any size.

Every stream of batches is a function of a seed. So a run that goes on after
so many batches sees exactly what it would have seen: their number is all
that a checkpoint needs to hold.
"""

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import previous_chapters as pc
import torch
from scratch_llm import corpora, storyworld, streams
from scratch_llm.files import read_text
from torch import Tensor

from pipeline import tokens

POOL = 2048  # new stories: what is called an epoch of them


def open_data(args: argparse.Namespace, start: int = 0) -> pc.Task:
    """The task that --data names, after so many batches; ValueError.

    Stories and texts that are skipped are made again; of a token file
    nothing is read.
    """
    if args.data.endswith(".npy"):
        return token_task(Path(args.data), args, start)
    if streams.addresses(args.data):
        raise ValueError(
            f"--data {args.data}: a download becomes a token file first: "
            f"python src/prepare_data.py {args.data} --out tokens, then "
            "--data tokens/train.npy"
        )
    names = "tokenizer vocab_size batch_size context_length seed".split()
    common = {name: getattr(args, name) for name in names}
    if args.data == "stories":
        task = pc.story_task(storyworld, held_out=args.eval_stories, **common)
        task.epoch = math.ceil(POOL / args.batch_size)
    elif args.data == "python":
        task = pc.text_task(corpora.python_english(), "python", **common)
    else:
        text, name = read_text(args.data), Path(args.data).stem
        task = pc.text_task(text, name, **common)
    task.batches = itertools.islice(task.batches, start, None)
    return task


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


def token_task(path: Path, args: argparse.Namespace, start: int) -> pc.Task:
    """A token file, with validation.npy and the tokenizer beside it."""
    held_out = path.with_name("validation.npy")
    windows, rest = (
        tokens.open_windows(p, args.context_length, args.documents)
        for p in (path, held_out)
    )
    eot = int(windows.ids[0])
    vocabulary = path.with_name("tokenizer.tiktoken")
    tokenizer = pc.load_tokenizer(vocabulary, eot + 1)
    if rest.ids[0] != eot:
        raise ValueError(f"{held_out} is of another tokenizer than {path}")
    size = args.batch_size
    return pc.Task(
        path.resolve().parent.name,
        tokenizer,
        window_stream(windows, size, args.seed, start),
        tokens.validation_batches(rest, size),
        epoch=math.ceil(len(windows) / size),
    )
