"""Find the samples of earlier rounds that vote in a round, if it pools the votes of rounds.

An earlier round of the same home counts if it is finished and had the same model and chat template; of its samples,
those of problems with the same plain prompt count, because a pair is trained under that prompt. Their programs were run
already, and an output is stored under the content of its program, so pooled votes need no new run.
A sample whose token ids were pruned is not pooled, since nothing can be trained on it; as long as a home pools its
rounds, `conself prune` keeps them (`pruning.py`).
Not covered: the votes themselves (`stages/score.py`).
Observations of earlier rounds are used again, since they say something about the problem and not about the adapter.
Source: ReST-EM (arXiv 2312.06585) for a fresh adapter on the samples of all rounds.
"""

from __future__ import annotations

from conself_local.store.store import RoundInfo, Store

_OF_EARLIER_ROUND = """r.id < me.id and r.state = 'done'
    and r.model_sha256 = me.model_sha256 and r.template_hash = me.template_hash"""
_EARLIER = f"""from samples s join rounds me on me.id = ?
    join rounds r on r.id = s.round_id and {_OF_EARLIER_ROUND}
    join round_problems mine on mine.round_id = me.id and mine.problem_id = s.problem_id
    join round_problems its on its.round_id = r.id and its.problem_id = s.problem_id
      and its.plain_prompt_id = mine.plain_prompt_id
    where s.tokens is null"""


def voted_problems(store: Store, model_sha256: str, template_hash: str) -> set[str]:
    """Return the ids of the problems with samples that may vote in the next round of a model."""
    sql = """select distinct s.problem_id from samples s join rounds r on r.id = s.round_id
        where r.state = 'done' and r.model_sha256 = ? and r.template_hash = ? and s.tokens is null"""
    return {row["problem_id"] for row in store.rows(sql, model_sha256, template_hash)}


def earlier_observations(store: Store, round_: RoundInfo, problem_id: str) -> list[str | None]:
    """Return the observations of a problem in the latest finished round that has as many as this round asks for.

    An empty list if there is none, if the model gave none there, or if the round does not pool votes.
    """
    if not round_.settings.pairs.pool_rounds:
        return []
    sql = f"""select o.round_id, o.text from observations o join rounds me on me.id = ?
        join rounds r on r.id = o.round_id and {_OF_EARLIER_ROUND}
        where o.problem_id = ? order by o.round_id desc, o.number"""
    by_round: dict[int, list[str | None]] = {}
    for row in store.rows(sql, round_.id, problem_id):
        by_round.setdefault(row["round_id"], []).append(row["text"])
    wanted = round_.settings.sampling.observations
    return next((texts for texts in by_round.values() if len(texts) == wanted and any(texts)), [])


def voting_rounds(store: Store, round_: RoundInfo, problem_id: str) -> list[int]:
    """Return the rounds whose samples of a problem vote in a round: the round itself, then the earlier ones.

    The latest comes first. Of an earlier round, a sample votes only if `samples.tokens` is null (it was not pruned).
    """
    if not round_.settings.pairs.pool_rounds:
        return [round_.id]
    sql = f"select distinct r.id {_EARLIER} and s.problem_id = ? order by r.id desc"
    return [round_.id, *(row["id"] for row in store.rows(sql, round_.id, problem_id))]


def pooled_programs(store: Store, round_: RoundInfo) -> list[str]:
    """Return the ids of the programs of earlier rounds that vote in a round."""
    if not round_.settings.pairs.pool_rounds:
        return []
    sql = f"select distinct s.program_id {_EARLIER} and s.program_id is not null"
    return [row["program_id"] for row in store.rows(sql, round_.id)]


def count_pooled(store: Store, round_: RoundInfo) -> int:
    """Return how many samples of earlier rounds vote in a round."""
    if not round_.settings.pairs.pool_rounds:
        return 0
    return int(store.value(f"select count(*) {_EARLIER}", round_.id))
