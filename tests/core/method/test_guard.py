"""The guard refuses a round that lost variety, by the worked numbers of its module, and judges nothing by few problems."""

from __future__ import annotations

import random

import pytest

from conself_local.method.behaviour import Behaviour
from conself_local.method.guard import Answers, guard_round, top_behaviour

A, B, C, D, CRASHED = ("1", "2"), ("1", "3"), ("4", "5"), ("6", None), (None, None)
USUAL = (A, A, A, A, B)


def _answers(behaviours: tuple[Behaviour, ...] = USUAL, tokens: int = 100) -> Answers:
    return Answers(behaviours, [tokens] * len(behaviours))


def _after(changed: int, behaviours: tuple[Behaviour, ...], total: int = 40) -> list[Answers]:
    return [_answers(behaviours)] * changed + [_answers()] * (total - changed)


def test_the_worked_numbers_pass_and_fail() -> None:
    passed = guard_round([_answers()] * 40, _after(3, (B,) * 5))
    assert passed.refusals == () == passed.unjudged and passed.sentence() == "the guard found no loss of variety"
    assert passed.figures == pytest.approx(
        {"fall of behaviours": 0.0375, "fall of length": 0, "flip rate": 0.075, "disagreement": 0.075}
    )  # fmt: skip
    (refusal,) = guard_round([_answers()] * 40, _after(5, (B,) * 5)).refusals
    assert refusal.startswith("the consensus changed on 12.5% of 40 problems")


@pytest.mark.parametrize(
    ("after", "says"),
    [
        ([_answers((A,) * 5)] * 18 + _after(3, (B, B, B, B, A), 22), "behaviours per problem fell by 22.5%, more than 20%"),
        ([_answers(tokens=69)] * 37 + [_answers((B, B, B, B, A), 69)] * 3, "tokens per answer fell by 31.0%, more than 30%"),
        (_after(1, (B, B, B, B, A)), "2.5% of 40 problems changed, less than 5%: the adapter changed hardly anything"),
        (_after(13, (B, B, B, A, A)), "32.5% of 40 problems changed, more than 30%"),
    ],
    ids=["behaviours", "length", "few flips", "many flips"],
)  # fmt: skip
def test_each_sign_refuses_the_round_in_words(after: list[Answers], says: str) -> None:
    result = guard_round([_answers()] * 40, after)
    assert any(says in one for one in result.refusals), result.refusals
    assert result.sentence().startswith("the guard refuses the round: ") and says in result.sentence()


def test_with_few_problems_or_answers_it_judges_nothing() -> None:
    for before, says in (
        ([_answers()] * 29, "29 problems are too few, at least 30 are needed"),
        ([_answers((A,) * 4)] * 40, "4 answers per problem are too few, at least 5 are needed"),
        ([], "0 problems are too few"),
    ):
        result = guard_round(before, before)
        assert result.refusals == () and result.figures == {} and says in result.sentence()
        assert "cannot judge the round" in result.sentence()


def test_signs_that_too_few_problems_show_are_not_judged() -> None:
    """Two of three sure problems that changed would be 67 %, and mean nothing."""
    scattered = _answers((A, B, C, D, CRASHED))
    result = guard_round([_answers()] * 3 + [scattered] * 37, _after(2, (B,) * 5, 3) + [scattered] * 37)
    assert result.refusals == () and len(result.unjudged) == 2 and set(result.figures) == {
        "fall of behaviours", "fall of length",
    }  # fmt: skip
    assert "sure of 3 problems, at least 20" in result.sentence() and "no loss of variety, but" in result.sentence()


def test_two_draws_of_the_same_model_are_seldom_refused() -> None:
    """Chance alone moves five answers: the limits by themselves would refuse nearly every round of this model."""
    refused = beyond = 0
    for seed in range(10):
        rng = random.Random(seed)
        shares = [[rng.random() ** 4 for _ in range(8)] for _ in range(50)]
        result = guard_round(*([_drawn(rng, weights) for weights in shares] for _ in range(2)))
        refused += bool(result.refusals)
        beyond += result.figures.get("flip rate", 0) > 0.3 or result.figures.get("disagreement", 0) > 0.1
    assert refused <= 1 and beyond >= 5, (refused, beyond)


def _drawn(rng: random.Random, weights: list[float]) -> Answers:
    return _answers(tuple((str(k), "") for k in rng.choices(range(len(weights)), weights, k=5)))


def test_only_a_clear_lead_is_a_top_behaviour() -> None:
    assert [top_behaviour(b) for b in ((A, A, B), (A, A, B, B), (A, B), (A, A, CRASHED, CRASHED, CRASHED), ())] == [
        A, None, None, A, None,
    ]  # fmt: skip
    assert guard_round([_answers()] * 40, _after(20, (A, A, B, B, C))).figures["flip rate"] == 0


def test_sides_of_different_problems_are_refused() -> None:
    with pytest.raises(ValueError):
        guard_round([_answers()] * 40, [_answers()] * 39)
