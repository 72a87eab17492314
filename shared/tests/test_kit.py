"""What lessons use and do not teach keeps its promises."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.pyplot import close, subplots
from scratch_llm.cli import TRAINING, ShortParser
from scratch_llm.exercises import EXERCISES, exercise, exercise_report
from scratch_llm.files import atomic, read_text, write_text
from scratch_llm.pictures import draw_attention
from scratch_llm.runs import columns, hardware, new_folder
from scratch_llm.style import COLOURS, MAP_BOXES, draw_map
from scratch_llm.text import text_pieces, text_table, until

few = settings(max_examples=50, deadline=None, derandomize=True)


def answer():
    return {}["x"]


def test_exercise_reports_and_never_raises(capsys):
    """Neither an answer's own exception nor the check's is a verdict."""
    EXERCISES.clear()
    with exercise("1"):
        raise NotImplementedError
    with exercise("2"):
        raise AssertionError("too long")
    with exercise("3"):
        answer()
    with exercise("4"):
        "".join(None)
    with exercise("5"):
        pass
    exercise_report()
    one, two, three, four, *rest = capsys.readouterr().out.splitlines()
    assert one == "Exercise 1: open"
    assert two == "Exercise 2: not yet - too long"
    assert "not yet - your code stopped with KeyError: 'x' (line" in three
    assert "in answer" in three
    assert "not yet - the check stopped with TypeError" in four
    assert rest == [
        "Exercise 5: solved",
        "○○○○●  1 of 5 solved",
        "next: Exercise 1",
    ]


@pytest.mark.parametrize(
    ("today", "n"),
    [("data", 3), ("attention", 1), ("gpt", 5), ("pretraining", 1),
     ("classification", 1), ("instructions", 1)],
)  # fmt: skip
def test_the_map_colours_today(today, n):
    figure = draw_map(today)
    blue = COLOURS["train"]
    boxes = figure.axes[0].patches
    assert sum(b.get_facecolor() == to_rgba(blue) for b in boxes) == n
    close(figure)


def test_the_map_of_the_course_names_a_folder_for_each_box():
    figure = draw_map("course")
    said = [text.get_text() for text in figure.axes[0].texts]
    named = [text for text in said if text.startswith("ch0")]
    assert sorted(set(named)) == [f"ch0{n}" for n in range(2, 8)]
    assert len(named) == sum(bool(box[0]) for box in MAP_BOXES)
    close(figure)


def test_the_map_knows_its_parts():
    with pytest.raises(ValueError, match="yesterday"):
        draw_map("yesterday")


# ---- Files and run folders -----------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_text_is_the_same_bytes_everywhere(tmp_path):
    write_text(tmp_path / "f", "a\nß\n")
    assert (tmp_path / "f").read_bytes() == "a\nß\n".encode()
    (tmp_path / "plain").touch()
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(
    "data, why",
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (b"\xff\xfe\x80", "not UTF-8"),
        (b"text\0text", "binary"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, data, why):
    path = tmp_path / "data.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ValueError, match=why):
        read_text(path)
    with pytest.raises(ValueError, match="not a folder"):
        read_text(tmp_path)


def test_two_runs_never_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").touch()
    mkdir = Path.mkdir

    def both(self, *args, **more):  # another process is quicker, once
        if self.name == "mine-001" and not self.exists():
            mkdir(self, parents=True)
        mkdir(self, *args, **more)

    monkeypatch.setattr(Path, "mkdir", both)
    assert new_folder(None, "mine") == Path("runs", "mine-002")
    assert new_folder(None, "mine") == Path("runs", "mine-003")
    with pytest.raises(ValueError, match="name another folder with --out"):
        new_folder("mine.txt/run", "mine")


@few
@given(n=st.integers(0, 60), at=st.integers(0, 60))
def test_a_long_history_is_thinned_out(n, at):
    history = [
        {"step": i, "validation": 0.5 if i == at else None}
        for i in range(1, n + 1)
    ]
    kept = columns(history, most=10).get("step", [])
    assert len(kept) <= 13 and kept[-1:] == [n] * bool(n)
    assert at in kept or not 1 <= at <= n


def test_the_hardware_has_a_name():
    assert "logical cores" in hardware(torch.device("cpu"))


# ---- Text ----------------------------------------------------------------


@few
@given(text=st.text(max_size=30))
def test_no_piece_is_half_a_character(text):
    data = text.encode("utf-8", "replace")
    pieces = list(text_pieces(data, lambda i: bytes([i])))
    assert "".join(pieces) == data.decode("utf-8")


def test_what_is_no_character_is_shown_as_such():
    pieces = list(text_pieces([0xC3, 0x61, 0xC3], lambda i: bytes([i])))
    assert "".join(pieces) == "\ufffda\ufffd"


@few
@given(
    text=st.text("abc", max_size=20),
    stop=st.text("abc", max_size=3),
    cuts=st.lists(st.integers(0, 20), max_size=6),
)
def test_writing_ends_before_the_stop(text, stop, cuts):
    edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    pieces = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    goal = text.split(stop)[0] if stop else text
    assert "".join(until(pieces, stop)) == goal


def test_a_table_lines_up():
    assert text_table([("a", 1), ("long", 22)]) == "a      1\nlong  22"


# ---- Command lines -------------------------------------------------------


@pytest.mark.parametrize(
    "word, said",
    [
        ("--lr=x", "must be a number >= 0, got x"),
        ("--heads=0", "must be a whole number >= 1, got 0"),
        ("--dropout=1", "and <= 0.99, got 1"),
        ("--rate=1", "--rate is now called --lr"),
        ("--start-from=x", "--start-from is now called --init-from"),
    ],
)
def test_a_mistake_is_one_line(capsys, word, said):
    parser = ShortParser(prog="p.py")
    parser.add_numbers(TRAINING)
    parser.add_argument("--init-from")
    with pytest.raises(SystemExit) as end:
        parser.parse_args([word])
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1


def test_drawn_map_greys_exactly_the_zeros():
    weights = torch.tensor([[1.0, 0, 0], [0.3, 0.7, 0], [0.2, 0.3, 0.5]])
    _, ax = subplots()
    draw_attention(ax, weights, ["a", "b", "c"], "title")
    shown = ax.images[0].get_array()
    assert shown.mask.tolist() == (weights == 0).tolist()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b", "c"]
    close("all")
