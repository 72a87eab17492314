"""The check of chapter 1: each advice is provoked, each measure is tried."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from scratch_llm import machine
from scratch_llm.machine import Machine, judge, report

GOOD = Machine(
    python=(3, 12, 3),
    system="Linux",
    wanted={"torch": "2.13.0", "tqdm": "4.70.1"},
    installed={"torch": "2.13.0", "tqdm": "4.70.1"},
    memory=16.0,
    free_memory=9.0,
    cores=8,
    threads=4,
    speed=150.0,
    weights={"storyteller.safetensors": ""},
    vocabulary=True,
    disk=100.0,
)
SLOW_GPU = {"device": "cuda", "device_name": "Old", "device_memory": 1.0}
BROKEN = {"torch_fault": "[WinError 126] c10.dll", "speed": None}

WANTING = [  # what is changed, whose line, words of the advice, stops
    ({"bits": 32}, "Python", "64 bits", True),
    ({"python": (3, 9, 1)}, "Python", "too old", True),
    ({"python": (3, 14, 0)}, "Python", "tested with", False),
    ({"wanted": {}}, "packages", "pip install -e .", True),
    ({"installed": {"torch": "2.13.0"}}, "packages", "kernel", True),
    (
        {"installed": {"torch": "2.9.0", "tqdm": "4.70.1"}},
        "packages",
        "requirements.txt",
        False,
    ),
    ({"elsewhere": True}, "scratch_llm", "restart the kernel", True),
    (BROKEN, "PyTorch", "--force-reinstall torch==2.13.0", True),
    (BROKEN | {"system": "Windows"}, "PyTorch", "Visual C++", True),
    (
        {"asked_device": "cuda", "device": "cuda", "speed": None},
        "device",
        "SCRATCH_LLM_DEVICE=cuda",
        True,
    ),
    (SLOW_GPU, "device", "SCRATCH_LLM_DEVICE=cpu", False),
    ({"nvidia": True}, "device", "does not need it", False),
    ({"memory": 2.5, "free_memory": 2.2}, "memory", "one notebook", False),
    ({"free_memory": 0.5}, "memory", "Close other programs", False),
    (
        {"threads": 1, "threads_set": "OMP_NUM_THREADS=1"},
        "threads",
        "OMP_NUM_THREADS=1",
        False,
    ),
    ({"cores": 1, "threads": 1}, "threads", "twice", False),
    ({"speed": 3.0}, "speed", "Plug the laptop in", False),
    (
        {"weights": {"storyteller.safetensors": "is missing"}},
        "weights",
        "git checkout",
        True,
    ),
    ({"writable": False}, "disk", "folder of your own", True),
    ({"disk": 0.4}, "disk", "Make some room", False),
]


def ask(**changes: object) -> dict:
    """The findings about a good machine with changes, by name."""
    return {one.name: one for one in judge(replace(GOOD, **changes))}


def test_a_good_machine_gets_no_advice():
    findings = judge(GOOD)
    assert [one.mark for one in findings] == ["ok"] * len(machine.JUDGES)
    assert report(findings).endswith("\nYour machine is ready.")


@pytest.mark.parametrize("changes, name, words, stops", WANTING)
def test_each_advice_is_given_where_it_belongs(changes, name, words, stops):
    found = ask(**changes)
    assert words in found[name].advice and found[name].stops == stops
    others = [one.mark for one in found.values() if one.name != name]
    assert set(others) == {"ok"}
    said = report([*found.values()])
    assert ("Not ready" in said) == stops and "ne" in said.splitlines()[-1]
    assert max(map(len, said.splitlines())) <= 79


def test_every_advice_of_the_file_is_provoked_above():
    tree = ast.parse(inspect.getsource(machine))
    calls = [part for part in ast.walk(tree) if isinstance(part, ast.Call)]
    made = [c for c in calls if getattr(c.func, "id", "") == "Finding"]
    advising = {call.lineno for call in made if len(call.args) > 2}
    provoked = {ask(**how)[name].advice for how, name, *_ in WANTING}
    assert len(provoked) == len(WANTING) == len(advising) + 1  # two systems


def test_what_is_no_fault():
    assert ask(vocabulary=False)["GPT-2's tokens"].mark == "ok"
    assert ask(memory=None)["memory"].mark == "ok"
    assert ask(nvidia=True, asked_device="cpu")["device"].mark == "ok"
    assert ask(threads=1)["threads"].mark == "ok"  # nobody set them
    gpu = SLOW_GPU | {"device_memory": 16.0, "device_name": "Card"}
    assert ask(**gpu)["device"].found == "cuda Card, 16.0 GB"


def test_without_torch_nothing_is_said_of_its_device():
    names = ask(installed={"tqdm": "4.70.1"}, speed=None).keys()
    assert not {"PyTorch", "device", "threads", "speed"} & names


# ---- Measures ------------------------------------------------------------


def test_every_line_of_the_requirements_is_read():
    path = machine.ROOT / "requirements.txt"
    lines = path.read_text(encoding="utf-8").splitlines()
    names = {re.match(r"[\w-]*", line)[0] for line in lines if line[0] != "#"}
    for minor in (10, 11, 13):
        assert machine.pins(path, minor).keys() == names - {"-e"}
    assert machine.pins(path / "none") == {}


def test_what_a_requirements_file_says(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# numpy==1.0\n-e .\n-r other.txt\ntorch==2.13.0\ntqdm\n"
        'numpy==2.2.6 ; python_version < "3.11"\n'
        'numpy==2.4.6 ; python_version >= "3.11"\n',
        encoding="utf-8",
    )
    old = {"torch": "2.13.0", "tqdm": "", "numpy": "2.2.6"}
    assert machine.pins(path, 10) == old
    assert machine.pins(path, 11) == old | {"numpy": "2.4.6"}
    any_will_do = {"torch": "", "tqdm": ""}
    assert ask(wanted=any_will_do)["packages"].mark == "ok"


def test_versions_without_what_is_missing():
    found = machine.versions(["pytest", "no-such-package"])
    assert found == {"pytest": pytest.__version__}


def test_weights_that_are_cut_off_are_noticed(tmp_path):
    folder = machine.ROOT / "shared/checkpoints"
    path = tmp_path / "a"
    for name in machine.WEIGHTS:
        assert machine.fault_of_weights(folder / name) == ""
        whole = (folder / name).read_bytes()
        for data in (whole[:-1], whole[:500], whole[:4], b"<html>" * 99):
            path.write_bytes(data)
            assert machine.fault_of_weights(path) == "is not whole"
    assert machine.fault_of_weights(tmp_path / "b") == "is missing"


def test_a_vocabulary_that_is_cut_off_is_noticed(tmp_path):
    shipped = machine.ROOT / "shared/checkpoints/storyteller.tiktoken"
    assert machine.fault_of_vocabulary(shipped) == ""
    path = tmp_path / "a"
    for data in (b"", b"<html>\n", shipped.read_bytes()[:2000]):
        path.write_bytes(data)
        assert machine.fault_of_vocabulary(path) == "is not whole"
    assert machine.fault_of_vocabulary(tmp_path / "b") == "is missing"


def test_another_copy_of_the_course_is_noticed(tmp_path):
    here = tmp_path / "ch01/01_main-chapter-code"
    here.mkdir(parents=True)
    assert not machine.other_copy(here)
    assert not machine.other_copy(machine.ROOT / "ch03")
    copy = tmp_path / "shared/scratch_llm/machine.py"
    copy.parent.mkdir(parents=True)
    copy.touch()
    assert machine.other_copy(here)


def test_a_torch_that_does_not_start_is_told_in_a_line(monkeypatch):
    def broken(name: str) -> None:
        raise OSError(f"[WinError 126]\n  {name} lacks a library")

    monkeypatch.setattr(importlib, "import_module", broken)
    found = machine.look_at_torch("")
    assert found == {"torch_fault": "[WinError 126] torch lacks a library"}
    assert machine.memory() == (None, None)  # psutil does not start either


def test_a_device_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("SCRATCH_LLM_DEVICE", "warp")
    findings = {one.name: one for one in judge(machine.measure())}
    assert "SCRATCH_LLM_DEVICE=warp" in findings["device"].advice


def test_this_machine(monkeypatch, capsys):
    monkeypatch.setenv("SCRATCH_LLM_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    m = machine.measure()
    assert m.python == sys.version_info[:3] and m.installed["torch"]
    assert m.speed > 0 and m.threads >= 1 and m.disk > 0
    assert 0 < m.free_memory <= m.memory
    assert m.threads_set == "OMP_NUM_THREADS=1"
    assert set(m.weights.values()) == {""} and not m.elsewhere
    machine.check_machine()
    said = capsys.readouterr().out
    assert "scratch_llm" in said and "ready" in said.splitlines()[-1].lower()


# ---- The command ---------------------------------------------------------


def command(*words: str, python: tuple = ()) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *python, "-m", "scratch_llm.machine", *words],
        env={**os.environ, "PYTHONPATH": str(machine.ROOT / "shared")},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_where_nothing_is_installed_it_says_so():
    done = command(python=("-S",))
    assert done.returncode == 1 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert any("MEND  packages" in line for line in lines)
    assert "torch" in done.stdout and machine.INSTALL in " ".join(
        done.stdout.split()
    )
    assert (
        lines[-1] == "Not ready yet: mend one thing first, then check again."
    )


def test_a_wrong_word_is_told_in_one_line():
    done = command("--gpu")
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "--gpu" in line


def test_help():
    done = command("--help")
    assert done.returncode == 0 and "ready" in done.stdout


def test_no_advice_names_a_file_that_is_not_there():
    for how, name, *_ in WANTING:
        for file in re.findall(r"[\w/]+\.(?:md|txt)", ask(**how)[name].advice):
            assert (machine.ROOT / file).is_file()
