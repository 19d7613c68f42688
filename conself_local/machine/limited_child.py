"""Do hostile work in a child process that may use little memory and time, and is killed if it uses more.

A template or a parser can be stuck in one long call that no Python signal handler interrupts, so the work is done in
another process: the kernel limits its memory and its processor time, and the parent kills it at the end of its time.
`LimitedChild` is the parent's side, `serve` the child's; between them go JSON lines.
Not covered: programs that a model wrote (`sandbox/`). macOS does not limit memory, so there only the time is limited.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.machine.child_pipe import ChildClosedError, ChildHungError, ChildPipe, LineTooLongError
from conself_local.machine.child_process import close_child, end_child, module_command, start_child

MEMORY_BYTES = 512 * 2**20
"""Address space of a child, if it asks for no other one."""
WORK_SECONDS = 2
"""Processor time of a child per request, if it asks for no other one."""
_WAIT_FACTOR = 4
"""Times the processor time that the parent waits for a reply: on a busy computer, that time takes longer."""
_START_SECONDS = 30.0
_MAX_REPLY_BYTES = 16 * 2**20


class LimitError(ValueError):
    """The work failed, or needed more than its limits; the message says which."""


class LimitedChild:
    """A context manager around a child that runs `module`, whose `main` calls `serve`; it is started when needed.

    One request at a time. A child that broke a limit is killed, and the next request starts another one.
    work_seconds: what the module gives to `serve`.
    """

    def __init__(self, module: str, work_seconds: int = WORK_SECONDS) -> None:
        self._command = module_command(module)
        self._work_seconds = work_seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LimitedChild:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child, if there is one."""
        if self._process is not None:
            close_child(self._process)
            self._process = None

    def ask(self, request: object) -> Any:
        """Return the child's answer to a request, both JSON values. Raises LimitError if there is none."""
        answered = False
        try:
            if self._process is None:
                self._start()
            reply = json.loads(self._exchange(json.dumps(request), _WAIT_FACTOR * self._work_seconds))
            answered = True
        finally:
            if not answered:
                self.close()
        if "error" in reply:
            raise LimitError(reply["error"])
        return reply["answer"]

    def _start(self) -> None:
        self._process = start_child(self._command, subprocess.DEVNULL)
        self._pipe = ChildPipe(self._process, has_heartbeat=False, max_line_bytes=_MAX_REPLY_BYTES)
        self._exchange(None, _START_SECONDS)

    def _exchange(self, line: str | None, seconds: float) -> str:
        """Send a line, if there is one, and return the reply."""
        try:
            if line is not None:
                self._pipe.write_line(line, seconds)
            return self._pipe.read_line(seconds)
        except ChildHungError as error:
            raise LimitError(f"it took longer than {seconds:.0f} s") from error
        except ChildClosedError as error:
            raise LimitError(self._why_it_ended()) from error
        except LineTooLongError as error:
            raise LimitError(f"its result is larger than {_MAX_REPLY_BYTES >> 20} MiB") from error

    def _why_it_ended(self) -> str:
        """Return why the child has closed its output."""
        assert self._process is not None, "the child was started"
        if end_child(self._process, is_ending=True) in (-signal.SIGXCPU, -signal.SIGKILL):
            return f"it took longer than {self._work_seconds} s"
        return "it broke the process that worked on it"


def serve(work: Callable[[Any], object], memory_bytes: int = MEMORY_BYTES, work_seconds: int = WORK_SECONDS) -> None:
    """Answer requests from standard input until it ends, within the limits; `main` of the child's module calls this.

    work: takes a request and returns the answer, both JSON values; what a parser raises in it becomes the reply.
    """
    with contextlib.suppress(ValueError, OSError):  # not on macOS
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    channel.write("ready\n")
    for line in sys.stdin:
        used = sum(os.times()[:2])
        resource.setrlimit(resource.RLIMIT_CPU, (int(used) + 1 + work_seconds, resource.RLIM_INFINITY))
        try:
            reply = json.dumps({"answer": work(json.loads(line))})
        except PARSER_ERRORS as error:
            reply = json.dumps({"error": reason(error)})
        channel.write(reply + "\n")
