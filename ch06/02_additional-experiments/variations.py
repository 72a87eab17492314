# GENERATED from ch06/02_additional-experiments/additional-experiments.ipynb
# Do not edit. Change the notebook and run: python shared/export.py
"""The variations of a classifier, one change each, and how to run one."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from previous_chapters import (
    LORA_LAYERS,
    Classifier,
    GPTModel,
    TextDataset,
    Tokenizer,
    add_lora,
    confusion_matrix,
    count_trained,
    fine_tune,
    from_pretrained,
    init_copying,
    merge_heads,
    pick_precision,
    pool_states,
    precision_recall_f1,
    predict_logits,
    read_states,
    split_heads,
    train_only,
)
from scratch_llm.notes import NAMES, Note, notes
from torch import Tensor

BASE = {"train": "all", "pool": "last", "both_ways": False, "tokens": 256,
        "start": "librarian", "frozen": (), "items": 1.0, "positive": 1.0,
        "weighted": False, "lr": 5e-4, "batch_size": 32, "epochs": 1,
        "rank": 16, "alpha": 256.0, "where": LORA_LAYERS}
ATTENTION = ("att.qkv", "att.out_proj")
VARIATIONS = {
    "base": {},
    "pool-first": {"pool": "first"},
    "pool-mean": {"pool": "mean"},
    "pool-pad": {"pool": "pad"},
    "head": {"train": "head"},
    "block": {"train": "block"},
    "lora-1": {"train": "lora", "rank": 1, "alpha": 16.0},
    "lora-4": {"train": "lora", "rank": 4, "alpha": 64.0},
    "lora-16": {"train": "lora"},
    "lora-64": {"train": "lora", "rank": 64, "alpha": 1024.0},
    "lora-attention": {"train": "lora", "where": ATTENTION},
    "lora-small-alpha": {"train": "lora", "alpha": 32.0},
    "tokens-8": {"tokens": 8},
    "tokens-16": {"tokens": 16},
    "tokens-32": {"tokens": 32},
    "both-ways": {"both_ways": True},
    "unbalanced": {"positive": 0.1},
    "unbalanced-weighted": {"positive": 0.1, "weighted": True},
    "random": {"start": "random"},
    "copying": {"start": "copying"},
    "storyteller": {"start": "storyteller"},
    "frozen-tokens": {"frozen": ("tok_emb",)},
    "lr-third": {"lr": 5e-4 / 3},
    "lr-triple": {"lr": 1.5e-3},
    "batch-8": {"batch_size": 8},
    "batch-128": {"batch_size": 128},
    "half": {"items": 0.5},
}


@dataclass
class Bench:
    """A base model with its tokenizer, and notes to train and to test on."""

    gpt: GPTModel
    tokenizer: Tokenizer
    train: list[Note]
    test: list[Note]

    def dataset(self, some: Sequence[Note], tokens: int = 256) -> TextDataset:
        """Notes as ids, cut to so many tokens without a warning."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TextDataset([note.text for note in some],
                               [note.label for note in some],
                               self.tokenizer, tokens)


def prepare_bench(items: int, test: int = 1000) -> Bench:
    """The librarian, `items` notes to train on, and `test` to test on.

    ValueError for fewer than 40 items.
    """
    if items < 40:
        raise ValueError(f"items={items}: at least 40")
    gpt, tokenizer = from_pretrained("librarian")
    return Bench(gpt, tokenizer, notes(items), notes(test, "test"))


def read_both_ways(gpt: GPTModel, ids: Tensor, lengths: Tensor) -> Tensor:
    """read_states without the causal mask: each token reads all real ones.

    ids (B, T), lengths (B,) -> states (B, T, C). A pad is read by nobody.
    """
    T, H = ids.shape[1], gpt.cfg["n_heads"]
    real = torch.arange(T, device=ids.device) < lengths[:, None]   # (B, T)
    real = real[:, None, None]                              # (B, 1, 1, T)
    x = gpt.drop_emb(gpt.tok_emb(ids) + gpt.pos_emb.weight[:T])
    for block in gpt.trf_blocks:
        parts = block.att.qkv(block.norm1(x)).chunk(3, dim=-1)
        q, k, v = (split_heads(part, H) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, real)          # new
        x = x + block.drop_shortcut(block.att.out_proj(merge_heads(y)))
        x = x + block.drop_shortcut(block.ff(block.norm2(x)))
    return gpt.final_norm(x)


