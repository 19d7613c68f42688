"""Answer a chat request of the server by the consensus of several programs, within a time limit.

Text up to the first block of code is sent while it is generated, so that a chat without code passes through; the block
is held back until it is confirmed or replaced. While nothing is sent, empty pieces keep the connection alive.
Not covered: HTTP (`server.py`), and the decision (`best_of.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError
from conself_local.sampling.sampler import EncodedPrompt
from conself_local.sampling.shared_engine import SharedEngine
from conself_local.serving import BEST_OF, BEST_OF_NAME
from conself_local.serving.answering import Piece, answer
from conself_local.serving.api import ChatRequest, CompletionRequest, RefusedError
from conself_local.serving.best_of import BestOf
from conself_local.serving.program_runner import ProgramRunner
from conself_local.serving.verdict import NO_CODE, Verdict, block
from sandbox import SandboxError

KEEP_ALIVE_SECONDS = 5.0
_FENCE = "```"


@dataclass(frozen=True)
class BestOfServing:
    """What the server needs to compare programs."""

    runner: ProgramRunner
    seconds: float
    """Time after which a request is answered by what is known."""


def wanted_programs(request: ChatRequest | CompletionRequest, name: str) -> int:
    """Return the number of programs to compare, by the model's name or the request's field; 0: an ordinary answer.

    Raises RefusedError if it cannot be had together with something else that the request asks for.
    """
    if not isinstance(request, ChatRequest):
        if name == BEST_OF_NAME:
            raise RefusedError(400, f"{BEST_OF_NAME} answers chats only: use /v1/chat/completions", "model")
        return 0
    wanted = request.best_of or (BEST_OF if name == BEST_OF_NAME else 1)
    if wanted > 1 and (request.n or 1) > 1:
        raise RefusedError(400, "the best of several answers is one answer: leave out n", "n")
    return wanted if wanted > 1 else 0


async def best_of_answer(
    engine: SharedEngine,
    serving: BestOfServing,
    request: ChatRequest,
    prompt: EncodedPrompt,
    adapter: Path | None,
    context: int,
    most: int,
    on_verdict: Callable[[Verdict], None],
) -> AsyncIterator[Piece]:
    """Yield the chosen answer in pieces, some of them empty; `on_verdict` is called before the last one."""
    begun = time.monotonic()
    best = BestOf(engine, serving.runner, request.chat(), adapter=adapter, room=context, most=most)
    if request.temperature is None and request.top_p is None:
        request = request.model_copy(update={"temperature": 0.0})
    sent, ended, spoke = 0, Piece(0, ""), begun
    async with aclosing(answer(engine, request, prompt, adapter, context)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            best.first_answer += piece.text
            ended = piece
            ready = _ready(best.first_answer)
            if ready > sent or time.monotonic() > spoke + KEEP_ALIVE_SECONDS:
                yield Piece(0, best.first_answer[sent:ready])
                sent, spoke = max(sent, ready), time.monotonic()
    decision = asyncio.create_task(_decide(best, serving.seconds, begun))
    try:
        while not decision.done():
            await asyncio.wait([decision], timeout=KEEP_ALIVE_SECONDS)
            yield Piece(0, "")
        verdict = decision.result()
    finally:
        decision.cancel()
    on_verdict(verdict)
    reason = ended.reason if verdict.answer == best.first_answer else "stop"
    yield Piece(0, _rest(verdict, best.first_answer, sent), reason, ended.tokens + best.tokens)


async def start_sandbox(runner: ProgramRunner) -> None:
    """Start the sandbox if it is not running. Raises RefusedError if a protection is missing that was not waived."""
    try:
        await asyncio.to_thread(runner.start)
    except SandboxError as error:
        raise RefusedError(
            503, f"{error}; `conself doctor` shows the protections, --accept-weaker-sandbox NAME waives one"
        ) from error


def _ready(text: str) -> int:
    """Return how much of the first answer may be sent: up to its first fence, or to what may begin one."""
    at = text.find(_FENCE)
    return at if at >= 0 else len(text.rstrip("`")) if text.endswith("`") else len(text)


async def _decide(best: BestOf, seconds: float, begun: float) -> Verdict:
    """Return the decision, or what is known when the time is up or the engine has died."""
    try:
        async with asyncio.timeout(max(0.0, begun + seconds - time.monotonic())):
            return await best.decide()
    except TimeoutError:
        return best.verdict().with_note(f"the time of {seconds:g} s was up")
    except (ConselfError, SandboxError) as error:
        return best.verdict().with_note(getattr(error, "message", str(error)))


def _rest(verdict: Verdict, first: str, sent: int) -> str:
    """Return what is to be sent after the `sent` characters of the first answer that were sent already."""
    if verdict.reason == NO_CODE:
        return first[sent:]
    text = first[sent:] if verdict.answer == first else verdict.answer
    if verdict.other:
        text += f"\n\nOr:\n\n{block(verdict.other)}"
    return f"{text.rstrip()}\n\n({verdict.reason}.)"
