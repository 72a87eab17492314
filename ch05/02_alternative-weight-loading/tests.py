"""What must hold of the three routes to GPT-2's weights.

The oracle is Hugging Face's GPT2LMHeadModel with random weights. Its weights
are written in every format, read back by our loader, and both models must
give the same logits and the same greedy text. Then each kind of bad file
must be told in one line, and loading must take little more memory than the
model. `pytest -m "not slow"` leaves the files of full size out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import backstage
import gpt2_weights as weights
import previous_chapters as previous
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

HERE = Path(__file__).resolve().parent
ROUTES = [
    "openai",
    "huggingface",
    "prefixed",
    "bin",
    "legacy",
    "separate",
    "ours",
]
CFG = {
    "vocab_size": 97,
    "context_length": 64,
    "emb_dim": 32,
    "n_heads": 4,
    "n_layers": 3,
    "drop_rate": 0.0,
    "qkv_bias": True,
    "tie_weights": True,
}


# ---- Writing the formats, independently of what reads them ---------------


def hf_model(cfg: dict, seed: int = 0):
    """Hugging Face's model; every number random, biases and gains too."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=cfg["vocab_size"],
            n_positions=cfg["context_length"],
            n_embd=cfg["emb_dim"],
            n_head=cfg["n_heads"],
            n_layer=cfg["n_layers"],
            bos_token_id=0,
            eos_token_id=None,
        )
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim == 1:
                p.add_(0.1 * torch.randn_like(p))
            elif cfg["emb_dim"] < 100:
                p.mul_(5)  # small models say little
    return model


def hub_tensors(hf) -> dict:
    """Named as in the files on the hub: no prefix, the head only once."""
    return {
        name.removeprefix("transformer."): tensor.detach().contiguous()
        for name, tensor in hf.state_dict().items()
        if name != "lm_head.weight"
    }


def openai_tensors(hf) -> dict:
    """Named and shaped as in OpenAI's checkpoint."""
    arrays = {}
    for name, tensor in hub_tensors(hf).items():
        *path, kind = re.sub(r"^h\.", "h", name).split(".")
        if path[-1] in ("wte", "wpe"):
            last = []
        elif kind == "bias":
            last = ["b"]
        else:
            last = ["w"] if tensor.ndim == 2 else ["g"]
        array = tensor.numpy()
        arrays["/".join(["model", *path, *last])] = (
            array[None] if last == ["w"] else array
        )
    return arrays


def separate_tensors(hf) -> dict:
    """The layout with W_query, W_key, W_value, masks and an own head."""
    hub = hub_tensors(hf)
    C, T = hub["wte.weight"].shape[1], len(hub["wpe.weight"])
    made = {
        "tok_emb.weight": hub["wte.weight"],
        "pos_emb.weight": hub["wpe.weight"],
        "out_head.weight": hub["wte.weight"].clone(),
        "final_norm.scale": hub["ln_f.weight"],
        "final_norm.shift": hub["ln_f.bias"],
    }
    for i in range(len(hf.transformer.h)):
        theirs, ours = f"h.{i}.", f"trf_blocks.{i}."
        w, b = (hub[f"{theirs}attn.c_attn.{k}"] for k in ("weight", "bias"))
        for j, part in enumerate(("query", "key", "value")):
            columns = slice(j * C, (j + 1) * C)
            made[f"{ours}att.W_{part}.weight"] = w[:, columns].T.contiguous()
            made[f"{ours}att.W_{part}.bias"] = b[columns].clone()
        made[f"{ours}att.mask"] = torch.ones(T, T).triu(1)
        for there, here in (
            ("attn.c_proj", "att.out_proj"),
            ("mlp.c_fc", "ff.layers.0"),
            ("mlp.c_proj", "ff.layers.2"),
        ):
            weight = hub[f"{theirs}{there}.weight"].T.contiguous()
            made[f"{ours}{here}.weight"] = weight
            made[f"{ours}{here}.bias"] = hub[f"{theirs}{there}.bias"]
        for n in (1, 2):
            made[f"{ours}norm{n}.scale"] = hub[f"{theirs}ln_{n}.weight"]
            made[f"{ours}norm{n}.shift"] = hub[f"{theirs}ln_{n}.bias"]
    return made


