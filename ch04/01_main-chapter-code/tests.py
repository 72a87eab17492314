"""Tests of chapter 4: the GPT, its cache, its writing.

python -m pytest tests.py -v, or python tests.py, or pytest from the root.
"""

import copy
import math
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import gpt
import previous_chapters as previous
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch_llm.fast import SplitLinear, all_cores
from torch import nn
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
TINY = dict(
    vocab_size=50,
    context_length=12,
    emb_dim=24,
    n_heads=3,
    n_layers=2,
    drop_rate=0.0,
    qkv_bias=True,
)
examples = settings(max_examples=40, deadline=None, derandomize=True)


class Recurrent(nn.Module):
    """Another architecture: no attention, no positions, one row remembered.

    What it shares with GPTModel is only what generate asks of a model.
    """

    class State:
        def __init__(self):
            self.reset()

        def reset(self):
            self.hidden, self.length = None, 0

    def __init__(self, cfg):
        super().__init__()
        self.cfg = gpt.check_config(cfg)
        C, V = cfg["emb_dim"], cfg["vocab_size"]
        self.emb, self.head = nn.Embedding(V, C), nn.Linear(C, V)
        self.gru = nn.GRU(C, C, batch_first=True)

    def forward(self, ids, cache=None, last_only=False):
        x, hidden = self.gru(self.emb(ids), cache and cache.hidden)
        if cache is not None:
            cache.hidden, cache.length = hidden, cache.length + ids.shape[1]
        return self.head(x[:, -1:] if last_only else x)

    def new_cache(self, batch_size=1, capacity=None):
        return self.State()


both = pytest.mark.parametrize("architecture", [gpt.GPTModel, Recurrent])


def build(seed=0, architecture=gpt.GPTModel, **changes):
    torch.manual_seed(seed)
    return architecture({**TINY, **changes})


# ---- Parts ---------------------------------------------------------------


def test_layer_norm_is_the_library_s():
    torch.manual_seed(0)
    ours, library = gpt.LayerNorm(24), torch.nn.LayerNorm(24, eps=1e-5)
    with torch.no_grad():
        for mine, theirs in zip(
            ours.parameters(), library.parameters(), strict=True
        ):
            theirs.copy_(mine.normal_())
    x = torch.randn(2, 5, 24) * 1e-2  # small, so that eps shows
    assert_close(ours(x), library(x))
    assert ours(torch.zeros(1, 24)).isfinite().all()


def test_gelu_is_gpt2_s_and_not_the_exact_one():
    x = torch.linspace(-6, 6, 1001)
    assert_close(gpt.GELU()(x), F.gelu(x, approximate="tanh"))
    assert 1e-4 < (gpt.GELU()(x) - F.gelu(x)).abs().max() < 5e-4


def test_attention_is_chapter_3_s():
    torch.manual_seed(0)
    ours = gpt.MultiHeadAttention(24, 24, 12, 0.0, 3, qkv_bias=True)
    theirs = previous.MultiHeadAttention(24, 24, 12, 0.0, 3, qkv_bias=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 24)
    assert_close(ours(x), theirs(x))
    with pytest.raises(ValueError, match="d_out=25"):
        gpt.MultiHeadAttention(25, 25, 12, 0.0, 3)


@examples
@given(past=st.integers(0, 6), new=st.integers(1, 6), bf16=st.booleans())
def test_attend_with_a_past_is_the_end_of_the_whole(past, new, bf16):
    """In bf16 training, too, where scratch_llm.fast goes its own way."""
    q, k, v = torch.randn(3, 2, 3, past + new, 8)
    want = previous.naive_attention(q, k, v)[:, :, past:]
    if bf16:
        q, k, v = (t.bfloat16().requires_grad_() for t in (q, k, v))
    y = gpt.attend(q[:, :, past:], k, v)
    near = 3e-2 if bf16 else 1e-5
    assert_close(y.float(), want, atol=near, rtol=near)


def test_gradients_in_bf16_are_the_library_s():
    torch.manual_seed(0)
    qkv = torch.randn(3, 2, 3, 9, 8).bfloat16().requires_grad_()
    (ours,) = torch.autograd.grad(gpt.attend(*qkv).float().sum(), [qkv])
    (want,) = torch.autograd.grad(
        F.scaled_dot_product_attention(*qkv.float(), is_causal=True).sum(),
        [qkv],
    )
    assert_close(ours, want, atol=3e-2, rtol=3e-2)


