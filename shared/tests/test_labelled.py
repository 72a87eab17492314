"""What must hold of texts with labels: nothing lost, nothing guessed wrongly.

The files are small and in the formats in which people have them: SMS Spam
Collection as it is published and as Kaggle has it, IMDB's tar, tables out of
spreadsheets. The two public ones also come from a server in this process.
"""

import csv
import hashlib
import io
import tarfile
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch_llm import download
from scratch_llm.labelled import (
    class_names,
    label_numbers,
    load_splits,
    read_labelled,
    same_text,
    split_items,
)

few = settings(max_examples=25, deadline=None, derandomize=True)

SMS = [  # odd quotes: opened and never closed, closed and never opened
    ("ham", 'Go until the bridge, crazy.. "Come there now'),
    ("ham", 'Ok lar... Joking with you"'),
    ("spam", "WINNER!! Claim your £900 prize; call 0906 'now'"),
    ("ham", '"All of it in quotes"'),
    ("ham", '"Half of it" and then, more'),
    ("spam", 'URGENT! You\'ve won… a week, txt "WIN" to 87121'),
    ("ham", '"'),
    ("spam", 'Free entry in a comp; text "FA" now'),
] * 9
RAW = "".join(f"{label}\t{text}\n" for label, text in SMS)


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def packed(text: str = RAW) -> bytes:
    """SMS Spam Collection as UCI publishes it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("SMSSpamCollection", text)
        archive.writestr("readme", "About\tthis collection\n")
    return data.getvalue()


def reviews() -> bytes:
    """IMDB's reviews as Stanford publishes them, in small."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:

        def add(name: str, text: bytes) -> None:
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))

        add("README", b"Large Movie Review Dataset")
        add("train/urls_pos.txt", b"http://example.org/1\n")
        add("train/unsup/0_0.txt", b"Nobody knows.")
        for split in ("train", "test"):
            for name, word in (("neg", "bad"), ("pos", "good")):
                for i in range(12):
                    text = f"{split} {'abcdefghijkl'[i]}: a {word} film.<br />"
                    text += "<br />« Très » fine"
                    add(f"{split}/{name}/{i}_9.txt", text.encode())
    return data.getvalue()


# ---- SMS Spam Collection, in its two forms -------------------------------


@pytest.mark.parametrize("name", ["SMSSpamCollection", "sms.txt", "sms.tsv"])
def test_odd_quotes_are_letters(tmp_path, name):
    found = read_labelled(put(tmp_path / name, RAW))
    assert found.names == ("ham", "spam")
    assert found.texts == [text for _, text in SMS]
    assert found.labels == [int(label == "spam") for label, _ in SMS]


def test_as_it_is_published(tmp_path):
    path = tmp_path / "sms+spam+collection.zip"
    path.write_bytes(packed())
    assert read_labelled(path).texts == [text for _, text in SMS]


def test_as_kaggle_has_it(tmp_path):
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["v1", "v2", "", "", ""])
    shown = [(a, b.replace("…", "...")) for a, b in SMS]
    rows.writerows([*row, "", "", ""] for row in shown)
    path = put(tmp_path / "spam.csv", text.getvalue(), "latin-1")
    with pytest.warns(UserWarning, match="not UTF-8: read as cp1252"):
        found = read_labelled(path)
    assert found.texts == [text for _, text in shown]
    assert found.names == ("ham", "spam")


def test_what_stands_in_columns_without_a_name_is_told(tmp_path):
    path = put(tmp_path / "a.csv", "v1,v2,\nham,one,\nspam,two,rest\n" * 1)
    with pytest.warns(UserWarning, match="1 columns without a name"):
        assert read_labelled(path).texts == ["one", "two"]


# ---- IMDB ----------------------------------------------------------------


def check_reviews(path: Path) -> None:
    found = read_labelled(path)
    assert found.names == ("neg", "pos") and len(found.texts) == 48
    assert Counter(found.labels) == {0: 24, 1: 24}
    assert "train a: a good film. « Très » fine" in found.texts
    assert not any("Nobody" in text or "http" in text for text in found.texts)
    train = read_labelled(path, split="train")
    assert len(train.texts) == 24
    assert all(text.startswith("train") for text in train.texts)
    with pytest.raises(ValueError, match="no part called 'dev'"):
        read_labelled(path, split="dev")


