"""Other homes of the course: container, Codespaces, Binder, Colab.

None of them can be started here. But each must install what the README's
commands install, from files that exist, so that the same tests pass there.
"""

import json
import re
import subprocess
import sys
import types
from pathlib import Path

import colab
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "pip install -r requirements-test.txt"


def steps(kind: str) -> list[str]:
    """What stands behind a word of the container file, in order."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    return re.findall(rf"^{kind} (.+)$", text, re.M)


def test_the_readme_s_test_command_is_what_the_homes_run():
    assert f"{INSTALL} && pytest" in README
    build = [run for run in steps("RUN") if "pip" in run]
    assert [run.replace(" --no-cache-dir", "") for run in build] == [INSTALL]
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^#   docker run --rm \S+ pytest$", text, re.M)
    path = ROOT / ".devcontainer" / "devcontainer.json"
    assert json.loads(path.read_text("utf-8"))["postCreateCommand"] == INSTALL


def test_the_container_opens_what_the_readme_opens():
    assert json.loads(*steps("CMD"))[:2] == ["jupyter", "lab"]
    assert "jupyter lab" in README
    assert steps("USER") == ["learner"]  # JupyterLab refuses to run as root


def test_every_home_has_a_python_that_the_course_runs_on():
    (image,) = steps("FROM")
    path = ROOT / ".devcontainer" / "devcontainer.json"
    other = json.loads(path.read_text("utf-8"))["image"]
    low, high = re.search(r"Python 3\.(\d+) to 3\.(\d+)", README).groups()
    for name in (image, other):
        version = int(re.search(r"python:3\.(\d+)", name)[1])
        assert int(low) <= version <= int(high), name


def test_what_the_image_leaves_out_is_nothing_of_the_course():
    text = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8")
    for name in text.split():
        bare = name.removeprefix("**/").strip("/")
        assert bare == ".git" or f"{bare}/" in ignored.split(), name


def test_binder_installs_the_course_s_requirements():
    path = ROOT / ".binder" / "requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    (other,) = [line[3:] for line in lines if line.startswith("-r ")]
    assert (path.parent / other).resolve() == ROOT / "requirements.txt"
    # Its builder reads an option only with the sign of equality.
    assert all("=" in line for line in lines if line.startswith("--"))


# ---- Colab ----------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What pip is asked for, on a machine that says it is Colab."""
    calls: list[list[str]] = []
    google = types.ModuleType("google")
    google.__path__ = []
    module = types.ModuleType("google.colab")
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "google", google)
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        subprocess, "run", lambda words, check: calls.append(words)
    )
    return calls


def test_colab_keeps_what_it_has_and_gets_what_it_lacks(asked, monkeypatch):
    real = colab.metadata.version

    def version(name: str) -> str:
        if name in ("tiktoken", "pooch", "nbval", "numpy"):
            raise colab.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(colab.metadata, "version", version)
    shared = str(ROOT / "shared")
    sys.path[:] = [path for path in sys.path if path != shared]
    assert colab.main(["ch02/01_main-chapter-code"]) == 0
    (words,) = asked
    assert words[1:4] == ["-m", "pip", "install"]
    names = [re.split("==", word)[0] for word in words[5:]]
    assert names == ["numpy", "numpy", "tiktoken", "pooch"]
    assert Path.cwd() == ROOT / "ch02" / "01_main-chapter-code"
    assert sys.path[0] == shared
    assert colab.os.environ["PYTHONPATH"].split(colab.os.pathsep)[0] == shared


def test_colab_says_which_folder_is_missing(asked, capsys):
    assert colab.main(["ch99"]) == 2
    assert "there is no folder ch99" in capsys.readouterr().out
    assert asked == []


def test_elsewhere_it_does_nothing():
    done = subprocess.run(
        [sys.executable, str(ROOT / "shared" / "colab.py"), "ch02"],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "This is not Colab: nothing to do.\n"


def test_the_cell_for_colab_names_this_script_and_a_folder_that_exists():
    line = re.search(r"%run scratch_llm/(\S+) (\S+)", colab.__doc__)
    assert (ROOT / line[1]) == Path(colab.__file__)
    assert (ROOT / line[2]).is_dir()
