"""What must hold of the pairs, of the loss and of its training.

The oracle is trl.
"""

from __future__ import annotations

import importlib
import json
import math
from contextlib import nullcontext
from types import SimpleNamespace

import dpo
import preference_pairs as pp
import pytest
import torch
from dpo import (
    PairDataset,
    answer_logps,
    collate_pairs,
    dpo_loss,
    pair_batches,
    pair_logps,
    preference_accuracy,
    tune_preferences,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from previous_chapters import (
    IGNORE,
    GPTModel,
    add_special_tokens,
    from_pretrained,
)
from torch.testing import assert_close

LOGPS = st.lists(
    st.tuples(*[st.floats(-60, 0, width=32)] * 4), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def tokenizer():
    """The course's tokenizer with the special tokens of a chat."""
    return add_special_tokens(*from_pretrained("storyteller", "cpu")[::-1])


def tiny(tokenizer, seed: int = 0, drop_rate: float = 0.0) -> GPTModel:
    """A small model with random weights."""
    torch.manual_seed(seed)
    return GPTModel(
        {
            "vocab_size": tokenizer.n_vocab,
            "context_length": 256,
            "emb_dim": 32,
            "n_heads": 2,
            "n_layers": 1,
            "drop_rate": drop_rate,
            "qkv_bias": False,
        }
    ).eval()


# ------------------------------------------------------------------ pairs ---


def test_pairs_are_made_by_their_seed():
    assert pp.pairs(60, seed=3) == pp.pairs(60, seed=3)
    assert pp.pairs(60, seed=3) != pp.pairs(60, seed=4)


def test_pairs_are_all_kinds_alike_and_never_twice():
    made = pp.pairs(300)
    assert len({(one.instruction, one.input) for one in made}) == 300
    for kind in pp.KINDS:
        assert sum(one.kind == kind for one in made) == 100
    for one in made:
        assert one.chosen.strip() and one.rejected.strip()
        assert one.chosen != one.rejected
        assert "{" not in one.chosen + one.rejected


def test_no_question_of_one_split_stands_in_another():
    seen = {
        split: {(p.instruction, p.input) for p in pp.pairs(150, split)}
        for split in pp.SPLITS
    }
    assert not seen["train"] & seen["test"]
    assert not seen["train"] & seen["validation"]
    assert not seen["validation"] & seen["test"]


def test_the_chosen_answer_is_what_its_kind_says():
    for one in pp.pairs(300, "validation"):
        if one.kind == "short":  # or the rejected one breaks off
            long, part = one.rejected, one.chosen
            if len(long) < len(part):
                long, part = part, long.removesuffix(".")
            assert part in long
        elif one.kind == "polite":
            assert "I will" in one.chosen and "me" not in one.chosen.split()
        else:
            assert pp.UNSAID in (one.chosen, one.rejected)


def test_the_clerks_say_good_and_bad_things():
    said = [answer for _, _, answer in pp.clerk_answers(600)]
    assert said == [answer for _, _, answer in pp.clerk_answers(600)]
    assert any(answer.startswith("Gladly") for answer in said)
    assert any(answer.startswith("Why should I") for answer in said)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": -1},
        {"n": 3, "split": "base"},
        {"n": 3, "kinds": ["kind"]},
        {"n": 3, "kinds": []},
        {"n": 9_000, "kinds": ["polite"], "split": "test"},
    ],
)
def test_pairs_that_there_are_not(wrong):
    with pytest.raises(ValueError, match="pairs"):
        pp.pairs(**wrong)


GOOD = {"instruction": "Who?", "chosen": "Tom.", "rejected": "Why?"}


def test_pairs_from_a_file(tmp_path):
    path = tmp_path / "pairs.json"
    path.write_text(
        json.dumps([GOOD, {**GOOD, "input": "Tom is."}]), encoding="utf-8"
    )
    one, two = pp.load_pairs(path)
    assert (one.input, two.input, one.rejected) == ("", "Tom is.", "Why?")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "not JSON"),
        ("{}", "not a list"),
        ("[]", "not a list"),
        ("[1]", "pair 1: '1' is no object"),
        (json.dumps([GOOD, {"instruction": "Who?"}]), "pair 2 has no 'chos"),
        (json.dumps([{**GOOD, "chosen": " "}]), "chosen is empty"),
        (json.dumps([{**GOOD, "rejected": 7}]), "rejected is 7, no text"),
        (json.dumps([{**GOOD, "rejected": "Tom. "}]), "are the same"),
        (b"[\xff]", "not JSON in UTF-8"),
        (None, "does not exist"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, says):
    path = tmp_path / "pairs.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=says):
        pp.load_pairs(path)


