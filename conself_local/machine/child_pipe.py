"""Exchange lines with a child process that may hang: the parent waits only as long as the child shows progress.

The child prints heartbeat lines from within its work (`Heartbeat`), so a child that is stopped, deadlocked or stuck is
silent. The parent (`ChildPipe`) adds up the time in which it polled without an answer, so no time counts in which the
parent itself was paused, and none in which the computer was suspended, because the monotonic clock stands still then.
Not covered: starting and ending the child (`child_process.py`), and what the lines say.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

_HEARTBEAT = b"alive"
_HEARTBEAT_SECONDS = 1.0
_TICK_SECONDS = 1.0
"""Longest time of one poll, and the most that one poll counts: a parent that was paused meanwhile polled longer."""
_READ_BYTES = 2**16


class ChildClosedError(Exception):
    """The child has closed its end of a pipe: it has ended."""


class ChildHungError(Exception):
    """The child has shown no progress for longer than the limit."""


class LineTooLongError(Exception):
    """The child sends a longer line than is allowed."""


class Heartbeat:
    """The child's side: call it after each piece of work; it prints a line at most once per second."""

    def __init__(self, channel: TextIO) -> None:
        self._channel = channel
        self._next_at = 0.0

    def __call__(self) -> None:
        """Report that the work goes on."""
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + _HEARTBEAT_SECONDS
            self._channel.write(_HEARTBEAT.decode() + "\n")
            self._channel.flush()


class ChildPipe:
    """The parent's side: lines to a child's standard input, and lines from its standard output.

    `process` is one of `start_child`. With `has_heartbeat`, heartbeat lines are progress and are not returned. One
    thread may write while another one reads. Nothing here raises BrokenPipeError, so that the end of a child is never
    mistaken for the end of this program's own reader.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], *, has_heartbeat: bool = True, max_line_bytes: int | None = None
    ) -> None:
        assert process.stdin is not None and process.stdout is not None, "the child's input and output are pipes"
        self._input, self._output = process.stdin, process.stdout
        self._has_heartbeat, self._max_line_bytes = has_heartbeat, max_line_bytes
        self._lines: deque[bytes] = deque()
        self._rest = b""
        os.set_blocking(self._input.fileno(), False)  # a child that reads nothing must not block the writer for ever
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._input, select.POLLOUT)
        self._readable.register(self._output, select.POLLIN)

    def write_line(self, line: str, limit_s: float) -> None:
        """Send a line. Raises ChildClosedError, or ChildHungError if the child reads nothing for `limit_s`."""
        unsent, waited = memoryview(f"{line}\n".encode()), 0.0
        while unsent:
            is_ready, seconds = self._poll(self._writable, limit_s)
            waited += seconds
            try:
                written = self._input.write(unsent) if is_ready else None
            except (BrokenPipeError, ValueError) as error:  # ValueError: this side has closed the pipe
                raise ChildClosedError from error
            if written:
                unsent, waited = unsent[written:], 0.0
            elif waited >= limit_s:
                raise ChildHungError

    def read_line(self, limit_s: float, is_awaited: Callable[[], bool] = lambda: True) -> str:
        """Return the next line, without its end; time counts only while `is_awaited()`.

        Raises ChildHungError after `limit_s` without a line or a heartbeat, ChildClosedError, or LineTooLongError.
        """
        waited = 0.0
        while not self._lines:
            is_ready, seconds = self._poll(self._readable, limit_s)
            waited = waited + seconds if is_awaited() else 0.0
            if is_ready and self._receive():
                waited = 0.0
            elif waited >= limit_s:
                raise ChildHungError
        return self._lines.popleft().decode()

    def _poll(self, poller: select.poll, limit_s: float) -> tuple[bool, float]:
        """Return whether the pipe can be used, and how many seconds of waiting count."""
        if self._output.closed:
            raise ChildClosedError
        tick = min(_TICK_SECONDS, limit_s / 4)
        started = time.monotonic()
        is_ready = bool(poller.poll(tick * 1000))
        return is_ready, min(time.monotonic() - started, tick)

    def _receive(self) -> bool:
        """Read what has arrived; return whether a line or a heartbeat is complete."""
        try:
            read = self._output.read(_READ_BYTES)
        except ValueError as error:  # this side has closed the pipe
            raise ChildClosedError from error
        if not read:
            raise ChildClosedError
        *lines, self._rest = (self._rest + read).split(b"\n")
        if self._max_line_bytes is not None and len(self._rest) > self._max_line_bytes:
            raise LineTooLongError
        self._lines.extend(line for line in lines if line != _HEARTBEAT or not self._has_heartbeat)
        return bool(lines)
