"""What must hold of the page, from its functions to a real browser.

The model is made by hand: it counts glad and sad words.
Without Gradio, playwright or a Chromium the tests that need them are skipped.
"""

from __future__ import annotations

import html.parser
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from pathlib import Path

import app
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from previous_chapters import (
    Classifier,
    classify,
    from_pretrained,
    save_classifier,
)

HERE = Path(__file__).resolve().parent
WORDS = {-1: "sad sorry glum upset", 1: "glad happy merry proud"}
NASTY = (
    "<img src=x onerror=window.hacked=1> ${window.hacked=2} {{value}} "
    "`${1}` &amp; <b>glad</b> \\ \"' glad"
)
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture(scope="module")
def reader() -> app.Reader:
    """A model that counts glad and sad words, and reads nothing else.

    Its blocks add nothing, and the first channel of a token says on which
    side it stands.
    """
    gpt, tokenizer = from_pretrained("storyteller", "cpu")
    model = Classifier(gpt, pool="mean")
    with torch.no_grad():
        gpt.pos_emb.weight.zero_()
        for block in gpt.trf_blocks:
            for layer in (block.att.out_proj, block.ff.layers[2]):
                layer.weight.zero_()
                layer.bias.zero_()
        torch.manual_seed(1)
        gpt.tok_emb.weight.normal_()[:, 0] = 0
        for side, words in WORDS.items():
            for word in words.split():
                (i,) = tokenizer.encode_ordinary(f" {word}")
                gpt.tok_emb.weight[i, 0] = side * 1000
        gpt.final_norm.scale.fill_(1)
        gpt.final_norm.shift.zero_()
        model.head.weight.zero_()[:, 0] = torch.tensor([-2, 2])
    return app.Reader(model.eval(), tokenizer, " ")


