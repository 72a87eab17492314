"""A page that says the class of a text while you type it.

    python app.py --model runs/notes-001

Each class has a bar, and each word a colour: how much less probable would the
answer be without it? The model is a run of gpt_class_finetune.py. All of it
runs on this computer: the page asks nothing of any other.
"""

import argparse
import bisect
import contextlib
import html
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiktoken
from previous_chapters import (
    Classifier,
    classify,
    from_pretrained,
    read_header,
    word_influence,
)
from scratch_llm.cli import ShortParser, between, run_script
from scratch_llm.notes import NAMES, hand_written
from scratch_llm.runs import find_model, newest_run
from scratch_llm.style import COLOURS

MAIN = Path(__file__).resolve().parents[1] / "01_main-chapter-code"
TRAIN = (
    "train one by python ../01_main-chapter-code/gpt_class_finetune.py "
    "--out runs/notes"
)
PALETTE = [  # a class's colour; the course's colours of errors and training
    COLOURS[name] for name in "error train value key extra sky".split()
]
FULL, SHOWN = 0.5, 0.05  # influence with the full colour, with a number
PAUSE = 300  # milliseconds without a key before the model is asked
# Of the promises made while keys are pressed only the last one is kept.
WAIT = f"""(text) => new Promise((done) => {{
    clearTimeout(window.pause);
    window.pause = setTimeout(() => done(text), {PAUSE});
}})"""
EMPTY = "Write something, or take one of the examples."
ALONE = "No single word decides here: without any one, the answer stays."


# ---- What the page says --------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A finetuned model, its tokenizer, and what goes before each text."""

    model: Classifier
    tokenizer: tiktoken.Encoding
    prefix: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.model.names

    def words_read(self, words: list[str]) -> int:
        """How many of these words fit into the context; the first always."""

        def tokens(n: int) -> int:
            text = self.prefix + " ".join(words[:n])
            return 1 + len(self.tokenizer.encode_ordinary(text))

        room = self.model.cfg["context_length"]
        if tokens(len(words)) <= room:
            return len(words)
        sizes = range(1, len(words) + 1)
        return max(1, bisect.bisect_right(sizes, room, key=tokens))


def open_run(name: str | Path) -> Reader:
    """A finetuned run by its folder; ValueError if it is not one."""
    path, _ = find_model(name)
    about = read_header(path)
    if about["architecture"] != "Classifier":
        raise ValueError(
            f"{name} holds a {about['architecture']}, which writes texts and "
            f"knows no classes. To classify, {TRAIN}"
        )
    model, tokenizer = from_pretrained(name)
    return Reader(model, tokenizer, about["prefix"])


def read_text(reader: Reader, text: str) -> Iterator[str]:
    """The answer as HTML: bars and words at once, then words in colour."""
    words = text.split()
    if not words:
        yield draw_bars(reader.names, None) + remark(EMPTY)
        return
    n = reader.words_read(words)
    whole = " ".join(words[:n])
    how = reader.model, reader.tokenizer, whole
    probs = classify(*how, prefix=reader.prefix)
    start = draw_bars(reader.names, probs) + cut_remark(reader, words, n)
    yield start + draw_words(text, [0.0] * n, reader.names, probs)
    found = word_influence(*how, prefix=reader.prefix)
    influence = [number for _, number in found]
    if max(map(abs, influence)) < SHOWN:
        start += remark(ALONE)
    yield start + draw_words(text, influence, reader.names, probs)


def cut_remark(reader: Reader, words: list[str], n: int) -> str:
    """What to say if a text does not fit; nothing if it does."""
    if n == len(words):
        return ""
    return remark(
        f"This text is longer than the {reader.model.cfg['context_length']} "
        f"tokens that the model reads at once: it has read the first {n:,} of "
        f"{len(words):,} words. The grey rest does not count."
    )


# ---- What the page looks like --------------------------------------------


def escape(text: str) -> str:
    """A reader's text for HTML, and for Gradio, which fills in templates."""
    return re.sub(r"[${}`]", lambda m: f"&#{ord(m[0])};", html.escape(text))


def colour_of(names: tuple[str, ...], name: str) -> str:
    return PALETTE[names.index(name) % len(PALETTE)]


