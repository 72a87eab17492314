"""Finetune a GPT to follow instructions, and ask it.

    python gpt_instruction_finetuning.py                   # the town's own
    python gpt_instruction_finetuning.py --data my.json    # Alpaca's form
    python gpt_instruction_finetuning.py --ask "Write the opposite of good."

A run's folder gets model.safetensors, tokenizer.tiktoken, metrics.json,
instruction-data-with-response.json, loss.png and, where entries have
families, families.png; left-out.json if some entries cannot be used. Ctrl-C
leaves a checkpoint with what was learned.
"""

import argparse
import copy
import itertools
import math
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiktoken
import torch
from instruction import (
    InstructionDataset,
    add_lora,
    add_special_tokens,
    answer_loss,
    answers,
    base_answers,
    check_entry,
    conversations,
    encode_prompt_of,
    evaluate_answers,
    from_pretrained,
    has_chat,
    instruction_batches,
    merge_lora,
    save_instruct,
    score,
    split_entries,
    stream_answer,
)
from previous_chapters import (
    IGNORE,
    GPTModel,
    Schedule,
    autocast,
    count_parameters,
    count_trained,
    make_optimizer,
    pick_precision,
    train,
)
from scratch_llm.alpaca import Parts, known_families, load_parts, town_parts
from scratch_llm.class_report import percent, save_figure, told, versions
from scratch_llm.cli import (
    SEEDS,
    ShortParser,
    nobody_reads,
    run_script,
    say,
)
from scratch_llm.gpt2_files import GPT2, DownloadError
from scratch_llm.instruct_report import (
    closing_line,
    draw_families,
    draw_losses,
    family_table,
    result_table,
    scores_in_parts,
    write_json,
    write_responses,
)
from scratch_llm.instructions import Entry
from scratch_llm.runs import hardware, new_folder, save_metrics
from tqdm import tqdm

BASE = "librarian"
CHOICES = {  # name: choices, default, what it is
    "template": (("chat", "alpaca"), None, "how a question is put (chat)"),
    "layers": (("all", "lora"), "all", "what is trained"),
    "too-long": (("skip", "cut", "error"), "skip", "entries beyond context"),
    "precision": (("auto", "fp32", "bf16"), "auto", "auto: what is faster"),
}
NUMBERS = [  # name, type, lowest, highest, default, what it is
    ("items", int, 1, math.inf, None, "to train on (town: 64000)"),
    ("test-items", int, 2, math.inf, None, "of the test (town: 1280)"),
    ("base-items", int, 0, math.inf, 320, "of it that the base answers, too"),
    ("context-length", int, 8, math.inf, None, "longest row in tokens"),
    ("epochs", int, 1, 10**6, None, "passes through the entries (town: 1)"),
    ("max-minutes", float, 0.001, math.inf, 5.5, "fewer steps if need be"),
    ("batch-size", int, 1, math.inf, None, "entries per step (32; GPT-2: 8)"),
    ("lr", float, 0, math.inf, None, "highest learning rate"),
    ("warmup", int, 0, math.inf, 50, "steps until the highest rate"),
    ("weight-decay", float, 0, math.inf, 0.0, "of matrices"),
    ("clip", float, 1e-9, math.inf, 1.0, "longest gradient"),
    ("power", float, 0, 1, 0.5, "an answer of n tokens counts n^(1-power)"),
    ("rank", int, 1, math.inf, 32, "of LoRA"),
    ("alpha", float, 1e-9, math.inf, 512.0, "of LoRA"),
    ("seed", int, 0, SEEDS, 123, "of data, split, order and LoRA"),
    ("max-new-tokens", int, 1, math.inf, None, "of an answer"),
    ("temperature", float, 0, math.inf, 0.0, "of --ask; 0: the likeliest"),
]
RATES = {"all": 8e-4, "lora": 1.5e-3}
USUAL_STEPS = 800  # of a file: as many epochs as that takes, but 2 to 20
LARGE = 512  # channels; from there on rates are a thirtieth
LOOKS = 8  # at the validation part, at least


