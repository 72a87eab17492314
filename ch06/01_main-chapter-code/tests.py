"""What must hold of chapter 6: pooling, LoRA, the scores, runs, the script.

Properties first, with peft and scikit-learn as oracles, then the script as a
user meets it: data of many kinds, error lines, Ctrl-C.
"""

from __future__ import annotations

import copy
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import classification as c6
import gpt_class_finetune
import previous_chapters as pc
import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scratch_llm import notes as town
from sklearn.calibration import calibration_curve
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
few = settings(max_examples=30, deadline=None, derandomize=True)
CFG = {
    "vocab_size": 257,
    "context_length": 64,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": False,
    "tie_weights": True,
}
GPT2_LIKE = {"qkv_bias": True, "emb_dim": 24, "n_heads": 3, "n_layers": 3}
NAMES = ("bad", "fair", "good")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Bytes as tokens."""
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.tiktoken"
    pc.write_ranks({bytes([i]): i for i in range(256)}, path)
    return pc.load_encoding(path)


def new_model(seed: int = 0, names=NAMES, pool="mean", **changes):
    """A classifier with opinions: all its weights are large."""
    torch.manual_seed(seed)
    model = c6.Classifier(pc.GPTModel(CFG | changes), names, pool)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.3)
        elif not name.endswith("scale"):
            nn.init.normal_(p, std=0.1)
    return model.eval()


def batch_of(rows: list[list[int]], extra: int = 0, pad_id: int = 0):
    ids, lengths, _ = c6.collate([(row, 0) for row in rows], pad_id)
    return nn.functional.pad(ids, (0, extra), value=pad_id), lengths


def toy_texts(n: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Texts whose class is said by one word of three, somewhere in them."""
    generator = torch.Generator().manual_seed(seed)
    texts, labels = [], []
    for i in range(n):
        k = i % 3
        words = [
            ["tea", "rain", "a", "dog", "sat"][j]
            for j in torch.randint(5, (4,), generator=generator).tolist()
        ]
        words[i // 3 % 4] = ["zzz", "mmm", "ooo"][k]
        number = chr(97 + i // 26 % 26) + chr(97 + i % 26)
        texts.append(f"{' '.join(words)} {number}")
        labels.append(k)
    return texts, labels


# ---- X6: a text's class is its own ---------------------------------------


@few
@given(data=st.data(), pool=st.sampled_from(c6.POOLS))
def test_the_class_depends_on_nothing_but_the_text(data, pool):
    model = new_model(data.draw(st.integers(0, 99)), pool=pool)
    row = st.lists(st.integers(0, 256), min_size=1, max_size=20)
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    alone = torch.cat([model(*batch_of([row])) for row in rows])
    order = data.draw(st.permutations(range(len(rows))))
    extra = data.draw(st.integers(0, 30))
    pad_id = data.draw(st.integers(0, 256))
    mixed = [rows[i] for i in order]
    together = model(*batch_of(mixed, extra, pad_id))
    assert_close(together, alone[order], atol=1e-5, rtol=1e-5)


def test_another_text_gets_another_answer():
    """So that the property above says something."""
    for pool in ("last", "mean"):
        model = new_model(pool=pool)
        one, two = model(*batch_of([[5, 6, 7], [5, 6, 8]]))
        assert (one - two).abs().max() > 1e-3
    one, two = new_model(pool="first")(*batch_of([[5, 6, 7], [5, 8, 9]]))
    assert_close(one, two)  # the first token has not read the rest


@few
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    size=st.integers(1, 7),
    seed=st.one_of(st.none(), st.integers(0, 9)),
)
def test_batches_hold_every_item_once(lengths, size, seed):
    batches = c6.LengthBatches(lengths, size, seed)
    for _ in range(2):
        found = list(batches)
        assert len(found) == len(batches)
        assert all(len(batch) <= size for batch in found)
        assert sorted(sum(found, [])) == list(range(len(lengths)))


def test_predictions_come_in_the_order_of_the_texts(tokenizer):
    model = new_model()
    texts, labels = toy_texts(17)
    whole = c6.TextDataset(texts, labels, tokenizer, 64, NAMES)
    for size in (1, 5, 64):
        logits = c6.predict_logits(model, whole, size)
        for i in (0, 7, 16):
            ids, lengths, _ = c6.collate([whole[i]])
            assert_close(logits[i], model(ids, lengths)[0], atol=1e-5, rtol=0)


@few
@given(data=st.data())
def test_pooling_by_hand(data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    states = torch.randn(len(lengths), 6, 3)
    by_hand = {
        "first": [s[0] for s in states],
        "last": [s[n - 1] for s, n in zip(states, lengths, strict=True)],
        "mean": [s[:n].mean(0) for s, n in zip(states, lengths, strict=True)],
    }
    for how, rows in by_hand.items():
        pooled = c6.pool_states(states, torch.tensor(lengths), how)
        assert_close(pooled, torch.stack(rows))
    with pytest.raises(ValueError, match="'max'"):
        c6.pool_states(states, torch.tensor(lengths), "max")


def test_states_are_those_that_the_gpt_reads_its_words_from():
    model = new_model()
    ids = torch.randint(257, (2, 9))
    states = c6.read_states(model.gpt, ids)
    assert_close(model.gpt.out_head(states), model.gpt(ids))
    with pytest.raises(ValueError, match="65"):
        c6.read_states(model.gpt, torch.zeros(1, 65, dtype=torch.long))


# ---- Texts ---------------------------------------------------------------


def test_a_text_is_encoded_whole(tokenizer):
    ids = c6.encode_text(tokenizer, " Nora, é! ", 64)
    assert ids[0] == tokenizer.eot_token
    assert tokenizer.decode(ids[1:]) == " Nora, é!"
    ids = c6.encode_text(tokenizer, "Nora", 64, prefix="")
    assert tokenizer.decode(ids[1:]) == "Nora"


def test_long_texts_are_cut_with_a_warning(tokenizer):
    with pytest.warns(UserWarning, match="64"):
        ids = c6.encode_text(tokenizer, "a" * 100, 64)
    assert len(ids) == 64
    with pytest.warns(UserWarning):
        data = c6.TextDataset(["a" * 100, "b"], [0, 1], tokenizer, 10)
    assert [len(ids) for ids, _ in data] == [10, 3]


@pytest.mark.parametrize("text", ["", "  \n "])
def test_an_empty_text_has_no_class(tokenizer, text):
    with pytest.raises(ValueError, match="empty"):
        c6.encode_text(tokenizer, text, 64)
    with pytest.raises(ValueError, match="empty"):
        c6.classify(new_model(), tokenizer, text)


@pytest.mark.parametrize("label", [3, -1, "good"])
def test_an_unknown_label_is_named(tokenizer, label):
    with pytest.raises(ValueError, match=f"{label!r}"):
        c6.TextDataset(["a", "b"], [0, label], tokenizer, 64, NAMES)


def test_one_class_is_none(tokenizer):
    with pytest.raises(ValueError, match="two"):
        c6.Classifier(pc.GPTModel(CFG), ["bad", "bad"])
    data = c6.TextDataset(["a", "b"], [1, 1], tokenizer, 64, NAMES)
    with pytest.raises(ValueError, match="two classes"):
        c6.fine_tune(new_model(), data, 1)


# ---- LoRA ----------------------------------------------------------------

SHAPES = [{}, GPT2_LIKE, {"tie_weights": False}]
both_shapes = pytest.mark.parametrize("shape", SHAPES)


def stir(model: nn.Module, seed: int = 1) -> None:
    """Give the detours numbers, as training would."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, c6.LoRALinear):
            for p in (layer.A, layer.B):
                p.data.normal_(std=0.2, generator=generator)


@both_shapes
@pytest.mark.parametrize("where", [c6.LORA_LAYERS, ("att.qkv",)])
def test_lora_changes_nothing_at_the_start(shape, where):
    model = new_model(**shape)
    ids, lengths = batch_of([[1, 2, 3], [4, 5]])
    before = model(ids, lengths)
    c6.add_lora(model, 3, 6.0, where)
    assert torch.equal(model(ids, lengths), before)
    stir(model)
    assert (model(ids, lengths) - before).abs().max() > 1e-2


@both_shapes
def test_merged_equals_unmerged(shape):
    model = c6.add_lora(new_model(**shape), 3, 6.0)
    stir(model)
    ids, lengths = batch_of([[1, 2, 3], [4, 5]])
    before = model(ids, lengths)
    names = {name for name, _ in new_model(**shape).named_parameters()}
    merged = c6.merge_lora(model)
    assert_close(merged(ids, lengths), before, atol=1e-5, rtol=1e-5)
    assert {name for name, _ in merged.named_parameters()} == names


@few
@given(
    rank=st.integers(1, 9),
    layers=st.integers(1, 3),
    where=st.sets(st.sampled_from(c6.LORA_LAYERS), min_size=1),
)
def test_lora_s_size_follows_from_the_shape(rank, layers, where):
    model = new_model(n_layers=layers)
    c6.add_lora(model, rank, 1.0, sorted(where))
    head = 3 * CFG["emb_dim"] + 3
    formula = c6.lora_parameters(model.gpt.cfg, rank, sorted(where))
    assert c6.count_trained(model) == formula + head
    for block in model.gpt.trf_blocks:
        for path in where:
            layer = block.get_submodule(path)
            d_out, d_in = layer.linear.weight.shape
            assert layer.A.shape == (rank, d_in)
            assert layer.B.shape == (d_out, rank)


def test_merging_leaves_the_layer_as_it_was():
    torch.manual_seed(0)
    layer = c6.LoRALinear(torch.nn.Linear(6, 4), rank=2, alpha=4)
    torch.nn.init.normal_(layer.B)
    x = torch.randn(3, 6)
    before = layer(x)
    assert_close(layer.merged()(x), before)
    assert_close(layer.merged()(x), before)
    assert_close(layer(x), before)


@both_shapes
@pytest.mark.parametrize("rank, alpha", [(2, 8.0), (5, 5.0)])
def test_lora_is_peft_s_lora(shape, rank, alpha):
    """Output and gradients, on the same weights."""
    from peft import LoraConfig, inject_adapter_in_model

    ours = new_model(**shape)
    theirs = copy.deepcopy(ours)
    c6.add_lora(ours, rank, alpha)
    stir(ours)
    names = [path.replace(".", r"\.") for path in c6.LORA_LAYERS]
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=rf".*trf_blocks\.\d+\.({'|'.join(names)})",
        lora_dropout=0.0,
    )
    theirs = inject_adapter_in_model(config, theirs)
    pairs = []
    for name, layer in ours.named_modules():
        if isinstance(layer, c6.LoRALinear):
            other = theirs.get_submodule(name)
            a, b = other.lora_A["default"], other.lora_B["default"]
            a.weight.data.copy_(layer.A)
            b.weight.data.copy_(layer.B)
            pairs += [(layer.A, a.weight), (layer.B, b.weight)]
    assert len(pairs) == 2 * 4 * len(ours.gpt.trf_blocks)
    ids, lengths = batch_of([[1, 2, 3, 4], [5, 6]])
    labels = torch.tensor([2, 0])
    for model in (ours, theirs):
        logits = model(ids, lengths)
        nn.functional.cross_entropy(logits, labels).backward()
    assert_close(
        ours(ids, lengths), theirs(ids, lengths), atol=1e-5, rtol=1e-5
    )
    for mine, other in pairs:
        assert mine.grad.abs().max() > 0
        assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_lora_s_bad_inputs():
    with pytest.raises(ValueError, match="rank=0"):
        c6.add_lora(new_model(), 0)
    with pytest.raises(ValueError, match="'att.queries'"):
        c6.add_lora(new_model(), 2, 2.0, ["att.queries"])
    with pytest.raises(ValueError, match="lora"):
        c6.train_only(new_model(), "lora")


# ---- What is trained -----------------------------------------------------


@pytest.mark.parametrize("what", ["head", "block", "all", "lora"])
def test_what_is_frozen_stays(tokenizer, what):
    model = new_model()
    if what == "lora":
        c6.add_lora(model, 2, 4.0)
    else:
        c6.train_only(model, what)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    data = c6.TextDataset(*toy_texts(12), tokenizer, 64, NAMES)
    c6.fine_tune(model, data, 1, batch_size=6, warmup=1, progress=False)
    moved = {
        n for n, p in model.named_parameters() if not torch.equal(p, before[n])
    }
    allowed = {
        "head": ("head.",),
        "block": ("head.", "gpt.trf_blocks.1.", "gpt.final_norm."),
        "all": ("head.", "gpt."),
        "lora": ("head.",),
    }[what]
    trained = {n for n in before if n.startswith(allowed)}
    if what == "lora":
        trained |= {n for n in before if n.endswith((".A", ".B"))}
    assert moved <= trained and {"head.weight", "head.bias"} <= moved
    # All that may move does, but for embeddings of tokens nobody wrote.
    assert trained - moved <= {"gpt.out_head.weight"}
    assert c6.count_trained(model) == sum(
        p.numel() for n, p in model.named_parameters() if n in trained
    )


def test_the_quick_start_trains(tokenizer):
    """fine_tune(model, train_dataset, num_epochs=3), with its defaults."""
    torch.manual_seed(0)
    gpt = pc.init_copying(pc.GPTModel(CFG | {"emb_dim": 64, "n_heads": 4}))
    model = c6.Classifier(gpt, NAMES)
    train = c6.TextDataset(*toy_texts(900), tokenizer, 64, NAMES)
    test = c6.TextDataset(*toy_texts(90, seed=1), tokenizer, 64, NAMES)
    history = c6.fine_tune(model, train, num_epochs=3)
    assert [round(r["epoch"]) for r in history] == [1, 2, 3]
    assert history[-1]["train"] < history[0]["train"]
    assert c6.accuracy(model, test) > 0.9


def test_not_a_number_stops_training(tokenizer):
    model = new_model()
    model.head.weight.data[0, 0] = torch.nan
    data = c6.TextDataset(*toy_texts(6), tokenizer, 64, NAMES)
    with pytest.raises(FloatingPointError, match="step 0"):
        c6.fine_tune(model, data, 1)


# ---- Scores --------------------------------------------------------------


@few
@given(seed=st.integers(0, 999), n=st.integers(1, 60), K=st.integers(2, 5))
def test_scores_are_those_of_scikit_learn(seed, n, K):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(K, (n,), generator=g).tolist()
    said = torch.randint(K, (n,), generator=g).tolist()
    confusion = c6.confusion_matrix(labels, said, K)
    there = sklearn.metrics.confusion_matrix(labels, said, labels=range(K))
    assert confusion.tolist() == there.tolist()
    scores = sklearn.metrics.precision_recall_fscore_support(
        labels, said, labels=range(K), zero_division=0
    )
    expected = torch.tensor([x.tolist() for x in scores[:3]]).T
    assert_close(c6.precision_recall_f1(confusion), expected)


@few
@given(seed=st.integers(0, 999), n=st.integers(1, 90), K=st.integers(2, 4))
def test_calibration_is_that_of_scikit_learn(seed, n, K):
    g = torch.Generator().manual_seed(seed)
    probs = (3 * torch.randn(n, K, generator=g)).softmax(1)
    labels = torch.randint(K, (n,), generator=g).tolist()
    sure, right, count = c6.calibration_bins(probs, labels, 8)
    assert count.sum() == n and len(count) == 8
    confidence, said = probs.max(1)
    hits = said == torch.tensor(labels)
    share = (confidence - 1 / K) / (1 - 1 / K)  # 0 to 1
    true, mean = calibration_curve(hits, share.clamp(0, 1), n_bins=8)
    full = count > 0
    assert_close(right[full], torch.tensor(true).float())
    expected = torch.tensor(mean).float() * (1 - 1 / K) + 1 / K
    assert_close(sure[full], expected, atol=1e-5, rtol=1e-5)


def test_influence_is_what_a_word_adds(tokenizer):
    model = new_model()
    found = c6.word_influence(model, tokenizer, "tea zzz rain")
    assert [word for word, _ in found] == ["tea", "zzz", "rain"]
    whole = c6.classify(model, tokenizer, "tea zzz rain")
    name = max(whole, key=whole.get)
    without = c6.classify(model, tokenizer, "tea rain")[name]
    assert found[1][1] == pytest.approx(whole[name] - without, abs=1e-6)
    assert sum(whole.values()) == pytest.approx(1)
    assert len(c6.word_influence(model, tokenizer, "tea", "good")) == 1


def test_the_sign_at_the_end_stays():
    words = "Nora was sad. It was Sunday.".split()
    assert c6.leave_out(words, 5) == "Nora was sad. It was."
    assert c6.leave_out(words, 0) == "was sad. It was Sunday."
    assert c6.leave_out(words, 2) == "Nora was It was Sunday."
    assert c6.leave_out(["Why", "sad?!"], 1) == "Why?!"
    assert c6.leave_out(["so", "glad"], 1) == "so"
    assert c6.leave_out(["so", "!"], 1) == "so"


# ---- Saving and loading --------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_classifier_comes_back(tmp_path, tokenizer, shape):
    model = new_model(pool="last", **shape)
    c6.save_classifier(tmp_path / "run", model, tokenizer, prefix="")
    back, its = c6.from_pretrained(tmp_path / "run", "cpu")
    assert isinstance(back, c6.Classifier) and not back.training
    assert (back.names, back.pool, back.cfg) == (NAMES, "last", model.cfg)
    ids, lengths = batch_of([[1, 2, 3], [4, 5]])
    assert torch.equal(back(ids, lengths), model(ids, lengths))
    assert its.encode_ordinary("Nora") == tokenizer.encode_ordinary("Nora")
    assert not its.add_prefix_space


def test_lora_is_merged_before_it_is_saved(tmp_path, tokenizer):
    model = c6.add_lora(new_model(), 2, 2.0)
    with pytest.raises(ValueError, match="merge"):
        c6.save_classifier(tmp_path, model, tokenizer)


def test_a_gpt_still_opens_as_a_gpt(tmp_path, tokenizer):
    gpt = pc.GPTModel(CFG)
    pc.save_model(tmp_path / "model.safetensors", gpt, " ")
    pc.save_tokenizer(tmp_path / "tokenizer.tiktoken", tokenizer)
    back, its = c6.from_pretrained(tmp_path)
    assert isinstance(back, pc.GPTModel) and its.add_prefix_space
    assert isinstance(c6.from_pretrained("storyteller")[0], pc.GPTModel)


def test_checkpoints_that_do_not_fit_are_named(tmp_path, tokenizer):
    model, path = new_model(), tmp_path / "model.safetensors"
    c6.save_classifier(tmp_path, new_model(vocab_size=300), tokenizer)
    with pytest.raises(ValueError, match="257 tokens, the model 300"):
        c6.from_pretrained(tmp_path)
    c6.save_classifier(tmp_path, model, tokenizer)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="not a whole") as error:
        c6.from_pretrained(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    model.cfg["emb_dim"] = 32  # weights of another size than it says
    pc.save_model(path, model)
    with pytest.raises(ValueError, match="not a whole") as error:
        c6.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


# ---- The script ----------------------------------------------------------

FILES = {
    "model.safetensors",
    "tokenizer.tiktoken",
    "metrics.json",
    "loss.png",
    "confusion.png",
    "errors.txt",
}
FAST = ["--force-cpu", "--precision", "fp32", "--model", "base", "--out"]


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    """The folder of a tiny pretrained GPT, as chapter 5 leaves it."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    shape = {"emb_dim": 64, "n_heads": 4, "context_length": 96}
    gpt = pc.init_copying(pc.GPTModel(CFG | shape))
    pc.save_model(folder / "model.safetensors", gpt, " ")
    pc.save_tokenizer(folder / "tokenizer.tiktoken", tokenizer)
    return folder


@pytest.fixture
def here(base, tmp_path, monkeypatch):
    """A folder in which we are, with `base` and a table of three classes."""
    monkeypatch.chdir(tmp_path)
    Path("base").symlink_to(base)
    write_table("three.csv", toy_texts(300))
    return tmp_path


def write_table(name: str, rows: tuple[list[str], list[int]]) -> None:
    words = [NAMES[k] for k in rows[1]]
    lines = [f'"{t}",{w}' for t, w in zip(rows[0], words, strict=True)]
    Path(name).write_text("\n".join(["what was said,mood", *lines]), "utf-8")


@pytest.fixture
def said(here, capsys):
    """said(*args): exit code, stdout and stderr of the script."""

    def call(*args: object):
        try:
            code = gpt_class_finetune.main([str(arg) for arg in args])
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return call


def metrics(run: str) -> dict:
    return json.loads(Path(run, "metrics.json").read_text("utf-8"))


def test_a_table_of_three_classes(said):
    code, out, _ = said(
        *FAST, "run", "--data", "three.csv", "--epochs", 8, "--batch-size", 8
    )
    assert code == 0 and "all in run" in out
    assert {path.name for path in Path("run").iterdir()} == FILES
    m = metrics("run")
    assert m["names"] == ["bad", "fair", "good"]
    assert m["items"] == {"train": 210, "validation": 30, "test": 60}
    assert m["test_accuracy"] > 0.9 and m["hard_test_accuracy"] is None
    assert 0 <= m["baseline_accuracy"] <= 1 and 0 <= m["ngram_accuracy"] <= 1
    assert 0 < m["seconds"] < 60 and m["trained_parameters"] > 1e5
    table = torch.tensor(m["confusion"])
    assert table.sum() == 60
    right = table.diagonal().sum().item()
    assert right == round(60 * m["test_accuracy"])
    assert [c["name"] for c in m["classes"]] == m["names"]
    for k, c in enumerate(m["classes"]):
        assert c["recall"] == pytest.approx(table[k, k] / table[k].sum())
    h = m["history"]
    assert h["epoch"] == [1, 2, 3, 4, 5, 6, 7, 8] and len(h["train"]) == 8
    best = h["epoch"].index(m["best_epoch"])
    assert h["accuracy"][best] == max(h["accuracy"])
    assert m["versions"]["torch"] and m["hardware"] and m["options"]["lr"]
    errors = Path("run", "errors.txt").read_text("utf-8")
    assert f"{60 - right} of 60 misread" in errors
    assert errors.count("--- ") == 60 - right
    for name in ("loss.png", "confusion.png"):
        data = Path("run", name).read_bytes()
        assert data[1:4] == b"PNG" and len(data) < 40 * 1024
    check_the_run_classifies(said)
    check_it_goes_on(said)


def check_the_run_classifies(said):
    code, out, err = said("--model", "run", "--classify", "a zzz", "ooo dog")
    assert (code, err) == (0, "")
    one, two = (line.split("\t") for line in out.splitlines())
    assert (one[0], one[2]) == ("bad", "a zzz") and two[0] == "good"
    assert 1 / 3 < float(one[1]) <= 1
    model, tokenizer = c6.from_pretrained("run", "cpu")
    probs = c6.classify(model, tokenizer, "a zzz", " ")
    assert one[1] == f"{probs['bad']:.3f}"
    assert said("--checkpoint", "run", "--classify", "a zzz")[1] in out
    code, out, err = said("--model", "run", "--classify", "zzz " * 60)
    assert code == 0 and err.startswith("note: ") and "96" in err


def check_it_goes_on(said):
    """A classifier of the same classes starts where it ended."""
    how = ["--data", "three.csv", "--epochs", 1, "--lr", 0]
    assert said(*FAST, "more", *how, "--model", "run")[0] == 0
    assert metrics("more")["test_accuracy"] == metrics("run")["test_accuracy"]


def test_padding_changes_nothing(said):
    how = ["--data", "three.csv", "--epochs", 2, "--items", 60]
    for padding in ("longest", "context"):
        assert said(*FAST, padding, *how, "--padding", padding)[0] == 0
    one, two = metrics("longest"), metrics("context")
    for key in ("train", "validation", "accuracy"):
        assert one["history"][key] == pytest.approx(
            two["history"][key], abs=1e-3
        )
    assert one["confusion"] == two["confusion"]


@pytest.mark.parametrize(
    "layers, pooling",
    [("head", "last"), ("block", "first"), ("all", "last"), ("lora", "mean")],
)
def test_every_way_leaves_a_run_that_loads(said, layers, pooling):
    how = ["--layers", layers, "--pooling", pooling, "--rank", 3, "--alpha", 6]
    how += ["--data", "three.csv", "--epochs", 1, "--items", 40]
    assert said(*FAST, "run", *how)[0] == 0
    model, _ = c6.from_pretrained("run", "cpu")
    assert model.pool == pooling
    m, C = metrics("run"), 64
    block = pc.count_parameters(model.gpt.trf_blocks[1]) + 2 * C
    expected = (
        3 * C
        + 3
        + {
            "head": 0,
            "block": block,
            "all": pc.count_parameters(model.gpt),
            "lora": c6.lora_parameters(model.gpt.cfg, 3),
        }[layers]
    )
    assert m["trained_parameters"] == expected
    data = c6.load_classifier("run/model.safetensors")
    assert all(p.isfinite().all() for p in data.parameters())


def test_a_seed_repeats_a_run_and_random_weights_are_others(said):
    how = ["--data", "three.csv", "--epochs", 1, "--items", 40]
    more = {
        "one": [],
        "two": [],
        "seed": ["--seed", 5],
        "random": ["--init", "random"],
        "weighted": ["--class-weights", "balanced", "--layers", "head"],
    }
    for name, options in more.items():
        assert said(*FAST, name, *how, *options)[0] == 0
    losses = {name: metrics(name)["history"]["train"] for name in more}
    assert losses["one"] == losses["two"]
    assert losses["seed"] != losses["one"] != losses["random"]


@few
@given(labels=st.lists(st.integers(0, 2), min_size=3, max_size=40))
def test_balanced_weights_are_those_of_scikit_learn(labels):
    labels = [0, 1, 2, *labels]
    classes = torch.arange(3).numpy()
    there = compute_class_weight("balanced", classes=classes, y=labels)
    ours = gpt_class_finetune.balanced_weights(labels, 3)
    assert ours.tolist() == pytest.approx(there.tolist())


def test_the_notes_with_the_librarian(said):
    how = ["--force-cpu", "--items", 40, "--test-items", 20, "--epochs", 1]
    code, out, _ = said(*how, "--layers", "lora")
    assert code == 0 and "hard test" in out
    m = metrics("runs/classifier-notes-001")
    written = len(town.hand_written())
    assert m["items"]["hard"] == written == sum(map(sum, m["hard_confusion"]))
    assert 0 <= m["hard_test_accuracy"] <= 1 and m["names"] == list(town.NAMES)
    assert set(m["accuracy_by_kind"]) <= {n.kind for n in town.notes(400)}
    code, out, err = said("--classify", "Nora was glad.")
    assert code == 0 and out.split("\t")[0] in town.NAMES
    assert "classifier-notes-001" in err, "the newest run is the default"


def test_a_second_test(said):
    write_table("hard.csv", toy_texts(12, seed=5))
    how = ["--data", "three.csv", "--test", "hard.csv", "--epochs", 1]
    assert said(*FAST, "run", *how, "--items", 40)[0] == 0
    m = metrics("run")
    assert m["items"]["hard"] == 12 and m["hard_test_accuracy"] is not None
    assert "=== hard: " in Path("run", "errors.txt").read_text("utf-8")
    Path("hard.csv").write_text(
        "text,label\nit rains,wonderful\n", encoding="utf-8"
    )
    code, _, err = said(*FAST, "new", *how)
    assert code == 2 and "'wonderful' is none of bad, fair, good" in err


def test_sms_as_published(said):
    """Tabs, no header, odd quotes, in a zip; more ham than spam."""
    rows = [
        f'ham\tOk "lar, joking {chr(97 + i % 26)}{i // 26}'
        if i % 5
        else f"spam\tWIN £{i}! call {chr(97 + i // 5)}"
        for i in range(120)
    ]
    Path("data").mkdir()
    path = Path("data", "sms+spam+collection.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("SMSSpamCollection", "\n".join(rows))
        archive.writestr("readme", "about it")
    how = ["--data", "sms", "--epochs", 8, "--class-weights", "balanced"]
    code, out, err = said(*FAST, "run", *how)
    assert code == 0 and "ham, spam" in out, err
    m = metrics("run")
    assert m["names"] == ["ham", "spam"] and m["test_accuracy"] > 0.9
    assert m["majority_accuracy"] < 0.9
    path.unlink()
    code, _, err = said(*FAST, "new", *how)
    assert code == 2 and "gpt_download.py sms-spam" in err


def test_another_encoding_is_told_and_read(said):
    text = Path("three.csv").read_text("utf-8").replace("tea", "thé")
    Path("three.csv").write_bytes(text.encode("latin-1"))
    how = ["--data", "three.csv", "--epochs", 1, "--items", 30]
    code, out, _ = said(*FAST, "run", *how, "--context-length", 12)
    assert code == 0 and "note: three.csv is not UTF-8" in out
    assert "texts are cut to 12 tokens" in out
    assert metrics("run")["config"]["context_length"] == 96


@pytest.fixture
def gpt2(here, monkeypatch):
    """gpt2/ with random weights in the form that GPT-2's are published in."""
    from transformers import GPT2Config, GPT2LMHeadModel

    monkeypatch.setitem(pc.GPT2_SIZES, "124M", (8, 2, 2))
    torch.manual_seed(3)
    config = GPT2Config(n_embd=8, n_layer=2, n_head=2, initializer_range=0.3)
    oracle = GPT2LMHeadModel(config)
    path = Path("elsewhere", "gpt2-small-124M.safetensors")
    path.parent.mkdir()
    state = oracle.transformer.state_dict()
    save_file({name: t.contiguous() for name, t in state.items()}, path)
    return oracle.eval()


@pytest.mark.parametrize("layers", ["all", "lora"])
def test_gpt2_by_one_setting(said, gpt2, layers):
    how = ["--model", "gpt2-small", "--weights", "elsewhere", "--force-cpu"]
    how += ["--data", "three.csv", "--epochs", 1, "--items", 30]
    code, out, _ = said(*how, "--out", "run", "--layers", layers, "--lr", 0)
    assert code == 0, out
    model, tokenizer = c6.from_pretrained("run", "cpu")
    assert model.cfg["vocab_size"] == 50257 and not tokenizer.add_prefix_space
    assert model.cfg["qkv_bias"] and model.cfg["tie_weights"]
    ids = torch.tensor([c6.encode_text(tokenizer, "The sea", 1024, "")])
    assert ids[0, 0] == 50256
    states = gpt2.transformer(ids).last_hidden_state
    assert_close(c6.read_states(model.gpt, ids), states, atol=1e-4, rtol=1e-4)
    assert said("--model", "run", "--classify", "The sea")[0] == 0
    code, _, err = said(*how, "--weights", "nowhere", "--out", "new")
    assert code == 2 and "gpt2-small is not in nowhere" in err


ERRORS = [
    (["--epochs", "0"], "got 0"),
    (["--lr", "nan"], "got nan"),
    (["--layers", "some"], "some"),
    (["--pooling", "max"], "max"),
    (["--device", "toaster"], "toaster"),
    (["--model", "none"], "no model none"),
    (["--model", "base", "--checkpoint", "base"], "not both"),
    (["--model", "broken"], "not a whole"),
    (["--model", "other"], "not of one run"),
    (["--model", "base", "--context-length", "97"], "more than the 96"),
    (["--data", "none.csv"], "none.csv does not exist"),
    (["--data", "."], "no texts in folders"),
    (["--data", "empty.csv"], "is empty"),
    (["--data", "one.csv"], "at least two classes"),
    (["--data", "few.csv"], "class y has 1 different texts"),
    (["--data", "odd.csv"], "the columns: id, body, mood"),
    (["--data", "three.csv", "--text-column", "x"], "no column 'x'"),
    (["--data", "three.csv", "--label-column", "9"], "what was said, mood"),
    (["--data", "three.csv", "--test", "none.csv"], "none.csv does not"),
    (["--data", "imdb"], "gpt_download.py imdb"),
    (["--out", "base"], "exists already"),
    (["--classify", "", "--model", "base"], "is no classifier"),
    (["--classify", "a"], "no classifier in runs"),
    (["--nonsense"], "--nonsense"),
]


@pytest.mark.parametrize("args, why", ERRORS)
def test_one_clear_line_and_nothing_written(said, here, tokenizer, args, why):
    tables = {
        "empty.csv": "",
        "one.csv": "text,label\na,x\nb,x\nc,x\n",
        "few.csv": "text,label\na,x\nb,x\nc,x\nd,y\n",
        "odd.csv": "id,body,mood\n1,a,x\n2,b,y\n",
    }
    for name, text in tables.items():
        Path(name).write_text(text, encoding="utf-8")
    whole = Path("base", "model.safetensors").read_bytes()
    for name, data in (("broken", whole[:-9]), ("other", whole)):
        Path(name).mkdir()
        Path(name, "model.safetensors").write_bytes(data)
        pc.save_tokenizer(Path(name, "tokenizer.tiktoken"), tokenizer)
    ranks = {bytes([i]): i for i in range(256)} | {b"ab": 256}
    pc.write_ranks(ranks, Path("other", "tokenizer.tiktoken"))
    before = sorted(here.rglob("*"))
    code, _, err = said("--items", 20, "--test-items", 9, *args)
    assert code == 2 and why in err, err
    assert err.strip().count("\n") == 0
    assert err.startswith("gpt_class_finetune.py: error")
    assert sorted(here.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
def test_ctrl_c_leaves_a_checkpoint_that_reads(said, monkeypatch):
    how = ["--data", "three.csv", "--epochs", "100000"]
    process = subprocess.Popen(
        [sys.executable, HERE / "gpt_class_finetune.py", *FAST, "run", *how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert "3 classes" in process.stdout.readline()
    assert "epoch 1," in process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped (interrupted), the checkpoint can be used" in out
    assert "Traceback" not in err
    m = metrics("run")
    assert m["interrupted"] and m["test_accuracy"] is None
    assert m["baseline_accuracy"] is not None and m["best_epoch"] >= 1
    model, _ = c6.from_pretrained("run", "cpu")
    assert all(p.isfinite().all() for p in model.parameters())
    monkeypatch.setattr("sys.stdin", io.StringIO("a zzz\n\n  tea ooo\n"))
    code, out, _ = said("--model", "run", "--classify")
    lines = [line.split("\t")[2] for line in out.splitlines()]
    assert code == 0 and lines == ["a zzz", "tea ooo"]


def test_before_the_first_epoch_ctrl_c_leaves_one_too(said, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpt_class_finetune, "train", interrupt)
    how = ["--data", "three.csv", "--layers", "lora"]
    code, out, _ = said(*FAST, "run", *how)
    assert code == 130 and "0 steps" in out
    assert isinstance(c6.from_pretrained("run", "cpu")[0], c6.Classifier)


def test_a_rate_that_is_too_high_is_told(said):
    how = ["--data", "three.csv", "--lr", 1e30, "--clip", 1e30]
    code, out, _ = said(*FAST, "run", *how)
    assert code == 1 and "try a lower --lr" in out
    assert metrics("run")["stopped"].startswith("step ")


def test_time_is_kept(said):
    how = ["--data", "three.csv", "--epochs", 10**5, "--max-minutes", 0.02]
    code, out, _ = said(*FAST, "run", *how)
    m = metrics("run")
    assert code == 0 and "steps fit into the time" in out
    assert m["seconds"] < 9 and m["steps"] == m["history"]["step"][-1]
    assert m["test_accuracy"] is not None
