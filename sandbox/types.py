"""What goes into the sandbox and what comes out: frozen values, decided by the parent, never by the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Inputs = Literal["one-at-a-time", "together", "fork-each"]
ProgramKind = Literal["function", "stdin"]


class SandboxError(Exception):
    """The sandbox itself cannot do what it promises on this computer; nothing was run unprotected."""


class Status(str, Enum):
    """How one input ended."""

    OK = "ok"
    ERROR = "error"
    """An exception or a non-zero exit."""
    TIMEOUT = "timeout"
    MEMORY_LIMITED = "memory-limited"
    OUTPUT_LIMITED = "output-limited"
    CRASHED = "crashed"
    """A signal, or the process vanished."""
    REFUSED = "refused"
    """It broke the protocol, or returned a value that has no canonical text."""
    SANDBOX_FAILED = "sandbox-failed"
    """Our fault; never counted as the program's."""


@dataclass(frozen=True)
class Limits:
    wall_s: float = 3.0
    """Seconds of wall time an input; loading the module has as much."""
    cpu_s: float | None = None
    """Seconds of CPU a program; None derives it from `wall_s` and the number of inputs."""
    memory_bytes: int = 512 * 2**20
    """Address space of a program's process."""
    output_bytes: int = 64 * 2**10
    """Canonical text an input."""
    open_files: int = 64
    max_timeouts: int | None = 2
    """After so many time-outs the rest of a program's inputs is `timeout` unrun; None runs them all."""

    def __post_init__(self) -> None:
        if self.wall_s <= 0 or self.memory_bytes < 64 * 2**20 or self.output_bytes < 16 or self.open_files < 16:
            raise ValueError("wall_s > 0, memory_bytes >= 64 MiB, output_bytes >= 16 and open_files >= 16 are needed")


@dataclass(frozen=True)
class Program:
    id: str
    source: str
    kind: ProgramKind
    entry_point: str
    """`function`: a name, or `Class.method` with the class made without arguments; `stdin`: empty."""
    inputs: Sequence[object]
    """`function`: tuples of plain values; `stdin`: text."""


@dataclass(frozen=True)
class Output:
    status: Status
    text: str | None
    """The canonical text; None unless `status` is ok."""
    detail: str
    """For people: our own words, and at most the name of a built-in exception."""
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class ProgramResult:
    program_id: str
    load: Output
    """Of compiling and running the module (stdin: compiling)."""
    outputs: tuple[Output, ...]
    """One an input, in order."""
    deterministic: bool | None
    """Whether a second run with inputs reversed and another hash seed agreed; None where it was not repeated."""
