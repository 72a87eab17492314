"""What must hold of the chat, from its functions to a real browser.

Without Gradio, playwright or a Chromium the tests that need them are skipped.
"""

from __future__ import annotations

import html.parser
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import app
import pytest
import torch
from app import Dials, Speaker, Turn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from previous_chapters import (
    Classifier,
    add_special_tokens,
    from_pretrained,
    save_classifier,
    save_instruct,
)
from torch import nn

HERE = Path(__file__).resolve().parent
slowly = settings(  # a busy machine is no fault
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
NASTY = (
    "<img src=x onerror=window.hacked=1> ${window.hacked=2} {{value}} "
    "`${1}` &amp; <b>bold</b> \\ \"' *x* <|end|> <|user|>"
)
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


class Echo(nn.Module):
    """Repeats the last thing a user said, and is 80 % sure of each token.

    A message that begins with "slow" is repeated slowly.
    """

    def __init__(self, tokenizer) -> None:
        super().__init__()
        self.cfg = {"vocab_size": tokenizer.n_vocab, "context_length": 256}
        self.place = nn.Parameter(torch.zeros(1))
        names = ("<|user|>", "<|end|>", "<|assistant|>")
        self.marks = [*map(tokenizer.encode_single_token, names)]
        self.slow = tokenizer.encode_ordinary(" slow")
        (self.rival,) = tokenizer.encode_ordinary(" harbour")

    def new_cache(self, batch_size=1, capacity=None):
        return SimpleNamespace(ids=[], length=0)

    def forward(self, ids, cache, last_only=True):
        cache.ids += ids[0].tolist()
        cache.length = len(cache.ids)
        user, end, assistant = self.marks
        last = cache.length - cache.ids[::-1].index(assistant)
        asked = cache.length - cache.ids[::-1].index(user)
        words = cache.ids[asked : cache.ids.index(end, asked) + 1]
        if words[: len(self.slow)] == self.slow:
            time.sleep(0.2)
        logits = torch.full((1, 1, self.cfg["vocab_size"]), -100.0)
        logits[0, 0, self.rival] = math.log(0.2)
        place = min(cache.length - last, len(words) - 1)
        logits[0, 0, words[place]] = math.log(0.8)
        return logits


@pytest.fixture(scope="module")
def chatty() -> tuple:
    """The storyteller, with the special tokens of a chat."""
    model, tokenizer = from_pretrained("storyteller", "cpu")
    return model, add_special_tokens(tokenizer, model)


@pytest.fixture(scope="module")
def echo(chatty) -> Speaker:
    return Speaker(Echo(chatty[1]).eval(), chatty[1])


@pytest.fixture(scope="module")
def storyteller() -> Speaker:
    return app.open_speaker("storyteller")


def converse(speaker, *texts, way="chat", **dials) -> list:
    """All that comes of turns, the user's first: (turns, note)."""
    roles = ("user", "assistant")
    turns = [Turn(roles[i % 2], text) for i, text in enumerate(texts)]
    return [
        ([*turns], turns[-1].content, note)
        for turns, note in app.converse(speaker, turns, way, Dials(**dials))
    ]


class Shown(html.parser.HTMLParser):
    """What a browser makes of HTML: its texts, and its tags."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.parts, self.tags = [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.parts.append(data)


# ---- What is said --------------------------------------------------------


def test_an_answer_grows_word_by_word(echo):
    said = [text for _, text, _ in converse(echo, "Nora was glad. So was I.")]
    assert said[-1] == "Nora was glad. So was I."
    assert len(said) > 7
    for before, after in zip(said, said[1:], strict=False):
        assert after.startswith(before)


def test_each_word_has_its_probability_by_tokens_and_rivals(echo):
    turns, text, _ = converse(echo, "Nora was xyzzy.")[-1]
    words = turns[-1].words
    assert "".join(word.text for word in words) == text
    assert [word.text.strip() for word in words] == ["Nora", "was", "xyzzy."]
    for word in words:
        assert word.p == pytest.approx(0.8 ** len(word.parts))
        assert word.rivals[0][0] == " harbour"
        assert word.rivals[0][1] == pytest.approx(0.2)
    assert len(words[2].parts) > 1
    told = app.describe(words[2])
    assert (
        told.splitlines()[0].startswith("xyzzy. ") and "harbour 20.0 %" in told
    )


def test_the_probabilities_are_those_of_the_model(storyteller):
    turns, text, _ = converse(
        storyteller, "One day, Nora", way="text", longest=12,
        temperature=1.5, top_p=0.7,
    )[-1]  # fmt: skip
    prompt, _ = storyteller.prompt(turns[:1], "text", Dials())
    parts = [part for word in turns[-1].words for part in word.parts]
    ids = [
        i
        for name, _ in parts
        for i in [storyteller.tokenizer.encode_single_token(name)]
    ]
    with torch.inference_mode():
        logits = storyteller.model(torch.tensor([prompt + ids]))[0]
    probs = logits.softmax(-1)[len(prompt) - 1 : -1]
    right = [probs[n, i].item() for n, i in enumerate(ids)]
    assert [p for _, p in parts] == pytest.approx(right, abs=1e-4)
    assert turns[-1].cut and len(parts) == 12


def test_a_low_temperature_or_top_p_takes_the_likeliest(echo):
    for dials in ({}, {"top_p": 0.05, "temperature": 2.0}):
        assert converse(echo, "Nora ran.", **dials)[-1][1] == "Nora ran."
    hot = converse(echo, "Nora ran home.", temperature=2.0, longest=9)[-1][1]
    assert hot  # any word may come
    with pytest.raises(ValueError, match="temperature"):
        converse(echo, "Nora", temperature=-1.0)


def test_a_chat_has_turns_and_a_system_text(echo):
    said = converse(echo, "One.", "Two.", "Three.", system="Be short.")
    assert said[-1][1] == "Three."
    prompt, lost = echo.prompt(said[-1][0][:3], "chat", Dials(system="Hush."))
    text = echo.tokenizer.decode(prompt)
    assert not lost and text.count("<|user|>") == 2
    assert text.startswith("<|endoftext|><|system|> Hush.<|end|><|user|>")


@pytest.mark.parametrize("text", [NASTY, "Grüße ✨ 你好", "a\nb"])
def test_any_text_goes_there_and_back(echo, text):
    turns, said, _ = converse(echo, text)[-1]
    assert said == text
    assert "".join(word.text for word in turns[-1].words) == text


def test_what_does_not_fit_is_forgotten_from_the_beginning(echo):
    long = "Nora was glad on Monday. " * 16
    texts = [long, "Yes.", long, "No.", "Go on."]
    *_, (turns, said, note) = converse(echo, *texts)
    assert said == "Go on." and "256 tokens" in note
    assert len(turns) == 6  # on the page it stays
    with pytest.raises(ValueError, match="no room"):
        converse(echo, long * 9)
    assert converse(echo, "Hello.")[-1][2] == ""


def test_a_base_writes_the_text_on(storyteller):
    turns, said, _ = converse(storyteller, "One day, Nora", way="text")[-1]
    assert said.startswith(" ") and said.endswith(".") and not turns[-1].cut
    prompt, _ = storyteller.prompt(
        [Turn("user", "One"), Turn("assistant", " two"), Turn("user", "x")],
        "text", Dials(),
    )  # fmt: skip
    assert storyteller.tokenizer.decode(prompt[1:]) == " One two\nx"
    long = converse(storyteller, "Nora was glad. " * 99, way="text")
    assert "256 tokens" in long[-1][2]


def test_a_model_without_a_chat_is_not_asked_by_one(storyteller, echo):
    assert (storyteller.ways, echo.ways) == (
        ["text", "Alpaca"], ["chat", "text"],
    )  # fmt: skip
    prompt, _ = storyteller.prompt([Turn("user", "Hm?")], "Alpaca", Dials())
    assert "### Instruction:\nHm?" in storyteller.tokenizer.decode(prompt)
    assert converse(storyteller, "One", way="chat", longest=2)


# ---- What is shown -------------------------------------------------------


@slowly
@given(st.text())
def test_any_text_is_shown_as_it_stands_and_nothing_of_it_is_html(text):
    word = app.Word(text, 0.5, [(text, 0.5)], [(text, 0.1)])
    for source in (
        app.draw_turn(Turn("user", NASTY + text)),
        app.draw_word(word),
        app.draw_chat([], NASTY + text),
    ):
        parser = Shown(source)
        known = {"div", "b", "span", "p"}
        assert {tag for tag, _ in parser.tags} <= known
        assert not re.search(r"[${}`]", source)
    tip = Shown(app.draw_word(word)).tags[0][1]["data-tip"]
    assert "50.0 %" in tip


def test_the_less_probable_a_word_the_stronger_its_colour():
    shares = [
        int(re.search(r"(\d+)%, transparent", app.draw_word(word))[1])
        for word in (app.Word("a", p, [], []) for p in (1.0, 0.9, 0.5, 0.01))
    ]
    assert shares[0] == 0 and shares == sorted({*shares})


def test_an_answer_that_would_go_on_ends_in_dots(echo):
    cut = converse(echo, "Nora was glad.", longest=2)[-1][0]
    assert app.draw_chat(cut).count(" …") == 1
    assert "…" not in app.draw_chat(converse(echo, "Nora.")[-1][0])
    assert "cursor" in app.draw_chat(cut, writing=True)
    assert "cursor" not in app.draw_chat(cut)


# ---- The command line ----------------------------------------------------


@pytest.fixture(scope="module")
def run(chatty, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("here") / "runs" / "instructions"
    save_instruct(folder, *chatty)
    return folder


def test_the_newest_run_is_the_default_and_bases_follow(run, monkeypatch):
    monkeypatch.chdir(run.parent.parent)
    monkeypatch.setattr(app, "MAIN", run)
    model, tokenizer = from_pretrained("storyteller", "cpu")
    save_classifier(run.parent / "notes", Classifier(model), tokenizer, " ")
    names = app.found_models()
    assert names[0] == str(Path("runs", "instructions"))
    assert "storyteller" in names and "notes" not in str(names)
    assert app.open_speaker(str(run)).ways == ["chat", "text"]
    with pytest.raises(ValueError, match="writes no text"):
        app.open_speaker(str(run.parent / "notes"))


def test_without_gradio_a_line_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert app.main(["--model", "storyteller"]) == 2
    line = capsys.readouterr().err
    assert "pip install -r requirements-ui.txt" in line
    assert line.count("\n") == 1


def test_a_model_that_is_not_there_is_named(capsys):
    gradio_is_here()
    assert app.main(["--model", "nowhere"]) == 2
    line = capsys.readouterr().err
    assert "nowhere" in line and line.count("\n") == 1


# ---- The page, served ----------------------------------------------------


def gradio_is_here() -> None:
    pytest.importorskip(
        "gradio", reason="Gradio: pip install -r requirements-ui.txt"
    )


@pytest.fixture(scope="module")
def address(echo, storyteller):
    """The page's address; afterwards: this process asked no other machine."""
    gradio_is_here()
    asked, connect = set(), socket.socket.connect

    def noted(self: socket.socket, place: tuple) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            asked.add(place[0])
        return connect(self, place)

    def open_speaker(name: str) -> Speaker:
        if name == "nowhere":
            raise ValueError("no model nowhere")
        return {"echo": echo, "storyteller": storyteller}[name]

    usual, app.open_speaker = app.open_speaker, open_speaker
    socket.socket.connect = noted
    page = app.new_page(["echo", "storyteller", "nowhere"])
    try:
        yield app.serve(page)
    finally:
        page.close(verbose=False)
        socket.socket.connect, app.open_speaker = connect, usual
    assert asked <= {"127.0.0.1", "::1", "localhost"}


def test_the_page_loads_nothing_from_elsewhere(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address) as answer:
        page = answer.read().decode()
    loads = r"<(?:script|link|img)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//"
    assert not re.search(loads, page)
    assert '"analytics_enabled":false' in page


def test_a_program_can_chat_too(address):
    from gradio_client import Client

    def text(page: str) -> str:
        return "".join(Shown(page).parts)

    client = Client(address, verbose=False, analytics_enabled=False)
    how = {"name": "echo", "way": "chat", "api_name": "/say"}
    job = client.submit(text="Nora was glad.", **how)
    box, page = job.result(timeout=120)
    assert box == "" and text(page) == "YouNora was glad.ModelNora was glad."
    pages = [text(page) for _, page in job.outputs()]
    assert len(pages) > 5 and "ModelNora" in {one[-9:] for one in pages}
    _, page = client.predict(text="And Tom?", **how)  # the chat goes on
    assert text(page).count("You") == 2 and "Nora was glad.You" in text(page)
    box, page = client.predict(text="Nora was glad. " * 99, **how)
    assert box.startswith("Nora") and "Sorry" in text(page)
    assert text(page).count("You") == 2


def test_a_port_that_is_taken_is_named(address):
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ValueError, match=f"port {port} .*--port"):
        app.serve(app.new_page(["echo"]), port)


