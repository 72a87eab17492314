"""What must hold of gpt_generate.py: one command line for every model.

The shipped storyteller, runs made here, and a tiny GPT-2 in the format of
Hugging Face that stands in for the real one; transformers is the oracle.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
LOADER = HERE.parent / "02_alternative-weight-loading"
SHIPPED = HERE.parents[1] / "shared/checkpoints/storyteller.safetensors"
SHORT = ["--max-new-tokens", "12"]
RUN = {"vocab_size": 257, "context_length": 32, "emb_dim": 16, "n_heads": 2,
       "n_layers": 1, "drop_rate": 0.0, "qkv_bias": False,
       "tie_weights": True}


@pytest.fixture(scope="module")
def generate(load_module):
    return load_module(HERE, "gpt_generate")


@pytest.fixture(scope="module")
def models(load_module):
    return load_module(HERE, "gpt_models")


@pytest.fixture(scope="module")
def files(load_module):
    return load_module(HERE, "gpt_files")


@pytest.fixture
def said(generate, tmp_path, monkeypatch, capsys):
    """said(*args): exit code, stdout and stderr, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH_LLM_DEVICE", "cpu")

    def call(*args: object):
        try:
            code = generate.main([*SHORT, *map(str, args)])
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())
    return call


@pytest.fixture
def new_run(files, tmp_path):
    """A run folder with an untrained model of bytes."""
    def make(name: str, seed: int = 0, prefix: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        torch.manual_seed(seed)
        model = files.GPTModel(RUN)
        for p in model.parameters():                     # has opinions
            torch.nn.init.normal_(p, std=0.6)
        files.save_model(folder / "model.safetensors", model, prefix)
        files.write_ranks({bytes([i]): i for i in range(256)},
                          folder / "tokenizer.tiktoken")
        return folder
    return make


@pytest.fixture(scope="module")
def oracle():
    """A GPT-2 of transformers, tiny but for its vocabulary."""
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(3)
    config = GPT2Config(n_embd=8, n_layer=2, n_head=2, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def gpt2(oracle, load_module, tmp_path, monkeypatch):
    """gpt2/ with the oracle's weights as gpt2-small, and its loader."""
    previous = load_module(HERE, "previous_chapters")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "previous_chapters", previous)
    monkeypatch.setitem(sys.modules, "gpt2_weights",
                        load_module(LOADER, "gpt2_weights"))
    monkeypatch.setitem(previous.GPT2_SIZES, "124M", (8, 2, 2))
    path = tmp_path / "gpt2" / "gpt2-small-124M.safetensors"
    path.parent.mkdir()
    save_file({name: t.contiguous() for name, t
               in oracle.transformer.state_dict().items()}, path)
    return path


# ---- Which model writes --------------------------------------------------


def test_without_a_run_the_storyteller_writes(said):
    code, out, err = said("--prompt", "One day,", "--seed", 1)
    assert code == 0 and out.startswith("One day, ") and len(out) > 20
    assert err == "model: storyteller (--model names another)\n"
    assert said("--prompt", "One day,", "--seed", 1, "--model",
                "storyteller") == (0, out, "")


def test_the_newest_run_comes_first(said, new_run):
    old, new = new_run("runs/a", 1), new_run("runs/b", 2)
    os.utime(old / "model.safetensors", (1, 1))
    code, out, err = said("--seed", 1)
    assert code == 0 and err == f"model: {Path('runs', 'b')} (--model names " \
        "another)\n"
    for way in ("--model", "--checkpoint"):
        assert said("--seed", 1, way, new) == (0, out, "")
        assert said("--seed", 1, way, new / "model.safetensors")[1] == out
        assert said("--seed", 1, way, old)[1] != out


def test_a_checkpoint_is_a_folder_whatever_its_name(said, new_run):
    for name in ("storyteller", "gpt2-small"):
        assert said("--checkpoint", name)[0] == 2
        new_run(name)
        assert said("--checkpoint", name, "--seed", 1)[1] == said(
            "--checkpoint", f"./{name}", "--seed", 1)[1]


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_gpt2_writes_what_transformers_writes(said, gpt2, oracle, files,
                                              kind):
    if kind == "pth":
        torch.save(oracle.transformer.state_dict(), gpt2.with_suffix(".pth"))
        gpt2.unlink()
    tokenizer = files.gpt2_encoding()
    ids = tokenizer.encode_ordinary("The sea")
    there = oracle.generate(
        torch.tensor([[tokenizer.eot_token, *ids]]), max_new_tokens=12,
        do_sample=False, pad_token_id=0)[0, 1:].tolist()
    code, out, err = said("--model", "gpt2-small", "--temperature", 0,
                          "--prompt", "The sea")
    assert (code, err) == (0, "")
    there = [i for i in there if i != tokenizer.eot_token]
    assert out == tokenizer.decode(there) + "\n"


def test_weights_may_lie_elsewhere(said, gpt2):
    how = ["--model", "gpt2-small", "--seed", 5]
    here = said(*how)
    gpt2.parent.rename(gpt2.parent.with_name("elsewhere"))
    assert said(*how)[0] == 2
    assert said(*how, "--weights", "elsewhere") == here


def test_nothing_is_downloaded_unasked(said, gpt2, models, monkeypatch):
    asked, data = [], gpt2.read_bytes()

    def fetch(name, folder):
        asked.append((name, folder))
        gpt2.write_bytes(data)
        return gpt2
    monkeypatch.setattr(models.download, "fetch_gpt2", fetch)
    assert said("--model", "gpt2-small", "--download")[0] == 0
    gpt2.unlink()
    assert said("--model", "gpt2-small")[0] == 2 and asked == []
    assert said("--model", "gpt2-small", "--download")[0] == 0
    assert asked == [("gpt2-small", "gpt2")]


# ---- How it writes -------------------------------------------------------


@pytest.mark.parametrize("model", ["storyteller", "gpt2-small", "run"])
def test_a_seed_and_greed_determine_the_text(said, gpt2, new_run, model):
    name = new_run("run") if model == "run" else model
    how = ["--model", name, "--prompt", "One"]
    one = said(*how, "--seed", 1)
    assert one == said(*how, "--seed", 1) and one[0] == 0
    assert len({said(*how, "--seed", seed)[1] for seed in range(4)}) > 1
    greedy = said(*how, "--temperature", 0)
    for dial in (["--temperature", 0, "--seed", 4], ["--top-k", 1],
                 ["--top-p", 1e-9], ["--temperature", 0.001, "--top-k", 3,
                                     "--top-p", 0.5]):
        assert said(*how, *dial) == greedy


def test_stop_and_n(said):
    how = ["--model", "storyteller", "--seed", 1, "--prompt", "One day,"]
    _, out, _ = said(*how)
    word = out.split()[4]
    assert said(*how, "--stop", word)[1] == out.split(word)[0] + "\n"
    _, three, _ = said(*how, "--n", 3)
    assert three.startswith(f"--- 1\n{out}--- 2\nOne day,")
    assert three.count("One day,") == 3


def test_characters_are_never_cut(said, new_run, files, monkeypatch):
    """Bytes of characters come one by one; what is shown is whole."""
    folder, written = new_run("run"), list("é鸟😀".encode()) + [0xff, 0x61]
    monkeypatch.setattr(files, "generate_tokens", lambda *_, **__: (
        torch.tensor([[i]]) for i in written))
    shown = []
    monkeypatch.setattr("builtins.print", lambda *a, **_: shown.extend(a))
    assert said("--model", folder, "--prompt", "ß")[0] == 0
    assert shown == ["ß", "é", "鸟", "😀", "\ufffd", "a"]


def script(*args: object, **how: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(HERE / "gpt_generate.py"), *map(str, args)],
        capture_output=True, timeout=100, **how)


