"""Execute notebooks and store their outputs in one normal form.

    python shared/run_notebooks.py                 every notebook
    python shared/run_notebooks.py ch03/*/*.ipynb  these notebooks
    python shared/run_notebooks.py --check         only look at the stored form

Each notebook runs top to bottom in a fresh kernel, in its own folder, in the
environment that the tests use, one kernel at a time. Stored is what a reader
sees and pytest compares: counts 1..n, streams merged, tags kept, all other
metadata dropped. A notebook that fails, that writes to stderr, or that shows
what cannot be stored is left as it was, and the cell is named.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from export import (
    FORM,
    ROOT,
    NotANotebook,
    dump_notebook,
    read_notebook,
    write_text,
)

# What every kernel of the tests and of this tool sees. CUDA and MPS are
# hidden and threads are one, so that stored numbers agree between machines;
# progress bars and colours would hold times and control characters.
ENVIRONMENT = {
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "SCRATCH_LLM_DEVICE": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
UNSET = ("PYTHONHASHSEED", "FORCE_COLOR", "CLICOLOR_FORCE", "MPLBACKEND")

STORED = {"text/plain", "text/html", "text/latex", "text/markdown"}
STORED |= {"image/png"}
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
FRAME = re.compile(r"Cell In\[(\d+)\], line (\d+)")


def set_environment() -> None:
    """Prepare this process's environment; kernels inherit it.

    A value that is already set stays: `OMP_NUM_THREADS=2 pytest` plays
    another machine. Only CUDA is hidden whatever the machine says, unless
    SCRATCH_LLM_DEVICE asks for it.
    """
    for name in UNSET:
        os.environ.pop(name, None)
    if not os.environ.get("SCRATCH_LLM_DEVICE", "").startswith("cuda"):
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class NotebookError(Exception):
    """A cell that cannot be stored: its number and the reason."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"cell {number}: {reason}")


# ---- The normal form -----------------------------------------------------


def normalise(notebook: dict) -> dict:
    """The notebook with nothing in it that a reader or a test ignores."""
    cells, ids, number = [], set(), 0
    for position, cell in enumerate(notebook["cells"]):
        tags = cell["metadata"].get("tags")
        new = {
            "cell_type": cell["cell_type"],
            "id": unique_id(cell, position, ids),
            "metadata": {"tags": tags} if tags else {},
            "source": cell["source"],
        }
        if cell["cell_type"] == "code":
            number += 1
            ran = cell.get("execution_count") is not None
            new["execution_count"] = number if ran else None
            new["outputs"] = normal_outputs(cell, number)
        cells.append(new)
    return FORM | {"cells": cells}


def unique_id(cell: dict, position: int, taken: set[str]) -> str:
    """The cell's id if it is valid and new, else one made of its text."""
    name = cell.get("id", "")
    if not CELL_ID.fullmatch(name) or name in taken:
        text = f"{position} {cell['source']}"
        name = hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
    taken.add(name)
    return name


def normal_outputs(cell: dict, number: int) -> list[dict]:
    """A cell's outputs: merged, cleaned, and known to be comparable."""
    outputs: list[dict] = []
    for output in cell["outputs"]:
        kind = output["output_type"]
        if kind == "stream":
            add_stream(outputs, output, number)
        elif kind == "error":
            outputs.append(normal_error(cell, output))
        else:
            outputs.append(normal_display(output, number))
    return outputs


def add_stream(outputs: list[dict], output: dict, number: int) -> None:
    """Append printed text, to the stream before it if there is one."""
    if output["name"] != "stdout":
        line = output["text"].strip().splitlines()[-1:]
        raise NotebookError(number, f"writes to stderr: {line}")
    if outputs and outputs[-1]["output_type"] == "stream":
        outputs[-1]["text"] += output["text"]
        return
    outputs.append(
        {"name": "stdout", "output_type": "stream", "text": output["text"]}
    )


def normal_display(output: dict, number: int) -> dict:
    """A shown value or figure, without metadata."""
    strange = sorted(set(output["data"]) - STORED)
    if strange:
        raise NotebookError(
            number, f"shows {strange[0]}, not comparable: show text or a PNG"
        )
    data = dict(output["data"])
    if "image/png" in data:
        data["image/png"] = data["image/png"].strip()
    new = {"output_type": output["output_type"], "data": data, "metadata": {}}
    if output["output_type"] == "execute_result":
        new["execution_count"] = number
    return new


