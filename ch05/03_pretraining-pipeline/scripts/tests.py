"""What must hold of the two scripts that open, list and compare models."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import explore_pretrained_weights
import load_pytorch_weights
import previous_chapters as pc
import pytest
import torch
import weight_figures
import weights
from scratch_llm.runs import CHECKPOINTS
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
SCRIPTS = {
    "load_pytorch_weights": load_pytorch_weights,
    "explore_pretrained_weights": explore_pretrained_weights,
}
CFG = {
    "vocab_size": 60,
    "context_length": 32,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 3,
    "drop_rate": 0.1,
    "qkv_bias": True,
    "tie_weights": False,
}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return pc.GPTModel(CFG).eval()


def said(main, capsys, *arguments):
    """What a script prints, and its exit code."""
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as end:
        code = end.code
    out, error = capsys.readouterr()
    return code, out, error


# ---- Opening models ------------------------------------------------------


def test_the_storyteller_is_listed_and_tried(capsys):
    main = load_pytorch_weights.main
    code, out, _ = said(main, capsys, "storyteller")
    model = weights.open_model("storyteller").model
    total = sum(p.numel() for p in model.parameters())
    assert code == 0 and f"{total:,}" in out.split("total")[1].split("\n")[0]
    assert all(name in out for name, _ in model.named_parameters())
    assert "after 'One day,'" in out and "is tok_emb.weight" in out
    code, out, _ = said(main, capsys, "storyteller", "--prompt", "")
    assert code == 0 and "ids (1, 1)" in out


def test_saving_keeps_every_logit_and_the_prefix(tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    code, text, _ = said(
        load_pytorch_weights.main, capsys, "storyteller", "--save", out
    )
    assert code == 0 and "saved" in text
    one, two = weights.open_model("storyteller"), weights.open_model(str(out))
    ids = one.ids("Near the inn")
    with torch.no_grad():
        assert_close(one.model(ids), two.model(ids), atol=0, rtol=0)
    assert one.prefix == two.prefix == " "


def test_a_run_and_its_checkpoints_can_be_opened(model, tmp_path):
    run = tmp_path / "run-1.5"
    (run / "checkpoints").mkdir(parents=True)
    state = {
        "model": model.state_dict(),
        "config": model.cfg,
        "step": 7,
        "options": {"data": "mine.txt"},
        "optimizer": {},
    }
    torch.save(state, run / "checkpoints" / "last.pt")
    opened = weights.open_model(str(run))  # killed: no final model
    assert opened.name == "run-1.5" and opened.prefix == ""
    ids = torch.randint(60, (2, 9))
    with torch.no_grad():
        assert_close(opened.model(ids), model(ids), atol=0, rtol=0)
        final = pc.GPTModel(CFG).eval()
        pc.save_model(run / "model.safetensors", final)
        assert_close(
            weights.open_model(str(run / "model.safetensors")).model(ids),
            final(ids),
            atol=0,
            rtol=0,
        )


def test_the_final_model_of_a_run_comes_first(model, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    state = {"model": model.state_dict(), "config": model.cfg, "options": {}}
    torch.save(state, tmp_path / "checkpoints" / "last.pt")
    shipped = CHECKPOINTS / "storyteller.safetensors"
    shutil.copy(shipped, tmp_path / "model.safetensors")
    vocabulary = shipped.with_suffix(".tiktoken")
    shutil.copy(vocabulary, tmp_path / "tokenizer.tiktoken")
    opened = weights.open_model(str(tmp_path))
    assert opened.prefix == " " and opened.name == tmp_path.name
    assert opened.model.cfg == weights.open_model("storyteller").model.cfg


@pytest.fixture
def gpt2(monkeypatch, tmp_path):
    """A GPT-2 of a size of its own: its model, and its state dict's file."""
    monkeypatch.setitem(pc.GPT2_SIZES, "tiny", (8, 2, 2))
    torch.manual_seed(1)
    model = pc.GPTModel(
        pc.gpt2_config("tiny", drop_rate=0.0, qkv_bias=True, tie_weights=True)
    ).eval()
    path = tmp_path / "tiny.pth"
    torch.save(model.state_dict(), path)
    return model, path


