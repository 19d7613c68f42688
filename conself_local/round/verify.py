"""Derive again what the store holds and report each difference, for `conself verify`. It changes nothing.

Covered: problem hashes; the ids of programs, prompts and behaviours, which are hashes of their content; number, seeds
and programs of the samples; statuses of the executions; metrics, consensus and pairs; training steps; adapter files;
addresses of answers, and which are right; evaluation results; foreign keys. Not covered: whether a program would behave
the same if it ran today, and what the model would sample today.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conself_local.evaluation.compare import compare, first_version
from conself_local.hashes import behaviour_id, program_id, prompt_id
from conself_local.method.curriculum import normalise_entropy, select_learnable
from conself_local.method.entropy import clusters
from conself_local.model_files.model import has_sha256
from conself_local.problems.problem import Problem
from conself_local.sampling.extract import extract_program
from conself_local.stages.adaptive import ordered_places, planned_samples
from conself_local.stages.answers import derived_address
from conself_local.stages.benchmark import Benchmark
from conself_local.stages.judged import judged_correct, load_arms
from conself_local.stages.prompting import prefix_of
from conself_local.stages.ranking import load_ranking
from conself_local.stages.score import load_evidence, pairs_of
from conself_local.stages.seeds import seed_for
from conself_local.store.forgetting import FORGOTTEN
from conself_local.store.model_changes import changed_models
from conself_local.store.store import RoundInfo, Row, Store


def verify_store(store: Store) -> list[str]:
    """Return one sentence for each difference, with its table and row; an empty list if nothing differs."""
    differences = list(_verify_contents(store)) + list(_verify_executions(store)) + list(_verify_adapters(store))
    for row in store.rows("select id from rounds order by id"):
        round_ = store.round(row["id"])
        differences += _verify_samples(store, round_)
        if store.stage_summary(round_.id, "score"):
            differences += _verify_metrics(store, round_)
        if store.stage_summary(round_.id, "pair"):
            differences += _verify_pairs(store, round_)
        differences += _verify_steps(store, round_)
        differences += _verify_answers(store, round_)
        differences += _verify_evaluations(store, round_)
    for row in store.rows("pragma foreign_key_check"):
        differences.append(f"{row['table']}: a row points to a missing row of {row['parent']}")
    return differences


def _verify_contents(store: Store) -> Iterator[str]:
    """Compare problems, programs, prompts and behaviours with the hashes of their content."""
    hashes = {}
    for row in store.rows("select id, content_hash from problems"):
        hashes[row["id"]] = row["content_hash"]
        try:
            differs = store.problem(row["id"]).content_hash() != row["content_hash"]
        except ValueError as error:
            yield f"problems: {row['id']}: {error}"
            continue
        if differs:
            yield f"problems: {row['id']} does not have the content that its hash names"
    for row in store.rows("select id, problem_id, code from programs"):
        if program_id(hashes[row["problem_id"]], row["code"]) != row["id"]:
            yield f"programs: {row['id']} does not have the code that its id names"
    for row in store.rows("select id, text, token_ids from prompts"):
        if prompt_id(row["text"], json.loads(row["token_ids"])) != row["id"]:
            yield f"prompts: {row['id']} does not have the text and tokens that its id names"
    for row in store.rows("select id, outputs from behaviours"):
        if behaviour_id(json.loads(row["outputs"])) != row["id"]:
            yield f"behaviours: {row['id']} does not have the outputs that its id names"


def _verify_executions(store: Store) -> Iterator[str]:
    """Check that each execution has one output per input, and that its statuses do not contradict each other."""
    sql = """select e.*, b.outputs, p.problem_id, q.inputs from executions e join behaviours b on b.id = e.behaviour_id
             join programs p on p.id = e.program_id join problems q on q.id = p.problem_id"""
    for row in store.rows(sql):
        outputs = json.loads(row["outputs"])
        name = f"executions: {row['program_id']}"
        _, _, round_id = row["limits"].partition("/grown/")
        inputs = (
            _count_augmented(store, int(round_id), row["problem_id"]) if round_id else len(json.loads(row["inputs"]))
        )
        if len(outputs) != inputs:
            yield f"{name} does not have one output per input"
        if not row["compiled"] and any(status == "ok" for status, _, _ in outputs):
            yield f"{name} did not compile, yet it has an output"
        if (row["load_status"] != "ok") != bool(row["load_detail"]):
            yield f"{name} has a load status that contradicts its detail"
        if row["load_status"] != "ok" and any(status != row["load_status"] for status, _, _ in outputs):
            yield f"{name} did not load, yet it has another status on an input"
        if any((status == "ok") != (text is not None) for status, text, _ in outputs):
            yield f"{name} has an output without the status ok, or the status ok without an output"


def _count_augmented(store: Store, round_id: int, problem_id: str) -> int:
    """Return how many test inputs the round has added to the problem."""
    return int(
        store.value("select count(*) from grown_inputs where round_id = ? and problem_id = ?", round_id, problem_id)
    )


def _verify_samples(store: Store, round_: RoundInfo) -> Iterator[str]:
    """Check ids, seeds, programs and likelihoods of the round's samples, and that each problem has all of them."""
    problems = {p.id: p for p in store.round_problems(round_.id)}
    expected = _expected_places(store, round_, problems)
    found: dict[str, set[tuple[int, int]]] = {}
    for row in store.rows("select * from samples where round_id = ?", round_.id):
        problem = problems[row["problem_id"]]
        observation, sample_index = row["observation"], row["number"]
        found.setdefault(problem.id, set()).add((observation, sample_index))
        id = f"{round_.id}/{problem.id}/{observation}/{sample_index}"
        if row["id"] != id or (observation, sample_index) not in expected[problem.id]:
            yield f"samples: {row['id']} does not have the observation and the index that its id names"
        if row["seed"] != seed_for(round_.seed, problem.id, observation, sample_index):
            yield f"samples: {row['id']} does not have the seed of its observation and index"
        prefix = prefix_of(problem, round_.settings)
        code = extract_program(prefix + row["text"])
        if row["program_id"] != (program_id(problem.content_hash(), code) if code else None):
            yield f"samples: {row['id']} names a different program from the one in its text"
        if row["mean_nll"] is not None and not _possible(row["mean_nll"], row["mean_entropy_bits"]):
            yield f"samples: {row['id']} has an impossible likelihood or entropy"
        if row["plain_logp"] is not None and not row["plain_logp"] <= 0:
            yield f"samples: {row['id']} has an impossible likelihood under the plain prompt"
    if store.stage_summary(round_.id, "sample"):
        for id in problems:
            count = len(found.get(id, set()))
            if found.get(id, set()) != expected[id]:
                yield f"samples: {id} has {count} samples in round {round_.id}, not {len(expected[id])}"


