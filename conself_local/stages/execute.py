"""Stage 3: every program on every test input of its problem, in the sandbox; the parent decides the status.

A program that was run before under the same limits is not run again.
"""

from __future__ import annotations

from collections.abc import Iterator

from conself_local.errors import ConselfError
from conself_local.events import ItemStored, OnEvent, StageDone, StageStarted
from conself_local.problems.problem import Problem
from conself_local.settings import Settings
from conself_local.store.store import RoundInfo, Row, Store
from sandbox import NOT_COMPILED, Limits, MakeSandbox, Program, ProgramResult, Status

_ROUND_PROGRAMS = "select program_id from samples where round_id = ? and program_id is not null"


def limits_of(settings: Settings) -> Limits:
    return Limits(wall_s=settings.wall_s, max_timeouts=settings.max_timeouts)


def limits_key(limits: Limits) -> str:
    """Names the limits in the store: results under other limits are other results."""
    return f"{limits.wall_s:g}s/{limits.memory_bytes >> 20}MiB/{limits.max_timeouts}"


def execute_programs(store: Store, round_: RoundInfo, make_sandbox: MakeSandbox, on_event: OnEvent) -> None:
    """Run what the round has sampled and was not run yet."""
    limits = limits_of(round_.settings)
    total = int(store.value(f"select count(distinct program_id) from ({_ROUND_PROGRAMS})", round_.id))
    pending = store.pending_programs(_ROUND_PROGRAMS, limits_key(limits), round_.id)
    on_event(StageStarted("execute", total - len(pending), total))
    done = total - len(pending)
    for result in run_and_store(store, pending, limits, make_sandbox):
        done += 1
        on_event(ItemStored("execute", done, total, result.program_id[:8]))
    sql = f"""select count(*), sum(compiled), coalesce(sum(deterministic = 0), 0) from executions
              where limits = ? and program_id in ({_ROUND_PROGRAMS})"""
    programs, compiled, nondeterministic = store.db.execute(sql, [limits_key(limits), round_.id]).fetchone()
    summary = f"{programs} programs run, {compiled or 0} compiled, {nondeterministic} nondeterministic"
    store.finish_stage(round_.id, "execute", summary)
    on_event(StageDone("execute", summary))


def run_and_store(
    store: Store, pending: list[Row], limits: Limits, make_sandbox: MakeSandbox
) -> Iterator[ProgramResult]:
    """Each result is stored before it is handed on. Raises ConselfError when the sandbox itself keeps failing."""
    if not pending:
        return
    problems = {row["problem_id"]: store.problem(row["problem_id"]) for row in pending}
    key = limits_key(limits)
    with make_sandbox(limits) as sandbox:
        for result in sandbox.run(_program(problems[row["problem_id"]], row) for row in pending):
            if result.load.status is Status.SANDBOX_FAILED:
                raise ConselfError(
                    f"the sandbox failed on program {result.program_id}: {result.load.detail}",
                    "start again to go on; `conself doctor` tells more",
                )
            row = {
                "program_id": result.program_id, "limits": key, "load_status": result.load.status.value,
                "load_detail": result.load.detail, "compiled": not result.load.detail.startswith(NOT_COMPILED),
                "deterministic": result.deterministic, "wall_s": sum(o.wall_s for o in result.outputs),
                "cpu_s": sum(o.cpu_s for o in result.outputs),
            }  # fmt: skip
            store.insert_execution(row, [(o.status.value, o.text, o.detail) for o in result.outputs])
            yield result


def _program(problem: Problem, row: Row) -> Program:
    return Program(row["id"], row["code"], problem.kind, problem.entry_point, problem.inputs)
