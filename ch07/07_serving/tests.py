"""What must hold of the server, asked by hand and by OpenAI's own client.

Most models here are none: they repeat what the user has said. Without the
package openai the tests of its client are skipped.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import serve
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from previous_chapters import chat_tokenizer, from_pretrained, generate_tokens
from scratch_llm.chat import Chat
from serve import Refusal, Served, read_request
from torch import nn

HERE = Path(__file__).resolve().parent
slowly = settings(  # a busy machine is no fault
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
LONG = "Nora took the brown purse to Hugo. " * 4


class Echo(nn.Module):
    """Repeats the last thing a user said; seconds for each token."""

    def __init__(self, tokenizer, seconds: float = 0.0, breaks: bool = False):
        super().__init__()
        self.cfg = {"vocab_size": tokenizer.n_vocab, "context_length": 256}
        self.place = nn.Parameter(torch.zeros(1))
        names = ("<|user|>", "<|end|>", "<|assistant|>")
        self.marks = [*map(tokenizer.encode_single_token, names)]
        self.seconds, self.breaks = seconds, breaks
        self.at_work = self.most = self.calls = 0
        self.counting = threading.Lock()

    def new_cache(self, batch_size=1, capacity=None):
        return SimpleNamespace(ids=[], length=0)

    def forward(self, ids, cache, last_only=True):
        with self.counting:
            self.at_work += 1
            self.calls += 1
            self.most = max(self.most, self.at_work)
        time.sleep(self.seconds)
        cache.ids += ids[0].tolist()
        cache.length = len(cache.ids)
        user, end, assistant = self.marks
        last = cache.length - cache.ids[::-1].index(assistant)
        asked = cache.length - cache.ids[::-1].index(user)
        words = cache.ids[asked : cache.ids.index(end, asked) + 1]
        said = cache.length - last
        if self.breaks and said == 3:
            raise RuntimeError("not enough\nmemory")
        logits = torch.full((1, 1, self.cfg["vocab_size"]), -100.0)
        logits[0, 0, words[said]] = 100
        with self.counting:
            self.at_work -= 1
        return logits


@pytest.fixture(scope="module")
def storyteller() -> Served:
    return serve.open_model("storyteller")


@pytest.fixture(scope="module")
def new_echo(storyteller):
    tokenizer = chat_tokenizer(storyteller.tokenizer)
    return lambda **how: Served(Echo(tokenizer, **how), tokenizer)


@contextlib.contextmanager
def serving(models: dict, **how) -> Iterator[serve.Server]:
    """A server of this process on a free port; what it said is in .said."""
    said: list[str] = []
    with serve.Server(models, say=said.append, **how) as server:
        server.said = said
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(storyteller, new_echo):
    models = {"storyteller": storyteller, "echo": new_echo()}
    with serving(models) as server:
        yield server


def question(text: str = "Hello.", **more) -> dict:
    messages = [{"role": "user", "content": text}]
    return {"model": "echo", "messages": messages, **more}


def connect(server: serve.Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.server_port, 60)


def ask(connection, body, path=serve.CHAT_PATH, method="POST", **headers):
    """Status and JSON of one request; body: bytes, or what becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def events(connection, body: dict) -> Iterator[dict]:
    """The events of a stream; it must end with [DONE]."""
    connection.request("POST", serve.CHAT_PATH, json.dumps(body))
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("Content-Type").startswith("text/event-stream")
    for line in answer:
        if line.strip():
            name, _, data = line.decode().strip().partition(": ")
            assert name == "data"
            if data == "[DONE]":
                assert answer.read() == b"\n"
                return
            yield json.loads(data)
    raise AssertionError("no [DONE]")


def content(reply: dict) -> str:
    return reply["choices"][0]["message"]["content"]


def joined(stream: Iterator[dict]) -> str:
    return "".join(
        one["choices"][0]["delta"].get("content", "") for one in stream
    )


# ---- The protocol, by hand -----------------------------------------------


def test_an_answer_has_the_form_of_openai(server):
    status, reply = ask(connect(server), question("Hello, Nora."))
    assert status == 200 and content(reply) == "Hello, Nora."
    assert reply["object"] == "chat.completion" and reply["model"] == "echo"
    assert reply["id"].startswith("chatcmpl-")
    assert abs(reply["created"] - time.time()) < 60
    used = reply["usage"]
    words = used["completion_tokens"]
    assert used["prompt_tokens"] == words + 4  # with the special tokens
    assert used["total_tokens"] == 2 * words + 4
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop" and choice["index"] == 0


