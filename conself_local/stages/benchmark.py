"""Define a benchmark, and the names of the two arms that are compared on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conself_local.problems.problem import Problem

ARMS = ("base", "adapter")
"""The model that the round started from, and the model with the round's adapter."""


@dataclass(frozen=True)
class Benchmark:
    """A named list of problems with references."""

    name: str
    problems: Sequence[Problem]
    samples: int
    """Samples per problem and arm, in addition to the greedy one."""