def test_the_script_writes_what_it_reads(tmp_path, capsys):
    path = tmp_path / "pairs.json"
    assert pp.main(["--out", str(path), "--n", "30", "--seed", "2"]) == 0
    assert pp.load_pairs(path) == pp.pairs(30, seed=2)
    assert "30 pairs" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        pp.main(["--out", str(tmp_path / "no" / "pairs.json")])
    assert stop.value.code == 2


# ------------------------------------------------------------------- loss ---


def test_the_loss_by_hand():
    # rewards: 0.5 * (-2 - -3) = 0.5 and 0.5 * (-5 - -4) = -0.5
    loss = dpo_loss(*torch.tensor([[-2.0], [-5.0], [-3.0], [-4.0]]), 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.0)))


@settings(deadline=None)
@given(LOGPS, st.floats(0.01, 5))
def test_the_published_formula(rows, beta):
    w, lose, ref_w, ref_l = torch.tensor(rows, dtype=torch.float64).T
    ours = dpo_loss(w, lose, ref_w, ref_l, beta)
    for loss, (a, b, c, d) in zip(ours.tolist(), rows, strict=True):
        # equation 7: log (pi / pi_ref) of the one, less that of the other
        h = beta * ((a - c) - (b - d))
        told = math.log1p(math.exp(-h)) if h > -30 else -h
        assert loss == pytest.approx(told, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(LOGPS, st.floats(0.01, 2))
def test_its_gradient_is_the_published_one(rows, beta):
    logps = torch.tensor(rows, dtype=torch.float64).T.requires_grad_()
    dpo_loss(*logps, beta).sum().backward()
    w, lose, ref_w, ref_l = logps.detach()
    push = beta * torch.sigmoid(-beta * ((w - ref_w) - (lose - ref_l)))
    assert_close(logps.grad[0], -push)
    assert_close(logps.grad[1], push)


def test_the_loss_starts_at_ln_2_and_stays_finite():
    logps = torch.randn(2, 7)
    assert_close(dpo_loss(*logps, *logps), torch.full((7,), math.log(2)))
    far = torch.tensor([-1e6, 0.0, 0.0, 0.0]).view(4, 1)
    assert torch.isfinite(dpo_loss(*far)).all()
    with pytest.raises(ValueError, match="beta"):
        dpo_loss(*far, beta=0.0)


def trl_loss(rows: torch.Tensor, beta: float) -> tuple[float, dict]:
    """The loss and the metrics of trl's trainer for log p of answers.

    rows (4, B). The trainer is a stand-in with what the method reads; the
    model is one that gives these numbers, each as a single graded token.
    """
    from collections import defaultdict

    trl = importlib.import_module("trl")  # slow: only where it is needed
    w, lose, ref_w, ref_l = rows
    logps = torch.cat([w, lose])[:, None]  # (2B, 1)
    mask = torch.tensor([[0, 1]]).expand(len(logps), 2)
    same = SimpleNamespace(
        device=torch.device("cpu"),
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        autocast=nullcontext,
    )
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=same,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        label_smoothing=0.0,
        beta=beta,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )

    def model(**kwargs: object) -> SimpleNamespace:
        zeros = torch.zeros_like(logps)
        return SimpleNamespace(
            log_probs=logps,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=zeros.bool(),
        )

    inputs = {
        "input_ids": torch.zeros(len(logps), 2, dtype=torch.long),
        "attention_mask": torch.ones(len(logps), 2),
        "completion_mask": mask,
        "ref_chosen_logps": ref_w,
        "ref_rejected_logps": ref_l,
    }
    method = trl.DPOTrainer._compute_loss
    loss = method(trainer, model, inputs, return_outputs=False)
    return loss, trainer._metrics["train"]


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_the_loss_of_trl(beta):
    rows = -20 * torch.rand(4, 64, generator=torch.manual_seed(0))
    rows.requires_grad_()
    theirs, metrics = trl_loss(rows, beta)
    ours = dpo_loss(*rows, beta).mean()
    assert_close(ours, theirs)
    assert_close(*(torch.autograd.grad(x, rows)[0] for x in (ours, theirs)))
    margins = beta * ((rows[0] - rows[2]) - (rows[1] - rows[3]))
    assert metrics["rewards/margins"][0] == pytest.approx(
        margins.mean().item(), rel=1e-5
    )
    assert metrics["rewards/accuracies"][0] == pytest.approx(
        preference_accuracy(margins)
    )


# ------------------------------------------------------ log p of answers ---


