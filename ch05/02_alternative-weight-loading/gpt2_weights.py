# GENERATED from ch05/02_alternative-weight-loading/weight-loading.ipynb
# Do not edit. Change the notebook and run: python shared/export.py
"""GPT-2's own weights for our GPTModel, from three kinds of file."""

import contextlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from previous_chapters import GPT2_SIZES, GPTModel, gpt2_config
from safetensors import safe_open
from torch import Tensor, nn


def import_tensorflow() -> ModuleType:
    """TensorFlow, asked to be quiet; ValueError if it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import tensorflow
    except ImportError:
        raise ValueError(
            "OpenAI's format is read with tensorflow, which is not installed: "
            "pip install -r ch05/02_alternative-weight-loading/"
            "requirements-tensorflow.txt, or take a .safetensors or .pth file"
        ) from None
    return tensorflow


OPENAI_NAMES = {"tok_emb.weight": "model/wte", "pos_emb.weight": "model/wpe",
                "final_norm.scale": "model/ln_f/g",
                "final_norm.shift": "model/ln_f/b"}
OPENAI_PARTS = {"norm1": "ln_1", "att.qkv": "attn/c_attn",
                "att.out_proj": "attn/c_proj", "norm2": "ln_2",
                "ff.layers.0": "mlp/c_fc", "ff.layers.2": "mlp/c_proj"}
OPENAI_KINDS = {"weight": "w", "bias": "b", "scale": "g", "shift": "b"}


def openai_name(ours: str) -> str:
    """What OpenAI's file calls one of our parameters."""
    if ours in OPENAI_NAMES:
        return OPENAI_NAMES[ours]
    inside = re.fullmatch(r"trf_blocks\.(\d+)\.(.+)\.(\w+)", ours)
    if inside is None:
        return ours                     # a head of its own: not in the file
    block, part, kind = inside.groups()
    return f"model/h{block}/{OPENAI_PARTS[part]}/{OPENAI_KINDS[kind]}"


def huggingface_name(ours: str) -> str:
    """What Hugging Face's files call one of our parameters."""
    name = openai_name(ours).removeprefix("model/")
    name = re.sub(r"^h(\d+)", r"h.\1", name).replace("/", ".")
    name = re.sub(r"\.[wg]$|(?<=^wte)$|(?<=^wpe)$", ".weight", name)
    return re.sub(r"\.b$", ".bias", name)


def shape_fault(name: str, expected: tuple, found: tuple) -> str:
    """What is wrong with a shape, in a line, or ''."""
    expected, found = tuple(expected), tuple(found)
    if expected == found:
        return ""
    hint = ", its transpose" if found == expected[::-1] else ""
    return f"{name}: the model expects {expected}, found {found}{hint}"


@torch.no_grad()
def copy_tensor(name: str, parameter: Tensor, tensor: Tensor) -> None:
    """Copy a tensor into a parameter, in place.

    Raises ValueError if the shapes differ, if the tensor holds no
    floating-point numbers, or if the parameter has no memory (meta).
    """
    if fault := shape_fault(name, parameter.shape, tensor.shape):
        raise ValueError(fault)
    if not tensor.is_floating_point():
        raise ValueError(f"{name}: {tensor.dtype} holds no weights")
    if parameter.is_meta:
        raise ValueError(f"{name} has no memory yet: see empty_model")
    parameter.copy_(tensor)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file: its shape, and how to read it."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    parts: tuple["StoredTensor", ...] = ()     # one below the other, if any

    def transposed(self) -> "StoredTensor":
        """(in, out) or (1, in, out) -> (out, in), once it is read."""
        shape = self.shape[1:] if self.shape[:-2] == (1,) else self.shape
        return StoredTensor(shape[::-1], lambda: self.read().reshape(shape).T)


def concatenate(parts: list[StoredTensor]) -> StoredTensor:
    """Tensors of one shape (n, ...), laid one below the other."""
    shapes = [part.shape for part in parts]
    if len(parts) == 1:
        return parts[0]
    if len(set(shapes)) > 1 or not shapes[0]:
        raise ValueError(f"parts of one layer have the shapes {shapes}")
    shape = (len(parts) * shapes[0][0], *shapes[0][1:])
    return StoredTensor(
        shape, lambda: torch.cat([part.read() for part in parts]),
        tuple(parts))


def find_faults(model: GPTModel, tensors: Mapping[str, StoredTensor]
                ) -> list[str]:
    """All that is missing, unused or of another shape, by name."""
    names = dict(model.named_parameters(remove_duplicate=False))
    once = [name for name, _ in model.named_parameters()]
    missing = [name for name in once if name not in tensors]
    unused = sorted(tensors.keys() - names.keys())
    faults = [f"{what}: {', '.join(found)}" for what, found in
              (("missing", missing), ("unused", unused)) if found]
    shapes = (shape_fault(name, p.shape, tensors[name].shape)
              for name, p in names.items() if name in tensors)
    return faults + [fault for fault in shapes if fault]


