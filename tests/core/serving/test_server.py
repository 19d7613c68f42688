"""`conself serve` answers what editors send, side by side and within its limits, and no request ends it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from conself_local.machine.child_environment import SPINS
from conself_local.serving.editors import EDITORS, configuration
from tests.fakes.random_adapter import write_home
from tests.fakes.small_round import command, descendants, run_conself

pytestmark = pytest.mark.model
KEY = "secret-key"
CONTEXT = 512
ASKED: dict[str, Any] = {
    "model": "conself-base", "messages": [{"role": "user", "content": "What is 2 + 2?"}], "max_tokens": 12, "temperature": 0,
}  # fmt: skip
LONG: dict[str, Any] = {
    "model": "conself-base", "messages": [{"role": "user", "content": "Write a long story about the number seven."}],
    "max_tokens": 60, "temperature": 0,
}  # fmt: skip


class Server:
    """A running `conself serve` with a key, on a home with an adapter."""

    def __init__(self, folder: Path) -> None:
        self.home = write_home(folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {
            name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
        } | {"CONSELF_API_KEY": KEY}
        self.log = self.home / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command(self.home, "serve", "--port", str(self.port), "--context", str(CONTEXT), "--weights-format", "shipped"), stderr=log, env=environment
            )  # fmt: skip
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/models", headers={"Authorization": f"Bearer {KEY}"}
        )
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()
            try:
                urllib.request.urlopen(request, timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)

    @property
    def client(self) -> openai.OpenAI:
        """A client of the openai package."""
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, max_retries=0, timeout=120)

    def post(self, path: str, body: object, **headers: str) -> tuple[int, Any]:
        """Send a body, JSON or raw bytes, and return the status and the answer, parsed if it is JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", path, raw, {"Authorization": f"Bearer {KEY}"} | headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        return response.status, json.loads(text) if text.startswith("{") else text

    @property
    def engine(self) -> int:
        """The process id of the engine."""
        return descendants(self.process.pid, "engine_server")[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running server."""
    running = Server(tmp_path_factory.mktemp("home"))
    try:
        yield running
    finally:
        running.process.terminate()
        running.process.wait(30)


def test_the_name_of_the_model_chooses_the_adapter(server: Server) -> None:
    client = server.client
    assert [model.id for model in client.models.list()] == ["conself", "conself-base", "conself-best-of-8"]
    assert client.models.retrieve("conself").id == "conself"
    said = run_conself(server.home, "ask", "What is 2 + 2?", "--base", "--max-tokens", "12", "--json").stdout
    pieces = [json.loads(line) for line in said.splitlines()]
    ours = {arm: "".join(p["text"] for p in pieces if p["arm"] == arm) for arm in ("base", "adapter")}
    for name, arm in (("conself", "adapter"), ("conself-base", "base")):
        answer = client.chat.completions.create(**ASKED | {"model": name})
        assert answer.choices[0].message.content == ours[arm] and answer.model == name
    assert ours["base"] != ours["adapter"]


def test_a_stream_equals_the_whole_answer_and_counts_its_tokens(server: Server) -> None:
    whole = server.client.chat.completions.create(**ASKED)
    chunks = list(server.client.chat.completions.create(**ASKED, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert whole.usage and chunks[-1].usage == whole.usage and not chunks[-1].choices
    assert whole.usage.completion_tokens <= 12 and whole.usage.prompt_tokens > 10
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens


def test_what_editors_send_is_understood(server: Server) -> None:
    part = {"type": "text", "text": "Say hi"}
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    for messages in (
        [{"role": "user", "content": [part, part]}],
        [{"role": "developer", "content": [part]}, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": None, "tool_calls": [call]},
         {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "4"}]}],
        [{"role": "system", "content": "a"}, {"role": "system", "content": "b"}, {"role": "user", "content": "c", "name": "n"}],
    ):  # fmt: skip
        status, answer = server.post("/v1/chat/completions", ASKED | {"messages": messages})
        assert status == 200, answer
    more: dict[str, Any] = {
        "max_completion_tokens": 3, "max_tokens": None, "n": 2, "stop": "", "seed": -5, "response_format": {"type": "text"},
        "tools": [], "tool_choice": "none", "frequency_penalty": 0.5, "presence_penalty": 0, "user": "me", "top_p": 0,
        "parallel_tool_calls": None, "reasoning_effort": "low", "metadata": {"a": "b"}, "store": False,
    }  # fmt: skip
    status, answer = server.post("/v1/chat/completions", ASKED | more)
    assert status == 200 and len(answer["choices"]) == 2 and answer["usage"]["completion_tokens"] <= 6, answer
    status, answer = server.post("/v1/completions", {"prompt": "def double(n):", "max_tokens": 5, "temperature": 0})
    assert status == 200 and answer["object"] == "text_completion" and answer["choices"][0]["text"], answer


DOUBLE: dict[str, Any] = {
    "model": "conself-base", "max_tokens": 80, "extra_body": {"best_of": 4},
    "messages": [{"role": "user", "content": "Write a Python function double(n: int) -> int that returns n times 2."}],
}  # fmt: skip


def test_an_editor_gets_the_best_of_several_programs_by_a_field_or_by_the_name(server: Server) -> None:
    whole = server.client.chat.completions.create(**DOUBLE)
    verdict = whole.model_extra and whole.model_extra["conself"]
    assert verdict and verdict["verdict"] in ("confirmed", "replaced", "unsure", "single"), whole
    text = whole.choices[0].message.content
    assert text and verdict["reason"] in text and whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage and whole.usage.completion_tokens > 0
    chunks = list(server.client.chat.completions.create(**DOUBLE | {"model": "conself-best-of-8"}, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length") and chunks[-1].model_extra
    assert chunks[-1].model_extra["conself"]["reason"]


def test_a_chat_without_code_passes_through_the_best_of(server: Server) -> None:
    plain = server.client.chat.completions.create(**ASKED)
    compared = server.client.chat.completions.create(**ASKED, extra_body={"best_of": 8})
    assert compared.choices == plain.choices


def test_the_same_seed_gives_the_same_answer_and_a_stop_ends_it(server: Server) -> None:
    drawn = LONG | {"temperature": 1.0, "seed": 3, "max_tokens": 16}
    first, second = (server.post("/v1/chat/completions", drawn)[1] for _ in range(2))
    other = server.post("/v1/chat/completions", drawn | {"seed": 4})[1]
    text = first["choices"][0]["message"]["content"]
    assert text == second["choices"][0]["message"]["content"] != other["choices"][0]["message"]["content"]
    whole = server.post("/v1/chat/completions", LONG)[1]["choices"][0]["message"]["content"]
    stop = whole[20:26]
    for stream in (False, True):
        _, answer = server.post("/v1/chat/completions", LONG | {"stop": ["never there", stop], "stream": stream})
        if stream:
            events = [json.loads(line[6:]) for line in answer.split("\n\n") if line.startswith("data: {")]
            got = "".join(e["choices"][0]["delta"].get("content") or "" for e in events)
            ended = events[-1]["choices"][0]["finish_reason"]
        else:
            got, ended = answer["choices"][0]["message"]["content"], answer["choices"][0]["finish_reason"]
        assert got == whole[: whole.index(stop)] and ended == "stop"


def test_streams_run_side_by_side_and_end_whole(server: Server) -> None:
    alone = server.post("/v1/chat/completions", LONG)[1]["choices"][0]["message"]["content"]
    found: dict[int, tuple[str, str, list[float]]] = {}

    def stream(index: int, name: str) -> None:
        text, ended, times = "", "", []
        for chunk in server.client.chat.completions.create(**LONG | {"model": name}, stream=True):
            text += chunk.choices[0].delta.content or ""
            ended = chunk.choices[0].finish_reason or ended
            times.append(time.monotonic())
        found[index] = (text, ended, times)

    names = ["conself-base", "conself-base", "conself", "conself-base"]
    threads = [threading.Thread(target=stream, args=(i, name)) for i, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 4 and all(ended in ("stop", "length") for _, ended, _ in found.values())
    assert alone[:40] in found[0][0], "the batch changes at most a late tie"
    times = [found[i][2] for i, name in enumerate(names) if name == "conself-base"]
    pairs = [(one, other) for one in times for other in times if one is not other]
    assert any(one[2] < other[-1] and other[2] < one[-1] for one, other in pairs), "two streams overlap"


def test_a_client_that_disconnects_frees_its_place(server: Server) -> None:
    stream = server.client.chat.completions.create(**LONG | {"max_tokens": 400}, stream=True)
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 30
    while "cancelled" not in server.log.read_text():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.1)
    assert server.post("/v1/chat/completions", ASKED)[0] == 200


CHAT = "/v1/chat/completions"
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
TOOL = [{"type": "function", "function": {"name": "f"}}]
BAD_CHATS: list[dict[str, Any]] = [
        {"messages": []}, {"messages": None}, {"messages": "hi"}, {"messages": [{}]}, {"messages": [5]},
        {"messages": [{"role": "king", "content": "x"}]}, {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [5]}]}, {"messages": [{"role": "user", "content": [{"type": 5}]}]},
        {"messages": IMAGE}, {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "user", "content": "word " * 3000}]},
        {"tools": TOOL}, {"functions": TOOL}, {"logprobs": True}, {"top_logprobs": 2}, {"logit_bias": {"5": 1}},
        {"grammar": "root ::= x"}, {"json_schema": {"type": "object"}}, {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}}, {"response_format": "text"},
        {"n": 0}, {"n": 9}, {"n": "2"}, {"n": 10**30}, {"max_tokens": 0}, {"max_tokens": -1}, {"max_tokens": "x"},
        {"max_tokens": 1e999}, {"max_completion_tokens": 0}, {"temperature": -1}, {"temperature": "hot"}, {"temperature": 6},
        {"top_p": 2}, {"top_p": -0.1}, {"seed": "x"}, {"seed": 1.5}, {"stop": 5}, {"stop": [5]}, {"stop": ["x"] * 17},
        {"stream": "yes"}, {"stream_options": 5}, {"stream_options": {"include_usage": "x"}}, {"model": 5}, {"model": None},
        {"best_of": 0}, {"best_of": 17}, {"best_of": "x"}, {"best_of": 4, "n": 2}, {"model": "conself-best-of-8", "n": 2},
        {"audio": {"voice": "x"}}, {"prediction": {"type": "content"}}, {"web_search_options": {"a": 1}},
]  # fmt: skip
BAD_COMPLETIONS: list[dict[str, Any]] = [
        {"prompt": "x", "model": "conself-best-of-8"},
        {}, {"prompt": ""}, {"prompt": 5}, {"prompt": []}, {"prompt": ["a", "b"]}, {"prompt": [1, 2]}, {"prompt": "\ud800"},
        {"prompt": "x", "suffix": "y"}, {"prompt": "x", "echo": True}, {"prompt": "x", "best_of": 3}, {"prompt": "x " * 3000},
]  # fmt: skip
REFUSALS: list[tuple[str, object, int]] = [
    *((CHAT, ASKED | change, 400) for change in BAD_CHATS),
    *((CHAT, raw, 400) for raw in (
        b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model": ' + b"9" * 50_000 + b"}",
        b'{"messages": ' + b'[{"a":' * 10_000
    )),
    *(("/v1/completions", change, 400) for change in BAD_COMPLETIONS),
    (CHAT, ASKED | {"model": "gpt-4"}, 404),
    (CHAT, ASKED | {"model": "x\x1b[2J" * 1000}, 404),
    ("/v1/embeddings", {}, 404),
    ("/v1/chat/../../etc/passwd", {}, 404),
    (CHAT, b" " * (4 * 2**20 + 1), 413),
    (CHAT, ASKED | {"messages": [{"role": "user", "content": "x"}] * 2_001}, 413),
    (CHAT, ASKED | {"messages": [{"role": "user", "content": "x" * 400_001}]}, 413),
]  # fmt: skip


def test_whatever_cannot_be_answered_is_refused_with_a_reason(server: Server) -> None:
    pid = server.engine
    for path, body, wanted in REFUSALS:
        status, answer = server.post(path, body)
        assert status == wanted, (path, str(body)[:200], status, answer)
        if path in (CHAT, "/v1/completions"):
            assert answer["error"]["message"] and len(answer["error"]["message"]) < 600, answer
    assert server.post(CHAT, ASKED)[0] == 200 and server.engine == pid, "the engine still lives"
    log = server.log.read_text()
    assert "\x1b" not in log and "Traceback" not in log
    assert f"answered {CHAT} conself-base: " in log and " tokens in " in log


FIELDS = (
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "seed", "stop", "stream",
    "stream_options", "response_format", "tools", "tool_choice", "logprobs", "user", "metadata", "prompt", "suffix", "x" * 500,
)  # fmt: skip
ODD: tuple[object, ...] = (None, [], {}, "", "x\x1b[2J", -1, True, [[[]]], {"a": {"b": None}}, 10**18)


def test_an_odd_value_in_any_field_is_answered_or_refused(server: Server) -> None:
    for field in FIELDS:
        for value in ODD:
            status, _ = server.post(CHAT, ASKED | {"max_tokens": 1} | {field: value})
            assert status in (200, 400, 404, 413), (field, value, status)
    assert server.post(CHAT, ASKED)[0] == 200 and "\x1b" not in server.log.read_text()


def test_a_prompt_beyond_the_context_is_refused_before_a_stream_begins(server: Server) -> None:
    long = ASKED | {"stream": True, "messages": [{"role": "user", "content": "word " * CONTEXT}]}
    status, answer = server.post(CHAT, long)
    assert status == 400 and answer["error"]["code"] == "context_length_exceeded", answer


def test_only_local_programs_with_the_key_are_let_in(server: Server) -> None:
    for headers, wanted in (
        ({"Origin": "https://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Host": "evil.example"}, 400),
        ({"Host": "127.0.0.1.evil.example"}, 400), ({"Host": "[bad"}, 400), ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401), ({"Authorization": "Bearer \u00e9"}, 401), ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "http://[::1"}, 400),
    ):  # fmt: skip
        assert server.post(CHAT, ASKED, **headers)[0] == wanted, headers
    done = subprocess.run(
        ["curl", "-s", "-w", "%{http_code}", "-H", f"Authorization: Bearer {KEY}", f"http://127.0.0.1:{server.port}/v1/models"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("200") and "conself-base" in done.stdout


def test_many_slow_connections_do_not_lock_others_out_for_long(server: Server) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    try:
        for one in silent:
            one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert server.post(CHAT, ASKED)[0] == 200
    finally:
        for one in silent:
            one.close()


def test_garbage_on_the_socket_ends_only_its_connection(server: Server) -> None:
    for raw in (b"\x00\xff" * 500, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                b"A" * 200_000, b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):  # fmt: skip
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.settimeout(20)
            try:
                connection.sendall(raw)
                connection.recv(100)
            except OSError:
                continue
    assert server.post(CHAT, ASKED)[0] == 200


def test_an_engine_that_dies_fails_its_requests_and_is_started_again(server: Server) -> None:
    stream = iter(server.client.chat.completions.create(**LONG | {"max_tokens": 400}, stream=True))
    next(stream)
    killed = server.engine
    os.kill(killed, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="the engine died"):
        list(stream)
    assert server.post(CHAT, ASKED)[0] == 200 and server.engine != killed


def test_threads_of_the_engine_sleep_after_a_short_wait(server: Server) -> None:
    environment = Path(f"/proc/{server.engine}/environ").read_bytes().split(b"\0")
    assert f"GOMP_SPINCOUNT={SPINS}".encode() in environment


def test_a_taken_port_and_a_bad_key_file_are_reported_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_conself(tmp_path, "serve", "--model", "/nowhere.gguf", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2 and "cannot be used" in done.stderr and "--port" in done.stderr
    done = run_conself(tmp_path, "serve", "--api-key-file", "/dev/zero")
    assert done.returncode == 2 and "regular file" in done.stderr


@pytest.mark.parametrize("editor", EDITORS)
def test_what_to_paste_into_an_editor_names_address_and_model(editor: str, tmp_path: Path) -> None:
    done = run_conself(tmp_path, "serve", "--print-config", editor, "--port", "9999")
    assert done.returncode == 0 and "http://127.0.0.1:9999/v1" in done.stdout and "conself" in done.stdout
    assert "conself-base" in configuration(editor, port=1, context=2, has_key=True, base=True)
    compile(done.stdout, "x", "exec") if editor == "openai" else None
