"""Problem files are imported and checked: a broken record of any format gives one clear line, repeats are reported."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conself_local.problems.formats import own
from conself_local.problems.load import load_problems, load_starter, read_problems
from conself_local.problems.overlap import Overlap, Repeats
from conself_local.problems.problem import Problem
from conself_local.problems.records import Fault
from conself_local.round.start import without_overlap
from sandbox import Limits, Sandbox
from sandbox.values import UnusableInputError
from tests.fakes.small_round import run_conself

STARTER = "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        "
WHOLE: dict[str, dict[str, Any]] = {
    "own": {
        "id": "mine/1",
        "statement": "Return n doubled.",
        "kind": "function",
        "split": "train",
        "entry_point": "double",
        "starter_code": "def double(n):",
        "inputs": ["(1,)", "(2,)"],
    },
    "mbpp": {
        "task_id": 700,
        "text": "Write a function to add two numbers.",
        "code": "def add(x, y):\n    return x + y",
        "test_list": ["assert add(1, 2) == 31337"],
    },
    "human_eval": {
        "task_id": "HumanEval/901",
        "prompt": 'def add(a, b):\n    """Add."""\n',
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
        "entry_point": "add",
    },
    "evalplus": {
        "task_id": "HumanEval/900",
        "prompt": 'def add(a, b):\n    """Add."""\n',
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "base_input": [[1, 2]],
        "plus_input": [[3, 4]],
        "test": "",
    },
    "apps": {
        "problem_id": 7,
        "question": "Add the two numbers given.",
        "solutions": "[]",
        "starter_code": "",
        "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["31337"]}),
    },
    "taco": {
        "question": "Two sum of a list.",
        "solutions": "[]",
        "starter_code": STARTER,
        "input_output": json.dumps({"fn_name": "twoSum", "inputs": [[[2, 7], 9]], "outputs": [31337]}),
    },
    "livecodebench": {
        "question_id": "x1",
        "question_content": "Count two.",
        "starter_code": STARTER,
        "private_test_cases": "gASV",
        "public_test_cases": json.dumps([{"input": "[1]\n2", "output": "31337", "testtype": "functional"}]),
        "metadata": json.dumps({"func_name": "twoSum"}),
    },
}
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "own": ({"inputs": ["open('x')"]}, "not a Python literal"),
    "mbpp": ({"code": "def add(x, y:"}, "its code does not parse"),
    "human_eval": ({"canonical_solution": "    return a - b\n"}, "its reference fails its own test"),
    "evalplus": ({"plus_input": [3]}, "its inputs are not lists of arguments"),
    "apps": ({"input_output": '{"inputs": [[["nested"]]'}, "input_output is not valid JSON"),
    "taco": ({"input_output": '{"fn_name": "twoSum", "inputs": [7]}'}, "not a list of arguments"),
    "livecodebench": ({"metadata": "{}"}, "metadata names no function"),
}


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("name", WHOLE)
def test_every_format_is_read_and_a_broken_record_gives_one_clear_line(name: str, tmp_path: Path) -> None:
    change, why = BROKEN[name]
    path = _write(
        tmp_path / f"{name}.jsonl", WHOLE[name], WHOLE[name] | change | ({"id": "mine/2"} if name == "own" else {})
    )
    whole, broken = list(read_problems(path, _sandbox)) if name != "human_eval" else _both_human_eval(tmp_path, change)
    assert isinstance(whole, Problem) and "31337" not in json.dumps(own.record_of(whole))
    assert not isinstance(broken, Problem) and broken.line == 2 and why in broken.why and "\n" not in broken.why, broken


FIELD_OF_STATEMENT = ("statement", "question", "text", "prompt", "question_content")


@pytest.mark.parametrize("name", WHOLE)
def test_a_record_without_a_field_is_a_fault_of_that_record_and_the_field_is_named(name: str, tmp_path: Path) -> None:
    """One record of a published set without its statement ended a round on the whole file."""
    field = next(one for one in FIELD_OF_STATEMENT if one in WHOLE[name])
    without = {key: value for key, value in WHOLE[name].items() if key != field}
    whole = [WHOLE["own"] | {"id": "mine/9", "statement": "Answer something else."}]
    (_, fault) = read_problems(_write(tmp_path / "missing.jsonl", *whole, without), _sandbox)
    assert isinstance(fault, Fault) and "no known format has the fields" in fault.why
    assert f"the field {field} is missing" in fault.why and fault.fixable == (name == "own")
    null = WHOLE[name] | {field: None}
    (_, fault) = read_problems(_write(tmp_path / "null.jsonl", *whole, null), _sandbox)
    assert isinstance(fault, Fault) and f"{field} is missing" in fault.why, fault


def _both_human_eval(tmp_path: Path, change: dict[str, Any]) -> list[Any]:
    """Return the whole and the broken problem; HumanEval's are recorded together, so they need two ids."""
    path = _write(
        tmp_path / "two.jsonl", WHOLE["human_eval"], WHOLE["human_eval"] | change | {"task_id": "HumanEval/902"}
    )
    return list(read_problems(path, _sandbox))


