"""What gpt_train.py and gpt_generate.py share: files, tasks, error lines.

Nothing here is a lesson. What is learned, and how, stands in ch05.ipynb and
is generated into pretraining.py; this file reads and writes run folders and
turns a user's mistakes into one clear line.
"""

import codecs
import contextlib
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pretraining as pt
import torch
from previous_chapters import (
    GPTModel,
    count_parameters,
    create_dataloader,
    generate_tokens,
    gpt2_encoding,
    load_encoding,
    write_ranks,
)
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from tqdm import tqdm

SHARED = Path(__file__).resolve().parents[2] / "shared"
STORYTELLER = SHARED / "checkpoints" / "storyteller.safetensors"


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that becomes `path` only when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically, the same bytes on every platform."""
    with atomic(Path(path)) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def save_model(path: Path, model: GPTModel, prefix: str = "") -> None:
    """Weights and configuration in one file, atomically.

    A tied head is the embedding, so it is stored only once. The prefix is
    what stood before each text in training: a prompt needs it too.
    """
    tied = {"out_head.weight"} if model.cfg.get("tie_weights") else set()
    weights = {name: t.detach().cpu().contiguous()
               for name, t in model.state_dict().items() if name not in tied}
    with atomic(Path(path)) as temporary:
        save_file(weights, temporary,
                  metadata={"config": json.dumps(model.cfg),
                            "prefix": prefix})
        os.umask(mask := os.umask(0))
        temporary.chmod(0o666 & ~mask)   # the library lets only us read it


def read_model(path: Path) -> GPTModel:
    """The model in a file that save_model wrote."""
    with safe_open(path, framework="pt") as file:
        model = GPTModel(json.loads((file.metadata() or {})["config"]))
        weights = {name: file.get_tensor(name) for name in file.keys()}
    weights.setdefault("out_head.weight", weights["tok_emb.weight"])
    model.load_state_dict(weights)
    return model


def load_model(path: Path, device: str | torch.device = "cpu"
               ) -> GPTModel:
    """A saved model; ValueError if missing, cut short or not one of ours."""
    try:
        return read_model(path).to(device).eval()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: train first") from None
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}: it was not written by "
                         "gpt_train.py") from None
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{path} is not a whole checkpoint of this course "
                         f"({reason})") from None


def read_prefix(path: Path) -> str:
    """What stood before each text when the model in this file learned."""
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("prefix", "")


def save_weights(folder: Path, model: GPTModel, task: pt.Task) -> None:
    """model.safetensors of a run.

    Stories begin with a space (section 5.3), other texts with nothing.
    """
    save_model(folder / "model.safetensors", model,
               " " if task.parse is not None else "")


def save_tokenizer(path: Path, tokenizer: Any) -> None:
    """The ranks of a tiktoken.Encoding in tiktoken's own file format."""
    ranks = {tokenizer.decode_single_token_bytes(rank): rank
             for rank in range(tokenizer.eot_token)}
    with atomic(Path(path)) as temporary:
        write_ranks(ranks, temporary)


def tokenizer_name(weights: Path) -> str:
    """What the vocabulary beside these weights is called."""
    return ("storyteller" if weights == STORYTELLER else "tokenizer"
            ) + ".tiktoken"


def load_tokenizer(folder: Path, vocab_size: int,
                   name: str = "tokenizer.tiktoken") -> Any:
    """The tokenizer of a run; ValueError if it does not fit the model."""
    path = Path(folder) / name
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

    Without `out` it is runs/name-001, or the next free number, which no
    other process gets. ValueError if it cannot be made.
    """
    folder = Path("runs") if out is None else Path(out)
    if out is not None and folder.exists() and (
            not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {out} exists already: name another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if out is None:
            folder = next(path for n in itertools.count(1)
                          if made(path := folder / f"{name}-{n:03d}"))
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be made ({error.strerror})"
                         ": name another folder with --out") from None
    return folder


def made(folder: Path) -> bool:
    """Make a folder, unless there is one of its name already."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        return True
    return False


def newest_run(folder: str | Path = "runs") -> Path:
    """The run whose weights were written last; ValueError without any."""
    files = sorted(Path(folder).glob("*/model.safetensors"),
                   key=lambda path: path.stat().st_mtime)
    if not files:
        raise ValueError(f"no run in {folder}: train first with gpt_train.py,"
                         " or name a run by --checkpoint")
    return files[-1].parent


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


