"""Make a machine of Google Colab ready for a notebook of the course.

A notebook that is opened in Colab comes alone. Its first cell brings the
rest, ADDRESS being where you found the course:

    !git clone --depth 1 ADDRESS scratch_llm
    %run scratch_llm/shared/colab.py ch02/01_main-chapter-code

The second line installs what Colab lacks and keeps what it has, its PyTorch
for the GPU above all; then it goes to the notebook's folder. Anywhere else it
does nothing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNUSED = {"jupyterlab", "ipykernel", "nbval", "pytest"}  # Colab is no lab


def in_colab() -> bool:
    """Whether this Python runs on Colab."""
    try:
        return importlib.util.find_spec("google.colab") is not None
    except ModuleNotFoundError:
        return False


def missing(requirements: str) -> list[str]:
    """The lines of a requirements file that name no installed package."""
    found = []
    for line in requirements.splitlines():
        name = re.match(r"[\w.-]+(?===)", line)
        if name and name[0] not in UNUSED:
            try:
                metadata.version(name[0])
            except metadata.PackageNotFoundError:
                found.append(line)
    return found


def main(argv: list[str]) -> int:
    """Install, and go to the folder that is named."""
    if not in_colab():
        print("This is not Colab: nothing to do.")
        return 0
    folder = ROOT / (argv[0] if argv else ".")
    if not folder.is_dir():
        print(f"colab.py: error: there is no folder {argv[0]} in the course")
        return 2
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    if lines := missing(text):
        pip = [sys.executable, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *lines], check=True)
    shared = str(ROOT / "shared")  # an editable package needs a new kernel
    if shared not in sys.path:
        sys.path.insert(0, shared)
    paths = [shared, os.environ.get("PYTHONPATH", "")]  # for its children
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.chdir(folder)
    print(f"Ready, in {folder}")
    return 0


if __name__ == "__main__":
    if code := main(sys.argv[1:]):
        raise SystemExit(code)
