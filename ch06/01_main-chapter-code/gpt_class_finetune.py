"""Finetune a GPT into a classifier, and classify texts with it.

    python gpt_class_finetune.py                       # the town's notes
    python gpt_class_finetune.py --data reviews.csv    # your own texts
    python gpt_class_finetune.py --classify "Nora was not glad at all."

A run's folder gets model.safetensors, tokenizer.tiktoken, metrics.json,
loss.png, confusion.png and errors.txt. Ctrl-C leaves a loadable checkpoint.
"""

import argparse
import copy
import itertools
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiktoken
import torch
import torch.nn.functional as F
from classification import (
    Classifier,
    TextDataset,
    add_lora,
    calibration_bins,
    classify,
    confusion_matrix,
    count_trained,
    from_pretrained,
    judge,
    make_loader,
    merge_lora,
    precision_recall_f1,
    predict_logits,
    save_classifier,
    train_only,
    word_counter,
)
from previous_chapters import (
    GPTModel,
    Schedule,
    autocast,
    count_parameters,
    init_copying,
    make_optimizer,
    pick_precision,
    read_header,
    train,
)
from scratch_llm.class_report import (
    by_kind,
    class_scores,
    class_table,
    closing_line,
    counting_baselines,
    draw_confusion,
    draw_training,
    errors_text,
    percent,
    result_table,
    save_figure,
    told,
    versions,
)
from scratch_llm.cli import (
    SEEDS,
    ShortParser,
    nobody_reads,
    run_script,
    say,
)
from scratch_llm.files import write_text
from scratch_llm.gpt2_files import GPT2, DownloadError
from scratch_llm.labelled import Part, Splits, load_splits
from scratch_llm.runs import hardware, new_folder, save_metrics
from tqdm import tqdm

CHOICES = {  # name: choices, default, what it is
    "layers": (
        ("head", "block", "all", "lora"),
        "all",
        "what is trained besides the head",
    ),
    "pooling": (("last", "mean", "first"), "last", "which states are read"),
    "padding": (("longest", "context"), "longest", "how far batches reach"),
    "class-weights": (("none", "balanced"), "none", "balanced: rare count"),
    "init": (("pretrained", "random"), "pretrained", "how the GPT starts"),
    "precision": (("auto", "fp32", "bf16"), "auto", "auto: what is faster"),
}
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("items", int, 2, math.inf, None, "texts to train on, at most"),
    ("test-items", int, 2, math.inf, 2000, "texts to test on, at most"),
    ("context-length", int, 2, math.inf, None, "longest text in tokens"),
    ("epochs", int, 1, 10**6, None, "passes through the texts (notes: 1)"),
    ("batch-size", int, 1, math.inf, 32, "texts per step"),
    ("lr", float, 0, math.inf, None, "highest learning rate"),
    ("warmup", int, 0, math.inf, 50, "steps until the highest rate"),
    ("weight-decay", float, 0, math.inf, 0.01, "of matrices"),
    ("clip", float, 1e-9, math.inf, 1.0, "longest gradient"),
    ("keep", float, 0, 1, 0.0, "share of the base's weights in the result"),
    ("rank", int, 1, math.inf, 16, "of LoRA"),
    ("alpha", float, 1e-9, math.inf, 256.0, "of LoRA"),
    ("max-minutes", float, 0.001, math.inf, 3.7, "fewer steps if need be"),
    ("seed", int, 0, SEEDS, 123, "of head, LoRA, order and split"),
]
RATES = {"head": 1e-2, "block": 2e-3, "all": 5e-4, "lora": 4e-4}
USUAL_STEPS = 800  # as many epochs as that takes, but 3 to 30
LARGE = 512  # channels; from there on rates are a twentieth


