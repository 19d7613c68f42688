"""The canonical text, read back by Python's parser of literals, gives the value; inputs reach the child unchanged."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sandbox
from conself_local.method.behaviour import comparison_key
from sandbox.values import pack_input


def _child_module(name: str) -> ModuleType:
    """Load a child-side file as a module; only this test loads such code in the parent."""
    path = Path(sandbox.__file__).parent / "child" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"child_{name}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"child_{name}"] = module
    spec.loader.exec_module(module)
    return module


canonical = _child_module("canonical")
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.sets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_canonical_text_read_back_gives_the_value(value: object) -> None:
    text = canonical.canonical_text(value, 1_000_000)
    assert text.isascii()
    back = ast.literal_eval(text) if text != "set()" else set()
    assert repr(back) == repr(value) or back == value
    assert canonical.canonical_text(back, 1_000_000) == text


@given(st.lists(plain, max_size=3).map(tuple))
def test_inputs_reach_the_child_unchanged(arguments: tuple[object, ...]) -> None:
    back = marshal.loads(pack_input(arguments))
    assert canonical.canonical_text(back, 10**6) == canonical.canonical_text(arguments, 10**6)


def test_infinities_and_nan_reach_the_child() -> None:
    back = marshal.loads(pack_input((float("inf"), -float("inf"), [float("nan")], "nan")))
    assert canonical.canonical_text(back, 100) == "(inf, -inf, [nan], 'nan')"


@given(plain, st.integers(0, 30))
def test_canonical_text_is_never_longer_than_the_limit(value: object, limit: int) -> None:
    try:
        assert len(canonical.canonical_text(value, limit)) <= limit
    except canonical.TooLong:
        assert len(canonical.canonical_text(value, 10**6)) > limit // 4


def test_cycles_and_depth_are_refused() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    with pytest.raises(canonical.NoCanonicalText):
        canonical.canonical_text(cycle, 10**6)


def test_inputs_of_other_types_are_refused_in_the_parent() -> None:
    with pytest.raises(ValueError, match="plain Python values only"):
        pack_input((object(),))
    with pytest.raises(ValueError, match="nested"):
        deep: list[object] = []
        for _ in range(60):
            deep = [deep]
        pack_input((deep,))


leaves = st.sampled_from(
    [None, True, False, 1, 0, 0.0, -0.0, 1.0, 1.0 + 1e-14, 1.0 + 1e-10, float("nan"), float("inf"), "1", b"1", "nan"]
)
small = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("ab"), inner)
    ),
    max_leaves=4,
)


def _same(a: object, b: object) -> bool:
    """Return whether the method treats two values as equal.

    The rule: types must be the same, the order of dictionaries is ignored, floats count to 12 digits, -0.0 equals 0.0,
    and NaN equals NaN.
    """
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and isinstance(b, float):
        return f"{a + 0.0:.12g}" == f"{b + 0.0:.12g}"
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return a == b


@given(small, small)
def test_comparison_keys_are_equal_exactly_if_the_rule_says_so(a: object, b: object) -> None:
    for x, y in ((a, b), (a, a)):
        equal = comparison_key(canonical.canonical_text(x, 10**4)) == comparison_key(canonical.canonical_text(y, 10**4))
        assert equal is _same(x, y)
