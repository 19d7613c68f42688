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
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sandbox.types import Limits, ProgramKind, SandboxError

_HEADER = struct.Struct("!c?III")
_SERVER_FILE = Path(__file__).parent / "child" / "server.py"
_START_SECONDS = 30.0
_REAP_SECONDS = 10.0


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
        return self._server.forked_pid()

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

    def __init__(self, layers: tuple[str, ...], hash_seed: int, limits: Limits | None = None, strict: bool = False) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        limits = limits or Limits()
        environment = {"PYTHONHASHSEED": str(hash_seed), "LC_ALL": "C.UTF-8"}
        command = [sys.executable, "-s", "-S", "-P", "-B", str(_SERVER_FILE)]
        command += [str(theirs.fileno()), ",".join(layers), str(hash_seed)]
        command += [str(limits.memory_bytes), str(limits.open_files), str(int(strict))]
        self._control = ours
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
            answer = self._control.recv(256)
        except OSError:
            answer = b""
        if answer != b"K":
            self.close()
            if not answer:
                raise ServerGoneError
            raise SandboxError(f"the sandbox cannot be set up here: {answer[1:].decode(errors='replace')}")
        self._control.settimeout(_REAP_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, kind: ProgramKind, *, together: bool, n_inputs: int, cpu_seconds: int, output_bytes: int) -> Child:
        """Ask for a child; the answer is not waited for, so that the program can be sent meanwhile."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        header = _HEADER.pack(b"s" if kind == "stdin" else b"f", together, n_inputs, cpu_seconds, output_bytes)
        try:
            socket.send_fds(self._control, [b"F" + header], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise ServerGoneError from error
        finally:
            theirs.close()
        return Child(self, ours)

    def forked_pid(self) -> int:
        try:
            answer = self._control.recv(4)
        except OSError as error:
            raise ServerGoneError from error
        if len(answer) != 4:
            raise ServerGoneError
        return int.from_bytes(answer, "big")

    def end(self, child: Child) -> ChildEnd:
        """Kill the child (it may be dead already: its pid is kept by the server) and reap it."""
        try:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        finally:
            child.channel.close()
        try:
            self._control.sendall(b"R")
            answer = self._control.recv(64)
        except OSError as error:
            raise ServerGoneError from error
        if len(answer) != 20:
            raise ServerGoneError
        return ChildEnd(*struct.unpack("!idQ", answer))

    def close(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()
