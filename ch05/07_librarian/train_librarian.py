"""Pretrain the librarian: a base model that has read more than stories.

python train_librarian.py                  # 47 minutes on 2 cores
python train_librarian.py --steps 200 --samples 20 --out runs/try

Writes model.safetensors (in fp16), tokenizer.tiktoken and metrics.json.
shared/publish.py makes such a run the one that ships with the course.
"""

import argparse
import copy
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path

import previous_chapters as pc
import torch
import torch.nn.functional as F
from scratch_llm import library, storyworld
from scratch_llm.cli import ShortParser, run_script
from scratch_llm.files import write_text
from scratch_llm.notes import notes
from scratch_llm.runs import new_folder
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

T = 256  # the context
PLACES = ("out", "init_from")  # of one machine
POOL = 2048  # documents that are sorted by length at a time
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("layers", int, 1, inf, 4, "blocks of the model"),
    ("steps", int, 1, inf, 6500, "optimizer steps"),
    ("easy", float, 0, 1, 0.12, "share of the steps with easy moods first"),
    ("size", int, T, inf, 4096, "tokens in a batch, with padding"),
    ("accumulate", int, 1, inf, 2, "batches per step, each of one kind"),
    ("lr", float, 1e-9, 1, 1.5e-3, "highest learning rate"),
    ("warmup", int, 0, inf, 100, "steps to reach it"),
    ("eval-every", int, 1, inf, 1000, "steps between evaluations"),
    ("samples", int, 0, 10_000, 500, "stories it tells at the end"),
    ("texts", int, 1, 10**6, 500, "stories to measure on, and half the notes"),
    ("seed", int, 0, 10**6, 123, "draws weights and documents"),
]
Window = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(
        prog="train_librarian.py", description=__doc__.split("\n")[0]
    )
    p.add_argument("--out", metavar="FOLDER", help="runs/librarian-001, ...")
    p.add_argument("--init-from", metavar="RUN", help="go on from a run")
    p.add_numbers(NUMBERS)
    return p.parse_args(argv)


def encode(document: library.Document, tokenizer) -> Iterator[tuple]:
    """The ids of a document, each with the weight of its loss.

    The weight of an answer of n tokens is shared so that each gets
    1 / sqrt(n) of it: a long answer counts for more, but not n times.
    """
    yield tokenizer.eot_token, 1.0
    for i, (text, weight) in enumerate(document):
        ids = tokenizer.encode_ordinary(text if i else f" {text}")
        share = 1.0 if weight == 1 else max(1.0, weight / len(ids) ** 0.5)
        yield from ((one, share) for one in ids)
    yield tokenizer.eot_token, 1.0


def rows_of(
    kind: str, tokenizer, seed: int, easy: bool, size: int
) -> Iterator[Window]:
    """Endless batches of one kind: inputs, targets and weights, (B, T) each.

    A row is one document from its beginning, since that is how the later
    chapters show texts to the model; rows of similar length stand together,
    and padding has the weight 0. size: tokens in a batch, about.
    """
    documents = library.documents(kind, seed, easy)
    rng = random.Random(seed)
    while True:
        pool = [
            [*encode(one, tokenizer)][: T + 1]
            for one in itertools.islice(documents, POOL)
        ]
        pool.sort(key=len)
        batches, start = [], 0
        while start < len(pool):
            end = start + 1
            while (
                end < len(pool) and (end - start + 1) * len(pool[end]) < size
            ):
                end += 1
            batches.append(pool[start:end])
            start = end
        rng.shuffle(batches)
        yield from map(collate, batches)


def collate(rows: list[list[tuple]]) -> Window:
    """Rows of (id, weight), filled up at the end, as a batch."""
    ids, weights = (
        pad_sequence(
            [torch.tensor([pair[i] for pair in row]) for row in rows],
            batch_first=True,
        )
        for i in (0, 1)
    )
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def mixed(tokenizer, size: int, seed: int, easy: bool) -> Iterator[Window]:
    """Batches of all kinds in turn, as library.SHARES says."""
    kinds, shares = [*library.SHARES], [*library.SHARES.values()]
    streams = {
        kind: rows_of(kind, tokenizer, seed, easy, size) for kind in kinds
    }
    rng = random.Random(seed)
    while True:
        (kind,) = rng.choices(kinds, shares)
        yield next(streams[kind])


def backward(
    model: torch.nn.Module, batches: list[Window], precision: str
) -> tuple[float, int]:
    """As the chapter's accumulate_gradients, with a weight per target."""
    total, n = 0.0, sum(int((w > 0).sum()) for *_, w in batches)
    device = next(model.parameters()).device
    for inputs, targets, weights in batches:
        with pc.autocast(device, precision):
            logits = model(inputs.to(device))  # (B, T, V)
        nll = F.cross_entropy(
            logits.float().flatten(0, 1),
            targets.to(device).flatten(),
            reduction="none",
        )
        loss = (nll * weights.to(device).flatten()).sum() / n
        loss.backward()
        total += loss.item()
    return total, n


