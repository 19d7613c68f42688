"""Format the results of an experiment as Markdown: tables over arms and seeds, and what produced them.

Not covered: the estimators (`evaluation/statistics.py`) and the lines in which results are stored (`results.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from statistics import fmean

from conself_local.evaluation.compare import verdict
from conself_local.evaluation.statistics import bootstrap_over_seeds
from conself_local.experiment.results import Arm, SeedResult
from conself_local.settings import find_differences, format_value, settings_to_json

_HEAD = (
    "| arm | benchmark | seeds | problems | pairs | base | adapter | difference, points (95 %) "
    "| relative | parsed | crashed |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)
_SEED_HEAD = (
    "| arm | benchmark | seed | pass@1 | greedy | gained, lost | McNemar p | tokens per answer "
    "| pairs, steps | minutes | adapter |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def table_lines(results: Sequence[SeedResult]) -> list[str]:
    """Return a table with one row per arm and benchmark.

    A row shows pass@1 in percent before and after, and the difference in points with its interval over seeds and
    problems. If an arm has several benchmarks that only report (all but `validation`), another row combines them.
    """
    lines = [*_HEAD]
    for arm in dict.fromkeys(one.arm.name for one in results):
        of_arm = [one for one in results if one.arm.name == arm]
        lines += [
            _row(arm, group, [one for one in of_arm if one.benchmark in group]) for group in _benchmark_groups(of_arm)
        ]
    return lines


def _benchmark_groups(results: Sequence[SeedResult]) -> list[list[str]]:
    """Return the benchmarks of each row of an arm: every benchmark alone, then those that only report together."""
    benchmarks = list(dict.fromkeys(one.benchmark for one in results))
    reporting = [name for name in benchmarks if name != "validation"]
    return [*([name] for name in benchmarks), *([reporting] if len(reporting) > 1 else [])]


def between_arms_lines(results: Sequence[SeedResult]) -> list[str]:
    """Return a table that compares every arm's adapter with the first arm's.

    It covers the seeds and benchmarks that both arms have, and is empty for a single arm. The comparison needs its own
    interval: an arm that beats the base model by more than another arm does is not necessarily better than that arm.
    Raises ValueError if there are no results.
    """
    first, *others = dict.fromkeys(one.arm.name for one in results)
    scores = {(one.arm.name, one.benchmark, one.seed): one.adapter for one in results if one.compared}
    rows = []
    for arm in others:
        for group in _benchmark_groups([one for one in results if one.arm.name == arm]):
            both = [
                ([scores[first, name, seed] for name in group], [scores[arm, name, seed] for name in group])
                for seed in sorted({one.seed for one in results})
                if all((side, name, seed) in scores for side in (first, arm) for name in group)
            ]
            if both:
                one, other = ([list(chain(*side)) for side in sides] for sides in zip(*both, strict=True))
                difference = _points(*bootstrap_over_seeds(one, other, seed=0))
                rows.append(f"| {arm} | {' + '.join(group)} | {len(both)} | {difference} |")
    return (
        ["", f"| arm | benchmark | seeds | against {first}, points (95 %) |", "|---|---|---|---|", *rows]
        if rows
        else []
    )


def _points(difference: float, low: float, high: float) -> str:
    return f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def _row(arm: str, benchmarks: Sequence[str], results: Sequence[SeedResult]) -> str:
    begin = f"| {arm} | {' + '.join(benchmarks)} |"
    seeds = sorted({one.seed for one in results})
    pairs = " ".join(str(next(one.pairs for one in results if one.seed == seed)) for seed in seeds)
    trained = [seed for seed in seeds if all(one.compared for one in results if one.seed == seed)]
    if not trained:
        return f"{begin} {len(seeds)} | | {pairs} | | | no adapter was trained | | | |"
    base = [[score for one in results if one.seed == seed for score in one.base] for seed in trained]
    adapter = [[score for one in results if one.seed == seed for score in one.adapter] for seed in trained]
    difference = bootstrap_over_seeds(base, adapter, seed=0)
    before, after = (100 * fmean(map(fmean, rows)) for rows in (base, adapter))
    relative = f"{100 * (after / before - 1):+.0f} %" if before else ""
    parsed, crashed = (_mean_change(results, share) for share in ("parsed_share", "crashed_share"))
    return (
        f"{begin} {len(trained)} | {len(base[0])} | {pairs} | {before:.1f} | {after:.1f} | "
        f"{_points(*difference)} | {relative} | {parsed} | {crashed} |"
    )


def _mean_change(results: Sequence[SeedResult], share: str) -> str:
    """Return the mean share before and after, weighted by the number of problems of each result."""
    trained = [(one.compared, len(one.base)) for one in results if one.compared]
    before, after = (
        fmean([c[side][share] for c, _ in trained], [n for _, n in trained]) for side in ("base", "adapter")
    )
    return f"{before:.2f} -> {after:.2f}"


def report_lines(name: str, results: Sequence[SeedResult]) -> list[str]:
    """Return the whole report: the tables, every seed, each arm's settings, and the hashes and versions used."""
    lines = [f"# {name}", "", *table_lines(results), *between_arms_lines(results), ""]
    for benchmark in dict.fromkeys(one.benchmark for one in results):
        looks = sum(one.looks for one in results if one.benchmark == benchmark)
        lines.append(f"- {benchmark}: judged on {looks} times.")
    versions = sorted({f"{package} {version}" for one in results for package, version in one.versions.items()})
    tokens = sum({(one.arm.name, one.seed): one.tokens for one in results}.values())
    limits = sorted({str(one.inputs.limit) for one in results if one.inputs.limit})
    lines += [
        f"- Tokens sampled (samples that arms share are counted for each arm): {tokens:,}.",
        f"- Model: sha256 {', '.join(sorted({one.inputs.model_sha256 for one in results}))}.",
        f"- Problems: sha256 {', '.join(sorted({one.inputs.problems_sha256 for one in results}))}"
        + (f", at most {', '.join(limits)} for training." if limits else "."),
        f"- {', '.join(versions)}.",
        "",
        "## Seeds",
        "",
        *_SEED_HEAD,
        *map(_seed_row, results),
        "",
        "## Settings",
        "",
    ]
    arms = list({one.arm.name: one.arm for one in results}.values())
    first = arms[0]
    lines += [
        f"All settings of {first.name}:",
        "",
        "```json",
        json.dumps(settings_to_json(first.settings), indent=2),
        "```",
        "",
    ]
    return lines + [f"- {arm.name}: {_changed_settings(arm, first)}" for arm in arms]


