"""Stages 5 and 6, `score` and `pair`: entropy, consensus and selection; then preference pairs of selected problems.

Both stages are cheap and depend only on what is stored, so each is done in one transaction and repeated at every start.
They hold one problem at a time, so that memory does not grow with their number.
Samples are counted, not programs: crash rate, entropy and consensus weigh a program by how often it was sampled.
Not covered: the formulas (`method/`).
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from conself_local.events import OnEvent, StageDone, StageStarted
from conself_local.hashes import content_id
from conself_local.method.behaviour import Behaviour, comparison_key, crash_rate
from conself_local.method.chosen import ChosenRules, ScoredSample, choose
from conself_local.method.consensus import consensus
from conself_local.method.curriculum import ProblemScore, normalise_entropy, select_learnable
from conself_local.method.entropy import clusters, semantic_entropy_bits
from conself_local.method.pairs import Pair, build_pairs, pair_candidates, random_pairs
from conself_local.method.votes import VoteWeights, vote_margin, voter_weights
from conself_local.problems.problem import Problem
from conself_local.settings import Settings
from conself_local.stages.execute import augmented_key, limits_key, limits_of
from conself_local.stages.seeds import seed_for
from conself_local.store.pooling import count_pooled, voting_rounds
from conself_local.store.store import RoundInfo, Row, Store


@dataclass(frozen=True)
class ProblemEvidence:
    """The samples of one problem that count, with their behaviours, in order of (observation, index)."""

    problem_id: str
    rows: list[Row]
    """The counted samples, each with its program and its likelihood."""
    behaviours: list[Behaviour]
    """One per row: comparison keys on the given inputs, then on the added ones."""
    sampled: int
    """Number of all samples, including those without a program and those excluded as nondeterministic; with pooled
    votes, those of earlier rounds too."""
    _consensus: dict[VoteWeights, list[float]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def clusters(self) -> list[int | None]:
        """The cluster of each counted sample; None if it crashed."""
        return clusters(self.behaviours)

    def score(self) -> ProblemScore:
        """Return crash rate, semantic entropy in bits and number of valid samples."""
        valid = sum(c is not None for c in self.clusters)
        return ProblemScore(crash_rate(self.behaviours), semantic_entropy_bits(self.behaviours), valid)

    def consensus(self, settings: Settings) -> list[float]:
        """Return the consensus of each row, in [0, 1], with the votes weighted as the settings say; computed once."""
        votes = settings.pairs.vote_weights
        if votes not in self._consensus:
            self._consensus[votes] = consensus(self.behaviours, voter_weights(self.behaviours, votes))
        return self._consensus[votes]


def load_evidence(store: Store, round_: RoundInfo, problem: Problem) -> ProblemEvidence:
    """Read the counted samples of one problem: those whose program has run under the round's limits.

    If the round pools votes, the samples of earlier rounds follow its own (`store/pooling.py`), the latest round first,
    and their observations are counted on, so that (observation, index) names one sample.
    Nondeterministic programs are excluded unless `execution.keep_nondeterministic`. A program that did not run on the
    added inputs has None on each of them. `plain_logp` of a row is the mean log-probability under the plain prompt:
    what `likelihood.py` stored, or the negated NLL of a sample that was drawn from that very prompt; else None.
    """
    sql = """select s.id, s.round_id, s.observation, s.number, s.mean_nll, s.mean_entropy_bits, s.program_id,
             p.code, e.compiled,
             coalesce(s.plain_logp, case when s.prompt_id = q.plain_prompt_id then -s.mean_nll end) as plain_logp,
             min(e.deterministic, coalesce(g.deterministic, 1)) as deterministic, b.outputs, c.outputs as grown_outputs
             from samples s left join programs p on p.id = s.program_id
             left join round_problems q on q.round_id = s.round_id and q.problem_id = s.problem_id
             left join executions e on e.program_id = s.program_id and e.limits = ?
             left join behaviours b on b.id = e.behaviour_id
             left join executions g on g.program_id = s.program_id and g.limits = ?
             left join behaviours c on c.id = g.behaviour_id
             where s.round_id in (select value from json_each(?)) and (s.round_id = ? or s.tokens is null)
             and s.problem_id = ? order by s.round_id desc, s.observation, s.number"""
    limits, voting = limits_of(round_.settings), voting_rounds(store, round_, problem.id)
    keys = limits_key(limits), augmented_key(limits, round_.id)
    rows = store.rows(sql, *keys, json.dumps(voting), round_.id, problem.id)
    if len(voting) > 1:
        _count_on(rows)
    counted = [row for row in rows if is_counted(row, round_.settings)]
    grown = store.value(
        "select coalesce(grown, 0) from round_problems where round_id = ? and problem_id = ?", round_.id, problem.id
    )
    read = BehaviourReader(problem, round_.settings)
    behaviours = [
        read.behaviour(r["outputs"]) + (read.behaviour(r["grown_outputs"]) if r["grown_outputs"] else (None,) * grown)
        for r in counted
    ]
    return ProblemEvidence(problem.id, counted, behaviours, len(rows))


def _count_on(rows: Sequence[Row]) -> None:
    """Give the observations of all rounds new numbers, one after the other, in the order of the rows."""
    numbers: dict[tuple[int, int], int] = {}
    for row in rows:
        row["observation"] = numbers.setdefault((row["round_id"], row["observation"]), len(numbers))


def is_counted(row: Row, settings: Settings) -> bool:
    """Return whether a sample or an answer counts: its program has run, and is deterministic if the settings ask so.

    `row` has the columns `outputs` and `deterministic` of its program's execution.
    """
    return row["outputs"] is not None and (settings.execution.keep_nondeterministic or row["deterministic"] != 0)


class BehaviourReader:
    """Reads the stored behaviours of one problem; behaviours and texts that are equal are parsed once."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        self._problem, self._settings = problem, settings
        self._behaviours: dict[str, Behaviour] = {}
        self._keys: dict[str, str | None] = {}

    def behaviour(self, outputs_json: str) -> Behaviour:
        """Return the comparison keys of a stored behaviour, one per input; None if the status is not ok."""
        if outputs_json not in self._behaviours:
            outputs = json.loads(outputs_json)
            self._behaviours[outputs_json] = tuple(
                self._key(text) if status == "ok" else None for status, text, _ in outputs
            )
        return self._behaviours[outputs_json]

    def behaviour_or_crash(self, row: Row) -> Behaviour:
        """Return the behaviour of a sample or an answer; that of a crashed program if it does not count."""
        if not is_counted(row, self._settings):
            return (None,) * len(self._problem.inputs)
        return self.behaviour(row["outputs"])

    def _key(self, text: str | None) -> str | None:
        if text is None:
            return None
        if text not in self._keys:
            self._keys[text] = key_of(text, self._problem, self._settings)
        return self._keys[text]


