"""Published sets are read in the shapes in which they are published, and what cannot be used is left out by a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conself_local.problems.formats import own
from conself_local.problems.formats.evalplus_types import typed_inputs
from conself_local.problems.load import read_problems
from conself_local.problems.problem import Problem
from conself_local.problems.records import Fault
from sandbox import Limits, Program, Sandbox

HUMAN_EVAL: dict[str, Any] = {
    "task_id": "HumanEval/901",
    "prompt": 'def power(base, exponent=2):\n    """Raise the base."""\n',
    "canonical_solution": "    return base**exponent\n",
    "test": "def check(candidate):\n    assert candidate(3, 2) == 9\n",
    "entry_point": "power",
}
INFINITE = float("inf")
PLUS_TEST = """
import numpy as np
def assertion(out, exp, atol):
    np.testing.assert_allclose(out, exp)
%s
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion(power(*inp), exp, 0)
"""


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _read(path: Path, *records: dict[str, Any]) -> list[Problem | Fault]:
    (path / "set.jsonl").write_text("\n".join(map(json.dumps, records)))
    return list(read_problems(path / "set.jsonl", _sandbox))


def _problems(path: Path, *records: dict[str, Any]) -> list[Problem]:
    found = _read(path, *records)
    assert all(isinstance(one, Problem) for one in found), found
    return [one for one in found if isinstance(one, Problem)]


def _faults(path: Path, *records: dict[str, Any]) -> list[str]:
    found = _read(path, *records)
    assert all(isinstance(one, Fault) for one in found), found
    return [one.why for one in found if isinstance(one, Fault)]


def test_human_eval_is_read_however_its_test_calls_the_function(tmp_path: Path) -> None:
    """The recorder took arguments by position only, and needed a function `check`."""
    tests = [
        "def check(candidate):\n    assert candidate(base=3, exponent=2) == 9\n    assert candidate(3, exponent=2) == 9\n",
        "def check(power):\n    assert power(exponent=2, base=3) == 9\n\ncheck(power)\n",
        "assert power(3) == 9\nassert power(3, 2) == 9\n",
        "def test_power():\n    assert power(base=3) == 9\n\ntest_power()\n",
        "def check(candidate):\n    assert candidate(float('inf'), 1) == float('inf')\n",
    ]
    found = _problems(tmp_path, *(HUMAN_EVAL | {"task_id": number, "test": test} for number, test in enumerate(tests)))
    assert [problem.id for problem in found] == [f"HumanEval/{number}" for number in range(5)]
    assert [problem.inputs for problem in found] == [((3, 2),), ((3, 2),), ((3,), (3, 2)), ((3, 2),), ((INFINITE, 1),)]


def test_human_eval_records_no_call_that_the_function_makes_itself(tmp_path: Path) -> None:
    recursive = HUMAN_EVAL | {
        "prompt": 'def power(base, exponent):\n    """Raise."""\n',
        "canonical_solution": "    return base * power(base, exponent - 1) if exponent else 1\n",
        "test": "assert power(3, 4) == 81\n",
    }
    assert _problems(tmp_path, recursive)[0].inputs == ((3, 4),)


def test_human_eval_with_prose_or_a_class_is_read(tmp_path: Path) -> None:
    whole = HUMAN_EVAL["prompt"] + HUMAN_EVAL["canonical_solution"]
    prose = HUMAN_EVAL | {"prompt": "Raise the base, if you can.", "canonical_solution": whole}
    method = {
        "task_id": "a/1",
        "prompt": 'class Solution:\n    def power(self, base, exponent):\n        """Raise."""\n',
        "canonical_solution": "        return base**exponent\n",
        "test": "def check(candidate):\n    assert candidate(base=3, exponent=2) == 9\n",
        "entry_point": "Solution().power",
    }
    first, second = _problems(tmp_path, prose, method)
    assert (first.statement, first.starter_code, first.reference) == (prose["prompt"], "", f"{whole}\n")
    assert second.entry_point == "Solution.power" and second.inputs == ((3, 2),)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"entry_point": "other"}, "neither its prompt nor its solution defines its entry_point other"),
        ({"entry_point": "power; import os"}, "is not the name of a function"),
        ({"entry_point": None}, "the field entry_point is missing"),
        (
            {"test": "import unittest\nclass Test(unittest.TestCase):\n    def test(self):\n        pass\n"},
            "does not call",
        ),
        ({"test": "TEST_CASE {}"}, "its test is not Python"),
        ({"prompt": "int power(int base) {\n"}, "its code does not parse"),
        ({"test": "def check(candidate):\n    assert candidate(open) == 9\n"}, "fails its own test"),
        (
            {
                "prompt": 'def power(base, *, exponent):\n    """Raise."""\n',
                "test": "def check(candidate):\n    assert candidate(3, exponent=2) == 9\n",
            },
            "passes exponent by keyword, which has no position",
        ),
        (
            {"test": "def check(candidate):\n    assert candidate(2j) == -4\n"},
            "the inputs of its test cannot be recorded",
        ),
    ],
)
def test_human_eval_that_cannot_be_used_is_left_out_by_its_reason(
    change: dict[str, Any], why: str, tmp_path: Path
) -> None:
    (fault,) = _faults(tmp_path, HUMAN_EVAL | change)
    assert why in fault and fault.startswith("HumanEval/901"), fault


def test_multipl_e_is_left_out_because_it_has_no_reference(tmp_path: Path) -> None:
    record = {"name": "x", "language": "rb", "prompt": "# add", "doctests": "", "tests": "add 1, 2", "stop_tokens": []}
    assert _faults(tmp_path, record) == ["it is of MultiPL-E, whose problems have tests and no reference solution"]


def test_inputs_of_mbpp_plus_get_back_the_types_that_json_lacks() -> None:
    """Sixty tasks of MBPP+ take tuples or sets; with lists, most references fail on every input."""
    nested = [[[[1, 2], [3, 4]]]]
    assert typed_inputs(106, [[[5, 6], [9, 10]]]) == [([5, 6], (9, 10))]
    assert typed_inputs(2, [[[3, 4], [5]]]) == [((3, 4), (5,))]
    assert typed_inputs(63, nested) == [([(1, 2), (3, 4)],)]
    assert typed_inputs(401, nested) == [(((1, 2), (3, 4)),)]
    assert typed_inputs(278, [[[4, [5], 6]]]) == [((4, (5,), 6),)]
    assert typed_inputs(580, [[[[1, [2]]]]]) == [(((1, (2,)),),)]
    assert typed_inputs(115, [[[[1, 1], [], [2]]]]) == [([{1}, {}, {2}],)]
    assert typed_inputs(722, [[{"a": [1.5, 2]}, 3]]) == [({"a": (1.5, 2)}, 3)]
    assert typed_inputs(307, [[["a", 5], 1, [7]]]) == [(("a", 5), 1, [7])]
    assert typed_inputs(124, [["1.5", "(2+3j)"]]) == [(1.5, 2 + 3j)]
    assert typed_inputs(3, nested) == [([[1, 2], [3, 4]],)]


def _plus(task: int, code: str, *inputs: list[Any]) -> dict[str, Any]:
    name = code[4 : code.index("(")]
    prompt = f'"""\nWrite a function {name}.\n"""\n'
    more = {"canonical_solution": code, "base_input": [*inputs], "plus_input": []}
    return {"task_id": f"Mbpp/{task}", "prompt": prompt, "entry_point": name, **more}


def test_a_reference_of_mbpp_plus_that_answers_nothing_is_left_out(tmp_path: Path) -> None:
    joined = _plus(106, "def join(a, t):\n    return t + tuple(a)\n", [[5], [9]])
    sets = _plus(115, "def empty(sets):\n    return all(isinstance(s, (set, dict)) for s in sets)\n", [[[1], []]])
    assert [problem.inputs for problem in _problems(tmp_path, joined, sets)] == [(([5], (9,)),), (([{1}, {}],),)]
    (numbered,) = _problems(tmp_path, joined | {"task_id": 106})
    assert numbered.id == "Mbpp/106" and numbered.inputs == (([5], (9,)),)
    complex_ = _plus(252, "def real(z):\n    return z.real\n", ["(3+4j)"])
    silent = _plus(3, "def fail(x):\n    return x.nothing\n", *([number] for number in range(20)))
    late = _plus(4, "def late(x):\n    return 1 // (x > 15)\n", *([number] for number in range(20)))
    first, second, third = _read(tmp_path, complex_, silent, late)
    assert isinstance(first, Fault) and "complex" in first.why and isinstance(third, Problem)
    assert isinstance(second, Fault) and "its reference answers none of its inputs (AttributeError)" in second.why


def test_evalplus_is_read_as_hugging_face_shows_it(tmp_path: Path) -> None:
    """MBPP+ was taken for MBPP, half of it for training; HumanEval+ failed, because its test imports numpy."""
    inputs = "inputs = [[2, 3], [float('inf'), 1], [-inf, 2], [(1, {2}), [3]]]\nresults = [8, 1, 1, 1]"
    check = "def check(candidate):\n" + "".join(f"    {line}\n" for line in (PLUS_TEST % inputs).splitlines())
    human_eval = HUMAN_EVAL | {"task_id": "HumanEval/0", "test": check}
    mbpp: dict[str, Any] = {
        "task_id": 700,
        "code": "def power(base, exponent):\n    return base**exponent\n",
        "prompt": "Write a function to raise a number.",
        "source_file": "x.ipynb",
        "test_imports": [],
        "test_list": ["assert power(2, 3) == 31337", "assert power(exponent=4, base=5) == 31337"],
        "test": PLUS_TEST % inputs,
    }
    computed = mbpp | {"task_id": 701, "test": PLUS_TEST % "inputs = [[i, i] for i in range(9)]\nresults = []"}
    first, second, third = _problems(tmp_path, human_eval, mbpp, computed)
    from_test = ((2, 3), (INFINITE, 1), (-INFINITE, 2), ((1, {2}), [3]))
    assert first.inputs == from_test and first.origin == "EvalPlus" and first.split == "held-out"
    assert second.inputs == ((2, 3), (5, 4), *from_test[1:]) and second.id == "Mbpp/700"
    assert second.split == "held-out" and second.reference == mbpp["code"] and "2 arguments" in second.statement
    assert third.inputs == ((2, 3), (5, 4)) and "31337" not in second.statement


def test_leetcode_gives_inputs_by_the_order_of_the_parameters_and_no_expected_output(tmp_path: Path) -> None:
    record: dict[str, Any] = {
        "task_id": "two-sum",
        "question_id": 1,
        "problem_description": "Find two numbers.",
        "starter_code": "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        ",
        "entry_point": "Solution().twoSum",
        "input_output": [
            {"input": "nums = [3,3], target = 6", "output": "31337"},
            {"input": "target = -1, nums = [null, true]", "output": "31337"},
        ],
        "prompt": "",
        "completion": "31337",
        "test": "",
    }
    older = {
        "task_id": "three-sum",
        "entry_point": "Solution().twoSum",
        "examples": [{"input": "nums = [3,3], target = 6"}, {"input": "nums = open(1)"}],
        "meta": {"lang_code": record["starter_code"].rstrip(), "question_title": "Find three."},
        "prompt": "from typing import *",
        "completion": "31337",
        "test": "",
    }
    problem, second = _problems(tmp_path, record, older)
    assert problem.inputs == (([3, 3], 6), ([None, True], -1)) and problem.split == "train"
    assert problem.entry_point == "Solution.twoSum" and problem.starter_code.endswith("-> List[int]:")
    assert (second.statement, second.inputs, second.starter_code) == (
        "Find three.",
        (([3, 3], 6),),
        problem.starter_code,
    )
    assert "31337" not in json.dumps([own.record_of(problem), own.record_of(second)])
    changes: list[dict[str, Any]] = [
        {"input_output": '[{"input": "nums = open(1), target = 6"}]'},
        {"input_output": '[{"input": "numbers = [1], target = 6"}]'},
        {"input_output": [{"output": "1"}]},
        {"starter_code": "class Solution:\n    pass"},
    ]
    found = _faults(tmp_path, *(record | change for change in changes))
    says = ["malformed node", "leaves nums out", "the field input is missing", "does not define twoSum"]
    assert all(why in fault for fault, why in zip(found, says, strict=True)), found


NODE = "# Definition for singly-linked list.\n# class ListNode:\n#     def __init__(self, val=0, next=None):\n"


@pytest.mark.parametrize(
    ("starter", "named"),
    [
        ("class Solution:\n    def f(self, a: Optional[ListNode]) -> int:\n        ", "ListNode"),
        ("class Solution:\n    def f(self, a: List[int]) -> Optional[TreeNode]:\n        ", "TreeNode"),
        ("class Solution:\n    def f(self, a: 'Node') -> 'Node':\n        ", "Node"),
        (f"{NODE}class Solution:\n    def f(self, a):\n        ", "ListNode"),
        (
            'class Solution(object):\n    def f(self, a):\n        """\n        :type a: TreeNode\n        """',
            "TreeNode",
        ),
        ("def f(a: pd.DataFrame) -> pd.DataFrame:\n    ", "pd"),
    ],
)
def test_a_function_of_nodes_is_left_out_because_no_literal_makes_one(starter: str, named: str, tmp_path: Path) -> None:
    """Its first line needs a class that is not there, and no list is such a node: every program failed."""
    calls = {"fn_name": "f", "inputs": [[[1, 2]]], "outputs": []}
    tests = [{"input": "[1, 2]", "output": "", "testtype": "functional"}]
    taco = {"question": "Reverse.", "starter_code": starter, "input_output": json.dumps(calls)}
    bench = {
        "question_id": 1,
        "question_content": "Reverse.",
        "starter_code": starter,
        "public_test_cases": json.dumps(tests),
        "metadata": '{"func_name": "f"}',
    }
    for why in _faults(tmp_path, taco, bench):
        assert why == f"its parameters or its result are {named}, which no literal can make"


def test_a_first_line_may_be_several_lines_long(tmp_path: Path) -> None:
    starter = "class Solution:\n    def f(\n        self,\n        a: List[int],\n    ) -> int:\n        "
    calls = {"fn_name": "f", "inputs": [[[1, 2]]], "outputs": []}
    (problem,) = _problems(tmp_path, {"question": "Q", "starter_code": starter, "input_output": calls})
    assert problem.starter_code.startswith("from typing import *") and problem.starter_code.endswith(") -> int:")
    source = f"{problem.starter_code}\n        return sum(a)\n"
    with _sandbox(Limits()) as sandbox:
        (result,) = sandbox.run([Program("1", source, "function", problem.entry_point, problem.inputs)])
    assert result.outputs[0].text == "3"


APPS = {"problem_id": 7, "question": "Add.", "starter_code": "", "input_output": '{"inputs": ["1"], "outputs": []}'}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (APPS | {"input_output": '{"fn_name": "f", "inputs": [[NaN]]}'}, "NaN cannot be an input"),
        (APPS | {"input_output": {"fn_name": "f", "inputs": [[9, float("nan")]]}}, "NaN cannot be an input"),
        (APPS | {"input_output": f'{{"fn_name": "f", "inputs": [[{"9" * 5000}]]}}'}, "an integer of more than 4300 digits"),
        (APPS | {"input_output": "[1]"}, "input_output contains no inputs"),
        (APPS | {"input_output": "[" * 9999}, "input_output is not valid JSON (it is nested too deeply)"),
        (APPS | {"problem_id": [1]}, "the field problem_id is neither text nor a whole number"),
        (APPS | {"question": 5}, "the field question is not text"),
        (_plus(3, "def f(x):\n    return x\n", [float("nan")]), "NaN cannot be an input"),
        (_plus(3, "def f(x):\n    return x\n") | {"base_input": None}, "the field base_input is missing"),
        ({"task_id": "x", "text": "T", "code": "", "test_list": []}, "its task_id 'x' is not the number of a task"),
        ({"task_id": 700, "text": "T", "code": "", "test_list": "a"}, "the field test_list is not a list of texts"),
        ({"question_id": 1, "question_content": "Q", "public_test_cases": "[1]"}, "is not a list of objects"),
        ({"question_id": 1, "question_content": "Q", "public_test_cases": '[{"testtype": "stdin"}]'}, "the field input is missing"),
    ],
)  # fmt: skip
def test_an_odd_value_is_the_reason_of_its_record_only(record: dict[str, Any], why: str, tmp_path: Path) -> None:
    good = APPS | {"problem_id": 8.0, "question": "Count."}
    fault, problem = sorted(_read(tmp_path, record, good), key=lambda one: isinstance(one, Problem))
    assert isinstance(fault, Fault) and why in fault.why and not fault.fixable, fault
    assert isinstance(problem, Problem) and problem.id == "apps/8"
