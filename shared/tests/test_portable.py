"""What would work on the author's machine only: Windows, macOS, Linux.

ruff knows files opened without an encoding, shell tricks and temporary files
with a fixed place. The rest is here: names that another file system refuses,
calls that another system lacks, and what a child process says.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 180  # of a path inside the course; Windows stops at 260 in all
RULES = "PLW1514,S108,S602,S604,S605"

DEVICES = {"con", "prn", "aux", "nul"}
DEVICES |= {f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10)}
REFUSED = re.compile(r'[<>:"|?*\\\x00-\x1f]')

# What Windows lacks. macOS has them, but for those after the line.
MODULES = {"crypt", "fcntl", "grp", "pty", "pwd", "resource", "syslog"}
MODULES |= {"termios", "tty"}
CALLS = {
    "os": {"chown", "fork", "getloadavg", "getpgid", "getuid", "killpg"}
    | {"mkfifo", "nice", "setsid", "symlink", "uname"}
    # ---- not on macOS either
    | {"sched_getaffinity", "sched_setaffinity"},
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1"}
    | {"SIGUSR2", "alarm", "pause", "setitimer"},
}
SYSTEM_PATH = re.compile(r"/(?:bin|dev|etc|opt|proc|tmp|usr|var)(?:/|$)")
TEXT_METHODS = {"read_text": 0, "write_text": 1}  # where encoding may stand
RUNNERS = {"run", "Popen", "check_output", "check_call", "call"}

# Says that the place is for some systems only, and was thought of.
GUARDS = re.compile(
    r"sys\.platform|os\.name|platform\.system|hasattr\(|\.exists\(\)"
    r"|\.is_file\(\)|except \(?(?:OSError|ImportError|AttributeError)"
)


# ---- Which files ----------------------------------------------------------


def tracked() -> list[str]:
    """The files that travel to a reader, '' if git is not here."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--stage"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    return done.stdout.split("\0")[:-1] if done.returncode == 0 else []


TRACKED = tracked()
needs_git = pytest.mark.skipif(not TRACKED, reason="no git repository here")


def faults_of_names(names: list[str]) -> list[str]:
    """What another file system would refuse, one line each."""
    found, seen = [], {}
    for name in names:
        for part in PurePosixPath(name).parts:
            if part.split(".")[0].lower() in DEVICES:
                found.append(f"{name}: Windows keeps the name {part}")
            if REFUSED.search(part) or part[-1] in ". ":
                found.append(f"{name}: Windows refuses the name {part!r}")
        if len(name) > LONGEST:
            found.append(f"{name}: {len(name)} letters, at most {LONGEST}")
        folders = [str(p) for p in PurePosixPath(name).parents][:-1]
        for one in [name, *folders]:
            other = seen.setdefault(one.lower(), one)
            if other != one:
                found.append(f"{one} and {other} differ by case alone")
    return found


@needs_git
def test_every_name_can_be_stored_everywhere():
    names = [line.split("\t", 1)[1] for line in TRACKED]
    assert not (found := faults_of_names(names)), "\n".join(found)
    links = [line for line in TRACKED if line.startswith("120000")]
    assert not links, f"Windows makes no symbolic links: {links}"


