"""Weighted votes, the gates by votes, the vote margin and the choice among syntax trees give their worked numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.method.behaviour import Behaviour
from conself_local.method.chosen import ChosenRules, ScoredSample, choose
from conself_local.method.consensus import consensus
from conself_local.method.pairs import build_pairs
from conself_local.method.syntax_tree import syntax_tree_key
from conself_local.method.votes import vote_margin, voter_weight, voter_weights
from conself_local.settings import LAPTOP, Pairing, replace_values
from conself_local.stages.score import ProblemEvidence, pairs_from

SILENT: Behaviour = ("None",) * 3
CONSTANT: Behaviour = ("0",) * 3
CRASHED: Behaviour = (None,) * 3
TOP: Behaviour = ("1", "2", "3")
OTHER: Behaviour = ("1", "2", "4")
EIGHT: list[Behaviour] = [TOP, TOP, OTHER, SILENT, SILENT, CONSTANT, CRASHED, CRASHED]
"""What 8 samples of one problem did."""
behaviours = st.lists(st.tuples(*[st.sampled_from(["1", "2", "None", None])] * 3), min_size=1, max_size=15)


def scored(
    some: Sequence[Behaviour], informative: bool = True, codes: Sequence[str] = "abcdefgh"
) -> list[ScoredSample]:
    """Return one sample per behaviour with its consensus; the code doubles as id."""
    values = consensus(some, voter_weights(some, "informative" if informative else "equal"))
    return [
        ScoredSample(code, 0, i, code, True, b, c)
        for i, (code, b, c) in enumerate(zip(codes, some, values, strict=False))
    ]


def chosen_ids(samples: list[ScoredSample], rules: ChosenRules, sampled: int | None = None) -> str:
    """Return the ids of the chosen samples, joined."""
    return "".join(s.id for s in choose(samples, samples, rules, sampled=sampled or len(samples)))


@pytest.mark.parametrize(
    ("behaviour", "weight"),
    [
        (("None", "None"), Fraction(0)),
        (("None", None), Fraction(0)),
        (("None",), Fraction(0)),
        (CRASHED, Fraction(0)),
        (("1", "1", "1"), Fraction(3, 10)),
        (("1", None, "1", "1"), Fraction(3, 10)),
        (("1", "1"), Fraction(1)),
        (("None", "1", "None"), Fraction(1)),
        (("'None'", "'None'"), Fraction(1)),
    ],
)
def test_a_vote_weighs_by_what_the_program_returns(behaviour: Behaviour, weight: Fraction) -> None:
    """A program that fails has no output; one that returns None has the output None, and the text 'None' is a value."""
    assert voter_weight(behaviour) == weight


def test_worked_numbers_of_the_weighted_consensus() -> None:
    values = consensus(EIGHT, voter_weights(EIGHT, "informative"))
    assert values == pytest.approx([8 / 9.9, 8 / 9.9, 7 / 9.9, 0, 0, 0.9 / 9.9, 0, 0])
    assert values[0] == values[1]
    equal = consensus(EIGHT, voter_weights(EIGHT, "equal"))
    assert equal == consensus(EIGHT) and equal[0] == pytest.approx((3 + 3 + 2) / 18)


def test_votes_count_equally_if_nobody_has_a_weight() -> None:
    assert voter_weights([SILENT, SILENT], "informative") == [1, 1]
    with pytest.raises(ValueError, match="equal or informative"):
        voter_weights([], "loud")  # type: ignore[arg-type]


def test_an_input_that_only_weightless_programs_answer_gives_no_consensus() -> None:
    some: list[Behaviour] = [("1", "2", None), ("None", "None", "None")]
    assert consensus(some, voter_weights(some, "informative")) == pytest.approx([2 / 3, 0])


def test_a_constant_is_never_chosen_unless_every_survivor_is_one() -> None:
    rules = ChosenRules(vote_weights="informative", allow_constant=False)
    assert chosen_ids(scored(EIGHT), rules) == "ab"
    loud: list[Behaviour] = [CONSTANT] * 5 + [TOP]
    assert chosen_ids(scored(loud), rules) == "f", "one vote against five constants of 0.3 each"
    assert chosen_ids(scored(loud), dataclasses.replace(rules, allow_constant=True)) == "abcde"
    assert chosen_ids(scored([CONSTANT, CONSTANT, ("7",) * 3, SILENT, CRASHED]), rules) == "ab"
    equal = ChosenRules(allow_constant=False)
    assert chosen_ids(scored([CONSTANT, CONSTANT, CRASHED], informative=False), equal) == "", "as before"


def test_the_gate_counts_the_votes_of_all_samples() -> None:
    """A share of those that ran let 2 of 4 survivors pass where 11 of 15 had crashed."""
    samples = scored([TOP, TOP, OTHER, OTHER, CRASHED], codes="abcde")
    rules = ChosenRules(min_vote_share=1 / 3)
    top = [dataclasses.replace(s, consensus=0.9 if s.behaviour == TOP else 0.1) for s in samples]
    assert chosen_ids(top, rules) == "ab" and chosen_ids(top, rules, sampled=6) == "ab"
    assert chosen_ids(top, rules, sampled=7) == "", "2 of 7 samples, also those without a program"
    assert chosen_ids(top, ChosenRules(min_cluster_share=0.5), sampled=7) == "ab"


def test_a_problem_on_which_nearly_all_agree_is_left_out() -> None:
    nearly_all = scored([TOP] * 9 + [OTHER], codes="abcdefghij")
    assert chosen_ids(nearly_all, ChosenRules(max_cluster_share=0.9)) == "", "the share must be below the limit"
    assert len(chosen_ids(nearly_all, ChosenRules(max_cluster_share=0.91))) == 9


def test_the_margin_is_a_gate_too() -> None:
    """Among 8 samples, a leads by 2 to 1 if votes are informative, and not if they are equal: two return None."""
    for least, chosen in ((0.125, "ab"), (0.126, "")):
        assert chosen_ids(scored(EIGHT), ChosenRules(vote_weights="informative", min_vote_margin=least)) == chosen
    assert chosen_ids(scored(EIGHT, informative=False), ChosenRules(min_vote_margin=0.125)) == ""
    assert chosen_ids(scored(EIGHT), ChosenRules(vote_weights="informative", min_vote_margin=0.125), sampled=9) == ""


def test_worked_numbers_of_the_vote_margin() -> None:
    assert vote_margin(EIGHT, TOP, vote_weights="informative", sampled=8) == 0.125
    assert vote_margin(EIGHT, TOP, vote_weights="equal", sampled=8) == 0.0, "as many only return None"
    assert vote_margin(EIGHT, OTHER, vote_weights="informative", sampled=8) == 0.0, "never negative"
    assert vote_margin([TOP] * 3, TOP, vote_weights="equal", sampled=15) == pytest.approx(0.2)


ONE = "def f(a, b):\n    c = a + b\n    return max(c, b)\n"
RENAMED = 'def g(x, y):\n    """Add."""\n    total = x + y  # the sum\n    return max(total, y)\n'


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (RENAMED, True),
        (ONE.replace("max", "min"), False),
        (ONE.replace("a + b", "b + a"), False),
        (ONE.replace("c = a + b\n    return max(c, b)", "return max(a + b, b)"), False),
        ("def f(a, b):\n    'x'\n    c = a + b\n    return max(c, b)", True),
    ],
)
def test_syntax_trees_are_equal_up_to_names_comments_and_docstrings(other: str, same: bool) -> None:
    assert (syntax_tree_key(ONE) == syntax_tree_key(other)) is same


def test_worked_example_of_the_syntax_tree() -> None:
    assert syntax_tree_key("def f(a):\n    return a + 1  # next") == syntax_tree_key("def g(x):\n    return x + 1")
    assert syntax_tree_key("def f(:") == "def f(:"
    assert syntax_tree_key("-" * 100_000 + "1") == "-" * 100_000 + "1", "too deep to parse"
    import_as_is = "import math\ndef f(x):\n    return math.{}(x)\n"
    assert syntax_tree_key(import_as_is.format("sin")) != syntax_tree_key(import_as_is.format("cos"))


def test_the_likeliest_program_of_each_syntax_tree_is_chosen() -> None:
    codes = (ONE, RENAMED, "def f(a, b):\n    return max(a + b, b)\n", "def f(a, b):\n    return b\n", "def f(*a): 0")
    logps = (-0.5, -0.2, -0.1, None, -0.9)
    samples = [
        ScoredSample(str(i), 0, i, code, True, TOP, 0.9, logp)
        for i, (code, logp) in enumerate(zip(codes, logps, strict=True))
    ]
    assert chosen_ids(samples, ChosenRules()) == "01234", "without the rule, in the order of sampling"
    assert chosen_ids(samples, ChosenRules(max_programs=9)) == "2143", (
        "0 is 1 under other names; 3 is of unknown likelihood"
    )
    assert chosen_ids(samples, ChosenRules(max_programs=2)) == "21"
    unknown = [dataclasses.replace(s, mean_logp=None) for s in samples]
    assert chosen_ids(unknown, ChosenRules(max_programs=9)) == "0234", "then the first of each tree"


def _evidence(some: Sequence[Behaviour], sampled: int) -> ProblemEvidence:
    rows = [
        {"id": f"s{i}", "observation": 0, "number": i, "code": "x" * (i + 1), "compiled": 1} for i, _ in enumerate(some)
    ]
    return ProblemEvidence("p", rows, list(some), sampled)


@pytest.mark.parametrize("pairing", ["consensus", "random"])
def test_pairs_weigh_by_the_margin_of_their_problem(pairing: Pairing) -> None:
    """The control has the weights of the consensus pairs, so that only the choice of programs differs."""
    settings = replace_values(
        LAPTOP,
        {
            "pairs.vote_weights": "informative",
            "pairs.min_cluster_share": 0.0,
            "pairs.weight": "margin",
            "pairs.pairing": pairing,
            "pairs.max_pairs": 2,
        },
    )
    pairs = pairs_from(_evidence(EIGHT, 10), settings, 0)
    assert [p.weight for p in pairs] == [0.1, 0.1]
    assert pairing == "random" or {p.chosen.id for p in pairs} == {"s0", "s1"}


def test_the_settings_reach_the_rules() -> None:
    def count(**changes: object) -> int:
        base = replace_values(LAPTOP, {"pairs.vote_weights": "informative", "pairs.min_cluster_share": 0.0})
        named = {f"pairs.{name}": value for name, value in changes.items()}
        return len(pairs_from(_evidence(EIGHT, 10), replace_values(base, named), 0))

    assert count() == 3
    assert count(min_vote_share=0.2) == 3 and count(min_vote_share=0.21) == 0
    assert count(max_cluster_share=0.34) == 3 and count(max_cluster_share=0.33) == 0
    assert count(chosen_programs=1) == 3


@given(behaviours)
def test_weighted_consensus_is_bounded_and_equal_for_equal_behaviours(some: list[Behaviour]) -> None:
    values = consensus(some, voter_weights(some, "informative"))
    assert all(0 <= v <= 1 for v in values)
    assert all(x == y for x, a in zip(values, some, strict=True) for y, b in zip(values, some, strict=True) if a == b)


@given(behaviours, st.integers(0, 14))
def test_margins_are_bounded_and_only_one_behaviour_leads(some: list[Behaviour], extra: int) -> None:
    margins = {b: vote_margin(some, b, vote_weights="informative", sampled=len(some) + extra) for b in some}
    assert all(0 <= m <= 1 for m in margins.values()) and sum(m > 0 for m in margins.values()) <= 1


@given(behaviours)
def test_the_default_rules_choose_as_before(some: list[Behaviour]) -> None:
    """`build_pairs` without rules is the paper's: all of the highest consensus, against all below it."""
    samples = scored(some, informative=False, codes=[chr(97 + i) for i in range(15)])
    highest = max(s.consensus for s in samples)
    wanted = [(c.id, r.id) for c in samples if c.consensus == highest > 0 for r in samples if r.consensus < highest]
    found = build_pairs(samples, rejected="lowest-first", max_pairs=1000)
    assert sorted((p.chosen.id, p.rejected.id) for p in found) == sorted(wanted)
