"""Let many requests use one engine at once, as they come: for the server, where a round would be a fixed list.

Requests of one adapter are decoded together; a request for another one waits until those before it have ended, and
those after it wait for it, so that nobody waits for ever. An engine that dies or hangs fails the requests in progress
with the reason, and the next request starts another one.
Not covered: decoding (`llama_engine.py`), and the form of requests from outside (`serving/`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from conself_local.errors import ConselfError
from conself_local.sampling.engine_process import EngineClosedError, EngineProcess
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest


@dataclasses.dataclass(frozen=True)
class Text:
    """New text of a completion, and the number of tokens that it has so far."""

    text: str
    tokens: int


Piece = Text | Completion
"""What is new of a completion: text, or the completion itself when it has ended."""


class SharedEngine:
    """An engine for the tasks of one event loop; `open_engine` starts it, now and after each death."""

    def __init__(self, open_engine: Callable[[], EngineProcess]) -> None:
        self._open_engine = open_engine
        self._engine: EngineProcess | None = None
        self._starting = asyncio.Lock()
        self._calls: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._waiting: deque[SampleRequest] = deque()
        self._streams: dict[str, asyncio.Queue[Piece | ConselfError]] = {}
        self._texts: dict[str, str] = {}
        self._active: set[str] = set()
        self._adapter: Path | None = None

    @property
    def in_progress(self) -> int:
        """Number of completions that are waiting or in progress."""
        return len(self._streams)

    async def start(self) -> EngineProcess:
        """Return the engine, which is started if there is none. Raises ConselfError if it cannot be started."""
        async with self._starting:
            if self._engine is None:
                self._engine = await asyncio.to_thread(self._open_engine)
                arguments = (self._engine, asyncio.get_running_loop())
                threading.Thread(target=self._receive, args=arguments, daemon=True).start()
            return self._engine

    def close(self) -> None:
        """End the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    async def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = True
    ) -> EncodedPrompt:
        """Render and tokenise a chat, with the beginning of its answer.

        Raises ConselfError if the model's template refuses it.
        """
        return await self._call(
            {
                "op": "encode",
                "messages": [dataclasses.asdict(m) for m in messages],
                "answer_prefix": answer_prefix,
                "thinking": thinking,
            }
        )

    async def tokenize(self, text: str) -> EncodedPrompt:
        """Tokenise a prompt that needs no template; the text of special tokens becomes those tokens."""
        return await self._call({"op": "tokenize", "text": text, "special": True})

    async def generate(self, request: SampleRequest) -> AsyncIterator[Piece]:
        """Yield the text as it is sampled, then the completion; a caller that stops earlier cancels the request.

        Raises ConselfError if the engine dies.
        """
        await self.start()
        pieces = self._streams[request.key] = asyncio.Queue()
        self._texts[request.key] = ""
        self._waiting.append(dataclasses.replace(request, stream=True))
        self._submit_waiting()
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, ConselfError):
                    raise piece
                yield piece
                if isinstance(piece, Completion):
                    return
        finally:
            self._forget(request.key)

    def _forget(self, key: str) -> None:
        self._streams.pop(key, None)
        self._texts.pop(key, None)
        self._waiting = deque(request for request in self._waiting if request.key != key)
        if key in self._active:
            self._active.remove(key)
            self._send({"op": "cancel", "key": key})
        self._submit_waiting()

    def _submit_waiting(self) -> None:
        """Send the requests whose turn it is: those at the head of the queue that use the adapter in use."""
        while self._waiting and (not self._active or self._waiting[0].adapter == self._adapter):
            request = self._waiting.popleft()
            self._adapter = request.adapter
            self._active.add(request.key)
            self._send({"op": "sample", "request": dataclasses.asdict(request)})

    async def _call(self, call: dict[str, Any]) -> EncodedPrompt:
        await self.start()
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._calls.append(reply)
        self._send(call)
        found = await reply
        if "refused" in found:
            raise ConselfError(found["refused"], found["hint"])
        return EncodedPrompt(found["text"], tuple(found["token_ids"]))

    def _send(self, call: dict[str, Any]) -> None:
        if self._engine is not None:
            with contextlib.suppress(EngineClosedError):  # the thread that receives reports the death
                self._engine.send(call)

    # -- replies --------------------------------------------------------------------------------------------

    def _receive(self, engine: EngineProcess, loop: asyncio.AbstractEventLoop) -> None:
        """Hand the engine's replies to the event loop until it dies; runs in a thread of its own."""
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            while True:
                try:
                    reply = engine.receive(lambda: bool(self._calls or self._active))
                except (EngineClosedError, ConselfError, OSError, ValueError, AssertionError) as error:
                    loop.call_soon_threadsafe(self._died, engine, error)
                    return
                loop.call_soon_threadsafe(self._dispatch, reply)

    def _dispatch(self, reply: dict[str, Any]) -> None:
        if "partial" in reply:
            self._put_text(reply["partial"], reply["text"], reply["tokens"])
        elif "key" in reply:
            key = reply["key"]
            self._active.discard(key)
            reply["token_ids"] = tuple(reply["token_ids"])
            completion = Completion(**reply)
            self._put_text(key, completion.text[len(self._texts.get(key, "")) :], len(completion.token_ids))
            if key in self._streams:
                self._streams[key].put_nowait(completion)
            self._submit_waiting()
        elif self._calls:
            future = self._calls.popleft()
            if not future.done():
                future.set_result(reply)

    def _put_text(self, key: str, text: str, tokens: int) -> None:
        if text and key in self._streams:
            self._texts[key] += text
            self._streams[key].put_nowait(Text(text, tokens))

    def _died(self, engine: EngineProcess, error: BaseException) -> None:
        """Fail everything in progress; the next request starts another engine."""
        if self._engine is not engine:
            return  # it was closed
        self._engine = None
        failure = error if isinstance(error, ConselfError) else engine.why_it_died()
        engine.close()
        for future in self._calls:
            if not future.done():
                future.set_exception(failure)
        for pieces in self._streams.values():
            pieces.put_nowait(failure)
        self._calls.clear()
        self._active.clear()
        self._waiting.clear()