def key_of(text: str | None, problem: Problem, settings: Settings) -> str | None:
    """Return the comparison key of one output, or None for None.

    The text itself is the key for a stdin problem, and for every problem with `execution.exact_behaviour`.
    """
    exact = settings.execution.exact_behaviour or problem.kind == "stdin"
    return text if text is None or exact else comparison_key(text)


def score_problems(store: Store, round_: RoundInfo, on_event: OnEvent) -> None:
    """Store the metrics of every problem, with the mark `selected`, and the scores of every counted sample."""
    selection = round_.settings.selection
    ids = store.round_problem_ids(round_.id)
    on_event(StageStarted("score", 0, len(ids)))
    scores: dict[str, ProblemScore] = {}
    with store.transaction():
        store.db.execute("delete from metrics where round_id = ?", [round_.id])
        store.db.execute("delete from sample_scores where round_id = ?", [round_.id])
        for id in ids:
            evidence = load_evidence(store, round_, store.problem(id))
            scores[id] = evidence.score()
            _store_scores(store, round_, evidence, scores[id])
        normalised = normalise_entropy(
            scores, entropy_normalisation=selection.entropy_normalisation, max_crash_rate=selection.max_crash_rate
        )
        selected = set(
            select_learnable(
                scores,
                entropy_normalisation=selection.entropy_normalisation,
                entropy_threshold=selection.entropy_threshold,
                max_crash_rate=selection.max_crash_rate,
            )
        )
        changed = "update metrics set normalised = ?, selected = ? where round_id = ? and problem_id = ?"
        for id, value in normalised.items():
            store.db.execute(changed, [value, id in selected, round_.id, id])
    summary = f"{len(normalised)} of {len(ids)} problems are informative, {len(selected)} are learnable"
    if pooled := count_pooled(store, round_):
        summary += f"; {pooled} samples of earlier rounds vote too"
    store.finish_stage(round_.id, "score", summary)
    on_event(StageDone("score", summary))


