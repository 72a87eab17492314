"""Serve models of the course to programs that speak OpenAI's protocol.

    python serve.py --model storyteller
    curl http://127.0.0.1:8000/v1/models

Several requests are answered at once, whole or as a stream. Only this
computer can ask.
"""

import argparse
import contextlib
import itertools
import json
import math
import selectors
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import tiktoken
import torch
from previous_chapters import (
    CHAT_TOKENS,
    Classifier,
    Message,
    check_messages,
    encode_chat,
    encode_prompt,
    from_pretrained,
    generate_tokens,
    has_chat,
    room_for,
)
from scratch_llm.cli import ShortParser, between, run_script
from scratch_llm.runs import find_model, newest_run
from scratch_llm.text import text_pieces, until

MAIN = Path(__file__).resolve().parents[1] / "01_main-chapter-code"
CHAT_PATH, MODELS_PATH = "/v1/chat/completions", "/v1/models"
LARGEST = 2**20  # bytes of a request
SILENCE = 60  # seconds that a connection may say nothing
REFUSED = {  # what would change the answer, and is not done here
    "audio": None,
    "frequency_penalty": 0,
    "function_call": "none",
    "functions": [],
    "logit_bias": {},
    "logprobs": False,
    "modalities": ["text"],
    "presence_penalty": 0,
    "response_format": {"type": "text"},
    "tool_choice": "none",
    "tools": [],
    "top_logprobs": 0,
    "web_search_options": None,
}


class Refusal(Exception):
    """Why a request gets no answer: an HTTP status, and OpenAI's words."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    def as_json(self) -> dict:
        kind = (
            "server_error" if self.status >= 500 else ("invalid_request_error")
        )
        about = {"message": str(self), "type": kind}
        return {"error": about | {"param": self.param, "code": self.code}}


class Gone(Exception):
    """The client has closed the connection."""


# ---- What is asked -------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """A request that makes sense."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    stream: bool = False
    usage: bool = False


def read_request(body: bytes) -> Wanted:
    """A request from its JSON; Refusal says what is wrong."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refusal(400, "the body is no JSON object")
    for name, harmless in REFUSED.items():
        if asked.get(name) is not None and asked[name] != harmless:
            raise Refusal(
                400,
                f"{name} is not supported: leave it out",
                "unsupported_parameter",
                name,
            )
    if not isinstance(asked.get("model"), str):
        raise Refusal(400, "model must be the name of a model", None, "model")
    long = "max_completion_tokens"
    if asked.get(long) is None:
        long = "max_tokens"
    about = asked.get("stream_options")
    if not isinstance(about, dict | None):
        what = "stream_options"
        raise Refusal(400, f"{what} must be an object", None, what)
    return Wanted(
        asked["model"],
        read_messages(asked.get("messages")),
        number(asked, long, 1, 10**9, None, int),
        number(asked, "temperature", 0, 2, 0.0),
        number(asked, "top_p", 0, 1, 1.0) or 1e-9,  # 0: the likeliest alone
        read_stop(asked.get("stop")),
        number(asked, "seed", -(2**63), 2**63 - 1, None, int),
        number(asked, "n", 1, 8, 1, int),
        truth(asked, "stream"),
        truth(about or {}, "include_usage"),
    )


def number(
    asked: dict,
    name: str,
    low: float,
    high: float,
    default: Any,
    kind: type = float,
) -> Any:
    """A number of the request, or the default where it is absent or null."""
    value = asked.get(name)
    if value is None:
        return default
    allowed = int if kind is int else int | float
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise Refusal(400, f"{name}={value!r} is no {kind.__name__}"[:200],
                      "invalid_type", name)  # fmt: skip
    if not low <= value <= high:  # nan is not, either
        raise Refusal(400, f"{name}={value} is not from {low:g} to {high:g}",
                      "invalid_value", name)  # fmt: skip
    return kind(value)


def truth(asked: dict, name: str) -> bool:
    value = asked.get(name)
    if not isinstance(value, bool | None):
        raise Refusal(400, f"{name} must be true or false", None, name)
    return bool(value)


def read_stop(value: Any) -> tuple[str, ...]:
    """The texts before which an answer ends: none, one, or up to four."""
    stops = [value] if isinstance(value, str) else value or []
    if (
        not isinstance(stops, list)
        or len(stops) > 4
        or not all(isinstance(text, str) and text for text in stops)
    ):
        raise Refusal(400, "stop must be up to four texts", None, "stop")
    return (*stops,)


def read_messages(items: Any) -> list[Message]:
    """The messages of a request as those of a chat of the course."""
    if not isinstance(items, list):
        raise Refusal(400, "messages must be a list", None, "messages")
    messages = [read_message(item) for item in items]
    try:
        check_messages(messages)
    except ValueError as error:
        raise Refusal(400, str(error), None, "messages") from None
    if messages[-1]["role"] != "user":
        raise Refusal(
            400, "the last message must be the user's", None, "messages"
        )
    return messages


def read_message(item: Any) -> Any:
    """OpenAI's other ways to write a message: a developer, a list of parts."""
    if not isinstance(item, dict):
        return item
    role, content = item.get("role"), item.get("content")
    if isinstance(content, list):
        if not all(
            isinstance(part, dict)
            and part.get("type") == "text"
            and isinstance(part.get("text"), str)
            for part in content
        ):
            raise Refusal(400, "this model reads text alone: content may "
                          "have no other parts", None, "messages")  # fmt: skip
        content = "".join(part["text"] for part in content)
    return {
        "role": "system" if role == "developer" else role,
        "content": content,
    }


