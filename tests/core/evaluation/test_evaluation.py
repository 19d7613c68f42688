"""The estimators, the judge and the comparison of two arms give the worked numbers and keep their properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conself_local.evaluation.compare import ArmSamples, compare
from conself_local.evaluation.judge import is_correct, outputs_match
from conself_local.evaluation.statistics import mcnemar_exact, paired_bootstrap, pass_at_k


def test_pass_at_k_worked_numbers() -> None:
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(5, 0, 5) == 0.0 and pass_at_k(5, 1, 5) == 1.0
    with pytest.raises(ValueError, match="correct=6"):
        pass_at_k(5, 6, 1)


def test_mcnemar_worked_numbers() -> None:
    assert mcnemar_exact(8, 1) == pytest.approx(0.0390625)
    assert mcnemar_exact(0, 0) == 1.0 and mcnemar_exact(3, 3) == 1.0


def test_bootstrap_of_equal_arms_is_zero_and_of_a_clear_gain_is_not() -> None:
    assert paired_bootstrap([0.5] * 10, [0.5] * 10, seed=1) == (0.0, 0.0, 0.0)
    mean, low, high = paired_bootstrap([0.0] * 50, [1.0] * 40 + [0.0] * 10, seed=1)
    assert mean == pytest.approx(0.8) and 0.6 < low < 0.8 < high < 0.95


@pytest.mark.parametrize(
    ("got", "want", "same"),
    [
        ("1.0", "1", True),
        ("True", "1", True),
        ("[1]", "(1,)", False),
        ("0.3333333333", "0.3333333334", True),
        ("0.33", "0.34", False),
        ("nan", "nan", True),
        ("{'a': [1.0]}", "{'a': [1]}", True),
        ("{1, 2}", "{2, 1}", True),
        ("{'a': 1}", "{'a': 1, 'b': 2}", False),
        ("'1'", "1", False),
        ("None", "0", False),
        ("-inf", "inf", False),
        (str(10**400), "1.0", False),
        ("1.5", str(10**400), False),
        (str(10**400), "inf", False),
        (f"[{10**400}]", f"[{10**400}]", True),
        ("{0.1, 2.0}", "{2, 0.10000000001}", True),
        ("{0.1, 2.0}", "{0.1, 3.0}", False),
        ("{1, 2}", "{1, 2, 3}", False),
        ("frozenset({1.0})", "frozenset({1.00000000001})", True),
        ("frozenset({1})", "{1}", True),
        ("set()", "frozenset()", True),
        ("{0.3333333333: 1}", "{0.3333333334: 1}", True),
        ("{0.3: 1}", "{0.4: 1}", False),
        ("Decimal('1.0')", "Decimal('1.00')", True),
        ("Decimal('1.0')", "Decimal('1.1')", False),
        ("Decimal('1')", "1", True),
        ("Decimal('0.5')", "Fraction(1, 2)", True),
        ("Decimal('NaN')", "Decimal('NaN')", True),
        ("Decimal('1E+999999')", "Decimal('1E+999999')", True),
        ("Decimal('1E+999999')", "Decimal('2E+999999')", False),
        ("complex(1.0, 2.0)", "complex(1.00000000001, 2.0)", True),
        ("range(0, 3, 1)", "range(0, 4, 1)", False),
        ("datetime.date(2024, 1, 1)", "datetime.date(2024, 1, 2)", False),
        ("[[1, 2.0000000001]]", "[[1, 2]]", True),
        ("10000000000000000000000", "10000000000000000000001", False),
        ("((", "1", False),
    ],
)
def test_outputs_match_as_python_values_do(got: str, want: str, same: bool) -> None:
    assert outputs_match(got, want) is same


def test_a_program_is_right_only_if_it_answers_as_the_reference_does() -> None:
    assert is_correct(["1", None], ["1", None], kind="function")
    assert not is_correct([None, "2"], ["1", "2"], kind="function")
    assert not is_correct(["1"], [None], kind="function")
    assert is_correct(["a\nb"], ["a\nb"], kind="stdin") and not is_correct(["1.0"], ["1"], kind="stdin")


def _arm(right: dict[str, list[bool]]) -> ArmSamples:
    greedy = {p: values[0] for p, values in right.items()}
    n = sum(map(len, right.values()))
    return ArmSamples(sampled=right, greedy=greedy, parsed=[True] * n, crashed=[False] * n, tokens=[10] * n)


def test_compare_names_what_was_gained_and_lost() -> None:
    base = _arm({"p": [False, False], "q": [True, True], "r": [True, False]})
    adapter = _arm({"p": [True, False], "q": [False, True], "r": [True, True]})
    result = compare({"base": base, "adapter": adapter}, seed=3)
    assert result["gained"] == ["p"] and result["lost"] == ["q"] and result["mcnemar_p"] == 1.0
    assert result["difference"] == pytest.approx((0.5 - 0.5 + 0.5) / 3)
    assert result["base"]["pass_at"]["1"] == pytest.approx(0.5)
    assert result["base"]["pass_at"]["2"] == pytest.approx(2 / 3)


@given(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_grows_with_k(values: tuple[int, int, int]) -> None:
    n, correct, k = values
    estimate = pass_at_k(n, correct, k)
    assert 0 <= estimate <= 1 and estimate >= pass_at_k(n, correct, 1) - 1e-12
