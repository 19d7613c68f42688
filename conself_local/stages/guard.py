"""Compare the sampled answers of adapter and base on the validation problems, for the guard (`method/guard.py`).

The answers exist already, because the evaluation has sampled and run them; which of them are right is not read. The
base is the model that the round started from. Only the validation split is used: the held-out one is for reports alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from conself_local.method.behaviour import Behaviour
from conself_local.method.guard import Answers, GuardResult, guard_round
from conself_local.problems.problem import Problem
from conself_local.settings import Settings
from conself_local.stages.benchmark import ARMS
from conself_local.stages.execute import limits_key, limits_of
from conself_local.stages.score import BehaviourReader
from conself_local.store.store import RoundInfo, Row, Store

SPLIT = "validation"


def guard_answers(store: Store, round_: RoundInfo) -> GuardResult:
    """Judge the round by its sampled validation answers, which must have run.

    Problems without answers of both arms do not count. A nondeterministic program counts as crashed unless the
    settings keep such programs.
    """
    sql = """select v.arm, v.problem_id, v.tokens, e.deterministic, b.outputs
             from evaluation_samples v left join executions e on e.program_id = v.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id
             where v.round_id = ? and v.benchmark = ? and v.mode = 'sampled' order by v.problem_id, v.number"""
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in store.rows(sql, limits_key(limits_of(round_.settings)), round_.id, SPLIT):
        rows[row["arm"], row["problem_id"]].append(row)
    ids = sorted({id for arm, id in rows if all((one, id) in rows for one in ARMS)})
    sides: dict[str, list[Answers]] = {arm: [] for arm in ARMS}
    for id in ids:
        problem = store.problem(id)
        for arm in ARMS:
            sides[arm].append(_answers(rows[arm, id], problem, round_.settings))
    return guard_round(sides["base"], sides["adapter"])


def _answers(rows: Sequence[Row], problem: Problem, settings: Settings) -> Answers:
    return Answers([_behaviour(row, problem, settings) for row in rows], [row["tokens"] for row in rows])


def _behaviour(row: Row, problem: Problem, settings: Settings) -> Behaviour:
    """Return the behaviour of an answer; that of a crashed program if it holds none or does not count."""
    if row["outputs"] is None or (row["deterministic"] == 0 and not settings.execution.keep_nondeterministic):
        return (None,) * len(problem.inputs)
    return BehaviourReader(problem, settings).behaviour(row["outputs"])