def test_reviews_packed_and_unpacked(tmp_path):
    path = tmp_path / "aclImdb_v1.tar.gz"
    path.write_bytes(reviews())
    check_reviews(path)
    with tarfile.open(path) as archive:
        for member in archive:
            file = tmp_path / member.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.extractfile(member).read())
    check_reviews(tmp_path / "aclImdb")


def test_the_publishers_split_is_kept(tmp_path):
    path = tmp_path / "aclImdb_v1.tar.gz"
    path.write_bytes(reviews())
    splits = load_splits(path)
    sizes = [
        len(part) for part in (splits.train, splits.validation, splits.test)
    ]
    assert sizes == [22, 2, 24] and splits.name == "aclImdb_v1"
    assert all(text.startswith("test") for text in splits.test.texts)
    inner = splits.train.texts + splits.validation.texts
    assert all(text.startswith("train") for text in inner)


# ---- Both from a server --------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """A mirror that holds both data sets at their public paths."""
    files = {
        "/static/public/228/sms+spam+collection.zip": packed(),
        "/~amaas/data/sentiment/aclImdb_v1.tar.gz": reviews(),
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = files.get(self.path)
            self.send_response(200 if data else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("SCRATCH_LLM_MIRROR", url)
        digests = {
            Path(path).name: hashlib.sha256(data).hexdigest()
            for path, data in files.items()
        }
        monkeypatch.setattr(download, "SHA256", digests)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "name, names", [("sms", ("ham", "spam")), ("imdb", ("neg", "pos"))]
)
def test_public_data_is_fetched_checked_and_read(
    server, tmp_path, monkeypatch, name, names
):
    with pytest.raises(ValueError, match="by --download"):
        load_splits(name, folder=tmp_path)
    assert not list(tmp_path.iterdir()), "nothing is fetched unasked"
    splits = load_splits(name, folder=tmp_path, download=True)
    assert splits.names == names and len(splits.train)
    again = load_splits(name, folder=tmp_path)
    assert again == splits
    changed = dict.fromkeys(download.SHA256, "0" * 64)
    monkeypatch.setattr(download, "SHA256", changed)
    with pytest.raises(download.DownloadError):
        load_splits(name, folder=tmp_path / "new", download=True)
    assert not list((tmp_path / "new").iterdir())


# ---- Any table -----------------------------------------------------------

ANY = st.text(
    st.characters(blacklist_categories=("Cs", "Cc")), min_size=1
).filter(str.strip)


@few
@given(
    rows=st.lists(
        st.tuples(ANY, st.sampled_from(["yes", "no", "può darsi"])),
        min_size=8,
        max_size=30,
    ),
    header=st.sampled_from([("text", "label"), ("Sentence", "Category"), ()]),
    turned=st.booleans(),
    sign=st.sampled_from([",", ";", "\t"]),
    bom=st.booleans(),
)
def test_what_a_spreadsheet_writes_comes_back(
    tmp_path_factory, rows, header, turned, sign, bom
):
    labels = [label for _, label in rows]
    if len(set(labels)) < 2 or not header and labels.count(labels[0]) < 2:
        return
    if not header and len({text for text, _ in rows}) < 7:
        return  # two columns of few values: nobody could tell
    order = slice(None, None, -1 if turned else 1)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=sign, quoting=csv.QUOTE_ALL)
    writer.writerows(row[order] for row in [header, *rows] if row)
    path = tmp_path_factory.mktemp("any") / "table.csv"
    put(path, text.getvalue(), "utf-8-sig" if bom else "utf-8")
    columns = {}
    if not header:
        columns = {"text_column": "2" if turned else "1"}
        columns["label_column"] = "1" if turned else "2"
    found = read_labelled(path, **columns)
    names = [found.names[i] for i in found.labels]
    assert list(zip(found.texts, names, strict=True)) == [
        (text, label.strip()) for text, label in rows
    ]


