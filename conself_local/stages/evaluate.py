"""Stage 8, `evaluate`: compare the model before the round with the model after it, on the same problems and seeds.

The arm `base` is the model that the round started from, the arm `adapter` is the model with the round's adapter.
A program is right if its outputs equal those of the reference program, which runs on the same inputs in the same
sandbox. Not covered: sampling the answers (`answers.py`), reading the judged ones (`judged.py`), the ranking measure
(`ranking.py`), judging outputs and the statistics (`evaluation/`), and the decision about the adapter (`round/run.py`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conself_local.evaluation.compare import compare
from conself_local.events import ItemStored, OnEvent, StageDone, StageStarted
from conself_local.sampling.endpoint import EndpointSampler
from conself_local.sampling.sampler import Sampler
from conself_local.stages.answers import sample_answers
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.execute import limits_key, limits_of, run_and_store
from conself_local.stages.judged import judged_correct, load_arms
from conself_local.stages.ranking import score_bank
from conself_local.store.store import RoundInfo, Store, now_utc
from sandbox import MakeSandbox


def evaluate(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    make_sandbox: MakeSandbox,
    on_event: OnEvent,
    *,
    source: str,
) -> None:
    """Sample, run, judge and compare both arms on one benchmark; store the result as one row of `evaluations`.

    `adapters` maps both names of `ARMS` to adapter files (None: the base model); `source` names engine and weights
    format. Does nothing if the result is stored.
    """
    stage = f"evaluate {benchmark.name}"
    if store.value("select 1 from evaluations where round_id = ? and benchmark = ?", round_.id, benchmark.name):
        return
    sample_and_run(store, round_, benchmark, sampler, adapters, make_sandbox, on_event, source=source)
    ranking = _rank(store, round_, benchmark, sampler, adapters, source, on_event)
    result = compare(load_arms(store, round_, benchmark), seed=round_.seed, ranking=ranking)
    row = {
        "round_id": round_.id,
        "benchmark": benchmark.name,
        "result": json.dumps(result),
        "created_at_utc": now_utc(),
    }
    store.db.table("evaluations").insert(row)
    store.finish_stage(round_.id, stage, result["verdict"])
    on_event(StageDone(stage, result["verdict"]))


def sample_and_run(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    make_sandbox: MakeSandbox,
    on_event: OnEvent,
    *,
    source: str,
) -> None:
    """Sample the arms that `adapters` names, run their programs, and store which answers are right.

    Samples and executions that are stored already are not repeated; judging is.
    """
    store.ensure_problems(benchmark.problems)
    sample_answers(store, round_, benchmark, sampler, adapters, source, on_event)
    _execute(store, round_, benchmark, make_sandbox, on_event)
    _judge(store, round_, benchmark)


def _rank(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    source: str,
    on_event: OnEvent,
) -> dict[str, Any] | None:
    """Return the result of the ranking measure, the reason why there is none, or None if it was not asked for."""
    if not round_.settings.evaluation.ranking_programs:
        return None
    if isinstance(sampler, EndpointSampler):
        return {"reason": "the servers return no log-probabilities of a given text"}
    return score_bank(store, round_, benchmark, sampler, adapters, source, on_event)


def _execute(
    store: Store, round_: RoundInfo, benchmark: Benchmark, make_sandbox: MakeSandbox, on_event: OnEvent
) -> None:
    """Run the sampled programs and the references that have no stored execution under the round's limits."""
    with store.transaction():
        references = [store.ensure_program(p, p.reference) for p in benchmark.problems if p.reference]
    limits = limits_of(round_.settings)
    sampled = (
        "select program_id from evaluation_samples where round_id = ? and benchmark = ? and program_id is not null"
    )
    pending = store.pending_programs(sampled, limits_key(limits), round_.id, benchmark.name)
    marks = ",".join("?" * len(references))
    pending += store.pending_programs(marks, limits_key(limits), *references)
    unique = list({row["id"]: row for row in pending}.values())
    stage = f"evaluate {benchmark.name}: run"
    on_event(StageStarted(stage, 0, len(unique)))
    for done, result in enumerate(run_and_store(store, unique, limits, make_sandbox), 1):
        on_event(ItemStored(stage, done, len(unique), result.program_id[:8]))


def _judge(store: Store, round_: RoundInfo, benchmark: Benchmark) -> None:
    """Store for every answer of the benchmark whether it is right, if its problem has a reference."""
    with store.transaction():
        for problem in (one for one in benchmark.problems if one.reference is not None):
            for id, _, correct in judged_correct(store, round_, benchmark.name, problem):
                store.db.table("evaluation_samples").update(id, {"correct": correct})