def test_dropout_acts_on_attention_in_both_routes():
    q = torch.randn(1, 2, 9, 8, requires_grad=True)
    for x in (q, q.bfloat16()):
        torch.manual_seed(0)
        a, b = (gpt.attend(x, x, x, dropout=0.5) for _ in range(2))
        assert not torch.equal(a, b)


# ---- Config --------------------------------------------------------------


@pytest.mark.parametrize("wrong, said", [
    ({"emb_dim": 25}, "emb_dim=25 cannot be shared by n_heads=3"),
    ({"n_layers": 0}, "n_layers=0"),
    ({"vocab_size": 50.0}, "vocab_size=50.0"),
    ({"n_heads": True}, "n_heads=True"),
    ({"drop_rate": 1.0}, "drop_rate=1.0"),
    ({"qkv_bias": "no"}, "qkv_bias='no'"),
    ({"tie_weights": 1}, "tie_weights=1"),
    ({"dropout": 0.1}, "unknown .'dropout'"),
])  # fmt: skip
def test_a_wrong_config_is_named(wrong, said):
    with pytest.raises(ValueError, match=said):
        gpt.GPTModel({**TINY, **wrong})


def test_another_architecture_has_more_keys():
    cfg = {**TINY, "n_groups": 3, "base": 1e4}
    more = dict(n_groups=int, base=lambda base: base > 1)
    assert gpt.check_config(cfg, **more) == cfg
    for wrong, said in (
        ({"n_groups": 3.0}, "n_groups=3.0 is no int"),
        ({"base": 0.5}, "base=0.5 is no value that works"),
        ({"bias": 1}, "unknown .'bias'"),
    ):
        with pytest.raises(ValueError, match=said):
            gpt.check_config({**cfg, **wrong}, **more)
    with pytest.raises(ValueError, match="missing .'base', 'n_groups'"):
        gpt.check_config(TINY, **more)


def test_a_missing_key_is_named_and_the_config_is_copied():
    with pytest.raises(ValueError, match="missing .'n_heads'"):
        gpt.GPTModel({k: v for k, v in TINY.items() if k != "n_heads"})
    cfg = dict(TINY)
    model = gpt.GPTModel(cfg)
    cfg["n_layers"] = 99
    assert model.cfg["n_layers"] == 2


def test_gpt2_sizes():
    assert gpt.GPT_CONFIG_124M == dict(
        vocab_size=50257,
        context_length=1024,
        emb_dim=768,
        n_heads=12,
        n_layers=12,
        drop_rate=0.1,
        qkv_bias=False,
    )
    assert gpt.gpt2_config("124M") == gpt.GPT_CONFIG_124M
    with pytest.raises(ValueError, match="125M"):
        gpt.gpt2_config("125M")
    tied = dict(qkv_bias=True, tie_weights=True)
    for size, n in (
        ("124M", 124_439_808),
        ("355M", 354_823_168),
        ("774M", 774_030_080),
        ("1558M", 1_557_611_200),
    ):
        assert gpt.parameter_formula(gpt.gpt2_config(size, **tied)) == n
    untied = gpt.gpt2_config("124M", qkv_bias=True)
    assert gpt.parameter_formula(untied) == 163_037_184


@examples
@given(
    V=st.integers(1, 80),
    P=st.integers(1, 20),
    D=st.integers(1, 8),
    H=st.integers(1, 4),
    L=st.integers(1, 3),
    bias=st.booleans(),
    tie=st.booleans(),
)
def test_the_parameter_formula_is_the_count(V, P, D, H, L, bias, tie):
    cfg = dict(
        vocab_size=V,
        context_length=P,
        emb_dim=D * H,
        n_heads=H,
        n_layers=L,
        drop_rate=0.1,
        qkv_bias=bias,
        tie_weights=tie,
    )
    model = gpt.GPTModel(cfg)
    assert gpt.count_parameters(model) == gpt.parameter_formula(cfg)


# ---- The model -----------------------------------------------------------


