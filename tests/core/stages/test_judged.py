"""The consensus of the samples picks one program by the method's own consensus, with a fixed order of ties."""

from __future__ import annotations

from conself_local.method.best_of import Candidate
from conself_local.stages.judged import pick_by_consensus


def _pick(*candidates: tuple[tuple[str | None, ...], float | None, int], allow_constant: bool = True) -> int | None:
    return pick_by_consensus([Candidate(*one) for one in candidates], allow_constant=allow_constant)


def test_the_highest_consensus_wins() -> None:
    # consensus per input: 1, 1, 1 and 1/3, 2/3, 2/3
    assert _pick((("1", "2"), 0.1, 5), (("1", "3"), 0.9, 9), (("1", "3"), 0.9, 9)) == 1
    assert _pick(((None, None), 0.1, 5), (("1", None), 0.9, 9)) == 1
    assert _pick(((None,), 0.1, 5)) is None and _pick() is None


def test_ties_go_to_the_likeliest_then_the_shortest_then_the_first() -> None:
    assert _pick((("1",), 0.5, 5), (("1",), 0.4, 9)) == 1
    assert _pick((("1",), None, 5), (("1",), 0.4, 9)) == 1
    assert _pick((("1",), 0.5, 9), (("1",), 0.5, 5)) == 1
    assert _pick((("1",), None, 5), (("1",), None, 5)) == 0


def test_a_constant_is_picked_only_if_every_program_that_ran_is_constant() -> None:
    constant, varied, crashed = ("0", "0", "0"), ("0", "0", "1"), (None, None, None)
    candidates = ((constant, 0.1, 5), (constant, 0.1, 5), (varied, 0.9, 9), (crashed, 0.1, 1))
    assert _pick(*candidates) == 0
    assert _pick(*candidates, allow_constant=False) == 2
    assert _pick((crashed, 0.1, 1), (constant, 0.1, 5), allow_constant=False) == 1
