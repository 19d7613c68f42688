"""Measure how likely the programs that may be chosen are under the plain prompt, if the settings choose by likelihood.

Programs are sampled with an observation and trained without, so the NLL of sampling says how likely a program is under
another prompt than that of training. The trainer's reference would tell, but only after the pairs are built. So the
engine scores the candidates: no more than those of the highest consensus, on problems with a choice among them. What is
stored is not measured again. A sample drawn from the plain prompt itself needs no measurement (`score.load_evidence`).
A candidate without token ids stays unmeasured, and is then the last choice, in the order of sampling. So does one of an
earlier round that its own round did not measure, because a later measurement would change what that round chose.
Not covered: the choice itself (`method/chosen.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from conself_local.events import ItemStored, OnEvent, StageStarted
from conself_local.sampling.sampler import Sampler
from conself_local.stages.score import choosable, load_evidence
from conself_local.store.store import RoundInfo, Store

_STAGE = "pair: likelihood"


@dataclass(frozen=True)
class Unmeasured:
    """A sample whose likelihood under the plain prompt is needed and not known."""

    sample_id: str
    prompt: tuple[int, ...]
    """Token ids of the plain prompt of its problem."""
    completion: tuple[int, ...]


def find_unmeasured(store: Store, round_: RoundInfo) -> list[Unmeasured]:
    """Return the samples of the selected problems whose likelihood decides what is chosen, and is not known yet."""
    settings = round_.settings
    if settings.pairs.chosen_programs is None:
        return []
    found = []
    sql = """select m.problem_id, r.plain_prompt_id from metrics m join round_problems r using (round_id, problem_id)
             where m.round_id = ? and m.selected and r.plain_prompt_id is not null order by r.position"""
    for row in store.rows(sql, round_.id):
        evidence = load_evidence(store, round_, store.problem(row["problem_id"]))
        candidates = choosable(evidence, settings)
        unknown = [s.id for s in candidates if s.mean_logp is None and s.id.startswith(f"{round_.id}/")]
        if unknown and len({s.code for s in candidates}) > 1:
            prompt = store.prompt_token_ids(row["plain_prompt_id"])
            tokens = _token_ids(store, unknown)
            found += [Unmeasured(id, prompt, tokens[id]) for id in unknown if tokens[id]]
    return found


def _token_ids(store: Store, sample_ids: Sequence[str]) -> dict[str, tuple[int, ...]]:
    sql = "select id, token_ids from samples where id in (select value from json_each(?))"
    return {row["id"]: tuple(json.loads(row["token_ids"])) for row in store.rows(sql, json.dumps(sample_ids))}


def measure_likelihoods(
    store: Store, unmeasured: Sequence[Unmeasured], sampler: Sampler, adapter: Path | None, on_event: OnEvent
) -> None:
    """Store the mean log-probability (nats per token) of each sample under its plain prompt, one by one.

    `adapter` is the one that the samples were drawn with.
    """
    on_event(StageStarted(_STAGE, 0, len(unmeasured)))
    for done, sample in enumerate(unmeasured, 1):
        mean_logp = fmean(sampler.score(sample.prompt, sample.completion, adapter))
        store.db.table("samples").update(sample.sample_id, {"plain_logp": min(0.0, mean_logp)})
        on_event(ItemStored(_STAGE, done, len(unmeasured), ""))
