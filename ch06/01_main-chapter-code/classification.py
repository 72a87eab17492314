# GENERATED from ch06/01_main-chapter-code/ch06.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import copy
import itertools
import json
import math
import re
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from previous_chapters import (
    GPTModel,
    Schedule,
    Tokenizer,
    autocast,
    eval_mode,
    load_model,
    load_tokenizer,
    make_optimizer,
    open_gpt2,
    pick_device,
    pick_precision,
    read_header,
    save_model,
    save_tokenizer,
    train,
)
from scratch_llm.gpt2_files import GPT2, gpt2_name
from scratch_llm.notes import NAMES, notes
from scratch_llm.runs import find_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


def split_texts(texts: Sequence[str], labels: Sequence[int],
                shares: Sequence[float] = (0.7, 0.1, 0.2), seed: int = 0
                ) -> list[tuple[list[str], list[int]]]:
    """Texts and labels in parts, at random; near duplicates stay together.

    Two texts are near duplicates if they have the same letters when case,
    digits and signs are left out; of equal texts one is kept.
    """
    families: dict[str, dict[str, int]] = defaultdict(dict)
    for text, label in zip(texts, labels, strict=True):
        key = re.sub(r"[\W\d_]+", "", text.lower()) or text
        families[key].setdefault(text, label)
    groups = list(families.values())
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(groups), generator=generator).tolist()
    parts, start, total = [], 0.0, sum(shares)
    for share in shares:
        end = start + share / total
        chosen = order[round(start * len(order)):round(end * len(order))]
        pairs = [pair for i in chosen for pair in groups[i].items()]
        parts.append(([text for text, _ in pairs],
                      [label for _, label in pairs]))
        start = end
    return parts


def word_counter(n: int = 1) -> Any:
    """Logistic regression on counts of sequences of up to n words.

    An unfitted pipeline of scikit-learn: fit(texts, labels), predict(texts).
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    counts = CountVectorizer(ngram_range=(1, n), token_pattern=r"\w+|[^\w\s]")
    return make_pipeline(counts, LogisticRegression(max_iter=1000))


def encode_text(tokenizer: Tokenizer, text: str, context_length: int,
                prefix: str = " ") -> list[int]:
    """<|endoftext|> and the tokens of a text, context_length at most.

    A longer text loses its end, with a warning; ValueError if it is empty.
    """
    if not text.strip():
        raise ValueError("an empty text has no class")
    ids = [tokenizer.eot_token,
           *tokenizer.encode_ordinary(prefix + text.strip())]
    if len(ids) > context_length:
        warnings.warn(f"a text of {len(ids)} tokens is cut to its first "
                      f"{context_length}", stacklevel=2)
    return ids[:context_length]


class TextDataset(Dataset):
    """Texts and the numbers of their classes; item i is (ids, label).

    names: what the classes are called. ValueError for a label without one.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[int],
                 tokenizer: Tokenizer, context_length: int = 256,
                 names: Sequence[str] = NAMES, prefix: str = " "):
        if len(texts) != len(labels):
            raise ValueError(f"{len(texts)} texts, but {len(labels)} labels")
        for label in labels:
            if label not in range(len(names)):
                raise ValueError(f"label {label!r} is none of 0 to "
                                 f"{len(names) - 1}: {', '.join(names)}")
        self.texts, self.labels = list(texts), [int(i) for i in labels]
        self.names = tuple(names)
        with warnings.catch_warnings(record=True) as cut:
            warnings.simplefilter("always")
            self.rows = [encode_text(tokenizer, text, context_length, prefix)
                         for text in texts]
        if cut:
            warnings.warn(f"{len(cut)} of {len(texts)} texts are cut to "
                          f"{context_length} tokens", stacklevel=2)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[list[int], int]:
        return self.rows[i], self.labels[i]


