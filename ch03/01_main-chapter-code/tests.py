"""What must hold of chapter 3's attention, whatever its input.

Properties first, then independent oracles (PyTorch's own attention), then
errors.
"""

from __future__ import annotations

from pathlib import Path

import attention
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
few = settings(max_examples=40, deadline=None, derandomize=True)
small = st.integers(1, 4)
lengths = st.integers(1, 17)
seeds = st.integers(0, 1000)


@pytest.fixture(scope="module")
def lesson(notebook_names):
    return notebook_names(HERE / "ch03.ipynb")


def random_qkv(seed: int, *shape: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(3, *shape)


def build(H: int, D: int, T: int, p: float = 0.0, **more):
    return attention.MultiHeadAttention(H * D, H * D, T, p, H, **more)


# ---- Properties ----------------------------------------------------------


@few
@given(B=small, T=lengths, D=small, seed=seeds)
def test_rows_are_weights_of_the_past(B, T, D, seed):
    q, k, _ = random_qkv(seed, B, T, D)
    w = attention.causal_weights(q, k)
    assert w.shape == (B, T, T)
    assert_close(w.sum(-1), torch.ones(B, T))
    assert (w >= 0).all()
    assert torch.equal(w, w.tril())
    assert (w[:, -1] > 0).all(), "the last token reads everything"


@few
@given(
    B=small,
    T=st.integers(2, 17),
    H=small,
    D=small,
    seed=seeds,
    training=st.booleans(),
    data=st.data(),
)
def test_past_is_unchanged_by_the_future(B, T, H, D, seed, training, data):
    cut = data.draw(st.integers(1, T - 1))
    torch.manual_seed(seed)
    layer = build(H, D, T, p=0.3).train(training)
    x = torch.randn(B, T, H * D)
    other = x.clone()
    other[:, cut:] = 50 * torch.randn(B, T - cut, H * D)
    torch.manual_seed(0)
    before = layer(x)
    torch.manual_seed(0)  # the same dropout
    after = layer(other)
    assert torch.equal(before[:, :cut], after[:, :cut])


def test_present_is_changed_by_the_past():
    torch.manual_seed(0)
    layer, x = build(2, 4, 6), torch.randn(1, 6, 8)
    other = x.clone()
    other[:, 0] += 1
    changed = (layer(x) - layer(other)).abs().amax(-1)[0]
    assert (changed > 1e-4).all(), "every later token should feel token 0"


@few
@given(T=lengths, H=small, D=small, seed=seeds)
def test_a_prefix_is_read_as_if_it_were_alone(T, H, D, seed):
    torch.manual_seed(seed)
    layer, x = build(H, D, 17), torch.randn(2, 17, H * D)
    assert_close(layer(x)[:, :T], layer(x[:, :T]))


def test_texts_of_a_batch_do_not_meet():
    torch.manual_seed(0)
    layer, x = build(2, 4, 6), torch.randn(3, 6, 8)
    alone = torch.cat([layer(text[None]) for text in x])
    assert_close(layer(x), alone)


@few
@given(T=lengths, D=small, seed=seeds)
def test_without_a_mask_order_does_not_matter(T, D, seed):
    q, k, v = random_qkv(seed, 2, T, D)
    order = torch.randperm(T)
    out = attention.naive_attention(q, k, v, causal=False)
    shuffled = attention.naive_attention(
        q[:, order], k[:, order], v[:, order], causal=False
    )
    assert_close(shuffled, out[:, order])


def test_with_a_mask_order_matters():
    q, k, v = random_qkv(0, 1, 5, 4)
    back = [t.flip(1) for t in (q, k, v)]
    out = attention.naive_attention(q, k, v)
    assert not torch.allclose(attention.naive_attention(*back), out.flip(1))


@pytest.mark.parametrize("D", [1, 4, 64])
def test_scores_are_divided_by_the_root_of_d(D):
    q, k, _ = random_qkv(1, 5, D)
    w = attention.causal_weights(q, k)
    gap = (w[-1, 1] / w[-1, 0]).log()
    assert_close(gap, (q[-1] @ (k[1] - k[0])) / D**0.5, atol=1e-4, rtol=1e-4)


def test_weights_survive_loud_tokens():
    q, k, _ = 1000 * random_qkv(2, 4, 8)
    assert attention.causal_weights(q, k).isfinite().all()


@few
@given(B=small, T=lengths, H=small, D=small)
def test_heads_are_neighbouring_channels(B, T, H, D):
    x = torch.arange(B * T * H * D).view(B, T, H * D)
    heads = attention.split_heads(x, H)
    assert heads.shape == (B, H, T, D)
    for h in range(H):
        assert torch.equal(heads[:, h], x[..., h * D : (h + 1) * D])
    assert torch.equal(attention.merge_heads(heads), x)


def test_maps_are_what_the_layer_reads():
    torch.manual_seed(3)
    layer, x = build(3, 4, 9, qkv_bias=True), torch.randn(2, 9, 12)
    maps = attention.attention_maps(layer, x)
    v = attention.split_heads(layer.qkv(x)[..., 24:], 3)
    out = layer.out_proj(attention.merge_heads(maps @ v))
    assert maps.shape == (2, 3, 9, 9)
    assert_close(out, layer(x))


def test_dropout_acts_in_training_only_and_is_fair():
    torch.manual_seed(4)
    layer, x = build(2, 4, 6, p=0.5), torch.randn(1, 6, 8)
    quiet = layer.eval()(x)
    assert torch.equal(quiet, layer(x))
    layer.train()
    many = layer(x.expand(8000, -1, -1))
    assert not torch.allclose(many[0], many[1]), "no dropout in training"
    assert_close(many.mean(0), quiet[0], atol=0.03, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_types_are_kept(dtype):
    layer = build(2, 4, 6).to(dtype)
    assert layer(torch.randn(1, 6, 8, dtype=dtype)).dtype == dtype
    q, k, v = random_qkv(0, 6, 4).to(dtype)
    assert attention.naive_attention(q, k, v).dtype == dtype


def test_input_and_output_may_differ_in_width():
    layer = attention.MultiHeadAttention(5, 12, 7, 0.0, 3, qkv_bias=True)
    assert layer(torch.randn(2, 7, 5)).shape == (2, 7, 12)
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    assert shapes == {
        "qkv.weight": (36, 5),
        "qkv.bias": (36,),
        "out_proj.weight": (12, 12),
        "out_proj.bias": (12,),
    }


def test_checkpoint_holds_no_mask_and_fits_any_length():
    short, long = build(2, 4, 8), build(2, 4, 32)
    assert set(short.state_dict()) == {
        "qkv.weight",
        "out_proj.weight",
        "out_proj.bias",
    }
    long.load_state_dict(short.state_dict())
    x = torch.randn(1, 8, 8)
    assert torch.equal(long(x), short(x))


# ---- Oracles -------------------------------------------------------------


@few
@given(B=small, T=lengths, H=small, D=small, seed=seeds, causal=st.booleans())
def test_naive_equals_pytorch(B, T, H, D, seed, causal):
    qkv = random_qkv(seed, B, H, T, D).requires_grad_()
    upstream = torch.randn(B, H, T, D)
    mine = attention.naive_attention(*qkv, causal=causal)
    theirs = F.scaled_dot_product_attention(*qkv, is_causal=causal)
    assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    one, two = (torch.autograd.grad(o, qkv, upstream) for o in (mine, theirs))
    assert_close(one, two, atol=1e-5, rtol=1e-4)


def test_naive_reads_another_text():
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, n, d) for n, d in ((3, 4), (5, 4), (5, 6)))
    out = attention.naive_attention(q, k, v, causal=False)
    assert_close(out, F.scaled_dot_product_attention(q, k, v))


