"""What must hold of PyTorch in an hour: it has the words that later chapters
take for granted, and the quiz sends nobody to the wrong place."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path

import pytest
import torch
from scratch_llm import placement
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHAPTERS = [
    ROOT / f"ch{n}/01_main-chapter-code/ch{n}.ipynb"
    for n in ("02", "03", "04")
]
# What these chapters explain themselves, where they use it; and what is not
# PyTorch's: math.isclose, regex.compile, chapter 2's PairTable.add.
EXPLAINED_THERE = {
    "MultiheadAttention",  # 3.7
    "entr",  # 3.9
    "register_buffer",  # 3.13
    "scaled_dot_product_attention",  # 3.7, 3.18
    "layer_norm",  # 4.2
    "gelu",  # 4.3
    "backends",  # of a folded cell
    "mps",
    "isclose",
    "compile",
    "sub",
    "add",
    "index",
    "where",
}
NAMESPACES = {"Tensor", "functional", "init", "nn", "special", "testing"}
LESSON = HERE / "pytorch-in-an-hour.ipynb"
QUIZ = HERE / "placement-quiz.ipynb"


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text("utf-8"))["cells"]


def sources(path: Path, kind: str) -> list[str]:
    return [
        "".join(c["source"]) for c in cells(path) if c["cell_type"] == kind
    ]


def trees(path: Path) -> list[ast.AST]:
    """The syntax of a notebook's code cells, those without magics."""
    found = []
    for source in sources(path, "code"):
        with contextlib.suppress(SyntaxError):
            found.append(ast.parse(source))
    return found


def torch_names(path: Path) -> set[str]:
    """What a notebook uses of torch: functions, methods, modules."""
    names = set()
    for tree in trees(path):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            whole = ast.unparse(node)
            if re.match(r"(torch|nn|F)(\.\w+)+$", whole):
                names.add(node.attr)
            elif hasattr(Tensor, node.attr) or hasattr(nn.Module, node.attr):
                names.add(node.attr)
    return {name for name in names if not name.startswith("__")}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_what_later_chapters_use_of_torch_is_in_the_lesson(chapter):
    text = "\n".join(sources(LESSON, "markdown"))
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", text))))
    known = torch_names(LESSON) | told | EXPLAINED_THERE | NAMESPACES
    assert len(torch_names(chapter)) > 30
    assert torch_names(chapter) <= known, torch_names(chapter) - known


WORDS = """
tensors, shape, axis, vector, matrix, dtype, mask, lookup, seed, variance,
normal distribution, standard deviation, broadcasting, dot product,
matrix product, length, loss, slope, learning rate, gradient descent,
chain rule, gradient, autograd, parameters, weight, bias, prediction, target,
modules, optimizer, linear layer, device, checkpoint, buffer, language model,
tokens, vocabulary, id, input, probabilities, cross-entropy, nats, logits,
softmax, batch, epoch, validation, embedding, weight decay,
hook
"""


@pytest.mark.parametrize("word", re.findall(r"[\w -]+", WORDS.strip()))
def test_each_word_is_introduced_once_in_bold(word):
    text = " ".join("\n".join(sources(LESSON, "markdown")).split())
    bold = re.findall(r"\*\*([^*]+)\*\*", text.lower())
    assert bold.count(word.strip()) == 1


def headings() -> dict[int, str]:
    """The lesson's numbered sections."""
    text = "\n".join(sources(LESSON, "markdown"))
    found = re.findall(r"(?m)^## (\d+)\. (.+)$", text)
    return {int(number): title for number, title in found}


def test_the_table_of_words_leads_to_every_section():
    text = "\n".join(sources(LESSON, "markdown"))
    links = dict(re.findall(r"(?m)^\| \[(\d+)\]\(#(\S+)\)", text))
    assert {int(number) for number in links} == set(headings())
    for number, title in headings().items():
        anchor = f"{number}. {title}".replace(" ", "-")
        assert links[str(number)] == anchor