def collate(items: Sequence[tuple[list[int], int]], pad_id: int = 0
            ) -> tuple[Tensor, Tensor, Tensor]:
    """A batch: ids (B, T), padded at the end; lengths and labels (B,)."""
    lengths = torch.tensor([len(ids) for ids, _ in items])
    ids = torch.full((len(items), int(lengths.max())), pad_id)
    for row, (one, _) in zip(ids, items, strict=True):
        row[:len(one)] = torch.tensor(one)
    return ids, lengths, torch.tensor([label for _, label in items])


class LengthBatches:
    """Numbers of items, in batches of similar length: little is padding.

    With a seed each pass has other batches, in another order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int,
                 seed: int | None = None):
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.lengths, self.batch_size = lengths, batch_size
        self.generator = seed if seed is None else (
            torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        lengths = torch.tensor(self.lengths, dtype=torch.float)
        if self.generator:                     # ties are broken by chance
            lengths += torch.rand(len(lengths), generator=self.generator)
        batches = lengths.argsort(stable=True).split(self.batch_size)
        order = range(len(batches))
        if self.generator:
            order = torch.randperm(len(batches), generator=self.generator)
        for i in order:
            yield batches[i].tolist()


def make_loader(dataset: TextDataset, batch_size: int = 32,
                seed: int | None = None) -> DataLoader:
    """Batches of similar length; with a seed in another order each epoch."""
    lengths = [len(row) for row in dataset.rows]
    return DataLoader(dataset, collate_fn=collate, batch_sampler=LengthBatches(
        lengths, batch_size, seed))


def read_states(gpt: GPTModel, ids: Tensor) -> Tensor:
    """What a GPT has made of each token, before its last matrix.

    ids (B, T) -> states (B, T, C).
    """
    T, context_length = ids.shape[1], gpt.cfg["context_length"]
    if T > context_length:
        raise ValueError(f"{T} tokens do not fit into a context of "
                         f"{context_length}")
    x = gpt.drop_emb(gpt.tok_emb(ids) + gpt.pos_emb.weight[:T])
    for block in gpt.trf_blocks:
        x = block(x)
    return gpt.final_norm(x)


POOLS = ("first", "last", "mean")


def pool_states(states: Tensor, lengths: Tensor, how: str = "last") -> Tensor:
    """One state for each text: (B, T, C), lengths (B,) -> (B, C).

    how: first, last (the last real token), or mean (of all real tokens).
    """
    B, T, _ = states.shape
    if how == "first":
        return states[:, 0]
    if how == "last":
        return states[torch.arange(B), lengths - 1]
    if how != "mean":
        raise ValueError(f"how={how!r}: not {', '.join(POOLS)}")
    real = torch.arange(T, device=states.device) < lengths[:, None]  # (B, T)
    return (states * real[..., None]).sum(1) / lengths[:, None]


class Classifier(nn.Module):
    """A GPT with a head of K classes: ids (B, T), lengths (B,) -> (B, K)."""

    def __init__(self, gpt: GPTModel, names: Sequence[str] = NAMES,
                 pool: str = "last"):
        super().__init__()
        if len(set(names)) < 2:
            raise ValueError(f"classes {list(names)}: at least two are needed")
        if pool not in POOLS:
            raise ValueError(f"pool={pool!r}: not {', '.join(POOLS)}")
        self.gpt, self.names, self.pool = gpt, tuple(names), pool
        self.cfg = {**gpt.cfg, "names": list(names), "pool": pool}
        self.head = nn.Linear(gpt.cfg["emb_dim"], len(names))
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        states = read_states(self.gpt, ids)                        # (B, T, C)
        return self.head(pool_states(states, lengths, self.pool))  # (B, K)


@torch.no_grad()
def predict_logits(model: Classifier, dataset: TextDataset,
                   batch_size: int = 64, precision: str = "fp32") -> Tensor:
    """Logits (N, K), in the order of the dataset, without dropout."""
    device = next(model.parameters()).device
    loader = make_loader(dataset, batch_size)
    logits = torch.empty(len(dataset), len(model.names))
    with eval_mode(model), autocast(device, precision):
        for rows, (ids, lengths, _) in zip(loader.batch_sampler, loader,
                                           strict=True):
            some = model(ids.to(device), lengths.to(device))       # (B, K)
            logits[rows] = some.float().cpu()
    return logits


def accuracy(model: Classifier, dataset: TextDataset,
             precision: str = "fp32") -> float:
    """The share of texts for which the right class gets the largest logit."""
    logits = predict_logits(model, dataset, precision=precision)   # (N, K)
    right = logits.argmax(1) == torch.tensor(dataset.labels)
    return right.float().mean().item()


def check_training(dataset: TextDataset, model: Classifier,
                   class_weights: Sequence[float] | None = None) -> None:
    """ValueError if a model of these classes cannot learn from these texts."""
    if dataset.names != model.names:
        raise ValueError(f"the texts have the classes {dataset.names}, the "
                         f"model {model.names}")
    seen = sorted({dataset.names[label] for label in dataset.labels})
    if len(seen) < 2:
        raise ValueError(f"{len(dataset)} texts to train on, of the classes "
                         f"{seen}: at least two classes are needed")
    if class_weights is not None and len(class_weights) != len(model.names):
        raise ValueError(f"class_weights {list(class_weights)}: one for each "
                         f"of {', '.join(model.names)}")


def judge(model: Classifier, dataset: TextDataset | None,
          precision: str = "fp32") -> dict[str, float | None]:
    """Accuracy, and loss in nats as `validation`; None without a dataset."""
    if dataset is None:
        return {"accuracy": None, "validation": None}
    logits = predict_logits(model, dataset, precision=precision)   # (N, K)
    labels = torch.tensor(dataset.labels)
    return {"accuracy": (logits.argmax(1) == labels).float().mean().item(),
            "validation": F.cross_entropy(logits, labels).item()}


def fine_tune(model: Classifier, train_dataset: TextDataset,
              num_epochs: int = 3, validation: TextDataset | None = None,
              lr: float = 1e-3, batch_size: int = 32,
              weight_decay: float = 0.01, warmup: int = 30, clip: float = 1.0,
              class_weights: Sequence[float] | None = None,
              precision: str = "auto", seed: int = 0, progress: bool = True,
              every: int | None = None) -> list[dict]:
    """Train what may change; a record for each epoch, or every so many steps.

    epoch, step, train (mean loss in nats since the last record), seconds, and
    accuracy and validation (loss; None without a validation set).
    FloatingPointError if the loss is not finite.
    """
    check_training(train_dataset, model, class_weights)
    device = next(model.parameters()).device
    precision = pick_precision(device, precision)
    weights = (None if class_weights is None else
               torch.tensor(class_weights, device=device))
    loader = make_loader(train_dataset, batch_size, seed)
    schedule = Schedule(num_epochs * len(loader), lr, warmup)

    def backward(model: Classifier, batches: list, precision: str
                 ) -> tuple[float, int]:
        ids, lengths, labels = batches[0]
        with autocast(device, precision):
            logits = model(ids.to(device), lengths.to(device))     # (B, K)
        loss = F.cross_entropy(logits.float(), labels.to(device), weights)
        loss.backward()
        return loss.item(), len(labels)

    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    steps = train(model, make_optimizer(model, weight_decay), batches,
                  schedule, clip=clip, precision=precision, backward=backward)
    history, losses, began = [], [], time.perf_counter()
    for done in tqdm(steps, total=schedule.steps, unit="step",
                     disable=None if progress else True):
        step, losses = done["step"], [*losses, done["train"]]
        if step % (every or len(loader)) == 0 or step == schedule.steps:
            history.append({"epoch": step / len(loader), "step": step,
                            "train": sum(losses) / len(losses),
                            "seconds": time.perf_counter() - began,
                            **judge(model, validation, precision)})
            losses = []
    return history


def confusion_matrix(labels: Sequence[int], said: Sequence[int], K: int
                     ) -> Tensor:
    """How often class i (row) was called j (column): (K, K)."""
    matrix = torch.zeros(K, K, dtype=torch.long)
    for i, j in zip(labels, said, strict=True):
        matrix[i, j] += 1
    return matrix


def precision_recall_f1(confusion: Tensor) -> Tensor:
    """Precision, recall and F1 of each class: (K, K) -> (K, 3).

    What would be 0/0 is 0.
    """
    right = confusion.diagonal().float()                           # (K,)
    precision = right / confusion.sum(0).clamp(min=1)  # 0 / 1, not 0 / 0
    recall = right / confusion.sum(1).clamp(min=1)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    return torch.stack([precision, recall, f1], dim=1)


def calibration_bins(probs: Tensor, labels: Sequence[int], n_bins: int = 10
                     ) -> tuple[Tensor, Tensor, Tensor]:
    """How sure against how often right, in bins of confidence from 1/K to 1.

    probs (N, K) -> mean confidence, accuracy, count, (n_bins,) each.
    Source: Guo et al. 2017, section 2.
    """
    K = probs.shape[1]
    confidence, said = probs.max(1)                                # (N,)
    right = (said == torch.tensor(labels)).float()
    place = (confidence - 1 / K) / (1 - 1 / K) * n_bins
    bins = place.long().clamp(0, n_bins - 1)
    count = torch.bincount(bins, minlength=n_bins)
    confidence, right = (
        torch.bincount(bins, x, n_bins) / count.clamp(min=1)
        for x in (confidence, right))
    return confidence, right, count


def classify(model: Classifier, tokenizer: Tokenizer, text: str,
             prefix: str = " ") -> dict[str, float]:
    """The probability of each class of one text."""
    dataset = TextDataset([text], [0], tokenizer, model.cfg["context_length"],
                          model.names, prefix)
    probs = predict_logits(model, dataset).softmax(1)[0]           # (K,)
    return dict(zip(model.names, probs.tolist(), strict=True))


def leave_out(words: Sequence[str], i: int) -> str:
    """A text without its word i; the sign at the text's very end stays."""
    rest = " ".join([*words[:i], *words[i + 1:]])
    sign = re.search(r"(?<=\w)[.!?]\W*$", words[-1])
    if sign and i == len(words) - 1:
        return rest.rstrip(".,;:!?") + sign[0]
    return rest


