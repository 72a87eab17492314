"""The README's commands, followed as a reader would follow them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(
    p
    for p in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
)
SHELL_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def blocks(text: str) -> list[list[str]]:
    """The shell blocks of a Markdown text, each as its command lines."""
    return [
        [
            line
            for line in block.replace("\\\n", " ").splitlines()
            if line.strip() and not line.startswith("#")
        ]
        for block in SHELL_BLOCK.findall(text)
    ]


def script_commands() -> list[tuple[str, Path, list[str]]]:
    """(README, folder, words) of every `python FILE.py ...` it shows."""
    found = []
    for readme in READMES:
        for block in blocks(readme.read_text(encoding="utf-8")):
            folder = ROOT
            for line in block:
                words = shlex.split(line)
                if words[0] == "cd":
                    folder = folder / words[1]
                elif words[0] == "python" and words[1].endswith(".py"):
                    name = str(readme.relative_to(ROOT))
                    here = (readme.parent / words[1]).is_file()
                    found.append(
                        (name, readme.parent if here else folder, words[1:])
                    )
    return found


def anchor(heading: str) -> str:
    """The anchor that a code host gives to a Markdown heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def test_the_two_commands_stand_at_the_top_and_set_everything_up():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second, third = blocks(text)[:3]
    assert first[1] == "pip install -r requirements.txt && jupyter lab"
    assert second[1] == "pip install -r requirements-test.txt && pytest"
    assert first[0] == second[0]
    assert first[0].startswith("python -m venv .venv && ")
    assert third[0] == "python ch05/01_main-chapter-code/gpt_train.py"


def test_ci_runs_the_readme_s_test_command_and_every_chapter():
    command = "pip install -r requirements-test.txt && pytest"
    assert command in (ROOT / ".ci/run").read_text(encoding="utf-8")
    jobs = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    parts = re.search(r"part: \[(.+)\]", jobs)[1].split(", ")
    chapters = [path.name for path in sorted(ROOT.glob("ch[0-9][0-9]"))]
    assert parts == [*chapters, "shared"]


def test_every_pin_is_exact():
    """weekly.yml strips the pins and leaves this test out."""
    for path in [*ROOT.glob("req*.txt"), *ROOT.glob("ch*/*/req*.txt")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-")):
                assert re.match(r"[\w.-]+==[\w.]+( ; .+)?$", line), line


def test_readmes_show_commands():
    assert len(script_commands()) >= 8


@pytest.mark.parametrize(
    "readme, folder, words",
    script_commands(),
    ids=[f"{r}: {' '.join(w)}"[:90] for r, _, w in script_commands()],
)
def test_every_command_exists_and_knows_its_options(readme, folder, words):
    script = folder / words[0]
    assert script.is_file(), f"{readme} names {words[0]}, which is missing"
    if script.name == "tests.py":
        return  # pytest runs it anyway
    help_text = run_help(script)
    for word in words[1:]:
        if word.startswith("--"):
            option = word.split("=")[0]
            assert option in help_text, f"{readme}: {option} is not known"


HELP: dict[Path, str] = {}


def run_help(script: Path) -> str:
    """What `python SCRIPT --help` prints; run from the script's folder."""
    if script not in HELP:
        done = subprocess.run(
            [sys.executable, script.name, "--help"],
            cwd=script.parent,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        HELP[script] = done.stdout
    return HELP[script]


@pytest.mark.parametrize(
    "readme", READMES, ids=[str(p.relative_to(ROOT)) for p in READMES]
)
def test_every_relative_link_leads_somewhere(readme):
    for target in LINK.findall(readme.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        file = (readme.parent / path).resolve() if path else readme
        assert file.exists(), f"{readme.name}: {target} leads nowhere"
        if fragment and file.suffix == ".md":
            text = file.read_text(encoding="utf-8")
            heads = re.findall(r"^#+ (.+)$", text, re.M)
            assert fragment in map(anchor, heads), f"{readme.name}: {target}"
