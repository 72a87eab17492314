"""Execute notebooks and store their outputs in one normal form.

    python shared/run_notebooks.py                 every notebook
    python shared/run_notebooks.py ch03/*/*.ipynb  these notebooks
    python shared/run_notebooks.py --check         only look at the stored form

Each notebook runs top to bottom in a fresh kernel, in its own folder, in the
environment that the tests use, one kernel at a time. Stored is what a reader
sees and pytest compares: counts 1..n, streams merged; of the metadata only
tags and that a cell is folded. A notebook that fails, that writes to stderr,
or that shows what cannot be stored is left as it was, and the cell is named.
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
    ROOT,
    dump_notebook,
    kept_metadata,
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
    ids, number = set(), 0
    for position, cell in enumerate(cells):
        cell.metadata = kept_metadata(cell)
        name = cell.get("id", "")
        if not re.fullmatch(r"[\w-]{1,64}", name, re.ASCII) or name in ids:
            text = f"{position} {cell.source}".encode()
            cell.id = hashlib.sha256(text).hexdigest()[:12]
        ids.add(cell.id)
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
        if kind == "stream":
            if output.name != "stdout":
                line = output.text.strip().splitlines()[-1:]
                raise ValueError(f"writes to stderr: {line}")
            if outputs and outputs[-1].output_type == "stream":
                outputs[-1].text += output.text
                continue
        elif kind == "error":
            clean_error(output, cell)
        else:
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


def all_notebooks(root: Path = ROOT) -> list[Path]:
    """Every notebook of the course, in order."""
    found = sorted(root.glob("ch*/**/*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def execute(path: Path, timeout: float) -> str:
    """Run a notebook in a fresh kernel; return its text in normal form.

    Raises ValueError with the cell and the reason.
    """
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    class ThisPython(AsyncKernelManager):
        """Whatever other kernels the machine has, use our own."""

        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    book = read_notebook(path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    for cell in code:
        cell.outputs, cell.execution_count = [], None
    normalise(book.cells)
    if empty := [
        i for i, cell in enumerate(code, 1) if not cell.source.strip()
    ]:
        raise ValueError(f"cell {empty[0]}: is empty: delete it")
    started: list[str] = []
    client = NotebookClient(
        book,
        timeout=timeout,
        kernel_manager_class=ThisPython,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=lambda cell, cell_index: started.append(cell.id),
    )
    try:
        client.execute(stderr=subprocess.DEVNULL)
    except (CellControlSignal, DeadKernelError) as error:
        number = [cell.id for cell in code].index(started[-1]) + 1
        text = ANSI.sub("", str(error))
        raise ValueError(f"cell {number}: {text}") from error
    return dump_notebook(normalise(book.cells))


def check_stored(path: Path) -> str:
    """What is wrong with the stored form, '' if nothing. Executes nothing."""
    try:
        cells = normalise(read_notebook(path).cells)
    except ValueError as error:
        return str(error)
    code = [cell for cell in cells if cell.cell_type == "code"]
    if missing := sum(cell.execution_count is None for cell in code):
        return f"{missing} cells were never executed"
    if dump_notebook(cells).encode("utf-8") != path.read_bytes():
        return "not stored in the normal form"
    return ""


def run_one(path: Path, timeout: float) -> str:
    """Execute and store one notebook; return what is wrong."""
    try:
        text = execute(path, timeout)
    except ValueError as error:
        return str(error)
    if path.read_bytes() != text.encode("utf-8"):
        write_text(path, text)
    return ""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
        start, path = time.perf_counter(), path.resolve()
        look = check_stored(path) if args.check else None
        problem = run_one(path, args.timeout) if look is None else look
        seconds = time.perf_counter() - start
        failed += bool(problem)
        inside = path.is_relative_to(ROOT)
        name = (path.relative_to(ROOT) if inside else path).as_posix()
        print(f"{name}  {seconds:.1f} s", flush=True)
        if problem:
            print(f"{name}, {problem}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
