"""Read the judged answers of an evaluation: which are right, and which one the consensus of the samples would pick.

Not covered: the estimators (`evaluation/`), and sampling and running the answers (`answers.py`, `evaluate.py`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from conself_local.evaluation.compare import CONSENSUS_SAMPLES, ArmSamples
from conself_local.evaluation.judge import is_correct
from conself_local.hashes import program_id
from conself_local.method.behaviour import is_constant, is_crashed
from conself_local.method.best_of import Candidate
from conself_local.method.consensus import consensus
from conself_local.problems.problem import Problem
from conself_local.stages.benchmark import ARMS, Benchmark
from conself_local.stages.execute import limits_key, limits_of
from conself_local.stages.score import BehaviourReader, is_counted
from conself_local.store.store import RoundInfo, Row, Store


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
    sql = """select v.arm, v.problem_id, v.mode, v.number, v.correct, v.tokens, v.finish, v.mean_nll,
             e.compiled, e.deterministic, b.outputs, p.code
             from evaluation_samples v left join executions e on e.program_id = v.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id left join programs p on p.id = v.program_id
             where v.round_id = ? and v.benchmark = ? order by v.number"""
    arms = {arm: _empty_arm(benchmark) for arm in ARMS}
    samples: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in store.rows(sql, limits_key(limits_of(round_.settings)), round_.id, benchmark.name):
        arm = arms[row["arm"]]
        if row["mode"] == "greedy":
            arm.greedy[row["problem_id"]] = bool(row["correct"])
        else:
            arm.sampled[row["problem_id"]].append(bool(row["correct"]))
            samples[row["arm"], row["problem_id"]].append(row)
        arm.parsed.append(bool(row["compiled"]))
        arm.crashed.append(row["outputs"] is None or all(text is None for text in _texts(row["outputs"])))
        arm.tokens.append(row["tokens"])
        arm.cut.append(row["finish"] == "length")
    problems = {problem.id: problem for problem in benchmark.problems}
    for (name, problem_id), rows in samples.items():
        arms[name].consensus[problem_id] = _consensus_is_right(rows, problems[problem_id], round_)
    return arms


def _empty_arm(benchmark: Benchmark) -> ArmSamples:
    return ArmSamples(
        sampled={p.id: [] for p in benchmark.problems},
        greedy={},
        parsed=[],
        crashed=[],
        tokens=[],
    )


def _consensus_is_right(rows: Sequence[Row], problem: Problem, round_: RoundInfo) -> bool:
    """Return whether the consensus of the first samples is right; False if none of them ran on any input.

    As in a round, samples without a program do not vote, nor do nondeterministic ones unless the settings keep them,
    and a constant program is chosen only if the settings allow it or every other program crashed.
    """
    settings = round_.settings
    voters = [row for row in rows[:CONSENSUS_SAMPLES] if is_counted(row, settings)]
    read = BehaviourReader(problem, settings)
    candidates = [Candidate(read.behaviour(row["outputs"]), row["mean_nll"], len(row["code"])) for row in voters]
    picked = pick_by_consensus(candidates, allow_constant=settings.pairs.allow_constant_chosen)
    return picked is not None and bool(voters[picked]["correct"])


def pick_by_consensus(candidates: Sequence[Candidate], *, allow_constant: bool) -> int | None:
    """Return the index of the program of the highest consensus; None if every program failed on every input.

    Ties: the likeliest under the plain prompt (an unknown likelihood comes last), then the shortest, then the first.
    With `allow_constant` false, a program with the same output for every input is picked only if all that ran are.
    Example: behaviours ("1", "2"), ("1", "3"), ("1", "3") -> 1 if their likelihoods and lengths are equal.
    """
    ran = [i for i, one in enumerate(candidates) if not is_crashed(one.behaviour)]
    varied = [i for i in ran if not is_constant(candidates[i].behaviour)]
    eligible = ran if allow_constant else varied or ran
    if not eligible:
        return None
    values = consensus([one.behaviour for one in candidates])

    def order(i: int) -> tuple[float, float, int, int]:
        nll = candidates[i].mean_nll
        return -values[i], inf if nll is None else nll, candidates[i].length, i

    return min(eligible, key=order)
