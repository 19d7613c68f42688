"""Sample programs in waves: a few of each problem, and more only of problems that are still open.

The samples of a problem have a fixed order, one of each observation in turn, and each keeps the seed that it has in a
full round. The plan depends only on which samples and outputs are stored, so a round that was killed continues with
the samples that it would have taken anyway. The programs of a wave have run before the next one is planned; with
overlapped execution most of them run while others are sampled. Outputs on the given inputs decide: added inputs come
later. Votes of earlier rounds do not count here.
Not covered: the tests (`method/adaptive.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from conself_local.method.adaptive import AdaptiveRules, decide, plan_samples
from conself_local.method.behaviour import Behaviour
from conself_local.problems.problem import Problem
from conself_local.settings import Settings
from conself_local.stages.execute import limits_key, limits_of
from conself_local.stages.score import BehaviourReader
from conself_local.store.store import RoundInfo, Store

Place = tuple[int, int]
"""(observation, sample index within it) of a sample."""


def adaptive_rules(settings: Settings) -> AdaptiveRules:
    """Return the rules of the settings."""
    full = settings.sampling.samples_per_problem
    return AdaptiveRules(full, max(full, settings.sampling.adaptive_cap), settings.sampling.adaptive_error)


def ordered_places(settings: Settings, count: int) -> list[Place]:
    """Return the first `count` samples of a problem in their order: one of each observation in turn."""
    observations = settings.sampling.observations
    return [(k % observations, k // observations) for k in range(count)]


def sampling_waves(
    store: Store, round_: RoundInfo, run_sampled: Callable[[], None]
) -> Iterator[Mapping[str, Sequence[Place]]]:
    """Yield the samples that each problem is to have, {problem id: places}, wave by wave until the plan is complete.

    `run_sampled` runs all stored programs that have not run; it is called before each wave is planned.
    """
    problems = store.round_problems(round_.id)
    while True:
        run_sampled()
        wanted = planned_samples(store, round_, problems)
        sql = "select problem_id, count(*) as count from samples where round_id = ? group by problem_id"
        stored = {row["problem_id"]: row["count"] for row in store.rows(sql, round_.id)}
        if all(stored.get(id, 0) >= count for id, count in wanted.items()):
            return
        yield {id: ordered_places(round_.settings, count) for id, count in wanted.items()}


def planned_samples(store: Store, round_: RoundInfo, problems: Sequence[Problem]) -> dict[str, int]:
    """Return how many samples each problem of the round is to have, as far as the stored outputs decide."""
    known = [first_behaviours(store, round_, problem) for problem in problems]
    counts = plan_samples(known, adaptive_rules(round_.settings))
    return {problem.id: count for problem, count in zip(problems, counts, strict=True)}


def first_behaviours(store: Store, round_: RoundInfo, problem: Problem) -> list[Behaviour]:
    """Return the behaviours of a problem's samples in their order, up to the first that is not stored or has not run.

    A sample without a program counts as crashed, and so does a nondeterministic one unless the settings keep such.
    """
    sql = """select s.observation, s.number, s.program_id, e.deterministic, b.outputs from samples s
             left join executions e on e.program_id = s.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id where s.round_id = ? and s.problem_id = ?"""
    rows = store.rows(sql, limits_key(limits_of(round_.settings)), round_.id, problem.id)
    by_place = {(row["observation"], row["number"]): row for row in rows}
    read, found = BehaviourReader(problem, round_.settings), []
    for place in ordered_places(round_.settings, len(rows)):
        row = by_place.get(place)
        if row is None or (row["program_id"] is not None and row["outputs"] is None):
            break
        found.append(read.behaviour_or_crash(row))
    return found


def describe_savings(store: Store, round_: RoundInfo) -> str:
    """Return in words how many samples the finished plan took and saved, and why problems were stopped."""
    problems, rules = store.round_problems(round_.id), adaptive_rules(round_.settings)
    reasons: Counter[str] = Counter()
    spent = more = 0
    for problem in problems:
        behaviours = first_behaviours(store, round_, problem)
        spent, more = spent + len(behaviours), more + (len(behaviours) > rules.full)
        reasons[decide(behaviours, rules)] += 1
    fixed = rules.full * len(problems)
    stopped = ", ".join(f"{reasons[name]} {name}" for name in ("alike", "crashed", "scattered", "settled"))
    share = f" ({(fixed - spent) / fixed:.0%})" if fixed else ""
    return (
        f"adaptive sampling took {spent} of {fixed} samples, saved {fixed - spent}{share}; {stopped}; {more} got more"
    )
