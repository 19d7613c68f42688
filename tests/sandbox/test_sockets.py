"""No message leaves a program: not to a UNIX socket that has a path, with or without an address, in strict mode or not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.conftest import ALL_LAYERS, run

_BY_PAIR = """
import socket
def f(path):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.sendto(b"out", path)
    return "through"
"""
_BY_STREAM = """
import socket
def f(path):
    a, b = socket.socketpair()
    try:
        a.sendto(b"out", path)
    except OSError as error:
        assert error.errno != 1
    return "through"
"""
_BY_MESSAGE = """
import socket
def f(path):
    a, b = socket.socketpair()
    try:
        a.sendmsg([b"out"], [], 0, path)
    except OSError as error:
        assert error.errno != 1
    return "through"
"""


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Yield the path of a datagram socket of the user, like that of the system log, and the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        path = str(tmp_path / "log")
        server.bind(path)
        server.settimeout(0.05)
        yield path, server


@pytest.mark.parametrize("strict", [False, True])
def test_a_datagram_reaches_no_socket_that_has_a_path(mailbox: tuple[str, socket.socket], strict: bool) -> None:
    path, server = mailbox
    assert run(_BY_PAIR, [(path,)], strict=strict).text is None
    with pytest.raises(TimeoutError):
        server.recv(9)
    without = tuple(layer for layer in ALL_LAYERS if layer != "seccomp")
    assert run(_BY_PAIR, [(path,)], without).text == "'through'", "the control: without seccomp it arrives"
    assert server.recv(9) == b"out"


@pytest.mark.parametrize("source", [_BY_STREAM, _BY_MESSAGE])
def test_no_message_has_an_address(mailbox: tuple[str, socket.socket], source: str) -> None:
    """A connected stream refuses an address by itself, with another error than the filter's."""
    assert run(source, [(mailbox[0],)]).text is None
    assert run(source, [(mailbox[0],)], ("capabilities", "landlock")).text == "'through'"


def test_asyncio_and_socketpairs_of_streams_work() -> None:
    source = """
import asyncio, socket
async def g(x):
    await asyncio.sleep(0)
    return x
def f(x):
    a, b = socket.socketpair()
    a.sendall(b"x")
    assert b.recv(1) == b"x"
    return asyncio.run(g(x))
"""
    assert run(source, [(5,)]).text == "5"