@needs_git
def test_the_same_bytes_arrive_everywhere():
    """Text with LF on every system, and weights are no text."""
    names = ["ch02/x.ipynb", "x.py", "x.md", "x.tsv", "x.safetensors"]
    done = subprocess.run(
        ["git", "check-attr", "text", "eol", "--", *names],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    said = set(done.stdout.splitlines())
    for name in names[:-1]:
        assert f"{name}: eol: lf" in said, name
        assert f"{name}: text: auto" in said, name
    assert "x.safetensors: text: unset" in said


# ---- Code -----------------------------------------------------------------


def ours() -> list[Path]:
    """Python files and notebooks of the course."""
    if TRACKED:
        names = [ROOT / line.split("\t", 1)[1] for line in TRACKED]
        names = [path for path in names if path.exists()]
    else:
        names = [*ROOT.glob("ch*/**/*"), *ROOT.glob("shared/**/*")]
    return [path for path in names if path.suffix in (".py", ".ipynb")]


def sources(path: Path) -> Iterator[tuple[str, str]]:
    """(place, code) of a Python file, or of each code cell."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".py":
        yield name, text
        return
    cells = json.loads(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, start=1):
        yield f"{name}, cell {number}", "".join(cell["source"])


def faults_of_code(text: str) -> list[str]:
    """What another system lacks or does otherwise, with its line."""
    try:
        tree, shell = ast.parse(text), []
    except SyntaxError:  # magics
        lines = text.splitlines()
        plain = [re.sub(r"^(\s*)[!%].*", r"\1pass", line) for line in lines]
        shell = [
            f"{i}: {line.strip()!r} needs a shell"
            for i, line in enumerate(lines, start=1)
            if re.match(r"\s*!|%%(?:bash|sh|script)\b", line)
        ]
        try:
            tree = ast.parse("\n".join(plain))
        except SyntaxError:
            return shell
    return shell + [
        f"{node.lineno}: {fault}"
        for statement in statements(tree)
        if not GUARDS.search(ast.unparse(statement))
        for node in ast.walk(statement)
        for fault in fault_of_node(node)
    ]


def statements(tree: ast.Module | ast.ClassDef) -> Iterator[ast.stmt]:
    """What stands in a file or class: what asks for the system, asks here."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from statements(node)
        else:
            yield node


def fault_of_node(node: ast.AST) -> Iterator[str]:
    """What is wrong with one node of a syntax tree."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = getattr(node, "module", None)
        names = {module} | {alias.name for alias in node.names}
        for name in sorted(filter(None, names & MODULES)):
            yield f"Windows has no module {name}"
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        if node.attr in CALLS.get(node.value.id, ()):
            yield f"not every system has {node.value.id}.{node.attr}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if SYSTEM_PATH.match(node.value):
            yield f"{node.value!r} is a path of Linux"
    elif isinstance(node, ast.Call):
        yield from fault_of_call(node)


def fault_of_call(call: ast.Call) -> Iterator[str]:
    """Text without an encoding: Windows would take its own."""
    keys = {word.arg for word in call.keywords}
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if "encoding" in keys or None in keys:
        return
    is_method = isinstance(call.func, ast.Attribute)
    if is_method and name in TEXT_METHODS:
        if len(call.args) <= TEXT_METHODS[name]:
            yield f"{name} without an encoding"
    elif name in RUNNERS and keys & {"text", "universal_newlines"}:
        yield f"{name} with text but no encoding: what it says may break"


@pytest.mark.parametrize(
    "path", ours(), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_code_runs_everywhere(path):
    found = [
        f"{place}:{fault}"
        for place, text in sources(path)
        for fault in faults_of_code(text)
    ]
    assert not found, "\n" + "\n".join(found)


def test_ruff_finds_no_trick_of_one_system():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--preview"]
        + [f"--select={RULES}", "--output-format=concise", "."],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- Each fault is caught -------------------------------------------------


@pytest.mark.parametrize(
    "names, fault",
    [
        (["ch02/con.py"], "keeps the name con.py"),
        (["aux/x.md"], "keeps the name aux"),
        (["ch02/COM1.txt"], "keeps the name COM1.txt"),
        (["a:b.md"], "refuses the name 'a:b.md'"),
        (["what?.md"], "refuses"),
        (["folder./x"], "refuses the name 'folder.'"),
        (["a\\b"], "refuses"),
        (["x" * 181], "181 letters"),
        (["Readme.md", "README.md"], "differ by case alone"),
        (["Ch02/a", "ch02/b"], "ch02 and Ch02 differ"),
    ],
)
def test_a_name_is_refused(names, fault):
    assert any(fault in found for found in faults_of_names(names))


def test_good_names_pass():
    names = ["ch02/01_main/context.py", "ch02/console.md", "a b/.gitignore"]
    assert faults_of_names([*names, *names]) == []


@pytest.mark.parametrize(
    "code, fault",
    [
        ("p.read_text()", "read_text without"),
        ("p.write_text('x')", "write_text without"),
        ("subprocess.run(x, text=True)", "no encoding"),
        ("check_output(x, universal_newlines=True)", "no encoding"),
        ("import fcntl", "no module fcntl"),
        ("from pwd import getpwall", "no module pwd"),
        ("os.kill(1, signal.SIGKILL)", "signal.SIGKILL"),
        ("n = len(os.sched_getaffinity(0))", "os.sched_getaffinity"),
        ("open('/dev/null', 'wb')", "'/dev/null' is a path of Linux"),
        ("!ls -la", "needs a shell"),
        ("%%bash\nls", "needs a shell"),
        ("x = 1\n!ls\np.read_text()", "3: read_text"),
        ("class A:\n    def f(s):\n        os.fork()", "os.fork"),
    ],
)
def test_code_is_refused(code, fault):
    assert any(fault in found for found in faults_of_code(code))


@pytest.mark.parametrize(
    "code",
    [
        "p.read_text('utf-8')",
        "p.write_text(x, encoding='utf-8')",
        "write_text(path, text)",
        "subprocess.run(x, capture_output=True)",
        "subprocess.run(x, text=True, encoding='utf-8')",
        "try:\n    import resource\nexcept ImportError:\n    pass",
        "if sys.platform != 'win32':\n    os.nice(5)",
        "@skip(os.name == 'nt')\ndef f():\n    os.kill(1, signal.SIGKILL)",
        "if hasattr(os, 'uname'):\n    print(os.uname())",
        "x = '/binary', 'a/dev/null', '/device'",
        "%pip install x",
        "signal.signal(signal.SIGINT, f)",
    ],
)
def test_portable_code_passes(code):
    assert faults_of_code(code) == []