def endless(loader: Iterable[pt.Batch]) -> Iterator[pt.Batch]:
    """The batches of a loader, epoch after epoch."""
    while True:
        yield from loader


def pick_tokenizer(name: str, texts: Iterable[str], vocab_size: int) -> Any:
    """`own`: trained on these texts; `gpt2`: OpenAI's; or a saved file."""
    if name.endswith(".tiktoken"):
        return load_encoding(name)
    return (gpt2_encoding() if name == "gpt2"
            else pt.own_tokenizer(texts, vocab_size))


def story_task(world: Any, tokenizer: str = "own", vocab_size: int = 2048,
               batch_size: int = 8, context_length: int = 256,
               seed: int = 123, held_out: int = 500) -> pt.Task:
    """The story world as a task, with its exact floor and its judge."""
    texts = [s.text for s in world.corpus(4000, "train", seed=10_000 * seed)]
    encoding = pick_tokenizer(tokenizer, texts, vocab_size)
    stories = world.corpus(held_out, "validation")
    rows = pt.story_rows([s.text for s in stories], encoding)
    longest = max(map(len, rows + pt.story_rows(texts, encoding)))
    if longest > context_length:
        raise ValueError(f"a story of {longest} tokens does not fit into a "
                         f"context of {context_length}: give a larger one")
    validation = pt.bucket_batches(rows, 32)
    floor = sum(s.nll for s in stories) / pt.count_graded(validation)
    return pt.Task("storyteller", encoding,
                pt.story_batches(world, encoding, batch_size, seed),
                validation, floor, world.parse)


def text_task(path: str | Path, tokenizer: str = "own",
              vocab_size: int = 2048, batch_size: int = 8,
              context_length: int = 256, seed: int = 123) -> pt.Task:
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
    return pt.Task(Path(path).stem, encoding, endless(loader), list(rest))


def encode_prompt(tokenizer: Any, prefix: str, prompt: str) -> list[int]:
    """The prompt as in training, <|endoftext|> first.

    The prefix is a space if the model learned texts that begin with one:
    it belongs to the first word, and is not shown.
    """
    text = f"{prefix}{prompt}"
    return [tokenizer.eot_token, *tokenizer.encode_ordinary(
        text.rstrip(" ") if prefix else text)]


def text_table(rows: Iterable[Iterable]) -> str:
    """Rows as lines, the first column to the left, the others right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in
              itertools.zip_longest(*cells, fillvalue="")]
    return "\n".join("  ".join(
        cell.ljust(w) if i == 0 else cell.rjust(w)
        for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    ).rstrip() for row in cells)


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
                max_new_tokens: int, seen: list[int] | None = None,
                **how: Any) -> Iterator[str]:
    """Text piece by piece, as the model writes it, without the prompt.

    seen: its ids are added here. how: as for generate_tokens. Ends at
    <|endoftext|>.
    """
    eot = tokenizer.eot_token
    start = torch.tensor([ids], device=next(model.parameters()).device)
    new = generate_tokens(model, start, max_new_tokens, stop_id=eot, **how)
    written = itertools.takewhile(lambda i: i != eot,
                                  (step.item() for step in new))
    if seen is not None:
        written = (seen.append(i) or i for i in written)
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


def room(model: GPTModel) -> int:
    """How many tokens fit after the first one."""
    return model.cfg["context_length"] - 1


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


def status_line(record: dict, steps: int, floor: float | None) -> str:
    """One line about an evaluated step."""
    ratio = f", {record['validation'] / floor:.3f} x floor" if floor else ""
    return (f"step {record['step']:,}/{steps:,}, "
            f"{record['tokens'] / 1e6:.2f}M tokens: training "
            f"{record['train']:.3f}, validation {record['validation']:.3f}"
            f"{ratio}, rate {record['rate']:.1e}")


def sample_line(model: GPTModel, task: pt.Task, seed: int) -> str:
    """One sample on one line, as it is shown while training."""
    text = pt.sample_texts(model, task.tokenizer, 1, seed,
                           max_new_tokens=room(model))[0]
    mark = ""
    if task.parse is not None:
        verdict = task.parse(text)
        mark = "valid: " if verdict.ok else f"broken ({verdict.reason}): "
    return f"  {mark}{' '.join(text.split())[:160]}"


def say(line: str) -> None:
    """Print a line above a progress bar, as long as somebody reads it."""
    try:
        tqdm.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def opening_line(model: GPTModel, task: pt.Task, precision: str) -> str:
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
    if why := metrics["stopped"]:
        advice = ("the checkpoint can be used" if why == "interrupted" else
                  "try a lower --rate")
        start = f"stopped ({why}), {advice}: "
    return f"{start}{', '.join(parts)}; all in {folder}"


def processor() -> str:
    """The name of this machine's processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines
                    if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def hardware(device: torch.device) -> str:
    """What this runs on; no name of a user or computer is told."""
    parts = [f"{processor()}, {os.cpu_count()} logical cores",
             f"{platform.system()}, Python {platform.python_version()}"]
    if device.type == "cuda":
        parts.insert(0, torch.cuda.get_device_name(device))
    return "; ".join(parts)


