"""The READMEs: the first lines, the pins, and where links lead.

What their commands do is in test_commands.py.
"""

import functools
import re
from pathlib import Path

import guides
import pytest

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(
    p
    for p in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in p.relative_to(ROOT).parts)
)
SHELL_BLOCK = re.compile(r"^```(?:sh|bash)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
DEFINED = re.compile(r"^\[[^\]]+\]: (\S+)$", re.M)


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
    places = ("", "ch*/*/", "shared/*/", ".binder/")
    for path in [p for at in places for p in ROOT.glob(f"{at}req*.txt")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith(("#", "-")):
                assert re.match(r"[\w.-]+==[\w.]+( ; .+)?$", line), line


@pytest.mark.parametrize(
    "readme", READMES, ids=[str(p.relative_to(ROOT)) for p in READMES]
)
def test_every_relative_link_leads_somewhere(readme):
    text = guides.FENCED.sub("", readme.read_text(encoding="utf-8"))
    for target in LINK.findall(text) + DEFINED.findall(text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, fragment = target.partition("#")
        file = (readme.parent / path).resolve() if path else readme
        assert file.exists(), f"{readme.name}: {target} leads nowhere"
        if fragment and file.suffix in (".md", ".ipynb"):
            assert fragment in anchors(file), f"{readme.name}: {target}"


@functools.cache
def anchors(file: Path) -> set[str]:
    return guides.anchors(file)
