"""Summarise a round from the store as plain JSON values, for the report, `conself status` and the screens.

Nothing is written and nothing is decided here; single problems, programs and pairs are in `round/views.py`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from conself_local.evaluation.over_seeds import pool_flips
from conself_local.settings import find_differences
from conself_local.store.store import RoundInfo, Store

HISTOGRAM_BINS = 8
"""Number of bins of half a bit each: they reach up to 4 bits."""


def round_report(store: Store, round_id: int) -> dict[str, Any]:
    """Return everything that the report of a round shows.

    A stage that has not run leaves its values at 0, None or empty. Crash rates and shares are in [0, 1].
    Raises ConselfError if there is no such round.
    """
    info = store.round(round_id)
    sampled = store.row(
        """select count(*) as samples, count(program_id) as with_program, count(distinct program_id) as programs,
           coalesce(sum(finish = 'length'), 0) as cut from samples where round_id = ?""",
        round_id,
    )
    scored = store.row(
        """select avg(crash_rate) as crash_rate, count(normalised) as informative,
           coalesce(sum(selected), 0) as learnable from metrics where round_id = ?""",
        round_id,
    )
    entropies = [
        row["entropy_bits"] for row in store.rows("select entropy_bits from metrics where round_id = ?", round_id)
    ]
    selected = store.rows(
        "select problem_id from metrics where round_id = ? and selected order by problem_id", round_id
    )
    steps = store.rows("select * from training_steps where round_id = ? order by step", round_id)
    adapters = store.rows("select id, name, state, path, peft_path from adapters where round_id = ?", round_id)
    stages = {
        r["stage"]: r["summary"] for r in store.rows("select stage, summary from stages where round_id = ?", round_id)
    }
    sql = "select benchmark, result from evaluations where round_id = ? order by rowid"
    evaluations = {row["benchmark"]: json.loads(row["result"]) for row in store.rows(sql, round_id)}
    return {
        "round": round_id,
        "state": info.state,
        "seed": info.seed,
        "preset": info.settings.preset,
        "changed_settings": {one.name: one.value for one in find_differences(info.settings)},
        "model": info.model_path.name,
        "problems": int(store.value("select count(*) from round_problems where round_id = ?", round_id)),
        "problems_sampled": int(
            store.value("select count(distinct problem_id) from samples where round_id = ?", round_id)
        ),
        "samples": sampled["samples"],
        "samples_with_program": sampled["with_program"],
        "programs": sampled["programs"],
        "samples_cut": sampled["cut"],
        "samples_saved": _saved_samples(store, info, sampled["samples"]),
        "prompt": info.settings.sampling.prompt,
        "mean_crash_rate": scored["crash_rate"],
        "informative": scored["informative"],
        "learnable": scored["learnable"],
        "entropy_histogram": entropy_histogram(entropies),
        "selected_problems": [row["problem_id"] for row in selected],
        "pairs": int(store.value("select count(*) from pairs where round_id = ? and not excluded", round_id)),
        "steps": len(steps),
        "first_loss": steps[0]["loss"] if steps else None,
        "last_loss": steps[-1]["loss"] if steps else None,
        "chosen_logp_shift": steps[-1]["chosen_logp_shift"] if steps else None,
        "reward_accuracy": steps[-1]["reward_accuracy"] if steps else None,
        "trainer_peak_bytes": max((s["memory_bytes"] for s in steps), default=None),
        "stages": stages,
        "evaluations": evaluations,
        "pooled": _pooled(evaluations),
        "held_out_judged": int(store.value("select count(*) from evaluations where benchmark = 'held-out'")),
        "adapter": adapters[0] if adapters else None,
    }


def _saved_samples(store: Store, info: RoundInfo, samples: int) -> int | None:
    """Return how many samples adaptive sampling saved against a fixed number; None if it is off or not finished."""
    if not info.settings.sampling.adaptive or store.stage_summary(info.id, "sample") is None:
        return None
    problems = int(store.value("select count(*) from round_problems where round_id = ?", info.id))
    return problems * info.settings.sampling.samples_per_problem - samples


def _pooled(evaluations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the greedy answers gained and lost over all benchmarks that only report; None if there are fewer than two.

    The validation split decides about the adapter, so it is not among them.
    """
    reporting = [name for name in evaluations if name != "validation"]
    if len(reporting) < 2:
        return None
    pooled = pool_flips((name, evaluations[name]["gained"], evaluations[name]["lost"]) for name in reporting)
    return dataclasses.asdict(pooled) | {"benchmarks": reporting}