def test_a_console_without_unicode(tmp_path):
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = script(*SHORT, "--prompt", "Die Möwe 鸟\udcff", cwd=tmp_path,
                  env=os.environ | plain)              # a byte of no text
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8").startswith("Die Möwe 鸟?")


@pytest.mark.skipif(os.name == "nt", reason="pipes differ on Windows")
def test_a_reader_that_leaves(tmp_path):
    process = subprocess.Popen(
        [sys.executable, HERE / "gpt_generate.py", "--model", "storyteller",
         "--n", "1000"], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "--- 1\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    process.stderr.close()


# ---- Surprise and comparison ---------------------------------------------


def test_perplexity_is_that_of_transformers(gpt2, oracle, models, files):
    prompt = "The gull flew over the mühle, and so on. " * 3
    writer = models.load("gpt2-small", gpt2, torch.device("cpu"))
    perplexity, bits = models.surprise(writer, prompt)
    ids = [50256, *files.gpt2_encoding().encode_ordinary(prompt)]
    inputs = torch.tensor([ids])
    with torch.no_grad():
        loss = oracle(inputs, labels=inputs).loss.item()
    assert_close(perplexity, math.exp(loss), rtol=1e-4, atol=0)
    size = len(prompt.encode())
    assert_close(bits, loss * (len(ids) - 1) / size / math.log(2), rtol=1e-4,
                 atol=0)


def test_a_prompt_longer_than_the_context(new_run, models, files):
    path = new_run("run") / "model.safetensors"
    writer = models.load("run", path, torch.device("cpu"))
    prompt = "abc" * 30                                  # 90 of 32 tokens
    ids = files.encode_prompt(writer.tokenizer, writer.prefix, prompt)
    nats = 0.0
    with torch.no_grad():
        for i, y in enumerate(ids[1:]):
            x = torch.tensor([ids[i - i % 32:i + 1]])
            nats -= writer.model(x)[0, -1].log_softmax(-1)[y].item()
    perplexity, bits = models.surprise(writer, prompt)
    assert_close(perplexity, math.exp(nats / 90), rtol=1e-4, atol=0)
    assert_close(bits, nats / math.log(2) / 90, rtol=1e-4, atol=0)


def test_bits_do_not_depend_on_the_tokenizer(models, new_run):
    """A uniform guess costs log2(257) bits a token: here a token a byte."""
    writer = models.load("run", new_run("run") / "model.safetensors",
                         torch.device("cpu"))
    with torch.no_grad():
        for p in writer.model.final_norm.parameters():
            p.zero_()
    perplexity, bits = models.surprise(writer, "é!")
    assert_close((perplexity, bits), (257.0, math.log2(257)), rtol=1e-5,
                 atol=0)
    shorter = writer._replace(tokenizer=Doubled(writer.tokenizer))
    assert_close(models.surprise(shorter, "abcd"),
                 (257.0, math.log2(257) / 2), rtol=1e-5, atol=0)


class Doubled:
    """A tokenizer whose tokens are two bytes each, of which it knows one."""

    def __init__(self, inner):
        self.inner, self.eot_token = inner, inner.eot_token

    def encode_ordinary(self, text: str) -> list[int]:
        return self.inner.encode_ordinary(text)[::2]


def test_compare_shows_what_each_alone_writes(said, gpt2, new_run, oracle,
                                              models):
    run = new_run("runs/mine")
    names = ["storyteller", str(run), "gpt2-small"]
    how = ["--prompt", "One day,", "--seed", 2]
    code, out, err = said("--compare", *names, *how)
    assert (code, err) == (0, "")
    texts, table = out.split("\nPerplexity")
    alone = "".join(f"=== {name}\n{said('--model', name, *how)[1]}"
                    for name in names)
    assert texts == alone
    head, *rows = table.splitlines()[1:]
    assert head.split() == ["model", "parameters", "perplexity", "bits/byte",
                            "tokens/s"]
    assert len({len(row) for row in (head, *rows)}) == 1, "columns line up"
    cells = [row.split() for row in rows]
    assert [cell[0] for cell in cells] == names
    count = sum(p.numel() for p in oracle.parameters())
    assert int(cells[2][1].replace(",", "")) == count
    story = models.load("storyteller", SHIPPED, torch.device("cpu"))
    assert float(cells[0][3]) == pytest.approx(
        models.surprise(story, "One day,")[1], abs=5e-4)
    assert float(cells[0][3]) < min(float(c[3]) for c in cells[1:])
    assert all(float(cell[4]) > 0 for cell in cells)


@pytest.mark.parametrize("args, said_so", [
    (["--model", "gpt4"], "no model gpt4"),
    (["--model", "gpt2-xl"], "run python gpt_download.py gpt2-xl, or"),
    (["--model", "gpt2-xl", "--weights", "w"],
     "gpt2-xl is not in w: run python gpt_download.py gpt2-xl --to w, or"),
    (["--compare", "storyteller"], "give --prompt"),
    (["--compare", "storyteller", "--prompt", "  "], "give --prompt"),
    (["--compare", "storyteller", "gpt2-medium", "--prompt", "x"],
     "gpt2-medium is not in gpt2"),
    (["--compare", "--prompt", "x"], "expected at least one"),
    (["--compare", "storyteller", "--model", "x"], "not allowed with"),
    (["--checkpoint", "x", "--model", "x"], "not allowed with"),
    (["--model", "broken"], "not a whole checkpoint"),
    (["--model", "gpt2-medium", "--weights", "bad"], "bad"),
    (["--model", "storyteller", "--device", "toaster"], "toaster")])
def test_one_clear_line(said, tmp_path, load_module, monkeypatch, args,
                        said_so):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"nothing")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "gpt2-medium-355M.safetensors").write_bytes(b"x")
    previous = load_module(HERE, "previous_chapters")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "previous_chapters", previous)
    monkeypatch.setitem(sys.modules, "gpt2_weights",
                        load_module(LOADER, "gpt2_weights"))
    code, out, err = said(*args)
    assert code == 2 and out == "" and said_so in err
    assert err.startswith("gpt_generate.py: error: ") and err.count("\n") == 1


