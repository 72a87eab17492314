# GENERATED from ch05/01_main-chapter-code/ch05.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import argparse
import codecs
import contextlib
import itertools
import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from previous_chapters import (
    COLOURS,
    GPTModel,
    count_parameters,
    create_dataloader,
    generate,
    generate_tokens,
    gpt2_encoding,
    load_encoding,
    train_bpe,
    write_ranks,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def perplexity(loss: float) -> float:
    """Effective branching factor: equally likely choices per token."""
    return math.exp(loss)


IGNORE = -100                  # a target with this id is not graded
Batch = tuple[Tensor, Tensor]  # inputs and targets, (B, T) each


def nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Total surprise of a batch: the sum of -ln p(target), in nats.

    logits (B, T, V), targets (B, T) -> scalar. Targets equal to IGNORE
    add nothing. Source: Shannon 1948, section 6.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(),
                           ignore_index=IGNORE, reduction="sum")


def count_graded(batches: Iterable[Batch]) -> int:
    """How many targets of these batches are graded."""
    return sum(int((targets != IGNORE).sum()) for _, targets in batches)


def batch_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean surprise per graded target, in nats.

    inputs, targets (B, T) -> scalar with a gradient.
    """
    return nats(model(inputs), targets) / (targets != IGNORE).sum()


def autocast(device: torch.device, precision: str):
    """A context in which matrix products run in the given precision."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision is fp32 or bf16, got {precision!r}")
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch],
             precision: str = "fp32") -> float:
    """Nats per graded target over all batches: total by total.

    Dropout is off meanwhile; the model's mode is restored afterwards.
    Raises ValueError if no target is graded.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    total, graded = 0.0, 0
    for inputs, targets in batches:
        inputs, targets = inputs.to(device), targets.to(device)
        with autocast(device, precision):
            total += nats(model(inputs), targets).item()
        graded += count_graded([(inputs, targets)])
    model.train(was_training)
    if graded == 0:
        raise ValueError("nothing to evaluate: no target is graded")
    return total / graded


def own_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Our BPE trained on texts, saved, and run by tiktoken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.tiktoken")
        train_bpe(texts, vocab_size).save(path)
        return load_encoding(path)


def pick_tokenizer(name: str, texts: Iterable[str], vocab_size: int) -> Any:
    """`own`: trained on these texts; `gpt2`: OpenAI's 50,257 tokens."""
    return (gpt2_encoding() if name == "gpt2"
            else own_tokenizer(texts, vocab_size))


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

    def __post_init__(self):
        self.wanted = self.steps

    def __call__(self, step: int) -> float:
        return learning_rate(step, self.steps, self.peak, self.warmup)

    def refit(self, step: int, step_seconds: float, left: float) -> bool:
        """Plan as many steps as fit into the seconds left; True if changed.

        Never more than at first; changes below 4 % are left alone."""
        fits = step + max(1, left / step_seconds)
        steps = int(min(self.wanted, fits))
        if abs(steps - self.steps) <= 0.04 * self.steps:
            return False
        self.steps = steps
        return True


def accumulate_gradients(model: nn.Module, batches: list[Batch],
                         precision: str = "fp32") -> tuple[float, int]:
    """Gradients of the mean over all graded targets of several batches.

    Adds to .grad exactly what one large batch would add, however unequal
    the padding. Returns the loss in nats per target and the targets.
    """
    device = next(model.parameters()).device
    graded = count_graded(batches)
    if graded == 0:
        raise ValueError("no target of these batches is graded")
    loss = 0.0
    for inputs, targets in batches:
        with autocast(device, precision):
            logits = model(inputs.to(device))
        part = nats(logits, targets.to(device)) / graded
        part.backward()
        loss += part.item()
    return loss, graded


def matmul_speed(device: torch.device, dtype: torch.dtype = torch.float32,
                 size: int = 1024, repeats: int = 8) -> float:
    """The best rate of a square matrix product here, in FLOP/s."""
    a = torch.randn(size, size, device=device).to(dtype)
    best = math.inf
    for _ in range(repeats + 1):          # the first one only warms up
        start = time.perf_counter()
        (a @ a)[0, 0].item()              # .item() waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def pick_precision(device: torch.device, wanted: str = "auto") -> str:
    """fp32 or bf16; auto takes bf16 where its products are much faster."""
    if wanted != "auto":
        return wanted
    if device.type == "mps":
        return "fp32"
    fp32 = matmul_speed(device, torch.float32, 512)
    bf16 = matmul_speed(device, torch.bfloat16, 512)
    return "bf16" if bf16 > 1.3 * fp32 else "fp32"