def test_a_stream_says_the_same_piece_by_piece(server):
    body = question(LONG, stream=True, stream_options={"include_usage": True})
    connection = connect(server)
    *parts, last, used = events(connection, body)
    assert parts[0]["choices"][0]["delta"]["role"] == "assistant"
    assert len(parts) > 20
    assert joined(parts) == content(ask(connection, question(LONG))[1])
    assert last["choices"][0]["finish_reason"] == "stop"
    assert used["choices"] == [] and used["usage"]["completion_tokens"] > 20
    assert {one["object"] for one in parts} == {"chat.completion.chunk"}
    assert len({one["id"] for one in [*parts, last, used]}) == 1


@pytest.mark.parametrize(
    "text", ["Grüße ✨ 你好", "<|end|> <|user|>", "\ud800"]
)
def test_any_text_goes_there_and_back(server, text):
    right = text.encode("utf-8", "replace").decode()
    connection = connect(server)
    if text == "\ud800":  # half a character has no bytes
        right = "\N{REPLACEMENT CHARACTER}"
    assert content(ask(connection, question(text))[1]) == right
    assert joined(events(connection, question(text, stream=True))) == right


def test_a_chat_has_several_turns(server):
    body = question()
    body["messages"] = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": [{"type": "text", "text": "Three."}]},
    ]
    assert content(ask(connect(server), body)[1]) == "Three."


def test_an_answer_ends_where_it_is_told_to(server):
    connection = connect(server)

    def end(**more):
        reply = ask(connection, question("One, two. Three!", **more))[1]
        return content(reply), reply["choices"][0]["finish_reason"]

    assert end() == ("One, two. Three!", "stop")
    assert end(stop=".") == ("One, two", "stop")
    assert end(stop=["!", "two", "Three"]) == ("One, ", "stop")
    short, reason = end(max_tokens=2)
    assert "One, two".startswith(short) and reason == "length"
    assert end(max_completion_tokens=2, max_tokens=9) == (short, "length")
    assert end(max_tokens=10**6) == ("One, two. Three!", "stop")
    assert end(top_p=0, temperature=2) == ("One, two. Three!", "stop")
    assert end(user="somebody", store=False, tools=[])[1] == "stop"


def test_a_base_model_writes_the_text_on(server, storyteller):
    body = question("One day, Nora") | {"model": "storyteller"}
    said = content(ask(connect(server), body)[1])
    prompt = storyteller.prompt(body["messages"])
    ids = [
        new.item()
        for new in generate_tokens(
            storyteller.model,
            torch.tensor([prompt]),
            200,
            stop_id=storyteller.tokenizer.eot_token,
        )
    ]
    assert said == storyteller.tokenizer.decode(ids[:-1])
    assert said.startswith(" ") and said.endswith(".")


def test_a_seed_is_an_answer_and_each_choice_is_another(server):
    body = question("One day, Nora", temperature=1, seed=7, n=2)
    body |= {"model": "storyteller", "max_tokens": 20}
    connection = connect(server)
    replies = [ask(connection, body)[1]["choices"] for _ in range(2)]
    assert replies[0] == replies[1]
    a, b = (one["message"]["content"] for one in replies[0])
    assert a != b
    streamed = [*events(connection, body | {"stream": True})]
    for i, text in enumerate((a, b)):
        mine = [e for e in streamed if e["choices"][0]["index"] == i]
        assert joined(mine) == text


# ---- What is refused -----------------------------------------------------

