"""The rows of useful_pairs count what they say, on problems of which every way of sampling sees the same samples."""

from __future__ import annotations

from conself_local.method.behaviour import Behaviour
from conself_local.settings import LAPTOP
from conself_local.stages.adaptive import ordered_places
from conself_local.stages.score import ProblemEvidence
from tests.benchmarks.useful_pairs import Stored, first_samples, measure, table_lines

RIGHT, WRONG = ("1", "2"), ("1", "3")
EXPECTED: dict[str, tuple[str | None, ...]] = {"alike": RIGHT, "two": RIGHT, "misled": ("9", "9")}


def _stored(problem_id: str, behaviours: list[Behaviour]) -> Stored:
    """Return a problem of 15 samples in the order of adaptive sampling, each of 10 tokens and with its own code."""
    places = ordered_places(LAPTOP, 15)
    rows = [
        {"id": f"1/{problem_id}/{o}/{n}", "observation": o, "number": n, "code": f"x = {i}", "compiled": 1}
        for i, (o, n) in enumerate(places)
    ]
    return Stored(ProblemEvidence(problem_id, rows, behaviours, 15), behaviours, dict.fromkeys(places, 10))


STORED = [
    _stored("alike", [RIGHT] * 15),
    _stored("two", [RIGHT, WRONG, RIGHT, RIGHT, RIGHT] * 3),
    _stored("misled", [RIGHT, WRONG, RIGHT] * 5),
]


def test_worked_numbers_of_fixed_and_adaptive_sampling() -> None:
    """After 10 samples, 8 right against 2 wrong are settled; 7 against 3 are open, and all 15 are taken."""
    fixed, settled, misled = table_lines("laptop", STORED, LAPTOP, EXPECTED, 15, [0.1, 0.001])
    assert fixed == "| laptop | fixed 15 | 45 | 450 | 2 | 6 | 0.500 | 1.000 | 3 | 6667 | 1.00 |"
    assert settled == "| laptop | adaptive, error 0.1 | 30 | 300 | 2 | 5 | 0.400 | 1.000 | 2 | 6667 | 1.00 |"
    assert misled.startswith("| laptop | adaptive, error 0.001 | 45 | 450 |"), "no test is that sure of five samples"


def test_the_first_samples_are_one_of_each_observation_in_turn() -> None:
    part = first_samples(STORED[1], ordered_places(LAPTOP, 5))
    assert [(r["observation"], r["number"]) for r in part.rows] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]
    assert part.sampled == 5 and part.behaviours == [RIGHT, WRONG, RIGHT, RIGHT, RIGHT]
    assert measure(STORED[:1], [5], LAPTOP, EXPECTED).pairs == 0
