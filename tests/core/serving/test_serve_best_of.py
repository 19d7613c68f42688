"""The server sends prose at once, holds code back until it is compared, and answers when its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from conself_local.sampling.sampler import EncodedPrompt
from conself_local.serving import BEST_OF_NAME
from conself_local.serving.answering import Piece
from conself_local.serving.api import ChatRequest, CompletionRequest, RefusedError
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.serve_best_of import BestOfServing, best_of_answer, start_sandbox, wanted_programs
from conself_local.serving.verdict import Verdict, block
from sandbox import Limits, Sandbox, SandboxError
from tests.core.serving.test_best_of import ASKED, CRASH, DOUBLE, SQUARE
from tests.fakes.scripted_engine import ScriptedEngine

CHAT = ChatRequest.model_validate({"messages": [{"role": "user", "content": ASKED}]})


@pytest.fixture(scope="module")
def runner() -> Iterator[ProgramRunner]:
    """Yield a runner for all tests."""
    running = ProgramRunner(lambda limits: Sandbox(limits, workers=1))
    yield running
    running.close()


def _answer(
    runner: ProgramRunner, first: str, programs: Sequence[str], *, seconds: float = 60, hold_after: int | None = None
) -> tuple[list[Piece], list[Verdict]]:
    """Return the pieces that a client gets, and the verdict; the first answer and the calls are `first`."""
    verdicts: list[Verdict] = []

    async def collect() -> list[Piece]:
        engine = ScriptedEngine(programs, first, hold_after=hold_after)
        serving = BestOfServing(runner, seconds)
        prompt = EncodedPrompt("", (1, 0))
        return [p async for p in best_of_answer(engine, serving, CHAT, prompt, None, 1000, 8, verdicts.append)]

    return asyncio.run(collect()), verdicts


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_confirmed_answer_is_sent_whole_with_what_confirms_it(runner: ProgramRunner) -> None:
    first = f"Here it is:\n{block(DOUBLE)}\nIt doubles."
    pieces, (verdict,) = _answer(runner, first, [DOUBLE])
    assert _text(pieces) == f"{first}\n\n({verdict.reason}.)" and "4 of 4 agree" in verdict.reason
    assert pieces[-1].reason == "stop" and pieces[-1].tokens > 4 and all(p.reason is None for p in pieces[:-1])


def test_code_that_is_replaced_was_never_sent(runner: ProgramRunner) -> None:
    pieces, (verdict,) = _answer(runner, f"Here it is:\n{block(SQUARE)}", [DOUBLE])
    assert _text(pieces).startswith(f"Here it is:\n{block(DOUBLE)}") and "n * n" not in _text(pieces)
    assert verdict.kind == "replaced" and f"({verdict.reason}.)" in _text(pieces)


def test_chat_without_code_passes_through_unchanged(runner: ProgramRunner) -> None:
    for first in ("Paris, of course. ", "Use `x` or ``y``", "A fence: ```\nno python\n```", "", "ends with `"):
        pieces, (verdict,) = _answer(runner, first, [DOUBLE])
        assert _text(pieces) == first and verdict.kind == "single"


def test_when_the_time_is_up_the_client_gets_what_is_known(runner: ProgramRunner) -> None:
    pieces, (verdict,) = _answer(runner, block(SQUARE), [DOUBLE, CRASH], seconds=0.7, hold_after=4)
    assert "the time of 0.7 s was up" in verdict.reason and verdict.sampled in (0, 4)
    assert _text(pieces).startswith("```python\n") and pieces[-1].reason == "stop"


def test_both_answers_are_sent_if_the_model_is_not_sure(runner: ProgramRunner) -> None:
    pieces, (verdict,) = _answer(runner, block(CRASH), [DOUBLE, SQUARE, CRASH, CRASH, CRASH, CRASH, CRASH, CRASH])
    assert verdict.kind == "unsure" and "n * 2" in _text(pieces) and "n * n" in _text(pieces)
    assert "\n\nOr:\n\n" in _text(pieces)


def test_the_name_and_the_field_choose_how_many_programs_are_compared() -> None:
    def chat(**fields: object) -> ChatRequest:
        return CHAT.model_copy(update=fields)

    assert wanted_programs(chat(), BEST_OF_NAME) == 8 and wanted_programs(chat(), "conself") == 0
    assert wanted_programs(chat(best_of=4), BEST_OF_NAME) == wanted_programs(chat(best_of=4), "conself-base") == 4
    assert wanted_programs(chat(best_of=1), BEST_OF_NAME) == 0
    with pytest.raises(RefusedError, match="leave out n"):
        wanted_programs(chat(n=2), BEST_OF_NAME)
    with pytest.raises(RefusedError, match="answers chats only"):
        wanted_programs(CompletionRequest(prompt="x"), BEST_OF_NAME)


def test_a_sandbox_that_was_not_waived_refuses_the_request_before_it_is_answered() -> None:
    def refuse(limits: Limits) -> Sandbox:
        raise SandboxError("this computer lacks landlock")

    with pytest.raises(RefusedError, match=r"lacks landlock.*--accept-weaker-sandbox") as refused:
        asyncio.run(start_sandbox(ProgramRunner(refuse)))
    assert refused.value.status == 503