@few
@given(B=small, T=lengths, H=small, D=small, seed=seeds, bias=st.booleans())
def test_layer_equals_pytorchs_module(B, T, H, D, seed, bias):
    torch.manual_seed(seed)
    C = H * D
    mine = build(H, D, T, qkv_bias=bias)
    theirs = nn.MultiheadAttention(C, H, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(mine.qkv.weight)
        theirs.in_proj_bias.copy_(mine.qkv.bias if bias else torch.zeros(1))
    theirs.out_proj.load_state_dict(mine.out_proj.state_dict())
    x, upstream = torch.randn(B, T, C), torch.randn(B, T, C)
    x.requires_grad_()
    hidden = torch.ones(T, T, dtype=torch.bool).triu(1)
    outs = mine(x), theirs(x, x, x, attn_mask=hidden, need_weights=False)[0]
    assert_close(*outs, atol=1e-5, rtol=1e-4)
    assert_close(
        *(torch.autograd.grad(out, x, upstream) for out in outs),
        atol=1e-5,
        rtol=1e-4,
    )


def test_gradient_equals_finite_differences():
    qkv = random_qkv(5, 2, 4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: attention.naive_attention(*t), qkv
    )


# ---- The lesson's own steps ----------------------------------------------


def test_mask_buffer_moves_but_is_not_saved(lesson):
    head = lesson["CausalAttention"](4, 4, context_length=8)
    assert [name for name, _ in head.named_buffers()] == ["future"]
    assert "future" not in head.state_dict()
    assert head.to("meta").future.device.type == "meta"


@pytest.mark.parametrize("num_heads", [1, 2, 6])
def test_fused_layer_equals_the_list_of_heads(lesson, num_heads):
    torch.manual_seed(6)
    plain = lesson["MultiHeadAttentionWrapper"](12, 12, 9, 0.0, num_heads)
    fused = attention.MultiHeadAttention(12, 12, 9, 0.0, num_heads)
    with torch.no_grad():
        fused.qkv.weight.copy_(
            torch.cat(
                [
                    getattr(head, name).weight
                    for name in ("query", "key", "value")
                    for head in plain.heads
                ]
            )
        )
    fused.out_proj.load_state_dict(plain.out_proj.state_dict())
    x = torch.randn(2, 9, 12)
    assert_close(fused(x), plain(x))


@pytest.mark.parametrize("num_heads", [1, 2, 6])
def test_hand_written_layer_equals_the_exported_one(lesson, num_heads):
    torch.manual_seed(8)
    plain = lesson["HandWrittenAttention"](12, 12, 9, 0.0, num_heads)
    fused = attention.MultiHeadAttention(12, 12, 9, 0.0, num_heads)
    fused.load_state_dict(plain.state_dict())
    x = torch.randn(2, 9, 12)
    assert_close(fused(x), plain(x))


def test_self_attention_equals_pytorch(lesson):
    torch.manual_seed(7)
    head, x = lesson["SelfAttention"](3, 4), torch.randn(2, 6, 3)
    q, k, v = head.query(x), head.key(x), head.value(x)
    assert_close(head(x), F.scaled_dot_product_attention(q, k, v))


def test_cloakroom_answers_are_where_it_says(lesson):
    generator = torch.Generator().manual_seed(0)
    texts, answers, order = lesson["cloakroom"](50, generator)
    N = lesson["N"]
    rows = torch.arange(50)[:, None]
    assert torch.equal(texts[rows, order, 1], answers)
    assert torch.equal(texts[rows, order, 0], texts[:, N:, 0])
    assert all(len(set(names)) == N for names in texts[:, :N, 0].tolist())


# ---- Errors --------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_heads": 5}, "d_out=12 .* num_heads=5"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"num_heads": -3}, "num_heads=-3"),
        ({"dropout": 1.5}, "1.5"),
        ({"dropout": -0.1}, "-0.1"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(change, message):
    good = {
        "d_in": 12,
        "d_out": 12,
        "context_length": 4,
        "dropout": 0.0,
        "num_heads": 3,
    }
    attention.MultiHeadAttention(**good)
    with pytest.raises(ValueError, match=message):
        attention.MultiHeadAttention(**(good | change))


@pytest.mark.parametrize(
    "shape, message",
    [
        ((1, 5, 12), "5 tokens .* context_length=4"),
        ((1, 4, 11), r"\(1, 4, 11\), not \(B, T, 12\)"),
        ((4, 12), r"\(4, 12\)"),
    ],
)
def test_input_that_does_not_fit_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        build(3, 4, 4)(torch.zeros(shape))


def test_queries_and_keys_must_match():
    with pytest.raises(ValueError, match=r"q \(2, 3\) and k \(4, 3\) differ"):
        attention.causal_weights(torch.zeros(2, 3), torch.zeros(4, 3))


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