def show_tensors(model: GPTModel, tensors: Mapping[str, StoredTensor]) -> None:
    """Print expected against found, for every parameter."""
    print(f"{'parameter':34}{'expected':>14}{'found':>14}")
    for name, p in model.named_parameters():
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        print(f"{name:34}{tuple(p.shape)!s:>14}{found!s:>14}")


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Whatever a library says of a bad file becomes a ValueError."""
    try:
        yield
    except (ValueError, MemoryError):
        raise
    except Exception as error:     # each library has errors of its own
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            "this is no file of weights, or it was cut short "
            f"({type(error).__name__}: {reason})") from None


def copy_parts(name: str, p: nn.Parameter, tensor: StoredTensor | Tensor,
               filled: dict[int, str]) -> None:
    """Read one tensor into its parameter, part by part.

    filled: the name by which a parameter was filled, by its id. Raises
    ValueError if a second name of a parameter brings other numbers.
    """
    twin = filled.setdefault(id(p), name)
    parts = getattr(tensor, "parts", ()) or (tensor,)
    for place, part in zip(p.detach().chunk(len(parts)), parts, strict=True):
        with one_line_errors():
            read = part.read() if isinstance(part, StoredTensor) else part
        if twin == name:
            copy_tensor(name, place, read)
        elif not torch.equal(place, read):
            raise ValueError(f"{name} differs from {twin}: not a tied head")


def load_tensors(model: GPTModel, tensors: Mapping[str, StoredTensor | Tensor],
                 show: bool = False) -> GPTModel:
    """Fill every parameter of a model, the largest first, one at a time.

    tensors: by our names. show: print expected against found. Raises
    ValueError with all that does not fit. A tied head may be there twice.
    """
    if show:
        show_tensors(model, tensors)
    if faults := find_faults(model, tensors):
        raise ValueError("the weights do not fit. " + "; ".join(faults))
    filled: dict[int, str] = {}
    for name, p in sorted(model.named_parameters(remove_duplicate=False),
                          key=lambda pair: -pair[1].numel()):
        if name in tensors:              # a tied head may be stored once
            copy_parts(name, p, tensors[name], filled)
    return model


def separate_names(ours: str) -> list[str]:
    """The same where queries, keys and values are three layers."""
    if ".qkv." not in ours:
        return [ours]
    return [ours.replace("qkv", f"W_{part}")
            for part in ("query", "key", "value")]


BUFFERS = re.compile(      # causal masks that were saved with the weights
    r"h\.\d+\.attn\.(masked_)?bias|trf_blocks\.\d+\.att\.mask")
MATRIX = re.compile(r"trf_blocks\..+\.(qkv|out_proj|layers\.\d)\.weight")
LAYOUTS = {                # a name that gives it away, and our names there
    "model/wte": openai_name,
    "wte.weight": huggingface_name,
    "trf_blocks.0.att.W_query.weight": separate_names,
    "trf_blocks.0.att.qkv.weight": str,               # they are the same
}


def to_our_names(stored: Mapping[str, StoredTensor], ours: Iterable[str]
                 ) -> dict[str, StoredTensor]:
    """The tensors of a file under our names and in our layout."""
    rest = {}
    for name, tensor in stored.items():
        name = name.removeprefix("transformer.")
        if not BUFFERS.fullmatch(name):
            rest[name.replace("lm_head.", "out_head.")] = tensor
    layout = next((key for key in LAYOUTS if key in rest), None)
    if layout is None:
        raise ValueError("no GPT-2: its tensors are called "
                         f"{', '.join(sorted(rest)[:3]) or 'nothing'}")
    found = {}
    for name in ours:
        theirs = LAYOUTS[layout](name)
        parts = [theirs] if isinstance(theirs, str) else theirs
        if all(part in rest for part in parts):
            one = concatenate([rest.pop(part) for part in parts])
            turn = "wte" in layout and MATRIX.fullmatch(name)
            found[name] = one.transposed() if turn else one
    return found | rest


class FileReader:
    """Reads tensors of a file, which it opens anew after `limit` bytes.

    opener: opens the file and returns a function from name to tensor.
    """

    def __init__(self, opener: Callable[[], Callable[[str], Tensor]],
                 limit: float):
        self.opener, self.limit = opener, limit
        self.get, self.used = None, 0

    def read(self, name: str) -> Tensor:
        if self.get is None or self.used > self.limit:
            self.get = None                              # close it first
            self.get, self.used = self.opener(), 0
        tensor = self.get(name)
        self.used += tensor.nbytes
        return tensor


def open_openai(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of OpenAI's TensorFlow checkpoint, still in the file."""
    load_checkpoint = import_tensorflow().train.load_checkpoint
    prefix = str(Path(folder, "model.ckpt"))
    shapes = load_checkpoint(prefix).get_variable_to_shape_map()

    def opener() -> Callable[[str], Tensor]:
        reader = load_checkpoint(prefix)
        return lambda name: torch.from_numpy(reader.get_tensor(name))

    file = FileReader(opener, 0)             # opening it costs nothing
    return {name: StoredTensor(tuple(shape), partial(file.read, name))
            for name, shape in shapes.items()}