def our_tensors(hf) -> dict:
    """What our own GPTModel's state_dict holds."""
    theirs, made = separate_tensors(hf), {}
    for name, tensor in theirs.items():
        if "W_query" in name:
            parts = [
                theirs[name.replace("query", k)]
                for k in ("query", "key", "value")
            ]
            made[name.replace("W_query", "qkv")] = torch.cat(parts)
        elif "W_" not in name and "mask" not in name:
            made[name] = tensor
    return made


def write_openai(arrays: dict, folder: Path, cfg: dict) -> Path:
    """OpenAI's folder: what its training program's Saver leaves."""
    pytest.importorskip("tensorflow")
    return backstage.write_openai(
        weights.import_tensorflow(), cfg, arrays, folder
    )


def write(route: str, hf, folder: Path, cfg: dict) -> Path:
    """The weights of a model in one of the formats."""
    if route == "openai":
        return write_openai(openai_tensors(hf), folder / "openai", cfg)
    if route == "prefixed":  # as transformers writes it
        hf.save_pretrained(folder / "prefixed")
        return folder / "prefixed" / "model.safetensors"
    path = folder / f"{route}.pth"
    if route == "huggingface":
        path = path.with_suffix(".safetensors")
        T = cfg["context_length"]
        masks = {
            f"h.{i}.attn.bias": torch.ones(1, 1, T, T).tril()
            for i in range(cfg["n_layers"])
        }
        save_file(hub_tensors(hf) | masks, path)
    elif route in ("bin", "legacy"):
        path = path.with_suffix(".bin")
        torch.save(
            hf.state_dict(),
            path,
            _use_new_zipfile_serialization=route == "bin",
        )
    else:
        made = separate_tensors if route == "separate" else our_tensors
        torch.save(made(hf), path)
    return path


@pytest.fixture(scope="module")
def hf():
    return hf_model(CFG)


@pytest.fixture(scope="module")
def files(hf, tmp_path_factory):
    """Every format of the tiny model, by route."""
    folder = tmp_path_factory.mktemp("gpt2")
    return {route: write(route, hf, folder, CFG) for route in ROUTES}


# ---- The same model, by every route --------------------------------------