def test_gpt2_files_go_through_the_loader_of_the_lesson(gpt2, capsys):
    model, path = gpt2
    main = load_pytorch_weights.main
    saved = path.with_suffix(".safetensors")
    code, out, _ = said(main, capsys, path, "--size", "tiny", "--save", saved)
    assert code == 0 and "ids (1, 16) -> logits (1, 16, 50257)" in out
    ids = torch.arange(12)[None]
    with torch.no_grad():
        for file in (path, saved):
            opened = weights.open_model(str(file), "tiny")
            assert_close(opened.model(ids), model(ids), atol=0, rtol=0)
    code, _, error = said(main, capsys, path)
    assert code == 2 and "another size" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "name, args, part",
    [
        ("load_pytorch_weights", ["none"], "no model none"),
        ("load_pytorch_weights", ["empty"], "no model empty"),
        (
            "load_pytorch_weights",
            ["cut.safetensors"],
            "not a whole file",
        ),
        ("load_pytorch_weights", ["foreign.pth"], "no file of weights"),
        ("load_pytorch_weights", ["other.pth"], "no state dict"),
        ("load_pytorch_weights", ["text.txt"], "text.txt"),
        (
            "load_pytorch_weights",
            ["storyteller", "--save", "cut.safetensors"],
            "name a new file",
        ),
        (
            "load_pytorch_weights",
            ["storyteller", "--save", "x.pth"],
            "must end in .safetensors",
        ),
        (
            "load_pytorch_weights",
            ["storyteller", "--save", "a/b.safetensors"],
            "name a new file",
        ),
        ("load_pytorch_weights", ["nan.safetensors"], "not finite"),
        ("load_pytorch_weights", ["gpt2-xl"], "gpt_download.py gpt2-xl"),
        ("load_pytorch_weights", [], "required: model"),
        (
            "explore_pretrained_weights",
            ["fresh", "storyteller"],
            "takes its config from the first",
        ),
        ("explore_pretrained_weights", ["storyteller"] * 5, "at most 4"),
        (
            "explore_pretrained_weights",
            ["storyteller", "none"],
            "no model none",
        ),
        (
            "explore_pretrained_weights",
            ["storyteller", "--out", "text.txt"],
            "text.txt",
        ),
    ],
)
def test_one_clear_line_and_nothing_written(
    model, tmp_path, monkeypatch, capsys, name, args, part
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text.txt").write_text("words", encoding="utf-8")
    Path("foreign.pth").write_text("words", encoding="utf-8")
    torch.save([1, 2], "other.pth")
    with torch.no_grad():
        model.final_norm.scale[3] = math.nan
    pc.save_model(Path("nan.safetensors"), model)
    whole = Path("nan.safetensors").read_bytes()
    Path("cut.safetensors").write_bytes(whole[: len(whole) // 2])
    before = sorted(tmp_path.rglob("*"))
    code, _, error = said(SCRIPTS[name].main, capsys, *args)
    assert code == 2 and part in error, error
    assert error.count("\n") == 1 and error.startswith(f"{name}.py: error: ")
    assert sorted(tmp_path.rglob("*")) == before


# ---- Numbers -------------------------------------------------------------


def test_parameter_rows_are_what_torch_says(model):
    rows = weights.parameter_rows(model)
    assert len(rows) == len(list(model.named_parameters()))
    for name, shape, count, mean, std, norm in rows:
        p = model.get_parameter(name).detach().double()
        assert shape == tuple(p.shape) and count == p.numel()
        for told, right in (
            (mean, p.mean()),
            (norm, p.norm()),
            (std, p.std(unbiased=False)),
        ):
            assert math.isclose(told, right, rel_tol=1e-4, abs_tol=1e-7)


def test_a_wrong_total_is_an_error(model):
    model.extra = torch.nn.Parameter(torch.zeros(5))
    with pytest.raises(ValueError, match="formula"):
        weights.parameter_rows(model)


def test_norms_by_layer_tell_query_key_and_value_apart(model):
    C = CFG["emb_dim"]
    with torch.no_grad():
        for layer, block in enumerate(model.trf_blocks):
            for i in range(3):
                block.att.qkv.weight[i * C : (i + 1) * C] = 10 * layer + i + 1
            block.ff.layers[2].weight.fill_(-7)
    found = weights.layer_norms(model)
    assert found["query"] == [1, 11, 21] and found["key"] == [2, 12, 22]
    assert found["value"] == [3, 13, 23] and found["down"] == [7, 7, 7]
    assert found["norm1"] == [1, 1, 1]


def test_what_a_layer_adds_is_the_change_of_the_stream(model):
    ids = torch.randint(60, (1, 11))
    found = weights.added(model, ids)
    with torch.no_grad():
        x = model.tok_emb(ids) + model.pos_emb.weight[:11]
        for i, block in enumerate(model.trf_blocks):
            middle = x + block.att(block.norm1(x))
            after = block(x)
            for name, old, new in (
                ("attention", x, middle),
                ("feed-forward", middle, after),
            ):
                right = (
                    ((new - old).square().mean() / old.square().mean())
                    .sqrt()
                    .item()
                )
                assert math.isclose(found[name][i], right, rel_tol=1e-4)
            x = after


def test_effective_rank_counts_directions():
    one = torch.outer(torch.randn(20), torch.randn(7))
    assert math.isclose(
        weights.effective_rank(weights.spectrum(one)), 1, abs_tol=0.01
    )
    assert math.isclose(
        weights.effective_rank(weights.spectrum(3 * torch.eye(20, 7))),
        7,
        rel_tol=1e-5,
    )


def test_positions_alike_is_the_cosine(model):
    alike = weights.position_similarity(model)
    rows = model.pos_emb.weight
    right = torch.cosine_similarity(rows[:, None], rows[None], dim=-1)
    assert_close(alike, right.detach(), atol=1e-5, rtol=0)


# ---- Comparing -----------------------------------------------------------


def test_own_against_fresh_as_text_and_figures(tmp_path, capsys):
    out = tmp_path / "figures"
    code, text, _ = said(explore_pretrained_weights.main, capsys, "--out", out)
    assert code == 0
    assert "== storyteller:" in text and "== fresh:" in text
    assert text.count("directions in use") == 4
    names = {"norms.png", "spectra.png", "positions.png"}
    assert {p.name for p in out.iterdir()} == names
    for name in names:
        png = (out / name).read_bytes()
        assert png[1:4] == b"PNG", name


def test_figures_show_the_numbers(model):
    explore = weight_figures
    models = [
        weights.OpenedModel("one", model),
        weights.untrained("copying", weights.OpenedModel("one", model)),
    ]
    norms = explore.draw_norms(models)
    found = weights.layer_norms(model)
    y = norms.axes[1].lines[0].get_ydata()
    assert list(y) == pytest.approx(
        [(a + b) / 2 for a, b in zip(found["up"], found["down"], strict=True)]
    )
    spectra = explore.draw_spectra(models)
    assert_close(
        torch.tensor(spectra.axes[0].lines[1].get_ydata()),
        weights.spectrum(models[1].model.tok_emb.weight),
    )
    squares = [
        ax.images[0].get_array()
        for ax in explore.draw_positions(models).axes
        if ax.images
    ]
    assert len(squares) == 2 and squares[0].shape == (32, 32)
    legend = norms.axes[1].get_legend().get_texts()
    assert [t.get_text() for t in legend] == ["one", "copying"]


def test_untrained_models_are_the_two_ways_to_start(model):
    one = weights.OpenedModel("one", model)
    fresh = weights.untrained("fresh", one).model
    copying = weights.untrained("copying", one).model
    near = [
        weights.position_similarity(m).diagonal(1).mean().item()
        for m in (fresh, copying)
    ]
    assert abs(near[0]) < 0.3 < 0.7 < near[1]
    again = weights.untrained("fresh", one).model
    assert_close(fresh.tok_emb.weight, again.tok_emb.weight)


@pytest.mark.parametrize(
    "name", ["load_pytorch_weights", "explore_pretrained_weights"]
)
def test_scripts_run_from_anywhere(name, tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / f"{name}.py", "storyteller"],
        cwd=tmp_path,
        timeout=120,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "storyteller" in done.stdout or "tok_emb.weight" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_size_of_gpt2_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="gpt_download.py gpt2-medium"):
        weights.open_model("gpt2-medium")


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