def _expected_places(
    store: Store, round_: RoundInfo, problems: Mapping[str, Problem]
) -> dict[str, set[tuple[int, int]]]:
    """Return (observation, index) of the samples of each problem; with adaptive sampling, as the outputs decide."""
    counts = dict.fromkeys(problems, round_.settings.sampling.samples_per_problem)
    if round_.settings.sampling.adaptive:
        counts = planned_samples(store, round_, list(problems.values()))
    return {id: set(ordered_places(round_.settings, count)) for id, count in counts.items()}


def _possible(mean_nll: float, mean_entropy_bits: float | None) -> bool:
    """Return whether both means are in range; the entropy is that of the 15 likeliest tokens, at most log2(15) bits."""
    return mean_nll >= 0 and (mean_entropy_bits is None or 0 <= mean_entropy_bits <= math.log2(15) + 1e-9)


def _close(stored: float | None, derived: float | None) -> bool:
    """Return whether two numbers are equal up to rounding; None equals only None."""
    if stored is None or derived is None:
        return stored is derived
    return math.isclose(stored, derived, rel_tol=1e-9, abs_tol=1e-12)


def _verify_metrics(store: Store, round_: RoundInfo) -> Iterator[str]:
    """Derive the metrics of each problem and the scores of its samples again, from the stored behaviours."""
    selection = round_.settings.selection
    evidence = {p.id: load_evidence(store, round_, p) for p in store.round_problems(round_.id)}
    scores = {id: e.score() for id, e in evidence.items()}
    normalised = normalise_entropy(
        scores, entropy_normalisation=selection.entropy_normalisation, max_crash_rate=selection.max_crash_rate
    )
    selected = select_learnable(
        scores,
        entropy_normalisation=selection.entropy_normalisation,
        entropy_threshold=selection.entropy_threshold,
        max_crash_rate=selection.max_crash_rate,
    )
    # min-max compares the problems of a round with each other, and the user may have deleted some since
    is_whole = selection.entropy_normalisation == "log2" or store.stage_summary(round_.id, FORGOTTEN) is None
    stored = {r["problem_id"]: r for r in store.rows("select * from metrics where round_id = ?", round_.id)}
    for id, score in scores.items():
        row = stored.get(id)
        if row is None:
            yield f"metrics: {id} has no row in round {round_.id}"
            continue
        if not _close(row["entropy_bits"], score.entropy_bits):
            yield f"metrics: {id} has entropy {row['entropy_bits']}, but {score.entropy_bits} is derived"
        if not _close(row["crash_rate"], score.crash_rate) or row["valid"] != score.valid:
            yield f"metrics: {id} has crash rate {row['crash_rate']}, but {score.crash_rate} is derived"
        if is_whole and (
            not _close(row["normalised"], normalised.get(id)) or bool(row["selected"]) != (id in selected)
        ):
            yield (
                f"metrics: {id} has selected={row['selected']} at normalised entropy {row['normalised']}, "
                f"but {int(id in selected)} at {normalised.get(id)} is derived"
            )
        numbers = clusters(evidence[id].behaviours)
        if row["samples"] != evidence[id].sampled or row["clusters"] != len(set(numbers) - {None}):
            yield f"metrics: {id} has counts that differ from those of its samples"
        values = evidence[id].consensus(round_.settings)
        yield from _verify_scores(store, round_.id, evidence[id].rows, values, numbers)


