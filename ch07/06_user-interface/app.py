"""Chat with a model of the course, and see how sure it is of each word.

    python app.py --model runs/instructions

The answer comes word by word; a word says by its colour how probable the
model found it, and what it would rather have said. All of it runs on this
computer: the page asks nothing of any other.
"""

import argparse
import codecs
import contextlib
import functools
import html
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiktoken
import torch
from previous_chapters import (
    CHAT_TOKENS,
    Classifier,
    Message,
    encode_chat,
    encode_prompt,
    encode_prompt_of,
    from_pretrained,
    generate_tokens,
    has_chat,
    next_token_probs,
    read_header,
    room_for,
    to_messages,
)
from scratch_llm.cli import ShortParser, between, run_script
from scratch_llm.gpt2_files import GPT2, find_gpt2
from scratch_llm.instructions import Entry, entries
from scratch_llm.runs import find_model
from scratch_llm.style import COLOURS
from torch import Tensor, nn

MAIN = Path(__file__).resolve().parents[1] / "01_main-chapter-code"
WAYS = {  # how a conversation becomes one text for the model
    "chat": "turns with special tokens, as in finetuning",
    "Alpaca": "each message alone, in Alpaca's form",
    "text": "the model writes the text on",
}
EMPTY = "Say something, or take one of the examples below."
RIVALS = 3  # how many other words are named


# ---- What the model says -------------------------------------------------


@dataclass
class Word:
    """A word of an answer: its probability, by parts, and its rivals.

    parts: its tokens. rivals: what was likeliest besides its first one.
    """

    text: str
    p: float
    parts: list[tuple[str, float]]
    rivals: list[tuple[str, float]]


@dataclass
class Turn:
    """What one side has said."""

    role: str
    content: str
    words: list[Word] = field(default_factory=list)
    cut: bool = False  # it would have gone on

    def message(self) -> Message:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Dials:
    """How to choose words, how many, and what is said before all else."""

    temperature: float = 0.0
    top_p: float = 1.0
    longest: int = 100
    system: str = ""


