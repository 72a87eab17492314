"""What must hold of chapter 7: templates, batches, the loss, answers, runs.

Properties first, with transformers as oracle, then the scripts as a user
meets them: data of many kinds, error lines, Ctrl-C.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import exercise_experiments
import gpt_instruction_finetuning
import instruction as c7
import previous_chapters as pc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scratch_llm import instructions as town
from scratch_llm.instructions import Entry
from torch import nn
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
few = settings(max_examples=30, deadline=None, derandomize=True)
CFG = {
    "vocab_size": 257,
    "context_length": 128,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": False,
    "tie_weights": True,
}
GPT2_LIKE = {"qkv_bias": True, "emb_dim": 24, "n_heads": 3, "n_layers": 3}
SHAPES = [{}, GPT2_LIKE, {"tie_weights": False}]
both_shapes = pytest.mark.parametrize("shape", SHAPES)
texts = st.text(max_size=30)
marked = st.lists(
    st.sampled_from([*c7.CHAT_TOKENS, "<|endoftext|>", "a", " Nora", "\n"]),
    min_size=1,
    max_size=5,
).map("".join)


def bytes_tokenizer(folder: Path):
    path = folder / "tokenizer.tiktoken"
    pc.write_ranks({bytes([i]): i for i in range(256)}, path)
    return pc.load_encoding(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Bytes as tokens."""
    return bytes_tokenizer(tmp_path_factory.mktemp("bytes"))


@pytest.fixture(scope="module")
def chat(plain):
    """Bytes as tokens, and those of a chat."""
    return c7.chat_tokenizer(plain)


def new_model(seed: int = 0, **changes):
    """A model with opinions: all its weights are large."""
    torch.manual_seed(seed)
    model = pc.GPTModel(CFG | {"vocab_size": 261} | changes)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            nn.init.normal_(p, std=0.3)
        elif not name.endswith("scale"):
            nn.init.normal_(p, std=0.1)
    return model.eval()


