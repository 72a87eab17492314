"""The page is a page, it needs nothing, and it is right to the last digit."""
#| needs ch04/01_main-chapter-code

import ast
import math
import random
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import gpt_on_one_page as page
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from later_chapters import GPTModel
from scratch_llm import storyworld
from torch.nn import functional as F

FILE = Path(page.__file__)
SOURCE = FILE.read_text(encoding="utf-8")
TOWN = storyworld.corner(3, ["borrow"])  # what the page tells is a part of it
STORIES = [page.story(random.Random(seed)) for seed in range(400)]


# ---- A page, with nothing but Python --------------------------------------


def test_it_is_one_page():
    lines = SOURCE.splitlines()
    assert len(lines) <= 250
    assert max(map(len, lines)) <= 79


def test_the_table_of_the_readme_says_where_the_parts_stand():
    table = FILE.with_name("README.md").read_text(encoding="utf-8")
    lines = SOURCE.splitlines()
    starts = [i for i, line in enumerate(lines, 1) if line[:6] == "# ----"]
    ends = [start - 1 for start in starts[1:]] + [len(lines)]
    said = re.findall(r"(?m)^\| (\d+)-(\d+) \|", table)
    assert [(int(a), int(b)) for a, b in said] == list(
        zip(starts, ends, strict=True)
    )