@pytest.mark.parametrize(
    "text, columns, texts",
    [
        ("id,was\n1,a\n2,b\n3,a\n4,b\n5,c\n6,d\n7,a\n", {}, 0),
        ("x,a long one\ny,another one\nx,some more\ny,the last\n", {}, 4),
        ("id;mood;what\n1;x;one\n2;y;two\n", {"text_column": "what"}, 0),
        ("id;label;what\n1;x;one\n2;y;two\n", {"text_column": "What"}, 2),
        ("id,body,mood\n1,a,x\n2,b,y\n", {"label_column": "3"}, 2),
        ("text,label\n'a',1.0\nb,0.0\nc,10.0\n", {}, 3),
        ('text\tlabel\n"a\tb"\tx\nc\ty\n', {}, 2),
        ('text,label\n"two\nlines",x\nc,y\n', {}, 2),
        (",text,label\n0,a,x\n1,b,y\n", {}, 2),
        ("text,label\r\na,x\r\nb,y\r\n", {}, 2),
    ],
)
@pytest.mark.filterwarnings("ignore:.*without a name")
def test_columns_are_found_or_asked_for(tmp_path, text, columns, texts):
    path = put(tmp_path / "table.csv", text)
    if texts:
        assert len(read_labelled(path, **columns).texts) == texts
        return
    with pytest.raises(ValueError, match="not clear which column") as error:
        read_labelled(path, **columns)
    heads = text.split("\n")[0].replace(",", ";").split(";")
    assert "columns: " + ", ".join(heads) in str(error.value)


def test_two_columns_of_unknown_names_are_told_apart(tmp_path):
    rows = "".join(f"so-and-so number {i},{'xy'[i % 2]}\n" for i in range(9))
    found = read_labelled(put(tmp_path / "a.csv", f"Nachricht,Klasse\n{rows}"))
    assert len(found.texts) == 9 and found.names == ("x", "y")
    found = read_labelled(put(tmp_path / "a.csv", rows))
    assert len(found.texts) == 9, "a first row that is no header is read"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_needs_no_guess(tmp_path, encoding, recwarn):
    path = put(tmp_path / "a.csv", "text,label\nMöwe,☺\nFluß,☹\n", encoding)
    assert read_labelled(path).texts == ["Möwe", "Fluß"] and not recwarn.list


def test_other_bytes_are_read_with_a_warning(tmp_path):
    path = tmp_path / "a.csv"
    for data, text in ((b"\x80 5", "€ 5"), (b"\x81 5", "\x81 5")):
        path.write_bytes(b"text,label\n" + data + b",a\nb,b\n")
        with pytest.warns(UserWarning, match="is not UTF-8"):
            assert read_labelled(path).texts == [text, "b"]


def test_rows_that_lack_something_are_counted(tmp_path):
    path = put(tmp_path / "a.csv", 'text,label\na,x\n" ",y\nb\n\nc,y\n')
    with pytest.warns(UserWarning) as told:
        assert read_labelled(path).texts == ["a", "c"]
    messages = [str(one.message) for one in told]
    assert "1 rows without a text" in messages[0]
    assert "1 rows without a label" in messages[1]


BAD = [  # a file's text, columns, what is said
    ("", {}, "is empty"),
    ("\0\1", {}, "not a text file"),
    ("one\ntwo\n", {}, "no two columns"),
    ("text,label\n", {}, "no rows"),
    ("text,label\n,\n", {}, "no two columns|holds no text|no rows"),
    ("text,label\na,x\nb,x\n", {}, "all 2 texts have the label 'x'"),
    ("text,label\na, b,x\n", {}, "row 1 has 3 cells and not 2: 'a"),
    ("text,label\na,x\nb,y\n", {"text_column": "body"}, "no column 'body'"),
    ("text,label\na,x\nb,y\n", {"label_column": "7"}, "its columns: text, l"),
    ("text,text\na,x\nb,y\n", {"text_column": "text"}, "of its own"),
    (
        "text,label\na,x\nb,y\n",
        {"text_column": "text", "label_column": "text"},
        "cannot both",
    ),
    (
        "text,label\n" + "".join(f"a{i},b{i}\n" for i in range(30)),
        {},
        "30 different labels for 30 texts",
    ),
]


@pytest.mark.parametrize("text, columns, said", BAD)
def test_what_cannot_be_read_is_told(tmp_path, text, columns, said):
    path = put(tmp_path / "table.csv", text)
    with pytest.raises(ValueError, match=said) as error:
        read_labelled(path, **columns)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    (tmp_path / "cut.tar.gz").write_bytes(reviews()[:400])
    (tmp_path / "cut.zip").write_bytes(packed()[:-40])
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, RAW)
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<xml/>")
    for name, said in (
        ("none.csv", "does not exist"),
        ("none.tar.gz", "does not exist"),
        (".", "no texts in folders"),
        ("cut.tar.gz", "not a whole archive"),
        ("cut.zip", "not a whole zip"),
        ("two.zip", "holds 2 files"),
        ("book.xlsx", "save it as CSV"),
    ):
        with pytest.raises(ValueError, match=said) as error:
            read_labelled(tmp_path / name)
        assert "\n" not in str(error.value)