USER = {"role": "user", "content": "Hello."}
WRONG = [  # what is changed in a good request, and what the error names
    ({"model": None}, 400, "model"),
    ({"model": ["echo"]}, 400, "model"),
    ({"model": "gpt-9"}, 404, "gpt-9"),
    ({"messages": None}, 400, "messages"),
    ({"messages": []}, 400, "at least one"),
    ({"messages": ["Hello."]}, 400, "role"),
    ({"messages": [{"role": "tool", "content": ""}]}, 400, "tool"),
    ({"messages": [{"role": "user"}]}, 400, "content"),
    ({"messages": [USER, USER]}, 400, "in turn"),
    ({"messages": [USER, USER | {"role": "assistant"}]}, 400, "last"),
    (
        {"messages": [USER | {"content": [{"type": "image_url"}]}]},
        400,
        "text alone",
    ),
    ({"messages": [USER | {"content": "word " * 300}]}, 400, "context"),
    ({"temperature": 3}, 400, "temperature=3"),
    ({"temperature": "hot"}, 400, "temperature='hot'"),
    ({"temperature": float("nan")}, 400, "temperature=nan"),
    ({"temperature": True}, 400, "temperature=True"),
    ({"top_p": -0.1}, 400, "top_p"),
    ({"max_tokens": 0}, 400, "max_tokens=0"),
    ({"max_tokens": 1.5}, 400, "max_tokens=1.5"),
    ({"n": 9}, 400, "n=9"),
    ({"seed": 2**70}, 400, "seed"),
    ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
    ({"stop": [""]}, 400, "stop"),
    ({"stop": 3}, 400, "stop"),
    ({"stream": "yes"}, 400, "stream"),
    ({"stream_options": []}, 400, "stream_options"),
    ({"tools": [{"type": "function"}]}, 400, "tools"),
    ({"logprobs": True}, 400, "logprobs"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format"),
]


@pytest.mark.parametrize(
    "change, status, named", WRONG, ids=[named for *_, named in WRONG]
)
def test_a_wrong_request_is_told_what_is_wrong(server, change, status, named):
    connection = connect(server)
    for stream in (False, True):
        body = question(stream=stream) | change
        got, reply = ask(connection, body)
        assert (got, [*reply]) == (status, ["error"])
        error = reply["error"]
        assert named in error["message"] and "\n" not in error["message"]
        assert error["type"] == "invalid_request_error"
        assert {"param", "code"} < {*error}
    assert content(ask(connection, question("Go on."))[1]) == "Go on."


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'"text"']
)
def test_what_is_no_json_object_is_refused(server, body):
    status, reply = ask(connect(server), body)
    assert status == 400 and "body" in reply["error"]["message"]


@slowly
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    ),
    st.sampled_from(
        "model messages temperature top_p max_tokens n seed stop stream "
        "stream_options tools logit_bias response_format".split()
    ),
)
def test_whatever_stands_in_a_field_it_is_read_or_refused(value, name):
    with contextlib.suppress(Refusal):
        read_request(json.dumps(question() | {name: value}).encode())


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/", 404),
        ("GET", "/v1/models/gpt-9", 404),
        ("GET", serve.CHAT_PATH, 405),
        ("POST", "/v1/embeddings", 404),
        ("PUT", "/v1/models", 501),
    ],
)
def test_another_path_or_method_is_refused(server, method, path, status):
    got, reply = ask(connect(server), {}, path, method)
    assert (got, [*reply]) == (status, ["error"])


def test_a_body_without_end_is_refused(server):
    connection = connect(server)
    length = str(serve.LARGEST + 1)
    status, reply = ask(connection, b"", **{"Content-Length": length})
    assert status == 413 and "bytes" in reply["error"]["message"]
    status, _ = ask(connection, b"", **{"Content-Length": "-1"})
    assert status == 411
    connection.close()
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n\r\n")
        assert b" 411 " in raw.recv(100)


def test_the_models_are_listed(server):
    status, reply = ask(connect(server), b"", "/v1/models", "GET")
    assert status == 200 and reply["object"] == "list"
    assert [one["id"] for one in reply["data"]] == ["storyteller", "echo"]
    path = "/v1/models/echo?again"
    assert ask(connect(server), b"", path, "GET")[1] == reply["data"][1]


# ---- Many clients, and some that go --------------------------------------