class Listener(nn.Module):
    """A model that keeps what it said of the last token: logits (B, V).

    Each answer has its own, so that several can be written at once.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.cfg, self.logits = model, model.cfg, None
        self.new_cache = model.new_cache
        self.training = model.training

    def forward(self, *args: Any, **how: Any) -> Tensor:
        logits = self.model(*args, **how)
        self.logits = logits[:, -1]
        return logits


@dataclass(frozen=True)
class Speaker:
    """A model, and its tokenizer."""

    model: nn.Module
    tokenizer: tiktoken.Encoding

    @property
    def ways(self) -> list[str]:
        """How it can be asked; the first is what it was trained for."""
        chat = has_chat(self.tokenizer)
        return ["chat", "text"] if chat else ["text", "Alpaca"]

    def prompt(
        self, turns: list[Turn], way: str, dials: Dials
    ) -> tuple[list[int], bool]:
        """Ids to write on from, and whether a part of the chat is left out.

        What is oldest goes first, until there is room for an answer.
        """
        most = self.model.cfg["context_length"]
        most -= min(dials.longest, most // 4)
        if way == "text":
            text = "".join(
                ("\n" if turn.role == "user" and i else "") + turn.content
                for i, turn in enumerate(turns)
            )
            ids = encode_prompt(self.tokenizer, text)
            if len(ids) <= most:
                return ids, False
            return [ids[0], *ids[1 - most :]], True
        if way == "Alpaca":
            entry = Entry(turns[-1].content, "", "", "")
            return encode_prompt_of(self.tokenizer, entry), False
        first = [{"role": "system", "content": dials.system}]
        first = first if dials.system.strip() else []
        for start in range(0, len(turns), 2):
            messages = first + [turn.message() for turn in turns[start:]]
            ids = encode_chat(self.tokenizer, messages)
            if len(ids) <= most:
                break
        return ids, start > 0

    def answer(
        self, prompt: list[int], way: str, dials: Dials
    ) -> Iterator[Turn]:
        """What the model says, as far as it has come, after each token."""
        tokenizer, listener = self.tokenizer, Listener(self.model)
        names = CHAT_TOKENS if has_chat(tokenizer) else ()
        ends = {*map(tokenizer.encode_single_token, names)}
        device = next(self.model.parameters()).device
        steps = generate_tokens(
            listener,
            torch.tensor([prompt], device=device),
            room_for(self.model, prompt, dials.longest),
            dials.temperature,
            top_p=dials.top_p,
        )
        said = Turn("assistant", "", cut=True)
        letters = codecs.getincrementaldecoder("utf-8")("replace")
        for step in steps:
            i = step.item()
            if i in ends | {tokenizer.eot_token}:
                said.cut = False
                break
            text = letters.decode(tokenizer.decode_single_token_bytes(i))
            if way != "text" and not said.content:
                text = text.lstrip(" ")
            self.hear(said, text, i, listener.logits[0])
            yield said
        if rest := letters.decode(b"", final=True):
            said.content += rest
            said.words[-1].text += rest
        yield said

    def hear(self, said: Turn, text: str, i: int, logits: Tensor) -> None:
        """Add a token to the last word of an answer, or begin another."""
        probs = next_token_probs(logits)  # (V,)
        p = probs[i].item()
        name = self.tokenizer.decode([i])
        if not said.words or (text[:1].isspace() and said.words[-1].text):
            best = probs.topk(RIVALS + 1)
            rivals = [
                (self.tokenizer.decode([j]), q)
                for q, j in zip(*map(Tensor.tolist, best), strict=True)
                if j != i
            ]
            said.words.append(Word("", 1.0, [], rivals[:RIVALS]))
        word = said.words[-1]
        word.text += text
        word.p *= p
        word.parts.append((name, p))
        said.content += text


@functools.lru_cache(4)
def open_speaker(name: str) -> Speaker:
    """A model of the course by its name; ValueError if it writes no text."""
    model, tokenizer = from_pretrained(name)
    if isinstance(model, Classifier):
        raise ValueError(f"{name} is a classifier, which writes no text")
    return Speaker(model.eval(), tokenizer)


def found_models() -> list[str]:
    """What can be opened here: runs, the newest first, and the bases."""
    files = [
        path
        for folder in {Path("runs").resolve(), MAIN / "runs"}
        for path in folder.glob("*/model.safetensors")
    ]
    files.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    names = []
    for path in files:
        with contextlib.suppress(ValueError):
            if read_header(path)["architecture"] == "GPTModel":
                names.append(os.path.relpath(path.parent))
    for name in ("librarian", "storyteller"):
        with contextlib.suppress(ValueError):
            find_model(name)
            names.append(name)
    return names + [name for name in GPT2 if find_gpt2(name, "gpt2")]


def converse(
    speaker: Speaker, turns: list[Turn], way: str, dials: Dials
) -> Iterator[tuple[list[Turn], str]]:
    """The turns with an answer that grows, and what is to be said of it."""
    way = way if way in speaker.ways else speaker.ways[0]
    prompt, lost = speaker.prompt(turns, way, dials)
    note = ""
    if lost:
        note = (
            f"The model reads {speaker.model.cfg['context_length']} tokens at "
            "once: the beginning of this chat is no longer before it."
        )
    for said in speaker.answer(prompt, way, dials):
        yield [*turns, said], note


# ---- What the page looks like --------------------------------------------


def escape(text: str) -> str:
    """A text for HTML, and for Gradio, which fills in templates."""
    return re.sub(r"[${}`\n]", lambda m: f"&#{ord(m[0])};", html.escape(text))


def percent(p: float) -> str:
    """A probability in percent; never quite none, never quite all."""
    if p < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if p > 0.999 else f"{100 * p:.1f} %"


def visible(token: str) -> str:
    """A token by its letters: spaces around it do not matter here."""
    return token.strip(" ").replace("\n", "⏎") or "␣"


def describe(word: Word) -> str:
    """What stands over a word while the mouse is on it."""
    lines = [f"{visible(word.text)} {percent(word.p)}"]
    if len(word.parts) > 1:
        lines.append(
            " · ".join(f"{visible(t)} {percent(p)}" for t, p in word.parts)
        )
    rivals = [f"{visible(t)} {percent(p)}" for t, p in word.rivals]
    return "\n".join([*lines, "or: " + ", ".join(rivals)])


def draw_word(word: Word) -> str:
    """A word, the redder the less probable the model found it."""
    text = word.text.lstrip()
    space = word.text[: len(word.text) - len(text)]
    share = 55 * (1 - word.p)
    return (
        f'{escape(space)}<span class="word" data-tip="'
        f'{escape(describe(word))}" style="background: color-mix(in srgb, '
        f'{COLOURS["error"]} {share:.0f}%, transparent)">{escape(text)}</span>'
    )


def draw_turn(turn: Turn, writing: bool = False) -> str:
    if turn.role == "user":
        inside, who = escape(turn.content), "You"
    else:
        inside, who = "".join(map(draw_word, turn.words)).lstrip(), "Model"
        if writing:
            inside += '<span class="cursor"></span>'
        elif turn.cut:
            inside += " …"
    return (
        f'<div class="turn {turn.role}"><b class="who">{who}</b>'
        f'<div class="said" lang="und">{inside}</div></div>'
    )


def draw_chat(turns: list[Turn], note: str = "", writing: bool = False) -> str:
    """The whole conversation; a note stands below it."""
    parts = [
        draw_turn(turn, writing and turn is turns[-1]) for turn in turns
    ] or [f'<p class="remark">{escape(EMPTY)}</p>']
    if note:
        parts.append(f'<p class="remark" role="status">{escape(note)}</p>')
    return f'<div class="log" role="log">{"".join(parts)}</div>'


def draw_legend() -> str:
    steps = "".join(
        f'<i style="background: color-mix(in srgb, {COLOURS["error"]} '
        f'{share}%, transparent)"></i>'
        for share in (0, 14, 28, 42, 55)
    )
    return (
        '<p class="legend">The colour of a word is how probable the model '
        f'found it: <span class="scale">100 % {steps} 0 %</span>. Rest the '
        "mouse on a word to read the number, and what the model might have "
        "said instead.</p>"
    )


CSS = """
.gradio-container { max-width: 820px !important; margin: auto !important; }
.title { justify-content: space-between; }
.title button { max-width: 110px; flex-grow: 0; }
.log { display: grid; gap: 14px; padding: 12px; }
.turn { display: grid; gap: 3px; max-width: 88%; }
.turn.user { justify-self: end; }
.who { font-size: 12px; font-weight: 600; opacity: 0.7; }
.turn.user .who { text-align: right; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 16px;
        line-height: 1.6; border-radius: 12px; padding: 8px 14px;
        border: 1px solid var(--border-color-primary); }