def remark(text: str) -> str:
    return f'<p class="remark" role="status">{escape(text)}</p>'


def percent(p: float) -> str:
    """A probability in percent; never quite none, never quite all."""
    if p < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if p > 0.999 else f"{100 * p:.1f} %"


def draw_bars(names: tuple[str, ...], probs: dict | None) -> str:
    """One row for each class: its name, a bar, its probability."""
    rows = []
    for name in names:
        p = probs[name] if probs else 0.0
        said = probs is not None and p == max(probs.values())
        number = percent(p) if probs else "–"
        rows.append(
            f'<div class="score{" said" if said else ""}" data-class='
            f'"{escape(name)}"><span>{escape(name)}</span><div class="track">'
            f'<div class="bar" style="width: {100 * p:.1f}%; '
            f'background: {colour_of(names, name)}"></div></div>'
            f"<b>{number}</b></div>"
        )
    return f'<div class="bars">{"".join(rows)}</div>'


def draw_words(
    text: str, influence: list[float], names: tuple[str, ...], probs: dict
) -> str:
    """The text as it stands, each word in the colour of its influence.

    A word that speaks for the class that is said has the colour of that
    class. One that speaks against it has the other's; grey if there are many.
    What lies behind the last influence was not read.
    """
    said = max(probs, key=probs.get)
    others = [name for name in names if name != said]
    pro = colour_of(names, said)
    contra = colour_of(names, others[0]) if len(others) == 1 else "#999999"
    parts, numbers = [], iter(influence)
    for piece in re.findall(r"\s+|\S+", text):
        if piece.isspace():
            parts.append(piece)
            continue
        number = next(numbers, None)
        if number is None:
            parts.append(f'<span class="unread">{escape(piece)}</span>')
        else:
            parts.append(
                draw_word(piece, number, pro if number > 0 else contra, said)
            )
    return f'<div class="words" lang="und">{"".join(parts)}</div>'


def draw_word(word: str, number: float, colour: str, said: str) -> str:
    """A word on its colour; above it the points, if they are many."""
    if round(abs(number), 2) == 0:
        return escape(word)
    share = 60 * min(1.0, abs(number) / FULL)  # or the word is hard to read
    points = f"{100 * number:+.0f}".replace("-", "−")
    change = f"{100 * abs(number):.0f} points"
    how = "less" if number > 0 else "more"
    above = f"<rt>{points}</rt>" if abs(number) >= SHOWN else ""
    return (
        f'<ruby title="without it: {change} {how} {escape(said)}">'
        f'<span style="background: color-mix(in srgb, {colour} {share:.0f}%, '
        f'transparent)">{escape(word)}</span>{above}</ruby>'
    )


def draw_legend(names: tuple[str, ...]) -> str:
    """What the colours of words mean, in words and as a scale."""
    scale = "Grey words speak against it."
    if len(names) == 2:
        colours = [colour_of(names, name) for name in names]
        parts = [(colours[0], 60), (colours[0], 30), ("transparent", 0),
                 (colours[1], 30), (colours[1], 60)]  # fmt: skip
        steps = "".join(
            f'<i style="background: color-mix(in srgb, {colour} {share}%, '
            'transparent)"></i>'
            for colour, share in parts
        )
        ends = [f"speaks for {escape(name)}" for name in names]
        scale = f'<span class="scale">{ends[0]} {steps} {ends[1]}</span>'
    return (
        '<p class="legend">Each word is left out once, and the answer is '
        "asked for again. The number above a word says by how many percentage "
        f"points the answer is less probable without it (−: more). {scale}</p>"
    )