@posix
def test_the_script_serves_until_it_is_stopped():
    gradio_is_here()
    script = [sys.executable, "app.py", "--model", "storyteller"]
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
        self.box = self.page.locator("textarea").first
        self.box.wait_for()

    def hear(self, message) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def say(self, text: str, turns: int) -> None:
        """Send a text, and wait for the end of the answer."""
        self.box.fill(text)
        self.box.press("Enter")
        self.settle(turns)

    def settle(self, turns: int) -> None:
        """Wait until so many turns stand there, and none is written."""
        self.page.wait_for_function(
            "(n) => document.querySelectorAll('.turn').length == n"
            " && !document.querySelector('.cursor')",
            arg=turns,
        )

    def said(self, n: int = -1) -> str:
        return self.page.locator(".turn .said").all()[n].text_content()

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()


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


def test_a_chat_in_several_turns(visit):
    visit.say("Nora was glad.", 2)
    assert visit.said() == "Nora was glad." and visit.box.input_value() == ""
    visit.say("And Tom?", 4)
    assert visit.said() == "And Tom?" and visit.said(0) == "Nora was glad."
    visit.click("Take back")
    visit.settle(2)
    assert visit.box.input_value() == "And Tom?"
    visit.click("Answer again")
    visit.page.wait_for_timeout(300)
    visit.settle(2)
    assert visit.said() == "Nora was glad."
    visit.click("New chat")
    visit.settle(0)
    visit.page.get_by_text(app.EMPTY).wait_for()