def _store_scores(store: Store, round_: RoundInfo, evidence: ProblemEvidence, score: ProblemScore) -> None:
    """Store what is known from one problem alone; whether it is selected depends on all problems."""
    valid = [number for number in evidence.clusters if number is not None]
    store.db.table("metrics").insert(
        {
            "round_id": round_.id,
            "problem_id": evidence.problem_id,
            "samples": evidence.sampled,
            "without_program": evidence.sampled - len(evidence.rows),
            "valid": score.valid,
            "clusters": len(set(valid)),
            "largest_share": Counter(valid)[0] / len(valid) if valid else None,
            "crash_rate": score.crash_rate,
            "entropy_bits": score.entropy_bits,
            "normalised": None,
            "mean_nll": _mean_of(evidence.rows, "mean_nll"),
            "mean_entropy_bits": _mean_of(evidence.rows, "mean_entropy_bits"),
            "selected": False,
            "pairs": len(pairs_from(evidence, round_.settings, round_.seed)),
        }
    )
    scored = zip(evidence.rows, evidence.clusters, evidence.consensus(round_.settings), strict=True)
    store.insert_sample_scores(round_.id, ((row["id"], number, value) for row, number, value in scored))


def _mean_of(rows: Sequence[Row], column: str) -> float | None:
    """Return the mean over the samples that have a value; None if none has one, as from most servers."""
    values = [row[column] for row in rows if row[column] is not None]
    return fmean(values) if values else None


def scored_samples(evidence: ProblemEvidence, settings: Settings) -> list[ScoredSample]:
    """Return the counted samples with behaviour, consensus and likelihood, as `build_pairs` takes them."""
    return [
        ScoredSample(r["id"], r["observation"], r["number"], r["code"], bool(r["compiled"]), b, c, r.get("plain_logp"))
        for r, b, c in zip(evidence.rows, evidence.behaviours, evidence.consensus(settings), strict=True)
    ]


def chosen_rules(settings: Settings) -> ChosenRules:
    """Return the rules of the settings for the programs that may be chosen."""
    return ChosenRules(
        vote_weights=settings.pairs.vote_weights,
        allow_constant=settings.pairs.allow_constant_chosen,
        min_cluster_share=settings.pairs.min_cluster_share,
        max_cluster_share=settings.pairs.max_cluster_share,
        min_vote_share=settings.pairs.min_vote_share,
        min_vote_margin=settings.pairs.min_vote_margin,
        max_programs=settings.pairs.chosen_programs,
    )


def choosable(evidence: ProblemEvidence, settings: Settings) -> list[ScoredSample]:
    """Return all samples from which the chosen ones of a problem are taken: those of the highest consensus."""
    samples = scored_samples(evidence, settings)
    candidates = pair_candidates(samples, distinct_code=settings.pairs.distinct_code)
    rules = dataclasses.replace(chosen_rules(settings), max_programs=None)
    return choose(samples, candidates, rules, sampled=evidence.sampled)


