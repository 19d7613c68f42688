"""What the sandbox protects from on this computer, each protection tried and told in plain words.

`enforced`, `partial` or `missing`, how, and why not. Nothing is guessed from versions: a layer counts where it
was taken by a process of its own in a probe.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sandbox.fork_server import ForkServer, ServerGoneError
from sandbox.types import SandboxError

ALL_LAYERS = ("capabilities", "landlock", "seccomp")
"""In the order in which they are installed."""


@dataclass(frozen=True)
class Guarantee:
    name: str
    what: str
    """What a program is kept from, in plain words."""
    level: Literal["enforced", "partial", "missing"]
    how: str


@lru_cache(maxsize=1)
def available_layers() -> tuple[str, ...]:
    """The kernel layers that a probe process could really take here."""
    if sys.platform != "linux":
        return ()
    found = []
    for layer in ALL_LAYERS:
        try:
            ForkServer((layer,), 0).close()
        except (SandboxError, ServerGoneError):
            continue
        found.append(layer)
    return tuple(found)


def guarantees() -> list[Guarantee]:
    """Every protection on this computer, with its level and how it is reached."""
    layers = available_layers()
    seccomp, landlock = "seccomp" in layers, "landlock" in layers
    linux = sys.platform == "linux"
    missing = "not on this system" if not linux else "this kernel did not take it"
    root = linux and os.geteuid() == 0
    return [
        Guarantee("time", "a program that never ends", "enforced", "deadline and SIGKILL by the parent, RLIMIT_CPU"),
        Guarantee("memory", "a program that eats memory", "enforced" if linux else "partial",
                  "RLIMIT_AS a process" if linux else "RLIMIT_AS is not dependable here"),
        Guarantee("output", "a flood of output", "enforced", "counted and cut by the parent; descriptors 1 and 2 go nowhere"),
        Guarantee("network", "any connection, in or out", "enforced" if seccomp else "missing",
                  "no socket of any family (seccomp)" if seccomp else missing),
        Guarantee("processes", "new processes, signals to others, other programs started", "enforced" if seccomp else "missing",
                  "fork, exec and foreign signals denied (seccomp)" if seccomp else missing),
        Guarantee("files", "reading your files, writing anywhere", "enforced" if landlock else "missing",
                  "only Python's standard library and system libraries can be read, nothing written (Landlock)"
                  if landlock else missing),
        Guarantee("kernel", "the kernel's rarer system calls", "enforced" if seccomp else "missing",
                  "an allow-list of system calls (seccomp)" if seccomp else missing),
        Guarantee("privileges", "the power of the administrator", "partial" if root else "enforced",
                  "runs as root: every capability is dropped, the user id stays root" if root
                  else "runs as you, and can gain no privileges (no_new_privs)"),
    ]  # fmt: skip