@pytest.fixture(scope="module")
def run(reader, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("here") / "runs" / "notes"
    save_classifier(folder, reader.model, reader.tokenizer, reader.prefix)
    return folder


class Shown(html.parser.HTMLParser):
    """What a browser makes of HTML: texts by the innermost class or tag."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open, self.parts, self.tags = [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(dict(attrs).get("class", tag))

    def handle_endtag(self, tag):
        self.open.pop()

    def handle_data(self, data):
        self.parts.append((self.open[-1], data))

    def text(self, *without: str) -> str:
        return "".join(text for at, text in self.parts if at not in without)


def answers(reader: app.Reader, text: str) -> list[str]:
    return list(app.read_text(reader, text))


def points(source: str) -> dict[str, int]:
    """The words that have a number above them, and that number."""
    found = re.findall(
        r"<ruby.*?<span[^>]*>(.*?)</span><rt>(.*?)</rt>", source
    )
    return {word: int(n.replace("−", "-")) for word, n in found}


def only_glad(source: str) -> bool:
    """Whether "glad." alone has a number, of about a half."""
    found = points(source)
    return list(found) == ["glad."] and 40 <= found["glad."] <= 60


def colour(source: str, word: str) -> str:
    return re.search(rf"srgb, (#\w+) [^>]*>{re.escape(word)}<", source)[1]


# ---- What is said --------------------------------------------------------


def test_the_bars_are_the_probabilities(reader):
    text = "On Monday Nora was glad."
    probs = classify(reader.model, reader.tokenizer, text)
    shown = answers(reader, text)[-1]
    widths = dict(re.findall(r'data-class="(\w+)".*?width: ([\d.]+)%', shown))
    assert list(widths) == ["negative", "positive"]
    for name, width in widths.items():
        assert float(width) == pytest.approx(100 * probs[name], abs=0.06)
    assert 'said" data-class="positive"' in shown
    assert shown.count("said") == 1


def test_words_come_at_once_and_then_in_colour(reader):
    first, last = answers(reader, "On Monday Nora was glad.")
    assert Shown(first).text("rt") == Shown(last).text("rt")
    assert "ruby" not in first
    assert only_glad(last)


def test_the_colour_tells_for_which_class_a_word_speaks(reader):
    red, blue = (app.colour_of(app.NAMES, name) for name in app.NAMES)
    assert len({red, blue}) == 2
    for word, own in (("sad.", red), ("glad.", blue)):
        assert (
            colour(answers(reader, f"On Monday Nora was {word}")[-1], word)
            == own
        )
    probs = {"negative": 0.2, "positive": 0.8}
    shown = app.draw_words("so sad", [0.3, -0.3], app.NAMES, probs)
    assert (colour(shown, "so"), colour(shown, "sad")) == (blue, red)
    assert points(shown) == {"so": 30, "sad": -30}


def test_a_stronger_colour_is_a_larger_influence():
    probs = {"negative": 0.2, "positive": 0.8}
    shown = app.draw_words("a b c d", [0, 0.1, 0.4, 0.9], app.NAMES, probs)
    shares = [int(n) for n in re.findall(r"(\d+)%, transparent", shown)]
    assert shares == sorted(shares) and len(set(shares)) == 3


def test_with_many_classes_what_speaks_against_is_grey():
    names = tuple(f"class {i}" for i in range(9))
    probs = dict.fromkeys(names, 0.1) | {"class 8": 0.2}
    shown = app.draw_words("for not", [0.2, -0.2], names, probs)
    assert colour(shown, "for") == app.colour_of(names, "class 8")
    assert colour(shown, "not") == "#999999"
    assert app.draw_bars(names, probs).count("data-class") == 9
    assert app.pick_examples(names) == []


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_an_empty_text_is_no_error(reader, text):
    (shown,) = answers(reader, text)
    assert app.EMPTY in Shown(shown).text()
    assert "said" not in shown and "%" not in Shown(shown).text()


def test_a_text_without_a_deciding_word_says_so(reader):
    shown = answers(reader, "Nora was glad and happy and proud.")[-1]
    assert Shown(app.remark(app.ALONE)).text() in Shown(shown).text()
    assert points(shown) == {}


def test_a_long_text_is_cut_between_words_and_says_so(reader):
    words = ("Nora was glad on Monday, said the astrologers. " * 60).split()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = Shown(answers(reader, " ".join(words))[-1])
    n = reader.words_read(words)
    sizes = [
        1 + len(reader.tokenizer.encode_ordinary(" " + " ".join(words[:m])))
        for m in (n, n + 1)
    ]
    assert sizes[0] <= 256 < sizes[1]
    assert f"first {n} of {len(words)} words" in shown.text()
    unread = [text for at, text in shown.parts if at == "unread"]
    assert unread == words[n:]


def test_a_word_longer_than_the_context_is_still_judged(reader):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shown = answers(reader, "qzx" * 400 + " glad")[-1]
    assert "first 1 of 2 words" in Shown(shown).text()


@given(st.text(), st.integers(-9, 9))
def test_any_text_is_shown_as_it_stands_and_nothing_of_it_is_html(text, n):
    for source in (text, NASTY + text):
        influence = [n / 10] * len(source.split())
        probs = {"negative": 0.3, "positive": 0.7}
        shown = app.draw_words(source, influence, app.NAMES, probs)
        parser = Shown(shown)
        # A browser and this parser read a NUL or a CR in their own ways.
        assert parser.text("rt").replace("\r", "") == source.replace("\r", "")
        assert {tag for tag, _ in parser.tags} <= {"div", "ruby", "span", "rt"}
        assert not re.search(r"[${}`]", shown)


def test_names_of_classes_are_escaped_too():
    names = ("<b>", "${x}")
    shown = app.draw_bars(names, {"<b>": 0.4, "${x}": 0.6})
    assert "<b></span>" not in shown and "${" not in shown
    assert Shown(shown).text().count("<b>") == 1


# ---- The command line ----------------------------------------------------


@pytest.mark.parametrize(
    "model, said",
    [
        (None, "gpt_class_finetune.py"),
        ("storyteller", "knows no classes"),
        ("nowhere", "nowhere/model.safetensors does not exist"),
    ],
)
def test_without_a_finetuned_run_one_line_says_how_to_train_one(
    model, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app, "MAIN", tmp_path)
    assert app.main(["--model", model] if model else []) == 2
    line = capsys.readouterr().err
    assert said in line.replace(os.sep, "/") and line.count("\n") == 1


def test_the_newest_run_is_the_default(run, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    monkeypatch.setattr(app, "MAIN", run)
    assert app.pick_run() == Path("runs", "notes")


def test_a_run_is_opened_with_its_prefix(run, reader):
    opened = app.open_run(run)
    assert (opened.prefix, opened.names) == (" ", app.NAMES)
    text = "Otto was upset."
    assert answers(opened, text) == answers(reader, text)


def test_without_gradio_a_line_says_how_to_install_it(
    run, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert app.main(["--model", str(run)]) == 2
    line = capsys.readouterr().err
    assert "pip install -r requirements-ui.txt" in line
    assert line.count("\n") == 1


# ---- The page, served ----------------------------------------------------


@pytest.fixture(scope="module")
def address(reader):
    """The page's address; afterwards: this process asked no other machine."""
    gradio_is_here()
    asked, connect = set(), socket.socket.connect

    def noted(self: socket.socket, place: tuple) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            asked.add(place[0])
        return connect(self, place)

    socket.socket.connect = noted
    page = app.new_page(reader)
    try:
        yield app.serve(page)
    finally:
        page.close(verbose=False)
        socket.socket.connect = connect
    assert asked <= {"127.0.0.1", "::1", "localhost"}


def gradio_is_here() -> None:
    pytest.importorskip(
        "gradio", reason="Gradio: pip install -r requirements-ui.txt"
    )


def test_the_page_loads_nothing_from_elsewhere(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address) as answer:
        page = answer.read().decode()
    assert "Negative or positive?" in page
    loads = r"<(?:script|link|img)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//"
    assert not re.search(loads, page)
    assert '"analytics_enabled":false' in page


def test_a_program_can_ask_too(address):
    from gradio_client import Client

    client = Client(address, verbose=False, analytics_enabled=False)
    job = client.submit("On Monday Nora was glad.", api_name="/read")
    assert only_glad(job.result(timeout=120))
    assert "ruby" not in job.outputs()[0]
    last = client.predict(NASTY, api_name="/read")
    assert NASTY in Shown(last).text("rt")
    assert app.EMPTY in client.predict(" ", api_name="/read")


def test_a_port_that_is_taken_is_named(address, reader):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ValueError, match=f"port {port} .*--port"):
        app.serve(app.new_page(reader), port)


