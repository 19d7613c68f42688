"""Prompts, extraction, templates, and the engine on the bundled model."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.bundled import bundled_model
from conself_local.errors import ConselfError, EngineDiedError
from conself_local.problems.load import load_starter
from conself_local.sampling.chat_template import render_chat
from conself_local.sampling.extract import block_is_closed, extract_program, parse_observations
from conself_local.sampling.gguf_file import ModelFile, load_model_file
from conself_local.sampling.llama_engine import is_repeating
from conself_local.sampling.llama_process import LlamaProcess
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import ChatMessage, EncodedPrompt, SampleRequest
from conself_local.sampling.token_choice import token_uncertainty


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nDone.", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", "x = 1\n"),
        ("```py\nx = 1", "x = 1\n"),
        ("```Python3 \nif x:\n    pass\n\n\n```", "if x:\n    pass\n"),
        ("```\nx = 1\n```", None),
        ("no code at all", None),
        ("```python\n   \n```", None),
        ("```python\nx = '```'\n```", "x = '```'\n"),
    ],
)
def test_extract_program(answer: str, code: str | None) -> None:
    assert extract_program(answer) == code


def test_block_is_closed_only_by_a_fence_on_its_own_line() -> None:
    assert not block_is_closed("```python\nx = 1\n")
    assert not block_is_closed("```python\nx = '```'")
    assert block_is_closed("```python\nx = 1\n```")
    assert block_is_closed("```python\n```")


def test_observations_are_read_in_the_asked_form_and_never_as_code() -> None:
    text = "Observation 1:\nUse a loop.\n\n**Observation 2:** Mind zero.\nObservation 3:\n```python\nx = 1\n```\nTake care.\nObservation 4:\nMore."
    assert parse_observations(text, 3) == ["Use a loop.", "Mind zero.", "Take care."]
    assert parse_observations("Observation 1:\nOnly one.", 3) is None
    assert parse_observations("1. first\n2. second\n3. third", 3) is None


@given(st.text())
def test_extraction_never_fails(text: str) -> None:
    extract_program(text)
    parse_observations(text, 3)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content.__class__.__mro__ }}{% endfor %}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ messages.append(1) }}",
        "{% for",
        "{{ 'x' * 10**9 }}",
        "{{ raise_exception('no') }}",
    ],
)
def test_hostile_templates_are_refused_in_time(template: str) -> None:
    with pytest.raises(ConselfError, match="chat template"):
        render_chat(template, [ChatMessage("user", "hi")], "<s>", "</s>")


def test_uncertainty_of_a_uniform_distribution() -> None:
    nll, entropy = token_uncertainty(np.zeros(1000, dtype=np.float32), 3)
    assert nll == pytest.approx(np.log(1000)) and entropy == pytest.approx(np.log2(15))
    peaked = np.full(1000, -1000.0, dtype=np.float32)
    peaked[3] = 0
    assert sum(token_uncertainty(peaked, 3)) == pytest.approx(0.0)


def test_repetition() -> None:
    assert is_repeating([1, 2, 3] * 30) and is_repeating([7] * 16)
    assert not is_repeating([7] * 15) and not is_repeating(list(range(200)))


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return load_model_file(bundled_model())


@pytest.fixture(scope="module")
def engine(model: ModelFile) -> Iterator[LlamaProcess]:
    with LlamaProcess(model, slots=4, context_tokens=4 * 512, threads=1) as process:
        yield process


def _requests(prompt: EncodedPrompt, n: int, prefix: str = "", **changes: object) -> list[SampleRequest]:
    values: dict[str, object] = {"temperature": 1.0, "top_p": 0.8, "max_new_tokens": 48, "answer_prefix": prefix}
    return [SampleRequest(f"k{i}", prompt.token_ids, seed=i, **(values | changes)) for i in range(n)]  # type: ignore[arg-type]


def test_every_request_is_answered_once_with_its_uncertainty(engine: LlamaProcess) -> None:
    problem = load_starter(("train",))[0]
    prefix = answer_prefix(problem)
    prompt = engine.encode(program_messages(problem), prefix)
    assert prompt.text.endswith(prefix) and problem.statement in prompt.text
    completions = {c.key: c for c in engine.sample(_requests(prompt, 30, prefix, stop_at_fence=True))}
    assert set(completions) == {f"k{i}" for i in range(30)}
    for c in completions.values():
        assert 0 < len(c.token_ids) <= 48 and c.mean_nll is not None and c.mean_nll > 0
        assert c.mean_entropy_bits is not None and 0 <= c.mean_entropy_bits <= np.log2(15)
        assert (c.finish == "fence") == block_is_closed(prefix + c.text)
        assert extract_program(prefix + c.text) is not None
    assert len({c.text for c in completions.values()}) > 5
    assert any(c.finish == "fence" for c in completions.values())


def test_nll_of_a_sample_is_that_of_its_score(engine: LlamaProcess) -> None:
    prompt = engine.encode([ChatMessage("user", "Say a number.")])
    (completion,) = engine.sample(_requests(prompt, 1))
    scores = engine.score(prompt.token_ids, completion.token_ids)
    assert len(scores) == len(completion.token_ids)
    assert -sum(scores) / len(scores) == pytest.approx(completion.mean_nll, abs=0.05)


def test_a_prompt_that_does_not_fit_is_told(engine: LlamaProcess) -> None:
    long = SampleRequest("long", tuple(range(100, 3000)), 1.0, 0.8, 8, 1)
    prompt = engine.encode([ChatMessage("user", "Hi")])
    finishes = {c.key: c.finish for c in engine.sample([long, *_requests(prompt, 3)])}
    assert finishes["long"] == "too-long" and len(finishes) == 4


def test_greedy_at_one_slot_is_the_same_whatever_ran_before(model: ModelFile) -> None:
    with LlamaProcess(model, slots=1, context_tokens=512, threads=1) as one:
        prompt = one.encode([ChatMessage("user", "Count to ten.")])
        other = one.encode([ChatMessage("user", "Name a colour.")])
        first = [c.token_ids for c in one.sample(_requests(prompt, 2))]
        list(one.sample(_requests(other, 1)))
        assert [c.token_ids for c in one.sample(_requests(prompt, 2))] == first


def test_an_engine_that_dies_once_is_restarted_and_loses_nothing(model: ModelFile) -> None:
    with LlamaProcess(model, slots=2, context_tokens=1024, threads=1) as process:
        prompt = process.encode([ChatMessage("user", "Tell a story.")])
        keys = []
        for i, completion in enumerate(process.sample(_requests(prompt, 8))):
            keys.append(completion.key)
            if i == 2:
                os.kill(process.pid, signal.SIGKILL)
        assert sorted(keys) == [f"k{i}" for i in range(8)]


def test_an_engine_that_keeps_dying_is_told(model: ModelFile) -> None:
    with LlamaProcess(model, slots=1, context_tokens=512, threads=1) as process:
        process._command = ["false"]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match="did not start"):
            process.encode([ChatMessage("user", "Hi")])


def test_a_prompt_longer_than_a_batch_beside_others(engine: LlamaProcess) -> None:
    """Holds down: a batch that one prompt fills wholly, so that no row wants a token, must still be decoded."""
    short = engine.encode([ChatMessage("user", "Hi")])
    long = engine.encode([ChatMessage("user", "word " * 1200)])
    requests = [*_requests(short, 3), SampleRequest("long", long.token_ids, 1.0, 0.8, 8, 1)]
    completions = {c.key: c for c in engine.sample(requests)}
    assert len(completions) == 4 and 0 < len(completions["long"].token_ids) <= 8