@torch.no_grad()
def mark_accuracy(model, tokenizer, texts, labels) -> float:
    """How often the model marks a note as it should, without finetuning."""
    model.eval()
    sorry, glad = (
        tokenizer.encode_ordinary(f" {word}")[0] for word in library.WORDS
    )
    device, right = next(model.parameters()).device, 0
    for text, label in zip(texts, labels, strict=True):
        ids = pc.encode_prompt(tokenizer, text)
        logits = model(torch.tensor([ids], device=device))[0, -1]
        right += bool(logits[glad] > logits[sorry]) == bool(label)
    return right / len(texts)


def story_check(model, tokenizer, n: int = 500) -> dict[str, float]:
    """The loss on stories that are new to it, beside the entropy floor."""
    stories = storyworld.corpus(n, "validation", 0)
    rows = pc.story_rows([one.text for one in stories], tokenizer)
    batches = pc.bucket_batches(rows, 50)
    floor = sum(one.nll for one in stories) / pc.count_targets(batches)
    loss = pc.evaluate(model, batches)
    return {"val_loss": loss, "floor": floor, "ratio": loss / floor}


def judge(model, tokenizer, samples: int, seed: int, texts: int = 500) -> dict:
    """What the card tells: loss, stories, and moods without finetuning."""
    told = story_check(model, tokenizer, texts)
    if samples:
        new = pc.sample_texts(model, tokenizer, samples, seed, " One day,")
        told["valid_stories"], _ = pc.judge_texts(new, storyworld.parse)
    some = notes(2 * texts, "validation", 0)
    told["marks_right"] = mark_accuracy(
        model, tokenizer, [n.text for n in some], [n.label for n in some]
    )
    return told


def train(args: argparse.Namespace, folder: Path) -> dict:
    """Train and write the run; what metrics.json holds."""
    device = pc.pick_device()
    _, tokenizer = pc.from_pretrained("storyteller", str(device))
    torch.manual_seed(args.seed)
    cfg = {
        "vocab_size": tokenizer.n_vocab, "emb_dim": 256, "n_heads": 4,
        "context_length": T, "n_layers": args.layers, "drop_rate": 0.0,
        "qkv_bias": False, "tie_weights": True,
    }  # fmt: skip
    model = pc.init_copying(pc.GPTModel(cfg)).to(device)
    before = 0
    if args.init_from:
        model, _ = pc.from_pretrained(args.init_from, str(device))
        about = Path(args.init_from, "metrics.json").read_text("utf-8")
        about = json.loads(about)
        before = about["tokens_seen"] + about.get("tokens_before", 0)
    precision = pc.pick_precision(device)
    first = round(args.easy * args.steps) * args.accumulate
    batches = itertools.chain(
        itertools.islice(mixed(tokenizer, args.size, args.seed, True), first),
        mixed(tokenizer, args.size, args.seed, False),
    )
    began, losses, tokens = time.perf_counter(), [], 0
    records = pc.train(
        model,
        pc.make_optimizer(model, weight_decay=0.0),
        batches,
        pc.Schedule(args.steps, args.lr, args.warmup),
        accumulate=args.accumulate,
        precision=precision,
        backward=backward,
    )
    for record in tqdm(records, total=args.steps, unit="step"):
        losses.append(record["train"])
        tokens += record["n_targets"]
        if record["step"] % args.eval_every == 0:
            told = judge(model, tokenizer, 0, args.seed, args.texts)
            recent = losses[-args.eval_every :]
            tqdm.write(
                f"step {record['step']}: loss {sum(recent) / len(recent):.4f}"
                f", stories {told['ratio']:.4f} x the floor, moods "
                f"{told['marks_right']:.1%}"
            )
            save(folder, model, tokenizer)
    seconds = time.perf_counter() - began
    save(folder, model, tokenizer)
    halved, _ = pc.from_pretrained(folder, str(device))  # as it was stored
    told = judge(halved, tokenizer, args.samples, args.seed, args.texts)
    return told | {
        "parameters": pc.count_parameters(model),
        "config": cfg,
        "tokens_seen": tokens,
        "tokens_before": before,
        "seconds": seconds,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "options": {k: v for k, v in vars(args).items() if k not in PLACES},
    }


def save(folder: Path, model: torch.nn.Module, tokenizer) -> None:
    """Weights in fp16, half the size: load_model makes fp32 of them."""
    half = copy.deepcopy(model).half()
    pc.save_model(folder / "model.safetensors", half, " ")
    pc.save_tokenizer(folder / "tokenizer.tiktoken", tokenizer)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        folder = new_folder(args.out, "librarian")
        metrics = train(args, folder)
        text = json.dumps(metrics, indent=1) + "\n"
        write_text(folder / "metrics.json", text)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"train_librarian.py: error: {error}", file=sys.stderr)
        return 2
    print(f"{folder}: {text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
