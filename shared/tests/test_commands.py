"""Every command that a README or a guide shows, followed by a test.

Three things are asked of each line of each shell block. Is it of a kind that
is known here? Do the files exist that it names? And does the script accept
it: options, choices and values are read by the script's own parser. Beyond
that, what the root's README, the guides and AGENTS.md show is really run, in
a folder of its own and made short.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from test_readme import READMES, blocks

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {  # programs that the course does not bring
    "curl",
    "nvidia-smi",
    "ollama",
    "ruff",
    "tensorboard",
    "wandb",
}
RUN = [
    ROOT / "README.md",
    ROOT / "ch01" / "README.md",
    ROOT / "AGENTS.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "shared" / "guides").glob("*.md")),
]
RUN.remove(ROOT / "shared" / "guides" / "measured.md")  # measure.py ran them
LESS = {  # what makes a command short, by script
    "gpt_train.py": "--steps 8 --eval-every 4 --eval-stories 8 --samples 2 "
    "--warmup 2 --max-minutes 0.2 --layers 1 --width 16 --heads 2 "
    "--vocab-size 900 --force-cpu",
    "train_gpt.py": "--steps 4 --eval-every 2 --checkpoint-every 2 "
    "--warmup 1 --eval-stories 8 --samples 2 --layers 1 --width 16 "
    "--heads 2 --vocab-size 900 --force-cpu",
    "gpt_generate.py": "--max-new-tokens 12 --force-cpu",
    "gpt.py": "",
    "report.py": "",
    "export.py": "",
    "guides.py": "",
    "measure.py": "",
    "load_pytorch_weights.py": "",
    "explore_pretrained_weights.py": "",
    "scratch_llm.storyworld": "",
}
NOT_RUN = {  # a pattern of the line, and why the test only reads it
    r"^(pip|jupyter|python3? -m venv)\b": "sets a machine up: .ci/run does it",
    r"^(python -m )?pytest\b|tests\.py\b": "runs the tests",
    r"^ruff\b": "runs in test_lint.py",
    r"cuda\.get_device": "needs a GPU",
    r"scratch_llm\.machine": "runs in test_machine.py",
    r"gpt2-small": "needs half a gigabyte from the internet",
    r"progress\.py|build_book\.py": "opens a browser; both have own tests",
    r"run_notebooks\.py": "writes into the course",
    r"export\.py$": "writes into the course",
    r"--data python\b": "reads megabytes; chapter 5 has a test of its own",
    r"gpt_train\.py$": "the same as with --out, which is run",
}


class Command(NamedTuple):
    """A line of a shell block, and the folder in which one types it."""

    page: Path
    block: int
    folder: Path
    line: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)

    def name(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}: {self.line}"[:110]


def files_named(command: Command) -> list[Path]:
    """What must be there before one can type it."""
    words, folder = command.words, command.folder
    if words[0] == "pip" and "-r" in words:
        return [folder / words[words.index("-r") + 1]]
    if words[0] in ("jupyter", "cd"):
        return [folder / word for word in words[1:] if word != "lab"]
    if words[0] == "pytest" or words[1:3] == ["-m", "pytest"]:
        rest = words[1:] if words[0] == "pytest" else words[3:]
        if "-m" in rest:
            del rest[rest.index("-m") : rest.index("-m") + 2]
        return [folder / word for word in rest if word[0] != "-"]
    if words[0] == "python" and words[1].endswith(".py"):
        return [folder / words[1]]
    return []


def commands() -> list[Command]:
    """All of them, each in the folder in which it makes sense."""
    found = []
    for page in READMES:
        for number, block in enumerate(blocks(page.read_text("utf-8"))):
            lines = [
                part
                for line in block
                for part in re.split(r"\s+&&\s+", line.strip())
            ]
            in_root = typed_in(ROOT, page, number, lines)
            beside = typed_in(page.parent, page, number, lines)
            there = [all_there(some) for some in (beside, in_root)]
            found += in_root if there[1] > there[0] else beside
    return found


def typed_in(
    folder: Path, page: Path, number: int, lines: list[str]
) -> list[Command]:
    """A block's lines, if one begins in this folder."""
    found = []
    for line in lines:
        found.append(Command(page, number, folder, line))
        if line.startswith("cd "):
            folder = folder / line[3:]
    return found


def all_there(some: list[Command]) -> bool:
    """Whether all files exist that these lines name."""
    return all(path.exists() for one in some for path in files_named(one))


COMMANDS = commands()


def script_of(command: Command) -> tuple[str, list[str]]:
    """The script or module of a command of Python's, and its arguments."""
    words = command.words
    if words[0] == "torchrun":
        n = next(i for i, word in enumerate(words) if word.endswith(".py"))
        return words[n], words[n + 1 :]
    if words[1] == "-m":
        return words[2], words[3:]
    return words[1], words[2:]


def is_script(command: Command) -> bool:
    """Whether a parser of ours can read the rest of the line."""
    words = command.words
    if words[0] not in ("python", "torchrun") or words[1] == "-c":
        return False
    name, _ = script_of(command)
    return name not in ("pytest", "venv") and not name.endswith("tests.py")