# ---- What is answered ----------------------------------------------------


@dataclass(frozen=True)
class Served:
    """A model, its tokenizer, and how a chat becomes one text for it."""

    model: Any
    tokenizer: tiktoken.Encoding
    chats: bool = True

    def prompt(self, messages: list[Message]) -> list[int]:
        """Ids to write on from; a model that knows no chat reads the text."""
        if self.chats:
            return encode_chat(self.tokenizer, messages)
        text = "\n".join(message["content"] for message in messages)
        return encode_prompt(self.tokenizer, text)


def open_model(name: str | Path) -> Served:
    """A model of the course by its name; ValueError if it writes no text."""
    model, tokenizer = from_pretrained(name)
    if isinstance(model, Classifier):
        raise ValueError(f"{name} is a classifier, which writes no text")
    return Served(model.eval(), tokenizer, has_chat(tokenizer))


@dataclass
class Reply:
    """One answer while it is written: iterate over its pieces of text.

    tokens: how many it has so far. reason: why it ended, "stop" (the model,
    or a text of `stop`) or "length".
    """

    served: Served
    wanted: Wanted
    prompt: list[int]
    number: int = 0
    tokens: int = 0
    reason: str | None = field(default=None)

    def __iter__(self) -> Iterator[str]:
        token_bytes = self.served.tokenizer.decode_single_token_bytes
        pieces = text_pieces(self.ids(), token_bytes)
        if self.served.chats:  # the space before the first word
            pieces = itertools.chain([next(pieces, "").lstrip(" ")], pieces)
        for text in self.wanted.stop:
            pieces = until(pieces, text)
        yield from filter(None, pieces)
        self.reason = self.reason or "stop"

    def ids(self) -> Iterator[int]:
        """The tokens of the answer; what ends it is none of them."""
        model, tokenizer = self.served.model, self.served.tokenizer
        device = next(model.parameters()).device
        generator = torch.Generator(device)
        generator.seed()
        if self.wanted.seed is not None:
            generator.manual_seed((self.wanted.seed + self.number) % 2**63)
        ends = {tokenizer.eot_token}
        if self.served.chats:
            ends |= {*map(tokenizer.encode_single_token, CHAT_TOKENS)}
        for step in generate_tokens(
            model,
            torch.tensor([self.prompt], device=device),
            self.room(),
            self.wanted.temperature,
            top_p=self.wanted.top_p,
            generator=generator,
        ):
            if step.item() in ends:
                self.reason = "stop"
                return
            self.tokens += 1
            yield step.item()
        self.reason = "length"

    def room(self) -> int:
        most = self.wanted.max_tokens or math.inf
        try:
            return room_for(self.served.model, self.prompt, most)
        except ValueError as error:
            code = "context_length_exceeded"
            raise Refusal(400, str(error), code, "messages") from None


# ---- The protocol --------------------------------------------------------