def new_parser() -> ShortParser:
    p = ShortParser(
        prog="gpt_class_finetune.py", description=__doc__.split("\n")[0]
    )
    p.add_argument(
        "--model",
        metavar="MODEL",
        help=f"librarian (default), storyteller, {', '.join(GPT2)}, or a "
        "run's folder",
    )
    p.add_argument("--checkpoint", metavar="RUN", help="a run's folder")
    p.add_argument(
        "--weights",
        default="gpt2",
        metavar="FOLDER",
        help="where GPT-2's weights lie (default gpt2)",
    )
    p.add_argument(
        "--download",
        action="store_true",
        help="fetch GPT-2's weights or the data if they are not there",
    )
    p.add_argument(
        "--data",
        default="notes",
        metavar="DATA",
        help="notes (default), sms, imdb, or a CSV or TSV file",
    )
    p.add_argument(
        "--data-folder",
        default="data",
        metavar="FOLDER",
        help="where sms and imdb lie (default data)",
    )
    p.add_argument("--text-column", metavar="NAME", help="or its number")
    p.add_argument("--label-column", metavar="NAME", help="or its number")
    p.add_argument(
        "--test",
        metavar="FILE",
        help="a second, harder test (notes: those written by hand)",
    )
    p.add_argument("--out", metavar="FOLDER", help="default: runs/NAME-001")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    for name, (choices, default, text) in CHOICES.items():
        note = f"{text} (default {default})"
        p.add_argument(
            f"--{name}", choices=choices, default=default, help=note
        )
    p.add_numbers(NUMBERS)
    p.add_argument(
        "--classify",
        nargs="*",
        metavar="TEXT",
        help="train nothing; read these texts, or the lines of stdin, with "
        "--model or the newest run",
    )
    return p


# ---- Preparing -----------------------------------------------------------


@dataclass
class Run:
    """A model, what it learns from, and how far it has come."""

    model: Classifier
    tokenizer: tiktoken.Encoding
    prefix: str
    splits: Splits
    data: dict[str, TextDataset]
    precision: str
    history: list[dict] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    best: dict | None = None  # the record of the epoch that is kept
    start: dict[str, torch.Tensor] = field(default_factory=dict)  # the GPT's
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0  # spent on training
    counted: dict = field(default_factory=dict)  # what counting words gets


def open_model(
    args: argparse.Namespace, name: str
) -> tuple[torch.nn.Module, tiktoken.Encoding, str]:
    """A model, its tokenizer, and what stands before each text."""
    device = "cpu" if args.force_cpu else args.device
    model, tokenizer = from_pretrained(
        name, device, args.weights, args.download
    )
    spaced = getattr(tokenizer, "add_prefix_space", False)
    return model, tokenizer, " " if spaced else ""


def model_name(args: argparse.Namespace) -> str | None:
    """--checkpoint is a folder, whatever it is called."""
    if args.checkpoint and args.model:
        raise ValueError("give --model or --checkpoint, not both")
    if args.checkpoint:
        return os.path.join(".", args.checkpoint)
    return args.model


def prepare(args: argparse.Namespace) -> Run:
    """All that a run needs; the texts are read, cut and split."""
    splits = load_splits(
        args.data,
        args.items,
        args.test_items,
        args.test,
        args.text_column,
        args.label_column,
        args.seed,
        args.data_folder,
        args.download,
    )
    base, tokenizer, prefix = open_model(args, model_name(args) or "librarian")
    gpt = base.gpt if isinstance(base, Classifier) else base
    most = gpt.cfg["context_length"]
    args.context_length = args.context_length or most
    if args.context_length > most:
        raise ValueError(
            f"--context-length {args.context_length} is more than the "
            f"{most} tokens that the model reads"
        )
    device = next(gpt.parameters()).device
    torch.manual_seed(args.seed)
    if args.init == "random":
        gpt = init_copying(GPTModel(gpt.cfg)).to(device)
    model = Classifier(gpt, splits.names, args.pooling)
    if args.init == "pretrained" and base is not gpt:
        if base.names == splits.names:  # go on where that run ended
            model.head.load_state_dict(base.head.state_dict())
    if args.layers == "lora":
        add_lora(model, args.rank, args.alpha)
    else:
        train_only(model, args.layers)
    if args.lr is None:
        small = gpt.cfg["emb_dim"] < LARGE
        args.lr = RATES[args.layers] * (1 if small else 0.05)
    if args.epochs is None:
        per_epoch = math.ceil(len(splits.train) / args.batch_size)
        enough = math.ceil(USUAL_STEPS / per_epoch)
        args.epochs = 1 if args.data == "notes" else min(30, max(3, enough))
    data = {
        name: TextDataset(
            part.texts,
            part.labels,
            tokenizer,
            args.context_length,
            splits.names,
            prefix,
        )
        for name, part in vars(splits).items()
        if isinstance(part, Part)
    }
    precision = pick_precision(device, args.precision)
    run = Run(model.to(device), tokenizer, prefix, splits, data, precision)
    if args.keep:
        run.start = {
            name: p.detach().clone()
            for name, p in model.gpt.named_parameters()
            if p.requires_grad
        }
    return run


