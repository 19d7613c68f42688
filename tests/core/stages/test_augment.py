"""The stage that augments test inputs, on a real store and sandbox, splits clusters that the given inputs merge, once.

`conself verify` agrees with what it stores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from conself_local.events import ignore_events
from conself_local.method.entropy import clusters
from conself_local.problems.problem import Problem
from conself_local.round.verify import verify_store
from conself_local.settings import LAPTOP, change_settings, replace_values
from conself_local.stages.augment import ask_for_inputs, augment_inputs
from conself_local.stages.execute import execute_programs, limits_of
from conself_local.stages.score import load_evidence, score_problems
from conself_local.stages.seeds import seed_for
from conself_local.store.store import RoundInfo, Store
from sandbox import Limits, Sandbox
from sandbox.protocol import NOT_RUN
from tests.fakes.small_round import TRAIN

DOUBLE = Problem("t/double", "Return n times 2.", "function", ((0,), (2,)), "train", "double", "def double(n):")
CODES = {
    "double": "def double(n):\n    return n * 2\n",
    "sum": "def double(n):\n    return n + n\n",
    "square": "def double(n):\n    return n * n\n",
    "shift": "def double(n):\n    return n << 1\n",
    "crash": "def double(n):\n    return m\n",
}
HANG = "def double(n):\n    while n not in (0, 2):\n        pass\n    return n * 2\n"


def _make_sandbox(limits: Limits) -> Sandbox:
    return Sandbox(limits, workers=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Yield an empty store."""
    with Store(tmp_path / "conself.db") as store:
        yield store


def _round(store: Store, problem: Problem, codes: list[str], grown: int = 4) -> RoundInfo:
    """Store a round with one sample per code, as if a model had written it, and execute the programs."""
    settings = replace_values(
        LAPTOP,
        {
            "sampling.observations": 1,
            "sampling.programs_per_observation": len(codes),
            "augmentation.max_inputs": grown,
        },
    )
    round_ = store.start_round(
        seed=3,
        settings=settings,
        model_path=Path("m.gguf"),
        model_sha256="0" * 64,
        template_hash="0",
        base_adapter_id=None,
        versions={},
        request={},
        problems=[problem],
    )
    prompt = store.ensure_prompt("p", [1])
    for number, code in enumerate(codes):
        text = f"{code.removeprefix(problem.starter_code)}```"  # the text after the answer prefix
        store.insert_sample(
            {
                "id": f"{round_.id}/{problem.id}/0/{number}",
                "round_id": round_.id,
                "problem_id": problem.id,
                "observation": 0,
                "number": number,
                "prompt_id": prompt,
                "program_id": store.ensure_program(problem, code),
                "text": text,
                "token_ids": "[1]",
                "finish": "fence",
                "mean_nll": 0.1,
                "mean_entropy_bits": 0.1,
                "seed": seed_for(3, problem.id, 0, number),
            }
        )
    execute_programs(store, round_, _make_sandbox, ignore_events)
    return round_


def _clusters(store: Store, round_: RoundInfo, problem: Problem) -> list[int | None]:
    return clusters(load_evidence(store, round_, problem).behaviours)


def test_an_augmented_input_splits_a_cluster_that_the_given_inputs_merge(store: Store) -> None:
    round_ = _round(store, DOUBLE, list(CODES.values()))
    assert _clusters(store, round_, DOUBLE) == [0, 0, 0, 0, None]
    augment_inputs(store, round_, _make_sandbox, ignore_events)
    assert _clusters(store, round_, DOUBLE) == [0, 0, 1, 0, None]
    kept = store.rows("select text from grown_inputs where round_id = ?", round_.id)
    assert len(kept) == 1 == store.value("select grown from round_problems where round_id = ?", round_.id)
    before = store.rows("select * from executions")
    augment_inputs(store, round_, _make_sandbox, ignore_events)
    assert store.rows("select * from executions") == before and len(before) == len(CODES) + 4
    score_problems(store, round_, ignore_events)
    assert store.value("select entropy_bits from metrics where round_id = ?", round_.id) == pytest.approx(
        0.8113, abs=1e-4
    )
    assert [d for d in verify_store(store) if "prompts" not in d and "adapters" not in d] == []
    store.db.execute("delete from grown_inputs")
    assert any("does not have one output per input" in difference for difference in verify_store(store))


