"""What every screen works at: the home, its store, and what the user has chosen. One connection, used by one thread at a time."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conself_local.home import Home
from conself_local.store.store import Store

BUSY, UNREADABLE = -1.0, -2.0


class AppState:
    """`round_id` is the round that is looked at; None: the latest."""

    def __init__(self, home: Home, store: Store) -> None:
        self.home = home
        self._store = store
        self._lock = threading.Lock()
        self._broken = False
        self.model: Path | None = None
        """For playground and next round; None: the bundled model."""
        self.adapter_id: int | None = None
        """For the playground; None: the latest accepted one."""

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """The store, for as long as the block lasts; after an error of the database it is opened anew."""
        with self._lock:
            if self._broken:
                self._store.close()
                self._store = Store(self.home.database)
                self._broken = False
            try:
                yield self._store
            except sqlite3.DatabaseError:
                self._broken = True
                raise

    def version(self) -> float:
        """Another number after another process has written to the store; BUSY while it is in use here, UNREADABLE after an error."""
        if not self._lock.acquire(blocking=False):
            return BUSY
        try:
            return float(self._store.value("pragma data_version"))
        except sqlite3.Error:
            return UNREADABLE
        finally:
            self._lock.release()

    def latest_round(self) -> int | None:
        with self.reading() as store:
            latest = store.latest_round()
        return latest.id if latest else None