def open_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, still in the file."""
    with safe_open(path, framework="pt") as opened:
        shapes = {name: tuple(opened.get_slice(name).get_shape())
                  for name in opened.keys()}
    file = FileReader(lambda: safe_open(path, framework="pt").get_tensor,
                      Path(path).stat().st_size / 25)
    return {name: StoredTensor(shape, partial(file.read, name))
            for name, shape in shapes.items()}


def open_pytorch(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a PyTorch state dict, still in the file."""
    new = zipfile.is_zipfile(path)
    load = partial(torch.load, path, map_location="cpu", weights_only=True,
                   mmap=new)
    state = load()
    if not (isinstance(state, dict) and state and all(
            isinstance(name, str) and isinstance(tensor, Tensor)
            for name, tensor in state.items())):
        raise ValueError("it holds no state dict, which is names and tensors")
    limit = Path(path).stat().st_size / 25 if new else float("inf")
    file = FileReader(lambda: load().__getitem__, limit)
    return {name: StoredTensor(tuple(tensor.shape), partial(file.read, name))
            for name, tensor in state.items()}


BLOCK_NUMBER = re.compile(r"(?:model/h|h\.|trf_blocks\.)(\d+)[./]")


def heads_in(folder: Path) -> dict[str, int]:
    """What hparams.json in OpenAI's folder says; nothing without it."""
    try:
        text = Path(folder, "hparams.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    try:
        return {"n_heads": json.loads(text)["n_head"]}
    except (ValueError, KeyError, TypeError):
        raise ValueError("its hparams.json does not tell n_head") from None


def sizes_in(tensors: Mapping[str, StoredTensor]) -> dict[str, int]:
    """What the shapes of a file say, by the keys of a config."""
    blocks = filter(None, map(BLOCK_NUMBER.match, tensors))
    found = {"n_layers": 1 + max((int(b[1]) for b in blocks), default=-1)}
    for name, key in (("tok_emb.weight", "vocab_size"),
                      ("pos_emb.weight", "context_length")):
        if name in tensors and len(tensors[name].shape) == 2:
            found[key], found["emb_dim"] = tensors[name].shape
    return found


def check_sizes(cfg: dict, found: dict[str, int]) -> None:
    """ValueError with what differs, and the size it would be."""
    differ = {key: n for key, n in found.items() if n != cfg[key]}
    if not differ:
        return
    fits = [f"; it looks like {size}" for size, (C, L, _) in
            GPT2_SIZES.items() if (found.get("emb_dim"), found["n_layers"])
            == (C, L) and (C, L) != (cfg["emb_dim"], cfg["n_layers"])]
    expected = {key: cfg[key] for key in differ}
    raise ValueError(f"this is another size: expected {expected}, found "
                     f"{differ}{''.join(fits)}")


def empty_model(cfg: dict) -> GPTModel:
    """A model whose parameters have memory, and no values yet."""
    with torch.device("meta"):
        model = GPTModel(cfg)
    model = model.to_empty(device="cpu")
    if cfg.get("tie_weights"):
        model.out_head.weight = model.tok_emb.weight
    return model.eval()


def open_weights(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file or folder, by the route that it needs."""
    path = Path(path)
    if not path.exists():
        raise ValueError("it does not exist: gpt_download.py fetches weights")
    with one_line_errors():
        if (path / "model.ckpt.index").is_file():
            return open_openai(path)
        if path.is_dir():
            held = sorted(child.name for child in path.iterdir())[:4]
            raise ValueError("a folder without model.ckpt.index; it holds "
                             f"{', '.join(held) or 'nothing'}: name a file")
        if path.suffix == ".safetensors":
            return open_safetensors(path)
        if path.suffix in (".pth", ".pt", ".bin"):
            return open_pytorch(path)
        raise ValueError("neither OpenAI's folder nor a file that ends in "
                         ".safetensors, .pth, .pt or .bin")


def load_gpt2(cfg: dict, path: str | Path, show: bool = False) -> GPTModel:
    """A model of this config with the weights at path, ready to write.

    Takes little more memory than the model. show: print expected against
    found. Raises ValueError with the path and all that is wrong.
    """
    try:
        stored, model = open_weights(Path(path)), empty_model(cfg)
        names = [n for n, _ in model.named_parameters()]
        tensors = to_our_names(stored, names)
        check_sizes(cfg, sizes_in(tensors) | heads_in(Path(path)))
        return load_tensors(model, tensors, show)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def gpt2_model(size: str, path: str | Path) -> GPTModel:
    """GPT-2 of a size, e.g. "124M", from a file or from OpenAI's folder."""
    return load_gpt2(gpt2_config(size, drop_rate=0.0, qkv_bias=True,
                                 tie_weights=True), path)