def copy_from_hf(model, hf):
    """Our weights from GPT2LMHeadModel's; Conv1D stores (in, out)."""
    names = {
        "att.qkv": "attn.c_attn",
        "att.out_proj": "attn.c_proj",
        "ff.layers.0": "mlp.c_fc",
        "ff.layers.2": "mlp.c_proj",
    }
    state = {
        "tok_emb.weight": hf.transformer.wte.weight,
        "out_head.weight": hf.lm_head.weight,
        "pos_emb.weight": hf.transformer.wpe.weight,
        "final_norm.scale": hf.transformer.ln_f.weight,
        "final_norm.shift": hf.transformer.ln_f.bias,
    }
    for i, block in enumerate(hf.transformer.h):
        for mine, theirs in names.items():
            part = block.get_submodule(theirs)
            state[f"trf_blocks.{i}.{mine}.weight"] = part.weight.T
            state[f"trf_blocks.{i}.{mine}.bias"] = part.bias
        for n in (1, 2):
            norm = block.get_submodule(f"ln_{n}")
            state[f"trf_blocks.{i}.norm{n}.scale"] = norm.weight
            state[f"trf_blocks.{i}.norm{n}.shift"] = norm.bias
    model.load_state_dict(state)  # strict: all of them


@pytest.mark.parametrize("tie", [False, True])
def test_equal_to_hugging_face(tie):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    hf = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=50,
            n_positions=12,
            n_embd=24,
            n_layer=2,
            n_head=3,
            tie_word_embeddings=tie,
            bos_token_id=0,
            eos_token_id=None,
        )
    ).eval()
    with torch.no_grad():
        for p in hf.parameters():  # biases, norms too
            p.add_(0.2 * torch.randn_like(p))
    model = build(tie_weights=tie).eval()
    copy_from_hf(model, hf)
    ids = torch.randint(50, (3, 12))
    with torch.no_grad():
        assert_close(model(ids), hf(ids).logits, atol=1e-4, rtol=1e-4)
    start = ids[:, :4]
    theirs = hf.generate(
        start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=0,
    )
    assert torch.equal(gpt.generate(model, start, 8), theirs)


@examples
@given(
    tie=st.booleans(),
    train=st.booleans(),
    at=st.integers(1, 9),
    bf16=st.booleans(),
)
def test_the_past_does_not_feel_the_future(tie, train, at, bf16):
    model = build(tie_weights=tie, drop_rate=0.3).train(train)
    ids = torch.randint(50, (2, 10))
    changed = ids.clone()
    changed[:, at:] = (changed[:, at:] + 1) % 50
    logits = []
    for x in (ids, changed):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits.append(model(x))
    assert_close(logits[0][:, :at], logits[1][:, :at])
    assert not torch.allclose(logits[0][:, at:], logits[1][:, at:])


@pytest.mark.parametrize("tie", [False, True])
def test_a_fresh_model_knows_nothing(tie):
    model = build(vocab_size=5000, emb_dim=48, tie_weights=tie)
    ids = torch.randint(5000, (8, 13))
    loss = F.cross_entropy(model(ids[:, :-1]).mT, ids[:, 1:])
    assert abs(loss.item() - math.log(5000)) < 0.1


def test_gradients_reach_every_parameter():
    model = build()
    model(torch.arange(50)[:48].view(4, 12)).pow(2).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_tied_weights_share_storage():
    tied, free = build(tie_weights=True), build()
    assert tied.out_head.weight is tied.tok_emb.weight
    assert free.out_head.weight is not free.tok_emb.weight
    again = copy.deepcopy(tied)
    assert again.out_head.weight is again.tok_emb.weight


def test_start_values_are_gpt2_s():
    model = build(emb_dim=192, n_layers=8)
    block = model.trf_blocks[0]
    for p, std in (
        (model.tok_emb.weight, 0.02),
        (block.att.qkv.weight, 0.02),
        (block.att.out_proj.weight, 0.005),
        (block.ff.layers[2].weight, 0.005),
    ):
        assert abs(p.std().item() / std - 1) < 0.05
    assert block.att.qkv.bias.abs().max() == 0


def test_a_seed_gives_the_numbers_it_always_gave():
    """The checkpoint that ships with the course is trained from a seed."""
    model = build()
    first = torch.tensor([-0.01506084, 0.00880652, 0.03036373])
    last = torch.tensor([-0.00298578, -0.00659827, 0.00295243])
    assert_close(model.tok_emb.weight[0, :3], first)
    assert_close(model.out_head.weight[-1, -3:], last)


@pytest.mark.parametrize("tie", [False, True])
def test_logits_can_be_scaled(tie):
    model, ids = build(tie_weights=tie), torch.arange(10)[None]
    nn.init.normal_(model.final_norm.shift)
    before = model(ids)
    model.scale_logits(0.7)
    assert_close(model(ids), 0.7 * before)


