"""Only functions that look pure become problems, others are reported with the reason, and nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from conself_local.problems.examples import example_calls
from conself_local.problems.harvest import harvest, keep_runnable
from conself_local.problems.inputs import CANDIDATES, INPUTS, make_inputs
from sandbox import Limits, Sandbox

GOOD = '''
import math
import re as regex
from typing import List, Optional
LIMIT = 10
raise SystemExit("this module must never be imported")
def _helper(n):
    return min(n, LIMIT)
def double_all(values: List[int]) -> List[int]:
    """Return every value twice as large, at most LIMIT each."""
    return [_helper(2 * v) for v in values]
def shout(text: str, times: int = 1) -> str:
    """Return the text in upper case, again and again."""
    return regex.sub(r" +", " ", text.upper()) * times
def area(radius):
    """Return the area of a circle.

    >>> area(2.0)
    12.566370614359172
    """
    return math.pi * radius**2
'''
BAD = {
    "it uses open": 'def f(path: str) -> str:\n    """Read a whole text file."""\n    return open(path).read()',
    "not known to be pure": 'import os\ndef f(name: str) -> str:\n    """Read an environment variable."""\n    return os.environ[name]',
    "it has global": 'N = 0\ndef f(n: int) -> int:\n    """Count how often it was called."""\n    global N\n    N += n\n    return N',
    "its own package": 'from . import thing\ndef f(n: int) -> int:\n    """Ask another module about n."""\n    return thing(n)',
    "its docstring has less than 15": "def f(n: int) -> int:\n    return n",
    "decorated": 'import functools\n@functools.singledispatch\ndef f(n: int) -> int:\n    """Return n and remember it."""\n    return n',
    "a secret": 'def f(n: int) -> str:\n    """Return the header of a request."""\n    return "sk-abcdefghijklmnop1234" * n',
    "neither types nor examples": 'def f(n):\n    """Return whatever n happens to be."""\n    return n',
    "which has no literal": 'from decimal import Decimal\ndef f(n: Decimal) -> int:\n    """Return the whole part of n."""\n    return int(n)',
    "only a keyword": 'def f(n: int, *, k: int) -> int:\n    """Return the sum of both numbers."""\n    return n + k',
    "no parameters": 'def f(*, k: int = 2) -> int:\n    """Return the square of the number."""\n    return k * k',
    "two definitions that are called": 'from math import floor as g\nfrom helper import h\ndef f(n: int) -> int:\n    """Return something of n."""\n    return h(n) + g(n)',
}


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=2)


@pytest.mark.round
def test_functions_become_problems_that_run_without_their_module(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text(GOOD)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_lib.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("def f(:")
    found = list(harvest(tmp_path, seed=1))
    taken = {one.problem.entry_point: one for one in found if one.problem}
    assert set(taken) == {"double_all", "shout", "area"}
    assert [one.where for one in found if not one.problem] == ["broken.py"]
    assert "_helper" in taken["double_all"].source and "LIMIT = 10" in taken["double_all"].source
    assert "import re as regex" in taken["shout"].source and "SystemExit" not in taken["shout"].source
    double = taken["double_all"].problem
    assert double is not None and double.starter_code.endswith("def double_all(values: List[int]) -> List[int]:")
    kept = keep_runnable(found, _sandbox, seed=1)
    assert {p.entry_point for p in kept} == {"double_all", "shout", "area"}
    assert all((p.reference is None) == (p.split == "train") and p.origin.startswith("lib.py:") for p in kept)
    assert list(harvest(tmp_path, seed=1)) == found, "the same seed draws the same inputs"
    splits = {p.split for seed in range(12) for p in keep_runnable(found, _sandbox, seed)}
    assert splits == {"train", "validation"}


@pytest.mark.parametrize("why", list(BAD))
def test_functions_that_do_not_look_pure_are_excluded_with_their_reason(why: str, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def g(n):\n    return n\ndef h(n):\n    return g(n)\n")
    (tmp_path / "bad.py").write_text(BAD[why])
    (one,) = harvest(tmp_path / "bad.py", seed=0)
    assert one.problem is None and why in one.exclusion_reason


def _function(source: str) -> ast.FunctionDef:
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    return node


def test_inputs_come_from_examples_then_mutations_then_types() -> None:
    node = _function("def f(xs: list[int], flag: bool, name: str | None): pass")
    examples = example_calls("Do it.\n\n>>> f([9, 9], True, 'q')\n7\n>>> f(open('x'), True, 'y')\n", node)
    inputs = make_inputs(node, examples, seed=3)
    assert inputs[0] == ([9, 9], True, "q") and len(inputs) == CANDIDATES
    assert all(isinstance(xs, list) and isinstance(flag, bool) for xs, flag, _ in inputs)
    assert all(name == "q"[:1] or set(str(name)) <= {"q"} for _, _, name in inputs[:5]), "mutations come second"
    assert inputs == make_inputs(node, examples, seed=3) != make_inputs(node, examples, seed=4)


def test_typed_inputs_begin_small() -> None:
    """Prevent a regression: `combinations(1000, 1000)` was among the first inputs."""
    inputs = make_inputs(_function("def combinations(n: int, k: int): pass"), [], seed=0)
    sizes = [len(repr(one)) for one in inputs]
    assert sizes == sorted(sizes) and max(map(abs, inputs[0])) <= 3  # type: ignore[arg-type]


@pytest.mark.round
def test_slow_and_failing_inputs_are_dropped_and_iterators_become_lists(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text(
        '''
def slow(n: int) -> int:
    """Return n, but for nine after an endless loop.

    >>> slow(9)
    9
    >>> slow(2)
    2
    """
    while n == 9:
        pass
    return n
def below(n: int):
    """Yield every number below n, the largest first."""
    yield from reversed(range(n))
def pairs(xs: list[int]):
    """Give the neighbours of every item."""
    return zip(xs, xs[1:])
def endless(n: int):
    """Yield n again and again."""
    while True:
        yield n
'''
    )
    kept = {p.entry_point: p for p in keep_runnable(list(harvest(tmp_path, seed=1)), _sandbox, seed=1)}
    assert set(kept) == {"slow", "below", "pairs"}
    assert (2,) in kept["slow"].inputs and (9,) not in kept["slow"].inputs and 3 < len(kept["slow"].inputs) <= INPUTS
    assert kept["below"].statement.endswith("Return the values as a list.")
    assert kept["below"].starter_code == "def below(n: int) -> list:"
    assert kept["pairs"].statement.endswith("Return the values as a list.")


def test_helpers_of_the_package_come_along(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("from .numbers import twice\n")
    (package / "numbers.py").write_text(
        "BASE = 2\nclass Odd(ValueError):\n    pass\ndef twice(n):\n    return BASE * n\n"
    )
    (package / "lib.py").write_text(
        '''
from functools import lru_cache
import numpy
from mine import twice as double
from .numbers import Odd
@lru_cache(maxsize=None)
def four_times(n: int, like: "numpy.array" = None) -> numpy.int64:
    """Return n times four, and refuse odd numbers."""
    if n % 2:
        raise Odd(n)
    return double(double(n))
'''
    )
    (one,) = [h for h in harvest(package, 0) if h.where.startswith("lib.py")]
    assert one.problem is not None, one.exclusion_reason
    names: dict[str, object] = {}
    exec(one.source, names)
    assert names["four_times"](4) == 16  # type: ignore[operator]


CHANGED = {
    "item": "T = {}\nfor i in range(9):\n    T[i] = i * i\ndef f(n: int):\n    DOC\n    return T.get(n)",
    "augmented": "N = 1\nN += 5\ndef f(n: int):\n    DOC\n    return N + n",
    "replaced": "def g(n):\n    return n\ng = abs(g)\ndef f(n: int):\n    DOC\n    return g(n)",
    "branches": "import sys\nif sys.platform == 'x':\n    S = 1\nelse:\n    S = 2\ndef f(n: int):\n    DOC\n    return S * n",
    "method": "T = [1]\nT.append(3)\ndef f(n: int):\n    DOC\n    return T[n]",
    "registered": "OPS = {}\ndef put(g):\n    OPS[g.__name__] = g\n    return g\n@put\ndef h():\n    pass\ndef f(n: int):\n    DOC\n    return len(OPS) * n",
    "itself": "def f(n: int):\n    DOC\n    return n\nf = abs(f)",
    "global": "N = 1\ndef g():\n    global N\n    N = 2\ng()\ndef f(n: int):\n    DOC\n    return N * n",
    "star": "from math import *\ndef f(n: int):\n    DOC\n    return pow(n, 2)",
    "tuple": "sum, avg = max, min\ndef f(n: list[int]):\n    DOC\n    return sum(n)",
    "loop": "for abs in (max, min):\n    pass\ndef f(n: list[int]):\n    DOC\n    return abs(n)",
    "own module": "import statistics\ndef f(n: int):\n    DOC\n    return statistics.mean(n)",
    "own builtin": "from b import total\ndef f(xs: list[int]):\n    DOC\n    return total(xs) + max(xs)",
    "dunder": "def f(n: int):\n    DOC\n    return __name__ * n",
    "large": f"T = {[1] * 30_000}\ndef f(n: int):\n    DOC\n    return T[n]",
}


@pytest.mark.parametrize("name", CHANGED)
def test_code_that_would_compute_something_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "statistics.py").write_text("def mean(n):\n    return 42\n")
    (tmp_path / "b.py").write_text("def max(xs):\n    return 0\ndef total(xs):\n    return max(xs)\n")
    path = tmp_path / "a.py"
    path.write_text(CHANGED[name].replace("DOC", "'Return something that depends on the argument.'"))
    assert [one.where for one in harvest(path, 0) if one.problem] == []


SAME = {
    "order": "import itertools\n_c = itertools.count()\nZERO = next(_c)\nONE = next(_c)\ndef f(n: int):\n    DOC\n    return (ZERO, ONE, n)",
    "tables": "def one(n):\n    return n\ndef two(n):\n    return FN['one'](n) + n\nFN = {'one': one, 'two': two}\ndef f(n: int):\n    DOC\n    return FN['two'](n)",
    "recursion": "def f(n: int):\n    DOC\n    yield n\n    if n > 0:\n        it = f(n=n - 1)\n        yield from zip(it, it)",
    "late": "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass N:\n    n: int\n    next: N | None = None\ndef f(n: int):\n    DOC\n    return N(n).n",
    "guarded": "try:\n    from math import comb\nexcept ImportError:\n    def comb(n, k):\n        return 0\ndef f(n: int):\n    DOC\n    return comb(n, 2)\nif __name__ == '__main__':\n    n = f(3)\n    n += 1",
}


@pytest.mark.parametrize("name", SAME)
def test_the_written_source_computes_what_the_module_computes(name: str, tmp_path: Path) -> None:
    text = SAME[name].replace("DOC", "'Return something that depends on the argument.'")
    (tmp_path / "a.py").write_text(text)
    (one,) = [one for one in harvest(tmp_path / "a.py", 0) if one.where.endswith(" f")]
    assert one.problem is not None, one.exclusion_reason
    original: dict[str, Any] = {"__name__": __name__}
    written: dict[str, Any] = {"__name__": __name__}
    exec(text, original)
    exec(one.source, written)
    expected = original["f"](3)
    assert written["f"](3) == (expected if isinstance(expected, int | tuple) else list(expected))


def test_deep_types_and_deep_examples_take_no_time() -> None:
    deep = "list[" * 12 + "int" + "]" * 12
    with pytest.raises(ValueError, match="nested too deeply"):
        make_inputs(_function(f"def f(n: {deep}): pass"), [], seed=0)
    nested: object = 1
    for _ in range(30):
        nested = (nested,)
    assert make_inputs(_function("def f(x): pass"), [(nested,), ((nested,),)], seed=0)


def test_the_prescribed_first_line_runs_without_its_module(tmp_path: Path) -> None:
    """Prevent a regression: it named what only its module knew, so that no answer could ever run."""
    doc = "    '''Return something for the given number, whatever it is.'''\n"
    lines = {
        "def a(n: int, width: int = WIDTH) -> int:": "def a(n: int, width: int=4) -> int:",
        "def b(n: int, better=gt):": "def b(n: int, better=...):",
        "def c(n: int, word=re.compile('[a-z]+')) -> int:": "def c(n: int, word=...) -> int:",
        "def d(numbers: t.List[int]) -> int:": "from typing import *\n\n\ndef d(numbers: List[int]) -> int:",
        "def e(n: int) -> Fraction:": "def e(n: int):",
        "def f(numbers: List[int]) -> Optional[int]:": "from typing import *\n\n\ndef f(numbers: List[int]) -> Optional[int]:",
        "def g(x: float, full: float = math.pi) -> float:": "def g(x: float, full: float=...) -> float:",
        "def h(n: int = -1, *, k: int = WIDTH) -> int:": "def h(n: int=-1, *, k: int=4) -> int:",
        "def i(n: int) -> t.Iterator[int]:": "def i(n: int) -> list[int]:",
        "def j(n: int, *rest: Fraction, **more: int):": "def j(n: int, *rest, **more: int):",
    }
    head = "import math\nimport re\nimport typing as t\nfrom fractions import Fraction\nfrom operator import gt\nfrom typing import List, Optional\nWIDTH = 4\n"
    path = tmp_path / "lines.py"
    path.write_text(head + "".join(f"{line}\n{doc}    return 1\n" for line in lines))
    found = {one.problem.starter_code for one in harvest(path, 0) if one.problem}
    assert found == set(lines.values())
    for line in found:
        exec(f"{line}\n    pass\n", {})


def test_expected_outputs_leave_statements_unless_they_are_asked_for(tmp_path: Path) -> None:
    """Prevent a regression: the outputs of doctests were in the statements of training problems."""
    (tmp_path / "lib.py").write_text(GOOD)
    (plain,) = [h.problem for h in harvest(tmp_path, 1) if h.where.endswith("area")]
    (kept,) = [h.problem for h in harvest(tmp_path, 1, keep_examples=True) if h.where.endswith("area")]
    assert plain and kept
    assert ">>> area(2.0)" in plain.statement and "12.56" not in plain.statement
    assert "12.56" in kept.statement and kept.origin == f"{plain.origin}, with the expected outputs of its examples"