SCRIPTS: dict[Path, dict[str, list]] = defaultdict(lambda: defaultdict(list))
for one in COMMANDS:
    if is_script(one):
        name, words = script_of(one)
        place, module = ROOT, not name.endswith(".py")
        if not module:
            place = (one.folder / name).resolve().parent
        SCRIPTS[place][name if module else Path(name).name].append(words)


# ---- What every line must hold -------------------------------------------


@pytest.mark.parametrize(
    "page", READMES, ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_line_is_of_a_known_kind_and_its_files_exist(page):
    known = {"cd", "jupyter", "pip", "pytest", "python", "python3"}
    known |= {"source", "torchrun"}
    for command in COMMANDS:
        if command.page == page:
            assert command.words[0] in known | ELSEWHERE, command.line
            for path in files_named(command):
                assert path.exists(), (
                    f"{command.line}: there is no {path.name}"
                )


READ = """
import contextlib, importlib, io, runpy, sys
sys.path.insert(0, ".")
for name, lines in SCRIPTS.items():
    if name.endswith(".py"):
        main = runpy.run_path(name, run_name="read")["main"]
    else:
        main = importlib.import_module(name).main
    for words in lines:
        sys.argv, told, code = [name, *words, "--help"], io.StringIO(), None
        try:
            with contextlib.redirect_stdout(told):
                main(sys.argv[1:])
        except SystemExit as left:
            code = left.code or 0
        options = [w.split("=")[0] for w in words if w.startswith("--")]
        unknown = [w for w in options if w not in told.getvalue()]
        if code != 0 or unknown:
            print("refused:", *sys.argv, *unknown)
"""


def refused(folder: Path, scripts: dict[str, list]) -> list[str]:
    """The lines that these scripts do not take, by their own parsers."""
    done = subprocess.run(
        [sys.executable, "-c", f"SCRIPTS = {scripts}\n{READ}"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [line for line in lines if line.startswith("refused")]


@pytest.mark.parametrize(
    "folder", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_scripts_accept_what_is_shown(folder):
    """With --help behind it, every word is read and nothing is done."""
    assert refused(folder, dict(SCRIPTS[folder])) == []


def test_a_line_that_a_script_does_not_take_is_noticed():
    lines = [["--seed", "1"], ["--nope"], ["--seed", "x"], ["--config", "no"]]
    told = refused(ROOT / "ch04/01_main-chapter-code", {"gpt.py": lines})
    assert len(told) == 3 and not any("--seed 1" in line for line in told)


# ---- What is really run --------------------------------------------------


def shortened(command: Command) -> list[str]:
    """The words to run: this Python, whole paths, and little work."""
    if command.words[1] == "-c":
        return [sys.executable, *command.words[1:]]
    name, rest = script_of(command)
    less = LESS[Path(name).name].split()
    at = [] if name.endswith(".py") else ["-m"]
    script = str((command.folder / name).resolve()) if not at else name
    rest = [
        str((command.folder / word).resolve())
        if "/" in word
        and not word.startswith("runs/")
        and (command.folder / word).exists()
        else word
        for word in rest
    ]
    if "--help" in rest or "--resume" in rest:
        less = []
    return [sys.executable, *at, script, *rest, *less]


def why_not(command: Command) -> str:
    """Why a command is not run; '' if it is."""
    reasons = (
        why
        for pattern, why in NOT_RUN.items()
        if re.search(pattern, command.line)
    )
    return next(reasons, "")


def pages() -> list:
    """The pages whose commands are run; a line without a run only once."""
    found, seen = defaultdict(list), set()
    for command in COMMANDS:
        runs = command.words[0] == "python" and not why_not(command)
        if command.page in RUN and runs and command.line not in seen:
            found[command.page].append(command)
            seen |= set() if "runs/" in command.line else {command.line}
    return [pytest.param(some, id=page.name) for page, some in found.items()]


@pytest.mark.parametrize("some", pages())
def test_what_a_page_shows_can_be_run(some, tmp_path):
    (tmp_path / "runs").mkdir()
    for command in some:
        if "--help" in command.line:
            continue  # read by the script's own parser above
        done = subprocess.run(
            shortened(command),
            cwd=tmp_path,
            env=os.environ | {"TQDM_DISABLE": "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=300,
        )
        assert done.returncode == 0, f"{command.name()}\n{done.stderr[-2000:]}"


def test_every_reason_not_to_run_is_needed():
    lines = [command.line for command in COMMANDS if command.page in RUN]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in lines), pattern


def test_a_wrong_line_is_noticed(tmp_path):
    def check(line: str) -> Command:
        return Command(ROOT / "README.md", 0, ROOT, line)

    assert files_named(check("jupyter lab ch99.ipynb"))[0].name == "ch99.ipynb"
    assert files_named(check("pip install -r no.txt")) == [ROOT / "no.txt"]
    assert files_named(check('pytest -m "not slow"')) == []
    assert files_named(check("pytest ch99"))[0].name == "ch99"
    assert is_script(check("python -m scratch_llm.storyworld --show 3"))
    assert not is_script(check("python tests.py"))
    assert script_of(check("torchrun --nnodes 2 a.py --b")) == (
        "a.py",
        ["--b"],
    )
