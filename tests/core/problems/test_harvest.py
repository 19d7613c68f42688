"""Only functions that look pure become problems, others are reported with the reason, and nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conself_local.problems.examples import example_calls
from conself_local.problems.harvest import harvest, keep_runnable
from conself_local.problems.inputs import INPUTS, make_inputs
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
    "no docstring": "def f(n: int) -> int:\n    return n",
    "decorated": 'import functools\n@functools.cache\ndef f(n: int) -> int:\n    """Return n and remember it."""\n    return n',
    "a secret": 'def f(n: int) -> str:\n    """Return the header of a request."""\n    return "sk-abcdefghijklmnop1234" * n',
    "neither types nor examples": 'def f(n):\n    """Return whatever n happens to be."""\n    return n',
    "which has no literal": 'from decimal import Decimal\ndef f(n: Decimal) -> int:\n    """Return the whole part of n."""\n    return int(n)',
    "not a plain list": 'def f(*n: int) -> int:\n    """Return the sum of all numbers."""\n    return sum(n)',
    "it has yield": 'def f(n: int):\n    """Yield every number below n."""\n    yield from range(n)',
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
    (tmp_path / "bad.py").write_text(BAD[why])
    (one,) = harvest(tmp_path / "bad.py", seed=0)
    assert one.problem is None and why in one.exclusion_reason


def test_inputs_come_from_examples_then_types_then_mutations() -> None:
    (node,) = ast.parse("def f(xs: list[int], flag: bool, name: str | None): pass").body
    assert isinstance(node, ast.FunctionDef)
    examples = example_calls("Do it.\n\n>>> f([9, 9], True, 'q')\n7\n>>> f(open('x'), True, 'y')\n", "f")
    inputs = make_inputs(node, examples, seed=3)
    assert inputs[0] == ([9, 9], True, "q") and len(inputs) == INPUTS
    assert all(isinstance(xs, list) and isinstance(flag, bool) for xs, flag, _ in inputs)
    assert inputs == make_inputs(node, examples, seed=3) != make_inputs(node, examples, seed=4)


def test_the_prescribed_first_line_runs_without_its_module(tmp_path: Path) -> None:
    """Prevent a regression: it named what only its module knew, so that no answer could ever run."""
    doc = "    '''Return something for the given number, whatever it is.'''\n"
    lines = {
        "def a(n: int, width: int = WIDTH) -> int:": "def a(n: int, width: int=4) -> int:",
        "def b(n: int, better=gt):": "def b(n: int, better=...):",
        "def c(n: int, word=re.compile('[a-z]+')) -> int:": "def c(n: int, word=...) -> int:",
        "def d(numbers: t.List[int]) -> int:": "def d(numbers) -> int:",
        "def e(n: int) -> Fraction:": "def e(n: int):",
        "def f(numbers: List[int]) -> Optional[int]:": "from typing import *\n\n\ndef f(numbers: List[int]) -> Optional[int]:",
        "def g(x: float, full: float = math.pi) -> float:": "def g(x: float, full: float=...) -> float:",
        "def h(n: int = -1, *, k: int = 2) -> int:": None,
    }
    head = "import math\nimport re\nimport typing as t\nfrom fractions import Fraction\nfrom operator import gt\nfrom typing import List, Optional\nWIDTH = 4\n"
    path = tmp_path / "lines.py"
    path.write_text(head + "".join(f"{line}\n{doc}    return 1\n" for line in lines))
    found = {one.problem.starter_code for one in harvest(path, 0) if one.problem}
    assert found == {line for line in lines.values() if line}
    for line in found:
        exec(f"{line}\n    pass\n", {})
