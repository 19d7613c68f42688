"""Whether a model that trains itself is collapsing: the same problems, this round against the one before, in words."""

from __future__ import annotations

from dataclasses import dataclass

from conself_local.store.store import RoundInfo, Store

_LEAST_PROBLEMS = 5
_CRASH_RATE_ROSE = 0.10
_ENTROPY_FELL = 0.7
_DIVERSITY_FELL = 0.7
_COMMON = (
    "select problem_id from metrics where round_id = ? intersect select problem_id from metrics where round_id = ?"
)


@dataclass(frozen=True)
class RoundStats:
    """Means over the problems that both rounds sampled."""

    crash_rate: float
    entropy_bits: float
    """Undefined counts as 0: no valid program."""
    diversity: float
    """Different programs a sampled program."""


def compare_with_last_round(store: Store, round_: RoundInfo) -> tuple[RoundStats, RoundStats] | None:
    """(the round before, this round); None without a round before on the same model with enough problems in common."""
    sql = """select max(r.id) from rounds r where r.id < ? and r.model_sha256 = ?
             and exists (select 1 from metrics m where m.round_id = r.id)"""
    before = store.value(sql, round_.id, round_.model_sha256)
    if before is None:
        return None
    if len(store.rows(_COMMON, before, round_.id)) < _LEAST_PROBLEMS:
        return None
    return _round_stats(store, before, before, round_.id), _round_stats(store, round_.id, before, round_.id)


def _round_stats(store: Store, round_id: int, one: int, other: int) -> RoundStats:
    in_both = f"problem_id in ({_COMMON})"
    sql = f"select avg(crash_rate) as crash, avg(coalesce(entropy_bits, 0)) as entropy from metrics where round_id = ? and {in_both}"
    (means,) = store.rows(sql, round_id, one, other)
    sql = f"select 1.0 * count(distinct program_id) / max(1, count(program_id)) from samples where round_id = ? and {in_both}"
    return RoundStats(means["crash"], means["entropy"], store.value(sql, round_id, one, other))


def collapse_warnings(before: RoundStats, now: RoundStats) -> list[str]:
    """One sentence for each sign of it."""
    found = []
    if now.crash_rate - before.crash_rate > _CRASH_RATE_ROSE:
        found.append(
            f"more programs crash than a round ago ({before.crash_rate:.0%} -> {now.crash_rate:.0%} on the same problems)"
        )
    if now.diversity < _DIVERSITY_FELL * before.diversity:
        found.append(
            f"programs resemble each other more than a round ago (different ones: {before.diversity:.0%} -> {now.diversity:.0%})"
        )
    if now.entropy_bits < _ENTROPY_FELL * before.entropy_bits:
        found.append(
            f"behaviours differ less than a round ago ({before.entropy_bits:.2f} -> {now.entropy_bits:.2f} bits)"
        )
    if found:
        found.append(
            "a model that trains on its own answers can collapse: compare on held-out, or begin again with --from-base"
        )
    return found