def test_it_imports_the_standard_library_alone():
    nodes = list(ast.walk(ast.parse(SOURCE)))
    names = {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    assert names and names <= sys.stdlib_module_names


def run(*options: str) -> subprocess.CompletedProcess:
    """The page as a script, in a Python without any installed package."""
    return subprocess.run(
        [sys.executable, "-I", "-S", FILE, *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def test_it_runs_without_any_package(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("so so so\n\nso", encoding="utf-8")
    done = run("--text", str(file), "--minutes", "0.001")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    first, told = done.stdout.split("\n", 1)
    assert re.fullmatch(r" 0.0 minutes, 1 texts, loss \d\.\d\d", first)
    assert told.count("\n") >= 10 and {*told} <= {*"so \n"}


# ---- Text and tokens -------------------------------------------------------


def test_its_stories_are_stories_of_the_course_s_town():
    verdicts = [TOWN.parse(text) for text in STORIES]
    assert all(verdict.ok for verdict in verdicts)
    facts = [verdict.facts for verdict in verdicts]
    assert {f["pronoun"] for f in facts} == {"he", "she"}
    assert {f["next_day"] for f in facts} == {"Tuesday", "Wednesday"}
    assert len(set(STORIES)) > 390


def test_how_many_stories_there_are():
    choices = []

    def first(words, n):
        choices.append(len(words))
        return words[0]

    assert page.holds(page.tell(first))
    assert math.prod(choices) == 104_976


def test_its_judge_says_what_the_course_s_judge_says():
    """Of true stories, and of those in which one word is another one."""
    words = sorted({w for text in STORIES for w in re.findall(r"\w+", text)})
    rng, wrong = random.Random(0), 0
    for text in STORIES:
        assert page.holds(text)
        where = rng.choice(list(re.finditer(r"\w+", text)))
        for word in words:
            other = text[: where.start()] + word + text[where.end() :]
            assert page.holds(other) == TOWN.parse(other).ok, other
            wrong += not page.holds(other)
    assert wrong > 20 * len(STORIES)


@given(st.sampled_from(STORIES), st.integers(0, 300), st.text(max_size=3))
def test_what_is_cut_or_added_to_is_no_story(text, place, more):
    assert page.holds(text[:place]) == (text == text[:place])
    assert page.holds(text + more) == (not more)


def test_the_most_frequent_pair_becomes_a_token():
    tokenizer = page.Tokenizer("low lower lowest low", n_merges=3)
    assert tokenizer.tokens[:1] == [""]
    assert tokenizer.tokens[-3:] == ["lo", "low", " low"]
    ids = tokenizer.encode("low lowest")
    assert [tokenizer.tokens[i] for i in ids] == ["low", " low", *"est"]


def test_merging_ends_when_each_word_is_a_token():
    tokenizer = page.Tokenizer("ten ten men", n_merges=1000)
    assert len(tokenizer.encode("ten men")) == 2
    assert len(tokenizer.tokens) < 20


@given(st.text("abc .,\n", max_size=60))
def test_text_comes_back(text):
    tokenizer = page.Tokenizer("abc .,\n a cab, abba. " * 3, n_merges=20)
    ids = tokenizer.encode(text)
    assert "".join(tokenizer.tokens[i] for i in ids) == text
    assert len(ids) <= len(text)
    assert all(0 < i < len(tokenizer.tokens) for i in ids)


# ---- Gradients and the model, beside PyTorch ------------------------------


def as_torch(gpt: page.GPT) -> GPTModel:
    """The course's GPTModel with the weights of the page, in float64."""
    model = GPTModel(
        {
            "vocab_size": gpt.V,
            "context_length": gpt.T,
            "emb_dim": gpt.C,
            "n_heads": gpt.H,
            "n_layers": gpt.L,
            "drop_rate": 0.0,
            "qkv_bias": False,
        }
    ).double()
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes.keys() == gpt.weights.keys()
    model.load_state_dict(
        {
            name: torch.tensor(w.rows, dtype=torch.float64).view(shapes[name])
            for name, w in gpt.weights.items()
        }
    )
    return model


def shaken(V: int = 11, T: int = 9, seed: int = 0, **size: int) -> page.GPT:
    """A model of the page in which no weight is zero or one any more."""
    gpt, rng = page.GPT(V, T, seed=seed, **size), random.Random(seed)
    gpt([0])
    for weight in gpt.weights.values():
        weight.rows = [
            [x + rng.gauss(0, 0.3) for x in row] for row in weight.rows
        ]
    return gpt


@pytest.mark.parametrize("T", [1, 2, 8])
@pytest.mark.parametrize("C, H, L", [(8, 2, 1), (12, 3, 2), (4, 1, 3)])
def test_loss_and_every_gradient_are_those_of_the_course(T, C, H, L):
    gpt = shaken(C=C, H=H, L=L)
    model, rng = as_torch(gpt), random.Random(1)
    ids = [rng.randrange(11) for _ in range(T + 1)]
    logits = gpt(ids[:-1])
    losses = logits.by_row(page.surprise, ids[1:])
    losses.backward()
    theirs = model(torch.tensor([ids[:-1]]))[0]
    loss = F.cross_entropy(theirs, torch.tensor(ids[1:]))
    loss.backward()
    torch.testing.assert_close(torch.tensor(logits.rows).double(), theirs)
    assert sum(map(sum, losses.rows)) / T == pytest.approx(loss.item(), 1e-9)
    for name, p in model.named_parameters():
        ours = torch.tensor(gpt.weights[name].grad, dtype=torch.float64)
        torch.testing.assert_close(
            ours.view(p.shape), p.grad, rtol=1e-9, atol=1e-9, msg=name
        )


def test_several_steps_of_adamw_are_torch_s():
    gpt, rng = shaken(C=8, H=2, L=1), random.Random(2)
    model = as_torch(gpt)
    optimizer = torch.optim.AdamW(
        model.parameters(), 0.01, betas=(0.9, 0.98), weight_decay=0.01
    )
    for step in range(1, 6):
        ids = [rng.randrange(11) for _ in range(9)]
        gpt(ids[:-1]).by_row(page.surprise, ids[1:]).backward()
        for weight in gpt.weights.values():
            page.adamw(weight, step, 0.01)
        optimizer.zero_grad()
        logits = model(torch.tensor([ids[:-1]]))[0]
        F.cross_entropy(logits, torch.tensor(ids[1:])).backward()
        optimizer.step()
    for name, p in model.named_parameters():
        ours = torch.tensor(gpt.weights[name].rows, dtype=torch.float64)
        torch.testing.assert_close(ours.view(p.shape), p.detach(), msg=name)


def test_nobody_sees_the_future():
    gpt = shaken(C=8, H=2, L=2)
    one, other = gpt([1, 2, 3, 4]).rows, gpt([1, 2, 9, 5]).rows
    assert one[:2] == other[:2]
    assert one[2] != other[2]


def test_a_gradient_waits_until_it_is_complete():
    """x is used twice, once behind the other: both paths count."""
    x = page.Matrix([[2.0, -1.0]])
    y = x + x * x
    (y @ page.Matrix([[1.0, 1.0]])).backward()
    assert x.grad == [[1 + 2 * 2.0, 1 + 2 * -1.0]]


# ---- Learning and writing ---------------------------------------------------


@pytest.fixture(scope="module")
def town():
    """A tokenizer, stories as ids, and a small model of their size."""
    tokenizer = page.Tokenizer("\n".join(STORIES))
    rows = [[0, *tokenizer.encode(text), 0] for text in STORIES]
    return tokenizer, rows, page.GPT(len(tokenizer.tokens), 96, C=16, H=2)


def test_a_short_training_lowers_the_loss(town):
    _, rows, gpt = town
    steps = page.learn(gpt, rows, random.Random(0), minutes=60)
    losses = [loss for _, _, loss in islice(steps, 40)]
    assert sum(losses[-5:]) < sum(losses[:5]) - 5 * 1.5


def test_it_learns_until_the_time_is_over():
    gpt = page.GPT(3, 4, C=4, H=1)
    steps = list(page.learn(gpt, [[0, 1, 2, 0]], random.Random(0), 0.01))
    assert [step for step, _, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1][1] >= 0.01 > steps[-2][1]
    assert steps[-1][2] < 0.1
    assert not list(page.learn(gpt, [[0, 1]], random.Random(0), -1.0))


def test_writing_ends_with_the_text_or_the_room():
    gpt = page.GPT(3, 6, C=4, H=1)
    list(page.learn(gpt, [[0, 1, 2, 0]], random.Random(0), 0.01))
    cold = {"rng": random.Random(0), "temperature": 0.01}
    assert page.write(gpt, [0], **cold) == [0, 1, 2, 0]
    assert page.write(gpt, [0, 1], **cold) == [0, 1, 2, 0]
    endless = page.GPT(3, 6, C=4, H=1)
    list(page.learn(endless, [[0, 1, 1, 1, 1, 1, 1]], random.Random(0), 0.01))
    assert page.write(endless, [0], **cold) == [0, 1, 1, 1, 1, 1]


# ---- The command line -------------------------------------------------------


@pytest.mark.parametrize(
    "content, options, said",
    [
        (None, [], "my text.txt: No such file"),
        (b"", [], "my text.txt: there is no text in it"),
        (b" \n\n ", [], "my text.txt: there is no text in it"),
        (b"\xff\xfe\x00", [], "my text.txt: 'utf-8'"),
        (b"plain words", ["--minutes", "soon"], "soon"),
        (b"plain words", ["--sed", "x"], "--sed"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path, capsys, content, options, said
):
    file = tmp_path / "my text.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        page.main(["--text", str(file), "--minutes", "0", *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_stories_are_marked_and_new_ones_are_counted(monkeypatch, capsys):
    class Kept(page.Tokenizer):
        def __init__(self, text):
            super().__init__(text)
            Kept.encodes = self.encode

    rng = random.Random(0)
    old, *others = [page.story(rng) for _ in range(2000)]  # what it learns
    new = next(text for text in STORIES if text not in [old, *others])
    told = iter([old] * 4 + [new] * 3 + ["One day, ", "", new[:-1]])
    monkeypatch.setattr(page, "Tokenizer", Kept)
    monkeypatch.setattr(page, "learn", lambda *_: ())
    monkeypatch.setattr(page, "write", lambda *_: Kept.encodes(next(told)))
    page.main([])
    *lines, count = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["*"] * 7 + [" "] * 3
    assert count == "3 of 10 are new stories of the town (*)"


def test_ctrl_c_shows_what_it_writes_by_now(monkeypatch, capsys):
    def pressed(*_):
        yield 1, 0.0, 5.0
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "learn", pressed)
    monkeypatch.setattr(page, "write", lambda gpt, ids, rng: ids)
    page.main([])
    _, stopped, *told, count = capsys.readouterr().out.splitlines()
    assert "Stopped" in stopped
    assert told == ["  "] * 10
    assert count.startswith("0 of 10")


def test_it_learns_a_text_of_your_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, "write", lambda gpt, ids, rng: ids)
    file = tmp_path / "mine.txt"
    file.write_text("Ob-la-di, ob-la-da. " * 50, encoding="utf-8")
    page.main(["--text", str(file), "--minutes", "0.01"])
    out = capsys.readouterr().out
    assert len(re.findall(r"loss \d", out)) >= 1
    assert "of the town" not in out


@pytest.mark.slow
def test_two_minutes_are_enough_for_stories_whose_facts_hold(
    monkeypatch, capsys
):
    """With a clock that does not depend on this machine: 400 texts."""
    clock = iter(range(10**6))
    monkeypatch.setattr(page.time, "perf_counter", lambda: next(clock) * 0.3)
    page.main([])
    *told, count = capsys.readouterr().out.splitlines()[-11:]
    for line in told:
        print(line)
        assert TOWN.parse(line[2:]).ok == line.startswith("* ")
    assert int(count.split()[0]) >= 2


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
