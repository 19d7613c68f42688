"""The vote on an answer: worked numbers, who votes, who wins, and when sampling stops."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.method.best_of import (
    Candidate,
    deciding_input,
    mode_probability,
    tally,
    useful_inputs,
    vote_scores,
    votes,
)

A, B, C = ("1", "2", "3"), ("1", "2", "4"), ("5", "6", "7")
NOTHING = ("None", "None", None)
CONSTANT = ("0", "0", "0")


def _candidates(*behaviours: tuple[str | None, ...]) -> list[Candidate]:
    return [Candidate(b, None, 10) for b in behaviours]


@pytest.mark.parametrize(
    ("counts", "wanted"), [([], 0.0), ([1], 3 / 4), ([3], 15 / 16), ([4], 31 / 32), ([0], 1 / 2), ([0, 0], 1 / 3)]
)
def test_the_posterior_of_one_behaviour_is_that_of_a_beta_distribution(counts: list[int], wanted: float) -> None:
    assert mode_probability(counts) == pytest.approx(wanted, abs=1e-12)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_the_posterior_agrees_with_drawing_from_the_dirichlet(counts: list[int]) -> None:
    draw = random.Random(0)
    shapes = [*(count + 1 for count in counts), 1]
    won = 0
    for _ in range(2_000):
        first, *others = (draw.gammavariate(shape, 1.0) for shape in shapes)
        won += first > max(others)
    assert mode_probability(counts) == pytest.approx(won / 2_000, abs=0.05)


def test_the_posteriors_of_all_behaviours_sum_to_one() -> None:
    counts = [3, 2, 1]
    of_seen = [mode_probability([counts[k], *counts[:k], *counts[k + 1 :]]) for k in range(3)]
    share_of_unseen = 1 - sum(of_seen)
    assert 0 < share_of_unseen < min(of_seen)


def test_four_equal_programs_of_four_end_the_sampling_and_three_do_not() -> None:
    assert tally(_candidates(A, A, A, A), 4).is_sure
    assert not tally(_candidates(A, A, A), 4).is_sure
    assert not tally(_candidates(A, A, A, C), 4).is_sure


def test_an_answer_with_less_than_a_third_of_all_samples_is_doubtful_even_if_nobody_disagrees() -> None:
    found = tally(_candidates(A, A, A, A, A), 16)
    assert found.certainty > 0.95 and found.is_doubtful and not found.is_sure
    assert not tally(_candidates(A, A, A, A), 12).is_doubtful


def test_the_agreement_is_counted_per_input() -> None:
    scores = vote_scores([A, A, B, C, NOTHING])
    assert scores == pytest.approx([(0.75 + 0.75 + 0.5) / 3] * 2 + [(0.75 + 0.75 + 0.25) / 3, 0.25, 0.0])


def test_a_program_that_returns_nothing_neither_votes_nor_wins() -> None:
    assert not votes(NOTHING) and votes(("None", "2"))
    found = tally(_candidates(NOTHING, NOTHING, NOTHING, A), 4)
    assert (found.winner, found.agree, found.rival) == (3, (3,), None)
    assert tally(_candidates(NOTHING, NOTHING), 2).winner is None


def test_a_constant_program_votes_but_wins_only_among_constant_ones() -> None:
    found = tally(_candidates(CONSTANT, CONSTANT, CONSTANT, A), 4)
    assert (found.winner, found.rival, found.rival_agree) == (3, 0, (0, 1, 2))
    assert tally(_candidates(CONSTANT, ("1", "1", "1"), CONSTANT), 3).winner == 0


def test_ties_go_to_the_answer_that_is_shown_then_to_the_likelier_then_to_the_shorter() -> None:
    assert tally(_candidates(A, C), 2, favourite=C).winner == 1
    assert tally([Candidate(A, 0.5, 1), Candidate(A, 0.2, 9), Candidate(A, None, 1)], 3).winner == 1
    assert tally([Candidate(A, 0.2, 9), Candidate(A, 0.2, 4)], 2).winner == 1


def test_an_input_that_most_programs_refuse_does_not_count_unless_the_user_stated_it() -> None:
    behaviours = [("1", None, "2"), ("1", None, "2"), ("1", "3", None), (None, None, None)]
    assert useful_inputs(behaviours) == [0, 2]
    assert useful_inputs(behaviours, always={1}) == [0, 1, 2]
    assert useful_inputs([(None,)]) == []


def test_the_deciding_input_is_one_that_both_answer_and_short() -> None:
    assert deciding_input(("1", None, "2", "3"), ("1", "9", "5", "6"), [1, 1, 30, 8]) == 3
    assert deciding_input(("1", None), ("1", "2"), [1, 1]) == 1
    assert deciding_input(A, A, [1, 1, 1]) is None


@given(st.lists(st.sampled_from([A, B, C, NOTHING, CONSTANT, (None, None, None)]), max_size=8))
def test_a_winner_has_a_vote_and_its_group_behaves_alike(behaviours: list[tuple[str | None, ...]]) -> None:
    found = tally(_candidates(*behaviours), len(behaviours))
    assert (found.winner is None) == (not any(map(votes, behaviours)))
    if found.winner is not None:
        assert {behaviours[k] for k in found.agree} == {behaviours[found.winner]} and found.winner in found.agree
        assert not set(found.agree) & set(found.rival_agree) and 0 < found.certainty <= 1