@posix
def test_the_script_serves_until_it_is_stopped(run):
    gradio_is_here()
    script = [sys.executable, "app.py", "--model", str(run)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        script,
        cwd=HERE,
        stdout=pipe,
        stderr=pipe,
        text=True,
        encoding="utf-8",
    )
    try:
        said = child.stdout.readline()
        assert "http://127.0.0.1:" in said
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=120)
    finally:
        child.kill()
    assert (child.returncode, errors) == (130, "app.py: stopped\n")


# ---- In a browser --------------------------------------------------------

NAMES_OF_CHROMIUM = "chromium chromium-browser google-chrome chrome".split()


@pytest.fixture(scope="module")
def browser(address):
    api = pytest.importorskip(
        "playwright.sync_api", reason="playwright: pip install playwright"
    )
    with api.sync_playwright() as p:
        found = [*map(shutil.which, NAMES_OF_CHROMIUM)]
        found = [place for place in found if place]
        found += [p.chromium.executable_path]
        if not Path(found[0]).exists():
            pytest.skip("no Chromium here: python -m playwright install")
        browser = p.chromium.launch(
            executable_path=found[0],
            args=["--no-sandbox", "--disable-gpu", "--no-proxy-server"],
        )
        yield browser
        browser.close()


class Visit:
    """An open page, with all that it asks for and complains about."""

    def __init__(self, browser, address: str, scheme: str) -> None:
        self.page = browser.new_page(color_scheme=scheme)
        self.page.set_default_timeout(120_000)
        self.asked, self.errors = [], []
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("console", self.hear)
        self.page.goto(address)
        self.box = self.page.locator("textarea")
        self.box.wait_for()

    def hear(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def times_asked(self) -> int:
        return sum("queue/join" in url for url in self.asked)

    def look(self, words: str = "") -> str:
        """The words shown in colour, once they are those."""
        shown = self.page.locator(".words", has_text=words)
        shown.locator("ruby").first.wait_for()
        return shown.inner_text()


@pytest.fixture
def visit(browser, address, request):
    """A fresh page, in the light or, by a parameter, the dark scheme."""
    visit = Visit(browser, address, getattr(request, "param", "light"))
    yield visit
    outside = [
        url
        for url in visit.asked
        if not url.startswith((address, "data:", "blob:"))
    ]
    assert (outside, visit.errors) == ([], [])
    visit.page.close()


def brightness(visit: Visit) -> float:
    """Of the page's background, from 0 to 255."""
    colour = visit.page.evaluate(
        "() => getComputedStyle(document.querySelector('gradio-app'))"
        ".backgroundColor"
    )
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_the_answer_comes_as_you_type(visit):
    visit.box.press_sequentially("On Monday Nora was glad.", delay=20)
    visit.look("glad.")
    assert visit.times_asked() == 1  # not once a key
    said = visit.page.locator(".score.said")
    assert said.inner_text().split("\n")[0] == "positive"
    track, bar = (
        said.locator(name).bounding_box()["width"]
        for name in (".track", ".bar")
    )
    percent = float(re.search(r"([\d.]+) %", said.inner_text())[1])
    assert bar / track == pytest.approx(percent / 100, abs=0.01)
    visit.box.fill("On Monday Nora was sad.")
    visit.look("sad.")
    assert said.get_attribute("data-class") == "negative"
    visit.box.fill("")
    visit.page.get_by_text(app.EMPTY).wait_for()


def test_what_is_typed_is_text(visit):
    visit.box.fill(NASTY)
    shown = visit.page.locator(".words", has_text="value")
    shown.locator("ruby").first.wait_for()
    text = shown.evaluate(
        "(e) => { e = e.cloneNode(true);"
        "e.querySelectorAll('rt').forEach(rt => rt.remove());"
        "return e.textContent }"
    )
    assert text == NASTY
    assert visit.page.evaluate("() => window.hacked") is None


def test_the_cut_is_said_and_shown(visit):
    visit.box.fill("Nora was glad on Monday. " * 70)
    unread = visit.page.locator(".unread")
    unread.first.wait_for()
    assert "longer than the 256 tokens" in visit.page.inner_text(".remark")
    assert unread.count() > 70


def test_an_example_is_one_click_away(visit):
    example = visit.page.locator("button.example").first
    text = example.inner_text()
    example.click()
    visit.page.locator(".words").wait_for()
    assert visit.box.input_value() == text
    assert len(text.split()) > 5


@pytest.mark.parametrize("visit", ["light", "dark"], indirect=True)
def test_light_and_dark(visit, request):
    before = brightness(visit)
    dark = "dark" in request.node.callspec.id
    assert (before < 128) == dark
    visit.page.get_by_role("button", name="light / dark").click()
    for _ in range(50):
        if (brightness(visit) < 128) != (before < 128):
            break
        time.sleep(0.1)
    assert (brightness(visit) < 128) != (before < 128)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
