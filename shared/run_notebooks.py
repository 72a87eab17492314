"""Execute notebooks and store their outputs in one normal form.

    python shared/run_notebooks.py                 every notebook
    python shared/run_notebooks.py ch03/*/*.ipynb  these notebooks

Each notebook runs top to bottom in a fresh kernel, in its own folder, in the
environment that the tests use, one kernel at a time. Stored is what a reader
sees and pytest compares: no empty cells, counts 1..n, streams merged; of the
metadata only tags and that a cell is folded. A notebook that fails, writes to
stderr, or shows what cannot be compared is left as it was, and the cell named.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from export import ROOT, dump_notebook, kept_metadata, read_notebook
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from scratch_llm.files import write_text

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
SECONDS = 600  # the most that a cell may take
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
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
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


# ---- The normal form -----------------------------------------------------


def normalise(cells: list) -> list:
    """The cells with nothing in them that a reader or a test ignores.

    Raises ValueError with the cell if it shows what cannot be compared.
    """
    cells, number = [cell for cell in cells if cell.source.strip()], 0
    for cell in cells:
        cell.metadata = kept_metadata(cell)
        if cell.cell_type == "code":
            number += 1
            try:
                normalise_code(cell, number)
            except ValueError as error:
                raise ValueError(f"cell {number}: {error}") from error
    return cells


def normalise_code(cell: dict, number: int) -> None:
    """Merge and clean a code cell's outputs, and count it."""
    outputs = []
    for output in cell.outputs:
        kind = output.output_type
        if kind == "stream" and output.name != "stdout":
            raise ValueError(f"writes to stderr: {output.text.strip()!r}")
        if kind == "stream" and outputs[-1:] and "text" in outputs[-1]:
            outputs[-1].text += output.text
            continue
        if kind == "error":
            clean_error(output, cell)
        elif kind != "stream":
            if strange := sorted(set(output.data) - STORED):
                text = f"shows {strange[0]}, which is not comparable"
                raise ValueError(f"{text}: show text or a PNG")
            if "image/png" in output.data:
                output.data["image/png"] = output.data["image/png"].strip()
            output.metadata = {}
            if kind == "execute_result":
                output.execution_count = number
        outputs.append(output)
    cell.outputs = outputs
    if cell.execution_count is not None:
        cell.execution_count = number


def clean_error(output: dict, cell: dict) -> None:
    """A deliberate error: name, message, and the lines of cells it passed."""
    output.evalue = ANSI.sub("", output.evalue)
    trace = [f"{output.ename:<42}Traceback (most recent call last)"]
    lines = cell.source.splitlines()
    seen = ANSI.sub("", "\n".join(output.traceback))
    for where, line in FRAME.findall(seen):
        frame = f"Cell In[{where}], line {line}"
        if where == str(cell.execution_count) and int(line) <= len(lines):
            frame += f"\n----> {line} {lines[int(line) - 1].strip()}"
        trace.append(frame)
    output.traceback = [*trace, f"{output.ename}: {output.evalue}"]


# ---- Running -------------------------------------------------------------


class ThisPython(AsyncKernelManager):
    """Whatever other kernels the machine has, use our own."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


def all_notebooks() -> list[Path]:
    """Every notebook of the course, in order."""
    found = sorted(ROOT.glob("ch*/**/*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def execute(path: Path) -> str:
    """Run a notebook in a fresh kernel; return its text in normal form.

    Raises ValueError with the cell and the reason.
    """
    book, number = read_notebook(path), 0
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    book.cells = normalise(book.cells)

    def count(**cell: Any) -> None:
        nonlocal number
        number += 1

    client = NotebookClient(
        book,
        timeout=SECONDS,
        kernel_manager_class=ThisPython,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=count,
    )
    try:
        client.execute(stderr=subprocess.DEVNULL)
    except (CellControlSignal, DeadKernelError) as error:
        text = ANSI.sub("", str(error))
        raise ValueError(f"cell {number}: {text}") from error
    return dump_notebook(normalise(book.cells))


def check_stored(path: Path) -> str:
    """What is wrong with the stored form, '' if nothing. Executes nothing."""
    try:
        cells = normalise(read_notebook(path).cells)
    except ValueError as error:
        return str(error)
    if dump_notebook(cells).encode("utf-8") != path.read_bytes():
        return "not stored in the normal form"
    return ""


def main(argv: list[str] | None = None) -> int:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    args = parser.parse_args(argv)
    if wrong := [str(path) for path in args.notebooks if not path.is_file()]:
        parser.error(f"{wrong[0]} is not a file: check the path")
    set_environment()
    failed = 0
    for path in args.notebooks or all_notebooks():
        start = time.perf_counter()
        try:
            write_text(path, execute(path.resolve()))
        except ValueError as error:
            failed += 1
            print(f"{path}, {error}", file=sys.stderr)
        print(f"{path}  {time.perf_counter() - start:.1f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
