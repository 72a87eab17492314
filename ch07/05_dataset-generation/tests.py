"""The sieve, and the script against a server that also fails.

The server runs in this process, on a free port; nothing leaves the machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import generate_data as gd
import pytest
import writer
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch_llm import chat as client
from scratch_llm.judging import read_entries
from scratch_llm.stub_chat import StubServer

HERE = Path(__file__).resolve().parent
few = settings(max_examples=60, deadline=None, derandomize=True)
ONE = {"instruction": "Name one bird.", "input": "", "output": "A gull."}
TWO = {"instruction": "Say it loudly, please.", "input": "No", "output": "NO!"}
texts = st.text(max_size=12)
exercises = st.fixed_dictionaries(dict.fromkeys(gd.FIELDS, texts))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def run(server: StubServer, out: Path, *more: str) -> int:
    url = [] if "--url" in more else ["--url", server.url]
    model = [] if "--model" in more else ["--model", "writer"]
    base = ["--out", str(out), *url, *model, "--entries", "20"]
    return gd.main([*base, "--timeout", "30", *more])


def made(out: Path) -> list[dict]:
    return json.loads(out.read_text("utf-8"))


# ---- Reading --------------------------------------------------------------


@few
@given(st.lists(exercises, max_size=4), st.booleans(), st.booleans())
def test_what_was_written_is_read(some, as_list, letters):
    text = (
        json.dumps(some, ensure_ascii=letters)
        if as_list
        else "\n".join(
            f"{i}. {json.dumps(one, ensure_ascii=letters)}"
            for i, one in enumerate(some)
        )
    )
    for reply in (text, f"Sure {{!}}:\n```json\n{text}\n```\nHere {{you are"):
        assert gd.parse_entries(reply) == some


@few
@given(st.text(alphabet='{}[]":,ab \n', max_size=40))
def test_any_chatter_is_survived(reply):
    for one in gd.parse_entries(reply):
        assert set(gd.clean(one)) == set(gd.FIELDS)


def test_half_an_exercise_and_thoughts_are_none():
    whole = json.dumps(ONE)
    assert gd.parse_entries(f"<think>{whole}</think>{whole}{whole[:-1]}") == [
        ONE
    ]
    assert gd.parse_entries("{" * 5000) == []


@pytest.mark.parametrize(
    "raw, wanted",
    [
        ({"output": 5}, {"output": "5"}),
        ({"output": " a \n"}, {"output": "a"}),
        ({"input": "None"}, {"input": ""}),
        ({"input": None, "output": True}, {"output": ""}),
        ({"output": ["a"], "more": 1}, {"output": ""}),
    ],
)
def test_fields_become_texts(raw, wanted):
    assert gd.clean(raw) == dict.fromkeys(gd.FIELDS, "") | wanted


FAULTS = [
    ({"output": ""}, "a field is missing"),
    ({"instruction": ""}, "a field is missing"),
    ({"instruction": "Go!"}, "too short"),
    ({"instruction": "again " * 61}, "too long"),
    ({"output": "word " * 121}, "too long"),
    ({"output": "..."}, "a blank"),
    ({"input": "<your text>"}, "a blank"),
    ({"output": "I'm sorry, I can't."}, "refuses"),
    ({"instruction": "Describe the picture below."}, "not there"),
    ({"instruction": "Sum up the text."}, "not there"),
    ({"instruction": "Do you agree?", "output": "Do you agree?"}, "a copy"),
]


@pytest.mark.parametrize("change, said", FAULTS)
def test_useless_exercises_are_refused(change, said):
    assert gd.fault_of(ONE) == gd.fault_of(TWO) == ""
    assert said in gd.fault_of(ONE | change)


def test_the_seed_tasks_pass_their_own_sieve():
    seeds = read_entries(gd.SEEDS, "")
    for i, one in enumerate(seeds):
        others = [gd.words_of(other) for other in seeds[:i] + seeds[i + 1 :]]
        assert (
            not gd.fault_of(one) and gd.nearest(gd.words_of(one), others) < 0.6
        )


# ---- Comparing ------------------------------------------------------------

letters = st.lists(st.sampled_from("abcd"), max_size=7)


def longest(a: list, b: list) -> int:
    """The longest common subsequence, by its definition."""
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + longest(a[:-1], b[:-1])
    return max(longest(a[:-1], b), longest(a, b[:-1]))


@few
@given(letters, letters)
def test_rouge_l_is_what_its_definition_says(a, b):
    wanted = 2 * longest(a, b) / (len(a) + len(b)) if a or b else 1
    assert gd.rouge_l(a, b) == pytest.approx(wanted)
    assert gd.rouge_l(a, b) == gd.rouge_l(b, a)


def test_near_duplicates_are_left_out_within_a_reply_too():
    near = ONE | {"instruction": "Please name one bird."}
    harvest = gd.Harvest([TWO], 0.7)
    assert harvest.take("\n".join(map(json.dumps, [ONE, near, TWO, ONE]))) == 1
    assert harvest.kept == [ONE]
    assert harvest.refused["it is too much like another"] == 3
    free = gd.Harvest([], 0.9)
    assert free.take("\n".join(map(json.dumps, [ONE, near]))) == 2


# ---- The script -----------------------------------------------------------


@pytest.mark.parametrize("api", ["ollama", "openai"])
def test_as_many_as_wanted_all_different(tmp_path, api, capsys):
    out = tmp_path / "new" / "mine.json"
    with StubServer({"writer": writer.write}) as server:
        assert run(server, out, "--api", api) == 0
    entries, first = made(out), server.asked[0]
    assert len(entries) == 20 and read_entries(out, "") == entries
    assert first.get("options", first)["temperature"] == 0.8
    known = [gd.words_of(one) for one in read_entries(gd.SEEDS, "")]
    for one in entries:
        assert list(one) == list(gd.FIELDS) and not gd.fault_of(one)
        assert gd.nearest(gd.words_of(one), known) <= 0.7
        known.append(gd.words_of(one))
    assert "20 entries" in capsys.readouterr().out


def test_the_same_command_makes_the_same_file(tmp_path):
    with StubServer({"writer": writer.write}) as server:
        for name in ("a", "b"):
            assert run(server, tmp_path / f"{name}.json") == 0
        assert made(tmp_path / "a.json") == made(tmp_path / "b.json")
        assert run(server, tmp_path / "c.json", "--seed", "5") == 0
    assert made(tmp_path / "a.json") != made(tmp_path / "c.json")


def test_nothing_is_asked_twice(tmp_path):
    out = tmp_path / "mine.json"
    with StubServer({"writer": writer.write}) as server:
        assert run(server, out) == 0
        before, first = len(server.asked), made(out)
        assert run(server, out) == 0 and len(server.asked) == before
        assert run(server, out, "--entries", "30") == 0
        assert len(server.asked) > before
        assert made(out)[:20] == first and len(made(out)) == 30
        prompts = [str(one["messages"]) for one in server.asked]
        assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("fault", ["500", "half", "drop", "silence"])
def test_stumbles_change_nothing(tmp_path, fault):
    plain, out = tmp_path / "plain.json", tmp_path / "mine.json"
    with StubServer({"writer": writer.write}) as server:
        assert run(server, plain) == 0
    faults = [None, fault]
    with StubServer({"writer": writer.write}, faults) as server:
        assert run(server, out, "--timeout", "3") == 0
    assert made(out) == made(plain)


def test_what_there_is_is_kept_when_the_server_fails(tmp_path, capsys):
    out = tmp_path / "mine.json"
    for faults, code in ((["500"] * 99, 1), (["gone"], 3)):
        out.unlink(missing_ok=True)
        server = StubServer({"writer": writer.write}, [None] * 2 + faults)
        with server:
            seed = str(code)  # other questions, another journal
            out = tmp_path / f"{code}.json"
            assert run(server, out, "--seed", seed) == code
        assert 0 < len(made(out)) < 20
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing there")
def test_ctrl_c_and_on(tmp_path):
    told, out = threading.Event(), tmp_path / "mine.json"

    def slow(messages):
        if len(server.asked) == 3:
            told.set()
            server.over.wait(30)
        return writer.write(messages)

    with StubServer({"writer": slow}) as server:
        words = ["--url", server.url, "--model", "writer", "--out", str(out)]
        with start(*words, "--entries", "20") as process:
            assert told.wait(60)
            process.send_signal(signal.SIGINT)
            said, err = process.communicate(timeout=60)
        assert process.returncode == 130 and err == "", err
        assert "goes on from here" in said and 0 < len(made(out)) < 20
        first = made(out)
        assert run(server, out) == 0
    assert made(out)[: len(first)] == first and len(made(out)) == 20


def test_no_server_one_line_and_exit_code_3(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}"
    with start("--url", url, "--out", str(tmp_path / "a.json")) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3 and out == "" and err.count("\n") == 1
    assert "ollama serve" in err and not list(tmp_path.iterdir())


def test_a_model_that_repeats_itself_is_stopped(tmp_path, capsys):
    out = tmp_path / "mine.json"
    with StubServer({"parrot": lambda _: json.dumps(ONE)}) as server:
        assert run(server, out, "--model", "parrot") == 1
        assert len(server.asked) == 1 + gd.STERILE
    with StubServer({"mute": lambda _: "I would rather not."}) as server:
        assert run(server, tmp_path / "b.json", "--model", "mute") == 1
    err = capsys.readouterr().err
    assert made(out) == [ONE] and not (tmp_path / "b.json").exists()
    assert "too much like another" in err and "holds no entry" in err


def test_other_settings_need_another_file(tmp_path, capsys):
    out = tmp_path / "mine.json"
    with StubServer({"writer": writer.write}) as server:
        assert run(server, out) == 0
        before = made(out)
        assert run(server, out, "--temperature", "0.5") == 2
    assert "temperature 0.8, not 0.5" in capsys.readouterr().err
    assert made(out) == before


@pytest.mark.parametrize(
    "more, said",
    [
        (["--entries", "0"], ">= 1"),
        (["--seeds", "missing.json"], "does not exist"),
        (["--seeds", str(HERE / "README.md")], "is no JSON"),
        (["--out", str(HERE / "seed-tasks.json")], "holds the seed tasks"),
        (["--model", "other"], "ollama pull other"),
    ],
)
def test_wrong_options_are_told_in_one_line(tmp_path, more, said, capsys):
    with StubServer({"writer": writer.write}) as server:
        try:
            code = run(server, tmp_path / "a.json", *more)
        except SystemExit as left:
            code = left.code
    err = capsys.readouterr().err
    assert code == 2 and said in err and err.count("\n") == 1


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / "generate_data.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