def word_influence(model: Classifier, tokenizer: Tokenizer, text: str,
                   name: str | None = None, prefix: str = " "
                   ) -> list[tuple[str, float]]:
    """Each word, and how much less probable class `name` is without it.

    name: the class that is said of the whole text, if None. A text of one
    word is compared with a coin of K sides.
    """
    if name and name not in model.names:
        raise ValueError(f"no class {name!r}: {', '.join(model.names)}")
    words = text.split()
    texts = [text, *(leave_out(words, i) for i in range(len(words))
                     if len(words) > 1)]
    dataset = TextDataset(texts, [0] * len(texts), tokenizer,
                          model.cfg["context_length"], model.names, prefix)
    probs = predict_logits(model, dataset).softmax(1)              # (N, K)
    k = model.names.index(name) if name else int(probs[0].argmax())
    without = probs[1:, k] if len(words) > 1 else [1 / len(model.names)]
    return [(word, float(probs[0, k] - p))
            for word, p in zip(words, without, strict=True)]


def train_only(model: Classifier, what: str) -> Classifier:
    """Freeze everything but: head, block (the last one), all, or lora.

    The head is trained in each of the four ways.
    """
    if what not in ("head", "block", "all", "lora"):
        raise ValueError(f"what={what!r}: not head, block, all or lora")
    model.gpt.requires_grad_(what == "all")
    model.head.requires_grad_(True)
    if what == "block":
        model.gpt.trf_blocks[-1].requires_grad_(True)
        model.gpt.final_norm.requires_grad_(True)
    if what == "lora":
        thaw_detours(model)                  # that is the next section
    return model


