"""What must hold of the IMDB scripts, on a small archive in the real format.

The archive comes from a server in this process, as the real one would.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from previous_chapters import classify, from_pretrained
from scratch_llm import download
from scratch_llm.notes import notes

HERE = Path(__file__).resolve().parent
SIZES = {"train": 120, "test": 40}
NAMES = ("negative", "positive")
ODD = {  # reviews as they are found: tabs, quotes, entities, broken bytes
    "train/pos/900_8.txt": b'"Splendid" &amp; odd:\ta tab.\r\n\r\nA line.',
    "train/pos/901_8.txt": "Café, naïve, 映画".encode(),
    "train/neg/902_1.txt": b"Two bytes of Windows: caf\xe9 \x96 awful.",
    "train/neg/903_1.txt": b'"All of it is in quotes, and sad."',
    "train/neg/904_1.txt": b"# not a comment, but a sad review",
    "train/unsup/905_0.txt": b"Unsupervised.",
}


def write_archive(path: Path, odd: dict = ODD) -> Path:
    """A tar as Stanford packs it: folders, lists, features, reviews."""
    files = {"README": b"Large", "imdb.vocab": b"the\nand\n"}
    files["train/labeledBow.feat"] = b"9 0:1\n"
    files["train/urls_pos.txt"] = b"web addresses\n"
    for part, n in SIZES.items():
        for i, note in enumerate(notes(n, part)):
            folder, stars = [("neg", 3), ("pos", 10)][note.label]
            text = note.text.replace(". ", ".<br /><br />", 1)
            files[f"{part}/{folder}/{i}_{stars}.txt"] = text.encode()
    with tarfile.open(path, "w:gz") as tar:
        for folder in ("", "train", "train/pos"):
            info = tarfile.TarInfo(f"aclImdb/{folder}")
            info.type = tarfile.DIRTYPE
            tar.addfile(info)
        for name, data in {**files, **odd}.items():
            info = tarfile.TarInfo(f"aclImdb/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return write_archive(tmp_path_factory.mktemp("a") / "aclImdb_v1.tar.gz")


@pytest.fixture(scope="module")
def folder(archive, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # latin-1, see below
        imdb.prepare(archive, folder)
    return folder


# ---- Prepare -------------------------------------------------------------


def test_the_published_test_stays_and_the_rest_is_split_by_seed(
    archive, tmp_path
):
    with pytest.warns(UserWarning, match="1 texts are not UTF-8"):
        data, names = imdb.prepare(archive, tmp_path)
    assert names == NAMES
    assert sorted(
        zip(data["test"].texts, data["test"].labels, strict=True)
    ) == sorted((note.text, note.label) for note in notes(40, "test"))
    sizes = {name: len(part) for name, part in data.items()}
    assert sizes == {"train": 113, "validation": 12, "test": 40}
    learned = data["train"].texts + data["validation"].texts
    assert len(set(learned)) == 125
    assert {note.text for note in notes(120)} < set(learned)
    with pytest.warns(UserWarning):
        again, _ = imdb.prepare(archive, tmp_path)
        other, _ = imdb.prepare(archive, tmp_path, seed=1)
    assert data == again
    assert other["validation"] != data["validation"]
    assert sorted(other["test"].texts) == sorted(data["test"].texts)


def test_tables_are_read_as_they_were_written(folder):
    data, names = imdb.load_data(folder)
    texts = {
        text: names[label]
        for part in data.values()
        for text, label in zip(part.texts, part.labels, strict=True)
    }
    for text, label in {
        '"Splendid" &amp; odd: a tab. A line.': "positive",
        "Café, naïve, 映画": "positive",
        "Two bytes of Windows: caf\xe9 \x96 awful.": "negative",
        "# not a comment, but a sad review": "negative",
    }.items():
        assert texts[text] == label
    assert not any("<br" in text or "Unsup" in text for text in texts)
    assert sum("All of it is in quotes" in text for text in texts) == 1
    assert len(texts) == sum(map(len, data.values())) == 165


def test_nothing_is_unpacked(archive, tmp_path, monkeypatch):
    for name in ("extract", "extractall"):
        monkeypatch.setattr(tarfile.TarFile, name, None)
    with pytest.warns(UserWarning):
        imdb.prepare(archive, tmp_path / "new" / "tables")
    found = sorted(p.name for p in tmp_path.rglob("*") if p.is_file())
    assert found == ["test.tsv", "train.tsv", "validation.tsv"]


def test_a_twin_of_a_training_text_is_counted(folder):
    data, names = imdb.load_data(folder)
    assert imdb.overview(data, names).split()[-1] == "0"
    data["test"].texts[0] = data["train"].texts[0].upper() + "!"
    assert imdb.overview(data, names).split()[-1] == "1"


def test_prepare_fetches_from_a_server(archive, tmp_path, monkeypatch, capsys):
    site = tmp_path / "site"
    there = site / "~amaas" / "data" / "sentiment"
    there.mkdir(parents=True)
    (there / archive.name).write_bytes(archive.read_bytes())

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(site))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("SCRATCH_LLM_MIRROR", url)
    command = ["prepare", "--download", "--to", str(tmp_path / "data")]
    command += ["--data", str(tmp_path / "tables")]
    assert imdb.main(command) == 1  # these are not the published bytes
    assert "aclImdb_v1.tar.gz" in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()
    monkeypatch.delitem(download.SHA256, archive.name)
    with pytest.warns(UserWarning, match="latin-1"):
        assert imdb.main(command) == 0
    server.shutdown()
    server.server_close()
    assert len(imdb.load_data(tmp_path / "tables")[0]["test"]) == 40
    assert "113" in capsys.readouterr().out


# ---- Counting and reading ------------------------------------------------


def test_the_counter_is_chosen_on_the_validation_set(folder):
    data, _ = imdb.load_data(folder)
    clear = ["a splendid film"] * 3 + ["an awful film"] * 3
    data = {name: imdb.Part(clear, [1, 1, 1, 0, 0, 0]) for name in imdb.PARTS}
    model, scores = imdb.count_words(data)
    assert list(scores) == [0.3, 1, 3, 10] and max(scores.values()) == 1
    assert list(model.predict(["splendid", "so awful"])) == [1, 0]
    low, high = imdb.heaviest(model, 4)
    assert "splendid" in high and "awful" in low
    flipped = imdb.Part(clear, [0, 0, 0, 1, 1, 1])
    _, scores = imdb.count_words({**data, "validation": flipped})
    assert max(scores.values()) == 0  # it has not looked at train or test


@pytest.fixture(scope="module")
def tokenizer():
    return from_pretrained("storyteller", "cpu")[1]


WORDS = st.lists(
    st.sampled_from("glad Nora xylophone, a — 映画 1,234 'tis".split()),
    min_size=1,
    max_size=60,
)


@given(WORDS, st.integers(12, 80), st.sampled_from(imdb.KEEP))
def test_what_is_kept_fits_and_is_as_much_as_fits(tokenizer, words, n, keep):
    def size(text: str) -> int:
        return len(tokenizer.encode_ordinary(f" {text}"))

    whole = " ".join(words)
    short = imdb.shorten(f"\n {whole}\t", tokenizer, n, keep)
    if size(whole) <= n:
        assert short == whole
        return
    assert size(short) <= n
    longest = max(map(size, words))
    if keep == "start":
        assert whole.startswith(f"{short} ")
        assert size(short) > n - longest
    elif keep == "end":
        assert whole.endswith(f" {short}")
        assert size(short) > n - longest
    else:
        head, _, tail = f" {short} ".partition(" ... ")
        assert f" {whole} ".startswith(head)
        assert f" {whole} ".endswith(f" {tail}" if tail else "")
        assert size(short) > n - 2 * longest


def test_another_way_to_cut_is_refused(tokenizer):
    with pytest.raises(ValueError, match="keep='middle'"):
        imdb.shorten("a text", tokenizer, 5, "middle")


def test_a_run_can_be_opened_and_says_what_it_reached(
    folder, tmp_path, capsys
):
    command = "train --epochs 1 --items 64 --context-length 16 --keep both "
    command += "--layers lora --rank 2 --lr 0.001 --seed 5"
    run = tmp_path / "run"
    arguments = [*command.split(), "--data", str(folder), "--out", str(run)]
    assert imdb.main(arguments) == 0
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    assert metrics["texts"] == {"train": 64, "validation": 12, "test": 40}
    assert metrics["names"] == list(NAMES)
    assert metrics["trained_parameters"] < 20_000
    model, tokenizer = from_pretrained(run, "cpu")
    data, _ = imdb.load_data(folder)
    kept = [imdb.shorten(text, tokenizer, 15, "both")
            for text in data["test"].texts]  # fmt: skip
    said = [classify(model, tokenizer, text) for text in kept]
    right = [
        max(probs, key=probs.get) == NAMES[label]
        for probs, label in zip(said, data["test"].labels, strict=True)
    ]
    assert sum(right) / 40 == pytest.approx(metrics["test_accuracy"])
    assert f"all in {run}" in capsys.readouterr().out


# ---- What can be wrong ---------------------------------------------------


def refuse(capsys, *command: str) -> str:
    """The one line that the script says when it leaves with 2."""
    assert imdb.main(list(command)) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and not said.out
    return said.err


def test_bad_input_is_told_in_a_line(archive, folder, tmp_path, capsys):
    none = str(tmp_path / "none")
    text = tmp_path / "half.tar.gz"
    text.write_bytes(archive.read_bytes()[:3000])
    for command, said in {
        ("prepare", "--archive", none): "none does not exist",
        ("prepare", "--to", none): "--download",
        ("prepare", "--archive", str(text), "--data", none): "half.tar.gz",
        ("baseline", "--data", none): "run python imdb.py prepare first",
        ("train", "--data", none): "run python imdb.py prepare first",
        ("train", "--data", str(folder), "--context-length", "999",
         "--out", none): "--context-length 999",
        ("train", "--data", str(folder), "--model", "nobody",
         "--out", none + "2"): "no model nobody",
    }.items():  # fmt: skip
        assert said in refuse(capsys, *command)


def test_an_archive_of_one_class_is_refused(tmp_path, capsys):
    path = tmp_path / "one.tar"
    with tarfile.open(path, "w") as tar:
        for i in range(4):
            info = tarfile.TarInfo(f"aclImdb/train/pos/{i}_9.txt")
            info.size = 4
            tar.addfile(info, io.BytesIO(b"glad"))
    said = refuse(capsys, "prepare", "--archive", str(path))
    assert "two classes" in said


def test_tables_that_lack_a_class_are_refused(folder, tmp_path, capsys):
    for name in imdb.PARTS:
        text = (folder / f"{name}.tsv").read_text("utf-8")
        if name == "test":
            text = text.replace("positive\t", "fine\t")
        (tmp_path / f"{name}.tsv").write_text(text, "utf-8")
    said = refuse(capsys, "baseline", "--data", str(tmp_path))
    assert "other classes" in said and "fine" in said


def test_the_script_runs_as_a_reader_would_run_it(archive, tmp_path):
    def call(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(HERE / "imdb.py"), *command],
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
        )

    done = call("prepare", "--archive", str(archive))
    assert done.returncode == 0, done.stderr
    assert "written: train.tsv" in done.stdout
    done = call("baseline")
    assert done.returncode == 0 and "test: " in done.stdout, done.stderr
    assert (tmp_path / "data" / "imdb" / "baseline.json").is_file()
    done = call("train", "--epochs", "0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
