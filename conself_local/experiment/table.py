"""Format the results of an experiment as Markdown: tables over arms and seeds, and what produced them.

Where several benchmarks are combined, `weights` says how much each counts; None: every problem counts the same.
Not covered: the pooled figures (`pooled.py`) and the lines in which results are stored (`results.py`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean

from conself_local.evaluation.verdict import Change
from conself_local.experiment.figures import FIGURES_HEAD, figures_row, known_ks, reach_rows
from conself_local.experiment.pooled import (
    Group,
    Weights,
    change_of,
    changes_of,
    flips_of,
    make_group,
    sampled_differences,
    sampled_intervals,
    shares_of,
)
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
_VERDICT_HEAD = (
    "| arm | benchmark | seeds | gained, lost | McNemar p | p by problem | verdict |",
    "|---|---|---|---|---|---|---|",
)
_BETWEEN_HEAD = "| arm | benchmark | seeds | against {first}, points (95 %) | verdict |"


def summary_lines(results: Sequence[SeedResult], weights: Weights = None) -> list[str]:
    """Return the tables that a finished experiment prints."""
    return [
        *table_lines(results, weights),
        *verdict_lines(results, weights),
        *figures_lines(results, weights),
        *between_arms_lines(results, weights),
    ]


def table_lines(results: Sequence[SeedResult], weights: Weights = None) -> list[str]:
    """Return a table with one row per arm and benchmark.

    A row shows pass@1 in percent before and after, and the difference in points with its interval over seeds and
    problems. If an arm has several benchmarks that only report (all but `validation`), another row combines them.
    """
    lines = [*_HEAD]
    for arm, of_arm in _by_arm(results).items():
        lines += [
            _row(arm, group, [one for one in of_arm if one.benchmark in group], weights)
            for group in _benchmark_groups(of_arm)
        ]
    return lines


def _by_arm(results: Sequence[SeedResult]) -> dict[str, list[SeedResult]]:
    names = dict.fromkeys(one.arm.name for one in results)
    return {name: [one for one in results if one.arm.name == name] for name in names}


def verdict_lines(results: Sequence[SeedResult], weights: Weights = None) -> list[str]:
    """Return a table of the verdicts against the base, with the greedy answers pooled over seeds and benchmarks.

    It is empty if no adapter was trained.
    """
    rows = []
    for arm, of_arm in _by_arm(results).items():
        for benchmarks in _benchmark_groups(of_arm):
            group = make_group(of_arm, benchmarks, _seeds(of_arm))
            if group.seeds:
                flips = flips_of(group)
                rows.append(
                    f"| {arm} | {' + '.join(benchmarks)} | {len(group.seeds)} | +{flips.gained} -{flips.lost} | "
                    f"{flips.p:.3f} | {flips.p_by_problem:.3f} | {changes_of(group, weights).sentence()} |"
                )
    return ["", *_VERDICT_HEAD, *rows] if rows else []


def figures_lines(results: Sequence[SeedResult], weights: Weights = None) -> list[str]:
    """Return the tables of what base and adapter can do: greedy, sampled, consensus, and pass@k for all k.

    They are empty if no adapter was trained.
    """
    groups = [
        (arm, make_group(of_arm, benchmarks, _seeds(of_arm)))
        for arm, of_arm in _by_arm(results).items()
        for benchmarks in _benchmark_groups(of_arm)
    ]
    trained = [(arm, group) for arm, group in groups if group.seeds]
    if not trained:
        return []
    ks = max((known_ks(group) for _, group in trained), key=len)
    reach = [
        "", f"| arm | benchmark | pass@k | {' | '.join(ks)} |", f"|---|---|---|{'---|' * len(ks)}",
        *(row for arm, group in trained for row in reach_rows(arm, group, weights)),
    ]  # fmt: skip
    return ["", *FIGURES_HEAD, *(figures_row(arm, group, weights) for arm, group in trained), *(reach if ks else [])]


def _seeds(results: Sequence[SeedResult]) -> list[int]:
    return sorted({one.seed for one in results})


def _benchmark_groups(results: Sequence[SeedResult]) -> list[list[str]]:
    """Return the benchmarks of each row of an arm: every benchmark alone, then those that only report together."""
    benchmarks = list(dict.fromkeys(one.benchmark for one in results))
    reporting = [name for name in benchmarks if name != "validation"]
    return [*([name] for name in benchmarks), *([reporting] if len(reporting) > 1 else [])]


def between_arms_lines(results: Sequence[SeedResult], weights: Weights = None, control: str | None = None) -> list[str]:
    """Return a table that compares every arm's adapter with that of the arm named `control`; None: of the first arm.

    It covers the seeds and benchmarks that both arms have, and is empty for a single arm. The comparison needs its own
    interval: an arm that beats the base model by more than another arm does is not necessarily better than that arm.
    There must be results. Raises KeyError if there are none of that arm.
    """
    arms = _by_arm(results)
    first = next(iter(arms)) if control is None else control
    of_control = arms.pop(first)
    rows = []
    for arm, of_arm in arms.items():
        for benchmarks in _benchmark_groups(of_arm):
            against = make_group(of_control, benchmarks, _seeds(results))
            group = make_group(of_arm, benchmarks, against.seeds)
            against = make_group(of_control, benchmarks, group.seeds)
            if group.seeds:
                changes = changes_of(group, weights, against)
                begin = f"| {arm} | {' + '.join(benchmarks)} | {len(group.seeds)} |"
                rows.append(f"{begin} {changes.sampled} | {changes.sentence()} |")
    return ["", _BETWEEN_HEAD.format(first=first), "|---|---|---|---|---|", *rows] if rows else []


def _row(arm: str, benchmarks: Sequence[str], results: Sequence[SeedResult], weights: Weights) -> str:
    begin = f"| {arm} | {' + '.join(benchmarks)} |"
    seeds = _seeds(results)
    pairs = " ".join(str(next(one.pairs for one in results if one.seed == seed)) for seed in seeds)
    group = make_group(results, benchmarks, seeds)
    if not group.seeds:
        return f"{begin} {len(seeds)} | | {pairs} | | | no adapter was trained | | | |"
    change = change_of(sampled_differences(group), group, weights)
    before = 100 * _mean_base(group, weights)
    after = before + 100 * change.difference
    relative = f"{100 * (after / before - 1):+.0f} %" if before else ""
    parsed, crashed = (_mean_change(results, share) for share in ("parsed_share", "crashed_share"))
    problems = sum(len(group.results[name, group.seeds[0]].base) for name in benchmarks)
    return (
        f"{begin} {len(group.seeds)} | {problems} | {pairs} | {before:.1f} | {after:.1f} | "
        f"{change} | {relative} | {parsed} | {crashed} |"
    )


def _mean_base(group: Group, weights: Weights) -> float:
    """Return the mean pass@1 of the base over seeds, with the weights that the differences have."""
    bases = [[group.results[name, seed].base for seed in group.seeds] for name in group.benchmarks]
    shares = shares_of(group, weights) or [len(of_seeds[0]) for of_seeds in bases]
    return fmean([fmean(map(fmean, of_seeds)) for of_seeds in bases], shares)


def _mean_change(results: Sequence[SeedResult], share: str) -> str:
    """Return the mean share before and after, weighted by the number of problems of each result."""
    trained = [(one.compared, len(one.base)) for one in results if one.compared]
    before, after = (
        fmean([c[side][share] for c, _ in trained], [n for _, n in trained]) for side in ("base", "adapter")
    )
    return f"{before:.2f} -> {after:.2f}"


def report_lines(name: str, results: Sequence[SeedResult], weights: Weights = None) -> list[str]:
    """Return the whole report: the tables, every seed, each arm's settings, and the hashes and versions used."""
    lines = [f"# {name}", "", *summary_lines(results, weights), ""]
    for benchmark in dict.fromkeys(one.benchmark for one in results):
        looks = sum(one.looks for one in results if one.benchmark == benchmark)
        lines.append(f"- Times that arms were judged on {benchmark}: {looks}.")
    lines += [_weights_line(weights), _INTERVALS_LINE]
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
        *_interval_lines(results, weights),
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