def count_trained(model: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class LoRALinear(nn.Module):
    """A frozen layer and a small detour: W x + alpha/rank B (A x).

    (..., d_in) -> (..., d_out); A (rank, d_in), and B (d_out, rank), which
    starts at zero. Source: Hu et al. 2021, section 4.1.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float):
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank={rank}: at least 1")
        self.linear, self.scaling = linear.requires_grad_(False), alpha / rank
        W = linear.weight
        self.A = nn.Parameter(W.new_empty(rank, linear.in_features))
        self.B = nn.Parameter(W.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.scaling * (x @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A new plain layer that computes the same."""
        plain = copy.deepcopy(self.linear)
        plain.weight += self.scaling * (self.B @ self.A)
        return plain


LORA_LAYERS = ("att.qkv", "att.out_proj", "ff.layers.0", "ff.layers.2")


def add_lora(model: Classifier, rank: int = 16, alpha: float = 32.0,
             where: Sequence[str] = LORA_LAYERS) -> Classifier:
    """Give these layers of every block a detour, in place.

    ValueError for a layer that a block does not have, or has already.
    """
    for block in model.gpt.trf_blocks:
        for path in where:
            layer = dict(block.named_modules()).get(path)
            if not isinstance(layer, nn.Linear):
                raise ValueError(f"where: {path!r} is no linear layer of a "
                                 f"block: {', '.join(LORA_LAYERS)}")
            parent, _, name = path.rpartition(".")
            setattr(block.get_submodule(parent), name,
                    LoRALinear(layer, rank, alpha))
    return train_only(model, "lora")


def thaw_detours(model: Classifier) -> None:
    """Let the detours of LoRA be trained; ValueError if there are none."""
    detours = [m for m in model.modules() if isinstance(m, LoRALinear)]
    if not detours:
        raise ValueError("there is no LoRA to train: add_lora(model)")
    for layer in detours:
        layer.A.requires_grad_(True)
        layer.B.requires_grad_(True)


def merge_lora(model: Classifier) -> Classifier:
    """Add every detour to its matrix, in place: nothing is left of LoRA."""
    for block in model.gpt.trf_blocks:
        for path, layer in list(block.named_modules()):
            if isinstance(layer, LoRALinear):
                parent, _, name = path.rpartition(".")
                setattr(block.get_submodule(parent), name, layer.merged())
    return model


def lora_parameters(cfg: dict, rank: int, where: Sequence[str] = LORA_LAYERS
                    ) -> int:
    """What LoRA trains, from the config: L rank times sum(d_in + d_out)."""
    C = cfg["emb_dim"]
    sizes = {"att.qkv": C + 3 * C, "att.out_proj": C + C,
             "ff.layers.0": C + 4 * C, "ff.layers.2": 4 * C + C}
    return cfg["n_layers"] * rank * sum(sizes[path] for path in where)


@torch.no_grad()
def interpolate(model: Classifier, base: GPTModel, share: float
                ) -> Classifier:
    """Move the GPT of a classifier towards its base, in place.

    share 1: it stays where it is; 0: it is the base again. The head stays.
    Source: Wortsman et al. 2022, equation 1.
    """
    for p, before in zip(model.gpt.parameters(), base.parameters(),
                         strict=True):
        p.copy_(share * p + (1 - share) * before)
    return model


def save_classifier(folder: str | Path, model: Classifier,
                    tokenizer: Tokenizer, prefix: str = " ") -> None:
    """All that from_pretrained needs, into a folder; LoRA is merged before.
    """
    if any(isinstance(layer, LoRALinear) for layer in model.modules()):
        raise ValueError("merge LoRA before saving: merge_lora(model)")
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_model(Path(folder, "model.safetensors"), model, prefix)
    save_tokenizer(Path(folder, "tokenizer.tiktoken"), tokenizer)


def new_classifier(cfg: dict) -> Classifier:
    """A classifier with fresh weights, from the config in a file's header."""
    about = dict(cfg)
    names, pool = about.pop("names"), about.pop("pool")
    return Classifier(GPTModel(about), names, pool)


def load_classifier(path: str | Path, device: str | torch.device = "cpu"
                    ) -> Classifier:
    """A saved classifier, in eval mode; ValueError if it is not whole."""
    about = read_header(path)
    try:
        model = new_classifier(json.loads(about["config"]))
        safetensors.torch.load_model(model, path)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a whole classifier of this course "
                         f"({reason})") from None
    return model.to(device).eval()


