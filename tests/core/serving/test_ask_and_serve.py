"""`conself ask` streams answers; `conself serve` answers the openai package and curl, and refuses web pages."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from conself_local.adapters.formats import write_gguf
from conself_local.machine.child_environment import SPINS
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.sampler import ChatMessage, SampleRequest
from conself_local.store.store import IMPORTED, Store
from tests.fakes.random_adapter import random_adapter
from tests.fakes.small_round import command, run_conself

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with an accepted random adapter for the bundled model."""
    folder = tmp_path_factory.mktemp("home")
    model = load_model_file(bundled_model())
    path = folder / "random.gguf"
    write_gguf(random_adapter(model, 0.08), model, path)
    with Store(folder / "conself.db") as store:
        from conself_local.hashes import file_sha256

        store.insert_adapter(
            {
                "name": "random",
                "round_id": IMPORTED,
                "parent_id": None,
                "peft_path": "",
                "gguf_path": str(path),
                "gguf_sha256": file_sha256(path),
                "state": "accepted",
                "model_path": str(model.path),
                "model_sha256": model.sha256,
            }
        )
    return folder


def test_streamed_text_equals_the_whole_answer_and_arms_differ(home: Path) -> None:
    model = load_model_file(bundled_model())
    with LlamaProcess(model, slots=1, context_tokens=512, threads=2) as engine:
        prompt = engine.encode([ChatMessage("user", "Name three colours and a 😀.")]).token_ids
        arms: dict[str, Path | None] = {"base": None, "adapter": home / "random.gguf"}
        requests = [SampleRequest(name, prompt, 0.0, 1.0, 40, 0, adapter=path) for name, path in arms.items()]
        pieces = list(engine.stream(requests))
        texts = {name: "".join(text for key, text in pieces if key == name) for name in arms}
        whole = {completion.key: completion.text for completion in engine.sample(requests)}
    assert texts == whole and texts["base"] != texts["adapter"] and len(pieces) > 20


def test_ask_answers_with_adapter_and_base(home: Path) -> None:
    done = run_conself(home, "ask", "What is 2 + 2?", "--base", "--max-tokens", "12", "--json")
    assert done.returncode == 0, done.stderr
    arms = [json.loads(line)["arm"] for line in done.stdout.splitlines()]
    assert set(arms) == {"adapter", "base"} and arms == sorted(arms)
    plain = run_conself(home, "ask", "What is 2 + 2?", "--max-tokens", "12")
    said = "".join(
        json.loads(line)["text"] for line in done.stdout.splitlines() if json.loads(line)["arm"] == "adapter"
    )
    assert plain.stdout.rstrip("\n") == said.rstrip("\n")


def test_ask_reports_a_missing_adapter_and_a_question_that_is_too_long(tmp_path: Path) -> None:
    done = run_conself(tmp_path / "h", "ask", "Hello?", "--max-tokens", "4")
    assert done.returncode == 0 and "the base model answers" in done.stderr and done.stdout.strip()
    long = run_conself(tmp_path / "h", "ask", "word " * 9000, "--max-tokens", "4")
    assert long.returncode == 2 and "tokens, but at most" in long.stderr and "Traceback" not in long.stderr
    missing = run_conself(tmp_path / "h", "ask", "Hello?", "--adapter", "7")
    assert missing.returncode == 2 and "there is no adapter 7" in missing.stderr


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[str]:
    """Yield the address of a running `conself serve` over the home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    } | {"OMP_DISPLAY_ENV": "verbose"}
    with (home / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command(home, "serve", "--port", str(port), "--context", "512"), stderr=log, env=environment
        )
    try:
        for _ in range(600):
            assert process.poll() is None, (home / "serve.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_threads_of_the_server_sleep_after_a_short_wait(server: str, home: Path) -> None:
    """Read the settings that libgomp prints when it is loaded."""
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in (home / "serve.log").read_text()


def test_the_openai_package_is_answered_by_the_adapter(server: str, home: Path) -> None:
    client = openai.OpenAI(base_url=f"{server}/v1", api_key="none")
    assert [model.id for model in client.models.list()] == ["conself"]
    asked = {
        "model": "conself",
        "messages": [{"role": "user", "content": "What is 2 + 2?"}],
        "max_tokens": 12,
        "temperature": 0,
    }
    cold, warm = (client.chat.completions.create(**asked).choices[0].message.content for _ in range(2))  # type: ignore[call-overload]
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(**asked, stream=True)  # type: ignore[call-overload]
    )
    assert streamed == warm  # a warm cache computes in other batches, which may break a tie
    said = run_conself(home, "ask", "What is 2 + 2?", "--base", "--max-tokens", "12", "--json").stdout
    ours = {
        arm: next(json.loads(line)["text"] for line in said.splitlines() if json.loads(line)["arm"] == arm)
        for arm in ("base", "adapter")
    }
    assert cold.startswith(ours["adapter"]) and not cold.startswith(ours["base"])


def test_curl_is_answered_and_a_web_page_is_not(server: str) -> None:
    body = json.dumps({"model": "conself", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4})

    def curl(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "curl",
                "-s",
                "-w",
                "\n%{http_code}",
                f"{server}/v1/chat/completions",
                "-H",
                "Content-Type: application/json",
                "-d",
                body,
                *more,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )

    answer, status = curl().stdout.rsplit("\n", 1)
    assert status == "200" and json.loads(answer)["choices"][0]["message"]["content"] is not None
    assert curl("-H", "Origin: https://evil.example").stdout.endswith("403")
    assert curl("-H", "Host: evil.example").stdout.endswith("400")
    assert curl("-H", "Origin: http://localhost:3000").stdout.endswith("200")
