"""What troubleshooting.md lists, done on purpose.

PROVOKED: for each heading of the guide a function that makes the mistake and
returns what the reader then sees; "seen" if it is no message but a behaviour,
which the function has asserted. NOT_HERE: headings that need another machine,
and why.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import export
import torch
from books import save
from scratch_llm import cli, download, files, gpt2_vocabulary, runs
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
NOT_HERE = {
    "Expected all tensors to be on the same device": "needs a GPU",
    "CUDA out of memory": "needs a GPU",
}
PROVOKED: dict[str, Callable[[Chapters, Path, object], str]] = {}
CFG = {
    "vocab_size": 60,
    "context_length": 16,
    "emb_dim": 16,
    "n_heads": 2,
    "n_layers": 2,
    "drop_rate": 0.0,
    "qkv_bias": False,
    "tie_weights": True,
}
STORYTELLER = runs.CHECKPOINTS / "storyteller.safetensors"


class Chapters:
    """The modules of the chapters, by `load_module` of conftest.py."""

    def __init__(self, load: Callable[[Path, str], ModuleType]):
        def of(chapter: str, name: str) -> ModuleType:
            return load(ROOT / chapter / export.MAIN, name)

        self.text, self.train = (
            of("ch02", "text_data"),
            of("ch05", "pretraining"),
        )
        self.chat, self.before = (
            of("ch07", "instruction"),
            of("ch05", "previous_chapters"),
        )

    def model(self, **changes: object) -> nn.Module:
        torch.manual_seed(0)
        return self.before.GPTModel(CFG | changes)


def provokes(title: str) -> Callable[[Callable], Callable]:
    def keep(function: Callable) -> Callable:
        PROVOKED[title] = function
        return function

    return keep


def error_of(act: Callable[[], object]) -> str:
    """The last line of the traceback, as Python prints it."""
    try:
        act()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("no error was raised")


def python(code: str, *options: str, cwd: Path = ROOT, **env: str) -> str:
    """What a Python of its own prints about its error."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode
    return done.stderr


def ids(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.long)


# ---- The environment -----------------------------------------------------


@provokes("No module named 'scratch_llm'")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return python("import scratch_llm", "-I", "-S")


@provokes("No module named 'previous_chapters'")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return python("import previous_chapters", "-I", "-S", cwd=tmp)


@provokes("cannot import name ... from 'previous_chapters'")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    (tmp / "previous_chapters.py").write_text("", "utf-8")
    return python("from previous_chapters import GPTModel", "-S", cwd=tmp)


@provokes("not what the notebooks say now")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    folder = tmp / "ch01" / export.MAIN
    save(folder / "ch01.ipynb", "#| default_exp one", "+x = 1")
    export.update(tmp)
    save(folder / "ch01.ipynb", "#| default_exp one", "+x = 2")
    return "\n".join(export.update(tmp, check=True))


# ---- Devices and memory --------------------------------------------------


@provokes("no device ... on this machine")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    missing = "mps" if torch.cuda.is_available() else "cuda"
    return error_of(lambda: c.before.pick_device(missing))


@provokes("you tried to allocate ... bytes")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    told = io.StringIO()
    patch.setattr(sys, "argv", ["gpt_train.py"])
    patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    with contextlib.redirect_stderr(told):
        assert cli.run_script(lambda: torch.empty(10**15)) == 1
    return error_of(lambda: torch.empty(10**15)) + told.getvalue()


# ---- Text ----------------------------------------------------------------


@provokes("'utf-8' codec can't decode byte")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    path = tmp / "my-text.txt"
    path.write_bytes("café au lait".encode("latin-1"))
    ours = error_of(lambda: files.read_text(path))
    return error_of(lambda: path.read_text("utf-8")) + ours


@provokes("'charmap' codec can't encode character")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    how = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    return python("print('\\u2603')", **how)


@provokes("� in the output")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    bpe = c.text.BPETokenizer({bytes([i]): i for i in range(256)})
    assert bpe.decode(bpe.encode("€")) == "€"
    return bpe.decode(bpe.encode("€")[:2])


@provokes("KeyError: a word that is not in the vocabulary")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    simple = c.text.SimpleTokenizer.from_text("The leg was good.")
    assert "<|unk|>" in simple.decode(simple.encode("The leg was stolen."))
    return error_of(lambda: simple.vocab["stolen"])


