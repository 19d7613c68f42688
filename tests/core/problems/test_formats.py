"""Problem files of every format are read, and expected outputs never reach a training problem or a prompt."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.problems.formats import human_eval, mbpp, own
from conself_local.problems.load import load_problems, load_starter
from conself_local.round.start import pick_problems
from conself_local.sampling.prompts import answer_prefix, program_messages
from sandbox import Limits, Sandbox

MBPP = {
    "task_id": 700,
    "text": "Write a function to add.",
    "code": "def add(x, y):\r\n    return x + y",
    "test_list": ["assert add(1, 2) == 31337", "assert add([1], [2]) == [1, 2]", "assert add(f(1), 2) == 3"],
}


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=2)


def test_our_own_format_is_read_back_unchanged() -> None:
    for problem in load_starter():
        assert own.problem_of(json.loads(json.dumps(own.record_of(problem)))) == problem


def test_mbpp_gives_name_and_argument_count_and_no_expected_output() -> None:
    problem = mbpp.problem_of(MBPP)
    assert problem is not None and problem.split == "train" and problem.reference is None
    assert problem.inputs == ((1, 2), ([1], [2])) and problem.starter_code == "def add(arg1, arg2):"
    prompt = program_messages(problem)[0].content + answer_prefix(problem)
    assert "`add`" in prompt and "2 arguments" in prompt and "31337" not in prompt
    assert "31337" not in json.dumps(own.record_of(problem))
    splits = [
        (n, p and p.split) for n in (10, 11, 510, 511, 600, 601, 974) for p in [mbpp.problem_of(MBPP | {"task_id": n})]
    ]
    assert splits == [
        (10, None),
        (11, "held-out"),
        (510, "held-out"),
        (511, "validation"),
        (600, "validation"),
        (601, "train"),
        (974, "train"),
    ]
    validation = mbpp.problem_of(MBPP | {"task_id": 511})
    assert validation is not None and validation.reference == "def add(x, y):\n    return x + y"


def test_mbpp_problems_without_literal_inputs_are_excluded(tmp_path: Path) -> None:
    path = tmp_path / "mbpp.jsonl"
    without = MBPP | {"task_id": 701, "test_list": ["assert add(open('x')) == 1"]}
    path.write_text(json.dumps(MBPP) + "\n" + json.dumps(without) + "\n")
    loaded = load_problems(path, _sandbox)
    assert [p.id for p in loaded.problems] == ["mbpp/700"] and "line 2" in loaded.excluded[0]


def test_human_eval_inputs_are_recorded_in_the_sandbox() -> None:
    loaded = load_problems(human_eval.packaged_file(), _sandbox)
    assert len(loaded.problems) + len(loaded.excluded) == 164 and len(loaded.problems) >= 160
    by_id = {p.id: p for p in loaded.problems}
    assert ([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) in by_id["HumanEval/0"].inputs
    assert all(p.split == "held-out" and p.reference and p.starter_code[:20] in p.reference for p in loaded.problems)


def test_a_test_that_draws_its_inputs_gives_the_same_problem_whenever_it_is_read(tmp_path: Path) -> None:
    """A round that is continued with HumanEval reads it again, and refuses problems that have changed."""
    drawing = {
        "task_id": "HumanEval/903", "prompt": "def half(n):\n", "canonical_solution": "    return n // 2\n",
        "test": "import random\ndef check(candidate):\n    assert candidate(random.randint(0, 10**9)) >= 0\n",
        "entry_point": "half",
    }  # fmt: skip
    unseeded = drawing | {"task_id": "HumanEval/904", "test": drawing["test"].replace("randint(", "Random().randint(")}
    path = tmp_path / "drawing.jsonl"
    path.write_text(json.dumps(drawing) + "\n" + json.dumps(unseeded) + "\n")
    first, second = (load_problems(path, _sandbox) for _ in range(2))
    assert [p.content_hash() for p in first.problems] == [p.content_hash() for p in second.problems]
    assert [p.id for p in first.problems] == ["HumanEval/903"]
    assert "with other inputs whenever it runs" in first.excluded[0]


def test_a_damaged_archive_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:2000])
    with pytest.raises(ConselfError, match="cannot be read"):
        load_problems(path, _sandbox)


def test_the_limit_draws_problems_by_the_seed_and_keeps_their_order() -> None:
    train = load_starter(("train",))
    drawn = pick_problems(train, 10, seed=1)
    assert len(drawn) == 10 and drawn == pick_problems(train, 10, seed=1) != pick_problems(train, 10, seed=2)
    assert [p for p in train if p in drawn] == drawn and pick_problems(train, None, 1) == train
    with pytest.raises(ConselfError, match="at least 1"):
        pick_problems(train, 0, 1)


def test_problems_written_by_hand_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("""
[[problem]]
statement = "Return n times 2."
starter_code = "def double(n):"
inputs = ["1", "-3,"]
[[problem]]
id = "mine/none"
statement = "Answer 42."
starter_code = "def answer():"
inputs = [""]
split = "validation"
reference = "def answer():\\n    return 42"
[[problem]]
statement = "Read numbers and print their sum."
inputs = ["1 2", "3"]
""")
    double, answer, total = load_problems(path, _sandbox).problems
    assert (double.id, double.entry_point, double.inputs, double.split) == ("mine/1", "double", ((1,), (-3,)), "train")
    assert (answer.id, answer.inputs, answer.kind) == ("mine/none", ((),), "function") and answer.reference
    assert (total.kind, total.inputs) == ("stdin", ("1 2", "3"))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x = 1", "no .*problem"),
        ("[[problem", "cannot be read"),
        ("[[problem]]\nstatement = 'x'", "problem 1: inputs must be"),
        ("[[problem]]\nstatement = 'x'\ninputs = ['1']\nstarter_code = 'double'", "problem 1: starter_code"),
        ("[[problem]]\nstatement = 'x'\ninputs = ['open(1)']\nstarter_code = 'def f(n):'", "not a Python literal"),
        ("[[problem]]\nstatement = 'x'\ninputs = ['1']\ncolour = 'red'", "unknown field 'colour'"),
        ("[[problem]]\nstatement = 'x'\ninputs = ['1']\nreference = 'y'", "training problem must have no reference"),
    ],
)
def test_mistakes_in_problems_written_by_hand_are_named(text: str, match: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConselfError, match=match):
        load_problems(path, _sandbox)


def test_competition_sets_give_inputs_and_never_an_expected_output(tmp_path: Path) -> None:
    apps = {
        "problem_id": 7,
        "question": "Add.",
        "solutions": '["secret-31337"]',
        "starter_code": "",
        "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n", "1 2\n"], "outputs": ["31337", "31337", "31337"]}),
    }
    starter = "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        "
    calls = {"fn_name": "twoSum", "inputs": [[[2, 7], 9], [[3, 3], 6]], "outputs": [31337, 31337]}
    taco = {"question": "Two sum.", "solutions": "[]", "starter_code": starter, "input_output": json.dumps(calls)}
    tests = [{"input": "[1, 2]\n3", "output": "31337", "testtype": "functional"}]
    bench = {
        "question_id": "x1",
        "question_content": "Count.",
        "starter_code": starter.replace("twoSum", "count"),
        "public_test_cases": json.dumps(tests),
        "private_test_cases": "gASV",
        "metadata": json.dumps({"func_name": "count"}),
    }
    broken = apps | {"problem_id": 8, "input_output": "{}"}
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in (apps, taco, bench, broken)))
    loaded = load_problems(path, _sandbox)
    stdin, two_sum, count = loaded.problems
    assert stdin.inputs == ("1 2\n", "3 4\n") and stdin.id == "apps/7"
    assert two_sum.entry_point == "Solution.twoSum" and two_sum.inputs[0] == ([2, 7], 9)
    assert two_sum.starter_code.startswith("from typing import *") and two_sum.starter_code.endswith("-> List[int]:")
    assert count.inputs == (([1, 2], 3),) and count.id == "livecodebench/x1"
    assert "line 4" in loaded.excluded[0]
    assert all(p.split == "train" and p.reference is None for p in loaded.problems)
    assert "31337" not in json.dumps([own.record_of(p) for p in loaded.problems])


def test_evalplus_is_held_out_with_its_own_inputs(tmp_path: Path) -> None:
    prompt = 'def add(a, b):\n    """Add."""\n'
    record = {
        "task_id": "HumanEval/900",
        "prompt": prompt,
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "base_input": [[1, 2]],
        "plus_input": [[3, 4], [5, 6]],
        "test": "",
    }
    path = tmp_path / "plus.jsonl"
    path.write_text(json.dumps(record))
    (problem,) = load_problems(path, _sandbox).problems
    assert problem.split == "held-out" and problem.inputs == ((1, 2), (3, 4), (5, 6))
    assert problem.reference == prompt + "    return a + b\n\n" and problem.starter_code == prompt.strip()
