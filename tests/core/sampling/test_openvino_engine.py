"""OpenVINO answers every request once, stops where our engine stops, and computes the model that llama.cpp computes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean

import pytest

from conself_local.adapters.formats import write_gguf
from conself_local.adapters.merged_weights import ensure_merged_weights
from conself_local.errors import ConselfError
from conself_local.model_files.bundled import bundled_model
from conself_local.model_files.converted_weights import ensure_converted_weights
from conself_local.model_files.model_file import ModelFile, load_model_file
from conself_local.problems.load import load_starter
from conself_local.sampling.config import OPENVINO, SamplingConfig
from conself_local.sampling.engine_process import LlamaProcess
from conself_local.sampling.extract import block_is_closed
from conself_local.sampling.open_engine import open_openvino
from conself_local.sampling.openvino_process import OpenVinoProcess
from conself_local.sampling.openvino_proof import LARGEST_GAP, load_gap, store_gap
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest
from tests.fakes.openvino import needs_openvino
from tests.fakes.random_adapter import random_adapter

pytestmark = [pytest.mark.model, needs_openvino]
MOVES_AT_LEAST = 0.5  # nats per token
Pair = tuple[EncodedPrompt, Completion]


@pytest.fixture(scope="module")
def model() -> ModelFile:
    """Return the description of the bundled model."""
    return load_model_file(bundled_model())


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for converted weights."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def adapter(model: ModelFile, cache: Path) -> Path:
    """Return an adapter that changes much of what the model says."""
    path = cache / "adapter.gguf"
    write_gguf(random_adapter(model, 0.09), model, path)
    return path


@pytest.fixture(scope="module")
def engine(model: ModelFile, cache: Path) -> Iterator[OpenVinoProcess]:
    """Yield the engine with four slots over the bundled model."""
    merge = partial(ensure_merged_weights, model, weights_format="F16", cache=cache)
    with OpenVinoProcess(
        model,
        ensure_converted_weights(model, "F16", cache),
        slots=4,
        context_tokens=4 * 512,
        longest=512,
        threads=2,
        merge=merge,
    ) as process:
        yield process


def _requests(prompt: EncodedPrompt, n: int, **changes: object) -> list[SampleRequest]:
    values: dict[str, object] = {"temperature": 1.0, "top_p": 0.8, "max_new_tokens": 48}
    return [SampleRequest(f"k{i}", prompt.token_ids, seed=i, **(values | changes)) for i in range(n)]  # type: ignore[arg-type]


def test_every_request_is_answered_once_and_ends_where_ours_end(engine: OpenVinoProcess) -> None:
    problem = load_starter(("train",))[0]
    prefix = answer_prefix(problem)
    prompt = engine.encode(program_messages(problem), prefix)
    too_long = SampleRequest("long", tuple(range(100, 700)), 1.0, 0.8, 8, 1)
    requests = [*_requests(prompt, 20, answer_prefix=prefix, stop_at_fence=True), too_long]
    completions = {c.key: c for c in engine.sample(requests)}
    assert set(completions) == {"long", *(f"k{i}" for i in range(20))}
    assert completions.pop("long").finish == "too-long"
    for c in completions.values():
        assert 0 < len(c.token_ids) <= 48 and c.mean_nll is not None and c.mean_nll > 0
        assert c.mean_entropy_bits is None
        assert (c.finish == "fence") == block_is_closed(prefix + c.text)
        assert (c.finish == "length") == (len(c.token_ids) == 48 and c.finish not in ("fence", "end-token"))
    assert any(c.finish == "fence" for c in completions.values())


def test_an_answer_ends_at_its_end_token_or_at_a_loop(engine: OpenVinoProcess) -> None:
    hello = engine.encode([ChatMessage("user", "Say only: hello")])
    (greedy,) = engine.sample(_requests(hello, 1, temperature=0.0))
    assert greedy.finish == "end-token" and engine.tokenize("hello")[0] not in greedy.token_ids[-1:]
    loop = engine.encode([ChatMessage("user", "Repeat.")], "no no no no no no no no no no no no")
    (stopped,) = engine.sample(_requests(loop, 1, temperature=0.0, max_new_tokens=200, stop_at_repetition=True))
    assert stopped.finish == "repetition" and len(stopped.token_ids) % 16 == 0


def test_an_engine_that_is_killed_is_restarted_and_loses_and_doubles_nothing(engine: OpenVinoProcess) -> None:
    prompt = engine.encode([ChatMessage("user", "Tell a story.")])
    keys, alone = [], {c.key: c.token_ids for c in engine.sample(_requests(prompt, 8, max_new_tokens=12))}
    answered: dict[str, tuple[int, ...]] = {}
    for i, completion in enumerate(engine.sample(_requests(prompt, 8, max_new_tokens=12))):
        keys.append(completion.key)
        answered[completion.key] = completion.token_ids
        if i == 2:
            os.kill(engine.pid, signal.SIGKILL)
    assert sorted(keys) == [f"k{i}" for i in range(8)]
    same = sum(answered[key] == alone[key] for key in alone)
    assert same >= 2, "rounding changes some draws; without the seeds, no answer of 12 tokens would be equal"


def _answers(engine: OpenVinoProcess, adapter: Path | None = None) -> list[Pair]:
    """Return two answers, sampled with a low temperature and a small nucleus."""
    asked = [program_messages(p) for p in load_starter(("train",))[:2]]
    prompts = [engine.encode(messages) for messages in asked]
    requests = [
        SampleRequest(str(i), prompt.token_ids, 0.7, 0.9, 32, i, adapter=adapter) for i, prompt in enumerate(prompts)
    ]
    return [(prompts[int(c.key)], c) for c in engine.sample(requests)]


def _scores(engine: OpenVinoProcess | LlamaProcess, answers: list[Pair], adapter: Path | None) -> list[list[float]]:
    return [engine.score(prompt.token_ids, c.token_ids, adapter) for prompt, c in answers]


def _gap(left: list[list[float]], right: list[list[float]]) -> float:
    return fmean(abs(a - b) for one, other in zip(left, right, strict=True) for a, b in zip(one, other, strict=True))


def test_log_probabilities_are_those_of_llama_cpp_without_and_with_a_large_adapter(
    engine: OpenVinoProcess, model: ModelFile, adapter: Path
) -> None:
    """The uncertainty of a sample is that at temperature 1 over the whole vocabulary, whatever it was drawn with."""
    answers, adapted = _answers(engine), _answers(engine, adapter)
    both = answers + adapted
    theirs = {name: _scores(engine, both, path) for name, path in (("base", None), ("adapter", adapter))}
    with LlamaProcess(model, slots=1, context_tokens=1024, threads=2) as llama:
        ours = {name: _scores(llama, both, path) for name, path in (("base", None), ("adapter", adapter))}
    for (_, completion), logps in zip(both, ours["base"][:2] + ours["adapter"][2:], strict=True):
        assert completion.mean_nll == pytest.approx(-fmean(logps), abs=0.15), "before temperature and top-p"
    moved = _gap(ours["base"], ours["adapter"])
    without, with_adapter = _gap(theirs["base"], ours["base"]), _gap(theirs["adapter"], ours["adapter"])
    print(f"nats per token: moved {moved:.3f}, gap without adapter {without:.4f}, with it {with_adapter:.4f}")
    assert moved >= MOVES_AT_LEAST
    assert without <= 0.1 and with_adapter <= 0.1
    assert _gap(theirs["base"], ours["adapter"]) > 0.4, "the same bound fails if the adapter is not there"


def test_no_process_of_the_engine_opens_a_socket(engine: OpenVinoProcess) -> None:
    """Prevent that OpenVINO's telemetry reports to anybody: what cannot be imported cannot send."""
    prompt = engine.encode([ChatMessage("user", "Hi")])
    for _ in engine.sample(_requests(prompt, 4, max_new_tokens=8)):
        links = [str(entry.readlink()) for entry in _descriptors(engine.pid)]
        assert links and not [link for link in links if link.startswith("socket:")]
    maps = Path(f"/proc/{engine.pid}/maps").read_text()
    assert "libopenvino_genai" in maps and "_ssl." not in maps, "nothing that speaks TLS was loaded"


def _descriptors(pid: int) -> list[Path]:
    return [entry for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]


def test_a_gap_is_measured_once_and_a_large_one_refuses_the_engine(model: ModelFile, cache: Path) -> None:
    config = SamplingConfig("F16", 2, 2, OPENVINO)
    with open_openvino(model, config, cache, longest=512) as opened:
        assert opened.weights.name.endswith("-f16.gguf")
    measured = load_gap(model, "F16", "CPU", cache)
    assert measured is not None and 0 < measured < 0.1
    store_gap(model, "F16", "CPU", cache, LARGEST_GAP + 0.01)
    with pytest.raises(ConselfError, match=r"does not compute .* as llama\.cpp does"):
        open_openvino(model, config, cache, longest=512)


def test_another_format_is_refused(model: ModelFile, cache: Path) -> None:
    with pytest.raises(ConselfError, match="does not sample from the format BF16") as told:
        open_openvino(model, SamplingConfig("BF16", 2, 2, OPENVINO), cache, longest=512)
    assert "F16 or Q8_0" in told.value.hint
