"""Read from the store what the screens show of a round: problems, one problem, pairs, steps, results, adapters.

Everything is returned as plain values and nothing is written; the few small changes that a user may make while a round
runs are methods of `Store`. Counts and histograms for the report are in `store/reports.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from conself_local.errors import ConselfError
from conself_local.method.curriculum import EntropyNormalisation, ProblemScore, is_informative, normalise_entropy
from conself_local.method.entropy import clusters
from conself_local.problems.literals import input_text
from conself_local.stages.score import load_evidence
from conself_local.store.store import TOKENS, Row, Store

ENTROPY_NORMALISATIONS: tuple[EntropyNormalisation, ...] = get_args(EntropyNormalisation)
ProblemClass = Literal["pending", "crashed", "too easy", "learnable", "too hard"]
"""Result of the scores for a problem. `pending`: not scored yet, `too easy`: entropy 0, `learnable`: selected,
`too hard`: informative, but not selected, `crashed`: the crash rate is too high or no sample is valid."""


@dataclass(frozen=True)
class ProblemRow:
    """One problem of a round with its metrics, as the list of problems shows it."""

    id: str
    kind: ProblemClass
    entropy_bits: float | None
    """None: no valid program, or pending."""
    normalised: float | None
    """Normalised entropy in [0, 1]; None if the problem is not informative, or pending."""
    clusters: int
    crash_rate: float
    samples: int
    pairs: int
    """The number of pairs that it gives, or would give if it were selected."""
    score: ProblemScore | None
    """None while pending."""


def problem_rows(store: Store, round_id: int) -> list[ProblemRow]:
    """Return every problem of the round in its order; those without metrics are `pending`."""
    max_crash_rate = store.round(round_id).settings.selection.max_crash_rate
    sql = f"{_PROBLEM_ROWS} where r.round_id = ? order by r.position"
    return [_problem_row(row, max_crash_rate) for row in store.rows(sql, round_id)]


def problem_row(store: Store, round_id: int, problem_id: str) -> ProblemRow:
    """Return one problem of the round. Raises ConselfError if the round does not have it."""
    max_crash_rate = store.round(round_id).settings.selection.max_crash_rate
    rows = store.rows(f"{_PROBLEM_ROWS} where r.round_id = ? and r.problem_id = ?", round_id, problem_id)
    if not rows:
        raise ConselfError(f"round {round_id} has no problem {problem_id}", "press r to read the round again")
    return _problem_row(rows[0], max_crash_rate)


_PROBLEM_ROWS = """select r.problem_id, m.samples, m.valid, m.clusters, m.crash_rate, m.entropy_bits, m.normalised,
                   m.selected, m.pairs from round_problems r
                   left join metrics m on m.round_id = r.round_id and m.problem_id = r.problem_id"""


def _problem_row(row: Row, max_crash_rate: float) -> ProblemRow:
    id = row["problem_id"]
    if row["samples"] is None:
        return ProblemRow(id, "pending", None, None, 0, 0.0, 0, 0, None)
    score = ProblemScore(row["crash_rate"], row["entropy_bits"], row["valid"])
    return ProblemRow(
        id,
        _class(score, bool(row["selected"]), max_crash_rate),
        row["entropy_bits"],
        row["normalised"],
        row["clusters"],
        row["crash_rate"],
        row["samples"],
        row["pairs"] or 0,
        score,
    )


def _class(score: ProblemScore, selected: bool, max_crash_rate: float) -> ProblemClass:
    """Return the class of a problem that has been scored."""
    if selected:
        return "learnable"
    if is_informative(score, max_crash_rate):
        return "too hard"
    return "crashed" if score.crash_rate >= max_crash_rate or score.entropy_bits is None else "too easy"


class Selection:
    """Counts what each entropy threshold and normalisation would select.

    The work is done when the object is made, so that a key press is answered at once with any number of problems.
    """

    def __init__(self, rows: Sequence[ProblemRow], max_crash_rate: float) -> None:
        scores = {row.id: row.score for row in rows if row.score}
        self._sorted: dict[EntropyNormalisation, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
        for normalisation in ENTROPY_NORMALISATIONS:
            normalised = normalise_entropy(scores, entropy_normalisation=normalisation, max_crash_rate=max_crash_rate)
            found = sorted((normalised[row.id], row.pairs) for row in rows if row.id in normalised)
            pairs = np.cumsum([0, *(count for _, count in found)])
            self._sorted[normalisation] = np.array([value for value, _ in found]), pairs

    def count(self, normalisation: EntropyNormalisation, entropy_threshold: float) -> tuple[int, int]:
        """Return how many (problems, pairs) have a normalised entropy below the threshold."""
        values, pairs = self._sorted[normalisation]
        problems = int(np.searchsorted(values, entropy_threshold, side="left"))
        return problems, int(pairs[problems])


@dataclass(frozen=True)
class ProgramView:
    """One of the different programs that were sampled for a problem, with its behaviour."""

    code: str
    cluster: int | None
    """0 is the largest; None: it failed on every input."""
    samples: int
    """How often the program was sampled."""
    consensus: float | None
    """Agreement with the other samples, in [0, 1]; None: not scored yet."""
    outputs: tuple[str | None, ...]
    """Comparison keys, one per input; None: the program failed on that input."""
    statuses: tuple[str, ...]
    """How each run ended, given inputs first; shorter than `outputs` if the program did not run on the others."""


@dataclass(frozen=True)
class ProblemView:
    """Everything that the screens show of one problem of a round."""

    id: str
    statement: str
    inputs: tuple[str, ...]
    """Test inputs as text, the given ones first."""
    given: int
    """How many of the inputs came with the problem; the round added the others."""
    programs: tuple[ProgramView, ...]
    """Different programs: the largest cluster first, and the most sampled first within a cluster."""
    observations: tuple[str, ...]
    prompts: tuple[str, ...]
    """Each different prompt once, in the order of the samples."""
    completions: tuple[str, ...]
    """One text per sample, ordered by observation and index."""
    kind: ProblemClass
    entropy_bits: float | None


def problem_view(store: Store, round_id: int, problem_id: str) -> ProblemView:
    """Return one problem of a round with its inputs, programs, observations, prompts and completions so far."""
    round_, problem = store.round(round_id), store.problem(problem_id)
    evidence = load_evidence(store, round_, problem)
    numbers = clusters(evidence.behaviours)
    augmented = [r["text"] for r in store.rows(_AUGMENTED_INPUTS, round_id, problem_id)]
    consensus = {r["sample_id"]: r["consensus"] for r in store.rows(_SAMPLE_CONSENSUS, round_id, problem_id)}
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
    sampled = store.rows(_PROMPTS_AND_COMPLETIONS, round_id, problem_id)
    metrics = store.rows("select * from metrics where round_id = ? and problem_id = ?", round_id, problem_id)
    score = ProblemScore(metrics[0]["crash_rate"], metrics[0]["entropy_bits"], metrics[0]["valid"]) if metrics else None
    kind: ProblemClass = (
        _class(score, bool(metrics[0]["selected"]), round_.settings.selection.max_crash_rate) if score else "pending"
    )
    return ProblemView(
        problem_id,
        problem.statement,
        (*(input_text(i) for i in problem.inputs), *augmented),
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


_AUGMENTED_INPUTS = "select text from grown_inputs where round_id = ? and problem_id = ? order by number"
_OBSERVATIONS = "select text from observations where round_id = ? and problem_id = ? order by number"
_SAMPLE_CONSENSUS = """select c.sample_id, c.consensus from sample_scores c join samples s on s.id = c.sample_id
                       where c.round_id = ? and s.problem_id = ?"""
_PROMPTS_AND_COMPLETIONS = """select s.text, p.text as prompt from samples s join prompts p on p.id = s.prompt_id
                              where s.round_id = ? and s.problem_id = ? order by s.observation, s.number"""


def latest_programs(store: Store, round_id: int, wanted: int = 12) -> list[Row]:
    """Return the latest samples, newest first: id, problem, `finish`, number of tokens, code, how the program `ran`.

    At most `wanted` rows, and only samples among the last 1000 of the store.
    """
    sql = f"""select s.id, s.problem_id, s.finish, {TOKENS} as tokens, p.code,
             (select e.load_status || ' ' ||
                     (select group_concat(json_extract(o.value, '$[0]'), ' ') from json_each(b.outputs) o)
              from executions e join behaviours b on b.id = e.behaviour_id where e.program_id = p.id limit 1) as ran
             from samples s left join programs p on p.id = s.program_id
             where s.round_id = ? and s.rowid > (select max(rowid) from samples) - 1000
             order by s.rowid desc limit ?"""
    return [row | {"ran": _how_it_ran(row["ran"])} for row in store.rows(sql, round_id, wanted)]


def _how_it_ran(statuses: str | None) -> str:
    """Return `waiting` (not run yet), `ok 2/3` (inputs with the status ok), or the first status if none is ok."""
    if statuses is None:
        return "waiting"
    _, *inputs = statuses.split()
    count_ok = inputs.count("ok")
    return f"ok {count_ok}/{len(inputs)}" if count_ok else next((s for s in inputs if s != "ok"), "nothing")


def tokens_since(store: Store, round_id: int, after_row: int | None) -> tuple[int, int]:
    """Return (tokens of this round's samples after `after_row`, row id of the last sample of any round).

    None for `after_row` gives 0 tokens.
    """
    last = int(store.value("select coalesce(max(rowid), 0) from samples") or 0)
    if after_row is None:
        return 0, last
    sql = f"""select coalesce(sum({TOKENS}), 0) from samples
             where rowid > ? and rowid <= ? and round_id = ?"""
    return int(store.value(sql, after_row, last, round_id)), last


def pair_rows(store: Store, round_id: int) -> list[Row]:
    """Return every pair of the round in its order: problem, both programs, weight, reason, whether it is excluded.

    `why` is a sentence; `chosen_cluster` and `rejected_cluster` are None for a program that failed on every input.
    """
    sql = """select p.id, p.problem_id, p.weight, p.excluded, c.code as chosen, r.code as rejected,
             sc.cluster as chosen_cluster,
             sr.cluster as rejected_cluster, sc.consensus as chosen_consensus, sr.consensus as rejected_consensus
             from pairs p join samples a on a.id = p.chosen_id join samples b on b.id = p.rejected_id
             join programs c on c.id = a.program_id join programs r on r.id = b.program_id
             left join sample_scores sc on sc.sample_id = a.id and sc.round_id = p.round_id
             left join sample_scores sr on sr.sample_id = b.id and sr.round_id = p.round_id
             where p.round_id = ? order by p.position"""
    return [row | {"why": _why_pair(row)} for row in store.rows(sql, round_id)]


def _why_pair(row: Row) -> str:
    """Return why the pair was built, from the weight and the scores of its samples."""
    against = "failed on every input" if row["rejected_cluster"] is None else "ran and disagreed"
    consensus = "" if row["rejected_consensus"] is None else f" (consensus {row['rejected_consensus']:.2f})"
    return (
        f"the chosen has the highest consensus of its problem, {row['weight']:.2f}; the rejected {against}{consensus}"
    )


def training_steps(store: Store, round_id: int) -> list[Row]:
    """Return the optimiser steps of the round in order, one row per step; the units are those of `events.StepDone`."""
    return store.rows("select * from training_steps where round_id = ? order by step", round_id)


def adapter_rows(store: Store) -> list[Row]:
    """Return all adapters, newest first.

    `results` holds the result of each benchmark of their round, `verdicts` the sentence about it.
    """
    rows = store.rows("select * from adapters order by id desc")
    for row in rows:
        sql = "select benchmark, result from evaluations where round_id = ?"
        row["results"] = {r["benchmark"]: json.loads(r["result"]) for r in store.rows(sql, row["round_id"])}
        row["verdicts"] = {name: result["verdict"] for name, result in row["results"].items()}
    return rows


def judged_programs(store: Store, round_id: int, benchmark: str, problem_id: str) -> dict[str, tuple[str, bool]]:
    """Return {arm: (program of the greedy answer, or its text if it holds none, whether it is right)}."""
    sql = """select v.arm, coalesce(p.code, v.text) as code, v.correct from evaluation_samples v
             left join programs p on p.id = v.program_id
             where v.round_id = ? and v.benchmark = ? and v.problem_id = ? and v.mode = 'greedy'"""
    return {r["arm"]: (r["code"], bool(r["correct"])) for r in store.rows(sql, round_id, benchmark, problem_id)}


def summary_of_home(store: Store) -> dict[str, Any]:
    """Return the numbers of rounds and adapters, and id and state of the latest round (None if there is no round)."""
    latest = store.latest_round()
    return {
        "rounds": int(store.value("select count(*) from rounds")),
        "adapters": int(store.value("select count(*) from adapters")),
        "latest": latest.id if latest else None,
        "state": latest.state if latest else None,
    }