class Server(ThreadingHTTPServer):
    """A thread for each connection; `parallel` of them write at a time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        models: dict[str, Served],
        port: int = 0,
        parallel: int = 4,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.models, self.say = models, say
        self.slots = threading.BoundedSemaphore(parallel)
        self.began = int(time.time())
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is no news; anything else is said."""
        error = (
            sys.exception()
            if hasattr(sys, "exception")
            else (sys.exc_info()[1])
        )
        if not isinstance(error, OSError):
            self.say(f"connection lost: {error!r}")


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP 1.1: a connection may ask again, a stream is chunked."""

    protocol_version = "HTTP/1.1"
    server_version = "ScratchLLM"
    disable_nagle_algorithm = True  # a token is not to wait for the next
    timeout = SILENCE
    server: Server
    streams = False  # whether the headers of a stream are out

    def do_GET(self) -> None:
        self.answer(self.get)

    def do_POST(self) -> None:
        self.answer(self.post)

    def answer(self, act: Callable[[str], None]) -> None:
        """Do what is asked. What goes wrong is said, and hurts nobody else."""
        self.streams, path = False, urlsplit(self.path).path.rstrip("/")
        try:
            act(path)
        except (Gone, OSError):
            self.close_connection = True
        except Refusal as error:
            self.refuse(error)
        except Exception as error:
            self.server.say(f"{type(error).__name__}: {error}")
            reason = str(error).splitlines()[:1] or [type(error).__name__]
            self.refuse(Refusal(500, f"the model cannot write: {reason[0]}"))

    def refuse(self, error: Refusal) -> None:
        """Send an error: as a reply, or as the last event of a stream."""
        with contextlib.suppress(OSError):
            if not self.streams:
                return self.send(error.as_json(), error.status)
            self.event(error.as_json())
            self.chunk(b"")
        self.close_connection = True

    def send_error(self, code: int, message: Any = None, *_: Any) -> None:
        """What the base class finds wrong, as JSON too."""
        self.close_connection = True
        self.refuse(Refusal(code, message or self.responses[code][0]))

    def send(self, data: dict, status: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def get(self, path: str) -> None:
        """/v1/models, or one of them."""
        models = {
            name: {
                "id": name,
                "object": "model",
                "created": self.server.began,
                "owned_by": "scratch-llm",
            }
            for name in self.server.models
        }
        name = unquote(path.removeprefix(f"{MODELS_PATH}/"))
        if path == MODELS_PATH:
            self.send({"object": "list", "data": [*models.values()]})
        elif path == CHAT_PATH:
            raise Refusal(405, f"{path} wants POST, not GET")
        elif name == path:
            raise self.lost(path)
        else:
            self.find(name)
            self.send(models[name])

    def post(self, path: str) -> None:
        """/v1/chat/completions: the body is read first, whatever follows."""
        body = self.read_body()
        if path != CHAT_PATH:
            raise self.lost(path)
        wanted = read_request(body)
        served = self.find(wanted.model)
        prompt = served.prompt(wanted.messages)
        replies = [Reply(served, wanted, prompt, i) for i in range(wanted.n)]
        replies[0].room()  # or nothing is begun
        about = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": wanted.model,
        }
        start = time.perf_counter()
        try:
            if wanted.stream:
                self.stream(replies, about)
            else:
                self.whole(replies, about)
        finally:
            tokens = sum(reply.tokens for reply in replies)
            seconds = time.perf_counter() - start
            last = replies[-1].reason or "the client has gone"
            self.server.say(f"{wanted.model}: {tokens} tokens in "
                            f"{seconds:.1f} s, {last}")  # fmt: skip

    def lost(self, path: str) -> Refusal:
        known = f"GET {MODELS_PATH} and POST {CHAT_PATH}"
        return Refusal(404, f"no {path or '/'} here, only {known}")

    def find(self, name: str) -> Served:
        if name not in self.server.models:
            known = ", ".join(self.server.models)
            raise Refusal(404, f"no model {name!r} here, only {known}"[:300],
                          "model_not_found", "model")  # fmt: skip
        return self.server.models[name]

    def read_body(self) -> bytes:
        """The body of a request; without its length we cannot find its end."""
        length = self.headers.get("Content-Length", "")
        self.close_connection, keep = True, self.close_connection
        if not (length.isascii() and length.isdecimal()):
            raise Refusal(411, "Content-Length is missing")
        if len(length) > 12 or int(length) > LARGEST:
            raise Refusal(413, f"a request may have {LARGEST:,} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Gone
        self.close_connection = keep
        return body

    def pieces(self, reply: Reply) -> Iterator[str]:
        """The pieces of a reply, as long as somebody waits for them."""
        with self.server.slots, contextlib.closing(iter(reply)) as pieces:
            self.check_client()
            for piece in pieces:
                yield piece
                self.check_client()

    def check_client(self) -> None:
        """Gone if the client has closed its end of the connection."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            ready = selector.select(0)
        if ready and not self.connection.recv(1, socket.MSG_PEEK):
            raise Gone

    def whole(self, replies: list[Reply], about: dict) -> None:
        """All replies in one JSON."""
        texts = ["".join(self.pieces(reply)) for reply in replies]
        choices = [
            {
                "index": i,
                "message": {
                    "role": "assistant",
                    "content": text,
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": reply.reason,
            }
            for i, (text, reply) in enumerate(zip(texts, replies, strict=True))
        ]
        kind = {"object": "chat.completion", "choices": choices}
        self.send(about | kind | {"usage": usage(replies)})

    def stream(self, replies: list[Reply], about: dict) -> None:
        """Piece by piece, as server-sent events."""
        about = about | {"object": "chat.completion.chunk"}

        def part(i: int, delta: dict, reason: str | None = None) -> None:
            choice = {"index": i, "delta": delta, "logprobs": None}
            choices = [choice | {"finish_reason": reason}]
            more = {"usage": None} if replies[0].wanted.usage else {}
            self.event(about | {"choices": choices} | more)

        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.streams = True
        for i, reply in enumerate(replies):
            part(i, {"role": "assistant", "content": ""})
            for piece in self.pieces(reply):
                part(i, {"content": piece})
            part(i, {}, reply.reason)
        if replies[0].wanted.usage:
            self.event(about | {"choices": [], "usage": usage(replies)})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, data: dict) -> None:
        self.chunk(f"data: {json.dumps(data)}\n\n".encode())

    def chunk(self, data: bytes) -> None:
        """A piece of a body whose length nobody knows; b"" is the last."""
        self.wfile.write(b"%X\r\n%b\r\n" % (len(data), data))

    def log_message(self, *_: object) -> None:
        """Nothing: the server says itself what it has done."""


