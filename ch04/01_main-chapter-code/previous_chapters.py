# GENERATED from ch02/01_main-chapter-code/ch02.ipynb
#            and ch03/01_main-chapter-code/ch03.ipynb
# Do not edit. Change the notebook and run: python shared/export.py

import base64
from pathlib import Path

import tiktoken
import torch
import torch.nn.functional as F
from scratch_llm.gpt2_vocabulary import bring_vocabulary
from torch import Tensor, nn

# ---- ch02: text_data ----

END_OF_TEXT = "<|endoftext|>"

GPT2_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d"     # English endings
    r"| ?\p{L}+| ?\p{N}+"          # letters, digits, with one space before
    r"| ?[^\s\p{L}\p{N}]+"         # anything else that is not space
    r"|\s+(?!\S)|\s+"              # space; its last goes to the next word
)


def gpt2_encoding() -> tiktoken.Encoding:
    """GPT-2's tokenizer, also where tiktoken's own download is blocked.

    ConnectionError, after seconds and not minutes, if there is no way.
    """
    bring_vocabulary()
    return tiktoken.get_encoding("gpt2")


def read_ranks(path: str | Path) -> dict[bytes, int]:
    """Read tiktoken's format; ValueError if the file is something else."""
    lines = Path(path).read_bytes().splitlines()
    try:
        return {base64.b64decode(token, validate=True): int(rank)
                for token, rank in map(bytes.split, lines)}
    except ValueError as why:
        raise ValueError(f"{path} is no file of ranks: {why}") from None


def load_encoding(path: str | Path) -> tiktoken.Encoding:
    """A saved vocabulary run by tiktoken; END_OF_TEXT follows the ranks."""
    ranks = read_ranks(path)
    return tiktoken.Encoding(
        Path(path).stem, pat_str=GPT2_PATTERN, mergeable_ranks=ranks,
        special_tokens={END_OF_TEXT: len(ranks)})


# ---- ch03: attention ----


def causal_weights(q: Tensor, k: Tensor) -> Tensor:
    """How much each position reads from itself and from the past.

    q, k (..., T, D) -> (..., T, T): rows sum to 1, columns > t are 0.
    Raises ValueError if shapes differ. Source: Vaswani 2017, eq. 1, 3.2.3.
    """
    if q.shape != k.shape:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} differ")
    T, D = q.shape[-2:]
    scores = q @ k.transpose(-2, -1) / D**0.5           # steps 1, 2
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    scores = scores.masked_fill(future, -torch.inf)     # (..., T, T)
    return scores.softmax(dim=-1)                       # step 3


def head_size(d_out: int, num_heads: int) -> int:
    """How many channels each head gets: D = d_out / num_heads.

    Raises ValueError if the channels do not divide evenly.
    """
    if num_heads < 1 or d_out % num_heads:
        raise ValueError(f"d_out={d_out} channels cannot be divided evenly "
                         f"among num_heads={num_heads}")
    return d_out // num_heads


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Make heads an axis of their own: (B, T, C) -> (B, H, T, D)."""
    B, T, C = x.shape
    D = head_size(C, num_heads)
    return x.view(B, T, num_heads, D).transpose(1, 2)   # (B, H, T, D)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads side by side again: (B, H, T, D) -> (B, T, C)."""
    return x.transpose(1, 2).flatten(2)                 # (B, T, C)


def naive_attention(q: Tensor, k: Tensor, v: Tensor,
                    causal: bool = True) -> Tensor:
    """Attention with every step written out, to compare fast forms with.

    q, k (..., T, D) and v (..., T, E) -> (..., T, E). Without causal, k and
    v may be of another length than q. Source: Vaswani 2017, equation 1.
    """
    if causal:
        return causal_weights(q, k) @ v
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ v


def check_input(x: Tensor, d_in: int, context_length: int) -> None:
    """Raise ValueError unless x is (B, T, d_in) with T <= context_length."""
    if x.ndim != 3 or x.shape[-1] != d_in:
        raise ValueError(f"x has shape {tuple(x.shape)}, not (B, T, {d_in})")
    if x.shape[1] > context_length:
        raise ValueError(f"{x.shape[1]} tokens are more than "
                         f"context_length={context_length}")


class MultiHeadAttention(nn.Module):
    """Causal attention in several heads: (B, T, d_in) -> (B, T, d_out).

    Raises ValueError if num_heads does not divide d_out, if dropout is not
    a probability, and for input that does not fit (see check_input).
    Source: Vaswani 2017, section 3.2.2.
    """

    def __init__(self, d_in: int, d_out: int, context_length: int,
                 dropout: float, num_heads: int, qkv_bias: bool = False):
        super().__init__()
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout={dropout} is not between 0 and 1")
        self.head_size = head_size(d_out, num_heads)
        self.num_heads, self.context_length = num_heads, context_length
        self.dropout = dropout
        self.qkv = nn.Linear(d_in, 3 * d_out, bias=qkv_bias)
        self.out_proj = nn.Linear(d_out, d_out)

    def forward(self, x: Tensor) -> Tensor:
        check_input(x, self.qkv.in_features, self.context_length)
        q, k, v = self.qkv(x).chunk(3, dim=-1)          # (B, T, d_out) each
        q = split_heads(q, self.num_heads)              # (B, H, T, D)
        k = split_heads(k, self.num_heads)              # (B, H, T, D)
        v = split_heads(v, self.num_heads)              # (B, H, T, D)
        p = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(           # steps 1 to 4
            q, k, v, is_causal=True, dropout_p=p)       # (B, H, T, D)
        out = merge_heads(out)                          # (B, T, d_out)
        return self.out_proj(out)                       # (B, T, d_out)
