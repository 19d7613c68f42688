"""Statements keep the calls and inputs of their examples, and lose the expected outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conself_local.problems.load import read_problems
from conself_local.problems.problem import Problem
from conself_local.problems.statements import WITH_OUTPUTS, without_outputs
from sandbox import Sandbox

CODEFORCES = """Polycarp has n coins.

-----Input-----

The first line contains n.

-----Output-----

Print one number.

-----Examples-----
Input
3
1 2 3

Output
NOT THIS

-----Note-----

In the first example the answer is NOT THIS.

A subsequence is a part."""
ATCODER = """Find it.

Output

Print the answer.

Sample Input 1

3

Sample Output 1

NOT THIS

It is NOT THIS because of that.

Sample Input 2

4"""
LEETCODE = """Given nums, return the sum.

Example 1:

Input: nums = [1, 2]
Output: NOT THIS
Explanation: It is NOT THIS.
NOT THIS either.

Constraints:

1 <= nums.length <= 5"""
CODEWARS = """Write f.

## Examples
f([]) -> must be "NOT THIS"
`f("a")` => NOT THIS
f(1) // NOT THIS
The function f(x) is total.
f(n) = f(n - 1) + 1"""
DOCTEST = """Return the square.

>>> f(2)
NOT THIS
>>> f(3) == "NOT THIS"
True
>>> assert f(4) == "NOT THIS"
>>> for n in range(2):
...     f(n)
NOT THIS
NOT THIS

>>> f(5)  # NOT THIS

f(6) == NOT THIS
The text goes on."""
KEPT = {
    CODEFORCES: ["The first line contains n.", "Print one number.", "1 2 3", "A subsequence is a part."],
    ATCODER: ["Print the answer.", "Sample Input 1", "3", "Sample Input 2", "4"],
    LEETCODE: ["Input: nums = [1, 2]", "Constraints:", "1 <= nums.length <= 5"],
    CODEWARS: ["f([])", "The function f(x) is total.", "f(n) = f(n - 1) + 1"],
    DOCTEST: [">>> f(2)", ">>> f(3)", ">>> f(4)", "...     f(n)", ">>> f(5)", "f(6)", "The text goes on."],
}


@pytest.mark.parametrize("statement", KEPT, ids=["codeforces", "atcoder", "leetcode", "codewars", "doctest"])
def test_outputs_go_and_everything_else_stays(statement: str) -> None:
    left = without_outputs(statement, "f")
    assert "NOT THIS" not in left
    assert not [line for line in KEPT[statement] if line not in left.splitlines()]


CALLS = {
    "Return the n-th number: f(0) = 0, f(n) = f(n - 1) + 1.": None,
    "f(0) is undefined, so raise ValueError": None,
    "f('a') == f('A'), case does not matter": None,
    "f(2) should return NOT THIS": "f(2)",
    "Write f(n), for example f(2) == NOT THIS": "Write f(n), for example f(2)",
    "f([1], true); // NOT THIS": "f([1], true)",
    "Solution().f(2) ---> NOT THIS": "Solution().f(2)",
    "f(2) == [NOT, (2, THIS)], f(3) == 'NOT, THIS'; more": "f(2), f(3); more",
    ">>> f(2) == 'NOT THIS' and f(3) == 1\nNOT THIS": ">>> f(2)\n>>> f(3)",
    ">>> f(2) == (\n... 'NOT THIS')\nNOT THIS\n\nmore": ">>> f(2)\n\nmore",
    ">>>f(2)\nNOT THIS\n:param n: must be even": ">>>f(2)\n:param n: must be even",
    "Example\nInput: 2\nOutput: 1\n\nReturn it modulo 7.\nNote: n is odd.\nConstraints: 1 <= n": "Example\nInput: 2\n\nReturn it modulo 7.\nNote: n is odd.\nConstraints: 1 <= n",
    "## Example\nInput: 2\nOutput: 1\n## Output\nA text.": "## Example\nInput: 2\n## Output\nA text.",
    "Notes\nThe sum over all test cases is at most 9. In the first test case it is NOT THIS.": "Notes\nThe sum over all test cases is at most 9.",
    "Case 1\nInput: 2, Output: NOT THIS": "Case 1\nInput: 2",
    "<b>Example</b>\n<b>Input:</b> 2\n<b>Output:</b> NOT THIS": "<b>Example</b>\n<b>Input:</b> 2",
}


@pytest.mark.parametrize("statement", CALLS)
def test_values_go_and_definitions_stay(statement: str) -> None:
    assert without_outputs(statement, "f") == (CALLS[statement] or statement)


@pytest.mark.parametrize("line", ["Input" + "-" * 20_000 + "x", "Output" + " " * 20_000 + "x", "f(])" * 5_000])
def test_long_lines_take_no_time(line: str) -> None:
    """Prevent a regression: the time grew with the square of the length, to 18 seconds here."""
    assert without_outputs(line, "f") == line


@pytest.mark.parametrize("statement", ["Return n.", "Output: print n.\nInput: n", "Expected: a list", "", "a\n\nb"])
def test_statements_without_examples_stay_as_they_are(statement: str) -> None:
    assert without_outputs(statement) == statement


def test_published_training_problems_lose_outputs_and_the_users_own_keep_theirs(tmp_path: Path) -> None:
    published = {"question": CODEFORCES, "input_output": json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})}
    own = {
        "id": "mine",
        "statement": DOCTEST,
        "kind": "function",
        "entry_point": "f",
        "inputs": ["(1,)"],
        "split": "train",
    }
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in (published, own)))
    first, second = read_problems(path, Sandbox)
    assert isinstance(first, Problem) and "NOT THIS" not in first.statement and first.origin == "TACO"
    assert isinstance(second, Problem) and second.statement == DOCTEST
    kept, _ = read_problems(path, Sandbox, keep_examples=True)
    assert isinstance(kept, Problem) and kept.statement == CODEFORCES and kept.origin == f"TACO{WITH_OUTPUTS}"