def usage(replies: list[Reply]) -> dict:
    """How many tokens were read and written."""
    read, wrote = len(replies[0].prompt), sum(r.tokens for r in replies)
    return {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
    }


# ---- The command line ----------------------------------------------------


def default_model() -> str:
    """The newest finetuned run, else the best base that is here."""
    for folder in (Path("runs"), MAIN / "runs"):
        with contextlib.suppress(ValueError):
            return str(newest_run(folder))
    with contextlib.suppress(ValueError):
        find_model("librarian")
        return "librarian"
    return "storyteller"


def open_models(names: list[str]) -> dict[str, Served]:
    """Models by the names under which they are served: a run's by its own."""
    models: dict[str, Served] = {}
    for name in names:
        short = Path(name).name or name
        if short in models:
            raise ValueError(f"two models are called {short}: rename a run")
        models[short] = open_model(name)
    return models


def options(argv: list[str] | None) -> argparse.Namespace:
    p = ShortParser(prog="serve.py", description=__doc__.split("\n")[0])
    p.add_argument(
        "--model",
        nargs="+",
        metavar="MODEL",
        help="one or several: storyteller, gpt2-small, a run folder "
        "(default: the newest run, else a base)",
    )
    p.add_argument(
        "--port",
        type=between(0, 65535),
        default=8000,
        help="default 8000; 0 takes a free one",
    )
    p.add_argument(
        "--parallel",
        type=between(1),
        default=4,
        metavar="N",
        help="requests that are answered at once; more wait (default 4)",
    )
    return p.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = options(argv)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        models = open_models(args.model or [default_model()])
        try:
            server = Server(models, args.port, args.parallel, say)
        except OSError as error:
            raise ValueError(
                f"port {args.port} cannot be had ({error.strerror}): name "
                "another by --port"
            ) from None
    except (ValueError, OSError) as error:
        print(f"serve.py: error: {error}", file=sys.stderr)
        return 2
    names = ", ".join(models)
    print(f"{server.url}/v1 serves {names} (Ctrl-C ends it)", flush=True)
    with server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(run_script(main))