def _verify_scores(
    store: Store, round_id: int, rows: list[Row], values: list[float], numbers: list[int | None]
) -> Iterator[str]:
    """Compare the stored scores of one problem's samples with derived consensus `values` and cluster `numbers`."""
    sql = "select cluster, consensus from sample_scores where round_id = ? and sample_id = ?"
    for row, value, number in zip(rows, values, numbers, strict=True):
        stored = store.rows(sql, round_id, row["id"])
        if not stored or not _close(stored[0]["consensus"], value) or stored[0]["cluster"] != number:
            yield f"sample_scores: {row['id']} has {stored}, but consensus {value} in cluster {number} is derived"


def _verify_pairs(store: Store, round_: RoundInfo) -> Iterator[str]:
    """Build the pairs of the selected problems again and compare sides and weights."""
    sql = "select problem_id from metrics where round_id = ? and selected"
    derived = {
        pair["id"]: pair
        for row in store.rows(sql, round_.id)
        for pair in pairs_of(store, round_, store.problem(row["problem_id"]))
    }
    stored = {r["id"]: r for r in store.rows("select * from pairs where round_id = ?", round_.id)}
    for id in derived.keys() | stored.keys():
        if id not in stored or id not in derived:
            yield f"pairs: {id} is {'missing' if id not in stored else 'not one that the samples give'}"
        elif any(
            stored[id][key] != derived[id][key] for key in ("chosen_id", "rejected_id", "problem_id")
        ) or not _close(stored[id]["weight"], derived[id]["weight"]):
            yield f"pairs: {id} has a chosen or rejected sample or a weight that differs from what the samples give"


