"""Format the figures of base and adapter as Markdown: greedy, sampled, consensus, the gap closed, and pass@k for all k.

Each figure is a mean over the seeds of an arm. The base's consensus is what training on it can hope for, so it stands
beside what the adapter answers greedily. Results of the first version have no consensus and no cut answers.
Not covered: differences with intervals and verdicts (`table.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from conself_local.experiment.pooled import Group, Weights, gap_closed, shares_of

FIGURES_HEAD = (
    "| arm | benchmark | base greedy | sampled | consensus | adapter greedy | sampled | consensus | gap closed "
    "| tokens | parsed | cut |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)
Value = Callable[[Mapping[str, Any]], float | None]
"""Takes a figure out of the summary of one arm; None: it is not known."""


def figures_row(arm: str, group: Group, weights: Weights) -> str:
    """Return one row: pass@1 in percent, tokens per answer, and shares of answers before and after."""
    columns = [
        _percent(mean_of(group, weights, side, value))
        for side in ("base", "adapter")
        for value in (_greedy, _pass_at("1"), _consensus)
    ]
    share = gap_closed(group, weights)
    columns.append("-" if share is None else f"{share:.2f}")
    for name, digits in (("mean_tokens", 0), ("parsed_share", 2), ("cut_share", 2)):
        sides = [mean_of(group, weights, side, _named(name)) for side in ("base", "adapter")]
        columns.append(" -> ".join("-" if one is None else f"{one:.{digits}f}" for one in sides))
    return f"| {arm} | {' + '.join(group.benchmarks)} | {' | '.join(columns)} |"


def reach_rows(arm: str, group: Group, weights: Weights) -> list[str]:
    """Return two rows, base and adapter, with pass@k in percent for every k that all results have."""
    rows = []
    for side in ("base", "adapter"):
        columns = [_percent(mean_of(group, weights, side, _pass_at(k))) for k in known_ks(group)]
        rows.append(f"| {arm} | {' + '.join(group.benchmarks)} | {side} | {' | '.join(columns)} |")
    return rows


def known_ks(group: Group) -> list[str]:
    """Return the k, as text and in order, for which every result of the group has pass@k on both sides."""
    known = [
        set(group.compared(*key)[side].get("pass_at", {})) for key in group.results for side in ("base", "adapter")
    ]
    return sorted(set.intersection(*known), key=int)


def mean_of(group: Group, weights: Weights, side: str, value: Value) -> float | None:
    """Return the mean over seeds, and over benchmarks with their weights; None if a result does not know it."""
    means = []
    for name in group.benchmarks:
        found = [value(group.compared(name, seed)[side]) for seed in group.seeds]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return None
        means.append(fmean(known))
    sizes = [len(group.results[name, group.seeds[0]].base) for name in group.benchmarks]
    return fmean(means, shares_of(group, weights) or sizes)


def _named(name: str) -> Value:
    return lambda arm: arm.get(name)


_greedy, _consensus = _named("greedy_pass_at_1"), _named("consensus")


def _pass_at(k: str) -> Value:
    return lambda arm: arm.get("pass_at", {}).get(k)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
