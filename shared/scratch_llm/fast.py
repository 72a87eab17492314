"""The same numbers sooner, in two cases where PyTorch is slow on a CPU.

all_cores is for writing token by token, attention for training in bf16. No
lesson needs them to be right: take them away and only the time changes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COUNTING = threading.RLock()  # a server writes several texts at once


def parts(rows: int) -> int:
    """Into how many equal parts a matrix is cut: 8, or the next that fits."""
    return next((n for n in range(8, 65) if rows % n == 0), 1)


class SplitLinear(nn.Linear):
    """nn.Linear as all_cores has it: one row times n parts of the matrix.

    PyTorch computes a matrix times one vector on one core. A batch of
    products is shared among the cores, and this one holds the same numbers.
    """

    def forward(self, x: Tensor) -> Tensor:
        C = self.in_features
        if x.numel() != C:
            return super().forward(x)
        n = parts(self.out_features)
        row = x.reshape(1, 1, C).expand(n, 1, C)
        cut = self.weight.view(n, -1, C).mT  # (n, C, out / n)
        if self.bias is None:
            y = torch.bmm(row, cut)
        else:
            y = torch.baddbmm(self.bias.view(n, 1, -1), row, cut)
        return y.view(*x.shape[:-1], -1)


def gains(layer: nn.Module) -> bool:
    """Whether this is a plain fp32 nn.Linear on the CPU, and large enough."""
    if type(layer) not in (nn.Linear, SplitLinear):
        return False
    W = layer.weight
    plain = W.device.type == "cpu" and W.dtype == torch.float32
    return plain and W.numel() >= 2**18 and parts(len(W)) > 1


@contextmanager
def all_cores(model: nn.Module) -> Iterator[None]:
    """Inside, nn.Linear layers of the model take single rows on every core.

    Contexts of one model may overlap in any order: a layer is itself again
    when the last of them ends.
    """
    layers = [layer for layer in model.modules() if gains(layer)]
    with COUNTING:
        for layer in layers:
            layer.contexts = getattr(layer, "contexts", 0) + 1
            layer.__class__ = SplitLinear
    try:
        yield
    finally:
        with COUNTING:
            for layer in layers:
                layer.contexts -= 1
                if not layer.contexts:
                    layer.__class__ = nn.Linear
                    del layer.contexts


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
) -> Tensor:
    """F.scaled_dot_product_attention: q (B, H, T, D), k and v (B, H, S, D).

    mask (T, S) is added to the scores. In bf16 training on a CPU, and for
    up to 256 positions, the plain steps are quicker than the library.
    """
    (B, H, T, D), S = q.shape, k.shape[2]
    bf16 = q.dtype == torch.bfloat16 and q.device.type == "cpu"
    if not (bf16 and q.requires_grad and S <= 256):
        return F.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_causal
        )
    if is_causal:
        mask = q.new_full((T, S), -torch.inf).triu(1)
    elif mask is None:
        mask = q.new_zeros(T, S)
    scores = torch.baddbmm(
        mask.expand(B * H, T, S),
        q.flatten(0, 1),
        k.flatten(0, 1).mT,
        alpha=D**-0.5,
    )
    weights = F.dropout(scores.softmax(-1), dropout)  # (B * H, T, S)
    return (weights @ v.flatten(0, 1)).view(B, H, T, D)