def _verify_steps(store: Store, round_: RoundInfo) -> Iterator[str]:
    """Check that the training steps count from 1 without a gap and have finite values."""
    rows = store.rows("select * from training_steps where round_id = ? order by step", round_.id)
    if [r["step"] for r in rows] != list(range(1, len(rows) + 1)):
        yield f"training_steps: round {round_.id} has a missing or a repeated step"
    for row in rows:
        if (
            not all(math.isfinite(row[key]) for key in ("loss", "margin", "gradient_norm"))
            or row["step"] > row["steps"]
        ):
            yield f"training_steps: step {row['step']} of round {round_.id} has an impossible value"


def _verify_adapters(store: Store) -> Iterator[str]:
    """Check that adapter files exist and have the stored sha256, and that models have not changed since."""
    for error in changed_models(store):
        yield f"adapters: {error.message}: {error.hint}"
    for row in store.rows("select * from adapters"):
        path = Path(row["path"])
        if not path.exists():
            yield f"adapters: the file of {row['name']} is missing: {path}"
        elif not has_sha256(path, row["sha256"]) or (row["form"] == "mlx") != path.is_dir():
            yield f"adapters: the sha256 of the file of {row['name']} differs from the stored one"


def _verify_evaluations(store: Store, round_: RoundInfo) -> Iterator[str]:
    """Judge the evaluation samples again from the stored outputs, and derive each benchmark's result from them."""
    for row in store.rows("select * from evaluations where round_id = ?", round_.id):
        name = row["benchmark"]
        sql = "select distinct problem_id from evaluation_samples where round_id = ? and benchmark = ?"
        ids = [r["problem_id"] for r in store.rows(sql, round_.id, name)]
        benchmark = Benchmark(name, [store.problem(id) for id in ids], 0)
        for problem in benchmark.problems:
            for id, stored, derived in judged_correct(store, round_, name, problem):
                if stored != derived:
                    yield f"evaluation_samples: {id} is stored as correct={stored}, but {derived} is derived"
        if not _gives_result(store, round_, benchmark, json.loads(row["result"])):
            yield f"evaluations: {name} of round {round_.id} has a result that differs from what its samples give"


def _gives_result(store: Store, round_: RoundInfo, benchmark: Benchmark, result: dict[str, Any]) -> bool:
    """Return whether the stored answers and scores give this result, by the rules of the version that stored it."""
    ranking = result.get("ranking")
    if ranking and "scorers" in ranking:
        try:
            ranking = load_ranking(store, round_, benchmark.name, ranking["scorers"])
        except (IndexError, KeyError):  # a score is missing
            return False
    derived = compare(load_arms(store, round_, benchmark), seed=round_.seed, ranking=ranking)
    return result == (derived if "version" in result else first_version(derived))


def _verify_answers(store: Store, round_: RoundInfo) -> Iterator[str]:
    """Derive the addresses of the evaluation answers again, and compare the answers that share an address."""
    for row in store.rows("select * from evaluation_samples where round_id = ?", round_.id):
        address = derived_address(store, round_, row)
        if address is not None and address != row["answer_id"]:
            yield f"evaluation_samples: {row['id']} does not have the prompt, settings and seed that its address names"
        if row["token_ids"] is not None and len(json.loads(row["token_ids"])) != row["tokens"]:
            yield f"evaluation_samples: {row['id']} does not have as many tokens as it says"
    sql = """select distinct v.id from evaluation_samples v join evaluation_samples w on w.answer_id = v.answer_id
             where v.round_id = ? and w.round_id < v.round_id
             and (w.text, w.token_ids, w.finish) is not (v.text, v.token_ids, v.finish)"""
    for row in store.rows(sql, round_.id):
        yield f"evaluation_samples: {row['id']} has another content than the answer of the same address"