def from_pretrained(name: str | Path, device: str | None = None,
                    weights: str | Path = "gpt2", download: bool = False,
                    architecture: type = GPTModel
                    ) -> tuple[nn.Module, Tokenizer]:
    """A model and its tokenizer, by name: what chapter 5's opens, and more.

    name: "storyteller", "librarian", "gpt2-small (124M)" and its sisters,
    or the folder of a run: of a GPT, or of a finetuned Classifier. weights:
    where GPT-2's files lie; download: fetch what is not there. ValueError
    says what is missing, OSError why it cannot be had.
    """
    place, short = pick_device(device), gpt2_name(str(name))
    if short in GPT2:
        model, tokenizer = open_gpt2(short, weights, download)
        return model.to(place), tokenizer
    path, vocabulary = find_model(name)
    about = read_header(path)
    if about["architecture"] == "Classifier":                  # new
        model = load_classifier(path, place)
    else:
        model = load_model(path, place, architecture)
    return model, load_tokenizer(vocabulary, model.cfg["vocab_size"],
                                 about["prefix"])


Part = tuple[list[str], list[int]]  # texts, and the numbers of their classes


@dataclass
class ClassTask:
    """A base model, and the texts that it is to classify."""

    model: GPTModel
    tokenizer: Tokenizer
    names: tuple[str, ...]
    prefix: str           # what stood before each text in pretraining
    train: Part
    validation: Part
    test: Part

    def dataset(self, part: Part, n: int | None = None) -> TextDataset:
        """A part, or its first n texts, as ids."""
        texts, labels = part
        return TextDataset(texts[:n], labels[:n], self.tokenizer,
                           self.model.cfg["context_length"], self.names,
                           self.prefix)

    def classifier(self, pool: str = "last", seed: int = 0) -> Classifier:
        """A copy of the base with a fresh head."""
        gpt = GPTModel(self.model.cfg).to(next(self.model.parameters()).device)
        gpt.load_state_dict(self.model.state_dict())
        torch.manual_seed(seed)
        device = next(gpt.parameters()).device
        return Classifier(gpt, self.names, pool).to(device)


