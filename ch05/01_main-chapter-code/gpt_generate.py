"""Let a model write: the storyteller, your own runs, or GPT-2.

python gpt_generate.py --prompt "One day," --top-p 0.9
python gpt_generate.py --model gpt2-small --prompt "The sea"
python gpt_generate.py --compare storyteller gpt2-small --prompt "One day,"
"""

import argparse
import math
import os
import signal
import sys
import time

import tiktoken
import torch
from pretraining import encode_prompt, from_pretrained, stream_text, sum_nll
from previous_chapters import GPTModel, count_parameters
from scratch_llm.cli import (
    SEEDS,
    ShortParser,
    between,
    nobody_reads,
    run_script,
)
from scratch_llm.gpt2_files import GPT2, DownloadError
from scratch_llm.runs import newest_run
from scratch_llm.text import text_table

OPTIONS = [  # name, type, default, what it is
    ("weights", str, "gpt2", "where GPT-2's weights lie (default gpt2)"),
    ("prompt", str, "", "how the text begins"),
    (
        "temperature",
        between(0, 100, float),
        1.0,
        "0 takes the likeliest token (default 1)",
    ),
    ("top-k", between(1), None, "only the k likeliest"),
    (
        "top-p",
        between(1e-9, 1, float),
        None,
        "only the likeliest that add up to p",
    ),
    ("max-new-tokens", between(1), 256, "longest text (default 256)"),
    ("stop", str, None, "end before this text appears"),
    ("n", between(1), 1, "how many texts"),
    ("seed", between(0, SEEDS), None, "the same seed writes the same text"),
    ("device", str, None, "cpu, cuda or mps (default: the best)"),
]


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="gpt_generate.py", description=__doc__.split("\n")[0])
    which = p.add_mutually_exclusive_group()
    which.add_argument(
        "--model",
        metavar="MODEL",
        help=f"storyteller, {', '.join(GPT2)}, or a run folder (default: the "
        "newest run, else the storyteller)",
    )
    which.add_argument(
        "--compare",
        nargs="+",
        metavar="MODEL",
        help="let several write, and measure them",
    )
    which.add_argument("--checkpoint", metavar="RUN", help="a run folder")
    for name, kind, default, text in OPTIONS:
        p.add_argument(f"--{name}", type=kind, default=default, help=text)
    p.add_argument(
        "--download",
        action="store_true",
        help="fetch GPT-2's weights if they are not there",
    )
    p.add_argument("--force-cpu", action="store_true")
    return p.parse_args(argv)


def default_model(args: argparse.Namespace) -> str:
    """--checkpoint, else the newest run or the storyteller (on stderr)."""
    if args.checkpoint:
        return os.path.join(".", args.checkpoint)  # a folder, no name
    try:
        name = str(newest_run())
    except ValueError:
        name = "storyteller"
    print(f"model: {name} (--model names another)", file=sys.stderr)
    return name


def write(
    args: argparse.Namespace, model: GPTModel, tokenizer: tiktoken.Encoding
) -> int:
    """Print the prompt and what the model adds, as it comes; its tokens."""
    generator = torch.Generator(next(model.parameters()).device)
    seed = torch.seed() if args.seed is None else args.seed
    generator.manual_seed(seed)
    tokens = 0
    for i in range(args.n):
        if args.n > 1:
            print(f"--- {i + 1}")
        print(args.prompt, end="", flush=True)
        for piece in stream_text(
            model,
            tokenizer,
            args.prompt,
            args.max_new_tokens,
            args.stop,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            generator=generator,
        ):
            print(piece, end="", flush=True)
            tokens += 1
        print()
    return tokens


@torch.no_grad()
def surprise(
    model: GPTModel, tokenizer: tiktoken.Encoding, prompt: str
) -> tuple[float, float]:
    """Perplexity per token, and bits per byte, of a prompt.

    What does not fit into the context is read in windows, each anew.
    """
    T = model.cfg["context_length"]
    ids = torch.tensor(
        [encode_prompt(tokenizer, prompt)],
        device=next(model.parameters()).device,
    )
    inputs, targets = ids[:, :-1], ids[:, 1:]  # (1, N) each
    windows = zip(inputs.split(T, 1), targets.split(T, 1), strict=True)
    nll = sum(sum_nll(model(x), y).item() for x, y in windows)
    size = len(prompt.encode("utf-8", "replace"))
    return math.exp(nll / targets.numel()), nll / math.log(2) / size


def compare(args: argparse.Namespace, device: str | None) -> None:
    """Let each model write, one below the other, and print a table."""
    if not (prompt := args.prompt.rstrip(" ")):
        raise ValueError(
            "--compare measures perplexity on the prompt: give --prompt with "
            "at least a word"
        )
    rows = [("model", "parameters", "perplexity", "bits/byte", "tokens/s")]
    for name in args.compare:
        both = from_pretrained(name, device, args.weights, args.download)
        perplexity, bits = surprise(*both, prompt)
        print(f"=== {name}")
        start = time.perf_counter()
        speed = write(args, *both) / (time.perf_counter() - start)
        size = f"{count_parameters(both[0]):,}"
        rows.append(
            (name, size, f"{perplexity:.4g}", f"{bits:.3f}", f"{speed:.0f}")
        )
    print(
        "\nPerplexity is per token and tokenizers differ, so compare the "
        "bits per byte of the prompt."
    )
    print(text_table(rows))


def run(args: argparse.Namespace) -> None:
    device = "cpu" if args.force_cpu else args.device
    if args.compare:
        return compare(args, device)
    name = args.model or default_model(args)
    write(args, *from_pretrained(name, device, args.weights, args.download))


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        run(args)
    except BrokenPipeError:
        nobody_reads()
    except (ValueError, OSError) as error:
        print(f"gpt_generate.py: error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DownloadError | ConnectionError) else 2
    except RuntimeError as error:  # not finite, no memory
        reason = str(error).splitlines()[0]
        print(
            f"gpt_generate.py: error: the model cannot write: {reason}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(run_script(main))
