"""Parent side: run one program from its first input to its last, with as many children as it needs.

The parent alone decides the status: from its own clock, from how the kernel says that the child ended, and from
frames that arrive exactly when they are due. After a frame that comes before its input was sent, a wrong length or an
unknown status, the whole program is `refused`. If a child dies at input i, a fresh child continues with input i + 1.
Callers store and hash the texts of `Output.detail`, so changing one of them changes stored ids.
"""

from __future__ import annotations

import builtins
import contextlib
import marshal
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sandbox.canonical_reader import is_canonical
from sandbox.fork_server import Child, ChildEnd, ForkServer
from sandbox.thread_watch import MAX_THREADS, unwatch_threads, watch_threads
from sandbox.types import Inputs, Limits, Output, Program, Status
from sandbox.values import pack_input

_FRAME = struct.Struct("!HI")
_LOADING = 0x100
OWN_FAILURE = 70  # as in `child/harness.py`
NOT_COMPILED = "does not compile"
NOT_RUN = "not run: too many time-outs before"
_EXCEPTION_NAMES = {n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException)}
_MEMORY_NEAR_LIMIT = 0.9
_RECEIVE_BYTES = 1 << 16
_BULK_TICK_SECONDS = 0.02


class _ProtocolBroken(Exception):
    """The child broke the protocol."""


class _ChildClosed(Exception):
    """The child closed its end of the channel."""


class _DeadlineExceeded(Exception):
    """The child did not answer before its deadline."""


class _ScriptEnded(Exception):
    """The process of a script has ended without a report of an exception."""


class _TooManyThreads(Exception):
    """The child was killed because it had more threads than a program may have."""


@dataclass(frozen=True)
class Run:
    """One run of a program over all its inputs."""

    load: Output
    """How compiling and running the module ended."""
    outputs: tuple[Output, ...]
    """One output per input, in the order of `Program.inputs`."""


def run_program(
    server: ForkServer,
    program: Program,
    order: Sequence[int],
    limits: Limits,
    inputs: Inputs,
    packed: Sequence[bytes] | None = None,
) -> Run:
    """Run `program` on the inputs that `order` lists, in that order; the outputs are in the order of the inputs.

    `order` must name every input once. `packed` holds the inputs as `pack_input` returns them, if they are packed
    already. Raises ServerGoneError if the fork server ends, UnusableInputError for an input that cannot be packed.
    """
    packed = [pack_input(value) for value in program.inputs] if packed is None else packed
    answers: dict[int, Output] = {}
    load: Output | None = None
    pending = list(order)
    timeouts = 0
    while load is None or pending:
        # a script gets a fresh interpreter for every input, which also ends
        batch = pending[:1] if inputs == "fork-each" or program.kind == "stdin" else pending
        raw = [packed[i] for i in batch]
        this_load, outputs = _ProgramSession(server, program, raw, limits, inputs == "together").run()
        load = load or this_load
        if this_load.status is not Status.OK:
            for index in pending:
                answers[index] = Output(this_load.status, None, this_load.detail, 0.0, 0.0)
            break
        for index, output in zip(batch, outputs, strict=False):
            answers[index] = output
            timeouts += output.status is Status.TIMEOUT
        if any(o.status is Status.REFUSED and o.detail == _BROKE_PROTOCOL for o in outputs):
            answers = {i: _refused() for i in order}
            break
        pending = pending[len(outputs) :]
        if limits.max_timeouts is not None and timeouts >= limits.max_timeouts:
            for index in pending:
                answers[index] = Output(Status.TIMEOUT, None, NOT_RUN, 0.0, 0.0)
            break
    return Run(load, tuple(answers[i] for i in range(len(program.inputs))))


_BROKE_PROTOCOL = "broke the protocol of the sandbox"


def _refused() -> Output:
    return Output(Status.REFUSED, None, _BROKE_PROTOCOL, 0.0, 0.0)


