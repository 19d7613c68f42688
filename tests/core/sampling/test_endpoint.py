"""The endpoint sampler works with llama.cpp's own server on loopback, and reports servers that misbehave."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.load import load_starter
from conself_local.sampling.endpoint import EndpointSampler
from conself_local.sampling.extract import extract_program
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import ChatMessage, SampleRequest

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> ModelFile:
    """Return the description of the bundled model."""
    return load_model_file(bundled_model())


@pytest.fixture(scope="module")
def address(model: ModelFile) -> Iterator[str]:
    """Yield the address of llama.cpp's own server over the bundled model."""
    command = [sys.executable, "-m", "tests.benchmarks.peer_server", str(model.path), "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.kill()


def test_a_real_server_answers_every_request_once(address: str, model: ModelFile) -> None:
    problem = load_starter(("train",))[0]
    prefix = answer_prefix(problem)
    with EndpointSampler(address, "any", model, concurrent=4) as sampler:
        prompt = sampler.encode(program_messages(problem), prefix)
        requests = [SampleRequest(f"k{i}", prompt.token_ids, 1.0, 0.8, 48, i, prefix, True) for i in range(10)]
        completions = {c.key: c for c in sampler.sample(requests)}
        assert set(completions) == {f"k{i}" for i in range(10)}
        for c in completions.values():
            assert c.token_ids == tuple(sampler._vocabulary.tokenize(c.text)) and c.mean_nll is None
            assert c.finish in ("fence", "end-token", "length") and extract_program(prefix + c.text)
        assert len({c.text for c in completions.values()}) > 3, "the seeds reach the server"


def test_the_prompt_is_the_one_that_training_sees(address: str, model: ModelFile) -> None:
    """A greedy answer equals the engine's own, so the server has read the same tokens."""
    messages = [ChatMessage("user", "What is the capital of France?")]
    with EndpointSampler(address, "any", model) as sampler:
        prompt = sampler.encode(messages)
        request = SampleRequest("k", prompt.token_ids, 0.0, 1.0, 12, 0)
        (theirs,) = sampler.sample([request])
        (ours,) = sampler._vocabulary.sample([request])
    assert theirs.text.strip() == ours.text.strip() != ""


def test_what_an_endpoint_cannot_do_is_reported(address: str, model: ModelFile) -> None:
    with EndpointSampler(address, "any", model) as sampler:
        prompt = sampler.encode([ChatMessage("user", "Hi")])
        with pytest.raises(ConselfError, match="no log-probabilities"):
            sampler.score(prompt.token_ids, [1])
        with pytest.raises(ConselfError, match="adapters"):
            list(sampler.sample([SampleRequest("k", prompt.token_ids, 1.0, 0.8, 4, 0, adapter=bundled_model())]))


@pytest.mark.parametrize("url", ["http://example.com/v1", "http://10.0.0.7:8080", "https://localhost.example.com"])
def test_an_address_off_this_machine_is_refused_without_permission(url: str, model: ModelFile) -> None:
    with pytest.raises(ConselfError, match="not this machine"):
        EndpointSampler(url, "any", model)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8080", ""])
def test_a_wrong_address_is_reported(url: str, model: ModelFile) -> None:
    with pytest.raises(ConselfError, match="is not the address of a server"):
        EndpointSampler(url, "any", model)


class _FaultyServer(BaseHTTPRequestHandler):
    """Answers each request with the next of `statuses`, then with 200; 299 stands for a 200 with an unknown body."""

    statuses: list[int]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = self.statuses.pop(0) if self.statuses else 200
        body = json.dumps(
            {"choices": [{"text": "pong", "finish_reason": "stop"}]} if status == 200 else {"error": "no"}
        ).encode()
        if status == 299:
            status, body = 200, b"[]"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Drop the message."""


def _ask_faulty_server(model: ModelFile, statuses: list[int]) -> list[str]:
    handler = type("Handler", (_FaultyServer,), {"statuses": statuses})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with EndpointSampler(
            f"http://127.0.0.1:{server.server_port}", "any", model, waits_seconds=(0.01, 0.01)
        ) as sampler:
            prompt = sampler.encode([ChatMessage("user", "ping")])
            return [c.text for c in sampler.sample([SampleRequest("k", prompt.token_ids, 1.0, 0.8, 4, 0)])]
    finally:
        server.shutdown()
        server.server_close()


def test_a_request_is_repeated_after_a_server_error(model: ModelFile) -> None:
    assert _ask_faulty_server(model, [500, 429]) == ["pong"]


@pytest.mark.parametrize(
    "statuses, reported", [([500] * 3, "does not answer"), ([404], "refused a request"), ([299], "unknown form")]
)
def test_a_server_that_keeps_failing_is_reported(model: ModelFile, statuses: list[int], reported: str) -> None:
    with pytest.raises(ConselfError, match=reported):
        _ask_faulty_server(model, statuses)


def test_a_missing_server_is_reported(model: ModelFile) -> None:
    with EndpointSampler("http://127.0.0.1:9/v1", "any", model, waits_seconds=()) as sampler:
        prompt = sampler.encode([ChatMessage("user", "ping")])
        with pytest.raises(ConselfError, match="does not answer"):
            list(sampler.sample([SampleRequest("k", prompt.token_ids, 1.0, 0.8, 4, 0)]))
