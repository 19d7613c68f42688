"""Warn if a model that trains on its own programs seems to collapse: this round against the one before it.

Compared are means over the problems that both rounds have scored. The warnings do not stop a round.
"""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.store.store import RoundInfo, Store

_MIN_PROBLEMS = 5
_CRASH_RATE_RISE = 0.10
"""A larger rise of the crash rate, as an absolute difference, is a sign."""
_ENTROPY_RATIO = 0.7
"""A smaller ratio of the entropies, after to before, is a sign."""
_DIVERSITY_RATIO = 0.7
"""A smaller ratio of the diversities, after to before, is a sign."""
_COMMON = (
    "select problem_id from metrics where round_id = ? intersect select problem_id from metrics where round_id = ?"
)


@dataclass(frozen=True)
class RoundStats:
    """Means over the problems that both rounds sampled."""

    crash_rate: float
    entropy_bits: float
    """An undefined entropy (no valid program) counts as 0."""
    diversity: float
    """Number of different programs divided by the number of samples with a program."""


def compare_with_last_round(store: Store, round_: RoundInfo) -> tuple[RoundStats, RoundStats] | None:
    """Return the means of (the round before, this round) over the problems that both have scored.

    None if this is the first scored round on its model, or if fewer than 5 problems are in both.
    """
    sql = """select max(r.id) from rounds r where r.id < ? and r.model_sha256 = ?
             and exists (select 1 from metrics m where m.round_id = r.id)"""
    before = store.value(sql, round_.id, round_.model_sha256)
    if before is None:
        return None
    if len(store.rows(_COMMON, before, round_.id)) < _MIN_PROBLEMS:
        return None
    return _round_stats(store, before, before, round_.id), _round_stats(store, round_.id, before, round_.id)


def _round_stats(store: Store, round_id: int, one: int, other: int) -> RoundStats:
    """Return the means of round `round_id` over the problems that the rounds `one` and `other` have scored."""
    in_both = f"problem_id in ({_COMMON})"
    sql = f"""select avg(crash_rate) as crash, avg(coalesce(entropy_bits, 0)) as entropy
              from metrics where round_id = ? and {in_both}"""
    (means,) = store.rows(sql, round_id, one, other)
    sql = f"""select 1.0 * count(distinct program_id) / max(1, count(program_id))
              from samples where round_id = ? and {in_both}"""
    return RoundStats(means["crash"], means["entropy"], store.value(sql, round_id, one, other))


def collapse_warnings(before: RoundStats, now: RoundStats) -> list[str]:
    """Return one sentence for each sign of collapse, then one with advice; an empty list if there is no sign."""
    found = []
    if now.crash_rate - before.crash_rate > _CRASH_RATE_RISE:
        found.append(
            "more programs crash than in the round before "
            f"({before.crash_rate:.0%} -> {now.crash_rate:.0%} on the same problems)"
        )
    if now.diversity < _DIVERSITY_RATIO * before.diversity:
        found.append(
            "programs resemble each other more than in the round before "
            f"(share of different programs: {before.diversity:.0%} -> {now.diversity:.0%})"
        )
    if now.entropy_bits < _ENTROPY_RATIO * before.entropy_bits:
        found.append(
            "behaviours differ less than in the round before "
            f"(semantic entropy {before.entropy_bits:.2f} -> {now.entropy_bits:.2f} bits)"
        )
    if found:
        found.append(
            "a model that trains on its own programs can collapse: "
            "compare results on held-out problems, or start again with --from-base"
        )
    return found
