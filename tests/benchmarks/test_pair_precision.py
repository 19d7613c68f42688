"""The rows of pair_precision count what they say."""

from __future__ import annotations

from conself_local.method.chosen import ScoredSample
from conself_local.method.pairs import Pair
from conself_local.settings import LAPTOP, replace_values
from tests.benchmarks.pair_precision import row, rules_of


def _sample(output: str) -> ScoredSample:
    return ScoredSample(output, 0, 0, output, True, (output,), 0.5)


def test_worked_numbers_of_a_row() -> None:
    right, wrong = _sample("1"), _sample("2")
    pairs = {"p": [Pair(right, wrong, 0.3), Pair(right, right, 0.3)], "q": [Pair(wrong, wrong, 0.1)]}
    assert row("rule", pairs, {"p": ("1",), "q": ("1",)}) == "| rule | 2 | 0.500 | 3 | 0.667 | 0.857 | 0.667 |"
    assert row("rule", {}, {}) == "| rule | 0 | - | 0 | - | - | - |"


def test_the_first_rule_is_the_round_and_every_rule_has_its_own_name() -> None:
    rules = rules_of(LAPTOP)
    assert rules[0][1] == LAPTOP and len({name for name, _ in rules}) == len(rules)
    assert {s.pairs.vote_weights for _, s in rules} == {"equal", "informative"}


def test_the_rules_do_not_depend_on_the_votes_of_the_round() -> None:
    """A home that was sampled for the arm with better votes gives the same rows as any other one."""
    other = replace_values(
        LAPTOP,
        {
            "pairs.vote_weights": "informative",
            "pairs.weight": "margin",
            "pairs.min_vote_share": 0.9,
            "pairs.chosen_programs": 1,
        },
    )
    assert rules_of(other)[1:] == rules_of(LAPTOP)[1:]
