"""A stand-in for Ollama, and for servers with OpenAI's interface.

    with StubServer({"echo": lambda messages: messages[-1]["content"]}) as s:
        Chat("echo", s.url).ask(...)

No language model is in it: a function of the messages answers, one for each
name of a model. Its answers can fail as those of real servers do. Lessons use
it where no server runs, and tests do.

    python -m scratch_llm.stub_chat --port 11434

serves the model "rules", which compares words: enough to try a script.
"""

import argparse
import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[list[dict]], str]
FAULTS = (
    "500",
    "503",
    "429",
    "half",
    "silence",
    "drop",
    "empty",
    "drip",
    "gone",
)


class Handler(BaseHTTPRequestHandler):
    """Speaks the two protocols, without their streams."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        names = list(self.server.stub.models)
        if self.path == "/api/tags":
            self.send({"models": [{"name": n, "model": n} for n in names]})
        elif self.path == "/v1/models":
            data = [{"id": name, "object": "model"} for name in names]
            self.send({"object": "list", "data": data})
        elif self.path == "/":
            self.send_bytes(b"A stub for Ollama is running")
        else:
            self.send({"error": "not found"}, 404)

    def do_POST(self) -> None:
        stub, size = self.server.stub, int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(size))
        with stub.lock:
            stub.asked.append(
                {"path": self.path, "headers": dict(self.headers), **body}
            )
            fault = next(stub.faults, None)
        with contextlib.suppress(ConnectionError):  # the client has gone
            if not fault or not self.fail(fault):
                self.answer(body, half=fault == "half")

    def fail(self, fault: str) -> bool:
        """Do what a server in trouble does; False if it goes on."""
        if fault.isdecimal():
            more = {"Retry-After": "0"} if fault == "429" else {}
            self.send({"error": "the stub fails"}, int(fault), **more)
        elif fault == "silence":
            self.server.stub.over.wait(60)
            self.close_connection = True
        elif fault == "drop":
            self.close_connection = True
        elif fault == "gone":  # the whole server ends
            self.server.stub.stop()
            self.close_connection = True
        elif fault == "empty":
            self.send({"done": True})
        elif fault == "drip":  # a letter now and then, and never an end
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while not self.server.stub.over.wait(0.05):
                self.wfile.write(b" ")
        return fault != "half"

    def answer(self, body: dict, half: bool) -> None:
        stub, name = self.server.stub, body["model"]
        openai = self.path == "/v1/chat/completions"
        if not openai and self.path != "/api/chat":
            return self.send({"error": "not found"}, 404)
        if name not in stub.models:
            text = f"model '{name}' not found"
            return self.send({"error": text}, 404)
        if body.get("stream", not openai):
            text = "the stub does not stream: send 'stream': false"
            return self.send({"error": text}, 400)
        said = stub.models[name](body["messages"])
        message = {"role": "assistant", "content": said}
        if openai:
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            data = {"object": "chat.completion", "choices": [choice]}
        else:
            data = {"message": message, "done": True, "done_reason": "stop"}
        self.send({"model": name, **data}, half=half)

    def send(
        self, data: Any, code: int = 200, half: bool = False, **headers: str
    ) -> None:
        body = json.dumps(data).encode()
        self.send_bytes(
            body[: len(body) // 2] if half else body, code, headers
        )

    def send_bytes(self, body: bytes, code: int = 200, headers=None) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class StubServer:
    """A server of this process, while a `with` block lasts.

    models: for each name the function that answers. faults: how the first
    requests fail, one of FAULTS for each, None for one that succeeds; when
    they are used up, all succeed. asked: every request, as it came.
    """

    def __init__(
        self,
        models: dict[str, Answer],
        faults: Iterable[str | None] = (),
        port: int = 0,
    ) -> None:
        self.models, self.faults = dict(models), iter(faults)
        self.asked: list[dict] = []
        self.over, self.lock = threading.Event(), threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads, self.http.stub = True, self
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> "StubServer":
        self.thread = threading.Thread(
            target=self.http.serve_forever, args=(0.02,), daemon=True
        )
        self.thread.start()
        return self

    def stop(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.thread.join()


# ---- Models that are none ---------------------------------------------------


def between_marks(text: str, name: str) -> str:
    """What stands between <name> and </name> in a prompt."""
    return text.partition(f"<{name}>")[2].partition(f"</{name}>")[0].strip()


def bag(text: str) -> set[str]:
    """The words of a text, without signs."""
    words = ("".join(filter(str.isalnum, word)) for word in text.split())
    return {word.lower() for word in words if word}


def overlap(answer: str, reference: str) -> float:
    """The F1 of two texts' sets of words, from 0 to 1."""
    a, b = bag(answer), bag(reference)
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else float(a == b)


def rules(messages: list[dict]) -> str:
    """A judge that compares words: it understands nothing."""
    asked = messages[0]["content"]
    answer, reference = (
        between_marks(asked, name) for name in ("answer", "reference")
    )
    return f"Score: {round(100 * overlap(answer, reference))}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=11434)
    args = parser.parse_args(argv)
    try:
        server = StubServer({"rules": rules}, port=args.port)
    except OSError as error:
        reason = error.strerror
        print(f"port {args.port}: {reason}: take another", file=sys.stderr)
        return 2
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"{server.url} (Ctrl-C ends it); model: rules", flush=True)
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