def test_import_writes_our_format_and_reports_what_was_left_out(tmp_path: Path) -> None:
    held_out = load_starter(("held-out",))[0]
    copied = own.record_of(replace(held_out, id="mine/copy", split="train", reference=None))
    repeated = WHOLE["own"] | {"id": "mine/again"}
    source = _write(
        tmp_path / "set.jsonl",
        WHOLE["own"],
        repeated,
        copied,
        WHOLE["apps"],
        WHOLE["apps"] | {"problem_id": 8, "input_output": "{}"},
        WHOLE["evalplus"],
        WHOLE["own"] | {"id": "mine/node", "statement": "Reverse it.", "starter_code": "def double(n: ListNode):"},
    )
    done = run_conself(tmp_path / "h", "problems", "import", str(source), "--to", str(tmp_path / "mine.jsonl"))
    assert done.returncode == 0, done.stderr
    ids = [json.loads(line)["id"] for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert ids == ["mine/1", "apps/7", "HumanEval/900"]
    for words in (
        "2 training problems",
        "1 held out",
        f"mine/copy says the same as {held_out.id}",
        "mine/again repeats mine/1",
        "line 5: ",
        "1 left out: repeated",
        "mine/node: its first line does not run (NameError)",
    ):
        assert words in done.stdout, done.stdout
    again = run_conself(tmp_path / "h", "problems", "import", str(source), "--to", str(tmp_path / "mine.jsonl"))
    assert again.returncode == 2 and "already exists" in again.stderr


@pytest.mark.round
def test_import_draws_the_wanted_number_by_the_seed(tmp_path: Path) -> None:
    source = tmp_path / "pack.jsonl"
    _write(source, *(own.record_of(p) for p in [*load_starter(("train",))[:60], *load_starter(("validation",))[:9]]))

    def drawn(seed: str) -> list[str]:
        target = tmp_path / f"{seed}.jsonl"
        done = run_conself(
            tmp_path / "h", "problems", "import", str(source), "--to", str(target), "--limit", "7", "--seed", seed
        )
        assert "7 training problems" in done.stdout, done.stdout + done.stderr
        return [
            json.loads(line)["id"] for line in target.read_text().splitlines() if json.loads(line)["split"] == "train"
        ]

    first = drawn("1")
    assert len(first) == 7 and first != drawn("2")


def test_check_names_every_mistake_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "# mine\n[[problem]]\nstatement = 'Say hello to a name.'\ninputs = ['Ann']\n\n[[problem]]\nstatement = 'x'\ninputs = []\n"
        "[[problem]]\nstatement = 'y'\nstarter_code = 'def f(n)'\ninputs = ['1']\n"
    )
    done = run_conself(tmp_path / "h", "problems", "check", str(path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        f"{path}, line 6: problem 2: inputs must be 1 to" in done.stdout
        and f"{path}, line 9: problem 3: starter_code" in done.stdout
    )
    assert (
        "fewer than 3 test inputs" in done.stderr
        and "format that the examples do not show" in done.stderr
        and "2 to fix" in done.stderr
    )


def test_the_schema_agrees_with_the_reader(tmp_path: Path) -> None:
    schema = json.loads(run_conself(tmp_path / "h", "problems", "schema").stdout)
    good = "[[problem]]\nstatement = 'x'\nstarter_code = 'def f(n):'\ninputs = ['1']\n"
    bad = [
        "[[problem]]\nstatement = 'x'\n",
        good + "colour = 'red'\n",
        good + "reference = 'def f(n): return n'\n",
        good + "split = 'exam'\n",
        "[[problem]]\nstatement = ''\ninputs = ['1']\n",
    ]
    jsonschema.validate(tomllib.loads(good), schema)
    for text in bad:
        path = tmp_path / "p.toml"
        path.write_text(text)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(tomllib.loads(text), schema)
        assert not isinstance(next(iter(read_problems(path, _sandbox))), Problem), text


def _problem(id: str, statement: str, **more: Any) -> Problem:
    return Problem(id, statement, "function", ((1,),), "train", more.pop("entry_point", "f"), **more)


def test_equal_statements_are_found_and_those_that_differ_in_a_word_are_not() -> None:
    judged = Overlap(
        [
            _problem("b/1", "Write a function to find the longest word of a sentence."),
            _problem("b/2", "word " * 3 + " ".join(f"w{i}" for i in range(80))),
        ]
    )
    assert judged.find_similar(_problem("a", "Find the longest word of the given sentence.")) == "b/1"
    assert judged.find_similar(_problem("a", "Find the shortest word of the given sentence.")) is None
    assert judged.find_similar(_problem("a", "Intro text here: " + " ".join(f"w{i}" for i in range(60)))) == "b/2"
    assert judged.find_similar(_problem("a", "Do it.")) is None
    repeats = Repeats()
    assert repeats.find_earlier(_problem("a/1", "Count the vowels of a text.")) is None
    assert repeats.find_earlier(_problem("a/2", "count vowels, text")) == "a/1"
    assert repeats.find_earlier(_problem("a/3", "count vowels, text", entry_point="other")) is None


def test_the_starter_pack_is_clean_and_a_round_excludes_problems_of_its_benchmarks() -> None:
    judged = load_starter(("validation", "held-out"))
    clean, excluded = without_overlap(load_starter(("train",)), judged)
    assert not excluded and len(clean) == len(load_starter(("train",)))
    copied = replace(judged[0], id="copy", split="train", reference=None)
    assert without_overlap([copied], judged) == ([], [f"copy says the same as {judged[0].id}"])


def test_a_problem_with_an_input_that_no_program_can_be_given_is_excluded(tmp_path: Path) -> None:
    """Such an input ended the whole round: once while it was stored, once in the sandbox."""
    whole = own.record_of(load_starter(("train",))[0])
    stdin = {"id": "big", "split": "train", "kind": "stdin", "statement": "Read.", "inputs": ["x" * 11_000_000]}
    function: dict[str, Any] = {
        "id": "f", "split": "train", "kind": "function", "entry_point": "f", "starter_code": "def f(x):", "statement": "f",
    }  # fmt: skip
    odd = [function | {"id": text, "inputs": [f"({text},)"]} for text in ("1j", "{1: 2j}")]
    _write(tmp_path / "p.jsonl", whole, stdin, *odd)
    loaded = load_problems(tmp_path / "p.jsonl", _sandbox)
    assert [problem.id for problem in loaded.problems] == [whole["id"]]
    assert [line.split(":")[0] for line in loaded.excluded] == ["line 2", "line 3", "line 4"]
    assert "larger than" in loaded.excluded[0] and "complex" in loaded.excluded[1]
    with pytest.raises(UnusableInputError, match="NaN"):
        Problem("a", "An input that is not a number.", "function", ((float("nan"),),), "train", "f")


def test_an_input_of_an_unsupported_type_is_refused() -> None:
    with pytest.raises(ValueError, match="complex"):
        Problem("a", "Angle of a complex number.", "function", ((1j,),), "train", "f")


def test_one_json_array_and_numbers_as_ids_are_read(tmp_path: Path) -> None:
    """MBPP's sanitised file is one array over many lines."""
    path = tmp_path / "array.json"
    records = [WHOLE["mbpp"], WHOLE["own"] | {"id": 7}, 5, WHOLE["mbpp"] | {"task_id": 701, "code": "def add(x, y:"}]
    path.write_text(json.dumps(records, indent=1))
    first, second, third, fourth = read_problems(path, _sandbox)
    assert isinstance(first, Problem) and first.id == "mbpp/700" and isinstance(second, Problem) and second.id == "7"
    assert isinstance(third, Fault) and third.line == 3 and isinstance(fourth, Fault) and fourth.line == 4
