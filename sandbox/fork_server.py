"""Parent side: starts a fork server, asks it for children, signals and reaps them. Knows no program text.

Raises `SandboxError` where the server cannot lock itself down, `ServerGoneError` where it has vanished.
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
from sandbox.types import Limits, SandboxError

_REPLY = struct.Struct("!cIidQ")  # kind, pid, exit status, CPU seconds, peak memory
_SERVER_FILE = Path(__file__).parent / "child" / "server.py"
_START_SECONDS = 30.0
_REAP_SECONDS = 10.0
_CLOSE_SECONDS = 1.0


class ServerGoneError(Exception):
    """The fork server died or does not answer."""


@dataclass(frozen=True)
class ChildEnd:
    exit_status: int
    """As by waitpid."""
    cpu_s: float
    peak_bytes: int


class Child:
    """One forked process and the socket on which it speaks."""

    def __init__(self, server: ForkServer, channel: socket.socket) -> None:
        self._server = server
        self.channel = channel

    @cached_property
    def pid(self) -> int:
        """Waits until the server has forked. Raises ServerGoneError."""
        return self._server.pid_of(self)

    def cpu_s(self) -> float:
        """CPU seconds so far; 0.0 where the system does not tell."""
        if sys.platform != "linux":
            return 0.0
        try:
            return time.clock_gettime((~self.pid << 3) | 2)  # the process's CPU clock (MAKE_PROCESS_CPUCLOCK)
        except OSError:
            return 0.0


class ForkServer:
    """One process of `child/server.py`, locked down with `layers`, its hash seed fixed.

    Raises SandboxError where a layer is not taken, ServerGoneError where the process died while it started.
    """

    def __init__(
        self, layers: tuple[str, ...], hash_seed: int, limits: Limits | None = None, strict: bool = False
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        limits = limits or Limits()
        environment = {"PYTHONHASHSEED": str(hash_seed), "LC_ALL": "C.UTF-8"}
        command = seatbelt_prefix() if "seatbelt" in layers else []
        command += [sys.executable, "-s", "-S", "-P", "-B", str(_SERVER_FILE)]
        command += [str(theirs.fileno()), ",".join(layers), str(hash_seed)]
        command += [str(limits.memory_bytes), str(limits.open_files), str(int(strict))]
        self._control = ours
        self._unnamed: deque[Child] = deque()
        self._spare: Child | None = None
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
        self._control.settimeout(_START_SECONDS)
        try:
            answer = self._control.recv(1)
            reason = self._control.recv(256) if answer == b"E" else b""
        except OSError:
            answer, reason = b"", b""
        if answer != b"K":
            self.close()
            if not answer:
                raise ServerGoneError
            raise SandboxError(f"the sandbox cannot be set up here: {reason.decode(errors='replace')}")
        self._control.settimeout(_REAP_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self) -> Child:
        """A locked-down child that waits for its program; the next one is forked while this one works."""
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
            raise ServerGoneError from error
        finally:
            theirs.close()
        child = Child(self, ours)
        self._unnamed.append(child)
        return child

    def pid_of(self, child: Child) -> int:
        while child in self._unnamed:
            self._receive()
        return child.pid

    def _receive(self) -> ChildEnd | None:
        """The next reply: a new child's pid is noted, a child's end is returned."""
        try:
            message = self._control.recv(_REPLY.size, socket.MSG_WAITALL)
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
        """Kill the child (it may be dead already: its pid is kept by the server) and reap it."""
        try:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        finally:
            child.channel.close()
        try:
            self._control.sendall(b"R")
        except OSError as error:
            raise ServerGoneError from error
        while True:
            end = self._receive()
            if end is not None:
                return end

    def close(self) -> None:
        """The server kills and reaps its children when the control socket closes; it is killed where it does not."""
        if self._spare:
            self._spare.channel.close()
            self._spare = None
        self._control.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