def describe_rounds(store: Store) -> list[dict[str, Any]]:
    """Return settings, versions, finished stages and kinds of events of every round, for a bug report.

    Nothing that a user, a model or a problem wrote is in it: no paths, summaries and texts.
    """
    rows = store.rows(
        "select id, state, seed, created_at_utc, model_sha256, settings, versions from rounds order by id"
    )
    for row in rows:
        row |= {name: json.loads(row[name]) for name in ("settings", "versions")}
        row["stages"] = [r["stage"] for r in store.rows("select stage from stages where round_id = ?", row["id"])]
        row["events"] = store.rows(
            "select at_utc, severity, stage, kind from events where round_id = ? order by id", row["id"]
        )
    return rows


def entropy_histogram(values: list[float | None]) -> list[dict[str, Any]]:
    """Return bins {label, count} of problems by entropy in bits, each bin half a bit wide.

    The first bin holds entropy 0, the last one the problems without a valid program (None).
    `[0.0, 0.4, None]` -> count 1 in the bins "0", "0-0.5" and "none valid". Values above 4 bits are in no bin.
    """
    known = [v for v in values if v is not None]
    bins = [{"label": "0", "count": sum(v == 0 for v in known)}]
    for i in range(HISTOGRAM_BINS):
        low, high = i / 2, (i + 1) / 2
        bins.append({"label": f"{low:g}-{high:g}", "count": sum(low < v <= high for v in known)})
    bins.append({"label": "none valid", "count": sum(v is None for v in values)})
    return bins


def progress(store: Store, round_id: int) -> list[dict[str, Any]]:
    """Return {stage, done, total} for every stage whose items can be counted; a screen asks for it again and again.

    The items are problems, samples, programs, pairs, optimiser steps or evaluation answers; a total of 0 means that it
    is not known yet or that there is nothing to do. With adaptive sampling, the total of the samples is the largest
    possible one until all are sampled. Raises ConselfError if there is no such round.
    """
    info = store.round(round_id)
    problems = int(store.value("select count(*) from round_problems where round_id = ?", round_id))
    programs = "select program_id from samples where round_id = ? and program_id is not null"
    samples = problems * info.settings.sampling.samples_per_problem
    if info.settings.sampling.adaptive and store.stage_summary(round_id, "sample"):
        samples = int(store.value("select count(*) from samples where round_id = ?", round_id))
    counts = [
        ("observe", "select count(distinct problem_id) from observations where round_id = ?", problems),
        ("sample", "select count(*) from samples where round_id = ?", samples),
        (
            "execute",
            f"select count(distinct program_id) from executions where program_id in ({programs})",
            int(store.value(f"select count(distinct program_id) from ({programs})", round_id)),
        ),
        (
            "grow",
            "select count(grown) from round_problems where round_id = ?",
            problems if info.settings.augmentation.max_inputs else 0,
        ),
        ("score", "select count(*) from metrics where round_id = ?", problems),
        (
            "pair",
            "select count(*) from pairs where round_id = ?",
            int(store.value("select count(*) from pairs where round_id = ?", round_id)),
        ),
        (
            "train",
            "select count(*) from training_steps where round_id = ?",
            int(store.value("select coalesce(max(steps), 0) from training_steps where round_id = ?", round_id)),
        ),
        (
            "evaluate",
            "select count(*) from evaluation_samples where round_id = ?",
            int(info.request.get("evaluation_samples", 0)),
        ),
    ]
    return [{"stage": stage, "done": int(store.value(sql, round_id)), "total": total} for stage, sql, total in counts]
