"""The method gives its worked numbers and keeps its properties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.method.behaviour import Behaviour, comparison_key, crash_rate, is_constant
from conself_local.method.chosen import ChosenRules, ScoredSample
from conself_local.method.con_dpo import con_dpo_loss
from conself_local.method.consensus import consensus
from conself_local.method.curriculum import ProblemScore, normalise_entropy, select_learnable
from conself_local.method.entropy import clusters, semantic_entropy_bits
from conself_local.method.pairs import build_pairs
from conself_local.settings import PAPER, Pairing, change_settings
from conself_local.stages.score import ProblemEvidence, pairs_from

FIVE: list[Behaviour] = [("1", "2"), ("1", "2"), ("1", "3"), (None, "2"), (None, None)]
behaviours = st.lists(st.tuples(*[st.sampled_from(["1", "2", "3", None])] * 3), min_size=1, max_size=20)


def scored(behaviours_: list[Behaviour], codes: Sequence[str] = "abcde", compiled: bool = True) -> list[ScoredSample]:
    """Return one sample per behaviour, with its consensus; the code doubles as id."""
    values = consensus(behaviours_)
    return [
        ScoredSample(name, 0, i, name, compiled, b, c)
        for i, (name, b, c) in enumerate(zip(codes, behaviours_, values, strict=True))
    ]


def test_worked_numbers_of_entropy() -> None:
    assert crash_rate(FIVE) == pytest.approx(1 / 5)
    assert clusters(FIVE) == [0, 0, 1, 2, None]
    assert semantic_entropy_bits(FIVE) == pytest.approx(1.5)
    score = ProblemScore(1 / 5, 1.5, 4)
    assert normalise_entropy({"p": score}, entropy_normalisation="log2", max_crash_rate=0.8) == {
        "p": pytest.approx(0.75)
    }


def test_worked_numbers_of_consensus_and_pairs() -> None:
    assert consensus(FIVE) == [0.875, 0.875, 0.625, 0.375, 0.0]
    pairs = build_pairs(scored(FIVE), rejected="lowest-first", max_pairs=3)
    assert [(p.chosen.id, p.rejected.id, p.weight) for p in pairs] == [
        ("a", "e", 0.875),
        ("a", "d", 0.875),
        ("a", "c", 0.875),
    ]


def test_worked_numbers_of_the_loss() -> None:
    assert con_dpo_loss(-40, -55, -42, -50, 1.0, 0.1) == pytest.approx(0.4032, abs=5e-5)
    assert con_dpo_loss(-40, -55, -42, -50, 0.875, 0.1) == pytest.approx(0.3528, abs=5e-5)
    assert con_dpo_loss(-42, -50, -42, -50, 0.875, 0.1) == pytest.approx(0.6065, abs=5e-5)
    assert con_dpo_loss(-1e6, 0, 0, 0, 1.0, 0.1) == pytest.approx(1e5)


def test_ran_first_takes_crashed_programs_last() -> None:
    pairs = build_pairs(scored(FIVE), rejected="ran-first", max_pairs=3)
    assert [p.rejected.id for p in pairs] == ["d", "c", "e"]


def test_like_length_takes_the_nearest_in_length_and_the_chosen_take_turns() -> None:
    samples = scored(FIVE, codes=["a", "b" * 9, "c" * 8, "d" * 3, "e"])
    pairs = build_pairs(samples, rejected="like-length", max_pairs=4)
    assert [(p.chosen.code[0], p.rejected.code[0]) for p in pairs] == [("a", "d"), ("b", "c"), ("a", "e")]
    assert build_pairs(samples, rejected="like-length", max_pairs=1) == pairs[:1]
    assert build_pairs(scored(FIVE, codes="xxxxx"), rejected="like-length", max_pairs=3) == []
    with pytest.raises(ValueError, match="one of lowest-first, ran-first, like-length"):
        build_pairs(samples, rejected="longest", max_pairs=1)  # type: ignore[arg-type]


@pytest.mark.parametrize("pairing", ["consensus", "random"])
def test_there_are_no_pairs_if_the_largest_cluster_is_too_small(pairing: Pairing) -> None:
    rows = [{"id": name, "observation": 0, "number": i, "code": name, "compiled": 1} for i, name in enumerate("abcde")]
    evidence = ProblemEvidence("p", rows, FIVE, 5)
    settings = change_settings(PAPER, {"pairs.pairing": pairing, "pairs.min_cluster_share": 0.5})
    assert len(pairs_from(evidence, settings, 0)) == 3, "a and b are half of the four that ran"
    stricter = change_settings(settings, {"pairs.min_cluster_share": 0.51})
    assert pairs_from(evidence, stricter, 0) == []
    assert pairs_from(ProblemEvidence("p", [], [], 0), settings, 0) == []


def test_a_constant_program_is_never_chosen_unless_allowed() -> None:
    assert [
        is_constant(b) for b in (("1", "1"), ("1", "1", "1"), ("1", None, "1", "1"), ("1", "1", "2"), (None,) * 3)
    ] == [
        False,
        True,
        True,
        False,
        False,
    ]
    silent: Behaviour = ("None",) * 3
    printing: list[Behaviour] = [silent, silent, silent, ("1", "2", "3"), ("1", "2", "4"), ("1", "2", "3")]
    plain, careful = (
        build_pairs(scored(printing, "abcdef"), ChosenRules(allow_constant=allowed), rejected="ran-first", max_pairs=9)
        for allowed in (True, False)
    )
    assert {p.chosen.id for p in plain} == {"a", "b", "c"}
    assert {p.chosen.id for p in careful} == {"d", "f"} and {p.rejected.id for p in careful} == {"e"}, (
        "a, b and c agree more than d does"
    )
    assert (
        build_pairs(
            scored([*printing[:3], (None,) * 3], "abcd"),
            ChosenRules(allow_constant=False),
            rejected="ran-first",
            max_pairs=9,
        )
        == []
    )


def test_pairs_exclude_programs_that_did_not_compile_and_equal_code() -> None:
    assert build_pairs(scored(FIVE, compiled=False), rejected="lowest-first", max_pairs=3) == []
    one_code = scored(FIVE, codes="xxxxx")
    assert build_pairs(one_code, rejected="lowest-first", max_pairs=3) == []
    distinct = build_pairs(scored(FIVE, codes="xxyzz"), rejected="lowest-first", max_pairs=9, distinct_code=True)
    assert [(p.chosen.id, p.rejected.id) for p in distinct] == [("x", "z"), ("x", "y")]


def test_selection_excludes_crashed_agreed_and_too_uncertain_problems() -> None:
    problems = {
        "crashed": ProblemScore(0.8, 1.0, 3),
        "agreed": ProblemScore(0.0, 0.0, 15),
        "none": ProblemScore(1.0, None, 0),
        "easy": ProblemScore(0.1, 0.4, 13),
        "middle": ProblemScore(0.0, 1.5, 15),
        "hard": ProblemScore(0.2, 3.4, 12),
    }
    normalised = normalise_entropy(problems, entropy_normalisation="min-max", max_crash_rate=0.8)
    assert normalised == {"easy": 0.0, "middle": pytest.approx(1.1 / 3.0), "hard": 1.0}
    assert select_learnable(problems, entropy_normalisation="min-max", entropy_threshold=0.3, max_crash_rate=0.8) == [
        "easy"
    ]
    assert select_learnable(problems, entropy_normalisation="log2", entropy_threshold=0.4, max_crash_rate=0.8) == [
        "easy",
        "middle",
    ]


def test_all_equal_entropies_normalise_to_zero() -> None:
    problems = {"a": ProblemScore(0.0, 1.0, 4), "b": ProblemScore(0.0, 1.0, 8)}
    assert normalise_entropy(problems, entropy_normalisation="min-max", max_crash_rate=0.8) == {"a": 0.0, "b": 0.0}


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("0.1", "0.10000000000000001", True),
        ("0.30000000000000004", "0.3", True),
        ("0.3", "0.3001", False),
        ("-0.0", "0.0", True),
        ("nan", "nan", True),
        ("True", "1", False),
        ("1", "1.0", False),
        ("'1'", "1", False),
        ("(1, 2)", "[1, 2]", False),
        ("(1,)", "1", False),
        ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}", True),
        ("-inf", "inf", False),
        ("{1, 2}", "{2, 1}", True),
        ("Decimal('1.50')", "Decimal('1.5')", False),
        ("[{'x': -0.0}]", "[{'x': 0.0}]", True),
        ("-1", "1", False),
        ("None", "'None'", False),
    ],
)
def test_comparison_keys_are_equal_for_equal_values_only(left: str, right: str, equal: bool) -> None:
    assert (comparison_key(left) == comparison_key(right)) is equal


def test_worked_example_of_the_comparison_key() -> None:
    assert comparison_key("{'b': -0.0, 'a': 0.30000000000000004}") == "{'a': 0.3, 'b': 0.0}"
    assert comparison_key("no canonical text") == "no canonical text"


def test_the_key_of_a_call_holds_its_named_arguments() -> None:
    """They were dropped, so all time differences were one behaviour."""
    assert comparison_key("datetime.timedelta(days=1)") != comparison_key("datetime.timedelta(days=2)")
    assert comparison_key("datetime.timedelta(days=1)") == "datetime.timedelta(days=1)"


@given(behaviours)
def test_entropy_is_bounded_and_independent_of_order(some: list[Behaviour]) -> None:
    entropy = semantic_entropy_bits(some)
    valid = [b for b in some if any(o is not None for o in b)]
    if not valid:
        assert entropy is None
        return
    assert entropy is not None and 0 <= entropy <= math.log2(len(valid)) + 1e-12
    assert (entropy == 0) == (len(set(valid)) == 1)
    assert semantic_entropy_bits(some[::-1]) == entropy


@given(behaviours)
def test_consensus_is_bounded_and_equal_for_equal_behaviours(some: list[Behaviour]) -> None:
    values = consensus(some)
    assert all(0 <= v <= 1 for v in values)
    by_behaviour: dict[Behaviour, float] = {}
    for behaviour, value in zip(some, values, strict=True):
        assert by_behaviour.setdefault(behaviour, value) == value
    assert all((value == 0) == all(o is None for o in b) for b, value in by_behaviour.items())


@given(behaviours, st.integers(1, 6))
def test_pairs_prefer_the_higher_consensus(some: list[Behaviour], limit: int) -> None:
    samples = [
        ScoredSample(str(i), i // 5, i % 5, str(i), True, b, c)
        for i, (b, c) in enumerate(zip(some, consensus(some), strict=True))
    ]
    pairs = build_pairs(samples, rejected="lowest-first", max_pairs=limit)
    assert len(pairs) <= limit
    assert all(p.chosen.consensus > p.rejected.consensus and p.weight == p.chosen.consensus for p in pairs)


@given(*[st.floats(-500, 0)] * 4, st.floats(0, 1), st.floats(0.01, 1))
def test_loss_falls_with_the_margin(pc: float, pr: float, rc: float, rr: float, weight: float, beta: float) -> None:
    loss = con_dpo_loss(pc, pr, rc, rr, weight, beta)
    assert loss >= 0 and con_dpo_loss(pc + 1, pr, rc, rr, weight, beta) <= loss