def check_finite(step: int, loss: float, norm: float) -> None:
    """FloatingPointError, before the weights are touched, if NaN or inf."""
    if not math.isfinite(loss + norm):
        raise FloatingPointError(f"step {step}: loss {loss}, length of the "
                                 f"gradient {norm}; nothing was changed")


def train(model: nn.Module, optimizer: torch.optim.Optimizer,
          batches: Iterator[Batch], schedule: Schedule, start: int = 0,
          accumulate: int = 1, clip: float = 1.0, precision: str = "fp32"
          ) -> Iterator[dict]:
    """Train, and yield one record per step; the caller watches and stops.

    Record: step (done so far), loss (nats per target), rate, norm (of the
    gradient before clipping), graded (targets in this step).
    """
    step = start
    while step < schedule.steps:
        model.train()
        rate = schedule(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        part = list(itertools.islice(batches, accumulate))
        loss, graded = accumulate_gradients(model, part, precision)
        norm = nn.utils.clip_grad_norm_(model.parameters(), clip).item()
        check_finite(step, loss, norm)
        optimizer.step()
        step += 1
        yield dict(step=step, loss=loss, rate=rate, norm=norm, graded=graded)


def sinusoids(T: int, C: int) -> Tensor:
    """Waves of many lengths, one pair of channels each: (T, C).

    Neighbouring positions are alike. Source: Vaswani et al. 2017, 3.5.
    """
    waves = T ** (-torch.arange(0, C, 2) / C)              # radians/token
    angles = torch.arange(T)[:, None] * waves              # (T, C / 2)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :C]


@torch.no_grad()
def start_copying(model: GPTModel, std: float = 0.1) -> None:
    """Start from a model whose attention passes on what it reads.

    Value and output matrices become the identity and half of it, the other
    linear layers keep lengths (std 1 / sqrt(inputs)), words start further
    apart, and positions as waves. Draws from torch's default generator.
    Related: Trockman and Kolter 2023, section 4.
    """
    C, additions = model.cfg["emb_dim"], 2 * model.cfg["n_layers"]
    nn.init.normal_(model.tok_emb.weight, std=std)
    model.pos_emb.weight.copy_(std * sinusoids(*model.pos_emb.weight.shape))
    for block in model.trf_blocks:
        up, down = block.ff.layers[0].weight, block.ff.layers[2].weight
        nn.init.normal_(up, std=C**-0.5)
        nn.init.normal_(down, std=(4 * C * additions)**-0.5)
        qkv, out = block.att.qkv.weight, block.att.out_proj.weight
        nn.init.normal_(qkv, std=C**-0.5)
        for part, size in ((qkv[2 * C:], 1.0), (out, 0.5)):
            nn.init.normal_(part, std=0.02)
            part.diagonal().add_(size)


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
    """Endless batches of whole stories, none of them twice.

    world: the module storyworld. Only a few batches' worth of stories are
    sorted by length together, or a batch would hold a single plot.
    """
    generator = torch.Generator().manual_seed(seed)
    for k in itertools.count(1):
        stories = world.corpus(pool, "train", seed=10_000 * seed + k)
        rows = story_rows([s.text for s in stories], tokenizer)
        for i in range(0, pool, 12 * batch_size):
            yield from bucket_batches(rows[i:i + 12 * batch_size],
                                      batch_size, generator)


def sample_texts(model: GPTModel, tokenizer: Any, n: int, seed: int = 0,
                 max_new_tokens: int | None = None, **how: Any) -> list[str]:
    """n texts from the empty prompt, each up to its <|endoftext|>.

    how: temperature (default 1), top_k, top_p. Same seed, same texts on
    the same machine.
    """
    eot, device = tokenizer.eot_token, next(model.parameters()).device
    room = model.cfg["context_length"] - 1
    start = torch.full((n, 1), eot, device=device)
    generator = torch.Generator(device).manual_seed(seed)
    ids = generate(model, start, min(max_new_tokens or room, room),
                   stop_id=eot, generator=generator,
                   **{"temperature": 1.0, **how})
    texts = []
    for row in ids[:, 1:].tolist():
        end = row.index(eot) if eot in row else len(row)
        texts.append(tokenizer.decode(row[:end]).removeprefix(" "))
    return texts


def judge_texts(texts: list[str], parse: Callable[[str], Any]
                ) -> tuple[float, Counter]:
    """The fraction of texts that are valid, and why the others are not.

    parse: storyworld.parse, or anything whose answer has ok and reason.
    """
    verdicts = [parse(text) for text in texts]
    reasons = Counter(v.reason for v in verdicts if not v.ok)
    return sum(v.ok for v in verdicts) / len(texts), reasons


def status_line(record: dict, steps: int, floor: float | None) -> str:
    """One line for people about an evaluated step."""
    ratio = f", {record['validation'] / floor:.3f} x floor" if floor else ""
    return (f"step {record['step']:,}/{steps:,}, "
            f"{record['tokens'] / 1e6:.2f}M tokens: training "
            f"{record['train']:.3f}, validation {record['validation']:.3f}"
            f"{ratio}, rate {record['rate']:.1e}")


def sample_line(model: GPTModel, task: Task, seed: int) -> str:
    """One sample on one line, as it is shown while training."""
    text = sample_texts(model, task.tokenizer, 1, seed)[0]
    mark = ""
    if task.parse is not None:
        verdict = task.parse(text)
        mark = "valid: " if verdict.ok else f"broken ({verdict.reason}): "
    return f"  {mark}{' '.join(text.split())[:160]}"


def keep_time(schedule: Schedule, step: int, seconds: float,
              minutes: float) -> bool:
    """Every 40 steps, refit the plan to the minutes; True if changed."""
    if step % 40:
        return False
    return schedule.refit(step, seconds / step, 60 * minutes - seconds)


def train_task(model: nn.Module, task: Task, schedule: Schedule, *,
               every: int = 200, minutes: float = math.inf,
               weight_decay: float = 0.1, say: Callable[[str], Any] = print,
               **how: Any) -> Iterator[dict]:
    """Train on a task, evaluate every so many steps, keep to the minutes.

    how: accumulate, clip, precision, as for train. Yields its records with
    train, tokens, seconds so far and, where evaluated, validation.
    """
    optimizer = make_optimizer(model, weight_decay)
    began, tokens = time.perf_counter(), 0
    for r in train(model, optimizer, task.batches, schedule, **how):
        tokens, step = tokens + r["graded"], r["step"]
        r |= {"train": r.pop("loss"), "tokens": tokens, "validation": None}
        seconds = time.perf_counter() - began
        if keep_time(schedule, step, seconds, minutes):
            say(f"{schedule.steps:,} steps fit into {minutes:g} minutes")
        if step % every == 0 or step == schedule.steps:
            r["validation"] = evaluate(model, task.validation,
                                       how.get("precision", "fp32"))
            say(status_line(r, schedule.steps, task.floor))
        yield r | {"seconds": time.perf_counter() - began}


def plot_losses(history: list[dict], floor: float | None = None,
                ax: Any = None) -> Any:
    """Loss against tokens seen, and the floor if there is one.

    history: records with tokens and train, some also with validation.
    """
    ax = ax or plt.subplots()[1]
    seen = [h for h in history if h.get("validation") is not None]
    ax.plot([h["tokens"] / 1e6 for h in history],
            [h["train"] for h in history], lw=0.7, alpha=0.5,
            color=COLOURS["train"], label="training, each step")
    ax.plot([h["tokens"] / 1e6 for h in seen],
            [h["validation"] for h in seen], "o-",
            color=COLOURS["validation"], label="validation")
    if floor is not None:
        ax.axhline(floor, ls="--", color=COLOURS["ink"],
                   label=f"entropy floor {floor:.3f}")
    ax.set(xlabel="tokens seen (millions)", ylabel="loss (nats per token)",
           yscale="log")
    ax.legend()
    return ax


@torch.no_grad()
def token_losses(model: GPTModel, tokenizer: Any, text: str
                 ) -> list[tuple[str, float]]:
    """Each token of a text and its surprise in nats, from the first on."""
    inputs, targets = pad_batch(story_rows([text], tokenizer))
    device = next(model.parameters()).device
    logits = model.eval()(inputs.to(device))
    costs = F.cross_entropy(logits[0].float(), targets[0].to(device),
                            reduction="none").tolist()
    return [(tokenizer.decode([t]), cost)
            for t, cost in zip(targets[0].tolist(), costs, strict=True)]


def flops_per_token(cfg: dict, length: int) -> float:
    """Arithmetic of one training step per token, in FLOP.

    length: tokens per row. Each weight of a matrix costs 2 forward and 4
    backward; causal attention adds 6 T C per layer.
    Source: Kaplan et al. 2020, section 2.1.
    """
    C, L = cfg["emb_dim"], cfg["n_layers"]
    weights = 12 * L * C**2 + cfg["vocab_size"] * C
    return 6 * weights + 6 * L * length * C


@contextlib.contextmanager
def checkpointed(model: GPTModel) -> Iterator[GPTModel]:
    """Keep only the inputs of each block; compute the inside twice.

    Same gradients, less memory, more time. Source: Chen et al. 2016,
    section 3.
    """
    def twice(forward: Callable) -> Callable:
        return lambda *x: checkpoint(forward, *x, use_reentrant=False)
    for block in model.trf_blocks:
        block.forward = twice(block.forward)
    try:
        yield model
    finally:
        for block in model.trf_blocks:
            del block.forward           # the class's own is back


def diversity(texts: list[str]) -> float:
    """Different sequences of three words, as a share of all of them."""
    seen = Counter()
    for text in texts:
        words = text.split()
        seen.update(zip(words, words[1:], words[2:], strict=False))
    return len(seen) / max(1, seen.total())


@torch.no_grad()
def first_not_finite(model: nn.Module, inputs: Tensor) -> str | None:
    """The first module, in order of work, that returns inf or NaN."""
    found = []

    def look(name: str) -> Callable:
        def hook(module, args, output):
            if not found and not output.isfinite().all():
                found.append(name)
        return hook

    hooks = [module.register_forward_hook(look(name))
             for name, module in model.named_modules() if name]
    model(inputs)
    for hook in hooks:
        hook.remove()
    return found[0] if found else None


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` only when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_model(path: Path, model: GPTModel) -> None:
    """Weights and configuration in one safetensors file, atomically.

    A tied head is the embedding, so it is stored once.
    """
    weights = {name: t.detach().cpu().contiguous()
               for name, t in model.state_dict().items()}
    if model.cfg.get("tie_weights", False):
        del weights["out_head.weight"]
    notes = {"format": "pt", "config": json.dumps(model.cfg)}
    with atomic(Path(path)) as temporary:
        save_file(weights, temporary, metadata=notes)


def load_model(path: Path, device: str | torch.device = "cpu") -> GPTModel:
    """The model that save_model wrote, ready to generate (eval mode).

    Raises ValueError if the file is missing, cut short or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            cfg = json.loads((file.metadata() or {})["config"])
            weights = {name: file.get_tensor(name) for name in file.keys()}
        model = GPTModel(cfg)
        if cfg.get("tie_weights", False):
            weights["out_head.weight"] = weights["tok_emb.weight"]
        model.load_state_dict(weights)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: train first") from None
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}: it was not written by "
                         "gpt_train.py") from None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a whole checkpoint of this course "
                         f"({reason})") from None
    return model.to(device).eval()


def text_pieces(ids: Iterable[int], tokenizer: Any) -> Iterator[str]:
    """Ids as text, piece by piece, never half a character."""
    reader = codecs.getincrementaldecoder("utf-8")("replace")
    for i in ids:
        piece = reader.decode(tokenizer.decode_single_token_bytes(i))
        if piece:
            yield piece
    if rest := reader.decode(b"", final=True):
        yield rest


def stream_text(model: GPTModel, tokenizer: Any, ids: list[int],
                max_new_tokens: int, **how: Any) -> Iterator[str]:
    """Text piece by piece, as the model writes it, without the prompt.

    how: as for generate_tokens. Ends at <|endoftext|>.
    """
    eot = tokenizer.eot_token
    start = torch.tensor([ids], device=next(model.parameters()).device)
    new = generate_tokens(model, start, max_new_tokens, stop_id=eot, **how)
    written = itertools.takewhile(lambda i: i != eot,
                                  (step.item() for step in new))
    return text_pieces(written, tokenizer)


def until(pieces: Iterable[str], stop: str | None) -> Iterator[str]:
    """Pass pieces of text on, and end before `stop` appears in them."""
    if not stop:
        yield from pieces
        return
    held = ""                          # might be the beginning of stop
    for piece in pieces:
        held += piece
        if stop in held:
            held = held[:held.index(stop)]
            break
        keep = max((n for n in range(1, len(stop))
                    if held.endswith(stop[:n])), default=0)
        if sure := held[:len(held) - keep]:
            yield sure
        held = held[len(held) - keep:]
    if held:
        yield held


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
    floor = sum(s.nll for s in stories) / count_graded(validation)
    return Task("storyteller", encoding,
                story_batches(world, encoding, batch_size, seed),
                validation, floor, world.parse)


def read_text(path: str | Path) -> str:
    """A UTF-8 text file; ValueError says what else it is."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: check the path") from None
    except (IsADirectoryError, PermissionError):
        raise ValueError(f"{path} cannot be read as a file: give a text "
                         "file, not a folder") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}): "
                         "save it as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path} is binary (it holds zero bytes): give a "
                         "text file")
    if not text.strip():
        raise ValueError(f"{path} is empty: give a file with text in it")
    return text


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """The batches of a loader, epoch after epoch."""
    while True:
        yield from loader


def text_task(path: str | Path, tokenizer: str = "own",
              vocab_size: int = 2048, batch_size: int = 8,
              context_length: int = 256, seed: int = 123) -> Task:
    """Any text: windows of it, the last tenth held out, no floor."""
    text, T = read_text(path), context_length
    encoding = pick_tokenizer(tokenizer, text, vocab_size)
    ids = [encoding.eot_token, *encoding.encode_ordinary(text)]
    if len(ids) < 2 * (T + 1):
        raise ValueError(f"{path} is shorter than the context: {len(ids)} "
                         f"tokens, but training and validation need "
                         f"{2 * (T + 1)}; give a longer text or a smaller "
                         "--context-length")
    cut = len(ids) - max(T + 1, len(ids) // 10)
    windows = dict(context_length=T, seed=seed)
    loader = create_dataloader(ids[:cut], stride=(T + 1) // 2, **windows,
                               batch_size=batch_size, drop_last=False)
    rest = create_dataloader(ids[cut:], stride=T, shuffle=False, **windows,
                             batch_size=8, drop_last=False)
    return Task(Path(path).stem, encoding, endless(loader), list(rest))


def save_tokenizer(path: Path, tokenizer: Any) -> None:
    """The ranks of a tiktoken.Encoding in tiktoken's own file format."""
    ranks = {tokenizer.decode_single_token_bytes(rank): rank
             for rank in range(tokenizer.eot_token)}
    with atomic(Path(path)) as temporary:
        write_ranks(ranks, temporary)


def load_tokenizer(folder: Path, vocab_size: int) -> Any:
    """The tokenizer of a run; ValueError if it does not fit the model."""
    path = Path(folder) / "tokenizer.tiktoken"
    if not path.is_file():
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
    return tokenizer


def new_folder(out: str | None, name: str) -> Path:
    """The folder of a run, made: never one that holds something.

    Without `out` it is runs/name-001, or the next free number.
    """
    if out is not None:
        folder = Path(out)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"--out {out} exists already: name another")
    else:
        numbers = (Path("runs", f"{name}-{n:03d}")
                   for n in itertools.count(1))
        folder = next(path for path in numbers if not path.exists())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically, the same bytes on every platform."""
    with atomic(Path(path)) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def newest_run(folder: str | Path = "runs") -> Path:
    """The run whose weights were written last; ValueError without any."""
    files = sorted(Path(folder).glob("*/model.safetensors"),
                   key=lambda path: path.stat().st_mtime)
    if not files:
        raise ValueError(f"no run in {folder}: train first with gpt_train.py,"
                         " or name a run by --checkpoint")
    return files[-1].parent


def run_metrics(model: GPTModel, task: Task, history: list[dict],
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
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    peak = matmul_speed(device, dtype) / 1e9
    return {"val_loss": known[-1] if known else None, "floor": task.floor,
            "tokens_seen": last["tokens"], "tokens_per_second": speed,
            "seconds": last["seconds"], "steps": len(history),
            "parameters": count_parameters(model), "config": model.cfg,
            "seed": seed, "precision": precision, "device": str(device),
            "threads": torch.get_num_threads(), "gflops": work,
            "peak_gflops": peak, "utilisation": work / peak,
            "torch": torch.__version__}


def columns(history: list[dict]) -> dict[str, list]:
    """Records as one list per key, rounded: small enough for a file."""
    def short(value):
        return float(f"{value:.5g}") if isinstance(value, float) else value
    keys = history[0] if history else {}
    return {key: [short(h[key]) for h in history] for key in keys}


def save_metrics(folder: Path, metrics: dict, history: list[dict]) -> None:
    """metrics.json and loss.png of a run."""
    if metrics["floor"] and metrics["val_loss"]:
        metrics["ratio"] = metrics["val_loss"] / metrics["floor"]
    else:
        metrics["ratio"] = None
    everything = metrics | {"history": columns(history)}
    write_text(folder / "metrics.json", json.dumps(everything, indent=1))
    if history:
        ax = plot_losses(history, metrics["floor"])
        with atomic(folder / "loss.png") as temporary:
            ax.figure.savefig(temporary, format="png")
        plt.close(ax.figure)


def marked_samples(texts: list[str],
                   parse: Callable[[str], Any] | None = None) -> str:
    """Numbered samples; with a judge each is valid, or breaks somewhere."""
    parts = []
    for i, text in enumerate(texts, 1):
        head = f"--- sample {i}"
        if parse is not None:
            v = parse(text)
            head += ": valid" if v.ok else (
                f": breaks at character {v.position}: {v.reason}")
        parts.append(f"{head}\n{text}\n")
    return "\n".join(parts)


def judge_run(folder: Path, model: GPTModel, task: Task, metrics: dict,
              n: int) -> None:
    """Final loss in fp32, n samples in samples.txt, their validity."""
    metrics["val_loss"] = evaluate(model, task.validation)
    n = n if task.parse else min(n, 10)
    texts = sample_texts(model, task.tokenizer, n, metrics["seed"])
    write_text(folder / "samples.txt", marked_samples(texts, task.parse))
    if task.parse is not None:
        valid, reasons = judge_texts(texts, task.parse)
        metrics |= {"valid_stories": valid,
                    "broken": dict(reasons.most_common())}


def finish(folder: Path, model: GPTModel, task: Task, history: list[dict],
           precision: str, options: dict, stopped: str = "") -> int:
    """Save all of a run, judge it unless it was stopped; the exit code.

    0, or 130 after Ctrl-C, or 1 if training broke down.
    """
    save_model(folder / "model.safetensors", model)
    metrics = run_metrics(model, task, history, precision, options["seed"])
    metrics |= {"interrupted": bool(stopped), "stopped": stopped,
                "valid_stories": None, "options": options}
    save_metrics(folder, metrics, history)
    if not stopped:
        try:
            judge_run(folder, model, task, metrics, options["samples"])
        except KeyboardInterrupt:
            metrics |= {"interrupted": True, "stopped": "interrupted"}
        save_metrics(folder, metrics, history)
    print(closing_line(folder, metrics), flush=True)
    return {"": 0, "interrupted": 130}.get(metrics["stopped"], 1)


def opening_line(model: GPTModel, task: Task, precision: str) -> str:
    """What is about to be trained, on what, in one line."""
    device = next(model.parameters()).device
    floor = f", entropy floor {task.floor:.4f}" if task.floor else ""
    return (f"{task.name}: {count_parameters(model):,} parameters on "
            f"{device} in {precision} ({torch.get_num_threads()} threads), "
            f"vocabulary {task.tokenizer.n_vocab:,}{floor}")


def closing_line(folder: Path, metrics: dict) -> str:
    """What came out, and where it lies."""
    parts = [f"{metrics['tokens_seen']:,} tokens in "
             f"{metrics['seconds']:.0f} s"]
    if metrics["val_loss"] is not None:
        parts.append(f"validation loss {metrics['val_loss']:.4f}")
    if metrics["ratio"] is not None:
        parts.append(f"{metrics['ratio']:.3f} x the floor")
    if metrics.get("valid_stories") is not None:
        parts.append(f"{metrics['valid_stories']:.0%} of the samples valid")
    start = ""
    if metrics["stopped"]:
        start = f"stopped ({metrics['stopped']}), the checkpoint can be used: "
    return f"{start}{', '.join(parts)}; all in {folder}"


class ShortParser(argparse.ArgumentParser):
    """Says what is wrong in one line and leaves with exit code 2."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message}\n")


def between(low: float, high: float = math.inf, kind: type = int
            ) -> Callable[[str], Any]:
    """An argparse type: a number of this kind from low to high."""
    name = "a whole number" if kind is int else "a number"
    upper = "" if high == math.inf else f" and <= {high:g}"

    def convert(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or math.isinf(value):
            raise argparse.ArgumentTypeError(
                f"must be {name} >= {low:g}{upper}, got {text}")
        return value
    return convert