class _ProgramSession:
    """One child that loads the program and answers inputs until it ends or no input is left."""

    def __init__(
        self, server: ForkServer, program: Program, raw: Sequence[bytes], limits: Limits, together: bool
    ) -> None:
        self._server, self._program, self._raw = server, program, raw
        self._limits, self._together = limits, together
        self._sent_at_once = together and program.kind == "function"
        cpu = limits.cpu_s if limits.cpu_s is not None else limits.wall_s * (len(raw) + 1)
        self._cpu_seconds = max(1, math.ceil(cpu))
        self._buffer, self._cpu_before = b"", 0.0
        self._printed: int | None = None
        """Descriptor of the file that a stdin program prints to."""

    def run(self) -> tuple[Output, list[Output]]:
        """Return how loading ended, and the outputs of the first inputs; they may be fewer than the batch.

        Raises ServerGoneError if the fork server ends.
        """
        child = self._server.fork()
        outputs: list[Output] = []
        load: Output | None = None
        failure: Exception | None = None
        started = time.monotonic()
        if not self._server.asks_for_threads:
            watch_threads(child.pid)
        try:
            self._send_program(child)
            load = self._read_frame(child, started, _LOADING)
            if load.status is Status.OK:
                self._collect_outputs(child, outputs)
        except (_ProtocolBroken, _ChildClosed, _DeadlineExceeded, _ScriptEnded, OSError) as error:
            failure = error
        finally:
            if unwatch_threads(child.pid):
                failure = _TooManyThreads()
            end, printed = self._end(child)
        wall = time.monotonic() - started
        if self._together:
            outputs = [replace(o, wall_s=wall / len(outputs), cpu_s=end.cpu_s / len(outputs)) for o in outputs]
        if failure is not None:
            last = self._explain(failure, end, printed, wall)
            if load is None:
                load = last
            else:  # what goes wrong after the last answer takes its place
                outputs = [*outputs[: max(0, len(self._raw) - 1)], last]
        assert load is not None, "either a load frame came or its absence was explained"
        return load, outputs

    def _end(self, child: Child) -> tuple[ChildEnd, bytes]:
        """Kill and reap the child; return how it ended, and what a script printed: at most one byte over the limit."""
        try:
            end = self._server.end(child)
            if self._printed is None:
                return end, b""
            return end, os.pread(self._printed, self._limits.output_bytes + 1, 0)
        finally:
            if self._printed is not None:
                os.close(self._printed)
                self._printed = None

    def _collect_outputs(self, child: Child, outputs: list[Output]) -> None:
        for raw in self._raw:
            started = time.monotonic()
            if not self._sent_at_once:
                self._check_silence(child)
                self._send_input(child, raw)
            if self._program.kind == "stdin":
                outputs.append(self._read_script_failure(child, started))
            else:
                outputs.append(self._read_frame(child, started, 0))
        with contextlib.suppress(_ChildClosed):
            self._check_silence(child)

    def _send_input(self, child: Child, raw: bytes) -> None:
        child.channel.settimeout(self._limits.wall_s)
        if self._program.kind == "stdin":
            self._printed = _memory_file("stdout")
            _send_files(child.channel, raw, self._printed)
            return
        child.channel.sendall(struct.pack("!I", len(raw)) + raw)

    def _check_silence(self, child: Child) -> None:
        """Check that the child has sent nothing since its last answer.

        Raises _ProtocolBroken if it has, _ChildClosed if it has closed the channel.
        """
        if self._buffer:
            raise _ProtocolBroken
        child.channel.settimeout(0)
        try:
            early = child.channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            raise _ProtocolBroken from None
        raise _ProtocolBroken if early else _ChildClosed

    def _read_script_failure(self, child: Child, started: float) -> Output:
        """Return the exception that a script reports. Raises _ScriptEnded if its process ends without a report."""
        try:
            output = self._read_frame(child, started, 0)
        except _ChildClosed:
            if _has_ended(child.pid, started + self._limits.wall_s):
                raise _ScriptEnded from None
            raise _DeadlineExceeded from None
        if output.status is Status.OK:
            raise _ProtocolBroken  # an output is taken only from its file, when the process has ended
        return output

    def _send_program(self, child: Child) -> None:
        child.channel.settimeout(self._limits.wall_s)
        sent_now = self._raw if self._sent_at_once else []
        how = (self._program.kind, self._together, len(self._raw), self._cpu_seconds, self._limits.output_bytes)
        block = marshal.dumps((*how, self._program.entry_point, self._program.source, *sent_now))
        child.channel.sendall(struct.pack("!I", len(block)) + block)

    def _read_frame(self, child: Child, started: float, expected_flag: int) -> Output:
        """Read one frame; `expected_flag` is `_LOADING` for the frame about loading, else 0."""
        deadline = started + self._limits.wall_s
        status, length = _FRAME.unpack(self._read_exactly(child, _FRAME.size, deadline))
        status ^= expected_flag
        if length > self._limits.output_bytes * 4 or status > (5 if expected_flag else 4):
            raise _ProtocolBroken
        payload = self._read_exactly(child, length, deadline)
        if expected_flag and status == 0:
            if payload:
                raise _ProtocolBroken
            return Output(Status.OK, "", "", *self._spent(child, started))
        if self._together:
            return self._output(status, payload, 0.0, 0.0)
        return self._output(status, payload, *self._spent(child, started))

    def _spent(self, child: Child, started: float) -> tuple[float, float]:
        """Return the seconds since `started`, and the child's CPU seconds since the last call."""
        cpu = 0.0 if self._together else child.cpu_s()
        spent, self._cpu_before = max(0.0, cpu - self._cpu_before), cpu
        return time.monotonic() - started, spent

    def _read_exactly(self, child: Child, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _DeadlineExceeded
            if self._sent_at_once:
                self._wait_for_close(child, left)
            child.channel.settimeout(left)
            try:
                part = child.channel.recv(_RECEIVE_BYTES)
            except TimeoutError:
                raise _DeadlineExceeded from None
            if not part:
                raise _ChildClosed
            self._buffer += part
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _wait_for_close(self, child: Child, left: float) -> None:
        """Sleep until the child has closed its end, but at most 20 ms: single frames need not wake the parent."""
        poller = select.poll()
        poller.register(child.channel, 0)  # POLLHUP is always reported
        poller.poll(min(left, _BULK_TICK_SECONDS) * 1000)

    def _output(self, status: int, payload: bytes, wall: float, cpu: float) -> Output:
        if self._printed is not None and os.fstat(self._printed).st_size > self._limits.output_bytes:
            status = 2
        if status == 0:
            text = payload.decode("ascii", "replace")
            if len(text) > self._limits.output_bytes:
                return Output(Status.OUTPUT_LIMITED, None, "more output than the limit", wall, cpu)
            if not is_canonical(text):
                raise _ProtocolBroken
            return Output(Status.OK, text, "", wall, cpu)
        if status == 2:
            return Output(Status.OUTPUT_LIMITED, None, "more output than the limit", wall, cpu)
        if status == 3:
            return Output(Status.REFUSED, None, "returned a value that has no canonical text", wall, cpu)
        if status == 4:
            return Output(Status.MEMORY_LIMITED, None, "MemoryError", wall, cpu)
        name = payload[:60].decode("ascii", "replace")
        name = name if name in _EXCEPTION_NAMES else "an exception of its own"
        return Output(Status.ERROR, None, f"{NOT_COMPILED}: {name}" if status == 5 else name, wall, cpu)

    def _explain(self, failure: Exception, end: ChildEnd, printed: bytes, wall: float) -> Output:
        """Return the output that stands for how the child ended."""
        exit_status, cpu = end.exit_status, end.cpu_s
        if isinstance(failure, _ScriptEnded) and os.WIFEXITED(exit_status):
            code = os.WEXITSTATUS(exit_status)
            if len(printed) > self._limits.output_bytes:
                return self._output(2, b"", wall, cpu)
            if code == 0:
                return Output(Status.OK, _printed_text(printed), "", wall, cpu)
            if code != OWN_FAILURE:
                return self._output(1, b"SystemExit", wall, cpu)
        if isinstance(failure, _DeadlineExceeded | TimeoutError):
            return Output(Status.TIMEOUT, None, f"longer than {self._limits.wall_s:g} s", wall, cpu)
        if isinstance(failure, _TooManyThreads):
            return Output(Status.CRASHED, None, f"more than {MAX_THREADS} threads", wall, cpu)
        if isinstance(failure, _ProtocolBroken):
            return Output(Status.REFUSED, None, _BROKE_PROTOCOL, wall, cpu)
        if os.WIFSIGNALED(exit_status) and os.WTERMSIG(exit_status) == signal.SIGXCPU:
            return Output(Status.TIMEOUT, None, "CPU time is used up", wall, cpu)
        if end.peak_bytes > self._limits.memory_bytes * _MEMORY_NEAR_LIMIT:
            return Output(Status.MEMORY_LIMITED, None, "vanished near its memory limit", wall, cpu)
        return Output(Status.CRASHED, None, "the process vanished", wall, cpu)


def _printed_text(printed: bytes) -> str:
    """Return what a script printed as text, without white space at the end of its lines and at its end."""
    text = printed.decode("utf-8", "backslashreplace")
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip()


def _has_ended(pid: int, deadline: float) -> bool:
    """Wait until the process has ended, at most until `deadline`; return whether it has."""
    left = max(0.0, deadline - time.monotonic())
    if sys.platform == "linux":
        descriptor = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            return bool(poller.poll(left * 1000))
        finally:
            os.close(descriptor)
    events = select.kqueue()
    try:
        exited = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)
        return bool(events.control([exited], 1, left))
    except ProcessLookupError:
        return True
    finally:
        events.close()


def _memory_file(name: str) -> int:
    """Return the descriptor of an empty file without a path (in memory on Linux)."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    import tempfile

    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor


def _send_files(channel: socket.socket, raw: bytes, printed: int) -> None:
    """Send the child two files: one that holds the input, for its descriptor 0, and one for what it prints."""
    descriptor = _memory_file("stdin")
    try:
        view = memoryview(raw)
        while view:
            view = view[os.write(descriptor, view) :]
        socket.send_fds(channel, [b"D"], [descriptor, printed])
    finally:
        os.close(descriptor)