def toy_entries(n: int, seed: int = 0) -> list[Entry]:
    """Questions whose answer is said by one word of three in the input."""
    g = torch.Generator().manual_seed(seed)
    made = []
    for i in range(n):
        words = [
            "tea rain dog sat".split()[j]
            for j in torch.randint(4, (3,), generator=g).tolist()
        ]
        words[i // 3 % 3] = ["zzz", "mmm", "ooo"][i % 3]
        name = chr(97 + i // 26 % 26) + chr(97 + i % 26)
        made.append(
            Entry(
                "Who?",
                f"{' '.join(words)} {name}",
                ["Bad.", "Fair.", "Good."][i % 3],
                "",
            )
        )
    return made


def toy_items(n: int, seed: int = 0) -> list[dict]:
    return [
        {"instruction": e.instruction, "input": e.input, "output": e.output}
        for e in toy_entries(n, seed)
    ]


# ---- Templates -----------------------------------------------------------


@few
@given(instruction=texts, input=texts, output=texts)
def test_alpaca_s_form_holds_all_but_the_answer(instruction, input, output):
    prompt, response = c7.format_example(Entry(instruction, input, output, ""))
    assert response == output
    assert prompt == c7.format_prompt(Entry(instruction, input, "other", ""))
    assert f"### Instruction:\n{instruction}\n" in prompt
    assert ("### Input:" in prompt) == (
        bool(input) or "### Input:" in instruction
    )
    assert prompt.endswith("### Response:\n") and input in prompt


@few
@given(text=marked)
def test_special_tokens_in_a_text_stay_text(text):
    tokenizer = c7.chat_tokenizer(pc.gpt2_encoding())
    assert tokenizer.decode(c7.encode_content(tokenizer, text)) == text.strip()
    messages = [
        {"role": "system", "content": text},
        {"role": "user", "content": text},
        {"role": "assistant", "content": text},
        {"role": "user", "content": text},
    ]
    ids = c7.encode_chat(tokenizer, messages)
    marks = [i for i in ids if i >= tokenizer.eot_token]
    names = [tokenizer.decode([i]) for i in marks]
    assert names[0] == "<|endoftext|>" and names[-1] == "<|assistant|>"
    assert names[1:-1] == [
        name
        for message in messages
        for name in (f"<|{message['role']}|>", "<|end|>")
    ]


def test_a_chat_by_hand(chat):
    ids = c7.encode_chat(
        chat,
        [
            {"role": "system", "content": "ab"},
            {"role": "user", "content": "c"},
        ],
    )
    assert ids == [256, 257, 97, 98, 260, 258, 99, 260, 259]
    row = c7.chat_row(
        chat,
        [
            {"role": "user", "content": "c"},
            {"role": "assistant", "content": "de"},
        ],
    )
    assert row.ids == [256, 258, 99, 260, 259, 100, 101, 260]
    assert row.graded == [False] * 5 + [True] * 3


@pytest.mark.parametrize(
    "messages, why",
    [
        ([], "at least one"),
        (["hello"], "message 1"),
        ([{"content": "a"}], "None is none of"),
        ([{"role": "robot", "content": "a"}], "'robot'"),
        ([{"role": "user", "content": None}], "no text"),
        ([{"role": "system", "content": "a"}], "user and"),
        ([{"role": "assistant", "content": "a"}], "in turn"),
        ([{"role": "user", "content": "a"}] * 2, "user, user"),
    ],
)
def test_what_is_no_chat_is_told(chat, messages, why):
    with pytest.raises(ValueError, match=why):
        c7.encode_chat(chat, messages)


@both_shapes
def test_new_tokens_change_nothing_of_the_old(plain, shape):
    model = new_model(**(shape | {"vocab_size": 257}))
    ids = torch.randint(257, (2, 9))
    before = model(ids)
    tokenizer = c7.add_special_tokens(plain, model)
    after = model(ids)
    assert_close(after[..., :257], before)
    assert after.shape[-1] == 261 == model.cfg["vocab_size"]
    assert tokenizer.encode_ordinary("Nora") == plain.encode_ordinary("Nora")
    assert sorted(
        tokenizer.encode_single_token(t) for t in c7.CHAT_TOKENS
    ) == [257, 258, 259, 260]
    tied = model.cfg["tie_weights"]
    assert (model.out_head.weight is model.tok_emb.weight) == tied
    rows = model.tok_emb.weight[257:]
    assert torch.pdist(rows).min() > 1e-3, "tokens that cannot be told apart"
    weights = model.tok_emb.weight.clone()
    assert c7.add_special_tokens(tokenizer, model) is tokenizer
    assert torch.equal(model.tok_emb.weight, weights), "added twice"
    with pytest.raises(ValueError, match="300 tokens, the tokenizer 257"):
        c7.add_special_tokens(plain, new_model(vocab_size=300))


# ---- Rows and batches ----------------------------------------------------


@few
@given(instruction=texts, input=texts, output=texts, which=st.booleans())
def test_a_row_grades_the_answer_and_its_end(
    instruction, input, output, which
):
    tokenizer = pc.gpt2_encoding()
    tokenizer = c7.chat_tokenizer(tokenizer) if which else tokenizer
    entry = Entry(instruction, input, output, "")
    row = c7.entry_row(tokenizer, entry)
    prompt = c7.encode_prompt_of(tokenizer, entry)
    assert row.ids[: len(prompt)] == prompt, "no token spans the two"
    assert not any(row.graded[: len(prompt)])
    assert all(row.graded[len(prompt) :])
    assert row.ids[-1] == c7.stop_token(tokenizer)
    said = tokenizer.decode(row.ids[len(prompt) : -1])
    assert said.strip() == output.strip()


rows_ = st.lists(
    st.lists(
        st.tuples(st.integers(0, 256), st.booleans()), min_size=2, max_size=12
    ).map(lambda pairs: c7.Row(*map(list, zip(*pairs, strict=True)))),
    min_size=1,
    max_size=5,
)


@few
@given(
    rows=rows_,
    pad=st.integers(0, 256),
    most=st.one_of(st.none(), st.integers(1, 14)),
    mask=st.booleans(),
)
def test_a_batch_is_its_rows_shifted_and_padded(rows, pad, most, mask):
    inputs, targets = c7.collate(rows, pad, max_length=most, mask_prompt=mask)
    T = min(max(len(row.ids) for row in rows) - 1, most or 99)
    assert inputs.shape == targets.shape == (len(rows), T)
    for row, x, y in zip(rows, inputs, targets, strict=True):
        n = min(T, len(row.ids) - 1)
        assert x[:n].tolist() == row.ids[:n]
        assert y[:n].tolist() == [
            i if graded or not mask else -100
            for i, graded in zip(
                row.ids[1 : n + 1], row.graded[1 : n + 1], strict=True
            )
        ]
        assert (x[n:] == pad).all() and (y[n:] == -100).all()
    with pytest.raises(ValueError, match="at least one"):
        c7.collate([])


def test_rows_that_are_too_long(plain):
    some = [
        Entry("a", "", "b", ""),
        Entry("a", "", "b" * 90, ""),
        Entry("a" * 200, "", "b", ""),
    ]
    with pytest.raises(ValueError, match="entry 2 has"):
        c7.InstructionDataset(some, plain, 100)
    with pytest.warns(UserWarning, match="2 of 3"):
        kept = c7.InstructionDataset(some, plain, 100, too_long="skip")
    assert kept.entries == some[:1]
    with pytest.warns(UserWarning, match="1 of 3"):
        cut = c7.InstructionDataset(some, plain, 100, too_long="cut")
    assert cut.entries == some[:2] and len(cut[1].ids) == 100
    with pytest.raises(ValueError, match="'drop'"):
        c7.InstructionDataset(some, plain, 100, too_long="drop")


# ---- The loss ------------------------------------------------------------


@few
@given(rows=rows_, seed=st.integers(0, 99))
def test_the_loss_is_that_of_transformers(rows, seed):
    """With power 0: the mean over graded targets, as GPT-2 has it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    _, targets = c7.collate(rows)
    torch.manual_seed(seed)
    oracle = GPT2LMHeadModel(
        GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=257)
    ).eval()
    inputs, _ = c7.collate(rows)
    if (targets == -100).all():
        with pytest.raises(ValueError, match="no target"):
            c7.masked_loss(torch.zeros(*inputs.shape, 257), targets)
        return
    logits = oracle(inputs).logits
    # transformers shifts by itself: give each label the place before it
    labels = nn.functional.pad(targets, (1, 0), value=-100)
    padded = nn.functional.pad(inputs, (0, 1))
    theirs = oracle(padded, labels=labels).loss
    assert_close(c7.masked_loss(logits, targets, 0.0), theirs)


@few
@given(rows=rows_, power=st.sampled_from([0.0, 0.5, 1.0]))
def test_the_loss_by_hand(rows, power):
    """Each answer of n tokens weighs n^(1 - power), its tokens alike."""
    inputs, targets = c7.collate(rows)
    logits = torch.randn(*inputs.shape, 257)
    total, weights = 0.0, 0.0
    nll = -logits.log_softmax(-1)
    for line, row in zip(targets.tolist(), nll, strict=True):
        spans, last = [], False
        for t, target in enumerate(line):
            if target != -100:
                spans = spans if last else [*spans, []]
                spans[-1].append(row[t, target].item())
            last = target != -100
        for span in spans:
            w = len(span) ** -power
            total, weights = total + w * sum(span), weights + w * len(span)
    if not weights:
        return
    found = c7.masked_loss(logits, targets, power)
    assert found.item() == pytest.approx(total / weights, rel=1e-4)


@few
@given(rows=rows_, seed=st.integers(0, 9), power=st.sampled_from([0.0, 0.5]))
def test_logits_where_they_are_graded_are_enough(rows, seed, power):
    inputs, targets = c7.collate(rows)
    if (targets == -100).all():
        with pytest.raises(ValueError, match="no target"):
            c7.answer_loss(new_model(), inputs, targets)
        return
    one, two = new_model(seed), new_model(seed)
    loss = c7.masked_loss(one(inputs), targets, power)
    quick = c7.answer_loss(two, inputs, targets, power)
    assert_close(quick, loss)
    loss.backward()
    quick.backward()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert_close(p.grad, q.grad, atol=1e-6, rtol=1e-4)


def test_padding_and_neighbours_change_no_loss(chat):
    model = new_model()
    data = c7.InstructionDataset(toy_entries(9), chat, 128)
    alone = []
    for row in data.rows:
        inputs, targets = c7.collate([row])
        n = int((targets != -100).sum())
        alone += [(c7.answer_loss(model, inputs, targets, 0.0).item(), n)]
    mean = sum(x * n for x, n in alone) / sum(n for _, n in alone)
    for size in (1, 4, 64):
        found = c7.evaluate_answers(model, data, batch_size=size)
        assert found == pytest.approx(mean, rel=1e-5)
    assert not model.training


# ---- Training and answers ------------------------------------------------


@pytest.fixture(scope="module")
def taught(plain):
    """A tiny model that has learned to answer toy_entries, in a chat."""
    torch.manual_seed(0)
    shape = {"emb_dim": 64, "n_heads": 4}
    model = pc.init_copying(pc.GPTModel(CFG | shape))
    tokenizer = c7.add_special_tokens(plain, model)
    data = c7.InstructionDataset(toy_entries(600), tokenizer, 128)
    log = c7.finetune_instructions(
        model,
        data,
        4,
        lr=3e-3,
        validation=data,
        precision="fp32",
        progress=False,
    )
    return model, tokenizer, log


def test_it_learns_to_answer(taught):
    model, tokenizer, log = taught
    assert [round(r["epoch"]) for r in log] == [1, 2, 3, 4]
    assert log[-1]["train"] < log[0]["train"] and not model.training
    assert log[-1]["validation"] < 0.2
    test = toy_entries(30, seed=1)
    said = c7.answers(model, tokenizer, test)
    scores = c7.score(test, said)
    assert scores["all"]["exact_match"] > 0.9
    assert c7.answer(model, tokenizer, "Who?", test[4].input) == said[4]


def test_answers_come_in_the_order_of_the_questions(taught):
    model, tokenizer, _ = taught
    test = toy_entries(12, seed=2)
    test.insert(3, Entry("a" * 200, "", "b", ""))  # leaves no room
    one_by_one = [
        ""
        if len(one.instruction) > 99
        else c7.answer(model, tokenizer, one.instruction, one.input, 9)
        for one in test
    ]
    for size in (1, 3, 64):
        said = c7.answers(model, tokenizer, test, size, max_new_tokens=9)
        assert said == one_by_one
    with pytest.raises(ValueError, match="no room"):
        c7.answer(model, tokenizer, "a" * 200)


def test_a_chat_is_streamed(taught):
    model, tokenizer, _ = taught
    messages = [{"role": "user", "content": "tea zzz dog aa\nWho?"}]
    pieces = [*c7.stream_chat(model, tokenizer, messages, 12)]
    assert all(pieces) and len(pieces) > 1
    assert not any("<|" in piece for piece in pieces)
    hot = c7.stream_chat(
        model,
        tokenizer,
        messages,
        5,
        temperature=1.0,
        generator=torch.Generator().manual_seed(1),
    )
    assert len([*hot]) <= 5


def test_not_a_number_stops_training(chat):
    model = new_model()
    model.tok_emb.weight.data[97, 0] = torch.nan
    data = c7.InstructionDataset([Entry("a", "a", "a", "")], chat, 128)
    with pytest.raises(FloatingPointError, match="step 0"):
        c7.finetune_instructions(
            model, data, 1, precision="fp32", progress=False
        )


def test_scores_by_hand():
    some = [
        Entry("", "", "At the mill.", "place"),
        Entry("", "", "Nora.", "who"),
        Entry("", "", "Tom.", "who"),
        Entry("", "", "A red hat.", ""),
    ]
    found = c7.score(some, ["at the mill", "Nora Tom", "Leo", "The red hat!"])
    assert found["place"] == {"n": 1, "exact_match": 1.0, "token_f1": 1.0}
    assert found["who"]["exact_match"] == 0
    assert found["who"]["token_f1"] == pytest.approx(1 / 3)
    assert found["other"]["exact_match"] == 1
    assert found["all"] == {
        "n": 4,
        "exact_match": 0.5,
        "token_f1": pytest.approx((2 + 2 / 3) / 4),
    }
    assert [*found][-1] == "all"


@both_shapes
def test_lora_starts_as_the_model_and_can_be_merged(shape):
    model = new_model(**shape)
    ids = torch.randint(261, (2, 9))
    before = model(ids)
    c7.add_lora(model, 3, 6.0)
    assert torch.equal(model(ids), before)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n.split(".")[-1] for n in trained} == {"A", "B", "weight"}
    assert {n for n in trained if n.endswith("weight")} <= {
        "tok_emb.weight",
        "out_head.weight",
    }
    for layer in model.modules():
        if isinstance(layer, pc.LoRALinear):
            nn.init.normal_(layer.B, std=0.2)
    stirred = model(ids)
    assert (stirred - before).abs().max() > 1e-2
    assert_close(c7.merge_lora(model)(ids), stirred, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="'att.queries'"):
        c7.add_lora(new_model(), 2, 2.0, ["att.queries"])


# ---- Saving and loading --------------------------------------------------


@both_shapes
@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_a_run_comes_back(tmp_path, request, shape, kind):
    tokenizer = request.getfixturevalue(kind)
    model = new_model(**(shape | {"vocab_size": tokenizer.n_vocab}))
    c7.save_instruct(tmp_path / "run", model, tokenizer)
    back, its = c7.from_pretrained(tmp_path / "run", "cpu")
    assert c7.has_chat(its) == (kind == "chat") and not back.training
    ids = torch.randint(257, (2, 9))
    assert torch.equal(back(ids), model(ids)) and back.cfg == model.cfg
    entry = Entry("Who?", "Nora <|end|>", "b", "")
    assert c7.entry_row(its, entry) == c7.entry_row(tokenizer, entry)


def test_what_cannot_be_saved_or_opened_is_told(tmp_path, plain, chat):
    with pytest.raises(ValueError, match="merge"):
        c7.save_instruct(tmp_path, c7.add_lora(new_model(), 2), chat)
    c7.save_instruct(tmp_path, new_model(vocab_size=300), plain)
    with pytest.raises(ValueError, match="257 tokens, the model 300"):
        c7.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no model none"):
        c7.from_pretrained("none")


def test_earlier_runs_still_open(tmp_path, plain):
    gpt = pc.GPTModel(CFG)
    pc.save_model(tmp_path / "model.safetensors", gpt, " ")
    pc.save_tokenizer(tmp_path / "tokenizer.tiktoken", plain)
    back, its = c7.from_pretrained(tmp_path)
    assert isinstance(back, pc.GPTModel) and its.add_prefix_space
    pc.save_model(tmp_path / "model.safetensors", pc.Classifier(gpt), " ")
    assert isinstance(c7.from_pretrained(tmp_path)[0], pc.Classifier)


# ---- Data ----------------------------------------------------------------


def test_the_file_that_ships():
    path = HERE / "instruction-data.json"
    items = json.loads(path.read_text("utf-8"))
    assert items == town.instruction_data()
    assert len(items) >= 1100 and len({i["family"] for i in items}) >= 14
    some = c7.load_entries(path)
    assert [e.output for e in some] == [i["output"] for i in items]
    parts = {"train": set(), "validation": set(), "test": set()}
    for item in items:
        parts[item["split"]].add((item["input"], item["output"]))
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["validation"]


BAD_FILES = [
    ("", "is not JSON|is empty"),
    ('[{"instruction": "a",', "is not JSON: line 1"),
    ("[]", "list of entries"),
    ('{"a": 1}', "list of entries"),
    ("[" * 9999, "deep|JSON"),
    ("[1]", "entry 1"),
    ('[{"instruction": "a"}]', "no 'output'"),
    ('[{"output": "a"}]', "no 'instruction'"),
    ('[{"instruction": "a", "output": " "}]', "output is empty"),
    ('[{"instruction": "", "output": "a"}]', "instruction is empty"),
    ('[{"instruction": "a", "output": 5}]', "output is 5, no text"),
    ('[{"instruction": "a", "input": ["b"], "output": "c"}]', "input is"),
]


@pytest.mark.parametrize("text, why", BAD_FILES)
def test_a_bad_file_is_told_in_a_line(tmp_path, text, why):
    path = tmp_path / "my.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=why) as error:
        c7.load_entries(path)
    assert "\n" not in str(error.value) and "my.json" in str(error.value)


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "my.json"
    path.write_bytes('[{"instruction": "é"}]'.encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8.*byte 18"):
        c7.load_entries(path)
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(ValueError, match=path.name):
            c7.load_entries(path)
    good = tmp_path / "good.json"
    good.write_text('\ufeff[{"instruction": "é", "output": "b"}]', "utf-8")
    assert c7.load_entries(good) == [Entry("é", "", "b", "")]


# ---- The script ----------------------------------------------------------

FILES = {
    "model.safetensors",
    "tokenizer.tiktoken",
    "metrics.json",
    "instruction-data-with-response.json",
    "loss.png",
}
FAST = ["--force-cpu", "--precision", "fp32", "--model", "base", "--out"]
TOY = ["--data", "toy.json", "--lr", "3e-3"]


@pytest.fixture(scope="module")
def base(tmp_path_factory, plain):
    """The folder of a tiny pretrained GPT, as chapter 5 leaves it."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    shape = {"emb_dim": 64, "n_heads": 4}
    gpt = pc.init_copying(pc.GPTModel(CFG | shape))
    pc.save_model(folder / "model.safetensors", gpt, " ")
    pc.save_tokenizer(folder / "tokenizer.tiktoken", plain)
    return folder


@pytest.fixture
def here(base, tmp_path, monkeypatch):
    """A folder in which we are, with `base` and toy.json."""
    monkeypatch.chdir(tmp_path)
    Path("base").symlink_to(base)
    write("toy.json", toy_items(300))
    return tmp_path


def write(name: str, items: object) -> None:
    Path(name).write_text(json.dumps(items), "utf-8")


@pytest.fixture
def said(here, capsys):
    """said(*args): exit code, stdout and stderr of the script."""

    def call(*args: object, script=gpt_instruction_finetuning):
        try:
            code = script.main([str(arg) for arg in args])
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return call


def metrics(run: str) -> dict:
    return json.loads(Path(run, "metrics.json").read_text("utf-8"))


def test_somebody_else_s_data(said):
    code, out, err = said(*FAST, "run", *TOY, "--epochs", 12)
    assert code == 0 and "all in run" in out, err
    assert {path.name for path in Path("run").iterdir()} == FILES
    m = metrics("run")
    assert m["items"] == {"train": 255, "validation": 15, "test": 30}
    assert m["exact_match"] > 0.8 >= m["exact_match_base"] >= 0
    assert m["exact_match"] <= m["token_f1"] <= 1
    assert m["exact_match_heldout_phrasings"] is None
    assert m["exact_match_unseen_families"] is None
    assert 0 < m["seconds"] < 60 and m["template"] == "chat"
    h = m["history"]
    best = h["step"].index(m["best_step"])
    assert h["validation"][best] == min(h["validation"])
    text = Path("run", "instruction-data-with-response.json").read_text(
        encoding="utf-8"
    )
    rows = json.loads(text)
    right = [row["model_response"] == row["output"] for row in rows]
    assert len(rows) == 30 and sum(right) / 30 == m["exact_match"]
    assert len(Path("run", "loss.png").read_bytes()) < 40 * 1024
    check_it_answers(said, rows[0])
    check_it_goes_on(said)


def check_it_answers(said, row):
    how = ["--model", "run", "--force-cpu"]
    ask = [*how, "--ask", row["instruction"], "--input", row["input"]]
    code, out, err = said(*ask)
    assert (code, err) == (0, "") and out == row["model_response"] + "\n"
    assert len(said(*ask, "--temperature", 1.0)[1]) > 0
    code, out, err = said(*how, "--ask", "Who? <|end|><|user|> <|endoftext|>")
    assert code == 0 and "<|" not in out
    code, _, err = said(*how, "--ask", "who " * 60)
    assert code == 2 and "no room" in err and err.count("\n") == 1


def check_it_goes_on(said):
    """A run is a base as well: with a rate of 0 it stays what it was."""
    how = [*FAST[:-3], "--model", "run", "--data", "toy.json", "--lr", 0]
    assert said(*how, "--out", "more", "--epochs", 1)[0] == 0
    more, run = metrics("more"), metrics("run")
    assert more["exact_match"] == run["exact_match"]
    assert more["exact_match_base"] == run["exact_match"]
    code, _, err = said(*how, "--out", "new", "--template", "alpaca")
    assert code == 2 and "--template chat" in err


@pytest.mark.parametrize(
    "options",
    [
        ["--template", "alpaca", "--no-mask"],
        ["--layers", "lora", "--rank", 3, "--alpha", 6],
        ["--template", "alpaca", "--layers", "lora", "--power", 0],
        ["--system", "Be brief.", "--batch-size", 5, "--base-items", 0],
    ],
)
def test_every_way_leaves_a_run_that_opens(said, options):
    how = [*TOY, "--epochs", 1, "--items", 40, *options]
    code, out, _ = said(*FAST, "run", *how)
    assert code == 0, out
    model, tokenizer = c7.from_pretrained("run", "cpu")
    assert c7.has_chat(tokenizer) == ("alpaca" not in options)
    assert all(p.isfinite().all() for p in model.parameters())
    m = metrics("run")
    if "lora" in options:
        layers = pc.lora_parameters(model.cfg, int(m["options"]["rank"]))
        table = model.tok_emb.weight.numel()
        assert m["trained_parameters"] == layers + table
    assert said("--model", "run", "--ask", "Who?")[0] == 0


def test_masking_the_instruction_or_not(said):
    how = [*TOY, "--epochs", 1, "--lr", 0, "--power", 0, "--base-items", 0]
    losses = {}
    for name in ("--mask", "--no-mask"):
        assert said(*FAST, name[2:], *how, name)[0] == 0
        losses[name] = metrics(name[2:])["history"]
    same = [h["validation"] for h in losses.values()]
    assert same[0] == same[1], "answers are judged alike"
    assert losses["--mask"]["train"] != losses["--no-mask"]["train"]


def test_a_seed_repeats_a_run(said):
    how = [*TOY, "--epochs", 1, "--items", 40, "--base-items", 0]
    more = {"one": [], "two": [], "seed": ["--seed", 5]}
    for name, options in more.items():
        assert said(*FAST, name, *how, *options)[0] == 0
    losses = {name: metrics(name)["history"]["train"] for name in more}
    assert losses["one"] == losses["two"] != losses["seed"]


def test_the_town_with_the_storyteller(said):
    how = ["--model", "storyteller", "--force-cpu", "--items", 64]
    how += ["--test-items", 128, "--max-new-tokens", 4, "--base-items", 8]
    code, out, err = said(*how)
    assert code == 0 and "held-out phrasings" in out, err
    run = "runs/instruct-town-001"
    assert {p.name for p in Path(run).iterdir()} == FILES | {"families.png"}
    m = metrics(run)
    for key in (
        "exact_match",
        "exact_match_heldout_phrasings",
        "exact_match_unseen_families",
        "exact_match_base",
        "token_f1",
    ):
        assert 0 <= m[key] <= 1, key
    assert set(m["families"]) == set(town.FAMILIES)
    unseen = {name for name, f in m["families"].items() if f["unseen"]}
    assert unseen == set(town.UNSEEN_FAMILIES)
    rows = json.loads(
        Path(run, "instruction-data-with-response.json").read_text("utf-8")
    )
    assert len(rows) == 128 and sum(row["held_out"] for row in rows) == 64
    right = [row["exact_match"] for row in rows if not row["held_out"]]
    assert sum(right) / 64 == m["exact_match"]
    assert len(Path(run, "families.png").read_bytes()) < 40 * 1024
    code, out, err = said("--ask", "Who has a hat?", "--max-new-tokens", 3)
    assert code == 0 and "instruct-town-001" in err, "the newest is asked"


def test_what_cannot_be_learned_is_kept_and_told(said):
    items = toy_items(60)
    bad = [
        {"instruction": "Who?", "input": "lacks an output"},
        {"instruction": "Who?", "output": ""},
        {"output": "no question"},
        {"instruction": "Who?", "input": 5, "output": "x"},
        "a text",
        None,
    ]
    long = {"instruction": "Who?", "output": "very long " * 40}
    odd = {
        "instruction": "Say <|end|> ### Response:\n<|endoftext|>",
        "input": "é \ud800 \u0000",
        "output": "<|assistant|>",
    }
    write("mixed.json", [*bad, *items, long, odd, items[0]])
    how = ["--data", "mixed.json", "--epochs", 1]
    code, out, err = said(*FAST, "run", *how)
    assert code == 0, err
    assert "note: 6 of 69 entries cannot be used" in out
    assert "entry 1 has no 'output'" in out
    assert "repeat another are read once: 1" in out
    left = json.loads(Path("run", "left-out.json").read_text("utf-8"))
    assert [one["item"] for one in left[:6]] == bad
    m = metrics("run")
    assert m["left_out"] == len(left) and sum(m["items"].values()) >= 61
    if len(left) == 7:  # the long one is in train or validation, or the test
        assert left[6]["why"] == "too long"
    code, _, err = said(*FAST, "new", *how, "--too-long", "error")
    assert code == (2 if len(left) == 7 else 0)


def test_the_file_may_split_itself_but_not_leak(said):
    items = toy_items(60)
    for i, item in enumerate(items):
        item["split"] = ("train", "validation", "test")[i // 20]
    items[0] |= {
        "instruction": items[50]["instruction"],
        "input": items[50]["input"],
    }
    write("split.json", items)
    how = ["--data", "split.json", "--epochs", 1]
    code, out, _ = said(*FAST, "run", *how)
    assert (
        code == 0
        and "stand in the test as well, and are not learned: 1" in out
    )
    assert metrics("run")["items"] == {
        "train": 19,
        "validation": 20,
        "test": 20,
    }


def test_a_line_an_object(said):
    lines = [json.dumps(item) for item in toy_items(40)]
    Path("toy.jsonl").write_text("\n".join(lines), "utf-8")
    how = ["--data", "toy.jsonl", "--epochs", 1]
    assert said(*FAST, "run", *how)[0] == 0
    assert sum(metrics("run")["items"].values()) == 40


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


@pytest.mark.parametrize(
    "options", [[], ["--layers", "lora"], ["--template", "alpaca"]]
)
def test_gpt2_by_one_setting(said, gpt2, options):
    how = ["--model", "gpt2-small (124M)", "--weights", "elsewhere"]
    how += ["--force-cpu", "--data", "toy.json", "--epochs", 1, "--items", 16]
    how += ["--test-items", 4, "--max-new-tokens", 4, "--lr", 0, *options]
    code, out, err = said(*how, "--out", "run")
    assert code == 0, err
    model, tokenizer = c7.from_pretrained("run", "cpu")
    assert model.cfg["vocab_size"] == 50257 + 4 * ("alpaca" not in options)
    assert model.cfg["qkv_bias"] and not tokenizer.add_prefix_space
    ids = torch.tensor([tokenizer.encode_ordinary("The sea is wide.")])
    assert_close(
        model(ids)[..., :50257], gpt2(ids).logits, atol=1e-4, rtol=1e-4
    )
    assert (
        said("--model", "run", "--ask", "Who?", "--max-new-tokens", 3)[0] == 0
    )
    code, _, err = said(*how, "--weights", "nowhere", "--out", "new")
    assert code == 2 and "gpt2-small is not in nowhere" in err


ERRORS = [
    (["--epochs", "0"], "got 0"),
    (["--lr", "nan"], "got nan"),
    (["--power", "2"], "got 2"),
    (["--template", "phi"], "phi"),
    (["--layers", "some"], "some"),
    (["--device", "toaster"], "toaster"),
    (["--model", "none"], "no model none"),
    (["--model", "broken"], "not a whole"),
    (["--model", "classifier"], "only a GPT can answer"),
    (["--context-length", "129"], "more than the 128"),
    (["--system", "a", "--template", "alpaca"], "--template chat"),
    (["--data", "none.json"], "none.json does not exist"),
    (["--data", "."], "cannot be read"),
    (["--data", "empty.json"], "is empty"),
    (["--data", "half.json"], "is not JSON: line 1, column"),
    (["--data", "latin.json"], "is not UTF-8"),
    (["--data", "dict.json"], "no list of entries"),
    (["--data", "bare.json"], "no entry can be used: bare.json, entry 1"),
    (["--data", "three.json"], "give more"),
    (["--data", "long.json"], "none of"),
    (["--out", "base"], "exists already"),
    (["--ask", " ", "--model", "base"], "the instruction is empty"),
    (["--ask", "a", "--system", "b"], "takes no --system"),
    (["--nonsense"], "--nonsense"),
]


@pytest.mark.parametrize("args, why", ERRORS)
def test_one_clear_line_and_nothing_written(said, here, plain, args, why):
    files = {
        "empty.json": b"",
        "half.json": b'[{"instruction": "a", "output": ',
        "latin.json": '[{"instruction": "é"}]'.encode("latin-1"),
        "dict.json": b'{"instruction": "a", "output": "b"}',
        "bare.json": b'[{"question": "a", "answer": "b"}]',
        "three.json": json.dumps(toy_items(3)).encode(),
        "long.json": json.dumps(
            [i | {"output": "b" * 200} for i in toy_items(40)]
        ).encode(),
    }
    for name, data in files.items():
        Path(name).write_bytes(data)
    whole = Path("base", "model.safetensors").read_bytes()
    for name in ("broken", "classifier"):
        Path(name).mkdir()
        pc.save_tokenizer(Path(name, "tokenizer.tiktoken"), plain)
    Path("broken", "model.safetensors").write_bytes(whole[:-9])
    classifier = pc.Classifier(pc.GPTModel(CFG))
    pc.save_model(Path("classifier", "model.safetensors"), classifier)
    before = sorted(here.rglob("*"))
    code, _, err = said("--model", "base", "--data", "toy.json", *args)
    assert code == 2 and why in err, err
    assert err.strip().count("\n") == 0
    assert err.startswith("gpt_instruction_finetuning.py: error")
    assert sorted(here.rglob("*")) == before


def test_without_a_run_there_is_nobody_to_ask(said):
    code, _, err = said("--ask", "Who?")
    assert code == 2 and "no run that follows instructions in runs" in err


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT")
def test_ctrl_c_keeps_what_was_learned(said, monkeypatch):
    how = [*TOY, "--epochs", "100000", "--base-items", "0"]
    process = subprocess.Popen(
        [
            sys.executable,
            HERE / "gpt_instruction_finetuning.py",
            *FAST,
            "run",
            *how,
            "--max-minutes",
            "9",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert "255 train" in process.stdout.readline()
    assert "epoch 1," in process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "stopped (interrupted), the checkpoint can be used" in out
    assert "Traceback" not in err
    m = metrics("run")
    assert m["interrupted"] and m["exact_match"] is None
    assert m["history"]["step"][-1] == m["steps"], "the last steps count, too"
    monkeypatch.setattr("sys.stdin", io.StringIO("Who?\n\n  What?\n"))
    code, out, _ = said("--model", "run", "--ask", "--max-new-tokens", 3)
    assert code == 0 and out.count("\n") >= 2


def test_before_the_first_step_ctrl_c_leaves_a_run_too(said, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpt_instruction_finetuning, "train", interrupt)
    code, out, _ = said(*FAST, "run", *TOY, "--layers", "lora")
    assert code == 130 and "0 steps" in out
    assert c7.has_chat(c7.from_pretrained("run", "cpu")[1])


def test_a_rate_that_is_too_high_is_told(said):
    how = ["--data", "toy.json", "--lr", 1e30, "--clip", 1e30]
    code, out, _ = said(*FAST, "run", *how, "--base-items", 0)
    assert code == 1 and "try a lower --lr" in out
    assert metrics("run")["stopped"].startswith("step ")


def test_time_is_kept(said):
    how = [*TOY, "--epochs", 10**5, "--max-minutes", 0.02, "--base-items", 0]
    code, out, _ = said(*FAST, "run", *how)
    m = metrics("run")
    assert code == 0 and "steps fit into the time" in out
    assert m["steps"] == m["history"]["step"][-1] < 10**5
    assert m["exact_match"] is not None


# ---- The table of experiments --------------------------------------------


def test_experiments_make_one_table(said, monkeypatch):
    script = exercise_experiments
    toy = toy_entries(40)

    def parts(*_):
        return script.Parts(toy[:30], toy[30:35], toy[35:], "toy")

    monkeypatch.setattr(script, "town_parts", parts)
    how = ["--model", "base", "--force-cpu", "--precision", "fp32"]
    names = [n for n in script.VARIANTS if n != "conversations"]
    how += ["--items", 30, "--out", "table", "--seeds", 1, "--only"]
    code, out, err = said(*how, *names[:2], script=script)
    assert code == 0, err
    first = Path("table", "results.json").read_bytes()
    code, out, err = said(*how, *names, script=script)
    assert code == 0, err
    rows = json.loads(Path("table", "results.json").read_text("utf-8"))
    assert [row["variant"] for row in rows] == names
    kept = {row["variant"]: row for row in json.loads(first)}
    assert all(row == kept.get(row["variant"], row) for row in rows)
    table = Path("table", "results.md").read_text("utf-8")
    assert table.count("\n") == 2 + len(names) and "| no-mask |" in table
    by = {row["variant"]: row for row in rows}
    assert (
        by["lora-4"]["trained_parameters"]
        < by["lora-32"]["trained_parameters"]
        < by["usual"]["trained_parameters"]
    )
    code, _, err = said(*how[:-1], "--items", 20, script=script)
    assert code == 2 and "other options" in err and err.count("\n") == 1
    assert set(script.ABOUT) == set(script.VARIANTS)


def test_conversations_have_as_many_answers():
    some = exercise_experiments.chats(50, 1)
    n = sum(m["role"] == "assistant" for talk in some for m in talk)
    assert 50 <= n < 56 and math.isclose(n, 50, abs_tol=6)
    assert copy.deepcopy(some) == exercise_experiments.chats(50, 1)
