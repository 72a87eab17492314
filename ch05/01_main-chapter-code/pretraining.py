# GENERATED from ch05/01_main-chapter-code/ch05.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import itertools
import json
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
import safetensors.torch
import tiktoken
import torch
import torch.nn.functional as F
from previous_chapters import (
    GPTDataset,
    GPTModel,
    Tokenizer,
    count_parameters,
    eval_mode,
    generate,
    generate_tokens,
    gpt2_encoding,
    gpt2_model,
    load_encoding,
    pick_device,
    train_bpe,
    write_ranks,
)
from scratch_llm.cli import say
from scratch_llm.corpora import compressed_bits_per_byte
from scratch_llm.files import atomic
from scratch_llm.gpt2_files import GPT2, find_gpt2, gpt2_name
from scratch_llm.runs import (
    closing_line,
    find_model,
    hardware,
    marked_samples,
    save_metrics,
)
from scratch_llm.style import COLOURS
from scratch_llm.text import text_pieces, until
from torch import Tensor, nn

IGNORE = -100                  # a target with this id is not graded
Batch = tuple[Tensor, Tensor]  # inputs and targets, (B, T) each


def sum_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Total surprise, the sum of -ln p(target); IGNORE adds nothing.

    logits (B, T, V), targets (B, T) -> scalar. Source: Shannon 1948, 6.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(),
                           ignore_index=IGNORE, reduction="sum")


def count_targets(batches: Iterable[Batch]) -> int:
    """How many targets of these batches are graded."""
    return sum(int((targets != IGNORE).sum()) for _, targets in batches)


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean surprise per graded target in nats, with a gradient."""
    return sum_nll(model(inputs), targets) / count_targets([(inputs, targets)])


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
    device, total = next(model.parameters()).device, 0.0
    if not (n_targets := count_targets(batches)):
        raise ValueError("nothing to evaluate: no target is graded")
    with eval_mode(model):
        for inputs, targets in batches:
            with autocast(device, precision):
                logits = model(inputs.to(device))
            total += sum_nll(logits, targets.to(device)).item()
    return total / n_targets


def own_tokenizer(texts: Iterable[str], vocab_size: int
                  ) -> tiktoken.Encoding:
    """Our BPE trained on texts, saved, and run by tiktoken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.tiktoken")
        train_bpe(texts, vocab_size).save(path)
        return load_encoding(path)


def story_rows(texts: Iterable[str], tokenizer: Tokenizer) -> list[list[int]]:
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


def story_batches(world: Any, tokenizer: Tokenizer, batch_size: int,
                  seed: int, pool: int = 2048) -> Iterator[Batch]:
    """Endless batches of stories (from world.corpus), none told twice."""
    generator = torch.Generator().manual_seed(seed)
    for k in itertools.count(1):
        stories = world.corpus(pool, "train", seed=10_000 * seed + k)
        rows = story_rows([s.text for s in stories], tokenizer)
        for i in range(0, pool, 12 * batch_size):
            part = rows[i:i + 12 * batch_size]
            yield from bucket_batches(part, batch_size, generator)


def lr_at(step: int, steps: int, peak_lr: float, warmup: int) -> float:
    """The rate at a step (from 0): a straight rise, then half a cosine.

    Source: Loshchilov and Hutter 2017, eq. 5, without restarts.
    """
    if step < warmup:
        return peak_lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak_lr * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass
class Schedule:
    """How many steps, and the learning rate at each."""

    steps: int
    peak_lr: float
    warmup: int

    def __call__(self, step: int) -> float:
        return lr_at(step, self.steps, self.peak_lr, self.warmup)


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


def accumulate_gradients(model: nn.Module, batches: list[Batch],
                         precision: str = "fp32") -> tuple[float, int]:
    """Add to .grad what one large batch would add; loss and targets.

    The loss is the mean over all graded targets, in nats.
    """
    device = next(model.parameters()).device
    loss, n_targets = 0.0, count_targets(batches)
    for inputs, targets in batches:
        with autocast(device, precision):
            logits = model(inputs.to(device))
        part = sum_nll(logits, targets.to(device)) / n_targets
        part.backward()
        loss += part.item()
    return loss, n_targets