def test_log_p_is_the_sum_over_the_answer(tokenizer):
    model, data = tiny(tokenizer), PairDataset(pp.pairs(6), tokenizer)
    inputs, targets, numbers = next(iter(pair_batches(data, 6)))
    assert inputs.shape == targets.shape and len(inputs) == 12
    with torch.no_grad():
        ours = answer_logps(model, inputs, targets)
        logps = model(inputs).log_softmax(-1)
    both = [data.rows[i].chosen for i in numbers]
    both += [data.rows[i].rejected for i in numbers]
    for i, row in enumerate(both):
        told = sum(
            logps[i, t - 1, row.ids[t]].item()
            for t in range(1, len(row.ids))
            if row.graded[t]
        )
        assert ours[i].item() == pytest.approx(told, abs=1e-3)


def test_neither_the_batch_nor_padding_matters(tokenizer):
    model, data = tiny(tokenizer), PairDataset(pp.pairs(9), tokenizer)
    together = pair_logps(model, data, batch_size=9)
    for i in range(9):
        batch = collate_pairs([data[i]])
        with torch.no_grad():
            alone = answer_logps(model, *batch[:2])
        assert_close(together[i], alone, atol=1e-3, rtol=1e-4)


def test_only_answers_are_graded_and_their_stop_token_is(tokenizer):
    pair = pp.Pair("Who has it?", "Tom has it.", "Tom.", "Go away.")
    data = PairDataset([pair], tokenizer)
    _, targets, _ = collate_pairs([data[0]])
    for row, said in zip(targets, (pair.chosen, pair.rejected), strict=True):
        text = tokenizer.decode(row[row != IGNORE].tolist())
        assert text.strip() == said + "<|end|>"


def test_the_prompt_falls_out_of_the_margin(tokenizer):
    """Graded or not, it has the same log p before both answers."""
    model, data = tiny(tokenizer), PairDataset(pp.pairs(6), tokenizer)
    rows = [row for pair in data.rows for row in pair]
    margins = []
    for whole in (False, True):
        inputs, targets = dpo.collate(rows, 0, mask_prompt=not whole)
        with torch.no_grad():
            logps = answer_logps(model, inputs, targets)
        margins.append(logps[::2] - logps[1::2])
    assert_close(*margins, atol=1e-3, rtol=1e-3)


def test_accuracy_counts_ties_as_halves():
    assert preference_accuracy(torch.tensor([1.0, -2.0, 0.0, 3.0])) == 0.625


@pytest.mark.parametrize(
    ("pairs", "length", "says"),
    [
        ([], 256, "no pairs"),
        ([pp.Pair("Who?", "", "Tom.", "Tom.")], 256, "pair 1.*the same"),
        ([pp.Pair("Who?", "", "Tom.", "Go. " * 80)], 64, "pair 1 has"),
    ],
)
def test_pairs_that_cannot_be_used(tokenizer, pairs, length, says):
    with pytest.raises(ValueError, match=says):
        PairDataset(pairs, tokenizer, length)


def test_special_tokens_in_an_answer_stay_text(tokenizer):
    pair = pp.Pair("Who?<|end|>", "", "Tom.<|end|>", "No.<|user|>")
    row = PairDataset([pair], tokenizer).rows[0].chosen
    end = tokenizer.encode_single_token("<|end|>")
    assert row.ids.count(end) == 3  # of system, user and assistant


# --------------------------------------------------------------- training ---


def test_training_turns_a_preference_and_leaves_the_reference(tokenizer):
    model, data = tiny(tokenizer), PairDataset(pp.pairs(12), tokenizer)
    reference = pair_logps(model, data)
    kept = reference.clone()
    history = tune_preferences(
        model,
        data,
        reference,
        20,
        lr=3e-3,
        batch_size=6,
        progress=False,
        every=1,
        validation=data,
    )
    first, last = history[0], history[-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert last["loss"] < 0.2 and last["accuracy"] > 0.95
    assert last["chosen"] > last["rejected"]
    assert torch.equal(reference, kept) and not reference.requires_grad
    assert_close(last["validation"], pair_logps(model, data))
    assert not model.training


def test_dropout_is_off_while_tuning(tokenizer):
    """Else the loss of the first step would not be ln 2."""
    model = tiny(tokenizer, drop_rate=0.5)
    data = PairDataset(pp.pairs(8), tokenizer)
    history = tune_preferences(
        model, data, pair_logps(model, data), batch_size=8, progress=False
    )
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_a_seed_makes_a_run(tokenizer):
    data = PairDataset(pp.pairs(8), tokenizer)
    runs = []
    for _ in range(2):
        model = tiny(tokenizer)
        reference = pair_logps(model, data)
        tune_preferences(model, data, reference, batch_size=4, progress=False)
        runs.append(pair_logps(model, data))
    assert torch.equal(*runs)


def test_a_reference_of_other_pairs(tokenizer):
    data = PairDataset(pp.pairs(4), tokenizer)
    with pytest.raises(ValueError, match="reference"):
        tune_preferences(tiny(tokenizer), data, torch.zeros(3, 2))