.turn.user .said { background: color-mix(in srgb, BLUE 18%, transparent); }
.word { border-radius: 4px; padding: 1px 2px; margin: 0 -2px; }
.word:hover { outline: 2px solid BLUE; }
.cursor { display: inline-block; width: 8px; height: 1em; margin-left: 3px;
          vertical-align: text-bottom; background: BLUE;
          animation: blink 1s steps(2) infinite; }
@keyframes blink { to { opacity: 0; } }
@media (prefers-reduced-motion: reduce) { .cursor { animation: none; } }
.remark, .legend { opacity: 0.8; margin: 4px 0; }
.legend { font-size: 13px; }
.scale { white-space: nowrap; }
.scale i { display: inline-block; width: 18px; height: 11px; }
#tip { position: fixed; z-index: 99; pointer-events: none; padding: 6px 10px;
       max-width: min(420px, 90vw); font: 13px/1.5 system-ui, sans-serif;
       white-space: pre-wrap; overflow-wrap: anywhere; border-radius: 8px;
       color: #fff; background: #222; border: 1px solid #777; }
#chat { border: 1px solid var(--border-color-primary); border-radius: 12px; }
button.example { text-align: left; justify-content: start; font-weight: 400;
                 white-space: pre-line; background: none;
                 color: var(--body-text-color);
                 border: 1px solid var(--border-color-primary); }