CSS = """
.gradio-container { max-width: 760px !important; margin: auto !important; }
.bars { display: grid; gap: 10px; padding: 4px 0 12px; }
.score { display: grid; gap: 12px; align-items: center;
       grid-template-columns: minmax(80px, max-content) 1fr 76px; }
.score span { overflow-wrap: anywhere; }
.score b { text-align: right; font-weight: 400; white-space: nowrap;
         font-variant-numeric: tabular-nums; }
.score.said span, .score.said b { font-weight: 700; }
.track { height: 18px; border-radius: 4px; overflow: hidden;
         background: var(--border-color-primary); }
.bar { height: 100%; }
.words { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 18px;
         line-height: 2.2; }
.words ruby { ruby-position: over; }
.words ruby span { border-radius: 4px; padding: 1px 3px; margin: 0 -3px; }
.words rt { font-size: 11px; line-height: 1.7; }
.unread { opacity: 0.45; }
.remark, .legend { opacity: 0.8; margin: 4px 0; }
.legend { font-size: 13px; }
.scale { white-space: nowrap; }
.scale i { display: inline-block; width: 18px; height: 11px; }
.title { justify-content: space-between; }
.title button { max-width: 110px; flex-grow: 0; }
button.example { text-align: left; justify-content: start; font-weight: 400;
                 background: none; color: var(--body-text-color);
                 border: 1px solid var(--border-color-primary); }
"""


def new_page(reader: Reader) -> Any:
    """The page, a gradio.Blocks; nothing is served yet."""
    gr = import_gradio()

    def answer(text: str) -> Iterator[str]:
        yield from read_text(reader, text)

    title = f"{' or '.join(reader.names)}?".capitalize()
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        with gr.Row(elem_classes="title"):
            gr.Markdown(f"# {title}", sanitize_html=True)
            dark = gr.Button("light / dark", size="sm", scale=0)
        box = gr.Textbox(
            label="Your text",
            lines=3,
            max_lines=12,
            autofocus=True,
            placeholder="Write here. The answer changes as you type.",
        )
        shown = gr.HTML(next(read_text(reader, "")))
        gr.HTML(draw_legend(reader.names))
        if examples := pick_examples(reader.names):
            gr.HTML('<p class="legend">Examples. Guess before you ask:</p>')
        for text in examples:
            button = gr.Button(text, size="md", elem_classes="example")
            button.click(None, None, box, js=f"() => {json.dumps(text)}")
        asked = box.change(
            answer,
            box,
            shown,
            js=WAIT,
            trigger_mode="multiple",
            show_progress="hidden",
            api_name="read",
        )
        box.change(None, cancels=[asked])
        dark.click(None, js="() => document.body.classList.toggle('dark')")
    return page


def pick_examples(names: tuple[str, ...], n: int = 4) -> list[str]:
    """A few notes of the town, if that is what the model judges."""
    if tuple(names) != NAMES:
        return []
    return [note.text for note in hand_written()[:n]]


# ---- The server ----------------------------------------------------------


def import_gradio() -> Any:
    """Gradio, told to count nobody; ValueError if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError:
        raise ValueError(
            "Gradio is missing: pip install -r requirements-ui.txt"
        ) from None
    return gradio


def serve(page: Any, port: int | None = None, **how: Any) -> str:
    """Serve a page to this computer alone; its address.

    Without a port it is the first free one from 7860 on; ValueError if the
    port is taken.
    """
    theme = import_gradio().themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["monospace"]
    )
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            ssr_mode=False,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            theme=theme,
            css=CSS,
            **how,
        )
    except OSError as error:
        raise ValueError(
            f"port {port or 'from 7860 on'} cannot be had: name another by "
            f"--port ({' '.join(str(error).split())[:60]})"
        ) from None
    return address


def pick_run() -> Path:
    """The newest run in runs/, here or in the main folder."""
    for folder in (Path("runs"), MAIN / "runs"):
        with contextlib.suppress(ValueError):
            return newest_run(folder)
    raise ValueError(f"no finetuned model yet: {TRAIN}, then start again")


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="app.py", description=__doc__.split("\n")[0])
    p.add_argument(
        "--model", metavar="RUN", help="a run folder (default: the newest)"
    )
    p.add_argument(
        "--port", type=between(1, 65535), help="default: from 7860 on"
    )
    p.add_argument(
        "--browser", action="store_true", help="open the page at once"
    )
    return p.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)
    try:
        reader = open_run(args.model or pick_run())
        page = new_page(reader)
        address = serve(page, args.port, inbrowser=args.browser)
    except (ValueError, OSError) as error:
        print(f"app.py: error: {error}", file=sys.stderr)
        return 2
    print(f"The page is at {address} (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