def test_too_long_a_text_is_refused():
    model = build()
    with pytest.raises(ValueError, match="context_length=12"):
        model(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(ValueError, match="not .B, T."):
        model(torch.zeros(5, dtype=torch.long))


# ---- The cache -----------------------------------------------------------


@examples
@given(
    B=st.integers(1, 3),
    chunks=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_reading_in_parts_is_reading_at_once(B, chunks):
    model = build().eval()
    ids = torch.randint(50, (B, sum(chunks)))
    cache, logits = model.new_cache(B), []
    for part in ids.split(chunks, dim=1):
        logits.append(model(part, cache))
    assert cache.length == ids.shape[1]
    assert_close(torch.cat(logits, 1), model(ids), atol=1e-5, rtol=1e-4)
    last = model(ids, last_only=True)
    assert_close(last, model(ids)[:, -1:], atol=1e-5, rtol=1e-4)


@examples
@given(
    B=st.integers(1, 3),
    T=st.integers(1, 20),
    n=st.integers(0, 20),
    seed=st.integers(0, 99),
    sample=st.booleans(),
    architecture=st.sampled_from([gpt.GPTModel, Recurrent]),
)
def test_cached_writing_is_uncached_writing(
    B, T, n, seed, sample, architecture
):
    model = build(seed, architecture)  # the context is 12 tokens
    with torch.no_grad():  # far from uniform: no ties
        for p in model.parameters():
            p.mul_(3)
    ids = torch.randint(50, (B, T))
    texts = [
        gpt.generate(
            model,
            ids,
            n,
            temperature=float(sample),
            use_cache=cached,
            generator=torch.Generator().manual_seed(seed),
        )
        for cached in (False, True)
    ]
    assert texts[0].shape == (B, T + n)
    assert torch.equal(*texts) and torch.equal(texts[0][:, :T], ids)


def test_the_cache_is_refilled_only_when_the_window_slides():
    model, read = build(), []
    model.tok_emb.register_forward_hook(
        lambda m, ids, out: read.append(ids[0].shape[1])
    )
    gpt.generate(model, torch.zeros(1, 5, dtype=torch.long), 12)
    assert read == [5] + 7 * [1] + 4 * [12]


def test_a_full_cache_says_so():
    model = build()
    cache = model.new_cache(capacity=4)
    with pytest.raises(ValueError, match="5 tokens in a cache for 4"):
        model(torch.zeros(1, 5, dtype=torch.long), cache)
    assert cache.length == 0


def test_a_cache_is_of_its_model_s_kind_and_can_be_used_again():
    cache = build().bfloat16().new_cache(5, capacity=4)
    assert cache.keys.shape == (2, 5, 3, 4, 8)
    assert cache.values.dtype == torch.bfloat16
    assert build().to("meta").new_cache().keys.device.type == "meta"
    model, ids = build(), torch.arange(10)[None]
    cache = model.new_cache()
    want = model(ids, cache)
    cache.reset()
    assert cache.length == 0
    assert_close(model(ids, cache), want)


def test_only_the_last_position_goes_through_the_head():
    model, shapes = build(), []
    model.out_head.register_forward_hook(
        lambda m, x, out: shapes.append(tuple(out.shape))
    )
    gpt.generate(model, torch.zeros(2, 5, dtype=torch.long), 3)
    assert shapes == 3 * [(2, 1, 50)]


# ---- Writing -------------------------------------------------------------


@both
def test_greedy_by_hand(architecture):
    model = build(0, architecture, drop_rate=0.5).eval()
    ids = torch.tensor([[3, 1, 4]])
    want = ids
    for _ in range(15):
        new = model(want[:, -12:])[:, -1:].argmax(-1)
        want = torch.cat([want, new], dim=1)
    assert torch.equal(gpt.generate(model.train(), ids, 15), want)
    assert model.training and not gpt.generate(model, ids, 2).is_inference()


@both
def test_streaming_is_lazy_and_restores_the_mode(architecture):
    model, ids = build(0, architecture).train(), torch.tensor([[3, 1, 4]])
    stream = gpt.generate_tokens(model, ids, 10**9)
    first = next(stream)
    assert first.shape == (1, 1) and not model.training
    stream.close()
    assert model.training
    assert torch.equal(first, gpt.generate(model, ids, 1)[:, -1:])


@examples
@given(
    stop=st.integers(0, 49),
    seed=st.integers(0, 20),
    architecture=st.sampled_from([gpt.GPTModel, Recurrent]),
)
def test_a_stopped_row_is_filled_and_the_others_go_on(
    stop, seed, architecture
):
    model = build(seed, architecture)
    ids = torch.randint(50, (4, 2))
    free = gpt.generate(model, ids, 9)
    out = gpt.generate(model, ids, 9, stop_id=stop)
    lengths = []
    for row, want in zip(
        out[:, 2:].tolist(), free[:, 2:].tolist(), strict=True
    ):
        n = want.index(stop) + 1 if stop in want else 9
        lengths.append(n)
        assert row[:n] == want[:n] and set(row[n:]) <= {stop}
    assert out.shape[1] == 2 + max(lengths)


def distinct_logits(seed, V=20):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, V, generator=g) * 3


def test_choose_token_is_the_best_or_one_that_the_dials_keep():
    torch.manual_seed(0)
    logits = torch.randn(64, 50)
    best = logits.argmax(-1, keepdim=True)
    assert torch.equal(gpt.choose_token(logits), best)
    drawn = gpt.choose_token(logits, 1.0, top_k=3)
    assert drawn.shape == (64, 1) and not torch.equal(drawn, best)
    assert (logits.topk(3).indices == drawn).any(-1).all()


@examples
@given(
    seed=st.integers(0, 999),
    T=st.floats(0.2, 3),
    k=st.integers(1, 25),
    p=st.floats(0.05, 0.99),
)
def test_the_dials_are_transformers_warpers(seed, T, k, p):
    lp = pytest.importorskip("transformers.generation.logits_process")
    logits = distinct_logits(seed)
    for top_k, top_p in ((None, None), (k, None), (None, p), (k, p)):
        want = lp.TemperatureLogitsWarper(T)(None, logits)
        if top_k:
            want = lp.TopKLogitsWarper(top_k)(None, want)
        if top_p:
            want = lp.TopPLogitsWarper(top_p)(None, want)
        ours = gpt.next_token_probs(logits, T, top_k, top_p)
        assert_close(ours, want.softmax(-1), atol=1e-5, rtol=1e-4)


def test_the_ends_of_the_dials():
    logits = distinct_logits(0)
    best = F.one_hot(logits.argmax(-1), 20).float()
    assert_close(gpt.next_token_probs(logits, 0), best)
    assert_close(gpt.next_token_probs(logits, top_k=1), best)
    assert_close(gpt.next_token_probs(logits, top_p=1e-9), best)
    everything = gpt.next_token_probs(logits, top_k=99, top_p=1.0)
    assert_close(everything, logits.softmax(-1))


def test_draws_follow_the_probabilities():
    model, ids = build(vocab_size=5), torch.zeros(1, 1, dtype=torch.long)
    p = gpt.next_token_probs(model(ids)[0, -1], 0.1)
    many = gpt.generate(
        model,
        ids.expand(4000, 1),
        1,
        temperature=0.1,
        generator=torch.Generator().manual_seed(0),
    )
    seen = many[:, 1].bincount(minlength=5) / 4000
    assert_close(seen, p, atol=0.04, rtol=0)


@pytest.mark.parametrize("wrong, said", [
    (dict(temperature=-1.0), "temperature=-1.0"),
    (dict(temperature=math.nan), "temperature=nan"),
    (dict(top_k=0), "top_k=0"),
    (dict(top_p=0.0), "top_p=0.0"),
    (dict(top_p=1.5), "top_p=1.5"),
    (dict(max_new_tokens=-1), "max_new_tokens=-1"),
    (dict(ids=torch.tensor([[50]])), "from 0 to 49"),
    (dict(ids=torch.tensor([[-1]])), "from 0 to 49"),
    (dict(ids=torch.tensor([1, 2])), "not .B, T."),
    (dict(ids=torch.empty(1, 0)), "not .B, T."),
])  # fmt: skip
def test_a_wrong_request_is_refused_at_once(wrong, said):
    ask = {"ids": torch.tensor([[1]]), "max_new_tokens": 1, **wrong}
    with pytest.raises(ValueError, match=said):
        gpt.generate_tokens(build(), **ask)


def test_pick_device(monkeypatch):
    assert gpt.pick_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("SCRATCH_LLM_DEVICE", "cpu")
    assert gpt.pick_device().type == "cpu"
    monkeypatch.setenv("SCRATCH_LLM_DEVICE", "abacus")
    with pytest.raises(ValueError, match="abacus"):
        gpt.pick_device()


# ---- Every core at work --------------------------------------------------


@examples
@given(
    rows=st.integers(1, 3),
    n_in=st.sampled_from([8, 600]),
    n_out=st.sampled_from([16, 512, 803, 809]),
    bias=st.booleans(),
)
def test_every_core_computes_the_same(rows, n_in, n_out, bias):
    layer, x = nn.Linear(n_in, n_out, bias), torch.randn(1, rows, n_in)
    want = layer(x)
    grads = torch.autograd.grad(want.sum(), layer.parameters())
    with all_cores(layer):
        large = n_in * n_out >= 2**18 and n_out != 809  # which is prime
        assert type(layer) is (SplitLinear if large else nn.Linear)
        y = layer(x)
        assert_close(y, want, atol=1e-5, rtol=1e-5)
        assert_close(torch.autograd.grad(y.sum(), layer.parameters()), grads)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    assert type(layer) is nn.Linear and layer(x[:, :0]).shape[1] == 0


def test_a_model_is_itself_again_when_the_last_context_ends():
    model, kinds = nn.Sequential(nn.Linear(512, 512)), []
    one, two = ExitStack(), ExitStack()
    for step in (one, two):
        step.enter_context(all_cores(model))
        kinds.append(type(model[0]).__name__)
    for step in (one, two):  # the first ends before the second
        step.close()
        kinds.append(type(model[0]).__name__)
    assert kinds == 3 * ["SplitLinear"] + ["Linear"]
    assert vars(model[0]).keys() == vars(nn.Linear(1, 1)).keys()
    with pytest.raises(ZeroDivisionError), all_cores(model):
        raise ZeroDivisionError
    assert type(model[0]) is nn.Linear


def test_an_abandoned_stream_leaves_the_model_as_it_was():
    model = build(emb_dim=384).train()
    calls, ids = [], torch.tensor([[3, 1, 4]])
    model.trf_blocks[0].ff.layers[0].register_forward_hook(
        lambda layer, x, y: calls.append(type(layer))
    )
    want = gpt.generate(model, ids, 4, use_cache=False)
    stream = gpt.generate_tokens(model, ids, 9)
    new = [next(stream), next(stream)]
    assert calls[-1] is SplitLinear
    assert torch.equal(want, gpt.generate(model, ids, 4))  # in between
    new += [next(stream), next(stream)]
    assert torch.equal(torch.cat([ids, *new], 1), want)
    del stream
    assert model.training
    assert all(type(m) is not SplitLinear for m in model.modules())


def test_a_compiled_model_writes_the_same():
    model, ids = build(emb_dim=384).eval(), torch.tensor([[3, 1, 4]])
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(
        gpt.generate(compiled, ids, 3), gpt.generate(model, ids, 3)
    )


# ---- The script ----------------------------------------------------------


def test_the_script_writes_the_same_for_the_same_seed(capsys):
    said = []
    for seed in "001":
        options = "--device cpu --prompt Hé --temperature 1 --top-k 20 --seed"
        assert gpt.main([*options.split(), seed]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]
    assert said[0].startswith("140,672 parameters on cpu\nHé")


def test_the_script_runs_from_anywhere(tmp_path):
    run = subprocess.run(
        [sys.executable, HERE / "gpt.py", "--max-new-tokens", "2"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={
            **os.environ,
            "PYTHONIOENCODING": "utf-8",
            "SCRATCH_LLM_DEVICE": "cpu",
        },
    )
    assert run.returncode == 0, run.stderr
    assert "Hello, I am" in run.stdout


@pytest.mark.parametrize("options, said", [
    (["--top-p", "2"], "top_p=2.0"),
    (["--temperature", "-1"], "temperature=-1.0"),
    (["--prompt", ""], "not (B, T)"),
    (["--config", "12m"], "invalid choice: '12m'"),
    (["--max-new-tokens", "many"], "invalid int value: 'many'"),
    (["--device", "abacus"], "abacus"),
])  # fmt: skip
def test_a_mistake_gets_one_line_and_code_2(capsys, options, said):
    try:
        code = gpt.main(options)
    except SystemExit as leaving:
        code = leaving.code
    printed = capsys.readouterr()
    assert code == 2 and printed.out == ""
    assert said in printed.err and printed.err.count("\n") == 1


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
