"""Hold what all screens share: the home, its store, and what the user has chosen.

There is one database connection, and one thread at a time uses it.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conself_local.home import Home, expand_user
from conself_local.machine.log_files import LogFile
from conself_local.round import process as round_process
from conself_local.round.choices import FIRST, Choices, load_choices, save_choices
from conself_local.store.store import Store

BUSY, UNREADABLE = -1.0, -2.0


class AppState:
    """The state that all screens share, with the store of the home, which is closed at the end of a `with` block."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._store = Store(home.database)
        self._log = LogFile(home.logs, "tui")
        self._last_error = ""
        self._lock = threading.Lock()
        self._start_lock = threading.Lock()
        self._started: int | None = None
        """Process id of the round that was started last from here."""
        self._broken = False
        kept = load_choices(home)
        self.choices: Choices = kept or (Choices() if self._store.latest_round() else FIRST)
        """What the next round is made from; the next round starts with it."""
        self.touched = False
        """Whether the user chose anything for the next round since the screens opened or a round was started."""
        self.shown_round: int | None = None
        """The round that the screens of problems, pairs, training and evaluation show; None means the latest one."""
        self.adapter_id: int | None = None
        """The adapter for the playground; None means the latest accepted one."""
        self.decided: tuple[int, str] | None = None
        """The adapter that was kept or put aside last, and its state before, so that it can be undone."""
        self.seconds_per_answer: float | None = None
        """How long the model took for one answer of the round, measured since these screens opened."""

    def __enter__(self) -> AppState:
        return self

    def __exit__(self, *error: object) -> None:
        """Close the store once no thread uses it; SQLite ends the process if a connection is closed under a thread."""
        with self._lock:
            self._store.close()

    @property
    def model(self) -> Path | None:
        """The chosen model, which the playground uses too; None means the bundled model."""
        typed = self.choices.model.strip()
        return expand_user(Path(typed)) if typed else None

    def choose(self, **values: Any) -> None:
        """Choose something for the next round, and keep it in the home."""
        changed = dataclasses.replace(self.choices, **values)
        if changed != self.choices:
            self.touched = self.touched or values.keys() != {"theme"}
            self.choices = changed
            save_choices(self.home, changed)

    @property
    def round_is_active(self) -> bool:
        """Whether a round runs or is starting."""
        return round_process.running(self.home) is not None or self.round_is_starting

    @property
    def round_is_starting(self) -> bool:
        """Whether a round was started from here that has not yet taken the lock of the home."""
        return self._started is not None and round_process.is_starting(self.home, self._started)

    def start_round(self, arguments: list[str]) -> bool:
        """Start a round, or continue the unfinished one; return False if one is active, so two keys start one round.

        Raises ConselfError as `round_process.start` does.
        """
        with self._start_lock:
            if self.round_is_active:
                return False
            self._started = round_process.start(self.home, arguments)
            self.shown_round = None
            return True

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Lend the store for the length of the block, to one thread at a time.

        After a database error the next caller gets a newly opened connection.
        """
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

    def log(self, text: str) -> None:
        """Write one line with the time to the log of the screens; text of models and problems does not belong there."""
        self._log.write_line(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")

    def log_error(self, screen: str, message: str) -> None:
        """Log an error that a screen shows, once if it comes again and again."""
        if message != self._last_error:
            self._last_error = message
            self.log(f"{screen}: {message}")

    def version(self) -> float:
        """Return a number that changes when another process has written to the store.

        Returns BUSY while another thread uses the store, UNREADABLE if the database cannot be read.
        """
        if not self._lock.acquire(blocking=False):
            return BUSY
        try:
            return float(self._store.value("pragma data_version"))
        except sqlite3.Error:
            return UNREADABLE
        finally:
            self._lock.release()

    def latest_round(self) -> int | None:
        """Return the id of the latest round, or None if there is none."""
        with self.reading() as store:
            latest = store.latest_round()
        return latest.id if latest else None