class Variant(Classifier):
    """A Classifier that can also read both ways, or read a pad.

    pool: as usual, or pad: the last place of a row of `width` tokens,
    whatever stands there.
    """

    def __init__(self, gpt: GPTModel, pool: str = "last",
                 both_ways: bool = False, width: int = 0):
        super().__init__(gpt, NAMES, "last" if pool == "pad" else pool)
        self.both_ways, self.width = both_ways, width

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        if self.width:                                  # the fault
            ids = F.pad(ids, (0, self.width - ids.shape[1]))
            lengths = torch.full_like(lengths, self.width)
        states = (read_both_ways(self.gpt, ids, lengths) if self.both_ways
                  else read_states(self.gpt, ids))                 # (B, T, C)
        return self.head(pool_states(states, lengths, self.pool))


def build(bench: Bench, setting: dict[str, Any], seed: int,
          width: int = 0) -> Variant:
    """A fresh classifier for a setting; what it may train is set."""
    torch.manual_seed(seed)
    gpt = GPTModel(bench.gpt.cfg)                 # random weights
    if setting["start"] == "copying":
        init_copying(gpt)
    elif setting["start"] == "storyteller":
        gpt = from_pretrained("storyteller", "cpu")[0]
    elif setting["start"] == "librarian":
        gpt.load_state_dict(bench.gpt.state_dict())
    torch.manual_seed(seed)                       # the same head either way
    model = Variant(gpt, setting["pool"], setting["both_ways"], width)
    if setting["train"] == "lora":
        add_lora(model, setting["rank"], setting["alpha"], setting["where"])
    train_only(model, setting["train"])
    for name in setting["frozen"]:
        gpt.get_submodule(name).requires_grad_(False)
    return model.to(next(bench.gpt.parameters()).device)


def rarer(some: Sequence[Note], share: float) -> list[Note]:
    """The notes, with only this share of the positive ones."""
    positive = [note for note in some if note.label == 1]
    dropped = set(positive[round(share * len(positive)):])
    return [note for note in some if note not in dropped]


def class_weights(labels: Sequence[int], K: int = 2) -> list[float]:
    """N / (K n): the loss of a rare class counts more."""
    return [len(labels) / (K * labels.count(k)) for k in range(K)]


def run_variation(name: str, bench: Bench, seed: int,
                  precision: str = "auto") -> dict[str, Any]:
    """Train one variation and test it: a row of the table."""
    setting = BASE | VARIATIONS[name]
    device = next(bench.gpt.parameters()).device
    precision = pick_precision(device, precision)
    some = bench.train[:round(setting["items"] * len(bench.train))]
    if setting["positive"] < 1:
        some = rarer(some, setting["positive"])
    train, test = (bench.dataset(part, setting["tokens"])
                   for part in (some, bench.test))
    width = max(map(len, train.rows + test.rows))
    model = build(bench, setting, seed,
                  width if setting["pool"] == "pad" else 0)
    weights = class_weights(train.labels) if setting["weighted"] else None
    wall, cpu = time.perf_counter(), time.process_time()
    history = fine_tune(model, train, setting["epochs"], lr=setting["lr"],
                        batch_size=setting["batch_size"], seed=seed,
                        class_weights=weights, precision=precision,
                        progress=False)
    row = {"name": name, "seed": seed,
           "seconds": round(time.perf_counter() - wall, 2),
           "cpu_seconds": round(time.process_time() - cpu, 2),
           "trained": count_trained(model), "items": len(train),
           "loss": round(history[-1]["train"], 4)}
    row |= tested(model, test, precision)
    if model.width:                               # the same model, no pads
        model.width = 0
        row["accuracy_unpadded"] = tested(model, test, precision)["accuracy"]
    return row


def tested(model: Classifier, test: TextDataset, precision: str) -> dict:
    """Accuracy, and the recall of each class."""
    said = predict_logits(model, test, precision=precision).argmax(1)
    confusion = confusion_matrix(test.labels, said.tolist(), len(NAMES))
    right = int(confusion.diagonal().sum())
    return {"accuracy": right / len(test), "recall": [
        round(x, 4) for x in precision_recall_f1(confusion)[:, 1].tolist()]}
