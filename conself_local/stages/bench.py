"""Read the answers of one model to the problems of a benchmark: which are right, and what the samples agree on.

Not covered: sampling, running and judging the answers (`evaluate.py`), and the table (`evaluation/bench.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from conself_local.evaluation.bench import ProblemAnswers
from conself_local.method.behaviour import is_crashed
from conself_local.method.best_of import Candidate, Tally, tally
from conself_local.problems.problem import Problem
from conself_local.settings import Settings
from conself_local.stages.execute import limits_key, limits_of
from conself_local.stages.score import BehaviourReader, is_counted
from conself_local.store.store import RoundInfo, Row, Store


def load_bench_answers(
    store: Store, round_: RoundInfo, benchmark: str, problems: Sequence[Problem], samples: int
) -> list[ProblemAnswers]:
    """Return the greedy answer and the first `samples` samples of each problem, which have been sampled and run."""
    sql = """select v.problem_id, v.number, v.correct, v.tokens, v.mean_nll, e.deterministic, b.outputs, p.code
             from evaluation_samples v left join executions e on e.program_id = v.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id left join programs p on p.id = v.program_id
             where v.round_id = ? and v.benchmark = ? and v.number < ? order by v.number"""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in store.rows(sql, limits_key(limits_of(round_.settings)), round_.id, benchmark, samples):
        found[row["problem_id"]].append(row)
    return [_answers(found[problem.id], problem, round_) for problem in problems]


def _answers(rows: Sequence[Row], problem: Problem, round_: RoundInfo) -> ProblemAnswers:
    """Return what one model answered to one problem; the first row is the greedy answer."""
    greedy, *samples = rows
    is_judged = problem.reference is not None
    read = BehaviourReader(problem, round_.settings)
    ran = [row["outputs"] is not None and not is_crashed(read.behaviour(row["outputs"])) for row in rows]
    votes, voters = _vote(samples, read, round_.settings)
    winner = None if votes.winner is None else voters[votes.winner]
    return ProblemAnswers(
        greedy_right=bool(greedy["correct"]) if is_judged else None,
        samples_right=tuple(bool(row["correct"]) for row in samples) if is_judged and samples else None,
        consensus_right=winner is not None and bool(winner["correct"]) if is_judged and samples else None,
        agreement=len(votes.agree) / len(samples) if samples else None,
        ran=sum(ran) / len(ran),
        greedy_tokens=greedy["tokens"],
        sampled_tokens=sum(row["tokens"] for row in samples),
    )


def _vote(samples: Sequence[Row], read: BehaviourReader, settings: Settings) -> tuple[Tally, list[Row]]:
    """Return the vote of the samples on the inputs of their problem, and the samples that its numbers stand for."""
    voters = [row for row in samples if is_counted(row, settings)]
    candidates = [Candidate(read.behaviour(row["outputs"]), row["mean_nll"], len(row["code"])) for row in voters]
    return tally(candidates, len(samples)), voters
