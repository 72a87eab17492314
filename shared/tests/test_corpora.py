"""The English of every Python is whole, clean and told only once."""

import random
import subprocess
import sys
import sysconfig

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scratch_llm.corpora import (
    comments,
    compressed_bits_per_byte,
    english_in,
    python_english,
    settings_for,
)


@pytest.fixture(scope="module")
def english():
    return python_english()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A small standard library of our own, with one help topic."""
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    topics = {"word": "A topic of help().\n\n   Some more.\n"}
    module = type(sys)("pydoc_data.topics")
    module.topics = topics
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
    return tmp_path


def test_it_is_megabytes_of_english(english):
    assert len(english) > 1_500_000
    words = english.lower().split()
    common = sum(words.count(word) for word in ("the", "a", "is", "of", "to"))
    assert common > 0.1 * len(words)
    assert not {"\0", "\r"} & set(english)


def test_no_paragraph_comes_twice_and_none_is_empty(english):
    paragraphs = [part.strip() for part in english.split("\n\n")]
    assert all(paragraphs)
    assert len(set(paragraphs)) == len(paragraphs)


def test_the_last_tenth_is_about_everything(english):
    """Held-out words are mostly known: it is no subject of its own."""
    cut = len(english) - len(english) // 10
    known, held_out = set(english[:cut].split()), english[cut:].split()
    assert sum(word in known for word in held_out) > 0.8 * len(held_out)


def test_another_process_reads_the_same(english):
    code = (
        "import sys, scratch_llm.corpora as c;"
        "sys.stdout.buffer.write(c.python_english().encode())"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True
    )
    assert again.stdout == english.encode()


def test_docstrings_and_comments_in_the_order_of_the_source(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        '"""First."""\n\n# A comment of\n#   two lines.\nclass A:\n'
        '    """Second."""\n    x = 1  # Beside code.\n'
        "    # y = 2\n    async def f(self):\n"
        '        """Third,\n\n           indented."""\n',
        encoding="utf-8",
    )
    assert english_in(path) == (
        "First.\n\nA comment of\n  two lines.\n\nSecond.\n\nThird,\n\n"
        "indented."
    )


def test_tests_broken_files_and_repetitions_are_left_out(library):
    (library / "test").mkdir()
    (library / "test" / "deep.py").write_text(
        '"""Tests."""\n', encoding="utf-8"
    )
    (library / "broken.py").write_text(
        '"""Broken."""\ndef (:\n', encoding="utf-8"
    )
    (library / "bytes.py").write_bytes(b'"""\xff not UTF-8."""\n')
    (library / "twice.py").write_text(
        '"""A topic of help()."""\n', encoding="utf-8"
    )
    assert python_english() == "A topic of help().\n\n   Some more.\n"


def test_without_help_topics_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ValueError, match="pydoc_data"):
        python_english()


@given(st.text('#A .\n\\"\r\t', max_size=30))
def test_any_text_is_searched_for_comments(text):
    for line, found in comments(text):
        assert 1 <= line <= text.count("\n") + 1
        assert found == found.strip() != ""


def test_noise_costs_eight_bits_and_a_repetition_next_to_none():
    noise = random.Random(1).randbytes(100_000)
    new = compressed_bits_per_byte(noise, random.Random(2).randbytes(50_000))
    assert all(8.0 <= bits < 8.1 for bits in new.values())
    again = compressed_bits_per_byte(noise, noise[:50_000])
    assert again["xz"] < 0.1  # it looks back all the way
    assert again["gzip"] >= 8.0  # and gzip only 32 KiB
    with pytest.raises(ValueError, match="held_out"):
        compressed_bits_per_byte(noise, b"")


def test_shorter_texts_are_guarded_more():
    short, long = settings_for(20_000), settings_for(10**8)
    assert short["dropout"] > long["dropout"]
    assert short.keys() == long.keys()
