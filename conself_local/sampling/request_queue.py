"""Queue the requests that wait for a slot: in order of arrival, but all requests of one adapter together.

The engine can switch adapters only while all slots are empty. Which slot a request gets is not decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from conself_local.sampling.sampler import Completion, SampleRequest


class RequestQueue:
    """A queue in which requests for the base model and for adapters may be mixed in any order."""

    def __init__(self) -> None:
        self._waiting: dict[Path | None, deque[SampleRequest]] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def __iter__(self) -> Iterator[SampleRequest]:
        """Yield the waiting requests, those of one adapter after those of another."""
        for waiting in self._waiting.values():
            yield from waiting

    def add(self, request: SampleRequest) -> None:
        """Append a request to those of its adapter."""
        self._waiting.setdefault(request.adapter, deque()).append(request)

    def first(self, adapter: Path | None, idle: bool) -> SampleRequest | None:
        """Return the next request for the adapter in use, or None; it remains in the queue.

        A request for another adapter is returned only if all slots are idle.
        """
        waiting = self._waiting.get(adapter)
        if not waiting and idle:
            waiting = next((others for others in self._waiting.values() if others), None)
        return waiting[0] if waiting else None

    def take(self, request: SampleRequest) -> None:
        """Remove a request from the queue; it must be the one that `first` returned."""
        taken = self._waiting[request.adapter].popleft()
        assert taken is request, "only the first of its adapter is taken"

    def remove(self, key: str) -> None:
        """Remove the request of this key, if it waits."""
        for waiting in self._waiting.values():
            for request in [r for r in waiting if r.key == key]:
                waiting.remove(request)

    def clear(self) -> None:
        """Remove all requests."""
        self._waiting.clear()


def does_not_fit(request: SampleRequest, longest: int) -> Completion | None:
    """Return the `too-long` completion if the prompt is empty or leaves no room for a token, else None.

    `longest` is the length of the context in tokens.
    """
    size = len(request.prompt_token_ids)
    return None if size and size + 1 <= longest else Completion(request.key, "", (), "too-long", None, None)
