"""The parent takes exactly the texts that the child writes for some value, and no other spelling of it."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.canonical_reader import is_canonical
from tests.sandbox.test_canonical import canonical

canonical.bind_standard_types("datetime decimal fractions")
hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.complex_numbers()
    | st.decimals(allow_nan=True)
    | st.fractions()
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.timedeltas()
    | st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=6,
)
values = st.recursive(
    hashable | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.lists(st.tuples(st.integers() | st.text(), inner), max_size=4).map(dict)
        | st.sets(st.integers() | st.text(), max_size=4)
        | st.frozensets(st.tuples(st.integers(), st.text()), max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_what_the_child_writes_is_accepted(value: object) -> None:
    assert is_canonical(canonical.canonical_text(value, 10**6))


@given(values, st.data())
def test_a_changed_text_is_refused_or_the_text_of_another_value(value: object, data: st.DataObject) -> None:
    """Whatever is accepted and can be read as a literal is written back as it was."""
    text = canonical.canonical_text(value, 10**6)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = (
        text[:at]
        + data.draw(st.sampled_from(["", "0", "-", "'", '"', "\\", "x", ", ", ".", "e", "}"]))
        + text[at + 1 :]
    )
    if is_canonical(changed):
        try:
            back = ast.literal_eval(changed)
        except (ValueError, SyntaxError):
            return  # a date, a decimal, nan: `test_other_spellings_are_refused` names their spellings
        assert canonical.canonical_text(back, 10**6) == changed


GOOD = ['-12', '0', '[-1, 0]', '\'it\\\'s "x"\'', "'\\U0001f600'", "'\\ud800'", '{(1, 2): [3]}', 'datetime.time(0, 0)', '{1, 2, 3}', "{'a', 'b'}", "b'\\x00'", '1e-07', "Decimal('1E+5')", "Decimal('-Infinity')", "Decimal('sNaN12')", 'datetime.datetime(1, 1, 1, 0, 0)', 'bytearray(b"it\'s")', 'None', '-1', '1.5', '-0.0', '1e+16', '1e-05', 'nan', 'inf', '-inf', "'a'", '"it\'s"', "'\\n\\x00\\u1234'", "b'x\\xff'", '[]', '()', '(1,)', '(1, 2)', '{}', "{'a': 1}", '{1, 2}', 'set()', 'frozenset()', 'frozenset({1, 2})', 'complex(1.0, -inf)', 'range(0, 3, 1)', "Decimal('1.50')", "Decimal('-0E-7')", "Decimal('NaN')", 'Fraction(1, 3)', 'datetime.date(2026, 1, 2)', 'datetime.timedelta(days=-1, seconds=3)', 'datetime.timedelta(0)', "bytearray(b'a')", "[[1, {'a': (None, 2.0)}], {frozenset({1})}]", "'a\\\\'", 'datetime.datetime(2026, 1, 2, 3, 4, fold=1)', '[1.5, 2, 1e+20]', '123', 'complex(1.0, nan)']  # fmt: skip
OTHER = ['007', '-0', '01', '1.50', '1e16', '0.1e1', "'\\x41'", "'\\x0a'", '"a"', "'\\''", "'\\u0041'", '{2, 1}', '{1, 1}', '{[1]}', '{{1: 2}: 3}', 'frozenset({1: 2})', 'frozenset({})', '{1: 2, 1: 3}', 'Fraction(2, 4)', 'Fraction(1, -3)', 'Fraction(1, 0)', 'range(0, 3, 0)', "Decimal('01')", "Decimal('1E5')", 'datetime.date(2026, 13, 1)', 'datetime.timedelta(weeks=1)', 'datetime.timedelta(hours=1)', 'datetime.date(2026, 01, 2)', 'bytearray(b"a")', "{bytearray(b'a')}", 'complex(1.00, 2.0)', 'datetime.time(0)', '', 'a', '1 ', '(1)', '[1,2]', '[1, ]', '{1: 2, 3}', "'a", "'\n'", "'\x1b'", "__import__('os')", '[1', '1]', 'frozenset({1}', '1.', "'a''b'", '[1, 2', 'é', '{1:2}', '(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((())))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))', '[,]', '1.5.5', '²', '1e5x', '[1e]', '٣']  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_canonical_texts_are_accepted(text: str) -> None:
    assert is_canonical(text)


@pytest.mark.parametrize("text", OTHER)
def test_other_spellings_are_refused(text: str) -> None:
    assert not is_canonical(text)


def test_elements_that_only_claim_to_differ_have_no_text() -> None:
    class Same(int):
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    for value in ({Same(1), Same(1)}, {Same(1): 2, Same(1): 3}, {float("nan"), float("nan")}):
        with pytest.raises(canonical.NoCanonicalText):
            canonical.canonical_text(value, 100)