def test_the_probability_of_a_word_is_under_the_mouse(visit):
    visit.say("Nora was glad.", 2)
    tip = visit.page.locator("#tip")
    assert not tip.is_visible()
    visit.page.locator(".word", has_text="was").hover()
    tip.wait_for()
    assert (
        tip.text_content()
        == "was 80.0 %\nor: harbour 20.0 %"
        + (tip.text_content().partition("harbour 20.0 %")[2])
    )
    visit.box.hover()
    tip.wait_for(state="hidden")


def test_an_answer_can_be_stopped_and_the_chat_goes_on(visit):
    whole = "slow " + "Nora was glad. " * 30
    visit.box.fill(whole)
    visit.box.press("Enter")
    visit.page.locator(".word", has_text="glad").first.wait_for()
    visit.click("Stop")
    visit.settle(2)
    said = visit.said()
    assert 10 < len(said) < len(whole) and said.endswith("…")
    visit.page.wait_for_timeout(500)
    assert visit.said() == said
    visit.say("Go on.", 4)
    assert visit.said() == "Go on."


def test_what_is_typed_is_text(visit):
    visit.say(NASTY, 2)
    assert visit.said(0) == visit.said(1) == NASTY
    visit.page.locator(".word").first.hover()
    assert visit.page.evaluate("() => window.hacked") is None
    assert visit.page.locator("#chat b:not(.who)").count() == 0


def test_another_model_takes_over(visit):
    visit.say("One day, Nora", 2)
    visit.page.get_by_label("Model").click()
    visit.page.get_by_role("option", name="storyteller").click()
    visit.page.get_by_label("Alpaca").wait_for()
    visit.click("Answer again")
    visit.page.wait_for_function(
        "() => document.querySelectorAll('.turn')[1].innerText.length > 60"
    )
    visit.settle(2)
    assert visit.said().endswith(".")


def test_an_example_is_one_click_away(visit):
    visit.page.locator("button.example").nth(1).click()
    visit.page.wait_for_function(
        "() => document.querySelector('textarea').value.includes('\\n')"
    )


@pytest.mark.parametrize("visit", ["light", "dark"], indirect=True)
def test_light_and_dark(visit, request):
    def brightness() -> float:
        colour = visit.page.evaluate(
            "() => getComputedStyle(document.querySelector('gradio-app'))"
            ".backgroundColor"
        )
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3

    before = brightness()
    assert (before < 128) == ("dark" in request.node.callspec.id)
    visit.click("light / dark")
    for _ in range(50):
        if (brightness() < 128) != (before < 128):
            break
        time.sleep(0.1)
    assert (brightness() < 128) != (before < 128)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
