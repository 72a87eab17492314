# GENERATED from ch07/04_preference-tuning-with-dpo/dpo.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import itertools
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from preference_pairs import SYSTEM, Pair
from previous_chapters import (
    IGNORE,
    GPTModel,
    LengthBatches,
    Row,
    Schedule,
    Tokenizer,
    autocast,
    collate,
    entry_row,
    eval_mode,
    make_optimizer,
    read_states,
    train,
)
from scratch_llm.instructions import Entry
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


class PairRow(NamedTuple):
    """Two rows with one prompt: the better answer, and the worse one."""

    chosen: Row
    rejected: Row


class PairDataset(Dataset):
    """Preference pairs as ids: item i is its number and a PairRow.

    ValueError for a pair that does not fit into the context, or whose two
    answers have the same ids.
    """

    def __init__(self, pairs: Sequence[Pair], tokenizer: Tokenizer,
                 context_length: int = 256, system: str = SYSTEM):
        if not pairs:
            raise ValueError("no pairs: there is nothing to prefer")
        self.pairs, self.rows = list(pairs), []
        for number, pair in enumerate(pairs, 1):
            two = PairRow(*(
                entry_row(tokenizer, Entry(pair.instruction, pair.input,
                                           said, ""), system)
                for said in (pair.chosen, pair.rejected)))
            longest = max(len(row.ids) for row in two)
            if longest > context_length:
                raise ValueError(f"pair {number} has {longest} tokens; there "
                                 f"is room for {context_length}")
            if two.chosen.ids == two.rejected.ids:
                raise ValueError(f"pair {number}: chosen and rejected are "
                                 f"the same: {pair.chosen[:40]!r}")
            self.rows.append(two)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[int, PairRow]:
        return i, self.rows[i]


def collate_pairs(items: Sequence[tuple[int, PairRow]], pad_id: int = 0
                  ) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs as one batch: inputs and targets (2B, T), numbers (B,).

    The first B rows are the chosen answers, the last B the rejected ones.
    """
    numbers, pairs = zip(*items, strict=True)
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    return *collate(rows, pad_id), torch.tensor(numbers)


def pair_batches(dataset: PairDataset, batch_size: int = 16,
                 seed: int | None = None) -> DataLoader:
    """Batches of pairs of similar length; with a seed, shuffled."""
    lengths = [max(len(row.ids) for row in pair) for pair in dataset.rows]
    return DataLoader(dataset, collate_fn=collate_pairs,
                      batch_sampler=LengthBatches(lengths, batch_size, seed))


def answer_logps(model: GPTModel, inputs: Tensor, targets: Tensor) -> Tensor:
    """log p of each row's answer: the sum over its graded tokens, in nats.

    inputs, targets (B, T) -> (B,). Logits are made only where a target is
    graded.
    """
    graded = targets != IGNORE                                     # (B, T)
    logits = model.out_head(read_states(model, inputs)[graded])    # (N, V)
    nll = F.cross_entropy(logits.float(), targets[graded], reduction="none")
    rows = graded.nonzero()[:, 0]                                  # (N,)
    return -nll.new_zeros(len(inputs)).index_add(0, rows, nll)


@torch.no_grad()
def pair_logps(model: GPTModel, dataset: PairDataset,
               precision: str = "fp32", batch_size: int = 32) -> Tensor:
    """log p of all answers, without dropout: (N, 2), chosen and rejected."""
    device = next(model.parameters()).device
    found = torch.zeros(len(dataset), 2)
    with eval_mode(model), autocast(device, precision):
        for inputs, targets, numbers in pair_batches(dataset, batch_size):
            logps = answer_logps(model, inputs.to(device), targets.to(device))
            found[numbers] = logps.view(2, -1).T.float().cpu()
    return found


def preference_accuracy(margins: Tensor) -> float:
    """The share of pairs with a margin above 0; a tie counts one half."""
    return ((margins > 0).float() + 0.5 * (margins == 0)).mean().item()


def dpo_loss(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor,
             ref_rejected: Tensor, beta: float = 0.1) -> Tensor:
    """-log sigmoid of beta times how much the preference has grown.

    All are log p of answers (B,), ref_ those of the reference -> (B,).
    Source: Rafailov et al. 2023, equation 7.
    """
    if not beta > 0:
        raise ValueError(f"beta={beta}: not > 0")
    reward_chosen = beta * (chosen - ref_chosen)
    reward_rejected = beta * (rejected - ref_rejected)
    return -F.logsigmoid(reward_chosen - reward_rejected)


def tune_preferences(
        model: GPTModel, dataset: PairDataset, reference: Tensor,
        num_epochs: float = 1, lr: float = 1.3e-4, beta: float = 1.0,
        batch_size: int = 16, validation: PairDataset | None = None,
        warmup: int = 10, clip: float = 1.0, precision: str = "fp32",
        seed: int = 0, progress: bool = True, every: int = 10) -> list[dict]:
    """Train by DPO what may change in a model; a record every so many steps.

    reference (N, 2): pair_logps of the frozen model. Each record has step,
    loss, margin and accuracy (both of rewards, mean since the last record),
    chosen and rejected (how much log p has changed), seconds, and, with a
    validation set, validation: its pair_logps (N, 2). FloatingPointError if
    the loss is not finite.
    """
    if reference.shape != (len(dataset), 2):
        raise ValueError(f"the reference is {tuple(reference.shape)}, and "
                         f"there are {len(dataset)} pairs: not (N, 2)")
    device = next(model.parameters()).device
    loader = pair_batches(dataset, batch_size, seed)
    schedule = Schedule(max(1, round(num_epochs * len(loader))), lr, warmup)
    seen = []

    def backward(model: GPTModel, batches: list, precision: str
                 ) -> tuple[float, int]:
        (inputs, targets, numbers), = batches
        model.eval()                                   # no dropout
        with autocast(device, precision):
            logps = answer_logps(model, inputs.to(device), targets.to(device))
        logps = logps.float().view(2, -1)                          # (2, B)
        ref = reference[numbers].T.to(device)                      # (2, B)
        losses = dpo_loss(*logps, *ref, beta)                      # (B,)
        losses.mean().backward()
        change = (logps - ref).detach()
        margin = beta * (change[0] - change[1])
        seen.append(torch.stack([losses.detach(), margin, *change]).cpu())
        return losses.mean().item(), len(numbers)

    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    history, began = [], time.perf_counter()
    bar = tqdm(total=schedule.steps, unit="step",
               disable=None if progress else True)
    for r in train(model, make_optimizer(model, 0.0), batches, schedule,
                   clip=clip, precision=precision, backward=backward):
        bar.update()
        if r["step"] % every == 0 or r["step"] == schedule.steps:
            some = torch.cat(seen, 1)                              # (4, n)
            seen.clear()
            loss, margin, chosen, rejected = some.mean(1).tolist()
            history.append({
                "step": r["step"], "loss": loss, "margin": margin,
                "accuracy": preference_accuracy(some[1]), "chosen": chosen,
                "rejected": rejected, "seconds": time.perf_counter() - began,
                "validation": None if validation is None else
                pair_logps(model, validation, precision)})
    bar.close()
    model.eval()
    return history