# ---- Training ------------------------------------------------------------


def endless_batches(
    dataset: TextDataset, batch_size: int, seed: int, length: int | None
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches, epoch after epoch; of this length (B, T), if it is given."""
    loader = make_loader(dataset, batch_size, seed)
    for ids, lengths, labels in itertools.chain.from_iterable(
        itertools.repeat(loader)
    ):
        if length is not None:
            ids = F.pad(ids, (0, length - ids.shape[1]))
        yield ids, lengths, labels


def class_gradients(weights: torch.Tensor | None) -> Callable:
    """What train calls: from a batch to gradients, its loss and its size."""

    def backward(model, batches: list, precision: str) -> tuple[float, int]:
        ((ids, lengths, labels),) = batches
        device = next(model.parameters()).device
        with autocast(device, precision):
            logits = model(ids.to(device), lengths.to(device))  # (B, K)
        loss = F.cross_entropy(logits.float(), labels.to(device), weights)
        loss.backward()
        return loss.item(), len(labels)

    return backward


def balanced_weights(labels: list[int], K: int) -> torch.Tensor:
    """A weight for each class, such that all weigh the same together."""
    counts = torch.tensor([labels.count(k) for k in range(K)])
    return len(labels) / (K * counts)  # (K,)


def fit(schedule: Schedule, step: int, seconds: float, args) -> None:
    """Fewer steps where the machine is slow: the rate must still reach 0."""
    fits = int(60 * args.max_minutes * step / seconds)
    fits = max(step + 1, min(args.steps, fits))
    if step % 20 == 0 and abs(fits / schedule.steps - 1) > 0.04:
        schedule.steps = fits
        say(f"{fits:,} steps fit into the time")


def fine_tune_run(run: Run, args: argparse.Namespace, folder: Path) -> None:
    """Train; keep the weights of the best epoch, in `run` and in a file."""
    model, dataset = run.model, run.data["train"]
    device = next(model.parameters()).device
    per_epoch = math.ceil(len(dataset) / args.batch_size)
    args.steps = args.epochs * per_epoch
    schedule = Schedule(args.steps, args.lr, min(args.warmup, args.steps // 5))
    weights = None
    if args.class_weights == "balanced":
        weights = balanced_weights(dataset.labels, len(dataset.names))
        weights = weights.to(device)
    length = args.context_length if args.padding == "context" else None
    began = time.perf_counter()
    bar = tqdm(total=args.steps, unit="step", dynamic_ncols=True)
    for r in train(
        model,
        make_optimizer(model, args.weight_decay),
        endless_batches(dataset, args.batch_size, args.seed, length),
        schedule,
        clip=args.clip,
        precision=run.precision,
        backward=class_gradients(weights),
    ):
        step, run.seconds = r["step"], time.perf_counter() - began
        run.losses.append(r["train"])
        fit(schedule, step, run.seconds, args)
        bar.total = schedule.steps
        bar.set_postfix_str(f"loss {r['train']:.3f}, lr {r['lr']:.1e}")
        bar.update()
        if step % per_epoch == 0 or step == schedule.steps:
            start = run.history[-1]["step"] if run.history else 0
            record = {
                "epoch": step / per_epoch,
                "step": step,
                "train": sum(run.losses[start:]) / (step - start),
                **judge(model, run.data["validation"], run.precision),
                "lr": r["lr"],
            }
            run.seconds = record["seconds"] = time.perf_counter() - began
            keep_best(run, record, folder)
    bar.close()


def keep_best(run: Run, record: dict, folder: Path) -> None:
    """Note an epoch, tell it, and keep its weights if they are the best."""
    run.history.append(record)
    say(
        f"epoch {record['epoch']:.2g}, step {record['step']:,}: training "
        f"{record['train']:.3f}, validation {record['validation']:.3f}, "
        f"{percent(record['accuracy'])} right"
    )

    def rank(r: dict) -> tuple[float, float]:
        return r["accuracy"], -r["validation"]

    if run.best is None or rank(record) > rank(run.best):
        run.best = record
        run.weights = {
            name: p.detach().clone()
            for name, p in run.model.named_parameters()
            if p.requires_grad
        }
        save(run, folder)


def save(run: Run, folder: Path) -> None:
    """The classifier as from_pretrained opens it; LoRA is merged in a copy."""
    plain = merge_lora(copy.deepcopy(run.model))
    save_classifier(folder, plain, run.tokenizer, run.prefix)


# ---- Finishing -----------------------------------------------------------


@torch.no_grad()
def keep_base(run: Run, args: argparse.Namespace, folder: Path) -> None:
    """Go back to the base by a share of the way: see 6.19.

    Of LoRA the product of the detours is what shrinks.
    """
    if not args.keep:
        return
    for name, p in run.model.gpt.named_parameters():
        if name.endswith(".B"):
            p.mul_(1 - args.keep)
        elif p.requires_grad and not name.endswith(".A"):
            p.lerp_(run.start[name], args.keep)
    save(run, folder)


def finish(
    run: Run, args: argparse.Namespace, folder: Path, stopped: str
) -> int:
    """Judge the best weights, write all that a run leaves; the exit code."""
    if run.weights:
        run.model.load_state_dict(run.weights, strict=False)
        keep_base(run, args, folder)
    elif stopped in ("", "interrupted"):
        save(run, folder)
    metrics = run_metrics(run, args, stopped)
    record_run(run, folder, metrics)
    if not stopped:
        try:
            judge_run(run, folder, metrics)
        except KeyboardInterrupt:
            stopped = "interrupted"
            metrics |= {"interrupted": True, "stopped": stopped}
        record_run(run, folder, metrics)
        say(f"\n{class_table(metrics)}\n\n{result_table(metrics)}\n")
    say(closing_line(folder, metrics))
    return {"": 0, "interrupted": 130}.get(stopped, 1)


def run_metrics(
    run: Run, args: argparse.Namespace, stopped: str
) -> dict[str, Any]:
    """What metrics.json holds before anything is tested; shares are 0 to 1."""
    device, model = next(run.model.parameters()).device, run.model
    best = run.best or {}
    return {
        "test_accuracy": None,
        "hard_test_accuracy": None,
        "baseline_accuracy": None,
        "ngram_accuracy": None,
        "trained_parameters": count_trained(model),
        "seconds": run.seconds,
        "validation_accuracy": best.get("accuracy"),
        "validation_loss": best.get("validation"),
        "best_epoch": best.get("epoch"),
        "names": list(run.splits.names),
        "parameters": count_parameters(model),
        "steps": len(run.losses),
        "items": {name: len(part) for name, part in run.data.items()},
        "data": run.splits.name,
        "config": model.cfg,
        "seed": args.seed,
        "precision": run.precision,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "hardware": hardware(device),
        "versions": versions("torch", "tiktoken", "scikit-learn"),
        "interrupted": bool(stopped),
        "stopped": stopped,
        "options": vars(args),
    } | run.counted


def judge_run(run: Run, folder: Path, metrics: dict) -> None:
    """Read the tests; their numbers into metrics, the misread into a file."""
    names, misread = run.splits.names, []
    for part, prefix in (("test", ""), ("hard", "hard_")):
        if part not in run.data:
            continue
        texts = getattr(run.splits, part)
        labels = torch.tensor(run.data[part].labels)
        probs = predict_logits(
            run.model, run.data[part], precision=run.precision
        ).softmax(1)  # (N, K)
        said = probs.argmax(1)
        confusion = confusion_matrix(
            labels.tolist(), said.tolist(), len(names)
        )
        scores = precision_recall_f1(confusion)  # (K, 3)
        sure, right, count = calibration_bins(probs, labels.tolist())
        gap = ((sure - right).abs() * count).sum() / count.sum()
        metrics |= {
            f"{prefix}test_accuracy": (said == labels).float().mean().item(),
            f"{prefix}confusion": confusion.tolist(),
            f"{prefix}classes": class_scores(names, scores, confusion),
            f"{prefix}macro_f1": scores[:, 2].mean().item(),
            f"{prefix}calibration_error": gap.item(),
            f"{prefix}accuracy_by_kind": by_kind(texts, said.tolist()),
        }
        misread.append(errors_text(part, texts, names, probs))
    write_text(folder / "errors.txt", "\n".join(misread))


def record_run(run: Run, folder: Path, metrics: dict) -> None:
    """metrics.json and the figures of a run, as far as it has come."""
    save_metrics(folder, metrics, run.history)
    if run.losses:
        best = run.best and run.best["step"]
        save_figure(
            folder / "loss.png",
            lambda: draw_training(run.losses, run.history, best, run.counted),
        )
    tables = {
        title: metrics[key]
        for title, key in (
            ("test", "confusion"),
            ("hard test", "hard_confusion"),
        )
        if metrics.get(key)
    }
    if tables:
        save_figure(
            folder / "confusion.png",
            lambda: draw_confusion(tables, run.splits.names),
        )


# ---- Classifying ---------------------------------------------------------


def newest_classifier(folder: str = "runs") -> str:
    """The classifier's run that was written last; ValueError if none."""
    found = [
        path
        for path in Path(folder).glob("*/model.safetensors")
        if read_header(path)["architecture"] == Classifier.__name__
    ]
    if not found:
        raise ValueError(
            f"no classifier in {folder}: finetune one first, or name a run's "
            "folder by --model"
        )
    return str(max(found, key=lambda path: path.stat().st_mtime).parent)


def classify_texts(args: argparse.Namespace) -> int:
    """A line for each text: its class, how sure, the text; the exit code."""
    name = model_name(args)
    if name is None:
        name = newest_classifier()
        print(f"model: {name} (--model names another)", file=sys.stderr)
    model, tokenizer, prefix = open_model(args, name)
    if not isinstance(model, Classifier):
        raise ValueError(
            f"{name} is no classifier: finetune it first, then name its run's "
            "folder by --model"
        )
    texts = args.classify
    if not texts:
        texts = (line.strip() for line in sys.stdin if line.strip())
    for text in texts:
        with told(lambda line: print(line, file=sys.stderr)):
            probs = classify(model, tokenizer, text, prefix)
        said = max(probs, key=probs.get)
        print(f"{said}\t{probs[said]:.3f}\t{text}", flush=True)
    return 0


# ---- The command line ----------------------------------------------------


def opening_line(run: Run) -> str:
    """What is about to be trained, on what, in one line."""
    device, splits = next(run.model.parameters()).device, run.splits
    sizes = ", ".join(
        f"{len(part):,} {name}" for name, part in run.data.items()
    )
    return (
        f"{splits.name}: {len(splits.names)} classes "
        f"({', '.join(splits.names[:8])}), texts: {sizes}; training "
        f"{count_trained(run.model):,} of {count_parameters(run.model):,} "
        f"parameters on {device} in {run.precision} "
        f"({torch.get_num_threads()} threads)"
    )


def main(argv: list[str] | None = None) -> int:
    args, folder, stopped = new_parser().parse_args(argv), None, ""
    try:
        if args.classify is not None:
            return classify_texts(args)
        with told(say):
            run = prepare(args)
        folder = new_folder(args.out, f"classifier-{run.splits.name}")
        say(opening_line(run))
        run.counted = counting_baselines(run.splits, word_counter)
        try:
            fine_tune_run(run, args, folder)
        except (KeyboardInterrupt, FloatingPointError) as error:
            stopped = str(error) or "interrupted"
        return finish(run, args, folder, stopped)
    except BrokenPipeError:
        nobody_reads()
        return 0
    except (ValueError, OSError) as error:
        print(f"gpt_class_finetune.py: error: {error}", file=sys.stderr)
        download = isinstance(error, DownloadError | ConnectionError)
        return 1 if folder or download else 2
    except KeyboardInterrupt:
        print(
            f"stopped at once, {folder} may lack files"
            if folder
            else "stopped before training, nothing written",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    raise SystemExit(run_script(main))
