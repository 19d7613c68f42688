"""Problem files: our own, MBPP and HumanEval; expected outputs never reach a training problem or a prompt."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.problems.formats import human_eval, mbpp, own
from conself_local.problems.load import load_problems, load_starter
from conself_local.sampling.prompts import answer_prefix, program_messages
from conself_local.session import pick_problems
from sandbox import Limits, Sandbox

MBPP = {
    "task_id": 700, "text": "Write a function to add.", "code": "def add(x, y):\r\n    return x + y",
    "test_list": ["assert add(1, 2) == 31337", "assert add([1], [2]) == [1, 2]", "assert add(f(1), 2) == 3"],
}  # fmt: skip


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=2)


def test_own_format_is_read_back() -> None:
    for problem in load_starter():
        assert own.problem_of(json.loads(json.dumps(own.record_of(problem)))) == problem


def test_mbpp_gives_name_and_argument_count_and_no_expected_output() -> None:
    problem = mbpp.problem_of(MBPP)
    assert problem is not None and problem.split == "train" and problem.reference is None
    assert problem.inputs == ((1, 2), ([1], [2])) and problem.starter_code == "def add(arg1, arg2):"
    prompt = program_messages(problem)[0].content + answer_prefix(problem)
    assert "`add`" in prompt and "2 arguments" in prompt and "31337" not in prompt
    assert "31337" not in json.dumps(own.record_of(problem))
    splits = [(n, p and p.split) for n in (10, 11, 510, 511, 600, 601, 974) for p in [mbpp.problem_of(MBPP | {"task_id": n})]]
    assert splits == [(10, None), (11, "held-out"), (510, "held-out"), (511, "validation"), (600, "validation"),
                      (601, "train"), (974, "train")]  # fmt: skip
    validation = mbpp.problem_of(MBPP | {"task_id": 511})
    assert validation is not None and validation.reference == "def add(x, y):\n    return x + y"


def test_mbpp_file_leaves_out_what_has_no_literal_inputs(tmp_path: Path) -> None:
    path = tmp_path / "mbpp.jsonl"
    without = MBPP | {"task_id": 701, "test_list": ["assert add(open('x')) == 1"]}
    path.write_text(json.dumps(MBPP) + "\n" + json.dumps(without) + "\n")
    loaded = load_problems(path, _sandbox)
    assert [p.id for p in loaded.problems] == ["mbpp/700"] and "task 701" in loaded.left_out[0]


def test_human_eval_inputs_are_recorded_in_the_sandbox() -> None:
    loaded = load_problems(human_eval.packaged_file(), _sandbox)
    assert len(loaded.problems) + len(loaded.left_out) == 164 and len(loaded.problems) >= 160
    by_id = {p.id: p for p in loaded.problems}
    assert ([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) in by_id["HumanEval/0"].inputs
    assert all(p.split == "held-out" and p.reference and p.starter_code[:20] in p.reference for p in loaded.problems)


def test_a_damaged_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(5000).hex().encode())[:2000])
    with pytest.raises(ConselfError, match="cannot be read"):
        load_problems(path, _sandbox)


def test_limit_draws_by_the_seed_in_order() -> None:
    train = load_starter(("train",))
    drawn = pick_problems(train, 10, seed=1)
    assert len(drawn) == 10 and drawn == pick_problems(train, 10, seed=1) != pick_problems(train, 10, seed=2)
    assert [p for p in train if p in drawn] == drawn and pick_problems(train, None, 1) == train
    with pytest.raises(ConselfError, match="at least 1"):
        pick_problems(train, 0, 1)