def test_several_are_answered_at_once_and_each_its_own(new_echo):
    echo = new_echo(seconds=0.002)
    texts = [f"Number {i} of " + "many " * i for i in range(12)]
    got: dict[str, str] = {}
    with serving({"echo": echo}, parallel=3) as server:

        def client(i: int, text: str) -> None:
            if i % 2:
                got[text] = content(ask(connect(server), question(text))[1])
            else:
                body = question(text, stream=True)
                got[text] = joined(events(connect(server), body))

        threads = [
            threading.Thread(target=client, args=pair)
            for pair in enumerate(texts)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert got == {text: text.strip() for text in texts}
    assert echo.model.most == 3  # no more than were allowed, and no fewer


def test_at_once_the_storyteller_writes_what_it_writes_alone(server):
    bodies = [
        question(f"One day, {name}", temperature=1, seed=i, max_tokens=30)
        | {"model": "storyteller"}
        for i, name in enumerate(["Nora", "Tom", "Leo", "Ruby"])
    ]
    alone = [content(ask(connect(server), body)[1]) for body in bodies]
    together = [""] * len(bodies)

    def client(i: int) -> None:
        together[i] = content(ask(connect(server), bodies[i])[1])

    threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert together == alone


def wait_for(condition) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_hurts_nobody(new_echo, stream):
    echo = new_echo(seconds=0.02)
    with serving({"echo": echo}, parallel=2) as server:
        leaver = connect(server)
        body = question(LONG * 4, stream=stream)
        leaver.request("POST", serve.CHAT_PATH, json.dumps(body))
        stays = events(connect(server), question(LONG, stream=True))
        heard = [next(stays)["choices"][0]["delta"]["content"]]
        if stream:
            answer = leaver.getresponse()
            for _ in range(9):
                answer.readline()
            answer.close()
        leaver.close()
        heard += [one["choices"][0]["delta"].get("content") for one in stays]
        assert "".join(filter(None, heard)) == LONG.strip()
        wait_for(lambda: len(server.said) == 2)
        (line,) = (line for line in server.said if "has gone" in line)
        assert 0 <= int(line.split()[1]) < 60  # of about 140 tokens
        # Both places are free again.
        for _ in range(3):
            assert content(ask(connect(server), question())[1]) == "Hello."
        assert server.slots._value == 2


def test_whoever_goes_while_it_waits_costs_no_token(new_echo):
    echo = new_echo(seconds=0.05)
    with serving({"echo": echo}, parallel=1) as server:
        first = events(connect(server), question(LONG, stream=True))
        next(first)  # the role; then a word, so that it holds the only place
        word = next(first)["choices"][0]["delta"]["content"]
        waits = connect(server)
        waits.request("POST", serve.CHAT_PATH, json.dumps(question(LONG)))
        time.sleep(0.2)
        waits.close()
        assert word + joined(first) == LONG.strip()
        wait_for(lambda: len(server.said) == 2)
    assert any(": 0 tokens" in line for line in server.said)


def test_a_model_that_breaks_is_told_and_the_server_lives(new_echo):
    with serving({"bad": new_echo(breaks=True), "echo": new_echo()}) as server:
        connection = connect(server)
        bad = question("One, two, three, four.") | {"model": "bad"}
        status, reply = ask(connection, bad)
        assert status == 500 and reply["error"]["type"] == "server_error"
        assert "not enough" in reply["error"]["message"]
        with pytest.raises(AssertionError, match="DONE"):
            last = None
            for one in events(connection, bad | {"stream": True}):
                last = one
        assert last["error"]["type"] == "server_error"
        assert content(ask(connect(server), question())[1]) == "Hello."


def test_half_a_request_hurts_nobody(server):
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: ")
        assert content(ask(connect(server), question())[1]) == "Hello."
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        raw.sendall(b"NONSENSE\r\n\r\n")
        assert b'{"error"' in raw.makefile("rb").read()
    assert content(ask(connect(server), question())[1]) == "Hello."


# ---- Clients that others wrote -------------------------------------------


@pytest.fixture
def client(server):
    openai = pytest.importorskip(
        "openai", reason="openai: pip install -r requirements-client.txt"
    )
    with openai.OpenAI(
        base_url=f"{server.url}/v1",
        api_key="none",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:
        yield client


def test_openai_s_client_reads_answers_and_streams(client):
    assert [one.id for one in client.models.list()] == ["storyteller", "echo"]
    assert client.models.retrieve("echo").owned_by == "scratch-llm"
    body = question(LONG)
    reply = client.chat.completions.create(**body)
    assert reply.choices[0].message.content == LONG.strip()
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens > 40
    with client.chat.completions.create(**body, stream=True) as stream:
        parts = [one.choices[0] for one in stream]
    assert "".join(one.delta.content or "" for one in parts) == LONG.strip()
    assert [one.finish_reason for one in parts][-2:] == [None, "stop"]
    with client.chat.completions.stream(**body) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == LONG.strip()


def test_openai_s_client_understands_the_errors(client):
    import openai

    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError) as lost:
        create(**question() | {"model": "gpt-9"})
    assert lost.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        create(**question("word " * 300))
    assert long.value.code == "context_length_exceeded"
    assert long.value.param == "messages"
    with pytest.raises(openai.BadRequestError, match="temperature=3"):
        create(**question(temperature=3, stream=True))
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="echo", input="Hello.")


