"""A sampler that returns written answers, so that what is done with answers is tested without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from conself_local.sampling.sampler import ChatMessage, Completion, EncodedPrompt, SampleRequest


class ScriptedSampler:
    """Answers each request with what `write` returns for it, one token per character, and counts what it was asked."""

    def __init__(self, write: Callable[[SampleRequest], str], fails_after: int | None = None) -> None:
        self._write, self._left = write, fails_after
        self.sampled: list[str] = []
        """Keys of the requests that were answered."""
        self.scored: list[tuple[str, Path | None]] = []
        """(text, adapter) of every call of `score`."""

    def encode(
        self, messages: Sequence[ChatMessage], answer_prefix: str = "", *, thinking: bool = False
    ) -> EncodedPrompt:
        text = "".join(f"{message.role}: {message.content}\n" for message in messages) + answer_prefix
        return EncodedPrompt(text, tuple(map(ord, text)))

    def sample(self, requests: Iterable[SampleRequest]) -> Iterator[Completion]:
        for request in requests:
            self._use()
            text = self._write(request)
            self.sampled.append(request.key)
            yield Completion(request.key, text, tuple(map(ord, text)), "fence", 0.5, 1.0)

    def score(
        self, prompt_token_ids: Sequence[int], completion_token_ids: Sequence[int], adapter: Path | None = None
    ) -> list[float]:
        """Return -1 nat per token; with an adapter, -2 nats for every `0`, so that it dislikes programs with zeros."""
        self._use()
        text = "".join(map(chr, completion_token_ids))
        self.scored.append((text, adapter))
        return [-2.0 if adapter and letter == "0" else -1.0 for letter in text]

    def close(self) -> None:
        """Do nothing."""

    def _use(self) -> None:
        if self._left == 0:
            raise ConnectionError("the engine was killed")
        self._left = None if self._left is None else self._left - 1