def train(model: nn.Module, optimizer: torch.optim.Optimizer,
          batches: Iterator[Batch], schedule: Schedule, accumulate: int = 1,
          clip: float = 1.0, precision: str = "fp32", start: int = 0,
          backward: Callable = accumulate_gradients) -> Iterator[dict]:
    """Train; yield a record per step: step, train (the loss), lr, ...

    grad_norm: before clipping; FloatingPointError if it is not finite.
    """
    step = start
    while step < schedule.steps:
        model.train()
        lr = schedule(step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        loss, n_targets = backward(
            model, list(itertools.islice(batches, accumulate)), precision)
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), clip))
        if not math.isfinite(loss + norm):
            raise FloatingPointError(f"step {step}: loss {loss}, norm {norm}")
        optimizer.step()
        step += 1
        yield {"step": step, "train": loss, "lr": lr, "grad_norm": norm,
               "n_targets": n_targets}


def sinusoids(T: int, C: int) -> Tensor:
    """Waves of many lengths, (T, C). Source: Vaswani et al. 2017, 3.5."""
    waves = T ** (-torch.arange(0, C, 2) / C)              # radians/token
    angles = torch.arange(T)[:, None] * waves              # (T, C / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :C]


@torch.no_grad()
def init_copying(model: GPTModel, std: float = 0.1) -> GPTModel:
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
    tokenizer: Tokenizer
    batches: Iterator[Batch]    # endless
    validation: list[Batch]
    floor: float | None = None  # nats per token, where it is known
    parse: Callable[[str], Any] | None = None
    rivals: dict[str, float] | None = None  # bits per byte of xz and gzip
    epoch: int | None = None    # batches in one pass over a text

    @property
    def prefix(self) -> str:
        """What stands before each text: stories begin with a space."""
        return " " if self.parse else ""


def train_task(model: nn.Module, task: Task, schedule: Schedule,
               every: int = 200, weight_decay: float = 0.1,
               **how: Any) -> Iterator[dict]:
    """Train on a task; evaluate every so many steps and at the end.

    how: accumulate, clip, precision. Adds to the records of train: tokens
    and seconds so far, validation (None between evaluations).
    """
    optimizer = make_optimizer(model, weight_decay)
    tokens, began = 0, time.perf_counter()
    for r in train(model, optimizer, task.batches, schedule, **how):
        tokens, loss = tokens + r["n_targets"], None
        if r["step"] % every == 0 or r["step"] == schedule.steps:
            loss = evaluate(model, task.validation,
                            how.get("precision", "fp32"))
        yield r | {"tokens": tokens, "validation": loss,
                   "seconds": time.perf_counter() - began}


def sample_texts(model: nn.Module, tokenizer: Tokenizer, n: int, seed: int = 0,
                 prompt: str = "", **how: Any) -> list[str]:
    """n texts, from the empty start or from a prompt, with its first space.

    how: temperature, top_k, top_p.
    """
    eot, device = tokenizer.eot_token, next(model.parameters()).device
    start = [eot, *tokenizer.encode_ordinary(prompt)]
    how = {"temperature": 1.0, "max_new_tokens": 256 - len(start),
           "stop_id": eot} | how
    generator = torch.Generator(device).manual_seed(seed)
    ids = generate(model, torch.tensor([start] * n, device=device),
                   generator=generator, **how)[:, 1:].tolist()
    return [tokenizer.decode(row[:(row + [eot]).index(eot)]).lstrip(" ")
            for row in ids]


def judge_texts(texts: list[str], parse: Callable) -> tuple[float, Counter]:
    """The share of valid texts, and why the others are not valid."""
    verdicts = [parse(text) for text in texts]
    reasons = Counter(v.reason for v in verdicts if not v.ok)
    return 1 - reasons.total() / len(texts), reasons


def pick_tokenizer(name: str, texts: Iterable[str], vocab_size: int
                   ) -> tiktoken.Encoding:
    """`own`: trained on these texts; `gpt2`: OpenAI's; or a saved file."""
    if name.endswith(".tiktoken"):
        return load_encoding(name)
    return (gpt2_encoding() if name == "gpt2"
            else own_tokenizer(texts, vocab_size))


