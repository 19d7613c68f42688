"""Compare the sampled answers of adapter and base on the validation problems, for the guard (`method/guard.py`).

The answers exist already, because the evaluation has sampled and run them; which of them are right is not read. The
base is the model that the round started from. A round is judged on the validation split; other answers are for reports.
"""

from __future__ import annotations

from collections import defaultdict

from conself_local.method.guard import Answers, GuardResult, guard_round
from conself_local.stages.benchmark import ARMS
from conself_local.stages.execute import limits_key, limits_of
from conself_local.stages.score import BehaviourReader
from conself_local.store.store import RoundInfo, Row, Store

SPLIT = "validation"


def guard_answers(store: Store, round_: RoundInfo, benchmark: str = SPLIT) -> GuardResult:
    """Judge the round by its sampled answers to the validation problems or another benchmark, which must have run.

    Problems without answers of both arms do not count. A nondeterministic program counts as crashed unless the
    settings keep such programs.
    """
    sql = """select v.arm, v.problem_id, v.tokens, e.deterministic, b.outputs
             from evaluation_samples v left join executions e on e.program_id = v.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id
             where v.round_id = ? and v.benchmark = ? and v.mode = 'sampled' order by v.problem_id, v.number"""
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in store.rows(sql, limits_key(limits_of(round_.settings)), round_.id, benchmark):
        rows[row["arm"], row["problem_id"]].append(row)
    ids = sorted({id for arm, id in rows if all((one, id) in rows for one in ARMS)})
    sides: dict[str, list[Answers]] = {arm: [] for arm in ARMS}
    for id in ids:
        read = BehaviourReader(store.problem(id), round_.settings)
        for arm in ARMS:
            answers = rows[arm, id]
            behaviours = [read.behaviour_or_crash(row) for row in answers]
            sides[arm].append(Answers(behaviours, [row["tokens"] for row in answers]))
    return guard_round(sides["base"], sides["adapter"])
