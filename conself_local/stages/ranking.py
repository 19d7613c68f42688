"""Score judged answers of the base under the plain prompt, for the ranking measure A (`evaluation/ranking.py`).

The bank of a benchmark is made of the answers of the arm `base` that hold a complete program: per problem at most
`settings.evaluation.ranking_programs` different ones, right and wrong. The engine computes the log-probability of each
under the base and under the adapter. Each is stored as soon as it is known, under the address of the answer, so a round
that was killed continues, and a later round with the same base scores only its own adapter.
Not covered: servers, which return no log-probabilities of a given text.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Any

from conself_local.evaluation.ranking import ScoredProgram, ranking_result, select_bank
from conself_local.events import ItemStored, OnEvent, StageStarted
from conself_local.hashes import content_id
from conself_local.model_files.model import adapter_sha256
from conself_local.sampling.sampler import Sampler
from conself_local.stages.benchmark import Benchmark
from conself_local.store.store import RoundInfo, Store


@dataclass(frozen=True)
class _Item:
    """One answer of the bank."""

    answer_id: str
    problem_id: str
    prompt_id: str
    token_ids: tuple[int, ...]
    right: bool


def score_bank(
    store: Store,
    round_: RoundInfo,
    benchmark: Benchmark,
    sampler: Sampler,
    adapters: Mapping[str, Path | None],
    source: str,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Score what is not stored yet and return the result of the measure, with the scorers that `verify` needs.

    The engine must be idle, and the answers judged.
    """
    bank = list(_bank(store, round_, benchmark.name))
    scorers = {arm: _scorer(round_, adapter, source) for arm, adapter in adapters.items()}
    stage = f"evaluate {benchmark.name}: rank"
    total, done = len(bank) * len(adapters), 0
    on_event(StageStarted(stage, 0, total))
    known_sql = "select 1 from answer_scores where answer_id = ? and scorer = ?"
    for arm, adapter in adapters.items():
        for item in bank:
            if not store.value(known_sql, item.answer_id, scorers[arm]):
                logps = sampler.score(store.prompt_token_ids(item.prompt_id), item.token_ids, adapter)
                row = {"answer_id": item.answer_id, "scorer": scorers[arm], "logp": fsum(logps)}
                store.db.table("answer_scores").insert(row)
            done += 1
            on_event(ItemStored(stage, done, total, item.problem_id))
    return load_ranking(store, round_, benchmark.name, scorers)


def load_ranking(store: Store, round_: RoundInfo, benchmark: str, scorers: Mapping[str, str]) -> dict[str, Any]:
    """Return the result of the measure from the stored scores; `scorers` holds the key of each arm's scores.

    Raises IndexError if a score is not stored.
    """
    sql = "select logp from answer_scores where answer_id = ? and scorer = ?"
    programs: dict[str, list[ScoredProgram]] = defaultdict(list)
    for item in _bank(store, round_, benchmark):
        base, adapter = (store.rows(sql, item.answer_id, scorers[arm])[0]["logp"] for arm in ("base", "adapter"))
        programs[item.problem_id].append(ScoredProgram(item.right, base, adapter))
    return ranking_result(programs, seed=round_.seed) | {"scorers": dict(scorers)}


def _scorer(round_: RoundInfo, adapter: Path | None, source: str) -> str:
    """Return the key of the scores of one model: a hash of model, adapter, and engine with weights format."""
    return content_id("scorer", [round_.model_sha256, adapter_sha256(adapter) if adapter else None, source])


def _bank(store: Store, round_: RoundInfo, benchmark: str) -> Iterator[_Item]:
    """Yield the programs of the bank, problem by problem.

    An answer that was cut or that repeats itself is no complete program: its log-probability is that of a beginning.
    """
    sql = """select answer_id, problem_id, prompt_id, program_id, token_ids, correct from evaluation_samples
             where round_id = ? and benchmark = ? and arm = 'base' and program_id is not null
             and answer_id is not null and finish in ('end-token', 'fence') order by problem_id, number"""
    found: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in store.rows(sql, round_.id, benchmark):
        found[row["problem_id"]].setdefault(row["program_id"], row)
    for problem_id, programs in found.items():
        by_answer = {row["answer_id"]: row for row in programs.values()}
        right, wrong = ([id for id, row in by_answer.items() if bool(row["correct"]) is side] for side in (True, False))
        for id in select_bank(right, wrong, round_.settings.evaluation.ranking_programs):
            row = by_answer[id]
            token_ids = tuple(json.loads(row["token_ids"]))
            yield _Item(id, problem_id, row["prompt_id"], token_ids, bool(row["correct"]))
