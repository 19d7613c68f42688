"""The endpoint sampler works with llama.cpp's own server on loopback, and reports servers that misbehave."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conself_local.errors import ConselfError
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.load import load_starter
from conself_local.sampling import model_server
from conself_local.sampling.endpoint import EndpointSampler
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.extract import extract_program
from conself_local.sampling.model_server import ModelServer, ServerGoneError
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import ChatMessage, EncodedPrompt, SampleRequest
from conself_local.stages.seeds import seed_for
from conself_local.store.store import Store
from tests.fakes.random_adapter import write_home
from tests.fakes.small_round import command, run_arguments, run_conself, write_problems

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> ModelFile:
    """Return the description of the bundled model."""
    return load_model_file(bundled_model())


@contextmanager
def serving(model: ModelFile, adapter: Path | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run llama.cpp's own server over the model, with an adapter or without, and yield its address and its process."""
    arguments = [str(model.path), "1", *([str(adapter)] if adapter else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.peer_server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip(), server
        server.kill()


@pytest.fixture(scope="module")
def address(model: ModelFile) -> Iterator[str]:
    """Yield the address of llama.cpp's own server over the bundled model."""
    with serving(model) as (url, _):
        yield url


def _requests(sampler: EndpointSampler, count: int, **change: Any) -> list[SampleRequest]:
    problems = load_starter(("train",))
    requests = []
    for i in range(count):
        prompt = sampler.encode([ChatMessage("user", problems[i % len(problems)].statement)])
        values: dict[str, Any] = {"temperature": 1.0, "top_p": 0.8, "max_new_tokens": 24, "seed": i} | change
        requests.append(SampleRequest(f"k{i}", prompt.token_ids, **values))
    return requests


def test_a_server_that_dies_gives_its_requests_to_the_other_with_the_same_seeds(model: ModelFile) -> None:
    notices: list[str] = []
    with (
        serving(model) as (first, dying),
        serving(model) as (second, _),
        EndpointSampler([first, second], "any", model, waits_seconds=(0.05,), on_notice=notices.append) as sampler,
    ):
        requests = _requests(sampler, 48)
        completions = []
        for completion in sampler.sample(requests):
            completions.append(completion)
            if len(completions) == 8:
                dying.kill()
        alone = {c.key: c for c in sampler.sample([r for r in requests if r.key in ("k40", "k41", "k42")])}
    assert sorted(c.key for c in completions) == sorted(r.key for r in requests), "every sample once"
    assert len(notices) == 1 and first in notices[0] and "take over" in notices[0]
    same = [c for c in completions if c.key in alone and c.text == alone[c.key].text]
    assert len(same) >= 2, "the seed of a request decides its text, up to ties of rounding"


@pytest.mark.slow
def test_a_round_goes_on_if_one_of_two_servers_dies(model: ModelFile, tmp_path: Path) -> None:
    problems = write_problems(tmp_path / "p.jsonl")
    home = tmp_path / "home"
    with serving(model) as (first, dying), serving(model) as (second, _):
        arguments = [*run_arguments(problems, slots=4)[:-2], "--endpoint", first, "--endpoint", second]
        process = subprocess.Popen(
            command(home, *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        deadline = time.monotonic() + 120
        while not (home / "conself.db").exists() or _samples(home) < 4:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        dying.kill()
        out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, out
    with Store(home / "conself.db") as store:
        rows = store.rows("select id, problem_id, observation, number, seed, mean_nll, mean_entropy_bits from samples")
        assert len(rows) == 30 and len({row["id"] for row in rows}) == 30, "every sample once"
        for row in rows:
            assert row["seed"] == seed_for(5, row["problem_id"], row["observation"], row["number"])
        assert all(row["mean_entropy_bits"] is None for row in rows)
        assert store.stage_summary(1, "decide")
        assert "mean gap in log-probability" in str(store.stage_summary(1, "running copy"))
    assert run_conself(home, "verify").returncode == 0 and run_conself(home, "status").returncode == 0


def _samples(home: Path) -> int:
    with Store(home / "conself.db") as store:
        return int(store.value("select count(*) from samples"))


def test_greedy_answers_with_an_adapter_equal_the_engines_own(model: ModelFile, tmp_path: Path) -> None:
    """The weights are 16-bit: with the shipped 4-bit ones, the kernels of the two builds differ more than the ties."""
    adapter = write_home(tmp_path) / "random.gguf"
    weights = ensure_converted_weights(model, "F16", tmp_path)
    with (
        serving(dataclasses.replace(model, parts=(weights,)), adapter) as (url, _),
        EndpointSampler(url, "any", model, concurrent=1) as sampler,
        LlamaProcess(model, slots=1, context_tokens=512, threads=1, weights=weights) as engine,
    ):
        assert "llama-server" in sampler.describe() and sampler.keep_servers_for([None, adapter])
        theirs, ours = {}, {}
        for path in (adapter, None):
            requests = _requests(sampler, 20, temperature=0.0, top_p=1.0, max_new_tokens=12, adapter=path)
            theirs[path] = {c.key: c.text for c in sampler.sample(requests)}
            ours[path] = {c.key: c.text for c in engine.sample(requests)}
    assert sum(theirs[adapter][key] == ours[adapter][key] for key in ours[adapter]) >= 18, (theirs, ours)
    assert sum(theirs[None][key] == ours[None][key] for key in ours[None]) >= 12, (theirs, ours)
    assert sum(theirs[None][key] == theirs[adapter][key] for key in ours[None]) <= 4, "the adapter is switched"


def test_a_server_without_the_adapter_leaves_the_evaluation_to_this_computer(address: str, model: ModelFile) -> None:
    notices: list[str] = []
    with EndpointSampler(address, "any", model, on_notice=notices.append) as sampler:
        assert not sampler.keep_servers_for([None, Path("/nowhere/adapter.gguf")]) and not notices
        assert sampler.keep_servers_for([None])


def test_a_real_server_answers_every_request_once(address: str, model: ModelFile) -> None:
    problem = load_starter(("train",))[0]
    prefix = answer_prefix(problem)
    with EndpointSampler(address, "any", model, concurrent=4) as sampler:
        prompt = sampler.encode(program_messages(problem), prefix)
        requests = [SampleRequest(f"k{i}", prompt.token_ids, 1.0, 0.8, 48, i, prefix, True) for i in range(10)]
        completions = {c.key: c for c in sampler.sample(requests)}
        assert set(completions) == {f"k{i}" for i in range(10)}
        for c in completions.values():
            assert len(c.token_ids) <= 48 and c.mean_nll is not None and c.mean_nll > 0
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


def test_a_server_that_hangs_is_asked_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_server, "_REPLY_SECONDS", 0.3)
    monkeypatch.setattr(model_server, "_PROBE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = ModelServer(url, "any", accept_remote=False, waits_seconds=(3600.0,))
        with pytest.raises(ServerGoneError, match="did not answer within"):
            server.complete(SampleRequest("k", (1,), 1.0, 0.8, 4, 0), EncodedPrompt("ping", (1,)))
        server.close()


def test_a_missing_server_is_reported(model: ModelFile) -> None:
    with EndpointSampler("http://127.0.0.1:9/v1", "any", model, waits_seconds=()) as sampler:
        prompt = sampler.encode([ChatMessage("user", "ping")])
        with pytest.raises(ConselfError, match="does not answer"):
            list(sampler.sample([SampleRequest("k", prompt.token_ids, 1.0, 0.8, 4, 0)]))
