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
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from conself_local.foreign_files import PARSER_ERRORS, reason
from conself_local.machine.child_process import module_command, start_child

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
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LimitedChild:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def ask(self, request: object) -> Any:
        """Return the child's answer to a request, both JSON values. Raises LimitError if there is none."""
        process = self._process or self._start()
        answered = False
        try:
            assert process.stdin is not None, "the child's input is a pipe"
            with contextlib.suppress(BrokenPipeError):  # the read below finds that the child has ended
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            reply = json.loads(self._read_line(process, _WAIT_FACTOR * self._work_seconds))
            answered = True
        finally:
            if not answered:
                self.close()
        if "error" in reply:
            raise LimitError(reply["error"])
        return reply["answer"]

    def _start(self) -> subprocess.Popen[str]:
        self._process = start_child(self._command, subprocess.DEVNULL)
        self._read_line(self._process, _START_SECONDS)
        return self._process

    def _read_line(self, process: subprocess.Popen[str], seconds: float) -> bytes:
        assert process.stdout is not None, "the child's output is a pipe"
        descriptor, end, found = process.stdout.fileno(), time.monotonic() + seconds, bytearray()
        while not found.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise LimitError(f"it took longer than {seconds:.0f} s")
            read = os.read(descriptor, 2**20)
            if not read:
                raise LimitError(self._why_it_ended(process))
            found += read
            if len(found) > _MAX_REPLY_BYTES:
                raise LimitError(f"its result is larger than {_MAX_REPLY_BYTES >> 20} MiB")
        return bytes(found)

    def _why_it_ended(self, process: subprocess.Popen[str]) -> str:
        if process.wait() in (-signal.SIGXCPU, -signal.SIGKILL):
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