def load_task(base_model: str | Path = "librarian",
              sizes: tuple[int, int, int] = (24_000, 2_000, 2_000),
              data: Any = None, seed: int = 0, weights: str | Path = "gpt2",
              download: bool = False, device: str | None = None) -> ClassTask:
    """A base model with the data that suit it.

    A model that ships, or a run's folder, reads notes; GPT-2 reads SMS,
    which are in the file `data`, or are fetched (download=True). sizes: how
    many texts to train, to validate and to test on, at most.
    """
    model, tokenizer = from_pretrained(base_model, device, weights, download)
    if gpt2_name(str(base_model)) not in GPT2:
        prefix = read_header(find_model(base_model)[0])["prefix"]
        made = [notes(n, split, seed) for n, split in zip(
            sizes, ("train", "validation", "test"), strict=True)]
        parts = [([note.text for note in some], [note.label for note in some])
                 for some in made]
        return ClassTask(model, tokenizer, NAMES, prefix, *parts)
    from scratch_llm.labelled import read_labelled
    if data is None:
        if not download:
            raise ValueError("GPT-2 reads SMS here: name their file by data=, "
                             "or fetch it with download=True")
        from scratch_llm.download import fetch_data
        data = fetch_data("sms-spam")
    texts, labels, names = read_labelled(data)
    parts = [(some[:n], classes[:n]) for (some, classes), n in
             zip(split_texts(texts, labels, seed=seed), sizes, strict=True)]
    return ClassTask(model, tokenizer, tuple(names), "", *parts)
