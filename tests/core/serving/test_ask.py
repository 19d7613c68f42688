"""`conself ask` streams the answers of the model with its adapter and without."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import get_args

import pytest

from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import load_model_file
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.sampler import ChatMessage, SampleRequest
from conself_local.serving.verdict import Kind
from tests.fakes.random_adapter import write_home
from tests.fakes.small_round import command, run_conself

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with an accepted random adapter for the bundled model."""
    return write_home(tmp_path_factory.mktemp("home"))


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


DOUBLE = "Write a Python function double(n: int) -> int that returns n times 2. double(4) == 8"


def test_best_of_says_how_many_programs_agree_on_how_many_inputs(home: Path) -> None:
    done = run_conself(home, "ask", DOUBLE, "--best-of", "4", "--max-tokens", "150", "--threads", "2", "--json")
    assert done.returncode == 0, done.stderr
    *pieces, verdict = [json.loads(line) for line in done.stdout.splitlines()]
    first = "".join(piece["text"] for piece in pieces)
    assert {piece["arm"] for piece in pieces} == {"first"} and verdict["verdict"] in get_args(Kind)
    assert verdict["answer"] == first or verdict["verdict"] in ("replaced", "unsure")
    assert verdict["sampled"] in (0, 4) and verdict["inputs"] <= 20 and verdict["reason"]
    both = run_conself(home, "ask", DOUBLE, "--best-of", "4", "--base")
    assert both.returncode == 2 and "leave out --base or --best-of" in both.stderr


def test_best_of_that_is_stopped_shows_what_is_known_so_far(home: Path) -> None:
    process = subprocess.Popen(
        command(home, "ask", DOUBLE, "--best-of", "32", "--temperature", "5", "--max-tokens", "2000"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # the tests may run in the background, where a shell lets programs ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout and process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--- stopped; no program has been compared yet ---" in err, (out, err)
    assert "Traceback" not in err
