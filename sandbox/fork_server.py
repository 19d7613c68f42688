"""Parent side: start a fork server, ask it for children, signal and reap them.

This module never sees the text of a program.
Raises `SandboxError` if the server cannot lock itself down, `ServerGoneError` if it has ended or hangs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sandbox.seatbelt import seatbelt_prefix
from sandbox.thread_watch import answer_on, stop_answering
from sandbox.types import Limits, SandboxError

_REPLY = struct.Struct("!cIidQ")  # kind, pid, exit status, CPU seconds, peak memory
_SERVER_FILE = Path(__file__).parent / "child" / "server.py"
HANG_SECONDS = 60.0
"""Longest time that a fork server may take to start or to answer; then it is hung, and another one takes its place.

It takes milliseconds; a computer that swaps, or reads Python from a slow disk, takes many seconds.
"""
_CLOSE_SECONDS = 1.0


class ServerGoneError(Exception):
    """The fork server has died."""


class ServerHungError(ServerGoneError):
    """The fork server does not answer; it still exists."""


@dataclass(frozen=True)
class ChildEnd:
    """How a child ended, as the kernel reported it when the server reaped it."""

    exit_status: int
    """The encoded status, as `os.waitpid` returns it."""
    cpu_s: float
    """CPU seconds, user and system together."""
    peak_bytes: int
    """The largest resident memory."""


class Child:
    """One forked process and the socket through which the parent talks to it."""

    def __init__(self, server: ForkServer, channel: socket.socket) -> None:
        self._server = server
        self.channel = channel

    @cached_property
    def pid(self) -> int:
        """The process id; waits until the server has forked. Raises ServerGoneError."""
        return self._server.pid_of(self)

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far; 0.0 on systems other than Linux, or if the child is gone."""
        if sys.platform != "linux":
            return 0.0
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # the process's CPU clock (MAKE_PROCESS_CPUCLOCK)
        except OSError:
            return 0.0


class ForkServer:
    """One process of `child/server.py`, locked down with `layers`, with a fixed hash seed.

    Raises SandboxError if the kernel does not accept a layer, ServerGoneError if the process dies or hangs while it
    starts. `hang_seconds` is for tests.
    """

    def __init__(
        self,
        layers: tuple[str, ...],
        hash_seed: int,
        limits: Limits | None = None,
        strict: bool = False,
        hang_seconds: float = HANG_SECONDS,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        limits = limits or Limits()
        environment = {"PYTHONHASHSEED": str(hash_seed), "LC_ALL": "C.UTF-8"}
        command = seatbelt_prefix() if "seatbelt" in layers else []
        command += [sys.executable, "-s", "-S", "-P", "-B", str(_SERVER_FILE)]
        command += [str(theirs.fileno()), ",".join(layers), str(hash_seed)]
        command += [str(int(strict)), str(limits.memory_bytes), str(limits.open_files), str(limits.output_bytes)]
        self._control = ours
        self._unnamed: deque[Child] = deque()
        self._spare: Child | None = None
        self._listener: int | None = None
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        self._control.settimeout(hang_seconds)
        is_silent = False
        try:
            answer, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
            if descriptors:
                self._listener = descriptors[0]
                answer_on(self._listener)
                answer = self._control.recv(1)
            reason = self._control.recv(256) if answer == b"E" else b""
        except OSError as error:
            answer, reason, is_silent = b"", b"", isinstance(error, TimeoutError)
        if answer != b"K":
            self.close(is_hung=is_silent)
            if not answer:
                raise ServerHungError if is_silent else ServerGoneError
            raise SandboxError(f"the sandbox cannot be set up on this computer: {reason.decode(errors='replace')}")

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    @property
    def asks_for_threads(self) -> bool:
        """Whether the kernel asks before a child gets a new thread; if not, the parent must look how many there are."""
        return self._listener is not None

    def fork(self) -> Child:
        """Return a locked-down child that waits for its program; the next one is forked while this one works."""
        child = self._spare or self._ask_for_child()
        self._spare = None
        self._spare = self._ask_for_child()
        return child

    def _ask_for_child(self) -> Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            socket.send_fds(self._control, [b"F"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise (ServerHungError if isinstance(error, TimeoutError) else ServerGoneError) from error
        finally:
            theirs.close()
        child = Child(self, ours)
        self._unnamed.append(child)
        return child

    def pid_of(self, child: Child) -> int:
        """Read replies until the child's process id is known, and return it. Raises ServerGoneError."""
        while child in self._unnamed:
            self._receive()
        return child.pid

    def _receive(self) -> ChildEnd | None:
        """Read the next reply: store a new child's pid and return None, or return how a child ended."""
        try:
            message = self._control.recv(_REPLY.size, socket.MSG_WAITALL)
        except TimeoutError as error:
            raise ServerHungError from error
        except OSError as error:
            raise ServerGoneError from error
        if len(message) != _REPLY.size:
            raise ServerGoneError
        kind, pid, exit_status, cpu_s, peak_bytes = _REPLY.unpack(message)
        if kind == b"E":
            return ChildEnd(exit_status, cpu_s, peak_bytes)
        self._unnamed.popleft().__dict__["pid"] = pid
        return None

    def end(self, child: Child) -> ChildEnd:
        """Kill the child and reap it. Raises ServerGoneError.

        The child may be dead already: the server has not reaped it yet, so no other process has its pid.
        """
        try:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        finally:
            child.channel.close()
        try:
            self._control.sendall(b"R")
        except TimeoutError as error:
            raise ServerHungError from error
        except OSError as error:
            raise ServerGoneError from error
        while True:
            end = self._receive()
            if end is not None:
                return end

    def close(self, *, is_hung: bool = False) -> None:
        """Close the control socket, at which the server kills and reaps its children and exits.

        The server is killed if it has not exited after one second, or at once if it is hung.
        """
        if self._spare:
            self._spare.channel.close()
            self._spare = None
        self._control.close()
        if self._listener is not None:
            stop_answering(self._listener)
            self._listener = None
        try:
            self._process.wait(0 if is_hung else _CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