def new_parser() -> ShortParser:
    p = ShortParser(
        prog="gpt_instruction_finetuning.py",
        description=__doc__.split("\n")[0],
    )
    p.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{BASE} (default), {', '.join(GPT2)}, or a run's folder",
    )
    p.add_argument(
        "--weights",
        default="gpt2",
        metavar="FOLDER",
        help="where GPT-2's weights lie (default gpt2)",
    )
    p.add_argument(
        "--download",
        action="store_true",
        help="fetch GPT-2's weights if they are not there",
    )
    p.add_argument(
        "--data",
        default="town",
        metavar="DATA",
        help="town (default, made by --seed), or a JSON file in Alpaca's form",
    )
    p.add_argument(
        "--system", default="", metavar="TEXT", help="of a chat (none)"
    )
    p.add_argument(
        "--mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="learn the answers only, not the instructions",
    )
    p.add_argument("--out", metavar="FOLDER", help="default: runs/NAME-001")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    for name, (choices, default, text) in CHOICES.items():
        note = f"{text} (default {default})" if default else text
        p.add_argument(
            f"--{name}", choices=choices, default=default, help=note
        )
    p.add_numbers(NUMBERS)
    p.add_argument(
        "--ask",
        nargs="*",
        metavar="TEXT",
        help="train nothing; answer these instructions, or the lines of "
        "stdin, with --model or the newest run",
    )
    p.add_argument(
        "--input", default="", metavar="TEXT", help="what --ask is about"
    )
    return p


# ---- Preparing -----------------------------------------------------------


@dataclass
class Run:
    """A model, what it learns from, and how far it has come."""

    model: GPTModel
    tokenizer: tiktoken.Encoding
    parts: Parts
    data: dict[str, InstructionDataset]
    precision: str
    answered: bool  # whether the base was finetuned to chat before
    history: list[dict] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    best: dict | None = None  # the record of the step that is kept
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    seconds: float = 0.0  # spent on training
    before: dict = field(default_factory=dict)  # what the base gets


def open_model(
    args: argparse.Namespace, name: str
) -> tuple[GPTModel, tiktoken.Encoding]:
    device = "cpu" if args.force_cpu else args.device
    model, tokenizer = from_pretrained(
        name, device, args.weights, args.download
    )
    if not isinstance(model, GPTModel):
        raise ValueError(
            f"{name} is a {type(model).__name__}: only a GPT can answer"
        )
    return model, tokenizer


def use_template(
    args: argparse.Namespace, model: GPTModel, tokenizer: tiktoken.Encoding
) -> tiktoken.Encoding:
    """The tokenizer that the template needs; the model grows with it."""
    args.template = args.template or "chat"
    if args.template == "chat":
        return add_special_tokens(tokenizer, model, args.seed)
    if has_chat(tokenizer):
        raise ValueError(f"{args.model} is made for --template chat")
    if args.system:
        raise ValueError("--system belongs to --template chat")
    return tokenizer


def fill_defaults(args: argparse.Namespace, model: GPTModel) -> None:
    """What depends on the model; ValueError if they do not fit."""
    most = model.cfg["context_length"]
    args.context_length = args.context_length or most
    if args.context_length > most:
        raise ValueError(
            f"--context-length {args.context_length} is more than the "
            f"{most} tokens that the model reads"
        )
    large = model.cfg["emb_dim"] >= LARGE
    args.batch_size = args.batch_size or (8 if large else 32)
    if args.lr is None:
        args.lr = RATES[args.layers] / (30 if large else 1)


def load_data(args: argparse.Namespace) -> Parts:
    """The entries that the options name, in three parts.

    For a chat, the town's training part is made of whole conversations.
    """
    if args.data != "town":
        parts = load_parts(
            args.data,
            check_entry,
            lambda some: split_entries(some, seed=args.seed),
        )
        parts.train = parts.train[: args.items]
        parts.test = parts.test[: args.test_items]
        return parts
    chat = args.template == "chat"
    items = args.items or 64_000
    parts = town_parts(
        0 if chat else items,
        min(320, items),
        args.test_items or 1280,
        args.seed,
    )
    if chat:
        parts.train = conversations(items, "train", args.seed)
    if chat and args.system:
        system = {"role": "system", "content": args.system}
        parts.train = [
            [system, *(one for one in talk if one["role"] != "system")]
            for talk in parts.train
        ]
    return parts


def encode(
    args: argparse.Namespace, parts: Parts, name: str, tokenizer: Any
) -> InstructionDataset:
    """A part as rows; what does not fit is noted, but not of the town's."""
    some = getattr(parts, name)
    with warnings.catch_warnings():
        if args.data == "town":  # there are as many more as you like
            warnings.simplefilter("ignore", UserWarning)
        data = InstructionDataset(
            some, tokenizer, args.context_length, args.system, args.too_long
        )
    if args.data != "town":
        kept = {id(entry) for entry in data.entries}
        parts.left_out += [
            {"part": name, "why": "too long", "item": bare(entry)}
            for entry in some
            if id(entry) not in kept
        ]
    return data


