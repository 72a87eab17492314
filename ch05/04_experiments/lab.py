# GENERATED from ch05/04_experiments/experiments.ipynb
# Do not edit. Change the notebook and run: python shared/export.py
"""A small world, a small model and one short run, for three notebooks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from previous_chapters import (
    Batch,
    GPTModel,
    Tokenizer,
    bucket_batches,
    count_targets,
    evaluate,
    init_copying,
    make_optimizer,
    own_tokenizer,
    story_rows,
    train,
)


@dataclass
class Bench:
    """A world made ready: tokens, training rows, validation batches, floor."""

    world: Any
    tokenizer: Tokenizer
    rows: list[list[int]]
    validation: list[Batch]
    floor: float                # nats per token


def prepare(world: Any, tokenizer: Tokenizer | None = None, train: int = 3000,
            held_out: int = 200, vocab_size: int = 900) -> Bench:
    """Stories of a world as rows and batches, with the floor of the latter.

    Without a tokenizer, one is trained on the training stories.
    """
    texts = [one.text for one in world.corpus(train)]
    tokenizer = tokenizer or own_tokenizer(texts, vocab_size)
    stories = world.corpus(held_out, "validation")
    rows = story_rows([one.text for one in stories], tokenizer)
    validation = bucket_batches(rows, 50)
    floor = sum(one.nll for one in stories) / count_targets(validation)
    return Bench(world, tokenizer, story_rows(texts, tokenizer),
                 validation, floor)


SMALL = {
    "context_length": 128, "emb_dim": 64, "n_heads": 2, "n_layers": 1,
    "drop_rate": 0.0, "qkv_bias": False, "tie_weights": True,
}


def small_model(tokenizer: Tokenizer, seed: int, **changes: Any) -> GPTModel:
    """A small GPT that starts by copying; changes: of the configuration."""
    torch.manual_seed(seed)
    cfg = {"vocab_size": tokenizer.n_vocab, **SMALL, **changes}
    return init_copying(GPTModel(cfg))


def endless(rows: list[list[int]], batch_size: int, seed: int
            ) -> Iterator[Batch]:
    """Batches of rows, shuffled anew in each epoch, of similar length."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator).tolist()
        for i in range(0, len(rows), 12 * batch_size):
            part = [rows[j] for j in order[i:i + 12 * batch_size]]
            yield from bucket_batches(part, batch_size, generator)


def learn(model: GPTModel, batches: Iterator[Batch], schedule: Callable,
          weight_decay: float = 0.01) -> list[float]:
    """Train; the loss of each step in nats per graded target.

    schedule: has `steps`, and schedule(step) is the learning rate.
    """
    optimizer = make_optimizer(model, weight_decay)
    return [record["train"] for record in
            train(model, optimizer, batches, schedule)]


def watch(model: GPTModel, batches: Iterator[Batch], schedule: Callable,
          held: list[Batch], every: int = 20) -> list[tuple[float, float]]:
    """Train like learn; (training, validation) loss every so many steps."""
    optimizer = make_optimizer(model, 0.01)
    return [(record["train"], evaluate(model, held))
            for record in train(model, optimizer, batches, schedule)
            if record["step"] % every == 0]
