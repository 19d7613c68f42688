"""The sequential tests of adaptive sampling by their worked numbers, and their error by simulation."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from conself_local.method.adaptive import AdaptiveRules, Decision, closing_votes, decide, plan_samples
from conself_local.method.behaviour import Behaviour

A, B, C, CRASHED = ("1",), ("2",), ("3",), (None,)
RULES = AdaptiveRules(full=15, cap=20, error=0.1)
_TRIALS = 1500


def _scattered(count: int) -> list[Behaviour]:
    return [(f"other {i}",) for i in range(count)]


@pytest.mark.parametrize(
    ("behaviours", "decision"),
    [
        ([A] * 5, "alike"),
        ([CRASHED] * 5, "crashed"),
        ([A] * 4 + [B], "open"),
        ([A] * 4 + [CRASHED], "open"),
        ([CRASHED] * 4 + [A], "scattered"),
        ([A] * 7 + [CRASHED] * 3, "alike"),
        (_scattered(5), "scattered"),
        ([CRASHED] * 8 + [A] * 2, "scattered"),
        ([A] * 3 + _scattered(7), "open"),
        ([A] * 2 + _scattered(3), "open"),
        ([A] * 8 + [B] * 2, "settled"),
        ([A] * 7 + [B] * 3, "open"),
        ([A] * 4, "open"),
        ([A] * 15, "open"),
    ],
)
def test_the_worked_numbers(behaviours: list[Behaviour], decision: Decision) -> None:
    assert decide(behaviours, RULES) == decision


def test_the_limits_of_the_votes_spend_the_error_over_the_looks() -> None:
    assert closing_votes((5, 10), 0.1) == (1, 2) and closing_votes((5,), 0.09) == (1,)
    assert closing_votes((5, 10), 0.08) == (0, 3), "P(at most 1 of 5) is 0.087; P(at most 3 of 10) is 0.055"
    assert closing_votes((5, 10), 1 / 3) == (2, 3)
    assert closing_votes((5, 10), 0.01) == (-1, 1), "0.4^5 is more than 0.01"


def test_the_worked_numbers_of_an_error_of_a_third() -> None:
    rules = AdaptiveRules(full=15, cap=20, error=1 / 3)
    for behaviours, decision in (
        ([A, A, A, B, C], "settled"),
        ([A, A, A, B, B], "open"),
        ([A, A, B, B, CRASHED], "scattered"),
        ([A, A, A, CRASHED, CRASHED], "alike"),
    ):
        assert decide(behaviours, rules) == decision


@pytest.mark.parametrize("error", [0.1, 0.3])
@pytest.mark.parametrize(
    ("shares", "wrong"),
    [
        ((0.6, 0.4), {"alike", "scattered", "crashed"}),
        ((0.6,) + (0.02,) * 20, {"scattered", "crashed"}),
        ((0.6,), {"scattered", "crashed"}),
        ((0.5, 0.4), {"alike"}),
    ],
    ids=["two behaviours", "scattered others", "others crash", "few crash"],
)
def test_open_problems_are_stopped_no_more_often_than_stated(
    shares: tuple[float, ...], wrong: set[Decision], error: float
) -> None:
    rules = AdaptiveRules(15, 15, error)
    stopped = sum(_first_decision(_drawn(shares, seed), rules)[0] in wrong for seed in range(_TRIALS))
    assert stopped / _TRIALS <= error + 3 * (error * (1 - error) / _TRIALS) ** 0.5


@pytest.mark.parametrize(("full", "error"), [(15, 0.05), (15, 0.1), (15, 1 / 3), (30, 0.1)])
def test_the_wrong_leader_is_settled_at_no_look_more_often_than_stated(full: int, error: float) -> None:
    rules = AdaptiveRules(full, full, error)
    decided = [_first_decision(_drawn((0.49, 0.51), seed, full), rules) for seed in range(_TRIALS)]
    wrong = [len(seen) for decision, seen in decided if decision == "settled" and seen.count(A) > seen.count(B)]
    assert wrong and max(wrong.count(look) for look in rules.looks) / _TRIALS <= error


def _drawn(shares: Sequence[float], seed: int, count: int = 15) -> list[Behaviour]:
    """Draw samples of behaviours with these shares; what is left crashes. The first two are A and B."""
    kinds: list[Behaviour] = [A, B, *_scattered(len(shares))][: len(shares)]
    weights = [*shares, max(0.0, 1 - sum(shares))]
    return random.Random(seed).choices([*kinds, CRASHED], weights, k=count)


def _first_decision(behaviours: list[Behaviour], rules: AdaptiveRules) -> tuple[Decision, list[Behaviour]]:
    for look in rules.looks:
        if (decision := decide(behaviours[:look], rules)) != "open":
            return decision, behaviours[:look]
    return "open", behaviours


CLOSE = [A, B] * 7 + [A] + [B] * 10


def test_the_plan_saves_and_gives_away_what_is_saved() -> None:
    known = [[A] * 20, CLOSE, CLOSE]
    assert plan_samples([k[:0] for k in known], RULES) == [5, 5, 5]
    assert plan_samples([k[:5] for k in known], RULES) == [5, 10, 10]
    assert plan_samples([k[:15] for k in known], RULES) == [5, 20, 20] == plan_samples(known, RULES)
    assert plan_samples([known[0], CLOSE, CLOSE, CLOSE], RULES) == [5, 20, 20, 15], "10 were saved"
    assert plan_samples(known, AdaptiveRules(15, 100, 0.1)) == [5, 20, 20]
    assert plan_samples(known, AdaptiveRules(15, 15, 0.1)) == [5, 15, 15]
    assert plan_samples([[A] * 5, CLOSE], AdaptiveRules(15, 40, 0.1)) == [5, 25], "one problem takes both batches"
    four = [A, B, C, ("4",)] * 4
    assert plan_samples([[A] * 5, four], RULES) == [5, 15], "four behaviours get no more"


def test_the_plan_does_not_depend_on_where_it_begins() -> None:
    """After a kill, some problems have more samples of a wave than others."""
    pool = [_drawn(shares, seed, 20) for seed in range(6) for shares in ((0.9,), (0.5, 0.4), (0.3, 0.3, 0.3), (0.05,))]
    final = _finish(pool, [0] * len(pool), random.Random(0))
    for seed in range(1, 8):
        assert _finish(pool, [0] * len(pool), random.Random(seed)) == final
    assert sum(final) <= 15 * len(pool) and {5, 10, 15, 20} >= set(final) and len(set(final)) > 2


def _finish(pool: list[list[Behaviour]], known: list[int], rng: random.Random) -> list[int]:
    """Follow the plan to its end; before each new plan, only some of the samples it asked for have arrived."""
    while True:
        wanted = plan_samples([one[:n] for one, n in zip(pool, known, strict=True)], RULES)
        assert all(n <= want for n, want in zip(known, wanted, strict=True))
        if wanted == known:
            return known
        known = [rng.randint(n, want) for n, want in zip(known, wanted, strict=True)]