def prepare(args: argparse.Namespace) -> Run:
    """All that a run needs; the entries are read, split and encoded."""
    name = args.model = args.model or BASE
    model, tokenizer = open_model(args, name)
    known = has_chat(tokenizer)
    tokenizer = use_template(args, model, tokenizer)
    fill_defaults(args, model)
    parts = load_data(args)
    torch.manual_seed(args.seed)
    data = {
        part: encode(args, parts, part, tokenizer)
        for part in ("train", "validation")
    }
    if not len(data["train"]):
        raise ValueError(
            f"none of {len(parts.train)} entries fits into "
            f"{args.context_length} tokens: take --too-long cut, or a model "
            "that reads more"
        )
    full = sum(
        len(encode_prompt_of(tokenizer, entry, args.system))
        >= model.cfg["context_length"]
        for entry in parts.test
    )
    if full:
        warnings.warn(
            f"{full} of {len(parts.test)} test entries leave no room for an "
            "answer: they count as wrong",
            stacklevel=1,
        )
    if args.max_new_tokens is None:
        args.max_new_tokens = min(256, longest_answer(data["train"]))
    if args.epochs is None:
        per_epoch = math.ceil(len(data["train"]) / args.batch_size)
        enough = math.ceil(USUAL_STEPS / per_epoch)
        args.epochs = 1 if args.data == "town" else min(20, max(2, enough))
    if args.layers == "lora":
        add_lora(model, args.rank, args.alpha)
    precision = pick_precision(next(model.parameters()).device, args.precision)
    return Run(model, tokenizer, parts, data, precision, known)


def longest_answer(data: InstructionDataset) -> int:
    """In tokens, with the stop token; a conversation has several answers."""
    return max(
        len([*run])
        for row in data.rows
        for graded, run in itertools.groupby(row.graded)
        if graded
    )


def bare(entry: Entry) -> dict[str, str]:
    return {
        "instruction": entry.instruction,
        "input": entry.input,
        "output": entry.output,
    }


# ---- Training ------------------------------------------------------------


