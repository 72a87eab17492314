"""What weight-loading.ipynb needs and does not teach.

A tiny GPT-2 with random weights, written as each publisher would write it,
without a line of the loader that reads it; and the drawings.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from safetensors.torch import save_file
from scratch_llm.pictures import HIDDEN, canvas, draw_arrow, draw_box
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
    (folder / "hparams.json").write_text(json.dumps(hparams), encoding="utf-8")
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt"\n', encoding="utf-8"
    )
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


def write(
    ax: Axes, x: float, y: float, text: str, ha: str = "left", **look: object
) -> None:
    """A line of text at x, y, in inches."""
    look = {"fontsize": 8, "va": "center", "color": COLOURS["ink"]} | look
    ax.text(x, y, text, ha=ha, **look)


def draw_parameters(models: dict[str, nn.Module]) -> None:
    """How many million parameters lie in which part of each model."""
    parts = {
        "tok_emb": ("token embedding", "sky"),
        "trf_blocks": ("all blocks", "masked"),
        "out_head": ("head", "sky"),
    }
    _, ax = plt.subplots(figsize=(6.4, 1.9))
    for name, model in models.items():
        left = 0.0
        for part, (label, colour) in parts.items():
            n = sum(
                p.numel()
                for key, p in model.named_parameters()
                if key.startswith(part)
            )
            millions = n / 1e6
            if not n:
                continue
            ax.barh(
                [name],
                [millions],
                left=left,
                color=COLOURS[colour],
                ec="white",
                height=0.7,
            )
            ax.text(
                left + millions / 2,
                name,
                f"{label}\n{millions:.1f}",
                ha="center",
                va="center",
                fontsize=9,
            )
            left += millions
    ax.invert_yaxis()
    ax.set(xlabel="parameters (millions)")
    plt.show()


def draw_file(arrays: dict[str, np.ndarray], named: Sequence[str]) -> None:
    """The index file above, and its numbers below, drawn to scale."""
    ax = canvas(6.4, 1.75)
    total = sum(array.size for array in arrays.values())
    write(ax, 0, 1.65, "model.ckpt.index: names, shapes and places")
    write(ax, 0, 0.08, f"model.ckpt.data: {total:,} numbers, end to end")
    x = 0.0
    for name in arrays:
        wide = arrays[name].size / total * 6.4
        fill = COLOURS["sky"] if name in named else HIDDEN
        ax.add_patch(plt.Rectangle((x, 0.2), wide, 0.3, fc=fill, ec="white"))
        if name in named:
            middle = 0.8 + 1.6 * named.index(name)
            shape = arrays[name].shape
            label = f"{name.removeprefix('model/')}\n{shape}"
            draw_box(ax, middle, 1.25, label, 1.45, 0.42, size=8)
            draw_arrow(ax, (middle, 1.03), (x + wide / 2, 0.52))
        x += wide
    plt.show()


def draw_cells(
    ax: Axes, numbers: Tensor, x: float, y: float, turned: bool = False
) -> None:
    """A small matrix whose columns (turned: rows) are q, k and v."""
    C = numbers.numel() // 3 // min(numbers.shape)
    for r, row in enumerate(numbers.tolist()):
        for c, number in enumerate(row):
            part = PARTS[(r if turned else c) // C]
            place = x + 0.42 * (c + 0.5), y - 0.3 * (r + 0.5)
            draw_box(ax, *place, f"{number:g}", 0.4, 0.28, part)


def draw_transposed(w: Tensor) -> None:
    """c_attn as it is stored, w (C, 3C), and as our model holds it."""
    C, wide = w.shape
    ax = canvas(6.4, 2.5)
    left, right, top = 0.6, 4.6, 1.95
    draw_cells(ax, w, left, top)
    draw_cells(ax, w.T, right, top, turned=True)
    write(ax, left, top + 0.42, "c_attn in the file: (in, out)", weight="bold")
    write(ax, right, top + 0.42, "qkv in our model", weight="bold")
    write(ax, right, top + 0.2, "(out, in)", weight="bold")
    for i, part in enumerate(PARTS):
        look = {"color": COLOURS[part], "weight": "bold"}
        middle = left + 0.42 * C * (i + 0.5)
        write(ax, middle, top + 0.14, part, "center", **look)
        y = top - 0.3 * C * (i + 0.5)
        write(ax, right + 0.42 * C + 0.1, y, part, **look)
    for i in range(C):
        write(ax, left - 0.08, top - 0.3 * (i + 0.5), f"in {i}", "right")
        x = right + 0.42 * (i + 0.5)
        write(ax, x, top - 0.3 * wide - 0.12, f"in {i}", "center")
    for i in range(wide):
        x = left + 0.42 * (i + 0.5)
        write(ax, x, top - 0.3 * C - 0.12, f"out {i}", "center")
        y = top - 0.3 * (i + 0.5)
        write(ax, right - 0.08, y, f"out {i}", "right")
    start = left + 0.42 * wide + 0.2, top - 0.3 * C / 2
    draw_arrow(ax, start, (right - 0.55, start[1]), "transposed")
    plt.show()


def draw_heads(row: Tensor, n_heads: int) -> None:
    """The 3C outputs of one token, cut into thirds and then into heads."""
    thirds = row.reshape(3, n_heads).tolist()
    ax = canvas(6.4, 2.25)
    write(ax, 0, 2.05, "the outputs of c_attn", weight="bold")
    write(ax, 0, 1.2, "thirds", weight="bold")
    write(ax, 0, 0.25, "heads", weight="bold")
    for i, (part, numbers) in enumerate(zip(PARTS, thirds, strict=True)):
        middle = 1.9 + 1.75 * i
        write(ax, middle, 1.5, part, "center", color=COLOURS[part])
        for h, number in enumerate(numbers):
            wide = 0.44 * (h - (n_heads - 1) / 2)
            top = 2.9 + 0.44 * (i * n_heads + h)
            low = 2.2 + 2.6 * h + 0.46 * (i - 1)
            for x, y in ((top, 2.05), (middle + wide, 1.2), (low, 0.25)):
                draw_box(ax, x, y, f"{number:g}", 0.4, 0.28, part)
            draw_arrow(ax, (middle + wide, 1.05), (low, 0.41))
    for h in range(n_heads):
        write(ax, 2.2 + 2.6 * h + 0.75, 0.25, f"head {h + 1}")
    plt.show()


def draw_names(
    names: Sequence[str], matrix: re.Pattern, *layouts: Callable
) -> None:
    """Our names beside those of each layout; matrices are coloured."""
    tall = 0.22
    ax = canvas(6.6, tall * (len(names) + 1.3))
    places = (0.0, 2.75, 4.85)
    heads = ("our model", "OpenAI", "Hugging Face")
    for x, head in zip(places, heads, strict=True):
        write(ax, x, tall * (len(names) + 0.7), head, weight="bold")
    for i, name in enumerate(names):
        y = tall * (len(names) - i - 0.4)
        if matrix.fullmatch(name):
            ax.add_patch(
                plt.Rectangle((-0.05, y - 0.1), 6.65, 0.2, fc="#F5DCCB")
            )
        spelt = (name, *(layout(name) for layout in layouts))
        for x, text in zip(places, spelt, strict=True):
            write(ax, x, y, text, family="DejaVu Sans Mono")
    plt.show()


def draw_match(
    model: nn.Module, tensors: Mapping[str, Tensor], names: Sequence[str]
) -> None:
    """What the model expects beside what was found; faults are red."""
    expected = dict(model.named_parameters())
    found = [name for name in names if name in tensors]
    ax = canvas(6.4, 0.42 * len(names) + 0.2)
    write(
        ax, 1.4, 0.42 * len(names) + 0.1, "expected", "center", weight="bold"
    )
    write(ax, 5.0, 0.42 * len(names) + 0.1, "found", "center", weight="bold")
    for i, name in enumerate(names):
        y = 0.42 * (len(names) - i) - 0.22
        here, there = name in expected, name in found
        fits = here and there and expected[name].shape == tensors[name].shape
        fill = "white" if fits else "#F5DCCB"
        for x, table in ((1.4, expected), (5.0, tensors)):
            if name in table:
                text = f"{name} {tuple(table[name].shape)}"
                draw_box(ax, x, y, text, 2.7, 0.3, fill, 8)
        if fits:
            draw_arrow(ax, (3.65, y), (2.8, y))
        elif here and there:
            draw_arrow(ax, (3.65, y), (2.8, y), "shape", "error")
        else:
            x, word = (5.0, "missing") if here else (1.4, "unused")
            write(ax, x, y, word, "center", color=COLOURS["error"])
    plt.show()


def draw_routes() -> None:
    """One matrix on its way from each kind of file into our model."""
    ax = canvas(6.6, 2.75)
    lanes = (
        ("OpenAI's folder", ["model/h0/attn/c_attn/w"], "transpose"),
        ("Hugging Face", ["h.0.attn.c_attn.weight"], "transpose"),
        ("separate layers", [f"W_{p}.weight" for p in PARTS], "stack"),
        ("our own names", ["att.qkv.weight"], "as it is"),
    )
    for i, (who, names, deed) in enumerate(lanes):
        y = 2.4 - 0.68 * i
        write(ax, 0, y, who, weight="bold")
        for j, name in enumerate(names):
            place = y + 0.22 * ((len(names) - 1) / 2 - j)
            part = PARTS[j] if len(names) > 1 else "#E4E4E4"
            draw_box(ax, 2.15, place, name, 1.65, 0.2, part, 8)
        draw_box(ax, 3.9, y, deed, 0.9, 0.3, "#F5DCCB", 8)
        draw_arrow(ax, (3.0, y), (3.43, y))
        draw_arrow(ax, (4.37, y), (4.82, 1.38 + 0.12 * (1.5 - i)))
    draw_box(
        ax, 5.7, 1.38, "trf_blocks.0\n.att.qkv.weight", 1.7, 0.6, "sky", 8
    )
    plt.show()


def draw_steps(plans: dict[str, list[tuple[int, int]]]) -> None:
    """Memory after each step of each plan: (in the model, of the file)."""
    _, panels = plt.subplots(1, len(plans), figsize=(6.4, 2.4), sharey=True)
    for ax, (name, steps) in zip(panels, plans.items(), strict=True):
        x = range(1, len(steps) + 1)
        model, file = zip(*steps, strict=True)
        ax.bar(x, model, color=COLOURS["sky"], label="model")
        ax.bar(x, file, bottom=model, color=COLOURS["masked"], label="file")
        for i, (a, b) in zip(x, steps, strict=True):
            ax.text(i, a + b + 0.3, str(a + b), ha="center", fontsize=9)
        ax.set(title=name, xlabel="step", xticks=x, ylim=(0, 18))
    panels[0].set_ylabel("numbers in memory")
    panels[-1].legend(loc="upper right")
    plt.show()
