"""What waits for a slot: in order of arrival, but all of one adapter together, since a switch needs the slots empty."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from conself_local.sampling.sampler import Completion, SampleRequest


class RequestQueue:
    """Requests of the base model and of adapters may be mixed as one likes."""

    def __init__(self) -> None:
        self._waiting: dict[Path | None, deque[SampleRequest]] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def __iter__(self) -> Iterator[SampleRequest]:
        """Those of one adapter after those of another."""
        for waiting in self._waiting.values():
            yield from waiting

    def add(self, request: SampleRequest) -> None:
        self._waiting.setdefault(request.adapter, deque()).append(request)

    def first(self, adapter: Path | None, idle: bool) -> SampleRequest | None:
        """The next one for the adapter in use; of another one only when all slots are idle. It stays in the queue."""
        waiting = self._waiting.get(adapter)
        if not waiting and idle:
            waiting = next((others for others in self._waiting.values() if others), None)
        return waiting[0] if waiting else None

    def take(self, request: SampleRequest) -> None:
        """Out of the queue with what `first` named."""
        taken = self._waiting[request.adapter].popleft()
        assert taken is request, "only the first of its adapter is taken"

    def clear(self) -> None:
        self._waiting.clear()


def does_not_fit(request: SampleRequest, longest: int) -> Completion | None:
    """The answer to a prompt that is empty, or leaves no room for a token in a context of `longest`."""
    size = len(request.prompt_token_ids)
    return None if size and size + 1 <= longest else Completion(request.key, "", (), "too-long", None, None)
