"""Build the environment variables of the processes that compute, and of every child process that is started.

Not covered: the environment of the sandboxed programs (`sandbox/`).
"""

from __future__ import annotations

import os
import sys

SPINS = "1000"
"""Number of times an OpenMP thread checks whether the other threads have arrived before it sleeps (GOMP_SPINCOUNT).

The threads of llama.cpp and torch wait for each other after every layer. With libgomp's default, the first thread spins
for a long time. If another program occupies a core, this spinning uses the time that the last thread needs: with one
busy process on 2 cores, sampling fell from 760 tokens/s to under 50. With this value it is 910 tokens/s alone and 380
beside the busy process; with threads that sleep at once, it is 520 and 480 (single runs;
`python -m tests.benchmarks.busy_neighbour` measures it in interleaved rounds).
"""


def openmp_waiting() -> dict[str, str]:
    """Return the variables that make waiting OpenMP threads sleep soon; set them before llama.cpp or torch is loaded.

    Empty if the user has set `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY`: the user's choice is kept.
    """
    return {} if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys() else {"GOMP_SPINCOUNT": SPINS}


def child_environment() -> dict[str, str]:
    """Return the environment of a child process.

    It is the environment of this process, with Hugging Face offline, the same import path, and OpenMP threads that
    sleep soon while they wait.
    """
    return (
        openmp_waiting() | os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    )
