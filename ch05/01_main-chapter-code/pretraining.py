# GENERATED from ch05/01_main-chapter-code/ch05.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import itertools
import math
import tempfile
import time
import timeit
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from previous_chapters import GPTModel, generate, load_encoding, train_bpe
from scratch_llm.style import COLOURS
from torch import Tensor, nn

IGNORE = -100                  # a target with this id is not graded
Batch = tuple[Tensor, Tensor]  # inputs and targets, (B, T) each


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Total surprise, the sum of -ln p(target); IGNORE adds nothing.

    logits (B, T, V), targets (B, T) -> scalar. Source: Shannon 1948, 6.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(),
                           ignore_index=IGNORE, reduction="sum")


def count_graded(batches: Iterable[Batch]) -> int:
    """How many targets of these batches are graded."""
    return sum(int((targets != IGNORE).sum()) for _, targets in batches)


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean surprise per graded target in nats, with a gradient."""
    return nats(model(inputs), targets) / count_graded([(inputs, targets)])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context in which matrix products run in fp32 or bf16."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is fp32 or bf16, got {precision!r}")
    return torch.autocast(device.type, dtype=torch.bfloat16,
                          enabled=precision == "bf16")


@torch.no_grad()
def evaluate(model: nn.Module, batches: list[Batch],
             precision: str = "fp32") -> float:
    """Nats per graded target, without dropout; the mode is restored."""
    was_training, device = model.training, next(model.parameters()).device
    if not (graded := count_graded(batches)):
        raise ValueError("nothing to evaluate: no target is graded")
    model.eval()
    total = 0.0
    for inputs, targets in batches:
        with autocast(device, precision):
            logits = model(inputs.to(device))
        total += nats(logits, targets.to(device)).item()
    model.train(was_training)
    return total / graded


def story_rows(texts: Iterable[str], tokenizer: Any) -> list[list[int]]:
    """One row of ids per whole text, with <|endoftext|> at both ends.

    A space goes before each text, so that its first word is the same token
    as everywhere else.
    """
    eot, encode = tokenizer.eot_token, tokenizer.encode_ordinary
    return [[eot, *encode(f" {text}"), eot] for text in texts]


def pad_batch(rows: list[list[int]], pad_id: int = 0) -> Batch:
    """Rows of unequal length as one batch; padding is never graded.

    Returns inputs and targets (B, T), T = longest row - 1.
    """
    T = max(map(len, rows)) - 1
    inputs = torch.full((len(rows), T), pad_id)
    targets = torch.full((len(rows), T), IGNORE)
    for i, row in enumerate(rows):
        ids = torch.tensor(row)
        inputs[i, :len(row) - 1] = ids[:-1]
        targets[i, :len(row) - 1] = ids[1:]
    return inputs, targets


def bucket_batches(rows: list[list[int]], batch_size: int,
                   generator: torch.Generator | None = None) -> list[Batch]:
    """Batches of rows of similar length, so that little is padding.

    With a generator the batches come in random order. Rows are sorted by
    length, so the smallest batch holds the longest rows.
    """
    rows = sorted(rows, key=len)
    batches = [pad_batch(rows[i:i + batch_size])
               for i in range(0, len(rows), batch_size)]
    if generator is None:
        return batches
    order = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[i] for i in order]


def own_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Our BPE trained on texts, saved, and run by tiktoken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.tiktoken")
        train_bpe(texts, vocab_size).save(path)
        return load_encoding(path)


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices decay; biases, scales and shifts do not."""
    params = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p.dim() >= 2],
         "weight_decay": weight_decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, weight_decay: float = 0.1,
                   betas: tuple[float, float] = (0.9, 0.98)
                   ) -> torch.optim.AdamW:
    """AdamW with decoupled decay, in one fused kernel where there is one.

    The rate is set step by step. Source: Loshchilov and Hutter 2019, alg. 2.
    """
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(decay_groups(model, weight_decay), lr=0.0,
                             betas=betas, fused=fused)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """The rate at a step (from 0): a straight rise, then half a cosine.

    Source: Loshchilov and Hutter 2017, eq. 5, without restarts.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass
class Schedule:
    """The plan of a run: how many steps, and the rate at each."""

    steps: int
    peak: float
    warmup: int

    def __call__(self, step: int) -> float:
        return learning_rate(step, self.steps, self.peak, self.warmup)


def accumulate_gradients(model: nn.Module, batches: list[Batch],
                         precision: str = "fp32") -> tuple[float, int]:
    """Add to .grad what one large batch would add; loss and targets.

    The loss is the mean over all graded targets, in nats.
    """
    device = next(model.parameters()).device
    loss, graded = 0.0, count_graded(batches)
    for inputs, targets in batches:
        with autocast(device, precision):
            logits = model(inputs.to(device))
        part = nats(logits, targets.to(device)) / graded
        part.backward()
        loss += part.item()
    return loss, graded


def pick_precision(device: torch.device, wanted: str = "auto") -> str:
    """fp32 or bf16; auto takes bf16 where its products are much faster."""
    if wanted != "auto" or device.type == "mps":
        return wanted if wanted != "auto" else "fp32"
    fp32, bf16 = (matmul_speed(device, dtype)
                  for dtype in (torch.float32, torch.bfloat16))
    return "bf16" if bf16 > 1.3 * fp32 else "fp32"


def matmul_speed(device: torch.device, dtype: torch.dtype,
                 size: int = 512) -> float:
    """The best rate of a square matrix product here, in FLOP/s."""
    a = torch.randn(size, size, device=device).to(dtype)
    times = timeit.repeat(lambda: (a @ a)[0, 0].item(),  # waits for the device
                          number=1, repeat=9)
    return 2 * size**3 / min(times)


def plot_losses(history: list[dict], floor: float | None = None) -> Any:
    """Loss against tokens seen, and the floor if there is one."""
    _, ax = plt.subplots()
    for key, mark in (("train", "-"), ("validation", "o-")):
        seen = [h for h in history if h[key] is not None]
        ax.semilogy([h["tokens"] / 1e6 for h in seen], [h[key] for h in seen],
                    mark, color=COLOURS[key], label=key, lw=1)
    if floor is not None:
        ax.axhline(floor, ls="--", color=COLOURS["ink"], label="floor")
    ax.set(xlabel="tokens seen (millions)", ylabel="loss (nats per token)")
    ax.yaxis.set(minor_locator=plt.LogLocator(subs=(2, 3, 5)),
                 minor_formatter="{x:g}")
    ax.legend()
    return ax


def train(model: nn.Module, optimizer: torch.optim.Optimizer,
          batches: Iterator[Batch], plan: Schedule, accumulate: int = 1,
          clip: float = 1.0, precision: str = "fp32", start: int = 0
          ) -> Iterator[dict]:
    """Train; yield a record per step: step, loss, rate, norm, graded.

    norm: of the gradient before clipping; FloatingPointError if not finite.
    """
    step = start
    while step < plan.steps:
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = plan(step)
        optimizer.zero_grad()
        loss, graded = accumulate_gradients(
            model, list(itertools.islice(batches, accumulate)), precision)
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip).item()
        if not math.isfinite(loss + norm):
            raise FloatingPointError(f"step {step}: loss {loss}, norm {norm}")
        optimizer.step()
        step += 1
        yield {"step": step, "train": loss, "rate": plan(step - 1),
               "norm": norm, "graded": graded}


def sinusoids(T: int, C: int) -> Tensor:
    """Waves of many lengths, (T, C). Source: Vaswani et al. 2017, 3.5."""
    waves = T ** (-torch.arange(0, C, 2) / C)              # radians/token
    angles = torch.arange(T)[:, None] * waves              # (T, C / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :C]


@torch.no_grad()
def start_copying(model: GPTModel, std: float = 0.1) -> GPTModel:
    """Let attention pass on what it reads, from the first step on."""
    C, L = model.cfg["emb_dim"], model.cfg["n_layers"]
    nn.init.normal_(model.tok_emb.weight, std=std)
    model.pos_emb.weight.copy_(std * sinusoids(*model.pos_emb.weight.shape))
    for block in model.trf_blocks:
        up, down = block.ff.layers[0].weight, block.ff.layers[2].weight
        nn.init.normal_(up, std=C**-0.5)
        nn.init.normal_(down, std=(8 * C * L)**-0.5)
        qkv, out = block.att.qkv.weight, block.att.out_proj.weight
        nn.init.normal_(qkv, std=C**-0.5)
        for part, size in ((qkv[2 * C:], 1.0), (out, 0.5)):
            nn.init.normal_(part, std=0.02).diagonal().add_(size)
    return model


@dataclass
class Task:
    """What a run trains on, and how it is judged."""

    name: str
    tokenizer: Any              # a tiktoken.Encoding
    batches: Iterator[Batch]    # endless
    validation: list[Batch]
    floor: float | None = None  # nats per token, where it is known
    parse: Callable[[str], Any] | None = None


def story_batches(world: Any, tokenizer: Any, batch_size: int, seed: int,
                  pool: int = 2048) -> Iterator[Batch]:
    """Endless batches of stories (from world.corpus), none told twice."""
    generator = torch.Generator().manual_seed(seed)
    for k in itertools.count(1):
        stories = world.corpus(pool, "train", seed=10_000 * seed + k)
        rows = story_rows([s.text for s in stories], tokenizer)
        for i in range(0, pool, 12 * batch_size):
            part = rows[i:i + 12 * batch_size]
            yield from bucket_batches(part, batch_size, generator)


def train_task(model: nn.Module, task: Task, plan: Schedule, every: int = 200,
               minutes: float = math.inf, weight_decay: float = 0.1,
               **how: Any) -> Iterator[dict]:
    """Train on a task, evaluate every so many steps, keep to the minutes.

    how: accumulate, clip, precision. Adds to the records of train: tokens
    and seconds so far, validation (None between evaluations). A plan that
    does not fit into the minutes gets fewer steps.
    """
    optimizer = make_optimizer(model, weight_decay)
    wanted, tokens, began = plan.steps, 0, time.perf_counter()
    for r in train(model, optimizer, task.batches, plan, **how):
        tokens, step = tokens + r["graded"], r["step"]
        loss, seconds = None, time.perf_counter() - began
        fits = step + max(1, step * (60 * minutes / seconds - 1))
        if step % 40 == 0 and abs(min(fits, wanted) / plan.steps - 1) > 0.04:
            plan.steps = int(min(fits, wanted))
        if step % every == 0 or step == plan.steps:
            loss = evaluate(model, task.validation,
                            how.get("precision", "fp32"))
            seconds = time.perf_counter() - began
        yield r | {"tokens": tokens, "seconds": seconds, "validation": loss}


def sample_texts(model: GPTModel, tokenizer: Any, n: int, seed: int = 0,
                 **how: Any) -> list[str]:
    """n texts from the empty start; how: temperature, top_k, top_p."""
    eot, device = tokenizer.eot_token, next(model.parameters()).device
    how = {"temperature": 1.0, "max_new_tokens": 255, "stop_id": eot} | how
    generator = torch.Generator(device).manual_seed(seed)
    ids = generate(model, torch.full((n, 1), eot, device=device),
                   generator=generator, **how)[:, 1:].tolist()
    return [tokenizer.decode(row[:(row + [eot]).index(eot)]).lstrip(" ")
            for row in ids]


def judge_texts(texts: list[str], parse: Callable) -> tuple[float, Counter]:
    """The share of valid texts, and why the others are not valid."""
    verdicts = [parse(text) for text in texts]
    reasons = Counter(v.reason for v in verdicts if not v.ok)
    return 1 - reasons.total() / len(texts), reasons


def flops_per_token(cfg: dict, length: int) -> float:
    """Operations of a training step. Source: Kaplan et al. 2020, 2.1."""
    C, L = cfg["emb_dim"], cfg["n_layers"]
    weights = 12 * L * C**2 + cfg["vocab_size"] * C
    return 6 * (weights + L * length * C)


def diversity(texts: list[str]) -> float:
    """Different sequences of three words, as a share of all of them."""
    seen = Counter()
    for words in map(str.split, texts):
        seen.update(zip(words, words[1:], words[2:], strict=False))
    return len(seen) / max(1, seen.total())


@torch.no_grad()
def calibrate(model: GPTModel, batches: list[Batch],
              temperatures: list[float]) -> dict[float, float]:
    """Make the best of these temperatures the new 1; the losses (nats).

    The last normalisation is divided by it. Source: Guo et al. 2017, 4.2.
    """
    device, losses = next(model.eval().parameters()).device, Counter()
    for inputs, targets in batches:
        logits = model(inputs.to(device))                     # (B, T, V)
        for t in temperatures:
            losses[t] += nats(logits / t, targets.to(device)).item()
    for p in model.final_norm.parameters():
        p /= min(losses, key=losses.get)
    graded = count_graded(batches)
    return {t: total / graded for t, total in losses.items()}
