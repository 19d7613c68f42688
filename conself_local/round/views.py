"""What the screens show of a round, as plain values: problems, one problem, pairs, steps, results, adapters.

Reads only; the few small writes that a person makes beside a running round are methods of `Store`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from conself_local.method.curriculum import EntropyNormalisation, ProblemScore, is_informative, normalise_entropy
from conself_local.method.entropy import clusters
from conself_local.problems.literals import input_text
from conself_local.stages.score import load_evidence
from conself_local.store.store import Row, Store

ENTROPY_NORMALISATIONS: tuple[EntropyNormalisation, ...] = get_args(EntropyNormalisation)
ProblemClass = Literal["pending", "crashed", "too easy", "learnable", "too hard"]


@dataclass(frozen=True)
class ProblemRow:
    id: str
    kind: ProblemClass
    entropy_bits: float | None
    normalised: float | None
    clusters: int
    crash_rate: float
    samples: int
    pairs: int
    """That it gives, or would give if it were selected."""
    score: ProblemScore | None
    """None while pending."""


def problem_rows(store: Store, round_id: int) -> list[ProblemRow]:
    """Every problem of the round in its order, those without scores as `pending`."""
    settings = store.round(round_id).settings
    sql = """select r.problem_id, m.* from round_problems r
             left join metrics m on m.round_id = r.round_id and m.problem_id = r.problem_id
             where r.round_id = ? order by r.position"""
    rows = []
    for row in store.db.execute(sql, [round_id]):
        id, known, _, samples, _, valid, found, _, crash_rate, entropy, normalised, *_, selected, pairs = row
        if known is None:
            rows.append(ProblemRow(id, "pending", None, None, 0, 0.0, 0, 0, None))
            continue
        score = ProblemScore(crash_rate, entropy, valid)
        kind = _class(score, bool(selected), settings.max_crash_rate)
        rows.append(ProblemRow(id, kind, entropy, normalised, found, crash_rate, samples, pairs or 0, score))
    return rows


def _class(score: ProblemScore, selected: bool, max_crash_rate: float) -> ProblemClass:
    if selected:
        return "learnable"
    if is_informative(score, max_crash_rate):
        return "too hard"
    return "crashed" if score.crash_rate >= max_crash_rate or score.entropy_bits is None else "too easy"


class Selection:
    """What each threshold and normaliser would select, made ready so that a key answers at once on any number of problems."""

    def __init__(self, rows: Sequence[ProblemRow], max_crash_rate: float) -> None:
        scores = {row.id: row.score for row in rows if row.score}
        self._of: dict[EntropyNormalisation, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
        for normalisation in ENTROPY_NORMALISATIONS:
            normalised = normalise_entropy(scores, entropy_normalisation=normalisation, max_crash_rate=max_crash_rate)
            found = sorted((normalised[row.id], row.pairs) for row in rows if row.id in normalised)
            pairs = np.cumsum([0, *(count for _, count in found)])
            self._of[normalisation] = np.array([value for value, _ in found]), pairs

    def count(self, normalisation: EntropyNormalisation, entropy_threshold: float) -> tuple[int, int]:
        """(problems, pairs) below the threshold."""
        values, pairs = self._of[normalisation]
        problems = int(np.searchsorted(values, entropy_threshold, side="left"))
        return problems, int(pairs[problems])


@dataclass(frozen=True)
class ProgramView:
    code: str
    cluster: int | None
    """0 is the largest; None: it failed on every input."""
    samples: int
    consensus: float | None
    outputs: tuple[str | None, ...]
    """Comparison keys, one an input; None where it failed."""
    statuses: tuple[str, ...]


@dataclass(frozen=True)
class ProblemView:
    id: str
    statement: str
    inputs: tuple[str, ...]
    given: int
    """How many of the inputs came with the problem; the others were grown."""
    programs: tuple[ProgramView, ...]
    """Different programs, those of the largest cluster first."""
    observations: tuple[str, ...]
    prompts: tuple[str, ...]
    completions: tuple[str, ...]
    kind: ProblemClass
    entropy_bits: float | None


def problem_view(store: Store, round_id: int, problem_id: str) -> ProblemView:
    round_, problem = store.round(round_id), store.problem(problem_id)
    evidence = load_evidence(store, round_, problem)
    numbers = clusters(evidence.behaviours)
    grown = [r["text"] for r in store.rows(_GROWN, round_id, problem_id)]
    consensus = {r["sample_id"]: r["consensus"] for r in store.rows(_CONSENSUS, round_id, problem_id)}
    found: dict[str, ProgramView] = {}
    for row, behaviour, number in zip(evidence.rows, evidence.behaviours, numbers, strict=True):
        known = found.get(row["program_id"])
        statuses = tuple(
            status for status, _, _ in json.loads(row["outputs"]) + json.loads(row["grown_outputs"] or "[]")
        )
        found[row["program_id"]] = ProgramView(
            row["code"], number, (known.samples if known else 0) + 1, consensus.get(row["id"]), behaviour, statuses
        )
    programs = sorted(found.values(), key=lambda p: (p.cluster is None, p.cluster or 0, -p.samples))
    sampled = store.rows(_SAMPLED, round_id, problem_id)
    metrics = store.rows("select * from metrics where round_id = ? and problem_id = ?", round_id, problem_id)
    score = ProblemScore(metrics[0]["crash_rate"], metrics[0]["entropy_bits"], metrics[0]["valid"]) if metrics else None
    kind: ProblemClass = (
        _class(score, bool(metrics[0]["selected"]), round_.settings.max_crash_rate) if score else "pending"
    )
    return ProblemView(
        problem_id,
        problem.statement,
        (*(input_text(i) for i in problem.inputs), *grown),
        len(problem.inputs),
        tuple(programs),
        tuple(
            r["text"] or "(none: sampled from the plain prompt)"
            for r in store.rows(_OBSERVATIONS, round_id, problem_id)
        ),
        tuple(dict.fromkeys(r["prompt"] for r in sampled)),
        tuple(r["text"] for r in sampled),
        kind,
        score.entropy_bits if score else None,
    )


_GROWN = "select text from grown_inputs where round_id = ? and problem_id = ? order by number"
_OBSERVATIONS = "select text from observations where round_id = ? and problem_id = ? order by number"
_CONSENSUS = """select c.sample_id, c.consensus from sample_scores c join samples s on s.id = c.sample_id
                where s.round_id = ? and s.problem_id = ?"""
_SAMPLED = """select s.text, p.text as prompt from samples s join prompts p on p.id = s.prompt_id
              where s.round_id = ? and s.problem_id = ? order by s.observation, s.number"""


def latest_programs(store: Store, round_id: int, wanted: int = 12) -> list[Row]:
    """The last samples: problem, first line of the code that says something, tokens, how the answer ended, how it ran."""
    sql = """select s.problem_id, s.finish, json_array_length(s.token_ids) as tokens, p.code,
             (select e.load_status || ' ' || (select group_concat(json_extract(o.value, '$[0]'), ' ') from json_each(b.outputs) o)
              from executions e join behaviours b on b.id = e.behaviour_id where e.program_id = p.id limit 1) as ran
             from samples s left join programs p on p.id = s.program_id
             where s.round_id = ? and s.rowid > (select max(rowid) from samples) - 1000
             order by s.rowid desc limit ?"""
    return [row | {"ran": _how_it_ran(row["ran"])} for row in store.rows(sql, round_id, wanted)]


def _how_it_ran(statuses: str | None) -> str:
    """`waits`, `ok 3/3`, or the first status that is not ok."""
    if statuses is None:
        return "waits"
    _, *inputs = statuses.split()
    right = inputs.count("ok")
    return f"ok {right}/{len(inputs)}" if right else next((s for s in inputs if s != "ok"), "nothing")


def tokens_since(store: Store, round_id: int, place: int | None) -> tuple[int, int]:
    """(tokens of the programs sampled after `place`, the place of the last one); 0 tokens from None."""
    last = int(store.value("select coalesce(max(rowid), 0) from samples") or 0)
    if place is None:
        return 0, last
    sql = "select coalesce(sum(json_array_length(token_ids)), 0) from samples where rowid > ? and rowid <= ? and round_id = ?"
    return int(store.value(sql, place, last, round_id)), last


def pair_rows(store: Store, round_id: int) -> list[Row]:
    """Every pair in its order: problem, both programs, weight, why, whether it is excluded."""
    sql = """select p.id, p.problem_id, p.weight, p.excluded, c.code as chosen, r.code as rejected, sc.cluster as chosen_cluster,
             sr.cluster as rejected_cluster, sr.consensus as rejected_consensus
             from pairs p join samples a on a.id = p.chosen_id join samples b on b.id = p.rejected_id
             join programs c on c.id = a.program_id join programs r on r.id = b.program_id
             left join sample_scores sc on sc.sample_id = a.id left join sample_scores sr on sr.sample_id = b.id
             where p.round_id = ? order by p.position"""
    return [row | {"why": _why_pair(row)} for row in store.rows(sql, round_id)]


def _why_pair(row: Row) -> str:
    against = "failed on every input" if row["rejected_cluster"] is None else "ran and disagreed"
    consensus = "" if row["rejected_consensus"] is None else f" (consensus {row['rejected_consensus']:.2f})"
    return (
        f"the chosen has the highest consensus of its problem, {row['weight']:.2f}; the rejected {against}{consensus}"
    )


def training_steps(store: Store, round_id: int) -> list[Row]:
    return store.rows("select * from training_steps where round_id = ? order by step", round_id)


def adapter_rows(store: Store) -> list[Row]:
    """With the round's result on each benchmark, newest first."""
    rows = store.rows("select * from adapters order by id desc")
    for row in rows:
        sql = "select benchmark, result from evaluations where round_id = ?"
        row["verdicts"] = {r["benchmark"]: json.loads(r["result"])["verdict"] for r in store.rows(sql, row["round_id"])}
    return rows


def judged_programs(store: Store, round_id: int, benchmark: str, problem_id: str) -> dict[str, tuple[str, bool]]:
    """arm -> (the greedy answer's program, whether it is right)."""
    sql = """select v.arm, coalesce(p.code, v.text) as code, v.correct from evaluation_samples v
             left join programs p on p.id = v.program_id
             where v.round_id = ? and v.benchmark = ? and v.problem_id = ? and v.mode = 'greedy'"""
    return {r["arm"]: (r["code"], bool(r["correct"])) for r in store.rows(sql, round_id, benchmark, problem_id)}


def summary_of_home(store: Store) -> dict[str, Any]:
    """How many rounds and adapters there are, and which round is the latest."""
    latest = store.latest_round()
    return {
        "rounds": int(store.value("select count(*) from rounds")),
        "adapters": int(store.value("select count(*) from adapters")),
        "latest": latest.id if latest else None,
        "state": latest.state if latest else None,
    }
