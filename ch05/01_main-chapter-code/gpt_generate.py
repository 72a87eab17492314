"""Let a trained model write, token by token as it thinks of them.

    python gpt_generate.py --prompt "One day," --top-p 0.9
    python gpt_generate.py --checkpoint runs/storyteller-001 --n 3
"""
import argparse
import signal
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import gpt_files as files  # noqa: E402
from previous_chapters import GPTModel, pick_device  # noqa: E402


def options(argv: list[str] | None) -> argparse.Namespace:
    whole = files.between
    p = files.ShortParser(description=__doc__.split("\n")[0],
                      prog="gpt_generate.py")
    p.add_argument("--checkpoint", metavar="RUN",
                   help="run folder (default: the newest one in runs/)")
    p.add_argument("--prompt", default="", help="how the text begins")
    p.add_argument("--temperature", type=whole(0, 100, float), default=1.0,
                   help="0 takes the likeliest token (default 1)")
    p.add_argument("--top-k", type=whole(1), help="only the k likeliest")
    p.add_argument("--top-p", type=whole(1e-9, 1, float),
                   help="only the likeliest that add up to p")
    p.add_argument("--max-new-tokens", type=whole(1), default=256)
    p.add_argument("--stop", help="end before this text appears")
    p.add_argument("--n", type=whole(1), default=1, help="how many texts")
    p.add_argument("--seed", type=whole(0), default=None,
                   help="the same seed writes the same text")
    p.add_argument("--device", help="cpu, cuda or mps (default: the best)")
    p.add_argument("--force-cpu", action="store_true")
    return p.parse_args(argv)


def write(args: argparse.Namespace, model: GPTModel, tokenizer,
          prefix: str) -> None:
    """Print the prompt and what the model adds to it, as it comes.

    The prefix is a space if the model learned texts that begin with one:
    it belongs to the first word, and is not shown.
    """
    prompt = f"{prefix}{args.prompt}"
    ids = tokenizer.encode_ordinary(prompt.rstrip(" ") if prefix else prompt)
    generator = torch.Generator(next(model.parameters()).device)
    if args.seed is None:
        generator.seed()
    else:
        generator.manual_seed(args.seed)
    for i in range(args.n):
        if args.n > 1:
            print(f"--- {i + 1}")
        print(args.prompt, end="", flush=True)
        pieces = files.stream_text(
            model, tokenizer, [tokenizer.eot_token, *ids],
            args.max_new_tokens, temperature=args.temperature,
            top_k=args.top_k, top_p=args.top_p, generator=generator)
        start = prefix and not args.prompt
        for piece in files.until(pieces, args.stop):
            print(piece.lstrip(" ") if start else piece, end="", flush=True)
            start = False
        print()


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        device = pick_device("cpu" if args.force_cpu else args.device)
        folder = Path(args.checkpoint or files.newest_run())
        if folder.is_file():
            folder = folder.parent
        model = files.load_model(folder / "model.safetensors", device)
        tokenizer = files.load_tokenizer(folder, model.cfg["vocab_size"])
        prefix = files.read_prefix(folder / "model.safetensors")
    except (ValueError, OSError) as error:
        print(f"gpt_generate.py: error: {error}", file=sys.stderr)
        return 2
    write(args, model, tokenizer, prefix)
    return 0


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")   # Windows consoles
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print()
        raise SystemExit(130) from None
