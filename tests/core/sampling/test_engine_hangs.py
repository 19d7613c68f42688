"""An engine that hangs is noticed by its silence, killed and replaced, and nothing is lost or taken for something else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from conself_local.errors import ConselfError, EngineDiedError
from conself_local.model_files.model_file import ModelFile
from conself_local.sampling.engine_process import EngineClosedError, LlamaProcess
from conself_local.sampling.llama_engine import LlamaEngine
from conself_local.sampling.sampler import Completion, SampleRequest
from conself_local.sampling.shared_engine import SharedEngine
from tests.fakes.tiny_model import write_tiny_model

pytestmark = pytest.mark.model

HANG_SECONDS = 3.0
PROMPT = (5, 6, 7, 8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Return a tiny random model."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def _open(model: ModelFile, on_notice: Callable[[str], None] = lambda text: None) -> LlamaProcess:
    return LlamaProcess(model, slots=1, context_tokens=256, threads=1, on_notice=on_notice, hang_seconds=HANG_SECONDS)


def _stop(engine: LlamaProcess) -> None:
    """Stop an engine that is not to be replaced by a real one, which would need longer than this limit to start."""
    engine._hang_seconds = 0.3
    os.kill(engine.pid, signal.SIGSTOP)


def _requests(count: int, prompt: tuple[int, ...] = PROMPT) -> list[SampleRequest]:
    return [SampleRequest(f"k{i}", prompt, 1.0, 1.0, 20, seed=i) for i in range(count)]


def _tokens(completions: list[Completion]) -> dict[str, tuple[int, ...]]:
    return {completion.key: completion.token_ids for completion in completions}


def test_a_stopped_engine_is_replaced_and_its_requests_keep_their_seeds(model: ModelFile) -> None:
    notices: list[str] = []
    with _open(model, notices.append) as engine:
        alone = _tokens(list(engine.sample(_requests(6))))
        answered = []
        for i, completion in enumerate(engine.sample(_requests(6))):
            answered.append(completion)
            if i == 1:
                stopped = engine.pid
                os.kill(stopped, signal.SIGSTOP)
        assert engine.pid != stopped
    assert _tokens(answered) == alone and len(answered) == 6
    assert len(notices) == 1 and "no progress for 3 s" in notices[0] and "started again" in notices[0]
    with pytest.raises(ProcessLookupError):
        os.kill(stopped, 0)


def test_an_engine_that_hangs_twice_without_an_answer_is_reported(model: ModelFile) -> None:
    with _open(model) as engine:
        engine._command = ["sh", "-c", "echo '{\"ready\": true}'; kill -STOP $$"]
        _stop(engine)
        with pytest.raises(EngineDiedError, match="died twice: it made no progress") as told:
            list(engine.sample(_requests(3)))
    assert "hangs again" in told.value.hint


def test_an_engine_that_hangs_while_it_loads_is_reported(model: ModelFile) -> None:
    with _open(model) as engine:
        engine._command = ["sh", "-c", "kill -STOP $$"]
        _stop(engine)
        with pytest.raises(EngineDiedError, match="did not start: it made no progress"):
            engine.tokenize("a")


def test_a_stopped_engine_does_not_block_the_writer(model: ModelFile) -> None:
    """More is sent than the pipe holds, so a plain write would wait for ever."""
    notices: list[str] = []
    with _open(model, notices.append) as engine:
        engine._command = ["sh", "-c", "echo '{\"ready\": true}'; kill -STOP $$"]
        _stop(engine)
        with pytest.raises(EngineDiedError, match="died twice: it made no progress"):
            list(engine.sample(_requests(3, tuple([5] * 50_000))))
    assert len(notices) == 1


def test_a_stream_of_a_stopped_engine_ends_with_the_reason(model: ModelFile) -> None:
    with _open(model) as engine:
        _stop(engine)
        with pytest.raises(EngineDiedError, match="no progress"):
            list(engine.stream(_requests(1)))


def test_an_engine_that_is_idle_does_not_hang(model: ModelFile) -> None:
    with _open(model) as engine:
        idle_polls = iter([True] * 8)
        _stop(engine)

        def is_awaited() -> bool:
            if next(idle_polls, False):
                return False
            os.kill(engine.pid, signal.SIGKILL)
            return False

        with pytest.raises(EngineClosedError):
            engine.receive(is_awaited)
        assert "SIGKILL" in engine.why_it_died().message


@pytest.mark.parametrize("call", ["sample", "score", "stream"])
def test_an_engine_that_is_dead_when_it_is_asked_is_no_closed_output(call: str, model: ModelFile) -> None:
    """Prevent a regression: BrokenPipeError was taken for a reader of ours that had gone away."""
    with _open(model) as engine:
        dead = engine._process
        assert dead is not None
        os.kill(engine.pid, signal.SIGKILL)
        dead.wait()
        if call == "sample":
            assert len(list(engine.sample(_requests(3)))) == 3
        elif call == "score":
            assert len(engine.score(PROMPT, [5, 6])) == 2
        else:
            with pytest.raises(EngineDiedError, match="killed by SIGKILL"):
                list(engine.stream(_requests(1)))


async def test_a_shared_engine_that_hangs_fails_its_requests_and_the_next_one_starts_another(model: ModelFile) -> None:
    engines: list[LlamaProcess] = []

    def open_engine() -> LlamaProcess:
        engines.append(_open(model))
        return engines[-1]

    shared = SharedEngine(open_engine)
    try:
        await shared.start()
        _stop(engines[0])
        with pytest.raises(ConselfError, match="no progress"):
            async for _ in shared.generate(_requests(1)[0]):
                continue
        pieces = [piece async for piece in shared.generate(_requests(1)[0])]
    finally:
        shared.close()
    assert isinstance(pieces[-1], Completion) and len(engines) == 2


def test_llama_cpp_reports_progress_while_it_loads_and_within_a_slow_decode(model: ModelFile) -> None:
    reports = 0

    def count() -> None:
        nonlocal reports
        reports += 1

    engine = LlamaEngine(model.path, slots=1, context_tokens=256, threads=1, on_progress=count)
    while_loading, counts = reports, []
    engine.submit(_requests(1)[0])
    while engine.busy:
        before = reports
        list(engine.step())
        counts.append(reports - before)
    assert while_loading > 5
    assert counts[0] > 20, "the first decode counts as slow: it may read the weights from the disk"
    assert min(counts[1:]) == 1, "a quick decode is not watched from inside"


def test_an_engine_that_is_killed_before_each_request_is_sent_again_is_reported(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prevent a regression: this write was a broken pipe, which ended the round without a word."""
    with _open(model) as engine:
        submit = engine._submit

        def kill_and_submit(request: SampleRequest) -> None:
            assert engine._process is not None
            engine._process.kill()
            engine._process.wait()
            submit(request)

        monkeypatch.setattr(engine, "_submit", kill_and_submit)
        with pytest.raises(EngineDiedError, match="died twice: killed by SIGKILL"):
            list(engine.sample(_requests(3)))
