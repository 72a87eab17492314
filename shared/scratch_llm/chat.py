"""Ask a language model behind a server, and keep what it says.

    chat = Chat("llama3.2")                          Ollama, on this machine
    chat = Chat("any", "http://127.0.0.1:8000/v1", "openai")
    chat.ask([{"role": "user", "content": "Who are you?"}])

The second speaks to whatever offers OpenAI's interface: vLLM, llama.cpp, LM
Studio. A server that stumbles (500, half an answer, silence) is asked again.
`Journal` writes each answer into a file the moment it has come, so that what
was asked once is never asked again.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NewConnectionError

from scratch_llm.cli import ShortParser, between

HOMES = {  # where each kind of server is, and what to ask there
    "ollama": ("http://127.0.0.1:11434", "/api/chat"),
    "openai": ("http://127.0.0.1:8000/v1", "/chat/completions"),
}
AGAIN = (408, 425, 429)  # besides 500 and more: these may pass
LONGEST = 60  # seconds between two tries
CHECK_URL = "check --url and --api"


class ChatError(Exception):
    """The server is there, but however often we ask, no answer comes."""


class NoServer(ChatError):
    """Nobody listens at this address."""


class Trouble(Exception):
    """One try has failed; the next one may succeed.

    seconds: how long the server wants us to wait, if it says so.
    """

    def __init__(self, reason: str, seconds: float = 0, away: bool = False):
        super().__init__(reason)
        self.seconds, self.away = seconds, away


@dataclass
class Chat:
    """A model behind a server.

    url: by default where Ollama, or vLLM, is usually found. timeout: seconds
    for one whole answer. tries: how often a question is asked at most; wait:
    seconds before the second try, twice as long before each further one.
    tell: is told of each try that failed. OPENAI_API_KEY, if the environment
    has it, is sent to servers of that kind.
    """

    model: str
    url: str = ""
    api: str = "ollama"
    seed: int = 123
    temperature: float = 0.0
    context: int = 4096
    max_tokens: int | None = None
    timeout: float = 120
    tries: int = 4
    wait: float = 1
    tell: Callable[[str], None] = lambda line: None
    reached: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.api not in HOMES:
            raise ValueError(
                f"api {self.api!r} is none of {', '.join(HOMES)}: pick one"
            )
        home, path = HOMES[self.api]
        url = (self.url or home).rstrip("/").removesuffix(path)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"{self.url!r} is no address: write one like {home}"
            )
        if self.api == "openai" and not parts.path:
            url += "/v1"
        self.url, self.session = url, requests.Session()
        if parts.hostname in ("localhost", "127.0.0.1", "::1"):
            self.session.trust_env = False  # no proxy leads back to us

    def ask(self, messages: Sequence[dict], **changed: Any) -> str:
        """The answer to messages of the form {"role": ..., "content": ...}.

        changed: temperature or seed, for this question only. NoServer if
        nobody listens, ChatError if every try fails, ValueError if the server
        refuses the question (no such model, wrong address, no key).
        """
        for n in range(self.tries):
            try:
                answer = self.ask_once(messages, **changed)
                self.reached = True
                return answer
            except Trouble as error:
                trouble = error
            if trouble.away and not self.reached:
                break
            if n + 1 < self.tries:
                seconds = max(self.wait * 2**n, trouble.seconds)
                seconds = min(seconds, LONGEST)
                self.tell(f"{trouble}: asking again in {seconds:g} s")
                sleep(seconds)
        if trouble.away:
            raise NoServer(f"{self.url} {trouble}: {self.remedy()}")
        raise ChatError(
            f"{self.url} gave no answer in {self.tries} tries (the last: "
            f"{trouble})"
        )

    def remedy(self) -> str:
        """How to start the server that was not found."""
        if self.api == "ollama":
            return (
                "start Ollama with 'ollama serve', fetch the model with "
                f"'ollama pull {self.model}', or say by --url where it runs"
            )
        return (
            "start your server first, such as 'vllm serve MODEL', or say by "
            "--url where it runs"
        )

    def ask_once(self, messages: Sequence[dict], **changed: Any) -> str:
        """One try: the answer, or Trouble, or ValueError."""
        code, body, headers = self.post(self.payload(messages, **changed))
        if code >= 500 or code in AGAIN:
            after = headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() else 0
            raise Trouble(f"answers {code}{reason_in(body)}", seconds)
        if code != 200:
            raise ValueError(self.refusal(code, body))
        try:
            data = json.loads(body)
        except ValueError:
            raise Trouble("sends half a JSON, or none") from None
        try:
            if self.api == "ollama":
                answer = data["message"]["content"]
            else:
                answer = data["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise Trouble(f"sends no message{reason_in(body)}") from None
        if not isinstance(answer, str | None):
            raise Trouble("sends a message that is no text")
        return answer or ""

    def payload(self, messages: Sequence[dict], **changed: Any) -> dict:
        """What is sent. Ollama keeps what belongs to sampling apart."""
        asked = {"seed": self.seed, "temperature": self.temperature, **changed}
        body = {
            "model": self.model,
            "messages": list(messages),
            "stream": False,
        }
        if self.api == "openai":
            if self.max_tokens:
                body["max_tokens"] = self.max_tokens
            return body | asked
        asked["num_ctx"] = self.context
        if self.max_tokens:
            asked["num_predict"] = self.max_tokens
        return body | {"options": asked}

    def post(self, payload: dict) -> tuple[int, bytes, dict]:
        """Status, body and headers; the whole takes `timeout` at most."""
        url, headers = self.url + HOMES[self.api][1], {}
        key = os.environ.get("OPENAI_API_KEY")
        if self.api == "openai" and key:
            headers["Authorization"] = f"Bearer {key}"
        end = monotonic() + self.timeout
        late = Trouble(f"no answer within {self.timeout:g} s")
        try:
            with self.session.post(
                url,
                json=payload,
                headers=headers,
                timeout=(min(10, self.timeout), self.timeout),
                stream=True,
                allow_redirects=False,
            ) as reply:
                body = b""
                for piece in reply.iter_content(1):  # so that none waits
                    body += piece
                    if monotonic() > end:
                        raise late
                return reply.status_code, body, reply.headers
        except requests.ConnectTimeout:
            raise Trouble("is out of reach", away=True) from None
        except requests.Timeout:
            raise late from None
        except requests.ConnectionError as error:
            cause = getattr(error.args[0], "reason", error.args[0])
            if isinstance(cause, NewConnectionError):
                raise Trouble("does not answer", away=True) from None
            if "timed out" in str(cause):
                raise late from None
            raise Trouble("dropped the connection") from None
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # what is wrong is the address
                raise ValueError(f"{url}: {error}: {CHECK_URL}") from None
            raise Trouble("dropped the connection half-way") from None

    def refusal(self, code: int, body: bytes) -> str:
        """One line about an answer that no second try would change."""
        line, reason = f"{self.url} answers {code}", reason_in(body)
        if code == 404 and self.model in reason:
            remedy = "name another by --model"
            if self.api == "ollama":
                remedy = f"'ollama pull {self.model}', or {remedy}"
            return f"{line}{reason}: {remedy}"
        if code in (401, 403):
            return f"{line}{reason}: put your key into OPENAI_API_KEY"
        return f"{line}{reason}: {CHECK_URL}"


def reason_in(body: bytes) -> str:
    """What a server says of an error, in brackets; '' if nothing."""
    try:
        error = json.loads(body)["error"]
        error = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError):
        return ""
    text = " ".join(str(error).split())
    return f" ({text if len(text) < 200 else text[:197] + '...'})"


# ---- What was answered ----------------------------------------------------


def fingerprint(*parts: Any) -> str:
    """Twelve letters that change when any part does."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Journal:
    """Records in a file of one JSON a line, written the moment they come.

    about: what all of them have in common (model, seed); it is the first
    line. Opening the file again brings the records back, by their "key"; if
    it is about something else, that is a ValueError. A last line that was cut
    off is dropped.
    """

    def __init__(self, path: str | Path, about: dict) -> None:
        self.path, self.records = Path(path), {}
        self.first = {"about": about}  # written with the first record
        if self.path.exists():
            for number, record in enumerate(self.read(about), 2):
                try:
                    self.records[record["key"]] = record
                except (KeyError, TypeError):
                    raise self.alien(number) from None

    def read(self, about: dict) -> Iterator[Any]:
        """What stands in the lines after the first one."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ValueError(f"{self.path}: {error.strerror}") from None
        whole, end, rest = data.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines() if end else [], 1):
            try:
                record = json.loads(line)
            except ValueError:
                raise self.alien(number) from None
            if number > 1:
                yield record
            else:
                self.check(record, about)
                self.first = None
        if rest and not end and not rest.startswith(b'{"about": '):
            raise self.alien(1)
        if rest:
            os.truncate(self.path, len(whole + end))

    def check(self, first: Any, about: dict) -> None:
        """ValueError unless the first line is about the same."""
        if not isinstance(first, dict) or "about" not in first:
            raise self.alien(1)
        for name, value in about.items():
            if first["about"].get(name) != value:
                raise ValueError(
                    f"{self.path} holds answers with {name} "
                    f"{first['about'].get(name)!r}, not {value!r}: name "
                    "another file by --out, or remove it"
                )

    def alien(self, number: int) -> ValueError:
        return ValueError(
            f"{self.path}, line {number} is no answer that was written here: "
            "remove the line, or name another file by --out"
        )

    def append(self, record: dict) -> None:
        """Write a record, now."""
        records = [self.first, record] if self.first else [record]
        text = "".join(json.dumps(one) + "\n" for one in records)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab") as file:
            file.write(text.encode())
        self.first = None
        self.records[record["key"]] = record

    def get(self, key: str) -> dict | None:
        """The record of this key, if it was written before."""
        return self.records.get(key)


# ---- Command lines ---------------------------------------------------------


def add_chat_options(parser: ShortParser, model: str = "llama3.2") -> None:
    """--model, --api, --url and what else says whom to ask, and how."""
    parser.add_argument(
        "--model", default=model, help=f"which to ask (default {model})"
    )
    parser.add_argument(
        "--api",
        choices=list(HOMES),
        default="ollama",
        help="what the server speaks (default ollama)",
    )
    homes = ", ".join(f"{name}: {home}" for name, (home, _) in HOMES.items())
    parser.add_argument("--url", default="", help=f"its address ({homes})")
    parser.add_numbers(
        [
            ("seed", int, 0, 2**31 - 1, 123, "of its answers"),
            ("timeout", float, 0.1, 86_400, 120, "seconds for one answer"),
            ("tries", int, 1, 100, 4, "how often one question is asked"),
            ("wait", float, 0, 60, 1, "seconds before the second try"),
            ("context", int, 256, 2**20, 4096, "tokens that Ollama reads"),
        ]
    )
    parser.add_argument(
        "--max-tokens",
        type=between(1),
        metavar="N",
        help="longest answer (default: the server decides)",
    )


def open_chat(args: Any, tell: Callable[[str], None], **more: Any) -> Chat:
    """The Chat that the options describe."""
    names = ("model", "url", "api", "seed", "timeout", "tries", "wait")
    names += ("context", "max_tokens")
    given = {name: getattr(args, name) for name in names}
    return Chat(**given, tell=tell, **more)