# ---- Classes and splits --------------------------------------------------


def test_classes_have_an_order():
    assert class_names(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert class_names(["spam", "ham"]) == ("ham", "spam")


def test_labels_may_be_written_in_several_ways():
    names = ("negative", "positive")
    words = ["Positive", "neg", "1", "negative", "POS", "0"]
    assert label_numbers(words, names) == [1, 0, 1, 0, 1, 0]
    assert label_numbers(["neg", "Positive"], ("neg", "pos")) == [0, 1]
    assert label_numbers(["5", "1"], ("1", "5")) == [1, 0]
    for wrong in ("neutral", "2", "-1", ""):
        with pytest.raises(ValueError, match=f"{wrong!r} is none of neg"):
            label_numbers(["1", wrong], names)
    with pytest.raises(ValueError, match="'0' is none of 1, 5"):
        label_numbers(["0"], ("1", "5"))


WORD = st.text("abAB !?1", min_size=1, max_size=4)


@few
@given(
    texts=st.lists(WORD, min_size=30, max_size=80),
    K=st.integers(2, 3),
    seed=st.integers(0, 9),
)
def test_splits_lose_nothing_and_share_nothing(texts, K, seed):
    labels = [hash_of(text) % K for text in texts]
    groups = {(same_text(t), k) for t, k in zip(texts, labels, strict=True)}
    counts = Counter(k for _, k in groups)
    if len(counts) < 2 or min(counts.values()) < 3:
        return
    parts = split_items(texts, labels, seed=seed)
    assert sorted(sum(parts, [])) == list(range(len(texts)))
    seen = [{same_text(texts[i]) for i in part} for part in parts]
    assert not seen[0] & seen[1] and not (seen[0] | seen[1]) & seen[2]
    for part in parts:
        assert {labels[i] for i in part} == set(labels)
    assert parts == split_items(texts, labels, seed=seed)


def hash_of(text: str) -> int:
    """The same for near duplicates, so that each has one label."""
    return sum(map(ord, same_text(text)))


def test_shares_are_kept():
    texts = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(600)]
    labels = ["ham"] * 500 + ["spam"] * 100
    parts = split_items(texts, labels)
    assert [len(part) for part in parts] == [420, 60, 120]
    assert [sum(i >= 500 for i in part) for part in parts] == [70, 10, 20]


def test_too_few_of_a_class(tmp_path):
    rows = "".join(
        f"{c}{c},{'xxxxxxxyyz'[i]}\n" for i, c in enumerate("abcdefghij")
    )
    path = put(tmp_path / "a.csv", "text,label\n" + rows)
    with pytest.raises(ValueError, match="class y has 2 different texts"):
        load_splits(path)


def test_the_notes_and_a_second_test(tmp_path):
    splits = load_splits("notes", 60, 20)
    sizes = [
        len(part)
        for part in (splits.train, splits.validation, splits.test, splits.hard)
    ]
    assert sizes[:3] == [60, 60, 20] and sizes[3] >= 200
    assert splits.names == ("negative", "positive") and splits.train.kinds
    mine = put(
        tmp_path / "mine.tsv",
        "note\tfeeling\nNora was glad.\tpositive\nOtto wept.\t0\n",
    )
    hard = load_splits("notes", 60, 20, mine).hard
    assert (hard.texts[1], hard.labels) == ("Otto wept.", [1, 0])
    rows = "".join(
        f"{c}{c},{'xy'[i % 2]}\n" for i, c in enumerate("abcdefghij")
    )
    data = put(tmp_path / "a.csv", "body,kind\n" + rows)
    columns = {"text_column": "body", "label_column": "kind"}
    with pytest.raises(ValueError, match="'positive' is none of x, y"):
        load_splits(data, hard=mine, **columns)
    again = put(tmp_path / "b.csv", "text,label\n" + rows)
    with pytest.warns(UserWarning, match="texts are among those trained on"):
        assert len(load_splits(data, hard=again, **columns).hard) == 10
    with pytest.raises(ValueError, match="take more --items"):
        load_splits(data, 1, **columns)