def pairs_of(store: Store, round_: RoundInfo, problem: Problem) -> list[Row]:
    """Return the pairs of one problem as rows of the table `pairs`, without position, prompt and exclusion."""
    return [
        {
            "id": _pair_id(round_, pair),
            "round_id": round_.id,
            "problem_id": problem.id,
            "chosen_id": pair.chosen.id,
            "rejected_id": pair.rejected.id,
            "weight": pair.weight,
        }
        for pair in pairs_from(load_evidence(store, round_, problem), round_.settings, round_.seed)
    ]


def _pair_id(round_: RoundInfo, pair: Pair) -> str:
    """Return the id of a pair; several rounds may build the same pair of an earlier round's samples."""
    sides = [pair.chosen.id, pair.rejected.id]
    own = all(id.startswith(f"{round_.id}/") for id in sides)
    return content_id("pair", sides if own else [*sides, round_.id])


def pairs_from(evidence: ProblemEvidence, settings: Settings, seed: int) -> list[Pair]:
    """Build the pairs of one problem as the settings say; `seed` is that of the round.

    With `pairs.pairing` "random", the pairs are random, but only for problems that would have consensus pairs; a vote
    margin as weight is then that of the consensus pairs.
    """
    samples, rules = scored_samples(evidence, settings), settings.pairs
    pairs = build_pairs(
        samples,
        chosen_rules(settings),
        rejected=rules.rejected,
        max_pairs=rules.max_pairs,
        distinct_code=rules.distinct_code,
        sampled=evidence.sampled,
    )
    if not pairs:
        return []
    weight = _common_weight(evidence, settings, pairs[0].chosen.behaviour)
    if rules.pairing == "random":
        pairs = random_pairs(
            samples, max_pairs=rules.max_pairs, seed=seed_for(seed, evidence.problem_id, "random pairs")
        )
    return pairs if weight is None else [dataclasses.replace(pair, weight=weight) for pair in pairs]


def _common_weight(evidence: ProblemEvidence, settings: Settings, chosen: Behaviour) -> float | None:
    """Return the weight that all pairs of the problem have, or None if each has the consensus of its chosen."""
    if settings.pairs.weight == "margin":
        votes = settings.pairs.vote_weights
        return vote_margin(evidence.behaviours, chosen, vote_weights=votes, sampled=evidence.sampled)
    return {"one": 1.0, "none": 0.0}.get(settings.pairs.weight)


def build_round_pairs(store: Store, round_: RoundInfo, on_event: OnEvent) -> None:
    """Build and store the pairs of every selected problem.

    A pair that the user excluded remains excluded, also if it was in an earlier round.
    """
    on_event(StageStarted("pair", 0, 1))
    sql = """select m.problem_id, r.plain_prompt_id from metrics m join round_problems r using (round_id, problem_id)
             where m.round_id = ? and m.selected order by r.position"""
    marks = store.rows("select chosen_id, rejected_id from pairs where excluded and round_id <= ?", round_.id)
    excluded = {(r["chosen_id"], r["rejected_id"]) for r in marks}
    position = 0
    with store.transaction():
        store.db.execute("delete from pairs where round_id = ?", [round_.id])
        for row in store.rows(sql, round_.id):
            for pair in pairs_of(store, round_, store.problem(row["problem_id"])):
                round_columns = {
                    "position": position,
                    "prompt_id": row["plain_prompt_id"],
                    "excluded": (pair["chosen_id"], pair["rejected_id"]) in excluded,
                }
                store.db.table("pairs").insert(pair | round_columns)
                position += 1
    problems = int(store.value("select count(distinct problem_id) from pairs where round_id = ?", round_.id))
    summary = f"{position} pairs from {problems} problems"
    store.finish_stage(round_.id, "pair", summary)
    on_event(StageDone("pair", summary))
