"""Prompts, extraction, chat templates and token choice are right, and so is the engine on the bundled model."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from conself_local.adapters.formats import write_gguf
from conself_local.errors import ConselfError, EngineDiedError
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.load import load_starter
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.extract import block_is_closed, extract_program
from conself_local.sampling.llama_engine import LlamaEngine
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import ChatMessage, EncodedPrompt, SampleRequest
from tests.fakes.random_adapter import random_adapter

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> ModelFile:
    """Return the description of the bundled model."""
    return load_model_file(bundled_model())


@pytest.fixture(scope="module")
def engine(model: ModelFile) -> Iterator[LlamaProcess]:
    """Yield an engine with four slots over the bundled model."""
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


def test_the_nll_of_a_sample_equals_its_score(engine: LlamaProcess) -> None:
    prompt = engine.encode([ChatMessage("user", "Say a number.")])
    (completion,) = engine.sample(_requests(prompt, 1))
    scores = engine.score(prompt.token_ids, completion.token_ids)
    assert len(scores) == len(completion.token_ids)
    assert -sum(scores) / len(scores) == pytest.approx(completion.mean_nll, abs=0.05)


def test_a_prompt_that_does_not_fit_is_reported(engine: LlamaProcess) -> None:
    long = SampleRequest("long", tuple(range(100, 3000)), 1.0, 0.8, 8, 1)
    prompt = engine.encode([ChatMessage("user", "Hi")])
    finishes = {c.key: c.finish for c in engine.sample([long, *_requests(prompt, 3)])}
    assert finishes["long"] == "too-long" and len(finishes) == 4


def test_a_greedy_answer_at_one_slot_does_not_depend_on_earlier_requests(model: ModelFile) -> None:
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


def test_an_engine_that_keeps_dying_is_reported(model: ModelFile) -> None:
    with LlamaProcess(model, slots=1, context_tokens=512, threads=1) as process:
        process._command = ["false"]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match="did not start"):
            process.encode([ChatMessage("user", "Hi")])


def test_an_engine_that_dies_while_requests_are_sent_again_is_reported(model: ModelFile) -> None:
    """Prevent a regression: a broken pipe to the engine was taken for a reader that had gone away."""
    with LlamaProcess(model, slots=1, context_tokens=512, threads=1) as process:
        prompt = process.encode([ChatMessage("user", "Hi")])
        process._command = ["sh", "-c", "echo '{\"ready\": true}'; exec 0<&-; sleep 0.2"]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match="died twice"):
            list(process.sample(_requests(prompt, 3)))


def test_a_crash_of_the_engine_is_distinguished_from_a_kill(model: ModelFile) -> None:
    with LlamaProcess(model, slots=1, context_tokens=512, threads=1) as process:
        process._command = ["sh", "-c", "echo ggml: oh no >&2; echo ...... >&2; kill -SEGV $$"]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match=r"killed by SIGSEGV; (.* )?ggml: oh no$") as told:
            process.encode([ChatMessage("user", "Hi")])
        assert "force-reinstall" in told.value.hint


def test_a_prompt_longer_than_a_batch_is_answered_beside_others(engine: LlamaProcess) -> None:
    """Prevent a regression: a batch that one prompt fills, so that no row asks for a token, must still be decoded."""
    short = engine.encode([ChatMessage("user", "Hi")])
    long = engine.encode([ChatMessage("user", "word " * 1200)])
    requests = [*_requests(short, 3), SampleRequest("long", long.token_ids, 1.0, 0.8, 8, 1)]
    completions = {c.key: c for c in engine.sample(requests)}
    assert len(completions) == 4 and 0 < len(completions["long"].token_ids) <= 8


def test_shared_prompts_and_a_new_context_layout_do_not_change_answers(model: ModelFile) -> None:
    """Greedy answers at many slots, with copied prompts, gaps and a longer layout between, equal those at one slot."""
    with (
        LlamaProcess(model, slots=1, context_tokens=1024, threads=1) as one,
        LlamaProcess(model, slots=6, context_tokens=6 * 256, threads=1) as many,
    ):
        asked = [program_messages(p, o) for p in load_starter(("train",))[:3] for o in (None, "Mind the empty input.")]
        prompts = [one.encode(m) for m in asked] + [one.encode([ChatMessage("user", "word " * 300 + "Say hello.")])]
        requests = [
            SampleRequest(f"{i}/{k}", p.token_ids, 0.0, 1.0, 6 + 5 * k, k)
            for i, p in enumerate(prompts)
            for k in range(2)
        ]
        alone = {c.key: c.token_ids for c in one.sample(requests)}
        together = {c.key: c.token_ids for c in many.sample(requests)}
    assert set(alone) == set(together)
    same = sum(alone[key] == together[key] for key in alone)
    assert same >= 0.85 * len(alone), "rounding may decide a tie; a wrong copy would change nearly all answers"


def test_base_and_adapter_in_one_call_are_kept_apart(model: ModelFile, tmp_path: Path) -> None:
    """Each request is answered as if it were alone, and the adapter is switched once, not per request."""
    adapter = tmp_path / "adapter.gguf"
    write_gguf(random_adapter(model, 0.1, only="o_proj"), model, adapter)
    with LlamaProcess(model, slots=4, context_tokens=4 * 256, threads=1) as engine:
        prompt = engine.encode([ChatMessage("user", "Name a colour.")])

        def ask(kinds: Sequence[tuple[str, Path | None]], count: int) -> dict[str, tuple[int, ...]]:
            requests = [
                SampleRequest(f"{name}/{i}", prompt.token_ids, 1.0, 1.0, 12, seed=i, adapter=path)
                for i in range(count)
                for name, path in kinds
            ]
            return {c.key: c.token_ids for c in engine.sample(requests)}

        kinds = [("base", None), ("adapter", adapter)]
        mixed = ask(kinds, 8)
        alone = ask(kinds[:1], 8) | ask(kinds[1:], 8)
    assert set(mixed) == set(alone) and len(mixed) == 16
    assert sum(mixed[key] == alone[key] for key in alone) >= 14, "rounding may change one or two draws"
    assert sum(mixed[f"base/{i}"] == mixed[f"adapter/{i}"] for i in range(8)) <= 1
    order = [key.partition("/")[0] for key in mixed]
    assert sum(a != b for a, b in itertools.pairwise(order)) == 1


def test_token_ids_and_texts_of_a_sample_belong_together(engine: LlamaProcess) -> None:
    """A file of pairs is read by these two: the prompt is tokenised as `encode` did, the answer is turned into text."""
    prompt = engine.encode(program_messages(load_starter(("train",))[0]))
    assert tuple(engine.tokenize(prompt.text, special=True)) == prompt.token_ids
    for completion in engine.sample(_requests(prompt, 4)):
        assert engine.detokenize(completion.token_ids) == completion.text


def test_text_whose_characters_span_tokens_is_joined(model: ModelFile) -> None:
    engine = LlamaEngine(model.path, slots=1, context_tokens=256, threads=1)
    text = "naïve 🙂 漢字 \U0001f9d1"
    pieces = [engine.vocabulary.piece(token) for token in engine.tokenize(text, special=False)]
    assert b"".join(pieces).decode() == text
    assert any(_is_partial_character(piece) for piece in pieces), (
        "the text was chosen so that some token alone is not valid text"
    )


def _is_partial_character(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_a_model_without_an_end_token_is_refused(model: ModelFile, tmp_path: Path) -> None:
    endless = tmp_path / "endless.gguf"
    endless.write_bytes(model.path.read_bytes().replace(b"tokenizer.ggml.eos_token_id", b"tokenizer.ggml.zzz_token_id"))
    with pytest.raises(ConselfError, match="no end token"):
        load_model_file(endless)