def test_nothing_is_added_if_no_programs_can_be_distinguished(store: Store) -> None:
    for codes in ([CODES["double"], CODES["sum"]], [CODES["double"]], [CODES["crash"]]):
        round_ = _round(store, DOUBLE, codes)
        augment_inputs(store, round_, _make_sandbox, ignore_events)
        assert not store.rows("select * from grown_inputs where round_id = ?", round_.id)
        assert store.value("select grown from round_problems where round_id = ?", round_.id) == 0
    off = _round(store, DOUBLE, list(CODES.values()), grown=0)
    augment_inputs(store, off, _make_sandbox, ignore_events)
    assert store.value("select grown from round_problems where round_id = ?", off.id) is None


def test_a_program_that_hangs_splits_nothing(store: Store) -> None:
    round_ = _round(store, DOUBLE, [CODES["double"], CODES["sum"], HANG])
    augment_inputs(store, round_, _make_sandbox, ignore_events)
    assert store.value("select count(*) from grown_inputs") == 0 and verify_store(store) == []


def test_kept_inputs_are_run_under_the_limits_of_the_round(store: Store) -> None:
    round_ = _round(store, DOUBLE, [CODES["double"], CODES["square"], HANG], grown=1)
    seen: list[tuple[Limits, int]] = []

    def make(limits: Limits) -> Sandbox:
        seen.append((limits, int(store.value("select count(*) from grown_inputs"))))
        return _make_sandbox(limits)

    augment_inputs(store, round_, make, ignore_events)
    assert {limits.wall_s for limits, _ in seen[:-1]} == {1.0} and seen[-1][0] == limits_of(round_.settings)
    sql = "select b.outputs from executions e join behaviours b on b.id = e.behaviour_id where e.limits like '%grown%'"
    outputs = [json.loads(row["outputs"]) for row in store.rows(sql)]
    assert len(outputs) == 3 and sorted(status for ((status, _, _),) in outputs) == ["ok", "ok", "timeout"]
    assert all(detail != NOT_RUN for ((_, _, detail),) in outputs) and verify_store(store) == []


def test_an_input_that_most_programs_refuse_is_not_kept(store: Store) -> None:
    refuses = [f"def double(n):\n    assert n in (0, 2)\n    return n * 2 + {i} * 0\n" for i in range(3)]
    round_ = _round(store, DOUBLE, [CODES["double"], CODES["square"], *refuses])
    augment_inputs(store, round_, _make_sandbox, ignore_events)
    assert not store.rows("select * from grown_inputs where round_id = ?", round_.id)


def test_inputs_that_the_model_proposes_are_tried_first(store: Store) -> None:
    round_ = _round(store, DOUBLE, list(CODES.values()))
    row = {"round_id": round_.id, "problem_id": DOUBLE.id, "texts": json.dumps(["(7,)", "(0,)"])}
    store.db.table("asked_inputs").insert(row)
    augment_inputs(store, round_, _make_sandbox, ignore_events)
    assert store.rows("select text from grown_inputs where round_id = ?", round_.id) == [{"text": "(7,)"}]


@pytest.mark.model
def test_the_model_is_asked_once_per_problem_and_only_literals_are_read(store: Store) -> None:
    from conself_local.model_files.bundled import bundled_model
    from conself_local.model_files.model_file import load_model_file
    from conself_local.problems.load import load_starter
    from conself_local.sampling.engine_process import LlamaProcess

    problems = [p for p in load_starter(("train",)) if p.id in TRAIN]
    settings = change_settings(LAPTOP, {"augmentation.ask_model": True})
    round_ = store.start_round(
        seed=3,
        settings=settings,
        model_path=Path("m.gguf"),
        model_sha256="0" * 64,
        template_hash="0",
        base_adapter_id=None,
        versions={},
        request={},
        problems=problems,
    )
    with LlamaProcess(load_model_file(bundled_model()), slots=4, context_tokens=4096, threads=2) as engine:
        ask_for_inputs(store, round_, engine, None, ignore_events)
        asked = store.rows("select problem_id, texts from asked_inputs order by problem_id")
        assert {row["problem_id"] for row in asked} == set(TRAIN)
        ask_for_inputs(store, round_, engine, None, ignore_events)
    assert store.rows("select problem_id, texts from asked_inputs order by problem_id") == asked