# ---- The quiz ------------------------------------------------------------

RIGHT = {
    1: "(5, 3)",
    2: "torch.float32",
    3: "x[:, -1]",
    4: "1, 4",
    5: "3",
    6: "[1, 3, 5]",
    7: "10 * x[:, None] + x",
    8: "(2, 5, 4)",
    9: "12",
    10: "33",
    11: '["1.weight", "1.bias"]',
    12: "log(4)",
}
WRONG = {
    1: "(2, 3)",
    2: "torch.int64",
    3: "x[-1]",
    4: "(4,)",
    5: "9",
    6: "[2, 3]",
    7: "10 * x + x",
    8: "(2, 5, 3, 4)",
    9: "6.0",
    10: "30",
    11: '["0.weight", "0.bias"]',
    12: "0.25",
}


def take(answers: dict[int, str]) -> str:
    """What the quiz prints if it is answered so; the rest stays open."""
    said, space = io.StringIO(), {}
    with contextlib.redirect_stdout(said):
        for source in sources(QUIZ, "code"):
            number = re.search(r"question\((\d+)", source)
            line = answers.get(int(number[1]) if number else 0, "...")
            exec(source.replace("mine = ...", f"mine = {line}"), space)
    return said.getvalue()


def test_right_answers_lead_to_chapter_2():
    said = take(RIGHT)
    assert said.count(": right") == len(RIGHT) == 12
    assert "12 of 12 right" in said and "chapter 2" in said


def test_wrong_answers_name_their_section():
    said = take(WRONG)
    assert said.count("not yet") == 12 and "0 of 12" in said
    assert "Question 9: not yet, sections 9 to 11 show it" in said
    assert "Start with section 1 and read on" in said


def test_no_answers_are_no_mistakes():
    said = take({})
    assert said.count(": open") == 12
    assert "start with section 1" in said


@pytest.mark.parametrize("number", RIGHT)
def test_one_wrong_answer_sends_to_its_section_alone(number):
    said = take({**RIGHT, number: WRONG[number]})
    about = placement.ABOUT[number]
    assert "11 of 12 right" in said
    assert f"Read {placement.spell('section', about)}" in said
    assert set(about) <= set(headings())


def test_every_section_has_a_question():
    take({})
    asked = {s for sections in placement.ABOUT.values() for s in sections}
    assert asked == set(headings())


def test_a_line_that_stops_is_told_in_one_line():
    said = take({**RIGHT, 7: "x.no_such_thing"})
    assert "Your line stopped with AttributeError" in said
    assert "Question 7: not yet, section 7 shows it" in said


@pytest.mark.parametrize(
    ("mine", "right", "verdict"),
    [
        ((3, 4), torch.Size([3, 4]), True),
        ([3, 4], torch.Size([3, 4]), True),
        ((3,), torch.Size([3, 4]), False),
        ("(3, 4)", torch.Size([3, 4]), False),
        (33, 33, True),
        (33.0, 33, True),
        (32.9, 33, False),
        (1.39, 1.3863, True),
        (1.4, 1.3863, False),
        (torch.tensor([1, 2]), [1, 2], True),
        (torch.tensor([1.0, 2.0]), [1, 2], True),
        ([[1], [2]], torch.tensor([[1], [2]]), True),
        (torch.long, torch.int64, True),
        (None, 3, False),
        (float("nan"), 3, False),
    ],
)
def test_answers_are_judged(mine, right, verdict):
    assert placement.same(mine, right) is verdict


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([4], "section 4"),
        ([7, 4], "sections 4 and 7"),
        ([9, 10, 11], "sections 9 to 11"),
        ([1, 2, 5, 9, 10, 11, 13], "sections 1, 2, 5, 9 to 11 and 13"),
    ],
)
def test_sections_are_spelled_as_one_says_them(numbers, said):
    assert placement.spell("section", numbers) == said
