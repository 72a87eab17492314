"""Let a model write: the storyteller, your own runs, or GPT-2.

    python gpt_generate.py --prompt "One day," --top-p 0.9
    python gpt_generate.py --model gpt2-small --prompt "The sea"
    python gpt_generate.py --compare storyteller gpt2-small --prompt "One day,"
"""
import argparse
import os
import signal
import sys
import time
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent)]
import gpt_files as files  # noqa: E402
import gpt_models as models  # noqa: E402
from gpt_download import DownloadError  # noqa: E402
from gpt_options import SEEDS, ShortParser, between  # noqa: E402
from previous_chapters import count_parameters, pick_device  # noqa: E402

OPTIONS = [  # name, type, default, what it is
    ("weights", str, "gpt2", "where GPT-2's weights lie (default gpt2)"),
    ("prompt", str, "", "how the text begins"),
    ("temperature", between(0, 100, float), 1.0,
     "0 takes the likeliest token (default 1)"),
    ("top-k", between(1), None, "only the k likeliest"),
    ("top-p", between(1e-9, 1, float), None,
     "only the likeliest that add up to p"),
    ("max-new-tokens", between(1), 256, "longest text (default 256)"),
    ("stop", str, None, "end before this text appears"),
    ("n", between(1), 1, "how many texts"),
    ("seed", between(0, SEEDS), None, "the same seed writes the same text"),
    ("device", str, None, "cpu, cuda or mps (default: the best)"),
]


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(description=__doc__.split("\n")[0],
                    prog="gpt_generate.py")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--model", metavar="MODEL", help=f"{models.NAMES} "
                       "(default: the newest run, else the storyteller)")
    which.add_argument("--compare", nargs="+", metavar="MODEL",
                       help="let several write, and measure them")
    which.add_argument("--checkpoint", metavar="RUN", help="a run folder")
    for name, kind, default, text in OPTIONS:
        p.add_argument(f"--{name}", type=kind, default=default, help=text)
    p.add_argument("--download", action="store_true",
                   help="fetch GPT-2's weights if they are not there")
    p.add_argument("--force-cpu", action="store_true")
    return p.parse_args(argv)


def default_model(args: argparse.Namespace) -> str:
    """--checkpoint, else the newest run or the storyteller (on stderr)."""
    if args.checkpoint:
        return os.path.join(".", args.checkpoint)      # a folder, no name
    try:
        name = str(files.newest_run())
    except ValueError:
        name = "storyteller"
    print(f"model: {name} (--model names another)", file=sys.stderr)
    return name


def write(args: argparse.Namespace, writer: models.Writer) -> list[int]:
    """Print the prompt and what the model adds, as it comes; its ids."""
    generator, seen = models.new_generator(writer.model, args.seed), []
    for i in range(args.n):
        if args.n > 1:
            print(f"--- {i + 1}")
        print(args.prompt, end="", flush=True)
        for piece in writer.stream(
                args.prompt, args.max_new_tokens, args.stop, seen=seen,
                temperature=args.temperature, top_k=args.top_k,
                top_p=args.top_p, generator=generator):
            print(piece, end="", flush=True)
        print()
    return seen


def compare(args: argparse.Namespace, device: torch.device) -> None:
    """Let each model write, one below the other, and print a table."""
    if not (prompt := args.prompt.rstrip(" ")):
        raise ValueError("--compare measures perplexity on the prompt: give "
                         "--prompt with at least a word")
    paths = [models.find(name, args.weights, args.download)
             for name in args.compare]
    rows = [("model", "parameters", "perplexity", "bits/byte", "tokens/s")]
    for name, path in zip(args.compare, paths, strict=True):
        writer = models.load(name, path, device)
        perplexity, bits = models.surprise(writer, prompt)
        print(f"=== {name}")
        start = time.perf_counter()
        speed = len(write(args, writer)) / (time.perf_counter() - start)
        rows.append((name, f"{count_parameters(writer.model):,}",
                     f"{perplexity:.4g}", f"{bits:.3f}", f"{speed:.0f}"))
    print("\nPerplexity is per token and tokenizers differ, so compare the "
          "bits per byte of the prompt.")
    width = max(len(row[0]) for row in rows)
    for first, *rest in rows:
        print(f"{first:{width}}", *(f"{cell:>13}" for cell in rest))


def run(args: argparse.Namespace) -> None:
    device = pick_device("cpu" if args.force_cpu else args.device)
    if args.compare:
        compare(args, device)
        return
    name = args.model or default_model(args)
    path = models.find(name, args.weights, args.download)
    write(args, models.load(name, path, device))


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        run(args)
    except BrokenPipeError:                        # its reader has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        print(f"gpt_generate.py: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DownloadError | ConnectionError) else 2
    except RuntimeError as error:                  # not finite, no memory
        print("gpt_generate.py: error: the model cannot write: "
              f"{str(error).splitlines()[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):         # Windows consoles
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print()
        raise SystemExit(130) from None
