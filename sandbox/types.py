"""Define what goes into the sandbox and what it returns: frozen values that the parent decides, never the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Inputs = Literal["one-at-a-time", "together", "fork-each"]
ProgramKind = Literal["function", "stdin"]


class SandboxError(Exception):
    """The sandbox cannot do on this computer what it promises; nothing was run unprotected."""


class Status(str, Enum):
    """How the run on one input ended."""

    OK = "ok"
    ERROR = "error"
    """An exception or a non-zero exit."""
    TIMEOUT = "timeout"
    MEMORY_LIMITED = "memory-limited"
    OUTPUT_LIMITED = "output-limited"
    CRASHED = "crashed"
    """A signal ended the process, or it exited without an answer."""
    REFUSED = "refused"
    """The program broke the protocol, or returned a value that has no canonical text."""
    SANDBOX_FAILED = "sandbox-failed"
    """The sandbox is at fault; this never counts against the program."""


@dataclass(frozen=True)
class Limits:
    """The limits for one program.

    Raises ValueError unless wall_s > 0, memory_bytes >= 64 MiB, output_bytes >= 16 and open_files >= 16.
    """

    wall_s: float = 3.0
    """Seconds of wall time per input, and as much again for loading the module."""
    cpu_s: float | None = None
    """Seconds of CPU time per process; None means `wall_s` for loading and for each input."""
    memory_bytes: int = 512 * 2**20
    """The address space of a program's process."""
    output_bytes: int = 64 * 2**10
    """Bytes of canonical text, or of printed output, per input."""
    open_files: int = 64
    """The number of open file descriptors per process."""
    max_timeouts: int | None = 2
    """After this number of time-outs the remaining inputs are not run and count as `timeout`; None runs them all."""

    def __post_init__(self) -> None:
        if self.wall_s <= 0 or self.memory_bytes < 64 * 2**20 or self.output_bytes < 16 or self.open_files < 16:
            raise ValueError("limits need wall_s > 0, memory_bytes >= 64 MiB, output_bytes >= 16 and open_files >= 16")


@dataclass(frozen=True)
class Program:
    """One untrusted program with the inputs that it is run on."""

    id: str
    source: str
    kind: ProgramKind
    entry_point: str
    """`function`: a name, or `Class.method`, whose class is created without arguments; `stdin`: empty."""
    inputs: Sequence[object]
    """`function`: one tuple of plain values per input; `stdin`: one text per input."""


@dataclass(frozen=True)
class Output:
    """The result of one input, or of loading the program."""

    status: Status
    text: str | None
    """The canonical text of the value, or what the script printed; None unless `status` is ok."""
    detail: str
    """A reason for people to read; of the program's own text it holds at most the name of a built-in exception."""
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class ProgramResult:
    """The results of one program on all its inputs."""

    program_id: str
    load: Output
    """How compiling and running the module ended (for `stdin`: compiling only)."""
    outputs: tuple[Output, ...]
    """One output per input, in the order of the inputs."""
    deterministic: bool | None
    """Whether a second run agreed, with the inputs reversed and another hash seed; None if there was none."""
