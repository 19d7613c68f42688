"""Report what the sandbox protects from on this computer, in plain words, after trying each kernel layer.

Each protection is `enforced`, `partial` or `missing`, with how it works or why it is missing. Nothing is guessed from
version numbers: a layer counts if a separate probe process could install it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sandbox.fork_server import ForkServer, ServerGoneError
from sandbox.thread_watch import MAX_THREADS
from sandbox.types import SandboxError

Level = Literal["enforced", "partial", "missing"]
ALL_LAYERS = ("seatbelt",) if sys.platform == "darwin" else ("capabilities", "landlock", "seccomp")
"""The kernel layers that a full sandbox needs on this system, in the order of installation."""


@dataclass(frozen=True)
class Guarantee:
    """One protection of the sandbox on this computer."""

    name: str
    """The short name that `conself doctor` prints."""
    what: str
    """The danger in plain words, to be read after "the sandbox keeps programs from"."""
    level: Level
    how: str
    """The means that enforces it, or the reason why it is missing."""


@lru_cache(maxsize=1)
def available_layers() -> tuple[str, ...]:
    """Return the kernel layers that a probe process could really install on this computer."""
    if sys.platform not in ("linux", "darwin"):
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
    """Return every protection on this computer, with its level and how it is enforced."""
    time_and_output = [
        Guarantee(
            "time",
            "running without end",
            "enforced",
            "a deadline and SIGKILL by the parent process, a limit on CPU time (RLIMIT_CPU)",
        ),
        Guarantee(
            "output",
            "flooding you with output",
            "enforced",
            "counted and cut by the parent process; descriptors 1 and 2 lead nowhere",
        ),
    ]
    if sys.platform == "linux":
        return time_and_output + _on_linux(available_layers())
    return time_and_output + _elsewhere("seatbelt" in available_layers())


def _on_linux(layers: tuple[str, ...]) -> list[Guarantee]:
    missing = "this kernel did not accept it when it was tried"
    seccomp, landlock, root = "seccomp" in layers, "landlock" in layers, os.geteuid() == 0

    def by_seccomp(name: str, what: str, how: str) -> Guarantee:
        return Guarantee(name, what, "enforced" if seccomp else "missing", f"{how} (seccomp)" if seccomp else missing)

    how_files, how_names = missing, missing
    if landlock:
        how_files = "only the standard library and shared libraries can be opened, nothing can be written (Landlock)"
        how_names = "a program can ask about a path, but not open or list it; strict mode denies the question as well"
    elif seccomp:
        how_files = how_names = (
            "strict mode: no file can be opened once a program runs (seccomp); this kernel has no Landlock"
        )
    files: Level = "enforced" if landlock or seccomp else "missing"
    return [
        Guarantee(
            "memory",
            "using too much memory",
            "enforced",
            "a limit per process (RLIMIT_AS), no shared memory",
        ),
        Guarantee(
            "threads",
            "starting thousands of threads",
            "enforced",
            f"the parent refuses a new one to a program that has {MAX_THREADS}",
        ),
        by_seccomp("network", "making or accepting any connection", "no socket, but pairs of streams within a program"),
        by_seccomp("processes", "starting processes or other programs", "fork and exec are denied"),
        by_seccomp("signals", "signalling or inspecting other processes", "a program can signal only itself"),
        Guarantee("files", "reading your files, writing anywhere", files, how_files),
        Guarantee(
            "file names",
            "finding out whether a path exists, its size and times",
            "partial" if landlock else files,
            how_names,
        ),
        by_seccomp("kernel", "using rarely needed system calls", "an allow-list"),
        Guarantee(
            "privileges",
            "using administrator rights",
            "partial" if root else "enforced",
            "runs as root: every capability is dropped, but the user id stays root"
            if root
            else "runs as you and cannot gain privileges (no_new_privs)",
        ),
    ]


def _elsewhere(seatbelt: bool) -> list[Guarantee]:
    how = "sandbox-exec; the authors have never run this profile" if seatbelt else "not available on this system"
    level: Level = "partial" if seatbelt else "missing"
    return [
        Guarantee(
            "memory",
            "using too much memory",
            "partial",
            "only the data segment is limited, which is not reliable on this system",
        ),
        Guarantee("network", "making or accepting any connection", level, how),
        Guarantee("processes", "starting processes or other programs, signalling others", level, how),
        Guarantee("files", "reading your files, writing anywhere", level, how),
    ]