def story_task(world: Any, tokenizer: str = "own", vocab_size: int = 2048,
               batch_size: int = 8, context_length: int = 256,
               seed: int = 123, held_out: int = 500) -> Task:
    """The story world as a task, with its exact floor and its judge."""
    texts = [s.text for s in world.corpus(4000, "train", seed=10_000 * seed)]
    encoding = pick_tokenizer(tokenizer, texts, vocab_size)
    stories = world.corpus(held_out, "validation")
    rows = story_rows([s.text for s in stories], encoding)
    longest = max(map(len, rows + story_rows(texts, encoding)))
    if longest > context_length:
        raise ValueError(f"a story of {longest} tokens does not fit into a "
                         f"context of {context_length}: give a larger one")
    validation = bucket_batches(rows, 32)
    return Task("storyteller", encoding,
                story_batches(world, encoding, batch_size, seed), validation,
                sum(s.nll for s in stories) / count_targets(validation),
                world.parse)


def hold_out(text: str, most: int = 200_000) -> tuple[str, str]:
    """A text in two: to train on, and its last tenth, which is held out."""
    cut = len(text) - min(len(text) // 10, most)
    return text[:cut], text[cut:]


def window_batches(ids: list[int], context_length: int, batch_size: int,
                   seed: int) -> Iterator[Batch]:
    """Endless batches (B, T) of windows, which each epoch cuts elsewhere.

    The last batch of an epoch may be smaller.
    """
    T = context_length
    for epoch in itertools.count():
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        shift = torch.randint(min(T, len(ids) - T), (), generator=generator)
        windows = GPTDataset(ids[shift:], T, T)
        order = torch.randperm(len(windows), generator=generator)
        for chosen in order.split(batch_size):
            inputs, targets = zip(*(windows[i] for i in chosen.tolist()),
                                  strict=True)
            yield torch.stack(inputs), torch.stack(targets)


def overlapping_batches(ids: list[int], context_length: int,
                        batch_size: int = 16) -> list[Batch]:
    """Windows half a context apart, to measure with: each target once.

    All but those of the first window are graded with half a context or more
    before them.
    """
    T, step = context_length, context_length // 2
    rows = [ids[i:i + T + 1]
            for i in range(0, max(1, len(ids) - 1 - T + step), step)]
    batches = [pad_batch(rows[i:i + batch_size])
               for i in range(0, len(rows), batch_size)]
    for i, (_, targets) in enumerate(batches):
        seen = targets[1 if i == 0 else 0:, :T - step]
        seen.fill_(IGNORE)
    return batches


def text_task(text: str, name: str = "text", tokenizer: str = "own",
              vocab_size: int = 2048, batch_size: int = 8,
              context_length: int = 256, seed: int = 123) -> Task:
    """Any text: windows of it, and what two compressors make of the rest.

    ValueError if one of the two parts is shorter than the context.
    """
    T, parts = context_length, hold_out(text)
    encoding = pick_tokenizer(tokenizer, parts[:1], vocab_size)
    ids, rest = ([encoding.eot_token, *encoding.encode_ordinary(part)]
                 for part in parts)
    if min(len(ids), len(rest)) <= T + 1:
        raise ValueError(f"the text is shorter than the context: {len(ids)} "
                         f"tokens to train on and {len(rest)} held out, but "
                         f"both need {T + 2}; give a longer text or a "
                         "smaller --context-length")
    return Task(name, encoding,
                window_batches(ids, T, batch_size, seed),
                overlapping_batches(rest, T),
                rivals=compressed_bits_per_byte(*map(str.encode, parts)),
                epoch=math.ceil(len(ids) / T / batch_size))


def new_model(vocab_size: int, layers: int = 2, heads: int = 4,
              width: int = 256, context_length: int = 256,
              dropout: float = 0.0, init: str = "copying", seed: int = 123
              ) -> GPTModel:
    """A fresh model of this shape; init: copying (section 5.7) or gpt2."""
    torch.manual_seed(seed)
    model = GPTModel({
        "vocab_size": vocab_size, "emb_dim": width, "n_layers": layers,
        "context_length": context_length, "n_heads": heads,
        "drop_rate": dropout, "qkv_bias": False, "tie_weights": True})
    return init_copying(model) if init == "copying" else model


def bits_per_byte(loss: float, task: Task) -> float:
    """A loss in nats per token as bits per byte of the validation text."""
    tokenizer = task.tokenizer
    sizes = [len(tokenizer.decode_single_token_bytes(i))
             for i in range(tokenizer.eot_token)] + [0]    # <|endoftext|>
    table = torch.tensor(sizes)
    n_bytes = sum(int(table[t[t != IGNORE]].sum())
                  for _, t in task.validation)
    return loss * count_targets(task.validation) / math.log(2) / n_bytes


def diversity(texts: list[str]) -> float:
    """Different sequences of three words, as a share of all of them."""
    seen = Counter()
    for words in map(str.split, texts):
        seen.update(zip(words, words[1:], words[2:], strict=False))
    return len(seen) / max(1, seen.total())


def flops_per_token(cfg: dict, length: int) -> float:
    """Operations of a training step. Source: Kaplan et al. 2020, 2.1."""
    C, L = cfg["emb_dim"], cfg["n_layers"]
    weights = 12 * L * C**2 + cfg["vocab_size"] * C
    return 6 * (weights + L * length * C)


def matmul_speed(device: torch.device, dtype: torch.dtype,
                 size: int = 512) -> float:
    """The best rate of a square matrix product here, in FLOP/s."""
    a = torch.randn(size, size, device=device).to(dtype)
    times = timeit.repeat(lambda: (a @ a)[0, 0].item(),  # waits for the device
                          number=1, repeat=9)
    return 2 * size**3 / min(times)


def pick_precision(device: torch.device, wanted: str = "auto") -> str:
    """fp32 or bf16; auto takes bf16 where its products are much faster."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bf16" if native else "fp32"
    if device.type == "mps":
        return "fp32"
    fp32, bf16 = (matmul_speed(device, dtype)
                  for dtype in (torch.float32, torch.bfloat16))
    return "bf16" if bf16 > 1.3 * fp32 else "fp32"


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


@torch.no_grad()
def calibrate(model: nn.Module, batches: list[Batch],
              temperatures: list[float]) -> dict[float, float]:
    """Make the best of these temperatures the new 1; the losses (nats).

    The last normalisation is divided by it. Source: Guo et al. 2017, 4.2.
    """
    device, losses = next(model.eval().parameters()).device, Counter()
    for inputs, targets in batches:
        logits = model(inputs.to(device))                     # (B, T, V)
        for t in temperatures:
            losses[t] += sum_nll(logits / t, targets.to(device)).item()
    model.scale_logits(1 / min(losses, key=losses.get))
    n_targets = count_targets(batches)
    return {t: total / n_targets for t, total in losses.items()}


def run_metrics(model: nn.Module, task: Task, history: list[dict],
                precision: str, seed: int) -> dict:
    """What a run has reached, ready for metrics.json.

    Losses in nats per token, speeds in tokens/s and GFLOP/s; floor and
    ratio are None for a text whose floor nobody knows.
    """
    device = next(model.parameters()).device
    last = history[-1] if history else {"tokens": 0, "seconds": 0.0}
    known = [h["validation"] for h in history if h["validation"]]
    speed = last["tokens"] / max(last["seconds"], 1e-9)
    length = sum(t.shape[1] for _, t in task.validation)
    length /= len(task.validation)
    work = speed * flops_per_token(model.cfg, length) / 1e9
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    peak = matmul_speed(device, dtype or torch.float32) / 1e9
    return {"val_loss": known[-1] if known else None, "floor": task.floor,
            "tokens_seen": last["tokens"], "tokens_per_second": speed,
            "seconds": last["seconds"], "steps": len(history),
            "parameters": count_parameters(model), "config": model.cfg,
            "seed": seed, "precision": precision, "device": str(device),
            "threads": torch.get_num_threads(), "gflops": work,
            "peak_gflops": peak, "utilisation": work / peak,
            "hardware": hardware(device), "torch": torch.__version__}


def judge_run(folder: Path, model: nn.Module, task: Task, metrics: dict,
              n: int) -> None:
    """Final loss in fp32, n samples in samples.txt, their validity.

    Stories are calibrated on new ones first, which counts as training time.
    """
    n = n if task.parse else min(n, 10)
    say(f"trained; now writing {n} samples ...")
    if task.floor is not None:
        began, fresh = time.perf_counter(), []
        while sum(len(inputs) for inputs, _ in fresh) < 600:
            fresh.append(next(task.batches))
        losses = calibrate(model, fresh,
                           [0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08])
        metrics["calibrated_by"] = min(losses, key=losses.get)
        metrics["seconds"] += time.perf_counter() - began
        save_model(folder / "model.safetensors", model, task.prefix)
    metrics["val_loss"] = evaluate(model, task.validation)
    room = model.cfg["context_length"] - 1         # <|endoftext|> comes first
    texts = sample_texts(model, task.tokenizer, n, metrics["seed"],
                         max_new_tokens=room)
    (folder / "samples.txt").write_text(
        marked_samples(texts, task.parse), "utf-8", newline="\n")
    if task.parse is not None:
        valid, reasons = judge_texts(texts, task.parse)
        metrics |= {"valid_stories": valid,
                    "broken": dict(reasons.most_common())}


def record_run(folder: Path, task: Task, metrics: dict,
               history: list[dict]) -> None:
    """metrics.json and loss.png of a run, as far as it has come."""
    loss, floor = metrics["val_loss"], task.floor
    metrics |= {"ratio": loss / floor if floor and loss else None,
                "bits_per_byte": bits_per_byte(loss, task) if loss else None}
    metrics |= {f"{name}_bits_per_byte": bits
                for name, bits in (task.rivals or {}).items()}
    save_metrics(folder, metrics, history)
    if history:
        with plt.style.context("scratch_llm.scratch"):
            figure = plot_losses(history, floor).figure
        with atomic(folder / "loss.png") as temporary:
            figure.savefig(temporary, format="png")
        plt.close(figure)


def finish_run(folder: Path, model: nn.Module, task: Task,
               history: list[dict], precision: str, options: dict,
               stopped: str = "") -> int:
    """Save all of a run, judge it unless it was stopped; the exit code.

    model.safetensors is there already if a step was evaluated. 0, or 130
    after Ctrl-C, or 1 if training broke down.
    """
    path = folder / "model.safetensors"
    metrics = run_metrics(model, task, history, precision, options["seed"])
    metrics |= {"interrupted": bool(stopped), "stopped": stopped,
                "valid_stories": None, "options": options}
    seen = {h["validation"]: h["step"] for h in history if h["validation"]}
    best = min(seen, default=None)
    if not path.exists() or task.floor is not None and (
            stopped in ("", "interrupted")):
        save_model(path, model, task.prefix)
    elif best is not None:
        metrics |= {"best_step": seen[best], "val_loss": best,
                    "last_val_loss": metrics["val_loss"]}
        safetensors.torch.load_model(model, path)
    record_run(folder, task, metrics, history)
    if not stopped:
        try:
            judge_run(folder, model, task, metrics, options["samples"])
        except KeyboardInterrupt:
            metrics |= {"interrupted": True, "stopped": "interrupted"}
        record_run(folder, task, metrics, history)
    say(closing_line(folder, metrics))
    return {"": 0, "interrupted": 130}.get(metrics["stopped"], 1)


def save_model(path: str | Path, model: nn.Module, prefix: str = "") -> None:
    """Weights in one file, with config and prefix in its header.

    prefix: what stood before each text in training. A tied matrix is stored
    once; the file is written whole or not at all.
    """
    about = {"architecture": type(model).__name__, "prefix": prefix,
             "config": json.dumps(model.cfg)}
    with atomic(path) as temporary:
        safetensors.torch.save_model(model, str(temporary), about)


def read_header(path: str | Path) -> dict[str, str]:
    """What save_model wrote about a model; ValueError says what is wrong."""
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: train first")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a whole checkpoint of this course "
                         f"({error})") from None
    if "config" not in about:
        raise ValueError(f"{path} lacks 'config' in its header: it was not "
                         "written by save_model")
    return {"architecture": "GPTModel", "prefix": "", **about}


def load_model(path: str | Path, device: str | torch.device = "cpu",
               architecture: type = GPTModel) -> nn.Module:
    """A saved model, in eval mode; ValueError if it is not one of these."""
    about = read_header(path)
    if about["architecture"] != architecture.__name__:
        raise ValueError(f"{path} holds a {about['architecture']}, not a "
                         f"{architecture.__name__}: pass its class")
    try:
        model = architecture(json.loads(about["config"]))
        safetensors.torch.load_model(model, path)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a whole checkpoint of this course "
                         f"({reason})") from None
    return model.to(device).eval()


def save_tokenizer(path: str | Path, tokenizer: tiktoken.Encoding) -> None:
    """The ranks of a tokenizer in tiktoken's own file format."""
    ranks = {tokenizer.decode_single_token_bytes(rank): rank
             for rank in range(tokenizer.eot_token)}
    with atomic(path) as temporary:
        write_ranks(ranks, temporary)


def load_tokenizer(path: str | Path, vocab_size: int, prefix: str = ""
                   ) -> tiktoken.Encoding:
    """A saved tokenizer; ValueError if it does not fit the model.

    prefix: if it is a space, prompts get one too (see encode_prompt).
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} does not exist: a run folder holds "
                         "model.safetensors and tokenizer.tiktoken")
    try:
        tokenizer = load_encoding(path)
        size = tokenizer.n_vocab
    except Exception as error:
        raise ValueError(f"{path} is not a tokenizer file "
                         f"({type(error).__name__})") from None
    if size != vocab_size:
        raise ValueError(f"{path} has {size} tokens, the model "
                         f"{vocab_size}: they are not of one run")
    tokenizer.add_prefix_space = prefix == " "
    return tokenizer


def save_pretrained(folder: str | Path, model: nn.Module,
                    tokenizer: tiktoken.Encoding, prefix: str = "") -> None:
    """All that from_pretrained needs, into a folder."""
    save_model(Path(folder, "model.safetensors"), model, prefix)
    save_tokenizer(Path(folder, "tokenizer.tiktoken"), tokenizer)


def open_gpt2(short: str, weights: str | Path = "gpt2",
              download: bool = False) -> tuple[nn.Module, tiktoken.Encoding]:
    """A GPT-2, by its short name, and its tokenizer."""
    path = find_gpt2(short, weights)
    if path is None and download:
        from scratch_llm.download import fetch_gpt2
        path = fetch_gpt2(short, weights)
    if path is None:
        raise ValueError(f"{short} is not in {weights}: fetch it with python "
                         f"gpt_download.py {short}, or by download=True")
    return gpt2_model(GPT2[short][0], path), gpt2_encoding()


def from_pretrained(name: str | Path, device: str | None = None,
                    weights: str | Path = "gpt2", download: bool = False,
                    architecture: type = GPTModel
                    ) -> tuple[nn.Module, tiktoken.Encoding]:
    """A model and its tokenizer, by name, ready to write.

    name: "storyteller", "gpt2-small (124M)" and its sisters, or the folder
    of a run. weights: where GPT-2's files lie; download: fetch what is not
    there. ValueError says what is missing, OSError why it cannot be had.
    """
    place, short = pick_device(device), gpt2_name(str(name))
    if short in GPT2:
        model, tokenizer = open_gpt2(short, weights, download)
        return model.to(place), tokenizer
    path, vocabulary = find_model(name)
    model = load_model(path, place, architecture)
    return model, load_tokenizer(vocabulary, model.cfg["vocab_size"],
                                 read_header(path)["prefix"])


def encode_prompt(tokenizer: tiktoken.Encoding, prompt: str) -> list[int]:
    """The ids of a prompt as in training, <|endoftext|> first.

    Where texts began with a space, a space at the end is left out: it
    belongs to the word that comes next.
    """
    if getattr(tokenizer, "add_prefix_space", False):
        prompt = f" {prompt}".rstrip(" ")
    return [tokenizer.eot_token, *tokenizer.encode_ordinary(prompt)]


def stream_text(model: nn.Module, tokenizer: tiktoken.Encoding, prompt: str,
                max_new_tokens: int = 256, stop: str | None = None,
                **how: Any) -> Iterator[str]:
    """What a model adds to a prompt, piece by piece, as it comes.

    Ends at <|endoftext|>, or before the text `stop`. how: temperature (1 if
    not given), top_k, top_p, generator, use_cache.
    """
    eot, device = tokenizer.eot_token, next(model.parameters()).device
    ids = torch.tensor([encode_prompt(tokenizer, prompt)], device=device)
    new = generate_tokens(model, ids, max_new_tokens, stop_id=eot,
                          **{"temperature": 1.0} | how)
    written = itertools.takewhile(lambda i: i != eot,
                                  (step.item() for step in new))
    pieces = until(text_pieces(written, tokenizer.decode_single_token_bytes),
                   stop)
    if not prompt and getattr(tokenizer, "add_prefix_space", False):
        yield next(pieces, "").removeprefix(" ")
    yield from pieces


def generate_text(model: nn.Module, tokenizer: tiktoken.Encoding,
                  prompt: str = "", max_new_tokens: int = 256,
                  seed: int | None = None, **how: Any) -> str:
    """The prompt and what a model adds to it; a seed repeats it."""
    generator = torch.Generator(next(model.parameters()).device)
    generator.seed() if seed is None else generator.manual_seed(seed)
    return prompt + "".join(stream_text(model, tokenizer, prompt,
                                        max_new_tokens, generator=generator,
                                        **how))
