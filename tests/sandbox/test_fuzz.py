"""Whatever bytes a child sends, the parent answers with a status, never crashes, and never takes much memory."""

from __future__ import annotations

import socket
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Limits, Output, Program, Status
from sandbox.fork_server import Child, ChildEnd, ForkServer
from sandbox.protocol import run_program

LIMITS = Limits(wall_s=0.2, output_bytes=1000, max_timeouts=1)


class ScriptedForkServer(ForkServer):
    """Takes the place of a fork server; its children send the given bytes and end."""

    def __init__(self, sent: bytes) -> None:
        self._sent = sent
        self._listener = None

    def fork(self) -> Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs.sendall(self._sent)
        theirs.shutdown(socket.SHUT_WR)
        child = Child(self, ours)
        child.__dict__["pid"] = 2**22 + 1  # above the largest pid, so its CPU time cannot be read
        self._theirs = theirs
        return child

    def end(self, child: Child) -> ChildEnd:
        child.channel.close()
        self._theirs.close()
        return ChildEnd(0, 0.0, 0)


frames = st.tuples(
    st.one_of(st.sampled_from([0, 1, 2, 3, 4, 5, 0x100, 0x101, 0x105]), st.integers(0, 2**16 - 1)),
    st.binary(max_size=60),
    st.integers(-2, 2),
).map(lambda f: struct.pack("!HI", f[0], max(0, len(f[1]) + f[2])) + f[1])
sent = st.lists(frames | st.binary(max_size=30), max_size=6).map(b"".join)


@settings(max_examples=400)
@given(sent, st.sampled_from(["one-at-a-time", "together", "fork-each"]), st.sampled_from(["function", "stdin"]))
def test_any_bytes_from_a_child_become_a_status(sent: bytes, inputs: str, kind: str) -> None:
    given_inputs: list[object] = ["a", "b", "c"] if kind == "stdin" else [(1,), (2,), (3,)]
    program = Program("p", "x", kind, "f", given_inputs)  # type: ignore[arg-type]
    run = run_program(ScriptedForkServer(sent), program, range(3), LIMITS, inputs)  # type: ignore[arg-type]
    assert len(run.outputs) == 3
    for output in (run.load, *run.outputs):
        check_output(output, kind)


def check_output(output: Output, kind: str) -> None:
    """Assert what holds for every output: a status, a text only if it is `ok`, and short printable details."""
    assert isinstance(output.status, Status)
    assert (output.text is not None) == (output.status is Status.OK)
    if output.text is not None:
        assert len(output.text) <= LIMITS.output_bytes
        assert kind == "stdin" or output.text.isascii()
    assert output.detail.isascii() and output.detail.isprintable() and len(output.detail) < 100
