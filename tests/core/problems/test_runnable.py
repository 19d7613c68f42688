"""Prescribed first lines are tried in the sandbox, so that no training problem asks for what no program can begin with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conself_local.problems.importing import check_problems, import_problems
from conself_local.problems.load import load_starter
from conself_local.problems.problem import Problem
from conself_local.problems.runnable import first_lines_that_fail, references_that_fail
from sandbox import Limits, Sandbox

RUNS = {
    "plain": "def f(n):",
    "typed": "from typing import *\n\n\ndef f(n: List[int]) -> Optional[int]:",
    "method": "class Solution:\n    def f(self, n: int) -> int:",
    "docstring": 'from math import inf\n\n\ndef f(n, most=inf):\n    """Return n."""',
    "own class": "class Node:\n    pass\n\n\ndef f(n: Node) -> Node:",
    "comment": "def f(n):  # the number",
}
FAILS = {
    "unknown type": ("def f(n: ListNode) -> int:", "NameError"),
    "unknown default": ("def f(n, most=LIMIT):", "NameError"),
    "unknown module": ("import conself_nowhere\n\n\ndef f(n):", "ModuleNotFoundError"),
    "no syntax": ("def f(n", "SyntaxError"),
    "never ends": ("def f(n, x=[1 for _ in iter(int, 1)]):", ""),
}


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _problem(id: str, starter_code: str, reference: str | None = None) -> Problem:
    split = "held-out" if reference else "train"
    return Problem(id, f"Do {id} with n.", "function", ((1,),), split, "f", starter_code, reference)  # type: ignore[arg-type]


def test_first_lines_run_or_their_failure_is_named() -> None:
    stdin = Problem("stdin", "Print.", "stdin", ("1",), "train")
    problems = [_problem(id, code) for id, code in [*RUNS.items(), *((id, code) for id, (code, _) in FAILS.items())]]
    failing = first_lines_that_fail([*problems, stdin, _problem("none", "")], _sandbox)
    assert failing.keys() == FAILS.keys(), failing
    for id, (_, why) in FAILS.items():
        assert failing[id].startswith("its first line does not run (") and why in failing[id]
    assert first_lines_that_fail([], _sandbox) == {}


@pytest.mark.round
def test_the_first_lines_of_the_starter_pack_run() -> None:
    assert first_lines_that_fail(load_starter(), _sandbox) == {}


def test_references_that_answer_nothing_are_named() -> None:
    given = [_problem("good", "", "def f(n):\n    return n"), _problem("bad", "", "def f(n):\n    return 1 // 0")]
    failing = references_that_fail([*given, _problem("none", "")], _sandbox)
    assert failing == {"bad": "its reference answers none of its inputs (ZeroDivisionError)"}


def _written(path: Path) -> Path:
    fields = {"kind": "function", "split": "train", "entry_point": "f", "inputs": ["(1,)", "(2,)", "(3,)"]}
    codes = RUNS | {id: code for id, (code, _) in FAILS.items() if id != "never ends"}
    records = [fields | {"id": id, "statement": f"Do {id}.", "starter_code": code} for id, code in codes.items()]
    records.append(fields | {"id": "wrong", "statement": "x", "split": "validation", "reference": "def f(m): return n"})
    path.write_text("\n".join(map(json.dumps, records)))
    return path


@pytest.mark.round
def test_an_import_leaves_out_training_problems_whose_first_line_does_not_run(tmp_path: Path) -> None:
    """Every program of such a problem failed, in every round."""
    source, target = _written(tmp_path / "p.jsonl"), tmp_path / "out.jsonl"
    report = import_problems(source, target, _sandbox, limit=None, seed=0, on_progress=lambda done: None)
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == list(RUNS)
    assert f"{len(FAILS)} left out: cannot be run" in report.sentences()


@pytest.mark.round
def test_a_check_names_first_lines_that_do_not_run(tmp_path: Path) -> None:
    source = _written(tmp_path / "p.jsonl")
    faults, _ = check_problems(source, _sandbox)
    assert f"{source}, unknown type: its first line does not run (NameError)" in faults
    assert f"{source}, wrong: its reference answers none of its inputs (NameError)" in faults
