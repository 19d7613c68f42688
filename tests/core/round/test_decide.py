"""The verdict of a round asks the validation split and the guard, which reads no label, and says why in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.problems.problem import Problem
from conself_local.round.decide import decide
from conself_local.settings import LAPTOP, Settings, change_settings
from conself_local.stages.execute import limits_key, limits_of
from conself_local.store.reports import round_report
from conself_local.store.store import RoundInfo, Store
from tests.fakes.scripted_round import start_round

PROBLEMS = [
    Problem(f"v/{i}", f"Do {i}.", "function", ((1,), (2,)), "validation", "f", "def f(n):", "def f(n):\n    return n\n")
    for i in range(40)
]
GUARDED = change_settings(LAPTOP, {"acceptance.guard": True})
USUAL, OTHER = "aaaab", "bbbba"
"""The behaviours of five answers."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield a store that holds the problems."""
    with Store(tmp_path / "conself.db") as store:
        store.ensure_problems(PROBLEMS)
        yield store


def _round(store: Store, changed: int, difference: float = 0.01, settings: Settings = GUARDED) -> RoundInfo:
    """Store a judged round whose adapter answers `changed` problems otherwise than the base."""
    round_ = start_round(store, settings, [])
    with store.transaction():
        for i, problem in enumerate(PROBLEMS):
            for arm, letters in (("base", USUAL), ("adapter", OTHER if i < changed else USUAL)):
                for number, letter in enumerate(letters):
                    _store_answer(store, round_, problem, arm, number, letter)
    result = json.dumps({"difference": difference})
    row = {"round_id": round_.id, "benchmark": "validation", "result": result, "created_at_utc": "now"}
    store.db.table("evaluations").insert(row)
    files = {"peft_path": "p", "path": "g", "sha256": "s", "parent_id": None}
    store.insert_adapter({"name": "round-1", "round_id": round_.id} | files)
    return round_


def _store_answer(store: Store, round_: RoundInfo, problem: Problem, arm: str, number: int, letter: str) -> None:
    limits = limits_key(limits_of(round_.settings))
    program = store.ensure_program(problem, f"def f(n):\n    return {letter!r} * n\n")
    if not store.value("select 1 from executions where program_id = ?", program):
        outputs = [("ok", repr(letter * n), "") for n in (1, 2)]
        execution = {"load_status": "ok", "load_detail": "", "compiled": 1, "deterministic": 1, "wall_s": 0, "cpu_s": 0}
        store.insert_execution({"program_id": program, "limits": limits} | execution, outputs)
    key = f"{round_.id}/validation/{arm}/{problem.id}/{number}"
    place = {"id": key, "round_id": round_.id, "benchmark": "validation", "arm": arm, "problem_id": problem.id}
    content = {"mode": "sampled", "number": number, "text": "t", "finish": "fence", "tokens": 30, "seed": 1}
    store.db.table("evaluation_samples").insert(place | content | {"program_id": program, "mean_nll": 0.5})


def _verdict(store: Store, round_: RoundInfo) -> tuple[str, str]:
    """Return the verdict and the state of the adapter."""
    summary = decide(store, round_, 1)
    store.finish_stage(round_.id, "decide", summary)
    return summary, store.adapter(1)["state"]


def test_a_round_that_keeps_its_variety_is_accepted(store: Store) -> None:
    summary, state = _verdict(store, _round(store, changed=3))
    assert state == "accepted" and summary.startswith("accepted: +1.0 points pass@1 on the validation split")
    assert round_report(store, 1)["stages"]["guard"] == "the guard found no loss of variety"


def test_a_round_that_changes_what_was_sure_is_refused_in_words(store: Store) -> None:
    summary, state = _verdict(store, _round(store, changed=5))
    reason = "the guard refuses the round: the consensus changed on 12.5% of 40 problems"
    assert state == "rejected" and summary.startswith(f"rejected: {reason}")
    assert summary.endswith("the model is unchanged")
    stages = round_report(store, 1)["stages"]
    assert reason in stages["guard"] and reason in stages["decide"]


def test_both_reasons_are_given(store: Store) -> None:
    summary, state = _verdict(store, _round(store, changed=5, difference=-0.02))
    assert state == "rejected" and "-2.0 points" in summary and "the guard refuses" in summary


def test_the_setting_switches_the_guard_off(store: Store) -> None:
    off = change_settings(LAPTOP, {"acceptance.guard": False})
    summary, state = _verdict(store, _round(store, changed=40, settings=off))
    assert state == "accepted" and "guard" not in round_report(store, 1)["stages"] and "guard" not in summary


def test_labels_do_not_matter_to_the_guard(store: Store) -> None:
    round_ = _round(store, changed=5)
    before = _verdict(store, round_)
    store.db.execute("update evaluation_samples set correct = 1")
    store.db.execute("update problems set reference = null")
    assert _verdict(store, round_) == before


def test_with_few_problems_nothing_is_refused(store: Store) -> None:
    round_ = _round(store, changed=30)
    few = [f"v/{i}" for i in range(29)]
    store.db.execute(
        "delete from evaluation_samples where problem_id not in (select value from json_each(?))", [json.dumps(few)]
    )
    _, state = _verdict(store, round_)
    assert state == "accepted" and "29 problems are too few" in (store.stage_summary(1, "guard") or "")


def test_without_an_adapter_or_a_result_nothing_is_decided(store: Store) -> None:
    round_ = start_round(store, LAPTOP, [])
    assert "no adapter was trained" in decide(store, round_, None)
    assert "not evaluated" in decide(store, round_, 1) and store.stage_summary(1, "guard") is None
