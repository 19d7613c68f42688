"""The user's own questions train on request, alone or beside a file, and never if a benchmark holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.errors import ConselfError
from conself_local.problems.formats.by_hand import text_of
from conself_local.problems.formats.human_eval import packaged_file
from conself_local.problems.load import load_starter, read_problems
from conself_local.problems.problem import Problem
from conself_local.problems.records import json_records
from conself_local.round.own_questions import LEFT_OUT, compare_questions, own_problems, read_edited
from conself_local.round.start import Request, open_round
from conself_local.store.kept_questions import AnsweredQuestion, Votes, keep_question, load_questions, set_taken
from conself_local.store.store import Store
from sandbox import Limits, Sandbox
from tests.fakes.small_round import TRAIN, write_problems
from tests.fakes.tiny_model import write_tiny_model


def _sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


def _problem(statement: str, name: str = "f", starter_code: str = "") -> Problem:
    return Problem(
        "mine", statement, "function", ((1,), ("a\n\\\"'",)), "train", name, starter_code or f"def {name}(n):"
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store with three questions: one of a benchmark, one of the user's own, one that is left out."""
    judged = next(one for one in load_starter(("held-out",)) if one.kind == "function" and one.starter_code)
    with Store(tmp_path / "conself.db") as opened:
        asked = (
            _problem(judged.statement, judged.entry_point, judged.starter_code),
            _problem("Count the zebrafinches of a garden by f."),
            _problem("Count the peacocks of a castle by f."),
        )
        for number, problem in enumerate(asked):
            keep_question(opened, AnsweredQuestion(f"question {number}", problem, Votes()))
        set_taken(opened, 3, False)
        yield opened


def test_a_question_of_a_benchmark_and_one_that_is_left_out_do_not_train(store: Store) -> None:
    reasons = [one.exclusion_reason for one in compare_questions(load_questions(store))]
    assert "says the same as" in reasons[0] and reasons[1:] == ["", LEFT_OUT]
    problems, excluded = own_problems(store)
    assert [problem.statement for problem in problems] == ["Count the zebrafinches of a garden by f."]
    assert excluded == [reasons[0]]


def test_a_question_of_human_eval_does_not_train(store: Store) -> None:
    try:
        _, record = next(json_records(packaged_file()))
    except ConselfError:
        pytest.skip("HumanEval is not installed")
    assert isinstance(record, dict)
    keep_question(store, AnsweredQuestion("?", _problem(record["prompt"], record["entry_point"]), Votes()))
    assert "says the same as HumanEval/0" in compare_questions(load_questions(store))[3].exclusion_reason


def _training(store: Store, tmp_path: Path, **request: object) -> list[str]:
    model = tmp_path / "tiny.gguf"
    if not model.exists():
        write_tiny_model(model)
    wanted = Request(model=model, new=True, trains=False, benchmarks=(), **request)  # type: ignore[arg-type]
    round_, _, _ = open_round(store, wanted, _sandbox)
    return [problem.id for problem in store.round_problems(round_.id)]


def test_a_round_trains_on_the_questions_alone_or_beside_a_file(store: Store, tmp_path: Path) -> None:
    own = load_questions(store)[1].problem.id
    assert _training(store, tmp_path, problems=Path("mine")) == [own]
    path = write_problems(tmp_path / "small.jsonl")
    assert _training(store, tmp_path, problems=path, with_mine=True) == [own, *TRAIN]
    assert _training(store, tmp_path, problems=path, with_mine=True, limit=1)[0] == own
    assert _training(store, tmp_path, problems=path) == list(TRAIN)


def test_a_round_on_the_questions_is_continued_and_another_request_refused(store: Store, tmp_path: Path) -> None:
    own = _training(store, tmp_path, problems=Path("mine"))
    for same in (Request(trains=False), Request(problems=Path("mine"), trains=False)):
        round_, _, benchmarks = open_round(store, same, _sandbox)
        assert [problem.id for problem in store.round_problems(round_.id)] == own
        assert benchmarks == []
    with pytest.raises(ConselfError, match="different --with-mine"):
        open_round(store, Request(with_mine=True, trains=False), _sandbox)


def test_without_a_question_that_trains_the_user_learns_where_to_look(store: Store, tmp_path: Path) -> None:
    set_taken(store, 2, False)
    with pytest.raises(ConselfError, match="mine has no training problem") as raised:
        _training(store, tmp_path, problems=Path("mine"))
    assert "conself problems mine" in raised.value.hint


@pytest.mark.parametrize(
    "problem",
    [
        _problem('Say "hello", """twice""" and \\n.\x1b[2J\n\nEnd with a quote: "'),
        _problem("One argument or none.", starter_code="from typing import *\n\n\ndef f(n: List[int] = ()) -> str:"),
        dataclasses.replace(_problem("None."), inputs=((), ((1, 2), [3]), ((),), ("x,",))),
        Problem("mine", "Echo it.", "stdin", ("1\n2\n", '"quoted"', ""), "train"),
    ],
)
def test_an_edit_that_changes_nothing_gives_the_same_problem(problem: Problem, tmp_path: Path) -> None:
    path = tmp_path / "question.toml"
    path.write_text(text_of(problem), encoding="utf-8")
    (found,) = read_problems(path, _sandbox)
    assert isinstance(found, Problem), found
    assert dataclasses.replace(found, id=problem.id) == problem


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('statement = """', 'statment = """', "unknown field 'statment'"),
        ("[[problem]]", '[[problem]]\nsplit = "held-out"', "split must be train"),
        ("[[problem]]", '[[problem]]\nreference = "x"', "must have no reference"),
        ("def f(n):", "def f(n=Nothing):", "does not run"),
        ("inputs = [", "inputs = [\n  \"1 +\",", "not a Python literal"),
        ("[[problem]]", '[[problem]]\nid = "a"\nstatement = "b"\ninputs = ["1"]\n[[problem]]', "2 problems"),
    ],
)  # fmt: skip
def test_a_wrong_edit_is_refused_with_its_reason(old: str, new: str, reason: str, tmp_path: Path) -> None:
    problem, path = _problem("Count the zebrafinches of a garden by f."), tmp_path / "question.toml"
    path.write_text(text_of(problem).replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConselfError, match=reason) as raised:
        read_edited(path, problem, _sandbox)
    assert "left as it was" in raised.value.hint or "`conself" in raised.value.hint