@provokes("the text holds ['<|endoftext|>']")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    bpe = c.text.BPETokenizer({bytes([i]): i for i in range(256)})
    fast = c.text.load_encoding(runs.CHECKPOINTS / "storyteller.tiktoken")
    text = "One.<|endoftext|>Two."
    assert bpe.eot_token not in bpe.encode_ordinary(text)
    return error_of(lambda: bpe.encode(text)) + error_of(
        lambda: fast.encode(text)
    )


@provokes("no id ... in 0..256")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    bpe = c.text.BPETokenizer({bytes([i]): i for i in range(256)})
    return error_of(lambda: bpe.decode([50256]))


@provokes("GPT-2's vocabulary ... cannot be downloaded")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    patch.setenv("TIKTOKEN_CACHE_DIR", str(tmp))
    patch.setattr(gpt2_vocabulary, "run_python", lambda *a, **how: None)
    return error_of(gpt2_vocabulary.bring_vocabulary)


@provokes("tokens are too few, or windows do not fill one batch")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    few = error_of(lambda: c.text.GPTDataset(range(4), 4, 4))
    return few + error_of(
        lambda: c.text.create_dataloader(
            range(9), batch_size=4, context_length=4, stride=4
        )
    )


# ---- Shapes --------------------------------------------------------------


@provokes("emb_dim=770 cannot be shared by n_heads=12")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return error_of(lambda: c.model(emb_dim=770, n_heads=12))


@provokes("ids ... not (B, T) within context_length")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return error_of(lambda: c.model()(ids(1, 300)))


@provokes("mat1 and mat2 shapes cannot be multiplied")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return error_of(lambda: nn.Linear(4, 5)(torch.ones(2, 3)))


@provokes("view size is not compatible with input tensor's size and stride")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    heads = torch.ones(2, 3, 4, 5)  # (B, H, T, D)
    assert heads.transpose(1, 2).flatten(2).shape == (2, 4, 15)
    return error_of(lambda: heads.transpose(1, 2).view(2, 4, 15))


@provokes("Expected target size [2, 5], got [2, 3]")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    logits, targets = torch.ones(2, 3, 5), ids(2, 3)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return error_of(lambda: F.cross_entropy(logits, targets))


@provokes("index out of range in self, or Target ... is out of bounds")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    large = torch.tensor([[60]])
    return error_of(lambda: c.model()(large)) + error_of(
        lambda: F.cross_entropy(torch.ones(1, 60), large[0])
    )


@provokes("scalar types: Long, Int; but got torch.FloatTensor")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return error_of(lambda: c.model()(torch.ones(1, 3)))


# ---- Training ------------------------------------------------------------


@provokes("FloatingPointError: step 0: loss nan")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    ill = c.model()
    with torch.no_grad():
        ill.trf_blocks[1].ff.layers[0].weight[0, 0] = torch.inf
    batch = c.train.pad_batch([[1, 2, 3, 4]])
    step = c.train.train(
        ill,
        c.train.make_optimizer(ill),
        iter([batch]),
        c.train.Schedule(1, 1e-3, 0),
    )
    return error_of(lambda: next(step))


@provokes("no target is graded: the loss would be 0 / 0")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    logits, targets = torch.ones(1, 3, 5), ids(1, 3) - 100
    assert F.cross_entropy(logits[0], targets[0]).isnan()
    return error_of(lambda: c.chat.masked_loss(logits, targets))


@provokes("nan in attention: a row that may read nothing")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    nobody = torch.full((2, 2), -torch.inf)
    return f"{nobody.softmax(-1)}"


@provokes("element 0 of tensors does not require grad")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    frozen = c.model().requires_grad_(False)
    return error_of(lambda: frozen(ids(1, 3)).sum().backward())


@provokes("Trying to backward through the graph a second time")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    loss = c.model()(ids(1, 3)).square().sum()
    loss.backward()
    return error_of(loss.backward)


@provokes("Can't call numpy() on Tensor that requires grad")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return error_of(lambda: c.model()(ids(1, 3)).numpy())


@provokes("The first loss is not ln V")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    model, ln_v = c.model(emb_dim=64), torch.tensor(60.0).log()
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(60, (8, 16), generator=generator)
    y = torch.randint(60, (8, 16), generator=generator)
    assert abs(c.train.batch_loss(model, x, y) - ln_v) < 0.1
    seen = c.train.batch_loss(model, x, x)  # the targets are not shifted
    assert seen < ln_v - 0.5
    for table in (model.tok_emb, model.pos_emb):  # PyTorch's start
        nn.init.normal_(table.weight, generator=generator)
    assert c.train.batch_loss(model, x, y) > ln_v + 1
    return "seen"