def test_openai_s_client_may_leave_a_stream_half_way(new_echo, server, client):
    with serving({"echo": new_echo(seconds=0.02)}, parallel=1) as slow:
        there = client.with_options(base_url=f"{slow.url}/v1")
        stream = there.chat.completions.create(**question(LONG), stream=True)
        for _ in range(5):
            next(stream)
        stream.close()
        reply = there.chat.completions.create(**question())
        assert reply.choices[0].message.content == "Hello."
        wait_for(lambda: any("has gone" in line for line in slow.said))


def test_openai_s_client_hears_of_a_broken_stream(new_echo, client):
    import openai

    with serving({"echo": new_echo(breaks=True)}) as broken:
        there = client.with_options(base_url=f"{broken.url}/v1")
        stream = there.chat.completions.create(**question(LONG), stream=True)
        with pytest.raises(openai.APIError, match="not enough"):
            list(stream)


def test_the_course_s_own_client_asks_too(server):
    chat = Chat("echo", server.url, "openai")
    assert chat.ask([USER]) == "Hello."
    with pytest.raises(ValueError, match="gpt-9"):
        Chat("gpt-9", server.url, "openai").ask([USER])


# ---- The command line ----------------------------------------------------


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--model", "nowhere"], "nowhere/model.safetensors does not exist"),
        (["--model", "storyteller", "storyteller"], "two models"),
        (["--port", "70000"], "--port"),
        (["--parallel", "0"], "--parallel"),
    ],
)
def test_a_mistake_is_one_line(argv, said, capsys):
    try:
        assert serve.main(argv) == 2
    except SystemExit as stop:
        assert stop.code == 2
    line = capsys.readouterr().err
    assert said in line.replace(os.sep, "/") and line.count("\n") == 1


def test_a_port_that_is_taken_is_named(server, capsys):
    argv = ["--model", "storyteller", "--port", str(server.server_port)]
    assert serve.main(argv) == 2
    line = capsys.readouterr().err
    assert f"port {server.server_port}" in line and line.count("\n") == 1


def test_a_classifier_is_refused(tmp_path):
    from previous_chapters import Classifier, save_classifier

    model, tokenizer = from_pretrained("storyteller", "cpu")
    save_classifier(tmp_path / "notes", Classifier(model), tokenizer, " ")
    with pytest.raises(ValueError, match="classifier"):
        serve.open_model(tmp_path / "notes")


def test_the_newest_run_is_the_default(tmp_path, monkeypatch):
    from previous_chapters import add_special_tokens, save_instruct

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "MAIN", tmp_path / "none")
    assert serve.default_model() in ("librarian", "storyteller")
    model, tokenizer = from_pretrained("storyteller", "cpu")
    tokenizer = add_special_tokens(tokenizer, model)
    save_instruct(tmp_path / "runs" / "mine", model, tokenizer)
    assert serve.default_model() == str(Path("runs", "mine"))
    models = serve.open_models([serve.default_model(), "storyteller"])
    assert [*models] == ["mine", "storyteller"]
    assert [one.chats for one in models.values()] == [True, False]


@posix
def test_the_script_serves_until_it_is_stopped():
    script = [sys.executable, "serve.py", "--model", "storyteller"]
    child = subprocess.Popen(
        [*script, "--port", "0"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        said = child.stdout.readline()
        port = int(said.split("/v1")[0].rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, 60)
        body = question("One day,", max_tokens=3) | {"model": "storyteller"}
        assert content(ask(connection, body)[1])
        assert "storyteller: 3 tokens" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, errors) == (130, "serve.py: stopped\n")


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-v"]))