def told(hf, tokens: int = 50) -> tuple:
    """ids (B, T), the oracle's logits, and its greedy text after five ids."""
    V = hf.config.vocab_size
    ids = torch.randint(V, (2, 12), generator=torch.manual_seed(1))
    start = ids[:1, :5]
    with torch.no_grad():
        logits = hf(ids).logits
    text = hf.generate(
        start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return ids, logits, text


def assert_same(model, ids, logits, text) -> None:
    """Logits to 1e-4, and the same greedy text of 50 tokens."""
    with torch.no_grad():
        assert_close(model(ids), logits, atol=1e-4, rtol=0)
    ours = previous.generate(model, ids[:1, :5], 50)
    assert ours.tolist() == text.tolist() and ours.shape == (1, 55)


@pytest.mark.parametrize("route", ROUTES)
def test_logits_and_text_are_hugging_face_s(hf, files, route):
    model = weights.load_gpt2(CFG, files[route])
    assert_same(model, *told(hf))
    assert not model.training
    assert model.out_head.weight is model.tok_emb.weight
    assert all(
        p.requires_grad and p.device.type == "cpu" for p in model.parameters()
    )


def test_the_text_is_not_always_the_same_token(files):
    """So that equal texts mean something."""
    model = weights.load_gpt2(CFG, files["huggingface"])
    text = previous.generate(model, torch.tensor([[1, 2, 3]]), 50)
    assert len(set(text[0].tolist())) >= 5


@pytest.mark.parametrize("route", ["openai", "huggingface", "separate"])
def test_a_size_by_its_name(monkeypatch, tmp_path, route):
    """gpt2_model: GPT-2's vocabulary and context, and one of its sizes."""
    monkeypatch.setitem(previous.GPT2_SIZES, "tiny", (8, 2, 2))
    cfg = previous.gpt2_config("tiny", qkv_bias=True, tie_weights=True)
    hf = hf_model(cfg)
    model = weights.gpt2_model("tiny", str(write(route, hf, tmp_path, cfg)))
    assert model.cfg == cfg | {"drop_rate": 0.0}
    ids = torch.tensor([[50256, 0, 11]])
    with torch.no_grad():
        assert_close(model(ids), hf(ids).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "size, parameters",
    [
        ("124M", 124_439_808),
        ("355M", 354_823_168),
        ("774M", 774_030_080),
        ("1558M", 1_557_611_200),
    ],
)
def test_every_size_has_every_name(size, parameters):
    cfg = previous.gpt2_config(size, qkv_bias=True, tie_weights=True)
    with torch.device("meta"):
        model = previous.GPTModel(cfg)
    names = [name for name, _ in model.named_parameters()]
    n = 4 + 12 * cfg["n_layers"]
    assert len(names) == n
    for translate in (weights.openai_name, weights.huggingface_name):
        assert len(set(map(translate, names))) == n
    assert previous.count_parameters(model) == parameters


def test_unknown_size(files):
    with pytest.raises(ValueError, match="no GPT-2 '125M'"):
        weights.gpt2_model("125M", files["openai"])


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_half_precision_becomes_single(hf, tmp_path, ending):
    half = {n: t.half() for n, t in hub_tensors(hf).items()}
    path = tmp_path / f"half{ending}"
    (save_file if ending == ".safetensors" else torch.save)(half, path)
    model = weights.load_gpt2(CFG, path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_close(model.pos_emb.weight, half["wpe.weight"].float())


def test_the_model_does_not_depend_on_the_file(hf, tmp_path):
    """What was mapped is copied: the file may change or go."""
    path = tmp_path / "a.safetensors"
    save_file(hub_tensors(hf), path)
    model = weights.load_gpt2(CFG, path)
    path.write_bytes(bytes(path.stat().st_size))
    path.unlink()
    assert_close(model.tok_emb.weight, hf.transformer.wte.weight)


def test_a_file_is_opened_anew():
    opened = []

    def opener():
        opened.append(1)
        return lambda name: torch.full((10,), float(name))

    file = weights.FileReader(opener, 50)  # bytes
    assert [file.read(str(n))[0].item() for n in range(6)] == [*range(6)]
    assert len(opened) == 3, "each holds two tensors of 40 bytes"


# ---- load_tensors and copy_tensor ----------------------------------------


def test_all_faults_in_one_message_and_nothing_is_changed():
    torch.manual_seed(0)
    model = previous.GPTModel(CFG)
    before = {n: p.clone() for n, p in model.named_parameters()}
    tensors = {n: torch.ones_like(p) for n, p in before.items()}
    for name in ("final_norm.shift", "trf_blocks.1.norm2.scale"):
        tensors[f"{name}_x"] = tensors.pop(name)
    tensors["trf_blocks.2.ff.layers.0.weight"] = torch.ones(32, 128)
    tensors["pos_emb.weight"] = torch.ones(63, 32)
    with pytest.raises(ValueError) as error:
        weights.load_tensors(model, tensors)
    assert str(error.value) == (
        "the weights do not fit. "
        "missing: trf_blocks.1.norm2.scale, final_norm.shift; "
        "unused: final_norm.shift_x, trf_blocks.1.norm2.scale_x; "
        "pos_emb.weight: the model expects (64, 32), found (63, 32); "
        "trf_blocks.2.ff.layers.0.weight: the model expects (128, 32), "
        "found (32, 128), its transpose"
    )
    for name, p in model.named_parameters():
        assert p.equal(before[name])


def test_an_untied_model_takes_both_matrices():
    model = previous.GPTModel(CFG | {"tie_weights": False})
    tensors = {n: torch.randn_like(p) for n, p in model.named_parameters()}
    assert "out_head.weight" in tensors
    weights.load_tensors(model, tensors)
    for name, p in model.named_parameters():
        assert p.equal(tensors[name])


def test_an_untied_model_needs_a_head(files):
    cfg = CFG | {"tie_weights": False}
    for route in ("bin", "separate"):
        model = weights.load_gpt2(cfg, files[route])
        assert model.out_head.weight is not model.tok_emb.weight
        assert model.out_head.weight.equal(model.tok_emb.weight)
    for route in ("openai", "huggingface"):
        assert refusal(files[route], cfg) == (
            "the weights do not fit. missing: out_head.weight"
        )


def test_copy_tensor_says_what_is_wrong():
    p = torch.nn.Parameter(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"w: .* \(2, 3\), found \(3, 2\), i"):
        weights.copy_tensor("w", p, torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"w: .* \(2, 3\), found \(6,\)$"):
        weights.copy_tensor("w", p, torch.ones(6))
    with pytest.raises(ValueError, match="w: torch.int64 holds no weights"):
        weights.copy_tensor("w", p, torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="w has no memory"):
        meta = torch.nn.Parameter(torch.zeros(2, 3, device="meta"))
        weights.copy_tensor("w", meta, torch.ones(2, 3))
    assert not p.any()
    weights.copy_tensor("w", p, torch.ones(2, 3))
    assert p.all() and p.requires_grad and p.grad_fn is None


# ---- Bad files -----------------------------------------------------------


def refusal(path: Path, cfg: dict = CFG) -> str:
    """What load_gpt2 says: one line that begins with the path."""
    with pytest.raises(ValueError) as error:
        weights.load_gpt2(cfg, path)
    said = str(error.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    assert error.value.__suppress_context__, "no second traceback"
    return said.removeprefix(f"{path}: ")


def change(tensors: dict, block: str, gain: str, matrix: str) -> dict:
    """One tensor renamed, one cut."""
    tensors = dict(tensors)
    tensors[f"{block}{gain}x"] = tensors.pop(f"{block}{gain}")
    tensors[f"{block}{matrix}"] = tensors[f"{block}{matrix}"][..., :-1]
    return tensors


CHANGED = {
    "openai": (openai_tensors, "model/h1/", "ln_1/g", "mlp/c_fc/w"),
    "huggingface": (hub_tensors, "h.1.", "ln_1.weight", "mlp.c_fc.weight"),
    "ours": (
        our_tensors,
        "trf_blocks.1.",
        "norm1.scale",
        "ff.layers.0.weight",
    ),
}


@pytest.mark.parametrize("route", CHANGED)
def test_missing_unused_and_misshapen(hf, tmp_path, route):
    make, *names = CHANGED[route]
    tensors, path = change(make(hf), *names), tmp_path / "bad.pth"
    if route == "openai":
        path = write_openai(tensors, tmp_path / "bad", CFG)
    elif route == "huggingface":
        path = path.with_suffix(".safetensors")
        save_file({n: t.contiguous() for n, t in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    found = "(128, 31)" if route == "ours" else "(127, 32)"
    assert refusal(path) == (
        "the weights do not fit. missing: trf_blocks.1.norm1.scale; "
        f"unused: {names[0]}{names[1]}x; trf_blocks.1.ff.layers.0.weight: "
        f"the model expects (128, 32), found {found}"
    )


def test_parts_of_one_layer_that_differ(hf, tmp_path):
    tensors, path = separate_tensors(hf), tmp_path / "bad.pth"
    name = "trf_blocks.0.att.W_key.weight"
    torch.save(tensors | {name: tensors[name][:-1]}, path)
    assert "parts of one layer have the shapes [(32, 32), (31, 32)" in (
        refusal(path)
    )
    scalars = [n for n in tensors if "blocks.0.att.W_" in n]
    torch.save(tensors | dict.fromkeys(scalars, torch.tensor(1.0)), path)
    assert "have the shapes [(), (), ()]" in refusal(path)
    del tensors[name]
    torch.save(tensors, path)
    said = refusal(path)
    assert "missing: trf_blocks.0.att.qkv.weight; unused: trf_blocks" in said
    assert "W_query.weight" in said and "W_value.weight" in said


@pytest.mark.parametrize("route", ["separate", "bin"])
def test_a_head_of_its_own_is_refused(files, tmp_path, route):
    state = torch.load(files[route], weights_only=True)
    head = "out_head.weight" if route == "separate" else "lm_head.weight"
    state[head] = state[head] + 1e-3
    torch.save(state, tmp_path / "untied.pth")
    said = refusal(tmp_path / "untied.pth")
    assert "out_head.weight differs from tok_emb.weight" in said


@pytest.mark.parametrize("keep", [0.0, 0.002, 0.3, 0.9, 0.999])
@pytest.mark.parametrize(
    "route", ["openai", "huggingface", "separate", "legacy"]
)
def test_a_truncated_file(hf, files, tmp_path, route, keep):
    path = bad = write(route, hf, tmp_path, CFG)
    if route == "openai":
        bad = path / "model.ckpt.data-00000-of-00001"
    data = bad.read_bytes()
    bad.write_bytes(data[: int(keep * len(data))])
    assert "cut short" in refusal(path)


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_truncated_index(hf, tmp_path, keep):
    path = write("openai", hf, tmp_path, CFG)
    index = path / "model.ckpt.index"
    data = index.read_bytes()
    index.write_bytes(data[: int(keep * len(data))])
    assert "cut short" in refusal(path)
    index.write_bytes(data)
    (path / "model.ckpt.data-00000-of-00001").unlink()
    assert "cut short" in refusal(path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt", "a.bin"])
@pytest.mark.parametrize("data", [b"<html>not found</html>" * 99, b"\0" * 999])
def test_a_foreign_file(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert "no file of weights" in refusal(tmp_path / name)


class Trap:
    """A pickle that writes a file when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "sprung")


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_cannot_run_a_program(tmp_path, new):
    trap = {"wte.weight": Trap(tmp_path / "sprung")}
    torch.save(trap, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    assert "this is no file of weights" in refusal(tmp_path / "a.pth")
    assert not (tmp_path / "sprung").exists()


def test_another_model(tmp_path):
    save_file(
        {"encoder.layer.0.weight": torch.ones(2, 2)},
        tmp_path / "bert.safetensors",
    )
    said = refusal(tmp_path / "bert.safetensors")
    assert "no GPT-2" in said and "encoder.layer.0.weight" in said
    save_file({}, tmp_path / "empty.safetensors")
    assert "no GPT-2" in refusal(tmp_path / "empty.safetensors")


@pytest.mark.parametrize(
    "state",
    [[1, 2], {}, {"model": {"a": 1}}, {1: torch.ones(2)}, torch.ones(2)],
)
def test_no_state_dict(tmp_path, state):
    torch.save(state, tmp_path / "a.pth")
    assert "it holds no state dict" in refusal(tmp_path / "a.pth")


@pytest.mark.parametrize("route", ["openai", "huggingface", "separate"])
def test_another_size(monkeypatch, files, route):
    monkeypatch.setitem(previous.GPT2_SIZES, "tiny", (32, 3, 4))
    said = refusal(files[route], CFG | {"n_layers": 2})
    assert "'n_layers': 2}, found {'n_layers': 3}" in said
    assert said.endswith("it looks like tiny")
    wrong = {"emb_dim": 36, "vocab_size": 98, "context_length": 9}
    said = refusal(files[route], CFG | wrong)
    for key, value in wrong.items():
        assert said.count(f"'{key}': ") == 2 and f"{value}" in said


def test_another_number_of_heads(hf, tmp_path):
    path = write("openai", hf, tmp_path, CFG)
    said = refusal(path, CFG | {"n_heads": 8})
    assert "expected {'n_heads': 8}, found {'n_heads': 4}" in said
    for text in ("{", "[]", "{}"):
        (path / "hparams.json").write_text(text, encoding="utf-8")
        assert "hparams.json" in refusal(path)
    (path / "hparams.json").unlink()
    weights.load_gpt2(CFG, path)


def test_nothing_we_know(files, tmp_path):
    missing = tmp_path / "gpt2" / "124M"
    assert "does not exist: gpt_download.py" in refusal(missing)
    assert "it holds nothing: name a file" in refusal(tmp_path)
    said = refusal(files["huggingface"].parent)
    assert "folder without model.ckpt.index; it holds bin.bin, hugg" in said
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    said = refusal(tmp_path / "a.gguf")
    assert "neither OpenAI's folder nor a file that ends in" in said


def test_without_tensorflow_the_message_says_so(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert "requirements-tensorflow.txt" in refusal(files["openai"])
    weights.load_gpt2(CFG, files["huggingface"])


# ---- Memory --------------------------------------------------------------

CHILD = """
import json, sys
from pathlib import Path
import gpt2_weights, torch

def memory(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024

def naive(cfg, path):
    model = gpt2_weights.GPTModel(cfg)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model

assert "tensorflow" not in sys.modules
how, warm, path = sys.argv[1:4]
cfg, warm_cfg = map(json.loads, sys.argv[4:6])
load = naive if how == "naive" else gpt2_weights.load_gpt2
load(warm_cfg, warm)
before = memory("VmRSS")
model = load(cfg, path)
size = 4 * sum(p.numel() for p in model.parameters())
print((memory("VmHWM") - before) / size)
"""


def peak(how: str, warm: Path, path: Path, cfg: dict) -> float:
    """Most memory that a process took while loading, in model sizes.

    Counted is what the system keeps resident, mapped pages too, above what
    the process had after its imports and a tiny model. The system's own
    figure for children (ru_maxrss) starts from the parent's, so it would
    measure pytest; VmHWM is the process's own.
    """
    if not Path("/proc/self/status").is_file():
        pytest.skip("this system does not tell a process's peak memory")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            how,
            str(warm),
            str(path),
            json.dumps(cfg),
            json.dumps(CFG),
        ],
        cwd=HERE,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return float(done.stdout)


MEDIUM = CFG | {
    "vocab_size": 20_000,
    "emb_dim": 512,
    "n_heads": 8,
    "n_layers": 8,
}  # 142 MB


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    folder, hf = tmp_path_factory.mktemp("medium"), hf_model(MEDIUM)
    yield {
        route: write(route, hf, folder, MEDIUM)
        for route in ("openai", "huggingface", "separate", "ours")
    }
    shutil.rmtree(folder)


@pytest.mark.parametrize("route", ["openai", "huggingface", "separate"])
def test_loading_takes_little_more_than_the_model(files, medium, route):
    taken = peak(route, files[route], medium[route], MEDIUM)
    print(f"{route}: {taken:.3f} x the weights")
    assert 0.9 < taken < 1.2


def test_the_measurement_sees_a_second_copy(files, medium):
    assert peak("naive", files["ours"], medium["ours"], MEDIUM) > 1.7


# ---- The full size -------------------------------------------------------


FULL = CFG | {
    "vocab_size": 50257,
    "context_length": 1024,
    "emb_dim": 768,
    "n_heads": 12,
    "n_layers": 12,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """GPT-2 small in three formats (0.5 GB each), and what it says."""
    folder, hf = tmp_path_factory.mktemp("small"), hf_model(FULL)
    told_by_hf = told(hf)
    paths = {
        route: write(route, hf, folder, FULL)
        for route in ("openai", "huggingface", "separate")
    }
    del hf
    yield paths, told_by_hf
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["openai", "huggingface", "separate"])
def test_gpt2_small_in_full(files, small, route):
    paths, told_by_hf = small
    model = weights.gpt2_model("124M", paths[route])
    assert previous.count_parameters(model) == 124_439_808
    assert_same(model, *told_by_hf)
    del model
    taken = peak(route, files[route], paths[route], FULL)
    print(f"{route}: {taken:.3f} x the weights")
    assert 0.9 < taken < 1.2


def test_the_tests_files_are_what_they_should_be(files):
    """The oracle's own writer and ours agree on the hub's format."""
    saved = load_file(files["prefixed"])
    mine = load_file(files["huggingface"])
    assert {n.removeprefix("transformer.") for n in saved} == {
        n for n in mine if not n.endswith(".attn.bias")
    }


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