def test_a_model_that_broke_down_is_one_line(said, new_run, files):
    folder = new_run("run")
    model = files.load_model(folder / "model.safetensors")
    model.final_norm.scale.data.fill_(float("nan"))
    files.save_model(folder / "model.safetensors", model)
    for how in ("--model", "--compare"):
        code, _, err = said(how, str(folder), "--prompt", "One")
        assert code == 1 and err.count("\n") == 1
        assert "error: the model cannot write" in err
    code, _, err = said("--model", str(folder), "--seed", "9" * 30)
    assert code == 2 and "--seed: must be a whole number" in err


def test_a_download_that_fails_is_told_in_one_line(said, monkeypatch):
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    code, out, err = said("--model", "gpt2-small", "--download")
    assert code == 1 and out == "" and err.count("\n") == 1
    assert "http://127.0.0.1:9/openai-community/gpt2/" in err


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))


def test_the_readme_s_program_writes(tmp_path):
    """The Python of the README, in a process of its own, from this folder."""
    code, = re.findall(r"^```python\n(.*?)^```",
                       (HERE / "README.md").read_text("utf-8"), re.M | re.S)
    done = subprocess.run([sys.executable, "-c", code], cwd=HERE, text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    cfg, story = done.stdout.split("\n", 1)
    assert "'n_layers': 2" in cfg and story.startswith("One day,")


def test_a_writer_repeats_itself_with_a_seed_only(models, new_run):
    writer = models.from_pretrained(str(new_run("run")), device="cpu")
    texts = [writer.generate("ab", 20, temperature=9.0, seed=s)
             for s in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    free = {writer.generate("ab", 20, temperature=9.0) for _ in range(3)}
    assert len(free) == 3
    with pytest.raises(ValueError, match="no model nowhere"):
        models.from_pretrained("nowhere")