_INTERVALS_LINE = (
    "- Intervals: Student's t with seeds and problems as crossed random effects for 2 to 9 seeds; the bootstrap over "
    "problems for one seed, over both for more."
)


def _weights_line(weights: Weights) -> str:
    if not weights:
        return "- Benchmarks are combined with equal weights of all problems."
    return f"- Benchmarks are combined with fixed weights: {', '.join(f'{n} {w:g}' for n, w in weights.items())}."


def _interval_lines(results: Sequence[SeedResult], weights: Weights) -> list[str]:
    """Return a table of the intervals of pass@1 by each method."""
    lines = ["## Intervals", "", "| arm | benchmark | seeds | t | bootstrap |", "|---|---|---|---|---|"]
    for arm, of_arm in _by_arm(results).items():
        for benchmarks in _benchmark_groups(of_arm):
            group = make_group(of_arm, benchmarks, _seeds(of_arm))
            if group.seeds:
                found = {
                    one.method: Change(one.difference, one.low, one.high) for one in sampled_intervals(group, weights)
                }
                texts = [str(found.get(method, "")) for method in ("t", "bootstrap")]
                lines.append(f"| {arm} | {' + '.join(benchmarks)} | {len(group.seeds)} | {' | '.join(texts)} |")
    return lines


def _seed_row(one: SeedResult) -> str:
    begin = f"| {one.arm.name} | {one.benchmark} | {one.seed} |"
    if not one.compared:
        return f"{begin} no adapter was trained | | | | | {one.pairs}, 0 | {_minutes(one.seconds)} | |"
    base, adapter = one.compared["base"], one.compared["adapter"]
    return (
        f"{begin} {one.compared['verdict']} | "
        f"{100 * base['greedy_pass_at_1']:.1f} -> {100 * adapter['greedy_pass_at_1']:.1f} | "
        f"+{len(one.compared['gained'])} -{len(one.compared['lost'])} | {one.compared['mcnemar_p']:.3f} | "
        f"{base['mean_tokens']:.0f} -> {adapter['mean_tokens']:.0f} | {one.pairs}, {one.steps} | "
        f"{_minutes(one.seconds)} | {one.adapter_sha256[:16]} |"
    )


def _changed_settings(arm: Arm, first: Arm) -> str:
    changes = [f"{arm.rounds} rounds"] if arm.rounds > 1 else []
    changes += [f"pairs of a file, sha256 {arm.pairs_sha256[:16]}"] if arm.pairs_sha256 else []
    if arm.settings.preset != first.settings.preset:
        changes.append(f"preset {arm.settings.preset}")
    changes += [f"{one.name} {format_value(one.value)}" for one in find_differences(arm.settings, first.settings)]
    return ", ".join(changes) or "the settings above"


def _minutes(seconds: float) -> str:
    """Return whole minutes, or an empty text if the arm's time was not recorded."""
    return f"{seconds / 60:.0f}" if seconds else ""