def _seed_row(one: SeedResult) -> str:
    begin = f"| {one.arm.name} | {one.benchmark} | {one.seed} |"
    if not one.compared:
        return f"{begin} no adapter was trained | | | | | {one.pairs}, 0 | {_minutes(one.seconds)} | |"
    base, adapter = one.compared["base"], one.compared["adapter"]
    return (
        f"{begin} {verdict(one.compared['difference'], *one.compared['interval_95'])} | "
        f"{100 * base['greedy_pass_at_1']:.1f} -> {100 * adapter['greedy_pass_at_1']:.1f} | "
        f"+{len(one.compared['gained'])} -{len(one.compared['lost'])} | {one.compared['mcnemar_p']:.3f} | "
        f"{base['mean_tokens']:.0f} -> {adapter['mean_tokens']:.0f} | {one.pairs}, {one.steps} | "
        f"{_minutes(one.seconds)} | {one.adapter_sha256[:16]} |"
    )


def _changed_settings(arm: Arm, first: Arm) -> str:
    changes = [f"{arm.rounds} rounds"] if arm.rounds > 1 else []
    if arm.settings.preset != first.settings.preset:
        changes.append(f"preset {arm.settings.preset}")
    changes += [f"{one.name} {format_value(one.value)}" for one in find_differences(arm.settings, first.settings)]
    return ", ".join(changes) or "the settings above"


def _minutes(seconds: float) -> str:
    """Return whole minutes, or an empty text if the arm's time was not recorded."""
    return f"{seconds / 60:.0f}" if seconds else ""
