"""What every process of this program that computes is given, and every one that another starts."""

from __future__ import annotations

import os
import sys

SPINS = "1000"
"""How often a thread of OpenMP looks whether the others are there before it sleeps.

llama.cpp's and torch's threads meet after every layer. libgomp's own number lets the first to come spin for so long that, where
another program holds a core, it burns the very time that the last one needs: with one busy neighbour on 2 cores, sampling came
from 760 tokens/s to under 50. With this one it is 910 alone and 380 beside the neighbour; asleep at once, 520 and 480
(single runs; `python -m tests.benchmarks.busy_neighbour` measures it in interleaved rounds).
"""


def openmp_waiting() -> dict[str, str]:
    """For the environment before llama.cpp or torch is loaded: threads that soon wait asleep.

    How the user lets OpenMP wait (`GOMP_SPINCOUNT`, `OMP_WAIT_POLICY`) stays.
    """
    return {} if {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys() else {"GOMP_SPINCOUNT": SPINS}


def child_environment() -> dict[str, str]:
    """The environment of a child: what this process has, offline, the same import path, and threads that soon wait asleep."""
    return (
        openmp_waiting() | os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    )
