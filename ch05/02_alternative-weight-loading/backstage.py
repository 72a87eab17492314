"""What weight-loading.ipynb needs and does not teach.

A tiny GPT-2 with random weights, written as each publisher would write it,
without a line of the loader that reads it; and one figure.
"""

import json
import re
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from safetensors.torch import save_file
from scratch_llm.style import COLOURS
from torch import Tensor, nn

HPARAMS = {
    "n_vocab": "vocab_size",
    "n_ctx": "context_length",
    "n_embd": "emb_dim",
    "n_head": "n_heads",
    "n_layer": "n_layers",
}
PARTS = ("query", "key", "value")


def random_weights(cfg: dict) -> dict[str, np.ndarray]:
    """Every tensor of OpenAI's file: random numbers, gains near 1."""
    V, T, C = (cfg[k] for k in ("vocab_size", "context_length", "emb_dim"))
    block = {"ln_1/g": (C,), "ln_1/b": (C,), "ln_2/g": (C,), "ln_2/b": (C,)}
    for name, m, n in (
        ("attn/c_attn", C, 3 * C),
        ("attn/c_proj", C, C),
        ("mlp/c_fc", C, 4 * C),
        ("mlp/c_proj", 4 * C, C),
    ):
        block |= {f"{name}/w": (1, m, n), f"{name}/b": (n,)}
    shapes = {"wte": (V, C), "wpe": (T, C), "ln_f/g": (C,), "ln_f/b": (C,)}
    for layer in range(cfg["n_layers"]):
        shapes |= {f"h{layer}/{name}": s for name, s in block.items()}
    rng = np.random.default_rng(0)
    return {
        f"model/{name}": np.float32(
            name.endswith("/g") + 0.2 * rng.standard_normal(shape)
        )
        for name, shape in shapes.items()
    }


def write_openai(
    tf: ModuleType, cfg: dict, arrays: dict[str, np.ndarray], folder: Path
) -> Path:
    """OpenAI's folder, written by TensorFlow's own writer."""
    folder.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=list(arrays),
        tensors=list(arrays.values()),
        shape_and_slices=[""] * len(arrays),
    )
    hparams = {theirs: cfg[ours] for theirs, ours in HPARAMS.items()}
    (folder / "hparams.json").write_text(json.dumps(hparams))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    return folder


def write_huggingface(arrays: dict[str, np.ndarray], path: Path) -> None:
    """A safetensors file with Hugging Face's names, and a mask per block."""
    tensors, T = {}, len(arrays["model/wpe"])
    for name, array in arrays.items():
        name = re.sub(r"^h(\d+)", r"h.\1", name.removeprefix("model/"))
        *parts, last = name.split("/")
        parts += {"b": ["bias"], "w": ["weight"], "g": ["weight"]}.get(
            last, [last, "weight"]
        )
        tensor = torch.from_numpy(array)
        tensors[".".join(parts)] = tensor[0] if tensor.ndim == 3 else tensor
        if parts[-2:] == ["c_attn", "bias"]:
            mask = torch.ones(1, 1, T, T).tril()
            tensors[".".join(parts).replace("c_attn.", "")] = mask
    save_file(tensors, path)


def write_pytorch(model: nn.Module, ours: Path, separate: Path) -> None:
    """Two state dicts: our names; and three layers for qkv, and a mask."""
    state = model.state_dict()
    torch.save(state, ours)
    made = {}
    for name, tensor in state.items():
        cut = PARTS if ".qkv." in name else (None,)
        for part, piece in zip(cut, tensor.chunk(len(cut)), strict=True):
            made[name.replace("qkv", f"W_{part}")] = piece
    T = len(state["pos_emb.weight"])
    made["trf_blocks.0.att.mask"] = torch.ones(T, T).triu(1)
    torch.save(made, separate)


def draw_thirds(w: Tensor) -> None:
    """c_attn as it is stored, w (C, 3C), and as our model holds it."""
    C = len(w)
    palette = ListedColormap([COLOURS[part] for part in PARTS])
    hue = np.repeat([0, 1, 2], C)[None].repeat(C, axis=0)  # (C, 3C)
    size = (w.abs() / w.abs().max()).numpy()  # (C, 3C)
    _, axes = plt.subplots(1, 2, figsize=(6.4, 3.0), width_ratios=(2, 1))
    axes[0].imshow(hue, cmap=palette, alpha=size)
    axes[1].imshow(hue.T, cmap=palette, alpha=size.T)
    for i, name in enumerate(PARTS):
        look = {"color": COLOURS[name], "ha": "center", "va": "center"}
        middle = C * i + (C - 1) / 2
        axes[0].text(middle, -1.2, name, **look)
        axes[1].text(C, middle, name, **look | {"ha": "left"})
    axes[0].set(xlabel="out", ylabel="in")
    axes[0].set_title("c_attn in the file", pad=18)
    axes[1].set(xlabel="in", ylabel="out", title="qkv in our model")
    plt.show()
