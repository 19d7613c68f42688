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

Level = Literal["enforced", "partial", "missing"]
ALL_LAYERS = ("seatbelt",) if sys.platform == "darwin" else ("capabilities", "landlock", "seccomp")
"""In the order in which they are installed."""


@dataclass(frozen=True)
class Guarantee:
    name: str
    what: str
    """What a program is kept from, in plain words."""
    level: Level
    how: str


@lru_cache(maxsize=1)
def available_layers() -> tuple[str, ...]:
    """The kernel layers that a probe process could really take here."""
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
    """Every protection on this computer, with its level and how it is reached."""
    time_and_output = [
        Guarantee("time", "a program that never ends", "enforced", "deadline and SIGKILL by the parent, RLIMIT_CPU"),
        Guarantee(
            "output", "a flood of output", "enforced", "counted and cut by the parent; descriptors 1 and 2 go nowhere"
        ),
    ]
    if sys.platform == "linux":
        return time_and_output + _on_linux(available_layers())
    return time_and_output + _elsewhere("seatbelt" in available_layers())


def _on_linux(layers: tuple[str, ...]) -> list[Guarantee]:
    missing = "this kernel did not take it"
    seccomp, landlock, root = "seccomp" in layers, "landlock" in layers, os.geteuid() == 0

    def by_seccomp(name: str, what: str, how: str) -> Guarantee:
        return Guarantee(name, what, "enforced" if seccomp else "missing", f"{how} (seccomp)" if seccomp else missing)

    how_files, how_names = missing, missing
    if landlock:
        how_files = "only Python's and the system's libraries can be opened, nothing written (Landlock)"
        how_names = "a path can be asked after, never opened or listed; strict mode closes that"
    elif seccomp:
        how_files = how_names = "strict mode: no file at all once a program runs (seccomp); this kernel has no Landlock"
    files: Level = "enforced" if landlock or seccomp else "missing"
    return [
        Guarantee("memory", "a program that eats memory", "enforced", "RLIMIT_AS a process, no shared memory"),
        by_seccomp("network", "any connection, in or out", "no socket of any family"),
        by_seccomp("processes", "new processes, other programs started", "fork and exec denied"),
        by_seccomp("signals", "signals to other processes, looking into them", "only itself"),
        Guarantee("files", "reading your files, writing anywhere", files, how_files),
        Guarantee(
            "file names", "whether a path exists, its size and times", "partial" if landlock else files, how_names
        ),
        by_seccomp("kernel", "the kernel's rarer system calls", "an allow-list"),
        Guarantee(
            "privileges",
            "the power of the administrator",
            "partial" if root else "enforced",
            "runs as root: every capability is dropped, the user id stays root"
            if root
            else "runs as you, and can gain no privileges (no_new_privs)",
        ),
    ]


def _elsewhere(seatbelt: bool) -> list[Guarantee]:
    how = "sandbox-exec; this profile has never been run by its authors" if seatbelt else "not on this system"
    level: Level = "partial" if seatbelt else "missing"
    return [
        Guarantee(
            "memory", "a program that eats memory", "partial", "a limit of the data segment is not dependable here"
        ),
        Guarantee("network", "any connection, in or out", level, how),
        Guarantee("processes", "new processes, signals to others, other programs started", level, how),
        Guarantee("files", "reading your files, writing anywhere", level, how),
    ]
