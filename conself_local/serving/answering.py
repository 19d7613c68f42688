"""Answer one request with the shared engine: prompt, choices, texts at which an answer ends, and the count of tokens.

Not covered: HTTP (`server.py`) and the form of requests and answers (`api.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from conself_local.errors import ConselfError, EngineDiedError
from conself_local.sampling.sampler import Completion, EncodedPrompt, SampleRequest
from conself_local.sampling.shared_engine import SharedEngine
from conself_local.serving.api import ChatRequest, CompletionRequest, RefusedError

MAX_IN_PROGRESS = 64
"""Answers that may wait or be in progress at once; a request beyond them is refused with 429."""
_TEMPERATURE, _TOP_P = 0.7, 0.95
"""Values for requests that name none."""


@dataclass(frozen=True)
class Piece:
    """What is new of one choice: text, or its end with the reason and its number of tokens."""

    index: int
    text: str
    reason: str | None = None
    tokens: int = 0


async def encode(engine: SharedEngine, request: ChatRequest | CompletionRequest, context: int) -> EncodedPrompt:
    """Return the prompt of a request. Raises RefusedError if it cannot be rendered or does not fit `context` tokens."""
    if engine.in_progress + (request.n or 1) > MAX_IN_PROGRESS:
        raise RefusedError(429, f"{engine.in_progress} answers are in progress; try again later")
    try:
        if isinstance(request, ChatRequest):
            prompt = await engine.encode(request.chat())
        else:
            prompt = await engine.tokenize(request.text())
    except EngineDiedError:
        raise
    except ConselfError as error:
        raise RefusedError(400, error.message, "messages") from error
    if len(prompt.token_ids) >= context:
        raise RefusedError(
            400,
            f"the prompt has {len(prompt.token_ids)} tokens, and prompt and answer may have {context} together",
            "messages",
            "context_length_exceeded",
        )
    return prompt


async def answer(
    engine: SharedEngine,
    request: ChatRequest | CompletionRequest,
    prompt: EncodedPrompt,
    adapter: Path | None,
    context: int,
) -> AsyncIterator[Piece]:
    """Yield what is new of every choice until all have ended; a caller that stops earlier cancels the rest."""
    room = context - len(prompt.token_ids)
    seed = secrets.randbits(32) if request.seed is None else request.seed
    greedy = request.top_p == 0
    pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()

    async def one(index: int) -> None:
        sample = SampleRequest(
            uuid.uuid4().hex,
            prompt.token_ids,
            0.0 if greedy else _TEMPERATURE if request.temperature is None else request.temperature,
            1.0 if greedy else _TOP_P if request.top_p is None else request.top_p,
            min(request.most_tokens or room, room),
            (seed + index) % 2**32,
            adapter=adapter,
        )
        try:
            async for piece in _choice(engine, sample, request.stops, index):
                pieces.put_nowait(piece)
        except (ConselfError, asyncio.CancelledError) as error:
            pieces.put_nowait(error)

    tasks = [asyncio.create_task(one(index)) for index in range(request.n or 1)]
    try:
        waiting = len(tasks)
        while waiting:
            piece = await pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            waiting -= piece.reason is not None
            yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _choice(engine: SharedEngine, sample: SampleRequest, stops: list[str], index: int) -> AsyncIterator[Piece]:
    """Yield the text of one choice up to the first of `stops`; text that may begin one is held back until then."""
    text, sent, tokens = "", 0, 0
    longest = max(map(len, stops), default=0)
    generated = engine.generate(sample)
    try:
        async for piece in generated:
            if isinstance(piece, Completion):
                yield Piece(index, text[sent:], "length" if piece.finish == "length" else "stop", len(piece.token_ids))
                return
            tokens = piece.tokens
            text += piece.text
            found = min((at for stop in stops if (at := text.find(stop, max(0, sent - longest))) >= 0), default=-1)
            if found >= 0:
                yield Piece(index, text[sent:found], "stop", tokens)
                return
            ready = max(sent, len(text) - longest + 1) if longest else len(text)
            if ready > sent:
                yield Piece(index, text[sent:ready])
                sent = ready
    finally:
        await generated.aclose()  # type: ignore[attr-defined]  # an async generator, which cancels the request