""".replace("BLUE", COLOURS["train"])

TIP = """() => {
    const tip = document.createElement('div');
    tip.id = 'tip';
    tip.hidden = true;
    document.body.append(tip);
    document.addEventListener('mouseover', (event) => {
        const word = event.target.closest?.('.word');
        tip.hidden = !word;
        if (!word) return;
        tip.textContent = word.dataset.tip;
        const at = word.getClientRects()[0];
        const low = at.top - tip.offsetHeight - 6 < 0;
        const most = innerWidth - tip.offsetWidth - 8;
        tip.style.left = Math.max(8, Math.min(at.left, most)) + 'px';
        tip.style.top = (low ? at.bottom + 6
                             : at.top - tip.offsetHeight - 6) + 'px';
    });
}"""


def new_page(names: list[str]) -> Any:
    """The page, a gradio.Blocks; nothing is served yet.

    names: models to choose from; the first is opened now. ValueError if it
    cannot be.
    """
    gr = import_gradio()
    ways = open_speaker(names[0]).ways

    def reply(turns, name, way, *dials):
        """Answer the last turn: turns and page, again and again."""
        note = ""
        try:
            speaker = open_speaker(name)
            yield turns, draw_chat([*turns, Turn("assistant", "")], "", True)
            said = converse(speaker, turns, way, Dials(*dials))
            for more, note in said:
                yield more, draw_chat(more, note, True)
            yield more, draw_chat(more, note)
        except (ValueError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            yield turns[:-1], draw_chat(turns[:-1], f"Sorry: {reason}")

    def say(text, turns, name, way, *dials):
        turns = settled(turns)
        if not text.strip():
            yield gr.skip(), turns, draw_chat(turns, "" if turns else EMPTY)
            return
        more = [*turns, Turn("user", text.strip())]
        for now, page in reply(more, name, way, *dials):
            failed = len(now) <= len(turns)
            yield text if failed else "", now, page

    def again(turns, name, way, *dials):
        turns = settled(turns)
        if turns:
            yield from reply(turns[:-1], name, way, *dials)
        else:
            yield turns, draw_chat(turns)

    def back(turns):
        """Without the last question, which goes back into the box."""
        turns = settled(turns)
        text = turns[-2].content if turns else ""
        return text, turns[:-2], draw_chat(turns[:-2])

    def settle(turns):
        turns = settled(turns)
        return turns, draw_chat(turns)

    def fresh():
        return [], draw_chat([])

    def other_model(name):
        try:
            ways = open_speaker(name).ways
        except (ValueError, OSError) as error:
            raise gr.Error(str(error)) from None
        return gr.Radio(ways, value=ways[0])

    with gr.Blocks(title="A chat", analytics_enabled=False) as page:
        turns = gr.State([])
        with gr.Row(elem_classes="title"):
            gr.Markdown("# A chat with your model", sanitize_html=True)
            dark = gr.Button("light / dark", size="sm", scale=0)
        with gr.Row():
            name = gr.Dropdown(names, value=names[0], label="Model")
            way = gr.Radio(ways, value=ways[0], label="It is asked by")
        shown = gr.HTML(
            draw_chat([]),
            elem_id="chat",
            min_height=240,
            max_height=460,
            autoscroll=True,
        )
        with gr.Row(equal_height=True):
            box = gr.Textbox(
                show_label=False,
                lines=1,
                max_lines=8,
                autofocus=True,
                placeholder="Your message. Enter sends it, Shift+Enter "
                "begins a line.",
                submit_btn=True,
                scale=9,
            )
        with gr.Row():
            stop = gr.Button("Stop", size="sm")
            redo = gr.Button("Answer again", size="sm")
            undo = gr.Button("Take back", size="sm")
            clear = gr.Button("New chat", size="sm")
        gr.HTML(draw_legend())
        gr.HTML('<p class="legend">Examples. Guess before you ask:</p>')
        for text in examples():
            button = gr.Button(text, size="sm", elem_classes="example")
            button.click(None, None, box, js=f"() => {json.dumps(text)}")
        with gr.Accordion("Dials", open=True):
            with gr.Row():
                temperature = gr.Slider(
                    0, 2, value=0, step=0.05, label="Temperature"
                )
                top_p = gr.Slider(0.05, 1, value=1, step=0.05, label="Top-p")
                longest = gr.Slider(
                    1, 256, value=100, step=1, label="Most tokens"
                )
            system = gr.Textbox(
                "",
                label="System text (chats only)",
                placeholder="What the model is told before the chat",
                max_lines=3,
            )
        how = [name, way, temperature, top_p, longest, system]
        quiet = {"show_progress": "hidden", "concurrency_limit": 4}
        asked = box.submit(
            say,
            [box, turns, *how],
            [box, turns, shown],
            api_name="say",
            **quiet,
        )
        anew = redo.click(again, [turns, *how], [turns, shown], **quiet)
        for button, do, before, after in (
            (stop, settle, [turns], [turns, shown]),
            (undo, back, [turns], [box, turns, shown]),
            (clear, fresh, [], [turns, shown]),
        ):  # the answer ends first, or its last word comes after all
            button.click(None, cancels=[asked, anew]).then(
                do, before, after, show_progress="hidden"
            )
        name.change(other_model, name, way)
        dark.click(None, js="() => document.body.classList.toggle('dark')")
        page.load(None, js=TIP)
    return page


def settled(turns: list[Turn]) -> list[Turn]:
    """The turns in pairs: a question that was never answered is dropped."""
    return turns[: len(turns) // 2 * 2]


def examples() -> list[str]:
    """A few instructions of the town, and the beginning of a story."""
    some: dict[str, str] = {}
    for entry in entries(60, "test", 0, ("opposite", "colour", "feeling")):
        text = to_messages(entry, answer=False)[0]["content"]
        if len(text) < len(some.get(entry.family, text + "longer")):
            some[entry.family] = text
    return ["One day, Nora went to the harbour", *sorted(some.values())]


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


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="app.py", description=__doc__.split("\n")[0])
    p.add_argument(
        "--model",
        nargs="+",
        metavar="MODEL",
        help="those to choose from: storyteller, gpt2-small, a run folder "
        "(default: all that are here, the newest run first)",
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
        page = new_page(args.model or found_models())
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
