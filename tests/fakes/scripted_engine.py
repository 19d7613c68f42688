"""An engine whose completions are written beforehand, for tests of what is done with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from conself_local.sampling.engine_process import EngineProcess
from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest
from conself_local.sampling.shared_engine import Piece, SharedEngine, Text


def _no_process() -> EngineProcess:
    raise AssertionError("a scripted engine has no process")


class ScriptedEngine(SharedEngine):
    """Answers prompts with an answer prefix by `programs`, one after another, and other prompts by `calls`.

    After `hold_after` programs it waits for ever. The prompts are in `prompts`.
    """

    def __init__(self, programs: Sequence[str], calls: str = "", *, hold_after: int | None = None) -> None:
        super().__init__(_no_process)
        self._programs, self._call_text, self._hold_after = list(programs), calls, hold_after
        self._given = 0
        self.prompts: list[str] = []
        self.is_holding = asyncio.Event()

    async def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = True
    ) -> EncodedPrompt:
        """Return the prompt; its second token says whether it has an answer prefix."""
        self.prompts.append("\n".join(message.content for message in messages))
        return EncodedPrompt(self.prompts[-1], (1, int(bool(answer_prefix))))

    async def generate(self, request: SampleRequest) -> AsyncIterator[Piece]:
        """Yield the next text in pieces, and then the completion."""
        text = self._call_text
        if request.prompt_token_ids[1]:
            if self._given == self._hold_after:
                self.is_holding.set()
                await asyncio.Event().wait()
            text = f"{self._programs[self._given % len(self._programs)]}```"
            self._given += 1
        for at in range(0, len(text), 5):
            yield Text(text[at : at + 5], at // 5 + 1)
        yield Completion(request.key, text, (5, self._given), "fence", 0.1, None)