@provokes("The loss does not move")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    model, batch = c.model(), c.train.pad_batch([[1, 2, 3, 4]])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(c.model().parameters())  # of another model
    for _ in range(3):
        c.train.batch_loss(model, *batch).backward()
        optimizer.step()
    after = dict(model.named_parameters())
    assert all(before[name].equal(after[name]) for name in before)
    return "seen"


@provokes("The loss is better than it can be")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    def moved(model: nn.Module) -> float:
        """How far logits move if only the last token is changed."""
        x, y = ids(1, 6), ids(1, 6)
        y[0, -1] = 7
        with torch.no_grad():
            return (model.eval()(x) - model(y))[:, :-1].abs().max().item()

    assert moved(c.model()) == 0
    patch.setattr(
        c.before,
        "attend",
        lambda q, k, v, dropout=0.0: F.scaled_dot_product_attention(q, k, v),
    )
    assert moved(c.model()) > 0
    return "seen"


@provokes("The model repeats itself")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    start, new = torch.tensor([[5, 9]]), 10
    greedy = c.before.generate(c.model(), start, new)[0, 2:].tolist()
    drawn = c.before.generate(
        c.model(),
        start,
        new,
        temperature=1.0,
        generator=torch.Generator().manual_seed(0),
    )[0, 2:].tolist()
    assert len(set(greedy)) < 3 < len(set(drawn))
    return "seen"


@provokes("The same question has another answer each time")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    model, x = c.model(drop_rate=0.3), ids(1, 6)
    assert not model.train()(x).equal(model(x))
    assert model.eval()(x).equal(model(x))
    return "seen"


# ---- Weights and files ---------------------------------------------------


@provokes("no model storyteler")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    return error_of(lambda: c.chat.from_pretrained("storyteler"))


@provokes("gpt2-small is not in gpt2")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    patch.chdir(tmp)
    return error_of(lambda: c.chat.from_pretrained("gpt2-small (124M)"))


@provokes("not a whole checkpoint of this course")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    half = tmp / "model.safetensors"
    half.write_bytes(STORYTELLER.read_bytes()[:100_000])
    return error_of(lambda: c.train.load_model(half))


@provokes("Error(s) in loading state_dict")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    state = c.model(n_layers=1, vocab_size=70).state_dict()
    return error_of(lambda: c.model().load_state_dict(state))


@provokes("Weights only load failed")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    torch.save({"model": nn.Linear(2, 2)}, tmp / "whole.pth")
    return error_of(lambda: torch.load(tmp / "whole.pth"))


@provokes("they are not of one run")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    _, tokenizer = c.chat.from_pretrained("storyteller")
    return error_of(lambda: c.chat.add_special_tokens(tokenizer, c.model()))


@provokes("merge LoRA before saving")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    model = c.chat.add_lora(c.model(), rank=2)
    _, tokenizer = c.chat.from_pretrained("storyteller")
    return error_of(lambda: c.chat.save_instruct(tmp, model, tokenizer))


@provokes("... exists already: name another")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    patch.chdir(tmp)
    (tmp / "runs/mine").mkdir(parents=True)
    (tmp / "runs/mine/note.txt").touch()
    return error_of(lambda: runs.new_folder("runs/mine", "storyteller"))


@provokes("no run in runs")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    patch.chdir(tmp)
    return error_of(runs.newest_run)


# ---- The network ---------------------------------------------------------


@provokes("a download that does not come")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    patch.setenv("SCRATCH_LLM_MIRROR", "http://127.0.0.1:9")
    return error_of(lambda: download.fetch_data("sms-spam", tmp))


@provokes("no server answers")
def _(c: Chapters, tmp: Path, patch: object) -> str:
    script = ROOT / "ch07" / export.MAIN / "ollama_evaluate.py"
    (tmp / "data.json").write_text(
        '[{"instruction": "Say yes.", "output": "Yes.", '
        '"model_response": "Yes."}]',
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, script, "data.json", "--url", "http://127.0.0.1:9"],
        cwd=tmp,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 3
    return done.stderr
