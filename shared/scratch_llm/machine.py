"""Is this machine ready for the course? What it has, and what to mend.

    python -m scratch_llm.machine

`measure` looks at the machine, `judge` compares what it found with what the
course needs, and `report` says it, with advice for each thing found wanting.
No package is imported before it is known to be there, so this runs on a
machine on which nothing is installed yet.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import re
import shutil
import sys
import textwrap
import timeit
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from scratch_llm.gpt2_vocabulary import GPT2_FILES, cached_path

ROOT = Path(__file__).resolve().parents[2]  # of the course
PIN = re.compile(
    r"(?P<name>\w[\w.-]*)(?:==(?P<version>[\w.]+))?"
    r"(?: ; python_version (?P<sign><|>=) \"3\.(?P<minor>\d+)\")?"
)
WEIGHTS = ("storyteller.safetensors", "librarian.safetensors")
OLDEST, NEWEST = (3, 10), (3, 13)  # Pythons that the course is tested with
MEMORY = 2.0  # GB that one notebook of the course may want
DISK = 2.0  # GB: runs that you train, and GPT-2's small weights
SPEED = 20.0  # GFLOP/s under which the trainings become tedious
INSTALL = "pip install -r requirements.txt"


@dataclass(frozen=True)
class Machine:
    """What was found. Sizes in GB, speeds in GFLOP/s."""

    python: tuple[int, ...] = (0, 0, 0)
    bits: int = 64
    system: str = ""  # Linux, Darwin or Windows
    wanted: dict[str, str] = field(default_factory=dict)  # by the pins
    installed: dict[str, str] = field(default_factory=dict)
    torch_fault: str = ""  # why torch does not start
    device: str = "cpu"
    device_name: str = ""
    device_memory: float | None = None
    asked_device: str = ""  # by SCRATCH_LLM_DEVICE
    nvidia: bool = False  # the driver's own program is there
    memory: float | None = None
    free_memory: float | None = None
    cores: int = 1
    threads: int = 1
    threads_set: str = ""  # the variable that sets them, and its value
    speed: float | None = None  # of a matrix product
    elsewhere: bool = False  # scratch_llm belongs to another copy
    weights: dict[str, str] = field(default_factory=dict)  # name: its fault
    vocabulary: bool = False  # GPT-2's, in tiktoken's cache
    disk: float = 0.0
    writable: bool = True


@dataclass(frozen=True)
class Finding:
    """One line of the report; `stops`: the course cannot go on like this."""

    name: str
    found: str
    advice: str = ""
    stops: bool = False

    @property
    def mark(self) -> str:
        return "MEND" if self.stops else "note" if self.advice else "ok"


# ---- Measure -------------------------------------------------------------


def pins(path: Path, minor: int = sys.version_info.minor) -> dict[str, str]:
    """What a requirements file wants for Python 3.minor; "" is any version."""
    wanted = {}
    if not path.is_file():
        return wanted
    for line in path.read_text(encoding="utf-8").splitlines():
        if pin := PIN.fullmatch(line.strip()):
            limit = int(pin["minor"] or 0)
            below = pin["sign"] == "<"
            if (minor < limit) == below:
                wanted[pin["name"]] = pin["version"] or ""
    return wanted


def versions(names: Any) -> dict[str, str]:
    """The installed versions of these packages, without those missing."""
    found = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name).partition("+")[0]
    return found


def fault_of_weights(path: Path) -> str:
    """What is wrong with a safetensors file; "" if it is whole."""
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < size else b""
    try:
        ends = [
            entry["data_offsets"][1]
            for name, entry in json.loads(header).items()
            if name != "__metadata__"
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is not whole"
    whole = bool(ends) and size == 8 + length + max(ends)
    return "" if whole else "is not whole"


def fault_of_vocabulary(path: Path) -> str:
    """What is wrong with a tiktoken file; "" if it is whole."""
    if not path.is_file():
        return "is missing"
    lines = path.read_bytes().splitlines()
    ranks = [line.rpartition(b" ")[2] for line in lines]
    whole = ranks == [str(i).encode() for i in range(len(ranks))]
    return "" if whole and len(ranks) > 256 else "is not whole"


def memory() -> tuple[float | None, float | None]:
    """All and free memory in GB; a container's limit counts. None: unknown.

    psutil comes with JupyterLab's kernel.
    """
    try:
        seen = importlib.import_module("psutil").virtual_memory()
    except Exception:
        return None, None
    total, free = seen.total, seen.available
    with contextlib.suppress(OSError, ValueError):
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text("utf-8"))
        total, free = min(total, limit), min(free, limit)
    return total / 1e9, free / 1e9


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def product_speed(torch: Any, device: str, size: int = 1024) -> float:
    """The best rate of a square matrix product, in GFLOP/s."""
    a = torch.ones(size, size, device=device)
    seconds = timeit.repeat(lambda: (a @ a)[0, 0].item(), number=1, repeat=5)
    return 2 * size**3 / min(seconds) / 1e9


def look_at_torch(asked: str) -> dict[str, Any]:
    """What torch finds here; `torch_fault` if it does not start."""
    try:
        torch = importlib.import_module("torch")
        cuda = torch.cuda.is_available()
        mps = torch.backends.mps.is_available()
    except Exception as error:  # also a library that Windows lacks
        return {"torch_fault": " ".join(f"{error}".split())[:100] or "?"}
    device = "cuda" if cuda else "mps" if mps else "cpu"
    found = {"threads": torch.get_num_threads(), "device": asked or device}
    with contextlib.suppress(Exception):
        found["speed"] = product_speed(torch, asked or device)
        if torch.device(asked or device).type == "cuda":
            about = torch.cuda.get_device_properties(asked or device)
            found["device_name"] = about.name
            found["device_memory"] = about.total_memory / 1e9
    return found


def other_copy(here: Path) -> bool:
    """Whether `here` lies in a copy of the course that is not ours."""
    for folder in (here, *here.parents):
        if (folder / "shared/scratch_llm/machine.py").is_file():
            return folder.resolve() != ROOT
    return False


def measure(root: Path = ROOT) -> Machine:
    """Look at this machine. Takes a second or two; asks no network."""
    wanted = pins(root / "requirements.txt")
    installed = versions(wanted)
    asked = os.environ.get("SCRATCH_LLM_DEVICE", "")
    found: dict[str, Any] = {}
    if "torch" in installed:
        found = look_at_torch(asked)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if value := os.environ.get(name):
            found.setdefault("threads_set", f"{name}={value}")
    folder = root / "shared/checkpoints"
    faults = {name: fault_of_weights(folder / name) for name in WEIGHTS}
    vocabulary = "storyteller.tiktoken"
    faults[vocabulary] = fault_of_vocabulary(folder / vocabulary)
    total, free = memory()
    return Machine(
        python=tuple(sys.version_info[:3]),
        bits=64 if sys.maxsize > 2**32 else 32,
        system=platform.system(),
        wanted=wanted,
        installed=installed,
        asked_device=asked,
        nvidia=shutil.which("nvidia-smi") is not None,
        memory=total,
        free_memory=free,
        cores=cores(),
        elsewhere=other_copy(Path.cwd()),
        weights=faults,
        vocabulary=all(cached_path(name).is_file() for name in GPT2_FILES),
        disk=shutil.disk_usage(root).free / 1e9,
        writable=os.access(root, os.W_OK),
        **found,
    )


# ---- Judge ---------------------------------------------------------------


def judge_python(m: Machine) -> Finding:
    found = f"{'.'.join(map(str, m.python))}, {m.bits} bits"
    tested = "3.10 to 3.13"
    anew = "then make a new environment with it (ch01/README.md)"
    if m.bits < 64:
        return Finding(
            "Python",
            found,
            "PyTorch needs a Python of 64 bits: install one of python.org's "
            f"64-bit editions, {tested}, {anew}.",
            stops=True,
        )
    if m.python[:2] < OLDEST:
        return Finding(
            "Python",
            found,
            f"It is too old: install Python {tested}, {anew}.",
            stops=True,
        )
    if m.python[:2] > NEWEST:
        return Finding(
            "Python",
            found,
            f"The course is tested with {tested}. If a package cannot be "
            f"installed, install Python 3.13, {anew}.",
        )
    return Finding("Python", found)


def judge_packages(m: Machine) -> Finding:
    if not m.wanted:
        return Finding(
            "packages",
            "requirements.txt is not found",
            "The course's package must be installed in place: run pip "
            "install -e . in the course's folder.",
            stops=True,
        )
    missing = sorted(m.wanted.keys() - m.installed)
    if missing:
        return Finding(
            "packages",
            f"missing: {', '.join(missing)}",
            f"Run {INSTALL} in the course's folder. If you did, this is "
            "another Python than the one that pip served: activate the "
            "environment first, and in JupyterLab choose its kernel (python "
            "-m ipykernel install --user --name scratch_llm makes one).",
            stops=True,
        )
    other = [
        f"{name} {m.installed[name]} instead of {version}"
        for name, version in m.wanted.items()
        if version and m.installed[name] != version
    ]
    if other:
        return Finding(
            "packages",
            ", ".join(other),
            "The course is tested with the versions of requirements.txt; "
            "others often work, but numbers may differ. If something looks "
            f"wrong, run {INSTALL}.",
        )
    return Finding("packages", f"{len(m.wanted)}, as in requirements.txt")


def judge_copy(m: Machine) -> Finding:
    if m.elsewhere:
        return Finding(
            "scratch_llm",
            "belongs to another copy of the course",
            "Run pip install -e . in the folder of this copy, then restart "
            "the kernel.",
            stops=True,
        )
    return Finding("scratch_llm", "the course's own package, in place")


def judge_torch(m: Machine) -> Finding | None:
    if "torch" not in m.installed:
        return None  # which judge_packages says
    if not m.torch_fault:
        return Finding("PyTorch", f"{m.installed['torch']}, it starts")
    advice = (
        "Install Microsoft's Visual C++ Redistributable (x64), restart, and "
        "try again; if that does not help, "
        if m.system == "Windows"
        else "The installation is broken: "
    )
    return Finding(
        "PyTorch",
        f"does not start: {m.torch_fault}",
        f"{advice}run pip install --force-reinstall "
        f"torch=={m.installed['torch']}.",
        stops=True,
    )


def judge_device(m: Machine) -> Finding:
    found = " ".join(filter(None, [m.device, m.device_name]))
    if m.device_memory is not None:
        found += f", {m.device_memory:.1f} GB"
    if m.asked_device and m.speed is None:
        return Finding(
            "device",
            f"{m.asked_device}, which does not work here",
            f"SCRATCH_LLM_DEVICE={m.asked_device} asks for it: remove that "
            "variable, or set it to cpu, and restart JupyterLab.",
            stops=True,
        )
    if m.device_memory is not None and m.device_memory < MEMORY:
        return Finding(
            "device",
            found,
            "That is little memory for a GPU. If a notebook runs out of it, "
            "set SCRATCH_LLM_DEVICE=cpu and restart JupyterLab.",
        )
    if m.device == "cpu" and m.nvidia and not m.asked_device:
        return Finding(
            "device",
            found,
            "There seems to be an NVIDIA card, but this PyTorch does not use "
            "it. The course does not need it. If you want it, update the "
            "driver, and install torch by the line that PyTorch's start page "
            "(pytorch.org/get-started/locally) gives for your system.",
        )
    return Finding("device", found)


def judge_memory(m: Machine) -> Finding:
    if m.memory is None or m.free_memory is None:
        return Finding("memory", "could not be read, which is no harm")
    found = f"{m.memory:.1f} GB, {m.free_memory:.1f} GB of it free"
    if m.memory < 2 * MEMORY:
        return Finding(
            "memory",
            found,
            "That is little. Open one notebook at a time and shut its kernel "
            "down afterwards; for chapters 5 to 7 a notebook in the cloud "
            "may be better (ch01/README.md).",
        )
    if m.free_memory < MEMORY:
        return Finding(
            "memory",
            found,
            "Close other programs, and shut down the kernels of notebooks "
            "that you have finished (in JupyterLab: the tab with the running "
            "kernels, at the left).",
        )
    return Finding("memory", found)


def judge_threads(m: Machine) -> Finding:
    found = f"{m.threads} on {m.cores} core{'s' * (m.cores > 1)}"
    if m.cores > 1 and m.threads == 1 and m.threads_set:
        return Finding(
            "threads",
            found,
            f"{m.threads_set} is set, so the other cores idle: remove that "
            "variable and restart JupyterLab.",
        )
    if m.cores == 1:
        return Finding(
            "threads",
            found,
            "The times in this course are those of two cores: expect about "
            "twice as much.",
        )
    return Finding("threads", found)


def judge_speed(m: Machine) -> Finding:
    if m.speed is None:
        return Finding("speed", "not measured")
    found = f"{m.speed:,.0f} GFLOP/s in a matrix product"
    if m.speed < SPEED:
        return Finding(
            "speed",
            found,
            "That is slow; the trainings of chapters 5 to 7 may take several "
            "times as long as they say. Plug the laptop in, leave its saving "
            "mode, close what else computes and check again; or take a "
            "notebook in the cloud (ch01/README.md).",
        )
    return Finding("speed", found)


def judge_weights(m: Machine) -> Finding:
    faults = [f"{name} {fault}" for name, fault in m.weights.items() if fault]
    if faults:
        return Finding(
            "weights",
            ", ".join(faults),
            "Get the folder shared/checkpoints again: git checkout -- "
            "shared/checkpoints, or download the course once more and "
            "unpack all of it.",
            stops=True,
        )
    return Finding("weights", "storyteller and librarian, whole")


def judge_vocabulary(m: Machine) -> Finding:
    if m.vocabulary:
        return Finding("GPT-2's tokens", "here")
    return Finding(
        "GPT-2's tokens", "not needed yet; chapter 2 brings them in seconds"
    )


def judge_disk(m: Machine) -> Finding:
    found = f"{m.disk:.0f} GB free"
    if not m.writable:
        return Finding(
            "disk",
            "the course's folder cannot be written",
            "Notebooks and runs could not be saved: copy the course into a "
            "folder of your own, and run pip install -e . there.",
            stops=True,
        )
    if m.disk < DISK:
        return Finding(
            "disk",
            f"{m.disk:.1f} GB free",
            "Make some room: the runs that you will train and GPT-2's "
            f"weights want about {DISK:.0f} GB.",
        )
    return Finding("disk", found)


JUDGES = (
    judge_python,
    judge_packages,
    judge_copy,
    judge_torch,
    judge_device,
    judge_memory,
    judge_threads,
    judge_speed,
    judge_weights,
    judge_vocabulary,
    judge_disk,
)


def judge(machine: Machine) -> list[Finding]:
    """What is there, and advice for each thing found wanting."""
    alone = machine.torch_fault or "torch" not in machine.installed
    silent = (judge_device, judge_threads, judge_speed) if alone else ()
    found = [one(machine) for one in JUDGES if one not in silent]
    return [one for one in found if one]


# ---- Report --------------------------------------------------------------


def report(findings: list[Finding]) -> str:
    """The findings as lines, advice below what is wanting."""
    wide, lines = max(len(one.name) for one in findings), []
    for one in findings:
        head = f"{one.mark:4}  {one.name:{wide}}  "
        for text in filter(None, (one.found, one.advice)):
            lines += textwrap.wrap(
                text,
                width=79,
                initial_indent=head,
                subsequent_indent=" " * len(head),
                break_on_hyphens=False,
            )
            head = " " * len(head)
    stops = sum(one.stops for one in findings)
    notes = sum(one.mark == "note" for one in findings)
    last = "Your machine is ready."
    if stops:
        some = "one thing" if stops == 1 else f"{stops} things"
        last = f"Not ready yet: mend {some} first, then check again."
    elif notes:
        some = "One note" if notes == 1 else f"{notes} notes"
        last += f" {some} above; nothing that stops you."
    return "\n".join([*lines, "", last])


def check_machine() -> list[Finding]:
    """Look at this machine and print the report; returns the findings."""
    findings = judge(measure())
    print(report(findings))
    return findings


class ShortParser(argparse.ArgumentParser):
    """Errors in one line. That of `cli` needs tqdm, which may be missing."""

    def error(self, message: str) -> None:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """The command line: 0 if the machine is ready, 1 if it is not."""
    ShortParser(
        prog="python -m scratch_llm.machine",
        description="Is this machine ready for the course?",
    ).parse_args(argv)
    try:
        findings = check_machine()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read this has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return int(any(one.stops for one in findings))


if __name__ == "__main__":
    raise SystemExit(main())
