"""Run one program on a fork server with exactly the layers that a test names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from sandbox import Limits, Output, Program
from sandbox.fork_server import ForkServer
from sandbox.guarantees import ALL_LAYERS
from sandbox.protocol import run_program

__all__ = ["ALL_LAYERS", "run", "server"]

_started: list[ForkServer] = []


@cache
def server(layers: tuple[str, ...], limits: Limits, strict: bool) -> ForkServer:
    """Return a fork server with these layers; a module starts each only once."""
    _started.append(ForkServer(layers, 1, limits, strict))
    return _started[-1]


@pytest.fixture(scope="module", autouse=True)
def no_servers_left() -> Iterator[None]:
    """Close the fork servers of a module at its end."""
    yield
    server.cache_clear()
    while _started:
        _started.pop().close()


def run(
    source: str,
    inputs: list[object],
    layers: tuple[str, ...] = ALL_LAYERS,
    limits: Limits | None = None,
    strict: bool = False,
) -> Output:
    """Run a program over the inputs on a fork server with these layers, and return the last output."""
    limits = limits or Limits()
    program = Program("attack", source, "function", "f", inputs)
    return run_program(server(layers, limits, strict), program, range(len(inputs)), limits, "one-at-a-time").outputs[-1]
