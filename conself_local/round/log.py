"""Log what a round says, also if it runs in a terminal: the results of its stages, its notices, and why it ended early.

A round that the screens started writes all its output to its log (`process.py`); here that log is only kept small.
Not covered: engine and trainer, which have logs of their own (`machine/child_log.py`).
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from types import TracebackType

from conself_local import __version__
from conself_local.errors import ConselfError
from conself_local.events import Event, Notice, OnEvent, StageDone
from conself_local.home import Home
from conself_local.machine.log_files import LogFile, is_log, trim_log
from conself_local.round.process import ROUND_LOG
from sandbox import SandboxError

_STANDARD_ERROR = 2


class RoundLog:
    """A context manager with the callback `on_event`, which logs an event and passes it on."""

    def __init__(self, home: Home, title: str, on_event: OnEvent) -> None:
        self._pass_on = on_event
        self._has_output = is_log(home.logs, ROUND_LOG, _STANDARD_ERROR)
        self._file = LogFile(home.logs, ROUND_LOG)
        self._write(f"conself {__version__}: {title}")

    def on_event(self, event: Event) -> None:
        """Log the result of a stage or a notice, and pass every event on."""
        if isinstance(event, StageDone):
            self._write(f"{event.stage}: {event.summary}")
        elif isinstance(event, Notice):
            self._write(f"{event.kind.severity} ({event.kind.label}): {event.text}")
        self._pass_on(event)

    def _write(self, text: str) -> None:
        if not self._has_output:
            self._file.write_line(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}")
            return
        with contextlib.suppress(OSError):
            trim_log(_STANDARD_ERROR)

    def __enter__(self) -> RoundLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error and not self._has_output:
            # the screens look for these lines (`process.failure`)
            named = str(error) if isinstance(error, ConselfError | SandboxError | OSError) else type(error).__name__
            stopped = isinstance(error, KeyboardInterrupt)
            self._file.write_line("stopped; everything stored is kept" if stopped else f"conself: {named}")
            if isinstance(error, ConselfError) and error.hint:
                self._file.write_line(f"  -> {error.hint}")
        self._file.close()
