"""Stage 8, `evaluate`: compare the model before the round with the model after it, on the same problems and seeds.

The arm `base` is the model that the round started from, the arm `adapter` is the model with the round's adapter.
A program is right if its outputs equal those of the reference program, which runs on the same inputs in the same
sandbox. Not covered: judging outputs and the statistics (`evaluation/`), and the decision about the adapter
(`round/run.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conself_local.evaluation.compare import ArmSamples, compare
from conself_local.evaluation.judge import is_correct
from conself_local.events import ItemStored, OnEvent, StageDone, StageStarted
from conself_local.hashes import program_id
from conself_local.problems.problem import Problem
from conself_local.sampling.extract import extract_program
from conself_local.sampling.sampler import Sampler, SampleRequest
from conself_local.stages.execute import limits_key, limits_of, run_and_store
from conself_local.stages.prompting import encode_program
from conself_local.stages.seeds import seed_for
from conself_local.store.store import RoundInfo, Row, Store, now_utc
from sandbox import MakeSandbox

ARMS = ("base", "adapter")


@dataclass(frozen=True)
class Benchmark:
    """A named list of problems with references."""

    name: str
    problems: Sequence[Problem]
    samples: int
    """Samples per problem and arm, in addition to the greedy one."""


def evaluate(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    make_sandbox: MakeSandbox,
    on_event: OnEvent,
) -> None:
    """Sample, run, judge and compare both arms on one benchmark; store the result as one row of `evaluations`.

    `adapters` maps both names of `ARMS` to adapter files (None: the base model). Does nothing if the result is stored.
    """
    stage = f"evaluate {benchmark.name}"
    if store.value("select 1 from evaluations where round_id = ? and benchmark = ?", round_.id, benchmark.name):
        return
    sample_and_run(store, round_, benchmark, sampler, adapters, make_sandbox, on_event)
    result = compare(load_arms(store, round_, benchmark), seed=round_.seed)
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
) -> None:
    """Sample the arms that `adapters` names, run their programs, and store which answers are right.

    Samples and executions that are stored already are not repeated; judging is.
    """
    store.ensure_problems(benchmark.problems)
    _sample_arms(store, round_, benchmark, sampler, adapters, on_event)
    _execute(store, round_, benchmark, make_sandbox, on_event)
    _judge(store, round_, benchmark)


def _sample_arms(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    on_event: OnEvent,
) -> None:
    """Sample every answer that is not stored yet, and store each with its program as it ends."""
    stage = f"evaluate {benchmark.name}"
    sql = "select id from evaluation_samples where round_id = ? and benchmark = ?"
    stored = {row["id"] for row in store.rows(sql, round_.id, benchmark.name)}
    total, done = len(adapters) * len(benchmark.problems) * (1 + benchmark.samples), len(stored)
    on_event(StageStarted(stage, done, total))
    contexts: dict[str, tuple[Row, Problem, str]] = {}
    for completion in sampler.sample(_requests(round_, benchmark, sampler, adapters, stored, contexts)):
        row, problem, prefix = contexts.pop(completion.key)
        code = extract_program(prefix + completion.text)
        with store.transaction():
            store.db.table("evaluation_samples").insert(
                row
                | {
                    "program_id": store.ensure_program(problem, code) if code else None,
                    "text": completion.text,
                    "finish": completion.finish,
                    "tokens": len(completion.token_ids),
                }
            )
        done += 1
        on_event(ItemStored(stage, done, total, problem.id))


def _requests(
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: dict[str, Path | None],
    stored: set[str],
    contexts: dict[str, tuple[Row, Problem, str]],
) -> Iterator[SampleRequest]:
    """Yield a request for every answer that is not stored, and put what its row needs into `contexts` under its key.

    The sample index -1 is the greedy answer. Both arms use the same seeds.
    """
    settings = round_.settings
    for arm, adapter in adapters.items():
        for problem in benchmark.problems:
            prompt, prefix = encode_program(sampler, problem, settings)
            for sample_index in range(-1, benchmark.samples):
                key = f"{round_.id}/{benchmark.name}/{arm}/{problem.id}/{sample_index}"
                if key in stored:
                    continue
                greedy = sample_index == -1
                seed = seed_for(round_.seed, "evaluation", problem.id, sample_index)
                row = {
                    "id": key,
                    "round_id": round_.id,
                    "benchmark": benchmark.name,
                    "arm": arm,
                    "problem_id": problem.id,
                    "mode": "greedy" if greedy else "sampled",
                    "number": sample_index,
                    "seed": seed,
                }
                contexts[key] = (row, problem, prefix)
                yield SampleRequest(
                    key,
                    prompt.token_ids,
                    0.0 if greedy else settings.evaluation.temperature,
                    settings.evaluation.top_p,
                    settings.evaluation.max_new_tokens + settings.sampling.thinking_tokens,
                    seed,
                    prefix,
                    settings.sampling.ends_at_fence,
                    settings.sampling.stop_at_repetition,
                    adapter,
                )


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


def judged_correct(
    store: Store, round_: RoundInfo, benchmark: str, problem: Problem
) -> Iterator[tuple[str, int | None, int]]:
    """Yield (sample id, stored judgement or None, judgement derived now) for every answer to one problem.

    A judgement is 1 (right) or 0; an answer without a program is wrong. Sampled programs and reference must have run.
    """
    key = limits_key(limits_of(round_.settings))
    sql = """select v.id, v.correct, v.program_id, b.outputs from evaluation_samples v
             left join executions e on e.program_id = v.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id where v.round_id = ? and v.benchmark = ?
             and v.problem_id = ?"""
    reference_sql = """select b.outputs from executions e join behaviours b on b.id = e.behaviour_id
                       where e.program_id = ? and e.limits = ?"""
    reference = program_id(problem.content_hash(), problem.reference or "")
    expected = _texts(store.value(reference_sql, reference, key))
    verdicts: dict[str | None, bool] = {None: False}
    for row in store.rows(sql, key, round_.id, benchmark, problem.id):
        program = row["program_id"]
        if program not in verdicts:
            verdicts[program] = is_correct(_texts(row["outputs"]), expected, kind=problem.kind)
        yield row["id"], row["correct"], int(verdicts[program])


def _texts(outputs_json: str) -> list[str | None]:
    """Return the canonical texts of a stored behaviour, one per input; None if the status is not ok."""
    return [text if status == "ok" else None for status, text, _ in json.loads(outputs_json)]


def load_arms(store: Store, round_: RoundInfo, benchmark: Benchmark) -> dict[str, ArmSamples]:
    """Return the judged answers of each arm as `compare` needs them, with the problems in the benchmark's order."""
    sql = """select v.arm, v.problem_id, v.mode, v.correct, v.tokens, e.compiled, b.outputs
             from evaluation_samples v left join executions e on e.program_id = v.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id where v.round_id = ? and v.benchmark = ?"""
    arms = {arm: ArmSamples({p.id: [] for p in benchmark.problems}, {}, [], [], []) for arm in ARMS}
    for row in store.rows(sql, limits_key(limits_of(round_.settings)), round_.id, benchmark.name):
        arm = arms[row["arm"]]
        if row["mode"] == "greedy":
            arm.greedy[row["problem_id"]] = bool(row["correct"])
        else:
            arm.sampled[row["problem_id"]].append(bool(row["correct"]))
        arm.parsed.append(bool(row["compiled"]))
        arm.crashed.append(row["outputs"] is None or all(text is None for text in _texts(row["outputs"])))
        arm.tokens.append(row["tokens"])
    return arms