def endless_batches(
    data: InstructionDataset, args: argparse.Namespace
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of inputs and targets (B, T), epoch after epoch."""
    loader = instruction_batches(
        data, args.batch_size, args.seed, mask_prompt=args.mask
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def fit(schedule: Schedule, step: int, seconds: float, args) -> None:
    """Fewer steps where the machine is slow: the rate must still reach 0."""
    fits = int(60 * args.max_minutes * step / seconds)
    fits = max(step + 1, min(args.steps, fits))
    if step % 20 == 0 and abs(fits / schedule.steps - 1) > 0.04:
        schedule.steps = fits
        say(f"{fits:,} steps fit into the time")


def fine_tune_run(run: Run, args: argparse.Namespace, folder: Path) -> None:
    """Train; keep the weights that validate best, in `run` and in a file.

    What was learned until Ctrl-C is validated as well.
    """
    model, data = run.model, run.data["train"]
    device = next(model.parameters()).device
    per_epoch = math.ceil(len(data) / args.batch_size)
    args.steps = args.epochs * per_epoch
    schedule = Schedule(args.steps, args.lr, min(args.warmup, args.steps // 5))
    began, since = time.perf_counter(), 0

    def backward(
        model: GPTModel, batches: list, precision: str
    ) -> tuple[float, int]:
        ((inputs, targets),) = batches
        with autocast(device, precision):
            loss = answer_loss(
                model, inputs.to(device), targets.to(device), args.power
            )
        loss.backward()
        run.tokens += inputs.numel()
        return loss.item(), int((targets != IGNORE).sum())

    def look(r: dict) -> None:
        nonlocal since
        record = {
            "epoch": r["step"] / per_epoch,
            "step": r["step"],
            "train": sum(run.losses[since:]) / (r["step"] - since),
            "validation": evaluate_answers(
                model, run.data["validation"], run.precision
            )
            if len(run.data["validation"])
            else None,
            "lr": r["lr"],
            "tokens": run.tokens,
        }
        since = r["step"]
        run.seconds = record["seconds"] = time.perf_counter() - began
        keep_best(run, record, folder)

    bar = tqdm(total=args.steps, unit="step", dynamic_ncols=True)
    r: dict[str, Any] = {"step": 0}
    try:
        for r in train(
            model,
            make_optimizer(model, args.weight_decay),
            endless_batches(data, args),
            schedule,
            clip=args.clip,
            precision=run.precision,
            backward=backward,
        ):
            run.seconds = time.perf_counter() - began
            run.losses.append(r["train"])
            fit(schedule, r["step"], run.seconds, args)
            bar.total = schedule.steps
            bar.set_postfix_str(f"loss {r['train']:.3f}, lr {r['lr']:.1e}")
            bar.update()
            every = max(1, min(per_epoch, schedule.steps // LOOKS))
            if r["step"] - since >= every or r["step"] == schedule.steps:
                look(r)
    except KeyboardInterrupt:
        if r["step"] > since:
            look(r)
        raise
    finally:
        bar.close()
        model.eval()


def keep_best(run: Run, record: dict, folder: Path) -> None:
    """Note a look, tell it, and keep the weights if they are the best."""
    run.history.append(record)
    loss = record["validation"]
    shown = "" if loss is None else f", validation {loss:.3f}"
    say(
        f"epoch {record['epoch']:.2g}, step {record['step']:,}: training "
        f"{record['train']:.3f}{shown}"
    )
    if run.best is None or loss is None or loss < run.best["validation"]:
        run.best = record
        run.weights = {
            name: p.detach().clone()
            for name, p in run.model.named_parameters()
            if p.requires_grad
        }
        save(run, folder)


def save(run: Run, folder: Path) -> None:
    """The model as from_pretrained opens it; LoRA is merged in a copy."""
    plain = merge_lora(copy.deepcopy(run.model))
    save_instruct(folder, plain, run.tokenizer)


# ---- Finishing -----------------------------------------------------------


def answer_test(
    run: Run, args: argparse.Namespace, test: list[Entry]
) -> list[str]:
    return answers(
        run.model,
        run.tokenizer,
        test,
        max_new_tokens=args.max_new_tokens,
        progress=True,
        system=args.system,
    )


def judge_base(run: Run, args: argparse.Namespace) -> None:
    """What the model answers before it is finetuned.

    Of the test every k-th entry is asked that has no held-out phrasing; on
    a page with "Question:" and "Answer:", unless the model is a chat.
    """
    test = [entry for entry in run.parts.test if not entry.held_out]
    if not args.base_items or not test:
        return
    test = test[:: math.ceil(len(test) / args.base_items)]
    if run.answered:
        said = answer_test(run, args, test)
    else:  # as it was, without rows for the tokens of a chat
        base, its = open_model(args, args.model)
        said = base_answers(base, its, test, min(40, args.max_new_tokens))
    found = score(test, said)["all"]
    run.before = {
        "exact_match_base": found["exact_match"],
        "token_f1_base": found["token_f1"],
        "base_entries": len(test),
    }
    say(f"before finetuning: {percent(found['exact_match'])} exact match")


def finish(
    run: Run, args: argparse.Namespace, folder: Path, stopped: str
) -> int:
    """Test the best weights, write all that a run leaves; the exit code."""
    if run.weights:
        run.model.load_state_dict(run.weights, strict=False)
    if run.weights or stopped in ("", "interrupted"):
        save(run, folder)
    metrics = run_metrics(run, args, stopped)
    record_run(run, folder, metrics)
    if not stopped:
        try:
            said = answer_test(run, args, run.parts.test)
        except KeyboardInterrupt:
            stopped = "interrupted"
            metrics |= {"interrupted": True, "stopped": stopped}
        else:
            metrics |= scores_in_parts(run.parts.test, said, score)
            path = folder / "instruction-data-with-response.json"
            write_responses(path, run.parts.test, said)
            if known_families(run.parts.test):
                say(f"\n{family_table(metrics['families'])}")
            say(f"\n{result_table(metrics)}\n")
        record_run(run, folder, metrics)
    say(closing_line(folder, metrics))
    return {"": 0, "interrupted": 130}.get(stopped, 1)


def run_metrics(
    run: Run, args: argparse.Namespace, stopped: str
) -> dict[str, Any]:
    """What metrics.json holds before anything is tested; shares are 0 to 1."""
    device, best = next(run.model.parameters()).device, run.best or {}
    return {
        "exact_match": None,
        "exact_match_heldout_phrasings": None,
        "exact_match_unseen_families": None,
        "exact_match_base": None,
        "token_f1": None,
        "token_f1_base": None,
        "seconds": run.seconds,
        "base": str(args.model),
        "template": args.template,
        "trained_parameters": count_trained(run.model),
        "parameters": count_parameters(run.model),
        "validation_loss": best.get("validation"),
        "best_step": best.get("step"),
        "steps": len(run.losses),
        "tokens_seen": run.tokens,
        "items": run.parts.sizes(),
        "left_out": len(run.parts.left_out),
        "data": run.parts.name,
        "config": run.model.cfg,
        "seed": args.seed,
        "precision": run.precision,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "hardware": hardware(device),
        "versions": versions("torch", "tiktoken"),
        "interrupted": stopped == "interrupted",
        "stopped": stopped,
        "options": vars(args),
    } | run.before


def record_run(run: Run, folder: Path, metrics: dict) -> None:
    """metrics.json and the figures of a run, as far as it has come."""
    save_metrics(folder, metrics, run.history)
    if run.parts.left_out:
        write_json(folder / "left-out.json", run.parts.left_out)
    if run.losses:
        best = run.best and run.best["step"]
        save_figure(
            folder / "loss.png",
            lambda: draw_losses(run.losses, run.history, best),
        )
    families = metrics.get("families", {})
    if len(families) > 1:
        save_figure(folder / "families.png", lambda: draw_families(families))


# ---- Asking --------------------------------------------------------------


def newest_instruct(folder: str = "runs") -> str:
    """The run of this script that was written last; ValueError if none."""
    found = [*Path(folder).glob("instruct-*/model.safetensors")]
    if not found:
        raise ValueError(
            f"no run that follows instructions in {folder}: finetune one "
            "first, or name a run's folder by --model"
        )
    return str(max(found, key=lambda path: path.stat().st_mtime).parent)


def ask(args: argparse.Namespace) -> int:
    """The answer to each instruction, word by word; the exit code."""
    name = args.model
    if name is None:
        name = newest_instruct()
        print(f"model: {name} (--model names another)", file=sys.stderr)
    model, tokenizer = open_model(args, name)
    if args.system and not has_chat(tokenizer):
        raise ValueError(f"{name} is no chat: it takes no --system")
    asked = args.ask
    if not asked:
        asked = (line.strip() for line in sys.stdin if line.strip())
    generator = torch.Generator(next(model.parameters()).device)
    generator.manual_seed(args.seed)
    for text in asked:
        if not text.strip():
            raise ValueError("--ask: the instruction is empty")
        prompt = encode_prompt_of(
            tokenizer, Entry(text, args.input, "", ""), args.system
        )
        for piece in stream_answer(
            model,
            tokenizer,
            prompt,
            args.max_new_tokens or 256,
            temperature=args.temperature,
            generator=generator,
        ):
            print(piece, end="", flush=True)
        print(flush=True)
    return 0


# ---- The command line ----------------------------------------------------


def opening_line(run: Run, args: argparse.Namespace) -> str:
    """What is about to be trained, on what, in one line."""
    device = next(run.model.parameters()).device
    sizes = ", ".join(f"{n:,} {name}" for name, n in run.parts.sizes().items())
    return (
        f"{run.parts.name}: {sizes}; {args.template} template; "
        f"training {count_trained(run.model):,} of "
        f"{count_parameters(run.model):,} parameters of {args.model} on "
        f"{device} in {run.precision} ({torch.get_num_threads()} threads)"
    )


def main(argv: list[str] | None = None) -> int:
    args, folder, stopped = new_parser().parse_args(argv), None, ""
    try:
        if args.ask is not None:
            return ask(args)
        with told(say):
            run = prepare(args)
        folder = new_folder(args.out, f"instruct-{run.parts.name}")
        say(opening_line(run, args))
        try:
            judge_base(run, args)
            fine_tune_run(run, args, folder)
        except (KeyboardInterrupt, FloatingPointError) as error:
            stopped = str(error) or "interrupted"
        return finish(run, args, folder, stopped)
    except BrokenPipeError:
        nobody_reads()
        return 0
    except (ValueError, OSError) as error:
        print(
            f"gpt_instruction_finetuning.py: error: {error}", file=sys.stderr
        )
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