def normal_error(cell: dict, output: dict) -> dict:
    """A deliberate error: name, message, and the lines of cells it passed."""
    name, message = output["ename"], ANSI.sub("", output["evalue"])
    heading = f"{name:<42}Traceback (most recent call last)"
    trace = ANSI.sub("", "\n".join(output["traceback"]))
    count = str(cell.get("execution_count"))
    lines = cell["source"].splitlines()
    frames = []
    for where, line in FRAME.findall(trace):
        frames.append(f"Cell In[{where}], line {line}")
        if where == count and int(line) <= len(lines):
            frames[-1] += f"\n----> {line} {lines[int(line) - 1].strip()}"
    return {
        "output_type": "error",
        "ename": name,
        "evalue": message,
        "traceback": [heading, *frames, f"{name}: {message}"],
    }


# ---- Running -------------------------------------------------------------


def all_notebooks(root: Path = ROOT) -> list[Path]:
    """Every notebook of the course, in order."""
    return [
        path
        for path in sorted(root.glob("ch*/**/*.ipynb"))
        if ".ipynb_checkpoints" not in path.parts
    ]


def show_path(path: Path) -> str:
    """The path from the course's root, or as given if it is elsewhere."""
    path = path.resolve()
    if path.is_relative_to(ROOT):
        path = path.relative_to(ROOT)
    return path.as_posix()


def start_client(notebook: dict, folder: Path, timeout: float):
    """A client that runs the notebook with this Python, in that folder."""
    import nbformat
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class ThisPython(AsyncKernelManager):
        """Whatever other kernels the machine has, use our own."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    return NotebookClient(
        nbformat.from_dict(notebook),
        timeout=timeout,
        kernel_manager_class=ThisPython,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )


def execute(path: Path, timeout: float) -> dict:
    """Run a notebook in a fresh kernel; return it in normal form.

    Raises NotebookError with the cell and the reason.
    """
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    notebook = read_notebook(path)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    client = start_client(normalise(notebook), path.parent, timeout)
    started: list[int] = []
    client.on_cell_execute = lambda cell, cell_index: started.append(
        cell_index
    )
    try:
        client.execute(stderr=subprocess.DEVNULL)
    except (CellControlSignal, DeadKernelError) as error:
        cells = client.nb.cells[: started[-1] + 1] if started else []
        number = sum(cell.cell_type == "code" for cell in cells)
        raise NotebookError(number, ANSI.sub("", str(error))) from error
    return normalise(client.nb)


def unexecuted(notebook: dict) -> list[int]:
    """Numbers of the code cells that nbval would pass without a look."""
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    return [
        number
        for number, cell in enumerate(code, start=1)
        if cell.get("execution_count") is None
    ]


def check_stored(path: Path) -> str:
    """What is wrong with the stored form, '' if nothing. Executes nothing."""
    try:
        notebook = normalise(read_notebook(path))
    except (NotebookError, NotANotebook) as error:
        return str(error)
    if unexecuted(notebook):
        return f"{len(unexecuted(notebook))} cells were never executed"
    if dump_notebook(notebook) != path.read_text(encoding="utf-8"):
        return "not stored in the normal form"
    return ""


def run_one(path: Path, timeout: float) -> str:
    """Execute and store one notebook; return what is wrong."""
    try:
        notebook = execute(path, timeout)
        if unexecuted(notebook):
            return f"cells {unexecuted(notebook)} are empty: delete them"
    except (NotebookError, NotANotebook) as error:
        return str(error)
    text = dump_notebook(notebook)
    if path.read_bytes() != text.encode("utf-8"):
        write_text(path, text)
    return ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Execute notebooks and store their outputs."
    )
    add = parser.add_argument
    add("notebooks", nargs="*", type=Path, help="default: all")
    add("--check", action="store_true", help="only look at the stored form")
    add("--timeout", type=float, default=600, help="seconds for one cell")
    args = parser.parse_args(argv)
    if wrong := [str(path) for path in args.notebooks if not path.is_file()]:
        parser.error(f"{wrong[0]} is not a file: check the path")
    set_environment()
    failed = 0
    for path in args.notebooks or all_notebooks():
        start = time.perf_counter()
        if args.check:
            problem = check_stored(path)
        else:
            problem = run_one(path.resolve(), args.timeout)
        seconds = time.perf_counter() - start
        failed += bool(problem)
        print(f"{show_path(path)}  {seconds:.1f} s", flush=True)
        if problem:
            print(f"{show_path(path)}, {problem}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