def run_metrics(model: GPTModel, task: pt.Task, history: list[dict],
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
    work = speed * pt.flops_per_token(model.cfg, length) / 1e9
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    peak = pt.matmul_speed(device, dtype or torch.float32) / 1e9
    return {"val_loss": known[-1] if known else None, "floor": task.floor,
            "tokens_seen": last["tokens"], "tokens_per_second": speed,
            "seconds": last["seconds"], "steps": len(history),
            "parameters": count_parameters(model), "config": model.cfg,
            "seed": seed, "precision": precision, "device": str(device),
            "threads": torch.get_num_threads(), "gflops": work,
            "peak_gflops": peak, "utilisation": work / peak,
            "hardware": hardware(device), "torch": torch.__version__}


def columns(history: list[dict], most: int = 1000) -> dict[str, list]:
    """Records as one list per key, rounded: small enough for a file.

    Of a long run about `most` steps are kept, and every evaluated one.
    """
    every = -(-len(history) // most)
    history = [h for n, h in enumerate(history, 1)
               if n % every == 0 or h["validation"] or n == len(history)]

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
        with plt.style.context("scratch_llm.scratch"):
            ax = pt.plot_losses(history, metrics["floor"])
            with atomic(folder / "loss.png") as temporary:
                ax.figure.savefig(temporary, format="png")
            plt.close(ax.figure)


def calibrate_run(model: GPTModel, task: pt.Task, metrics: dict) -> None:
    """Make temperature 1 the best one, on stories never trained on.

    Counts as training time. Text has no stories to spare and is left.
    """
    if task.floor is None:
        return
    began, fresh = time.perf_counter(), []
    while sum(len(inputs) for inputs, _ in fresh) < 600:
        fresh.append(next(task.batches))
    dial = [0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08]
    losses = pt.calibrate(model, fresh, dial)
    metrics["calibrated_by"] = min(losses, key=losses.get)
    metrics["seconds"] += time.perf_counter() - began


def judge_run(folder: Path, model: GPTModel, task: pt.Task, metrics: dict,
              n: int) -> None:
    """Final loss in fp32, n samples in samples.txt, their validity."""
    n = n if task.parse else min(n, 10)
    say(f"trained; now calibrating and writing {n} samples ..." if task.floor
        else f"trained; now writing {n} samples ...")
    calibrate_run(model, task, metrics)
    save_weights(folder, model, task)
    metrics["val_loss"] = pt.evaluate(model, task.validation)
    texts = pt.sample_texts(model, task.tokenizer, n, metrics["seed"],
                            max_new_tokens=room(model))
    write_text(folder / "samples.txt", marked_samples(texts, task.parse))
    if task.parse is not None:
        valid, reasons = pt.judge_texts(texts, task.parse)
        metrics |= {"valid_stories": valid,
                    "broken": dict(reasons.most_common())}


def finish(folder: Path, model: GPTModel, task: pt.Task,
           history: list[dict], precision: str, options: dict,
           stopped: str = "") -> int:
    """Save all of a run, judge it unless it was stopped; the exit code.

    0, or 130 after Ctrl-C, or 1 if training broke down; then the weights of
    the last evaluation stay, if there are any.
    """
    if (stopped in ("", "interrupted")
            or not (folder / "model.safetensors").exists()):
        save_weights(folder, model, task)
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
    say(closing_line(folder, metrics))
    return {"": 0, "interrupted": 130}.get(metrics["stopped"], 1)
