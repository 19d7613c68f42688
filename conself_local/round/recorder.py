"""Store the notices of a round while it runs, and pass every event on.

Notices may come from any thread, as from a worker of the sandbox or of a server; only the thread that opened the store
writes to it. Not covered: the texts and kinds of the notices, which arise in the stages.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from types import TracebackType

from conself_local.events import START, Event, Notice, OnEvent, StageStarted
from conself_local.store.events import store_notice
from conself_local.store.store import Store


class NoticeRecorder:
    """A context manager with the callback `on_event` for the stages of one round.

    A notice of another thread is stored with the next event of the own thread, or at the end. A notice that only
    repeats an earlier one is not passed on: every sandbox that is opened reports what it lacks.
    """

    def __init__(self, store: Store, round_id: int, on_event: OnEvent) -> None:
        self._store, self._round_id, self._pass_on = store, round_id, on_event
        self._owner = threading.get_ident()
        self._waiting: queue.SimpleQueue[tuple[str, Notice]] = queue.SimpleQueue()
        self._stage = START
        self._seen: set[Notice] = set()

    def on_event(self, event: Event) -> None:
        """Pass the event on, and store it if it is a notice."""
        if isinstance(event, StageStarted):
            self._stage = event.stage.partition(":")[0].partition(" ")[0]  # "evaluate held-out: run" -> "evaluate"
        elif isinstance(event, Notice):
            if event.kind.repeats != "each" and event in self._seen:
                return
            self._seen.add(event)
            self._waiting.put((event.stage or self._stage, event))
        self._pass_on(event)
        if threading.get_ident() == self._owner:
            self._store_waiting()

    def _store_waiting(self) -> None:
        while not self._waiting.empty():
            stage, notice = self._waiting.get()
            store_notice(self._store, self._round_id, stage, notice)

    def __enter__(self) -> NoticeRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # the first error says what is wrong; a store that fails too says nothing new
        with contextlib.suppress(*((sqlite3.Error,) if error else ())):
            self._store_waiting()
