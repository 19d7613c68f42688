"""The results of an experiment as Markdown: one row an arm, and below it one row a seed, with what made them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from statistics import fmean
from typing import Any

from conself_local.evaluation.compare import verdict
from conself_local.evaluation.statistics import bootstrap_over_seeds
from conself_local.experiment.results import Arm, SeedResult
from conself_local.settings import settings_to_json

_HEAD = (
    "| arm | benchmark | seeds | problems | pairs | base | adapter | difference, points (95 %) | relative | parsed | crashed |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)
_SEED_HEAD = (
    "| arm | benchmark | seed | pass@1 | greedy | gained, lost | McNemar p | tokens an answer | pairs, steps | minutes | adapter |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def table_lines(results: Sequence[SeedResult]) -> list[str]:
    """One row an arm and benchmark: pass@1 in percent before and after, the difference with its interval over seeds and problems.

    Benchmarks that only report (all but `validation`) also stand together in a row, where an arm has several.
    """
    lines = [*_HEAD]
    for arm in dict.fromkeys(one.arm.name for one in results):
        mine = [one for one in results if one.arm.name == arm]
        lines += [
            _row(arm, together, [one for one in mine if one.benchmark in together]) for together in _together(mine)
        ]
    return lines


def _together(results: Sequence[SeedResult]) -> list[list[str]]:
    """The benchmarks of each row of an arm."""
    benchmarks = list(dict.fromkeys(one.benchmark for one in results))
    reporting = [name for name in benchmarks if name != "validation"]
    return [*([name] for name in benchmarks), *([reporting] if len(reporting) > 1 else [])]


def between_arms_lines(results: Sequence[SeedResult]) -> list[str]:
    """How every arm's adapter compares to the first arm's, on the seeds and benchmarks that both have; nothing for one arm.

    An arm that beats the base model more surely than another is not thereby better than it: that needs its own interval.
    """
    first, *others = dict.fromkeys(one.arm.name for one in results)
    scores = {(one.arm.name, one.benchmark, one.seed): one.adapter for one in results if one.compared}
    rows = []
    for arm in others:
        for together in _together([one for one in results if one.arm.name == arm]):
            both = [
                ([scores[first, name, seed] for name in together], [scores[arm, name, seed] for name in together])
                for seed in sorted({one.seed for one in results})
                if all((of, name, seed) in scores for of in (first, arm) for name in together)
            ]
            if both:
                one, other = ([list(chain(*side)) for side in sides] for sides in zip(*both, strict=True))
                cells = f"{arm} | {' + '.join(together)} | {len(both)} | {_points(*bootstrap_over_seeds(one, other, seed=0))}"
                rows.append(f"| {cells} |")
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
    """Over all problems."""
    trained = [(one.compared, len(one.base)) for one in results if one.compared]
    before, after = (
        fmean([c[side][share] for c, _ in trained], [n for _, n in trained]) for side in ("base", "adapter")
    )
    return f"{before:.2f} -> {after:.2f}"


def report_lines(name: str, results: Sequence[SeedResult]) -> list[str]:
    """The table, every seed, the settings of each arm, and the hashes and versions that the figures hang on."""
    lines = [f"# {name}", "", *table_lines(results), *between_arms_lines(results), ""]
    for benchmark in dict.fromkeys(one.benchmark for one in results):
        looks = sum(one.looks for one in results if one.benchmark == benchmark)
        lines.append(f"- {benchmark}: judged on {looks} times.")
    versions = sorted({f"{package} {version}" for one in results for package, version in one.versions.items()})
    limits = sorted({str(one.inputs.limit) for one in results if one.inputs.limit})
    lines += [
        f"- Tokens sampled, what arms share counted in each: {sum({(o.arm.name, o.seed): o.tokens for o in results}.values()):,}.",
        f"- Model: sha256 {', '.join(sorted({one.inputs.model_sha256 for one in results}))}.",
        f"- Problems: sha256 {', '.join(sorted({one.inputs.problems_sha256 for one in results}))}"
        + (f", at most {', '.join(limits)} to train on." if limits else "."),
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
    first = settings_to_json(arms[0].settings)
    lines += [f"All of {arms[0].name}:", "", "```json", json.dumps(first, indent=2), "```", ""]
    return lines + [f"- {arm.name}: {_settings_words(arm, first)}" for arm in arms]


def _seed_row(one: SeedResult) -> str:
    begin = f"| {one.arm.name} | {one.benchmark} | {one.seed} |"
    if not one.compared:
        return f"{begin} no adapter was trained | | | | | {one.pairs}, 0 | {_minutes(one.seconds)} | |"
    base, adapter = one.compared["base"], one.compared["adapter"]
    return (
        f"{begin} {verdict(one.compared['difference'], *one.compared['interval_95'])} | "
        f"{100 * base['greedy_pass_at_1']:.1f} -> {100 * adapter['greedy_pass_at_1']:.1f} | "
        f"+{len(one.compared['gained'])} -{len(one.compared['lost'])} | {one.compared['mcnemar_p']:.3f} | "
        f"{base['mean_tokens']:.0f} -> {adapter['mean_tokens']:.0f} | {one.pairs}, {one.steps} | {_minutes(one.seconds)} | "
        f"{one.adapter_sha256[:16]} |"
    )


def _settings_words(arm: Arm, first: dict[str, Any]) -> str:
    words = [f"{arm.rounds} rounds"] if arm.rounds > 1 else []
    words += [f"{name} {value}" for name, value in settings_to_json(arm.settings).items() if value != first[name]]
    return ", ".join(words) or "these settings"


def _minutes(seconds: float) -> str:
    """Empty where an arm ran before its time was kept."""
    return f"{seconds / 60:.0f}" if seconds else ""
